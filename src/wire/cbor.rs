//! A strict scan of CBOR (RFC 8949) that allocates nothing, and a writer for small maps.
//!
//! ```text
//!   A2              6A "client_id…"  61 "b"   64 "data"  F6        definite: a count in the head
//!   BF              6A "client_id…"  61 "b"   64 "data"  F6   FF   indefinite: up to a break
//!   └head of a map  └key             └value   └key       └value
//! ```
//!
//! [`Scanner`] walks the entries of a map, and of a map in it where the caller wants that; every
//! other item is checked to its end and reported as one [`Value`]. Keys may be of any type. Refused
//! is what is not well-formed, text that is not UTF-8, and what lies deeper than [`DEPTH_MAX`].

use std::borrow::Cow;

use minicbor::data::Type;
use minicbor::decode::Decoder;

use super::json::{self, Span};

/// Most arrays, maps and tags inside one another.
pub const DEPTH_MAX: usize = 128;

const TEXT: u8 = 3;
const MAP: u8 = 5;

/// Why the bytes were refused. Always the peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    Malformed,
    /// Correct so far, but not the map that was asked for.
    NotAMap,
    TooDeep,
}

/// The value has no counterpart in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unconvertible;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Bytes,
    Map,
    /// Number, array, tag or simple value.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    pub span: Span,
    pub kind: Kind,
}

/// A map that is being walked.
#[derive(Debug)]
pub struct Map {
    /// Position of its head.
    pub start: u32,
    /// Position of its first entry.
    pub entries: u32,
    /// Position behind its last entry, once [`Scanner::next_key`] has said that no key is left.
    pub close: u32,
    /// Position behind all of it, a break included, from the same moment on.
    pub end: u32,
    /// Entries that are still to come; `None` where a break ends the map.
    left: Option<u64>,
}

pub struct Scanner<'a> {
    decoder: Decoder<'a>,
    depth: usize,
}

impl<'a> Scanner<'a> {
    /// # Errors
    /// [`Error::Malformed`] for 4 GiB or more.
    pub fn new(bytes: &'a [u8]) -> Result<Scanner<'a>, Error> {
        if u32::try_from(bytes.len()).is_err() {
            return Err(Error::Malformed);
        }
        Ok(Scanner { decoder: Decoder::new(bytes), depth: 0 })
    }

    /// Whether the next item is a map.
    pub fn at_map(&self) -> bool {
        kind_at(&self.decoder) == Kind::Map
    }

    /// Enters the next item, which has to be a map. After it is walked to its end, the scan goes on
    /// behind it.
    pub fn enter_map(&mut self) -> Result<Map, Error> {
        if !self.at_map() {
            // Tells nonsense from an item of another kind.
            self.value()?;
            return Err(Error::NotAMap);
        }
        if self.depth == DEPTH_MAX {
            return Err(Error::TooDeep);
        }
        self.depth += 1;
        let start = self.decoder.position() as u32;
        let left = self.decoder.map().map_err(malformed)?;
        let entries = self.decoder.position() as u32;
        Ok(Map { start, entries, close: entries, end: entries, left })
    }

    /// The key of the next entry, or `None` behind the last. After a key its value is to be taken,
    /// by [`Scanner::value`] or [`Scanner::enter_map`].
    pub fn next_key(&mut self, map: &mut Map) -> Result<Option<Value>, Error> {
        let ended = match &mut map.left {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => self.decoder.datatype().map_err(malformed)? == Type::Break,
        };
        if !ended {
            return self.value().map(Some);
        }
        map.close = self.decoder.position() as u32;
        if map.left.is_none() {
            self.decoder.set_position(self.decoder.position() + 1);
        }
        map.end = self.decoder.position() as u32;
        self.depth -= 1;
        Ok(None)
    }

    /// Checks the next item to its end.
    pub fn value(&mut self) -> Result<Value, Error> {
        let kind = kind_at(&self.decoder);
        let start = self.decoder.position();
        skip(&mut self.decoder, self.depth)?;
        Ok(Value { span: Span::new(start, self.decoder.position()), kind })
    }

    /// Checks that nothing is left.
    pub fn end(&self) -> Result<(), Error> {
        if self.decoder.position() == self.decoder.input().len() { Ok(()) } else { Err(Error::Malformed) }
    }
}

impl Value {
    /// Whether the item is the text `name`, in one piece or in several.
    pub fn is_text(self, bytes: &[u8], name: &str) -> bool {
        let mut decoder = Decoder::new(self.span.of(bytes));
        let Ok(pieces) = decoder.str_iter() else { return false };
        let mut rest = Some(name);
        for piece in pieces {
            rest = rest.and_then(|rest| rest.strip_prefix(piece.ok()?));
        }
        rest == Some("")
    }
}

/// The text of a scanned item; `None` where it is not text. Borrowed where it is in one piece.
pub fn text(item: &[u8]) -> Option<Cow<'_, str>> {
    if let Ok(text) = Decoder::new(item).str() {
        return Some(Cow::Borrowed(text));
    }
    let mut joined = String::with_capacity(item.len());
    for piece in Decoder::new(item).str_iter().ok()? {
        joined.push_str(piece.ok()?);
    }
    Some(Cow::Owned(joined))
}

