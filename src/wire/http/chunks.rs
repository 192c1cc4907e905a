//! The chunked transfer coding, to its end and no further (RFC 9112 section 7.1).
//!
//! ```text
//! { size in hex [ ";" name [ "=" value ] ]* CRLF  data CRLF }  "0" … CRLF  { trailer CRLF }  CRLF
//! ```

use super::{HEADERS_MAX, is_token};

/// Hex digits of a size: what fits 64 bits, and is less than half of them.
const SIZE_DIGITS_MAX: u8 = 15;
/// Bytes of all extensions of one body, and of its trailers.
const EXTRAS_BYTES_MAX: usize = 8192;
/// Fields that say how a message is read, or for whom: no trailer may (RFC 9110 section 6.5.1).
const NOT_IN_TRAILERS: [&str; 9] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "trailer",
    "transfer-encoding",
];

#[derive(Default)]
pub(super) struct Chunks {
    state: State,
    size: u64,
    size_digits: u8,
    extras_bytes: usize,
    /// Lines of trailers, the last one without its end. Empty in nearly all bodies.
    trailers: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    /// White space, after which an extension has to come.
    BeforeExtension,
    ExtensionName {
        empty: bool,
    },
    AfterName,
    ExtensionValue {
        empty: bool,
    },
    Quoted,
    QuotedPair,
    AfterQuoted,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
}

/// How far [`Chunks::take`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// All bytes belong to the body, and it goes on.
    All,
    /// So many bytes complete the body.
    Complete(usize),
    /// The byte behind so many makes it no chunked body.
    Fault(usize),
}

impl Chunks {
    pub(super) fn take(&mut self, bytes: &[u8]) -> Taken {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if self.state == State::Data {
                let part = (bytes.len() - at).min(usize::try_from(self.size).unwrap_or(usize::MAX));
                self.size -= part as u64;
                at += part;
                if self.size == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            let Some(next) = self.step(byte) else { return Taken::Fault(at) };
            at += 1;
            match next {
                Some(state) => self.state = state,
                None => return Taken::Complete(at),
            }
        }
        Taken::All
    }

    /// The state after a byte that is no data: `None` for a fault, `Some(None)` for the end.
    fn step(&mut self, byte: u8) -> Option<Option<State>> {
        use State::*;
        if !matches!(self.state, Size | SizeLf | DataCr | DataLf) {
            self.extras_bytes += 1;
            if self.extras_bytes > EXTRAS_BYTES_MAX {
                return None;
            }
        }
        let next = match (self.state, byte) {
            (Size, digit) if digit.is_ascii_hexdigit() && self.size_digits < SIZE_DIGITS_MAX => {
                self.size_digits += 1;
                self.size = self.size * 16 + u64::from(char::from(digit).to_digit(16)?);
                Size
            }
            (Size, _) if self.size_digits == 0 => return None,
            (Size | AfterQuoted, b' ' | b'\t') => BeforeExtension,
            (BeforeExtension, b' ' | b'\t') => BeforeExtension,
            (Size | BeforeExtension | AfterQuoted, b';') => ExtensionName { empty: true },
            (Size | AfterQuoted, b'\r') => SizeLf,

            (ExtensionName { empty: true } | ExtensionValue { empty: true }, b' ' | b'\t') => self.state,
            (ExtensionName { .. }, byte) if is_token(byte) => ExtensionName { empty: false },
            (ExtensionName { empty: false } | AfterName, b' ' | b'\t') => AfterName,
            (ExtensionName { empty: false } | AfterName, b'=') => ExtensionValue { empty: true },
            (ExtensionName { empty: false } | AfterName, b';') => ExtensionName { empty: true },
            (ExtensionName { empty: false }, b'\r') => SizeLf,

            (ExtensionValue { .. }, byte) if is_token(byte) => ExtensionValue { empty: false },
            (ExtensionValue { empty: true }, b'"') => Quoted,
            (ExtensionValue { empty: false }, b' ' | b'\t') => BeforeExtension,
            (ExtensionValue { empty: false }, b';') => ExtensionName { empty: true },
            (ExtensionValue { empty: false }, b'\r') => SizeLf,
            (Quoted, b'"') => AfterQuoted,
            (Quoted, b'\\') => QuotedPair,
            (Quoted, byte) if is_text(byte) => Quoted,
            (QuotedPair, byte) if is_text(byte) => Quoted,

            (SizeLf, b'\n') if self.size == 0 => Trailers,
            (SizeLf, b'\n') => Data,
            (DataCr, b'\r') => DataLf,
            (DataLf, b'\n') => {
                self.size_digits = 0;
                Size
            }
            (Trailers, byte) => return self.take_trailer(byte),
            _ => return None,
        };
        Some(Some(next))
    }

    fn take_trailer(&mut self, byte: u8) -> Option<Option<State>> {
        // A CR ends a line, and nothing else does.
        if (byte == b'\n') != self.trailers.ends_with(b"\r") {
            return None;
        }
        self.trailers.push(byte);
        if self.trailers != b"\r\n" && !self.trailers.ends_with(b"\r\n\r\n") {
            return Some(Some(State::Trailers));
        }
        are_trailers(&self.trailers).then_some(None)
    }
}

