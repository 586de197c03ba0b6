//! What the store remembers of who and what is bridged: plain values.

use ruma::{OwnedRoomId, OwnedUserId};

use crate::model::{Folded, Millis, NetworkId};

/// How a portal to a channel came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PortalKind {
    /// An existing room, linked by the configuration.
    Plumbed,
    /// An existing room, linked by command with the consent of the channel's operators.
    Agreed,
    /// A room made on demand, by alias or command.
    Joined,
}

/// How a portal stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It is bridged.
    Open,
    /// It is over, and what is ours is still to leave the room.
    Closing,
    /// It is over: remembered where the configuration would begin it anew.
    Over,
}

/// Who wanted a portal, and who let it be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    /// Who asked, on Matrix.
    pub asked_by: OwnedUserId,
    /// Who agreed, on IRC.
    pub agreed_by: String,
    /// When.
    pub at: Millis,
}

/// A channel that isn't to be bridged, as its operators have said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptOut {
    /// The channel's network.
    pub network: NetworkId,
    /// The channel as it is compared.
    pub folded: Folded,
    /// Who said it.
    pub by: String,
    /// When.
    pub at: Millis,
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
    /// The channel's key (password), if it has one: in the database sealed, by whoever stores it there.
    pub key: Option<String>,
    /// How it came to be.
    pub kind: PortalKind,
    /// How it stands.
    pub standing: Standing,
    /// By whose will, where that was asked for.
    pub consent: Option<Consent>,
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
