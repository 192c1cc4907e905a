//! One port speaks everything: what arrives decides the dialect, without configuration.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::*;

const ALL: [&str; 5] = ["binary", "rooms", "broadcast", "calls", "devices"];

fn all() -> Setup {
    Setup::new().listener("main", &ALL)
}

/// Errors of `rooms` have a code; those of `devices` have none.
fn is_of_rooms(answer: &Value) -> bool {
    answer["type"] == "error" && answer["code"].is_string()
}

fn is_of_devices(answer: &Value) -> bool {
    answer["type"] == "error" && answer["message"].is_string() && answer.get("code").is_none()
}

/// What only `rooms` knows is answered as `rooms` does it.
async fn speaks_rooms(client: &mut TextClient) {
    client.send(&json!({"type": "query"})).await;
    let answer = client.json().await;
    assert!(is_of_rooms(&answer) && answer["code"] == "NOT_IN_ROOM", "{answer}");
}

async fn speaks_devices(client: &mut TextClient) {
    client.send(&json!({"type": "query"})).await;
    let answer = client.json().await;
    assert_eq!(answer, json!({"type": "error", "message": "Unknown message type: query"}));
}

async fn take_seat(server: &Server, call: &str) -> Value {
    let seat = Http::open(server.main()).await.get(&format!("/call/{call}")).await;
    assert_eq!(seat.status, 200);
    serde_json::from_str(seat.text()).expect("JSON")
}

