//! Which people on IRC are ourselves: so that what our links say and do is not bridged back.
//!
//! By link, not by nick alone: a source is ours when it has a nick that one of our links has or had a while ago,
//! and nothing tells the two apart. A link learns how others see it (`user@host`) from the server, which may show
//! another user name than it was given. Somebody else who takes a puppet's old nick is seen as himself.

use std::collections::HashMap;

use crate::model::{CaseMapping, Folded, LinkId, Millis, NetworkId, Source};

/// How long a nick that a link no longer has may still be seen as its: until the server has surely noticed that a
/// dead connection is dead.
const GRACE: Millis = 10 * 60 * 1000;

/// A nick that is or was one of ours.
#[derive(Debug, Clone)]
struct Own {
    /// As the link writes it.
    nick: String,
    link: LinkId,
    username: String,
    /// User name and host as others see them, once the link has learnt them.
    mask: Option<(String, String)>,
    /// When the link stopped having it.
    gone: Option<Millis>,
}

impl Own {
    /// Whether `source`, who has this nick, is the link.
    fn is(&self, source: &Source, now: Millis) -> bool {
        let (user, host) = (source.user.as_deref(), source.host.as_deref());
        let same_user = |mask: &(String, String)| user == Some(mask.0.as_str());
        let same_host = |mask: &(String, String)| host == Some(mask.1.as_str());
        match (self.gone, &self.mask) {
            // A nick is one client's at a time. That it isn't ours, because the server has given our connection up and
            // we don't know yet, shows in a mask that has nothing of ours; either half may change before we hear of it.
            (None, Some(mask)) => user.is_none() || same_user(mask) || same_host(mask),
            (None, None) => true,
            (Some(gone), _) if now - gone >= GRACE => false,
            (Some(_), Some(mask)) => same_user(mask) && same_host(mask),
            (Some(_), None) => user.is_some_and(|user| shows(user, &self.username)),
        }
    }
}

/// Whether a server may show the user name `username` as `shown`: servers put `~` before a name that identd did not
/// confirm, and cut it to their USERLEN.
pub(super) fn shows(shown: &str, username: &str) -> bool {
    let shown = shown.strip_prefix('~').unwrap_or(shown);
    !shown.is_empty() && username.starts_with(shown)
}

/// All nicks of our links.
#[derive(Debug, Default)]
pub(super) struct Echo {
    nicks: HashMap<(NetworkId, Folded), Own>,
    /// The nick that each link has now.
    current: HashMap<LinkId, Folded>,
}

impl Echo {
    /// `link` has `nick` now, which is folded by `mapping`, and any that it had before no more.
    pub(super) fn has(&mut self, link: &LinkId, nick: &str, mapping: CaseMapping, username: &str, now: Millis) {
        let mask = self.own(link).and_then(|own| own.mask.clone());
        self.lost(link, now);
        if self.nicks.len() > 64 + 2 * self.current.len() {
            self.nicks.retain(|_, own| own.gone.is_none_or(|gone| now - gone < GRACE));
        }
        let own = Own { nick: nick.to_owned(), link: link.clone(), username: username.to_owned(), mask, gone: None };
        let folded = mapping.fold(nick);
        self.current.insert(link.clone(), folded.clone());
        self.nicks.insert((link.network().clone(), folded), own);
    }

    /// The nick that `link` has now.
    pub(super) fn nick_of(&self, link: &LinkId) -> Option<&str> {
        let folded = self.current.get(link)?.clone();
        self.nicks.get(&(link.network().clone(), folded)).map(|own| own.nick.as_str())
    }

    /// Folds the nicks of `network` anew after its case mapping became known or changed.
    pub(super) fn refold(&mut self, network: &NetworkId, mapping: CaseMapping) {
        let (theirs, others): (HashMap<_, _>, HashMap<_, _>) =
            std::mem::take(&mut self.nicks).into_iter().partition(|((of, _), _)| of == network);
        self.nicks = others;
        for own in theirs.into_values() {
            let folded = mapping.fold(&own.nick);
            if own.gone.is_none() {
                self.current.insert(own.link.clone(), folded.clone());
            }
            // One that a link has counts more than one that a link had.
            let place = self.nicks.entry((network.clone(), folded));
            place
                .and_modify(|there| {
                    if there.gone.is_some() {
                        there.clone_from(&own);
                    }
                })
                .or_insert(own);
        }
    }

    /// Others see `link` as `user@host`.
    pub(super) fn seen_as(&mut self, link: &LinkId, user: String, host: String) {
        if let Some(own) = self.own(link) {
            own.mask = Some((user, host));
        }
    }

    /// `link` has no nick any more that we know of.
    pub(super) fn lost(&mut self, link: &LinkId, now: Millis) {
        if let Some(own) = self.own(link) {
            own.gone = Some(now);
        }
        self.current.remove(link);
    }

    /// What is known of the nick that `link` has now.
    fn own(&mut self, link: &LinkId) -> Option<&mut Own> {
        let nick = self.current.get(link)?.clone();
        self.nicks.get_mut(&(link.network().clone(), nick)).filter(|own| own.link == *link)
    }

