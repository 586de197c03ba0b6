//! Any JSON as the content of events that homeservers push, taken to IRC.
#![no_main]

use footbridge::translate::{matrix_to_irc, split};
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;

fuzz_target!(|json: &str| {
    let Ok(content) = serde_json::from_str::<&RawValue>(json) else { return };
    let harmless = |text: &str| assert!(!text.contains(['\r', '\n', '\0', '\x01']), "{text:?}");
    if let Ok(Some(text)) = matrix_to_irc::message(content, 100) {
        for piece in text.lines.iter().flat_map(|line| split(line, 50)) {
            assert!(!piece.is_empty() && piece.len() <= 50);
            harmless(piece);
        }
    }
    if let Some(topic) = matrix_to_irc::topic(content) {
        harmless(&topic);
    }
});
