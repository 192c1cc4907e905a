//! Who holds an id, who believes so, and who is told of those who left.

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use crate::base::{NodeId, PeerKey, RealmId};
use crate::hub::{Departures, DialectId, Directory, OnDuplicate};

const REALM: RealmId = RealmId(0);
const ID: &str = "x";

fn key(slot: u32) -> PeerKey {
    PeerKey { node: NodeId::FRONT, slot, generation: 0 }
}

fn join(directory: &Directory, slot: u32) -> Option<PeerKey> {
    let joined = directory.join(REALM, ID, key(slot), DialectId(0), OnDuplicate::Replace);
    joined.expect("all are of one dialect").replaced
}

pub fn a_stale_route_is_not_believed() {
    let directory = Arc::new(Directory::new(7));
    join(&directory, 1);
    let changed_hands = Arc::new(AtomicBool::new(false));
    let newcomer = {
        let (directory, changed_hands) = (directory.clone(), changed_hands.clone());
        thread::spawn(move || {
            join(&directory, 2);
            changed_hands.store(true, Ordering::Release);
        })
    };
    let mut route = None;
    let mut was_new = false;
    for _ in 0..2 {
        // How it is known does not matter: a message of the new owner, for example.
        let is_known = changed_hands.load(Ordering::Acquire);
        let found = directory.resolve(REALM, ID, &mut route).expect("somebody always has it");
        assert!(!(is_known || was_new) || found == key(2), "a stale route is believed");
        was_new |= found == key(2);
    }
    newcomer.join().unwrap();
    assert_eq!(directory.resolve(REALM, ID, &mut route), Some(key(2)), "a stale route is kept");
    assert!(directory.leave(REALM, ID, key(2)));
    assert_eq!(directory.resolve(REALM, ID, &mut route), None);
}

pub fn a_late_close_does_not_remove_the_successor() {
    let directory = Arc::new(Directory::new(7));
    join(&directory, 1);
    let joining = |slot| {
        let directory = directory.clone();
        thread::spawn(move || join(&directory, slot))
    };
    let joined = [joining(2), joining(3)];
    let first_left = directory.leave(REALM, ID, key(1));
    let mut told: Vec<PeerKey> = joined.into_iter().filter_map(|joined| joined.join().unwrap()).collect();
    let holder = directory.lookup(REALM, ID).expect("a late close has removed the successor");
    if first_left {
        told.push(key(1));
    }
    // Each that is not the holder has left, or has been told.
    told.push(holder);
    told.sort();
    assert_eq!(told, [key(1), key(2), key(3)]);
}

pub fn every_departure_is_told() {
    let departures = Arc::new(Departures::new(REALM));
    // Somebody else has left already, so that there is something to tell from the start.
    departures.note(REALM);
    let has_left = Arc::new(AtomicBool::new(false));
    // In the place of a text that is being told.
    let telling = Arc::new(AtomicBool::new(false));
    let leaver = {
        let (departures, has_left) = (departures.clone(), has_left.clone());
        thread::spawn(move || {
            has_left.store(true, Ordering::Relaxed);
            departures.note(REALM);
        })
    };
    let tell = {
        let (departures, has_left) = (departures.clone(), has_left.clone());
        move |now_us| {
            if !departures.take(now_us, 1) {
                return false;
            }
            assert!(!telling.swap(true, Ordering::Relaxed), "two texts at once");
            let is_in_the_text = has_left.load(Ordering::Relaxed);
            departures.wait_until(now_us + 1);
            telling.store(false, Ordering::Relaxed);
            departures.told();
            is_in_the_text
        }
    };
    let other = {
        let tell = tell.clone();
        thread::spawn(move || tell(1))
    };
    let mut told = tell(2);
    told |= other.join().unwrap();
    leaver.join().unwrap();
    // Much later, when all have had their turn.
    told |= tell(1_000);
    assert!(told, "somebody has left, and nobody says so");
}
