//! Rooms, their peers, and rooms that are about to be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arbitrary::Arbitrary;
use serde_json::json;

use super::Few;
use crate::base::{PeerKey, Redacted};
use crate::hub::rooms::{
    EnterRefused, Entered, Filter, Metadata, MetadataPatch, Newcomer, Reservation, ReserveRefused,
    RoomLimits, RoomRecord, Rooms, UpdateRefused, Whereabouts,
};

const LIMITS: RoomLimits = RoomLimits { rooms_max: 3, peers_per_room_max: 3, metadata_bytes_max: 64 };

const RESERVATIONS_MAX: usize = 4;

type RoomName = Few<5>;
type PeerName = Few<4>;

#[derive(Arbitrary, Debug)]
pub(super) enum RoomOperation {
    Reserve { room: RoomName, creator: Few<3>, lives_seconds: u8 },
    Open(Few<{ RESERVATIONS_MAX as u8 }>),
    Abandon(Few<{ RESERVATIONS_MAX as u8 }>),
    TakeExpired { max: Few<3> },
    Enter { room: RoomName, peer: PeerName, key: Few<6>, tag: Few<100>, subject: Few<3> },
    Leave { room: RoomName, peer: PeerName, key: Few<6> },
    RemovePeer { room: RoomName, peer: PeerName },
    RemoveRoom(RoomName),
    Update { room: RoomName, peer: PeerName, key: Few<6>, tag: Few<100> },
    Look { room: RoomName, peer: PeerName, subject: Few<3> },
}

pub(super) struct Tables {
    rooms: Arc<Rooms>,
    reservations: [Option<Reservation>; RESERVATIONS_MAX],
    model: BTreeMap<String, Room>,
}

struct Room {
    record: Slot,
    peers: BTreeMap<String, Peer>,
}

#[derive(PartialEq)]
enum Slot {
    Reserved,
    Held { created_by: String, expires: u64 },
    Expired,
}

struct Peer {
    key: PeerKey,
    subject: Option<String>,
    tags: Vec<String>,
}

impl Default for Tables {
    fn default() -> Tables {
        let reservations = std::array::from_fn(|_| None);
        Tables { rooms: Arc::new(Rooms::new(LIMITS, 7)), reservations, model: BTreeMap::new() }
    }
}

impl Tables {
    pub(super) fn apply_and_check(&mut self, operation: RoomOperation, now: u64) {
        match operation {
            RoomOperation::Reserve { room, creator, lives_seconds } => {
                self.reserve(room.name("room"), creator, now + u64::from(lives_seconds));
            }
            RoomOperation::Open(at) => {
                let Some(reserved) = self.reservations[usize::from(at.0)].take() else { return };
                let RoomRecord { room_id, created_by, expires_at_unix_seconds: expires, .. } =
                    reserved.record().clone();
                reserved.open();
                self.room_mut(&room_id).record = Slot::Held { created_by, expires };
            }
            RoomOperation::Abandon(at) => {
                let Some(reserved) = self.reservations[usize::from(at.0)].take() else { return };
                self.model.remove(&reserved.record().room_id);
            }
            RoomOperation::TakeExpired { max } => self.take_expired(now, usize::from(max.0)),
            RoomOperation::Enter { room, peer, key, tag, subject } => {
                self.enter(&room.name("room"), peer.name("peer"), key.key(), tag, subject, now);
            }
            RoomOperation::Leave { room, peer, key } => {
                let (room, peer) = (room.name("room"), peer.name("peer"));
                let left = self.rooms.leave(&room, &peer, key.key());
                assert_eq!(left, self.key_of(&room, &peer) == Some(key.key()));
                if left {
                    self.take_peer(&room, &peer);
                }
            }
            RoomOperation::RemovePeer { room, peer } => {
                let (room, peer) = (room.name("room"), peer.name("peer"));
                assert_eq!(self.rooms.remove_peer(&room, &peer), self.key_of(&room, &peer));
                self.take_peer(&room, &peer);
            }
            RoomOperation::RemoveRoom(room) => {
                let room = room.name("room");
                let removed = self.rooms.remove_room(&room);
                let known = self.model.get(&room).filter(|known| known.record != Slot::Reserved);
                let expected = known.map(|known| known.peers.values().map(|peer| peer.key).collect());
                assert_eq!(removed, expected);
                if removed.is_some() {
                    self.model.remove(&room);
                }
            }
            RoomOperation::Update { room, peer, key, tag } => {
                self.update(&room.name("room"), &peer.name("peer"), key.key(), tag);
            }
            RoomOperation::Look { room, peer, subject } => {
                self.check_room(&room.name("room"), &peer.name("peer"), &subject.name("subject"));
            }
        }
    }

