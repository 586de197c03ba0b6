//! The conversations with people on IRC: operators who are asked, answer, invite, or end a bridge; and who they are.

use super::{By, MOST_ASKED, MOST_VISITS, Request, Seen, Stage, Why, is_operator, seen};
use crate::{
    bridge::{closing::Ending, directory::ChannelRef, dispatch::Core, keeper::Fact, network::Network},
    config::{Consenting, Secret},
    model::{
        ChannelKey, Failure, Folded, IrcAction, LinkId, NetworkId, Profile, Reason, RosterMember, Source, TextKind,
    },
    store::{Consent, OptOut, Portal, PortalKind, Standing},
};

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

    /// Somebody answers a request, perhaps with the channel's key.
    pub(in crate::bridge) async fn on_answer(
        &mut self,
        network: &NetworkId,
        source: &Source,
        code: &str,
        yes: bool,
        key: Option<&str>,
    ) {
        let code = code.to_ascii_lowercase();
        let known = self.requests.by_code.get(&code).filter(|request| request.network == *network);
        let words = match known.map(|request| &request.stage) {
            None => "I know no such request (any more).",
            Some(_) if key.is_some() && self.vault.is_none() => {
                "This bridge keeps no keys: whoever runs it would have to set a key file (`[secrets] key_file`)."
            }
            Some(_) if key.is_some_and(|key| key.starts_with(':') || key.contains([',', '\0'])) => {
                "A channel's key has no comma in it and no colon before it."
            }
            Some(Stage::Waiting) => {
                let key = key.map(|key| Secret::new(key.to_owned()));
                return self.verify(network, source, Why::Answer { code, yes, key }).await;
            }
            Some(_) => "That is being seen to.",
        };
        self.tell_on_irc(network, &source.nick, vec![words.to_owned()]).await;
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
            Why::Answer { code, yes: false, .. } => {
                let now = self.clock.now();
                self.requests.declined.insert(key, now);
                let text = format!("{nick}, an operator of {channel}, has said no.");
                self.over(&code, "declined", &text, None).await;
                Some(format!(
                    "I have said so, and ask nobody of {channel} for a day. For good: /msg {bot} optout {channel}"
                ))
            }
            Why::Answer { code, yes: true, key: told } => {
                if let Some(request) = self.requests.by_code.get_mut(&code) {
                    request.key = told.or(request.key.take());
                }
                self.agreed(&code, nick, by).await;
                None
            }
            Why::Invitation { code } => {
                self.agreed(&code, nick, by).await;
                None
            }
            Why::Unplumb { for_good, .. } => {
                self.unplumb_by_operator(&key, nick, &channel, for_good).await;
                None
            }
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

    async fn unplumb_by_operator(&mut self, key: &ChannelRef, nick: &str, channel: &str, for_good: bool) {
        // Else the next who joins its alias would begin it anew.
        let on_demand = self.networks.get(&key.0).is_some_and(|network| network.config.portals.join_by_alias);
        let for_good = for_good || on_demand;
        let opt_out = for_good.then(|| {
            let at = self.clock.now();
            self.opted_out.insert(key.clone());
            OptOut { network: key.0.clone(), folded: key.1.clone(), by: nick.to_owned(), at }
        });
        let pending = self.networks.get(&key.0).and_then(|network| {
            self.requests.code_for(|request| request.network == key.0 && network.fold(&request.channel) == key.1)
        });
        if let Some(code) = pending {
            let text = format!("{nick}, an operator of {channel}, has said no.");
            self.over(&code, "declined", &text, None).await;
        }
        let was = self.directory.channels.contains_key(key);
        let words = format!("{nick}, an operator of {channel}, has ended this room's bridge to it.");
        let text = match (was, for_good) {
            (_, true) => format!("{channel} is bridged no more, and won't be. To allow it again: optin {channel}"),
            (true, false) => format!("{channel} is bridged no more. All of mine are leaving it and the room."),
            (false, false) => format!("{channel} isn't bridged by me."),
        };
        let operator = Some((nick.to_owned(), text));
        let reason = format!("The bridge to Matrix was ended by {nick}");
        self.end_portal(Ending { key: key.clone(), words, reason, operator, opt_out });
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
        let Some(request) = code.and_then(|code| self.requests.by_code.get_mut(&code)) else { return };
        request.stage = Stage::Waiting;
        let channel = request.channel.clone();
        self.stay_out(&key.0, channel).await;
    }

    /// Lets the bot be in a channel no more, nor come there after a reconnect.
    pub(super) async fn stay_out(&mut self, network: &NetworkId, channel: String) {
        let command = self.delivery.command();
        let part = IrcAction::Part { channel, reason: Some("No operator has agreed".to_owned()) };
        self.act(&LinkId::bot(network.clone()), command, part).await;
    }

    /// The bot was removed from a channel that it visited.
    pub(in crate::bridge) async fn removed_from_visit(&mut self, link: &LinkId, key: &ChannelRef) {
        if link.is_bot() {
            self.leave_visited(key).await;
        }
    }

    /// Somebody who may has agreed: the bot joins.
    async fn agreed(&mut self, code: &str, nick: &str, by: By) {
        let Some(request) = self.requests.by_code.get_mut(code) else { return };
        let was_in = matches!(request.stage, Stage::Visiting(_));
        request.stage = Stage::Joining(nick.to_owned(), by);
        request.agreed = Some(nick.to_owned());
        let (bot, name) = (LinkId::bot(request.network.clone()), request.channel.clone());
        let key = request.key.as_ref().map(|key| key.expose().to_owned());
        if was_in {
            self.bot_is_in(&bot, &name).await;
            return;
        }
        let command = self.delivery.command();
        self.act(&bot, command, IrcAction::Join { channels: vec![ChannelKey { name, key }] }).await;
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
        let Some(code) = code else { return false };
        let Some(request) = self.requests.by_code.get_mut(&code) else { return false };
        let (Stage::Joining(nick, _) | Stage::Visiting(nick)) = std::mem::replace(&mut request.stage, Stage::Waiting)
        else {
            return false;
        };
        let (origin, channel) = (request.origin.clone(), request.channel.clone());
        let text = format!("I can't join {channel}: {failure}. {}", hint(failure.reason, &bot, &channel, &code));
        self.answer(&origin, &format!("refused-{:?}", failure.reason), text.clone());
        self.tell_on_irc(&key.0, &nick, vec![text]).await;
        self.stay_out(&key.0, channel).await;
        true
    }

    /// A portal as it is stored: what is secret about it sealed.
    fn sealed(&self, portal: Portal) -> Portal {
        let key = portal.key.as_ref().zip(self.vault.as_ref());
        let key = key.map(|(key, vault)| vault.seal(key, &sealed_for(&portal)));
        Portal { key, ..portal }
    }

    /// A portal as it was before it was stored.
    pub(in crate::bridge) fn unsealed(&self, portal: Portal) -> Portal {
        let Some(sealed) = &portal.key else { return portal };
        let key = self.vault.as_ref().and_then(|vault| vault.unseal(sealed, &sealed_for(&portal)));
        if key.is_none() {
            tracing::error!(
                network = %portal.network, portal.channel = portal.channel,
                "a channel's key can't be read: it was sealed under another `[secrets] key_file`; restore that file"
            );
        }
        Portal { key, ..portal }
    }

    /// The bot is in the channel with its operators' consent: the room is bridged.
    async fn bridged(&mut self, code: &str, nick: &str, by: By) {
        let Some(request) = self.requests.by_code.remove(code) else { return };
        let Some(network) = self.networks.get(&request.network) else { return };
        let Request { origin, network: id, channel, key, .. } = request;
        let (bot, name) = (self.bot_nick(network), network.config.name.clone());
        let consent = Consent { asked_by: origin.sender.clone(), agreed_by: nick.to_owned(), at: self.clock.now() };
        tracing::info!(portal.room = %origin.room, portal.channel = channel, network = %id, agreed_by = nick, "a room is plumbed");
        let portal = Portal {
            room: origin.room.clone(),
            network: id.clone(),
            channel: channel.clone(),
            folded: network.fold(&channel),
            key: key.map(|key| key.expose().to_owned()),
            kind: PortalKind::Agreed,
            standing: Standing::Open,
            consent: Some(consent),
        };
        let (keeper, journal, fact) =
            (self.keeper.clone(), self.journal.clone(), Fact::Portal(self.sealed(portal.clone())));
        Box::pin(self.begin_portal(portal)).await;
        let agreed = match by {
            By::Operator => format!("{nick}, an operator there, has agreed"),
            By::Invitation => format!("{nick}, who is there, has invited me"),
        };
        let text = format!("This room is bridged to {channel} on {name} now: {agreed}. `!unplumb` ends it.");
        self.answer(&origin, "bridged", text);
        let words = format!("Thank you. {channel} is bridged now. To end it at any time: /msg {bot} unplumb {channel}");
        self.tell_on_irc(&id, nick, vec![words]).await;
        // Should we end before it is stored, the command asks anew.
        tokio::spawn(async move {
            if keeper.keep(fact).await.is_ok() {
                journal.settle_matrix(origin.key).await;
            }
        });
    }
}

/// What can be done about a channel that the bot can't join.
fn hint(reason: Reason, bot: &str, channel: &str, code: &str) -> String {
    match reason {
        Reason::BadKey => format!("An operator of the channel can tell me its key: `/msg {bot} yes {code} KEY`."),
        Reason::InviteOnly | Reason::ChannelFull => {
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

/// Whose a sealed key is.
fn sealed_for(portal: &Portal) -> String {
    format!("key of {} {}", portal.network, portal.folded.as_str())
}
