//! Which nick to try next, and when to try for the wanted one again.

use std::borrow::Cow;

use crate::{irc::pool::protocol::LinkSpec, model::Isupport, translate};

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

/// The walk through nicks while registering: the wanted one, the alternatives, then the wanted one with numbers.
/// The same refusals lead to the same nick after every restart (R72).
#[derive(Debug)]
pub(super) struct NickWalk {
    at: usize,
    limit: usize,
    /// Whether the limit is the server's own word.
    is_told: bool,
}

impl NickWalk {
    /// `nicklen` is the server's NICKLEN where it is known from an earlier connection. Elsewhere whoever chose the
    /// alternatives is believed.
    pub(super) fn new(spec: &LinkSpec, nicklen: Option<usize>) -> Self {
        let longest = || spec.alternatives.iter().map(String::len).fold(spec.nick.len(), usize::max);
        Self { at: 0, limit: nicklen.unwrap_or_else(|| longest().max(SHORTEST_LIMIT)), is_told: nicklen.is_some() }
    }

    /// The nick to try now; `None` when all were refused. An alternative that is too long is passed over: cut, it would
    /// be another name for what was refused already.
    pub(super) fn current(&mut self, spec: &LinkSpec) -> Option<String> {
        let LinkSpec { link, nick, alternatives, nick_end, .. } = spec;
        while self.at <= alternatives.len() {
            match self.at.checked_sub(1) {
                None => return Some(fit(nick, "", nick_end, self.limit).into_owned()),
                Some(n) if alternatives[n].len() <= self.limit => return Some(alternatives[n].clone()),
                Some(_) => self.at += 1,
            }
        }
        let owner = link.to_string();
        while self.at - alternatives.len() < TRIES {
            let number = translate::nick_number(&owner, self.at - alternatives.len(), self.limit);
            let numbered = fit(nick, &number.to_string(), nick_end, self.limit);
            if numbered != *nick && !alternatives.iter().any(|tried| *tried == numbered) {
                return Some(numbered.into_owned());
            }
            self.at += 1;
        }
        None
    }

    /// The current one is taken.
    pub(super) const fn taken(&mut self) {
        self.at += 1;
    }

    /// The server calls the current one erroneous: reserved, or too long where it didn't say how long they may be (the
    /// shortest NICKLEN is 9).
    pub(super) const fn erroneous(&mut self, nick: &str) {
        if !self.is_told && nick.len() > SHORTEST_LIMIT {
            self.limit = SHORTEST_LIMIT;
        } else {
            self.at += 1;
        }
    }
}

/// `nick` with a number, in at most `limit` bytes: what is too long is cut, and the number put, before its fixed end.
fn fit<'a>(nick: &'a str, number: &str, end: &str, limit: usize) -> Cow<'a, str> {
    if number.is_empty() && nick.len() <= limit {
        return Cow::Borrowed(nick);
    }
    // An end that would leave nothing else is none.
    let base = nick.strip_suffix(end).filter(|base| !base.is_empty() && end.len() + number.len() < limit);
    let (base, end) = base.map_or((nick, ""), |base| (base, end));
    let base = &base[..base.floor_char_boundary(limit.saturating_sub(number.len() + end.len()))];
    Cow::Owned(format!("{base}{number}{end}"))
}

/// The wanted nick, as long as that server takes it.
pub(super) fn wanted<'a>(spec: &'a LinkSpec, isupport: &Isupport) -> Cow<'a, str> {
    fit(&spec.nick, "", &spec.nick_end, isupport.nicklen.unwrap_or(usize::MAX))
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
    use crate::model::LinkId;

    fn spec(nick: &str, alternatives: &[&str], nick_end: &str) -> LinkSpec {
        LinkSpec {
            link: LinkId::bot("net".parse().unwrap()),
            nick: nick.into(),
            alternatives: alternatives.iter().map(|&nick| nick.into()).collect(),
            nick_end: nick_end.into(),
            username: "u".into(),
            realname: "r".into(),
            sasl: None,
            channels: Vec::new(),
        }
    }

    #[test]
    fn r72_nicks_are_tried_in_the_same_order_every_time() {
        let spec = spec("alice", &["alice_m", "alice_matrix_org", "alice_x"], "");
        let mut walk = NickWalk::new(&spec, Some(10));
        let mut tried = Vec::new();
        while let Some(nick) = walk.current(&spec) {
            assert!(nick.len() <= 10);
            tried.push(nick);
            walk.taken();
        }
        assert_eq!(tried[..6], ["alice", "alice_m", "alice_x", "alice1", "alice2", "alice3"]);
        let distinct: std::collections::HashSet<_> = tried.iter().collect();
        assert_eq!(distinct.len(), tried.len());
    }

    #[test]
    fn r72_an_alternative_keeps_its_end_on_a_server_yet_unknown() {
        let spec = spec("bartholomew[m]", &["bartholomew1[m]"], "[m]");
        let mut walk = NickWalk::new(&spec, None);
        walk.taken();
        assert_eq!(walk.current(&spec).unwrap(), "bartholomew1[m]");
    }

    #[test]
    fn an_erroneous_long_nick_is_tried_shorter() {
        for (spec, tried) in [
            (spec("averylongnick", &[], ""), ["averylongnick", "averylong", "averylon1", "averylon2"]),
            (
                spec("Maximilian_Mu[m]", &["Maximilian_M1[m]"], "[m]"),
                ["Maximilian_Mu[m]", "Maximi[m]", "Maxim1[m]", "Maxim2[m]"],
            ),
        ] {
            let mut walk = NickWalk::new(&spec, None);
            for nick in tried {
                assert_eq!(walk.current(&spec).unwrap(), nick);
                if nick.len() > 9 { walk.erroneous(nick) } else { walk.taken() }
            }
        }
    }

    #[test]
    fn a_reserved_nick_is_cut_only_where_it_may_be_too_long() {
        let spec = spec("Bartholomew[m]", &["Bartholomew1[m]"], "[m]");
        for (nicklen, next) in [(Some(30), "Bartholomew1[m]"), (Some(9), "Barth1[m]"), (None, "Bartho[m]")] {
            let mut walk = NickWalk::new(&spec, nicklen);
            let first = walk.current(&spec).unwrap();
            walk.erroneous(&first);
            assert_eq!(walk.current(&spec).unwrap(), next, "{nicklen:?}");
        }
    }

    #[test]
    fn r72_the_fixed_end_survives_where_there_is_room() {
        for (nick, number, end, limit, fitted) in [
            ("alice[m]", "", "[m]", 9, "alice[m]"),
            ("Maximilian[m]", "", "[m]", 9, "Maximi[m]"),
            ("Maximilian[m]", "12", "[m]", 9, "Maxi12[m]"),
            ("chosen_by_hand", "", "[m]", 9, "chosen_by"),
            ("ab[matrixmatrix]", "", "[matrixmatrix]", 9, "ab[matrix"),
            ("[m]", "1", "[m]", 9, "[m]1"),
        ] {
            assert_eq!(fit(nick, number, end, limit), fitted);
        }
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
