//! All links and participants of a run, from login to goodbye, without sockets.
//!
//! Invariant: a link that has something to do stands in `dirty` once, or will when its send has
//! come back.

use std::time::Instant;

use super::arguments::{Dialect, Mode};
use super::dialects::{Access, disconnect};
use super::links::{Carries, DIGITS_MAX, Link, Peer, Stage};
use super::marks::Searcher;
use super::measure::Tally;
use super::payloads::Template;
use super::plan::{Plan, Transport};
use super::sealed::Seal;
use super::websocket;
use crate::wire::websocket::Opcode;

pub struct Run<'a> {
    pub plan: &'a Plan,
    pub access: &'a Access,
    pub templates: Vec<Template>,
    pub lots: Vec<u8>,
    /// First those of the participants in their order; in `calls`, behind them those that post.
    pub links: Vec<Link>,
    pub peers: Vec<Peer>,
    /// Participants that have a partner, in the order of their turns.
    pub active: Vec<u32>,
    /// Links to be flushed.
    pub dirty: Vec<u32>,
    /// Links whose sockets are to be closed.
    pub closing: Vec<u32>,
    pub tally: Tally,
    /// Logged in.
    pub ready: usize,
    /// On their way there.
    pub opening: usize,
    /// Messages go out in closed loop.
    pub flowing: bool,
    /// In open loop: when the first message is due, and how many have been so far.
    pub first_due_ns: u64,
    pub due: u64,
    pub random: Random,
    pub(super) searcher: Searcher,
    /// What the records of one receive hold.
    pub(super) plain: Vec<u8>,
    epoch: Instant,
}

/// xorshift64*: quick, and the same for the same seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        // 0 would stay 0.
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next_u32(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as u32
    }
}