    /// Whether `link` has this nick, as far as we know.
    pub(super) fn holds(&self, link: &LinkId, folded: &Folded) -> bool {
        self.current.get(link) == Some(folded)
    }

    /// The link that `source` is, if it is one of ours. `folded` is its nick.
    pub(super) fn link_of(
        &self,
        network: &NetworkId,
        folded: &Folded,
        source: &Source,
        now: Millis,
    ) -> Option<&LinkId> {
        let own = self.nicks.get(&(network.clone(), folded.clone()))?;
        own.is(source, now).then_some(&own.link)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `nick`, `nick!user` or `nick!user@host`.
    fn source(mask: &str) -> Source {
        let (nick, rest) = mask.split_once('!').map_or((mask, None), |(nick, rest)| (nick, Some(rest)));
        let (user, host) = rest.map_or((None, None), |rest| match rest.split_once('@') {
            Some((user, host)) => (Some(user), Some(host)),
            None => (Some(rest), None),
        });
        Source { nick: nick.into(), user: user.map(Into::into), host: host.map(Into::into) }
    }

    fn scene() -> (LinkId, Echo, impl Fn(&Echo, &str, Millis) -> bool) {
        let network: NetworkId = "net".parse().unwrap();
        let link = LinkId::puppet(network.clone(), ruma::user_id!("@a:x").to_owned());
        let mut echo = Echo::default();
        echo.has(&link, "Alice[m]", CaseMapping::Rfc1459, "alice", 0);
        let ours = move |echo: &Echo, mask: &str, now| {
            let source = source(mask);
            echo.link_of(&network, &CaseMapping::Rfc1459.fold(&source.nick), &source, now).is_some()
        };
        (link, echo, ours)
    }

    #[test]
    fn ours_are_known_by_the_mask_that_the_server_shows() {
        let (link, mut echo, ours) = scene();
        assert!(ours(&echo, "alice{M}!~u@cloak", 1), "the server may call us what it likes");
        echo.seen_as(&link, "~u".into(), "cloak".into());
        assert!(ours(&echo, "alice[m]!~u@cloak", 2));
        assert!(ours(&echo, "alice[m]!~u@vhost", 2) && ours(&echo, "alice[m]!~x@cloak", 2), "not heard of yet");
        assert!(ours(&echo, "alice[m]", 2), "in NAMES without hosts");
        assert!(!ours(&echo, "alice[m]!~alice@else", 2), "an impostor");
        echo.has(&link, "alice2", CaseMapping::Rfc1459, "alice", 10);
        assert!(ours(&echo, "alice2!~u@cloak", 20), "a mask outlives a nick");
        assert!(!ours(&echo, "alice2!mallory@else", 20));
        assert!(ours(&echo, "alice[m]!~u@cloak", 20), "its old connection may still be there");
        assert!(!ours(&echo, "alice[m]!~u@else", 20) && !ours(&echo, "alice[m]!~alice@cloak", 20));
        assert!(!ours(&echo, "alice[m]", 20), "a nick alone proves nothing once it is given up");
        assert!(!ours(&echo, "alice[m]!~u@cloak", 10 + GRACE));
        assert!(ours(&echo, "alice2!~u@cloak", 10 + GRACE));
        echo.lost(&link, 30);
        echo.has(&link, "alice2", CaseMapping::Rfc1459, "alice", 40);
        assert!(ours(&echo, "alice2!~v@other", 50), "another connection is seen in another way");
    }

    #[test]
    fn nicks_that_were_given_up_unseen_are_known_by_the_user_name() {
        let (link, mut echo, ours) = scene();
        echo.lost(&link, 1);
        assert!(ours(&echo, "alice{M}!~alice@h", 2));
        assert!(ours(&echo, "alice[m]!alic@h", 2), "cut to USERLEN");
        assert!(!ours(&echo, "alice[m]!mallory@h", 2) && !ours(&echo, "alice[m]!~@h", 2));
        assert!(!ours(&echo, "alice[m]!alice@h", 1 + GRACE));
    }

    #[test]
    fn ours_are_known_though_the_case_mapping_is_learnt_late() {
        let network: NetworkId = "net".parse().unwrap();
        let link = LinkId::puppet(network.clone(), ruma::user_id!("@a:x").to_owned());
        let mut echo = Echo::default();
        echo.has(&link, "alice[m]", CaseMapping::Rfc1459, "alice", 0);
        echo.refold(&network, CaseMapping::Ascii);
        let ours = |echo: &Echo, nick| {
            echo.link_of(&network, &CaseMapping::Ascii.fold(nick), &source(&format!("{nick}!alice")), 1).is_some()
        };
        assert!(ours(&echo, "Alice[m]"));
        assert!(!ours(&echo, "alice{m}"), "two people where the server says so");
        echo.lost(&link, 1);
        assert!(echo.link_of(&network, &CaseMapping::Ascii.fold("alice[m]"), &source("alice[m]"), 2).is_none());
    }
}
