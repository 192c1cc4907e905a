//! A strict scan of JSON (RFC 8259) that builds no tree and allocates nothing.
//!
//! ```text
//!   { "sender" : "\"A\"" , "data" : [ 1, {} ] }
//!      └key──┘   └value┘                            spans into the text
//! ```
//!
//! [`Scanner`] walks the members of an object, and of an object in it where the caller wants
//! that; every other value is checked to its end and reported as one [`Value`]. So one pass both
//! validates a message and finds its routing fields, and what is forwarded keeps its bytes.
//!
//! Accepted is what RFC 8259 accepts, down to [`DEPTH_MAX`] levels. An escaped lone surrogate is
//! a syntactically correct string, so it passes here; only [`decode`] refuses it, since it has no
//! UTF-8.

mod strings;

pub use strings::{LoneSurrogate, decode, decode_value, string_bytes, write_string};
use strings::{behind_escape, unescape};

/// Most objects and arrays inside one another.
pub const DEPTH_MAX: usize = 128;

/// A range of the scanned bytes. Half of a `Range<usize>`, and `Copy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

/// Why the text was refused. Always the peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    NotUtf8,
    Syntax,
    /// Correct so far, but not the object that was asked for.
    NotAnObject,
    TooDeep,
}

/// What a value's first byte says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Object,
    Array,
    String,
    Number,
    Bool,
    Null,
}

/// A member's key, without its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    pub span: Span,
    /// Holds a backslash, so its text is not its bytes.
    pub escaped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    /// All of it: a string with its quotes.
    pub span: Span,
    pub kind: Kind,
}

/// An object that is being walked.
#[derive(Debug)]
pub struct Object {
    /// Position of its `{`.
    pub start: u32,
    /// Position of its `}`, once [`Scanner::next_key`] has said that no key is left.
    pub close: u32,
    first: bool,
}

pub struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
    /// Somewhere in the text are control characters: as line ends between members they are
    /// allowed, so each string has to be looked at. A compact text has none.
    controls: bool,
}

