//! Netsplits: who comes back was never away, who doesn't is let go.

use std::fmt::Write as _;

use super::world::{BOT, TEA, World, on_both_kinds_of_server};
use crate::support::IrcdConfig;

on_both_kinds_of_server!(
    r78_who_comes_back_from_a_split_was_never_away,
    r78_who_is_lost_when_the_observer_loses_its_connection_is_let_go_too,
    r78_one_who_quits_like_a_split_leaves,
);

fn ghost(n: usize) -> String {
    format!("@irc_net_n{n}:hs.test")
}

/// Lines of people of the crowd, as the bot reads them.
fn lines(people: impl IntoIterator<Item = usize>, what: &str) -> String {
    people.into_iter().fold(String::new(), |mut text, n| {
        let _ = write!(text, ":n{n}!n{n}@h {what}\r\n");
        text
    })
}

/// What has happened to a ghost's membership.
fn memberships(world: &World, n: usize) -> Vec<String> {
    let ghost = ghost(n);
    let events = world.homeserver.timeline(&world.room);
    let of_ghost = events.iter().filter(|event| event.state_key.as_deref() == Some(&ghost));
    of_ghost.map(|event| event.content["membership"].as_str().unwrap_or_default().to_owned()).collect()
}

/// The scene with so many people in the channel that only the bridge's bot sees, all of them in the room.
async fn crowd(ircd: IrcdConfig, people: usize, hold: &str) -> World {
    let world = World::with(ircd, |network| network.set("ghosts", "netsplit_hold_seconds", hold)).await;
    world.settle("the bot knows who is there").await;
    world.ircd.inject(BOT, lines(0..people, "JOIN #tea").as_bytes());
    for n in 0..people {
        world.alice.expect_membership(&world.room, &ghost(n), "join").await;
    }
    world
}

async fn r78_who_comes_back_from_a_split_was_never_away(ircd: IrcdConfig) {
    let world = crowd(ircd, 8, "6").await;
    world.ircd.inject(BOT, lines(0..6, "QUIT :hub.example leaf.example").as_bytes());
    // Of these two the server says so.
    world.ircd.inject(
        BOT,
        format!(
            ":irc.test BATCH +split netsplit hub.example leaf.example\r\n{}:irc.test BATCH -split\r\n",
            lines(6..8, "QUIT :hub.example leaf.example").replace(":n", "@batch=split :n")
        )
        .as_bytes(),
    );
    world.settle("split").await;
    world.ircd.inject(BOT, lines([0, 1, 2, 6], "JOIN #tea").as_bytes());
    world.ircd.inject(BOT, lines([0], "PRIVMSG #tea :here I am").as_bytes());
    world.alice.expect_message(&world.room, |from| from == ghost(0), "here I am").await;
    for n in [3, 4, 5, 7] {
        let left = world.alice.expect_membership(&world.room, &ghost(n), "leave").await;
        assert_eq!(left.content["reason"], "Quit: hub.example leaf.example");
        assert_eq!(memberships(&world, n), ["join", "leave"]);
    }
    // They come and go as before.
    world.ircd.inject(BOT, lines([0], "PART #tea :bye").as_bytes());
    world.alice.expect_membership(&world.room, &ghost(0), "leave").await;
    for n in [1, 2, 6] {
        assert_eq!(memberships(&world, n), ["join"], "{n}");
    }
}

async fn r78_who_is_lost_when_the_observer_loses_its_connection_is_let_go_too(ircd: IrcdConfig) {
    let world = crowd(ircd, 6, "3").await;
    world.ircd.inject(BOT, lines(0..6, "QUIT :*.net *.split").as_bytes());
    world.settle("split").await;
    world.ircd.cut(BOT);
    world.ircd.expect_gone(BOT).await;
    world.ircd.expect_on_channel(BOT, TEA).await;
    for n in 0..6 {
        world.alice.expect_membership(&world.room, &ghost(n), "leave").await;
        assert_eq!(memberships(&world, n), ["join", "leave"]);
    }
}

async fn r78_one_who_quits_like_a_split_leaves(ircd: IrcdConfig) {
    // Nobody would wait for an hour.
    let world = crowd(ircd, 2, "3600").await;
    world.ircd.inject(BOT, lines([0], "QUIT :hub.example leaf.example").as_bytes());
    world.ircd.inject(BOT, lines([1], "QUIT :Quit: hub.example leaf.example").as_bytes());
    for n in 0..2 {
        world.alice.expect_membership(&world.room, &ghost(n), "leave").await;
    }
}
