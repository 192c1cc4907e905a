//! Frames, pings, reserved bits, opcodes: sections 1 to 4 of the list.

use super::*;

#[tokio::test]
async fn messages_of_every_form_of_length_come_back_unchanged() {
    let server = echo().start().await;
    let mut cases = Vec::new();
    for length in [0, 1, 125, 126, 127, 128, 997, 65_535, 65_536, 70_000] {
        let letters = vec![b'*'; length];
        let bytes = vec![0xFE; length];
        let frame = ws_frame(FIN | TEXT, &letters);
        cases.push(good(format!("text of {length}"), vec![frame], vec![text(&letters)]));
        let frame = ws_frame(FIN | BINARY, &bytes);
        cases.push(good(format!("binary of {length}"), vec![frame], vec![binary(&bytes)]));
    }
    play_all(server.addr("echo"), cases).await;
}

#[tokio::test]
async fn messages_and_pings_sent_together_are_answered_in_order() {
    let server = echo().start().await;
    let (mut frames, mut said) = (Vec::new(), Vec::new());
    for n in 0..40_u8 {
        let payload = vec![b'a' + n % 26; usize::from(n) * 7];
        frames.extend([
            ws_frame(FIN | TEXT, &payload),
            ws_frame(FIN | PING, &payload[..payload.len().min(125)]),
            ws_frame(FIN | BINARY, &payload),
        ]);
        said.extend([text(&payload), pong(&payload[..payload.len().min(125)]), binary(&payload)]);
    }
    play_all(server.addr("echo"), vec![good("all in one", frames, said)]).await;
}

#[tokio::test]
async fn pings_are_answered_with_their_payload_and_pongs_are_taken_silently() {
    let server = echo().start().await;
    let bytes: Vec<u8> = vec![0x00, 0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0x00, 0xff];
    let ping = |payload: &[u8]| ws_frame(FIN | PING, payload);
    let ten: Vec<Vec<u8>> = (0..10).map(|n| format!("payload-{n}").into_bytes()).collect();
    let cases = vec![
        good("an empty ping", vec![ping(b"")], vec![pong(b"")]),
        good("a ping of text", vec![ping(b"Hello, world!")], vec![pong(b"Hello, world!")]),
        good("a ping of bytes", vec![ping(&bytes)], vec![pong(&bytes)]),
        good("a ping of 125 bytes", vec![ping(&[0xfe; 125])], vec![pong(&[0xfe; 125])]),
        good("a pong that nobody asked for", vec![ws_frame(FIN | PONG, b"")], vec![]),
        good("such a pong with a payload", vec![ws_frame(FIN | PONG, b"unsolicited")], vec![]),
        good("a pong, then a ping", vec![ws_frame(FIN | PONG, b"un"), ping(b"p")], vec![pong(b"p")]),
        good(
            "ten pings",
            ten.iter().map(|payload| ping(payload)).collect(),
            ten.iter().map(|payload| pong(payload)).collect(),
        ),
    ];
    play_all(server.addr("echo"), cases).await;
}

#[tokio::test]
async fn control_frames_over_125_bytes_close_with_1002() {
    let server = echo().start().await;
    let mut cases = Vec::new();
    for opcode in [PING, PONG, CLOSE] {
        for length in [126, 65_536] {
            let frame = ws_frame(FIN | opcode, &vec![0x03; length]);
            cases.push(bad(format!("opcode {opcode:x}, {length} bytes"), vec![frame], vec![], 1002));
        }
    }
    play_all(server.addr("echo"), cases).await;
}

#[tokio::test]
async fn reserved_bits_close_with_1002_behind_what_came_before() {
    let server = echo().start().await;
    let hello = ws_frame(FIN | TEXT, b"Hello, world!");
    let mut cases = Vec::new();
    for bits in 1..=7_u8 {
        for opcode in [TEXT, BINARY, CONTINUATION, PING, PONG, CLOSE] {
            let broken = ws_frame(FIN | bits << 4 | opcode, b"");
            let name = format!("RSV {bits}, opcode {opcode:x}");
            cases.push(bad(&name, vec![broken.clone()], vec![], 1002));
            let frames = vec![hello.clone(), broken];
            cases.push(bad(name + ", later", frames, vec![text(b"Hello, world!")], 1002));
        }
    }
    play_all(server.addr("echo"), cases).await;
}

#[tokio::test]
async fn reserved_opcodes_close_with_1002_behind_what_came_before() {
    let server = echo().start().await;
    let hello = ws_frame(FIN | TEXT, b"Hello, world!");
    let mut cases = Vec::new();
    for opcode in (3..=7).chain(11..=15) {
        for payload in [&b""[..], b"reserved opcode payload"] {
            let broken = ws_frame(FIN | opcode, payload);
            let name = format!("opcode {opcode:x}, {} bytes", payload.len());
            cases.push(bad(&name, vec![broken.clone()], vec![], 1002));
            let frames = vec![hello.clone(), broken];
            cases.push(bad(name + ", later", frames, vec![text(b"Hello, world!")], 1002));
        }
    }
    play_all(server.addr("echo"), cases).await;
}

#[tokio::test]
async fn frames_without_a_mask_and_lengths_longer_than_needed_close_with_1002() {
    let server = echo().start().await;
    let long = |first: u8, length: &[u8]| [&[first][..], length, &[0; 4]].concat();
    let cases = vec![
        bad("text without a mask", vec![b"\x81\x05hello".to_vec()], vec![], 1002),
        bad("ping without a mask", vec![b"\x89\x00".to_vec()], vec![], 1002),
        bad("close without a mask", vec![b"\x88\x02\x03\xe8".to_vec()], vec![], 1002),
        bad("5 in 16 bits", vec![long(0x82, &[0xFE, 0, 5])], vec![], 1002),
        bad("125 in 16 bits", vec![long(0x82, &[0xFE, 0, 125])], vec![], 1002),
        bad("5 in 64 bits", vec![long(0x82, &[0xFF, 0, 0, 0, 0, 0, 0, 0, 5])], vec![], 1002),
        bad("65,535 in 64 bits", vec![long(0x82, &[0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF])], vec![], 1002),
        bad("a length of 64 bits", vec![long(0x82, &[0xFF; 9])], vec![], 1002),
    ];
    play_all(server.addr("echo"), cases).await;
}

/// The mask of each frame is its own.
#[tokio::test]
async fn every_mask_is_taken_off() {
    let server = echo().start().await;
    let masked = |mask: [u8; 4], payload: &[u8]| {
        let mut frame = vec![FIN | BINARY, 0x80 | payload.len() as u8];
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    };
    let payload: Vec<u8> = (0..101).collect();
    let masks = [[0; 4], [0xFF; 4], [1, 2, 3, 4], [0x80, 0, 0, 0], [0, 0, 0, 0x7F]];
    let frames = masks.iter().map(|mask| masked(*mask, &payload)).collect();
    let said = masks.iter().map(|_| binary(&payload)).collect();
    play_all(server.addr("echo"), vec![good("five masks", frames, said)]).await;
}
