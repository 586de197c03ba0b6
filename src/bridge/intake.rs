//! Accept, then act: what comes from either side is on disk before the dispatcher sees it (R5, R8).

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::value::RawValue;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use super::{dispatch::Input, event::Event, ours::Ours, witnesses::Witnesses};
use crate::{
    irc::pool::{
        WriteAhead,
        protocol::{PoolEvent, PoolEventBody},
    },
    matrix::appservice::{SinkError, Transaction, TransactionSink},
    model::{Clock, MatrixKey},
    store::{AcceptError, Journal, NewIrcLine, NewMatrixEvent, NewTransaction},
};

/// Events from IRC handled at once at the most.
const BATCH: usize = 256;

/// Takes the homeserver's transactions.
pub(super) struct MatrixIntake {
    pub(super) ours: Arc<Ours>,
    pub(super) journal: Journal,
    /// Held from acceptance to hand-over, so that the dispatcher sees transactions in the order of the journal.
    pub(super) input: Arc<Mutex<mpsc::Sender<Input>>>,
}

#[async_trait]
impl TransactionSink for MatrixIntake {
    async fn accept(&self, mut transaction: Transaction) -> Result<(), SinkError> {
        let mut left_out = transaction.left_out;
        transaction.events.retain(|event| {
            let event = Event::read(&event.json);
            left_out += usize::from(event.is_none());
            event.is_some_and(|event| !self.ours.is_no_news(&event))
        });
        if left_out > 0 {
            tracing::warn!(count = left_out, "the homeserver sent what is no event; it is left out");
        }
        if transaction.events.is_empty() {
            return Ok(());
        }
        // A task of its own: the homeserver may hang up at any moment, which drops this future, and what is accepted
        // must be handed over all the same.
        let accepted = tokio::spawn(accept(self.journal.clone(), self.input.clone(), transaction)).await;
        accepted.unwrap_or_else(|_| Err(SinkError::Unavailable("the bridge is stopping".into())))
    }
}

async fn accept(
    journal: Journal,
    input: Arc<Mutex<mpsc::Sender<Input>>>,
    transaction: Transaction,
) -> Result<(), SinkError> {
    let input = input.lock().await;
    let events = transaction.events.into_iter();
    let events = events.map(|event| NewMatrixEvent { event_id: Some(event.event_id), json: event.json }).collect();
    let mut fresh = Vec::new();
    let taken = keep_events(&journal, &transaction.txn_id, events, &mut fresh).await;
    if !fresh.is_empty() {
        // If the dispatcher is gone we are stopping, and the next run finds it in the journal.
        let _ = input.send(Input::Matrix(fresh)).await;
    }
    taken.map_err(|error| match error {
        AcceptError::Full { .. } => SinkError::Full,
        error => SinkError::Unavailable(error.to_string()),
    })
}

/// Puts events into the journal; those that are fresh join `fresh`. One that the database refuses is left out.
pub(super) async fn keep_events(
    journal: &Journal,
    txn_id: &str,
    events: Vec<NewMatrixEvent>,
    fresh: &mut Vec<(MatrixKey, Box<RawValue>)>,
) -> Result<(), AcceptError> {
    let mut taken = take(journal, txn_id, events.clone(), fresh).await;
    if let Err(AcceptError::Refused(_)) = taken {
        taken = Ok(());
        // One by one, so that the others don't suffer; asked again, the homeserver would only send the same.
        for event in events {
            let event_id = event.event_id.clone();
            match take(journal, txn_id, vec![event], fresh).await {
                Err(AcceptError::Refused(problem)) => {
                    tracing::error!(problem, event.id = event_id, "the database won't take an event; it is left out");
                }
                // What was taken before it is known when the homeserver sends all of it again.
                Err(error) => {
                    taken = Err(error);
                    break;
                }
                Ok(()) => {}
            }
        }
    }
    taken
}

/// Puts events into the journal, as one transaction; those that are fresh join `fresh`.
async fn take(
    journal: &Journal,
    txn_id: &str,
    events: Vec<NewMatrixEvent>,
    fresh: &mut Vec<(MatrixKey, Box<RawValue>)>,
) -> Result<(), AcceptError> {
    let mut bodies: Vec<Option<Box<RawValue>>> = events.iter().map(|event| Some(event.json.clone())).collect();
    let accepted = journal.accept_transaction(NewTransaction { txn_id: txn_id.to_owned(), events }).await?;
    fresh.extend(accepted.fresh_keys().filter_map(|key| Some((key, bodies.get_mut(key.index as usize)?.take()?))));
    Ok(())
}

