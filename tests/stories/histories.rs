//! Random histories on both sides: whatever happens, after quiet the room and the channel have the same people.
//!
//! `FOOTBRIDGE_HISTORIES=100` plays so many; a failure names its number, and `FOOTBRIDGE_HISTORY=7` plays that one alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom as _};
use serde_json::json;

use super::world::{BOT, Stage, TEA, World};
use crate::support::{IrcdConfig, MatrixUser, process::POLL, wait::DEADLINE};

/// Histories that are played if nobody says how many.
const FEW: u64 = 4;
/// Things that happen in one.
const STEPS: usize = 60;
/// Nicks that people on IRC may have, and users on Matrix.
const PEOPLE: usize = 10;

/// Somebody on IRC.
struct Person {
    connection: u64,
    in_channel: bool,
}

struct History {
    world: World,
    chance: StdRng,
    /// By nick.
    irc: BTreeMap<String, Person>,
    matrix: Vec<MatrixUser>,
    happened: Vec<String>,
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r76_after_quiet_the_room_and_the_channel_have_the_same_people() {
    let numbers = match number("FOOTBRIDGE_HISTORY") {
        Some(one) => one..one + 1,
        None => 0..number("FOOTBRIDGE_HISTORIES").unwrap_or(FEW),
    };
    for number in numbers {
        let mut history = History::begin(number).await;
        for _ in 0..STEPS {
            history.step().await;
        }
        history.quiet(number).await;
    }
}

impl History {
    /// With and without capabilities, and with and without the bridge looking after it all the time.
    async fn begin(number: u64) -> Self {
        let ircd = if number & 1 == 0 { IrcdConfig::modern() } else { IrcdConfig::default() };
        let stage = Stage::set(ircd).await;
        let levels = json!({ "users": { "@footbridge:hs.test": 50 }, "kick": 50, "ban": 50, "state_default": 50 });
        stage.alice.set_state(&stage.room, "m.room.power_levels", "", levels).await;
        let network = stage.network().set("ghosts", "netsplit_hold_seconds", "2");
        let compare = if number & 2 == 0 { "0" } else { "1" };
        let bridge = stage.bridge().homeserver("compare_seconds", compare).network(network);
        let world = stage.start(bridge).await;
        world.alice_speaks().await;
        let matrix = (0..PEOPLE / 2).map(|n| world.homeserver.user(&format!("m{n}"))).collect();
        let chance = StdRng::seed_from_u64(number);
        Self { world, chance, irc: BTreeMap::new(), matrix, happened: Vec::new() }
    }

    fn note(&mut self, what: &str, who: &str) {
        self.happened.push(format!("{what} {who}"));
    }

    fn free_nick(&mut self) -> Option<String> {
        let free: Vec<String> =
            (0..PEOPLE).map(|n| format!("n{n}")).filter(|nick| !self.irc.contains_key(nick)).collect();
        free.choose(&mut self.chance).cloned()
    }

    /// Somebody on IRC who is in the channel, or isn't.
    fn somebody(&mut self, in_channel: bool) -> Option<String> {
        let people: Vec<&String> =
            self.irc.iter().filter(|(_, person)| person.in_channel == in_channel).map(|(nick, _)| nick).collect();
        people.choose(&mut self.chance).map(|nick| (*nick).clone())
    }

    fn hear(&self, nick: &str, line: &str) {
        self.world.ircd.hear(self.irc[nick].connection, line);
    }

    /// One thing happens.
    async fn step(&mut self) {
        match self.chance.random_range(0..100) {
            0..25 => self.comes(),
            25..33 => self.with_somebody("parts", |this, nick| {
                this.hear(nick, "PART #tea :bye");
                this.irc.get_mut(nick).unwrap().in_channel = false;
            }),
            33..40 => self.with_somebody("quits", |this, nick| {
                this.hear(nick, "QUIT :bye");
                this.irc.remove(nick);
            }),
            40..45 => self.with_somebody("is kicked", |this, nick| {
                this.world.ircd.hear_from("dora", &format!("KICK {TEA} {nick}"));
                this.irc.get_mut(nick).unwrap().in_channel = false;
            }),
            45..55 => {
                if let Some(new) = self.free_nick() {
                    self.with_somebody("is called otherwise", |this, nick| {
                        this.hear(nick, &format!("NICK {new}"));
                        let person = this.irc.remove(nick).unwrap();
                        this.irc.insert(new, person);
                    });
                }
            }
            55..65 => self.with_somebody("speaks", |this, nick| this.hear(nick, "PRIVMSG #tea :hello")),
            65..70 => self.split(),
            70..73 => {
                if self.world.ircd.state().find(BOT).is_some() {
                    self.note("cut", BOT);
                    self.world.ircd.cut(BOT);
                }
            }
            73..74 => {
                self.note("the bridge", "restarts");
                self.world.bridge.terminate().await;
                self.world.bridge.restart().await;
            }
            74..95 => self.matrix_user().await,
            _ => tokio::time::sleep(Duration::from_millis(self.chance.random_range(0..50))).await,
        }
    }

