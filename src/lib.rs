//! Footbridge: a Matrix–IRC bridge.
pub mod model;
pub mod store;
