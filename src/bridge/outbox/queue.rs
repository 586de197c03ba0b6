//! What waits in a lane, and who of our ghosts is in its room.
//!
//! Joins and leaves are wishes, one per ghost, the latest counts: a pair cancels, and a wish that is already true
//! costs nothing. They come true when nothing waits to be said, as speaking brings a ghost in. Who speaks from outside the
//! channel is a guest: nobody will tell us that they left, so their ghost leaves after a quiet while.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    // The lock is held for a few lines and never over an await.
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ruma::{OwnedUserId, UserId};
use tokio::{
    sync::Notify,
    time::{Duration, Instant, timeout, timeout_at},
};

use super::{Farewell, Job, Receipt, Waiting};
use crate::bridge::ghosts::Ghost;

/// How long ranks are gathered, so that those given one after the other are one event.
const GATHER: Duration = Duration::from_secs(1);
/// How long a change of ranks may wait for further ones, or for those who are still coming.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a guest stays after their last words: through a conversation, without a leave and a join around each line.
const VISIT: Duration = Duration::from_mins(10);

/// What a ghost should do about the room.
#[derive(Debug)]
pub(super) enum Wish {
    Arrive(Arc<Ghost>),
    Depart(Option<String>),
}

/// What a worker does next.
#[derive(Debug)]
pub(super) enum Next {
    Job(Job),
    Wish(OwnedUserId, Wish),
    /// The power that people have by their ranks on IRC may not be what it should be.
    Powers,
    /// Whoever speaks for the bridge here was invited: they are in the room no more.
    Invited,
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
    /// The latest roster, while it isn't known yet who is joined.
    roster: Option<(Vec<Arc<Ghost>>, bool)>,
    /// What those with a rank on IRC are worth here.
    ranks: HashMap<OwnedUserId, i64>,
    /// When that, or who is here to have it, first and last changed since it was seen to.
    ranks_changed: Option<(Instant, Instant)>,
    loaded: bool,
    closed: bool,
    /// How the room is left, where that is for good.
    farewell: Option<Farewell>,
    invited: bool,
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

