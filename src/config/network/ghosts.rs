//! `[network.ID.ghosts]`: the Matrix users that stand for IRC users.

use std::collections::BTreeMap;

use crate::{
    config::{
        Appservice, Template,
        appservice::is_localpart_char,
        reader::{Section, Source},
    },
    model::NetworkId,
};

use super::{Network, overlapping};

/// How IRC users appear on Matrix.
#[derive(Debug, Clone)]
pub struct Ghosts {
    /// Their Matrix names, from `{network}` (its id) and `{nick}`. Default `irc_{network}_{nick}`, as in
    /// `@irc_libera_alice:example.org`. Changing it gives everyone a new Matrix user.
    pub localpart: Template,
    /// Their display names, from `{nick}` and `{network}`. Default `{nick}`.
    pub display_name: Template,
    /// In channels with fewer people than this, all of them are in the room from the start; in larger ones an IRC
    /// user joins the room when they first speak. 0 = always when they first speak. Default 1000.
    pub join_below: u32,
}

impl Ghosts {
    pub(super) fn read(section: &Section<'_>) -> Option<Self> {
        let localpart = section.key("localpart").or_text("irc_{network}_{nick}").parse(|text: String| localpart(&text));
        let localpart = localpart.get();
        let display_name =
            section.key("display_name").or_text("{nick}").parse(|text: String| display_name(&text)).get();
        let join_below = section.key("join_below").or(1000).get();
        Some(Self { localpart: localpart?, display_name: display_name?, join_below: join_below? })
    }

    /// What stands before and after the nick in the localparts of that network's ghosts.
    #[must_use]
    pub fn around_nick(&self, network: &NetworkId) -> (String, String) {
        let around = self.localpart.around("nick", &[("network", network.as_str())]);
        around.expect("the template was checked to have a nick")
    }
}

/// The bot and the ghosts of each network must be told apart by their ids alone.
pub(super) fn check_apart(
    networks: &BTreeMap<NetworkId, Network>,
    appservice: Option<&Appservice>,
    source: &Source<'_>,
) {
    let key = |id: &NetworkId| format!("network.{id}.ghosts.localpart");
    for (a, b) in overlapping(networks, |id, network| network.ghosts.around_nick(id)) {
        let message =
            format!("ghosts of {a} and {b} could have the same Matrix id: use irc_{{network}}_{{nick}} for both");
        source.problem(key(b), message);
    }
    let Some(bot) = appservice.map(|appservice| &appservice.bot_localpart) else { return };
    for (id, network) in networks {
        let (before, after) = network.ghosts.around_nick(id);
        // The bot's name has to have room for both ends, else no nick gives it.
        if bot.len() >= before.len() + after.len() && bot.starts_with(&before) && bot.ends_with(&after) {
            let message =
                format!("the bridge's bot, {bot}, looks like a ghost: change this, or appservice.bot_localpart");
            source.problem(key(id), message);
        }
    }
}

fn localpart(text: &str) -> Result<Template, String> {
    let template = Template::parse(text, &["network", "nick"])?;
    let (before, _) = match template.count("nick") {
        1 => template.around("nick", &[("network", "n")]).unwrap_or_default(),
        0 => return Err(format!("`{text}` gives everybody the same Matrix id: put {{nick}} into it")),
        _ => {
            return Err(format!("`{text}` has {{nick}} more than once: a ghost's nick has to be readable from its id"));
        }
    };
    if before.is_empty() {
        let advice = "begin with something that none of their names begins with, as irc_{network}_{nick} does";
        return Err(format!("`{text}` would claim the ids of the homeserver's own users: {advice}"));
    }
    match template.find_literal(|c| !is_localpart_char(c)) {
        None => Ok(template),
        Some(c) => Err(format!("`{text}` has {c:?}, which no new Matrix id may have: use a-z, 0-9 and . _ = - / +")),
    }
}

fn display_name(text: &str) -> Result<Template, String> {
    let template = Template::parse(text, &["nick", "network"])?;
    if template.count("nick") == 0 {
        Err(format!("`{text}` gives everybody the same name: put {{nick}} into it"))
    } else if template.find_literal(char::is_control).is_some() {
        Err("has a control character or a line break: write it in one plain line".to_owned())
    } else {
        Ok(template)
    }
}
