//! Seats renew on pong only, and lapse `seat_timeout` after the last renewal.

use std::time::Duration;

use tokio::time::Instant;

use super::{alone, until_a_seat_is_free};
use crate::harness::*;

const TIMEOUT: Duration = Duration::from_secs(1);

/// One seat that lapses after a second; pings come often enough to renew it.
fn one_short_seat() -> Setup {
    alone().section(
        "[calls]\nseat_count = 1\nseat_timeout = '1s'\nws_ping_interval = '200ms'\nws_read_timeout = '60s'",
    )
}

#[tokio::test]
async fn a_seat_that_nobody_connects_to_lapses() {
    let server = one_short_seat().start().await;
    Seat::take(server.main(), "demo").await;
    let (_, after) = until_a_seat_is_free(&server, "demo").await;
    // Deployed seats have a resolution of a second.
    assert!(after > TIMEOUT / 2 && after < 5 * TIMEOUT, "{after:?}");
}

#[tokio::test]
async fn pongs_keep_a_seat() {
    let server = one_short_seat().start().await;
    let seat = Seat::take(server.main(), "demo").await;
    let caller = seat.connect(server.main()).await;
    let started = Instant::now();
    while started.elapsed() < 4 * TIMEOUT {
        assert_eq!(Seat::try_take(server.main(), "demo").await.err(), Some(409), "{:?}", started.elapsed());
        tokio::task::yield_now().await;
    }
    drop(caller);
    until_a_seat_is_free(&server, "demo").await;
}

