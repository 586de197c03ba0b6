//! The fate of every Matrix event that went to IRC: settled when delivered, told to its sender when not (R2).
//!
//! Owner of what is on its way. An event is settled in the journal only after its sender has been told (or the
//! homeserver has refused every room to tell them in), so that a crash in between tells again rather than never.

use std::collections::HashMap;

use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, UserId};
use serde_json::value::{RawValue, to_raw_value};
use sha2::{Digest as _, Sha256};

use super::event::{Event, Member};
use crate::model::{CommandId, Failure, Fate, MatrixKey, Subject};

/// A Matrix event and who must hear of its failure.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) key: MatrixKey,
    pub(super) event: OwnedEventId,
    pub(super) room: OwnedRoomId,
    pub(super) sender: OwnedUserId,
    /// What the sender did.
    pub(super) subject: Subject,
}

impl Origin {
    pub(super) fn of(key: MatrixKey, event: &Event<'_>) -> Self {
        let membership = || event.content::<Member>().map(|member| member.membership);
        let subject = match &*event.kind {
            "m.room.topic" => Subject::Topic,
            "m.room.member" => match membership().as_deref() {
                Some("leave" | "ban") => Subject::Kick,
                Some("invite") => Subject::Invitation,
                _ => Subject::Join,
            },
            _ => Subject::Message,
        };
        Self { key, event: event.id.clone(), room: event.room_id.clone(), sender: event.sender.clone(), subject }
    }
}

struct UnderWay {
    outcome: Outcome,
    commands_left: u32,
}

/// What became of an event in each of the places on IRC that it went to.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) origin: Origin,
    /// Where it did not (surely) arrive, and why.
    pub(super) failed: Vec<(String, Failure)>,
    /// Where it did.
    pub(super) arrived: Vec<String>,
}

/// Events that became commands whose fates aren't known yet.
#[derive(Default)]
pub(super) struct Delivery {
    next: u64,
    /// The event of each, and where on IRC it goes.
    commands: HashMap<CommandId, (MatrixKey, String)>,
    events: HashMap<MatrixKey, UnderWay>,
}

impl Delivery {
    /// A command that belongs to no event.
    pub(super) fn command(&mut self) -> CommandId {
        self.next += 1;
        CommandId(self.next)
    }

    /// A command that carries an event to a `place` on IRC, as people call it.
    ///
    /// Each of an event's commands must be there before one of them is decided.
    pub(super) fn command_for(&mut self, origin: &Origin, place: impl Into<String>) -> CommandId {
        let command = self.command();
        self.commands.insert(command, (origin.key, place.into()));
        let new = || UnderWay {
            outcome: Outcome { origin: origin.clone(), failed: Vec::new(), arrived: Vec::new() },
            commands_left: 0,
        };
        self.events.entry(origin.key).or_insert_with(new).commands_left += 1;
        command
    }

    /// Whether a command sets a topic.
    pub(super) fn is_topic(&self, command: CommandId) -> bool {
        let event = self.commands.get(&command).and_then(|(key, _)| self.events.get(key));
        event.is_some_and(|event| event.outcome.origin.subject == Subject::Topic)
    }

    /// What became of a command. Once all of its event's commands are decided: what became of the event.
    pub(super) fn decided(&mut self, command: CommandId, fate: Fate) -> Option<Outcome> {
        let (key, place) = self.commands.remove(&command)?;
        let event = self.events.get_mut(&key)?;
        event.commands_left -= 1;
        match fate {
            Fate::Delivered { .. } => event.outcome.arrived.push(place),
            Fate::Failed(failure) => event.outcome.failed.push((place, failure)),
        }
        if event.commands_left > 0 {
            return None;
        }
        self.events.remove(&key).map(|event| event.outcome)
    }

    /// How many events are under way.
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }
}

/// The notice for messages of one sender that failed alike, as a reply to the first.
pub(super) fn notice(sender: &UserId, text: &str, events: &[(OwnedEventId, MatrixKey)]) -> Box<RawValue> {
    let body = match events.len() {
        0 | 1 => text.to_owned(),
        n => format!("{text} ({n} messages)"),
    };
    let ids: Vec<&OwnedEventId> = events.iter().map(|(event, _)| event).collect();
    let content = serde_json::json!({
        "msgtype": "m.notice",
        "body": body,
        "m.mentions": { "user_ids": [sender] },
        "m.relates_to": { "m.in_reply_to": { "event_id": ids.first() } },
        "footbridge.undelivered": ids,
    });
    to_raw_value(&content).expect("a JSON value has a JSON text")
}

