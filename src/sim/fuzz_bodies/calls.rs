//! What a WebSocket of `calls` says, and what is posted to `/signal`.

use super::talk::{Object, Said, Talk, Talker, messages};
use crate::base::Now;
use crate::dialect::Dialect;
use crate::dialect::calls::{CALL_BYTES_MAX, Event, EventKind, Message, SESSION_BYTES_MAX, write_event};
use crate::hub::SeatAnswer;
use crate::sim;

/// Members that count, none of which may stand twice.
const FIELDS: [&str; 4] = ["call", "session", "body", "kind"];

const CALL: &str = "standup";
const SESSIONS: [&str; 2] = ["seat-1", "seat-2"];

/// A message by the protocol's document.
struct Posted<'a> {
    call: String,
    session: String,
    /// Between its quotes.
    body: &'a str,
    kind: Option<EventKind>,
}

/// The first byte chooses the shard, the second the cuts. Each line of the rest is a message.
pub fn calls_session(data: &[u8]) {
    let [choice, cut, bytes @ ..] = data else { return };
    let settings = sim::serving(vec![Dialect::Calls]);
    let calls = &settings.dialects.calls;
    for session in SESSIONS {
        let now = Now { mono_us: 1_000_000, unix_ms: 0 };
        assert_eq!(calls.seats.acquire(CALL, session, now, calls.terms()), SeatAnswer::Seated);
    }
    let mut talk = Talk::new(settings);
    let mut bob = talk.open(0);
    talk.say(&bob, Said::Text(&join(SESSIONS[0])), 200);
    assert_eq!(talk.hear(&mut bob).len(), 1);
    let mut me = talk.open(usize::from(choice & 1));
    let mut is_welcome = false;
    for said in messages(bytes) {
        if let Said::Text(text) = said {
            reads_what_is_posted(text);
        }
        talk.say(&me, said, *cut);
        check_socket(&mut talk, &mut me, said, &mut is_welcome);
        assert!(talk.hear(&mut bob).is_empty() && bob.closed.is_none(), "WebSockets are not sent on");
    }
    talk.check_nothing_broke();
}

/// The first message opens, or ends, all; what is said behind it is of no interest.
fn check_socket(talk: &mut Talk, me: &mut Talker, said: Said<'_>, is_welcome: &mut bool) {
    let was_closed = me.closed.is_some();
    let heard = talk.hear(me);
    if *is_welcome || was_closed {
        assert!(heard.is_empty() && me.closed.is_some() == was_closed);
        return;
    }
    let join = match said {
        Said::Text(text) => posted(text).filter(Posted::is_join),
        Said::Binary(_) => None,
    };
    let expected = match &join {
        None => Err("bad handshake"),
        Some(join) if join.call == CALL && SESSIONS.contains(&join.session.as_str()) => Ok(()),
        Some(_) => Err("bad seat"),
    };
    match expected {
        Ok(()) => {
            assert_eq!(heard, [format!(r#"{{"call":"{CALL}","kind":"WELCOME"}}"#)]);
            assert_eq!(me.closed, None);
            *is_welcome = true;
        }
        Err(reason) => {
            assert!(heard.is_empty(), "{heard:?}");
            assert_eq!(me.closed, Some((1000, reason.to_owned())));
        }
    }
}

fn reads_what_is_posted(text: &str) {
    let read = Message::parse(text).ok();
    let expected = posted(text);
    assert_eq!(read.is_some(), expected.is_some(), "{text}");
    let (Some(read), Some(expected)) = (read, expected) else { return };
    assert_eq!((&*read.call, &*read.session), (&*expected.call, &*expected.session));
    assert_eq!(read.kind, expected.kind);
    assert_eq!(read.is_handshake(), expected.is_join());
    assert_eq!(read.signal(), expected.signal());
    let Some(kind) = read.kind else { return };
    // As the others of the call get it.
    let mut out = Vec::new();
    write_event(&Event { call: &read.call, session: "", body: read.body, kind }, &mut out);
    let told = std::str::from_utf8(&out).expect("an event is UTF-8");
    let told = Object::parse(told).expect("an event is an object");
    assert_eq!(told.text("call"), Some(expected.call));
    assert_eq!(told.raw("session"), None, "the session is the key to a seat");
    let body = told.raw("body").map_or("", |body| &body[1..body.len() - 1]);
    assert_eq!(body, expected.body, "the body passes as it came");
    assert_eq!(told.text("kind").as_deref(), Some(kind.word()));
}

/// With serde_json. `None` for what is malformed.
fn posted(text: &str) -> Option<Posted<'_>> {
    let object = Object::parse(text).filter(|object| !object.has_twice(&FIELDS))?;
    let is_known = |value: &&str| value.starts_with('"') || *value == "null";
    let known = FIELDS.iter().filter_map(|name| object.raw(name));
    if !known.clone().all(|value| is_known(&value)) {
        return None;
    }
    let text_of = |name| match object.given(name) {
        Some(_) => object.text(name),
        None => Some(String::new()),
    };
    let kinds = [
        EventKind::Join,
        EventKind::Welcome,
        EventKind::Peer,
        EventKind::Offer,
        EventKind::Answer,
        EventKind::Candidate,
    ];
    let word = text_of("kind")?;
    let (call, session) = (text_of("call")?, text_of("session")?);
    let body = object.given("body").map_or("", |body| &body[1..body.len() - 1]);
    let kind = kinds.into_iter().find(|kind| kind.word() == word);
    let fits = call.len() <= CALL_BYTES_MAX && session.len() <= SESSION_BYTES_MAX;
    fits.then_some(Posted { call, session, body, kind })
}

impl Posted<'_> {
    fn is_join(&self) -> bool {
        let is_whole = !self.call.is_empty() && !self.session.is_empty() && self.body.is_empty();
        is_whole && self.kind == Some(EventKind::Join)
    }

    fn signal(&self) -> Option<EventKind> {
        let is_whole = !self.call.is_empty() && !self.session.is_empty() && !self.body.is_empty();
        let signals = [EventKind::Offer, EventKind::Answer, EventKind::Candidate];
        self.kind.filter(|kind| is_whole && signals.contains(kind))
    }
}

fn join(session: &str) -> String {
    format!(r#"{{"call":"{CALL}","session":"{session}","kind":"JOIN"}}"#)
}
