//! The shape in which nearly all signals come: JSON as serializers write it.
//!
//! ```text
//!                {"target_client_id":"b","signal_data":"…"}    one space may stand behind each
//! {"SignalOffer":{"target_client_id":"b","signal_data":"…"}}   colon and comma
//! ```
//!
//! Recognising it costs a fraction of a walk over keys and values. Whatever differs in a single byte,
//! correct or not, is left to the walk, whose verdict is the only one.

use super::codes::MessageType;
use super::fields::Fields;
use crate::wire::json::{self, Span};

/// How the last signal of a connection began, up to its data. The next one is most often for the
/// same target and begins with the same bytes.
#[derive(Default)]
pub(super) struct Opening {
    bytes: Vec<u8>,
    message_type: Option<MessageType>,
    tagged: bool,
    /// Where the object begins that holds the fields.
    object: u32,
    target: Span,
    id: String,
}

/// What [`fields::read`](super::fields::read) would find for the target, the data and the sender's
/// claim, and the target's text. `None`: the payload has another shape.
#[inline]
pub(super) fn signal<'a>(
    payload: &[u8],
    message_type: MessageType,
    opening: &'a mut Opening,
) -> Option<(Fields<3>, &'a str)> {
    if !opening.begins(payload, message_type) {
        opening.read(payload, message_type)?;
    }
    let start = opening.bytes.len();
    let at = json::behind_string(payload, start)?;
    let end: &[u8] = if opening.tagged { b"}}" } else { b"}" };
    if payload.get(at..)? != end || !json::is_plain_text(payload.get(start..at)?) {
        return None;
    }
    let (object, end) = (opening.object, at as u32);
    let fields = Fields {
        tagged: opening.tagged,
        object: Span { start: object, end: end + 1 },
        entries: Span { start: object + 1, end },
        values: [Some(opening.target), Some(Span { start: start as u32, end }), None],
        claims_repeat: false,
    };
    Some((fields, &opening.id))
}

impl Opening {
    #[inline]
    fn begins(&self, payload: &[u8], message_type: MessageType) -> bool {
        self.message_type == Some(message_type) && payload.starts_with(&self.bytes)
    }

    /// Keeps the beginning of another payload, if it has the shape. What is kept is plain text.
    fn read(&mut self, payload: &[u8], message_type: MessageType) -> Option<()> {
        self.message_type = None;
        let mut at = 0;
        self.tagged = !payload.starts_with(TARGET);
        if self.tagged {
            for part in [b"{\"", message_type.tag().as_bytes(), b"\":"] {
                take(payload, &mut at, part)?;
            }
            skip_space(payload, &mut at);
        }
        self.object = at as u32;
        take(payload, &mut at, TARGET)?;
        skip_space(payload, &mut at);
        let start = at;
        at = json::behind_string(payload, start)?;
        self.target = Span { start: start as u32, end: at as u32 };
        take(payload, &mut at, b",")?;
        skip_space(payload, &mut at);
        take(payload, &mut at, b"\"signal_data\":")?;
        skip_space(payload, &mut at);
        let bytes = payload.get(..at).filter(|bytes| json::is_plain_text(bytes))?;
        let id = json::decode_value(bytes, self.target).ok()?;
        self.id.clear();
        self.id.push_str(&id);
        self.bytes.clear();
        self.bytes.extend_from_slice(bytes);
        self.message_type = Some(message_type);
        Some(())
    }
}

const TARGET: &[u8] = b"{\"target_client_id\":";

fn take(payload: &[u8], at: &mut usize, expected: &[u8]) -> Option<()> {
    payload.get(*at..)?.starts_with(expected).then(|| *at += expected.len())
}

fn skip_space(payload: &[u8], at: &mut usize) {
    *at += usize::from(payload.get(*at) == Some(&b' '));
}

#[cfg(test)]
mod tests {
    use super::super::fields::{self, SENDER};
    use super::super::form::PayloadType;
    use super::*;

    const WANTED: [&str; 3] = ["target_client_id", "signal_data", SENDER];

    /// Where it finds something, the walk finds the same, whatever came before.
    fn agrees(payload: &[u8], opening: &mut Opening) -> bool {
        let message_type = MessageType::SignalOffer;
        let Some((usual, id)) = signal(payload, message_type, opening) else { return false };
        let walked = fields::read(PayloadType::Json, payload, message_type, WANTED);
        let target = walked.as_ref().ok().and_then(|fields| fields.values[0]).unwrap();
        assert_eq!(json::decode_value(payload, target).as_deref(), Ok(id));
        assert_eq!(Ok(usual), walked, "{}", String::from_utf8_lossy(payload));
        true
    }

    const USUAL: [&str; 6] = [
        r#"{"target_client_id":"b","signal_data":"v=0\r\no=- 1 2\r\n"}"#,
        r#"{"target_client_id": "b", "signal_data": "{\"candidate\":\"x\"}"}"#,
        r#"{"target_client_id":"\u00e9é","signal_data":""}"#,
        r#"{"target_client_id":"","signal_data":"\\"}"#,
        r#"{"SignalOffer":{"target_client_id":"b","signal_data":"v=0\r\n"}}"#,
        r#"{"SignalOffer": {"target_client_id": "b", "signal_data": ""}}"#,
    ];

    #[test]
    fn the_usual_shape_is_recognised_at_first_and_again() {
        let mut opening = Opening::default();
        for payload in USUAL {
            assert!(agrees(payload.as_bytes(), &mut opening), "{payload}");
            assert!(agrees(payload.as_bytes(), &mut opening), "{payload}");
        }
    }

    #[test]
    fn the_tag_of_another_message_type_is_not_taken_for_its_own() {
        let payload = br#"{"SignalOffer":{"target_client_id":"b","signal_data":""}}"#;
        let mut opening = Opening::default();
        assert!(agrees(payload, &mut opening));
        assert!(signal(payload, MessageType::SignalAnswer, &mut opening).is_none());
        assert!(agrees(payload, &mut opening));
    }

    /// Also not when the message before was the same up to one byte.
    #[test]
    fn it_never_says_more_than_the_walk() {
        const BYTES: &[u8] = b"\"\\{}:, x\n\t\x00\x1f\x7f\x80\xc3\xff0u";
        for payload in USUAL {
            let payload = payload.as_bytes();
            let (mut fresh, mut used) = (Opening::default(), Opening::default());
            let mut both = |text: &[u8]| {
                fresh.message_type = None;
                agrees(payload, &mut used);
                agrees(text, &mut fresh);
                agrees(text, &mut used);
            };
            for at in 0..=payload.len() {
                for &byte in BYTES {
                    let mut inserted = payload.to_vec();
                    inserted.insert(at, byte);
                    both(&inserted);
                    if let Some(replaced) = payload.get(at) {
                        let mut other = payload.to_vec();
                        other[at] = byte;
                        assert_ne!(*replaced, 0);
                        both(&other);
                    }
                }
                let mut cut = payload.to_vec();
                cut.truncate(at);
                both(&cut);
            }
        }
    }
}
