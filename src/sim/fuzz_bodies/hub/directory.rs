//! The directory, and the routes that senders keep.

use std::collections::BTreeMap;

use arbitrary::Arbitrary;

use super::Few;
use crate::base::{PeerKey, RealmId};
use crate::hub::{DialectId, Directory, Joined, OnDuplicate, Route, Taken};

const ROUTES: usize = 4;

#[derive(Arbitrary, Debug)]
pub(super) enum DirectoryOperation {
    Join { at: Address, key: Few<6>, dialect: Few<2>, replaces: bool },
    Leave { at: Address, key: Few<6> },
    Lookup(Address),
    Resolve { at: Address, route: Few<{ ROUTES as u8 }> },
    Ids(Few<2>),
}

#[derive(Arbitrary, Debug)]
pub(super) struct Address {
    realm: Few<2>,
    id: Few<6>,
}

pub(super) struct Tables {
    directory: Directory,
    routes: [Option<Box<Route>>; ROUTES],
    model: BTreeMap<(RealmId, String), (PeerKey, DialectId)>,
}

impl Default for Tables {
    fn default() -> Tables {
        let routes = std::array::from_fn(|_| None);
        Tables { directory: Directory::new(7), routes, model: BTreeMap::new() }
    }
}

impl Tables {
    pub(super) fn apply_and_check(&mut self, operation: DirectoryOperation) {
        match operation {
            DirectoryOperation::Join { at, key, dialect, replaces } => {
                let (realm, id) = at.names();
                let (key, dialect) = (key.key(), DialectId(dialect.0));
                let on_duplicate = if replaces { OnDuplicate::Replace } else { OnDuplicate::Reject };
                let joined = self.directory.join(realm, &id, key, dialect, on_duplicate);
                assert_eq!(joined, self.join(realm, id, key, dialect, replaces));
            }
            DirectoryOperation::Leave { at, key } => {
                let (realm, id) = at.names();
                let left = self.directory.leave(realm, &id, key.key());
                let holds = |(holder, _): &(PeerKey, DialectId)| *holder == key.key();
                let expected = self.model.get(&(realm, id.clone())).is_some_and(holds);
                assert_eq!(left, expected);
                if left {
                    self.model.remove(&(realm, id));
                }
            }
            DirectoryOperation::Lookup(at) => {
                let (realm, id) = at.names();
                assert_eq!(self.directory.lookup(realm, &id), self.holder(realm, id));
            }
            DirectoryOperation::Resolve { at, route } => {
                let (realm, id) = at.names();
                let found = self.directory.resolve(realm, &id, &mut self.routes[usize::from(route.0)]);
                assert_eq!(found, self.holder(realm, id), "a route that is kept says the same");
            }
            DirectoryOperation::Ids(realm) => self.check_ids(RealmId(realm.0.into())),
        }
    }

    pub(super) fn check_all(&self) {
        assert_eq!(self.directory.len(), self.model.len());
        (0..2).for_each(|realm| self.check_ids(RealmId(realm)));
    }

    fn join(
        &mut self,
        realm: RealmId,
        id: String,
        key: PeerKey,
        dialect: DialectId,
        replaces: bool,
    ) -> Result<Joined, Taken> {
        let present = self.model.get(&(realm, id.clone())).copied();
        match present {
            Some((holder, _)) if holder == key => return Ok(Joined { replaced: None }),
            Some((_, theirs)) if theirs != dialect || !replaces => return Err(Taken),
            _ => self.model.insert((realm, id), (key, dialect)),
        };
        Ok(Joined { replaced: present.map(|(holder, _)| holder) })
    }

    fn holder(&self, realm: RealmId, id: String) -> Option<PeerKey> {
        self.model.get(&(realm, id)).map(|(key, _)| *key)
    }

    fn check_ids(&self, realm: RealmId) {
        let ids = self.directory.ids(realm);
        let expected = self.model.keys().filter(|(theirs, _)| *theirs == realm).map(|(_, id)| &**id);
        assert!(ids.iter().map(|id| &**id).eq(expected), "{ids:?}");
    }
}

impl Address {
    fn names(&self) -> (RealmId, String) {
        (RealmId(self.realm.0.into()), self.id.name("id"))
    }
}
