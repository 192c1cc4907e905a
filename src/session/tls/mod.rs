//! TLS on one connection, without I/O: records in, plaintext out, and the other way round.
//!
//! ```text
//! received ─► incoming (a record that is not complete) ─► plaintext ─► session
//! a batch of the outbox ─► records of 16 KiB ─┐
//!          handshake, alerts ─► outgoing ─────┴─► one send; `marks` tell what of it is delivered
//! ```
//!
//! It lives beside the outbox, since the shard seals what it flushes without a look at the session.
//! Invariants: a connection that has begun with TLS sends nothing unsealed; what was received is
//! handed on in order and whole records only; a message counts as delivered when the kernel has taken
//! the last byte of the record that ends it; an idle connection holds no buffer.
//!
//! rustls takes its random numbers from its provider, and looks at the system's clock for the age of
//! tickets and for the validity of clients' certificates: the exception to the rule that both arrive
//! as arguments. A simulation leaves TLS out.

use std::fmt;
use std::sync::Arc;

use rustls::server::{ServerConfig, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus};
use rustls::{AlertDescription, Error};

use crate::auth::{CertificateNames, Certified};
use crate::observe::TlsFailure;

/// First byte of every connection that begins with TLS: the content type of a handshake record.
const HANDSHAKE: u8 = 0x16;
/// Longest plaintext of one record (RFC 8446 section 5.1).
const RECORD_BYTES: usize = 1 << 14;
/// What a record adds at most: its header, a nonce, the content type and the tag.
const RECORD_OVERHEAD: usize = 64;
/// Received and not complete: a record, or the messages of a handshake, of which a client's chain of
/// certificates is the longest. rustls itself would wait for 64 KiB of somebody who has shown nothing.
const INCOMING_BYTES_MAX: usize = 32 * 1024;
/// Handshake messages and alerts that wait for the kernel; the largest are our own certificates.
const OUTGOING_BYTES_MAX: usize = 128 * 1024;
/// Alerts are shorter.
const CLOSE_NOTIFY_BYTES_MAX: usize = 256;

/// How a listener speaks TLS. A reload replaces the whole; connections keep what they began with.
#[derive(Clone)]
pub struct TlsTerms {
    pub config: Arc<ServerConfig>,
    /// Who does not begin with a handshake is served without TLS.
    pub allow_plaintext: bool,
    /// Clients have to show a certificate, whose names are the ids that they may have.
    pub asks_certificate: bool,
}

impl fmt::Debug for TlsTerms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsTerms")
            .field("allow_plaintext", &self.allow_plaintext)
            .field("asks_certificate", &self.asks_certificate)
            .finish_non_exhaustive()
    }
}

/// TLS of one connection.
pub struct Tls {
    link: Link,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    /// Of the send that is in flight, in the order of their ends.
    marks: Vec<Mark>,
    marks_passed: usize,
    flight_bytes: usize,
    taken_bytes: usize,
    close_notified: bool,
    names: Option<CertificateNames>,
}

enum Link {
    /// Nothing has been received.
    Unseen(TlsTerms),
    Handshake(UnbufferedServerConnection, TlsTerms),
    Open(UnbufferedServerConnection),
    /// Broken off; what is in `outgoing` is the last word.
    Broken,
}

/// A record of the send in flight: where it ends there, and how much plaintext it completes.
struct Mark {
    sealed_end: usize,
    plain_end: usize,
}

/// What received bytes were.
#[derive(Debug)]
pub enum Received {
    /// Records. Their plaintext, if there was any, has been appended.
    Records {
        /// With these the handshake was completed.
        opened: bool,
        /// The peer has said that it will send nothing more.
        peer_closed: bool,
    },
    /// The connection does not begin with TLS, and need not: it is served without.
    Plain,
    /// The connection does not begin with TLS, and has to.
    PlainRefused,
    /// Broken off. Plaintext that came before has been appended; an alert may wait to be sent.
    Failed(TlsError),
}