/// Names a notice for good, so that a repeated one is taken once. After a crash the same event may be told of with
/// others, which is another notice: so by all of them.
pub(super) fn notice_txn(events: &[(OwnedEventId, MatrixKey)]) -> String {
    let mut all = Sha256::new();
    for (event, _) in events {
        // No id has a line's end in it.
        all.update(event.as_bytes());
        all.update(b"\n");
    }
    format!("fbu{:x}", all.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Reason;

    fn origin(index: u32) -> Origin {
        Origin {
            key: MatrixKey { txn: 1, index },
            event: ruma::event_id!("$a:x").to_owned(),
            room: ruma::room_id!("!r:x").to_owned(),
            sender: ruma::user_id!("@u:x").to_owned(),
            subject: Subject::Message,
        }
    }

    #[test]
    fn r2_what_failed_is_called_what_it_is() {
        for (kind, content, subject) in [
            ("m.room.message", r#"{"body":"x"}"#, Subject::Message),
            ("m.sticker", "{}", Subject::Message),
            ("m.room.topic", r#"{"topic":"x"}"#, Subject::Topic),
            ("m.room.member", r#"{"membership":"join"}"#, Subject::Join),
            ("m.room.member", r#"{"membership":"leave"}"#, Subject::Kick),
            ("m.room.member", r#"{"membership":"ban"}"#, Subject::Kick),
            ("m.room.member", r#"{"membership":"invite"}"#, Subject::Invitation),
        ] {
            let json =
                format!(r#"{{"type":"{kind}","event_id":"$1","room_id":"!a:b","sender":"@c:d","content":{content}}}"#);
            let json = RawValue::from_string(json).unwrap();
            let event = Event::read(&json).unwrap();
            assert_eq!(Origin::of(origin(0).key, &event).subject, subject, "{kind} {content}");
        }
    }

    #[test]
    fn r2_an_event_is_decided_when_all_its_commands_are() {
        let mut delivery = Delivery::default();
        let (a, b) = (delivery.command_for(&origin(0), "#a"), delivery.command_for(&origin(0), "#b"));
        let refused = Failure::certain(Reason::CannotSend);
        assert!(delivery.decided(a, Fate::Failed(refused.clone())).is_none());
        let outcome = delivery.decided(b, Fate::Delivered { msgid: None }).unwrap();
        assert_eq!(outcome.origin.key.index, 0);
        assert_eq!((outcome.failed, outcome.arrived), (vec![("#a".to_owned(), refused)], vec!["#b".to_owned()]));
        assert!(delivery.decided(b, Fate::Delivered { msgid: None }).is_none(), "a fate counts once");
        assert_eq!(delivery.len(), 0);
        let other = delivery.command();
        assert!(delivery.decided(other, Fate::Delivered { msgid: None }).is_none());
    }

    #[test]
    fn r2_a_notice_of_more_events_is_another_notice() {
        let [a, b] = ["$a:x", "$b:x"].map(|id| (OwnedEventId::try_from(id).unwrap(), origin(0).key));
        let of_a = notice_txn(std::slice::from_ref(&a));
        assert_eq!(of_a, notice_txn(std::slice::from_ref(&a)), "the same, for good");
        assert_ne!(of_a, notice_txn(&[a, b]), "or the homeserver would take it for the one that it has");
    }

    #[test]
    fn r2_failures_of_one_kind_are_one_notice_that_names_its_events() {
        let events = [0, 1].map(|i| (origin(i).event, origin(i).key));
        let content: serde_json::Value = serde_json::from_str(notice(&origin(0).sender, "No.", &events).get()).unwrap();
        assert_eq!(content["body"], "No. (2 messages)");
        assert_eq!(content["m.mentions"]["user_ids"][0], "@u:x");
        assert_eq!(content["footbridge.undelivered"].as_array().unwrap().len(), 2);
    }
}