/// The bytes of a scanned byte string; `None` where it is none. Borrowed where it is in one piece.
pub fn byte_string(item: &[u8]) -> Option<Cow<'_, [u8]>> {
    if let Ok(bytes) = Decoder::new(item).bytes() {
        return Some(Cow::Borrowed(bytes));
    }
    let mut joined = Vec::with_capacity(item.len());
    for piece in Decoder::new(item).bytes_iter().ok()? {
        joined.extend_from_slice(piece.ok()?);
    }
    Some(Cow::Owned(joined))
}

pub fn is_null(item: &[u8]) -> bool {
    item == [0xf6] || item == [0xf7]
}

/// Entries of the map whose head begins the item; `None` where a break ends it.
pub fn entries(item: &[u8]) -> Option<u64> {
    Decoder::new(item).map().ok().flatten()
}

/// Appends the JSON text of a scanned item. `undefined` becomes `null`, a byte string the string
/// of its UTF-8.
///
/// # Errors
/// [`Unconvertible`] for tags, NaN and the infinities, further simple values, map keys that are
/// not text, and bytes that are not UTF-8. What has been appended by then is of no use.
pub fn write_json(item: &[u8], out: &mut Vec<u8>) -> Result<(), Unconvertible> {
    item_to_json(&mut Decoder::new(item), out, 0)
}

pub fn write_map_head(out: &mut Vec<u8>, entries: u64) {
    write_head(out, MAP, entries);
}

pub fn map_head_bytes(entries: u64) -> usize {
    head_bytes(entries)
}

