//! One connection that speaks this protocol: from its choice to its end.
//!
//! ```text
//! open ──register──▶ registered ──evicted, connection lost──▶ ended
//!   │                 └─register (another id)─┘                ▲
//!   └──bad token───────────────────────────────────────────────┘
//! ```

use std::sync::Arc;

use super::message::{Message, MessageType, Target, UNKNOWN_LABEL};
use super::reply::{self, Refusal};
use super::roles::Role;
use super::roster::NotEntered;
use super::signal::{MadeSessionId, SignalText};
use super::{DIALECT, Settings, Unwelcome};
use crate::auth::{Certified, DeviceClaims};
use crate::base::{Now, Rate, planted};
use crate::dialect::{
    Body, Context, Conversation, Delivery, Kind, MessageLabel, MessageRef, Opening, Parts, Progress, Speaks,
    Text, TextDialect, Undeliverable, undeliverable_event,
};
use crate::hub::{OnDuplicate, Route};
use crate::observe::Event;
use crate::wire::json;
use crate::wire::websocket::CloseCode;

/// Longest list, in bytes: as long as the longest message may be.
const LIST_BYTES_MAX: usize = 1 << 20;

/// What one connection has to remember.
#[derive(Default)]
pub struct Session {
    registered: Option<Registered>,
    /// What its token says; `None` without one.
    bearer: Option<DeviceClaims>,
    /// Of its last signal: most talk to one peer, whose name then needs no further copy.
    reference: Option<MessageRef>,
    route: Option<Box<Route>>,
    rate: Rate,
    ended: bool,
}

struct Registered {
    id: Box<str>,
    /// The id as a JSON string.
    json: Box<[u8]>,
    since: Now,
    messages: u64,
}

impl Conversation for Session {
    type Settings = Settings;

    fn open(&mut self, settings: &Settings, opening: &Opening, ctx: &mut dyn Context) {
        match settings.admit(opening, ctx.around()) {
            Ok(bearer) => {
                self.bearer = bearer;
                let reports_all = settings.report_undeliverable;
                ctx.around().set_speaks(Speaks::Devices { reports_all });
            }
            Err(Unwelcome::TooManyFailed) => {
                self.ended = true;
                publish_rejected("", Unwelcome::TooManyFailed.reason(), ctx);
                refuse(Refusal::TooManyFailedLogins, ctx);
                ctx.close(CloseCode::POLICY, "Too many failed logins");
            }
            Err(unwelcome) => {
                self.ended = true;
                ctx.around().count_error(reply::Code::Unauthorized.label());
                publish_rejected("", unwelcome.reason(), ctx);
                ctx.close(CloseCode::POLICY, "Unauthorized");
            }
        }
    }

    fn on_text(&mut self, settings: &Settings, text: &str, ctx: &mut dyn Context) -> Progress {
        if self.ended {
            return Progress::Done;
        }
        let scanned = Message::scan(text);
        let message_type = scanned.as_ref().ok().and_then(Message::message_type);
        let label = message_type.map_or(UNKNOWN_LABEL, MessageType::label);
        if !self.admit(settings, label, ctx) {
            return Progress::Done;
        }
        let carried_out = match (&scanned, message_type) {
            (Err(details), _) => Err(Refusal::InvalidMessage { details }),
            (Ok(message), None) => {
                refuse(Refusal::UnknownType { shown: &message.shown_type() }, ctx);
                Ok(())
            }
            (Ok(message), Some(message_type)) => self.carry_out(settings, message, message_type, ctx),
        };
        if let Err(refusal) = carried_out {
            refuse(refusal, ctx);
        }
        Progress::Done
    }

    fn on_binary(&mut self, settings: &Settings, ctx: &mut dyn Context) {
        if !self.ended && self.admit(settings, UNKNOWN_LABEL, ctx) {
            refuse(Refusal::InvalidMessage { details: "Binary messages are not served, only text" }, ctx);
        }
    }

