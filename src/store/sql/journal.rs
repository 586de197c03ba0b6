//! The journal's statements: a burst is one transaction, of one statement per table and hundred rows.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::engine::{CHUNK, Db, Row, Session};
use crate::{
    model::{Epoch, IrcKey, MatrixKey, Millis},
    store::{
        Bits, Burst, JournalState, NewIrcLine, NewTransaction, OpenLine, OpenTransaction, StoreError, StoredBurst,
        StoredLine, StoredTransaction, TransactionProgress, UnsettledIrc, UnsettledMatrix,
    },
};

/// Rows deleted at once: transactions (each with its event ids), and lines.
const PRUNE_TRANSACTIONS: i64 = 100;
const PRUNE_LINES: i64 = 2000;

pub(super) async fn commit(db: &Db, burst: &Burst<'_>) -> Result<StoredBurst, StoreError> {
    let mut tx = if is_one_statement(burst) { db.writer().await? } else { db.begin().await? };
    // Progress first: what is sent again just as it is settled must be found settled.
    write_progress(&mut tx, burst.now, &burst.progress).await?;
    settle_lines(&mut tx, burst.now, &burst.settled_lines).await?;
    let transactions = accept_transactions(&mut tx, burst.now, &burst.transactions).await?;
    let lines = accept_lines(&mut tx, &burst.lines).await?;
    tx.commit().await?;
    Ok(StoredBurst { transactions, lines })
}

/// Whether a burst is written by one statement. That is its own transaction: with few messages at a time, beginning and
/// committing one would be two thirds of what each waits for.
fn is_one_statement(burst: &Burst<'_>) -> bool {
    let many = usize::from(!burst.transactions.is_empty()) * 2 + burst.progress.iter().filter(|p| p.done).count();
    let rows = [burst.progress.len(), burst.settled_lines.len(), burst.lines.len()];
    many + rows.iter().map(|rows| rows.div_ceil(CHUNK)).sum::<usize>() == 1
}

async fn accept_transactions(
    tx: &mut Session,
    now: Millis,
    transactions: &[&NewTransaction],
) -> Result<Vec<StoredTransaction>, StoreError> {
    let ids: Vec<_> = transactions.iter().map(|transaction| identity(transaction)).collect();
    let mut seen = HashSet::new();
    let distinct: Vec<_> = ids.iter().zip(transactions).filter(|(id, _)| seen.insert(**id)).collect();

    let mut stored: HashMap<Identity, StoredTransaction> = HashMap::new();
    let mut new: Vec<(OpenTransaction, Identity, &NewTransaction)> = Vec::new();
    for chunk in distinct.chunks(CHUNK) {
        let inserted = insert_transactions(tx, now, chunk).await?;
        let mut before = Vec::new();
        for (id, transaction) in chunk {
            match inserted.get(*id) {
                Some(txn) => new.push((open_transaction(*txn, transaction)?, **id, *transaction)),
                None => before.push(id.as_slice()),
            }
        }
        stored.extend(select_transactions(tx, &before).await?);
    }

    let seen = seen_events(tx, &new).await?;
    let mut bodies = Vec::new();
    let mut progress = Vec::new();
    for ((mut open, id, transaction), settled) in new.into_iter().zip(seen) {
        let done = settled.missing(open.events).next().is_none();
        if !done {
            bodies.push((open.txn, body(transaction.events.iter().map(|event| event.json.get()))));
        }
        if done || settled != Bits::default() {
            open.settled = settled.clone();
            progress.push(TransactionProgress { txn: open.txn, sending: Bits::default(), settled, done });
        }
        stored.insert(id, StoredTransaction { open, done });
    }
    insert_bodies(tx, &bodies).await?;
    write_progress(tx, now, &progress).await?;

    let in_order: Option<_> = ids.iter().map(|id| stored.get(id).cloned()).collect();
    // Not inserted and not there: another process was faster and took it back. The next try will do.
    in_order.ok_or_else(|| StoreError::Unavailable("another program writes to the journal".to_owned()))
}

fn open_transaction(txn: i64, transaction: &NewTransaction) -> Result<OpenTransaction, StoreError> {
    let too_many = |_| StoreError::Refused("a transaction of more than four thousand million events".to_owned());
    let events = u32::try_from(transaction.events.len()).map_err(too_many)?;
    Ok(OpenTransaction { txn, events, sending: Bits::default(), settled: Bits::default() })
}

