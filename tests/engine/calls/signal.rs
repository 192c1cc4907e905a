//! `POST /signal`: every code, who hears it, and what of it.

use serde_json::{Value, json};

use super::alone;
use crate::harness::*;

/// Two who are seated and connected, in that order.
async fn pair(server: &Server, call: &str) -> [(Seat, Caller); 2] {
    let first = Seat::take(server.main(), call).await;
    let mut one = first.connect(server.main()).await;
    let second = Seat::take(server.main(), call).await;
    one.hears(call, "PEER", None).await;
    let two = second.connect(server.main()).await;
    [(first, one), (second, two)]
}

#[tokio::test]
async fn each_kind_arrives_without_its_session_and_the_sender_does_not_hear_itself() {
    let server = alone().start().await;
    let [(first, mut one), (second, mut two)] = pair(&server, "demo").await;
    for kind in ["OFFER", "ANSWER", "CANDIDATE"] {
        first.signals(server.main(), kind, "from the first").await;
        assert_eq!(
            two.json().await,
            json!({"call": "demo", "kind": kind, "body": "from the first"}),
            "the session is blanked, and what is empty is left out"
        );
        second.signals(server.main(), kind, "from the second").await;
        // Were there an echo, it would come first.
        one.hears("demo", kind, Some("from the second")).await;
    }
}

#[tokio::test]
async fn a_body_arrives_unchanged() {
    let server = alone().start().await;
    let [(first, _one), (_second, mut two)] = pair(&server, "demo").await;
    for body in [
        "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\n",
        r#"{"type":"offer","sdp":"v=0\r\n"}"#,
        " \t\n\\ \" / \u{0}\u{1f}\u{7f}é 🛰 \u{2028}",
        "<script>&amp;</script>",
        &"x".repeat(60_000),
    ] {
        first.signals(server.main(), "OFFER", body).await;
        two.hears("demo", "OFFER", Some(body)).await;
    }
    // However it was written.
    let text = format!(
        r#"{{"body":"\u00e9\/\ud83d\ude80", "session" : "{}","kind":"OFF\u0045R","call":"d\u0065mo"}}"#,
        first.session
    );
    assert_eq!(ask(server.main(), "POST", "/signal", &[], Some(&text)).await.status, 200);
    two.hears("demo", "OFFER", Some("é/🚀")).await;
}

#[tokio::test]
async fn all_other_seats_hear_it() {
    let server = alone().section("[calls]\nseat_count = 4").start().await;
    let mut seated: Vec<(Seat, Caller)> = Vec::new();
    for _ in 0..4 {
        let seat = Seat::take(server.main(), "demo").await;
        for (_, caller) in &mut seated {
            caller.hears("demo", "PEER", None).await;
        }
        let caller = seat.connect(server.main()).await;
        seated.push((seat, caller));
    }
    let [(other_seat, _other_one), (_, mut other_two)] = pair(&server, "other").await;
    for sender in 0..4 {
        seated[sender].0.signals(server.main(), "OFFER", &format!("from {sender}")).await;
        for (index, (_, caller)) in seated.iter_mut().enumerate() {
            if index != sender {
                caller.hears("demo", "OFFER", Some(&format!("from {sender}"))).await;
            }
        }
    }
    // Another call hears its own news alone.
    other_seat.signals(server.main(), "OFFER", "of the other call").await;
    other_two.hears("other", "OFFER", Some("of the other call")).await;
}

#[tokio::test]
async fn what_is_not_json_is_a_400() {
    let server = alone().start().await;
    let seat = Seat::take(server.main(), "demo").await;
    for body in ["", "{", "hello", "[]", "null", "5", "\"x\"", "kind=OFFER&call=demo", "\u{feff}{}"] {
        let response = ask(server.main(), "POST", "/signal", &[], Some(body)).await;
        assert_eq!(response.status, 400, "{body}");
    }
    let cut = seat.event("OFFER", "x").to_string();
    let cut = &cut[..cut.len() - 1];
    assert_eq!(ask(server.main(), "POST", "/signal", &[], Some(cut)).await.status, 400);
    let mut request = b"POST /signal HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{\"kind\":\"".to_vec();
    request.extend(b"\xff\xfe\"}\r");
    let mut http = Http::open(server.main()).await;
    http.send(&request).await;
    assert_eq!(http.response(false).await.expect("an answer").status, 400);
    seat.signals(server.main(), "OFFER", "x").await;
}

