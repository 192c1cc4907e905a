//! SIGTERM and SIGINT: clients are told, what is under way is flushed, the process ends with 0.

use rustix::process::Signal;
use serde_json::json;
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

/// A load balancer hears of it before anybody is turned away.
#[tokio::test]
async fn readiness_fails_first_and_until_the_delay_is_over_everybody_is_served() {
    let all = &["binary", "rooms", "broadcast", "calls", "devices"];
    let mut server = Setup::new()
        .server("drain_delay_seconds", "'2s'")
        .listener("main", all)
        .listener("calls-health", &["calls-health"])
        .start()
        .await;
    let mut bystanders = Bystanders::login(&server).await;
    let mut station = Station::connect(server.main(), Transport::Polling).await;
    let mut kept = Http::open(server.main()).await;
    assert_eq!(kept.get("/call/one").await.status, 200);
    assert_eq!(Http::open(server.metrics()).await.get("/ready").await.status, 200);
    let started = tokio::time::Instant::now();
    server.sigterm();
    until("readiness fails", async || {
        (Http::open(server.metrics()).await.get("/ready").await.status == 503).then_some(())
    })
    .await;
    assert_eq!(Http::open(server.addr("calls-health")).await.get("/healthz").await.status, 500);
    let health = Http::open(server.metrics()).await.get("/health").await;
    assert_eq!(json_of(&health)["status"], "draining");
    // Who is there talks on, and who comes gets in.
    bystanders.talk().await;
    station.is_quiet_and_alive().await;
    assert_eq!(kept.get("/call/two").await.status, 200);
    let mut late = Client::login(server.main(), Via::WebSocket, Form::FlatJson, "alice").await;
    let identity = Identity::sign_in(server.main()).await;
    identity.creates_room(server.main()).await;
    let mut drone = Device::register(server.main(), "drone").await;
    let seat = Seat::take(server.main(), "three").await;
    let mut caller = seat.connect(server.main()).await;
    assert!(started.elapsed().as_millis() < 1900, "this machine is too slow for the test");
    // Then all are told.
    let goodbye = (1001, "Server shutting down".to_owned());
    assert_eq!(late.closed().await, Some(goodbye.clone()));
    assert!(started.elapsed().as_millis() >= 1950, "told after {:?}", started.elapsed());
    assert_eq!((drone.closed().await, caller.closed().await), (goodbye.clone(), goodbye));
    drop((bystanders, station, kept));
    assert_eq!(server.exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_at_once_also_within_the_delay() {
    for delay in ["'0s'", "'60s'"] {
        let mut server = Setup::new()
            .server("drain_delay_seconds", delay)
            .server("drain_seconds", "'60s'")
            .server("close_seconds", "'60s'")
            .start()
            .await;
        let mut keeps_it_going = RawWs::open(server.main()).await;
        keeps_it_going.send_frame(&Form::FlatJson.connect("alice", &token_of("alice"))).await;
        keeps_it_going.frame().await;
        server.sigterm();
        until("the server is about to go", async || {
            (Http::open(server.metrics()).await.get("/ready").await.status == 503).then_some(())
        })
        .await;
        server.signal(Signal::INT);
        assert_eq!(server.exit().await.code(), Some(1), "after {delay}");
    }
}

/// Whatever they speak and however many there are, in words that their own protocol has for it.
#[tokio::test]
async fn everybody_is_told_in_its_own_protocol_and_what_was_sent_before_arrives() {
    let all = &["binary", "rooms", "broadcast", "calls", "devices"];
    let mut server = Setup::new().listener("main", all).start().await;
    let addr = server.main();
    let (mut one, mut two) = (Device::register(addr, "one").await, Device::register(addr, "two").await);
    let identity = Identity::sign_in(addr).await;
    let room = identity.creates_room(addr).await;
    let mut peer = Peer::register(addr, room.registration("Peer", &identity)).await;
    let mut other = Peer::register(addr, room.registration("Other", &identity)).await;
    let (seat, other_seat) = (Seat::take(addr, "standup").await, Seat::take(addr, "standup").await);
    let mut caller = seat.connect(addr).await;
    let mut stations = Vec::new();
    for transport in Transport::BOTH {
        let mut station = Station::connect(addr, transport).await;
        // It polls from here on, as clients do.
        stations.push(tokio::spawn(async move { station.is_disconnected().await }));
    }
    let mut tcp = Client::login(addr, Via::Tcp, Form::Text, "alice").await;

    for number in 0..50 {
        let offer =
            json!({"type": "offer", "target": "two", "sdp": format!("v=0 {number}"), "sessionId": "s"});
        one.send(offer).await;
        peer.tells("Other", &number.to_string()).await;
    }
    one.is_quiet_and_alive().await;
    peer.is_quiet_and_alive().await;
    other_seat.signals(addr, "OFFER", "v=0").await;
    server.sigterm();

    for number in 0..50 {
        assert_eq!(two.json().await["sdp"], format!("v=0 {number}"));
        assert_eq!(other.hears("Peer").await, json!(number));
    }
    assert_eq!(caller.json().await["kind"], "OFFER");
    let goodbye = (1001, "Server shutting down".to_owned());
    for device in [&mut one, &mut two] {
        assert_eq!(device.closed().await, goodbye);
    }
    for peer in [&mut peer, &mut other] {
        assert_eq!(peer.closed().await, goodbye);
    }
    assert_eq!(caller.closed().await, goodbye);
    for station in stations {
        station.await.expect("it is told");
    }
    let told = tcp.frame().await;
    assert_eq!((tcp.form.read_error(&told).0, tcp.closed().await), (tcp.form.code(503), None));
    drop((one, two, peer, other, caller, tcp));
    assert_eq!(server.exit().await.code(), Some(0));
}

/// Neither on a WebSocket nor on TCP nor behind an HTTP request.
#[tokio::test]
async fn who_never_reads_holds_the_drain_no_longer_than_it_may_take() {
    let all = &["binary", "broadcast", "calls"];
    let mut server = Setup::new()
        .server("drain_seconds", "'1s'")
        .server("close_seconds", "'60s'")
        .server("slow_consumer_seconds", "'60s'")
        .listener("main", all)
        .start()
        .await;
    let mut sender = Client::login(server.main(), Via::WebSocket, Form::Text, "alice").await;
    let mut deaf = Vec::new();
    for (via, id) in [(Via::WebSocket, "bob"), (Via::Tcp, "carol")] {
        let mut client = Client::open_narrow(server.main(), via).await;
        client.connect(Form::Text, id).await;
        // More than the kernel takes: it waits here.
        for _ in 0..20 {
            sender.signal(OFFER, id, &"x".repeat(40_000)).await;
        }
        deaf.push(client);
    }
    sender.is_quiet_and_alive().await;
    let mut half_a_request = Http::open(server.main()).await;
    half_a_request.send(b"POST /signal HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{").await;
    let started = tokio::time::Instant::now();
    server.sigterm();
    let status = server.exit().await;
    assert_eq!(status.code(), Some(0));
    let lasted = started.elapsed().as_millis();
    assert!((900..5000).contains(&lasted), "it lasted {lasted} ms");
    drop((deaf, half_a_request));
}

/// On a connection that was there before the drain.
#[tokio::test]
async fn a_request_that_comes_while_the_server_drains_gets_a_503() {
    let mut server = Setup::new()
        .server("drain_seconds", "'3s'")
        .server("close_seconds", "'3s'")
        .listener("main", &["binary", "calls", "rooms"])
        .start()
        .await;
    let mut keeps_it_going = RawWs::open(server.main()).await;
    keeps_it_going.send_frame(&Form::FlatJson.connect("alice", &token_of("alice"))).await;
    keeps_it_going.frame().await;
    // The beginning of a request is there, so that the connection is not idle.
    let mut begun = Http::open(server.main()).await;
    begun.get("/call/one").await;
    let received = async || server.metric("sigmux_received_bytes_total").await;
    // Each look at the page brings some bytes itself, and always as many.
    let (first, second) = (received().await, received().await);
    begun.send(b"GET /call/two HTTP/1.1\r\n").await;
    let mut looks = 0.0;
    until("the beginning is there", async || {
        looks += 1.0;
        (received().await > second + looks * (second - first)).then_some(())
    })
    .await;
    server.sigterm();
    assert_eq!(keeps_it_going.close_frame().await.0, 1001);
    begun.send(b"Host: x\r\n\r\n").await;
    let answer = begun.response(false).await.expect("an answer");
    assert_eq!((answer.status, answer.header("connection")), (503, Some("close")));
    assert_eq!(begun.until_end().await, b"");
    drop(keeps_it_going);
    assert_eq!(server.exit().await.code(), Some(0));
}

/// As systemd does with `Type=notify`.
#[tokio::test]
async fn a_supervisor_is_told_when_the_server_is_ready_and_when_it_stops() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("notify");
    let socket = tokio::net::UnixDatagram::bind(&place).expect("a socket");
    let told = async || {
        let mut state = [0; 64];
        let length = within("word to the supervisor", socket.recv(&mut state)).await.expect("a datagram");
        String::from_utf8_lossy(&state[..length]).into_owned()
    };
    let mut server = Setup::new().env("NOTIFY_SOCKET", place.display()).start().await;
    assert_eq!(told().await, "READY=1");
    server.sigterm();
    assert_eq!(told().await, "STOPPING=1");
    assert_eq!(server.exit().await.code(), Some(0));
}
