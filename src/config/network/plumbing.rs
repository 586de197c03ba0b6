//! `[network.ID.plumbing]`: who may bridge rooms to channels by command, and with whose consent.

use std::time::Duration;

use crate::config::reader::Section;

/// Whose word lets the bridge into a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Consenting {
    /// An operator of the channel, who says yes or invites the bot.
    Op,
    /// Any member who may invite the bot too.
    Invite,
}

/// How rooms are plumbed by command.
#[derive(Debug, Clone)]
pub struct Plumbing {
    /// Whether there may be new plumbs. False freezes them: what is plumbed stays. Default true.
    pub new_plumbs: bool,
    /// Whose consent is needed: `op` or `invite`. Default `op`.
    pub consent: Consenting,
    /// Whether who consents has to be logged in to an account. Default false.
    pub need_account: bool,
    /// The most people that a room may have. Default 1000; 0: any number.
    pub max_people: u32,
    /// How long an operator has to answer. Default an hour.
    pub answer_within: Duration,
    /// Whether a room that another bridge is in may be plumbed too. Default false.
    pub allow_double: bool,
}

impl Plumbing {
    pub(super) fn read(section: &Section<'_>) -> Option<Self> {
        let new_plumbs = section.key("new_plumbs").or(true).get();
        let consent = section.key("consent").or_else(|| "op".to_owned()).parse(|word: String| consenting(&word)).get();
        let need_account = section.key("need_account").or(false).get();
        let max_people = section.key("max_people").or(1000).get();
        let answer_within = section.key("answer_within_seconds").or(3600_u32).get();
        let allow_double = section.key("allow_double").or(false).get();
        Some(Self {
            new_plumbs: new_plumbs?,
            consent: consent?,
            need_account: need_account?,
            max_people: max_people?,
            answer_within: Duration::from_secs(answer_within?.into()),
            allow_double: allow_double?,
        })
    }
}

fn consenting(word: &str) -> Result<Consenting, String> {
    match word {
        "op" => Ok(Consenting::Op),
        "invite" => Ok(Consenting::Invite),
        _ => Err(format!(
            "`{word}` is neither \"op\" (an operator of the channel has to agree) nor \"invite\" (an invitation by any \
             member does too)"
        )),
    }
}
