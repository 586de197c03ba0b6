//! The conversations around a request: with the room that asks, and with the operators who are asked.

use std::time::Duration;

use super::{
    By, MOST_ASKED, MOST_REQUESTS, MOST_VISITS, Request, Seen, Stage, Why, code_of, is_operator,
    room::{Check, RoomFacts},
    seen,
};
use crate::{
    bridge::{
        delivery::Origin,
        directory::{ChannelRef, RoomKind},
        dispatch::{Core, Input},
        keeper::Fact,
        network::{BotState, Network},
    },
    config::Consenting,
    model::{
        ChannelKey, Failure, Folded, IrcAction, LinkId, Millis, NetworkId, Profile, Reason, RosterMember, Source,
        TextKind,
    },
    store::{Consent, OptOut, Portal, PortalKind, Standing},
    translate,
};

// On Matrix.
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
            self.end_portal(&key, &words, "The bridge to Matrix was ended by the room").await;
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
    async fn over(&mut self, code: &str, what: &str, text: &str, on_irc: Option<&str>) {
        let Some(request) = self.requests.by_code.remove(code) else { return };
        self.answer(&request.origin, what, text);
        if let Some(words) = on_irc {
            for nick in request.asked {
                self.tell_on_irc(&request.network, &nick, vec![words.to_owned()]).await;
            }
        }
        self.journal.settle_matrix(request.origin.key).await;
    }
}

// On IRC.
impl Core {
    /// Writes to somebody on IRC, as the bot.
    pub(in crate::bridge) async fn tell_on_irc(&mut self, network: &NetworkId, nick: &str, lines: Vec<String>) {
        let command = self.delivery.command();
        let say = IrcAction::Say {
            target: nick.to_owned(),
            kind: TextKind::Notice,
            lines,
            expires: self.clock.now() + 60_000,
            journal: None,
        };
        self.act(&LinkId::bot(network.clone()), command, say).await;
    }

    fn bot_nick(&self, network: &Network) -> String {
        self.echo.nick_of(&network.bot).unwrap_or(&network.config.bot.nick).to_owned()
    }

    /// The server has shown who is in a channel: its operators are asked.
    pub(in crate::bridge) async fn on_names(&mut self, link: &LinkId, channel: &str, members: Vec<RosterMember>) {
        let Some(network) = self.networks.get(link.network()) else { return };
        let key = (network.id.clone(), network.fold(channel));
        let code = self.requests.code_for(|request| {
            request.stage == Stage::Looking && request.network == key.0 && network.fold(&request.channel) == key.1
        });
        let Some(code) = code else { return };
        let bot = self.bot_nick(network);
        let operators: Vec<String> = members
            .into_iter()
            .filter(|member| {
                is_operator(&member.prefixes, &network.isupport) && self.link_of(&key.0, &member.source).is_none()
            })
            .map(|member| member.source.nick)
            .take(MOST_ASKED)
            .collect();
        let (server, now) = (self.server.clone(), self.clock.now());
        let Some(request) = self.requests.by_code.get_mut(&code) else { return };
        request.stage = Stage::Waiting;
        request.asked.clone_from(&operators);
        let (origin, people, channel) = (request.origin.clone(), request.people, request.channel.clone());
        let minutes = (request.expires.saturating_sub(now) / 60_000).max(1);
        let how = format!(
            "any operator of {channel} agrees by `/msg {bot} yes {code}`, or by inviting me: `/invite {bot} {channel}`. I wait \
             for {minutes} minutes; `!unplumb` takes the request back."
        );
        let text = if operators.is_empty() {
            format!(
                "I see no operator in {channel}: nobody has op there just now, or it is hidden from those who aren't in it. \
                 Ask one to get op; {how}"
            )
        } else {
            format!("I have asked {} on IRC; {how}", operators.join(", "))
        };
        self.answer(&origin, "asked", text);
        for nick in operators {
            let lines = vec![
                format!(
                    "{} on Matrix asks to bridge the room {} ({people} people) to {channel}, through the bridge of {server}.",
                    origin.sender, origin.room
                ),
                format!(
                    "Everything said in either would be seen in both. To agree: /msg {bot} yes {code}  To refuse: /msg {bot} \
                     no {code}  You can end it at any time: /msg {bot} unplumb {channel}"
                ),
            ];
            self.tell_on_irc(&key.0, &nick, lines).await;
        }
    }

