//! The `devices` dialect: every message and error of its document, and what the contract adds.

mod access;
mod bad_input;
mod departures;
mod errors;
mod operations;
mod pressure;
mod register;
mod relay;
mod roles;

use crate::harness::*;

/// One listener that serves nothing else.
fn alone() -> Setup {
    Setup::new().listener("main", &["devices"])
}
