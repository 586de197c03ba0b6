//! Who may not be on IRC by way of this bridge: users and servers on the lists that the operator follows
//! ([policy rooms](https://spec.matrix.org/v1.18/client-server-api/#moderation-policy-lists)), and servers that a room
//! denies (`m.room.server_acl`).
//!
//! Nobody listed gets a puppet, and whoever has one loses it at once. No puppet is opened before the lists are read.

use std::collections::{HashMap, HashSet};

use ruma::{OwnedRoomId, RoomId, ServerName, UserId};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{dispatch::Core, event::Event};
use crate::model::{Failure, Fate, LinkId, NetworkId, Reason, glob};

/// Whom a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    User,
    Server,
    Room,
}

impl Kind {
    /// By an event's type, today's or an older one.
    fn of(event_type: &str) -> Option<Self> {
        let kind = ["m.policy.rule.", "m.room.rule.", "org.matrix.mjolnir.rule."]
            .iter()
            .find_map(|prefix| event_type.strip_prefix(prefix))?;
        match kind {
            "user" => Some(Self::User),
            "server" => Some(Self::Server),
            "room" => Some(Self::Room),
            _ => None,
        }
    }
}

/// Entities, and patterns of them.
#[derive(Debug, Default)]
struct Entities {
    plain: HashSet<String>,
    globs: Vec<String>,
}

impl Entities {
    fn insert(&mut self, entity: String) {
        if entity.contains(['*', '?']) {
            self.globs.push(entity);
        } else {
            self.plain.insert(entity);
        }
    }

    fn has(&self, entity: &str) -> bool {
        self.plain.contains(entity) || self.globs.iter().any(|pattern| glob(pattern, entity, |a, b| a == b))
    }
}

/// Names an event of a list: its type and its key.
type RuleKey = (String, String);

/// All lists.
#[derive(Debug, Default)]
pub(super) struct Policies {
    /// What each list says.
    lists: HashMap<OwnedRoomId, HashMap<RuleKey, (Kind, String)>>,
    /// The same, to be looked up.
    users: Entities,
    servers: Entities,
    rooms: Entities,
    /// Whether some lists have yet to be read.
    waiting: bool,
}

impl Policies {
    /// Lists that are still to be read, if there are any to follow.
    pub(super) fn new(any: bool) -> Self {
        Self { waiting: any, ..Self::default() }
    }

    /// Whether all lists have been read, as far as they can be.
    pub(super) fn are_read(&self) -> bool {
        !self.waiting
    }

    /// Whether a room is one of the lists.
    fn is_list(&self, room: &RoomId) -> bool {
        self.lists.contains_key(room)
    }

    /// Whether a user may not be on IRC.
    pub(super) fn exclude(&self, user: &UserId) -> bool {
        let name = user.server_name();
        let (server, host) = (name.as_str().to_ascii_lowercase(), name.host().to_ascii_lowercase());
        let folded = format!("@{}:{server}", user.localpart());
        self.users.has(&folded) || self.servers.has(&server) || self.servers.has(&host)
    }

    /// Whether a room may not be bridged.
    pub(super) fn exclude_room(&self, room: &RoomId) -> bool {
        self.rooms.has(room.as_str())
    }

