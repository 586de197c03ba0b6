//! What goes to the homeserver: one lane per room, in order within the room, side by side over rooms.
//!
//! A [`Lane`] is a handle that the dispatcher pushes to and never waits for; its worker owns who of our ghosts is
//! in the room. What people said goes ahead of joins and leaves. To add a thing to send: a [`Job`], its arm in
//! `worker.rs`.

mod budget;
mod entrance;
mod missed;
mod mutes;
mod powers;
mod probe;
mod queue;
mod strict;
mod worker;

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde_json::value::RawValue;
use tokio::{
    sync::{Notify, OnceCell, mpsc},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    dispatch::Input,
    ghosts::{Ghost, Ghosts},
    keeper::Keeper,
    ours::Ours,
};
use crate::{
    matrix::{MatrixApi, MatrixError, Member, Membership, Probe, RetryPolicy, persist},
    model::{IrcKey, MatrixKey, Millis},
    store::{Journal, Sanction, Store},
};
use budget::Budget;
pub(super) use mutes::{Cause, Mutes};
use queue::Queue;
pub(super) use queue::Roster;

/// How long the homeserver may take to say who is in a room.
const COMPARING: Duration = Duration::from_secs(30);

/// Something for a room, in order.
#[derive(Debug)]
pub(super) enum Job {
    /// What somebody on IRC said, from within the channel or from outside.
    Text { ghost: Arc<Ghost>, content: Box<RawValue>, at: Millis, receipt: Receipt, outside: bool },
    /// A message did not arrive: its sender is told.
    Failure { sender: OwnedUserId, text: String, events: Vec<(OwnedEventId, MatrixKey)> },
    /// The bridge itself has something to say; `txn` names it for good.
    Notice { text: String, txn: String },
    /// The channel's topic, of which IRC keeps no more than `topiclen` bytes, and who has set it, if that is known.
    Topic { topic: String, by: Option<Arc<Ghost>>, topiclen: usize },
    /// Somebody on IRC invites a Matrix user to the channel.
    Invite { user: OwnedUserId, by: Arc<Ghost> },
    /// A ghost is written another way now.
    Rename(Arc<Ghost>),
    /// Whom a query is with is called otherwise now: this ghost stands for them.
    HandOver(Arc<Ghost>),
    /// A ghost that was invited into this room, which is for others, turns that down.
    TurnDown(Arc<Ghost>),
    /// A Matrix user was removed from the channel by somebody on IRC: in these words, by this event.
    Remove { user: OwnedUserId, by: Option<Arc<Ghost>>, words: String, at: IrcKey },
    /// A Matrix user is banned from the channel.
    Ban(Sanction),
    /// And isn't any more.
    Unban(Sanction),
    /// A Matrix user is seen on IRC and is asked in.
    Admit(OwnedUserId),
    /// A Matrix user may not be here, and is told why; where the bot can't see to that, the room is told, as `txn`.
    ShowOut { user: OwnedUserId, words: String, txn: String },
    /// Nobody comes in, or reads back, unseen: whether the room is so, or can be made so.
    Secure,
}

impl Job {
    /// Whether it waits while a strict room waits for its readers: what comes from IRC, and who came to hear it. Who is shown
    /// out doesn't wait.
    fn waits_for_readers(&self) -> bool {
        matches!(self, Self::Text { .. } | Self::Topic { .. } | Self::Invite { .. } | Self::Rename(_) | Self::Admit(_))
    }

    /// Whose ghost says something, if this is what it says.
    fn speaker(&self) -> Option<&OwnedUserId> {
        match self {
            Self::Text { ghost, .. } => Some(&ghost.user),
            _ => None,
        }
    }
}

/// Settles an IRC line in the journal once every room that it went to has it.
#[derive(Debug, Clone)]
pub(super) struct Receipt {
    pub(super) key: IrcKey,
    rooms_left: Arc<AtomicUsize>,
}

impl Receipt {
    /// For a line that goes to so many rooms.
    pub(super) fn new(key: IrcKey, rooms: usize) -> Self {
        Self { key, rooms_left: Arc::new(rooms.into()) }
    }

    /// One room more has it; true if that was the last.
    fn tick(&self) -> bool {
        self.rooms_left.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

/// Where a lane leads.
#[derive(Debug, Clone)]
pub(super) enum Destination {
    /// A room with portals, which the bot is in.
    Portal(OwnedRoomId),
    /// A query's room, which the ghost is in.
    Query { room: OwnedRoomId, ghost: Arc<Ghost>, user: OwnedUserId },
    /// A query whose room the ghost is invited to.
    InvitedQuery { room: OwnedRoomId, ghost: Arc<Ghost>, user: OwnedUserId },
    /// A query whose room is still to be made.
    NewQuery { ghost: Arc<Ghost>, user: OwnedUserId },
    /// A control room.
    Control(OwnedRoomId),
    /// A control room that is still to be made.
    NewControl(OwnedUserId),
}

/// The way into a room. Cheap to clone.
#[derive(Clone)]
pub(super) struct Lane {
    queue: Arc<Queue>,
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lane")
    }
}

impl Lane {
    /// A lane in which nobody works.
    #[cfg(test)]
    pub(super) fn idle() -> Self {
        Self { queue: Arc::new(Queue::new(Arc::default())) }
    }

