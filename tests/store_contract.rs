//! The store's contract, on SQLite and PostgreSQL alike. A story that holds on one engine only has no place here.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod store;
mod support;

#[path = "store/directory.rs"]
mod directory;
#[path = "store/journal.rs"]
mod journal;
#[path = "store/opening.rs"]
mod opening;
#[path = "store/outage.rs"]
mod outage;
