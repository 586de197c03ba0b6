//! `[network.ID.portals]`: rooms made on demand.

use std::collections::BTreeMap;

use crate::{
    config::{
        Template,
        reader::{Section, Source},
    },
    model::NetworkId,
};

use super::{Network, overlapping};

/// Which rooms people may have made for them.
#[derive(Debug, Clone)]
pub struct Portals {
    /// Whether joining an alias makes the room of that channel. Default false.
    pub join_by_alias: bool,
    /// The aliases, from `{network}` (its id) and `{channel}` (with its `#`). Default `irc_{network}_{channel}`,
    /// as in `#irc_libera_#rust:example.org`.
    pub alias: Template,
}

impl Portals {
    pub(super) fn read(section: &Section<'_>) -> Option<Self> {
        let join_by_alias = section.key("join_by_alias").or(false).get();
        let alias = section.key("alias").or_text("irc_{network}_{channel}").parse(|text: String| alias(&text)).get();
        Some(Self { join_by_alias: join_by_alias?, alias: alias? })
    }

    /// What stands before and after the channel in that network's aliases, without the first `#` and the server.
    #[must_use]
    pub fn around_channel(&self, network: &NetworkId) -> (String, String) {
        let around = self.alias.around("channel", &[("network", network.as_str())]);
        around.expect("the template was checked to have a channel")
    }
}

/// An alias must belong to one network.
pub(super) fn check_apart(networks: &BTreeMap<NetworkId, Network>, source: &Source<'_>) {
    for (a, b) in overlapping(networks, |id, network| network.portals.around_channel(id)) {
        let message =
            format!("channels of {a} and {b} could have the same alias: use irc_{{network}}_{{channel}} for both");
        source.problem(format!("network.{b}.portals.alias"), message);
    }
}

fn alias(text: &str) -> Result<Template, String> {
    let template = Template::parse(text, &["network", "channel"])?;
    let (before, _) = match template.count("channel") {
        1 => template.around("channel", &[("network", "n")]).unwrap_or_default(),
        0 => return Err(format!("`{text}` gives every channel the same alias: put {{channel}} into it")),
        _ => {
            return Err(format!(
                "`{text}` has {{channel}} more than once: a channel has to be readable from its alias"
            ));
        }
    };
    if before.is_empty() {
        let advice = "begin with something that no other alias begins with, as irc_{network}_{channel} does";
        return Err(format!("`{text}` would claim all aliases of the homeserver: {advice}"));
    }
    match template.find_literal(|c| c.is_whitespace() || c.is_control() || c == ':') {
        None => Ok(template),
        Some(c) => Err(format!("`{text}` has {c:?}, which no alias may have: take it out")),
    }
}
