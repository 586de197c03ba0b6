//! Room aliases that stand for channels, such as `#irc_libera_#channel:example.org`.
//!
//! An alias may have any character but `:` and NUL, so channels appear in it as people know them: folded under the
//! network's CASEMAPPING, and only `:` and `=` written as `=3a` and `=3d`. People type aliases, so any casing of a
//! channel is understood; [`AliasTemplate::localpart`] makes the canonical one.

use ruma::{OwnedRoomAliasId, RoomAliasId, ServerName};

use super::{
    ghost::LONGEST_ID,
    names::valid_channel,
    template::{Affixes, TemplateError},
};
use crate::model::{Folded, Isupport, NetworkId};

/// How the rooms of one network's channels are called, such as `irc_{network}_{channel}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasTemplate {
    affixes: Affixes,
    /// Whether channels appear without their `#`. Then only those that begin with one have an alias.
    bare: bool,
}

impl AliasTemplate {
    /// Reads a template of fixed text, `{network}` and, once, `{channel}`, or `{name}` for the channel without its `#`.
    ///
    /// # Errors
    /// Fixed text must not have `:`, a blank or a control character.
    pub fn new(template: &str, network: &NetworkId) -> Result<Self, TemplateError> {
        let bare = template.contains("{name}");
        let affixes = Affixes::parse(template, if bare { "{name}" } else { "{channel}" }, network.as_str())?;
        let allowed = "anything but blanks and colons";
        let affixes = affixes.check(allowed, |c| c != ':' && !c.is_whitespace() && !c.is_control());
        affixes.map(|affixes| Self { affixes, bare })
    }

    /// What stands before and after the channel in every localpart.
    #[must_use]
    pub fn around(&self) -> (&str, &str) {
        (&self.affixes.prefix, &self.affixes.suffix)
    }

    /// The localpart of the canonical alias of `channel`; `None` if it has none.
    #[must_use]
    pub fn localpart(&self, channel: &Folded) -> Option<String> {
        let channel = if self.bare { channel.as_str().strip_prefix('#')? } else { channel.as_str() };
        // `=` first, or the escape of `:` would be escaped again.
        let channel = channel.replace('=', "=3d").replace(':', "=3a");
        Some(format!("{}{channel}{}", self.affixes.prefix, self.affixes.suffix))
    }

    /// The canonical alias of `channel` on `server`; `None` if it has none, or it would be longer than Matrix allows.
    #[must_use]
    pub fn alias(&self, channel: &Folded, server: &ServerName) -> Option<OwnedRoomAliasId> {
        let alias = format!("#{}:{server}", self.localpart(channel)?);
        (alias.len() <= LONGEST_ID).then(|| RoomAliasId::parse(alias).ok()).flatten()
    }

    /// The channel for which this localpart stands; `None` if it stands for none that the network could have.
    #[must_use]
    pub fn parse(&self, localpart: &str, isupport: &Isupport) -> Option<Folded> {
        let mut channel = unescape(&self.affixes.strip(localpart)?.to_ascii_lowercase())?;
        if self.bare {
            channel.insert(0, '#');
        }
        valid_channel(&channel, isupport).then(|| isupport.casemapping.fold(&channel))
    }

    /// [`Self::parse`] for a whole alias, which must be of `server`.
    #[must_use]
    pub fn parse_alias(&self, alias: &RoomAliasId, server: &ServerName, isupport: &Isupport) -> Option<Folded> {
        (alias.server_name() == server).then(|| self.parse(alias.alias(), isupport)).flatten()
    }
}