/// Inserts those that aren't there yet, in order; returns their numbers by id.
async fn insert_transactions(
    tx: &mut Session,
    now: Millis,
    chunk: &[(&Identity, &&NewTransaction)],
) -> Result<HashMap<Identity, i64>, StoreError> {
    let sql = tx.over_rows(
        "INSERT INTO journal_transactions (txn_id, accepted_at, events, sending, settled) VALUES",
        chunk.len(),
        5,
        "ON CONFLICT (txn_id) DO NOTHING RETURNING txn_id, seq",
    );
    let mut values = Vec::with_capacity(chunk.len() * 5);
    for (id, transaction) in chunk {
        let events = i64::from(open_transaction(0, transaction)?.events);
        values.extend([id.as_slice().into(), now.into(), events.into(), Vec::new().into(), Vec::new().into()]);
    }
    tx.rows(sql, values).await?.iter().map(|row| Ok((read_identity(row, 0)?, row.get(1)?))).collect()
}

async fn select_transactions(
    tx: &mut Session,
    ids: &[&[u8]],
) -> Result<Vec<(Identity, StoredTransaction)>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = tx.over_rows(
        "SELECT seq, events, sending, settled, txn_id, settled_at FROM journal_transactions WHERE txn_id IN (VALUES",
        ids.len(),
        1,
        ")",
    );
    let rows = tx.rows(sql, ids.iter().map(|id| (*id).into())).await?;
    rows.iter()
        .map(|row| {
            let settled_at: Option<Millis> = row.get(5)?;
            Ok((read_identity(row, 4)?, StoredTransaction { open: read_transaction(row)?, done: settled_at.is_some() }))
        })
        .collect()
}

/// A row that begins with number, count, and bitmaps.
fn read_transaction(row: &Row) -> Result<OpenTransaction, StoreError> {
    let txn = row.get(0)?;
    let events = u32::try_from(row.get::<i64>(1)?)
        .map_err(|error| StoreError::unreadable(format!("journal_transactions {txn}"), error))?;
    Ok(OpenTransaction { txn, events, sending: Bits::from_bytes(row.get(2)?), settled: Bits::from_bytes(row.get(3)?) })
}

/// Remembers the events' ids; returns, for each transaction, the events that had been seen before.
async fn seen_events(
    tx: &mut Session,
    new: &[(OpenTransaction, Identity, &NewTransaction)],
) -> Result<Vec<Bits>, StoreError> {
    let mut seen = vec![Bits::default(); new.len()];
    let mut places: HashMap<Cow<'_, [u8]>, (usize, u32)> = HashMap::new();
    let mut ids = Vec::new();
    for (position, (open, _, transaction)) in new.iter().enumerate() {
        for (index, event) in (0..).zip(&transaction.events) {
            let Some(event_id) = &event.event_id else { continue };
            let id = stored_id(event_id);
            if places.contains_key(&id) {
                seen[position].insert(index);
            } else {
                places.insert(id.clone(), (position, index));
                ids.push((id, open.txn));
            }
        }
    }
    for chunk in ids.chunks(CHUNK) {
        let sql = tx.over_rows(
            "INSERT INTO journal_event_ids (event_id, txn) VALUES",
            chunk.len(),
            2,
            "ON CONFLICT (event_id) DO NOTHING RETURNING event_id",
        );
        let rows = tx.rows(sql, chunk.iter().flat_map(|(id, txn)| [id.as_ref().into(), (*txn).into()])).await?;
        if rows.len() == chunk.len() {
            continue;
        }
        let inserted = rows.iter().map(|row| row.get(0)).collect::<Result<HashSet<Vec<u8>>, _>>()?;
        for (id, _) in chunk.iter().filter(|(id, _)| !inserted.contains(id.as_ref())) {
            let (position, index) = places[id];
            seen[position].insert(index);
        }
    }
    Ok(seen)
}

/// What a transaction is known by, in the column `txn_id`.
type Identity = [u8; 32];

/// A digest of the transaction's id and of what is in it: a homeserver that restarts may count from 1 again (Synapse on
/// SQLite does), and then gives new events under an id that was used before. Of an event only its id counts, since the
/// rest may change from one try to the next (`unsigned.age`); what has no id counts as it is.
fn identity(transaction: &NewTransaction) -> Identity {
    let mut digest = Sha256::new();
    let mut add = |kind: u8, text: &str| {
        // With the length in front no two lists run together into the same bytes.
        digest.update([kind]);
        digest.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        digest.update(text);
    };
    add(0, &transaction.txn_id);
    for event in &transaction.events {
        match &event.event_id {
            Some(id) => add(1, id),
            None => add(2, event.json.get()),
        }
    }
    digest.finalize().into()
}

