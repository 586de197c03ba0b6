//! `[database]`: where the bridge remembers.

use std::path::Path;

use super::{Secret, reader::Section};

/// The database, made on the first start.
#[derive(Debug, Clone)]
pub struct Database {
    /// `sqlite://FILE` (as it is called, nothing is escaped; a relative one is beside the configuration) or `postgres://USER:PASSWORD@HOST/NAME`.
    /// Default `sqlite://footbridge.db`. It may hold a password, so it is kept as a secret.
    pub url: Secret,
    /// Which of the two it is.
    pub engine: Engine,
}

/// A kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// A file of our own.
    Sqlite,
    /// A server.
    Postgres,
}

impl Database {
    pub(super) fn read(section: &Section<'_>) -> Option<Self> {
        let folder = section.folder();
        section.key::<Secret>("url").or_text("sqlite://footbridge.db").parse(|url| Self::parse(&url, folder)).get()
    }

    fn parse(url: &Secret, folder: &Path) -> Result<Self, String> {
        // The message never repeats the address, as there may be a password in it.
        const FORMS: &str = "write sqlite://FILE or postgres://USER:PASSWORD@HOST/NAME";
        match url.expose().split_once("://") {
            Some(("sqlite", rest)) if !rest.is_empty() => {
                Ok(Self { url: Secret::new(format!("sqlite://{}", beside(rest, folder))), engine: Engine::Sqlite })
            }
            Some(("postgres" | "postgresql", rest)) if !rest.is_empty() => {
                Ok(Self { url: url.clone(), engine: Engine::Postgres })
            }
            Some((scheme, _)) if !matches!(scheme, "sqlite" | "postgres" | "postgresql") => {
                Err(format!("`{scheme}://` is no database we know: {FORMS}"))
            }
            _ => Err(format!("this is no database address: {FORMS}")),
        }
    }
}

/// The file, a relative one put into `folder`.
fn beside(file: &str, folder: &Path) -> String {
    if file.starts_with('/') || file.starts_with(":memory:") {
        return file.to_owned();
    }
    folder.join(file).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlite_files_are_beside_the_configuration() {
        for (file, folder, expected) in [
            ("a.db", "", "a.db"),
            ("a.db", "/etc/footbridge", "/etc/footbridge/a.db"),
            ("a.db", "/", "/a.db"),
            ("a#b.db", "/wh?t 100%", "/wh?t 100%/a#b.db"),
            ("/var/a.db", "/etc", "/var/a.db"),
            (":memory:", "/etc", ":memory:"),
        ] {
            assert_eq!(beside(file, Path::new(folder)), expected);
        }
    }

    #[test]
    fn a_bad_address_is_not_repeated() {
        for bad in ["postgres:hunter2", "sqlite://", "mysql://user:hunter2@host/db", "hunter2"] {
            let message = Database::parse(&Secret::new(bad.to_owned()), Path::new("")).unwrap_err();
            assert!(message.contains("postgres://USER") && !message.contains("hunter2"), "{message}");
        }
    }
}
