//! What clients do when all is well: they come, ask, send and go.

use super::actor::{Actor, Asked, Claim, ClaimState, Fate, Speech};
use super::history::{Address, Label, Message, Party, Space};
use super::oracle::Verdict;
use super::plan::{CALLS, GROUPS, ROOMS};
use super::speech::{self, KINDS, Kind, SECRET, WRONG_SECRET, binary, calls, devices, rooms, stations};
use super::world::{StationBook, World};
use crate::hub::OnDuplicate;

/// Connections that a run keeps open at most; the server's limit may be lower.
const ACTORS_MAX: usize = 24;
const STATIONS_MAX: usize = 5;
/// Messages of one burst.
pub(super) const BURST_MAX: usize = 12;

impl World {
    /// One step of the workload.
    pub(super) fn act(&mut self) -> Verdict {
        match self.dice.below(100) {
            0..14 => self.arrive(),
            14..50 => self.send_some(),
            50..58 => self.ask_something(),
            58..62 => self.send_from_station(),
            62..66 => self.join_station(),
            66..70 => self.take_seat(),
            70..76 => self.post_signal(),
            76..79 => self.join_again(),
            79..82 => self.go(),
            _ => self.cause_a_fault(),
        }
    }

    pub(super) fn open_actors(&self) -> Vec<usize> {
        (0..self.actors.len()).filter(|index| self.actors[*index].is_well()).collect()
    }

    /// One of those that are well, and that pass.
    pub(super) fn pick_actor(&mut self, passes: impl Fn(&Actor) -> bool) -> Option<usize> {
        let all: Vec<usize> =
            self.open_actors().into_iter().filter(|index| passes(&self.actors[*index])).collect();
        if all.is_empty() { None } else { Some(*self.dice.pick(&all)) }
    }

    fn arrive(&mut self) -> Verdict {
        let alive = self.actors.iter().filter(|actor| actor.fate != Fate::Over).count();
        if alive >= ACTORS_MAX {
            return Ok(());
        }
        let speech = self.some_speech();
        self.arrive_as(speech, None);
        Ok(())
    }

    fn some_speech(&mut self) -> Speech {
        let form = *self.dice.pick(&binary::FORMS);
        match self.dice.below(10) {
            0..2 => Speech::Binary { form, on_websocket: false },
            2..4 => Speech::Binary { form, on_websocket: true },
            4..7 => Speech::Rooms,
            7..9 => Speech::Devices,
            _ => Speech::Calls,
        }
    }

    /// A new connection that asks for an id.
    pub(super) fn arrive_as(&mut self, speech: Speech, id: Option<String>) -> Option<usize> {
        let (call, session) = match speech {
            Speech::Calls if self.callers.is_empty() => return None,
            Speech::Calls => {
                let caller = self.dice.below(self.callers.len());
                (self.callers[caller].call.clone(), self.callers[caller].session.clone())
            }
            _ => (String::new(), String::new()),
        };
        let shard = self.dice.below(self.plan.shards);
        let index = self.connect(shard, speech);
        if self.plan.weather.cuts && self.dice.percent(40) {
            self.coverage.hit("bytes in small pieces");
            let bytes = if self.dice.percent(30) { 1 } else { self.dice.between(2, 30) };
            if bytes == 1 {
                self.coverage.hit("bytes one at a time");
            }
            let client = self.actors[index].client;
            self.sim.nodes[shard].wires.cut_receives(client, bytes);
        }
        let upgrade = self.actors[index].upgrade();
        self.sim.write(self.actors[index].client, upgrade);
        let address = match speech {
            Speech::Calls => {
                self.actors[index].session = session.clone();
                Address { space: Space::Call(call), id: session }
            }
            _ => self.some_address(speech, id),
        };
        self.claim(index, address);
        if self.dice.percent(20) {
            self.coverage.hit("messages before the join is answered");
            let messages = self.dice.between(1, 3);
            self.send_from(index, messages);
        }
        Some(index)
    }

    fn some_address(&mut self, speech: Speech, id: Option<String>) -> Address {
        let id = id.unwrap_or_else(|| self.some_id());
        let space = match speech {
            Speech::Rooms => Space::Room(self.dice.below(ROOMS)),
            Speech::Devices => Space::Realm(self.plan.realms[1].0),
            _ => Space::Realm(self.plan.realms[0].0),
        };
        Address { space, id }
    }

