//! `[moderation]`: who may not use the bridge.

use ruma::OwnedRoomOrAliasId;

use super::reader::Section;

/// Lists that are followed.
#[derive(Debug, Clone)]
pub struct Moderation {
    /// Policy rooms, by id or alias, in which the bot is or may come: users and servers that they ban get no connection to
    /// IRC, and lose the one they have. Default: none.
    pub policy_rooms: Vec<OwnedRoomOrAliasId>,
}

impl Moderation {
    pub(super) fn read(section: &Section<'_>) -> Option<Self> {
        let policy_rooms = section.key("policy_rooms").or_else(Vec::new).get();
        Some(Self { policy_rooms: policy_rooms? })
    }
}
