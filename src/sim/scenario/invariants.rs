//! What has to hold of the whole world: after every step, and when everything has come to rest.

use super::actor::{ClaimState, Fate, Speech};
use super::history::{Address, Party, Space};
use super::oracle::{Promise, Verdict};
use super::speech::rooms::room_id;
use super::world::World;
use crate::base::{NodeId, RealmId};
use crate::dialect::rooms;
use crate::shard::{ConnectionHoldings, TICK};

/// One answer's worth over a limit that is looked at behind it.
const OVERSHOOT_BYTES: usize = 2_000;
/// What one receive brings.
const RECEIVE_BYTES: usize = 33_000;

impl World {
    /// Holds at any moment.
    pub(super) fn check_bounds(&mut self) -> Verdict {
        let broken = |words: String| Err(Promise::Bounds.broken(words));
        let limits = self.plan.limits.clone();
        let tick_us = TICK.as_micros() as u64;
        let outbox_most = limits.outbox_hard_bytes
            + limits.outbox_reserve_bytes.max(self.plan.message_bytes_max)
            + OVERSHOOT_BYTES;
        let backlog_most = self.plan.message_bytes_max + RECEIVE_BYTES;
        for shard in 0..self.plan.shards {
            let node = &self.sim.nodes[shard];
            if node.metrics.panics.get() > 0 {
                return Err(Promise::BadInput.broken("a session panicked".to_owned()));
            }
            let depth = self.sim.inbox_depth(shard);
            if depth > self.plan.inbox_messages_max {
                return broken(format!("{depth} parcels in the inbox of shard {shard}"));
            }
            let holdings = node.shard.holdings();
            let waiting: usize = holdings.overflow.iter().map(|overflow| overflow.deliveries).sum();
            // One always fits, however long it is.
            if waiting > 1 && holdings.overflow_bytes > limits.mesh.overflow_bytes_max {
                return broken(format!("{} bytes wait on shard {shard}", holdings.overflow_bytes));
            }
            for overflow in &holdings.overflow {
                if overflow.deliveries > limits.mesh.overflow_messages_max {
                    return broken(format!("{overflow:?} of shard {shard}"));
                }
                let age_us = overflow.oldest_us.map_or(0, |oldest_us| self.now_us() - oldest_us);
                if age_us > limits.mesh.hold_us + 2 * tick_us
                    && !self.paused[shard]
                    && self.calm_us() > 2 * tick_us
                {
                    return broken(format!("{overflow:?} of shard {shard} waits for {age_us} us"));
                }
            }
            for connection in &holdings.connections {
                if connection.outbox_bytes > outbox_most {
                    return broken(format!("{connection:?} of shard {shard}"));
                }
                if connection.backlog_bytes > backlog_most {
                    return broken(format!("{connection:?} of shard {shard}"));
                }
            }
        }
        self.check_slow_readers()
    }

    /// Who stays over its limit is cut.
    fn check_slow_readers(&self) -> Verdict {
        let most_us = (self.plan.limits.slow_consumer + 3 * TICK).as_micros() as u64;
        for shard in (0..self.plan.shards).filter(|shard| !self.paused[*shard] && self.calm_us() > most_us) {
            for connection in self.sim.nodes[shard].shard.holdings().connections {
                let full_us = connection.full_since_us.map_or(0, |since_us| self.now_us() - since_us);
                if full_us > most_us && !connection.closing {
                    let words = format!("{connection:?} of shard {shard} is full for {full_us} us");
                    return Err(Promise::Bounds.broken(words));
                }
            }
        }
        Ok(())
    }

    /// Holds whenever nothing moves any more, whatever is paused or stalled.
    pub(super) fn check_rest(&mut self) -> Verdict {
        for node in 0..=self.plan.shards {
            let id = if node == self.plan.shards { NodeId::FRONT } else { NodeId::shard(node) };
            let has_ended = node < self.plan.shards && self.sim.has_ended(node);
            if !self.paused[node] && !has_ended && self.sim.mesh.depth(id) > 0 {
                return Err(Promise::Liveness.broken(format!("{id:?} sleeps on its inbox")));
            }
        }
        self.check_certain()?;
        self.check_ghosts()?;
        self.check_answers()
    }

