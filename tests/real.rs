//! The real `footbridge` between real servers: Synapse on one side, `InspIRCd` (every IRCv3 capability, TLS) or `ngIRCd` (no
//! capability to speak of, plaintext, nicks of 16 characters) on the other.
//!
//! A story is a function over a [`town::Town`] and is told once for each kind of IRC server ([`on_both`]). What a person can see is
//! all that is looked at: rooms through the client-server API, channels through an IRC client, the operator's commands through what
//! they print. All stories share one Synapse, where each has its own bridge, so they run side by side.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

/// Makes one test for each kind of IRC server out of each story of the module.
macro_rules! on_both {
    ($($story:ident),+ $(,)?) => {
        mod inspircd {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                super::$story(crate::town::Town::new(crate::town::Kind::InspIrcd)).await;
            })+
        }
        mod ngircd {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                super::$story(crate::town::Town::new(crate::town::Kind::NgIrcd)).await;
            })+
        }
    };
}

#[path = "real/aliases.rs"]
mod aliases;
#[path = "real/conversation.rs"]
mod conversation;
#[path = "real/failures.rs"]
mod failures;
#[path = "real/hostile.rs"]
mod hostile;
#[path = "real/identity.rs"]
mod identity;
#[path = "real/operator.rs"]
mod operator;
#[path = "real/order.rs"]
mod order;
#[path = "real/outages.rs"]
mod outages;
#[path = "real/people.rs"]
mod people;
#[path = "real/plumbing.rs"]
mod plumbing;
#[path = "real/queries.rs"]
mod queries;
#[path = "real/ranks.rs"]
mod ranks;
#[path = "real/town.rs"]
mod town;
