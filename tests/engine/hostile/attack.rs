//! The frame of an attack: calm before it, figures in it, nothing left behind it.

use std::time::Duration;

use super::honest::{Honest, Kind, NOISE};
use crate::harness::*;
use crate::leaks::{descriptors_of, pss_kib};

/// Rounds of the honest ones before the attack.
const CALM_ROUNDS: usize = 3;

/// How long one attack goes on.
pub const LASTS: Duration = Duration::from_millis(700);

/// Readings in a row, 10 ms apart, that descriptors have to stay at what they were.
const SETTLED: usize = 10;

/// What the second attack may leave behind beside the first: the allocator keeps some of what it was
/// given, and the honest ones go on meanwhile.
const KEPT_KIB: u64 = 3072;

/// What the first attack may leave behind: tables at their largest, and code that had not run before.
const WARMED_KIB: u64 = 8192;

/// Other processes of the machine slow the honest ones down, too, and never make them faster: an attack
/// that seems to hurt is tried again this often.
const TRIES_MAX: usize = 3;

/// Attacks twice. The honest ones' p99 stays within twice what it was before; then descriptors and
/// memory are what they were after the first attack, which has seen the tables at their largest.
///
/// An attack goes on for about [`LASTS`] and says what it has done.
pub async fn withstands(
    what: &str,
    server: &Server,
    kinds: &'static [Kind],
    attack: impl AsyncFnMut(&Server) -> String,
) {
    withstands_keeping(KEPT_KIB, what, server, kinds, attack).await;
}

/// The same where each attack has the allocator keep up to `kept_kib` more.
pub async fn withstands_keeping(
    kept_kib: u64,
    what: &str,
    server: &Server,
    kinds: &'static [Kind],
    mut attack: impl AsyncFnMut(&Server) -> String,
) {
    let honest = Honest::begin(server.main(), kinds).await;
    let before = honest.after_rounds(CALM_ROUNDS).await;
    let descriptors = descriptors_of(server);
    let calm_kib = pss_kib(server);

    let mut hurt = true;
    for _ in 0..TRIES_MAX {
        honest.p99s_or_nothing();
        let figures = attack(server).await;
        let during = honest.p99s();
        println!("{what}: {figures}; p99 of {kinds:?} {before:?} before, {during:?} during");
        returns_to(server, descriptors).await;
        hurt = before.iter().zip(&during).any(|(before, during)| *during > NOISE.max(2 * *before));
        if !hurt {
            break;
        }
    }
    assert!(!hurt, "{what}: the p99 of honest clients is over twice what it was, {TRIES_MAX} times");
    let first_kib = pss_kib(server);
    attack(server).await;
    returns_to(server, descriptors).await;
    let last_kib = pss_kib(server);
    println!(
        "{what}: {descriptors} descriptors; {calm_kib} KiB before, {first_kib} KiB, then {last_kib} KiB"
    );
    let warmed_kib = WARMED_KIB.max(kept_kib);
    assert!(first_kib <= calm_kib + warmed_kib, "{what}: memory went from {calm_kib} KiB to {first_kib} KiB");
    let kept_most = (first_kib + KEPT_KIB).max(calm_kib + kept_kib);
    assert!(last_kib <= kept_most, "{what}: memory went from {first_kib} KiB to {last_kib} KiB");
}

async fn returns_to(server: &Server, descriptors: usize) {
    let mut settled = 0;
    until("descriptors return", async || {
        settled = if descriptors_of(server) <= descriptors { settled + 1 } else { 0 };
        (settled == SETTLED).then_some(())
    })
    .await;
}
