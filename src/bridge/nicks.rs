//! Whose nicks are whose: which nick is kept for which Matrix user, so that nobody else asks for it first.
//!
//! Owner of the nicks of one network that puppets have or had last, those that the database remembers included. A user
//! keeps one.

use std::collections::HashMap;

use ruma::{OwnedUserId, UserId};

use crate::model::{CaseMapping, Folded};

/// The kept nicks of one network.
#[derive(Debug, Default)]
pub(super) struct Nicks {
    holders: HashMap<Folded, OwnedUserId>,
    /// By holder, as it is written.
    kept: HashMap<OwnedUserId, String>,
}

impl Nicks {
    /// Keeps a nick for `user`, in place of the one before.
    pub(super) fn keep(&mut self, user: &UserId, nick: &str, mapping: CaseMapping) {
        if let Some(before) = self.kept.insert(user.to_owned(), nick.to_owned()) {
            let before = mapping.fold(&before);
            if self.holders.get(&before).is_some_and(|holder| holder == user) {
                self.holders.remove(&before);
            }
        }
        let loser = self.holders.insert(mapping.fold(nick), user.to_owned());
        if let Some(loser) = loser.filter(|loser| loser != user) {
            self.kept.remove(&loser);
        }
    }

    /// Whether `user` may ask for a nick: it isn't kept for somebody else.
    pub(super) fn is_free_for(&self, user: &UserId, nick: &str, mapping: CaseMapping) -> bool {
        self.holders.get(&mapping.fold(nick)).is_none_or(|holder| holder == user)
    }

    /// Folds all anew after the network's case mapping became known or changed.
    pub(super) fn refold(&mut self, mapping: CaseMapping) {
        self.holders = self.kept.iter().map(|(user, nick)| (mapping.fold(nick), user.clone())).collect();
    }
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;

    #[test]
    fn r72_a_nick_is_kept_for_one_user_until_they_have_another() {
        let (alice, bob) = (user_id!("@alice:hs.test"), user_id!("@bob:hs.test"));
        let mut nicks = Nicks::default();
        let mapping = CaseMapping::Ascii;
        nicks.keep(alice, "Alex[m]", mapping);
        assert!(nicks.is_free_for(alice, "alex[m]", mapping) && !nicks.is_free_for(bob, "alex[m]", mapping));
        nicks.refold(CaseMapping::Rfc1459);
        assert!(!nicks.is_free_for(bob, "alex{m}", CaseMapping::Rfc1459));
        nicks.keep(alice, "Alice[m]", CaseMapping::Rfc1459);
        assert!(nicks.is_free_for(bob, "Alex[m]", CaseMapping::Rfc1459));
        // Whoever was given it on IRC has it, whoever had it before.
        nicks.keep(bob, "Alice[m]", CaseMapping::Rfc1459);
        nicks.keep(alice, "Alex[m]", CaseMapping::Rfc1459);
        assert!(!nicks.is_free_for(alice, "Alice[m]", CaseMapping::Rfc1459));
        let carol = user_id!("@carol:hs.test");
        nicks.keep(carol, "Alice[m]", CaseMapping::Rfc1459);
        for mapping in [CaseMapping::Ascii, CaseMapping::Rfc1459] {
            nicks.refold(mapping);
            assert!(nicks.is_free_for(carol, "Alice[m]", mapping) && !nicks.is_free_for(bob, "Alice[m]", mapping));
        }
    }
}
