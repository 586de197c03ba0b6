//! From the socket to 001: capabilities, login, nick.
//!
//! NICK and USER have gone out already, so that a server that knows no CAP registers us without another word; one
//! that knows it holds registration open until CAP END.

use super::{
    Now, Output, Session, State,
    connection::{Connection, Phase},
    numeric,
    receipts::Proof,
    refusal,
    refusal::Closing,
};
use crate::{
    irc::{
        caps::{self, Cap, Offer},
        codec::decode,
        isupport, sasl,
        wire::Line,
    },
    model::{Failure, Isupport, Reason},
};

/// How long a login may take. In milliseconds.
const LOGIN: u64 = 30_000;
/// How long the server may tell of itself after 001. In milliseconds.
const GREETING: u64 = 10_000;

/// What the server offers, and what of it was asked for and not answered yet.
#[derive(Debug, Default)]
pub(super) struct Negotiation {
    offer: Offer,
    /// In the order in which they were asked for.
    awaited: Vec<Cap>,
    /// Whether each was asked for by itself, after all together were refused.
    one_by_one: bool,
}

/// A login under way: what is still to be said.
#[derive(Debug)]
pub(super) struct Login {
    chunks: Vec<String>,
}

/// Whether a link asks for what a server offers.
const fn is_wanted(cap: Cap, bot: bool, login: bool) -> bool {
    match cap {
        Cap::AccountNotify => bot,
        Cap::Sasl => login,
        _ => true,
    }
}

impl Session {
    /// Whether we have been let in: 001 has come.
    pub(super) fn is_registered(&self) -> bool {
        match &self.state {
            State::On(connection) => connection.is_registered(),
            _ => false,
        }
    }

    /// `CAP * LS/ACK/NAK/NEW/DEL …`
    pub(super) fn cap(&mut self, line: &Line<'_>, now: Now, out: &mut Vec<Output>) {
        let State::On(connection) = &mut self.state else { return };
        let list = decode(line.last_param(), self.encoding);
        match line.param(1) {
            b"LS" | b"ls" => {
                let Phase::Negotiating(negotiation) = &mut connection.phase else { return };
                negotiation.offer.add(&list);
                // `CAP * LS * :…` says that another line follows.
                if !(line.param(2) == b"*" && line.params().nth(3).is_some()) {
                    self.request(now, out);
                }
            }
            b"ACK" | b"ack" => {
                for (cap, on) in caps::listed(&list) {
                    connection.caps.set(cap, on);
                }
                connection.receipts.proof = Proof::of(connection.caps);
                self.answered(&list, now, out);
            }
            b"NAK" | b"nak" => {
                let several = list.split_ascii_whitespace().count() > 1;
                match &mut connection.phase {
                    Phase::Negotiating(negotiation) if several && !negotiation.one_by_one => self.ask_one_by_one(out),
                    Phase::Negotiating(negotiation) => {
                        // A name that we don't know, as the server may cut what it repeats, is the oldest one's.
                        if !negotiation.awaited.is_empty() && caps::listed(&list).next().is_none() {
                            negotiation.awaited.remove(0);
                            self.negotiated(now, out);
                        } else {
                            self.answered(&list, now, out);
                        }
                    }
                    // One of what was offered later spoilt it for the others.
                    _ if several => {
                        for name in list.split_ascii_whitespace() {
                            self.urgent(out, |line| line.cap("REQ", Some(name)));
                        }
                    }
                    _ => {}
                }
            }
            b"NEW" | b"new" if connection.is_registered() => {
                let mut offer = Offer::default();
                offer.add(&list);
                let bot = self.spec.link.is_bot();
                for request in offer.requests(|cap| is_wanted(cap, bot, false)) {
                    self.urgent(out, |line| line.cap("REQ", Some(&request)));
                }
            }
            b"DEL" | b"del" => {
                for (cap, _) in caps::listed(&list) {
                    connection.caps.set(cap, false);
                }
                connection.receipts.proof = Proof::of(connection.caps);
            }
            _ => {}
        }
    }

    /// The server has offered all that it has.
    fn request(&mut self, now: Now, out: &mut Vec<Output>) {
        let State::On(connection) = &mut self.state else { return };
        let Phase::Negotiating(negotiation) = &mut connection.phase else { return };
        let login = self.spec.sasl.is_some();
        if login && !negotiation.offer.has_sasl_plain() {
            return self.no_login(now, out);
        }
        let bot = self.spec.link.is_bot();
        let requests = negotiation.offer.requests(|cap| is_wanted(cap, bot, login));
        let names = requests.iter().flat_map(|request| caps::listed(request));
        negotiation.awaited = names.map(|(cap, _)| cap).collect();
        for request in &requests {
            self.urgent(out, |line| line.cap("REQ", Some(request)));
        }
        if requests.is_empty() {
            self.end_negotiation(now, out);
        }
    }

