//! Which ghosts belong into a room. Pure: who is in the channel says the roster, who is in the room knows its lane.

use std::sync::Arc;

use super::ghosts::Ghost;
use crate::model::Members;

/// What ties somebody to the rooms of a channel, besides being there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ties {
    /// They joined while we looked on.
    pub(super) came: bool,
    /// They have said something.
    pub(super) spoke: bool,
}

/// The ghost of somebody who is in a channel of the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resident {
    pub(super) ghost: Arc<Ghost>,
    /// Which ghosts are to be in the room.
    pub(super) members: Members,
    pub(super) ties: Ties,
}

/// Whether the ghost of somebody in the channel belongs into the room. Where it is already counts: the room remembers
/// over restarts who has joined or spoken.
pub(super) const fn belongs(members: Members, ties: Ties, is_there: bool) -> bool {
    match members {
        Members::Full => true,
        Members::Joined => ties.came || ties.spoke || is_there,
        Members::Speakers => ties.spoke || is_there,
        Members::None => false,
    }
}

/// Which ghosts are to be in a room: as was said, else by the size of the channel.
pub(super) const fn members(said: Option<Members>, crowded: bool) -> Members {
    match said {
        Some(said) => said,
        None if crowded => Members::Speakers,
        None => Members::Full,
    }
}

/// Whether so many people are too many for all of them to be in a room. A channel whose size goes up and down around the
/// limit doesn't have its ghosts come and go.
pub(super) const fn is_crowded(was: bool, people: usize, limit: usize) -> bool {
    if was { people >= limit - limit / 4 } else { people >= limit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r77_who_belongs_into_a_room() {
        let nothing = Ties::default();
        let came = Ties { came: true, spoke: false };
        let spoke = Ties { came: false, spoke: true };
        for (members, none, by_coming, by_speaking, by_being_there) in [
            (Members::Full, true, true, true, true),
            (Members::Joined, false, true, true, true),
            (Members::Speakers, false, false, true, true),
            (Members::None, false, false, false, false),
        ] {
            assert_eq!(belongs(members, nothing, false), none, "{members}");
            assert_eq!(belongs(members, came, false), by_coming, "{members}");
            assert_eq!(belongs(members, spoke, false), by_speaking, "{members}");
            assert_eq!(belongs(members, nothing, true), by_being_there, "{members}");
        }
    }

    #[test]
    fn r77_a_channel_around_the_limit_doesnt_change_its_mind() {
        let mut crowded = false;
        let sizes = [999, 1000, 999, 800, 750, 749, 750, 999, 1000, 0];
        let seen = sizes.map(|people| {
            crowded = is_crowded(crowded, people, 1000);
            crowded
        });
        assert_eq!(seen, [false, true, true, true, true, false, false, false, true, false]);
        assert!(is_crowded(false, 0, 0) && is_crowded(true, 0, 0), "0: always");
        assert!(is_crowded(true, 1, 1) && !is_crowded(true, 0, 1));
    }

    #[test]
    fn what_was_said_goes_before_the_size() {
        assert_eq!(members(None, false), Members::Full);
        assert_eq!(members(None, true), Members::Speakers);
        for said in Members::ALL {
            assert_eq!(members(Some(said), true), said);
        }
    }
}
