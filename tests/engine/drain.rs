//! SIGTERM and SIGINT: clients are told, what is under way is flushed, the process ends with 0.

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::*;

#[tokio::test]
async fn clients_are_told_1001_and_the_process_ends_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Setup::new().start().await;
        let mut clients = Vec::new();
        for (form, id) in
            Form::ALL.into_iter().zip(["alice", "bob", "carol", "dave", "erin", "test_client_1"])
        {
            clients.push(Client::login(server.main(), Via::WebSocket, form, id).await);
        }
        let mut tcp = Client::login(server.main(), Via::Tcp, Form::FlatJson, "test_client_2").await;
        server.signal(signal);
        for client in &mut clients {
            assert_eq!(client.closed().await, Some((1001, "Server shutting down".into())), "{}", client.id);
        }
        // Frames have no other word for it.
        let why = loop {
            match tcp.next().await {
                Event::Frame(frame) => assert_eq!(Form::FlatJson.read_error(&frame).0, 503),
                Event::Closed(why) => break why,
            }
        };
        assert_eq!(why, None);
        drop((clients, tcp));
        assert_eq!(server.exit().await.code(), Some(0), "{signal:?}");
        assert_eq!(server.stdout_rest(), "", "stdout is for what was asked for");
    }
}

#[tokio::test]
async fn a_sighup_drops_no_connection() {
    let server = Setup::new().start().await;
    let mut bystanders = Bystanders::login(&server).await;
    for _ in 0..3 {
        server.signal(Signal::HUP);
        bystanders.talk().await;
    }
}

#[tokio::test]
async fn an_idle_server_ends_at_once() {
    let mut server = Setup::new().server("drain_seconds", 9).start().await;
    let started = tokio::time::Instant::now();
    server.sigterm();
    assert_eq!(server.exit().await.code(), Some(0));
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
}

/// A client that does not answer the Close holds the drain up no longer than it may.
#[tokio::test]
async fn a_client_that_ignores_the_close_cannot_keep_the_process() {
    let mut server =
        Setup::new().server("drain_seconds", "'1s'").server("close_seconds", "'8s'").start().await;
    let mut raw = RawWs::open(server.main()).await;
    raw.send_frame(&Form::FlatJson.connect("alice", &token_of("alice"))).await;
    raw.frame().await;
    let silent = Http::open(server.main()).await;
    let tcp = Client::login(server.main(), Via::Tcp, Form::FlatJson, "bob").await;
    server.sigterm();
    assert_eq!(raw.close_frame().await.0, 1001);
    // No answer goes back, and nobody closes.
    let started = tokio::time::Instant::now();
    assert_eq!(server.exit().await.code(), Some(0));
    assert!(started.elapsed().as_secs() < 6, "{:?}", started.elapsed());
    drop((raw, silent, tcp));
}

/// What the engine had taken before it was told to stop still arrives, before the Close.
#[tokio::test]
async fn signals_on_their_way_arrive_before_the_close() {
    let mut server = Setup::new().start().await;
    let (mut alice, mut bob) = across_shards(&server, (Form::Text, "alice"), (Form::Text, "bob")).await;
    let sent: Vec<Frame> =
        (0..100).map(|i| Form::Text.signal(OFFER, "bob", &format!("number {i}"))).collect();
    let heartbeat = Form::Text.heartbeat(1);
    let batch = sent.iter().chain([&heartbeat]).flat_map(Frame::encode).collect();
    alice.send_bytes(batch).await;
    assert_eq!(alice.frame().await.uuid, heartbeat.uuid);
    server.sigterm();
    for frame in &sent {
        bob.delivered(frame).await;
    }
    assert_eq!(bob.closed().await.expect("a Close").0, 1001);
    assert_eq!(alice.closed().await.expect("a Close").0, 1001);
    drop((alice, bob));
    assert_eq!(server.exit().await.code(), Some(0));
}

/// While a client that does not answer its Close keeps the drain going: no login, no readiness.
#[tokio::test]
async fn while_draining_nobody_gets_in_and_ready_says_so() {
    let mut server =
        Setup::new().server("drain_seconds", "'3s'").server("close_seconds", "'3s'").start().await;
    let mut keeps_it_going = RawWs::open(server.main()).await;
    keeps_it_going.send_frame(&Form::FlatJson.connect("alice", &token_of("alice"))).await;
    keeps_it_going.frame().await;
    let mut not_in_yet = Client::open(server.main(), Via::WebSocket).await;
    assert_eq!(Http::open(server.metrics()).await.get("/ready").await.status, 200);

    server.sigterm();
    assert_eq!(keeps_it_going.close_frame().await.0, 1001);

    // A connection that was open: told 503 or closed with 1001, never let in and never ignored.
    let connect = Form::FlatJson.connect("bob", &token_of("bob"));
    // The engine may have ended this connection already.
    let _ = not_in_yet.try_send_bytes(connect.encode()).await;
    match not_in_yet.next().await {
        Event::Frame(frame) => assert_eq!(Form::FlatJson.read_error(&frame).0, 503),
        Event::Closed(close) => assert!(close.is_none_or(|it| it.0 == 1001)),
    }
    // Operators can watch to the end.
    for (path, status) in [("/ready", 503), ("/health", 200), ("/metrics", 200)] {
        assert_eq!(Http::open(server.metrics()).await.get(path).await.status, status, "{path}");
    }
    // A new connection is refused by the kernel or ended by the engine.
    if let Ok(mut late) = tokio::net::TcpStream::connect(server.main()).await {
        let mut answer = Vec::new();
        let connect = Form::FlatJson.connect("carol", &token_of("carol")).encode();
        if late.write_all(&connect).await.is_ok() {
            let _ = within("a refusal or the end", late.read_to_end(&mut answer)).await;
        }
        if let Some((frame, _)) = Frame::decode(&answer) {
            assert_eq!(Form::FlatJson.read_error(&frame).0, 503);
        }
    }
    assert_eq!(server.exit().await.code(), Some(0));
}
