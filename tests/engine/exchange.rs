//! A real call: offer, answer and candidates of a real WebRTC stack (see `tests/vectors/make.py`)
//! go from client to client and are compared byte by byte.

use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::harness::*;

const OFFER_SDP: &str = include_str!("../vectors/offer.sdp");
const ANSWER_SDP: &str = include_str!("../vectors/answer.sdp");
const CANDIDATES: &str = include_str!("../vectors/candidates.json");

/// The file as the document prints it, byte by byte.
const APP_CONFIG: &str = include_str!("../vectors/app-config.toml");

const ONE: &str = "test_client_1";
const TWO: &str = "test_client_2";

#[tokio::test]
async fn a_real_call_passes_byte_for_byte_over_websocket_on_one_shard() {
    let server = Setup::new().shards(1).start().await;
    for (one, other) in form_pairs() {
        let mut caller = Client::login(server.main(), Via::WebSocket, one, ONE).await;
        let mut callee = Client::login(server.main(), Via::WebSocket, other, TWO).await;
        call(&mut caller, &mut callee).await;
        call(&mut callee, &mut caller).await;
    }
}

#[tokio::test]
async fn a_real_call_passes_byte_for_byte_over_websocket_across_shards() {
    let server = Setup::new().shards(2).start().await;
    for (one, other) in form_pairs() {
        let (mut caller, mut callee) = across_shards(&server, (one, ONE), (other, TWO)).await;
        call(&mut caller, &mut callee).await;
        call(&mut callee, &mut caller).await;
        caller.leave().await;
        callee.leave().await;
        let (mut caller, mut callee) = on_one_shard(&server, (one, ONE), (other, TWO)).await;
        call(&mut caller, &mut callee).await;
        call(&mut callee, &mut caller).await;
        caller.leave().await;
        callee.leave().await;
    }
}

#[tokio::test]
async fn a_real_call_passes_byte_for_byte_over_plain_tcp_on_one_shard() {
    let server = Setup::new().shards(1).start().await;
    for (one, other) in form_pairs() {
        let mut caller = Client::login(server.main(), Via::Tcp, one, ONE).await;
        let mut callee = Client::login(server.main(), Via::Tcp, other, TWO).await;
        call(&mut caller, &mut callee).await;
        call(&mut callee, &mut caller).await;
    }
}

/// A TCP connection does not tell its shard. WebSocket partners on both shards do: whichever shard
/// has the TCP client, one of the two calls crosses over.
#[tokio::test]
async fn a_real_call_passes_byte_for_byte_between_plain_tcp_and_websocket_across_shards() {
    let server = Setup::new().shards(2).start().await;
    for (one, other) in form_pairs() {
        let (mut alice, mut bob) = across_shards(&server, (other, "alice"), (other, "bob")).await;
        let mut tcp = Client::login(server.main(), Via::Tcp, one, ONE).await;
        for partner in [&mut alice, &mut bob] {
            call(&mut tcp, partner).await;
            call(partner, &mut tcp).await;
        }
        for client in [alice, bob, tcp] {
            client.leave().await;
        }
    }
}

#[tokio::test]
async fn a_real_call_passes_byte_for_byte_between_plain_tcp_clients_on_two_shards() {
    let server = Setup::new().shards(2).start().await;
    for (one, other) in form_pairs() {
        // Nobody sees which shard a TCP client is on; of eight pairs, some are on two.
        for _ in 0..8 {
            let mut caller = Client::login(server.main(), Via::Tcp, one, ONE).await;
            let mut callee = Client::login(server.main(), Via::Tcp, other, TWO).await;
            call(&mut caller, &mut callee).await;
            call(&mut callee, &mut caller).await;
            caller.leave().await;
            callee.leave().await;
        }
    }
}

