//! The writer's manners, on a store that obeys the test; what a database makes of it is the contract suite's business.

use std::sync::Mutex;

use async_trait::async_trait;
use tokio::{sync::Semaphore, time::Instant};

use super::*;
use crate::{
    model::{Epoch, Millis, SystemClock},
    store::{Burst, JournalState, OpenLine, OpenTransaction, StoredBurst},
};

/// One open transaction of a thousand events; commits as many bursts as it has permits for.
struct Gate {
    permits: Semaphore,
    /// What commits say, where they don't succeed.
    error: Mutex<Option<StoreError>>,
    commits: Mutex<Vec<Instant>>,
    /// What tidying up says, where it doesn't succeed.
    tidy_error: Mutex<Option<StoreError>>,
    erased: Mutex<Vec<Vec<i64>>>,
    prunes: Mutex<u32>,
    sweeps: Mutex<u32>,
}

#[async_trait]
impl JournalStore for Gate {
    async fn state(&self) -> Result<JournalState, StoreError> {
        let thousand = OpenTransaction { txn: 1, events: 1000, sending: Bits::default(), settled: Bits::default() };
        let lines = (0..1000).map(|n| OpenLine { key: line(n), n: n.cast_signed() }).collect();
        Ok(JournalState { transactions: vec![thousand], lines })
    }

    async fn commit(&self, _: &Burst<'_>) -> Result<StoredBurst, StoreError> {
        self.permits.acquire().await.unwrap().forget();
        self.commits.lock().unwrap().push(Instant::now());
        self.error.lock().unwrap().clone().map_or(Ok(StoredBurst::default()), Err)
    }

    async fn unsettled_matrix(&self) -> Result<Vec<UnsettledMatrix>, StoreError> {
        Ok(vec![])
    }

    async fn unsettled_irc(&self) -> Result<Vec<UnsettledIrc>, StoreError> {
        Ok(vec![])
    }

    async fn erase(&self, transactions: &[i64]) -> Result<(), StoreError> {
        if !transactions.is_empty() {
            self.erased.lock().unwrap().push(transactions.to_vec());
        }
        self.tidy_error.lock().unwrap().clone().map_or(Ok(()), Err)
    }

    async fn prune(&self, _: Millis) -> Result<u64, StoreError> {
        *self.prunes.lock().unwrap() += 1;
        Ok(0)
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        *self.sweeps.lock().unwrap() += 1;
        Ok(())
    }
}

async fn start(permits: usize, error: Option<StoreError>) -> (Journal, JoinHandle<()>, Arc<Gate>) {
    let gate = Arc::new(Gate {
        permits: Semaphore::new(permits),
        error: Mutex::new(error),
        commits: Mutex::default(),
        tidy_error: Mutex::default(),
        erased: Mutex::default(),
        prunes: Mutex::default(),
        sweeps: Mutex::default(),
    });
    let (journal, task) = Journal::start(gate.clone(), Arc::new(SystemClock), Limits::default()).await.unwrap();
    (journal, task, gate)
}

#[expect(clippy::unnecessary_wraps, reason = "it is what a store in trouble answers")]
fn away() -> Option<StoreError> {
    Some(StoreError::Unavailable("it is away".to_owned()))
}

fn transaction() -> NewTransaction {
    NewTransaction { txn_id: "1".to_owned(), events: vec![] }
}

fn line(seq: u64) -> IrcKey {
    IrcKey { epoch: Epoch(1), seq }
}

fn key(index: u32) -> MatrixKey {
    MatrixKey { txn: 1, index }
}

#[tokio::test]
async fn what_comes_in_during_a_commit_is_committed_at_once() {
    let (journal, _task, gate) = start(0, None).await;
    let marks: Vec<_> = (0..1000)
        .map(|index| {
            let journal = journal.clone();
            tokio::spawn(async move {
                journal.mark_sending(&[key(index)]).await.unwrap();
                journal.settle_matrix(key(index)).await;
            })
        })
        .collect();
    // Each task has had its turn when the last one has; the first commit hangs meanwhile.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    gate.permits.add_permits(1000);
    for mark in marks {
        mark.await.unwrap();
    }
    journal.flush().await.unwrap();
    let commits = gate.commits.lock().unwrap().len();
    assert!(commits <= 4, "{commits} commits for 1000 marks and 1000 settlements");
}

