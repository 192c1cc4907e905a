//! One client's messages in `rooms`, among peers of two rooms.
//!
//! ```text
//!  mallory ──any messages──► shard 0 ──► bob      room1
//!                               ├─► shard 1 ──► carol    room1
//!                               └─► shard 1 ──► dave     room2
//! ```

use super::talk::{Object, Said, Talk, Talker, kind_of, messages};
use crate::base::Redacted;
use crate::dialect::Dialect;
use crate::hub::rooms::RoomRecord;
use crate::sim;

/// Members that count, none of which may stand twice.
const FIELDS: [&str; 15] = [
    "type",
    "from_peer_id",
    "sender",
    "to_peer_id",
    "target",
    "payload",
    "peer_id",
    "room_id",
    "token",
    "id_token",
    "jwt",
    "api_key",
    "role",
    "metadata",
    "filters",
];

/// With the token that opens it.
const ROOMS: [(&str, &str); 2] = [("room1", "tok1"), ("room2", "tok2")];

const OTHERS: [(&str, &str, usize); 3] = [("bob", "room1", 0), ("carol", "room1", 1), ("dave", "room2", 1)];

/// The first byte chooses whether the client is in a room before, the second the cuts. Each line of
/// the rest is a message, and is judged by the protocol's document: it has one outcome, and that one.
pub fn rooms_session(data: &[u8]) {
    let [choice, cut, bytes @ ..] = data else { return };
    let mut scene = Scene::open(choice & 1 == 0);
    for said in messages(bytes) {
        scene.say_and_check(said, *cut);
    }
    scene.check_others_are_served();
}

struct Scene {
    talk: Talk,
    me: Talker,
    mine: Option<Registered>,
    others: Vec<Other>,
}

#[derive(Clone, PartialEq)]
struct Registered {
    room: String,
    id: String,
}

struct Other {
    id: &'static str,
    room: &'static str,
    talker: Talker,
}

/// What one message may lead to.
enum Outcome {
    Nothing,
    Told(&'static str),
    /// An error with one of these codes.
    Refused(&'static [&'static str]),
    ToldOrRefused(&'static str),
    Register,
    /// To this id, whole or with its payload alone.
    Passed {
        to: String,
        whole: bool,
    },
}

const INVALID: Outcome = Outcome::Refused(&["INVALID_MESSAGE"]);

impl Scene {
    fn open(registered: bool) -> Scene {
        let settings = sim::serving(vec![Dialect::Rooms]);
        for (room, token) in ROOMS {
            let record = RoomRecord {
                room_id: room.to_owned(),
                token: Redacted::new(token.to_owned()),
                created_by: "alice".to_owned(),
                expires_at_unix_seconds: u64::MAX,
            };
            let reserved = settings.dialects.rooms.rooms.reserve(record);
            reserved.unwrap_or_else(|refused| panic!("{refused:?}")).open();
        }
        let mut talk = Talk::new(settings);
        let others = OTHERS.map(|(id, room, shard)| {
            let mut talker = talk.open(shard);
            register(&mut talk, &mut talker, id, room);
            Other { id, room, talker }
        });
        let mut me = talk.open(0);
        let mine = registered.then(|| {
            register(&mut talk, &mut me, "mallory", "room1");
            Registered { room: "room1".to_owned(), id: "mallory".to_owned() }
        });
        Scene { talk, me, mine, others: others.into() }
    }

    fn say_and_check(&mut self, said: Said<'_>, cut: u8) {
        self.talk.say(&self.me, said, cut);
        let heard = self.talk.hear(&mut self.me);
        assert_eq!(self.me.closed, None, "nothing that a client says ends its connection");
        let (text, object) = match said {
            Said::Text(text) => (text, Object::parse(text)),
            Said::Binary(_) => ("", None),
        };
        let outcome = match &object {
            Some(object) => self.expected(object),
            None if matches!(said, Said::Binary(_)) => INVALID,
            None => Outcome::Refused(&["INVALID_JSON", "INVALID_MESSAGE"]),
        };
        match outcome {
            Outcome::Nothing => assert!(heard.is_empty(), "{heard:?}"),
            Outcome::Refused(codes) => assert_refused(&heard, codes),
            Outcome::Told(kind) => self.check_answer(&heard, kind, object.as_ref()),
            Outcome::ToldOrRefused(kind) => match kinds(&heard) == ["error"] {
                true => assert_refused(&heard, &["INVALID_MESSAGE"]),
                false => self.check_answer(&heard, kind, object.as_ref()),
            },
            Outcome::Register => {
                let object = object.as_ref().expect("what is no object registers nobody");
                return self.check_register(object, &heard);
            }
            Outcome::Passed { to, whole } => {
                let object = object.as_ref().expect("what is no object is passed to nobody");
                return self.check_passed(object, whole.then_some(text), &to, heard);
            }
        }
        self.check_others_heard_nothing();
    }

