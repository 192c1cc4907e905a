//! The promises, and whether they hold for what everybody has heard.
//!
//! Judges by what clients see and by what the shards hold, never by how the engine came there.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::Ordering;

use super::actor::{Asked, Caller, Claim, ClaimState, Fate, Heard, Speech};
use super::history::{Address, Label, Message, Party, Space};
use super::speech::{self, Arrival};
use super::world::World;
use crate::hub::SeatAnswer;
use crate::shard::TICK;
use crate::sim::front::Answer;

/// What contract and issue promise, and what a client of each protocol takes for granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    Order,
    NoSilentLoss,
    AtMostOnce,
    Bounds,
    NoGhosts,
    NoCrossTalk,
    NoImpersonation,
    BadInput,
    Privacy,
    /// Everything drains.
    Liveness,
    /// What the server says can be understood.
    Protocol,
}

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub promise: Promise,
    pub words: String,
}

impl Promise {
    pub fn broken(self, words: String) -> Violation {
        Violation { promise: self, words }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.promise, self.words)
    }
}

pub type Verdict = Result<(), Violation>;

impl World {
    /// What has been published since the last time.
    pub(super) fn check_events(&mut self) -> Verdict {
        while let Some(event) = self.sim.events.take() {
            let shown = format!("{event:?}");
            if shown.contains('#') {
                return Err(Promise::Privacy.broken(format!("published: {shown}")));
            }
            self.coverage.hit(&format!("event {}", event.event_type));
            if event.event_type == "signal_undeliverable" {
                self.history.published(&event, speech::binary::serial_in_uuid)?;
            }
        }
        if self.sim.events.dropped() > 0 {
            return Err(Promise::NoSilentLoss.broken("events were dropped".to_owned()));
        }
        Ok(())
    }

    /// The front has answered a request of `calls`.
    pub(super) fn check_answer(&mut self, answer: &Answer) -> Verdict {
        let Some(at) = self.requests.iter().position(|(number, _)| *number == answer.number) else {
            return Ok(());
        };
        let Some((_, asked)) = self.requests.remove(at) else { return Ok(()) };
        self.coverage.hit(&format!("request {}", answer.status));
        match asked {
            Asked::Seat { call, began_us } => self.check_seat(answer, call, began_us),
            Asked::Signal { session, serial, began_us } => {
                self.check_published(answer, session, serial, began_us)
            }
        }
    }

    /// A seat is somebody's for its whole time, and there are only so many.
    fn check_seat(&mut self, answer: &Answer, call: String, began_us: u64) -> Verdict {
        if answer.status != 200 {
            return Ok(());
        }
        let (now_us, timeout_us) = (self.now_us(), self.plan.seat_timeout.as_micros() as u64);
        let seated =
            self.callers.iter().filter(|c| c.call == call && c.joined_us + timeout_us > now_us).count();
        if seated >= self.plan.seat_count {
            let words = format!("{seated} have a seat in {call}, and one more was given");
            return Err(Promise::Bounds.broken(words));
        }
        // It was taken when the store was asked, which was not before the request began.
        let (session, joined_us) = (answer.session.clone(), began_us);
        self.peer_copies(&call, answer.sent_to.len());
        self.callers.push(Caller { call, session, joined_us, renewed_us: joined_us, kept_us: now_us });
        Ok(())
    }

    /// Seats that nobody keeps can be had.
    pub(super) fn check_seats_are_free(&mut self) -> Verdict {
        let calls: BTreeSet<String> = self.callers.iter().map(|caller| caller.call.clone()).collect();
        for call in calls {
            let terms = self.front.parts.calls.terms();
            let answer = self.seats.acquire(&call, "newcomer", self.sim.now, terms);
            if answer != SeatAnswer::Seated {
                let words = format!("nobody keeps a seat in {call}, and there is none to be had: {answer:?}");
                return Err(Promise::NoGhosts.broken(words));
            }
        }
        Ok(())
    }

