//! What an observer learns of a channel beside who is in it: settings, ranks, lists, accounts.
//!
//! What changes is told as it comes. What there is, is asked for once the members are known, behind everything that
//! somebody waits for.

use super::{
    Output, Session, State,
    channels::{Answer, Channel},
    incoming::tell,
    numeric,
    receipts::Verb,
};
use crate::{
    irc::{
        codec::decode,
        wire::{Line, LineWriter},
    },
    model::{IrcEvent, ModeChange, ModeKind},
    translate,
};

/// The lists that say who may come in and speak. Servers have them under these letters, or not at all. Everybody may see
/// the last; a refusal to show the others could be taken for one of what a puppet does, so that only the bot asks. Whoever
/// has heard the last has heard all that there is to hear.
const LISTS: [char; 3] = ['e', 'q', 'b'];
/// In channels with more people nobody asks for their accounts: the answer might overflow what the server queues for us.
/// They show when people speak or come.
const WHO_BELOW: usize = 1000;
/// Marks our WHO among others (WHOX).
const WHO_TOKEN: u16 = 77;
/// More entries than any list has; what a hostile server sends beyond is left out.
const MOST_ENTRIES: usize = 20_000;

impl Session {
    /// Asks for everything that is told only when asked for. `members`: how many there are.
    pub(super) fn ask_more(&mut self, channel: &str, members: usize) {
        let isupport = &self.isupport;
        let lists = if self.spec.link.is_bot() { &LISTS[..] } else { &LISTS[2..] };
        let State::On(connection) = &mut self.state else { return };
        let mut ask = |question: &dyn Fn(LineWriter<'_>) -> Result<(), crate::irc::wire::Illegal>| {
            let mut wire = Vec::new();
            if question(LineWriter::new(&mut wire, isupport.linelen)).is_ok() && !connection.chores.contains(&wire) {
                connection.chores.push_back(wire);
            }
        };
        // Who bans hit may hang on their accounts, which are asked for first.
        if isupport.whox && members < WHO_BELOW {
            ask(&|line| line.who_accounts(channel, WHO_TOKEN));
        }
        ask(&|line| line.ask_modes(channel, None));
        for letter in lists.iter().filter(|letter| isupport.chanmodes[0].contains(**letter)) {
            ask(&|line| line.ask_modes(channel, Some(*letter)));
        }
    }

    /// `MODE target modes args…`; of ourselves it is of no interest.
    pub(super) fn mode_changed(&mut self, line: &Line<'_>, out: &mut Vec<Output>) {
        if self.is_me(line.nick()) {
            self.own_line_came_back(Verb::Mode, line, out);
        }
        if let Some(channel) = self.watched(line.param(0)) {
            let mut changes = self.modes_from(line, 1);
            // A rank is somebody's, and a list is of something.
            changes.retain(|mode| mode.arg.is_some() || !matches!(mode.kind, ModeKind::Membership | ModeKind::List));
            if !changes.is_empty() {
                tell(line, IrcEvent::Modes { channel, source: self.source(line), changes }, out);
            }
        }
    }

    /// The modes in `line`, whose letters are at `first` and whose arguments follow.
    fn modes_from(&self, line: &Line<'_>, first: usize) -> Vec<ModeChange> {
        let mut words = line.params().skip(first).map(|word| self.text_of(word));
        let letters = words.next().unwrap_or_default();
        let args: Vec<String> = words.collect();
        translate::parse_modes(&self.isupport, &letters, args.iter().map(String::as_str))
    }

    /// `ACCOUNT account` (<https://ircv3.net/specs/extensions/account-notify>).
    pub(super) fn account_changed(&mut self, line: &Line<'_>, out: &mut Vec<Output>) {
        let account = account(self.text_of(line.param(0)));
        tell(line, IrcEvent::Account { source: self.source(line), account }, out);
    }

    /// `CHGHOST user host` (<https://ircv3.net/specs/extensions/chghost>).
    pub(super) fn rehosted(&mut self, line: &Line<'_>, out: &mut Vec<Output>) {
        let (user, host) = (self.text_of(line.param(0)), self.text_of(line.param(1)));
        if !user.is_empty() && !host.is_empty() {
            tell(line, IrcEvent::Rehosted { source: self.source(line), user, host }, out);
        }
    }

