//! Footbridge: a Matrix–IRC bridge.
pub mod irc;
pub mod model;
pub mod translate;
