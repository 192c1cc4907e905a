//! Requests straight to the routes: no sockets, and a store that can be told to fail.

use std::collections::{BTreeMap, VecDeque};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::sync::{Notify, oneshot};

use super::*;
use crate::auth::{IdentitySources, Proof, PublicKeys, RemoteKeys, TrustedKeys, TrustedRemote};
use crate::base::{NodeId, Now, PeerKey};
use crate::dialect::MESSAGE_LABELS;
use crate::front::outbound::Outgoing;
use crate::hub::rooms::{Metadata, Newcomer, RoomLimits, RoomRecord, StoreError};

const NOW_SECONDS: u64 = 1_700_000_000;

static ISSUER: LazyLock<Arc<Issuer>> = LazyLock::new(|| Arc::new(Issuer::generate("sigmux").0));

#[derive(Default)]
struct Store {
    records: Mutex<BTreeMap<String, RoomRecord>>,
    fails: AtomicBool,
    deleted: Notify,
}

impl Store {
    fn check(&self) -> Result<(), StoreError> {
        let unavailable =
            || StoreError::Unavailable { place: "of the test".to_owned(), cause: "told to fail".into() };
        if self.fails.load(Ordering::Relaxed) { Err(unavailable()) } else { Ok(()) }
    }

    fn has(&self, room_id: &str) -> bool {
        self.records.lock().contains_key(room_id)
    }
}

impl RoomStore for Store {
    fn load(&self) -> Result<Vec<RoomRecord>, StoreError> {
        self.check().map(|()| self.records.lock().values().cloned().collect())
    }

    fn put(&self, record: &RoomRecord) -> Result<(), StoreError> {
        self.check()?;
        self.records.lock().insert(record.room_id.clone(), record.clone());
        Ok(())
    }

    fn delete(&self, room_ids: &[String]) -> Result<(), StoreError> {
        self.check()?;
        self.records.lock().retain(|room_id, _| !room_ids.contains(room_id));
        self.deleted.notify_one();
        Ok(())
    }
}

struct Site {
    api: RoomsApi,
    store: Arc<Store>,
    now: Arc<Mutex<Now>>,
    routes: TowerToHyperService<Router>,
}

struct Answer {
    status: u16,
    headers: axum::http::HeaderMap,
    body: Value,
}

impl Site {
    fn new() -> Site {
        Site::with(|_, _| ())
    }

