//! A WebSocket: events of the codec to the dialect that the connection speaks.

use super::host::{Framing, Host};
use super::speaker::{Ending, Speaker};
use super::{Conclusion, Listener, Settings, Step, Then};
use crate::dialect::binary;
use crate::wire::websocket::{Decoder, Event, Opcode, write_message};

/// Heartbeat intervals of silence that end a WebSocket.
pub(super) const SILENT_INTERVALS_MAX: u32 = 3;

pub(super) struct WebSocket {
    decoder: Decoder,
    speaks: Dialect,
    /// No message has arrived yet.
    undecided: bool,
    /// The rest of a message whose dialect had to stop for want of room.
    unfinished: Option<Box<Unfinished>>,
}

struct Unfinished {
    message: Vec<u8>,
    used: usize,
}

enum Dialect {
    Binary(binary::Session),
    /// Sends everything back: the door for conformance suites.
    Echo,
}

impl WebSocket {
    pub fn open(listener: &Listener, host: &mut dyn Host) -> WebSocket {
        host.set_framing(Framing::WebSocket);
        let speaks = if listener.binary { Dialect::Binary(binary::Session::new()) } else { Dialect::Echo };
        WebSocket { decoder: Decoder::default(), speaks, undecided: true, unfinished: None }
    }

    pub fn is_undecided(&self) -> bool {
        self.undecided
    }

    pub fn has_unfinished_message(&self) -> bool {
        self.unfinished.is_some()
    }

    /// One event.
    pub fn step(&mut self, settings: &Settings, bytes: &mut [u8], host: &mut dyn Host) -> Step {
        if let Some(unfinished) = &mut self.unfinished {
            let rest = &unfinished.message[unfinished.used..];
            let (used, ending) = self.speaks.binary(settings, rest, host);
            unfinished.used += used;
            self.unfinished.take_if(|unfinished| unfinished.used >= unfinished.message.len());
            return Step {
                used: 0,
                then: ending.map_or(Then::GoOn, |ending| Then::Conclude(Conclusion::End(ending))),
            };
        }
        let WebSocket { decoder, speaks, undecided, .. } = self;
        let step = match decoder.next(bytes, &settings.limits.websocket(), host.pool()) {
            Ok(step) => step,
            Err(violation) => {
                let ending = Ending { code: violation.close_code(), reason: violation.reason() };
                return Step { used: 0, then: Then::Conclude(Conclusion::End(ending)) };
            }
        };
        let consumed = step.consumed;
        let mut unfinished = None;
        let ending = match step.event {
            None => return Step::wait(consumed),
            Some(Event::Binary(message)) => {
                *undecided = false;
                let (used, ending) = speaks.binary(settings, message, host);
                if used < message.len() && ending.is_none() {
                    unfinished = Some(Box::new(Unfinished { message: message[used..].to_vec(), used: 0 }));
                }
                ending
            }
            Some(Event::Text(text)) => {
                *undecided = false;
                speaks.text(settings, text, host)
            }
            Some(Event::Ping(payload)) => {
                write_message(host.out(), Opcode::Pong, payload);
                None
            }
            Some(Event::Pong(_)) => None,
            Some(Event::Close(close)) => {
                return Step { used: consumed, then: Then::Conclude(Conclusion::Answer(close.code)) };
            }
        };
        self.unfinished = unfinished;
        Step {
            used: consumed,
            then: ending.map_or(Then::GoOn, |ending| Then::Conclude(Conclusion::End(ending))),
        }
    }

    pub fn dialect(&mut self) -> Option<&mut binary::Session> {
        match &mut self.speaks {
            Dialect::Binary(dialect) => Some(dialect),
            Dialect::Echo => None,
        }
    }

    pub fn ended(&mut self, settings: &Settings, cause: &str, host: &mut dyn Host) {
        if let Dialect::Binary(dialect) = &mut self.speaks {
            let mut speaker = Speaker::new(host, Framing::WebSocket);
            dialect.ended(&settings.binary, cause, &mut speaker);
        }
    }

    /// After our Close: what is needed to see the client's. `None` when the client's bytes can no
    /// longer be understood.
    pub fn awaits_close(mut self) -> Option<Box<WebSocket>> {
        self.unfinished = None;
        self.speaks = Dialect::Echo;
        (!self.decoder.has_ended()).then(|| Box::new(self))
    }

    /// Reads on for the client's Close alone; true when there is nothing to wait for any more.
    pub fn sees_close(&mut self, settings: &Settings, bytes: &mut [u8], host: &mut dyn Host) -> bool {
        let mut at = 0;
        loop {
            match self.decoder.next(&mut bytes[at..], &settings.limits.websocket(), host.pool()) {
                Err(_) | Ok(crate::wire::websocket::Step { event: Some(Event::Close(_)), .. }) => {
                    return true;
                }
                Ok(step) if step.event.is_none() => return false,
                Ok(step) => at += step.consumed,
            }
        }
    }
}

impl Dialect {
    fn binary(
        &mut self,
        settings: &Settings,
        message: &[u8],
        host: &mut dyn Host,
    ) -> (usize, Option<Ending>) {
        match self {
            Dialect::Binary(dialect) => {
                let mut speaker = Speaker::new(host, Framing::WebSocket);
                let used = dialect.on_message(&settings.binary, message, &mut speaker);
                (used, speaker.ending())
            }
            Dialect::Echo => {
                write_message(host.out(), Opcode::Binary, message);
                (message.len(), None)
            }
        }
    }

    fn text(&mut self, settings: &Settings, text: &str, host: &mut dyn Host) -> Option<Ending> {
        match self {
            Dialect::Binary(dialect) => {
                let mut speaker = Speaker::new(host, Framing::WebSocket);
                dialect.on_text(&settings.binary, &mut speaker);
                speaker.ending()
            }
            Dialect::Echo => {
                write_message(host.out(), Opcode::Text, text.as_bytes());
                None
            }
        }
    }
}

pub(super) fn ping(host: &mut dyn Host) {
    write_message(host.out(), Opcode::Ping, b"");
}
