//! What the operators of one side do to people is done on the other, and ends there when it ends here.

use serde_json::{Map, Value, json};

use super::world::{ALICE, BOT, DORA, TEA, World, on_both_kinds_of_server};
use crate::support::{IrcdConfig, MatrixUser};

const MATRIX_BOT: &str = "@footbridge:hs.test";

on_both_kinds_of_server!(
    a_ban_on_irc_is_a_ban_in_the_room_until_it_is_lifted,
    a_ban_is_lifted_that_was_lifted_while_we_were_away,
    a_ban_of_everybody_shows_nobody_out,
    r47_who_is_not_let_in_is_muted_until_they_are,
    r49_who_is_on_a_list_has_no_puppet,
    r49_a_server_that_the_room_denies_has_no_puppets_there,
    a_ban_on_matrix_is_a_ban_on_irc_where_that_is_wanted,
    r47_who_can_not_be_heard_on_irc_is_shown_as_muted_while_that_lasts,
    r47_mutes_outlast_a_restart_and_end_with_their_cause,
    r47_who_is_not_logged_in_is_muted_where_only_accounts_are_heard,
    r47_a_bot_without_power_says_that_it_can_show_nobody_as_muted,
);

/// A server with all lists, and extended bans as on InspIRCd.
fn with_lists(mut ircd: IrcdConfig) -> IrcdConfig {
    ircd.isupport.extend(["CHANMODES=beq,k,l,imnpstM".to_owned(), "EXTBAN=,mR".to_owned()]);
    ircd
}

/// The bot may do in the room what moderation asks for.
async fn empower_bot(world: &World) {
    let levels = json!({ "users": { MATRIX_BOT: 100, "@mod:hs.test": 50 } });
    world.alice.set_state(&world.room, "m.room.power_levels", "", levels).await;
}

/// Somebody on Matrix, with their puppet in the channel.
async fn member(world: &World, name: &str) -> MatrixUser {
    let user = world.homeserver.user(name);
    user.join(&world.room).await;
    world.ircd.expect_on_channel(&format!("{name}[m]"), TEA).await;
    user
}

/// Which power people have by themselves, without what ranks on IRC give them, besides the bot and the moderator.
fn own_levels(content: &Value) -> Map<String, Value> {
    let mut users = content["users"].as_object().cloned().unwrap_or_default();
    for (user, given) in content["footbridge.given"].as_object().into_iter().flatten() {
        match given.get("before") {
            Some(before) => users.insert(user.clone(), before.clone()),
            None => users.remove(user),
        };
    }
    users.retain(|user, _| ![MATRIX_BOT, "@mod:hs.test"].contains(&user.as_str()));
    users
}

/// Waits until people have these power levels by themselves.
async fn expect_levels(world: &World, expected: Value) {
    let levels = |state: &crate::support::homeserver::State| {
        let levels = own_levels(state.rooms[&world.room].content("m.room.power_levels", "")?);
        (Value::from(levels) == expected).then_some(())
    };
    world.homeserver.wait_until(&format!("power levels {expected}"), levels).await;
}

/// Waits until somebody has this power level, whatever from.
async fn expect_level(world: &World, user: &MatrixUser, level: i64) {
    let has = |state: &crate::support::homeserver::State| {
        let levels = state.rooms[&world.room].content("m.room.power_levels", "")?;
        (levels["users"][user.id()] == level).then_some(())
    };
    world.homeserver.wait_until(&format!("{} has {level}", user.id()), has).await;
}

/// How often people had other power levels than before, by themselves.
fn levels_set(world: &World) -> usize {
    let events = world.homeserver.timeline(&world.room);
    let levels = events.iter().filter(|event| event.kind == "m.room.power_levels");
    let mut levels: Vec<_> = levels.map(|event| own_levels(&event.content)).collect();
    levels.dedup();
    levels.len()
}

