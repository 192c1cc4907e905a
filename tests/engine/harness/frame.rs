//! The 0xAA frame, from the document:
//!
//! ```text
//! +----+------+------------------+---------+----------+-----------+
//! | AA | type | uuid (16, BE)    | payload | length   | payload   |
//! | u8 | u8   |                  | type u8 | u16 BE   | 0..=65535 |
//! +----+------+------------------+---------+----------+-----------+
//! ```

use std::sync::atomic::{AtomicU64, Ordering};

pub const CONNECT: u8 = 0x01;
pub const CONNECT_ACK: u8 = 0x02;
pub const DISCONNECT: u8 = 0x03;
pub const HEARTBEAT: u8 = 0x04;
pub const HEARTBEAT_ACK: u8 = 0x05;
pub const OFFER: u8 = 0x10;
pub const ANSWER: u8 = 0x11;
pub const CANDIDATE: u8 = 0x12;
pub const ERROR: u8 = 0xFF;

pub const SIGNALS: [u8; 3] = [OFFER, ANSWER, CANDIDATE];
pub const HEADER_BYTES: usize = 21;
pub const PAYLOAD_BYTES_MAX: usize = 65_535;
pub const NIL: [u8; 16] = [0; 16];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub uuid: [u8; 16],
    pub payload_type: u8,
    pub payload: Vec<u8>,
}

impl Frame {
    /// A frame with a uuid that no other frame of this run has.
    pub fn new(kind: u8, payload_type: u8, payload: impl Into<Vec<u8>>) -> Frame {
        Frame { kind, uuid: fresh_uuid(), payload_type, payload: payload.into() }
    }

    /// # Panics
    /// When the payload does not fit: a test that wants to lie about lengths edits the bytes.
    pub fn encode(&self) -> Vec<u8> {
        let length = u16::try_from(self.payload.len()).expect("at most 65,535 bytes of payload");
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.payload.len());
        bytes.extend([0xAA, self.kind]);
        bytes.extend(self.uuid);
        bytes.push(self.payload_type);
        bytes.extend(length.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }

    /// The first frame of `bytes` and what it took, or nothing while it is not whole.
    ///
    /// # Panics
    /// When `bytes` do not begin like a frame: the engine must never send that.
    pub fn decode(bytes: &[u8]) -> Option<(Frame, usize)> {
        if let Some(first) = bytes.first() {
            assert_eq!(*first, 0xAA, "the engine sent something that is no frame: {bytes:02x?}");
        }
        let header = bytes.first_chunk::<HEADER_BYTES>()?;
        let length = usize::from(u16::from_be_bytes([header[19], header[20]]));
        let payload = bytes.get(HEADER_BYTES..HEADER_BYTES + length)?;
        let uuid = header[2..18].try_into().expect("sixteen bytes");
        let frame = Frame { kind: header[1], uuid, payload_type: header[18], payload: payload.to_vec() };
        Some((frame, HEADER_BYTES + length))
    }
}

/// A number in the layout of a random uuid.
pub fn fresh_uuid() -> [u8; 16] {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut uuid = [0; 16];
    uuid[8..].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    (uuid[0], uuid[6], uuid[8]) = (0x5e, 0x40, 0x80);
    uuid
}

/// How a tagged payload of this type is named.
pub fn tag_of(kind: u8) -> &'static str {
    match kind {
        CONNECT => "Connect",
        CONNECT_ACK => "ConnectAck",
        DISCONNECT => "Disconnect",
        HEARTBEAT => "Heartbeat",
        HEARTBEAT_ACK => "HeartbeatAck",
        OFFER => "SignalOffer",
        ANSWER => "SignalAnswer",
        CANDIDATE => "SignalIceCandidate",
        ERROR => "Error",
        other => panic!("type {other:#04x} has no tag"),
    }
}
