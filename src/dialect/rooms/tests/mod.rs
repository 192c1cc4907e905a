//! A world in memory around sessions: the real directory and registry, no sockets.

mod discovery;
mod faults;
mod register;
mod relay;
mod takeover;

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::*;
use crate::auth::{IdentitySources, Issuer, RemoteKeys, RoomsApiKey, TrustedKeys, TrustedRemote};
use crate::base::{Entropy, NodeId, Now, PeerKey, Redacted};
use crate::dialect::{
    Context, Conversation, Delivery, ERROR_LABELS, Kind, Opening, Progress, Speaks, Surroundings,
    Undeliverable, bounced,
};
use crate::hub::rooms::{RoomLimits, RoomRecord};
use crate::hub::{Directory, OnDuplicate, Route, Taken};
use crate::observe::{Event, ShardMetrics};
use crate::wire::websocket::CloseCode;

const NOW_SECONDS: u64 = 1_700_000_000;
const ROOM: &str = "abc123de";
const TOKEN: &str = "f7g8h9";

static ISSUER: LazyLock<Issuer> = LazyLock::new(|| Issuer::generate("sigmux").0);
static STRANGER: LazyLock<Issuer> = LazyLock::new(|| Issuer::generate("elsewhere").0);

struct World {
    settings: Settings,
    directory: Directory,
    sessions: Vec<Session>,
    peers: Vec<Peer>,
    now: Now,
    draining: bool,
    has_room: bool,
    /// What becomes of sends in place of a delivery.
    undeliverable: Option<Undeliverable>,
    /// Connections that a join has replaced, and that have not heard of it.
    evictions: Vec<usize>,
    /// What happens elsewhere between a peer's entry into the registry and its entry into the
    /// directory.
    interlude: Option<Interlude>,
    events: Vec<Event>,
    metrics: ShardMetrics,
}

type Interlude = Box<dyn FnOnce(&mut World)>;

struct Peer {
    speaks: Speaks,
    attends: bool,
    inbox: Vec<String>,
    closed: Option<(CloseCode, &'static str)>,
}

struct InWorld<'a> {
    world: &'a mut World,
    me: usize,
}

struct NoEntropy;

impl Entropy for NoEntropy {
    fn next_u128(&mut self) -> u128 {
        unreachable!("nothing in rooms is made at random")
    }
}

fn key(index: usize) -> PeerKey {
    PeerKey { node: NodeId::shard(index % 2), slot: index as u32, generation: 0 }
}

fn id_token(user: &str) -> String {
    ISSUER.mint_id_token(user, NOW_SECONDS, 3600)
}

fn trusted() -> Vec<TrustedKeys> {
    vec![TrustedKeys {
        keys: ISSUER.public_keys().clone(),
        issuer: Some("sigmux".to_owned()),
        audience: None,
    }]
}

fn api_key(name: &str, key: &str, rooms: &[&str]) -> RoomsApiKey {
    let rooms = rooms.iter().map(|&room| room.to_owned()).collect();
    RoomsApiKey { name: name.to_owned(), key: Redacted::new(key.to_owned()), rooms }
}

impl World {
    /// With one room, made by `creator`.
    fn new() -> World {
        World::with(|_| ())
    }

    fn with(change: impl FnOnce(&mut Settings)) -> World {
        let sources = IdentitySources {
            trusted: trusted(),
            remote: None,
            api_keys: vec![api_key("bound", "bound-key", &[ROOM]), api_key("free", "free-key", &[])],
        };
        let mut settings = Settings {
            rooms: Arc::new(Rooms::new(RoomLimits::default(), 1)),
            identities: Arc::new(Identities::new(sources)),
            require_id_token: true,
            report_undeliverable: false,
            app_ping: Duration::from_secs(30),
            metadata_bytes_max: 16_384,
            message_rate: 0,
            key_wait: Duration::from_secs(5),
        };
        change(&mut settings);
        let world = World {
            settings,
            directory: Directory::new(1),
            sessions: Vec::new(),
            peers: Vec::new(),
            now: Now { mono_us: 5_000_000, unix_ms: NOW_SECONDS * 1000 },
            draining: false,
            has_room: true,
            undeliverable: None,
            evictions: Vec::new(),
            interlude: None,
            events: Vec::new(),
            metrics: ShardMetrics::default(),
        };
        world.make_room(ROOM, TOKEN);
        world
    }