/// Why TLS broke off.
#[derive(Clone, Debug, PartialEq)]
pub enum TlsError {
    /// The peer said so.
    Alert(AlertDescription),
    /// The client shows no certificate, or one that is not accepted.
    Certificate(Error),
    /// No version, cipher or protocol in common.
    Incompatible(Error),
    /// Bytes that are no TLS, or not what is due.
    Protocol(Error),
    /// Over [`INCOMING_BYTES_MAX`] or [`OUTGOING_BYTES_MAX`].
    TooLong,
    /// Something of our own.
    Ours(Error),
}

/// Nothing can be sealed any more: the keys are used up, or the connection has broken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CannotSeal;

impl Tls {
    pub fn new(terms: &TlsTerms) -> Tls {
        Tls {
            link: Link::Unseen(terms.clone()),
            incoming: Vec::new(),
            outgoing: Vec::new(),
            marks: Vec::new(),
            marks_passed: 0,
            flight_bytes: 0,
            taken_bytes: 0,
            close_notified: false,
            names: None,
        }
    }

    /// Bytes have arrived. They are overwritten; the plaintext is appended to `plain`.
    pub fn receive(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>) -> Received {
        if let Link::Unseen(terms) = &self.link {
            match bytes.first() {
                Some(&HANDSHAKE) => match UnbufferedServerConnection::new(Arc::clone(&terms.config)) {
                    Ok(connection) => self.link = Link::Handshake(connection, terms.clone()),
                    Err(error) => return self.break_off(TlsError::Ours(error)),
                },
                Some(_) if terms.allow_plaintext => return Received::Plain,
                Some(_) => return Received::PlainRefused,
                None => return Received::Records { opened: false, peer_closed: false },
            }
        }
        let (Link::Handshake(connection, _) | Link::Open(connection)) = &mut self.link else {
            return Received::Records { opened: false, peer_closed: false };
        };
        let pumped = if self.incoming.is_empty() {
            let pumped = pump(connection, bytes, plain, &mut self.outgoing);
            self.incoming.extend_from_slice(bytes.get(pumped.used..).unwrap_or_default());
            pumped
        } else {
            self.incoming.extend_from_slice(bytes);
            let pumped = pump(connection, &mut self.incoming, plain, &mut self.outgoing);
            self.incoming.drain(..pumped.used);
            pumped
        };
        if self.incoming.is_empty() {
            self.incoming = Vec::new();
        }
        if let Err(error) = pumped.result {
            return self.break_off(error);
        }
        if self.incoming.len() > INCOMING_BYTES_MAX || self.outgoing.len() > OUTGOING_BYTES_MAX {
            return self.break_off(TlsError::TooLong);
        }
        Received::Records { opened: self.open(), peer_closed: pumped.peer_closed }
    }

    /// The handshake is not complete.
    pub fn is_opening(&self) -> bool {
        matches!(self.link, Link::Unseen(_) | Link::Handshake(..))
    }

    pub fn is_broken(&self) -> bool {
        matches!(self.link, Link::Broken)
    }

