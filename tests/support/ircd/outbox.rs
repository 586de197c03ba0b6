//! What is on its way to one connection, and how that connection is to end.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Instant,
};

use tokio::sync::Notify;

use super::caps::Caps;

/// More than this many waiting bytes end a connection.
const SENDQ: usize = 64 * 1024 * 1024;

/// How a connection goes on after what is in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum End {
    /// It stays.
    #[default]
    Open,
    /// It is closed when the queue is written.
    AfterFlush,
    /// It is closed now.
    AtOnce,
}

#[derive(Debug, Default)]
struct Queue {
    lines: Vec<Arc<[u8]>>,
    bytes: usize,
    end: End,
    cut_next_line: bool,
    written: Option<Instant>,
}

/// The queue of lines to one connection. A line is encoded once and shared by all who get it.
#[derive(Debug, Default)]
pub struct Outbox {
    queue: Mutex<Queue>,
    wake: Notify,
    cut: Notify,
    caps: AtomicU32,
    deaf: AtomicBool,
    mute: AtomicBool,
    flow: Notify,
}

impl Outbox {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The capabilities that the client has asked for.
    pub fn caps(&self) -> Caps {
        Caps(self.caps.load(Ordering::Relaxed))
    }

    /// Sets the capabilities.
    pub fn set_caps(&self, caps: Caps) {
        self.caps.store(caps.0, Ordering::Relaxed);
    }

    /// Queues bytes, usually one whole line.
    pub fn push(&self, line: Arc<[u8]>) {
        let mut queue = self.queue();
        if queue.end != End::Open {
            return;
        }
        if queue.cut_next_line {
            queue.lines.push(line[..line.len() / 2].into());
            queue.end = End::AfterFlush;
        } else {
            queue.bytes += line.len();
            queue.lines.push(line);
            if queue.bytes > SENDQ {
                queue.end = End::AtOnce;
                self.cut.notify_one();
            }
        }
        drop(queue);
        self.wake.notify_one();
    }

    /// Ends the connection.
    pub fn end(&self, end: End) {
        self.queue().end = end;
        self.wake.notify_one();
        if end == End::AtOnce {
            self.cut.notify_one();
        }
    }

    /// When the last write to the connection began.
    pub fn written(&self) -> Option<Instant> {
        self.queue().written
    }

    /// Waits until the connection is to be closed at once, whatever else it is doing.
    pub async fn cut(&self) {
        self.cut.notified().await;
    }

    /// Sends half of the next line and then ends the connection.
    pub fn cut_next_line(&self) {
        self.queue().cut_next_line = true;
    }

    /// Makes the server stop reading from (deaf) or writing to (mute) this connection, or go on.
    pub fn set_flow(&self, deaf: bool, mute: bool) {
        self.deaf.store(deaf, Ordering::Relaxed);
        self.mute.store(mute, Ordering::Relaxed);
        self.flow.notify_waiters();
    }

    /// Waits until the server may read.
    pub async fn may_read(&self) {
        self.wait_while(&self.deaf).await;
    }

    /// Waits until there is something to write or an end, and moves it to `out`, one copy for many lines.
    pub async fn next(&self, out: &mut Vec<u8>) -> End {
        loop {
            self.wake.notified().await;
            self.wait_while(&self.mute).await;
            let (lines, end) = {
                let mut queue = self.queue();
                queue.bytes = 0;
                queue.written = Some(Instant::now());
                (std::mem::take(&mut queue.lines), queue.end)
            };
            for line in &lines {
                out.extend_from_slice(line);
            }
            if !out.is_empty() || end != End::Open {
                return end;
            }
        }
    }

    async fn wait_while(&self, stopped: &AtomicBool) {
        while stopped.load(Ordering::Relaxed) {
            let mut flow = std::pin::pin!(self.flow.notified());
            flow.as_mut().enable();
            if stopped.load(Ordering::Relaxed) {
                flow.await;
            }
        }
    }
}