    fn expected(&self, object: &Object<'_>) -> Outcome {
        if object.has_twice(&FIELDS) {
            return INVALID;
        }
        let Some(kind) = object.text("type").filter(|kind| !kind.is_empty()) else { return INVALID };
        let mine = match (kind.as_str(), &self.mine) {
            ("register", _) => return Outcome::Register,
            ("ping", _) => return Outcome::Told("pong"),
            ("pong", _) => return Outcome::Nothing,
            (
                "peer_message" | "offer" | "answer" | "candidate" | "error" | "discover_peers" | "query"
                | "update_metadata",
                None,
            ) => return Outcome::Refused(&["NOT_IN_ROOM"]),
            (_, None) => return Outcome::Refused(&["UNKNOWN_MESSAGE_TYPE"]),
            (_, Some(mine)) => mine,
        };
        let claims = ["sender", "from_peer_id"];
        let lies = claims
            .iter()
            .any(|name| object.raw(name).is_some() && object.text(name).as_ref() != Some(&mine.id));
        let says = |names: &[&str]| !lies && names.iter().any(|name| object.raw(name).is_some());
        let named = |name| object.text(name).filter(|id| !id.is_empty());
        match kind.as_str() {
            "peer_message" => match named("to_peer_id") {
                Some(to) if says(&["from_peer_id"]) && has_payload(object) => {
                    Outcome::Passed { to, whole: false }
                }
                _ => INVALID,
            },
            "offer" | "answer" | "candidate" => match named("target") {
                Some(to) if says(&claims) => Outcome::Passed { to, whole: true },
                _ => INVALID,
            },
            "error" => match named("target") {
                Some(to) if !lies => Outcome::Passed { to, whole: true },
                _ => INVALID,
            },
            "discover_peers" if says(&["from_peer_id"]) => match object.given("filters") {
                None => Outcome::Told("peer_list"),
                Some(_) => Outcome::ToldOrRefused("peer_list"),
            },
            "query" if !lies => Outcome::Told("available_peers"),
            "update_metadata" if !lies && named("peer_id").as_ref() == Some(&mine.id) => {
                Outcome::ToldOrRefused("metadata_updated")
            }
            "discover_peers" | "query" | "update_metadata" => INVALID,
            _ => Outcome::Refused(&["UNKNOWN_MESSAGE_TYPE"]),
        }
    }

    /// A list names those of the room and nobody else.
    fn check_answer(&self, heard: &[String], kind: &str, asked: Option<&Object<'_>>) {
        assert_eq!(kinds(heard), [kind]);
        let answer = Object::parse(&heard[0]).expect("an object");
        let Some(mine) = &self.mine else { return };
        let mut room: Vec<&str> = self.others_in(&mine.room).map(|other| other.id).collect();
        room.sort_unstable();
        let peers = answer.raw("peers").unwrap_or("[]");
        match kind {
            "available_peers" => {
                let peers: Vec<String> = serde_json::from_str(peers).expect("a list of ids");
                assert_eq!(peers, room);
            }
            "peer_list" => {
                let peers: Vec<serde_json::Value> = serde_json::from_str(peers).expect("a list of peers");
                let ids: Vec<&str> = peers.iter().filter_map(|peer| peer["peer_id"].as_str()).collect();
                assert!(ids.len() == peers.len() && ids.iter().all(|id| room.contains(id)), "{ids:?}");
                assert!(asked.is_some_and(|asked| asked.given("filters").is_some()) || ids == room);
                assert_eq!(answer.raw("count"), Some(ids.len().to_string().as_str()));
            }
            _ => {}
        }
    }

    fn check_register(&mut self, object: &Object<'_>, heard: &[String]) {
        let (room, id) =
            (object.text("room_id").unwrap_or_default(), object.text("peer_id").unwrap_or_default());
        let token = object.text("token").unwrap_or_default();
        let is_open = ROOMS.contains(&(room.as_str(), token.as_str()));
        if kinds(heard) != ["registered_auth"] {
            let [error] = heard else { panic!("one answer to a register, not {heard:?}") };
            let error = Object::parse(error).filter(|error| error.text("type").as_deref() == Some("error"));
            let error = error.unwrap_or_else(|| panic!("{heard:?} answers a register"));
            assert!(error.text("reason").is_some(), "deployed clients read the reason");
            let is_plain = (1..=256).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric());
            let asks_more = ["role", "metadata", "id_token", "jwt", "api_key"];
            let is_bare = asks_more.iter().all(|name| object.given(name).is_none());
            assert!(!(is_open && is_plain && is_bare), "{id:?} is refused");
            return self.check_others_heard_nothing();
        }
        assert!(is_open, "a room is entered without its token");
        let told = Object::parse(&heard[0]).expect("an object");
        assert_eq!((told.text("room_id"), told.text("peer_id")), (Some(room.clone()), Some(id.clone())));
        let registered = Registered { room, id };
        let is_again = self.mine.as_ref() == Some(&registered);
        for other in &mut self.others {
            let was_there = other.talker.closed.is_none();
            assert!(self.talk.hear(&mut other.talker).is_empty());
            let is_same = other.room == registered.room && other.id == registered.id;
            assert_eq!(other.talker.closed.is_some(), !was_there || (is_same && !is_again));
            assert!(other.talker.closed.as_ref().is_none_or(|(code, _)| *code == 1008));
        }
        self.mine = Some(registered);
        self.talk.check_nothing_broke();
    }

