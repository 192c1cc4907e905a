//! One WebSocket that listens to a call.
//!
//! ```text
//! silent ──JOIN──▶ asking for the seat ──▶ live ──connection lost──────────▶ over
//!   └─ no or bad handshake ─┴─ bad seat ────┴─ seat cannot be renewed ─────▶
//! ```

use std::time::Duration;

use uuid::Uuid;

use super::message::UNKNOWN_LABEL;
use super::{Body, Event, EventKind, Message, Reason, Settings, write_event};
use crate::base::{Now, Redacted, planted};
use crate::dialect::{Context, Conversation, Kind, MessageRef, Opening, Progress, Speaks, Undeliverable};
use crate::hub::SeatAnswer;
use crate::observe;
use crate::wire::websocket::CloseCode;

/// A store that had no answer yet is asked again after this.
const ASK_AGAIN: Duration = Duration::from_millis(10);

#[derive(Default)]
pub struct Session {
    state: State,
}

#[derive(Default)]
enum State {
    /// Nothing has been said.
    #[default]
    Fresh,
    Silent {
        opened_us: u64,
    },
    Joining(Joining),
    Live(Live),
    Over,
}

/// The seat of a JOIN is being looked up.
struct Joining {
    seat: Seat,
    opened_us: u64,
    asked_us: u64,
}

struct Live {
    seat: Seat,
    /// Names this connection in events, since its session must not.
    id: Uuid,
    connected: Now,
    messages: u64,
    next_ping_us: Option<u64>,
    /// When the seat was good for certain.
    seated_us: u64,
    asking: Option<Asking>,
}

struct Seat {
    call: Box<str>,
    session: Redacted<Box<str>>,
}

/// A question to the store that has no answer yet.
#[derive(Clone, Copy)]
struct Asking {
    question: Question,
    asked_us: u64,
}

#[derive(Clone, Copy)]
enum Question {
    /// A pong has come.
    Renewal,
    /// None has come for as long as a seat lasts. Another connection of the session may have kept it.
    StillHeld,
}

impl Conversation for Session {
    type Settings = Settings;

    fn open(&mut self, _: &Settings, _: &Opening, ctx: &mut dyn Context) {
        if let State::Fresh = self.state {
            self.state = State::Silent { opened_us: ctx.around().now().mono_us };
        }
    }

    fn on_text(&mut self, settings: &Settings, text: &str, ctx: &mut dyn Context) -> Progress {
        let opened_us = match &mut self.state {
            State::Fresh => ctx.around().now().mono_us,
            State::Silent { opened_us } => *opened_us,
            // What a client says after its handshake is of no interest.
            State::Joining(_) | State::Live(_) | State::Over => {
                self.ignore(ctx);
                return Progress::Done;
            }
        };
        let message = Message::parse(text).ok();
        let label = message.as_ref().and_then(|message| message.kind).map_or(UNKNOWN_LABEL, EventKind::label);
        ctx.around().count_received(label);
        let Some(join) = message.filter(Message::is_handshake) else {
            self.end(settings, Reason::BadHandshake, ctx);
            return Progress::Done;
        };
        if ctx.around().draining() {
            self.state = State::Over;
            ctx.close(CloseCode::GOING_AWAY, "Server shutting down");
            return Progress::Done;
        }
        let session = Redacted::new(join.session.into_owned().into_boxed_str());
        let seat = Seat { call: join.call.into_owned().into_boxed_str(), session };
        self.state = State::Joining(Joining { seat, opened_us, asked_us: 0 });
        self.look_up_seat(settings, ctx);
        Progress::Done
    }

    fn on_binary(&mut self, settings: &Settings, ctx: &mut dyn Context) {
        match self.state {
            State::Fresh | State::Silent { .. } => {
                ctx.around().count_received(UNKNOWN_LABEL);
                self.end(settings, Reason::BadHandshake, ctx);
            }
            State::Joining(_) | State::Live(_) | State::Over => self.ignore(ctx),
        }
    }

    fn on_pong(&mut self, settings: &Settings, ctx: &mut dyn Context) {
        if let State::Live(live) = &self.state
            && live.asking.is_none()
        {
            self.ask(settings, Question::Renewal, ctx);
        }
    }