#[tokio::test]
async fn an_empty_field_or_another_kind_is_a_400() {
    let server = alone().start().await;
    let [(first, _one), (_second, mut two)] = pair(&server, "demo").await;
    let whole = first.event("OFFER", "x");
    for field in ["call", "session", "body", "kind"] {
        let mut event = whole.clone();
        event.as_object_mut().expect("an object").remove(field);
        assert_eq!(post_json(server.main(), "/signal", &[], &event).await.status, 400, "no {field}");
        for wrong in [json!(""), Value::Null, json!(5), json!(["x"]), json!({"x": 1}), json!(true)] {
            event[field] = wrong;
            assert_eq!(post_json(server.main(), "/signal", &[], &event).await.status, 400, "{event}");
        }
    }
    for kind in ["JOIN", "WELCOME", "PEER", "offer", "OFFER ", "BYE"] {
        let event = first.event(kind, "x");
        assert_eq!(post_json(server.main(), "/signal", &[], &event).await.status, 400, "{kind}");
    }
    first.signals(server.main(), "OFFER", "the only one").await;
    two.hears("demo", "OFFER", Some("the only one")).await;
}

#[tokio::test]
async fn hostile_json_is_a_400() {
    let server = alone().start().await;
    let [(first, _one), (_second, mut two)] = pair(&server, "demo").await;
    let session = &first.session;
    for body in [
        format!(r#"{{"kind":"OFFER","call":"\udc00","session":"{session}","body":"x"}}"#),
        format!(r#"{{"kind":"OFFER","call":"demo","session":"{session}","body":{}}}"#, "[".repeat(30_000)),
        format!(
            r#"{{"kind":"OFFER","call":"demo","session":"{session}","body":"x","y":{}{}}}"#,
            "[".repeat(20_000),
            "]".repeat(20_000)
        ),
    ] {
        let response = ask(server.main(), "POST", "/signal", &[], Some(&body)).await;
        let shown: String = body.chars().take(120).collect();
        assert_eq!(response.status, 400, "{shown}");
    }
    first.signals(server.main(), "OFFER", "the only one").await;
    two.hears("demo", "OFFER", Some("the only one")).await;
}

#[tokio::test]
async fn a_field_that_stands_twice_is_a_400() {
    let server = alone().start().await;
    let [(first, _one), (_second, mut two)] = pair(&server, "demo").await;
    let session = &first.session;
    for body in [
        format!(r#"{{"kind":"OFFER","kind":"ANSWER","call":"demo","session":"{session}","body":"x"}}"#),
        format!(r#"{{"kind":"OFFER","call":"other","call":"demo","session":"{session}","body":"x"}}"#),
        format!(r#"{{"kind":"OFFER","call":"demo","session":"x","session":"{session}","body":"x"}}"#),
        format!(r#"{{"kind":"OFFER","call":"demo","session":"{session}","body":"x","b\u006fdy":"y"}}"#),
    ] {
        let response = ask(server.main(), "POST", "/signal", &[], Some(&body)).await;
        assert_eq!(response.status, 400, "{body}");
    }
    first.signals(server.main(), "OFFER", "the only one").await;
    two.hears("demo", "OFFER", Some("the only one")).await;
}

/// No text has one, but what stands in a body is between the callers: it is refused or passes as it was.
#[tokio::test]
async fn a_lone_surrogate_in_a_body_is_refused_or_arrives_unchanged() {
    let server = alone().start().await;
    let seat = Seat::take(server.main(), "demo").await;
    let other = Seat::take(server.main(), "demo").await;
    let mut line = TextClient::open_at(server.main(), "/ws").await;
    line.send(&other.join()).await;
    line.text().await;
    for escape in [r"\ud800", r"x\udc00y", r"\udc00\ud800"] {
        let body =
            format!(r#"{{"kind":"OFFER","call":"demo","session":"{}","body":"{escape}"}}"#, seat.session);
        let status = ask(server.main(), "POST", "/signal", &[], Some(&body)).await.status;
        assert!(status == 200 || status == 400, "{status}");
        if status == 200 {
            let text = line.text().await;
            assert!(text.contains(&format!("\"{escape}\"")), "{text}");
        }
    }
    seat.signals(server.main(), "OFFER", "after").await;
    assert_eq!(line.json().await["body"], "after");
}

#[tokio::test]
async fn without_a_seat_it_is_a_409() {
    let server = alone().start().await;
    let [(first, mut one), (second, mut two)] = pair(&server, "demo").await;
    let other = Seat::take(server.main(), "other").await;
    for (call, session) in [
        ("demo", "0o5Fs0EELR0fUjHjbCnEtdUwQe3"),
        ("demo", other.session.as_str()),
        ("other", &first.session),
        ("nobody-called", &first.session),
        ("demo", &first.session.to_lowercase()),
        ("DEMO", &first.session),
    ] {
        let event = json!({"kind": "OFFER", "call": call, "session": session, "body": "forged"});
        assert_eq!(post_json(server.main(), "/signal", &[], &event).await.status, 409, "{event}");
    }
    first.signals(server.main(), "OFFER", "the only one").await;
    two.hears("demo", "OFFER", Some("the only one")).await;
    second.signals(server.main(), "ANSWER", "back").await;
    one.hears("demo", "ANSWER", Some("back")).await;
}

#[tokio::test]
async fn a_lapsed_seat_is_a_409() {
    let server = alone().section("[calls]\nseat_timeout = '1s'").start().await;
    let seat = Seat::take(server.main(), "demo").await;
    until("the seat has lapsed", async || {
        let status = seat.signal(server.main(), "OFFER", "x").await.status;
        assert!(status == 200 || status == 409, "{status}");
        (status == 409).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_seat_without_a_websocket_may_signal_and_nothing_is_kept() {
    let server = alone().start().await;
    let first = Seat::take(server.main(), "demo").await;
    let second = Seat::take(server.main(), "demo").await;
    first.signals(server.main(), "OFFER", "nobody listens yet").await;
    let mut two = second.connect(server.main()).await;
    first.signals(server.main(), "OFFER", "now").await;
    two.hears("demo", "OFFER", Some("now")).await;
}

#[tokio::test]
async fn the_content_type_may_carry_a_charset() {
    let server = alone().start().await;
    let [(first, _one), (_second, mut two)] = pair(&server, "demo").await;
    for kind in [
        "application/json",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        "Application/JSON ; charset=\"utf-8\"",
    ] {
        let body = first.event("OFFER", kind).to_string();
        let response = ask(server.main(), "POST", "/signal", &[("Content-Type", kind)], Some(&body)).await;
        assert_eq!(response.status, 200, "{kind}");
        two.hears("demo", "OFFER", Some(kind)).await;
    }
}

/// As deployed: a page of another origin can send these without asking first.
#[tokio::test]
async fn another_content_type_or_none_is_a_400() {
    let server = alone().start().await;
    let seat = Seat::take(server.main(), "demo").await;
    let body = seat.event("OFFER", "x").to_string();
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "json", ""] {
        let response = ask(server.main(), "POST", "/signal", &[("Content-Type", kind)], Some(&body)).await;
        assert_eq!(response.status, 400, "{kind}");
    }
    let mut http = Http::open(server.main()).await;
    let bare = format!("POST /signal HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    http.send(bare.as_bytes()).await;
    assert_eq!(http.response(false).await.expect("an answer").status, 400);
    seat.signals(server.main(), "OFFER", "x").await;
}

#[tokio::test]
async fn the_body_limit_is_max_body_bytes() {
    for (section, limit) in [("", 65_536), ("[calls]\nmax_body_bytes = 1024", 1024)] {
        let server = alone().section(section).start().await;
        let [(first, _one), (_second, mut two)] = pair(&server, "demo").await;
        let around = first.event("OFFER", "").to_string().len();
        let fits = "x".repeat(limit - around);
        first.signals(server.main(), "OFFER", &fits).await;
        two.hears("demo", "OFFER", Some(&fits)).await;
        let status = first.signal(server.main(), "OFFER", &format!("{fits}x")).await.status;
        assert!(status == 413 || status == 400, "{status}");
        first.signals(server.main(), "OFFER", "after").await;
        two.hears("demo", "OFFER", Some("after")).await;
    }
}

#[tokio::test]
async fn what_one_sends_arrives_in_its_order() {
    let server = alone().start().await;
    let [(first, _one), (_second, mut two)] = pair(&server, "demo").await;
    let mut http = Http::open(server.main()).await;
    for number in 0..200 {
        let body = first.event("CANDIDATE", &number.to_string()).to_string();
        http.send(&http_request("POST", "/signal", &[], Some(&body))).await;
        assert_eq!(http.response(false).await.expect("an answer").status, 200);
    }
    for number in 0..200 {
        two.hears("demo", "CANDIDATE", Some(&number.to_string())).await;
    }
}

#[tokio::test]
async fn draining_closes_with_1001() {
    let mut server = alone().start().await;
    let [(_, mut one), (_, mut two)] = pair(&server, "demo").await;
    server.sigterm();
    for caller in [&mut one, &mut two] {
        assert_eq!(caller.closed().await, (1001, "Server shutting down".into()));
    }
    assert_eq!(server.exit().await.code(), Some(0));
}

#[tokio::test]
async fn sessions_and_bodies_reach_neither_logs_nor_metrics() {
    let mut server = alone().section("[logging]\nlevel = 'trace'").start().await;
    let [(first, _one), (_second, mut two)] = pair(&server, "demo").await;
    first.signals(server.main(), "OFFER", "hush-sdp").await;
    two.hears("demo", "OFFER", Some("hush-sdp")).await;
    let forged = json!({"kind": "OFFER", "call": "demo", "session": "hush-session", "body": "hush-sdp"});
    assert_eq!(post_json(server.main(), "/signal", &[], &forged).await.status, 409);
    assert_eq!(ask(server.main(), "POST", "/signal", &[], Some("{\"body\":\"hush-sdp")).await.status, 400);
    let metrics = ask(server.metrics(), "GET", "/metrics", &[], None).await;
    server.sigterm();
    assert_eq!(server.exit().await.code(), Some(0));
    let logs = server.logs();
    assert!(!logs.is_empty());
    for secret in ["hush", first.session.as_str()] {
        assert!(!logs.contains(secret), "{secret} is in the log");
        assert!(!metrics.text().contains(secret), "{secret} is in the metrics");
    }
}
