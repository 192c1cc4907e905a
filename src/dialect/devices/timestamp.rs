//! A point in time as `Date.prototype.toISOString` writes it.

use std::cell::Cell;

use crate::base::Now;

/// `2025-11-27T12:00:00.000Z`
pub(super) type Timestamp = [u8; 24];

/// 9999-12-31T23:59:59.999Z; later ones would need more digits.
const UNIX_MS_MAX: u64 = 253_402_300_799_999;

const DAY_MS: u64 = 86_400_000;
/// Days of 400 years, after which the calendar repeats.
const CYCLE_DAYS: u64 = 146_097;
/// From 0000-03-01 to 1970-01-01.
const EPOCH_DAYS: u64 = 719_468;

thread_local! {
    /// The last one: a busy shard writes the same millisecond hundreds of times.
    static LAST: Cell<(u64, Timestamp)> = const { Cell::new((0, *b"1970-01-01T00:00:00.000Z")) };
}

pub(super) fn timestamp(now: Now) -> Timestamp {
    let unix_ms = now.unix_ms.min(UNIX_MS_MAX);
    let (last_ms, last) = LAST.get();
    if last_ms == unix_ms {
        return last;
    }
    let text = write(unix_ms);
    LAST.set((unix_ms, text));
    text
}

fn write(unix_ms: u64) -> Timestamp {
    let (day, ms) = (unix_ms / DAY_MS, unix_ms % DAY_MS);
    let (year, month, day) = date(day);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let mut put = |end: usize, digits: usize, mut number: u64| {
        for place in text[end - digits..end].iter_mut().rev() {
            *place = b'0' + (number % 10) as u8;
            number /= 10;
        }
    };
    put(4, 4, year);
    put(7, 2, month);
    put(10, 2, day);
    put(13, 2, ms / 3_600_000);
    put(16, 2, ms / 60_000 % 60);
    put(19, 2, ms / 1000 % 60);
    put(23, 3, ms % 1000);
    text
}

/// Year, month and day of a day since 1970. Years are counted from March on, so that a leap day is
/// the last of its year.
fn date(day: u64) -> (u64, u64, u64) {
    let day = day + EPOCH_DAYS;
    let (cycle, day) = (day / CYCLE_DAYS, day % CYCLE_DAYS);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Five months in a row, from March and from August, have 153 days.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (cycle * 400 + year + next_year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_a_browser_writes_them() {
        for (unix_ms, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_764_244_800_000, "2025-11-27T12:00:00.000Z"),
            (4_107_542_400_001, "2100-03-01T00:00:00.001Z"),
            (UNIX_MS_MAX, "9999-12-31T23:59:59.999Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            let written = timestamp(Now { mono_us: 0, unix_ms });
            assert_eq!(std::str::from_utf8(&written).unwrap(), expected);
        }
    }

    /// The `time` crate counts days in its own way.
    #[test]
    fn every_day_of_four_centuries_is_right() {
        for day in 0..CYCLE_DAYS {
            let written = timestamp(Now { mono_us: 0, unix_ms: day * DAY_MS });
            let oracle = time::OffsetDateTime::from_unix_timestamp((day * 86_400) as i64).unwrap();
            let (year, month, day) = (oracle.year(), u8::from(oracle.month()), oracle.day());
            let expected = format!("{year:04}-{month:02}-{day:02}T00:00:00.000Z");
            assert_eq!(std::str::from_utf8(&written).unwrap(), expected);
        }
    }
}
