//! People on Matrix: what their coming and going, and what they do to ghosts and the bot, means on IRC.

use std::sync::Arc;

use ruma::{OwnedUserId, RoomId, UserId};
use serde_json::value::RawValue;

use super::{
    delivery::Origin,
    directory::{ChannelRef, QueryRef, RoomKind},
    dispatch::Core,
    event::{Event, Member},
    ghosts::Ghost,
    people::Person,
    policies::Acl,
};
use crate::{
    model::{ChannelKey, Failure, Fate, IrcAction, LinkId, Reason},
    translate,
};

impl Core {
    /// The bot is in a room with portals: its channels can be entered, and its people come back.
    pub(super) async fn on_room_ready(
        &mut self,
        room: &RoomId,
        mut members: Vec<(OwnedUserId, Option<String>)>,
        asking: Vec<(OwnedUserId, bool)>,
        acl: Option<&RawValue>,
    ) {
        let Some(state) = self.directory.rooms.get_mut(room) else { return };
        state.denied.servers = acl.and_then(Acl::read);
        members.retain(|(user, _)| !state.leaves_out(user));
        let gone = state.entered(members);
        let channels = state.channels.clone();
        for key in &channels {
            self.ranks_known(key);
        }
        self.begin_accord(room);
        for user in gone {
            self.leave_channels(&channels, &user, None).await;
        }
        for key in &channels {
            self.join_with_bot(key).await;
            let remembered = self.remembered.get(&key.0);
            let back: Vec<OwnedUserId> = match (self.directory.rooms.get(room), remembered) {
                // Everybody who reads in a strict room.
                (Some(state), _) if state.readers.is_some() => state.members.keys().cloned().collect(),
                (Some(state), Some(remembered)) => {
                    state.members.keys().filter(|user| remembered.contains_key(*user)).cloned().collect()
                }
                _ => Vec::new(),
            };
            for user in back {
                if let Err(failure) = self.enter_channel(key, &user) {
                    tracing::warn!(%user, network = %key.0, %failure, "a puppet can't come back");
                    self.cannot_be_seen(key, &user, &failure.to_string());
                }
            }
        }
        if let Some(readers) = self.directory.rooms.get_mut(room).and_then(|room| room.readers.as_mut()) {
            readers.may_come(&asking);
            self.readers_known(room);
            for (user, invited) in asking {
                self.asks_in(room, &user, invited);
            }
        }
    }

    /// Brings a Matrix user's puppet into a channel.
    pub(super) fn enter_channel(&mut self, key: &ChannelRef, user: &UserId) -> Result<(), Failure> {
        let Some(channel) = self.directory.channels.get(key) else { return Ok(()) };
        if channel.rooms.iter().filter_map(|room| self.directory.rooms.get(room)).all(|room| room.denies(user)) {
            return Err(Failure::certain(Reason::Listed));
        }
        let channel = ChannelKey { name: channel.name.clone(), key: channel.key.clone() };
        let link = self.puppet(&key.0, user)?;
        self.want_channel(&link, &key.1, channel);
        Ok(())
    }

    /// Lets the puppet of a Matrix user, who has left a room, leave its channels where no other room keeps it there.
    pub(super) async fn leave_channels(&mut self, channels: &[ChannelRef], user: &UserId, reason: Option<&str>) {
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
        if self.ours.includes(&target) {
            return self.on_our_member(&target, &member, event, origin).await;
        }
        match self.directory.kind(&event.room_id) {
            RoomKind::Portal(_) => self.on_portal_member(&target, &member, event, origin).await,
            RoomKind::Query(query) => {
                let query = query.clone();
                self.on_query_member(&query, &event.room_id, &target, &member);
            }
            RoomKind::Control(owner) => {
                if target == *owner && matches!(member.membership.as_str(), "leave" | "ban") {
                    self.forget_control(&target, &event.room_id);
                }
            }
            RoomKind::Unknown => {}
        }
        if !matches!(self.directory.kind(&event.room_id), RoomKind::Portal(_)) {
            self.keeper.settle(origin.key);
        }
    }

