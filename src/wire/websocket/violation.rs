//! What a client can do against RFC 6455.

use super::close::CloseCode;

/// The client broke the protocol. The connection is lost: the server sends a Close with
/// [`Violation::close_code`] and reads no more. A message that was being assembled is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A reserved bit is set, and no extension was agreed on (section 5.2).
    ReservedBits,
    /// Opcodes 3 to 7 and 11 to 15 (section 5.2).
    ReservedOpcode,
    /// A control frame without FIN (section 5.5).
    FragmentedControl,
    /// A control frame with more than 125 bytes (section 5.5).
    ControlTooLong,
    /// A continuation frame while no message is open (section 5.4).
    StrayContinuation,
    /// A new message began before the open one was finished (section 5.4).
    InterruptedMessage,
    /// A frame of a client without a mask (section 5.1).
    Unmasked,
    /// The length is written in more bytes than it needs (section 5.2).
    LengthNotMinimal,
    /// The 64-bit length has its highest bit set (section 5.2).
    LengthOverflow,
    /// The message is, or declares that it will be, over the limit.
    MessageTooBig,
    /// Text, or the reason of a Close, that is not UTF-8 (section 8.1).
    InvalidUtf8,
    /// A Close with one byte of payload (section 5.5.1).
    CloseCutShort,
    /// A Close with a code that must not be sent (section 7.4).
    CloseCodeNotAllowed,
}

impl Violation {
    pub fn close_code(self) -> CloseCode {
        match self {
            Violation::MessageTooBig => CloseCode::TOO_BIG,
            Violation::InvalidUtf8 => CloseCode::INVALID_PAYLOAD,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }

    /// A few words for the Close frame.
    pub fn reason(self) -> &'static str {
        match self {
            Violation::ReservedBits => "reserved bits set",
            Violation::ReservedOpcode => "reserved opcode",
            Violation::FragmentedControl => "fragmented control frame",
            Violation::ControlTooLong => "control frame too long",
            Violation::StrayContinuation => "nothing to continue",
            Violation::InterruptedMessage => "message not finished",
            Violation::Unmasked => "frame not masked",
            Violation::LengthNotMinimal => "length not minimal",
            Violation::LengthOverflow => "length out of range",
            Violation::MessageTooBig => "message too big",
            Violation::InvalidUtf8 => "invalid UTF-8",
            Violation::CloseCutShort => "close frame cut short",
            Violation::CloseCodeNotAllowed => "close code not allowed",
        }
    }
}
