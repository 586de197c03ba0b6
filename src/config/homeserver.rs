//! `[homeserver]`: where Matrix is.

use ruma::OwnedServerName;

use super::{reader::Section, value::HttpUrl};

/// The homeserver that the bridge belongs to.
#[derive(Debug, Clone)]
pub struct Homeserver {
    /// Where its client API is reached from here. Required.
    pub url: HttpUrl,
    /// The part after the colon in the ids of its users. Required.
    pub server_name: OwnedServerName,
}

impl Homeserver {
    pub(super) fn read(section: &Section<'_>) -> Option<Self> {
        let url = section.key("url").get();
        let server_name = section.key("server_name").get();
        Some(Self { url: url?, server_name: server_name? })
    }
}
