//! A world in the making: the engine, its clients, and what the oracle knows of both.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Narrator;
use super::actor::{Actor, Asked, Caller, Fate, Requests, Speech};
use super::coverage::Coverage;
use super::history::{Address, History, Party};
use super::oracle::{Promise, Violation};
use super::plan::{IDS_MAX, KEEP_ALIVE_PROBES, Plan, ROOMS};
use super::speech::SECRET;
use super::speech::rooms::{room_id, room_token};
use crate::auth::{ApiKey, Authenticator, Credentials, Identities, IdentitySources, TrustedRemote};
use crate::base::{NodeId, PeerKey, Redacted};
use crate::dialect::devices;
use crate::hub::rooms::{Reservation, RoomLimits, RoomRecord, Rooms};
use crate::hub::{SeatLimits, Seats};
use crate::session;
use crate::shard::TICK;
use crate::sim::front::{Front, FrontParts};
use crate::sim::stores::{FickleSeats, Health, KeyServer, SeatsHealth};
use crate::sim::{Dice, Sim, Size, serving};

/// Turns without rest that show that a world never comes to it.
const TURNS_MAX: usize = 200_000;

pub struct World {
    pub narrator: Option<Narrator>,
    pub plan: Plan,
    pub dice: Dice,
    pub sim: Sim,
    /// What a reload begins with.
    pub settings: session::Settings,
    pub front: Front,
    pub rooms: Arc<Rooms>,
    pub seats: Arc<Seats>,
    pub seats_health: Arc<SeatsHealth>,
    pub key_server: KeyServer,
    pub keys_health: Health,
    /// Rooms whose records are on their way into the store.
    pub reservations: Vec<(usize, Reservation)>,
    pub actors: Vec<Actor>,
    pub stations: Vec<StationBook>,
    pub callers: Vec<Caller>,
    pub requests: Requests,
    pub request_number: u64,
    pub history: History,
    pub coverage: Coverage,
    /// Who has an id for certain, and from which message on.
    pub certain: BTreeMap<Address, (Party, u64)>,
    pub attempts: u64,
    /// How often everybody has been listened to.
    pub listenings: u64,
    /// Since when no node has been paused.
    pub calm_since_us: u64,
    pub paused: Vec<bool>,
    pub is_draining: bool,
    pub peer_events: u64,
    /// What everybody has heard, in one number.
    pub trace: u64,
}

/// A station as the oracle knows it.
pub struct StationBook {
    pub key: PeerKey,
    pub sid: String,
    pub group: usize,
    pub is_open: bool,
    pub is_stalled: bool,
}

impl World {
    pub fn new(seed: u64) -> World {
        let mut dice = Dice::new(seed);
        let plan = Plan::roll(&mut dice);
        let size = Size {
            shards: plan.shards,
            inbox_messages_max: plan.inbox_messages_max,
            events_max: 1 << 16,
            seed: dice.next_u64(),
        };
        let seats_health = Arc::new(SeatsHealth::default());
        let key_server = KeyServer::new();
        let room_limits = RoomLimits { peers_per_room_max: plan.peers_per_room_max, ..RoomLimits::default() };
        let rooms = Arc::new(Rooms::new(room_limits, size.seed));
        let fickle = FickleSeats::new(64, size.seed, Arc::clone(&seats_health));
        let seats = Arc::new(Seats::with_store(Box::new(fickle), SeatLimits::default(), size.seed));
        let settings = settings(&plan, &rooms, &seats, &key_server);
        let (calls, broadcast) = (settings.dialects.calls.clone(), settings.dialects.broadcast.clone());
        let kept = copy(&settings);
        let sim = Sim::new(&size, settings, &plan.limits);
        let parts = FrontParts {
            mesh: Arc::clone(&sim.mesh),
            mesh_limits: plan.limits.mesh,
            directory: Arc::clone(&sim.directory),
            shared: Arc::clone(&sim.shared),
            events: Arc::clone(&sim.events),
            calls,
            broadcast,
        };
        let front = Front::new(parts, dice.next_u64());
        let paused = vec![false; plan.shards + 1];
        let world = World {
            narrator: None,
            plan,
            dice,
            sim,
            settings: kept,
            front,
            rooms,
            seats,
            seats_health,
            key_server,
            keys_health: Health::Good,
            reservations: Vec::new(),
            actors: Vec::new(),
            stations: Vec::new(),
            callers: Vec::new(),
            requests: Requests::new(),
            request_number: 0,
            history: History::default(),
            coverage: Coverage::default(),
            certain: BTreeMap::new(),
            attempts: 0,
            listenings: 0,
            calm_since_us: 0,
            paused,
            is_draining: false,
            peer_events: 0,
            trace: 0xcbf2_9ce4_8422_2325,
        };
        for room in 0..ROOMS {
            if let Some(reservation) = world.reserve(room) {
                reservation.open();
            }
        }
        world
    }

