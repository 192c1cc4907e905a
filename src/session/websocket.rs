//! A WebSocket: events of the codec to the dialect that the connection speaks, or to the choice of
//! one.

use super::host::{Framing, Host};
use super::speaker::{Ending, Speaker};
use super::{Conclusion, Listener, Settings, Step, Then};
use crate::base::planted;
use crate::dialect::{
    Context, Dialect, First, Heartbeat, MessageRef, Opening, Progress, Session, Undeliverable, calls, choose,
    refuse,
};
use crate::observe::Event as Published;
use crate::wire::websocket::{CloseCode, Decoder, Event, Opcode, write_message};

/// Heartbeat intervals of silence that end a WebSocket.
pub(super) const SILENT_INTERVALS_MAX: u32 = 3;

pub(super) struct WebSocket {
    decoder: Decoder,
    speaks: Speaks,
    /// No message has arrived that shows what this is.
    undecided: bool,
    /// A message, or the rest of one, whose dialect had to stop.
    unfinished: Option<Box<Unfinished>>,
}

enum Speaks {
    /// Until the first message.
    Undecided(Box<Opening>),
    Dialect(Session),
    /// Sends everything back: the door for conformance suites.
    Echo,
}

struct Unfinished {
    message: Vec<u8>,
    used: usize,
    is_text: bool,
}

impl WebSocket {
    /// Also ends the connection at once, where the only dialect of the listener wants that.
    pub fn open(
        settings: &Settings,
        listener: &Listener,
        opening: Opening,
        host: &mut dyn Host,
    ) -> (WebSocket, Option<Ending>) {
        host.set_framing(Framing::WebSocket);
        let (speaks, ending) = match listener.serves.only_websocket() {
            Some(dialect) => Speaks::dialect(settings, dialect, &opening, host),
            None if listener.echo => (Speaks::Echo, None),
            None => (Speaks::Undecided(Box::new(opening)), None),
        };
        (WebSocket { decoder: Decoder::default(), speaks, undecided: true, unfinished: None }, ending)
    }

    pub fn is_undecided(&self) -> bool {
        self.undecided
    }

    /// When the wait for a first message is over: how long that is, and how the connection ends.
    pub fn handshake_timeout(&self, settings: &Settings, listener: &Listener) -> (u64, Ending) {
        let first_message_us = settings.limits.first_message.as_micros() as u64;
        let no_message = Ending { code: CloseCode::POLICY, reason: "No message" };
        let is_calls = match &self.speaks {
            Speaks::Undecided(opening) => opening.at_ws && listener.serves.has(Dialect::Calls),
            Speaks::Dialect(session) => matches!(session, Session::Calls(_)),
            Speaks::Echo => false,
        };
        let within_us = settings.dialects.calls.handshake_within().map(|limit| limit.as_micros() as u64);
        if let Some(within_us) = within_us.filter(|within_us| is_calls && *within_us <= first_message_us) {
            let reason = calls::HANDSHAKE_TIMEOUT_REASON;
            return (within_us, Ending { code: CloseCode::NORMAL, reason });
        }
        (first_message_us, no_message)
    }

    pub fn has_unfinished_message(&self) -> bool {
        self.unfinished.is_some()
    }

    /// Its dialect waits for something that only time or another thread brings.
    pub fn is_waiting(&self) -> bool {
        matches!(&self.speaks, Speaks::Dialect(session) if session.is_waiting())
    }

    pub fn heartbeat(&self, settings: &Settings) -> Heartbeat {
        match &self.speaks {
            Speaks::Dialect(session) => session.heartbeat(&settings.dialects),
            Speaks::Undecided(_) | Speaks::Echo => Heartbeat::COMMON,
        }
    }

    pub fn dialect_deadline_us(&self, settings: &Settings) -> Option<u64> {
        match &self.speaks {
            Speaks::Dialect(session) => session.deadline_us(&settings.dialects),
            Speaks::Undecided(_) | Speaks::Echo => None,
        }
    }

