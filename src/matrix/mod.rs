//! Everything Matrix.
pub mod registration;
