//! Pieces of a room that should be so, such as its state: one value each, and the latest counts.
//!
//! A piece is set only where it is another, and again only when another is wanted. What keeps people out, or the room
//! out of sight, comes first, and gives way to what people say only if it takes long; the rest when nothing else is to be
//! done, and not faster than [`PACE`]. Where the bot may not set a kind of piece, all of that kind wait until its power may have changed.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};
use tokio::time::{Duration, Instant, sleep};

use super::worker::Worker;
use crate::{matrix::MatrixError, translate};

/// The time between two pieces that nobody waits for.
const PACE: Duration = Duration::from_millis(250);
/// How long what people say waits for a piece that they wait for, and such a piece for them, where the homeserver is slow.
const TURN: Duration = Duration::from_secs(1);

const JOIN_RULES: &str = "m.room.join_rules";

/// Something of a room that has one value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::bridge) enum Piece {
    /// A piece of its state.
    State { kind: &'static str, key: String },
    /// Who may come in: the join rule while not everybody may, or null.
    JoinRule,
    /// Whether it is in the homeserver's public directory of rooms.
    Listing,
}

impl Piece {
    /// What the bot may set or not.
    fn kind(&self) -> &'static str {
        match self {
            Self::State { kind, .. } => kind,
            Self::JoinRule => JOIN_RULES,
            Self::Listing => "the room's place in the directory",
        }
    }

    /// Whether people wait for it.
    fn is_urgent(&self) -> bool {
        matches!(self, Self::JoinRule | Self::Listing)
    }
}

/// What is wanted of a room, and what is known to be so.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    wanted: BTreeMap<Piece, Value>,
    done: HashMap<Piece, Value>,
    /// What the bot may not set.
    refused: HashSet<&'static str>,
    /// Not before this the next one that nobody waits for.
    paced: Option<Instant>,
    /// Not before this the next one that people wait for.
    put_off: Option<Instant>,
    /// Nothing more will be wanted.
    closing: bool,
}

impl Pieces {
    /// This piece should have this value.
    pub(super) fn want(&mut self, piece: Piece, value: Value) {
        if self.done.get(&piece) == Some(&value) {
            self.wanted.remove(&piece);
        } else {
            self.wanted.insert(piece, value);
        }
    }

    /// The next one, if it is time for it.
    pub(super) fn take(&mut self, urgent: bool, now: Instant) -> Option<(Piece, Value)> {
        if self.not_before(urgent).is_some_and(|at| at > now) {
            return None;
        }
        let (piece, _) = self.possible().find(|(piece, _)| piece.is_urgent() == urgent)?;
        let piece = piece.clone();
        // Until it is set, it has neither the old value nor the new one.
        self.done.remove(&piece);
        if !urgent && !self.closing {
            self.paced = Some(now + PACE);
        }
        self.wanted.remove_entry(&piece)
    }

    /// When the next one can be taken.
    pub(super) fn due(&self) -> Option<Instant> {
        let now = Instant::now();
        self.possible().map(|(piece, _)| self.not_before(piece.is_urgent()).unwrap_or(now)).min()
    }

    fn not_before(&self, urgent: bool) -> Option<Instant> {
        if urgent { self.put_off } else { self.paced }
    }

    /// Nothing more will be wanted: what is needn't wait.
    pub(super) fn close(&mut self) {
        (self.paced, self.put_off, self.closing) = (None, None, true);
    }

    /// It is so.
    fn done(&mut self, piece: Piece, value: Value) {
        // What isn't there needs no remembering.
        if value.as_object().is_none_or(|content| !content.is_empty()) {
            self.done.insert(piece, value);
        }
    }

    /// The bot may not set such a piece.
    fn refused(&mut self, piece: Piece, value: Value) {
        self.refused.insert(piece.kind());
        self.again(piece, value);
    }