impl Span {
    /// The bytes of `text` in this range; nothing where `text` is not what was scanned.
    pub fn of(self, text: &[u8]) -> &[u8] {
        text.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    pub fn len(self) -> usize {
        self.end.saturating_sub(self.start) as usize
    }

    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Callers have checked that the scanned bytes are fewer than 2^32.
    pub(super) fn new(start: usize, end: usize) -> Span {
        Span { start: start as u32, end: end as u32 }
    }
}

impl<'a> Scanner<'a> {
    /// Checks the encoding of the whole text.
    ///
    /// # Errors
    /// [`Error::NotUtf8`]; [`Error::Syntax`] for 4 GiB of text or more.
    pub fn new(text: &'a [u8]) -> Result<Scanner<'a>, Error> {
        match simdutf8::basic::from_utf8(text) {
            Ok(text) => Scanner::of_str(text),
            Err(_) => Err(Error::NotUtf8),
        }
    }

    /// As [`Scanner::new`] for a text whose encoding has been checked.
    ///
    /// # Errors
    /// [`Error::Syntax`] for 4 GiB of text or more.
    pub fn of_str(text: &'a str) -> Result<Scanner<'a>, Error> {
        let text = text.as_bytes();
        if u32::try_from(text.len()).is_err() {
            return Err(Error::Syntax);
        }
        Ok(Scanner { text, at: 0, depth: 0, controls: has_control(text) })
    }

    /// Whether the next value is an object.
    pub fn at_object(&mut self) -> bool {
        self.skip_whitespace();
        self.peek() == Some(b'{')
    }

    /// Enters the next value, which has to be an object. After it is walked to its end, the scan
    /// goes on behind it.
    pub fn enter_object(&mut self) -> Result<Object, Error> {
        if !self.at_object() {
            // Tells nonsense from a value of another kind.
            self.value()?;
            return Err(Error::NotAnObject);
        }
        if self.depth == DEPTH_MAX {
            return Err(Error::TooDeep);
        }
        self.depth += 1;
        let start = self.at as u32;
        self.at += 1;
        Ok(Object { start, close: start, first: true })
    }

    /// The key of the next member, or `None` behind the last. After a key its value is to be
    /// taken, by [`Scanner::value`] or [`Scanner::enter_object`].
    pub fn next_key(&mut self, object: &mut Object) -> Result<Option<Key>, Error> {
        self.skip_whitespace();
        match self.peek() {
            Some(b'}') => {
                object.close = self.at as u32;
                self.at += 1;
                self.depth -= 1;
                return Ok(None);
            }
            Some(b',') if !object.first => {
                self.at += 1;
                self.skip_whitespace();
            }
            _ if object.first => {}
            _ => return Err(Error::Syntax),
        }
        object.first = false;
        self.key().map(Some)
    }

    /// Checks the next value to its end.
    pub fn value(&mut self) -> Result<Value, Error> {
        self.skip_whitespace();
        let start = self.at;
        let kind = match self.peek() {
            Some(b'"') => {
                self.string()?;
                Kind::String
            }
            Some(b'{') => {
                self.nested()?;
                Kind::Object
            }
            Some(b'[') => {
                self.nested()?;
                Kind::Array
            }
            _ => self.scalar()?,
        };
        Ok(Value { span: Span::new(start, self.at), kind })
    }

    /// Checks that only whitespace is left.
    pub fn end(&mut self) -> Result<(), Error> {
        self.skip_whitespace();
        if self.at == self.text.len() { Ok(()) } else { Err(Error::Syntax) }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// A key with its colon.
    fn key(&mut self) -> Result<Key, Error> {
        if self.peek() != Some(b'"') {
            return Err(Error::Syntax);
        }
        let start = self.at + 1;
        let escaped = self.string()?;
        let span = Span::new(start, self.at - 1);
        self.skip_whitespace();
        if self.peek() != Some(b':') {
            return Err(Error::Syntax);
        }
        self.at += 1;
        Ok(Key { span, escaped })
    }

    /// From one quote behind the other. Tells whether there is an escape between them.
    fn string(&mut self) -> Result<bool, Error> {
        let start = self.at + 1;
        let mut at = start;
        let mut escaped = false;
        loop {
            // Escapes come in pairs where lines end, and then nothing has to be searched.
            if self.text.get(at) != Some(&b'\\') {
                let rest = self.text.get(at..).unwrap_or_default();
                at += memchr::memchr2(b'"', b'\\', rest).ok_or(Error::Syntax)?;
                if self.text.get(at) == Some(&b'"') {
                    break;
                }
            }
            escaped = true;
            at = behind_escape(self.text, at).ok_or(Error::Syntax)?;
        }
        if self.controls && has_control(self.text.get(start..at).unwrap_or_default()) {
            return Err(Error::Syntax);
        }
        self.at = at + 1;
        Ok(escaped)
    }

    /// An object or array with all that is in it, without recursion: one bit a level says which
    /// of both is open.
    fn nested(&mut self) -> Result<(), Error> {
        let mut objects = 0_u128;
        let mut levels = 0;
        'value: loop {
            self.skip_whitespace();
            match self.peek() {
                Some(open @ (b'{' | b'[')) => {
                    if self.depth + levels == DEPTH_MAX {
                        return Err(Error::TooDeep);
                    }
                    levels += 1;
                    objects = objects << 1 | u128::from(open == b'{');
                    self.at += 1;
                    self.skip_whitespace();
                    let closed = if open == b'{' { b'}' } else { b']' };
                    if self.peek() != Some(closed) {
                        if open == b'{' {
                            self.key()?;
                        }
                        continue 'value;
                    }
                }
                Some(b'"') => {
                    self.string()?;
                }
                _ => {
                    self.scalar()?;
                }
            }
            // Behind a value, or before the end of an empty one: close levels until a comma.
            loop {
                self.skip_whitespace();
                let in_object = objects & 1 == 1;
                match self.peek() {
                    Some(b',') => {
                        self.at += 1;
                        if in_object {
                            self.skip_whitespace();
                            self.key()?;
                        }
                        continue 'value;
                    }
                    Some(close) if close == if in_object { b'}' } else { b']' } => {
                        self.at += 1;
                        levels -= 1;
                        objects >>= 1;
                        if levels == 0 {
                            return Ok(());
                        }
                    }
                    _ => return Err(Error::Syntax),
                }
            }
        }
    }

    fn scalar(&mut self) -> Result<Kind, Error> {
        let literal: (&[u8], Kind) = match self.peek() {
            Some(b't') => (b"true", Kind::Bool),
            Some(b'f') => (b"false", Kind::Bool),
            Some(b'n') => (b"null", Kind::Null),
            Some(b'-' | b'0'..=b'9') => return self.number(),
            _ => return Err(Error::Syntax),
        };
        if !self.text.get(self.at..).is_some_and(|rest| rest.starts_with(literal.0)) {
            return Err(Error::Syntax);
        }
        self.at += literal.0.len();
        Ok(literal.1)
    }

    fn number(&mut self) -> Result<Kind, Error> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Kind::Number)
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), Error> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(Error::Syntax) }
    }
}

