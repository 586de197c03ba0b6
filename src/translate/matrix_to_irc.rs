//! What Matrix says, as text for IRC.
//!
//! Contents are read as leniently as can be: anybody may send any JSON, and a field of the wrong type makes its own
//! message unsupported, nothing else. Everything returned is harmless on a line of IRC (R104).

use std::borrow::Cow;

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::clean::{is_blank, lines, one_line};
use crate::model::{Failure, Reason, TextKind};

/// About how many bytes of text a line of IRC carries; only to judge how many lines a message will be.
pub(super) const TYPICAL_LINE: usize = 400;

/// Text for IRC, before it is split to the byte budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IrcText {
    /// How it is meant.
    pub kind: TextKind,
    /// What is said, one entry for each line as the author wrote it. Never empty.
    pub lines: Vec<String>,
}

/// The text of an `m.room.message` with this `content`; `None` if it is blank.
///
/// # Errors
/// [`Reason::Unsupported`] if it isn't text, or of characters alone that can't be shown, [`Reason::TooLong`] if IRC would see more than `max_lines` lines.
pub fn message(content: &RawValue, max_lines: usize) -> Result<Option<IrcText>, Failure> {
    let content: Content<'_> = read(content).ok_or_else(unsupported)?;
    // An edit's own body is a fallback for those who don't know edits; IRC is told what the message says now.
    let edited: Option<Content<'_>> = if content.is_edit() { content.edited.and_then(read) } else { None };
    let text = match edited {
        Some(edited) => edited.text("* ")?,
        None => content.text("")?,
    };
    if text.lines.is_empty() {
        return Ok(None);
    }
    let count: usize = text.lines.iter().map(|line| line.len().div_ceil(TYPICAL_LINE)).sum();
    if count > max_lines { Err(Failure::certain(Reason::TooLong)) } else { Ok(Some(text)) }
}

/// The topic that an `m.room.topic` with this `content` sets, on one line; empty if it clears it, `None` if what it
/// sets can't be read.
///
/// The plain text of `m.topic` goes before the older `topic` (<https://spec.matrix.org/v1.15/client-server-api/#mroomtopic>).
#[must_use]
pub fn topic(content: &RawValue) -> Option<String> {
    let content: TopicContent<'_> = read(content)?;
    if let Some(topic) = content.block.and_then(plain_text) {
        return Some(one_line(&topic));
    }
    match content.topic {
        None if content.block.is_none() => Some(String::new()),
        topic => topic.and_then(string).map(|topic| one_line(&topic)),
    }
}

/// Whether a room with an `m.room.topic` of this `content` has the topic of a channel already: the same, or one of which
/// IRC kept only the first `topiclen` bytes.
#[must_use]
pub fn is_topic(content: &RawValue, channel: &str, topiclen: usize) -> bool {
    /// The longest character; one that doesn't fit is left out whole.
    const CHARACTER: usize = 4;
    let was_cut = channel.len() + CHARACTER > topiclen;
    topic(content).is_some_and(|room| room == channel || (was_cut && room.starts_with(channel)))
}

/// What is to be said in a channel when the `m.room.history_visibility` of its room becomes `now`, set by `who` (R19);
/// `None` if nobody can read more than before.
#[must_use]
pub fn history_notice(before: Option<&str>, now: &str, who: &str) -> Option<String> {
    let wide = |visibility: Option<&str>| match visibility {
        Some("world_readable") => 2,
        Some("shared") => 1,
        _ => 0,
    };
    let what = match wide(Some(now)) {
        width if width <= wide(before) => return None,
        2 => {
            "anybody can read what is said here in the Matrix room that this channel is bridged to, without joining it"
        }
        _ => "whoever joins the Matrix room that this channel is bridged to can read what was said before they came",
    };
    Some(one_line(&format!("From now on {what} (set by {who}).")))
}

/// The words with which a text ends that is cut to so many bytes.
#[must_use]
pub fn last_words(text: &str, bytes: usize) -> &str {
    const SHOWN: usize = 30;
    let cut = &text[..text.floor_char_boundary(bytes)];
    &cut[cut.ceil_char_boundary(cut.len().saturating_sub(SHOWN))..]
}

/// A reason that somebody gives for a kick or the like, on one line.
#[must_use]
pub fn reason(text: &str) -> String {
    one_line(text)
}

