//! Who sends to whom, and when: pairs, the closed loop, the open loop.

use std::collections::BTreeMap;

use super::arguments::{Mode, Pairs};
use super::links::{Carries, Stage};
use super::marks::Mark;
use super::payloads::Parties;
use super::run::Run;
use super::websocket;

/// Bytes that one link is given before they are sent; the rest of what it owes waits for the next
/// turn.
const OUT_BYTES_MAX: usize = 64 * 1024;

const SECOND_NS: u128 = 1_000_000_000;

impl Run<'_> {
    /// Gives everyone a partner who is logged in, as far as there are two of a kind.
    ///
    /// # Errors
    /// When the server does not say which shard a connection is on.
    pub fn pair_up(&mut self) -> Result<(), String> {
        let ready = |peer: u32| self.links[peer as usize].stage == Stage::Ready;
        let couples = match self.plan.pairs {
            Pairs::Any => {
                let firsts = (0..self.plan.connections.saturating_sub(1)).step_by(2);
                firsts
                    .map(|peer| (peer, peer + 1))
                    .filter(|&(one, other)| ready(one) && ready(other))
                    .collect()
            }
            Pairs::SameShard | Pairs::CrossShard => {
                let mut shards = BTreeMap::<u32, Vec<u32>>::new();
                for peer in (0..self.plan.connections).filter(|&peer| ready(peer)) {
                    let shard = self.peers[peer as usize].shard.ok_or(
                        "--pairs: the server does not name its shards (`expose_shard` of its listener)",
                    )?;
                    shards.entry(shard).or_default().push(peer);
                }
                couples(shards.into_values().collect(), self.plan.pairs == Pairs::CrossShard)
            }
        };
        for (one, other) in couples {
            for (peer, partner) in [(one, other), (other, one)] {
                let turn = self.active.len() as u64;
                let peer_state = &mut self.peers[peer as usize];
                (peer_state.partner, peer_state.turn) = (Some(partner), turn);
                self.active.push(peer);
            }
        }
        Ok(())
    }

    /// Messages begin to flow.
    pub fn start(&mut self, now_ns: u64) {
        self.first_due_ns = now_ns;
        match self.plan.mode {
            Mode::Closed => {
                self.flowing = true;
                for position in 0..self.active.len() {
                    self.touch(self.outlet(self.active[position]));
                }
            }
            Mode::Open | Mode::Idle | Mode::Storm => {}
        }
    }

    /// No further message becomes due; those that are due still go out.
    pub fn stop(&mut self) {
        self.flowing = false;
    }

    /// In open loop: hands out what has become due.
    pub fn make_due(&mut self, now_ns: u64) {
        if self.plan.mode != Mode::Open || self.active.is_empty() {
            return;
        }
        let elapsed = u128::from(now_ns.saturating_sub(self.first_due_ns));
        let due = (elapsed * u128::from(self.plan.rate) / SECOND_NS) as u64;
        while self.due < due {
            let peer = self.active[(self.due % self.active.len() as u64) as usize];
            self.peers[peer as usize].owed += 1;
            self.touch(self.outlet(peer));
            self.due += 1;
        }
    }

    /// When the next message is due in open loop.
    pub fn next_due_ns(&self) -> u64 {
        self.due_ns(self.due + 1)
    }

    /// Writes the messages that may go out over this link now.
    pub fn fill(&mut self, index: u32) {
        let link = &self.links[index as usize];
        let peer = link.peer;
        if link.stage != Stage::Ready || self.outlet(peer) != index {
            return;
        }
        let Some(partner) = self.peers[peer as usize].partner else { return };
        let mut room = self.room(peer, partner);
        if room == 0 {
            return;
        }
        let mut out = std::mem::take(&mut self.links[index as usize].out);
        let now_ns = self.now_ns();
        while room > 0 && out.len() < OUT_BYTES_MAX {
            room -= 1;
            let sent_ns = self.intended_ns(peer, now_ns);
            self.write(&mut out, peer, partner, sent_ns);
        }
        self.links[index as usize].out = out;
    }

    /// Messages on their way that may still come.
    pub fn under_way(&self) -> u64 {
        let pairs = self.active.iter().filter_map(|&peer| Some((peer, self.peers[peer as usize].partner?)));
        pairs.map(|(peer, partner)| self.in_flight(peer, partner) + self.peers[peer as usize].owed).sum()
    }

    /// Messages that were sent, did not arrive, and were not refused.
    pub fn lost(&self) -> u64 {
        let lost = |&peer: &u32| {
            let sender = &self.peers[peer as usize];
            let delivered =
                sender.partner.map_or(0, |partner| self.peers[partner as usize].arrivals.delivered());
            sender.sent.saturating_sub(delivered + sender.refused)
        };
        self.active.iter().map(lost).sum()
    }

    /// Messages that were due and found no room on their connection.
    pub fn unsent(&self) -> u64 {
        self.peers.iter().map(|peer| peer.owed).sum()
    }

    fn room(&self, peer: u32, partner: u32) -> u64 {
        match self.plan.mode {
            Mode::Closed if self.flowing => {
                self.plan.outstanding.saturating_sub(self.in_flight(peer, partner))
            }
            Mode::Open => self.peers[peer as usize].owed,
            Mode::Closed | Mode::Idle | Mode::Storm => 0,
        }
    }

    /// A message that was overtaken counts as lost here, and one that was refused has been one of
    /// those.
    fn in_flight(&self, peer: u32, partner: u32) -> u64 {
        let (sender, arrivals) = (&self.peers[peer as usize], &self.peers[partner as usize].arrivals);
        let gone = arrivals.overtaken().max(sender.refused);
        sender.sent.saturating_sub(arrivals.delivered() + gone)
    }

    fn intended_ns(&mut self, peer: u32, now_ns: u64) -> u64 {
        if self.plan.mode != Mode::Open {
            return now_ns;
        }
        let rounds = self.active.len() as u64;
        let sender = &mut self.peers[peer as usize];
        sender.owed -= 1;
        let place = sender.sent * rounds + sender.turn + 1;
        let intended_ns = self.due_ns(place);
        self.tally.late(intended_ns, now_ns);
        intended_ns
    }

    /// When so many messages are due.
    fn due_ns(&self, count: u64) -> u64 {
        let after = (u128::from(count) * SECOND_NS).div_ceil(u128::from(self.plan.rate.max(1)));
        self.first_due_ns + after as u64
    }

    fn write(&mut self, out: &mut Vec<u8>, peer: u32, partner: u32, sent_ns: u64) {
        let lot = self.random.next_u32() as usize % self.lots.len();
        let variant = self.lots[lot];
        let template = &self.templates[usize::from(variant)];
        let sender = &self.peers[peer as usize];
        let mark = Mark { sender: peer, number: sender.sent, sent_ns, variant };
        let digits = self.plan.names.digits;
        let (session, call) = match &sender.seat {
            Some(seat) => (seat.session.as_bytes(), seat.call.as_bytes()),
            None => (&[][..], &[][..]),
        };
        let parties = Parties {
            sender_number: &sender.digits[..digits],
            target_number: &self.peers[partner as usize].digits[..digits],
            session,
            call,
        };
        match self.links[self.outlet(peer) as usize].carries {
            Carries::WebSocket => {
                let key = self.random.next_u32().to_ne_bytes();
                websocket::write_frame(out, self.opcode(), key, template.len(), |out| {
                    template.write(out, mark, &parties);
                });
            }
            Carries::Frames | Carries::Posts => template.write(out, mark, &parties),
        }
        self.peers[peer as usize].sent += 1;
        self.tally.sent += 1;
    }
}

