//! Who is in a channel and its rooms: what people's coming and going on one side means on the other.

use std::sync::Arc;

use ruma::{OwnedUserId, RoomId, UserId};

use super::{
    delivery::Origin,
    directory::{ChannelRef, QueryRef, RoomKind},
    dispatch::{Core, Input},
    event::{Event, Member},
    ghosts::Ghost,
    network::BotState,
    observer,
    outbox::{Job, Lane},
};
use crate::{
    model::{ChannelKey, Failure, Fate, IrcAction, IrcKey, Isupport, LinkId, Reason, RosterMember, Source},
    translate,
};

// Our own links.
impl Core {
    /// A link is on its network, and knows what the server says of itself.
    pub(super) fn on_ready(&mut self, link: &LinkId, isupport: Arc<Isupport>) {
        let Some(network) = self.networks.get_mut(link.network()) else { return };
        if link.is_bot() {
            network.bot_state = BotState::On;
        }
        let mapping = isupport.casemapping;
        let refold = network.isupport.casemapping != mapping;
        if network.isupport != isupport {
            network.isupport = isupport.clone();
            let (store, id) = (self.store.clone(), network.id.clone());
            tokio::spawn(async move {
                if let Err(error) = store.put_isupport(&id, &isupport).await {
                    tracing::warn!(network = %id, %error, "could not store what the server said of itself");
                }
            });
        }
        if refold {
            self.directory.refold(link.network(), mapping);
            self.puppets.refold(link.network(), mapping);
            self.echo.refold(link.network(), mapping);
        }
    }

    pub(super) fn on_own_nick(&mut self, link: &LinkId, nick: &str) {
        self.is_called(link, nick);
        self.keep_nick(link, nick);
    }

    /// One of our links has this nick now.
    fn is_called(&mut self, link: &LinkId, nick: &str) {
        let Some(network) = self.networks.get(link.network()) else { return };
        let mapping = network.isupport.casemapping;
        let username =
            if link.is_bot() { network.bot_username.as_str() } else { self.puppets.username(link).unwrap_or_default() };
        self.echo.has(link, nick, mapping, username, self.clock.now());
    }

    pub(super) async fn on_own_joined(&mut self, link: &LinkId, channel: &str) {
        let Some(key) = self.channel_ref(link, channel) else { return };
        let Some(state) = self.directory.channels.get_mut(&key) else {
            // Not (or no more) bridged: nothing keeps us there.
            let command = self.delivery.command();
            let part = IrcAction::Part { channel: channel.to_owned(), reason: None };
            return self.act(link, command, part).await;
        };
        if !state.present.contains(link) {
            state.present.push(link.clone());
        }
        if link.is_bot() {
            state.trouble.over();
            state.witnesses.begins(link, self.clock.now());
        }
        if let Some(puppet) = self.puppets.links.get_mut(link) {
            // It may have been forced in by the network.
            puppet.wanted.entry(key.1.clone()).or_insert_with(|| channel.to_owned());
        }
        self.observe(&key).await;
    }

    pub(super) async fn on_own_left(&mut self, link: &LinkId, channel: &str) {
        let Some(key) = self.channel_ref(link, channel) else { return };
        self.absent(link, &key).await;
    }

    /// A link is not in a channel any more.
    pub(super) async fn absent(&mut self, link: &LinkId, key: &ChannelRef) {
        let Some(channel) = self.directory.channels.get_mut(key) else { return };
        if let Some(place) = channel.present.iter().position(|present| present == link) {
            channel.present.remove(place);
            self.observe(key).await;
        }
    }

    /// Lets the right link observe a channel.
    async fn observe(&mut self, key: &ChannelRef) {
        let Some(channel) = self.directory.channels.get_mut(key) else { return };
        let chosen = observer::choose(&channel.present, channel.observer.as_ref()).cloned();
        if chosen == channel.observer {
            return;
        }
        let name = channel.name.clone();
        let before = std::mem::replace(&mut channel.observer, chosen.clone());
        let before = before.filter(|link| channel.present.contains(link));
        if let Some(puppet) = chosen.as_ref().filter(|link| !link.is_bot()) {
            channel.witnesses.begins(puppet, self.clock.now());
        }
        tracing::info!(portal.channel = %name, from = ?before, to = ?chosen, "another link observes the channel");
        let changes = before.into_iter().map(|link| (link, false)).chain(chosen.map(|link| (link, true)));
        // The bot observes wherever it is, unasked: between its JOIN and our hearing of it nothing may be missed.
        for (link, on) in changes.filter(|(link, _)| !link.is_bot()) {
            let command = self.delivery.command();
            self.act(&link, command, IrcAction::Observe { channel: name.clone(), on }).await;
        }
    }

