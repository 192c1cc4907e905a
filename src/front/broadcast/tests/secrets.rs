//! What somebody can do who knows the id of another's socket: nothing.

use futures_util::StreamExt;
use tokio_tungstenite::tungstenite::Message;

use super::Server;
use super::client::{Client, Reply, handshake, polling_target};

const ROOMY: usize = 1 << 20;

fn assert_unknown(reply: &Reply) {
    let unknown = r#"{"code":"1","message":"Session ID unknown"}"#;
    assert_eq!((reply.status, &*reply.body), (400, unknown));
}

/// Posts, polls, upgrades and closes as the session of this id.
async fn assert_opens_nothing(server: &Server, id: &str) {
    let target = polling_target(id);
    let forged = r#"42["signal",{"type":"offer","data":"forged"}]"#;
    assert_unknown(&server.ask("POST", &target, "", forged).await);
    assert_unknown(&server.ask("GET", &target, "", "").await);
    assert_unknown(&server.ask("POST", &target, "", "1").await);
    // Also where a request says it twice, or to what the library takes for the same.
    for target in [format!("{target}&sid={id}"), format!("{target}x&sid={id}"), format!("{target}=x")] {
        assert_unknown(&server.ask("POST", &target, "", "1").await);
    }
    assert_unknown(
        &server.ask("GET", &format!("/socket.io?EIO=4&transport=polling=&sid={id}"), "", "").await,
    );
    assert_eq!(handshake(server, &format!("&sid={id}"), ROOMY).await.0.status, 400);
}

#[tokio::test]
async fn the_id_of_a_polling_socket_opens_nothing_of_its_session() {
    let server = Server::new();
    let mut third = Client::polling(&server, "").await;
    let mut victim = Client::polling(&server, "").await;
    assert_eq!(third.expect("peer_joined").await, format!(r#"{{"peer_id":"{}"}}"#, victim.sid));
    assert_ne!(victim.sid, victim.session);
    assert!(victim.session.len() * 6 >= 128, "{}", victim.session);
    third.signal(r#"{"type":"offer","data":"secret"}"#).await;
    assert_opens_nothing(&server, &victim.sid).await;

    // Nothing was forged, and nothing was taken; the session goes on, and over a WebSocket too.
    assert!(victim.expect("signal").await.contains("secret"));
    victim.signal(r#"{"type":"answer","data":"its own"}"#).await;
    assert!(third.expect("signal").await.contains("its own"));
    victim.upgrade().await;
    assert_opens_nothing(&server, &victim.sid).await;
    third.signal(r#"{"type":"offer","data":"on"}"#).await;
    assert!(victim.expect("signal").await.contains(r#""on""#));
    assert_eq!(server.broadcast.clients(), 2);
}

#[tokio::test]
async fn the_ids_of_a_websockets_session_open_nothing_of_it() {
    let server = Server::new();
    let mut third = Client::polling(&server, "").await;
    let mut victim = Client::websocket(&server, "", ROOMY).await;
    third.expect("peer_joined").await;
    for id in [&victim.sid, &victim.session] {
        assert_opens_nothing(&server, id).await;
    }
    third.signal(r#"{"type":"offer"}"#).await;
    victim.expect("signal").await;
}

#[tokio::test]
async fn nothing_that_a_client_is_sent_names_anothers_session() {
    let server = Server::new();
    let mut watcher = Client::polling(&server, "").await;
    let mut client = Client::polling(&server, "").await;
    let mut heard = vec![watcher.expect("peer_joined").await];
    client.signal(r#"{"type":"offer"}"#).await;
    heard.push(watcher.expect("signal").await);
    watcher.signal(&format!(r#"{{"type":"offer","to":"{}"}}"#, client.session)).await;
    let not_found = watcher.expect("error").await;
    assert!(not_found.contains("not found"), "a secret is no address: {not_found}");
    client.send("41").await;
    heard.push(watcher.expect("peer_left").await);
    for told in heard {
        assert!(told.contains(&client.sid) && !told.contains(&client.session), "{told}");
    }
    let events = server.events.lock();
    assert!(events.iter().all(|event| !event.client_id.contains(&client.session)));
}

#[tokio::test]
async fn a_secret_is_forgotten_with_its_session() {
    let server = Server::new();
    let mut client = Client::polling(&server, "").await;
    client.send("1").await;
    super::until("the session is forgotten", || server.broadcast.clients.sessions.len() == 0).await;
    assert_unknown(&client.poll().await);
}

#[tokio::test]
async fn a_request_that_the_library_reads_in_its_own_way_opens_no_session_beside_the_counted_ones() {
    let server = Server::new();
    for query in ["EIO=4=&transport=polling=", "transport=polling=x&EIO=4", "EIO=4&transport=polling&room=a"]
    {
        let reply = server.ask("GET", &format!("/socket.io/?{query}"), "", "").await;
        assert_eq!(reply.status, 200, "{}", reply.body);
    }
    assert_eq!(server.broadcast.clients.sessions.len(), 3);
    let refused = server.ask("POST", "/socket.io/?EIO=4&transport=polling", "", "").await;
    assert_eq!(refused.status, 400);
    assert_eq!(server.broadcast.clients.sessions.len(), 3);
}

#[tokio::test]
async fn a_websocket_that_never_joins_ends_when_the_server_goes() {
    let server = Server::new();
    let mut idle = Client::open_websocket(&server, "", ROOMY).await;
    let polling = Client::open(&server, "").await;
    let upgrading = Client::open(&server, "").await;
    let query = format!("&sid={}", upgrading.session);
    let mut probing = super::client::open_websocket(&server, &query, ROOMY).await;
    server.phase.send(crate::front::Phase::Draining).unwrap();
    server.broadcast.disconnect_all();
    let all = async {
        assert_eq!(idle.next().await, None);
        while let Some(Ok(message)) = probing.next().await {
            assert!(matches!(message, Message::Close(_)), "{message}");
        }
        while polling.poll().await.status == 200 {}
        while upgrading.poll().await.status == 200 {}
    };
    // Before their time to join is over.
    tokio::time::timeout(std::time::Duration::from_secs(3), all).await.expect("they end soon");
}