async fn a_ban_on_irc_is_a_ban_in_the_room_until_it_is_lifted(ircd: IrcdConfig) {
    let world = World::new(with_lists(ircd)).await;
    empower_bot(&world).await;
    let (bob, carol) = (member(&world, "bob").await, member(&world, "carol").await);
    world.dora.raw(&format!("MODE {TEA} +e carol[m]!*@*")).await;
    world.dora.raw(&format!("MODE {TEA} +bb bob[m]!*@* carol[m]!*@*")).await;
    let banned = world.alice.expect_membership(&world.room, bob.id(), "ban").await;
    assert_eq!(banned.sender, MATRIX_BOT);
    assert_eq!(banned.content["reason"], "banned from #tea on IRC by dora (bob[m]!*@*)");
    world.ircd.expect_gone("bob[m]").await;
    carol.say(&world.room, "I am excepted").await;
    world.dora.expect_text(TEA, |from| from == "carol[m]", "I am excepted").await;
    world.dora.raw(&format!("MODE {TEA} -e carol[m]!*@*")).await;
    world.alice.expect_membership(&world.room, carol.id(), "ban").await;
    // A ban that somebody made here, even of the same person, is theirs.
    world.alice.unban(&world.room, carol.id()).await;
    world.alice.ban(&world.room, carol.id(), "mine").await;
    world.dora.raw(&format!("MODE {TEA} -bb bob[m]!*@* carol[m]!*@*")).await;
    let back = world.alice.expect_membership(&world.room, bob.id(), "leave").await;
    assert_eq!(back.sender, MATRIX_BOT);
    bob.join(&world.room).await;
    bob.say(&world.room, "here again").await;
    world.dora.expect_text(TEA, |from| from == "bob[m]", "here again").await;
    world.homeserver.expect_membership(&world.room, carol.id(), "ban").await;
}

async fn a_ban_is_lifted_that_was_lifted_while_we_were_away(ircd: IrcdConfig) {
    let mut world = World::new(with_lists(ircd)).await;
    empower_bot(&world).await;
    let (bob, carol) = (member(&world, "bob").await, member(&world, "carol").await);
    for (nick, user) in [("bob[m]", &bob), ("carol[m]", &carol)] {
        world.dora.raw(&format!("MODE {TEA} +b {nick}!*@*")).await;
        world.alice.expect_membership(&world.room, user.id(), "ban").await;
    }
    world.bridge.terminate().await;
    world.dora.raw(&format!("MODE {TEA} -b bob[m]!*@*")).await;
    world.dora.sync().await;
    world.bridge.restart().await;
    world.alice.expect_membership(&world.room, bob.id(), "leave").await;
    world.homeserver.expect_membership(&world.room, carol.id(), "ban").await;
    // What was banned while we were away is found too.
    bob.join(&world.room).await;
    world.ircd.expect_on_channel("bob[m]", TEA).await;
    world.bridge.terminate().await;
    world.dora.raw(&format!("MODE {TEA} -b+m carol[m]!*@*")).await;
    world.dora.sync().await;
    world.bridge.restart().await;
    world.alice.expect_membership(&world.room, carol.id(), "leave").await;
}

async fn a_ban_of_everybody_shows_nobody_out(ircd: IrcdConfig) {
    let world = World::new(with_lists(ircd)).await;
    empower_bot(&world).await;
    let (bob, carol) = (member(&world, "bob").await, member(&world, "carol").await);
    let both = json!({ bob.id(): -1, carol.id(): -1 });
    // Of all there are, and of all of the bridge.
    for mask in ["*!*@*", "*!*@client.fake.test"] {
        world.dora.raw(&format!("MODE {TEA} +b {mask}")).await;
        expect_levels(&world, both.clone()).await;
        let words = format!(
            "@bob:hs.test, @carol:hs.test can't be heard in #tea on IRC now (+b {mask} by dora), and can't write here until \
             that ends."
        );
        world.alice.expect_message(&world.room, |from| from == MATRIX_BOT, &words).await;
        world.dora.raw(&format!("MODE {TEA} -b {mask}")).await;
        expect_levels(&world, json!({})).await;
        assert_eq!(world.read(&words), 1);
    }
    for user in [&bob, &carol] {
        world.homeserver.expect_membership(&world.room, user.id(), "join").await;
    }
}

