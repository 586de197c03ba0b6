//! The application-service registration that tests agree on before any server or bridge is started.

use std::path::Path;

/// What a homeserver knows of a bridge.
#[derive(Debug, Clone)]
pub struct Registration {
    /// The registration's own name, unique per homeserver.
    pub id: String,
    /// Where the homeserver reaches the bridge.
    pub url: String,
    /// The token of the bridge's requests to the homeserver.
    pub as_token: String,
    /// The token of the homeserver's requests to the bridge.
    pub hs_token: String,
    /// The localpart of the bridge's bot.
    pub sender_localpart: String,
    /// The homeserver's name.
    pub server_name: String,
    /// What every local id that belongs to the bridge starts with, such as `irc_libera_`; users and aliases alike.
    pub prefixes: Vec<String>,
}

impl Registration {
    /// The registration of a bridge of `networks` that listens on `port` of loopback, with the bot `footbridge`.
    pub fn new(server_name: &str, port: u16, networks: &[&str]) -> Self {
        Self {
            id: "footbridge".to_owned(),
            url: format!("http://127.0.0.1:{port}"),
            as_token: format!("as_token_of_footbridge_{port}"),
            hs_token: format!("hs_token_of_footbridge_{port}"),
            sender_localpart: "footbridge".to_owned(),
            server_name: server_name.to_owned(),
            prefixes: networks.iter().map(|network| format!("irc_{network}_")).collect(),
        }
    }

    /// The Matrix id of the bridge's bot.
    pub fn bot(&self) -> String {
        format!("@{}:{}", self.sender_localpart, self.server_name)
    }

    /// The port on which the bridge is expected.
    pub fn port(&self) -> u16 {
        self.url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("the url ends in a port")
    }

    /// True if `id` (`@localpart:server` or `#localpart:server`) is one the bridge may use, other than the bot's.
    pub fn owns(&self, id: &str) -> bool {
        id.get(1..).and_then(|id| id.split_once(':')).is_some_and(|(localpart, server)| {
            server == self.server_name && self.prefixes.iter().any(|prefix| localpart.starts_with(prefix))
        })
    }

    /// True if the bridge's own users include `user`: the bot or a ghost.
    pub fn is_bridge_user(&self, user: &str) -> bool {
        user.starts_with('@') && (self.owns(user) || user == self.bot())
    }

    /// The file that Synapse reads.
    pub fn to_yaml(&self) -> String {
        let server = self.server_name.replace('.', r"\.");
        let namespace = |sigil: char| {
            let entry = |prefix| format!("    - {{exclusive: true, regex: '{sigil}{prefix}.*:{server}'}}\n");
            self.prefixes.iter().map(entry).collect::<Vec<_>>().concat()
        };
        format!(
            "id: {}\nurl: {}\nas_token: {}\nhs_token: {}\nsender_localpart: {}\nrate_limited: false\n\
             receive_ephemeral: true\nde.sorunome.msc2409.push_ephemeral: true\nprotocols: [irc]\n\
             namespaces:\n  users:\n{}  aliases:\n{}  rooms: []\n",
            self.id,
            self.url,
            self.as_token,
            self.hs_token,
            self.sender_localpart,
            namespace('@'),
            namespace('#'),
        )
    }

    /// Writes [`Self::to_yaml`] to `path`.
    pub fn write(&self, path: &Path) {
        std::fs::write(path, self.to_yaml())
            .unwrap_or_else(|error| panic!("cannot write the registration {}: {error}", path.display()));
    }
}
