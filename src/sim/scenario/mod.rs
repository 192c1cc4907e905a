//! Whole runs of a simulated world, made up from a seed: clients of all dialects, everything that
//! can go wrong, and an oracle for the promises.
//!
//! ```text
//! seed ─► plan ─► steps: workload │ fault ─► turns ─► everybody listens ─► oracle ─► … ─► all is
//!                                                                         healed, drained, empty
//! ```
//!
//! Owns the clients' half of each protocol, what they know of each other, and the verdict. The
//! invariant: a seed gives one run, byte by byte, so that whatever it shows can be shown again.
//! TLS, Socket.IO and HTTP stay out; `calls` and `broadcast` come in at the level of their commands.

mod actor;
mod coverage;
mod faults;
mod history;
mod invariants;
mod oracle;
mod plan;
mod speech;
#[cfg(test)]
mod tests;
mod workload;
mod world;

pub use coverage::{Coverage, all as fault_space};
pub use oracle::{Promise, Violation};

use std::time::Duration;

use crate::dialect::ERROR_LABELS;
use actor::Fate;
use oracle::Verdict;
use world::World;

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    pub coverage: Coverage,
    /// Of everything that anybody heard.
    pub trace: u64,
    pub messages: u64,
    pub deliveries: u64,
}

/// Is told, line by line, what happens.
pub type Narrator = Box<dyn FnMut(&str)>;

/// One whole run.
///
/// # Errors
/// The first promise that was not kept.
///
/// # Panics
/// Where the engine does.
pub fn run(seed: u64) -> Result<Summary, Violation> {
    narrate(seed, None)
}

/// As [`run`], and tells line by line what happens.
///
/// # Errors
/// The first promise that was not kept.
///
/// # Panics
/// Where the engine does.
pub fn narrate(seed: u64, narrator: Option<Narrator>) -> Result<Summary, Violation> {
    let mut world = World::new(seed);
    world.narrator = narrator;
    world.tell(|world| format!("{:#?}", world.plan));
    world.live()?;
    world.end()?;
    world.count_errors();
    Ok(Summary {
        trace: world.trace,
        messages: world.history.next_serial(),
        deliveries: world.history.deliveries,
        coverage: world.coverage,
    })
}

impl World {
    fn live(&mut self) -> Verdict {
        for _ in 0..self.plan.steps {
            self.act()?;
            match self.dice.below(10) {
                0..5 => {
                    self.settle()?;
                    self.listen()?;
                    self.check_rest()?;
                }
                5..8 => self.stir(),
                _ => {}
            }
            self.listen()?;
            if self.dice.percent(40) {
                self.idle()?;
            }
            self.check_bounds()?;
        }
        Ok(())
    }

    fn end(&mut self) -> Verdict {
        if self.plan.drains {
            return self.drain();
        }
        self.heal();
        self.pass(self.plan.horizon())?;
        self.rest()?;
        self.check_drained()?;
        for index in 0..self.actors.len() {
            if self.actors[index].fate != Fate::Over {
                self.sim.hang_up(self.actors[index].client);
                self.actors[index].fate = Fate::Leaving(self.now_us());
            }
        }
        self.certain.clear();
        for index in 0..self.stations.len() {
            if self.stations[index].is_open {
                self.leave_station(index);
            }
        }
        self.pass(self.plan.close * 2 + Duration::from_secs(2))?;
        self.rest()?;
        self.check_empty()?;
        self.pass(self.plan.seat_timeout + Duration::from_secs(1))?;
        self.check_seats_are_free()
    }

    /// The server shuts down, in the middle of everything.
    fn drain(&mut self) -> Verdict {
        self.coverage.hit("drain");
        for node in 0..=self.plan.shards {
            self.pause(node, false);
        }
        self.is_draining = true;
        self.certain.clear();
        self.sim.drain();
        for index in 0..self.stations.len() {
            if self.stations[index].is_open {
                self.leave_station(index);
            }
        }
        self.pass(self.plan.limits.drain + Duration::from_secs(1))?;
        for shard in 0..self.plan.shards {
            if !self.sim.has_ended(shard) {
                return Err(Promise::Liveness.broken(format!("shard {shard} has not ended its drain")));
            }
        }
        self.front.end(self.sim.now);
        self.check_events()?;
        self.check_empty()?;
        self.history.check(|_| false)
    }

    fn rest(&mut self) -> Verdict {
        self.settle()?;
        self.listen()?;
        self.settle()?;
        self.listen()?;
        self.check_bounds()?;
        self.check_rest()
    }

    /// What every node has counted of errors.
    fn count_errors(&mut self) {
        for node in &self.sim.nodes {
            for (index, label) in ERROR_LABELS.iter().enumerate() {
                self.coverage.add(&coverage::error_path(*label), node.metrics.errors[index].get());
            }
            let metrics = &node.metrics;
            let counters = [
                ("bounced", metrics.bounced.get()),
                ("held back", metrics.held_back.get()),
                ("outbox over its soft limit", metrics.outbox_over_soft.get()),
                ("slow consumer cut", metrics.slow_consumers_cut.get()),
                ("connection refused", metrics.connections_refused.get()),
            ];
            counters.into_iter().for_each(|(what, times)| self.coverage.add(what, times));
        }
    }
}
