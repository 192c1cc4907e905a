//! What an event carries: JSON text that keeps its bytes, and the attachments that it names.
//!
//! The library hands over the text of the whole packet, `["signal",{…}]`, and takes what can be
//! serialized. So the first argument is cut out as it is, and goes back as raw JSON. Only where there
//! are attachments is the text walked, because the library numbers those itself.

use std::cell::{Cell, RefCell};
use std::{fmt, io};

use bytes::Bytes;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde::ser::{Error as _, SerializeMap, SerializeSeq, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The first argument of an event.
pub(crate) struct Payload {
    text: Box<RawValue>,
    attachments: Vec<Bytes>,
}

impl Payload {
    /// None when the text is no JSON, or does not name each attachment exactly once.
    pub(crate) fn new(text: String, attachments: Vec<Bytes>) -> Option<Payload> {
        let payload = Payload { text: RawValue::from_string(text).ok()?, attachments };
        let is_whole = !payload.has_attachments() || serde_json::to_writer(io::sink(), &payload).is_ok();
        is_whole.then_some(payload)
    }

    pub(crate) fn text(&self) -> &str {
        self.text.get()
    }

    pub(crate) fn has_attachments(&self) -> bool {
        !self.attachments.is_empty()
    }

    /// The bytes of each frame in which the event `event` leaves.
    pub(crate) fn frames(&self, event: &str) -> impl Iterator<Item = usize> + Clone {
        // `42["event",…]`
        let text_bytes = self.text().len() + event.len() + 8;
        std::iter::once(text_bytes).chain(self.attachments.iter().map(Bytes::len))
    }
}

/// The first argument in an event's packet, `["event", first, …]`. None where there is none.
pub(crate) fn first_argument(packet: &str) -> Option<&str> {
    struct Arguments;
    impl<'de> Visitor<'de> for Arguments {
        type Value = Option<&'de RawValue>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an event's name and its arguments")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
            sequence.next_element::<IgnoredAny>()?;
            let first = sequence.next_element()?;
            while sequence.next_element::<IgnoredAny>()?.is_some() {}
            Ok(first)
        }
    }
    serde_json::Deserializer::from_str(packet).deserialize_seq(Arguments).ok().flatten().map(RawValue::get)
}

impl Serialize for Payload {
    /// # Errors
    /// When the text does not name each attachment exactly once.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.attachments.is_empty() {
            return self.text.serialize(serializer);
        }
        let walk = Walk {
            text: self.text(),
            at: Cell::new(0),
            attachments: RefCell::new(self.attachments.iter().map(Some).collect()),
        };
        let done = Next(&walk).serialize(serializer)?;
        match walk.attachments.borrow().iter().any(Option::is_some) {
            true => Err(S::Error::custom("an attachment has no place in the message")),
            false => Ok(done),
        }
    }
}

/// A position in JSON that is known to be valid, and not too deep.
struct Walk<'a> {
    text: &'a str,
    at: Cell<usize>,
    /// Those that have not been placed yet: each may go out once only, or a small message could
    /// become a large one.
    attachments: RefCell<Vec<Option<&'a Bytes>>>,
}

/// The value at the walk's position.
struct Next<'w, 'a>(&'w Walk<'a>);

impl Serialize for Next<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let walk = self.0;
        if let Some(number) = walk.take_placeholder() {
            let place = |all: &mut Vec<Option<_>>| all.get_mut(number).and_then(Option::take);
            let attachment = place(&mut walk.attachments.borrow_mut());
            let attachment: &Bytes = attachment.ok_or_else(|| S::Error::custom("no such attachment"))?;
            return serializer.serialize_bytes(attachment);
        }
        match walk.peek() {
            Some(b'{') => {
                let mut map = serializer.serialize_map(None)?;
                while walk.take_separator() {
                    let key: String = serde_json::from_str(walk.take_scalar()).map_err(S::Error::custom)?;
                    // Its colon.
                    walk.take_separator();
                    map.serialize_entry(&key, &Next(walk))?;
                }
                map.end()
            }
            Some(b'[') => {
                let mut sequence = serializer.serialize_seq(None)?;
                while walk.take_separator() {
                    sequence.serialize_element(&Next(walk))?;
                }
                sequence.end()
            }
            _ => {
                let scalar: &RawValue = serde_json::from_str(walk.take_scalar()).map_err(S::Error::custom)?;
                scalar.serialize(serializer)
            }
        }
    }
}

