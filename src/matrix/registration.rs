//! `registration.yaml`: how a homeserver learns of the bridge
//! (<https://spec.matrix.org/v1.19/application-service-api/#registration>).
//!
//! We write the file, and people edit it. So [`Registration::load`] reads what we write and what is usually made of
//! that by hand (other quotes, comments, another order, more keys), one key a line. It is no YAML parser and needs to
//! be none: homeservers read the file with theirs, and we read our tokens and compare the rest with the configuration.

use std::{
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rand::RngCore;

use crate::config::{Config, Secret};

/// The settings that aren't derived from anything, each with the only value that works well.
///
/// * Ghosts must not be rate-limited as users are: hundreds speak at once.
/// * Typing and receipts come as ephemeral data; the second key is the name from before Matrix 1.13, which older
///   homeservers want.
const SETTINGS: [(&str, &str); 3] =
    [("rate_limited", "false"), ("receive_ephemeral", "true"), ("de.sorunome.msc2409.push_ephemeral", "true")];

/// What the homeserver and the bridge agree on.
#[derive(Debug, Clone)]
pub struct Registration {
    /// The application service's id, by which the homeserver remembers what it has delivered.
    pub id: String,
    /// Where the homeserver sends events to.
    pub url: String,
    /// With this token we speak to the homeserver.
    pub as_token: Secret,
    /// With this token the homeserver speaks to us.
    pub hs_token: Secret,
    /// The bot's localpart.
    pub sender_localpart: String,
    /// The users that are ours alone, as regular expressions.
    pub users: Vec<String>,
    /// The aliases that are ours alone, as regular expressions.
    pub aliases: Vec<String>,
    /// [`SETTINGS`] as the file has them.
    settings: [String; SETTINGS.len()],
    /// Whether nobody else may make users and aliases like ours.
    exclusive: bool,
    /// Whether it says that we can be asked about IRC.
    protocol: bool,
}

/// Why there is no registration.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// There is no such file.
    #[error("there is no registration {}: write it with `footbridge registration`", .0.display())]
    Missing(PathBuf),
    /// The file can't be read.
    #[error("cannot read the registration {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: io::Error,
    },
    /// The file lacks something that can't be done without, or has it in a form that we don't read.
    #[error(
        "the registration {} has no usable `{key}`: write it on one line, as `{key}: \"value\"`, or remove the file and \
         write a new one with `footbridge registration`",
        path.display()
    )]
    Incomplete {
        /// The file.
        path: PathBuf,
        /// What is missing.
        key: &'static str,
    },
    /// The file can't be written.
    #[error("cannot write the registration {}: {reason}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: io::Error,
    },
}

impl Registration {
    /// The registration that goes with `config`: with the id and the tokens of `kept`, or else with new ones. `random`
    /// must be fit for secrets.
    #[must_use]
    pub fn generate(config: &Config, kept: Option<Self>, random: &mut impl RngCore) -> Self {
        let (id, as_token, hs_token) = match kept {
            Some(kept) => (kept.id, kept.as_token, kept.hs_token),
            None => ("footbridge".to_owned(), token(random), token(random)),
        };
        let server = &config.homeserver.server_name;
        let regex = |sigil: char, (before, after): (&str, &str)| {
            format!("{sigil}{}.*{}:{}", escape(before), escape(after), escape(server.as_str()))
        };
        let mut users = vec![escape(config.bot_user_id().as_str())];
        users.extend(config.networks.values().map(|network| regex('@', network.ghosts.localpart.around())));
        let aliases = config.networks.values().map(|network| regex('#', network.portals.alias.around())).collect();
        Self {
            id,
            url: config.appservice.url.to_string(),
            as_token,
            hs_token,
            sender_localpart: config.appservice.bot_localpart.clone(),
            users,
            aliases,
            settings: SETTINGS.map(|(_, value)| value.to_owned()),
            exclusive: true,
            protocol: true,
        }
    }

    /// Reads the file.
    pub fn load(path: &Path) -> Result<Self, RegistrationError> {
        let text = fs::read_to_string(path).map_err(|reason| match reason.kind() {
            io::ErrorKind::NotFound => RegistrationError::Missing(path.to_owned()),
            _ => RegistrationError::Unreadable { path: path.to_owned(), reason },
        })?;
        Self::parse(&text).map_err(|key| RegistrationError::Incomplete { path: path.to_owned(), key })
    }

