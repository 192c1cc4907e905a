//! A world without sockets: the real shards, sessions and dialects on a virtual clock and in-memory
//! connections, driven in a `for` loop. What happens is a function of the calls and the seed alone.
//!
//! For tests and benchmarks; the engine does not use it. TLS and what the front serves stay out.

mod dice;
mod frames;
mod front;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz_bodies;
pub mod scenario;
mod stores;
mod wires;

#[cfg(test)]
mod jumps;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::auth::{Authenticator, Credentials, Identities, IdentitySources};
use crate::base::{NodeId, Now, RealmId};
use crate::dialect::{self, Dialect, Serves, binary, broadcast, calls, devices, rooms};
use crate::hub::rooms::{RoomLimits, Rooms};
use crate::hub::{Directory, OnDuplicate, SeatLimits, Seats};
use crate::mesh::{self, Mesh};
use crate::observe::{EventQueue, ShardMetrics};
use crate::session;
use crate::shard::{Limits, Parts, Shard, Shared, TICK, Terms};
use dice::Dice;
pub use wires::ClientId;
use wires::Wires;

/// What a world of the binary dialect needs: everyone may log in, and times are those of the shipped
/// configuration.
pub fn settings() -> session::Settings {
    serving(vec![Dialect::Binary])
}

/// The same for a listener of these dialects. `devices` and `broadcast` are in the realm of `binary`.
pub fn serving(dialects: Vec<Dialect>) -> session::Settings {
    let listener = session::Listener { serves: Serves::new(dialects), ..session::Listener::default() };
    session::Settings {
        listeners: vec![listener],
        dialects: Arc::new(dialects_settings()),
        limits: session::Limits {
            first_message: Duration::from_secs(10),
            head: Duration::from_secs(10),
            head_bytes_max: 16 << 10,
            message_bytes_max: 1 << 20,
            heartbeat_interval: Duration::from_secs(30),
            session_timeout: Duration::from_secs(3600),
            close: Duration::from_secs(5),
            tunnel_window_bytes: 64 << 10,
        },
    }
}

fn dialects_settings() -> dialect::Settings {
    dialect::Settings {
        binary: binary::Settings {
            realm: REALM,
            stamp_sender: true,
            on_duplicate: OnDuplicate::Replace,
            auth: Arc::new(Authenticator::new(&Credentials::None)),
            message_rate: 0,
        },
        rooms: rooms::Settings {
            rooms: Arc::new(Rooms::new(RoomLimits::default(), SEED)),
            identities: Arc::new(Identities::new(IdentitySources::default())),
            require_id_token: false,
            report_undeliverable: true,
            app_ping: Duration::from_secs(30),
            metadata_bytes_max: 16 << 10,
            message_rate: 0,
            key_wait: Duration::from_secs(5),
        },
        devices: devices::Settings::new(REALM),
        calls: calls::Settings {
            seats: Arc::new(Seats::in_memory(SeatLimits::default(), SEED)),
            seat_count: 2,
            seat_timeout: Duration::from_secs(30),
            ws_handshake_timeout: Duration::from_secs(10),
            ws_join_timeout: Duration::ZERO,
            ws_ping_interval: Duration::from_secs(5),
            ws_read_timeout: Duration::from_secs(10),
        },
        broadcast: broadcast::Settings {
            realm: REALM,
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            payload_bytes_max: 1_000_000,
            clients_max: 100,
            message_rate: 0,
            outbox_bytes_max: 128 << 10,
            outbox_messages_max: 64,
        },
    }
}

const REALM: RealmId = RealmId(0);
/// Of tables whose order shows nowhere.
const SEED: u64 = 1;

