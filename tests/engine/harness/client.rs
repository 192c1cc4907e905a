//! A client of the binary dialect, over WebSocket by tokio-tungstenite or straight over TCP.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::form::{Form, Signal};
use super::frame::*;
use super::server::token_of;
use super::within;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    WebSocket,
    Tcp,
}

impl Via {
    pub const BOTH: [Via; 2] = [Via::WebSocket, Via::Tcp];
}

#[derive(Debug)]
pub enum Event {
    Frame(Frame),
    /// The end, with code and reason when a Close frame told them.
    Closed(Option<(u16, String)>),
}

pub struct Client {
    pub id: String,
    pub form: Form,
    /// Which shard serves this connection, as the 101 tells it. Unknown over TCP.
    pub shard: Option<String>,
    link: Link,
}

enum Link {
    WebSocket(Box<WebSocketStream<TcpStream>>),
    Tcp { stream: TcpStream, buffer: Vec<u8> },
}

impl Client {
    /// Opens a connection and says nothing on it yet.
    pub async fn open(addr: SocketAddr, via: Via) -> Client {
        let stream = within("TCP connects", TcpStream::connect(addr)).await.expect("the port is open");
        Client::over(stream, addr, via).await
    }

    /// Like [`Client::open`], with so little room in the kernel's buffers, on both ends, that a
    /// client which stops reading is felt after some ten kilobytes. The small segment size keeps
    /// the server's own send buffer small too.
    pub async fn open_narrow(addr: SocketAddr, via: Via) -> Client {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).expect("a socket");
        socket.set_tcp_mss(536).expect("a segment size");
        socket.set_recv_buffer_size(4096).expect("a buffer size");
        socket.set_nonblocking(true).expect("a mode");
        let socket = tokio::net::TcpSocket::from_std_stream(socket.into());
        let stream = within("TCP connects", socket.connect(addr)).await.expect("the port is open");
        Client::over(stream, addr, via).await
    }

    pub async fn over(stream: TcpStream, addr: SocketAddr, via: Via) -> Client {
        stream.set_nodelay(true).expect("a TCP socket");
        let mut client = Client {
            id: String::new(),
            form: Form::FlatJson,
            shard: None,
            link: Link::Tcp { stream, buffer: Vec::new() },
        };
        if via == Via::WebSocket {
            let Link::Tcp { stream, .. } = client.link else { unreachable!("made above") };
            let upgrade = tokio_tungstenite::client_async(format!("ws://{addr}/"), stream);
            let (socket, response) = within("the upgrade", upgrade).await.expect("the upgrade is granted");
            client.shard =
                response.headers().get("x-sigmux-shard").map(|it| it.to_str().expect("a number").to_owned());
            client.link = Link::WebSocket(Box::new(socket));
        }
        client
    }

    /// Opens a connection and logs in with the token that the default configuration has for `id`.
    pub async fn login(addr: SocketAddr, via: Via, form: Form, id: &str) -> Client {
        let mut client = Client::open(addr, via).await;
        client.connect(form, id).await;
        client
    }

    /// Sends CONNECT and checks the answer; gives the session id.
    pub async fn connect(&mut self, form: Form, id: &str) -> String {
        (self.form, self.id) = (form, id.to_owned());
        let connect = form.connect(id, &token_of(id));
        self.send(&connect).await;
        let ack = self.frame().await;
        let (_, session) = form.read_ack(&ack);
        assert_eq!(ack.uuid, connect.uuid, "the ACK carries the uuid of its CONNECT");
        session
    }

    pub async fn send(&mut self, frame: &Frame) {
        self.send_bytes(frame.encode()).await;
    }

    /// One WebSocket message, or so many bytes of the stream.
    pub async fn send_bytes(&mut self, bytes: Vec<u8>) {
        self.try_send_bytes(bytes).await.expect("the connection takes bytes");
    }

    pub async fn try_send_bytes(&mut self, bytes: Vec<u8>) -> Result<(), Error> {
        within("the connection takes bytes", async {
            match &mut self.link {
                Link::WebSocket(socket) => socket.send(Message::binary(bytes)).await,
                Link::Tcp { stream, .. } => Ok(stream.write_all(&bytes).await?),
            }
        })
        .await
    }

    pub async fn send_text(&mut self, text: &str) {
        let Link::WebSocket(socket) = &mut self.link else { panic!("TCP has no text messages") };
        within("the message goes out", socket.send(Message::text(text))).await.expect("the socket is open");
    }

    /// What comes next. Pings are answered on the way.
    pub async fn next(&mut self) -> Event {
        within("a frame or the end", self.next_unbounded()).await
    }

    pub async fn next_unbounded(&mut self) -> Event {
        match &mut self.link {
            Link::WebSocket(socket) => loop {
                match socket.next().await {
                    Some(Ok(Message::Binary(bytes))) => {
                        let (frame, length) = Frame::decode(&bytes).expect("a message holds a whole frame");
                        assert_eq!(length, bytes.len(), "exactly one frame per WebSocket message");
                        return Event::Frame(frame);
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Close(close))) => {
                        // The answer to the Close goes out while the end is awaited.
                        while let Some(Ok(_)) = socket.next().await {}
                        return Event::Closed(close.map(|it| (it.code.into(), it.reason.to_string())));
                    }
                    Some(Ok(other)) => panic!("the binary dialect does not send {other:?}"),
                    None | Some(Err(Error::ConnectionClosed | Error::Io(_) | Error::Protocol(_))) => {
                        return Event::Closed(None);
                    }
                    Some(Err(error)) => panic!("{error}"),
                }
            },
            Link::Tcp { stream, buffer } => loop {
                if let Some((frame, length)) = Frame::decode(buffer) {
                    buffer.drain(..length);
                    return Event::Frame(frame);
                }
                if let Ok(0) | Err(_) = stream.read_buf(buffer).await {
                    assert!(buffer.is_empty(), "the stream ends with a cut frame: {buffer:02x?}");
                    return Event::Closed(None);
                }
            },
        }
    }

    /// # Panics
    /// When the connection ends instead.
    pub async fn frame(&mut self) -> Frame {
        match self.next().await {
            Event::Frame(frame) => frame,
            Event::Closed(why) => panic!("{} is closed: {why:?}", self.id),
        }
    }

    /// # Panics
    /// When a frame comes instead of the end.
    pub async fn closed(&mut self) -> Option<(u16, String)> {
        match self.next().await {
            Event::Closed(why) => why,
            Event::Frame(frame) => panic!("{} got {frame:?}, not the end", self.id),
        }
    }

    /// The next frame is an ERROR with this documented code; gives the frame and its message.
    pub async fn error(&mut self, documented: u64) -> (Frame, String) {
        let frame = self.frame().await;
        let (code, message) = self.form.read_error(&frame);
        assert_eq!(code, self.form.code(documented), "{message}");
        (frame, message)
    }

    /// Sends `frame` and gets an ERROR with this documented code that carries the frame's uuid.
    pub async fn refused(&mut self, frame: &Frame, documented: u64) {
        self.send(frame).await;
        let (error, message) = self.error(documented).await;
        assert_eq!(error.uuid, frame.uuid, "an ERROR carries the uuid of what it answers: {message}");
    }

    /// Sends a signal and gives the frame.
    pub async fn signal(&mut self, kind: u8, target: &str, data: &str) -> Frame {
        let frame = self.form.signal(kind, target, data);
        self.send(&frame).await;
        frame
    }

    /// The next frame is this signal, delivered; gives what it says.
    pub async fn delivered(&mut self, sent: &Frame) -> Signal {
        let frame = self.frame().await;
        assert_eq!((frame.kind, frame.uuid), (sent.kind, sent.uuid), "{frame:?}");
        self.form.read_signal(&frame)
    }

    /// A heartbeat is answered next: the connection lives, and nothing else has come before.
    pub async fn is_quiet_and_alive(&mut self) {
        let heartbeat = self.form.heartbeat(1);
        self.send(&heartbeat).await;
        let ack = self.frame().await;
        assert_eq!((ack.kind, ack.uuid), (HEARTBEAT_ACK, heartbeat.uuid), "{ack:?}");
        self.form.read_time(&ack);
    }

    /// Says DISCONNECT and reads until the end.
    pub async fn leave(mut self) {
        let frame = self.form.disconnect(&self.id, "done");
        self.send(&frame).await;
        while let Event::Frame(_) = self.next().await {}
    }

    /// The WebSocket under a client whose halves are to be used at the same time.
    pub fn into_websocket(self) -> WebSocketStream<TcpStream> {
        match self.link {
            Link::WebSocket(socket) => *socket,
            Link::Tcp { .. } => panic!("a WebSocket client was asked for"),
        }
    }
}
