//! What goes into the registry of rooms and what comes out of it.

use std::collections::BTreeMap;

use super::Metadata;
use crate::base::PeerKey;

/// Roles that [`RoomCounts`] names one by one.
pub const ROLES_COUNTED_MAX: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomLimits {
    /// Rooms on record, those about to be created among them.
    pub rooms_max: usize,
    pub peers_per_room_max: usize,
    /// One peer's metadata as compact JSON.
    pub metadata_bytes_max: usize,
}

impl Default for RoomLimits {
    fn default() -> RoomLimits {
        RoomLimits { rooms_max: 100_000, peers_per_room_max: 1_000, metadata_bytes_max: 16_384 }
    }
}

/// A peer about to enter a room.
#[derive(Clone, Debug)]
pub struct Newcomer {
    pub key: PeerKey,
    pub role: String,
    pub metadata: Metadata,
    pub connected_at_unix_seconds: u64,
    /// Subject of the identity that it has proved, if it has.
    pub subject: Option<String>,
}

/// A peer as others of its room may see it.
#[derive(Clone, Copy, Debug)]
pub struct PeerView<'a> {
    pub peer_id: &'a str,
    pub key: PeerKey,
    pub role: &'a str,
    pub metadata: &'a Metadata,
    pub connected_at_unix_seconds: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entered {
    /// Had the same peer id in this room until now. It is to be closed.
    pub replaced: Option<PeerKey>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnterRefused {
    RoomNotFound,
    RoomExpired,
    /// `peers_per_room_max` are in it.
    RoomFull,
    /// Over `metadata_bytes_max`.
    MetadataTooLarge,
}

/// Where a peer id is, seen from one room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    Here(PeerKey),
    /// In other rooms only.
    Elsewhere,
    Nowhere,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateRefused {
    /// That connection does not have that peer id in that room.
    NotThere,
    /// The merged metadata would be over `metadata_bytes_max`. Nothing has changed.
    MetadataTooLarge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReserveRefused {
    /// There is such a room, or one is about to be created, or peers of an expired one are left.
    RoomIdTaken,
    /// `rooms_max` are on record.
    TooManyRooms,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomCounts {
    /// Rooms on record.
    pub active_rooms: usize,
    /// Peers in rooms.
    pub active_connections: usize,
    /// The [`ROLES_COUNTED_MAX`] most frequent roles; the peers of all others under `other`.
    pub peers_by_role: BTreeMap<String, usize>,
}
