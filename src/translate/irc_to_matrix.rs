//! What IRC says, as the content of Matrix events.
//!
//! Contents come as JSON ready to be sent. `m.mentions` is always there and empty: without it, clients would search
//! the body for names and ping people by accident. To show another kind of text, add a function that
//! fills a `Message`.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::{
    clean::one_line,
    control::{escape, strip, to_html},
};
use crate::model::{Arrived, Failure, Subject, TextKind, TextTarget};

/// The content of the `m.room.message` for a line of text from IRC.
///
/// Formatting codes become HTML in `formatted_body`. A line to a channel's upper ranks only (`@#channel`) says so.
#[must_use]
pub fn message(target: &TextTarget, kind: TextKind, text: &str) -> Box<RawValue> {
    let msgtype = match kind {
        TextKind::Privmsg => "m.text",
        TextKind::Notice => "m.notice",
        TextKind::Action => "m.emote",
    };
    let (body, html) = (strip(text), to_html(text));
    let TextTarget::Channel { name, status: Some(status) } = target else {
        return Message::new(msgtype, body, html).content();
    };
    let audience = format!("[{status}{}] ", strip(name));
    let html = html.map(|html| {
        let mut with_audience = String::with_capacity(audience.len() + html.len());
        escape(&audience, &mut with_audience);
        with_audience + &html
    });
    Message::new(msgtype, Cow::Owned(audience + &body), html).content()
}

/// The content of an `m.notice` by which the bridge itself says something.
#[must_use]
pub fn notice(text: &str) -> Box<RawValue> {
    Message::new("m.notice", Cow::Borrowed(text), None).content()
}

/// What the sender of something that failed is told (R2). It quotes the server's reason, never the message.
#[must_use]
pub fn failure_notice(subject: Subject, failure: &Failure) -> String {
    failure_in(subject, failure, "IRC", "on IRC")
}

/// What the sender of something that failed in one of several places is told: where, why, and where it arrived all the same.
#[must_use]
pub fn outcome_notice(subject: Subject, failed: &[(String, Failure)], arrived: &[String]) -> String {
    if let [(_, failure), others @ ..] = failed
        && arrived.is_empty()
        && others.iter().all(|(_, other)| other == failure)
    {
        return failure_notice(subject, failure);
    }
    let mut sentences: Vec<String> = failed
        .iter()
        .map(|(place, failure)| failure_in(subject, failure, &one_line(place), &format!("in {}", one_line(place))))
        .collect();
    if !arrived.is_empty() {
        let done = match subject {
            Subject::Topic => "was set in",
            Subject::Kick => "was carried out in",
            Subject::Message | Subject::Join | Subject::Invitation => "reached",
        };
        sentences.push(format!("It {done} {}.", one_line(&arrived.join(" and "))));
    }
    sentences.join(" ")
}

/// What failed, in the place that is called `place`, or `there` with its preposition.
fn failure_in(subject: Subject, failure: &Failure, place: &str, there: &str) -> String {
    let (failed, done) = match subject {
        Subject::Message => (format!("Your message did not reach {place}"), format!("your message reached {place}")),
        Subject::Topic => (format!("Your topic was not set {there}"), format!("your topic was set {there}")),
        Subject::Kick => {
            (format!("Your kick was not carried out {there}"), format!("your kick was carried out {there}"))
        }
        Subject::Join => (format!("You could not be brought onto {place}"), format!("you were brought onto {place}")),
        Subject::Invitation => {
            (format!("Your invitation did not reach {place}"), format!("your invitation reached {place}"))
        }
    };
    let outcome = match (failure.arrived, failure.certain) {
        (Arrived::Nothing, true) => failed,
        (Arrived::Nothing, false) => format!("It isn't certain that {done}"),
        (Arrived::Lines { first, of }, true) => {
            format!("Only the first {} of your message reached {place}", lines(first, of))
        }
        (Arrived::Lines { first, of }, false) => {
            format!(
                "The first {} of your message reached {place}, but it isn't certain that the rest did",
                lines(first, of)
            )
        }
        (Arrived::Part, true) => format!("Only a part of your message reached {place}"),
        (Arrived::Part, false) => {
            format!("A part of your message reached {place}, but it isn't certain that the rest did")
        }
    };
    format!("{outcome}: {}.", one_line(&failure.to_string()))
}

