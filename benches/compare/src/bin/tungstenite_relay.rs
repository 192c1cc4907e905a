//! A relay on tokio-tungstenite: one task a connection on a runtime of one thread; what was read is
//! handled before anything is written, and what waits then goes out with one flush.

use std::io::{Write, stdout};

use futures_util::{SinkExt, StreamExt};
use sigmux::ring;
use sigmux_compare::job::{Client, Outgoing};
use sigmux_compare::{BACKLOG, address};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::unbounded_channel;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, accept_async_with_config};

/// Messages that one flush takes along.
const GATHERED_MAX: usize = 256;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    ring::raise_open_files();
    let mut listeners = ring::bind(address(), 1, BACKLOG).unwrap_or_else(|error| panic!("{error}"));
    let listener = std::net::TcpListener::from(listeners.sockets.pop().expect("one was asked for"));
    listener.set_nonblocking(true).expect("a socket can be non-blocking");
    let listener = TcpListener::from_std(listener).expect("a listener");
    // The library fills it with zeros before each read.
    let read_buffer_bytes = std::env::args().nth(2).and_then(|bytes| bytes.parse().ok());
    let read_buffer_bytes = read_buffer_bytes.expect("usage: tungstenite_relay PORT READ_BUFFER_BYTES");
    // The script waits for this line.
    println!("listening");
    stdout().flush().expect("whoever started this reads it");
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, read_buffer_bytes));
        }
    }
}

/// `None`: it ended otherwise than by a close.
async fn serve(stream: TcpStream, read_buffer_bytes: usize) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let config = WebSocketConfig::default().read_buffer_size(read_buffer_bytes);
    let mut websocket = accept_async_with_config(stream, Some(config)).await.ok()?;
    let (outbox, mut inbox) = unbounded_channel();
    let mut client = Client::new(outbox);
    let (mut waiting, mut read) = (Vec::new(), 0);
    loop {
        // A client that never stops sending must not keep its own messages waiting.
        if read == GATHERED_MAX {
            read = 0;
            while waiting.len() < GATHERED_MAX
                && let Ok(outgoing) = inbox.try_recv()
            {
                waiting.push(outgoing);
            }
            write(&mut websocket, &mut waiting).await?;
        }
        tokio::select! {
            biased;
            message = websocket.next() => {
                read += 1;
                match message?.ok()? {
                    Message::Binary(frame) => client.binary(&frame)?,
                    Message::Text(text) => client.text(&text)?,
                    // Its answer is sent while the stream is read to its end.
                    Message::Close(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
                }
            }
            _ = inbox.recv_many(&mut waiting, GATHERED_MAX) => {
                read = 0;
                write(&mut websocket, &mut waiting).await?;
            }
        }
    }
}

async fn write(websocket: &mut WebSocketStream<TcpStream>, waiting: &mut Vec<Outgoing>) -> Option<()> {
    for outgoing in waiting.drain(..) {
        let message = match outgoing {
            Outgoing::Binary(frame) => Message::Binary(frame.into()),
            Outgoing::Text(text) => Message::Text(text.into()),
            Outgoing::Close(_) | Outgoing::Pong(_) => continue,
        };
        websocket.feed(message).await.ok()?;
    }
    websocket.flush().await.ok()
}