#[tokio::test]
async fn each_field_of_rooms_decides_alone() {
    let server = all().start().await;
    for field in ["peer_id", "from_peer_id", "room_id", "id_token", "sender"] {
        for value in ["\"x\"", "\"\"", "5", "null", "{}"] {
            for message in [
                format!(r#"{{"{field}":{value}}}"#),
                format!(r#"{{"type":"offer","target":"y","sdp":"v=0","{field}":{value}}}"#),
                format!(r#"{{"type":"register","id":"x","{field}":{value}}}"#),
                format!(
                    r#" {{ "\u00{:02x}{}" : {value}, "type":"ping" }}"#,
                    field.as_bytes()[0],
                    &field[1..]
                ),
            ] {
                let mut client = TextClient::open(server.main()).await;
                client.send_text(&message).await;
                // A ping is answered, everything else is refused by `rooms`.
                let answer = client.json().await;
                assert!(is_of_rooms(&answer) || answer == json!({"type": "pong"}), "{message}: {answer}");
                speaks_rooms(&mut client).await;
            }
        }
    }
}

#[tokio::test]
async fn each_type_of_rooms_decides_alone() {
    let server = all().start().await;
    for kind in ["query", "discover_peers", "peer_message", "update_metadata"] {
        for message in [
            format!(r#"{{"type":"{kind}"}}"#),
            format!(r#"{{"filters":{{}},"t\u0079pe":"\u00{:02x}{}"}}"#, kind.as_bytes()[0], &kind[1..]),
        ] {
            let mut client = TextClient::open(server.main()).await;
            client.send_text(&message).await;
            let answer = client.json().await;
            assert!(is_of_rooms(&answer), "{message}: {answer}");
            speaks_rooms(&mut client).await;
        }
    }
}

#[tokio::test]
async fn any_other_type_is_devices() {
    let server = all().start().await;
    for (message, wanted) in [
        (r#"{"type":"register","id":"drone"}"#, "registered"),
        (r#"{"id":"drone","type":"register"}"#, "registered"),
        (r#"{"type":"ping"}"#, "pong"),
        (r#"{"type":"list"}"#, "clients"),
        (r#"{"type":"offer","target":"x","sdp":"v=0"}"#, "error"),
        (r#"{"type":"hello"}"#, "error"),
        (r#"{"type":"Query"}"#, "error"),
        // Only the object's own fields count, and only under their own names.
        (r#"{"type":"ping","x":{"peer_id":1,"room_id":2,"sender":3}}"#, "pong"),
        (r#"{"type":"ping","x":["peer_id","sender"],"y":"room_id"}"#, "pong"),
        (r#"{"type":"ping","peer":1,"Sender":2,"peer_id ":3}"#, "pong"),
    ] {
        for path in ["/", "/ws", "/drones?x=1"] {
            let mut client = TextClient::open_at(server.main(), path).await;
            client.send_text(message).await;
            let answer = client.json().await;
            assert_eq!(answer["type"], wanted, "{message} on {path}: {answer}");
            assert!(wanted != "error" || is_of_devices(&answer), "{answer}");
            speaks_devices(&mut client).await;
            client.close().await;
        }
    }
}

#[tokio::test]
async fn a_join_is_calls_on_any_path() {
    let server = all().start().await;
    for (call, path) in [("one", "/"), ("two", "/ws"), ("three", "/anything")] {
        let join = take_seat(&server, call).await;
        assert_eq!(join["kind"], "JOIN");
        let mut caller = TextClient::open_at(server.main(), path).await;
        caller.send(&join).await;
        assert_eq!(caller.json().await, json!({"kind": "WELCOME", "call": call}), "{path}");

        let mut stranger = TextClient::open_at(server.main(), path).await;
        stranger.send(&json!({"kind": "JOIN", "call": call, "session": "no-such-session"})).await;
        assert_eq!(stranger.closed().await, (1000, "bad seat".into()), "{path}");
    }
}

#[tokio::test]
async fn a_binary_message_is_binary_on_any_path() {
    let server = all().start().await;
    for path in ["/", "/ws", "/some/where"] {
        let mut client = TextClient::open_at(server.main(), path).await;
        let connect = Form::FlatJson.connect("alice", &token_of("alice"));
        client.send_binary(connect.encode()).await;
        let Said::Binary(bytes) = client.next().await else { panic!("a frame was awaited") };
        let (ack, _) = Frame::decode(&bytes).expect("a whole frame");
        Form::FlatJson.read_ack(&ack);
        // The choice holds: a text is a fault of `binary` now.
        client.send_text(r#"{"type":"register","id":"drone"}"#).await;
        let Said::Binary(bytes) = client.next().await else { panic!("a frame was awaited") };
        let (error, _) = Frame::decode(&bytes).expect("a whole frame");
        assert_eq!(Form::FlatJson.read_error(&error).0, 400);
        client.close().await;
    }
}

#[tokio::test]
async fn a_bad_frame_is_binary_all_the_same() {
    let server = all().start().await;
    let mut client = TextClient::open(server.main()).await;
    client.send_binary(b"{\"type\":\"ping\"}".to_vec()).await;
    let Said::Binary(bytes) = client.next().await else { panic!("a frame was awaited") };
    let (error, _) = Frame::decode(&bytes).expect("a whole frame");
    assert_eq!(Form::FlatJson.read_error(&error).0, 400);
}

#[tokio::test]
async fn a_first_byte_of_aa_is_binary_straight_on_tcp() {
    let server = all().start().await;
    for form in Form::ALL {
        let mut client = Client::login(server.main(), Via::Tcp, form, "alice").await;
        client.is_quiet_and_alive().await;
        client.leave().await;
    }
}

#[tokio::test]
async fn the_path_of_socket_io_is_broadcast() {
    let server = all().start().await;
    for transport in Transport::BOTH {
        let mut station = Station::connect(server.main(), transport).await;
        assert!(!station.id.is_empty());
        station.is_quiet_and_alive().await;
    }
}

#[tokio::test]
async fn text_of_no_dialect_gets_the_first_text_dialects_error_and_decides_nothing() {
    let garbage = [
        "hello",
        "",
        "{}",
        "[]",
        "null",
        "5",
        "\"type\"",
        r#"[{"type":"register","id":"x"}]"#,
        r#"{"kind":"OFFER"}"#,
        r#"{"kind":"join"}"#,
        r#"{"foo":{"type":"ping"}}"#,
        r#"{"type":"register","id":"x""#,
    ];
    for (serves, first) in [
        (&["binary", "rooms", "broadcast", "calls", "devices"][..], "rooms"),
        (&["devices", "calls", "rooms", "binary"][..], "devices"),
        (&["binary", "broadcast", "devices", "rooms"][..], "devices"),
        (&["rooms", "devices"][..], "rooms"),
    ] {
        let server = Setup::new().listener("main", serves).start().await;
        let check = |answer: &Value, text: &str| match first {
            "rooms" => assert!(
                is_of_rooms(answer) && answer["code"] == "INVALID_JSON",
                "{serves:?} {text}: {answer}"
            ),
            _ => assert!(
                is_of_devices(answer) && answer["message"] == "Invalid message format",
                "{serves:?} {text}: {answer}"
            ),
        };
        for text in garbage {
            let mut client = TextClient::open(server.main()).await;
            client.send_text(text).await;
            check(&client.json().await, text);
            client.send_text(text).await;
            check(&client.json().await, text);
            speaks_rooms(&mut client).await;
        }
        let mut client = TextClient::open(server.main()).await;
        for text in garbage {
            client.send_text(text).await;
            check(&client.json().await, text);
        }
        client.send(&json!({"type": "register", "id": "drone"})).await;
        assert_eq!(client.json().await["type"], "registered");
        if serves.contains(&"binary") {
            let mut client = TextClient::open(server.main()).await;
            client.send_text("hello").await;
            check(&client.json().await, "hello");
            client.send_binary(Form::FlatJson.connect("alice", &token_of("alice")).encode()).await;
            let Said::Binary(bytes) = client.next().await else { panic!("a frame was awaited") };
            Form::FlatJson.read_ack(&Frame::decode(&bytes).expect("a frame").0);
        }
    }
}

#[tokio::test]
async fn on_ws_text_of_no_dialect_is_a_bad_handshake() {
    let server = all().start().await;
    for text in ["hello", "", "{}", "[]", r#"{"kind":"WELCOME"}"#, r#"{"kind":5}"#, "{"] {
        let mut client = TextClient::open_at(server.main(), "/ws").await;
        client.send_text(text).await;
        assert_eq!(client.closed().await, (1000, "bad handshake".into()), "{text}");
    }
}

#[tokio::test]
async fn on_ws_rooms_are_found_too() {
    let server = all().start().await;
    let mut client = TextClient::open_at(server.main(), "/ws").await;
    client.send(&json!({"type": "register", "peer_id": "x"})).await;
    let answer = client.json().await;
    assert!(is_of_rooms(&answer), "{answer}");
    speaks_rooms(&mut client).await;
}

#[tokio::test]
async fn the_choice_holds_for_the_life_of_the_connection() {
    let server = all().start().await;
    let mut device = Device::register(server.main(), "drone").await;
    for message in [
        json!({"type": "query", "peer_id": "x"}),
        json!({"type": "peer_message", "from_peer_id": "x"}),
        json!({"kind": "JOIN", "call": "c", "session": "s", "type": "JOIN"}),
    ] {
        device.send(message).await;
        device.error().await;
    }
    device.line.send_binary(Form::FlatJson.connect("alice", &token_of("alice")).encode()).await;
    device.error().await;
    device.is_quiet_and_alive().await;

    let mut peer = TextClient::open(server.main()).await;
    speaks_rooms(&mut peer).await;
    peer.send(&json!({"type": "register", "id": "another"})).await;
    let answer = peer.json().await;
    assert!(is_of_rooms(&answer), "{answer}");
    assert_eq!(device.list().await, [""; 0]);
}

/// The first frame is readable, so it is answered like any other before a login: by its uuid, and
/// in its own form.
async fn binary_is_refused_in_frames(via: Via) {
    let server = Setup::new().listener("main", &["devices", "rooms"]).start().await;
    for form in Form::ALL {
        let mut client = Client::open(server.main(), via).await;
        let connect = form.connect("alice", &token_of("alice"));
        client.send(&connect).await;
        let error = client.frame().await;
        assert_eq!(error.uuid, connect.uuid, "{form:?}");
        form.read_error(&error);
    }
}

#[tokio::test]
async fn binary_that_is_not_served_is_refused_in_frames() {
    binary_is_refused_in_frames(Via::WebSocket).await;
}

#[tokio::test]
async fn binary_that_is_not_served_is_refused_in_frames_on_plain_tcp() {
    binary_is_refused_in_frames(Via::Tcp).await;
}

#[tokio::test]
async fn a_text_dialect_that_is_not_served_is_refused_in_its_own_words() {
    let server = Setup::new().listener("main", &["devices", "rooms"]).start().await;
    // calls
    let mut client = TextClient::open(server.main()).await;
    client.send(&json!({"kind": "JOIN", "call": "c", "session": "s"})).await;
    assert_eq!(client.closed().await, (1000, "bad handshake".into()));
    drop(server);

    // rooms
    let server = Setup::new().listener("main", &["devices", "binary", "calls"]).start().await;
    for message in [
        json!({"type": "register", "peer_id": "x", "room_id": "y", "token": "z"}),
        json!({"type": "query"}),
        json!({"type": "offer", "sender": "x", "target": "y", "sdp": "v=0"}),
    ] {
        let mut client = TextClient::open(server.main()).await;
        client.send(&message).await;
        let answer = client.json().await;
        assert!(is_of_rooms(&answer), "{message}: {answer}");
    }
    drop(server);

    // devices
    let server = Setup::new().listener("main", &["rooms", "binary", "calls"]).start().await;
    for message in [json!({"type": "register", "id": "x"}), json!({"type": "ping"})] {
        let mut client = TextClient::open(server.main()).await;
        client.send(&message).await;
        let answer = client.json().await;
        assert!(is_of_devices(&answer), "{message}: {answer}");
    }
}

#[tokio::test]
async fn the_paths_of_dialects_that_are_not_served_are_not_found() {
    let server = Setup::new().listener("main", &["devices", "binary"]).start().await;
    for path in ["/socket.io/?EIO=4&transport=polling", "/call/x"] {
        assert_eq!(Http::open(server.main()).await.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn a_listener_of_one_dialect_never_sniffs() {
    let setup = Setup::new()
        .listener("devices", &["devices"])
        .listener("rooms", &["rooms"])
        .listener("binary", &["binary"])
        .listener("calls", &["calls"]);
    let server = setup.start().await;

    for message in [json!({"type": "query"}), json!({"type": "query", "room_id": "x", "sender": "y"})] {
        let mut client = TextClient::open(server.addr("devices")).await;
        client.send(&message).await;
        assert_eq!(client.json().await["message"], "Unknown message type: query");
    }
    let mut client = TextClient::open(server.addr("devices")).await;
    client.send_text("hello").await;
    assert_eq!(client.json().await["message"], "Invalid message format");
    // Fields of another dialect beside its own change nothing.
    client.send(&json!({"type": "register", "id": "drone", "peer_id": "x", "id_token": "y"})).await;
    assert_eq!(client.json().await["type"], "registered");

    let mut client = TextClient::open(server.addr("rooms")).await;
    client.send(&json!({"type": "register", "id": "x"})).await;
    let answer = client.json().await;
    assert_eq!(answer["reason"], "Missing required fields during registration.", "{answer}");
    client.send_text("hello").await;
    assert_eq!(client.json().await["code"], "INVALID_JSON");
    client.send(&json!({"type": "hello"})).await;
    assert!(is_of_rooms(&client.json().await));

    let mut client = TextClient::open(server.addr("binary")).await;
    client.send(&json!({"type": "register", "id": "x"})).await;
    let Said::Binary(bytes) = client.next().await else { panic!("a frame was awaited") };
    assert_eq!(Form::FlatJson.read_error(&Frame::decode(&bytes).expect("a frame").0).0, 400);

    let mut client = TextClient::open_at(server.addr("calls"), "/ws").await;
    client.send(&json!({"type": "register", "id": "x"})).await;
    assert_eq!(client.closed().await, (1000, "bad handshake".into()));
}

fn impatient(setup: Setup) -> Setup {
    setup.server("first_message_seconds", 1)
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed_in_time() {
    let server = impatient(all()).start().await;
    let started = Instant::now();
    let mut client = TextClient::open(server.main()).await;
    assert_eq!(client.closed().await, (1008, "No message".into()));
    let lasted = started.elapsed();
    assert!(lasted > Duration::from_millis(900), "closed after {lasted:?}");
    assert!(lasted < Duration::from_secs(5), "closed only after {lasted:?}");
    // Before the upgrade there are no words for it.
    assert!(Http::open(server.main()).await.until_end().await.is_empty());
}

/// Which dialect is meant at `/ws` need not be said for that.
#[tokio::test]
async fn a_silent_client_at_ws_is_closed_in_the_words_of_calls() {
    let server = impatient(all()).section("[calls]\nws_handshake_timeout = '500ms'").start().await;
    let waits_at = async |path: &str| {
        let mut client = TextClient::open_at(server.main(), path).await;
        let started = Instant::now();
        (client.closed().await, started.elapsed())
    };
    let ((at_ws, waited_at_ws), (elsewhere, waited_elsewhere)) = tokio::join!(waits_at("/ws"), waits_at("/"));
    assert_eq!(at_ws, (1000, "handshake read failure".into()));
    assert_eq!(elsewhere, (1008, "No message".into()));
    assert!(waited_at_ws > Duration::from_millis(400), "{waited_at_ws:?}");
    assert!(waited_elsewhere > Duration::from_millis(900), "{waited_elsewhere:?}");
}

/// Answering errors to it for ever would be a place for anyone to stay.
#[tokio::test]
async fn a_connection_that_stays_undecided_is_closed_in_time() {
    let server = impatient(all()).start().await;
    let mut client = TextClient::open(server.main()).await;
    client.send_text("hello").await;
    assert_eq!(client.json().await["code"], "INVALID_JSON");
    assert_eq!(client.closed().await, (1008, "No message".into()));
}

#[tokio::test]
async fn a_connection_that_has_decided_may_be_quiet() {
    let server = impatient(all()).start().await;
    let mut device = Device::open(server.main()).await;
    device.is_quiet_and_alive().await;
    let mut registered = Device::register(server.main(), "drone").await;
    let mut rooms = TextClient::open(server.main()).await;
    speaks_rooms(&mut rooms).await;
    for client in [&mut device.line, &mut registered.line, &mut rooms] {
        let waited = tokio::time::timeout(Duration::from_millis(2500), client.next_unbounded()).await;
        // `rooms` may send its pings.
        if let Ok(said) = waited {
            assert!(matches!(&said, Said::Text(text) if text.contains("\"ping\"")), "{said:?}");
        }
    }
    device.is_quiet_and_alive().await;
    registered.is_quiet_and_alive().await;
    speaks_rooms(&mut rooms).await;
}

#[tokio::test]
async fn an_upgrade_may_come_on_a_kept_alive_connection() {
    let server = all().start().await;
    for gets in [1, 3] {
        for first in ["devices", "rooms", "binary", "calls"] {
            let mut http = Http::open(server.main()).await;
            let call = format!("kept-{gets}");
            let mut last = None;
            for get in 0..gets {
                // The last one takes a seat for the JOIN below.
                let path = if get + 1 == gets { format!("/call/{call}-{first}") } else { "/".into() };
                let response = http.get(&path).await;
                assert_eq!(response.status, 200, "{path}");
                last = Some(response);
            }
            let (stream, rest) = http.into_parts();
            assert!(rest.is_empty());
            let mut raw = RawWs::upgrade(stream, rest).await;
            let text = |text: &str| ws_frame(opcode::FIN | opcode::TEXT, text.as_bytes());
            let answered = async |raw: &mut RawWs| -> Value {
                let (kind, answer) = raw.next().await.expect("an answer");
                assert_eq!(kind, opcode::FIN | opcode::TEXT);
                serde_json::from_slice(&answer).expect("JSON")
            };
            match first {
                "devices" => {
                    raw.send(&text(r#"{"type":"register","id":"drone"}"#)).await;
                    assert_eq!(answered(&mut raw).await["type"], "registered");
                }
                "rooms" => {
                    raw.send(&text(r#"{"type":"query"}"#)).await;
                    assert_eq!(answered(&mut raw).await["code"], "NOT_IN_ROOM");
                }
                "binary" => {
                    raw.send_frame(&Form::FlatJson.connect("alice", &token_of("alice"))).await;
                    Form::FlatJson.read_ack(&raw.frame().await);
                }
                _ => {
                    raw.send(&text(last.expect("a response").text().trim_end())).await;
                    assert_eq!(answered(&mut raw).await["kind"], "WELCOME");
                }
            }
        }
    }
}

/// Bytes that came together with the upgrade are the first message.
#[tokio::test]
async fn a_first_message_may_come_in_one_packet_with_the_upgrade() {
    let server = all().start().await;
    let mut http = Http::open(server.main()).await;
    let mut bytes = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        .to_vec();
    bytes.extend(ws_frame(opcode::FIN | opcode::TEXT, br#"{"type":"register","id":"drone"}"#));
    http.send(&bytes).await;
    assert_eq!(http.response(false).await.expect("an answer").status, 101);
    let mut peer = Device::register(server.main(), "peer").await;
    until("the drone has registered", async || (peer.list().await == ["drone"]).then_some(())).await;
}
