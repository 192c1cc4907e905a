//! What the machine runs short of: descriptors, address space, locked memory.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::harness::*;

/// Of which the engine keeps 64 for itself, and the kernel counts each connection.
const FILES: usize = 170;

/// Connections that say nothing: more than there are descriptors for, served and refused ones
/// together. The others wait in the kernel.
const SILENT: usize = 900;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_descriptors_nobody_is_lost_and_nothing_spins() {
    let server = Setup::new().limits(&format!("-n {FILES}")).alone().start().await;
    let mut bystanders = Bystanders::login(&server).await;
    let mut silent = Vec::new();
    for _ in 0..SILENT {
        silent.push(
            within("TCP connects", TcpStream::connect(server.main())).await.expect("a place in the queue"),
        );
    }
    until("the server is out of descriptors", async || {
        server.logs().contains("cannot accept connections").then_some(())
    })
    .await;
    let (before, started) = (cpu_ticks(&server), Instant::now());
    while started.elapsed() < Duration::from_secs(2) {
        bystanders.talk().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // A hundredth of a second each; this may take a quarter of one core.
    let ticks = cpu_ticks(&server) - before;
    let lasted = started.elapsed().as_secs_f64();
    assert!((ticks as f64) < 25.0 * lasted, "{ticks} ticks of CPU in {lasted} s");
    let told = server.logs().matches("cannot accept connections").count();
    assert!((1..=2).contains(&told), "each shard tells it once, not {told} times");
    assert!(server.logs().contains("Too many open files"), "{}", server.logs());

    // The last of them is served or refused in the end, and then there is room again.
    let mut last = silent.pop().expect("there are many");
    drop(silent);
    let mut bytes = Vec::new();
    // Those that wait in the kernel are taken in, and found closed, a few at a time.
    let mut settled = 0;
    until("all of them are gone", async || {
        let connections = server.metric("sigmux_connections{shard=\"0\"}").await
            + server.metric("sigmux_connections{shard=\"1\"}").await;
        settled = if connections < 8.0 { settled + 1 } else { 0 };
        (settled == 20).then_some(())
    })
    .await;
    Client::login(server.main(), Via::WebSocket, Form::FlatJson, "alice").await.is_quiet_and_alive().await;
    bystanders.talk().await;
    // Whether it was taken or refused, its end came.
    let end = tokio::time::timeout(Duration::from_secs(15), last.read_to_end(&mut bytes)).await;
    assert!(end.is_ok(), "a connection that waited is left without an end");
}

#[tokio::test]
async fn too_few_descriptors_for_a_start_are_named() {
    let told = fails_to_start("-n 9", "").await;
    assert!(told.contains("RLIMIT_NOFILE") || told.contains("oo many open files"), "{told}");
}

#[tokio::test]
async fn few_descriptors_make_few_connections_and_a_warning() {
    let server = Setup::new().limits("-n 100").start().await;
    assert!(server.logs().contains("the limit on open files allows fewer connections"), "{}", server.logs());
    let mut bystanders = Bystanders::login(&server).await;
    bystanders.talk().await;
    let mut clients = Vec::new();
    let refused = async {
        loop {
            let mut client = Http::open(server.main()).await;
            if client.get("/").await.status == 503 {
                return;
            }
            clients.push(client);
        }
    };
    within("one of a hundred is refused", refused).await;
    assert!((20..100).contains(&clients.len()), "{} were served", clients.len());
    bystanders.talk().await;
}

#[tokio::test]
async fn too_little_address_space_for_the_buffers_is_named() {
    // A gigabyte for each shard, of which this limit has none.
    let buffers = "receive_buffers = 1024\nreceive_buffer_bytes = 1048576";
    let told = fails_to_start(&format!("-v {}", 900 * 1024), buffers).await;
    assert!(told.contains("RLIMIT_AS"), "{told}");
}

/// Where the kernel counts rings against it, which newer ones do not for everybody.
#[tokio::test]
async fn too_little_locked_memory_is_named_or_not_needed() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let setup = Setup::new().limits("-l 16");
    std::fs::write(directory.path().join("sigmux.toml"), setup.toml()).expect("written");
    // A start that succeeds would not end.
    let ended = tokio::time::timeout(
        Duration::from_secs(3),
        tool_under("-l 16", directory.path(), &["serve", "-c", "sigmux.toml"], &[]),
    )
    .await;
    match ended {
        Ok(output) => {
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{told}");
            assert!(told.contains("RLIMIT_MEMLOCK is 16 KiB"), "{told}");
        }
        Err(_) => drop(setup.start().await),
    }
}

/// What it says on stderr when it ends with 1.
async fn fails_to_start(limits: &str, server: &str) -> String {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let toml = Setup::new().toml().replacen("[server]\n", &format!("[server]\n{server}\n"), 1);
    std::fs::write(directory.path().join("sigmux.toml"), toml).expect("written");
    let output = tool_under(limits, directory.path(), &["serve", "-c", "sigmux.toml"], &[]).await;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    told
}

/// Of all threads, in the kernel and outside of it: hundredths of a second.
fn cpu_ticks(server: &Server) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).expect("the process is ours");
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // Fields 14 and 15 of proc(5), of which the first that is left is the third.
    [11, 12].map(|at: usize| fields[at].parse::<u64>().expect("a number")).iter().sum()
}
