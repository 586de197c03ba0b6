//! `make demo` works: what `scripts/demo.sh` runs once everything is installed and built, here with the program of the tests.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::{path::Path, process::Command};

/// Runs the demonstration until the end of its conversation; its exit code, and what it showed.
fn demonstrate(footbridge: &Path) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new("/usr/bin/python3")
        .args(["-B", "scripts/demo"])
        .args([footbridge, &folder.path().join("demo")])
        .env("ONCE", "1")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), shown)
}

#[test]
fn it_shows_a_conversation_as_both_sides_see_it() {
    let (code, shown) = demonstrate(Path::new(env!("CARGO_BIN_EXE_footbridge")));
    assert_eq!(code, Some(0), "{shown}");
    for seen in [
        // A plumbed room, a room by alias, and in private from either side: what IRC sees, and what Matrix sees.
        "<Alice[m]> A message of two lines",
        "Alice: A message of two lines",
        "* dora waves: ¡olé! 🌉",
        "<dora> Nobody had to configure this channel.",
        "dora: Nobody had to configure this channel.",
        "<Alice[m]> Only you see this, Dora.",
        "Alice: Only you see this, Dora.",
        "<erik> Hello Alice, we haven't met.",
        "erik: Hello Alice, we haven't met.",
        "Every line arrived where it belongs.",
        "* footbridge has quit",
        "Everything has ended.",
    ] {
        assert!(shown.contains(seen), "`{seen}` isn't in:\n{shown}");
    }
}

#[test]
fn it_fails_when_the_bridge_does() {
    let (code, shown) = demonstrate(Path::new("/bin/false"));
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("FAILED: footbridge registration failed"), "{shown}");
}
