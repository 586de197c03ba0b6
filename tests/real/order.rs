//! Nothing is lost and nothing overtakes when everybody talks at once (R15).

use crate::{
    support::{IrcClient, MatrixUser},
    town::{Bridged, TEA, Town, bodies, puppet},
};

/// How many lines each says.
const LINES: usize = 100;

on_both!(a_burst_keeps_each_ones_order);

async fn a_burst_keeps_each_ones_order(town: Town) {
    let bridged = town.bridged().await;
    let Bridged { town, alice, dora, room, .. } = &bridged;
    let erin = town.in_channel("erin", TEA).await;
    let bob = bridged.newcomer("bob").await;
    bridged.alice_is_there().await;
    let said = |who: &str| (0..LINES).map(|n| format!("{who} says {n}")).collect::<Vec<_>>();
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
        let seen = |events: &[_]| bodies(events, &ghost).len() >= LINES;
        bob.wait_for(room, "the whole burst", |events| seen(events).then_some(())).await;
        assert_eq!(bodies(&bob.timeline(room).await, &ghost), said);
    }
}