    /// Nothing is said before the close: no deployed server does, and the reason stands in it.
    fn evicted(&mut self, settings: &Settings, ctx: &mut dyn Context) {
        // It may have given that id up for another while the news was on its way.
        let holds_its_id = self.id().is_some_and(|id| settings.roster.is_held_by(id, ctx.around().me()));
        if self.ended || self.registered.is_none() || holds_its_id {
            return;
        }
        self.end(settings, "replaced", ctx);
        ctx.close(CloseCode::POLICY, "Replaced by a newer connection");
    }

    fn failed(&mut self, settings: &Settings, ctx: &mut dyn Context) {
        if self.ended {
            return;
        }
        refuse(Refusal::Internal, ctx);
        self.end(settings, "internal_error", ctx);
        ctx.close(CloseCode::INTERNAL, "Internal server error");
    }

    fn ended(&mut self, settings: &Settings, cause: &str, ctx: &mut dyn Context) {
        self.end(settings, cause, ctx);
    }

    /// Who may send without being registered is published without an id.
    fn undeliverable(&self, reference: &MessageRef, cause: Undeliverable, now: Now) -> Option<Event> {
        let MessageRef::Text { label, target } = reference else { return None };
        Some(undeliverable_event(self.id().unwrap_or_default(), *label, target, cause, now))
    }
}

impl Session {
    fn id(&self) -> Option<&str> {
        self.registered.as_ref().map(|registered| &*registered.id)
    }

    /// Counts one message; false when it comes too soon, and then it has been answered.
    fn admit(&mut self, settings: &Settings, label: MessageLabel, ctx: &mut dyn Context) -> bool {
        ctx.around().count_received(label);
        if let Some(registered) = &mut self.registered {
            registered.messages += 1;
        }
        let admitted = self.rate.admit(settings.message_rate, ctx.around().now());
        if !admitted {
            refuse(Refusal::TooManyMessages, ctx);
        }
        admitted
    }

