//! The turn loop: sockets on a ring of their own, what they bring, and one send for each at the end.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::arguments::{Dialect, Mode};
use super::http::Api;
use super::links::Stage;
use super::phases::Phase;
use super::process::{self, Memory};
use super::run::Run;
use crate::ring::{Completion, ConnId, EndCause, Ring, Settings};

/// Completions handled before anything is sent.
const COMPLETIONS_A_TURN_MAX: usize = 2048;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest for one login, and for one goodbye.
const STEP_NS_MAX: u64 = 10 * SECOND_NS;
/// Buffers that wait for the next link that sends.
const POOL_MAX: usize = 512;
pub const SECOND_NS: u64 = 1_000_000_000;

/// CPU times at one moment, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    pub own: u64,
    pub server: Option<u64>,
    /// What this generator spent looking for work without finding any.
    pub waited: u64,
}

/// What the loop has to tell beside the tally.
#[derive(Debug, Default)]
pub struct Outcome {
    pub begin: Cpu,
    pub end: Cpu,
    /// Before the first connection of all.
    pub memory_at_start: Option<Memory>,
    /// The same, or after the rehearsal.
    pub memory_before: Option<Memory>,
    pub memory_loaded: Option<Memory>,
    /// Connections that were logged in when memory was read.
    pub ready: usize,
    pub opening_seconds: f64,
}

pub struct Drive<'r, 'a> {
    pub(super) run: &'r mut Run<'a>,
    pub(super) ring: Ring,
    api: Api<'a>,
    pub(super) phase: Phase,
    /// When the phase began.
    pub(super) since_ns: u64,
    /// The participant who is opened next, for the first time.
    pub(super) next_open: u32,
    pub(super) outcome: Outcome,
    pool: Vec<Vec<u8>>,
    /// Storm: links whose socket is closed.
    pub(super) free: Vec<u32>,
    attempts: u64,
    pub(super) waited_ns: u64,
    /// How many messages had arrived when one last did, and when that was.
    pub(super) last_arrival: (u64, u64),
    progress: Progress,
}

/// What the line of the last second said.
#[derive(Default)]
struct Progress {
    at_ns: u64,
    arrived: u64,
    own_cpu_ns: u64,
}

impl<'r, 'a> Drive<'r, 'a> {
    /// # Errors
    /// What the machine refuses.
    pub fn new(run: &'r mut Run<'a>) -> Result<Drive<'r, 'a>, String> {
        // Few connections stay in the cache with few buffers; many need one each at times.
        let (buffers_count, buffer_bytes) =
            if run.plan.connections <= 256 { (256, 16 * 1024) } else { (2048, 4 * 1024) };
        let settings = Settings {
            buffers_count,
            buffer_bytes,
            busy_poll_us: u32::from(run.plan.spin),
            ..Settings::default()
        };
        let ring = Ring::new(settings).map_err(|error| error.to_string())?;
        let rehearse = run.plan.mode == Mode::Idle && !run.plan.warm_up.is_zero();
        Ok(Drive {
            phase: if rehearse { Phase::Rehearsing { leaving: false } } else { Phase::Opening },
            api: Api::new(run.plan),
            run,
            ring,
            since_ns: 0,
            next_open: 0,
            outcome: Outcome::default(),
            pool: Vec::new(),
            free: Vec::new(),
            attempts: 0,
            waited_ns: 0,
            last_arrival: (0, 0),
            progress: Progress::default(),
        })
    }

    /// Runs all phases; `interrupted` ends the measurement early.
    ///
    /// # Errors
    /// When there is no load to be made.
    pub fn run(mut self, interrupted: &AtomicBool, err: &mut impl Write) -> Result<Outcome, String> {
        self.since_ns = self.run.now_ns();
        self.outcome.memory_at_start = self.run.plan.server_pid.and_then(process::memory);
        self.outcome.memory_before = self.outcome.memory_at_start;
        self.ring.tick_every(self.tick());
        while self.phase != Phase::Done {
            let mut handled = 0;
            while handled < COMPLETIONS_A_TURN_MAX
                && let Some(completion) = self.ring.next_completion()
            {
                handled += 1;
                self.handle(completion);
            }
            let now_ns = self.run.now_ns();
            let more = self.advance(now_ns, interrupted.load(Ordering::Relaxed))?;
            self.flush();
            if now_ns - self.progress.at_ns >= SECOND_NS {
                self.each_second(now_ns, err);
            }
            self.wait(more || handled == COMPLETIONS_A_TURN_MAX)?;
        }
        Ok(self.outcome)
    }

