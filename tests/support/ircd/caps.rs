//! Capabilities, and how they change a line on its way to a client.

use std::sync::Arc;

use crate::support::irc_line::escape;

/// A set of capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Caps(pub u32);

macro_rules! capabilities {
    ($($cap:ident = $name:literal at $bit:literal;)*) => {
        impl Caps {
            $(#[doc = concat!("`", $name, "`")] pub const $cap: Self = Self(1 << $bit);)*

            /// The capability of this name; none if the fake only offers it and does nothing with it.
            pub fn named(name: &str) -> Self {
                match name { $($name => Self::$cap,)* _ => Self::default() }
            }
        }
    };
}

capabilities! {
    ACCOUNT_TAG = "account-tag" at 0;
    BATCH = "batch" at 1;
    ECHO_MESSAGE = "echo-message" at 2;
    EXTENDED_JOIN = "extended-join" at 3;
    LABELED_RESPONSE = "labeled-response" at 4;
    MESSAGE_TAGS = "message-tags" at 5;
    MULTI_PREFIX = "multi-prefix" at 6;
    NO_IMPLICIT_NAMES = "no-implicit-names" at 7;
    SERVER_TIME = "server-time" at 8;
    USERHOST_IN_NAMES = "userhost-in-names" at 9;
    AWAY_NOTIFY = "away-notify" at 10;
    INVITE_NOTIFY = "invite-notify" at 11;
    SASL = "sasl" at 12;
    SETNAME = "setname" at 13;
}

impl Caps {
    /// True if all of `other` are in here.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These and those.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These but not those.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// A line before it is known who gets it.
#[derive(Debug, Clone, Default)]
pub struct Line {
    /// Everything after the tags, without line ending.
    pub body: String,
    /// The same for clients with extended-join.
    pub extended: Option<String>,
    /// The sender's account.
    pub account: Option<Arc<str>>,
    /// The message id.
    pub msgid: Option<String>,
    /// Client-only tags, as they were sent, such as `+typing=active`.
    pub client_tags: Vec<(String, String)>,
    /// The time, as server-time has it.
    pub time: String,
}

/// The most bytes of a line without tags and line ending.
const MAX_BODY: usize = 510;

impl Line {
    /// A line of this time, from everything after the tags.
    pub fn new(body: String) -> Self {
        Self { body, time: server_time(now_ms()), ..Self::default() }
    }

    /// The line for a client with these capabilities, with more tags (`label`, `batch`) in front.
    pub fn encode(&self, caps: Caps, more_tags: &[(&str, &str)]) -> Arc<[u8]> {
        let mut tags: Vec<String> = more_tags.iter().map(|(key, value)| format!("{key}={}", escape(value))).collect();
        if caps.has(Caps::SERVER_TIME) {
            tags.push(format!("time={}", self.time));
        }
        if let Some(account) = self.account.as_ref().filter(|_| caps.has(Caps::ACCOUNT_TAG)) {
            tags.push(format!("account={}", escape(account)));
        }
        if caps.has(Caps::MESSAGE_TAGS) {
            tags.extend(self.msgid.iter().map(|id| format!("msgid={id}")));
            tags.extend(self.client_tags.iter().map(|(key, value)| format!("{key}={}", escape(value))));
        }
        let body = match &self.extended {
            Some(extended) if caps.has(Caps::EXTENDED_JOIN) => extended,
            _ => &self.body,
        };
        let mut bytes = Vec::with_capacity(body.len() + 64);
        if !tags.is_empty() {
            bytes.push(b'@');
            bytes.extend_from_slice(tags.join(";").as_bytes());
            bytes.push(b' ');
        }
        // As on real servers, what is too long is cut, wherever that is.
        bytes.extend_from_slice(&body.as_bytes()[..body.len().min(MAX_BODY)]);
        bytes.extend_from_slice(b"\r\n");
        bytes.into()
    }
}

/// A line on its way to many: encoded once for each set of capabilities.
pub struct Fanout<'a> {
    line: &'a Line,
    encoded: Vec<(Caps, Arc<[u8]>)>,
}

impl<'a> Fanout<'a> {
    /// Nothing is encoded yet.
    pub fn new(line: &'a Line) -> Self {
        Self { line, encoded: Vec::new() }
    }

    /// The bytes for a client with these capabilities.
    pub fn to(&mut self, caps: Caps) -> Arc<[u8]> {
        if let Some((_, bytes)) = self.encoded.iter().find(|(known, _)| *known == caps) {
            return bytes.clone();
        }
        let bytes = self.line.encode(caps, &[]);
        self.encoded.push((caps, bytes.clone()));
        bytes
    }
}

/// The time in the format of server-time, from milliseconds since 1970.
pub fn server_time(ms: u64) -> String {
    let (seconds, ms) = (ms / 1000, ms % 1000);
    let (days, seconds) = (seconds / 86_400, seconds % 86_400);
    // The civil calendar by Howard Hinnant's algorithm, counted in years that begin in March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// The time, in milliseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "a server stamps its lines with the wall clock")]
pub fn now_ms() -> u64 {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since_1970.ok().and_then(|elapsed| u64::try_from(elapsed.as_millis()).ok()).expect("the clock is after 1970")
}
