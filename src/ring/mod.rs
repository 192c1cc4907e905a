//! Floor 1: everything that touches a descriptor or needs `unsafe`.
//!
//! Owns one io_uring per shard thread with its provided receive buffers, the table of open
//! sockets with what the kernel still does to each, listening sockets, and the doorbells between
//! threads.
//!
//! Invariant: memory and a descriptor that an operation was given stay until that operation's
//! last completion. So a connection closes in three steps, cancel → join → free, and nothing is
//! ever taken back from the kernel by force.
//!
//! Must not know: protocols, who is connected, other shards, clocks. It moves bytes and says what
//! came back.

mod buffers;
mod completion;
mod connections;
mod doorbell;
mod listener;
mod machine;
mod operations;
mod refusal;
mod settings;
mod setup;
mod turn;

#[cfg(test)]
mod tests;

pub use buffers::BufferId;
pub use completion::{Completion, EndCause};
pub use connections::ConnId;

pub use doorbell::{BellTarget, Doorbell, FrontBell};
pub use listener::{BindError, Listeners, bind, peer_address};
pub use machine::{allowed_cores, pin_to_core, raise_open_files};
pub use refusal::SetupError;
pub use rustix::io::Errno;
pub use settings::Settings;
pub use turn::{Counters, Ring};
