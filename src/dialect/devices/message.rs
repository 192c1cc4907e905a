//! What clients send: one JSON object, of which six members count.
//!
//! ```text
//! {"type":"offer", "target":"drone-1", "sdp":…, "sessionId":…, …}
//!          └ which  └ to whom           └ passes  └ passes
//! ```
//!
//! Of a member that comes twice the last one counts, as it does for `JSON.parse`.

use std::borrow::Cow;

use crate::dialect::{MessageLabel, labels};
use crate::hub::SignalKind;
use crate::wire::json::{self, Kind, Scanner, Value};

const ID_CHARACTERS_MAX: usize = 128;

/// Longest id that anybody in a realm may have: 128 characters of four bytes.
const TARGET_BYTES_MAX: usize = 512;

/// Most characters of a type that nobody knows which its sender is told again.
const SHOWN_TYPE_CHARACTERS_MAX: usize = 64;

/// How a message of an unknown type is counted.
pub(super) const UNKNOWN_LABEL: MessageLabel = MessageLabel(labels::DEVICES_MESSAGES + 11);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum MessageType {
    Register = 0,
    Offer = 1,
    Answer = 2,
    Ice = 3,
    List = 4,
    Ping = 5,
}

/// Where in a text everything stands.
pub(super) struct Message<'a> {
    text: &'a [u8],
    /// By the position in [`FIELDS`].
    fields: [Option<Value>; FIELDS.len()],
}

/// Whom a message is for.
pub(super) struct Target<'a> {
    /// What its sender may be told again.
    pub(super) text: Cow<'a, str>,
    /// It may be somebody's id.
    pub(super) is_id: bool,
}

const FIELDS: [&str; 6] = ["type", "target", "sdp", "candidate", "sessionId", "id"];
const TYPE: usize = 0;
const TARGET: usize = 1;
const SDP: usize = 2;
const CANDIDATE: usize = 3;
const SESSION_ID: usize = 4;
const ID: usize = 5;

/// What a client may call itself: 1 to 128 visible characters. A space is not visible, and neither is
/// what Unicode calls default ignorable.
pub fn is_id(id: &str) -> bool {
    // No character has more than four bytes.
    !id.is_empty()
        && id.len() <= ID_CHARACTERS_MAX * 4
        && id.chars().count() <= ID_CHARACTERS_MAX
        && id.chars().all(is_visible)
}

impl MessageType {
    const ALL: [MessageType; 6] = [
        MessageType::Register,
        MessageType::Offer,
        MessageType::Answer,
        MessageType::Ice,
        MessageType::List,
        MessageType::Ping,
    ];

    pub(super) fn word(self) -> &'static str {
        match self {
            MessageType::Register => "register",
            MessageType::Offer => "offer",
            MessageType::Answer => "answer",
            MessageType::Ice => "ice",
            MessageType::List => "list",
            MessageType::Ping => "ping",
        }
    }

    pub(super) fn of_word(word: &str) -> Option<MessageType> {
        MessageType::ALL.into_iter().find(|message_type| message_type.word() == word)
    }

    pub(super) fn label(self) -> MessageLabel {
        MessageLabel(labels::DEVICES_MESSAGES + self as u8)
    }

    pub(super) fn of_label(label: MessageLabel) -> Option<MessageType> {
        MessageType::ALL.into_iter().find(|message_type| message_type.label() == label)
    }

    pub(super) fn signal_kind(self) -> Option<SignalKind> {
        match self {
            MessageType::Offer => Some(SignalKind::Offer),
            MessageType::Answer => Some(SignalKind::Answer),
            MessageType::Ice => Some(SignalKind::Candidate),
            MessageType::Register | MessageType::List | MessageType::Ping => None,
        }
    }
}

