//! A client that speaks Engine.IO by hand.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::Server;

/// No answer takes this long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes that fit into a connection; larger than what a polite test has on its way.
const CONNECTION_BYTES: usize = 4 << 20;

const RECORD_SEPARATOR: char = '\x1e';

pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Reply {
    fn parse(received: Vec<u8>) -> Reply {
        let text = String::from_utf8(received).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Reply { status, head: head.to_owned(), body: body.to_owned() }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl Server {
    /// One request on a connection of its own.
    pub(super) async fn ask(&self, method: &str, target: &str, headers: &str, body: &str) -> Reply {
        let mut connection = self.connect(CONNECTION_BYTES);
        let length = body.len();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
        );
        connection.write_all(head.as_bytes()).await.expect("room for a request");
        connection.write_all(body.as_bytes()).await.expect("room for a request");
        let mut received = Vec::new();
        let answered = connection.read_to_end(&mut received);
        tokio::time::timeout(PATIENCE, answered).await.expect("an answer").expect("an answer");
        Reply::parse(received)
    }
}

/// One session. Answers pings by itself.
pub(super) struct Client<'a> {
    server: &'a Server,
    /// What its requests belong to; nobody else's business.
    pub(super) session: String,
    /// What others know it by. Empty until it has joined.
    pub(super) sid: String,
    transport: Transport,
    unread: VecDeque<String>,
}

enum Transport {
    Polling,
    WebSocket(Box<WebSocketStream<DuplexStream>>),
}