    /// Reads the file's text; the error is the key that is missing.
    fn parse(text: &str) -> Result<Self, &'static str> {
        let lines: Vec<_> = text.lines().filter_map(Line::parse).collect();
        let top = |key: &'static str| lines.iter().find(|line| line.indent == 0 && line.key == key);
        let required = |key| {
            let value = top(key).map(|line| line.value.clone());
            // Whatever goes into a header has to be plain; an id or a localpart never has more than that either.
            value.filter(|value| !value.is_empty() && value.bytes().all(|b| b.is_ascii_graphic())).ok_or(key)
        };
        Ok(Self {
            id: required("id")?,
            url: top("url").map_or_else(String::new, |line| line.value.clone()),
            as_token: Secret::new(required("as_token")?),
            hs_token: Secret::new(required("hs_token")?),
            sender_localpart: required("sender_localpart")?,
            users: values(&lines, "users", "regex"),
            aliases: values(&lines, "aliases", "regex"),
            settings: SETTINGS.map(|(key, _)| top(key).map_or_else(String::new, |line| line.value.clone())),
            exclusive: ["users", "aliases"]
                .iter()
                .all(|kind| values(&lines, kind, "exclusive").iter().all(|exclusive| exclusive == "true")),
            protocol: lists_irc(text),
        })
    }

    /// The file's text.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let mut yaml = String::from(
            "# Written by `footbridge registration`; written again, it keeps the id and the tokens.\n\
             # Whoever knows the tokens can act as the bridge: keep this file private.\n",
        );
        let mut line = |key: &str, value: &str| {
            // Writing to a string doesn't fail.
            let _ = writeln!(yaml, "{key}: {value}");
        };
        line("id", &quote(&self.id));
        line("url", &quote(&self.url));
        line("as_token", &quote(self.as_token.expose()));
        line("hs_token", &quote(self.hs_token.expose()));
        line("sender_localpart", &quote(&self.sender_localpart));
        for ((key, _), value) in SETTINGS.iter().zip(&self.settings) {
            line(key, value);
        }
        line("protocols", "[irc]");
        yaml.push_str("namespaces:\n");
        for (kind, regexes) in [("users", &self.users), ("aliases", &self.aliases)] {
            let _ = writeln!(yaml, "  {kind}:");
            for regex in regexes {
                let _ = writeln!(yaml, "    - exclusive: true\n      regex: {}", quote(regex));
            }
        }
        yaml.push_str("  rooms: []\n");
        yaml
    }

    /// Writes the file whole or not at all, readable for its owner only.
    pub fn save(&self, path: &Path) -> Result<(), RegistrationError> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let temporary = path.with_file_name(name);
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file: File| {
                file.write_all(self.to_yaml().as_bytes())?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&temporary, path));
        written.map_err(|reason| {
            // If it was never made, there is nothing to remove.
            let _ = fs::remove_file(&temporary);
            RegistrationError::Unwritable { path: path.to_owned(), reason }
        })
    }

    /// The keys in which this registration isn't what `config` asks for.
    #[must_use]
    pub fn outdated(&self, config: &Config) -> Vec<&'static str> {
        let fresh = Self::generate(config, Some(self.clone()), &mut rand::rng());
        let sorted = |regexes: &[String]| {
            let mut regexes = regexes.to_vec();
            regexes.sort_unstable();
            regexes
        };
        let derived = [
            ("url", self.url.trim_end_matches('/') == fresh.url),
            ("sender_localpart", self.sender_localpart == fresh.sender_localpart),
            ("namespaces.users", sorted(&self.users) == sorted(&fresh.users)),
            ("namespaces.aliases", sorted(&self.aliases) == sorted(&fresh.aliases)),
            ("namespaces (exclusive)", self.exclusive),
            ("protocols", self.protocol),
        ];
        let settings = SETTINGS.iter().zip(&self.settings).map(|((key, wanted), value)| (*key, value == wanted));
        derived.into_iter().chain(settings).filter(|(_, right)| !right).map(|(key, _)| key).collect()
    }
}

/// 32 random bytes.
fn token(random: &mut impl RngCore) -> Secret {
    let mut bytes = [0; 32];
    random.fill_bytes(&mut bytes);
    let hex =
        bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).filter_map(|digit| char::from_digit(digit.into(), 16));
    Secret::new(hex.collect())
}

/// Makes every character stand for itself in a regular expression, in the dialects of all homeservers alike.
fn escape(text: &str) -> String {
    let special = |c| matches!(c, '\\' | '.' | '+' | '*' | '?' | '(' | ')' | '|' | '[' | ']' | '{' | '}' | '^' | '$');
    text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

/// A YAML text in which nothing but the quote itself is special.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// One `key: value` of the file, perhaps the first of a list's entry.
struct Line<'a> {
    indent: usize,
    key: &'a str,
    value: String,
}

