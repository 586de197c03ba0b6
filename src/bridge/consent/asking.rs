//! The conversation with a room that asks for a channel: what keeps it from that, and what becomes of it.

use std::time::Duration;

use super::{
    MOST_REQUESTS, Request, Stage, code_of,
    room::{Check, RoomFacts},
};
use crate::{
    bridge::{
        closing::Ending,
        delivery::Origin,
        directory::RoomKind,
        dispatch::{Core, Input},
        network::BotState,
    },
    model::{IrcAction, Millis, NetworkId},
    translate,
};

impl Core {
    /// A room asks for a channel. `at`: when it did, which after a restart is long ago.
    pub(in crate::bridge) async fn plumb(&mut self, origin: &Origin, network: &NetworkId, channel: &str, at: Millis) {
        if let Err(problem) = self.may_ask(origin, network, channel) {
            self.answer(origin, "refused", problem);
            return self.journal.settle_matrix(origin.key).await;
        }
        let Some(network) = self.networks.get(network) else { return };
        let now = self.clock.now();
        let patience = network.config.plumbing.answer_within;
        let expires = at.min(now).saturating_add(Millis::try_from(patience.as_millis()).unwrap_or(Millis::MAX));
        let code = code_of(&origin.event);
        let request = Request {
            origin: origin.clone(),
            network: network.id.clone(),
            channel: channel.to_owned(),
            people: 0,
            expires,
            stage: Stage::Checking,
            asked: Vec::new(),
            agreed: None,
            visits: 0,
            key: None,
        };
        self.requests.by_code.insert(code.clone(), request);
        let (input, of) = (self.input.clone(), code.clone());
        let left = Duration::from_millis(u64::try_from(expires.saturating_sub(now)).unwrap_or(0));
        tokio::spawn(async move {
            tokio::time::sleep(left).await;
            let _ = input.send(Input::RequestExpires(of)).await;
        });
        self.look_at_room(origin, Check::Plumb(code));
    }

    /// Whether anybody may ask for that now; else why not.
    fn may_ask(&mut self, origin: &Origin, network: &NetworkId, channel: &str) -> Result<(), String> {
        let Some(network) = self.networks.get(network) else { return Err("I don't know that network.".to_owned()) };
        let name = &network.config.name;
        if !translate::valid_channel(channel, &network.isupport) {
            return Err(format!("`{channel}` is no name that a channel on {name} could have."));
        }
        if !network.config.plumbing.new_plumbs {
            return Err(format!(
                "New bridges to {name} are frozen by this bridge's operator. Those that there are stay as they are."
            ));
        }
        let key = (network.id.clone(), network.fold(channel));
        if self.opted_out.contains(&key) {
            return Err(format!("The operators of {channel} on {name} don't want it to be bridged."));
        }
        match self.directory.kind(&origin.room) {
            RoomKind::Guest(_) => {}
            RoomKind::Portal(room) if room.channels.contains(&key) => {
                return Err(format!("This room is bridged to {channel} on {name} already."));
            }
            RoomKind::Portal(_) => {
                let only = "a room can be bridged to one channel";
                return Err(format!("This room is bridged already, and {only}: `!unplumb` ends that."));
            }
            RoomKind::Control(_) | RoomKind::Query(_) | RoomKind::Unknown => {
                return Err(format!(
                    "Say that in the room that is to be bridged: invite {} there, and say `!plumb {} {channel}`.",
                    self.ours.bot, network.id
                ));
            }
        }
        if self.directory.channels.contains_key(&key) {
            return Err(format!(
                "{channel} on {name} is bridged to another room already, and one room is all it can have."
            ));
        }
        if self.closing.contains_key(&origin.room) {
            return Err("This room's last bridge is still being taken down; try again in a minute.".to_owned());
        }
        let rival = self.requests.by_code.values().find(|request| {
            request.origin.room == origin.room || (request.network == key.0 && network.fold(&request.channel) == key.1)
        });
        if let Some(rival) = rival {
            return Err(if rival.origin.room == origin.room {
                format!("{} `!unplumb` takes that back.", rival.status())
            } else {
                format!("Another room has asked for {channel} on {name}; wait until that is decided.")
            });
        }
        if self.requests.count(&key.0) >= MOST_REQUESTS {
            return Err(format!("Too many requests wait for channels on {name} already; try again later."));
        }
        if self.requests.is_declined(&key, self.clock.now()) {
            return Err(format!(
                "The operators of {channel} on {name} have said no; they aren't asked again for a day."
            ));
        }
        Ok(())
    }

    /// A room was looked at.
    pub(in crate::bridge) async fn on_room_checked(&mut self, check: Check, facts: Result<RoomFacts, String>) {
        match check {
            Check::Plumb(code) => match self.judge(&code, facts) {
                Ok(()) => self.find_operators(&code).await,
                Err(problem) => self.over(&code, "refused", &problem, None).await,
            },
            Check::Unplumb(origin) => self.on_unplumb_checked(&origin, facts).await,
        }
    }

