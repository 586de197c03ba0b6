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
    /// How many joins and leaves of ghosts it is asked for in a second, those who speak aside: they needn't wait.
    /// 0 = no limit. Default 50.
    pub memberships_per_second: u32,
    /// How often who is in a room is compared with who is in the channel; of many rooms one each second. 0 = only when
    /// the bridge comes into them. Default 60.
    pub compare_seconds: u32,
}

impl Homeserver {
    pub(super) fn read(section: &Section<'_>) -> Option<Self> {
        let url = section.key("url").get();
        let server_name = section.key("server_name").get();
        let memberships_per_second = section.key("memberships_per_second").or(50).get();
        let compare_seconds = section.key("compare_seconds").or(60).get();
        Some(Self {
            url: url?,
            server_name: server_name?,
            memberships_per_second: memberships_per_second?,
            compare_seconds: compare_seconds?,
        })
    }
}
