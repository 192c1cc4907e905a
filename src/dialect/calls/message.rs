//! The one form of all messages: `call`, `session`, `body`, `kind`, each a string.

use std::borrow::Cow;
use std::sync::Arc;

use crate::base::PeerKey;
use crate::dialect::labels::CALLS_MESSAGES;
use crate::dialect::{Delivery, MessageLabel, MessageRef, OwnedDelivery, Parts, Text, TextDialect};
use crate::wire::json::{self, Kind, Scanner, Span};

/// Longest name of a call. Deployed servers take no message of more than 512 bytes, so a longer one
/// has never been of use.
pub const CALL_BYTES_MAX: usize = 512;

/// Longest session. Ours have 27 bytes; deployed servers may share the seats and have others.
pub const SESSION_BYTES_MAX: usize = 128;

/// How a message of no known kind is counted.
pub(super) const UNKNOWN_LABEL: MessageLabel = MessageLabel(CALLS_MESSAGES + 6);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EventKind {
    Join,
    Welcome,
    Peer,
    Offer,
    Answer,
    Candidate,
}

/// What a client has sent. A field that is missing or null is empty. The names are not longer than
/// they may be.
pub struct Message<'a> {
    pub call: Cow<'a, str>,
    pub session: Cow<'a, str>,
    pub body: Body<'a>,
    /// `None` for a word that is no kind, or for none at all.
    pub kind: Option<EventKind>,
}

/// The text of a body as it stood in the sender's JSON, escapes included, so that it passes as it
/// came.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Body<'a>(&'a str);

/// What a client is told. Empty fields are left out.
#[derive(Clone, Copy)]
pub struct Event<'a> {
    pub call: &'a str,
    pub session: &'a str,
    pub body: Body<'a>,
    pub kind: EventKind,
}

/// Not JSON, not an object, or a field of it is no string or is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Appends an event's JSON, its keys in the order in which deployed servers write them.
pub fn write_event(event: &Event<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"call\":");
    json::write_string(out, event.call);
    if !event.session.is_empty() {
        out.extend_from_slice(b",\"session\":");
        json::write_string(out, event.session);
    }
    if !event.body.is_empty() {
        out.extend_from_slice(b",\"body\":\"");
        out.extend_from_slice(event.body.0.as_bytes());
        out.push(b'"');
    }
    out.extend_from_slice(b",\"kind\":\"");
    out.extend_from_slice(event.kind.word().as_bytes());
    out.extend_from_slice(b"\"}");
}

/// An event on its way from `from` to one listener. It names no target: a listener has no id that
/// may be shown.
pub fn delivery(from: PeerKey, event: &Event<'_>) -> OwnedDelivery {
    let mut bytes = Vec::with_capacity(64 + event.call.len() + event.body.0.len());
    write_event(event, &mut bytes);
    let reference = MessageRef::Text { label: event.kind.label(), target: Arc::from("") };
    let text = Text {
        dialect: TextDialect::Calls,
        reference: &reference,
        label: event.kind.label(),
        parts: Parts::One(&bytes),
    };
    Delivery { from, body: crate::dialect::Body::Text(text) }.to_owned()
}

impl EventKind {
    const ALL: [EventKind; 6] = [
        EventKind::Join,
        EventKind::Welcome,
        EventKind::Peer,
        EventKind::Offer,
        EventKind::Answer,
        EventKind::Candidate,
    ];

    fn from_word(word: &str) -> Option<EventKind> {
        EventKind::ALL.into_iter().find(|kind| kind.word() == word)
    }

    pub fn word(self) -> &'static str {
        super::MESSAGE_LABELS[self as usize].1
    }

    pub fn label(self) -> MessageLabel {
        MessageLabel(CALLS_MESSAGES + self as u8)
    }

    /// Whether a client may send it to the others of its call.
    pub fn is_signal(self) -> bool {
        matches!(self, EventKind::Offer | EventKind::Answer | EventKind::Candidate)
    }
}

impl<'a> Message<'a> {
    /// Unknown keys are skipped; none of the known ones may come twice.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn parse(text: &'a str) -> Result<Message<'a>, Malformed> {
        let bytes = text.as_bytes();
        let fields = fields(text).map_err(|_| Malformed)?;
        let raw = |field: Field| match field {
            Field::Missing => Ok(Span::default()),
            Field::Text(inner) => Ok(inner),
            Field::Wrong => Err(Malformed),
        };
        let decoded = |field| {
            let inner = raw(field)?;
            json::decode(inner.of(bytes)).map_err(|_| Malformed)
        };
        let within = |text: Cow<'a, str>, bytes_max| {
            if text.len() <= bytes_max { Ok(text) } else { Err(Malformed) }
        };
        let body = raw(fields.body)?;
        Ok(Message {
            call: within(decoded(fields.call)?, CALL_BYTES_MAX)?,
            session: within(decoded(fields.session)?, SESSION_BYTES_MAX)?,
            // Quotes are ASCII, so what is between them is text as the whole is.
            body: Body(text.get(body.start as usize..body.end as usize).ok_or(Malformed)?),
            kind: EventKind::from_word(&decoded(fields.kind)?),
        })
    }

    /// A JOIN with all that belongs in it and nothing else.
    pub fn is_handshake(&self) -> bool {
        self.kind == Some(EventKind::Join)
            && !self.call.is_empty()
            && !self.session.is_empty()
            && self.body.is_empty()
    }

    /// The kind of a signal that has all that belongs in it.
    pub fn signal(&self) -> Option<EventKind> {
        let is_whole = !self.call.is_empty() && !self.session.is_empty() && !self.body.is_empty();
        self.kind.filter(|kind| is_whole && kind.is_signal())
    }
}

impl Body<'_> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[derive(Clone, Copy, Default)]
enum Field {
    #[default]
    Missing,
    /// A string, by what is between its quotes.
    Text(Span),
    Wrong,
}

#[derive(Default)]
struct Fields {
    call: Field,
    session: Field,
    body: Field,
    kind: Field,
}

fn fields(text: &str) -> Result<Fields, json::Error> {
    let bytes = text.as_bytes();
    let mut scanner = Scanner::of_str(text)?;
    let mut object = scanner.enter_object()?;
    let mut fields = Fields::default();
    while let Some(key) = scanner.next_key(&mut object)? {
        let value = scanner.value()?;
        let field = if key.is(bytes, "body") {
            &mut fields.body
        } else if key.is(bytes, "call") {
            &mut fields.call
        } else if key.is(bytes, "session") {
            &mut fields.session
        } else if key.is(bytes, "kind") {
            &mut fields.kind
        } else {
            continue;
        };
        if !matches!(field, Field::Missing) {
            *field = Field::Wrong;
            continue;
        }
        *field = match value.kind {
            Kind::String => Field::Text(Span { start: value.span.start + 1, end: value.span.end - 1 }),
            // So do libraries say that there is none.
            Kind::Null => Field::Missing,
            _ => Field::Wrong,
        };
    }
    scanner.end()?;
    Ok(fields)
}