    /// Puts a job at the end.
    pub(super) fn push(&self, job: Job) {
        self.queue.push(job);
    }

    /// The ghost's user is in the channel: let it be in the room.
    pub(super) fn arrive(&self, ghost: Arc<Ghost>) {
        self.queue.arrive(ghost);
    }

    /// The ghost's user has left: let it leave the room, if it is in it.
    pub(super) fn depart(&self, user: OwnedUserId, reason: Option<String>) {
        self.queue.depart(user, reason);
    }

    /// The ghost's user was shown out of the channel by another: so is the ghost, if it is in the room.
    pub(super) fn expelled(&self, user: OwnedUserId, by: Arc<Ghost>, reason: String) {
        self.queue.expelled(user, by, reason);
    }

    /// Somebody is called otherwise now: `after` stands for them, and comes where `before` was or if it `belongs` there.
    pub(super) fn swap(&self, before: OwnedUserId, after: Arc<Ghost>, belongs: bool, reason: String) {
        self.queue.swap(before, after, belongs, reason);
    }

    /// These are in the channel: let those be in the room who belong there. In how many ghosts the two differ.
    pub(super) fn roster(&self, roster: Roster) -> usize {
        self.queue.roster(roster)
    }

    /// How many joins and leaves wait.
    pub(super) fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    /// Lets those leave who only came to speak, and have been silent for so long.
    pub(super) fn silent_for(&self, long: Duration) {
        self.queue.silent_for(long);
    }

    /// Somebody's rank on IRC is worth this much power; 0: they have none.
    pub(super) fn rank(&self, user: OwnedUserId, level: i64) {
        self.queue.rank(user, level);
    }

    /// Lets what comes from IRC wait, or go on.
    pub(super) fn hold(&self, on: bool) {
        self.queue.hold(on);
    }

    /// It is known what it means that somebody was asked in.
    pub(super) fn admitted(&self, user: &UserId) {
        self.queue.admitted(user);
    }

    /// Somebody who was to be asked in isn't any more.
    pub(super) fn admit_no_more(&self, user: &UserId) {
        self.queue.admit_no_more(user);
    }

    /// A strict room may not be what it should be any more: what comes from IRC waits until that is seen to.
    pub(super) fn secure(&self) {
        self.queue.secure();
    }

    /// These are all whose ranks on IRC are worth anything.
    pub(super) fn ranks(&self, ranks: HashMap<OwnedUserId, i64>) {
        self.queue.ranks(ranks);
    }

    /// These, and no others, can't be heard on IRC: the latest counts.
    pub(super) fn mute(&self, mutes: Mutes) {
        self.queue.mute(mutes);
    }

    /// Somebody on Matrix removed the ghost from the room.
    pub(super) fn removed(&self, user: &UserId) {
        self.queue.unwelcome(user);
    }

    /// Whoever speaks for the bridge in the room was invited: try again to come in.
    pub(super) fn invited(&self) {
        self.queue.invited();
    }

    /// Nothing more will be said here: what waits is done, the ghosts leave, the worker ends.
    pub(super) fn close(&self) {
        self.queue.close();
    }
}

/// What an outbox is made of.
pub(super) struct OutboxParts {
    pub(super) ours: Arc<Ours>,
    pub(super) matrix: Arc<dyn MatrixApi>,
    pub(super) noise: Arc<dyn MatrixApi>,
    pub(super) store: Arc<dyn Store>,
    pub(super) keeper: Arc<Keeper>,
    pub(super) journal: Journal,
    pub(super) core: mpsc::Sender<Input>,
    pub(super) stop: CancellationToken,
    /// How many joins and leaves in a second; 0: no limit.
    pub(super) memberships_per_second: u32,
}

/// Everything that lanes share.
pub(super) struct Outbox {
    pub(super) matrix: Arc<dyn MatrixApi>,
    /// The same homeserver, for joins and leaves.
    noise: Arc<dyn MatrixApi>,
    budget: Budget,
    pub(super) ghosts: Ghosts,
    store: Arc<dyn Store>,
    pub(super) keeper: Arc<Keeper>,
    journal: Journal,
    core: mpsc::Sender<Input>,
    ours: Arc<Ours>,
    stop: CancellationToken,
    workers: TaskTracker,
    waiting: Arc<Waiting>,
    bot_exists: OnceCell<()>,
    /// Where nobody but the bot is.
    own_room: OnceCell<OwnedRoomId>,
}

/// Jobs that wait in all lanes, or are being done.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    jobs: AtomicUsize,
    emptied: Notify,
}

impl Waiting {
    fn more(&self) {
        self.jobs.fetch_add(1, Ordering::AcqRel);
    }

    fn less(&self) {
        if self.jobs.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.emptied.notify_waiters();
        }
    }
}