    fn apply(&mut self, ghosts: Vec<Arc<Ghost>>, all: bool) {
        // It says of everybody whether they belong here.
        self.guests.clear();
        let listed: HashSet<&OwnedUserId> = ghosts.iter().map(|ghost| &ghost.user).collect();
        let gone: Vec<OwnedUserId> = self.present().filter(|user| !listed.contains(user)).cloned().collect();
        let unwished: Vec<OwnedUserId> = self.wishes.keys().filter(|user| !listed.contains(user)).cloned().collect();
        let speakers = self.jobs.iter().filter_map(|job| match job {
            Job::Text { ghost, .. } => Some(&ghost.user),
            _ => None,
        });
        let speakers: Vec<OwnedUserId> = speakers.filter(|user| !listed.contains(user)).cloned().collect();
        for user in gone.into_iter().chain(unwished).chain(speakers) {
            self.wish(user, Wish::Depart(None));
        }
        if all {
            for ghost in ghosts {
                self.wish(ghost.user.clone(), Wish::Arrive(ghost));
            }
        }
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
                    if matches!(state.wishes.get(&ghost.user), Some(Wish::Depart(_))) {
                        // They are back.
                        state.wishes.remove(&ghost.user);
                    }
                    if *outside {
                        state.guests.insert(ghost.user.clone(), Instant::now() + VISIT);
                    } else {
                        state.guests.remove(&ghost.user);
                    }
                }
                self.waiting.more();
                state.jobs.push_back(job);
            }
        });
    }

    pub(super) fn arrive(&self, ghost: Arc<Ghost>) {
        self.change(|state| state.wish(ghost.user.clone(), Wish::Arrive(ghost)));
    }

    pub(super) fn depart(&self, user: OwnedUserId, reason: Option<String>) {
        self.change(|state| state.wish(user, Wish::Depart(reason)));
    }

    pub(super) fn roster(&self, ghosts: Vec<Arc<Ghost>>, all: bool) {
        self.change(|state| {
            if state.loaded {
                state.apply(ghosts, all);
            } else {
                state.roster = Some((ghosts, all));
            }
        });
    }

    /// Who of our ghosts is in the room, from the homeserver.
    pub(super) fn load(&self, joined: HashSet<OwnedUserId>) {
        self.change(|state| {
            state.joined = joined;
            state.unsure.clear();
            state.old_texts = 0;
            state.loaded = true;
            if state.farewell.is_some() {
                state.apply(Vec::new(), false);
            }
            if let Some((ghosts, all)) = state.roster.take() {
                state.apply(ghosts, all);
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
        state.joined.insert(user);
    }

    pub(super) fn left(&self, user: &UserId) {
        let mut state = self.lock();
        state.unsure.remove(user);
        if state.joined.remove(user) && state.ranks.contains_key(user) {
            state.rank_changed();
        }
    }

    /// A wish that was taken could not be seen to its end: it comes next, unless it was overtaken.
    pub(super) fn interrupted(&self, user: OwnedUserId, wish: Wish) {
        let mut state = self.lock();
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
            state.roster = None;
            for user in state.present().cloned().collect::<Vec<_>>() {
                state.wish(user, Wish::Depart(None));
            }
        });
    }

    /// As [`Self::close`], and whoever comes to say what waits leaves again too.
    pub(super) fn end(&self, farewell: Farewell) {
        self.change(|state| {
            state.closed = true;
            state.roster = None;
            state.apply(Vec::new(), false);
            state.farewell = Some(farewell);
        });
    }

    /// How the room is left, where that is for good.
    pub(super) fn farewell(&self) -> Option<Farewell> {
        self.lock().farewell.take()
    }

    fn take(&self) -> Option<Next> {
        let mut state = self.lock();
        state.moving = None;
        if std::mem::take(&mut state.invited) {
            return Some(Next::Invited);
        }
        if let Some(job) = state.jobs.pop_front() {
            if let Job::Text { ghost, .. } = &job {
                state.moving = Some(ghost.user.clone());
            }
            return Some(Next::Job(job));
        }
        if state.powers_due().is_some_and(|at| at <= Instant::now()) {
            state.ranks_changed = None;
            return Some(Next::Powers);
        }
        state.see_guests_out(Instant::now());
        while let Some(user) = state.order.pop_front() {
            match state.wishes.remove(&user) {
                None => {}
                Some(Wish::Depart(_)) if !state.may_have_joined(&user) => {}
                Some(wish) => {
                    state.moving = Some(user.clone());
                    return Some(Next::Wish(user, wish));
                }
            }
        }
        state.closed.then_some(Next::End)
    }

    /// What comes next: what people said first.
    pub(super) async fn next(&self) -> Next {
        loop {
            let changed = self.changed.notified();
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
    pub(super) fn powers_interrupted(&self) {
        self.change(State::rank_changed);
    }

    /// Waits until there is a job.
    pub(super) async fn job(&self) {
        loop {
            let changed = self.changed.notified();
            if !self.lock().jobs.is_empty() {
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
    use crate::model::{CaseMapping, Epoch, IrcKey};

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
        queue.roster(vec![], false);
        assert_eq!(wishes(&queue), [("old".into(), false)], "a roster shows out whoever may be there");
        queue.left(&ghost("old").user);
        queue.depart(ghost("old").user.clone(), None);
        assert_eq!(wishes(&queue), []);
    }

    #[test]
    fn r76_a_roster_brings_the_smallest_set_of_changes() {
        let queue = Queue::new(Arc::default());
        queue.roster(vec![ghost("a"), ghost("b")], true);
        assert_eq!(wishes(&queue), [], "nothing before it is known who is there");
        queue.load(HashSet::from([ghost("a").user.clone(), ghost("gone").user.clone()]));
        assert_eq!(wishes(&queue), [("gone".into(), false), ("b".into(), true)]);
        queue.left(&ghost("gone").user);
        queue.joined(ghost("b").user.clone());
        queue.roster(vec![ghost("b"), ghost("c")], false);
        assert_eq!(wishes(&queue), [("a".into(), false)], "in a large channel nobody is brought in by the roster");
    }

    #[test]
    fn what_people_said_goes_ahead_of_joins_and_leaves() {
        let queue = Queue::new(Arc::default());
        queue.load(HashSet::new());
        queue.arrive(ghost("a"));
        queue.push(Job::Topic { topic: "t".into(), topiclen: 390 });
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
        queue.roster(vec![ghost("b")], false);
        speak("c");
        assert_eq!(wishes(&queue), [("c".into(), false)], "the roster is newer than the text");
    }

    #[tokio::test(start_paused = true)]
    async fn who_speaks_from_outside_leaves_after_a_quiet_while() {
        let queue = Queue::new(Arc::default());
        queue.load(HashSet::new());
        let speak = async |nick: &str, outside: bool| {
            queue.push(said(nick, 0, outside));
            match queue.next().await {
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
        match queue.next().await {
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
        queue.roster(vec![ghost("c"), ghost("a"), ghost("b"), ghost("member")], true);
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
