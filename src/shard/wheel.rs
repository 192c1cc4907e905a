//! Deadlines of all connections of a shard, on one coarse tick.
//!
//! A hashed wheel: the bucket of a deadline is its tick modulo the number of buckets, and each
//! bucket is a list through the table of entries. A connection has one entry. Activity does not
//! move it: when it comes due, the session says what is due, and the entry goes to the next
//! deadline. So a message costs no timer work.

use std::time::Duration;

/// Length of a tick; deadlines are rounded up to it.
pub const TICK: Duration = Duration::from_millis(50);

const TICK_US: u64 = TICK.as_micros() as u64;
/// One turn of the wheel is 25.6 s. Later deadlines are passed over once a turn.
const BUCKETS: usize = 512;
const NONE: u32 = u32::MAX;

pub struct Wheel {
    heads: [u32; BUCKETS],
    entries: Vec<Entry>,
    /// Everything up to this tick has been handed out.
    done_tick: u32,
}

#[derive(Clone, Copy)]
struct Entry {
    next: u32,
    previous: u32,
    /// `NONE`: not in the wheel.
    tick: u32,
}

impl Wheel {
    pub fn new(now_us: u64) -> Wheel {
        Wheel { heads: [NONE; BUCKETS], entries: Vec::new(), done_tick: (now_us / TICK_US) as u32 }
    }

    /// Sees to it that `slot` comes due at `deadline_us` at the latest.
    pub fn arm(&mut self, slot: u32, deadline_us: u64) {
        let tick = u32::try_from(deadline_us.div_ceil(TICK_US)).unwrap_or(NONE - 1);
        let tick = tick.clamp(self.done_tick + 1, NONE - 1);
        let index = slot as usize;
        if index >= self.entries.len() {
            self.entries.resize(index + 1, Entry { next: NONE, previous: NONE, tick: NONE });
        }
        if self.entries[index].tick <= tick {
            return;
        }
        self.disarm(slot);
        let head = &mut self.heads[tick as usize % BUCKETS];
        let next = std::mem::replace(head, slot);
        self.entries[index] = Entry { next, previous: NONE, tick };
        if next != NONE {
            self.entries[next as usize].previous = slot;
        }
    }

    pub fn disarm(&mut self, slot: u32) {
        let Some(entry) = self.entries.get_mut(slot as usize) else { return };
        if entry.tick == NONE {
            return;
        }
        let Entry { next, previous, tick } = *entry;
        *entry = Entry { next: NONE, previous: NONE, tick: NONE };
        match previous {
            NONE => self.heads[tick as usize % BUCKETS] = next,
            _ => self.entries[previous as usize].next = next,
        }
        if next != NONE {
            self.entries[next as usize].previous = previous;
        }
    }

    /// Moves every slot that is due by `now_us` out of the wheel and into `due`.
    pub fn advance(&mut self, now_us: u64, due: &mut Vec<u32>) {
        let now_tick = (now_us / TICK_US) as u32;
        // After a long pause each bucket needs to be looked at once only.
        let first = self.done_tick.max(now_tick.saturating_sub(BUCKETS as u32)) + 1;
        for tick in first..=now_tick {
            let mut slot = self.heads[tick as usize % BUCKETS];
            while slot != NONE {
                let Entry { next, tick: armed, .. } = self.entries[slot as usize];
                if armed <= now_tick {
                    self.disarm(slot);
                    due.push(slot);
                }
                slot = next;
            }
        }
        self.done_tick = self.done_tick.max(now_tick);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due_at(wheel: &mut Wheel, now_us: u64) -> Vec<u32> {
        let mut due = Vec::new();
        wheel.advance(now_us, &mut due);
        due.sort_unstable();
        due
    }

    #[test]
    fn each_deadline_comes_due_once_never_early_and_at_most_a_tick_late() {
        let mut wheel = Wheel::new(0);
        let deadlines: Vec<u64> = (0..200).map(|n: u64| 1 + n * n * 1_700).collect();
        for (slot, &deadline) in deadlines.iter().enumerate() {
            wheel.arm(slot as u32, deadline);
        }
        let mut seen = vec![0; deadlines.len()];
        for now in (0..=70_000_000).step_by(TICK_US as usize) {
            for slot in due_at(&mut wheel, now) {
                let deadline = deadlines[slot as usize];
                assert!(deadline <= now && now < deadline + TICK_US, "{deadline} at {now}");
                seen[slot as usize] += 1;
            }
        }
        assert!(seen.iter().all(|&n| n == 1));
    }

    #[test]
    fn an_earlier_deadline_moves_the_entry_and_a_later_one_does_not() {
        let mut wheel = Wheel::new(0);
        wheel.arm(3, 1_000_000);
        wheel.arm(3, 5_000_000);
        wheel.arm(4, 1_000_000);
        wheel.arm(3, 200_000);
        assert_eq!(due_at(&mut wheel, 250_000), [3]);
        wheel.disarm(4);
        assert_eq!(due_at(&mut wheel, 9_000_000), [0u32; 0]);
    }

    #[test]
    fn a_long_pause_loses_no_deadline() {
        let mut wheel = Wheel::new(0);
        wheel.arm(1, 100_000);
        wheel.arm(2, 90_000_000);
        assert_eq!(due_at(&mut wheel, 80_000_000), [1]);
        assert_eq!(due_at(&mut wheel, 90_000_000), [2]);
    }
}
