//! What the store remembers of who and what is bridged: plain values.

use ruma::{OwnedRoomId, OwnedUserId};

use crate::model::{Folded, NetworkId};

/// How a portal to a channel came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PortalKind {
    /// An existing room, linked with consent.
    Plumbed,
    /// A room made on demand, by alias or command.
    Joined,
}

/// A room and a channel that are one conversation. One per (room, network, folded); a room may have several channels,
/// and a channel several rooms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Portal {
    /// The room.
    pub room: OwnedRoomId,
    /// The channel's network.
    pub network: NetworkId,
    /// The channel as it is shown and joined.
    pub channel: String,
    /// The channel as it is compared.
    pub folded: Folded,
    /// The channel's key (password), if it has one.
    pub key: Option<String>,
    /// How it came to be.
    pub kind: PortalKind,
}

/// A room in which a Matrix user and an IRC nick talk in private. One per (network, user, folded).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The room.
    pub room: OwnedRoomId,
    /// The nick's network.
    pub network: NetworkId,
    /// The Matrix user.
    pub user: OwnedUserId,
    /// The nick as it is shown.
    pub nick: String,
    /// The nick as it is compared.
    pub folded: Folded,
}

/// What IRC knows a Matrix user by, kept so that it is the same after every restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PuppetIdentity {
    /// The network.
    pub network: NetworkId,
    /// The Matrix user.
    pub user: OwnedUserId,
    /// The IRC user name (ident): unique on the network, at most 9 of `[a-z0-9]`, never changed.
    pub username: String,
    /// The nick it had last, or was given.
    pub nick: Option<String>,
}

/// The Matrix user that stands for an IRC user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ghost {
    /// The local part of its Matrix id.
    pub localpart: String,
    /// The IRC user's network.
    pub network: NetworkId,
    /// The IRC user's nick, as last seen.
    pub nick: String,
    /// The display name that was set on the homeserver, if any was.
    pub display_name: Option<String>,
}

/// What was done to somebody because of what happened on the other side; undone when that is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sanction {
    /// What was done.
    pub kind: SanctionKind,
    /// In which room it was done, or made.
    pub room: OwnedRoomId,
    /// To whom: a Matrix user, or a ghost.
    pub user: OwnedUserId,
    /// The channel's network.
    pub network: NetworkId,
    /// The channel, as it is shown.
    pub channel: String,
    /// Why: the entry of the channel's list, or the mode. Of an [`SanctionKind::IrcBan`], the entry that we made.
    pub cause: String,
    /// What is needed to undo it, and nothing else: the ban's reason, or the power level before and after.
    pub detail: String,
}

/// The kinds of [`Sanction`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SanctionKind {
    /// A Matrix user was banned from the room.
    Ban,
    /// A Matrix user's power level was lowered.
    Mute,
    /// Somebody on IRC was banned from the channel.
    IrcBan,
}
