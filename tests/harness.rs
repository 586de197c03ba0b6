//! The harness tests itself: a story can be believed only if the fakes and launchers it stands on do what they say.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

#[path = "harness/bridge.rs"]
mod bridge;
#[path = "harness/homeserver.rs"]
mod homeserver;
#[path = "harness/ircd.rs"]
mod ircd;
#[path = "harness/real.rs"]
mod real;
