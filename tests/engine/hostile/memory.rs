//! What large messages hold of memory while they wait between shards.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::*;

const SENDERS: usize = 8;
const MESSAGES: usize = 60;
/// Of one message: the largest that fit an outbox are not much larger.
const SDP_BYTES: usize = 900_000;

/// What the messages may hold at one time, beside some room for the allocator: as they come in and as
/// they go out, in buffers that double, and what the ring of each shard receives into.
const HELD_KIB: u64 = 128 * 1024;

/// The most that the process ever had in memory, and what it has now.
fn peak_and_now_kib(server: &Server) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("it is ours");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel says so");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    };
    (field("VmHWM:"), field("VmRSS:"))
}

/// A device on the shard that is wanted.
async fn device_on(server: &Server, shard: &str, id: &str) -> WebSocketStream<TcpStream> {
    until("the kernel chooses that shard", async || {
        let client = Client::open(server.main(), Via::WebSocket).await;
        let is_there = client.shard.as_deref() == Some(shard);
        let mut socket = client.into_websocket();
        if !is_there {
            return None;
        }
        let register = json!({"type": "register", "id": id}).to_string();
        socket.send(Message::text(register)).await.expect("open");
        socket.next().await.expect("registered").expect("open");
        Some(socket)
    })
    .await
}

/// All senders on one shard and all targets on the other, which has more to do than the first can
/// wait for. Returns how many were delivered and how many refused, and by how much memory grew.
async fn send_all(setup: Setup) -> (usize, usize, u64) {
    let server =
        setup.listener("main", &["devices"]).section("[logging]\nlevel = 'error'").alone().start().await;
    let (_, before_kib) = peak_and_now_kib(&server);
    let mut tasks = JoinSet::new();
    for number in 0..SENDERS {
        let target = format!("target-{number}");
        let mut reading = device_on(&server, "1", &target).await;
        let sending = device_on(&server, "0", &format!("sender-{number}")).await;
        let (mut writing, mut answers) = sending.split();
        let offer = json!({"type": "offer", "target": target, "sdp": "x".repeat(SDP_BYTES)}).to_string();
        tasks.spawn(async move {
            let write = async {
                for _ in 0..MESSAGES {
                    writing.send(Message::text(offer.clone())).await.expect("the connection takes it");
                }
            };
            // Whatever comes is a delivery there, and a refusal here.
            let count = async {
                let (mut delivered, mut refused) = (0, 0);
                while delivered + refused < MESSAGES {
                    tokio::select! {
                        message = reading.next() => match message.expect("open").expect("open") {
                            // Pairs that are done leave.
                            Message::Text(text) if text.contains("\"client_list_update\"") => {}
                            Message::Text(text) => {
                                assert!(text.len() > SDP_BYTES && text.contains("\"offer\""));
                                delivered += 1;
                            }
                            other => assert!(other.is_ping(), "{other:?}"),
                        },
                        message = answers.next() => match message.expect("open").expect("open") {
                            Message::Text(text) if text.contains("\"client_list_update\"") => {}
                            Message::Text(text) => {
                                assert!(text.contains("\"error\""), "{text}");
                                refused += 1;
                            }
                            other => assert!(other.is_ping(), "{other:?}"),
                        },
                    }
                }
                (delivered, refused)
            };
            tokio::join!(write, count).1
        });
    }
    let counts = tokio::time::timeout(Duration::from_secs(60), tasks.join_all()).await;
    let counts = counts.expect("each message is delivered or refused");
    let (peak_kib, _) = peak_and_now_kib(&server);
    let delivered = counts.iter().map(|(delivered, _)| delivered).sum();
    let refused = counts.iter().map(|(_, refused)| refused).sum();
    (delivered, refused, peak_kib - before_kib)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_messages_between_shards_hold_no_more_memory_than_is_allowed_and_each_is_accounted_for() {
    let setup = Setup::new().server("inbox_bytes_max", 1 << 20).server("overflow_bytes_max", 1 << 20);
    let (delivered, refused, grown_kib) = send_all(setup).await;
    println!("{delivered} delivered, {refused} refused; {grown_kib} KiB more at most");
    assert_eq!(delivered + refused, SENDERS * MESSAGES);
    assert!(grown_kib <= HELD_KIB, "{grown_kib} KiB more");
}
