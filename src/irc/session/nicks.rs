//! Which nick to try next, and when to try for the wanted one again.

use crate::model::Isupport;

/// The nicks that may be tried before a connection is given up.
const TRIES: usize = 24;
/// A nick of this length is legal on every server.
const SHORTEST_LIMIT: usize = 9;
/// While another nick than the wanted one is had: how often to try for it. In milliseconds.
pub(super) const REGAIN: u64 = 300_000;
/// At most so many tries ...
const MOST_TRIES: u8 = 3;
/// ... in so many milliseconds.
const TRIES_WINDOW: u64 = 60_000;

/// The walk through nicks while registering: the wanted one, the alternatives, then the wanted one with a number.
/// The same refusals lead to the same nick after every restart (R72).
#[derive(Debug)]
pub(super) struct NickWalk {
    at: usize,
    limit: usize,
}

impl NickWalk {
    /// `nicklen` is the server's NICKLEN where it is known from an earlier connection. Elsewhere whoever chose the
    /// alternatives is believed: cut to the length of `wanted`, they would lose the fixed end that puppets are known by.
    pub(super) fn new(wanted: &str, alternatives: &[String], nicklen: Option<usize>) -> Self {
        let longest = || alternatives.iter().map(String::len).fold(wanted.len(), usize::max);
        Self { at: 0, limit: nicklen.unwrap_or_else(|| longest().max(SHORTEST_LIMIT)) }
    }

    /// The nick to try now; `None` when all were refused.
    pub(super) fn current(&self, wanted: &str, alternatives: &[String]) -> Option<String> {
        if self.at >= TRIES + alternatives.len() {
            return None;
        }
        let (base, suffix) = match self.at.checked_sub(1) {
            None => (wanted, String::new()),
            Some(n) if n < alternatives.len() => (alternatives[n].as_str(), String::new()),
            Some(n) => (wanted, (n - alternatives.len() + 1).to_string()),
        };
        Some(fit(base, self.limit.saturating_sub(suffix.len())).to_owned() + &suffix)
    }

    /// The current one is taken.
    pub(super) const fn taken(&mut self) {
        self.at += 1;
    }

    /// The server calls the current one erroneous: too long, perhaps, as where NICKLEN is 9.
    pub(super) fn erroneous(&mut self, nick: &str) {
        if nick.len() > SHORTEST_LIMIT {
            self.limit = SHORTEST_LIMIT;
        } else {
            self.at += 1;
        }
    }
}

/// At most `limit` bytes of `nick`, without half a character at the end.
pub(super) fn fit(nick: &str, limit: usize) -> &str {
    &nick[..nick.floor_char_boundary(limit)]
}

/// The wanted nick, as long as that server takes it.
pub(super) fn wanted<'a>(nick: &'a str, isupport: &Isupport) -> &'a str {
    fit(nick, isupport.nicklen.unwrap_or(usize::MAX))
}

/// When to ask for the wanted nick again.
#[derive(Debug, Default)]
pub(super) struct Regain {
    /// Ask at the next chance to send.
    pub(super) now: bool,
    /// Ask then (monotonic), if nothing happens before. 0: never.
    at: u64,
    window: u64,
    tries: u8,
}

impl Regain {
    pub(super) const fn new() -> Self {
        Self { now: false, at: 0, window: 0, tries: 0 }
    }

    /// Another nick than the wanted one is had since `now`.
    pub(super) const fn wait(&mut self, now: u64) {
        self.at = now + REGAIN;
    }

    /// The wanted nick is had, or no longer worth asking for.
    pub(super) const fn rest(&mut self) {
        self.at = 0;
        self.now = false;
    }

    /// Whether another nick is wanted.
    pub(super) const fn is_waiting(&self) -> bool {
        self.at != 0
    }

    /// When to call [`Self::chance`].
    pub(super) const fn timer(&self) -> Option<u64> {
        if self.at == 0 { None } else { Some(self.at) }
    }

    /// The nick may be free now: asks for it, unless that was done too often of late.
    pub(super) const fn chance(&mut self, now: u64) {
        self.at = now + REGAIN;
        if now >= self.window + TRIES_WINDOW {
            (self.window, self.tries) = (now, 0);
        }
        if self.tries < MOST_TRIES {
            self.tries += 1;
            self.now = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r72_nicks_are_tried_in_the_same_order_every_time() {
        let alternatives = ["alice_m".to_owned(), "alice_matrix_org".to_owned()];
        let mut walk = NickWalk::new("alice", &alternatives, Some(10));
        let mut tried = Vec::new();
        while let Some(nick) = walk.current("alice", &alternatives) {
            assert!(nick.len() <= 10);
            tried.push(nick);
            walk.taken();
        }
        assert_eq!(tried[..6], ["alice", "alice_m", "alice_matr", "alice1", "alice2", "alice3"]);
        assert_eq!(tried.len(), TRIES + 2);
        let distinct: std::collections::HashSet<_> = tried.iter().collect();
        assert_eq!(distinct.len(), tried.len());
    }

    #[test]
    fn r72_an_alternative_keeps_its_end_on_a_server_yet_unknown() {
        let alternatives = ["bartholomew1[m]".to_owned()];
        let mut walk = NickWalk::new("bartholomew[m]", &alternatives, None);
        walk.taken();
        assert_eq!(walk.current("bartholomew[m]", &alternatives).unwrap(), "bartholomew1[m]");
    }

    #[test]
    fn an_erroneous_long_nick_is_tried_shorter() {
        let mut walk = NickWalk::new("averylongnick", &[], None);
        assert_eq!(walk.current("averylongnick", &[]).unwrap(), "averylongnick");
        walk.erroneous("averylongnick");
        assert_eq!(walk.current("averylongnick", &[]).unwrap(), "averylong");
        walk.taken();
        assert_eq!(walk.current("averylongnick", &[]).unwrap(), "averylon1");
        walk.erroneous("averylon1");
        assert_eq!(walk.current("averylongnick", &[]).unwrap(), "averylon2");
    }

    #[test]
    fn the_wanted_nick_is_asked_for_at_most_three_times_a_minute() {
        let mut regain = Regain::new();
        regain.wait(0);
        let asked = (0..10).filter(|n| {
            regain.chance(60_000 + n * 1_000);
            std::mem::take(&mut regain.now)
        });
        assert_eq!(asked.count(), 3);
        regain.chance(121_000);
        assert!(regain.now);
    }
}
