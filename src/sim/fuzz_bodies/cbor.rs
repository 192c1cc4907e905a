//! The scan of CBOR, against the pseudocode of RFC 8949, and its way to JSON.

use super::json::Members;
use crate::wire::cbor::{
    DEPTH_MAX, Error, Kind, Scanner, Value, byte_string, entries, text, write_json, write_map_head,
    write_text,
};
use crate::wire::json;

/// Any bytes, as one item and as a map.
pub fn cbor(data: &[u8]) {
    let scanned = scan(data);
    let item = Reader { rest: data, depth_max: 0 }.all();
    match (scanned, item) {
        (Ok(value), Ok(depth)) => {
            assert!(depth <= DEPTH_MAX);
            assert_eq!(value.span.of(data), data);
            check_item(data, value.kind);
        }
        (Ok(_), Err(NotWellFormed)) => panic!("accepted is what is not well-formed"),
        // Told before the rest has been looked at.
        (Err(Error::TooDeep), Ok(depth)) => assert!(depth > DEPTH_MAX),
        (Err(Error::TooDeep | Error::Malformed), Err(NotWellFormed)) => {}
        (Err(error), Ok(_)) => panic!("refused is what is well-formed: {error:?}"),
        (Err(Error::NotAMap), Err(_)) => panic!("nobody asked for a map"),
    }
    match (scanned, walk(data)) {
        (Ok(Value { kind: Kind::Map, .. }), Ok(members)) => check_members(data, &members),
        (Ok(value), Err(Error::NotAMap)) => assert_ne!(value.kind, Kind::Map),
        (Err(_), Err(_)) => {}
        (scanned, walked) => panic!("{scanned:?} as an item, {walked:?} as a map"),
    }
    if let Ok(words) = std::str::from_utf8(data) {
        let mut written = Vec::new();
        write_text(&mut written, words);
        assert_eq!(text(&written).as_deref(), Some(words));
    }
}

fn scan(data: &[u8]) -> Result<Value, Error> {
    let mut scanner = Scanner::new(data)?;
    let value = scanner.value()?;
    scanner.end()?;
    Ok(value)
}

fn walk(data: &[u8]) -> Result<Vec<(Value, Value)>, Error> {
    let mut scanner = Scanner::new(data)?;
    let mut map = scanner.enter_map()?;
    let mut members = Vec::new();
    let mut behind = map.entries;
    while let Some(key) = scanner.next_key(&mut map)? {
        let value = scanner.value()?;
        assert!(key.span.start == behind && key.span.end == value.span.start, "nothing lies between");
        behind = value.span.end;
        members.push((key, value));
    }
    scanner.end()?;
    assert!(map.start == 0 && map.close == behind && map.end as usize == data.len());
    let has_break = map.end - map.close;
    match entries(data) {
        Some(count) => assert_eq!((count, has_break), (members.len() as u64, 0)),
        None => assert_eq!((data[0], data[map.close as usize], has_break), (0xbf, 0xff, 1)),
    }
    Ok(members)
}

fn check_members(data: &[u8], members: &[(Value, Value)]) {
    // The same entries behind a head that counts them are the same map.
    let mut counted = Vec::new();
    write_map_head(&mut counted, members.len() as u64);
    for (key, value) in members {
        for item in [key, value] {
            assert_eq!(scan(item.span.of(data)).map(|again| again.kind), Ok(item.kind));
            check_item(item.span.of(data), item.kind);
            counted.extend_from_slice(item.span.of(data));
        }
        if let Some(name) = text(key.span.of(data)) {
            assert!(key.is_text(data, &name), "a key is its own text");
            assert!(!key.is_text(data, &format!("{name}x")));
        } else {
            assert!(!key.is_text(data, ""));
        }
    }
    assert_eq!(walk(&counted).map(|again| again.len()), Ok(members.len()));
}