impl Key {
    /// Which of the names the key's text is, its escapes resolved. `text` is what was scanned.
    #[inline]
    pub fn among(self, text: &[u8], names: &[&str]) -> Option<usize> {
        let raw = self.span.of(text);
        if self.escaped {
            return names.iter().position(|name| self.is(text, name));
        }
        names.iter().position(|name| name.as_bytes() == raw)
    }

    /// Whether the key's text, its escapes resolved, is `name`. `text` is what was scanned.
    pub fn is(self, text: &[u8], name: &str) -> bool {
        let raw = self.span.of(text);
        if !self.escaped {
            return raw == name.as_bytes();
        }
        let mut rest = Some(name);
        let resolved = std::str::from_utf8(raw).is_ok_and(|raw| {
            unescape(raw, |piece| rest = rest.and_then(|rest| rest.strip_prefix(piece))).is_ok()
        });
        resolved && rest == Some("")
    }
}

/// The position behind the closing quote of the string that begins at `start`, which is looked at
/// for its end and its escapes only: that the text is UTF-8 without control characters is for the
/// caller to ask ([`is_plain_text`]). `None`: there is no string.
pub fn behind_string(text: &[u8], start: usize) -> Option<usize> {
    if text.get(start) != Some(&b'"') {
        return None;
    }
    let mut at = start + 1;
    loop {
        if text.get(at) != Some(&b'\\') {
            at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
            if text.get(at) == Some(&b'"') {
                return Some(at + 1);
            }
        }
        at = behind_escape(text, at)?;
    }
}

/// Whether the text is UTF-8 and holds no control character, not even between values.
pub fn is_plain_text(text: &[u8]) -> bool {
    let (lowest, highest) = extremes(text);
    lowest >= FIRST_PRINTABLE && (highest < 0x80 || simdutf8::basic::from_utf8(text).is_ok())
}

/// Control characters, of which a string may hold none.
fn has_control(text: &[u8]) -> bool {
    extremes(text).0 < FIRST_PRINTABLE
}

const FIRST_PRINTABLE: u8 = 0x20;