/// The content of a message. Fields are left unread until they are wanted, so that their types can't spoil others.
#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow)]
    msgtype: Option<&'a RawValue>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
    #[serde(borrow, rename = "m.new_content")]
    edited: Option<&'a RawValue>,
    #[serde(borrow, rename = "m.relates_to")]
    relates_to: Option<&'a RawValue>,
}

impl<'a> Content<'a> {
    fn relation(&self) -> Option<Relation<'a>> {
        self.relates_to.and_then(read)
    }

    fn is_edit(&self) -> bool {
        let rel_type = self.relation().and_then(|relation| relation.rel_type).and_then(string);
        rel_type.as_deref() == Some("m.replace")
    }

    fn text(&self, prefix: &str) -> Result<IrcText, Failure> {
        let kind = match self.msgtype.and_then(string).as_deref() {
            Some("m.text") => TextKind::Privmsg,
            Some("m.notice") => TextKind::Notice,
            Some("m.emote") => TextKind::Action,
            _ => return Err(unsupported()),
        };
        let body = self.body.and_then(string).ok_or_else(unsupported)?;
        let is_reply = self.relation().is_some_and(|relation| relation.in_reply_to.is_some());
        let said = if is_reply { without_reply_fallback(&body) } else { &body };
        let mut lines = lines(said);
        if lines.is_empty() && !is_blank(said) {
            return Err(unsupported().with_detail("nothing of it can be shown there"));
        }
        if let Some(first) = lines.first_mut() {
            first.insert_str(0, prefix);
        }
        Ok(IrcText { kind, lines })
    }
}

#[derive(Deserialize)]
struct Relation<'a> {
    #[serde(borrow)]
    rel_type: Option<&'a RawValue>,
    #[serde(rename = "m.in_reply_to")]
    in_reply_to: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct TopicContent<'a> {
    #[serde(borrow)]
    topic: Option<&'a RawValue>,
    #[serde(borrow, rename = "m.topic")]
    block: Option<&'a RawValue>,
}

/// The plain representation in an `m.topic` block.
fn plain_text(block: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Block<'a> {
        #[serde(borrow, rename = "m.text")]
        text: Vec<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Representation<'a> {
        #[serde(borrow)]
        body: &'a RawValue,
        #[serde(borrow)]
        mimetype: Option<&'a RawValue>,
    }
    let block: Block<'_> = read(block)?;
    let mut representations = block.text.into_iter().filter_map(read::<Representation<'_>>);
    let plain = representations
        .find(|text| text.mimetype.is_none_or(|mimetype| string(mimetype).as_deref() == Some("text/plain")))?;
    string(plain.body)
}

/// What follows the quotation that clients once put before a reply for those who don't know replies:
/// <https://spec.matrix.org/v1.12/client-server-api/#fallbacks-for-rich-replies>.
///
/// A quotation that doesn't begin with whom it quotes is the author's own, and stays.
fn without_reply_fallback(body: &str) -> &str {
    if !body.starts_with("> <@") && !body.starts_with("> * <@") {
        return body;
    }
    let mut rest = body;
    while rest.starts_with("> ") || rest.starts_with(">\n") {
        rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
    }
    rest
}

fn unsupported() -> Failure {
    Failure::certain(Reason::Unsupported)
}

fn read<'a, T: Deserialize<'a>>(json: &'a RawValue) -> Option<T> {
    serde_json::from_str(json.get()).ok()
}

