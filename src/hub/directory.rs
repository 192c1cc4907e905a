//! The directory: (realm, id) → connection, in stripes.
//!
//! A stripe has a version that rises with each change in it. A [`Route`] remembers where an id was
//! found and at which version, so a sender that keeps talking to one peer pays one atomic load
//! instead of a hash, a lock and a comparison. A route may be stale by the time the message
//! arrives; the owner's generation check is the truth, the directory only names the owner.

use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Found;

use crate::base::sync::{AtomicU64, Mutex, Ordering, RwLock};
use crate::base::{PeerKey, RealmId, planted};

/// Stripes of the directory; a power of two. Joins on different stripes do not wait for each
/// other, and a join spoils the cached routes of one stripe only.
const STRIPES: usize = 1024;

/// The dialect that holds an id. An id never passes from one dialect of a realm to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DialectId(pub u8);

/// What a join does about a present owner of its own dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDuplicate {
    /// The newcomer gets the id.
    Replace,
    /// The present owner keeps it.
    Reject,
}

/// The id stays with its present owner. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken;

/// The id is the newcomer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Its former owner, to be told and closed.
    pub replaced: Option<PeerKey>,
}

pub struct Directory {
    stripes: Box<[Stripe]>,
    hasher: RandomState,
    /// Rises with each id that comes or goes, in any stripe.
    changes: AtomicU64,
    listed: Mutex<Option<Listed>>,
}

/// The ids of a realm as they were when `changes` stood at `version`.
struct Listed {
    realm: RealmId,
    version: u64,
    ids: Arc<[Box<str>]>,
}

struct Stripe {
    /// Rises, under the write lock, with each change of `entries`.
    version: AtomicU64,
    entries: RwLock<HashTable<Entry>>,
}

struct Entry {
    id: Box<str>,
    key: PeerKey,
    realm: RealmId,
    dialect: DialectId,
}

/// Where an id was found last. Holds while its stripe has not changed.
#[derive(Debug)]
pub struct Route {
    id: String,
    realm: RealmId,
    key: PeerKey,
    stripe: u32,
    version: u64,
}

impl Directory {
    /// The seed fixes where ids fall, so that a simulation replays; in production it is random,
    /// since ids come from peers.
    pub fn new(seed: u64) -> Directory {
        let stripes = (0..STRIPES)
            .map(|_| Stripe { version: AtomicU64::new(0), entries: RwLock::new(HashTable::new()) })
            .collect();
        let hasher = RandomState::with_seeds(seed, !seed, seed.rotate_left(32), 1);
        Directory { stripes, hasher, changes: AtomicU64::new(0), listed: Mutex::new(None) }
    }

    /// Makes `key` the owner of `id`.
    ///
    /// # Errors
    /// [`Taken`] when another dialect of the realm holds the id, or when a connection of the same
    /// dialect does and `on_duplicate` says so. A repeated join of the owner itself is no change.
    pub fn join(
        &self,
        realm: RealmId,
        id: &str,
        key: PeerKey,
        dialect: DialectId,
        on_duplicate: OnDuplicate,
    ) -> Result<Joined, Taken> {
        let hash = self.hash(realm, id);
        let stripe = self.stripe(hash);
        let mut entries = stripe.entries.write();
        let found = entries.entry(hash, |e| e.is(realm, id), |e| self.hash(e.realm, &e.id));
        let replaced = match found {
            Found::Occupied(mut entry) => {
                let present = entry.get_mut();
                if present.key == key {
                    return Ok(Joined { replaced: None });
                }
                let is_foreign = present.dialect != dialect && !planted!(IdTakenOver);
                if is_foreign || on_duplicate == OnDuplicate::Reject {
                    return Err(Taken);
                }
                Some(std::mem::replace(&mut present.key, key))
            }
            Found::Vacant(vacant) => {
                vacant.insert(Entry { id: id.into(), key, realm, dialect });
                self.changes.fetch_add(1, Ordering::Release);
                None
            }
        };
        stripe.changed();
        Ok(Joined { replaced })
    }

    /// Removes `id` if `key` still owns it; tells whether it did.
    pub fn leave(&self, realm: RealmId, id: &str, key: PeerKey) -> bool {
        let hash = self.hash(realm, id);
        let stripe = self.stripe(hash);
        let mut entries = stripe.entries.write();
        match entries.find_entry(hash, |e| e.is(realm, id)) {
            Ok(entry) if entry.get().key == key || planted!(LeaveUnchecked) => {
                entry.remove();
                self.changes.fetch_add(1, Ordering::Release);
                stripe.changed();
                true
            }
            _ => false,
        }
    }

    pub fn lookup(&self, realm: RealmId, id: &str) -> Option<PeerKey> {
        let hash = self.hash(realm, id);
        let entries = self.stripe(hash).entries.read();
        entries.find(hash, |e| e.is(realm, id)).map(|e| e.key)
    }