    fn wait(&mut self, more: bool) -> Result<(), String> {
        let lost = |errno: crate::ring::Errno| format!("io_uring: {errno}");
        let idle = !more && self.run.dirty.is_empty();
        if !idle || !self.run.plan.spin {
            return self.ring.turn(idle).map_err(lost);
        }
        // What the kernel does for the sends is work, and no waiting.
        self.ring.turn(false).map_err(lost)?;
        if self.ring.has_ready() {
            return Ok(());
        }
        let is_paced =
            self.run.plan.mode == Mode::Open && matches!(self.phase, Phase::WarmingUp | Phase::Measuring);
        let due_ns = if is_paced { self.run.next_due_ns() } else { u64::MAX };
        let begin_ns = self.run.now_ns();
        let run = &*self.run;
        self.ring.spin(|| run.now_ns() < due_ns).map_err(lost)?;
        self.waited_ns += self.run.now_ns() - begin_ns;
        Ok(())
    }

    /// Short enough for the rate; a tick costs as much as a message.
    fn tick(&self) -> Duration {
        match self.run.plan.rate {
            0 => Duration::from_millis(2),
            rate => Duration::from_nanos((SECOND_NS / rate).clamp(100_000, 2_000_000)),
        }
    }

    fn handle(&mut self, completion: Completion) {
        match completion {
            Completion::Received { conn, buffer, len } => {
                let bytes = self.ring.buffer(&buffer, len);
                if self.run.links[conn.slot as usize].generation == conn.generation {
                    self.run.arrive(conn.slot, bytes);
                }
                self.ring.recycle(buffer);
            }
            Completion::ReceiveEnded { conn, cause } => match cause {
                EndCause::NoBuffers | EndCause::Cancelled | EndCause::Once => self.ring.receive(conn),
                EndCause::Eof => self.run.ended(conn.slot, "closed by the server"),
                EndCause::Error(errno) => self.run.ended(conn.slot, &errno.to_string()),
            },
            Completion::Sent { conn, buffer, result } => self.sent(conn, buffer, result.ok()),
            Completion::Closed { conn } => {
                let link = &mut self.run.links[conn.slot as usize];
                link.stage = Stage::Free;
                (link.partial, link.out, link.seal) = (Vec::new(), Vec::new(), None);
                link.sending = false;
                self.free.push(conn.slot);
            }
            Completion::Tick | Completion::Bell => {}
            Completion::Accepted { .. } | Completion::AcceptEnded { .. } => {}
        }
    }

    fn sent(&mut self, conn: ConnId, buffer: Vec<u8>, taken: Option<usize>) {
        let link = &mut self.run.links[conn.slot as usize];
        link.sending = false;
        // Without bytes taken the connection is at its end, and the receive tells of it.
        let sent_bytes = link.sent_bytes + taken.unwrap_or(buffer.len());
        if sent_bytes < buffer.len() && link.can_send() {
            link.sent_bytes = sent_bytes;
            link.sending = self.ring.send(conn, buffer, sent_bytes).is_ok();
            return;
        }
        self.reuse(buffer);
        self.run.touch(conn.slot);
    }

