//! Fragments: section 5 of the list.

use super::*;

#[tokio::test]
async fn fragmented_control_frames_close_with_1002() {
    let server = echo().start().await;
    let mut cases = Vec::new();
    for opcode in [PING, PONG, CLOSE] {
        let frames = vec![ws_frame(opcode, b"fragment1")];
        cases.push(bad(format!("opcode {opcode:x}"), frames, vec![], 1002));
        let frames = vec![ws_frame(TEXT, b"open"), ws_frame(opcode, b"")];
        cases.push(bad(format!("opcode {opcode:x} within a message"), frames, vec![], 1002));
    }
    play_all(server.addr("echo"), cases).await;
}

#[tokio::test]
async fn fragments_come_back_as_one_message() {
    let server = echo().start().await;
    let mut cases = Vec::new();
    for (first, said) in [(TEXT, text as fn(&[u8]) -> Said), (BINARY, binary)] {
        for pieces in [
            &[&b"fragment1"[..], b"fragment2"][..],
            &[b"", b""],
            &[b"", b"", b""],
            &[b"", b"middle", b""],
            &[b"f", b"r", b"a", b"g", b"", b"ment"],
        ] {
            let last = pieces.len() - 1;
            let frames = pieces.iter().enumerate().map(|(n, piece)| {
                let opcode = if n == 0 { first } else { CONTINUATION };
                ws_frame(if n == last { FIN | opcode } else { opcode }, piece)
            });
            let name = format!("opcode {first}, {} fragments", pieces.len());
            cases.push(good(name, frames.collect(), vec![said(&pieces.concat())]));
        }
    }
    play_all(server.addr("echo"), cases).await;
}

#[tokio::test]
async fn pings_between_fragments_are_answered_before_the_message() {
    let server = echo().start().await;
    let ping = |payload: &[u8]| ws_frame(FIN | PING, payload);
    let (start, more, end) = (
        ws_frame(TEXT, b"fragment1"),
        ws_frame(CONTINUATION, b"fragment2"),
        ws_frame(FIN | CONTINUATION, b"fragment3"),
    );
    let cases = vec![
        good(
            "one ping",
            vec![start.clone(), ping(b"ping payload"), ws_frame(FIN | CONTINUATION, b"fragment2")],
            vec![pong(b"ping payload"), text(b"fragment1fragment2")],
        ),
        good(
            "pings and pongs everywhere, twice",
            vec![
                start.clone(),
                ping(b"1"),
                ws_frame(FIN | PONG, b"unasked"),
                more.clone(),
                ping(b""),
                ping(&[7; 125]),
                end.clone(),
                ws_frame(BINARY, b"b"),
                ping(b"2"),
                ws_frame(FIN | CONTINUATION, b""),
            ],
            vec![
                pong(b"1"),
                pong(b""),
                pong(&[7; 125]),
                text(b"fragment1fragment2fragment3"),
                pong(b"2"),
                binary(b"b"),
            ],
        ),
    ];
    play_all(server.addr("echo"), cases).await;
}

#[tokio::test]
async fn a_continuation_of_nothing_closes_with_1002() {
    let server = echo().start().await;
    let whole = ws_frame(FIN | TEXT, b"Hello, world!");
    let fragmented = [ws_frame(TEXT, b"a"), ws_frame(FIN | CONTINUATION, b"b")];
    let mut cases = Vec::new();
    for first in [CONTINUATION, FIN | CONTINUATION] {
        let stray = ws_frame(first, b"non-continuation payload");
        cases.push(bad(format!("{first:02x} alone"), vec![stray.clone()], vec![], 1002));
        let frames = vec![whole.clone(), stray.clone()];
        let said = vec![text(b"Hello, world!")];
        cases.push(bad(format!("{first:02x} behind a message"), frames, said, 1002));
        let frames = fragmented.iter().cloned().chain([stray]).collect();
        cases.push(bad(format!("{first:02x} behind fragments"), frames, vec![text(b"ab")], 1002));
    }
    play_all(server.addr("echo"), cases).await;
}

#[tokio::test]
async fn a_message_within_a_message_closes_with_1002() {
    let server = echo().start().await;
    let mut cases = Vec::new();
    for open in [TEXT, BINARY] {
        for inner in [TEXT, BINARY, FIN | TEXT, FIN | BINARY] {
            let frames = vec![
                ws_frame(open, b"fragment1"),
                ws_frame(CONTINUATION, b"fragment2"),
                ws_frame(FIN | PING, b"p"),
                ws_frame(inner, b"new"),
            ];
            cases.push(bad(format!("{inner:02x} within {open:02x}"), frames, vec![pong(b"p")], 1002));
        }
    }
    play_all(server.addr("echo"), cases).await;
}
