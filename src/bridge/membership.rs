//! People on Matrix: what their coming and going, and what they do to ghosts and the bot, means on IRC.

use std::sync::Arc;

use ruma::{OwnedUserId, RoomId, UserId};

use super::{
    delivery::Origin,
    directory::{ChannelRef, QueryRef, RoomKind},
    dispatch::Core,
    event::{Event, Member},
    ghosts::Ghost,
};
use crate::{
    model::{ChannelKey, Failure, Fate, IrcAction, LinkId, Reason},
    translate,
};

impl Core {
    /// The bot is in a room with portals: its channels can be entered, and its people come back.
    pub(super) async fn on_room_ready(&mut self, room: &RoomId, members: Vec<(OwnedUserId, Option<String>)>) {
        let Some(state) = self.directory.rooms.get_mut(room) else { return };
        let gone = state.entered(members);
        let channels = state.channels.clone();
        for key in &channels {
            self.ranks_known(key);
        }
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
        if self.ours.includes(&target) {
            return self.on_our_member(&target, &member, event, origin).await;
        }
        match self.directory.kind(&event.room_id) {
            RoomKind::Portal(_) => self.on_portal_member(&target, &member, event, origin).await,
            RoomKind::Query(query) => {
                let query = query.clone();
                self.on_query_member(&query, &event.room_id, &target, &member).await;
            }
            RoomKind::Control(owner) => {
                if target == *owner && matches!(member.membership.as_str(), "leave" | "ban") {
                    self.forget_control(&target, &event.room_id);
                }
            }
            RoomKind::Guest(_) | RoomKind::Unknown => {}
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
                self.rank_of_member(&event.room_id, target);
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
                self.rank_of_member(&event.room_id, target);
                self.leave_channels(&channels, target, reason.as_deref()).await;
            }
            _ => {}
        }
        self.journal.settle_matrix(origin.key).await;
    }

    /// Somebody did something about one of our own users.
    async fn on_our_member(&mut self, target: &UserId, member: &Member, event: &Event<'_>, origin: &Origin) {
        match member.membership.as_str() {
            "invite" if *target == self.ours.bot => self.on_bot_invited(member, event, origin).await,
            "invite" => self.on_ghost_invited(target, event, origin).await,
            // A ban lifted or an invitation withdrawn shows nobody out.
            "leave" if !event.was_joined() => self.on_ghost_unwanted(target, event, origin).await,
            "leave" | "ban" if *target == self.ours.bot => self.on_bot_removed(member, event, origin).await,
            "leave" | "ban" => self.on_ghost_removed(target, member, event, origin).await,
            _ => self.journal.settle_matrix(origin.key).await,
        }
    }

    /// A ghost shown out of a room is shown out of the channel, by the same person.
    async fn on_ghost_removed(&mut self, target: &UserId, member: &Member, event: &Event<'_>, origin: &Origin) {
        let room = match self.directory.kind(&event.room_id) {
            RoomKind::Portal(room) => room,
            RoomKind::Query(_) => return self.on_ghost_unwanted(target, event, origin).await,
            RoomKind::Control(_) | RoomKind::Guest(_) | RoomKind::Unknown => {
                return self.journal.settle_matrix(origin.key).await;
            }
        };
        room.lane.removed(target);
        let channels = room.channels.clone();
        let (mut kicks, mut known) = (Vec::new(), false);
        for key in &channels {
            let Some(network) = self.networks.get(&key.0) else { continue };
            let Some(folded) = network.nick_of(target) else { continue };
            known = true;
            let Some(channel) = self.directory.channels.get(key) else { continue };
            let Some(who) = channel.roster.get(&folded) else { continue };
            let reason = member.reason.as_deref().map(translate::one_line).filter(|reason| !reason.is_empty());
            let action = IrcAction::Kick {
                channel: channel.name.clone(),
                nick: who.source.nick.clone(),
                reason,
                expires: self.too_old_after(network, event),
                journal: Some(origin.key),
            };
            kicks.push((key, channel.name.clone(), action));
        }
        if kicks.is_empty() {
            let reason = if known { Reason::NotThere } else { Reason::BadName };
            return self.told(origin, &Failure::certain(reason));
        }
        let commands: Vec<_> = kicks.iter().map(|(key, channel, _)| (*key, &**channel)).collect();
        let commands = self.commands_for(origin, &commands);
        for ((key, _, action), command) in kicks.into_iter().zip(commands) {
            match self.enter_channel(key, &origin.sender).await {
                Ok(()) => {
                    let link = LinkId::puppet(key.0.clone(), origin.sender.clone());
                    self.act(&link, command, action).await;
                }
                Err(failure) => self.on_fate(command, Fate::Failed(failure)).await,
            }
        }
    }

    /// A ghost is not to come into a room: if that is a query's room and the ghost is whom it is about, it is over.
    async fn on_ghost_unwanted(&mut self, target: &UserId, event: &Event<'_>, origin: &Origin) {
        if let RoomKind::Query(query) = self.directory.kind(&event.room_id)
            && self.is_query_with(query, target)
        {
            self.end_query(&event.room_id).await;
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
            RoomKind::Guest(_) => {
                if let Some(lane) = self.directory.guests.remove(&event.room_id) {
                    lane.close();
                }
                self.requests_of_room_end(&event.room_id).await;
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
            // A room for more than two is no control room; it may become a portal.
            RoomKind::Unknown if self.networks.values().any(|network| network.config.plumbing.new_plumbs) => {
                self.accept_guest(event);
            }
            RoomKind::Unknown | RoomKind::Query(_) | RoomKind::Control(_) | RoomKind::Guest(_) => {}
        }
        self.journal.settle_matrix(origin.key).await;
    }

    async fn on_ghost_invited(&mut self, target: &UserId, event: &Event<'_>, origin: &Origin) {
        let ghost = self.ghost_by_id(target);
        match (self.directory.kind(&event.room_id), ghost) {
            (RoomKind::Portal(_), _) => {}
            (_, None) => return self.told(origin, &Failure::certain(Reason::BadName)),
            (RoomKind::Query(query), Some(_)) if self.is_query_with(query, target) => {
                return self.return_to_query(&event.room_id, origin.key).await;
            }
            (RoomKind::Query(_) | RoomKind::Control(_) | RoomKind::Guest(_), Some(ghost)) => {
                self.turn_down(&ghost, &event.room_id);
            }
            (RoomKind::Unknown, Some(ghost)) => return self.open_query(&ghost, origin).await,
        }
        self.journal.settle_matrix(origin.key).await;
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