    /// Whoever has an id for certain is found under it.
    fn check_certain(&self) -> Verdict {
        for (address, (party, _)) in &self.certain {
            if matches!(party, Party::Actor(index) if self.may_be_ending(*index)) {
                continue;
            }
            let key = match *party {
                Party::Actor(index) => self.key_of(index),
                Party::Station(index) => Some(self.stations[index].key),
                Party::Session(_) => None,
            };
            let directory = &self.sim.directory;
            let found = match &address.space {
                Space::Realm(realm) => directory.lookup(RealmId(*realm), &address.id),
                Space::Room(room) => {
                    let room_id = room_id(*room);
                    let way = directory.lookup(rooms::REALM, &format!("{room_id}\0{}", address.id));
                    self.rooms.lookup(&room_id, &address.id).filter(|key| way == Some(*key))
                }
                Space::Group(_) | Space::Call(_) => continue,
            };
            if found != key {
                let words = format!("{address:?} belongs to {party:?}, {key:?}, and is found at {found:?}");
                return Err(Promise::NoGhosts.broken(words));
            }
        }
        Ok(())
    }

    /// The server may have given it up, and be about to say so: what it has sent to a node that was
    /// paused is to be answered first.
    pub(super) fn may_be_ending(&self, index: usize) -> bool {
        let patience_us = (self.plan.close + 2 * TICK).as_micros() as u64;
        let Some(key) = self.key_of(index).filter(|_| self.calm_us() < patience_us) else { return false };
        let holdings = self.sim.nodes[key.node.index()].shard.holdings();
        let own = |connection: &&ConnectionHoldings| {
            (connection.conn.slot, connection.conn.generation) == (key.slot, key.generation)
        };
        holdings.connections.iter().find(own).is_none_or(|connection| !connection.joined)
    }

    /// An id never points to a dead connection for longer than it takes to notice that.
    fn check_ghosts(&self) -> Verdict {
        let longest_us = self.plan.horizon().as_micros() as u64;
        for (index, actor) in self.actors.iter().enumerate() {
            let is_closed = self.sim.nodes[actor.client.shard].wires.is_closed(actor.client);
            let gone_us = match actor.fate {
                _ if is_closed => Some(0),
                Fate::Leaving(since_us) | Fate::Vanished(since_us) if self.calm_us() > longest_us => {
                    Some((since_us + longest_us).saturating_sub(self.now_us()))
                }
                _ => None,
            };
            if gone_us != Some(0) {
                continue;
            }
            let key = self.key_of(index);
            for claim in &actor.claims {
                let found = match &claim.address.space {
                    Space::Realm(realm) => self.sim.directory.lookup(RealmId(*realm), &claim.address.id),
                    Space::Room(room) => self.rooms.lookup(&room_id(*room), &claim.address.id),
                    Space::Group(_) | Space::Call(_) => None,
                };
                if found.is_some() && found == key {
                    let words = format!("{:?} points to {index}, which is gone", claim.address);
                    return Err(Promise::NoGhosts.broken(words));
                }
            }
        }
        Ok(())
    }

    /// Who feeds nobody that is full is served at once, whatever happens to others.
    fn check_answers(&self) -> Verdict {
        for (index, actor) in self.actors.iter().enumerate() {
            let is_bystander = actor.is_well()
                && !actor.was_stalled
                && !self.paused[actor.client.shard]
                && !self.is_draining
                && actor.claims.iter().all(|claim| claim.state != ClaimState::Asked)
                && actor.sent_us == 0;
            if is_bystander {
                self.check_answered(index)?;
            }
        }
        Ok(())
    }

    fn check_answered(&self, index: usize) -> Verdict {
        let actor = &self.actors[index];
        // Who has lost its name to another may be told so before it is closed.
        let is_contested = actor.claims.iter().any(|own| self.has_newer(index, own));
        if self.is_limited(actor.speech) || actor.is_hasty || is_contested {
            return Ok(());
        }
        if actor.questions() > 0 {
            let words = format!("{index} ({:?}) waits for {:?}", actor.speech, actor.asked);
            return Err(Promise::Bounds.broken(words));
        }
        if actor.bad_sent != actor.bad_told {
            let words =
                format!("{index} sent {} bad messages and was told of {}", actor.bad_sent, actor.bad_told);
            return Err(Promise::BadInput.broken(words));
        }
        Ok(())
    }

