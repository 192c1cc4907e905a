//! The `rooms` dialect: every message and error of its document, its HTTP API, and what the contract
//! adds.

mod api;
mod bad_input;
mod deletion;
mod discover;
mod errors;
mod identities;
mod key_sets;
mod lifetime;
mod messages;
mod metadata;
mod operations;
mod register;
mod takeover;

use crate::harness::*;

/// One listener that serves nothing else.
fn alone() -> Setup {
    Setup::new().listener("main", &["rooms"])
}

async fn meeting() -> Meeting {
    Meeting::start(alone()).await
}
