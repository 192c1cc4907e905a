//! The engine's inboxes and outlets, with numbers for parcels.

#[path = "../../../src/mesh/inbox.rs"]
mod inbox;
#[path = "../../../src/mesh/outlets.rs"]
#[allow(dead_code, reason = "the models need a part of it")]
mod outlets;

pub use inbox::Mesh;
pub use outlets::{Limits, Outlets, Posted};

/// Its sender's number and its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parcel(pub usize, pub usize);

impl Parcel {
    pub fn is_delivery(&self) -> bool {
        true
    }

    pub fn heap_bytes(&self) -> usize {
        0
    }
}

/// Named by the front's queue alone, and never made here.
pub enum TunnelStep {}