    fn carry_out(
        &mut self,
        settings: &Settings,
        message: &Message<'_>,
        message_type: MessageType,
        ctx: &mut dyn Context,
    ) -> Result<(), Refusal<'static>> {
        let role = settings.role(self.bearer.as_ref());
        if role.is_some_and(|role| !role.may_send(message_type)) {
            return Err(Refusal::NotAllowed);
        }
        match message_type {
            MessageType::Offer | MessageType::Answer | MessageType::Ice => {
                self.on_signal(settings, role, message, message_type, ctx)
            }
            MessageType::Register => self.on_register(settings, message, ctx),
            MessageType::List => {
                let ids = ctx.around().ids(settings.realm);
                if reply::list_bytes(&ids) > LIST_BYTES_MAX {
                    return Err(Refusal::ListTooLong);
                }
                answer(reply::CLIENTS_LABEL, ctx, |_, out| reply::write_list(&ids, self.id(), out));
                Ok(())
            }
            MessageType::Ping => {
                answer(reply::PONG_LABEL, ctx, reply::write_pong);
                Ok(())
            }
        }
    }

    fn on_signal(
        &mut self,
        settings: &Settings,
        role: Option<&Role>,
        message: &Message<'_>,
        message_type: MessageType,
        ctx: &mut dyn Context,
    ) -> Result<(), Refusal<'static>> {
        let from = match &self.registered {
            Some(registered) => &*registered.json,
            None if settings.allow_unregistered => b"null",
            None => return Err(Refusal::NotRegistered),
        };
        let target = message.target().ok_or(Refusal::NoTarget)?;
        let label = message_type.label();
        let is_there = match role.and_then(Role::to).filter(|_| target.is_id) {
            // Of who is not registered here no role is known.
            Some(roles) => match settings.roster.is_one_of(&target.text, roles) {
                Some(false) => return Err(Refusal::NotAllowed),
                found => found.is_some(),
            },
            None => target.is_id,
        };
        if !is_there {
            self.not_sent(settings, label, &target, Undeliverable::NotConnected, ctx);
            return Ok(());
        }
        let now = ctx.around().now();
        let (body, session_id) = match message_type {
            MessageType::Offer => (message.sdp(), message.true_session_id()),
            MessageType::Answer => (message.sdp(), message.session_id()),
            _ => (message.candidate(), message.session_id()),
        };
        let made = (message_type == MessageType::Offer && session_id.is_none())
            .then(|| MadeSessionId::new(now, ctx.around().random_u128()));
        let made = made.as_ref().map(MadeSessionId::json);
        let session_id = session_id.map(|value| message.bytes_of(value)).or(made);
        let body = body.map(|value| message.bytes_of(value));
        let text = SignalText::new(message_type, from, body, session_id, now);
        let same = |last: &MessageRef| {
            matches!(last, MessageRef::Text { label: last, target: known }
                if *last == label && **known == *target.text)
        };
        let reference = self.reference.take().filter(same);
        let reference =
            reference.unwrap_or_else(|| MessageRef::Text { label, target: Arc::from(&*target.text) });
        let reference = &*self.reference.insert(reference);
        let delivery = Delivery {
            from: ctx.around().me(),
            body: Body::Text(Text {
                dialect: TextDialect::Devices,
                reference,
                label,
                parts: Parts::Many(&text.parts()),
            }),
        };
        let sent = ctx.around().send(settings.realm, &target.text, &mut self.route, &delivery);
        if let Err(cause) = sent {
            self.not_sent(settings, label, &target, cause, ctx);
        }
        Ok(())
    }

    /// Publishes that a message did not arrive, and says so where its sender is to hear of it.
    fn not_sent(
        &self,
        settings: &Settings,
        label: MessageLabel,
        target: &Target<'_>,
        cause: Undeliverable,
        ctx: &mut dyn Context,
    ) {
        let now = ctx.around().now();
        // What can be nobody's id may be anything, also SDP.
        let shown = if target.is_id { &*target.text } else { "" };
        ctx.around().publish(undeliverable_event(self.id().unwrap_or_default(), label, shown, cause, now));
        ctx.around().count_error(reply::undeliverable(cause).label());
        let mut out = Vec::with_capacity(REPLY_BYTES);
        let reports_all = settings.report_undeliverable;
        if let Some(told) = reply::write_bounce(reports_all, label, &target.text, cause, now, &mut out) {
            ctx.around().count_sent(told.label);
            ctx.reply(Kind::Text, &out);
        }
    }

    fn on_register(
        &mut self,
        settings: &Settings,
        message: &Message<'_>,
        ctx: &mut dyn Context,
    ) -> Result<(), Refusal<'static>> {
        let id = message.id().ok_or(Refusal::InvalidId)?;
        // Not joined again: a newer connection may own the id, and this one be about to hear of it.
        if self.id() != Some(&id) {
            self.enter(settings, &id, ctx)?;
        }
        if let Some(registered) = &self.registered {
            answer(reply::REGISTERED_LABEL, ctx, |now, out| {
                reply::write_registered(&registered.json, now, out);
            });
        }
        Ok(())
    }

    /// Registers this connection as `id`, in place of an id that it had before. That one is kept
    /// where it is refused.
    fn enter(
        &mut self,
        settings: &Settings,
        id: &str,
        ctx: &mut dyn Context,
    ) -> Result<(), Refusal<'static>> {
        if self.bearer.as_ref().is_some_and(|bearer| !bearer.names(id)) {
            publish_rejected(id, "wrong_subject", ctx);
            return Err(Refusal::OtherId);
        }
        if ctx.around().certified(id) == Certified::No {
            publish_rejected(id, "wrong_certificate", ctx);
            return Err(Refusal::OtherCertificate);
        }
        if ctx.around().draining() {
            return Err(Refusal::ShuttingDown);
        }
        // Who changes its name needs no further place.
        let is_limited = settings.max_clients > 0 && self.registered.is_none();
        let ids_max = if is_limited { settings.max_clients } else { usize::MAX };
        let role = self.bearer.as_ref().and_then(|bearer| bearer.role.as_deref()).map(Arc::from);
        let around = ctx.around();
        let entered = settings.roster.enter(id, around.me(), role, ids_max, || {
            around.join(settings.realm, id, DIALECT, OnDuplicate::Replace)
        });
        match entered {
            Ok(()) => {}
            Err(NotEntered::Taken) => {
                publish_rejected(id, "id_taken", ctx);
                return Err(Refusal::IdTaken);
            }
            Err(NotEntered::Full) => {
                publish_rejected(id, "too_many_clients", ctx);
                return Err(Refusal::TooManyClients);
            }
        }
        let now = ctx.around().now();
        let mut json = Vec::new();
        json::write_string(&mut json, id);
        let (json, messages) = (json.into_boxed_slice(), 1);
        let former = self.registered.replace(Registered { id: id.into(), json, since: now, messages });
        if let Some(former) = former {
            give_up(settings, &former, "renamed", ctx);
            // Giving an id up ends the deliveries to this connection; it still has the new one.
            ctx.around().attend();
        }
        if ctx.around().wants_event("client_connected") {
            let (client_id, unix_ms) = (id.to_owned(), now.unix_ms);
            let details = vec![("dialect", "devices".into())];
            ctx.around().publish(Event { event_type: "client_connected", client_id, unix_ms, details });
        }
        Ok(())
    }

    /// Gives the id up and takes nothing more. For an evicted session giving it up is no change: the
    /// id is the newer connection's. Messages of its own may still come back.
    fn end(&mut self, settings: &Settings, cause: &str, ctx: &mut dyn Context) {
        self.route = None;
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        if let Some(registered) = &self.registered {
            give_up(settings, registered, cause, ctx);
        }
    }
}

