//! Real servers on loopback, each a child with its own folder and ports that ends with the test.
//!
//! Each `start` returns when the server answers. A program that isn't installed is a panic that says how to install it, never a
//! skipped test. Starting blocks the thread, for seconds in Synapse's case: share what can be shared in a `static`
//! ([`Synapse::shared`], [`Postgres::shared`]); it ends with the test process.

mod atheme;
mod inspircd;
mod ngircd;
pub mod postgres;
mod synapse;

pub use self::{atheme::Atheme, inspircd::InspIrcd, ngircd::NgIrcd, postgres::Postgres, synapse::Synapse};

/// Writes a configuration file.
fn write(path: &std::path::Path, text: &str) {
    std::fs::write(path, text).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
}
