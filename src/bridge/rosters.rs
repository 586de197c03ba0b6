//! People on IRC: who is in a channel, as its observer sees it, and so which ghosts are in its rooms.

use std::sync::Arc;

use super::{
    directory::ChannelRef,
    dispatch::Core,
    ghosts::Ghost,
    links::kick_words,
    outbox::Job,
    people::{Person, Roster},
};
use crate::{
    model::{IrcKey, LinkId, ModeChange, ModeKind, RosterMember, Source},
    translate,
};

impl Core {
    pub(super) fn on_roster(&mut self, link: &LinkId, channel: &str, members: Vec<RosterMember>) {
        let Some(key) = self.observed(link, channel) else { return };
        let Some(network) = self.networks.get(&key.0) else { return };
        let letter = |prefix: char| network.isupport.prefix.iter().find(|rank| rank.1 == prefix).map(|rank| rank.0);
        let person = |member: RosterMember| {
            let ours = self.link_of(&key.0, &member.source).cloned();
            let ranks = member.prefixes.chars().filter_map(letter).collect();
            (network.fold(&member.source.nick), Person { source: member.source, ranks, account: member.account, ours })
        };
        let mut roster: Roster = members.into_iter().map(person).collect();
        let all = roster.others() < network.config.ghosts.join_below as usize;
        let others = roster.iter().filter(|(_, person)| person.ours.is_none());
        let ghosts: Vec<Arc<Ghost>> = others.filter_map(|(_, person)| network.ghost_of(&person.source)).collect();
        for lane in self.lanes(&key) {
            lane.roster(ghosts.clone(), all);
        }
        if let Some(channel) = self.directory.channels.get_mut(&key) {
            // The account isn't in NAMES.
            roster.learn_accounts(&channel.roster);
            channel.roster = roster;
            // Settings and lists follow.
            channel.modes.outdated();
        }
    }

    pub(super) fn on_joined(
        &mut self,
        link: &LinkId,
        channel: &str,
        source: Source,
        account: Option<String>,
        at: IrcKey,
    ) {
        let Some(key) = self.observed(link, channel) else { return };
        let Some(network) = self.networks.get(&key.0) else { return };
        let ours = self.link_of(&key.0, &source).cloned();
        let (ghost, folded) = (network.ghost_of(&source).filter(|_| ours.is_none()), network.fold(&source.nick));
        let join_below = network.config.ghosts.join_below as usize;
        let Some(channel) = self.directory.channels.get_mut(&key) else { return };
        channel.roster.insert(folded, Person { account, ..Person::new(source, ours.clone()) });
        if let Some(ours) = ours {
            return self.judge(&key, Some(&ours), None, at);
        }
        if channel.roster.others() < join_below
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
        let unknown = || Source { nick: nick.to_owned(), user: None, host: None };
        let who = known.map_or_else(unknown, |person| person.source.clone());
        let (words, ours) = (kick_words(by, reason), self.link_of(&key.0, by).is_some());
        // What one of ours does here, somebody has done in a room.
        let Some(by) = network.ghost_of(by).filter(|_| !ours) else { return self.left(&key, &who, Some(&words)) };
        if let Some(ghost) = self.gone(&key, &who) {
            self.lanes(&key).iter().for_each(|lane| lane.expelled(ghost.user.clone(), by.clone(), words.clone()));
        }
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
        if let Some(ghost) = self.gone(key, source) {
            self.lanes(key).iter().for_each(|lane| lane.depart(ghost.user.clone(), reason.map(ToOwned::to_owned)));
        }
    }

    /// Takes somebody out of a channel's roster: their ghost, if they were there and aren't ours.
    fn gone(&mut self, key: &ChannelRef, source: &Source) -> Option<Arc<Ghost>> {
        let network = self.networks.get(&key.0)?;
        let (folded, ghost) = (network.fold(&source.nick), network.ghost_of(source));
        let person = self.directory.channels.get_mut(key)?.roster.remove(&folded)?;
        ghost.filter(|_| person.ours.is_none())
    }