async fn a_ban_on_matrix_is_a_ban_on_irc_where_that_is_wanted(ircd: IrcdConfig) {
    let mut world = World::with(with_lists(ircd), |network| network.set("portals", "bans_to_irc", "true")).await;
    world.alice_speaks().await;
    let eve = world.ircd.client("eve").await;
    eve.join(TEA).await;
    let ghost = "@irc_net_eve:hs.test";
    world.alice.expect_membership(&world.room, ghost, "join").await;
    // By her own puppet, where it may.
    world.dora.raw(&format!("MODE {TEA} +o {ALICE}")).await;
    world.alice.ban(&world.room, ghost, "spam").await;
    let mode = |set: &'static str, mask: &'static str| {
        move |line: &crate::support::IrcLine| line.is("MODE") && line.param(1) == set && line.param(2) == mask
    };
    let banned = world.dora.expect("the ban", mode("+b", "*!~eve@client.fake.test")).await;
    assert_eq!(banned.nick(), ALICE);
    eve.expect("the kick", |line| line.is("KICK") && line.text() == "spam").await;
    // What was banned is remembered, and exactly that is lifted: by the bot, if that is the one that may.
    world.bridge.terminate().await;
    world.bridge.restart().await;
    world.ircd.expect_on_channel(ALICE, TEA).await;
    world.dora.raw(&format!("MODE {TEA} +o {BOT}")).await;
    world.dora.say(TEA, "the bot is an operator").await;
    world.alice.expect_message(&world.room, |from| from == DORA, "the bot is an operator").await;
    world.alice.unban(&world.room, ghost).await;
    let lifted = world.dora.expect("its end", mode("-b", "*!~eve@client.fake.test")).await;
    assert_eq!(lifted.nick(), BOT);
    // Of whom nothing is known but the nick.
    world.alice.ban(&world.room, "@irc_net_nobody:hs.test", "").await;
    world.dora.expect("the ban", mode("+b", "nobody!*@*")).await;
    // And where nobody of ours may, it is told.
    world.dora.raw(&format!("MODE {TEA} -o {BOT}")).await;
    world.dora.say(TEA, "nobody is").await;
    world.alice.expect_message(&world.room, |from| from == DORA, "nobody is").await;
    world.alice.unban(&world.room, "@irc_net_nobody:hs.test").await;
    let end = world.alice.expect_membership(&world.room, "@irc_net_nobody:hs.test", "leave").await;
    world.expect_told(&end.event_id).await;
}