/// Takes the pool's events: what people said goes to the journal once, whoever of our links tells it, a burst in one
/// commit; then all go on in order.
///
/// The pool outlives its links, so the stream of events has no end of its own: once `quiet` says that all links are
/// gone, this hands over what they left and ends.
pub(super) async fn from_pool(
    mut events: mpsc::Receiver<PoolEvent>,
    journal: Journal,
    input: mpsc::Sender<Input>,
    clock: Arc<dyn Clock>,
    quiet: CancellationToken,
) {
    let mut witnesses = Witnesses::default();
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let count = tokio::select! {
            biased;
            count = events.recv_many(&mut batch, BATCH) => count,
            () = quiet.cancelled(), if !events.is_closed() => {
                events.close();
                continue;
            }
        };
        if count == 0 {
            return;
        }
        let now = clock.now();
        batch.retain(|event| witnesses.is_news(event, now));
        let said: Vec<NewIrcLine> = batch.iter().filter_map(line).collect();
        if !said.is_empty() {
            keep(&journal, &mut batch, said).await;
        }
        if input.send(Input::Irc(std::mem::replace(&mut batch, Vec::with_capacity(BATCH)))).await.is_err() {
            return;
        }
    }
}

/// The journal's form of an event, if it is something people said.
fn line(event: &PoolEvent) -> Option<NewIrcLine> {
    match &event.body {
        PoolEventBody::Irc(irc) if irc.is_content() => {
            Some(NewIrcLine { key: event.key, link: event.link.clone(), at: event.at, event: irc.clone() })
        }
        _ => None,
    }
}

/// Puts lines into the journal. Lines that it knows already, or that the database refuses, are taken out of the batch.
async fn keep(journal: &Journal, batch: &mut Vec<PoolEvent>, said: Vec<NewIrcLine>) {
    let fresh = if let Ok(fresh) = keep_all(journal, &said).await {
        fresh
    } else {
        // One by one, so that the others don't suffer.
        let mut fresh = Vec::with_capacity(said.len());
        for line in &said {
            let kept = keep_all(journal, std::slice::from_ref(line)).await;
            if let Err(Refused(problem)) = &kept {
                tracing::error!(problem, link.id = %line.link, "the database won't take a line from IRC; it is left out");
            }
            fresh.push(kept.is_ok_and(|fresh| fresh == [true]));
        }
        fresh
    };
    let known: std::collections::HashSet<_> =
        said.iter().zip(fresh).filter(|(_, fresh)| !fresh).map(|(line, _)| line.key).collect();
    if !known.is_empty() {
        batch.retain(|event| !known.contains(&event.key));
    }
}

/// The database won't take this data, ever; what it says.
struct Refused(String);

/// Puts lines into the journal, for as long as that takes: links wait with reading meanwhile. Says of each whether it is fresh.
async fn keep_all(journal: &Journal, lines: &[NewIrcLine]) -> Result<Vec<bool>, Refused> {
    let mut complained = false;
    loop {
        match journal.accept_irc(lines.to_vec()).await {
            Ok(fresh) => {
                if complained {
                    tracing::info!(lines = lines.len(), "lines from IRC are kept again");
                }
                return Ok(fresh);
            }
            Err(AcceptError::Refused(problem)) => return Err(Refused(problem)),
            Err(error) => {
                if !std::mem::replace(&mut complained, true) {
                    tracing::error!(%error, lines = lines.len(), "lines from IRC can't be kept for now; they wait, and so does IRC");
                }
                tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            }
        }
    }
}

/// Puts on disk what is about to go out on a socket.
pub struct JournalAhead(pub Journal);

#[async_trait]
impl WriteAhead for JournalAhead {
    async fn before_write(&self, keys: &[MatrixKey]) {
        let mut pause = std::time::Duration::from_millis(100);
        while let Err(error) = self.0.mark_sending(keys).await {
            tracing::warn!(%error, "can't write down what is about to be sent; it waits");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(std::time::Duration::from_secs(5));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, Ordering},
        time::Duration,
    };

