//! Floor 4: what lives outside the process.
//!
//! Owns the event publisher and its sinks. Invariant: nothing here is ever waited for by a shard; a
//! sink that fails loses events, which are counted, and nothing else. Knows no sockets of clients
//! and no dialect.

mod file;
mod log;
mod publisher;
mod sink;

pub use file::FileSink;
pub use log::LogSink;
pub use publisher::{Clock, Publisher};
pub use sink::{Lost, Sink, Written};
