//! Ranks on IRC are power on Matrix (R54, R57).

use serde_json::{Value, json};

use crate::town::{Bridged, Kind, TEA, Town, puppet};

on_both!(r54_ranks_are_power_in_the_room, r54_every_rank_of_the_server_is_known);

pub(crate) const KIND: &str = "m.room.power_levels";

impl Bridged {
    /// Waits until the room's levels name these users, and nobody else but its creator and the bot.
    pub(crate) async fn expect_levels(&self, expected: &[(&str, i64)]) {
        let (alice, bot) = (self.alice.id(), self.town.bot());
        self.alice
            .wait_for(&self.room, &format!("levels {expected:?}"), |events| {
                let levels = events.iter().rev().find(|event| event.kind == KIND)?;
                let users = levels.content["users"].as_object()?;
                let mut named: Vec<(&str, Option<i64>)> = users
                    .iter()
                    .filter(|(user, _)| **user != alice && **user != bot)
                    .map(|(user, level)| (user.as_str(), level.as_i64()))
                    .collect();
                named.sort_unstable();
                let mut wanted: Vec<_> = expected.iter().map(|(user, level)| (*user, Some(*level))).collect();
                wanted.sort_unstable();
                (named == wanted).then_some(())
            })
            .await;
    }
}

async fn r54_ranks_are_power_in_the_room(town: Town) {
    let bridged = town.bridged().await;
    let ghost = |nick: &str| bridged.town.ghost(nick);
    let dora = ghost("dora");
    bridged.expect_levels(&[(&dora, 50)]).await;
    let bob = bridged.newcomer("bob").await;
    let nick = puppet("bob");
    bridged.dora.raw(&format!("MODE {TEA} +ov {nick} {nick}")).await;
    bridged.expect_levels(&[(&dora, 50), (bob.id(), 50)]).await;
    bridged.dora.raw(&format!("MODE {TEA} -o {nick}")).await;
    bridged.expect_levels(&[(&dora, 50), (bob.id(), 1)]).await;
    let erin = bridged.town.in_channel("erin", TEA).await;
    bridged.dora.raw(&format!("MODE {TEA} +v erin")).await;
    let named = ghost("erin");
    bridged.expect_levels(&[(&dora, 50), (bob.id(), 1), (&named, 1)]).await;
    erin.raw("NICK rosa").await;
    let named = ghost("rosa");
    bridged.expect_levels(&[(&dora, 50), (bob.id(), 1), (&named, 1)]).await;
    erin.quit("good night").await;
    bob.leave(&bridged.room).await;
    bridged.expect_levels(&[(&dora, 50)]).await;
    // What an admin gives is theirs.
    let mut levels = bridged.alice.state(&bridged.room, KIND, "").await.expect("there are levels");
    levels["users"][&dora] = json!(77);
    bridged.alice.set_state(&bridged.room, KIND, "", levels).await;
    bridged.dora.raw(&format!("MODE {TEA} -o dora")).await;
    let rosa = bridged.town.in_channel("rosa", TEA).await;
    bridged.matrix_has_heard("no operator any more").await;
    rosa.say(TEA, "here again").await;
    bridged.expect_levels(&[(&dora, 77)]).await;
}

/// Halfops, and on InspIRCd founders and admins too.
async fn r54_every_rank_of_the_server_is_known(town: Town) {
    let kind = town.kind();
    let bridged = town.bridged().await;
    let (dora, erin) = (bridged.town.ghost("dora"), bridged.town.ghost("erin"));
    let _erin = bridged.town.in_channel("erin", TEA).await;
    bridged.expect_levels(&[(&dora, 50)]).await;
    let ranks: &[(&str, i64)] = match kind {
        Kind::InspIrcd => &[("h", 25), ("q", 50), ("a", 50)],
        Kind::NgIrcd => &[("h", 25)],
    };
    for (letter, level) in ranks {
        bridged.dora.raw(&format!("MODE {TEA} +{letter} erin")).await;
        bridged.expect_levels(&[(&dora, 50), (&erin, *level)]).await;
        bridged.dora.raw(&format!("MODE {TEA} -{letter} erin")).await;
        bridged.expect_levels(&[(&dora, 50)]).await;
    }
    let content = bridged.alice.state(&bridged.room, KIND, "").await.expect("there are levels");
    assert_eq!(content["footbridge.given"].as_object().map(serde_json::Map::len), Some(1), "{content}");
    assert_ne!(content["users"], Value::Null);
}
