//! Many bytes, readers that stall, and ends of every kind.

use std::collections::HashSet;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::sealed;
use crate::harness::*;

#[tokio::test]
async fn long_messages_and_bodies_pass_in_both_directions() {
    let authority = Authority::new("tests");
    let server = sealed(&authority).start().await;
    for version in rustls::ALL_VERSIONS {
        let relay = Relay::to(server.addr("echo"), &authority.terms().only(version)).await;
        let mut socket = TextClient::open(relay.addr()).await;
        for length in [1, 16_383, 16_384, 16_385, 65_536, 1_000_000] {
            let text: String = ('a'..='z').cycle().take(length).collect();
            socket.send_text(&text).await;
            assert!(socket.text().await == text, "{length}");
        }
        socket.close().await;
        let body = "0123456789".repeat(100_000);
        let request = http_request("POST", "/", &[], Some(&body));
        let response = Http::open(relay.addr()).await.send_and_read(&request).await;
        assert!(response.status == 200 && response.text() == body);
    }
}

#[tokio::test]
async fn what_is_sent_in_a_burst_arrives_in_order() {
    let authority = Authority::new("tests");
    let server = sealed(&authority).server("outbox_hard_bytes", 1 << 26).start().await;
    let relay = Relay::to(server.main(), &authority.terms()).await;
    for via in Via::BOTH {
        let mut alice = Client::login(relay.addr(), via, Form::FlatJson, "alice").await;
        let mut bob = Client::login(relay.addr(), via, Form::FlatJson, "bob").await;
        let mut sent = Vec::new();
        for batch in 0..40 {
            let frames: Vec<Frame> = (0..50)
                .map(|n| alice.form.signal(OFFER, "bob", &format!("{batch}.{n} {}", "x".repeat(n * 40))))
                .collect();
            alice.send_bytes(frames.iter().flat_map(Frame::encode).collect()).await;
            sent.extend(frames);
        }
        for frame in &sent {
            bob.delivered(frame).await;
        }
        alice.leave().await;
        bob.leave().await;
    }
}

#[tokio::test]
async fn every_signal_to_a_reader_that_stalls_is_delivered_or_refused_and_the_reader_is_cut() {
    stall_and_settle(false).await;
}

/// Its connection is closed in the middle of a send: the sender is told of what the kernel had taken of a
/// record that is not whole.
#[tokio::test]
async fn every_signal_to_a_reader_that_comes_back_after_its_end_is_delivered_or_refused() {
    stall_and_settle(true).await;
}

async fn stall_and_settle(until_the_end: bool) {
    let authority = Authority::new("tests");
    let server = sealed(&authority)
        .server("outbox_soft_bytes", 65_536)
        .server("outbox_hard_bytes", 262_144)
        .server("slow_consumer_seconds", "'500ms'")
        .server("close_seconds", if until_the_end { "'300ms'" } else { "'5s'" })
        .start()
        .await;
    for via in Via::BOTH {
        let relay = Relay::to(server.main(), &authority.terms()).await;
        let narrow = Relay::narrow(server.main(), &authority.terms()).await;
        let mut alice = Client::login(relay.addr(), Via::WebSocket, Form::FlatJson, "alice").await;
        let mut bob = Client::login(narrow.addr(), via, Form::FlatJson, "bob").await;
        narrow.stall(true);

        let (mut sent, mut refused, mut full) = (HashSet::new(), HashSet::new(), 0);
        until("the reader is cut", async || {
            let frames: Vec<Frame> =
                (0..4).map(|_| alice.form.signal(OFFER, "bob", &"x".repeat(16_384))).collect();
            let heartbeat = alice.form.heartbeat(1);
            sent.extend(frames.iter().map(|frame| frame.uuid));
            alice.send_bytes(frames.iter().chain([&heartbeat]).flat_map(Frame::encode).collect()).await;
            let mut gone = false;
            loop {
                let answer = alice.frame().await;
                if answer.uuid == heartbeat.uuid {
                    return gone.then_some(());
                }
                assert!(refused.insert(answer.uuid), "refused twice");
                match alice.form.read_error(&answer).0 {
                    503 => full += 1,
                    404 => gone = true,
                    code => panic!("{code}"),
                }
            }
        })
        .await;
        assert!(full > 0, "a 503 comes before the cut");

        if until_the_end {
            until("the server has closed the connection", async || {
                let page = Http::open(server.metrics()).await.get("/metrics").await;
                let open = page.text().lines().filter(|line| line.starts_with("sigmux_connections{"));
                let open: u64 = open.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum();
                // Alice's, and the one that asks.
                (open <= 2).then_some(())
            })
            .await;
        }
        narrow.stall(false);
        let mut delivered = HashSet::new();
        while let Event::Frame(frame) = bob.next().await {
            if frame.kind == OFFER {
                assert!(delivered.insert(frame.uuid), "delivered twice");
            }
        }
        within("every signal is delivered or refused", async {
            while delivered.len() + refused.len() < sent.len() {
                let Event::Frame(answer) = alice.next_unbounded().await else { panic!("the sender is cut") };
                assert!(refused.insert(answer.uuid), "refused twice");
            }
        })
        .await;
        assert!(delivered.is_disjoint(&refused), "delivered and refused");
        alice.is_quiet_and_alive().await;
        alice.leave().await;
    }
}

