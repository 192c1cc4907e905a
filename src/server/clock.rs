//! The only place that reads the clocks of the engine.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::base::Now;

/// Copies of one clock agree with each other, on every thread.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    pub fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    pub fn read(self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono_us: self.start.elapsed().as_micros() as u64, unix_ms: unix.as_millis() as u64 }
    }
}
