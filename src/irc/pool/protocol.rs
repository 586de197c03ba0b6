//! What crosses the seam between the bridge and its IRC connections: owned serde values, so that the
//! connections may live in another process one day.
//!
//! [`PROTOCOL_VERSION`] grows when a stored or sent form changes its meaning; `tests/pool_protocol.rs` holds
//! snapshots of every form.

use serde::{Deserialize, Serialize};

use crate::model::{ChannelKey, CommandId, Epoch, Fate, IrcEvent, IrcKey, LinkId, LinkState, Millis, NetworkId};

/// The version of these forms.
pub const PROTOCOL_VERSION: u32 = 1;

/// What all links of a network have in common. Sent once, before the first link of that network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// Which network.
    pub network: NetworkId,
    /// `host:port`, tried in turn.
    pub servers: Vec<String>,
    /// Whether to speak TLS (always verified), and what else to trust.
    pub tls: Option<TlsSpec>,
    /// Label of the encoding of lines that aren't UTF-8 (WHATWG name).
    pub encoding: String,
    /// The server's password (PASS), if it has one.
    pub password: Option<Sealed>,
    /// How fast the network may be spoken to.
    pub limits: Limits,
}

/// How to verify the server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsSpec {
    /// PEM text of an own CA, or of a self-signed server certificate. `None`: what the machine trusts.
    pub ca_pem: Option<String>,
}

/// How fast a network may be spoken to; 0 means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Connection attempts per minute, all links of the network together.
    pub connects_per_minute: u32,
    /// Lines that a link may send at once.
    pub line_burst: u32,
    /// Lines per second that a link may send after that.
    pub lines_per_second: f64,
    /// Things to say that may wait in one link.
    pub queue: u32,
}

/// Everything one link needs beyond its network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkSpec {
    /// Its name.
    pub link: LinkId,
    /// The nick it wants.
    pub nick: String,
    /// Nicks to try, in order, when that one is taken.
    pub alternatives: Vec<String>,
    /// The end by which its nicks are known, and which stays where they must be cut.
    #[serde(default)]
    pub nick_end: String,
    /// The user name (ident), unique and stable for its owner.
    pub username: String,
    /// The real name.
    pub realname: String,
    /// The account to log in to.
    pub sasl: Option<SaslPlain>,
    /// Channels to be in from the start.
    pub channels: Vec<ChannelKey>,
}

/// SASL PLAIN credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaslPlain {
    /// The account.
    pub account: String,
    /// Its password.
    pub password: Sealed,
}

/// A secret that shows itself to nobody by accident.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(String);

impl Sealed {
    /// Wraps a secret.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself; for the wire only.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealed")
    }
}

/// The last event the bridge has seen of each link, so that a pool that outlived the bridge can go on from there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursors {
    /// Last key seen per link.
    pub links: Vec<(LinkId, IrcKey)>,
    /// Where new epochs begin: the number of this start of the bridge, shifted left by 32 bits.
    pub first_epoch: Epoch,
}

/// Something a link tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PoolEvent {
    /// Which link.
    pub link: LinkId,
    /// The event's name for good. States before the first dial have the epoch to come.
    pub key: IrcKey,
    /// When: the server's time where it tells (server-time), else ours.
    pub at: Millis,
    /// What.
    pub body: PoolEventBody,
}

/// What a link tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolEventBody {
    /// Something happened on IRC.
    Irc(IrcEvent),
    /// The link does something else now.
    State(LinkState),
    /// What became of a command.
    Fate {
        /// Which.
        command: CommandId,
        /// What.
        fate: Fate,
    },
}
