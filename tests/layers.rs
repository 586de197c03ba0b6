//! The walls between the rooms of `src/` (ARCHITECTURE.md, "Layers"): who may use whom, and who may touch what outside.
//!
//! The test reads every path in the sources (in `use` lines and elsewhere, in tests too) with Rust's own lexer, so
//! that comments and texts don't count and nested groups do.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// Each room with what it may use of the others: a whole room, or one module of it.
const LAYERS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("translate", &["model"]),
    ("config", &["translate", "model"]),
    ("lifecycle", &["translate", "model"]),
    ("telemetry", &["translate", "model"]),
    ("irc", &["config", "lifecycle", "telemetry", "translate", "model"]),
    ("matrix", &["config", "lifecycle", "telemetry", "translate", "model"]),
    ("store", &["config", "lifecycle", "telemetry", "translate", "model"]),
    ("bridge", &["irc::pool", "matrix", "store", "config", "lifecycle", "telemetry", "translate", "model"]),
    ("app", &["bridge", "irc", "matrix", "store", "config", "lifecycle", "telemetry", "translate", "model"]),
    ("cli", &["app", "bridge", "irc", "matrix", "store", "config", "lifecycle", "telemetry", "translate", "model"]),
];

/// Paths with the only files (or folders) of `src/` in which they may be used.
const HOMES: &[(&str, &[&str])] = &[
    // One file knows the irc crate, so that its types can be exchanged.
    ("::irc", &["irc/wire"]),
    ("irc::proto", &["irc/wire"]),
    ("sqlx", &["store"]),
    ("axum", &["matrix/appservice", "app", "bin"]),
    ("hyper", &["matrix/appservice"]),
    ("hyper_util", &["matrix/appservice"]),
    ("reqwest", &["matrix", "app"]),
    ("clap", &["cli", "telemetry"]),
    ("anyhow", &["cli", "app", "bin"]),
    // The bridge sees traits; what is behind them is the composition root's business.
    ("crate::matrix::HomeserverClient", &["matrix", "app", "cli"]),
    ("crate::matrix::client", &["matrix", "app", "cli"]),
    ("crate::store::open", &["store", "app", "cli"]),
    ("crate::store::look", &["store", "app", "cli"]),
    ("crate::store::sql", &["store"]),
];

/// Files (or folders) that are pure, or nearly: what they must not use.
const NEVER: &[(&str, &[&str])] = &[
    ("model", &["tokio", "std::fs", "std::net", "std::process", "std::thread"]),
    ("translate", &["tokio", "std::fs", "std::net", "std::process", "std::thread", "std::time::SystemTime", "rand"]),
    ("irc/session", &["tokio", "std::fs", "std::net", "std::process", "std::thread", "std::time::SystemTime", "rand"]),
    ("irc/wire", &["tokio", "std::fs", "std::net"]),
    (
        "bridge",
        &["tokio::net", "std::net::TcpStream", "std::net::TcpListener", "std::fs", "rustls", "tokio_rustls", "http"],
    ),
    ("store", &["tokio::net", "rustls"]),
];

/// Everything in `text`, the source of `file` (a path below `src/`), that goes through a wall.
fn violations(file: &str, text: &str) -> Vec<String> {
    let module = module_of(file);
    let room = module.first().map_or("", String::as_str);
    let mut found = Vec::new();
    let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{file} can't be read: {error}"));
    for path in paths(tokens) {
        let path = absolute(&path, &module);
        if let Some(used) = path.strip_prefix("crate::") {
            let other = used.split("::").next().unwrap_or_default();
            let known = LAYERS.iter().any(|(room, _)| *room == other);
            let allowed = LAYERS.iter().find(|(name, _)| *name == room).map_or(&[][..], |(_, allowed)| allowed);
            if known && other != room && !allowed.iter().any(|allowed| within(used, allowed)) {
                found.push(format!("{file} uses {path}, which {room} may not know"));
            }
        }
        for (subject, homes) in HOMES {
            if within(&path, subject) && !homes.iter().any(|home| lives_in(file, home)) {
                found.push(format!("{file} uses {path}, whose only home is {}", homes.join(", ")));
            }
        }
        for (place, subjects) in NEVER.iter().filter(|(place, _)| lives_in(file, place)) {
            if let Some(subject) = subjects.iter().find(|subject| within(&path, subject)) {
                found.push(format!("{file} uses {path}; {place} must not know {subject}"));
            }
        }
    }
    found
}

