//! Who sends all that he can: connects, frames, pings, registrations, rooms, logins, sessions.
//!
//! The attackers share two cores with the server. So a flood has a pace: what would take a core by
//! itself shows what the machine can do, and not what the server lets through.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::attack::{LASTS, withstands, withstands_keeping};
use super::honest::{Kind, a_second};
use super::metric;
use crate::harness::*;
use crate::leaks::pss_kib;

const BOTH: &[Kind] = &[Kind::Calls, Kind::Devices];
const BEAT: Duration = Duration::from_millis(5);

fn setup() -> Setup {
    Setup::new()
        .listener("main", &["binary", "rooms", "broadcast", "calls", "devices"])
        .section("[rooms]\nstore = 'memory'")
        .section("[logging]\nlevel = 'error'")
        .alone()
}

/// Does something every [`BEAT`] until the time is over; returns how often.
async fn beats(mut each: impl AsyncFnMut()) -> usize {
    let (begin, mut pace, mut count) = (Instant::now(), tokio::time::interval(BEAT), 0);
    while begin.elapsed() < LASTS {
        pace.tick().await;
        each().await;
        count += 1;
    }
    count
}

/// Reads and throws away, in the background, for as long as the connection lasts.
fn drained(stream: TcpStream) -> tokio::net::tcp::OwnedWriteHalf {
    let (mut reading, writing) = stream.into_split();
    tokio::spawn(async move {
        let mut rest = vec![0; 65_536];
        while matches!(reading.read(&mut rest).await, Ok(1..)) {}
    });
    writing
}

