//! Rooms: their records, and which peers are in them.
//!
//! Owns the records of all rooms that may be entered and the peers that are in a room now; shards
//! and the front share it. Invariants: a peer enters only while the room's record is there and has
//! not expired, checked under the lock under which it enters, so a room that was removed never gets
//! a late peer; a peer's entry is removed only by the connection that it names.
//!
//! Must not know JSON's bytes, clocks, stores or who may do what: time is an argument, and
//! credentials have been checked before.

mod filter;
mod metadata;
mod record;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ahash::RandomState;
use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};

use crate::base::{PeerKey, planted};
pub use filter::{Comparison, FILTER_TERMS_MAX, Filter, FilterTooLarge};
pub use metadata::{Metadata, MetadataPatch, MetadataPatchError};
pub use record::{RoomRecord, RoomStore, StoreError};
pub use values::{
    EnterRefused, Entered, Newcomer, PeerView, ROLES_COUNTED_MAX, ReserveRefused, RoomCounts, RoomLimits,
    UpdateRefused, Whereabouts,
};

/// Rooms that share a lock are few when there are many more locks than cores.
const STRIPES: usize = 256;

/// Where the peers of all other roles are counted.
const OTHER_ROLES: &str = "other";

/// Shared by the shards and the front.
///
/// Locks are taken in the order stripe, whereabouts, roles; never two of a kind.
pub struct Rooms {
    stripes: Box<[RwLock<Stripe>]>,
    /// In which rooms a peer id is. Changed with the lock of the room's stripe held.
    whereabouts: Box<[RwLock<RoomsByPeer>]>,
    peers_by_role: Mutex<BTreeMap<Box<str>, usize>>,
    /// Rooms on record or reserved.
    rooms: AtomicUsize,
    limits: RwLock<RoomLimits>,
    hasher: RandomState,
}

type RoomsByPeer = HashMap<Box<str>, BTreeSet<Arc<str>>, RandomState>;

struct Stripe {
    /// A room is here while it has a record, a reservation or a peer.
    rooms: HashMap<Arc<str>, Room, RandomState>,
    /// Exactly the rooms with a record.
    by_expiry: BTreeSet<(u64, Arc<str>)>,
}

struct Room {
    record: Slot,
    /// By peer id, so that every look at a room shows the same order.
    peers: BTreeMap<Box<str>, Peer>,
}

enum Slot {
    /// The room has expired and is here for the peers that are left.
    Expired,
    Reserved,
    Held(RoomRecord),
}

struct Peer {
    key: PeerKey,
    role: Box<str>,
    metadata: Metadata,
    connected_at_unix_seconds: u64,
    subject: Option<Box<str>>,
}

/// A room id that is kept free for a room whose record is on its way into the store. Dropping it
/// gives the id back.
pub struct Reservation {
    rooms: Arc<Rooms>,
    /// Gone when the room is open.
    record: Option<RoomRecord>,
}

impl Rooms {
    /// `seed` is random in production, since peer ids come from peers.
    pub fn new(limits: RoomLimits, seed: u64) -> Rooms {
        let hasher = RandomState::with_seeds(seed, !seed, seed.rotate_left(32), 2);
        let stripe = || Stripe { rooms: HashMap::with_hasher(hasher.clone()), by_expiry: BTreeSet::new() };
        Rooms {
            stripes: (0..STRIPES).map(|_| RwLock::new(stripe())).collect(),
            whereabouts: (0..STRIPES).map(|_| RwLock::new(HashMap::with_hasher(hasher.clone()))).collect(),
            peers_by_role: Mutex::default(),
            rooms: AtomicUsize::new(0),
            limits: RwLock::new(limits),
            hasher,
        }
    }

    /// What is over a new limit already, stays.
    pub fn set_limits(&self, limits: RoomLimits) {
        *self.limits.write() = limits;
    }

    /// The first step to a new room: keeps its id free, so that two rooms never meet in the store.
    /// Then the store takes [`Reservation::record`], and then [`Reservation::open`] lets peers in.
    /// Records read from a store at the start take the same way.
    pub fn reserve(self: &Arc<Rooms>, record: RoomRecord) -> Result<Reservation, ReserveRefused> {
        let rooms_max = self.limits.read().rooms_max;
        let mut stripe = self.stripe(&record.room_id).write();
        if stripe.rooms.contains_key(record.room_id.as_str()) {
            return Err(ReserveRefused::RoomIdTaken);
        }
        let one_more = |rooms: usize| (rooms < rooms_max).then_some(rooms + 1);
        if self.rooms.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_err() {
            return Err(ReserveRefused::TooManyRooms);
        }
        let room = Room { record: Slot::Reserved, peers: BTreeMap::new() };
        stripe.rooms.insert(record.room_id.as_str().into(), room);
        drop(stripe);
        Ok(Reservation { rooms: Arc::clone(self), record: Some(record) })
    }

