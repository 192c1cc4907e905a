//! Floor 3: the life of one connection, without I/O.
//!
//! ```text
//! sniff ─0xAA─► stream ───────────────────┐
//!   │                                     ▼
//!   └─HTTP─► head ─upgrade─► WebSocket ─► closing
//!              │                ▲         ▲
//!              └─request─► tunnel ────────┘
//! ```
//!
//! Owns the stages, the bytes that were received and not used yet, the deadlines, the outbox, and
//! [`Tls`], inside which all of this runs where a listener has a certificate.
//! Invariants: after each call everything that could be done has been done, or the session does not
//! [`Session::wants_input`]; input is used in the order of its arrival, whatever had to wait.
//! Does not know on which core it lives, and knows no word of a protocol above WebSocket and HTTP.

mod ending;
mod head;
mod host;
mod outbox;
mod settings;
mod speaker;
mod stream;
mod tls;
mod tunnel;
mod websocket;

pub use host::{Framing, Host, TunnelOut};
pub use outbox::{Batch, Outbox, Spares};
pub use settings::{Limits, Listener, Settings, allows_origin};
pub use tls::{CannotSeal, Received, Tls, TlsError, TlsTerms};
pub use tunnel::Leftover;

use std::net::SocketAddr;
use std::time::Duration;

use crate::base::Now;
use ending::{CROWDED, Closing, Conclusion, HEARTBEAT_TIMEOUT, SESSION_TIMEOUT};
use head::Head;
use speaker::Ending;
use stream::Stream;
use tunnel::Tunnel;
use websocket::WebSocket;

/// A refused connection needs its first byte, to be refused in its own words.
const REFUSED_MAX: Duration = Duration::from_secs(1);

/// Why a new connection is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The server has as many connections as it may.
    Full,
    /// So many come from its address as may, or they come too fast.
    Crowded,
    Draining,
    /// The listener speaks TLS, and the connection does not begin with it.
    NeedsTls,
}

pub struct Session {
    stage: Stage,
    /// Received and not used yet: the start of something that is not complete, or what came in
    /// while the session had to wait.
    backlog: Vec<u8>,
    last_received_us: u64,
    stage_since_us: u64,
    listener: u16,
    /// Pings sent since the last received byte.
    pings: u8,
    /// The shard has stopped reading, so silence is not the peer's.
    paused: bool,
    /// The peer will send nothing more; what it has sent is used first.
    peer_ended: bool,
    /// It ends like this once what it has sent to other shards has been answered.
    concluding: Option<Box<Conclusion>>,
    refusal: Option<Refusal>,
}

enum Stage {
    /// Nothing has been received.
    Sniff,
    Head(Head),
    WebSocket(WebSocket),
    Stream(Stream),
    Tunnel(Tunnel),
    Closing(Closing),
}

/// What one step of a stage did with the bytes before it.
struct Step {
    used: usize,
    then: Then,
}

enum Then {
    /// The stage needs more bytes.
    Wait,
    /// The stage goes on with the rest.
    GoOn,
    /// Another stage goes on with the rest, or ends the connection at once.
    Become(Box<Stage>, Option<Ending>),
    Conclude(Conclusion),
}

/// How long a WebSocket's peer may be silent until it is pinged, and until it is given up. Zero: for
/// ever.
struct Patience {
    interval_us: u64,
    silence_us: u64,
    /// How it is given up.
    ending: Ending,
}

impl Patience {
    fn of(websocket: &WebSocket, settings: &Settings) -> Patience {
        let own = websocket.heartbeat(settings);
        let interval_us = match (own.interval_us, own.silence_us) {
            // Its pings are its own.
            (0, 1..) => 0,
            (0, 0) => micros(settings.limits.heartbeat_interval),
            (interval_us, _) => interval_us,
        };
        let silence_us = match own.silence_us {
            0 => interval_us.saturating_mul(u64::from(websocket::SILENT_INTERVALS_MAX)),
            silence_us => silence_us,
        };
        let ending = own.words.map_or(HEARTBEAT_TIMEOUT, |(code, reason)| Ending { code, reason });
        Patience { interval_us, silence_us, ending }
    }
}

