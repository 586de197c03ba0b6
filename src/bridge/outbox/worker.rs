//! A lane's worker: does one thing after the other in its room, and waits for as long as the homeserver is away.

use std::sync::Arc;

use async_trait::async_trait;
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomId};
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::OnceCell;

use super::{
    Destination, Job, Outbox, Receipt,
    entrance::{NoRoom, Voice, come_in, enter},
    queue::{Next, Queue, Wish},
};
use crate::{
    bridge::{delivery, dispatch::Input, ghosts::Ghost},
    matrix::{MatrixApi, MatrixError, Probe},
    model::{MatrixKey, Millis},
    telemetry::metric,
    translate::matrix_to_irc,
};

/// Why a ghost leaves a room that isn't for two.
pub(super) const PRIVATE_ONLY: &str = "I talk in private only: invite me to a room for two";

/// An event that clients don't show.
const PROBE: &str = "footbridge.probe";

pub(super) struct Worker {
    pub(super) out: Arc<Outbox>,
    pub(super) queue: Arc<Queue>,
    pub(super) room: OwnedRoomId,
    pub(super) voice: Voice,
    is_control: bool,
    /// Those whose power nobody changes, once known.
    pub(super) creators: OnceCell<Vec<OwnedUserId>>,
}

/// Works until the lane is closed or the bridge stops. What is then undone stays in the journal.
pub(super) async fn run(out: Arc<Outbox>, queue: Arc<Queue>, destination: Destination) {
    let stop = out.stop.clone();
    let work = async {
        let is_control = matches!(destination, Destination::Control { .. } | Destination::NewControl(_));
        let room = match &destination {
            Destination::Portal(room) | Destination::Leaving(room) => Some(room.clone()),
            _ => None,
        };
        let entered = match enter(&out, &queue, destination).await {
            Ok((room, voice)) => {
                let (out, queue) = (out.clone(), queue.clone());
                Worker { out, queue, room, voice, is_control, creators: OnceCell::new() }.work().await
            }
            Err(no_room) => Err(no_room),
        };
        if let Err(NoRoom::Refused) = entered {
            refuse_all(&out, &queue, is_control).await;
            // Where the bot isn't, there is nothing that it could leave.
            if queue.farewell().is_some()
                && let Some(room) = room
            {
                let _ = out.core.send(Input::RoomLeft(room)).await;
            }
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
        match queue.next().await {
            Next::Job(job) => {
                match job {
                    Job::Text { receipt, .. } => settle_text(out, &receipt).await,
                    Job::Failure { events, .. } if is_control => settle_failures(out, &events).await,
                    Job::Failure { sender, text, events } => {
                        drop(out.core.send(Input::Untold { sender, room: None, text, events }).await);
                    }
                    Job::Notice { .. } | Job::Topic { .. } | Job::Rename(_) | Job::TurnDown(_) | Job::Remove { .. } => {
                    }
                }
                queue.done();
            }
            Next::Wish(..) | Next::Powers | Next::Invited => {}
            Next::End => return,
        }
    }
}

pub(super) async fn settle_text(out: &Outbox, receipt: &Receipt) {
    if receipt.tick() {
        out.journal.settle_irc(receipt.key);
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

/// Whether the room takes an event now. Nothing less shows that the homeserver works: where its database is read-only, or
/// one of its processes is down, it may answer whatever asks for less.
#[async_trait]
impl Probe for Worker {
    async fn works(&self) -> bool {
        let (txn, content) = (format!("fbp{:032x}", rand::random::<u128>()), to_raw(&serde_json::json!({})));
        let sent = self.out.matrix.send(&self.room, PROBE, &txn, &content, self.voice.user(), None).await;
        // A refusal is an answer too: we may have no say in this room.
        !matches!(sent, Err(MatrixError::Unavailable { .. } | MatrixError::BadToken { .. }))
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
    async fn work(&self) -> Result<(), NoRoom> {
        loop {
            match self.queue.next().await {
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
                Next::Powers => tokio::select! {
                    biased;
                    () = self.set_powers() => {}
                    () = self.queue.job() => self.queue.powers_interrupted(),
                },
                Next::Invited => come_in(&self.out, &self.queue, &self.room, &self.voice).await?,
                Next::End => {
                    self.take_leave().await;
                    return Ok(());
                }
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
            Job::Topic { topic, topiclen } => {
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
                let set = || out.matrix.send_state(&self.room, "m.room.topic", "", &content, None);
                report(&self.room, "set the topic", &self.ask(set).await.map(drop));
            }
            Job::Rename(ghost) => {
                let renamed = self.out.ghosts.ensure(&*self.out.noise, &ghost, Some(self)).await;
                report(&self.room, "rename a ghost", &renamed);
            }
            Job::TurnDown(ghost) => {
                let out = &self.out;
                let turned_down = async {
                    out.ghosts.ensure(&*out.noise, &ghost, Some(self)).await?;
                    let leave = || out.noise.leave(&self.room, Some(&ghost.user), Some(PRIVATE_ONLY));
                    self.ask(leave).await
                };
                report(&self.room, "turn down an invitation", &turned_down.await);
            }
            Job::Remove { user, words, at } => {
                let out = &self.out;
                let reason = format!("was {words} on IRC");
                let kick = || out.matrix.kick(&self.room, &user, Some(&reason), None);
                let removed = self.ask(kick).await;
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

    /// Doing it again after an interruption is harmless.
    async fn wish(&self, user: &OwnedUserId, wish: &Wish) {
        match wish {
            Wish::Arrive(ghost) => {
                let arrived = self.out.as_ghost(ghost, || self.bring_in(&*self.out.noise, ghost)).await;
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
        }
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
        if matches!(joined, Err(MatrixError::Forbidden { .. })) && matches!(self.voice, Voice::Bot) {
            let invite = || matrix.invite(&self.room, &ghost.user, None);
            self.ask(invite).await?;
            joined = self.ask(join).await;
        }
        joined?;
        self.queue.joined(ghost.user.clone());
        Ok(())
    }

    /// Sends a message in the bridge's own name.
    async fn send(&self, txn: &str, content: &RawValue) -> Result<(), MatrixError> {
        let send = || self.out.matrix.send(&self.room, "m.room.message", txn, content, self.voice.user(), None);
        self.ask(send).await.map(drop)
    }
}

fn notice(text: &str) -> Box<RawValue> {
    to_raw(&serde_json::json!({ "msgtype": "m.notice", "body": text, "m.mentions": {} }))
}

fn to_raw(value: &serde_json::Value) -> Box<RawValue> {
    to_raw_value(value).expect("a JSON value has a JSON text")
}