    pub(super) fn check_all(&self) {
        let counts = self.rooms.counts();
        let held = |room: &&Room| matches!(room.record, Slot::Held { .. });
        assert_eq!(counts.active_rooms, self.model.values().filter(held).count());
        let peers: usize = self.model.values().map(|room| room.peers.len()).sum();
        assert_eq!((counts.active_connections, counts.peers_by_role.values().sum()), (peers, peers));
    }

    fn reserve(&mut self, room: String, creator: Few<3>, expires: u64) {
        let Some(free) = self.reservations.iter_mut().find(|slot| slot.is_none()) else { return };
        let record = RoomRecord {
            room_id: room.clone(),
            token: Redacted::new("token".to_owned()),
            created_by: creator.name("subject"),
            expires_at_unix_seconds: expires,
        };
        let on_record = self.model.values().filter(|room| room.record != Slot::Expired).count();
        let expected = match self.model.contains_key(&room) {
            true => Some(ReserveRefused::RoomIdTaken),
            false => (on_record >= LIMITS.rooms_max).then_some(ReserveRefused::TooManyRooms),
        };
        match self.rooms.reserve(record) {
            Ok(reservation) => {
                assert_eq!(expected, None);
                *free = Some(reservation);
                self.model.insert(room, Room { record: Slot::Reserved, peers: BTreeMap::new() });
            }
            Err(refused) => assert_eq!(Some(refused), expected),
        }
    }

    /// Which of them come first is nobody's business.
    fn take_expired(&mut self, now: u64, max: usize) {
        let taken: BTreeSet<String> = self.rooms.take_expired(now, max).into_iter().collect();
        let expired = |room: &Room| matches!(room.record, Slot::Held { expires, .. } if now >= expires);
        let all: Vec<String> =
            self.model.iter().filter(|(_, room)| expired(room)).map(|(id, _)| id.clone()).collect();
        assert_eq!(taken.len(), all.len().min(max));
        for room in taken {
            assert!(all.contains(&room), "{room} has not expired");
            self.room_mut(&room).record = Slot::Expired;
            self.forget_if_empty(&room);
        }
    }

    fn enter(&mut self, room: &str, peer: String, key: PeerKey, tag: Few<100>, subject: Few<3>, now: u64) {
        let subject = subject.name("subject");
        let tags = vec![tag_of(tag)];
        let metadata = Metadata::new(json!({ "tags": tags }));
        let newcomer = Newcomer {
            key,
            role: "peer".to_owned(),
            metadata,
            connected_at_unix_seconds: now,
            subject: Some(subject.clone()),
        };
        let entered = self.rooms.enter(room, &peer, newcomer, now);
        let expected = self.may_enter(room, &peer, key, &tags, now);
        assert_eq!(entered, expected);
        if entered.is_ok() {
            let entering = Peer { key, subject: Some(subject), tags };
            self.room_mut(room).peers.insert(peer, entering);
        }
    }

    fn may_enter(
        &self,
        room: &str,
        peer: &str,
        key: PeerKey,
        tags: &[String],
        now: u64,
    ) -> Result<Entered, EnterRefused> {
        if metadata_bytes(tags) > LIMITS.metadata_bytes_max {
            return Err(EnterRefused::MetadataTooLarge);
        }
        let present = self.key_of(room, peer);
        let Some(room) = self.model.get(room) else { return Err(EnterRefused::RoomNotFound) };
        if present == Some(key) {
            return Ok(Entered { replaced: None });
        }
        match room.record {
            Slot::Reserved => Err(EnterRefused::RoomNotFound),
            Slot::Expired => Err(EnterRefused::RoomExpired),
            Slot::Held { expires, .. } if now >= expires => Err(EnterRefused::RoomExpired),
            Slot::Held { .. } if present.is_none() && room.peers.len() >= LIMITS.peers_per_room_max => {
                Err(EnterRefused::RoomFull)
            }
            Slot::Held { .. } => Ok(Entered { replaced: present }),
        }
    }

