//! A client's text: one scan finds the fields that the server reads, and checks all the rest.

use std::borrow::Cow;

use super::codes::MessageType;
use crate::base::planted;
use crate::wire::json::{self, Kind, Scanner, Value};

/// Longest peer id, and longest role.
pub(super) const PEER_ID_BYTES_MAX: usize = 256;

/// What a peer may call itself: 1 to 256 bytes without control characters. So a room's id and a
/// peer's id can stand in one string, with a NUL between them.
pub(super) fn is_peer_id(id: &str) -> bool {
    (1..=PEER_ID_BYTES_MAX).contains(&id.len()) && !id.contains(char::is_control)
}

/// In the order of [`FIELDS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Type,
    FromPeerId,
    Sender,
    ToPeerId,
    Target,
    Payload,
    PeerId,
    RoomId,
    Token,
    IdToken,
    Jwt,
    ApiKey,
    Role,
    Metadata,
    Filters,
}

const FIELDS: [(&str, Field); 15] = [
    ("type", Field::Type),
    ("from_peer_id", Field::FromPeerId),
    ("sender", Field::Sender),
    ("to_peer_id", Field::ToPeerId),
    ("target", Field::Target),
    ("payload", Field::Payload),
    ("peer_id", Field::PeerId),
    ("room_id", Field::RoomId),
    ("token", Field::Token),
    ("id_token", Field::IdToken),
    ("jwt", Field::Jwt),
    ("api_key", Field::ApiKey),
    ("role", Field::Role),
    ("metadata", Field::Metadata),
    ("filters", Field::Filters),
];

/// What is wrong with a client's text, by whose fault it always is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// No JSON, or too deep to be looked at.
    NotJson,
    NotAnObject,
    /// Also where it is empty or null.
    Missing(Field),
    /// Also where it has half of a surrogate pair.
    NotAString(Field),
    /// Names somebody else than the peer of this connection.
    AnotherSender,
    /// For the field's own reason.
    Bad(Field, &'static str),
}

/// A scanned text. None of the fields is there twice: of two, the server could take one and a
/// receiver the other.
pub(super) struct Message<'a> {
    pub(super) text: &'a str,
    values: [Option<Value>; FIELDS.len()],
    claims_another: bool,
    repeated: Option<Field>,
}

impl Field {
    pub(super) const fn name(self) -> &'static str {
        FIELDS[self as usize].0
    }
}

impl<'a> Message<'a> {
    /// `own` is the peer id that this connection has registered.
    pub(super) fn scan(text: &'a str, own: Option<&str>) -> Result<Message<'a>, Fault> {
        let values = [None; FIELDS.len()];
        let mut message = Message { text, values, claims_another: false, repeated: None };
        let mut scanner = Scanner::of_str(text).map_err(|_| Fault::NotJson)?;
        match message.walk(&mut scanner, own) {
            Ok(()) => match message.repeated {
                Some(field) => Err(Fault::Bad(field, "stands twice")),
                None => Ok(message),
            },
            // The value itself was correct; so has to be what follows it.
            Err(json::Error::NotAnObject) if scanner.end().is_ok() => Err(Fault::NotAnObject),
            Err(_) => Err(Fault::NotJson),
        }
    }

    fn walk(&mut self, scanner: &mut Scanner<'a>, own: Option<&str>) -> Result<(), json::Error> {
        let bytes = self.text.as_bytes();
        let mut object = scanner.enter_object()?;
        while let Some(key) = scanner.next_key(&mut object)? {
            let value = scanner.value()?;
            let Some(&(_, field)) = FIELDS.iter().find(|(name, _)| key.is(bytes, name)) else { continue };
            if self.values[field as usize].replace(value).is_some() {
                self.repeated = Some(field);
            }
            if let (Field::FromPeerId | Field::Sender, Some(own)) = (field, own) {
                self.claims_another |= !self.is(value, own) && !planted!(FromUnchecked);
            }
        }
        scanner.end()
    }

    /// `None` for a type that clients do not send.
    pub(super) fn message_type(&self) -> Result<Option<MessageType>, Fault> {
        self.required(Field::Type).map(|word| MessageType::from_word(&word))
    }

    /// As it was sent, unless it is null.
    pub(super) fn raw(&self, field: Field) -> Option<&'a str> {
        let value = self.values[field as usize].filter(|value| value.kind != Kind::Null)?;
        self.text.get(value.span.start as usize..value.span.end as usize)
    }

