//! Who takes what he is given, time: heads, bodies and frames that come byte by byte, and readers
//! that do not read.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::attack::{LASTS, withstands};
use super::honest::Kind;
use super::metric;
use crate::harness::*;

const SLOTHS: usize = 200;
const DRIP: Duration = Duration::from_millis(50);
const BOTH: &[Kind] = &[Kind::Calls, Kind::Devices];

fn setup() -> Setup {
    Setup::new()
        .listener("main", &["binary", "calls", "devices"])
        .open_to_all()
        .server("head_seconds", "'700ms'")
        .server("first_message_seconds", "'700ms'")
        .server("body_seconds", 1)
        .server("close_seconds", "'500ms'")
        .section("[logging]\nlevel = 'warn'")
        .alone()
}

/// Sends `start`, then one byte now and then, until the server has had enough. Returns how long that
/// took.
async fn drip(addr: std::net::SocketAddr, start: &[u8], byte: u8) -> Duration {
    let mut stream = TcpStream::connect(addr).await.expect("the port is open");
    stream.write_all(start).await.expect("the connection is open");
    let begin = Instant::now();
    let mut pace = tokio::time::interval(DRIP);
    let mut answer = [0; 512];
    loop {
        tokio::select! {
            read = stream.read(&mut answer) => if matches!(read, Ok(0) | Err(_)) { return begin.elapsed() },
            _ = pace.tick() => {
                // A failed write shows in the next read.
                let _ = stream.write_all(&[byte]).await;
            }
        }
    }
}

/// All of them at once, until the server has cut the last of them.
async fn sloths(server: &Server, start: &'static [u8], byte: u8) -> String {
    let (addr, begin) = (server.main(), Instant::now());
    let mut tasks = JoinSet::new();
    for _ in 0..SLOTHS {
        tasks.spawn(drip(addr, start, byte));
    }
    let lasted = within("the server cuts them all", tasks.join_all()).await;
    let longest = lasted.iter().max().expect("some");
    assert!(*longest < Duration::from_secs(5), "one was served for {longest:?}");
    tokio::time::sleep(LASTS.saturating_sub(begin.elapsed())).await;
    format!("{SLOTHS} sloths, cut after {longest:?} at the latest")
}

#[tokio::test]
async fn heads_that_drip_slow_nobody_and_are_cut() {
    let server = setup().start().await;
    withstands("heads", &server, BOTH, async |server| {
        sloths(server, b"GET / HTTP/1.1\r\nHost: x\r\nX-Drip: ", b'x').await
    })
    .await;
}

#[tokio::test]
async fn handshakes_that_drip_slow_nobody_and_are_cut() {
    let authority = Authority::new("tests");
    // The honest ones speak plainly.
    let server = setup().tls(&authority.server()).server("allow_plaintext", true).start().await;
    // The beginning of a record of 16 KiB with a ClientHello.
    let start = b"\x16\x03\x01\x3f\xff\x01\x00\x3f\xfb\x03\x03";
    withstands("handshakes", &server, BOTH, async |server| sloths(server, start, b'x').await).await;
    assert!(metric(&server, "sigmux_tls_failures_total{cause=\"unfinished\"}").await >= SLOTHS as u64);
}

#[tokio::test]
async fn bodies_that_drip_slow_nobody_and_are_cut() {
    let server = setup().start().await;
    let start = b"POST /signal HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n{";
    withstands("bodies", &server, BOTH, async |server| sloths(server, start, b' ').await).await;
}

#[tokio::test]
async fn first_messages_that_drip_slow_nobody_and_are_cut() {
    let server = setup().start().await;
    // The upgrade, and the beginning of a masked text of 1 MiB, of which no byte is waited for.
    let start = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\
        \x81\xff\0\0\0\0\0\x10\0\0\0\0\0\0";
    withstands("first messages", &server, BOTH, async |server| sloths(server, start, b'x').await).await;
}

#[tokio::test]
async fn first_frames_that_drip_slow_nobody_and_are_cut() {
    let server = setup().start().await;
    // A CONNECT of 65,535 bytes.
    let start = b"\xAA\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02\xFF\xFF";
    withstands("first frames", &server, BOTH, async |server| sloths(server, start, b'x').await).await;
}

/// Who has logged in may take his time, and costs what he has sent.
#[tokio::test]
async fn a_message_that_never_ends_holds_no_more_than_has_come() {
    let server = setup().start().await;
    withstands("messages without end", &server, BOTH, async |server| {
        let begin = Instant::now();
        let mut open = Vec::new();
        for number in 0..SLOTHS {
            let mut raw = RawWs::open(server.main()).await;
            let register = json!({"type": "register", "id": format!("sloth-{number}")}).to_string();
            raw.send(&ws_frame(opcode::FIN | opcode::TEXT, register.as_bytes())).await;
            raw.next().await.expect("registered");
            raw.send(b"\x81\xff\0\0\0\0\0\x10\0\0\0\0\0\0").await;
            open.push(raw);
        }
        while begin.elapsed() < LASTS {
            for raw in &mut open {
                raw.send(b"x").await;
            }
            tokio::time::sleep(DRIP).await;
        }
        format!("{SLOTHS} messages of 1 MiB, of which a few bytes came")
    })
    .await;
}

#[tokio::test]
async fn readers_that_do_not_read_slow_nobody_and_are_cut() {
    const READERS: usize = 20;
    let server = setup()
        .server("outbox_soft_bytes", 65_536)
        .server("outbox_hard_bytes", 262_144)
        .server("slow_consumer_seconds", "'200ms'")
        .start()
        .await;
    withstands("readers that do not read", &server, BOTH, async |server| {
        let begin = Instant::now();
        let mut readers = Vec::new();
        for number in 0..READERS {
            let mut reader = Client::open_narrow(server.main(), Via::Tcp).await;
            reader.connect(Form::FlatJson, &format!("reader-{number}")).await;
            readers.push(reader);
        }
        let mut sender = Client::login(server.main(), Via::Tcp, Form::FlatJson, "sender").await;
        let (mut sent, mut refused) = (0, 0);
        let data = "x".repeat(16_384);
        while begin.elapsed() < LASTS {
            for number in 0..READERS {
                sender.signal(OFFER, &format!("reader-{number}"), &data).await;
                sent += 1;
            }
            // A heartbeat behind them: the answers up to there are read.
            let heartbeat = sender.form.heartbeat(1);
            sender.send(&heartbeat).await;
            loop {
                let frame = sender.frame().await;
                if frame.uuid == heartbeat.uuid {
                    break;
                }
                refused += 1;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(refused > 0, "a reader that is full is told to its sender");
        let page = Http::open(server.metrics()).await.get("/metrics").await;
        assert!(!page.text().contains("sigmux_slow_consumers_cut_total 0\n"), "they are cut");
        format!("{sent} offers of 16 KiB to {READERS} readers, {refused} refused")
    })
    .await;
}
