//! Masking (RFC 6455 section 5.3): byte `i` of the payload is XORed with byte `i mod 4` of the key.

/// Removes (or applies) the mask in place. `offset` is the number of bytes of the same payload
/// that came before `bytes`; only its remainder by four matters.
pub fn unmask(bytes: &mut [u8], key: [u8; 4], offset: usize) {
    let mut key = key;
    key.rotate_left(offset % 4);
    let [a, b, c, d] = key;
    let wide = u128::from_ne_bytes([a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d]);

    let (blocks, tail) = bytes.as_chunks_mut::<16>();
    for block in blocks {
        *block = (u128::from_ne_bytes(*block) ^ wide).to_ne_bytes();
    }
    let (words, tail) = tail.as_chunks_mut::<4>();
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ u32::from_ne_bytes(key)).to_ne_bytes();
    }
    for (byte, mask) in tail.iter_mut().zip(key) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    fn naive(bytes: &[u8], offset: usize) -> Vec<u8> {
        bytes.iter().enumerate().map(|(i, byte)| byte ^ KEY[(offset + i) % 4]).collect()
    }

    #[test]
    fn every_alignment_length_and_offset_agrees_with_the_definition() {
        let source: Vec<u8> = (0..160u32).map(|i| (i * 31 + 7) as u8).collect();
        for start in 0..20 {
            for len in 0..=source.len() - start {
                for offset in 0..8 {
                    let mut bytes = source.clone();
                    unmask(&mut bytes[start..start + len], KEY, offset);
                    assert_eq!(bytes[..start], source[..start]);
                    assert_eq!(bytes[start..start + len], naive(&source[start..start + len], offset));
                    assert_eq!(bytes[start + len..], source[start + len..]);
                }
            }
        }
    }

    #[test]
    fn pieces_unmask_to_the_same_bytes_as_the_whole() {
        let source: Vec<u8> = (0..100).collect();
        let whole = naive(&source, 0);
        for cut in 0..=source.len() {
            let mut bytes = source.clone();
            let (head, tail) = bytes.split_at_mut(cut);
            unmask(head, KEY, 0);
            unmask(tail, KEY, cut);
            assert_eq!(bytes, whole);
        }
    }

    #[test]
    fn an_offset_at_the_end_of_the_range_does_not_overflow() {
        let mut bytes = *b"abcdefgh";
        unmask(&mut bytes, KEY, usize::MAX);
        assert_eq!(bytes.to_vec(), naive(b"abcdefgh", 3));
    }
}
