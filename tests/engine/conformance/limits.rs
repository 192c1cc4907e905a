//! Limits: section 9 of the list, with `max_message_bytes` raised to what it sends, and section 10.

use std::time::Instant;

use super::*;

const MEBIBYTE: usize = 1 << 20;

/// No case takes longer, with a server and a client that are not optimized.
const CASE_WITHIN: Duration = Duration::from_secs(20);

fn with_room_for(bytes: usize) -> Setup {
    echo().server("max_message_bytes", bytes)
}

fn message(first: u8, length: usize) -> Vec<u8> {
    // Text stays text, and what is lost or swapped shows.
    let byte = |n: usize| b'a' + (n / 251 % 26) as u8;
    (0..length).map(|n| if first == TEXT { byte(n) } else { byte(n) ^ 0xC0 }).collect()
}

fn fragmented(first: u8, payload: &[u8], size: usize) -> Vec<Vec<u8>> {
    let last = payload.len().div_ceil(size) - 1;
    let frame = |(n, piece): (usize, &[u8])| {
        let opcode = if n == 0 { first } else { CONTINUATION };
        ws_frame(if n == last { FIN | opcode } else { opcode }, piece)
    };
    payload.chunks(size).enumerate().map(frame).collect()
}

async fn comes_back(server: &Server, name: &str, feed: Feed, frames: Vec<Vec<u8>>, said: Said) {
    let started = Instant::now();
    let frames: Vec<_> = frames.into_iter().chain([closing(1000)]).collect();
    let heard = play(server.addr("echo"), feed.cut(&frames)).await;
    assert!(heard == [said, Said::Close(1000)], "{name}: {}", shown(&heard));
    assert!(started.elapsed() < CASE_WITHIN, "{name} took {:?}", started.elapsed());
}

/// The most memory that the process has had, in bytes.
fn memory_peak(server: &Server) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("a live process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells it");
    let kibibytes: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kibibytes * 1024
}

#[tokio::test]
async fn a_message_over_the_limit_closes_with_1009_before_it_is_sent() {
    let server = echo().start().await;
    let addr = server.addr("echo");
    let full = message(BINARY, MEBIBYTE);
    comes_back(&server, "the limit", Feed::Whole, vec![ws_frame(FIN | BINARY, &full)], binary(&full)).await;
    for over in [MEBIBYTE + 1, 16 * MEBIBYTE, usize::MAX >> 1] {
        let header = [&[FIN | BINARY, 0xFF][..], &(over as u64).to_be_bytes()].concat();
        assert_eq!(play(addr, vec![header]).await, [Said::Close(1009)], "{over} bytes");
    }
    let mut fragments = fragmented(TEXT, &message(TEXT, MEBIBYTE), 100_000);
    fragments.pop();
    let room = MEBIBYTE - 10 * 100_000;
    let header = [&[CONTINUATION, 0xFE][..], &(room as u16 + 1).to_be_bytes()].concat();
    fragments.push(header);
    assert_eq!(play(addr, fragments).await, [Said::Close(1009)], "a fragment too many");
}

#[tokio::test]
async fn messages_up_to_16_mebibytes_come_back_in_bounded_memory() {
    let server = with_room_for(16 * MEBIBYTE).start().await;
    for length in [65_536, 262_144, MEBIBYTE, 4 * MEBIBYTE, 8 * MEBIBYTE, 16 * MEBIBYTE] {
        for (first, said) in [(TEXT, text as fn(&[u8]) -> Said), (BINARY, binary)] {
            let payload = message(first, length);
            let frames = vec![ws_frame(FIN | first, &payload)];
            comes_back(&server, &format!("{length} bytes"), Feed::Whole, frames, said(&payload)).await;
        }
    }
    // One message as it is gathered, while its buffer grows, and as it is sent.
    let peak = memory_peak(&server);
    assert!(peak < 8 * 16 * MEBIBYTE, "{peak} bytes of memory");
}

#[tokio::test]
async fn large_messages_come_back_from_fragments_of_every_size() {
    let server = with_room_for(16 * MEBIBYTE).start().await;
    let payload = message(TEXT, 4 * MEBIBYTE);
    for size in [64, 256, 1024, 4096, 16_384, 65_536, 262_144, MEBIBYTE, 4 * MEBIBYTE] {
        let name = format!("fragments of {size}");
        for (first, said) in [(TEXT, text as fn(&[u8]) -> Said), (BINARY, binary)] {
            let frames = fragmented(first, &payload, size);
            comes_back(&server, &name, Feed::Whole, frames, said(&payload)).await;
        }
    }
    let payload = message(BINARY, 16 * MEBIBYTE);
    let frames = fragmented(BINARY, &payload, 64);
    comes_back(&server, "16 MiB by 64 bytes", Feed::Whole, frames, binary(&payload)).await;
    let peak = memory_peak(&server);
    assert!(peak < 8 * 16 * MEBIBYTE, "{peak} bytes of memory");
}

#[tokio::test]
async fn a_mebibyte_comes_back_from_writes_of_every_size() {
    let server = with_room_for(16 * MEBIBYTE).start().await;
    let payload = message(TEXT, MEBIBYTE);
    for size in [64, 128, 256, 512, 1024, 2048] {
        for (first, said) in [(TEXT, text as fn(&[u8]) -> Said), (BINARY, binary)] {
            let frames = vec![ws_frame(FIN | first, &payload)];
            let name = format!("writes of {size}");
            comes_back(&server, &name, Feed::Pieces(size), frames, said(&payload)).await;
        }
    }
}

#[tokio::test]
async fn a_thousand_messages_of_each_size_come_back_one_by_one() {
    let server = echo().start().await;
    for size in [0, 16, 64, 256, 1024, 4096, 16_384] {
        for first in [TEXT, BINARY] {
            let started = Instant::now();
            let mut raw = RawWs::open(server.addr("echo")).await;
            let payload = message(first, size);
            let frame = ws_frame(FIN | first, &payload);
            for n in 0..1000 {
                raw.send(&frame).await;
                let back = raw.next().await;
                assert!(back.as_ref() == Some(&(FIN | first, payload.clone())), "message {n} of {size}");
            }
            assert!(started.elapsed() < CASE_WITHIN, "{size} bytes took {:?}", started.elapsed());
        }
    }
}

#[tokio::test]
async fn messages_that_a_client_cuts_by_itself_come_back_whole() {
    let server = echo().start().await;
    let payload = message(TEXT, 65_536);
    let cases = vec![good("fragments of 1,300", fragmented(TEXT, &payload, 1300), vec![text(&payload)])];
    play_all(server.addr("echo"), cases).await;
}