    /// It arrives as it was sent, once, at the target and nobody else, or its sender is told.
    fn check_passed(&mut self, object: &Object<'_>, whole: Option<&str>, to: &str, mut heard: Vec<String>) {
        let mine = self.mine.clone().expect("only who is in a room is passed on");
        let is_error_of_ours = |text: &String| {
            Object::parse(text)
                .is_some_and(|told| told.text("code").is_some_and(|code| code.contains("PEER_NOT")))
        };
        let mut arrived = Vec::new();
        if to == mine.id {
            arrived.append(&mut heard);
        } else {
            assert!(heard.iter().all(is_error_of_ours), "{heard:?}");
        }
        let mut is_there = to == mine.id;
        for other in &mut self.others {
            let is_target = other.room == mine.room && other.id == to;
            is_there |= is_target && other.talker.closed.is_none();
            let texts = self.talk.hear(&mut other.talker);
            assert!(texts.is_empty() || is_target, "{} hears what is for {to}", other.id);
            arrived.extend(texts);
        }
        self.talk.check_nothing_broke();
        if !is_there {
            let elsewhere = self.others.iter().any(|other| other.id == to && other.talker.closed.is_none());
            let code = if elsewhere { "PEER_NOT_IN_ROOM" } else { "PEER_NOT_FOUND" };
            assert_refused(&heard, &[code]);
            return assert_eq!((arrived.len(), self.talk.take_undeliverable()), (0, 1));
        }
        assert_eq!((heard.len(), arrived.len(), self.talk.take_undeliverable()), (0, 1, 0));
        match whole {
            Some(text) => assert_eq!(arrived[0], text, "it passes as it came"),
            None => {
                let passed = Object::parse(&arrived[0]).expect("an object");
                assert_eq!(passed.keys(), ["type", "from_peer_id", "to_peer_id", "payload"]);
                assert_eq!(passed.text("from_peer_id"), Some(mine.id), "a forged sender");
                assert_eq!(passed.raw("to_peer_id"), object.raw("to_peer_id"));
                assert_eq!(passed.raw("payload"), object.raw("payload"), "the payload passes as it came");
            }
        }
    }

    fn check_others_heard_nothing(&mut self) {
        for other in &mut self.others {
            let was_there = other.talker.closed.is_none();
            assert!(self.talk.hear(&mut other.talker).is_empty(), "{} hears something", other.id);
            assert_eq!(other.talker.closed.is_none(), was_there);
        }
        assert_eq!(self.talk.take_undeliverable(), 0);
        self.talk.check_nothing_broke();
    }

    fn check_others_are_served(&mut self) {
        for other in self.others.iter_mut().filter(|other| other.talker.closed.is_none()) {
            self.talk.say(&other.talker, Said::Text(r#"{"type":"ping"}"#), 1);
            assert_eq!(kinds(&self.talk.hear(&mut other.talker)), ["pong"]);
        }
    }

    fn others_in<'a>(&'a self, room: &'a str) -> impl Iterator<Item = &'a Other> {
        self.others.iter().filter(move |other| other.room == room && other.talker.closed.is_none())
    }
}

/// Anything but null, an empty string, array or object.
fn has_payload(object: &Object<'_>) -> bool {
    match object.given("payload").unwrap_or_default().as_bytes() {
        b"" | b"\"\"" => false,
        [b'[' | b'{', inside @ .., _] => !inside.iter().all(u8::is_ascii_whitespace),
        _ => true,
    }
}

fn register(talk: &mut Talk, talker: &mut Talker, id: &str, room: &str) {
    let token = room.replace("room", "tok");
    let text = format!(r#"{{"type":"register","peer_id":"{id}","room_id":"{room}","token":"{token}"}}"#);
    talk.say(talker, Said::Text(&text), 200);
    assert_eq!(kinds(&talk.hear(talker)), ["registered_auth"]);
}

fn kinds(heard: &[String]) -> Vec<String> {
    heard.iter().map(|text| kind_of(text)).collect()
}

fn assert_refused(heard: &[String], codes: &[&str]) {
    let [error] = heard else { panic!("one error of {codes:?}, not {heard:?}") };
    assert_eq!(kind_of(error), "error");
    let code = Object::parse(error).and_then(|error| error.text("code"));
    assert!(code.is_some_and(|code| codes.contains(&code.as_str())), "{error}: {codes:?}");
}
