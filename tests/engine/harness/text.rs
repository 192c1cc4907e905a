//! A WebSocket client of JSON texts, by tokio-tungstenite.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::within;

#[derive(Debug)]
pub enum Said {
    Text(String),
    Binary(Vec<u8>),
    /// The end, with code and reason when a Close frame told them.
    Closed(Option<(u16, String)>),
}

pub struct TextClient {
    socket: Box<WebSocketStream<TcpStream>>,
}

impl TextClient {
    pub async fn open(addr: SocketAddr) -> TextClient {
        TextClient::open_at(addr, "/").await
    }

    pub async fn open_at(addr: SocketAddr, path: &str) -> TextClient {
        match TextClient::try_open(addr, path, &[]).await {
            Ok(client) => client,
            Err(status) => panic!("the upgrade of {path} was answered with {status}"),
        }
    }

    /// # Errors
    /// The HTTP status that refused the upgrade.
    pub async fn try_open(
        addr: SocketAddr,
        path: &str,
        headers: &[(&'static str, String)],
    ) -> Result<TextClient, u16> {
        let stream = within("TCP connects", TcpStream::connect(addr)).await.expect("the port is open");
        stream.set_nodelay(true).expect("a TCP socket");
        let mut request = format!("ws://{addr}{path}").into_client_request().expect("a request");
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).expect("a header's value");
            request.headers_mut().insert(HeaderName::from_static(name), value);
        }
        match within("the upgrade", tokio_tungstenite::client_async(request, stream)).await {
            Ok((socket, _)) => Ok(TextClient { socket: Box::new(socket) }),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    pub async fn send(&mut self, json: &Value) {
        self.send_text(&json.to_string()).await;
    }

    pub async fn send_text(&mut self, text: &str) {
        self.try_send(Message::text(text)).await.expect("the socket is open");
    }

    pub async fn send_binary(&mut self, bytes: Vec<u8>) {
        self.try_send(Message::binary(bytes)).await.expect("the socket is open");
    }

    pub async fn try_send(&mut self, message: Message) -> Result<(), Error> {
        within("the message goes out", self.socket.send(message)).await
    }

    /// What comes next. Pings are answered on the way.
    pub async fn next(&mut self) -> Said {
        within("a message or the end", self.next_unbounded()).await
    }

    pub async fn next_unbounded(&mut self) -> Said {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => return Said::Text(text.as_str().to_owned()),
                Some(Ok(Message::Binary(bytes))) => return Said::Binary(bytes.to_vec()),
                Some(Ok(Message::Close(close))) => {
                    // The answer to the Close goes out while the end is awaited.
                    while let Some(Ok(_)) = self.socket.next().await {}
                    return Said::Closed(close.map(|it| (it.code.into(), it.reason.to_string())));
                }
                Some(Ok(_)) => {}
                None | Some(Err(Error::ConnectionClosed | Error::Io(_) | Error::Protocol(_))) => {
                    return Said::Closed(None);
                }
                Some(Err(error)) => panic!("{error}"),
            }
        }
    }

    /// # Panics
    /// When anything but a text comes.
    pub async fn text(&mut self) -> String {
        match self.next().await {
            Said::Text(text) => text,
            other => panic!("a text was awaited, got {other:?}"),
        }
    }

    /// The next message, which is exactly one JSON text.
    pub async fn json(&mut self) -> Value {
        let text = self.text().await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
    }

    /// Code and reason of the Close that comes next.
    pub async fn closed(&mut self) -> (u16, String) {
        match self.next().await {
            Said::Closed(Some(why)) => why,
            other => panic!("a Close with its code was awaited, got {other:?}"),
        }
    }

    /// Closes by the book and waits for the end.
    pub async fn close(mut self) {
        // The server may have been first.
        let _ = self.try_send(Message::Close(None)).await;
        while !matches!(self.next().await, Said::Closed(_)) {}
    }
}
