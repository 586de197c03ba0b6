//! What people tell the bridge to do: commands on Matrix, and words to the bot on IRC.
//!
//! [`parse`] reads them and is pure. A file per group holds the entries (names, arguments, help) and what they do. To add a
//! command: an [`Entry`](parse::Entry) in its group's `ENTRIES`, a [`Command`], its arm in [`parse::parse`] and in
//! [`Core::on_command`], and its function beside the entry.

mod about;
mod channels;
mod on_irc;
mod parse;
mod plumbing;

use serde::Deserialize;

use super::{delivery::Origin, directory::RoomKind, dispatch::Core, event::Event, outbox::Job};
use parse::{Command, Place};

/// The part of a message that a command may be in.
#[derive(Debug, Deserialize)]
struct Content {
    msgtype: String,
    body: String,
    #[serde(rename = "m.relates_to", default)]
    relation: Option<Relation>,
}

#[derive(Debug, Deserialize)]
struct Relation {
    #[serde(default)]
    rel_type: Option<String>,
}

impl Core {
    /// The command in a message, if there is one for us. Only what a person types counts, once: no notices, as two bots that
    /// answer each other never end, and no corrections of what was said before.
    pub(super) fn command_in(&self, event: &Event<'_>) -> Option<String> {
        let place = match self.directory.kind(&event.room_id) {
            RoomKind::Control(_) => Place::Control,
            RoomKind::Portal(_) => Place::Portal,
            // After a restart the bot doesn't know where it is a guest, until it is spoken to.
            RoomKind::Guest(_) | RoomKind::Unknown => Place::Guest,
            RoomKind::Query(_) => return None,
        };
        if event.kind != "m.room.message" {
            return None;
        }
        let content: Content = event.content()?;
        let is_edit = content.relation.is_some_and(|relation| relation.rel_type.as_deref() == Some("m.replace"));
        if content.msgtype != "m.text" || is_edit {
            return None;
        }
        parse::addressed(&content.body, place).map(ToOwned::to_owned)
    }

    /// Does what somebody asks for, or says why not. The event is settled once nothing is left to be done about it.
    pub(super) async fn on_command(&mut self, words: &str, event: &Event<'_>, origin: &Origin) {
        let command = parse::parse(words, self.networks.keys());
        match command {
            Ok(Command::Plumb { network, channel }) => return self.plumb(origin, &network, &channel, event.at()).await,
            Ok(Command::Unplumb) => self.unplumb(origin),
            Ok(Command::Join { network, channel }) => self.join_channel(origin, &network, &channel),
            Ok(Command::Help(entry)) => self.help(origin, entry),
            Ok(Command::Status) => self.status(origin),
            // Who merely talks to the bot learns what it is.
            Err(problem) if matches!(self.directory.kind(&origin.room), RoomKind::Control(_)) => {
                self.answer(origin, "wrong", format!("I am an IRC bridge. {problem}"));
            }
            Err(problem) => self.answer(origin, "wrong", problem),
        }
        self.journal.settle_matrix(origin.key).await;
    }

    /// Answers a command where it was given, or in its sender's control room if that doesn't reach them. `what` names the
    /// answer among all that the command gets, so that it is given once whatever happens.
    pub(super) fn answer(&mut self, origin: &Origin, what: &str, text: impl Into<String>) {
        let mut text = text.into();
        let lane = match self.directory.kind(&origin.room) {
            RoomKind::Portal(room) => room.reaches(&origin.sender).then(|| room.lane.clone()),
            RoomKind::Guest(lane) => Some(lane.clone()),
            RoomKind::Control(user) => self.directory.control(user).cloned(),
            RoomKind::Query(_) | RoomKind::Unknown => None,
        };
        let lane = lane.unwrap_or_else(|| {
            text = format!("{text} (This is about {}.)", origin.room);
            self.control_lane(&origin.sender)
        });
        lane.push(Job::Notice { text, txn: format!("fbc{}-{what}", origin.event) });
    }
}
