//! `[network.ID.ranks]`: what the ranks of a channel are worth in its rooms.

use std::collections::BTreeMap;

use crate::config::reader::Section;

/// Power levels by rank. Letters are those of the modes that give a rank (PREFIX); with several ranks the highest level
/// counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranks(BTreeMap<char, u8>);

/// Nobody gets the power of a room's owner from IRC.
const MOST: u32 = 99;

impl Ranks {
    pub(super) fn read(section: &Section<'_>) -> Option<Self> {
        let mut ranks = Self::default().0;
        for (key, level) in section.pairs::<u32>(&["q", "a", "o", "h", "v"])? {
            let mut letters = key.chars();
            let (Some(letter), None) = (letters.next().filter(char::is_ascii_alphabetic), letters.next()) else {
                section.problem(key, "this is no rank: a rank is the letter of a channel mode, such as o or v");
                return None;
            };
            match u8::try_from(level) {
                Ok(level) if u32::from(level) <= MOST => ranks.insert(letter, level),
                _ => {
                    section.problem(key, format!("{level} is too much power for IRC to give: use 0 to {MOST}"));
                    return None;
                }
            };
        }
        Some(Self(ranks))
    }

    /// The power level of somebody with these ranks; 0 without any that count.
    #[must_use]
    pub fn level(&self, ranks: &str) -> i64 {
        ranks.chars().filter_map(|rank| self.0.get(&rank)).copied().max().unwrap_or(0).into()
    }

    /// The most that anybody gets.
    #[must_use]
    pub fn most(&self) -> i64 {
        self.0.values().copied().max().unwrap_or(0).into()
    }
}

/// As people know them on both sides: operators moderate, and a voice is little more than being there.
impl Default for Ranks {
    fn default() -> Self {
        Self(BTreeMap::from([('q', 50), ('a', 50), ('o', 50), ('h', 25), ('v', 1)]))
    }
}
