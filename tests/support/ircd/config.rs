//! How a fake IRC server behaves from the start.

use std::time::Duration;

/// How a fake server behaves.
#[derive(Debug, Clone)]
pub struct IrcdConfig {
    /// The server's name.
    pub server_name: String,
    /// The host that everyone seems to come from.
    pub host: String,
    /// The user name that everyone gets, whatever they ask for (Ergo's `coerce-ident`).
    pub ident: Option<String>,
    /// The capabilities it offers, with their values (`sasl=PLAIN`). None: it has never heard of CAP.
    pub caps: Vec<String>,
    /// The case mapping: `rfc1459` or `ascii`.
    pub casemapping: String,
    /// The longest nick.
    pub nick_len: usize,
    /// The most channels of a client.
    pub channel_limit: usize,
    /// More ISUPPORT tokens; one with the key of a default replaces it.
    pub isupport: Vec<String>,
    /// The message of the day; none: 422.
    pub motd: Option<String>,
    /// The password that PASS must give.
    pub password: Option<String>,
    /// Accounts and their passwords for SASL PLAIN.
    pub accounts: Vec<(String, String)>,
    /// Refused connections to come.
    pub refusals: Vec<Refusal>,
    /// Remember every line that is received. Benchmarks switch it off.
    pub record: bool,
    /// How long lines gather before the next write to a busy connection. Zero: not at all.
    pub write_delay: Duration,
    /// Speak TLS, with a certificate of its own.
    pub tls: bool,
}

impl Default for IrcdConfig {
    /// A server without any capability, such as many small networks run.
    fn default() -> Self {
        Self {
            server_name: "irc.fake.test".to_owned(),
            host: "client.fake.test".to_owned(),
            ident: None,
            caps: Vec::new(),
            casemapping: "rfc1459".to_owned(),
            nick_len: 30,
            channel_limit: 100,
            isupport: Vec::new(),
            motd: None,
            password: None,
            accounts: Vec::new(),
            refusals: Vec::new(),
            record: true,
            write_delay: Duration::ZERO,
            tls: false,
        }
    }
}

impl IrcdConfig {
    /// A server with every capability that the fake knows.
    pub fn modern() -> Self {
        let caps = [
            "account-tag",
            "away-notify",
            "batch",
            "cap-notify",
            "echo-message",
            "extended-join",
            "invite-notify",
            "labeled-response",
            "message-tags",
            "multi-prefix",
            "no-implicit-names",
            "sasl=PLAIN",
            "server-time",
            "setname",
            "userhost-in-names",
        ];
        Self::default().with_caps(&caps)
    }

    /// The same with these capabilities.
    #[must_use]
    pub fn with_caps(mut self, caps: &[&str]) -> Self {
        self.caps = caps.iter().map(|&cap| cap.to_owned()).collect();
        self
    }

    /// The tokens of 005: the defaults, and what was added or replaced.
    pub fn isupport(&self) -> Vec<String> {
        let defaults = [
            format!("CASEMAPPING={}", self.casemapping),
            format!("NICKLEN={}", self.nick_len),
            format!("CHANLIMIT=#:{}", self.channel_limit),
            "CHANTYPES=#".to_owned(),
            "PREFIX=(ov)@+".to_owned(),
            "CHANMODES=b,k,l,imnpst".to_owned(),
            "CHANNELLEN=64".to_owned(),
            "TOPICLEN=390".to_owned(),
            "KICKLEN=255".to_owned(),
            "AWAYLEN=200".to_owned(),
            "USERLEN=10".to_owned(),
            "MODES=4".to_owned(),
            "NETWORK=FakeNet".to_owned(),
            "WHOX".to_owned(),
        ];
        let key = |token: &str| token.split('=').next().unwrap_or(token).to_owned();
        let replaced = |token: &str| self.isupport.iter().any(|own| key(own) == key(token));
        defaults.into_iter().filter(|token| !replaced(token)).chain(self.isupport.iter().cloned()).collect()
    }

    /// Takes the refusal of the connection under way, if one is due at this stage.
    pub fn next_refusal(&mut self, stage: impl Fn(&Refusal) -> bool) -> Option<Refusal> {
        let at = self.refusals.iter().position(stage)?;
        Some(self.refusals.remove(at))
    }
}

/// How a connection is refused.
#[derive(Debug, Clone)]
pub enum Refusal {
    /// At once, with `ERROR` and this text, as throttles do.
    AtConnect(String),
    /// When the client has said who it is: a numeric (465 for a K-line) and `ERROR` with this text.
    AtRegistration {
        /// The numeric.
        numeric: u16,
        /// The text of both.
        text: String,
    },
}
