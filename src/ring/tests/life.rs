//! Closing, bells, ticks, and the end of a ring.

use std::io::{Read, Write};
use std::sync::mpsc;

use super::*;

#[test]
fn accepted_sockets_inherit_no_delay() {
    let mut ring = ring(small());
    let address = listen(&mut ring);
    let (socket, client) = accept(&mut ring, address);
    assert!(rustix::net::sockopt::tcp_nodelay(&socket).unwrap());
    assert_eq!(peer_address(&socket), Some(client.local_addr().unwrap()));
    ring.open(socket, CONN);
    assert_eq!(ring.keep_alive(CONN, Duration::from_secs(60)), Ok(()));
}

#[test]
fn closing_an_idle_connection_is_told_too() {
    let mut ring = ring(small());
    let (ours, _theirs) = pair();
    ring.open(ours, CONN);
    ring.close(CONN);
    ring.close(CONN);
    assert!(matches!(next(&mut ring), Completion::Closed { conn: CONN }));
    assert!(all_ready(&mut ring).is_empty());
    assert_eq!(ring.open_count(), 0);
}

#[test]
fn closing_while_a_send_is_blocked_gives_its_bytes_back_first() {
    let mut ring = ring(small());
    let client = connected(&mut ring);
    ring.receive(CONN);
    let bytes = vec![7; 64 << 20];
    let (address, len) = (bytes.as_ptr(), bytes.len());
    ring.send(CONN, bytes, 0).unwrap();
    assert!(all_ready(&mut ring).is_empty(), "nobody reads, so it cannot end");
    assert_eq!(ring.send(CONN, vec![1], 0), Err(vec![1]), "one send at a time");
    assert!(!ring.shutdown_write(CONN));

    ring.close(CONN);
    assert_eq!(ring.send(CONN, vec![1], 0), Err(vec![1]), "none when closing");
    let Completion::Sent { conn: CONN, buffer, result } = next(&mut ring) else { panic!("no send") };
    assert_eq!((buffer.as_ptr(), buffer.len()), (address, len));
    // The kernel had taken what fits its own buffers, and says so.
    let taken = result.unwrap();
    assert!(taken > 0 && taken < len, "{taken}");
    assert!(matches!(next(&mut ring), Completion::Closed { conn: CONN }));
    drop(client);
}

