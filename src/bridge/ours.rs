//! The bridge's own users on the homeserver, and what they do that is no news.

use std::borrow::Cow;

use ruma::{OwnedUserId, UserId};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::translate::GhostTemplate;

/// Who is ours: the bot, and whoever is in the namespace of a network's ghosts, even if no nick could have that ghost.
#[derive(Debug)]
pub(super) struct Ours {
    pub(super) bot: OwnedUserId,
    ghosts: Vec<GhostTemplate>,
}

/// As much of an event as tells whose doing it is.
#[derive(Deserialize)]
struct Doing<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    sender: Cow<'a, str>,
    #[serde(borrow, default)]
    state_key: Option<Cow<'a, str>>,
}

impl Ours {
    /// The bot, and all users on its homeserver that one of these templates claims.
    pub(super) fn new(bot: OwnedUserId, ghosts: Vec<GhostTemplate>) -> Self {
        Self { bot, ghosts }
    }

    /// Whether `user` is ours.
    pub(super) fn includes(&self, user: &UserId) -> bool {
        *user == self.bot
            || user.server_name() == self.bot.server_name()
                && self.ghosts.iter().any(|ghost| ghost.claims(user.localpart()))
    }

    /// Whether an event is our own doing and nothing follows from it: the homeserver sends us all that our ghosts say.
    /// Whom we showed out because IRC did has left like anybody else, so memberships of others do count.
    pub(super) fn is_no_news(&self, event: &RawValue) -> bool {
        let Ok(doing) = serde_json::from_str::<Doing<'_>>(event.get()) else { return false };
        let is_ours = |user: &str| <&UserId>::try_from(user).ok().map(|user| self.includes(user));
        let about_others =
            doing.kind == "m.room.member" && doing.state_key.and_then(|user| is_ours(&user)) == Some(false);
        is_ours(&doing.sender) == Some(true) && !about_others
    }
}

#[cfg(test)]
mod tests {
    use ruma::owned_user_id;

    use super::*;

    #[test]
    fn what_we_do_ourselves_is_no_news_unless_it_happens_to_somebody_else() {
        let ghosts = GhostTemplate::new("irc_{network}_{nick}", &"net".parse().unwrap()).unwrap();
        let ours = Ours::new(owned_user_id!("@footbridge:x"), vec![ghosts]);
        let no_news = |sender: &str, kind: &str, state_key: Option<&str>| {
            let event = serde_json::json!({ "sender": sender, "type": kind, "state_key": state_key, "content": {} });
            ours.is_no_news(&serde_json::value::to_raw_value(&event).unwrap())
        };
        for (sender, own) in [
            ("@footbridge:x", true),
            ("@irc_net_dora:x", true),
            ("@irc_net_:x", true),
            ("@irc_other_dora:x", false),
            ("@irc_net_dora:y", false),
            ("@footbridge:y", false),
            ("@ann:x", false),
            ("irc_net_dora", false),
        ] {
            assert_eq!(no_news(sender, "m.room.message", None), own, "{sender} speaks");
            assert_eq!(no_news(sender, "m.room.topic", Some("")), own, "{sender} sets the topic");
            assert_eq!(no_news(sender, "m.room.member", Some("@irc_net_eve:x")), own, "{sender} invites a ghost");
            assert_eq!(no_news(sender, "m.room.member", Some("nobody")), own, "{sender} does nonsense");
            assert!(!no_news(sender, "m.room.member", Some("@ann:x")), "{sender} shows Ann out");
        }
        for nonsense in ["{}", "[]", "7", r#"{"sender":7,"type":"m.room.message"}"#] {
            let event = RawValue::from_string(nonsense.to_owned()).unwrap();
            assert!(!ours.is_no_news(&event), "{nonsense} is for the dispatcher to complain of");
        }
    }
}
