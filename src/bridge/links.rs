//! Our own links: what their coming and going on the network and in channels means.

use std::sync::Arc;

use ruma::UserId;

use super::{
    directory::ChannelRef,
    dispatch::{Core, Input},
    keeper::Fact,
    network::BotState,
    outbox::{Job, Lane},
};
use crate::{
    model::{ChannelKey, Failure, IrcAction, IrcKey, Isupport, LinkId, Millis, Source},
    translate,
};

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
            self.keeper.note(Fact::Isupport(network.id.clone(), isupport));
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
    pub(super) fn is_called(&mut self, link: &LinkId, nick: &str) {
        let Some(network) = self.networks.get(link.network()) else { return };
        let mapping = network.isupport.casemapping;
        let username =
            if link.is_bot() { network.bot_username.as_str() } else { self.puppets.username(link).unwrap_or_default() };
        self.echo.has(link, nick, mapping, username, self.clock.now());
    }

    pub(super) async fn on_own_joined(&mut self, link: &LinkId, channel: &str) {
        let Some(key) = self.channel_ref(link, channel) else { return };
        if !self.directory.channels.contains_key(&key) && !self.joined_for_request(link, &key).await {
            // Not (or no more) bridged: nothing keeps us there.
            let command = self.delivery.command();
            let part = IrcAction::Part { channel: channel.to_owned(), reason: None };
            return self.act(link, command, part).await;
        }
        let Some(state) = self.directory.channels.get_mut(&key) else { return };
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
            // We know it before whoever observes the channel tells it, if anybody does.
            if let Some(person) = channel.roster.remove_link(link).filter(|person| !person.ranks.is_empty()) {
                self.rank_changed(key, &person);
            }
            self.observe(key).await;
        }
    }

    /// Lets the right link observe a channel.
    async fn observe(&mut self, key: &ChannelRef) {
        let Some(channel) = self.directory.channels.get_mut(key) else { return };
        let watch = channel.watch.next(&channel.present);
        if watch == channel.watch {
            return;
        }
        let name = channel.name.clone();
        let before = std::mem::replace(&mut channel.watch, watch.clone());
        if watch.observer != before.observer {
            if let Some(puppet) = watch.observer.as_ref().filter(|link| !link.is_bot()) {
                channel.witnesses.begins(puppet, self.clock.now());
            }
            let (from, to) = (&before.observer, &watch.observer);
            tracing::info!(portal.channel = %name, ?from, ?to, "another link observes the channel");
        }
        for (link, role) in watch.changes(&before) {
            let command = self.delivery.command();
            self.act(link, command, IrcAction::Observe { channel: name.clone(), role }).await;
        }
    }

    /// An observer that stood by tells what it has heard since then.
    pub(super) fn on_recalls(&mut self, link: &LinkId, channel: &str, since: Millis) {
        let channel = self.channel_ref(link, channel).and_then(|key| self.directory.channels.get_mut(&key));
        if let Some(channel) = channel {
            channel.witnesses.begins(link, since);
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
        self.removed_from_visit(link, &key).await;
        let words = kick_words(source, reason);
        let Some(user) = link.user() else {
            return self.bot_is_out(key, &format!("was {words} on IRC ({channel})"), at);
        };
        if let Some(puppet) = self.puppets.links.get_mut(link) {
            puppet.wanted.remove(&key.1);
        }
        for lane in self.lanes_with(&key, user) {
            lane.push(Job::Remove { user: user.to_owned(), words: words.clone(), at });
        }
    }

    pub(super) async fn on_join_refused(&mut self, link: &LinkId, channel: &str, failure: &Failure, at: IrcKey) {
        let Some(key) = self.channel_ref(link, channel) else { return };
        if self.refused_for_request(link, &key, failure).await {
            return;
        }
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
    pub(super) fn lanes(&self, key: &ChannelRef) -> Vec<Lane> {
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

pub(super) fn kick_words(source: &Source, reason: Option<&str>) -> String {
    let reason = reason.map(translate::one_line).filter(|reason| !reason.is_empty());
    match reason {
        Some(reason) => format!("kicked by {}: {reason}", source.nick),
        None => format!("kicked by {}", source.nick),
    }
}
