//! A world in memory around sessions: the real directory, no sockets.

mod mutation;
mod sessions;
mod signals;

use std::sync::Arc;

use serde_json::Value;

use super::*;
use crate::auth::{ApiKey, Authenticator, Credentials};
use crate::base::{Entropy, NodeId, Now, PeerKey};
use crate::dialect::{Context, Delivery, Kind, Speaks, Surroundings, Undeliverable};
use crate::hub::{DialectId, Directory, OnDuplicate, Route, Taken};
use crate::observe::{Event, ShardMetrics};
use crate::wire::frame;
use crate::wire::websocket::CloseCode;

const CONNECT: u8 = 0x01;
const CONNECT_ACK: u8 = 0x02;
const DISCONNECT: u8 = 0x03;
const HEARTBEAT: u8 = 0x04;
const HEARTBEAT_ACK: u8 = 0x05;
const OFFER: u8 = 0x10;
const ANSWER: u8 = 0x11;
const CANDIDATE: u8 = 0x12;
const ERROR: u8 = 0xFF;

const BINARY: u8 = 0x01;
const JSON: u8 = 0x02;
const TEXT: u8 = 0x03;
const CBOR: u8 = 0x05;

const NIL: [u8; 16] = [0; 16];

/// The forms in which a client can log in: payload type and whether tagged.
const FORMS: [(u8, bool); 6] =
    [(BINARY, false), (JSON, false), (JSON, true), (TEXT, false), (CBOR, false), (CBOR, true)];

struct World {
    settings: Settings,
    directory: Directory,
    sessions: Vec<Session>,
    peers: Vec<Peer>,
    now: Now,
    random: u128,
    draining: bool,
    /// Frames that a connection may send before it is held back.
    allowance: Option<usize>,
    /// What becomes of sends in place of a delivery.
    undeliverable: Option<Undeliverable>,
    events: Vec<Event>,
    metrics: ShardMetrics,
}

struct Peer {
    speaks: Speaks,
    inbox: Vec<Vec<u8>>,
    closed: Option<(CloseCode, &'static str)>,
}

/// A frame that a client has received.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Got {
    message_type: u8,
    uuid: [u8; 16],
    payload_type: u8,
    payload: Vec<u8>,
}

struct InWorld<'a> {
    world: &'a mut World,
    me: usize,
}

fn key(index: usize) -> PeerKey {
    PeerKey { node: NodeId::shard(0), slot: index as u32, generation: 0 }
}

/// A uuid that tells the frames of a test apart.
fn uuid(number: u8) -> [u8; 16] {
    [number; 16]
}

fn frame(message_type: u8, number: u8, payload_type: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    let payload = payload.as_ref();
    frame::write_header(&mut out, message_type, &uuid(number), payload_type, payload.len()).unwrap();
    out.extend_from_slice(payload);
    out
}

fn cbor_map(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut encoder = minicbor::Encoder::new(Vec::new());
    encoder.map(entries.len() as u64).unwrap();
    for (key, value) in entries {
        encoder.str(key).unwrap().str(value).unwrap();
    }
    encoder.into_writer()
}

fn tagged_cbor(tag: &str, object: &[u8]) -> Vec<u8> {
    let mut encoder = minicbor::Encoder::new(Vec::new());
    encoder.map(1).unwrap().str(tag).unwrap();
    [encoder.into_writer(), object.to_vec()].concat()
}

fn with_length_byte(text: &str) -> Vec<u8> {
    [&[text.len() as u8], text.as_bytes()].concat()
}

/// An object of strings, in one of the forms with named fields.
fn object(form: (u8, bool), tag: &str, entries: &[(&str, &str)]) -> Vec<u8> {
    let flat: Value = entries.iter().map(|&(key, value)| (key.to_owned(), Value::from(value))).collect();
    match form {
        (JSON, false) => flat.to_string().into_bytes(),
        (JSON, true) => serde_json::json!({ tag: flat }).to_string().into_bytes(),
        (_, false) => cbor_map(entries),
        (_, true) => tagged_cbor(tag, &cbor_map(entries)),
    }
}

fn connect_payload(form: (u8, bool), client_id: &str, token: &str) -> Vec<u8> {
    match form {
        (BINARY, _) => [with_length_byte(client_id), with_length_byte(token)].concat(),
        (TEXT, _) => format!("{client_id}:{token}").into_bytes(),
        _ => object(form, "Connect", &[("client_id", client_id), ("auth_token", token)]),
    }
}

fn signal_payload(form: (u8, bool), tag: &str, target: &str, data: &str) -> Vec<u8> {
    match form {
        (BINARY, _) => {
            let data_bytes = (data.len() as u16).to_be_bytes();
            [&with_length_byte(target), &data_bytes[..], data.as_bytes()].concat()
        }
        (TEXT, _) => format!("{target}:{data}").into_bytes(),
        _ => object(form, tag, &[("target_client_id", target), ("signal_data", data)]),
    }
}

