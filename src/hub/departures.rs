//! Who left a realm, as far as those who stay are to be told: once for many, and not too often.

use crate::base::RealmId;
use crate::base::sync::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

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
    /// again before [`Departures::wait_until`], and not before each of `nodes` is
    /// [`Departures::told`]: or those who come last would never be told anything.
    pub fn take(&self, now_us: u64, nodes: usize) -> bool {
        // Claimed before anything else: more may be noted while the caller still builds its text,
        // and a second one at that moment would have its nodes counted off twice.
        if !self.noted.load(Ordering::Relaxed)
            || self.telling.compare_exchange(0, nodes, Ordering::AcqRel, Ordering::Relaxed).is_err()
        {
            return false;
        }
        let is_due =
            now_us >= self.not_before_us.load(Ordering::Acquire) && self.noted.swap(false, Ordering::AcqRel);
        if !is_due {
            self.telling.store(0, Ordering::Release);
        }
        is_due
    }

    /// To be called by the one who took them, before it is told itself.
    pub fn wait_until(&self, us: u64) {
        self.not_before_us.store(us, Ordering::Release);
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
        assert!(!departures.take(10, 2));
        departures.note(RealmId(1));
        departures.note(RealmId(1));
        assert!(departures.take(10, 2));
        departures.note(RealmId(1));
        assert!(!departures.take(10, 2), "the first has not built its text yet");
        departures.wait_until(100);
        departures.told();
        assert!(!departures.take(100, 2), "one node is still telling");
        departures.told();
        assert!(!departures.take(99, 2));
        assert!(departures.take(100, 2));
        departures.told();
        departures.told();
        assert!(!departures.take(200, 2), "nobody has left since");
    }
}
