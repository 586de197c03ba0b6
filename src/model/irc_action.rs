//! What the bridge asks a link to do.

use serde::{Deserialize, Serialize};

use super::{MatrixKey, Millis, TextKind};

/// A channel to be in, and its key if it has one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelKey {
    /// The channel.
    pub name: String,
    /// Its key (+k).
    pub key: Option<String>,
}

/// How closely a link follows a channel that it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It tells what concerns itself.
    Member,
    /// And remembers what is said for [`RECALL`], to tell it if it becomes the observer: the one before may have been
    /// deaf for a while.
    Standby,
    /// It tells everything, beginning with what it remembers, a roster and the topic.
    Observer,
}

/// How long a link that stands by remembers what was said: longer than it takes to notice that a connection is dead.
/// In milliseconds.
pub const RECALL: Millis = 240_000;

/// Something to do on IRC. Parameters are what users wrote: the line writer refuses or mends what can't be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IrcAction {
    /// Be in these channels, now and after every reconnect, until told otherwise. Answered by `OwnJoined` or
    /// `JoinRefused` for each that it wasn't in.
    Join {
        /// The channels.
        channels: Vec<ChannelKey>,
    },
    /// Be in this channel no more.
    Part {
        /// The channel.
        channel: String,
        /// What to say.
        reason: Option<String>,
    },
    /// Follow a channel so closely from now on.
    Observe {
        /// The channel.
        channel: String,
        /// How closely.
        role: Role,
    },
    /// Say something. It waits until the link is on the network and, if the target is a channel, in it; it is
    /// split into as many lines as the exact byte budget asks for. Answered by a fate.
    Say {
        /// A channel or a nick.
        target: String,
        /// How it is meant.
        kind: TextKind,
        /// What: one entry for each line as the author wrote it.
        lines: Vec<String>,
        /// When it is too old to be sent; in milliseconds since the Unix epoch.
        expires: Millis,
        /// Whose journal entry is to be marked as on its way before the first byte goes out.
        journal: Option<MatrixKey>,
    },
    /// Set the topic; cut to the server's TOPICLEN. Answered by a fate.
    Topic {
        /// The channel.
        channel: String,
        /// The topic; empty to clear it.
        topic: String,
        /// As in `Say`.
        expires: Millis,
        /// As in `Say`.
        journal: Option<MatrixKey>,
    },
    /// Remove somebody from a channel. Answered by a fate.
    Kick {
        /// The channel.
        channel: String,
        /// Whom.
        nick: String,
        /// Why.
        reason: Option<String>,
        /// As in `Say`.
        expires: Millis,
        /// As in `Say`.
        journal: Option<MatrixKey>,
    },
    /// Ask who is in a channel that this link isn't in. Answered by `Names`, unless the connection is lost first.
    AskNames {
        /// The channel.
        channel: String,
    },
    /// Ask who somebody is. Answered by `Whois`, unless the connection is lost first.
    AskWhois {
        /// The nick.
        nick: String,
    },
    /// Have another nick, now and after every reconnect.
    Nick {
        /// The nick.
        nick: String,
    },
}
