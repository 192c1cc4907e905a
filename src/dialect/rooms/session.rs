//! One connection that speaks this protocol: what its messages are, and where they go.

use std::sync::Arc;
use std::time::Duration;

use super::codes::{Code, MessageType, is_reported, undeliverable};
use super::message::{Fault, Field, Message, is_peer_id};
use super::register::KeyWait;
use super::reply;
use super::{DIALECT, REALM, Settings};
use crate::base::{Now, Rate, planted};
use crate::dialect::{
    Body, Context, Conversation, Delivery, Kind, MessageRef, Opening, Parts, Progress, Text, TextDialect,
    Undeliverable, undeliverable_event,
};
use crate::hub::{OnDuplicate, Route};
use crate::observe::Event;
use crate::wire::json::write_string;
use crate::wire::websocket::CloseCode;

/// What one connection has to remember.
#[derive(Default)]
pub struct Session {
    pub(super) registered: Option<Registered>,
    pub(super) route: Option<Box<Route>>,
    /// The target of the last message: most peers talk to one other.
    target: Option<Arc<str>>,
    pub(super) key_wait: KeyWait,
    pub(super) messages: u64,
    rate: Rate,
    next_ping_us: u64,
    pub(super) ended: bool,
}

/// The peer that this connection is.
pub(super) struct Registered {
    pub(super) room_id: Box<str>,
    pub(super) peer_id: Box<str>,
    /// `{"type":"peer_message","from_peer_id":` and the peer's id, as JSON.
    head: Box<[u8]>,
    /// In the directory: the room's id, a NUL, and the id of whoever was asked for last.
    address: String,
    since: Now,
}

impl Registered {
    pub(super) fn new(room_id: &str, peer_id: &str, since: Now) -> Registered {
        let mut head = b"{\"type\":\"peer_message\",\"from_peer_id\":".to_vec();
        write_string(&mut head, peer_id);
        let (room_id, peer_id) = (room_id.into(), peer_id.into());
        Registered { room_id, peer_id, head: head.into(), address: String::new(), since }
    }

    /// What a peer of this room is called in the directory.
    fn address_of(&mut self, peer_id: &str) -> &str {
        if self.address.is_empty() {
            self.address.push_str(&self.room_id);
            self.address.push('\0');
        }
        self.address.truncate(if planted!(RoomUnchecked) { 0 } else { self.room_id.len() + 1 });
        self.address.push_str(peer_id);
        &self.address
    }

    fn own_address(&mut self) -> &str {
        let own = self.peer_id.clone();
        self.address_of(&own)
    }
}

impl Conversation for Session {
    type Settings = Settings;

    fn open(&mut self, _: &Settings, _: &Opening, _: &mut dyn Context) {}

    fn on_text(&mut self, settings: &Settings, text: &str, ctx: &mut dyn Context) -> Progress {
        if self.ended {
            return Progress::Done;
        }
        let own = self.registered.as_ref().map(|registered| &*registered.peer_id);
        let scanned = Message::scan(text, own);
        let typed = scanned.as_ref().map_err(|&fault| fault).and_then(Message::message_type);
        // A register that had to wait has been counted when it came first.
        if !self.key_wait.is_over() {
            let known = typed.ok().flatten().unwrap_or(MessageType::Unknown);
            ctx.around().count_received(known.label());
            self.messages += 1;
            if !self.rate.admit(settings.message_rate, ctx.around().now()) {
                answer_error(ctx, Code::RateLimited, "Too many messages");
                return Progress::Done;
            }
        }
        match (scanned, typed) {
            (Err(fault), _) | (_, Err(fault)) => answer_fault(ctx, fault),
            (Ok(message), Ok(Some(MessageType::Register))) => {
                return self.on_register(settings, &message, ctx);
            }
            (Ok(message), Ok(Some(message_type))) => self.on_message(settings, &message, message_type, ctx),
            (Ok(_), Ok(None)) => answer_error(ctx, Code::UnknownMessageType, "Unknown message type"),
        }
        Progress::Done
    }

    fn on_binary(&mut self, settings: &Settings, ctx: &mut dyn Context) {
        if self.ended {
            return;
        }
        ctx.around().count_received(MessageType::Unknown.label());
        self.messages += 1;
        if self.rate.admit(settings.message_rate, ctx.around().now()) {
            answer_error(ctx, Code::InvalidMessage, "Messages have to be WebSocket text messages");
        } else {
            answer_error(ctx, Code::RateLimited, "Too many messages");
        }
    }

    fn tick(&mut self, settings: &Settings, ctx: &mut dyn Context) {
        if self.ended {
            return;
        }
        let now = ctx.around().now();
        self.key_wait.look(&settings.identities, now);
        if self.pings(settings) && now.mono_us >= self.next_ping_us {
            self.ping_later(settings, now);
            // Whoever does not read is not helped by more.
            if ctx.around().has_room() {
                answer(ctx, MessageType::Ping, reply::PING);
            }
        }
    }