async fn r49_who_is_on_a_list_has_no_puppet(ircd: IrcdConfig) {
    let stage = super::world::Stage::set(ircd).await;
    let list = stage.alice.create_room(json!({ "invite": [MATRIX_BOT] })).await;
    let rule = async |kind: &str, entity: &str, banned: bool| {
        let content = json!({ "entity": entity, "recommendation": "m.ban", "reason": "spam" });
        stage.alice.set_state(&list, kind, entity, if banned { content } else { json!({}) }).await;
    };
    rule("m.room.rule.user", "@old*:hs.test", true).await;
    let bridge = stage.bridge().network(stage.network());
    let bridge = bridge.extra(&format!("[moderation]\npolicy_rooms = [{list:?}]\n"));
    let bridge = bridge.start().await;
    stage.ircd.expect_on_channel(BOT, TEA).await;
    stage.homeserver.expect_membership(&list, MATRIX_BOT, "join").await;
    let (bob, old) = (stage.homeserver.user("bob"), stage.homeserver.user("old-enemy"));
    bob.join(&stage.room).await;
    stage.ircd.expect_on_channel("bob[m]", TEA).await;
    let told = async |user: &MatrixUser| {
        let said = user.say(&stage.room, "let me in").await;
        let told = super::world::expect_told(&stage.homeserver, &said).await;
        assert!(told.body().contains("on a list of who may not use the bridge"), "{}", told.body());
    };
    old.join(&stage.room).await;
    told(&old).await;
    // Whoever is listed is off IRC at once; whoever isn't any more may come again.
    rule("m.policy.rule.user", bob.id(), true).await;
    stage.ircd.expect_gone("bob[m]").await;
    told(&bob).await;
    rule("m.policy.rule.user", bob.id(), false).await;
    bob.say(&stage.room, "forgiven").await;
    stage.dora.expect_text(TEA, |from| from == "bob[m]", "forgiven").await;
    // After a restart nobody comes before the lists are read.
    rule("m.policy.rule.user", bob.id(), true).await;
    stage.ircd.expect_gone("bob[m]").await;
    let mut bridge = bridge;
    bridge.terminate().await;
    bridge.restart().await;
    stage.alice.say(&stage.room, "back").await;
    stage.dora.expect_text(TEA, |from| from == ALICE, "back").await;
    told(&bob).await;
    let members = stage.ircd.members(TEA);
    assert!(!members.iter().any(|nick| nick.contains("bob") || nick.contains("old")), "{members:?}");
    // A list of rooms closes a room to the bridge.
    rule("m.policy.rule.room", &stage.room, true).await;
    stage.ircd.expect_gone(ALICE).await;
    told(&stage.alice).await;
}

async fn r49_a_server_that_the_room_denies_has_no_puppets_there(ircd: IrcdConfig) {
    let world = World::new(ircd).await;
    let bob = member(&world, "bob").await;
    world.alice_speaks().await;
    let acl = |deny: Value| json!({ "allow": ["*"], "deny": deny, "allow_ip_literals": true });
    world.alice.set_state(&world.room, "m.room.server_acl", "", acl(json!(["HS.*"]))).await;
    world.ircd.expect_gone("bob[m]").await;
    world.ircd.expect_gone(ALICE).await;
    world.alice.set_state(&world.room, "m.room.server_acl", "", acl(json!([]))).await;
    bob.say(&world.room, "welcome again").await;
    world.dora.expect_text(TEA, |from| from == "bob[m]", "welcome again").await;
}

async fn r47_who_is_not_let_in_is_muted_until_they_are(ircd: IrcdConfig) {
    let mut world = World::new(with_lists(ircd)).await;
    empower_bot(&world).await;
    let carol = world.homeserver.user("carol");
    for (on, off, why) in [
        ("+b carol[m]!*@*", "-b carol[m]!*@*", "you are banned from the channel"),
        ("+b carol[m]!*@*", "+e carol[m]!*@*", "you are banned from the channel"),
        ("+i", "-i", "the channel is invite-only"),
    ] {
        world.dora.raw(&format!("MODE {TEA} {on}")).await;
        world.dora.sync().await;
        carol.join(&world.room).await;
        expect_levels(&world, json!({ carol.id(): -1 })).await;
        let start = format!("@carol:hs.test can't join {TEA} on IRC: {why}");
        let is_told = |events: &[std::sync::Arc<crate::support::Event>]| {
            events.iter().any(|event| event.body().starts_with(&start)).then_some(())
        };
        world.alice.wait_for(&world.room, &start, is_told).await;
        if on != "+i" {
            // Also after a restart. (From an invite-only channel the bot would stay away.)
            world.bridge.terminate().await;
            world.bridge.restart().await;
            world.ircd.expect_on_channel(BOT, TEA).await;
            expect_levels(&world, json!({ carol.id(): -1 })).await;
        }
        // As soon as she may, she is there, and can speak.
        world.dora.raw(&format!("MODE {TEA} {off}")).await;
        world.ircd.expect_on_channel("carol[m]", TEA).await;
        expect_levels(&world, json!({})).await;
        carol.say(&world.room, off).await;
        world.dora.expect_text(TEA, |from| from == "carol[m]", off).await;
        carol.leave(&world.room).await;
        world.ircd.expect_gone("carol[m]").await;
    }
}

