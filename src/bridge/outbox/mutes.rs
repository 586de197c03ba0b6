//! Who is shown as muted in a room: their power level is less than speaking asks for, for as long as IRC doesn't hear them.
//!
//! Pure: what `m.room.power_levels` becomes, and what has to be remembered to set it right again. Whoever has more power
//! than others here keeps it, as somebody has given it to them; so does a level that was changed since we set it.

use std::collections::BTreeMap;

use ruma::{OwnedUserId, RoomId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    model::NetworkId,
    store::{Sanction, SanctionKind},
};

/// Who is to be muted, and why.
pub(in crate::bridge) type Mutes = BTreeMap<OwnedUserId, Cause>;

/// Why somebody can't be heard on IRC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::bridge) struct Cause {
    pub(in crate::bridge) network: NetworkId,
    pub(in crate::bridge) channel: String,
    /// The mode, or the entry of a list with it: `+m`, `+q *!*@host`.
    pub(in crate::bridge) mode: String,
}

/// What is to be done.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Change {
    /// The power levels, if they change.
    pub(super) levels: Option<Value>,
    /// To be remembered before.
    pub(super) imposed: Vec<Sanction>,
    /// To be forgotten afterwards.
    pub(super) lifted: Vec<Sanction>,
}

/// A power level before and after.
#[derive(Debug, Serialize, Deserialize)]
struct Level {
    before: Option<i64>,
    set: i64,
}

/// What makes those of `wanted` muted and nobody else, where `known` is what was done before. `creators` can't be demoted.
pub(super) fn change(
    room: &RoomId,
    levels: Option<Value>,
    creators: &[OwnedUserId],
    wanted: &Mutes,
    known: Vec<Sanction>,
) -> Change {
    let mut content = levels.filter(Value::is_object).unwrap_or_else(|| json!({}));
    let needed = needed(&content);
    let default = level(&content["users_default"]).unwrap_or(0);
    let before = content.clone();
    if !content["users"].is_object() {
        content["users"] = json!({});
    }
    let mut change = Change::default();
    let Some(users) = content["users"].as_object_mut() else { return change };
    for sanction in known {
        let set: Option<Level> = serde_json::from_str(&sanction.detail).ok();
        let now = users.get(sanction.user.as_str()).and_then(level);
        match (wanted.contains_key(&sanction.user), set) {
            // We were stopped before it was done.
            (true, Some(Level { before, set })) if now == before => put(users, &sanction.user, Some(set)),
            (true, _) => {}
            (false, set) => {
                if let Some(Level { before, set }) = set
                    && now == Some(set)
                {
                    put(users, &sanction.user, before);
                }
                change.lifted.push(sanction);
                continue;
            }
        }
        change.imposed.push(sanction);
    }
    let muted: Vec<OwnedUserId> = change.imposed.drain(..).map(|sanction| sanction.user).collect();
    for (user, cause) in wanted {
        let own = users.get(user.as_str()).and_then(level);
        let now = own.unwrap_or(default);
        if muted.contains(user) || creators.contains(user) || now > default || now < needed {
            continue;
        }
        let set = needed.saturating_sub(1);
        put(users, user, Some(set));
        change.imposed.push(Sanction {
            kind: SanctionKind::Mute,
            room: room.to_owned(),
            user: user.clone(),
            network: cause.network.clone(),
            channel: cause.channel.clone(),
            cause: cause.mode.clone(),
            detail: serde_json::to_string(&Level { before: own, set }).unwrap_or_default(),
        });
    }
    if users.is_empty() && before["users"].is_null() {
        content.as_object_mut().map(|content| content.remove("users"));
    }
    change.levels = (content != before).then_some(content);
    change
}

/// The level that whoever speaks must have.
fn needed(content: &Value) -> i64 {
    let default = level(&content["events_default"]).unwrap_or(0);
    level(&content["events"]["m.room.message"]).map_or(default, |message| message.min(default))
}

/// A power level. In old rooms it may be written as a text.
fn level(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
}

