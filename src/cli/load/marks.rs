//! The mark that each message carries where its SDP would begin.
//!
//! ```text
//! | %smx | sender 8 | number 10 | sent, ns 14 | variant 2 | check 8 | ;     (hexadecimal digits)
//! ```
//!
//! It is found by its first four characters wherever the server puts it, and no character of it
//! needs an escape in JSON.

use memchr::memmem::Finder;

pub const MARK_BYTES: usize = 47;

const SIGN: &[u8; 4] = b"%smx";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub sender: u32,
    /// Counts the sender's messages, from 0 on. 40 bits.
    pub number: u64,
    /// Nanoseconds since the run began. 56 bits.
    pub sent_ns: u64,
    /// Which text follows.
    pub variant: u8,
}

/// What a message says about where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The mark, and where the text behind it begins.
    Mark(Mark, usize),
    /// A mark whose digits or check do not hold.
    Broken,
    /// Not one of ours.
    Nothing,
}

impl Mark {
    /// Writes all of it; `out` has [`MARK_BYTES`].
    pub fn write(self, out: &mut [u8]) {
        let Some(out) = out.first_chunk_mut::<MARK_BYTES>() else { return };
        out[..4].copy_from_slice(SIGN);
        write_hex(&mut out[4..12], u64::from(self.sender));
        write_hex(&mut out[12..22], self.number);
        write_hex(&mut out[22..36], self.sent_ns);
        write_hex(&mut out[36..38], u64::from(self.variant));
        write_hex(&mut out[38..46], u64::from(self.check()));
        out[46] = b';';
    }

    /// So that a digit which changed on the way is noticed, a digit of the time too.
    fn check(self) -> u32 {
        let mut mixed = (u64::from(self.sender) << 32) ^ (self.number << 8) ^ u64::from(self.variant);
        mixed = (mixed ^ self.sent_ns.rotate_left(17)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed ^= mixed >> 29;
        (mixed.wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 32) as u32
    }
}

/// Looks for marks; made once, since that has a cost.
pub struct Searcher(Finder<'static>);

impl Searcher {
    pub fn new() -> Searcher {
        Searcher(Finder::new(SIGN))
    }

    pub fn find(&self, text: &[u8]) -> Found {
        let Some(start) = self.0.find(text) else { return Found::Nothing };
        let Some(digits) = text.get(start..).and_then(|rest| rest.first_chunk::<MARK_BYTES>()) else {
            return Found::Broken;
        };
        match read(digits) {
            Some(mark) => Found::Mark(mark, start + MARK_BYTES),
            None => Found::Broken,
        }
    }
}

fn read(digits: &[u8; MARK_BYTES]) -> Option<Mark> {
    let mark = Mark {
        sender: u32::try_from(read_hex(&digits[4..12])?).ok()?,
        number: read_hex(&digits[12..22])?,
        sent_ns: read_hex(&digits[22..36])?,
        variant: u8::try_from(read_hex(&digits[36..38])?).ok()?,
    };
    let check = read_hex(&digits[38..46])?;
    (check == u64::from(mark.check()) && digits[46] == b';').then_some(mark)
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// As many digits as there is room for; higher ones are left out.
fn write_hex(out: &mut [u8], number: u64) {
    let mut rest = number;
    for digit in out.iter_mut().rev() {
        *digit = DIGITS[(rest & 15) as usize];
        rest >>= 4;
    }
}

const NO_DIGIT: u8 = 0xff;

const VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        values[DIGITS[value] as usize] = value as u8;
        value += 1;
    }
    values
};

fn read_hex(digits: &[u8]) -> Option<u64> {
    let (mut number, mut worst) = (0, 0);
    for &digit in digits {
        let value = VALUES[usize::from(digit)];
        worst |= value;
        number = number << 4 | u64::from(value & 15);
    }
    (worst & 0xf0 == 0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: Mark =
        Mark { sender: 27_999, number: 0xff_1234_5678, sent_ns: 3_600_000_000_000, variant: 7 };

    fn text() -> Vec<u8> {
        let mut text = b"{\"sdp\":\"".to_vec();
        text.extend_from_slice(&[0; MARK_BYTES]);
        MARK.write(&mut text[8..]);
        text.extend_from_slice(b"v=0\"}");
        text
    }

    #[test]
    fn a_mark_is_found_wherever_it_stands() {
        let text = text();
        assert_eq!(Searcher::new().find(&text), Found::Mark(MARK, 8 + MARK_BYTES));
        assert_eq!(Searcher::new().find(&text[8..]), Found::Mark(MARK, MARK_BYTES));
        assert_eq!(Searcher::new().find(b"{\"type\":\"pong\"}"), Found::Nothing);
    }

    #[test]
    fn a_changed_digit_is_noticed() {
        for at in 12..8 + MARK_BYTES {
            let mut text = text();
            text[at] = if text[at] == b'3' { b'4' } else { b'3' };
            assert_eq!(Searcher::new().find(&text), Found::Broken, "byte {at}");
        }
        let text = text();
        assert_eq!(Searcher::new().find(&text[..7 + MARK_BYTES]), Found::Broken);
    }
}
