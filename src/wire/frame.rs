//! The 0xAA frame.
//!
//! ```text
//!   0     1        2 ..= 17           18            19 ..= 20       21 ..
//! ┌────┬──────┬────────────────┬──────────────┬────────────────┬───────────┐
//! │ AA │ type │ uuid, 16 bytes │ payload type │ length, u16 BE │  payload  │
//! └────┴──────┴────────────────┴──────────────┴────────────────┴───────────┘
//! ```
//!
//! The uuid is in the order of RFC 4122. A WebSocket message holds whole frames back to back
//! ([`complete`]); on a stream they follow each other and may arrive in pieces ([`streaming`]).
//! Both type bytes stay raw here: whoever refuses an unknown one answers with the frame's uuid.

use nom::bytes::take;
use nom::error::Error as NomError;
use nom::{Err as NomErr, Needed, Parser};

pub const START_BYTE: u8 = 0xAA;
pub const HEADER_BYTES: usize = 21;
/// What the length field can say.
pub const PAYLOAD_BYTES_MAX: usize = 65_535;

const LENGTH_AT: usize = HEADER_BYTES - 2;

/// One frame, borrowed from the receive buffer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    pub message_type: u8,
    pub uuid: &'a [u8; 16],
    pub payload_type: u8,
    pub payload: &'a [u8],
}

/// Why no frame stands where one has to. Always the peer's fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// Where the next frame would begin is unknown: the framing is lost.
    BadStartByte,
    /// The input ends inside the frame. What its header still said is kept for the answer.
    Cut { uuid: Option<[u8; 16]>, payload_type: Option<u8> },
}

/// Why a stream has no frame for now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unfinished {
    /// Where the next frame would begin is unknown: the framing is lost.
    BadStartByte,
    /// The frame is longer than the input: at least so many bytes, from its start byte on.
    Incomplete { frame_bytes_min: usize },
}

/// The payload does not fit a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooLong;

impl Frame<'_> {
    /// Bytes that the frame takes, header and payload.
    pub fn frame_bytes(&self) -> usize {
        HEADER_BYTES + self.payload.len()
    }
}

/// The frame at the front of a WebSocket message, or of what is left of it.
///
/// # Errors
/// [`Broken`]; the rest of the message is lost, the next message is not.
pub fn complete(input: &[u8]) -> Result<Frame<'_>, Broken> {
    match grammar().parse_complete(input) {
        Ok((_, frame)) => Ok(frame),
        Err(_) if starts_wrong(input) => Err(Broken::BadStartByte),
        Err(_) => {
            let uuid = input.get(2..).and_then(|rest| rest.first_chunk()).copied();
            Err(Broken::Cut { uuid, payload_type: input.get(18).copied() })
        }
    }
}

/// The frame at the front of a stream's bytes.
///
/// # Errors
/// [`Unfinished`]; only a bad start byte is final.
pub fn streaming(input: &[u8]) -> Result<Frame<'_>, Unfinished> {
    match grammar().parse(input) {
        Ok((_, frame)) => Ok(frame),
        Err(_) if starts_wrong(input) => Err(Unfinished::BadStartByte),
        Err(NomErr::Incomplete(Needed::Size(missing))) => {
            let frame_bytes_min = HEADER_BYTES.max(input.len() + missing.get());
            Err(Unfinished::Incomplete { frame_bytes_min })
        }
        Err(_) => Err(Unfinished::Incomplete { frame_bytes_min: HEADER_BYTES.max(input.len() + 1) }),
    }
}

/// Appends a header; the caller appends `payload_bytes` bytes of payload after it.
///
/// # Errors
/// [`TooLong`] above [`PAYLOAD_BYTES_MAX`]; nothing is appended then.
pub fn write_header(
    out: &mut Vec<u8>,
    message_type: u8,
    uuid: &[u8; 16],
    payload_type: u8,
    payload_bytes: usize,
) -> Result<(), TooLong> {
    let length = u16::try_from(payload_bytes).map_err(|_| TooLong)?;
    let mut header = [0; HEADER_BYTES];
    header[0] = START_BYTE;
    header[1] = message_type;
    header[2..18].copy_from_slice(uuid);
    header[18] = payload_type;
    header[LENGTH_AT..].copy_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&header);
    Ok(())
}

