//! Receives: order, buffers running out, pausing.

use std::io::Write;

use super::*;

/// Bytes whose every part tells its place.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i ^ i >> 8 ^ i >> 16) as u8).collect()
}

/// Receives until the stream ends, doing `meddle` after each piece, and returns all of it.
fn receive_all(ring: &mut Ring, mut meddle: impl FnMut(&mut Ring, usize)) -> Vec<u8> {
    let (mut all, mut pieces) = (Vec::new(), 0);
    ring.receive(CONN);
    loop {
        match next(ring) {
            Completion::Received { conn: CONN, buffer, len } => {
                all.extend_from_slice(ring.buffer(&buffer, len));
                ring.recycle(buffer);
                pieces += 1;
                meddle(ring, pieces);
            }
            Completion::ReceiveEnded { cause: EndCause::Eof, .. } => return all,
            Completion::ReceiveEnded { cause: EndCause::Cancelled | EndCause::NoBuffers, .. } => {
                ring.receive(CONN);
            }
            other => panic!("{other:?}"),
        }
    }
}

fn write_all_and_leave(mut client: TcpStream, bytes: Vec<u8>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || client.write_all(&bytes).unwrap())
}

#[test]
fn a_stream_arrives_whole_and_in_order() {
    let mut ring = ring(small());
    let bytes = pattern(1 << 20);
    let client = connected(&mut ring);
    let writer = write_all_and_leave(client, bytes.clone());
    assert!(receive_all(&mut ring, |_, _| ()) == bytes);
    writer.join().unwrap();
}

#[test]
fn pausing_at_every_piece_loses_nothing() {
    let mut ring = ring(small());
    let bytes = pattern(1 << 20);
    let client = connected(&mut ring);
    let writer = write_all_and_leave(client, bytes.clone());
    let all = receive_all(&mut ring, |ring, pieces| {
        ring.stop_receiving(CONN);
        // In one turn of two, think better of it before the stop has been carried out.
        if pieces % 2 == 0 {
            ring.receive(CONN);
        }
        if pieces % 3 == 0 {
            ring.stop_receiving(CONN);
        }
    });
    assert!(all == bytes, "{} of {} bytes", all.len(), bytes.len());
    writer.join().unwrap();
}

#[test]
fn a_paused_connection_leaves_its_data_in_the_socket() {
    let mut ring = ring(small());
    let (ours, theirs) = pair();
    ring.open(ours, CONN);
    ring.receive(CONN);
    assert!(all_ready(&mut ring).is_empty());
    ring.stop_receiving(CONN);
    assert!(matches!(next(&mut ring), Completion::ReceiveEnded { cause: EndCause::Cancelled, .. }));
    rustix::io::write(&theirs, b"later").unwrap();
    assert!(all_ready(&mut ring).is_empty());
    ring.receive(CONN);
    let Completion::Received { buffer, len, .. } = next(&mut ring) else { panic!("no data") };
    assert_eq!(ring.buffer(&buffer, len), b"later");
}

#[test]
fn stopping_and_going_on_at_once_is_seamless() {
    let mut ring = ring(small());
    let (ours, theirs) = pair();
    ring.open(ours, CONN);
    ring.receive(CONN);
    ring.turn(false).unwrap();
    ring.stop_receiving(CONN);
    ring.receive(CONN);
    assert!(all_ready(&mut ring).is_empty());
    rustix::io::write(&theirs, b"x").unwrap();
    assert!(matches!(next(&mut ring), Completion::Received { len: 1, .. }));
}

#[test]
fn one_receive_brings_one_buffer_and_leaves_the_rest_in_the_socket() {
    let mut ring = ring(small());
    let (ours, theirs) = pair();
    ring.open(ours, CONN);
    let bytes = pattern(10_000);
    rustix::io::write(&theirs, &bytes).unwrap();
    let mut all = Vec::new();
    let mut pieces = 0;
    while all.len() < bytes.len() {
        ring.receive_once(CONN);
        let Completion::Received { buffer, len, .. } = next(&mut ring) else { panic!("no data") };
        all.extend_from_slice(ring.buffer(&buffer, len));
        ring.recycle(buffer);
        assert!(matches!(next(&mut ring), Completion::ReceiveEnded { cause: EndCause::Once, .. }));
        assert!(all_ready(&mut ring).is_empty(), "until it is asked for");
        pieces += 1;
    }
    assert!(all == bytes && pieces > 1, "{pieces} pieces");
    // Stopped before anything has come, and asked to go on as before in the same turn.
    for then_once in [false, true] {
        ring.receive_once(CONN);
        ring.turn(false).unwrap();
        ring.stop_receiving(CONN);
        if then_once {
            ring.receive_once(CONN)
        } else {
            ring.receive(CONN)
        }
        assert!(all_ready(&mut ring).is_empty());
        for _ in 0..2 {
            rustix::io::write(&theirs, b"x").unwrap();
            assert!(matches!(next(&mut ring), Completion::Received { len: 1, .. }));
            if then_once {
                assert!(matches!(next(&mut ring), Completion::ReceiveEnded { cause: EndCause::Once, .. }));
                ring.receive_once(CONN);
            }
        }
        ring.stop_receiving(CONN);
        assert!(matches!(next(&mut ring), Completion::ReceiveEnded { cause: EndCause::Cancelled, .. }));
    }
    // From one way to the other while it is receiving.
    ring.receive(CONN);
    ring.turn(false).unwrap();
    ring.stop_receiving(CONN);
    ring.receive_once(CONN);
    assert!(all_ready(&mut ring).is_empty());
    rustix::io::write(&theirs, b"x").unwrap();
    assert!(matches!(next(&mut ring), Completion::Received { len: 1, .. }));
    assert!(matches!(next(&mut ring), Completion::ReceiveEnded { cause: EndCause::Once, .. }));
}

