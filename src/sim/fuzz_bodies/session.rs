//! One client's bytes among other clients, in a world of two shards.
//!
//! ```text
//!  mallory ──any bytes──► shard 0 ──► bob     flat JSON
//!                            └─► shard 1 ──► carol   any form
//! ```

mod delivery;
mod model;
mod world;

use std::collections::BTreeMap;

use super::pieces;
use crate::sim::frames::write_client_frame;
use delivery::check_delivery;
use model::{Asked, asked_in_messages, asked_on_stream};
use world::{Arrived, DISCONNECT, ERROR, FORMS, Form, Peer, Transport, World};

/// More than a frame, so that limits are met, and less than the limit of a message.
const INPUT_BYTES_MAX: usize = 256 * 1024;

/// About as many of one input are the most. Each takes turns of all shards.
const PIECES: usize = 64;

/// What the first byte chooses.
#[derive(Clone, Copy)]
struct Choice {
    logged_in: bool,
    mine: Form,
    carols: Form,
}

/// The first byte chooses forms and whether the client is logged in, the second the cuts. The rest
/// is sent on a plain stream, in WebSocket messages, and as the first bytes of a connection.
pub fn binary_session(data: &[u8]) {
    let [choice, cut, bytes @ ..] = data else { return };
    let bytes = &bytes[..bytes.len().min(INPUT_BYTES_MAX)];
    let choice = Choice {
        logged_in: choice & 1 == 0,
        mine: FORMS[usize::from(choice >> 1) / FORMS.len() % FORMS.len()],
        carols: FORMS[usize::from(choice >> 1) % FORMS.len()],
    };
    frames_on_a_stream(choice, *cut, bytes);
    frames_in_messages(choice, *cut, bytes);
    whatever_comes_first(choice, *cut, bytes);
}

fn frames_on_a_stream(choice: Choice, cut: u8, bytes: &[u8]) {
    if !choice.logged_in && bytes.first() != Some(&0xAA) {
        // The first byte of all says that this is no stream of frames.
        return;
    }
    let mut scene = Scene::open(choice, Transport::Stream);
    scene.send(bytes, cut);
    scene.check_all_answered(&asked_on_stream(bytes));
}

fn frames_in_messages(choice: Choice, cut: u8, bytes: &[u8]) {
    let messages: Vec<&[u8]> = match cut % 2 {
        0 => vec![bytes],
        _ => pieces(bytes, 32 * usize::from(cut), cut).collect(),
    };
    let mut stream = Vec::new();
    for message in &messages {
        write_client_frame(&mut stream, 0x82, message, cut);
    }
    let mut scene = Scene::open(choice, Transport::WebSocket);
    scene.send(&stream, cut);
    scene.check_all_answered(&asked_in_messages(&messages));
}

/// A connection that may be anything: a stream, a request, noise.
fn whatever_comes_first(choice: Choice, cut: u8, bytes: &[u8]) {
    let transport = if cut.is_multiple_of(2) { Transport::WebSocket } else { Transport::Stream };
    let mut scene = Scene::open(Choice { logged_in: false, ..choice }, transport);
    scene.send(bytes, cut);
    scene.check_others();
}

struct Scene {
    world: World,
    me: Peer,
    bob: Peer,
    carol: Peer,
    logged_in: bool,
}

impl Scene {
    fn open(choice: Choice, transport: Transport) -> Scene {
        let mut world = World::new();
        let bob = world.log_in(0, Transport::WebSocket, "bob", FORMS[0]);
        let carol = world.log_in(1, Transport::Stream, "carol", choice.carols);
        let me = if choice.logged_in {
            world.log_in(0, transport, "mallory", choice.mine)
        } else {
            world.open(0, transport)
        };
        Scene { world, me, bob, carol, logged_in: choice.logged_in }
    }

