//! A Matrix event's envelope, read without trusting anything in it.

use std::borrow::Cow;

use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::Millis;

/// What every event has, and its content unread.
#[derive(Debug, Deserialize)]
pub(super) struct Event<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'a, str>,
    #[serde(rename = "event_id")]
    pub(super) id: OwnedEventId,
    pub(super) room_id: OwnedRoomId,
    pub(super) sender: OwnedUserId,
    /// Some servers send it as a float.
    #[serde(default)]
    pub(super) origin_server_ts: f64,
    #[serde(borrow, default)]
    pub(super) state_key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) content: &'a RawValue,
    #[serde(borrow, default)]
    unsigned: Option<&'a RawValue>,
}

impl<'a> Event<'a> {
    /// Reads an event; `None` if it isn't one.
    pub(super) fn read(json: &'a RawValue) -> Option<Self> {
        serde_json::from_str(json.get()).ok()
    }

    /// When its homeserver took it.
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds since 1970 fit; nonsense saturates")]
    pub(super) fn at(&self) -> Millis {
        self.origin_server_ts as Millis
    }

    /// For a membership event: whether the member was in the room before, as far as the homeserver says; then only
    /// their name or picture changed.
    pub(super) fn was_joined(&self) -> bool {
        #[derive(Deserialize)]
        struct Unsigned {
            prev_content: Member,
        }
        let unsigned = self.unsigned.and_then(|unsigned| serde_json::from_str::<Unsigned>(unsigned.get()).ok());
        unsigned.is_some_and(|unsigned| unsigned.prev_content.membership == "join")
    }

    /// For a piece of state: its content before, as `T`, as far as the homeserver says.
    pub(super) fn before<T: Deserialize<'a>>(&self) -> Option<T> {
        #[derive(Deserialize)]
        struct Unsigned<'a> {
            #[serde(borrow)]
            prev_content: &'a RawValue,
        }
        let unsigned: Unsigned<'a> = serde_json::from_str(self.unsigned?.get()).ok()?;
        serde_json::from_str(unsigned.prev_content.get()).ok()
    }

    /// Its content as `T`, or `None` if it has another form.
    pub(super) fn content<T: Deserialize<'a>>(&self) -> Option<T> {
        serde_json::from_str(self.content.get()).ok()
    }
}

/// The part of `m.room.member` that matters here.
#[derive(Debug, Deserialize)]
pub(super) struct Member {
    pub(super) membership: String,
    #[serde(default)]
    pub(super) displayname: Option<String>,
    #[serde(default)]
    pub(super) reason: Option<String>,
    /// Whether an invitation is to a chat of two.
    #[serde(default)]
    pub(super) is_direct: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<(String, Millis)> {
        let raw = RawValue::from_string(json.to_owned()).ok()?;
        Event::read(&raw).map(|event| (event.kind.to_string(), event.at()))
    }

    #[test]
    fn an_envelope_is_read_and_nonsense_is_none() {
        let whole =
            r#"{"type":"m.x","event_id":"$1","room_id":"!a:b","sender":"@c:d","origin_server_ts":5,"content":{}}"#;
        assert_eq!(read(whole), Some(("m.x".into(), 5)));
        assert_eq!(read(&whole.replace(":5,", ":5.0,")), Some(("m.x".into(), 5)));
        assert_eq!(read(&whole.replace("@c:d", "nobody")), None);
        for (unsigned, joined) in [
            (r#"{"prev_content":{"membership":"join"}}"#, true),
            (r#"{"prev_content":{"membership":"invite"}}"#, false),
            (r#"{"prev_content":{"membership":7}}"#, false),
            (r#"{"age":1}"#, false),
            ("7", false),
            ("null", false),
        ] {
            let json = whole.replace("\"content\":{}", &format!("\"content\":{{}},\"unsigned\":{unsigned}"));
            let raw = RawValue::from_string(json).unwrap();
            assert_eq!(Event::read(&raw).unwrap().was_joined(), joined, "{unsigned}");
        }
        assert_eq!(read("[]"), None);
        assert_eq!(read("{}"), None);
    }
}
