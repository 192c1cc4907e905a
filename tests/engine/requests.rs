//! Requests of `rooms` and `calls` through the tunnel: interim answers, chunks, pipelining, upgrades,
//! limits, and senders that are slow or do not mean well.

mod bodies;
mod connections;
mod limits;

use crate::harness::*;

fn both() -> Setup {
    Setup::new().listener("main", &["rooms", "calls"])
}
