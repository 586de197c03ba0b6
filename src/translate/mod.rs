//! Between the two worlds: pure functions, values in, values out.
//!
//! Nothing here knows of sockets, rooms or time, and nothing keeps state: what a function needs it is given. That
//! is why all of it is tested by tables and properties. Two promises hold for everything that goes to IRC: no
//! output contains CR, LF, NUL or `\x01` (R104), and text is cut only to the byte budget of [`split`](split()) (R62).
//!
//! To add a Matrix event that we carry, extend [`matrix_to_irc`]; to show another IRC event on Matrix, extend
//! [`irc_to_matrix`]; each has a table of examples to extend with it.

mod alias;
mod clean;
mod control;
mod ghost;
mod glob;
mod identity;
pub mod irc_to_matrix;
pub mod matrix_to_irc;
mod modes;
mod names;
mod nick;
mod palette;
mod powers;
mod split;
mod template;

pub use alias::AliasTemplate;
pub use clean::{lines, one_line};
pub use control::{strip, to_html};
pub use ghost::{DisplayNameTemplate, GhostTemplate};
pub use glob::glob;
pub use identity::{realname, username_base};
pub use modes::parse_modes;
pub use names::{possible_nick, valid_channel, valid_nick};
pub use nick::{NickTemplate, nick_number};
pub use powers::PowerLevels;
pub use split::{budget, first_piece, split};
pub use template::TemplateError;