    fn tick(&mut self, settings: &Settings, ctx: &mut dyn Context) {
        let now = ctx.around().now();
        if self.deadline_us(settings).is_none_or(|deadline_us| now.mono_us < deadline_us) {
            return;
        }
        match &mut self.state {
            State::Silent { .. } => self.end(settings, Reason::HandshakeReadFailure, ctx),
            State::Joining(_) => self.look_up_seat(settings, ctx),
            State::Live(live) => {
                if live.next_ping_us.is_some_and(|next_ping_us| next_ping_us <= now.mono_us) {
                    live.next_ping_us = Some(now.plus(settings.ws_ping_interval));
                    ctx.ping();
                }
                let due = match live.asking {
                    Some(asking) => (asking.again_us() <= now.mono_us).then_some(asking.question),
                    None => (live.lapses_us(settings) <= now.mono_us).then_some(Question::StillHeld),
                };
                if let Some(question) = due {
                    self.ask(settings, question, ctx);
                }
            }
            State::Fresh | State::Over => {}
        }
    }

    fn deadline_us(&self, settings: &Settings) -> Option<u64> {
        match &self.state {
            State::Silent { opened_us } => settings.handshake_within().map(|limit| after(*opened_us, limit)),
            State::Joining(joining) => {
                let again_us = after(joining.asked_us, ASK_AGAIN);
                Some(joining.given_up_us(settings).map_or(again_us, |given_up_us| again_us.min(given_up_us)))
            }
            State::Live(live) => {
                let seat_us =
                    live.asking.map_or_else(|| live.lapses_us(settings), |asking| asking.again_us());
                Some(live.next_ping_us.map_or(seat_us, |next_ping_us| seat_us.min(next_ping_us)))
            }
            State::Fresh | State::Over => None,
        }
    }

    /// A call has no ids that a newer connection could take.
    fn evicted(&mut self, _: &Settings, _: &mut dyn Context) {}

    fn failed(&mut self, settings: &Settings, ctx: &mut dyn Context) {
        if !matches!(self.state, State::Over) {
            self.end(settings, Reason::BackendFailure, ctx);
        }
    }

    fn ended(&mut self, settings: &Settings, cause: &str, ctx: &mut dyn Context) {
        if let State::Live(live) = std::mem::replace(&mut self.state, State::Over) {
            live.leave(settings, cause, ctx);
        }
    }

    /// Clients of this dialect send by HTTP.
    fn undeliverable(&self, _: &MessageRef, _: Undeliverable, _: Now) -> Option<observe::Event> {
        None
    }
}

impl Session {
    /// Counted, and nothing else: a flood is to cost nothing.
    fn ignore(&mut self, ctx: &mut dyn Context) {
        ctx.around().count_received(UNKNOWN_LABEL);
        if let State::Live(live) = &mut self.state {
            live.messages += 1;
        }
    }

    /// Only looks: a seat is renewed by pongs alone.
    fn look_up_seat(&mut self, settings: &Settings, ctx: &mut dyn Context) {
        let State::Joining(joining) = &mut self.state else { return };
        let now = ctx.around().now();
        joining.asked_us = now.mono_us;
        let (call, session) = joining.seat.names();
        match settings.seats.holds(call, session, now, settings.terms()) {
            SeatAnswer::Seated => self.welcome(settings, ctx),
            SeatAnswer::Refused => self.end(settings, Reason::BadSeat, ctx),
            SeatAnswer::Failed => self.end(settings, Reason::BackendFailure, ctx),
            SeatAnswer::Pending => {
                let given_up_us = joining.given_up_us(settings);
                if given_up_us.is_some_and(|given_up_us| given_up_us <= now.mono_us) {
                    self.end(settings, Reason::BackendFailure, ctx);
                }
            }
        }
    }

