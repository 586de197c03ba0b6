//! The bridge: decides what follows on one side from what happens on the other.
//!
//! It sees the homeserver as [`MatrixApi`], IRC as [`ConnectionPool`] and the database as [`Store`] and [`Journal`];
//! no socket, no SQL. `intake` puts what comes in on disk, `dispatch` owns all state and routes, `outbox` does what
//! goes to the homeserver, one lane per room. Each other file is one subject of the dispatcher:
//!
//! | file | subject |
//! |---|---|
//! | `portal` | what is said in channels and rooms, and topics |
//! | `private` | queries and control rooms |
//! | `commands` | what people tell the bridge to do, on both sides |
//! | `consent`, `closing` | how a room comes to a channel with its operators' consent, and how that ends |
//! | `decommission` | how everybody leaves everything, without a dispatcher |
//! | `links` | our own links' comings and goings |
//! | `rosters`, `people`, `membership` | people's comings and goings, on IRC and on Matrix |
//! | `ranks` | what ranks on IRC are worth in a room |
//! | `puppets`, `nicks` | the links that act for Matrix users, and which nick is whose |
//! | `ghosts`, `ours` | the Matrix users that stand for IRC users, and which users are the bridge's own |
//! | `delivery` | the fate of each Matrix event |
//! | `echo`, `observer`, `witnesses` | whom we see, and with whose eyes |
//! | `keeper` | what the next start has to know |
//! | `lookups`, `health` | what others ask of us |
//! | `start`, `unplaced` | loading, what the last run left undone, and what waits for rooms that are looked for |

mod channel_modes;
mod closing;
mod commands;
mod consent;
mod decommission;
mod delivery;
mod directory;
mod dispatch;
mod echo;
mod event;
mod ghosts;
mod health;
mod intake;
mod keeper;
mod links;
mod lookups;
mod membership;
mod network;
mod nicks;
mod observer;
mod ours;
mod outbox;
mod people;
mod portal;
mod private;
mod puppets;
mod ranks;
mod rosters;
mod start;
mod unplaced;
mod witnesses;

pub use decommission::{Decommission, DecommissionError, Left};
pub use health::Pings;
pub use intake::JournalAhead;
pub use start::{Bridge, Parts, StartError};

#[cfg(doc)]
use crate::{
    irc::pool::ConnectionPool,
    matrix::MatrixApi,
    store::{Journal, Store},
};