    /// As [`Directory::lookup`], through a route that the sender keeps. The route's memory is
    /// used again when the sender turns to another peer.
    pub fn resolve(&self, realm: RealmId, id: &str, route: &mut Option<Box<Route>>) -> Option<PeerKey> {
        if let Some(known) = route
            && known.realm == realm
            && known.id == id
            && self.stripes[known.stripe as usize].version.load(Ordering::Acquire) == known.version
        {
            return Some(known.key);
        }
        let hash = self.hash(realm, id);
        let index = self.stripe_index(hash);
        let stripe = &self.stripes[index];
        let entries = stripe.entries.read();
        // Under the lock no writer is between its change and the new version.
        let version = stripe.version.load(Ordering::Acquire);
        let key = entries.find(hash, |e| e.is(realm, id)).map(|e| e.key)?;
        drop(entries);
        match route {
            Some(known) => {
                known.id.clear();
                known.id.push_str(id);
                (known.realm, known.key, known.stripe, known.version) = (realm, key, index as u32, version);
            }
            None => {
                let id = id.to_owned();
                *route = Some(Box::new(Route { id, realm, key, stripe: index as u32, version }));
            }
        }
        Some(key)
    }

    /// The ids of one realm, in the order of their bytes. Takes one stripe after the other: who joins
    /// or leaves meanwhile may be among them or not. The list is kept until somebody joins or leaves,
    /// so that asking often costs little.
    pub fn ids(&self, realm: RealmId) -> Arc<[Box<str>]> {
        let version = self.changes.load(Ordering::Acquire);
        if let Some(listed) = &*self.listed.lock()
            && listed.realm == realm
            && listed.version == version
        {
            return Arc::clone(&listed.ids);
        }
        let ids: Arc<[Box<str>]> = self.collect_ids(realm).into();
        *self.listed.lock() = Some(Listed { realm, version, ids: Arc::clone(&ids) });
        ids
    }

    fn collect_ids(&self, realm: RealmId) -> Vec<Box<str>> {
        let mut ids = Vec::new();
        for stripe in &self.stripes {
            let entries = stripe.entries.read();
            ids.extend(entries.iter().filter(|entry| entry.realm == realm).map(|entry| entry.id.clone()));
        }
        ids.sort_unstable();
        ids
    }

    /// Ids in all realms.
    pub fn len(&self) -> usize {
        self.stripes.iter().map(|s| s.entries.read().len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn hash(&self, realm: RealmId, id: &str) -> u64 {
        let realm = if planted!(RealmUnchecked) { RealmId(0) } else { realm };
        self.hasher.hash_one((realm, id))
    }

    fn stripe_index(&self, hash: u64) -> usize {
        // The table inside a stripe uses the low and the top bits; these are from the middle.
        (hash >> 24) as usize & (STRIPES - 1)
    }

    fn stripe(&self, hash: u64) -> &Stripe {
        &self.stripes[self.stripe_index(hash)]
    }
}

impl Entry {
    fn is(&self, realm: RealmId, id: &str) -> bool {
        (self.realm == realm || planted!(RealmUnchecked)) && *self.id == *id
    }
}

impl Stripe {
    /// To be called with the write lock held.
    fn changed(&self) {
        self.version.fetch_add(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::NodeId;

    const REALM: RealmId = RealmId(0);
    const A: DialectId = DialectId(0);
    const B: DialectId = DialectId(1);

    fn key(slot: u32) -> PeerKey {
        PeerKey { node: NodeId::shard(0), slot, generation: 0 }
    }

    #[test]
    fn the_late_end_of_an_old_connection_does_not_evict_a_newer_one() {
        let directory = Directory::new(7);
        directory.join(REALM, "x", key(1), A, OnDuplicate::Replace).unwrap();
        let joined = directory.join(REALM, "x", key(2), A, OnDuplicate::Replace).unwrap();
        assert_eq!(joined.replaced, Some(key(1)));
        assert!(!directory.leave(REALM, "x", key(1)));
        assert_eq!(directory.lookup(REALM, "x"), Some(key(2)));
        assert!(directory.leave(REALM, "x", key(2)));
        assert!(directory.is_empty());
    }

    #[test]
    fn an_id_never_passes_to_another_dialect_or_realm() {
        let directory = Directory::new(7);
        directory.join(REALM, "x", key(1), A, OnDuplicate::Replace).unwrap();
        assert_eq!(directory.join(REALM, "x", key(2), B, OnDuplicate::Replace), Err(Taken));
        assert_eq!(directory.join(REALM, "x", key(2), A, OnDuplicate::Reject), Err(Taken));
        assert_eq!(directory.lookup(RealmId(1), "x"), None);
        directory.join(RealmId(1), "x", key(2), B, OnDuplicate::Replace).unwrap();
        assert_eq!(directory.lookup(REALM, "x"), Some(key(1)));
    }

    #[test]
    fn a_cached_route_follows_its_id_to_a_new_owner_and_ends_with_it() {
        let directory = Directory::new(7);
        let mut route = None;
        assert_eq!(directory.resolve(REALM, "x", &mut route), None);
        directory.join(REALM, "x", key(1), A, OnDuplicate::Replace).unwrap();
        assert_eq!(directory.resolve(REALM, "x", &mut route), Some(key(1)));
        directory.join(REALM, "x", key(2), A, OnDuplicate::Replace).unwrap();
        assert_eq!(directory.resolve(REALM, "x", &mut route), Some(key(2)));
        directory.leave(REALM, "x", key(2));
        assert_eq!(directory.resolve(REALM, "x", &mut route), None);
    }
}
