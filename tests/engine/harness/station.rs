//! Socket.IO 5 over Engine.IO 4, spoken by hand: what goes over the wire stands here in full.
//!
//! ```text
//! GET  /socket.io/?EIO=4&transport=polling            0{"sid":…,"upgrades":["websocket"],…}
//! POST /socket.io/?EIO=4&transport=polling&sid=…      40          ok
//! GET                                                 40{"sid":…}
//! POST                                                42["signal",{…}]
//! GET                                                 2           (answered with 3)
//! several packets of one body are separated by 0x1e; a WebSocket message holds one
//! ```

use std::collections::VecDeque;
use std::net::SocketAddr;

use serde_json::{Value, json};

use super::http::Http;
use super::text::{Said, TextClient};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Polling,
    WebSocket,
}

impl Transport {
    pub const BOTH: [Transport; 2] = [Transport::Polling, Transport::WebSocket];
}

pub struct Station {
    /// The socket id, by which others reach it.
    pub id: String,
    link: Link,
    packets: VecDeque<String>,
}

enum Link {
    /// A request that waits for packets may not hold up one that brings some.
    Polling {
        getting: Http,
        posting: Http,
        path: String,
    },
    WebSocket(Box<TextClient>),
}

impl Station {
    pub async fn connect(addr: SocketAddr, transport: Transport) -> Station {
        Station::connect_with(addr, transport, "").await
    }

    /// `query` goes behind the query of the handshake: `&room=one`.
    pub async fn connect_with(addr: SocketAddr, transport: Transport, query: &str) -> Station {
        let mut station = match transport {
            Transport::WebSocket => {
                let path = format!("/socket.io/?EIO=4&transport=websocket{query}");
                let socket = TextClient::open_at(addr, &path).await;
                Station {
                    id: String::new(),
                    link: Link::WebSocket(Box::new(socket)),
                    packets: VecDeque::new(),
                }
            }
            Transport::Polling => {
                let path = format!("/socket.io/?EIO=4&transport=polling{query}");
                let link =
                    Link::Polling { getting: Http::open(addr).await, posting: Http::open(addr).await, path };
                Station { id: String::new(), link, packets: VecDeque::new() }
            }
        };
        let open = station.packet().await;
        let open = open.strip_prefix('0').unwrap_or_else(|| panic!("no open packet: {open}"));
        let open: Value = serde_json::from_str(open).expect("JSON");
        if let Link::Polling { path, .. } = &mut station.link {
            *path += &format!("&sid={}", open["sid"].as_str().expect("a sid"));
        }
        station.send_packet("40").await;
        let connected = station.packet().await;
        let connected = connected.strip_prefix("40").unwrap_or_else(|| panic!("no CONNECT: {connected}"));
        let connected: Value = serde_json::from_str(connected).expect("JSON");
        station.id = connected["sid"].as_str().expect("a socket id").to_owned();
        station
    }

    async fn send_packet(&mut self, packet: &str) {
        match &mut self.link {
            Link::WebSocket(socket) => socket.send_text(packet).await,
            Link::Polling { posting, path, .. } => {
                let request = format!(
                    "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain;charset=UTF-8\r\n\
                     Content-Length: {}\r\n\r\n{packet}",
                    packet.len()
                );
                posting.send(request.as_bytes()).await;
                let response = posting.response(false).await.expect("an answer");
                assert_eq!((response.status, response.text()), (200, "ok"));
            }
        }
    }

    /// The next packet that is neither a ping, which is answered, nor a noop.
    async fn packet(&mut self) -> String {
        loop {
            let Some(packet) = self.packets.pop_front() else {
                match &mut self.link {
                    Link::WebSocket(socket) => match socket.next().await {
                        Said::Text(text) => self.packets.push_back(text),
                        other => panic!("Socket.IO sends texts here, not {other:?}"),
                    },
                    Link::Polling { getting, path, .. } => {
                        let response = getting.get(path).await;
                        assert_eq!(response.status, 200, "{}", response.text());
                        self.packets.extend(response.text().split('\x1e').map(String::from));
                    }
                }
                continue;
            };
            match packet.as_str() {
                "2" => self.send_packet("3").await,
                "6" => {}
                _ => return packet,
            }
        }
    }

    pub async fn emit(&mut self, event: &str, json: &str) {
        self.send_packet(&format!("42[{},{json}]", json!(event))).await;
    }

    /// Emits an event and asks for the acknowledgement of this number.
    pub async fn emit_asking(&mut self, event: &str, json: &str, number: u32) {
        self.send_packet(&format!("42{number}[{},{json}]", json!(event))).await;
    }

    /// The acknowledgement of this number comes next, without a value.
    pub async fn is_acknowledged(&mut self, number: u32) {
        assert_eq!(self.packet().await, format!("43{number}[]"));
    }

    /// Emits a `signal` of this type.
    pub async fn signal(&mut self, kind: &str, to: Option<&str>, data: &Value) {
        let mut message = json!({"type": kind, "data": data});
        if let Some(to) = to {
            message["to"] = json!(to);
        }
        self.emit("signal", &message.to_string()).await;
    }

    /// Name and argument of the next event.
    pub async fn event(&mut self) -> (String, Value) {
        let packet = self.packet().await;
        let event = packet.strip_prefix("42").unwrap_or_else(|| panic!("no event: {packet}"));
        let event: Value = serde_json::from_str(event).unwrap_or_else(|error| panic!("{error} in {packet}"));
        let name = event[0].as_str().expect("an event has a name").to_owned();
        assert_eq!(event.as_array().map(Vec::len), Some(2), "{event}");
        (name, event[1].clone())
    }

    /// The next event beside those that tell who comes and goes, which must have this name.
    pub async fn hears(&mut self, name: &str) -> Value {
        loop {
            let (found, argument) = self.event().await;
            if found == "peer_joined" || found == "peer_left" {
                continue;
            }
            assert_eq!(found, name, "{argument}");
            return argument;
        }
    }

    /// The refusal of something malformed comes next: the connection lives, and nothing else has
    /// come before.
    pub async fn is_quiet_and_alive(&mut self) {
        self.emit("signal", "5").await;
        assert_eq!(self.hears("error").await["message"], "Invalid message format");
    }

    /// Those who come and go passed over, the next packet says that the server has ended this.
    pub async fn is_disconnected(&mut self) {
        loop {
            let packet = self.packet().await;
            if packet == "41" {
                return;
            }
            assert!(packet.contains("\"peer_"), "{packet}");
        }
    }

    /// Says DISCONNECT.
    pub async fn leave(mut self) {
        self.send_packet("41").await;
    }
}