#[tokio::test]
async fn the_documented_app_config_serves_a_real_call_as_it_stands() {
    for shards in ["1", "2"] {
        let env = [
            ("SIGNAL_MANAGER_SERVER_PORT", "0".to_owned()),
            ("SIGNAL_MANAGER_METRICS_PORT", "0".to_owned()),
            ("SIGMUX_SERVER_SHARDS", shards.to_owned()),
        ];
        let server = Server::start(APP_CONFIG, &env).await;
        let addr = server.serving("binary");
        for via in Via::BOTH {
            for (one, other) in form_pairs() {
                let mut caller = Client::login(addr, via, one, ONE).await;
                let mut callee = Client::login(addr, via, other, TWO).await;
                call(&mut caller, &mut callee).await;
                call(&mut callee, &mut caller).await;
                caller.leave().await;
                callee.leave().await;
            }
        }
        let ready = Http::open(server.metrics()).await.get("/ready").await;
        assert_eq!(ready.status, 200);
    }
}

/// What `cargo run` starts: no file named, `config/sigmux.toml` found, the documented ports.
#[tokio::test]
async fn the_shipped_config_serves_a_real_call_on_the_documented_ports() {
    for port in [8080, 8081, 8001, 8082, 8090, 9090] {
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_err() {
            skip(
                "the_shipped_config_serves_a_real_call_on_the_documented_ports",
                "a documented port is in use",
            );
            return;
        }
    }
    let server = Server::start_in(Path::new(env!("CARGO_MANIFEST_DIR"))).await;
    assert_eq!(server.addresses_serving("metrics")[0].port(), 9090);
    for addr in server.addresses_serving("binary") {
        assert!(addr.ip().is_loopback(), "{addr}");
        assert_eq!(addr.port(), 8080);
        for via in Via::BOTH {
            let mut caller = Client::login(addr, via, Form::FlatJson, ONE).await;
            let mut callee = Client::login(addr, via, Form::TaggedJson, TWO).await;
            call(&mut caller, &mut callee).await;
            caller.leave().await;
            callee.leave().await;
        }
    }
}

/// JSON as the document has it, and as deployed clients have it; then both mixed.
fn form_pairs() -> [(Form, Form); 3] {
    [
        (Form::FlatJson, Form::FlatJson),
        (Form::TaggedJson, Form::TaggedJson),
        (Form::FlatJson, Form::TaggedJson),
    ]
}

#[derive(Deserialize)]
struct Candidate<'a> {
    side: &'a str,
    #[serde(borrow)]
    init: &'a RawValue,
}

/// `caller` offers, `callee` answers whoever the offer names, both trickle their candidates.
async fn call(caller: &mut Client, callee: &mut Client) {
    let candidates: Vec<Candidate<'_>> = serde_json::from_str(CANDIDATES).expect("the vector is JSON");
    let (offered, answered): (Vec<_>, Vec<_>) = candidates.into_iter().partition(|it| it.side == "offer");
    assert!(offered.len() > 1 && !answered.is_empty(), "both sides have gathered");

    let callee_id = callee.id.clone();
    let caller_id = pass(caller, callee, OFFER, &callee_id, OFFER_SDP).await;
    pass(callee, caller, ANSWER, &caller_id, ANSWER_SDP).await;
    for candidate in offered {
        pass(caller, callee, CANDIDATE, &callee_id, candidate.init.get()).await;
    }
    for candidate in answered {
        pass(callee, caller, CANDIDATE, &caller_id, candidate.init.get()).await;
    }
}

/// One signal, compared; gives whom the target believes it to come from.
async fn pass(from: &mut Client, to: &mut Client, kind: u8, target: &str, data: &str) -> String {
    let sent = from.signal(kind, target, data).await;
    let signal = to.delivered(&sent).await;
    assert!(signal.data.as_bytes() == data.as_bytes(), "{} and {} differ", signal.data, data);
    assert_eq!(signal.target.as_deref(), Some(target));
    assert_eq!(signal.sender.as_ref(), Some(&from.id));
    signal.sender.expect("compared above")
}