impl<'a> Client<'a> {
    /// A polling session that has not joined.
    pub(super) async fn open(server: &'a Server, query: &str) -> Client<'a> {
        let target = format!("/socket.io/?EIO=4&transport=polling{query}");
        let reply = server.ask("GET", &target, "", "").await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        let length = reply.header("content-length").and_then(|length| length.parse().ok());
        assert_eq!(length, Some(reply.body.len()));
        let session = sid_of(&reply.body);
        let (sid, unread) = (String::new(), VecDeque::new());
        Client { server, session, sid, transport: Transport::Polling, unread }
    }

    /// A polling session that has joined.
    pub(super) async fn polling(server: &'a Server, query: &str) -> Client<'a> {
        let mut client = Client::open(server, query).await;
        client.join("").await;
        client
    }

    /// A session that has joined over a WebSocket that holds so many bytes.
    pub(super) async fn websocket(server: &'a Server, query: &str, bytes: usize) -> Client<'a> {
        let mut client = Client::open_websocket(server, query, bytes).await;
        client.join("").await;
        client
    }

    /// A session over such a WebSocket that has not joined.
    pub(super) async fn open_websocket(server: &'a Server, query: &str, bytes: usize) -> Client<'a> {
        let mut socket = open_websocket(server, query, bytes).await;
        let opening = socket.next().await.expect("an opening packet").expect("an opening packet");
        let session = sid_of(opening.to_text().expect("text"));
        let transport = Transport::WebSocket(Box::new(socket));
        Client { server, session, sid: String::new(), transport, unread: VecDeque::new() }
    }

    pub(super) async fn join(&mut self, auth: &str) {
        self.send(&format!("40{auth}")).await;
        let joined = self.packet("40").await;
        self.sid = sid_of(&format!("0{joined}"));
    }

    /// Goes on over a WebSocket.
    pub(super) async fn upgrade(&mut self) {
        let query = format!("&sid={}", self.session);
        let mut socket = open_websocket(self.server, &query, CONNECTION_BYTES).await;
        socket.send(Message::text("2probe")).await.expect("a WebSocket");
        let answer = socket.next().await.expect("an answer").expect("an answer");
        assert_eq!(answer, Message::text("3probe"));
        socket.send(Message::text("5")).await.expect("a WebSocket");
        self.transport = Transport::WebSocket(Box::new(socket));
    }

    /// Sends Engine.IO packets.
    pub(super) async fn send(&mut self, packets: &str) {
        match &mut self.transport {
            Transport::Polling => {
                let reply = self.post(packets).await;
                assert_eq!((reply.status, &*reply.body), (200, "ok"));
            }
            Transport::WebSocket(socket) => {
                for packet in packets.split(RECORD_SEPARATOR) {
                    socket.send(Message::text(packet)).await.expect("a WebSocket");
                }
            }
        }
    }

    pub(super) async fn send_binary(&mut self, bytes: &'static [u8]) {
        let Transport::WebSocket(socket) = &mut self.transport else { panic!("not a WebSocket") };
        socket.send(Message::binary(bytes)).await.expect("a WebSocket");
    }

    pub(super) async fn post(&self, body: &str) -> Reply {
        self.server.ask("POST", &self.target(), "", body).await
    }

    pub(super) async fn poll(&self) -> Reply {
        self.server.ask("GET", &self.target(), "", "").await
    }

    pub(super) fn target(&self) -> String {
        polling_target(&self.session)
    }

    pub(super) async fn emit(&mut self, event: &str, json: &str) {
        self.send(&format!("42[\"{event}\",{json}]")).await;
    }

    pub(super) async fn signal(&mut self, json: &str) {
        self.emit("signal", json).await;
    }

    /// The next packet, which has to begin like this; the rest of it.
    pub(super) async fn packet(&mut self, prefix: &str) -> String {
        let packet = self.next().await.unwrap_or_else(|| panic!("the session is over, not {prefix}"));
        match packet.strip_prefix(prefix) {
            Some(rest) => rest.to_owned(),
            None => panic!("{packet} is not {prefix}"),
        }
    }

    /// What the next event, which has to be this one, carries.
    pub(super) async fn expect(&mut self, event: &str) -> String {
        let rest = self.packet(&format!("42[\"{event}\",")).await;
        rest.strip_suffix(']').expect("an array").to_owned()
    }

    /// Of a WebSocket whose packets do not matter any more.
    pub(super) async fn read_to_the_end(&mut self) {
        let Transport::WebSocket(socket) = &mut self.transport else { panic!("not a WebSocket") };
        let all = async { while let Some(Ok(_)) = socket.next().await {} };
        tokio::time::timeout(PATIENCE, all).await.expect("an end");
    }

    /// The connection of a WebSocket, for a client that does as it likes.
    pub(super) fn into_connection(self) -> DuplexStream {
        let Transport::WebSocket(socket) = self.transport else { panic!("not a WebSocket") };
        socket.into_inner()
    }

    /// The next packet that is no ping. None when the session is over.
    pub(super) async fn next(&mut self) -> Option<String> {
        loop {
            while let Some(packet) = self.unread.pop_front() {
                match &*packet {
                    "2" => self.send("3").await,
                    "6" | "" => {}
                    _ => return Some(packet),
                }
            }
            match &mut self.transport {
                Transport::Polling => {
                    let reply = self.poll().await;
                    if reply.status != 200 {
                        return None;
                    }
                    self.unread.extend(reply.body.split(RECORD_SEPARATOR).map(str::to_owned));
                }
                Transport::WebSocket(socket) => {
                    match tokio::time::timeout(PATIENCE, socket.next()).await.expect("a message") {
                        Some(Ok(Message::Text(text))) => self.unread.push_back(text.to_string()),
                        Some(Ok(Message::Binary(bytes))) => {
                            self.unread.push_back(format!("binary {bytes:?}"));
                        }
                        Some(Ok(_)) => {}
                        None | Some(Err(_)) => return None,
                    }
                }
            }
        }
    }
}

/// The response to a handshake, without its body, and the connection.
pub(super) async fn handshake(server: &Server, query: &str, bytes: usize) -> (Reply, DuplexStream) {
    let mut connection = server.connect(bytes);
    let head = format!(
        "GET /socket.io/?EIO=4&transport=websocket{query} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    connection.write_all(head.as_bytes()).await.expect("room for a request");
    let mut received = Vec::new();
    // Byte by byte: what follows is not HTTP.
    while !received.ends_with(b"\r\n\r\n") {
        received.push(connection.read_u8().await.expect("a response"));
    }
    (Reply::parse(received), connection)
}

pub(super) async fn open_websocket(
    server: &Server,
    query: &str,
    bytes: usize,
) -> WebSocketStream<DuplexStream> {
    let (reply, connection) = handshake(server, query, bytes).await;
    assert_eq!(reply.status, 101);
    assert_eq!(reply.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    let role = tokio_tungstenite::tungstenite::protocol::Role::Client;
    WebSocketStream::from_raw_socket(connection, role, None).await
}

pub(super) fn polling_target(session: &str) -> String {
    format!("/socket.io/?EIO=4&transport=polling&sid={session}")
}

fn sid_of(opening: &str) -> String {
    let opening: serde_json::Value =
        serde_json::from_str(opening.strip_prefix('0').expect("an opening packet")).expect("JSON");
    opening["sid"].as_str().expect("a session id").to_owned()
}
