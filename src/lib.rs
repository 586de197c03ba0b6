//! Footbridge: a Matrix–IRC bridge.
pub mod app;
pub mod cli;
pub mod config;
pub mod matrix;
pub mod model;
pub mod telemetry;
