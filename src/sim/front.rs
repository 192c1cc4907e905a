//! What stands in for the front: stations of `broadcast` and the requests of `calls`, at the level
//! of their dialects' commands.
//!
//! The front itself lives on libraries for HTTP and Socket.IO, which cannot be replayed. What it asks
//! of the mesh, the directory and the dialects is asked here in the same order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::dice::Dice;
use crate::base::{NodeId, Now, PeerKey, RealmId, Slab};
use crate::dialect::broadcast::{self, Problem};
use crate::dialect::calls::{self, Event, EventKind, Message};
use crate::dialect::{
    Body, Delivery, MessageRef, Parts, Speaks, Text, TextDialect, Undeliverable, undeliverable_event, untold,
};
use crate::hub::{Directory, OnDuplicate, Route, SeatAnswer};
use crate::mesh::{self, Mesh, Outlets, Parcel, Posted, TunnelStep};
use crate::observe::EventQueue;
use crate::shard::Shared;

/// Who sends for a request.
const REQUESTS: PeerKey = PeerKey { node: NodeId::FRONT, slot: u32::MAX, generation: 0 };
/// A store that had no answer yet is asked again after this.
const ASK_AGAIN: Duration = Duration::from_millis(10);
/// Most of our own words that wait for a station beside the signals.
const OWN_MESSAGES_MAX: usize = 64;

const NOT_FOUND: &[u8] = b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

pub struct Front {
    pub parts: FrontParts,
    outlets: Outlets,
    stations: Slab<Station>,
    requests: VecDeque<Request>,
    answers: Vec<Answer>,
    dice: Dice,
    asleep: bool,
    pub paused: bool,
}

/// What the front shares with the shards.
#[derive(Clone)]
pub struct FrontParts {
    pub mesh: Arc<Mesh>,
    pub mesh_limits: mesh::Limits,
    pub directory: Arc<Directory>,
    pub shared: Arc<Shared>,
    pub events: Arc<EventQueue>,
    pub calls: calls::Settings,
    pub broadcast: broadcast::Settings,
}

/// A socket of Socket.IO.
pub struct Station {
    pub sid: String,
    pub group: String,
    /// It reads nothing at the moment.
    pub stalled: bool,
    /// Signals that the library has taken and the client has not.
    waiting: usize,
    heard: Vec<Heard>,
    route: Option<Box<Route>>,
}

/// One event at a station.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    Signal(String),
    Error(String),
    PeerJoined(String),
    PeerLeft(String),
}

/// A request of `calls` under way.
struct Request {
    number: u64,
    call: String,
    session: String,
    /// `None` for a GET that takes a seat; else the body of a POST, as JSON.
    signal: Option<(EventKind, String)>,
    stage: Stage,
    asked_us: u64,
}

enum Stage {
    Seat,
    /// Those that have not been looked at, and those it was sent to.
    Publish {
        left: VecDeque<(String, PeerKey)>,
        sent_to: Vec<PeerKey>,
    },
}

/// What became of a request.
#[derive(Clone, Debug)]
pub struct Answer {
    pub number: u64,
    pub status: u16,
    /// Of a seat that was taken.
    pub session: String,
    /// The connections to which the event was sent.
    pub sent_to: Vec<PeerKey>,
}

impl Front {
    pub fn new(parts: FrontParts, seed: u64) -> Front {
        Front {
            outlets: Outlets::new(Arc::clone(&parts.mesh), parts.mesh_limits),
            parts,
            stations: Slab::default(),
            requests: VecDeque::new(),
            answers: Vec::new(),
            dice: Dice::new(seed),
            asleep: false,
            paused: false,
        }
    }

    /// Whether it will look into its inbox without being rung.
    pub fn is_awake(&self) -> bool {
        !self.asleep && !self.paused
    }

    pub fn ring(&mut self) {
        self.asleep = false;
    }

    /// Takes a seat. A session is a secret, so it bears the sign of those.
    pub fn get_call(&mut self, number: u64, call: &str) {
        let session = format!("#session-{:016x}", self.dice.next_u64());
        let (call, stage) = (call.to_owned(), Stage::Seat);
        self.requests.push_back(Request { number, call, session, signal: None, stage, asked_us: 0 });
    }

    /// # Errors
    /// The status of a body that is no signal.
    pub fn post_signal(&mut self, number: u64, body: &str) -> Result<(), u16> {
        let message = Message::parse(body).map_err(|_| 400_u16)?;
        let kind = message.signal().ok_or(400_u16)?;
        let (call, session) = (message.call.into_owned(), message.session.into_owned());
        let signal = Some((kind, body.to_owned()));
        self.requests.push_back(Request { number, call, session, signal, stage: Stage::Seat, asked_us: 0 });
        Ok(())
    }