    /// Whether a client of this dialect may be told that it sends too much.
    pub fn is_limited(&self, speech: Speech) -> bool {
        match speech {
            Speech::Binary { .. } => self.plan.message_rate > 0,
            Speech::Rooms | Speech::Devices => self.plan.text_rate > 0,
            Speech::Calls | Speech::Noise => false,
        }
    }

    pub fn now_us(&self) -> u64 {
        self.sim.now.mono_us
    }

    pub fn reserve(&self, room: usize) -> Option<Reservation> {
        let record = RoomRecord {
            room_id: room_id(room),
            token: Redacted::new(room_token(room)),
            created_by: "creator".to_owned(),
            expires_at_unix_seconds: self.sim.now.unix_seconds() + self.plan.room_seconds,
        };
        self.rooms.reserve(record).ok()
    }

    pub fn connect(&mut self, shard: usize, speech: Speech) -> usize {
        let client = self.sim.connect(shard);
        let seed = self.dice.next_u64();
        self.actors.push(Actor::new(client, speech, seed));
        self.actors.len() - 1
    }

    pub fn key_of(&self, actor: usize) -> Option<PeerKey> {
        let client = self.actors[actor].client;
        let conn = self.sim.nodes[client.shard].wires.conn(client)?;
        Some(PeerKey { node: NodeId::shard(client.shard), slot: conn.slot, generation: conn.generation })
    }

    /// Nobody has been paused for so long.
    pub fn calm_us(&self) -> u64 {
        match self.paused.contains(&true) {
            true => 0,
            false => self.now_us() - self.calm_since_us,
        }
    }

    /// The front is the node behind the shards.
    pub fn pause(&mut self, node: usize, paused: bool) {
        // It sleeps between two turns.
        if paused {
            self.turn(node);
        }
        self.paused[node] = paused;
        if node == self.plan.shards {
            self.front.paused = paused;
        } else {
            self.sim.pause(node, paused);
        }
        self.calm_since_us = self.now_us();
        self.tell(|_| format!("node {node} paused: {paused}"));
    }

    /// A few turns of any nodes.
    pub fn stir(&mut self) {
        for _ in 0..self.dice.between(1, 6) {
            let node = self.dice.below(self.plan.shards + 1);
            self.turn(node);
        }
    }

    /// Turns until nothing moves any more.
    pub fn settle(&mut self) -> Result<(), Violation> {
        let first = self.dice.below(self.plan.shards + 1);
        // A turn brings one byte at least of what is to be read.
        let unread_bytes: usize = self.sim.nodes.iter().map(|node| node.wires.unread_bytes()).sum();
        for _ in 0..TURNS_MAX + unread_bytes {
            let mut moved = false;
            for node in 0..=self.plan.shards {
                moved |= self.turn((first + node) % (self.plan.shards + 1));
            }
            if !moved && !self.has_mail() {
                return Ok(());
            }
        }
        Err(Promise::Liveness.broken("the world does not come to rest".to_owned()))
    }

