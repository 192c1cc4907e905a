//! RFC 6455 and RFC 9112 case by case, through `echo`, in the order of the lists of the public
//! suites. Every WebSocket case is played in one write, frame by frame, and in pieces that cut its
//! frames everywhere; what comes back, the close code and the end of TCP are to be the same.

mod close;
mod fragments;
mod framing;
mod handshake;
mod limits;
mod requests;
mod smuggling;
mod utf8;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::opcode::*;
use crate::harness::*;

/// A server that has ended a conversation does not wait for the client to close TCP.
const END_WITHIN: Duration = Duration::from_secs(3);

fn echo() -> Setup {
    Setup::new().listener("echo", &["echo"])
}

/// How the bytes of a case reach the server.
#[derive(Clone, Copy, Debug)]
enum Feed {
    Whole,
    Frames,
    Pieces(usize),
}

const FEEDS: [Feed; 5] = [Feed::Whole, Feed::Frames, Feed::Pieces(1), Feed::Pieces(7), Feed::Pieces(997)];

/// More bytes than that are not sent one by one.
const BYTEWISE_MAX: usize = 8192;

impl Feed {
    fn cut(self, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let whole = frames.concat();
        match self {
            Feed::Whole => vec![whole],
            Feed::Frames => frames.to_vec(),
            Feed::Pieces(size) => whole.chunks(size).map(<[u8]>::to_vec).collect(),
        }
    }

    fn suits(self, frames: &[Vec<u8>]) -> bool {
        let small = frames.iter().map(Vec::len).sum::<usize>() <= BYTEWISE_MAX;
        small || !matches!(self, Feed::Pieces(..=7))
    }
}

/// What the server says, frame by frame.
#[derive(Clone, Debug, PartialEq)]
enum Said {
    Frame(u8, Vec<u8>),
    /// The code, 0 for a Close without. The words are the server's own.
    Close(u16),
}

/// The client's frames, and all that is said to them; then the server ends the connection.
struct Case {
    name: String,
    frames: Vec<Vec<u8>>,
    said: Vec<Said>,
}

/// The client closes at the end, and so does the server.
fn good(name: impl Into<String>, frames: Vec<Vec<u8>>, said: Vec<Said>) -> Case {
    let frames = frames.into_iter().chain([closing(1000)]).collect();
    let said = said.into_iter().chain([Said::Close(1000)]).collect();
    Case { name: name.into(), frames, said }
}

/// The last frame is refused with `code`; what was whole before it has come back.
fn bad(name: impl Into<String>, frames: Vec<Vec<u8>>, said: Vec<Said>, code: u16) -> Case {
    Case { name: name.into(), frames, said: said.into_iter().chain([Said::Close(code)]).collect() }
}

fn closing(code: u16) -> Vec<u8> {
    ws_frame(FIN | CLOSE, &code.to_be_bytes())
}

fn text(payload: &[u8]) -> Said {
    Said::Frame(FIN | TEXT, payload.to_vec())
}

fn binary(payload: &[u8]) -> Said {
    Said::Frame(FIN | BINARY, payload.to_vec())
}

fn pong(payload: &[u8]) -> Said {
    Said::Frame(FIN | PONG, payload.to_vec())
}

/// Plays each case in every way that suits it.
async fn play_all(addr: SocketAddr, cases: Vec<Case>) {
    for case in cases {
        for feed in FEEDS.into_iter().filter(|feed| feed.suits(&case.frames)) {
            let said = play(addr, feed.cut(&case.frames)).await;
            assert!(said == case.said, "{}, {feed:?}: {}", case.name, shown(&said));
        }
    }
}

/// Sends all pieces, each in a segment of its own, and hears the server out. It has to be the server
/// who ends the connection.
async fn play(addr: SocketAddr, pieces: Vec<Vec<u8>>) -> Vec<Said> {
    let (stream, mut buffer) = RawWs::open(addr).await.into_parts();
    let (mut from, mut to) = stream.into_split();
    let sending = tokio::spawn(async move {
        for piece in pieces {
            // The server may have heard enough.
            if to.write_all(&piece).await.is_err() {
                break;
            }
        }
        // TCP stays open on this side.
        to
    });
    let mut said = Vec::new();
    let mut closed = false;
    loop {
        while let Some((first, payload)) = take_server_frame(&mut buffer) {
            assert!(!closed, "something follows a Close: {first:02x}");
            said.push(match (first, payload.split_first_chunk::<2>()) {
                (0x88, Some((code, _))) => Said::Close(u16::from_be_bytes(*code)),
                (0x88, None) => Said::Close(0),
                _ => Said::Frame(first, payload),
            });
            closed = first == FIN | CLOSE;
        }
        let patience = if closed { END_WITHIN } else { DEADLINE };
        let read = tokio::time::timeout(patience, from.read_buf(&mut buffer)).await;
        match read.unwrap_or_else(|_| panic!("neither words nor the end after {}", shown(&said))) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => panic!("{error} after {}", shown(&said)),
        }
    }
    assert!(buffer.is_empty(), "the stream ends with a cut frame");
    drop(within("all is sent", sending).await.expect("the sender does not panic"));
    said
}

fn shown(said: &[Said]) -> String {
    let one = |said: &Said| match said {
        Said::Frame(first, payload) => {
            let shown = &payload[..payload.len().min(24)];
            format!("{first:02x} {} bytes \"{}\"", payload.len(), shown.escape_ascii())
        }
        Said::Close(code) => format!("Close {code}"),
    };
    format!("{:?}", said.iter().map(one).collect::<Vec<_>>())
}

/// Every response until the server ends the connection. Interim ones are left out.
async fn answers(addr: SocketAddr, pieces: &[Vec<u8>]) -> Vec<Response> {
    hear(addr, pieces, false).await
}

/// The same where the last of them may be the answer to a HEAD, which has no body.
async fn hear(addr: SocketAddr, pieces: &[Vec<u8>], last_to_head: bool) -> Vec<Response> {
    let (stream, _) = Http::open(addr).await.into_parts();
    let (mut from, mut to) = stream.into_split();
    let pieces = pieces.to_vec();
    let sending = tokio::spawn(async move {
        for piece in pieces {
            if to.write_all(&piece).await.is_err() {
                break;
            }
        }
        to
    });
    let mut received = Vec::new();
    let ended = within("the server ends the connection", from.read_to_end(&mut received)).await;
    let shown = String::from_utf8_lossy(&received).into_owned();
    ended.unwrap_or_else(|error| panic!("{error} after {shown}"));
    drop(within("all is sent", sending).await.expect("the sender does not panic"));
    let mut answers = Vec::new();
    while let Some((response, length)) = Http::parse(&received, false) {
        received.drain(..length);
        if response.status >= 200 {
            answers.push(response);
        }
    }
    if last_to_head {
        let (response, length) = Http::parse(&received, true).unwrap_or_else(|| panic!("a body: {shown}"));
        received.drain(..length);
        answers.push(response);
    }
    assert!(received.is_empty(), "no response: {shown}");
    answers
}

fn statuses(answers: &[Response]) -> Vec<u16> {
    answers.iter().map(|answer| answer.status).collect()
}