    /// As [`Message::raw`], unless it is an empty string, array or object.
    pub(super) fn raw_required(&self, field: Field) -> Result<&'a str, Fault> {
        let raw = self.raw(field).ok_or(Fault::Missing(field))?;
        let is_empty = match raw.as_bytes() {
            b"\"\"" => true,
            [b'[' | b'{', inside @ .., _] => inside.trim_ascii().is_empty(),
            _ => false,
        };
        if is_empty { Err(Fault::Missing(field)) } else { Ok(raw) }
    }

    /// A string, if it is there.
    pub(super) fn optional(&self, field: Field) -> Result<Option<Cow<'a, str>>, Fault> {
        let Some(value) = self.values[field as usize] else { return Ok(None) };
        match value.kind {
            Kind::Null => Ok(None),
            Kind::String => json::decode_value(self.text.as_bytes(), value.span)
                .map(Some)
                .map_err(|_| Fault::NotAString(field)),
            _ => Err(Fault::NotAString(field)),
        }
    }

    /// As [`Message::optional`]; an empty one is none.
    pub(super) fn given(&self, field: Field) -> Result<Option<Cow<'a, str>>, Fault> {
        Ok(self.optional(field)?.filter(|text| !text.is_empty()))
    }

    pub(super) fn required(&self, field: Field) -> Result<Cow<'a, str>, Fault> {
        self.given(field)?.ok_or(Fault::Missing(field))
    }

    /// That whoever says who sends this says it is the peer of this connection.
    pub(super) fn claims_no_other(&self) -> Result<(), Fault> {
        if self.claims_another { Err(Fault::AnotherSender) } else { Ok(()) }
    }

    /// As [`Message::claims_no_other`], and that it is said, in one of these fields.
    pub(super) fn says_its_sender(&self, fields: &[Field]) -> Result<(), Fault> {
        self.claims_no_other()?;
        let is_said = fields.iter().any(|&field| self.values[field as usize].is_some());
        if is_said { Ok(()) } else { Err(Fault::Missing(fields[0])) }
    }

    fn is(&self, value: Value, text: &str) -> bool {
        value.kind == Kind::String
            && json::decode_value(self.text.as_bytes(), value.span).is_ok_and(|said| said == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str) -> Result<Message<'_>, Fault> {
        Message::scan(text, Some("me"))
    }

    #[test]
    fn a_text_that_is_no_json_is_told_from_one_that_is_no_object() {
        let too_deep = "[".repeat(200) + &"]".repeat(200);
        for text in ["", "{", "{]", "[1", "\"x", "{\"a\":1}x", "[] x", "5 5", "{'a':1}", &too_deep] {
            assert_eq!(scan(text).err(), Some(Fault::NotJson), "{text}");
        }
        for text in ["[]", " 5 ", "\"register\"", "null", "[{\"type\":\"ping\"}]"] {
            assert_eq!(scan(text).err(), Some(Fault::NotAnObject), "{text}");
        }
    }

    #[test]
    fn fields_are_read_by_their_decoded_names_and_none_stands_twice() {
        let text = r#"{"t\u0079pe":"answ\u0065r","target":"b","x":{"target":"c"},"x":1}"#;
        let message = scan(text).expect("an object");
        assert_eq!(message.message_type(), Ok(Some(MessageType::Answer)));
        assert_eq!(message.required(Field::Target).as_deref(), Ok("b"));
        let twice = r#"{"type":"answer","target":"a","t\u0061rget":"a"}"#;
        assert_eq!(scan(twice).err(), Some(Fault::Bad(Field::Target, "stands twice")));
    }

    #[test]
    fn missing_empty_and_wrong_fields_are_told_apart() {
        let text = r#"{"type":7,"target":"","sender":null,"room_id":"\ud800","payload":[ ],"token":"t"}"#;
        let message = scan(text).expect("an object");
        assert_eq!(message.message_type(), Err(Fault::NotAString(Field::Type)));
        assert_eq!(message.required(Field::Target), Err(Fault::Missing(Field::Target)));
        assert_eq!(message.required(Field::Sender), Err(Fault::Missing(Field::Sender)));
        assert_eq!(message.required(Field::RoomId), Err(Fault::NotAString(Field::RoomId)));
        assert_eq!(message.required(Field::Jwt), Err(Fault::Missing(Field::Jwt)));
        assert_eq!(message.required(Field::Token).as_deref(), Ok("t"));
    }

    #[test]
    fn a_payload_is_missing_when_there_is_nothing_in_it() {
        for empty in ["null", "\"\"", "{}", "[]", "{ \n }", "[\t]"] {
            let text = format!("{{\"payload\":{empty}}}");
            assert_eq!(
                scan(&text).expect("an object").raw_required(Field::Payload),
                Err(Fault::Missing(Field::Payload)),
                "{empty}"
            );
        }
        for full in ["0", "1", "-0.50", "false", "\" \"", "[[]]", "{\"\":0}", "\"\\ud800\"", "[ 1 ]"] {
            let text = format!("{{ \"payload\" : {full} }}");
            assert_eq!(scan(&text).expect("an object").raw_required(Field::Payload), Ok(full));
        }
    }

    #[test]
    fn a_false_sender_is_noticed_wherever_it_stands() {
        let fields = [Field::Sender, Field::FromPeerId];
        for text in [
            r#"{"sender":"other"}"#,
            r#"{"sender":"me","from_peer_id":"other"}"#,
            r#"{"sender":null}"#,
            r#"{"sender":""}"#,
            r#"{"sender":["me"]}"#,
            r#"{"sender":"\ud800"}"#,
            r#"{"s\u0065nder":"other"}"#,
        ] {
            assert_eq!(scan(text).expect("an object").says_its_sender(&fields), Err(Fault::AnotherSender));
        }
        for text in [r#"{"sender":"m\u0065"}"#, r#"{"from_peer_id":"me","sender":"me"}"#] {
            assert_eq!(scan(text).expect("an object").says_its_sender(&fields), Ok(()));
        }
        let silent = scan(r#"{"x":{"sender":"other"}}"#).expect("an object");
        assert_eq!(silent.says_its_sender(&fields), Err(Fault::Missing(Field::Sender)));
        assert_eq!(silent.claims_no_other(), Ok(()));
    }

    #[test]
    fn peer_ids_have_a_length_and_no_control_characters() {
        for id in ["x", "Worker-3108", "é 😀", &"x".repeat(256)] {
            assert!(is_peer_id(id), "{id}");
        }
        for id in ["", "a\0b", "a\nb", "\u{7f}", "\u{85}", &"x".repeat(257)] {
            assert!(!is_peer_id(id), "{id:?}");
        }
    }
}
