//! A world in memory around sessions: the real directory, no sockets.

mod crossings;
mod hostile;
mod sessions;
mod tokens;

use serde_json::Value;

use super::*;
use crate::base::{Entropy, NodeId, Now, PeerKey, Redacted};
use crate::dialect::{
    Context, Conversation, Delivery, Kind, Progress, Speaks, Surroundings, Undeliverable, bounced,
};
use crate::hub::{Directory, OnDuplicate, Route, Taken};
use crate::observe::{Event, ShardMetrics};
use crate::wire::websocket::CloseCode;

const REALM: RealmId = RealmId(7);
const OTHER_DIALECT: DialectId = Dialect::Binary.id();

/// What [`World::new`] has as its time.
const TIME: &str = "2025-11-27T12:00:00.000Z";

struct World {
    settings: Settings,
    directory: Directory,
    sessions: Vec<Session>,
    peers: Vec<Peer>,
    now: Now,
    random: u128,
    draining: bool,
    /// What becomes of sends in place of a delivery.
    undeliverable: Option<Undeliverable>,
    events: Vec<Event>,
    metrics: ShardMetrics,
}

struct Peer {
    speaks: Speaks,
    /// Takes deliveries, as a shard sees it.
    attends: bool,
    inbox: Vec<String>,
    closed: Option<(CloseCode, &'static str)>,
}

struct InWorld<'a> {
    world: &'a mut World,
    me: usize,
}

struct Dice(u128);

impl Entropy for Dice {
    fn next_u128(&mut self) -> u128 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        self.0
    }
}

fn key(index: usize) -> PeerKey {
    PeerKey { node: NodeId::shard(0), slot: index as u32, generation: 0 }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("not JSON: {text}"))
}

fn error(message: &str) -> String {
    format!("{{\"type\":\"error\",\"message\":{}}}", Value::from(message))
}

fn error_with(message: &str, details: &str) -> String {
    format!(
        "{{\"type\":\"error\",\"message\":{},\"details\":{}}}",
        Value::from(message),
        Value::from(details)
    )
}

impl World {
    fn new() -> World {
        World::with(|_| ())
    }

    fn with(change: impl FnOnce(&mut Settings)) -> World {
        let mut settings = Settings::new(REALM);
        change(&mut settings);
        World {
            settings,
            directory: Directory::new(1),
            sessions: Vec::new(),
            peers: Vec::new(),
            now: Now { mono_us: 5_000_000, unix_ms: 1_764_244_800_000 },
            random: 0x1234_5678_9abc_def0_1111_2222_3333_4444,
            draining: false,
            undeliverable: None,
            events: Vec::new(),
            metrics: ShardMetrics::default(),
        }
    }

    fn open(&mut self) -> usize {
        self.open_with(None)
    }

    fn open_with(&mut self, token: Option<&str>) -> usize {
        self.sessions.push(Session::default());
        let (speaks, inbox) = (Speaks::Nothing, Vec::new());
        self.peers.push(Peer { speaks, attends: false, inbox, closed: None });
        let me = self.sessions.len() - 1;
        let token = token.map(|token| Redacted::new(token.to_owned()));
        let opening = Opening { token, at_ws: false };
        self.with_session(me, |session, settings, ctx| session.open(settings, &opening, ctx));
        me
    }

    /// Opens a connection that registers.
    fn client(&mut self, id: &str) -> usize {
        self.client_with(None, id)
    }

    fn client_with(&mut self, token: Option<&str>, id: &str) -> usize {
        let me = self.open_with(token);
        let answer = self.ask(me, &register(id));
        assert_eq!(json(&answer)["type"], "registered", "{answer}");
        self.events.clear();
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
        result
    }

    fn say(&mut self, me: usize, text: &str) {
        let progress = self.with_session(me, |session, settings, ctx| session.on_text(settings, text, ctx));
        assert_eq!(progress, Progress::Done);
    }

    /// What the message is answered with.
    fn ask(&mut self, me: usize, text: &str) -> String {
        self.say(me, text);
        self.one(me)
    }

    fn end(&mut self, me: usize, cause: &str) {
        self.with_session(me, |session, settings, ctx| session.ended(settings, cause, ctx));
    }

    fn evict(&mut self, me: usize) {
        self.with_session(me, |session, settings, ctx| session.evicted(settings, ctx));
    }

    fn one(&mut self, me: usize) -> String {
        let mut all = std::mem::take(&mut self.peers[me].inbox);
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    fn nothing(&self, me: usize) {
        assert_eq!(self.peers[me].inbox, [""; 0]);
    }

    fn owner(&self, id: &str) -> Option<usize> {
        self.directory.lookup(REALM, id).map(|key| key.slot as usize)
    }

    /// Type, client id, and the detail of this name.
    fn event(&mut self, detail: &str) -> (&'static str, String, String) {
        let event = self.events.remove(0);
        assert!(event.details.contains(&("dialect", "devices".into())), "{event:?}");
        let found = event.details.iter().find(|(name, _)| *name == detail);
        let found = found.map_or(String::new(), |(_, value)| match value {
            crate::observe::Detail::Text(text) => text.clone(),
            crate::observe::Detail::Number(number) => number.to_string(),
        });
        (event.event_type, event.client_id, found)
    }
}

fn register(id: &str) -> String {
    format!("{{\"type\":\"register\",\"id\":{}}}", Value::from(id))
}

impl Context for InWorld<'_> {
    fn around(&mut self) -> &mut dyn Surroundings {
        self
    }

    fn reply(&mut self, kind: Kind, message: &[u8]) {
        assert_eq!(kind, Kind::Text);
        assert_eq!(self.world.peers[self.me].closed, None, "no reply after a close");
        self.world.peers[self.me].inbox.push(String::from_utf8(message.to_vec()).unwrap());
    }

    fn ping(&mut self) {
        unreachable!("pings are the session's");
    }

    fn close(&mut self, code: CloseCode, reason: &'static str) {
        let closed = &mut self.world.peers[self.me].closed;
        assert_eq!(*closed, None, "closed once");
        *closed = Some((code, reason));
    }

    fn may_go_on(&self) -> bool {
        true
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
        let mut dice = Dice(self.world.random);
        self.world.random = dice.next_u128();
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
        true
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
        assert_ne!(self.world.peers[self.me].speaks, Speaks::Nothing, "a delivery could come now");
        self.world.directory.join(realm, id, key(self.me), dialect, on_duplicate)?;
        self.attend();
        Ok(())
    }

    fn leave(&mut self, realm: RealmId, id: &str) {
        self.world.directory.leave(realm, id, key(self.me));
        self.retire();
    }

    fn attend(&mut self) {
        self.world.peers[self.me].attends = true;
    }

    fn retire(&mut self) {
        self.world.peers[self.me].attends = false;
    }

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
        if !self.world.peers[target].attends {
            return Err(Undeliverable::NotConnected);
        }
        let speaks = self.world.peers[target].speaks;
        let plan = delivery.plan(speaks, self.world.now, &mut Dice(1))?;
        let mut message = Vec::new();
        delivery.write(&plan, &mut message);
        assert_eq!(message.len(), plan.len());
        // Across shards it is the same message.
        let owned = delivery.to_owned();
        assert!(owned.heap_bytes() > 0 && owned.borrow().reference() == delivery.reference());
        let mut again = Vec::new();
        owned.borrow().write(&owned.borrow().plan(speaks, self.world.now, &mut Dice(1))?, &mut again);
        assert_eq!(message, again);
        self.world.peers[target].inbox.push(String::from_utf8(message).unwrap());
        self.count_sent(delivery.label());
        Ok(())
    }
}
