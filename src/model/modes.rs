//! Modes of a channel: ranks of people, settings and lists.

use serde::{Deserialize, Serialize};

/// What kind of mode a letter is (<https://modern.ircdocs.horse/#chanmodes-parameter>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModeKind {
    /// A rank of somebody in the channel (PREFIX); always has an argument, the nick.
    Membership,
    /// Adds to or removes from a list, such as bans; without an argument it asks for the list.
    List,
    /// A setting that always has an argument, such as the key.
    Always,
    /// A setting that has an argument only when it is set, such as the limit.
    WhenSet,
    /// A setting without an argument.
    Never,
    /// A letter the server didn't tell of; taken to have no argument.
    Unknown,
}

/// One mode of a MODE line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModeChange {
    /// Set (`+`) or unset (`-`).
    pub set: bool,
    /// The mode's letter.
    pub letter: char,
    /// What kind of mode it is.
    pub kind: ModeKind,
    /// Its argument, if it takes one and the line has one.
    pub arg: Option<String>,
}
