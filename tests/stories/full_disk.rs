//! The disk is full for a while, and people go on talking.

use std::{
    fs::File,
    io::{ErrorKind, Write as _},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{
    operator::health_when,
    world::{ALICE, DORA, Stage, TEA, World, assert_same},
};
use crate::support::IrcdConfig;

/// Starts `footbridge` with a small disk of its own at `disk`, which goes with it.
fn with_disk(folder: &Path, disk: &Path) -> PathBuf {
    let script = format!(
        "#!/bin/sh\nexec unshare --user --map-root-user --mount sh -ec '\nmount -t tmpfs -o size=8m tmpfs {}\n\
         exec \"$@\"' sh {} \"$@\"\n",
        disk.display(),
        env!("CARGO_BIN_EXE_footbridge")
    );
    let program = folder.join("footbridge");
    std::fs::write(&program, script).expect("the folder is ours");
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("the file is ours");
    program
}

/// Writes until nothing more goes onto the disk.
fn fill(file: &Path) {
    let mut file = File::create(file).expect("the disk can be reached from outside");
    for size in [4096, 1] {
        loop {
            match file.write_all(&vec![0; size]) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => panic!("the disk can't be filled: {error}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_and_loses_nothing_and_the_bridge_goes_on_by_itself() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk).expect("the folder is ours");
    let stage = Stage::set(IrcdConfig::modern()).await;
    let bridge = stage.bridge().network(stage.network()).program(&with_disk(folder.path(), &disk));
    let world = stage.start(bridge.database(&format!("sqlite://{}/footbridge.db", disk.display()))).await;
    world.alice_speaks().await;
    world.settle("there is room").await;

    let filler = PathBuf::from(format!("/proc/{}/root{}/filler", world.bridge.pid(), disk.display()));
    fill(&filler);
    let (mut by_alice, mut by_dora) = (Vec::new(), Vec::new());
    // What is at hand of the database's own files may take some of it.
    let mut full = false;
    while by_alice.len() < 20 || !full {
        let n = by_alice.len();
        by_alice.push(format!("alice {n} {}", "x".repeat(300)));
        by_dora.push(format!("dora {n} {}", "x".repeat(300)));
        world.alice.say(&world.room, &by_alice[n]).await;
        world.dora.say(TEA, &by_dora[n]).await;
        let report = world.bridge.health_report().await.expect("it still answers");
        full = report["database"].as_str().is_some_and(|words| words.contains("full"));
    }
    let (status, report) = health_when(&world, |status, _| status == 503).await;
    assert!(report["database"].as_str().expect("it says something").contains("full"), "{status}: {report}");
    assert!(world.bridge.log().contains("the journal can't be written"));
    // What has to be stored first waits too: who a newcomer is on IRC, and the room of a private chat.
    let bob = world.homeserver.user("bob");
    bob.join(&world.room).await;
    bob.say(&world.room, "I am new").await;
    world.dora.say(ALICE, "in private").await;

    std::fs::remove_file(&filler).expect("it is there");
    world.dora.expect_text(TEA, |from| from == "bob[m]", "I am new").await;
    let query = world.alice.expect_invite(|from| from == DORA).await;
    world.alice.join(&query).await;
    world.alice.expect_message(&query, |from| from == DORA, "in private").await;
    health_when(&world, |status, _| status == 200).await;
    world.settle("there is room again").await;
    assert_same(&heard(&world), &by_alice);
    let read = world.homeserver.messages(&world.room).into_iter().filter(|body| body.starts_with("dora "));
    assert_same(&read.collect::<Vec<_>>(), &by_dora);
    assert_eq!(world.told(), []);
}

/// What Dora has heard of Alice's many messages.
fn heard(world: &World) -> Vec<String> {
    let texts = world.dora.texts(TEA).into_iter().filter(|(from, _)| from == ALICE);
    texts.map(|(_, text)| text).filter(|text| text.starts_with("alice ")).collect()
}