/// The text of a JSON string, borrowed where nothing in it is escaped.
fn string(json: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    read(json).map(|Text(text)| text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json, value::to_raw_value};

    use super::*;

    type Said = Option<(TextKind, Vec<String>)>;

    fn say(content: &Value) -> Result<Said, Failure> {
        let text = message(&to_raw_value(content).unwrap(), 5)?;
        Ok(text.map(|text| (text.kind, text.lines)))
    }

    /// What a row expects, as [`say`] has it.
    macro_rules! text {
        ($kind:ident, $($line:expr),+) => { Some((TextKind::$kind, vec![$($line.to_owned()),+])) };
    }

    #[test]
    fn r19_a_channel_hears_when_more_people_can_read_what_is_said() {
        for (before, now, told) in [
            (Some("joined"), "shared", true),
            (Some("joined"), "world_readable", true),
            (Some("shared"), "world_readable", true),
            (None, "shared", true),
            (Some("shared"), "shared", false),
            (Some("world_readable"), "shared", false),
            (Some("shared"), "joined", false),
            (Some("joined"), "invited", false),
            (Some("joined"), "nonsense", false),
        ] {
            let notice = history_notice(before, now, "@a:x");
            assert_eq!(notice.is_some(), told, "{before:?} {now}");
            assert!(notice.is_none_or(|notice| notice.contains("@a:x") && notice.len() < TYPICAL_LINE));
        }
    }

    fn reply(body: &str) -> Value {
        json!({"msgtype": "m.text", "body": body, "m.relates_to": {"m.in_reply_to": {"event_id": "$1"}}})
    }

    #[test]
    fn messages_become_text() {
        let quoted = "> <@bob:example.org> question\n> more\n\nanswer";
        let replace = json!({"rel_type": "m.replace", "event_id": "$1"});
        for (content, expected) in [
            (json!({"msgtype": "m.text", "body": "hi \"you\" é"}), text!(Privmsg, "hi \"you\" é")),
            (json!({"msgtype": "m.notice", "body": "beep"}), text!(Notice, "beep")),
            (json!({"msgtype": "m.emote", "body": "waves"}), text!(Action, "waves")),
            (json!({"msgtype": "m.text", "body": "one\n\ntwo\r\n"}), text!(Privmsg, "one", "two")),
            (json!({"msgtype": "m.text", "body": "  \n\t"}), None),
            (json!({"msgtype": "m.text", "body": ""}), None),
            (json!({"msgtype": "m.text", "body": "\x02\x0f"}), None),
            (reply(quoted), text!(Privmsg, "answer")),
            (reply("> * <@bob:example.org> waves\n>\n> x\n\n/me too"), text!(Privmsg, "/me too")),
            (reply("> my own quotation\nanswer"), text!(Privmsg, "> my own quotation", "answer")),
            (reply("> <@bob:example.org> nothing said"), None),
            (
                json!({"msgtype": "m.text", "body": "> <@bob:example.org> by hand"}),
                text!(Privmsg, "> <@bob:example.org> by hand"),
            ),
            (
                json!({"msgtype": "m.text", "body": "* fallback", "m.relates_to": replace,
                    "m.new_content": {"msgtype": "m.emote", "body": "waves\ntwice"}}),
                text!(Action, "* waves", "twice"),
            ),
            (json!({"msgtype": "m.text", "body": "* fallback", "m.relates_to": replace}), text!(Privmsg, "* fallback")),
            (
                json!({"msgtype": "m.text", "body": "not an edit", "m.new_content": {"msgtype": "m.text", "body": "x"}}),
                text!(Privmsg, "not an edit"),
            ),
        ] {
            assert_eq!(say(&content), Ok(expected), "{content}");
        }
    }

    #[test]
    fn r2_what_cannot_be_said_is_told() {
        let unsupported = Err(Failure::certain(Reason::Unsupported));
        for content in [
            json!({"msgtype": "m.image", "body": "cat.png", "url": "mxc://example.org/1"}),
            json!({"msgtype": "m.file", "body": "x"}),
            json!({"body": "no type"}),
            json!({"msgtype": "m.text"}),
            json!({"msgtype": "m.text", "body": 5}),
            json!({"msgtype": "m.text", "body": null}),
            json!({"msgtype": ["m.text"], "body": "x"}),
            json!({"msgtype": "m.text", "body": "* x", "m.relates_to": {"rel_type": "m.replace"}, "m.new_content": {"body": 1}}),
            json!({}),
            json!([]),
            json!("m.text"),
            json!(null),
        ] {
            assert_eq!(say(&content), unsupported, "{content}");
        }
        for body in ["\x01", "\0", "\x01\x01\n\x7f", "\x02\x01\x03"] {
            let nothing =
                unsupported.clone().map_err(|failure| failure.with_detail("nothing of it can be shown there"));
            assert_eq!(say(&json!({"msgtype": "m.emote", "body": body})), nothing, "{body:?}");
        }
        let too_long = Err(Failure::certain(Reason::TooLong));
        assert!(say(&json!({"msgtype": "m.text", "body": "x\n".repeat(5)})).is_ok());
        assert_eq!(say(&json!({"msgtype": "m.text", "body": "x\n".repeat(6)})), too_long);
        assert_eq!(say(&json!({"msgtype": "m.text", "body": "x".repeat(5 * TYPICAL_LINE + 1)})), too_long);
    }

    #[test]
    fn fields_of_wrong_types_spoil_nothing_else() {
        for relates_to in [json!(1), json!([]), json!({"rel_type": {}}), json!({"m.in_reply_to": null}), json!("x")] {
            let content = json!({"msgtype": "m.text", "body": "hi", "m.relates_to": relates_to, "m.new_content": 7});
            assert_eq!(say(&content), Ok(text!(Privmsg, "hi")), "{content}");
        }
    }

    #[test]
    fn topics_are_read_in_all_their_forms() {
        for (content, expected) in [
            (json!({"topic": "plain"}), Some("plain")),
            (json!({"topic": "two\nlines \x02\x01\0"}), Some("two lines")),
            (json!({"topic": ""}), Some("")),
            (json!({}), Some("")),
            (json!({"topic": null}), Some("")),
            (json!({"topic": 7}), None),
            (json!({"topic": {"m.text": []}}), None),
            (json!([7]), None),
            (json!("topic"), None),
            (json!({"topic": "old", "m.topic": {"m.text": [{"body": "new"}]}}), Some("new")),
            (
                json!({"topic": "old", "m.topic": {"m.text": [
                    {"mimetype": "text/html", "body": "<b>new</b>"}, 7, {"body": "new", "mimetype": "text/plain"}]}}),
                Some("new"),
            ),
            (json!({"topic": "old", "m.topic": {"m.text": [{"mimetype": "text/html", "body": "<b>"}]}}), Some("old")),
            (json!({"topic": "old", "m.topic": [1]}), Some("old")),
            (json!({"topic": "old", "m.topic": {"m.text": {"body": 7}}}), Some("old")),
            (json!({"m.topic": {"m.text": [{"body": 7}]}}), None),
        ] {
            assert_eq!(topic(&to_raw_value(&content).unwrap()).as_deref(), expected, "{content}");
        }
    }

    #[test]
    fn a_topic_that_irc_has_cut_is_still_the_rooms() {
        let is = |room: &Value, channel: &str| is_topic(&to_raw_value(room).unwrap(), channel, 8);
        let topic = |text: &str| json!({ "topic": text });
        assert!(is(&topic("tea"), "tea") && is(&topic(""), "") && is(&json!({}), ""));
        assert!(is(&topic("all about tea"), "all abou"));
        assert!(is(&topic("all a\u{e9}\u{1f375}tea"), "all a\u{e9}"), "the cup did not fit");
        assert!(!is(&topic("tea and milk"), "tea"), "IRC would have kept more");
        assert!(!is(&topic("milk"), "all abou") && !is(&topic("all"), "all abou") && !is(&topic("tea"), ""));
        assert!(!is(&json!({ "topic": 7 }), ""));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            prop_oneof![Just("m.text"), Just("m.emote"), Just("m.replace"), Just("> <@a:b> c\n\nd\r\nQUIT\0\x01")]
                .prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            let key = prop_oneof![
                Just("msgtype"),
                Just("body"),
                Just("m.relates_to"),
                Just("rel_type"),
                Just("m.in_reply_to"),
                Just("m.new_content"),
                Just("topic"),
                Just("m.topic"),
                Just("m.text"),
            ];
            let object = proptest::collection::vec((key, inner.clone()), 0..6);
            prop_oneof![
                proptest::collection::vec(inner, 0..3).prop_map(Value::from),
                object.prop_map(|fields| fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn r104_no_message_makes_a_second_line(body in any::<String>(), hostile in "[\\x00-\\x1fa: ]*", edit in any::<bool>()) {
            let body = format!("{hostile}{body}{hostile}");
            let inner = json!({"msgtype": "m.text", "body": body});
            let content = if edit {
                json!({"msgtype": "m.text", "body": body, "m.new_content": inner, "m.relates_to": {"rel_type": "m.replace"}})
            } else {
                inner
            };
            if let Ok(Some(text)) = message(&to_raw_value(&content).unwrap(), 1_000) {
                prop_assert!(!text.lines.is_empty());
                prop_assert!(text.lines.iter().all(|line| !line.contains(['\r', '\n', '\0', '\x01'])));
            }
            let topic = topic(&to_raw_value(&json!({"topic": body})).unwrap()).unwrap();
            prop_assert!(!topic.contains(char::is_control));
            prop_assert!(!reason(&body).contains(char::is_control));
        }

        #[test]
        fn r104_hostile_json_never_panics(content in any_json()) {
            let content = to_raw_value(&content).unwrap();
            if let Ok(Some(text)) = message(&content, 10) {
                prop_assert!(text.lines.iter().all(|line| !line.contains(['\r', '\n', '\0', '\x01'])));
            }
            prop_assert!(!topic(&content).unwrap_or_default().contains(char::is_control));
        }
    }
}
