//! Footbridge: a Matrix–IRC bridge.
pub mod config;
pub mod model;
