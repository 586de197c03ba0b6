//! What waits in a lane, and who of our ghosts is in its room.
//!
//! Joins and leaves are wishes, one per ghost, the latest counts: a pair cancels, and a wish that is already true
//! costs nothing. They come true when nothing waits to be said, as speaking brings a ghost in. Who speaks from outside the
//! channel is a guest: nobody will tell us that they left, so their ghost leaves after a quiet while.

mod gate;

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    // The lock is held for a few lines and never over an await.
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ruma::{OwnedUserId, UserId};
use serde_json::Value;
use tokio::{
    sync::Notify,
    time::{Duration, Instant, sleep_until, timeout, timeout_at},
};

use self::gate::Gate;
use super::{
    Job, Mutes, Receipt, Waiting,
    budget::Budget,
    pieces::{Piece, Pieces},
};
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
    /// A piece of the room may not be what it should be.
    Piece(Piece, Value),
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
    pieces: Pieces,
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
        self.powers_due().into_iter().chain(self.pieces.due()).chain(self.guests.values().copied()).min()
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

    fn depart_all(&mut self) {
        for user in self.present().cloned().collect::<Vec<_>>() {
            self.wish(user, Wish::Depart(None));
        }
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
            state.pieces.retry();
            state.loaded = true;
            if state.closed {
                state.depart_all();
            }
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
            state.pieces.close();
            state.depart_all();
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
        let now = Instant::now();
        if let Some((piece, value)) = state.pieces.take(true, now) {
            return Some(Next::Piece(piece, value));
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
        if state.powers_due().is_some_and(|at| at <= now) {
            let since = state.ranks_changed.take().map_or_else(Instant::now, |(first, _)| first);
            return Some(Next::Powers { since, overdue: false });
        }
        state.see_guests_out(now);
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
        if let Some((piece, value)) = state.pieces.take(false, now) {
            return Some(Next::Piece(piece, value));
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

    /// Changes what is wanted of the room.
    pub(super) fn with_pieces(&self, change: impl FnOnce(&mut Pieces)) {
        self.change(|state| change(&mut state.pieces));
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
mod tests;
