//! Commands that tell: what there is to do, and how things are.

use super::{
    super::{consent::Request, delivery::Origin, directory::RoomKind, dispatch::Core, network::BotState},
    parse::{Entry, Kind, entries},
};
use crate::model::LinkId;

pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        name: "help",
        aliases: &["commands", "?"],
        usage: "[command]",
        about: "says what I can do.",
        ours_alone: false,
        kind: Kind::Help,
    },
    Entry {
        name: "status",
        aliases: &["links", "listlinks"],
        usage: "",
        about: "says how the networks are, what this room is bridged to, and what is pending.",
        ours_alone: false,
        kind: Kind::Status,
    },
];

impl Core {
    pub(super) fn help(&mut self, origin: &Origin, entry: Option<&'static Entry>) {
        let text = entry.map_or_else(
            || {
                let intro = "I am an IRC bridge. I also tell you, here or in a chat with you, when something that you sent \
                             did not reach IRC. To talk with somebody on IRC, start a chat with their user.";
                let commands: Vec<String> = entries().map(Entry::help).collect();
                format!("{intro}\n{}", commands.join("\n"))
            },
            Entry::help,
        );
        self.answer(origin, "help", text);
    }

    pub(super) fn status(&mut self, origin: &Origin) {
        let mut lines: Vec<String> = Vec::new();
        if let RoomKind::Portal(room) = self.directory.kind(&origin.room) {
            for (network, folded) in &room.channels {
                let Some(channel) = self.directory.channels.get(&(network.clone(), folded.clone())) else { continue };
                let bot = if channel.present.iter().any(LinkId::is_bot) {
                    "the bridge's bot is there".to_owned()
                } else {
                    let why = channel.trouble.words().map(|words| format!(": it {words}"));
                    format!("the bridge's bot isn't there{}", why.unwrap_or_else(|| " yet".to_owned()))
                };
                let people = channel.roster.others();
                lines.push(format!("This room is bridged to {} on {network}: {people} people, {bot}.", channel.name));
            }
        }
        lines.extend(self.requests.of_room(&origin.room).map(Request::status));
        for network in self.networks.values() {
            let state = match &network.bot_state {
                BotState::On => "connected".to_owned(),
                BotState::Off(why) => format!("not connected: {why}"),
            };
            lines.push(format!("{} ({}): {state}.", network.id, network.config.name));
        }
        self.answer(origin, "status", lines.join("\n"));
    }
}