    fn welcome(&mut self, settings: &Settings, ctx: &mut dyn Context) {
        let State::Joining(joining) = std::mem::replace(&mut self.state, State::Over) else { return };
        let (call, session) = joining.seat.names();
        let now = ctx.around().now();
        let me = ctx.around().me();
        // Listening comes before the answer: whatever is published from now on is not missed.
        if settings.seats.subscribe(call, session, me).is_err() {
            return self.end(settings, Reason::BadSeat, ctx);
        }
        ctx.around().set_speaks(Speaks::Calls);
        ctx.around().attend();
        let mut out = Vec::with_capacity(64);
        let welcome = Event { call, session: "", body: Body::default(), kind: EventKind::Welcome };
        write_event(&welcome, &mut out);
        ctx.around().count_sent(EventKind::Welcome.label());
        ctx.reply(Kind::Text, &out);

        let id = uuid::Builder::from_random_bytes(ctx.around().random_u128().to_be_bytes()).into_uuid();
        let shown = if planted!(SessionPublished) { session.to_owned() } else { id.hyphenated().to_string() };
        ctx.around().publish(observe::Event {
            event_type: "client_connected",
            client_id: shown,
            unix_ms: now.unix_ms,
            details: vec![("dialect", "calls".into())],
        });
        let pings = !settings.ws_ping_interval.is_zero();
        self.state = State::Live(Live {
            seat: joining.seat,
            id,
            connected: now,
            messages: 1,
            next_ping_us: pings.then(|| now.plus(settings.ws_ping_interval)),
            seated_us: now.mono_us,
            asking: None,
        });
    }

    fn ask(&mut self, settings: &Settings, question: Question, ctx: &mut dyn Context) {
        let State::Live(live) = &mut self.state else { return };
        let now = ctx.around().now();
        let (call, session) = live.seat.names();
        let answer = match question {
            Question::Renewal => settings.seats.acquire(call, session, now, settings.terms()),
            Question::StillHeld => settings.seats.holds(call, session, now, settings.terms()),
        };
        match answer {
            SeatAnswer::Seated => (live.seated_us, live.asking) = (now.mono_us, None),
            SeatAnswer::Pending => live.asking = Some(Asking { question, asked_us: now.mono_us }),
            SeatAnswer::Refused | SeatAnswer::Failed => {
                self.end(settings, Reason::SeatRenewalFailure, ctx);
            }
        }
    }

    /// Ends the talk in this dialect's own words.
    fn end(&mut self, settings: &Settings, reason: Reason, ctx: &mut dyn Context) {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Live(live) => live.leave(settings, reason.cause(), ctx),
            _ => {
                let unix_ms = ctx.around().now().unix_ms;
                ctx.around().publish(observe::Event {
                    event_type: "client_rejected",
                    client_id: String::new(),
                    unix_ms,
                    details: vec![("dialect", "calls".into()), ("reason", reason.cause().into())],
                });
            }
        }
        reason.close(ctx);
    }
}

impl Joining {
    /// When the store has had its time.
    fn given_up_us(&self, settings: &Settings) -> Option<u64> {
        let limit = settings.ws_join_timeout;
        (!limit.is_zero()).then(|| after(self.opened_us, limit))
    }
}

impl Live {
    /// When the seat may have lapsed, if nobody else has renewed it.
    fn lapses_us(&self, settings: &Settings) -> u64 {
        after(self.seated_us, settings.seat_timeout).saturating_add(1)
    }

    /// Stops listening. The seat stays until it lapses: the session may come back.
    fn leave(self, settings: &Settings, cause: &str, ctx: &mut dyn Context) {
        let me = ctx.around().me();
        settings.seats.unsubscribe(&self.seat.call, me);
        ctx.around().retire();
        let now = ctx.around().now();
        let duration_us = now.mono_us.saturating_sub(self.connected.mono_us);
        ctx.around().publish(observe::Event {
            event_type: "client_disconnected",
            client_id: self.id.hyphenated().to_string(),
            unix_ms: now.unix_ms,
            details: vec![
                ("dialect", "calls".into()),
                ("reason", cause.into()),
                ("duration_ms", (duration_us / 1000).into()),
                ("message_count", self.messages.into()),
            ],
        });
    }
}

impl Seat {
    fn names(&self) -> (&str, &str) {
        (&self.call, self.session.expose())
    }
}

impl Asking {
    fn again_us(self) -> u64 {
        after(self.asked_us, ASK_AGAIN)
    }
}

fn after(from_us: u64, duration: Duration) -> u64 {
    Now { mono_us: from_us, unix_ms: 0 }.plus(duration)
}
