//! Accept, mark, settle, recover, forget.

use std::{sync::Arc, time::Duration};

use footbridge::{
    model::{IrcEvent, LinkId, MatrixKey},
    store::{AcceptError, AcceptedTransaction, Limits, NewIrcLine, UnsettledMatrix},
};
use ruma::user_id;
use tokio::task::JoinSet;

use crate::{
    store::{Database, Engine, TestClock, TestJournal, body, contract, irc_key, key, line, transaction},
    support::wait::DEADLINE,
};

contract!(
    a_transaction_is_accepted_once,
    a_homeserver_may_count_anew,
    what_comes_again_just_as_it_is_settled_is_not_fresh,
    events_are_fresh_once_over_transactions_and_restarts,
    what_is_unsettled_comes_back_in_order_after_a_crash,
    bodies_are_erased_as_soon_as_all_is_settled,
    the_bodies_of_what_is_settled_do_not_wait_for_the_rest,
    settling_is_idempotent_and_strangers_are_passed_over,
    r104_ids_with_any_bytes_are_told_apart,
    a_hundred_tasks_mark_and_settle,
    concurrent_acceptances_of_one_transaction_yield_it_once,
    lines_are_fresh_once_over_restarts,
    lines_come_back_in_the_order_of_acceptance_over_links,
    bodies_of_lines_are_erased_when_settled,
    the_largest_numbers_of_epoch_and_line_survive,
    a_full_journal_says_so_and_empties,
    a_full_irc_journal_says_so_and_empties,
    old_rows_are_forgotten_and_young_ones_kept,
    what_was_taken_last_before_a_long_outage_is_known,
    pruning_goes_on_in_batches_until_nothing_old_is_left,
    a_large_burst_is_stored_whole,
);

const DAY: i64 = 24 * 60 * 60 * 1000;

fn names(unsettled: &[UnsettledMatrix]) -> Vec<(MatrixKey, bool)> {
    unsettled.iter().map(|event| (event.key, event.sending)).collect()
}

async fn a_transaction_is_accepted_once(database: Database) {
    let journal = database.journal().await;
    let first = journal.accept("1", &["$a", "$b"]).await;
    assert_eq!(first.fresh, [0, 1]);
    assert_eq!(first.fresh_keys().collect::<Vec<_>>(), [key(first.txn, 0), key(first.txn, 1)]);
    let again = AcceptedTransaction { txn: first.txn, fresh: vec![] };
    assert_eq!(journal.accept("1", &["$a", "$b"]).await, again);
    journal.stop().await;
    let journal = database.journal().await;
    assert_eq!(journal.accept("1", &["$a", "$b"]).await, again, "after a restart, while unsettled");
    journal.settle_matrix(key(first.txn, 0)).await;
    journal.settle_matrix(key(first.txn, 1)).await;
    journal.stop().await;
    let journal = database.journal().await;
    assert_eq!(journal.accept("1", &["$a", "$b"]).await, again, "after a restart, once settled");
    assert!(journal.accept("2", &[]).await.fresh.is_empty(), "nothing in it");
    assert_eq!(database.number("SELECT COUNT(*) FROM journal_transactions WHERE settled_at IS NULL").await, 0);
}

async fn a_homeserver_may_count_anew(database: Database) {
    let journal = database.journal().await;
    let first = journal.accept("1", &["$a", "$b"]).await;
    let other = journal.accept("1", &["$c"]).await;
    assert_eq!(other.fresh, [0], "the same number, other events");
    assert_ne!(other.txn, first.txn);
    assert_eq!(journal.accept("1", &["$b", "$d"]).await.fresh, [1], "an event is fresh once, whatever brings it");
    assert_eq!(journal.accept("1", &["$c"]).await, AcceptedTransaction { txn: other.txn, fresh: vec![] });
    for key in first.fresh_keys().chain(other.fresh_keys()) {
        journal.settle_matrix(key).await;
    }
    journal.stop().await;
    let journal = database.journal().await;
    for (events, accepted) in [(&["$a", "$b"][..], &first), (&["$c"], &other)] {
        let again = AcceptedTransaction { txn: accepted.txn, fresh: vec![] };
        assert_eq!(journal.accept("1", events).await, again, "{events:?}, after a restart");
    }
    assert_eq!(journal.accept("1", &["$e"]).await.fresh, [0]);
    // Ephemeral data has no id to be known by.
    assert_eq!(journal.accept("1", &["", "$f"]).await.fresh, [0, 1]);
    assert_eq!(journal.accept("1", &["", "$f"]).await.fresh, [0; 0]);
}

