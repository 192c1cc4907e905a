//! One client's messages in `devices`, among two others.
//!
//! ```text
//!  mallory ──any messages──► shard 0 ──► bob
//!                               └─► shard 1 ──► carol
//! ```

use super::talk::{Object, Said, Talk, Talker, kind_of, messages};
use crate::dialect::Dialect;
use crate::sim;

/// Members that count, none of which may stand twice.
const FIELDS: [&str; 6] = ["type", "target", "sdp", "candidate", "sessionId", "id"];

const SIGNALS: [&str; 3] = ["offer", "answer", "ice"];

/// The first byte chooses whether the client is registered before, the second the cuts. Each line of
/// the rest is a message, and is judged by the protocol's document: it has one outcome, and that one.
pub fn devices_session(data: &[u8]) {
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
    my_id: Option<String>,
    others: Vec<(&'static str, Talker)>,
}

/// What one message may lead to.
enum Outcome<'a> {
    Told(&'static str),
    /// An error with words that begin so.
    Refused(&'static str),
    Signal(&'a Object<'a>, String),
    /// An id that anybody may have is taken; another one, perhaps not.
    Registered(String),
}

impl Scene {
    fn open(registered: bool) -> Scene {
        let mut talk = Talk::new(sim::serving(vec![Dialect::Devices]));
        let mut others = vec![("bob", talk.open(0)), ("carol", talk.open(1))];
        for (id, other) in &mut others {
            register(&mut talk, other, id);
        }
        let mut me = talk.open(0);
        let my_id = registered.then(|| {
            register(&mut talk, &mut me, "mallory");
            "mallory".to_owned()
        });
        Scene { talk, me, my_id, others }
    }

    fn say_and_check(&mut self, said: Said<'_>, cut: u8) {
        self.talk.say(&self.me, said, cut);
        let mine = self.talk.hear(&mut self.me);
        assert_eq!(self.me.closed, None, "nothing that a client says ends its connection");
        let object = match said {
            Said::Text(text) => Object::parse(text),
            Said::Binary(_) => None,
        };
        let outcome = match &object {
            Some(object) => self.expected(object),
            None => Outcome::Refused("Invalid message format"),
        };
        match outcome {
            Outcome::Told(kind) => {
                assert_eq!(kinds(&mine), [kind]);
                self.check_answer(&mine[0]);
                self.check_others_heard_nothing();
            }
            Outcome::Refused(words) => {
                assert_refused(&mine, words);
                self.check_others_heard_nothing();
            }
            Outcome::Signal(object, target) => self.check_signal(object, &target, mine),
            Outcome::Registered(id) => self.check_register(id, &mine),
        }
        self.talk.check_nothing_broke();
    }

    fn expected<'a>(&self, object: &'a Object<'a>) -> Outcome<'a> {
        if object.has_twice(&FIELDS) {
            return Outcome::Refused("Invalid message format");
        }
        let kind = object.text("type").unwrap_or_default();
        match kind.as_str() {
            "ping" => Outcome::Told("pong"),
            "list" => Outcome::Told("clients"),
            "register" => match object.text("id").filter(|id| !id.is_empty()) {
                Some(id) => Outcome::Registered(id),
                None => Outcome::Refused("Invalid id"),
            },
            kind if SIGNALS.contains(&kind) => {
                if self.my_id.is_none() {
                    return Outcome::Refused("Not registered");
                }
                let target = object.raw("target").filter(|target| target.starts_with('"'));
                match target.filter(|target| *target != "\"\"") {
                    // Half of a surrogate pair is nobody's id.
                    Some(_) => Outcome::Signal(object, object.text("target").unwrap_or_default()),
                    None => Outcome::Refused("No target specified"),
                }
            }
            _ => Outcome::Refused("Unknown message type: "),
        }
    }

    fn check_answer(&self, answer: &str) {
        let answer = Object::parse(answer).expect("an object");
        if answer.text("type").as_deref() == Some("clients") {
            let mut ids: Vec<&str> = self.present().map(|(id, _)| *id).collect();
            ids.sort_unstable();
            let listed: Vec<String> = serde_json::from_str(answer.raw("clients").expect("a list")).unwrap();
            assert_eq!(listed, ids);
            assert_eq!(answer.raw("count"), Some(ids.len().to_string().as_str()));
        }
    }

    fn check_register(&mut self, id: String, mine: &[String]) {
        // Everybody may be called so, whatever else counts as visible.
        let is_plain = id.len() <= 128 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if kinds(mine) != ["registered"] {
            assert_refused(mine, "Invalid id");
            assert!(!is_plain, "{id:?} is refused");
            return self.check_others_heard_nothing();
        }
        let told = Object::parse(&mine[0]).and_then(|told| told.text("id"));
        assert_eq!(told.as_ref(), Some(&id));
        assert!(id.chars().count() <= 128 && !id.contains(|c: char| c.is_control() || c.is_whitespace()));
        for (other_id, other) in &mut self.others {
            let was_there = other.closed.is_none();
            assert!(self.talk.hear(other).is_empty());
            let is_replaced = was_there && *other_id == id && self.my_id.as_ref() != Some(&id);
            assert_eq!(other.closed.is_some(), is_replaced || !was_there);
            assert!(other.closed.as_ref().is_none_or(|(code, _)| *code == 1008));
        }
        self.my_id = Some(id);
    }

    /// It arrives as it was sent, once, where it was sent to, under the sender's own name. Else its
    /// sender is told, but for candidates, or it is published.
    fn check_signal(&mut self, object: &Object<'_>, target: &str, mut mine: Vec<String>) {
        let my_id = self.my_id.clone().expect("who is not registered signals nobody");
        let kind = object.text("type").expect("it is a signal");
        let mut arrived = Vec::new();
        if let Some(at) = mine.iter().position(|text| kind_of(text) != "error") {
            assert_eq!(target, my_id, "it comes back");
            arrived.push(mine.remove(at));
        }
        for (id, other) in &mut self.others {
            let heard = self.talk.hear(other);
            assert!(heard.is_empty() || *id == target, "{id} hears what is for {target}");
            arrived.extend(heard);
        }
        let is_there = target == my_id || self.present().any(|(id, _)| *id == target);
        if !is_there {
            assert_eq!((arrived.len(), self.talk.take_undeliverable()), (0, 1));
            let named = if kind == "offer" { "Target " } else { "Caller " };
            return match kind.as_str() {
                "ice" => assert!(mine.is_empty()),
                _ => assert_refused(&mine, named),
            };
        }
        assert_eq!((mine.len(), arrived.len(), self.talk.take_undeliverable()), (0, 1, 0));
        let signal = Object::parse(&arrived[0]).expect("an object");
        assert_eq!(signal.text("type"), Some(kind.clone()));
        assert_eq!(signal.text("from"), Some(my_id), "a forged sender");
        let body = if kind == "ice" { "candidate" } else { "sdp" };
        assert_eq!(signal.raw(body), object.raw(body), "what is inside passes as it came");
        let session_id = signal.text("sessionId");
        let is_made = session_id.is_some_and(|id| id.starts_with("session-"));
        assert!(signal.raw("sessionId") == object.raw("sessionId") || (kind == "offer" && is_made));
        let known = ["type", "from", "sdp", "candidate", "sessionId", "timestamp"];
        assert!(!signal.has_twice(&known) && signal.keys().iter().all(|key| known.contains(key)));
    }

    fn check_others_heard_nothing(&mut self) {
        for (id, other) in &mut self.others {
            let was_there = other.closed.is_none();
            assert!(self.talk.hear(other).is_empty(), "{id} hears something");
            assert_eq!(other.closed.is_none(), was_there);
        }
        assert_eq!(self.talk.take_undeliverable(), 0);
    }

    fn check_others_are_served(&mut self) {
        for (_, other) in self.others.iter_mut().filter(|(_, other)| other.closed.is_none()) {
            self.talk.say(other, Said::Text(r#"{"type":"ping"}"#), 1);
            assert_eq!(kinds(&self.talk.hear(other)), ["pong"]);
        }
    }

    fn present(&self) -> impl Iterator<Item = &(&'static str, Talker)> {
        self.others.iter().filter(|(_, other)| other.closed.is_none())
    }
}

fn register(talk: &mut Talk, talker: &mut Talker, id: &str) {
    talk.say(talker, Said::Text(&format!(r#"{{"type":"register","id":"{id}"}}"#)), 200);
    assert_eq!(kinds(&talk.hear(talker)), ["registered"]);
}

fn kinds(heard: &[String]) -> Vec<String> {
    heard.iter().map(|text| kind_of(text)).collect()
}

fn assert_refused(heard: &[String], words: &str) {
    let [error] = heard else { panic!("one error that begins with {words:?}, not {heard:?}") };
    assert_eq!(kind_of(error), "error");
    let message = Object::parse(error).and_then(|error| error.text("message"));
    assert!(message.is_some_and(|message| message.starts_with(words)), "{error}: {words}");
}
