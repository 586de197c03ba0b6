//! Who has how much power in a room (`m.room.power_levels`), beside what the bridge gives for ranks on IRC.
//!
//! What somebody was given, and what they had by themselves, is noted in the event itself: whatever happens to the
//! bridge, it can be taken back, and what an admin changes meanwhile counts as theirs. Anybody may write such a note who may
//! change the levels: it counts only where it is known to be ours ([`PowerLevels::disown`]).
//! <https://spec.matrix.org/v1.18/client-server-api/#mroompower_levels>

use ruma::{OwnedUserId, UserId};
use serde_json::{
    Map, Value,
    value::{RawValue, to_raw_value},
};

/// Where the event says what was given, by user. Numbers, and none of them deeper: Synapse copies the event when a room is
/// replaced, and fails over anything else.
const GIVEN: &str = "footbridge.given";
/// And what they had before, if they were named.
const BEFORE: &str = "footbridge.before";

/// The content of `m.room.power_levels`, and what is made of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PowerLevels(Map<String, Value>);

impl PowerLevels {
    /// Reads an event's content; `None` if it is no object.
    #[must_use]
    pub fn read(content: &RawValue) -> Option<Self> {
        serde_json::from_str(content.get()).ok().map(Self)
    }

    /// Leaves out what is noted as given, but for what `ours` notes too, word for word.
    pub fn disown(&mut self, ours: Option<&Self>) {
        let noted = |levels: &Self, user: &str| [GIVEN, BEFORE].map(|table| levels.0.get(table)?.get(user).cloned());
        let is_ours = |user: &String| {
            ours.is_some_and(|ours| noted(ours, user)[0].is_some() && noted(ours, user) == noted(self, user))
        };
        let kept: Vec<String> = self.given().map(ToOwned::to_owned).filter(is_ours).collect();
        for table in [GIVEN, BEFORE] {
            let users = self.0.remove(table);
            let users = users.iter().filter_map(Value::as_object).flatten();
            let users: Map<String, Value> = users
                .filter(|(user, _)| kept.contains(user))
                .map(|(user, level)| (user.clone(), level.clone()))
                .collect();
            if !users.is_empty() {
                self.0.insert(table.to_owned(), Value::Object(users));
            }
        }
    }

    /// The content to send.
    ///
    /// # Panics
    /// Never: what was read from JSON is JSON.
    #[must_use]
    pub fn content(&self) -> Box<RawValue> {
        to_raw_value(&self.0).expect("a JSON value has a JSON text")
    }

    /// The power of somebody who isn't a creator.
    #[must_use]
    pub fn of(&self, user: &UserId) -> i64 {
        self.named(user).unwrap_or_else(|| self.default())
    }

    /// The power needed for a piece of state.
    #[must_use]
    pub fn needed(&self, event_type: &str) -> i64 {
        let own = self.0.get("events").and_then(|events| events.get(event_type)).and_then(level);
        own.or_else(|| self.0.get("state_default").and_then(level)).unwrap_or(50)
    }

    /// The power needed to say something.
    #[must_use]
    pub fn needed_to_speak(&self) -> i64 {
        let default = self.0.get("events_default").and_then(level).unwrap_or(0);
        let message = self.0.get("events").and_then(|events| events.get("m.room.message")).and_then(level);
        message.map_or(default, |message| message.min(default))
    }

    /// The power needed to ask somebody in.
    #[must_use]
    pub fn needed_to_invite(&self) -> i64 {
        self.0.get("invite").and_then(level).unwrap_or(0)
    }

    /// Lets only those ask somebody in who have so much power.
    pub fn need_to_invite(&mut self, level: i64) {
        self.0.insert("invite".to_owned(), level.into());
    }

    /// What everybody has who isn't named.
    #[must_use]
    pub fn of_everybody(&self) -> i64 {
        self.default()
    }