/// Tight ones, so that a few hundred messages reach them.
pub fn limits() -> Limits {
    Limits {
        connections_max: 100,
        outbox_soft_bytes: 64 << 10,
        outbox_hard_bytes: 128 << 10,
        outbox_reserve_bytes: 64 << 10,
        slow_consumer: Duration::from_secs(5),
        drain: Duration::from_secs(2),
        list_update_bytes_per_second: 8 << 20,
        mesh: mesh::Limits { overflow_messages_max: 64, overflow_bytes_max: 1 << 20, hold_us: 200_000 },
    }
}

/// Turns after which a world that does not come to rest is taken for a defect.
const TURNS_MAX: usize = 100_000;

/// Sizes of a world.
#[derive(Clone, Debug)]
pub struct Size {
    pub shards: usize,
    pub inbox_messages_max: usize,
    pub events_max: usize,
    pub seed: u64,
}

/// Shards with the clients that are connected to them.
pub struct Sim {
    now: Now,
    nodes: Vec<Node>,
    shared: Arc<Shared>,
    mesh: Arc<Mesh>,
    directory: Arc<Directory>,
    /// The front's bell has been pulled.
    front_rung: bool,
    pub events: Arc<EventQueue>,
}

struct Node {
    shard: Shard,
    wires: Wires,
    metrics: Arc<ShardMetrics>,
    /// It does not get its turn, whatever there is to do.
    paused: bool,
    /// It waits for its bell, its sockets or its tick.
    asleep: bool,
    /// It has drained, and its thread would have ended.
    ended: bool,
    last_tick_us: u64,
}

impl Sim {
    pub fn new(size: &Size, settings: session::Settings, limits: &Limits) -> Sim {
        let now = Now { mono_us: 1_000_000, unix_ms: 1_700_000_000_000 };
        let settings = Arc::new(settings);
        let shared = Arc::new(Shared::new(REALM));
        let mesh = Mesh::new(size.shards, size.inbox_messages_max);
        let directory = Arc::new(Directory::new(size.seed));
        let events = Arc::new(EventQueue::new(size.events_max));
        let nodes = (0..size.shards)
            .map(|index| {
                let metrics = Arc::new(ShardMetrics::default());
                let parts = Parts {
                    node: NodeId::shard(index),
                    settings: Arc::clone(&settings),
                    limits: limits.clone(),
                    shared: Arc::clone(&shared),
                    directory: Arc::clone(&directory),
                    mesh: Arc::clone(&mesh),
                    metrics: Arc::clone(&metrics),
                    events: Arc::clone(&events),
                    entropy: Box::new(Dice::new(size.seed ^ index as u64)),
                };
                let shard = Shard::new(parts, vec![0], now);
                let (wires, last_tick_us) = (Wires::default(), now.mono_us);
                Node { shard, wires, metrics, paused: false, asleep: false, ended: false, last_tick_us }
            })
            .collect();
        Sim { now, nodes, shared, mesh, directory, front_rung: false, events }
    }

    pub fn connect(&mut self, shard: usize) -> ClientId {
        let node = &mut self.nodes[shard];
        let client = node.wires.connect(shard);
        node.asleep = false;
        node.shard.begin_turn(self.now);
        node.shard.accepted(0, client, &mut node.wires);
        client
    }

    /// The client sends.
    pub fn write(&mut self, client: ClientId, bytes: &[u8]) {
        self.wires(client).write(client, bytes);
    }

    /// The client takes what has arrived.
    pub fn read(&mut self, client: ClientId) -> Vec<u8> {
        self.wires(client).read(client)
    }

    /// The client reads no more, or again.
    pub fn stall(&mut self, client: ClientId, stalled: bool) {
        self.wires(client).stall(client, stalled);
    }

    /// The client's end: everything it has sent is still received.
    pub fn hang_up(&mut self, client: ClientId) {
        self.wires(client).hang_up(client);
    }

    /// Whether the server has closed the connection.
    pub fn is_closed(&mut self, client: ClientId) -> bool {
        self.wires(client).is_closed(client)
    }

    /// A shard that is paused takes no turns; its inbox fills up.
    pub fn pause(&mut self, shard: usize, paused: bool) {
        self.nodes[shard].paused = paused;
    }

