//! What a client may not do, and what happens to one that does not read.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::sessions::UNJOINED_PER_CONNECTION_MAX;
use super::client::Client;
use super::{Server, settings, until};
use crate::dialect::broadcast::Settings;
use crate::front::Phase;

const ROOMY: usize = 1 << 20;

fn offer(bytes: usize) -> String {
    format!(r#"{{"type":"offer","data":"{}"}}"#, "x".repeat(bytes))
}

#[tokio::test]
async fn more_clients_than_the_limit_are_refused_in_words() {
    let server = Server::with(Settings { clients_max: 1, ..settings() });
    let mut first = Client::polling(&server, "").await;
    let mut second = Client::open(&server, "").await;
    second.send("40").await;
    assert_eq!(second.packet("44").await, r#"{"message":"Too many clients"}"#);
    // Sessions are bounded too, whether they join or not.
    let third = server.ask("GET", "/socket.io/?EIO=4&transport=polling", "", "").await;
    assert_eq!(third.status, 503);
    first.send("1").await;
    until("the first has left", || server.broadcast.clients() == 0).await;
    second.join("").await;
}

#[tokio::test]
async fn one_connection_cannot_take_the_sessions_of_all() {
    let server = Server::with(Settings { clients_max: 1000, ..settings() });
    let mut greedy = server.connect(ROOMY);
    let open = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n";
    let last = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    greedy.write_all(format!("{}{last}", open.repeat(1000)).as_bytes()).await.unwrap();
    let mut answers = String::new();
    greedy.read_to_string(&mut answers).await.unwrap();
    assert_eq!(answers.matches("\"sid\"").count(), UNJOINED_PER_CONNECTION_MAX);
    assert_eq!(answers.matches("HTTP/1.1 503").count(), 1000 - UNJOINED_PER_CONNECTION_MAX);
    // Nobody else notices.
    let mut a = Client::polling(&server, "").await;
    let _b = Client::websocket(&server, "", ROOMY).await;
    a.expect("peer_joined").await;
}

#[tokio::test]
async fn who_has_not_joined_for_longest_gives_way_and_who_has_joined_stays() {
    let server = Server::with(Settings { clients_max: 1000, ..settings() });
    let mut joined = Client::polling(&server, "").await;
    let mut eldest = Client::open_websocket(&server, "", ROOMY).await;
    let second = Client::open(&server, "").await;
    let mut crowd = Vec::new();
    for _ in 0..100 {
        crowd.push(Client::open(&server, "").await);
    }
    eldest.read_to_the_end().await;
    while second.poll().await.status == 200 {}
    // Who comes last is in time.
    crowd.pop().unwrap().join("").await;
    joined.expect("peer_joined").await;
}

#[tokio::test]
async fn signals_above_the_rate_are_refused() {
    let server = Server::with(Settings { message_rate: 5, ..settings() });
    let mut other = Client::polling(&server, "").await;
    let mut client = Client::polling(&server, "").await;
    other.expect("peer_joined").await;
    let burst: Vec<_> = (0..20).map(|_| r#"42["signal",{"type":"offer"}]"#).collect();
    client.send(&burst.join("\x1e")).await;
    assert_eq!(client.expect("error").await, r#"{"message":"Too many messages"}"#);
    // One of the five was the attempt to join.
    for _ in 0..4 {
        other.expect("signal").await;
    }
}

#[tokio::test]
async fn a_body_or_message_over_the_limit_ends_its_session_only() {
    let server = Server::with(Settings { payload_bytes_max: 10_000, ..settings() });
    let mut watcher = Client::polling(&server, "").await;
    let by_polling = Client::polling(&server, "").await;
    watcher.expect("peer_joined").await;
    let packet = format!("42[\"signal\",{}]", offer(20_000));
    assert_eq!(by_polling.post(&packet).await.status, 413);
    watcher.expect("peer_left").await;
    let mut by_websocket = Client::websocket(&server, "", ROOMY).await;
    watcher.expect("peer_joined").await;
    by_websocket.send(&packet).await;
    watcher.expect("peer_left").await;
}

#[tokio::test]
async fn a_reader_is_never_taken_for_one_that_does_not_read() {
    let server = Server::with(Settings { outbox_messages_max: 3, outbox_bytes_max: 3000, ..settings() });
    let mut sender = Client::polling(&server, "").await;
    let mut by_polling = Client::polling(&server, "").await;
    let mut by_websocket = Client::websocket(&server, "", ROOMY).await;
    let mut upgraded = Client::polling(&server, "").await;
    upgraded.upgrade().await;
    for _ in 0..3 {
        sender.expect("peer_joined").await;
    }
    for _ in 0..2 {
        by_polling.expect("peer_joined").await;
    }
    by_websocket.expect("peer_joined").await;
    for round in 0..100 {
        sender.send(&format!("42{round}[\"signal\",{}]", offer(round * 50))).await;
        for reader in [&mut by_polling, &mut by_websocket, &mut upgraded] {
            reader.expect("signal").await;
        }
        assert_eq!(sender.packet(&format!("43{round}")).await, "[]", "without an error before it");
    }
    assert_eq!(server.metrics.slow_consumers_cut.get(), 0);
}

#[tokio::test]
async fn what_waits_for_a_polling_client_is_bounded_and_its_sender_is_told() {
    let server = Server::with(Settings { outbox_messages_max: 10, ..settings() });
    let mut sender = Client::polling(&server, "").await;
    let mut sleeper = Client::polling(&server, "").await;
    sender.expect("peer_joined").await;
    for _ in 0..10 {
        sender.signal(&offer(10)).await;
    }
    sender.signal(&offer(10)).await;
    let full = format!(r#"{{"message":"Peer {} cannot take more now"}}"#, sleeper.sid);
    assert_eq!(sender.expect("error").await, full);
    assert_eq!(server.events_of("signal_undeliverable", "cause")[0].1, "full");
    // Whoever wakes up gets everything that was taken, and more from then on.
    for _ in 0..10 {
        sleeper.expect("signal").await;
    }
    sender.signal(&offer(10)).await;
    sleeper.expect("signal").await;
}

#[tokio::test]
async fn a_websocket_that_takes_nothing_is_cut_and_nobody_points_to_it() {
    let ping_timeout = Duration::from_millis(500);
    let server = Server::with(Settings { ping_timeout, outbox_bytes_max: 100_000, ..settings() });
    let mut sender = Client::polling(&server, "").await;
    let mut sleeper = Client::websocket(&server, "", 1000).await;
    sender.expect("peer_joined").await;
    // More than the library's own buffer, so that its writer waits.
    for _ in 0..4 {
        sender.signal(&offer(90_000)).await;
    }
    let mut told = 0;
    let left = loop {
        match sender.next().await.expect("the sender stays") {
            error if error.starts_with("42[\"error\"") => told += 1,
            event => break event,
        }
    };
    assert_eq!(left, format!(r#"42["peer_left",{{"peer_id":"{}"}}]"#, sleeper.sid));
    assert!(told > 0, "what did not fit was told");
    assert_eq!(server.metrics.slow_consumers_cut.get(), 1);
    assert_eq!(server.events_of("client_disconnected", "reason")[0].1, "slow_consumer");
    assert_eq!(server.directory.len(), 1);
    // The connection is over too.
    sleeper.read_to_the_end().await;
}

#[tokio::test]
async fn a_websocket_that_takes_a_little_now_and_then_but_answers_no_ping_is_no_ghost() {
    let ping = Duration::from_millis(200);
    let server = Server::with(Settings { ping_interval: ping, ping_timeout: ping, ..settings() });
    let mut sender = Client::polling(&server, "").await;
    let dripper = Client::websocket(&server, "", 1000).await;
    sender.expect("peer_joined").await;
    for _ in 0..4 {
        sender.signal(&offer(90_000)).await;
    }
    let mut connection = dripper.into_connection();
    let dripping = tokio::spawn(async move {
        let mut drop = [0; 100];
        while connection.read(&mut drop).await.is_ok_and(|bytes| bytes > 0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    // All of it would take more than a minute.
    let left = tokio::time::timeout(Duration::from_secs(20), sender.expect("peer_left"));
    left.await.expect("the library has given up on it long before");
    assert_eq!(server.directory.len(), 1);
    dripping.await.expect("the connection ends");
}

#[tokio::test]
async fn who_does_not_read_even_the_servers_own_words_is_cut() {
    let server = Server::with(Settings { outbox_messages_max: 1, ..settings() });
    let flooder = Client::polling(&server, "").await;
    let bad: Vec<_> = (0..200).map(|_| r#"42["signal",0]"#).collect();
    assert_eq!(flooder.post(&bad.join("\x1e")).await.status, 200);
    until("the flooder leaves", || server.broadcast.clients() == 0).await;
    assert_eq!(server.metrics.slow_consumers_cut.get(), 1);
    assert_eq!(flooder.poll().await.status, 400);
}

#[tokio::test]
async fn when_the_server_goes_every_client_is_told_and_nobody_new_comes_in() {
    let server = Server::new();
    let mut a = Client::polling(&server, "&room=a").await;
    let mut b = Client::websocket(&server, "&room=b", ROOMY).await;
    let mut late = Client::open(&server, "").await;
    server.phase.send(Phase::Draining).unwrap();
    server.broadcast.disconnect_all();
    assert_eq!((server.broadcast.clients(), server.directory.len()), (0, 0));
    assert_eq!(a.packet("41").await, "");
    assert_eq!(b.packet("41").await, "");
    late.send("40").await;
    assert_eq!(late.packet("44").await, r#"{"message":"Server is shutting down"}"#);
    // The transports end by themselves a moment later.
    assert_eq!(b.next().await, None);
    until("the session is over", || server.events_of("client_disconnected", "reason").len() == 2).await;
    while a.poll().await.status == 200 {}
    assert!(server.events_of("client_disconnected", "reason").iter().all(|(_, reason)| reason == "shutdown"));
}