    /// The record of a room that is open, or that has expired and was not swept yet.
    pub fn record(&self, room_id: &str) -> Option<RoomRecord> {
        let stripe = self.stripe(room_id).read();
        match &stripe.rooms.get(room_id)?.record {
            Slot::Held(record) => Some(record.clone()),
            Slot::Expired | Slot::Reserved => None,
        }
    }

    /// Forgets the records of expired rooms, at most `max` of them, and names these rooms, to be
    /// deleted from the store. Their peers stay until they leave.
    pub fn take_expired(&self, now_unix_seconds: u64, max: usize) -> Vec<String> {
        let mut taken = Vec::new();
        for stripe in &self.stripes {
            // Most stripes have nothing to take, and a look does not hold up their readers.
            if stripe.read().by_expiry.first().is_none_or(|(expiry, _)| now_unix_seconds < *expiry) {
                continue;
            }
            let mut stripe = stripe.write();
            while taken.len() < max
                && let Some((expiry, _)) = stripe.by_expiry.first()
                && now_unix_seconds >= *expiry
                && let Some((_, room_id)) = stripe.by_expiry.pop_first()
            {
                if let Some(room) = stripe.rooms.get_mut(&room_id) {
                    room.record = Slot::Expired;
                }
                stripe.forget_if_empty(&room_id);
                self.rooms.fetch_sub(1, Ordering::Relaxed);
                taken.push(String::from(&*room_id));
            }
        }
        taken
    }

    /// Lets a peer in. The same connection may enter again under the same peer id, also when the
    /// room has expired since: its role and metadata become the new ones.
    pub fn enter(
        &self,
        room_id: &str,
        peer_id: &str,
        newcomer: Newcomer,
        now_unix_seconds: u64,
    ) -> Result<Entered, EnterRefused> {
        let limits = *self.limits.read();
        if newcomer.metadata.size_bytes() > limits.metadata_bytes_max {
            return Err(EnterRefused::MetadataTooLarge);
        }
        let mut stripe = self.stripe(room_id).write();
        let Some((room_id, room)) = stripe.rooms.get_key_value_mut(room_id) else {
            return Err(EnterRefused::RoomNotFound);
        };
        let has_space = room.peers.len() < limits.peers_per_room_max;
        let present = room.peers.get_mut(peer_id);
        if present.as_ref().is_none_or(|present| present.key != newcomer.key) {
            match &room.record {
                Slot::Reserved => return Err(EnterRefused::RoomNotFound),
                Slot::Expired => return Err(EnterRefused::RoomExpired),
                Slot::Held(record) if record.is_expired(now_unix_seconds) => {
                    return Err(EnterRefused::RoomExpired);
                }
                Slot::Held(_) => {}
            }
        }
        let mut entering = Peer {
            key: newcomer.key,
            role: newcomer.role.into(),
            metadata: newcomer.metadata,
            connected_at_unix_seconds: newcomer.connected_at_unix_seconds,
            subject: newcomer.subject.map(Into::into),
        };
        match present {
            Some(present) => {
                let again = present.key == entering.key;
                if again {
                    entering.connected_at_unix_seconds = present.connected_at_unix_seconds;
                }
                self.count_role(&entering.role);
                let former = std::mem::replace(present, entering);
                self.uncount_role(&former.role);
                Ok(Entered { replaced: (!again).then_some(former.key) })
            }
            None if has_space => {
                self.count_role(&entering.role);
                room.peers.insert(peer_id.into(), entering);
                let mut whereabouts = self.whereabouts(peer_id).write();
                whereabouts.entry(peer_id.into()).or_default().insert(Arc::clone(room_id));
                Ok(Entered { replaced: None })
            }
            None => Err(EnterRefused::RoomFull),
        }
    }

    /// Takes a peer out of a room if `key` still has that peer id; tells whether it had.
    pub fn leave(&self, room_id: &str, peer_id: &str, key: PeerKey) -> bool {
        !planted!(RoomPeerKept) && self.take_peer(room_id, peer_id, Some(key)).is_some()
    }

