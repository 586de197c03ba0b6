//! Rooms plumbed by command: how real servers show a channel to those who aren't in it (R28, R30, R31).

use serde_json::json;

use crate::{
    support::{IrcClient, IrcLine, MatrixUser},
    town::{Bridged, Town, expect_join, expect_notice, puppet},
};

on_both!(r28_an_operator_agrees_and_either_side_ends_it, r30_an_operator_of_a_hidden_channel_invites_the_bot,);

const MILK: &str = "#milk";
const BOT: &str = "footbridge";

async fn expect_word(client: &IrcClient, text: &str) -> IrcLine {
    let what = format!("a notice with `{text}`");
    client.expect(&what, |line| line.is("NOTICE") && line.nick() == BOT && line.text().contains(text)).await
}

/// A room of Carol's with the bot in it, beside the one of the configuration.
async fn farm(bridged: &Bridged) -> (MatrixUser, String) {
    let (town, bot) = (&bridged.town, bridged.town.bot());
    let carol = town.person("carol").await;
    let powers = json!({ "users": { &bot: 100 } });
    let room = carol.create_room(json!({ "preset": "public_chat", "power_level_content_override": powers })).await;
    carol.invite(&room, &bot).await;
    expect_notice(&carol, &room, &bot, "!plumb #channel").await;
    (carol, room)
}

async fn cross(bridged: &Bridged, erin: &IrcClient, carol: &MatrixUser, room: &str) {
    carol.say(room, "moo").await;
    erin.expect_text(MILK, |from| from == puppet("carol"), "moo").await;
    erin.say(MILK, "moo?").await;
    carol.expect_message(room, |from| from == bridged.town.ghost("erin"), "moo?").await;
}

async fn r28_an_operator_agrees_and_either_side_ends_it(town: Town) {
    let mut bridged = town.bridged().await;
    let (carol, room) = farm(&bridged).await;
    let bot = bridged.town.bot();
    let erin = bridged.town.in_channel("erin", MILK).await;
    bridged.dora.join(MILK).await;
    carol.say(&room, "!plumb #milk").await;
    let asked = expect_word(&erin, " yes ").await;
    let words: Vec<&str> = asked.text().split_whitespace().collect();
    let code = words[words.iter().position(|word| *word == "yes").unwrap() + 1].to_owned();
    bridged.dora.say(BOT, &format!("yes {code}")).await;
    expect_word(&bridged.dora, "no op there now").await;
    erin.say(BOT, &format!("yes {code}")).await;
    expect_notice(&carol, &room, &bot, "is bridged to #milk").await;
    expect_join(&erin, BOT, MILK).await;
    cross(&bridged, &erin, &carol, &room).await;
    erin.say(BOT, "unplumb #milk").await;
    for nick in [BOT.to_owned(), puppet("carol")] {
        erin.expect(&format!("{nick} to leave"), |line| (line.is("PART") || line.is("QUIT")) && line.nick() == nick)
            .await;
    }
    for user in [bridged.town.ghost("erin"), bridged.town.ghost("dora"), bot.clone()] {
        carol.expect_membership(&room, &user, "leave").await;
    }
    // The bridge of the configuration ends by its room's word, and stays so.
    bridged.alice_is_there().await;
    bridged.alice.say(&bridged.room, "!unplumb").await;
    bridged.alice.expect_membership(&bridged.room, &bot, "leave").await;
    bridged.bridge.terminate().await;
    bridged.bridge.restart().await;
    bridged.dora.say(BOT, "help").await;
    expect_word(&bridged.dora, "unplumb #channel").await;
    bridged.dora.say(BOT, "unplumb #tea").await;
    expect_word(&bridged.dora, "isn't bridged by me").await;
    assert_eq!(bridged.alice.joined_members(&bridged.room).await, [bridged.alice.id()]);
}

async fn r30_an_operator_of_a_hidden_channel_invites_the_bot(town: Town) {
    let bridged = town.bridged().await;
    let (carol, room) = farm(&bridged).await;
    let bot = bridged.town.bot();
    let erin = bridged.town.in_channel("erin", MILK).await;
    erin.raw(&format!("MODE {MILK} +si")).await;
    erin.expect("the modes", |line| line.is("MODE") && line.param(0) == MILK).await;
    carol.say(&room, "!plumb #milk").await;
    expect_notice(&carol, &room, &bot, "I see no operator in #milk").await;
    erin.raw(&format!("INVITE {BOT} {MILK}")).await;
    expect_notice(&carol, &room, &bot, "is bridged to #milk").await;
    // Carol has no invitation of her own.
    erin.raw(&format!("MODE {MILK} -i")).await;
    cross(&bridged, &erin, &carol, &room).await;
}