    fn make_room(&self, room_id: &str, token: &str) {
        let record = RoomRecord {
            room_id: room_id.to_owned(),
            token: Redacted::new(token.to_owned()),
            created_by: "creator".to_owned(),
            expires_at_unix_seconds: NOW_SECONDS + 7200,
        };
        self.settings.rooms.reserve(record).expect("room for a room").open();
    }

    fn open(&mut self) -> usize {
        self.sessions.push(Session::default());
        let peer = Peer { speaks: Speaks::Nothing, attends: false, inbox: Vec::new(), closed: None };
        self.peers.push(peer);
        let me = self.sessions.len() - 1;
        self.call(me, |session, settings, ctx| session.open(settings, &Opening::default(), ctx));
        me
    }

    /// Opens a connection that registers in the room.
    fn peer(&mut self, peer_id: &str) -> usize {
        let me = self.open();
        self.say(me, &register(peer_id));
        assert_eq!(self.one(me)["type"], "registered_auth");
        me
    }

    fn peer_with(&mut self, peer_id: &str, role: &str, metadata: Value) -> usize {
        let me = self.open();
        let message = with(&register(peer_id), json!({"role": role, "metadata": metadata}));
        self.say(me, &message);
        assert_eq!(self.one(me)["type"], "registered_auth");
        me
    }

    fn call<R>(&mut self, me: usize, call: impl FnOnce(&mut Session, &Settings, &mut dyn Context) -> R) -> R {
        let mut session = std::mem::take(&mut self.sessions[me]);
        let settings = self.settings.clone();
        let result = call(&mut session, &settings, &mut InWorld { world: self, me });
        self.sessions[me] = session;
        result
    }

    /// One text message, and what the shards do about joins that replaced an owner.
    fn say(&mut self, me: usize, text: &str) {
        assert_eq!(self.offer(me, text), Progress::Done);
        self.evict_replaced();
    }

    fn offer(&mut self, me: usize, text: &str) -> Progress {
        self.call(me, |session, settings, ctx| session.on_text(settings, text, ctx))
    }

    fn evict_replaced(&mut self) {
        for _ in 0..100 {
            let Some(me) = self.evictions.pop() else { return };
            self.call(me, |session, settings, ctx| session.evicted(settings, ctx));
            self.end_if_closed(me);
        }
        panic!("evictions go on for ever");
    }

    fn dismiss(&mut self, me: usize) {
        self.call(me, |session, settings, ctx| session.dismissed(settings, ctx));
        self.end_if_closed(me);
    }

    fn tick(&mut self, me: usize) {
        self.call(me, |session, settings, ctx| session.tick(settings, ctx));
    }

    fn end(&mut self, me: usize) {
        self.call(me, |session, settings, ctx| session.ended(settings, "connection_closed", ctx));
    }

    fn end_if_closed(&mut self, me: usize) {
        if self.peers[me].closed.is_some() {
            self.end(me);
        }
    }

    fn pass_us(&mut self, microseconds: u64) {
        self.now.mono_us += microseconds;
        self.now.unix_ms += microseconds / 1000;
    }

    /// Everything that has come since the last look, as it was sent.
    fn texts(&mut self, me: usize) -> Vec<String> {
        std::mem::take(&mut self.peers[me].inbox)
    }

    fn text(&mut self, me: usize) -> String {
        let mut texts = self.texts(me);
        assert_eq!(texts.len(), 1, "{texts:?}");
        texts.remove(0)
    }

    fn one(&mut self, me: usize) -> Value {
        serde_json::from_str(&self.text(me)).expect("the server sends JSON")
    }

    fn nothing(&mut self, me: usize) {
        assert_eq!(self.texts(me), Vec::<String>::new());
    }

    /// Code and message of the one error that has come.
    fn error(&mut self, me: usize) -> (String, String) {
        let error = self.one(me);
        assert_eq!(error["type"], "error", "{error}");
        let text = |name: &str| error[name].as_str().expect("a string").to_owned();
        (text("code"), text("message"))
    }

    fn code(&mut self, me: usize) -> String {
        self.error(me).0
    }