    /// Lets the bot come into a channel (again).
    pub(super) async fn join_with_bot(&mut self, key: &ChannelRef) {
        let Some(network) = self.networks.get(&key.0) else { return };
        let Some(channel) = self.directory.channels.get_mut(key) else { return };
        channel.trouble.trying();
        let (bot, channel) = (network.bot.clone(), ChannelKey { name: channel.name.clone(), key: channel.key.clone() });
        let command = self.delivery.command();
        self.act(&bot, command, IrcAction::Join { channels: vec![channel] }).await;
    }

    /// The bot can't be in a channel: its rooms are told if that is news to them, and it tries again later.
    fn bot_is_out(&mut self, key: ChannelRef, words: &str, at: IrcKey) {
        let Some(channel) = self.directory.channels.get_mut(&key) else { return };
        let (news, pause) = channel.trouble.again(words);
        tracing::warn!(network = %key.0, portal.channel = channel.name, news, "the bridge's bot {words}");
        if news {
            self.notice(&key, &format!("The bridge's bot {words}. It will try again by itself."), at);
        }
        let (Some(pause), input) = (pause, self.input.clone()) else { return };
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            let _ = input.send(Input::BotRetries(key)).await;
        });
    }

    pub(super) async fn on_own_kicked(
        &mut self,
        link: &LinkId,
        channel: &str,
        source: &Source,
        reason: Option<&str>,
        at: IrcKey,
    ) {
        let Some(key) = self.channel_ref(link, channel) else { return };
        self.absent(link, &key).await;
        let words = kick_words(source, reason);
        let Some(user) = link.user() else {
            return self.bot_is_out(key, &format!("was {words} on IRC ({channel})"), at);
        };
        if let Some(puppet) = self.puppets.links.get_mut(link) {
            puppet.wanted.remove(&key.1);
        }
        for lane in self.lanes_with(&key, user) {
            lane.push(Job::Remove { user: user.to_owned(), reason: format!("was {words} on IRC") });
        }
    }

    pub(super) async fn on_join_refused(&mut self, link: &LinkId, channel: &str, failure: &Failure, at: IrcKey) {
        let Some(key) = self.channel_ref(link, channel) else { return };
        self.absent(link, &key).await;
        let Some(user) = link.user() else {
            return self.bot_is_out(key, &format!("can't join {channel} on IRC: {failure}"), at);
        };
        if let Some(puppet) = self.puppets.links.get_mut(link) {
            puppet.wanted.remove(&key.1);
        }
        let text = format!("{user} can't join {channel} on IRC: {failure}. What they write here can't be seen there.");
        for lane in self.lanes_with(&key, user) {
            lane.push(Job::Notice { text: text.clone(), txn: format!("fbn{at}") });
        }
    }

    /// Says something in all rooms of a channel, once for the event that is the reason.
    fn notice(&self, key: &ChannelRef, text: &str, at: IrcKey) {
        for lane in self.lanes(key) {
            lane.push(Job::Notice { text: text.to_owned(), txn: format!("fbn{at}") });
        }
    }

    pub(super) fn channel_ref(&self, link: &LinkId, channel: &str) -> Option<ChannelRef> {
        self.networks.get(link.network()).map(|network| (network.id.clone(), network.fold(channel)))
    }

    /// The lanes of a channel's rooms.
    fn lanes(&self, key: &ChannelRef) -> Vec<Lane> {
        let rooms = self.directory.channels.get(key).into_iter().flat_map(|channel| &channel.rooms);
        rooms.filter_map(|room| self.directory.rooms.get(room)).map(|room| room.lane.clone()).collect()
    }

    /// The lanes of those of a channel's rooms that a Matrix user is in.
    fn lanes_with(&self, key: &ChannelRef, user: &UserId) -> Vec<Lane> {
        let rooms = self.directory.channels.get(key).into_iter().flat_map(|channel| &channel.rooms);
        let rooms = rooms.filter_map(|room| self.directory.rooms.get(room));
        rooms.filter(|room| room.members.contains_key(user)).map(|room| room.lane.clone()).collect()
    }
}

