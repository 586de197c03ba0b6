//! Accept, then act: what comes from either side is on disk before the dispatcher sees it (R5, R8).

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::value::RawValue;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use super::dispatch::Input;
use crate::{
    irc::pool::{
        WriteAhead,
        protocol::{PoolEvent, PoolEventBody},
    },
    matrix::appservice::{SinkError, Transaction, TransactionSink},
    model::MatrixKey,
    store::{AcceptError, Journal, NewIrcLine, NewMatrixEvent, NewTransaction},
};

/// Events from IRC handled at once at the most.
const BATCH: usize = 256;

/// Takes the homeserver's transactions.
pub(super) struct MatrixIntake {
    pub(super) journal: Journal,
    /// Held from acceptance to hand-over, so that the dispatcher sees transactions in the order of the journal.
    pub(super) input: Arc<Mutex<mpsc::Sender<Input>>>,
}

#[async_trait]
impl TransactionSink for MatrixIntake {
    async fn accept(&self, transaction: Transaction) -> Result<(), SinkError> {
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
    let events: Vec<NewMatrixEvent> =
        events.map(|event| NewMatrixEvent { event_id: event.event_id, json: event.json }).collect();
    let bodies: Vec<Box<RawValue>> = events.iter().map(|event| event.json.clone()).collect();
    let new = NewTransaction { txn_id: transaction.txn_id, events };
    let accepted = journal.accept_transaction(new).await.map_err(|error| match error {
        AcceptError::Full { .. } => SinkError::Full,
        error => SinkError::Unavailable(error.to_string()),
    })?;
    let mut bodies: Vec<Option<Box<RawValue>>> = bodies.into_iter().map(Some).collect();
    let fresh = accepted.fresh_keys().filter_map(|key| Some((key, bodies.get_mut(key.index as usize)?.take()?)));
    let fresh: Vec<(MatrixKey, Box<RawValue>)> = fresh.collect();
    if !fresh.is_empty() {
        // If the dispatcher is gone we are stopping, and the next run finds it in the journal.
        let _ = input.send(Input::Matrix(fresh)).await;
    }
    Ok(())
}

/// Takes the pool's events: what people said goes to the journal, a burst in one commit; then all go on in order.
///
/// The pool outlives its links, so the stream of events has no end of its own: once `quiet` says that all links are
/// gone, this hands over what they left and ends.
pub(super) async fn from_pool(
    mut events: mpsc::Receiver<PoolEvent>,
    journal: Journal,
    input: mpsc::Sender<Input>,
    quiet: CancellationToken,
) {
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

/// Puts lines into the journal, for as long as that takes: links wait with reading meanwhile. Lines that the journal
/// knows already are taken out of the batch.
async fn keep(journal: &Journal, batch: &mut Vec<PoolEvent>, said: Vec<NewIrcLine>) {
    let mut complained = false;
    let fresh = loop {
        match journal.accept_irc(said.clone()).await {
            Ok(fresh) => break fresh,
            Err(AcceptError::Refused(_)) if said.len() > 1 => break one_by_one(journal, &said).await,
            Err(AcceptError::Refused(problem)) => {
                tracing::error!(problem, link.id = %said[0].link, "the database won't take a line from IRC; it is left out");
                break vec![false];
            }
            Err(error) => {
                if !std::mem::replace(&mut complained, true) {
                    tracing::error!(%error, lines = said.len(), "lines from IRC can't be kept for now; they wait, and so does IRC");
                }
                tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            }
        }
    };
    if complained {
        tracing::info!(lines = said.len(), "lines from IRC are kept again");
    }
    let known: std::collections::HashSet<_> =
        said.iter().zip(fresh).filter(|(_, fresh)| !fresh).map(|(line, _)| line.key).collect();
    if !known.is_empty() {
        batch.retain(|event| !known.contains(&event.key));
    }
}

/// After the database refused a burst: finds the line that it refuses, so that the others don't suffer.
async fn one_by_one(journal: &Journal, said: &[NewIrcLine]) -> Vec<bool> {
    let mut fresh = Vec::with_capacity(said.len());
    for line in said {
        let taken = journal.accept_irc(vec![line.clone()]).await;
        if let Err(problem) = &taken {
            tracing::error!(%problem, link.id = %line.link, "a line from IRC can't be kept; it is left out");
        }
        fresh.push(taken.is_ok_and(|fresh| fresh.first() == Some(&true)));
    }
    fresh
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
    use std::time::Duration;

    use super::*;
    use crate::{
        model::{CommandId, Epoch, Fate, IrcKey, LinkId, NetworkId, SystemClock},
        store::{self, Limits},
    };

    #[tokio::test]
    async fn what_the_links_left_is_handed_over_and_then_the_intake_ends_though_the_pool_lives() {
        let folder = tempfile::tempdir().unwrap();
        let store = store::open(&format!("sqlite://{}", folder.path().join("test.db").display())).await.unwrap();
        let (journal, _writer) = Journal::start(store, Arc::new(SystemClock), Limits::default()).await.unwrap();
        let (pool, events) = mpsc::channel(4);
        let (input, mut inputs) = mpsc::channel(4);
        let last = PoolEvent {
            link: LinkId::bot(NetworkId::try_from("net".to_owned()).unwrap()),
            key: IrcKey { epoch: Epoch(1), seq: 0 },
            at: 0,
            body: PoolEventBody::Fate { command: CommandId(1), fate: Fate::Delivered { msgid: None } },
        };
        pool.send(last.clone()).await.unwrap();
        let quiet = CancellationToken::new();
        quiet.cancel();
        let intake = from_pool(events, journal, input, quiet);
        tokio::time::timeout(Duration::from_secs(30), intake).await.expect("it ends");
        let handed_over = inputs.recv().await;
        assert!(matches!(handed_over, Some(Input::Irc(batch)) if batch == [last]));
    }
}
