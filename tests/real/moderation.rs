//! What operators of one side do to people is done on the other, and ends there when it ends here.

use serde_json::Value;

use crate::{
    support::MatrixUser,
    town::{Bridged, Kind, TEA, Town, puppet},
};

on_both!(
    a_ban_on_irc_is_a_ban_in_the_room_until_it_is_lifted,
    who_can_not_be_heard_on_irc_is_shown_as_muted,
    a_ban_on_matrix_is_a_ban_on_irc_where_that_is_wanted,
    people_are_invited_both_ways,
);

/// Waits until somebody's power level in the room is this.
pub(crate) async fn expect_level(bridged: &Bridged, user: &MatrixUser, level: Option<i64>) {
    let what = format!("the level {level:?} of {}", user.id());
    let is_set = |events: &[std::sync::Arc<crate::support::Event>]| {
        let levels = events.iter().rev().find(|event| event.kind == "m.room.power_levels")?;
        (levels.content["users"].get(user.id()).and_then(Value::as_i64) == level).then_some(())
    };
    bridged.alice.wait_for(&bridged.room, &what, is_set).await;
}

async fn a_ban_on_irc_is_a_ban_in_the_room_until_it_is_lifted(town: Town) {
    let kind = town.kind();
    let bridged = town.bridged().await;
    let Bridged { town, alice, dora, room, .. } = &bridged;
    let bob = bridged.newcomer("bob").await;
    let masks: &[&str] = match kind {
        // By the real name, which is the Matrix id.
        Kind::InspIrcd => &["bob[m]!*@*", "r:@bob.*"],
        Kind::NgIrcd => &["bob[m]!*@*"],
    };
    bridged.newcomer("carol").await;
    for mask in masks {
        dora.raw(&format!("MODE {TEA} +b {mask}")).await;
        let banned = alice.expect_membership(room, bob.id(), "ban").await;
        assert_eq!(banned.sender, town.bot());
        assert_eq!(banned.content["reason"], format!("banned from {TEA} on IRC by dora ({mask})"));
        dora.raw(&format!("MODE {TEA} -b {mask}")).await;
        alice.expect_membership(room, bob.id(), "leave").await;
        bob.join(room).await;
        bob.say(room, "forgiven").await;
        dora.expect_text(TEA, |nick| nick == puppet("bob"), "forgiven").await;
    }
}

async fn who_can_not_be_heard_on_irc_is_shown_as_muted(town: Town) {
    let kind = town.kind();
    let bridged = town.bridged().await;
    let Bridged { town, alice, dora, room, .. } = &bridged;
    let bob = bridged.newcomer("bob").await;
    dora.raw(&format!("MODE {TEA} +m")).await;
    expect_level(&bridged, &bob, Some(-1)).await;
    bridged.expect_told(&format!("{TEA} is moderated on IRC now (+m by dora)")).await;
    dora.raw(&format!("MODE {TEA} +v bob[m]")).await;
    expect_level(&bridged, &bob, None).await;
    bob.say(room, "thanks for the voice").await;
    dora.expect_text(TEA, |nick| nick == puppet("bob"), "thanks for the voice").await;
    dora.raw(&format!("MODE {TEA} -v bob[m]")).await;
    expect_level(&bridged, &bob, Some(-1)).await;
    dora.raw(&format!("MODE {TEA} -m")).await;
    expect_level(&bridged, &bob, None).await;
    if kind == Kind::InspIrcd {
        dora.raw(&format!("MODE {TEA} +b m:bob[m]!*@*")).await;
        expect_level(&bridged, &bob, Some(-1)).await;
        dora.raw(&format!("MODE {TEA} +e bob[m]!*@*")).await;
        expect_level(&bridged, &bob, None).await;
    }
    assert!(alice.joined_members(room).await.contains(&bob.id().to_owned()), "{} shows nobody out", town.bot());
}

async fn a_ban_on_matrix_is_a_ban_on_irc_where_that_is_wanted(town: Town) {
    let bridged = town.bridged_with(|network| network.set("portals", "bans_to_irc", "true"), |bridge| bridge).await;
    let Bridged { town, alice, dora, room, .. } = &bridged;
    let erin = town.in_channel("erin", TEA).await;
    alice.expect_membership(room, &town.ghost("erin"), "join").await;
    bridged.alice_is_there().await;
    // By the bot, in her name.
    dora.raw(&format!("MODE {TEA} +o footbridge")).await;
    bridged.matrix_has_heard("the bot is an operator").await;
    alice.ban(room, &town.ghost("erin"), "spam").await;
    let banned = dora.expect("the ban", |line| line.is("MODE") && line.param(1) == "+b").await;
    assert_eq!(banned.nick(), "footbridge");
    assert!(banned.param(2).starts_with("*!") && banned.param(2).contains('@'), "{banned}");
    let kicked = erin.expect("the kick", |line| line.is("KICK")).await;
    assert_eq!(kicked.text(), format!("by {}: spam", alice.id()));
    alice.unban(room, &town.ghost("erin")).await;
    let lifted = dora.expect("its end", |line| line.is("MODE") && line.param(1) == "-b").await;
    assert_eq!(lifted.param(2), banned.param(2));
    erin.join(TEA).await;
}

async fn people_are_invited_both_ways(town: Town) {
    let kind = town.kind();
    let bridged = town.bridged().await;
    let Bridged { town, alice, dora, room, .. } = &bridged;
    bridged.alice_is_there().await;
    // InspIRCd lets only operators invite.
    dora.raw(&format!("MODE {TEA} +o {}", puppet("alice"))).await;
    bridged.matrix_has_heard("she may invite").await;
    let erin = town.client("erin").await;
    alice.invite(room, &town.ghost("erin")).await;
    let invited = erin.expect("the invitation", |line| line.is("INVITE")).await;
    assert_eq!((invited.nick(), invited.param(1)), (&*puppet("alice"), TEA));
    alice.invite(room, &town.ghost("nobody")).await;
    bridged.expect_told("Your invitation did not reach IRC: nobody of that name is on IRC now").await;
    if kind == Kind::InspIrcd {
        // Newcomers are sent elsewhere, which isn't bridged.
        let overflow = town.in_channel("olga", "#overflow").await;
        dora.join("#overflow").await;
        overflow.raw("MODE #overflow +o dora").await;
        dora.expect("her rank", |line| line.is("MODE") && line.param(2) == "dora").await;
        dora.raw(&format!("MODE {TEA} +lL 1 #overflow")).await;
        dora.expect("the forward", |line| line.is("MODE") && line.param(1) == "+lL").await;
        let bob = town.person("bob").await;
        bob.join(room).await;
        bridged
            .expect_told("the network sends newcomers of this channel to another one: #overflow (the server said: ")
            .await;
        overflow.expect("that he leaves", |line| line.is("PART") && line.nick() == puppet("bob")).await;
    }
}
