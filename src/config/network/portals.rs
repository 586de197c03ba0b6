//! `[network.ID.portals]`: rooms made on demand.

use std::collections::BTreeMap;

use crate::{
    config::{
        reader::{Section, Source},
        value::Privacy,
    },
    model::{Members, NetworkId},
    translate::AliasTemplate,
};

use super::{Network, overlapping, wrong};

/// Which rooms people may have made for them.
#[derive(Debug, Clone)]
pub struct Portals {
    /// Whether joining an alias makes the room of that channel. Default false.
    pub join_by_alias: bool,
    /// The aliases, from `{network}` (its id) and `{channel}` (with its `#`). Default `irc_{network}_{channel}`,
    /// as in `#irc_libera_#rust:example.org`.
    pub alias: AliasTemplate,
    /// Whether a ban of somebody from IRC in a room is a ban in its channels too (and so is its end). Default false.
    pub bans_to_irc: bool,
    /// Who may read along in rooms of this network: `open` for whoever is in the room, `strict` for those only whom IRC can
    /// see. Default `open`.
    pub privacy: Privacy,
    /// For how many seconds what comes from IRC waits in a strict room for somebody who isn't seen there, before they are
    /// shown out. Default 300.
    pub privacy_patience_seconds: u32,
    /// Which IRC users are in the rooms of all the network's channels, plumbed ones too: `full` (everyone in the
    /// channel), `joined` (who joins from now on), `speakers` (who has spoken), `none` (only while they speak). Default:
    /// `full` or `speakers`, as `ghosts.join_below` says.
    pub members: Option<Members>,
}

impl Portals {
    pub(super) fn read(section: &Section<'_>, network: &NetworkId) -> Option<Self> {
        let join_by_alias = section.key("join_by_alias").or(false).get();
        let alias = section.key("alias").or_text("irc_{network}_{channel}");
        let alias = alias.parse(|text: String| alias_of(&text, network)).get();
        let bans_to_irc = section.key("bans_to_irc").or(false).get();
        let privacy = section.key("privacy").or_text("open").get();
        let privacy_patience_seconds = section.key("privacy_patience_seconds").or(300).get();
        let members = section.key("members").optional();
        Some(Self {
            join_by_alias: join_by_alias?,
            alias: alias?,
            bans_to_irc: bans_to_irc?,
            privacy: privacy?,
            privacy_patience_seconds: privacy_patience_seconds?,
            members: members?,
        })
    }
}

/// An alias must belong to one network.
pub(super) fn check_apart(networks: &BTreeMap<NetworkId, Network>, source: &Source<'_>) {
    for (a, b) in overlapping(networks, |network| network.portals.alias.around()) {
        let message =
            format!("channels of {a} and {b} could have the same alias: use irc_{{network}}_{{channel}} for both");
        source.problem(format!("network.{b}.portals.alias"), message);
    }
}

fn alias_of(text: &str, network: &NetworkId) -> Result<AliasTemplate, String> {
    let template = AliasTemplate::new(text, network).map_err(|problem| wrong(text, &problem))?;
    if template.around().0.is_empty() {
        let advice = "begin with something that no other alias begins with, as irc_{network}_{channel} does";
        return Err(format!("`{text}` would claim all aliases of the homeserver: {advice}"));
    }
    Ok(template)
}