/// One item that has been accepted.
fn check_item(item: &[u8], kind: Kind) {
    let major = item[0] >> 5;
    let expected = match major {
        2 => Kind::Bytes,
        3 => Kind::Text,
        5 => Kind::Map,
        _ => Kind::Other,
    };
    assert_eq!(kind, expected);
    assert_eq!(text(item).is_some(), kind == Kind::Text);
    assert_eq!(byte_string(item).is_some(), kind == Kind::Bytes);
    let mut out = Vec::new();
    if write_json(item, &mut out).is_err() {
        return;
    }
    // What JSON can say is JSON to others as well.
    let mut scanner = json::Scanner::new(&out).expect("it is UTF-8");
    scanner.value().and_then(|_| scanner.end()).expect("it is JSON");
    match kind {
        Kind::Map => {
            let members: Members<'_> = serde_json::from_slice(&out).expect("a map becomes an object");
            let count = walk(item).map(|members| members.len());
            assert_eq!(count, Ok(members.0.len()));
        }
        Kind::Text => {
            let said: String = serde_json::from_slice(&out).expect("text becomes a string");
            assert_eq!(text(item).as_deref(), Some(&*said));
        }
        Kind::Bytes | Kind::Other => {
            serde_json::from_slice::<serde::de::IgnoredAny>(&out).expect("it is JSON");
        }
    }
}

/// The check of appendix C, with the two further rules of ours: text is UTF-8, piece by piece, and
/// what nests is counted.
struct Reader<'a> {
    rest: &'a [u8],
    depth_max: usize,
}

struct NotWellFormed;

/// Deeper than any limit of ours, and shallow enough for the stack.
const READER_DEPTH_MAX: usize = DEPTH_MAX + 100;

impl Reader<'_> {
    /// The depth of the one item that the bytes are.
    fn all(mut self) -> Result<usize, NotWellFormed> {
        self.item(0)?;
        if self.rest.is_empty() { Ok(self.depth_max) } else { Err(NotWellFormed) }
    }

    fn item(&mut self, depth: usize) -> Result<(), NotWellFormed> {
        let (major, info, argument) = self.head()?;
        if matches!(major, 4..=6) {
            self.depth_max = self.depth_max.max(depth + 1);
            if depth == READER_DEPTH_MAX {
                return Err(NotWellFormed);
            }
        }
        match (major, argument) {
            (0 | 1, Some(_)) => Ok(()),
            (2 | 3, Some(length)) => self.string(major, length),
            (2 | 3, None) => {
                while !self.takes_break() {
                    match self.head()? {
                        (piece, _, Some(length)) if piece == major => self.string(major, length)?,
                        _ => return Err(NotWellFormed),
                    }
                }
                Ok(())
            }
            (4 | 5, Some(count)) => {
                for _ in 0..count {
                    self.item(depth + 1)?;
                    if major == 5 {
                        self.item(depth + 1)?;
                    }
                }
                Ok(())
            }
            (4 | 5, None) => {
                while !self.takes_break() {
                    self.item(depth + 1)?;
                    if major == 5 {
                        self.item(depth + 1)?;
                    }
                }
                Ok(())
            }
            (6, Some(_)) => self.item(depth + 1),
            (7, Some(value)) if info == 24 && value < 32 => Err(NotWellFormed),
            (7, Some(_)) => Ok(()),
            _ => Err(NotWellFormed),
        }
    }

    /// Major type, additional information, and the argument; `None` for an indefinite length.
    fn head(&mut self) -> Result<(u8, u8, Option<u64>), NotWellFormed> {
        let first = self.take(1)?[0];
        let (major, info) = (first >> 5, first & 31);
        let argument = match info {
            0..=23 => Some(u64::from(info)),
            24..=27 => {
                let bytes = self.take(1 << (info - 24))?;
                Some(bytes.iter().fold(0, |argument, byte| argument << 8 | u64::from(*byte)))
            }
            31 => None,
            _ => return Err(NotWellFormed),
        };
        Ok((major, info, argument))
    }

    fn string(&mut self, major: u8, length: u64) -> Result<(), NotWellFormed> {
        let bytes = self.take(usize::try_from(length).map_err(|_| NotWellFormed)?)?;
        let allowed = major == 2 || std::str::from_utf8(bytes).is_ok();
        if allowed { Ok(()) } else { Err(NotWellFormed) }
    }

    fn takes_break(&mut self) -> bool {
        match self.rest {
            [0xff, behind @ ..] => {
                self.rest = behind;
                true
            }
            _ => false,
        }
    }

    fn take(&mut self, length: usize) -> Result<&[u8], NotWellFormed> {
        let (taken, behind) = self.rest.split_at_checked(length).ok_or(NotWellFormed)?;
        self.rest = behind;
        Ok(taken)
    }
}