    use super::*;
    use crate::{
        matrix::appservice::TransactionEvent,
        model::{
            CommandId, Epoch, Fate, IrcEvent, IrcKey, LinkId, Millis, NetworkId, Source, SystemClock, TextKind,
            TextTarget,
        },
        store::{
            self, Burst, JournalState, JournalStore, Limits, Store, StoreError, StoredBurst, UnsettledIrc,
            UnsettledMatrix,
        },
    };

    /// A database that refuses whatever speaks of poison, and is away for the next commit where it is told so.
    struct Picky {
        store: Arc<dyn Store>,
        away_once: AtomicBool,
    }

    #[async_trait]
    impl JournalStore for Picky {
        async fn state(&self) -> Result<JournalState, StoreError> {
            self.store.state().await
        }

        async fn commit(&self, burst: &Burst<'_>) -> Result<StoredBurst, StoreError> {
            let events = burst.transactions.iter().flat_map(|transaction| &transaction.events);
            let mut words = events.map(|event| event.json.get().to_owned());
            let mut lines = burst.lines.iter().map(|line| format!("{:?}", line.event));
            if words.any(|words| words.contains("poison")) || lines.any(|words| words.contains("poison")) {
                return Err(StoreError::Refused("poison".to_owned()));
            }
            if burst.lines.len() == 1 && self.away_once.swap(false, Ordering::Relaxed) {
                return Err(StoreError::Unavailable("away".to_owned()));
            }
            self.store.commit(burst).await
        }

        async fn unsettled_matrix(&self) -> Result<Vec<UnsettledMatrix>, StoreError> {
            self.store.unsettled_matrix().await
        }

        async fn unsettled_irc(&self) -> Result<Vec<UnsettledIrc>, StoreError> {
            self.store.unsettled_irc().await
        }

        async fn erase(&self, transactions: &[i64]) -> Result<(), StoreError> {
            self.store.erase(transactions).await
        }

        async fn prune(&self, before: Millis) -> Result<u64, StoreError> {
            self.store.prune(before).await
        }

        async fn sweep(&self) -> Result<(), StoreError> {
            self.store.sweep().await
        }
    }

    async fn journal() -> (Journal, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let store = store::open(&format!("sqlite://{}", folder.path().join("test.db").display())).await.unwrap();
        let picky = Picky { store, away_once: AtomicBool::new(true) };
        // Shorter than the journal's own first pause: it is the intake that has to wait.
        let limits = Limits { accept_wait: Duration::from_millis(50), ..Limits::default() };
        (Journal::start(Arc::new(picky), Arc::new(SystemClock), limits).await.unwrap().0, folder)
    }

    fn intake(journal: &Journal, input: mpsc::Sender<Input>) -> MatrixIntake {
        let ours = Ours::new(ruma::owned_user_id!("@footbridge:x"), Vec::new());
        MatrixIntake { ours: ours.into(), journal: journal.clone(), input: Arc::new(Mutex::new(input)) }
    }

    fn link() -> LinkId {
        LinkId::bot(NetworkId::try_from("net".to_owned()).unwrap())
    }

    #[tokio::test]
    async fn what_the_links_left_is_handed_over_and_then_the_intake_ends_though_the_pool_lives() {
        let (journal, _folder) = journal().await;
        let (pool, events) = mpsc::channel(4);
        let (input, mut inputs) = mpsc::channel(4);
        let last = PoolEvent {
            link: link(),
            key: IrcKey { epoch: Epoch(1), seq: 0 },
            at: 0,
            body: PoolEventBody::Fate { command: CommandId(1), fate: Fate::Delivered { msgid: None } },
        };
        pool.send(last.clone()).await.unwrap();
        let quiet = CancellationToken::new();
        quiet.cancel();
        let intake = from_pool(events, journal, input, Arc::new(SystemClock), quiet);
        tokio::time::timeout(Duration::from_secs(30), intake).await.expect("it ends");
        let handed_over = inputs.recv().await;
        assert!(matches!(handed_over, Some(Input::Irc(batch)) if batch == [last]));
    }

    /// Something that `sender` says.
    fn event(sender: &str, body: &str) -> TransactionEvent {
        let event_id = format!("${body}");
        let json = serde_json::json!({
            "type": "m.room.message", "event_id": event_id, "room_id": "!r:x", "sender": sender, "content": { "body": body },
        });
        TransactionEvent { event_id, json: serde_json::value::to_raw_value(&json).unwrap() }
    }