    /// Somebody answers a request.
    pub(in crate::bridge) async fn on_answer(&mut self, network: &NetworkId, source: &Source, code: &str, yes: bool) {
        let code = code.to_ascii_lowercase();
        let known = self.requests.by_code.get(&code).filter(|request| request.network == *network);
        match known.map(|request| &request.stage) {
            Some(Stage::Waiting) => self.verify(network, source, Why::Answer { code, yes }).await,
            Some(_) => self.tell_on_irc(network, &source.nick, vec!["That is being seen to.".to_owned()]).await,
            None => {
                let words = "I know no such request (any more).".to_owned();
                self.tell_on_irc(network, &source.nick, vec![words]).await;
            }
        }
    }

    /// An operator wants the channel's bridge to end.
    pub(in crate::bridge) async fn on_unplumb_on_irc(
        &mut self,
        network: &NetworkId,
        source: &Source,
        channel: String,
        for_good: bool,
    ) {
        self.verify(network, source, Why::Unplumb { channel, for_good }).await;
    }

    /// An operator lets the channel be bridged again.
    pub(in crate::bridge) async fn on_opt_in(&mut self, network: &NetworkId, source: &Source, channel: String) {
        self.verify(network, source, Why::OptIn { channel }).await;
    }

    /// The bot is invited to a channel.
    pub(in crate::bridge) async fn on_invited(&mut self, link: &LinkId, source: &Source, channel: &str) {
        let Some(network) = self.networks.get(link.network()).filter(|_| link.is_bot()) else { return };
        let (id, folded) = (network.id.clone(), network.fold(channel));
        let any_member = network.config.plumbing.consent == Consenting::Invite && !network.config.plumbing.need_account;
        let code = self.requests.code_for(|request| {
            request.stage == Stage::Waiting && request.network == id && network.fold(&request.channel) == folded
        });
        let Some(code) = code else { return };
        if any_member {
            self.agreed(&code, &source.nick, By::Invitation).await;
        } else {
            self.verify(&id, source, Why::Invitation { code }).await;
        }
    }

    /// Asks the server who somebody is.
    async fn verify(&mut self, network: &NetworkId, source: &Source, why: Why) {
        let Some(known) = self.networks.get(network) else { return };
        if self.requests.check(network, known.fold(&source.nick), why) {
            let command = self.delivery.command();
            let ask = IrcAction::AskWhois { nick: source.nick.clone() };
            self.act(&LinkId::bot(network.clone()), command, ask).await;
        } else {
            let words = "I am too busy just now; say that again in a minute.".to_owned();
            self.tell_on_irc(network, &source.nick, vec![words]).await;
        }
    }

    /// The server has said who somebody is.
    pub(in crate::bridge) async fn on_whois(&mut self, link: &LinkId, nick: &str, profile: Option<&Profile>) {
        let Some(network) = self.networks.get(link.network()) else { return };
        let (id, folded) = (network.id.clone(), network.fold(nick));
        for why in self.requests.checked(&id, &folded) {
            let Some(profile) = profile else { continue };
            if let Some(refusal) = self.on_verified(&id, nick, profile, why).await {
                self.tell_on_irc(&id, nick, vec![refusal]).await;
            }
        }
    }

