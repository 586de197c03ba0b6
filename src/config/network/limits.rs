//! `[network.ID.limits]`: what the network bears.

use crate::config::reader::Section;

/// How fast the bridge may be. 0 = no limit. The defaults are polite to a network that we know nothing of; raise
/// them only by agreement with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// New connections per minute, of all users together: servers count them by address. Default 4.
    pub connects_per_minute: u32,
    /// Lines that each connection may send at once. Default 4.
    pub line_burst: u32,
    /// Lines that each connection may send in a second, after the burst. Default 0.5.
    pub lines_per_second: f64,
}

impl Limits {
    pub(super) fn read(section: &Section<'_>) -> Option<Self> {
        let connects_per_minute = section.key("connects_per_minute").or(4).get();
        let line_burst = section.key("line_burst").or(4).get();
        let lines_per_second = section.key("lines_per_second").or(0.5).get();
        Some(Self {
            connects_per_minute: connects_per_minute?,
            line_burst: line_burst?,
            lines_per_second: lines_per_second?,
        })
    }
}
