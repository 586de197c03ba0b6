//! A channel's members, gathered from the 353 lines of one NAMES answer.
//!
//! It lives only between the first 353 and the 366, and only in the link that observes the channel; no link keeps a
//! list of members.

use crate::model::{Isupport, RosterMember, Source};

/// More members than any channel has; what a hostile server sends beyond is left out.
const MOST: usize = 200_000;

/// The members told so far.
#[derive(Debug, Default)]
pub struct Roster {
    members: Vec<RosterMember>,
}

impl Roster {
    /// Adds the members of one 353 line's last parameter: `@+nick!user@host nick …`, where prefixes and user and
    /// host may be missing.
    pub fn add(&mut self, names: &str, isupport: &Isupport) {
        for entry in names.split_ascii_whitespace() {
            if self.members.len() >= MOST {
                return;
            }
            let is_prefix = |c: char| isupport.prefix.iter().any(|(_, prefix)| *prefix == c);
            let who = entry.trim_start_matches(is_prefix);
            if !who.is_empty() {
                let prefixes = entry[..entry.len() - who.len()].to_owned();
                self.members.push(RosterMember { source: source(who), prefixes, account: None });
            }
        }
    }

    /// Whether nobody was told.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Everyone.
    #[must_use]
    pub fn into_members(self) -> Vec<RosterMember> {
        self.members
    }
}

/// Reads `nick!user@host`, `nick@host` or a bare name.
#[must_use]
pub fn source(text: &str) -> Source {
    let (rest, host) = match text.rsplit_once('@') {
        Some((rest, host)) => (rest, Some(host.to_owned())),
        None => (text, None),
    };
    let (nick, user) = match rest.split_once('!') {
        Some((nick, user)) => (nick, Some(user.to_owned())),
        None => (rest, None),
    };
    Source { nick: nick.to_owned(), user, host }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_with_and_without_prefixes_and_hosts() {
        let isupport = Isupport { prefix: vec![('q', '~'), ('o', '@'), ('v', '+')], ..Isupport::default() };
        let mut roster = Roster::default();
        roster.add("~@alice!~al@host.example bob  +carol @", &isupport);
        let got: Vec<_> = roster.into_members().into_iter().map(|m| (m.prefixes, m.source)).collect();
        let alice = Source { nick: "alice".into(), user: Some("~al".into()), host: Some("host.example".into()) };
        let bare = |nick: &str| Source { nick: nick.into(), user: None, host: None };
        assert_eq!(got, [("~@".into(), alice), (String::new(), bare("bob")), ("+".into(), bare("carol"))]);
    }

    #[test]
    fn a_roster_is_bounded() {
        let mut roster = Roster::default();
        let names = "a ".repeat(MOST + 5);
        roster.add(&names, &Isupport::default());
        assert_eq!(roster.members.len(), MOST);
    }

    #[test]
    fn sources_are_read_whatever_is_missing() {
        let table = [
            ("n!u@h", "n", Some("u"), Some("h")),
            ("irc.example.org", "irc.example.org", None, None),
            ("n@h", "n", None, Some("h")),
            ("n!u", "n", Some("u"), None),
            ("", "", None, None),
            ("n!u@x@h", "n", Some("u@x"), Some("h")),
        ];
        for (text, nick, user, host) in table {
            let expected = Source { nick: nick.into(), user: user.map(Into::into), host: host.map(Into::into) };
            assert_eq!(source(text), expected, "{text}");
        }
    }
}
