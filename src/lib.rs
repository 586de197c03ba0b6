//! Footbridge: a Matrix–IRC bridge.
pub mod matrix;
pub mod model;
