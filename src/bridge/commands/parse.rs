//! What people write to the bridge, read: whether it is for us, which command it is, and its typed arguments.
//!
//! Pure. A command is one line; whatever is wrong with it is an answer in words. What passes here is a valid name, and the
//! line writer refuses what could be more than that all the same (R104).

use crate::{config::nearest, model::NetworkId, translate};

/// Where something was said, which decides how the bridge is addressed there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bridge) enum Place {
    /// In somebody's room with the bridge's bot: all is for us.
    Control,
    /// In a bridged room: people on IRC have bots of their own, so only `!irc …` and what no other bot has is for us.
    Portal,
    /// In a room that the bot is a guest in: what begins with one of our commands.
    Guest,
}

/// What a person wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::bridge) enum Command {
    Help(Option<&'static Entry>),
    Status,
    Join { network: NetworkId, channel: String },
    Plumb { network: NetworkId, channel: String },
    Unplumb,
}

/// A command as it is found and explained. Each has its place beside the function that carries it out.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::bridge) struct Entry {
    pub(super) name: &'static str,
    /// Further names.
    pub(super) aliases: &'static [&'static str],
    /// Its arguments.
    pub(super) usage: &'static str,
    /// What it does, in one sentence.
    pub(super) about: &'static str,
    /// Whether no bot on IRC has it, so that `!name` is enough in a bridged room.
    pub(super) ours_alone: bool,
    pub(super) kind: Kind,
}

/// Which command an entry is of, and so how its arguments are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Help,
    Status,
    Join,
    Plumb,
    Unplumb,
}

impl Entry {
    /// How to write it, and what it does.
    pub(super) fn help(&self) -> String {
        let space = if self.usage.is_empty() { "" } else { " " };
        format!("`!irc {}{space}{}`: {}", self.name, self.usage, self.about)
    }

    fn is_called(&self, word: &str) -> bool {
        let word = word.to_ascii_lowercase();
        self.name == word || self.aliases.contains(&&*word)
    }
}

/// All commands.
pub(super) fn entries() -> impl Iterator<Item = &'static Entry> {
    let groups: [&'static [Entry]; 3] = [super::about::ENTRIES, super::channels::ENTRIES, super::plumbing::ENTRIES];
    groups.into_iter().flatten()
}

fn entry(word: &str) -> Option<&'static Entry> {
    entries().find(|entry| entry.is_called(word))
}

/// The command in what was said, if it is meant for the bridge.
pub(in crate::bridge) fn addressed(body: &str, place: Place) -> Option<&str> {
    let body = body.trim();
    let (first, rest) = body.split_once(char::is_whitespace).unwrap_or((body, ""));
    let marked = first.strip_prefix('!');
    if marked.is_some_and(|word| word.eq_ignore_ascii_case("irc")) {
        return Some(rest.trim());
    }
    let is_for_us = |word: &str| match place {
        Place::Control => true,
        Place::Portal => entry(word).is_some_and(|entry| entry.ours_alone),
        Place::Guest => entry(word).is_some(),
    };
    match marked {
        Some(word) if is_for_us(word) => Some(&body[1..]),
        None if place == Place::Control => Some(body),
        _ => None,
    }
}

/// Reads a command; what is wrong with it, in words. `networks` are those that there are.
pub(in crate::bridge) fn parse<'n>(
    words: &str,
    networks: impl Iterator<Item = &'n NetworkId>,
) -> Result<Command, String> {
    if words.contains(char::is_control) {
        return Err("A command is one line, without control characters. Nothing was done.".to_owned());
    }
    let mut words = words.split_whitespace();
    let Some(name) = words.next() else { return Ok(Command::Help(None)) };
    let Some(entry) = entry(name) else {
        let names = entries().flat_map(|entry| std::iter::once(&entry.name).chain(entry.aliases));
        let hint = nearest(&name.to_ascii_lowercase(), names.copied());
        let hint = hint.map(|name| format!(" Did you mean `{name}`?")).unwrap_or_default();
        return Err(format!("I don't know the command `{}`.{hint} `help` lists what there is.", shown(name)));
    };
    let mut arguments = Arguments { words: words.collect(), networks: networks.collect(), entry };
    let command = match entry.kind {
        Kind::Help => Command::Help(arguments.next().and_then(|word| self::entry(word.trim_start_matches('!')))),
        Kind::Status => Command::Status,
        Kind::Join => arguments.channel().map(|(network, channel)| Command::Join { network, channel })?,
        Kind::Plumb => arguments.channel().map(|(network, channel)| Command::Plumb { network, channel })?,
        Kind::Unplumb => Command::Unplumb,
    };
    match arguments.next() {
        None => Ok(command),
        Some(more) => Err(format!("I don't know what `{}` is for. {}", shown(more), entry.help())),
    }
}

/// The words behind a command's name.
struct Arguments<'a> {
    words: std::collections::VecDeque<&'a str>,
    networks: Vec<&'a NetworkId>,
    entry: &'static Entry,
}