    /// One capability spoilt it for the others. What the server repeats of our request may be cut (IRCv3 promises only
    /// its first 100 characters), so that we go by what we asked for.
    fn ask_one_by_one(&mut self, out: &mut Vec<Output>) {
        let State::On(connection) = &mut self.state else { return };
        let Phase::Negotiating(negotiation) = &mut connection.phase else { return };
        negotiation.one_by_one = true;
        let names: Vec<_> = negotiation.awaited.iter().filter_map(|cap| negotiation.offer.name_of(*cap)).collect();
        for name in names {
            self.urgent(out, |line| line.cap("REQ", Some(name)));
        }
    }

    /// Requests were granted or refused.
    fn answered(&mut self, list: &str, now: Now, out: &mut Vec<Output>) {
        let State::On(connection) = &mut self.state else { return };
        let Phase::Negotiating(negotiation) = &mut connection.phase else { return };
        let before = negotiation.awaited.len();
        negotiation.awaited.retain(|awaited| !caps::listed(list).any(|(cap, _)| cap == *awaited));
        if negotiation.awaited.len() != before {
            self.negotiated(now, out);
        }
    }

    /// Fewer answers are awaited.
    fn negotiated(&mut self, now: Now, out: &mut Vec<Output>) {
        let State::On(connection) = &self.state else { return };
        let Phase::Negotiating(negotiation) = &connection.phase else { return };
        if negotiation.awaited.is_empty() {
            self.end_negotiation(now, out);
        }
    }

    fn end_negotiation(&mut self, now: Now, out: &mut Vec<Output>) {
        let State::On(connection) = &mut self.state else { return };
        match &self.spec.sasl {
            None => self.end_caps(now, out),
            Some(credentials) if connection.caps.has(Cap::Sasl) => {
                let mut chunks = sasl::plain(credentials);
                chunks.reverse();
                connection.phase = Phase::Authenticating(Box::new(Login { chunks }));
                connection.deadline = now.monotonic + LOGIN;
                self.urgent(out, |line| line.authenticate("PLAIN"));
            }
            Some(_) => self.no_login(now, out),
        }
    }

    fn end_caps(&mut self, now: Now, out: &mut Vec<Output>) {
        let State::On(connection) = &mut self.state else { return };
        connection.phase = Phase::Registering;
        connection.deadline = now.monotonic + LOGIN;
        self.urgent(out, |line| line.cap("END", None));
    }

    /// We must log in, and can't. Services come back, so that we try again; without the account we don't go on, as
    /// we might take part where we mustn't, or under a nick that isn't ours.
    fn no_login(&mut self, now: Now, out: &mut Vec<Output>) {
        let words = "the server doesn't offer logging in (SASL PLAIN) now; its services may be away";
        self.hang_up(Closing::Lost, words, now, out);
    }

    /// `AUTHENTICATE +`: go on.
    pub(super) fn authenticate(&mut self, line: &Line<'_>, out: &mut Vec<Output>) {
        let State::On(connection) = &mut self.state else { return };
        let Phase::Authenticating(login) = &mut connection.phase else { return };
        if line.param(0) == b"+" {
            while let Some(chunk) = login.chunks.pop() {
                let mut wire = Vec::new();
                let writer = crate::irc::wire::LineWriter::new(&mut wire, self.isupport.linelen);
                // Base64 is always a single word.
                if writer.authenticate(&chunk).is_ok() {
                    out.push(Output::Line(wire));
                }
            }
        }
    }

    /// 900 and its kin. False if `numeric` isn't about the login.
    pub(super) fn login_numeric(&mut self, numeric: u16, line: &Line<'_>, now: Now, out: &mut Vec<Output>) -> bool {
        let State::On(connection) = &self.state else { return false };
        let authenticating = matches!(connection.phase, Phase::Authenticating(_));
        let words = decode(line.last_param(), self.encoding);
        match numeric {
            numeric::RPL_SASLSUCCESS | numeric::ERR_SASLALREADY if authenticating => self.end_caps(now, out),
            numeric::ERR_SASLFAIL | numeric::ERR_SASLABORTED if authenticating && sasl::is_temporary(&words) => {
                self.hang_up(Closing::Lost, &format!("the login (SASL) failed for now: {words}"), now, out);
            }
            numeric::ERR_SASLABORTED if authenticating => {
                self.hang_up(Closing::Lost, &format!("the login (SASL) was broken off: {words}"), now, out);
            }
            numeric::ERR_SASLFAIL | numeric::ERR_SASLTOOLONG | numeric::ERR_NICKLOCKED | numeric::RPL_SASLMECHS
                if authenticating =>
            {
                let words = format!("the login (SASL) was refused; check account and password: {words}");
                self.hang_up(Closing::Banned, &words, now, out);
            }
            numeric::RPL_LOGGEDIN
            | numeric::RPL_SASLSUCCESS
            | numeric::ERR_SASLALREADY
            | numeric::ERR_SASLFAIL
            | numeric::ERR_SASLABORTED
            | numeric::ERR_SASLTOOLONG
            | numeric::ERR_NICKLOCKED
            | numeric::RPL_SASLMECHS => {}
            _ => return false,
        }
        true
    }