async fn r47_who_can_not_be_heard_on_irc_is_shown_as_muted_while_that_lasts(ircd: IrcdConfig) {
    let world = World::new(with_lists(ircd)).await;
    empower_bot(&world).await;
    let (bob, carol, _mod) = (member(&world, "bob").await, member(&world, "carol").await, member(&world, "mod").await);
    world.alice_speaks().await;
    let before = levels_set(&world);
    world.dora.raw(&format!("MODE {TEA} +m")).await;
    expect_levels(&world, json!({ bob.id(): -1, carol.id(): -1 })).await;
    let words = "#tea is moderated on IRC now (+m by dora): only who has voice there is heard. Nobody else from Matrix can \
                 write here until that ends.";
    world.alice.expect_message(&world.room, |from| from == MATRIX_BOT, words).await;
    assert_eq!(levels_set(&world), before + 1, "all in one");
    let refused = bob
        .try_request(
            reqwest::Method::PUT,
            &format!("/_matrix/client/v3/rooms/{}/send/m.room.message/t1", world.room),
            json!({ "msgtype": "m.text", "body": "is anybody here?" }),
        )
        .await
        .unwrap_err();
    assert_eq!(refused.status, 403);
    // Who is given voice may speak on both sides.
    world.dora.raw(&format!("MODE {TEA} +v bob[m]")).await;
    expect_levels(&world, json!({ carol.id(): -1 })).await;
    bob.say(&world.room, "thanks").await;
    world.dora.expect_text(TEA, |from| from == "bob[m]", "thanks").await;
    // With the power of the rank, which goes with it, and comes back with it.
    for (rank, level) in [('v', 1), ('o', 50)] {
        world.dora.raw(&format!("MODE {TEA} +{rank} bob[m]")).await;
        expect_level(&world, &bob, level).await;
        expect_levels(&world, json!({ carol.id(): -1 })).await;
        world.dora.raw(&format!("MODE {TEA} -{rank} bob[m]")).await;
        expect_level(&world, &bob, -1).await;
        expect_levels(&world, json!({ bob.id(): -1, carol.id(): -1 })).await;
    }
    world.dora.raw(&format!("MODE {TEA} -m")).await;
    expect_levels(&world, json!({})).await;
    let words = "#tea on IRC hears everybody again (-m by dora).";
    world.alice.expect_message(&world.room, |from| from == MATRIX_BOT, words).await;
    // Single ones: by the list of quiets, by a ban that only mutes, by an account.
    for (entry, list) in [("bob[m]!*@*", 'q'), ("m:bob[m]!*@*", 'b')] {
        world.dora.raw(&format!("MODE {TEA} +{list} {entry}")).await;
        expect_levels(&world, json!({ bob.id(): -1 })).await;
        let words = format!(
            "@bob:hs.test can't be heard in #tea on IRC now (+{list} {entry} by dora), and can't write here until that ends."
        );
        world.alice.expect_message(&world.room, |from| from == MATRIX_BOT, &words).await;
        world.dora.raw(&format!("MODE {TEA} -{list} {entry}")).await;
        expect_levels(&world, json!({})).await;
    }
    carol.say(&world.room, "good").await;
    world.dora.expect_text(TEA, |from| from == "carol[m]", "good").await;
}

