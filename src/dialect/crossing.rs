//! The two shapes that an SDP and a candidate have in the dialects of a realm.

use std::borrow::Cow;

use crate::wire::json::{self, Kind, Scanner};

/// The member `name` of the object `text`, where it is a string. The last one counts, as it does for
/// `JSON.parse`.
fn string_member<'a>(text: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let bytes = text.as_bytes();
    let mut scanner = Scanner::of_str(text).ok()?;
    let mut object = scanner.enter_object().ok()?;
    let mut found = None;
    while let Some(key) = scanner.next_key(&mut object).ok()? {
        let value = scanner.value().ok()?;
        if key.is(bytes, name) {
            found = (value.kind == Kind::String).then_some(value.span);
        }
    }
    scanner.end().ok()?;
    json::decode_value(bytes, found?).ok()
}

/// The SDP in a value: a string is the SDP itself or the JSON text of an object, an object has it as
/// `sdp`. `text` is the string's text, or the object's JSON.
pub(super) fn sdp(text: Cow<'_, str>) -> Option<Cow<'_, str>> {
    if !text.trim_ascii_start().starts_with('{') {
        return Some(text);
    }
    match string_member(&text, "sdp")? {
        // It borrows from a local where the text is owned.
        found @ Cow::Owned(_) => Some(Cow::Owned(found.into_owned())),
        Cow::Borrowed(found) => Some(Cow::Owned(found.to_owned())),
    }
}

/// The JSON text of the candidate object in a value: the object's own, or one made around a bare
/// `candidate:…` line, or around the empty one that says that no more will come.
pub(super) fn candidate(text: Cow<'_, str>) -> Option<Cow<'_, str>> {
    let trimmed = text.trim_ascii();
    if trimmed.starts_with('{') {
        is_object(trimmed).then_some(text)
    } else if !(trimmed.is_empty() || trimmed.starts_with("candidate:")) {
        None
    } else {
        let mut object = b"{\"candidate\":".to_vec();
        json::write_string(&mut object, &text);
        object.extend_from_slice(b",\"sdpMid\":\"0\",\"sdpMLineIndex\":0}");
        String::from_utf8(object).ok().map(Cow::Owned)
    }
}

/// Whether the text is one JSON object.
fn is_object(text: &str) -> bool {
    let walk = || {
        let mut scanner = Scanner::of_str(text)?;
        let mut object = scanner.enter_object()?;
        while scanner.next_key(&mut object)?.is_some() {
            scanner.value()?;
        }
        scanner.end()
    };
    walk().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_sdp_is_found_bare_and_in_an_object() {
        for text in ["v=0\r\n", r#"{"type":"offer","sdp":"v=0\r\n"}"#, r#" {"sdp":"x","sdp":"v=0\r\n"}"#] {
            assert_eq!(sdp(text.into()).as_deref(), Some("v=0\r\n"), "{text}");
        }
        for text in [r#"{"sdp":5}"#, r#"{"type":"offer"}"#, "{", r#"{"sdp":"\ud800"}"#] {
            assert_eq!(sdp(text.into()), None, "{text}");
        }
    }

    #[test]
    fn a_bare_candidate_line_becomes_an_object() {
        let made = r#"{"candidate":"candidate:1 1 udp","sdpMid":"0","sdpMLineIndex":0}"#;
        assert_eq!(candidate("candidate:1 1 udp".into()).as_deref(), Some(made));
        assert_eq!(candidate(made.into()).as_deref(), Some(made));
        for text in ["{\"candidate\"", "null", "5", "neither"] {
            assert_eq!(candidate(text.into()), None, "{text}");
        }
    }
}
