//! The `calls` dialect: callers in a call with a fixed number of seats.
//!
//! A seat is taken by HTTP, and signals are sent by HTTP; the WebSocket only brings events, and its
//! pongs keep the seat. Owns the messages, the close reasons, and a WebSocket's talk. Invariant:
//! a WebSocket that has been welcomed listens to its call, and stops listening in the step in which
//! it ends. Knows neither who publishes the events nor where the seats are kept.
//!
//! A session is the key to its seat, and a call is closed to all who do not know its name: neither
//! appears in events or logs.

mod message;
mod session;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

pub use message::{
    Body, CALL_BYTES_MAX, Event, EventKind, Malformed, Message, SESSION_BYTES_MAX, delivery, write_event,
};
pub use session::Session;

use crate::dialect::labels::CALLS_ERRORS;
use crate::dialect::{Context, Heartbeat};
use crate::hub::{SeatTerms, Seats};
use crate::wire::websocket::CloseCode;

/// Message types by their label; last what is no message of the protocol, or comes when none is
/// expected.
pub const MESSAGE_LABELS: &[(&str, &str)] = &[
    ("calls", "JOIN"),
    ("calls", "WELCOME"),
    ("calls", "PEER"),
    ("calls", "OFFER"),
    ("calls", "ANSWER"),
    ("calls", "CANDIDATE"),
    ("calls", "unknown"),
];

/// Errors by their label: the reasons with which a WebSocket is closed.
pub const ERROR_LABELS: &[(&str, &str)] = &[
    ("calls", HANDSHAKE_TIMEOUT_REASON),
    ("calls", "bad handshake"),
    ("calls", "bad seat"),
    ("calls", "seat renewal failure"),
    ("calls", "backend failure"),
];

/// Closes, with 1000, a WebSocket that has not said JOIN in time.
pub const HANDSHAKE_TIMEOUT_REASON: &str = "handshake read failure";

/// What the operator decides. A duration of zero means never, or no limit.
#[derive(Clone)]
pub struct Settings {
    pub seats: Arc<Seats>,
    pub seat_count: usize,
    pub seat_timeout: Duration,
    /// From the WebSocket's opening to its JOIN.
    pub ws_handshake_timeout: Duration,
    /// From the WebSocket's opening, as far as this dialect knows it, until its seat is found to be
    /// good.
    pub ws_join_timeout: Duration,
    pub ws_ping_interval: Duration,
    /// Silence that ends a WebSocket.
    pub ws_read_timeout: Duration,
}

/// Why a WebSocket is closed by this dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Reason {
    HandshakeReadFailure,
    BadHandshake,
    BadSeat,
    SeatRenewalFailure,
    BackendFailure,
}

/// Ends a connection whose first message is no handshake.
pub fn refuse(ctx: &mut dyn Context) {
    Reason::BadHandshake.close(ctx);
}

impl Settings {
    pub fn terms(&self) -> SeatTerms {
        SeatTerms { seats_max: self.seat_count, timeout: self.seat_timeout }
    }

    /// Its pings come by the clock and are the dialect's own; silence is the read time-out.
    pub fn heartbeat(&self) -> Heartbeat {
        Heartbeat {
            interval_us: 0,
            silence_us: self.ws_read_timeout.as_micros() as u64,
            words: Some((CloseCode::NORMAL, Reason::SeatRenewalFailure.words())),
        }
    }

    /// Longest from a WebSocket's opening to its first message; `None` where that is not limited.
    pub fn handshake_within(&self) -> Option<Duration> {
        [self.ws_handshake_timeout, self.ws_join_timeout].into_iter().filter(|limit| !limit.is_zero()).min()
    }
}

impl Reason {
    fn words(self) -> &'static str {
        ERROR_LABELS[self as usize].1
    }

    /// In events.
    fn cause(self) -> &'static str {
        match self {
            Reason::HandshakeReadFailure => "handshake_read_failure",
            Reason::BadHandshake => "bad_handshake",
            Reason::BadSeat => "bad_seat",
            Reason::SeatRenewalFailure => "seat_renewal_failure",
            Reason::BackendFailure => "backend_failure",
        }
    }

    fn close(self, ctx: &mut dyn Context) {
        ctx.around().count_error(CALLS_ERRORS + self as u8);
        ctx.close(CloseCode::NORMAL, self.words());
    }
}
