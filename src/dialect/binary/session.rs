//! One connection that speaks this protocol: from its CONNECT to its end.
//!
//! ```text
//! fresh ──CONNECT──▶ live ──DISCONNECT, evicted, connection lost──▶ ended
//!   └──3 failed CONNECTs, lost framing──────────────────────────────▶
//! ```

use uuid::Uuid;
use uuid::fmt::Hyphenated;

use super::codes::{Code, DRAINING, MessageType, UNKNOWN_LABEL, undeliverable};
use super::form::Form;
use super::message::{self, CLIENT_ID_BYTES_MAX, Connect, is_client_id};
use super::reply::{self, NIL, Refusal, Reply};
use super::signal::Signal;
use super::usual::Opening;
use super::{DIALECT, Settings};
use crate::base::{Now, Rate, planted};
use crate::dialect::{
    Body, Context, Delivery, Kind, MessageRef, Speaks, TOO_MANY_FAILED_LOGINS, Undeliverable,
};
use crate::hub::Route;
use crate::observe::Event;
use crate::wire::frame::{self, Broken, Frame, Unfinished};
use crate::wire::json;
use crate::wire::websocket::CloseCode;

/// Failed CONNECTs in a row that end a connection.
pub const FAILED_CONNECTS_MAX: u8 = 3;

/// What one connection has to remember. 48 bytes, and one box once it is live; another one when it
/// has sent its first signal.
#[derive(Default)]
pub struct Session {
    live: Option<Box<Live>>,
    sending: Option<Box<Sending>>,
    messages: u64,
    last_activity_unix_ms: u64,
    rate: Rate,
    failed_connects: u8,
    ended: bool,
    /// The form of a CONNECT that was refused: how to answer what cannot be read.
    tried: Option<Form>,
}

struct Live {
    client_id: Box<str>,
    session_id: Uuid,
    connected: Now,
    form: Form,
    /// It is the same bytes in JSON.
    plain_id: bool,
}

/// What the last signal leaves behind for the next one.
#[derive(Default)]
struct Sending {
    route: Option<Box<Route>>,
    opening: Opening,
}

/// What is kept of a live session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionInfo<'a> {
    pub session_id: Uuid,
    pub client_id: &'a str,
    pub connected_unix_ms: u64,
    pub last_activity_unix_ms: u64,
    /// Messages received, from the CONNECT on.
    pub message_count: u64,
}

/// How far a stream's bytes have been used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamProgress {
    /// Bytes at the front that are done with.
    pub consumed: usize,
    pub next: StreamNext,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamNext {
    /// To be called again when at least so many bytes are there, counted from `consumed` on.
    Read { frame_bytes_min: usize },
    /// To be called again with the rest when there is room ([`Context::may_go_on`]).
    HeldBack,
    /// The connection ends; nothing more is taken.
    Closed,
}

impl Session {
    pub fn new() -> Session {
        Session::default()
    }

    /// Carries out the frames of one WebSocket binary message in their order. Returns the bytes
    /// that are done with: fewer than all when the connection is held back, and then the rest is
    /// to be brought again.
    pub fn on_message(&mut self, settings: &Settings, message: &[u8], ctx: &mut dyn Context) -> usize {
        let mut at = 0;
        while !self.ended {
            let rest = message.get(at..).unwrap_or_default();
            match frame::complete(rest) {
                Ok(frame) => {
                    at += frame.frame_bytes();
                    self.on_frame(settings, &frame, ctx);
                }
                Err(broken) => {
                    self.on_broken(settings, broken, ctx);
                    return message.len();
                }
            }
            if at >= message.len() {
                return message.len();
            }
            if !ctx.may_go_on() {
                return at;
            }
        }
        message.len()
    }

    /// A WebSocket text message: only binary ones are served.
    pub fn on_text(&mut self, settings: &Settings, ctx: &mut dyn Context) {
        if self.ended {
            return;
        }
        ctx.around().count_received(UNKNOWN_LABEL);
        let form = self.form().or(self.tried).unwrap_or(Form::FLAT_JSON);
        if self.admit(settings, ctx.around().now()) {
            answer_error(ctx, &NIL, form, Code::TextMessage, reply::TEXT_MESSAGE);
        } else {
            answer_error(ctx, &NIL, form, Code::RateLimited, RATE_LIMITED);
        }
    }

