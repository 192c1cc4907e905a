//! Whole turns of real shards on connections that are buffers: everything but the kernel.
//!
//!     cargo bench --bench relay
//!
//! `turn/idle` shows what a turn costs in which nothing happens; a relayed message takes two, one when
//! it comes and one when the kernel has taken it. What the front does to a signal of `calls` or
//! `broadcast` is here without HTTP and Socket.IO.

#[path = "subjects/engine.rs"]
mod engine;
#[path = "subjects/messages.rs"]
mod messages;
#[path = "subjects/relays.rs"]
mod relays;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

use engine::Engine;
use messages::{BINARY, HEARTBEAT, JSON_PAYLOAD, LENGTHS, Length, TEXT, frame, masked, station_signal};
use relays::{Relay, WAYS, Way, expected_station_text, station_text};

criterion_group! {
    name = relay;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(40)
        .nresamples(10_000);
    targets = turn, one_at_a_time, many_at_once, between_shards, broadcast
}
criterion_main!(relay);

/// A client says something, and the server answers it.
fn turn(criterion: &mut Criterion) {
    let mut engine = Engine::new(1);
    let (agent, drone) = (engine.log_in_json(0, "agent"), engine.log_in_device(0, "drone"));
    let heartbeat = masked(BINARY, &frame(HEARTBEAT, JSON_PAYLOAD, br#"{"timestamp":1}"#));
    let ping = masked(TEXT, br#"{"type":"ping"}"#);

    let mut group = criterion.benchmark_group("turn");
    group.bench_function("idle", |b| b.iter(|| engine.idle_turn()));
    for (name, client, said, word) in [
        ("binary_heartbeat", agent, &heartbeat, &br#"{"timestamp":1700000000}"#[..]),
        ("devices_ping", drone, &ping, &br#"{"type":"pong""#[..]),
    ] {
        engine.say(client, said);
        let answer = engine.heard(client, <[u8]>::to_vec);
        assert!(answer.windows(word.len()).any(|at| at == word), "{}", String::from_utf8_lossy(&answer));
        group.bench_function(name, |b| {
            b.iter(|| {
                engine.say(client, said);
                assert!(engine.heard(client, <[u8]>::len) == answer.len());
            });
        });
    }
    group.finish();
}

/// From one client's bytes to the other's, within each dialect.
fn one_at_a_time(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("relay");
    for (way_name, way) in WAYS {
        for (name, length) in LENGTHS {
            passed(&mut group, BenchmarkId::new(way_name, name), Relay::new(way, length, 1, 1));
        }
    }
    group.finish();
}

/// 64 messages in one receive, for one target: its output goes out at once. `calls` has a request for
/// each.
fn many_at_once(criterion: &mut Criterion) {
    const MESSAGES: usize = 64;
    let mut group = criterion.benchmark_group("relay_64_at_once");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    for (name, way) in WAYS.into_iter().filter(|(_, way)| *way != Way::Calls) {
        let relay = Relay::new(way, Length::Bytes(256), MESSAGES, 1);
        passed(&mut group, BenchmarkId::from_parameter(name), relay);
    }
    group.finish();
}

/// Through an inbox, on one thread: without waking anybody.
fn between_shards(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("relay_between_shards");
    for messages in [1, 64] {
        group.throughput(Throughput::Elements(messages as u64));
        let relay = Relay::new(Way::BinaryJson, Length::Bytes(256), messages, 2);
        passed(&mut group, BenchmarkId::new("binary_json_256_bytes", messages), relay);
    }
    group.finish();
}

/// What the front does to the event `signal`, and a signal that crosses to another dialect.
fn broadcast(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("relay");
    for (name, length) in LENGTHS {
        let argument = station_signal(length, "AAAAAAAAAAAAAAAB");
        let expected = expected_station_text(&argument);
        let mut out = Vec::new();
        station_text(&argument, &mut out);
        assert!(out == expected, "{}", String::from_utf8_lossy(&out));
        group.bench_function(BenchmarkId::new("broadcast", name), |b| {
            b.iter(|| {
                station_text(black_box(&argument), &mut out);
                assert!(out.len() == expected.len());
            });
        });
    }
    let relay = Relay::new(Way::BroadcastToBinary, Length::Description, 1, 1);
    passed(&mut group, BenchmarkId::new("broadcast_to_binary", "sdp_4_kib"), relay);
    group.finish();
}

fn passed<M: criterion::measurement::Measurement>(
    group: &mut criterion::BenchmarkGroup<'_, M>,
    id: BenchmarkId,
    mut relay: Relay,
) {
    group.bench_function(id, |b| b.iter(|| relay.pass()));
    relay.check();
}
