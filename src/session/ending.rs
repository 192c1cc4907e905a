//! How a session ends.
//!
//! ```text
//! conclude: the id is given up ─► fences, if it has sent to other shards ─► finish: last words ─► Closing
//! ```

use super::speaker::Ending;
use super::websocket::WebSocket;
use super::{Host, Session, Settings, Stage, Step};
use crate::base::{Now, planted};
use crate::dialect::{MessageRef, Undeliverable, untold};
use crate::wire::websocket::{CloseCode, write_close};

/// Everything has been said; what remains is to see it sent.
pub(super) struct Closing {
    /// On a WebSocket whose end the server began: reads on, only for the client's Close.
    pub(super) awaits: Option<Box<WebSocket>>,
    /// Received since, and thrown away. Reading on lets the client take our last words before it
    /// learns that nobody listens; a client that only sends is not listened to for ever.
    pub(super) discarded_bytes: usize,
}

/// Why the server ends a connection in its dialect's words.
#[derive(Clone, Copy)]
enum Why {
    Evicted,
    Dismissed,
    Failed,
}

/// How a connection ends.
pub(super) enum Conclusion {
    /// With a Close frame on a WebSocket, plainly elsewhere.
    End(Ending),
    /// With the answer to the client's own Close: the same code, or none (RFC 6455 section 5.5.1).
    Answer(Option<CloseCode>),
    /// On a stream, which has no Close frame: with an ERROR that says so.
    ShuttingDown,
    /// A stream that was silent for too long.
    TimedOut,
    /// Without a word: what had to be said is in the outbox.
    Hang,
}

impl Conclusion {
    /// The word for it in the event that tells of the session's end.
    fn cause(&self) -> &'static str {
        match self {
            Conclusion::End(ending) => match ending.code {
                CloseCode::GOING_AWAY => "shutdown",
                CloseCode::TRY_AGAIN => "slow_consumer",
                CloseCode::PROTOCOL_ERROR | CloseCode::INVALID_PAYLOAD | CloseCode::TOO_BIG => {
                    "protocol_error"
                }
                _ if *ending == HEARTBEAT_TIMEOUT => "heartbeat_timeout",
                _ if *ending == SESSION_TIMEOUT => "session_timeout",
                _ => "connection_closed",
            },
            Conclusion::ShuttingDown => "shutdown",
            Conclusion::TimedOut => "session_timeout",
            Conclusion::Answer(_) | Conclusion::Hang => "connection_closed",
        }
    }
}

pub(super) const HEARTBEAT_TIMEOUT: Ending = Ending { code: CloseCode::POLICY, reason: "Heartbeat timeout" };
pub(super) const SESSION_TIMEOUT: Ending = Ending { code: CloseCode::POLICY, reason: "Session timeout" };

pub(super) const CROWDED: Ending =
    Ending { code: CloseCode::POLICY, reason: "Too many connections from this address" };

impl Session {
    /// A newer connection owns this one's id.
    pub fn evicted(&mut self, settings: &Settings, host: &mut dyn Host) {
        self.end_by_dialect(settings, Why::Evicted, host);
    }

    /// What this one belonged to has been removed.
    pub fn dismissed(&mut self, settings: &Settings, host: &mut dyn Host) {
        self.end_by_dialect(settings, Why::Dismissed, host);
    }

    /// A message of this session came back; its client has been told, where its dialect tells that.
    /// Publishes it, also when the session has ended in between and has no name any more.
    pub fn returned(&mut self, reference: &MessageRef, cause: Undeliverable, host: &mut dyn Host) {
        let event = match &self.stage {
            Stage::WebSocket(websocket) => websocket.undeliverable(reference, cause, host),
            Stage::Stream(stream) => stream.undeliverable(reference, cause, host),
            _ => None,
        };
        if event.is_none() && planted!(ReturnUnpublished) {
            return;
        }
        host.publish(event.unwrap_or_else(|| untold(reference, cause, host.now())));
    }

    /// A defect of ours was caught while this session was served.
    pub fn failed(&mut self, settings: &Settings, host: &mut dyn Host) {
        self.end_by_dialect(settings, Why::Failed, host);
        if !self.is_closing() {
            self.hang(settings, host);
        }
    }

    /// The server shuts down.
    pub fn drain(&mut self, settings: &Settings, host: &mut dyn Host) {
        match &mut self.stage {
            Stage::Sniff | Stage::Head(_) => self.hang(settings, host),
            Stage::Stream(_) => self.conclude(settings, Conclusion::ShuttingDown, host),
            Stage::WebSocket(_) => {
                let ending = Ending { code: CloseCode::GOING_AWAY, reason: "Server shutting down" };
                self.end(settings, ending, host);
            }
            // The front ends its exchanges itself.
            Stage::Tunnel(_) | Stage::Closing(_) => {}
        }
    }

    /// The peer does not read: ends the connection with 1013.
    pub fn cut_slow_consumer(&mut self, settings: &Settings, host: &mut dyn Host) {
        if !self.is_closing() {
            let conclusion = Conclusion::End(Ending { code: CloseCode::TRY_AGAIN, reason: "Too slow" });
            self.leave_stage(settings, conclusion.cause(), host);
            self.finish(conclusion, host);
        }
    }

