//! What the bot is told on IRC, by anybody; who decides something is verified first.

use super::super::dispatch::Core;
use crate::model::{NetworkId, Source};

/// What somebody wants.
#[derive(Debug, PartialEq, Eq)]
enum Wish<'a> {
    /// With the channel's key, perhaps.
    Answer {
        yes: bool,
        code: &'a str,
        key: Option<&'a str>,
    },
    Unplumb {
        channel: &'a str,
        for_good: bool,
    },
    OptIn {
        channel: &'a str,
    },
    Help,
    /// Nothing that we know.
    Chat,
}

fn read(words: &str) -> Wish<'_> {
    let mut words = words.split_whitespace();
    let (verb, object, more) = (words.next().unwrap_or_default(), words.next(), words.next());
    let is_all = words.next().is_none();
    let verb = verb.trim_start_matches('!').to_ascii_lowercase();
    match (verb.as_str(), object, more) {
        ("yes", Some(code), key) if is_all => Wish::Answer { yes: true, code, key },
        ("no", Some(code), None) => Wish::Answer { yes: false, code, key: None },
        ("unplumb" | "optout", Some(channel), None) => Wish::Unplumb { channel, for_good: verb == "optout" },
        ("optin", Some(channel), None) => Wish::OptIn { channel },
        ("yes" | "no" | "unplumb" | "optout" | "optin" | "help", ..) => Wish::Help,
        _ => Wish::Chat,
    }
}

impl Core {
    /// Somebody on IRC has written to the bot.
    pub(in crate::bridge) async fn on_told_by_irc(&mut self, network: &NetworkId, source: &Source, words: &str) {
        let valid = |channel: &str| {
            let network = self.networks.get(network);
            network.is_some_and(|network| crate::translate::valid_channel(channel, &network.isupport))
        };
        match read(words) {
            Wish::Answer { yes, code, key } => self.on_answer(network, source, code, yes, key).await,
            Wish::Unplumb { channel, for_good } if valid(channel) => {
                self.on_unplumb_on_irc(network, source, channel.to_owned(), for_good).await;
            }
            Wish::OptIn { channel } if valid(channel) => self.on_opt_in(network, source, channel.to_owned()).await,
            Wish::Help | Wish::Unplumb { .. } | Wish::OptIn { .. } => {
                let lines = [
                    "For a channel's operators: unplumb #channel (ends its bridge to Matrix), optout #channel (that, and allows \
                     no other), optin #channel (allows it again), yes CODE or no CODE (answers a request).",
                    "To keep one person out, ban them as anybody else: each has an own connection.",
                ];
                self.tell_on_irc(network, &source.nick, lines.map(str::to_owned).into()).await;
            }
            Wish::Chat => {
                let words = format!(
                    "I am the bot of a bridge to Matrix ({}) and pass nothing on myself. Say `help` for what I can do.",
                    self.server
                );
                self.tell_on_irc(network, &source.nick, vec![words]).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_on_irc_say_is_read() {
        for (words, wish) in [
            ("yes abc234", Wish::Answer { yes: true, code: "abc234", key: None }),
            ("  NO abc234 ", Wish::Answer { yes: false, code: "abc234", key: None }),
            ("unplumb #tea", Wish::Unplumb { channel: "#tea", for_good: false }),
            ("!unplumb #tea", Wish::Unplumb { channel: "#tea", for_good: false }),
            ("optout #tea", Wish::Unplumb { channel: "#tea", for_good: true }),
            ("optin #tea", Wish::OptIn { channel: "#tea" }),
            ("unplumb", Wish::Help),
            ("yes", Wish::Help),
            ("yes abc234 hunter2", Wish::Answer { yes: true, code: "abc234", key: Some("hunter2") }),
            ("yes of course it is", Wish::Help),
            ("no abc234 never", Wish::Help),
            ("help", Wish::Help),
            ("hello there", Wish::Chat),
            ("", Wish::Chat),
        ] {
            assert_eq!(read(words), wish, "{words}");
        }
    }
}