fn read_identity(row: &Row, column: usize) -> Result<Identity, StoreError> {
    let bytes: Vec<u8> = row.get(column)?;
    bytes.try_into().map_err(|_| StoreError::unreadable("journal_transactions.txn_id", "it is no digest"))
}

/// An event's id as it is stored: its bytes, since PostgreSQL has no NUL in texts, and a digest in place of what is longer than
/// ids may be, since indexes don't take everything. 0xFF is never in UTF-8, so no id looks like a digest.
fn stored_id(id: &str) -> Cow<'_, [u8]> {
    const LONGEST: usize = 255;
    if id.len() <= LONGEST {
        return Cow::Borrowed(id.as_bytes());
    }
    Cow::Owned([[0xff].as_slice(), Sha256::digest(id).as_slice()].concat())
}

/// The JSON array of a transaction's events.
fn body<'a>(events: impl Iterator<Item = &'a str> + Clone) -> String {
    let length: usize = events.clone().map(|event| event.len() + 1).sum();
    let mut body = String::with_capacity(length + 2);
    for event in events {
        body.push(if body.is_empty() { '[' } else { ',' });
        body.push_str(event);
    }
    body.push(']');
    body
}

async fn insert_bodies(tx: &mut Session, bodies: &[(i64, String)]) -> Result<(), StoreError> {
    for chunk in bodies.chunks(CHUNK) {
        let sql = tx.over_rows("INSERT INTO journal_bodies (txn, events) VALUES", chunk.len(), 2, "");
        tx.execute(sql, chunk.iter().flat_map(|(txn, body)| [(*txn).into(), body.as_str().into()])).await?;
    }
    Ok(())
}

async fn write_progress(tx: &mut Session, now: Millis, progress: &[TransactionProgress]) -> Result<(), StoreError> {
    for chunk in progress.chunks(CHUNK) {
        let sql = tx.over_rows(
            "UPDATE journal_transactions SET sending = v.column2, settled = v.column3, settled_at = v.column4 FROM (VALUES",
            chunk.len(),
            4,
            ") AS v WHERE journal_transactions.seq = v.column1",
        );
        let values = chunk.iter().flat_map(|progress| {
            [
                progress.txn.into(),
                progress.sending.as_bytes().into(),
                progress.settled.as_bytes().into(),
                progress.done.then_some(now).into(),
            ]
        });
        tx.execute(sql, values).await?;
    }
    let done: Vec<i64> = progress.iter().filter(|progress| progress.done).map(|progress| progress.txn).collect();
    over_numbers(tx, "DELETE FROM journal_bodies WHERE txn IN (VALUES", &done).await
}

async fn accept_lines(tx: &mut Session, lines: &[&NewIrcLine]) -> Result<Vec<StoredLine>, StoreError> {
    let mut stored: HashMap<IrcKey, StoredLine> = HashMap::with_capacity(lines.len());
    let mut missing = HashSet::new();
    for chunk in lines.chunks(CHUNK) {
        let sql = tx.over_rows(
            "INSERT INTO journal_lines (epoch, seq, link, happened_at, body) VALUES",
            chunk.len(),
            5,
            "ON CONFLICT (epoch, seq) DO NOTHING RETURNING epoch, seq, n",
        );
        let mut values = Vec::with_capacity(chunk.len() * 5);
        for line in chunk {
            let [epoch, seq] = key_numbers(line.key);
            values.extend([
                epoch.into(),
                seq.into(),
                json(&line.link)?.into(),
                line.at.into(),
                json(&line.event)?.into(),
            ]);
        }
        for row in tx.rows(sql, values).await? {
            stored.insert(read_key(&row)?, StoredLine { n: row.get(2)?, settled: false });
        }
        missing.extend(chunk.iter().map(|line| line.key).filter(|key| !stored.contains_key(key)));
    }
    let missing: Vec<IrcKey> = missing.into_iter().collect();
    for chunk in missing.chunks(CHUNK) {
        let sql = tx.over_rows(
            "SELECT epoch, seq, n, settled_at FROM journal_lines WHERE (epoch, seq) IN (VALUES",
            chunk.len(),
            2,
            ")",
        );
        for row in tx.rows(sql, chunk.iter().flat_map(|key| key_numbers(*key).map(Into::into))).await? {
            let settled_at: Option<Millis> = row.get(3)?;
            stored.insert(read_key(&row)?, StoredLine { n: row.get(2)?, settled: settled_at.is_some() });
        }
    }
    let in_order: Option<_> = lines.iter().map(|line| stored.get(&line.key).copied()).collect();
    in_order.ok_or_else(|| StoreError::Unavailable("another program writes to the journal".to_owned()))
}