    fn send(&mut self, bytes: &[u8], cut: u8) {
        let piece_bytes_max = (1 + usize::from(cut) * 64).max(bytes.len() / PIECES);
        for piece in pieces(bytes, piece_bytes_max, cut) {
            self.world.write(&self.me, piece);
        }
        self.world.settle();
    }

    /// Every frame was answered, delivered or, for DISCONNECT, followed by a close, and nothing
    /// came that was not asked for.
    fn check_all_answered(&mut self, asked: &[Asked]) {
        let mine = self.world.read(&mut self.me);
        let (is_closed, my_id) = (self.world.is_closed(&self.me), self.my_id());
        for arrived in mine.iter().filter(|arrived| arrived.is_signal()) {
            let form = self.logged_in.then_some(self.me.form);
            check_delivery(arrived, my_id.as_deref(), form, my_id.as_deref());
        }
        let delivered = self.check_others();
        let outcomes = count(mine.iter().chain(&delivered).map(|arrived| arrived.uuid));
        let shown = || format!("{asked:?}\nhad the outcomes {outcomes:?}");
        if !is_closed {
            assert!(outcomes == count(asked.iter().map(|asked| asked.uuid)), "{}", shown());
            assert!(!asked.iter().any(|asked| asked.loses_framing), "lost framing ends a connection");
            return;
        }
        let ends = (0..asked.len()).filter_map(|at| match asked[at] {
            Asked { message_type: Some(DISCONNECT), .. } => Some(at),
            Asked { loses_framing: true, .. } => Some(at + 1),
            _ => None,
        });
        let mut explained = ends.map(|end| explains(&asked[..end], &outcomes));
        assert!(explained.any(|explained| explained), "{}", shown());
    }

    /// What the others got is true, and they are served as before.
    fn check_others(&mut self) -> Vec<Arrived> {
        let my_id = self.my_id();
        let mut delivered = Vec::new();
        for other in [&mut self.bob, &mut self.carol] {
            let was_replaced = my_id.as_deref() == Some(other.id);
            let mut told = 0;
            for arrived in self.world.read(other) {
                if arrived.is_signal() {
                    check_delivery(&arrived, Some(other.id), Some(other.form), my_id.as_deref());
                    delivered.push(arrived);
                } else {
                    assert_eq!((arrived.message_type, arrived.uuid), (ERROR, [0; 16]));
                    told += 1;
                }
            }
            assert_eq!(told, usize::from(was_replaced), "who lost its id is told, and nobody else");
            assert_eq!(self.world.is_closed(other), was_replaced);
            if !was_replaced {
                self.world.check_is_served(other);
            }
        }
        self.world.check_nothing_broke();
        delivered
    }

    /// The id that the client has logged in with, perhaps for a while.
    fn my_id(&mut self) -> Option<String> {
        let ids = self.world.connected_ids();
        assert!(ids.len() <= 3, "one connection logs in once: {ids:?}");
        ids.get(2).cloned()
    }
}

/// Whether these frames, and no others, had the outcomes. Somebody who has gone misses the answers to
/// signals that come back from another shard afterwards.
fn explains(asked: &[Asked], outcomes: &BTreeMap<[u8; 16], usize>) -> bool {
    let expected = count(asked.iter().map(|asked| asked.uuid));
    let signals = count(asked.iter().filter(|asked| asked.is_signal()).map(|asked| asked.uuid));
    let of = |counts: &BTreeMap<[u8; 16], usize>, uuid| counts.get(uuid).copied().unwrap_or(0);
    outcomes.iter().all(|(uuid, outcomes)| *outcomes <= of(&expected, uuid))
        && expected.iter().all(|(uuid, expected)| of(outcomes, uuid) + of(&signals, uuid) >= *expected)
}

fn count(uuids: impl Iterator<Item = [u8; 16]>) -> BTreeMap<[u8; 16], usize> {
    let mut counts = BTreeMap::new();
    uuids.for_each(|uuid| *counts.entry(uuid).or_default() += 1);
    counts
}
