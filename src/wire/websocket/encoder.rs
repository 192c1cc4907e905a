//! Frames of the server: whole, unmasked, with the shortest length that fits.
//!
//! ```text
//! | 1000 opcode | 0 length, 7 bits |                  payload      0..=125 bytes
//! | 1000 opcode | 0 126 | length u16, big-endian |    payload    126..=65,535 bytes
//! | 1000 opcode | 0 127 | length u64, big-endian |    payload   from 65,536 bytes
//! ```

use super::close::{CloseCode, REASON_BYTES_MAX};
use super::header::{CONTROL_BYTES_MAX, FIN, LENGTH_IN_U16, LENGTH_IN_U64, Opcode};

/// Bytes that [`write_header`] appends for a payload of this length: 2, 4 or 10.
pub const fn header_len(payload_len: usize) -> usize {
    match payload_len {
        0..=CONTROL_BYTES_MAX => 2,
        126..=0xffff => 4,
        _ => 10,
    }
}

/// Appends the header of a frame; the caller appends `payload_len` bytes of payload after it.
///
/// A control frame with more than [`CONTROL_BYTES_MAX`] bytes is the caller's mistake: the
/// client would close the connection.
pub fn write_header(out: &mut Vec<u8>, opcode: Opcode, payload_len: usize) {
    debug_assert!(!opcode.is_control() || payload_len <= CONTROL_BYTES_MAX);
    let first = FIN | opcode as u8;
    match header_len(payload_len) {
        2 => out.extend_from_slice(&[first, payload_len as u8]),
        4 => {
            let [high, low] = (payload_len as u16).to_be_bytes();
            out.extend_from_slice(&[first, LENGTH_IN_U16, high, low]);
        }
        _ => {
            out.extend_from_slice(&[first, LENGTH_IN_U64]);
            out.extend_from_slice(&(payload_len as u64).to_be_bytes());
        }
    }
}

/// Appends one whole frame.
pub fn write_message(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    out.reserve(header_len(payload.len()) + payload.len());
    write_header(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

/// Appends a Close. The reason is cut to [`REASON_BYTES_MAX`] bytes between two characters.
/// Without a code the frame is empty, since a reason cannot stand alone.
pub fn write_close(out: &mut Vec<u8>, code: Option<CloseCode>, reason: &str) {
    let Some(code) = code else {
        return write_header(out, Opcode::Close, 0);
    };
    let reason = &reason.as_bytes()[..reason.floor_char_boundary(REASON_BYTES_MAX)];
    write_header(out, Opcode::Close, 2 + reason.len());
    out.extend_from_slice(&code.get().to_be_bytes());
    out.extend_from_slice(reason);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_written_in_its_shortest_form() {
        for (len, header) in [
            (0, &[0x82, 0][..]),
            (125, &[0x82, 125]),
            (126, &[0x82, 126, 0, 126]),
            (65_535, &[0x82, 126, 0xff, 0xff]),
            (65_536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let payload = vec![7; len];
            let mut out = b"kept".to_vec();
            write_message(&mut out, Opcode::Binary, &payload);
            assert_eq!(&out[..4], b"kept");
            assert_eq!(&out[4..4 + header.len()], header);
            assert_eq!(out.len(), 4 + header_len(len) + len);
            assert_eq!(&out[4 + header.len()..], payload);
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_two_characters() {
        let mut out = Vec::new();
        write_close(&mut out, Some(CloseCode::POLICY), &"ä".repeat(100));
        // 123 is odd and the character has two bytes, so one byte stays unused.
        assert_eq!(&out[..4], [0x88, 124, 0x03, 0xf0]);
        assert_eq!(std::str::from_utf8(&out[4..]), Ok("ä".repeat(61).as_str()));

        out.clear();
        write_close(&mut out, Some(CloseCode::POLICY), &"x".repeat(123));
        assert_eq!(out.len(), 2 + CONTROL_BYTES_MAX);
    }

    #[test]
    fn a_close_without_a_code_is_empty() {
        let mut out = Vec::new();
        write_close(&mut out, None, "dropped");
        assert_eq!(out, [0x88, 0]);
    }
}
