//! In steady state a relayed message allocates nothing on its shard: counted over the real ring,
//! through real sockets, with an allocator that keeps a count for each thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const WARM_UP_MESSAGES: usize = 20_000;
const MESSAGES: usize = 100_000;
const OUTSTANDING: usize = 32;
/// Thread ids fall into a table by their remainder; the test looks that no two threads share one.
const THREADS: usize = 4096;

struct Counting;

static ALLOCATIONS: [AtomicU64; THREADS] = [const { AtomicU64::new(0) }; THREADS];

fn count() {
    let thread = rustix::thread::gettid().as_raw_nonzero().get() as usize;
    ALLOCATIONS[thread % THREADS].fetch_add(1, Ordering::Relaxed);
}

// SAFETY: every call goes to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `alloc`'s conditions.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s conditions.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `realloc`'s conditions.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_stamped_json_message_allocates_nothing_on_its_shard() {
    let port =
        TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
    let config = format!(
        "[server]\nhost = \"127.0.0.1\"\nport = {port}\nshards = 1\n\
         [auth]\nauth_method = \"none\"\n[logging]\nconsole_output = false\n[metrics]\nenabled = false\n"
    );
    let environment: [(&str, &str); 0] = [];
    let settings = sigmux::config::load("the test", &config, environment).expect("a valid configuration");
    thread::spawn(move || {
        let again = settings.clone();
        let load = Box::new(move || Ok(again.clone()));
        let source = sigmux::server::Source { load, set_log_level: Box::new(|_| ()) };
        sigmux::server::serve(settings, false, source)
    });

    let mut sender = log_in(port, "sender");
    let mut target = log_in(port, "target");
    let signal = masked(&frame(
        0x10,
        br#"{"target_client_id":"target","signal_data":"v=0 some SDP, long enough to be one"}"#,
    ));
    let batch: Vec<u8> = signal.repeat(OUTSTANDING);

    // The first delivery shows how long they are.
    sender.write_all(&signal).expect("the server reads");
    let delivered = read_message(&mut target);
    let text = String::from_utf8_lossy(&delivered);
    assert!(text.contains(r#""sender_client_id":"sender""#), "it is stamped: {text}");
    let mut received = vec![0; delivered.len() * OUTSTANDING];

    let mut relay = |messages: usize| {
        for _ in 0..messages / OUTSTANDING {
            sender.write_all(&batch).expect("the server reads");
            target.read_exact(&mut received).expect("every message comes");
            assert!(received.ends_with(&delivered), "and unchanged");
        }
    };
    relay(WARM_UP_MESSAGES);
    let shard = thread_named("shard-0");
    let before = ALLOCATIONS[shard % THREADS].load(Ordering::Relaxed);
    assert!(before > 0, "the count works");
    relay(MESSAGES);
    let after = ALLOCATIONS[shard % THREADS].load(Ordering::Relaxed);
    assert_eq!(after - before, 0, "allocations for {MESSAGES} messages");
}

fn thread_named(name: &str) -> usize {
    let threads: HashMap<usize, String> = fs::read_dir("/proc/self/task")
        .expect("procfs")
        .filter_map(|task| {
            let task = task.ok()?;
            let name = fs::read_to_string(task.path().join("comm")).ok()?;
            Some((task.file_name().to_str()?.parse().ok()?, name.trim().to_owned()))
        })
        .collect();
    let (&found, _) = threads.iter().find(|(_, n)| *n == name).expect("the shard's thread runs");
    let same = threads.keys().filter(|id| *id % THREADS == found % THREADS).count();
    assert_eq!(same, 1, "no other thread counts in its place");
    found
}

fn log_in(port: u16, id: &str) -> TcpStream {
    let started = Instant::now();
    let mut stream = loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => break stream,
            Err(error) => assert!(started.elapsed() < Duration::from_secs(10), "{error}"),
        }
        thread::yield_now();
    };
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a valid time");
    stream.set_nodelay(true).expect("TCP");
    stream
        .write_all(
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .expect("the server reads");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    let connect = format!(r#"{{"client_id":"{id}","auth_token":""}}"#);
    stream.write_all(&masked(&frame(0x01, connect.as_bytes()))).expect("the server reads");
    assert_eq!(read_message(&mut stream)[3], 0x02, "CONNECT_ACK");
    stream
}

/// A whole WebSocket message with its two or four bytes of header.
fn read_message(stream: &mut TcpStream) -> Vec<u8> {
    let mut message = vec![0; 2];
    stream.read_exact(&mut message).expect("a message");
    let mut length = usize::from(message[1]);
    if length == 126 {
        message.resize(4, 0);
        stream.read_exact(&mut message[2..]).expect("its length");
        length = usize::from(u16::from_be_bytes([message[2], message[3]]));
    }
    let header = message.len();
    message.resize(header + length, 0);
    stream.read_exact(&mut message[header..]).expect("its payload");
    message
}

fn frame(message_type: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0xAA, message_type];
    frame.extend_from_slice(&[7; 16]);
    frame.push(0x02);
    frame.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

fn masked(payload: &[u8]) -> Vec<u8> {
    let key = [1, 2, 3, 4];
    let mut message = vec![0x82];
    if payload.len() < 126 {
        message.push(0x80 | payload.len() as u8);
    } else {
        message.push(0x80 | 126);
        message.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    }
    message.extend_from_slice(&key);
    message.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    message
}
