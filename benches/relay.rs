//! Whole turns of real shards on in-memory connections: everything but the kernel.
//!
//!     cargo bench --bench relay -- --quick
//!
//! The world of the simulator has costs of its own, such as copying what a client writes;
//! `idle_turn` shows what a turn costs in which nothing happens.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sigmux::sim::{self, ClientId, Sim, Size};
use sigmux::wire::frame::write_frame;
use sigmux::wire::websocket::unmask;

const OFFER_SDP: &str = include_str!("../tests/vectors/offer.sdp");
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

criterion_group! {
    name = relay;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(40);
    targets = turn, relayed
}
criterion_main!(relay);

/// A client says something, and the server answers it.
fn turn(criterion: &mut Criterion) {
    let mut sim = world(1);
    let alice = log_in(&mut sim, 0, "alice");
    let heartbeat = message(0x04, r#"{"timestamp":1}"#);
    let mut group = criterion.benchmark_group("turn");
    group.bench_function("idle_turn", |b| b.iter(|| sim.settle()));
    group.bench_function("heartbeat", |b| {
        b.iter(|| {
            sim.write(alice, &heartbeat);
            sim.settle();
            assert!(!sim.read(alice).is_empty());
        });
    });
    group.finish();
}

/// From one client's bytes to the other's, one message a turn and many.
fn relayed(criterion: &mut Criterion) {
    let short = signal(&"x".repeat(180));
    let sdp = signal(OFFER_SDP);
    let mut group = criterion.benchmark_group("relay");
    for (place, shards) in [("same_shard", 1), ("two_shards", 2)] {
        for (name, text, messages) in
            [("256_bytes", &short, 1), ("256_bytes_times_64", &short, 64), ("sdp_4_kib", &sdp, 1)]
        {
            let mut sim = world(shards);
            let alice = log_in(&mut sim, 0, "alice");
            let bob = log_in(&mut sim, shards - 1, "bob");
            let sent = message(0x10, text).repeat(messages);
            group.throughput(Throughput::Elements(messages as u64));
            group.bench_function(BenchmarkId::new(place, name), |b| {
                b.iter(|| {
                    sim.write(alice, &sent);
                    sim.settle();
                    assert!(sim.read(bob).len() > messages * text.len(), "all arrive, stamped");
                });
            });
            assert!(sim.read(alice).is_empty(), "none came back");
        }
    }
    group.finish();
}

fn world(shards: usize) -> Sim {
    let size = Size { shards, inbox_messages_max: 1024, events_max: 1024, seed: 1 };
    Sim::new(&size, sim::settings(), &sim::limits())
}

fn log_in(sim: &mut Sim, shard: usize, id: &str) -> ClientId {
    let client = sim.connect(shard);
    sim.write(
        client,
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    sim.write(client, &message(0x01, &format!(r#"{{"client_id":"{id}","auth_token":""}}"#)));
    sim.settle();
    let answer = String::from_utf8_lossy(&sim.read(client)).into_owned();
    assert!(answer.contains(r#""status":"success""#), "{answer}");
    client
}

fn signal(data: &str) -> String {
    let data = serde_json::to_string(data).expect("text is JSON");
    format!(r#"{{"target_client_id":"bob","signal_data":{data}}}"#)
}

/// A client's WebSocket message with one frame in it.
fn message(message_type: u8, payload: &str) -> Vec<u8> {
    let mut frame = Vec::new();
    write_frame(&mut frame, message_type, &[7; 16], 2, |out| out.extend_from_slice(payload.as_bytes()))
        .expect("a short payload");
    unmask(&mut frame, KEY, 0);
    let mut out = vec![0x82];
    match u8::try_from(frame.len()) {
        Ok(length @ 0..=125) => out.push(0x80 | length),
        _ => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(frame.len() as u16).to_be_bytes());
        }
    }
    out.extend_from_slice(&KEY);
    out.extend_from_slice(&frame);
    out
}