impl<'a> Message<'a> {
    /// # Errors
    /// The words for a text that is not one JSON object.
    pub(super) fn scan(text: &'a str) -> Result<Message<'a>, &'static str> {
        match scan(text) {
            Ok((message, false)) => Ok(message),
            // Of two, the server could take one and the target's reader the other.
            Ok((_, true)) => Err("A field stands twice"),
            Err(json::Error::NotUtf8) => Err("Not UTF-8"),
            Err(json::Error::Syntax) => Err("Not valid JSON"),
            Err(json::Error::NotAnObject) => Err("Not a JSON object"),
            Err(json::Error::TooDeep) => Err("Nested too deeply"),
        }
    }

    pub(super) fn message_type(&self) -> Option<MessageType> {
        let value = self.string(TYPE)?;
        let word = json::decode_value(self.text, value.span).ok()?;
        MessageType::of_word(&word)
    }

    /// The type as a template literal of JavaScript shows it, apart from arrays, and cut where it is
    /// long.
    pub(super) fn shown_type(&self) -> String {
        let text = match self.fields[TYPE] {
            None => Cow::Borrowed("undefined"),
            Some(Value { kind: Kind::Object, .. }) => Cow::Borrowed("[object Object]"),
            Some(value @ Value { kind: Kind::String, .. }) => shown_string(self.text, value),
            Some(value) => String::from_utf8_lossy(value.span.of(self.text)),
        };
        bounded(&text, SHOWN_TYPE_CHARACTERS_MAX).into_owned()
    }

    /// `None` where there is none, an empty one, or no string.
    pub(super) fn target(&self) -> Option<Target<'a>> {
        let value = self.string(TARGET)?;
        let target = match json::decode_value(self.text, value.span) {
            Ok(text) => {
                // Nobody can have a longer id, or one with control characters.
                let is_id = text.len() <= TARGET_BYTES_MAX && !has_control(&text);
                Target { text, is_id }
            }
            Err(json::LoneSurrogate) => Target { text: shown_string(self.text, value), is_id: false },
        };
        (!target.text.is_empty()).then_some(target)
    }

    /// The id to register; `None` where a client may not be called so.
    pub(super) fn id(&self) -> Option<Cow<'a, str>> {
        let value = self.string(ID)?;
        json::decode_value(self.text, value.span).ok().filter(|id| is_id(id))
    }

    pub(super) fn sdp(&self) -> Option<Value> {
        self.fields[SDP]
    }

    pub(super) fn candidate(&self) -> Option<Value> {
        self.fields[CANDIDATE]
    }

    pub(super) fn session_id(&self) -> Option<Value> {
        self.fields[SESSION_ID]
    }

    /// `sessionId`, where JavaScript takes it for true: deployed servers make one in place of any
    /// other.
    pub(super) fn true_session_id(&self) -> Option<Value> {
        self.fields[SESSION_ID].filter(|&value| is_true(self.text, value))
    }

    /// The bytes of a value, as they came.
    pub(super) fn bytes_of(&self, value: Value) -> &'a [u8] {
        value.span.of(self.text)
    }

    fn string(&self, field: usize) -> Option<Value> {
        self.fields[field].filter(|value| value.kind == Kind::String)
    }
}

/// `text`, or its beginning and an ellipsis.
pub(super) fn bounded(text: &str, characters_max: usize) -> Cow<'_, str> {
    match text.char_indices().nth(characters_max) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default())),
    }
}

/// The message, and whether a field stands twice in it.
fn scan(text: &str) -> Result<(Message<'_>, bool), json::Error> {
    let bytes = text.as_bytes();
    let mut scanner = Scanner::of_str(text)?;
    let mut object = scanner.enter_object()?;
    let mut fields = [None; FIELDS.len()];
    let mut repeats = false;
    while let Some(key) = scanner.next_key(&mut object)? {
        let value = scanner.value()?;
        if let Some(field) = key.among(bytes, &FIELDS) {
            repeats |= fields[field].replace(value).is_some();
        }
    }
    scanner.end()?;
    Ok((Message { text: bytes, fields }, repeats))
}

