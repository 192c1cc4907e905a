//! Who of this dialect is registered, in which role.
//!
//! The directory knows no roles, and takes any number of ids. Here a stripe stays locked while the
//! directory changes, so both always name the same holder of an id.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::base::PeerKey;
use crate::hub::Taken;

/// A power of two. Only registrations, and messages of roles that may not send to everybody, come here.
const STRIPES: usize = 32;

/// One for all shards.
#[derive(Default)]
pub struct Roster {
    stripes: [Mutex<BTreeMap<Box<str>, Held>>; STRIPES],
    ids: AtomicUsize,
}

struct Held {
    holder: PeerKey,
    role: Option<Arc<str>>,
}

/// Why an id was not entered. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotEntered {
    Taken,
    /// There are `ids_max` ids already.
    Full,
}

impl Roster {
    /// Registered ids.
    pub fn len(&self) -> usize {
        self.ids.load(Ordering::Relaxed)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes `holder` the holder of `id` if `join` does so in the directory. An id that is held
    /// already passes on without counting against `ids_max`.
    pub(super) fn enter(
        &self,
        id: &str,
        holder: PeerKey,
        role: Option<Arc<str>>,
        ids_max: usize,
        join: impl FnOnce() -> Result<(), Taken>,
    ) -> Result<(), NotEntered> {
        let mut held = self.stripe(id).lock();
        let is_new = !held.contains_key(id);
        if is_new && !self.take_place(ids_max) {
            return Err(NotEntered::Full);
        }
        if let Err(Taken) = join() {
            if is_new {
                self.ids.fetch_sub(1, Ordering::Relaxed);
            }
            return Err(NotEntered::Taken);
        }
        held.insert(id.into(), Held { holder, role });
        Ok(())
    }

    /// Removes `id` if it is still `holder`'s; `leave` does the same in the directory.
    pub(super) fn leave(&self, id: &str, holder: PeerKey, leave: impl FnOnce()) {
        let mut held = self.stripe(id).lock();
        leave();
        if held.get(id).is_some_and(|held| held.holder == holder) {
            held.remove(id);
            self.ids.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether the holder of `id` has one of these roles; `None` if nobody holds it.
    pub(super) fn is_held_by(&self, id: &str, holder: PeerKey) -> bool {
        self.stripe(id).lock().get(id).is_some_and(|held| held.holder == holder)
    }

    pub(super) fn is_one_of(&self, id: &str, roles: &[String]) -> Option<bool> {
        let held = self.stripe(id).lock();
        let role = held.get(id)?.role.as_deref();
        Some(roles.iter().any(|name| Some(name.as_str()) == role))
    }

    fn take_place(&self, ids_max: usize) -> bool {
        let more = |ids| (ids < ids_max).then_some(ids + 1);
        self.ids.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Ids that are made to meet in one stripe only wait for each other.
    fn stripe(&self, id: &str) -> &Mutex<BTreeMap<Box<str>, Held>> {
        let mixed = id.bytes().fold(0_usize, |mixed, byte| mixed.wrapping_mul(31) + usize::from(byte));
        &self.stripes[mixed & (STRIPES - 1)]
    }
}

impl std::fmt::Debug for Roster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Roster").field("ids", &self.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::NodeId;

    fn key(slot: u32) -> PeerKey {
        PeerKey { node: NodeId::shard(0), slot, generation: 0 }
    }

    #[test]
    fn the_late_end_of_an_old_holder_changes_nothing() {
        let roster = Roster::default();
        let drone = ["drone".to_owned()];
        roster.enter("x", key(1), None, 1, || Ok(())).unwrap();
        roster.enter("x", key(2), Some("drone".into()), 1, || Ok(())).unwrap();
        roster.leave("x", key(1), || ());
        assert_eq!((roster.len(), roster.is_one_of("x", &drone)), (1, Some(true)));
        roster.leave("x", key(2), || ());
        assert_eq!((roster.len(), roster.is_one_of("x", &drone)), (0, None));
    }

    #[test]
    fn a_refused_id_takes_no_place() {
        let roster = Roster::default();
        assert_eq!(roster.enter("x", key(1), None, 1, || Err(Taken)), Err(NotEntered::Taken));
        roster.enter("y", key(1), None, 1, || Ok(())).unwrap();
        let full = roster.enter("z", key(2), None, 1, || unreachable!("there is no place"));
        assert_eq!((full, roster.len()), (Err(NotEntered::Full), 1));
    }
}