async fn r47_mutes_outlast_a_restart_and_end_with_their_cause(ircd: IrcdConfig) {
    let mut world = World::new(with_lists(ircd)).await;
    empower_bot(&world).await;
    let (bob, carol) = (member(&world, "bob").await, member(&world, "carol").await);
    world.dora.raw(&format!("MODE {TEA} +m")).await;
    world.dora.raw(&format!("MODE {TEA} +v carol[m]")).await;
    expect_levels(&world, json!({ bob.id(): -1 })).await;
    world.dora.raw(&format!("MODE {TEA} -v carol[m]")).await;
    let both = json!({ bob.id(): -1, carol.id(): -1 });
    expect_levels(&world, both.clone()).await;
    let set = levels_set(&world);
    world.bridge.terminate().await;
    world.bridge.restart().await;
    world.ircd.expect_on_channel("bob[m]", TEA).await;
    world.ircd.expect_on_channel("carol[m]", TEA).await;
    world.dora.raw(&format!("MODE {TEA} +v carol[m]")).await;
    expect_levels(&world, json!({ bob.id(): -1 })).await;
    assert_eq!(levels_set(&world), set + 1, "nothing flaps");
    world.dora.raw(&format!("MODE {TEA} -v carol[m]")).await;
    expect_levels(&world, both).await;
    // A level that somebody has set since is left alone.
    let levels = json!({ "users": { MATRIX_BOT: 100, bob.id(): 5, carol.id(): -1 } });
    world.alice.set_state(&world.room, "m.room.power_levels", "", levels).await;
    world.bridge.terminate().await;
    world.dora.raw(&format!("MODE {TEA} -m")).await;
    world.dora.sync().await;
    world.bridge.restart().await;
    expect_levels(&world, json!({ bob.id(): 5 })).await;
}

async fn r47_who_is_not_logged_in_is_muted_where_only_accounts_are_heard(mut ircd: IrcdConfig) {
    ircd = with_lists(ircd);
    if ircd.caps.is_empty() {
        ircd = ircd.with_caps(&["sasl"]);
    }
    ircd.accounts.push(("bobby".to_owned(), "secret".to_owned()));
    let stage = super::world::Stage::set(ircd).await;
    let account = "[[network.net.puppets.account]]\nuser = \"@bob:hs.test\"\nsasl_account = \"bobby\"\nsasl_password = \"secret\"\n";
    let bridge = stage.bridge().network(stage.network()).extra(account);
    let world = stage.start(bridge).await;
    empower_bot(&world).await;
    let (bob, carol) = (member(&world, "bob").await, member(&world, "carol").await);
    world.dora.raw(&format!("MODE {TEA} +M")).await;
    expect_levels(&world, json!({ carol.id(): -1 })).await;
    let words = "In #tea on IRC only who is logged in to an account is heard now (+M by dora). Nobody else from Matrix can \
                 write here until that ends.";
    world.alice.expect_message(&world.room, |from| from == MATRIX_BOT, words).await;
    bob.say(&world.room, "I am").await;
    world.dora.expect_text(TEA, |from| from == "bob[m]", "I am").await;
    world.dora.raw(&format!("MODE {TEA} -M+b m:R:bobby")).await;
    // The fake server doesn't know it, but the bridge does.
    expect_levels(&world, json!({ bob.id(): -1 })).await;
}

async fn r47_a_bot_without_power_says_that_it_can_show_nobody_as_muted(ircd: IrcdConfig) {
    let world = World::new(with_lists(ircd)).await;
    let bob = member(&world, "bob").await;
    world.dora.raw(&format!("MODE {TEA} +m")).await;
    let is_told = |events: &[std::sync::Arc<crate::support::Event>]| {
        let start = "The bridge's bot can't show here who is not heard on IRC (";
        events.iter().any(|event| event.sender == MATRIX_BOT && event.body().starts_with(start)).then_some(())
    };
    world.alice.wait_for(&world.room, "the bot's words", is_told).await;
    let lost = bob.say(&world.room, "hello?").await;
    let told = world.expect_told(&lost).await;
    assert!(told.body().contains("the channel doesn't let you speak"), "{}", told.body());
}
