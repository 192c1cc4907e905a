//! What servers send: bytes into frames, frames into messages, messages checked.

use super::arguments::Dialect;
use super::arrivals::Verdict;
use super::dialects::{Heard, hear};
use super::http;
use super::links::{Carries, Stage};
use super::marks::{Found, Mark};
use super::run::Run;
use super::websocket::{self, Kind};
use crate::wire::frame;
use crate::wire::websocket::Opcode;

/// Longest message in fragments.
const FRAGMENTS_BYTES_MAX: usize = 4 << 20;

impl Run<'_> {
    /// Bytes of a socket, which may be sealed.
    pub fn arrive(&mut self, index: u32, bytes: &[u8]) {
        let Some(mut seal) = self.links[index as usize].seal.take() else {
            return self.received(index, bytes);
        };
        let mut plain = std::mem::take(&mut self.plain);
        let opened = seal.open(bytes, &mut plain);
        let link = &mut self.links[index as usize];
        if seal.has_output() || !link.out.is_empty() {
            self.touch(index);
        }
        self.links[index as usize].seal = Some(seal);
        self.received(index, &plain);
        if let Err(error) = opened {
            self.ended(index, &error.to_string());
        }
        plain.clear();
        self.plain = plain;
    }

    /// Bytes of a link, cut anywhere.
    pub fn received(&mut self, index: u32, bytes: &[u8]) {
        let now_ns = self.now_ns();
        let mut partial = std::mem::take(&mut self.links[index as usize].partial);
        if partial.is_empty() {
            let taken = self.take(index, bytes, now_ns);
            partial.extend_from_slice(&bytes[taken..]);
        } else {
            partial.extend_from_slice(bytes);
            let taken = self.take(index, &partial, now_ns);
            partial.drain(..taken);
            if partial.is_empty() {
                partial = Vec::new();
            }
        }
        self.links[index as usize].partial = partial;
    }

    /// Takes whole units from the front and says how many bytes they were.
    fn take(&mut self, index: u32, input: &[u8], now_ns: u64) -> usize {
        let mut at = 0;
        while let Some(rest) = input.get(at..).filter(|rest| !rest.is_empty()) {
            let link = &self.links[index as usize];
            let taken = match (link.stage, link.carries) {
                (Stage::Free | Stage::Gone, _) => Ok(Some(rest.len())),
                (Stage::Upgrading, _) => self.take_upgrade(index, rest),
                (_, Carries::WebSocket) => self.take_websocket(index, rest, now_ns),
                (_, Carries::Frames) => self.take_frame(index, rest, now_ns),
                (_, Carries::Posts) => self.take_answer(index, rest),
            };
            match taken {
                Ok(Some(bytes)) => at += bytes,
                Ok(None) => break,
                Err(why) => {
                    self.fail(index, &why);
                    return input.len();
                }
            }
        }
        at
    }

    fn take_upgrade(&mut self, index: u32, input: &[u8]) -> Result<Option<usize>, String> {
        let Some(agreed) = websocket::read_upgrade(input)? else { return Ok(None) };
        let link = &mut self.links[index as usize];
        link.stage = Stage::LoggingIn;
        self.peers[link.peer as usize].shard = agreed.shard;
        self.log_in(index);
        Ok(Some(agreed.head_bytes))
    }

    fn take_websocket(&mut self, index: u32, input: &[u8], now_ns: u64) -> Result<Option<usize>, String> {
        let Some(frame) = websocket::read_frame(input)? else { return Ok(None) };
        let link = &mut self.links[index as usize];
        match frame.kind {
            Kind::Message if frame.fin => self.message(index, frame.payload, now_ns),
            Kind::Message => link.fragments = frame.payload.to_vec(),
            Kind::Continuation => {
                if link.fragments.len() + frame.payload.len() > FRAGMENTS_BYTES_MAX {
                    return Err("a message in fragments over 4 MiB".to_owned());
                }
                link.fragments.extend_from_slice(frame.payload);
                if frame.fin {
                    let message = std::mem::take(&mut link.fragments);
                    self.message(index, &message, now_ns);
                }
            }
            Kind::Ping if link.stage != Stage::Leaving => {
                let key = self.random.next_u32().to_ne_bytes();
                websocket::write_frame(&mut link.out, Opcode::Pong, key, frame.payload.len(), |out| {
                    out.extend_from_slice(frame.payload);
                });
                self.touch(index);
            }
            Kind::Ping | Kind::Pong => {}
            Kind::Close => {
                let (code, reason) = frame.payload.split_first_chunk().unwrap_or((&[0; 2], &[]));
                let (code, reason) = (u16::from_be_bytes(*code), String::from_utf8_lossy(reason));
                self.ended(index, &format!("closed by the server: {code} {reason}"));
            }
        }
        Ok(Some(frame.frame_bytes))
    }

    fn take_frame(&mut self, index: u32, input: &[u8], now_ns: u64) -> Result<Option<usize>, String> {
        match frame::streaming(input) {
            Ok(frame) => {
                let bytes = frame.frame_bytes();
                self.message(index, &input[..bytes], now_ns);
                Ok(Some(bytes))
            }
            Err(frame::Unfinished::Incomplete { .. }) => Ok(None),
            Err(frame::Unfinished::BadStartByte) => Err("something else than a 0xAA frame".to_owned()),
        }
    }

    fn take_answer(&mut self, index: u32, input: &[u8]) -> Result<Option<usize>, String> {
        let Some((status, bytes)) = http::read_status(input)? else { return Ok(None) };
        if status != 200 {
            self.refused(index, format!("POST /signal: HTTP {status}"));
        }
        Ok(Some(bytes))
    }

    /// One message, or one frame on TCP. In `binary` a server may put several frames into one.
    fn message(&mut self, index: u32, message: &[u8], now_ns: u64) {
        if self.plan.dialect != Dialect::Binary {
            return self.signal(index, message, now_ns);
        }
        let mut rest = message;
        while !rest.is_empty() {
            let Ok(frame) = frame::complete(rest) else {
                self.tally.corrupt += 1;
                return;
            };
            let (this, behind) = rest.split_at(frame.frame_bytes());
            self.signal(index, this, now_ns);
            rest = behind;
        }
    }

    fn signal(&mut self, index: u32, message: &[u8], now_ns: u64) {
        let stage = self.links[index as usize].stage;
        if stage == Stage::Ready {
            match self.searcher.find(message) {
                Found::Mark(mark, end) => return self.arrived(index, mark, &message[end..], now_ns),
                Found::Broken => {
                    self.tally.corrupt += 1;
                    return;
                }
                Found::Nothing => {}
            }
        }
        match (hear(self.plan.dialect, message), stage) {
            (Heard::Welcome, Stage::LoggingIn) => self.logged_in(index, now_ns),
            (Heard::Refused(words), Stage::LoggingIn) => self.fail(index, &words),
            (Heard::Refused(words), Stage::Ready) => self.refused(index, words),
            _ => self.tally.others += 1,
        }
    }

    fn arrived(&mut self, index: u32, mark: Mark, behind: &[u8], now_ns: u64) {
        let peer = self.links[index as usize].peer as usize;
        let sender = self.peers[peer].partner.filter(|&partner| partner == mark.sender);
        // A message for somebody else is as bad as a changed one.
        let Some(sender) = sender else {
            self.tally.corrupt += 1;
            return;
        };
        let is_whole =
            self.templates.get(usize::from(mark.variant)).is_some_and(|template| template.is_whole(behind));
        self.tally.corrupt += u64::from(!is_whole);
        let sent = self.peers[sender as usize].sent;
        match self.peers[peer].arrivals.take(mark.number, sent) {
            Verdict::InOrder => {}
            Verdict::Late => self.tally.out_of_order += 1,
            Verdict::Again => {
                self.tally.duplicated += 1;
                return;
            }
            Verdict::Impossible => {
                self.tally.corrupt += 1;
                return;
            }
        }
        self.tally.arrive(mark.sent_ns, now_ns);
        if self.flowing {
            self.touch(self.outlet(sender));
        }
    }

    fn refused(&mut self, index: u32, words: String) {
        let peer = self.links[index as usize].peer;
        self.peers[peer as usize].refused += 1;
        self.tally.refused += 1;
        self.tally.complain(words);
        if self.flowing {
            self.touch(self.outlet(peer));
        }
    }
}
