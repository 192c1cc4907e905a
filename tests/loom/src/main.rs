//! The engine's lock-free protocols, in every order of their steps.
//!
//! | model | threads | holds |
//! |---|---|---|
//! | `no_wake_up_is_lost` | two senders, one sleeper | a node that sleeps with something in its inbox has been rung, and once |
//! | `nothing_overtakes_the_overflow_list` | sender, receiver | parcels come in the order in which they were posted, although the inbox is full at times |
//! | `an_ended_node_is_not_waited_for` | sender, receiver that ends | what waits for it comes back, what was pushed is its own |
//! | `a_stale_route_is_not_believed` | sender, newcomer, leaver | who knows that an id has changed hands resolves it to its new owner, cached route or not |
//! | `a_late_close_does_not_remove_the_successor` | three connections of one id | the last to join keeps it; each loser is told once |
//! | `every_departure_is_told` | who leaves, two nodes that tell | nobody leaves without a list being made after it, and one at a time |
//! | `the_front_hears_of_everything_posted` | two senders, the pump | the pump never waits while something is queued, and each sender's order is kept |
//!
//! What is not modelled: io_uring and the eventfd (a bell that was pulled is heard), and the queue of
//! crossbeam, in whose place stands one that promises less: it orders a parcel's bytes before its
//! taking, and nothing else.

mod base;
mod dialect;
mod hub;
mod mesh;
mod models;
mod notify;
#[path = "../../../src/front/outbound.rs"]
#[allow(dead_code, reason = "the models need a part of it")]
mod outbound;

// Where `outbound` looks for it.
use notify::Notify;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Switches between threads that one run may have beyond those it must have. Known bugs of this kind
/// need two.
const PREEMPTIONS_MAX: usize = 3;

fn main() {
    let only: Vec<String> = std::env::args().skip(1).collect();
    for (name, model) in models::ALL {
        if !only.is_empty() && !only.iter().any(|wanted| wanted == name) {
            continue;
        }
        let orders = Arc::new(AtomicUsize::new(0));
        let counted = orders.clone();
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(PREEMPTIONS_MAX);
        builder.check(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            model();
        });
        println!("ok   {name}: {} orders", orders.load(Ordering::Relaxed));
    }
}