    async fn on_portal_member(&mut self, target: &UserId, member: &Member, event: &Event<'_>, origin: &Origin) {
        let Some(room) = self.directory.rooms.get_mut(&event.room_id) else { return };
        let channels = room.channels.clone();
        match member.membership.as_str() {
            "join" if room.leaves_out(target) => {}
            "join" => {
                room.came(target, member.displayname.clone());
                self.rank_of_member(&event.room_id, target);
                self.reader_changed(&event.room_id, target);
                // Not by whether they were a known member: the list of members may be newer than this event.
                if !event.was_joined() {
                    for key in &channels {
                        if let Err(failure) = self.enter_channel(key, target) {
                            self.cannot_be_seen(key, target, &failure.to_string());
                            return self.told(origin, &failure);
                        }
                    }
                }
            }
            "leave" | "ban" if room.went(target) => {
                let reason = leave_words(target, member, event);
                self.rank_of_member(&event.room_id, target);
                self.reader_changed(&event.room_id, target);
                self.leave_channels(&channels, target, reason.as_deref()).await;
            }
            "leave" | "ban" => _ = self.asks_no_more(&event.room_id, target).await,
            "knock" => self.asks_in(&event.room_id, target, false),
            // They need only accept, whoever has invited them.
            "invite" => self.asks_in(&event.room_id, target, true),
            _ => {}
        }
        // What came before it is known by now.
        if matches!(member.membership.as_str(), "join" | "invite")
            && let Some(room) = self.directory.rooms.get(&event.room_id)
        {
            room.lane.admitted(target);
        }
        self.journal.settle_matrix(origin.key).await;
    }

