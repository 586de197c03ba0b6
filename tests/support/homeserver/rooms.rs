//! The rooms of the fake homeserver: state, memberships, power, and who hears of an event.
//!
//! The rules are those of room version 12 as far as a bridge meets them: creators have unlimited power and may not be listed in the
//! power levels, and a room id names no server.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Instant,
};

use serde_json::{Map, Value, json};

use super::{api::Refusal, server::internal_error};
use crate::support::{Event, Registration};

/// One room.
#[derive(Debug, Default)]
pub struct Room {
    /// The room's id.
    pub id: String,
    /// Those with unlimited power.
    pub creators: Vec<String>,
    /// The current state, by type and state key.
    pub state: HashMap<(String, String), Arc<Event>>,
    /// All events in order.
    pub timeline: Vec<Arc<Event>>,
    index: HashMap<String, usize>,
    bridge_members: usize,
}

impl Room {
    /// The content of the state event of this type and key.
    pub fn content(&self, kind: &str, key: &str) -> Option<&Value> {
        self.state.get(&(kind.to_owned(), key.to_owned())).map(|event| &event.content)
    }

    /// `join`, `invite`, `ban` or `leave`; nothing if the user never had to do with the room.
    pub fn membership(&self, user: &str) -> Option<&str> {
        self.content("m.room.member", user).and_then(|content| content["membership"].as_str())
    }

    /// True if the user is in the room.
    pub fn is_joined(&self, user: &str) -> bool {
        self.membership(user) == Some("join")
    }

    /// Everyone with this membership, sorted.
    pub fn members(&self, membership: &str) -> Vec<&str> {
        let mut users: Vec<&str> = self
            .state
            .iter()
            .filter(|((kind, _), event)| kind == "m.room.member" && event.content["membership"] == membership)
            .map(|((_, user), _)| user.as_str())
            .collect();
        users.sort_unstable();
        users
    }

    /// The event of this id.
    pub fn event(&self, id: &str) -> Option<&Arc<Event>> {
        self.index.get(id).map(|&at| &self.timeline[at])
    }

    fn power(&self, user: &str) -> i64 {
        if self.creators.iter().any(|creator| creator == user) {
            return i64::MAX;
        }
        let Some(levels) = self.content("m.room.power_levels", "") else { return 0 };
        levels["users"][user].as_i64().or(levels["users_default"].as_i64()).unwrap_or(0)
    }

    fn required(&self, action: &str) -> i64 {
        let default = if action == "invite" { 0 } else { 50 };
        self.content("m.room.power_levels", "").and_then(|levels| levels[action].as_i64()).unwrap_or(default)
    }

    fn required_to_send(&self, kind: &str, is_state: bool) -> i64 {
        let Some(levels) = self.content("m.room.power_levels", "") else { return 0 };
        let default = if is_state {
            levels["state_default"].as_i64().unwrap_or(50)
        } else {
            levels["events_default"].as_i64().unwrap_or(0)
        };
        levels["events"][kind].as_i64().unwrap_or(default)
    }

    /// May this event be sent?
    fn authorise(&self, draft: &Draft) -> Result<(), Refusal> {
        let sender = draft.sender.as_str();
        match (draft.kind.as_str(), &draft.state_key) {
            ("m.room.create", Some(_)) if self.timeline.is_empty() => return Ok(()),
            ("m.room.member", Some(target)) => return self.authorise_membership(sender, target, &draft.content),
            _ => {}
        }
        if !self.is_joined(sender) {
            return Err(Refusal::forbidden(format!("User {sender} not in room {}", self.id)));
        }
        if draft.kind == "m.room.power_levels"
            && let Some(creator) = self.creators.iter().find(|&creator| !draft.content["users"][creator].is_null())
        {
            let problem = format!("Creator user {creator} must not appear in content.users");
            return Err(Refusal::new(400, "M_INVALID_PARAM", problem));
        }
        if draft.kind == "m.room.power_levels" {
            self.authorise_levels(sender, &draft.content)?;
        }
        let own = |id: &str| self.event(id).is_some_and(|event| event.sender == sender);
        let required = match draft.kind.as_str() {
            "m.room.redaction" if !draft.content["redacts"].as_str().is_some_and(own) => self.required("redact"),
            kind => self.required_to_send(kind, draft.state_key.is_some()),
        };
        self.demand(sender, required, &draft.kind)
    }

    /// Nobody gives more power than they have, or takes any from who has as much.
    fn authorise_levels(&self, sender: &str, content: &Value) -> Result<(), Refusal> {
        let power = self.power(sender);
        let empty = Map::new();
        let users = |content: &Value| content["users"].as_object().unwrap_or(&empty).clone();
        let (old, new) = (users(self.content("m.room.power_levels", "").unwrap_or(&Value::Null)), users(content));
        for user in old.keys().chain(new.keys()) {
            let (before, after) = (old.get(user).and_then(Value::as_i64), new.get(user).and_then(Value::as_i64));
            let too_high = before.is_some_and(|before| before >= power && user != sender);
            if before != after && (too_high || after.is_some_and(|after| after > power)) {
                return Err(Refusal::forbidden(format!("{sender} may not change the power of {user}")));
            }
        }
        Ok(())
    }