    /// Does what somebody asked for, now that it is known who they are; else says what is missing.
    async fn on_verified(&mut self, id: &NetworkId, nick: &str, profile: &Profile, why: Why) -> Option<String> {
        let network = self.networks.get(id)?;
        let config = &network.config.plumbing;
        let channel = match &why {
            Why::Answer { code, .. } | Why::Invitation { code } => self.requests.by_code.get(code)?.channel.clone(),
            Why::Unplumb { channel, .. } | Why::OptIn { channel } => channel.clone(),
        };
        let key = (id.clone(), network.fold(&channel));
        let place = match seen(profile, &channel, &network.isupport) {
            // The server may hide from the bot what one of our links sees from within.
            Seen::Not => self.seen_from_within(&key, &network.fold(nick)),
            place => place,
        };
        let bot = self.bot_nick(network);
        let invited = matches!(why, Why::Invitation { .. });
        let by = if place == Seen::Operator { By::Operator } else { By::Invitation };
        if config.need_account && profile.account.is_none() {
            return Some(
                "You aren't logged in to an account, and here that is needed: log in, and say it again.".to_owned(),
            );
        }
        let may = place == Seen::Operator || (invited && config.consent == Consenting::Invite);
        match why {
            Why::Answer { .. } if place == Seen::Not => Some(format!(
                "The server doesn't show me that you are in {channel}. If it is hidden, invite me as its operator: /invite \
                 {bot} {channel}"
            )),
            Why::Invitation { code } if place == Seen::Not && !may => self.visit(&code, nick).await,
            _ if !may => {
                self.leave_visited(&key).await;
                Some(format!("Only an operator of {channel} can decide that, and you have no op there now."))
            }
            Why::Answer { code, yes: false } => {
                let now = self.clock.now();
                self.requests.declined.insert(key, now);
                let text = format!("{nick}, an operator of {channel}, has said no.");
                self.over(&code, "declined", &text, None).await;
                Some(format!(
                    "I have said so, and ask nobody of {channel} for a day. For good: /msg {bot} optout {channel}"
                ))
            }
            Why::Answer { code, yes: true } | Why::Invitation { code } => {
                self.agreed(&code, nick, by).await;
                None
            }
            Why::Unplumb { for_good, .. } => Some(self.unplumb_by_operator(&key, nick, &channel, for_good).await),
            Why::OptIn { .. } => {
                self.opted_out.remove(&key);
                self.keeper.note(Fact::OptedIn(key.0, key.1));
                Some(format!("{channel} may be bridged again, if its operators agree."))
            }
        }
    }

    /// What somebody is in a bridged channel, as its observer sees it.
    fn seen_from_within(&self, key: &ChannelRef, nick: &Folded) -> Seen {
        let (Some(channel), Some(network)) = (self.directory.channels.get(key), self.networks.get(&key.0)) else {
            return Seen::Not;
        };
        let Some(person) = channel.watch.observer.as_ref().and_then(|_| channel.roster.get(nick)) else {
            return Seen::Not;
        };
        let prefix = |(letter, prefix): &(char, char)| person.ranks.contains(*letter).then_some(*prefix);
        let prefixes: String = network.isupport.prefix.iter().filter_map(prefix).collect();
        if is_operator(&prefixes, &network.isupport) { Seen::Operator } else { Seen::Member }
    }

    async fn unplumb_by_operator(&mut self, key: &ChannelRef, nick: &str, channel: &str, for_good: bool) -> String {
        if for_good {
            let at = self.clock.now();
            self.opted_out.insert(key.clone());
            let opt_out = OptOut { network: key.0.clone(), folded: key.1.clone(), by: nick.to_owned(), at };
            self.keeper.note(Fact::OptedOut(opt_out));
        }
        let pending = self.networks.get(&key.0).and_then(|network| {
            self.requests.code_for(|request| request.network == key.0 && network.fold(&request.channel) == key.1)
        });
        if let Some(code) = pending {
            let text = format!("{nick}, an operator of {channel}, has said no.");
            self.over(&code, "declined", &text, None).await;
        }
        let was = self.directory.channels.contains_key(key);
        let words = format!("{nick}, an operator of {channel}, has ended this room's bridge to it.");
        self.end_portal(key, &words, &format!("The bridge to Matrix was ended by {nick}")).await;
        match (was, for_good) {
            (_, true) => format!("{channel} is bridged no more, and won't be. To allow it again: optin {channel}"),
            (true, false) => format!("{channel} is bridged no more. All of mine are leaving it and the room."),
            (false, false) => format!("{channel} isn't bridged by me."),
        }
    }

