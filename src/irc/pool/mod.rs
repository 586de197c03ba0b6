//! The pool: every IRC connection of the bridge, seen through one trait.
//!
//! The bridge knows only this module and [`protocol`]. [`local`] keeps the connections in this process; a later
//! one may keep them in another, so nothing here hands out references, sockets or locks.

pub mod local;
pub mod protocol;

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::model::{CommandId, IrcAction, LinkId, MatrixKey};
use protocol::{Cursors, LinkSpec, NetworkSpec, PoolEvent};

/// Every IRC connection of the bridge.
///
/// No method waits for IRC: what comes of a call is told as a [`PoolEvent`].
#[async_trait]
pub trait ConnectionPool: Send + Sync {
    /// Begins (or goes on with) the stream of events. Called once, before anything else.
    fn attach(&self, cursors: Cursors) -> mpsc::Receiver<PoolEvent>;

    /// Makes a network known, or changes it for links opened from now on.
    fn configure(&self, network: NetworkSpec);

    /// Opens a link, which then stays open (reconnecting) until it is closed or refused. Opening an open link
    /// changes nothing; a refused (or closed) one begins anew, in the channels of `spec` and asked to
    /// observe none. A bot observes whatever channel it is in without being asked.
    fn open(&self, spec: LinkSpec);

    /// Closes a link with a QUIT, once it has said what was handed to it before; what becomes too old meanwhile, or is
    /// refused, fails as ever. Opened again before the QUIT, it goes on.
    fn close(&self, link: &LinkId, reason: &str);

    /// Closes a link with a QUIT at once. What waits in it fails.
    fn cut(&self, link: &LinkId, reason: &str);

    /// Hands an action to a link. Its fate, where the action has one, comes as an event under `command`.
    ///
    /// # Errors
    /// [`SendRefused`], when it was not taken: nothing more will be heard of it.
    fn send(&self, link: &LinkId, command: CommandId, action: IrcAction) -> Result<(), SendRefused>;

    /// Says goodbye on every link at once, failing what waits, and ends when all are closed.
    async fn shutdown(&self, reason: &str);
}

/// Why a link did not take an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendRefused {
    /// The link isn't open.
    #[error("the link isn't open")]
    NotOpen,
    /// Too much is waiting in it.
    #[error("too much is waiting in the link")]
    QueueFull,
}

/// Who must know, on disk, what is about to go out on a socket: asked before the first byte of each command that
/// names a journal entry. Called by many links at once; answers are grouped into few commits.
#[async_trait]
pub trait WriteAhead: Send + Sync {
    /// Returns once these are on disk as on their way. Retries for as long as the disk is away.
    async fn before_write(&self, keys: &[MatrixKey]);
}
