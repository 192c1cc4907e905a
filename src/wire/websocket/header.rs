//! The header of a frame that a client sends (RFC 6455 section 5.2).
//!
//! ```text
//!  byte 0                  byte 1            0, 2 or 8 bytes      4 bytes
//! | FIN | RSV 000 | opcode | 1 | length u7 | length u16 or u64 | masking key |
//!    1      3         4      1       7       (126)    (127)
//! ```

use super::violation::Violation;

/// Most bytes of a frame header: two, a 64-bit length, and the key.
pub const HEADER_BYTES_MAX: usize = 14;
/// Most bytes of payload of a control frame (section 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

pub(super) const FIN: u8 = 0x80;
pub(super) const LENGTH_IN_U16: u8 = 126;
pub(super) const LENGTH_IN_U64: u8 = 127;
const RESERVED_BITS: u8 = 0x70;
const MASKED: u8 = 0x80;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    pub(super) const fn is_control(self) -> bool {
        matches!(self, Opcode::Close | Opcode::Ping | Opcode::Pong)
    }

    fn from_wire(nibble: u8) -> Option<Opcode> {
        Some(match nibble {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return None,
        })
    }
}

/// What the frames before say about the next one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    /// A fragmented message is open.
    pub(super) open: bool,
    /// Bytes that the message may still get.
    pub(super) room_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) opcode: Opcode,
    pub(super) fin: bool,
    pub(super) key: [u8; 4],
    pub(super) payload_len: usize,
}

impl Header {
    /// Reads a header from the front of `bytes` and tells its length. `None`: more bytes are
    /// needed. Every byte is judged as soon as it is there and in its order on the wire, so the
    /// verdict does not depend on how the bytes were cut.
    #[inline]
    pub(super) fn parse(bytes: &[u8], expected: Expected) -> Result<Option<(Header, usize)>, Violation> {
        let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
        let fin = first & FIN != 0;
        let opcode = check_first(first, fin, expected)?;

        let Some((&second, rest)) = rest.split_first() else { return Ok(None) };
        if second & MASKED == 0 {
            return Err(Violation::Unmasked);
        }
        let short = second & !MASKED;
        if opcode.is_control() && usize::from(short) > CONTROL_BYTES_MAX {
            return Err(Violation::ControlTooLong);
        }
        let Some((payload_len, rest)) = parse_length(short, rest)? else { return Ok(None) };
        let payload_len = match usize::try_from(payload_len) {
            Ok(len) if opcode.is_control() || len <= expected.room_bytes => len,
            _ => return Err(Violation::MessageTooBig),
        };

        let Some((&key, rest)) = rest.split_first_chunk() else { return Ok(None) };
        Ok(Some((Header { opcode, fin, key, payload_len }, bytes.len() - rest.len())))
    }
}

#[inline]
fn check_first(first: u8, fin: bool, expected: Expected) -> Result<Opcode, Violation> {
    if first & RESERVED_BITS != 0 {
        return Err(Violation::ReservedBits);
    }
    let opcode = Opcode::from_wire(first & 0x0f).ok_or(Violation::ReservedOpcode)?;
    if opcode.is_control() {
        return if fin { Ok(opcode) } else { Err(Violation::FragmentedControl) };
    }
    match (opcode == Opcode::Continuation, expected.open) {
        (true, false) => Err(Violation::StrayContinuation),
        (false, true) => Err(Violation::InterruptedMessage),
        _ => Ok(opcode),
    }
}