    fn some_id(&mut self) -> String {
        format!("id{}", self.dice.below(self.plan.ids))
    }

    /// Asks for an id on a connection that is there.
    pub(super) fn claim(&mut self, index: usize, address: Address) {
        self.attempts += 1;
        let attempt = self.attempts;
        let speech = self.actors[index].speech;
        let has_token = matches!(speech, Speech::Binary { .. } | Speech::Rooms);
        let is_false = has_token
            && self.plan.weather.bad_input
            && self.actors[index].claims.is_empty()
            && self.dice.percent(8);
        if is_false {
            self.coverage.hit("wrong token");
        }
        let message = match (speech, &address.space) {
            (Speech::Binary { form, .. }, _) => {
                let token = if is_false { WRONG_SECRET } else { SECRET };
                binary::connect(form, attempt, &address.id, token)
            }
            (Speech::Rooms, Space::Room(room)) => {
                let waits = self.plan.weather.stores && self.dice.percent(25);
                let token = if is_false { WRONG_SECRET.to_owned() } else { rooms::room_token(*room) };
                rooms::register(*room, &address.id, &token, waits).into_bytes()
            }
            (Speech::Devices, _) => devices::register(&address.id).into_bytes(),
            (Speech::Calls, Space::Call(call)) => calls::join(call, &address.id).into_bytes(),
            _ => return,
        };
        let is_taken = self.certain.contains_key(&address);
        if is_taken {
            self.coverage.hit("a connection under an id that is taken");
        }
        if !is_false && !self.must_be_refused(index, &address) {
            self.certain.remove(&address);
        }
        let state = ClaimState::Asked;
        let (acked_at, acked_us, former_from) = (None, None, u64::MAX);
        let claim = Claim { address, attempt, state, is_false, acked_at, acked_us, former_from };
        self.actors[index].claims.push(claim);
        self.write(index, &message);
    }

    /// Whether whoever has the id for certain keeps it.
    fn must_be_refused(&self, index: usize, address: &Address) -> bool {
        let Some((holder, _)) = self.certain.get(address) else { return false };
        let newcomer = self.actors[index].speech;
        match *holder {
            Party::Actor(holder) => match (self.actors[holder].speech, newcomer) {
                (Speech::Binary { .. }, Speech::Binary { .. }) => {
                    self.plan.on_duplicate == OnDuplicate::Reject
                }
                (holder, newcomer) => std::mem::discriminant(&holder) != std::mem::discriminant(&newcomer),
            },
            Party::Station(_) => true,
            Party::Session(_) => false,
        }
    }

    /// One message as this client puts it on the wire.
    pub(super) fn write(&mut self, index: usize, message: &[u8]) {
        let fragments =
            if self.plan.weather.cuts && self.dice.percent(20) { self.dice.between(2, 5) } else { 1 };
        if fragments > 1 && self.actors[index].is_on_websocket() {
            self.coverage.hit("fragments");
        }
        let bytes = self.actors[index].wrap(message, fragments);
        self.tell(|world| {
            let shown: String =
                String::from_utf8_lossy(message).chars().filter(|c| !c.is_control()).take(110).collect();
            let client = world.actors[index].client;
            format!("{index} on shard {} says {} bytes: {shown}", client.shard, message.len())
        });
        self.sim.write(self.actors[index].client, &bytes);
    }

    /// Renames a device, takes a peer to another room, or registers it again.
    fn join_again(&mut self) -> Verdict {
        // One that is refused for coming too soon is not told apart from another message.
        if self.plan.text_rate > 0 {
            return Ok(());
        }
        let may =
            |actor: &Actor| matches!(actor.speech, Speech::Devices | Speech::Rooms) && actor.held().is_some();
        let Some(index) = self.pick_actor(may) else { return Ok(()) };
        let address = if self.dice.percent(50) {
            self.coverage.hit("peer renamed");
            self.some_address(self.actors[index].speech, None)
        } else {
            self.actors[index].held().map(|claim| claim.address.clone()).expect("it was picked for that")
        };
        self.claim(index, address);
        Ok(())
    }

