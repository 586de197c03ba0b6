//! IRC lines as bytes: the tokeniser of what comes in, and the only maker of what goes out.
//!
//! [`Line`] reads any bytes without copying and never panics. [`LineWriter`] takes typed parameters and refuses
//! whatever would become a second line or another parameter (R104). This is also the only file that knows the `irc`
//! crate: it lends us the names of the numerics ([`numeric`]) and, in tests, a second opinion on parsing.
//!
//! To send another command, add a constructor to [`LineWriter`] and a row to `every_constructor` in the tests.
//! Grammar: <https://modern.ircdocs.horse/#message-format>, tags: <https://ircv3.net/specs/extensions/message-tags>.

use std::borrow::Cow;

/// The numerics that the session knows, by name.
pub mod numeric {
    use irc::proto::Response as R;

    macro_rules! numerics {
        ($($(#[$doc:meta])* $name:ident = $value:expr;)*) => { $($(#[$doc])* pub const $name: u16 = $value;)* };
    }

    // Those that RFC 1459, 2812 or IRCv3 define.
    numerics! {
        /// Registered; its first parameter is the nick we have.
        RPL_WELCOME = R::RPL_WELCOME as u16;
        /// The server's name and version.
        RPL_MYINFO = R::RPL_MYINFO as u16;
        /// What the server supports.
        RPL_ISUPPORT = R::RPL_ISUPPORT as u16;
        /// WHOIS: user and host.
        RPL_WHOISUSER = R::RPL_WHOISUSER as u16;
        /// The channel has no topic.
        RPL_NOTOPIC = R::RPL_NOTOPIC as u16;
        /// The channel's topic.
        RPL_TOPIC = R::RPL_TOPIC as u16;
        /// Some of a channel's members.
        RPL_NAMREPLY = R::RPL_NAMREPLY as u16;
        /// That was all of a channel's members.
        RPL_ENDOFNAMES = R::RPL_ENDOFNAMES as u16;
        /// End of the message of the day: registration is over.
        RPL_ENDOFMOTD = R::RPL_ENDOFMOTD as u16;
        /// Our host as others see it has changed.
        RPL_HOSTHIDDEN = R::RPL_HOSTHIDDEN as u16;
        /// No such nick or channel.
        ERR_NOSUCHNICK = R::ERR_NOSUCHNICK as u16;
        /// No such server.
        ERR_NOSUCHSERVER = R::ERR_NOSUCHSERVER as u16;
        /// No such channel.
        ERR_NOSUCHCHANNEL = R::ERR_NOSUCHCHANNEL as u16;
        /// The channel doesn't take what was said.
        ERR_CANNOTSENDTOCHAN = R::ERR_CANNOTSENDTOCHAN as u16;
        /// In too many channels.
        ERR_TOOMANYCHANNELS = R::ERR_TOOMANYCHANNELS as u16;
        /// Too many, or ambiguous, targets.
        ERR_TOOMANYTARGETS = R::ERR_TOOMANYTARGETS as u16;
        /// No recipient given.
        ERR_NORECIPIENT = R::ERR_NORECIPIENT as u16;
        /// No text to send.
        ERR_NOTEXTTOSEND = R::ERR_NOTEXTTOSEND as u16;
        /// Bad server mask; also "message blocked" on some servers.
        ERR_BADMASK = R::ERR_BADMASK as u16;
        /// Unknown command.
        ERR_UNKNOWNCOMMAND = R::ERR_UNKNOWNCOMMAND as u16;
        /// There is no message of the day: registration is over.
        ERR_NOMOTD = R::ERR_NOMOTD as u16;
        /// That is no nick.
        ERR_ERRONEUSNICKNAME = R::ERR_ERRONEOUSNICKNAME as u16;
        /// The nick is taken.
        ERR_NICKNAMEINUSE = R::ERR_NICKNAMEINUSE as u16;
        /// The nick collides with one on another server.
        ERR_NICKCOLLISION = R::ERR_NICKCOLLISION as u16;
        /// The nick or channel is held back for a while.
        ERR_UNAVAILRESOURCE = R::ERR_UNAVAILRESOURCE as u16;
        /// They aren't in that channel.
        ERR_USERNOTINCHANNEL = R::ERR_USERNOTINCHANNEL as u16;
        /// We aren't in that channel.
        ERR_NOTONCHANNEL = R::ERR_NOTONCHANNEL as u16;
        /// Already in that channel.
        ERR_USERONCHANNEL = R::ERR_USERONCHANNEL as u16;
        /// Our host may not connect.
        ERR_NOPERMFORHOST = R::ERR_NOPERMFORHOST as u16;
        /// Wrong server password.
        ERR_PASSWDMISMATCH = R::ERR_PASSWDMISMATCH as u16;
        /// Banned from the server.
        ERR_YOUREBANNEDCREEP = R::ERR_YOUREBANNEDCREEP as u16;
        /// About to be banned.
        ERR_YOUWILLBEBANNED = R::ERR_YOUWILLBEBANNED as u16;
        /// The channel is full.
        ERR_CHANNELISFULL = R::ERR_CHANNELISFULL as u16;
        /// The channel is invite-only.
        ERR_INVITEONLYCHAN = R::ERR_INVITEONLYCHAN as u16;
        /// Banned from the channel.
        ERR_BANNEDFROMCHAN = R::ERR_BANNEDFROMCHAN as u16;
        /// Wrong channel key.
        ERR_BADCHANNELKEY = R::ERR_BADCHANNELKEY as u16;
        /// That is no channel name.
        ERR_BADCHANMASK = R::ERR_BADCHANMASK as u16;
        /// The channel takes only registered users (RFC 2812 called it ERR_NOCHANMODES).
        ERR_NEEDREGGEDNICK = R::ERR_NOCHANMODES as u16;
        /// Operators only.
        ERR_NOPRIVILEGES = R::ERR_NOPRIVILEGES as u16;
        /// Channel operators only.
        ERR_CHANOPRIVSNEEDED = R::ERR_CHANOPRIVSNEEDED as u16;
        /// Logged in to an account.
        RPL_LOGGEDIN = R::RPL_LOGGEDIN as u16;
        /// The account may not be used from here.
        ERR_NICKLOCKED = R::ERR_NICKLOCKED as u16;
        /// SASL succeeded.
        RPL_SASLSUCCESS = R::RPL_SASLSUCCESS as u16;
        /// SASL failed.
        ERR_SASLFAIL = R::ERR_SASLFAIL as u16;
        /// A SASL message was too long.
        ERR_SASLTOOLONG = R::ERR_SASLTOOLONG as u16;
        /// SASL was aborted.
        ERR_SASLABORTED = R::ERR_SASLABORT as u16;
        /// The SASL mechanisms there are.
        RPL_SASLMECHS = R::RPL_SASLMECHS as u16;
    }

    // Those that servers have added since.
    numerics! {
        /// Nick change refused: banned from a channel that we are in.
        ERR_BANNICKCHANGE = 435;
        /// Nick changes too fast.
        ERR_NICKTOOFAST = 438;
        /// New targets too fast.
        ERR_TARGETTOOFAST = 439;
        /// Newcomers of the channel are sent to another one.
        ERR_LINKCHANNEL = 470;
        /// Joins too fast, or TLS needed: the text says which.
        ERR_THROTTLE = 480;
        /// They take messages only from registered users.
        ERR_NONONREG = 486;
        /// TLS needed for the channel, or voice needed to speak.
        ERR_SECUREONLYCHAN = 489;
        /// Messages to them are blocked (Unreal).
        ERR_CANTSENDTOUSER = 531;
        /// Joins too fast (Unreal).
        ERR_TOOMANYJOINS = 500;
        /// The channel is for operators.
        ERR_OPERONLY = 520;
        /// They ignore whom they don't know (+g).
        ERR_TARGUMODEG = 716;
        /// New targets too fast (Solanum).
        ERR_TARGCHANGE = 707;
        /// SASL was already done.
        ERR_SASLALREADY = 907;
    }
}

/// Why bytes are no IRC line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// NUL, or a CR or LF that ends nothing.
    #[error("a NUL, CR or LF inside the line")]
    Control,
    /// No command, or one that isn't letters or three digits.
    #[error("no command where one should be")]
    Command,
}

/// One line, without its CR LF, taken apart without copying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// The tags, undivided.
    pub tags: Tags<'a>,
    /// Who sent it (`nick!user@host` or a server), without the colon.
    pub source: Option<&'a [u8]>,
    /// The command or numeric, as it was written.
    pub command: &'a [u8],
    params: &'a [u8],
}

impl<'a> Line<'a> {
    /// Takes `line` apart. Any number of blanks may stand wherever one may.
    pub fn parse(line: &'a [u8]) -> Result<Self, Malformed> {
        if memchr::memchr3(0, b'\r', b'\n', line).is_some() {
            return Err(Malformed::Control);
        }
        let mut rest = skip_blanks(line);
        let mut tags = Tags(&[]);
        if let Some(tagged) = rest.strip_prefix(b"@") {
            let (word, after) = word(tagged);
            (tags, rest) = (Tags(word), after);
        }
        let mut source = None;
        if let Some(sourced) = rest.strip_prefix(b":") {
            let (word, after) = word(sourced);
            (source, rest) = (Some(word), after);
        }
        let (command, params) = word(rest);
        let letters = command.iter().all(u8::is_ascii_alphabetic);
        let digits = command.len() == 3 && command.iter().all(u8::is_ascii_digit);
        if command.is_empty() || !(letters || digits) {
            return Err(Malformed::Command);
        }
        Ok(Self { tags, source, command, params })
    }