    /// Whether the room may be bridged, by what it is like.
    fn judge(&mut self, code: &str, facts: Result<RoomFacts, String>) -> Result<(), String> {
        let Some(request) = self.requests.by_code.get_mut(code) else { return Ok(()) };
        let Some(network) = self.networks.get(&request.network) else { return Ok(()) };
        let (name, plumbing) = (&network.config.name, &network.config.plumbing);
        let RoomFacts { may, people, other_bridge } =
            facts.map_err(|error| format!("I can't see what this room is like: {error}. Nothing was done."))?;
        if !may {
            return Err(format!(
                "Only who may set state in this room can bridge it, and {} may not.",
                request.origin.sender
            ));
        }
        let most = plumbing.max_people;
        if most != 0 && people > most as usize {
            return Err(format!("This room has {people} people, and rooms bridged to {name} may have at most {most}."));
        }
        if let Some(other) = other_bridge.filter(|_| !plumbing.allow_double) {
            return Err(format!(
                "Another bridge, {other}, is in this room. Two would say everything twice: end that one first."
            ));
        }
        request.people = people;
        request.stage = Stage::Looking;
        Ok(())
    }

    async fn on_unplumb_checked(&mut self, origin: &Origin, facts: Result<RoomFacts, String>) {
        let request = self.requests.code_for(|request| request.origin.room == origin.room);
        let own = request.as_ref().and_then(|code| self.requests.by_code.get(code));
        let own = own.is_some_and(|request| request.origin.sender == origin.sender);
        match facts {
            Ok(facts) if !facts.may && !own => {
                let text =
                    format!("Only who may set state in this room can end its bridge, and {} may not.", origin.sender);
                return self.answer(origin, "refused", text);
            }
            Err(error) if !own => {
                return self.answer(origin, "refused", format!("I can't see what you may do here: {error}."));
            }
            _ => {}
        }
        if let Some(code) = request {
            let on_irc = format!("The request {code} was taken back.");
            return self.over(&code, "withdrawn", "The request is taken back.", Some(&on_irc)).await;
        }
        let RoomKind::Portal(room) = self.directory.kind(&origin.room) else { return };
        for key in room.channels.clone() {
            let words = format!("{} has ended this room's bridge to IRC.", origin.sender);
            let reason = "The bridge to Matrix was ended by the room".to_owned();
            self.end_portal(Ending { key, words, reason, operator: None, opt_out: None });
        }
    }

    /// Looks for the channel's operators, now or when the bot is on the network.
    async fn find_operators(&mut self, code: &str) {
        let Some(request) = self.requests.by_code.get(code).filter(|request| request.stage == Stage::Looking) else {
            return;
        };
        let Some(network) = self.networks.get(&request.network) else { return };
        let (origin, channel, bot) = (request.origin.clone(), request.channel.clone(), network.bot.clone());
        match &network.bot_state {
            BotState::On => {
                let command = self.delivery.command();
                self.act(&bot, command, IrcAction::AskNames { channel }).await;
            }
            BotState::Off(why) => {
                let text = format!("I am not connected to {} ({why}). I go on as soon as I am.", network.config.name);
                self.answer(&origin, "away", text);
            }
        }
    }

    /// The bot is on the network: what waited for that goes on.
    pub(in crate::bridge) async fn requests_go_on(&mut self, network: &NetworkId) {
        let waiting: Vec<String> = self
            .requests
            .by_code
            .iter()
            .filter(|(_, request)| request.network == *network)
            .map(|(code, _)| code.clone())
            .collect();
        for code in waiting {
            self.find_operators(&code).await;
        }
    }

    /// A request has waited for too long.
    pub(in crate::bridge) async fn on_request_expires(&mut self, code: &str) {
        let Some(request) = self.requests.by_code.get(code) else { return };
        let text = format!(
            "No operator of {} has agreed in time, so the request is over. It can be made again.",
            request.channel
        );
        let on_irc = format!("The request {code} is over: it was not answered in time.");
        self.over(code, "expired", &text, Some(&on_irc)).await;
    }

    /// The bot isn't in a room any more.
    pub(in crate::bridge) async fn requests_of_room_end(&mut self, room: &ruma::RoomId) {
        let Some(code) = self.requests.code_for(|request| request.origin.room == *room) else { return };
        let on_irc = format!("The request {code} is over.");
        self.over(&code, "removed", "I was removed from the room, so the request is over.", Some(&on_irc)).await;
    }

    /// A request is decided: the room is told, and those who were asked on IRC too where they have to know.
    pub(super) async fn over(&mut self, code: &str, what: &str, text: &str, on_irc: Option<&str>) {
        let Some(request) = self.requests.by_code.remove(code) else { return };
        if matches!(request.stage, Stage::Visiting(_) | Stage::Joining(..)) {
            self.stay_out(&request.network, request.channel.clone()).await;
        }
        self.answer(&request.origin, what, text);
        if let Some(words) = on_irc {
            for nick in request.asked {
                self.tell_on_irc(&request.network, &nick, vec![words.to_owned()]).await;
            }
        }
        self.journal.settle_matrix(request.origin.key).await;
    }
}
