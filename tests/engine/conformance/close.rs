//! Closing: section 7 of the list.

use super::*;

#[tokio::test]
async fn every_code_that_may_be_sent_is_answered_with_itself() {
    let server = echo().start().await;
    let codes =
        [1000_u16, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999];
    let mut cases = Vec::new();
    for code in codes {
        for reason in ["", "Hello World!", "κόσμε", &"*".repeat(123)] {
            let payload = [&code.to_be_bytes()[..], reason.as_bytes()].concat();
            let frames = vec![ws_frame(FIN | CLOSE, &payload)];
            cases.push(bad(format!("{code} with {} bytes", reason.len()), frames, vec![], code));
        }
    }
    cases.push(bad("no code", vec![ws_frame(FIN | CLOSE, b"")], vec![], 0));
    play_all(server.addr("echo"), cases).await;
}

#[tokio::test]
async fn every_code_that_must_not_be_sent_is_answered_with_1002() {
    let server = echo().start().await;
    let codes = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1099, 1100, 2000, 2999, 5000, 32_768, 65_535];
    let cases = codes.map(|code| bad(format!("{code}"), vec![closing(code)], vec![], 1002));
    play_all(server.addr("echo"), cases.into()).await;
}

#[tokio::test]
async fn a_close_that_is_cut_short_too_long_or_no_text_is_refused() {
    let server = echo().start().await;
    let close = |payload: &[u8]| vec![ws_frame(FIN | CLOSE, payload)];
    let cases = vec![
        bad("one byte", close(b"\x03"), vec![], 1002),
        bad("a reason of 124 bytes", close(&[&b"\x03\xe8"[..], &[b'*'; 124]].concat()), vec![], 1002),
        bad("a reason that is no UTF-8", close(b"\x03\xe8\xce\xba\xed\xa0\x80edited"), vec![], 1007),
        bad("a reason cut within a character", close(b"\x03\xe8\xce"), vec![], 1007),
    ];
    play_all(server.addr("echo"), cases).await;
}

#[tokio::test]
async fn nothing_is_said_behind_a_close() {
    let server = echo().start().await;
    let hello = ws_frame(FIN | TEXT, b"Hello World!");
    let ping = ws_frame(FIN | PING, b"late");
    let big = vec![b'B'; 256 * 1024];
    let cases = vec![
        bad("a message, then a Close", vec![hello.clone(), closing(1000)], vec![text(b"Hello World!")], 1000),
        bad("two Closes", vec![closing(1000), closing(1001)], vec![], 1000),
        bad("a ping behind it", vec![closing(1000), ping.clone()], vec![], 1000),
        bad("a message behind it", vec![closing(1000), hello], vec![], 1000),
        bad("something broken behind it", vec![closing(1000), vec![0xFF; 300]], vec![], 1000),
        bad(
            "the rest of a message behind it",
            vec![ws_frame(TEXT, b"fragment1"), closing(1000), ws_frame(FIN | CONTINUATION, b"fragment2")],
            vec![],
            1000,
        ),
        bad(
            "a large message before it",
            vec![ws_frame(FIN | TEXT, &big), closing(1000), ping],
            vec![text(&big)],
            1000,
        ),
    ];
    play_all(server.addr("echo"), cases).await;
}

/// A TCP connection that is closed with bytes unread is reset, and the reset overtakes the Close.
#[tokio::test]
async fn what_follows_a_violation_does_not_eat_the_close() {
    let server = echo().start().await;
    for (name, last, code) in [
        ("a violation", ws_frame(FIN | RSV1 | TEXT, b""), 1002),
        ("no text", ws_frame(FIN | TEXT, b"\xff"), 1007),
        ("too big", [&[FIN | BINARY, 0xFF][..], &[0, 0, 0, 0, 0x7F, 0, 0, 0]].concat(), 1009),
        ("a Close", closing(1000), 1000),
    ] {
        let said = play(server.addr("echo"), vec![last, vec![0x5A; 300_000]]).await;
        assert_eq!(said, [Said::Close(code)], "{name}");
    }
}

/// A server that closes first waits for the client's Close, but not for ever.
#[tokio::test]
async fn a_client_that_does_not_answer_a_close_is_left_after_close_seconds() {
    let server = echo().server("close_seconds", "'300ms'").server("drain_seconds", 5).start().await;
    let mut raw = RawWs::open(server.addr("echo")).await;
    raw.send(&ws_frame(FIN | TEXT, b"here")).await;
    assert_eq!(raw.next().await, Some((FIN | TEXT, b"here".to_vec())));
    server.sigterm();
    assert_eq!(raw.close_frame().await.0, 1001);
    assert_eq!(raw.next().await, None);
}
