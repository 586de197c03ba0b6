//! People on IRC: who is in a channel, as its observer sees it, and so which ghosts are in its rooms.

use std::{collections::HashMap, sync::Arc};

use ruma::{OwnedUserId, RoomId};

use super::{
    directory::{ChannelRef, Room},
    dispatch::Core,
    ghosts::Ghost,
    keeper::Fact,
    links::kick_words,
    outbox::{self, Job},
    people::{Identity, Person, Roster},
    residents::{Resident, Ties, belongs},
    splits::Verdict,
};
use crate::{
    model::{Folded, IrcKey, LinkId, Members, ModeChange, ModeKind, NetworkId, RosterMember, Source},
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
            let folded = network.fold(&member.source.nick);
            (folded, Person { ranks, account: member.account, ..Person::new(member.source, ours) })
        };
        let mut roster: Roster = members.into_iter().map(person).collect();
        let now = self.clock.now();
        let Some(channel) = self.directory.channels.get_mut(&key) else { return };
        roster.remember(&channel.roster);
        roster.remember_lost(&mut channel.lost);
        channel.roster = roster;
        if channel.told.replace(now).is_none() {
            // Settings and lists follow.
            channel.modes.outdated();
        }
        channel.measure(network.config.ghosts.join_below as usize);
        self.reside_all(&key);
        self.ranks_known(&key);
        self.sight_changed(&key, None);
    }

    /// Lets those be in a channel's rooms who belong there.
    fn reside_all(&self, key: &ChannelRef) {
        for room in self.directory.channels.get(key).into_iter().flat_map(|channel| &channel.rooms) {
            self.reside(room, false);
        }
    }

    /// Lets those be in a room who belong there. `anew`: it has changed who does. In how many ghosts the room differs from
    /// that; unknown while it isn't known who is in the channel.
    pub(super) fn reside(&self, room: &RoomId, anew: bool) -> Option<usize> {
        let room = self.directory.rooms.get(room)?;
        let (residents, complete) = self.residents(room);
        let differences = room.lane.roster(outbox::Roster { residents, complete, anew });
        complete.then_some(differences)
    }

    /// Whose ghosts may be in a room, and whether it is known of all of its channels who is in them.
    fn residents(&self, room: &Room) -> (Vec<Resident>, bool) {
        let (mut residents, mut complete) = (HashMap::<OwnedUserId, Resident>::new(), true);
        for key in &room.channels {
            let (Some(network), Some(channel)) = (self.networks.get(&key.0), self.directory.channels.get(key)) else {
                continue;
            };
            complete &= channel.told.is_some();
            let members = room.members_from(channel);
            let present = channel.roster.iter().map(|(_, person)| person).filter(|person| person.ours.is_none());
            for person in present.chain(channel.lost.people()) {
                let Some(ghost) = network.ghost_of(&person.source) else { continue };
                let new = Resident { ghost, members, ties: person.ties };
                let resident = residents.entry(new.ghost.user.clone()).or_insert_with(|| new.clone());
                // In several channels of the room: each has its reasons.
                resident.members = resident.members.min(members);
                resident.ties.came |= new.ties.came;
                resident.ties.spoke |= new.ties.spoke;
            }
        }
        (residents.into_values().collect(), complete)
    }

    /// Somebody has decided which ghosts are to be in a room, or that it is as usual: so it is from now on. False if the
    /// room isn't bridged.
    #[expect(dead_code, reason = "for a command of the room's people")]
    pub(super) fn set_members(&mut self, room: &RoomId, members: Option<Members>) -> bool {
        if !self.directory.rooms.contains_key(room) {
            return false;
        }
        if self.directory.say_members(room, members) {
            self.keeper.note(Fact::Members(room.to_owned(), members));
            self.reside(room, true);
        }
        true
    }

    /// Somebody has said something in a channel: that ties them to its rooms.
    pub(super) fn spoke(&mut self, key: &ChannelRef, nick: &Folded) {
        let channel = self.directory.channels.get_mut(key);
        if let Some(person) = channel.and_then(|channel| channel.roster.get_mut(nick)) {
            person.ties.spoke = true;
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
        let limit = network.config.ghosts.join_below as usize;
        let Some(channel) = self.directory.channels.get_mut(&key) else { return };
        // Who is back from a split was never away.
        let back = channel.lost.back(&folded);
        let ties = back.as_ref().map_or(Ties { came: true, spoke: false }, |person| person.ties);
        let sight = ours.clone();
        channel.roster.insert(folded.clone(), Person { account, ties, ..Person::new(source, ours) });
        channel.measure(limit);
        if let Some(link) = &sight {
            self.sight_changed(&key, Some(link));
            self.judge(&key, Some(link), None, at);
        }
        let Some(ghost) = ghost else {
            // One of ours has taken the nick of somebody who was expected back.
            return back.into_iter().for_each(|lost| self.leaves(&key, &folded, &lost.source, None, None));
        };
        for (room, members) in self.rooms_of(&key) {
            if belongs(members, ties, false) {
                room.lane.arrive(ghost.clone());
            }
        }
    }

    /// A channel's rooms, and which of its people's ghosts are to be in each.
    fn rooms_of(&self, key: &ChannelRef) -> impl Iterator<Item = (&Room, Members)> {
        let channel = self.directory.channels.get(key).into_iter();
        channel.flat_map(|channel| {
            let rooms = channel.rooms.iter().filter_map(|room| self.directory.rooms.get(room));
            rooms.map(move |room| (room, room.members_from(channel)))
        })
    }

    /// Whether somebody is in another of a room's channels too.
    fn is_elsewhere(&self, room: &Room, key: &ChannelRef, nick: &Folded) -> bool {
        let mut others = room.channels.iter().filter(|other| other.0 == key.0 && *other != key);
        others.any(|other| self.directory.channels.get(other).is_some_and(|channel| channel.holds(nick)))
    }

    pub(super) fn on_parted(&mut self, link: &LinkId, channel: &str, source: &Source, reason: Option<&str>) {
        if let Some(key) = self.observed(link, channel) {
            let reason = reason.map(translate::one_line).filter(|reason| !reason.is_empty());
            self.left(&key, source, reason.as_deref(), None);
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
        let by = network.ghost_of(by).filter(|_| !ours);
        self.left(&key, &who, Some(&words), by.as_ref());
    }

    pub(super) fn on_quit(&mut self, link: &LinkId, source: &Source, reason: Option<&str>, split: bool) {
        let words = translate::one_line(reason.unwrap_or_default());
        let verdict = self.quit_verdict(link.network(), &source.nick, &words, split);
        // Most servers say so themselves where the words are the user's own.
        let reason = if words.starts_with("Quit: ") { words.clone() } else { format!("Quit: {words}") };
        for key in self.observed_with(link, source) {
            match verdict {
                Verdict::Left => self.left(&key, source, Some(&reason), None),
                Verdict::Suspect => self.lost(&key, source, &reason, Some(words.clone())),
                Verdict::Split | Verdict::Proof(_) => self.lost(&key, source, &reason, None),
            }
        }
        if let Verdict::Proof(since) = verdict {
            let channels = self.directory.channels.iter_mut().filter(|(key, _)| key.0 == *link.network());
            channels.for_each(|(_, channel)| channel.lost.prove(&words, since));
        }
    }

    /// Whether somebody who quits has left or was lost in a split.
    fn quit_verdict(&mut self, network: &NetworkId, nick: &str, words: &str, split: bool) -> Verdict {
        let now = self.clock.now();
        match self.networks.get_mut(network) {
            Some(network) if network.split_hold() > 0 => {
                let nick = network.fold(nick);
                network.splits.quit(&nick, words, split, now)
            }
            _ => Verdict::Left,
        }
    }

    /// Somebody was, or perhaps was, lost in a split: they stay in the channel's rooms for a while.
    fn lost(&mut self, key: &ChannelRef, source: &Source, reason: &str, suspect: Option<String>) {
        let Some(folded) = self.networks.get(&key.0).map(|network| network.fold(&source.nick)) else { return };
        let now = self.clock.now();
        let Some(channel) = self.directory.channels.get_mut(key) else { return };
        if let Some(person) = channel.roster.remove(&folded).filter(|person| person.ours.is_none()) {
            channel.lost.lose(folded, person, reason.to_owned(), suspect, now);
        }
    }

    /// Those who haven't come back after a split leave.
    pub(super) fn let_go_of_lost(&mut self) {
        let now = self.clock.now();
        let mut gone = Vec::new();
        for (key, channel) in &mut self.directory.channels {
            let Some(network) = self.networks.get(&key.0) else { continue };
            let lost = channel.lost.let_go(now, network.split_hold());
            gone.extend(lost.into_iter().map(|(nick, person, reason)| (key.clone(), nick, person, reason)));
        }
        for (key, nick, person, reason) in gone {
            self.leaves(&key, &nick, &person.source, Some(&reason), None);
        }
    }

    /// Somebody isn't in a channel any more, shown out `by` another or not.
    fn left(&mut self, key: &ChannelRef, source: &Source, reason: Option<&str>, by: Option<&Arc<Ghost>>) {
        let Some(network) = self.networks.get(&key.0) else { return };
        let folded = network.fold(&source.nick);
        let Some(channel) = self.directory.channels.get_mut(key) else { return };
        let Some(person) = channel.roster.remove(&folded) else { return };
        if !person.ranks.is_empty() {
            self.rank_changed(key, &person);
        }
        match &person.ours {
            Some(link) => self.sight_changed(key, Some(link)),
            None => self.leaves(key, &folded, source, reason, by),
        }
    }

    /// Somebody who isn't in a channel any more leaves its rooms.
    fn leaves(
        &mut self,
        key: &ChannelRef,
        nick: &Folded,
        source: &Source,
        reason: Option<&str>,
        by: Option<&Arc<Ghost>>,
    ) {
        let Some(network) = self.networks.get(&key.0) else { return };
        let (ghost, limit) = (network.ghost_of(source), network.config.ghosts.join_below as usize);
        let shrunk = self.directory.channels.get_mut(key).is_some_and(|channel| channel.measure(limit));
        if let Some(ghost) = ghost {
            for (room, _) in self.rooms_of(key) {
                if self.is_elsewhere(room, key, nick) {
                    continue;
                }
                let (user, reason) = (ghost.user.clone(), reason.map(ToOwned::to_owned));
                match by {
                    Some(by) => room.lane.expelled(user, by.clone(), reason.unwrap_or_default()),
                    None => room.lane.depart(user, reason),
                }
            }
        }
        if shrunk {
            self.reside_all(key);
        }
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
        for key in self.observed_with(link, source) {
            let Some(channel) = self.directory.channels.get_mut(&key) else { continue };
            let person = channel.roster.get(&old).filter(|person| !person.ranks.is_empty()).cloned();
            channel.roster.rename(&old, nick, new.clone());
            let now = channel.roster.get(&new).filter(|person| !person.ranks.is_empty()).cloned();
            channel.lost.back(&new);
            let ties = channel.roster.get(&new).map(|person| person.ties).unwrap_or_default();
            for (room, members) in self.rooms_of(&key) {
                match (&before, &after) {
                    // The same ghost, written another way.
                    (_, Some(after)) if old == new => room.lane.push(Job::Rename(after.clone())),
                    (Some(before), Some(after)) => {
                        let (before, reason) = (before.user.clone(), format!("is now {nick}"));
                        room.lane.swap(before, after.clone(), belongs(members, ties, false), reason);
                    }
                    (Some(before), None) => room.lane.depart(before.user.clone(), Some(format!("is now {nick}"))),
                    (None, Some(after)) if belongs(members, ties, false) => room.lane.arrive(after.clone()),
                    (None, _) => {}
                }
            }
            for person in person.iter().chain(&now) {
                self.rank_changed(&key, person);
            }
        }
        if let Some(after) = after {
            let account = self.directory.seen(&after.network, &new).find_map(|person| person.account.clone());
            self.queries_follow(&after, &old, &Identity::new(&renamed, account));
        }
    }

    /// Modes of a channel have changed: ranks of people, settings, lists.
    pub(super) fn on_modes(&mut self, link: &LinkId, channel: &str, by: &Source, changes: Vec<ModeChange>, at: IrcKey) {
        let Some(key) = self.observed(link, channel) else { return };
        let Some(network) = self.networks.get(&key.0) else { return };
        let Some(channel) = self.directory.channels.get_mut(&key) else { return };
        let opens = |change: &ModeChange| {
            let letters = if change.set { "eI" } else { "bikrzS" };
            change.kind != ModeKind::Membership && letters.contains(change.letter)
        };
        let opens = changes.iter().any(opens);
        let (mut ranked, mut of_all) = (Vec::new(), false);
        for change in changes {
            if let (ModeKind::Membership, Some(nick)) = (change.kind, &change.arg) {
                let nick = network.fold(nick);
                if channel.roster.get_mut(&nick).is_some_and(|person| person.rank(change.letter, change.set)) {
                    ranked.push(nick);
                }
            } else {
                channel.modes.change(change);
                of_all = true;
            }
        }
        let Some(channel) = self.directory.channels.get(&key) else { return };
        let ranked: Vec<&Person> = ranked.iter().filter_map(|nick| channel.roster.get(nick)).collect();
        for person in &ranked {
            self.rank_changed(&key, person);
        }
        let of_ours: Vec<LinkId> = ranked.iter().filter_map(|person| person.ours.clone()).collect();
        if of_all {
            self.judge(&key, None, Some(by), at);
            if opens {
                self.try_again(&key);
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

    pub(super) fn on_list(&mut self, link: &LinkId, channel: &str, letter: char, masks: Vec<String>, at: IrcKey) {
        let Some(key) = self.observed(link, channel) else { return };
        let Some(channel) = self.directory.channels.get_mut(&key) else { return };
        // It is told again with each roster, mostly without news.
        let news = !channel.modes.is_known() || channel.modes.list(letter) != masks;
        channel.modes.list_is(letter, masks);
        self.judge(&key, None, None, at);
        if letter == 'b' && news {
            self.try_again(&key);
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
        self.with_person(link, source, source, at, |person| person.account = account.map(ToOwned::to_owned));
    }

    /// Somebody is seen under another user name and host.
    pub(super) fn on_rehosted(&mut self, link: &LinkId, source: &Source, user: &str, host: &str, at: IrcKey) {
        let now = Source { user: Some(user.to_owned()), host: Some(host.to_owned()), ..source.clone() };
        self.with_person(link, source, &now, at, |person| {
            (person.source.user, person.source.host) = (now.user.clone(), now.host.clone());
        });
    }

    /// Changes what is known of somebody, in every channel that the link observes and in their queries. They are seen as
    /// `now`.
    fn with_person(&mut self, link: &LinkId, source: &Source, now: &Source, at: IrcKey, change: impl Fn(&mut Person)) {
        let Some(network) = self.networks.get(link.network()) else { return };
        let (id, folded) = (network.id.clone(), network.fold(&source.nick));
        let account = |core: &Self| core.directory.seen(&id, &folded).find_map(|person| person.account.clone());
        let before = Identity::new(source, account(self));
        for key in self.observed_with(link, source) {
            let channel = self.directory.channels.get_mut(&key);
            if let Some(person) = channel.and_then(|channel| channel.roster.get_mut(&folded)) {
                change(person);
                if let Some(ours) = person.ours.clone() {
                    self.judge(&key, Some(&ours), None, at);
                }
            }
        }
        let now = Identity::new(now, account(self));
        self.known_as(&id, &folded, &before, &now);
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