    /// Somebody who is awake has something in its inbox.
    fn has_mail(&self) -> bool {
        let is_awake = |node: &crate::sim::Node| !node.asleep && !node.paused && !node.ended;
        let mut nodes = self.sim.nodes.iter();
        let front_has = self.front.is_awake() && self.sim.mesh.depth(NodeId::FRONT) > 0;
        front_has || nodes.any(|node| is_awake(node) && node.shard.has_mail())
    }

    /// The clock goes on, a tick at a time, and everybody does what is due.
    pub fn pass(&mut self, time: Duration) -> Result<(), Violation> {
        let until_us = self.sim.now.plus(time);
        while self.now_us() < until_us {
            let step_us = (TICK.as_micros() as u64).min(until_us - self.now_us());
            self.sim.advance(step_us);
            self.settle()?;
            self.kernel();
            self.listen()?;
            if self.keys_health != Health::Late && self.key_server.is_asked() {
                self.key_server.answer(self.keys_health == Health::Failing);
            }
        }
        Ok(())
    }

    pub fn turn(&mut self, node: usize) -> bool {
        if node < self.plan.shards {
            let moved = self.sim.turn(node);
            if std::mem::take(&mut self.sim.front_rung) {
                self.front.ring();
            }
            return moved;
        }
        let mut rung = Vec::new();
        let moved = self.front.turn(self.sim.now, |node| rung.push(node));
        rung.into_iter().for_each(|node| self.sim.ring(node));
        moved
    }

    /// TCP keepalive finds out who is gone.
    fn kernel(&mut self) {
        let now_us = self.now_us();
        for actor in &self.actors {
            let Fate::Vanished(since_us) = actor.fate else { continue };
            let wires = &mut self.sim.nodes[actor.client.shard].wires;
            let probes_us = KEEP_ALIVE_PROBES.as_micros() as u64;
            if let Some(idle) = wires.keep_alive_of(actor.client)
                && now_us >= since_us + idle.as_micros() as u64 + probes_us
            {
                wires.break_off(actor.client);
            }
        }
    }

    /// Takes what everybody has heard, in a fixed order, and has the oracle look at it.
    pub fn listen(&mut self) -> Result<(), Violation> {
        self.listenings += 1;
        self.check_events()?;
        for answer in self.front.take_answers() {
            self.check_answer(&answer)?;
        }
        let mut heard = Vec::new();
        for index in 0..self.actors.len() {
            if self.actors[index].fate == Fate::Over {
                continue;
            }
            let client = self.actors[index].client;
            let bytes = self.sim.read(client);
            let is_closed = self.sim.is_closed(client);
            if bytes.is_empty() && !is_closed {
                continue;
            }
            self.note(index, &bytes);
            let actor = &mut self.actors[index];
            let what = actor.hear(&bytes).map_err(|words| {
                Promise::Protocol.broken(format!("{index} ({:?}) heard {words}", actor.speech))
            })?;
            let answers = !actor.is_mute && actor.is_well();
            if answers && what.pings > 0 && actor.close.is_none() {
                let mut pong = Vec::new();
                actor.control(0x8A, b"", &mut pong);
                self.sim.write(client, &pong);
                self.renewed_seat(index);
            }
            if is_closed || self.actors[index].close.is_some() {
                self.check_end(index)?;
            }
            self.tell(|world| {
                let actor = &world.actors[index];
                format!(
                    "{index} {:?} hears {:?} {:?} {:?}",
                    actor.speech, what.arrivals, actor.close, actor.fate
                )
            });
            heard.push((index, what));
        }
        for (index, what) in heard {
            self.check_heard(index, what)?;
        }
        self.check_stations()
    }