#[test]
fn running_out_of_buffers_is_told_and_nothing_is_lost() {
    let mut ring = ring(Settings { buffers_count: 2, buffer_bytes: 512, ..small() });
    let (ours, theirs) = pair();
    ring.open(ours, CONN);
    ring.receive(CONN);
    let bytes = pattern(1500);
    assert_eq!(rustix::io::write(&theirs, &bytes).unwrap(), bytes.len());

    let mut all = Vec::new();
    let mut held = Vec::new();
    for _ in 0..2 {
        let Completion::Received { buffer, len, .. } = next(&mut ring) else { panic!("no data") };
        all.extend_from_slice(ring.buffer(&buffer, len));
        held.push(buffer);
    }
    assert!(matches!(next(&mut ring), Completion::ReceiveEnded { cause: EndCause::NoBuffers, .. }));
    assert_eq!(ring.counters().buffers_missing, 1);

    held.into_iter().for_each(|buffer| ring.recycle(buffer));
    ring.receive(CONN);
    let Completion::Received { buffer, len, .. } = next(&mut ring) else { panic!("no data") };
    all.extend_from_slice(ring.buffer(&buffer, len));
    assert!(all == bytes);
}

#[test]
fn the_end_of_the_stream_comes_behind_its_data() {
    let mut ring = ring(small());
    let (ours, theirs) = pair();
    ring.open(ours, CONN);
    rustix::io::write(&theirs, b"last words").unwrap();
    drop(theirs);
    ring.receive(CONN);
    assert!(matches!(next(&mut ring), Completion::Received { len: 10, .. }));
    assert!(matches!(next(&mut ring), Completion::ReceiveEnded { cause: EndCause::Eof, .. }));
    // An ended receive can be asked for again and ends again.
    ring.receive(CONN);
    assert!(matches!(next(&mut ring), Completion::ReceiveEnded { cause: EndCause::Eof, .. }));
}

#[test]
fn a_reset_is_an_error_of_that_connection() {
    let mut ring = ring(small());
    let client = connected(&mut ring);
    ring.receive(CONN);
    ring.turn(false).unwrap();
    rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    drop(client);
    let ended = next(&mut ring);
    assert!(
        matches!(ended, Completion::ReceiveEnded { cause: EndCause::Error(Errno::CONNRESET), .. }),
        "{ended:?}"
    );
}

#[test]
fn queues_that_are_too_small_cost_time_and_no_data() {
    let count = 200;
    let mut ring =
        ring(Settings { sq_entries: 8, cq_entries: 8, buffers_count: 256, buffer_bytes: 512, ..small() });
    let mut others = Vec::new();
    for slot in 0..count {
        let (ours, theirs) = pair();
        let conn = ConnId { slot, generation: 0 };
        ring.open(ours, conn);
        ring.receive(conn);
        others.push(theirs);
    }
    ring.turn(false).unwrap();
    let mut seen = vec![Vec::new(); count as usize];
    for round in 0..5u8 {
        others.iter().for_each(|theirs| {
            rustix::io::write(theirs, &[round; 3]).unwrap();
        });
        let mut missing = count as usize * 3;
        while missing > 0 {
            let Completion::Received { conn, buffer, len } = next(&mut ring) else { panic!("no data") };
            seen[conn.slot as usize].extend_from_slice(ring.buffer(&buffer, len));
            ring.recycle(buffer);
            missing -= len;
        }
    }
    let whole: Vec<u8> = (0..5u8).flat_map(|round| [round; 3]).collect();
    assert!(seen.iter().all(|bytes| *bytes == whole));
    assert!(ring.counters().completions_held_back > 0);
}
