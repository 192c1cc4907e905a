//! A relay on fastwebsockets: a reading and a writing task a connection on a runtime of one thread;
//! what waits for a connection goes out through a buffer with one flush.

use std::future::{Ready, ready};
use std::io::{Write, stdout};

use fastwebsockets::{FragmentCollectorRead, Frame, OpCode, Payload, Role, WebSocket, WebSocketWrite};
use sigmux::ring;
use sigmux_compare::job::{Client, Outbox, Outgoing};
use sigmux_compare::{BACKLOG, address};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::error::SendError;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Messages that one flush takes along.
const GATHERED_MAX: usize = 256;
const HEAD_BYTES_MAX: usize = 8 * 1024;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    ring::raise_open_files();
    let mut listeners = ring::bind(address(), 1, BACKLOG).unwrap_or_else(|error| panic!("{error}"));
    let listener = std::net::TcpListener::from(listeners.sockets.pop().expect("one was asked for"));
    listener.set_nonblocking(true).expect("a socket can be non-blocking");
    let listener = TcpListener::from_std(listener).expect("a listener");
    // The script waits for this line.
    println!("listening");
    stdout().flush().expect("whoever started this reads it");
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    }
}

/// `None`: it ended otherwise than by a close.
async fn serve(mut stream: TcpStream) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    shake_hands(&mut stream).await?;
    let websocket = WebSocket::after_handshake(stream, Role::Server);
    let (reading, writing) = websocket.split(|stream| {
        let (read, write) = stream.into_split();
        (read, BufWriter::new(write))
    });
    let (outbox, inbox) = unbounded_channel();
    tokio::spawn(write(writing, inbox));
    let mut reading = FragmentCollectorRead::new(reading);
    let mut client = Client::new(outbox.clone());
    loop {
        let frame = reading.read_frame(&mut |frame| answer(&outbox, &frame)).await.ok()?;
        match frame.opcode {
            OpCode::Binary => client.binary(&frame.payload)?,
            OpCode::Text => client.text(std::str::from_utf8(&frame.payload).ok()?)?,
            OpCode::Close => return Some(()),
            _ => {}
        }
    }
}

/// What the library wants to have sent: the answer to a close or to a ping.
fn answer(outbox: &Outbox, frame: &Frame<'_>) -> Ready<Result<(), SendError<Outgoing>>> {
    let payload = frame.payload.to_vec();
    ready(outbox.send(match frame.opcode {
        OpCode::Close => Outgoing::Close(payload),
        _ => Outgoing::Pong(payload),
    }))
}

/// Ends when the reading task has, and everything is sent.
async fn write(
    mut writing: WebSocketWrite<BufWriter<OwnedWriteHalf>>,
    mut inbox: UnboundedReceiver<Outgoing>,
) -> Option<()> {
    let mut waiting = Vec::new();
    while inbox.recv_many(&mut waiting, GATHERED_MAX).await > 0 {
        for outgoing in waiting.drain(..) {
            let frame = match outgoing {
                Outgoing::Binary(frame) => Frame::binary(Payload::Owned(frame)),
                Outgoing::Text(text) => Frame::text(Payload::Owned(text.into_bytes())),
                Outgoing::Close(payload) => Frame::close_raw(Payload::Owned(payload)),
                Outgoing::Pong(payload) => Frame::pong(Payload::Owned(payload)),
            };
            writing.write_frame(frame).await.ok()?;
        }
        writing.flush().await.ok()?;
    }
    Some(())
}

async fn shake_hands(stream: &mut TcpStream) -> Option<()> {
    let mut head = Vec::with_capacity(1024);
    let accept = loop {
        if stream.read_buf(&mut head).await.ok()? == 0 || head.len() > HEAD_BYTES_MAX {
            return None;
        }
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut headers);
        // A client sends no frame before it has been answered.
        if request.parse(&head).ok()?.is_complete() {
            let key = request.headers.iter().find(|it| it.name.eq_ignore_ascii_case("sec-websocket-key"))?;
            break derive_accept_key(key.value);
        }
    };
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await.ok()
}
