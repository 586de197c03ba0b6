//! The harness tests itself: a story can be believed only if the fakes and launchers it stands on do what they say.

mod support;

#[path = "harness/homeserver.rs"]
mod homeserver;
#[path = "harness/ircd.rs"]
mod ircd;
#[path = "harness/real.rs"]
mod real;
