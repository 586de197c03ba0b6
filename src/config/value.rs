//! The kinds of single values that a configuration has, and what is said when one is of the wrong kind.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use ruma::{OwnedRoomOrAliasId, OwnedServerName, OwnedUserId};
use toml::de::DeValue;

use super::{reader::Source, secret::Secret};
use crate::model::Members;

/// Something that can stand behind a `=`.
pub(super) trait Value: Sized {
    /// Reads it, or says what was expected and what to write.
    fn read(value: &DeValue<'_>, source: &Source<'_>) -> Result<Self, String>;
}

/// What TOML calls the value, for "expected …, found …".
fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}

fn expected(what: &str, value: &DeValue<'_>) -> String {
    format!("expected {what}, found {}", kind(value))
}

impl Value for String {
    fn read(value: &DeValue<'_>, _: &Source<'_>) -> Result<Self, String> {
        match value {
            DeValue::String(text) => Ok(text.as_ref().to_owned()),
            other => Err(expected("a text in quotes", other)),
        }
    }
}

impl Value for bool {
    fn read(value: &DeValue<'_>, _: &Source<'_>) -> Result<Self, String> {
        match value {
            DeValue::Boolean(value) => Ok(*value),
            other => Err(expected("true or false, without quotes", other)),
        }
    }
}

impl Value for u32 {
    fn read(value: &DeValue<'_>, _: &Source<'_>) -> Result<Self, String> {
        match value {
            DeValue::Integer(number) => Self::from_str_radix(number.as_str(), number.radix())
                .map_err(|_| format!("`{number}` is out of range: use a whole number from 0 to {}", Self::MAX)),
            DeValue::Float(number) => Err(format!("`{number}` has a fraction: use a whole number")),
            other => Err(expected("a whole number, without quotes", other)),
        }
    }
}

impl Value for f64 {
    fn read(value: &DeValue<'_>, _: &Source<'_>) -> Result<Self, String> {
        let parsed = match value {
            DeValue::Float(number) => number.as_str().parse::<Self>().ok(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse().ok(),
            other => return Err(expected("a number, without quotes", other)),
        };
        parsed.filter(|number| number.is_finite() && *number >= 0.0).ok_or_else(|| "use a number from 0 up".to_owned())
    }
}

impl<T: Value> Value for Vec<T> {
    fn read(value: &DeValue<'_>, source: &Source<'_>) -> Result<Self, String> {
        match value {
            DeValue::Array(array) => array.iter().map(|element| T::read(element.as_ref(), source)).collect(),
            other => Err(format!("{}: put it in brackets, `[…]`", expected("a list", other))),
        }
    }
}

impl Value for PathBuf {
    /// Relative paths start at the configuration file's folder, so that they mean the same wherever we are started.
    fn read(value: &DeValue<'_>, source: &Source<'_>) -> Result<Self, String> {
        let path = String::read(value, source)?;
        if path.is_empty() { Err("empty: name a file".to_owned()) } else { Ok(source.folder.join(path)) }
    }
}

impl Value for Secret {
    /// In the clear, or the name of a file or of an environment variable that has it.
    fn read(value: &DeValue<'_>, source: &Source<'_>) -> Result<Self, String> {
        const FORMS: &str = "write it in quotes, or as { file = \"PATH\" }, or as { env = \"NAME\" }";
        let secret = match value {
            DeValue::String(text) => text.as_ref().to_owned(),
            DeValue::Table(table) => {
                let mut entries = table.iter();
                let (Some((key, value)), None) = (entries.next(), entries.next()) else { return Err(FORMS.to_owned()) };
                match key.as_ref().as_ref() {
                    "file" => {
                        let path = PathBuf::read(value.as_ref(), source)?;
                        let text = std::fs::read_to_string(&path)
                            .map_err(|error| format!("cannot read the file {}: {error}", path.display()))?;
                        // Editors and `echo` end a file with a newline, which nobody means.
                        text.trim_end_matches(['\r', '\n']).to_owned()
                    }
                    "env" => {
                        let name = String::read(value.as_ref(), source)?;
                        (source.env)(&name).ok_or_else(|| format!("the environment has no variable {name}: set it"))?
                    }
                    _ => return Err(FORMS.to_owned()),
                }
            }
            _ => return Err(FORMS.to_owned()),
        };
        match secret {
            secret if secret.is_empty() => Err("the secret is empty: give it, or take the key out".to_owned()),
            secret if secret.contains(['\r', '\n', '\0']) => Err("the secret has more than one line".to_owned()),
            secret => Ok(Self::new(secret)),
        }
    }
}

/// A secret, or an empty text for none.
pub(super) struct SecretOrNone(pub(super) Option<Secret>);

impl Value for SecretOrNone {
    fn read(value: &DeValue<'_>, source: &Source<'_>) -> Result<Self, String> {
        match value {
            DeValue::String(text) if text.is_empty() => Ok(Self(None)),
            other => Secret::read(other, source).map(|secret| Self(Some(secret))),
        }
    }
}

/// Values that are one text with a syntax of their own.
macro_rules! parsed_text {
    ($($kind:ty => $parse:expr;)*) => {$(
        impl Value for $kind {
            fn read(value: &DeValue<'_>, source: &Source<'_>) -> Result<Self, String> {
                let text = String::read(value, source)?;
                let parse: fn(&str) -> Result<Self, String> = $parse;
                parse(&text)
            }
        }
    )*};
}

/// Who may read along in a bridged room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Privacy {
    /// Whoever is in the room.
    #[default]
    Open,
    /// Only who is seen on IRC.
    Strict,
}

