//! What waits in a lane, and who of our ghosts is in its room.
//!
//! Joins and leaves are wishes, one per ghost, the latest counts: a pair cancels, and a wish that is already true
//! costs nothing. They come true when nothing waits to be said, as speaking brings a ghost in. Who speaks from outside the
//! channel is a guest: nobody will tell us that they left, so their ghost leaves after a quiet while.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    // The lock is held for a few lines and never over an await.
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ruma::{OwnedUserId, UserId};
use tokio::{
    sync::Notify,
    time::{Duration, Instant, sleep_until, timeout, timeout_at},
};

use super::{Job, Mutes, Receipt, Waiting, budget::Budget};
use crate::{
    bridge::{
        ghosts::Ghost,
        residents::{Resident, belongs},
    },
    model::Members,
};

/// How long ranks are gathered, so that those given one after the other are one event.
const GATHER: Duration = Duration::from_secs(1);
/// How long a change of ranks may wait for further ones, or for those who are still coming.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a guest stays after their last words: through a conversation, without a leave and a join around each line.
const VISIT: Duration = Duration::from_mins(10);

/// How many lines wait in a strict room at the most.
const MOST_HELD: usize = 2000;

/// What a ghost should do about the room.
#[derive(Debug)]
pub(super) enum Wish {
    Arrive(Arc<Ghost>),
    Depart(Option<String>),
    /// Somebody on IRC showed them out: so does that person's ghost, if it may.
    Expelled {
        by: Arc<Ghost>,
        reason: String,
    },
}

impl Wish {
    const fn is_departure(&self) -> bool {
        matches!(self, Self::Depart(_) | Self::Expelled { .. })
    }
}

/// What a worker does next.
#[derive(Debug)]
pub(super) enum Next {
    Job(Job),
    Wish(OwnedUserId, Wish),
    /// The power that people have by their ranks on IRC may not be what it should be, since then; for too long
    /// already?
    Powers {
        since: Instant,
        overdue: bool,
    },
    /// These waited in a strict room, and there were too many.
    GiveUp(Vec<Receipt>),
    /// Whoever speaks for the bridge here was invited: they are in the room no more.
    Invited,
    /// Who is to be muted, all of them.
    Mutes(Mutes),
    /// The lane is closed and empty.
    End,
}

/// How a wait for an invitation ends.
#[derive(Debug)]
pub(super) enum Waited {
    /// The bot is invited.
    Invited,
    /// The lane is closed.
    Closed,
    /// Neither. These texts have waited for so long, and are in the queue no more.
    TooLong(Vec<Receipt>),
}

/// What keeps what comes from IRC out of a strict room.
#[derive(Default)]
struct Gate {
    /// Somebody could read it whom IRC doesn't see.
    held: bool,
    /// In a strict room: whether nobody can come in, or read back, unseen.
    secure: Option<bool>,
    /// Who was asked in, until it is known that they still wanted that, and were seen: they need only accept.
    admitting: HashSet<OwnedUserId>,
}

impl Gate {
    fn holds(&self) -> bool {
        self.held || self.secure == Some(false) || !self.admitting.is_empty()
    }
}

/// Who is in the channel, for who is to be in the room.
#[derive(Debug, Default)]
pub(in crate::bridge) struct Roster {
    pub(in crate::bridge) residents: Vec<Resident>,
    /// Whether nobody is missing: whoever isn't listed leaves.
    pub(in crate::bridge) complete: bool,
    /// Whether it has changed who is to be in the room: that somebody is in it tells nothing then.
    pub(in crate::bridge) anew: bool,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    order: VecDeque<OwnedUserId>,
    wishes: HashMap<OwnedUserId, Wish>,
    joined: HashSet<OwnedUserId>,
    /// Whose coming or going was interrupted: they may be joined or not.
    unsure: HashSet<OwnedUserId>,
    /// Who spoke from outside the channel, and when they are to leave.
    guests: HashMap<OwnedUserId, Instant>,
    /// Who may be coming or going just now: whether they are joined is about to change.
    moving: Option<OwnedUserId>,
    /// What those with a rank on IRC are worth here.
    ranks: HashMap<OwnedUserId, i64>,
    /// When that, or who is here to have it, first and last changed since it was seen to.
    ranks_changed: Option<(Instant, Instant)>,
    gate: Gate,
    /// What was held and is too much.
    given_up: Vec<Receipt>,
    /// Who was shown out, or not let in: they come when they speak or join, not because they are in the channel.
    unwelcome: HashSet<OwnedUserId>,
    /// While the homeserver is asked who is in the room: whose coming or going is newer than its answer.
    moved: Option<HashSet<OwnedUserId>>,
    /// Where ghosts are only in the room while they speak: when each spoke last.
    passing: Option<HashMap<OwnedUserId, Instant>>,
    loaded: bool,
    closed: bool,
    invited: bool,
    /// Who is to be muted, if that has changed.
    mutes: Option<Mutes>,
    /// How many of the texts waited already when the last wait for an invitation ended in vain.
    old_texts: usize,
}