    /// This is all of a list.
    fn read(&mut self, room: OwnedRoomId, events: &[Box<RawValue>]) {
        #[derive(Deserialize)]
        struct State {
            r#type: String,
            #[serde(rename = "state_key")]
            key: String,
            content: Box<RawValue>,
        }
        let events = events.iter().filter_map(|event| serde_json::from_str::<State>(event.get()).ok());
        let rules = events.filter_map(|event| {
            let rule = rule(&event.r#type, &event.content)?;
            Some(((event.r#type, event.key), rule))
        });
        self.lists.insert(room, rules.collect());
        self.index();
    }

    /// An event of a list.
    fn change(&mut self, event: &Event<'_>) {
        let (Some(list), Some(key)) = (self.lists.get_mut(&event.room_id), &event.state_key) else { return };
        let place = (event.kind.to_string(), key.to_string());
        match rule(&event.kind, event.content) {
            Some(rule) => drop(list.insert(place, rule)),
            None => drop(list.remove(&place)),
        }
        self.index();
    }

    fn index(&mut self) {
        (self.users, self.servers, self.rooms) = Default::default();
        for (kind, entity) in self.lists.values().flat_map(HashMap::values) {
            match kind {
                Kind::User => &mut self.users,
                Kind::Server => &mut self.servers,
                Kind::Room => &mut self.rooms,
            }
            .insert(entity.clone());
        }
    }
}

/// Whom an event bans, if it is a rule that does.
fn rule(event_type: &str, content: &RawValue) -> Option<(Kind, String)> {
    #[derive(Deserialize)]
    struct Rule {
        entity: String,
        recommendation: String,
    }
    let kind = Kind::of(event_type)?;
    let rule: Rule = serde_json::from_str(content.get()).ok()?;
    if !matches!(rule.recommendation.as_str(), "m.ban" | "org.matrix.mjolnir.ban") {
        return None;
    }
    // Servers' names have no case; users' do.
    let entity = match (kind, rule.entity.rsplit_once(':')) {
        (Kind::Server, _) => rule.entity.to_ascii_lowercase(),
        (Kind::User, Some((local, server))) => format!("{local}:{}", server.to_ascii_lowercase()),
        _ => rule.entity,
    };
    Some((kind, entity))
}

/// Which servers a room denies ([server ACLs](https://spec.matrix.org/v1.18/client-server-api/#server-access-control-lists-acls-for-rooms)).
#[derive(Debug, Default, Deserialize)]
pub(super) struct Acl {
    #[serde(default)]
    allow: Vec<String>,
    #[serde(default)]
    deny: Vec<String>,
    #[serde(default)]
    allow_ip_literals: Option<bool>,
}

impl Acl {
    /// Reads the content of a room's ACL; `None` if there is none, or none that makes sense.
    pub(super) fn read(content: &RawValue) -> Option<Self> {
        serde_json::from_str(content.get()).ok()
    }

    /// Whether users of a server are denied.
    pub(super) fn denies(&self, server: &ServerName) -> bool {
        let is_on =
            |list: &[String]| list.iter().any(|entry| glob(entry, server.host(), |a, b| a.eq_ignore_ascii_case(&b)));
        let denied_address = self.allow_ip_literals == Some(false) && server.is_ip_literal();
        denied_address || is_on(&self.deny) || !is_on(&self.allow)
    }
}

/// Who has no part in a room's conversation.
#[derive(Debug, Default)]
pub(super) struct Denied {
    /// By their servers.
    pub(super) servers: Option<Acl>,
    /// Everybody: a list of what may not be bridged has the room.
    pub(super) all: bool,
}

impl Denied {
    pub(super) fn includes(&self, user: &UserId) -> bool {
        self.all || self.servers.as_ref().is_some_and(|acl| acl.denies(user.server_name()))
    }
}

impl Core {
    /// An event in a list. False if it is in another room.
    pub(super) async fn on_policy(&mut self, event: &Event<'_>) -> bool {
        if !self.policies.is_list(&event.room_id) {
            return false;
        }
        if Kind::of(&event.kind).is_some() {
            self.policies.change(event);
            self.show_out_listed().await;
        }
        true
    }

    /// Lists were read; `all`: no other is to be waited for.
    pub(super) async fn on_policies(&mut self, read: Option<(OwnedRoomId, Vec<Box<RawValue>>)>, all: bool) {
        if let Some((room, events)) = read {
            tracing::info!(policy.room = %room, "a list of who may not be on IRC is followed");
            self.policies.read(room, &events);
        }
        self.show_out_listed().await;
        if all && !self.policies.are_read() {
            self.policies.waiting = false;
            let greeted: Vec<NetworkId> =
                self.networks.values().filter(|network| network.greeted).map(|network| network.id.clone()).collect();
            for network in greeted {
                self.open_waiting(&network).await;
            }
        }
    }

    /// Takes the puppets of those who are listed off IRC, and everybody of a room that is.
    async fn show_out_listed(&mut self) {
        let rooms =
            self.directory.rooms.iter_mut().filter(|(id, room)| self.policies.exclude_room(id) != room.denied.all);
        let mut changed = Vec::new();
        for (id, room) in rooms {
            room.denied.all = !room.denied.all;
            tracing::warn!(portal.room = %id, listed = room.denied.all, "a room is on a list of what may not be bridged, or isn't any more");
            changed.push(id.clone());
        }
        for id in changed {
            self.forget_denied(&id, "the room is banned from the bridge").await;
        }
        let is_listed = |link: &&LinkId| link.user().is_some_and(|user| self.policies.exclude(user));
        let listed: Vec<LinkId> = self.puppets.links.keys().filter(is_listed).cloned().collect();
        for link in listed {
            tracing::info!(link.id = %link, "a puppet is closed: its user is on a list");
            for command in self.puppets.give_up(&link) {
                self.on_fate(command, Fate::Failed(Failure::certain(Reason::Listed))).await;
            }
            self.pool.cut(&link, "banned from the bridge");
        }
    }

    /// What a room says of the servers that it denies has changed.
    pub(super) async fn on_server_acl(&mut self, event: &Event<'_>) {
        if let Some(room) = self.directory.rooms.get_mut(&event.room_id) {
            room.denied.servers = Acl::read(event.content);
            self.forget_denied(&event.room_id, "its server is banned from the room").await;
        }
    }

    /// Lets those leave whom a room denies now. Where it denies nobody of its members, others may be welcome again.
    async fn forget_denied(&mut self, room: &RoomId, reason: &str) {
        let Some(room) = self.directory.rooms.get_mut(room) else { return };
        let denied: Vec<_> = room.members.keys().filter(|user| room.denies(user)).cloned().collect();
        let channels = room.channels.clone();
        let gone: Vec<_> = denied.iter().filter(|user| room.leaves_out(user)).collect();
        for user in gone {
            room.went(user);
        }
        if denied.is_empty() {
            // Whom it may have left out before is asked for.
            room.entering();
            room.lane.invited();
        }
        for user in denied {
            self.leave_channels(&channels, &user, Some(reason)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use ruma::server_name;
    use serde_json::{json, value::to_raw_value};

    use super::*;

    fn event(kind: &str, key: &str, content: &serde_json::Value) -> Box<RawValue> {
        let event = json!({
            "event_id": "$1", "room_id": "!list:x", "sender": "@a:x", "type": kind, "state_key": key, "content": content,
        });
        to_raw_value(&event).unwrap()
    }

    fn ban(kind: &str, entity: &str) -> Box<RawValue> {
        event(kind, entity, &json!({ "entity": entity, "recommendation": "m.ban", "reason": "spam" }))
    }

    fn listed(policies: &Policies, user: &str) -> bool {
        policies.exclude(&UserId::parse(user).unwrap())
    }

    #[test]
    fn r49_users_and_servers_are_listed_by_all_kinds_of_rules() {
        let mut policies = Policies::new(true);
        policies.read(
            "!list:x".try_into().unwrap(),
            &[
                ban("m.policy.rule.user", "@Spam:EVIL.example"),
                ban("m.room.rule.user", "@spam*:*.example"),
                ban("m.policy.rule.server", "Bad.Example"),
                ban("org.matrix.mjolnir.rule.server", "*.worse.example"),
                event("m.policy.rule.server", "x", &json!({ "entity": "*", "recommendation": "m.warn" })),
                event("m.policy.rule.user", "y", &json!({ "recommendation": "m.ban" })),
                event("m.policy.rule.user", "z", &json!({})),
                event("m.room.member", "@a:x", &json!({ "entity": "*", "recommendation": "m.ban" })),
                ban("m.policy.rule.room", "!r:x"),
                to_raw_value("nonsense").unwrap(),
            ],
        );
        for (user, expected) in [
            ("@Spam:evil.example", true),
            ("@spam:evil.example", true),
            ("@SPAM:good.org", false),
            ("@spammer:good.example", true),
            ("@ann:bad.example", true),
            ("@ann:BAD.example:8448", true),
            ("@ann:not.bad.example", false),
            ("@ann:even.worse.example", true),
            ("@ann:worse.example", false),
            ("@ann:good.org", false),
        ] {
            assert_eq!(listed(&policies, user), expected, "{user}");
        }
        assert!(
            policies.exclude_room("!r:x".try_into().unwrap()) && !policies.exclude_room("!s:x".try_into().unwrap())
        );
        // A rule ends when it is emptied or redacted; another with the same key of another type stays.
        let end = event("m.policy.rule.server", "Bad.Example", &json!({}));
        policies.change(&Event::read(&end).unwrap());
        assert!(!listed(&policies, "@ann:bad.example") && listed(&policies, "@ann:even.worse.example"));
    }

    #[test]
    fn r49_ten_thousand_rules_ban_exactly_those() {
        let mut rules: Vec<_> = (0..10_000).map(|n| ban("m.policy.rule.user", &format!("@user{n}:x"))).collect();
        rules.extend((0..100).map(|n| ban("m.policy.rule.server", &format!("*.bad{n}.example"))));
        let mut policies = Policies::new(true);
        policies.read("!list:x".try_into().unwrap(), &rules);
        let begun = Instant::now();
        let hit = (0..20_000).filter(|n| listed(&policies, &format!("@user{n}:x"))).count();
        assert_eq!(hit, 10_000, "in {:?}", begun.elapsed());
        assert!(listed(&policies, "@a:b.bad7.example") && !listed(&policies, "@a:bad7.example"));
    }

    #[test]
    fn acls_deny_as_the_specification_says() {
        let acl = |content: serde_json::Value| Acl::read(&to_raw_value(&content).unwrap());
        let both =
            acl(json!({ "allow": ["*"], "deny": ["*.evil.example", "bad.example"], "allow_ip_literals": false }))
                .unwrap();
        for (server, denied) in [
            (server_name!("good.example"), false),
            (server_name!("Very.EVIL.example"), true),
            (server_name!("bad.example:8448"), true),
            (server_name!("1.2.3.4"), true),
            (server_name!("[::1]:8448"), true),
        ] {
            assert_eq!(both.denies(server), denied, "{server}");
        }
        assert!(acl(json!({})).unwrap().denies(server_name!("good.example")), "allows nobody");
        assert!(acl(json!({ "allow": 7 })).is_none() && acl(json!(7)).is_none());
    }
}