#[tokio::test]
async fn nothing_but_a_pong_keeps_a_seat() {
    let server = one_short_seat().start().await;
    let seat = Seat::take(server.main(), "demo").await;
    let mut raw = RawWs::open(server.main()).await;
    raw.send(&ws_frame(opcode::FIN | opcode::TEXT, seat.join().to_string().as_bytes())).await;
    assert_eq!(raw.next().await.expect("a welcome").0, opcode::FIN | opcode::TEXT);
    let started = Instant::now();
    until("the seat is free", async || {
        // Pings are left without an answer; everything else that a client can say is said.
        raw.send(&ws_frame(opcode::FIN | opcode::TEXT, b"{\"kind\":\"PONG\"}")).await;
        raw.send(&ws_frame(opcode::FIN | opcode::PING, b"")).await;
        let signalled = seat.signal(server.main(), "OFFER", "x").await.status;
        let taken = Seat::try_take(server.main(), "demo").await.ok();
        assert!(taken.is_some() || signalled == 200 || signalled == 409, "{signalled}");
        taken
    })
    .await;
    assert!(started.elapsed() > TIMEOUT / 2, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_disconnect_does_not_free_a_seat_at_once() {
    let server = one_short_seat().start().await;
    for vanish in [true, false] {
        let call = format!("call-{vanish}");
        let seat = Seat::take(server.main(), &call).await;
        if vanish {
            seat.connect(server.main()).await.vanish().await;
        } else {
            let mut line = TextClient::open_at(server.main(), "/ws").await;
            line.send(&seat.join()).await;
            assert_eq!(line.json().await["kind"], "WELCOME");
            line.close().await;
        }
        assert_eq!(Seat::try_take(server.main(), &call).await.err(), Some(409));
        // The same session may come back, for a while.
        let again = seat.connect(server.main()).await;
        drop(again);
        until_a_seat_is_free(&server, &call).await;
    }
}

/// The first ping comes after the seat has lapsed, and before that of the newcomer does.
#[tokio::test]
async fn a_seat_that_somebody_else_took_is_a_renewal_failure() {
    let section =
        "[calls]\nseat_count = 1\nseat_timeout = '2s'\nws_ping_interval = '3s'\nws_read_timeout = '60s'";
    let server = alone().section(section).start().await;
    let lapsed = Seat::take(server.main(), "demo").await;
    let mut caller = lapsed.connect(server.main()).await;
    let (newcomer, _) = until_a_seat_is_free(&server, "demo").await;
    assert_eq!(lapsed.signal(server.main(), "OFFER", "x").await.status, 409);
    newcomer.signals(server.main(), "OFFER", "not for those without a seat").await;
    assert_eq!(caller.closed().await, (1000, "seat renewal failure".into()));
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_closed_after_ws_read_timeout() {
    let section = "[calls]\nseat_timeout = '1s'\nws_ping_interval = '200ms'\nws_read_timeout = '1s'";
    let server = alone().section(section).start().await;
    let seat = Seat::take(server.main(), "demo").await;
    let mut raw = RawWs::open(server.main()).await;
    raw.send(&ws_frame(opcode::FIN | opcode::TEXT, seat.join().to_string().as_bytes())).await;
    let started = Instant::now();
    let mut pings = 0;
    loop {
        match raw.next().await {
            Some((first, _)) if first == opcode::FIN | opcode::PING => pings += 1,
            Some((first, _)) if first == opcode::FIN | opcode::TEXT => {}
            Some((first, payload)) => {
                assert_eq!(first, opcode::FIN | opcode::CLOSE, "{payload:02x?}");
                break;
            }
            None => break,
        }
    }
    let lasted = started.elapsed();
    assert!(lasted > Duration::from_millis(500) && lasted < Duration::from_secs(6), "{lasted:?}");
    assert!(pings >= 2, "{pings} pings in {lasted:?}");
}

/// The seat itself would last far longer.
#[tokio::test]
async fn a_caller_that_falls_silent_is_closed_for_want_of_its_seat() {
    let section = "[calls]\nseat_timeout = '60s'\nws_ping_interval = '300ms'\nws_read_timeout = '1s'";
    let server = alone().section(section).start().await;
    let seat = Seat::take(server.main(), "demo").await;
    let mut raw = RawWs::open(server.main()).await;
    raw.send(&ws_frame(opcode::FIN | opcode::TEXT, seat.join().to_string().as_bytes())).await;
    let started = Instant::now();
    assert_eq!(raw.next().await.expect("a welcome").0, opcode::FIN | opcode::TEXT);
    assert_eq!(raw.next().await.expect("a ping").0, opcode::FIN | opcode::PING);
    assert_eq!(raw.closed().await, (1000, "seat renewal failure".into()));
    let lasted = started.elapsed();
    assert!(lasted > Duration::from_millis(900) && lasted < Duration::from_secs(6), "{lasted:?}");
}

/// A silent socket beside it shows that more than the time is over.
#[tokio::test]
async fn a_client_that_answers_pings_is_not_closed() {
    let section = "[calls]\nws_ping_interval = '200ms'\nws_read_timeout = '800ms'";
    let server = alone().section(section).start().await;
    let one = Seat::take(server.main(), "demo").await;
    let mut caller = one.connect(server.main()).await;
    let silent = Seat::take(server.main(), "other").await;
    for _ in 0..2 {
        let mut raw = RawWs::open(server.main()).await;
        raw.send(&ws_frame(opcode::FIN | opcode::TEXT, silent.join().to_string().as_bytes())).await;
        while raw.next().await.is_some_and(|(first, _)| first != opcode::FIN | opcode::CLOSE) {}
    }
    let two = Seat::take(server.main(), "demo").await;
    caller.hears("demo", "PEER", None).await;
    two.signals(server.main(), "OFFER", "still there").await;
    caller.hears("demo", "OFFER", Some("still there")).await;
}

#[tokio::test]
async fn several_sockets_of_one_session_hear_the_same() {
    let server = alone().start().await;
    let seat = Seat::take(server.main(), "demo").await;
    let mut sockets = Vec::new();
    for _ in 0..4 {
        sockets.push(seat.connect(server.main()).await);
    }
    let other = Seat::take(server.main(), "demo").await;
    let mut peer = other.connect(server.main()).await;
    other.signals(server.main(), "OFFER", "to all of them").await;
    for socket in &mut sockets {
        socket.hears("demo", "PEER", None).await;
        socket.hears("demo", "OFFER", Some("to all of them")).await;
    }
    // None of them hears their own session.
    seat.signals(server.main(), "ANSWER", "mine").await;
    peer.hears("demo", "ANSWER", Some("mine")).await;
    sockets.pop().expect("a socket").vanish().await;
    other.signals(server.main(), "CANDIDATE", "after one has gone").await;
    for socket in &mut sockets {
        socket.hears("demo", "CANDIDATE", Some("after one has gone")).await;
    }
}
