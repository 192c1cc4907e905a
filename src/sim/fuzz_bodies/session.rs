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
use super::websocket::write_client_frame;
use delivery::check_delivery;
use model::{Asked, asked_in_messages, asked_on_stream};
use world::{Arrived, DISCONNECT, ERROR, FORMS, Form, Peer, Transport, World};

/// More than a frame, so that limits are met, and less than the limit of a message.
const INPUT_BYTES_MAX: usize = 256 * 1024;

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
    let transport = if cut % 2 == 0 { Transport::WebSocket } else { Transport::Stream };
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
        for piece in pieces(bytes, 1 + usize::from(cut) * 64, cut) {
            self.world.write(&self.me, piece);
        }
        self.world.settle();
    }

    /// Every frame was answered, delivered or, for DISCONNECT, followed by a close, and nothing
    /// came that was not asked for.
    fn check_all_answered(&mut self, asked: &[Asked]) {
        let mine = self.world.read(&mut self.me);
        let (is_closed, my_id) = (self.world.is_closed(&self.me), self.my_id());
        let delivered = self.check_others();
        let mut outcomes: BTreeMap<[u8; 16], i64> = BTreeMap::new();
        for arrived in &mine {
            if arrived.is_signal() {
                let form = self.logged_in.then_some(self.me.form);
                check_delivery(arrived, my_id.as_deref(), form, my_id.as_deref());
            }
        }
        for arrived in mine.iter().chain(&delivered) {
            *outcomes.entry(arrived.uuid).or_default() += 1;
        }
        let done = mine.len() + delivered.len();
        assert!(done <= asked.len(), "{done} outcomes of {} frames", asked.len());
        for asked in &asked[..done] {
            *outcomes.entry(asked.uuid).or_default() -= 1;
        }
        assert!(outcomes.values().all(|count| *count == 0), "an outcome of another frame: {outcomes:?}");
        match asked.get(done) {
            Some(next) => {
                assert_eq!(next.message_type, Some(DISCONNECT), "a frame was passed in silence");
                assert!(is_closed, "a session that has ended is closed");
            }
            None if asked.last().is_some_and(|last| last.loses_framing) => assert!(is_closed),
            None => {}
        }
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
