//! A relay that knows nothing of what it relays: the least that a server has to do for a message.
//!
//! Each connection logs in once, under a name that ends in its number, and is answered with a fixed
//! text. Numbers 1 and 2 are partners, 3 and 4, and so on. From then on
//!
//! - on plain TCP every byte goes to the partner as it came; nothing is looked at, a goodbye neither;
//! - on a WebSocket the header of each frame is read, since a client's frames are masked and a server's
//!   must not be: the header is written anew, and the payload unmasked while it moves. Nothing
//!   in the payload is looked at.
//!
//! No limits, no time-outs, no checks beyond what the next byte needs: it is a measure, not a server.
//!
//! Must not know sockets, so that the same relay runs on the ring and on epoll.

use memchr::memmem;
use sigmux::wire::websocket::unmask;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// As many emptied buffers are kept for the next message.
const SPARES_MAX: usize = 256;
/// A slot's partner while it has none.
const NOBODY: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Free,
    /// An HTTP head, or the first 0xAA frame.
    Opening,
    /// The first message of a WebSocket.
    LoggingIn,
    /// WebSocket frames go to the partner.
    Frames,
    /// Bytes go to the partner.
    Bytes,
    /// Its last bytes are on their way; what still arrives is thrown away.
    Closing,
}

struct Connection {
    stage: Stage,
    /// Stands in `dirty`.
    queued: bool,
    partner: u32,
    number: u32,
    out: Vec<u8>,
    /// The beginning of something that has not arrived in full.
    partial: Vec<u8>,
}

#[derive(Default)]
pub struct Relay {
    connections: Vec<Connection>,
    free: Vec<u32>,
    /// By number, the slot that has it.
    seats: Vec<u32>,
    dirty: Vec<u32>,
    spares: Vec<Vec<u8>>,
}

impl Relay {
    /// A slot for a connection that came in.
    pub fn open(&mut self) -> u32 {
        let slot = self.free.pop().unwrap_or(self.connections.len() as u32);
        let fresh = Connection {
            stage: Stage::Opening,
            queued: false,
            partner: NOBODY,
            number: 0,
            out: Vec::new(),
            partial: Vec::new(),
        };
        match self.connections.get_mut(slot as usize) {
            Some(connection) => *connection = fresh,
            None => self.connections.push(fresh),
        }
        slot
    }

    /// Bytes came, cut anywhere. False: the connection is of no use any more.
    pub fn received(&mut self, slot: u32, bytes: &[u8]) -> bool {
        let connection = &mut self.connections[slot as usize];
        if connection.stage == Stage::Bytes {
            self.forward(slot, bytes);
            return true;
        }
        if connection.partial.is_empty() {
            let Some(taken) = self.take(slot, bytes) else { return false };
            if taken < bytes.len() {
                self.connections[slot as usize].partial.extend_from_slice(&bytes[taken..]);
            }
        } else {
            let mut partial = std::mem::take(&mut connection.partial);
            partial.extend_from_slice(bytes);
            let Some(taken) = self.take(slot, &partial) else { return false };
            if taken < partial.len() {
                partial.drain(..taken);
                self.connections[slot as usize].partial = partial;
            }
        }
        true
    }

    /// The next slot that has something to send, or is to be closed behind it.
    pub fn next_dirty(&mut self) -> Option<u32> {
        let slot = self.dirty.pop()?;
        self.connections[slot as usize].queued = false;
        Some(slot)
    }

    /// What is to be sent; empty if there is nothing.
    pub fn take_out(&mut self, slot: u32) -> Vec<u8> {
        std::mem::take(&mut self.connections[slot as usize].out)
    }

    pub fn has_out(&self, slot: u32) -> bool {
        !self.connections[slot as usize].out.is_empty()
    }

    /// Whether the socket is to be closed once everything is sent.
    pub fn is_closing(&self, slot: u32) -> bool {
        self.connections[slot as usize].stage == Stage::Closing
    }

    /// A buffer that was sent.
    pub fn give_back(&mut self, mut buffer: Vec<u8>) {
        if self.spares.len() < SPARES_MAX {
            buffer.clear();
            self.spares.push(buffer);
        }
    }

