//! Shards of the engine on connections that are buffers: everything but the kernel. What a turn costs
//! here beside the engine is one copy of what is received and one of what is sent, as in the kernel.

#![allow(dead_code, reason = "every benchmark takes from here what it needs")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sigmux::base::{Entropy, NodeId, Now, PeerKey, Redacted};
use sigmux::dialect::{Dialect, OwnedDelivery, calls};
use sigmux::hub::rooms::RoomRecord;
use sigmux::hub::{Directory, SeatAnswer};
use sigmux::mesh::{Mesh, Outlets, Parcel};
use sigmux::observe::{EventQueue, ShardMetrics};
use sigmux::ring::ConnId;
use sigmux::session;
use sigmux::shard::{Net, Parts, Shard, Shared};
use sigmux::sim;

use crate::messages::{BINARY, BINARY_PAYLOAD, CONNECT, JSON_PAYLOAD, TEXT, frame, masked};

const NOW: Now = Now { mono_us: 1_000_000, unix_ms: 1_700_000_000_000 };
const INBOX_MESSAGES_MAX: usize = 1024;

pub const ROOM: &str = "abcd1234";
const ROOM_TOKEN: &str = "secret";
pub const CALL: &str = "a-call";

/// What a peer says that is neither the engine nor a client: the front.
pub const FRONT: PeerKey = PeerKey { node: NodeId::FRONT, slot: 0, generation: 0 };

pub struct Engine {
    nodes: Vec<Node>,
    front: Outlets,
    settings: Arc<session::Settings>,
}

struct Node {
    shard: Shard,
    lines: Lines,
    /// The ring's buffer, into which the kernel receives.
    buffer: Vec<u8>,
}

/// A client's connection.
#[derive(Clone, Copy)]
pub struct Client {
    shard: usize,
    conn: ConnId,
}

/// The connections of one shard, by slot.
#[derive(Default)]
struct Lines {
    /// What each client has been sent.
    sent: Vec<Vec<u8>>,
    /// Buffers of sends that the shard has not been told of.
    taken: Vec<(ConnId, Vec<u8>)>,
    opened: Option<ConnId>,
}

impl Engine {
    /// All dialects of a shard's WebSockets, on so many shards. Everybody may log in.
    pub fn new(shards: usize) -> Engine {
        let dialects = vec![Dialect::Binary, Dialect::Rooms, Dialect::Devices, Dialect::Calls];
        let settings = Arc::new(sim::serving(dialects));
        let limits = sim::limits();
        let (mesh, directory) = (Mesh::new(shards, INBOX_MESSAGES_MAX), Arc::new(Directory::new(1)));
        let shared = Arc::new(Shared::new(settings.dialects.devices.realm));
        let events = Arc::new(EventQueue::new(64));
        let nodes = (0..shards).map(|index| {
            let parts = Parts {
                node: NodeId::shard(index),
                settings: settings.clone(),
                limits: limits.clone(),
                shared: shared.clone(),
                directory: directory.clone(),
                mesh: mesh.clone(),
                metrics: Arc::new(ShardMetrics::default()),
                events: events.clone(),
                entropy: Box::new(Same),
            };
            let shard = Shard::new(parts, vec![0], NOW);
            Node { shard, lines: Lines::default(), buffer: Vec::new() }
        });
        Engine { nodes: nodes.collect(), front: Outlets::new(mesh.clone(), limits.mesh), settings }
    }

    /// A turn on every shard in which nothing happens.
    pub fn idle_turn(&mut self) {
        for node in &mut self.nodes {
            node.turn(None);
        }
    }

    /// The client sends: as many turns as it takes until everything is done that follows.
    pub fn say(&mut self, client: Client, bytes: &[u8]) {
        self.nodes[client.shard].turn(Some((client.conn, bytes)));
        self.settle();
    }

    /// The front sends.
    pub fn post(&mut self, to: PeerKey, delivery: OwnedDelivery) {
        let parcel = Parcel::Deliver { to, delivery: Box::new(delivery), received_us: NOW.mono_us };
        self.front.post(NOW.mono_us, to.node, parcel);
        self.settle();
    }

    /// What the client has received since it was last asked.
    pub fn heard<T>(&mut self, client: Client, look: impl FnOnce(&[u8]) -> T) -> T {
        let sent = &mut self.nodes[client.shard].lines.sent[client.conn.slot as usize];
        let seen = look(sent);
        sent.clear();
        seen
    }

    pub fn key(&self, client: Client) -> PeerKey {
        let ConnId { slot, generation } = client.conn;
        PeerKey { node: NodeId::shard(client.shard), slot, generation }
    }

