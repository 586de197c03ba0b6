//! The Matrix ids of ghosts, and the nicks in them (R80).
//!
//! A ghost's localpart is a template around the nick: folded under the network's CASEMAPPING, and every byte outside
//! `[a-z0-9._/+-]` written as `=xx` in lower-case hexadecimal. Each nick has one id and each id one nick: an id in
//! any other form (upper case, needless escapes, another casing) is nobody's, so that nobody can be reached, or
//! spoofed, under two ids.

use std::fmt::Write;

use ruma::{OwnedUserId, ServerName, UserId};

use super::{
    names::may_be_nick,
    template::{self, Affixes, Part, TemplateError},
};
use crate::model::{CaseMapping, Folded, NetworkId};

/// The longest Matrix id, sigil and server name included, in bytes.
pub(super) const LONGEST_ID: usize = 255;

/// How the ghosts of one network are called, such as `irc_{network}_{nick}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GhostTemplate(Affixes);

impl GhostTemplate {
    /// Reads a template of fixed text, `{network}` and, once, `{nick}`.
    ///
    /// # Errors
    /// Fixed text must be legal in a Matrix user id: `[a-z0-9._=/+-]`.
    pub fn new(template: &str, network: &NetworkId) -> Result<Self, TemplateError> {
        let affixes = Affixes::parse(template, "{nick}", network.as_str())?;
        affixes.check("a-z, 0-9 and . _ = - / +", |c| c == '=' || u8::try_from(c).is_ok_and(is_plain)).map(Self)
    }

    /// What stands before and after the nick in every localpart.
    #[must_use]
    pub fn around(&self) -> (&str, &str) {
        (&self.0.prefix, &self.0.suffix)
    }

    /// The localpart of the ghost of `nick`.
    #[must_use]
    pub fn localpart(&self, nick: &Folded) -> String {
        let mut localpart = self.0.prefix.clone();
        for byte in nick.as_str().bytes() {
            if is_plain(byte) {
                localpart.push(char::from(byte));
            } else {
                write!(localpart, "={byte:02x}").expect("a String takes everything");
            }
        }
        localpart.push_str(&self.0.suffix);
        localpart
    }

    /// The id of the ghost of `nick` on `server`; `None` if it would be longer than Matrix allows.
    #[must_use]
    pub fn user_id(&self, nick: &Folded, server: &ServerName) -> Option<OwnedUserId> {
        let id = format!("@{}:{server}", self.localpart(nick));
        (id.len() <= LONGEST_ID).then(|| UserId::parse(id).ok()).flatten()
    }

    /// The nick whose ghost has this localpart; `None` if it is no ghost's, or in no form that [`Self::localpart`]
    /// makes, or of no possible nick.
    #[must_use]
    pub fn parse(&self, localpart: &str, casemapping: CaseMapping) -> Option<Folded> {
        let nick = unescape(self.0.strip(localpart)?)?;
        let folded = casemapping.fold(&nick);
        (folded.as_str() == nick && may_be_nick(&nick)).then_some(folded)
    }

    /// [`Self::parse`] for a whole id, which must be of `server`.
    #[must_use]
    pub fn parse_id(&self, user: &UserId, server: &ServerName, casemapping: CaseMapping) -> Option<Folded> {
        (user.server_name() == server).then(|| self.parse(user.localpart(), casemapping)).flatten()
    }

    /// Whether `localpart` is in the namespace of this network's ghosts, even if it is no possible ghost's.
    #[must_use]
    pub fn claims(&self, localpart: &str) -> bool {
        self.0.strip(localpart).is_some()
    }
}

/// How ghosts are shown, such as `{nick}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisplayNameTemplate {
    parts: Vec<Part<Shown>>,
    network: NetworkId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Nick,
    Network,
}

impl DisplayNameTemplate {
    /// Reads a template of any text, `{network}` and `{nick}`.
    ///
    /// # Errors
    /// It must contain `{nick}`.
    pub fn new(template: &str, network: &NetworkId) -> Result<Self, TemplateError> {
        let parts = template::parse(template, &[("nick", Shown::Nick), ("network", Shown::Network)])?;
        if !parts.contains(&Part::Value(Shown::Nick)) {
            return Err(TemplateError::Missing("{nick}"));
        }
        Ok(Self { parts, network: network.clone() })
    }

    /// The display name of the ghost of `nick`, which is as its owner writes it.
    #[must_use]
    pub fn display_name(&self, nick: &str) -> String {
        let parts = self.parts.iter().map(|part| match part {
            Part::Text(text) => text.as_str(),
            Part::Value(Shown::Nick) => nick,
            Part::Value(Shown::Network) => self.network.as_str(),
        });
        parts.collect()
    }
}

/// The bytes that stand for themselves; the rest of what a user id may have is `=` itself.
const fn is_plain(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'/' | b'+' | b'-')
}

/// Undoes the escapes of [`GhostTemplate::localpart`], and only those.
fn unescape(escaped: &str) -> Option<String> {
    let mut bytes = escaped.bytes();
    let mut nick = Vec::with_capacity(escaped.len());
    while let Some(byte) = bytes.next() {
        nick.push(if byte == b'=' {
            let value = lower_hex(bytes.next()?)? << 4 | lower_hex(bytes.next()?)?;
            if is_plain(value) {
                return None;
            }
            value
        } else if is_plain(byte) {
            byte
        } else {
            return None;
        });
    }
    String::from_utf8(nick).ok()
}