    /// The parameters, however many.
    #[must_use]
    pub const fn params(&self) -> Params<'a> {
        Params(self.params)
    }

    /// The parameter at `index`, from 0; empty if there is none.
    #[must_use]
    pub fn param(&self, index: usize) -> &'a [u8] {
        self.params().nth(index).unwrap_or_default()
    }

    /// The last parameter; empty if there is none.
    #[must_use]
    pub fn last_param(&self) -> &'a [u8] {
        self.params().last().unwrap_or_default()
    }

    /// The command's number, if it is a numeric.
    #[must_use]
    pub fn numeric(&self) -> Option<u16> {
        if !self.command[0].is_ascii_digit() {
            return None;
        }
        Some(self.command.iter().fold(0, |n, digit| n * 10 + u16::from(digit - b'0')))
    }

    /// The nick of the sender; the server's name if it is a server; empty if nobody is named.
    #[must_use]
    pub fn nick(&self) -> &'a [u8] {
        let source = self.source.unwrap_or_default();
        &source[..memchr::memchr2(b'!', b'@', source).unwrap_or(source.len())]
    }
}

/// Iterates over a line's parameters.
#[derive(Debug, Clone)]
pub struct Params<'a>(&'a [u8]);

impl<'a> Iterator for Params<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if let Some(trailing) = self.0.strip_prefix(b":") {
            self.0 = &[];
            return Some(trailing);
        }
        if self.0.is_empty() {
            return None;
        }
        let (param, rest) = word(self.0);
        self.0 = rest;
        Some(param)
    }
}

