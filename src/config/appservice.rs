//! `[appservice]`: how the homeserver reaches the bridge.

use std::{net::SocketAddr, path::PathBuf};

use super::{reader::Section, value::HttpUrl};

/// The bridge as an application service.
#[derive(Debug, Clone)]
pub struct Appservice {
    /// The file that `footbridge registration` writes; the tokens are read from it. Default `registration.yaml`.
    pub registration: PathBuf,
    /// The IP address and port to listen on. Default `127.0.0.1:9995`.
    pub bind: SocketAddr,
    /// The same place as the homeserver reaches it. Default `http://127.0.0.1:9995`.
    pub url: HttpUrl,
    /// The name of the bridge bot: `@footbridge:example.org` by default.
    pub bot_localpart: String,
}

impl Appservice {
    pub(super) fn read(section: &Section<'_>) -> Option<Self> {
        let registration = section.key("registration").or_text("registration.yaml").get();
        let bind = section.key("bind").or_text("127.0.0.1:9995").get();
        let url = section.key("url").or_text("http://127.0.0.1:9995").get();
        let bot_localpart = section.key("bot_localpart").or_text("footbridge").parse(localpart).get();
        Some(Self { registration: registration?, bind: bind?, url: url?, bot_localpart: bot_localpart? })
    }
}

/// A localpart that is valid in every version of the specification
/// (<https://spec.matrix.org/v1.19/appendices/#user-identifiers>).
fn localpart(text: String) -> Result<String, String> {
    let valid = !text.is_empty() && text.len() <= 128 && text.chars().all(is_localpart_char);
    if valid { Ok(text) } else { Err(format!("`{text}` can't be a Matrix user's name: use a-z, 0-9 and . _ = - / +")) }
}

/// Whether new Matrix users may have this character in their ids.
const fn is_localpart_char(c: char) -> bool {
    matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '=' | '-' | '/' | '+')
}
