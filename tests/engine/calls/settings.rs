//! The documented flags and `SIGNALS_*` variables.

use std::net::TcpListener;

use super::{alone, until_a_seat_is_free};
use crate::harness::*;

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address").port()
}

async fn seats_of(server: &Server) -> usize {
    let mut seats = 0;
    while Seat::try_take(server.main(), "demo").await.is_ok() {
        seats += 1;
        assert!(seats < 100);
    }
    seats
}

#[tokio::test]
async fn signals_addr_and_healthz_addr_move_the_ports() {
    let (port, health) = (free_port(), free_port());
    let setup = alone().listener("health", &["calls-health"]);
    let by_variable = setup
        .clone()
        .env("SIGNALS_ADDR", format!("127.0.0.1:{port}"))
        .env("SIGNALS_HEALTHZ_ADDR", format!("127.0.0.1:{health}"));
    let server = by_variable.start().await;
    assert_eq!((server.main().port(), server.addr("health").port()), (port, health));
    Seat::take(server.main(), "demo").await;
    assert_eq!(ask(server.addr("health"), "GET", "/healthz", &[], None).await.status, 200);
    drop(server);
    let (port, health) = (free_port(), free_port());
    let by_flag = setup.args(&[
        "--addr",
        &format!("127.0.0.1:{port}"),
        "--healthz-addr",
        &format!("127.0.0.1:{health}"),
    ]);
    let server = by_flag.start().await;
    assert_eq!((server.main().port(), server.addr("health").port()), (port, health));
}

#[tokio::test]
async fn a_port_without_a_host_means_all_addresses() {
    let port = free_port();
    let server = alone().env("SIGNALS_ADDR", format!(":{port}")).start().await;
    let bound = server.addresses_serving("calls");
    assert!(bound.iter().all(|it| it.port() == port && it.ip().is_unspecified()), "{bound:?}");
    for host in ["127.0.0.1", "127.0.0.2"] {
        let addr = format!("{host}:{port}").parse().expect("an address");
        assert_eq!(ask(addr, "GET", "/call/", &[], None).await.status, 404);
    }
}

#[tokio::test]
async fn seats_are_counted_by_variable_and_by_flag_and_a_flag_wins() {
    let file = "[calls]\nseat_count = 5";
    for (setup, seats) in [
        (alone(), 2),
        (alone().section(file), 5),
        (alone().section(file).env("SIGNALS_SEAT_COUNT", 3), 3),
        (alone().section(file).args(&["--seat-count", "4"]), 4),
        (alone().section(file).env("SIGNALS_SEAT_COUNT", 3).args(&["--seat-count=1"]), 1),
    ] {
        let server = setup.start().await;
        assert_eq!(seats_of(&server).await, seats);
    }
}

#[tokio::test]
async fn the_seats_time_is_set_by_variable_and_by_flag() {
    let file = "[calls]\nseat_count = 1";
    for setup in [
        alone().section(file).env("SIGNALS_SEAT_TIMEOUT", "1s"),
        alone().section(file).args(&["--seat-timeout", "1s"]),
    ] {
        let server = setup.start().await;
        Seat::take(server.main(), "demo").await;
        until_a_seat_is_free(&server, "demo").await;
    }
}

#[tokio::test]
async fn the_times_of_a_websocket_are_set_by_variable_and_by_flag() {
    for setup in [
        alone().env("SIGNALS_WS_HANDSHAKE_TIMEOUT", "300ms"),
        alone().args(&["--ws-handshake-timeout", "300ms"]),
    ] {
        let server = setup.start().await;
        let mut line = TextClient::open_at(server.main(), "/ws").await;
        assert_eq!(line.closed().await, (1000, "handshake read failure".into()));
    }
    for setup in [
        alone().env("SIGNALS_WS_PING_INTERVAL", "200ms").env("SIGNALS_WS_READ_TIMEOUT", "1s"),
        alone().args(&["--ws-ping-interval", "200ms", "--ws-read-timeout", "1s"]),
    ] {
        let server = setup.start().await;
        let seat = Seat::take(server.main(), "demo").await;
        let mut raw = RawWs::open(server.main()).await;
        raw.send(&ws_frame(opcode::FIN | opcode::TEXT, seat.join().to_string().as_bytes())).await;
        assert_eq!(raw.next().await.expect("a welcome").0, opcode::FIN | opcode::TEXT);
        assert_eq!(raw.next().await.expect("a ping").0, opcode::FIN | opcode::PING);
        while raw.next().await.is_some_and(|(first, _)| first != opcode::FIN | opcode::CLOSE) {}
    }
}

#[tokio::test]
async fn the_origin_is_set_by_variable_and_by_flag() {
    for setup in [
        alone().env("SIGNALS_ORIGIN", "https://call.example.org"),
        alone().args(&["--origin", "https://call.example.org"]),
    ] {
        let server = setup.start().await;
        let response = ask(server.main(), "GET", "/call/demo", &[], None).await;
        assert_eq!(response.header("access-control-allow-origin"), Some("https://call.example.org"));
    }
}

/// Whoever set up the deployed server can start this one in the same way.
#[tokio::test]
async fn every_documented_flag_is_understood() {
    let (port, health) = (free_port(), free_port());
    let flags = [
        format!("--addr=127.0.0.1:{port}"),
        format!("--healthz-addr=127.0.0.1:{health}"),
        "--origin=http://localhost:3000".into(),
        "--redis-addr=localhost:6379".into(),
        "--seat-count=3".into(),
        "--seat-timeout=30s".into(),
        "--ws-handshake-timeout=0s".into(),
        "--ws-join-timeout=0s".into(),
        "--ws-ping-interval=5s".into(),
        "--ws-read-timeout=10s".into(),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let server = alone().listener("health", &["calls-health"]).args(&flags).start().await;
    assert_eq!(seats_of(&server).await, 3);
}

#[tokio::test]
async fn a_value_that_is_none_ends_the_start_with_2() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("sigmux.toml"), alone().toml()).expect("the file is written");
    for (flag, variable, value) in [
        ("--seat-count", "SIGNALS_SEAT_COUNT", "many"),
        ("--seat-count", "SIGNALS_SEAT_COUNT", "0"),
        ("--seat-timeout", "SIGNALS_SEAT_TIMEOUT", "soon"),
        ("--addr", "SIGNALS_ADDR", "nowhere"),
        ("--origin", "SIGNALS_ORIGIN", "not an origin"),
    ] {
        let by_flag = tool(folder.path(), &["serve", "-c", "sigmux.toml", flag, value], &[]).await;
        assert_eq!(by_flag.status.code(), Some(2), "{flag} {value}");
        let by_variable = tool(folder.path(), &["serve", "-c", "sigmux.toml"], &[(variable, value)]).await;
        assert_eq!(by_variable.status.code(), Some(2), "{variable}={value}");
        for output in [by_flag, by_variable] {
            assert_eq!(output.stdout, b"");
            assert!(!output.stderr.is_empty());
        }
    }
}