    /// Comes into a hidden channel to which somebody has invited the bot, to see whether they are an operator.
    async fn visit(&mut self, code: &str, nick: &str) -> Option<String> {
        let request = self.requests.by_code.get_mut(code)?;
        let visited = matches!(request.stage, Stage::Visiting(_));
        if visited || request.visits >= MOST_VISITS {
            let (id, channel) = (request.network.clone(), request.channel.clone());
            let key = self.networks.get(&id).map(|network| (id.clone(), network.fold(&channel)))?;
            self.leave_visited(&key).await;
            return Some(format!("I can't see that you are an operator of {channel}."));
        }
        request.visits += 1;
        request.stage = Stage::Visiting(nick.to_owned());
        let (bot, name) = (LinkId::bot(request.network.clone()), request.channel.clone());
        let command = self.delivery.command();
        self.act(&bot, command, IrcAction::Join { channels: vec![ChannelKey { name, key: None }] }).await;
        None
    }

    /// Leaves a channel in which the bot is for a visit only.
    async fn leave_visited(&mut self, key: &ChannelRef) {
        let Some(network) = self.networks.get(&key.0) else { return };
        let code = self.requests.code_for(|request| {
            matches!(request.stage, Stage::Visiting(_))
                && request.network == key.0
                && network.fold(&request.channel) == key.1
        });
        let bot = network.bot.clone();
        let Some(request) = code.and_then(|code| self.requests.by_code.get_mut(&code)) else { return };
        request.stage = Stage::Waiting;
        let part =
            IrcAction::Part { channel: request.channel.clone(), reason: Some("No operator has agreed".to_owned()) };
        let command = self.delivery.command();
        self.act(&bot, command, part).await;
    }

    /// Somebody who may has agreed: the bot joins.
    async fn agreed(&mut self, code: &str, nick: &str, by: By) {
        let Some(request) = self.requests.by_code.get_mut(code) else { return };
        let was_in = matches!(request.stage, Stage::Visiting(_));
        request.stage = Stage::Joining(nick.to_owned(), by);
        request.agreed = Some(nick.to_owned());
        let (bot, name) = (LinkId::bot(request.network.clone()), request.channel.clone());
        if was_in {
            self.bot_is_in(&bot, &name).await;
            return;
        }
        let command = self.delivery.command();
        self.act(&bot, command, IrcAction::Join { channels: vec![ChannelKey { name, key: None }] }).await;
    }

    /// The bot is in a channel that isn't bridged (yet). True if it is to stay there.
    pub(in crate::bridge) async fn joined_for_request(&mut self, link: &LinkId, key: &ChannelRef) -> bool {
        let Some(network) = self.networks.get(&key.0).filter(|_| link.is_bot()) else { return false };
        let code =
            self.requests.code_for(|request| request.network == key.0 && network.fold(&request.channel) == key.1);
        let Some(code) = code else { return false };
        let stage = self.requests.by_code.get(&code).map(|request| request.stage.clone());
        match stage {
            Some(Stage::Joining(nick, by)) => {
                self.bridged(&code, &nick, by).await;
                true
            }
            Some(Stage::Visiting(nick)) => {
                let source = Source { nick, user: None, host: None };
                self.verify(&key.0, &source, Why::Invitation { code }).await;
                true
            }
            _ => false,
        }
    }

