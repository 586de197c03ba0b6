//! What is said in a channel and its rooms, both ways, and the topic.

use ruma::OwnedRoomId;

use super::{
    delivery::Origin,
    directory::{ChannelRef, QueryRef, RoomKind},
    dispatch::Core,
    echo::shows,
    event::Event,
    network::Network,
    outbox::{Job, Receipt},
};
use crate::{
    model::{
        ChannelKey, CommandId, Failure, Fate, IrcAction, IrcKey, LinkId, Millis, NetworkId, Reason, Source, TextKind,
        TextTarget,
    },
    translate::{self, irc_to_matrix, matrix_to_irc},
};

/// A line of text from IRC.
pub(super) struct Said {
    pub(super) source: Source,
    pub(super) target: TextTarget,
    pub(super) kind: TextKind,
    pub(super) text: String,
    /// The server's id of it.
    pub(super) msgid: Option<String>,
    pub(super) at: Millis,
    pub(super) key: IrcKey,
}

impl Core {
    /// A message in any room that we are in.
    pub(super) async fn on_message(&mut self, event: &Event<'_>, origin: &Origin) {
        if let Some(words) = self.command_in(event) {
            self.put_guest(event.room_id.clone());
            return self.on_command(&words, event, origin).await;
        }
        match self.directory.kind(&event.room_id) {
            RoomKind::Portal(room) if room.is_without_bot() => self.told(origin, &Failure::certain(Reason::BotOut)),
            RoomKind::Portal(room) => {
                let channels = room.channels.clone();
                self.say_in_channels(&channels, event, origin).await;
            }
            RoomKind::Query(query) => {
                let query = query.clone();
                self.say_in_query(&query, event, origin).await;
            }
            RoomKind::Control(_) => self.on_control_message(event, origin).await,
            // It isn't meant for us.
            RoomKind::Guest(_) => self.journal.settle_matrix(origin.key).await,
            // Everybody there has been told that its bridge ends.
            RoomKind::Unknown if self.closing.contains_key(&event.room_id) => {
                self.journal.settle_matrix(origin.key).await;
            }
            RoomKind::Unknown => self.told(origin, &Failure::certain(Reason::NotBridged)),
        }
    }

    async fn say_in_channels(&mut self, channels: &[ChannelRef], event: &Event<'_>, origin: &Origin) {
        let mut actions = Vec::with_capacity(channels.len());
        for key in channels {
            let Some(channel) = self.directory.channels.get(key) else { continue };
            let channel = ChannelKey { name: channel.name.clone(), key: channel.key.clone() };
            match self.prepare(&key.0, event, origin, &channel.name) {
                Ok(Some(action)) => actions.push((key, channel, action)),
                Ok(None) => {}
                Err(failure) => return self.told(origin, &failure),
            }
        }
        if actions.is_empty() {
            return self.journal.settle_matrix(origin.key).await;
        }
        let commands: Vec<_> = actions.iter().map(|(key, channel, _)| (*key, &*channel.name)).collect();
        let commands = self.commands_for(origin, &commands);
        for ((key, channel, action), command) in actions.into_iter().zip(commands) {
            match self.puppet(&key.0, &origin.sender) {
                Ok(link) => {
                    self.want_channel(&link, &key.1, channel).await;
                    self.act(&link, command, action).await;
                }
                Err(failure) => self.on_fate(command, Fate::Failed(failure)).await,
            }
        }
    }

    /// A command for each of these channels, in all of which an event is to be carried out.
    pub(super) fn commands_for(&mut self, origin: &Origin, channels: &[(&ChannelRef, &str)]) -> Vec<CommandId> {
        let on_one_network = channels.windows(2).all(|pair| pair[0].0.0 == pair[1].0.0);
        let place = |(key, name): &(&ChannelRef, &str)| match self.networks.get(&key.0) {
            Some(network) if !on_one_network => format!("{name} on {}", network.id),
            _ => (*name).to_owned(),
        };
        let places: Vec<String> = channels.iter().map(place).collect();
        places.into_iter().map(|place| self.delivery.command_for(origin, place)).collect()
    }

    async fn say_in_query(&mut self, query: &QueryRef, event: &Event<'_>, origin: &Origin) {
        let nick = self.directory.queries.get(query).map(|query| query.nick.clone());
        let Some(nick) = nick.filter(|_| origin.sender == query.1) else {
            let failure = Failure::certain(Reason::NotBridged).with_detail("it is somebody else's private chat");
            return self.told(origin, &failure);
        };
        match self.prepare(&query.0, event, origin, &nick) {
            Ok(Some(action)) => {
                let command = self.delivery.command_for(origin, nick);
                match self.puppet(&query.0, &origin.sender) {
                    Ok(link) => self.act(&link, command, action).await,
                    Err(failure) => self.on_fate(command, Fate::Failed(failure)).await,
                }
            }
            Ok(None) => self.journal.settle_matrix(origin.key).await,
            Err(failure) => self.told(origin, &failure),
        }
    }

