//! Any text from IRC, taken to Matrix.
#![no_main]

use footbridge::translate::{strip, to_html};
use libfuzzer_sys::fuzz_target;

/// The elements that formatting becomes; whatever else looks like one came from somebody's text.
const ELEMENTS: &[&str] = &["b", "i", "u", "del", "code", "span", "font", "br"];

/// Every `<` begins an element of ours, and elements close in the order in which they were opened.
fn well_nested(html: &str) {
    let mut open = Vec::new();
    for part in html.split('<').skip(1) {
        let (tag, text) = part.split_once('>').expect("an element ends");
        assert!(!text.contains('>'), "{html:?}");
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
        assert!(ELEMENTS.contains(&name), "{tag} in {html:?}");
        match tag.strip_prefix('/') {
            Some(closed) => assert_eq!(open.pop(), Some(closed), "{html:?}"),
            None if name == "br" => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?} is left open in {html:?}");
}

fuzz_target!(|text: &str| {
    let hidden = |c: char| c.is_control() && c != '\t';
    assert!(!strip(text).contains(hidden));
    if let Some(html) = to_html(text) {
        assert!(!html.contains(hidden));
        assert!(html.len() < 64 * 1024);
        well_nested(&html);
    }
});
