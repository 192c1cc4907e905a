//! Floor 5: one process out of its parts.
//!
//! Owns the clocks, the source of randomness, the threads, and the order in which things start and
//! end: sockets are bound before any thread runs, `--print-ports` is answered when everything
//! listens, and the front outlives the shards, whose last tunnels it serves. Knows no protocol.

mod apis;
mod assembly;
mod clock;
mod dialects;
mod entropy;
mod error;
mod listen;
mod signals;

pub use error::ServeError;

use std::sync::atomic::Ordering;
use std::sync::mpsc;

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

/// Serves until a signal ends it and the drain is over.
///
/// # Errors
/// Nothing was started (an address is taken, io_uring is not to be had), or a part of the engine
/// failed while it ran; then everything else has been shut down too.
pub fn serve(settings: Settings, print_ports: bool) -> Result<(), ServeError> {
    let (notices, inbox) = mpsc::channel();
    signals::forward(notices.clone()).map_err(ServeError::Signals)?;
    let engine = Engine::start(&settings, notices)?;
    if print_ports {
        engine.print_ports()?;
    }
    let mut result = Ok(());
    let mut running = engine.threads();
    let mut draining = false;
    while running > 0 {
        // The signals' thread holds a sender for good.
        let Ok(notice) = inbox.recv() else { break };
        match notice {
            Notice::Terminate if draining => {
                tracing::warn!("asked a second time to end; not waiting for the drain");
                return Err(ServeError::Impatient);
            }
            Notice::Terminate => tracing::info!("draining"),
            Notice::Reload => {
                tracing::warn!("SIGHUP: this version does not reload its settings; restart it instead");
                continue;
            }
            Notice::Ended(ended) => {
                running -= 1;
                result = result.and(ended);
            }
        }
        if !draining {
            draining = true;
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
