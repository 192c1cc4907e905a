//! Codecs and the directory: what every message passes.
//!
//!     cargo bench --bench wire -- --quick

use std::borrow::Cow;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde::Deserialize;
use serde_json::value::RawValue;
use sigmux::base::{NodeId, PeerKey, RealmId};
use sigmux::hub::{DialectId, Directory, OnDuplicate};
use sigmux::wire::frame::{complete, streaming, write_frame};
use sigmux::wire::json::{Scanner, Span};
use sigmux::wire::websocket::{Decoder, Event, Limits, Pool, unmask};

const OFFER_SDP: &str = include_str!("../tests/vectors/offer.sdp");
const UUID: [u8; 16] = *b"0123456789abcdef";
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const LIMITS: Limits = Limits { message_bytes_max: 1 << 20 };

criterion_group! {
    name = wire;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(40);
    targets = frame, masking, websocket, json, directory
}
criterion_main!(wire);

fn frame(criterion: &mut Criterion) {
    let payload = stamped_signal();
    let bytes = framed(&payload);
    let mut group = criterion.benchmark_group("frame");
    group.bench_function("parse_complete", |b| b.iter(|| complete(black_box(&bytes)).is_ok()));
    group.bench_function("parse_streaming", |b| b.iter(|| streaming(black_box(&bytes)).is_ok()));
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    let mut out = Vec::with_capacity(bytes.len());
    group.bench_function("encode", |b| {
        b.iter(|| {
            out.clear();
            let payload = black_box(payload.as_bytes());
            write_frame(&mut out, 0x10, &UUID, 2, |out| out.extend_from_slice(payload)).is_ok()
        });
    });
    group.finish();
}

fn masking(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("unmask");
    for bytes in [16, 256, 4 << 10, 64 << 10] {
        let mut payload = vec![0x55; bytes];
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(BenchmarkId::from_parameter(bytes), |b| {
            b.iter(|| unmask(black_box(&mut payload), KEY, 0));
        });
    }
    group.finish();
}

/// Unmasking in place twice gives the masked bytes again, and the headers stay as they are, so one
/// buffer serves every round.
fn websocket(criterion: &mut Criterion) {
    const MESSAGES: usize = 64;
    const PAYLOAD_BYTES: usize = 256;
    let mut received = masked(&[0x55; PAYLOAD_BYTES]).repeat(MESSAGES);
    let mut pool = Pool::default();
    let mut group = criterion.benchmark_group("websocket");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    group.bench_function("decode_64_messages_of_256_bytes", |b| {
        b.iter(|| {
            let mut decoder = Decoder::default();
            let (mut at, mut messages) = (0, 0);
            while let Ok(step) = decoder.next(&mut received[at..], &LIMITS, &mut pool) {
                match step.event {
                    Some(Event::Binary(message)) => messages += black_box(message).len() / PAYLOAD_BYTES,
                    _ => break,
                }
                at += step.consumed;
            }
            assert_eq!(messages, MESSAGES);
        });
    });
    group.finish();
}

/// What routing needs of a signal. serde_json finds the same fields, without a tree and with.
fn json(criterion: &mut Criterion) {
    #[derive(Deserialize)]
    struct Signal<'a> {
        #[serde(borrow)]
        target_client_id: Cow<'a, str>,
        #[serde(borrow)]
        signal_data: &'a RawValue,
        #[serde(borrow)]
        sender_client_id: Option<&'a RawValue>,
    }

    let mut group = criterion.benchmark_group("json");
    for (name, text) in [("stamped_256_bytes", stamped_signal()), ("sdp_4_kib", sdp_signal())] {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(BenchmarkId::new("scan", name), |b| {
            b.iter(|| routing_fields(black_box(text.as_bytes())).expect("a signal"));
        });
        group.bench_function(BenchmarkId::new("serde_json_fields", name), |b| {
            b.iter(|| {
                let signal: Signal<'_> =
                    serde_json::from_slice(black_box(text.as_bytes())).expect("a signal");
                signal.target_client_id.len()
                    + signal.signal_data.get().len()
                    + signal.sender_client_id.map_or(0, |sender| sender.get().len())
            });
        });
        group.bench_function(BenchmarkId::new("serde_json_value", name), |b| {
            b.iter(|| {
                serde_json::from_slice::<serde_json::Value>(black_box(text.as_bytes())).expect("a signal")
            });
        });
    }
    group.finish();
}

fn directory(criterion: &mut Criterion) {
    const REALM: RealmId = RealmId(0);
    const DIALECT: DialectId = DialectId(0);
    const CLIENTS: u32 = 10_000;
    let key = |slot| PeerKey { node: NodeId::shard(0), slot, generation: 0 };
    let directory = Directory::new(7);
    let ids: Vec<String> = (0..CLIENTS).map(|slot| format!("client-{slot}")).collect();
    let join = |id: &str, slot| directory.join(REALM, id, key(slot), DIALECT, OnDuplicate::Replace);
    for (slot, id) in (0..).zip(&ids) {
        join(id, slot).expect("nobody holds it");
    }
    let mut group = criterion.benchmark_group("directory_of_10000");
    let mut next = ids.iter().cycle();
    group.bench_function("lookup", |b| {
        b.iter(|| directory.lookup(REALM, next.next().expect("it never ends")));
    });
    group.bench_function("route_hit", |b| {
        let mut route = None;
        b.iter(|| directory.resolve(REALM, black_box("client-77"), &mut route));
    });
    group.bench_function("route_miss", |b| {
        let mut route = None;
        b.iter(|| directory.resolve(REALM, next.next().expect("it never ends"), &mut route));
    });
    group.bench_function("join_and_leave", |b| {
        b.iter(|| {
            let joined = join(black_box("a newcomer"), CLIENTS).is_ok();
            joined && directory.leave(REALM, "a newcomer", key(CLIENTS))
        });
    });
    group.finish();
}

/// Target, data and sender.
fn routing_fields(text: &[u8]) -> Option<[Option<Span>; 3]> {
    const NAMES: [&str; 3] = ["target_client_id", "signal_data", "sender_client_id"];
    let mut fields = [None; 3];
    let mut scanner = Scanner::new(text).ok()?;
    let mut object = scanner.enter_object().ok()?;
    while let Some(key) = scanner.next_key(&mut object).ok()? {
        let value = scanner.value().ok()?;
        for (field, name) in fields.iter_mut().zip(NAMES) {
            if key.is(text, name) {
                *field = Some(value.span);
            }
        }
    }
    scanner.end().ok()?;
    Some(fields)
}

fn stamped_signal() -> String {
    const AROUND: &str = r#"{"target_client_id":"bob","signal_data":"","sender_client_id":"alice"}"#;
    let data = "x".repeat(256 - AROUND.len());
    format!(r#"{{"target_client_id":"bob","signal_data":"{data}","sender_client_id":"alice"}}"#)
}

/// A real offer, with an escape at the end of each of its lines.
fn sdp_signal() -> String {
    let data = serde_json::to_string(OFFER_SDP).expect("text is JSON");
    format!(r#"{{"target_client_id":"bob","signal_data":{data}}}"#)
}

fn framed(payload: &str) -> Vec<u8> {
    let mut out = Vec::new();
    write_frame(&mut out, 0x10, &UUID, 2, |out| out.extend_from_slice(payload.as_bytes()))
        .expect("a short payload");
    out
}

/// A client's message of 126 to 65,535 bytes.
fn masked(payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x82, 0x80 | 126];
    out.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    out.extend_from_slice(&KEY);
    let from = out.len();
    out.extend_from_slice(payload);
    unmask(&mut out[from..], KEY, 0);
    out
}
