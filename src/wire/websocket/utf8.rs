//! Text that arrives in pieces, checked as it comes.

/// The text that has arrived, and up to three bytes of a character whose end has not.
///
/// The check fails at the first byte that no continuation could make valid, as RFC 6455 section
/// 8.1 permits and conformance suites expect.
#[derive(Debug, Default)]
pub(super) struct Text {
    whole: String,
    /// The beginning of one character: a lead byte and what followed it.
    cut: [u8; 3],
    cut_len: u8,
}

/// The bytes are not UTF-8, whatever may follow.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invalid;

impl Text {
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), Invalid> {
        let piece = self.finish_cut(piece)?;
        match simdutf8::compat::from_utf8(piece) {
            Ok(text) => self.whole.push_str(text),
            Err(error) if error.error_len().is_some() => return Err(Invalid),
            Err(error) => {
                let (valid, cut) = piece.split_at(error.valid_up_to());
                self.whole.push_str(simdutf8::basic::from_utf8(valid).map_err(|_| Invalid)?);
                self.keep_cut(cut)?;
            }
        }
        Ok(())
    }

    /// The text, or `None` when it ends within a character.
    pub(super) fn complete(&self) -> Option<&str> {
        (self.cut_len == 0).then_some(&self.whole)
    }

    /// Bytes that have arrived, the cut character's included.
    pub(super) fn len(&self) -> usize {
        self.whole.len() + usize::from(self.cut_len)
    }

    /// Forgets the text and keeps at most `capacity_max` bytes of memory.
    pub(super) fn clear(&mut self, capacity_max: usize) {
        self.whole.clear();
        self.whole.shrink_to(capacity_max);
        self.cut_len = 0;
    }

    /// Completes the cut character from the front of `piece` and returns the rest of the piece.
    fn finish_cut<'a>(&mut self, piece: &'a [u8]) -> Result<&'a [u8], Invalid> {
        let held = usize::from(self.cut_len);
        if held == 0 {
            return Ok(piece);
        }
        let missing = char_len(self.cut[0]) - held;
        let (added, rest) = piece.split_at(missing.min(piece.len()));
        let mut character = [0; 4];
        character[..held].copy_from_slice(&self.cut[..held]);
        character[held..held + added.len()].copy_from_slice(added);
        let character = &character[..held + added.len()];
        match std::str::from_utf8(character) {
            Ok(text) => {
                self.whole.push_str(text);
                self.cut_len = 0;
            }
            Err(error) if error.error_len().is_some() => return Err(Invalid),
            Err(_) => self.keep_cut(character)?,
        }
        Ok(rest)
    }

    fn keep_cut(&mut self, cut: &[u8]) -> Result<(), Invalid> {
        // Four bytes are a whole character, so a cut one has at most three.
        self.cut.get_mut(..cut.len()).ok_or(Invalid)?.copy_from_slice(cut);
        self.cut_len = cut.len() as u8;
        Ok(())
    }
}

/// Length of the character that this lead byte opens; the caller knows that it opens a long one.
fn char_len(lead: u8) -> usize {
    match lead {
        0xf0.. => 4,
        0xe0.. => 3,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [&str; 4] = [
        "",
        "κόσμε and plain text that is longer than one SIMD block of sixty-four bytes, ünd mörè",
        "\u{0}\u{7f}\u{80}\u{7ff}\u{800}\u{fff}\u{d7ff}\u{e000}\u{ffff}\u{10000}\u{10ffff}",
        "𝄞𝄞𝄞",
    ];

    #[test]
    fn valid_text_survives_every_cut() {
        for text in TEXTS {
            let bytes = text.as_bytes();
            for first in 0..=bytes.len() {
                for second in first..=bytes.len() {
                    let mut built = Text::default();
                    for piece in [&bytes[..first], &bytes[first..second], &bytes[second..]] {
                        built.push(piece).unwrap();
                    }
                    assert_eq!(built.complete(), Some(text));
                    assert_eq!(built.len(), bytes.len());
                }
            }
        }
    }

    /// The earliest point at which a prefix cannot become valid, by the standard library.
    fn dead_at(bytes: &[u8]) -> Option<usize> {
        (0..=bytes.len())
            .find(|&len| std::str::from_utf8(&bytes[..len]).is_err_and(|error| error.error_len().is_some()))
    }

    #[test]
    fn bad_bytes_fail_at_the_first_byte_that_cannot_be_mended() {
        let bad: [&[u8]; 9] = [
            b"\xff",
            b"ok\x80",
            b"\xc0\xaf",
            b"\xc3(",
            b"\xed\xa0\x80",
            b"\xf4\x90\x80\x80",
            b"\xe0\x80\xaf",
            b"\xf0\x80\x80\xaf",
            b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited",
        ];
        for bytes in bad {
            let dead = dead_at(bytes).unwrap();
            let mut built = Text::default();
            for (i, byte) in bytes.iter().enumerate() {
                let pushed = built.push(std::slice::from_ref(byte));
                assert_eq!(pushed.is_err(), i + 1 == dead, "{bytes:x?} byte {i}");
                if pushed.is_err() {
                    break;
                }
            }
        }
    }

    #[test]
    fn every_sequence_of_three_bytes_is_judged_as_the_standard_library_does() {
        for first in 0x78..=0xffu8 {
            for second in 0..=0xffu8 {
                for third in [0, 0x28, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xe2, 0xff] {
                    let bytes = [first, second, third];
                    let mut built = Text::default();
                    let alive = bytes.iter().all(|byte| built.push(&[*byte]).is_ok());
                    assert_eq!(!alive, dead_at(&bytes).is_some(), "{bytes:x?}");
                    let valid = alive && built.complete().is_some();
                    assert_eq!(valid, std::str::from_utf8(&bytes).is_ok(), "{bytes:x?}");
                }
            }
        }
    }

    #[test]
    fn text_that_ends_within_a_character_is_not_complete() {
        let mut built = Text::default();
        built.push(b"a\xf0\x9d\x84").unwrap();
        assert_eq!(built.complete(), None);
        assert_eq!(built.len(), 4);
        built.clear(0);
        assert_eq!((built.complete(), built.len()), (Some(""), 0));
    }
}
