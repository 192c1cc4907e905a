//! Floor 1: who is with whom.
//!
//! Owns the directory: which connection has which id. It is readable from any core; only a join or
//! a leave writes. Owns what the clients of one address use, and may. Invariant: an entry is removed only by the connection that it names, so the
//! late end of an old connection never evicts a newer one. Knows no bytes, sockets or cores.

mod addresses;
mod departures;
mod directory;
pub mod rooms;
mod seats;
mod signal;

pub use addresses::{Action, AddressLimits, Addresses, Crowded, FAILED_LOGINS_WINDOW, Limit};
pub use departures::Departures;
pub use directory::{DialectId, Directory, Joined, OnDuplicate, Route, Taken};
pub use seats::{
    Listener, MemorySeats, SeatAnswer, SeatLimits, SeatStore, SeatTerms, Seats, TooManyListeners,
};
pub use signal::{Signal, SignalKind};
