//! `sigmux load`: what it reports of the real engine, and what it notices of a bad one.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::harness::*;

/// What must be zero after a clean run.
const FAULTS: [&str; 6] = ["errors", "lost", "unsent", "duplicated", "out_of_order", "corrupt"];

/// Exit code, the JSON of stdout (nothing where there is none), and stderr.
async fn load(flags: &str) -> (Option<i32>, Value, String) {
    let args: Vec<&str> = ["load", "--json"].into_iter().chain(flags.split_whitespace()).collect();
    let output = tool(Path::new("/"), &args, &[]).await;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default(), stderr)
}

/// The report of a run of one second in which nothing may go wrong.
async fn clean(flags: &str) -> Value {
    let (code, report, stderr) = load(&format!("--duration 1s {flags}")).await;
    assert_eq!(code, Some(0), "{flags}: {report} {stderr}");
    for fault in FAULTS {
        assert_eq!(report[fault], 0, "{flags}: {fault} in {report}");
    }
    assert_eq!(report["clean"], true, "{flags}");
    assert!(stderr.contains("measuring"), "{flags}: no progress in {stderr}");
    report
}

fn is_positive(value: &Value) -> bool {
    value.as_f64().is_some_and(|number| number > 0.0)
}

async fn server() -> Server {
    let all = ["binary", "rooms", "devices", "calls"];
    Setup::new().open_to_all().listener("main", &all).section("[rooms]\nstore = 'memory'").start().await
}

#[tokio::test]
async fn tls_is_measured_in_every_dialect_and_mode() {
    let authority = Authority::new("tests");
    let pair = authority.server();
    let setup = Setup::new().open_to_all().section("[rooms]\nstore = 'memory'").tls(&pair);
    let server = setup.listener("main", &["binary", "rooms", "devices", "calls"]).start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, authority.pem()).expect("written");
    let (main, ca) = (server.main(), format!("--ca {}", file.display()));
    for flags in [
        format!("--url wss://{main}/ --outstanding 32 --size mixed {ca}"),
        format!("--url tls://{main} --outstanding 4 --size sdp --insecure"),
        format!("--url wss://{main}/ --dialect rooms --size ice {ca}"),
        format!("--url wss://{main}/ --dialect devices --size mixed --outstanding 2 {ca}"),
        format!("--url wss://{main}/ws --dialect calls --size ice --outstanding 2 --insecure"),
        format!("--url wss://{main}/ --mode open --rate 2000 {ca}"),
        format!("--url wss://{main}/ --mode storm {ca}"),
    ] {
        let report = clean(&format!("{flags} --connections 16")).await;
        assert!(is_positive(&report["arrived"]), "{flags}: {report}");
    }
    // Somebody else's certificate.
    std::fs::write(&file, Authority::new("somebody else").pem()).expect("written");
    let (code, _, stderr) = load(&format!("--duration 1s --url wss://{main}/ --connections 2 {ca}")).await;
    assert_eq!(code, Some(1), "{stderr}");
}

#[tokio::test]
async fn every_dialect_is_measured_in_closed_loop() {
    let server = server().await;
    let main = server.main();
    for flags in [
        format!("--url ws://{main}/ --server-pid {}", server.pid()),
        format!("--url ws://{main}/ --outstanding 32 --size mixed --warm-up 200ms"),
        format!("--url tcp://{main} --outstanding 4 --size sdp"),
        format!("--url ws://{main}/ --dialect rooms --size ice"),
        format!("--url ws://{main}/ --dialect devices --size mixed --outstanding 2"),
        format!("--url ws://{main}/ws --dialect calls --size ice --outstanding 2"),
    ] {
        let report = clean(&format!("{flags} --connections 16")).await;
        assert!(is_positive(&report["messages"]), "{flags}: {report}");
        assert_eq!(report["sent"], report["arrived"], "{flags}");
        assert_eq!(report["connections"]["paired"], 16, "{flags}");
        let latency = &report["latency_us"];
        let quantiles: Vec<f64> = ["min", "p50", "p90", "p99", "p99_9", "max"]
            .iter()
            .map(|name| latency[name].as_f64().unwrap_or_else(|| panic!("{name} in {latency}")))
            .collect();
        assert!(quantiles[0] > 0.0 && quantiles.is_sorted(), "{latency}");
        assert!(is_positive(&report["generator"]["cpu_share"]), "{flags}: {report}");
        if flags.contains("--server-pid") {
            assert!(is_positive(&report["server"]["cpu_us_per_message"]), "{report}");
            assert!(is_positive(&report["server"]["memory_loaded"]["proportional"]), "{report}");
            assert!(report["server"]["proportional_bytes_per_connection"].is_number(), "{report}");
        }
    }
}

