//! Limits of one address: connections, how fast they come, and what is opened over them.

use std::time::Duration;

use serde_json::json;

use super::{connect_from, metric};
use crate::harness::*;

const HERE: [u8; 4] = [127, 0, 0, 1];
const THERE: [u8; 4] = [127, 0, 0, 2];

fn setup() -> Setup {
    Setup::new().listener("main", &["binary", "rooms", "broadcast", "calls", "devices"])
}

/// Status and `Retry-After` of the answer to an upgrade from there.
async fn upgrade_from(server: &Server, source: [u8; 4]) -> (u16, Option<String>, Http) {
    let mut http = Http::over(connect_from(source, server.main()).await);
    let request = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    http.send(request.as_bytes()).await;
    let answer = http.response(false).await.expect("an answer");
    (answer.status, answer.header("retry-after").map(String::from), http)
}

#[tokio::test]
async fn a_connection_over_the_limit_of_its_address_is_a_429_on_any_shard_and_another_address_gets_in() {
    let server = setup().server("max_connections_per_ip", 5).start().await;
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(connect_from(HERE, server.main()).await);
    }
    // The server accepts in its own time, each shard for itself.
    until("five count", async || {
        (metric(&server, "sigmux_connections_accepted_total").await >= 6).then_some(())
    })
    .await;
    for _ in 0..8 {
        let (status, retry_after, mut http) = upgrade_from(&server, HERE).await;
        assert_eq!((status, retry_after.as_deref()), (429, Some("1")));
        assert!(http.until_end().await.is_empty(), "and it is closed");
        let mut frames = Client::over(connect_from(HERE, server.main()).await, server.main(), Via::Tcp).await;
        frames.send(&Form::FlatJson.connect("alice", &token_of("alice"))).await;
        frames.error(429).await;
        assert!(frames.closed().await.is_none());
    }
    assert_eq!(upgrade_from(&server, THERE).await.0, 101);
    assert_eq!(metric(&server, "sigmux_connections_crowded_total").await, 16);

    // Who leaves makes room.
    open.pop();
    until("there is room again", async || (upgrade_from(&server, HERE).await.0 == 101).then_some(())).await;
}

#[tokio::test]
async fn connections_of_one_address_come_at_a_rate_over_all_shards() {
    let server = setup().server("connect_rate_per_ip", 10).start().await;
    let mut admitted = 0;
    for _ in 0..30 {
        admitted += usize::from(upgrade_from(&server, HERE).await.0 == 101);
    }
    // A second's worth, and what has come up meanwhile.
    assert!((10..=20).contains(&admitted), "{admitted} of 30");
    assert_eq!(upgrade_from(&server, THERE).await.0, 101);
    until("the rate has caught up", async || (upgrade_from(&server, HERE).await.0 == 101).then_some(()))
        .await;
}

#[tokio::test]
async fn operators_get_in_whatever_their_address_has_open() {
    let server = setup().server("max_connections_per_ip", 1).server("connect_rate_per_ip", 1).start().await;
    let _one = connect_from(HERE, server.main()).await;
    for _ in 0..20 {
        assert_eq!(Http::open(server.metrics()).await.get("/health").await.status, 200);
    }
}

#[tokio::test]
async fn this_machine_is_spared_by_the_limits_that_nobody_asked_for() {
    let server = setup().start().await;
    let addr = server.main();
    for _ in 0..40 {
        let mut client = Client::open(addr, Via::Tcp).await;
        client.refused(&Form::FlatJson.connect("alice", "wrong"), 401).await;
        assert_eq!(post_json(addr, "/anonymous-signin", &[], &json!({})).await.status, 200);
    }
    Client::login(addr, Via::Tcp, Form::FlatJson, "alice").await;
}

#[tokio::test]
async fn one_address_creates_rooms_signs_in_and_takes_seats_at_a_rate_of_its_own() {
    let server = setup()
        .server("limit_loopback", true)
        .section("[rooms]\nsignin_rate_per_ip = 3\ncreate_rate_per_ip = 2\nstore = 'memory'")
        .section("[calls]\nseat_rate_per_ip = 4")
        .start()
        .await;
    let ask_from = async |source, method: &str, path: &str, headers: &[(&str, &str)]| {
        let mut http = Http::over(connect_from(source, server.main()).await);
        http.send(&http_request(method, path, headers, (method == "POST").then_some("{}"))).await;
        http.response(false).await.expect("an answer")
    };
    let token = json_of(&ask_from(HERE, "POST", "/anonymous-signin", &[]).await)["id_token"].clone();
    let bearer = format!("Bearer {}", token.as_str().expect("a token"));
    for (method, path, a_second) in
        [("POST", "/anonymous-signin", 3), ("POST", "/create-room", 2), ("GET", "/call/", 4)]
    {
        let headers = [("Authorization", bearer.as_str())];
        let mut statuses = Vec::new();
        for number in 0..20 {
            let path = if method == "GET" { format!("{path}call-{number}") } else { path.to_owned() };
            let answer = ask_from(HERE, method, &path, &headers).await;
            assert_eq!(answer.header("retry-after"), (answer.status == 429).then_some("1"), "{path}");
            statuses.push(answer.status);
        }
        let admitted = statuses.iter().filter(|&&status| status == 200).count();
        assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{path}: {statuses:?}");
        assert!((1..=3 * a_second).contains(&admitted), "{path}: {statuses:?}");
        let path = if method == "GET" { "/call/elsewhere" } else { path };
        assert_eq!(ask_from(THERE, method, path, &headers).await.status, 200, "{path}");
    }
    assert!(metric(&server, "sigmux_requests_throttled_total").await > 30);
}