    /// What a message is on IRC; `None` if there is nothing to say.
    fn prepare(
        &self,
        network: &NetworkId,
        event: &Event<'_>,
        origin: &Origin,
        target: &str,
    ) -> Result<Option<IrcAction>, Failure> {
        let Some(network) = self.networks.get(network) else { return Ok(None) };
        let expires = self.expires(network, event)?;
        let text = match &*event.kind {
            "m.room.encrypted" => return Err(Failure::certain(Reason::Encrypted)),
            "m.room.message" => matrix_to_irc::message(event.content, network.max_lines())?,
            _ => return Err(Failure::certain(Reason::Unsupported)),
        };
        Ok(text.map(|text| IrcAction::Say {
            target: target.to_owned(),
            kind: text.kind,
            lines: text.lines,
            expires,
            journal: Some(origin.key),
        }))
    }

    /// See [`too_old_after`].
    pub(super) fn too_old_after(&self, network: &Network, event: &Event<'_>) -> Millis {
        too_old_after(event.at(), self.clock.now(), network.max_age())
    }

    /// When an event is too old to be sent; it may be already (R4).
    pub(super) fn expires(&self, network: &Network, event: &Event<'_>) -> Result<Millis, Failure> {
        let expires = self.too_old_after(network, event);
        if expires < self.clock.now() { Err(Failure::certain(Reason::TooOld)) } else { Ok(expires) }
    }

    /// A topic set on Matrix is set on IRC by the same person.
    pub(super) async fn on_matrix_topic(&mut self, event: &Event<'_>, origin: &Origin) {
        let RoomKind::Portal(room) = self.directory.kind(&event.room_id) else {
            return self.journal.settle_matrix(origin.key).await;
        };
        if room.is_without_bot() {
            return self.told(origin, &Failure::certain(Reason::BotOut));
        }
        let channels = room.channels.clone();
        let Some(topic) = matrix_to_irc::topic(event.content) else {
            return self.told(origin, &Failure::certain(Reason::Unsupported));
        };
        let mut targets = Vec::with_capacity(channels.len());
        for key in &channels {
            let (Some(network), Some(channel)) = (self.networks.get(&key.0), self.directory.channels.get(key)) else {
                continue;
            };
            if channel.topic.is(&topic) {
                continue;
            }
            match self.expires(network, event) {
                Ok(expires) => {
                    targets.push((key, ChannelKey { name: channel.name.clone(), key: channel.key.clone() }, expires));
                }
                Err(failure) => return self.told(origin, &failure),
            }
        }
        if targets.is_empty() {
            return self.journal.settle_matrix(origin.key).await;
        }
        let commands: Vec<_> = targets.iter().map(|(key, target, _)| (*key, &*target.name)).collect();
        let commands = self.commands_for(origin, &commands);
        for ((key, target, expires), command) in targets.into_iter().zip(commands) {
            let action = IrcAction::Topic {
                channel: target.name.clone(),
                topic: topic.clone(),
                expires,
                journal: Some(origin.key),
            };
            if let Some(channel) = self.directory.channels.get_mut(key) {
                channel.topic.ask(command, topic.clone());
            }
            match self.puppet(&key.0, &origin.sender) {
                Ok(link) => {
                    self.want_channel(&link, &key.1, target).await;
                    self.act(&link, command, action).await;
                }
                Err(failure) => self.on_fate(command, Fate::Failed(failure)).await,
            }
        }
    }

    /// A topic on IRC is the topic of the channel's rooms, unless it came from there.
    pub(super) fn on_irc_topic(&mut self, link: &LinkId, channel: &str, source: Option<&Source>, topic: &str) {
        let Some(key) = self.observed(link, channel) else { return };
        let topic = translate::one_line(topic);
        if source.is_some_and(|source| self.link_of(&key.0, source).is_some()) {
            return;
        }
        let Some(network) = self.networks.get(&key.0) else { return };
        let topiclen = network.isupport.topiclen;
        let Some(channel) = self.directory.channels.get_mut(&key) else { return };
        if !channel.topic.told(&topic) {
            return;
        }
        // At our own join the topic is news only for rooms made for the channel; a plumbed room has its own.
        for room in &channel.rooms {
            let joined = self.directory.rooms.get(room).filter(|room| source.is_some() || room.follows_topic);
            if let Some(room) = joined {
                room.lane.push(Job::Topic { topic: topic.clone(), topiclen });
            }
        }
    }

