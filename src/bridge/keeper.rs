//! What the next start has to know: written in the order in which it became so, and for as long as that takes.
//!
//! Owner of what isn't written yet. Whoever may not wait hands a [`Fact`] over ([`Keeper::note`]); a lane that made a
//! room waits until that is kept ([`Keeper::keep`]), since what is said in a room that nobody knows after a restart is
//! said into the void. An event that a fact followed from is settled behind it ([`Keeper::settle`]), so that after a crash
//! one of the two is there. To keep another fact: a variant, and its arm in [`write()`].

use std::{fmt, sync::Arc, time::Duration};

use ruma::{OwnedRoomId, OwnedUserId};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    model::{Folded, Isupport, MatrixKey, Members, NetworkId},
    store::{Journal, Portal, Query, Sanction, Store, StoreError},
};

/// Facts that may wait: while the database is away nothing new is accepted, so there are few.
const WAITING: usize = 10_000;
/// Pauses between tries while the database is away: from the first to the last, doubling.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// Something that the database is to know.
pub(super) enum Fact {
    Portal(Portal),
    Query(Query),
    /// The query in this room is with this nick now.
    QueryMoved(OwnedRoomId, String, Folded),
    QueryIsOver(OwnedRoomId),
    Members(OwnedRoomId, Option<Members>),
    ControlRoom(OwnedUserId, OwnedRoomId),
    NoControlRoom(OwnedRoomId),
    PuppetNick(NetworkId, OwnedUserId, String),
    Isupport(NetworkId, Arc<Isupport>),
    Sanction(Sanction),
    SanctionIsOver(Sanction),
}

/// As it is called in the log.
impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Portal(portal) => write!(f, "that {} is {} on {}", portal.room, portal.channel, portal.network),
            Self::Query(query) => write!(f, "that {} is {}'s query", query.room, query.user),
            Self::QueryMoved(room, nick, _) => write!(f, "that the query in {room} is with {nick}"),
            Self::Members(room, Some(members)) => write!(f, "that {room} has {members} members"),
            Self::Members(room, None) => write!(f, "that {room} has the members that are usual"),
            Self::QueryIsOver(room) => write!(f, "that the query in {room} is over"),
            Self::ControlRoom(user, room) => write!(f, "that {room} is {user}'s control room"),
            Self::NoControlRoom(room) => write!(f, "that {room} is no control room any more"),
            Self::PuppetNick(network, user, nick) => write!(f, "that {user} is {nick} on {network}"),
            Self::Isupport(network, _) => write!(f, "what {network} says of itself"),
            Self::Sanction(sanction) => {
                write!(f, "what was done to {} in {} for {}", sanction.user, sanction.room, sanction.cause)
            }
            Self::SanctionIsOver(sanction) => {
                write!(f, "that what was done to {} in {} for {} is over", sanction.user, sanction.room, sanction.cause)
            }
        }
    }
}

/// The bridge stops before it was kept; it may be all the same.
pub(super) struct Stopped;

/// A fact, if any, and what is to be done once it and all before it are on disk.
type Write = (Option<Fact>, Option<Then>);

enum Then {
    Tell(oneshot::Sender<()>),
    Settle(MatrixKey),
}

/// The way to the task that writes.
pub(super) struct Keeper {
    writes: mpsc::Sender<Write>,
    stop: CancellationToken,
}

impl Keeper {
    /// Starts the task; it ends with its last handle.
    pub(super) fn start(store: Arc<dyn Store>, journal: Journal, stop: CancellationToken) -> Arc<Self> {
        let (writes, mut waiting) = mpsc::channel::<Write>(WAITING);
        tokio::spawn(async move {
            while let Some((fact, then)) = waiting.recv().await {
                if let Some(fact) = fact
                    && let Err(error) =
                        until_answered("what the next start has to know", || write(&*store, &fact)).await
                {
                    tracing::error!(%error, "the next start won't know {fact}");
                }
                match then {
                    // Whoever doesn't wait any more needn't know.
                    Some(Then::Tell(done)) => drop(done.send(())),
                    Some(Then::Settle(key)) => journal.settle_matrix(key).await,
                    None => {}
                }
            }
        });
        Arc::new(Self { writes, stop })
    }

    /// Keeps a fact soon.
    pub(super) fn note(&self, fact: Fact) {
        let refused = self.writes.try_send((Some(fact), None)).err().and_then(|error| error.into_inner().0);
        if let Some(fact) = refused {
            tracing::error!("too much waits to be stored: the next start won't know {fact}");
        }
    }

    /// Settles an event once all facts so far, which may have followed from it, are on disk.
    pub(super) fn settle(&self, key: MatrixKey) {
        if self.writes.try_send((None, Some(Then::Settle(key)))).is_err() {
            tracing::error!(?key, "too much waits to be stored: the next start does an event again");
        }
    }

    /// Keeps a fact; it is on disk when this returns.
    pub(super) async fn keep(&self, fact: Fact) -> Result<(), Stopped> {
        tokio::select! {
            () = self.written(Some(fact)) => Ok(()),
            () = self.stop.cancelled() => Err(Stopped),
        }
    }

    /// Waits until all facts so far are on disk, however long the database is away.
    pub(super) async fn flush(&self) {
        self.written(None).await;
    }

    async fn written(&self, fact: Option<Fact>) {
        let (done, written) = oneshot::channel();
        // The task ends after us.
        let _ = self.writes.send((fact, Some(Then::Tell(done)))).await;
        let _ = written.await;
    }
}

async fn write(store: &dyn Store, fact: &Fact) -> Result<(), StoreError> {
    match fact {
        Fact::Portal(portal) => store.put_portal(portal).await,
        Fact::Query(query) => store.put_query(query).await,
        Fact::QueryMoved(room, nick, folded) => store.move_query(room, nick, folded).await.map(drop),
        Fact::Members(room, members) => store.put_room_members(room, *members).await,
        Fact::QueryIsOver(room) => store.remove_query(room).await,
        Fact::ControlRoom(user, room) => store.put_control_room(user, room).await,
        Fact::NoControlRoom(room) => store.remove_control_room(room).await,
        Fact::PuppetNick(network, user, nick) => store.set_puppet_nick(network, user, nick).await,
        Fact::Isupport(network, isupport) => store.put_isupport(network, isupport).await,
        Fact::Sanction(sanction) => store.put_sanction(sanction).await,
        Fact::SanctionIsOver(sanction) => store.remove_sanction(sanction).await,
    }
}

/// Asks the database until it isn't away any more; `what` waits for it meanwhile.
pub(super) async fn until_answered<T, A>(what: &str, ask: impl Fn() -> A) -> Result<T, StoreError>
where
    A: Future<Output = Result<T, StoreError>>,
{
    let mut pause = PAUSES.0;
    loop {
        match ask().await {
            Err(StoreError::Unavailable(error)) => {
                tracing::warn!(error, "the database is away, and {what} waits for it");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            }
            answer => return answer,
        }
    }
}