impl State {
    fn wish(&mut self, user: OwnedUserId, wish: Wish) {
        self.guests.remove(&user);
        // That somebody is to leave who isn't there is not true yet: what waits to be said may bring them in.
        let done = matches!(wish, Wish::Arrive(_)) && self.joined.contains(&user);
        if done && self.moving.as_ref() != Some(&user) && !self.unsure.contains(&user) {
            // What was wished before is overtaken; its place in the order is skipped when it comes up.
            self.wishes.remove(&user);
        } else if self.wishes.insert(user.clone(), wish).is_none() {
            self.order.push_back(user);
        }
    }

    /// Which job is next.
    fn next_job(&self) -> Option<usize> {
        let holds = self.gate.holds();
        self.jobs.iter().position(|job| !(holds && job.waits_for_readers()))
    }

    /// Keeps what is held within its bounds.
    fn give_up_oldest(&mut self) {
        let is_text = |job: &Job| matches!(job, Job::Text { .. });
        while self.gate.holds() && self.jobs.iter().filter(|job| is_text(job)).count() > MOST_HELD {
            let Some(Job::Text { receipt, .. }) =
                self.jobs.iter().position(is_text).and_then(|at| self.jobs.remove(at))
            else {
                return;
            };
            self.given_up.push(receipt);
        }
    }

    /// Somebody's rank, or whether they are here to have it, has changed.
    fn rank_changed(&mut self) {
        let now = Instant::now();
        self.ranks_changed = Some((self.ranks_changed.map_or(now, |(first, _)| first), now));
    }

    /// When to see to the powers. Those who are still coming may bring ranks with them, but can't be waited for long.
    fn powers_due(&self) -> Option<Instant> {
        let (first, last) = self.ranks_changed.filter(|_| self.loaded)?;
        Some(if self.order.is_empty() { (last + GATHER).min(first + PATIENCE) } else { first + PATIENCE })
    }

    /// Whether the powers have waited for as long as they may.
    fn powers_overdue(&self) -> bool {
        self.loaded && self.ranks_changed.is_some_and(|(first, _)| first.elapsed() >= PATIENCE)
    }

    /// When there is something to do though nothing comes.
    fn due(&self) -> Option<Instant> {
        self.powers_due().into_iter().chain(self.guests.values().copied()).min()
    }

    /// Lets those guests leave who have been quiet for long enough.
    fn see_guests_out(&mut self, now: Instant) {
        for (guest, _) in self.guests.extract_if(|_, leaves_at| *leaves_at <= now).collect::<Vec<_>>() {
            self.wish(guest, Wish::Depart(None));
        }
    }

    /// Whoever may be in the room.
    fn present(&self) -> impl Iterator<Item = &OwnedUserId> {
        self.joined.union(&self.unsure)
    }

    fn may_have_joined(&self, user: &UserId) -> bool {
        self.joined.contains(user) || self.unsure.contains(user)
    }

    fn apply(&mut self, Roster { residents, complete, anew }: Roster) -> usize {
        let mut differences = 0;
        let passing = residents.iter().any(|resident| resident.members == Members::None);
        self.passing = passing.then(|| self.passing.take().unwrap_or_default());
        if complete {
            // It says of everybody whether they belong here.
            self.guests.clear();
            let listed: HashSet<&OwnedUserId> = residents.iter().map(|resident| &resident.ghost.user).collect();
            let speakers = self.jobs.iter().filter_map(Job::speaker);
            let known = self.present().chain(self.wishes.keys()).chain(speakers);
            let gone: BTreeSet<OwnedUserId> = known.filter(|user| !listed.contains(user)).cloned().collect();
            for user in gone {
                differences += usize::from(self.may_have_joined(&user));
                self.wish(user, Wish::Depart(None));
            }
        }
        for Resident { ghost, members, ties } in residents {
            let is_there = self.may_have_joined(&ghost.user);
            if belongs(members, ties, is_there && !anew) {
                if is_there || !self.unwelcome.contains(&ghost.user) {
                    differences += usize::from(!is_there);
                    self.wish(ghost.user.clone(), Wish::Arrive(ghost));
                }
            } else if (is_there || self.wishes.contains_key(&ghost.user)) && !self.passes(&ghost.user) {
                differences += usize::from(is_there);
                self.wish(ghost.user.clone(), Wish::Depart(None));
            }
        }
        differences
    }

    /// Whether somebody is in the room has just changed.
    fn moved(&mut self, user: &UserId) {
        self.moved.iter_mut().for_each(|moved| _ = moved.insert(user.to_owned()));
    }

    /// Whether somebody is in the room because they have just spoken.
    fn passes(&self, user: &UserId) -> bool {
        self.passing.as_ref().is_some_and(|passing| passing.contains_key(user))
    }
}

/// A lane's queue. Its length is bounded by what the journal accepts and by the size of the channel.
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Notify,
    waiting: Arc<Waiting>,
}

impl Queue {
    /// An empty queue that counts its jobs in `waiting`.
    pub(super) fn new(waiting: Arc<Waiting>) -> Self {
        Self { state: Mutex::default(), changed: Notify::new(), waiting }
    }

    /// A job that was taken is done.
    pub(super) fn done(&self) {
        self.waiting.less();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_one();
    }

