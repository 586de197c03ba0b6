//! IRC: from bytes on a socket to events, and from actions to bytes. Blind to Matrix and the database.
//!
//! `wire` and `codec` read and write lines; `session` knows the protocol and no socket; `link` is the actor that
//! joins the two, paced by `flood`; `pool` is what the bridge sees of it all.

pub mod caps;
pub mod codec;
pub mod connect_budget;
pub mod ctcp;
pub mod flood;
pub mod isupport;
mod link;
pub mod pool;
pub mod roster;
pub mod sasl;
pub mod session;
pub mod transport;
pub mod wire;