    /// One send for each link that has something.
    fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.run.dirty);
        for index in dirty.drain(..) {
            let link = &mut self.run.links[index as usize];
            link.queued = false;
            if link.sending || !link.can_send() {
                continue;
            }
            if link.out.capacity() == 0 {
                link.out = self.pool.pop().unwrap_or_default();
            }
            self.run.fill(index);
            let link = &mut self.run.links[index as usize];
            let out = match &mut link.seal {
                None => std::mem::take(&mut link.out),
                Some(seal) => seal.seal(&mut link.out, self.pool.pop().unwrap_or_default()),
            };
            if out.is_empty() {
                self.reuse(out);
                continue;
            }
            let conn = ConnId { slot: index, generation: link.generation };
            link.sent_bytes = 0;
            link.sending = self.ring.send(conn, out, 0).is_ok();
        }
        // What `fill` could not write at once comes again when its send is back.
        self.run.dirty = dirty;
        while let Some(index) = self.run.closing.pop() {
            let generation = self.run.links[index as usize].generation;
            self.ring.close(ConnId { slot: index, generation });
        }
    }

    fn reuse(&mut self, mut buffer: Vec<u8>) {
        if self.pool.len() < POOL_MAX && buffer.capacity() > 0 {
            buffer.clear();
            self.pool.push(buffer);
        }
    }

    /// The sockets of one participant.
    pub(super) fn open(&mut self, peer: u32) -> Result<(), String> {
        let began_ns = self.run.now_ns();
        // Two share a call; in a storm nobody does, since a seat outlives its connection.
        let call = if self.run.plan.mode == Mode::Storm { self.attempts } else { u64::from(peer / 2) };
        self.attempts += 1;
        if self.run.peers[peer as usize].seat.is_none() || self.run.plan.mode == Mode::Storm {
            self.run.peers[peer as usize].seat = self.run.access.seat(&mut self.api, call)?;
        }
        let has_posts = self.run.plan.dialect == Dialect::Calls && self.run.plan.has_traffic();
        for index in std::iter::once(peer).chain(has_posts.then(|| self.run.outlet(peer))) {
            match connect(self.run) {
                Ok(socket) => {
                    self.run.opened(index, began_ns);
                    let conn = ConnId { slot: index, generation: self.run.links[index as usize].generation };
                    self.ring.open(socket.into(), conn);
                    self.ring.receive(conn);
                }
                Err(error) => {
                    let why = format!("cannot connect to {}: {error}", self.run.plan.target.address);
                    self.run.tally.failed += 1;
                    if self.run.ready == 0 && self.run.opening == 0 && self.run.tally.arrived == 0 {
                        return Err(why);
                    }
                    self.run.tally.complain(why);
                    self.free.push(index);
                }
            }
        }
        Ok(())
    }

    fn each_second(&mut self, now_ns: u64, err: &mut impl Write) {
        for index in 0..self.run.links.len() as u32 {
            if now_ns.saturating_sub(self.run.links[index as usize].since_ns) > STEP_NS_MAX {
                self.run.give_up(index);
            }
        }
        let (arrived, own_cpu_ns) = (self.run.tally.arrived, process::own_cpu_ns());
        let seconds = (now_ns - self.progress.at_ns) as f64 / 1e9;
        if !self.run.plan.quiet {
            let tally = &self.run.tally;
            // Nobody is left to tell when stderr is closed.
            let _ = writeln!(
                err,
                "{:>4} s  {:<11} {:>6} connected  {:>9.0} {}  {} errors  own CPU {:.0} %",
                now_ns / SECOND_NS,
                self.phase.name(),
                self.run.ready,
                (arrived - self.progress.arrived) as f64 / seconds,
                if self.run.plan.mode == Mode::Storm { "logins/s" } else { "messages/s" },
                tally.refused
                    + tally.duplicated
                    + tally.out_of_order
                    + tally.corrupt
                    + tally.failed
                    + tally.broken,
                (own_cpu_ns.saturating_sub(self.progress.own_cpu_ns)) as f64 / seconds / 1e7,
            );
        }
        self.progress = Progress { at_ns: now_ns, arrived, own_cpu_ns };
    }
}

/// On loopback a connection stands at once, so nothing is gained by not waiting for it.
fn connect(run: &Run<'_>) -> std::io::Result<TcpStream> {
    let address = run.plan.target.address;
    let stream = if address.ip().is_loopback() {
        TcpStream::connect(address)?
    } else {
        TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}