#[tokio::test]
async fn a_client_that_goes_without_a_word_is_gone() {
    let authority = Authority::new("tests");
    let server = sealed(&authority).start().await;
    let relay = Relay::to(server.main(), &authority.terms()).await;
    let mut alice = Client::login(relay.addr(), Via::WebSocket, Form::FlatJson, "alice").await;

    let mut bob = authority.terms().connect(server.main()).await;
    bob.write_all(&Form::FlatJson.connect("bob", &token_of("bob")).encode()).await.expect("room");
    let mut said = Vec::new();
    while Frame::decode(&said).is_none() {
        within("an answer", bob.read_buf(&mut said)).await.expect("an answer");
    }
    let offer = alice.signal(OFFER, "bob", "are you there?").await;
    said.clear();
    while Frame::decode(&said).is_none() {
        within("an offer", bob.read_buf(&mut said)).await.expect("an offer");
    }
    assert_eq!(Frame::decode(&said).map(|(frame, _)| frame.uuid), Some(offer.uuid));
    // TCP ends, TLS was never closed.
    drop(bob.into_inner());
    until("bob is gone", async || {
        let offer = alice.signal(OFFER, "bob", "still there?").await;
        let heartbeat = alice.form.heartbeat(1);
        alice.send(&heartbeat).await;
        let mut gone = None;
        loop {
            let answer = alice.frame().await;
            if answer.uuid == heartbeat.uuid {
                return gone;
            }
            assert_eq!((answer.uuid, alice.form.read_error(&answer).0), (offer.uuid, 404));
            gone = Some(());
        }
    })
    .await;
}

/// The client has said that it will send nothing more, and still gets what it has asked for.
#[tokio::test]
async fn a_half_closed_request_is_answered_and_the_end_is_said() {
    let authority = Authority::new("tests");
    let server = sealed(&authority).start().await;
    for version in rustls::ALL_VERSIONS {
        let mut stream = authority.terms().only(version).connect(server.addr("echo")).await;
        let body = "x".repeat(200_000);
        let request = http_request("POST", "/", &[("Connection", "close")], Some(&body));
        let (mut reading, mut writing) = tokio::io::split(stream);
        let write = async {
            writing.write_all(&request).await.expect("room");
            writing.shutdown().await.expect("close_notify and the end of TCP's half");
        };
        let mut said = Vec::new();
        let read = async { reading.read_to_end(&mut said).await };
        let (_, read) = within("an answer and a clean end", async { tokio::join!(write, read) }).await;
        read.expect("close_notify comes before the end");
        assert!(said.starts_with(b"HTTP/1.1 200 ") && said.ends_with(body.as_bytes()), "{}", said.len());
        stream = reading.unsplit(writing);
        drop(stream);
    }
}

/// A drain says its Close and the end of TLS.
#[tokio::test]
async fn a_drain_ends_each_connection_cleanly() {
    let authority = Authority::new("tests");
    let mut server = sealed(&authority).start().await;
    let relay = Relay::to(server.main(), &authority.terms()).await;
    let mut alice = Client::login(relay.addr(), Via::WebSocket, Form::FlatJson, "alice").await;
    let mut bob = Client::login(relay.addr(), Via::Tcp, Form::FlatJson, "bob").await;
    let mut unfinished = tokio::net::TcpStream::connect(server.main()).await.expect("the port is open");
    unfinished.write_all(&[0x16]).await.expect("room");
    server.sigterm();
    assert_eq!(alice.closed().await, Some((1001, "Server shutting down".into())));
    assert_eq!(bob.form.read_error(&bob.frame().await).0, 503);
    assert_eq!(bob.closed().await, None);
    let _ = within("the end", unfinished.read_to_end(&mut Vec::new())).await;
    assert_eq!(relay.unclean_ends(), 0);
    assert_eq!(server.exit().await.code(), Some(0));
}
