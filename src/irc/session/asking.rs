//! Questions that the bridge asks of a server: who is in a channel that we aren't in, and who somebody is.
//!
//! They wait behind everything that somebody waits for, and end with the connection. Bounded in number and in what is kept
//! of an answer.

use super::{Output, Session, State, incoming::tell, numeric};
use crate::{
    irc::{
        roster::Roster,
        wire::{Illegal, Line, LineWriter},
    },
    model::{IrcEvent, Isupport, Profile},
    translate,
};

/// More questions than anybody asks at a time.
const MOST_QUESTIONS: usize = 256;
/// More channels than anybody is in.
const MOST_CHANNELS: usize = 1000;

/// What was asked and isn't answered yet.
#[derive(Debug)]
pub(super) struct Questions {
    names: Vec<(String, Roster)>,
    whois: Vec<(String, Option<Profile>)>,
}

impl Questions {
    pub(super) const fn new() -> Self {
        Self { names: Vec::new(), whois: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty() && self.whois.is_empty()
    }
}

impl Session {
    pub(super) fn ask_names(&mut self, channel: String) {
        let mapping = self.isupport.casemapping;
        // What we are in tells its own story.
        if !translate::valid_channel(&channel, &self.isupport) || self.channels.is_in(&channel, mapping) {
            return;
        }
        let known = |questions: &Questions| questions.names.iter().any(|(asked, _)| mapping.same(asked, &channel));
        if self.ask(known, |line| line.names(&channel))
            && let State::On(connection) = &mut self.state
        {
            connection.questions.names.push((channel, Roster::default()));
        }
    }

    pub(super) fn ask_whois(&mut self, nick: String) {
        let mapping = self.isupport.casemapping;
        if !translate::possible_nick(&nick, &self.isupport) {
            return;
        }
        let known = |questions: &Questions| questions.whois.iter().any(|(asked, _)| mapping.same(asked, &nick));
        if self.ask(known, |line| line.whois(&nick))
            && let State::On(connection) = &mut self.state
        {
            connection.questions.whois.push((nick, None));
        }
    }

    /// Lets a question go out; false if it is under way already, or can't be asked.
    fn ask(
        &mut self,
        known: impl FnOnce(&Questions) -> bool,
        write: impl FnOnce(LineWriter<'_>) -> Result<(), Illegal>,
    ) -> bool {
        let State::On(connection) = &mut self.state else { return false };
        let questions = &connection.questions;
        let too_many = questions.names.len() + questions.whois.len() >= MOST_QUESTIONS;
        if !connection.is_ready() || too_many || known(questions) {
            return false;
        }
        let mut wire = Vec::new();
        let written = write(LineWriter::new(&mut wire, self.isupport.linelen)).is_ok();
        if written {
            connection.chores.push_back(wire);
        }
        written
    }

    /// A numeric that may be of an answer. False if it is none, or others may want it too.
    pub(super) fn question_answered(&mut self, number: u16, line: &Line<'_>, out: &mut Vec<Output>) -> bool {
        if !matches!(&self.state, State::On(connection) if !connection.questions.is_empty()) {
            return false;
        }
        let isupport = self.isupport.clone();
        let mapping = isupport.casemapping;
        let about = if number == numeric::RPL_NAMREPLY { line.param(2) } else { line.param(1) };
        let (about, words) = (self.text_of(about), self.text_of(line.last_param()));
        let State::On(connection) = &mut self.state else { return false };
        let Questions { names, whois } = &mut connection.questions;
        if let Some(at) = names.iter().position(|(channel, _)| mapping.same(channel, &about)) {
            match number {
                numeric::RPL_NAMREPLY => names[at].1.add(&words, &isupport),
                // InspIRCd says of a hidden channel that there is none.
                numeric::RPL_ENDOFNAMES | numeric::ERR_NOSUCHNICK | numeric::ERR_NOSUCHCHANNEL => {
                    let (channel, roster) = names.swap_remove(at);
                    tell(line, IrcEvent::Names { channel, members: roster.into_members() }, out);
                }
                _ => return false,
            }
            return true;
        }
        let Some(at) = whois.iter().position(|(nick, _)| mapping.same(nick, &about)) else { return false };
        match number {
            numeric::RPL_WHOISUSER => self.profile(at, |_| {}),
            numeric::RPL_WHOISACCOUNT => {
                let account = self.text_of(line.param(2));
                self.profile(at, |profile| profile.account = Some(account));
            }
            numeric::RPL_WHOISREGNICK => self.profile(at, |profile| _ = profile.account.get_or_insert_default()),
            numeric::RPL_WHOISCHANNELS => self.profile(at, |profile| {
                let room = MOST_CHANNELS.saturating_sub(profile.channels.len());
                profile.channels.extend(words.split_ascii_whitespace().take(room).map(|word| ranked(word, &isupport)));
            }),
            numeric::RPL_ENDOFWHOIS => {
                let (nick, profile) = whois.swap_remove(at);
                tell(line, IrcEvent::Whois { nick, profile }, out);
            }
            numeric::ERR_NOSUCHNICK => {}
            _ => return false,
        }
        true
    }

    fn profile(&mut self, at: usize, learn: impl FnOnce(&mut Profile)) {
        if let State::On(connection) = &mut self.state {
            learn(connection.questions.whois[at].1.get_or_insert_default());
        }
    }
}

/// Reads `@+#channel`: a channel, behind the prefixes of one's ranks there (and marks of the server's own, such as `!`).
///
/// Returned as `(prefixes, channel)`. Where a character may be both, it is a rank as long as a channel follows.
fn ranked(word: &str, isupport: &Isupport) -> (String, String) {
    let is_channel = |at: &usize| isupport.is_channel(&word[*at..]);
    let starts: Vec<usize> = word.char_indices().map(|(at, _)| at).filter(is_channel).collect();
    let is_mark = |c: char| isupport.prefix.iter().any(|(_, prefix)| *prefix == c) || "!?*^".contains(c);
    let start = starts.into_iter().take_while(|at| word[..*at].chars().all(is_mark)).last().unwrap_or(0);
    let prefixes = word[..start].chars().filter(|c| isupport.prefix.iter().any(|(_, prefix)| prefix == c));
    (prefixes.collect(), word[start..].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_of_a_whois_are_read_with_their_ranks() {
        let isupport = Isupport {
            prefix: vec![('q', '~'), ('a', '&'), ('o', '@'), ('v', '+')],
            chantypes: "#&+".into(),
            ..Isupport::default()
        };
        for (word, prefixes, channel) in [
            ("#tea", "", "#tea"),
            ("@#tea", "@", "#tea"),
            ("~@+#tea", "~@+", "#tea"),
            ("!@#tea", "@", "#tea"),
            ("+tea", "", "+tea"),
            ("@+#tea", "@+", "#tea"),
            ("&local", "", "&local"),
            ("##tea", "", "##tea"),
            ("tea", "", "tea"),
        ] {
            assert_eq!(ranked(word, &isupport), (prefixes.to_owned(), channel.to_owned()), "{word}");
        }
    }
}
