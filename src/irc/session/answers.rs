//! Answers to what we sent: echoes, acknowledgements, errors.

use std::borrow::Cow;

use super::{
    Now, Output, Session, State,
    channels::join_reason,
    nicks, numeric,
    receipts::{Proof, Verb, is_refusal, reason_of},
};
use crate::{
    irc::{
        caps::{Cap, Caps},
        codec::decode,
        wire::Line,
    },
    model::{Failure, Reason},
};

impl Proof {
    /// The best proof that a server with these capabilities gives.
    pub(super) const fn of(caps: Caps) -> Self {
        if caps.has(Cap::LabeledResponse) && caps.has(Cap::Batch) && caps.has(Cap::MessageTags) {
            Self::Label
        } else if caps.has(Cap::EchoMessage) {
            Self::Echo
        } else {
            Self::Barrier
        }
    }
}

impl Session {
    /// A line of ours came back to us: the server took it.
    pub(super) fn own_line_came_back(&mut self, verb: Verb, line: &Line<'_>, out: &mut Vec<Output>) {
        let (msgid, target) = (self.tag(line, "msgid"), self.text_of(line.param(0)));
        let mapping = self.isupport.casemapping;
        let State::On(connection) = &mut self.state else { return };
        match connection.label_of(line) {
            Some(label) => connection.receipts.labelled(label, Ok(msgid), out),
            None => {
                connection.receipts.echo(verb, &target, mapping, msgid, out);
            }
        }
    }

    /// `ACK`: the labelled line has no other answer.
    pub(super) fn ack(&mut self, line: &Line<'_>, out: &mut Vec<Output>) {
        let State::On(connection) = &mut self.state else { return };
        if let Some(label) = connection.label_of(line) {
            connection.receipts.labelled(label, Ok(None), out);
        }
    }

    /// `FAIL command code context… :words` (<https://ircv3.net/specs/extensions/standard-replies>).
    pub(super) fn fail_reply(&mut self, line: &Line<'_>, out: &mut Vec<Output>) {
        let mapping = self.isupport.casemapping;
        let failure = self.refusal(Reason::Refused, line.last_param());
        let command = self.text_of(line.param(0));
        let params: Vec<String> = line.params().map(|param| self.text_of(param)).collect();
        let context = params.get(2..params.len().saturating_sub(1)).unwrap_or_default();
        if command == "JOIN" {
            for name in context {
                self.refuse_join(name, failure.clone(), out);
            }
            return;
        }
        let State::On(connection) = &mut self.state else { return };
        let label = connection.label_of(line);
        let receipts = &mut connection.receipts;
        if let Some(label) = label {
            receipts.labelled(label, Err(failure), out);
        } else {
            let verbs = Verb::named(&command);
            let mut names = context.iter().map(|name| Some(name.as_str())).chain([None]);
            names.any(|name| receipts.refused(name, verbs, mapping, failure.clone(), out));
        }
    }