pub fn write_text(out: &mut Vec<u8>, text: &str) {
    write_head(out, TEXT, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Bytes that [`write_text`] will append.
pub fn text_bytes(text: &str) -> usize {
    head_bytes(text.len() as u64) + text.len()
}

pub fn write_unsigned(out: &mut Vec<u8>, number: u64) {
    write_head(out, 0, number);
}

/// Major type and argument, in the shortest form.
fn write_head(out: &mut Vec<u8>, major: u8, argument: u64) {
    let big_endian = argument.to_be_bytes();
    let (info, used) = match head_bytes(argument) {
        1 => (argument as u8, 0),
        2 => (24, 1),
        3 => (25, 2),
        5 => (26, 4),
        _ => (27, 8),
    };
    out.push(major << 5 | info);
    out.extend_from_slice(&big_endian[8 - used..]);
}

fn head_bytes(argument: u64) -> usize {
    match argument {
        0..=23 => 1,
        24..=0xff => 2,
        0x100..=0xffff => 3,
        0x1_0000..=0xffff_ffff => 5,
        _ => 9,
    }
}

fn malformed(_: minicbor::decode::Error) -> Error {
    Error::Malformed
}

fn kind_at(decoder: &Decoder<'_>) -> Kind {
    match decoder.datatype() {
        Ok(Type::String | Type::StringIndef) => Kind::Text,
        Ok(Type::Bytes | Type::BytesIndef) => Kind::Bytes,
        Ok(Type::Map | Type::MapIndef) => Kind::Map,
        _ => Kind::Other,
    }
}

/// Passes one item. minicbor's own `skip` takes a break for an item, and allocates for some
/// nestings.
fn skip(decoder: &mut Decoder<'_>, depth: usize) -> Result<(), Error> {
    let kind = decoder.datatype().map_err(malformed)?;
    let nests = matches!(kind, Type::Array | Type::ArrayIndef | Type::Map | Type::MapIndef | Type::Tag);
    if nests && depth == DEPTH_MAX {
        return Err(Error::TooDeep);
    }
    match kind {
        Type::Array | Type::ArrayIndef => {
            let mut left = decoder.array().map_err(malformed)?;
            while another(decoder, &mut left)? {
                skip(decoder, depth + 1)?;
            }
        }
        Type::Map | Type::MapIndef => {
            let mut left = decoder.map().map_err(malformed)?;
            while another(decoder, &mut left)? {
                skip(decoder, depth + 1)?;
                skip(decoder, depth + 1)?;
            }
        }
        Type::Tag => {
            decoder.tag().map_err(malformed)?;
            skip(decoder, depth + 1)?;
        }
        Type::Bytes | Type::BytesIndef => {
            for piece in decoder.bytes_iter().map_err(malformed)? {
                piece.map_err(malformed)?;
            }
        }
        Type::String | Type::StringIndef => {
            for piece in decoder.str_iter().map_err(malformed)? {
                piece.map_err(malformed)?;
            }
        }
        _ => {
            scalar(decoder, kind)?;
        }
    }
    Ok(())
}

/// Whether an array or map goes on; takes the break of an indefinite one.
fn another(decoder: &mut Decoder<'_>, left: &mut Option<u64>) -> Result<bool, Error> {
    match left {
        Some(0) => Ok(false),
        Some(left) => {
            *left -= 1;
            Ok(true)
        }
        None if decoder.datatype().map_err(malformed)? == Type::Break => {
            decoder.set_position(decoder.position() + 1);
            Ok(false)
        }
        None => Ok(true),
    }
}

enum Scalar {
    Integer(i128),
    Float(f64),
    Bool(bool),
    Null,
    OtherSimple,
}

fn scalar(decoder: &mut Decoder<'_>, kind: Type) -> Result<Scalar, Error> {
    Ok(match kind {
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => {
            Scalar::Integer(decoder.u64().map_err(malformed)?.into())
        }
        Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::Int => {
            Scalar::Integer(decoder.int().map_err(malformed)?.into())
        }
        Type::F16 => Scalar::Float(half(decoder)?),
        Type::F32 => Scalar::Float(decoder.f32().map_err(malformed)?.into()),
        Type::F64 => Scalar::Float(decoder.f64().map_err(malformed)?),
        Type::Bool => Scalar::Bool(decoder.bool().map_err(malformed)?),
        Type::Null | Type::Undefined => {
            decoder.set_position(decoder.position() + 1);
            Scalar::Null
        }
        Type::Simple => {
            let start = decoder.position();
            let value = decoder.simple().map_err(malformed)?;
            // RFC 8949 section 3.3: two bytes for a value below 32 are not well-formed.
            if decoder.position() - start == 2 && value < 32 {
                return Err(Error::Malformed);
            }
            Scalar::OtherSimple
        }
        _ => return Err(Error::Malformed),
    })
}

/// A float of 16 bits, which minicbor reads only with a feature for its own type.
fn half(decoder: &mut Decoder<'_>) -> Result<f64, Error> {
    let at = decoder.position();
    let bytes = decoder.input().get(at + 1..at + 3).and_then(|rest| rest.first_chunk::<2>());
    let bits = u16::from_be_bytes(*bytes.ok_or(Error::Malformed)?);
    decoder.set_position(at + 3);
    let fraction = f64::from(bits & 0x3ff);
    let exponent = i32::from(bits >> 10 & 0x1f);
    let magnitude = match exponent {
        0 => fraction * (-24_f64).exp2(),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (fraction + 1024.0) * f64::from(exponent - 25).exp2(),
    };
    Ok(if bits >> 15 == 1 { -magnitude } else { magnitude })
}

fn item_to_json(decoder: &mut Decoder<'_>, out: &mut Vec<u8>, depth: usize) -> Result<(), Unconvertible> {
    let unconvertible = |_| Unconvertible;
    if depth > DEPTH_MAX {
        return Err(Unconvertible);
    }
    let kind = decoder.datatype().map_err(|_| Unconvertible)?;
    match kind {
        Type::Array | Type::ArrayIndef => {
            let mut left = decoder.array().map_err(|_| Unconvertible)?;
            out.push(b'[');
            let mut first = true;
            while another(decoder, &mut left).map_err(unconvertible)? {
                if !std::mem::take(&mut first) {
                    out.push(b',');
                }
                item_to_json(decoder, out, depth + 1)?;
            }
            out.push(b']');
        }
        Type::Map | Type::MapIndef => {
            let mut left = decoder.map().map_err(|_| Unconvertible)?;
            out.push(b'{');
            let mut first = true;
            while another(decoder, &mut left).map_err(unconvertible)? {
                if !std::mem::take(&mut first) {
                    out.push(b',');
                }
                if kind_at(decoder) != Kind::Text {
                    return Err(Unconvertible);
                }
                item_to_json(decoder, out, depth + 1)?;
                out.push(b':');
                item_to_json(decoder, out, depth + 1)?;
            }
            out.push(b'}');
        }
        Type::String | Type::StringIndef => {
            let item = passed(decoder)?;
            json::write_string(out, &text(item).ok_or(Unconvertible)?);
        }
        Type::Bytes | Type::BytesIndef => {
            let bytes = byte_string(passed(decoder)?).ok_or(Unconvertible)?;
            json::write_string(out, std::str::from_utf8(&bytes).map_err(|_| Unconvertible)?);
        }
        Type::Tag => return Err(Unconvertible),
        _ => match scalar(decoder, kind).map_err(unconvertible)? {
            Scalar::Integer(number) => out.extend_from_slice(number.to_string().as_bytes()),
            // The shortest digits that give the same number, which JSON can read.
            Scalar::Float(number) if number.is_finite() => {
                out.extend_from_slice(format!("{number:?}").as_bytes());
            }
            Scalar::Bool(true) => out.extend_from_slice(b"true"),
            Scalar::Bool(false) => out.extend_from_slice(b"false"),
            Scalar::Null => out.extend_from_slice(b"null"),
            Scalar::Float(_) | Scalar::OtherSimple => return Err(Unconvertible),
        },
    }
    Ok(())
}

/// The bytes of one item, which the decoder passes.
fn passed<'a>(decoder: &mut Decoder<'a>) -> Result<&'a [u8], Unconvertible> {
    let start = decoder.position();
    skip(decoder, 0).map_err(|_| Unconvertible)?;
    decoder.input().get(start..decoder.position()).ok_or(Unconvertible)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8]) -> Result<Kind, Error> {
        let mut scanner = Scanner::new(bytes)?;
        let value = scanner.value()?;
        scanner.end()?;
        Ok(value.kind)
    }

    fn walk(bytes: &[u8]) -> Result<Vec<(Value, Value)>, Error> {
        let mut scanner = Scanner::new(bytes)?;
        let mut map = scanner.enter_map()?;
        let mut found = Vec::new();
        while let Some(key) = scanner.next_key(&mut map)? {
            found.push((key, scanner.value()?));
        }
        scanner.end()?;
        Ok(found)
    }

    fn json_of(bytes: &[u8]) -> Result<String, Unconvertible> {
        let mut out = Vec::new();
        write_json(bytes, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_well_formed_examples_of_the_rfc_pass_and_have_their_json() {
        let examples: [(&[u8], Result<&str, Unconvertible>); 24] = [
            (&[0x00], Ok("0")),
            (&[0x18, 0x64], Ok("100")),
            (&[0x1b, 255, 255, 255, 255, 255, 255, 255, 255], Ok("18446744073709551615")),
            (&[0x3b, 255, 255, 255, 255, 255, 255, 255, 255], Ok("-18446744073709551616")),
            (&[0x39, 0x03, 0xe7], Ok("-1000")),
            (&[0xf9, 0x3c, 0x00], Ok("1.0")),
            (&[0xf9, 0x00, 0x01], Ok("5.960464477539063e-8")),
            (&[0xf9, 0xc4, 0x00], Ok("-4.0")),
            (&[0xf9, 0x7b, 0xff], Ok("65504.0")),
            (&[0xf9, 0x7c, 0x00], Err(Unconvertible)),
            (&[0xf9, 0x7e, 0x00], Err(Unconvertible)),
            (&[0xfa, 0x47, 0xc3, 0x50, 0x00], Ok("100000.0")),
            (&[0xfb, 0x3f, 0xf1, 0x99, 0x99, 0x99, 0x99, 0x99, 0x9a], Ok("1.1")),
            (&[0xf4], Ok("false")),
            (&[0xf6], Ok("null")),
            (&[0xf7], Ok("null")),
            (&[0xf0], Err(Unconvertible)),
            (&[0xf8, 0xff], Err(Unconvertible)),
            (&[0xc1, 0x1a, 0x51, 0x4b, 0x67, 0xb0], Err(Unconvertible)),
            (&[0x62, 0x22, 0x5c], Ok(r#""\"\\""#)),
            (&[0x7f, 0x61, b'a', 0x61, b'b', 0xff], Ok(r#""ab""#)),
            (&[0x5f, 0x41, b'a', 0x41, 0xff, 0xff], Err(Unconvertible)),
            (&[0x9f, 0x01, 0x82, 0x02, 0x03, 0x9f, 0x04, 0xff, 0xff], Ok("[1,[2,3],[4]]")),
            (&[0xbf, 0x61, b'a', 0xa1, 0x61, b'b', 0x41, b'c', 0xff], Ok(r#"{"a":{"b":"c"}}"#)),
        ];
        for (bytes, expected) in examples {
            assert!(check(bytes).is_ok(), "{bytes:x?}");
            assert_eq!(json_of(bytes).as_deref().map_err(|&e| e), expected, "{bytes:x?}");
        }
        assert_eq!(json_of(&[0xa1, 0x01, 0x02]), Err(Unconvertible));
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        let refused: [&[u8]; 21] = [
            &[],
            &[0xff],
            &[0x1c],
            &[0x1f],
            &[0x18],
            &[0x62, b'a'],
            &[0x61, 0xff],
            &[0x7f, 0x61, b'a'],
            &[0x7f, 0x41, b'a', 0xff],
            &[0x5f, 0x61, b'a', 0xff],
            &[0x81],
            &[0x81, 0xff],
            &[0x9f, 0x01],
            &[0xa1, 0x01],
            &[0xa1, 0x01, 0xff],
            &[0xbf, 0x01, 0xff],
            &[0xbf, 0xff, 0xff],
            &[0xc0],
            &[0xf8, 0x1f],
            &[0xf9, 0x00],
            &[0x00, 0x00],
        ];
        for bytes in refused {
            assert_eq!(check(bytes), Err(Error::Malformed), "{bytes:x?}");
        }
        // Counts that promise far more than arrives end with the input.
        assert_eq!(check(&[0x9b, 255, 255, 255, 255, 255, 255, 255, 255]), Err(Error::Malformed));
        assert_eq!(check(&[0xbb, 255, 255, 255, 255, 255, 255, 255, 255, 1, 2]), Err(Error::Malformed));
        assert_eq!(check(&[0x7b, 255, 255, 255, 255, 255, 255, 255, 255]), Err(Error::Malformed));
    }

    #[test]
    fn definite_and_indefinite_maps_are_walked_alike() {
        let entries = [
            &[0x63][..],
            b"abc",
            &[0x01, 0x20, 0x82, 0x01, 0x02, 0x7f, 0x62],
            b"ab",
            &[0x61],
            b"c\xff",
            &[0x40],
        ]
        .concat();
        let definite = [&[0xa3][..], &entries].concat();
        let indefinite = [&[0xbf][..], &entries, &[0xff]].concat();
        for bytes in [&definite, &indefinite] {
            let found = walk(bytes).unwrap();
            assert_eq!(found.len(), 3);
            assert!(found[0].0.is_text(bytes, "abc") && found[2].0.is_text(bytes, "abc"));
            assert!(!found[0].0.is_text(bytes, "ab") && !found[0].0.is_text(bytes, "abcd"));
            assert!(!found[1].0.is_text(bytes, ""));
            assert_eq!(found[1].1.span.of(bytes), [0x82, 0x01, 0x02]);
            assert_eq!(text(found[2].0.span.of(bytes)).unwrap(), "abc");
            assert_eq!(found[2].1.kind, Kind::Bytes);
            let mut scanner = Scanner::new(bytes).unwrap();
            let mut map = scanner.enter_map().unwrap();
            while scanner.next_key(&mut map).unwrap().is_some() {
                scanner.value().unwrap();
            }
            assert_eq!((map.start, map.entries, map.close as usize), (0, 1, 1 + entries.len()));
        }
        assert_eq!(super::entries(&definite), Some(3));
        assert_eq!(super::entries(&indefinite), None);
        assert_eq!(walk(&[0x80]), Err(Error::NotAMap));
        assert_eq!(walk(&[0x81]), Err(Error::Malformed));
    }

    #[test]
    fn depth_is_limited_and_exactly_so() {
        let nest = |levels: usize| [vec![0x81; levels], vec![0x00]].concat();
        assert!(check(&nest(DEPTH_MAX)).is_ok());
        assert_eq!(check(&nest(DEPTH_MAX + 1)), Err(Error::TooDeep));
        let tags = [vec![0xc1; 60_000], vec![0x00]].concat();
        assert_eq!(check(&tags), Err(Error::TooDeep));
        let in_map = |levels: usize| [vec![0xa1, 0x00], nest(levels)].concat();
        assert!(walk(&in_map(DEPTH_MAX - 1)).is_ok());
        assert_eq!(walk(&in_map(DEPTH_MAX)), Err(Error::TooDeep));
        assert!(json_of(&nest(DEPTH_MAX)).is_ok());
    }

    #[test]
    fn the_writer_uses_the_shortest_heads_and_knows_their_length() {
        for length in [0, 1, 23, 24, 255, 256, 65_535, 65_536] {
            let text = "x".repeat(length);
            let mut out = Vec::new();
            write_text(&mut out, &text);
            assert_eq!(out, minicbor::to_vec(&text).unwrap());
            assert_eq!(out.len(), text_bytes(&text));
        }
        for number in [0, 23, 24, 255, 256, 65_535, 65_536, u64::from(u32::MAX), 1 << 32, u64::MAX] {
            let mut out = Vec::new();
            write_unsigned(&mut out, number);
            assert_eq!(out, minicbor::to_vec(number).unwrap());
            out.clear();
            write_map_head(&mut out, number);
            assert_eq!(out.len(), map_head_bytes(number));
            assert_eq!(entries(&out), Some(number));
        }
    }

    #[test]
    fn random_bytes_never_panic_and_never_pass_their_end() {
        let mut state = 7_u64;
        let mut random = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as u8
        };
        for _ in 0..60_000 {
            let mut bytes: Vec<u8> = (0..random() % 24).map(|_| random()).collect();
            if let Some(first) = bytes.first_mut() {
                *first = *first % 0x20 + 0xa0;
            }
            if let Ok(found) = walk(&bytes) {
                for (key, value) in found {
                    let _ = json_of(key.span.of(&bytes));
                    // What JSON can say is JSON.
                    if let Ok(text) = json_of(value.span.of(&bytes)) {
                        let mut scanner = json::Scanner::new(text.as_bytes()).unwrap();
                        scanner.value().and_then(|_| scanner.end()).unwrap();
                    }
                }
            }
        }
    }
}
