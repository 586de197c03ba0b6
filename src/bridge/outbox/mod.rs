//! What goes to the homeserver: one lane per room, in order within the room, side by side over rooms.
//!
//! A [`Lane`] is a handle that the dispatcher pushes to and never waits for; its worker owns who of our ghosts is
//! in the room. What people said goes ahead of joins and leaves. To add a thing to send: a [`Job`], its arm in
//! `worker.rs`.

mod entrance;
mod farewell;
mod missed;
mod powers;
mod queue;
mod worker;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde_json::value::RawValue;
use tokio::sync::{Notify, OnceCell, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    dispatch::Input,
    ghosts::{Ghost, Ghosts},
    keeper::Keeper,
    ours::Ours,
};
use crate::{
    matrix::{MatrixApi, MatrixError, Probe, RetryPolicy, persist},
    model::{IrcKey, MatrixKey, Millis},
    store::{Journal, Store},
};
pub(super) use farewell::Farewell;
use queue::Queue;

/// Something for a room, in order.
#[derive(Debug)]
pub(super) enum Job {
    /// What somebody on IRC said, from within the channel or from outside.
    Text { ghost: Arc<Ghost>, content: Box<RawValue>, at: Millis, receipt: Receipt, outside: bool },
    /// A message did not arrive: its sender is told.
    Failure { sender: OwnedUserId, text: String, events: Vec<(OwnedEventId, MatrixKey)> },
    /// The bridge itself has something to say; `txn` names it for good.
    Notice { text: String, txn: String },
    /// The channel's topic, of which IRC keeps no more than `topiclen` bytes.
    Topic { topic: String, topiclen: usize },
    /// A ghost is written another way now.
    Rename(Arc<Ghost>),
    /// A ghost that was invited into this room, which is for others, turns that down.
    TurnDown(Arc<Ghost>),
    /// A Matrix user was removed from the channel: in these words, by this event.
    Remove { user: OwnedUserId, words: String, at: IrcKey },
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
    /// A room whose bridge has ended, and which all of ours are to leave.
    Leaving(OwnedRoomId),
    /// A control room, or one that the bot is a guest in.
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

    /// These are all who are in the channel. Others leave; these join too if `all` says so.
    pub(super) fn roster(&self, ghosts: Vec<Arc<Ghost>>, all: bool) {
        self.queue.roster(ghosts, all);
    }

    /// Somebody's rank on IRC is worth this much power; 0: they have none.
    pub(super) fn rank(&self, user: OwnedUserId, level: i64) {
        self.queue.rank(user, level);
    }

    /// These are all whose ranks on IRC are worth anything.
    pub(super) fn ranks(&self, ranks: HashMap<OwnedUserId, i64>) {
        self.queue.ranks(ranks);
    }

    /// Somebody on Matrix removed the ghost from the room.
    pub(super) fn removed(&self, user: &UserId) {
        self.queue.left(user);
    }

    /// Whoever speaks for the bridge in the room was invited: try again to come in.
    pub(super) fn invited(&self) {
        self.queue.invited();
    }

    /// The room's bridge has ended: what waits is done, the ghosts leave, what is ours is taken back, the bot leaves, the
    /// worker ends.
    pub(super) fn end(&self, farewell: Farewell) {
        self.queue.end(farewell);
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
}

/// Everything that lanes share.
pub(super) struct Outbox {
    pub(super) matrix: Arc<dyn MatrixApi>,
    /// The same homeserver, for joins and leaves.
    noise: Arc<dyn MatrixApi>,
    pub(super) ghosts: Ghosts,
    pub(super) keeper: Arc<Keeper>,
    journal: Journal,
    core: mpsc::Sender<Input>,
    ours: Arc<Ours>,
    stop: CancellationToken,
    workers: TaskTracker,
    waiting: Arc<Waiting>,
    bot_exists: OnceCell<()>,
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
        let OutboxParts { ours, matrix, noise, store, keeper, journal, core, stop } = parts;
        Arc::new(Self {
            ghosts: Ghosts::new(store, stop.clone()),
            matrix,
            noise,
            keeper,
            journal,
            core,
            ours,
            stop,
            workers: TaskTracker::new(),
            waiting: Arc::default(),
            bot_exists: OnceCell::new(),
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

    /// A portal room's lane.
    pub(super) fn portal_lane(self: &Arc<Self>, room: &RoomId) -> Lane {
        self.lane(Destination::Portal(room.to_owned()))
    }

    /// Waits until the workers have ended, which they do when `stop` is cancelled.
    pub(super) async fn ended(&self) {
        self.workers.close();
        self.workers.wait().await;
    }
}
