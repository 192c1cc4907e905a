//! What is counted. Each path prepares itself, runs so many times, and checks what came of it.

use std::hint::black_box;

use sigmux::wire::frame::{HEADER_BYTES, complete, write_frame};
use sigmux::wire::websocket::unmask;

use crate::engine::Engine;
use crate::messages::{BINARY, HEARTBEAT, JSON_PAYLOAD, KEY, Length, frame, json_signal, masked};
use crate::peers::{Decodes, FastWebsockets, Ours, Signal, Tungstenite, scan};
use crate::relays::{Relay, Way};

type Path = fn(u64);

const SHORT: Length = Length::Bytes(256);
const LONG: Length = Length::Description;

pub const PATHS: &[(&str, Path)] = &[
    ("frame: parse and encode, 256 bytes", |times| parse_and_encode(SHORT, times)),
    ("frame: parse and encode, 4 KiB", |times| parse_and_encode(LONG, times)),
    ("unmask, 256 bytes", |times| unmasked(|bytes| unmask(bytes, KEY, 0), times)),
    ("unmask, 256 bytes: fastwebsockets", |times| {
        unmasked(|bytes| fastwebsockets::unmask(bytes, KEY), times);
    }),
    ("decode, 256 bytes", |times| decoded(SHORT, Ours::new, times)),
    ("decode, 256 bytes: tungstenite", |times| {
        decoded(SHORT, |received| Tungstenite::new(received, 1), times);
    }),
    ("decode, 256 bytes: fastwebsockets", |times| {
        decoded(SHORT, |received| FastWebsockets::new(received, 1), times);
    }),
    ("decode, 4 KiB", |times| decoded(LONG, Ours::new, times)),
    ("decode, 4 KiB: tungstenite", |times| decoded(LONG, |received| Tungstenite::new(received, 1), times)),
    ("decode, 4 KiB: fastwebsockets", |times| {
        decoded(LONG, |received| FastWebsockets::new(received, 1), times);
    }),
    ("JSON scan, 256 bytes", |times| {
        scanned(|text| scan(text).is_some_and(|fields| fields[0].is_some()), times);
    }),
    ("JSON scan, 256 bytes: serde_json, fields", |times| {
        scanned(|text| serde_json::from_slice::<Signal<'_>>(text).is_ok(), times);
    }),
    ("JSON scan, 256 bytes: serde_json, tree", |times| {
        scanned(|text| serde_json::from_slice::<serde_json::Value>(text).is_ok(), times);
    }),
    ("turn in which nothing happens", |times| {
        let mut engine = Engine::new(1);
        (0..times).for_each(|_| engine.idle_turn());
    }),
    ("session turn: heartbeat, flat JSON", heartbeat),
    ("relay: flat JSON, 256 bytes", |times| relayed(Way::BinaryJson, SHORT, 1, times)),
    ("relay: flat JSON, 64 of 256 bytes at once", |times| relayed(Way::BinaryJson, SHORT, 64, times)),
    ("relay: flat JSON, 4 KiB", |times| relayed(Way::BinaryJson, LONG, 1, times)),
    ("relay: binary payload, 256 bytes", |times| relayed(Way::BinaryBinary, SHORT, 1, times)),
    ("relay: devices, 256 bytes", |times| relayed(Way::Devices, SHORT, 1, times)),
    ("relay: rooms, 256 bytes", |times| relayed(Way::Rooms, SHORT, 1, times)),
    ("relay: calls, 256 bytes", |times| relayed(Way::Calls, SHORT, 1, times)),
];

fn parse_and_encode(length: Length, times: u64) {
    let bytes = json_signal(length, "bob");
    let mut out = Vec::with_capacity(bytes.len());
    for _ in 0..times {
        let parsed = complete(black_box(&bytes)).unwrap_or_else(|_| panic!("a frame"));
        out.clear();
        let write = |out: &mut Vec<u8>| out.extend_from_slice(parsed.payload);
        write_frame(&mut out, parsed.message_type, parsed.uuid, parsed.payload_type, write).expect("it fits");
        black_box(&out);
    }
    assert!(out == bytes);
}

/// Twice is as often as not at all.
fn unmasked(unmask: impl Fn(&mut [u8]), times: u64) {
    assert_eq!(times % 2, 0);
    let mut bytes = vec![0x55; 256];
    (0..times).for_each(|_| unmask(black_box(&mut bytes)));
    assert!(bytes.iter().all(|byte| *byte == 0x55));
}

fn decoded<D: Decodes>(length: Length, decoder: impl FnOnce(&[u8]) -> D, times: u64) {
    let message = json_signal(length, "bob");
    let mut decoder = decoder(&masked(BINARY, &message));
    let mut seen = 0;
    for _ in 0..times {
        decoder.decode(|decoded| seen += u64::from(black_box(decoded).len() == message.len()));
    }
    decoder.decode(|decoded| assert!(decoded == message));
    assert_eq!(seen, times);
}

fn scanned(finds: impl Fn(&[u8]) -> bool, times: u64) {
    let frame = json_signal(SHORT, "bob");
    for _ in 0..times {
        assert!(finds(black_box(&frame[HEADER_BYTES..])));
    }
}

fn heartbeat(times: u64) {
    let mut engine = Engine::new(1);
    let client = engine.log_in_json(0, "alice");
    let heartbeat = masked(BINARY, &frame(HEARTBEAT, JSON_PAYLOAD, br#"{"timestamp":1}"#));
    for _ in 0..times {
        engine.say(client, &heartbeat);
        engine.heard(client, |heard| assert!(heard.ends_with(br#"{"timestamp":1700000000}"#)));
    }
}

fn relayed(way: Way, length: Length, messages: usize, times: u64) {
    let mut relay = Relay::new(way, length, messages, 1);
    (0..times).for_each(|_| relay.pass());
    relay.check();
}