    /// Any numeric that isn't about the server, the channel or the login: an answer to something, or nothing to us.
    pub(super) fn answer_numeric(&mut self, number: u16, line: &Line<'_>, now: Now, out: &mut Vec<Output>) {
        let mapping = self.isupport.casemapping;
        let name = self.text_of(line.param(1));
        // `443 me nick #channel`, or `443 me #channel`: we are in it already, or whom we invited is.
        if number == numeric::ERR_USERONCHANNEL && self.already_in(line, out) {
            return;
        }
        let words = self.text_of(line.last_param());
        if let Some(reason) = join_reason(number, &words) {
            let mut failure = Failure::certain(reason).with_words(&*words);
            // `470 me #channel #other :words`
            let other = (number == numeric::ERR_LINKCHANNEL).then(|| self.text_of(line.param(2)));
            failure.detail.clone_from(&other);
            if self.refuse_join(&name, failure, out) {
                if let Some(other) = other {
                    self.channels.forwarded(&other);
                }
                return;
            }
        }
        if self.nick_refused(number, &name, now) {
            return;
        }
        let label = match &self.state {
            State::On(connection) => connection.label_of(line),
            _ => None,
        };
        let reason = reason_of(number);
        let failure = Failure::certain(reason.unwrap_or(Reason::Refused)).with_words(words);
        let State::On(connection) = &mut self.state else { return };
        let receipts = &mut connection.receipts;
        if let Some(label) = label {
            if is_refusal(number) {
                receipts.labelled(label, Err(failure), out);
            } else if line.tags.get("label").is_some() {
                receipts.labelled(label, Ok(None), out);
            }
            return;
        }
        let mut refused =
            |name: Option<&str>, verbs: &'static [Verb]| receipts.refused(name, verbs, mapping, failure.clone(), out);
        match number {
            // `472 me letter :is unknown mode char to me`
            numeric::ERR_UNKNOWNMODE => {
                refused(None, &[Verb::Mode]);
            }
            numeric::ERR_NORECIPIENT
            | numeric::ERR_NOTEXTTOSEND
            | numeric::ERR_INPUTTOOLONG
            | numeric::ERR_NOPRIVILEGES => {
                refused(None, Verb::ANY);
            }
            _ if reason.is_some() => {
                // What was said in the channel before may still be undecided, and isn't meant by some of them.
                let about: &'static [Verb] = match number {
                    numeric::ERR_CHANOPRIVSNEEDED => &[Verb::Topic, Verb::Kick, Verb::Mode, Verb::Invite],
                    numeric::ERR_USERNOTINCHANNEL => &[Verb::Kick, Verb::Mode],
                    numeric::ERR_USERONCHANNEL => &[Verb::Invite],
                    numeric::ERR_BANLISTFULL | numeric::ERR_INVALIDMODEPARAM => &[Verb::Mode],
                    numeric::ERR_CANNOTSENDTOCHAN
                    | numeric::ERR_NOCOLORSONCHAN
                    | numeric::ERR_NOCTCP
                    | numeric::ERR_WORDFILTERED => Verb::SAID,
                    _ => Verb::ANY,
                };
                let _ = refused(Some(&name), about) || refused(Some(&name), Verb::ANY);
            }
            // An error that we don't know is about a line of ours if it names whom that was for.
            400..600 | 900.. => {
                let names = line.params().take(line.params().count().saturating_sub(1)).skip(1).take(2);
                let mut names = names.map(|name| decode(name, self.encoding));
                names.any(|name| refused(Some(&name), Verb::ANY));
            }
            _ => {}
        }
    }

    /// False if no JOIN of that channel was on its way.
    fn already_in(&mut self, line: &Line<'_>, out: &mut Vec<Output>) -> bool {
        let mapping = self.isupport.casemapping;
        let mut any = false;
        let names: Vec<String> = line.params().skip(1).take(2).map(|param| self.text_of(param)).collect();
        for name in names {
            if self.channels.is_joining(&name, mapping) {
                any = true;
                self.channels.joined(&name, false, mapping);
                self.outbox.release(&name, mapping);
                out.push(Output::Event(crate::model::IrcEvent::OwnJoined { channel: name }, None));
            }
        }
        any
    }

    /// `341 me nick #channel`: the invitation that we sent went out.
    pub(super) fn inviting(&mut self, line: &Line<'_>, out: &mut Vec<Output>) {
        let (channel, mapping) = (self.text_of(line.param(2)), self.isupport.casemapping);
        let State::On(connection) = &mut self.state else { return };
        match connection.label_of(line) {
            Some(label) => connection.receipts.labelled(label, Ok(None), out),
            None => drop(connection.receipts.echo(Verb::Invite, &channel, mapping, None, out)),
        }
    }

    /// False if no JOIN of that channel was on its way.
    fn refuse_join(&mut self, name: &str, failure: Failure, out: &mut Vec<Output>) -> bool {
        let Some(name) = self.channels.refused(name, self.isupport.casemapping) else { return false };
        self.join_refused(&name, failure, out);
        true
    }

    /// Looks after the wanted nick from now on, unless we have it.
    pub(super) fn watch_nick(&mut self, now: u64) {
        let wanted = self.wanted_nick().into_owned();
        let mapping = self.isupport.casemapping;
        if let State::On(connection) = &mut self.state {
            if mapping.same(&connection.me.nick, &wanted) {
                connection.regain.rest();
            } else {
                connection.regain.wait(now);
            }
        }
    }

    /// The wanted nick, as long as this server takes it.
    pub(super) fn wanted_nick(&self) -> Cow<'_, str> {
        nicks::wanted(&self.spec, &self.isupport)
    }

    /// Somebody gave up their nick: perhaps it is the one we want.
    pub(super) fn nick_freed(&mut self, nick: &[u8], now: Now) {
        let wanted = self.isupport.casemapping.same_bytes(nick, self.wanted_nick().as_bytes());
        if let State::On(connection) = &mut self.state
            && wanted
            && connection.regain.is_waiting()
        {
            connection.regain.chance(now.monotonic);
        }
    }

    /// False if `number` is no refusal of a nick of ours.
    fn nick_refused(&mut self, number: u16, name: &str, now: Now) -> bool {
        let for_nick = self.isupport.casemapping.same(name, &self.wanted_nick());
        let State::On(connection) = &mut self.state else { return false };
        match number {
            // It won't get any better by trying again.
            numeric::ERR_ERRONEUSNICKNAME => connection.regain.rest(),
            numeric::ERR_NICKNAMEINUSE
            | numeric::ERR_NICKCOLLISION
            | numeric::ERR_BANNICKCHANGE
            | numeric::ERR_NICKTOOFAST => connection.regain.wait(now.monotonic),
            numeric::ERR_UNAVAILRESOURCE if for_nick => connection.regain.wait(now.monotonic),
            _ => return false,
        }
        true
    }
}