#[tokio::test]
async fn one_address_has_so_many_socket_io_clients_however_few_its_connections_are() {
    let server =
        setup().server("limit_loopback", true).section("[broadcast]\nclients_max_per_ip = 3").start().await;
    let mut stations = Vec::new();
    for transport in [Transport::Polling, Transport::WebSocket, Transport::Polling] {
        stations.push(Station::connect(server.main(), transport).await);
    }
    // All over one connection.
    let mut http = Http::open(server.main()).await;
    for _ in 0..5 {
        let open = http.get("/socket.io/?EIO=4&transport=polling").await;
        let sid = open.text().split('"').nth(3).expect("a sid").to_owned();
        let path = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
        http.send(&http_request("POST", &path, &[("Content-Type", "text/plain")], Some("40"))).await;
        assert_eq!(http.response(false).await.expect("an answer").status, 200);
        let refused = http.get(&path).await;
        assert!(refused.text().contains("Too many clients from this address"), "{}", refused.text());
    }
    stations.pop().expect("three").leave().await;
    let leaves = async || {
        let page = Http::open(server.metrics()).await.get("/metrics").await;
        page.text().contains("sigmux_broadcast_clients 2\n").then_some(())
    };
    until("one has left", leaves).await;
    stations.push(Station::connect(server.main(), Transport::WebSocket).await);
    for station in &mut stations {
        station.is_quiet_and_alive().await;
    }
}

/// What an address has open is forgotten when it is closed, however that came about.
#[tokio::test]
async fn a_closed_connection_counts_no_more() {
    let server = setup()
        .server("max_connections_per_ip", 4)
        .server("first_message_seconds", "'300ms'")
        .server("close_seconds", "'300ms'")
        .start()
        .await;
    for round in 0..5 {
        let mut open = Vec::new();
        for _ in 0..4 {
            open.push(connect_from(HERE, server.main()).await);
        }
        match round {
            // They say nothing, and are closed for it.
            0 => {}
            // They vanish.
            1 => open.clear(),
            // They reset the connection.
            2 => open.drain(..).for_each(|stream| {
                stream.set_zero_linger().expect("a socket");
            }),
            _ => {
                for stream in open.drain(..) {
                    let mut http = Http::over(stream);
                    http.send(b"nonsense\r\n\r\n").await;
                    http.until_end().await;
                }
            }
        }
        until("there is room again", async || {
            let (status, _, http) = upgrade_from(&server, HERE).await;
            drop(http);
            (status == 101).then_some(())
        })
        .await;
        drop(open);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    until("nobody is left", async || (metric(&server, "sigmux_addresses").await == 0).then_some(())).await;
}

#[tokio::test]
async fn limits_and_proxies_change_with_a_reload_and_who_is_there_stays() {
    let named = |client: &str| format!("PROXY TCP4 {client} 192.0.2.1 5000 443\r\n").into_bytes();
    let setup = setup().server("limit_loopback", true);
    let server = setup.start().await;
    let mut bystanders = Bystanders::login(&server).await;
    let login = async |code: u64| {
        let mut client = Client::open(server.main(), Via::Tcp).await;
        client.refused(&Form::FlatJson.connect("alice", "wrong"), code).await;
    };
    login(401).await;
    assert!(server.reload(&setup.clone().server("failed_logins_per_minute", 1)).await);
    // The guess from before counts.
    login(429).await;

    let few = setup.clone().server("max_connections_per_ip", 1);
    assert!(server.reload(&few).await);
    assert_eq!(upgrade_from(&server, HERE).await.0, 429, "those from before count");
    assert_eq!(upgrade_from(&server, THERE).await.0, 101);
    bystanders.talk().await;

    // Without the setting its header is a bad request.
    let behind = few.server("trusted_proxies", "['127.0.0.2']").server("proxy_protocol", true);
    let answer = async |source, client: &str| {
        let mut http = Http::over(connect_from(source, server.main()).await);
        http.send(&named(client)).await;
        http.send(&http_request("GET", "/health", &[], None)).await;
        http.response(false).await.expect("an answer").status
    };
    assert_eq!(answer(THERE, "203.0.113.7").await, 400);
    assert!(server.reload(&behind).await);
    assert_eq!(answer(THERE, "203.0.113.7").await, 200);
    assert_eq!(answer(HERE, "203.0.113.8").await, 400, "still no proxy");
    let logs = server.logs();
    for key in ["server.max_connections_per_ip", "server.trusted_proxies", "listener.proxy_protocol"] {
        assert!(logs.lines().any(|line| line.contains("reloaded: changed") && line.contains(key)), "{logs}");
    }
    assert!(server.reload(&setup).await);
    assert_eq!(upgrade_from(&server, HERE).await.0, 101);
    bystanders.talk().await;
}