    fn deadline_us(&self, settings: &Settings) -> Option<u64> {
        let ping_us = self.pings(settings).then_some(self.next_ping_us);
        self.key_wait.deadline_us().into_iter().chain(ping_us).min().filter(|_| !self.ended)
    }

    fn is_waiting(&self) -> bool {
        !self.ended && self.key_wait.is_waiting()
    }

    fn evicted(&mut self, settings: &Settings, ctx: &mut dyn Context) {
        if self.ended || self.registered.is_none() {
            return;
        }
        // Another connection has joined the directory, but the registry holds this one: it was
        // the later of two at the same time, or it is in another room by now.
        if self.is_in_its_room(settings, ctx) {
            return self.join_directory(ctx);
        }
        self.end(settings, "replaced", ctx);
        ctx.close(CloseCode::POLICY, "Replaced by a newer connection");
    }

    fn dismissed(&mut self, settings: &Settings, ctx: &mut dyn Context) {
        // Who has registered again since is meant no more.
        if self.ended || self.registered.is_none() || self.is_in_its_room(settings, ctx) {
            return;
        }
        self.end(settings, "deleted", ctx);
        ctx.close(CloseCode::NORMAL, "Peer deleted");
    }

    fn failed(&mut self, settings: &Settings, ctx: &mut dyn Context) {
        if self.ended {
            return;
        }
        answer_error(ctx, Code::Internal, "Internal server error");
        self.end(settings, "internal_error", ctx);
        ctx.close(CloseCode::INTERNAL, "Internal server error");
    }

    fn ended(&mut self, settings: &Settings, cause: &str, ctx: &mut dyn Context) {
        self.end(settings, cause, ctx);
    }

    fn undeliverable(&self, reference: &MessageRef, cause: Undeliverable, now: Now) -> Option<Event> {
        let registered = self.registered.as_ref()?;
        let MessageRef::Text { label, target } = reference else { return None };
        Some(undeliverable_event(&registered.peer_id, *label, target, cause, now))
    }
}

impl Session {
    fn on_message(
        &mut self,
        settings: &Settings,
        message: &Message<'_>,
        message_type: MessageType,
        ctx: &mut dyn Context,
    ) {
        match message_type {
            MessageType::Ping => return answer(ctx, MessageType::Pong, reply::PONG),
            MessageType::Pong => return,
            _ if self.registered.is_none() => {
                return answer_error(ctx, Code::NotInRoom, "Peer is not registered in any room");
            }
            _ => {}
        }
        let done = match message_type {
            MessageType::PeerMessage => self.on_peer_message(settings, message, ctx),
            MessageType::DiscoverPeers => self.on_discover(settings, message, ctx),
            MessageType::Query => self.on_query(settings, message, ctx),
            MessageType::UpdateMetadata => self.on_update_metadata(settings, message, ctx),
            _ => self.on_signal(settings, message, message_type, ctx),
        };
        if let Err(fault) = done {
            answer_fault(ctx, fault);
        }
    }

    fn on_peer_message(
        &mut self,
        settings: &Settings,
        message: &Message<'_>,
        ctx: &mut dyn Context,
    ) -> Result<(), Fault> {
        message.says_its_sender(&[Field::FromPeerId])?;
        let to = message.required(Field::ToPeerId)?;
        let to_as_sent = message.raw_required(Field::ToPeerId)?;
        let payload = message.raw_required(Field::Payload)?;
        let parts: [&[u8]; 5] =
            [b",\"to_peer_id\":", to_as_sent.as_bytes(), b",\"payload\":", payload.as_bytes(), b"}"];
        self.relay(settings, MessageType::PeerMessage, &to, Pieces::BehindHead(parts), ctx);
        Ok(())
    }

    /// An offer, answer, candidate, or a client's own error. It passes as it came, so that its
    /// target can answer only if it says whom; an error wants no answer.
    fn on_signal(
        &mut self,
        settings: &Settings,
        message: &Message<'_>,
        message_type: MessageType,
        ctx: &mut dyn Context,
    ) -> Result<(), Fault> {
        match message_type {
            MessageType::Error => message.claims_no_other()?,
            _ => message.says_its_sender(&[Field::Sender, Field::FromPeerId])?,
        }
        let to = message.required(Field::Target)?;
        self.relay(settings, message_type, &to, Pieces::All(message.text), ctx);
        Ok(())
    }

