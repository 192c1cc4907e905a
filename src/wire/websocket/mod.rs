//! WebSocket, RFC 6455, the server's side, without extensions and without I/O.
//!
//! Owns the opening handshake, the frame header, masking, the assembly of messages from
//! fragments and pieces, the UTF-8 rule and the close codes.
//!
//! Invariants: a message that lies whole in the input is handed out where it lies, with neither
//! a copy nor an allocation. A decoder holds heap only while a message or a header is in pieces.
//! Text is handed out only as UTF-8 that has been checked.
//!
//! Must not know what a message means, when a ping is due, or how long a peer may take.

mod close;
mod decoder;
mod encoder;
mod handshake;
mod header;
mod mask;
mod partial;
mod pool;
mod utf8;
mod violation;

pub use close::{Close, CloseCode, REASON_BYTES_MAX};
pub use decoder::{Decoder, Event, Limits, Step};
pub use encoder::{header_len, write_close, write_header, write_message};
pub use handshake::{Accept, Refusal, Request, check, is_upgrade, write_accept};
pub use header::{CONTROL_BYTES_MAX, HEADER_BYTES_MAX, Opcode};
pub use mask::unmask;
pub use pool::Pool;
pub use violation::Violation;
