//! A blocking HTTP/1.1 client for what comes before a WebSocket: a room, a seat in a call.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::plan::Plan;

const TIMEOUT: Duration = Duration::from_secs(10);
const BODY_BYTES_MAX: usize = 1 << 20;

/// One connection, opened at need and kept.
pub struct Api<'a> {
    plan: &'a Plan,
    stream: Option<BufReader<Box<dyn Stream>>>,
}

/// With TLS or without.
trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl<'a> Api<'a> {
    pub fn new(plan: &'a Plan) -> Api<'a> {
        Api { plan, stream: None }
    }

    /// One request and its answer.
    ///
    /// # Errors
    /// In words, with the path.
    pub fn request(
        &mut self,
        method: &str,
        path: &str,
        authorization: Option<&str>,
        body: Option<&str>,
    ) -> Result<Answer, String> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.plan.target.host);
        if let Some(token) = authorization {
            request += &format!("Authorization: Bearer {token}\r\n");
        }
        if let Some(body) = body {
            request += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        }
        request += "\r\n";
        request += body.unwrap_or_default();
        self.exchange(request.as_bytes()).map_err(|error| {
            self.stream = None;
            format!("{method} {path}: {error}")
        })
    }

    fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        if self.stream.is_none() {
            let stream = TcpStream::connect_timeout(&self.plan.target.address, TIMEOUT)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            let stream: Box<dyn Stream> = match &self.plan.sealing {
                None => Box::new(stream),
                Some(sealing) => {
                    let connection = sealing.connection().map_err(io::Error::other)?;
                    Box::new(rustls::StreamOwned::new(connection, stream))
                }
            };
            self.stream = Some(BufReader::new(stream));
        }
        let Some(stream) = &mut self.stream else { return Err(io::ErrorKind::NotConnected.into()) };
        stream.get_mut().write_all(request)?;
        let (answer, keep) = read_answer(stream)?;
        if !keep {
            self.stream = None;
        }
        Ok(answer)
    }
}

/// With a length, or without a body: what small APIs answer with. Says whether the connection stays.
fn read_answer(from: &mut impl BufRead) -> io::Result<(Answer, bool)> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut line = String::new();
    from.read_line(&mut line)?;
    let status =
        line.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(|| wrong("no HTTP answer"))?;
    let (mut length, mut keep) = (0, true);
    loop {
        line.clear();
        if from.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().map_err(|_| wrong("a bad Content-Length"))?;
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(wrong("a chunked answer, which is not understood here"));
        } else if name.eq_ignore_ascii_case("connection") {
            keep = !value.eq_ignore_ascii_case("close");
        }
    }
    if length > BODY_BYTES_MAX {
        return Err(wrong("an answer over 1 MiB"));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok((Answer { status, body }, keep))
}

/// The status and the length of the whole answer at the front; `None` while it is not whole.
///
/// # Errors
/// What is no answer with a length.
pub fn read_status(input: &[u8]) -> Result<Option<(u16, usize)>, &'static str> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let head_bytes = match response.parse(input) {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err("no HTTP answer"),
    };
    let mut length = 0_usize;
    for header in response.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            let value = str::from_utf8(header.value).ok().and_then(|value| value.trim().parse().ok());
            length = value.filter(|&length| length <= BODY_BYTES_MAX).ok_or("a bad Content-Length")?;
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err("a chunked answer, which is not understood here");
        }
    }
    let bytes = head_bytes + length;
    Ok((input.len() >= bytes).then_some((response.code.unwrap_or_default(), bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_with_their_bodies() {
        let bytes =
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 409 no\r\nConnection: close\r\n\r\n";
        let mut from = &bytes[..];
        let (first, keep) = read_answer(&mut from).expect("an answer");
        assert_eq!((first.status, first.body.as_slice(), keep), (200, &b"{}"[..], true));
        let (second, keep) = read_answer(&mut from).expect("another");
        assert_eq!((second.status, second.body.len(), keep), (409, 0, false));
        assert_eq!(read_status(bytes), Ok(Some((200, 40))));
        assert_eq!(read_status(&bytes[..39]), Ok(None));
        assert_eq!(read_status(&bytes[40..]), Ok(Some((409, bytes.len() - 40))));
        assert!(read_status(b"\xAAnonsense").is_err());
    }
}