    /// It gave way to what people say: it is wanted still, unless something else is.
    pub(super) fn interrupted(&mut self, piece: Piece, value: Value, now: Instant) {
        if piece.is_urgent() {
            self.put_off = Some(now + TURN);
        }
        self.again(piece, value);
    }

    fn again(&mut self, piece: Piece, value: Value) {
        self.wanted.entry(piece).or_insert(value);
    }

    /// What the bot may do here may have changed.
    pub(super) fn retry(&mut self) {
        self.refused.clear();
    }

    fn possible(&self) -> impl Iterator<Item = (&Piece, &Value)> {
        self.wanted.iter().filter(|(piece, _)| !self.refused.contains(piece.kind()))
    }
}

impl Worker {
    /// Sees to it that a piece is so, or gives way. Doing it again is harmless.
    pub(super) async fn see_to_piece(&self, piece: Piece, value: Value) {
        let patience = if piece.is_urgent() { TURN } else { Duration::ZERO };
        let enough = async {
            sleep(patience).await;
            self.queue.job().await;
        };
        tokio::select! {
            biased;
            () = self.set_piece(piece.clone(), value.clone()) => {}
            () = enough => self.queue.with_pieces(|pieces| pieces.interrupted(piece, value, Instant::now())),
        }
    }

    async fn set_piece(&self, piece: Piece, value: Value) {
        let set = self.try_piece(&piece, &value).await;
        self.queue.with_pieces(|pieces| match set {
            Err(MatrixError::Stopped) => {}
            Err(MatrixError::Forbidden { .. }) => {
                let (room, kind) = (&self.room, piece.kind());
                if piece.is_urgent() {
                    tracing::warn!(portal.room = %room, kind, "the bridge's bot may not set this here: give it the power to");
                } else {
                    tracing::debug!(portal.room = %room, kind, "the bridge's bot may not set this here");
                }
                pieces.refused(piece, value);
            }
            Err(error) => {
                tracing::warn!(portal.room = %self.room, kind = piece.kind(), %error, "could not set something of a room");
                pieces.done(piece, value);
            }
            Ok(()) => pieces.done(piece, value),
        });
    }

    async fn try_piece(&self, piece: &Piece, value: &Value) -> Result<(), MatrixError> {
        let matrix = if piece.is_urgent() { &self.out.matrix } else { &self.out.noise };
        let room = &self.room;
        match piece {
            Piece::State { kind, key } => {
                let now = self.ask(|| matrix.state(room, kind, key, None)).await?;
                if is_so(now.as_deref(), value) {
                    return Ok(());
                }
                let content = to_raw_value(value).expect("a JSON value has a JSON text");
                self.ask(|| matrix.send_state(room, kind, key, &content, None)).await.map(drop)
            }
            Piece::JoinRule => {
                let now = self.ask(|| matrix.state(room, JOIN_RULES, "", None)).await?;
                let Some(rules) = translate::join_rules(now.as_deref(), value.as_str()) else { return Ok(()) };
                let content = to_raw_value(&rules).expect("a JSON value has a JSON text");
                self.ask(|| matrix.send_state(room, JOIN_RULES, "", &content, None)).await.map(drop)
            }
            Piece::Listing => {
                let listed = *value == Value::Bool(true);
                if self.ask(|| matrix.is_listed(room)).await? == listed {
                    return Ok(());
                }
                self.ask(|| matrix.set_listed(room, listed)).await
            }
        }
    }
}