    /// The socket is gone.
    pub fn closed(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        let (partner, number, out) =
            (connection.partner, connection.number, std::mem::take(&mut connection.out));
        connection.stage = Stage::Free;
        connection.partial = Vec::new();
        if out.capacity() > 0 {
            self.give_back(out);
        }
        if let Some(partner) = self.connections.get_mut(partner as usize)
            && partner.partner == slot
        {
            partner.partner = NOBODY;
        }
        if let Some(seat) = self.seats.get_mut(number as usize)
            && *seat == slot
        {
            *seat = NOBODY;
        }
        self.free.push(slot);
    }

    /// Takes whole units from the front; how many bytes they were, or `None` to close.
    fn take(&mut self, slot: u32, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let taken = match self.connections[slot as usize].stage {
                Stage::Opening if rest[0] == 0xAA => self.log_in_on_tcp(slot, rest)?,
                Stage::Opening => self.upgrade(slot, rest)?,
                Stage::LoggingIn => self.log_in(slot, rest)?,
                Stage::Frames => self.forward_frames(slot, rest)?,
                Stage::Bytes => {
                    self.forward(slot, rest);
                    rest.len()
                }
                Stage::Closing | Stage::Free => rest.len(),
            };
            if taken == 0 {
                break;
            }
            at += taken;
        }
        Some(at)
    }

    fn forward(&mut self, slot: u32, bytes: &[u8]) {
        let partner = self.connections[slot as usize].partner;
        if partner != NOBODY {
            self.out(partner).extend_from_slice(bytes);
        }
    }

    fn forward_frames(&mut self, slot: u32, bytes: &[u8]) -> Option<usize> {
        let partner = self.connections[slot as usize].partner;
        // Taken out once for all frames of a receive.
        let mut nowhere = Vec::new();
        let mut out = if partner == NOBODY { &mut nowhere } else { self.out(partner) };
        let mut at = 0;
        while let Some(frame) = Frame::read(&bytes[at..])? {
            match frame.first & 0x0f {
                0..=2 => frame.write_unmasked(out),
                CLOSE => {
                    let own = self.out(slot);
                    frame.write_unmasked(own);
                    self.connections[slot as usize].stage = Stage::Closing;
                    return Some(bytes.len());
                }
                _ => {}
            }
            at += frame.header_bytes + frame.payload.len();
            out = if partner == NOBODY { &mut nowhere } else { &mut self.connections[partner as usize].out };
        }
        Some(at)
    }

    fn upgrade(&mut self, slot: u32, bytes: &[u8]) -> Option<usize> {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut headers);
        let head_bytes = match request.parse(bytes).ok()? {
            httparse::Status::Complete(bytes) => bytes,
            httparse::Status::Partial => return Some(0),
        };
        let key =
            request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("sec-websocket-key"))?;
        let accept = derive_accept_key(key.value);
        let out = self.out(slot);
        out.extend_from_slice(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
        );
        out.extend_from_slice(accept.as_bytes());
        out.extend_from_slice(b"\r\n\r\n");
        self.connections[slot as usize].stage = Stage::LoggingIn;
        Some(head_bytes)
    }

    /// The only message whose inside is looked at.
    fn log_in(&mut self, slot: u32, bytes: &[u8]) -> Option<usize> {
        let Some(frame) = Frame::read(bytes)? else { return Some(0) };
        let taken = frame.header_bytes + frame.payload.len();
        let mut payload = frame.payload.to_vec();
        unmask(&mut payload, frame.key, 0);
        let is_binary = frame.first & 0x0f == BINARY;
        let answer = if is_binary { connect_ack() } else { REGISTERED.to_vec() };
        self.seat(slot, &payload, Stage::Frames)?;
        let out = self.out(slot);
        write_header(out, frame.first, answer.len());
        out.extend_from_slice(&answer);
        Some(taken)
    }

    fn log_in_on_tcp(&mut self, slot: u32, bytes: &[u8]) -> Option<usize> {
        let Some(&[high, low]) = bytes.get(19..21) else { return Some(0) };
        let taken = HEADER_BYTES + usize::from(u16::from_be_bytes([high, low]));
        let Some(frame) = bytes.get(..taken) else { return Some(0) };
        self.seat(slot, frame, Stage::Bytes)?;
        self.out(slot).extend_from_slice(&connect_ack());
        Some(taken)
    }

    /// Finds the partner by the number at the end of the name.
    fn seat(&mut self, slot: u32, login: &[u8], stage: Stage) -> Option<()> {
        let name = &login[memmem::find(login, b"id\":\"")? + 5..];
        let name = &name[..memchr::memchr(b'"', name)?];
        let digits = name.iter().rposition(|byte| !byte.is_ascii_digit()).map_or(0, |last| last + 1);
        let number: u32 = std::str::from_utf8(&name[digits..]).ok()?.parse().ok()?;
        let index = number.checked_sub(1).filter(|&index| index < NUMBERS_MAX)?;
        let pair = index as usize | 1;
        if self.seats.len() <= pair {
            self.seats.resize(pair + 1, NOBODY);
        }
        self.seats[index as usize] = slot;
        let partner = self.seats[index as usize ^ 1];
        let connection = &mut self.connections[slot as usize];
        (connection.stage, connection.number, connection.partner) = (stage, index, partner);
        if partner != NOBODY {
            self.connections[partner as usize].partner = slot;
        }
        Some(())
    }

    /// Where to write for a slot; it is flushed at the end of the turn.
    fn out(&mut self, slot: u32) -> &mut Vec<u8> {
        let connection = &mut self.connections[slot as usize];
        if !connection.queued {
            connection.queued = true;
            self.dirty.push(slot);
        }
        if connection.out.capacity() == 0
            && let Some(spare) = self.spares.pop()
        {
            connection.out = spare;
        }
        &mut connection.out
    }
}