    /// Somebody did something about one of our own users.
    async fn on_our_member(&mut self, target: &UserId, member: &Member, event: &Event<'_>, origin: &Origin) {
        match member.membership.as_str() {
            "invite" if *target == self.ours.bot => self.on_bot_invited(member, event, origin),
            "invite" => self.on_ghost_invited(target, event, origin).await,
            // A ban lifted or an invitation withdrawn shows nobody out.
            "leave" if !event.was_joined() => self.on_ghost_unwanted(target, event, origin).await,
            "leave" | "ban" if *target == self.ours.bot => self.on_bot_removed(member, event, origin),
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
        let (mut actions, mut known) = (Vec::new(), false);
        for key in &channels {
            let Some(network) = self.networks.get(&key.0) else { continue };
            let Some(folded) = network.nick_of(target) else { continue };
            known = true;
            let expires = self.too_old_after(network, event);
            if member.membership == "ban" {
                actions.extend(self.ban_on_irc(key, &folded, target, event, origin).map(|ban| (key.clone(), ban)));
            }
            let Some(channel) = self.directory.channels.get(key) else { continue };
            let Some(who) = channel.roster.get(&folded) else { continue };
            let reason = member.reason.as_deref().map(translate::one_line).filter(|reason| !reason.is_empty());
            let (channel, nick) = (channel.name.clone(), who.source.nick.clone());
            let by_bot = self.bot_acts_for(key, &origin.sender);
            let reason = if by_bot { Some(in_the_name_of(&origin.sender, reason)) } else { reason };
            let kick = IrcAction::Kick { channel, nick, reason, expires, journal: Some(origin.key) };
            actions.push((key.clone(), kick));
        }
        if actions.is_empty() {
            let reason = if known { Reason::NotThere } else { Reason::BadName };
            return self.told(origin, &Failure::certain(reason));
        }
        self.act_for(origin, actions).await;
    }

    /// Whether the bot does for a Matrix user what only operators of a channel may: where it is one, and their puppet isn't.
    pub(super) fn bot_acts_for(&self, key: &ChannelRef, user: &UserId) -> bool {
        let (Some(channel), Some(network)) = (self.directory.channels.get(key), self.networks.get(&key.0)) else {
            return false;
        };
        let is_operator = |link: &LinkId| channel.roster.link(link).is_some_and(Person::is_operator);
        !is_operator(&LinkId::puppet(key.0.clone(), user.to_owned())) && is_operator(&network.bot)
    }

    /// Carries out what a Matrix user wants of channels, by their puppet or by the bot. The servers have the last word.
    pub(super) async fn act_for(&mut self, origin: &Origin, actions: Vec<(ChannelRef, IrcAction)>) {
        // All at once, so that the event isn't decided with the first.
        let name = |key: &ChannelRef| self.directory.channels.get(key).map_or_else(String::new, |it| it.name.clone());
        let names: Vec<String> = actions.iter().map(|(key, _)| name(key)).collect();
        let places: Vec<_> = actions.iter().zip(&names).map(|((key, _), name)| (key, &**name)).collect();
        let commands = self.commands_for(origin, &places);
        for ((key, action), command) in actions.into_iter().zip(commands) {
            let bot = self.networks.get(&key.0).map(|network| network.bot.clone());
            let link = match bot.filter(|_| self.bot_acts_for(&key, &origin.sender)) {
                Some(bot) => Ok(bot),
                None => self
                    .enter_channel(&key, &origin.sender)
                    .map(|()| LinkId::puppet(key.0.clone(), origin.sender.clone())),
            };
            match link {
                Ok(link) => self.act(&link, command, action).await,
                Err(failure) => self.on_fate(command, Fate::Failed(failure)).await,
            }
        }
    }

    /// A ghost is not to come into a room, or may again: if that is a query's room and the ghost is whom it is about, it is over.
    async fn on_ghost_unwanted(&mut self, target: &UserId, event: &Event<'_>, origin: &Origin) {
        match self.directory.kind(&event.room_id) {
            RoomKind::Query(query) if self.is_query_with(query, target) => self.end_query(&event.room_id),
            RoomKind::Portal(_) => return self.unban_on_irc(target, event, origin).await,
            _ => {}
        }
        self.keeper.settle(origin.key);
    }

    /// Whether `ghost` is the one with whom a query is.
    fn is_query_with(&self, query: &QueryRef, ghost: &UserId) -> bool {
        self.networks.get(&query.0).and_then(|network| network.nick_of(ghost)).is_some_and(|nick| nick == query.2)
    }

    /// The bot was shown out of a room. Without it the room hears of no failure and no newcomer, so nothing is taken
    /// from it until it has the bot back.
    fn on_bot_removed(&mut self, member: &Member, event: &Event<'_>, origin: &Origin) {
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
        self.keeper.settle(origin.key);
    }

    fn on_bot_invited(&mut self, member: &Member, event: &Event<'_>, origin: &Origin) {
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
        self.keeper.settle(origin.key);
    }

    async fn on_ghost_invited(&mut self, target: &UserId, event: &Event<'_>, origin: &Origin) {
        let ghost = self.ghost_by_id(target);
        match (self.directory.kind(&event.room_id), ghost) {
            (RoomKind::Portal(_), Some(ghost)) => return self.invite_on_irc(&ghost, event, origin).await,
            (_, None) => return self.told(origin, &Failure::certain(Reason::BadName)),
            (RoomKind::Query(query), Some(_)) if self.is_query_with(query, target) => {
                return self.return_to_query(&event.room_id, origin.key).await;
            }
            (RoomKind::Query(_) | RoomKind::Control(_), Some(ghost)) => self.turn_down(&ghost, &event.room_id),
            (RoomKind::Unknown, Some(ghost)) => return self.open_query(&ghost, origin),
        }
        self.journal.settle_matrix(origin.key).await;
    }

    /// A ghost was invited to a room with channels: its user is invited to those that they aren't in.
    async fn invite_on_irc(&mut self, ghost: &Arc<Ghost>, event: &Event<'_>, origin: &Origin) {
        let RoomKind::Portal(room) = self.directory.kind(&event.room_id) else { return };
        let mut actions = Vec::new();
        for key in room.channels.iter().filter(|key| key.0 == ghost.network) {
            let (Some(network), Some(channel)) = (self.networks.get(&key.0), self.directory.channels.get(key)) else {
                continue;
            };
            if channel.roster.get(&ghost.folded).is_some() {
                room.lane.arrive(ghost.clone());
                continue;
            }
            let (channel, nick) = (channel.name.clone(), ghost.nick.clone());
            let expires = self.too_old_after(network, event);
            actions.push((key.clone(), IrcAction::Invite { channel, nick, expires, journal: Some(origin.key) }));
        }
        if actions.is_empty() {
            return self.journal.settle_matrix(origin.key).await;
        }
        self.act_for(origin, actions).await;
    }

    /// The ghost that `user` is, if it stands for a possible nick.
    pub(super) fn ghost_by_id(&self, user: &UserId) -> Option<Arc<Ghost>> {
        self.networks.values().find_map(|network| {
            let nick = network.nick_of(user)?;
            translate::possible_nick(nick.as_str(), &network.isupport).then_some(())?;
            match self.directory.spelling(&network.id, &nick) {
                Some(seen) => network.ghost(seen),
                None => network.unseen_ghost(&nick),
            }
        })
    }
}

/// What the bot says of what it does for a Matrix user.
pub(super) fn in_the_name_of(user: &UserId, reason: Option<String>) -> String {
    match reason {
        Some(reason) => format!("by {user}: {reason}"),
        None => format!("by {user}"),
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
