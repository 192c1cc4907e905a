//! Why the engine does not run, for the operator.

use std::fmt;
use std::io;

use crate::hub::rooms::StoreError;
use crate::ring::{BindError, Errno, SetupError};

#[derive(Debug)]
pub enum ServeError {
    /// An address of a listener cannot be had. Nothing was started.
    Bind {
        listener: String,
        error: BindError,
    },
    /// io_uring cannot be had. Nothing was started.
    Ring(SetupError),
    /// The rooms on record cannot be read.
    RoomStore(StoreError),
    /// The key that signs tokens cannot be read or made.
    IssuerKey(String),
    /// The address of a JWKS is none.
    Jwks(String),
    /// A role of `[devices]` may send what is no message type.
    Role(String),
    /// `origin` of `[calls]` cannot be said in a header.
    Origin,
    /// The kernel refused a descriptor or a thread at the start.
    Start(io::Error),
    Signals(io::Error),
    /// Standard output is closed.
    Print(io::Error),
    /// A shard has lost its ring, and with it its connections.
    ShardLost {
        shard: usize,
        errno: Errno,
    },
    /// A thread ended by a defect of ours.
    Panicked(&'static str),
    FrontLost(io::Error),
    /// A second signal came before the drain was over.
    Impatient,
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServeError::Bind { listener, error } => write!(f, "listener {listener}: {error}"),
            ServeError::Ring(error) => write!(f, "{error}"),
            ServeError::RoomStore(error) => write!(f, "{error}"),
            ServeError::IssuerKey(error) => write!(f, "{error}"),
            ServeError::Jwks(error) => write!(f, "[rooms] jwks_url: {error}"),
            ServeError::Role(word) => write!(f, "[devices.roles]: `{word}` is no message type"),
            ServeError::Origin => f.write_str("[calls] origin: cannot be sent in a header"),
            ServeError::Start(error) => write!(f, "cannot start: {error}"),
            ServeError::Signals(error) => write!(f, "cannot wait for signals: {error}"),
            ServeError::Print(error) => write!(f, "cannot print the ports: {error}"),
            ServeError::ShardLost { shard, errno } => write!(f, "shard {shard} has lost its ring: {errno}"),
            ServeError::Panicked(thread) => write!(f, "the thread of {thread} failed; this is a defect"),
            ServeError::FrontLost(error) => write!(f, "the front has ended: {error}"),
            ServeError::Impatient => f.write_str("ended before the drain was over"),
        }
    }
}

impl std::error::Error for ServeError {}
