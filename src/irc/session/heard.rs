//! What a link hears in a channel while it stands by to observe it.
//!
//! An observer whose connection has died without a word is deaf for minutes before anybody knows. What was said
//! meanwhile is here, in the channel's standby, as it came; it is told when the standby becomes the observer, and when it
//! ceases to stand by, as then nobody else knows it.

use std::collections::VecDeque;

use super::connection;
use crate::model::{Millis, RECALL};

/// Lines remembered at the most.
const MOST_LINES: usize = 2048;
/// Bytes remembered at the most.
const MOST_BYTES: usize = 512 * 1024;

const _: () = assert!(RECALL.cast_unsigned() > connection::IDLE + connection::ANSWER, "nobody is deaf for longer");

/// Lines of a channel, the oldest first, and when each came.
#[derive(Debug)]
pub(super) struct Heard {
    since: Millis,
    lines: VecDeque<(Millis, Box<[u8]>)>,
    bytes: usize,
}

impl Heard {
    /// Nothing yet.
    pub(super) const fn since(now: Millis) -> Self {
        Self { since: now, lines: VecDeque::new(), bytes: 0 }
    }

    /// Remembers a line (without its CR LF), and forgets older ones for it.
    pub(super) fn keep(&mut self, line: &[u8], now: Millis) {
        self.forget(now);
        self.lines.push_back((now, line.into()));
        self.bytes += line.len();
        while self.lines.len() > MOST_LINES || self.bytes > MOST_BYTES {
            self.forget_first();
        }
    }

    /// Forgets what is older than [`RECALL`].
    pub(super) fn forget(&mut self, now: Millis) {
        while self.lines.front().is_some_and(|(at, _)| now - at > RECALL) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((at, line)) = self.lines.pop_front() {
            self.bytes -= line.len();
            self.since = at;
        }
    }

    /// Since when nothing was left out.
    pub(super) const fn from(&self) -> Millis {
        self.since
    }

    /// What was said.
    pub(super) fn into_lines(self) -> impl Iterator<Item = (Millis, Box<[u8]>)> {
        self.lines.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_heard_is_bounded_by_age_number_and_size() {
        let mut heard = Heard::since(0);
        heard.keep(b"a", 0);
        heard.keep(b"b", 1);
        heard.forget(RECALL + 1);
        assert_eq!(heard.from(), 0, "the first that was forgotten");
        assert_eq!(heard.lines.iter().map(|(at, line)| (*at, &**line)).collect::<Vec<_>>(), [(1, &b"b"[..])]);
        for n in 0..2 * i64::try_from(MOST_LINES).unwrap() {
            heard.keep(b"c", n);
        }
        assert_eq!((heard.lines.len(), heard.bytes), (MOST_LINES, MOST_LINES));
        let long = vec![b'd'; MOST_BYTES / 4];
        (0..8).for_each(|_| heard.keep(&long, 10_000));
        assert_eq!((heard.lines.len(), heard.bytes, heard.from()), (4, MOST_BYTES, 10_000));
    }
}
