//! Footbridge: a Matrix–IRC bridge.
pub mod config;
pub mod matrix;
pub mod model;