#[test]
fn data_that_races_with_close_is_not_reported_and_its_buffer_is_kept() {
    let mut ring = ring(Settings { buffers_count: 2, ..small() });
    for generation in 0..10 {
        let conn = ConnId { slot: 0, generation };
        let (ours, theirs) = pair();
        ring.open(ours, conn);
        ring.receive(conn);
        ring.turn(false).unwrap();
        rustix::io::write(&theirs, b"too late").unwrap();
        ring.close(conn);
        let completion = next(&mut ring);
        assert!(matches!(completion, Completion::Closed { conn: c } if c == conn), "{completion:?}");
    }
    // Both buffers are still there.
    let (ours, theirs) = pair();
    ring.open(ours, CONN);
    ring.receive(CONN);
    let mut held = Vec::new();
    for byte in [b'1', b'2'] {
        rustix::io::write(&theirs, &[byte]).unwrap();
        match next(&mut ring) {
            Completion::Received { buffer, .. } => held.push(buffer),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_send_to_a_peer_that_has_gone_is_an_error_and_no_signal() {
    let mut ring = ring(small());
    let (ours, theirs) = pair();
    ring.open(ours, CONN);
    drop(theirs);
    ring.send(CONN, vec![1, 2, 3], 1).unwrap();
    let sent = next(&mut ring);
    assert!(matches!(sent, Completion::Sent { result: Err(Errno::PIPE), .. }), "{sent:?}");
    assert!(ring.send(CONN, vec![1], 1).is_err(), "nothing behind the offset");
    assert!(ring.send(CONN, vec![1], 9).is_err());
}

#[test]
fn shutting_down_lets_the_peer_read_to_the_end() {
    let mut ring = ring(small());
    let mut client = connected(&mut ring);
    ring.send(CONN, b"bye".to_vec(), 0).unwrap();
    assert!(matches!(next(&mut ring), Completion::Sent { result: Ok(3), .. }));
    assert!(ring.shutdown_write(CONN));
    let mut all = Vec::new();
    client.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"bye");
}

#[test]
fn a_stopped_listener_refuses_and_closes() {
    let mut ring = ring(small());
    let address = listen(&mut ring);
    let (_socket, _client) = accept(&mut ring, address);
    ring.stop_accepting(0);
    let ended = next(&mut ring);
    assert!(matches!(ended, Completion::AcceptEnded { listener: 0, error: Errno::CANCELED }), "{ended:?}");
    ring.accept(0);
    assert!(all_ready(&mut ring).is_empty());
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_bell_wakes_a_sleeping_ring() {
    let (tell, told) = mpsc::channel();
    let sleeper = std::thread::spawn(move || {
        let mut ring = Ring::new(small()).unwrap();
        tell.send(ring.bell_target().unwrap()).unwrap();
        let mut bells = 0;
        // Without a tick, nothing but a bell ends this sleep.
        while bells < 2 {
            ring.turn(true).unwrap();
            while let Some(completion) = ring.next_completion() {
                assert!(matches!(completion, Completion::Bell), "{completion:?}");
                bells += 1;
            }
        }
    });
    let target = told.recv().unwrap();
    Doorbell::new().unwrap().ring(&target).unwrap();
    let mut neighbour = ring(small());
    neighbour.ring_bell(&target);
    assert!(all_ready(&mut neighbour).is_empty(), "a bell that rang needs no answer here");
    sleeper.join().unwrap();
    assert_eq!(neighbour.counters().bells_lost, 0);

    // Its thread has ended, its descriptor is still ours: a bell now reaches nobody.
    neighbour.ring_bell(&target);
    drop(target);
    assert!(all_ready(&mut neighbour).is_empty());
}

#[test]
fn ticks_come_again_and_again() {
    let mut ring = Ring::new(small()).unwrap();
    ring.tick_every(Duration::from_millis(2));
    let mut ticks = 0;
    while ticks < 5 {
        ring.turn(true).unwrap();
        while let Some(completion) = ring.next_completion() {
            assert!(matches!(completion, Completion::Tick));
            ticks += 1;
        }
    }
}

#[test]
fn a_spin_ends_when_its_caller_says_so() {
    let mut ring = Ring::new(Settings { busy_poll_us: 50, ..small() }).unwrap();
    let mut polls = 0;
    let ready = ring.spin(|| {
        polls += 1;
        polls < 10
    });
    assert_eq!((ready, polls), (Ok(false), 10));
    let (ours, theirs) = pair();
    ring.open(ours, CONN);
    ring.receive(CONN);
    rustix::io::write(&theirs, b"x").unwrap();
    assert_eq!(ring.spin(|| true), Ok(true));
}

#[test]
fn a_ring_that_is_dropped_at_work_ends_at_once_and_leaves_no_socket() {
    let mut ring = ring(small());
    let address = listen(&mut ring);
    let mut clients = Vec::new();
    for slot in 0..20 {
        let (socket, client) = accept(&mut ring, address);
        let conn = ConnId { slot, generation: 0 };
        ring.open(socket, conn);
        ring.send(conn, vec![7; 16 << 20], 0).unwrap();
        clients.push(client);
    }
    for mut client in &clients {
        client.write_all(b"unread").unwrap();
    }
    (0..20).for_each(|slot| ring.receive(ConnId { slot, generation: 0 }));
    // More than the kernel cancels in one go.
    let idle: Vec<_> = (20..520)
        .map(|slot| {
            let (ours, theirs) = pair();
            let conn = ConnId { slot, generation: 0 };
            ring.open(ours, conn);
            ring.receive(conn);
            theirs
        })
        .collect();
    // Some of it is received and never handled.
    assert!(all_ready(&mut ring).iter().any(|c| matches!(c, Completion::Received { .. })));
    // Accepted by the kernel, not by us.
    let _unseen = TcpStream::connect(address).unwrap();
    assert!(ring.quiesce(), "every operation came back");
    drop(ring);
    assert_eq!(open_on_port(address.port()), 0);
    drop((clients, idle));
}

#[test]
fn a_ring_is_refused_with_settings_out_of_range() {
    let refused = Ring::new(Settings { buffers_count: 3, ..small() }).err();
    assert!(matches!(refused, Some(SetupError::Settings(_))), "{refused:?}");
}
