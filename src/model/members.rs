//! How much of a channel's people are in its room.

use std::{fmt, str::FromStr};

/// Which ghosts are in a room. In order: the most first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Members {
    /// Those of everyone who is in the channel.
    Full,
    /// Those of who has joined the channel since, and of who speaks.
    Joined,
    /// Those of who has spoken, until they leave the channel.
    Speakers,
    /// Those of who speaks just now.
    None,
}

impl Members {
    /// Every mode.
    pub const ALL: [Self; 4] = [Self::Full, Self::Joined, Self::Speakers, Self::None];

    /// As people write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Joined => "joined",
            Self::Speakers => "speakers",
            Self::None => "none",
        }
    }
}

impl fmt::Display for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Members {
    type Err = String;

    /// Reads what people write.
    ///
    /// # Errors
    /// What may be written instead.
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not full, joined, speakers or none"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_read_as_it_is_written_and_nothing_else_is() {
        for mode in Members::ALL {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        assert_eq!("all".parse::<Members>(), Err("`all` is not full, joined, speakers or none".to_owned()));
    }
}
