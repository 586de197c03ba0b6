//! Who is shown as muted in a room: their power level is less than speaking asks for, for as long as IRC doesn't hear them.
//!
//! Pure: what `m.room.power_levels` becomes, and what has to be remembered to set it right again. Whoever has more power
//! than others here keeps it, as somebody has given it to them; so does a level that was changed since we set it. What counts
//! is what people have by themselves: what they were given for a rank on IRC comes and goes on top of it.

use std::collections::{BTreeMap, HashSet};

use ruma::{OwnedUserId, RoomId};
use serde::{Deserialize, Serialize};

use crate::{
    model::NetworkId,
    store::{Sanction, SanctionKind},
    translate::PowerLevels,
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
    pub(super) levels: Option<PowerLevels>,
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
    levels: Option<PowerLevels>,
    creators: &[OwnedUserId],
    wanted: &Mutes,
    known: Vec<Sanction>,
) -> Change {
    let before = levels.unwrap_or_default();
    let mut levels = before.clone();
    let (needed, default) = (levels.needed_to_speak(), levels.of_everybody());
    let (mut change, mut muted) = (Change::default(), HashSet::new());
    for sanction in known {
        let user = &sanction.user;
        let set: Option<Level> = serde_json::from_str(&sanction.detail).ok();
        let now = levels.own(user);
        if wanted.contains_key(user) {
            // Unless we were stopped before it was done, it is.
            if let Some(Level { set, .. }) = set.filter(|set| now == set.before) {
                levels.set_own(user, Some(set));
            }
            muted.insert(sanction.user);
            continue;
        }
        if let Some(Level { before, .. }) = set.filter(|set| now == Some(set.set)) {
            levels.set_own(user, before);
        }
        change.lifted.push(sanction);
    }
    for (user, cause) in wanted {
        let own = levels.own(user);
        let now = own.unwrap_or(default);
        if muted.contains(user) || creators.contains(user) || now > default || now < needed {
            continue;
        }
        let set = needed.saturating_sub(1);
        levels.set_own(user, Some(set));
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
    change.levels = (levels != before).then_some(levels);
    change
}

#[cfg(test)]
mod tests {
    use ruma::{UserId, room_id, user_id};
    use serde_json::{Value, json, value::to_raw_value};

    use super::*;

    fn read(levels: &Value) -> Option<PowerLevels> {
        PowerLevels::read(&to_raw_value(levels).unwrap())
    }

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
            let (levels, muted) = (read(&levels), read(&muted));
            let on = change(room_id!("!r:x"), levels.clone(), &creators, &all, Vec::new());
            assert_eq!(on.levels, muted);
            // Nothing more is to be done, whatever else the reason is now; also after a stop between the two.
            let again = change(room_id!("!r:x"), muted.clone(), &creators, &all, on.imposed.clone());
            assert_eq!(again, Change::default());
            let stopped = change(room_id!("!r:x"), levels.clone(), &creators, &all, on.imposed.clone());
            assert_eq!(stopped.levels, muted);
            let off = change(room_id!("!r:x"), muted, &creators, &wanted(&[]), on.imposed.clone());
            assert_eq!((off.levels, off.lifted), (levels, on.imposed));
        }
    }

    #[test]
    fn what_somebody_else_has_set_since_stays() {
        let ann = user_id!("@ann:x");
        let on = change(room_id!("!r:x"), read(&json!({ "users": {} })), &[], &wanted(&[ann]), Vec::new());
        let raised = read(&json!({ "users": { "@ann:x": 50 } }));
        assert_eq!(
            change(room_id!("!r:x"), raised.clone(), &[], &wanted(&[ann]), on.imposed.clone()),
            Change::default()
        );
        let off = change(room_id!("!r:x"), raised, &[], &wanted(&[]), on.imposed.clone());
        assert_eq!((off.levels, off.lifted), (None, on.imposed));
    }

    #[test]
    fn a_room_without_levels_or_with_nonsense_is_survived() {
        let ann = user_id!("@ann:x");
        for levels in [None, Some(json!(7)), Some(json!({ "users": 7 })), Some(json!({ "events": [] }))] {
            let levels = levels.as_ref().and_then(read);
            let on = change(room_id!("!r:x"), levels, &[], &wanted(&[ann]), Vec::new());
            assert_eq!(on.levels.unwrap().of(ann), -1);
        }
        assert_eq!(change(room_id!("!r:x"), None, &[], &wanted(&[]), Vec::new()), Change::default());
    }

    #[test]
    fn a_rank_and_a_mute_leave_each_other_be() {
        let (room, ann) = (room_id!("!r:x"), user_id!("@ann:x"));
        for own in [json!({}), json!({ "@ann:x": 0 }), json!({ "@mod:x": 50 })] {
            let before = read(&json!({ "users": own })).unwrap();
            for mute_first in [true, false] {
                let mute = |levels: &mut PowerLevels, on: bool, known: &mut Vec<Sanction>| {
                    let users: &[&UserId] = if on { &[ann] } else { &[] };
                    let change = change(room, Some(levels.clone()), &[], &wanted(users), known.clone());
                    *levels = change.levels.unwrap_or_else(|| levels.clone());
                    known.retain(|sanction| !change.lifted.contains(sanction));
                    known.extend(change.imposed);
                };
                let (mut levels, mut known) = (before.clone(), Vec::new());
                mute(&mut levels, true, &mut known);
                for rank in [1, 50] {
                    // They are given the rank, and are heard; in either order.
                    if mute_first {
                        mute(&mut levels, false, &mut known);
                    }
                    levels.give(ann, rank);
                    mute(&mut levels, false, &mut known);
                    // Whom somebody has silenced no rank lifts; once they are heard again, ranks are looked at anew.
                    levels.give(ann, rank);
                    assert_eq!((levels.of(ann), known.len()), (rank, 0));
                    // It is taken from them.
                    if mute_first {
                        mute(&mut levels, true, &mut known);
                    }
                    levels.give(ann, 0);
                    mute(&mut levels, true, &mut known);
                    assert_eq!((levels.of(ann), known.len(), levels.given().count()), (-1, 1, 0));
                    levels.give(ann, 0);
                    assert_eq!(levels.of(ann), -1, "whoever has no rank stays muted");
                }
                mute(&mut levels, false, &mut known);
                assert_eq!((levels, known.len()), (before.clone(), 0));
            }
        }
    }
}