    /// Takes a peer out of a room whoever it is. Its connection is to be closed.
    pub fn remove_peer(&self, room_id: &str, peer_id: &str) -> Option<PeerKey> {
        self.take_peer(room_id, peer_id, None)
    }

    /// Takes a room away with its record and its peers, whose connections are to be closed. `None`
    /// when there is no such room.
    pub fn remove_room(&self, room_id: &str) -> Option<Vec<PeerKey>> {
        let mut stripe = self.stripe(room_id).write();
        if matches!(stripe.rooms.get(room_id)?.record, Slot::Reserved) {
            return None;
        }
        let (room_id, room) = stripe.rooms.remove_entry(room_id)?;
        if let Slot::Held(record) = &room.record {
            self.rooms.fetch_sub(1, Ordering::Relaxed);
            stripe.by_expiry.remove(&(record.expires_at_unix_seconds, Arc::clone(&room_id)));
        }
        let mut keys = Vec::with_capacity(room.peers.len());
        for (peer_id, peer) in &room.peers {
            self.forget_peer(peer_id, &room_id, peer);
            keys.push(peer.key);
        }
        Some(keys)
    }

    /// As [`Metadata`] says, if `key` still has that peer id. Answers with what it is now.
    pub fn update_metadata(
        &self,
        room_id: &str,
        peer_id: &str,
        key: PeerKey,
        patch: MetadataPatch,
    ) -> Result<Metadata, UpdateRefused> {
        let metadata_bytes_max = self.limits.read().metadata_bytes_max;
        let mut stripe = self.stripe(room_id).write();
        let peer = stripe.rooms.get_mut(room_id).and_then(|room| room.peers.get_mut(peer_id));
        let peer = peer.filter(|peer| peer.key == key).ok_or(UpdateRefused::NotThere)?;
        let merged = peer.metadata.merged(patch);
        if merged.size_bytes() > metadata_bytes_max {
            return Err(UpdateRefused::MetadataTooLarge);
        }
        peer.metadata = merged.clone();
        Ok(merged)
    }

    pub fn lookup(&self, room_id: &str, peer_id: &str) -> Option<PeerKey> {
        self.stripe(room_id).read().rooms.get(room_id)?.peers.get(peer_id).map(|peer| peer.key)
    }

    /// As [`Rooms::lookup`], and for a peer that is not there, whether it is in another room.
    pub fn locate(&self, room_id: &str, peer_id: &str) -> Whereabouts {
        if let Some(key) = self.lookup(room_id, peer_id) {
            return Whereabouts::Here(key);
        }
        match self.whereabouts(peer_id).read().contains_key(peer_id) {
            true => Whereabouts::Elsewhere,
            false => Whereabouts::Nowhere,
        }
    }

    /// All rooms in which somebody has this peer id, sorted.
    pub fn rooms_of(&self, peer_id: &str) -> Vec<String> {
        let whereabouts = self.whereabouts(peer_id).read();
        whereabouts.get(peer_id).into_iter().flatten().map(|room_id| String::from(&**room_id)).collect()
    }

    /// Whether this identity created the room or is in it.
    pub fn belongs_to(&self, room_id: &str, subject: &str) -> bool {
        let stripe = self.stripe(room_id).read();
        stripe.rooms.get(room_id).is_some_and(|room| {
            let created = matches!(&room.record, Slot::Held(record) if record.created_by == subject);
            created || room.peers.values().any(|peer| peer.subject.as_deref() == Some(subject))
        })
    }