#[tokio::test]
async fn a_flood_of_connects_slows_nobody() {
    // From elsewhere than the honest ones, who have connected by then.
    let server = setup().server("max_connections_per_ip", 100).start().await;
    withstands("connects", &server, BOTH, async |server| {
        let begin = Instant::now();
        let mut count = 0;
        beats(async || {
            for _ in 0..10 {
                let stream = super::connect_from([127, 0, 0, 5], server.main()).await;
                if count % 2 == 0 {
                    stream.set_zero_linger().expect("a socket");
                }
                count += 1;
            }
        })
        .await;
        format!("{:.0} connects a second", a_second(count, begin))
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_connects_over_the_rate_slows_nobody_and_is_refused() {
    let server = setup().server("connect_rate_per_ip", 50).start().await;
    let mut refused = 0;
    withstands("refused connects", &server, BOTH, async |server| {
        let begin = Instant::now();
        let before = metric(server, "sigmux_connections_crowded_total").await;
        let mut open = Vec::new();
        let mut count = 0;
        beats(async || {
            for _ in 0..10 {
                open.push(super::connect_from([127, 0, 0, 5], server.main()).await);
                count += 1;
            }
        })
        .await;
        refused = metric(server, "sigmux_connections_crowded_total").await - before;
        assert!(refused as usize > count / 2, "{refused} of {count}");
        format!("{:.0} connects a second, {refused} of {count} refused", a_second(count, begin))
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_frames_slows_nobody() {
    let server = setup().open_to_all().server("message_rate", 1000).start().await;
    withstands("frames", &server, BOTH, async |server| {
        let begin = Instant::now();
        let stream = TcpStream::connect(server.main()).await.expect("the port is open");
        let mut writing = drained(stream);
        let form = Form::FlatJson;
        writing.write_all(&form.connect("flooder", "any").encode()).await.expect("it is open");
        // To nobody, so that each is answered.
        let batch = form.signal(OFFER, "nobody", "v=0").encode().repeat(500);
        let count = 500 * beats(async || writing.write_all(&batch).await.expect("it is open")).await;
        format!("{:.0} frames a second", a_second(count, begin))
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_pings_slows_nobody() {
    let server = setup().start().await;
    withstands("pings", &server, BOTH, async |server| {
        let begin = Instant::now();
        let stream = TcpStream::connect(server.main()).await.expect("the port is open");
        let mut writing = drained(stream);
        let upgrade = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        writing.write_all(upgrade.as_bytes()).await.expect("it is open");
        let register = json!({"type": "register", "id": "pinger"}).to_string();
        writing.write_all(&ws_frame(opcode::FIN | opcode::TEXT, register.as_bytes())).await.expect("open");
        let batch = ws_frame(opcode::FIN | opcode::PING, &[b'x'; 125]).repeat(500);
        let count = 500 * beats(async || writing.write_all(&batch).await.expect("it is open")).await;
        format!("{:.0} pings a second", a_second(count, begin))
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_registrations_slows_nobody() {
    let server = setup().start().await;
    let mut next = 0;
    withstands("registrations", &server, BOTH, async |server| {
        let begin = Instant::now();
        let stream = TcpStream::connect(server.main()).await.expect("the port is open");
        let mut writing = drained(stream);
        let upgrade = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        writing.write_all(upgrade.as_bytes()).await.expect("it is open");
        let beats = beats(async || {
            let mut batch = Vec::new();
            for _ in 0..50 {
                next += 1;
                let register = json!({"type": "register", "id": format!("flooder-{next}")}).to_string();
                batch.extend(ws_frame(opcode::FIN | opcode::TEXT, register.as_bytes()));
            }
            writing.write_all(&batch).await.expect("it is open");
        });
        let count = 50 * beats.await;
        format!("{:.0} registrations a second", a_second(count, begin))
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_rooms_sign_ins_and_seats_slows_nobody_and_is_refused() {
    let server = setup().server("limit_loopback", true).start().await;
    withstands("rooms, sign-ins and seats", &server, BOTH, async |server| {
        let begin = Instant::now();
        let mut requests = Vec::new();
        for number in 0..16 {
            requests.extend(http_request("POST", "/anonymous-signin", &[], Some("{}")));
            requests.extend(http_request("POST", "/create-room", &[("Authorization", "x")], Some("{}")));
            requests.extend(http_request("GET", &format!("/call/flood-{number}"), &[], None));
        }
        let stream = super::connect_from([127, 0, 0, 5], server.main()).await;
        let mut writing = drained(stream);
        let count = 48 * beats(async || writing.write_all(&requests).await.expect("it is open")).await;
        format!("{:.0} requests a second", a_second(count, begin))
    })
    .await;
    assert!(metric(&server, "sigmux_requests_throttled_total").await > 100);
}

/// Requests one behind the other, as fast as they are taken, and nobody reads what is answered.
#[tokio::test]
async fn requests_without_end_whose_answers_nobody_reads_hold_no_more_than_a_window_each() {
    const READERS: usize = 5;
    /// A window of requests at the front, one of answers on their way and one behind it, in buffers that
    /// double, and what came in before the first stop.
    const HELD_KIB: u64 = 4096;
    let server = setup().start().await;
    // In glibc's hands parts of the buffers stay, between others; how much levels off at what the
    // connections held.
    let kept_kib = READERS as u64 * HELD_KIB;
    withstands_keeping(kept_kib, "unread answers", &server, BOTH, async |server| {
        let before_kib = pss_kib(server);
        let mut open = JoinSet::new();
        for _ in 0..READERS {
            let socket = TcpSocket::new_v4().expect("a socket");
            // The kernel holds few answers itself.
            socket.set_recv_buffer_size(4096).expect("a socket takes sizes");
            let mut stream = socket.connect(server.main()).await.expect("the port is open");
            let requests = http_request("GET", "/.well-known/jwks.json", &[], None).repeat(100);
            open.spawn(async move { while stream.write_all(&requests).await.is_ok() {} });
        }
        tokio::time::sleep(LASTS).await;
        let held_kib = pss_kib(server).saturating_sub(before_kib);
        assert!(held_kib < READERS as u64 * HELD_KIB, "{READERS} connections hold {held_kib} KiB");
        assert_eq!(open.len(), READERS);
        format!("{READERS} connections hold {held_kib} KiB")
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_logins_slows_nobody_and_is_refused() {
    let server = setup().server("limit_loopback", true).start().await;
    withstands("logins", &server, BOTH, async |server| {
        let begin = Instant::now();
        let guess = Form::FlatJson.connect("alice", "a guess").encode().repeat(3);
        let mut count = 0;
        beats(async || {
            let mut stream = super::connect_from([127, 0, 0, 5], server.main()).await;
            stream.write_all(&guess).await.expect("it is open");
            let mut answers = Vec::new();
            // The server may have gone before the end of it is read.
            let _ = within("the end", stream.read_to_end(&mut answers)).await;
            count += 3;
        })
        .await;
        format!("{:.0} logins a second", a_second(count, begin))
    })
    .await;
    assert!(metric(&server, "sigmux_logins_throttled_total").await > 100);
}

#[tokio::test]
async fn a_flood_of_polling_sessions_slows_nobody_and_is_refused() {
    let server = setup().start().await;
    withstands("sessions", &server, BOTH, async |server| {
        let begin = Instant::now();
        let stream = TcpStream::connect(server.main()).await.expect("the port is open");
        let mut writing = drained(stream);
        let open = http_request("GET", "/socket.io/?EIO=4&transport=polling", &[], None).repeat(25);
        let count = 25 * beats(async || writing.write_all(&open).await.expect("it is open")).await;
        format!("{:.0} sessions a second", a_second(count, begin))
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_socket_io_messages_slows_nobody() {
    let server = setup().start().await;
    withstands("Socket.IO messages", &server, BOTH, async |server| {
        let begin = Instant::now();
        let stream = TcpStream::connect(server.main()).await.expect("the port is open");
        let mut writing = drained(stream);
        let upgrade = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\n\
            Upgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        writing.write_all(upgrade.as_bytes()).await.expect("it is open");
        writing.write_all(&ws_frame(opcode::FIN | opcode::TEXT, b"40")).await.expect("it is open");
        let message = br#"42["signal",{"type":"offer","to":"nobody","data":{"type":"offer","sdp":"v=0"}}]"#;
        let batch = ws_frame(opcode::FIN | opcode::TEXT, message).repeat(100);
        let count = 100 * beats(async || writing.write_all(&batch).await.expect("it is open")).await;
        format!("{:.0} messages a second", a_second(count, begin))
    })
    .await;
}