    /// A numeric before 001.
    pub(super) fn registration_numeric(&mut self, numeric: u16, line: &Line<'_>, now: Now, out: &mut Vec<Output>) {
        let State::On(connection) = &mut self.state else { return };
        match numeric {
            numeric::RPL_WELCOME => {
                if self.spec.sasl.is_some() && !matches!(connection.phase, Phase::Registering) {
                    return self.no_login(now, out);
                }
                // Whatever nick it names is ours, though we may have asked for another one.
                if !line.param(0).is_empty() {
                    connection.me.nick = decode(line.param(0), self.encoding).into_owned();
                }
                connection.phase = Phase::Settling(Box::default());
                connection.deadline = now.monotonic + GREETING;
            }
            numeric::ERR_NICKNAMEINUSE
            | numeric::ERR_NICKCOLLISION
            | numeric::ERR_UNAVAILRESOURCE
            | numeric::ERR_ERRONEUSNICKNAME => {
                let Connection { walk, me, .. } = &mut **connection;
                if numeric == numeric::ERR_ERRONEUSNICKNAME {
                    walk.erroneous(&me.nick);
                } else {
                    walk.taken();
                }
                let Some(nick) = walk.current(&self.spec) else {
                    return self.hang_up(Closing::Later, "every nick that we tried is taken", now, out);
                };
                me.nick.clone_from(&nick);
                self.urgent(out, |line| line.nick(&nick));
            }
            numeric::ERR_UNKNOWNCOMMAND
                if line.param(1) == b"CAP" && matches!(connection.phase, Phase::Negotiating(_)) =>
            {
                if self.spec.sasl.is_some() {
                    return self.no_login(now, out);
                }
                connection.phase = Phase::Registering;
            }
            numeric::ERR_PASSWDMISMATCH | numeric::ERR_NOPERMFORHOST => {
                self.verdict(Closing::Banned, line);
            }
            _ => {}
        }
    }

    /// What the server says before it closes; kept, as what it says when it closes may be less exact.
    fn verdict(&mut self, otherwise: Closing, line: &Line<'_>) {
        let words = decode(line.last_param(), self.encoding).into_owned();
        let closing = match refusal::classify(&words) {
            Closing::Lost => otherwise,
            closing => closing,
        };
        self.keep_verdict(closing, words);
    }

    /// The server says that we are banned; its words may be an operator's.
    pub(super) fn ban_verdict(&mut self, line: &Line<'_>) {
        let words = decode(line.last_param(), self.encoding).into_owned();
        self.keep_verdict(refusal::classify_ban(&words), words);
    }

    /// Somebody kills the link; the words are theirs.
    pub(super) fn kill_verdict(&mut self, line: &Line<'_>) {
        self.keep_verdict(Closing::Later, decode(line.last_param(), self.encoding).into_owned());
    }

    fn keep_verdict(&mut self, closing: Closing, words: String) {
        if let State::On(connection) = &mut self.state {
            connection.verdict = Some(Box::new((closing, words)));
        }
    }

    /// A numeric of the greeting: after 001, before the end of the message of the day.
    pub(super) fn greeting_numeric(&mut self, numeric: u16, line: &Line<'_>, now: Now, out: &mut Vec<Output>) {
        let State::On(connection) = &mut self.state else { return };
        let Phase::Settling(draft) = &mut connection.phase else { return };
        match numeric {
            numeric::RPL_MYINFO => {
                let version = decode(line.param(2), self.encoding);
                draft.namelen = draft.namelen.or_else(|| isupport::namelen_of(&version));
            }
            numeric::RPL_ISUPPORT => isupport_line(draft, line),
            numeric::RPL_ENDOFMOTD | numeric::ERR_NOMOTD => self.ready(now, out),
            _ => {}
        }
    }

    /// A refusal as the user is told it.
    pub(super) fn refusal(&self, reason: Reason, words: &[u8]) -> Failure {
        Failure::certain(reason).with_words(decode(words, self.encoding))
    }
}

impl Connection {
    pub(super) const fn is_registered(&self) -> bool {
        matches!(self.phase, Phase::Settling(_) | Phase::Ready { .. } | Phase::Draining)
    }
}

/// Reads one 005 line: our nick, tokens, words.
pub(super) fn isupport_line(to: &mut Isupport, line: &Line<'_>) {
    let tokens = line.params().skip(1).filter(|token| !token.contains(&b' '));
    isupport::apply(to, tokens.filter_map(|token| std::str::from_utf8(token).ok()));
}
