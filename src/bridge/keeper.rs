//! What the next start has to know: written in the order in which it became so, and for as long as that takes.
//!
//! Owner of what isn't written yet. Whoever may not wait hands a [`Fact`] over ([`Keeper::note`]); a lane that made a
//! room waits until that is kept ([`Keeper::keep`]), since what is said in a room that nobody knows after a restart is
//! said into the void. To keep another fact: a variant, and its arm in [`write()`].

use std::{fmt, sync::Arc, time::Duration};

use ruma::{OwnedRoomId, OwnedUserId};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    model::{Folded, Isupport, NetworkId},
    store::{OptOut, Portal, Query, Store, StoreError},
};

/// Facts that may wait: while the database is away nothing new is accepted, so there are few.
const WAITING: usize = 10_000;
/// Pauses between tries while the database is away: from the first to the last, doubling.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// Something that the database is to know.
pub(super) enum Fact {
    Portal(Portal),
    PortalIsOver(OwnedRoomId, NetworkId, Folded),
    OptedOut(OptOut),
    OptedIn(NetworkId, Folded),
    Query(Query),
    QueryIsOver(OwnedRoomId),
    ControlRoom(OwnedUserId, OwnedRoomId),
    NoControlRoom(OwnedRoomId),
    PuppetNick(NetworkId, OwnedUserId, String),
    Isupport(NetworkId, Arc<Isupport>),
}

/// As it is called in the log.
impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Portal(portal) => write!(f, "that {} is {} on {}", portal.room, portal.channel, portal.network),
            Self::PortalIsOver(room, network, channel) => {
                write!(f, "that {room} is {} on {network} no more", channel.as_str())
            }
            Self::OptedOut(out) => write!(f, "that {} on {} isn't to be bridged", out.folded.as_str(), out.network),
            Self::OptedIn(network, channel) => write!(f, "that {} on {network} may be bridged", channel.as_str()),
            Self::Query(query) => write!(f, "that {} is {}'s query", query.room, query.user),
            Self::QueryIsOver(room) => write!(f, "that the query in {room} is over"),
            Self::ControlRoom(user, room) => write!(f, "that {room} is {user}'s control room"),
            Self::NoControlRoom(room) => write!(f, "that {room} is no control room any more"),
            Self::PuppetNick(network, user, nick) => write!(f, "that {user} is {nick} on {network}"),
            Self::Isupport(network, _) => write!(f, "what {network} says of itself"),
        }
    }
}

/// The bridge stops before it was kept; it may be all the same.
pub(super) struct Stopped;

/// A fact, or only whoever waits for all before.
type Write = (Option<Fact>, Option<oneshot::Sender<()>>);

/// The way to the task that writes.
pub(super) struct Keeper {
    writes: mpsc::Sender<Write>,
    stop: CancellationToken,
}

impl Keeper {
    /// Starts the task; it ends with its last handle.
    pub(super) fn start(store: Arc<dyn Store>, stop: CancellationToken) -> Arc<Self> {
        let (writes, mut waiting) = mpsc::channel::<Write>(WAITING);
        tokio::spawn(async move {
            while let Some((fact, done)) = waiting.recv().await {
                if let Some(fact) = fact
                    && let Err(error) =
                        until_answered("what the next start has to know", || write(&*store, &fact)).await
                {
                    tracing::error!(%error, "the next start won't know {fact}");
                }
                // Whoever doesn't wait any more needn't know.
                let _ = done.map(|done| done.send(()));
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
        let _ = self.writes.send((fact, Some(done))).await;
        let _ = written.await;
    }
}

async fn write(store: &dyn Store, fact: &Fact) -> Result<(), StoreError> {
    match fact {
        Fact::Portal(portal) => store.put_portal(portal).await,
        Fact::PortalIsOver(room, network, folded) => store.remove_portal(room, network, folded).await,
        Fact::OptedOut(opt_out) => store.put_opt_out(opt_out).await,
        Fact::OptedIn(network, folded) => store.remove_opt_out(network, folded).await,
        Fact::Query(query) => store.put_query(query).await,
        Fact::QueryIsOver(room) => store.remove_query(room).await,
        Fact::ControlRoom(user, room) => store.put_control_room(user, room).await,
        Fact::NoControlRoom(room) => store.remove_control_room(room).await,
        Fact::PuppetNick(network, user, nick) => store.set_puppet_nick(network, user, nick).await,
        Fact::Isupport(network, isupport) => store.put_isupport(network, isupport).await,
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
