//! What has arrived from one partner, judged by its numbers: each once, and in order.

/// Gaps of one connection that are remembered, so that a late message can be told from a second
/// one. A server that loses more is told by what is missing at the end.
const MISSING_MAX: usize = 4096;

/// The messages of one sender to one receiver.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// One more than the highest number so far.
    next: u64,
    /// Different messages that came.
    delivered: u64,
    /// Numbers below `next` that have not come; empty, without memory, where all is well.
    missing: Vec<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    InOrder,
    /// It came after one that was sent later.
    Late,
    /// It has come before.
    Again,
    /// It was never sent.
    Impossible,
}

impl Arrivals {
    /// Takes in a number; `sent` is how many its sender has sent.
    pub fn take(&mut self, number: u64, sent: u64) -> Verdict {
        if number >= sent {
            return Verdict::Impossible;
        }
        if number < self.next {
            return match self.missing.iter().position(|&missing| missing == number) {
                Some(position) => {
                    self.missing.swap_remove(position);
                    self.delivered += 1;
                    Verdict::Late
                }
                None => Verdict::Again,
            };
        }
        let room = MISSING_MAX.saturating_sub(self.missing.len());
        self.missing.extend((self.next..number).take(room));
        self.next = number + 1;
        self.delivered += 1;
        Verdict::InOrder
    }

    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Those that were overtaken, and may yet come.
    pub fn overtaken(&self) -> u64 {
        self.next - self.delivered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(numbers: &[u64]) -> (Vec<Verdict>, Arrivals) {
        let mut arrivals = Arrivals::default();
        (numbers.iter().map(|&number| arrivals.take(number, 10)).collect(), arrivals)
    }

    #[test]
    fn each_once_and_in_order_is_clean() {
        let (verdicts, arrivals) = verdicts(&[0, 1, 2]);
        assert_eq!(verdicts, [Verdict::InOrder; 3]);
        assert_eq!((arrivals.delivered(), arrivals.overtaken()), (3, 0));
    }

    #[test]
    fn a_lost_one_stays_overtaken() {
        let (_, arrivals) = verdicts(&[0, 2, 3]);
        assert_eq!((arrivals.delivered(), arrivals.overtaken()), (3, 1));
    }

    #[test]
    fn a_late_one_is_not_a_second_one() {
        let (verdicts, arrivals) = verdicts(&[1, 0, 0, 1]);
        assert_eq!(verdicts, [Verdict::InOrder, Verdict::Late, Verdict::Again, Verdict::Again]);
        assert_eq!((arrivals.delivered(), arrivals.overtaken()), (2, 0));
    }

    #[test]
    fn what_was_never_sent_is_not_counted() {
        let (verdicts, arrivals) = verdicts(&[10, 9]);
        assert_eq!(verdicts, [Verdict::Impossible, Verdict::InOrder]);
        assert_eq!((arrivals.delivered(), arrivals.overtaken()), (1, 9));
    }
}
