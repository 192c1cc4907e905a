//! Floor 1: codecs without I/O. Bytes in, a borrowed value and the length consumed out.
//!
//! Owns every byte position of the 0xAA frame, of WebSocket (RFC 6455), of the HTTP/1.1 head
//! (RFC 9112), of the PROXY protocol, of CBOR and of the JSON scan. Encoders append to the caller's buffer.
//!
//! Invariant: no input panics or makes a codec reserve more memory than has arrived. The same
//! bytes give the same values and the same error however they are cut into pieces.
//!
//! Must not know who is connected, which words a dialect speaks, or what time it is.

pub mod cbor;
pub mod forwarded;
pub mod frame;
pub mod http;
pub mod json;
pub mod proxy;
pub mod websocket;
