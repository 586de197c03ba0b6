//! What the pool has to say to a link: bounded, except that a close always gets through.
//!
//! A queue of our own rather than tokio's: that one costs more than a kilobyte for each link, used or not, and a
//! full one couldn't be told to close.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    task::Context,
};

use futures_util::task::AtomicWaker;

use super::Opening;
use crate::{
    irc::pool::SendRefused,
    model::{CommandId, IrcAction},
};

/// Actions that may wait for a link to look at them. How much may wait for IRC is the session's to say; this bounds what
/// comes at once, before the link has had its turn: a transaction, or all that an earlier run left undone.
pub(super) const CAPACITY: usize = 20_000;

/// Something said to a link.
#[derive(Debug)]
pub(in crate::irc) enum Mail {
    /// Begin again, if the network refused you or you were closed; else go on.
    Open(Box<Opening>),
    /// Do this.
    Act(CommandId, Box<IrcAction>),
    /// Say goodbye when all is said.
    Close(Box<str>),
    /// Say goodbye now.
    Stop(Box<str>),
}

/// A link's mailbox; the pool and the link each hold one end.
#[derive(Debug, Default)]
pub(in crate::irc) struct Mailbox {
    queue: Mutex<Queue>,
    reader: AtomicWaker,
}

#[derive(Debug, Default)]
struct Queue {
    mail: VecDeque<Mail>,
    /// Nothing but an `Open` or a `Stop` may follow: the last that was said is a close.
    closed: bool,
    stopped: bool,
}

impl Mailbox {
    /// Asks the link to begin (again).
    pub(in crate::irc) fn open(&self, opening: Opening) {
        let mut queue = self.lock();
        queue.closed = false;
        // One is enough, and the newest one knows best.
        queue.mail.retain(|mail| !matches!(mail, Mail::Open(_)));
        queue.mail.push_back(Mail::Open(Box::new(opening)));
        drop(queue);
        self.reader.wake();
    }

    /// Asks the link to close. Whatever reason was given first stays.
    pub(in crate::irc) fn close(&self, reason: &str) {
        let mut queue = self.lock();
        queue.mail.retain(|mail| !matches!(mail, Mail::Open(_)));
        if !std::mem::replace(&mut queue.closed, true) {
            queue.mail.push_back(Mail::Close(reason.into()));
        }
        drop(queue);
        self.reader.wake();
    }

    /// Asks the link to close at once, whatever waits.
    pub(in crate::irc) fn stop(&self, reason: &str) {
        let mut queue = self.lock();
        queue.mail.retain(|mail| !matches!(mail, Mail::Open(_)));
        queue.closed = true;
        if !std::mem::replace(&mut queue.stopped, true) {
            queue.mail.push_back(Mail::Stop(reason.into()));
        }
        drop(queue);
        self.reader.wake();
    }

    /// Hands the link something to do.
    pub(in crate::irc) fn send(&self, command: CommandId, action: IrcAction) -> Result<(), SendRefused> {
        let mut queue = self.lock();
        if queue.closed {
            return Err(SendRefused::NotOpen);
        }
        if queue.mail.len() >= CAPACITY {
            return Err(SendRefused::QueueFull);
        }
        queue.mail.push_back(Mail::Act(command, Box::new(action)));
        drop(queue);
        self.reader.wake();
        Ok(())
    }

    /// Whether the link is to close.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Whether nothing is in it.
    pub(in crate::irc) fn is_empty(&self) -> bool {
        self.lock().mail.is_empty()
    }

    /// Has whoever polls in `cx` woken by the next mail.
    pub(super) fn listen(&self, cx: &Context<'_>) {
        self.reader.register(cx.waker());
    }

    /// Takes the oldest.
    pub(super) fn take(&self) -> Option<Mail> {
        let mut queue = self.lock();
        let mail = queue.mail.pop_front();
        if mail.is_none() {
            // Nothing is held for a link to which nobody speaks.
            queue.mail = VecDeque::new();
        }
        mail
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing that can panic is done under the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