/// Most replies fit.
const REPLY_BYTES: usize = 192;

fn give_up(settings: &Settings, registered: &Registered, cause: &str, ctx: &mut dyn Context) {
    let around = ctx.around();
    let me = around.me();
    settings.roster.leave(&registered.id, me, || around.leave(settings.realm, &registered.id));
    if !around.wants_event("client_disconnected") {
        return;
    }
    let now = around.now();
    let duration_us = now.mono_us.saturating_sub(registered.since.mono_us);
    around.publish(Event {
        event_type: "client_disconnected",
        client_id: registered.id.to_string(),
        unix_ms: now.unix_ms,
        details: vec![
            ("dialect", "devices".into()),
            ("reason", cause.into()),
            ("duration_ms", (duration_us / 1000).into()),
            ("message_count", registered.messages.into()),
        ],
    });
}

fn publish_rejected(client_id: &str, reason: &str, ctx: &mut dyn Context) {
    let (client_id, unix_ms) = (client_id.to_owned(), ctx.around().now().unix_ms);
    let details = vec![("dialect", "devices".into()), ("reason", reason.into())];
    ctx.around().publish(Event { event_type: "client_rejected", client_id, unix_ms, details });
}

fn refuse(refusal: Refusal<'_>, ctx: &mut dyn Context) {
    if planted!(BadTextUnanswered) && matches!(refusal, Refusal::InvalidMessage { .. }) {
        return;
    }
    ctx.around().count_error(refusal.code().label());
    answer(reply::ERROR_LABEL, ctx, |_, out| refusal.write(out));
}

fn answer(label: MessageLabel, ctx: &mut dyn Context, write: impl FnOnce(Now, &mut Vec<u8>)) {
    let mut out = Vec::with_capacity(REPLY_BYTES);
    write(ctx.around().now(), &mut out);
    ctx.around().count_sent(label);
    ctx.reply(Kind::Text, &out);
}
