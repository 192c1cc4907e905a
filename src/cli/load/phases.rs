//! The phases of a run, and what each opens, waits for and closes.
//!
//! ```text
//! (rehearsing ─▶ settling) ─▶ opening ─▶ warming up ─▶ measuring ─▶ draining ─▶ leaving
//! ```

use std::time::Duration;

use super::arguments::Mode;
use super::drive::{Cpu, Drive, SECOND_NS};
use super::process;

/// Connections that are opened before others are looked after.
const OPENED_A_TURN_MAX: usize = 16;
/// Logins under way: a listening socket does not hold many more.
const OPENING_MAX: usize = 256;
/// After the last message: how long nothing may arrive, and how long late ones are waited for.
const SILENCE_NS_MAX: u64 = 2 * SECOND_NS;
const DRAIN_NS_MAX: u64 = 15 * SECOND_NS;
const LEAVE_NS_MAX: u64 = 3 * SECOND_NS;
/// Connections that fail without one that succeeds, before the run is given up.
const FAILURES_MAX: u64 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Idle: all connections once, so that the server has its tables before memory is read.
    Rehearsing {
        leaving: bool,
    },
    /// The server has nobody; its memory is read at the end.
    Settling,
    Opening,
    WarmingUp,
    Measuring,
    Draining,
    Leaving,
    Done,
}

impl Phase {
    pub fn name(self) -> &'static str {
        match self {
            Phase::Rehearsing { .. } => "rehearsing",
            Phase::Settling => "settling",
            Phase::Opening => "opening",
            Phase::WarmingUp => "warming up",
            Phase::Measuring => "measuring",
            Phase::Draining => "draining",
            Phase::Leaving | Phase::Done => "leaving",
        }
    }
}

impl Drive<'_, '_> {
    /// Moves on to the next phase when it is time; says whether there is more to do at once.
    pub(super) fn advance(&mut self, now_ns: u64, interrupted: bool) -> Result<bool, String> {
        let plan = self.run.plan;
        let in_phase_ns = now_ns - self.since_ns;
        let nanos = |length: Duration| length.as_nanos() as u64;
        match self.phase {
            Phase::Rehearsing { leaving: false } => {
                let more = self.open_all(in_phase_ns)?;
                if !more && self.run.opening == 0 {
                    self.leave_all(now_ns);
                    self.enter(Phase::Rehearsing { leaving: true }, now_ns);
                }
                return Ok(more && self.run.opening < OPENING_MAX);
            }
            Phase::Rehearsing { leaving: true } => {
                if self.ring.open_count() == 0 || in_phase_ns > LEAVE_NS_MAX {
                    self.close_rest();
                    self.next_open = 0;
                    self.enter(Phase::Settling, now_ns);
                }
            }
            Phase::Settling => {
                if in_phase_ns >= nanos(plan.warm_up) && self.ring.open_count() == 0 {
                    self.outcome.memory_before = plan.server_pid.and_then(process::memory);
                    self.enter(Phase::Opening, now_ns);
                }
            }
            Phase::Opening if plan.mode == Mode::Storm => self.begin_traffic(now_ns)?,
            Phase::Opening => {
                let more = self.open_all(in_phase_ns)?;
                if !more && self.run.opening == 0 {
                    self.outcome.opening_seconds = in_phase_ns as f64 / 1e9;
                    self.begin_traffic(now_ns)?;
                }
                return Ok(more && self.run.opening < OPENING_MAX);
            }
            Phase::WarmingUp | Phase::Measuring => {
                let more = plan.mode == Mode::Storm && self.storm(now_ns)?;
                self.run.make_due(now_ns);
                if self.phase == Phase::WarmingUp && in_phase_ns >= nanos(plan.warm_up) {
                    self.begin_window(now_ns);
                } else if self.phase == Phase::Measuring
                    && (in_phase_ns >= nanos(plan.duration) || interrupted)
                {
                    self.end_window(now_ns);
                }
                return Ok(more);
            }
            Phase::Draining => {
                let silent_ns = now_ns - self.last_arrival.1;
                if self.run.tally.arrived != self.last_arrival.0 {
                    self.last_arrival = (self.run.tally.arrived, now_ns);
                }
                let nothing_more = self.run.under_way() == 0 && self.run.opening == 0;
                if nothing_more || silent_ns > SILENCE_NS_MAX || in_phase_ns > DRAIN_NS_MAX {
                    self.leave_all(now_ns);
                    self.enter(Phase::Leaving, now_ns);
                }
            }
            Phase::Leaving => {
                if self.ring.open_count() == 0 || in_phase_ns > LEAVE_NS_MAX {
                    self.enter(Phase::Done, now_ns);
                }
            }
            Phase::Done => {}
        }
        Ok(false)
    }

