//! A Matrix event as tests look at it.

use std::{fmt, time::Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One event of a room, as the client-server API shows it.
#[expect(clippy::struct_field_names, reason = "these are the protocol's names")]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Event {
    /// The event's id; empty in the stripped state that comes with an invitation.
    #[serde(default)]
    pub event_id: String,
    /// The room; `/sync` leaves it out and the client fills it in.
    #[serde(default)]
    pub room_id: String,
    /// Who sent it.
    pub sender: String,
    /// The event type, such as `m.room.message`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The state key, if this is a state event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_key: Option<String>,
    /// The content, as sent.
    pub content: Value,
    /// When it was sent, in milliseconds since 1970.
    #[serde(default)]
    pub origin_server_ts: u64,
    /// What the homeserver adds: for state, what was there before.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub unsigned: Value,
    /// When the homeserver took it.
    #[serde(skip)]
    pub taken: Option<Instant>,
}

impl Event {
    /// The plain body of a message, or the empty string.
    pub fn body(&self) -> &str {
        self.content["body"].as_str().unwrap_or_default()
    }

    /// The kind of message (`m.text`, `m.notice`, `m.emote`, ...), or the empty string.
    pub fn msgtype(&self) -> &str {
        self.content["msgtype"].as_str().unwrap_or_default()
    }

    /// True for a message of any kind.
    pub fn is_message(&self) -> bool {
        self.kind == "m.room.message"
    }

    /// True if this says that `user`'s membership is now `membership`.
    pub fn is_membership(&self, user: &str, membership: &str) -> bool {
        self.kind == "m.room.member"
            && self.state_key.as_deref() == Some(user)
            && self.content["membership"] == membership
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.room_id, self.sender, self.kind)?;
        if let Some(key) = &self.state_key {
            write!(f, " [{key}]")?;
        }
        write!(f, " {}", self.content)
    }
}