    fn send_some(&mut self) -> Verdict {
        let may =
            |actor: &Actor| actor.held().is_some() && !matches!(actor.speech, Speech::Calls | Speech::Noise);
        let Some(index) = self.pick_actor(may) else { return Ok(()) };
        let messages = if self.dice.percent(20) { BURST_MAX } else { self.dice.between(1, 3) };
        self.send_from(index, messages);
        Ok(())
    }

    /// Messages to one target, or to several.
    fn send_from(&mut self, index: usize, messages: usize) {
        let speech = self.actors[index].speech;
        let mut to = self.some_target(speech);
        let mut batch = Vec::new();
        for _ in 0..messages {
            if self.dice.percent(20) {
                to = self.some_target(speech);
            }
            let Some(message) = self.make_message(index, &to) else { return };
            let is_batched = matches!(speech, Speech::Binary { .. }) && messages > 1 && self.dice.percent(60);
            batch.extend_from_slice(&message);
            // A message of the WebSocket may hold any number of frames.
            if !is_batched || batch.len() > self.plan.message_bytes_max / 2 {
                self.write(index, &std::mem::take(&mut batch));
            }
        }
        if !batch.is_empty() {
            self.write(index, &batch);
        }
    }

    /// Somebody of the pool, whether there or not, or a station.
    fn some_target(&mut self, speech: Speech) -> String {
        let stations: Vec<String> = self.stations.iter().map(|station| station.sid.clone()).collect();
        if speech != Speech::Rooms && !stations.is_empty() && self.dice.percent(20) {
            return self.dice.pick(&stations).clone();
        }
        self.some_id()
    }

    pub(super) fn some_bytes(&mut self) -> usize {
        let hard = self.plan.limits.outbox_hard_bytes;
        let bytes = match self.dice.below(20) {
            0 => hard + 500,
            1..4 => hard / 3,
            4..8 => 400,
            _ => self.dice.below(60),
        };
        // A message over that limit ends its connection, and a batch is half as long before its last.
        bytes.min(self.plan.message_bytes_max / 2 - 500)
    }

    /// Records a message, and returns it as it is to be written.
    fn make_message(&mut self, index: usize, to: &str) -> Option<Vec<u8>> {
        let serial = self.history.next_serial();
        let (kind, bytes) = (*self.dice.pick(&KINDS), self.some_bytes());
        let forged = (self.plan.weather.bad_input && self.dice.percent(15)).then_some("somebody-else");
        let now_us = self.now_us();
        let actor = &self.actors[index];
        let (speech, is_pending) = (actor.speech, actor.claims.iter().any(|c| c.state == ClaimState::Asked));
        let senders: Vec<String> = actor.possible().map(|claim| claim.address.id.clone()).collect();
        let realm = |which: usize| Space::Realm(self.plan.realms[which].0);
        let (space, dialect, word, told_as, message) = match speech {
            Speech::Binary { form, .. } => {
                // A candidate that is none passes within the dialect, and not beyond it.
                let shape = if self.dice.percent(5) { Kind::Offer } else { kind };
                let data = speech::body(shape, serial, bytes.min(60_000));
                (realm(0), "binary", "", None, binary::signal(form, kind, serial, to, &data, forged))
            }
            Speech::Devices => {
                let word = devices::TYPES[kind as usize];
                let is_told = kind != Kind::Candidate || self.plan.report_undeliverable[1];
                let text = devices::signal(kind, serial, to, bytes, forged);
                (realm(1), "devices", word, is_told.then_some(word), text.into_bytes())
            }
            Speech::Rooms => {
                let claim = actor.held().or(actor.claims.last());
                let Some((own, Space::Room(room))) =
                    claim.map(|c| (c.address.id.clone(), c.address.space.clone()))
                else {
                    return None;
                };
                let kind = self.dice.percent(60).then_some(kind);
                let (word, text) = rooms::message(kind, serial, &own, to, bytes);
                let is_told = kind.is_none() || self.plan.report_undeliverable[0];
                (Space::Room(room), "rooms", word, is_told.then_some(""), text.into_bytes())
            }
            Speech::Calls | Speech::Noise => return None,
        };
        // In which room it is said depends on where its sender is by then.
        let spaces: Vec<Space> = match speech {
            Speech::Rooms => {
                actor.possible().map(|claim| claim.address.space.clone()).chain([space]).collect()
            }
            _ => vec![space],
        };
        let is_exact = dialect == "binary";
        if forged.is_some() && speech != Speech::Rooms {
            self.coverage.hit("sender forged");
        }
        let may_be_refused = self.is_limited(speech);
        let actor = &mut self.actors[index];
        actor.is_hasty |= is_pending;
        actor.sent_us = now_us;
        self.history.record(Message {
            from: Party::Actor(index),
            senders,
            to: spaces.into_iter().map(|space| Address { space, id: to.to_owned() }).collect(),
            is_exact,
            is_loose: is_pending || may_be_refused,
            is_long: bytes > 50_000,
            told_as,
            copies: vec![(Label { dialect, kind: word, target: to.to_owned() }, None)],
            delivered: Vec::new(),
            told: 0,
            refused: 0,
            published: 0,
        });
        Some(message)
    }