    /// Nothing has gone wrong for long enough: all is drained and accounted for.
    pub(super) fn check_drained(&self) -> Verdict {
        let broken = |words: String| Err(Promise::Liveness.broken(words));
        for shard in 0..self.plan.shards {
            let holdings = self.sim.nodes[shard].shard.holdings();
            if holdings.held > 0 || self.sim.inbox_depth(shard) > 0 {
                return broken(format!("shard {shard} holds {} connections", holdings.held));
            }
            if let Some(overflow) = holdings.overflow.iter().find(|overflow| overflow.deliveries > 0) {
                return broken(format!("shard {shard} has {overflow:?}"));
            }
            if let Some(left) = holdings.connections.iter().find(|c| c.outbox_bytes > 0 || c.closing) {
                return broken(format!("shard {shard} has {left:?}"));
            }
        }
        if self.front.overflow() > 0 || self.front.requests() > 0 {
            return broken(format!(
                "the front has {} parcels and {} requests",
                self.front.overflow(),
                self.front.requests()
            ));
        }
        for (index, actor) in self.actors.iter().enumerate() {
            let is_open = actor.fate == Fate::Open && actor.speech != Speech::Noise;
            if !is_open && !self.sim.nodes[actor.client.shard].wires.is_closed(actor.client) {
                return broken(format!("{index} ({:?}, {:?}) is not closed", actor.speech, actor.fate));
            }
            if is_open && actor.claims.iter().any(|claim| claim.state == ClaimState::Asked) {
                return broken(format!("{index} ({:?}) has no answer to {:?}", actor.speech, actor.claims));
            }
            if is_open {
                self.check_answered(index)?;
            }
        }
        self.check_present()?;
        self.check_delivered()?;
        self.history.check(|party| self.is_open(party))
    }

    pub(super) fn is_open(&self, party: Party) -> bool {
        match party {
            Party::Actor(index) => self.actors[index].fate == Fate::Open,
            Party::Station(index) => self.stations[index].is_open,
            Party::Session(_) => true,
        }
    }

    /// Exactly those who are there have ids.
    fn check_present(&self) -> Verdict {
        let open = self.actors.iter().filter(|actor| actor.fate == Fate::Open);
        let mut held: Vec<&Address> = open.filter_map(|actor| Some(&actor.held()?.address)).collect();
        // One session may listen by several connections.
        held.retain(|address| !matches!(address.space, Space::Call(_)));
        held.sort_unstable();
        if let Some(twice) = held.windows(2).find(|two| two[0] == two[1]) {
            return Err(Promise::NoGhosts.broken(format!("two are {:?}", twice[0])));
        }
        let count = |which: fn(&Space) -> bool| held.iter().filter(|address| which(&address.space)).count();
        let (realms, rooms) =
            (count(|s| matches!(s, Space::Realm(_))), count(|s| matches!(s, Space::Room(_))));
        let stations = self.stations.iter().filter(|station| station.is_open).count();
        let present = [
            ("ids in the directory", self.sim.directory.len(), realms + rooms + stations),
            ("peers in rooms", self.rooms.counts().active_connections, rooms),
            ("stations", self.front.stations(), stations),
        ];
        for (what, found, expected) in present {
            if found != expected {
                let words = format!("{found} {what}, and {expected} are there: {held:?}");
                return Err(Promise::NoGhosts.broken(words));
            }
        }
        Ok(())
    }

    /// A message counts as delivered once, when its target's kernel has it.
    fn check_delivered(&self) -> Verdict {
        let counted: u64 = self.sim.nodes.iter().map(|node| node.metrics.delivered.get()).sum();
        let heard = self.history.actor_deliveries + self.peer_events;
        if counted != heard {
            let words = format!("{counted} are counted as delivered, and {heard} were heard");
            return Err(Promise::AtMostOnce.broken(words));
        }
        Ok(())
    }

    /// Everybody has gone.
    pub(super) fn check_empty(&self) -> Verdict {
        use std::sync::atomic::Ordering;
        let shared = &self.sim.shared;
        let sessions: i64 = self.sim.nodes.iter().map(|node| node.metrics.sessions.get()).sum();
        let connections: i64 = self.sim.nodes.iter().map(|node| node.metrics.connections.get()).sum();
        let left = [
            ("ids", self.sim.directory.len() as i64),
            ("peers in rooms", self.rooms.counts().active_connections as i64),
            ("calls that are listened to", self.seats.calls_listened_to() as i64),
            ("connections", connections),
            ("sessions", sessions),
            ("connections of the process", shared.connections.load(Ordering::Relaxed) as i64),
            ("clients", shared.clients_open.load(Ordering::Relaxed) as i64),
        ];
        for (what, left) in left {
            if left != 0 {
                return Err(Promise::NoGhosts.broken(format!("{left} {what} are left")));
            }
        }
        Ok(())
    }
}