    fn authorise_membership(&self, sender: &str, target: &str, content: &Value) -> Result<(), Refusal> {
        let now = self.membership(target);
        let refuse = |why: String| Err(Refusal::forbidden(why));
        let outranks = |action| {
            self.demand(sender, self.required(action), action)?;
            if self.power(sender) > self.power(target) {
                Ok(())
            } else {
                Err(Refusal::forbidden(format!("You cannot {action} user {target}.")))
            }
        };
        let new = content["membership"].as_str().unwrap_or_default();
        if !(sender == target || self.is_joined(sender)) {
            return refuse(format!("{sender} not in room {}.", self.id));
        }
        match new {
            "join" if sender != target => refuse("Cannot force another user to join.".to_owned()),
            "join" => {
                let open = self.content("m.room.join_rules", "").is_some_and(|rules| rules["join_rule"] == "public");
                let founding = self.timeline.len() == 1 && self.creators.first().is_some_and(|first| first == sender);
                match now {
                    Some("ban") => refuse(format!("{sender} is banned from the room")),
                    Some("join" | "invite") => Ok(()),
                    _ if open || founding => Ok(()),
                    _ => refuse("You are not invited to this room.".to_owned()),
                }
            }
            "knock" if sender == target => {
                let open = self.content("m.room.join_rules", "").is_some_and(|rules| rules["join_rule"] == "knock");
                match now {
                    Some("ban" | "join" | "invite") => refuse(format!("{sender} can't knock")),
                    _ if open => Ok(()),
                    _ => refuse("This room doesn't support knocking.".to_owned()),
                }
            }
            "invite" => match now {
                Some("join") => refuse(format!("{target} is already in the room.")),
                Some("ban") => refuse(format!("{target} is banned from the room")),
                _ => self.demand(sender, self.required("invite"), "invite"),
            },
            "leave" if sender == target => match now {
                Some("join" | "invite" | "knock") => Ok(()),
                _ => refuse(format!("User {sender} not in room {}", self.id)),
            },
            "leave" => outranks(if now == Some("ban") { "ban" } else { "kick" }),
            "ban" => outranks("ban"),
            other => Err(Refusal::new(400, "M_BAD_JSON", format!("unknown membership `{other}`"))),
        }
    }

    fn demand(&self, user: &str, required: i64, action: &str) -> Result<(), Refusal> {
        let power = self.power(user);
        if power >= required {
            Ok(())
        } else {
            Err(Refusal::forbidden(format!("You don't have permission: `{action}` needs {required}, you have {power}")))
        }
    }
}

/// An event that someone wants to send.
#[derive(Debug)]
pub struct Draft {
    /// Who sends it.
    pub sender: String,
    /// The event type.
    pub kind: String,
    /// The state key of a state event.
    pub state_key: Option<String>,
    /// The content.
    pub content: Value,
    /// The time to give it instead of now, in milliseconds since 1970.
    pub ts: Option<u64>,
}

impl Draft {
    /// A state event.
    pub fn state(sender: &str, kind: &str, key: &str, content: Value) -> Self {
        Self { sender: sender.to_owned(), kind: kind.to_owned(), state_key: Some(key.to_owned()), content, ts: None }
    }
}

/// All that the fake homeserver knows.
#[derive(Debug, Default)]
pub struct State {
    /// The homeserver's name.
    pub server_name: String,
    /// The application service.
    pub registration: Option<Registration>,
    /// The registered users and their profiles.
    pub users: HashMap<String, Map<String, Value>>,
    /// The rooms by id.
    pub rooms: HashMap<String, Room>,
    /// The rooms' ids by alias.
    pub aliases: HashMap<String, String>,
    /// The event that each transaction of a client made.
    pub sent: HashMap<String, String>,
    /// Users who accept every invitation at once.
    pub auto_join: HashSet<String>,
    /// Events that the application service hasn't been given yet.
    pub outbox: VecDeque<Arc<Event>>,
    /// Whether every event that may be sent fails.
    pub stores_nothing: bool,
    /// Who looks at every event as it is taken, and at the room with it.
    pub witness: Option<Witness>,
    last_id: u64,
}

/// Looks at events as they are taken.
pub struct Witness(pub Box<Look>);

/// What a [`Witness`] does.
pub type Look = dyn Fn(&Room, &Event) + Send + Sync;

impl std::fmt::Debug for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Witness")
    }
}

