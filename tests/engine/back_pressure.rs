//! A reader that does not read: it is cut, its senders are told, and nobody else waits for it.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::harness::*;

fn tight() -> Setup {
    Setup::new()
        .server("outbox_soft_bytes", 65_536)
        .server("outbox_hard_bytes", 262_144)
        .server("slow_consumer_seconds", "'500ms'")
        .server("close_seconds", "'5s'")
}

#[tokio::test]
async fn a_full_outbox_is_a_503_to_the_sender_and_its_reader_is_cut_with_1013() {
    let server = tight().start().await;
    for across in [false, true] {
        let mut alice = Client::login(server.main(), Via::WebSocket, Form::FlatJson, "alice").await;
        let mut bob = narrow_login(&server, &alice, across).await;
        let sent = flood_until_gone(&mut alice, "bob").await;
        assert!(!sent.unavailable.is_empty(), "a 503 comes before the cut");

        // What the kernel had taken is delivered; then the reader learns why it was cut.
        let mut delivered = HashSet::new();
        let close = loop {
            match bob.next().await {
                Event::Frame(frame) => assert!(delivered.insert(frame.uuid), "delivered twice"),
                Event::Closed(close) => break close,
            }
        };
        assert_eq!(close.expect("a Close with a code").0, 1013);
        settle(&mut alice, &sent, &delivered).await;
        alice.leave().await;
    }
}

#[tokio::test]
async fn a_slow_tcp_reader_is_cut_too_and_every_signal_is_accounted_for() {
    let server = tight().start().await;
    let mut alice = Client::login(server.main(), Via::Tcp, Form::TaggedJson, "alice").await;
    let mut bob = Client::open_narrow(server.main(), Via::Tcp).await;
    bob.connect(Form::TaggedJson, "bob").await;
    let sent = flood_until_gone(&mut alice, "bob").await;
    let mut delivered = HashSet::new();
    while let Event::Frame(frame) = bob.next().await {
        if frame.kind == OFFER {
            assert!(delivered.insert(frame.uuid), "delivered twice");
        }
    }
    settle(&mut alice, &sent, &delivered).await;
}

#[tokio::test]
async fn nobody_else_waits_for_a_slow_reader() {
    let server = tight().server("slow_consumer_seconds", "'3s'").start().await;
    let mut bystanders = Bystanders::login(&server).await;
    let mut alice = Client::login(server.main(), Via::WebSocket, Form::FlatJson, "alice").await;
    let mut carol = Client::login(server.main(), Via::WebSocket, Form::FlatJson, "carol").await;
    let _bob = narrow_login(&server, &alice, true).await;
    let mut refused = 0;
    for round in 0..40 {
        let flood: Vec<u8> =
            (0..4).flat_map(|_| alice.form.signal(OFFER, "bob", &"x".repeat(16_384)).encode()).collect();
        alice.send_bytes(flood).await;
        // The same sender's signals to others arrive as well, and so do those of others.
        let started = Instant::now();
        let to_carol = alice.signal(OFFER, "carol", &format!("round {round}")).await;
        assert_eq!(carol.delivered(&to_carol).await.data, format!("round {round}"));
        bystanders.talk().await;
        assert!(started.elapsed() < Duration::from_secs(2), "round {round} took {:?}", started.elapsed());
        let heartbeat = alice.form.heartbeat(1);
        alice.send(&heartbeat).await;
        loop {
            let answer = alice.frame().await;
            if answer.uuid == heartbeat.uuid {
                break;
            }
            assert_eq!(alice.form.read_error(&answer).0, 503);
            refused += 1;
        }
    }
    assert!(refused > 0, "bob's outbox was never full");
}

/// A pause shorter than the patience costs a reader nothing but what was refused meanwhile.
#[tokio::test]
async fn a_reader_that_comes_back_in_time_is_not_cut() {
    let server = tight().server("slow_consumer_seconds", "'30s'").start().await;
    let mut alice = Client::login(server.main(), Via::WebSocket, Form::FlatJson, "alice").await;
    let mut bob = narrow_login(&server, &alice, false).await;
    let mut sent = Flood::default();
    while sent.unavailable.is_empty() {
        flood_once(&mut alice, "bob", &mut sent).await;
    }
    let mut delivered = HashSet::new();
    within("every signal is delivered or refused", async {
        while delivered.len() + sent.refused.len() < sent.all.len() {
            tokio::select! {
                event = bob.next_unbounded() => match event {
                    Event::Frame(frame) => assert!(delivered.insert(frame.uuid), "delivered twice"),
                    Event::Closed(close) => panic!("cut: {close:?}"),
                },
                event = alice.next_unbounded() => match event {
                    Event::Frame(frame) => assert!(sent.refused.insert(frame.uuid), "refused twice"),
                    Event::Closed(close) => panic!("the sender is cut: {close:?}"),
                },
            }
        }
    })
    .await;
    assert!(delivered.is_disjoint(&sent.refused), "delivered and refused");
    let after = alice.signal(OFFER, "bob", "there is room again").await;
    assert_eq!(bob.delivered(&after).await.data, "there is room again");
    bob.is_quiet_and_alive().await;
    alice.is_quiet_and_alive().await;
}

