//! Stories of the whole bridge.

mod support;

#[path = "stories/first.rs"]
mod first;
