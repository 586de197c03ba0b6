//! A lane's worker: does one thing after the other in its room, and waits for as long as the homeserver is away.

use std::sync::Arc;

use async_trait::async_trait;
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use tokio::{
    sync::{Mutex, OnceCell},
    time::Instant,
};

use super::{
    Destination, Job, Outbox, Receipt,
    entrance::{NoRoom, Voice, come_in, enter},
    mutes::{self, Mutes},
    queue::{Next, Queue, Wish},
};
use crate::{
    bridge::{
        delivery,
        dispatch::Input,
        ghosts::Ghost,
        keeper::{Fact, Stopped, until_answered},
    },
    matrix::{MatrixApi, MatrixError, Probe},
    model::{MatrixKey, Millis},
    store::{Sanction, SanctionKind},
    telemetry::metric,
    translate::{PowerLevels, matrix_to_irc},
};

/// Why a ghost leaves a room that isn't for two.
pub(super) const PRIVATE_ONLY: &str = "I talk in private only: invite me to a room for two";

pub(super) struct Worker {
    pub(super) out: Arc<Outbox>,
    pub(super) queue: Arc<Queue>,
    pub(super) room: OwnedRoomId,
    pub(super) voice: Voice,
    is_control: bool,
    /// Those whose power nobody changes, once known.
    pub(super) creators: OnceCell<Vec<OwnedUserId>>,
    /// The power levels as last seen, with what we have noted in them.
    pub(super) ours: Mutex<Option<PowerLevels>>,
}

