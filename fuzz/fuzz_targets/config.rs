//! Any text as the configuration file.
#![no_main]

use std::{env, fs, process};

use footbridge::config::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let path = env::temp_dir().join(format!("footbridge-fuzz-{}.toml", process::id()));
    fs::write(&path, text).expect("the temporary folder takes a file");
    if let Err(problems) = Config::load(&path) {
        assert!(!problems.to_string().is_empty());
    }
});