/// `pool/local.rs` as a list of modules.
fn module_of(file: &str) -> Vec<String> {
    let stem = file.trim_end_matches(".rs").trim_end_matches("/mod");
    stem.split('/').filter(|part| !matches!(*part, "lib" | "main")).map(str::to_owned).collect()
}

/// Whether `path` is `prefix` or something in it.
fn within(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Whether `file` is `place.rs` or below the folder `place`.
fn lives_in(file: &str, place: &str) -> bool {
    file.strip_prefix(place).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

/// A path without `super`, as seen from `module`. (One in a module within a file counts as the file's.)
fn absolute(path: &str, module: &[String]) -> String {
    let parts: Vec<_> = path.split("::").collect();
    let ups = parts.iter().take_while(|part| matches!(**part, "super" | "self")).count();
    if ups == 0 {
        return path.to_owned();
    }
    let supers = parts[..ups].iter().filter(|part| **part == "super").count();
    let above = &module[..module.len().saturating_sub(supers)];
    let mut absolute = String::from("crate");
    for part in above.iter().map(String::as_str).chain(parts[ups..].iter().copied()) {
        let _ = write!(absolute, "::{part}");
    }
    absolute
}

/// Words that a path may follow and never goes on from: in `use ::irc`, the path is `::irc`.
const BEFORE_PATHS: &[&str] = &[
    "use", "as", "dyn", "impl", "in", "mut", "ref", "return", "break", "else", "match", "if", "while", "where", "move",
];

/// All paths in the source, with groups (`a::{b, c::d}`) taken apart. A leading `::` stays.
fn paths(tokens: TokenStream) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect(tokens, None, &mut found);
    found
}

/// Adds the paths in `tokens`, which are those of a group behind `prefix::`, if there is one.
fn collect(tokens: TokenStream, prefix: Option<&str>, found: &mut BTreeSet<String>) {
    // The path that is being read; empty after a leading `::`.
    let mut path = prefix.map(str::to_owned);
    // Whether the next word belongs to it, and whether that is so because of a `::`.
    let (mut open, mut colons) = (true, false);
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Ident(name) => {
                let name = name.to_string();
                if BEFORE_PATHS.contains(&name.as_str()) {
                    found.extend(path.take());
                    (open, colons) = (true, false);
                    continue;
                }
                if open {
                    path = Some(path.map_or(name.clone(), |path| format!("{path}::{name}")));
                } else {
                    found.extend(path.replace(name));
                }
                (open, colons) = (false, false);
            }
            TokenTree::Punct(first) if first.as_char() == ':' && first.spacing() == Spacing::Joint => {
                tokens.next();
                path = path.or_else(|| Some(String::new()));
                (open, colons) = (true, true);
            }
            TokenTree::Group(group) => {
                let goes_on = colons && group.delimiter() == Delimiter::Brace;
                collect(group.stream(), path.as_deref().filter(|_| goes_on), found);
                found.extend(path.take().filter(|_| !goes_on));
                (open, colons) = (true, false);
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {
                found.extend(path.take());
                path = prefix.map(str::to_owned);
                (open, colons) = (true, false);
            }
        }
    }
    found.extend(path);
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn nothing_goes_through_a_wall() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 10, "the sources were found");
    let mut found = Vec::new();
    for path in files {
        let file = path.strip_prefix(&root).expect("it was found there").to_string_lossy().into_owned();
        found.extend(violations(&file, &fs::read_to_string(&path).expect("it can be read")));
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn every_room_has_its_place() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in fs::read_dir(root).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().trim_end_matches(".rs").to_owned();
        let placed = LAYERS.iter().any(|(room, _)| *room == name) || matches!(name.as_str(), "lib" | "main" | "bin");
        assert!(placed, "src/{name} is a new room: put it into LAYERS, and into ARCHITECTURE.md");
    }
    for (n, (room, allowed)) in LAYERS.iter().enumerate() {
        for used in *allowed {
            let used = used.split("::").next().unwrap();
            assert!(LAYERS[..n].iter().any(|(below, _)| *below == used), "{room} uses {used}, which isn't below it");
        }
    }
}