    /// Carries out the frames at the front of a plain stream's bytes in their order.
    pub fn on_stream(&mut self, settings: &Settings, bytes: &[u8], ctx: &mut dyn Context) -> StreamProgress {
        let mut consumed = 0;
        while !self.ended {
            let rest = bytes.get(consumed..).unwrap_or_default();
            match frame::streaming(rest) {
                Ok(frame) => {
                    consumed += frame.frame_bytes();
                    self.on_frame(settings, &frame, ctx);
                }
                Err(Unfinished::Incomplete { frame_bytes_min }) => {
                    return StreamProgress { consumed, next: StreamNext::Read { frame_bytes_min } };
                }
                Err(Unfinished::BadStartByte) => {
                    self.on_broken(settings, Broken::BadStartByte, ctx);
                    self.end(settings, "framing_lost", ctx);
                    ctx.close(CloseCode::POLICY, "Framing is lost");
                }
            }
            if !self.ended && !ctx.may_go_on() {
                return StreamProgress { consumed, next: StreamNext::HeldBack };
            }
        }
        StreamProgress { consumed: bytes.len(), next: StreamNext::Closed }
    }

    /// A newer connection has taken this one's id.
    pub fn evicted(&mut self, settings: &Settings, ctx: &mut dyn Context) {
        let Some(form) = self.form().filter(|_| !self.ended) else { return };
        answer_error(ctx, &NIL, form, Code::Conflict, "A newer connection has taken the client id");
        self.end(settings, "replaced", ctx);
        ctx.close(CloseCode::POLICY, "Replaced by a newer connection");
    }

    /// We broke something while this connection was served: it is told and closed.
    pub fn failed(&mut self, settings: &Settings, ctx: &mut dyn Context) {
        if self.ended {
            return;
        }
        let mut out = Vec::new();
        let error = reply::write_refusal(self.form(), Refusal::Internal, &mut out);
        ctx.around().count_error(error);
        ctx.around().count_sent(MessageType::Error.label());
        ctx.reply(Kind::Binary, &out);
        self.end(settings, "internal_error", ctx);
        ctx.close(CloseCode::INTERNAL, "Internal server error");
    }

    /// The connection is over, for a reason of its own or of the server; `cause` is the word for it in
    /// the event. Does nothing when the session has ended before.
    pub fn ended(&mut self, settings: &Settings, cause: &str, ctx: &mut dyn Context) {
        self.end(settings, cause, ctx);
    }

    pub fn is_live(&self) -> bool {
        self.live.is_some() && !self.ended
    }

    pub fn client_id(&self) -> Option<&str> {
        self.live.as_ref().map(|live| &*live.client_id)
    }

    /// The form in which the connection is answered, once it is live.
    pub fn form(&self) -> Option<Form> {
        self.live.as_ref().map(|live| live.form)
    }