    fn with_somebody(&mut self, what: &str, act: impl FnOnce(&mut Self, &str)) {
        if let Some(nick) = self.somebody(true) {
            self.note(what, &nick);
            act(self, &nick);
        }
    }

    /// Somebody comes to the channel, from elsewhere on the network or from the world.
    fn comes(&mut self) {
        let back = self.somebody(false).filter(|_| self.chance.random());
        if let Some(nick) = back {
            self.note("comes back", &nick);
            self.hear(&nick, "JOIN #tea");
            self.irc.get_mut(&nick).unwrap().in_channel = true;
        } else if let Some(nick) = self.free_nick() {
            self.note("comes", &nick);
            self.connect(nick);
        }
    }

    fn connect(&mut self, nick: String) {
        let connection = self.world.ircd.crowd([nick.clone()], TEA)[0];
        self.irc.insert(nick, Person { connection, in_channel: true });
    }

    /// The network splits, and some come back at once.
    fn split(&mut self) {
        let nicks: Vec<String> = self.irc.keys().filter(|_| self.chance.random_ratio(2, 3)).cloned().collect();
        self.note("split of", &nicks.join(" "));
        self.world.ircd.split(&nicks);
        for nick in nicks {
            self.irc.remove(&nick);
            if self.chance.random() {
                self.note("is back", &nick);
                self.connect(nick);
            }
        }
    }

    async fn matrix_user(&mut self) {
        let at = self.chance.random_range(0..self.matrix.len());
        let user = &self.matrix[at];
        let room = &self.world.room;
        let is_in = self.world.homeserver.state().rooms[room].is_joined(user.id());
        let nick = format!("m{at}[m]");
        let what = match (is_in, self.chance.random_range(0..3)) {
            (false, _) => {
                user.join(room).await;
                "joins"
            }
            (true, 0) => {
                user.leave(room).await;
                "leaves"
            }
            (true, 1) if self.world.ircd.members(TEA).contains(&nick) => {
                self.world.ircd.hear_from("dora", &format!("KICK {TEA} {nick}"));
                "is kicked on IRC"
            }
            (true, _) => {
                user.say(room, "hello").await;
                "speaks on Matrix"
            }
        };
        self.note(what, &nick);
    }

    /// Nothing more happens: once all that did has crossed, both sides agree.
    async fn quiet(&self, number: u64) {
        let world = &self.world;
        world.ircd.expect_on_channel(BOT, TEA).await;
        world.settle("everything has crossed").await;
        let deadline = Instant::now() + DEADLINE;
        loop {
            let (in_room, in_channel) = self.people();
            if in_room == in_channel {
                break;
            }
            assert!(
                Instant::now() < deadline,
                "history {number}: only in the room: {:?}; only in the channel: {:?}\n{}\n{}",
                in_room.difference(&in_channel).collect::<Vec<_>>(),
                in_channel.difference(&in_room).collect::<Vec<_>>(),
                self.happened.join("\n"),
                world.bridge.log(),
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// Who is in the room and who is in the channel, by their nicks.
    fn people(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let nick = |user: &str| {
            let localpart = user.strip_prefix('@')?.strip_suffix(":hs.test")?;
            match localpart.strip_prefix("irc_net_") {
                Some(nick) => Some(nick.to_owned()),
                None if localpart == BOT => Some(BOT.to_owned()),
                None => Some(format!("{localpart}[m]")),
            }
        };
        let state = self.world.homeserver.state();
        let in_room = state.rooms[&self.world.room].members("join").into_iter().filter_map(nick).collect();
        drop(state);
        (in_room, self.world.ircd.members(TEA).into_iter().collect())
    }
}
