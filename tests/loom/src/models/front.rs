//! From all threads to the pump.

use std::collections::VecDeque;
use std::sync::Arc;

use loom::future::block_on;
use loom::thread;

use crate::base::{NodeId, PeerKey};
use crate::dialect::OwnedDelivery;
use crate::outbound::{Outbound, Outgoing};

/// A pump that nobody tells waits for ever, which loom reports.
pub fn the_front_hears_of_everything_posted() {
    const SENDERS: u32 = 2;
    const EACH: usize = 2;
    let outbound = Arc::new(Outbound::default());
    let senders: Vec<_> = (0..SENDERS)
        .map(|slot| {
            let outbound = outbound.clone();
            thread::spawn(move || {
                let to = PeerKey { node: NodeId::FRONT, slot, generation: 0 };
                for number in 0..EACH {
                    outbound.push(to, Outgoing::Deliver(Box::new(OwnedDelivery(number))));
                }
            })
        })
        .collect();
    let mut next = [0; SENDERS as usize];
    let mut taken = VecDeque::new();
    while next.iter().sum::<usize>() < EACH * SENDERS as usize {
        block_on(outbound.filled());
        outbound.take_all(&mut taken);
        for (to, outgoing) in taken.drain(..) {
            let Outgoing::Deliver(delivery) = outgoing else { panic!("nothing else was posted") };
            let next = &mut next[to.slot as usize];
            assert_eq!(delivery.0, *next, "one sender's messages are in order");
            *next += 1;
        }
    }
    senders.into_iter().for_each(|sender| sender.join().unwrap());
}
