//! Nothing is lost and nothing overtakes when everybody talks at once (R15).

use crate::{
    support::{IrcClient, MatrixUser},
    town::{Bridged, TEA, Town, bodies, puppet},
};

/// How many lines each says. One on either side has a long burst; another is there so that senders mix.
const LINES: [(&str, usize); 4] = [("alice", 100), ("bob", 30), ("dora", 100), ("erin", 30)];

/// What somebody says.
fn said(who: &str) -> Vec<String> {
    let (_, lines) = LINES.iter().find(|(name, _)| *name == who).expect("everybody is listed");
    (0..*lines).map(|n| format!("{who} says {n}")).collect()
}

on_both!(a_burst_keeps_each_ones_order);

async fn a_burst_keeps_each_ones_order(town: Town) {
    let bridged = town.bridged().await;
    let Bridged { town, alice, dora, room, .. } = &bridged;
    let erin = town.in_channel("erin", TEA).await;
    let bob = bridged.newcomer("bob").await;
    bridged.alice_is_there().await;
    let on_matrix = async |user: &MatrixUser, name: &str| {
        for line in said(name) {
            user.say(room, &line).await;
        }
    };
    let on_irc = async |client: &IrcClient| {
        // In one write, as fast as can be.
        let lines = said(client.nick()).into_iter().map(|line| format!("PRIVMSG {TEA} :{line}\r\n"));
        client.bytes(lines.collect::<Vec<_>>().concat().as_bytes()).await;
    };
    tokio::join!(on_matrix(alice, "alice"), on_matrix(&bob, "bob"), on_irc(dora), on_irc(&erin));

    for name in ["alice", "bob"] {
        let last = said(name).pop().unwrap();
        erin.expect_text(TEA, |nick| nick == puppet(name), &last).await;
        let lines = erin.texts(TEA).into_iter().filter(|(nick, text)| *nick == puppet(name) && text.contains(" says "));
        assert_eq!(lines.map(|(_, text)| text).collect::<Vec<_>>(), said(name));
    }
    for client in [dora, &erin] {
        let (ghost, said) = (town.ghost(client.nick()), said(client.nick()));
        let seen = |events: &[_]| bodies(events, &ghost).len() >= said.len();
        bob.wait_for(room, "the whole burst", |events| seen(events).then_some(())).await;
        assert_eq!(bodies(&bob.timeline(room).await, &ghost), said);
    }
}
