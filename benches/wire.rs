//! Codecs: what every message passes. The well-known crates do the same work beside ours.
//!
//!     cargo bench --bench wire
//!     cargo bench --bench wire -- websocket

#[path = "subjects/messages.rs"]
mod messages;
#[path = "subjects/peers.rs"]
mod peers;

use std::hint::black_box;
use std::time::Duration;

use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
    measurement::WallTime,
};
use sigmux::wire::frame::{HEADER_BYTES, complete, streaming, write_frame};
use sigmux::wire::http::{HeadLimits, parse_head};
use sigmux::wire::websocket::{self, Opcode, unmask};

use messages::{
    BINARY, JSON_PAYLOAD, KEY, LENGTHS, Length, OFFER, TEXT, UUID, json_signal, masked, unmasked,
};
use peers::{Decodes, FastWebsockets, Ours, Signal, Tungstenite, scan};

criterion_group! {
    name = wire;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(40)
        .nresamples(10_000);
    targets = frame, masking, decode, encode, head, json
}
criterion_main!(wire);

fn frame(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame");
    for (name, length) in LENGTHS {
        let bytes = json_signal(length, "bob");
        let payload = &bytes[HEADER_BYTES..];
        let parsed = complete(&bytes).unwrap_or_else(|_| panic!("a frame"));
        assert!(parsed.payload == payload && streaming(&bytes) == Ok(parsed));
        let mut out = Vec::with_capacity(bytes.len());
        let mut encode = |payload: &[u8]| {
            out.clear();
            let write = |out: &mut Vec<u8>| out.extend_from_slice(payload);
            write_frame(&mut out, length.message_type(), &UUID, JSON_PAYLOAD, write).expect("it fits");
            black_box(&out) == &bytes
        };
        assert!(encode(payload));

        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(BenchmarkId::new("parse_complete", name), |b| {
            b.iter(|| complete(black_box(&bytes)).is_ok_and(|frame| frame.message_type == OFFER));
        });
        group.bench_function(BenchmarkId::new("parse_streaming", name), |b| {
            b.iter(|| streaming(black_box(&bytes)).is_ok_and(|frame| frame.message_type == OFFER));
        });
        group.bench_function(BenchmarkId::new("encode", name), |b| {
            let mut out = Vec::with_capacity(bytes.len());
            b.iter(|| {
                out.clear();
                let payload = black_box(payload);
                let write = |out: &mut Vec<u8>| out.extend_from_slice(payload);
                write_frame(&mut out, OFFER, &UUID, JSON_PAYLOAD, write).is_ok()
            });
        });
    }
    group.finish();
}

/// tungstenite keeps its own to itself; it is the same loop as that of fastwebsockets.
fn masking(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("unmask");
    for bytes in [16, 256, 4 << 10, 64 << 10] {
        let mut payload = vec![0x55; bytes];
        unmask(&mut payload, KEY, 0);
        fastwebsockets::unmask(&mut payload, KEY);
        assert!(payload.iter().all(|byte| *byte == 0x55), "one takes away what the other has put on");

        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(BenchmarkId::new("ours", bytes), |b| {
            b.iter(|| unmask(black_box(&mut payload), KEY, 0));
        });
        group.bench_function(BenchmarkId::new("fastwebsockets", bytes), |b| {
            b.iter(|| fastwebsockets::unmask(black_box(&mut payload), KEY));
        });
    }
    group.finish();
}

/// From what a client has sent to its messages, each of which is looked at.
fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("websocket_decode");
    for (name, first, length, messages) in [
        ("binary_256_bytes", BINARY, Length::Bytes(256), 1),
        ("binary_256_bytes_times_64", BINARY, Length::Bytes(256), 64),
        ("text_256_bytes", TEXT, Length::Bytes(256), 1),
        ("binary_sdp_4_kib", BINARY, Length::Description, 1),
    ] {
        let message = match first {
            TEXT => messages::device_signal(length, "bob"),
            _ => json_signal(length, "bob"),
        };
        let received = masked(first, &message).repeat(messages);
        group.throughput(Throughput::Elements(messages as u64));
        decoded(&mut group, BenchmarkId::new("ours", name), Ours::new(&received), &message, messages);
        let tungstenite = Tungstenite::new(&received, messages);
        decoded(&mut group, BenchmarkId::new("tungstenite", name), tungstenite, &message, messages);
        let fastwebsockets = FastWebsockets::new(&received, messages);
        decoded(&mut group, BenchmarkId::new("fastwebsockets", name), fastwebsockets, &message, messages);
    }
    group.finish();
}

fn decoded(
    group: &mut BenchmarkGroup<'_, WallTime>,
    id: BenchmarkId,
    mut decoder: impl Decodes,
    message: &[u8],
    messages: usize,
) {
    let mut seen = 0;
    decoder.decode(|decoded| {
        assert!(decoded == message);
        seen += 1;
    });
    assert_eq!(seen, messages);
    group.bench_function(id, |b| {
        b.iter(|| {
            let mut seen = 0;
            decoder.decode(|decoded| seen += usize::from(black_box(decoded).len() == message.len()));
            assert_eq!(seen, messages);
        });
    });
}

