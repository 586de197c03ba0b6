//! IRC dialogues in virtual time, one per habit of networks: `tests/transcripts/*.txt`.
//!
//! A script's own lines are what happens to the session: `S:` (a line from the server), `start`, `connected`,
//! `disconnected`, `wait 30s`, `listens?` (whether it only listens), and what the bridge asks (`join`, `say 1 #channel words | more words`, ...). All
//! others are what the session must answer, in order and nothing else: `C:` (a line to the server), `event:`,
//! `fate:`, `state:`, `dial:`, `hangup`, `throttled`, `starting:`, `listens:`. The first line may be `with: …`, how the link is made; `#`
//! begins a comment.
//!
//! After a change that is meant, `UPDATE_TRANSCRIPTS=1 cargo test --test transcripts` writes what the session
//! answers now into the files; read the difference as you would read code.

#[path = "transcripts/harness.rs"]
mod harness;

use std::{fs, path::Path};

use harness::Play;

const ANSWERS: &[&str] = &["C:", "event:", "fate:", "state:", "dial:", "hangup", "throttled", "starting:", "listens:"];

fn is_answer(line: &str) -> bool {
    ANSWERS.iter().any(|answer| line.starts_with(answer))
}

/// The script with what the session answers after each of its lines.
fn play(script: &str) -> String {
    let with = script.lines().find_map(|line| line.strip_prefix("with:")).unwrap_or_default();
    let mut play = Play::new(with);
    let mut played = String::new();
    for line in script.lines().filter(|line| !is_answer(line)) {
        played.push_str(line);
        played.push('\n');
        if !(line.is_empty() || line.starts_with('#') || line.starts_with("with:")) {
            play.directive(line);
            played.push_str(&play.take_said());
        }
    }
    played
}

#[test]
fn sessions_answer_as_their_transcripts_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut wrong = Vec::new();
    let mut played = 0;
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|ext| ext == "txt")) {
        let script = fs::read_to_string(path).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let answer = std::panic::catch_unwind(|| play(&script));
        let answer = answer.unwrap_or_else(|_| panic!("{name} panicked"));
        played += 1;
        if answer == script {
            continue;
        }
        if std::env::var_os("UPDATE_TRANSCRIPTS").is_some() {
            fs::write(path, &answer).unwrap();
            continue;
        }
        let at = script.lines().zip(answer.lines()).take_while(|(a, b)| a == b).count();
        let (said, meant) = (answer.lines().nth(at), script.lines().nth(at));
        wrong.push(format!("{name}, line {}:\n  transcript: {meant:?}\n  session:    {said:?}", at + 1));
    }
    assert!(played >= 40, "transcripts are missing: only {played} found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