impl Step {
    fn wait(used: usize) -> Step {
        Step { used, then: Then::Wait }
    }
}

impl Session {
    pub fn new(listener: u16, refusal: Option<Refusal>, now: Now) -> Session {
        Session {
            stage: Stage::Sniff,
            backlog: Vec::new(),
            last_received_us: now.mono_us,
            stage_since_us: now.mono_us,
            listener,
            pings: 0,
            paused: false,
            peer_ended: false,
            concluding: None,
            refusal,
        }
    }

    pub fn listener(&self) -> u16 {
        self.listener
    }

    /// Bytes have arrived. They may be overwritten.
    pub fn feed(&mut self, settings: &Settings, bytes: &mut [u8], host: &mut dyn Host) {
        self.heard(host.now());
        if self.backlog.is_empty() && !self.has_unfinished_message() {
            let used = self.advance(settings, bytes, host);
            self.backlog.extend_from_slice(bytes.get(used..).unwrap_or_default());
        } else if self.head_cannot_be_complete(settings, bytes) {
            self.backlog.extend_from_slice(bytes);
        } else {
            self.backlog.extend_from_slice(bytes);
            self.work_backlog(settings, host);
        }
    }

    /// Bytes have arrived that are not whole enough to be fed: a part of a TLS record.
    pub fn heard(&mut self, now: Now) {
        self.last_received_us = now.mono_us;
        self.pings = 0;
    }

    /// The connection is to be refused by its first message.
    pub fn refuse(&mut self, refusal: Refusal) {
        self.refusal = Some(refusal);
    }

    /// There may be room again: goes on where it had to stop.
    pub fn resume(&mut self, settings: &Settings, host: &mut dyn Host) {
        self.paused = false;
        self.pings = 0;
        self.last_received_us = host.now().mono_us;
        self.work_backlog(settings, host);
    }

    /// The shard reads no more from this connection until [`Session::resume`].
    pub fn pause(&mut self) {
        self.paused = true;
    }

    /// Whether further bytes would be used. Apart from this, [`Surroundings::has_room`](crate::dialect::Surroundings::has_room) decides.
    pub fn wants_input(&self, settings: &Settings) -> bool {
        match &self.stage {
            _ if self.concluding.is_some() => false,
            Stage::Tunnel(tunnel) => tunnel.wants_input(settings.limits.tunnel_window_bytes),
            Stage::WebSocket(websocket) => !websocket.is_waiting(),
            Stage::Closing(closing) => closing.discarded_bytes <= settings.limits.message_bytes_max,
            _ => true,
        }
    }

    /// The peer will send nothing more.
    pub fn peer_ended(&mut self, settings: &Settings, host: &mut dyn Host) {
        self.peer_ended = true;
        match &mut self.stage {
            Stage::Tunnel(tunnel) => tunnel.peer_ended(),
            Stage::Closing(closing) => closing.awaits = None,
            _ => {}
        }
        self.work_backlog(settings, host);
    }

    /// Does what is due by now.
    pub fn tick(&mut self, settings: &Settings, host: &mut dyn Host) {
        let now = host.now();
        if self.deadline_us(settings).is_none_or(|deadline| now.mono_us < deadline) {
            return;
        }
        match &mut self.stage {
            _ if self.concluding.is_some() => self.fenced(host),
            Stage::Sniff => self.hang(settings, host),
            Stage::Head(head) => {
                head.timed_out(host);
                self.hang(settings, host);
            }
            Stage::WebSocket(websocket) if websocket.is_undecided() => {
                let listener = &settings.listeners[usize::from(self.listener)];
                let (_, ending) = websocket.handshake_timeout(settings, listener);
                self.end(settings, ending, host);
            }
            Stage::Stream(stream) if stream.is_undecided() => self.hang(settings, host),
            Stage::WebSocket(_) => self.websocket_tick(settings, now, host),
            Stage::Stream(_) => self.conclude(settings, Conclusion::TimedOut, host),
            Stage::Tunnel(_) => {}
            // The shard asks `is_overdue` and closes hard.
            Stage::Closing(_) => {}
        }
    }

