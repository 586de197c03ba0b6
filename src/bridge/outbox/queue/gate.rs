//! The gate of a strict room.

use std::collections::HashSet;

use ruma::OwnedUserId;

/// What keeps what comes from IRC out of a strict room.
#[derive(Default)]
pub(super) struct Gate {
    /// Somebody could read it whom IRC doesn't see.
    pub(super) held: bool,
    /// In a strict room: whether nobody can come in, or read back, unseen.
    pub(super) secure: Option<bool>,
    /// Who was asked in, until it is known that they still wanted that, and were seen: they need only accept.
    pub(super) admitting: HashSet<OwnedUserId>,
}

impl Gate {
    /// Whether what comes from IRC waits.
    pub(super) fn holds(&self) -> bool {
        self.held || self.secure == Some(false) || !self.admitting.is_empty()
    }
}
