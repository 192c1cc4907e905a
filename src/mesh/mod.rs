//! Floor 3: parcels between nodes. A node is a shard or the front.
//!
//! Owns the inboxes, the overflow lists and the doorbell flag. Invariants: parcels from one node to
//! another arrive in the order they were posted, also when some of them had to wait in the overflow
//! list; a node that sleeps with something in its inbox has been rung. Knows no protocol and no
//! socket: the bell itself is pulled by whoever owns a ring or an eventfd.

mod inbox;
mod outlets;
mod parcel;

pub use inbox::Mesh;
pub use outlets::{Limits, Outlets, Posted};
pub use parcel::{Parcel, Returned, TunnelStep, Upgrade};
