//! Messages, and sessions on a virtual clock with real seats.

mod messages;
mod sessions;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::*;
use crate::base::{NodeId, Now, PeerKey, RealmId};
use crate::dialect::{Conversation, Delivery, Kind, Opening, Speaks, Surroundings, Undeliverable};
use crate::hub::{DialectId, OnDuplicate, Route, SeatAnswer, SeatLimits, SeatStore, Taken};
use crate::observe::{self, ShardMetrics};

/// One WebSocket and what surrounds it.
struct World {
    session: Session,
    around: Around,
}

struct Around {
    settings: Settings,
    now: Now,
    draining: bool,
    speaks: Speaks,
    attends: bool,
    said: Vec<String>,
    pings: usize,
    closed: Option<(CloseCode, &'static str)>,
    events: Vec<observe::Event>,
    metrics: ShardMetrics,
}

const ME: PeerKey = PeerKey { node: NodeId::FRONT, slot: 7, generation: 3 };
const WELCOME: &str = r#"{"call":"room","kind":"WELCOME"}"#;
const JOIN: &str = r#"{"kind":"JOIN","call":"room","session":"me"}"#;

fn settings() -> Settings {
    with_seats(Seats::in_memory(SeatLimits::default(), 1))
}

fn with_seats(seats: Seats) -> Settings {
    Settings {
        seats: Arc::new(seats),
        seat_count: 2,
        seat_timeout: Duration::from_secs(30),
        ws_handshake_timeout: Duration::from_secs(10),
        ws_join_timeout: Duration::ZERO,
        ws_ping_interval: Duration::from_secs(5),
        ws_read_timeout: Duration::from_secs(10),
    }
}

/// A store that answers what it has been told to.
#[derive(Clone)]
struct Scripted(Arc<Mutex<SeatAnswer>>);

impl SeatStore for Scripted {
    fn acquire(&self, _: &str, _: &str, _: Now, _: SeatTerms) -> SeatAnswer {
        *self.0.lock()
    }

    fn holds(&self, _: &str, _: &str, _: Now, _: SeatTerms) -> SeatAnswer {
        *self.0.lock()
    }
}

impl Scripted {
    fn new(answer: SeatAnswer) -> (Scripted, Settings) {
        let store = Scripted(Arc::new(Mutex::new(answer)));
        let seats = Seats::with_store(Box::new(store.clone()), SeatLimits::default(), 1);
        (store, with_seats(seats))
    }

    fn now_says(&self, answer: SeatAnswer) {
        *self.0.lock() = answer;
    }
}

impl World {
    /// A WebSocket that has been opened 100 s after the start.
    fn new(settings: &Settings) -> World {
        let mut world = World {
            session: Session::default(),
            around: Around {
                settings: settings.clone(),
                now: Now { mono_us: 100_000_000, unix_ms: 1_700_000_100_000 },
                draining: false,
                speaks: Speaks::Nothing,
                attends: false,
                said: Vec::new(),
                pings: 0,
                closed: None,
                events: Vec::new(),
                metrics: ShardMetrics::default(),
            },
        };
        world.session.open(settings, &Opening::default(), &mut world.around);
        world
    }

    /// One that has been welcomed.
    fn seated(settings: &Settings) -> World {
        let mut world = World::new(settings);
        world.acquire("me");
        world.say(JOIN);
        assert_eq!(world.heard(), [WELCOME]);
        world
    }

    fn acquire(&self, session: &str) -> SeatAnswer {
        let settings = &self.around.settings;
        settings.seats.acquire("room", session, self.around.now, settings.terms())
    }

    fn is_seated(&self, session: &str) -> bool {
        let settings = &self.around.settings;
        settings.seats.holds("room", session, self.around.now, settings.terms()) == SeatAnswer::Seated
    }

    fn listens(&self) -> bool {
        self.around.settings.seats.listeners("room", "").iter().any(|listener| listener.key == ME)
    }

    fn say(&mut self, text: &str) {
        let settings = self.around.settings.clone();
        let progress = self.session.on_text(&settings, text, &mut self.around);
        assert_eq!(progress, crate::dialect::Progress::Done);
    }

