//! The fields of a JSON or CBOR payload, flat or tagged, found in one pass.
//!
//! ```text
//! {"SignalOffer": {"target_client_id":"b", "signal_data":"…"}}
//!                 │└──────────── entries ───────────────────┘│
//!                 └───────────────── object ─────────────────┘
//! ```
//!
//! A payload is tagged when it is an object of one member, whose key is a tag and whose value is an
//! object. A field that is wanted may stand there once only: of two, a forged one could slip
//! through to a reader that takes the other. The sender's claim about itself may be repeated, since
//! each of them is overwritten.

use super::codes::MessageType;
use super::form::PayloadType;
use crate::wire::cbor;
use crate::wire::json::{self, Span};

/// By which a target learns who has sent a signal.
pub(super) const SENDER: &str = "sender_client_id";

/// Why a payload was refused, in words for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// Otherwise correct, and tagged.
pub(super) const OTHER_TAG: Malformed = Malformed("Payload is tagged as another message type");

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fields<const N: usize> {
    pub(super) tagged: bool,
    /// The object that holds the fields: the whole payload, or what its tag wraps.
    pub(super) object: Span,
    /// The inside of the object: between JSON's braces, behind the head of a CBOR map and before
    /// its break.
    pub(super) entries: Span,
    /// The values of the wanted fields, in the order of their names.
    pub(super) values: [Option<Span>; N],
    /// The sender's claim stands there more than once.
    pub(super) claims_repeat: bool,
}

/// Looks for the fields `wanted` of a message of this type. Any others may stand beside them.
///
/// # Errors
/// [`Malformed`], also for the tag of another message type. Payload types without fields are the
/// caller's mistake, and count as malformed.
pub(super) fn read<const N: usize>(
    payload_type: PayloadType,
    payload: &[u8],
    message_type: MessageType,
    wanted: [&str; N],
) -> Result<Fields<N>, Malformed> {
    match payload_type {
        PayloadType::Json => {
            read_with(|| json::Scanner::new(payload).map_err(from_json), payload, message_type, wanted)
        }
        PayloadType::Cbor => {
            read_with(|| cbor::Scanner::new(payload).map_err(from_cbor), payload, message_type, wanted)
        }
        PayloadType::Binary | PayloadType::Text => Err(Malformed("Payload has no fields")),
    }
}

/// Every value under the name in an object that has been read before, tags and all around it left
/// out.
pub(super) fn values_named(
    payload_type: PayloadType,
    object: &[u8],
    name: &str,
) -> Result<Vec<Span>, Malformed> {
    match payload_type {
        PayloadType::Json => collect(json::Scanner::new(object).map_err(from_json)?, object, name),
        PayloadType::Cbor => collect(cbor::Scanner::new(object).map_err(from_cbor)?, object, name),
        PayloadType::Binary | PayloadType::Text => Ok(Vec::new()),
    }
}

fn collect<S: Scan>(mut scan: S, object: &[u8], name: &str) -> Result<Vec<Span>, Malformed> {
    let mut values = Vec::new();
    let mut open = scan.enter()?;
    while let Some(key) = scan.next_key(&mut open)? {
        let value = scan.value()?;
        if S::is(key, object, name) {
            values.push(value);
        }
    }
    Ok(values)
}

/// What both scanners offer.
trait Scan {
    type Open;
    type Key: Copy;

    fn at_object(&mut self) -> bool;
    fn enter(&mut self) -> Result<Self::Open, Malformed>;
    fn next_key(&mut self, open: &mut Self::Open) -> Result<Option<Self::Key>, Malformed>;
    fn value(&mut self) -> Result<Span, Malformed>;
    fn end(&mut self) -> Result<(), Malformed>;
    fn is(key: Self::Key, payload: &[u8], name: &str) -> bool;
    /// Object and entries of what has been walked to its end.
    fn spans(open: &Self::Open) -> (Span, Span);
}

fn read_with<S: Scan, const N: usize>(
    start: impl Fn() -> Result<S, Malformed>,
    payload: &[u8],
    message_type: MessageType,
    wanted: [&str; N],
) -> Result<Fields<N>, Malformed> {
    let mut scan = start()?;
    let mut outer = scan.enter()?;
    let first = scan.next_key(&mut outer)?;
    if let Some(key) = first
        && scan.at_object()
        && let Some(tag) = tag_of::<S>(key, payload, message_type)
    {
        let mut inner = scan.enter()?;
        let first = scan.next_key(&mut inner)?;
        let fields = members(&mut scan, inner, first, payload, wanted, true)?;
        if scan.next_key(&mut outer)?.is_none() {
            scan.end()?;
            return if tag == message_type { Ok(fields) } else { Err(OTHER_TAG) };
        }
        // Something stands beside it, so it was a field that is called like a tag.
        scan = start()?;
        outer = scan.enter()?;
        scan.next_key(&mut outer)?;
    }
    let fields = members(&mut scan, outer, first, payload, wanted, false)?;
    scan.end()?;
    Ok(fields)
}

