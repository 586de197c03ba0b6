//! `PUT /_matrix/app/v1/transactions/{txnId}`
//! ([spec](https://spec.matrix.org/v1.18/application-service-api/#put_matrixappv1transactionstxnid)).
//!
//! A homeserver repeats a refused transaction for ever and sends nothing else meanwhile. So only what is no transaction at
//! all is refused; what its parts mean is found out later, one by one. The parts are cut out of the body as they are:
//! nothing is copied into a tree, and no depth, number, duplicate key or stray surrogate in one of them can do harm here.

use std::{borrow::Cow, fmt};

use async_trait::async_trait;
use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
};
use http::StatusCode;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{Shared, body::Whole, error::Refusal};

/// What a homeserver pushes to us in one request.
#[derive(Debug, Clone)]
pub struct Transaction {
    /// The homeserver's name for it: the same whenever it is sent again.
    pub txn_id: String,
    /// The events of rooms, in the homeserver's order.
    pub events: Vec<TransactionEvent>,
    /// How many things among its events can be none, and are left out: nothing is remembered of them, as there may be millions.
    pub left_out: usize,
    /// Typing, receipts, presence.
    pub ephemeral: Vec<Box<RawValue>>,
}

/// One event of a transaction: an object that has an id, and is else any JSON at all.
#[derive(Debug, Clone)]
pub struct TransactionEvent {
    /// Its `event_id`: any text.
    pub event_id: String,
    /// The event as it was sent.
    pub json: Box<RawValue>,
}

/// Where accepted transactions go: the journal.
#[async_trait]
pub trait TransactionSink: Send + Sync {
    /// Takes over the responsibility for a transaction: when this returns `Ok`, the homeserver forgets it.
    ///
    /// A transaction that was taken before is `Ok` again and has no second effect. The future is dropped when the homeserver
    /// hangs up; it then sends the transaction again.
    async fn accept(&self, transaction: Transaction) -> Result<(), SinkError>;
}

/// Why a transaction can't be taken now. The homeserver sends it again later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// As much is waiting as we may keep.
    #[error("the bridge has too much waiting for IRC; it takes more as soon as some of that is gone")]
    Full,
    /// It can't be written down.
    #[error("the bridge can't keep the transaction: {0}")]
    Unavailable(String),
}

impl From<SinkError> for Refusal {
    fn from(error: SinkError) -> Self {
        let errcode = match error {
            SinkError::Full => "M_LIMIT_EXCEEDED",
            SinkError::Unavailable(_) => "M_UNKNOWN",
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, errcode, error.to_string())
    }
}

/// The handler.
pub(super) async fn push(
    State(shared): State<Shared>,
    txn_id: Result<Path<String>, PathRejection>,
    Whole(body): Whole,
) -> Result<Json<Empty>, Refusal> {
    let Path(txn_id) = txn_id.map_err(|_| {
        Refusal::new(StatusCode::BAD_REQUEST, "M_INVALID_PARAM", "the transaction id in the path isn't UTF-8")
    })?;
    let transaction = read(txn_id, &body)?;
    shared.sink.accept(transaction).await.inspect_err(|error| {
        tracing::warn!(%error, "A transaction was turned away; the homeserver will send it again");
    })?;
    Ok(Json(Empty {}))
}

/// `{}`, the answer of an endpoint that has nothing to say.
#[derive(serde::Serialize)]
pub(super) struct Empty {}

/// Cuts a body into the parts of its transaction.
fn read(txn_id: String, body: &[u8]) -> Result<Transaction, Refusal> {
    let not_json = |error: &dyn fmt::Display| {
        Refusal::new(StatusCode::BAD_REQUEST, "M_NOT_JSON", format!("the body isn't JSON: {error}"))
    };
    let bad_json = |error: &dyn fmt::Display| {
        Refusal::new(StatusCode::BAD_REQUEST, "M_BAD_JSON", format!("the body isn't a transaction: {error}"))
    };
    let body = str::from_utf8(body).map_err(|error| not_json(&error))?;
    let parts: Parts<'_> = serde_json::from_str(body).map_err(|error| {
        // Of a body that is wrong in both ways, what comes first was reported.
        match serde_json::from_str::<IgnoredAny>(body) {
            Ok(_) => bad_json(&error),
            Err(syntax) => not_json(&syntax),
        }
    })?;
    let Events { events, left_out } = match parts.events {
        Some(events) => serde_json::from_str(events.get()).map_err(|_| bad_json(&"`events` isn't an array"))?,
        None => return Err(bad_json(&"`events` is missing")),
    };
    let ephemeral: Option<Vec<&RawValue>> = parts.ephemeral.and_then(|list| serde_json::from_str(list.get()).ok());
    Ok(Transaction {
        txn_id,
        events,
        left_out,
        ephemeral: ephemeral.unwrap_or_default().into_iter().map(RawValue::to_owned).collect(),
    })
}

