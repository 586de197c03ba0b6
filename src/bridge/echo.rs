//! Which people on IRC are ourselves: so that what our links say and do is not bridged back.
//!
//! By link, not by nick alone: a source is ours when it has a nick that one of our links has or had a while ago,
//! *and* that link's user name, which is unique on the network. Somebody else who takes a puppet's old nick is seen
//! as himself.

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
    /// When the link stopped having it.
    gone: Option<Millis>,
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
        self.lost(link, now);
        if self.nicks.len() > 64 + 2 * self.current.len() {
            self.nicks.retain(|_, own| own.gone.is_none_or(|gone| now - gone < GRACE));
        }
        let own = Own { nick: nick.to_owned(), link: link.clone(), username: username.to_owned(), gone: None };
        let folded = mapping.fold(nick);
        self.current.insert(link.clone(), folded.clone());
        self.nicks.insert((link.network().clone(), folded), own);
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

    /// `link` has no nick any more that we know of.
    pub(super) fn lost(&mut self, link: &LinkId, now: Millis) {
        let Some(nick) = self.current.remove(link) else { return };
        if let Some(own) = self.nicks.get_mut(&(link.network().clone(), nick)).filter(|own| own.link == *link) {
            own.gone = Some(now);
        }
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
        let current = own.gone.is_none_or(|gone| now - gone < GRACE);
        let same_user = match source.user.as_deref() {
            // Servers put `~` before a name that identd did not confirm, and cut it to their USERLEN.
            Some(user) => {
                let user = user.strip_prefix('~').unwrap_or(user);
                !user.is_empty() && own.username.starts_with(user)
            }
            None => own.gone.is_none(),
        };
        (current && same_user).then_some(&own.link)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(nick: &str, user: Option<&str>) -> Source {
        Source { nick: nick.into(), user: user.map(Into::into), host: None }
    }

    #[test]
    fn ours_are_known_by_link_and_not_by_nick_alone() {
        let network: NetworkId = "net".parse().unwrap();
        let fold = |nick: &str| CaseMapping::Rfc1459.fold(nick);
        let link = LinkId::puppet(network.clone(), ruma::user_id!("@a:x").to_owned());
        let mut echo = Echo::default();
        echo.has(&link, "Alice[m]", CaseMapping::Rfc1459, "alice", 0);
        let ours = |echo: &Echo, nick: &str, user: Option<&str>, now| {
            echo.link_of(&network, &fold(nick), &source(nick, user), now).is_some()
        };
        assert!(ours(&echo, "alice{M}", Some("~alice"), 1));
        assert!(ours(&echo, "alice[m]", Some("alic"), 1), "cut to USERLEN");
        assert!(ours(&echo, "alice[m]", None, 1), "in NAMES without hosts");
        assert!(!ours(&echo, "alice[m]", Some("mallory"), 1), "an impostor");
        echo.has(&link, "alice2", CaseMapping::Rfc1459, "alice", 10);
        assert!(ours(&echo, "alice[m]", Some("alice"), 20), "its old connection may still be there");
        assert!(!ours(&echo, "alice[m]", None, 20), "a nick alone proves nothing once it is given up");
        assert!(!ours(&echo, "alice[m]", Some("alice"), 10 + GRACE));
        assert!(ours(&echo, "alice2", Some("alice"), 10 + GRACE));
    }

    #[test]
    fn ours_are_known_though_the_case_mapping_is_learnt_late() {
        let network: NetworkId = "net".parse().unwrap();
        let link = LinkId::puppet(network.clone(), ruma::user_id!("@a:x").to_owned());
        let mut echo = Echo::default();
        echo.has(&link, "alice[m]", CaseMapping::Rfc1459, "alice", 0);
        echo.refold(&network, CaseMapping::Ascii);
        let ours = |echo: &Echo, nick| {
            echo.link_of(&network, &CaseMapping::Ascii.fold(nick), &source(nick, Some("alice")), 1).is_some()
        };
        assert!(ours(&echo, "Alice[m]"));
        assert!(!ours(&echo, "alice{m}"), "two people where the server says so");
        echo.lost(&link, 1);
        assert!(echo.link_of(&network, &CaseMapping::Ascii.fold("alice[m]"), &source("alice[m]", None), 2).is_none());
    }
}
