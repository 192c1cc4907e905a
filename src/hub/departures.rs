//! Who left a realm, as far as those who stay are to be told: once for many, and not too often.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::base::RealmId;

/// Shared by all nodes. Any of them notes a departure; one of them, when it is due, tells everybody.
pub struct Departures {
    realm: RealmId,
    noted: AtomicBool,
    not_before_us: AtomicU64,
    /// Nodes that are still telling the last time's text to their peers.
    telling: AtomicUsize,
}

impl Departures {
    /// Only departures from `realm` are noted.
    pub fn new(realm: RealmId) -> Departures {
        Departures {
            realm,
            noted: AtomicBool::new(false),
            not_before_us: AtomicU64::new(0),
            telling: AtomicUsize::new(0),
        }
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
    /// again before [`Departures::begin`]'s time, and not before all nodes are through: or those who
    /// come last would never be told anything.
    pub fn take(&self, now_us: u64) -> bool {
        self.noted.load(Ordering::Relaxed)
            && self.telling.load(Ordering::Acquire) == 0
            && now_us >= self.not_before_us.load(Ordering::Acquire)
            && self.noted.swap(false, Ordering::AcqRel)
    }

    /// `nodes` tell their peers from now on; each of them says when it is [`Departures::told`].
    pub fn begin(&self, nodes: usize, not_before_us: u64) {
        self.telling.store(nodes, Ordering::Release);
        self.not_before_us.store(not_before_us, Ordering::Release);
    }

    pub fn told(&self) {
        self.telling.fetch_sub(1, Ordering::AcqRel);
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
        departures.begin(2, 100);
        departures.note(RealmId(1));
        departures.told();
        assert!(!departures.take(100), "one node is still telling");
        departures.told();
        assert!(!departures.take(99));
        assert!(departures.take(100));
    }
}
