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

/// What [`fields::read`](super::fields::read) would find for the target, the data and the sender's
/// claim. `None`: the payload has another shape.
#[inline]
pub(super) fn signal(payload: &[u8], message_type: MessageType) -> Option<Fields<3>> {
    let mut at = 0;
    let tagged = take(payload, &mut at, TARGET).is_none();
    if tagged {
        take(payload, &mut at, b"{\"")?;
        take(payload, &mut at, message_type.tag().as_bytes())?;
        take(payload, &mut at, b"\":")?;
        skip_space(payload, &mut at);
    }
    let start = if tagged { at } else { 0 };
    if tagged {
        take(payload, &mut at, TARGET)?;
    }
    let target = string(payload, &mut at)?;
    take(payload, &mut at, b",")?;
    skip_space(payload, &mut at);
    take(payload, &mut at, b"\"signal_data\":")?;
    let data = string(payload, &mut at)?;
    let end: &[u8] = if tagged { b"}}" } else { b"}" };
    if payload.get(at..)? != end || !json::is_plain_text(payload) {
        return None;
    }
    Some(Fields {
        tagged,
        object: Span { start: start as u32, end: at as u32 + 1 },
        entries: Span { start: start as u32 + 1, end: at as u32 },
        values: [Some(target), Some(data), None],
        claims_repeat: false,
    })
}

const TARGET: &[u8] = b"{\"target_client_id\":";

#[inline]
fn take(payload: &[u8], at: &mut usize, expected: &[u8]) -> Option<()> {
    payload.get(*at..)?.starts_with(expected).then(|| *at += expected.len())
}

fn skip_space(payload: &[u8], at: &mut usize) {
    *at += usize::from(payload.get(*at) == Some(&b' '));
}

#[inline]
fn string(payload: &[u8], at: &mut usize) -> Option<Span> {
    skip_space(payload, at);
    let start = *at;
    *at = json::behind_string(payload, start)?;
    Some(Span { start: start as u32, end: *at as u32 })
}

#[cfg(test)]
mod tests {
    use super::super::fields::{self, SENDER};
    use super::super::form::PayloadType;
    use super::*;

    const WANTED: [&str; 3] = ["target_client_id", "signal_data", SENDER];

    /// Where it finds something, the walk finds the same.
    fn agrees(payload: &[u8]) -> bool {
        let Some(usual) = signal(payload, MessageType::SignalOffer) else { return false };
        let walked = fields::read(PayloadType::Json, payload, MessageType::SignalOffer, WANTED);
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
    fn the_usual_shape_is_recognised() {
        for payload in USUAL {
            assert!(agrees(payload.as_bytes()), "{payload}");
        }
    }

    #[test]
    fn it_never_says_more_than_the_walk() {
        const BYTES: &[u8] = b"\"\\{}:, x\n\t\x00\x1f\x7f\x80\xc3\xff0u";
        for payload in USUAL {
            let payload = payload.as_bytes();
            for at in 0..=payload.len() {
                for &byte in BYTES {
                    let mut inserted = payload.to_vec();
                    inserted.insert(at, byte);
                    agrees(&inserted);
                    if let Some(replaced) = payload.get(at) {
                        let mut other = payload.to_vec();
                        other[at] = byte;
                        assert_ne!(*replaced, 0);
                        agrees(&other);
                    }
                }
                let mut cut = payload.to_vec();
                cut.truncate(at);
                agrees(&cut);
            }
        }
    }
}