    async fn bot_is_in(&mut self, bot: &LinkId, channel: &str) {
        Box::pin(self.on_own_joined(bot, channel)).await;
    }

    /// The bot could not join. True if that was for a request, whose room and operator are told what to do.
    pub(in crate::bridge) async fn refused_for_request(
        &mut self,
        link: &LinkId,
        key: &ChannelRef,
        failure: &Failure,
    ) -> bool {
        let Some(network) = self.networks.get(&key.0).filter(|_| link.is_bot()) else { return false };
        let bot = self.bot_nick(network);
        let code = self.requests.code_for(|request| {
            matches!(request.stage, Stage::Joining(..) | Stage::Visiting(_))
                && request.network == key.0
                && network.fold(&request.channel) == key.1
        });
        let Some(request) = code.and_then(|code| self.requests.by_code.get_mut(&code)) else { return false };
        let (Stage::Joining(nick, _) | Stage::Visiting(nick)) = std::mem::replace(&mut request.stage, Stage::Waiting)
        else {
            return false;
        };
        let (origin, channel) = (request.origin.clone(), request.channel.clone());
        let text = format!("I can't join {channel}: {failure}. {}", hint(failure.reason, &bot, &channel));
        self.answer(&origin, &format!("refused-{:?}", failure.reason), text.clone());
        self.tell_on_irc(&key.0, &nick, vec![text]).await;
        true
    }

    /// The bot is in the channel with its operators' consent: the room is bridged.
    async fn bridged(&mut self, code: &str, nick: &str, by: By) {
        let Some(request) = self.requests.by_code.remove(code) else { return };
        let Some(network) = self.networks.get(&request.network) else { return };
        let Request { origin, network: id, channel, .. } = request;
        let (bot, name) = (self.bot_nick(network), network.config.name.clone());
        let consent = Consent { asked_by: origin.sender.clone(), agreed_by: nick.to_owned(), at: self.clock.now() };
        tracing::info!(portal.room = %origin.room, portal.channel = channel, network = %id, agreed_by = nick, "a room is plumbed");
        let portal = Portal {
            room: origin.room.clone(),
            network: id.clone(),
            channel: channel.clone(),
            folded: network.fold(&channel),
            key: None,
            kind: PortalKind::Agreed,
            standing: Standing::Open,
            consent: Some(consent),
        };
        if let Some(guest) = self.directory.guests.remove(&origin.room) {
            guest.close();
        }
        self.keeper.note(Fact::Portal(portal.clone()));
        Box::pin(self.begin_portal(portal)).await;
        let agreed = match by {
            By::Operator => format!("{nick}, an operator there, has agreed"),
            By::Invitation => format!("{nick}, who is there, has invited me"),
        };
        let text = format!("This room is bridged to {channel} on {name} now: {agreed}. `!unplumb` ends it.");
        self.answer(&origin, "bridged", text);
        let words = format!("Thank you. {channel} is bridged now. To end it at any time: /msg {bot} unplumb {channel}");
        self.tell_on_irc(&id, nick, vec![words]).await;
        self.journal.settle_matrix(origin.key).await;
    }
}

/// What can be done about a channel that the bot can't join.
fn hint(reason: Reason, bot: &str, channel: &str) -> String {
    match reason {
        Reason::InviteOnly | Reason::BadKey | Reason::ChannelFull => {
            format!("An operator of the channel can let me in: `/invite {bot} {channel}`.")
        }
        Reason::Banned => {
            format!("An operator can lift the ban, or make an exception, and invite me: `/invite {bot} {channel}`.")
        }
        Reason::NeedsAccount => {
            "Whoever runs this bridge has to give its bot an account there (`sasl_account`).".to_owned()
        }
        Reason::TooManyChannels => "Whoever runs this bridge has to ask the network for more channels.".to_owned(),
        _ => format!(
            "I don't try again by myself; when that has changed, an operator can invite me: `/invite {bot} {channel}`."
        ),
    }
}