    pub fn info(&self) -> Option<SessionInfo<'_>> {
        let live = self.live.as_ref().filter(|_| !self.ended)?;
        Some(SessionInfo {
            session_id: live.session_id,
            client_id: &live.client_id,
            connected_unix_ms: live.connected.unix_ms,
            last_activity_unix_ms: self.last_activity_unix_ms,
            message_count: self.messages,
        })
    }

    fn on_frame(&mut self, settings: &Settings, frame: &Frame<'_>, ctx: &mut dyn Context) {
        let message_type = MessageType::from_byte(frame.message_type);
        ctx.around().count_received(message_type.map_or(UNKNOWN_LABEL, MessageType::label));
        // Whoever has sent too much may still leave.
        let is_limited = message_type != Some(MessageType::Disconnect);
        if is_limited && !self.admit(settings, ctx.around().now()) {
            return self.refuse(frame, Code::RateLimited, RATE_LIMITED, ctx);
        }
        match message_type {
            Some(
                message_type @ (MessageType::SignalOffer
                | MessageType::SignalAnswer
                | MessageType::SignalIceCandidate),
            ) => self.on_signal(settings, frame, message_type, ctx),
            Some(MessageType::Heartbeat) => self.on_heartbeat(frame, ctx),
            Some(MessageType::Connect) => self.on_connect(settings, frame, ctx),
            Some(MessageType::Disconnect) => self.on_disconnect(settings, frame, ctx),
            Some(MessageType::ConnectAck | MessageType::HeartbeatAck | MessageType::Error) => {
                self.refuse(frame, Code::BadRequest, "Only the server sends this message type", ctx);
            }
            None => self.refuse(frame, Code::BadRequest, "Unknown message type", ctx),
        }
    }

    /// Bytes that are no frame.
    fn on_broken(&mut self, settings: &Settings, broken: Broken, ctx: &mut dyn Context) {
        ctx.around().count_received(UNKNOWN_LABEL);
        if planted!(BadFrameUnanswered) {
            return;
        }
        let (uuid, payload_type, message) = match broken {
            Broken::BadStartByte => (None, None, "Frame has to begin with 0xAA"),
            Broken::Cut { uuid, payload_type } => (uuid, payload_type, "Frame is cut off"),
        };
        let uuid = uuid.unwrap_or(NIL);
        let form = self.form().or(self.tried).unwrap_or_else(|| Form::of_offending(payload_type, &[]));
        if self.admit(settings, ctx.around().now()) {
            answer_error(ctx, &uuid, form, Code::BadRequest, message);
        } else {
            answer_error(ctx, &uuid, form, Code::RateLimited, RATE_LIMITED);
        }
    }

    fn on_signal(
        &mut self,
        settings: &Settings,
        frame: &Frame<'_>,
        message_type: MessageType,
        ctx: &mut dyn Context,
    ) {
        let mut sending = self.sending.take().unwrap_or_default();
        self.send(settings, frame, message_type, &mut sending, ctx);
        if self.live.is_some() {
            self.sending = Some(sending);
        }
    }

    #[inline]
    fn send(
        &self,
        settings: &Settings,
        frame: &Frame<'_>,
        message_type: MessageType,
        Sending { route, opening }: &mut Sending,
        ctx: &mut dyn Context,
    ) {
        let (mut head, target) = match message::signal(frame, message_type, settings.stamp_sender, opening) {
            Ok(signal) => signal,
            Err(malformed) => return self.refuse(frame, Code::BadRequest, malformed.0, ctx),
        };
        let Some(live) = &self.live else {
            return self.refuse(frame, Code::Unauthorized, NOT_LIVE, ctx);
        };
        head.plain_sender = live.plain_id;
        let signal = Signal { head, sender: &live.client_id, payload: frame.payload };
        let delivery = Delivery { from: ctx.around().me(), body: Body::Binary(signal) };
        // Nobody can have a longer id, so no table has to be asked.
        let sent = if target.len() > CLIENT_ID_BYTES_MAX {
            Err(Undeliverable::NotConnected)
        } else {
            ctx.around().send(settings.realm, &target, route, &delivery)
        };
        if let Err(cause) = sent {
            let reference = delivery.reference();
            let now = ctx.around().now();
            ctx.around().publish(undeliverable_event(&live.client_id, Some(&target), &reference, cause, now));
            let (code, message) = undeliverable(cause);
            self.refuse(frame, code, message, ctx);
        }
    }

    fn on_heartbeat(&mut self, frame: &Frame<'_>, ctx: &mut dyn Context) {
        if let Err(malformed) = message::heartbeat(frame) {
            return self.refuse(frame, Code::BadRequest, malformed.0, ctx);
        }
        let Some(form) = self.form() else {
            return self.refuse(frame, Code::Unauthorized, NOT_LIVE, ctx);
        };
        let unix_seconds = ctx.around().now().unix_seconds();
        answer(ctx, frame.uuid, form, Reply::HeartbeatAck { unix_seconds });
    }

    fn on_connect(&mut self, settings: &Settings, frame: &Frame<'_>, ctx: &mut dyn Context) {
        let connect = match message::connect(frame) {
            Ok(connect) => connect,
            Err(malformed) => return self.refuse(frame, Code::BadRequest, malformed.0, ctx),
        };
        if self.live.is_some() {
            return self.refuse(frame, Code::BadRequest, "Session is connected already", ctx);
        }
        let form = connect.form;
        self.tried = Some(form);
        if ctx.around().draining() {
            return answer_error(ctx, frame.uuid, form, Code::Unavailable, DRAINING);
        }
        let (code, message, reason) = match self.log_in(settings, connect, ctx) {
            Ok(session_id) => {
                let session_id = session_id.hyphenated();
                let mut text = [0; Hyphenated::LENGTH];
                let session_id = &*session_id.encode_lower(&mut text);
                return answer(ctx, frame.uuid, form, Reply::ConnectAck { session_id });
            }
            Err(refused) => refused,
        };
        let (client_id, unix_ms) = (reason.0, ctx.around().now().unix_ms);
        let details = vec![("dialect", "binary".into()), ("reason", reason.1.into())];
        ctx.around().publish(Event { event_type: "client_rejected", client_id, unix_ms, details });
        answer_error(ctx, frame.uuid, form, code, message);
        self.failed_connects += 1;
        if self.failed_connects >= FAILED_CONNECTS_MAX {
            self.end(settings, "", ctx);
            ctx.close(CloseCode::POLICY, "Too many failed logins");
        }
    }

    /// Makes the session live, or tells code and words of the refusal, and client id and reason
    /// for its event.
    fn log_in(
        &mut self,
        settings: &Settings,
        connect: Connect<'_>,
        ctx: &mut dyn Context,
    ) -> Result<Uuid, (Code, &'static str, (String, &'static str))> {
        let Connect { form, client_id, token } = connect;
        let now = ctx.around().now();
        if !ctx.around().may_log_in() {
            let reason = (client_id.into_owned(), TOO_MANY_FAILED_LOGINS);
            return Err((Code::RateLimited, "Too many failed logins", reason));
        }
        let certified = ctx.around().certified(&client_id);
        let verdict = settings.auth.verify(&client_id, token.expose(), certified, now.unix_seconds());
        if let Err(refused) = verdict {
            if refused.may_be_a_guess() {
                ctx.around().login_failed();
            }
            let reason = (client_id.into_owned(), refused.reason());
            return Err((Code::Unauthorized, "Invalid token", reason));
        }
        if ctx.around().join(settings.realm, &client_id, DIALECT, settings.on_duplicate).is_err() {
            let reason = (client_id.into_owned(), "id_taken");
            return Err((Code::Conflict, "Id is taken", reason));
        }
        let random = ctx.around().random_u128().to_be_bytes();
        let session_id = uuid::Builder::from_random_bytes(random).into_uuid();
        ctx.around().set_speaks(Speaks::Binary(form));
        if ctx.around().wants_event("client_connected") {
            ctx.around().publish(Event {
                event_type: "client_connected",
                client_id: client_id.clone().into_owned(),
                unix_ms: now.unix_ms,
                details: vec![
                    ("dialect", "binary".into()),
                    ("session_id", session_id.hyphenated().to_string().into()),
                ],
            });
        }
        let client_id = client_id.into_owned().into_boxed_str();
        let plain_id = json::string_bytes(&client_id) == client_id.len() + 2;
        self.live = Some(Box::new(Live { client_id, session_id, connected: now, form, plain_id }));
        self.failed_connects = 0;
        self.messages = 1;
        self.last_activity_unix_ms = now.unix_ms;
        Ok(session_id)
    }

    fn on_disconnect(&mut self, settings: &Settings, frame: &Frame<'_>, ctx: &mut dyn Context) {
        let disconnect = match message::disconnect(frame) {
            Ok(disconnect) => disconnect,
            Err(malformed) => return self.refuse(frame, Code::BadRequest, malformed.0, ctx),
        };
        let Some(live) = &self.live else {
            return self.refuse(frame, Code::Unauthorized, NOT_LIVE, ctx);
        };
        if disconnect.client_id.is_some_and(|client_id| *client_id != *live.client_id) {
            return self.refuse(frame, Code::BadRequest, "client_id is another client's", ctx);
        }
        self.end(settings, "disconnect", ctx);
        ctx.close(CloseCode::NORMAL, "");
    }

    /// Gives the id up and takes nothing more. For an evicted session giving it up is no change:
    /// the id is the newer connection's. Messages of its own may still come back.
    fn end(&mut self, settings: &Settings, reason: &str, ctx: &mut dyn Context) {
        self.sending = None;
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let Some(live) = &self.live else { return };
        ctx.around().leave(settings.realm, &live.client_id);
        if !ctx.around().wants_event("client_disconnected") {
            return;
        }
        let now = ctx.around().now();
        let duration_us = now.mono_us.saturating_sub(live.connected.mono_us);
        ctx.around().publish(Event {
            event_type: "client_disconnected",
            client_id: live.client_id.to_string(),
            unix_ms: now.unix_ms,
            details: vec![
                ("dialect", "binary".into()),
                ("session_id", live.session_id.hyphenated().to_string().into()),
                ("reason", reason.into()),
                ("duration_ms", (duration_us / 1000).into()),
                ("message_count", self.messages.into()),
            ],
        });
    }

    /// Counts one message of a live session; false when it comes too soon.
    fn admit(&mut self, settings: &Settings, now: Now) -> bool {
        if self.live.is_none() {
            return true;
        }
        self.messages += 1;
        self.last_activity_unix_ms = now.unix_ms;
        self.rate.admit(settings.message_rate, now)
    }

    fn refuse(&self, frame: &Frame<'_>, code: Code, message: &str, ctx: &mut dyn Context) {
        let offending = || Form::of_offending(Some(frame.payload_type), frame.payload);
        answer_error(ctx, frame.uuid, self.form().unwrap_or_else(offending), code, message);
    }
}