    /// When [`Session::tick`] has something to do.
    pub fn deadline_us(&self, settings: &Settings) -> Option<u64> {
        let limits = &settings.limits;
        let since_stage = |limit: Duration| Some(self.stage_since_us.saturating_add(micros(limit)));
        let silence = |limit_us: u64| {
            let counts = limit_us != 0 && !self.paused;
            counts.then(|| self.last_received_us.saturating_add(limit_us))
        };
        match &self.stage {
            _ if self.concluding.is_some() => since_stage(limits.close),
            Stage::Sniff if self.refusal.is_some() => since_stage(limits.first_message.min(REFUSED_MAX)),
            Stage::Sniff => since_stage(limits.first_message),
            Stage::Head(_) => since_stage(limits.head),
            Stage::WebSocket(websocket) if websocket.is_undecided() => {
                let (after_us, _) = websocket.handshake_timeout(settings, self.served(settings));
                Some(self.stage_since_us + after_us)
            }
            Stage::Stream(stream) if stream.is_undecided() => since_stage(limits.first_message),
            Stage::WebSocket(websocket) => {
                let Patience { interval_us, silence_us, .. } = Patience::of(websocket, settings);
                let heartbeat = silence(interval_us.saturating_mul(u64::from(self.pings) + 1));
                let timeout = silence(micros(limits.session_timeout));
                let own = websocket.dialect_deadline_us(settings);
                [heartbeat, silence(silence_us), timeout, own].into_iter().flatten().min()
            }
            Stage::Stream(_) => silence(micros(limits.session_timeout)),
            Stage::Tunnel(_) => None,
            Stage::Closing(_) => since_stage(limits.close),
        }
    }

    /// Whether nothing depends on how much of this connection's output the kernel has taken.
    pub fn ignores_output(&self) -> bool {
        matches!(self.stage, Stage::WebSocket(_) | Stage::Stream(_)) && !self.is_closing()
    }

    /// The kernel has taken `bytes` of this connection's output.
    pub fn output_taken(&mut self, bytes: usize, host: &mut dyn Host) {
        if let Stage::Tunnel(_) = &self.stage
            && bytes > 0
        {
            host.tunnel(TunnelOut::Credit(bytes as u32));
        }
    }

    /// Received and not used yet.
    pub fn backlog_bytes(&self) -> usize {
        self.backlog.len()
    }

    pub fn is_tunnel(&self) -> bool {
        matches!(self.stage, Stage::Tunnel(_))
    }

    /// The front has made use of `bytes` of the tunnel.
    pub fn tunnel_credit(&mut self, bytes: usize) {
        if let Stage::Tunnel(tunnel) = &mut self.stage {
            tunnel.credit(bytes);
        }
    }

    /// The front has written its last byte.
    pub fn tunnel_ended(&mut self, settings: &Settings, host: &mut dyn Host) {
        if let Stage::Tunnel(_) = &self.stage {
            self.hang(settings, host);
        }
    }

    /// The front gives the connection back as a WebSocket; see [`Leftover`].
    pub fn tunnel_leftover(&mut self, settings: &Settings, leftover: Leftover<'_>, host: &mut dyn Host) {
        let Stage::Tunnel(tunnel) = &mut self.stage else { return };
        let Some(tunnel::Returning { rest: mut received, opening, client, .. }) = tunnel.give_back(leftover)
        else {
            return;
        };
        let refusal = client.and_then(|client| host.client_is(SocketAddr::new(client, 0)));
        let (websocket, ending) = WebSocket::open(settings, self.served(settings), opening, host);
        self.enter(Stage::WebSocket(websocket), host);
        // The front cannot know, and has sent the 101.
        if let Some(ending) = refusal.map(|_| CROWDED).or(ending) {
            return self.end(settings, ending, host);
        }
        // What had come in behind the upgrade request precedes what waits here.
        received.append(&mut self.backlog);
        self.backlog = received;
        self.work_backlog(settings, host);
        if host.draining() {
            self.drain(settings, host);
        }
    }

