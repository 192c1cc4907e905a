//! `sigmux load`: a generator of load that checks what it measures.
//!
//! Owns the plan of a run, its connections on a ring of their own, their pace, the check of every
//! message that arrives, and the report. One thread, which can be bound to a core.
//!
//! Invariant: nothing is sent that is not counted, and nothing that arrives goes unchecked. The
//! measurement does not wait for the server: in open loop a message's time begins when it is due.
//!
//! Must not know the engine: it speaks the protocols from their documents, so that it measures other
//! servers as well.

mod arguments;
mod arrivals;
mod dialects;
mod drive;
mod http;
mod inbound;
mod links;
mod marks;
mod measure;
mod pacing;
mod payloads;
mod phases;
mod plan;
mod process;
mod report;
mod run;
mod sealed;
mod websocket;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use signal_hook::consts::SIGINT;

use crate::ring;
use arguments::Dialect;
use dialects::Access;
use drive::Drive;
use http::Api;
use plan::Plan;
use report::Report;
use run::Run;

pub use arguments::{AFTER_HELP, LoadArguments};

/// Why there is no result.
#[derive(Debug)]
pub enum Failure {
    /// The flags do not fit together.
    Usage(String),
    /// There was no load, or nobody to tell the result to.
    Run(String),
}

/// Makes the load and writes the result. Says whether every message arrived once, in order and
/// unchanged.
///
/// # Errors
/// [`Failure`], in words for the one who asked for it.
pub fn run(arguments: &LoadArguments, out: &mut impl Write, err: &mut impl Write) -> Result<bool, Failure> {
    let plan = Plan::new(arguments).map_err(Failure::Usage)?;
    let report = measure(&plan, err).map_err(Failure::Run)?;
    let text = if arguments.json { report.json() + "\n" } else { report.table() };
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::Run(format!("cannot write to stdout: {error}")))?;
    Ok(report.is_clean())
}

fn measure(plan: &Plan, err: &mut impl Write) -> Result<Report, String> {
    let open_files = ring::raise_open_files();
    // In `calls` each sends over a socket of its own.
    let sockets = if plan.dialect == Dialect::Calls { 2 } else { 1 };
    if u64::from(plan.connections) * sockets + FILES_BESIDE > open_files {
        let _ = writeln!(err, "sigmux: note: only {open_files} files may be open; see `ulimit -n`");
    }
    if let Some(core) = plan.core {
        ring::pin_to_core(core)
            .map_err(|_| format!("core {core} is not one of {:?}", ring::allowed_cores()))?;
    }
    // Ends the measurement, not the report; the second one ends the process.
    let interrupted = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register_conditional_default(SIGINT, interrupted.clone())
        .and_then(|_| signal_hook::flag::register(SIGINT, interrupted.clone()))
        .map_err(|error| format!("no signals: {error}"))?;

    let mut api = Api::new(plan);
    let access = Access::obtain(plan, &mut api, of_this_run())?;
    let templates = access.templates(plan)?;
    let mut run = Run::new(plan, &access, templates, Instant::now());
    let outcome = Drive::new(&mut run)?.run(&interrupted, err)?;
    access.give_back(&mut api);
    Ok(Report::new(plan, &run, &outcome))
}

/// The ring, the standard streams, and what is read in between.
const FILES_BESIDE: u64 = 32;

/// Tells the calls of this run from those of the run before, whose seats may still be held.
fn of_this_run() -> u32 {
    let mut bytes = [0; 4];
    // Without randomness there is the process.
    match getrandom::fill(&mut bytes) {
        Ok(()) => u32::from_ne_bytes(bytes),
        Err(_) => std::process::id(),
    }
}
