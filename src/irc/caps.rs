//! The IRCv3 capabilities that we use: which to ask for, and in what lines.
//!
//! To use another one: a variant of [`Cap`], its name in `NAMES`, the code that uses it in `session`, and a
//! transcript with and without it. A capability that nothing uses isn't requested: each costs the server work, and
//! many cost every link of a big channel a line per event. Names: <https://ircv3.net/registry#capabilities>.

/// A capability that some part of the session uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Cap {
    /// Tags on lines: `msgid`, `time`, `account`, `label`, `batch`.
    MessageTags,
    /// When something happened, by the server's clock.
    ServerTime,
    /// Who is logged in to which account, on each of their lines.
    AccountTag,
    /// Told when somebody logs in or out. Asked for by the bot alone, which observes.
    AccountNotify,
    /// The account in JOIN.
    ExtendedJoin,
    /// Our own messages come back, which proves that they were taken.
    EchoMessage,
    /// Each answer names the line that it answers.
    LabeledResponse,
    /// Lines that belong together say so.
    Batch,
    /// A changed host is told as such, not as QUIT and JOIN.
    Chghost,
    /// All prefixes of a member in NAMES.
    MultiPrefix,
    /// User and host in NAMES.
    UserhostInNames,
    /// No NAMES after a JOIN unless asked for.
    NoImplicitNames,
    /// FAIL, WARN and NOTE.
    StandardReplies,
    /// Told when capabilities come and go.
    CapNotify,
    /// Logging in.
    Sasl,
}

/// Every name by which a server may offer a capability; the first of several that it offers is requested.
const NAMES: &[(&str, Cap)] = &[
    ("message-tags", Cap::MessageTags),
    ("server-time", Cap::ServerTime),
    ("account-tag", Cap::AccountTag),
    ("account-notify", Cap::AccountNotify),
    ("extended-join", Cap::ExtendedJoin),
    ("echo-message", Cap::EchoMessage),
    ("labeled-response", Cap::LabeledResponse),
    ("batch", Cap::Batch),
    ("chghost", Cap::Chghost),
    ("multi-prefix", Cap::MultiPrefix),
    ("userhost-in-names", Cap::UserhostInNames),
    ("no-implicit-names", Cap::NoImplicitNames),
    ("draft/no-implicit-names", Cap::NoImplicitNames),
    ("standard-replies", Cap::StandardReplies),
    ("inspircd.org/standard-replies", Cap::StandardReplies),
    ("cap-notify", Cap::CapNotify),
    ("sasl", Cap::Sasl),
];

/// The capability of that name, if we use it.
#[must_use]
pub fn by_name(name: &str) -> Option<Cap> {
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, cap)| *cap)
}

/// A set of capabilities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Caps(u32);

impl Caps {
    /// The empty set.
    #[must_use]
    pub const fn none() -> Self {
        Self(0)
    }

    /// Whether `cap` is in the set.
    #[must_use]
    pub const fn has(self, cap: Cap) -> bool {
        self.0 & (1 << cap as u8) != 0
    }

    /// Puts `cap` into the set, or takes it out.
    pub const fn set(&mut self, cap: Cap, on: bool) {
        if on {
            self.0 |= 1 << cap as u8;
        } else {
            self.0 &= !(1 << cap as u8);
        }
    }
}

/// What a server offers, of what we use.
#[derive(Debug, Default)]
pub struct Offer {
    names: Vec<&'static str>,
    /// The SASL mechanisms, if the server names them.
    pub sasl: Option<String>,
}

impl Offer {
    /// Adds the capabilities of one `CAP LS` or `CAP NEW` line.
    pub fn add(&mut self, line: &str) {
        for offered in line.split_ascii_whitespace() {
            let (name, value) = offered.split_once('=').map_or((offered, None), |(name, value)| (name, Some(value)));
            let Some((name, cap)) = NAMES.iter().find(|(known, _)| *known == name) else { continue };
            if *cap == Cap::Sasl {
                self.sasl = value.map(str::to_owned);
            }
            if !self.names.iter().any(|known| by_name(known) == Some(*cap)) {
                self.names.push(name);
            }
        }
    }

