//! The operator's settings: `config.toml`, read once at start.
//!
//! One file here is one section there. A section's struct is its manual (the fields' docs), and its `read` function
//! beside it holds the defaults and says what a valid value is. [`Config::load`] reports every problem of the file
//! at once, each with its line, its key and what to do; a [`Config`] that exists is valid.
//!
//! To add a key: a field with its doc, one line in `read`, and its place in `config.example.toml` (a test compares).

mod appservice;
mod database;
mod homeserver;
mod network;
mod problem;
mod reader;
mod secret;
mod secrets;
mod value;

use std::{collections::BTreeMap, path::Path};

use ruma::OwnedUserId;
use toml::de::DeTable;

use crate::model::NetworkId;

pub use appservice::Appservice;
pub use database::{Database, Engine};
pub use homeserver::Homeserver;
pub use network::{Bot, Consenting, Ghosts, Limits, Network, Plumb, Plumbing, Portals, Puppets, Ranks, Sasl};
pub use problem::{ConfigError, Problem};
pub use secret::Secret;
pub use secrets::Secrets;
pub use value::{HttpUrl, ServerAddress};

pub(crate) use reader::nearest;

use reader::{Section, Source};

/// Everything an operator can set, valid as a whole.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[homeserver]`
    pub homeserver: Homeserver,
    /// `[appservice]`
    pub appservice: Appservice,
    /// `[database]`
    pub database: Database,
    /// `[secrets]`
    pub secrets: Secrets,
    /// `[network.ID]`, at least one.
    pub networks: BTreeMap<NetworkId, Network>,
}

impl Config {
    /// Reads and checks the file. Relative paths in it start at its folder.
    ///
    /// It also reads the files and environment variables that secrets come from.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|reason| ConfigError::Unreadable { path: path.to_owned(), reason })?;
        Self::parse(&text, path, &|name| std::env::var(name).ok())
    }

    /// Reads the text of the file `path`, with the environment as an argument.
    fn parse(text: &str, path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let root = DeTable::parse(text).map_err(|reason| ConfigError::Syntax {
            path: path.to_owned(),
            line: reader::line_at(text, reason.span().map_or(0, |span| span.start)),
            reason: reason.message().to_owned(),
        })?;
        let source = Source::new(text, root.as_ref(), path.parent().unwrap_or(Path::new("")), env);
        let config = source.read(|section| Self::read(section, &source));
        let problems = source.into_problems();
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(ConfigError::Invalid { path: path.to_owned(), problems }),
        }
    }

    fn read(root: &Section<'_>, source: &Source<'_>) -> Option<Self> {
        let homeserver = root.section("homeserver", Homeserver::read);
        let appservice = root.section("appservice", Appservice::read);
        let database = root.section("database", Database::read);
        let secrets = root.section("secrets", Secrets::read);
        let networks = root.named("network", Network::read);

        if networks.is_empty() {
            root.problem("network", "there is no network: add a section [network.ID] with the servers of one");
        }
        let whole: BTreeMap<_, _> = networks.iter().flatten().cloned().collect();
        network::check_together(&whole, appservice.as_ref(), source);
        if whole.len() < networks.len() {
            return None;
        }
        Some(Self {
            homeserver: homeserver?,
            appservice: appservice?,
            database: database?,
            secrets: secrets?,
            networks: whole,
        })
    }

    /// The bridge bot's Matrix id.
    #[must_use]
    pub fn bot_user_id(&self) -> OwnedUserId {
        format!("@{}:{}", self.appservice.bot_localpart, self.homeserver.server_name)
            .try_into()
            .expect("the localpart and the server name were checked when they were read")
    }

    /// The full names of all keys there are, with `network.ID`, `….plumb` and `….account` for the repeated ones.
    ///
    /// For the test that compares them with the example.
    #[doc(hidden)]
    #[must_use]
    pub fn known_keys() -> Vec<String> {
        const ONE_OF_EACH: &str = "[[network.ID.plumb]]\n[[network.ID.puppets.account]]";
        let root = DeTable::parse(ONE_OF_EACH).expect("the text above is TOML");
        let source = Source::new(ONE_OF_EACH, root.as_ref(), Path::new(""), &|_| None);
        source.read(|section| Self::read(section, &source));
        source.into_known().into_iter().map(|key| key.replace("[0]", "")).collect()
    }
}

#[cfg(test)]
mod tests;
