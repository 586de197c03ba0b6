//! Stories of the whole bridge: the real program between a fake homeserver and a fake IRC server, as people on both sides see it.
//!
//! One file per subject; [`world`] builds the scene and holds the questions that many stories ask. To add a story, write a test
//! in the file of its subject, or a new file and its line below.

#![expect(unreachable_pub, reason = "no item of a test binary can be reached from outside")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

#[path = "stories/check.rs"]
mod check;
#[path = "stories/conversation.rs"]
mod conversation;
#[path = "stories/crash.rs"]
mod crash;
#[path = "stories/failures.rs"]
mod failures;
#[path = "stories/ghosts.rs"]
mod ghosts;
#[path = "stories/health.rs"]
mod health;
#[path = "stories/hostile.rs"]
mod hostile;
#[path = "stories/journal.rs"]
mod journal;
#[path = "stories/lanes.rs"]
mod lanes;
#[path = "stories/membership.rs"]
mod membership;
#[path = "stories/operator.rs"]
mod operator;
#[path = "stories/plumbing.rs"]
mod plumbing;
#[path = "stories/portals.rs"]
mod portals;
#[path = "stories/puppets.rs"]
mod puppets;
#[path = "stories/ranks.rs"]
mod ranks;
#[path = "stories/world.rs"]
mod world;