    /// `PEER` carries no number, so these are counted.
    fn peer_copies(&mut self, call: &str, copies: usize) {
        let label = Label { dialect: "calls", kind: "PEER", target: String::new() };
        let message = Message {
            from: Party::Session(usize::MAX),
            senders: Vec::new(),
            to: vec![Address { space: Space::Call(call.to_owned()), id: String::new() }],
            is_exact: false,
            is_loose: false,
            is_long: false,
            told_as: None,
            copies: vec![(label, None); copies],
            delivered: Vec::new(),
            told: 0,
            refused: 0,
            published: 0,
        };
        self.history.record(message);
    }

    fn check_published(&mut self, answer: &Answer, session: usize, serial: u64, began_us: u64) -> Verdict {
        let call = self.callers[session].call.clone();
        if answer.status == 200 {
            self.check_has_seat(session, serial, began_us)?;
            for index in 0..self.actors.len() {
                let is_missed = !self.key_of(index).is_some_and(|key| answer.sent_to.contains(&key));
                if is_missed && self.listens_for_certain(index, &call, session, began_us) {
                    let words = format!("{index} listens to {call}, and {serial} was not sent to it");
                    return Err(Promise::NoSilentLoss.broken(words));
                }
            }
        }
        if let Some(message) = self.history.message_mut(serial) {
            let kind = message.copies.first().map_or("", |(label, _)| label.kind);
            let label = Label { dialect: "calls", kind, target: String::new() };
            message.copies = vec![(label, None); answer.sent_to.len()];
        }
        Ok(())
    }

    /// Who speaks has a seat: somebody of its session has kept it.
    fn check_has_seat(&self, session: usize, serial: u64, began_us: u64) -> Verdict {
        let caller = &self.callers[session];
        let mut own = self.actors.iter().filter(|actor| actor.session == caller.session);
        let lapsed_us = caller.kept_us + (self.plan.seat_timeout + TICK).as_micros() as u64;
        if own.all(|actor| actor.fate == Fate::Over) && lapsed_us < began_us {
            let words = format!("{serial} was said in {} without a seat", caller.call);
            return Err(Promise::NoImpersonation.broken(words));
        }
        Ok(())
    }

    /// Whoever was welcomed before, keeps its seat, and is still well, hears what others say.
    fn listens_for_certain(&self, index: usize, call: &str, from: usize, began_us: u64) -> bool {
        let actor = &self.actors[index];
        let is_welcome = actor.held().is_some_and(|claim| {
            claim.address.space == Space::Call(call.to_owned())
                && claim.acked_us.is_some_and(|at| at < began_us)
        });
        let is_other = actor.session != self.callers[from].session;
        let is_well = actor.is_well() && !actor.was_stalled && !actor.is_mute;
        let kept = self.callers.iter().find(|caller| caller.session == actor.session);
        let timeout_us = self.plan.seat_timeout.as_micros() as u64;
        let has_seat = kept.is_some_and(|caller| caller.renewed_us + timeout_us > self.now_us() + 1_000_000);
        let stores_are_well = self.seats_health.failed.load(Ordering::Relaxed) == 0;
        is_welcome && is_other && is_well && has_seat && stores_are_well && !self.plan.weather.pauses
    }

    /// The server has ended a connection, or has said that it does.
    pub(super) fn check_end(&mut self, index: usize) -> Verdict {
        let actor = &mut self.actors[index];
        if actor.fate != Fate::Over {
            actor.fate = Fate::Over;
            self.kept_seat(index);
            let actor = &self.actors[index];
            if let Some((code, reason)) = &actor.close {
                let words = format!("closed with {code} {reason}");
                self.coverage.hit(&words);
            }
            let replaced =
                self.actors[index].close.as_ref().is_some_and(|(_, why)| why.starts_with("Replaced"));
            self.uncertain(Party::Actor(index));
            if replaced {
                self.check_replaced(index)?;
            }
        }
        Ok(())
    }

