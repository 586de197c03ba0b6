//! `[network.ID.portals]`: rooms made on demand.

use std::collections::BTreeMap;

use crate::{
    config::reader::{Section, Source},
    model::{CaseMapping, NetworkId},
    translate::{self, AliasTemplate},
};

use super::{Network, overlapping, wrong};

/// Which rooms people may have made for them.
#[derive(Debug, Clone)]
pub struct Portals {
    /// Whether joining an alias makes the room of that channel. Default false.
    pub join_by_alias: bool,
    /// The channels for which rooms may be made: patterns in which `*` is anything and `?` one character. Default `["*"]`.
    pub channels: Vec<String>,
    /// Those of them for which none may be made all the same. Default: none.
    pub exclude_channels: Vec<String>,
    /// The aliases, from `{network}` (its id) and `{channel}` (with its `#`). Default `irc_{network}_{channel}`,
    /// as in `#irc_libera_#rust:example.org`.
    pub alias: AliasTemplate,
}

impl Portals {
    /// Whether a channel may have a room made for it.
    #[must_use]
    pub fn allows(&self, channel: &str, mapping: CaseMapping) -> bool {
        let channel = mapping.fold(channel);
        let fits = |pattern: &String| translate::glob(mapping.fold(pattern).as_str(), channel.as_str());
        self.join_by_alias && self.channels.iter().any(fits) && !self.exclude_channels.iter().any(fits)
    }

    pub(super) fn read(section: &Section<'_>, network: &NetworkId) -> Option<Self> {
        let join_by_alias = section.key("join_by_alias").or(false).get();
        let channels = section.key("channels").or_else(|| vec!["*".to_owned()]).get();
        let exclude_channels = section.key("exclude_channels").or_else(Vec::new).get();
        let alias = section.key("alias").or_text("irc_{network}_{channel}");
        let alias = alias.parse(|text: String| alias_of(&text, network)).get();
        Some(Self {
            join_by_alias: join_by_alias?,
            channels: channels?,
            exclude_channels: exclude_channels?,
            alias: alias?,
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