const fn lower_hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ruma::{server_name, user_id};

    use super::*;

    fn template() -> GhostTemplate {
        GhostTemplate::new("irc_{network}_{nick}", &"libera".parse().unwrap()).unwrap()
    }

    fn casemappings() -> impl Strategy<Value = CaseMapping> {
        prop_oneof![Just(CaseMapping::Ascii), Just(CaseMapping::Rfc1459), Just(CaseMapping::Rfc1459Strict)]
    }

    #[test]
    fn r80_one_nick_has_one_id() {
        for (casemapping, nick, localpart) in [
            (CaseMapping::Rfc1459, "Alice", "irc_libera_alice"),
            (CaseMapping::Rfc1459, "a[B]\\~", "irc_libera_a=7bb=7d=7c=5e"),
            (CaseMapping::Rfc1459, "a{b}|^", "irc_libera_a=7bb=7d=7c=5e"),
            (CaseMapping::Ascii, "a[B]", "irc_libera_a=5bb=5d"),
            (CaseMapping::Ascii, "é-_`", "irc_libera_=c3=a9-_=60"),
        ] {
            assert_eq!(template().localpart(&casemapping.fold(nick)), localpart, "{nick}");
        }
    }

    #[test]
    fn r80_any_other_form_is_nobody() {
        let parse = |localpart| template().parse(localpart, CaseMapping::Rfc1459);
        assert_eq!(parse("irc_libera_a=7bb=7d").unwrap().as_str(), "a{b}");
        assert_eq!(parse("irc_libera_00aaaaaab").unwrap().as_str(), "00aaaaaab");
        for (localpart, reason) in [
            ("irc_libera_", "empty"),
            ("irc_oftc_alice", "another network"),
            ("alice", "no ghost"),
            ("irc_libera_Alice", "upper case"),
            ("irc_libera_=41lice", "unfolded, escaped"),
            ("irc_libera_a=5bb", "unfolded under this casemapping"),
            ("irc_libera_a=7Bb", "upper-case hexadecimal"),
            ("irc_libera_=61lice", "needless escape"),
            ("irc_libera_a=7", "cut short"),
            ("irc_libera_a=", "cut short"),
            ("irc_libera_a=+1", "no hexadecimal"),
            ("irc_libera_=c3", "no UTF-8"),
            ("irc_libera_é", "not escaped"),
            ("irc_libera_a=2cb", "a comma"),
            ("irc_libera_a=20b", "a blank"),
            ("irc_libera_a=0d=0aquit", "a second line"),
            ("irc_libera_a=00", "NUL"),
            ("irc_libera_=23chan", "a channel"),
            ("irc_libera_=24=2a.net", "a mask of servers"),
        ] {
            assert_eq!(parse(localpart), None, "{reason}");
        }
    }

    #[test]
    fn r80_ids_belong_to_one_server_and_fit() {
        let (ours, theirs) = (server_name!("example.org"), server_name!("example.com"));
        let alice = CaseMapping::Ascii.fold("Alice");
        assert_eq!(template().user_id(&alice, ours).unwrap(), user_id!("@irc_libera_alice:example.org"));
        let parse = |id| template().parse_id(id, ours, CaseMapping::Ascii);
        assert_eq!(parse(user_id!("@irc_libera_alice:example.org")), Some(alice));
        assert_eq!(template().parse_id(user_id!("@irc_libera_alice:example.org"), theirs, CaseMapping::Ascii), None);
        let fixed = "@irc_libera_:example.org".len();
        assert!(template().user_id(&CaseMapping::Ascii.fold(&"a".repeat(LONGEST_ID - fixed)), ours).is_some());
        assert!(template().user_id(&CaseMapping::Ascii.fold(&"a".repeat(LONGEST_ID - fixed + 1)), ours).is_none());
    }

    #[test]
    fn templates_are_checked() {
        let network = "libera".parse().unwrap();
        assert_eq!(
            GhostTemplate::new("IRC_{nick}", &network),
            Err(TemplateError::BadCharacter { found: 'I', allowed: "a-z, 0-9 and . _ = - / +" })
        );
        assert_eq!(GhostTemplate::new("irc_{network}", &network), Err(TemplateError::Missing("{nick}")));
        assert_eq!(DisplayNameTemplate::new("{network}", &network), Err(TemplateError::Missing("{nick}")));
        let shown = DisplayNameTemplate::new("{nick} ({network}) IRC", &network).unwrap();
        assert_eq!(shown.display_name("{network}"), "{network} (libera) IRC");
    }

    proptest! {
        #[test]
        fn r80_ids_are_valid_and_read_back(
            nick in "[A-Za-z_\\[\\]\\\\`^{|}][A-Za-z0-9_\\[\\]\\\\`^{|}-]{0,30}|\\p{L}{1,9}",
            casemapping in casemappings(),
        ) {
            let folded = casemapping.fold(&nick);
            let localpart = template().localpart(&folded);
            prop_assert!(localpart.bytes().all(|b| is_plain(b) || b == b'='), "{localpart}");
            prop_assert!(template().user_id(&folded, server_name!("example.org")).is_some());
            prop_assert_eq!(template().parse(&localpart, casemapping), Some(folded));
        }

        #[test]
        fn r80_what_reads_back_is_canonical(rest in "([a-z0-9._/+A-Z-]|=[0-9a-fA-F]{2}|=){0,12}", casemapping in casemappings()) {
            let localpart = format!("irc_libera_{rest}");
            if let Some(nick) = template().parse(&localpart, casemapping) {
                prop_assert_eq!(template().localpart(&nick), localpart);
            }
        }

        #[test]
        fn r104_hostile_ids_never_become_a_line(localpart in any::<String>(), casemapping in casemappings()) {
            if let Some(nick) = template().parse(&format!("irc_libera_{localpart}"), casemapping) {
                prop_assert!(!nick.as_str().contains(['\r', '\n', '\0', '\x01', ' ', ',', ':']));
                prop_assert!(!nick.as_str().starts_with('#'));
            }
        }
    }
}