    /// Everybody who is named.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.0.get("users").and_then(Value::as_object).into_iter().flat_map(Map::keys).map(String::as_str)
    }

    /// Everybody who was given something.
    pub fn given(&self) -> impl Iterator<Item = &str> {
        self.0.get(GIVEN).and_then(Value::as_object).into_iter().flat_map(Map::keys).map(String::as_str)
    }

    /// Whether somebody has something only because they were given it.
    #[must_use]
    pub fn was_given(&self, user: &UserId) -> bool {
        self.own(user) != self.named(user)
    }

    /// Lets somebody have at least this power, whatever they have by themselves; 0 takes back what they were given. Who has
    /// less than everybody has been silenced by a person, and stays so.
    pub fn give(&mut self, user: &UserId, wanted: i64) {
        let own = self.own(user);
        let keeps =
            wanted <= own.unwrap_or_else(|| self.default()).max(0) || own.is_some_and(|own| own < self.default());
        self.name(user, if keeps { own } else { Some(wanted) });
        self.put(GIVEN, user, (!keeps).then_some(wanted));
        self.put(BEFORE, user, own.filter(|_| !keeps));
    }

    /// Takes back what everybody was given who was given the least; false if nobody was given anything.
    pub fn take_back_lowest(&mut self) -> bool {
        let given: Vec<OwnedUserId> = self.given().filter_map(|user| user.try_into().ok()).collect();
        let Some(lowest) = given.iter().map(|user| self.of(user)).min() else { return false };
        for user in &given {
            if self.of(user) == lowest {
                self.give(user, 0);
            }
        }
        true
    }

    /// Takes somebody out, and what they were given.
    pub fn forget(&mut self, user: &UserId) {
        self.name(user, None);
        self.put(GIVEN, user, None);
        self.put(BEFORE, user, None);
    }

    /// Lets somebody have this by themselves. What they were given they keep.
    pub fn set_own(&mut self, user: &UserId, own: Option<i64>) {
        let given = self.named(user).filter(|_| self.was_given(user));
        self.put(GIVEN, user, None);
        self.put(BEFORE, user, None);
        self.name(user, own);
        if let Some(given) = given {
            self.give(user, given);
        }
    }

    /// What somebody has by themselves, if they are named.
    #[must_use]
    pub fn own(&self, user: &UserId) -> Option<i64> {
        let (now, given) = (self.named(user), self.entry(GIVEN, user));
        if given.is_some() && given == now { self.entry(BEFORE, user) } else { now }
    }

    fn named(&self, user: &UserId) -> Option<i64> {
        self.entry("users", user)
    }

    fn entry(&self, table: &str, user: &UserId) -> Option<i64> {
        self.0.get(table).and_then(|users| users.get(user.as_str())).and_then(level)
    }

    fn default(&self) -> i64 {
        self.0.get("users_default").and_then(level).unwrap_or(0)
    }

    fn name(&mut self, user: &UserId, level: Option<i64>) {
        if self.named(user) != level {
            self.put("users", user, level);
        }
    }

    fn put(&mut self, table: &str, user: &UserId, level: Option<i64>) {
        if let Some(level) = level {
            let entry = self.0.entry(table).or_insert_with(|| Value::Object(Map::new()));
            if !entry.is_object() {
                *entry = Value::Object(Map::new());
            }
            if let Some(users) = entry.as_object_mut() {
                users.insert(user.as_str().to_owned(), level.into());
            }
        } else if let Some(Value::Object(users)) = self.0.get_mut(table) {
            users.remove(user.as_str());
            if users.is_empty() && table != "users" {
                self.0.remove(table);
            }
        }
    }
}