async fn settle_lines(tx: &mut Session, now: Millis, lines: &[i64]) -> Result<(), StoreError> {
    for chunk in lines.chunks(CHUNK) {
        let sql = tx.over_rows(
            "UPDATE journal_lines SET body = NULL, settled_at = v.column2 FROM (VALUES",
            chunk.len(),
            2,
            ") AS v WHERE journal_lines.n = v.column1",
        );
        tx.execute(sql, chunk.iter().flat_map(|n| [(*n).into(), now.into()])).await?;
    }
    Ok(())
}

/// Runs a statement that ends in a list of numbers.
async fn over_numbers(tx: &mut Session, statement: &str, numbers: &[i64]) -> Result<(), StoreError> {
    for chunk in numbers.chunks(CHUNK) {
        let sql = tx.over_rows(statement, chunk.len(), 1, ")");
        tx.execute(sql, chunk.iter().map(|number| (*number).into())).await?;
    }
    Ok(())
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Refused(error.to_string()))
}

/// SQL knows signed numbers only.
fn key_numbers(key: IrcKey) -> [i64; 2] {
    [key.epoch.0.cast_signed(), key.seq.cast_signed()]
}

/// The key of a row that begins with one.
fn read_key(row: &Row) -> Result<IrcKey, StoreError> {
    let [epoch, seq]: [i64; 2] = [row.get(0)?, row.get(1)?];
    Ok(IrcKey { epoch: Epoch(epoch.cast_unsigned()), seq: seq.cast_unsigned() })
}

pub(super) async fn state(db: &Db) -> Result<JournalState, StoreError> {
    let transactions =
        db.rows("SELECT seq, events, sending, settled FROM journal_transactions WHERE settled_at IS NULL", []).await?;
    let lines = db.rows("SELECT epoch, seq, n FROM journal_lines WHERE settled_at IS NULL", []).await?;
    Ok(JournalState {
        transactions: transactions.iter().map(read_transaction).collect::<Result<_, _>>()?,
        lines: lines
            .iter()
            .map(|row| Ok(OpenLine { key: read_key(row)?, n: row.get(2)? }))
            .collect::<Result<_, StoreError>>()?,
    })
}

pub(super) async fn unsettled_matrix(db: &Db) -> Result<Vec<UnsettledMatrix>, StoreError> {
    let rows = db
        .rows(
            "SELECT t.seq, t.events, t.sending, t.settled, t.accepted_at, b.events
             FROM journal_transactions t JOIN journal_bodies b ON b.txn = t.seq
             WHERE t.settled_at IS NULL ORDER BY t.seq",
            [],
        )
        .await?;
    let mut unsettled = Vec::new();
    for row in rows {
        let open = read_transaction(&row)?;
        let accepted_at = row.get(4)?;
        let bodies: Vec<Box<RawValue>> = serde_json::from_str(&row.get::<String>(5)?)
            .map_err(|error| StoreError::unreadable(format!("journal_bodies {}", open.txn), error))?;
        for (index, json) in (0..open.events).zip(bodies).filter(|(index, _)| !open.settled.contains(*index)) {
            let key = MatrixKey { txn: open.txn, index };
            unsettled.push(UnsettledMatrix { key, sending: open.sending.contains(index), json, accepted_at });
        }
    }
    Ok(unsettled)
}

pub(super) async fn unsettled_irc(db: &Db) -> Result<Vec<UnsettledIrc>, StoreError> {
    let rows = db
        .rows(
            "SELECT epoch, seq, link, happened_at, body FROM journal_lines
             WHERE settled_at IS NULL AND body IS NOT NULL ORDER BY n",
            [],
        )
        .await?;
    let mut unsettled = Vec::with_capacity(rows.len());
    for row in rows {
        let key = read_key(&row)?;
        let (link, event) =
            (serde_json::from_str(&row.get::<String>(2)?), serde_json::from_str(&row.get::<String>(4)?));
        match (link, event) {
            (Ok(link), Ok(event)) => unsettled.push(UnsettledIrc { key, link, at: row.get(3)?, event }),
            // Another version of the program wrote it; it may read it again. One line never stops the start.
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(irc.key = %key, %error, "a line in the journal can't be read and is passed over");
            }
        }
    }
    Ok(unsettled)
}

