//! The only maker of wire bytes: typed parameters in, one whole line out, or a refusal (R104).

/// Why a line was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Illegal {
    /// CR, LF or NUL in a parameter.
    #[error("a CR, LF or NUL in a parameter")]
    Control,
    /// A blank, a leading colon or nothing at all where a single word must stand.
    #[error("a parameter that isn't a single word")]
    Word,
    /// A comma in a channel, nick or key.
    #[error("a comma in a name")]
    Comma,
    /// More bytes than the server takes.
    #[error("a line longer than the server takes")]
    TooLong,
}

/// What to do with a line that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OverLong {
    Refuse,
    /// Cut the trailing parameter at the end of a character.
    Cut,
}

/// The only maker of wire bytes. Each method appends one whole line to `wire`, CR LF included, or nothing at all.
#[derive(Debug)]
pub struct LineWriter<'w> {
    wire: &'w mut Vec<u8>,
    limit: usize,
    label: Option<u64>,
}

impl<'w> LineWriter<'w> {
    /// Writes to `wire` lines of at most `limit` bytes, CR LF included and tags not.
    #[must_use]
    pub fn new(wire: &'w mut Vec<u8>, limit: usize) -> Self {
        Self { wire, limit, label: None }
    }

    /// Gives the line a label, so that the server's answer names it (labeled-response).
    #[must_use]
    pub fn labelled(mut self, label: Option<u64>) -> Self {
        self.label = label;
        self
    }

    /// Any command: `middles` are single words, `trailing` may be anything on one line.
    pub fn line(self, command: &str, middles: &[&str], trailing: Option<&str>) -> Result<(), Illegal> {
        self.write(command, middles, trailing.map(str::as_bytes), OverLong::Refuse)
    }

    /// `PRIVMSG target :text`.
    pub fn privmsg(self, target: &str, text: &str) -> Result<(), Illegal> {
        name(target)?;
        self.line("PRIVMSG", &[target], Some(text))
    }

    /// `NOTICE target :text`.
    pub fn notice(self, target: &str, text: &str) -> Result<(), Illegal> {
        name(target)?;
        self.line("NOTICE", &[target], Some(text))
    }

    /// `TOPIC channel :topic`; what is too long is cut.
    pub fn topic(self, channel: &str, topic: &str) -> Result<(), Illegal> {
        name(channel)?;
        self.write("TOPIC", &[channel], Some(topic.as_bytes()), OverLong::Cut)
    }

    /// `TOPIC channel`: asks for it.
    pub fn ask_topic(self, channel: &str) -> Result<(), Illegal> {
        name(channel)?;
        self.line("TOPIC", &[channel], None)
    }

    /// `NAMES channel`.
    pub fn names(self, channel: &str) -> Result<(), Illegal> {
        name(channel)?;
        self.line("NAMES", &[channel], None)
    }

    /// `WHOIS nick`.
    pub fn whois(self, nick: &str) -> Result<(), Illegal> {
        name(nick)?;
        self.line("WHOIS", &[nick], None)
    }

    /// `MODE channel` asks for its settings, `MODE channel +b` for a list.
    pub fn ask_modes(self, channel: &str, list: Option<char>) -> Result<(), Illegal> {
        name(channel)?;
        match list {
            None => self.line("MODE", &[channel], None),
            Some(letter) => self.line("MODE", &[channel, &format!("+{letter}")], None),
        }
    }

    /// `WHO channel %tcna,token`: everyone's nick and account (WHOX).
    pub fn who_accounts(self, channel: &str, token: u16) -> Result<(), Illegal> {
        name(channel)?;
        self.line("WHO", &[channel, &format!("%tcna,{token}")], None)
    }

    /// `KICK channel nick :reason`; a reason that is too long is cut.
    pub fn kick(self, channel: &str, nick: &str, reason: Option<&str>) -> Result<(), Illegal> {
        name(channel)?;
        name(nick)?;
        self.write("KICK", &[channel, nick], reason.map(str::as_bytes), OverLong::Cut)
    }

    /// `PART channel :reason`; a reason that is too long is cut.
    pub fn part(self, channel: &str, reason: Option<&str>) -> Result<(), Illegal> {
        name(channel)?;
        self.write("PART", &[channel], reason.map(str::as_bytes), OverLong::Cut)
    }

