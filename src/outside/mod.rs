//! Floor 4: what lives outside the process.
//!
//! Owns the event publisher and its sinks, the stores of rooms, the file of the issuer's key and the
//! fetching of other issuers' keys. Invariant: nothing here is ever waited for by a shard; a sink
//! that fails loses events, which are counted, and nothing else. Knows no sockets of clients and no
//! dialect.

mod agent;
mod data_folder;
mod file;
mod issuer_key;
mod jwks_fetch;
mod log;
mod publisher;
mod room_store;
mod sink;
mod webhook;

pub use file::FileSink;
pub use issuer_key::{IssuerKeyFileError, load_or_create_issuer};
pub use jwks_fetch::{JwksFetchError, JwksRefresh, JwksSource};
pub use log::LogSink;
pub use publisher::{Clock, Publisher};
pub use room_store::{EmbeddedStore, MemoryStore};
pub use sink::{Finished, Lost, Sink, Written};
pub use webhook::WebhookSink;