    /// TLS has broken off, or has not even begun: nothing more can be said.
    pub fn broken_off(&mut self, settings: &Settings, host: &mut dyn Host) {
        if !self.is_closing() {
            self.hang(settings, host);
        }
    }

    /// What it has sent to other shards has been answered, or that has taken too long.
    pub fn fenced(&mut self, host: &mut dyn Host) {
        if let Some(conclusion) = self.concluding.take() {
            self.finish(*conclusion, host);
        }
    }

    /// The connection is gone, however that came about. Gives up what the session held.
    pub fn gone(&mut self, settings: &Settings, host: &mut dyn Host) {
        if !planted!(IdKept) {
            self.leave_stage(settings, "connection_lost", host);
        }
        self.concluding = None;
        self.stage = Stage::Closing(Closing { awaits: None, discarded_bytes: 0 });
    }

    pub fn is_closing(&self) -> bool {
        matches!(self.stage, Stage::Closing(_))
    }

    /// Whether, once the outbox is empty, the connection's write side is to be shut.
    pub fn may_shut_down(&self) -> bool {
        matches!(&self.stage, Stage::Closing(closing) if closing.awaits.is_none())
    }

    pub fn is_overdue(&self, settings: &Settings, now: Now) -> bool {
        self.is_closing() && self.deadline_us(settings).is_some_and(|deadline| deadline <= now.mono_us)
    }

    /// Has the dialect say why it ends.
    fn end_by_dialect(&mut self, settings: &Settings, why: Why, host: &mut dyn Host) {
        let ending = match &mut self.stage {
            Stage::WebSocket(websocket) => websocket.say(host, |dialect, ctx| match why {
                Why::Evicted => dialect.evicted(&settings.dialects, ctx),
                Why::Dismissed => dialect.dismissed(&settings.dialects, ctx),
                Why::Failed => dialect.failed(&settings.dialects, ctx),
            }),
            Stage::Stream(stream) => stream.say(host, |dialect, ctx| match why {
                Why::Evicted => dialect.evicted(&settings.dialects.binary, ctx),
                // No stream belongs to anything that could be removed.
                Why::Dismissed => {}
                Why::Failed => dialect.failed(&settings.dialects.binary, ctx),
            }),
            _ => return,
        };
        if let Some(ending) = ending {
            self.end(settings, ending, host);
        }
    }

    /// Ends the connection with a Close frame on a WebSocket, plainly elsewhere.
    pub(super) fn end(&mut self, settings: &Settings, ending: Ending, host: &mut dyn Host) {
        self.conclude(settings, Conclusion::End(ending), host);
    }

    /// Ends the connection after what is in the outbox.
    pub(super) fn hang(&mut self, settings: &Settings, host: &mut dyn Host) {
        self.conclude(settings, Conclusion::Hang, host);
    }

    /// The id is given up at once; the connection itself lasts until its messages on their way to
    /// other shards are answered, since their errors belong before the end.
    pub(super) fn conclude(&mut self, settings: &Settings, conclusion: Conclusion, host: &mut dyn Host) {
        if self.concluding.is_some() {
            return;
        }
        self.leave_stage(settings, conclusion.cause(), host);
        self.backlog = Vec::new();
        if host.fence() {
            self.concluding = Some(Box::new(conclusion));
            self.stage_since_us = host.now().mono_us;
        } else {
            self.finish(conclusion, host);
        }
    }

    pub(super) fn finish(&mut self, conclusion: Conclusion, host: &mut dyn Host) {
        self.concluding = None;
        let awaits = match (conclusion, std::mem::replace(&mut self.stage, Stage::Sniff)) {
            (Conclusion::End(ending), Stage::WebSocket(websocket)) => {
                write_close(host.out(), Some(ending.code), ending.reason);
                websocket.awaits_close().filter(|_| !self.peer_ended)
            }
            (Conclusion::ShuttingDown, Stage::Stream(stream)) => {
                stream.shutting_down(host);
                None
            }
            (Conclusion::Answer(code), _) => {
                write_close(host.out(), code, "");
                None
            }
            _ => None,
        };
        host.set_speaks(crate::dialect::Speaks::Nothing);
        self.enter(Stage::Closing(Closing { awaits, discarded_bytes: 0 }), host);
        self.backlog = Vec::new();
    }

    fn leave_stage(&mut self, settings: &Settings, cause: &str, host: &mut dyn Host) {
        match &mut self.stage {
            Stage::WebSocket(websocket) => {
                websocket.say(host, |dialect, ctx| dialect.ended(&settings.dialects, cause, ctx));
            }
            Stage::Stream(stream) => {
                stream.say(host, |dialect, ctx| dialect.ended(&settings.dialects.binary, cause, ctx));
            }
            Stage::Tunnel(tunnel) => tunnel.ended(host),
            Stage::Sniff | Stage::Head(_) | Stage::Closing(_) => {}
        }
    }
}

impl Closing {
    pub(super) fn step(&mut self, settings: &Settings, bytes: &mut [u8], host: &mut dyn Host) -> Step {
        if let Some(websocket) = &mut self.awaits
            && websocket.sees_close(settings, bytes, host)
        {
            self.awaits = None;
        }
        self.discarded_bytes += bytes.len();
        Step::wait(bytes.len())
    }
}