/// Works until the lane is closed or the bridge stops. What is then undone stays in the journal.
pub(super) async fn run(out: Arc<Outbox>, queue: Arc<Queue>, destination: Destination) {
    let stop = out.stop.clone();
    let work = async {
        let is_control = matches!(destination, Destination::Control { .. } | Destination::NewControl(_));
        let entered = match enter(&out, &queue, destination).await {
            Ok((room, voice)) => {
                let (out, queue) = (out.clone(), queue.clone());
                Worker { out, queue, room, voice, is_control, creators: OnceCell::new(), ours: Mutex::default() }
                    .work()
                    .await
            }
            Err(no_room) => Err(no_room),
        };
        if let Err(NoRoom::Refused) = entered {
            refuse_all(&out, &queue, is_control).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
}

/// Without a room: everything that waits or comes is over.
async fn refuse_all(out: &Arc<Outbox>, queue: &Queue, is_control: bool) {
    loop {
        match queue.next(&out.budget).await {
            Next::Job(job) => {
                match job {
                    Job::Text { receipt, .. } => settle_text(out, &receipt).await,
                    Job::Failure { events, .. } if is_control => settle_failures(out, &events).await,
                    Job::Failure { sender, text, events } => {
                        drop(out.core.send(Input::Untold { sender, room: None, text, events }).await);
                    }
                    Job::Notice { .. }
                    | Job::Topic { .. }
                    | Job::Invite { .. }
                    | Job::Rename(_)
                    | Job::HandOver(_)
                    | Job::TurnDown(_)
                    | Job::Bar { .. }
                    | Job::Remove { .. }
                    | Job::Ban(_)
                    | Job::Unban(_)
                    | Job::Admit(_)
                    | Job::ShowOut { .. }
                    | Job::Secure => {}
                }
                queue.done();
            }
            Next::GiveUp(receipts) => give_up(out, &receipts, queue).await,
            Next::Wish(..) | Next::Powers { .. } | Next::Piece(..) | Next::Invited | Next::Mutes(_) => {}
            Next::End => return,
        }
    }
}

pub(super) async fn settle_text(out: &Outbox, receipt: &Receipt) {
    if receipt.tick() {
        out.journal.settle_irc(receipt.key);
    }
}

/// Texts that were taken out of the queue won't be shown.
async fn give_up(out: &Outbox, receipts: &[Receipt], queue: &Queue) {
    tracing::warn!(
        count = receipts.len(),
        "messages from IRC are given up: too many wait for the readers of a strict room"
    );
    for receipt in receipts {
        settle_text(out, receipt).await;
        queue.done();
    }
}

async fn settle_failures(out: &Outbox, events: &[(OwnedEventId, MatrixKey)]) {
    for (_, key) in events {
        out.journal.settle_matrix(*key).await;
    }
}

/// Says in the log what could not be done; true if it could.
pub(super) fn report(room: &RoomId, what: &str, result: &Result<(), MatrixError>) -> bool {
    if let Err(error) = result {
        tracing::warn!(portal.room = %room, %error, "could not {what}");
    }
    result.is_ok()
}

#[async_trait]
impl Probe for Worker {
    async fn works(&self) -> bool {
        self.out.takes_events(&self.room, self.voice.user()).await
    }
}

impl Worker {
    /// Asks for something of the room's until the homeserver answers, or fails over this very thing.
    pub(super) async fn ask<T, F, A>(&self, call: F) -> Result<T, MatrixError>
    where
        F: FnMut() -> A,
        A: Future<Output = Result<T, MatrixError>>,
    {
        self.out.persist_unless_faulty(self, call).await
    }

    /// Does one thing after the other, until the lane is closed.
    async fn work(mut self) -> Result<(), NoRoom> {
        loop {
            match self.queue.next(&self.out.budget).await {
                Next::Job(Job::HandOver(ghost)) => {
                    if let Some(voice) = self.hand_over(&ghost).await {
                        self.voice = voice;
                    }
                    self.queue.done();
                }
                Next::Job(job) => {
                    self.job(job).await;
                    self.queue.done();
                }
                // A homeserver that lets a join wait, or fails over it, holds up nothing that people say.
                Next::Wish(user, wish) => tokio::select! {
                    biased;
                    () = self.wish(&user, &wish) => {}
                    () = self.queue.job() => self.queue.interrupted(user, wish),
                },
                Next::GiveUp(receipts) => {
                    give_up(&self.out, &receipts, &self.queue).await;
                    let text = "More was said on IRC than can wait here: the oldest messages are not shown.";
                    // Once for all that is given up while it waits.
                    let told = self.send(&format!("fbg{}", self.room), &notice(text)).await;
                    report(&self.room, "say that messages are given up", &told);
                }
                Next::Powers { overdue: true, .. } => self.set_powers().await,
                Next::Powers { since, overdue: false } => tokio::select! {
                    biased;
                    () = self.set_powers() => {}
                    () = self.queue.job() => self.queue.powers_interrupted(since),
                },
                Next::Piece(piece, value) => self.see_to_piece(piece, value).await,
                Next::Mutes(mutes) => self.mute(&mutes).await,
                Next::Invited => come_in(&self.out, &self.queue, &self.room, &self.voice).await?,
                Next::End => return Ok(()),
            }
        }
    }

    async fn job(&self, job: Job) {
        match job {
            Job::Text { ghost, content, at, receipt, .. } => {
                let said = self.say_or_tell(&ghost, &content, at, &receipt).await;
                if matches!(said, Err(MatrixError::Stopped)) {
                    return;
                }
                metrics::counter!(
                    metric::BRIDGE_IRC_MESSAGES,
                    "network" => ghost.network.to_string(),
                    "outcome" => if said.is_ok() { "delivered" } else { "failed" },
                )
                .increment(1);
                report(&self.room, "bring a message from IRC into the room", &said);
                settle_text(&self.out, &receipt).await;
            }
            Job::Failure { sender, text, events } => {
                let content = delivery::notice(&sender, &text, &events);
                let txn = delivery::notice_txn(&events);
                match self.send(&txn, &content).await {
                    Err(MatrixError::Stopped) => {}
                    Ok(()) => settle_failures(&self.out, &events).await,
                    told if self.is_control => {
                        report(&self.room, "tell a user that a message failed", &told);
                        settle_failures(&self.out, &events).await;
                    }
                    // Not here: then in the user's own room with the bridge.
                    Err(_) => {
                        let room = Some(self.room.clone());
                        drop(self.out.core.send(Input::Untold { sender, room, text, events }).await);
                    }
                }
            }
            Job::Notice { text, txn } => {
                let told = self.send(&txn, &notice(&text)).await;
                report(&self.room, "say something in the room", &told);
            }
            Job::Topic { topic, by, topiclen } => {
                let out = &self.out;
                let now = || out.matrix.state(&self.room, "m.room.topic", "", None);
                let is_set = |now: Option<Box<RawValue>>| {
                    now.map_or(topic.is_empty(), |now| matrix_to_irc::is_topic(&now, &topic, topiclen))
                };
                // Where that can't be read, it is set.
                if self.ask(now).await.is_ok_and(is_set) {
                    return;
                }
                let content = to_raw(&serde_json::json!({ "topic": topic }));
                let set = |by| {
                    let content = &content;
                    async move { out.matrix.send_state(&self.room, "m.room.topic", "", content, by).await.map(drop) }
                };
                report(&self.room, "set the topic", &self.in_the_name_of(by.as_deref(), set).await);
            }
            Job::Invite { user, by } => {
                let invite = |by| self.out.matrix.invite(&self.room, &user, by);
                report(&self.room, "invite whom somebody on IRC has", &self.in_the_name_of(Some(&by), invite).await);
            }
            Job::Ban(sanction) => self.ban(sanction).await,
            Job::Unban(sanction) => self.unban(sanction).await,
            Job::Rename(ghost) => {
                let renamed = self.out.ghosts.ensure(&*self.out.noise, &ghost, Some(self)).await;
                report(&self.room, "rename a ghost", &renamed);
            }
            Job::HandOver(_) => unreachable!("it changes who speaks, and is done apart"),
            Job::TurnDown(ghost) => {
                let out = &self.out;
                let turned_down = async {
                    out.ghosts.ensure(&*out.noise, &ghost, Some(self)).await?;
                    let leave = || out.noise.leave(&self.room, Some(&ghost.user), Some(PRIVATE_ONLY));
                    self.ask(leave).await
                };
                report(&self.room, "turn down an invitation", &turned_down.await);
            }
            Job::Admit(user) => {
                let invited = self.ask(|| self.out.matrix.invite(&self.room, &user, None)).await;
                if !report(&self.room, "ask somebody in who is seen on IRC", &invited) {
                    self.queue.admitted(&user);
                }
            }
            Job::ShowOut { user, words, txn } => self.show_out(&user, &words, &txn).await,
            Job::Secure => self.make_secure().await,
            Job::Bar { user, reason } => {
                let kick = || self.out.matrix.kick(&self.room, &user, Some(reason), None);
                report(&self.room, "show out a user who may not be in the room", &self.ask(kick).await);
            }
            Job::Remove { user, by, words, at } => {
                let reason = format!("was {words} on IRC");
                let removed = self.kick(&*self.out.matrix, &user, &reason, by.as_deref()).await;
                report(&self.room, "remove a user who was kicked on IRC", &removed);
                if matches!(removed, Err(MatrixError::Forbidden { .. })) {
                    let text =
                        format!("On IRC {user} was {words}. The bridge's bot may not remove them from this room.");
                    let told = self.send(&format!("fbn{at}"), &notice(&text)).await;
                    report(&self.room, "say that a user was kicked on IRC", &told);
                }
            }
        }
    }

    /// Bans somebody, unless somebody else has.
    async fn ban(&self, sanction: Sanction) {
        let out = &self.out;
        if self.ban_of(&sanction.user).await.is_some() {
            return;
        }
        let Ok(()) = out.keeper.keep(Fact::Sanction(sanction.clone())).await else { return };
        let ban = || out.matrix.ban(&self.room, &sanction.user, Some(&sanction.detail), None);
        let banned = self.ask(ban).await;
        report(&self.room, "ban a user who was banned on IRC", &banned);
        if matches!(banned, Err(MatrixError::Forbidden { .. } | MatrixError::Rejected { .. })) {
            let text = format!(
                "On IRC {} was {}. The bridge's bot may not ban them from this room, but what they write here can't be seen \
                 there.",
                sanction.user, sanction.detail
            );
            let told = self.send(&format!("fbb{:032x}", rand::random::<u128>()), &notice(&text)).await;
            report(&self.room, "say that a user was banned on IRC", &told);
            out.keeper.note(Fact::SanctionIsOver(sanction));
        }
    }

    /// Lifts a ban, if it is ours.
    async fn unban(&self, sanction: Sanction) {
        let out = &self.out;
        if self.ban_of(&sanction.user).await.is_some_and(|reason| reason == sanction.detail) {
            let unban = || out.matrix.unban(&self.room, &sanction.user, Some("the ban on IRC was lifted"), None);
            let lifted = self.ask(unban).await;
            report(&self.room, "lift the ban of a user whose ban on IRC was lifted", &lifted);
            if matches!(lifted, Err(MatrixError::Stopped)) {
                return;
            }
        }
        out.keeper.note(Fact::SanctionIsOver(sanction));
    }

    /// Why somebody is banned from the room, if they are.
    async fn ban_of(&self, user: &UserId) -> Option<String> {
        #[derive(Deserialize)]
        struct Ban {
            membership: String,
            #[serde(default)]
            reason: String,
        }
        let state = || self.out.matrix.state(&self.room, "m.room.member", user.as_str(), None);
        let now = self.ask(state).await.ok().flatten()?;
        let ban: Ban = serde_json::from_str(now.get()).ok()?;
        (ban.membership == "ban").then_some(ban.reason)
    }

    /// Shows these as muted and no others.
    async fn mute(&self, wanted: &Mutes) {
        let out = &self.out;
        let creators = || self.ask(|| out.matrix.creators(&self.room, None));
        let now = async { Ok((self.levels().await?, self.creators.get_or_try_init(creators).await?)) }.await;
        let (levels, creators) = match now {
            Ok(now) => now,
            Err(error) => {
                report(&self.room, "read who may speak", &Err(error));
                return;
            }
        };
        let known = match until_answered("who is muted", || out.store.sanctions()).await {
            Ok(known) => known.into_iter().filter(|s| s.kind == SanctionKind::Mute && s.room == self.room).collect(),
            Err(error) => return tracing::error!(portal.room = %self.room, %error, "could not read who is muted"),
        };
        let change = mutes::change(&self.room, levels, creators, wanted, known);
        for sanction in &change.imposed {
            let Ok(()) = out.keeper.keep(Fact::Sanction(sanction.clone())).await else { return };
        }
        let mut over = change.lifted;
        if let Some(levels) = change.levels {
            let set = self.set_levels(&levels).await;
            report(&self.room, "show who is muted", &set);
            match set {
                // Who is heard again may have a rank.
                Ok(()) => self.queue.powers_interrupted(Instant::now()),
                Err(MatrixError::Stopped) => return,
                Err(error) => {
                    let text = format!(
                        "The bridge's bot can't show here who is not heard on IRC ({}): what they write is seen in this room \
                         only.",
                        error.words()
                    );
                    let told = self.send(&format!("fbq{}", self.room), &notice(&text)).await;
                    report(&self.room, "say that nobody can be muted", &told);
                    over = change.imposed;
                }
            }
        }
        for sanction in over {
            let Ok(()) = out.keeper.keep(Fact::SanctionIsOver(sanction)).await else { return };
        }
    }

    /// Lets another ghost speak in a query, as whom it is with is called otherwise now. Who speaks then, if it changes.
    async fn hand_over(&self, ghost: &Arc<Ghost>) -> Option<Voice> {
        let Voice::Ghost(before, user) = &self.voice else { return None };
        let come = || async {
            self.bring_in(&*self.out.matrix, ghost).await?;
            let moved = Fact::QueryMoved(self.room.clone(), ghost.nick.clone(), ghost.folded.clone());
            self.out.keeper.keep(moved).await.map_err(|Stopped| MatrixError::Stopped)
        };
        match self.out.as_ghost(ghost, come).await {
            Ok(()) => {}
            Err(MatrixError::Stopped) => return None,
            Err(error) => {
                report(&self.room, "bring a ghost into the query that is with it now", &Err(error));
                let (ghost, user) = (ghost.clone(), user.clone());
                let refused = Input::QueryRefused { ghost, user, room: Some(self.room.clone()) };
                drop(self.out.core.send(refused).await);
                return None;
            }
        }
        let reason = format!("is now {}", ghost.nick);
        let leave = || self.out.matrix.leave(&self.room, Some(&before.user), Some(&reason));
        report(&self.room, "let a ghost leave a query that is with another now", &self.ask(leave).await);
        self.queue.left(&before.user);
        Some(Voice::Ghost(ghost.clone(), user.clone()))
    }

    /// Doing it again after an interruption is harmless.
    async fn wish(&self, user: &OwnedUserId, wish: &Wish) {
        match wish {
            Wish::Arrive(ghost) => {
                let arrived = self.out.as_ghost(ghost, || self.bring_in(&*self.out.noise, ghost)).await;
                if matches!(arrived, Err(MatrixError::Forbidden { .. })) {
                    // What is forbidden isn't tried for ever.
                    self.queue.unwelcome(user);
                }
                report(&self.room, "bring a ghost into the room", &arrived);
            }
            Wish::Depart(reason) => {
                let leave = || self.out.noise.leave(&self.room, Some(user), reason.as_deref());
                let left = self.ask(leave).await;
                // Forbidden to leave, or gone with the room: it isn't in.
                if matches!(left, Ok(()) | Err(MatrixError::Forbidden { .. } | MatrixError::NotFound { .. })) {
                    self.queue.left(user);
                }
                report(&self.room, "let a ghost leave the room", &left);
            }
            Wish::Expelled { by, reason } => {
                let kicked = self.kick(&*self.out.noise, user, reason, Some(by)).await;
                match kicked {
                    Ok(()) => self.queue.left(user),
                    // Nobody of ours may show it out: it goes by itself.
                    Err(MatrixError::Forbidden { .. }) => {
                        Box::pin(self.wish(user, &Wish::Depart(Some(reason.clone())))).await;
                    }
                    Err(_) => {}
                }
            }
        }
    }

    /// Shows somebody out.
    async fn kick(
        &self,
        matrix: &dyn MatrixApi,
        user: &UserId,
        reason: &str,
        by: Option<&Ghost>,
    ) -> Result<(), MatrixError> {
        self.in_the_name_of(by, |by| matrix.kick(&self.room, user, Some(reason), by)).await
    }

    /// Does something in the name of who did so on IRC if that ghost is in the room and may, else in the bridge's.
    async fn in_the_name_of<'a, F, A>(&'a self, by: Option<&'a Ghost>, act: F) -> Result<(), MatrixError>
    where
        F: Fn(Option<&'a UserId>) -> A,
        A: Future<Output = Result<(), MatrixError>>,
    {
        if let Some(by) = by.filter(|by| self.queue.has_joined(&by.user)) {
            match self.ask(|| act(Some(&by.user))).await {
                Err(MatrixError::Forbidden { .. }) => {}
                answer => return answer,
            }
        }
        self.ask(|| act(None)).await
    }

    /// Sends what somebody said. What the room can't have, the room is told of.
    async fn say_or_tell(
        &self,
        ghost: &Arc<Ghost>,
        content: &RawValue,
        at: Millis,
        receipt: &Receipt,
    ) -> Result<(), MatrixError> {
        let Err(error) = self.say(ghost, content, at, receipt).await else { return Ok(()) };
        let (txn, text) = match &error {
            MatrixError::Stopped => return Err(error),
            // Nothing of theirs will come, so once is enough: the homeserver takes a transaction once.
            MatrixError::Forbidden { .. } => (
                format!("fbf{}", ghost.user.localpart()),
                format!("What {} says on IRC can't be shown here: {}.", ghost.nick, error.words()),
            ),
            _ => (
                format!("fbx{}", receipt.key),
                format!("A message of {} on IRC could not be shown here: {}.", ghost.nick, error.words()),
            ),
        };
        let told = self.send(&txn, &notice(&text)).await;
        report(&self.room, "say what can't be shown", &told);
        // Stopped before the room was told: the next run begins anew.
        Err(told.err().filter(|told| matches!(told, MatrixError::Stopped)).unwrap_or(error))
    }

    /// Sends what somebody said.
    async fn say(
        &self,
        ghost: &Arc<Ghost>,
        content: &RawValue,
        at: Millis,
        receipt: &Receipt,
    ) -> Result<(), MatrixError> {
        let txn = format!("fb{}", receipt.key);
        let send = || self.out.matrix.send(&self.room, "m.room.message", &txn, content, Some(&ghost.user), Some(at));
        if !self.queue.has_joined(&ghost.user) {
            self.out.budget.spend();
        }
        let say = || async {
            self.bring_in(&*self.out.matrix, ghost).await?;
            let said = self.ask(send).await;
            if matches!(said, Err(MatrixError::Forbidden { .. })) {
                // It may have been shown out.
                self.queue.left(&ghost.user);
            }
            said.map(drop)
        };
        self.out.as_ghost(ghost, say).await
    }

    /// Sees to it that the ghost exists, is called what it should be, and is in the room.
    async fn bring_in(&self, matrix: &dyn MatrixApi, ghost: &Arc<Ghost>) -> Result<(), MatrixError> {
        self.out.ghosts.ensure(matrix, ghost, Some(self)).await?;
        if self.queue.has_joined(&ghost.user) {
            return Ok(());
        }
        let join = || matrix.join((&*self.room).into(), Some(&ghost.user));
        let mut joined = self.ask(join).await;
        let host = self.voice.user();
        if matches!(joined, Err(MatrixError::Forbidden { .. })) && host != Some(&ghost.user) {
            let invite = || matrix.invite(&self.room, &ghost.user, host);
            self.ask(invite).await?;
            joined = self.ask(join).await;
        }
        joined?;
        self.queue.joined(ghost.user.clone());
        Ok(())
    }

    /// Sends a message in the bridge's own name.
    pub(super) async fn send(&self, txn: &str, content: &RawValue) -> Result<(), MatrixError> {
        let send = || self.out.matrix.send(&self.room, "m.room.message", txn, content, self.voice.user(), None);
        self.ask(send).await.map(drop)
    }
}

pub(super) fn notice(text: &str) -> Box<RawValue> {
    to_raw(&serde_json::json!({ "msgtype": "m.notice", "body": text, "m.mentions": {} }))
}

pub(super) fn to_raw(value: &serde_json::Value) -> Box<RawValue> {
    to_raw_value(value).expect("a JSON value has a JSON text")
}
