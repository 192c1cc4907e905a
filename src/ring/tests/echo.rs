//! Both directions at once, as a shard uses them.

use std::io::{Read, Write};

use super::*;

/// Sends back what comes, one send in flight per connection, and closes at the end of a stream.
#[derive(Default)]
struct Echo {
    peers: Vec<Option<Peer>>,
    free: Vec<u32>,
    generation: u32,
    closed: usize,
}

struct Peer {
    conn: ConnId,
    pending: Vec<u8>,
    spare: Vec<u8>,
    sending: bool,
    sent: usize,
    ended: bool,
}

impl Echo {
    fn run(&mut self, ring: &mut Ring, closed: usize) {
        while self.closed < closed {
            let completion = next(ring);
            self.handle(ring, completion);
        }
    }

    fn handle(&mut self, ring: &mut Ring, completion: Completion) {
        match completion {
            Completion::Accepted { socket, .. } => {
                let slot = self.free.pop().unwrap_or_else(|| {
                    self.peers.push(None);
                    self.peers.len() as u32 - 1
                });
                self.generation += 1;
                let conn = ConnId { slot, generation: self.generation };
                ring.open(socket, conn);
                ring.receive(conn);
                let (pending, spare) = (Vec::new(), Vec::new());
                self.peers[slot as usize] =
                    Some(Peer { conn, pending, spare, sending: false, sent: 0, ended: false });
            }
            Completion::Received { conn, buffer, len } => {
                let peer = self.peer(conn);
                peer.pending.extend_from_slice(ring.buffer(&buffer, len));
                ring.recycle(buffer);
                peer.flush(ring);
            }
            Completion::ReceiveEnded { conn, cause: EndCause::NoBuffers } => ring.receive(conn),
            Completion::ReceiveEnded { conn, .. } => {
                let peer = self.peer(conn);
                peer.ended = true;
                peer.flush(ring);
            }
            Completion::Sent { conn, buffer, result } => {
                let peer = self.peer(conn);
                peer.sent += result.unwrap();
                if peer.sent < buffer.len() {
                    ring.send(conn, buffer, peer.sent).unwrap();
                } else {
                    peer.sending = false;
                    peer.spare = buffer;
                    peer.flush(ring);
                }
            }
            Completion::Closed { conn } => {
                self.peers[conn.slot as usize] = None;
                self.free.push(conn.slot);
                self.closed += 1;
            }
            other => panic!("{other:?}"),
        }
    }

    fn peer(&mut self, conn: ConnId) -> &mut Peer {
        let peer = self.peers[conn.slot as usize].as_mut().unwrap();
        assert_eq!(peer.conn, conn);
        peer
    }
}

impl Peer {
    fn flush(&mut self, ring: &mut Ring) {
        if self.sending {
            return;
        }
        if !self.pending.is_empty() {
            let mut empty = std::mem::take(&mut self.spare);
            empty.clear();
            let full = std::mem::replace(&mut self.pending, empty);
            (self.sending, self.sent) = (true, 0);
            ring.send(self.conn, full, 0).unwrap();
        } else if self.ended {
            ring.close(self.conn);
        }
    }
}

/// Plays `rounds` of ping-pong with growing messages.
fn ping_pong(address: SocketAddr, rounds: usize, seed: usize) {
    let mut stream = TcpStream::connect(address).unwrap();
    for round in 0..rounds {
        let message: Vec<u8> = (0..1 + round * 97).map(|i| (i + seed) as u8).collect();
        stream.write_all(&message).unwrap();
        let mut answer = vec![0; message.len()];
        stream.read_exact(&mut answer).unwrap();
        assert!(answer == message);
    }
}

fn echo_among(clients: usize, settings: Settings) -> Counters {
    let mut ring = ring(settings);
    let address = listen(&mut ring);
    let players: Vec<_> =
        (0..clients).map(|seed| std::thread::spawn(move || ping_pong(address, 60, seed))).collect();
    Echo::default().run(&mut ring, clients);
    players.into_iter().for_each(|player| player.join().unwrap());
    assert_eq!(ring.open_count(), 0);
    ring.counters()
}

#[test]
fn many_clients_get_back_what_they_sent() {
    echo_among(16, small());
}

#[test]
fn a_ring_of_minimal_size_echoes_all_the_same() {
    echo_among(
        16,
        Settings { sq_entries: 8, cq_entries: 8, buffers_count: 1, buffer_bytes: 512, busy_poll_us: 0 },
    );
}

#[test]
fn a_ring_that_is_spun_echoes_all_the_same() {
    let mut ring = ring(Settings { busy_poll_us: 50, ..small() });
    let address = listen(&mut ring);
    let player = std::thread::spawn(move || ping_pong(address, 60, 1));
    let mut echo = Echo::default();
    let mut patience = 0;
    while echo.closed == 0 {
        let mut polls = 0;
        let ready = ring.spin(|| {
            polls += 1;
            polls < 1000
        });
        if !ready.unwrap() {
            patience += 1;
            assert!(patience < 1_000_000, "nothing happens");
            ring.turn(true).unwrap();
        }
        while let Some(completion) = ring.next_completion() {
            if !matches!(completion, Completion::Tick) {
                echo.handle(&mut ring, completion);
            }
        }
    }
    player.join().unwrap();
}

#[test]
fn a_message_larger_than_every_buffer_of_the_kernel_is_sent_whole() {
    let mut ring = ring(small());
    let client = connected(&mut ring);
    let bytes: Vec<u8> = (0..24usize << 20).map(|i| (i % 251) as u8).collect();
    let expected = bytes.clone();
    let reader = std::thread::spawn(move || {
        let (mut client, mut all) = (client, Vec::new());
        client.read_to_end(&mut all).unwrap();
        all == expected
    });
    let mut sent = 0;
    ring.send(CONN, bytes, 0).unwrap();
    loop {
        let Completion::Sent { buffer, result, .. } = next(&mut ring) else { panic!("no send") };
        sent += result.unwrap();
        if sent == buffer.len() {
            break;
        }
        ring.send(CONN, buffer, sent).unwrap();
    }
    assert!(ring.shutdown_write(CONN));
    assert!(reader.join().unwrap());
}

#[test]
fn connections_that_come_and_go_leave_no_socket_behind() {
    let mut ring = ring(small());
    let address = listen(&mut ring);
    let rounds = 40;
    let clients = std::thread::spawn(move || {
        for round in 0..rounds {
            let streams: Vec<_> = (0..25).map(|_| TcpStream::connect(address).unwrap()).collect();
            for (index, mut stream) in streams.into_iter().enumerate() {
                match (index + round) % 3 {
                    0 => {}
                    1 => stream.write_all(b"and gone").unwrap(),
                    _ => {
                        stream.write_all(b"ping").unwrap();
                        stream.read_exact(&mut [0; 4]).unwrap();
                    }
                }
            }
        }
    });
    let mut echo = Echo::default();
    while echo.closed < rounds * 25 {
        match next(&mut ring) {
            // A peer that left without reading makes the send fail; the receive tells the rest.
            Completion::Sent { conn, buffer, result: Err(_) } => {
                let whole = Ok(buffer.len());
                echo.handle(&mut ring, Completion::Sent { conn, buffer, result: whole });
            }
            completion => echo.handle(&mut ring, completion),
        }
    }
    clients.join().unwrap();
    assert_eq!(ring.open_count(), 0);
    assert_eq!(open_on_port(address.port()), 1, "the listener alone");
    drop(ring);
    assert_eq!(open_on_port(address.port()), 0);
}
