//! Who said what in which order, and what of it arrived on the other side.
//!
//! Every message names its sender's number and its place among that sender's messages, so that losses, doubles and inversions
//! are seen from the text alone.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::support::{
    FakeHomeserver, FakeIrcd,
    ircd::{Reaction, Received},
};

/// One message: the sender's number, and its place among that sender's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Mark {
    pub(crate) sender: usize,
    pub(crate) place: usize,
}

impl Mark {
    /// The text of this message, of an ordinary length.
    pub(crate) fn text(self) -> String {
        format!("<{}.{}> nobody ever reads this, yet it is as long as what people say", self.sender, self.place)
    }

    /// The mark of a message that has one.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (mark, _) = text.split_once('<')?.1.split_once('>')?;
        let (sender, place) = mark.split_once('.')?;
        Some(Self { sender: sender.parse().ok()?, place: place.parse().ok()? })
    }
}

/// What arrived on IRC, in order.
#[derive(Clone, Default)]
pub(crate) struct OnIrc {
    marks: Arc<Mutex<Vec<Mark>>>,
    count: Arc<AtomicUsize>,
}

impl OnIrc {
    /// Listens to all that the IRC server hears of the bridge from now on.
    pub(crate) fn listen(ircd: &FakeIrcd) -> Self {
        let this = Self::default();
        let (marks, count) = (this.marks.clone(), this.count.clone());
        ircd.react(move |received: &Received| {
            if let Some(mark) = said(received) {
                marks.lock().expect("nobody panics under this lock").push(mark);
                count.fetch_add(1, Ordering::Relaxed);
            }
            Reaction::Obey
        });
        this
    }

    /// How many messages have arrived.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// What has arrived.
    pub(crate) fn marks(&self) -> Vec<Mark> {
        self.marks.lock().expect("nobody panics under this lock").clone()
    }
}

/// The mark of a PRIVMSG.
pub(crate) fn said(received: &Received) -> Option<Mark> {
    received.line.contains("PRIVMSG ").then(|| Mark::read(&received.line)).flatten()
}

/// What arrived in a room, in order; `from` is the place in its timeline to begin at.
pub(crate) fn in_room(homeserver: &FakeHomeserver, room: &str, from: usize) -> Vec<Mark> {
    homeserver.timeline(room)[from..]
        .iter()
        .filter(|event| event.is_message())
        .filter_map(|event| Mark::read(event.body()))
        .collect()
}

/// How many events a room has.
pub(crate) fn length(homeserver: &FakeHomeserver, room: &str) -> usize {
    homeserver.state().rooms[room].timeline.len()
}

/// How what arrived differs from what was said.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Verdict {
    pub(crate) lost: usize,
    pub(crate) doubled: usize,
    pub(crate) inverted: usize,
}

impl Verdict {
    /// Compares what arrived with what was said.
    pub(crate) fn of(said: &[Mark], arrived: &[Mark]) -> Self {
        let mut times: HashMap<Mark, usize> = said.iter().map(|mark| (*mark, 0)).collect();
        let mut last: HashMap<usize, usize> = HashMap::new();
        let mut verdict = Self::default();
        for mark in arrived {
            *times.entry(*mark).or_default() += 1;
            let before = last.entry(mark.sender).or_default();
            verdict.inverted += usize::from(mark.place < *before);
            *before = (*before).max(mark.place);
        }
        verdict.lost = times.values().filter(|times| **times == 0).count();
        verdict.doubled = times.values().filter(|times| **times > 1).count();
        verdict
    }

    /// These and those.
    pub(crate) fn with(self, other: Self) -> Self {
        Self {
            lost: self.lost + other.lost,
            doubled: self.doubled + other.doubled,
            inverted: self.inverted + other.inverted,
        }
    }

    /// Whether everything arrived once and in order.
    pub(crate) fn is_perfect(&self) -> bool {
        (self.lost, self.doubled, self.inverted) == (0, 0, 0)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} lost, {} twice, {} out of order", self.lost, self.doubled, self.inverted)
    }
}
