//! WebSocket frames as a client writes and reads them, apart from the code that is tested with them.

/// A frame as section 5.2 of RFC 6455 pictures it, masked with a key that follows from the seed.
pub(in crate::sim) fn write_client_frame(out: &mut Vec<u8>, first_byte: u8, payload: &[u8], seed: u8) {
    out.push(first_byte);
    match payload.len() {
        length @ 0..=125 => out.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    let key = [seed, seed.wrapping_mul(7) ^ 0x5a, !seed, seed.rotate_left(3)];
    out.extend_from_slice(&key);
    out.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// First byte and payload of the whole, unmasked frame at the front, which is taken.
#[cfg(any(test, feature = "fuzz"))]
pub(in crate::sim) fn take_server_frame<'a>(rest: &mut &'a [u8]) -> (u8, &'a [u8]) {
    let bytes = *rest;
    let (start, length) = match bytes[1] {
        127 => (10, u64::from_be_bytes(bytes[2..10].try_into().expect("8 bytes")) as usize),
        126 => (4, usize::from(bytes[2]) << 8 | usize::from(bytes[3])),
        length => (2, usize::from(length)),
    };
    *rest = &bytes[start + length..];
    (bytes[0], &bytes[start..start + length])
}
