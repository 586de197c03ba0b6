//! Any text from IRC, taken to Matrix.
#![no_main]

use footbridge::translate::{strip, to_html};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let hidden = |c: char| c.is_control() && c != '\t';
    assert!(!strip(text).contains(hidden));
    if let Some(html) = to_html(text) {
        assert!(!html.contains(hidden));
        assert!(html.len() < 64 * 1024);
    }
});