    fn with(change: impl FnOnce(&mut Parts, &mut Terms)) -> Site {
        let trusted = TrustedKeys {
            keys: ISSUER.public_keys().clone(),
            issuer: Some("sigmux".to_owned()),
            audience: None,
        };
        let sources = IdentitySources { trusted: vec![trusted], ..IdentitySources::default() };
        let now = Now { mono_us: 1_000_000, unix_ms: NOW_SECONDS * 1000 };
        let (store, now) = (Arc::new(Store::default()), Arc::new(Mutex::new(now)));
        let random = Mutex::new(1_u128);
        let mut parts = Parts {
            rooms: Arc::new(Rooms::new(RoomLimits::default(), 1)),
            store: store.clone(),
            issuer: ISSUER.clone(),
            key_wait: Duration::from_secs(5),
            doorkeeper: Doorkeeper::of_nobody(Arc::new(Now::default)),
            clock: Arc::new({
                let now = now.clone();
                move || *now.lock()
            }),
            random: Arc::new(move || {
                let mut random = random.lock();
                *random = random.wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645).wrapping_add(0x5851);
                *random
            }),
            post: Post::default(),
            shards: Arc::new([Arc::default(), Arc::default()]),
            events: Arc::new(EventQueue::new(100)),
        };
        let mut terms = Terms {
            identities: Arc::new(Identities::new(sources)),
            id_token_seconds: 3600,
            ttl_seconds: 7200,
            open_delete: false,
            signins_per_second: 0,
        };
        change(&mut parts, &mut terms);
        let api = RoomsApi::new(parts, terms);
        let routes = TowerToHyperService::new(router(&api));
        Site { api, store, now, routes }
    }

    fn parts(&self) -> &Parts {
        &self.api.0.parts
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let Ok(response) = self.routes.call(request).await;
        let (head, body) = response.into_parts();
        let body = to_bytes(body, 1 << 20).await.expect("a whole body");
        let allowed = head.headers.get("access-control-allow-origin").map(|value| value.as_bytes());
        assert_eq!(allowed, Some(&b"*"[..]), "on every answer");
        let body = if body.is_empty() {
            Value::Null
        } else {
            assert_eq!(head.headers["content-type"], "application/json");
            serde_json::from_slice(&body).expect("JSON")
        };
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }

    async fn ask(&self, method: &str, path: &str) -> Answer {
        self.send(request(method, path, None, "")).await
    }

    async fn post(&self, path: &str, token: &str, body: Value) -> Answer {
        self.send(request("POST", path, Some(token), &body.to_string())).await
    }

    /// Signs in and makes a room: the id token, and the room's id.
    async fn room_of(&self, user: &str) -> (String, String) {
        let token = format!("Bearer {}", ISSUER.mint_id_token(user, NOW_SECONDS, 36_000));
        let created = self.post("/create-room", &token, json!({})).await;
        assert_eq!(created.status, 200, "{}", created.body);
        (token, created.body["room_id"].as_str().expect("an id").to_owned())
    }

    fn enter(&self, room_id: &str, peer_id: &str, slot: u32, subject: &str) -> PeerKey {
        let key = PeerKey { node: NodeId::shard(0), slot, generation: 0 };
        let newcomer = Newcomer {
            key,
            role: "worker".to_owned(),
            metadata: Metadata::default(),
            connected_at_unix_seconds: NOW_SECONDS,
            subject: Some(subject.to_owned()),
        };
        self.parts().rooms.enter(room_id, peer_id, newcomer, NOW_SECONDS).expect("the room is open");
        key
    }

    fn dismissed(&self) -> Vec<PeerKey> {
        let mut taken = VecDeque::new();
        self.parts().post.0.take_all(&mut taken);
        let dismissed = |(key, outgoing)| {
            assert!(matches!(outgoing, Outgoing::Dismiss));
            key
        };
        taken.into_iter().map(dismissed).collect()
    }

    fn events(&self) -> Vec<(&'static str, String)> {
        let events = &self.parts().events;
        std::iter::from_fn(|| events.take()).map(|event| (event.event_type, event.client_id)).collect()
    }
}

fn request(method: &str, path: &str, token: Option<&str>, body: &str) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header("Authorization", token);
    }
    request.body(Body::from(body.to_owned())).expect("a request")
}