fn kick_words(source: &Source, reason: Option<&str>) -> String {
    let reason = reason.map(translate::one_line).filter(|reason| !reason.is_empty());
    match reason {
        Some(reason) => format!("kicked by {}: {reason}", source.nick),
        None => format!("kicked by {}", source.nick),
    }
}

// People on IRC.
impl Core {
    pub(super) fn on_roster(&mut self, link: &LinkId, channel: &str, members: Vec<RosterMember>) {
        let Some(key) = self.observed(link, channel) else { return };
        let others: Vec<Source> = members
            .into_iter()
            .map(|member| member.source)
            .filter(|source| self.link_of(&key.0, source).is_none())
            .collect();
        let Some(network) = self.networks.get(&key.0) else { return };
        let all = others.len() < network.config.ghosts.join_below as usize;
        let ghosts: Vec<Arc<Ghost>> = others.iter().filter_map(|source| network.ghost_of(source)).collect();
        for lane in self.lanes(&key) {
            lane.roster(ghosts.clone(), all);
        }
        let roster = others.into_iter().map(|source| (network.fold(&source.nick), source)).collect();
        if let Some(channel) = self.directory.channels.get_mut(&key) {
            channel.roster = roster;
        }
    }

    pub(super) fn on_joined(&mut self, link: &LinkId, channel: &str, source: Source) {
        let Some(key) = self.observed(link, channel) else { return };
        if self.link_of(&key.0, &source).is_some() {
            return;
        }
        let Some(network) = self.networks.get(&key.0) else { return };
        let (ghost, folded) = (network.ghost_of(&source), network.fold(&source.nick));
        let join_below = network.config.ghosts.join_below as usize;
        let Some(channel) = self.directory.channels.get_mut(&key) else { return };
        channel.roster.insert(folded, source);
        if channel.roster.len() < join_below
            && let Some(ghost) = ghost
        {
            self.lanes(&key).iter().for_each(|lane| lane.arrive(ghost.clone()));
        }
    }

    pub(super) fn on_parted(&mut self, link: &LinkId, channel: &str, source: &Source, reason: Option<&str>) {
        if let Some(key) = self.observed(link, channel) {
            let reason = reason.map(translate::one_line).filter(|reason| !reason.is_empty());
            self.left(&key, source, reason.as_deref());
        }
    }

    pub(super) fn on_kicked(&mut self, link: &LinkId, channel: &str, by: &Source, nick: &str, reason: Option<&str>) {
        let Some(key) = self.observed(link, channel) else { return };
        let Some(network) = self.networks.get(&key.0) else { return };
        let known = self.directory.channels.get(&key).and_then(|channel| channel.roster.get(&network.fold(nick)));
        let who = known.cloned().unwrap_or_else(|| Source { nick: nick.to_owned(), user: None, host: None });
        self.left(&key, &who, Some(&kick_words(by, reason)));
    }

    pub(super) fn on_quit(&mut self, link: &LinkId, source: &Source, reason: Option<&str>) {
        let words = translate::one_line(reason.unwrap_or_default());
        // Most servers say so themselves where the words are the user's own.
        let reason = if words.starts_with("Quit: ") { words } else { format!("Quit: {words}") };
        for key in self.observed_with(link, source) {
            self.left(&key, source, Some(&reason));
        }
    }

    /// Somebody isn't in a channel any more.
    fn left(&mut self, key: &ChannelRef, source: &Source, reason: Option<&str>) {
        let Some(network) = self.networks.get(&key.0) else { return };
        let (folded, ghost) = (network.fold(&source.nick), network.ghost_of(source));
        let Some(channel) = self.directory.channels.get_mut(key) else { return };
        let was_there = channel.roster.remove(&folded).is_some();
        if let (true, Some(ghost)) = (was_there, ghost) {
            self.lanes(key).iter().for_each(|lane| lane.depart(ghost.user.clone(), reason.map(ToOwned::to_owned)));
        }
    }

