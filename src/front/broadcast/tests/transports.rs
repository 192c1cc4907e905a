//! Engine.IO and the HTTP around it.

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

use super::client::{Client, handshake, open_websocket};
use super::{Server, settings, until};
use crate::dialect::broadcast::Settings;

const ROOMY: usize = 1 << 20;

#[tokio::test]
async fn a_session_opens_with_the_documented_terms_and_for_every_origin() {
    let server = Server::new();
    let reply = server.ask("GET", "/socket.io/?EIO=4&transport=polling", "Origin: http://a\r\n", "").await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (200, Some("*")));
    for term in [
        r#""upgrades":["websocket"]"#,
        r#""pingInterval":25000"#,
        r#""pingTimeout":20000"#,
        r#""maxPayload":1000000"#,
    ] {
        assert!(reply.body.contains(term), "{}", reply.body);
    }
    let wanted = "Access-Control-Request-Headers: x-a,authorization\r\n";
    let reply = server.ask("OPTIONS", "/socket.io/?EIO=4&transport=polling", wanted, "").await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (204, Some("*")));
    assert_eq!(reply.header("access-control-allow-headers"), Some("x-a,authorization"));
    assert!(reply.header("access-control-allow-methods").unwrap().contains("POST"));
    let reply = server.ask("GET", "/", "", "").await;
    assert_eq!(reply.status, 200);
    assert!(reply.body.ends_with('\n'));
}

#[tokio::test]
async fn what_is_no_request_of_engine_io_4_is_refused_with_its_words() {
    let server = Server::new();
    let mut joined = Client::polling(&server, "").await;
    let of_nobody = "&sid=AAAAAAAAAAAAAAAA";
    for (method, query, headers, words) in [
        ("GET", "EIO=3&transport=polling".to_owned(), "", "Unsupported protocol version"),
        ("GET", "transport=polling".to_owned(), "", "Unsupported protocol version"),
        ("GET", "EIO=4&transport=pigeon".to_owned(), "", "Transport unknown"),
        ("GET", String::new(), "", "Unsupported protocol version"),
        ("POST", "EIO=4&transport=polling".to_owned(), "", "Bad handshake method"),
        ("GET", format!("EIO=4&transport=polling{of_nobody}"), "", "Session ID unknown"),
        ("POST", format!("EIO=4&transport=polling{of_nobody}"), "", "Session ID unknown"),
        ("GET", "EIO=4&transport=polling&sid=../../etc".to_owned(), "", "Session ID unknown"),
        (
            "GET",
            "EIO=4&transport=websocket".to_owned(),
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            "",
        ),
        ("GET", "EIO=4&transport=websocket".to_owned(), "Upgrade: websocket\r\n", "no handshake"),
    ] {
        let reply = server.ask(method, &format!("/socket.io/?{query}"), headers, "").await;
        assert_eq!(reply.status, 400, "{method} {query}: {}", reply.body);
        assert!(reply.body.contains(words), "{method} {query}: {}", reply.body);
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    }
    assert_eq!(handshake(&server, of_nobody, ROOMY).await.0.status, 400);
    // Nobody else is disturbed.
    joined.signal("0").await;
    joined.expect("error").await;
}

#[tokio::test]
async fn an_upgrade_loses_and_reorders_nothing() {
    let server = Server::new();
    let mut a = Client::polling(&server, "").await;
    let mut b = Client::polling(&server, "").await;
    a.expect("peer_joined").await;
    for number in 0..20 {
        b.signal(&format!(r#"{{"type":"offer","n":{number}}}"#)).await;
    }
    a.upgrade().await;
    b.upgrade().await;
    for number in 20..40 {
        b.signal(&format!(r#"{{"type":"offer","n":{number}}}"#)).await;
    }
    for number in 0..40 {
        let signal = a.expect("signal").await;
        assert!(signal.contains(&format!(r#""n":{number},"#)), "{signal}");
    }
    // The polling of the same session is over, and so are further WebSockets.
    assert_eq!(a.poll().await.status, 400);
    assert_eq!(handshake(&server, &format!("&sid={}", a.session), ROOMY).await.0.status, 400);
}

#[tokio::test]
async fn an_upgrade_that_is_given_up_ends_its_session() {
    let server = Server::new();
    let mut a = Client::polling(&server, "").await;
    let mut b = Client::polling(&server, "").await;
    a.expect("peer_joined").await;
    let mut socket = open_websocket(&server, &format!("&sid={}", a.session), ROOMY).await;
    socket.send(Message::text("2probe")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("3probe"));
    drop(socket);
    assert_eq!(b.expect("peer_left").await, format!(r#"{{"peer_id":"{}"}}"#, a.sid));
    assert_eq!(a.poll().await.status, 400);
}

#[tokio::test]
async fn a_client_that_goes_leaves_at_once_whatever_it_goes_by() {
    let server = Server::new();
    let mut watcher = Client::polling(&server, "").await;
    let left = |sid: &str| format!(r#"{{"peer_id":"{sid}"}}"#);

    let mut leaver = Client::polling(&server, "").await;
    watcher.expect("peer_joined").await;
    leaver.send("41").await;
    assert_eq!(watcher.expect("peer_left").await, left(&leaver.sid));

    let mut closer = Client::polling(&server, "").await;
    watcher.expect("peer_joined").await;
    closer.send("1").await;
    assert_eq!(watcher.expect("peer_left").await, left(&closer.sid));

    let dropper = Client::websocket(&server, "", ROOMY).await;
    let sid = dropper.sid.clone();
    watcher.expect("peer_joined").await;
    drop(dropper);
    assert_eq!(watcher.expect("peer_left").await, left(&sid));

    let babbler = Client::polling(&server, "").await;
    watcher.expect("peer_joined").await;
    assert_eq!(babbler.post("nonsense").await.status, 400);
    assert_eq!(watcher.expect("peer_left").await, left(&babbler.sid));

    let reasons: Vec<_> =
        server.events_of("client_disconnected", "reason").into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(reasons, ["disconnect", "connection_closed", "connection_lost", "protocol_error"]);
    assert_eq!((server.broadcast.clients(), server.directory.len()), (1, 1));
    assert_eq!((server.metrics.sessions.get(), server.metrics.sessions_ended.get()), (1, 4));
}

#[tokio::test]
async fn who_answers_no_ping_leaves() {
    let interval = std::time::Duration::from_millis(50);
    let server = Server::with(Settings { ping_interval: interval, ping_timeout: interval, ..settings() });
    let _silent = Client::polling(&server, "").await;
    until("the silent client leaves", || server.broadcast.clients() == 0).await;
    assert_eq!(server.events_of("client_disconnected", "reason")[0].1, "heartbeat_timeout");
    assert!(server.directory.is_empty());
}

#[tokio::test]
async fn only_one_namespace_is_there() {
    let server = Server::new();
    let mut client = Client::open(&server, "").await;
    client.send("40/admin,").await;
    assert_eq!(client.packet("44/admin,").await, r#"{"message":"Invalid namespace"}"#);
    client.join("").await;
    assert_eq!(server.broadcast.clients(), 1);
}

#[tokio::test]
async fn a_socket_that_has_left_may_join_again_in_its_session() {
    let server = Server::new();
    let mut watcher = Client::polling(&server, "").await;
    let mut client = Client::polling(&server, "").await;
    watcher.expect("peer_joined").await;
    client.send("41").await;
    watcher.expect("peer_left").await;
    client.join("").await;
    watcher.expect("peer_joined").await;
    watcher.signal(&format!(r#"{{"type":"offer","to":"{}"}}"#, client.sid)).await;
    client.expect("signal").await;
}