/// Two of one shard each, or of different ones as long as there are two shards with somebody left.
fn couples(mut shards: Vec<Vec<u32>>, cross: bool) -> Vec<(u32, u32)> {
    let mut couples = Vec::new();
    if !cross {
        for shard in shards {
            let (pairs, _) = shard.as_chunks::<2>();
            couples.extend(pairs.iter().map(|&[one, other]| (one, other)));
        }
        return couples;
    }
    loop {
        shards.sort_by_key(|shard| std::cmp::Reverse(shard.len()));
        let [first, second, ..] = shards.as_mut_slice() else { return couples };
        match (first.pop(), second.pop()) {
            (Some(one), Some(other)) => couples.push((one, other)),
            _ => return couples,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partners_lie_on_one_shard_or_on_two_as_asked() {
        let shards = || vec![vec![0, 2, 4, 6, 8], vec![1, 3, 5], vec![7]];
        let shard_of = |peer| shards().iter().position(|shard| shard.contains(&peer));
        let same = couples(shards(), false);
        assert_eq!(same.len(), 3);
        assert!(same.iter().all(|&(one, other)| shard_of(one) == shard_of(other)));
        let cross = couples(shards(), true);
        assert_eq!(cross.len(), 4);
        assert!(cross.iter().all(|&(one, other)| shard_of(one) != shard_of(other)));
    }
}