    pub(super) fn on_renamed(&mut self, link: &LinkId, source: &Source, nick: &str) {
        let Some(network) = self.networks.get(link.network()) else { return };
        if let Some(ours) = self.link_of(&network.id, source).cloned() {
            // Its own link tells the same, but perhaps later than this one tells what is said under the new nick.
            if self.echo.holds(&ours, &network.fold(&source.nick)) {
                self.is_called(&ours, nick);
            }
            return;
        }
        let renamed = Source { nick: nick.to_owned(), ..source.clone() };
        let (old, new) = (network.fold(&source.nick), network.fold(nick));
        let (before, after) = (network.ghost_of(source), network.ghost_of(&renamed));
        let join_below = network.config.ghosts.join_below as usize;
        for key in self.observed_with(link, source) {
            let Some(channel) = self.directory.channels.get_mut(&key) else { continue };
            channel.roster.remove(&old);
            channel.roster.insert(new.clone(), renamed.clone());
            let all = channel.roster.len() < join_below;
            for lane in self.lanes(&key) {
                match (&before, &after) {
                    // The same ghost, written another way.
                    (_, Some(after)) if old == new => lane.push(Job::Rename(after.clone())),
                    _ => {
                        if let Some(before) = &before {
                            lane.depart(before.user.clone(), Some(format!("is now {nick}")));
                        }
                        if let Some(after) = after.as_ref().filter(|_| all) {
                            lane.arrive(after.clone());
                        }
                    }
                }
            }
        }
    }

    /// The channels that a link observes and that somebody is in.
    fn observed_with(&self, link: &LinkId, source: &Source) -> Vec<ChannelRef> {
        let Some(network) = self.networks.get(link.network()) else { return Vec::new() };
        let folded = network.fold(&source.nick);
        let channels = self.directory.channels.iter();
        let channels = channels.filter(|(_, channel)| channel.observer.as_ref() == Some(link));
        channels.filter(|(_, channel)| channel.roster.contains_key(&folded)).map(|(key, _)| key.clone()).collect()
    }
}

// People on Matrix.
impl Core {
    /// The bot is in a room with portals: its channels can be entered, and its people come back.
    pub(super) async fn on_room_ready(&mut self, room: &RoomId, members: Vec<(OwnedUserId, Option<String>)>) {
        let Some(state) = self.directory.rooms.get_mut(room) else { return };
        let gone = state.entered(members);
        let channels = state.channels.clone();
        for user in gone {
            self.leave_channels(&channels, &user, None).await;
        }
        for key in &channels {
            self.join_with_bot(key).await;
            let remembered = self.remembered.get(&key.0);
            let back: Vec<OwnedUserId> = match (self.directory.rooms.get(room), remembered) {
                (Some(state), Some(remembered)) => {
                    state.members.keys().filter(|user| remembered.contains_key(*user)).cloned().collect()
                }
                _ => Vec::new(),
            };
            for user in back {
                if let Err(failure) = self.enter_channel(key, &user).await {
                    tracing::warn!(%user, network = %key.0, %failure, "a puppet can't come back");
                }
            }
        }
    }

    /// Brings a Matrix user's puppet into a channel.
    async fn enter_channel(&mut self, key: &ChannelRef, user: &UserId) -> Result<(), Failure> {
        let Some(channel) = self.directory.channels.get(key) else { return Ok(()) };
        let channel = ChannelKey { name: channel.name.clone(), key: channel.key.clone() };
        let link = self.puppet(&key.0, user)?;
        self.want_channel(&link, &key.1, channel).await;
        Ok(())
    }

    /// Lets the puppet of a Matrix user, who has left a room, leave its channels where no other room keeps it there.
    async fn leave_channels(&mut self, channels: &[ChannelRef], user: &UserId, reason: Option<&str>) {
        for key in channels {
            if !self.directory.channels_of(&key.0, user).contains(key) {
                let link = LinkId::puppet(key.0.clone(), user.to_owned());
                self.leave_channel(&link, &key.1, reason.map(ToOwned::to_owned)).await;
            }
        }
    }