/// The tags of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tags<'a>(&'a [u8]);

impl<'a> Tags<'a> {
    /// The value of the last tag named `key`, as it was written (see [`unescape`]); empty for a tag without one.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let mut found = None;
        for tag in self.0.split(|b| *b == b';') {
            if let Some(rest) = tag.strip_prefix(key.as_bytes()) {
                match rest.first() {
                    None => found = Some(rest),
                    Some(b'=') => found = Some(&rest[1..]),
                    Some(_) => {}
                }
            }
        }
        found
    }
}

/// The meaning of a tag's value: `\:` is `;`, `\s` a blank, `\r` CR, `\n` LF, `\\` one backslash; any other
/// backslash is dropped.
#[must_use]
pub fn unescape(value: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', value).is_none() {
        return Cow::Borrowed(value);
    }
    let mut plain = Vec::with_capacity(value.len());
    let mut bytes = value.iter();
    while let Some(&byte) = bytes.next() {
        plain.push(match (byte, if byte == b'\\' { bytes.next() } else { None }) {
            (b'\\', None) => break,
            (b'\\', Some(b':')) => b';',
            (b'\\', Some(b's')) => b' ',
            (b'\\', Some(b'r')) => b'\r',
            (b'\\', Some(b'n')) => b'\n',
            (b'\\', Some(&other)) => other,
            (plain, _) => plain,
        });
    }
    Cow::Owned(plain)
}

fn skip_blanks(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.iter().position(|b| *b != b' ').unwrap_or(bytes.len())..]
}

/// The bytes up to the next blank, and those after the blanks.
fn word(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b' ', bytes).unwrap_or(bytes.len());
    (&bytes[..end], skip_blanks(&bytes[end..]))
}

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

/// The longest line that every server takes, CR LF included.
pub const MAX_LINE: usize = 512;

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
        self.line("CAP", &[subcommand], argument)
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

#[cfg(test)]
mod tests;