parsed_text! {
    Privacy => |text| match text {
        "open" => Ok(Self::Open),
        "strict" => Ok(Self::Strict),
        _ => Err(format!("`{text}` is no kind of privacy: write \"open\" or \"strict\"")),
    };
    OwnedServerName => |text| text.try_into()
        .map_err(|_| format!("`{text}` is no server name: use the part after the colon of your users' ids, such as example.org"));
    OwnedUserId => |text| text.try_into()
        .map_err(|_| format!("`{text}` is no Matrix user: write @name:server"));
    OwnedRoomOrAliasId => |text| text.try_into()
        .map_err(|_| format!("`{text}` is no Matrix room: write its id, !abc:example.org, or an alias, #name:example.org"));
    SocketAddr => |text| text.parse()
        .map_err(|_| format!("`{text}` is no address to listen on: write IP:port, such as 127.0.0.1:9995 or [::1]:9995"));
    HttpUrl => HttpUrl::parse;
    ServerAddress => ServerAddress::parse;
    Charset => Charset::parse;
    Members => str::parse;
}

/// The base of a web address, without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpUrl(String);

impl HttpUrl {
    /// The address as text, ready to have a path put behind it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name or IP address in it, the latter without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        let (host, _) = self.host_and_port();
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    /// The TCP port in it, or its scheme's.
    #[must_use]
    pub fn port(&self) -> u16 {
        let usual = if self.0.starts_with("https") { 443 } else { 80 };
        self.host_and_port().1.unwrap_or(usual)
    }

    fn host_and_port(&self) -> (&str, Option<u16>) {
        let authority =
            self.0.split_once("://").map_or(&*self.0, |(_, rest)| rest).split('/').next().unwrap_or_default();
        match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
            _ => (authority, None),
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        // With a password in it the text is not repeated: messages end up in logs.
        if text.split_once("://").is_some_and(|(_, rest)| rest.split('/').next().is_some_and(|host| host.contains('@')))
        {
            return Err("it has a user name or password in it: write something like http://127.0.0.1:8008".to_owned());
        }
        let wrong = |why: &str| format!("`{text}` {why}: write something like http://127.0.0.1:8008");
        let url: http::Uri = text.parse().map_err(|_| wrong("is no web address"))?;
        if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none_or(str::is_empty) {
            return Err(wrong("does not start with http:// or https:// and a host"));
        }
        if url.port().is_some_and(|port| port.as_u16() == 0) {
            return Err(wrong("has no port from 1 to 65535"));
        }
        if url.query().is_some() || text.contains('#') {
            return Err(wrong("has more than a host and a path"));
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where an IRC server listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerAddress {
    /// A name, or an IP address without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl ServerAddress {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("`{text}` {why}: write host:port, such as irc.libera.chat:6697 or [::1]:6697");
        let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong("has no port"))?;
        if text.parse::<IpAddr>().is_ok() {
            return Err(wrong("is an IPv6 address without a port, or without brackets around it"));
        }
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(|| wrong("has no port from 1 to 65535"))?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) => {
                address.parse::<Ipv6Addr>().map_err(|_| wrong("has no IPv6 address in its brackets"))?;
                address
            }
            None => host,
        };
        let named = host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
        if host.is_empty() || !(named || host.parse::<Ipv6Addr>().is_ok()) || text.matches(':').count() > 1 && named {
            return Err(wrong("has no valid host"));
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A character encoding that IRC lines may be in.
pub(super) struct Charset(pub(super) &'static encoding_rs::Encoding);

impl Charset {
    fn parse(label: &str) -> Result<Self, String> {
        let encoding = encoding_rs::Encoding::for_label(label.as_bytes())
            .ok_or_else(|| format!("`{label}` is no encoding we know: use a name of the web, such as windows-1252"))?;
        // The protocol's own bytes are ASCII; an encoding that gives them another meaning can't be spoken on IRC.
        if encoding.is_ascii_compatible() {
            Ok(Self(encoding))
        } else {
            Err(format!("`{label}` can't be used on IRC: use one that contains ASCII"))
        }
    }
}