    /// One event.
    pub fn step(
        &mut self,
        settings: &Settings,
        listener: &Listener,
        bytes: &mut [u8],
        host: &mut dyn Host,
    ) -> Step {
        if self.is_waiting() {
            return Step::wait(0);
        }
        if let Some(mut unfinished) = self.unfinished.take() {
            let rest = &unfinished.message[unfinished.used..];
            let (used, ending) = match std::str::from_utf8(rest) {
                Ok(text) if unfinished.is_text => self.speaks.text(settings, text, host),
                _ => self.speaks.binary(settings, rest, host),
            };
            if !planted!(BatchSentAgain) || used == rest.len() {
                unfinished.used += used;
            }
            self.unfinished = Some(unfinished).filter(|u| u.used < u.message.len() && ending.is_none());
            return Step { used: 0, then: go_on_or_end(ending) };
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
                let choice = speaks.decide(settings, listener, First::Binary(message), host);
                let (used, ending) = match choice {
                    Ok(()) => {
                        *undecided = false;
                        speaks.binary(settings, message, host)
                    }
                    Err(ending) => (message.len(), ending),
                };
                if used < message.len() && ending.is_none() {
                    let message = message[used..].to_vec();
                    unfinished = Some(Box::new(Unfinished { message, used: 0, is_text: false }));
                }
                ending
            }
            Some(Event::Text(text)) => match speaks.decide(settings, listener, First::Text(text), host) {
                Ok(()) => {
                    *undecided = false;
                    let (used, ending) = speaks.text(settings, text, host);
                    if used < text.len() && ending.is_none() {
                        let message = text.as_bytes().to_vec();
                        unfinished = Some(Box::new(Unfinished { message, used: 0, is_text: true }));
                    }
                    ending
                }
                Err(ending) => ending,
            },
            Some(Event::Ping(payload)) => {
                write_message(host.out(), Opcode::Pong, payload);
                None
            }
            Some(Event::Pong(_)) => speaks.say(host, |session, ctx| session.on_pong(&settings.dialects, ctx)),
            Some(Event::Close(close)) => {
                return Step { used: consumed, then: Then::Conclude(Conclusion::Answer(close.code)) };
            }
        };
        self.unfinished = unfinished;
        Step { used: consumed, then: go_on_or_end(ending) }
    }

    /// Has the dialect do or say something of its own accord; nothing before there is one.
    pub fn say(
        &mut self,
        host: &mut dyn Host,
        what: impl FnOnce(&mut Session, &mut dyn Context),
    ) -> Option<Ending> {
        self.speaks.say(host, what)
    }

    pub fn undeliverable(
        &self,
        reference: &MessageRef,
        cause: Undeliverable,
        host: &dyn Host,
    ) -> Option<Published> {
        match &self.speaks {
            Speaks::Dialect(session) => session.undeliverable(reference, cause, host.now()),
            Speaks::Undecided(_) | Speaks::Echo => None,
        }
    }

    /// After our Close: what is needed to see the client's. `None` when the client's bytes can no
    /// longer be understood.
    pub fn awaits_close(mut self) -> Option<Box<WebSocket>> {
        self.unfinished = None;
        self.speaks = Speaks::Echo;
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

impl Speaks {
    fn dialect(
        settings: &Settings,
        dialect: Dialect,
        opening: &Opening,
        host: &mut dyn Host,
    ) -> (Speaks, Option<Ending>) {
        let mut speaker = Speaker::new(host, Framing::WebSocket);
        let session = Session::open(dialect, &settings.dialects, opening, &mut speaker);
        let ending = speaker.ending();
        (session.map_or(Speaks::Echo, Speaks::Dialect), ending)
    }

    /// Settles on a dialect, if that is still open. `Err`: the message is answered, and perhaps the
    /// connection ends.
    fn decide(
        &mut self,
        settings: &Settings,
        listener: &Listener,
        first: First<'_>,
        host: &mut dyn Host,
    ) -> Result<(), Option<Ending>> {
        let Speaks::Undecided(opening) = self else { return Ok(()) };
        match choose(first) {
            Some(dialect) if listener.serves.has(dialect) => {
                let (speaks, ending) = Speaks::dialect(settings, dialect, opening, host);
                *self = speaks;
                ending.map_or(Ok(()), |ending| Err(Some(ending)))
            }
            _ => {
                let mut speaker = Speaker::new(host, Framing::WebSocket);
                refuse(first, &listener.serves, opening.at_ws, &mut speaker);
                Err(speaker.ending())
            }
        }
    }

    fn say(
        &mut self,
        host: &mut dyn Host,
        what: impl FnOnce(&mut Session, &mut dyn Context),
    ) -> Option<Ending> {
        let Speaks::Dialect(session) = self else { return None };
        let mut speaker = Speaker::new(host, Framing::WebSocket);
        what(session, &mut speaker);
        speaker.ending()
    }

    /// Returns the bytes that are done with.
    fn binary(
        &mut self,
        settings: &Settings,
        message: &[u8],
        host: &mut dyn Host,
    ) -> (usize, Option<Ending>) {
        match self {
            Speaks::Dialect(session) => {
                let mut speaker = Speaker::new(host, Framing::WebSocket);
                let used = session.on_binary(&settings.dialects, message, &mut speaker);
                (used, speaker.ending())
            }
            Speaks::Echo => {
                write_message(host.out(), Opcode::Binary, message);
                (message.len(), None)
            }
            Speaks::Undecided(_) => (message.len(), None),
        }
    }

    /// Returns the bytes that are done with: all or none.
    fn text(&mut self, settings: &Settings, text: &str, host: &mut dyn Host) -> (usize, Option<Ending>) {
        match self {
            Speaks::Dialect(session) => {
                let mut speaker = Speaker::new(host, Framing::WebSocket);
                let progress = session.on_text(&settings.dialects, text, &mut speaker);
                (if progress == Progress::Done { text.len() } else { 0 }, speaker.ending())
            }
            Speaks::Echo => {
                write_message(host.out(), Opcode::Text, text.as_bytes());
                (text.len(), None)
            }
            Speaks::Undecided(_) => (text.len(), None),
        }
    }
}

fn go_on_or_end(ending: Option<Ending>) -> Then {
    ending.map_or(Then::GoOn, |ending| Then::Conclude(Conclusion::End(ending)))
}

pub(super) fn ping(host: &mut dyn Host) {
    write_message(host.out(), Opcode::Ping, b"");
}