/// A level; rooms of old versions may have it as text.
fn level(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ruma::user_id;
    use serde_json::json;

    use super::*;

    fn levels(content: &Value) -> PowerLevels {
        PowerLevels::read(&to_raw_value(content).unwrap()).unwrap()
    }

    #[test]
    fn r54_what_was_given_is_taken_back_and_own_power_is_kept() {
        let alice = user_id!("@alice:x");
        // (their own power, what is given in turn, what they have then)
        for (own, wanted, expected) in [
            (None, vec![50], 50),
            (None, vec![50, 1], 1),
            (None, vec![1, 50, 0], 0),
            (Some(100), vec![50], 100),
            (Some(100), vec![50, 0], 100),
            (Some(25), vec![50, 0], 25),
            (Some(25), vec![50, 1], 25),
            (Some(50), vec![50, 0], 50),
            (Some(-1), vec![1], -1),
            (Some(-1), vec![50, 0], -1),
        ] {
            let mut before = levels(&json!({ "users": { "@root:x": 100 }, "events": { "m.room.name": 30 } }));
            before.name(alice, own);
            let mut after = before.clone();
            for wanted in &wanted {
                after.give(alice, *wanted);
            }
            assert_eq!(after.of(alice), expected, "{own:?} {wanted:?}");
            assert_eq!(after.of(user_id!("@root:x")), 100);
            after.give(alice, 0);
            assert_eq!(after, before, "nothing is left of it");
        }
    }

    #[test]
    fn r54_what_an_admin_does_meanwhile_counts_as_theirs() {
        let alice = user_id!("@alice:x");
        for admin in [Some(100), Some(10), None] {
            let mut levels = levels(&json!({ "users": {} }));
            levels.give(alice, 50);
            levels.name(alice, admin);
            levels.give(alice, 0);
            assert_eq!((levels.named(alice), levels.given().count()), (admin, 0));
        }
    }

    #[test]
    fn r54_a_note_that_is_not_ours_gives_and_takes_nothing() {
        let (me, admin) = (user_id!("@me:x"), user_id!("@admin:x"));
        let forged = levels(&json!({
            "users": { "@me:x": 50, "@admin:x": 75 },
            "footbridge.given": { "@me:x": 50, "@admin:x": 75 },
            "footbridge.before": { "@me:x": 100, "@admin:x": 0 },
        }));
        let mut after = forged.clone();
        after.disown(None);
        after.give(me, 0);
        after.give(admin, 0);
        assert_eq!((after.of(me), after.of(admin), after.given().count()), (50, 75, 0));
        // What we wrote ourselves stays ours when others change something else.
        let mut ours = levels(&json!({ "users": {} }));
        ours.give(me, 50);
        let mut edited = ours.clone();
        edited.put(GIVEN, admin, Some(75));
        edited.disown(Some(&ours));
        assert_eq!(edited.given().collect::<Vec<_>>(), ["@me:x"]);
        // With another past, it isn't.
        let mut altered = edited.clone();
        altered.put(BEFORE, me, Some(100));
        altered.disown(Some(&ours));
        assert_eq!(altered.given().count(), 0);
        edited.give(me, 0);
        assert_eq!(edited.of(me), 0);
        let mut odd = levels(&json!({ "footbridge.given": 7 }));
        odd.disown(Some(&ours));
        assert_eq!(odd.given().count(), 0);
    }

    #[test]
    fn r91_what_is_noted_does_not_keep_a_room_from_being_replaced() {
        let mut levels = levels(&json!({ "users": { "@a:x": 10 } }));
        levels.give(user_id!("@a:x"), 50);
        levels.give(user_id!("@b:x"), 50);
        let noted = json!({
            "users": { "@a:x": 50, "@b:x": 50 },
            "footbridge.given": { "@a:x": 50, "@b:x": 50 },
            "footbridge.before": { "@a:x": 10 },
        });
        assert_eq!(Value::Object(levels.0), noted, "numbers by user, which homeservers can copy");
    }

    #[test]
    fn levels_are_read_as_homeservers_have_them() {
        let levels = levels(&json!({
            "users": { "@a:x": "75", "@b:x": 10 }, "users_default": 5, "state_default": "60", "events": { "m.a": 70 },
        }));
        let of = |user: &str| levels.of(<&UserId>::try_from(user).unwrap());
        assert_eq!((of("@a:x"), of("@b:x"), of("@c:x")), (75, 10, 5));
        assert_eq!((levels.needed("m.a"), levels.needed("m.b")), (70, 60));
        assert_eq!(levels.users().count(), 2);
        assert!(PowerLevels::read(&to_raw_value(&json!([])).unwrap()).is_none());
    }

    #[test]
    fn r54_where_there_are_too_many_those_go_without_that_have_least() {
        let (op, voices) = (user_id!("@op:x"), [user_id!("@a:x"), user_id!("@b:x")]);
        let mut levels = levels(&json!({ "users": { "@root:x": 100 } }));
        levels.give(op, 50);
        for user in voices {
            levels.give(user, 1);
        }
        assert!(levels.take_back_lowest());
        assert_eq!((levels.of(op), levels.users().count(), levels.given().count()), (50, 2, 1));
        assert!(levels.take_back_lowest() && !levels.take_back_lowest());
        assert_eq!(levels.users().collect::<Vec<_>>(), ["@root:x"]);
    }

    #[test]
    fn hostile_content_is_replaced_where_it_stands_in_the_way() {
        let mut levels = levels(&json!({ "users": 7, "footbridge.given": [] }));
        levels.give(user_id!("@a:x"), 50);
        assert_eq!(levels.of(user_id!("@a:x")), 50);
        levels.give(user_id!("@a:x"), 0);
        assert_eq!(levels.of(user_id!("@a:x")), 0);
    }

    proptest! {
        #[test]
        fn r54_whatever_is_given_in_whatever_order_nothing_is_left(
            own in proptest::option::of(-5_i64..101), wanted in proptest::collection::vec(0_i64..100, 0..8),
        ) {
            let alice = user_id!("@alice:x");
            let mut before = levels(&json!({ "users": {} }));
            before.name(alice, own);
            let mut after = before.clone();
            for level in wanted {
                after.give(alice, level);
                let silenced = own.is_some_and(|own| own < 0);
                let kept = own.unwrap_or(0);
                prop_assert_eq!(after.of(alice), if silenced || level == 0 { kept } else { level.max(kept) });
            }
            after.give(alice, 0);
            // Less than nothing is their own too.
            prop_assert_eq!(after.own(alice), own);
        }
    }
}