const NUMBERS_MAX: u32 = 1 << 20;
/// Opcodes.
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
/// Of a 0xAA frame.
const HEADER_BYTES: usize = 21;

/// What `devices` says to a login.
const REGISTERED: &[u8] = br#"{"type":"registered","id":"you","timestamp":"1970-01-01T00:00:00.000Z"}"#;

/// What `binary` says to a login.
fn connect_ack() -> Vec<u8> {
    let payload = br#"{"status":"success","session_id":"00000000-0000-4000-8000-000000000000"}"#;
    let mut frame = vec![0; HEADER_BYTES];
    (frame[0], frame[1], frame[18]) = (0xAA, 0x02, 0x02);
    frame[20] = payload.len() as u8;
    frame.extend_from_slice(payload);
    frame
}

/// One frame of a client.
struct Frame<'a> {
    first: u8,
    key: [u8; 4],
    header_bytes: usize,
    payload: &'a [u8],
}

impl Frame<'_> {
    /// The whole frame at the front; `None` outside: not of a client, inside: not there yet.
    #[inline]
    fn read(bytes: &[u8]) -> Option<Option<Frame<'_>>> {
        let &[first, second, ref rest @ ..] = bytes else { return Some(None) };
        if second & 0x80 == 0 {
            return None;
        }
        let (length, rest) = match second & 0x7f {
            126 => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest),
                None => return Some(None),
            },
            127 => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from_be_bytes(*length), rest),
                None => return Some(None),
            },
            short => (u64::from(short), rest),
        };
        let Some((&key, rest)) = rest.split_first_chunk() else { return Some(None) };
        let Some(payload) = usize::try_from(length).ok().and_then(|length| rest.get(..length)) else {
            return Some(None);
        };
        Some(Some(Frame { first, key, header_bytes: bytes.len() - rest.len(), payload }))
    }

    #[inline]
    fn write_unmasked(&self, out: &mut Vec<u8>) {
        write_header(out, self.first, self.payload.len());
        let start = out.len();
        out.extend_from_slice(self.payload);
        unmask(&mut out[start..], self.key, 0);
    }
}

