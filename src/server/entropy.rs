//! Random numbers from the kernel, fetched many at a time: a system call costs more than the
//! numbers do.

use crate::base::Entropy;

const BATCH: usize = 64;
const NUMBER_BYTES: usize = size_of::<u128>();

/// The kernel's CSPRNG.
pub struct KernelEntropy {
    numbers: [u128; BATCH],
    used: usize,
}

impl KernelEntropy {
    pub fn new() -> KernelEntropy {
        KernelEntropy { numbers: [0; BATCH], used: BATCH }
    }
}

impl Entropy for KernelEntropy {
    fn next_u128(&mut self) -> u128 {
        if self.used == BATCH {
            let mut bytes = [0; BATCH * NUMBER_BYTES];
            getrandom::fill(&mut bytes).expect("getrandom(2) cannot fail on a kernel with io_uring");
            let (numbers, _) = bytes.as_chunks::<NUMBER_BYTES>();
            for (number, bytes) in self.numbers.iter_mut().zip(numbers) {
                *number = u128::from_ne_bytes(*bytes);
            }
            self.used = 0;
        }
        let number = std::mem::take(&mut self.numbers[self.used]);
        self.used += 1;
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_is_given_out_twice() {
        let mut entropy = KernelEntropy::new();
        let mut numbers: Vec<u128> = (0..3 * BATCH).map(|_| entropy.next_u128()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 3 * BATCH);
    }
}