/// A client that asks and never reads the answers fills its own outbox: it is held back or cut,
/// and the engine's memory does not grow with what it asks.
#[tokio::test]
async fn a_client_that_never_reads_its_own_replies_is_held_back_or_cut() {
    let server = tight().start().await;
    let mut bystanders = Bystanders::login(&server).await;
    let mut bob = Client::login(server.main(), Via::WebSocket, Form::FlatJson, "bob").await;
    for via in Via::BOTH {
        let mut alice = Client::open_narrow(server.main(), via).await;
        alice.connect(Form::FlatJson, "alice").await;
        let batch: Vec<u8> = (0..200).flat_map(|_| alice.form.heartbeat(1).encode()).collect();
        let asking = async {
            // 100 MB of questions: neither buffers in the kernel nor the outbox could take it.
            for _ in 0..10_000 {
                if alice.try_send_bytes(batch.clone()).await.is_err() {
                    return;
                }
            }
        };
        // Held back, or cut: then its questions may still be read, and thrown away.
        let held_back = tokio::time::timeout(Duration::from_secs(3), asking).await.is_err();
        if !held_back {
            until("alice is cut", async || {
                let offer = bob.signal(OFFER, "alice", "are you there?").await;
                let heartbeat = bob.form.heartbeat(1);
                bob.send(&heartbeat).await;
                let mut gone = false;
                loop {
                    let answer = bob.frame().await;
                    if answer.uuid == heartbeat.uuid {
                        return gone.then_some(());
                    }
                    gone |= answer.uuid == offer.uuid && bob.form.read_error(&answer).0 == 404;
                }
            })
            .await;
        }
        bystanders.talk().await;
    }
}

#[derive(Default)]
struct Flood {
    all: HashSet<[u8; 16]>,
    refused: HashSet<[u8; 16]>,
    unavailable: HashSet<[u8; 16]>,
}

/// Four large signals, and what came back until a heartbeat behind them was answered.
async fn flood_once(sender: &mut Client, target: &str, flood: &mut Flood) -> bool {
    let mut gone = false;
    let frames: Vec<Frame> = (0..4).map(|_| sender.form.signal(OFFER, target, &"x".repeat(16_384))).collect();
    let heartbeat = sender.form.heartbeat(1);
    flood.all.extend(frames.iter().map(|frame| frame.uuid));
    let batch = frames.iter().chain([&heartbeat]).flat_map(Frame::encode).collect();
    sender.send_bytes(batch).await;
    loop {
        let answer = sender.frame().await;
        if answer.uuid == heartbeat.uuid {
            return gone;
        }
        let (code, message) = sender.form.read_error(&answer);
        assert!(flood.all.contains(&answer.uuid), "an answer to nothing: {message}");
        assert!(flood.refused.insert(answer.uuid), "refused twice: {message}");
        match code {
            code if code == sender.form.code(503) => {
                flood.unavailable.insert(answer.uuid);
            }
            code if code == sender.form.code(404) => gone = true,
            code => panic!("{code}: {message}"),
        }
    }
}

async fn flood_until_gone(sender: &mut Client, target: &str) -> Flood {
    let mut flood = Flood::default();
    until("the reader is cut", async || flood_once(sender, target, &mut flood).await.then_some(())).await;
    flood
}

/// Every signal was either delivered or refused, and none was both.
async fn settle(sender: &mut Client, flood: &Flood, delivered: &HashSet<[u8; 16]>) {
    let mut refused = flood.refused.clone();
    within("every signal is delivered or refused", async {
        while delivered.len() + refused.len() < flood.all.len() {
            let Event::Frame(answer) = sender.next_unbounded().await else { panic!("the sender is cut") };
            assert_eq!(answer.kind, ERROR);
            assert!(refused.insert(answer.uuid), "refused twice");
        }
    })
    .await;
    assert!(delivered.is_disjoint(&refused), "delivered and refused");
    assert_eq!(delivered.len() + refused.len(), flood.all.len());
    sender.is_quiet_and_alive().await;
}

/// A client called bob with little room in the kernel, on `other`'s shard or across.
async fn narrow_login(server: &Server, other: &Client, across: bool) -> Client {
    for _ in 0..64 {
        let mut bob = Client::open_narrow(server.main(), Via::WebSocket).await;
        if (bob.shard != other.shard) == across {
            bob.connect(Form::FlatJson, "bob").await;
            return bob;
        }
    }
    panic!("the kernel never chose the shard that was wanted (across: {across})");
}
