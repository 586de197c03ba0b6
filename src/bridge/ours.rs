//! The bridge's own users on the homeserver, and what they do that is no news.

use ruma::{OwnedUserId, UserId};

use super::event::Event;
use crate::{config::Config, translate::GhostTemplate};

/// Who is ours: the bot, and whoever is in the namespace of a network's ghosts, even if no nick could have that ghost.
#[derive(Debug)]
pub(super) struct Ours {
    pub(super) bot: OwnedUserId,
    ghosts: Vec<GhostTemplate>,
}

impl Ours {
    /// Those of the bridge that is configured so.
    pub(super) fn of(config: &Config) -> Self {
        let ghosts = config.networks.values().map(|network| network.ghosts.localpart.clone());
        Self::new(config.bot_user_id(), ghosts.collect())
    }

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
    pub(super) fn is_no_news(&self, event: &Event<'_>) -> bool {
        let whom = event.state_key.as_deref().and_then(|user| <&UserId>::try_from(user).ok());
        let about_others = event.kind == "m.room.member" && whom.is_some_and(|user| !self.includes(user));
        self.includes(&event.sender) && !about_others
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
            let event = serde_json::json!({
                "event_id": "$1", "room_id": "!r:x", "sender": sender, "type": kind, "state_key": state_key, "content": {},
            });
            ours.is_no_news(&Event::read(&serde_json::value::to_raw_value(&event).unwrap()).unwrap())
        };
        for (sender, own) in [
            ("@footbridge:x", true),
            ("@irc_net_dora:x", true),
            ("@irc_net_:x", true),
            ("@irc_other_dora:x", false),
            ("@irc_net_dora:y", false),
            ("@footbridge:y", false),
            ("@ann:x", false),
        ] {
            assert_eq!(no_news(sender, "m.room.message", None), own, "{sender} speaks");
            assert_eq!(no_news(sender, "m.room.topic", Some("")), own, "{sender} sets the topic");
            assert_eq!(no_news(sender, "m.room.member", Some("@irc_net_eve:x")), own, "{sender} invites a ghost");
            assert_eq!(no_news(sender, "m.room.member", Some("nobody")), own, "{sender} does nonsense");
            assert!(!no_news(sender, "m.room.member", Some("@ann:x")), "{sender} shows Ann out");
        }
    }
}
