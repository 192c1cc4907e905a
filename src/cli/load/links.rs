//! One socket of the generator, and one participant.

use super::arrivals::Arrivals;
use super::dialects::Seat;
use super::sealed::Seal;

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// No socket.
    Free,
    /// The answer to the upgrade is awaited.
    Upgrading,
    LoggingIn,
    Ready,
    /// Its end was said; the server's is awaited.
    Leaving,
    /// Being closed.
    Gone,
}

/// What goes over a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    WebSocket,
    /// 0xAA frames.
    Frames,
    /// POST requests and their answers, beside the WebSocket of the same participant.
    Posts,
}

pub struct Link {
    /// Index of the participant.
    pub peer: u32,
    pub generation: u32,
    pub stage: Stage,
    pub carries: Carries,
    /// A send is under way; one at a time.
    pub sending: bool,
    /// Stands in the list of links to be flushed.
    pub queued: bool,
    /// Of the bytes under way, those that the kernel has taken.
    pub sent_bytes: usize,
    /// To be sent next. Without memory while there is nothing.
    pub out: Vec<u8>,
    /// The beginning of something that has not arrived in full.
    pub partial: Vec<u8>,
    /// The frames so far of a message in fragments.
    pub fragments: Vec<u8>,
    pub seal: Option<Box<Seal>>,
    /// When it entered its stage; ns since the run began.
    pub since_ns: u64,
}

impl Link {
    pub fn new(peer: u32, carries: Carries) -> Link {
        Link {
            peer,
            generation: 0,
            stage: Stage::Free,
            carries,
            sending: false,
            queued: false,
            sent_bytes: 0,
            out: Vec::new(),
            partial: Vec::new(),
            fragments: Vec::new(),
            seal: None,
            since_ns: 0,
        }
    }

    /// A new socket takes the place of one that is closed.
    pub fn reopen(&mut self, stage: Stage, now_ns: u64) {
        let generation = self.generation.wrapping_add(1);
        *self = Link {
            generation,
            stage,
            queued: self.queued,
            since_ns: now_ns,
            ..Link::new(self.peer, self.carries)
        };
    }

    /// Whether bytes may still be written.
    pub fn can_send(&self) -> bool {
        !matches!(self.stage, Stage::Free | Stage::Gone)
    }
}

/// Digits of the highest number of a participant.
pub const DIGITS_MAX: usize = 5;

/// A participant: who sends under one name.
#[derive(Default)]
pub struct Peer {
    /// Its number in decimal, as in its name.
    pub digits: [u8; DIGITS_MAX],
    /// By the 101 of its WebSocket.
    pub shard: Option<u32>,
    pub seat: Option<Seat>,
    /// To whom it sends, and from whom it receives.
    pub partner: Option<u32>,
    /// Its place in the round of the open loop.
    pub turn: u64,
    /// Messages that are due in open loop and not sent.
    pub owed: u64,
    pub sent: u64,
    /// Of its own messages, those that the server answered with an error.
    pub refused: u64,
    /// From its partner.
    pub arrivals: Arrivals,
}
