//! Netsplits, by stopping one of two servers that are linked.

use crate::{
    support::{IrcClient, wait::DEADLINE},
    town::{Bridged, TEA, Town},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r78_who_comes_back_from_a_split_was_never_away() {
    let (town, mut leaf) = Town::with_two_servers();
    let bridged =
        town.bridged_with(|network| network.set("ghosts", "netsplit_hold_seconds", "12"), |bridge| bridge).await;
    let Bridged { town, alice, dora, room, .. } = &bridged;
    let nicks: Vec<String> = (0..8).map(|n| format!("leaf{n}")).collect();
    let mut people: Vec<IrcClient> = Vec::new();
    for nick in &nicks {
        let client = leaf.client(nick).await;
        client.join(TEA).await;
        people.push(client);
    }
    for nick in &nicks {
        alice.expect_membership(room, &town.ghost(nick), "join").await;
    }
    leaf.kill();
    people.clear();
    let quit = dora.expect("the split", |line| line.is("QUIT") && line.nick() == "leaf0").await;
    assert_eq!(quit.text(), "irc.test leaf.test");
    leaf.start_again();
    for nick in &nicks[..4] {
        let client = leaf.client(nick).await;
        client.join(TEA).await;
        people.push(client);
    }
    // A second time, once the servers have found each other again.
    let back = |nick: &String| dora.lines().iter().filter(|line| line.is("JOIN") && line.nick() == nick).count() == 2;
    let all_back = async {
        while !nicks[..4].iter().all(back) {
            dora.sync().await;
        }
    };
    tokio::time::timeout(DEADLINE, all_back).await.expect("the servers link again");
    people[0].say(TEA, "what was that?").await;
    alice.expect_message(room, |sender| sender == town.ghost("leaf0"), "what was that?").await;
    for nick in &nicks[4..] {
        alice.expect_membership(room, &town.ghost(nick), "leave").await;
    }
    bridged.matrix_has_heard("it was a split").await;
    let members = alice.joined_members(room).await;
    alice
        .wait_for(room, "who was never away", |events| {
            for nick in &nicks[..4] {
                let ghost = town.ghost(nick);
                assert!(members.contains(&ghost), "{nick}");
                assert!(!events.iter().any(|event| event.is_membership(&ghost, "leave")), "{nick}");
            }
            Some(())
        })
        .await;
}
