//! A link's socket: lines in, bytes out, and when to give up on it.

use std::{
    cell::RefCell,
    io,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::Instant;

use crate::irc::{codec::Framing, transport::Stream};

/// How long the other side may take nothing of what waits for it.
const STALL: Duration = Duration::from_mins(1);
/// How much may wait for the other side, in bytes.
const MAX_UNSENT: usize = 1 << 20;
/// How long the server may take to hang up once we have. With the session's wait for an answer to its QUIT before
/// that, it must stay below what a shutdown waits for (`pool::local`).
const LINGER: Duration = Duration::from_secs(2);
/// Bytes read at a time.
const CHUNK: usize = 16 * 1024;

thread_local! {
    /// Where this thread's links read into, one after the other. A buffer for each link would be most of its memory.
    static READ_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into_boxed_slice());
}

/// A connected socket with what is on its way through it.
pub(super) struct Wire {
    stream: Stream,
    framing: Framing,
    /// What waits to be written, from `written` on. Holds no memory when nothing waits.
    unsent: Vec<u8>,
    written: usize,
    flushed: bool,
    /// We have told the other side that nothing more comes.
    shut: bool,
    /// Since when the other side has taken nothing of it.
    stalled_since: Option<Instant>,
    /// Why nothing more can be written. What had arrived before is read still: it may say why.
    broken: Option<String>,
    /// When to hang up without further ceremony; set once we are leaving.
    leaving: Option<Instant>,
}

/// What became of an attempt to read.
pub(super) enum Read {
    /// Lines were read (or, while leaving, thrown away).
    Some,
    /// The connection is gone, for this reason.
    End(String),
}

impl Wire {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            framing: Framing::default(),
            unsent: Vec::new(),
            written: 0,
            flushed: true,
            shut: false,
            stalled_since: None,
            broken: None,
            leaving: None,
        }
    }

    /// Takes lines as long as the server says its lines may be.
    pub(super) fn set_linelen(&mut self, linelen: usize) {
        self.framing.set_linelen(linelen);
    }

    /// Lines that were too long, so far.
    pub(super) const fn dropped(&self) -> u64 {
        self.framing.dropped()
    }

    /// Bytes that the socket hasn't taken yet.
    pub(super) const fn unsent_len(&self) -> usize {
        self.unsent.len() - self.written
    }

    /// Whether we have said goodbye.
    pub(super) const fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// Whether more lines may be put on it that aren't urgent: while something waits for the socket, they are
    /// better off where they can still be taken back.
    pub(super) const fn is_idle(&self) -> bool {
        self.unsent_len() == 0 && self.leaving.is_none() && self.broken.is_none()
    }

    /// Puts bytes behind those that wait.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
        self.flushed = false;
    }

    /// Hangs up as soon as everything is written and the other side has hung up too, or after [`LINGER`].
    /// (Closing a socket at once, with something unread in it, would take back what was written last.)
    pub(super) fn leave(&mut self, now: Instant) {
        self.leaving.get_or_insert(now + LINGER);
    }

    /// When to look at [`Self::overdue`].
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.leaving.or_else(|| self.stalled_since.map(|since| since + STALL))
    }

    /// Why the other side is not to be waited for any longer.
    pub(super) fn overdue(&self, now: Instant) -> Option<String> {
        if self.unsent_len() > MAX_UNSENT {
            return Some("the server doesn't take what is sent to it".to_owned());
        }
        let late = self.deadline().is_some_and(|deadline| deadline <= now);
        late.then(|| format!("the server has taken nothing for {} seconds", STALL.as_secs()))
    }

    /// Whether there is something to read, or the connection is over; if not, we are woken then. To be asked only after
    /// [`Self::poll_read`] had nothing more: TLS holds back what it has decrypted.
    pub(super) fn is_readable(&self, cx: &mut Context<'_>) -> bool {
        self.broken.is_some() || self.stream.poll_readable(cx).is_ready()
    }

    /// Reads once, and gives each line that is complete to `line`.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, line: impl FnMut(&[u8])) -> Poll<Read> {
        READ_BUFFER.with_borrow_mut(|buffer| match self.stream.poll_read(cx, buffer) {
            Poll::Ready(Ok(0)) => Poll::Ready(Read::End("the server closed the connection".to_owned())),
            Poll::Ready(Ok(length)) => {
                if self.leaving.is_none() {
                    self.framing.feed(&buffer[..length], line);
                }
                Poll::Ready(Read::Some)
            }
            Poll::Ready(Err(e)) => Poll::Ready(Read::End(self.broken.take().unwrap_or_else(|| in_words(&e)))),
            Poll::Pending => match self.broken.take() {
                Some(reason) => Poll::Ready(Read::End(reason)),
                None => Poll::Pending,
            },
        })
    }

    /// Writes what waits, as far as the socket takes it. Ready when that got anywhere.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        if self.broken.is_some() {
            return Poll::Pending;
        }
        let before = (self.unsent_len(), self.flushed, self.shut);
        match self.poll_write_all(cx) {
            Poll::Ready(Ok(())) => self.stalled_since = None,
            Poll::Ready(Err(e)) => {
                self.broken = Some(in_words(&e));
                return Poll::Ready(());
            }
            Poll::Pending if self.unsent_len() < before.0 => self.stalled_since = Some(now),
            Poll::Pending => {
                self.stalled_since.get_or_insert(now);
            }
        }
        if before == (self.unsent_len(), self.flushed, self.shut) { Poll::Pending } else { Poll::Ready(()) }
    }

    fn poll_write_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.unsent_len() > 0 {
            match ready!(self.stream.poll_write(cx, &self.unsent[self.written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                length => self.written += length,
            }
        }
        self.unsent = Vec::new();
        self.written = 0;
        if !self.flushed {
            ready!(self.stream.poll_flush(cx))?;
            self.flushed = true;
        }
        if self.leaving.is_some() && !self.shut {
            ready!(self.stream.poll_shutdown(cx))?;
            self.shut = true;
        }
        Poll::Ready(Ok(()))
    }
}

/// An error of the connection, as its user would say it.
fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
            "the server cut the connection".to_owned()
        }
        io::ErrorKind::TimedOut => "the server can't be reached any more".to_owned(),
        _ => format!("the connection failed ({error})"),
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::{
        io::AsyncWriteExt,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[tokio::test]
    async fn r44_what_came_before_the_connection_broke_is_read_after_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut there, _) = listener.accept().await.unwrap();
        let mut wire = Wire::new(Stream::Plain(here));
        wire.push(b"NICK alice\r\n");
        poll_fn(|cx| wire.poll_write(cx, Instant::now())).await;
        there.readable().await.unwrap();
        there.write_all(b"ERROR :you are banned\r\n").await.unwrap();
        // It has not read what we wrote: that makes the end a reset.
        drop(there);
        while wire.broken.is_none() {
            wire.push(b"USER alice\r\n");
            poll_fn(|cx| wire.poll_write(cx, Instant::now())).await;
            tokio::task::yield_now().await;
        }
        let mut lines = Vec::new();
        while matches!(poll_fn(|cx| wire.poll_read(cx, |line| lines.push(line.to_vec()))).await, Read::Some) {}
        assert_eq!(lines, [b"ERROR :you are banned"]);
    }
}
