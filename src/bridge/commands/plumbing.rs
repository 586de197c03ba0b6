//! Commands that bridge a room to a channel, and end that.

use super::{
    super::{
        consent::room::{self, Check},
        delivery::Origin,
        directory::RoomKind,
        dispatch::{Core, Input},
    },
    parse::{Entry, Kind},
};

pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        name: "plumb",
        aliases: &["bridge"],
        usage: "[network] #channel",
        about: "bridges this room to a channel, once the channel's operators agree. You need the power to set state here.",
        ours_alone: true,
        kind: Kind::Plumb,
    },
    Entry {
        name: "unplumb",
        aliases: &["unlink", "unbridge"],
        usage: "",
        about: "ends this room's bridge to IRC, or takes back the request for one. You need the power to set state here.",
        ours_alone: true,
        kind: Kind::Unplumb,
    },
];

impl Core {
    /// Ends the room's bridge if its sender has the power to; a request of their own may be taken back in any case.
    pub(super) fn unplumb(&mut self, origin: &Origin) {
        let pending = self.requests.of_room(&origin.room).next().is_some();
        let bridged = matches!(self.directory.kind(&origin.room), RoomKind::Portal(_));
        if !pending && !bridged {
            let text = "This room isn't bridged to IRC, and nobody has asked for it.";
            return self.answer(origin, "unplumb", text);
        }
        self.look_at_room(origin, Check::Unplumb(origin.clone()));
    }

    /// Asks the homeserver what has to be known of a command's room; the answer comes as an input.
    pub(in crate::bridge) fn look_at_room(&self, origin: &Origin, check: Check) {
        let (outbox, ours, input) = (self.outbox.clone(), self.ours.clone(), self.input.clone());
        let (room, user) = (origin.room.clone(), origin.sender.clone());
        tokio::spawn(async move {
            let facts = room::look(&*outbox.matrix, &room, &user, &ours).await;
            let _ = input.send(Input::RoomChecked { check, facts }).await;
        });
    }
}
