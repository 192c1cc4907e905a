//! Telling all who speak `devices` who is left, within a budget of bytes.
//!
//! One shard builds the text when it is due; each shard sends it to its own connections, as many in
//! each tick as its part of the budget pays for. So a departure among thousands costs neither a
//! burst of copies nor anybody else's latency; who is last hears of it the later the more there are.

use std::sync::Arc;

use super::core::Shard;
use super::world::World;
use crate::base::NodeId;
use crate::dialect::{Speaks, devices};
use crate::mesh::Parcel;
use crate::session::Framing;
use crate::wire::websocket::{Opcode, header_len, write_header};

/// However few there are to be told, and however little it costs.
const INTERVAL_US: u64 = 1_000_000;
/// The part of a second's budget that may be saved up: two ticks, since a tick may be late.
const SAVED_PART: u64 = 10;
/// In percent of the budget. With what may be saved up no second gets more than all of it.
const SPENT_PERCENT: u64 = 90;

/// A text on its way to the connections of one shard.
pub struct Announcement {
    text: Arc<[u8]>,
    /// The slot that comes next.
    slot: u32,
    budget_bytes: u64,
    refilled_us: u64,
}

impl Shard {
    pub(super) fn announce_tick(&mut self) {
        let world = &mut self.world;
        if world.shared.departures.take(world.now.mono_us, world.mesh.shards()) {
            world.build_announcement();
        }
        if let Some(announcement) = world.announcement.take() {
            world.announcement = world.announce(announcement);
            if world.announcement.is_none() {
                world.shared.departures.told();
            }
        }
    }
}

impl World {
    fn build_announcement(&mut self) {
        let ids = self.directory.ids(self.shared.departures.realm());
        let mut text = Vec::new();
        devices::write_list_update(&ids, self.now, &mut text);
        let cost_us =
            (text.len() as u64 * ids.len() as u64).saturating_mul(1_000_000) / self.announced_a_second();
        self.shared.departures.wait_until(self.now.mono_us + cost_us.max(INTERVAL_US));
        let text: Arc<[u8]> = text.into();
        let me = self.node;
        for shard in (0..self.mesh.shards()).map(NodeId::shard).filter(|shard| *shard != me) {
            self.post(shard, Parcel::Announce { text: Arc::clone(&text) });
        }
        self.begin_announcement(text);
    }

    /// None is under way: [`Departures`](crate::hub::Departures) waits for all nodes.
    pub fn begin_announcement(&mut self, text: Arc<[u8]>) {
        let budget_bytes = self.announced_a_second() / self.mesh.shards() as u64 / SAVED_PART;
        self.announcement = Some(Announcement { text, slot: 0, budget_bytes, refilled_us: self.now.mono_us });
    }

    /// Returns what is left to do.
    fn announce(&mut self, mut announcement: Announcement) -> Option<Announcement> {
        let Announcement { text, slot, budget_bytes, refilled_us } = &mut announcement;
        let framed_bytes = text.len() + header_len(text.len());
        let a_second = self.announced_a_second() / self.mesh.shards() as u64;
        let elapsed_us = self.now.mono_us.saturating_sub(*refilled_us);
        *refilled_us = self.now.mono_us;
        let saved_max = (a_second / SAVED_PART).max(framed_bytes as u64);
        *budget_bytes = (*budget_bytes + a_second.saturating_mul(elapsed_us) / 1_000_000).min(saved_max);
        while *slot < self.ports.len() {
            let at = *slot;
            if *budget_bytes < framed_bytes as u64 {
                return Some(announcement);
            }
            *slot += 1;
            let Some(port) = self.ports.at(at) else { continue };
            let listens = matches!(port.speaks, Speaks::Devices { .. }) && port.joined_us != 0;
            // Who does not keep up gets the next one. A text that is longer than an outbox takes the
            // room that is kept for replies.
            let queued = port.outbox.queued_bytes();
            let most = match queued {
                0 => self.limits.outbox_hard_bytes + self.limits.outbox_reserve_bytes,
                _ => self.limits.outbox_hard_bytes,
            };
            if !listens || queued + framed_bytes > most {
                continue;
            }
            let out = &mut port.outbox.out(&mut self.spares).bytes;
            if port.framing == Framing::WebSocket {
                write_header(out, Opcode::Text, text.len());
            }
            out.extend_from_slice(text);
            port.touch(at, &mut self.touched);
            *budget_bytes -= framed_bytes as u64;
            self.metrics.messages_sent[usize::from(devices::LIST_UPDATE_LABEL.0)].add(1);
        }
        None
    }

    fn announced_a_second(&self) -> u64 {
        (self.limits.list_update_bytes_per_second * SPENT_PERCENT / 100).max(1)
    }
}