    fn relay(
        &mut self,
        settings: &Settings,
        message_type: MessageType,
        to: &str,
        pieces: Pieces<'_>,
        ctx: &mut dyn Context,
    ) {
        let Some(registered) = &mut self.registered else { return };
        // Nobody has such an id, and it may be anything, also SDP, so it is not to be shown.
        if !is_peer_id(to) {
            return self.not_delivered(settings, message_type, "", Undeliverable::NotConnected, ctx);
        }
        let target = match &self.target {
            Some(target) if **target == *to => target.clone(),
            _ => self.target.insert(Arc::from(to)).clone(),
        };
        let label = message_type.label();
        let reference = MessageRef::Text { label, target };
        registered.address_of(to);
        let all;
        let parts = match pieces {
            Pieces::All(text) => Parts::One(text.as_bytes()),
            Pieces::BehindHead([a, b, c, d, e]) => {
                all = [&*registered.head, a, b, c, d, e];
                Parts::Many(&all)
            }
        };
        let text = Text { dialect: TextDialect::Rooms, reference: &reference, label, parts };
        let delivery = Delivery { from: ctx.around().me(), body: Body::Text(text) };
        let sent = ctx.around().send(REALM, &registered.address, &mut self.route, &delivery);
        if let Err(cause) = sent {
            self.not_delivered(settings, message_type, to, cause, ctx);
        }
    }

    /// A message that could not even be sent: published and counted always, told where that is
    /// wanted. `to` is empty where it may not be shown.
    fn not_delivered(
        &self,
        settings: &Settings,
        message_type: MessageType,
        to: &str,
        cause: Undeliverable,
        ctx: &mut dyn Context,
    ) {
        let Some(registered) = &self.registered else { return };
        let label = message_type.label();
        let now = ctx.around().now();
        ctx.around().publish(undeliverable_event(&registered.peer_id, label, to, cause, now));
        let whereabouts = settings.rooms.locate(&registered.room_id, to);
        let (code, message) = undeliverable(cause, Some(whereabouts));
        ctx.around().count_error(code.label());
        if is_reported(label, settings.report_undeliverable) {
            let mut out = Vec::with_capacity(128);
            reply::write_undeliverable(code, message, to, &mut out);
            answer(ctx, MessageType::Error, &out);
        }
    }

    /// Makes this connection the one that messages to its peer id reach.
    pub(super) fn join_directory(&mut self, ctx: &mut dyn Context) {
        let Some(registered) = &mut self.registered else { return };
        let joined = ctx.around().join(REALM, registered.own_address(), DIALECT, OnDuplicate::Replace);
        debug_assert!(joined.is_ok(), "no other dialect has ids in this realm");
    }

    /// Gives up the peer id that this connection has, in the directory first.
    pub(super) fn leave_room(&mut self, settings: &Settings, reason: &str, ctx: &mut dyn Context) {
        self.route = None;
        let Some(registered) = &mut self.registered else { return };
        ctx.around().leave(REALM, registered.own_address());
        settings.rooms.leave(&registered.room_id, &registered.peer_id, ctx.around().me());
        let now = ctx.around().now();
        let duration_us = now.mono_us.saturating_sub(registered.since.mono_us);
        ctx.around().publish(Event {
            event_type: "client_disconnected",
            client_id: registered.peer_id.to_string(),
            unix_ms: now.unix_ms,
            details: vec![
                ("dialect", "rooms".into()),
                ("room_id", (*registered.room_id).into()),
                ("reason", reason.into()),
                ("duration_ms", (duration_us / 1000).into()),
                ("message_count", self.messages.into()),
            ],
        });
    }

    /// The next `ping` of this protocol comes a whole interval from now.
    pub(super) fn ping_later(&mut self, settings: &Settings, now: Now) {
        self.next_ping_us = now.plus(settings.app_ping);
    }

    fn pings(&self, settings: &Settings) -> bool {
        self.registered.is_some() && settings.app_ping != Duration::ZERO
    }

    /// Whether the registry holds this very connection under its peer id.
    fn is_in_its_room(&self, settings: &Settings, ctx: &mut dyn Context) -> bool {
        self.registered.as_ref().is_some_and(|registered| {
            settings.rooms.lookup(&registered.room_id, &registered.peer_id) == Some(ctx.around().me())
        })
    }

    /// Takes nothing more. What it has registered stays known, since messages of its own may still
    /// come back.
    fn end(&mut self, settings: &Settings, reason: &str, ctx: &mut dyn Context) {
        if !std::mem::replace(&mut self.ended, true) {
            self.leave_room(settings, reason, ctx);
        }
    }
}

/// What a relayed message is made of.
enum Pieces<'a> {
    All(&'a str),
    /// Behind [`Registered::head`].
    BehindHead([&'a [u8]; 5]),
}

pub(super) fn answer_fault(ctx: &mut dyn Context, fault: Fault) {
    answer_error(ctx, fault.code(), &fault.message());
}

pub(super) fn answer_error(ctx: &mut dyn Context, code: Code, message: &str) {
    let mut out = Vec::with_capacity(128);
    reply::write_error(code, message, &mut out);
    ctx.around().count_error(code.label());
    answer(ctx, MessageType::Error, &out);
}

pub(super) fn answer(ctx: &mut dyn Context, message_type: MessageType, message: &[u8]) {
    ctx.around().count_sent(message_type.label());
    ctx.reply(Kind::Text, message);
}
