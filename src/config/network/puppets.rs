//! `[network.ID.puppets]`: the connections of Matrix users.

use std::collections::BTreeMap;

use ruma::OwnedUserId;

use crate::{config::reader::Section, translate::NickTemplate};

use super::{bot::Sasl, one_line, wrong};

/// How Matrix users appear on IRC.
#[derive(Debug, Clone)]
pub struct Puppets {
    /// Their nicks, from `{display}`, `{localpart}` and `{server}`. Default `{display}[m]`.
    pub nick: NickTemplate,
    /// How many there may be at a time; 0 = no limit. Default 1000.
    pub limit: u32,
    /// Messages that have waited longer than this many seconds are not sent any more, and their senders are told;
    /// 0 = they may wait for ever. Default 600.
    pub message_max_age_seconds: u32,
    /// A message with more lines than this is refused, and its sender is told; 0 = no limit. Default 50.
    pub max_lines: u32,
    /// `[[network.ID.puppets.account]]`: the services accounts of single users (`user`, `sasl_account`,
    /// `sasl_password`).
    pub accounts: BTreeMap<OwnedUserId, Sasl>,
}

impl Puppets {
    pub(super) fn read(section: &Section<'_>) -> Option<Self> {
        let nick = section.key("nick").or_text("{display}[m]");
        let nick = nick.parse(|text: String| NickTemplate::new(&text).map_err(|problem| wrong(&text, &problem))).get();
        let limit = section.key("limit").or(1000).get();
        let message_max_age_seconds = section.key("message_max_age_seconds").or(600).get();
        let max_lines = section.key("max_lines").or(50).get();
        let mut accounts = BTreeMap::new();
        let entries = section.each("account", account);
        for (user, sasl) in entries? {
            if accounts.insert(user.clone(), sasl).is_some() {
                section.problem("account", format!("{user} has two accounts: keep one"));
            }
        }
        Some(Self {
            nick: nick?,
            limit: limit?,
            message_max_age_seconds: message_max_age_seconds?,
            max_lines: max_lines?,
            accounts,
        })
    }
}

fn account(section: &Section<'_>) -> Option<(OwnedUserId, Sasl)> {
    let user = section.key("user").get();
    let account = section.key("sasl_account").parse(one_line).get();
    let password = section.key("sasl_password").get();
    Some((user?, Sasl { account: account?, password: password? }))
}
