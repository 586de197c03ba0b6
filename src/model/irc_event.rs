//! What a link tells the bridge of IRC.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Failure, Isupport, Millis, ModeChange};

/// Who sent a line: `nick!user@host`, or a server's name alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Source {
    /// The nick, or the server's name.
    pub nick: String,
    /// The user name (ident), with its `~` if it wasn't verified.
    pub user: Option<String>,
    /// The host, perhaps cloaked.
    pub host: Option<String>,
}

/// How a line of text is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextKind {
    /// PRIVMSG.
    Privmsg,
    /// NOTICE: never answered automatically.
    Notice,
    /// PRIVMSG with CTCP ACTION: `/me`.
    Action,
}

/// To whom a line of text was said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextTarget {
    /// To a channel.
    Channel {
        /// Its name, as the server wrote it.
        name: String,
        /// The rank from which on it was meant to be read (`@#channel`), if not by all.
        status: Option<char>,
    },
    /// To this link's nick.
    Own,
}

/// One person in a complete roster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterMember {
    /// Who; user and host where the server tells.
    pub source: Source,
    /// The prefixes shown, highest first.
    pub prefixes: String,
    /// The account they're logged in to, where the server tells.
    pub account: Option<String>,
}

/// What a server says of somebody on it, to whom it lets know it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// The account they are logged in to; empty where the server says only that they are.
    pub account: Option<String>,
    /// The channels that it shows, each with the prefixes of their ranks there.
    pub channels: Vec<(String, String)>,
}

/// Something that happened on IRC, as one link saw it.
///
/// A link tells what concerns itself, and what concerns a channel only while it is that channel's observer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IrcEvent {
    /// Text in an observed channel, or to this link. Never this link's own (see `Fate` for those).
    Text {
        /// Who said it.
        source: Source,
        /// To whom.
        target: TextTarget,
        /// How it is meant.
        kind: TextKind,
        /// What; without CTCP framing, control codes as they came.
        text: String,
        /// The server's id of the message.
        msgid: Option<String>,
        /// The sender's account.
        account: Option<String>,
    },
    /// Somebody else joined an observed channel.
    Joined {
        /// The channel.
        channel: String,
        /// Who.
        source: Source,
        /// Their account (extended-join, account-tag).
        account: Option<String>,
    },
    /// Somebody else left an observed channel.
    Parted {
        /// The channel.
        channel: String,
        /// Who.
        source: Source,
        /// What they said.
        reason: Option<String>,
    },
    /// Somebody else was removed from an observed channel.
    Kicked {
        /// The channel.
        channel: String,
        /// By whom.
        source: Source,
        /// Who was removed.
        nick: String,
        /// Why.
        reason: Option<String>,
    },
    /// Somebody else left the network. Told by a link that observes any channel.
    Quit {
        /// Who.
        source: Source,
        /// What they, or the server, said.
        reason: Option<String>,
    },
    /// Somebody else has another nick now. Told by a link that observes any channel.
    Renamed {
        /// Who, under the old nick.
        source: Source,
        /// The new nick.
        nick: String,
    },
    /// The topic of an observed channel: changed (with a source), or as it stands at the join (without).
    Topic {
        /// The channel.
        channel: String,
        /// Who changed it.
        source: Option<Source>,
        /// The topic; empty when there is none.
        topic: String,
    },
    /// Everyone in an observed channel, this link included.
    Roster {
        /// The channel.
        channel: String,
        /// Everyone.
        members: Vec<RosterMember>,
    },
    /// Modes of an observed channel were changed.
    Modes {
        /// The channel.
        channel: String,
        /// By whom.
        source: Source,
        /// What was changed, in order.
        changes: Vec<ModeChange>,
    },
    /// The settings of an observed channel, all of them, but no lists (RPL_CHANNELMODEIS).
    Settings {
        /// The channel.
        channel: String,
        /// What is set.
        modes: Vec<ModeChange>,
    },
    /// A list of an observed channel, complete.
    List {
        /// The channel.
        channel: String,
        /// The list mode's letter, such as `b`.
        letter: char,
        /// What is in it.
        masks: Vec<String>,
    },
    /// The accounts of people in an observed channel (WHOX).
    Accounts {
        /// The channel.
        channel: String,
        /// Nicks and accounts; without one they aren't logged in.
        accounts: Vec<(String, Option<String>)>,
    },
    /// Somebody has logged in or out. Told by a link that observes any channel.
    Account {
        /// Who.
        source: Source,
        /// Their account now.
        account: Option<String>,
    },
    /// Somebody is seen under another user name and host now. Told by a link that observes any channel.
    Rehosted {
        /// Who, as they were seen before.
        source: Source,
        /// The user name now.
        user: String,
        /// The host now.
        host: String,
    },
    /// This link stood by and is the observer now: the text that follows is what it has heard since then, which others
    /// may have told. In milliseconds since the Unix epoch, by our clock.
    Recalls {
        /// The channel.
        channel: String,
        /// Since when.
        since: Millis,
    },
    /// Who is in a channel that this link isn't in, as far as the server shows it to outsiders.
    Names {
        /// The channel that was asked for.
        channel: String,
        /// Whom the server shows; nobody where it hides the channel.
        members: Vec<RosterMember>,
    },
    /// Who somebody is, as the server says (WHOIS).
    Whois {
        /// The nick that was asked for.
        nick: String,
        /// `None`: nobody has it.
        profile: Option<Profile>,
    },
    /// Somebody invites this link to a channel.
    Invited {
        /// By whom.
        source: Source,
        /// To which channel.
        channel: String,
    },
    /// This link is in the channel now.
    OwnJoined {
        /// The channel, as the server writes it.
        channel: String,
    },
    /// This link has left the channel.
    OwnParted {
        /// The channel.
        channel: String,
    },
    /// This link was removed from the channel.
    OwnKicked {
        /// The channel.
        channel: String,
        /// By whom.
        source: Source,
        /// Why.
        reason: Option<String>,
    },
    /// This link could not join the channel; it won't try again unless asked, or after a reconnect.
    JoinRefused {
        /// The channel that was asked for.
        channel: String,
        /// Why.
        failure: Failure,
    },
    /// This link is seen by others as `nick!user@host` with these now: told where it becomes known, and when it changes.
    OwnMask {
        /// The user name, as the server shows it: perhaps not what was asked for.
        user: String,
        /// The host, perhaps cloaked.
        host: String,
    },
    /// This link has another nick now.
    OwnNick {
        /// The new nick.
        nick: String,
    },
}

impl IrcEvent {
    /// Whether this is something people said, which must not be lost: it is journalled before it counts as received.
    #[must_use]
    pub const fn is_content(&self) -> bool {
        matches!(self, Self::Text { .. })
    }
}

/// What a link is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// Waiting to dial (again).
    Waiting {
        /// When, at the earliest; in milliseconds since the Unix epoch.
        until: Millis,
        /// What went wrong, if anything did.
        failure: Option<Failure>,
    },
    /// Dialing, negotiating, registering.
    Connecting {
        /// Which server.
        server: String,
    },
    /// On the network.
    Ready {
        /// The nick it has.
        nick: String,
        /// What the server said of itself.
        isupport: Arc<Isupport>,
    },
    /// The network refuses it; nothing more is tried until a person acts.
    Refused {
        /// Why, in the server's words.
        failure: Failure,
    },
    /// Closed because the bridge asked for it.
    Closed,
}