    /// Whether `cap` is offered.
    #[must_use]
    pub fn has(&self, cap: Cap) -> bool {
        self.name_of(cap).is_some()
    }

    /// The name by which `cap` is offered.
    #[must_use]
    pub fn name_of(&self, cap: Cap) -> Option<&'static str> {
        self.names.iter().copied().find(|name| by_name(name) == Some(cap))
    }

    /// Whether SASL PLAIN is offered, as far as the server says.
    #[must_use]
    pub fn has_sasl_plain(&self) -> bool {
        self.has(Cap::Sasl)
            && self
                .sasl
                .as_deref()
                .is_none_or(|m| m.is_empty() || m.split(',').any(|m| m.eq_ignore_ascii_case("PLAIN")))
    }

    /// What to ask for, of what is `wanted`: the arguments of as many `CAP REQ` lines as needed.
    #[must_use]
    pub fn requests(&self, wanted: impl Fn(Cap) -> bool) -> Vec<String> {
        let mut requests: Vec<String> = Vec::new();
        for name in self.names.iter().filter(|name| by_name(name).is_some_and(&wanted)) {
            match requests.last_mut() {
                Some(request) if request.len() + 1 + name.len() <= MAX_REQUEST => {
                    request.push(' ');
                    request.push_str(name);
                }
                _ => requests.push((*name).to_owned()),
            }
        }
        requests
    }
}

/// Room for names in one request, so that the server's ACK, with its own name before it, still fits in a line.
const MAX_REQUEST: usize = 300;

/// The capabilities in an ACK, NAK or DEL, and whether each is on now (`-name` is off).
pub fn listed(line: &str) -> impl Iterator<Item = (Cap, bool)> {
    line.split_ascii_whitespace().filter_map(|name| {
        let (name, on) = name.strip_prefix('-').map_or((name, true), |name| (name, false));
        by_name(name.split('=').next().unwrap_or(name)).map(|cap| (cap, on))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_we_use_is_requested_and_each_once() {
        let mut offer = Offer::default();
        offer.add("away-notify draft/no-implicit-names sasl=EXTERNAL,PLAIN server-time");
        offer.add("no-implicit-names draft/chathistory=1000 message-tags");
        assert_eq!(offer.requests(|cap| cap != Cap::Sasl), ["draft/no-implicit-names server-time message-tags"]);
        assert_eq!(offer.requests(|_| true), ["draft/no-implicit-names sasl server-time message-tags"]);
        assert!(offer.has_sasl_plain());
    }

    #[test]
    fn sasl_without_plain_is_none_for_us() {
        for (ls, plain) in
            [("sasl", true), ("sasl=", true), ("sasl=PLAIN", true), ("sasl=EXTERNAL", false), ("x", false)]
        {
            let mut offer = Offer::default();
            offer.add(ls);
            assert_eq!(offer.has_sasl_plain(), plain, "{ls}");
        }
    }

    #[test]
    fn requests_are_cut_into_lines_that_the_answer_fits_in() {
        let mut offer = Offer::default();
        offer.add(&NAMES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" "));
        let requests = offer.requests(|_| true);
        assert!(requests.iter().all(|r| r.len() <= MAX_REQUEST));
        assert_eq!(requests.join(" ").split(' ').count(), 15);
    }

    #[test]
    fn sets_and_lists() {
        let mut caps = Caps::default();
        for (cap, on) in listed("batch sasl=PLAIN -batch unknown echo-message") {
            caps.set(cap, on);
        }
        assert!(caps.has(Cap::Sasl) && caps.has(Cap::EchoMessage));
        assert!(!caps.has(Cap::Batch) && !caps.has(Cap::MessageTags));
    }
}
