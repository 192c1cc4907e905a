//! `rooms` as its document describes it: who signs in, a room, and a peer in it.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::http::Response;
use super::request::{ask, json_of, post_json};
use super::server::{Server, Setup};
use super::text::{Said, TextClient};

/// The codes of the document.
const CODES: [&str; 8] = [
    "NOT_IN_ROOM",
    "ROOM_NOT_FOUND",
    "PEER_NOT_IN_ROOM",
    "PEER_NOT_FOUND",
    "INVALID_MESSAGE",
    "DELIVERY_FAILED",
    "UNKNOWN_MESSAGE_TYPE",
    "INVALID_JSON",
];

/// An anonymous user.
#[derive(Clone, Debug)]
pub struct Identity {
    pub id_token: String,
    pub username: String,
}

impl Identity {
    pub async fn sign_in(addr: SocketAddr) -> Identity {
        let response = post_json(addr, "/anonymous-signin", &[], &json!({})).await;
        assert_eq!(response.status, 200, "{}", response.text());
        let answer = json_of(&response);
        let text = |key: &str| answer[key].as_str().expect("a string").to_owned();
        Identity { id_token: text("id_token"), username: text("username") }
    }

    pub async fn creates_room(&self, addr: SocketAddr) -> Room {
        let bearer = format!("Bearer {}", self.id_token);
        let response = ask(addr, "POST", "/create-room", &[("Authorization", &bearer)], Some("")).await;
        assert_eq!(response.status, 200, "{}", response.text());
        Room::of(&json_of(&response))
    }

    /// Posts `body` in this user's name.
    pub async fn posts(&self, addr: SocketAddr, path: &str, body: Value) -> Response {
        let bearer = format!("Bearer {}", self.id_token);
        post_json(addr, path, &[("Authorization", &bearer)], &body).await
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    pub id: String,
    pub token: String,
}

impl Room {
    /// From the answer to `/create-room`.
    pub fn of(answer: &Value) -> Room {
        let text = |key: &str| answer[key].as_str().expect("a string").to_owned();
        Room { id: text("room_id"), token: text("token") }
    }

    /// A `register` with all that the document requires, and no more.
    pub fn registration(&self, peer_id: &str, identity: &Identity) -> Value {
        json!({
            "type": "register",
            "peer_id": peer_id,
            "room_id": self.id,
            "token": self.token,
            "id_token": identity.id_token,
        })
    }
}

/// A server with one room in it, and the user who created that.
pub struct Meeting {
    pub server: Server,
    pub owner: Identity,
    pub room: Room,
}

impl Meeting {
    /// A listener `main` that serves nothing but `rooms`, unless `setup` has some.
    pub async fn start(setup: Setup) -> Meeting {
        let server = setup.start().await;
        let owner = Identity::sign_in(server.main()).await;
        let room = owner.creates_room(server.main()).await;
        Meeting { server, owner, room }
    }

    pub fn addr(&self) -> SocketAddr {
        self.server.main()
    }

    pub fn registration(&self, peer_id: &str) -> Value {
        self.room.registration(peer_id, &self.owner)
    }

    /// A peer that has registered in the owner's name.
    pub async fn peer(&self, peer_id: &str) -> Peer {
        Peer::register(self.addr(), self.registration(peer_id)).await
    }

    pub async fn peer_with(&self, peer_id: &str, role: &str, metadata: Value) -> Peer {
        let mut registration = self.registration(peer_id);
        registration["role"] = json!(role);
        registration["metadata"] = metadata;
        Peer::register(self.addr(), registration).await
    }

    /// A second room, of another user.
    pub async fn another_room(&self) -> (Identity, Room) {
        let identity = Identity::sign_in(self.addr()).await;
        let room = identity.creates_room(self.addr()).await;
        (identity, room)
    }
}

pub struct Peer {
    pub id: String,
    pub line: TextClient,
}

impl Peer {
    /// A connection that has not registered.
    pub async fn open(addr: SocketAddr) -> Peer {
        Peer { id: String::new(), line: TextClient::open(addr).await }
    }

    pub async fn register(addr: SocketAddr, registration: Value) -> Peer {
        let mut peer = Peer::open(addr).await;
        peer.registers(registration).await;
        peer
    }

    /// Sends a `register` that must succeed; gives the answer.
    pub async fn registers(&mut self, registration: Value) -> Value {
        self.send(&registration).await;
        let answer = self.json().await;
        assert_eq!(answer["type"], "registered_auth", "{answer}");
        for key in ["peer_id", "room_id"] {
            assert_eq!(answer[key], registration[key], "{answer}");
        }
        self.id = registration["peer_id"].as_str().expect("a string").into();
        answer
    }

    /// Sends a `register` that must be refused for this reason; gives the code.
    pub async fn is_refused(&mut self, registration: &Value, reason: &str) -> String {
        self.send(registration).await;
        let refusal = self.refusal().await;
        assert_eq!(refusal["reason"], reason, "{registration}");
        refusal["code"].as_str().expect("checked").into()
    }