/// Appends a whole frame whose payload `write_payload` appends.
///
/// # Errors
/// [`TooLong`] above [`PAYLOAD_BYTES_MAX`]; `out` is as it was then.
pub fn write_frame(
    out: &mut Vec<u8>,
    message_type: u8,
    uuid: &[u8; 16],
    payload_type: u8,
    write_payload: impl FnOnce(&mut Vec<u8>),
) -> Result<(), TooLong> {
    let start = out.len();
    write_header(out, message_type, uuid, payload_type, 0)?;
    write_payload(out);
    let Ok(length) = u16::try_from(out.len() - start - HEADER_BYTES) else {
        out.truncate(start);
        return Err(TooLong);
    };
    out[start + LENGTH_AT..start + HEADER_BYTES].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

/// The header in one piece and the payload in another: two checks of a length are all it takes.
fn grammar<'a>() -> impl Parser<&'a [u8], Output = Frame<'a>, Error = NomError<&'a [u8]>> {
    take(HEADER_BYTES).map_opt(<[u8]>::first_chunk::<HEADER_BYTES>).flat_map(
        |header: &'a [u8; HEADER_BYTES]| {
            let [start, message_type, uuid @ .., payload_type, high, low] = header;
            let payload_bytes = u16::from_be_bytes([*high, *low]);
            take(payload_bytes).map_opt(move |payload| {
                (*start == START_BYTE).then_some(Frame {
                    message_type: *message_type,
                    uuid,
                    payload_type: *payload_type,
                    payload,
                })
            })
        },
    )
}

fn starts_wrong(input: &[u8]) -> bool {
    input.first().is_some_and(|&byte| byte != START_BYTE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: [u8; 16] = *b"0123456789abcdef";

    fn frame(payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_header(&mut out, 0x10, &UUID, 2, payload.len()).unwrap();
        out.extend_from_slice(payload);
        out
    }

    #[test]
    fn the_header_has_the_documented_bytes() {
        let bytes = frame(&[0x7b; 0x012a]);
        assert_eq!(bytes[..2], [0xAA, 0x10]);
        assert_eq!(bytes[2..18], UUID);
        assert_eq!(bytes[18..21], [0x02, 0x01, 0x2a]);
        assert_eq!(bytes.len(), HEADER_BYTES + 0x012a);
    }

    #[test]
    fn a_frame_of_every_boundary_length_comes_back_as_it_was() {
        for length in [0, 1, 255, 256, PAYLOAD_BYTES_MAX] {
            let payload = vec![0xAA; length];
            let mut bytes = frame(&payload);
            let expected = Frame { message_type: 0x10, uuid: &UUID, payload_type: 2, payload: &payload };
            assert!(complete(&bytes) == Ok(expected) && streaming(&bytes) == Ok(expected));
            // What follows belongs to the next frame.
            bytes.push(0);
            assert!(complete(&bytes) == Ok(expected) && streaming(&bytes) == Ok(expected));
            assert_eq!(expected.frame_bytes() + 1, bytes.len());
        }
    }

    #[test]
    fn the_encoder_refuses_65536_bytes_and_appends_nothing() {
        let mut out = vec![1];
        assert_eq!(write_header(&mut out, 1, &UUID, 2, PAYLOAD_BYTES_MAX + 1), Err(TooLong));
        let too_long = |out: &mut Vec<u8>| out.extend_from_slice(&[0; PAYLOAD_BYTES_MAX + 1]);
        assert_eq!(write_frame(&mut out, 1, &UUID, 2, too_long), Err(TooLong));
        assert_eq!(out, [1]);
        let longest = |out: &mut Vec<u8>| out.extend_from_slice(&[7; PAYLOAD_BYTES_MAX]);
        assert_eq!(write_frame(&mut out, 1, &UUID, 2, longest), Ok(()));
        assert!(complete(&out[1..]).is_ok_and(|f| f.payload == [7; PAYLOAD_BYTES_MAX]));
    }

    #[test]
    fn a_cut_frame_keeps_what_its_header_still_said() {
        let bytes = frame(b"payload");
        for end in 0..bytes.len() {
            let uuid = (end >= 18).then_some(UUID);
            let payload_type = (end >= 19).then_some(2);
            let cut = &bytes[..end];
            assert!(complete(cut) == Err(Broken::Cut { uuid, payload_type }), "cut at {end}");
        }
    }

    #[test]
    fn a_stream_is_told_how_much_is_missing() {
        let bytes = frame(b"payload");
        for end in 0..bytes.len() {
            let frame_bytes_min = if end < HEADER_BYTES { HEADER_BYTES } else { bytes.len() };
            assert!(streaming(&bytes[..end]) == Err(Unfinished::Incomplete { frame_bytes_min }), "{end}");
        }
    }

    #[test]
    fn a_bad_start_byte_is_told_at_once() {
        for byte in (0..=255).filter(|&byte| byte != START_BYTE) {
            assert!(complete(&[byte]) == Err(Broken::BadStartByte));
            assert!(streaming(&[byte]) == Err(Unfinished::BadStartByte));
        }
    }
}