fn is_word(text: &Value, characters: usize) -> bool {
    let text = text.as_str().expect("a string");
    text.len() == characters && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

#[tokio::test]
async fn an_anonymous_user_signs_in_and_makes_a_room() {
    let site = Site::new();
    let signed_in = site.send(request("POST", "/anonymous-signin", None, "{}")).await;
    assert_eq!((signed_in.status, signed_in.body.as_object().map(|o| o.len())), (200, Some(2)));
    assert_eq!(signed_in.headers["cache-control"], "no-store");
    let username = signed_in.body["username"].as_str().expect("a name");
    assert_eq!(uuid::Uuid::parse_str(username).expect("a uuid").get_version_num(), 4);
    let id_token = signed_in.body["id_token"].as_str().expect("a token");
    let identity = site.api.0.terms.get().identities.verify(Proof::IdToken(id_token), NOW_SECONDS + 3599);
    assert_eq!(identity.expect("it is our own").subject, username);

    for authorization in [format!("Bearer {id_token}"), id_token.to_owned(), format!("bearer {id_token}")] {
        let created = site.send(request("POST", "/create-room", Some(&authorization), "")).await;
        assert_eq!((created.status, created.body.as_object().map(|o| o.len())), (200, Some(2)));
        assert!(is_word(&created.body["room_id"], 8) && is_word(&created.body["token"], 6));
        let room_id = created.body["room_id"].as_str().expect("an id");
        let record = site.parts().rooms.record(room_id).expect("it is open");
        assert_eq!(
            (record.created_by.as_str(), record.expires_at_unix_seconds),
            (username, NOW_SECONDS + 7200)
        );
        assert!(record.token_is(created.body["token"].as_str().expect("a token")));
        assert_eq!(site.store.records.lock()[room_id], record);
    }
    let events = site.events();
    assert_eq!(events[0], ("anonymous_sign_in", username.to_owned()));
    assert_eq!(events[1..], vec![("room_created", username.to_owned()); 3]);
}

#[tokio::test]
async fn a_missing_header_and_a_bad_token_are_told_apart() {
    let site = Site::new();
    let missing = site.send(request("POST", "/create-room", None, "")).await;
    assert_eq!(missing.status, 422);
    assert!(missing.body["detail"].is_string());
    let stranger = Issuer::generate("sigmux").0.mint_id_token("user", NOW_SECONDS, 60);
    let outdated = ISSUER.mint_id_token("user", NOW_SECONDS - 60, 60);
    for token in ["", "Bearer ", "Bearer x", "x.y.z", &stranger, &outdated, "\u{e9}"] {
        let refused = site.send(request("POST", "/create-room", Some(token), "")).await;
        assert_eq!(refused.status, 401, "{token}");
        assert_eq!(refused.body, json!({"detail": "Token verification failed"}));
    }
    assert!(site.store.records.lock().is_empty());
}

#[tokio::test]
async fn a_room_that_is_not_safe_is_not_told_of() {
    let site = Site::new();
    site.store.fails.store(true, Ordering::Relaxed);
    let token = ISSUER.mint_id_token("user", NOW_SECONDS, 60);
    let failed = site.post("/create-room", &token, json!({})).await;
    assert_eq!(failed.status, 503);
    assert!(failed.body["detail"].is_string());
    assert_eq!(site.parts().rooms.counts().active_rooms, 0);
    // Its place is free again.
    site.parts().rooms.set_limits(RoomLimits { rooms_max: 1, ..RoomLimits::default() });
    site.store.fails.store(false, Ordering::Relaxed);
    assert_eq!(site.post("/create-room", &token, json!({})).await.status, 200);
    let full = site.post("/create-room", &token, json!({})).await;
    assert_eq!((full.status, full.body), (503, json!({"detail": "There are too many rooms"})));
}

#[tokio::test]
async fn deleting_a_peer_by_a_member_removes_it_alone() {
    let site = Site::new();
    let (creator, room_id) = site.room_of("creator").await;
    let a = site.enter(&room_id, "a", 1, "user-a");
    site.enter(&room_id, "b", 2, "user-b");
    let member = ISSUER.mint_id_token("user-b", NOW_SECONDS, 60);
    let deleted = site.post("/delete-peer", &member, json!({"peer_id": "a"})).await;
    assert_eq!((deleted.status, deleted.body), (200, json!({"status": "peer deleted successfully"})));
    assert_eq!(site.dismissed(), [a]);
    assert_eq!(site.parts().rooms.lookup(&room_id, "a"), None);
    assert!(site.parts().rooms.lookup(&room_id, "b").is_some() && site.store.has(&room_id));

    let again = site.post("/delete-peer", &creator, json!({"peer_id": "a"})).await;
    assert_eq!((again.status, again.body), (200, json!({"status": "peer not found"})));
    let within = json!({"peer_id": "a", "room_id": room_id});
    assert_eq!(site.post("/delete-peer", &creator, within).await.body, json!({"status": "peer not found"}));
    let elsewhere = json!({"peer_id": "b", "room_id": "nowhere1"});
    assert_eq!(
        site.post("/delete-peer", &creator, elsewhere).await.body,
        json!({"status": "room not found"})
    );
    assert_eq!(site.dismissed(), []);
}

#[tokio::test]
async fn deleting_a_room_removes_it_with_all_its_peers() {
    let site = Site::new();
    let mut rooms = Vec::new();
    for n in 0..3 {
        let (creator, room_id) = site.room_of("creator").await;
        let keys =
            [site.enter(&room_id, &format!("a{n}"), n, "x"), site.enter(&room_id, "same", 10 + n, "y")];
        rooms.push((creator, room_id, keys));
    }
    site.events();
    for (n, by_room) in [(0, true), (1, false)] {
        let (creator, room_id, keys) = &rooms[n];
        let target = if by_room { json!({"room_id": room_id}) } else { json!({"peer_id": format!("a{n}")}) };
        let deleted = site.post("/delete-peers-and-room", creator, target.clone()).await;
        assert_eq!((deleted.status, deleted.body), (200, json!({"status": "peer deleted successfully"})));
        assert_eq!(site.dismissed(), keys);
        assert!(site.parts().rooms.record(room_id).is_none() && !site.store.has(room_id));
        assert_eq!(site.events(), [("room_deleted", "creator".to_owned())]);
        let again = site.post("/delete-peers-and-room", creator, target).await;
        let status = if by_room { "room not found" } else { "peer not found" };
        assert_eq!((again.status, again.body), (200, json!({"status": status})));
    }
    assert!(site.store.has(&rooms[2].1));
}

#[tokio::test]
async fn only_who_belongs_to_a_room_deletes_in_it() {
    let site = Site::new();
    let (creator, room_id) = site.room_of("creator").await;
    site.enter(&room_id, "a", 1, "user-a");
    let other = ISSUER.mint_id_token("somebody", NOW_SECONDS, 60);
    for path in ["/delete-peer", "/delete-peers-and-room"] {
        for token in [Some(other.as_str()), Some("x"), None] {
            for body in [json!({"peer_id": "a"}), json!({"peer_id": "a", "room_id": room_id})] {
                let refused = site.send(request("POST", path, token, &body.to_string())).await;
                assert_eq!(refused.status, 401, "{path} {token:?}");
                assert!(refused.body["detail"].is_string());
            }
        }
    }
    assert!(site.parts().rooms.lookup(&room_id, "a").is_some());
    assert_eq!(site.dismissed(), []);

    // One id in two rooms of one creator: nobody can know which is meant.
    let (_, second) = site.room_of("creator").await;
    site.enter(&second, "a", 2, "user-a");
    for path in ["/delete-peer", "/delete-peers-and-room"] {
        assert_eq!(site.post(path, &creator, json!({"peer_id": "a"})).await.status, 422);
    }
    // In somebody else's room the same id does not matter.
    let (_, third) = site.room_of("third").await;
    let c = site.enter(&third, "a", 3, "user-c");
    let by_c = ISSUER.mint_id_token("user-c", NOW_SECONDS, 60);
    assert_eq!(site.post("/delete-peer", &by_c, json!({"peer_id": "a"})).await.status, 200);
    assert_eq!(site.dismissed(), [c]);
}

#[tokio::test]
async fn where_the_operator_opens_deleting_no_header_is_needed() {
    let site = Site::with(|_, terms| terms.open_delete = true);
    let (_, room_id) = site.room_of("creator").await;
    site.enter(&room_id, "a", 1, "user-a");
    let deleted = site.send(request("POST", "/delete-peers-and-room", None, r#"{"peer_id":"a"}"#)).await;
    assert_eq!((deleted.status, deleted.body), (200, json!({"status": "peer deleted successfully"})));
    assert!(!site.store.has(&room_id));
}

#[tokio::test]
async fn a_store_that_fails_keeps_a_room_as_it_is() {
    let site = Site::new();
    let (creator, room_id) = site.room_of("creator").await;
    site.enter(&room_id, "a", 1, "user-a");
    site.store.fails.store(true, Ordering::Relaxed);
    assert_eq!(site.post("/delete-peers-and-room", &creator, json!({"peer_id": "a"})).await.status, 503);
    assert!(site.parts().rooms.lookup(&room_id, "a").is_some());
    assert_eq!(site.dismissed(), []);
}

#[tokio::test]
async fn bodies_that_mean_nothing_are_refused() {
    let site = Site::new();
    let (creator, _) = site.room_of("creator").await;
    let deep = "[".repeat(500);
    for path in ["/delete-peer", "/delete-peers-and-room"] {
        for body in [
            "",
            "{",
            "[]",
            "{}",
            "5",
            "\"a\"",
            r#"{"peer_id":5}"#,
            r#"{"peer_id":""}"#,
            r#"{"peer_id":null}"#,
            r#"{"peer_id":"\ud800"}"#,
            r#"{"peer_id":["a"]}"#,
            r#"{"peer_id":"a","room_id":7}"#,
            &deep,
        ] {
            let refused = site.send(request("POST", path, Some(&creator), body)).await;
            assert_eq!(refused.status, 422, "{path} {body}");
            assert!(refused.body["detail"].is_string());
        }
        let large = format!(r#"{{"peer_id":"{}"}}"#, "a".repeat(70_000));
        assert_eq!(site.send(request("POST", path, Some(&creator), &large)).await.status, 413);
        let not_utf8 = Request::builder().method("POST").uri(path).header("Authorization", &creator);
        let not_utf8 = not_utf8.body(Body::from(&b"{\"peer_id\":\"\xff\"}"[..])).expect("a request");
        assert_eq!(site.send(not_utf8).await.status, 422);
    }
}

#[tokio::test]
async fn health_metrics_and_keys_are_what_the_document_shows() {
    let site = Site::new();
    let health = site.ask("GET", "/health").await;
    let expected = json!({"status": "healthy", "timestamp": "2023-11-14T22:13:20Z", "version": "2.0.0"});
    assert_eq!((health.status, health.body), (200, expected));

    let (_, room_id) = site.room_of("creator").await;
    site.room_of("creator").await;
    site.enter(&room_id, "a", 1, "x");
    site.enter(&room_id, "b", 2, "x");
    for (shard, message_type, times) in [
        (0, "registered_auth", 2),
        (1, "registered_auth", 3),
        (0, "offer", 4),
        (1, "peer_message", 5),
        (0, "error", 9),
    ] {
        let at = MESSAGE_LABELS.iter().position(|&label| label == ("rooms", message_type)).expect("a label");
        site.parts().shards[shard].messages_sent[at].add(times);
    }
    let metrics = site.ask("GET", "/metrics").await;
    let expected = json!({
        "timestamp": "2023-11-14T22:13:20Z", "active_rooms": 2, "active_connections": 2,
        "peers_by_role": {"worker": 2}, "total_connections": 5, "total_messages": 9, "rooms_created": 2
    });
    assert_eq!((metrics.status, metrics.body), (200, expected));

    let jwks = site.ask("GET", "/.well-known/jwks.json").await;
    assert_eq!(jwks.status, 200);
    assert!(PublicKeys::from_json(&jwks.body.to_string()).is_ok());
}

#[tokio::test]
async fn other_methods_and_a_browsers_question_are_answered_on_each_path() {
    let site = Site::new();
    for (path, right, wrong) in [
        ("/anonymous-signin", "POST", "GET"),
        ("/create-room", "POST", "PUT"),
        ("/delete-peers-and-room", "POST", "DELETE"),
        ("/delete-peer", "POST", "GET"),
        ("/health", "GET", "POST"),
        ("/metrics", "GET", "POST"),
        ("/.well-known/jwks.json", "GET", "PATCH"),
    ] {
        let refused = site.ask(wrong, path).await;
        assert_eq!(
            (refused.status, &refused.body),
            (405, &json!({"detail": "Method Not Allowed"})),
            "{path}"
        );
        assert!(refused.headers["allow"].to_str().expect("text").contains(right));
        let preflight = site.ask("OPTIONS", path).await;
        assert_eq!((preflight.status, &preflight.body), (204, &Value::Null));
        let methods = preflight.headers["access-control-allow-methods"].to_str().expect("text");
        assert!(methods.contains(right));
        let headers = preflight.headers["access-control-allow-headers"].to_str().expect("text");
        assert!(headers.contains("Authorization") && headers.contains("Content-Type"));
        assert_eq!(reads_body(path), path.starts_with("/delete"));
    }
}

#[tokio::test]
async fn sign_ins_have_a_rate() {
    let site = Site::with(|_, terms| terms.signins_per_second = 2);
    for status in [200, 200, 429, 429] {
        let answer = site.ask("POST", "/anonymous-signin").await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.body["detail"].is_string(), status == 429);
    }
    site.now.lock().mono_us += 500_000;
    assert_eq!(site.ask("POST", "/anonymous-signin").await.status, 200);
    // It is one rate for all listeners.
    let second = TowerToHyperService::new(router(&site.api));
    let Ok(response) = second.call(request("POST", "/anonymous-signin", None, "")).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn a_token_of_an_unknown_key_waits_for_the_keys() {
    let stranger = Issuer::generate("elsewhere").0;
    for comes in [true, false] {
        let keys: Arc<Mutex<Option<Arc<RemoteKeys>>>> = Arc::default();
        let remote = Arc::new(RemoteKeys::new(Box::new({
            let (keys, fetched) = (keys.clone(), stranger.public_keys().clone());
            move || {
                let remote = keys.lock().clone().expect("it is there");
                if comes { remote.replace(fetched.clone()) } else { remote.not_replaced() }
            }
        })));
        *keys.lock() = Some(remote.clone());
        let remote = Some(TrustedRemote { keys: remote, issuer: None, audience: None });
        let sources = IdentitySources { remote, ..IdentitySources::default() };
        let site = Site::with(|_, terms| terms.identities = Arc::new(Identities::new(sources)));
        let token = stranger.mint_id_token("user", NOW_SECONDS, 60);
        let answer = site.post("/create-room", &token, json!({})).await;
        assert_eq!(answer.status, if comes { 200 } else { 401 });
    }
    // Nobody answers the wish, and time goes by.
    let now: Arc<Mutex<Now>> = Arc::default();
    let remote = Arc::new(RemoteKeys::new(Box::new({
        let now = now.clone();
        move || now.lock().mono_us += 5_000_000
    })));
    let remote = Some(TrustedRemote { keys: remote, issuer: None, audience: None });
    let sources = IdentitySources { remote, ..IdentitySources::default() };
    let site = Site::with(|parts, terms| {
        terms.identities = Arc::new(Identities::new(sources));
        parts.clock = Arc::new(move || *now.lock());
    });
    let token = stranger.mint_id_token("user", 0, 60);
    assert_eq!(site.post("/create-room", &token, json!({})).await.status, 401);
}

#[tokio::test]
async fn letters_and_digits_are_equally_likely() {
    let site = Site::new();
    let mut counts = BTreeMap::new();
    for _ in 0..2_000 {
        let word = site.api.0.random_word(18);
        assert_eq!(word.len(), 18);
        word.chars().for_each(|c| *counts.entry(c).or_insert(0_u32) += 1);
    }
    assert_eq!(counts.len(), 36);
    // 1,000 of each are expected; the deviation of one count is about 31.
    assert!(counts.values().all(|&count| (800..1_200).contains(&count)), "{counts:?}");
}

#[tokio::test]
async fn expired_rooms_are_swept_from_registry_and_store_while_their_peers_stay() {
    let site = Site::new();
    let (_, expired) = site.room_of("creator").await;
    site.enter(&expired, "a", 1, "x");
    site.now.lock().unix_ms += 3_600_000;
    let (_, young) = site.room_of("creator").await;
    site.now.lock().unix_ms += 3_600_000;

    let mut leftover = Vec::new();
    assert!(!site.api.sweep_once(&mut leftover).await);
    assert!(site.parts().rooms.record(&expired).is_some(), "whoever comes now hears that it has expired");
    site.now.lock().unix_ms += 5_000;
    site.store.fails.store(true, Ordering::Relaxed);
    for _ in 0..2 {
        assert!(!site.api.sweep_once(&mut leftover).await);
        assert_eq!(leftover, std::slice::from_ref(&expired), "it is tried again");
        assert!(site.parts().rooms.record(&expired).is_none() && site.store.has(&expired));
    }
    site.store.fails.store(false, Ordering::Relaxed);
    assert!(!site.api.sweep_once(&mut leftover).await);
    assert!(leftover.is_empty() && !site.store.has(&expired));
    assert!(site.store.has(&young) && site.parts().rooms.record(&young).is_some());
    assert!(site.parts().rooms.lookup(&expired, "a").is_some());
    assert_eq!(site.dismissed(), []);
}

#[tokio::test]
async fn the_sweep_goes_on_until_it_is_told_to_end() {
    let site = Site::new();
    let (stop, stopped) = oneshot::channel();
    let sweeping = tokio::spawn(sweep(site.api.clone(), stopped));
    for _ in 0..2 {
        let (_, room_id) = site.room_of("creator").await;
        site.now.lock().unix_ms += 7_205_000;
        site.store.deleted.notified().await;
        assert!(!site.store.has(&room_id));
    }
    drop(stop);
    sweeping.await.expect("it ends");
}
