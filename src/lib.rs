//! Footbridge: a Matrix–IRC bridge.
//!
//! The rooms, top to bottom; each may use those below it, never above, and of `irc`, `matrix` and `store` none uses
//! another (`tests/layers.rs` reads the `use` lines):
//!
//! | room | what it does |
//! |---|---|
//! | [`cli`] | one file per command |
//! | [`app`] | the composition root: builds everything, in order |
//! | [`bridge`] | decides what follows on one side from what happens on the other |
//! | [`irc`] · [`matrix`] · [`store`] | the three edges: connections, the homeserver, the database |
//! | [`config`] · [`lifecycle`] · [`telemetry`] | the operator's choices, the process's life, logs and metrics |
//! | [`translate`] | pure: text, names and modes from one side's form into the other's |
//! | [`model`] | the shared vocabulary |

pub mod app;
pub mod bridge;
pub mod cli;
pub mod config;
pub mod irc;
pub mod lifecycle;
pub mod matrix;
pub mod model;
pub mod store;
pub mod telemetry;
pub mod translate;