    /// Handshake messages or alerts wait to be sent.
    pub fn has_output(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// What the client's certificate says about an id.
    pub fn certifies(&self, id: &str) -> Certified {
        match &self.names {
            None => Certified::NotAsked,
            Some(names) if names.include(id) => Certified::Yes,
            Some(_) => Certified::No,
        }
    }

    /// Ends our side, behind everything that has been sealed. Only the first time does anything, and
    /// nothing is said before the handshake is complete.
    pub fn close_notify(&mut self) {
        let Link::Open(connection) = &mut self.link else { return };
        if std::mem::replace(&mut self.close_notified, true) {
            return;
        }
        let mut alert = [0; CLOSE_NOTIFY_BYTES_MAX];
        while let UnbufferedStatus { state: Ok(state), .. } =
            connection.process_tls_records(&mut self.incoming)
        {
            match state {
                ConnectionState::WriteTraffic(mut traffic) => {
                    let length = traffic.queue_close_notify(&mut alert).unwrap_or(0);
                    self.outgoing.extend_from_slice(&alert[..length]);
                    return;
                }
                ConnectionState::EncodeTlsData(data) => encode(data, &mut self.outgoing),
                ConnectionState::TransmitTlsData(sent) => sent.done(),
                ConnectionState::PeerClosed => {}
                _ => return,
            }
        }
    }

    /// Appends what one send takes: what waits in `outgoing`, then `plain` as records.
    pub(super) fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), CannotSeal> {
        out.extend_from_slice(&std::mem::take(&mut self.outgoing));
        self.marks.clear();
        if !plain.is_empty() {
            let Link::Open(connection) = &mut self.link else { return Err(CannotSeal) };
            encrypt(connection, &mut self.incoming, plain, out, &mut self.marks)?;
        }
        (self.marks_passed, self.flight_bytes, self.taken_bytes) = (0, out.len(), 0);
        Ok(())
    }

    /// The kernel has taken so many further bytes of the send: tells how much of its plaintext is
    /// delivered by now, and, unless that was all, from where the send goes on.
    pub(super) fn taken(&mut self, bytes: usize) -> (usize, Option<usize>) {
        self.taken_bytes += bytes;
        let rest = &self.marks[self.marks_passed..];
        self.marks_passed += rest.iter().take_while(|mark| mark.sealed_end <= self.taken_bytes).count();
        let plain = self.marks[..self.marks_passed].last().map_or(0, |mark| mark.plain_end);
        if self.taken_bytes < self.flight_bytes {
            return (plain, Some(self.taken_bytes));
        }
        // An idle connection holds nothing.
        self.marks = Vec::new();
        self.marks_passed = 0;
        (plain, None)
    }

    /// The handshake may have been completed; true when it was just now.
    fn open(&mut self) -> bool {
        if !matches!(&self.link, Link::Handshake(connection, _) if !connection.is_handshaking()) {
            return false;
        }
        let Link::Handshake(connection, terms) = std::mem::replace(&mut self.link, Link::Broken) else {
            return false;
        };
        if terms.asks_certificate {
            let holder = connection.peer_certificates().and_then(|chain| chain.first());
            // A certificate that cannot be read names nobody.
            let names = holder.and_then(|der| CertificateNames::of(der).ok());
            self.names = Some(names.unwrap_or_default());
        }
        self.link = Link::Open(connection);
        true
    }

    /// A defect was caught in the middle of something: not another byte is to leave.
    pub fn give_up(&mut self) {
        self.link = Link::Broken;
        self.incoming = Vec::new();
        self.outgoing = Vec::new();
    }

    fn break_off(&mut self, error: TlsError) -> Received {
        self.link = Link::Broken;
        self.incoming = Vec::new();
        Received::Failed(error)
    }
}

impl TlsError {
    fn of(error: Error) -> TlsError {
        match error {
            Error::AlertReceived(alert) => TlsError::Alert(alert),
            Error::NoCertificatesPresented
            | Error::InvalidCertificate(_)
            | Error::InvalidCertRevocationList(_)
            | Error::UnsupportedNameType => TlsError::Certificate(error),
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => TlsError::Incompatible(error),
            Error::General(_) | Error::FailedToGetCurrentTime | Error::FailedToGetRandomBytes => {
                TlsError::Ours(error)
            }
            _ => TlsError::Protocol(error),
        }
    }

