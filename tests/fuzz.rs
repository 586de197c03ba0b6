//! The fuzz targets don't fall behind: they are built by `make lint`, and here is checked that they know all there is to know.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::{fs, path::Path};

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

/// R104: a command that can be made is one that was tried with every kind of text.
#[test]
fn every_constructor_of_a_line_is_fuzzed_and_has_the_property_test() {
    let writer = read("src/irc/wire/writer.rs");
    let methods = writer.split("pub fn ").skip(1).filter_map(|rest| rest.split_once("(self")).map(|(name, _)| name);
    let constructors: Vec<_> = methods.collect();
    assert!(constructors.contains(&"privmsg") && constructors.len() > 15, "{constructors:?}");
    for file in ["fuzz/fuzz_targets/wire.rs", "src/irc/wire/tests.rs"] {
        let text = read(file);
        for constructor in &constructors {
            assert!(text.contains(&format!("w.{constructor}(")), "{file} doesn't try {constructor}");
        }
    }
}

#[test]
fn every_target_is_built_and_described() {
    let (manifest, readme) = (read("fuzz/Cargo.toml"), read("fuzz/README.md"));
    for file in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets")).unwrap() {
        let name = file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name} is no [[bin]]");
        assert!(readme.contains(&format!("| `{name}` |")), "{name} has no row");
    }
}
