//! Close codes and the payload of a Close frame.
//!
//! ```text
//! | code u16, big-endian | reason, UTF-8, 0..=123 bytes |      or nothing at all
//! ```

use std::fmt;

use super::header::CONTROL_BYTES_MAX;
use super::violation::Violation;

/// Most bytes of a reason: what a control frame has room for after the code.
pub const REASON_BYTES_MAX: usize = CONTROL_BYTES_MAX - 2;

/// A close code that may stand in a Close frame (RFC 6455 section 7.4 and the IANA registry).
/// "No code" is `None` of an `Option<CloseCode>`, never 1005.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(u16);

impl CloseCode {
    pub const NORMAL: CloseCode = CloseCode(1000);
    pub const GOING_AWAY: CloseCode = CloseCode(1001);
    pub const PROTOCOL_ERROR: CloseCode = CloseCode(1002);
    pub const UNSUPPORTED: CloseCode = CloseCode(1003);
    pub const INVALID_PAYLOAD: CloseCode = CloseCode(1007);
    pub const POLICY: CloseCode = CloseCode(1008);
    pub const TOO_BIG: CloseCode = CloseCode(1009);
    pub const INTERNAL: CloseCode = CloseCode(1011);
    pub const TRY_AGAIN: CloseCode = CloseCode(1013);

    /// `None` for a number that must not stand in a Close frame: 1004, 1005, 1006 and 1015 are
    /// reserved, the rest below 3000 is not assigned, and nothing is defined from 5000 on.
    pub fn new(code: u16) -> Option<CloseCode> {
        matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999).then_some(CloseCode(code))
    }

    pub fn get(self) -> u16 {
        self.0
    }
}

/// A Close frame of the client.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Close<'a> {
    /// `None` when the frame was empty.
    pub code: Option<CloseCode>,
    pub reason: &'a str,
}

impl<'a> Close<'a> {
    pub(super) fn parse(payload: &'a [u8]) -> Result<Close<'a>, Violation> {
        match *payload {
            [] => Ok(Close { code: None, reason: "" }),
            [_] => Err(Violation::CloseCutShort),
            [high, low, ref reason @ ..] => {
                let code =
                    CloseCode::new(u16::from_be_bytes([high, low])).ok_or(Violation::CloseCodeNotAllowed)?;
                let reason = std::str::from_utf8(reason).map_err(|_| Violation::InvalidUtf8)?;
                Ok(Close { code: Some(code), reason })
            }
        }
    }
}

/// Without the reason, which is the peer's words.
impl fmt::Debug for Close<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Close").field("code", &self.code).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_codes_that_may_be_sent_are_allowed() {
        for code in 0..=u16::MAX {
            let forbidden = code < 1000
                || matches!(code, 1004 | 1005 | 1006 | 1015)
                || (1016..3000).contains(&code)
                || code >= 5000;
            assert_eq!(CloseCode::new(code).is_none(), forbidden, "{code}");
        }
    }

    #[test]
    fn a_close_payload_is_empty_or_a_code_and_text() {
        assert_eq!(Close::parse(b""), Ok(Close { code: None, reason: "" }));
        assert_eq!(Close::parse(b"\x03"), Err(Violation::CloseCutShort));
        assert_eq!(Close::parse(b"\x03\xe8"), Ok(Close { code: Some(CloseCode::NORMAL), reason: "" }));
        assert_eq!(
            Close::parse(b"\x03\xe9bye"),
            Ok(Close { code: Some(CloseCode::GOING_AWAY), reason: "bye" })
        );
        assert_eq!(Close::parse(b"\x03\xed"), Err(Violation::CloseCodeNotAllowed));
        assert_eq!(Close::parse(b"\x03\xe8\xff"), Err(Violation::InvalidUtf8));
        // The code comes first on the wire, so its fault is the one that is named.
        assert_eq!(Close::parse(b"\x00\x00\xff"), Err(Violation::CloseCodeNotAllowed));
    }
}
