//! Secrets that cannot reach a log by accident.

use std::fmt;

/// Holds a token, a key, SDP or a payload. `Debug` prints a placeholder, and there is no
/// `Display`; the value comes out through [`Redacted::expose`] alone, which a reviewer can find.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Redacted<T>(T);

impl<T> Redacted<T> {
    pub fn new(value: T) -> Self {
        Redacted(value)
    }

    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