fn are_trailers(lines: &[u8]) -> bool {
    let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(lines, &mut fields) else {
        return false;
    };
    let decides = |name: &str| NOT_IN_TRAILERS.iter().any(|known| known.eq_ignore_ascii_case(name));
    !fields.iter().any(|field| decides(field.name))
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || byte == b' ' || byte.is_ascii_graphic() || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> Taken {
        Chunks::default().take(bytes)
    }

    /// The verdict byte by byte, with the place that it names.
    fn bytewise(bytes: &[u8]) -> Taken {
        let mut chunks = Chunks::default();
        for (at, byte) in bytes.iter().enumerate() {
            match chunks.take(std::slice::from_ref(byte)) {
                Taken::All => {}
                Taken::Complete(1) => return Taken::Complete(at + 1),
                Taken::Fault(0) => return Taken::Fault(at),
                other => panic!("{other:?} for one byte"),
            }
        }
        Taken::All
    }

    #[test]
    fn a_body_ends_behind_its_last_empty_line_and_nowhere_else() {
        for body in [
            &b"0\r\n\r\n"[..],
            b"5\r\nhello\r\n0\r\n\r\n",
            b"5\r\nhello\r\n6\r\n world\r\n000\r\n\r\n",
            b"A\r\n0\r\n\r\n01234\r\n0\r\n\r\n",
            b"a;n\r\n0123456789\r\n0;x=y;z\r\n\r\n",
            b"1 ;\ta = \"q;\\\"\t\xe9\" ; b\r\nx\r\n0\r\n\r\n",
            b"1\r\nx\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\n",
        ] {
            let with_more = [body, b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(whole(&with_more), Taken::Complete(body.len()), "{}", body.escape_ascii());
            assert_eq!(bytewise(&with_more), Taken::Complete(body.len()), "{}", body.escape_ascii());
            for cut in 0..body.len() {
                assert_eq!(whole(&body[..cut]), Taken::All, "{} to {cut}", body.escape_ascii());
            }
        }
    }

    #[test]
    fn what_is_no_chunk_is_told_at_its_byte() {
        for (body, at) in [
            (&b"\r\n"[..], 0),
            (b" 5\r\n", 0),
            (b"+5\r\n", 0),
            (b"-1\r\n", 0),
            (b";a\r\n", 0),
            (b"0x5\r\n", 1),
            (b"1_0\r\n", 1),
            (b"5\n", 1),
            (b"5\rhello", 2),
            (b"5 \r\n", 2),
            (b"5 5\r\n", 2),
            (b"5;\r\n", 2),
            (b"5;\n", 2),
            (b"5;=v\r\n", 2),
            (b"5;a=\r\n", 4),
            (b"5;a \r\n", 4),
            (b"5;a=b \r\n", 6),
            (b"5;bad[=x\r\n", 5),
            (b"5;\0ext\r\n", 2),
            (b"5;a\rX\r\n", 4),
            (b"5;a=\"\r\n", 5),
            (b"5;a=\"b\"c\r\n", 7),
            (b"5\r\nhello0\r\n\r\n", 8),
            (b"5\r\nhello!!\r\n", 8),
            (b"5\r\nhello\n", 8),
            (b"5\r\nhello\r\r", 9),
            (b"5\r\nhello\r\n\r\n", 10),
            (b"fffffffffffffff0\r\n", 15),
            (b"0000000000000001\r\n", 15),
            (b"0\r\n\n", 3),
            (b"0\r\n\rX", 4),
            (b"0\r\nA: b\n\r\n", 7),
            (b"0\r\nA: b\rC: d\r\n", 8),
            (b"0\r\nno colon\r\n\r\n", 14),
            (b"0\r\nA : b\r\n\r\n", 11),
            (b"0\r\nA: b\r\n c\r\n\r\n", 14),
            (b"0\r\nA: \0\r\n\r\n", 10),
            (b"0\r\nContent-Length: 5\r\n\r\n", 23),
            (b"0\r\nHOST: x\r\n\r\n", 13),
        ] {
            assert_eq!(whole(body), Taken::Fault(at), "{}", body.escape_ascii());
            assert_eq!(bytewise(body), Taken::Fault(at), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn extensions_and_trailers_are_limited_together_over_the_body() {
        let line = format!("1;{}\r\nx\r\n", "a".repeat(1000));
        assert_eq!(whole(line.repeat(8).as_bytes()), Taken::All);
        assert!(matches!(whole(line.repeat(9).as_bytes()), Taken::Fault(_)));
        let trailers = |lines: usize| format!("0\r\n{}\r\n", "A: b\r\n".repeat(lines));
        assert!(matches!(whole(trailers(HEADERS_MAX).as_bytes()), Taken::Complete(_)));
        assert!(matches!(whole(trailers(HEADERS_MAX + 1).as_bytes()), Taken::Fault(_)));
        let endless = format!("0\r\nA: {}", "b".repeat(EXTRAS_BYTES_MAX));
        assert!(matches!(whole(endless.as_bytes()), Taken::Fault(_)));
    }
}
