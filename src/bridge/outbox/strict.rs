//! What a lane does to keep a strict room strict.

use ruma::UserId;
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::worker::{Worker, notice, report, to_raw};
use crate::{matrix::MatrixError, translate::PowerLevels};

const LEVELS: &str = "m.room.power_levels";
/// How much more power than everybody has is needed to ask somebody in.
const TO_INVITE: i64 = 50;

/// Nobody comes in unasked: the join rules under which that is so.
const BY_INVITATION: [&str; 3] = ["invite", "knock", "private"];

impl Worker {
    /// Puts a Matrix user out, or turns down that they knock, and says why.
    pub(super) async fn show_out(&self, user: &UserId, words: &str, txn: &str) {
        let kick = || self.out.matrix.kick(&self.room, user, Some(words), None);
        let shown_out = self.ask(kick).await;
        report(&self.room, "show somebody out who can't be seen on IRC", &shown_out);
        if matches!(shown_out, Err(MatrixError::Forbidden { .. })) {
            let text = format!(
                "{user} can't be seen on IRC, and the bridge's bot may not remove them. What is said on IRC waits until they \
                 leave."
            );
            let told = self.send(txn, &notice(&text)).await;
            report(&self.room, "say who can't be seen on IRC", &told);
        }
    }

    /// Lets people come in only by a moderator's invitation or knocking, and read only what is said while they are there. Where the bot
    /// can't see to that, what comes from IRC waits, and the room is told.
    pub(super) async fn make_secure(&self) {
        let secure = self.try_secure().await;
        match &secure {
            Ok(()) => self.queue.secured(),
            Err(MatrixError::Stopped) => return,
            Err(error) => {
                let text = format!(
                    "This room is to be strict: nobody may come in, or read back, without being seen on IRC. But the bridge's \
                     bot may not see to that ({}). What is said on IRC waits until it may, or somebody sets the room to \
                     \u{201c}ask to join\u{201d}, its history to \u{201c}since they joined\u{201d}, and lets only \
                     moderators and me invite.",
                    error.words()
                );
                let told = self.send(&format!("fbs{:032x}", rand::random::<u128>()), &notice(&text)).await;
                report(&self.room, "say that the room can't be made strict", &told);
            }
        }
        report(&self.room, "make the room strict", &secure);
    }

    async fn try_secure(&self) -> Result<(), MatrixError> {
        #[derive(Deserialize)]
        struct Rules {
            join_rule: String,
        }
        #[derive(Deserialize)]
        struct History {
            history_visibility: String,
        }
        let rules: Option<Rules> = self.read("m.room.join_rules").await?;
        if !rules.is_some_and(|rules| BY_INVITATION.contains(&rules.join_rule.as_str())) {
            self.set("m.room.join_rules", &json!({ "join_rule": "knock" })).await?;
        }
        let history: Option<History> = self.read("m.room.history_visibility").await?;
        if history.is_none_or(|history| history.history_visibility != "joined") {
            self.set("m.room.history_visibility", &json!({ "history_visibility": "joined" })).await?;
        }
        // Whom anybody asks in could be in before we hear of it.
        let levels = self.ask(|| self.out.matrix.state(&self.room, LEVELS, "", None)).await?;
        if let Some(mut levels) = levels.as_deref().and_then(PowerLevels::read)
            && levels.needed_to_invite() <= levels.of_everybody()
        {
            levels.need_to_invite(levels.of_everybody() + TO_INVITE);
            let content = levels.content();
            self.ask(|| self.out.matrix.send_state(&self.room, LEVELS, "", &content, None)).await?;
        }
        Ok(())
    }

    /// A piece of state, if it is there and can be read.
    async fn read<T: for<'a> Deserialize<'a>>(&self, kind: &str) -> Result<Option<T>, MatrixError> {
        let state: Option<Box<RawValue>> = self.ask(|| self.out.matrix.state(&self.room, kind, "", None)).await?;
        Ok(state.and_then(|state| serde_json::from_str(state.get()).ok()))
    }

    async fn set(&self, kind: &str, content: &serde_json::Value) -> Result<(), MatrixError> {
        let content = to_raw(content);
        self.ask(|| self.out.matrix.send_state(&self.room, kind, "", &content, None)).await.map(drop)
    }
}