    fn enter(&mut self, phase: Phase, now_ns: u64) {
        (self.phase, self.since_ns) = (phase, now_ns);
    }

    fn begin_traffic(&mut self, now_ns: u64) -> Result<(), String> {
        let run = &mut *self.run;
        let plan = run.plan;
        if plan.mode != Mode::Storm && run.ready == 0 {
            let why = run.tally.first_error.as_deref().unwrap_or("no answer");
            return Err(format!("nobody could log in: {why}"));
        }
        if plan.has_traffic() {
            run.pair_up()?;
            if run.active.is_empty() {
                return Err("no two connections could be paired".to_owned());
            }
        }
        run.start(now_ns);
        if plan.warm_up.is_zero() || plan.mode == Mode::Idle {
            self.begin_window(now_ns);
        } else {
            self.enter(Phase::WarmingUp, now_ns);
        }
        Ok(())
    }

    fn begin_window(&mut self, now_ns: u64) {
        self.run.tally.window = now_ns..u64::MAX;
        self.outcome.begin = self.cpu();
        self.enter(Phase::Measuring, now_ns);
    }

    fn end_window(&mut self, now_ns: u64) {
        self.run.tally.window.end = now_ns;
        self.outcome.end = self.cpu();
        self.outcome.ready = self.run.ready;
        self.outcome.memory_loaded = self.run.plan.server_pid.and_then(process::memory);
        self.run.stop();
        self.last_arrival = (self.run.tally.arrived, now_ns);
        self.enter(Phase::Draining, now_ns);
    }

    fn cpu(&self) -> Cpu {
        Cpu {
            own: process::own_cpu_ns(),
            server: self.run.plan.server_pid.and_then(process::cpu_ns),
            waited: self.waited_ns,
        }
    }

    /// Opens what the ramp allows by now. False when all have been opened.
    fn open_all(&mut self, elapsed_ns: u64) -> Result<bool, String> {
        let all = self.run.plan.connections;
        let ramp_ns = self.run.plan.ramp_up.as_nanos();
        let allowed = match u128::from(elapsed_ns) {
            elapsed if elapsed >= ramp_ns => all,
            elapsed => (u128::from(all) * elapsed / ramp_ns) as u32 + 1,
        };
        let mut opened = 0;
        while self.next_open < allowed && opened < OPENED_A_TURN_MAX && self.run.opening < OPENING_MAX {
            self.open(self.next_open)?;
            self.next_open += 1;
            opened += 1;
        }
        Ok(self.next_open < all)
    }

    /// Opens again whoever has left. True while there are more.
    fn storm(&mut self, now_ns: u64) -> Result<bool, String> {
        let mut opened = 0;
        // At first nobody has left because nobody was there.
        while self.next_open < self.run.plan.connections && opened < OPENED_A_TURN_MAX {
            self.open(self.next_open)?;
            self.next_open += 1;
            opened += 1;
        }
        while opened < OPENED_A_TURN_MAX
            && let Some(index) = self.free.pop()
        {
            self.open(index)?;
            opened += 1;
        }
        if self.run.tally.failed > FAILURES_MAX && self.run.tally.arrived == 0 {
            let why = self.run.tally.first_error.as_deref().unwrap_or("no answer");
            return Err(format!(
                "nobody could log in since {} ms: {why}",
                (now_ns - self.since_ns) / 1_000_000
            ));
        }
        Ok(opened == OPENED_A_TURN_MAX)
    }

    fn leave_all(&mut self, now_ns: u64) {
        for index in 0..self.run.links.len() as u32 {
            self.run.leave(index, now_ns);
        }
    }

    fn close_rest(&mut self) {
        for index in 0..self.run.links.len() as u32 {
            self.run.give_up(index);
        }
    }
}