    fn update(&mut self, room: &str, peer: &str, key: PeerKey, tag: Few<100>) {
        let patch = MetadataPatch::new(json!({ "tags": [tag_of(tag)] })).expect("tags are an array");
        let updated = self.rooms.update_metadata(room, peer, key, patch);
        let known = self.model.get_mut(room).and_then(|room| room.peers.get_mut(peer));
        let Some(known) = known.filter(|peer| peer.key == key) else {
            return assert_eq!(updated, Err(UpdateRefused::NotThere));
        };
        let mut tags = known.tags.clone();
        if !tags.contains(&tag_of(tag)) {
            tags.push(tag_of(tag));
        }
        if metadata_bytes(&tags) > LIMITS.metadata_bytes_max {
            return assert_eq!(updated, Err(UpdateRefused::MetadataTooLarge));
        }
        assert_eq!(updated, Ok(Metadata::new(json!({ "tags": tags }))));
        known.tags = tags;
    }

    fn check_room(&self, room: &str, peer: &str, subject: &str) {
        let present = self.key_of(room, peer);
        assert_eq!(self.rooms.lookup(room, peer), present);
        let of_peer = self.model.iter().filter(|(_, room)| room.peers.contains_key(peer));
        let rooms: Vec<&String> = of_peer.map(|(id, _)| id).collect();
        assert!(self.rooms.rooms_of(peer).iter().eq(rooms.iter().copied()));
        let expected = match present {
            Some(key) => Whereabouts::Here(key),
            None if rooms.is_empty() => Whereabouts::Nowhere,
            None => Whereabouts::Elsewhere,
        };
        assert_eq!(self.rooms.locate(room, peer), expected);
        let known = self.model.get(room);
        let creator = known.and_then(|known| match &known.record {
            Slot::Held { created_by, .. } => Some(created_by.as_str()),
            Slot::Reserved | Slot::Expired => None,
        });
        let record = self.rooms.record(room);
        assert_eq!(record.as_ref().map(|record| record.created_by.as_str()), creator);
        let is_in = |known: &Room| known.peers.values().any(|peer| peer.subject.as_deref() == Some(subject));
        assert_eq!(
            self.rooms.belongs_to(room, subject),
            creator == Some(subject) || known.is_some_and(is_in)
        );
        let mut seen = Vec::new();
        self.rooms.discover(room, peer, &Filter::default(), |view| seen.push(view.peer_id.to_owned()));
        let others = known.into_iter().flat_map(|known| known.peers.keys()).filter(|id| *id != peer);
        assert!(seen.iter().eq(others), "everybody but the asker is seen");
    }

    fn take_peer(&mut self, room: &str, peer: &str) {
        if let Some(known) = self.model.get_mut(room) {
            known.peers.remove(peer);
            self.forget_if_empty(room);
        }
    }

    fn forget_if_empty(&mut self, room: &str) {
        let is_over = |known: &Room| known.record == Slot::Expired && known.peers.is_empty();
        if self.model.get(room).is_some_and(is_over) {
            self.model.remove(room);
        }
    }

    fn room_mut(&mut self, room: &str) -> &mut Room {
        self.model.get_mut(room).expect("a room that is there is in the model")
    }

    fn key_of(&self, room: &str, peer: &str) -> Option<PeerKey> {
        Some(self.model.get(room)?.peers.get(peer)?.key)
    }
}

/// Of any length.
fn tag_of(tag: Few<100>) -> String {
    "t".repeat(usize::from(tag.0))
}

fn metadata_bytes(tags: &[String]) -> usize {
    r#"{"tags":[]}"#.len() + tags.iter().map(|tag| tag.len() + 3).sum::<usize>()
        - usize::from(!tags.is_empty())
}