    pub(super) fn push(&self, job: Job) {
        self.change(|state| match (job, state.jobs.back_mut()) {
            // Failures that wait behind the same failure are told with it.
            (Job::Failure { sender, text, events }, Some(Job::Failure { sender: s, text: t, events: e }))
                if sender == *s && text == *t =>
            {
                e.extend(events);
            }
            (job, _) => {
                if let Job::Text { ghost, outside, .. } = &job {
                    if state.wishes.get(&ghost.user).is_some_and(Wish::is_departure) {
                        // They are back.
                        state.wishes.remove(&ghost.user);
                    }
                    if *outside {
                        state.guests.insert(ghost.user.clone(), Instant::now() + VISIT);
                    } else {
                        state.guests.remove(&ghost.user);
                    }
                }
                if let (Some(user), Some(passing)) = (job.speaker(), &mut state.passing) {
                    passing.insert(user.clone(), Instant::now());
                }
                self.waiting.more();
                state.jobs.push_back(job);
                state.give_up_oldest();
            }
        });
    }

    pub(super) fn arrive(&self, ghost: Arc<Ghost>) {
        self.change(|state| {
            state.unwelcome.remove(&ghost.user);
            state.wish(ghost.user.clone(), Wish::Arrive(ghost));
        });
    }

    pub(super) fn depart(&self, user: OwnedUserId, reason: Option<String>) {
        self.change(|state| state.wish(user, Wish::Depart(reason)));
    }

    pub(super) fn expelled(&self, user: OwnedUserId, by: Arc<Ghost>, reason: String) {
        self.change(|state| state.wish(user, Wish::Expelled { by, reason }));
    }

    pub(super) fn mute(&self, mutes: Mutes) {
        self.change(|state| state.mutes = Some(mutes));
    }

    /// Somebody is called otherwise now: `after` stands for them, and comes where `before` was or if it `belongs` there.
    /// It comes first, so that they are never out.
    pub(super) fn swap(&self, before: OwnedUserId, after: Arc<Ghost>, belongs: bool, reason: String) {
        self.change(|state| {
            let coming = matches!(state.wishes.get(&before), Some(Wish::Arrive(_)));
            let was_there = (state.may_have_joined(&before) || coming) && state.passing.is_none();
            if state.unwelcome.remove(&before) {
                state.unwelcome.insert(after.user.clone());
            } else if belongs || was_there {
                state.wish(after.user.clone(), Wish::Arrive(after));
            }
            // Not at an earlier wish's place, before the other has come.
            state.wishes.remove(&before);
            state.order.retain(|user| *user != before);
            state.wish(before, Wish::Depart(Some(reason)));
        });
    }

    pub(super) fn roster(&self, roster: Roster) -> usize {
        let mut differences = 0;
        self.change(|state| {
            // Before it is known who is in the room, nothing follows; the dispatcher tells again when it is.
            if state.loaded {
                differences = state.apply(roster);
            }
        });
        differences
    }

    /// The homeserver is asked who of our ghosts is in the room.
    pub(super) fn comparing(&self) {
        self.lock().moved = Some(HashSet::new());
    }

    /// Who was in the room, by the homeserver, at some time since it was asked.
    pub(super) fn compared(&self, list: &HashSet<OwnedUserId>) {
        let mut state = self.lock();
        let Some(moved) = state.moved.take() else { return };
        state.joined.retain(|user| moved.contains(user) || list.contains(user));
        state.joined.extend(list.difference(&moved).cloned());
    }

    /// How many wishes wait.
    pub(super) fn waiting(&self) -> usize {
        self.lock().wishes.len()
    }

