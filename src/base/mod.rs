//! Floor 0: words that every other floor uses.
//!
//! Owns ids, one reading of the clock as a value, the generational slab, random numbers as an
//! argument, the cell for what is replaced while it is read, rates, blocks of addresses, and the
//! wrapper that keeps secrets out of logs. Knows nothing of anything above.

mod clock;
mod defects;
mod entropy;
mod ids;
mod live;
mod networks;
mod rate;
mod redacted;
mod slab;
pub mod sync;

pub use clock::Now;
pub(crate) use defects::planted;
#[cfg(test)]
pub(crate) use defects::{DEFECTS, Defect, is_planted, with_planted};
pub use entropy::Entropy;
pub use ids::{NODES_MAX, NodeId, PeerKey, RealmId, SHARDS_MAX};
pub use live::Live;
pub use networks::{Network, Networks};
pub use rate::Rate;
pub use redacted::Redacted;
pub use slab::Slab;
