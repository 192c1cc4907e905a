//! The dialect that one connection speaks, once that is known.

use super::{
    Context, Conversation, Dialect, MessageRef, Opening, Progress, Settings, Undeliverable, binary, calls,
    devices, rooms,
};
use crate::base::Now;
use crate::observe::Event;
use crate::wire::websocket::CloseCode;

/// One connection's talk. The text dialects' are boxed, so that `binary` is not the larger for them.
pub enum Session {
    Binary(binary::Session),
    Rooms(Box<rooms::Session>),
    Devices(Box<devices::Session>),
    Calls(Box<calls::Session>),
}

/// When a WebSocket's silence is a sign of its death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Silence after which a ping is sent. Zero: the server's own setting.
    pub interval_us: u64,
    /// Silence that ends the connection. Zero: so many intervals as for everybody.
    pub silence_us: u64,
    /// How such a connection is closed, where the dialect has its own words for it.
    pub words: Option<(CloseCode, &'static str)>,
}

impl Heartbeat {
    /// As the server does it for everybody.
    pub const COMMON: Heartbeat = Heartbeat { interval_us: 0, silence_us: 0, words: None };
}

/// Runs one expression on whichever text dialect it is.
macro_rules! text {
    ($self:expr, $settings:expr, |$talk:ident, $its:ident| $text:expr, |$binary:ident| $otherwise:expr) => {
        match $self {
            Session::Binary($binary) => $otherwise,
            Session::Rooms($talk) => {
                let $its = &$settings.rooms;
                $text
            }
            Session::Devices($talk) => {
                let $its = &$settings.devices;
                $text
            }
            Session::Calls($talk) => {
                let $its = &$settings.calls;
                $text
            }
        }
    };
}

impl Session {
    /// `broadcast` is not spoken on the shards' WebSockets: there it is nothing that could be opened.
    pub fn open(
        dialect: Dialect,
        settings: &Settings,
        opening: &Opening,
        ctx: &mut dyn Context,
    ) -> Option<Session> {
        let mut session = match dialect {
            Dialect::Binary => Session::Binary(binary::Session::new()),
            Dialect::Rooms => Session::Rooms(Box::default()),
            Dialect::Devices => Session::Devices(Box::default()),
            Dialect::Calls => Session::Calls(Box::default()),
            Dialect::Broadcast => return None,
        };
        text!(&mut session, settings, |talk, its| talk.open(its, opening, ctx), |_binary| ());
        Some(session)
    }

    /// Returns the bytes that are done with; the rest is to be brought again.
    pub fn on_binary(&mut self, settings: &Settings, message: &[u8], ctx: &mut dyn Context) -> usize {
        text!(
            self,
            settings,
            |talk, its| {
                talk.on_binary(its, ctx);
                message.len()
            },
            |binary| binary.on_message(&settings.binary, message, ctx)
        )
    }

    pub fn on_text(&mut self, settings: &Settings, text: &str, ctx: &mut dyn Context) -> Progress {
        text!(self, settings, |talk, its| talk.on_text(its, text, ctx), |binary| {
            binary.on_text(&settings.binary, ctx);
            Progress::Done
        })
    }

    pub fn on_pong(&mut self, settings: &Settings, ctx: &mut dyn Context) {
        text!(self, settings, |talk, its| talk.on_pong(its, ctx), |_binary| ());
    }

    pub fn tick(&mut self, settings: &Settings, ctx: &mut dyn Context) {
        text!(self, settings, |talk, its| talk.tick(its, ctx), |_binary| ());
    }

    pub fn deadline_us(&self, settings: &Settings) -> Option<u64> {
        text!(self, settings, |talk, its| talk.deadline_us(its), |_binary| None)
    }

    pub fn is_waiting(&self) -> bool {
        match self {
            Session::Binary(_) => false,
            Session::Rooms(talk) => talk.is_waiting(),
            Session::Devices(talk) => talk.is_waiting(),
            Session::Calls(talk) => talk.is_waiting(),
        }
    }

    /// How long its peer may be silent.
    pub fn heartbeat(&self, settings: &Settings) -> Heartbeat {
        match self {
            Session::Binary(_) | Session::Rooms(_) => Heartbeat::COMMON,
            Session::Devices(_) => settings.devices.heartbeat(),
            Session::Calls(_) => settings.calls.heartbeat(),
        }
    }

    pub fn evicted(&mut self, settings: &Settings, ctx: &mut dyn Context) {
        text!(self, settings, |talk, its| talk.evicted(its, ctx), |binary| binary
            .evicted(&settings.binary, ctx));
    }

    pub fn dismissed(&mut self, settings: &Settings, ctx: &mut dyn Context) {
        text!(self, settings, |talk, its| talk.dismissed(its, ctx), |_binary| ());
    }

    pub fn failed(&mut self, settings: &Settings, ctx: &mut dyn Context) {
        text!(self, settings, |talk, its| talk.failed(its, ctx), |binary| binary
            .failed(&settings.binary, ctx));
    }

    pub fn ended(&mut self, settings: &Settings, cause: &str, ctx: &mut dyn Context) {
        text!(self, settings, |talk, its| talk.ended(its, cause, ctx), |binary| binary.ended(
            &settings.binary,
            cause,
            ctx
        ));
    }

    pub fn undeliverable(&self, reference: &MessageRef, cause: Undeliverable, now: Now) -> Option<Event> {
        match self {
            Session::Binary(binary) => {
                let sender = binary.client_id()?;
                Some(binary::undeliverable_event(sender, None, reference, cause, now))
            }
            Session::Rooms(talk) => talk.undeliverable(reference, cause, now),
            Session::Devices(talk) => talk.undeliverable(reference, cause, now),
            Session::Calls(talk) => talk.undeliverable(reference, cause, now),
        }
    }
}

const _: () = assert!(size_of::<Session>() <= 64);
