//! What the stories, the real-server suite and the benchmarks stand on: two fakes, launchers of real servers, and test clients.
//!
//! | module | what it gives |
//! |---|---|
//! | [`homeserver`] | [`FakeHomeserver`]: the client-server API a bridge uses, and the push to an application service, in this process |
//! | [`ircd`] | [`FakeIrcd`]: an IRC server in this process, plain or TLS, with or without capabilities, that fails on demand |
//! | [`scripted`] | [`ScriptedIrcd`]: the test itself reads and writes the lines of one connection |
//! | [`relay`] | [`Relay`]: a wire to any server that fails without a word |
//! | [`matrix_user`] | [`MatrixUser`]: a person on Matrix, on the fake or on Synapse, with the same methods |
//! | [`irc_client`] | [`IrcClient`]: a person on IRC, on the fake or on a real server, with the same methods |
//! | [`real`] | Synapse, `InspIRCd`, `ngIRCd` and `PostgreSQL` as children that end with the test |
//! | [`bridge`] | [`Bridge`]: the real `footbridge` program as a child |
//!
//! Three habits hold in all of it. Nobody waits by the clock: every wait ends with the event it waits for, and only a generous
//! [`wait::DEADLINE`] turns "never" into a failure that prints what was seen instead. Nothing is skipped: a missing program is a
//! panic that says how to install it. Nothing outlives the test, even if the test is killed (see [`process`]).
//!
//! Each test binary compiles its own copy (`mod support;`, a benchmark with `#[path = "../tests/support/mod.rs"]`) and uses its own
//! part, so unused items are no sign of dead code here.
#![allow(clippy::allow_attributes, reason = "`expect` would fail in the binaries that use everything")]
#![allow(dead_code, unused_imports, reason = "each test binary uses its own part")]
#![allow(unreachable_pub, reason = "no item of a test binary can be reached from outside")]

pub mod bridge;
pub mod event;
pub mod homeserver;
pub mod irc_client;
pub mod irc_line;
pub mod ircd;
pub mod matrix_user;
pub mod process;
pub mod real;
pub mod registration;
pub mod relay;
pub mod scripted;
pub mod tls;
pub mod wait;

pub use bridge::{Bridge, Network};
pub use event::Event;
pub use homeserver::{FakeHomeserver, Outage};
pub use irc_client::IrcClient;
pub use irc_line::IrcLine;
pub use ircd::{FakeIrcd, IrcdConfig};
pub use matrix_user::MatrixUser;
pub use registration::Registration;
pub use relay::Relay;
pub use scripted::ScriptedIrcd;
