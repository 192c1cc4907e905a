//! Inboxes, overflow lists and bells.

use std::sync::Arc;

use loom::sync::Notify;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use crate::base::NodeId;
use crate::mesh::{Limits, Mesh, Outlets, Parcel, Posted};

const LIMITS: Limits = Limits { overflow_messages_max: 8, overflow_bytes_max: usize::MAX, hold_us: 1_000 };

/// The sleeper of two shards, to which both the other shard and the front send.
fn sleeper() -> NodeId {
    NodeId::shard(1)
}

struct Bell {
    pulled: Notify,
    pulls: AtomicUsize,
}

impl Bell {
    fn new() -> Arc<Bell> {
        Arc::new(Bell { pulled: Notify::new(), pulls: AtomicUsize::new(0) })
    }

    fn pull(&self) {
        self.pulls.fetch_add(1, Ordering::Relaxed);
        self.pulled.notify();
    }
}

/// A sleeper that nobody rings is a deadlock, which loom reports.
pub fn no_wake_up_is_lost() {
    const SENDERS: usize = 2;
    let mesh = Mesh::new(2, 4);
    let bell = Bell::new();
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let (mesh, bell) = (mesh.clone(), bell.clone());
            thread::spawn(move || {
                let mut outlets = Outlets::new(mesh, LIMITS);
                let posted = outlets.post(0, sleeper(), Parcel(sender, 0));
                assert!(matches!(posted, Posted::Sent));
                outlets.ring_bells(|node| {
                    assert_eq!(node, sleeper());
                    bell.pull();
                });
            })
        })
        .collect();
    let (mut taken, mut announced) = (0, 0);
    while taken < SENDERS {
        while mesh.take(sleeper()).is_some() {
            taken += 1;
        }
        if taken < SENDERS {
            announced += 1;
            if mesh.fall_asleep(sleeper()) {
                bell.pulled.wait();
            }
        }
        mesh.wake_up(sleeper());
        thread::yield_now();
    }
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    assert!(bell.pulls.load(Ordering::Relaxed) <= announced, "one pull for a sleep that was announced");
}

pub fn nothing_overtakes_the_overflow_list() {
    const PARCELS: usize = 3;
    // Room for one: most of them wait.
    let mesh = Mesh::new(2, 1);
    let receiver = {
        let mesh = mesh.clone();
        thread::spawn(move || {
            let mut next = 0;
            while next < PARCELS {
                match mesh.take(sleeper()) {
                    Some(Parcel(_, number)) => {
                        assert_eq!(number, next, "a parcel has been overtaken");
                        next += 1;
                    }
                    None => thread::yield_now(),
                }
            }
        })
    };
    let mut outlets = Outlets::new(mesh, LIMITS);
    for number in 0..PARCELS {
        assert!(!matches!(outlets.post(0, sleeper(), Parcel(0, number)), Posted::Refused));
    }
    while outlets.waiting() > 0 {
        outlets.flush(0, |_| panic!("nothing has waited for long"));
        thread::yield_now();
    }
    receiver.join().unwrap();
}

pub fn an_ended_node_is_not_waited_for() {
    const PARCELS: usize = 3;
    let mesh = Mesh::new(2, 1);
    let receiver = {
        let mesh = mesh.clone();
        thread::spawn(move || {
            let mut taken = usize::from(mesh.take(sleeper()).is_some());
            Outlets::new(mesh, LIMITS).end(sleeper(), |_| taken += 1);
            taken
        })
    };
    let mut outlets = Outlets::new(mesh.clone(), LIMITS);
    for number in 0..PARCELS {
        assert!(!matches!(outlets.post(0, sleeper(), Parcel(0, number)), Posted::Refused));
    }
    let mut returned = Vec::new();
    while outlets.waiting() > 0 {
        outlets.flush(0, |Parcel(_, number)| returned.push(number));
        thread::yield_now();
    }
    let taken = receiver.join().unwrap();
    assert!(returned.is_sorted());
    assert_eq!(taken + mesh.depth(sleeper()) + returned.len(), PARCELS, "each is in one place");
}