/// Whether a piece of state has this content. One that was never set is as good as an empty one.
fn is_so(now: Option<&RawValue>, wanted: &Value) -> bool {
    let now = now.map_or_else(|| Ok(Value::Object(serde_json::Map::new())), |now| serde_json::from_str(now.get()));
    now.is_ok_and(|now| now == *wanted)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn state(key: &str) -> Piece {
        Piece::State { kind: "m.test", key: key.into() }
    }

    #[test]
    fn the_latest_counts_and_what_is_so_is_not_set_again() {
        let (mut pieces, now) = (Pieces::default(), Instant::now());
        pieces.want(state("a"), json!({ "n": 1 }));
        pieces.want(state("a"), json!({ "n": 2 }));
        let (piece, value) = pieces.take(false, now).unwrap();
        assert_eq!((&piece, &value), (&state("a"), &json!({ "n": 2 })));
        // While it is set, another is wanted.
        pieces.want(state("a"), json!({ "n": 3 }));
        pieces.done(piece, value);
        let (piece, value) = pieces.take(false, now + PACE).unwrap();
        assert_eq!(value, json!({ "n": 3 }));
        pieces.done(piece, value);
        pieces.want(state("a"), json!({ "n": 3 }));
        assert!(pieces.due().is_none());
        // Back before it was begun.
        pieces.want(state("a"), json!({ "n": 4 }));
        pieces.want(state("a"), json!({ "n": 3 }));
        assert!(pieces.due().is_none());
        // What was interrupted may be there or not.
        pieces.want(state("a"), json!({ "n": 4 }));
        let (piece, value) = pieces.take(false, now + 2 * PACE).unwrap();
        pieces.want(state("a"), json!({ "n": 3 }));
        pieces.again(piece, value);
        assert_eq!(pieces.take(false, now + 3 * PACE), Some((state("a"), json!({ "n": 3 }))));
    }

    #[test]
    fn what_nobody_waits_for_comes_at_a_pace() {
        let (mut pieces, now) = (Pieces::default(), Instant::now());
        pieces.want(state("a"), json!({ "n": 1 }));
        pieces.want(state("b"), json!({ "n": 1 }));
        pieces.want(state("c"), json!({ "n": 1 }));
        assert!(pieces.take(false, now).is_some() && pieces.take(false, now).is_none());
        assert_eq!(pieces.due(), Some(now + PACE));
        pieces.close();
        assert!(pieces.take(false, now).is_some() && pieces.take(false, now).is_some() && pieces.due().is_none());
    }

    #[test]
    fn r18_what_people_wait_for_comes_first_and_takes_turns_with_what_they_say() {
        let (mut pieces, now) = (Pieces::default(), Instant::now());
        pieces.want(state("a"), json!({ "n": 1 }));
        pieces.want(Piece::Listing, json!(false));
        let (piece, value) = pieces.take(true, now).unwrap();
        assert_eq!(piece, Piece::Listing);
        pieces.interrupted(piece, value, now);
        assert!(pieces.take(true, now).is_none() && pieces.take(false, now).is_some());
        assert_eq!(pieces.due(), Some(now + TURN));
        assert_eq!(pieces.take(true, now + TURN), Some((Piece::Listing, json!(false))));
    }

    #[test]
    fn what_the_bot_may_not_set_waits_for_its_power() {
        let (mut pieces, now) = (Pieces::default(), Instant::now());
        for key in ["a", "b"] {
            pieces.want(state(key), json!({ "n": 1 }));
        }
        let (piece, value) = pieces.take(false, now).unwrap();
        pieces.refused(piece, value);
        assert!(pieces.due().is_none() && pieces.take(false, now + PACE).is_none(), "the other would be refused too");
        pieces.retry();
        assert!(pieces.take(false, now + PACE).is_some() && pieces.take(false, now + 2 * PACE).is_some());
    }

    #[test]
    fn an_empty_piece_is_as_good_as_none() {
        let raw = |value: Value| to_raw_value(&value).unwrap();
        assert!(is_so(None, &json!({})) && is_so(Some(&raw(json!({}))), &json!({})));
        assert!(!is_so(None, &json!({ "a": 1 })) && !is_so(Some(&raw(json!({ "a": 2 }))), &json!({ "a": 1 })));
        assert!(is_so(Some(&raw(json!({ "a": 1 }))), &json!({ "a": 1 })));
    }
}