#[tokio::test]
async fn an_open_loop_keeps_its_rate() {
    let server = server().await;
    for spin in ["", "--spin"] {
        let flags = format!("--url ws://{}/ --mode open --rate 2000 --connections 10 {spin}", server.main());
        let report = clean(&flags).await;
        let sent = report["sent"].as_u64().expect("a number");
        // What is due in a second, whatever this machine does; a turn begins late by some of them.
        assert!((1800..=2400).contains(&sent), "{report}");
        assert!(is_positive(&report["lateness_us"]["p99"]), "{report}");
    }
}

#[tokio::test]
async fn idle_connections_and_logins_are_counted() {
    let server = server().await;
    let (main, pid) = (server.main(), server.pid());
    let idle = clean(&format!(
        "--url ws://{main}/ --mode idle --connections 100 --warm-up 100ms --server-pid {pid}"
    ))
    .await;
    assert_eq!(idle["connections"]["ready"], 100, "{idle}");
    assert!(idle["server"]["resident_bytes_per_connection"].is_number(), "{idle}");
    for flags in [
        format!("--url ws://{main}/"),
        format!("--url tcp://{main}"),
        format!("--url ws://{main}/ --dialect devices"),
        format!("--url ws://{main}/ --dialect calls"),
    ] {
        let storm = clean(&format!("{flags} --mode storm --connections 8 --server-pid {pid}")).await;
        assert!(is_positive(&storm["messages"]), "{flags}: {storm}");
        assert!(is_positive(&storm["latency_us"]["p99"]), "{flags}: {storm}");
        assert!(is_positive(&storm["server"]["cpu_us_per_message"]), "{flags}: {storm}");
    }
}

#[tokio::test]
async fn partners_are_put_on_one_shard_or_on_two() {
    let server = server().await;
    for pairs in ["same-shard", "cross-shard"] {
        let report = clean(&format!("--url ws://{}/ --pairs {pairs}", server.main())).await;
        assert!(is_positive(&report["connections"]["paired"]), "{pairs}: {report}");
    }
}

#[tokio::test]
async fn two_connections_log_in_with_the_documented_credentials_and_more_do_not() {
    let server = Setup::new().start().await;
    clean(&format!("--url ws://{}/ --connections 2", server.main())).await;
    let (code, report, stderr) =
        load(&format!("--url ws://{}/ --connections 4 --duration 500ms", server.main())).await;
    assert_eq!(code, Some(1), "{report} {stderr}");
    assert_eq!(report["connections"]["failed"], 2, "{report}");
    assert!(report["first_error"].as_str().is_some_and(|error| error.contains("401")), "{report}");
}

#[tokio::test]
async fn a_wrong_command_line_and_a_missing_server_have_codes_of_their_own() {
    for flags in ["--mode open", "--url ws://192.0.2.1:80/", "--connections 1", "--size 1 --sise 2"] {
        let (code, _, stderr) = load(flags).await;
        assert_eq!(code, Some(2), "{flags}: {stderr}");
    }
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("its address");
    let (code, report, stderr) = load(&format!("--url ws://{gone}/")).await;
    assert_eq!((code, report), (Some(1), Value::Null), "{stderr}");
    assert!(stderr.contains("cannot connect"), "{stderr}");
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Loses,
    Doubles,
    Swaps,
    Changes,
    Refuses,
}