    /// Lets those leave who were only to be in the room while they spoke, and have been silent for so long.
    pub(super) fn silent_for(&self, long: Duration) {
        let mut state = self.lock();
        let Some(passing) = &mut state.passing else { return };
        let silent: Vec<OwnedUserId> =
            passing.extract_if(|_, spoke| spoke.elapsed() >= long).map(|(user, _)| user).collect();
        if silent.is_empty() {
            return;
        }
        for user in silent {
            state.wish(user, Wish::Depart(None));
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Who of our ghosts is in the room, from the homeserver.
    pub(super) fn load(&self, joined: HashSet<OwnedUserId>) {
        self.change(|state| {
            state.joined = joined;
            state.unsure.clear();
            state.moved = None;
            state.unwelcome.clear();
            state.old_texts = 0;
            state.loaded = true;
        });
    }

    pub(super) fn has_joined(&self, user: &UserId) -> bool {
        self.lock().joined.contains(user)
    }

    pub(super) fn joined(&self, user: OwnedUserId) {
        let mut state = self.lock();
        state.unsure.remove(&user);
        if state.ranks.contains_key(&user) {
            state.rank_changed();
        }
        state.unwelcome.remove(&user);
        state.moved(&user);
        state.joined.insert(user);
    }

    pub(super) fn left(&self, user: &UserId) {
        let mut state = self.lock();
        state.unsure.remove(user);
        state.moved(user);
        if state.joined.remove(user) && state.ranks.contains_key(user) {
            state.rank_changed();
        }
    }

    /// Somebody was shown out of the room, or isn't let in.
    pub(super) fn unwelcome(&self, user: &UserId) {
        self.left(user);
        self.lock().unwelcome.insert(user.to_owned());
    }

    /// A wish that was taken could not be seen to its end: it comes next, unless it was overtaken.
    pub(super) fn interrupted(&self, user: OwnedUserId, wish: Wish) {
        let mut state = self.lock();
        state.moved(&user);
        state.joined.remove(&user);
        state.unsure.insert(user.clone());
        if !state.wishes.contains_key(&user) {
            state.wishes.insert(user.clone(), wish);
            state.order.push_front(user);
        }
    }

    pub(super) fn invited(&self) {
        self.change(|state| state.invited = true);
    }

    pub(super) fn close(&self) {
        self.change(|state| {
            state.closed = true;
            for user in state.present().cloned().collect::<Vec<_>>() {
                state.wish(user, Wish::Depart(None));
            }
        });
    }

    fn take(&self) -> Option<Next> {
        let mut state = self.lock();
        state.moving = None;
        if std::mem::take(&mut state.invited) {
            return Some(Next::Invited);
        }
        if !state.given_up.is_empty() {
            return Some(Next::GiveUp(std::mem::take(&mut state.given_up)));
        }
        // No second conversation forms meanwhile.
        if let Some(mutes) = state.mutes.take() {
            return Some(Next::Mutes(mutes));
        }
        // Power that is to be taken away doesn't wait for as long as people talk.
        if state.powers_overdue() {
            let since = state.ranks_changed.take().map_or_else(Instant::now, |(first, _)| first);
            return Some(Next::Powers { since, overdue: true });
        }
        if let Some(job) = state.next_job().and_then(|at| state.jobs.remove(at)) {
            if let Job::Admit(user) = &job {
                state.gate.admitting.insert(user.clone());
            }
            if let Job::Text { ghost, .. } = &job {
                state.moving = Some(ghost.user.clone());
            }
            return Some(Next::Job(job));
        }
        if state.powers_due().is_some_and(|at| at <= Instant::now()) {
            let since = state.ranks_changed.take().map_or_else(Instant::now, |(first, _)| first);
            return Some(Next::Powers { since, overdue: false });
        }
        state.see_guests_out(Instant::now());
        // Who comes and goes, and with what words, is from IRC too.
        while !state.gate.holds()
            && let Some(user) = state.order.pop_front()
        {
            match state.wishes.remove(&user) {
                None => {}
                Some(wish) if wish.is_departure() && !state.may_have_joined(&user) => {}
                Some(wish) => {
                    state.moving = Some(user.clone());
                    return Some(Next::Wish(user, wish));
                }
            }
        }
        state.closed.then_some(Next::End)
    }

    /// Whether there is nothing to do but what can wait.
    fn can_wait(&self) -> bool {
        let state = self.lock();
        let comes_true =
            |(user, wish): (&OwnedUserId, &Wish)| matches!(wish, Wish::Arrive(_)) || state.may_have_joined(user);
        let is_due = state.due().is_some_and(|due| due <= Instant::now());
        !state.invited
            && !is_due
            && state.mutes.is_none()
            && state.given_up.is_empty()
            && !state.gate.holds()
            && state.jobs.is_empty()
            && state.wishes.iter().any(comes_true)
    }

    /// What comes next: what people said first. A join or leave has its turn in the `budget`; until then it may be
    /// overtaken.
    pub(super) async fn next(&self, budget: &Budget) -> Next {
        loop {
            let changed = self.changed.notified();
            if self.can_wait() {
                let due = self.lock().due();
                tokio::select! {
                    biased;
                    () = self.has(|state| state.next_job().is_some() || state.mutes.is_some()) => continue,
                    () = budget.wait() => {}
                    () = async { sleep_until(due.unwrap_or_else(Instant::now)).await }, if due.is_some() => continue,
                }
            }
            if let Some(next) = self.take() {
                return next;
            }
            let due = self.lock().due();
            match due {
                Some(due) => drop(timeout_at(due, changed).await),
                None => changed.await,
            }
        }
    }

    /// Somebody in the channel is worth so much; 0: they have no rank (any more).
    pub(super) fn rank(&self, user: OwnedUserId, level: i64) {
        self.change(|state| {
            let before = if level == 0 { state.ranks.remove(&user) } else { state.ranks.insert(user, level) };
            if before.unwrap_or(0) != level {
                state.rank_changed();
            }
        });
    }

    /// These are all who are worth something.
    pub(super) fn ranks(&self, ranks: HashMap<OwnedUserId, i64>) {
        self.change(|state| {
            state.ranks = ranks;
            state.rank_changed();
        });
    }

    /// What those with a rank are worth, and of our ghosts who is in the room.
    pub(super) fn powers(&self) -> (HashMap<OwnedUserId, i64>, HashSet<OwnedUserId>) {
        let state = self.lock();
        (state.ranks.clone(), state.joined.clone())
    }

    /// The powers could not be seen to: they will be later.
    pub(super) fn powers_interrupted(&self, since: Instant) {
        self.change(|state| {
            state.rank_changed();
            state.ranks_changed.iter_mut().for_each(|(first, _)| *first = since.min(*first));
        });
    }

    /// Lets what comes from IRC wait, or go on.
    pub(super) fn hold(&self, on: bool) {
        self.change(|state| state.gate.held = on);
    }

    /// What it means that somebody was asked in is known, or they weren't.
    pub(super) fn admitted(&self, user: &UserId) {
        self.change(|state| _ = state.gate.admitting.remove(user));
    }

    /// Somebody who was to be asked in isn't any more.
    pub(super) fn admit_no_more(&self, user: &UserId) {
        self.change(|state| {
            let before = state.jobs.len();
            state.jobs.retain(|job| !matches!(job, Job::Admit(admitted) if admitted == user));
            (state.jobs.len()..before).for_each(|_| self.waiting.less());
        });
    }

    /// The room is strict, and isn't known to be secure.
    pub(super) fn make_strict(&self) {
        self.change(|state| state.gate.secure = Some(false));
        self.secure();
    }

    /// In a strict room: it may not be secure any more, which is to be seen to first.
    pub(super) fn secure(&self) {
        self.change(|state| {
            if state.gate.secure.is_some() {
                state.gate.secure = Some(false);
                if !state.jobs.iter().any(|job| matches!(job, Job::Secure)) {
                    self.waiting.more();
                    state.jobs.push_front(Job::Secure);
                }
            }
        });
    }

    /// The room is secure, unless that has come into doubt again.
    pub(super) fn secured(&self) {
        self.change(|state| {
            if state.gate.secure.is_some() && !state.jobs.iter().any(|job| matches!(job, Job::Secure)) {
                state.gate.secure = Some(true);
            }
        });
    }

    /// Waits until there is a job.
    pub(super) async fn job(&self) {
        self.has(|state| state.next_job().is_some()).await;
    }

    async fn has(&self, something: impl Fn(&State) -> bool) {
        loop {
            let changed = self.changed.notified();
            if something(&self.lock()) {
                return;
            }
            changed.await;
        }
    }

    /// Waits until the bot is invited, for so long.
    pub(super) async fn invitation(&self, patience: Duration) -> Waited {
        let invited = async {
            loop {
                let changed = self.changed.notified();
                {
                    let mut state = self.lock();
                    if std::mem::take(&mut state.invited) {
                        return Waited::Invited;
                    }
                    if state.closed {
                        return Waited::Closed;
                    }
                }
                changed.await;
            }
        };
        timeout(patience, invited).await.unwrap_or_else(|_| Waited::TooLong(self.take_old_texts()))
    }

    /// Takes out the texts that waited already when this was asked last.
    fn take_old_texts(&self) -> Vec<Receipt> {
        let mut state = self.lock();
        let count = state.old_texts;
        let mut old = Vec::new();
        let jobs = std::mem::take(&mut state.jobs);
        for job in jobs {
            match job {
                Job::Text { receipt, .. } if old.len() < count => old.push(receipt),
                job => state.jobs.push_back(job),
            }
        }
        state.old_texts = state.jobs.iter().filter(|job| matches!(job, Job::Text { .. })).count();
        for _ in &old {
            self.waiting.less();
        }
        old
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bridge::residents::Ties,
        model::{CaseMapping, Epoch, IrcKey},
    };

    fn roster(nicks: &[&str], members: Members) -> Roster {
        let resident = |nick: &&str| Resident { ghost: ghost(nick), members, ties: Ties::default() };
        Roster { residents: nicks.iter().map(resident).collect(), complete: true, anew: false }
    }

    fn ghost(nick: &str) -> Arc<Ghost> {
        Arc::new(Ghost {
            network: "net".parse().unwrap(),
            nick: nick.into(),
            folded: CaseMapping::Ascii.fold(nick),
            user: UserId::parse(format!("@irc_net_{nick}:x")).unwrap(),
            display_name: nick.into(),
            unseen: false,
        })
    }

    fn wishes(queue: &Queue) -> Vec<(String, bool)> {
        let mut all = Vec::new();
        while let Some(Next::Wish(user, wish)) = queue.take() {
            all.push((user.localpart().trim_start_matches("irc_net_").to_owned(), matches!(wish, Wish::Arrive(_))));
        }
        all
    }

    #[test]
    fn r76_join_and_leave_of_one_ghost_cancel() {
        let queue = Queue::new(Arc::default());
        queue.load(HashSet::from([ghost("old").user.clone()]));
        queue.arrive(ghost("a"));
        queue.depart(ghost("a").user.clone(), None);
        queue.depart(ghost("old").user.clone(), None);
        queue.arrive(ghost("old"));
        queue.arrive(ghost("b"));
        assert_eq!(wishes(&queue), [("b".into(), true)]);
    }

    #[test]
    fn a_ghost_that_leaves_while_it_is_being_brought_in_leaves() {
        let queue = Queue::new(Arc::default());
        queue.load(HashSet::new());
        queue.arrive(ghost("a"));
        assert!(matches!(queue.take(), Some(Next::Wish(_, Wish::Arrive(_)))));
        queue.depart(ghost("a").user.clone(), None);
        queue.joined(ghost("a").user.clone());
        assert!(matches!(queue.take(), Some(Next::Wish(_, Wish::Depart(_)))));
        queue.arrive(ghost("a"));
        queue.left(&ghost("a").user);
        assert_eq!(wishes(&queue), [("a".into(), true)]);
    }

    #[test]
    fn r79_a_change_of_nick_is_one_swap() {
        let queue = Queue::new(Arc::default());
        queue.load(HashSet::from([ghost("old").user.clone(), ghost("taken").user.clone()]));
        let swap = |before: &str, after: &str, belongs| {
            queue.swap(ghost(before).user.clone(), ghost(after), belongs, "is now".into());
        };
        swap("old", "new", false);
        assert_eq!(wishes(&queue), [("new".into(), true), ("old".into(), false)], "never without a ghost");
        queue.left(&ghost("old").user);
        queue.joined(ghost("new").user.clone());
        swap("silent", "quiet", false);
        assert_eq!(wishes(&queue), [], "whoever wasn't there isn't there");
        swap("silent", "loud", true);
        assert_eq!(wishes(&queue), [("loud".into(), true)]);
        queue.joined(ghost("loud").user.clone());
        // Back and forth before anything has come of it.
        swap("new", "newer", true);
        swap("newer", "new", true);
        assert_eq!(wishes(&queue), []);
        queue.arrive(ghost("speaker"));
        queue.joined(ghost("speaker").user.clone());
        swap("speaker", "reader", false);
        assert_eq!(wishes(&queue), [("reader".into(), true), ("speaker".into(), false)]);
        queue.unwelcome(&ghost("new").user);
        swap("new", "renewed", true);
        assert_eq!(wishes(&queue), [], "another name is no way in");
    }

    #[test]
    fn an_interrupted_wish_comes_next_unless_it_is_overtaken() {
        let queue = Queue::new(Arc::default());
        queue.load(HashSet::from([ghost("old").user.clone()]));
        queue.arrive(ghost("a"));
        queue.arrive(ghost("b"));
        let interrupt = || match queue.take() {
            Some(Next::Wish(user, wish)) => queue.interrupted(user, wish),
            other => panic!("{other:?}"),
        };
        interrupt();
        assert_eq!(wishes(&queue), [("a".into(), true), ("b".into(), true)]);
        queue.left(&ghost("a").user);
        // The join may have got through all the same, so that leaving is no idle wish; nor is coming after a leave.
        queue.arrive(ghost("c"));
        interrupt();
        queue.depart(ghost("c").user.clone(), None);
        queue.depart(ghost("old").user.clone(), None);
        assert_eq!(wishes(&queue), [("c".into(), false), ("old".into(), false)]);
        queue.left(&ghost("c").user);
        queue.depart(ghost("old").user.clone(), None);
        interrupt();
        queue.arrive(ghost("old"));
        assert!(queue.lock().may_have_joined(&ghost("old").user) && !queue.has_joined(&ghost("old").user));
        assert_eq!(wishes(&queue), [("old".into(), true)]);
        queue.roster(roster(&[], Members::Speakers));
        assert_eq!(wishes(&queue), [("old".into(), false)], "a roster shows out whoever may be there");
        queue.left(&ghost("old").user);
        queue.depart(ghost("old").user.clone(), None);
        assert_eq!(wishes(&queue), []);
    }

    #[test]
    fn r76_a_roster_brings_the_smallest_set_of_changes() {
        let queue = Queue::new(Arc::default());
        queue.roster(roster(&["a", "b"], Members::Full));
        queue.arrive(ghost("later"));
        queue.load(HashSet::from([ghost("a").user.clone(), ghost("gone").user.clone()]));
        assert_eq!(wishes(&queue), [("later".into(), true)], "a roster tells nothing before it is known who is there");
        queue.roster(roster(&["a", "b"], Members::Full));
        assert_eq!(wishes(&queue), [("gone".into(), false), ("b".into(), true)]);
        queue.left(&ghost("gone").user);
        queue.joined(ghost("b").user.clone());
        queue.roster(roster(&["b", "c"], Members::Speakers));
        assert_eq!(wishes(&queue), [("a".into(), false)], "in a large channel nobody is brought in by the roster");
    }

    #[test]
    fn r77_who_is_in_the_room_follows_from_its_mode() {
        let queue = Queue::new(Arc::default());
        let resident =
            |nick: &str, members, came, spoke| Resident { ghost: ghost(nick), members, ties: Ties { came, spoke } };
        let switch = |members| Roster {
            residents: [("old", false, false), ("new", true, false), ("talks", false, true)]
                .map(|(nick, came, spoke)| resident(nick, members, came, spoke))
                .into(),
            complete: true,
            anew: true,
        };
        let in_the_end = |members| {
            queue.roster(switch(members));
            while let Some(Next::Wish(user, wish)) = queue.take() {
                match wish {
                    Wish::Arrive(ghost) => queue.joined(ghost.user.clone()),
                    Wish::Depart(_) | Wish::Expelled { .. } => queue.left(&user),
                }
            }
            ["old", "new", "talks"].map(|nick| queue.has_joined(&ghost(nick).user))
        };
        queue.load(HashSet::new());
        assert_eq!(in_the_end(Members::Full), [true, true, true]);
        assert_eq!(in_the_end(Members::Joined), [false, true, true]);
        assert_eq!(in_the_end(Members::Speakers), [false, false, true]);
        assert_eq!(in_the_end(Members::None), [false, false, false]);
        assert_eq!(in_the_end(Members::Full), [true, true, true]);
        queue.load(HashSet::from([ghost("old").user.clone()]));
        queue.roster(Roster { anew: false, ..switch(Members::Speakers) });
        assert_eq!(wishes(&queue), [("talks".into(), true)], "after a restart, whoever is there has spoken");
        // Who hasn't come yet needn't any more.
        queue.load(HashSet::new());
        queue.roster(switch(Members::Full));
        queue.roster(switch(Members::Speakers));
        assert_eq!(wishes(&queue), [("talks".into(), true)]);
    }

    #[test]
    fn a_roster_that_isnt_complete_shows_nobody_out() {
        let queue = Queue::new(Arc::default());
        queue.load(HashSet::from([ghost("elsewhere").user.clone()]));
        queue.roster(Roster { complete: false, ..roster(&["a"], Members::Full) });
        assert_eq!(wishes(&queue), [("a".into(), true)]);
    }

    #[test]
    fn whoever_was_shown_out_comes_when_they_speak_or_join() {
        let queue = Queue::new(Arc::default());
        queue.load(HashSet::from([ghost("a").user.clone()]));
        queue.unwelcome(&ghost("a").user);
        queue.roster(roster(&["a"], Members::Full));
        assert_eq!(wishes(&queue), []);
        queue.arrive(ghost("a"));
        assert_eq!(wishes(&queue), [("a".into(), true)]);
    }

    #[tokio::test(start_paused = true)]
    async fn r77_who_only_comes_to_speak_leaves_when_they_have_been_silent() {
        let silence = Duration::from_mins(10);
        let queue = Queue::new(Arc::default());
        queue.load(HashSet::new());
        let speak = |seq| {
            queue.push(text("a", seq));
            assert!(matches!(queue.take(), Some(Next::Job(Job::Text { .. }))));
            queue.joined(ghost("a").user.clone());
        };
        queue.roster(roster(&["a", "b"], Members::None));
        speak(0);
        for seq in 1..5 {
            tokio::time::advance(silence / 2).await;
            speak(seq);
            queue.silent_for(silence);
            queue.roster(roster(&["a", "b"], Members::None));
            assert_eq!(wishes(&queue), [], "not for each line anew");
        }
        tokio::time::advance(silence).await;
        queue.silent_for(silence);
        assert_eq!(wishes(&queue), [("a".into(), false)]);
        // Whom we find there after a restart has spoken long ago.
        queue.load(HashSet::from([ghost("b").user.clone()]));
        queue.roster(roster(&["a", "b"], Members::None));
        assert_eq!(wishes(&queue), [("b".into(), false)]);
    }

    #[tokio::test(start_paused = true)]
    async fn r76_what_waits_for_its_turn_still_cancels_and_holds_up_nobody() {
        let (queue, budget) = (Queue::new(Arc::default()), Budget::new(1));
        queue.load(HashSet::new());
        budget.spend();
        queue.arrive(ghost("a"));
        queue.arrive(ghost("b"));
        let wait = queue.next(&budget);
        assert!(timeout(Duration::from_millis(500), wait).await.is_err(), "not yet");
        queue.depart(ghost("a").user.clone(), None);
        queue.push(text("c", 0));
        assert!(matches!(queue.next(&budget).await, Next::Job(_)));
        match queue.next(&budget).await {
            Next::Wish(user, Wish::Arrive(_)) => assert_eq!(user, ghost("b").user),
            other => panic!("{other:?}"),
        }
        assert_eq!(wishes(&queue), []);
    }

    #[test]
    fn r76_what_the_homeserver_says_counts_unless_it_is_overtaken() {
        let queue = Queue::new(Arc::default());
        let users = |nicks: &[&str]| nicks.iter().map(|nick| ghost(nick).user.clone()).collect::<HashSet<_>>();
        queue.load(users(&["a", "b", "c"]));
        assert_eq!(queue.roster(roster(&["a", "b", "c"], Members::Full)), 0);
        queue.comparing();
        queue.left(&ghost("c").user);
        queue.joined(ghost("d").user.clone());
        // It was asked before the two of them moved.
        queue.compared(&users(&["a", "c", "stray"]));
        assert_eq!(queue.roster(roster(&["a", "b", "d"], Members::Full)), 2);
        assert_eq!(queue.waiting(), 2);
        assert_eq!(queue.roster(roster(&["a", "b", "d"], Members::Full)), 2, "until it is done");
        assert_eq!(wishes(&queue), [("stray".into(), false), ("b".into(), true)]);
        queue.compared(&users(&[]));
        assert!(queue.has_joined(&ghost("a").user), "nobody asked");
    }

    #[test]
    fn what_people_said_goes_ahead_of_joins_and_leaves() {
        let queue = Queue::new(Arc::default());
        queue.load(HashSet::new());
        queue.arrive(ghost("a"));
        queue.push(Job::Topic { topic: "t".into(), by: None, topiclen: 390 });
        assert!(matches!(queue.take(), Some(Next::Job(Job::Topic { .. }))));
        assert_eq!(wishes(&queue), [("a".into(), true)]);
    }

    fn text(nick: &str, seq: u64) -> Job {
        said(nick, seq, false)
    }

    fn said(nick: &str, seq: u64, outside: bool) -> Job {
        Job::Text {
            outside,
            ghost: ghost(nick),
            content: serde_json::value::RawValue::from_string("{}".into()).unwrap(),
            at: 0,
            receipt: Receipt::new(IrcKey { epoch: Epoch(1), seq }, 1),
        }
    }

    #[test]
    fn who_speaks_and_leaves_at_once_has_spoken_and_leaves() {
        let queue = Queue::new(Arc::default());
        let speak = |nick: &str| match queue.take() {
            Some(Next::Job(Job::Text { ghost: speaker, .. })) if speaker == ghost(nick) => {
                queue.joined(speaker.user.clone());
            }
            other => panic!("{other:?}"),
        };
        queue.load(HashSet::new());
        queue.push(text("a", 0));
        queue.depart(ghost("a").user.clone(), None);
        queue.depart(ghost("silent").user.clone(), None);
        speak("a");
        assert_eq!(wishes(&queue), [("a".into(), false)]);
        queue.left(&ghost("a").user);

        queue.push(text("b", 1));
        queue.depart(ghost("b").user.clone(), None);
        queue.push(text("b", 2));
        speak("b");
        speak("b");
        assert_eq!(wishes(&queue), [], "they are back");

        queue.push(text("c", 3));
        queue.roster(roster(&["b"], Members::Speakers));
        speak("c");
        assert_eq!(wishes(&queue), [("c".into(), false)], "the roster is newer than the text");
    }

    #[tokio::test(start_paused = true)]
    async fn who_speaks_from_outside_leaves_after_a_quiet_while() {
        let (queue, budget) = (Queue::new(Arc::default()), Budget::new(0));
        queue.load(HashSet::new());
        let speak = async |nick: &str, outside: bool| {
            queue.push(said(nick, 0, outside));
            match queue.next(&budget).await {
                Next::Job(Job::Text { ghost, .. }) => queue.joined(ghost.user.clone()),
                other => panic!("{other:?}"),
            }
        };
        let begun = Instant::now();
        speak("guest", true).await;
        tokio::time::advance(VISIT / 2).await;
        // They stay for as long as they speak.
        speak("guest", true).await;
        speak("member", false).await;
        match queue.next(&budget).await {
            Next::Wish(user, Wish::Depart(None)) if user == ghost("guest").user => queue.left(&user),
            other => panic!("{other:?}"),
        }
        assert_eq!(begun.elapsed(), VISIT / 2 + VISIT);

        // Whoever comes into the channel is no guest any more, whether that is told or only seen by their words.
        speak("a", true).await;
        queue.arrive(ghost("a"));
        speak("b", true).await;
        speak("b", false).await;
        speak("c", true).await;
        queue.roster(roster(&["c", "a", "b", "member"], Members::Full));
        let nobody_leaves = || wishes(&queue).iter().all(|(_, arrives)| *arrives);
        assert!(nobody_leaves());
        tokio::time::advance(2 * VISIT).await;
        assert!(nobody_leaves());
    }

    #[tokio::test(start_paused = true)]
    async fn texts_dont_wait_for_ever_for_a_room_that_nobody_invites_us_to() {
        let patience = Duration::from_mins(10);
        let queue = Queue::new(Arc::default());
        let given_up = async || match queue.invitation(patience).await {
            Waited::TooLong(old) => old.iter().map(|receipt| receipt.key.seq).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        queue.push(text("a", 0));
        queue.push(Job::Notice { text: "t".into(), txn: "t".into() });
        queue.push(text("a", 1));
        assert_eq!(given_up().await, [0; 0], "they may have come just now");
        queue.push(text("a", 2));
        assert_eq!(given_up().await, [0, 1]);
        queue.invited();
        assert!(matches!(queue.invitation(patience).await, Waited::Invited));
        queue.load(HashSet::new());
        assert!(matches!(queue.take(), Some(Next::Job(Job::Notice { .. }))), "what else waits stays");
        queue.push(text("a", 3));
        assert_eq!(given_up().await, [0; 0], "it is another wait");
        assert_eq!(given_up().await, [2, 3]);
        queue.close();
        assert!(matches!(queue.invitation(patience).await, Waited::Closed));
    }

    #[test]
    fn failures_of_one_kind_that_wait_are_told_together() {
        let queue = Queue::new(Arc::default());
        let failure = |n: u32| Job::Failure {
            sender: ruma::user_id!("@a:x").to_owned(),
            text: "no".into(),
            events: vec![(
                ruma::EventId::parse(format!("$e{n}:x")).unwrap(),
                crate::model::MatrixKey { txn: 1, index: n },
            )],
        };
        queue.push(failure(0));
        queue.push(failure(1));
        assert!(matches!(queue.take(), Some(Next::Job(Job::Failure { events, .. })) if events.len() == 2));
        assert!(queue.take().is_none());
    }
}
