//! `[secrets]`: how what people entrust to the bridge is kept.

use std::path::PathBuf;

use super::reader::Section;

/// Secrets in the database.
#[derive(Debug, Clone)]
pub struct Secrets {
    /// The file with the key under which the database keeps the keys of channels. It is made if it isn't there. Default:
    /// none, and then none are kept.
    pub key_file: Option<PathBuf>,
}

impl Secrets {
    pub(super) fn read(section: &Section<'_>) -> Option<Self> {
        Some(Self { key_file: section.key("key_file").optional()? })
    }
}
