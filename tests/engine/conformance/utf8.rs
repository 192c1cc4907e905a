//! Text is UTF-8: section 6 of the list.

use super::*;

const GREEK: &[u8] = "Hello-µ@ßöäüàá-UTF-8!! κόσμε".as_bytes();

/// Characters at the edges of each length, and those that are none but may be written.
const VALID: &[&str] = &[
    "",
    "\u{0}",
    "\u{7f}",
    "\u{80}",
    "\u{7ff}",
    "\u{800}",
    "\u{d7ff}",
    "\u{e000}",
    "\u{fffd}",
    "\u{fffe}",
    "\u{ffff}",
    "\u{10000}",
    "\u{1fffe}",
    "\u{1ffff}",
    "\u{10fffe}",
    "\u{10ffff}",
    "κόσμε",
    "a\u{300}\u{1f1e6}\u{1f1f9}👩\u{200d}🚀",
];

/// Bytes that are never UTF-8, each with the length at which nothing can save it.
const INVALID: &[(&[u8], usize)] = &[
    // Continuations without a beginning.
    (b"\x80", 1),
    (b"\xbf", 1),
    (b"\x80\xbf\x80\xbf", 1),
    // Beginnings without a continuation.
    (b"\xc3 ", 2),
    (b"\xe0\xa0 ", 3),
    (b"\xf0\x90\x80 ", 4),
    (b"\xc3\xc3", 2),
    // What no character begins with.
    (b"\xfe", 1),
    (b"\xff", 1),
    (b"\xf8\x88\x80\x80\x80", 1),
    (b"\xfc\x84\x80\x80\x80\x80", 1),
    (b"\xf5\x80\x80\x80", 1),
    // Longer than needed.
    (b"\xc0\x80", 1),
    (b"\xc0\xaf", 1),
    (b"\xc1\xbf", 1),
    (b"\xe0\x80\xaf", 2),
    (b"\xe0\x9f\xbf", 2),
    (b"\xf0\x80\x80\xaf", 2),
    (b"\xf0\x8f\xbf\xbf", 2),
    // Surrogates, alone and in pairs.
    (b"\xed\xa0\x80", 2),
    (b"\xed\xad\xbf", 2),
    (b"\xed\xbf\xbf", 2),
    (b"\xed\xa0\x80\xed\xb0\x80", 2),
    // Beyond U+10FFFF.
    (b"\xf4\x90\x80\x80", 2),
    (b"\xf7\xbf\xbf\xbf", 1),
];

/// A text message in fragments of so many bytes.
fn fragments(payload: &[u8], size: usize) -> Vec<Vec<u8>> {
    let pieces: Vec<&[u8]> = payload.chunks(size).collect();
    let last = pieces.len().saturating_sub(1);
    let frame = |(n, piece): (usize, &&[u8])| {
        let opcode = if n == 0 { TEXT } else { CONTINUATION };
        ws_frame(if n == last { FIN | opcode } else { opcode }, piece)
    };
    match pieces.is_empty() {
        true => vec![ws_frame(FIN | TEXT, b"")],
        false => pieces.iter().enumerate().map(frame).collect(),
    }
}

#[tokio::test]
async fn valid_text_comes_back_however_its_characters_are_cut() {
    let server = echo().start().await;
    let mut cases = Vec::new();
    let texts = VALID.iter().map(|text| text.as_bytes()).chain([GREEK]);
    for payload in texts {
        for size in [1, 2, 3, 1000] {
            let name = format!("{:02x?} in fragments of {size}", payload);
            cases.push(good(name, fragments(payload, size), vec![text(payload)]));
        }
    }
    cases.push(good(
        "empty fragments around text",
        vec![
            ws_frame(TEXT, b""),
            ws_frame(CONTINUATION, b"middle frame payload"),
            ws_frame(FIN | CONTINUATION, b""),
        ],
        vec![text(b"middle frame payload")],
    ));
    play_all(server.addr("echo"), cases).await;
}

#[tokio::test]
async fn invalid_text_closes_with_1007_behind_what_came_before() {
    let server = echo().start().await;
    let mut cases = Vec::new();
    for (bytes, _) in INVALID {
        let payload = [GREEK, bytes, b"edited"].concat();
        cases.push(bad(format!("{bytes:02x?}"), vec![ws_frame(FIN | TEXT, &payload)], vec![], 1007));
        for size in [1, 1000] {
            let frames = [vec![ws_frame(FIN | TEXT, b"ok")], fragments(&payload, size)].concat();
            cases.push(bad(format!("{bytes:02x?} by {size}"), frames, vec![text(b"ok")], 1007));
        }
    }
    for cut in [&b"\xce"[..], b"\xe1\xbd", b"\xf0\x9d\x84"] {
        let payload = [GREEK, cut].concat();
        cases.push(bad(format!("ends with {cut:02x?}"), vec![ws_frame(FIN | TEXT, &payload)], vec![], 1007));
        let frames = vec![ws_frame(TEXT, &payload), ws_frame(FIN | CONTINUATION, b"")];
        cases.push(bad(format!("ends with {cut:02x?} in fragments"), frames, vec![], 1007));
    }
    play_all(server.addr("echo"), cases).await;
}

/// Nothing else is sent, so an answer can only mean that the byte itself was judged.
#[tokio::test]
async fn invalid_text_is_refused_at_its_first_bad_byte() {
    let server = echo().start().await;
    let addr = server.addr("echo");
    for (bytes, dead_at) in INVALID {
        let bad_bytes = [GREEK, &bytes[..*dead_at]].concat();
        // In a fragment with another to come.
        let said = play(addr, vec![ws_frame(TEXT, &bad_bytes)]).await;
        assert_eq!(said, [Said::Close(1007)], "{bytes:02x?} in a fragment");
        // In a fragment of its own.
        let (good, last) = bad_bytes.split_at(bad_bytes.len() - 1);
        let frames = vec![ws_frame(TEXT, good), ws_frame(CONTINUATION, last)];
        assert_eq!(play(addr, frames).await, [Said::Close(1007)], "{bytes:02x?} by its last byte");
        // In a frame of which the rest is missing.
        let mut frame = ws_frame(FIN | TEXT, &[&bad_bytes[..], &[b'x'; 60]].concat());
        frame.truncate(frame.len() - 60);
        for feed in FEEDS {
            let said = play(addr, feed.cut(&[frame.clone()])).await;
            assert_eq!(said, [Said::Close(1007)], "{bytes:02x?} in a cut frame, {feed:?}");
        }
    }
}

/// One byte before its fault a text may still become good, and the connection waits for it.
#[tokio::test]
async fn text_that_may_become_valid_is_waited_for() {
    let server = echo().start().await;
    for (bytes, dead_at) in INVALID {
        let mut raw = RawWs::open(server.addr("echo")).await;
        raw.send(&ws_frame(TEXT, &[GREEK, &bytes[..dead_at - 1]].concat())).await;
        raw.send(&ws_frame(FIN | PING, b"?")).await;
        assert_eq!(raw.next().await, Some((FIN | PONG, b"?".to_vec())), "{bytes:02x?}");
    }
}

#[tokio::test]
async fn binary_may_hold_anything() {
    let server = echo().start().await;
    let cases = INVALID.iter().map(|(bytes, _)| {
        let frames = vec![ws_frame(BINARY, bytes), ws_frame(FIN | CONTINUATION, b"\xff")];
        good(format!("{bytes:02x?}"), frames, vec![binary(&[bytes, &b"\xff"[..]].concat())])
    });
    play_all(server.addr("echo"), cases.collect()).await;
}