    /// A membership event by somebody who isn't ours.
    pub(super) async fn on_member(&mut self, event: &Event<'_>, origin: &Origin) {
        let target = event.state_key.as_deref().and_then(|user| UserId::parse(user).ok());
        let (Some(target), Some(member)) = (target, event.content::<Member>()) else {
            return self.journal.settle_matrix(origin.key).await;
        };
        if self.is_ours(&target) {
            return self.on_our_member(&target, &member, event, origin).await;
        }
        match self.directory.kind(&event.room_id) {
            RoomKind::Portal(_) => self.on_portal_member(&target, &member, event, origin).await,
            RoomKind::Query(query) => {
                let query = query.clone();
                self.on_query_member(&query, &target, &member).await;
            }
            RoomKind::Control(owner) => {
                if target == *owner && matches!(member.membership.as_str(), "leave" | "ban") {
                    self.forget_control(&target, &event.room_id);
                }
            }
            RoomKind::Unknown => {}
        }
        if !matches!(self.directory.kind(&event.room_id), RoomKind::Portal(_)) {
            self.journal.settle_matrix(origin.key).await;
        }
    }

    async fn on_portal_member(&mut self, target: &UserId, member: &Member, event: &Event<'_>, origin: &Origin) {
        let Some(room) = self.directory.rooms.get_mut(&event.room_id) else { return };
        let channels = room.channels.clone();
        match member.membership.as_str() {
            "join" => {
                room.came(target, member.displayname.clone());
                // Not by whether they were a known member: the list of members may be newer than this event.
                if !event.was_joined() {
                    for key in &channels {
                        if let Err(failure) = self.enter_channel(key, target).await {
                            return self.told(origin, &failure);
                        }
                    }
                }
            }
            "leave" | "ban" if room.went(target) => {
                let reason = leave_words(target, member, event);
                self.leave_channels(&channels, target, reason.as_deref()).await;
            }
            _ => {}
        }
        self.journal.settle_matrix(origin.key).await;
    }

    /// Somebody did something about one of our own users.
    async fn on_our_member(&mut self, target: &UserId, member: &Member, event: &Event<'_>, origin: &Origin) {
        match member.membership.as_str() {
            "invite" if *target == self.bot => self.on_bot_invited(member, event, origin).await,
            "invite" => self.on_ghost_invited(target, event, origin).await,
            // A ban lifted or an invitation withdrawn shows nobody out.
            "leave" if !event.was_joined() => self.on_ghost_unwanted(target, event, origin).await,
            "leave" | "ban" if *target == self.bot => self.on_bot_removed(member, event, origin).await,
            "leave" | "ban" => self.on_ghost_removed(target, member, event, origin).await,
            _ => self.journal.settle_matrix(origin.key).await,
        }
    }

    /// A ghost shown out of a room is shown out of the channel, by the same person.
    async fn on_ghost_removed(&mut self, target: &UserId, member: &Member, event: &Event<'_>, origin: &Origin) {
        let room = match self.directory.kind(&event.room_id) {
            RoomKind::Portal(room) => room,
            RoomKind::Query(_) => return self.on_ghost_unwanted(target, event, origin).await,
            RoomKind::Control(_) | RoomKind::Unknown => return self.journal.settle_matrix(origin.key).await,
        };
        room.lane.removed(target);
        let channels = room.channels.clone();
        let mut under_way = false;
        for key in &channels {
            let Some(network) = self.networks.get(&key.0) else { continue };
            let Some(folded) = network.nick_of(target) else { continue };
            let Some(channel) = self.directory.channels.get(key) else { continue };
            let Some(who) = channel.roster.get(&folded) else { continue };
            let reason = member.reason.as_deref().map(translate::one_line).filter(|reason| !reason.is_empty());
            let action = IrcAction::Kick {
                channel: channel.name.clone(),
                nick: who.nick.clone(),
                reason,
                expires: self.too_old_after(network, event),
                journal: Some(origin.key),
            };
            under_way = true;
            let command = self.delivery.command_for(origin);
            match self.enter_channel(key, &origin.sender).await {
                Ok(()) => {
                    let link = LinkId::puppet(key.0.clone(), origin.sender.clone());
                    self.act(&link, command, action).await;
                }
                Err(failure) => self.on_fate(command, Fate::Failed(failure)).await,
            }
        }
        if !under_way {
            self.journal.settle_matrix(origin.key).await;
        }
    }