    fn ask_something(&mut self) -> Verdict {
        let Some(index) = self.pick_actor(|actor| actor.held().is_some()) else { return Ok(()) };
        let which = self.dice.below(8);
        let own = self.actors[index].held().map(|claim| claim.address.id.clone()).unwrap_or_default();
        let (answer, message) = match self.actors[index].speech {
            Speech::Binary { form, .. } => ("heartbeat", binary::heartbeat(form, which as u64)),
            Speech::Rooms => {
                let (answer, text) = rooms::question(which, &own);
                (answer, text.into_bytes())
            }
            Speech::Devices => {
                let (answer, text) = devices::question(which);
                (answer, text.into_bytes())
            }
            Speech::Calls | Speech::Noise => return Ok(()),
        };
        let next_serial = self.history.next_serial();
        let actor = &mut self.actors[index];
        // Its name may be another when this is read.
        actor.is_hasty |= actor.claims.iter().any(|claim| claim.state == ClaimState::Asked);
        actor.ask(answer, next_serial);
        self.write(index, &message);
        Ok(())
    }

    fn join_station(&mut self) -> Verdict {
        let open = self.stations.iter().filter(|station| station.is_open).count();
        if open >= STATIONS_MAX || self.is_draining {
            return Ok(());
        }
        let (sid, group) = (format!("sid{}", self.stations.len()), self.dice.below(GROUPS));
        let Some(key) = self.front.join(&sid, &format!("group{group}")) else { return Ok(()) };
        let address = Address { space: Space::Realm(self.plan.realms[2].0), id: sid.clone() };
        self.certain.insert(address, (Party::Station(self.stations.len()), self.history.next_serial()));
        self.stations.push(StationBook { key, sid, group, is_open: true, is_stalled: false });
        Ok(())
    }

    pub(super) fn pick_station(&mut self) -> Option<usize> {
        let open: Vec<usize> = (0..self.stations.len()).filter(|at| self.stations[*at].is_open).collect();
        if open.is_empty() { None } else { Some(*self.dice.pick(&open)) }
    }

    fn send_from_station(&mut self) -> Verdict {
        let Some(index) = self.pick_station().filter(|_| !self.front.paused) else { return Ok(()) };
        let to = self.dice.percent(80).then(|| self.some_target(Speech::Devices));
        let messages = if self.dice.percent(30) { BURST_MAX } else { self.dice.between(1, 3) };
        for _ in 0..messages {
            self.send_as_station(index, to.as_deref());
            // The others do not wait until it has said everything.
            if self.dice.percent(40) {
                let node = self.dice.below(self.plan.shards + 1);
                self.turn(node);
            }
        }
        self.front.ring();
        Ok(())
    }

