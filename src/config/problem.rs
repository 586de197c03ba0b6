//! What is wrong with a configuration, in words for its author.

use std::{fmt, path::PathBuf};

/// One thing to mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where the key (or, if it is missing, its section) stands, from 1; 0 where there is no such place.
    pub line: usize,
    /// The whole key, such as `network.libera.bot.nick`.
    pub key: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// Why there is no configuration to run with. It lists everything that has to be mended, not only what was met first.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error(
        "cannot read the configuration {}: {reason}\n  Name another file with --config, or start from config.example.toml.",
        path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: std::io::Error,
    },
    /// The file is no TOML.
    #[error("{} is not valid TOML: line {line}: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// The parser's words, without the text of the line: there may be a password in it.
        reason: String,
    },
    /// The file is TOML, but no configuration.
    #[error("{}", Listing(path, problems))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What to mend, in the order of the file.
        problems: Vec<Problem>,
    },
}

/// Problems as an operator reads them, one a line.
struct Listing<'a>(&'a PathBuf, &'a [Problem]);

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(path, problems) = self;
        let (count, plural) = (problems.len(), if problems.len() == 1 { "" } else { "s" });
        write!(f, "{} has {count} problem{plural}:", path.display())?;
        for Problem { line, key, message } in *problems {
            match line {
                0 => write!(f, "\n  {key}: {message}")?,
                _ => write!(f, "\n  line {line}, {key}: {message}")?,
            }
        }
        Ok(())
    }
}
