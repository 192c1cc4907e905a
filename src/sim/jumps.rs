//! The machine's clock is set, and the settings change, while clients are connected.

use std::time::Duration;

use super::*;
use crate::wire::frame::write_frame;

const DAY_MS: u64 = 86_400_000;
const START_MS: u64 = 1_700_000_000_000;

fn world(settings: session::Settings) -> Sim {
    let size = Size { shards: 2, inbox_messages_max: 1024, events_max: 1024, seed: 1 };
    Sim::new(&size, settings, &limits())
}

fn frame(message_type: u8, payload: &str) -> Vec<u8> {
    let mut out = Vec::new();
    write_frame(&mut out, message_type, &[1; 16], 2, |out| out.extend_from_slice(payload.as_bytes()))
        .expect("short payloads");
    out
}

fn log_in(sim: &mut Sim, shard: usize, id: &str) -> ClientId {
    let client = sim.connect(shard);
    sim.write(client, &frame(0x01, &format!(r#"{{"client_id":"{id}","auth_token":"t"}}"#)));
    sim.settle();
    assert_eq!(sim.read(client)[1], 0x02, "{id} is logged in");
    client
}

/// Whether an offer arrives.
fn reaches(sim: &mut Sim, from: ClientId, to: ClientId, id: &str) -> bool {
    sim.write(from, &frame(0x10, &format!(r#"{{"target_client_id":"{id}","signal_data":"x"}}"#)));
    sim.settle();
    sim.read(from);
    !sim.read(to).is_empty()
}

#[test]
fn a_clock_that_is_set_ends_nobody_early_and_keeps_nobody_longer() {
    for jump_ms in [0, START_MS - DAY_MS, START_MS + 3650 * DAY_MS] {
        let mut sim = world(settings());
        let (alice, bob) = (log_in(&mut sim, 0, "alice"), log_in(&mut sim, 1, "bob"));
        let silent = sim.connect(0);
        sim.pass(Duration::from_secs(5));
        sim.set_wall_clock(jump_ms);
        assert!(reaches(&mut sim, alice, bob, "bob"), "after a jump to {jump_ms}");
        // Half of its ten seconds are over, however late it is by the other clock.
        sim.pass(Duration::from_secs(4));
        assert!(!sim.is_closed(silent) && !sim.is_closed(alice) && !sim.is_closed(bob));
        sim.pass(Duration::from_secs(2));
        assert!(sim.is_closed(silent), "its ten seconds are over");
        // An hour of silence ends a session, by the steady clock alone.
        sim.pass(Duration::from_secs(3500));
        assert!(reaches(&mut sim, alice, bob, "bob"), "after a jump to {jump_ms}");
        sim.pass(Duration::from_secs(120));
        assert!(sim.is_closed(bob) && !sim.is_closed(alice), "bob has not sent a byte for an hour");
    }
}

#[test]
fn a_deadline_that_a_reload_brings_nearer_holds_for_those_who_are_there() {
    let mut sim = world(settings());
    let (alice, bob) = (log_in(&mut sim, 0, "alice"), log_in(&mut sim, 1, "bob"));
    sim.pass(Duration::from_secs(20));
    assert!(reaches(&mut sim, alice, bob, "bob"));
    let mut shorter = settings();
    shorter.limits.session_timeout = Duration::from_secs(60);
    sim.reload(shorter, limits());
    sim.pass(Duration::from_secs(35));
    assert!(!sim.is_closed(bob), "it has been silent for 55 seconds");
    sim.pass(Duration::from_secs(10));
    assert!(sim.is_closed(bob) && !sim.is_closed(alice));
}

#[test]
fn new_credentials_are_for_new_logins_and_old_limits_end_with_the_reload() {
    let mut sim = world(settings());
    let (alice, bob) = (log_in(&mut sim, 0, "alice"), log_in(&mut sim, 1, "bob"));
    let mut strict = settings();
    let mut dialects = (*strict.dialects).clone();
    dialects.binary.auth = Arc::new(Authenticator::new(&Credentials::Token(Vec::new())));
    dialects.binary.message_rate = 1;
    strict.dialects = Arc::new(dialects);
    sim.reload(strict, Limits { connections_max: 3, ..limits() });
    assert!(reaches(&mut sim, alice, bob, "bob"), "who is there stays");
    assert!(!reaches(&mut sim, alice, bob, "bob"), "a second message within the second");
    let late = sim.connect(0);
    sim.write(late, &frame(0x01, r#"{"client_id":"carol","auth_token":"t"}"#));
    sim.settle();
    assert!(String::from_utf8_lossy(&sim.read(late)).contains("401"));
    let too_many = sim.connect(1);
    sim.write(too_many, &frame(0x01, r#"{"client_id":"dave","auth_token":"t"}"#));
    sim.settle();
    assert!(String::from_utf8_lossy(&sim.read(too_many)).contains("503"));
}