fn unescape(escaped: &str) -> Option<String> {
    let mut parts = escaped.split('=');
    let mut channel = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (c, rest) =
            if let Some(rest) = part.strip_prefix("3a") { (':', rest) } else { ('=', part.strip_prefix("3d")?) };
        channel.push(c);
        channel.push_str(rest);
    }
    Some(channel)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ruma::{room_alias_id, server_name};

    use super::*;

    fn template() -> AliasTemplate {
        AliasTemplate::new("irc_{network}_{channel}", &"libera".parse().unwrap()).unwrap()
    }

    #[test]
    fn aliases_name_channels_in_any_casing() {
        let isupport = Isupport::default();
        for (localpart, channel) in [
            ("irc_libera_#channel", "#channel"),
            ("irc_libera_#Channel", "#channel"),
            ("irc_libera_#a[b]", "#a{b}"),
            ("irc_libera_##c++", "##c++"),
            ("irc_libera_&local", "&local"),
            ("irc_libera_#a=3ab=3D", "#a:b="),
            ("irc_libera_#ärger", "#ärger"),
        ] {
            let parsed = template().parse(localpart, &isupport).unwrap_or_else(|| panic!("{localpart}"));
            assert_eq!(parsed.as_str(), channel);
        }
        let canonical = template().alias(&isupport.casemapping.fold("#A:b="), server_name!("example.org"));
        assert_eq!(canonical.unwrap(), room_alias_id!("#irc_libera_#a=3ab=3d:example.org"));
    }

    #[test]
    fn r96_aliases_may_be_without_the_mark_of_a_channel() {
        let template = AliasTemplate::new("gnome-{name}", &"gimpnet".parse().unwrap()).unwrap();
        let isupport = Isupport::default();
        for (channel, localpart) in [("#design", "gnome-design"), ("##c=", "gnome-#c=3d")] {
            let folded = isupport.casemapping.fold(channel);
            assert_eq!(template.localpart(&folded).as_deref(), Some(localpart));
            assert_eq!(template.parse(localpart, &isupport), Some(folded));
        }
        assert_eq!(template.localpart(&isupport.casemapping.fold("&local")), None);
        assert_eq!(template.parse("gnome-a b", &isupport), None);
        assert!(AliasTemplate::new("{name}{channel}", &"x".parse().unwrap()).is_err());
    }

    #[test]
    fn r80_aliases_of_no_channel_are_refused() {
        let isupport = Isupport { channellen: 20, ..Isupport::default() };
        for localpart in [
            "irc_libera_",
            "irc_libera_#",
            "irc_libera_channel",
            "irc_libera_0",
            "irc_oftc_#a",
            "#a",
            "irc_libera_#a,#b",
            "irc_libera_#a b",
            "irc_libera_#a\r\nQUIT",
            "irc_libera_#a\0",
            "irc_libera_#a\x07",
            "irc_libera_#a\x01",
            "irc_libera_#a=",
            "irc_libera_#a=20b",
            "irc_libera_#a=2cb",
            "irc_libera_#aaaaaaaaaaaaaaaaaaaa",
        ] {
            assert_eq!(template().parse(localpart, &isupport), None, "{localpart:?}");
        }
        let theirs = room_alias_id!("#irc_libera_#a:example.com");
        assert_eq!(template().parse_alias(theirs, server_name!("example.org"), &isupport), None);
        assert!(template().parse_alias(theirs, server_name!("example.com"), &isupport).is_some());
        let long = isupport.casemapping.fold(&format!("#{}", ":".repeat(90)));
        assert_eq!(template().alias(&long, server_name!("example.org")), None);
    }

    proptest! {
        #[test]
        fn r105_aliases_read_back_and_never_merge_channels(
            a in "#[A-Za-z0-9:=\\[\\]{}~^#é-]{1,12}",
            b in "#[A-Za-z0-9:=\\[\\]{}~^#é-]{1,12}",
        ) {
            let isupport = Isupport::default();
            let (a, b) = (isupport.casemapping.fold(&a), isupport.casemapping.fold(&b));
            prop_assert_eq!(template().parse(&template().localpart(&a).unwrap(), &isupport), Some(a.clone()));
            prop_assert_eq!(a == b, template().localpart(&a) == template().localpart(&b));
            prop_assert!(template().alias(&a, server_name!("example.org")).is_some());
        }

        #[test]
        fn r104_hostile_aliases_never_become_a_line(localpart in any::<String>()) {
            if let Some(channel) = template().parse(&format!("irc_libera_#{localpart}"), &Isupport::default()) {
                prop_assert!(!channel.as_str().contains(['\r', '\n', '\0', '\x01', ' ', ',']));
            }
        }
    }
}