    /// Who is told that a newer connection has its id was not the newest.
    fn check_replaced(&self, index: usize) -> Verdict {
        let actor = &self.actors[index];
        // What it heard, it may have heard late.
        if actor.was_stalled || actor.possible().any(|own| self.has_newer(index, own)) {
            return Ok(());
        }
        let own: Vec<&Claim> = actor.possible().collect();
        Err(Promise::NoGhosts.broken(format!("{index} was replaced by nobody newer at {own:?}")))
    }

    /// Whether somebody may have come later to an id.
    pub(super) fn has_newer(&self, index: usize, own: &Claim) -> bool {
        let all_own = self.actors[index].claims.iter().filter(|claim| claim.address == own.address);
        let first_acked_at = all_own.filter_map(|claim| claim.acked_at).min();
        let is_newer = |claim: &Claim| match claim.acked_at {
            Some(acked_at) => Some(acked_at) >= first_acked_at,
            None => claim.state != ClaimState::Refused,
        };
        let others = self.actors.iter().enumerate().filter(|(other, _)| *other != index);
        let mut claims = others.flat_map(|(_, actor)| &actor.claims);
        claims.any(|claim| claim.address == own.address && is_newer(claim))
    }

    pub(super) fn check_heard(&mut self, index: usize, heard: Heard) -> Verdict {
        for call in &heard.calls {
            let own = self.actors[index].claims.first().map(|claim| claim.address.space.clone());
            if own != Some(Space::Call(call.clone())) {
                let words = format!("{index} of {own:?} hears of the call {call}");
                return Err(Promise::NoCrossTalk.broken(words));
            }
        }
        for arrival in heard.arrivals {
            self.check_arrival(index, arrival)?;
        }
        Ok(())
    }

    fn check_arrival(&mut self, index: usize, arrival: Arrival) -> Verdict {
        let party = Party::Actor(index);
        let actor = &mut self.actors[index];
        match arrival {
            Arrival::Joined => self.joined(index)?,
            Arrival::JoinRefused => {
                self.coverage.hit("join refused");
                match actor.open_claim() {
                    Some(claim) => claim.state = ClaimState::Refused,
                    // A register that was too fast, or was sent again by mistake.
                    None => actor.bad_told += 1,
                }
            }
            Arrival::Relayed { serial, sender } => self.check_relayed(serial, party, sender)?,
            Arrival::PeerCame => {
                self.peer_events += 1;
                self.history.peer_came();
            }
            Arrival::CameBack { serial, is_refusal } => {
                self.coverage.hit(if is_refusal { "message refused" } else { "message came back" });
                self.history.told_exactly(serial, party, is_refusal)?;
            }
            Arrival::CameBackText { kind, target } => {
                self.coverage.hit("message came back");
                let dialect = if actor.speech == Speech::Rooms { "rooms" } else { "devices" };
                self.history.told(party, Label { dialect, kind, target });
            }
            Arrival::Refused => {
                self.coverage.hit("bad input answered");
                actor.bad_told += 1;
            }
            Arrival::Answered(answer) => {
                let Some(next_serial) = actor.answered(answer) else {
                    let words = format!("{index} was answered {answer}, and had not asked");
                    return Err(Promise::NoCrossTalk.broken(words));
                };
                self.history.read_before(party, next_serial);
            }
            Arrival::Listed(ids) => {
                if let Some(next_serial) = actor.answered("list") {
                    self.history.read_before(party, next_serial);
                }
                self.check_list(index, &ids)?;
            }
            Arrival::Notice => {}
            Arrival::Replaced => {
                self.coverage.hit("replaced");
                self.check_replaced(index)?;
                self.end_claims(index);
            }
            Arrival::Goodbye => {
                self.coverage.hit("goodbye");
                self.end_claims(index);
            }
        }
        Ok(())
    }

    fn end_claims(&mut self, index: usize) {
        let now_us = self.now_us();
        let actor = &mut self.actors[index];
        if actor.fate == Fate::Open {
            actor.fate = Fate::Leaving(now_us);
        }
        self.uncertain(Party::Actor(index));
    }

