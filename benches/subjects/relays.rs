//! A message on its way from one client to another, by dialect, and what has to arrive.

#![allow(dead_code, reason = "every benchmark takes from here what it needs")]

use sigmux::base::{Entropy, Now};
use sigmux::dialect::{
    Body, Delivery, MessageRef, OwnedDelivery, Parts, Speaks, Text, TextDialect, broadcast,
};
use sigmux::wire::frame::HEADER_BYTES;

use crate::engine::{CALL, Client, Engine, FRONT};
use crate::messages::{
    BINARY, BINARY_PAYLOAD, JSON_PAYLOAD, Length, OFFER_SDP, TEXT, binary_signal, call_signal, device_signal,
    frame, json_signal, masked, room_signal, stamped, station_signal, unmasked,
};

/// What the two ends speak.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    BinaryJson,
    BinaryBinary,
    Rooms,
    Devices,
    /// The sender's half is HTTP: from the body of its request on.
    Calls,
    /// The sender's half is Socket.IO: from the argument of its event on.
    BroadcastToBinary,
}

/// Those within one dialect.
pub const WAYS: [(&str, Way); 5] = [
    ("binary_json", Way::BinaryJson),
    ("binary_binary", Way::BinaryBinary),
    ("rooms", Way::Rooms),
    ("devices", Way::Devices),
    ("calls", Way::Calls),
];

pub struct Relay {
    engine: Engine,
    way: Way,
    from: Option<Client>,
    to: Client,
    sent: Vec<u8>,
    expected: Vec<u8>,
}

impl Relay {
    /// From alice on the first of so many shards to bob on the last; so many messages at once.
    pub fn new(way: Way, length: Length, messages: usize, shards: usize) -> Relay {
        let mut engine = Engine::new(shards);
        let (from, to) = match way {
            Way::BinaryJson => (Some(engine.log_in_json(0, "alice")), engine.log_in_json(shards - 1, "bob")),
            Way::BinaryBinary => {
                (Some(engine.log_in_binary(0, "alice")), engine.log_in_binary(shards - 1, "bob"))
            }
            Way::Rooms => (Some(engine.log_in_room(0, "alice")), engine.log_in_room(shards - 1, "bob")),
            Way::Devices => (Some(engine.log_in_device(0, "alice")), engine.log_in_device(shards - 1, "bob")),
            Way::Calls => {
                engine.take_seat("alice");
                (None, engine.log_in_call(shards - 1, "bob"))
            }
            Way::BroadcastToBinary => (None, engine.log_in_json(shards - 1, "bob")),
        };
        let (sent, expected) = message(way, length);
        let mut relay =
            Relay { engine, way, from, to, sent: sent.repeat(messages), expected: expected.repeat(messages) };
        relay.carry();
        relay.engine.heard(to, |heard| {
            let is_right = heard == relay.expected;
            assert!(is_right, "arrived: {}", String::from_utf8_lossy(heard));
        });
        relay
    }

    /// Carries what is sent once. The first time has shown that what arrives is right; from then on its
    /// length is looked at.
    pub fn pass(&mut self) {
        self.carry();
        let heard_bytes = self.engine.heard(self.to, <[u8]>::len);
        assert_eq!(heard_bytes, self.expected.len());
    }

    /// Whether the last message arrived as the first did, and the sender was told nothing.
    pub fn check(&mut self) {
        self.carry();
        let expected = &self.expected;
        self.engine.heard(self.to, |heard| assert!(heard == expected));
        if let Some(from) = self.from {
            self.engine.heard(from, |heard| assert!(heard.is_empty()));
        }
    }

    fn carry(&mut self) {
        match (self.from, self.way) {
            (Some(from), _) => self.engine.say(from, &self.sent),
            (None, Way::BroadcastToBinary) => {
                let to = self.engine.key(self.to);
                self.engine.post(to, station_delivery(&self.sent));
            }
            (None, _) => self.engine.call_signal(&self.sent),
        }
    }
}

