//! `GET /call/{call}`: who gets a seat, and who hears of it.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::alone;
use crate::harness::*;

const ORIGIN: &str = "http://localhost:8080";

#[tokio::test]
async fn a_seat_comes_with_a_join_and_a_session_of_27_characters() {
    let server = alone().start().await;
    let response = ask(server.main(), "GET", "/call/demo", &[], None).await;
    assert_eq!(response.status, 200);
    let join = json_of(&response);
    assert_eq!(keys_of(&join), ["call", "kind", "session"], "empty keys are left out");
    assert_eq!((&join["kind"], &join["call"]), (&json!("JOIN"), &json!("demo")));
    let session = join["session"].as_str().expect("a string");
    assert_eq!(session.len(), 27, "{session}");
    assert!(session.bytes().all(|it| it.is_ascii_alphanumeric()), "{session}");
}

#[tokio::test]
async fn no_two_sessions_are_the_same() {
    let server = alone().section("[calls]\nseat_count = 1000").start().await;
    let mut http = Http::open(server.main()).await;
    let mut sessions = HashSet::new();
    for _ in 0..200 {
        let response = http.get("/call/demo").await;
        let join: Value = serde_json::from_str(response.text()).expect("JSON");
        assert!(sessions.insert(join["session"].as_str().expect("a string").to_owned()));
    }
}

#[tokio::test]
async fn a_call_has_two_seats_and_then_409() {
    let server = alone().start().await;
    for call in ["one", "two", "x", "a.b-c_d~e", "1"] {
        Seat::take(server.main(), call).await;
        Seat::take(server.main(), call).await;
        for _ in 0..3 {
            assert_eq!(Seat::try_take(server.main(), call).await.err(), Some(409), "{call}");
        }
    }
}

#[tokio::test]
async fn seat_count_sets_the_seats_of_a_call() {
    for seats in [1, 4] {
        let server = alone().section(&format!("[calls]\nseat_count = {seats}")).start().await;
        for _ in 0..seats {
            Seat::take(server.main(), "demo").await;
        }
        assert_eq!(Seat::try_take(server.main(), "demo").await.err(), Some(409));
        Seat::take(server.main(), "another").await;
    }
}

/// No more seats are given than there are, however many ask at the same time.
#[tokio::test]
async fn of_many_who_ask_at_once_as_many_get_a_seat_as_there_are() {
    let server = alone().section("[calls]\nseat_count = 5").start().await;
    let mut asking = Vec::new();
    for _ in 0..30 {
        let addr = server.main();
        asking.push(tokio::spawn(async move { Seat::try_take(addr, "demo").await }));
    }
    let mut sessions = HashSet::new();
    for asked in asking {
        match asked.await.expect("no panic") {
            Ok(seat) => assert!(sessions.insert(seat.session)),
            Err(status) => assert_eq!(status, 409),
        }
    }
    assert_eq!(sessions.len(), 5);
}

#[tokio::test]
async fn the_name_of_a_call_is_percent_decoded() {
    let server = alone().start().await;
    for (path, name) in [("/call/caf%C3%A9", "café"), ("/call/a%20b", "a b"), ("/call/demo?x=1&y", "demo")] {
        let response = ask(server.main(), "GET", path, &[], None).await;
        assert_eq!(response.status, 200, "{path}");
        let join = json_of(&response);
        assert_eq!(join["call"], name);
        let seat = Seat { call: name.into(), session: join["session"].as_str().expect("a session").into() };
        seat.connect(server.main()).await;
    }
}

#[tokio::test]
async fn no_name_or_more_segments_are_a_404() {
    let server = alone().start().await;
    for path in ["/call/", "/call", "/call/a/b", "/call/a/", "/call//", "/calls/a", "/", "/signals"] {
        let response = ask(server.main(), "GET", path, &[], None).await;
        assert_eq!(response.status, 404, "{path}");
    }
}

#[tokio::test]
async fn another_method_is_a_405() {
    let server = alone().start().await;
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let response = ask(server.main(), method, "/call/demo", &[], Some("")).await;
        assert_eq!(response.status, 405, "{method}");
    }
    for method in ["GET", "PUT", "DELETE"] {
        let response = ask(server.main(), method, "/signal", &[], None).await;
        assert_eq!(response.status, 405, "{method}");
    }
    // None of them took a seat.
    Seat::take(server.main(), "demo").await;
    Seat::take(server.main(), "demo").await;
}

#[tokio::test]
async fn options_is_a_204_with_cors_headers_and_takes_no_seat() {
    let server = alone().section("[calls]\nseat_count = 1").start().await;
    for (path, method) in [("/call/demo", "GET"), ("/signal", "POST")] {
        let headers = [
            ("Origin", ORIGIN),
            ("Access-Control-Request-Method", method),
            ("Access-Control-Request-Headers", "content-type"),
        ];
        for headers in [&headers[..], &[]] {
            let response = ask(server.main(), "OPTIONS", path, headers, None).await;
            assert_eq!(response.status, 204, "{path}");
            assert_eq!(response.header("access-control-allow-origin"), Some(ORIGIN));
            let methods = response.header("access-control-allow-methods").expect("methods");
            assert!(methods.contains(method), "{methods}");
            let allowed = response.header("access-control-allow-headers").expect("headers").to_lowercase();
            for header in ["cache-control", "content-type", "user-agent"] {
                assert!(allowed.contains(header), "{allowed}");
            }
        }
    }
    Seat::take(server.main(), "demo").await;
}

#[tokio::test]
async fn every_answer_names_the_origin_that_may_read_it() {
    for (section, origin) in
        [("", ORIGIN), ("[calls]\norigin = 'https://call.example.org'", "https://call.example.org")]
    {
        let server = alone().section(section).start().await;
        let headers = [("Origin", origin)];
        for (path, status) in [("/call/demo", 200), ("/call/demo", 200), ("/call/demo", 409)] {
            let response = ask(server.main(), "GET", path, &headers, None).await;
            assert_eq!(response.status, status);
            assert_eq!(response.header("access-control-allow-origin"), Some(origin), "{status}");
        }
        let response = ask(server.main(), "POST", "/signal", &headers, Some("{")).await;
        assert_eq!(response.status, 400);
        assert_eq!(response.header("access-control-allow-origin"), Some(origin));
    }
}

#[tokio::test]
async fn the_seated_hear_of_each_newcomer() {
    let server = alone().section("[calls]\nseat_count = 3").start().await;
    let first = Seat::take(server.main(), "demo").await;
    let mut one = first.connect(server.main()).await;
    let second = Seat::take(server.main(), "demo").await;
    one.hears("demo", "PEER", None).await;
    let mut two = second.connect(server.main()).await;
    // Nobody hears of calls that are not theirs, or of an attempt that failed.
    Seat::take(server.main(), "another").await;
    Seat::take(server.main(), "demo").await;
    assert_eq!(Seat::try_take(server.main(), "demo").await.err(), Some(409));
    one.hears("demo", "PEER", None).await;
    two.hears("demo", "PEER", None).await;
    // Connecting is no news, taking a seat was: next comes what is signalled now.
    second.signals(server.main(), "OFFER", "to one").await;
    one.hears("demo", "OFFER", Some("to one")).await;
    first.signals(server.main(), "ANSWER", "to two").await;
    two.hears("demo", "ANSWER", Some("to two")).await;
}
