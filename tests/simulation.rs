//! The simulated world, seed by seed: a fixed set, and some that nobody has seen before.
//!
//! ```text
//! cargo test --test simulation                                      the fixed set and a few fresh seeds
//! SIGMUX_SIM_SEED=7 cargo test --test simulation replay             one seed once more, line by line
//! SIGMUX_SIM_HOURS=2 cargo test --test simulation fresh             fresh seeds for two hours
//! ```

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sigmux::sim::scenario::{self, Coverage, Summary};

const FIXED_SEEDS: u64 = 2_000;
/// Without another wish.
const FRESH_SEEDS: u64 = 300;

/// Runs a seed; a failure ends the test with the command that shows it again.
fn run(seed: u64) -> Summary {
    let failure = match catch_unwind(AssertUnwindSafe(|| scenario::run(seed))) {
        Ok(Ok(summary)) => return summary,
        Ok(Err(violation)) => violation.to_string(),
        Err(_) => "a panic, shown above".to_owned(),
    };
    panic!("seed {seed}: {failure}\nto replay: SIGMUX_SIM_SEED={seed} cargo test --test simulation replay");
}

#[test]
fn the_fixed_seeds_hold_and_meet_every_fault() {
    let mut coverage = Coverage::default();
    let (mut messages, mut deliveries) = (0, 0);
    for seed in 0..FIXED_SEEDS {
        let summary = run(seed);
        coverage.merge(&summary.coverage);
        (messages, deliveries) = (messages + summary.messages, deliveries + summary.deliveries);
    }
    println!("{FIXED_SEEDS} seeds, {messages} messages, {deliveries} deliveries\n{coverage}");
    let missed: Vec<_> =
        scenario::fault_space().into_iter().filter(|what| coverage.times(what) == 0).collect();
    assert!(missed.is_empty(), "no seed meets: {missed:?}");
}

#[test]
fn fresh_seeds_hold() {
    let hours: Option<f64> =
        env::var("SIGMUX_SIM_HOURS").ok().map(|hours| hours.parse().expect("a number of hours"));
    let time = hours.map(|hours| Duration::from_secs_f64(hours * 3600.0));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set");
    let (first, began) = (now.as_nanos() as u64, Instant::now());
    let (mut coverage, mut seeds, mut messages) = (Coverage::default(), 0, 0);
    while time.map_or(seeds < FRESH_SEEDS, |time| began.elapsed() < time) {
        let summary = run(first.wrapping_add(seeds));
        (seeds, messages) = (seeds + 1, messages + summary.messages);
        coverage.merge(&summary.coverage);
    }
    println!("{seeds} seeds from {first} on, {messages} messages\n{coverage}");
}

/// Tells what happens up to the failure; with `--nocapture` also where there is none.
#[test]
fn replay() {
    let Ok(seed) = env::var("SIGMUX_SIM_SEED") else { return };
    let seed = seed.parse().expect("a seed is a number");
    let told = scenario::narrate(seed, Some(Box::new(|line| println!("{line}"))));
    match told {
        Ok(summary) => assert_eq!(summary, run(seed), "seed {seed} does not give one run"),
        Err(violation) => panic!("seed {seed}: {violation}"),
    }
}