/// The lowest and the highest byte; for no bytes what no byte is beyond. Whole blocks without a branch
/// for each byte, so that the compiler can use vector registers; the last block overlaps the one
/// before it, since a rest of single bytes would cost more than all blocks.
fn extremes(text: &[u8]) -> (u8, u8) {
    const BLOCK_BYTES: usize = 32;
    let (mut lowest, mut highest) = ([u8::MAX; BLOCK_BYTES], [0; BLOCK_BYTES]);
    let mut note = |block: &[u8; BLOCK_BYTES]| {
        for (at, &byte) in block.iter().enumerate() {
            lowest[at] = lowest[at].min(byte);
            highest[at] = highest[at].max(byte);
        }
    };
    let (blocks, rest) = text.as_chunks();
    blocks.iter().for_each(&mut note);
    match text.last_chunk() {
        Some(last) if !rest.is_empty() => note(last),
        Some(_) => {}
        None => {
            // Any byte of the text may stand in for those that a block has more.
            let mut block = [text.first().copied().unwrap_or(FIRST_PRINTABLE); BLOCK_BYTES];
            block[..rest.len()].copy_from_slice(rest);
            note(&block);
        }
    }
    let lowest = lowest.into_iter().fold(u8::MAX, u8::min);
    let highest = highest.into_iter().fold(0, u8::max);
    (lowest, highest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole text as one value, as a parser would take it.
    fn check(text: &[u8]) -> Result<Kind, Error> {
        let mut scanner = Scanner::new(text)?;
        let value = scanner.value()?;
        scanner.end()?;
        Ok(value.kind)
    }

    /// The same, but walking the members of an outer object, and of objects right in it.
    fn walk(text: &[u8]) -> Result<Vec<(String, Kind)>, Error> {
        let mut scanner = Scanner::new(text)?;
        let mut outer = scanner.enter_object()?;
        let mut found = Vec::new();
        while let Some(key) = scanner.next_key(&mut outer)? {
            let name = String::from_utf8_lossy(key.span.of(text)).into_owned();
            if scanner.at_object() {
                let mut inner = scanner.enter_object()?;
                while let Some(key) = scanner.next_key(&mut inner)? {
                    let value = scanner.value()?;
                    found.push((String::from_utf8_lossy(key.span.of(text)).into_owned(), value.kind));
                }
                found.push((name, Kind::Object));
            } else {
                found.push((name, scanner.value()?.kind));
            }
        }
        scanner.end()?;
        Ok(found)
    }

    fn oracle(text: &[u8]) -> bool {
        // Skipping checks no encoding inside strings, so that is asked for apart.
        std::str::from_utf8(text).is_ok() && serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok()
    }

    const CORPUS: &[&str] = &[
        "{}",
        " { } ",
        "{\"a\":1}",
        "{\"a\":1,\"b\":[1,2,{\"c\":null}],\"d\":{\"e\":{}}}",
        "{ \"a\" : -0.5e+10 , \"b\" : true , \"c\" : false , \"d\" : null }",
        "{\"client_id\":\"test_client_1\",\"auth_token\":\"test_token_1\"}",
        "{\"target_client_id\":\"b\",\"signal_data\":\"v=0\\r\\no=- 46117 2 IN IP4 127.0.0.1\\r\\ns=-\\r\\n\"}",
        "{\"SignalOffer\":{\"target_client_id\":\"b\",\"signal_data\":{\"sdp\":\"\\u0041\\ud83d\\ude00\"}}}",
        "[[[[]]],[{}],\"\",0,-0,1e5,1E-5,0.0]",
        "\"plain\"",
        "\"\\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u00e9 é 😀\"",
        "{\"\":\"\",\"\":\"\"}",
        "[1 , 2]",
        "12345678901234567890123456789012345678901234567890",
    ];

    const REFUSED: &[&str] = &[
        "",
        " ",
        "{",
        "}",
        "[",
        "]",
        "{]",
        "[}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "[,]",
        "[1,]",
        "[1 2]",
        "{\"a\":1 \"b\":2}",
        "{a:1}",
        "{'a':1}",
        "01",
        "-",
        "-01",
        "1.",
        ".1",
        "1e",
        "1e+",
        "+1",
        "0x1",
        "1_0",
        "NaN",
        "Infinity",
        "tru",
        "truex",
        "nul",
        "\"",
        "\"\\",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\n\"",
        "\"\0\"",
        "\"\u{1f}\"",
        "{}x",
        "{}{}",
        "1 2",
        "\u{feff}{}",
        "{\"a\":1,,\"b\":2}",
        "[\u{a0}1]",
        "//",
        "{}\0",
        "{\"a\"::1}",
        "{\"a\" 1}",
        "[\"a\":1]",
        "{1:2}",
        "{{}:1}",
        "{null:1}",
    ];

    #[test]
    fn the_extremes_of_a_text_are_found_wherever_they_stand() {
        assert_eq!(extremes(b""), (FIRST_PRINTABLE, FIRST_PRINTABLE));
        for length in 1..100 {
            for at in 0..length {
                for byte in [0, 0x1f, 0x20, 0x7f, 0x80, 0xff] {
                    let mut text = vec![b'x'; length];
                    text[at] = byte;
                    let expected = (text.iter().copied().min(), text.iter().copied().max());
                    let (lowest, highest) = extremes(&text);
                    assert_eq!((Some(lowest), Some(highest)), expected, "{byte:#x} at {at} of {length}");
                }
            }
        }
    }

    #[test]
    fn the_corpus_is_judged_as_by_serde_json() {
        for text in CORPUS {
            assert!(check(text.as_bytes()).is_ok(), "{text}");
            assert!(oracle(text.as_bytes()), "{text}");
        }
        for text in REFUSED {
            assert!(check(text.as_bytes()).is_err(), "{text}");
            assert!(!oracle(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn mutated_texts_are_judged_as_by_serde_json() {
        let alphabet = b"{}[]\",:\\u0123456789abcdefntr/-+.eE \n\t\r\x00\x1f\x7f\x80\xc3\xa9\xff";
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as usize % below
        };
        let mut accepted = 0;
        for round in 0..60_000 {
            let mut text = CORPUS[round % CORPUS.len()].as_bytes().to_vec();
            for _ in 0..=random(3) {
                let at = random(text.len() + 1);
                let byte = alphabet[random(alphabet.len())];
                match random(4) {
                    0 if at < text.len() => text[at] = byte,
                    1 if at < text.len() => drop(text.remove(at)),
                    2 => text.truncate(at.max(1)),
                    _ => text.insert(at, byte),
                }
            }
            let expected = oracle(&text);
            let shown = String::from_utf8_lossy(&text);
            assert_eq!(check(&text).is_ok(), expected, "{shown:?}");
            let is_object = text.trim_ascii_start().first() == Some(&b'{');
            assert_eq!(walk(&text).is_ok(), expected && is_object, "{shown:?}");
            accepted += usize::from(expected);
        }
        assert!(accepted > 5_000, "the mutations have to leave some texts intact: {accepted}");
    }

    #[test]
    fn members_are_reported_where_they_stand() {
        let text = br#" { "a" : "x\"y" , "b":[ 1, {} ] ,"c": -1.5 } "#;
        let mut scanner = Scanner::new(text).unwrap();
        let mut object = scanner.enter_object().unwrap();
        let mut found = Vec::new();
        while let Some(key) = scanner.next_key(&mut object).unwrap() {
            let value = scanner.value().unwrap();
            found.push((key.span.of(text), value.span.of(text), value.kind));
        }
        scanner.end().unwrap();
        let expected: [(&[u8], &[u8], Kind); 3] = [
            (b"a", br#""x\"y""#, Kind::String),
            (b"b", b"[ 1, {} ]", Kind::Array),
            (b"c", b"-1.5", Kind::Number),
        ];
        assert_eq!(found, expected);
        assert_eq!((text[object.start as usize], text[object.close as usize]), (b'{', b'}'));
    }

    #[test]
    fn a_value_that_is_no_object_is_told_from_nonsense() {
        for (text, error) in [
            ("[]", Error::NotAnObject),
            ("\"{}\"", Error::NotAnObject),
            ("null", Error::NotAnObject),
            ("nul", Error::Syntax),
            ("", Error::Syntax),
        ] {
            assert_eq!(walk(text.as_bytes()), Err(error), "{text}");
        }
        assert_eq!(walk(b"{\"a\":\"\xff\"}"), Err(Error::NotUtf8));
    }

    #[test]
    fn keys_are_compared_with_their_escapes_resolved() {
        for (text, same) in [
            (r#"{"sender_client_id":1}"#, true),
            (r#"{"sender_client_\u0069d":1}"#, true),
            (r#"{"\u0073\u0065nder_client_id":1}"#, true),
            (r#"{"sender_client_\u0069":1}"#, false),
            (r#"{"sender_client_\u0069dd":1}"#, false),
            (r#"{"sender_client_id\ud800":1}"#, false),
            (r#"{"Sender_client_id":1}"#, false),
            (r#"{"sender_client_id\u0000":1}"#, false),
        ] {
            let mut scanner = Scanner::new(text.as_bytes()).unwrap();
            let mut object = scanner.enter_object().unwrap();
            let key = scanner.next_key(&mut object).unwrap().unwrap();
            assert_eq!(key.is(text.as_bytes(), "sender_client_id"), same, "{text}");
        }
    }

    #[test]
    fn depth_is_limited_and_exactly_so() {
        let nest = |levels: usize| [vec![b'['; levels], vec![b']'; levels]].concat();
        assert_eq!(check(&nest(DEPTH_MAX)), Ok(Kind::Array));
        assert_eq!(check(&nest(DEPTH_MAX + 1)), Err(Error::TooDeep));
        let in_object = |levels: usize| [b"{\"a\":".to_vec(), nest(levels), b"}".to_vec()].concat();
        assert!(walk(&in_object(DEPTH_MAX - 1)).is_ok());
        assert_eq!(walk(&in_object(DEPTH_MAX)), Err(Error::TooDeep));
    }
}