fn is_true(text: &[u8], value: Value) -> bool {
    let bytes = value.span.of(text);
    match value.kind {
        Kind::Null => false,
        Kind::Bool => bytes == b"true",
        Kind::String => bytes != b"\"\"",
        Kind::Number => {
            let number = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<f64>().ok());
            number.is_some_and(|number| number != 0.0)
        }
        Kind::Object | Kind::Array => true,
    }
}

/// The text of a string, with U+FFFD for each half of a surrogate pair that stands alone.
fn shown_string(text: &[u8], value: Value) -> Cow<'_, str> {
    if let Ok(text) = json::decode_value(text, value.span) {
        return text;
    }
    let quoted = String::from_utf8_lossy(value.span.of(text));
    let mut rest = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    let mut shown = String::with_capacity(rest.len());
    while let Some(backslash) = rest.find('\\') {
        let (before, escapes) = rest.split_at(backslash);
        shown.push_str(before);
        // The longest that has a meaning: a pair of \u escapes, one of them, or a short escape.
        let meant = [12, 6, 2].into_iter().find_map(|length| {
            let text = json::decode(escapes.get(..length)?.as_bytes()).ok()?;
            Some((text, length))
        });
        let (text, length) = meant.unwrap_or((Cow::Borrowed("\u{fffd}"), 6));
        shown.push_str(&text);
        rest = escapes.get(length..).unwrap_or_default();
    }
    shown.push_str(rest);
    Cow::Owned(shown)
}

fn has_control(text: &str) -> bool {
    if text.is_ascii() {
        // Byte by byte is what a compiler makes fast.
        return text.bytes().any(|byte| byte.is_ascii_control());
    }
    text.contains(char::is_control)
}

fn is_visible(character: char) -> bool {
    !character.is_control() && !character.is_whitespace() && !is_ignorable(character)
}

/// Unicode's property `Default_Ignorable_Code_Point`, and the rest of its format characters that
/// show nothing.
fn is_ignorable(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_1_to_128_visible_characters() {
        for id in ["a", "drone-alpha-001", "drohne-ä", "ドローン", "😀", &"é".repeat(128), &"😀".repeat(128)]
        {
            assert!(is_id(id), "{id}");
        }
        let long = "a".repeat(129);
        for id in [
            "",
            " ",
            "a b",
            "a\t",
            "a\n",
            "\0",
            "a\u{7f}",
            "a\u{a0}b",
            "\u{200b}",
            "a\u{202e}",
            "\u{feff}a",
            "a\u{e0041}",
            &long,
        ] {
            assert!(!is_id(id), "{id:?}");
        }
    }

    #[test]
    fn a_session_id_counts_where_javascript_takes_it_for_true() {
        for (value, is_true) in [
            ("\"s\"", true),
            ("\" \"", true),
            ("\"\\u0000\"", true),
            ("7", true),
            ("-0.5", true),
            ("true", true),
            ("[]", true),
            ("{}", true),
            ("\"\"", false),
            ("null", false),
            ("false", false),
            ("0", false),
            ("-0.0e7", false),
            ("1e-999", false),
        ] {
            let text = format!("{{\"sessionId\":{value}}}");
            let message = Message::scan(&text).unwrap();
            let found = message.true_session_id().map(|value| message.bytes_of(value));
            assert_eq!(found, is_true.then_some(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn half_a_surrogate_pair_is_shown_as_a_replacement() {
        for (raw, shown) in [
            (r#""\ud83d""#, "\u{fffd}"),
            (r#""a\ud83d\ud83d\ude00b""#, "a\u{fffd}😀b"),
            (r#""\n\ude00\\""#, "\n\u{fffd}\\"),
            (r#""é\ud83dé\u00e9""#, "é\u{fffd}éé"),
        ] {
            let text = format!("{{\"type\":{raw}}}");
            assert_eq!(Message::scan(&text).unwrap().shown_type(), shown, "{raw}");
        }
    }
}
