//! Floor 4: one core's share of the connections.
//!
//! Owns the turn loop, the sessions and their ports, routing, timers and the drain. Nothing here is
//! shared but the directory, the inboxes and a few counters. Invariants: a connection is freed when
//! its last operation has come back, and every relayed message that was still in its outbox is then
//! answered to its sender; whatever a turn touched is flushed once, at its end. Knows no word of a
//! protocol.
//!
//! A turn: reap completions → feed sessions → drain inbox → due timers → flush each touched outbox
//! once → submit and wait. Everything up to the system call is in [`Shard`], which a simulation
//! drives in a `for` loop through [`Net`].

mod announce;
mod call;
mod core;
mod ending;
mod holdings;
mod net;
mod parcels;
mod port;
mod preface;
mod run;
mod sealed;
mod settings;
mod wheel;
mod world;

pub use self::core::Shard;
pub use holdings::{ConnectionHoldings, Holdings, Overflow};
pub use net::Net;
pub use run::{Bells, run};
pub use settings::{Limits, Parts, Shared, Terms};
pub use wheel::TICK;