    pub fn metrics(&self, shard: usize) -> &ShardMetrics {
        &self.nodes[shard].metrics
    }

    pub fn inbox_depth(&self, shard: usize) -> usize {
        self.mesh.depth(NodeId::shard(shard))
    }

    pub fn drain(&mut self) {
        self.shared.draining.store(true, Ordering::Relaxed);
        self.nodes.iter_mut().for_each(|node| node.asleep = false);
    }

    /// Whether a shard has drained and ended.
    pub fn has_ended(&self, shard: usize) -> bool {
        self.nodes[shard].ended
    }

    /// The machine's clock is set. The steady one goes on as it was.
    pub fn set_wall_clock(&mut self, unix_ms: u64) {
        self.now.unix_ms = unix_ms;
    }

    /// What SIGHUP does to the shards.
    pub fn reload(&mut self, settings: session::Settings, limits: Limits) {
        self.shared.terms.set(Some(Terms { settings: Arc::new(settings), limits }));
    }

    /// Lets time pass, a tick at a time.
    pub fn pass(&mut self, time: Duration) {
        let until = self.now.plus(time);
        while self.now.mono_us < until {
            let step_us = (TICK.as_micros() as u64).min(until - self.now.mono_us);
            self.advance(step_us);
            self.settle();
        }
    }

    /// Gives every shard turns until nothing moves any more.
    pub fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            let mut moved = false;
            for shard in 0..self.nodes.len() {
                moved |= self.turn(shard);
            }
            if !moved {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    /// The clock goes on, and nothing else.
    fn advance(&mut self, step_us: u64) {
        self.now.mono_us += step_us;
        self.now.unix_ms += step_us / 1000;
    }

    /// One turn of one shard, if it is awake or something wakes it. Tells whether anything moved.
    fn turn(&mut self, shard: usize) -> bool {
        let mut rung = Vec::new();
        let moved = self.nodes[shard].turn(self.now, &mut rung);
        rung.into_iter().for_each(|node| self.ring(node));
        moved
    }

    /// Pulls a node's bell.
    fn ring(&mut self, node: NodeId) {
        if node.is_front() {
            self.front_rung = true;
        } else {
            self.nodes[node.index()].asleep = false;
        }
    }

    #[cfg(test)]
    fn break_session(&mut self, client: ClientId) {
        let node = &mut self.nodes[client.shard];
        node.asleep = false;
        if let Some(conn) = node.wires.conn(client) {
            node.shard.break_session(conn, &mut node.wires);
        }
    }

    fn wires(&mut self, client: ClientId) -> &mut Wires {
        &mut self.nodes[client.shard].wires
    }
}

impl Node {
    fn turn(&mut self, now: Now, rung: &mut Vec<NodeId>) -> bool {
        let is_tick = now.mono_us >= self.last_tick_us + TICK.as_micros() as u64;
        if self.paused || self.ended || (self.asleep && !is_tick && !self.wires.has_work()) {
            return false;
        }
        self.asleep = false;
        self.shard.wake_up();
        self.shard.begin_turn(now);
        let mut moved = self.wires.deliver(&mut self.shard);
        moved |= self.shard.has_mail();
        let more_mail = self.shard.drain_inbox(&mut self.wires);
        if !more_mail && self.shard.wants_drain() {
            self.shard.begin_drain(&mut self.wires);
            moved = true;
        }
        if is_tick {
            self.last_tick_us = now.mono_us;
            self.shard.tick(&mut self.wires);
        }
        self.shard.flush(&mut self.wires, |_, node| rung.push(node));
        if self.shard.is_drained() {
            self.shard.end();
            self.ended = true;
        }
        moved |= more_mail || self.wires.has_news();
        if !moved && !self.shard.has_overflow() {
            self.asleep = self.shard.fall_asleep();
        }
        moved
    }
}