    pub fn take_answers(&mut self) -> Vec<Answer> {
        std::mem::take(&mut self.answers)
    }

    pub fn requests(&self) -> usize {
        self.requests.len()
    }

    /// Deliveries that wait for room in a shard's inbox.
    pub fn overflow(&self) -> usize {
        self.outlets.waiting()
    }

    /// A station joins; `None` when it may not.
    pub fn join(&mut self, sid: &str, group: &str) -> Option<PeerKey> {
        if self.is_draining() {
            return None;
        }
        let (slot, generation) = self.stations.next_key();
        let key = PeerKey { node: NodeId::FRONT, slot, generation };
        let realm = self.realm();
        let joined = self.parts.directory.join(realm, sid, key, broadcast::DIALECT, OnDuplicate::Reject);
        joined.ok()?;
        self.announce(group, &Heard::PeerJoined(sid.to_owned()));
        let (sid, group) = (sid.to_owned(), group.to_owned());
        let station = Station { sid, group, stalled: false, waiting: 0, heard: Vec::new(), route: None };
        self.stations.insert(station);
        Some(key)
    }

    pub fn leave(&mut self, key: PeerKey) {
        let Some(station) = self.stations.remove(key.slot, key.generation) else { return };
        let realm = self.realm();
        if self.parts.directory.leave(realm, &station.sid, key) {
            self.parts.shared.departures.note(realm);
        }
        self.announce(&station.group, &Heard::PeerLeft(station.sid));
    }

    pub fn station(&mut self, key: PeerKey) -> Option<&mut Station> {
        self.stations.get_mut(key.slot, key.generation)
    }

    pub fn stations(&self) -> usize {
        self.stations.len()
    }

    /// What a station has heard since the last call.
    pub fn hear(&mut self, key: PeerKey) -> Vec<Heard> {
        let Some(station) = self.station(key) else { return Vec::new() };
        std::mem::take(&mut station.heard)
    }

    pub fn stall(&mut self, key: PeerKey, stalled: bool) {
        if let Some(station) = self.station(key) {
            (station.stalled, station.waiting) = (stalled, 0);
        }
    }

    /// What this peer belonged to has been removed.
    pub fn dismiss(&mut self, now: Now, peer: PeerKey) {
        self.post(now, peer.node, Parcel::Dismiss { peer });
    }

    /// A station's event `signal`.
    pub fn signal(&mut self, now: Now, me: PeerKey, text: &str) {
        let Some(station) = self.station(me) else { return };
        let (sid, group) = (station.sid.clone(), station.group.clone());
        let signal = match broadcast::read(text, &sid) {
            Ok(signal) => signal,
            Err(problem) => return self.tell(me, &problem),
        };
        let reference = |target: &Arc<str>| MessageRef::Text { label: signal.label, target: target.clone() };
        let failed = match &signal.target {
            None => self.pass_to_group(now, me, &sid, &group, &signal),
            Some(target) => match self.pass_to_one(now, me, &group, target, &signal, &reference(target)) {
                Ok(()) => None,
                Err(cause) => Some((target.clone(), cause)),
            },
        };
        if let Some((target, cause)) = failed {
            let event = undeliverable_event(&sid, signal.label, &target, cause, now);
            self.parts.events.publish(event);
            self.tell(me, &Problem::Undeliverable { target, cause });
        }
    }

    /// One turn; `ring` is called for each shard to be woken. Tells whether anything moved.
    pub fn turn(&mut self, now: Now, mut ring: impl FnMut(NodeId)) -> bool {
        let has_mail = self.parts.mesh.depth(NodeId::FRONT) > 0;
        let has_work = !self.requests.is_empty() || self.outlets.waiting() > 0;
        if self.paused || (self.asleep && !has_work) {
            return false;
        }
        self.asleep = false;
        self.parts.mesh.wake_up(NodeId::FRONT);
        while let Some(parcel) = self.parts.mesh.take(NodeId::FRONT) {
            self.receive(now, parcel);
        }
        let moved = self.work(now) || has_mail;
        let mut expired = Vec::new();
        self.outlets.flush(now.mono_us, |parcel| expired.push(parcel));
        for parcel in expired {
            match parcel {
                Parcel::Deliver { delivery, .. } => {
                    let delivery = delivery.borrow();
                    self.bounced(now, delivery.from, &delivery.reference(), Undeliverable::Full);
                }
                Parcel::Bounce { reference, cause, .. } => {
                    self.parts.events.publish(untold(&reference, cause, now));
                }
                _ => {}
            }
        }
        self.outlets.ring_bells(&mut ring);
        self.asleep = self.parts.mesh.fall_asleep(NodeId::FRONT);
        moved
    }

