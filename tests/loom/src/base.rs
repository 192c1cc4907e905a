//! The engine's floor 0, with loom in the place of the hardware.

#[path = "../../../src/base/ids.rs"]
#[allow(dead_code, reason = "the models need a part of it")]
mod ids;

pub use ids::{NodeId, PeerKey, RealmId};

/// The simulation plants defects, these models do not.
macro_rules! planted {
    ($defect:ident) => {
        false
    };
}

pub(crate) use planted;

pub mod sync {
    pub use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};

    use loom::sync::{MutexGuard, RwLockReadGuard, RwLockWriteGuard};

    /// Of a flag that is both stored to and swapped, loom loses which of the two came first, and then
    /// shows values that no machine does. A store that is a swap has its place among the others. Loads
    /// are as weak as ever.
    pub struct AtomicBool(loom::sync::atomic::AtomicBool);

    impl AtomicBool {
        pub fn new(value: bool) -> AtomicBool {
            AtomicBool(loom::sync::atomic::AtomicBool::new(value))
        }

        pub fn load(&self, ordering: Ordering) -> bool {
            self.0.load(ordering)
        }

        pub fn store(&self, value: bool, ordering: Ordering) {
            self.0.swap(value, ordering);
        }

        pub fn swap(&self, value: bool, ordering: Ordering) -> bool {
            self.0.swap(value, ordering)
        }
    }

    /// As parking_lot's: without poison.
    #[derive(Default)]
    pub struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub fn new(value: T) -> Mutex<T> {
            Mutex(loom::sync::Mutex::new(value))
        }

        pub fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("a model that panics ends")
        }
    }

    pub struct RwLock<T>(loom::sync::RwLock<T>);

    impl<T> RwLock<T> {
        pub fn new(value: T) -> RwLock<T> {
            RwLock(loom::sync::RwLock::new(value))
        }

        pub fn read(&self) -> RwLockReadGuard<'_, T> {
            self.0.read().expect("a model that panics ends")
        }

        pub fn write(&self) -> RwLockWriteGuard<'_, T> {
            self.0.write().expect("a model that panics ends")
        }
    }

    /// A bounded queue of many senders and one receiver with the weakest orders that a queue can do
    /// with. What the protocol around it needs beyond that, it has to see to itself.
    ///
    /// ```text
    /// stamp of a slot = 2 · position          free, to be filled by the sender that gets this position
    ///                 = 2 · position + 1      filled
    ///                 = 2 · (position + cap)  free again
    /// ```
    pub struct ArrayQueue<T> {
        head: AtomicUsize,
        tail: AtomicUsize,
        slots: Box<[Slot<T>]>,
    }

    struct Slot<T> {
        stamp: AtomicUsize,
        value: Mutex<Option<T>>,
    }

    impl<T> ArrayQueue<T> {
        pub fn new(cap: usize) -> ArrayQueue<T> {
            let slot = |at| Slot { stamp: AtomicUsize::new(2 * at), value: Mutex::new(None) };
            ArrayQueue {
                head: AtomicUsize::new(0),
                tail: AtomicUsize::new(0),
                slots: (0..cap).map(slot).collect(),
            }
        }

        pub fn push(&self, value: T) -> Result<(), T> {
            let mut tail = self.tail.load(Ordering::Relaxed);
            loop {
                let slot = &self.slots[tail % self.slots.len()];
                if slot.stamp.load(Ordering::Acquire) < 2 * tail {
                    if tail - self.head.load(Ordering::Relaxed) >= self.slots.len() {
                        return Err(value);
                    }
                    // It is being given back.
                    loom::thread::yield_now();
                    continue;
                }
                match self.tail.compare_exchange(tail, tail + 1, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => {
                        *slot.value.lock() = Some(value);
                        slot.stamp.store(2 * tail + 1, Ordering::Release);
                        return Ok(());
                    }
                    Err(newer) => tail = newer,
                }
            }
        }

        pub fn pop(&self) -> Option<T> {
            let head = self.head.load(Ordering::Relaxed);
            let slot = &self.slots[head % self.slots.len()];
            if slot.stamp.load(Ordering::Acquire) != 2 * head + 1 {
                return None;
            }
            let value = slot.value.lock().take();
            self.head.store(head + 1, Ordering::Relaxed);
            slot.stamp.store(2 * (head + self.slots.len()), Ordering::Release);
            value
        }

        pub fn len(&self) -> usize {
            self.tail.load(Ordering::Relaxed) - self.head.load(Ordering::Relaxed)
        }

        pub fn is_empty(&self) -> bool {
            self.len() == 0
        }
    }
}