#[inline]
fn parse_length(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, Violation> {
    let (len, shorter_form_max, rest) = match short {
        LENGTH_IN_U16 => match rest.split_first_chunk() {
            Some((len, rest)) => (u64::from(u16::from_be_bytes(*len)), CONTROL_BYTES_MAX as u64, rest),
            None => return Ok(None),
        },
        LENGTH_IN_U64 => match rest.split_first_chunk() {
            Some((len, rest)) => (u64::from_be_bytes(*len), u64::from(u16::MAX), rest),
            None => return Ok(None),
        },
        _ => return Ok(Some((u64::from(short), rest))),
    };
    if len >> 63 != 0 {
        return Err(Violation::LengthOverflow);
    }
    if len <= shorter_form_max {
        return Err(Violation::LengthNotMinimal);
    }
    Ok(Some((len, rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: Expected = Expected { open: false, room_bytes: usize::MAX };
    const OPEN: Expected = Expected { open: true, room_bytes: usize::MAX };

    /// Parses growing prefixes until there is a verdict, and checks that the whole agrees.
    fn verdict(bytes: &[u8], expected: Expected) -> Result<Option<(Header, usize)>, Violation> {
        let early = (0..=bytes.len())
            .map(|len| Header::parse(&bytes[..len], expected))
            .find(|parsed| !matches!(parsed, Ok(None)))
            .unwrap_or(Ok(None));
        assert_eq!(early, Header::parse(bytes, expected));
        early
    }

    #[test]
    fn every_first_byte_is_judged_by_bits_opcode_and_what_is_open() {
        for first in 0..=255u8 {
            for expected in [FREE, OPEN] {
                let (fin, opcode) = (first & 0x80 != 0, first & 15);
                let want = if first & 0x70 != 0 {
                    Some(Violation::ReservedBits)
                } else if matches!(opcode, 3..=7 | 11..=15) {
                    Some(Violation::ReservedOpcode)
                } else if opcode >= 8 && !fin {
                    Some(Violation::FragmentedControl)
                } else if opcode == 0 && !expected.open {
                    Some(Violation::StrayContinuation)
                } else if matches!(opcode, 1 | 2) && expected.open {
                    Some(Violation::InterruptedMessage)
                } else {
                    None
                };
                assert_eq!(verdict(&[first], expected).err(), want, "{first:#x}");
            }
        }
    }

    #[test]
    fn lengths_are_read_in_all_three_forms() {
        for (bytes, len) in [
            (&[0x82, 0x80, 1, 2, 3, 4, 9][..], 0),
            (&[0x82, 0xfd, 1, 2, 3, 4, 9], 125),
            (&[0x82, 0xfe, 0, 126, 1, 2, 3, 4, 9], 126),
            (&[0x82, 0xfe, 0xff, 0xff, 1, 2, 3, 4, 9], 65_535),
            (&[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4, 9], 65_536),
        ] {
            let header = Header { opcode: Opcode::Binary, fin: true, key: [1, 2, 3, 4], payload_len: len };
            assert_eq!(verdict(bytes, FREE), Ok(Some((header, bytes.len() - 1))));
        }
    }

    #[test]
    fn bad_second_bytes_and_lengths_are_refused() {
        let cases: [(&[u8], Violation); 8] = [
            (&[0x81, 0x05], Violation::Unmasked),
            (&[0x81, 0x7f], Violation::Unmasked),
            (&[0x89, 0xfe], Violation::ControlTooLong),
            (&[0x88, 0xff], Violation::ControlTooLong),
            (&[0x81, 0xfe, 0, 125], Violation::LengthNotMinimal),
            (&[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff], Violation::LengthNotMinimal),
            (&[0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], Violation::LengthOverflow),
            (&[0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Violation::LengthOverflow),
        ];
        for (bytes, violation) in cases {
            assert_eq!(verdict(bytes, FREE), Err(violation), "{bytes:x?}");
        }
    }

    #[test]
    fn a_length_over_the_room_is_refused_before_the_key_arrives() {
        let room = |room_bytes| Expected { open: false, room_bytes };
        let bytes = [0x81, 0xfe, 0x01, 0x00];
        assert_eq!(verdict(&bytes, room(256)), Ok(None));
        assert_eq!(verdict(&bytes, room(255)), Err(Violation::MessageTooBig));
        // Control frames are not part of the message and need no room.
        assert!(verdict(&[0x89, 0x85, 0, 0, 0, 0], room(0)).unwrap().is_some());
    }
}