    /// An answer to one of the questions of [`Self::ask_more`]. False if it is none.
    pub(super) fn told_more(&mut self, number: u16, line: &Line<'_>, out: &mut Vec<Output>) -> bool {
        match number {
            numeric::RPL_CHANNELMODEIS => {
                if let Some(channel) = self.watched(line.param(1)) {
                    tell(line, IrcEvent::Settings { channel, modes: self.modes_from(line, 2) }, out);
                }
            }
            numeric::RPL_BANLIST => self.list_entry(line, 'b', 2),
            numeric::RPL_ENDOFBANLIST => self.list_end(line, 'b', out),
            numeric::RPL_EXCEPTLIST => self.list_entry(line, 'e', 2),
            numeric::RPL_ENDOFEXCEPTLIST => self.list_end(line, 'e', out),
            // `728 me #channel q mask setter time`
            numeric::RPL_QUIETLIST => self.list_entry(line, 'q', 3),
            numeric::RPL_ENDOFQUIETLIST => self.list_end(line, 'q', out),
            // `354 me token #channel nick account`, in the order of the protocol, not of the question.
            numeric::RPL_WHOSPCRPL if line.param(1) == WHO_TOKEN.to_string().as_bytes() => {
                let (nick, account) = (self.text_of(line.param(3)), account(self.text_of(line.param(4))));
                let answer = self.answer_about(line.param(2), &Answer::is_accounts, || Answer::Accounts(Vec::new()));
                if let Some(Answer::Accounts(accounts)) = answer
                    && accounts.len() < WHO_BELOW * 2
                {
                    accounts.push((nick, account));
                }
            }
            numeric::RPL_ENDOFWHO => {
                if let Some((channel, Answer::Accounts(accounts))) = self.complete(line.param(1), &Answer::is_accounts)
                {
                    tell(line, IrcEvent::Accounts { channel, accounts }, out);
                }
            }
            _ => return false,
        }
        true
    }

    fn list_entry(&mut self, line: &Line<'_>, letter: char, mask: usize) {
        let mask = self.text_of(line.param(mask));
        let answer =
            self.answer_about(line.param(1), &|answer| answer.is_list(letter), || Answer::List(letter, Vec::new()));
        if let Some(Answer::List(_, masks)) = answer
            && masks.len() < MOST_ENTRIES
        {
            masks.push(mask);
        }
    }

    fn list_end(&mut self, line: &Line<'_>, letter: char, out: &mut Vec<Output>) {
        let Some(channel) = self.watched(line.param(1)) else { return };
        let masks = match self.complete(line.param(1), &|answer| answer.is_list(letter)) {
            Some((_, Answer::List(_, masks))) => masks,
            _ => Vec::new(),
        };
        tell(line, IrcEvent::List { channel, letter, masks }, out);
    }

    /// What is gathered of the answer to a question about an observed channel.
    fn answer_about(
        &mut self,
        channel: &[u8],
        is_it: &dyn Fn(&Answer) -> bool,
        begin: impl FnOnce() -> Answer,
    ) -> Option<&mut Answer> {
        let name = decode(channel, self.encoding);
        let channel = self.channels.get_mut(&name, self.isupport.casemapping).filter(|channel| channel.is_watched())?;
        let at = channel.answers.iter().position(is_it).unwrap_or_else(|| {
            channel.answers.push(begin());
            channel.answers.len() - 1
        });
        channel.answers.get_mut(at)
    }

    /// The answer to a question about an observed channel is complete.
    fn complete(&mut self, channel: &[u8], is_it: &dyn Fn(&Answer) -> bool) -> Option<(String, Answer)> {
        let name = decode(channel, self.encoding);
        let channel: &mut Channel = self.channels.get_mut(&name, self.isupport.casemapping)?;
        let at = channel.answers.iter().position(is_it)?;
        let answer = channel.answers.swap_remove(at);
        channel.answers.shrink_to_fit();
        Some((channel.name.to_string(), answer))
    }
}

/// An account as servers write it: `*` and `0` stand for none.
fn account(name: String) -> Option<String> {
    Some(name).filter(|name| !matches!(name.as_str(), "" | "*" | "0"))
}
