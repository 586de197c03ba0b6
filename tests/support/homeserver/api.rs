//! The client-server API of the fake homeserver, as one table from request to answer. It knows no sockets.
//!
//! To add an endpoint, add its row to [`answer`].

use axum::http::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::rooms::{Draft, Room, State};

/// A request that the homeserver refuses, with the spec's error body.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The Matrix error code.
    pub errcode: &'static str,
    /// The text for people.
    pub error: String,
}

impl Refusal {
    /// A refusal with this status, error code and text.
    pub fn new(status: u16, errcode: &'static str, error: impl Into<String>) -> Self {
        Self { status, errcode, error: error.into() }
    }

    /// 403 `M_FORBIDDEN`.
    pub fn forbidden(error: impl Into<String>) -> Self {
        Self::new(403, "M_FORBIDDEN", error)
    }

    /// 404 `M_NOT_FOUND`.
    pub fn not_found(error: impl Into<String>) -> Self {
        Self::new(404, "M_NOT_FOUND", error)
    }

    /// The body of the answer.
    pub fn body(&self) -> Value {
        json!({ "errcode": self.errcode, "error": self.error })
    }
}

/// The query parameters that any endpoint reads.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Query {
    /// The ghost for whom the application service speaks.
    pub user_id: Option<String>,
    /// The time to give to the event, in milliseconds since 1970.
    pub ts: Option<u64>,
    /// The most events to answer with.
    pub limit: Option<usize>,
    /// Where an earlier page of events ended.
    pub from: Option<String>,
    /// `event` for a whole piece of state, not only its content.
    pub format: Option<String>,
    /// The membership to list.
    pub membership: Option<String>,
}

/// One request, decoded.
#[derive(Debug)]
pub struct Call<'a> {
    /// The HTTP method.
    pub method: &'a Method,
    /// The path as sent; a transaction id counts per path.
    pub raw_path: &'a str,
    /// The query.
    pub query: &'a Query,
    /// The body; null if there was none.
    pub body: Value,
    /// Who asks.
    pub caller: &'a str,
    /// True if the application service asks, for itself or for a ghost.
    pub by_appservice: bool,
}

type Answer = Result<Value, Refusal>;

