//! Ghosts as the homeserver knows them: registered, and under the right name.
//!
//! Owner of which ghosts exist. Lanes ask for a ghost before it acts; most asks are answered from memory.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use quick_cache::sync::Cache;
use ruma::{OwnedUserId, UserId};
use tokio_util::sync::CancellationToken;

use crate::{
    matrix::{MatrixApi, MatrixError, Probe, RetryPolicy, persist},
    model::{Folded, NetworkId},
    store::{self, Store},
    translate,
};

/// How many ghosts are remembered as being in order.
const REMEMBERED: usize = 50_000;

/// The Matrix user that stands for an IRC user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ghost {
    pub(super) network: NetworkId,
    pub(super) nick: String,
    pub(super) folded: Folded,
    pub(super) user: OwnedUserId,
    pub(super) display_name: String,
    /// Whether nobody has shown how the nick is written, so that it is written as it is compared: no reason to give
    /// the ghost another name than it has.
    pub(super) unseen: bool,
}

/// Registers ghosts and keeps their names right.
pub(super) struct Ghosts {
    store: Arc<dyn Store>,
    stop: CancellationToken,
    /// User to the display name that the homeserver has.
    known: Cache<OwnedUserId, Arc<str>>,
    /// Users whom the database remembers and the homeserver may not.
    doubted: Cache<OwnedUserId, ()>,
    /// Whether the homeserver has refused a profile field of our own.
    has_no_fields: AtomicBool,
}

impl Ghosts {
    pub(super) fn new(store: Arc<dyn Store>, stop: CancellationToken) -> Self {
        Self {
            store,
            stop,
            known: Cache::new(REMEMBERED),
            doubted: Cache::new(REMEMBERED),
            has_no_fields: AtomicBool::new(false),
        }
    }

    /// Makes sure, by way of `matrix`, that the ghost exists and is called what it should be.
    ///
    /// # Errors
    /// What the homeserver refuses, or, as `probe` shows, fails over; while it's away this waits.
    pub(super) async fn ensure(
        &self,
        matrix: &dyn MatrixApi,
        ghost: &Ghost,
        probe: Option<&dyn Probe>,
    ) -> Result<(), MatrixError> {
        if self.known.get(&ghost.user).is_some_and(|name| ghost.unseen || *name == *ghost.display_name) {
            return Ok(());
        }
        let localpart = ghost.user.localpart();
        // The database is a cache here: without it we only ask the homeserver more than needed.
        let stored = self.store.ghost(localpart).await.unwrap_or_default();
        let stored = stored.filter(|_| !self.doubted.contains_key(&ghost.user));
        if stored.is_none() {
            persist(RetryPolicy::default(), &self.stop, probe, || matrix.register(localpart)).await?;
            self.doubted.remove(&ghost.user);
        }
        let named = stored.and_then(|ghost| ghost.display_name);
        if ghost.unseen
            && let Some(name) = named
        {
            self.known.insert(ghost.user.clone(), name.into());
            return Ok(());
        }
        if named.as_deref() != Some(&ghost.display_name) {
            let name = || matrix.set_display_name(&ghost.user, &ghost.display_name);
            match persist(RetryPolicy::default(), &self.stop, probe, name).await {
                Ok(()) => {
                    self.describe(matrix, ghost).await;
                    self.remember(ghost).await;
                }
                Err(MatrixError::Stopped) => return Err(MatrixError::Stopped),
                // A ghost under another name still says what it has to say.
                Err(error) => tracing::warn!(ghost.id = %ghost.user, %error, "could not name a ghost"),
            }
        }
        self.known.insert(ghost.user.clone(), ghost.display_name.as_str().into());
        Ok(())
    }

    /// Says in a ghost's profile who it is on IRC, where the homeserver has profile fields of others' making: whether it has
    /// shows when it is tried. Tried once for a ghost, as nothing depends on it.
    async fn describe(&self, matrix: &dyn MatrixApi, ghost: &Ghost) {
        if self.has_no_fields.load(Ordering::Relaxed) {
            return;
        }
        let value = translate::irc_profile(&ghost.network, &ghost.nick);
        match matrix.set_profile_field(&ghost.user, translate::PROFILE_FIELD, &value).await {
            Ok(()) | Err(MatrixError::Unavailable { .. } | MatrixError::BadToken { .. } | MatrixError::Stopped) => {}
            Err(error) => {
                tracing::debug!(%error, "the homeserver has no profile fields of others' making");
                self.has_no_fields.store(true, Ordering::Relaxed);
            }
        }
    }

    /// The homeserver doesn't let this ghost do what it should be able to: it may not know it (any more), so it is
    /// registered again before it acts.
    pub(super) fn doubt(&self, user: &UserId) {
        self.known.remove(user);
        self.doubted.insert(user.to_owned(), ());
    }

    async fn remember(&self, ghost: &Ghost) {
        let row = store::Ghost {
            localpart: ghost.user.localpart().to_owned(),
            network: ghost.network.clone(),
            nick: ghost.nick.clone(),
            display_name: Some(ghost.display_name.clone()),
        };
        if let Err(error) = self.store.put_ghost(&row).await {
            tracing::warn!(ghost.id = %ghost.user, %error, "could not store that the ghost is registered; going on");
        }
    }
}
