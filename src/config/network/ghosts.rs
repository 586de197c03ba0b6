//! `[network.ID.ghosts]`: the Matrix users that stand for IRC users.

use std::collections::BTreeMap;

use crate::{
    config::{
        Appservice,
        reader::{Section, Source},
    },
    model::NetworkId,
    translate::{DisplayNameTemplate, GhostTemplate},
};

use super::{Network, one_line, overlapping, wrong};

/// How IRC users appear on Matrix.
#[derive(Debug, Clone)]
pub struct Ghosts {
    /// Their Matrix names, from `{network}` (its id) and `{nick}`. Default `irc_{network}_{nick}`, as in
    /// `@irc_libera_alice:example.org`. Changing it gives everyone a new Matrix user.
    pub localpart: GhostTemplate,
    /// Their display names, from `{nick}` and `{network}`. Default `{nick}`.
    pub display_name: DisplayNameTemplate,
    /// Where nothing says which IRC users are in a room (`members`): in channels with fewer people than this, all of
    /// them; in larger ones those who have spoken. A channel that has outgrown it counts as larger until it has shrunk
    /// to three quarters of it. 0 = always those who have spoken. Default 1000.
    pub join_below: u32,
    /// How long those whom the network has lost in a split stay in the room: who comes back in time was never away.
    /// 0 = they leave at once. Default 300.
    pub netsplit_hold_seconds: u32,
}

impl Ghosts {
    pub(super) fn read(section: &Section<'_>, network: &NetworkId) -> Option<Self> {
        let localpart = section.key("localpart").or_text("irc_{network}_{nick}");
        let localpart = localpart.parse(|text: String| localpart_of(&text, network)).get();
        let display_name = section.key("display_name").or_text("{nick}");
        let display_name = display_name.parse(|text: String| display_name_of(&text, network)).get();
        let join_below = section.key("join_below").or(1000).get();
        let netsplit_hold_seconds = section.key("netsplit_hold_seconds").or(300).get();
        Some(Self {
            localpart: localpart?,
            display_name: display_name?,
            join_below: join_below?,
            netsplit_hold_seconds: netsplit_hold_seconds?,
        })
    }
}

/// The bot and the ghosts of each network must be told apart by their ids alone.
pub(super) fn check_apart(
    networks: &BTreeMap<NetworkId, Network>,
    appservice: Option<&Appservice>,
    source: &Source<'_>,
) {
    let key = |id: &NetworkId| format!("network.{id}.ghosts.localpart");
    for (a, b) in overlapping(networks, |network| network.ghosts.localpart.around()) {
        let message =
            format!("ghosts of {a} and {b} could have the same Matrix id: use irc_{{network}}_{{nick}} for both");
        source.problem(key(b), message);
    }
    let Some(bot) = appservice.map(|appservice| &appservice.bot_localpart) else { return };
    for (id, network) in networks {
        let (before, after) = network.ghosts.localpart.around();
        // The bot's name has to have room for both ends, else no nick gives it.
        if bot.len() >= before.len() + after.len() && bot.starts_with(before) && bot.ends_with(after) {
            let message =
                format!("the bridge's bot, {bot}, looks like a ghost: change this, or appservice.bot_localpart");
            source.problem(key(id), message);
        }
    }
}

fn localpart_of(text: &str, network: &NetworkId) -> Result<GhostTemplate, String> {
    let template = GhostTemplate::new(text, network).map_err(|problem| wrong(text, &problem))?;
    if template.around().0.is_empty() {
        let advice = "begin with something that none of their names begins with, as irc_{network}_{nick} does";
        return Err(format!("`{text}` would claim the ids of the homeserver's own users: {advice}"));
    }
    Ok(template)
}

fn display_name_of(text: &str, network: &NetworkId) -> Result<DisplayNameTemplate, String> {
    let text = one_line(text.to_owned())?;
    DisplayNameTemplate::new(&text, network).map_err(|problem| wrong(&text, &problem))
}
