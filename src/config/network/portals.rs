//! `[network.ID.portals]`: rooms made on demand.

use std::collections::BTreeMap;

use ruma::{OwnedMxcUri, OwnedUserId, RoomVersionId, UserId};

use crate::{
    config::{
        reader::{Section, Source},
        value::Privacy,
    },
    model::{Folded, Members, NetworkId},
    translate::{AliasTemplate, Glob, RoomNameTemplate},
};

use super::{Network, overlapping, wrong};

/// Which rooms people may have made for them.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of its own")]
pub struct Portals {
    /// Whether joining an alias makes the room of that channel. Default false.
    pub join_by_alias: bool,
    /// The aliases, from `{network}` (its id) and `{channel}` (with its `#`) or `{name}` (without; then only such channels
    /// have one). Default `irc_{network}_{channel}`, as in `#irc_libera_#rust:example.org`.
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
    /// Who may come into such a room while not everybody may come into its channel (`+i`, `+k`). Default knock.
    pub closed_join_rule: ClosedJoinRule,
    /// Whether such rooms are in the homeserver's public directory, while everybody may know of their channel. Default false.
    pub listed: bool,
    /// Whether a channel is told when more people than before may read what is said in its room (any room, plumbed or not).
    /// Default true.
    pub announce_history: bool,
    /// What such rooms are called, from `{channel}` and `{network}` (its name). Default `{channel}`.
    pub name: RoomNameTemplate,
    /// The picture that such rooms have, as an `mxc://` address. Default: none.
    pub avatar: Option<OwnedMxcUri>,
    /// The version of such rooms, from 7 on. Default: what the homeserver takes for new rooms.
    pub room_version: Option<RoomVersionId>,
    /// Matrix users who have as much power in such rooms as the bot: from room version 12 on additional creators.
    /// `room_version` has to be set. Default: none.
    pub admins: Vec<OwnedUserId>,
    /// The channels that may have such a room, as patterns. Default: all.
    pub channels: Vec<Glob>,
    /// And those of them that may not. Default: none.
    pub except_channels: Vec<Glob>,
    /// The Matrix users who may be in such rooms, as patterns for their ids. Default: all.
    pub users: Vec<Glob>,
    /// And those of them who may not. Default: none.
    pub except_users: Vec<Glob>,
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

    fn parse(text: &str) -> Result<Self, String> {
        let known = [Self::Knock, Self::Invite].into_iter().find(|rule| rule.as_str() == text);
        known.ok_or_else(|| format!("`{text}` is neither \"knock\" nor \"invite\""))
    }
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
        let closed_join_rule =
            section.key("closed_join_rule").or_text("knock").parse(|text: String| ClosedJoinRule::parse(&text)).get();
        let listed = section.key("listed").or(false).get();
        let announce_history = section.key("announce_history").or(true).get();
        let name = section.key("name").or_text("{channel}");
        let name =
            name.parse(|text: String| RoomNameTemplate::new(&text).map_err(|problem| wrong(&text, &problem))).get();
        let avatar = section.key("avatar").parse(|text: String| avatar(&text)).optional();
        let room_version = section.key("room_version").parse(|text: String| room_version(&text)).optional();
        let admins = section.key("admins").or(Vec::new()).get();
        let globs = |key, default: &[&str]| {
            let default = default.iter().map(|&glob| glob.to_owned()).collect();
            section.key(key).or(default).parse(|texts: Vec<String>| globs_of(&texts)).get()
        };
        let (channels, except_channels) = (globs("channels", &["*"]), globs("except_channels", &[]));
        let (users, except_users) = (globs("users", &["*"]), globs("except_users", &[]));
        if admins.as_ref().is_some_and(|admins: &Vec<_>| !admins.is_empty()) && room_version == Some(None) {
            let message = "how they get their power depends on the version of the rooms: set room_version too";
            section.problem("admins", message);
        }
        Some(Self {
            name: name?,
            avatar: avatar?,
            room_version: room_version?,
            admins: admins?,
            channels: channels?,
            except_channels: except_channels?,
            users: users?,
            except_users: except_users?,
            join_by_alias: join_by_alias?,
            alias: alias?,
            closed_join_rule: closed_join_rule?,
            listed: listed?,
            announce_history: announce_history?,
            bans_to_irc: bans_to_irc?,
            privacy: privacy?,
            privacy_patience_seconds: privacy_patience_seconds?,
            members: members?,
        })
    }
}

impl Portals {
    /// Whether a channel may have a room made for it.
    #[must_use]
    pub fn allow_channel(&self, channel: &Folded) -> bool {
        let fits = |globs: &[Glob]| globs.iter().any(|glob| glob.matches(channel.as_str()));
        fits(&self.channels) && !fits(&self.except_channels)
    }

    /// Whether a Matrix user may be in a room that was made for a channel.
    #[must_use]
    pub fn allow_user(&self, user: &UserId) -> bool {
        let fits = |globs: &[Glob]| globs.iter().any(|glob| glob.matches(user.as_str()));
        fits(&self.users) && !fits(&self.except_users)
    }

    /// Whether who makes a room can't be demoted in it, and isn't named among those with power. Room versions are numbers;
    /// the homeserver's own default is taken for a new one.
    #[must_use]
    pub fn creators_rule(&self) -> bool {
        self.room_version.as_ref().and_then(version_number).is_none_or(|version| version >= 12)
    }
}

fn version_number(version: &RoomVersionId) -> Option<u32> {
    version.as_str().parse().ok()
}

fn room_version(text: &str) -> Result<RoomVersionId, String> {
    let version = RoomVersionId::try_from(text).ok();
    let known = version.filter(|version| version_number(version).is_some_and(|number| number >= 7));
    known.ok_or_else(|| {
        format!("`{text}` is no room version from 7 on: write \"11\" or \"12\", if the homeserver has it")
    })
}

fn avatar(text: &str) -> Result<OwnedMxcUri, String> {
    let uri = OwnedMxcUri::from(text);
    if uri.is_valid() { Ok(uri) } else { Err(format!("`{text}` is no address of a picture: write mxc://server/id")) }
}

fn globs_of(texts: &[String]) -> Result<Vec<Glob>, String> {
    texts.iter().map(|text| text.parse()).collect()
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
