//! The last things that a lane does in a room whose bridge has ended: its alias, the power that was given, what the room
//! says of the bridge; then the bot leaves too.

use std::collections::HashMap;

use ruma::{OwnedRoomAliasId, OwnedUserId};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::worker::{Worker, report};
use crate::{bridge::dispatch::Input, matrix::MatrixError};

/// How a room is left.
#[derive(Debug)]
pub(in crate::bridge) struct Farewell {
    /// The alias that leads there for its channel, if one does.
    pub(in crate::bridge) alias: Option<OwnedRoomAliasId>,
    /// What the bot says when it goes.
    pub(in crate::bridge) reason: String,
}

impl Worker {
    /// Takes leave, if the lane was ended. What a homeserver refuses is left as it is; a stop leaves the rest to the next run.
    pub(super) async fn take_leave(&self) {
        let Some(farewell) = self.queue.farewell() else { return };
        let left = self.leave_for_good(&farewell).await;
        if !matches!(left, Err(MatrixError::Stopped)) {
            report(&self.room, "leave a room whose bridge has ended", &left);
            let _ = self.out.core.send(Input::RoomLeft(self.room.clone())).await;
        }
    }

    async fn leave_for_good(&self, farewell: &Farewell) -> Result<(), MatrixError> {
        let out = &self.out;
        if let Some(alias) = &farewell.alias {
            let leads_here = self.ask(|| out.noise.local_aliases(&self.room, None)).await;
            if leads_here.is_ok_and(|aliases| aliases.contains(alias)) {
                let removed = self.ask(|| out.noise.remove_alias(alias)).await;
                self.went_on("take back an alias", removed)?;
            }
        }
        self.queue.ranks(HashMap::new());
        self.set_powers().await;
        let cleaned = self.clean_state().await;
        self.went_on("take back what a room says of its bridge", cleaned)?;
        let left = self.ask(|| out.noise.leave(&self.room, None, Some(&farewell.reason))).await;
        match left {
            // It was shown out before.
            Err(MatrixError::Forbidden { .. } | MatrixError::NotFound { .. }) => Ok(()),
            left => left,
        }
    }

    /// What could not be done keeps nothing else from being done, unless the bridge stops.
    fn went_on(&self, what: &str, result: Result<(), MatrixError>) -> Result<(), MatrixError> {
        if matches!(result, Err(MatrixError::Stopped)) {
            return result;
        }
        report(&self.room, what, &result);
        Ok(())
    }

    /// Takes our bridge out of what the room says of itself, and our ghosts out of its power levels.
    async fn clean_state(&self) -> Result<(), MatrixError> {
        let out = &self.out;
        let state = self.ask(|| out.noise.all_state(&self.room, None)).await?;
        let empty = serde_json::value::to_raw_value(&serde_json::json!({})).expect("a JSON value has a JSON text");
        for (kind, key) in state.iter().filter_map(|event| bridge_info(event, &out.ours.bot)) {
            let cleared = self.ask(|| out.noise.send_state(&self.room, &kind, &key, &empty, None)).await;
            self.went_on("take back what a room says of its bridge", cleared.map(drop))?;
        }
        self.forget_ghosts().await
    }
}

/// Type and key of a state event that says that our bridge is there.
fn bridge_info(event: &RawValue, bot: &OwnedUserId) -> Option<(String, String)> {
    #[derive(Deserialize)]
    struct State {
        #[serde(rename = "type")]
        kind: String,
        #[serde(rename = "state_key")]
        key: String,
        content: Content,
    }
    #[derive(Deserialize)]
    struct Content {
        bridgebot: OwnedUserId,
    }
    let State { kind, key, content } = serde_json::from_str(event.get()).ok()?;
    let ours = content.bridgebot == *bot && matches!(kind.as_str(), "m.bridge" | "uk.half-shot.bridge");
    ours.then_some((kind, key))
}

#[cfg(test)]
mod tests {
    use serde_json::{json, value::to_raw_value};

    use super::*;

    #[test]
    fn only_our_own_bridge_is_taken_back() {
        let bot = ruma::owned_user_id!("@footbridge:x");
        for (kind, content, ours) in [
            ("m.bridge", json!({ "bridgebot": "@footbridge:x" }), true),
            ("uk.half-shot.bridge", json!({ "bridgebot": "@footbridge:x", "protocol": {} }), true),
            ("m.bridge", json!({ "bridgebot": "@other:x" }), false),
            ("m.bridge", json!({}), false),
            ("m.room.topic", json!({ "bridgebot": "@footbridge:x" }), false),
        ] {
            let event = to_raw_value(&json!({ "type": kind, "state_key": "k", "content": content })).unwrap();
            assert_eq!(bridge_info(&event, &bot).is_some(), ours, "{kind} {content}");
        }
    }
}
