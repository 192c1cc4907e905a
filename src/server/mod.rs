//! Floor 5: one process out of its parts.
//!
//! Owns the clocks, the source of randomness, the threads, and the order in which things start and
//! end: sockets are bound before any thread runs, `--print-ports` is answered when everything
//! listens, and the front outlives the shards, whose last tunnels it serves. Knows no protocol.

mod apis;
mod assembly;
mod audit;
mod clock;
mod dialects;
mod entropy;
mod error;
mod listen;
mod merge;
mod reload;
mod signals;
mod supervisor;

pub use error::ServeError;
pub use reload::Source;

use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::config::Settings;
use assembly::Engine;

/// What the main thread waits for.
enum Notice {
    /// SIGTERM or SIGINT.
    Terminate,
    /// SIGHUP.
    Reload,
    /// A thread of the engine has ended, well or badly.
    Ended(Result<(), ServeError>),
}

/// Where the process is in its life.
enum Stage {
    Serving,
    /// Told to end, and serving on until then.
    Leaving(Instant),
    Draining,
}

/// Serves until a signal ends it and the drain is over.
///
/// # Errors
/// Nothing was started (an address is taken, io_uring is not to be had), or a part of the engine
/// failed while it ran; then everything else has been shut down too.
pub fn serve(settings: Settings, print_ports: bool, source: Source) -> Result<(), ServeError> {
    let (notices, inbox) = mpsc::channel();
    signals::forward(notices.clone()).map_err(ServeError::Signals)?;
    let engine = Engine::start(&settings, notices)?;
    if print_ports {
        engine.print_ports()?;
    }
    supervisor::tell(supervisor::READY);
    let mut result = Ok(());
    let mut running = engine.threads();
    let mut stage = Stage::Serving;
    while running > 0 {
        let patience = match stage {
            Stage::Leaving(until) => until.saturating_duration_since(Instant::now()),
            Stage::Serving | Stage::Draining => FOR_EVER,
        };
        let drains = match (inbox.recv_timeout(patience), &stage) {
            (Ok(Notice::Terminate), Stage::Serving) => {
                let delay = engine.drain_delay();
                engine.leave();
                supervisor::tell(supervisor::STOPPING);
                tracing::info!(delay_ms = delay.as_millis() as u64, "draining");
                stage = Stage::Leaving(Instant::now() + delay);
                delay.is_zero()
            }
            (Ok(Notice::Terminate), _) => {
                tracing::warn!("asked a second time to end; not waiting for the drain");
                return Err(ServeError::Impatient);
            }
            (Ok(Notice::Reload), Stage::Serving) => {
                engine.reload(&source);
                false
            }
            (Ok(Notice::Reload), _) => {
                tracing::warn!("SIGHUP: the server is about to end; its settings stay");
                false
            }
            (Ok(Notice::Ended(ended)), _) => {
                running -= 1;
                result = result.and(ended);
                true
            }
            (Err(RecvTimeoutError::Timeout), Stage::Leaving(_)) => true,
            (Err(RecvTimeoutError::Timeout), _) => false,
            // The signals' thread holds a sender for good.
            (Err(RecvTimeoutError::Disconnected), _) => break,
        };
        if drains && !matches!(stage, Stage::Draining) {
            stage = Stage::Draining;
            engine.drain();
        }
        if running == engine.fronts() {
            engine.stop_front();
        }
    }
    debug_assert!(engine.shared.draining.load(Ordering::Relaxed));
    tracing::info!("ended");
    result
}

/// A wait that the next notice ends.
const FOR_EVER: Duration = Duration::from_secs(86_400);
