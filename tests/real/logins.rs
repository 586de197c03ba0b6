//! Accounts on IRC: the bot and puppets log in to theirs with SASL PLAIN, against real services.

use crate::{
    support::{Bridge, process::POLL, real::Atheme, wait::DEADLINE},
    town::{Ircd, TEA, Town, expect_notice, puppet},
};

/// An account as the configuration names it.
fn account(user: &str, account: &str, password: &str, network: &str) -> String {
    format!(
        "[[network.{network}.puppets.account]]\nuser = \"{user}\"\nsasl_account = \"{account}\"\nsasl_password = \"{password}\"\n"
    )
}

/// Waits until `/health` says this of the only network.
async fn network_says(bridge: &Bridge, network: &str, words: &str) {
    let said = async {
        loop {
            let report = bridge.health_report().await;
            if report
                .is_some_and(|report| report["networks"][network].as_str().is_some_and(|said| said.contains(words)))
            {
                return;
            }
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(DEADLINE, said).await.unwrap_or_else(|_| panic!("/health never says `{words}`"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bot_and_puppets_log_in_and_wait_for_services_that_are_away() {
    let (ircd, mut services) = Atheme::with_inspircd().await;
    services.register(&ircd, "thebot", "b0t-secret").await;
    services.register(&ircd, "al", "al-secret").await;
    let town = Town::around(Ircd::Insp(ircd));
    let dora = town.in_channel("dora", TEA).await;
    let (alice, bob) = (town.person("alice").await, town.person("bob").await);
    let room = town.room(&alice).await;
    bob.join(&room).await;
    let id = town.network_id();
    let network = town.network().plumb(TEA, &room);
    let network = network.set("bot", "sasl_account", "\"thebot\"").set("bot", "sasl_password", "\"b0t-secret\"");
    let bridge = town.bridge(network).extra(&account(alice.id(), "al", "al-secret", id)).extra(&account(
        bob.id(),
        "al",
        "wrong-secret",
        id,
    ));

    // Nobody goes on without the account, and everybody once it can be had.
    services.end(town.inspircd()).await;
    let mut bridge = bridge.prepare();
    bridge.spawn();
    network_says(&bridge, id, "doesn't offer logging in").await;
    services.start_again(town.inspircd()).await;
    bridge.wait_ready().await;
    alice.say(&room, "I am alice").await;
    dora.expect_text(TEA, |nick| nick == puppet("alice"), "I am alice").await;
    for (nick, account) in [("footbridge", "thebot"), (&*puppet("alice"), "al")] {
        dora.raw(&format!("WHOIS {nick}")).await;
        dora.expect("the account", |line| line.is("330") && line.params[1] == nick && line.params[2] == account).await;
    }

    // Services that go away later don't matter to who is logged in already.
    services.end(town.inspircd()).await;
    alice.say(&room, "still here").await;
    dora.expect_text(TEA, |nick| nick == puppet("alice"), "still here").await;
    services.start_again(town.inspircd()).await;

    // A wrong password isn't tried again, and its owner is told.
    bob.say(&room, "I am not al").await;
    let told = expect_notice(&bob, &room, &town.bot(), "check account and password").await;
    assert!(!told.body().contains("wrong-secret"), "{told}");
    assert_eq!(dora.texts(TEA).len(), 2);
}