fn write_header(out: &mut Vec<u8>, first: u8, payload_bytes: usize) {
    match payload_bytes {
        0..=125 => out.extend_from_slice(&[first, payload_bytes as u8]),
        126..=0xffff => {
            let [high, low] = (payload_bytes as u16).to_be_bytes();
            out.extend_from_slice(&[first, 126, high, low]);
        }
        _ => {
            out.extend_from_slice(&[first, 127]);
            out.extend_from_slice(&(payload_bytes as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let key = [1, 2, 3, 4];
        let mut frame = Vec::new();
        write_header(&mut frame, first, payload.len());
        frame[1] |= 0x80;
        frame.extend_from_slice(&key);
        let start = frame.len();
        frame.extend_from_slice(payload);
        unmask(&mut frame[start..], key, 0);
        frame
    }

    fn plain(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        write_header(&mut frame, first, payload.len());
        frame.extend_from_slice(payload);
        frame
    }

    fn said(relay: &mut Relay, slot: u32) -> Vec<u8> {
        while relay.next_dirty().is_some() {}
        relay.take_out(slot)
    }

    /// Numbers 1 and 2, logged in over WebSockets.
    fn pair() -> (Relay, u32, u32) {
        let mut relay = Relay::default();
        let slots = [1, 2].map(|number| {
            let slot = relay.open();
            let head = b"GET / HTTP/1.1\r\nHost: x\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
            assert!(relay.received(slot, &head[..30]));
            assert!(relay.received(slot, &head[30..]));
            let answer = said(&mut relay, slot);
            assert!(memmem::find(&answer, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=").is_some());
            let login = masked(0x81, format!(r#"{{"type":"register","id":"test_{number:02}"}}"#).as_bytes());
            assert!(relay.received(slot, &login));
            assert_eq!(said(&mut relay, slot), plain(0x81, REGISTERED));
            slot
        });
        (relay, slots[0], slots[1])
    }

    #[test]
    fn frames_arrive_unmasked_however_they_were_cut() {
        let (mut relay, one, two) = pair();
        let sent = [masked(0x81, b"short"), masked(0x82, &[7; 300]), masked(0x81, &[8; 70_000])].concat();
        let expected = [plain(0x81, b"short"), plain(0x82, &[7; 300]), plain(0x81, &[8; 70_000])].concat();
        for cut in [1, 3, 9, 12, 20, 400, sent.len()] {
            for piece in sent.chunks(cut) {
                assert!(relay.received(one, piece));
            }
            assert!(said(&mut relay, two) == expected, "in pieces of {cut}");
        }
    }

    #[test]
    fn bytes_on_tcp_pass_as_they_are() {
        let mut relay = Relay::default();
        let [one, two] = [1, 2].map(|number| {
            let slot = relay.open();
            let payload = format!(r#"{{"client_id":"c{number}","auth_token":"t"}}"#);
            let mut login = vec![0; HEADER_BYTES];
            (login[0], login[20]) = (0xAA, payload.len() as u8);
            login.extend_from_slice(payload.as_bytes());
            assert!(relay.received(slot, &login[..25]));
            assert!(relay.received(slot, &login[25..]));
            assert_eq!(said(&mut relay, slot), connect_ack());
            slot
        });
        assert!(relay.received(two, b"anything"));
        assert_eq!(said(&mut relay, one), b"anything");
    }

    #[test]
    fn a_close_is_answered_and_the_partner_is_on_its_own() {
        let (mut relay, one, two) = pair();
        assert!(relay.received(one, &masked(0x88, &[3, 232])));
        assert!(relay.is_closing(one));
        assert_eq!(said(&mut relay, one), plain(0x88, &[3, 232]));
        relay.closed(one);
        assert!(relay.received(two, &masked(0x81, b"to nobody")));
        assert_eq!(relay.open(), one);
        assert_eq!(said(&mut relay, one), b"");
    }

    #[test]
    fn an_unmasked_frame_ends_the_connection() {
        let (mut relay, one, _) = pair();
        assert!(!relay.received(one, &plain(0x81, b"no client")));
    }
}