    pub(super) fn on_renamed(&mut self, link: &LinkId, source: &Source, nick: &str, at: IrcKey) {
        let Some(network) = self.networks.get(link.network()) else { return };
        if let Some(ours) = self.link_of(&network.id, source).cloned() {
            // Its own link tells the same, but perhaps later than this one tells what is said under the new nick.
            let (old, new) = (network.fold(&source.nick), network.fold(nick));
            if self.echo.holds(&ours, &old) {
                self.is_called(&ours, nick);
            }
            for key in self.observed_with(link, source) {
                if let Some(channel) = self.directory.channels.get_mut(&key) {
                    channel.roster.rename(&old, nick, new.clone());
                }
                self.judge(&key, Some(&ours), None, at);
            }
            return;
        }
        let renamed = Source { nick: nick.to_owned(), ..source.clone() };
        let (old, new) = (network.fold(&source.nick), network.fold(nick));
        let (before, after) = (network.ghost_of(source), network.ghost_of(&renamed));
        let join_below = network.config.ghosts.join_below as usize;
        for key in self.observed_with(link, source) {
            let Some(channel) = self.directory.channels.get_mut(&key) else { continue };
            channel.roster.rename(&old, nick, new.clone());
            let all = channel.roster.others() < join_below;
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

    /// Modes of a channel have changed: ranks of people, settings, lists.
    pub(super) async fn on_modes(
        &mut self,
        link: &LinkId,
        channel: &str,
        by: &Source,
        changes: Vec<ModeChange>,
        at: IrcKey,
    ) {
        let Some(key) = self.observed(link, channel) else { return };
        let Some(network) = self.networks.get(&key.0) else { return };
        let Some(channel) = self.directory.channels.get_mut(&key) else { return };
        let (mut of_all, mut of_ours) = (false, Vec::new());
        let opens = |change: &ModeChange| {
            let letters = if change.set { "eI" } else { "bikrzS" };
            change.kind != ModeKind::Membership && letters.contains(change.letter)
        };
        let opens = changes.iter().any(opens);
        for change in changes {
            if let (ModeKind::Membership, Some(nick)) = (change.kind, &change.arg) {
                if let Some(person) = channel.roster.get_mut(&network.fold(nick)) {
                    person.rank(change.letter, change.set);
                    of_ours.extend(person.ours.clone());
                }
            } else {
                channel.modes.change(change);
                of_all = true;
            }
        }
        if of_all {
            self.judge(&key, None, Some(by), at);
            if opens {
                self.try_again(&key).await;
            }
            return;
        }
        for ours in of_ours {
            self.judge(&key, Some(&ours), Some(by), at);
        }
    }

    pub(super) fn on_settings(&mut self, link: &LinkId, channel: &str, modes: Vec<ModeChange>, at: IrcKey) {
        let Some(key) = self.observed(link, channel) else { return };
        if let Some(channel) = self.directory.channels.get_mut(&key) {
            channel.modes.are(modes);
        }
        self.judge(&key, None, None, at);
    }

    pub(super) async fn on_list(&mut self, link: &LinkId, channel: &str, letter: char, masks: Vec<String>, at: IrcKey) {
        let Some(key) = self.observed(link, channel) else { return };
        if let Some(channel) = self.directory.channels.get_mut(&key) {
            channel.modes.list_is(letter, masks);
        }
        self.judge(&key, None, None, at);
        if letter == 'b' {
            self.try_again(&key).await;
        }
    }

    pub(super) fn on_accounts(
        &mut self,
        link: &LinkId,
        channel: &str,
        accounts: Vec<(String, Option<String>)>,
        at: IrcKey,
    ) {
        let Some(key) = self.observed(link, channel) else { return };
        let Some(network) = self.networks.get(&key.0) else { return };
        let Some(channel) = self.directory.channels.get_mut(&key) else { return };
        for (nick, account) in accounts {
            if let Some(person) = channel.roster.get_mut(&network.fold(&nick)) {
                person.account = account;
            }
        }
        self.judge(&key, None, None, at);
    }

    /// Somebody has logged in or out.
    pub(super) fn on_account(&mut self, link: &LinkId, source: &Source, account: Option<&str>, at: IrcKey) {
        self.with_person(link, source, at, |person| person.account = account.map(ToOwned::to_owned));
    }

    /// Somebody is seen under another user name and host.
    pub(super) fn on_rehosted(&mut self, link: &LinkId, source: &Source, user: &str, host: &str, at: IrcKey) {
        self.with_person(link, source, at, |person| {
            (person.source.user, person.source.host) = (Some(user.to_owned()), Some(host.to_owned()));
        });
    }

    /// Changes what is known of somebody, in every channel that the link observes.
    fn with_person(&mut self, link: &LinkId, source: &Source, at: IrcKey, change: impl Fn(&mut Person)) {
        let Some(folded) = self.networks.get(link.network()).map(|network| network.fold(&source.nick)) else { return };
        for key in self.observed_with(link, source) {
            let channel = self.directory.channels.get_mut(&key);
            if let Some(person) = channel.and_then(|channel| channel.roster.get_mut(&folded)) {
                change(person);
                if let Some(ours) = person.ours.clone() {
                    self.judge(&key, Some(&ours), None, at);
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
        channels.filter(|(_, channel)| channel.roster.get(&folded).is_some()).map(|(key, _)| key.clone()).collect()
    }
}