    /// Code and reason of the one refused register.
    fn refusal(&mut self, me: usize) -> (String, String) {
        let error = self.one(me);
        assert_eq!(error.as_object().expect("an object").len(), 4, "{error}");
        assert!(error["message"].is_string() && error["type"] == "error", "{error}");
        let text = |name: &str| error[name].as_str().expect("a string").to_owned();
        (text("code"), text("reason"))
    }

    fn errors_counted(&self, code: &str) -> u64 {
        let at = ERROR_LABELS.iter().position(|&label| label == ("rooms", code)).expect("a known code");
        self.metrics.errors[at].get()
    }

    fn owner(&self, peer_id: &str) -> Option<PeerKey> {
        self.directory.lookup(REALM, &format!("{ROOM}\0{peer_id}"))
    }

    fn event(&mut self) -> Event {
        self.events.remove(0)
    }
}

fn register(peer_id: &str) -> String {
    register_in(ROOM, TOKEN, peer_id)
}

fn register_in(room_id: &str, token: &str, peer_id: &str) -> String {
    let id_token = id_token(&format!("user-of-{peer_id}"));
    json!({
        "type": "register", "peer_id": peer_id, "room_id": room_id, "token": token, "id_token": id_token
    })
    .to_string()
}

/// The object with these members changed; null takes one away.
fn with(text: &str, change: Value) -> String {
    let mut object: Value = serde_json::from_str(text).expect("JSON");
    for (name, value) in change.as_object().expect("an object") {
        if value.is_null() {
            object.as_object_mut().expect("an object").remove(name);
        } else {
            object[name] = value.clone();
        }
    }
    object.to_string()
}

impl Context for InWorld<'_> {
    fn around(&mut self) -> &mut dyn Surroundings {
        self
    }

    fn reply(&mut self, kind: Kind, message: &[u8]) {
        assert_eq!(kind, Kind::Text);
        let peer = &mut self.world.peers[self.me];
        assert_eq!(peer.closed, None, "no reply after a close");
        peer.inbox.push(String::from_utf8(message.to_vec()).expect("texts are UTF-8"));
    }

    fn ping(&mut self) {
        unreachable!("the session pings");
    }

    fn close(&mut self, code: CloseCode, reason: &'static str) {
        let closed = &mut self.world.peers[self.me].closed;
        assert_eq!(*closed, None, "closed once");
        *closed = Some((code, reason));
    }

    fn may_go_on(&self) -> bool {
        self.world.has_room
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
        unreachable!("nothing in rooms is made at random")
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
        self.world.has_room
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
        assert_ne!(self.world.peers[self.me].speaks, Speaks::Nothing, "nothing may be lost");
        if let Some(interlude) = self.world.interlude.take() {
            interlude(self.world);
        }
        let joined = self.world.directory.join(realm, id, key(self.me), dialect, on_duplicate)?;
        self.world.evictions.extend(joined.replaced.map(|old| old.slot as usize));
        self.world.peers[self.me].attends = true;
        Ok(())
    }

    fn leave(&mut self, realm: RealmId, id: &str) {
        self.world.directory.leave(realm, id, key(self.me));
        self.world.peers[self.me].attends = false;
    }

    fn attend(&mut self) {
        unreachable!("rooms are in the directory");
    }

    fn retire(&mut self) {
        unreachable!("rooms are in the directory");
    }

    fn ids(&self, _: RealmId) -> std::sync::Arc<[Box<str>]> {
        unreachable!("rooms are closed")
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
        let peer = &mut self.world.peers[target];
        if !peer.attends {
            return Err(Undeliverable::NotConnected);
        }
        let plan = delivery.plan(peer.speaks, self.world.now, &mut NoEntropy)?;
        let mut message = Vec::new();
        delivery.write(&plan, &mut message);
        assert_eq!(message.len(), plan.len());
        // Across shards it is the same message.
        let owned = delivery.to_owned();
        let mut again = Vec::new();
        let plan = owned.borrow().plan(peer.speaks, self.world.now, &mut NoEntropy)?;
        owned.borrow().write(&plan, &mut again);
        assert_eq!((&message, owned.borrow().reference()), (&again, delivery.reference()));
        peer.inbox.push(String::from_utf8(message).expect("texts are UTF-8"));
        self.count_sent(delivery.label());
        Ok(())
    }
}