impl Got {
    /// The fields of JSON and CBOR, without a tag.
    fn fields(&self, form: (u8, bool), tag: &str) -> Value {
        assert_eq!(self.payload_type, form.0);
        let mut json = Vec::new();
        if self.payload_type == CBOR {
            crate::wire::cbor::write_json(&self.payload, &mut json).unwrap();
        } else {
            json.clone_from(&self.payload);
        }
        let mut value: Value = serde_json::from_slice(&json).unwrap();
        if form.1 {
            assert_eq!(value.as_object().unwrap().len(), 1, "{value}");
            value = value[tag].take();
        }
        value
    }

    /// Code and message of an ERROR in this form.
    fn error(&self, form: (u8, bool)) -> (u64, String) {
        assert_eq!((self.message_type, self.payload_type), (ERROR, form.0), "{self:?}");
        match form.0 {
            BINARY => {
                let (code, message) = (self.payload[0], self.payload[2..].to_vec());
                assert_eq!(usize::from(self.payload[1]), message.len());
                (code.into(), String::from_utf8(message).unwrap())
            }
            TEXT => {
                let text = String::from_utf8(self.payload.clone()).unwrap();
                let (code, message) = text.split_once(':').unwrap();
                (code.parse().unwrap(), message.to_owned())
            }
            _ => {
                let fields = self.fields(form, "Error");
                assert_eq!(fields.as_object().unwrap().len(), 2);
                let message = fields["error_message"].as_str().unwrap();
                (fields["error_code"].as_u64().unwrap(), message.to_owned())
            }
        }
    }

    fn flat_error(&self) -> u64 {
        self.error((JSON, false)).0
    }
}

/// The code as this form says it.
fn code_in(form: (u8, bool), number: u64) -> u64 {
    let byte = match number {
        401 => 1,
        400 => 2,
        404 => 4,
        500 => 5,
        409 => 6,
        429 => 7,
        503 => 8,
        _ => unreachable!("not a code of the protocol"),
    };
    if form.0 == BINARY || form.1 { byte } else { number }
}

impl World {
    /// Everyone may log in.
    fn new() -> World {
        World::with(|_| ())
    }

    fn with(change: impl FnOnce(&mut Settings)) -> World {
        let mut settings = Settings {
            realm: RealmId(7),
            stamp_sender: true,
            on_duplicate: OnDuplicate::Replace,
            auth: Arc::new(Authenticator::new(&Credentials::None)),
            message_rate: 0,
        };
        change(&mut settings);
        World {
            settings,
            directory: Directory::new(1),
            sessions: Vec::new(),
            peers: Vec::new(),
            now: Now { mono_us: 5_000_000, unix_ms: 1_700_000_000_123 },
            random: 0x1234_5678_9abc_def0_1111_2222_3333_4444,
            draining: false,
            allowance: None,
            undeliverable: None,
            events: Vec::new(),
            metrics: ShardMetrics::default(),
        }
    }

    /// Only `agent` with `secret` may log in.
    fn guarded() -> World {
        let keys = vec![ApiKey::parse("agent:secret").unwrap()];
        World::with(|settings| settings.auth = Arc::new(Authenticator::new(&Credentials::Token(keys))))
    }

    fn open(&mut self) -> usize {
        self.sessions.push(Session::new());
        self.peers.push(Peer { speaks: Speaks::Nothing, inbox: Vec::new(), closed: None });
        self.sessions.len() - 1
    }

    /// Opens a connection that logs in with this form.
    fn client(&mut self, form: (u8, bool), client_id: &str) -> usize {
        let me = self.open();
        self.say(me, &frame(CONNECT, 200, form.0, connect_payload(form, client_id, "any")));
        assert_eq!(self.one(me).message_type, CONNECT_ACK);
        me
    }

    fn with_session<R>(
        &mut self,
        me: usize,
        call: impl FnOnce(&mut Session, &Settings, &mut dyn Context) -> R,
    ) -> R {
        let mut session = std::mem::take(&mut self.sessions[me]);
        let settings = self.settings.clone();
        let result = call(&mut session, &settings, &mut InWorld { world: self, me });
        self.sessions[me] = session;
        self.evict_replaced();
        result
    }

    /// What the shards do about joins that replaced an owner.
    fn evict_replaced(&mut self) {
        for other in 0..self.sessions.len() {
            let owner = self.sessions[other].client_id().map(|id| self.directory.lookup(RealmId(7), id));
            if owner.is_some_and(|owner| owner != Some(key(other))) {
                let mut session = std::mem::take(&mut self.sessions[other]);
                let settings = self.settings.clone();
                session.evicted(&settings, &mut InWorld { world: self, me: other });
                self.sessions[other] = session;
            }
        }
    }

    /// One WebSocket binary message, to its end.
    fn say(&mut self, me: usize, message: &[u8]) {
        let consumed = self.offer(me, message);
        assert_eq!(consumed, message.len());
    }

