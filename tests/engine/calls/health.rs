//! `/healthz` and the CPU profile, on the port for them.

use std::io::Write;
use std::process::{Command, Stdio};

use super::alone;
use crate::harness::*;

#[tokio::test]
async fn healthz_is_200_on_a_healthy_service() {
    let server = alone().listener("health", &["calls-health"]).start().await;
    let mut http = Http::open(server.addr("health")).await;
    for _ in 0..3 {
        assert_eq!(http.get("/healthz").await.status, 200);
    }
    assert_eq!(http.get("/health").await.status, 404);
    // Not on the port for callers, unlike the calls.
    assert_eq!(ask(server.main(), "GET", "/healthz", &[], None).await.status, 404);
    assert_eq!(ask(server.addr("health"), "GET", "/call/demo", &[], None).await.status, 404);
}

/// A caller that does not answer its Close keeps the drain going meanwhile.
#[tokio::test]
async fn a_draining_server_says_that_it_is_unhealthy() {
    let setup = alone().server("drain_seconds", "'3s'").server("close_seconds", "'3s'");
    let mut server = setup.listener("health", &["calls-health"]).start().await;
    let seat = Seat::take(server.main(), "demo").await;
    let mut keeps_it_going = RawWs::open(server.main()).await;
    let join = ws_frame(opcode::FIN | opcode::TEXT, seat.join().to_string().as_bytes());
    keeps_it_going.send(&join).await;
    assert_eq!(keeps_it_going.next().await.expect("a welcome").0, opcode::FIN | opcode::TEXT);
    assert_eq!(ask(server.addr("health"), "GET", "/healthz", &[], None).await.status, 200);

    server.sigterm();
    assert_eq!(keeps_it_going.close_frame().await, (1001, "Server shutting down".into()));
    let response = ask(server.addr("health"), "GET", "/healthz", &[], None).await;
    assert_eq!((response.status, response.text()), (500, "unhealthy\n"));
    assert_eq!(server.exit().await.code(), Some(0));
}

/// What a reader of pprof's `profile.proto` looks at first.
#[derive(Default, Debug)]
struct Profile {
    sample_types: usize,
    samples: usize,
    locations: usize,
    functions: usize,
    strings: Vec<String>,
    duration_nanos: u64,
    period: u64,
}

/// Field number and content of each field of a protobuf message.
fn fields(mut bytes: &[u8]) -> Vec<(u64, u64, &[u8])> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = bytes.split_first().expect("a number is whole");
            *bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return value;
            }
        }
        panic!("a number of more than ten bytes");
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let (number, content) = match tag & 7 {
            0 => (varint(&mut bytes), &b""[..]),
            2 => {
                let length = varint(&mut bytes) as usize;
                let (content, rest) = bytes.split_at(length);
                bytes = rest;
                (0, content)
            }
            kind => panic!("profile.proto has no fields of wire type {kind}"),
        };
        found.push((tag >> 3, number, content));
    }
    found
}

fn read_profile(bytes: &[u8]) -> Profile {
    let mut profile = Profile::default();
    for (field, number, content) in fields(bytes) {
        match field {
            1 => profile.sample_types += 1,
            2 => profile.samples += 1,
            4 => profile.locations += 1,
            5 => profile.functions += 1,
            6 => profile.strings.push(String::from_utf8(content.to_vec()).expect("UTF-8")),
            10 => profile.duration_nanos = number,
            12 => profile.period = number,
            _ => {}
        }
    }
    profile
}

fn unzipped(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = Command::new("gzip");
    let mut child =
        gzip.arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("gzip is installed");
    let mut stdin = child.stdin.take().expect("piped");
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes));
    let output = child.wait_with_output().expect("gzip ends");
    writer.join().expect("no panic").expect("gzip reads all");
    assert!(output.status.success(), "this is no gzip");
    output.stdout
}

#[tokio::test]
async fn a_cpu_profile_opens_in_a_pprof_reader() {
    let server = alone().listener("health", &["calls-health"]).start().await;
    let addr = server.main();
    // Something to be seen.
    let busy = tokio::spawn(async move {
        let mut http = Http::open(addr).await;
        loop {
            http.get("/call/demo").await;
        }
    });
    let response = ask(server.addr("health"), "GET", "/debug/pprof/profile?seconds=2", &[], None).await;
    busy.abort();
    assert_eq!(response.status, 200, "{:?}", String::from_utf8_lossy(&response.body));
    let bytes = match response.body.as_slice() {
        [0x1f, 0x8b, ..] => unzipped(&response.body),
        plain => plain.to_vec(),
    };
    let profile = read_profile(&bytes);
    assert!(profile.sample_types >= 1 && profile.samples >= 1, "{profile:?}");
    assert!(profile.locations >= 1 && profile.functions >= 1, "{profile:?}");
    assert_eq!(profile.strings.first().map(String::as_str), Some(""), "the first string is empty");
    assert!(profile.strings.iter().any(|it| it == "cpu" || it == "samples"), "{:?}", profile.strings);
    assert!(profile.period > 0, "{profile:?}");
    // Names, not addresses alone.
    assert!(profile.strings.iter().any(|it| it.contains("sigmux")), "no function of ours has a name");
}

#[tokio::test]
async fn calls_go_on_while_a_profile_is_taken() {
    let server = alone().listener("health", &["calls-health"]).start().await;
    let mut profiling = Http::open(server.addr("health")).await;
    profiling.send(&http_request("GET", "/debug/pprof/profile?seconds=2", &[], None)).await;
    let first = Seat::take(server.main(), "demo").await;
    let second = Seat::take(server.main(), "demo").await;
    let mut caller = first.connect(server.main()).await;
    second.signals(server.main(), "OFFER", "meanwhile").await;
    caller.hears("demo", "OFFER", Some("meanwhile")).await;
    assert_eq!(ask(server.addr("health"), "GET", "/healthz", &[], None).await.status, 200);
    assert_eq!(profiling.response(false).await.expect("a profile").status, 200);
}
