//! What a shard gets over a tunnel.

use std::io::{ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::http::parse;
use super::shard::{ECHO, METRICS, PICKY, Shard};
use crate::base::{NodeId, PeerKey};
use crate::front::outbound::{Outbound, Outgoing};
use crate::front::{Companion, Phase, Settings, TunnelStream};
use crate::mesh::{TunnelStep, Upgrade};

const MEGABYTES: usize = 1024 * 1024;

const HANDSHAKE: &str = "GET /ws/room?token=t HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
    Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Bytes that show it when some are lost or swapped.
fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn chunked(body: &[u8], chunk: usize) -> Vec<u8> {
    let mut out = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for part in body.chunks(chunk) {
        out.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

#[test]
fn five_megabytes_go_through_a_window_of_64_kib_and_come_back() {
    let mut shard = Shard::new();
    let slot = shard.open(ECHO);
    let body = pattern(5 * MEGABYTES);
    shard.send(slot, chunked(&body, 10_007));
    // Looking for the end is cheap; the whole is parsed once.
    shard.until(slot, |c| c.received.ends_with(b"\r\n0\r\n\r\n"));
    let connection = shard.connection(slot);
    let (reply, _) = parse(&connection.received, false).expect("it is all there");
    assert_eq!(reply.status, 200);
    assert!(reply.body == body, "the body came back changed");
    // Both windows were used to their ends, and never beyond.
    assert_eq!((connection.outstanding_bytes_max, connection.uncredited_bytes_max), (65_536, 65_536));
}

#[test]
fn a_client_that_does_not_read_stops_its_own_upload_and_nobody_elses() {
    let mut shard = Shard::new();
    let (stuck, other) = (shard.open(ECHO), shard.open(METRICS));
    let window = shard.window;
    shard.connection(stuck).stopped = true;
    let body = pattern(5 * MEGABYTES);
    shard.send(stuck, chunked(&body, 100_000));
    // Both windows are full, so nothing can move.
    shard.until(stuck, |c| c.received.len() == window && c.outstanding_bytes > window * 3 / 4);
    shard.send(other, "GET /ready HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(shard.reply(other).status, 200);
    let sent_bytes = shard.connection(stuck).sent_bytes;
    assert!(sent_bytes < MEGABYTES, "the front took {sent_bytes} bytes and cannot get rid of them");

    shard.connection(stuck).stopped = false;
    shard.credit(stuck);
    shard.until(stuck, |c| c.received.ends_with(b"\r\n0\r\n\r\n"));
    let (reply, _) = parse(&shard.connection(stuck).received, false).expect("it is all there");
    assert!(reply.body == body, "the body came back changed");
}

#[test]
fn a_kept_alive_connection_becomes_a_websocket_of_its_shard_with_every_byte_accounted_for() {
    let mut shard = Shard::new();
    let slot = shard.open(ECHO);
    shard.send(slot, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(shard.reply(slot).status, 200);
    shard.send(slot, format!("{HANDSHAKE}first frames"));
    let reply = shard.reply(slot);
    assert_eq!(reply.status, 101);
    assert_eq!(reply.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(reply.header("x-sigmux-shard"), Some("0"));

    // The front may or may not have given the connection back by now.
    shard.post(slot, TunnelStep::Bytes(Bytes::from_static(b" and late ones")));
    shard.until(slot, |c| c.returned.is_some());
    // By now it has.
    shard.post(slot, TunnelStep::Bytes(Bytes::from_static(b", and the last")));
    let connection = shard.until(slot, |c| c.unused.ends_with(b"last"));

    let returned = connection.returned.take().expect("the front gave the connection back");
    let upgrade =
        Upgrade { path: "/ws/room".into(), query: Some("token=t".into()), authorization: None, client: None };
    assert_eq!(returned.upgrade, upgrade);
    let sent_bytes = connection.sent_bytes + " and late ones, and the last".len();
    assert_eq!(returned.received_bytes as usize + connection.unused.len(), sent_bytes);
    let behind_the_head = [&returned.rest[..], &connection.unused].concat();
    assert_eq!(behind_the_head, b"first frames and late ones, and the last");
    assert!(!connection.ended && !connection.was_reset);
}

#[test]
fn an_upgrade_waits_for_the_answers_before_it() {
    // The 101 does not fit behind what the client has not read yet.
    let mut shard = Shard::new();
    let slot = shard.open(ECHO);
    shard.connection(slot).stopped = true;
    let body = pattern(shard.window);
    shard.send(slot, format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len()));
    shard.send(slot, &body);
    shard.send(slot, HANDSHAKE);
    let window = shard.window;
    // Less than a quarter of a window is read without credit.
    let taken = |outstanding: usize| outstanding < window / 4 + HANDSHAKE.len();
    let connection = shard.until(slot, |c| c.received.len() == window && taken(c.outstanding_bytes));
    assert!(connection.returned.is_none());
    connection.stopped = false;
    shard.credit(slot);
    assert!(shard.reply(slot).body == body);
    assert_eq!(shard.reply(slot).status, 101);
    shard.until(slot, |c| c.returned.is_some());
}

#[test]
fn a_permitted_origin_may_upgrade() {
    let mut shard = Shard::new();
    let slot = shard.open(PICKY);
    shard.send(slot, HANDSHAKE.replace("Host", "Origin: https://GOOD.example\r\nHost"));
    let reply = shard.reply(slot);
    assert_eq!((reply.status, reply.header("x-sigmux-shard")), (101, None));
    shard.until(slot, |c| c.returned.is_some());
}

#[test]
fn a_connection_that_breaks_off_ends_its_exchange_and_no_other() {
    let mut shard = Shard::new();
    let (broken, other) = (shard.open(ECHO), shard.open(ECHO));
    for slot in [broken, other] {
        shard.send(slot, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nha");
        shard.until(slot, |c| c.received.ends_with(b"ha"));
    }
    shard.post(broken, TunnelStep::Reset);
    shard.send(other, "lf");
    assert_eq!(shard.reply(other).body, b"half");
    // The front has forgotten it: what still comes is of no use.
    shard.post(broken, TunnelStep::Bytes(Bytes::from_static(b"x")));
    let connection = shard.until(broken, |c| !c.unused.is_empty());
    assert!(!connection.was_reset && !connection.ended, "the shard knows already");
}

#[test]
fn a_connection_above_the_limit_gets_a_503() {
    let settings = Settings { tunnels_max: 1, ..Settings::default() };
    let mut shard = Shard::with(settings, Vec::new());
    let (first, second) = (shard.open(METRICS), shard.open(METRICS));
    let reply = shard.reply(second);
    assert_eq!((reply.status, reply.body.as_slice()), (503, &b"Too many HTTP connections\n"[..]));
    shard.until(second, |c| c.ended);
    shard.post(first, TunnelStep::End);
    shard.until(first, |c| c.ended);
    let third = shard.open(METRICS);
    shard.send(third, "GET /ready HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(shard.reply(third).status, 200);
}

#[test]
fn stopping_cuts_what_is_under_way_and_lets_companions_end() {
    let ended = Arc::new(AtomicBool::new(false));
    let seen = ended.clone();
    let companion: Companion = Box::new(move |stop| {
        Box::pin(async move {
            // The sender is dropped, which is an error in the channel's words.
            let _ = stop.await;
            seen.store(true, Ordering::Release);
        })
    });
    let mut shard = Shard::with(Settings::default(), vec![companion]);
    let slot = shard.open(ECHO);
    shard.send(slot, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nha");
    shard.until(slot, |c| c.received.ends_with(b"ha"));
    shard.enter(Phase::Draining);
    shard.stop();
    shard.until(slot, |c| c.ended);
    assert!(ended.load(Ordering::Acquire));
}

fn stream(window_bytes: usize) -> (TunnelStream, Arc<Outbound>) {
    let outbound = Arc::new(Outbound::default());
    let peer = PeerKey { node: NodeId::shard(0), slot: 1, generation: 1 };
    (TunnelStream::new(peer, window_bytes, 1024, outbound.clone()), outbound)
}

/// The steps so far, in words.
fn steps(outbound: &Outbound) -> Vec<String> {
    let mut taken = Default::default();
    outbound.take_all(&mut taken);
    let word = |outgoing| match outgoing {
        Outgoing::Gone => "gone".to_owned(),
        Outgoing::Deliver(_) | Outgoing::Dismiss => unreachable!("streams send no messages to peers"),
        Outgoing::Step(TunnelStep::Bytes(bytes)) => String::from_utf8(bytes.to_vec()).expect("text"),
        Outgoing::Step(TunnelStep::Credit(bytes)) => format!("credit {bytes}"),
        Outgoing::Step(TunnelStep::End) => "end".to_owned(),
        Outgoing::Step(TunnelStep::Reset) => "reset".to_owned(),
        Outgoing::Step(TunnelStep::Return(_)) => "return".to_owned(),
        Outgoing::Step(_) => "something that a front does not send".to_owned(),
    };
    taken.into_iter().map(|(_, outgoing)| word(outgoing)).collect()
}

#[test]
fn a_stream_ends_with_exactly_one_last_step() {
    fn assert_fit_for_libraries<T: Send + Unpin + 'static>(_: &T) {}
    let cx = &mut Context::from_waker(Waker::noop());

    let (dropped, outbound) = stream(8);
    assert_fit_for_libraries(&dropped);
    drop(dropped);
    assert_eq!(steps(&outbound), ["reset"]);

    let (mut answered, outbound) = stream(8);
    assert!(matches!(Pin::new(&mut answered).poll_write(cx, b"answer"), Poll::Ready(Ok(6))));
    drop(answered);
    assert_eq!(steps(&outbound), ["answer", "end", "gone"]);

    let (mut shut_down, outbound) = stream(8);
    assert!(Pin::new(&mut shut_down).poll_shutdown(cx).is_ready());
    assert!(Pin::new(&mut shut_down).poll_shutdown(cx).is_ready());
    let Poll::Ready(Err(error)) = Pin::new(&mut shut_down).poll_write(cx, b"x") else { panic!("no room") };
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    drop(shut_down);
    assert_eq!(steps(&outbound), ["end", "gone"]);

    let (given_back, outbound) = stream(8);
    given_back.give_back(b"", Upgrade::default());
    assert_eq!(steps(&outbound), ["return"]);

    let (mut cut, outbound) = stream(8);
    cut.tunnel().reset();
    let Poll::Ready(Err(error)) = Pin::new(&mut cut).poll_write(cx, b"x") else { panic!("it is gone") };
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(Pin::new(&mut cut).poll_shutdown(cx).is_ready());
    drop(cut);
    assert_eq!(steps(&outbound), ["gone"]);
}

#[test]
fn writes_fill_the_window_and_wait_for_credit() {
    let cx = &mut Context::from_waker(Waker::noop());
    let (mut stream, outbound) = stream(8);
    let parts = [IoSlice::new(b"abc"), IoSlice::new(b""), IoSlice::new(b"defghij")];
    assert!(matches!(Pin::new(&mut stream).poll_write_vectored(cx, &parts), Poll::Ready(Ok(8))));
    assert!(Pin::new(&mut stream).poll_write(cx, b"ij").is_pending());
    assert!(matches!(Pin::new(&mut stream).poll_write(cx, b""), Poll::Ready(Ok(0))));
    stream.tunnel().credit(1);
    assert!(matches!(Pin::new(&mut stream).poll_write(cx, b"ij"), Poll::Ready(Ok(1))));
    assert_eq!(steps(&outbound), ["abcdefgh", "i"]);
}

#[test]
fn reads_are_credited_by_the_quarter_window_and_end_after_the_last_byte() {
    let cx = &mut Context::from_waker(Waker::noop());
    let (mut stream, outbound) = stream(8);
    let tunnel = stream.tunnel();
    let mut read = |room: usize| {
        let mut memory = [0; 8];
        let mut buf = ReadBuf::new(&mut memory[..room]);
        match Pin::new(&mut stream).poll_read(cx, &mut buf) {
            Poll::Ready(result) => Some(result.map(|()| buf.filled().to_vec())),
            Poll::Pending => None,
        }
    };
    assert!(read(8).is_none());
    tunnel.receive(Bytes::from_static(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n")).unwrap();
    while read(8).is_some() {}
    steps(&outbound);
    tunnel.receive(Bytes::from_static(b"abc")).unwrap();
    tunnel.receive(Bytes::from_static(b"defgh")).unwrap();
    tunnel.end_input();
    assert_eq!(read(1).unwrap().unwrap(), b"a");
    assert_eq!(steps(&outbound), Vec::<String>::new());
    assert_eq!(read(4).unwrap().unwrap(), b"bcde");
    assert_eq!(steps(&outbound), ["credit 5"]);
    assert_eq!(read(8).unwrap().unwrap(), b"fgh");
    assert_eq!(read(8).unwrap().unwrap(), b"");
    tunnel.reset();
    assert_eq!(read(8).unwrap().unwrap_err().kind(), ErrorKind::ConnectionReset);
}