    /// A ghost is not to come into a room: if that is a query's room and the ghost is whom it is about, it is over.
    async fn on_ghost_unwanted(&mut self, target: &UserId, event: &Event<'_>, origin: &Origin) {
        if let RoomKind::Query(query) = self.directory.kind(&event.room_id)
            && self.is_query_with(query, target)
        {
            let query = query.clone();
            self.end_query(&query).await;
        }
        self.journal.settle_matrix(origin.key).await;
    }

    /// Whether `ghost` is the one with whom a query is.
    fn is_query_with(&self, query: &QueryRef, ghost: &UserId) -> bool {
        self.networks.get(&query.0).and_then(|network| network.nick_of(ghost)).is_some_and(|nick| nick == query.2)
    }

    /// The bot was shown out of a room. Without it the room hears of no failure and no newcomer, so nothing is taken
    /// from it until it has the bot back.
    async fn on_bot_removed(&mut self, member: &Member, event: &Event<'_>, origin: &Origin) {
        match self.directory.kind(&event.room_id) {
            RoomKind::Portal(_) => {
                tracing::warn!(
                    portal.room = %event.room_id, by = %event.sender, membership = member.membership,
                    "the bridge's bot was removed from a bridged room; what is said there isn't brought to IRC until the bot is invited again"
                );
                if let Some(room) = self.directory.rooms.get_mut(&event.room_id) {
                    room.bot_removed();
                }
            }
            RoomKind::Control(owner) => {
                let owner = owner.clone();
                self.forget_control(&owner, &event.room_id);
            }
            RoomKind::Query(_) | RoomKind::Unknown => {}
        }
        self.journal.settle_matrix(origin.key).await;
    }

    async fn on_bot_invited(&mut self, member: &Member, event: &Event<'_>, origin: &Origin) {
        match self.directory.kind(&event.room_id) {
            RoomKind::Portal(_) => {
                if let Some(room) = self.directory.rooms.get_mut(&event.room_id) {
                    room.entering();
                    room.lane.invited();
                }
            }
            RoomKind::Unknown if member.is_direct => self.accept_control(event),
            // A room for more than two is no control room; if it is to be plumbed, the bot comes when its portal is made.
            RoomKind::Unknown | RoomKind::Query(_) | RoomKind::Control(_) => {}
        }
        self.journal.settle_matrix(origin.key).await;
    }

    async fn on_ghost_invited(&mut self, target: &UserId, event: &Event<'_>, origin: &Origin) {
        let ghost = self.ghost_by_id(target);
        match (self.directory.kind(&event.room_id), ghost) {
            (RoomKind::Portal(_), _) => {}
            (_, None) => return self.told(origin, &Failure::certain(Reason::BadName)),
            (RoomKind::Query(query), Some(ghost)) if self.is_query_with(query, target) => {
                self.return_to_query(ghost, query);
            }
            (RoomKind::Query(_) | RoomKind::Control(_), Some(ghost)) => self.turn_down(&ghost, &event.room_id),
            (RoomKind::Unknown, Some(ghost)) => self.open_query(&ghost, &event.sender, event.room_id.clone()),
        }
        self.journal.settle_matrix(origin.key).await;
    }

    /// The ghost that `user` is, if it stands for a possible nick.
    pub(super) fn ghost_by_id(&self, user: &UserId) -> Option<Arc<Ghost>> {
        self.networks.values().find_map(|network| {
            let nick = network.nick_of(user)?;
            translate::valid_nick(nick.as_str(), &network.isupport).then_some(())?;
            match self.directory.spelling(&network.id, &nick) {
                Some(seen) => network.ghost(seen),
                None => network.unseen_ghost(&nick),
            }
        })
    }
}

/// What a puppet says when it leaves: why its user was removed, or the user's own words.
fn leave_words(target: &UserId, member: &Member, event: &Event<'_>) -> Option<String> {
    let reason = member.reason.as_deref().map(translate::one_line).filter(|reason| !reason.is_empty());
    if event.sender == *target {
        return reason;
    }
    let done = if member.membership == "ban" { "banned" } else { "kicked" };
    Some(match reason {
        Some(reason) => format!("{done} by {}: {reason}", event.sender),
        None => format!("{done} by {}", event.sender),
    })
}