async fn what_comes_again_just_as_it_is_settled_is_not_fresh(database: Database) {
    let journal = database.journal().await;
    let said = line(1, 0, "hello");
    for n in 0..10 {
        let id = format!("{n}");
        let txn = journal.accept(&id, &[&format!("$a{n}")]).await.txn;
        // Both in one burst: nothing is awaited in between.
        journal.settle_matrix(key(txn, 0)).await;
        assert_eq!(journal.accept(&id, &[&format!("$a{n}")]).await, AcceptedTransaction { txn, fresh: vec![] });
    }
    assert_eq!(journal.accept_irc(vec![said.clone()]).await.unwrap(), [true]);
    journal.settle_irc(said.key);
    assert_eq!(journal.accept_irc(vec![said]).await.unwrap(), [false]);
}

async fn events_are_fresh_once_over_transactions_and_restarts(database: Database) {
    let journal = database.journal().await;
    assert_eq!(
        journal.accept("1", &["$a", "$b", "$a", "", ""]).await.fresh,
        [0, 1, 3, 4],
        "twice within; without an id"
    );
    assert_eq!(journal.accept("2", &["$b", "$c"]).await.fresh, [1], "seen in another transaction");
    journal.crash().await;
    let journal = database.journal().await;
    let third = journal.accept("3", &["$c", "$d"]).await;
    assert_eq!(third.fresh, [1]);
    assert_eq!(journal.accept("4", &["$a", "$b"]).await.fresh, [0; 0]);
    let unsettled = journal.unsettled_matrix().await.unwrap();
    assert_eq!(unsettled.len(), 4 + 1 + 1, "what isn't fresh counts as settled");
    assert_eq!(unsettled[5].key, key(third.txn, 1));
    let bodies = database.number("SELECT COUNT(*) FROM journal_bodies").await;
    assert_eq!(bodies, 3, "the fourth has nothing to say");
}

async fn what_is_unsettled_comes_back_in_order_after_a_crash(database: Database) {
    let clock = Arc::new(TestClock::default());
    clock.advance(5_000);
    let journal = TestJournal::start(database.open().await, Arc::clone(&clock), Limits::default()).await;
    let first = journal.accept("one", &["$a", "$b", "$c"]).await.txn;
    clock.advance(1);
    let second = journal.accept("two", &["$d"]).await.txn;
    assert!(first < second);
    journal.settle_matrix(key(first, 0)).await;
    journal.mark_sending(&[key(second, 0), key(first, 2)]).await.unwrap();
    journal.crash().await;

    let journal = database.journal().await;
    let unsettled = journal.unsettled_matrix().await.unwrap();
    assert_eq!(names(&unsettled), [(key(first, 1), false), (key(first, 2), true), (key(second, 0), true)]);
    let bodies: Vec<&str> = unsettled.iter().map(|event| event.json.get()).collect();
    assert_eq!(bodies, ["$b", "$c", "$d"].map(body).each_ref().map(|json| json.get()));
    let times: Vec<i64> = unsettled.iter().map(|event| event.accepted_at).collect();
    assert_eq!(times, [5_000, 5_000, 5_001]);

    journal.settle_matrix(key(first, 1)).await;
    journal.mark_sending(&[key(first, 1)]).await.unwrap();
    journal.crash().await;
    let unsettled = database.journal().await.unsettled_matrix().await.unwrap();
    assert_eq!(
        names(&unsettled),
        [(key(first, 2), true), (key(second, 0), true)],
        "marked and settled in a later life"
    );
}

