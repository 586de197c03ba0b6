//! A network as the bridge sees it: its configuration made ready, and what its server said of itself.

use std::{sync::Arc, time::Duration};

use ruma::{OwnedServerName, RoomAliasId, UserId};

use super::{ghosts::Ghost, splits::Splits};
use crate::{
    config,
    irc::pool::protocol::{Limits, LinkSpec, NetworkSpec, SaslPlain, Sealed, TlsSpec},
    model::{Folded, Isupport, LinkId, Members, Millis, NetworkId, Source},
};

/// One configured network.
pub(super) struct Network {
    pub(super) id: NetworkId,
    pub(super) config: config::Network,
    pub(super) bot: LinkId,
    /// From the bot's connection, this time or the last.
    pub(super) isupport: Arc<Isupport>,
    /// Whether the server has told of itself, or isn't waited for: who its users are depends on its limits.
    pub(super) greeted: bool,
    /// The bot's user name (ident), which no puppet has.
    pub(super) bot_username: String,
    /// Whether the bot is on the network, and why it isn't.
    pub(super) bot_state: BotState,
    pub(super) splits: Splits,
    server: OwnedServerName,
}

/// What the bot does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BotState {
    /// It is on the network.
    On,
    /// It isn't; in words.
    Off(String),
}

impl Network {
    /// Makes a network ready. `isupport` is what the server said last time, if it is known; `bot_username` what the
    /// store made of [`bot_username_base`].
    pub(super) fn new(
        id: NetworkId,
        config: config::Network,
        server: OwnedServerName,
        isupport: Option<Isupport>,
        bot_username: String,
    ) -> Self {
        Self {
            bot: LinkId::bot(id.clone()),
            greeted: isupport.is_some(),
            isupport: Arc::new(isupport.unwrap_or_default()),
            bot_username,
            bot_state: BotState::Off("it has not connected yet".into()),
            splits: Splits::default(),
            id,
            config,
            server,
        }
    }

    /// What its links have in common. `ca_pem` is the text of the configured `tls_ca`.
    pub(super) fn spec(&self, ca_pem: Option<String>) -> NetworkSpec {
        NetworkSpec {
            network: self.id.clone(),
            servers: self.config.servers.iter().map(ToString::to_string).collect(),
            tls: self.config.tls.then_some(TlsSpec { ca_pem }),
            encoding: self.config.encoding.name().to_owned(),
            password: self.config.password.as_ref().map(|password| Sealed::new(password.expose())),
            limits: Limits {
                connects_per_minute: self.config.limits.connects_per_minute,
                line_burst: self.config.limits.line_burst,
                lines_per_second: self.config.limits.lines_per_second,
                queue: self.queue(),
            },
        }
    }

    /// The bot's link.
    pub(super) fn bot_spec(&self) -> LinkSpec {
        let config = &self.config.bot;
        LinkSpec {
            link: self.bot.clone(),
            nick: config.nick.clone(),
            alternatives: (1..=3)
                .map(|n| self.config.puppets.nick.alternative(&config.nick, n, self.nicklen()))
                .collect(),
            nick_end: String::new(),
            username: self.bot_username.clone(),
            realname: config.realname.clone(),
            sasl: config
                .sasl
                .as_ref()
                .map(|sasl| SaslPlain { account: sasl.account.clone(), password: Sealed::new(sasl.password.expose()) }),
            channels: Vec::new(),
        }
    }

    /// Which ghosts the configuration wants in the rooms of a channel, if it says.
    pub(super) fn members(&self, channel: &str) -> Option<Members> {
        let folded = self.fold(channel);
        let plumb = self.config.plumbs.iter().find(|plumb| self.fold(&plumb.channel) == folded);
        plumb.and_then(|plumb| plumb.members).or(self.config.portals.members)
    }

    /// The comparable form of a nick or channel.
    pub(super) fn fold(&self, name: &str) -> Folded {
        self.isupport.casemapping.fold(name)
    }

