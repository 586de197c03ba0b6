//! `[network.ID.bot]`: the bridge's own connection.

use crate::{
    config::{Secret, reader::Section},
    model::Isupport,
    translate,
};

use super::one_line;

/// The bridge bot on a network.
#[derive(Debug, Clone)]
pub struct Bot {
    /// Its nick. Default `footbridge`.
    pub nick: String,
    /// Its real name, where operators of the network look for who you are. Default `Footbridge, a Matrix bridge`.
    pub realname: String,
    /// `sasl_account` and `sasl_password`: the services account it logs in to. Default: none.
    pub sasl: Option<Sasl>,
}

/// An account at a network's services (SASL PLAIN).
#[derive(Debug, Clone)]
pub struct Sasl {
    /// The account's name.
    pub account: String,
    /// Its password.
    pub password: Secret,
}

impl Bot {
    pub(super) fn read(section: &Section<'_>) -> Option<Self> {
        let nick = section.key("nick").or_text("footbridge").parse(nick).get();
        let realname = section.key("realname").or_text("Footbridge, a Matrix bridge").parse(one_line).get();
        let account = section.key("sasl_account").parse(one_line).optional();
        let password = section.key("sasl_password").optional();
        let sasl = match (account?, password?) {
            (Some(account), Some(password)) => Some(Sasl { account, password }),
            (None, None) => None,
            (Some(_), None) => {
                section.problem("sasl_account", "there is no password for it: add sasl_password");
                None
            }
            (None, Some(_)) => {
                section.problem("sasl_password", "there is no account that it belongs to: add sasl_account");
                None
            }
        };
        Some(Self { nick: nick?, realname: realname?, sasl })
    }
}

/// A nick that every network takes, its length aside.
fn nick(nick: String) -> Result<String, String> {
    if nick.is_ascii() && translate::valid_nick(&nick, &Isupport::default()) {
        Ok(nick)
    } else {
        Err(format!(
            "`{nick}` is no nick: use letters, digits and - _ [ ] \\ ` ^ {{ | }}, not beginning with a digit or -"
        ))
    }
}