    /// Something said on IRC, seen by `link`.
    pub(super) async fn on_irc_text(&mut self, link: &LinkId, said: Said) {
        match &said.target {
            TextTarget::Channel { name, .. } => match self.channel_ref(link, name) {
                Some(channel) if self.is_news(&channel, link, &said) => self.channel_text(&channel, &said),
                _ => self.journal.settle_irc(said.key),
            },
            TextTarget::Own => self.private_text(link, said).await,
        }
    }

    /// Whether a line is neither our own nor told already by another link.
    fn is_news(&mut self, key: &ChannelRef, link: &LinkId, said: &Said) -> bool {
        if self.link_of(&key.0, &said.source).is_some() {
            return false;
        }
        let now = self.clock.now();
        let channel = self.directory.channels.get_mut(key).filter(|channel| channel.present.contains(link));
        channel.is_some_and(|channel| channel.witnesses.is_first(link, said, now))
    }

    /// Something that was said before the last stop: who observed what then is not known any more.
    pub(super) async fn on_irc_text_again(&mut self, link: &LinkId, said: Said) {
        match &said.target {
            TextTarget::Channel { name, .. } => {
                let Some(network) = self.networks.get(link.network()) else {
                    return self.journal.settle_irc(said.key);
                };
                let channel = (network.id.clone(), network.fold(name));
                let now = self.clock.now();
                let state = self.directory.channels.get_mut(&channel);
                let told = state.is_some_and(|channel| !channel.witnesses.is_first_again(link, &said, now));
                if told || self.was_ours(&channel.0, &said.source) {
                    self.journal.settle_irc(said.key);
                } else {
                    self.channel_text(&channel, &said);
                }
            }
            TextTarget::Own => self.private_text(link, said).await,
        }
    }

    fn channel_text(&self, key: &ChannelRef, said: &Said) {
        let ghost = self.networks.get(&key.0).and_then(|network| network.ghost_of(&said.source));
        let channel = self.directory.channels.get(key);
        let (Some(channel), Some(ghost)) = (channel, ghost) else { return self.journal.settle_irc(said.key) };
        let rooms: Vec<&OwnedRoomId> = channel.rooms.iter().collect();
        if rooms.is_empty() {
            return self.journal.settle_irc(said.key);
        }
        let content = irc_to_matrix::message(&said.target, said.kind, &said.text);
        let receipt = Receipt::new(said.key, rooms.len());
        let outside = channel.roster.get(&ghost.folded).is_none();
        for room in rooms {
            let Some(room) = self.directory.rooms.get(room) else { continue };
            room.lane.push(Job::Text {
                ghost: ghost.clone(),
                content: content.clone(),
                at: said.at,
                receipt: receipt.clone(),
                outside,
            });
        }
    }

    /// The channel that `link` observes under this name.
    pub(super) fn observed(&self, link: &LinkId, channel: &str) -> Option<ChannelRef> {
        let network = self.networks.get(link.network())?;
        let key = (network.id.clone(), network.fold(channel));
        let observer = self.directory.channels.get(&key)?.watch.observer.as_ref()?;
        (observer == link).then_some(key)
    }

    /// Which of our links somebody on IRC is.
    pub(super) fn link_of(&self, network: &NetworkId, source: &Source) -> Option<&LinkId> {
        let network = self.networks.get(network)?;
        self.echo.link_of(&network.id, &network.fold(&source.nick), source, self.clock.now())
    }

    /// Whether somebody was one of our links before the last stop: by nick and user name, as a person may well have the
    /// same user name on both sides.
    fn was_ours(&self, network: &NetworkId, source: &Source) -> bool {
        let (Some(remembered), Some(network)) = (self.remembered.get(network), self.networks.get(network)) else {
            return false;
        };
        let (nick, user) = (network.fold(&source.nick), source.user.as_deref().unwrap_or_default());
        remembered.values().any(|puppet| {
            let same_nick = puppet.nick.as_deref().is_some_and(|known| network.fold(known) == nick);
            same_nick && shows(user, &puppet.username)
        })
    }
}

/// The last moment at which an event of `at` may be sent. What claims to come from the future is from now.
fn too_old_after(at: Millis, now: Millis, max_age: Millis) -> Millis {
    at.min(now).saturating_add(max_age)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r4_nothing_is_sent_long_after_it_was_said_whatever_time_it_claims() {
        let (now, max_age) = (1_000_000, 300_000);
        for (at, last) in [
            (now, 1_300_000),
            (900_000, 1_200_000),
            (0, 300_000),
            (now + 1, 1_300_000),
            (Millis::MAX, 1_300_000),
            (Millis::MIN, Millis::MIN + max_age),
        ] {
            assert_eq!(too_old_after(at, now, max_age), last, "{at}");
        }
    }
}
