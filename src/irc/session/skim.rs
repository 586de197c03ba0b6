//! The lines that a link needn't act on, recognised from their bytes.
//!
//! Of a thousand lines that a puppet in a big channel gets, it acts on one. Each of the others is known here for what
//! it is, and dropped without allocating anything (invariant 6): a channel's talk and comings and goings where the
//! link doesn't observe the channel, and doings of others where it observes none.

use super::{
    channels::{Channel, Channels},
    connection::Connection,
    numeric,
};
use crate::{
    irc::wire::Line,
    model::{CaseMapping, Isupport},
};

/// Whether `line` calls for nothing at all.
pub(super) fn is_noise(line: &Line<'_>, connection: &Connection, channels: &Channels, isupport: &Isupport) -> bool {
    let mapping = isupport.casemapping;
    let own = || mapping.same_bytes(line.nick(), connection.me.nick.as_bytes());
    match line.command {
        b"PRIVMSG" | b"NOTICE" => {
            let target = line.param(0);
            if mapping.same_bytes(target, connection.me.nick.as_bytes()) {
                return false;
            }
            // Our own lines come back as receipts, wherever they went.
            !watched(channels, channel_of(target, isupport), mapping) && !own()
        }
        b"TAGMSG" | b"AWAY" | b"SETNAME" | b"WALLOPS" | b"GLOBOPS" => true,
        b"JOIN" | b"PART" | b"TOPIC" => {
            !line.param(0).split(|b| *b == b',').any(|name| watched(channels, name, mapping)) && !own()
        }
        b"KICK" => {
            let kicked = |nick| mapping.same_bytes(nick, connection.me.nick.as_bytes());
            !watched(channels, line.param(0), mapping) && !line.param(1).split(|b| *b == b',').any(kicked) && !own()
        }
        // Nobody but an observer's channel is of interest: what we are, others may know.
        b"MODE" => !watched(channels, line.param(0), mapping),
        b"ACCOUNT" => !channels.any_watched(),
        b"QUIT" | b"NICK" => !channels.any_watched() && !connection.regain.is_waiting() && !own(),
        b"CHGHOST" => !channels.any_watched() && !own(),
        // Some of it may be what was asked for.
        _ if !connection.questions.is_empty() => false,
        _ => match line.numeric() {
            // Rosters and topics come unasked after each JOIN.
            Some(numeric::RPL_NAMREPLY) => !watched(channels, line.param(2), mapping),
            Some(numeric::RPL_ENDOFNAMES | numeric::RPL_TOPIC | numeric::RPL_NOTOPIC | numeric::RPL_CHANNELMODEIS) => {
                !watched(channels, line.param(1), mapping)
            }
            _ => false,
        },
    }
}

/// A channel's name without the ranks that a message to it was limited to (STATUSMSG).
pub(super) fn channel_of<'a>(target: &'a [u8], isupport: &Isupport) -> &'a [u8] {
    let is_rank = |b: &u8| isupport.statusmsg.as_bytes().contains(b);
    let start = target.iter().position(|b| !is_rank(b)).unwrap_or(target.len());
    let is_channel = |at: usize| target.get(at).is_some_and(|b| isupport.chantypes.as_bytes().contains(b));
    // A character may be both a rank and the beginning of a channel: `+#a` is a message to ranks, `+a` a channel.
    if is_channel(start) { &target[start..] } else { target }
}

fn watched(channels: &Channels, name: &[u8], mapping: CaseMapping) -> bool {
    channels.get(name, mapping).is_some_and(Channel::is_watched)
}