    /// `JOIN #a,#b,#c keya,keyb`: channels with keys first, as keys are told apart by their place alone.
    pub fn join(self, channels: &[(&str, Option<&str>)]) -> Result<(), Illegal> {
        for (channel, key) in channels {
            name(channel)?;
            key.map_or(Ok(()), name)?;
        }
        let keyed = channels.iter().filter(|(_, key)| key.is_some());
        let keyless = channels.iter().filter(|(_, key)| key.is_none());
        let names = keyed.clone().chain(keyless).map(|(channel, _)| *channel).collect::<Vec<_>>().join(",");
        let keys = keyed.filter_map(|(_, key)| *key).collect::<Vec<_>>().join(",");
        if keys.is_empty() { self.line("JOIN", &[&names], None) } else { self.line("JOIN", &[&names, &keys], None) }
    }

    /// `NICK nick`.
    pub fn nick(self, nick: &str) -> Result<(), Illegal> {
        name(nick)?;
        self.line("NICK", &[nick], None)
    }

    /// `PASS :password`.
    pub fn pass(self, password: &str) -> Result<(), Illegal> {
        self.line("PASS", &[], Some(password))
    }

    /// `USER username 0 * :realname`; a real name that is too long is cut.
    pub fn user(self, username: &str, realname: &str) -> Result<(), Illegal> {
        self.write("USER", &[username, "0", "*"], Some(realname.as_bytes()), OverLong::Cut)
    }

    /// `QUIT :reason`; a reason that is too long is cut.
    pub fn quit(self, reason: &str) -> Result<(), Illegal> {
        self.write("QUIT", &[], Some(reason.as_bytes()), OverLong::Cut)
    }

    /// `PING :token`.
    pub fn ping(self, token: &str) -> Result<(), Illegal> {
        self.line("PING", &[], Some(token))
    }

    /// `PONG :token`, with the server's own bytes.
    pub fn pong(self, token: &[u8]) -> Result<(), Illegal> {
        self.write("PONG", &[], Some(token), OverLong::Refuse)
    }

    /// `CAP subcommand …`.
    pub fn cap(self, subcommand: &str, argument: Option<&str>) -> Result<(), Illegal> {
        match argument {
            // Old servers read the version in `CAP LS 302` as it is written here.
            Some(word) if single_word(word).is_ok() => self.line("CAP", &[subcommand, word], None),
            _ => self.line("CAP", &[subcommand], argument),
        }
    }

    /// `AUTHENTICATE chunk`.
    pub fn authenticate(self, chunk: &str) -> Result<(), Illegal> {
        self.line("AUTHENTICATE", &[chunk], None)
    }

    fn write(
        self,
        command: &str,
        middles: &[&str],
        trailing: Option<&[u8]>,
        over_long: OverLong,
    ) -> Result<(), Illegal> {
        if command.is_empty() || !command.bytes().all(|b| b.is_ascii_alphabetic()) {
            return Err(Illegal::Word);
        }
        for middle in middles {
            single_word(middle)?;
        }
        let mut trailing = trailing;
        if let Some(text) = trailing {
            one_line(text)?;
        }
        let head = command.len() + middles.iter().map(|m| 1 + m.len()).sum::<usize>();
        let room = self.limit.checked_sub(head + "\r\n".len()).ok_or(Illegal::TooLong)?;
        if let Some(text) = &mut trailing {
            let room = room.checked_sub(" :".len()).ok_or(Illegal::TooLong)?;
            if text.len() > room {
                if over_long == OverLong::Refuse {
                    return Err(Illegal::TooLong);
                }
                *text = cut(text, room);
            }
        }
        if let Some(label) = self.label {
            self.wire.extend_from_slice(format!("@label={label} ").as_bytes());
        }
        self.wire.extend_from_slice(command.as_bytes());
        for middle in middles {
            self.wire.push(b' ');
            self.wire.extend_from_slice(middle.as_bytes());
        }
        if let Some(text) = trailing {
            self.wire.extend_from_slice(b" :");
            self.wire.extend_from_slice(text);
        }
        self.wire.extend_from_slice(b"\r\n");
        Ok(())
    }
}

/// At most `room` bytes of `text`, without half a character at the end.
fn cut(text: &[u8], room: usize) -> &[u8] {
    let mut end = room.min(text.len());
    while end > 0 && end < text.len() && text[end] & 0b1100_0000 == 0b1000_0000 {
        end -= 1;
    }
    &text[..end]
}

fn one_line(text: &[u8]) -> Result<(), Illegal> {
    if memchr::memchr3(0, b'\r', b'\n', text).is_some() { Err(Illegal::Control) } else { Ok(()) }
}

fn single_word(word: &str) -> Result<(), Illegal> {
    one_line(word.as_bytes())?;
    if word.is_empty() || word.starts_with(':') || word.contains(' ') { Err(Illegal::Word) } else { Ok(()) }
}

/// One channel, nick or key: a comma would make it two.
fn name(name: &str) -> Result<(), Illegal> {
    single_word(name)?;
    if name.contains(',') { Err(Illegal::Comma) } else { Ok(()) }
}