/// Splits a path at its slashes and undoes the percent-encoding of each part.
pub fn segments(path: &str) -> Vec<String> {
    path.trim_start_matches('/').split('/').map(percent_decode).collect()
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match hex {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The alias that this request needs resolved, if any: the homeserver may have to ask the application service for it first.
pub fn alias_to_resolve<'a>(method: &Method, path: &'a [&'a str]) -> Option<&'a str> {
    match (method.as_str(), path) {
        ("POST", ["join", alias]) | ("GET", ["directory", "room", alias]) => {
            Some(alias).filter(|a| a.starts_with('#')).copied()
        }
        _ => None,
    }
}

/// Answers a request to `/_matrix/client/v3/{path}`.
pub fn answer(state: &mut State, call: &Call<'_>, path: &[&str]) -> Answer {
    let user = call.caller;
    let body = &call.body;
    let empty = || Ok(json!({}));
    match (call.method.as_str(), path) {
        ("GET", ["account", "whoami"]) => Ok(json!({ "user_id": user, "is_guest": false })),
        ("POST", ["register"]) => register(state, call),
        ("POST", ["login"]) if call.by_appservice => Err(login_unsupported()),
        ("GET", ["profile", who]) => Ok(Value::Object(profile(state, who)?.clone())),
        ("GET", ["profile", who, field]) => match profile(state, who)?.get(*field) {
            Some(value) => Ok(json!({ *field: value })),
            None => Err(Refusal::not_found("Profile field was not found")),
        },
        ("PUT", ["profile", who, field]) => set_profile_field(state, call, who, field),

        ("POST", ["createRoom"]) => create_room(state, user, body),
        ("GET", ["directory", "room", alias]) => match state.aliases.get(*alias) {
            Some(room) => Ok(json!({ "room_id": room, "servers": [state.server_name] })),
            None => Err(Refusal::not_found(format!("Room alias {alias} not found."))),
        },
        ("PUT", ["directory", "room", alias]) => set_alias(state, call, alias),
        ("DELETE", ["directory", "room", alias]) => match state.aliases.remove(*alias) {
            Some(_) => empty(),
            None => Err(Refusal::not_found(format!("Room alias {alias} not found."))),
        },

        ("GET", ["rooms", room, "aliases"]) => {
            let mut aliases: Vec<&String> =
                state.aliases.iter().filter(|(_, of)| of == room).map(|(alias, _)| alias).collect();
            aliases.sort_unstable();
            Ok(json!({ "aliases": aliases }))
        }
        ("GET", ["joined_rooms"]) => {
            let mut rooms: Vec<&str> =
                state.rooms.values().filter(|room| room.is_joined(user)).map(|room| room.id.as_str()).collect();
            rooms.sort_unstable();
            Ok(json!({ "joined_rooms": rooms }))
        }
        ("POST", ["join", room]) => {
            let id = match state.aliases.get(*room) {
                Some(id) => id.clone(),
                None if room.starts_with('#') => {
                    return Err(Refusal::not_found(format!("Room alias {room} not found.")));
                }
                None => (*room).to_owned(),
            };
            change_membership(state, call, &id, "join", user)
        }
        ("POST", ["knock", room]) => change_membership(state, call, room, "knock", user),
        ("POST", ["rooms", room, "forget"]) => state.room(room).map(|_| json!({})),
        ("POST", ["rooms", room, action @ ("join" | "leave")]) => change_membership(state, call, room, action, user),
        ("POST", ["rooms", room, action @ ("invite" | "kick" | "ban" | "unban")]) => {
            let Some(target) = body["user_id"].as_str() else { return Err(missing("user_id")) };
            change_membership(state, call, room, action, target)
        }
        ("PUT", ["rooms", room, "send", kind, _]) => send(state, call, room, kind, None),
        ("PUT", ["rooms", room, "redact", event, _]) => send(state, call, room, "m.room.redaction", Some(event)),
        // Accepted, and nobody looks at them.
        ("PUT", ["directory", "list", "room", _] | ["rooms", _, "typing", _])
        | ("POST", ["rooms", _, "receipt" | "read_markers", ..]) => empty(),
        ("GET", ["rooms", room, rest @ ..]) => read_room(visible(state, room, user)?, call.query, rest),
        ("PUT", ["rooms", room, "state", kind]) => set_state(state, call, room, kind, ""),
        ("PUT", ["rooms", room, "state", kind, key]) => set_state(state, call, room, kind, key),
        _ => {
            Err(Refusal::new(404, "M_UNRECOGNIZED", format!("Unrecognized request: {} {}", call.method, call.raw_path)))
        }
    }
}

fn missing(key: &str) -> Refusal {
    Refusal::new(400, "M_MISSING_PARAM", format!("Missing params: ['{key}']"))
}

fn login_unsupported() -> Refusal {
    let why = "This server has no legacy login: an application service registers users with inhibit_login";
    Refusal::new(400, "M_APPSERVICE_LOGIN_UNSUPPORTED", why)
}

fn register(state: &mut State, call: &Call<'_>) -> Answer {
    if !call.by_appservice || call.body["type"] != "m.login.application_service" {
        return Err(Refusal::forbidden("Registration has been disabled. Only m.login.application_service is allowed."));
    }
    let Some(localpart) = call.body["username"].as_str() else { return Err(missing("username")) };
    let is_valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._=-/+".contains(&byte);
    if localpart.is_empty() || !localpart.bytes().all(is_valid) {
        let why = "User ID can only contain characters a-z, 0-9, or '=_-./+'";
        return Err(Refusal::new(400, "M_INVALID_USERNAME", why));
    }
    let id = format!("@{localpart}:{}", state.server_name);
    if !state.registration.as_ref().is_some_and(|registration| registration.is_bridge_user(&id)) {
        return Err(Refusal::new(400, "M_EXCLUSIVE", "Invalid user localpart for this application service."));
    }
    if call.body["inhibit_login"] != true {
        return Err(login_unsupported());
    }
    if state.users.contains_key(&id) {
        return Err(Refusal::new(400, "M_USER_IN_USE", "User ID already taken."));
    }
    state.add_user(&id);
    Ok(json!({ "user_id": id, "home_server": state.server_name }))
}

fn profile<'a>(state: &'a State, user: &str) -> Result<&'a Map<String, Value>, Refusal> {
    state.users.get(user).ok_or_else(|| Refusal::not_found("Profile was not found"))
}

fn set_profile_field(state: &mut State, call: &Call<'_>, user: &str, field: &str) -> Answer {
    if user != call.caller {
        return Err(Refusal::forbidden("Cannot set another user's profile"));
    }
    let value = call.body.get(field).cloned().ok_or_else(|| missing(field))?;
    state
        .users
        .get_mut(user)
        .ok_or_else(|| Refusal::not_found("Profile was not found"))?
        .insert(field.to_owned(), value);
    let mut rooms: Vec<String> =
        state.rooms.values().filter(|room| room.is_joined(user)).map(|room| room.id.clone()).collect();
    rooms.sort_unstable();
    for room in rooms {
        let content = state.member_content(user, "join", None);
        state.append(&room, Draft::state(user, "m.room.member", user, content))?;
    }
    Ok(json!({}))
}

fn set_alias(state: &mut State, call: &Call<'_>, alias: &str) -> Answer {
    let Some(room) = call.body["room_id"].as_str() else { return Err(missing("room_id")) };
    check_alias(state, call.by_appservice, alias)?;
    state.room(room)?;
    state.aliases.insert(alias.to_owned(), room.to_owned());
    Ok(json!({}))
}

fn check_alias(state: &State, by_appservice: bool, alias: &str) -> Result<(), Refusal> {
    let owned = state.registration.as_ref().is_some_and(|registration| registration.owns(alias));
    if owned != by_appservice {
        return Err(Refusal::new(
            400,
            "M_EXCLUSIVE",
            "This alias is reserved by an application service, or isn't by this one.",
        ));
    }
    if state.aliases.contains_key(alias) {
        return Err(Refusal::new(409, "M_UNKNOWN", format!("Room alias {alias} already exists")));
    }
    Ok(())
}

fn create_room(state: &mut State, creator: &str, body: &Value) -> Answer {
    let by_appservice = state.registration.as_ref().is_some_and(|registration| registration.is_bridge_user(creator));
    let alias = body["room_alias_name"].as_str().map(|name| format!("#{name}:{}", state.server_name));
    if let Some(alias) = &alias {
        check_alias(state, by_appservice, alias).map_err(|refusal| match refusal.status {
            409 => Refusal::new(400, "M_ROOM_IN_USE", "Room alias already taken"),
            _ => refusal,
        })?;
    }
    let preset = body["preset"]
        .as_str()
        .unwrap_or_else(|| if body["visibility"] == "public" { "public_chat" } else { "private_chat" });
    let invited: Vec<&str> = body["invite"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let additional = body["creation_content"]["additional_creators"].as_array().into_iter().flatten();
    let mut creators = vec![creator.to_owned()];
    creators.extend(additional.filter_map(Value::as_str).map(str::to_owned));
    if preset == "trusted_private_chat" {
        creators.extend(invited.iter().map(|&user| user.to_owned()));
    }

    let id = format!("!room{}", state.fresh());
    state.add_room(&id, creators.clone());
    // A room that can't be made as asked leaves nothing behind.
    if let Err(refusal) = fill_room(state, &id, creator, body, preset, &creators, alias.as_deref(), &invited) {
        state.rooms.remove(&id);
        return Err(refusal);
    }
    if let Some(alias) = alias {
        state.aliases.insert(alias, id.clone());
    }
    Ok(json!({ "room_id": id }))
}

#[expect(clippy::too_many_arguments, reason = "these are the parts of one request, taken apart once")]
fn fill_room(
    state: &mut State,
    id: &str,
    creator: &str,
    body: &Value,
    preset: &str,
    creators: &[String],
    alias: Option<&str>,
    invited: &[&str],
) -> Result<(), Refusal> {
    let mut create = body["creation_content"].as_object().cloned().unwrap_or_default();
    create.insert("room_version".to_owned(), json!("12"));
    if creators.len() > 1 {
        create.insert("additional_creators".to_owned(), json!(creators[1..]));
    }
    let mut levels = json!({
        "users": {}, "users_default": 0, "events_default": 0, "state_default": 50,
        "ban": 50, "kick": 50, "redact": 50, "invite": 0,
        "events": { "m.room.power_levels": 100, "m.room.history_visibility": 100, "m.room.tombstone": 150 },
    });
    for (key, value) in body["power_level_content_override"].as_object().into_iter().flatten() {
        levels[key] = value.clone();
    }
    let join_rule = if preset == "public_chat" { "public" } else { "invite" };
    let mut set =
        |kind: &str, key: &str, content: Value| state.append(id, Draft::state(creator, kind, key, content)).map(|_| ());
    set("m.room.create", "", Value::Object(create))?;
    set("m.room.member", creator, json!({ "membership": "join" }))?;
    set("m.room.power_levels", "", levels)?;
    set("m.room.join_rules", "", json!({ "join_rule": join_rule }))?;
    set("m.room.history_visibility", "", json!({ "history_visibility": "shared" }))?;
    for event in body["initial_state"].as_array().into_iter().flatten() {
        let Some(kind) = event["type"].as_str() else { return Err(missing("type")) };
        set(kind, event["state_key"].as_str().unwrap_or_default(), event["content"].clone())?;
    }
    if let Some(alias) = alias {
        set("m.room.canonical_alias", "", json!({ "alias": alias }))?;
    }
    for (key, kind) in [("name", "m.room.name"), ("topic", "m.room.topic")] {
        if !body[key].is_null() {
            set(kind, "", json!({ key: body[key] }))?;
        }
    }
    for user in invited {
        let mut content = state.member_content(user, "invite", None);
        if body["is_direct"] == true {
            content["is_direct"] = json!(true);
        }
        state.append(id, Draft::state(creator, "m.room.member", user, content))?;
    }
    Ok(())
}

fn change_membership(state: &mut State, call: &Call<'_>, room: &str, action: &str, target: &str) -> Answer {
    let membership = match action {
        "kick" | "unban" => "leave",
        other => other,
    };
    if action == "unban" && state.room(room)?.membership(target) != Some("ban") {
        return Err(Refusal::forbidden("Cannot unban user who was not banned."));
    }
    if action == "kick" && !matches!(state.room(room)?.membership(target), Some("join" | "invite" | "knock")) {
        return Err(Refusal::forbidden("The target user is not in the room"));
    }
    let content = state.member_content(target, membership, call.body.get("reason"));
    state.append(room, Draft { ts: call.query.ts, ..Draft::state(call.caller, "m.room.member", target, content) })?;
    Ok(json!({ "room_id": room }))
}

/// Sends an event once per transaction id.
///
/// As on Synapse, the id counts per path and application service and *not* per ghost: a second ghost that uses the same id is
/// answered with the first one's event, and its own is lost.
fn send(state: &mut State, call: &Call<'_>, room: &str, kind: &str, redacts: Option<&str>) -> Answer {
    let owner = if call.by_appservice { "appservice" } else { call.caller };
    let once = format!("{owner} {}", call.raw_path);
    if let Some(event) = state.sent.get(&once) {
        return Ok(json!({ "event_id": event }));
    }
    let mut content = object(&call.body)?;
    if let Some(event) = redacts {
        content["redacts"] = json!(event);
    }
    let draft =
        Draft { sender: call.caller.to_owned(), kind: kind.to_owned(), state_key: None, content, ts: call.query.ts };
    let event = state.append(room, draft)?;
    state.sent.insert(once, event.clone());
    Ok(json!({ "event_id": event }))
}

fn set_state(state: &mut State, call: &Call<'_>, room: &str, kind: &str, key: &str) -> Answer {
    let content = object(&call.body)?;
    let event = state.append(room, Draft { ts: call.query.ts, ..Draft::state(call.caller, kind, key, content) })?;
    Ok(json!({ "event_id": event }))
}

fn object(body: &Value) -> Answer {
    if body.is_object() {
        Ok(body.clone())
    } else {
        Err(Refusal::new(400, "M_BAD_JSON", "Content must be a JSON object."))
    }
}

/// The room, if the user may look into it.
fn visible<'a>(state: &'a State, room: &str, user: &str) -> Result<&'a Room, Refusal> {
    let room = state.room(room)?;
    match room.membership(user) {
        Some("join" | "leave") => Ok(room),
        _ => Err(Refusal::forbidden(format!("User {user} not in room {}", room.id))),
    }
}

