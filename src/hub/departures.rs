//! Who left a realm, as far as those who stay are to be told: once for many, and not too often.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::base::RealmId;

/// Shared by all nodes. Any of them notes a departure; one of them, when it is due, tells everybody.
pub struct Departures {
    realm: RealmId,
    noted: AtomicBool,
    not_before_us: AtomicU64,
}

impl Departures {
    /// Only departures from `realm` are noted.
    pub fn new(realm: RealmId) -> Departures {
        Departures { realm, noted: AtomicBool::new(false), not_before_us: AtomicU64::new(0) }
    }

    pub fn realm(&self) -> RealmId {
        self.realm
    }

    pub fn note(&self, realm: RealmId) {
        if realm == self.realm {
            self.noted.store(true, Ordering::Release);
        }
    }

    /// True for one caller, who tells everybody what the directory holds by then. Nobody is told
    /// again before [`Departures::wait_until`].
    pub fn take(&self, now_us: u64) -> bool {
        self.noted.load(Ordering::Relaxed)
            && now_us >= self.not_before_us.load(Ordering::Acquire)
            && self.noted.swap(false, Ordering::AcqRel)
    }

    pub fn wait_until(&self, us: u64) {
        self.not_before_us.store(us, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_departures_are_told_once_and_not_too_soon() {
        let departures = Departures::new(RealmId(1));
        departures.note(RealmId(2));
        assert!(!departures.take(10));
        departures.note(RealmId(1));
        departures.note(RealmId(1));
        assert!(departures.take(10));
        assert!(!departures.take(10));
        departures.wait_until(100);
        departures.note(RealmId(1));
        assert!(!departures.take(99));
        assert!(departures.take(100));
    }
}