impl<'a> Arguments<'a> {
    fn next(&mut self) -> Option<&'a str> {
        self.words.pop_front()
    }

    /// `[network] #channel`; the network may be left out where there is one.
    fn channel(&mut self) -> Result<(NetworkId, String), String> {
        let listed = || self.networks.iter().map(|network| network.as_str()).collect::<Vec<_>>().join(", ");
        let is_channel = |word: &str| word.starts_with(['#', '&', '+', '!']);
        let network = match self.words.front() {
            Some(word) if !is_channel(word) => {
                let name = word.to_ascii_lowercase();
                let Some(network) = self.networks.iter().find(|network| network.as_str() == name) else {
                    let begins = "a channel's name begins with #";
                    return Err(format!("`{}` is no network that I know ({}), and {begins}.", shown(word), listed()));
                };
                let network = (*network).clone();
                self.words.pop_front();
                network
            }
            _ => match self.networks.as_slice() {
                [only] => (*only).clone(),
                _ => return Err(format!("On which network? I know {}. {}", listed(), self.entry.help())),
            },
        };
        match self.next() {
            Some(channel) if is_channel(channel) => Ok((network, channel.to_owned())),
            Some(word) => Err(format!("`{}` is no channel: a channel's name begins with #.", shown(word))),
            None => Err(format!("Which channel? {}", self.entry.help())),
        }
    }
}

/// A word of somebody else's, short enough to be repeated.
fn shown(word: &str) -> String {
    let word: String = translate::one_line(word).chars().filter(|c| *c != '`').collect();
    if word.chars().count() > 40 { word.chars().take(40).chain(['…']).collect() } else { word }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn networks(names: &[&str]) -> Vec<NetworkId> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn read(words: &str, names: &[&str]) -> Result<Command, String> {
        parse(words, networks(names).iter())
    }

    #[test]
    fn what_is_for_us_depends_on_the_place() {
        for (body, control, portal, guest) in [
            ("!irc plumb #tea", Some("plumb #tea"), Some("plumb #tea"), Some("plumb #tea")),
            ("  !IRC  help ", Some("help"), Some("help"), Some("help")),
            ("!plumb #tea", Some("plumb #tea"), Some("plumb #tea"), Some("plumb #tea")),
            ("!Unplumb", Some("Unplumb"), Some("Unplumb"), Some("Unplumb")),
            // Bots on IRC have that too.
            ("!help", Some("help"), None, Some("help")),
            ("!weather", Some("weather"), None, None),
            ("hello", Some("hello"), None, None),
            ("plumb #tea", Some("plumb #tea"), None, None),
            ("!irc", Some(""), Some(""), Some("")),
            ("!", Some(""), None, None),
            ("!ircx", Some("ircx"), None, None),
        ] {
            for (place, meant) in [(Place::Control, control), (Place::Portal, portal), (Place::Guest, guest)] {
                assert_eq!(addressed(body, place), meant, "{body} in {place:?}");
            }
        }
    }

    #[test]
    fn commands_are_read_with_their_arguments() {
        let plumb = |network: &str, channel: &str| {
            Ok(Command::Plumb { network: network.parse().unwrap(), channel: channel.to_owned() })
        };
        assert_eq!(read("plumb #tea", &["net"]), plumb("net", "#tea"));
        assert_eq!(read("PLUMB Net  #Tea", &["net", "other"]), plumb("net", "#Tea"));
        assert_eq!(read("bridge other #tea", &["net", "other"]), plumb("other", "#tea"));
        assert_eq!(read("", &["net"]), Ok(Command::Help(None)));
        assert!(matches!(read("help !plumb", &["net"]), Ok(Command::Help(Some(entry))) if entry.name == "plumb"));
        for (words, names, said) in [
            ("plumb", &["net"][..], "Which channel?"),
            ("plumb #tea", &["a", "b"], "On which network? I know a, b."),
            ("plumb nte #tea", &["net"], "`nte` is no network that I know (net)"),
            ("plumb net tea", &["net"], "`tea` is no channel"),
            ("plumb #tea #milk", &["net"], "I don't know what `#milk` is for."),
            ("plumb #tea\nQUIT", &["net"], "one line"),
            ("plumb #tea\u{7}", &["net"], "one line"),
            ("plmub #tea", &["net"], "Did you mean `plumb`?"),
            ("unplum", &["net"], "Did you mean `unplumb`?"),
            ("stauts", &["net"], "Did you mean `status`?"),
        ] {
            let answer = read(words, names).expect_err(words);
            assert!(answer.contains(said), "{words:?}: {answer}");
        }
    }

    #[test]
    fn every_command_has_help_and_names_of_its_own() {
        let mut names: Vec<&str> = entries().flat_map(|e| std::iter::once(&e.name).chain(e.aliases)).copied().collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(entries().all(|entry| entry.help().ends_with('.') && entry.name == entry.name.to_ascii_lowercase()));
    }

    proptest! {
        /// R104: whatever is written, a channel that comes out is one word of one line, and an answer repeats no line.
        #[test]
        fn r104_no_argument_is_more_than_a_word(words in any::<String>(), command in "(plumb|join|help|x)( net)? ") {
            match read(&format!("{command}{words}"), &["net"]) {
                Ok(Command::Plumb { channel, .. } | Command::Join { channel, .. }) => {
                    prop_assert!(!channel.contains(|c: char| c.is_whitespace() || c.is_control()));
                }
                Ok(_) => {}
                Err(answer) => prop_assert!(!answer.contains(char::is_control), "{answer:?}"),
            }
        }
    }
}