/// The event's id, if it has one.
fn event_id(event: &RawValue) -> Option<String> {
    let EventId(id) = serde_json::from_str(event.get()).ok()?;
    id
}

/// The parts of a transaction that we use, still as text. Of a repeated key the last counts, as in most JSON readers.
struct Parts<'a> {
    events: Option<&'a RawValue>,
    ephemeral: Option<&'a RawValue>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Parts<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Parts<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Parts<'de>, M::Error> {
                let (mut events, mut stable, mut legacy) = (None, None, None);
                while let Some(Key(key)) = map.next_key()? {
                    match &*key {
                        b"events" => events = Some(map.next_value()?),
                        b"ephemeral" => stable = Some(map.next_value()?),
                        // Homeservers before Matrix 1.13; some send both.
                        b"de.sorunome.msc2409.ephemeral" => legacy = Some(map.next_value()?),
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(Parts { events, ephemeral: stable.or(legacy) })
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// A transaction's events, and how many things among them are none.
struct Events {
    events: Vec<TransactionEvent>,
    left_out: usize,
}

impl<'de> Deserialize<'de> for Events {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts;
        impl<'de> Visitor<'de> for Parts {
            type Value = Events;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<Events, S::Error> {
                let (mut events, mut left_out) = (Vec::new(), 0);
                while let Some(json) = list.next_element::<&RawValue>()? {
                    match event_id(json) {
                        Some(event_id) => events.push(TransactionEvent { event_id, json: json.to_owned() }),
                        None => left_out += 1,
                    }
                }
                Ok(Events { events, left_out })
            }
        }
        deserializer.deserialize_seq(Parts)
    }
}

/// The `event_id` of an object.
struct EventId(Option<String>);

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = EventId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<EventId, M::Error> {
                let mut id = None;
                while let Some(Key(key)) = map.next_key()? {
                    if &*key == b"event_id" {
                        let value: &RawValue = map.next_value()?;
                        id = serde_json::from_str(value.get()).ok();
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(EventId(id))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// A key as bytes: a lone surrogate (`"\ud800"`) is well-formed JSON that isn't text, and must not fail the rest.
struct Key<'a>(Cow<'a, [u8]>);

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_bytes<E>(self, key: &'de [u8]) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(key)))
            }

            fn visit_bytes<E>(self, key: &[u8]) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }
        deserializer.deserialize_bytes(Text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(body: &str) -> (Vec<(String, String)>, Vec<String>) {
        let transaction = read("1".to_owned(), body.as_bytes()).unwrap();
        let events = transaction.events.into_iter().map(|event| (event.event_id, event.json.get().to_owned()));
        (events.collect(), transaction.ephemeral.iter().map(|raw| raw.get().to_owned()).collect())
    }

    #[test]
    fn events_come_out_as_they_went_in_and_in_order() {
        let body = r#"{"events":[{"event_id":"$1","b":1.0,"b":2, "content":{}}, {"event_id":"$2"}],"ephemeral":[{"type":"m.typing"}]}"#;
        let (events, ephemeral) = parts(body);
        let expected = [("$1", r#"{"event_id":"$1","b":1.0,"b":2, "content":{}}"#), ("$2", r#"{"event_id":"$2"}"#)];
        let expected: Vec<_> = expected.map(|(id, json)| (id.to_owned(), json.to_owned())).into();
        assert_eq!(events, expected);
        assert_eq!(ephemeral, [r#"{"type":"m.typing"}"#]);
    }

    #[test]
    fn no_event_fails_its_transaction() {
        let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        let odd = [
            "5",
            "null",
            "[]",
            r#""text""#,
            "{}",
            r#"{"event_id":5}"#,
            r#"{"event_id":{"event_id":"$no"}}"#,
            r#"{"event_id":"\ud800"}"#,
            r#"{"\ud800":"\udfff"}"#,
            "1e999999999",
            "-123456789012345678901234567890.5E-400",
            &deep,
        ];
        let body = format!(r#"{{"events":[{},{{"event_id":"$ok"}}]}}"#, odd.join(","));
        let transaction = read("1".to_owned(), body.as_bytes()).unwrap();
        let events: Vec<_> = transaction.events.iter().map(|event| event.event_id.as_str()).collect();
        assert_eq!((events, transaction.left_out), (vec!["$ok"], odd.len()));
    }

    #[test]
    fn other_parts_may_be_anything() {
        for other in [
            r#""device_lists":{"changed":["bad user"]}"#,
            r#""ephemeral":5"#,
            r#""ephemeral":null"#,
            r#""\ud800":1"#,
            r#""de.sorunome.msc2409.to_device":"x""#,
            r#""device_one_time_keys_count":[[[]]]"#,
            r#""events":7"#,
        ] {
            let (events, ephemeral) = parts(&format!(r#"{{{other},"events":[{{"event_id":"$1"}}]}}"#));
            assert_eq!((events.len(), ephemeral.len()), (1, 0), "{other}");
        }
    }

    #[test]
    fn the_last_of_repeated_keys_counts_and_keys_are_read_through_their_escapes() {
        let (events, _) = parts(r#"{"events":[{"event_id":"$1"}],"\u0065vents":[{"event_id":"$2"}]}"#);
        assert_eq!(events, [("$2".to_owned(), r#"{"event_id":"$2"}"#.to_owned())]);
        let (events, _) = parts(r#"{"events":[{"event_id":"$a","event\u005fid":"$b"}]}"#);
        assert_eq!(events[0].0, "$b");
    }

    #[test]
    fn ephemeral_data_comes_under_either_name_but_once() {
        let (_, old) = parts(r#"{"events":[],"de.sorunome.msc2409.ephemeral":[1]}"#);
        assert_eq!(old, ["1"]);
        let (_, both) = parts(r#"{"de.sorunome.msc2409.ephemeral":[1],"ephemeral":[1],"events":[]}"#);
        assert_eq!(both, ["1"]);
    }

    #[test]
    fn what_is_no_transaction_is_told_apart_from_what_is_no_json() {
        let errcode = |body: &[u8]| read(String::new(), body).unwrap_err().errcode;
        let not_json: &[&[u8]] = &[
            b"",
            b" ",
            b"{",
            b"not json",
            b"[1,",
            b"{\"events\":[}",
            b"{\"events\":[]} x",
            b"{\"events\":[\"\xff\"]}",
            b"{\"events\":[01]}",
            b"[\"top level\"",
        ];
        for body in not_json {
            assert_eq!(errcode(body), "M_NOT_JSON", "{}", String::from_utf8_lossy(body));
        }
        for body in
            ["[]", "5", "null", "\"events\"", "{}", r#"{"events":{}}"#, r#"{"events":null}"#, r#"{"Events":[]}"#]
        {
            assert_eq!(errcode(body.as_bytes()), "M_BAD_JSON", "{body}");
        }
    }

    /// JSON text of any shape, with the keys that matter more often than chance would have it.
    fn any_json() -> impl Strategy<Value = String> {
        let text = prop_oneof![
            Just(r#""events""#.to_owned()),
            Just(r#""ephemeral""#.to_owned()),
            Just(r#""event_id""#.to_owned()),
            Just(r#""\ud83d""#.to_owned()),
            any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        ];
        let number = prop_oneof![any::<f64>().prop_map(|n| format!("{n:e}")), any::<i64>().prop_map(|n| n.to_string())];
        let number = number.prop_map(|n| if n.contains(['N', 'i']) { "0".to_owned() } else { n });
        let leaf = prop_oneof![Just("null".to_owned()), Just("true".to_owned()), number, text.clone()];
        leaf.prop_recursive(6, 64, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(|list| format!("[{}]", list.join(" , "))),
                prop::collection::vec((text.clone(), inner), 0..6).prop_map(|pairs| {
                    let pairs: Vec<_> = pairs.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
                    format!("{{{}}}", pairs.join(","))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_or_refused_as_the_senders_fault(body: Vec<u8>) {
            if let Err(refusal) = read(String::new(), &body) {
                prop_assert_eq!(refusal.status, StatusCode::BAD_REQUEST);
            }
        }

        #[test]
        fn any_json_is_never_taken_for_something_else(body in any_json()) {
            if let Err(refusal) = read(String::new(), body.as_bytes()) {
                prop_assert_eq!(refusal.errcode, "M_BAD_JSON");
            }
        }

        #[test]
        fn any_events_are_taken_and_kept_byte_for_byte(events in prop::collection::vec(any_json(), 0..8), other in any_json()) {
            let events: Vec<_> = events.iter().map(|event| format!(r#"{{"content": {event}, "event_id":"$1"}}"#)).collect();
            let body = format!(r#"{{"x":{other},"ephemeral":{other},"events":[{}]}}"#, events.join(","));
            let transaction = read(String::new(), body.as_bytes()).unwrap();
            let kept: Vec<_> = transaction.events.iter().map(|event| event.json.get()).collect();
            prop_assert_eq!(kept, events);
        }
    }
}
