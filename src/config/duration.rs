//! Lengths of time as people write them: `30`, `"250ms"`, `"3s"`, `"1h30m"`.

use std::time::Duration;

/// What a plain number counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Microseconds,
    Milliseconds,
    Seconds,
}

/// Units that a string may name: those of Go, which the flags of `calls` come from, and days.
/// Go writes a microsecond with the micro sign and with the Greek letter too.
const UNITS: [(&str, f64); 9] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("\u{b5}s", 1e-6),
    ("\u{3bc}s", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
    ("d", 86_400.0),
];

impl Unit {
    pub(super) fn name(self) -> &'static str {
        match self {
            Unit::Microseconds => "microseconds",
            Unit::Milliseconds => "milliseconds",
            Unit::Seconds => "seconds",
        }
    }

    fn seconds(self) -> f64 {
        match self {
            Unit::Microseconds => 1e-6,
            Unit::Milliseconds => 1e-3,
            Unit::Seconds => 1.0,
        }
    }

    /// Nothing for a negative or an absurd number.
    pub(super) fn of(self, number: f64) -> Option<Duration> {
        whole_microseconds(number * self.seconds())
    }

    /// A number with a unit, several of them in a row, or a number alone.
    pub(super) fn parse(self, text: &str) -> Option<Duration> {
        let mut rest = text.trim();
        if let Some(number) = number(rest) {
            return self.of(number);
        }
        let mut seconds = 0.0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
            let amount = number(&rest[..digits])?;
            rest = &rest[digits..];
            let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
            let (_, scale) = UNITS.iter().find(|(name, _)| *name == &rest[..letters])?;
            seconds += amount * scale;
            rest = &rest[letters..];
        }
        if text.trim().is_empty() { None } else { whole_microseconds(seconds) }
    }
}

/// The shortest common form, for messages.
pub(super) fn show(duration: Duration) -> String {
    let us = duration.as_micros();
    for (name, scale) in
        [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1000)]
    {
        if us >= scale && us.is_multiple_of(scale) {
            return format!("{}{name}", us / scale);
        }
    }
    if us == 0 { "0".to_owned() } else { format!("{us}us") }
}

/// Plain digits with at most one point: not `inf`, `1e9` or `+1`, which Rust would read as well.
fn number(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if plain { text.parse().ok() } else { None }
}

/// Rounded, since `"0.1s"` has no exact binary form.
fn whole_microseconds(seconds: f64) -> Option<Duration> {
    const SECONDS_MAX: f64 = 1e10;
    (0.0..=SECONDS_MAX).contains(&seconds).then(|| Duration::from_micros((seconds * 1e6).round() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_name_their_unit() {
        for (text, us) in [
            ("250ms", 250_000),
            ("3s", 3_000_000),
            ("2h", 7_200_000_000),
            ("1m", 60_000_000),
            ("1d", 86_400_000_000),
            ("50us", 50),
            ("1h30m", 5_400_000_000),
            ("1m30s", 90_000_000),
            ("1.5h", 5_400_000_000),
            (".5s", 500_000),
            ("0s", 0),
            ("20µs", 20),
            ("20μs", 20),
            ("2000ns", 2),
            ("0.1s", 100_000),
            (" 30 ", 30_000_000),
            ("0", 0),
        ] {
            assert_eq!(Unit::Seconds.parse(text), Some(Duration::from_micros(us)), "{text}");
        }
    }

    #[test]
    fn a_plain_number_counts_in_the_unit_of_its_key() {
        assert_eq!(Unit::Milliseconds.parse("200"), Some(Duration::from_millis(200)));
        assert_eq!(Unit::Microseconds.of(50.0), Some(Duration::from_micros(50)));
        assert_eq!(Unit::Seconds.of(0.5), Some(Duration::from_millis(500)));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", " ", "s", "3 s", "3x", "-3s", "3s-", "1e3s", "inf", "NaN", "..s", "3sx", "3S", "3é"]
        {
            assert_eq!(Unit::Seconds.parse(text), None, "{text}");
        }
        for number in [-1.0, f64::NAN, f64::INFINITY, 1e300] {
            assert_eq!(Unit::Seconds.of(number), None);
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for us in [0, 50, 1500, 250_000, 3_000_000, 90_000_000, 7_200_000_000, 86_400_000_000] {
            let duration = Duration::from_micros(us);
            assert_eq!(Unit::Seconds.parse(&show(duration)), Some(duration));
        }
    }
}