/// For whoever subscribes: a signal did not arrive. The target is left out where it is not known
/// any more.
pub fn undeliverable_event(
    sender: &str,
    target: Option<&str>,
    reference: &MessageRef,
    cause: Undeliverable,
    now: Now,
) -> Event {
    let (uuid, message_type) = match reference {
        MessageRef::Frame { uuid, message_type } => (*uuid, *message_type),
        MessageRef::Text { .. } => (NIL, 0),
    };
    let message_type = MessageType::from_byte(message_type).map_or("unknown", MessageType::name);
    let mut details = vec![
        ("message_type", message_type.into()),
        ("uuid", Uuid::from_bytes(uuid).hyphenated().to_string().into()),
        ("error_code", u64::from(undeliverable(cause).0.number()).into()),
    ];
    // What can be no client's id may be anything, also SDP where a client has left the target out.
    if let Some(target) = target.filter(|target| is_client_id(target)) {
        details.push(("target", target.into()));
    }
    Event { event_type: "signal_undeliverable", client_id: sender.to_owned(), unix_ms: now.unix_ms, details }
}

const NOT_LIVE: &str = "CONNECT has to come first";
const RATE_LIMITED: &str = "Too many messages";

fn answer_error(ctx: &mut dyn Context, uuid: &[u8; 16], form: Form, code: Code, message: &str) {
    ctx.around().count_error(code.label());
    answer(ctx, uuid, form, Reply::Error { code, message });
}

fn answer(ctx: &mut dyn Context, uuid: &[u8; 16], form: Form, reply: Reply<'_>) {
    let mut out = Vec::with_capacity(192);
    reply::write(reply, form, uuid, &mut out);
    ctx.around().count_sent(reply.message_type().label());
    ctx.reply(Kind::Binary, &out);
}

const _: () = assert!(size_of::<Session>() <= 64 && size_of::<Live>() <= 80);
