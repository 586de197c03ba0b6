//! The shared vocabulary: ids, events, actions, failures, the clock.
//!
//! Plain values without I/O. Every other room may use these; this room uses none. A type belongs here when two
//! rooms that may not see each other have to speak of it.

mod clock;
mod failure;
mod folded;
mod ids;
mod irc_action;
mod irc_event;
mod isupport;
mod modes;

pub use clock::{Clock, Millis, SystemClock};
pub use failure::{Arrived, Failure, Fate, Reason, Subject};
pub use folded::{CaseMapping, Folded};
pub use ids::{CommandId, Epoch, InvalidNetworkId, IrcKey, LinkId, LinkOwner, MatrixKey, NetworkId};
pub use irc_action::{ChannelKey, IrcAction, RECALL, Role};
pub use irc_event::{IrcEvent, LinkState, Profile, RosterMember, Source, TextKind, TextTarget};
pub use isupport::Isupport;
pub use modes::{ModeChange, ModeKind};
