//! What a bridged room says of itself in its state, for clients: with what it is bridged, what gets through, and under
//! which nick each of its users is on IRC.

use ruma::UserId;
use serde_json::{Map, Value, json, value::RawValue};

use super::matrix_to_irc::TYPICAL_LINE;
use crate::model::NetworkId;

/// With what a room is bridged: the name that the proposal asks for, and the one that clients know.
/// <https://github.com/matrix-org/matrix-spec-proposals/pull/2346>
pub const BRIDGE_KINDS: [&str; 2] = ["m.bridge", "uk.half-shot.bridge"];
/// What gets through to IRC, for clients that hide what doesn't.
/// <https://github.com/mautrix/go/blob/main/event/capabilities.go>
pub const FEATURES_KIND: &str = "com.beeper.room_features";
/// The nick of one of the room's users on one of its networks.
pub const NICK_KIND: &str = "footbridge.nick";

/// Who a ghost is on IRC, in its profile.
pub const PROFILE_FIELD: &str = "footbridge.irc";

/// In join rules that follow a channel's: what they were before.
const OPEN: &str = "footbridge.open";

/// The longest state key that homeservers take, in bytes.
const LONGEST_KEY: usize = 255;

/// The state key of a bridged channel; `None` if it would be too long. It is the same whatever the network's CASEMAPPING
/// is, which may become known only later.
#[must_use]
pub fn channel_state_key(network: &NetworkId, channel: &str) -> Option<String> {
    let escape = |byte: u8| match byte {
        b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    let escaped: String = channel.to_ascii_lowercase().bytes().map(escape).collect();
    fitting(format!("footbridge://irc/{network}/{escaped}"))
}

/// The state key of a user's nick on a network; `None` if it would be too long. It doesn't begin with `@`: such keys are
/// for the user alone to set.
#[must_use]
pub fn nick_state_key(network: &NetworkId, user: &UserId) -> Option<String> {
    fitting(format!("{network}_{user}"))
}

fn fitting(key: String) -> Option<String> {
    (key.len() <= LONGEST_KEY).then_some(key)
}

/// The content that says with what channel a room is bridged, by whom.
#[must_use]
pub fn bridge_info(bot: &UserId, network: &NetworkId, name: &str, channel: &str) -> Value {
    json!({
        "bridgebot": bot,
        "protocol": { "id": "irc", "displayname": "IRC" },
        "network": { "id": network.as_str(), "displayname": name },
        "channel": { "id": channel.to_ascii_lowercase(), "displayname": channel },
    })
}

/// What gets through to IRC of what a client may offer: 2 as it is, 1 in another form, 0 not as such, but as plain text,
/// -1 not at all, -2 not, and its sender is told. `max_lines`: the longest message in lines, [`usize::MAX`] for any.
#[must_use]
pub fn room_features(max_lines: usize) -> Value {
    let refused = |kinds: &[&str]| -> Map<String, Value> {
        kinds.iter().map(|kind| ((*kind).to_owned(), json!({ "mime_types": { "*/*": -2 } }))).collect()
    };
    let files = ["m.image", "m.video", "m.audio", "m.file", "m.sticker", "org.matrix.msc3245.voice", "fi.mau.gif"];
    let mut features = json!({
        "file": refused(&files),
        "location_message": -2,
        "poll": -2,
        "thread": 0,
        "reply": 0,
        "edit": 1,
        "delete": -1,
        "reaction": -1,
        "read_receipts": false,
        "typing_notifications": false,
    });
    if let Some(longest) = max_lines.checked_mul(TYPICAL_LINE) {
        features["max_text_length"] = json!(longest);
    }
    features
}

/// The content that says what a user is called on a network; empty if they are not on it.
#[must_use]
pub fn nick_state(network: &NetworkId, user: &UserId, nick: Option<&str>) -> Value {
    nick.map_or_else(|| json!({}), |nick| json!({ "network": network.as_str(), "user": user, "nick": nick }))
}

/// What a ghost's profile says of whom it stands for.
#[must_use]
pub fn irc_profile(network: &NetworkId, nick: &str) -> Value {
    json!({ "network": network.as_str(), "nick": nick })
}

/// What a room's `m.room.join_rules` become where not everybody may come into its channel (then by this `rule`), or where
/// everybody may again (without one); `None` if they stay as they are.
///
/// What they were is noted in them, so that whatever happens to the bridge they can be set back. Rules that somebody else
/// has made narrower are theirs, and stay.
#[must_use]
pub fn join_rules(now: Option<&RawValue>, rule: Option<&str>) -> Option<Value> {
    let now: Value = now.and_then(|now| serde_json::from_str(now.get()).ok())?;
    let before = now.get(OPEN).filter(|before| before.is_object());
    match (rule, before) {
        (Some(rule), Some(_)) if now["join_rule"] == rule => None,
        (Some(rule), Some(before)) => Some(json!({ "join_rule": rule, OPEN: before })),
        (Some(rule), None) => (now["join_rule"] == "public").then(|| json!({ "join_rule": rule, OPEN: now })),
        (None, before) => before.cloned(),
    }
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;

    fn net() -> NetworkId {
        "net".parse().unwrap()
    }

    #[test]
    fn r92_each_channel_has_a_key_of_its_own() {
        for (channel, key) in [
            ("#tea", Some("footbridge://irc/net/%23tea")),
            ("##C/D%", Some("footbridge://irc/net/%23%23c%2Fd%25")),
            ("#é", Some("footbridge://irc/net/%23%C3%A9")),
            (&*"#".repeat(90), None),
        ] {
            assert_eq!(channel_state_key(&net(), channel).as_deref(), key);
        }
    }

    #[test]
    fn r82_a_nicks_key_is_for_the_bridge_to_set() {
        let alice = user_id!("@alice:x");
        let key = nick_state_key(&net(), alice).unwrap();
        assert_eq!(key, "net_@alice:x");
        let long = UserId::parse(format!("@{}:x", "a".repeat(250))).unwrap();
        assert_eq!(nick_state_key(&net(), &long), None);
        assert_eq!(
            nick_state(&net(), alice, Some("alice[m]")),
            json!({
                "network": "net", "user": "@alice:x", "nick": "alice[m]",
            })
        );
        assert_eq!(nick_state(&net(), alice, None), json!({}));
    }

    #[test]
    fn r92_what_a_room_says_is_what_the_proposal_asks_for() {
        let info = bridge_info(user_id!("@bot:x"), &net(), "The Net", "#Tea");
        assert_eq!(
            info,
            json!({
                "bridgebot": "@bot:x",
                "protocol": { "id": "irc", "displayname": "IRC" },
                "network": { "id": "net", "displayname": "The Net" },
                "channel": { "id": "#tea", "displayname": "#Tea" },
            })
        );
    }

    #[test]
    fn r93_what_is_longer_than_a_room_says_is_refused() {
        use crate::translate::matrix_to_irc;
        let longest = room_features(5)["max_text_length"].as_u64().unwrap();
        let of = |length: u64| {
            let body = "x".repeat(usize::try_from(length).unwrap());
            let content = serde_json::value::to_raw_value(&json!({ "msgtype": "m.text", "body": body })).unwrap();
            matrix_to_irc::message(&content, 5)
        };
        assert!(of(longest).is_ok() && of(longest + 1).is_err());
        assert_eq!(room_features(usize::MAX)["max_text_length"], Value::Null);
    }

    #[test]
    fn r18_join_rules_follow_the_channel_and_are_set_back() {
        let raw = |value: &Value| serde_json::value::to_raw_value(value).unwrap();
        let set = |now: &Value, rule| join_rules(Some(&raw(now)), rule);
        let (public, invite) = (json!({ "join_rule": "public", "x": 1 }), json!({ "join_rule": "invite" }));
        let closed = set(&public, Some("knock")).unwrap();
        assert_eq!(closed["join_rule"], "knock");
        assert_eq!(set(&closed, Some("knock")), None);
        assert_eq!(set(&set(&closed, Some("invite")).unwrap(), None).as_ref(), Some(&public), "configured otherwise");
        assert_eq!(set(&closed, None).as_ref(), Some(&public));
        assert_eq!(set(&public, None), None);
        // What somebody else has made of them is theirs.
        assert_eq!((set(&invite, Some("knock")), set(&invite, None)), (None, None));
        assert_eq!((join_rules(None, Some("knock")), join_rules(None, None)), (None, None));
        for nonsense in [json!({}), json!({ "join_rule": 7 }), json!({ "join_rule": "invite", OPEN: 7 })] {
            assert_eq!((set(&nonsense, Some("knock")), set(&nonsense, None)), (None, None), "{nonsense}");
        }
    }
}