/// "7 of 14 lines", "of 14 lines" where it is the first alone.
fn lines(first: u32, of: u32) -> String {
    if first == 1 { format!("of {of} lines") } else { format!("{first} of {of} lines") }
}

/// The content of `m.room.topic`, in its old form and its new one
/// (<https://spec.matrix.org/v1.15/client-server-api/#mroomtopic>).
#[must_use]
pub fn topic(text: &str) -> Box<RawValue> {
    #[derive(Serialize)]
    struct Topic<'a> {
        topic: &'a str,
        #[serde(rename = "m.topic")]
        block: TopicBlock<'a>,
    }
    #[derive(Serialize)]
    struct TopicBlock<'a> {
        #[serde(rename = "m.text")]
        text: [Representation<'a>; 1],
    }
    #[derive(Serialize)]
    struct Representation<'a> {
        body: &'a str,
    }
    let topic = &*strip(text);
    json(&Topic { topic, block: TopicBlock { text: [Representation { body: topic }] } })
}

#[derive(Serialize)]
struct Message<'a> {
    msgtype: &'static str,
    body: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    formatted_body: Option<String>,
    #[serde(rename = "m.mentions")]
    mentions: Mentions,
}

/// Nobody.
#[derive(Serialize)]
struct Mentions {}

impl<'a> Message<'a> {
    fn new(msgtype: &'static str, body: Cow<'a, str>, html: Option<String>) -> Self {
        let format = html.is_some().then_some("org.matrix.custom.html");
        Self { msgtype, body, format, formatted_body: html, mentions: Mentions {} }
    }

    fn content(&self) -> Box<RawValue> {
        json(self)
    }
}

