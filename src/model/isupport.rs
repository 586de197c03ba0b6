//! What a server said of itself in RPL_ISUPPORT (005), with the defaults of a server that said nothing.
//!
//! Tokens: <https://modern.ircdocs.horse/#rplisupport-parameters>. Lengths are in bytes.

use serde::{Deserialize, Serialize};

use super::CaseMapping;

/// A server's limits and customs. One copy is shared by all links of a network to which the server said the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Isupport {
    /// How names compare.
    pub casemapping: CaseMapping,
    /// First characters of channel names.
    pub chantypes: String,
    /// Membership modes and their prefixes, highest rank first: `[('o', '@'), ('v', '+')]`.
    pub prefix: Vec<(char, char)>,
    /// CHANMODES: list modes, always a parameter, parameter when set, never a parameter.
    pub chanmodes: [String; 4],
    /// Prefixes that may stand before a channel to reach only those ranks.
    pub statusmsg: String,
    /// Longest nick; `None` if the server did not say (RFC 1459's 9 is then too cautious to cut to).
    pub nicklen: Option<usize>,
    /// Longest user name (ident).
    pub userlen: Option<usize>,
    /// Longest real name (NAMELEN).
    pub namelen: Option<usize>,
    /// Longest channel name.
    pub channellen: usize,
    /// Longest topic.
    pub topiclen: usize,
    /// Longest kick reason.
    pub kicklen: usize,
    /// Longest line, CR LF included, tags not.
    pub linelen: usize,
    /// Most modes with a parameter in one MODE line.
    pub modes: usize,
    /// Most channels in one JOIN line; `None` if the server did not say.
    pub max_join_targets: Option<usize>,
    /// What stands before an extended ban, if anything, and the letters that there are (EXTBAN); `None` if there are none.
    #[serde(default)]
    pub extban: Option<(Option<char>, String)>,
    /// How a ban by account is called (ACCOUNTEXTBAN).
    #[serde(default)]
    pub account_extban: Option<String>,
    /// Whether WHOX is offered.
    pub whox: bool,
    /// The network's own name.
    pub network: Option<String>,
    /// The user mode that marks a bot (BOT token).
    pub bot_mode: Option<char>,
    /// Whether the server takes only UTF-8 (UTF8ONLY).
    pub utf8only: bool,
}

impl Default for Isupport {
    fn default() -> Self {
        Self {
            casemapping: CaseMapping::default(),
            chantypes: "#&".into(),
            prefix: vec![('o', '@'), ('v', '+')],
            chanmodes: ["b".into(), "k".into(), "l".into(), "imnpst".into()],
            statusmsg: String::new(),
            nicklen: None,
            userlen: None,
            namelen: None,
            channellen: 200,
            topiclen: 390,
            kicklen: 250,
            linelen: 512,
            modes: 3,
            max_join_targets: None,
            extban: None,
            account_extban: None,
            whox: false,
            network: None,
            bot_mode: None,
            utf8only: false,
        }
    }
}

impl Isupport {
    /// Whether `name` is a channel by its first character.
    #[must_use]
    pub fn is_channel(&self, name: &str) -> bool {
        name.chars().next().is_some_and(|c| self.chantypes.contains(c))
    }
}