impl<'a> Line<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let entry = text.trim_start_matches([' ', '-']);
        let indent = text.len() - entry.len();
        if entry.starts_with('#') {
            return None;
        }
        let (key, value) = entry.split_once(':')?;
        let key = key.trim_end().trim_matches(['"', '\'']);
        Some(Self { indent, key, value: scalar(value.trim()) })
    }
}

/// The value of a plain or quoted text, without a comment behind it.
fn scalar(text: &str) -> String {
    if let Some(quoted) = text.strip_prefix('\'') {
        // A doubled quote stands for one; the first single one ends the text.
        let quoted = quoted.replace("''", "\0");
        return quoted.split('\'').next().unwrap_or_default().replace('\0', "'");
    }
    if let Some(quoted) = text.strip_prefix('"') {
        let mut value = String::new();
        let mut chars = quoted.chars();
        while let Some(c) = chars.next().filter(|c| *c != '"') {
            // `\\` and `\"` are all that anybody needs here.
            value.extend(if c == '\\' { chars.next() } else { Some(c) });
        }
        return value;
    }
    // What begins with one of these is a comment, a list, an anchor, a text over several lines: nothing that we read.
    if text.starts_with(['#', '|', '>', '[', '{', '&', '*', '!']) || matches!(text, "~" | "null") {
        return String::new();
    }
    text.split(" #").next().unwrap_or_default().trim_end().to_owned()
}