    fn joined(&mut self, index: usize) -> Verdict {
        let (listenings, now_us, serial) = (self.listenings, self.now_us(), self.history.next_serial());
        let Some(claim) = self.actors[index].open_claim() else {
            return Err(Promise::Protocol.broken(format!("{index} was let in, and had not asked")));
        };
        if claim.is_false {
            let words = format!("{index} was let in as {:?} by a wrong token", claim.address);
            return Err(Promise::NoImpersonation.broken(words));
        }
        claim.state = ClaimState::Held;
        (claim.acked_at, claim.acked_us) = (Some(listenings), Some(now_us));
        let (address, attempt) = (claim.address.clone(), claim.attempt);
        for former in &mut self.actors[index].claims {
            if former.attempt < attempt && former.state == ClaimState::Held {
                former.state =
                    if former.address == address { ClaimState::Refused } else { ClaimState::Former };
                former.former_from = serial;
            }
        }
        self.check_takeover(index, &address)?;
        if let Space::Call(_) = address.space {
            return Ok(());
        }
        self.certain.retain(|_, (party, _)| *party != Party::Actor(index));
        if self.is_certain(index, &address, listenings) {
            self.certain.insert(address, (Party::Actor(index), serial));
        } else {
            self.certain.remove(&address);
        }
        Ok(())
    }

    /// An id never passes from one dialect to another.
    fn check_takeover(&self, index: usize, address: &Address) -> Verdict {
        // Who did not read, or is gone already, may hear only now that it had the id once.
        let newcomer = &self.actors[index];
        let is_late = newcomer.was_stalled || newcomer.fate == Fate::Over;
        let Some((holder, _)) = self.certain.get(address).filter(|_| !is_late) else {
            return Ok(());
        };
        let is_foreign = match holder {
            Party::Actor(index_of) => {
                let (holder, newcomer) = (&self.actors[*index_of], &self.actors[index]);
                let is_there = holder.is_well() && !self.may_be_ending(*index_of);
                is_there && dialect(holder.speech) != dialect(newcomer.speech)
            }
            Party::Station(station) => self.stations[*station].is_open,
            Party::Session(_) => false,
        };
        if is_foreign {
            let words = format!("{index} has taken {address:?} from {holder:?}");
            return Err(Promise::NoImpersonation.broken(words));
        }
        Ok(())
    }

    /// Whether nobody else can have the id that this one was just given.
    fn is_certain(&self, index: usize, address: &Address, listenings: u64) -> bool {
        let actor = &self.actors[index];
        // Who asks again for what it believes to have is told so at once, whoever has it by now.
        let own = actor.claims.iter().filter(|claim| claim.address == *address);
        let since = own.filter_map(|claim| claim.acked_at).min().unwrap_or(listenings);
        let is_settled = |claim: &Claim, over: bool| match claim.state {
            ClaimState::Asked => over,
            ClaimState::Held | ClaimState::Former => over || claim.acked_at.is_some_and(|at| at < since),
            ClaimState::Refused => true,
        };
        let mut others = self.actors.iter().enumerate().filter(|(other, _)| *other != index);
        actor.is_well()
            && !actor.was_stalled
            && !actor.is_mute
            && others.all(|(_, other)| {
                let over = other.fate == Fate::Over;
                other
                    .claims
                    .iter()
                    .filter(|claim| claim.address == *address)
                    .all(|claim| is_settled(claim, over))
            })
    }

    /// From now on nothing is certain about this one's ids.
    pub(super) fn uncertain(&mut self, party: Party) {
        self.certain.retain(|_, (holder, _)| *holder != party);
    }