/// The values of the wanted fields, from the first key on.
fn members<S: Scan, const N: usize>(
    scan: &mut S,
    mut open: S::Open,
    first: Option<S::Key>,
    payload: &[u8],
    wanted: [&str; N],
    tagged: bool,
) -> Result<Fields<N>, Malformed> {
    let mut values = [None; N];
    let mut claims_repeat = false;
    let mut next = first;
    while let Some(key) = next {
        let value = scan.value()?;
        for (found, name) in values.iter_mut().zip(wanted) {
            if S::is(key, payload, name) && found.replace(value).is_some() {
                if name != SENDER {
                    return Err(Malformed("A field stands twice in the payload"));
                }
                claims_repeat = true;
            }
        }
        next = scan.next_key(&mut open)?;
    }
    let (object, entries) = S::spans(&open);
    Ok(Fields { tagged, object, entries, values, claims_repeat })
}

/// The message type whose tag this key is; the likely one is tried first.
fn tag_of<S: Scan>(key: S::Key, payload: &[u8], likely: MessageType) -> Option<MessageType> {
    [likely].into_iter().chain(MessageType::ALL).find(|other| S::is(key, payload, other.tag()))
}

fn from_json(error: json::Error) -> Malformed {
    Malformed(match error {
        json::Error::NotUtf8 => "Payload is not valid UTF-8",
        json::Error::Syntax => "Payload is not valid JSON",
        json::Error::NotAnObject => "Payload is not a JSON object",
        json::Error::TooDeep => "Payload is nested too deeply",
    })
}

fn from_cbor(error: cbor::Error) -> Malformed {
    Malformed(match error {
        cbor::Error::Malformed => "Payload is not valid CBOR",
        cbor::Error::NotAMap => "Payload is not a CBOR map",
        cbor::Error::TooDeep => "Payload is nested too deeply",
    })
}

impl Scan for json::Scanner<'_> {
    type Open = json::Object;
    type Key = json::Key;

    fn at_object(&mut self) -> bool {
        json::Scanner::at_object(self)
    }

    fn enter(&mut self) -> Result<json::Object, Malformed> {
        self.enter_object().map_err(from_json)
    }

    fn next_key(&mut self, open: &mut json::Object) -> Result<Option<json::Key>, Malformed> {
        json::Scanner::next_key(self, open).map_err(from_json)
    }

    fn value(&mut self) -> Result<Span, Malformed> {
        json::Scanner::value(self).map(|value| value.span).map_err(from_json)
    }

    fn end(&mut self) -> Result<(), Malformed> {
        json::Scanner::end(self).map_err(from_json)
    }

    fn is(key: json::Key, payload: &[u8], name: &str) -> bool {
        key.is(payload, name)
    }

    fn spans(open: &json::Object) -> (Span, Span) {
        let object = Span { start: open.start, end: open.close + 1 };
        (object, Span { start: open.start + 1, end: open.close })
    }
}

impl Scan for cbor::Scanner<'_> {
    type Open = cbor::Map;
    type Key = cbor::Value;

    fn at_object(&mut self) -> bool {
        self.at_map()
    }

    fn enter(&mut self) -> Result<cbor::Map, Malformed> {
        self.enter_map().map_err(from_cbor)
    }

    fn next_key(&mut self, open: &mut cbor::Map) -> Result<Option<cbor::Value>, Malformed> {
        cbor::Scanner::next_key(self, open).map_err(from_cbor)
    }

    fn value(&mut self) -> Result<Span, Malformed> {
        cbor::Scanner::value(self).map(|value| value.span).map_err(from_cbor)
    }

    fn end(&mut self) -> Result<(), Malformed> {
        cbor::Scanner::end(self).map_err(from_cbor)
    }

    fn is(key: cbor::Value, payload: &[u8], name: &str) -> bool {
        key.is_text(payload, name)
    }

    fn spans(open: &cbor::Map) -> (Span, Span) {
        let object = Span { start: open.start, end: open.end };
        (object, Span { start: open.entries, end: open.close })
    }
}