#[tokio::test(start_paused = true)]
async fn settled_lines_are_gathered_and_recorded_soon_or_with_what_is_written_before() {
    let (journal, _task, gate) = start(usize::MAX >> 4, None).await;
    let begun = Instant::now();
    let commits = || std::mem::take(&mut *gate.commits.lock().unwrap());
    for n in 0..500 {
        journal.settle_irc(line(n));
        if n % 10 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let times: Vec<u128> = commits().iter().map(|at| (*at - begun).as_millis()).collect();
    assert_eq!(times, [20, 41, 62], "fifty milliseconds of lines, each within twenty");

    journal.settle_irc(line(500));
    journal.mark_sending(&[key(0)]).await.unwrap();
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(commits().len(), 1, "both in one");

    *gate.error.lock().unwrap() = away();
    journal.settle_irc(line(501));
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!((30..40).contains(&commits().len()), "it is tried again until it works");
    *gate.error.lock().unwrap() = None;
    journal.flush().await.unwrap();
    commits();
    journal.settle_irc(line(501));
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(commits().len(), 0, "it is known");
}

#[tokio::test(start_paused = true)]
async fn the_last_settled_lines_are_recorded_when_the_journal_ends() {
    let (journal, task, gate) = start(usize::MAX >> 4, None).await;
    journal.settle_irc(line(0));
    let begun = Instant::now();
    drop(journal);
    task.await.unwrap();
    assert_eq!((gate.commits.lock().unwrap().len(), begun.elapsed()), (1, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn an_acceptance_waits_five_seconds_for_a_database_that_hangs() {
    let (journal, _task, _gate) = start(0, None).await;
    let begun = Instant::now();
    let refused = journal.accept_transaction(transaction()).await;
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
    assert_eq!(refused, Err(AcceptError::Unavailable("the database did not answer within 5 s".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn marks_and_settlements_wait_for_as_long_as_it_takes_with_growing_pauses() {
    let (journal, _task, gate) = start(usize::MAX >> 4, away()).await;
    let begun = Instant::now();
    journal.settle_matrix(key(0)).await;
    let marking = tokio::spawn({
        let journal = journal.clone();
        async move { journal.mark_sending(&[key(1)]).await }
    });
    let refused = journal.accept_transaction(transaction()).await;
    assert_eq!(refused, Err(AcceptError::Unavailable("the database is unavailable: it is away".to_owned())));
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert!(!marking.is_finished());
    let tries = gate.commits.lock().unwrap().clone();
    assert!((300..310).contains(&tries.len()), "{} tries in ten minutes", tries.len());
    let pauses: Vec<u128> = tries.windows(2).take(7).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
    assert_eq!(pauses, [100, 200, 400, 800, 1600, 2000, 2000]);

    *gate.error.lock().unwrap() = None;
    assert_eq!(marking.await.unwrap(), Ok(()));
    assert!(begun.elapsed() < Duration::from_mins(10) + Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_idle_task_sleeps_in_an_outage_too() {
    let (journal, _task, gate) = start(usize::MAX >> 4, away()).await;
    journal.accept_transaction(transaction()).await.unwrap_err();
    let tries = gate.commits.lock().unwrap().len();
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(gate.commits.lock().unwrap().len(), tries, "nobody waits for anything");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_forgotten_in_the_first_hour() {
    let (_journal, _task, gate) = start(0, None).await;
    tokio::time::sleep(Duration::from_mins(59)).await;
    assert_eq!(*gate.prunes.lock().unwrap(), 0, "the homeserver may have had to wait for us for days");
    tokio::time::sleep(Duration::from_mins(11)).await;
    let prunes = *gate.prunes.lock().unwrap();
    assert!((10..=12).contains(&prunes), "{prunes} looks for old rows in ten minutes");
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_noticed_though_nobody_asks() {
    let (journal, task, gate) = start(usize::MAX >> 4, None).await;
    let outage = journal.outage();
    tokio::time::sleep(Duration::from_secs(1)).await;
    *gate.tidy_error.lock().unwrap() = away();
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(outage.borrow().is_some());
    *gate.tidy_error.lock().unwrap() = None;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(outage.borrow().is_none());
    *gate.tidy_error.lock().unwrap() = Some(StoreError::TakenOver);
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_was_replaced_ends_at_once() {
    let (journal, task, gate) = start(usize::MAX >> 4, Some(StoreError::TakenOver)).await;
    assert_eq!(journal.mark_sending(&[key(0)]).await, Err(JournalStopped), "nothing may go out");
    task.await.unwrap();
    assert_eq!(gate.commits.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_files_are_swept_within_a_minute_of_an_erasure_and_not_without_one() {
    let (journal, _task, gate) = start(usize::MAX >> 4, None).await;
    let sweeps = || *gate.sweeps.lock().unwrap();
    journal.mark_sending(&[key(0)]).await.unwrap();
    for index in 0..999 {
        journal.settle_matrix(key(index)).await;
    }
    journal.flush().await.unwrap();
    let erased = || gate.erased.lock().unwrap().clone();
    assert_eq!((erased().len(), sweeps()), (0, 0));
    tokio::time::sleep(Duration::from_mins(3)).await;
    assert_eq!((erased(), sweeps()), (vec![vec![1]], 1), "what is settled of a transaction, once");
    journal.settle_matrix(key(999)).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(sweeps(), 2, "and the rest as a whole");
    tokio::time::sleep(Duration::from_mins(3)).await;
    assert_eq!((erased().len(), sweeps()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn the_task_gives_up_some_time_after_the_last_handle_is_gone() {
    let (journal, task, _gate) = start(usize::MAX >> 4, away()).await;
    journal.settle_matrix(key(0)).await;
    let begun = Instant::now();
    drop(journal);
    task.await.unwrap();
    assert!(begun.elapsed() <= Duration::from_secs(8), "{:?}", begun.elapsed());
    assert!(begun.elapsed() >= Duration::from_secs(5), "it tried: {:?}", begun.elapsed());
}