    /// The shards have ended.
    pub fn end(&mut self, now: Now) {
        let mut left = Vec::new();
        self.outlets.end(NodeId::FRONT, |parcel| left.extend(parcel.lost_message()));
        for (reference, cause) in left {
            self.parts.events.publish(untold(&reference, cause, now));
        }
    }

    fn receive(&mut self, now: Now, parcel: Parcel) {
        match parcel {
            Parcel::Deliver { to, delivery, .. } => {
                let delivery = delivery.borrow();
                if let Err(cause) = self.deliver(now, to, &delivery) {
                    let (to, reference) = (delivery.from, delivery.reference());
                    self.post(now, to.node, Parcel::Bounce { to, reference, cause });
                }
            }
            Parcel::Fence { peer } => self.post(now, peer.node, Parcel::FenceBack { peer }),
            Parcel::Bounce { to, reference, cause } => self.bounced(now, to, &reference, cause),
            Parcel::Tunnel { peer, step: TunnelStep::Open { .. } } => {
                for step in [TunnelStep::Bytes(Bytes::from_static(NOT_FOUND)), TunnelStep::End] {
                    self.post(now, peer.node, Parcel::Tunnel { peer, step });
                }
            }
            _ => {}
        }
    }

    /// Goes on with the requests, each as far as the store lets it.
    fn work(&mut self, now: Now) -> bool {
        let mut moved = false;
        for _ in 0..self.requests.len() {
            let Some(mut request) = self.requests.pop_front() else { break };
            let is_due =
                request.asked_us == 0 || now.mono_us >= request.asked_us + ASK_AGAIN.as_micros() as u64;
            match is_due.then(|| self.go_on(now, &mut request)).flatten() {
                Some(answer) => {
                    self.answers.push(answer);
                    moved = true;
                }
                None => self.requests.push_back(request),
            }
        }
        moved
    }

    /// `None`: the store has no answer yet.
    fn go_on(&mut self, now: Now, request: &mut Request) -> Option<Answer> {
        let (seats, terms) = (Arc::clone(&self.parts.calls.seats), self.parts.calls.terms());
        request.asked_us = now.mono_us;
        let answer = |request: &Request, status, sent_to| {
            let (number, session) = (request.number, request.session.clone());
            Some(Answer { number, status, session, sent_to })
        };
        if let Stage::Seat = request.stage {
            if self.is_draining() {
                return answer(request, 503, Vec::new());
            }
            let seated = match request.signal {
                None => seats.acquire(&request.call, &request.session, now, terms),
                Some(_) => seats.holds(&request.call, &request.session, now, terms),
            };
            match seated {
                SeatAnswer::Seated => {}
                SeatAnswer::Refused => return answer(request, 409, Vec::new()),
                SeatAnswer::Pending => return None,
                SeatAnswer::Failed => return answer(request, 500, Vec::new()),
            }
            let listeners = seats.listeners(&request.call, &request.session).into_iter();
            let left = listeners.map(|listener| (listener.session.into(), listener.key)).collect();
            request.stage = Stage::Publish { left, sent_to: Vec::new() };
        }
        let Request { call, signal, stage: Stage::Publish { left, sent_to }, .. } = request else {
            return None;
        };
        while let Some((session, key)) = left.pop_front() {
            match seats.holds(call, &session, now, terms) {
                SeatAnswer::Seated => {
                    sent_to.push(key);
                    let owned = match &signal {
                        None => {
                            calls::delivery(REQUESTS, &event(call, calls::Body::default(), EventKind::Peer))
                        }
                        Some((kind, text)) => {
                            let message = Message::parse(text).expect("it was parsed before");
                            calls::delivery(REQUESTS, &event(call, message.body, *kind))
                        }
                    };
                    let (reference, delivery) = (owned.borrow().reference(), Box::new(owned));
                    let parcel = Parcel::Deliver { to: key, delivery, received_us: now.mono_us };
                    if let Posted::Refused = self.outlets.post(now.mono_us, key.node, parcel) {
                        self.bounced(now, REQUESTS, &reference, Undeliverable::Full);
                    }
                }
                SeatAnswer::Pending => {
                    left.push_front((session, key));
                    return None;
                }
                SeatAnswer::Refused | SeatAnswer::Failed => {}
            }
        }
        let sent_to = std::mem::take(sent_to);
        answer(request, 200, sent_to)
    }

    fn pass_to_group(
        &mut self,
        now: Now,
        me: PeerKey,
        sid: &str,
        group: &str,
        signal: &broadcast::Signal,
    ) -> Option<(Arc<str>, Undeliverable)> {
        let mut failed = None;
        for (key, other) in self.members(group, me) {
            let Err(cause) = self.emit(key, &signal.text) else { continue };
            match failed {
                None => failed = Some((Arc::from(other), cause)),
                Some(_) => {
                    self.parts.events.publish(undeliverable_event(sid, signal.label, &other, cause, now));
                }
            }
        }
        failed
    }

