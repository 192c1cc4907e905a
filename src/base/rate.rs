//! How often something may happen: the messages of one connection, the connects of one address.

use super::Now;

const SECOND_NS: u64 = 1_000_000_000;

/// A bucket that holds a second's worth of events.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rate {
    /// When the allowed rate will have caught up with what has come: nanoseconds on the steady
    /// clock. The bucket is empty while that lies a second ahead.
    caught_up_ns: u64,
}

impl Rate {
    /// Counts one event; false when it comes too soon. `per_second` 0 admits any number.
    pub fn admit(&mut self, per_second: u32, now: Now) -> bool {
        if per_second == 0 {
            return true;
        }
        let now_ns = now.mono_us.saturating_mul(1000);
        let caught_up_ns = self.caught_up_ns.max(now_ns) + SECOND_NS / u64::from(per_second);
        if caught_up_ns > now_ns + SECOND_NS {
            return false;
        }
        self.caught_up_ns = caught_up_ns;
        true
    }

    /// The bucket is full again: nothing is left to remember.
    pub fn is_idle(&self, now: Now) -> bool {
        self.caught_up_ns <= now.mono_us.saturating_mul(1000)
    }
}
