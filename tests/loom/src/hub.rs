//! The engine's directory and departures.

#[path = "../../../src/hub/departures.rs"]
#[allow(dead_code, reason = "the models need a part of it")]
mod departures;
#[path = "../../../src/hub/directory.rs"]
#[allow(dead_code, reason = "the models need a part of it")]
mod directory;

pub use departures::Departures;
pub use directory::{DialectId, Directory, OnDuplicate};