    /// The next message refuses a `register`: with words for old and for new clients.
    pub async fn refusal(&mut self) -> Value {
        let refusal = self.any_error().await;
        assert!(refusal["reason"].as_str().is_some_and(|it| !it.is_empty()), "{refusal}");
        refusal
    }

    pub async fn send(&mut self, json: &Value) {
        self.line.send(json).await;
    }

    pub async fn send_text(&mut self, text: &str) {
        self.line.send_text(text).await;
    }

    /// The next message as it was written; the server's own pings are passed over.
    pub async fn text(&mut self) -> String {
        loop {
            let text = self.line.text().await;
            let json: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"));
            if json != json!({"type": "ping"}) {
                return text;
            }
        }
    }

    pub async fn json(&mut self) -> Value {
        serde_json::from_str(&self.text().await).expect("checked by text()")
    }

    /// The next message is an error by the document's format; gives it.
    pub async fn any_error(&mut self) -> Value {
        let error = self.json().await;
        assert_eq!(error["type"], "error", "{error}");
        for key in ["code", "message"] {
            assert!(error[key].as_str().is_some_and(|it| !it.is_empty()), "no {key} in {error}");
        }
        for key in error.as_object().expect("an object").keys() {
            assert!(["type", "code", "message", "reason"].contains(&key.as_str()), "{error}");
        }
        // The document has no codes for some of the reasons why a register is refused.
        let is_documented = CODES.iter().any(|it| error["code"] == *it);
        assert!(is_documented || error["reason"].is_string(), "{error}");
        error
    }

    /// The next message is an error with this code.
    pub async fn error(&mut self, code: &str) -> Value {
        let error = self.any_error().await;
        assert_eq!(error["code"], code, "{error}");
        error
    }

    /// Sends this text and gets an error with this code.
    pub async fn errs(&mut self, text: &str, code: &str) {
        self.errs_with_one_of(text, &[code]).await;
    }

    pub async fn errs_with_one_of(&mut self, text: &str, codes: &[&str]) {
        self.send_text(text).await;
        let error = self.any_error().await;
        let shown: String = text.chars().take(200).collect();
        assert!(codes.contains(&error["code"].as_str().expect("checked")), "to {shown}: {error}");
    }

    /// A ping is answered next: the connection lives, and nothing else has come before.
    pub async fn is_quiet_and_alive(&mut self) {
        self.send(&json!({"type": "ping"})).await;
        assert_eq!(self.json().await, json!({"type": "pong"}));
    }

    /// The entries of a `peer_list`, in the order of their ids.
    pub async fn discover(&mut self, filters: Value) -> Vec<Value> {
        let request = json!({"type": "discover_peers", "from_peer_id": self.id, "filters": filters});
        self.send(&request).await;
        let list = self.json().await;
        assert_eq!(list["type"], "peer_list", "{request}: {list}");
        assert_eq!(list["to_peer_id"], self.id.as_str(), "{list}");
        let mut peers = list["peers"].as_array().expect("a list").clone();
        assert_eq!(list["count"], peers.len(), "{list}");
        peers.sort_by_key(|it| it["peer_id"].as_str().expect("a string").to_owned());
        peers
    }

    /// The ids of a `peer_list`, sorted.
    pub async fn finds(&mut self, filters: Value) -> Vec<String> {
        let peers = self.discover(filters).await;
        peers.iter().map(|it| it["peer_id"].as_str().expect("checked").to_owned()).collect()
    }

    /// Sends a `peer_message` with this payload, written like that.
    pub async fn tells(&mut self, target: &str, payload: &str) {
        let text = format!(
            r#"{{"type":"peer_message","from_peer_id":{},"to_peer_id":{},"payload":{payload}}}"#,
            json!(self.id),
            json!(target)
        );
        self.send_text(&text).await;
    }

    /// The next message is a `peer_message` from this peer; gives its payload.
    pub async fn hears(&mut self, from: &str) -> Value {
        let message = self.json().await;
        assert_eq!(
            (&message["type"], &message["from_peer_id"], &message["to_peer_id"]),
            (&json!("peer_message"), &json!(from), &json!(self.id)),
            "{message}"
        );
        message["payload"].clone()
    }

    pub async fn closed(&mut self) -> (u16, String) {
        loop {
            match self.line.next().await {
                Said::Closed(Some(why)) => return why,
                Said::Text(text) if text.contains("\"ping\"") => {}
                other => panic!("{} awaits a Close with its code, got {other:?}", self.id),
            }
        }
    }

    pub async fn leave(self) {
        self.line.close().await;
    }
}

/// A message each way arrives, and nothing else has arrived since the last time.
pub async fn talk(one: &mut Peer, other: &mut Peer) {
    one.tells(&other.id, r#"{"n":1}"#).await;
    assert_eq!(other.hears(&one.id).await, json!({"n": 1}));
    other.tells(&one.id, r#"{"n":2}"#).await;
    assert_eq!(one.hears(&other.id).await, json!({"n": 2}));
}