    /// As what it is counted.
    pub fn failure(&self) -> TlsFailure {
        match self {
            TlsError::Alert(_) => TlsFailure::Alert,
            TlsError::Certificate(_) => TlsFailure::Certificate,
            TlsError::Incompatible(_) => TlsFailure::Incompatible,
            TlsError::Protocol(_) | TlsError::TooLong => TlsFailure::Protocol,
            TlsError::Ours(_) => TlsFailure::Internal,
        }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::Alert(alert) => write!(f, "the peer sent the alert {alert:?}"),
            TlsError::TooLong => f.write_str("a handshake message or record is too long"),
            TlsError::Certificate(error)
            | TlsError::Incompatible(error)
            | TlsError::Protocol(error)
            | TlsError::Ours(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TlsError {}

struct Pumped {
    used: usize,
    peer_closed: bool,
    result: Result<(), TlsError>,
}

/// Has rustls take all records that are complete.
fn pump(
    connection: &mut UnbufferedServerConnection,
    bytes: &mut [u8],
    plain: &mut Vec<u8>,
    outgoing: &mut Vec<u8>,
) -> Pumped {
    let mut pumped = Pumped { used: 0, peer_closed: false, result: Ok(()) };
    loop {
        let UnbufferedStatus { mut discard, state } =
            connection.process_tls_records(&mut bytes[pumped.used..]);
        let mut goes_on = true;
        match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(Ok(record)) = traffic.next_record() {
                    discard += record.discard;
                    plain.extend_from_slice(record.payload);
                }
            }
            Ok(ConnectionState::EncodeTlsData(data)) => encode(data, outgoing),
            Ok(ConnectionState::TransmitTlsData(sent)) => sent.done(),
            Ok(ConnectionState::PeerClosed) => pumped.peer_closed = true,
            // What is left, if anything, waits for more. Early data is never asked for.
            Ok(_) => goes_on = false,
            Err(error) => {
                pumped.result = Err(TlsError::of(error));
                goes_on = false;
            }
        }
        pumped.used += discard;
        if !goes_on {
            break;
        }
    }
    // The alert that tells the peer why. It is asked for before any further byte is looked at.
    while pumped.result.is_err() && connection.wants_write() {
        match connection.process_tls_records(&mut bytes[pumped.used..]).state {
            Ok(ConnectionState::EncodeTlsData(data)) => encode(data, outgoing),
            _ => break,
        }
    }
    pumped
}

fn encode<Data>(mut data: EncodeTlsData<'_, Data>, out: &mut Vec<u8>) {
    let at = out.len();
    // Asked without room, it tells how much it takes.
    if let Err(EncodeError::InsufficientSize(needed)) = data.encode(&mut []) {
        out.resize(at + needed.required_size, 0);
        let length = data.encode(&mut out[at..]).unwrap_or(0);
        out.truncate(at + length);
    }
}

fn encrypt(
    connection: &mut UnbufferedServerConnection,
    incoming: &mut [u8],
    plain: &[u8],
    out: &mut Vec<u8>,
    marks: &mut Vec<Mark>,
) -> Result<(), CannotSeal> {
    loop {
        match connection.process_tls_records(incoming).state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                let records = plain.chunks(RECORD_BYTES);
                let (mut sealed_end, mut plain_end) = (out.len(), 0);
                marks.reserve_exact(records.len());
                out.resize(sealed_end + plain.len() + records.len() * RECORD_OVERHEAD, 0);
                for record in records {
                    sealed_end += loop {
                        match traffic.encrypt(record, &mut out[sealed_end..]) {
                            Ok(length) => break length,
                            // Something else goes first, such as the answer to a change of keys.
                            Err(EncryptError::InsufficientSize(needed)) => {
                                let missing = needed.required_size - (out.len() - sealed_end);
                                out.resize(out.len() + missing, 0);
                            }
                            Err(EncryptError::EncryptExhausted) => return Err(CannotSeal),
                        }
                    };
                    plain_end += record.len();
                    marks.push(Mark { sealed_end, plain_end });
                }
                out.truncate(sealed_end);
                return Ok(());
            }
            Ok(ConnectionState::EncodeTlsData(data)) => encode(data, out),
            Ok(ConnectionState::TransmitTlsData(sent)) => sent.done(),
            Ok(ConnectionState::PeerClosed) => {}
            _ => return Err(CannotSeal),
        }
    }
}

#[cfg(test)]
mod tests;
