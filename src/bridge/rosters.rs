//! People on IRC: who is in a channel, as its observer sees it, and so which ghosts are in its rooms.

use std::sync::Arc;

use super::{directory::ChannelRef, dispatch::Core, ghosts::Ghost, links::kick_words, outbox::Job};
use crate::{
    model::{LinkId, RosterMember, Source},
    translate,
};

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
        let channels = channels.filter(|(_, channel)| channel.watch.observer.as_ref() == Some(link));
        channels.filter(|(_, channel)| channel.roster.contains_key(&folded)).map(|(key, _)| key.clone()).collect()
    }
}