fn read_room(room: &Room, query: &Query, path: &[&str]) -> Answer {
    match path {
        ["state"] => Ok(json!(room.state.values().collect::<Vec<_>>())),
        ["state", kind] => state_of(room, kind, "", query),
        ["state", kind, key] => state_of(room, kind, key, query),
        ["members"] => {
            let members = room.state.iter().filter(|((kind, _), event)| {
                let wanted =
                    query.membership.as_ref().is_none_or(|membership| event.content["membership"] == **membership);
                kind == "m.room.member" && wanted
            });
            Ok(json!({ "chunk": members.map(|(_, event)| event).collect::<Vec<_>>() }))
        }
        ["joined_members"] => {
            let mut joined = Map::new();
            for user in room.members("join") {
                let name = room.content("m.room.member", user).map(|content| content["displayname"].clone());
                joined.insert(user.to_owned(), json!({ "display_name": name }));
            }
            Ok(json!({ "joined": joined }))
        }
        ["event", id] => match room.event(id) {
            Some(event) => Ok(json!(event)),
            None => Err(Refusal::not_found("Event not found.")),
        },
        ["messages"] => {
            // A token says how many events are before it.
            let from = query.from.as_deref().and_then(|token| token.strip_prefix('t')?.parse().ok());
            let from = room.timeline.len().min(from.unwrap_or(usize::MAX));
            let to = from.saturating_sub(query.limit.unwrap_or(10));
            let page: Vec<_> = room.timeline[to..from].iter().rev().collect();
            let end = (to > 0).then(|| format!("t{to}"));
            Ok(json!({ "start": format!("t{from}"), "chunk": page, "end": end }))
        }
        _ => Err(Refusal::new(404, "M_UNRECOGNIZED", "Unrecognized request")),
    }
}

fn state_of(room: &Room, kind: &str, key: &str, query: &Query) -> Answer {
    let event = room.state.get(&(kind.to_owned(), key.to_owned()));
    let event = event.ok_or_else(|| Refusal::not_found("Event not found."))?;
    Ok(if query.format.as_deref() == Some("event") { json!(event) } else { event.content.clone() })
}