#[tokio::test]
async fn a_bad_relay_is_noticed() {
    for (fault, name) in [
        (Fault::Loses, "lost"),
        (Fault::Doubles, "duplicated"),
        (Fault::Swaps, "out_of_order"),
        (Fault::Changes, "corrupt"),
        (Fault::Refuses, "errors"),
    ] {
        let relay = bad_relay(fault).await;
        let (code, report, stderr) =
            load(&format!("--url tcp://{relay} --connections 2 --outstanding 8 --duration 500ms")).await;
        assert_eq!(code, Some(1), "{fault:?}: {report} {stderr}");
        assert_eq!(report["clean"], false, "{fault:?}: {report}");
        for count in FAULTS {
            assert_eq!(is_positive(&report[count]), count == name, "{fault:?}: {count} in {report}");
        }
        assert!(is_positive(&report["messages"]), "{fault:?}: it goes on: {report}");
    }
}

/// Relays between two connections, and does not do it well with every twentieth message.
async fn bad_relay(fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        let (one, _) = listener.accept().await.expect("a first connection");
        let (other, _) = listener.accept().await.expect("a second connection");
        let (one, write_one, own_one) = halves(one);
        let (other, write_other, own_other) = halves(other);
        tokio::spawn(relay(one, own_one, write_other.clone(), fault));
        tokio::spawn(relay(other, own_other, write_one.clone(), fault));
        drop((write_one, write_other));
    });
    address
}

type Writer = mpsc::UnboundedSender<Vec<u8>>;

/// What is sent to either writer goes out in its order.
fn halves(stream: TcpStream) -> (tokio::net::tcp::OwnedReadHalf, Writer, Writer) {
    stream.set_nodelay(true).expect("an option of TCP");
    let (read, write) = stream.into_split();
    let (writer, queue) = mpsc::unbounded_channel();
    tokio::spawn(write_all(write, queue));
    (read, writer.clone(), writer)
}

async fn write_all(mut write: OwnedWriteHalf, mut queue: mpsc::UnboundedReceiver<Vec<u8>>) {
    while let Some(bytes) = queue.recv().await {
        if write.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

async fn relay(mut read: tokio::net::tcp::OwnedReadHalf, own: Writer, partner: Writer, fault: Fault) {
    let (mut bytes, mut count) = (Vec::with_capacity(1 << 16), 0);
    let mut kept: Option<Vec<u8>> = None;
    // A failed send is the end of the run, which the next read tells.
    let pass = |to: &Writer, frame: Vec<u8>| drop(to.send(frame));
    while let Ok(1..) = read.read_buf(&mut bytes).await {
        while let Some((frame, taken)) = Frame::decode(&bytes) {
            bytes.drain(..taken);
            match frame.kind {
                CONNECT => {
                    pass(&own, Frame::new(CONNECT_ACK, 2, &b"{\"status\":\"success\"}"[..]).encode());
                    continue;
                }
                DISCONNECT => return,
                _ => count += 1,
            }
            let mut encoded = frame.encode();
            if count % 20 != 4 {
                pass(&partner, encoded);
                // It was overtaken by this one.
                kept.take().into_iter().for_each(|late| pass(&partner, late));
                continue;
            }
            match fault {
                Fault::Loses => {}
                Fault::Doubles => {
                    pass(&partner, encoded.clone());
                    pass(&partner, encoded);
                }
                // Unless nothing follows, for then it would be lost at the end.
                Fault::Swaps if Frame::decode(&bytes).is_some() => kept = Some(encoded),
                Fault::Swaps => pass(&partner, encoded),
                Fault::Changes => {
                    let last = encoded.len() - 3;
                    encoded[last] ^= 1;
                    pass(&partner, encoded);
                }
                Fault::Refuses => {
                    let error = &br#"{"error_code":503,"error_message":"cannot take more"}"#[..];
                    pass(&own, Frame::new(ERROR, 2, error).encode());
                }
            }
        }
    }
}
