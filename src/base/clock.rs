//! Time as a value: the shell reads the clocks once a turn and hands the reading down.

use std::time::Duration;

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Now {
    /// Microseconds on a clock that never goes back, since the process started.
    pub mono_us: u64,
    /// Milliseconds since 1970-01-01 UTC; may jump when the machine's clock is set.
    pub unix_ms: u64,
}

impl Now {
    pub fn unix_seconds(self) -> u64 {
        self.unix_ms / 1000
    }

    /// The reading of the steady clock `after` from now, in microseconds.
    pub fn plus(self, after: Duration) -> u64 {
        self.mono_us.saturating_add(after.as_micros() as u64)
    }
}