    /// Shows the peers of a room that pass the filter, without `asker`, in the order of their ids.
    /// The room is locked meanwhile: `each` must not call back.
    pub fn discover(&self, room_id: &str, asker: &str, filter: &Filter, mut each: impl FnMut(&PeerView<'_>)) {
        let stripe = self.stripe(room_id).read();
        let peers = stripe.rooms.get(room_id).into_iter().flat_map(|room| &room.peers);
        for (peer_id, peer) in peers {
            let view = peer.view(peer_id);
            if **peer_id != *asker && filter.matches(&view) {
                each(&view);
            }
        }
    }

    pub fn counts(&self) -> RoomCounts {
        let active_rooms = self.stripes.iter().map(|stripe| stripe.read().by_expiry.len()).sum();
        let by_role = self.peers_by_role.lock().clone();
        let active_connections = by_role.values().sum();
        let mut by_frequency: Vec<_> = by_role.into_iter().collect();
        // Stable, so roles of one frequency stay in the order of their names.
        by_frequency.sort_by_key(|(_, peers)| std::cmp::Reverse(*peers));
        let mut peers_by_role = BTreeMap::new();
        for (at, (role, peers)) in by_frequency.into_iter().enumerate() {
            let role = if at < ROLES_COUNTED_MAX { String::from(role) } else { OTHER_ROLES.to_owned() };
            *peers_by_role.entry(role).or_default() += peers;
        }
        RoomCounts { active_rooms, active_connections, peers_by_role }
    }

    fn take_peer(&self, room_id: &str, peer_id: &str, only: Option<PeerKey>) -> Option<PeerKey> {
        let mut stripe = self.stripe(room_id).write();
        let (room_id, room) = stripe.rooms.get_key_value_mut(room_id)?;
        if only.is_some_and(|key| room.peers.get(peer_id).is_none_or(|peer| peer.key != key)) {
            return None;
        }
        let peer = room.peers.remove(peer_id)?;
        let room_id = Arc::clone(room_id);
        self.forget_peer(peer_id, &room_id, &peer);
        stripe.forget_if_empty(&room_id);
        Some(peer.key)
    }

    fn forget_peer(&self, peer_id: &str, room_id: &Arc<str>, peer: &Peer) {
        self.uncount_role(&peer.role);
        let mut whereabouts = self.whereabouts(peer_id).write();
        if let Some(rooms) = whereabouts.get_mut(peer_id) {
            rooms.remove(room_id);
            if rooms.is_empty() {
                whereabouts.remove(peer_id);
            }
        }
    }

    fn count_role(&self, role: &str) {
        let mut peers_by_role = self.peers_by_role.lock();
        match peers_by_role.get_mut(role) {
            Some(peers) => *peers += 1,
            None => drop(peers_by_role.insert(role.into(), 1)),
        }
    }

    fn uncount_role(&self, role: &str) {
        let mut peers_by_role = self.peers_by_role.lock();
        if let Some(peers) = peers_by_role.get_mut(role) {
            *peers -= 1;
            if *peers == 0 {
                peers_by_role.remove(role);
            }
        }
    }

    fn stripe(&self, room_id: &str) -> &RwLock<Stripe> {
        &self.stripes[self.stripe_index(room_id)]
    }

    fn whereabouts(&self, peer_id: &str) -> &RwLock<RoomsByPeer> {
        &self.whereabouts[self.stripe_index(peer_id)]
    }

    fn stripe_index(&self, id: &str) -> usize {
        // The table inside a stripe uses the low and the top bits; these are from the middle.
        (self.hasher.hash_one(id) >> 24) as usize & (STRIPES - 1)
    }
}

impl Reservation {
    /// What the store is to keep.
    pub fn record(&self) -> &RoomRecord {
        self.record.as_ref().expect("taken by `open` and by dropping alone, and both end the reservation")
    }

    /// Lets peers in: the record is safe.
    pub fn open(mut self) {
        let Some(record) = self.record.take() else { return };
        let mut stripe = self.rooms.stripe(&record.room_id).write();
        let stripe = &mut *stripe;
        // Nothing but its reservation ends a reserved room.
        if let Some((room_id, room)) = stripe.rooms.get_key_value_mut(record.room_id.as_str()) {
            stripe.by_expiry.insert((record.expires_at_unix_seconds, Arc::clone(room_id)));
            room.record = Slot::Held(record);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(record) = &self.record {
            self.rooms.stripe(&record.room_id).write().rooms.remove(record.room_id.as_str());
            self.rooms.rooms.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Stripe {
    fn forget_if_empty(&mut self, room_id: &str) {
        let empty = |room: &Room| matches!(room.record, Slot::Expired) && room.peers.is_empty();
        if self.rooms.get(room_id).is_some_and(empty) {
            self.rooms.remove(room_id);
        }
    }
}

impl Peer {
    fn view<'a>(&'a self, peer_id: &'a str) -> PeerView<'a> {
        PeerView {
            peer_id,
            key: self.key,
            role: &self.role,
            metadata: &self.metadata,
            connected_at_unix_seconds: self.connected_at_unix_seconds,
        }
    }
}

#[cfg(test)]
mod tests;
