//! Power for ranks: a room's power levels, as the ranks that people have on IRC want them.

use ruma::{OwnedUserId, UserId};

use super::worker::{Worker, report};
use crate::{matrix::MatrixError, translate::PowerLevels};

const KIND: &str = "m.room.power_levels";

impl Worker {
    /// Gives everybody the power that their rank is worth, and takes it from those who have none any more: all changes as
    /// one event, and none if nothing changes. Doing it again is harmless.
    pub(super) async fn set_powers(&self) {
        let set = self.try_powers().await;
        if !matches!(set, Err(MatrixError::Stopped)) {
            report(&self.room, "give people the power of their ranks on IRC", &set);
        }
    }

    async fn try_powers(&self) -> Result<(), MatrixError> {
        let (out, room) = (&self.out, &self.room);
        let ask = || self.ask(|| out.noise.creators(room, None));
        let creators = self.creators.get_or_try_init(ask).await?;
        let now = self.ask(|| out.noise.state(room, KIND, "", None)).await?;
        let Some(now) = now.as_deref().and_then(PowerLevels::read) else { return Ok(()) };
        let mut levels = now.clone();
        self.apply(&mut levels, creators);
        if levels == now {
            return Ok(());
        }
        let mut sent = self.send_levels(&levels).await;
        while sent.as_ref().is_err_and(|error| error.errcode() == Some("M_TOO_LARGE")) && self.shrink(&mut levels) {
            sent = self.send_levels(&levels).await;
        }
        sent
    }

    /// Makes room in levels that are too many: who isn't there needs none; then those go without that matter least.
    /// False if nothing can be left out.
    fn shrink(&self, levels: &mut PowerLevels) -> bool {
        let absent = self.absent(levels);
        for user in &absent {
            levels.forget(user);
        }
        !absent.is_empty() || levels.take_back_lowest()
    }

    /// Takes our ghosts out of the power levels, whoever has named them there.
    pub(super) async fn forget_ghosts(&self) -> Result<(), MatrixError> {
        let (out, room) = (&self.out, &self.room);
        let now = self.ask(|| out.noise.state(room, KIND, "", None)).await?;
        let Some(now) = now.as_deref().and_then(PowerLevels::read) else { return Ok(()) };
        let mut levels = now.clone();
        for ghost in self.absent(&now) {
            levels.forget(&ghost);
        }
        if levels == now { Ok(()) } else { self.send_levels(&levels).await }
    }

    async fn send_levels(&self, levels: &PowerLevels) -> Result<(), MatrixError> {
        let content = levels.content();
        self.ask(|| self.out.noise.send_state(&self.room, KIND, "", &content, None)).await.map(drop)
    }

    /// Changes the levels to what they should be, as far as the bot may.
    fn apply(&self, levels: &mut PowerLevels, creators: &[OwnedUserId]) {
        let (ranks, joined) = self.queue.powers();
        let bot = &self.out.ours.bot;
        let authority = if creators.contains(bot) { i64::MAX } else { levels.of(bot) };
        if authority < levels.needed(KIND) {
            tracing::debug!(portal.room = %self.room, authority, "the bridge's bot may not give anybody power in this room");
            return;
        }
        let here = |user: &UserId| !self.out.ours.includes(user) || joined.contains(user);
        let named: Vec<OwnedUserId> =
            levels.given().chain(levels.users()).filter_map(|user| user.try_into().ok()).collect();
        let ghosts_and_given = named.iter().filter(|user| self.out.ours.includes(user) || levels.was_given(user));
        let users: Vec<OwnedUserId> = ghosts_and_given.chain(ranks.keys()).cloned().collect();
        for user in users {
            // Who has as much as the bot can't be changed by it, and whom it gave as much it couldn't take it from again.
            if user == *bot || creators.contains(&user) || levels.of(&user) >= authority {
                continue;
            }
            let worth = ranks.get(&user).copied().filter(|_| here(&user)).unwrap_or(0);
            levels.give(&user, worth.min(authority.saturating_sub(1)));
        }
    }

    /// Our ghosts that are named and aren't in the room.
    fn absent(&self, levels: &PowerLevels) -> Vec<OwnedUserId> {
        let (_, joined) = self.queue.powers();
        let named = levels.users().filter_map(|user| OwnedUserId::try_from(user).ok());
        let bot = &self.out.ours.bot;
        named.filter(|user| user != bot && self.out.ours.includes(user) && !joined.contains(user)).collect()
    }
}
