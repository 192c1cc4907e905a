//! HTTP/1.1 by hand over one TCP connection, so that a test sees every byte of an exchange.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::within;

pub struct Http {
    stream: TcpStream,
    buffer: Vec<u8>,
}

#[derive(Debug)]
pub struct Response {
    /// Of HTTP/1. A request of 1.0 is answered in 1.0.
    pub minor_version: u8,
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }
}

impl Http {
    pub async fn open(addr: SocketAddr) -> Http {
        let stream = within("TCP connects", TcpStream::connect(addr)).await.expect("the port is open");
        Http::over(stream)
    }

    pub fn over(stream: TcpStream) -> Http {
        stream.set_nodelay(true).expect("a TCP socket");
        Http { stream, buffer: Vec::new() }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        within("the request goes out", self.stream.write_all(bytes)).await.expect("the connection is open");
    }

    /// A request while the answer may already be on its way back: what the kernel's buffers cannot
    /// hold in both directions would otherwise block both ends.
    pub async fn send_and_read(&mut self, bytes: &[u8]) -> Response {
        let (mut reading, mut writing) = self.stream.split();
        let buffer = &mut self.buffer;
        let write = async { writing.write_all(bytes).await.expect("the connection is open") };
        let read = async {
            while reading.read_buf(buffer).await.expect("an answer") > 0 {
                if is_whole(buffer) {
                    break;
                }
            }
        };
        within("a request with its answer", async { tokio::join!(write, read) }).await;
        self.response(false).await.expect("an answer")
    }

    /// No more is sent from here.
    pub async fn shut_down(&mut self) {
        within("the end goes out", self.stream.shutdown()).await.expect("the connection is open");
    }

    pub async fn get(&mut self, path: &str) -> Response {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await;
        self.response(false).await.expect("an answer")
    }

    /// The next response, or nothing at the end of the stream. The answer to a HEAD has no body.
    pub async fn response(&mut self, to_head: bool) -> Option<Response> {
        let head = loop {
            if let Some(end) = self.buffer.windows(4).position(|it| it == b"\r\n\r\n") {
                break String::from_utf8(self.buffer.drain(..end + 4).collect()).expect("an ASCII head");
            }
            if !self.more().await {
                assert!(self.buffer.is_empty(), "the stream ends within a head: {:?}", self.buffer);
                return None;
            }
        };
        let mut response = parse_head(&head);
        let status = response.status;
        if to_head || status < 200 || status == 204 || status == 304 {
            return Some(response);
        }
        if response.header("transfer-encoding").is_some_and(|it| it.eq_ignore_ascii_case("chunked")) {
            response.body = self.chunks().await;
        } else if let Some(length) = response.header("content-length") {
            let length = length.parse().expect("a number");
            response.body = self.take(length).await;
        } else {
            while self.more().await {}
            response.body = std::mem::take(&mut self.buffer);
        }
        Some(response)
    }

    async fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = loop {
                if let Some(end) = self.buffer.windows(2).position(|it| it == b"\r\n") {
                    break self.take(end + 2).await;
                }
                assert!(self.more().await, "the stream ends within a chunked body");
            };
            let line = String::from_utf8(line).expect("an ASCII line");
            let size = line.trim_end().split(';').next().expect("a size");
            let size = usize::from_str_radix(size, 16).expect("a hexadecimal size");
            let chunk = self.take(size + 2).await;
            assert!(chunk.ends_with(b"\r\n"));
            body.extend(&chunk[..size]);
            if size == 0 {
                return body;
            }
        }
    }

    async fn take(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            assert!(self.more().await, "the stream ends within a body");
        }
        self.buffer.drain(..length).collect()
    }

    async fn more(&mut self) -> bool {
        matches!(within("bytes or the end", self.stream.read_buf(&mut self.buffer)).await, Ok(1..))
    }

    /// The whole response at the front of `bytes`, and its length. None where it is cut. The answer to
    /// a HEAD has no body.
    pub fn parse(bytes: &[u8], to_head: bool) -> Option<(Response, usize)> {
        let head_bytes = bytes.windows(4).position(|it| it == b"\r\n\r\n")? + 4;
        let mut response = parse_head(std::str::from_utf8(&bytes[..head_bytes]).expect("an ASCII head"));
        let mut rest = &bytes[head_bytes..];
        if to_head {
            return Some((response, head_bytes));
        }
        if response.header("transfer-encoding").is_some() {
            loop {
                let line_bytes = rest.windows(2).position(|it| it == b"\r\n")?;
                let line = std::str::from_utf8(&rest[..line_bytes]).expect("an ASCII line");
                let size = usize::from_str_radix(line, 16).expect("a hexadecimal size");
                let (chunk, after) = rest[line_bytes + 2..].split_at_checked(size + 2)?;
                response.body.extend(chunk.strip_suffix(b"\r\n").expect("a chunk ends its line"));
                rest = after;
                if size == 0 {
                    break;
                }
            }
        } else if let Some(length) = response.header("content-length") {
            let (body, after) = rest.split_at_checked(length.parse().expect("a number"))?;
            response.body = body.to_vec();
            rest = after;
        }
        Some((response, bytes.len() - rest.len()))
    }

    /// Reads until the server ends the connection.
    pub async fn until_end(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.buffer)
    }

    /// The connection with what was read beyond the last response.
    pub fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.buffer)
    }
}

/// A response without its body.
fn parse_head(head: &str) -> Response {
    let mut lines = head.split("\r\n");
    let line = lines.next().expect("a status line");
    let (minor_version, status) = match line.split_at_checked(9) {
        Some(("HTTP/1.1 ", status)) => (1, status),
        Some(("HTTP/1.0 ", status)) => (0, status),
        _ => panic!("no HTTP/1: {line}"),
    };
    let status = status.split(' ').next().expect("a code").parse().expect("a number");
    let headers = lines
        .filter(|line| !line.is_empty())
        .map(|line| {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no header: {line}"));
            (name.to_owned(), value.trim().to_owned())
        })
        .collect();
    Response { minor_version, status, headers, body: Vec::new() }
}

/// Whether a response with its whole body stands in `buffer`.
fn is_whole(buffer: &[u8]) -> bool {
    let Some(end) = buffer.windows(4).position(|it| it == b"\r\n\r\n") else { return false };
    let head = parse_head(std::str::from_utf8(&buffer[..end]).expect("an ASCII head"));
    let body = &buffer[end + 4..];
    match head.header("content-length") {
        Some(length) => body.len() >= length.parse::<usize>().expect("a number"),
        None => body.ends_with(b"0\r\n\r\n"),
    }
}
