//! Random numbers as an argument, so that a simulation can replay a run.

/// A source of random bits. In production it is the kernel's CSPRNG.
pub trait Entropy {
    fn next_u128(&mut self) -> u128;
}