/// The values of `key` below the key `kind`.
fn values(lines: &[Line<'_>], kind: &str, key: &str) -> Vec<String> {
    let Some(start) = lines.iter().position(|line| line.indent > 0 && line.key == kind) else { return Vec::new() };
    // A list may stand at its key's own indentation, but an entry's keys are always further in.
    let inside = lines[start + 1..].iter().take_while(|line| line.indent > lines[start].indent);
    inside.filter(|line| line.key == key).map(|line| line.value.clone()).collect()
}

/// Whether `irc` is in the list `protocols`, which may be on one line or on a line for each.
fn lists_irc(text: &str) -> bool {
    let mut lines = text.lines().skip_while(|line| !line.starts_with("protocols"));
    let first = lines.next().and_then(|line| line.split_once(':')).map_or("", |(_, list)| list);
    let more = lines.take_while(|line| line.starts_with([' ', '-', '#']));
    let entries = first.split(['[', ',', ']']).chain(more.filter_map(|line| line.trim_start().strip_prefix('-')));
    entries
        .map(|entry| entry.split(" #").next().unwrap_or_default().trim())
        .any(|entry| entry.trim_matches(['"', '\'']) == "irc")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::StdRng};

    const CONFIG: &str = r#"
[homeserver]
url = "http://127.0.0.1:8008"
server_name = "example.org"
[network.libera]
servers = ["irc.libera.chat:6697"]
[network.oftc]
servers = ["irc.oftc.net:6697"]
[network.oftc.ghosts]
localpart = "o+{nick}.x"
"#;

    fn config(extra: &str) -> Config {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        fs::write(&path, format!("{CONFIG}{extra}")).unwrap();
        Config::load(&path).unwrap()
    }

    fn fresh(seed: u64) -> Registration {
        Registration::generate(&config(""), None, &mut StdRng::seed_from_u64(seed))
    }

    #[test]
    fn namespaces_are_the_templates_with_everything_else_escaped() {
        let registration = fresh(1);
        assert_eq!(
            registration.users,
            [r"@footbridge:example\.org", r"@irc_libera_.*:example\.org", r"@o\+.*\.x:example\.org"]
        );
        assert_eq!(registration.aliases, [r"#irc_libera_.*:example\.org", r"#irc_oftc_.*:example\.org"]);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let registration = fresh(1);
        let read = Registration::parse(&registration.to_yaml()).unwrap();
        assert_eq!(read.to_yaml(), registration.to_yaml());
        assert_eq!(read.as_token.expose(), registration.as_token.expose());
        assert!(read.outdated(&config("")).is_empty());
    }

    #[test]
    fn tokens_are_32_random_bytes_and_differ() {
        let registration = fresh(1);
        for token in [&registration.as_token, &registration.hs_token] {
            assert_eq!(token.expose().len(), 64);
            assert!(token.expose().bytes().all(|b| b.is_ascii_hexdigit()));
        }
        assert_ne!(registration.as_token.expose(), registration.hs_token.expose());
        assert_ne!(registration.as_token.expose(), fresh(2).as_token.expose());
    }

    #[test]
    fn hand_edited_files_are_read() {
        let text = r#"---
# our bridge
"id": irc   # the old one
as_token: "a\"b\\c#d"  # as
hs_token: 'it''s'
url: ~
sender_localpart: bot#1
rate_limited: false # yes
namespaces:
  aliases:
  - {exclusive: true}
  - regex: "\\#x.*"
    exclusive: true
  users:
    - regex: '@a.*'
    # - regex: '@no.*'
    -   exclusive: false
        regex: '@b: .*'
  rooms: []
extra:
  id: wrong
  - regex: wrong
"#;
        let read = Registration::parse(text).unwrap();
        assert_eq!(read.id, "irc");
        assert_eq!((read.as_token.expose(), read.hs_token.expose()), ("a\"b\\c#d", "it's"));
        assert_eq!((read.url.as_str(), read.sender_localpart.as_str()), ("", "bot#1"));
        assert_eq!(read.aliases, [r"\#x.*"]);
        assert_eq!(read.users, ["@a.*", "@b: .*"]);
        assert_eq!(read.settings, ["false", "", ""]);
        assert!(!read.exclusive && !read.protocol);
    }

    #[test]
    fn protocols_are_found_in_every_form_of_a_list() {
        for list in [
            "[irc]",
            "[ 'irc' , xmpp ] # both",
            "[xmpp, \"irc\"]",
            "\n- irc",
            "\n  # ours\n  - xmpp\n  - 'irc' # ours\n",
        ] {
            assert!(lists_irc(&format!("id: a\nprotocols: {list}\nrate_limited: false")), "{list}");
        }
        for list in ["[]", "[xmpp]", "[ircs]", "\n  - xmpp\nother:\n  - irc", "# irc"] {
            assert!(!lists_irc(&format!("id: a\nprotocols: {list}\nurl: irc")), "{list}");
        }
        assert!(!lists_irc("id: irc"));
    }

    #[test]
    fn a_file_without_tokens_is_refused() {
        for key in ["id", "as_token", "hs_token", "sender_localpart"] {
            let yaml = fresh(1).to_yaml();
            let without: Vec<_> = yaml.lines().filter(|line| !line.starts_with(key)).collect();
            assert_eq!(Registration::parse(&without.join("\n")).unwrap_err(), key);
            let nested = yaml.replace(&format!("\n{key}: "), &format!("\n  {key}: "));
            assert_eq!(Registration::parse(&nested).unwrap_err(), key, "a key inside another one is another key");
            let long = yaml.replace(&format!("\n{key}: "), &format!("\n{key}: |\n  "));
            assert_eq!(Registration::parse(&long).unwrap_err(), key, "a text over several lines isn't read");
        }
        assert_eq!(
            Registration::parse(&fresh(1).to_yaml().replace("as_token: '", "as_token: '\t")).unwrap_err(),
            "as_token"
        );
    }

    #[test]
    fn a_changed_configuration_outdates_it() {
        let registration = fresh(1);
        for (extra, keys) in [
            ("[network.c]\nservers = [\"c:1\"]", &["namespaces.users", "namespaces.aliases"][..]),
            ("[appservice]\nbot_localpart = \"bot\"", &["sender_localpart", "namespaces.users"]),
            ("[appservice]\nurl = \"http://b\"", &["url"]),
            ("[network.libera.portals]\nalias = \"i_{channel}\"", &["namespaces.aliases"]),
        ] {
            assert_eq!(registration.outdated(&config(extra)), keys, "{extra}");
        }
        let limited = registration.to_yaml().replace("rate_limited: false", "rate_limited: true");
        assert_eq!(Registration::parse(&limited).unwrap().outdated(&config("")), ["rate_limited"]);
    }

    #[test]
    fn written_again_it_keeps_its_id_and_tokens() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registration.yaml");
        let missing = Registration::load(&path).unwrap_err().to_string();
        assert!(missing.contains("`footbridge registration`"), "{missing}");

        let first = Registration { id: "irc".to_owned(), ..fresh(1) };
        first.save(&path).unwrap();
        let config = config("[network.c]\nservers = [\"c:1\"]");
        let kept = Registration::load(&path).unwrap();
        let second = Registration::generate(&config, Some(kept), &mut StdRng::seed_from_u64(2));
        second.save(&path).unwrap();

        let read = Registration::load(&path).unwrap();
        assert_eq!((read.id.as_str(), read.hs_token.expose()), ("irc", first.hs_token.expose()));
        assert_eq!(read.users.len(), 4);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
    }
}