    fn served<'s>(&self, settings: &'s Settings) -> &'s Listener {
        &settings.listeners[usize::from(self.listener)]
    }

    fn has_unfinished_message(&self) -> bool {
        matches!(&self.stage, Stage::WebSocket(websocket) if websocket.has_unfinished_message())
    }

    /// A head ends with a line end, so bytes without one cannot complete it. It is parsed again
    /// only when it can be complete, or has become too long.
    fn head_cannot_be_complete(&self, settings: &Settings, bytes: &[u8]) -> bool {
        matches!(self.stage, Stage::Head(_))
            && memchr::memchr(b'\n', bytes).is_none()
            && self.backlog.len() + bytes.len() < settings.limits.head_bytes_max
    }

    fn work_backlog(&mut self, settings: &Settings, host: &mut dyn Host) {
        let mut bytes = std::mem::take(&mut self.backlog);
        let used = self.advance(settings, &mut bytes, host);
        if used < bytes.len() {
            bytes.drain(..used);
            // Nothing was received meanwhile: this call is the only one that serves the session.
            self.backlog = bytes;
        }
        // What it could not use for want of room comes first.
        let is_waiting = matches!(&self.stage, Stage::WebSocket(websocket) if websocket.is_waiting());
        let is_over = self.peer_ended && host.has_room() && !is_waiting;
        if is_over && !matches!(self.stage, Stage::Tunnel(_) | Stage::Closing(_)) {
            self.hang(settings, host);
        }
    }

    /// Takes steps until more bytes or more room are needed; tells how many bytes are used.
    fn advance(&mut self, settings: &Settings, bytes: &mut [u8], host: &mut dyn Host) -> usize {
        let mut at = 0;
        while (host.has_room() && self.concluding.is_none()) || self.is_closing() {
            let rest = &mut bytes[at..];
            let listener = &settings.listeners[usize::from(self.listener)];
            let step = match &mut self.stage {
                Stage::Sniff => self::head::sniff(rest, listener, self.refusal, host),
                Stage::Head(head) => head.step(settings, listener, rest, self.refusal, host),
                Stage::WebSocket(ws) => ws.step(settings, listener, rest, host),
                Stage::Stream(stream) => stream.step(settings, rest, host),
                Stage::Tunnel(tunnel) => tunnel.step(rest, settings.limits.tunnel_window_bytes, host),
                Stage::Closing(closing) => closing.step(settings, rest, host),
            };
            at += step.used;
            match step.then {
                Then::Wait => break,
                Then::GoOn => {}
                Then::Become(stage, ending) => {
                    self.enter(*stage, host);
                    if let Some(ending) = ending {
                        self.end(settings, ending, host);
                    }
                }
                Then::Conclude(conclusion) => self.conclude(settings, conclusion, host),
            }
        }
        at
    }

    fn enter(&mut self, stage: Stage, host: &dyn Host) {
        self.stage = stage;
        self.stage_since_us = host.now().mono_us;
    }

    fn websocket_tick(&mut self, settings: &Settings, now: Now, host: &mut dyn Host) {
        let Stage::WebSocket(websocket) = &mut self.stage else { return };
        if websocket.dialect_deadline_us(settings).is_some_and(|due_us| due_us <= now.mono_us) {
            let ending = websocket.say(host, |dialect, ctx| dialect.tick(&settings.dialects, ctx));
            if let Some(ending) = ending {
                return self.end(settings, ending, host);
            }
            // What it waited for may have come.
            self.work_backlog(settings, host);
        }
        self.websocket_silence(settings, now, host);
    }

    fn websocket_silence(&mut self, settings: &Settings, now: Now, host: &mut dyn Host) {
        let Stage::WebSocket(websocket) = &self.stage else { return };
        if self.paused {
            return;
        }
        let Patience { interval_us, silence_us, ending } = Patience::of(websocket, settings);
        let silent_us = now.mono_us.saturating_sub(self.last_received_us);
        let reached = |limit_us: u64| limit_us != 0 && silent_us >= limit_us;
        if reached(micros(settings.limits.session_timeout)) {
            self.end(settings, SESSION_TIMEOUT, host);
        } else if reached(silence_us) {
            self.end(settings, ending, host);
        } else if reached(interval_us.saturating_mul(u64::from(self.pings) + 1)) {
            self.pings += 1;
            websocket::ping(host);
        }
    }
}

/// Without the wide division of `Duration::as_micros`: this is asked for twice a message.
fn micros(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000) + u64::from(duration.subsec_micros())
}
