//! What has to be known of a room before it is bridged or its bridge ended: who asks, how many there are, and whether
//! another bridge is there.

use std::{collections::HashSet, time::Duration};

use ruma::{RoomId, UserId};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    bridge::{delivery::Origin, ours::Ours},
    matrix::{MatrixApi, MatrixError},
    translate::PowerLevels,
};

/// How long the homeserver may take to tell of a room.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bots of bridges to IRC, by the local parts of their ids, that say nothing of themselves in a room's state.
const KNOWN_BOTS: &[&str] = &["appservice-irc", "heisenbridge"];

/// Why a room is looked at.
#[derive(Debug)]
pub(in crate::bridge) enum Check {
    /// The request of this code is to be judged.
    Plumb(String),
    /// Its bridge is to end, as this command says.
    Unplumb(Origin),
}

/// What a room is like.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::bridge) struct RoomFacts {
    /// Whether who asks may set state there.
    pub(in crate::bridge) may: bool,
    /// How many people are in it, ours not counted.
    pub(in crate::bridge) people: usize,
    /// Another bridge that is in it now.
    pub(in crate::bridge) other_bridge: Option<String>,
}

/// Looks at `room` for `user`.
///
/// # Errors
/// Why it could not be seen, in words.
pub(in crate::bridge) async fn look(
    matrix: &dyn MatrixApi,
    room: &RoomId,
    user: &UserId,
    ours: &Ours,
) -> Result<RoomFacts, String> {
    let look = async {
        let creators = matrix.creators(room, None).await?;
        let state = matrix.all_state(room, None).await?;
        Ok::<_, MatrixError>((creators, state))
    };
    match tokio::time::timeout(PATIENCE, look).await {
        Ok(Ok((creators, state))) => {
            let mut facts = read(&state, user, ours);
            facts.may |= creators.iter().any(|creator| creator == user);
            Ok(facts)
        }
        Ok(Err(error)) => Err(error.words().to_owned()),
        Err(_) => Err("the homeserver takes too long to answer".to_owned()),
    }
}

#[derive(Deserialize)]
struct StateEvent<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    state_key: String,
    sender: String,
    #[serde(borrow)]
    content: &'a RawValue,
}

#[derive(Deserialize)]
struct BridgeInfo {
    #[serde(default)]
    bridgebot: Option<String>,
    #[serde(default)]
    protocol: Option<serde_json::Value>,
    /// In `m.room.bridging`, an older form.
    #[serde(default)]
    status: Option<String>,
}

/// Reads a room's state. Creators of newer rooms aren't in it as such.
fn read(state: &[Box<RawValue>], user: &UserId, ours: &Ours) -> RoomFacts {
    #[derive(Deserialize)]
    struct Membership {
        membership: String,
    }
    let events: Vec<StateEvent<'_>> = state.iter().filter_map(|event| serde_json::from_str(event.get()).ok()).collect();
    let joined = |event: &&StateEvent<'_>| {
        event.kind == "m.room.member"
            && serde_json::from_str::<Membership>(event.content.get()).is_ok_and(|member| member.membership == "join")
    };
    let members: HashSet<&UserId> =
        events.iter().filter(joined).filter_map(|event| <&UserId>::try_from(&*event.state_key).ok()).collect();
    let levels = events.iter().find(|event| event.kind == "m.room.power_levels" && event.state_key.is_empty());
    let may = match levels.map(|event| PowerLevels::read(event.content)) {
        Some(levels) => levels.is_some_and(|levels| levels.of(user) >= levels.needed("m.bridge")),
        // Without power levels it is the room's creator's.
        None => events.iter().any(|event| event.kind == "m.room.create" && event.sender == *user),
    };
    let stated = events.iter().filter_map(|event| {
        let info: BridgeInfo = serde_json::from_str(event.content.get()).ok()?;
        let bot = match event.kind.as_str() {
            "m.bridge" | "uk.half-shot.bridge" if info.protocol.is_some() || info.bridgebot.is_some() => {
                info.bridgebot.unwrap_or_else(|| event.sender.clone())
            }
            "m.room.bridging" if info.status.as_deref() == Some("success") => event.sender.clone(),
            _ => return None,
        };
        // What a bridge that is gone has left behind bridges nothing.
        let bot = <&UserId>::try_from(&*bot).ok().filter(|bot| !ours.includes(bot) && members.contains(bot))?;
        Some(bot.to_string())
    });
    let known = members.iter().filter(|member| !ours.includes(member) && KNOWN_BOTS.contains(&member.localpart()));
    let other_bridge = stated.chain(known.map(ToString::to_string)).next();
    let people = members.iter().filter(|member| !ours.includes(member)).count();
    RoomFacts { may, people, other_bridge }
}