impl<'a> Walk<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at.get()..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        let rest = self.rest();
        self.at.set(self.at.get() + rest.len() - rest.trim_ascii_start().len());
        self.rest().bytes().next()
    }

    fn skip(&self, bytes: usize) {
        self.at.set(self.at.get() + bytes);
    }

    /// Steps over one of `{ [ , :`, or over the end of an object or array, which makes it false.
    fn take_separator(&self) -> bool {
        let is_end = |byte| matches!(byte, Some(b'}' | b']') | None);
        let was_end = is_end(self.peek());
        self.skip(1);
        if !was_end && is_end(self.peek()) {
            // Nothing stands between these two.
            self.skip(1);
            return false;
        }
        !was_end
    }

    /// A string, number or word, as it is written.
    fn take_scalar(&self) -> &'a str {
        self.peek();
        let rest = self.rest();
        let mut escaped = false;
        let end = if rest.starts_with('"') {
            let quote = |byte: u8| {
                let ends = byte == b'"' && !escaped;
                escaped = byte == b'\\' && !escaped;
                ends
            };
            rest.bytes().skip(1).position(quote).map(|at| at + 2)
        } else {
            rest.bytes().position(|byte| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace())
        };
        let end = end.unwrap_or(rest.len());
        self.skip(end);
        rest.get(..end).unwrap_or_default()
    }

    /// The number in `{"_placeholder":true,"num":0}`.
    fn take_placeholder(&self) -> Option<usize> {
        /// With spaces, and every number that can be meant.
        const BYTES_MAX: usize = 80;
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Placeholder {
            _placeholder: bool,
            num: usize,
        }
        if self.peek() != Some(b'{') {
            return None;
        }
        let rest = self.rest();
        let end = rest.bytes().take(BYTES_MAX).position(|byte| byte == b'}')? + 1;
        let found: Placeholder = serde_json::from_str(rest.get(..end)?).ok()?;
        if !found._placeholder {
            return None;
        }
        self.skip(end);
        Some(found.num)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str, attachments: usize) -> Option<String> {
        let attachments = vec![Bytes::from_static(b"\x01\x02"); attachments];
        let payload = Payload::new(text.to_owned(), attachments)?;
        Some(serde_json::to_string(&payload).unwrap())
    }

    #[test]
    fn the_first_argument_keeps_its_bytes() {
        for (packet, first) in [
            (r#"["signal",{ "a" : 1.0 } ]"#, Some(r#"{ "a" : 1.0 }"#)),
            (r#"["signal", [1,2] ,3,{"x":[]}]"#, Some("[1,2]")),
            (r#"["signal","\ud800"]"#, Some(r#""\ud800""#)),
            (r#"["signal"]"#, None),
        ] {
            assert_eq!(first_argument(packet), first);
        }
    }

    #[test]
    fn text_without_attachments_is_written_as_it_is() {
        let text = r#"{ "n": 1.50e3,"b":12345678901234567890123, "_placeholder" : true,"u":"\ud800" }"#;
        assert_eq!(written(text, 0).unwrap(), text);
    }

    #[test]
    fn around_attachments_order_numbers_and_strings_stay() {
        let text = r#" { "z" : 1.50, "a\"b" : [ ] , "o":{}, "s":"\ud800}\\", "n":123456789012345678901,
            "d":{"list":[{"num":1,"_placeholder":true}, {"x":null} , -0, false],"one":{ "_placeholder":true, "num":0 }} }"#;
        assert_eq!(
            written(text, 2).unwrap(),
            r#"{"z":1.50,"a\"b":[],"o":{},"s":"\ud800}\\","n":123456789012345678901,"d":{"list":[[1,2],{"x":null},-0,false],"one":[1,2]}}"#
        );
    }

    #[test]
    fn each_attachment_goes_out_exactly_once() {
        let named = |numbers: &[usize]| {
            let list: Vec<_> =
                numbers.iter().map(|n| format!(r#"{{"_placeholder":true,"num":{n}}}"#)).collect();
            format!("[{}]", list.join(","))
        };
        assert!(written(&named(&[0, 1]), 2).is_some());
        assert!(written(&named(&[1, 0]), 2).is_some());
        for (numbers, attachments) in [(&[0, 0][..], 2), (&[0, 0], 1), (&[0], 2), (&[7], 1), (&[], 1)] {
            assert!(written(&named(numbers), attachments).is_none(), "{numbers:?}");
        }
    }
}