/// The checker finds what it is there for.
#[test]
fn holes_are_found() {
    for (file, text) in [
        ("bridge/portal.rs", "use sqlx::Pool;"),
        ("bridge/portal.rs", "use crate::irc::session::Session;"),
        ("bridge/portal.rs", "use crate::{model::NetworkId, irc::{pool::ConnectionPool, link}};"),
        ("bridge/portal.rs", "fn f() { crate::irc::link::dial(); }"),
        ("bridge/portal.rs", "fn f(_: tokio::net::TcpStream) {}"),
        ("bridge/portal.rs", "use tokio::{net::TcpStream, sync::mpsc};"),
        ("bridge/portal.rs", "use std::net::{IpAddr, TcpStream};"),
        ("bridge/portal.rs", "use crate::matrix::HomeserverClient;"),
        ("bridge/portal.rs", "use crate::store::{Store, open};"),
        ("bridge/mod.rs", "use super::app;"),
        ("irc/link.rs", "use crate::matrix::MatrixApi;"),
        ("irc/link.rs", "use super::super::store;"),
        ("irc/link.rs", "#[cfg(test)] mod tests { use crate::bridge::portal; }"),
        ("irc/link.rs", "use ::irc::proto::Message;"),
        ("irc/link.rs", "use irc::proto::{Command};"),
        ("irc/session/step.rs", "use tokio::time::Instant;"),
        ("matrix/client.rs", "vec![crate::store::Row::new()];"),
        ("matrix/client.rs", "use axum::Router;"),
        ("store/sql/journal.rs", "use crate::irc::pool::protocol;"),
        ("translate/html.rs", "use crate::config::Template;"),
        ("translate/html.rs", "macro_rules! m { () => { tokio::spawn(f()) } }"),
        ("model/ids.rs", "use crate::translate::casemap;"),
        ("config/mod.rs", "use crate::telemetry;"),
        ("telemetry.rs", "use super::config;"),
        ("app.rs", "use crate::cli;"),
    ] {
        assert_eq!(violations(file, text).len(), 1, "{file}: {text}: {:?}", violations(file, text));
    }
}

/// And nothing else.
#[test]
fn doors_are_open() {
    for (file, text) in [
        ("bridge/portal.rs", "use crate::{irc::pool::{ConnectionPool, protocol}, model::NetworkId, store::Store};"),
        ("bridge/portal.rs", "use std::{collections::BTreeMap, net::IpAddr}; use tokio::sync::mpsc;"),
        ("bridge/portal.rs", "//! [`crate::irc::link`] does it\n// sqlx::query\nconst A: &str = \"crate::irc::link\";"),
        ("bridge/portal.rs", "use super::directory; use self::inner::x; mod tests { use super::*; }"),
        ("irc/wire.rs", "use ::irc::proto::Message; use irc::proto::Command;"),
        ("irc/wire/read.rs", "use ::irc::proto::Message;"),
        ("irc/link.rs", "use super::session; use crate::irc::wire::Line; use crate::config::Secret;"),
        ("irc/pool/local.rs", "use super::super::link; use super::protocol;"),
        ("app.rs", "use crate::{bridge, irc::link, matrix::HomeserverClient, store::open};"),
        ("cli/check.rs", "use crate::app; use anyhow::Context;"),
        ("store/sql/mod.rs", "use sqlx::Row; use crate::model::NetworkId;"),
        ("matrix/appservice/mod.rs", "use axum::{Router, routing::get};"),
        ("translate/split.rs", "let irc = 1; let x = irc::<u8>(); let y: model::X = a ? b : c;"),
    ] {
        assert_eq!(violations(file, text), Vec::<String>::new(), "{file}: {text}");
    }
}