    /// A client of `binary`, with payloads in flat JSON.
    pub fn log_in_json(&mut self, shard: usize, id: &str) -> Client {
        let connect = format!(r#"{{"client_id":"{id}","auth_token":"t"}}"#);
        let connect = frame(CONNECT, JSON_PAYLOAD, connect.as_bytes());
        self.log_in(shard, BINARY, &connect, br#""status":"success""#)
    }

    /// A client of `binary`, with binary payloads.
    pub fn log_in_binary(&mut self, shard: usize, id: &str) -> Client {
        let connect = [&[id.len() as u8], id.as_bytes(), b"\x01t"].concat();
        // Status 1, and a session id of 36 bytes.
        self.log_in(shard, BINARY, &frame(CONNECT, BINARY_PAYLOAD, &connect), b"\x01\x24")
    }

    pub fn log_in_device(&mut self, shard: usize, id: &str) -> Client {
        let register = format!(r#"{{"type":"register","id":"{id}"}}"#);
        self.log_in(shard, TEXT, register.as_bytes(), br#""type":"registered""#)
    }

    /// A peer of the one room, which is opened for the first.
    pub fn log_in_room(&mut self, shard: usize, id: &str) -> Client {
        let record = RoomRecord {
            room_id: ROOM.to_owned(),
            token: Redacted::new(ROOM_TOKEN.to_owned()),
            created_by: "somebody".to_owned(),
            expires_at_unix_seconds: NOW.unix_seconds() + 7200,
        };
        if let Ok(reservation) = self.settings.dialects.rooms.rooms.reserve(record) {
            reservation.open();
        }
        let register =
            format!(r#"{{"type":"register","peer_id":"{id}","room_id":"{ROOM}","token":"{ROOM_TOKEN}"}}"#);
        self.log_in(shard, TEXT, register.as_bytes(), b"registered_auth")
    }

    /// Listens to the one call, in a seat that is taken as `GET /call/…` takes it.
    pub fn log_in_call(&mut self, shard: usize, session: &str) -> Client {
        self.take_seat(session);
        let join = format!(r#"{{"kind":"JOIN","call":"{CALL}","session":"{session}"}}"#);
        self.log_in(shard, TEXT, join.as_bytes(), b"WELCOME")
    }

    pub fn take_seat(&self, session: &str) {
        let settings = &self.settings.dialects.calls;
        let answer = settings.seats.acquire(CALL, session, NOW, settings.terms());
        assert_eq!(answer, SeatAnswer::Seated);
    }

    /// What the front does with the body of a `POST /signal`, apart from HTTP.
    pub fn call_signal(&mut self, body: &[u8]) {
        let settings = self.settings.clone();
        let settings = &settings.dialects.calls;
        let text = std::str::from_utf8(body).expect("a text");
        let message = calls::Message::parse(text).expect("a message of the protocol");
        let kind = message.signal().expect("a whole signal");
        let held = settings.seats.holds(&message.call, &message.session, NOW, settings.terms());
        assert_eq!(held, SeatAnswer::Seated);
        let event = calls::Event { call: &message.call, session: "", body: message.body, kind };
        for listener in settings.seats.listeners(&message.call, &message.session) {
            let held = settings.seats.holds(&message.call, &listener.session, NOW, settings.terms());
            assert_eq!(held, SeatAnswer::Seated);
            self.post(listener.key, calls::delivery(FRONT, &event));
        }
    }

    fn log_in(&mut self, shard: usize, first: u8, login: &[u8], welcome: &[u8]) -> Client {
        let node = &mut self.nodes[shard];
        node.shard.begin_turn(NOW);
        node.shard.accepted(0, (), &mut node.lines);
        let conn = node.lines.opened.take().expect("a connection was accepted");
        let client = Client { shard, conn };
        self.say(client, UPGRADE);
        self.say(client, &masked(first, login));
        let welcomed = self.heard(client, |heard| heard.windows(welcome.len()).any(|at| at == welcome));
        assert!(welcomed, "the login was refused");
        client
    }

    fn settle(&mut self) {
        while let Some(node) = self.nodes.iter_mut().find(|node| node.has_work()) {
            node.turn(None);
        }
    }
}

const UPGRADE: &[u8] = b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

impl Node {
    fn has_work(&self) -> bool {
        !self.lines.taken.is_empty() || self.shard.has_mail()
    }

    /// As `shard::run` has it.
    fn turn(&mut self, received: Option<(ConnId, &[u8])>) {
        let Node { shard, lines, buffer } = self;
        shard.begin_turn(NOW);
        for _ in 0..lines.taken.len() {
            let (conn, bytes) = lines.taken.swap_remove(0);
            let taken = bytes.len();
            shard.sent(conn, bytes, Some(taken), lines);
        }
        if let Some((conn, bytes)) = received {
            buffer.clear();
            buffer.extend_from_slice(bytes);
            shard.received(conn, buffer);
            shard.after_received(conn, lines);
        }
        while shard.drain_inbox(lines) {}
        // Nobody sleeps.
        shard.flush(lines, |_, _| {});
    }
}

impl Net for Lines {
    type Socket = ();

    fn open(&mut self, (): (), conn: ConnId) {
        self.opened = Some(conn);
        let slots = self.sent.len().max(conn.slot as usize + 1);
        self.sent.resize(slots, Vec::new());
    }

    fn send(&mut self, conn: ConnId, bytes: Vec<u8>, offset: usize) -> Result<(), Vec<u8>> {
        self.sent[conn.slot as usize].extend_from_slice(&bytes[offset..]);
        self.taken.push((conn, bytes));
        Ok(())
    }

    fn close(&mut self, _: ConnId) {
        panic!("nobody gives a reason to be closed");
    }

    fn peer_address(&mut self, (): &()) -> Option<SocketAddr> {
        None
    }

    fn receive(&mut self, _: ConnId) {}
    fn receive_once(&mut self, _: ConnId) {}
    fn stop_receiving(&mut self, _: ConnId) {}
    fn shutdown_write(&mut self, _: ConnId) {}
    fn keep_alive(&mut self, _: ConnId, _: Duration) {}
    fn accept(&mut self, _: u16) {}
    fn stop_accepting(&mut self, _: u16) {}
}

/// What the engine makes at random is the same everywhere; nothing here needs ids that differ.
struct Same;

impl Entropy for Same {
    fn next_u128(&mut self) -> u128 {
        0
    }
}