    fn offer(&mut self, me: usize, message: &[u8]) -> usize {
        self.with_session(me, |session, settings, ctx| session.on_message(settings, message, ctx))
    }

    fn stream(&mut self, me: usize, bytes: &[u8]) -> StreamProgress {
        self.with_session(me, |session, settings, ctx| session.on_stream(settings, bytes, ctx))
    }

    /// Everything that has come since the last look.
    fn all(&mut self, me: usize) -> Vec<Got> {
        let inbox = std::mem::take(&mut self.peers[me].inbox);
        let parse = |message: Vec<u8>| {
            let frame = frame::complete(&message).expect("the server sends whole frames");
            assert_eq!(frame.frame_bytes(), message.len(), "one frame a message");
            Got {
                message_type: frame.message_type,
                uuid: *frame.uuid,
                payload_type: frame.payload_type,
                payload: frame.payload.to_vec(),
            }
        };
        inbox.into_iter().map(parse).collect()
    }

    fn one(&mut self, me: usize) -> Got {
        let mut all = self.all(me);
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    fn nothing(&mut self, me: usize) {
        assert_eq!(self.all(me), []);
    }

    fn event(&mut self) -> Event {
        self.events.remove(0)
    }
}

/// For what `binary` never asks for.
struct Dice;

impl Entropy for Dice {
    fn next_u128(&mut self) -> u128 {
        panic!("a signal that stays in its dialect needs nothing new");
    }
}

impl Context for InWorld<'_> {
    fn around(&mut self) -> &mut dyn Surroundings {
        self
    }

    fn reply(&mut self, kind: Kind, message: &[u8]) {
        assert_eq!(kind, Kind::Binary);
        assert_eq!(self.world.peers[self.me].closed, None, "no reply after a close");
        self.world.peers[self.me].inbox.push(message.to_vec());
    }

    fn ping(&mut self) {
        panic!("this dialect leaves pings to the session");
    }

    fn close(&mut self, code: CloseCode, reason: &'static str) {
        let closed = &mut self.world.peers[self.me].closed;
        assert_eq!(*closed, None, "closed once");
        *closed = Some((code, reason));
    }

    fn may_go_on(&self) -> bool {
        self.has_room()
    }
}

impl Surroundings for InWorld<'_> {
    fn now(&self) -> Now {
        self.world.now
    }

    fn me(&self) -> PeerKey {
        key(self.me)
    }

    fn random_u128(&mut self) -> u128 {
        self.world.random = self.world.random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        self.world.random
    }

    fn draining(&self) -> bool {
        self.world.draining
    }

    fn metrics(&self) -> &ShardMetrics {
        &self.world.metrics
    }

    fn publish(&mut self, event: Event) {
        self.world.events.push(event);
    }

    fn has_room(&self) -> bool {
        self.world.allowance.is_none_or(|allowance| self.world.peers[self.me].inbox.len() < allowance)
    }

    fn set_speaks(&mut self, speaks: Speaks) {
        self.world.peers[self.me].speaks = speaks;
    }

    fn join(
        &mut self,
        realm: RealmId,
        id: &str,
        dialect: DialectId,
        on_duplicate: OnDuplicate,
    ) -> Result<(), Taken> {
        self.world.directory.join(realm, id, key(self.me), dialect, on_duplicate).map(|_| ())
    }

    fn leave(&mut self, realm: RealmId, id: &str) {
        self.world.directory.leave(realm, id, key(self.me));
    }

    fn attend(&mut self) {}

    fn retire(&mut self) {}

    fn ids(&self, realm: RealmId) -> Arc<[Box<str>]> {
        self.world.directory.ids(realm)
    }

    fn send(
        &mut self,
        realm: RealmId,
        to: &str,
        route: &mut Option<Box<Route>>,
        delivery: &Delivery<'_>,
    ) -> Result<(), Undeliverable> {
        assert_eq!(delivery.from, key(self.me));
        if let Some(cause) = self.world.undeliverable {
            return Err(cause);
        }
        let found = self.world.directory.resolve(realm, to, route);
        let target = found.ok_or(Undeliverable::NotConnected)?.slot as usize;
        let speaks = self.world.peers[target].speaks;
        let now = self.world.now;
        let plan = delivery.plan(speaks, now, &mut Dice)?;
        let mut message = vec![0xEE];
        delivery.write(&plan, &mut message);
        assert_eq!(message.len() - 1, plan.len());
        // Across shards it is the same message.
        let owned = delivery.to_owned();
        assert!(owned.heap_bytes() > 0 && owned.borrow().reference() == delivery.reference());
        let mut again = vec![0xEE];
        owned.borrow().write(&owned.borrow().plan(speaks, now, &mut Dice)?, &mut again);
        assert_eq!(message, again);
        self.world.peers[target].inbox.push(message.split_off(1));
        self.count_sent(delivery.label());
        Ok(())
    }
}