impl<'a> Run<'a> {
    pub fn new(plan: &'a Plan, access: &'a Access, templates: Vec<Template>, epoch: Instant) -> Run<'a> {
        let carries = match plan.target.transport {
            Transport::WebSocket => Carries::WebSocket,
            Transport::Tcp => Carries::Frames,
        };
        let posts = if plan.dialect == Dialect::Calls { plan.connections } else { 0 };
        let links = (0..plan.connections)
            .map(|peer| Link::new(peer, carries))
            .chain((0..posts).map(|peer| Link::new(peer, Carries::Posts)))
            .collect();
        let peers = (0..plan.connections as usize)
            .map(|peer| {
                let mut digits = [0; DIGITS_MAX];
                for (digit, byte) in digits.iter_mut().zip(plan.names.number(peer).bytes()) {
                    *digit = byte;
                }
                Peer { digits, ..Peer::default() }
            })
            .collect();
        Run {
            plan,
            access,
            templates,
            lots: plan.sizes.lots(),
            links,
            peers,
            active: Vec::new(),
            dirty: Vec::new(),
            closing: Vec::new(),
            tally: Tally::new(),
            ready: 0,
            opening: 0,
            flowing: false,
            first_due_ns: 0,
            due: 0,
            random: Random::new(plan.seed),
            searcher: Searcher::new(),
            plain: Vec::new(),
            epoch,
        }
    }

    pub fn now_ns(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// A socket of this link is connected; `began_ns` is when that was begun.
    pub fn opened(&mut self, index: u32, began_ns: u64) {
        let link = &mut self.links[index as usize];
        let stage = match link.carries {
            Carries::WebSocket => Stage::Upgrading,
            Carries::Frames => Stage::LoggingIn,
            Carries::Posts => Stage::Ready,
        };
        link.reopen(stage, began_ns);
        if let Some(sealing) = &self.plan.sealing {
            // Only what the run began with could be wrong, and that has been tried.
            link.seal = Seal::new(sealing).ok().map(Box::new);
        }
        match link.carries {
            Carries::WebSocket => {
                let bearer = (self.plan.dialect == Dialect::Devices && self.plan.names.has_token())
                    .then(|| self.plan.names.token(link.peer as usize));
                websocket::write_upgrade(&mut link.out, &self.plan.target, bearer.as_deref());
                self.opening += 1;
            }
            Carries::Frames => {
                self.opening += 1;
                self.log_in(index);
            }
            Carries::Posts => {}
        }
        self.touch(index);
    }

    /// The server has ended the stream, or it broke.
    pub fn ended(&mut self, index: u32, why: &str) {
        match self.links[index as usize].stage {
            Stage::Leaving => self.close(index),
            Stage::Free | Stage::Gone => {}
            Stage::Upgrading | Stage::LoggingIn | Stage::Ready => self.fail(index, why),
        }
    }

    /// Says goodbye; the link is closed when the server has answered.
    pub fn leave(&mut self, index: u32, now_ns: u64) {
        let key = self.random.next_u32().to_ne_bytes();
        let link = &mut self.links[index as usize];
        if link.stage != Stage::Ready {
            return;
        }
        self.ready -= usize::from(link.carries != Carries::Posts);
        link.stage = Stage::Leaving;
        link.since_ns = now_ns;
        match link.carries {
            Carries::WebSocket => {
                // 1000, normal closure.
                websocket::write_frame(&mut link.out, Opcode::Close, key, 2, |out| {
                    out.extend_from_slice(&1000_u16.to_be_bytes());
                });
                self.touch(index);
            }
            Carries::Frames => {
                link.out.extend_from_slice(&disconnect());
                self.touch(index);
            }
            Carries::Posts => self.close(index),
        }
    }

    /// Ends a link that has not come further for too long.
    pub fn give_up(&mut self, index: u32) {
        match self.links[index as usize].stage {
            Stage::Upgrading | Stage::LoggingIn => self.fail(index, "no answer to the login"),
            Stage::Leaving => self.close(index),
            Stage::Free | Stage::Ready | Stage::Gone => {}
        }
    }

    pub fn touch(&mut self, index: u32) {
        let link = &mut self.links[index as usize];
        if !link.queued && !link.sending {
            link.queued = true;
            self.dirty.push(index);
        }
    }

    /// The link over which a participant sends.
    pub fn outlet(&self, peer: u32) -> u32 {
        if self.plan.dialect == Dialect::Calls { peer + self.plan.connections } else { peer }
    }

    /// A link that cannot go on.
    pub(super) fn fail(&mut self, index: u32, why: &str) {
        let link = &self.links[index as usize];
        match (link.stage, link.carries) {
            (Stage::Ready, Carries::Posts) => self.tally.broken += 1,
            (Stage::Ready, _) => {
                self.ready -= 1;
                self.tally.broken += 1;
            }
            (Stage::Upgrading | Stage::LoggingIn, _) => {
                self.opening -= 1;
                self.tally.failed += 1;
            }
            _ => {}
        }
        self.tally.complain(why);
        self.close(index);
    }

    fn close(&mut self, index: u32) {
        self.links[index as usize].stage = Stage::Gone;
        self.closing.push(index);
    }

    pub(super) fn log_in(&mut self, index: u32) {
        let opcode = self.opcode();
        let link = &mut self.links[index as usize];
        let peer = link.peer as usize;
        let login = self.access.login(self.plan, peer, self.peers[peer].seat.as_ref());
        match link.carries {
            Carries::WebSocket => {
                let key = self.random.next_u32().to_ne_bytes();
                websocket::write_frame(&mut link.out, opcode, key, login.len(), |out| {
                    out.extend_from_slice(&login);
                });
            }
            Carries::Frames | Carries::Posts => link.out.extend_from_slice(&login),
        }
        self.touch(index);
    }

    pub(super) fn logged_in(&mut self, index: u32, now_ns: u64) {
        let link = &mut self.links[index as usize];
        let began_ns = link.since_ns;
        link.stage = Stage::Ready;
        link.since_ns = now_ns;
        self.opening -= 1;
        self.ready += 1;
        if self.plan.mode == Mode::Storm {
            self.tally.arrive(began_ns, now_ns);
            self.leave(index, now_ns);
        }
    }

    pub fn opcode(&self) -> Opcode {
        if self.plan.dialect == Dialect::Binary { Opcode::Binary } else { Opcode::Text }
    }
}
