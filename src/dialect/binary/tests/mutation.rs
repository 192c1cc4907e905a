//! Pseudo-random damage to real traffic.

use super::*;

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % limit.max(1)
    }
}

fn corpus() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for form in FORMS {
        frames.push(frame(CONNECT, 1, form.0, connect_payload(form, "me", "t")));
        frames.push(frame(HEARTBEAT, 3, form.0, [0; 8]));
        for (message_type, tag) in
            [(OFFER, "SignalOffer"), (ANSWER, "SignalAnswer"), (CANDIDATE, "SignalIceCandidate")]
        {
            for target in ["bob", "me", "nobody"] {
                frames.push(frame(message_type, 4, form.0, signal_payload(form, tag, target, "v=0\r\n")));
            }
        }
    }
    frames.push(frame(HEARTBEAT, 3, JSON, r#"{"Heartbeat":{"timestamp":1}}"#));
    frames.push(frame(DISCONNECT, 5, JSON, r#"{"client_id":"me","reason":"x"}"#));
    frames.push(frame(0x77, 6, CBOR, [0xa0]));
    frames
}

/// Nothing panics, and every frame is answered, delivered or followed by a close.
#[test]
fn no_frame_goes_unanswered_whatever_is_done_to_it() {
    let corpus = corpus();
    let mut random = Random(42);
    let (mut answered, mut delivered, mut closed) = (0, 0, 0);
    for round in 0..40_000 {
        let mut world = World::new();
        let bob = world.client(FORMS[random.below(6)], "bob");
        let me = if round % 3 == 0 { world.open() } else { world.client(FORMS[random.below(6)], "me") };
        let mut bytes = corpus[random.below(corpus.len())].clone();
        for _ in 0..random.below(4) {
            let at = random.below(bytes.len());
            match random.below(4) {
                0 => bytes[at] = random.below(256) as u8,
                1 => bytes[at] ^= 1 << random.below(8),
                2 => bytes.insert(at, random.below(256) as u8),
                _ => drop(bytes.remove(at)),
            }
            // Mostly the length is right again, so that what is inside gets its turn.
            if bytes.len() >= frame::HEADER_BYTES && random.below(4) > 0 {
                let length = (bytes.len() - frame::HEADER_BYTES) as u16;
                bytes[19..21].copy_from_slice(&length.to_be_bytes());
            }
        }
        let count = 1 + random.below(2);
        let message = bytes.repeat(count);
        world.say(me, &message);
        let (to_me, to_bob) = (world.all(me).len(), world.all(bob).len());
        let is_closed = world.peers[me].closed.is_some();
        // The bytes may hold more, or fewer, frames than meant; never are they passed in silence.
        assert!(to_me + to_bob > 0 || is_closed, "{message:x?}");
        answered += to_me;
        delivered += to_bob;
        closed += usize::from(is_closed);
        if !is_closed && world.peers[bob].closed.is_none() && round % 3 != 0 {
            world.say(me, &frame(HEARTBEAT, 1, TEXT, ""));
            assert_eq!(world.one(me).message_type, HEARTBEAT_ACK, "the session goes on");
        }
    }
    assert!(answered > 10_000 && delivered > 1_000 && closed > 100, "{answered} {delivered} {closed}");
}

/// However the frames of a stream are damaged and cut, it is the same as when they come at once.
#[test]
fn a_damaged_stream_behaves_the_same_however_it_is_cut() {
    let corpus = corpus();
    let mut random = Random(7);
    for _ in 0..3_000 {
        let mut bytes: Vec<u8> = (0..4).flat_map(|_| corpus[random.below(corpus.len())].clone()).collect();
        for _ in 0..random.below(3) {
            let at = random.below(bytes.len());
            bytes[at] = random.below(256) as u8;
        }
        let mut outcome = |cuts: bool| {
            let mut world = World::new();
            let bob = world.client((JSON, true), "bob");
            let me = world.open();
            let mut held = Vec::new();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let taken = if cuts { 1 + random.below(rest.len().min(30)) } else { rest.len() };
                held.extend_from_slice(&rest[..taken]);
                rest = &rest[taken..];
                let progress = world.stream(me, &held);
                held.drain(..progress.consumed);
                if progress.next == StreamNext::Closed {
                    break;
                }
            }
            (world.all(me), world.all(bob), world.peers[me].closed, world.directory.len())
        };
        assert_eq!(outcome(false), outcome(true), "{bytes:x?}");
    }
}
