//! What threads share memory by, where they do it by hand.
//!
//! The modules that `tests/loom` models take these from here, so that it can put loom's in their
//! place.

pub use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};

pub use crossbeam_queue::ArrayQueue;
pub use parking_lot::{Mutex, RwLock};
