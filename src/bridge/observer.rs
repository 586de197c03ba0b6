//! Which link's view of a channel is believed: the bot's where it is in the channel, else the oldest puppet's.

use crate::model::LinkId;

/// Chooses among our links that are in a channel, oldest first.
///
/// An observer that still stands is kept unless the bot has come, since each change costs a roster.
pub(super) fn choose<'a>(present: &'a [LinkId], current: Option<&LinkId>) -> Option<&'a LinkId> {
    let bot = present.iter().find(|link| link.is_bot());
    bot.or_else(|| present.iter().find(|link| Some(*link) == current)).or_else(|| present.first())
}

#[cfg(test)]
mod tests {
    use ruma::UserId;

    use super::*;

    #[test]
    fn the_bot_is_preferred_then_the_current_one_then_the_oldest() {
        let network: crate::model::NetworkId = "net".parse().unwrap();
        let puppet = |name: &str| LinkId::puppet(network.clone(), UserId::parse(format!("@{name}:x")).unwrap());
        let (bot, a, b) = (LinkId::bot(network.clone()), puppet("a"), puppet("b"));
        assert_eq!(choose(&[], None), None);
        assert_eq!(choose(&[a.clone(), b.clone()], None), Some(&a));
        assert_eq!(choose(&[a.clone(), b.clone()], Some(&b)), Some(&b));
        assert_eq!(choose(&[a.clone(), b.clone(), bot.clone()], Some(&a)), Some(&bot));
        assert_eq!(choose(std::slice::from_ref(&a), Some(&bot)), Some(&a));
    }
}
