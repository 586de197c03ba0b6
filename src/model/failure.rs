//! What became of something a user sent, in words that the user can act on.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What became of a command handed to a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// The server took it, by its own word.
    Delivered {
        /// The id that the server gave the (last) message, where it gives any.
        msgid: Option<String>,
    },
    /// It did not arrive, or it isn't known whether it did (see [`Failure::certain`]).
    Failed(Failure),
}

/// Why something did not reach the other side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of failure, for machines.
    pub reason: Reason,
    /// False: it was on its way when we lost sight of it; it may have arrived, and it is never sent twice.
    pub certain: bool,
    /// What is known to have arrived all the same.
    #[serde(default, skip_serializing_if = "Arrived::is_nothing")]
    pub arrived: Arrived,
    /// More about it, in our words.
    pub detail: Option<String>,
    /// What the server said, where it said anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
}

/// How much of something that failed is known to have arrived: its author shouldn't send that again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrived {
    /// Nothing.
    #[default]
    Nothing,
    /// The first lines, as its author wrote them, and nothing beyond.
    Lines {
        /// So many of them.
        first: u32,
        /// How many there are.
        of: u32,
    },
    /// Something that can't be counted in lines from the first one on.
    Part,
}

impl Arrived {
    fn is_nothing(&self) -> bool {
        *self == Self::Nothing
    }
}

/// What it is that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Something said.
    Message,
    /// A topic to be set.
    Topic,
    /// Somebody to be removed from a channel.
    Kick,
    /// The user's own coming onto IRC.
    Join,
    /// Somebody on IRC invited to talk.
    Invitation,
}

/// The kinds of failure, each with the sentence that its user is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The channel refused the message (404): muted, banned, or moderated.
    CannotSend,
    /// Nobody of that nick is on IRC (401).
    NoSuchNick,
    /// Nobody of that nick is in the channel (441).
    NotThere,
    /// Who was invited to the channel is in it already (443).
    ThereAlready,
    /// The channel's list of bans has no room for another (478).
    ListFull,
    /// The channel does not exist or may not be joined (403).
    NoSuchChannel,
    /// Banned from the channel (474).
    Banned,
    /// The channel is invite-only (473).
    InviteOnly,
    /// The channel needs another key (475).
    BadKey,
    /// The channel is full (471).
    ChannelFull,
    /// The channel or person takes only registered users (477, 486, 489).
    NeedsAccount,
    /// The channel takes only encrypted connections (480, 489).
    NeedsTls,
    /// The user is in as many channels as the network allows (405).
    TooManyChannels,
    /// The server sends newcomers of this channel to another one (470), which isn't the one that was asked for.
    Forwarded,
    /// The server refused for another reason.
    Refused,
    /// The server asks to slow down (707, 439, 480).
    TooFast,
    /// The user isn't in the channel (442, or no JOIN came back).
    NotJoined,
    /// The network refuses the connection until a person acts (K-line, bad password).
    LinkRefused,
    /// The connection was lost.
    LinkLost,
    /// No connection could be made.
    Unreachable,
    /// It waited longer than messages may wait.
    TooOld,
    /// Too much was waiting already.
    QueueFull,
    /// More lines than one message may have.
    TooLong,
    /// The user, their homeserver or the room is on a list of who may not use the bridge.
    Listed,
    /// The network's share of puppets is used up.
    PuppetLimit,
    /// A kind of message that isn't bridged.
    Unsupported,
    /// An encrypted message, which the bridge can't read.
    Encrypted,
    /// The name is no nick or channel that IRC could know.
    BadName,
    /// The bridge was stopped while this was on its way.
    Interrupted,
    /// Nothing on IRC belongs to the room (any more).
    NotBridged,
    /// The bridge's bot was shown out of the room.
    BotOut,
}

impl Failure {
    /// A failure that is sure: the other side has not got it.
    #[must_use]
    pub const fn certain(reason: Reason) -> Self {
        Self { reason, certain: true, arrived: Arrived::Nothing, detail: None, words: None }
    }

    /// We lost sight of it.
    #[must_use]
    pub const fn uncertain(reason: Reason) -> Self {
        Self { reason, certain: false, arrived: Arrived::Nothing, detail: None, words: None }
    }

    /// Adds words of ours.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds the server's words.
    #[must_use]
    pub fn with_words(mut self, words: impl Into<String>) -> Self {
        self.words = Some(words.into());
        self
    }
}

impl Reason {
    /// The sentence's end: "Your message did not reach IRC: …".
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::CannotSend => {
                "the channel doesn't let you speak (it may be moderated, or you may be muted or banned)"
            }
            Self::NoSuchNick => "nobody of that name is on IRC now",
            Self::NotThere => "nobody of that name is in the channel on IRC",
            Self::ThereAlready => "they are in the channel on IRC already",
            Self::ListFull => "the channel's list has no room for more",
            Self::NoSuchChannel => "there is no such channel",
            Self::Banned => "you are banned from the channel",
            Self::InviteOnly => "the channel is invite-only",
            Self::BadKey => "the channel has a key (password) that the bridge doesn't know",
            Self::ChannelFull => "the channel is full",
            Self::NeedsAccount => "it takes only users who are logged in to an IRC account",
            Self::NeedsTls => "the channel takes only users whose connection is encrypted all the way",
            Self::TooManyChannels => "you are in as many channels as the network allows",
            Self::Forwarded => "the network sends newcomers of this channel to another one",
            Self::Refused => "the IRC server refused it",
            Self::TooFast => "the IRC server asks you to slow down; try again in a minute",
            Self::NotJoined => "you aren't in the channel on IRC",
            Self::LinkRefused => "the IRC network refuses your connection",
            Self::LinkLost => "your connection to IRC was lost",
            Self::Unreachable => "the IRC network can't be reached",
            Self::TooOld => "it waited too long for the connection to IRC",
            Self::QueueFull => "too many of your messages are waiting already",
            Self::TooLong => "it has more lines than IRC would bear",
            Self::Listed => "you, your homeserver or this room are on a list of who may not use the bridge",
            Self::PuppetLimit => "the bridge has as many users on this network as it may have",
            Self::Unsupported => "it is of a kind that can't be sent to IRC",
            Self::Encrypted => "encrypted messages can't be sent to IRC",
            Self::BadName => "that is no name that IRC could know",
            Self::Interrupted => "the bridge was stopped while it was on its way",
            Self::NotBridged => "the room isn't bridged to IRC (any more)",
            Self::BotOut => "the bridge's bot was removed from the room; it comes back when it is invited",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.sentence())?;
        if let Some(detail) = self.detail.as_deref().filter(|detail| !detail.is_empty()) {
            write!(f, ": {detail}")?;
        }
        if let Some(words) = self.words.as_deref().filter(|words| !words.is_empty()) {
            write!(f, " (the server said: {words})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r2_only_the_servers_words_are_called_the_servers() {
        let refused = Failure::certain(Reason::Refused);
        assert_eq!(refused.to_string(), "the IRC server refused it");
        assert_eq!(refused.clone().with_words("No.").to_string(), "the IRC server refused it (the server said: No.)");
        assert_eq!(refused.clone().with_words("").to_string(), refused.to_string());
        assert_eq!(
            Failure::certain(Reason::Unreachable).with_detail("no route").to_string(),
            "the IRC network can't be reached: no route"
        );
        let both = Failure::certain(Reason::LinkLost).with_detail("it was closed").with_words("Bye.");
        assert_eq!(both.to_string(), "your connection to IRC was lost: it was closed (the server said: Bye.)");
    }
}