    fn transaction(txn_id: &str, events: Vec<TransactionEvent>) -> Transaction {
        Transaction { txn_id: txn_id.to_owned(), events, left_out: 0, ephemeral: Vec::new() }
    }

    #[tokio::test]
    async fn what_is_no_event_is_answered_and_forgotten() {
        let (journal, _folder) = journal().await;
        let (input, mut inputs) = mpsc::channel(4);
        let intake = intake(&journal, input);
        let none = |json: &str| TransactionEvent {
            event_id: "$1".to_owned(),
            json: RawValue::from_string(json.to_owned()).unwrap(),
        };
        let strange = || vec![none(r#"{"event_id":"$1"}"#), none(r#"{"event_id":"$1","type":7}"#)];
        intake.accept(transaction("1", strange())).await.expect("the homeserver must not send it for ever");
        assert!(inputs.try_recv().is_err() && journal.unsettled_matrix().await.unwrap().is_empty());
        let events = strange().into_iter().chain([event("@ann:x", "hello")]).collect();
        intake.accept(transaction("2", events)).await.unwrap();
        let Some(Input::Matrix(events)) = inputs.recv().await else { panic!("nothing was handed over") };
        assert!(events.len() == 1 && events[0].1.get().contains("hello"));
    }

    #[tokio::test]
    async fn of_a_transaction_only_the_event_is_left_out_that_the_database_refuses() {
        let (journal, _folder) = journal().await;
        let (input, mut inputs) = mpsc::channel(4);
        let intake = intake(&journal, input);
        let transaction = || transaction("1", ["first", "poison", "last"].map(|body| event("@ann:x", body)).into());
        intake.accept(transaction()).await.expect("the homeserver must not send it for ever");
        let Some(Input::Matrix(events)) = inputs.recv().await else { panic!("nothing was handed over") };
        assert_eq!(events.len(), 2);
        assert!(events[0].1.get().contains("first") && events[1].1.get().contains("last"));
        assert_eq!(journal.unsettled_matrix().await.unwrap().len(), 2);
        intake.accept(transaction()).await.expect("it is known");
        assert!(inputs.try_recv().is_err(), "nothing of it is fresh again");
    }

    #[tokio::test]
    async fn what_we_said_ourselves_is_taken_and_forgotten() {
        let (journal, _folder) = journal().await;
        let (input, mut inputs) = mpsc::channel(4);
        let intake = intake(&journal, input);
        let transaction = |txn_id: &str, senders: &[&str]| {
            transaction(txn_id, senders.iter().map(|sender| event(sender, "hello")).collect())
        };
        intake.accept(transaction("1", &["@footbridge:x"])).await.unwrap();
        assert!(inputs.try_recv().is_err() && journal.unsettled_matrix().await.unwrap().is_empty());
        intake.accept(transaction("2", &["@footbridge:x", "@ann:x"])).await.unwrap();
        let Some(Input::Matrix(events)) = inputs.recv().await else { panic!("nothing was handed over") };
        assert!(events.len() == 1 && events[0].1.get().contains("@ann:x"));
    }

    #[tokio::test]
    async fn of_a_burst_only_the_line_is_left_out_that_the_database_refuses() {
        let (journal, _folder) = journal().await;
        let mut batch: Vec<PoolEvent> = (0..)
            .zip(["first", "poison", "last"])
            .map(|(seq, text)| PoolEvent {
                link: link(),
                key: IrcKey { epoch: Epoch(1), seq },
                at: 0,
                body: PoolEventBody::Irc(IrcEvent::Text {
                    source: Source { nick: "dora".to_owned(), user: None, host: None },
                    target: TextTarget::Own,
                    kind: TextKind::Privmsg,
                    text: text.to_owned(),
                    msgid: None,
                    account: None,
                }),
            })
            .collect();
        let said: Vec<NewIrcLine> = batch.iter().filter_map(line).collect();
        keep(&journal, &mut batch, said).await;
        let kept: Vec<u64> = batch.iter().map(|event| event.key.seq).collect();
        assert_eq!(kept, [0, 2], "the database was away for a moment in between, which is no refusal");
    }
}