    fn send_as_station(&mut self, index: usize, to: Option<&str>) {
        let (serial, kind, bytes) = (self.history.next_serial(), *self.dice.pick(&KINDS), self.some_bytes());
        let forged = (self.plan.weather.bad_input && self.dice.percent(20)).then_some("somebody-else");
        let (sid, key, group) = {
            let station = &self.stations[index];
            (station.sid.clone(), station.key, station.group)
        };
        let word = stations::TYPES[kind as usize];
        let label = |target: &str| Label { dialect: "broadcast", kind: word, target: target.to_owned() };
        let (address, copies) = match to {
            Some(to) => {
                let space = Space::Realm(self.plan.realms[2].0);
                (Address { space, id: to.to_owned() }, vec![(label(to), None)])
            }
            None => {
                let others = self.stations.iter().enumerate();
                let others = others.filter(|(_, s)| s.is_open && s.group == group && s.sid != sid);
                let copies = others.map(|(at, s)| (label(&s.sid), Some(Party::Station(at)))).collect();
                (Address { space: Space::Group(group), id: String::new() }, copies)
            }
        };
        self.history.record(Message {
            from: Party::Station(index),
            senders: vec![sid],
            to: vec![address],
            is_exact: false,
            is_loose: false,
            is_long: bytes > 50_000,
            told_as: Some(""),
            copies,
            delivered: Vec::new(),
            told: 0,
            refused: 0,
            published: 0,
        });
        let text = stations::signal(kind, serial, to, bytes, forged);
        self.front.signal(self.sim.now, key, &text);
    }

    fn take_seat(&mut self) -> Verdict {
        let call = format!("call{}", self.dice.below(CALLS));
        let number = self.ask_front(Asked::Seat { call: call.clone(), began_us: self.now_us() });
        self.front.get_call(number, &call);
        self.front.ring();
        Ok(())
    }

    fn post_signal(&mut self) -> Verdict {
        if self.callers.is_empty() {
            return Ok(());
        }
        let session = self.dice.below(self.callers.len());
        // Whoever wants an order waits for the answer.
        let is_busy = |asked: &Asked| matches!(asked, Asked::Signal { session: at, .. } if *at == session);
        if self.requests.iter().any(|(_, asked)| is_busy(asked)) {
            return Ok(());
        }
        let (serial, kind, bytes) = (self.history.next_serial(), *self.dice.pick(&KINDS), self.some_bytes());
        let (call, own) = (self.callers[session].call.clone(), self.callers[session].session.clone());
        let label = Label { dialect: "calls", kind: calls::TYPES[kind as usize], target: String::new() };
        self.history.record(Message {
            from: Party::Session(session),
            senders: Vec::new(),
            to: vec![Address { space: Space::Call(call.clone()), id: String::new() }],
            is_exact: false,
            is_loose: false,
            is_long: false,
            told_as: None,
            copies: vec![(label, None)],
            delivered: Vec::new(),
            told: 0,
            refused: 0,
            published: 0,
        });
        let body = calls::signal(kind, serial, &call, &own, bytes);
        let number = self.ask_front(Asked::Signal { session, serial, began_us: self.now_us() });
        if self.front.post_signal(number, &body).is_err() {
            unreachable!("the body is well-formed");
        }
        self.front.ring();
        Ok(())
    }

    /// Somebody goes in good order.
    fn go(&mut self) -> Verdict {
        let Some(index) = self.pick_actor(|_| true) else { return Ok(()) };
        self.leave(index);
        Ok(())
    }

    pub(super) fn leave(&mut self, index: usize) {
        let client = self.actors[index].client;
        match self.actors[index].speech {
            Speech::Binary { form, .. } if self.dice.percent(40) && self.actors[index].held().is_some() => {
                self.coverage.hit("client says DISCONNECT");
                self.write(index, &binary::disconnect(form));
            }
            Speech::Binary { on_websocket: false, .. } | Speech::Noise => {
                self.coverage.hit("client half-closes");
                self.sim.hang_up(client);
            }
            _ if self.dice.percent(30) => {
                self.coverage.hit("client half-closes");
                self.sim.hang_up(client);
            }
            _ => {
                self.coverage.hit("client closes its WebSocket");
                let mut close = Vec::new();
                self.actors[index].control(0x88, &1000_u16.to_be_bytes(), &mut close);
                self.sim.write(client, &close);
            }
        }
        self.actors[index].fate = Fate::Leaving(self.now_us());
        self.tell(|_| format!("{index} leaves"));
        self.uncertain(Party::Actor(index));
    }
}
