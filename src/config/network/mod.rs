//! `[network.ID]`: one IRC network. Its parts are sections of their own, one a file here.

mod bot;
mod ghosts;
mod limits;
mod plumb;
mod plumbing;
mod portals;
mod puppets;
mod ranks;

use std::{collections::BTreeMap, path::PathBuf};

use crate::{model::NetworkId, translate::TemplateError};

use super::{
    Appservice, Secret, ServerAddress,
    reader::{Section, Source},
    value::Charset,
};

pub use bot::{Bot, Sasl};
pub use ghosts::Ghosts;
pub use limits::Limits;
pub use plumb::Plumb;
pub use plumbing::{Consenting, Plumbing};
pub use portals::Portals;
pub use puppets::Puppets;
pub use ranks::Ranks;

/// An IRC network.
#[derive(Debug, Clone)]
pub struct Network {
    /// What people call it. Default: its id.
    pub name: String,
    /// Its servers as `host:port`; if one can't be reached, the next is tried. Required.
    pub servers: Vec<ServerAddress>,
    /// Whether connections are encrypted and the server's certificate is verified. Default true.
    pub tls: bool,
    /// A PEM file with an own certification authority, or with the server's own self-signed certificate, to trust
    /// instead of the system's authorities. Default: none.
    pub tls_ca: Option<PathBuf>,
    /// The encoding of lines that aren't UTF-8. Default: windows-1252, which gives every byte a meaning.
    pub encoding: &'static encoding_rs::Encoding,
    /// The password that the servers ask of everyone (`PASS`), if any.
    pub password: Option<Secret>,
    /// `[network.ID.bot]`
    pub bot: Bot,
    /// `[network.ID.puppets]`
    pub puppets: Puppets,
    /// `[network.ID.ghosts]`
    pub ghosts: Ghosts,
    /// `[network.ID.plumbing]`
    pub plumbing: Plumbing,
    /// `[network.ID.portals]`
    pub portals: Portals,
    /// `[network.ID.ranks]`
    pub ranks: Ranks,
    /// `[network.ID.limits]`
    pub limits: Limits,
    /// `[[network.ID.plumb]]`
    pub plumbs: Vec<Plumb>,
}

impl Network {
    /// The text of the file that `tls_ca` names, if it names one.
    ///
    /// # Errors
    /// The file and what is wrong with it, in words.
    pub fn tls_ca_pem(&self) -> Result<Option<String>, String> {
        let Some(path) = &self.tls_ca else { return Ok(None) };
        std::fs::read_to_string(path).map(Some).map_err(|error| format!("could not read {}: {error}", path.display()))
    }

    pub(super) fn read(given: &str, section: &Section<'_>) -> Option<(NetworkId, Self)> {
        let id = match given.parse::<NetworkId>() {
            Ok(id) => Some(id),
            Err(reason) => {
                section.problem_here(reason.to_string());
                None
            }
        };
        let name = section.key("name").or_else(|| given.to_owned()).parse(one_line).get();
        let servers = section.key("servers").parse(at_least_one).get();
        let tls = section.key("tls").or(true).get();
        let tls_ca = section.key("tls_ca").optional();
        let encoding = section.key("encoding").or_text("windows-1252").parse(|charset: Charset| Ok(charset.0)).get();
        let password = section.key("password").optional();
        let bot = section.section("bot", Bot::read);
        let puppets = section.section("puppets", Puppets::read);
        // Where there is no id, what is derived from it is checked with another.
        let network = id.clone().unwrap_or_else(|| "x".parse().expect("a letter is an id"));
        let ghosts = section.section("ghosts", |section| Ghosts::read(section, &network));
        let portals = section.section("portals", |section| Portals::read(section, &network));
        let plumbing = section.section("plumbing", Plumbing::read);
        let ranks = section.section("ranks", Ranks::read);
        let limits = section.section("limits", Limits::read);
        let plumbs = section.each("plumb", Plumb::read);

        if tls == Some(false) && matches!(tls_ca, Some(Some(_))) {
            section.problem("tls_ca", "there is no certificate to check without TLS: take this out, or set tls = true");
        }
        let network = Self {
            name: name?,
            servers: servers?,
            tls: tls?,
            tls_ca: tls_ca?,
            encoding: encoding?,
            password: password?,
            bot: bot?,
            puppets: puppets?,
            ghosts: ghosts?,
            plumbing: plumbing?,
            portals: portals?,
            ranks: ranks?,
            limits: limits?,
            plumbs: plumbs?,
        };
        Some((id?, network))
    }
}

/// Checks what no section can see alone: that every name belongs to one thing.
pub(super) fn check_together(
    networks: &BTreeMap<NetworkId, Network>,
    appservice: Option<&Appservice>,
    source: &Source<'_>,
) {
    ghosts::check_apart(networks, appservice, source);
    portals::check_apart(networks, source);
    plumb::check_apart(networks, source);
}

/// Whether some text fits both `a` and `b`, each a beginning and an end with anything between them.
fn overlap(a: (&str, &str), b: (&str, &str)) -> bool {
    (a.0.starts_with(b.0) || b.0.starts_with(a.0)) && (a.1.ends_with(b.1) || b.1.ends_with(a.1))
}

/// Each pair of networks whose names may be the same, the names being what `around` says.
fn overlapping(
    networks: &BTreeMap<NetworkId, Network>,
    around: impl Fn(&Network) -> (&str, &str),
) -> Vec<(&NetworkId, &NetworkId)> {
    let names: Vec<_> = networks.iter().map(|(id, network)| (id, around(network))).collect();
    let pairs = names.iter().enumerate().flat_map(|(n, a)| names[n + 1..].iter().map(move |b| (a, b)));
    pairs.filter(|(a, b)| overlap(a.1, b.1)).map(|(a, b)| (a.0, b.0)).collect()
}

/// What to say of a template that can't be used.
fn wrong(text: &str, problem: &TemplateError) -> String {
    format!("`{text}` {problem}")
}

fn at_least_one(servers: Vec<ServerAddress>) -> Result<Vec<ServerAddress>, String> {
    if servers.is_empty() { Err("empty: name at least one server as \"host:port\"".to_owned()) } else { Ok(servers) }
}

/// A text that a line of IRC or a notice can carry.
fn one_line(text: String) -> Result<String, String> {
    if text.trim().is_empty() {
        Err("empty: write something, or take the key out for its default".to_owned())
    } else if text.chars().any(char::is_control) {
        Err("has a control character or a line break: write it in one plain line".to_owned())
    } else {
        Ok(text)
    }
}
