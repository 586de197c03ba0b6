//! Names of things, as types. Matrix ids are ruma's.

use std::{fmt, sync::Arc};

use ruma::{OwnedUserId, UserId};
use serde::{Deserialize, Serialize};

/// The id of a configured network: one or more of `[a-z0-9]`.
///
/// It appears in ghost ids and aliases, so it has no character that either side would need to escape.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NetworkId(Arc<str>);

/// A network id with a character outside `[a-z0-9]`, or with none at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no network id: use one or more of a-z and 0-9")]
pub struct InvalidNetworkId(pub String);

impl NetworkId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for NetworkId {
    type Error = InvalidNetworkId;

    fn try_from(id: String) -> Result<Self, Self::Error> {
        let valid = !id.is_empty() && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if valid { Ok(Self(id.into())) } else { Err(InvalidNetworkId(id)) }
    }
}

impl std::str::FromStr for NetworkId {
    type Err = InvalidNetworkId;

    fn from_str(id: &str) -> Result<Self, Self::Err> {
        Self::try_from(id.to_owned())
    }
}

impl From<NetworkId> for String {
    fn from(id: NetworkId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Who speaks through a link.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkOwner {
    /// The bridge itself.
    Bot,
    /// A Matrix user; the link is their puppet.
    Puppet(OwnedUserId),
}

/// One IRC connection's name: a network and who speaks through it. It outlives reconnects (see [`Epoch`]).
///
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LinkId(Arc<(NetworkId, LinkOwner)>);

impl LinkId {
    /// The link of the bridge's own bot on `network`.
    #[must_use]
    pub fn bot(network: NetworkId) -> Self {
        Self(Arc::new((network, LinkOwner::Bot)))
    }

    /// The link of `user`'s puppet on `network`.
    #[must_use]
    pub fn puppet(network: NetworkId, user: OwnedUserId) -> Self {
        Self(Arc::new((network, LinkOwner::Puppet(user))))
    }

    /// The network this link is on.
    #[must_use]
    pub fn network(&self) -> &NetworkId {
        &self.0.0
    }

    /// Who speaks through this link.
    #[must_use]
    pub fn owner(&self) -> &LinkOwner {
        &self.0.1
    }

    /// The Matrix user of a puppet, or `None` for the bot.
    #[must_use]
    pub fn user(&self) -> Option<&UserId> {
        match self.owner() {
            LinkOwner::Bot => None,
            LinkOwner::Puppet(user) => Some(user),
        }
    }

    /// Whether this is the bot's link.
    #[must_use]
    pub fn is_bot(&self) -> bool {
        matches!(self.owner(), LinkOwner::Bot)
    }
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.owner() {
            LinkOwner::Bot => write!(f, "{}/bot", self.network()),
            LinkOwner::Puppet(user) => write!(f, "{}/{user}", self.network()),
        }
    }
}

impl fmt::Debug for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One life of one socket. Unique over all links of one database, and growing: it starts at the number of this
/// start of the bridge (kept in the database) shifted left by 32 bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Epoch(pub u64);

/// Names one event that came from IRC for good: a socket's life and the event's number in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IrcKey {
    /// The socket's life.
    pub epoch: Epoch,
    /// The event's number in that life, from 0.
    pub seq: u64,
}

impl fmt::Display for IrcKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.epoch.0, self.seq)
    }
}

/// Names one event that came from the homeserver: the journal's number of its transaction, and its place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MatrixKey {
    /// The journal's number of the transaction.
    pub txn: i64,
    /// The event's place in the transaction, from 0.
    pub index: u32,
}

/// Names one action handed to a link, so that its fate can be told apart from others'. Unique in one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CommandId(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_ids_have_no_character_that_needs_escaping() {
        for good in ["libera", "oftc2", "0"] {
            assert_eq!(good.parse::<NetworkId>().unwrap().as_str(), good);
        }
        for bad in ["", "Libera", "a-b", "a_b", "a b", "ä", "#"] {
            assert_eq!(bad.parse::<NetworkId>(), Err(InvalidNetworkId(bad.to_owned())));
        }
    }

    #[test]
    fn links_survive_serde_and_read_well() {
        let user = ruma::user_id!("@alice:example.org").to_owned();
        let link = LinkId::puppet("libera".parse().unwrap(), user);
        assert_eq!(link.to_string(), "libera/@alice:example.org");
        let json = serde_json::to_string(&link).unwrap();
        assert_eq!(serde_json::from_str::<LinkId>(&json).unwrap(), link);
    }
}
