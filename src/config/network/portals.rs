//! `[network.ID.portals]`: rooms made on demand.

use std::collections::BTreeMap;

use crate::{
    config::reader::{Section, Source},
    model::NetworkId,
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
    /// Who may come into such a room while not everybody may come into its channel (`+i`, `+k`). Default knock.
    pub closed_join_rule: ClosedJoinRule,
    /// Whether such rooms are in the homeserver's public directory, while everybody may know of their channel. Default false.
    pub listed: bool,
    /// Whether a channel is told when more people than before may read what is said in its room (any room, plumbed or not).
    /// Default true.
    pub announce_history: bool,
}

/// A join rule for a room whose channel isn't open to everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClosedJoinRule {
    /// Who is invited; others may ask for it.
    Knock,
    /// Who is invited.
    Invite,
}

impl ClosedJoinRule {
    /// As Matrix writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Knock => "knock",
            Self::Invite => "invite",
        }
    }

    fn parse(text: String) -> Result<Self, String> {
        let known = [Self::Knock, Self::Invite].into_iter().find(|rule| rule.as_str() == text);
        known.ok_or_else(|| format!("`{text}` is neither \"knock\" nor \"invite\""))
    }
}

impl Portals {
    pub(super) fn read(section: &Section<'_>, network: &NetworkId) -> Option<Self> {
        let join_by_alias = section.key("join_by_alias").or(false).get();
        let alias = section.key("alias").or_text("irc_{network}_{channel}");
        let alias = alias.parse(|text: String| alias_of(&text, network)).get();
        let closed_join_rule = section.key("closed_join_rule").or_text("knock").parse(ClosedJoinRule::parse).get();
        let listed = section.key("listed").or(false).get();
        let announce_history = section.key("announce_history").or(true).get();
        Some(Self {
            join_by_alias: join_by_alias?,
            alias: alias?,
            closed_join_rule: closed_join_rule?,
            listed: listed?,
            announce_history: announce_history?,
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