    /// The trace is FNV-1a of everything that anybody hears.
    fn note(&mut self, who: usize, bytes: &[u8]) {
        for byte in who.to_le_bytes().iter().chain(bytes) {
            self.trace = (self.trace ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    /// This connection answers a ping.
    fn renewed_seat(&mut self, actor: usize) {
        self.kept_seat(actor);
        let (now_us, session) = (self.now_us(), &self.actors[actor].session);
        if let Some(caller) = self.callers.iter_mut().find(|caller| caller.session == *session) {
            caller.renewed_us = now_us;
        }
    }

    /// A pong of this connection may have renewed its session's seat.
    pub(super) fn kept_seat(&mut self, actor: usize) {
        let now_us = self.now_us();
        let session = self.actors[actor].session.clone();
        if let Some(caller) = self.callers.iter_mut().find(|caller| caller.session == session) {
            caller.kept_us = now_us;
        }
    }

    /// For whoever follows a run; costs nothing else.
    pub fn tell(&mut self, what: impl FnOnce(&World) -> String) {
        if self.narrator.is_some() {
            let line = format!("{:>9} ms  {}", self.now_us() / 1000, what(self));
            if let Some(narrator) = &mut self.narrator {
                narrator(&line);
            }
        }
    }

    pub fn ask_front(&mut self, asked: Asked) -> u64 {
        self.request_number += 1;
        self.requests.push_back((self.request_number, asked));
        self.request_number
    }
}

pub fn copy(settings: &session::Settings) -> session::Settings {
    session::Settings {
        listeners: settings.listeners.clone(),
        dialects: Arc::clone(&settings.dialects),
        limits: settings.limits.clone(),
    }
}

fn settings(
    plan: &Plan,
    rooms: &Arc<Rooms>,
    seats: &Arc<Seats>,
    key_server: &KeyServer,
) -> session::Settings {
    let mut settings = serving(plan.serves.clone());
    settings.limits = session::Limits {
        first_message: plan.first_message,
        head: plan.first_message,
        head_bytes_max: 4_096,
        message_bytes_max: plan.message_bytes_max,
        heartbeat_interval: plan.heartbeat,
        close: plan.close,
        ..settings.limits
    };
    let remote = TrustedRemote { keys: Arc::clone(&key_server.keys), issuer: None, audience: None };
    let sources = IdentitySources { remote: Some(remote), ..IdentitySources::default() };
    let mut dialects = (*settings.dialects).clone();
    dialects.binary.realm = plan.realms[0];
    dialects.binary.on_duplicate = plan.on_duplicate;
    dialects.binary.message_rate = plan.message_rate;
    let key = |id: usize| ApiKey { client_id: format!("id{id}"), token: Redacted::new(SECRET.to_owned()) };
    let credentials = Credentials::Token((0..IDS_MAX).map(key).collect());
    dialects.binary.auth = Arc::new(Authenticator::new(&credentials));
    dialects.rooms.message_rate = plan.text_rate;
    dialects.rooms.rooms = Arc::clone(rooms);
    dialects.rooms.identities = Arc::new(Identities::new(sources));
    dialects.rooms.report_undeliverable = plan.report_undeliverable[0];
    dialects.rooms.app_ping = Duration::from_secs(5);
    dialects.rooms.key_wait = plan.key_wait;
    dialects.devices = devices::Settings {
        max_clients: plan.max_clients,
        message_rate: plan.text_rate,
        report_undeliverable: plan.report_undeliverable[1],
        ..devices::Settings::new(plan.realms[1])
    };
    dialects.broadcast.realm = plan.realms[2];
    dialects.broadcast.outbox_messages_max = plan.station_messages_max;
    dialects.calls.seats = Arc::clone(seats);
    dialects.calls.seat_count = plan.seat_count;
    dialects.calls.seat_timeout = plan.seat_timeout;
    dialects.calls.ws_handshake_timeout = plan.first_message;
    dialects.calls.ws_ping_interval = plan.ws_ping_interval;
    dialects.calls.ws_read_timeout = plan.ws_read_timeout;
    settings.dialects = Arc::new(dialects);
    settings
}