/// A server's message behind what its connection has to be sent already.
fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("websocket_encode");
    for (name, length) in [("256_bytes", Length::Bytes(256)), ("sdp_4_kib", Length::Description)] {
        let message = json_signal(length, "bob");
        let expected = unmasked(BINARY, &message);
        let mut out = Vec::with_capacity(expected.len() + 16);
        group.throughput(Throughput::Bytes(message.len() as u64));

        let mut ours = |message: &[u8]| {
            out.clear();
            websocket::write_message(&mut out, Opcode::Binary, message);
            black_box(&out).len() == expected.len()
        };
        assert!(ours(&message));
        group.bench_function(BenchmarkId::new("ours", name), |b| b.iter(|| ours(black_box(&message))));
        assert!(out == expected);

        // Shared, so that giving it to the library copies nothing.
        let shared = bytes::Bytes::from(message.clone());
        let mut tungstenite = |message: &bytes::Bytes| {
            use tungstenite::protocol::frame::Frame;
            use tungstenite::protocol::frame::coding::{Data, OpCode};
            out.clear();
            let frame = Frame::message(message.clone(), OpCode::Data(Data::Binary), true);
            frame.format(&mut out).expect("memory can be written");
            black_box(&out).len() == expected.len()
        };
        assert!(tungstenite(&shared));
        group.bench_function(BenchmarkId::new("tungstenite", name), |b| {
            b.iter(|| tungstenite(black_box(&shared)));
        });
        assert!(out == expected);

        // It writes to the front of a buffer that it makes long enough once.
        let mut buffer = Vec::new();
        let mut fastwebsockets = |message: &[u8]| {
            let mut frame = fastwebsockets::Frame::binary(fastwebsockets::Payload::Borrowed(message));
            black_box(frame.write(&mut buffer)).len() == expected.len()
        };
        assert!(fastwebsockets(&message));
        group.bench_function(BenchmarkId::new("fastwebsockets", name), |b| {
            b.iter(|| fastwebsockets(black_box(&message)));
        });
        assert!(buffer.starts_with(&expected));
    }
    group.finish();
}

/// The request by which a browser opens its WebSocket. httparse, which we build on, does only the first
/// part of it.
fn head(criterion: &mut Criterion) {
    const HEAD: &[u8] = b"GET /ws HTTP/1.1\r\nHost: signal.example.com:8080\r\nConnection: Upgrade\r\n\
        Pragma: no-cache\r\nCache-Control: no-cache\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) \
        AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\nUpgrade: websocket\r\n\
        Origin: https://app.example.com\r\nSec-WebSocket-Version: 13\r\n\
        Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";
    const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 16 << 10 };
    let parse = |bytes| parse_head(bytes, LIMITS).expect("a good head").expect("a whole one");
    let accept = |bytes| {
        let head = parse(bytes);
        let request = websocket::Request::new(head.method, head.minor_version, head.headers());
        websocket::check(&request).expect("an upgrade")
    };
    assert_eq!(parse(HEAD).consumed, HEAD.len());
    assert_eq!(accept(HEAD).as_bytes(), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");

    let mut group = criterion.benchmark_group("http_head");
    group.throughput(Throughput::Bytes(HEAD.len() as u64));
    group.bench_function("parse", |b| b.iter(|| parse(black_box(HEAD)).consumed));
    group.bench_function("parse_and_accept", |b| b.iter(|| accept(black_box(HEAD))));
    group.bench_function("httparse", |b| {
        b.iter(|| {
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut request = httparse::Request::new(&mut headers);
            request.parse(black_box(HEAD)).expect("a good head").is_complete()
        });
    });
    group.finish();
}

/// What routing needs of a signal: the whole text checked, and three of its fields. serde_json finds
/// the same, without a tree and with one.
fn json(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("json_scan");
    for (name, length) in LENGTHS {
        let frame = json_signal(length, "bob");
        let text = &frame[HEADER_BYTES..];
        let fields = |text| serde_json::from_slice::<Signal<'_>>(text).expect("a signal");
        let [target, data, sender] = scan(text).expect("a signal");
        assert_eq!(target.expect("it is there").of(text), br#""bob""#);
        assert_eq!(data.expect("it is there").of(text), fields(text).signal_data.get().as_bytes());
        assert!(fields(text).target_client_id == "bob" && sender.is_none());

        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(BenchmarkId::new("ours", name), |b| {
            b.iter(|| scan(black_box(text)).expect("a signal"));
        });
        group.bench_function(BenchmarkId::new("serde_json_fields", name), |b| {
            b.iter(|| {
                let signal = fields(black_box(text));
                signal.target_client_id.len() + signal.signal_data.get().len()
            });
        });
        group.bench_function(BenchmarkId::new("serde_json_value", name), |b| {
            b.iter(|| serde_json::from_slice::<serde_json::Value>(black_box(text)).expect("a signal"));
        });
    }
    group.finish();
}
