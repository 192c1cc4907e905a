//! Strings of JSON: their text, and how text is written as one.

use std::borrow::Cow;

use super::Span;

/// The text escapes half of a surrogate pair, which no UTF-8 can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoneSurrogate;

/// The text of a scanned string without its quotes. Borrowed where it has no escapes.
///
/// # Errors
/// [`LoneSurrogate`], also where `raw` is not what a scan has reported.
pub fn decode(raw: &[u8]) -> Result<Cow<'_, str>, LoneSurrogate> {
    let raw = simdutf8::basic::from_utf8(raw).map_err(|_| LoneSurrogate)?;
    if !raw.as_bytes().contains(&b'\\') {
        return Ok(Cow::Borrowed(raw));
    }
    let mut text = String::with_capacity(raw.len());
    unescape(raw, |piece| text.push_str(piece))?;
    Ok(Cow::Owned(text))
}

/// As [`decode`], for a string value of `text`.
pub fn decode_value(text: &[u8], value: Span) -> Result<Cow<'_, str>, LoneSurrogate> {
    let quoted = value.of(text);
    decode(quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default())
}

/// Appends `text` as a JSON string, quotes included. Only what has to be escaped is.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    out.push(b'"');
    let mut from = 0;
    loop {
        let special = next_special(bytes, from);
        out.extend_from_slice(bytes.get(from..special).unwrap_or_default());
        let Some(&byte) = bytes.get(special) else { break };
        match short_escape(byte) {
            Some(letter) => out.extend_from_slice(&[b'\\', letter]),
            None => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
        from = special + 1;
    }
    out.push(b'"');
}

/// Bytes that [`write_string`] will append.
pub fn string_bytes(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut length, mut from) = (bytes.len() + 2, 0);
    loop {
        let special = next_special(bytes, from);
        let Some(&byte) = bytes.get(special) else { return length };
        length += if short_escape(byte).is_some() { 1 } else { 5 };
        from = special + 1;
    }
}

fn short_escape(byte: u8) -> Option<u8> {
    match byte {
        b'"' | b'\\' => Some(byte),
        0x08 => Some(b'b'),
        0x09 => Some(b't'),
        0x0a => Some(b'n'),
        0x0c => Some(b'f'),
        0x0d => Some(b'r'),
        _ => None,
    }
}

/// Hands out `raw` in pieces, escapes resolved.
pub(super) fn unescape(raw: &str, mut emit: impl FnMut(&str)) -> Result<(), LoneSurrogate> {
    let mut rest = raw;
    while let Some(backslash) = memchr::memchr(b'\\', rest.as_bytes()) {
        let (before, escape) = rest.split_at(backslash);
        emit(before);
        let behind = behind_escape(escape.as_bytes(), 0).ok_or(LoneSurrogate)?;
        let (character, used) = match escape.as_bytes().get(1) {
            Some(b'b') => ('\u{8}', behind),
            Some(b't') => ('\t', behind),
            Some(b'n') => ('\n', behind),
            Some(b'f') => ('\u{c}', behind),
            Some(b'r') => ('\r', behind),
            Some(b'u') => unicode_escape(escape.as_bytes()).ok_or(LoneSurrogate)?,
            Some(&byte) => (char::from(byte), behind),
            None => return Err(LoneSurrogate),
        };
        emit(character.encode_utf8(&mut [0; 4]));
        rest = escape.get(used..).unwrap_or_default();
    }
    emit(rest);
    Ok(())
}

/// The character of a `\uXXXX` at the front, or of two that are a surrogate pair, and its length.
fn unicode_escape(escape: &[u8]) -> Option<(char, usize)> {
    let first = code_unit(escape)?;
    if let Some(character) = char::from_u32(u32::from(first)) {
        return Some((character, 6));
    }
    let second = code_unit(escape.get(6..)?)?;
    match char::decode_utf16([first, second]).next()? {
        Ok(character) => Some((character, 12)),
        Err(_) => None,
    }
}

fn code_unit(escape: &[u8]) -> Option<u16> {
    let digits = escape.strip_prefix(b"\\u")?.first_chunk::<4>()?;
    digits.iter().try_fold(0, |unit: u16, &digit| {
        let value = char::from(digit).to_digit(16)?;
        Some(unit << 4 | value as u16)
    })
}

/// Position behind the escape whose backslash is at `at`.
#[inline]
pub(super) fn behind_escape(text: &[u8], at: usize) -> Option<usize> {
    match text.get(at + 1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(at + 2),
        b'u' => {
            let digits = text.get(at + 2..at + 6)?;
            digits.iter().all(u8::is_ascii_hexdigit).then_some(at + 6)
        }
        _ => None,
    }
}

/// Position of the first byte that a string has to escape from `at` on, or the end.
fn next_special(text: &[u8], mut at: usize) -> usize {
    while let Some(word) = text.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let hits = special_bytes(u64::from_le_bytes(*word));
        if hits != 0 {
            return at + hits.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while text.get(at).is_some_and(|&byte| !is_special(byte)) {
        at += 1;
    }
    at
}

/// The top bit of each special byte of a word. Exact in the lowest byte that has it; a borrow can
/// mark bytes above a special one wrongly, and those are not looked at.
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word;
    let control = below(word, 0x20);
    let quote = below(word ^ (ONES * b'"' as u64), 1);
    let backslash = below(word ^ (ONES * b'\\' as u64), 1);
    (control | quote | backslash) & (ONES << 7)
}

fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_special_byte_is_found_wherever_it_stands() {
        for length in 0..80 {
            let plain = vec![b'x'; length];
            assert_eq!(next_special(&plain, 0), length);
            for at in 0..length {
                for byte in 0..=255_u8 {
                    let mut text = plain.clone();
                    text[at] = byte;
                    let expected = if is_special(byte) { at } else { length };
                    assert_eq!(next_special(&text, 0), expected, "{byte:#x} at {at} of {length}");
                }
            }
        }
    }

    #[test]
    fn strings_survive_writing_and_decoding() {
        let every: String = (0..0x250).filter_map(char::from_u32).collect();
        for text in ["", "plain", "\"", "\\", "a\"b\\c/", "é😀\u{2028}", every.as_str()] {
            let mut written = Vec::new();
            write_string(&mut written, text);
            assert_eq!(written.len(), string_bytes(text));
            assert_eq!(serde_json::from_slice::<String>(&written).unwrap(), text);
            let span = Span::new(0, written.len());
            assert_eq!(decode_value(&written, span).unwrap(), text);
        }
        for (raw, expected) in [
            (r"\ud83d\ude00", Ok("😀")),
            (r"\/\b\f\n\r\t\u00E9", Ok("/\u{8}\u{c}\n\r\té")),
            (r"\ud83d", Err(LoneSurrogate)),
            (r"\ude00\ud83d", Err(LoneSurrogate)),
            (r"\ud83dx", Err(LoneSurrogate)),
            (r"\ud83d\n", Err(LoneSurrogate)),
        ] {
            assert_eq!(decode(raw.as_bytes()).as_deref().map_err(|&e| e), expected, "{raw}");
        }
    }
}