impl State {
    /// A homeserver without rooms, and with one user: the application service's bot.
    pub fn new(registration: &Registration) -> Self {
        let mut state = Self {
            server_name: registration.server_name.clone(),
            registration: Some(registration.clone()),
            ..Self::default()
        };
        state.add_user(&registration.bot());
        state
    }

    /// Registers a user who isn't yet registered.
    pub fn add_user(&mut self, id: &str) {
        self.users.entry(id.to_owned()).or_default();
    }

    /// Makes a room without any event.
    pub fn add_room(&mut self, id: &str, creators: Vec<String>) {
        self.rooms.insert(id.to_owned(), Room { id: id.to_owned(), creators, ..Room::default() });
    }

    /// A number never used before, for ids.
    pub fn fresh(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// The room, if it exists.
    pub fn room(&self, id: &str) -> Result<&Room, Refusal> {
        self.rooms.get(id).ok_or_else(|| Refusal::not_found(format!("Unknown room {id}")))
    }

    fn is_bridge_user(&self, user: &str) -> bool {
        self.registration.as_ref().is_some_and(|registration| registration.is_bridge_user(user))
    }

    /// What a membership event of `user` says besides the membership.
    pub fn member_content(&self, user: &str, membership: &str, reason: Option<&Value>) -> Value {
        let mut content = json!({ "membership": membership });
        if let Some(name) = self.users.get(user).and_then(|profile| profile.get("displayname")) {
            content["displayname"] = name.clone();
        }
        if let Some(reason) = reason.filter(|reason| !reason.is_null()) {
            content["reason"] = reason.clone();
        }
        content
    }

    /// Adds an event to a room if the rules allow it, and answers with its id.
    ///
    /// State that says once more what its sender said makes no new event, as on Synapse.
    pub fn append(&mut self, room_id: &str, draft: Draft) -> Result<String, Refusal> {
        let event_id = format!("$event{}", self.fresh());
        let room = self.room(room_id)?;
        if let Some(key) = &draft.state_key
            && let Some(now) = room.state.get(&(draft.kind.clone(), key.clone()))
            && (&now.sender, &now.content) == (&draft.sender, &draft.content)
        {
            return Ok(now.event_id.clone());
        }
        room.authorise(&draft)?;
        if self.stores_nothing {
            return Err(internal_error());
        }
        let before = draft.state_key.as_deref().and_then(|key| room.content(&draft.kind, key));
        // As on Synapse.
        let unsigned = before.map_or(Value::Null, |content| json!({ "prev_content": content }));
        let was_joined = draft.state_key.as_deref().is_some_and(|user| room.is_joined(user));
        let event = Arc::new(Event {
            event_id: event_id.clone(),
            room_id: room_id.to_owned(),
            sender: draft.sender,
            kind: draft.kind,
            state_key: draft.state_key,
            content: draft.content,
            origin_server_ts: draft.ts.unwrap_or_else(now_ms),
            unsigned,
            taken: Some(Instant::now()),
        });
        let about_bridge_user = self.is_bridge_user(&event.sender)
            || (event.kind == "m.room.member"
                && event.state_key.as_deref().is_some_and(|key| self.is_bridge_user(key)));
        let target_is_bridge_user = event.state_key.as_deref().is_some_and(|key| self.is_bridge_user(key));
        let room = self.rooms.get_mut(room_id).expect("it was found above");
        if let Some(key) = &event.state_key {
            if event.kind == "m.room.member" && target_is_bridge_user {
                let is_joined = event.content["membership"] == "join";
                room.bridge_members += usize::from(is_joined && !was_joined);
                room.bridge_members -= usize::from(was_joined && !is_joined);
            }
            room.state.insert((event.kind.clone(), key.clone()), event.clone());
        }
        room.index.insert(event_id.clone(), room.timeline.len());
        room.timeline.push(event.clone());
        if let Some(Witness(look)) = &self.witness {
            look(room, &event);
        }
        if about_bridge_user || room.bridge_members > 0 {
            self.outbox.push_back(event.clone());
        }
        self.accept_invitation(&event);
        Ok(event_id)
    }

    fn accept_invitation(&mut self, event: &Event) {
        let Some(user) = event.state_key.as_deref().filter(|user| self.auto_join.contains(*user)) else { return };
        if event.is_membership(user, "invite") {
            let user = user.to_owned();
            let content = self.member_content(&user, "join", None);
            self.append(&event.room_id, Draft::state(&user, "m.room.member", &user, content))
                .expect("an invited user may join");
        }
    }
}

/// The time for `origin_server_ts`.
#[expect(clippy::disallowed_methods, reason = "a homeserver stamps its events with the wall clock")]
fn now_ms() -> u64 {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since_1970.ok().and_then(|elapsed| u64::try_from(elapsed.as_millis()).ok()).expect("the clock is after 1970")
}