async fn bodies_are_erased_as_soon_as_all_is_settled(database: Database) {
    let journal = database.journal().await;
    let txn = journal.accept("1", &["$a", "$b"]).await.txn;
    let bodies = format!("SELECT COUNT(*) FROM journal_bodies WHERE txn = {txn} AND events LIKE '%secret of $a%'");
    journal.settle_matrix(key(txn, 1)).await;
    journal.flush().await.unwrap();
    assert_eq!(database.number(&bodies).await, 1, "one event isn't settled");
    journal.settle_matrix(key(txn, 0)).await;
    journal.flush().await.unwrap();
    assert_eq!(database.number("SELECT COUNT(*) FROM journal_bodies").await, 0);
    assert_eq!(database.number("SELECT COUNT(*) FROM journal_transactions WHERE settled_at IS NOT NULL").await, 1);
}

async fn the_bodies_of_what_is_settled_do_not_wait_for_the_rest(database: Database) {
    let journal = database.journal().await;
    let before = journal.accept("0", &["$a"]).await.txn;
    let txn = journal.accept("1", &["$a", "$b", "$c", "$d"]).await.txn;
    journal.settle_matrix(key(txn, 2)).await;
    // The journal tidies up when it starts, and then each minute.
    journal.stop().await;
    let journal = database.journal().await;
    let erased = async {
        while database.number("SELECT COUNT(*) FROM journal_bodies WHERE events LIKE '%secret of $c%'").await > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, erased).await.expect("it isn't kept for the others' sake");
    let kept = |id| format!("SELECT COUNT(*) FROM journal_bodies WHERE txn = {txn} AND events LIKE '%secret of {id}%'");
    for (id, count) in [("$a", 0), ("$b", 1), ("$d", 1)] {
        assert_eq!(database.number(&kept(id)).await, count, "{id}");
    }
    journal.stop().await;
    let journal = database.journal().await;
    let unsettled = journal.unsettled_matrix().await.unwrap();
    assert_eq!(names(&unsettled), [(key(before, 0), false), (key(txn, 1), false), (key(txn, 3), false)]);
    assert_eq!(unsettled[2].json.get(), body("$d").get());
}

