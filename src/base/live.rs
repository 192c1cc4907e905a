//! A value that is replaced as a whole while others read it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

/// What a reload of the settings replaces. A reader keeps the value that it has taken, whole and
/// unchanged, for as long as it likes.
pub struct Live<T> {
    value: RwLock<Arc<T>>,
    version: AtomicU64,
}

impl<T> Live<T> {
    pub fn new(value: T) -> Live<T> {
        Live { value: RwLock::new(Arc::new(value)), version: AtomicU64::new(0) }
    }

    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.value.read())
    }

    pub fn set(&self, value: T) {
        *self.value.write() = Arc::new(value);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Rises with each [`Live::set`]. Who compares it before [`Live::get`] may find the new value
    /// one look too late, and never misses it.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_keeps_the_value_that_it_has_taken() {
        let live = Live::new(1);
        let (taken, version) = (live.get(), live.version());
        live.set(2);
        assert_eq!((*taken, *live.get()), (1, 2));
        assert!(live.version() > version);
    }
}