    fn pong(&mut self) {
        let settings = self.around.settings.clone();
        self.session.on_pong(&settings, &mut self.around);
    }

    /// Lets time pass, with every tick that is due on the way.
    fn pass(&mut self, duration: Duration) {
        let settings = self.around.settings.clone();
        let until_us = self.around.now.plus(duration);
        while let Some(deadline_us) = self.session.deadline_us(&settings)
            && deadline_us <= until_us
        {
            self.set_clock(deadline_us.max(self.around.now.mono_us));
            self.session.tick(&settings, &mut self.around);
            let next = self.session.deadline_us(&settings);
            assert!(next.is_none_or(|next| next > deadline_us), "a tick does what was due");
        }
        self.set_clock(until_us);
    }

    fn set_clock(&mut self, mono_us: u64) {
        let passed_us = mono_us - self.around.now.mono_us;
        self.around.now.mono_us = mono_us;
        self.around.now.unix_ms += passed_us / 1000;
    }

    fn heard(&mut self) -> Vec<String> {
        std::mem::take(&mut self.around.said)
    }

    fn pings(&mut self) -> usize {
        std::mem::take(&mut self.around.pings)
    }

    /// The reason of a close with 1000, as the session carries it out.
    fn close_reason(&mut self) -> Option<&'static str> {
        let (code, reason) = self.around.closed?;
        assert_eq!(code, CloseCode::NORMAL);
        let settings = self.around.settings.clone();
        self.session.ended(&settings, "connection_closed", &mut self.around);
        assert!(!self.listens() && !self.around.attends);
        assert_eq!(self.session.deadline_us(&settings), None);
        Some(reason)
    }
}

impl Context for Around {
    fn around(&mut self) -> &mut dyn Surroundings {
        self
    }

    fn reply(&mut self, kind: Kind, message: &[u8]) {
        assert_eq!((kind, self.closed), (Kind::Text, None));
        // Events can no longer be missed.
        let listeners = self.settings.seats.listeners("room", "");
        assert!(listeners.iter().any(|listener| listener.key == ME));
        assert!(self.attends && self.speaks == Speaks::Calls);
        self.said.push(String::from_utf8(message.to_vec()).expect("a text"));
    }

    fn ping(&mut self) {
        assert_eq!(self.closed, None);
        self.pings += 1;
    }

    fn close(&mut self, code: CloseCode, reason: &'static str) {
        assert_eq!(self.closed, None, "closed once");
        self.closed = Some((code, reason));
    }

    fn may_go_on(&self) -> bool {
        self.closed.is_none()
    }
}

impl Surroundings for Around {
    fn now(&self) -> Now {
        self.now
    }

    fn me(&self) -> PeerKey {
        ME
    }

    fn random_u128(&mut self) -> u128 {
        0x0123_4567_89ab_cdef_0123_4567_89ab_cdef
    }

    fn draining(&self) -> bool {
        self.draining
    }

    fn metrics(&self) -> &ShardMetrics {
        &self.metrics
    }

    fn publish(&mut self, event: observe::Event) {
        self.events.push(event);
    }

    fn has_room(&self) -> bool {
        true
    }

    fn set_speaks(&mut self, speaks: Speaks) {
        self.speaks = speaks;
    }

    fn join(&mut self, _: RealmId, _: &str, _: DialectId, _: OnDuplicate) -> Result<(), Taken> {
        unreachable!("calls have no ids")
    }

    fn leave(&mut self, _: RealmId, _: &str) {
        unreachable!("calls have no ids")
    }

    fn attend(&mut self) {
        self.attends = true;
    }

    fn retire(&mut self) {
        self.attends = false;
    }

    fn ids(&self, _: RealmId) -> std::sync::Arc<[Box<str>]> {
        unreachable!("calls have no ids")
    }

    fn send(
        &mut self,
        _: RealmId,
        _: &str,
        _: &mut Option<Box<Route>>,
        _: &Delivery<'_>,
    ) -> Result<(), Undeliverable> {
        unreachable!("clients send by HTTP")
    }
}