    /// The ghost of somebody on IRC; `None` if its id would be longer than Matrix allows.
    pub(super) fn ghost(&self, nick: &str) -> Option<Arc<Ghost>> {
        let folded = self.fold(nick);
        let user = self.config.ghosts.localpart.user_id(&folded, &self.server)?;
        let display_name = self.config.ghosts.display_name.display_name(nick);
        let (network, nick) = (self.id.clone(), nick.to_owned());
        Some(Arc::new(Ghost { network, nick, folded, user, display_name, unseen: false }))
    }

    /// The ghost of [`Self::ghost`] for a nick of which it isn't known how its owner writes it.
    pub(super) fn unseen_ghost(&self, nick: &Folded) -> Option<Arc<Ghost>> {
        self.ghost(nick.as_str()).map(|ghost| Arc::new(Ghost { unseen: true, ..Ghost::clone(&ghost) }))
    }

    /// The ghost of [`Self::ghost`] for a line's source.
    pub(super) fn ghost_of(&self, source: &Source) -> Option<Arc<Ghost>> {
        self.ghost(&source.nick)
    }

    /// The nick whose ghost `user` is.
    pub(super) fn nick_of(&self, user: &UserId) -> Option<Folded> {
        self.config.ghosts.localpart.parse_id(user, &self.server, self.isupport.casemapping)
    }

    /// The channel for which an alias stands.
    pub(super) fn channel_of(&self, alias: &RoomAliasId) -> Option<Folded> {
        self.config.portals.alias.parse_alias(alias, &self.server, &self.isupport)
    }

    /// The alias of a channel.
    pub(super) fn alias_of(&self, channel: &Folded) -> Option<ruma::OwnedRoomAliasId> {
        self.config.portals.alias.alias(channel, &self.server)
    }

    /// Things to say that may wait in one link: what it could say before they are too old.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a small range")]
    pub(super) fn queue(&self) -> u32 {
        let (rate, seconds) = (self.config.limits.lines_per_second, self.config.puppets.message_max_age_seconds);
        if rate <= 0.0 || seconds == 0 {
            return QUEUE.1 as u32;
        }
        (rate * f64::from(seconds)).clamp(QUEUE.0, QUEUE.1) as u32
    }

    /// How old a message may be and still be sent (R4).
    pub(super) fn max_age(&self) -> Millis {
        match self.config.puppets.message_max_age_seconds {
            0 => Millis::MAX,
            seconds => Millis::from(seconds) * 1000,
        }
    }

    /// How long a strict room waits for one of its readers, if so many are on their way.
    pub(super) fn patience(&self, absent: usize) -> Duration {
        let patience = Duration::from_secs(self.config.portals.privacy_patience_seconds.into());
        // That many come back after a restart only as fast as the network lets them is nobody's fault.
        match self.config.limits.connects_per_minute {
            0 => patience,
            connects => patience + Duration::from_secs(60 * absent as u64 / u64::from(connects)),
        }
    }

    /// How long those stay whom the network has lost.
    pub(super) fn split_hold(&self) -> Millis {
        Millis::from(self.config.ghosts.netsplit_hold_seconds) * 1000
    }

    /// How many lines a message may have.
    pub(super) fn max_lines(&self) -> usize {
        match self.config.puppets.max_lines {
            0 => usize::MAX,
            lines => lines as usize,
        }
    }

    /// The longest nick to make, where the server did not say.
    pub(super) fn nicklen(&self) -> usize {
        self.isupport.nicklen.unwrap_or(DEFAULT_NICKLEN)
    }

    /// The longest real name to make, where the server did not say: what Solanum, UnrealIRCd and OFTC allow.
    pub(super) fn namelen(&self) -> usize {
        self.isupport.namelen.unwrap_or(50)
    }
}

/// What the bot's user name (ident) is made of: its nick, as far as that may be one.
pub(super) fn bot_username_base(nick: &str) -> String {
    let legal: String = nick.to_ascii_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
    if legal.is_empty() { "bridge".to_owned() } else { legal }
}

/// The fewest and the most things that may wait in one link.
const QUEUE: (f64, f64) = (100.0, 20_000.0);

/// Most networks allow 30 or more; a server that has less cuts or refuses, and then its NICKLEN is known.
const DEFAULT_NICKLEN: usize = 30;