    pub(super) fn check_relayed(&mut self, serial: u64, hearer: Party, sender: Option<String>) -> Verdict {
        let message = self.history.delivered(serial, hearer, sender.as_deref())?;
        let (to, from, is_long) = (message.to.clone(), message.from, message.is_long);
        if let Party::Actor(index) = hearer
            && let Speech::Binary { .. } = self.actors[index].speech
            && sender.is_none()
            && !is_long
        {
            return Err(Promise::NoImpersonation.broken(format!("{serial} does not say who has sent it")));
        }
        if !to.iter().any(|to| self.may_hear(serial, hearer, from, to)) {
            let words = format!("{hearer:?} got {serial}, which {from:?} has sent to {to:?}");
            return Err(Promise::NoCrossTalk.broken(words));
        }
        if let [to] = &to[..]
            && let Some((holder, since)) = self.certain.get(to)
            && *holder != hearer
            && serial >= *since
        {
            let words = format!("{hearer:?} got {serial} for {to:?}, which is {holder:?} since {since}");
            return Err(Promise::NoGhosts.broken(words));
        }
        Ok(())
    }

    fn may_hear(&self, serial: u64, hearer: Party, from: Party, to: &Address) -> bool {
        match (&to.space, hearer) {
            (Space::Call(_), Party::Actor(index)) => {
                let actor = &self.actors[index];
                let is_sender =
                    matches!(from, Party::Session(at) if self.callers[at].session == actor.session);
                actor.claims.iter().any(|claim| claim.address.space == to.space) && !is_sender
            }
            (_, Party::Actor(index)) => self.actors[index].claims.iter().any(|claim| {
                claim.address == *to
                    && match claim.state {
                        ClaimState::Refused => claim.acked_at.is_some(),
                        ClaimState::Former => serial < claim.former_from,
                        ClaimState::Asked | ClaimState::Held => true,
                    }
            }),
            (Space::Group(group), Party::Station(index)) => {
                self.stations[index].group == *group && from != hearer
            }
            (_, Party::Station(index)) => self.stations[index].sid == to.id,
            (_, Party::Session(_)) => false,
        }
    }

    /// Who is listed is, or was, where the asker may look.
    fn check_list(&self, index: usize, ids: &[String]) -> Verdict {
        let spaces: Vec<&Space> =
            self.actors[index].claims.iter().map(|claim| &claim.address.space).collect();
        let realm = Space::Realm(self.plan.realms[1].0);
        for id in ids {
            let is_there = |space: &Space| {
                let claims = self.actors.iter().flat_map(|actor| &actor.claims);
                let mut claimed = claims.map(|claim| &claim.address);
                claimed.any(|address| address.space == *space && address.id == *id)
                    || (*space == Space::Realm(self.plan.realms[2].0)
                        && self.stations.iter().any(|station| station.sid == *id))
            };
            let is_known = match self.actors[index].speech {
                Speech::Rooms => spaces.iter().any(|space| is_there(space)),
                _ => is_there(&realm),
            };
            if !is_known {
                let words = format!("{index} was told of {id}, which is not where it may look");
                return Err(Promise::NoCrossTalk.broken(words));
            }
        }
        Ok(())
    }

    pub(super) fn check_stations(&mut self) -> Verdict {
        for index in 0..self.stations.len() {
            if !self.stations[index].is_open {
                continue;
            }
            let key = self.stations[index].key;
            for heard in self.front.hear(key) {
                let arrival = speech::stations::read(&heard)
                    .map_err(|words| Promise::Protocol.broken(format!("station {index} heard {words}")))?;
                match arrival {
                    Arrival::Relayed { serial, sender } => {
                        self.check_relayed(serial, Party::Station(index), sender)?;
                    }
                    Arrival::CameBackText { kind, target } => {
                        self.coverage.hit("message came back");
                        let label = Label { dialect: "broadcast", kind, target };
                        self.history.told(Party::Station(index), label);
                    }
                    _ => {}
                }
            }
            if self.front.station(key).is_none() {
                self.stations[index].is_open = false;
                self.uncertain(Party::Station(index));
            }
        }
        Ok(())
    }
}

/// Which of two clients that ask for the same id may take it from the other.
fn dialect(speech: Speech) -> u8 {
    match speech {
        Speech::Binary { .. } => 0,
        Speech::Rooms => 1,
        Speech::Devices => 2,
        Speech::Calls => 3,
        Speech::Noise => 4,
    }
}