pub(super) async fn erase(db: &Db, transactions: &[i64]) -> Result<(), StoreError> {
    let mut tx = db.begin().await?;
    for txn in transactions {
        let row = tx
            .row(
                "SELECT t.seq, t.events, t.sending, t.settled, b.events
                 FROM journal_transactions t JOIN journal_bodies b ON b.txn = t.seq WHERE t.seq = $1",
                [(*txn).into()],
            )
            .await?;
        let Some(row) = row else { continue };
        let (open, events): (_, String) = (read_transaction(&row)?, row.get(4)?);
        // What can't be read is told at the next start.
        let Ok(events) = serde_json::from_str::<Vec<&RawValue>>(&events) else { continue };
        let kept =
            (0..).zip(&events).map(|(index, event)| if open.settled.contains(index) { "null" } else { event.get() });
        let sql = "UPDATE journal_bodies SET events = $2 WHERE txn = $1";
        tx.execute(sql, [open.txn.into(), body(kept).into()]).await?;
    }
    tx.commit().await
}

pub(super) async fn prune(db: &Db, before: Millis) -> Result<u64, StoreError> {
    let mut tx = db.begin().await?;
    let rows = tx
        .rows(
            "SELECT seq FROM journal_transactions WHERE settled_at < $1 ORDER BY settled_at LIMIT $2",
            [before.into(), PRUNE_TRANSACTIONS.into()],
        )
        .await?;
    let old = rows.iter().map(|row| row.get(0)).collect::<Result<Vec<i64>, _>>()?;
    over_numbers(&mut tx, "DELETE FROM journal_event_ids WHERE txn IN (VALUES", &old).await?;
    over_numbers(&mut tx, "DELETE FROM journal_transactions WHERE seq IN (VALUES", &old).await?;
    let lines = tx
        .execute(
            "DELETE FROM journal_lines WHERE n IN
                 (SELECT n FROM journal_lines WHERE settled_at < $1 ORDER BY settled_at LIMIT $2)",
            [before.into(), PRUNE_LINES.into()],
        )
        .await?;
    tx.commit().await?;
    Ok(lines + u64::try_from(old.len()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::NewMatrixEvent;

    #[test]
    fn only_what_is_one_statement_goes_without_a_transaction_around_it() {
        let transaction = NewTransaction { txn_id: "1".to_owned(), events: Vec::new() };
        let none = || Burst {
            now: 0,
            transactions: Vec::new(),
            lines: Vec::new(),
            progress: Vec::new(),
            settled_lines: Vec::new(),
        };
        let progress = |done| TransactionProgress { txn: 1, sending: Bits::default(), settled: Bits::default(), done };
        let is_one = |burst: Burst<'_>| is_one_statement(&burst);
        assert!(is_one(Burst { settled_lines: vec![1; CHUNK], ..none() }));
        assert!(is_one(Burst { progress: vec![progress(false), progress(false)], ..none() }));
        assert!(!is_one(Burst { settled_lines: vec![1; CHUNK + 1], ..none() }), "it is two of a hundred rows each");
        assert!(!is_one(Burst { progress: vec![progress(true)], ..none() }), "its body goes too");
        assert!(!is_one(Burst { progress: vec![progress(false)], settled_lines: vec![1], ..none() }));
        assert!(!is_one(Burst { transactions: vec![&transaction], ..none() }), "its events' ids and bodies come too");
    }

    #[test]
    fn a_transaction_is_known_by_its_id_and_its_events() {
        let event = |id: Option<&str>, body: &str| NewMatrixEvent {
            event_id: id.map(str::to_owned),
            json: RawValue::from_string(format!("\"{body}\"")).unwrap(),
        };
        let of =
            |txn_id: &str, events: Vec<NewMatrixEvent>| identity(&NewTransaction { txn_id: txn_id.into(), events });
        let same = of("1", vec![event(Some("$a"), "age 1")]);
        assert_eq!(of("1", vec![event(Some("$a"), "age 2")]), same, "the same event, told again");
        let others = [
            same,
            of("2", vec![event(Some("$a"), "age 1")]),
            of("1", vec![event(Some("$b"), "age 1")]),
            of("1", vec![]),
            of("1$a", vec![]),
            of("1", vec![event(Some("$a"), ""), event(Some("$b"), "")]),
            of("1", vec![event(Some("$b"), ""), event(Some("$a"), "")]),
            of("1", vec![event(Some("$a$b"), "")]),
            of("1", vec![event(None, "$a")]),
            of("1", vec![event(None, "$b")]),
        ];
        assert_eq!(others.iter().collect::<HashSet<_>>().len(), others.len());
    }

    #[test]
    fn ids_that_differ_are_stored_apart() {
        let long = "x".repeat(256);
        let ids = ["", "$a", "$a\0", "$\u{fffd}", &long[..255], &long, &format!("{long}y")];
        let stored: HashSet<_> = ids.iter().map(|id| stored_id(id)).collect();
        assert_eq!(stored.len(), ids.len());
        assert!(stored.iter().all(|id| id.len() <= 255));
    }
}