#[cfg(test)]
mod tests {
    use ruma::{owned_user_id, user_id};
    use serde_json::{Value, json, value::to_raw_value};

    use super::*;
    use crate::translate::GhostTemplate;

    fn facts(events: &[(&str, &str, &str, Value)]) -> RoomFacts {
        let ghosts = GhostTemplate::new("irc_{network}_{nick}", &"net".parse().unwrap()).unwrap();
        let ours = Ours::new(owned_user_id!("@footbridge:x"), vec![ghosts]);
        let event = |(kind, key, sender, content): &(&str, &str, &str, Value)| {
            to_raw_value(&json!({ "type": kind, "state_key": key, "sender": sender, "content": content })).unwrap()
        };
        read(&events.iter().map(event).collect::<Vec<_>>(), user_id!("@ann:x"), &ours)
    }

    fn member(user: &'static str, membership: &str) -> (&'static str, &'static str, &'static str, Value) {
        ("m.room.member", user, user, json!({ "membership": membership }))
    }

    #[test]
    fn people_are_counted_without_ours() {
        let facts = facts(&[
            member("@ann:x", "join"),
            member("@bob:x", "join"),
            member("@eve:x", "leave"),
            member("@cid:x", "invite"),
            member("@footbridge:x", "join"),
            member("@irc_net_dora:x", "join"),
        ]);
        assert_eq!((facts.people, facts.other_bridge), (2, None));
    }

    #[test]
    fn who_may_set_state_may_plumb() {
        for (content, may) in [
            (json!({ "users": { "@ann:x": 50 } }), true),
            (json!({ "users": { "@ann:x": 49 } }), false),
            (json!({ "users": { "@ann:x": 50 }, "state_default": 100 }), false),
            (json!({ "users": { "@ann:x": 50 }, "state_default": 100, "events": { "m.bridge": 50 } }), true),
            (json!({ "users_default": 50 }), true),
            (json!({}), false),
            (json!("nonsense"), false),
        ] {
            assert_eq!(facts(&[("m.room.power_levels", "", "@bob:x", content.clone())]).may, may, "{content}");
        }
        assert!(facts(&[("m.room.create", "", "@ann:x", json!({}))]).may, "before anybody has set levels");
        assert!(!facts(&[("m.room.create", "", "@bob:x", json!({}))]).may);
    }

    #[test]
    fn r36_another_bridge_counts_while_it_is_there() {
        let bridge = |bot: &str| json!({ "bridgebot": bot, "protocol": { "id": "irc" } });
        for (kind, content, members, found) in [
            ("m.bridge", bridge("@other:y"), &["@other:y"][..], true),
            ("uk.half-shot.bridge", bridge("@other:y"), &["@other:y"], true),
            // It has left, and so have its 500 ghosts or not.
            ("m.bridge", bridge("@other:y"), &["@irc_old:y"], false),
            ("m.bridge", json!({}), &["@other:y"], false),
            ("m.bridge", bridge("@footbridge:x"), &["@footbridge:x"], false),
            ("m.bridge", json!({ "protocol": {} }), &["@other:y"], true),
            ("m.room.bridging", json!({ "status": "success" }), &["@other:y"], true),
            ("m.room.bridging", json!({ "status": "failure" }), &["@other:y"], false),
            ("m.room.topic", json!({ "status": "success" }), &["@other:y"], false),
            ("m.room.topic", json!({}), &["@heisenbridge:y"], true),
        ] {
            let mut events = vec![(kind, "key", "@other:y", content.clone())];
            events.extend(members.iter().map(|user| member(user, "join")));
            assert_eq!(facts(&events).other_bridge.is_some(), found, "{kind} {content} {members:?}");
        }
    }
}
