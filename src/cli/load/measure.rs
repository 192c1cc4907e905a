//! Counts and histograms of one run.

use std::ops::Range;

use hdrhistogram::Histogram;

/// Above this a latency is counted as this.
const LATENCY_MAX_NS: u64 = 120_000_000_000;

/// Everything that is counted while it runs.
pub struct Tally {
    /// Of messages sent, or of logins begun, within the window; ns.
    pub latency: Histogram<u64>,
    /// How much later than intended messages of the window were sent, in open loop; ns.
    pub lateness: Histogram<u64>,
    /// The measured time, in ns since the run began; it has no end before that has come.
    pub window: Range<u64>,
    /// Messages, or logins in a storm, that came in within the window.
    pub arrived_in_window: u64,
    /// Of the whole run.
    pub arrived: u64,
    pub sent: u64,
    pub refused: u64,
    pub duplicated: u64,
    pub out_of_order: u64,
    pub corrupt: u64,
    /// Messages that were no part of the load, such as lists of who is there.
    pub others: u64,
    /// Connections that never got as far as being logged in.
    pub failed: u64,
    /// Connections that were logged in and ended by themselves.
    pub broken: u64,
    /// The first complaint of a server, or of its connection.
    pub first_error: Option<String>,
}

impl Tally {
    pub fn new() -> Tally {
        let histogram = || {
            Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3)
                .expect("the bounds and the precision are in range")
        };
        Tally {
            latency: histogram(),
            lateness: histogram(),
            window: u64::MAX..u64::MAX,
            arrived_in_window: 0,
            arrived: 0,
            sent: 0,
            refused: 0,
            duplicated: 0,
            out_of_order: 0,
            corrupt: 0,
            others: 0,
            failed: 0,
            broken: 0,
            first_error: None,
        }
    }

    /// A message or a login has come to its end. Latency counts by its beginning: what was held up
    /// until after the window shows in it.
    pub fn arrive(&mut self, began_ns: u64, now_ns: u64) {
        self.arrived += 1;
        self.arrived_in_window += u64::from(self.window.contains(&now_ns));
        if self.window.contains(&began_ns) {
            self.latency.saturating_record(now_ns.saturating_sub(began_ns).max(1));
        }
    }

    pub fn late(&mut self, intended_ns: u64, now_ns: u64) {
        if self.window.contains(&intended_ns) {
            self.lateness.saturating_record(now_ns.saturating_sub(intended_ns).max(1));
        }
    }

    pub fn complain(&mut self, words: impl Into<String>) {
        if self.first_error.is_none() {
            self.first_error = Some(words.into());
        }
    }
}