/// What the front makes of a signal of a Socket.IO client for a peer of another dialect.
pub fn station_delivery(argument: &[u8]) -> OwnedDelivery {
    let argument = std::str::from_utf8(argument).expect("a text");
    let signal = broadcast::read(argument, STATION).expect("a signal");
    let target = signal.target.expect("a target");
    let reference = MessageRef::Text { label: signal.label, target };
    let parts = Parts::One(signal.text.as_bytes());
    let text = Text { dialect: TextDialect::Broadcast, reference: &reference, label: signal.label, parts };
    Delivery { from: FRONT, body: Body::Text(text) }.to_owned()
}

/// The text that a Socket.IO client is given of another's signal.
pub fn station_text(argument: &[u8], out: &mut Vec<u8>) {
    let owned = station_delivery(argument);
    let delivery = owned.borrow();
    let plan = delivery.plan(Speaks::Broadcast, Now::default(), &mut NotRandom).expect("the same dialect");
    out.clear();
    delivery.write(&plan, out);
}

/// What [`station_text`] has to be.
pub fn expected_station_text(argument: &[u8]) -> Vec<u8> {
    let whole = argument.strip_suffix(b"}").expect("a JSON object");
    [whole, format!(r#","from":"{STATION}"}}"#).as_bytes()].concat()
}

/// The id of a Socket.IO client.
const STATION: &str = "AAAAAAAAAAAAAAAC";

/// What is sent, as bytes of its connection where it has one, and what has to arrive on the target's.
fn message(way: Way, length: Length) -> (Vec<u8>, Vec<u8>) {
    match way {
        Way::BinaryJson => {
            let signal = json_signal(length, "bob");
            (masked(BINARY, &signal), unmasked(BINARY, &stamped(&signal, "alice")))
        }
        Way::BinaryBinary => {
            let signal = binary_signal(length, "bob");
            let data = signal[HEADER_BYTES..].strip_prefix(b"\x03bob").expect("its target");
            let arrived = frame(length.message_type(), BINARY_PAYLOAD, &[b"\x05alice", data].concat());
            (masked(BINARY, &signal), unmasked(BINARY, &arrived))
        }
        Way::Rooms => {
            let text = room_signal(length, "alice", "bob");
            (masked(TEXT, &text), unmasked(TEXT, &text))
        }
        Way::Devices => {
            let text = device_signal(length, "bob");
            let arrived = String::from_utf8(text.clone()).expect("a text");
            let arrived = arrived.replace(r#""target":"bob""#, r#""from":"alice""#);
            let arrived = arrived.strip_suffix('}').expect("a JSON object");
            let arrived = format!(r#"{arrived},"timestamp":"2023-11-14T22:13:20.000Z"}}"#);
            (masked(TEXT, &text), unmasked(TEXT, arrived.as_bytes()))
        }
        Way::Calls => {
            let body = call_signal(length, CALL, "alice");
            let arrived =
                String::from_utf8(body.clone()).expect("a text").replace(r#""session":"alice","#, "");
            (body, unmasked(TEXT, arrived.as_bytes()))
        }
        Way::BroadcastToBinary => {
            let Length::Description = length else { panic!("a description crosses") };
            let sdp = serde_json::to_string(OFFER_SDP).expect("text is JSON");
            let arrived =
                format!(r#"{{"target_client_id":"bob","signal_data":{sdp},"sender_client_id":"{STATION}"}}"#);
            let mut arrived = frame(length.message_type(), JSON_PAYLOAD, arrived.as_bytes());
            arrived[2..18].copy_from_slice(&MADE_UUID);
            (station_signal(length, "bob"), unmasked(BINARY, &arrived))
        }
    }
}

/// Of version 4, with zeros for what is random.
const MADE_UUID: [u8; 16] = [0, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 0];

/// Nothing that is said here is random.
struct NotRandom;

impl Entropy for NotRandom {
    fn next_u128(&mut self) -> u128 {
        0
    }
}