fn json(content: &impl Serialize) -> Box<RawValue> {
    to_raw_value(content).expect("structures of strings are JSON")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::model::Reason;

    fn channel(status: Option<char>) -> TextTarget {
        TextTarget::Channel { name: "#chan".into(), status }
    }

    fn parsed(content: &RawValue) -> Value {
        serde_json::from_str(content.get()).unwrap()
    }

    #[test]
    fn text_becomes_messages_that_ping_nobody() {
        let html = "org.matrix.custom.html";
        for (target, kind, text, expected) in [
            (
                channel(None),
                TextKind::Privmsg,
                "hi \"you\"",
                json!({"msgtype": "m.text", "body": "hi \"you\"", "m.mentions": {}}),
            ),
            (TextTarget::Own, TextKind::Notice, "hi", json!({"msgtype": "m.notice", "body": "hi", "m.mentions": {}})),
            (
                channel(None),
                TextKind::Action,
                "waves\x07",
                json!({"msgtype": "m.emote", "body": "waves", "m.mentions": {}}),
            ),
            (
                channel(None),
                TextKind::Privmsg,
                "\x02<b>\x02",
                json!({"msgtype": "m.text", "body": "<b>", "format": html, "formatted_body": "<b>&lt;b&gt;</b>", "m.mentions": {}}),
            ),
            (
                channel(Some('@')),
                TextKind::Privmsg,
                "psst",
                json!({"msgtype": "m.text", "body": "[@#chan] psst", "m.mentions": {}}),
            ),
            (
                channel(Some('&')),
                TextKind::Privmsg,
                "\x1dpsst",
                json!({"msgtype": "m.text", "body": "[&#chan] psst", "format": html, "formatted_body": "[&amp;#chan] <i>psst</i>", "m.mentions": {}}),
            ),
        ] {
            assert_eq!(parsed(&message(&target, kind, text)), expected, "{text:?}");
        }
        assert_eq!(parsed(&notice("hm")), json!({"msgtype": "m.notice", "body": "hm", "m.mentions": {}}));
        assert_eq!(parsed(&topic("\x02a")), json!({"topic": "a", "m.topic": {"m.text": [{"body": "a"}]}}));
    }

    #[test]
    fn r2_failures_are_told_with_their_certainty_and_reason() {
        let refused = Failure::certain(Reason::CannotSend).with_words("\x02Cannot send\x02 to\r\nchannel");
        assert_eq!(
            failure_notice(Subject::Message, &refused),
            "Your message did not reach IRC: the channel doesn't let you speak (it may be moderated, or you may be muted \
             or banned) (the server said: Cannot send to channel)."
        );
        let lost = Failure::uncertain(Reason::LinkLost);
        let why = "your connection to IRC was lost.";
        for (subject, failure, told) in [
            (Subject::Message, lost.clone(), "It isn't certain that your message reached IRC"),
            (Subject::Topic, lost.clone(), "It isn't certain that your topic was set on IRC"),
            (Subject::Topic, Failure { certain: true, ..lost.clone() }, "Your topic was not set on IRC"),
            (Subject::Kick, Failure { certain: true, ..lost.clone() }, "Your kick was not carried out on IRC"),
            (Subject::Join, Failure { certain: true, ..lost.clone() }, "You could not be brought onto IRC"),
            (Subject::Invitation, Failure { certain: true, ..lost }, "Your invitation did not reach IRC"),
        ] {
            assert_eq!(failure_notice(subject, &failure), format!("{told}: {why}"));
        }
    }

    #[test]
    fn r2_what_arrived_in_part_is_told_so() {
        let (some, one) = (Arrived::Lines { first: 7, of: 14 }, Arrived::Lines { first: 1, of: 2 });
        for (arrived, certain, told) in [
            (some, true, "Only the first 7 of 14 lines of your message reached IRC"),
            (
                some,
                false,
                "The first 7 of 14 lines of your message reached IRC, but it isn't certain that the rest did",
            ),
            (one, true, "Only the first of 2 lines of your message reached IRC"),
            (Arrived::Part, true, "Only a part of your message reached IRC"),
            (Arrived::Part, false, "A part of your message reached IRC, but it isn't certain that the rest did"),
        ] {
            let failure = Failure { certain, arrived, ..Failure::certain(Reason::NotJoined) };
            assert_eq!(
                failure_notice(Subject::Message, &failure),
                format!("{told}: you aren't in the channel on IRC.")
            );
        }
    }

    #[test]
    fn r2_of_several_places_it_is_told_which() {
        let (banned, lost) = (Failure::certain(Reason::Banned), Failure::uncertain(Reason::LinkLost));
        let at = |place: &str, failure: &Failure| (place.to_owned(), failure.clone());
        let here = ["#a".to_owned(), "#c on net".to_owned()];
        for (subject, failed, arrived, told) in [
            (
                Subject::Message,
                vec![at("#b", &banned)],
                &here[..1],
                "Your message did not reach #b: you are banned from the channel. It reached #a.",
            ),
            (
                Subject::Topic,
                vec![at("#b", &lost)],
                &here[..],
                "It isn't certain that your topic was set in #b: your connection to IRC was lost. It was set in #a and \
                 #c on net.",
            ),
            (
                Subject::Message,
                vec![at("#a", &banned), at("#b", &lost)],
                &[],
                "Your message did not reach #a: you are banned from the channel. It isn't certain that your message \
                 reached #b: your connection to IRC was lost.",
            ),
            (
                Subject::Message,
                vec![at("#a", &banned), at("#b", &banned)],
                &[],
                "Your message did not reach IRC: you are banned from the channel.",
            ),
            (
                Subject::Kick,
                vec![at("#a", &banned)],
                &[],
                "Your kick was not carried out on IRC: you are banned from the channel.",
            ),
        ] {
            assert_eq!(outcome_notice(subject, &failed, arrived), told);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_carried_as_it_is(text in any::<String>()) {
            let content = parsed(&message(&channel(None), TextKind::Privmsg, &text));
            prop_assert_eq!(content["body"].as_str(), Some(&*strip(&text)));
            prop_assert_eq!(&content["m.mentions"], &json!({}));
            prop_assert_eq!(content.get("formatted_body").is_some(), to_html(&text).is_some());
        }
    }
}