/// Every byte of the database's files.
fn files(folder: &std::path::Path) -> Vec<u8> {
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.flat_map(|file| std::fs::read(file).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_erased_is_in_no_file() {
    let database = Database::sqlite();
    let Engine::Sqlite(folder) = &database.engine else { unreachable!("it is SQLite") };
    let has = |words: &str| files(folder.path()).windows(words.len()).any(|bytes| bytes == words.as_bytes());
    let store = database.open().await;
    let journal = TestJournal::start(store.clone(), Arc::default(), Limits::default()).await;
    let txn = journal.accept("1", &["$a"]).await.txn;
    journal.accept_irc(vec![line(1, 0, "whispered on IRC")]).await.unwrap();
    journal.settle_matrix(key(txn, 0)).await;
    journal.settle_irc(irc_key(1, 0));
    journal.flush().await.unwrap();
    assert!(has("secret of $a") && has("whispered on IRC"), "they are in the log still");
    store.sweep().await.unwrap();
    assert!(!has("secret of $a") && !has("whispered on IRC"));
    // All goes on as before.
    assert_eq!(journal.accept("2", &["$b"]).await.fresh, [0]);
    assert!(has("secret of $b"));
}

async fn settling_is_idempotent_and_strangers_are_passed_over(database: Database) {
    let journal = database.journal().await;
    let txn = journal.accept("1", &["$a", "$b"]).await.txn;
    for _ in 0..3 {
        journal.settle_matrix(key(txn, 0)).await;
        journal.flush().await.unwrap();
    }
    for stranger in [key(txn, 2), key(txn, u32::MAX), key(txn + 1, 0), key(-1, 0)] {
        journal.settle_matrix(stranger).await;
        journal.mark_sending(&[stranger]).await.unwrap();
    }
    journal.settle_irc(irc_key(1, 1));
    journal.mark_sending(&[]).await.unwrap();
    journal.stop().await;
    let journal = database.journal().await;
    assert_eq!(names(&journal.unsettled_matrix().await.unwrap()), [(key(txn, 1), false)]);
}

async fn r104_ids_with_any_bytes_are_told_apart(database: Database) {
    let journal = database.journal().await;
    let long = "x".repeat(100_000);
    let longer = format!("{long}y");
    let ids = ["$a", "$a\0", "$\u{fffd}", "$a\r\n\u{1}'\"\\", &long, &longer];
    for id in ids {
        assert_eq!(journal.accept(id, &ids).await.fresh.len(), if id == "$a" { ids.len() } else { 0 });
    }
    journal.crash().await;
    let journal = database.journal().await;
    for id in ids {
        assert!(journal.accept(id, &ids).await.fresh.is_empty(), "{id:?} is known");
        assert!(journal.accept(&format!("again {id}"), &[id]).await.fresh.is_empty(), "{id:?} is known");
    }
    let unsettled = journal.unsettled_matrix().await.unwrap();
    let bodies: Vec<&str> = unsettled.iter().map(|event| event.json.get()).collect();
    assert_eq!(bodies, ids.map(body).each_ref().map(|json| json.get()), "bodies come back as they were");
}

async fn a_hundred_tasks_mark_and_settle(database: Database) {
    let journal = database.journal().await;
    let ids: Vec<String> = (0..100).map(|number| format!("${number}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let txn = journal.accept("1", &ids).await.txn;
    let mut tasks = JoinSet::new();
    for index in 0..100 {
        let journal = journal.journal.clone();
        tasks.spawn(async move {
            journal.mark_sending(&[key(txn, index)]).await.unwrap();
            if index % 2 == 0 {
                journal.settle_matrix(key(txn, index)).await;
            }
        });
    }
    tasks.join_all().await;
    journal.stop().await;
    let unsettled = database.journal().await.unsettled_matrix().await.unwrap();
    assert_eq!(names(&unsettled), (0..50).map(|half| (key(txn, 2 * half + 1), true)).collect::<Vec<_>>());
}

async fn concurrent_acceptances_of_one_transaction_yield_it_once(database: Database) {
    let journal = database.journal().await;
    let mut tasks = JoinSet::new();
    for number in 0..100 {
        let journal = journal.journal.clone();
        // Ten transactions, ten times each; events in common between neighbours.
        let ids = [number / 10, number / 10 + 1].map(|id| format!("${id}"));
        tasks.spawn(async move {
            let accepted =
                journal.accept_transaction(transaction(&(number / 10).to_string(), &[&ids[0], &ids[1]])).await;
            accepted.unwrap().fresh.len()
        });
    }
    let fresh: usize = tasks.join_all().await.iter().sum();
    assert_eq!(fresh, 11, "each event once");
    assert_eq!(journal.unsettled_matrix().await.unwrap().len(), 11);
}

async fn lines_are_fresh_once_over_restarts(database: Database) {
    let journal = database.journal().await;
    let lines = || vec![line(1, 0, "a"), line(1, 1, "b"), line(1, 0, "twice")];
    assert_eq!(journal.accept_irc(lines()).await, Ok(vec![true, true, false]));
    assert_eq!(journal.accept_irc(vec![]).await, Ok(vec![]));
    journal.settle_irc(irc_key(1, 0));
    journal.flush().await.unwrap();
    assert_eq!(journal.accept_irc(lines()).await, Ok(vec![false; 3]));
    journal.crash().await;
    let journal = database.journal().await;
    assert_eq!(journal.accept_irc(lines()).await, Ok(vec![false; 3]));
    assert_eq!(journal.accept_irc(vec![line(2, 0, "another life")]).await, Ok(vec![true]));
}

async fn lines_come_back_in_the_order_of_acceptance_over_links(database: Database) {
    let journal = database.journal().await;
    let weird = "\u{0}\u{1}\u{2}bold\u{f}🦀\u{fffd}\"\\";
    let user = user_id!("@alice:example.org").to_owned();
    let lines = [
        line(7, 0, weird),
        NewIrcLine { link: LinkId::puppet("oftc".parse().unwrap(), user), ..line(3, 9, "an older socket") },
        line(7, 1, "c"),
    ];
    for line in &lines {
        assert_eq!(journal.accept_irc(vec![line.clone()]).await, Ok(vec![true]));
    }
    assert_eq!(journal.accept_irc(vec![line(3, 10, "d"), line(7, 2, "e")]).await, Ok(vec![true, true]));
    journal.settle_irc(irc_key(7, 1));
    journal.stop().await;
    let unsettled = database.journal().await.unsettled_irc().await.unwrap();
    let keys: Vec<_> = unsettled.iter().map(|line| line.key).collect();
    assert_eq!(keys, [irc_key(7, 0), irc_key(3, 9), irc_key(3, 10), irc_key(7, 2)]);
    for (stored, accepted) in unsettled.iter().zip(&lines[..2]) {
        assert_eq!((&stored.link, stored.at, &stored.event), (&accepted.link, accepted.at, &accepted.event));
    }
    assert!(matches!(&unsettled[0].event, IrcEvent::Text { text, .. } if text == weird));
}

async fn bodies_of_lines_are_erased_when_settled(database: Database) {
    let journal = database.journal().await;
    journal.accept_irc(vec![line(1, 0, "a"), line(1, 1, "b")]).await.unwrap();
    for _ in 0..2 {
        journal.settle_irc(irc_key(1, 0));
        journal.flush().await.unwrap();
    }
    assert_eq!(database.number("SELECT COUNT(*) FROM journal_lines WHERE body IS NULL AND seq = 0").await, 1);
    assert_eq!(database.number("SELECT COUNT(*) FROM journal_lines WHERE body IS NOT NULL AND seq = 1").await, 1);
}

async fn the_largest_numbers_of_epoch_and_line_survive(database: Database) {
    let journal = database.journal().await;
    let lines = vec![line(u64::MAX, u64::MAX, "last"), line(1 << 63, 0, "after 2038"), line(0, 0, "first")];
    assert_eq!(journal.accept_irc(lines).await, Ok(vec![true; 3]));
    journal.settle_irc(irc_key(1 << 63, 0));
    journal.stop().await;
    let keys: Vec<_> =
        database.journal().await.unsettled_irc().await.unwrap().into_iter().map(|unsettled| unsettled.key).collect();
    assert_eq!(keys, [irc_key(u64::MAX, u64::MAX), irc_key(0, 0)]);
}

async fn a_full_journal_says_so_and_empties(database: Database) {
    let limits = Limits { matrix: 3, ..Limits::default() };
    let journal = TestJournal::start(database.open().await, Arc::default(), limits).await;
    let large = journal.accept("large", &["$1", "$2", "$3", "$4"]).await;
    assert_eq!(large.fresh.len(), 4, "into an empty journal anything may");
    let full = AcceptError::Full { unsettled: 4, limit: 3 };
    assert_eq!(journal.accept_transaction(transaction("more", &["$5"])).await, Err(full));
    for key in large.fresh_keys().take(2) {
        journal.settle_matrix(key).await;
    }
    let more = journal.accept("more", &["$5"]).await;
    assert_eq!(more.fresh, [0], "the refusal left no trace");
    let full = AcceptError::Full { unsettled: 3, limit: 3 };
    assert_eq!(journal.accept_transaction(transaction("too many", &["$6"])).await, Err(full.clone()));
    journal.stop().await;
    let journal = TestJournal::start(database.open().await, Arc::default(), limits).await;
    assert_eq!(journal.accept_transaction(transaction("too many", &["$6"])).await, Err(full), "after a restart");
}

async fn a_full_irc_journal_says_so_and_empties(database: Database) {
    let limits = Limits { irc: 2, ..Limits::default() };
    let journal = TestJournal::start(database.open().await, Arc::default(), limits).await;
    journal.accept_irc(vec![line(1, 0, "a"), line(1, 1, "b")]).await.unwrap();
    let full = AcceptError::Full { unsettled: 2, limit: 2 };
    assert_eq!(journal.accept_irc(vec![line(1, 2, "c")]).await, Err(full));
    journal.accept("1", &["$a"]).await;
    journal.settle_irc(irc_key(1, 0));
    assert_eq!(journal.accept_irc(vec![line(1, 2, "c")]).await, Ok(vec![true]));
}

async fn old_rows_are_forgotten_and_young_ones_kept(database: Database) {
    let clock = Arc::new(TestClock::default());
    let store = database.open().await;
    let limits = Limits { remember_at_start: Duration::ZERO, ..Limits::default() };
    let journal = TestJournal::start(store.clone(), Arc::clone(&clock), limits).await;
    let old = journal.accept("old", &["$old"]).await.txn;
    journal.accept("unsettled", &["$unsettled"]).await;
    journal.accept_irc(vec![line(1, 0, "old"), line(1, 1, "unsettled"), line(1, 2, "young")]).await.unwrap();
    journal.settle_matrix(key(old, 0)).await;
    journal.settle_irc(irc_key(1, 0));
    journal.flush().await.unwrap();
    clock.advance(DAY);
    let young = journal.accept("young", &["$young"]).await.txn;
    journal.settle_matrix(key(young, 0)).await;
    journal.settle_irc(irc_key(1, 2));
    journal.flush().await.unwrap();

    assert_eq!(store.prune(0).await, Ok(0), "nothing is older than its window");
    clock.advance(1);
    // The task looks when it starts.
    journal.stop().await;
    let journal = TestJournal::start(database.reopen(store).await, clock, limits).await;
    while database.number("SELECT COUNT(*) FROM journal_transactions").await > 2
        || database.number("SELECT COUNT(*) FROM journal_lines").await > 2
    {
        tokio::task::yield_now().await;
    }
    assert_eq!(database.number("SELECT COUNT(*) FROM journal_event_ids").await, 2);
    assert_eq!(journal.accept("young", &["$young"]).await.fresh, [0; 0]);
    assert_eq!(journal.accept("unsettled", &["$unsettled"]).await.fresh, [0; 0]);
    assert_eq!(journal.unsettled_matrix().await.unwrap().len(), 1);
    assert_eq!(journal.unsettled_irc().await.unwrap().len(), 1);
    let again = journal.accept("old", &["$old"]).await;
    assert_eq!(again.fresh, [0], "forgotten");
    assert!(again.txn > young, "numbers are never used twice");
}

async fn what_was_taken_last_before_a_long_outage_is_known(database: Database) {
    let clock = Arc::new(TestClock::default());
    let journal = TestJournal::start(database.open().await, Arc::clone(&clock), Limits::default()).await;
    let txn = journal.accept("last", &["$last"]).await.txn;
    journal.settle_matrix(key(txn, 0)).await;
    journal.stop().await;
    clock.advance(3 * DAY);
    let store = database.open().await;
    let journal = TestJournal::start(store.clone(), clock, Limits::default()).await;
    // Whatever the task does first, it has done before it answers this.
    journal.flush().await.unwrap();
    journal.accept("ahead", &["$ahead"]).await;
    assert_eq!(journal.accept("last", &["$last"]).await, AcceptedTransaction { txn, fresh: vec![] });
}

async fn pruning_goes_on_in_batches_until_nothing_old_is_left(database: Database) {
    let store = database.open().await;
    let journal = TestJournal::start(store.clone(), Arc::default(), Limits::default()).await;
    let mut tasks = JoinSet::new();
    for number in 0..250 {
        let journal = journal.journal.clone();
        tasks.spawn(async move {
            let accepted =
                journal.accept_transaction(transaction(&number.to_string(), &[&format!("${number}")])).await.unwrap();
            journal.settle_matrix(key(accepted.txn, 0)).await;
        });
    }
    tasks.join_all().await;
    journal.flush().await.unwrap();
    let mut batches = Vec::new();
    loop {
        match store.prune(1).await.unwrap() {
            0 => break,
            pruned => batches.push(pruned),
        }
    }
    assert!(batches.len() > 1, "{batches:?}");
    assert_eq!(batches.iter().sum::<u64>(), 250);
    assert_eq!(database.number("SELECT COUNT(*) FROM journal_event_ids").await, 0);
}

async fn a_large_burst_is_stored_whole(database: Database) {
    let journal = database.journal().await;
    let ids: Vec<String> = (0..333).map(|number| format!("${number}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let accepted = journal.accept("1", &ids).await;
    assert_eq!(accepted.fresh.len(), 333);
    let lines: Vec<_> = (0..333).map(|seq| line(1, seq, "text")).collect();
    assert_eq!(journal.accept_irc(lines.clone()).await, Ok(vec![true; 333]));
    assert_eq!(journal.accept_irc(lines).await, Ok(vec![false; 333]));
    for index in 0..332 {
        journal.settle_matrix(key(accepted.txn, index)).await;
        journal.settle_irc(irc_key(1, u64::from(index)));
    }
    journal.stop().await;
    let journal = database.journal().await;
    assert_eq!(names(&journal.unsettled_matrix().await.unwrap()), [(key(accepted.txn, 332), false)]);
    assert_eq!(journal.unsettled_irc().await.unwrap()[0].key, irc_key(1, 332));
}