impl Outbox {
    pub(super) fn new(parts: OutboxParts) -> Arc<Self> {
        let OutboxParts { ours, matrix, noise, store, keeper, journal, core, stop, memberships_per_second } = parts;
        Arc::new(Self {
            ghosts: Ghosts::new(store.clone(), stop.clone()),
            store,
            matrix,
            noise,
            budget: Budget::new(memberships_per_second),
            keeper,
            journal,
            core,
            ours,
            stop,
            workers: TaskTracker::new(),
            waiting: Arc::default(),
            bot_exists: OnceCell::new(),
            own_room: OnceCell::new(),
        })
    }

    /// Opens a lane and starts its worker.
    pub(super) fn lane(self: &Arc<Self>, destination: Destination) -> Lane {
        let queue = Arc::new(Queue::new(self.waiting.clone()));
        self.workers.spawn(worker::run(self.clone(), queue.clone(), destination));
        Lane { queue }
    }

    /// Asks until the homeserver answers, or the bridge stops.
    pub(super) async fn persist<T, F, A>(&self, call: F) -> Result<T, MatrixError>
    where
        F: FnMut() -> A,
        A: Future<Output = Result<T, MatrixError>>,
    {
        persist(RetryPolicy::default(), &self.stop, None, call).await
    }

    /// Like [`Self::persist`], but a homeserver that fails over this very request is not asked for ever.
    async fn persist_unless_faulty<T, F, A>(&self, probe: &dyn Probe, call: F) -> Result<T, MatrixError>
    where
        F: FnMut() -> A,
        A: Future<Output = Result<T, MatrixError>>,
    {
        persist(RetryPolicy::default(), &self.stop, Some(probe), call).await
    }

    /// Does what a ghost should be able to do. Where that is forbidden the homeserver may not know the ghost (any more, if
    /// it was restored from a backup): it is registered anew, and all is tried once more.
    async fn as_ghost<T, F, A>(&self, ghost: &Ghost, act: F) -> Result<T, MatrixError>
    where
        F: Fn() -> A,
        A: Future<Output = Result<T, MatrixError>>,
    {
        match act().await {
            Err(MatrixError::Forbidden { .. }) => {
                self.ghosts.doubt(&ghost.user);
                act().await
            }
            answer => answer,
        }
    }

    /// Makes sure that the homeserver has the bot's user.
    pub(super) async fn bot_exists(&self) -> Result<(), MatrixError> {
        let register = || self.persist(|| self.matrix.register(self.ours.bot.localpart()));
        self.bot_exists.get_or_try_init(register).await.copied()
    }

    /// Waits until nothing that people said, and no failure, is left to be sent.
    pub(super) async fn empty(&self) {
        loop {
            let emptied = self.waiting.emptied.notified();
            if self.waiting.jobs.load(Ordering::Acquire) == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// Asks the homeserver who is in a portal's room: the lane learns of the ghosts, the dispatcher of the people. Nothing
    /// waits for it, and if it can't be had there is another time.
    pub(super) fn compare(self: &Arc<Self>, room: &RoomId, lane: &Lane) {
        let (out, room, lane) = (self.clone(), room.to_owned(), lane.clone());
        lane.queue.comparing();
        self.workers.spawn(async move {
            let asked = timeout(COMPARING, out.noise.members(&room, None));
            let listed = tokio::select! {
                () = out.stop.cancelled() => return,
                listed = asked => listed,
            };
            let people = match listed {
                Ok(Ok(members)) => {
                    let (ghosts, people) = out.joined(members);
                    lane.queue.compared(&ghosts);
                    Some(people)
                }
                Ok(Err(error)) => {
                    tracing::debug!(portal.room = %room, %error, "could not compare a room with its channel");
                    None
                }
                Err(_) => None,
            };
            // Gone only when the bridge stops.
            drop(out.core.send(Input::RoomCompared { room, people }).await);
        });
    }

    /// Who of a room's members are in it: our ghosts, and others with their names. The bot is nobody's ghost: a roster, in
    /// which it never is, must not show it out.
    fn joined(&self, members: Vec<Member>) -> (HashSet<OwnedUserId>, Vec<(OwnedUserId, Option<String>)>) {
        let joined = members.into_iter().filter(|member| member.membership == Membership::Join);
        let (ours, people): (Vec<_>, Vec<_>) = joined.partition(|member| self.ours.includes(&member.user));
        let ghosts = ours.into_iter().map(|member| member.user).filter(|user| *user != self.ours.bot);
        (ghosts.collect(), people.into_iter().map(|member| (member.user, member.display_name)).collect())
    }

    /// A portal room's lane. In a strict room nothing goes out before the room is secure and its readers are seen.
    pub(super) fn portal_lane(self: &Arc<Self>, room: &RoomId, strict: bool) -> Lane {
        let queue = Arc::new(Queue::new(self.waiting.clone()));
        if strict {
            queue.hold(true);
            queue.make_strict();
        }
        self.workers.spawn(worker::run(self.clone(), queue.clone(), Destination::Portal(room.to_owned())));
        Lane { queue }
    }

    /// Waits until the workers have ended, which they do when `stop` is cancelled.
    pub(super) async fn ended(&self) {
        self.workers.close();
        self.workers.wait().await;
    }
}