fn put(users: &mut Map<String, Value>, user: &UserId, level: Option<i64>) {
    match level {
        Some(level) => drop(users.insert(user.to_string(), json!(level))),
        None => drop(users.remove(user.as_str())),
    }
}

#[cfg(test)]
mod tests {
    use ruma::{room_id, user_id};

    use super::*;

    fn wanted(users: &[&UserId]) -> Mutes {
        let cause = Cause { network: "net".parse().unwrap(), channel: "#a".into(), mode: "+m".into() };
        users.iter().map(|user| ((*user).to_owned(), cause.clone())).collect()
    }

    #[test]
    fn who_is_muted_can_speak_again_as_before() {
        let [ann, bob, mod_, creator] =
            [user_id!("@ann:x"), user_id!("@bob:x"), user_id!("@mod:x"), user_id!("@creator:x")];
        for (levels, muted) in [
            (json!({ "users": { "@mod:x": 50 } }), json!({ "users": { "@mod:x": 50, "@ann:x": -1, "@bob:x": -1 } })),
            (
                json!({ "users": { "@bob:x": -5, "@ann:x": 0, "@mod:x": "7" } }),
                json!({ "users": { "@bob:x": -5, "@ann:x": -1, "@mod:x": "7" } }),
            ),
            (
                json!({ "users_default": 10, "events_default": 10, "users": { "@mod:x": 11 } }),
                json!({ "users_default": 10, "events_default": 10, "users": { "@mod:x": 11, "@ann:x": 9, "@bob:x": 9 } }),
            ),
            (
                json!({ "events_default": 50, "events": { "m.room.message": 0 }, "users": { "@mod:x": 1 } }),
                json!({ "events_default": 50, "events": { "m.room.message": 0 }, "users": { "@mod:x": 1, "@ann:x": -1, "@bob:x": -1 } }),
            ),
        ] {
            let all = wanted(&[ann, bob, mod_, creator]);
            let creators = [creator.to_owned()];
            let on = change(room_id!("!r:x"), Some(levels.clone()), &creators, &all, Vec::new());
            assert_eq!(on.levels, Some(muted.clone()));
            // Nothing more is to be done, whatever else the reason is now; also after a stop between the two.
            let again = change(room_id!("!r:x"), Some(muted.clone()), &creators, &all, on.imposed.clone());
            assert_eq!(again, Change::default());
            let stopped = change(room_id!("!r:x"), Some(levels.clone()), &creators, &all, on.imposed.clone());
            assert_eq!(stopped.levels, Some(muted.clone()));
            let off = change(room_id!("!r:x"), Some(muted), &creators, &wanted(&[]), on.imposed.clone());
            assert_eq!((off.levels, off.lifted), (Some(levels), on.imposed));
        }
    }

    #[test]
    fn what_somebody_else_has_set_since_stays() {
        let ann = user_id!("@ann:x");
        let on = change(room_id!("!r:x"), Some(json!({ "users": {} })), &[], &wanted(&[ann]), Vec::new());
        let raised = json!({ "users": { "@ann:x": 50 } });
        assert_eq!(
            change(room_id!("!r:x"), Some(raised.clone()), &[], &wanted(&[ann]), on.imposed.clone()),
            Change::default()
        );
        let off = change(room_id!("!r:x"), Some(raised), &[], &wanted(&[]), on.imposed.clone());
        assert_eq!((off.levels, off.lifted), (None, on.imposed));
    }

    #[test]
    fn a_room_without_levels_or_with_nonsense_is_survived() {
        let ann = user_id!("@ann:x");
        for levels in [None, Some(json!(7)), Some(json!({ "users": 7 })), Some(json!({ "events": [] }))] {
            let on = change(room_id!("!r:x"), levels, &[], &wanted(&[ann]), Vec::new());
            assert_eq!(on.levels.unwrap()["users"]["@ann:x"], -1);
        }
        assert_eq!(change(room_id!("!r:x"), None, &[], &wanted(&[]), Vec::new()), Change::default());
    }
}