    fn pass_to_one(
        &mut self,
        now: Now,
        me: PeerKey,
        group: &str,
        target: &str,
        signal: &broadcast::Signal,
        reference: &MessageRef,
    ) -> Result<(), Undeliverable> {
        let known = self.stations.iter().find(|(_, _, station)| station.sid == target);
        if let Some((slot, generation, station)) = known {
            if station.group != group {
                return Err(Undeliverable::NotConnected);
            }
            return self.emit(PeerKey { node: NodeId::FRONT, slot, generation }, &signal.text);
        }
        let (realm, draining, directory) = (self.realm(), self.is_draining(), self.parts.directory.clone());
        let Some(station) = self.station(me) else { return Err(Undeliverable::NotConnected) };
        let found = directory.resolve(realm, target, &mut station.route);
        let to = found.filter(|key| !key.node.is_front()).ok_or(Undeliverable::NotConnected)?;
        if draining {
            return Err(Undeliverable::Draining);
        }
        let parts = Parts::One(signal.text.as_bytes());
        let text = Text { dialect: TextDialect::Broadcast, reference, label: signal.label, parts };
        let delivery = Box::new(Delivery { from: me, body: Body::Text(text) }.to_owned());
        let parcel = Parcel::Deliver { to, delivery, received_us: now.mono_us };
        if let Posted::Refused = self.outlets.post(now.mono_us, to.node, parcel) {
            self.bounced(now, me, reference, Undeliverable::Full);
        }
        Ok(())
    }

    fn deliver(&mut self, now: Now, to: PeerKey, delivery: &Delivery<'_>) -> Result<(), Undeliverable> {
        if self.station(to).is_none() {
            return Err(Undeliverable::NotConnected);
        }
        let plan = delivery.plan(Speaks::Broadcast, now, &mut self.dice)?;
        let mut text = Vec::with_capacity(plan.len());
        delivery.write(&plan, &mut text);
        let text = String::from_utf8(text).map_err(|_| Undeliverable::Unconvertible)?;
        self.emit(to, &text)
    }

    fn emit(&mut self, to: PeerKey, text: &str) -> Result<(), Undeliverable> {
        let most = self.parts.broadcast.outbox_messages_max;
        let Some(station) = self.station(to) else { return Err(Undeliverable::NotConnected) };
        if station.stalled && station.waiting >= most {
            return Err(Undeliverable::Full);
        }
        station.waiting += usize::from(station.stalled);
        station.heard.push(Heard::Signal(text.to_owned()));
        Ok(())
    }

    fn bounced(&mut self, now: Now, to: PeerKey, reference: &MessageRef, cause: Undeliverable) {
        let MessageRef::Text { label, target } = reference else { return };
        if to == REQUESTS {
            return self.parts.events.publish(untold(reference, cause, now));
        }
        let sid = self.station(to).map(|station| station.sid.clone());
        let event = undeliverable_event(sid.as_deref().unwrap_or_default(), *label, target, cause, now);
        self.parts.events.publish(event);
        self.tell(to, &Problem::Undeliverable { target: target.clone(), cause });
    }

    /// Who has no room left even for those words would be cut.
    fn tell(&mut self, to: PeerKey, problem: &Problem) {
        let most = self.parts.broadcast.outbox_messages_max + OWN_MESSAGES_MAX;
        let mut is_over = false;
        if let Some(station) = self.station(to) {
            station.waiting += usize::from(station.stalled);
            station.heard.push(Heard::Error(problem.text()));
            is_over = station.waiting > most;
        }
        if is_over {
            self.leave(to);
        }
    }

    fn announce(&mut self, group: &str, heard: &Heard) {
        for (key, _) in self.members(group, REQUESTS) {
            if let Some(station) = self.station(key) {
                station.heard.push(heard.clone());
            }
        }
    }

    /// Keys and ids, without one.
    fn members(&self, group: &str, but: PeerKey) -> Vec<(PeerKey, String)> {
        let all = self
            .stations
            .iter()
            .map(|(slot, generation, station)| (PeerKey { node: NodeId::FRONT, slot, generation }, station));
        all.filter(|(key, station)| station.group == group && *key != but)
            .map(|(key, station)| (key, station.sid.clone()))
            .collect()
    }

    fn post(&mut self, now: Now, to: NodeId, parcel: Parcel) {
        // Only deliveries are refused.
        let _ = self.outlets.post(now.mono_us, to, parcel);
    }

    fn is_draining(&self) -> bool {
        self.parts.shared.draining.load(Ordering::Relaxed)
    }

    fn realm(&self) -> RealmId {
        self.parts.broadcast.realm
    }
}

fn event<'a>(call: &'a str, body: calls::Body<'a>, kind: EventKind) -> Event<'a> {
    Event { call, session: "", body, kind }
}
