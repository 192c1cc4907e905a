//! Clients that are connected to a simulated engine.

use crate::sim::frames::{take_server_frame, write_client_frame};
use crate::sim::{self, ClientId, Sim, Size};
use crate::wire::cbor::{write_map_head, write_text};
use crate::wire::frame::write_frame;

pub const CONNECT: u8 = 0x01;
pub const CONNECT_ACK: u8 = 0x02;
pub const DISCONNECT: u8 = 0x03;
pub const HEARTBEAT: u8 = 0x04;
pub const HEARTBEAT_ACK: u8 = 0x05;
pub const ERROR: u8 = 0xFF;

const SHARDS: usize = 2;

/// Payload type, and whether fields are wrapped in a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    pub payload_type: u8,
    pub tagged: bool,
}

pub const FORMS: [Form; 6] = [
    Form { payload_type: 2, tagged: false },
    Form { payload_type: 2, tagged: true },
    Form { payload_type: 5, tagged: false },
    Form { payload_type: 5, tagged: true },
    Form { payload_type: 3, tagged: false },
    Form { payload_type: 1, tagged: false },
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Stream,
    WebSocket,
}

pub struct Peer {
    client: ClientId,
    transport: Transport,
    /// Empty for one that has not logged in.
    pub id: &'static str,
    pub form: Form,
    close_seen: bool,
}

/// One frame from the server.
#[derive(Debug)]
pub struct Arrived {
    pub message_type: u8,
    pub uuid: [u8; 16],
    pub payload_type: u8,
    pub payload: Vec<u8>,
}

impl Arrived {
    pub fn is_signal(&self) -> bool {
        matches!(self.message_type, 0x10..=0x12)
    }
}

pub struct World {
    sim: Sim,
    connected_ids: Vec<String>,
}

impl World {
    pub fn new() -> World {
        let size = Size { shards: SHARDS, inbox_messages_max: 64, events_max: 4096, seed: 1 };
        World { sim: Sim::new(&size, sim::settings(), &sim::limits()), connected_ids: Vec::new() }
    }

    pub fn open(&mut self, shard: usize, transport: Transport) -> Peer {
        let client = self.sim.connect(shard);
        if transport == Transport::WebSocket {
            self.sim.write(
                client,
                b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                  Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            );
            self.sim.settle();
            let head = self.sim.read(client);
            assert!(head.starts_with(b"HTTP/1.1 101 ") && head.ends_with(b"\r\n\r\n"));
        }
        Peer { client, transport, id: "", form: FORMS[0], close_seen: false }
    }

    pub fn log_in(&mut self, shard: usize, transport: Transport, id: &'static str, form: Form) -> Peer {
        let mut peer = Peer { id, form, ..self.open(shard, transport) };
        self.say(&peer, CONNECT, &connect_payload(form, id));
        let answers = self.read(&mut peer);
        let [ack] = &answers[..] else { panic!("one answer to a CONNECT: {answers:?}") };
        assert_eq!((ack.message_type, ack.payload_type), (CONNECT_ACK, form.payload_type));
        peer
    }

    pub fn write(&mut self, peer: &Peer, bytes: &[u8]) {
        self.sim.write(peer.client, bytes);
        self.sim.settle();
    }

    pub fn settle(&mut self) {
        self.sim.settle();
    }

    /// What has arrived, one frame in each WebSocket message.
    pub fn read(&mut self, peer: &mut Peer) -> Vec<Arrived> {
        let bytes = self.sim.read(peer.client);
        let mut rest = &bytes[..];
        let mut arrived = Vec::new();
        while !rest.is_empty() {
            assert!(!peer.close_seen, "nothing comes behind a Close");
            let message = match peer.transport {
                Transport::Stream => rest,
                Transport::WebSocket => match take_server_frame(&mut rest) {
                    (0x82, payload) => payload,
                    (0x88, _) => {
                        peer.close_seen = true;
                        continue;
                    }
                    (first_byte, _) => panic!("the server sends {first_byte:#x} unasked"),
                },
            };
            let frame_bytes = 21 + usize::from(message[19]) * 256 + usize::from(message[20]);
            arrived.push(Arrived {
                message_type: message[1],
                uuid: message[2..18].try_into().expect("16 bytes"),
                payload_type: message[18],
                payload: message[21..frame_bytes].to_vec(),
            });
            assert_eq!(message[0], 0xAA);
            match peer.transport {
                Transport::Stream => rest = &rest[frame_bytes..],
                Transport::WebSocket => assert_eq!(message.len(), frame_bytes, "one frame a message"),
            }
        }
        arrived
    }

    /// Whether the server has ended the connection, as far as its client can tell.
    pub fn is_closed(&mut self, peer: &Peer) -> bool {
        peer.close_seen || self.sim.is_closed(peer.client)
    }

    pub fn check_is_served(&mut self, peer: &mut Peer) {
        let payload: &[u8] = match peer.form {
            Form { payload_type: 2, tagged: false } => br#"{"timestamp":1}"#,
            Form { payload_type: 2, .. } => br#"{"Heartbeat":{"timestamp":1}}"#,
            Form { payload_type: 5, tagged: false } => b"\xa1\x69timestamp\x01",
            Form { payload_type: 5, .. } => b"\xa1\x69Heartbeat\xa1\x69timestamp\x01",
            _ => b"12345678",
        };
        self.say(peer, HEARTBEAT, payload);
        let answers = self.read(peer);
        let [ack] = &answers[..] else { panic!("one answer to a HEARTBEAT: {answers:?}") };
        assert_eq!((ack.message_type, ack.payload_type), (HEARTBEAT_ACK, peer.form.payload_type));
    }

    /// A shard catches what a session breaks, and counts it.
    pub fn check_nothing_broke(&self) {
        for shard in 0..SHARDS {
            assert_eq!(self.sim.metrics(shard).panics.get(), 0, "a session panicked");
        }
    }

    /// The ids of all that have logged in, in their order.
    pub fn connected_ids(&mut self) -> Vec<String> {
        while let Some(event) = self.sim.events.take() {
            if event.event_type == "client_connected" {
                self.connected_ids.push(event.client_id);
            }
        }
        self.connected_ids.clone()
    }

    fn say(&mut self, peer: &Peer, message_type: u8, payload: &[u8]) {
        let mut frame = Vec::new();
        let uuid = [message_type; 16];
        write_frame(&mut frame, message_type, &uuid, peer.form.payload_type, |out| {
            out.extend_from_slice(payload);
        })
        .expect("short payloads");
        match peer.transport {
            Transport::Stream => self.write(peer, &frame),
            Transport::WebSocket => {
                let mut message = Vec::new();
                write_client_frame(&mut message, 0x82, &frame, message_type);
                self.write(peer, &message);
            }
        }
    }
}

fn connect_payload(form: Form, id: &str) -> Vec<u8> {
    match form.payload_type {
        1 => [&[id.len() as u8], id.as_bytes(), &[1, b't']].concat(),
        3 => format!("{id}:t").into_bytes(),
        2 => {
            let fields = format!(r#"{{"client_id":"{id}","auth_token":"t"}}"#);
            if form.tagged { format!(r#"{{"Connect":{fields}}}"#).into_bytes() } else { fields.into_bytes() }
        }
        _ => {
            let mut out = Vec::new();
            if form.tagged {
                write_map_head(&mut out, 1);
                write_text(&mut out, "Connect");
            }
            write_map_head(&mut out, 2);
            for word in ["client_id", id, "auth_token", "t"] {
                write_text(&mut out, word);
            }
            out
        }
    }
}
