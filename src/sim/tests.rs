//! Promises of the shards that sockets make hard to show: what happens at exactly which moment.

use std::time::Duration;

use super::*;
use crate::wire::frame::{HEADER_BYTES, streaming, write_frame};

const OFFER: u8 = 0x10;
const ERROR: u8 = 0xFF;

fn world(shards: usize, inbox_messages_max: usize) -> Sim {
    world_with(shards, inbox_messages_max, &limits())
}

fn world_with(shards: usize, inbox_messages_max: usize, limits: &Limits) -> Sim {
    let size = Size { shards, inbox_messages_max, events_max: 1024, seed: 1 };
    Sim::new(&size, settings(), limits)
}

fn frame(message_type: u8, uuid: u8, payload: &str) -> Vec<u8> {
    let mut out = Vec::new();
    write_frame(&mut out, message_type, &[uuid; 16], 2, |out| out.extend_from_slice(payload.as_bytes()))
        .expect("short payloads");
    out
}

fn log_in(sim: &mut Sim, shard: usize, id: &str) -> ClientId {
    let client = sim.connect(shard);
    sim.write(client, &frame(0x01, 0, &format!(r#"{{"client_id":"{id}","auth_token":"t"}}"#)));
    sim.settle();
    assert_eq!(kinds(&sim.read(client)), [(0x02, 0)], "{id} is logged in");
    client
}

fn offer(uuid: u8, to: &str) -> Vec<u8> {
    frame(OFFER, uuid, &format!(r#"{{"target_client_id":"{to}","signal_data":"{}"}}"#, "x".repeat(900)))
}

/// Type and first byte of the uuid of each frame.
fn kinds(mut bytes: &[u8]) -> Vec<(u8, u8)> {
    let mut kinds = Vec::new();
    while !bytes.is_empty() {
        let frame = streaming(bytes).unwrap_or_else(|_| panic!("{} bytes are no frame", bytes.len()));
        kinds.push((frame.message_type, frame.uuid[0]));
        bytes = &bytes[HEADER_BYTES + frame.payload.len()..];
    }
    kinds
}

#[test]
fn order_holds_across_shards_and_on_one() {
    for target in [0, 1] {
        let mut sim = world(2, 1024);
        let (alice, bob) = (log_in(&mut sim, 0, "alice"), log_in(&mut sim, target, "bob"));
        let sent: Vec<u8> = (0..200).flat_map(|n| offer(n, "bob")).collect();
        for chunk in sent.chunks(777) {
            sim.write(alice, chunk);
            sim.settle();
        }
        let expected: Vec<_> = (0..200).map(|n| (OFFER, n)).collect();
        assert_eq!(kinds(&sim.read(bob)), expected);
        assert_eq!(sim.metrics(target).delivered.get(), 200);
    }
}

#[test]
fn what_waits_in_an_outbox_when_its_connection_ends_goes_back_to_its_senders() {
    for sender in [0, 1] {
        let mut sim = world(2, 1024);
        let (alice, bob) = (log_in(&mut sim, sender, "alice"), log_in(&mut sim, 0, "bob"));
        sim.stall(bob, true);
        // The first is in flight and not taken, the others wait behind it.
        for n in 1..=3 {
            sim.write(alice, &offer(n, "bob"));
            sim.settle();
        }
        assert_eq!(kinds(&sim.read(alice)), []);
        sim.hang_up(bob);
        sim.settle();
        // Its end is in sight; what is queued is still tried until the time for closing is over.
        sim.pass(Duration::from_secs(6));
        assert!(sim.is_closed(bob));
        assert_eq!(kinds(&sim.read(alice)), [(ERROR, 1), (ERROR, 2), (ERROR, 3)]);
        assert_eq!(kinds(&sim.read(bob)), []);
    }
}

#[test]
fn a_paused_shard_holds_its_feeders_then_their_senders_are_told_and_nothing_is_lost() {
    let mut sim = world(2, 8);
    let (alice, bob) = (log_in(&mut sim, 0, "alice"), log_in(&mut sim, 1, "bob"));
    let (carol, dave) = (log_in(&mut sim, 0, "carol"), log_in(&mut sim, 0, "dave"));
    sim.pause(1, true);
    for n in 0..40 {
        sim.write(alice, &offer(n, "bob"));
        sim.settle();
    }
    assert_eq!(sim.inbox_depth(1), 8, "the inbox is bounded");
    assert_eq!(sim.metrics(0).held_back.get(), 1, "alice is not read from");
    sim.write(carol, &offer(7, "dave"));
    sim.settle();
    assert_eq!(kinds(&sim.read(dave)), [(OFFER, 7)], "nobody else slows down");

    sim.pass(Duration::from_millis(250));
    let told = kinds(&sim.read(alice));
    assert!(!told.is_empty() && told.iter().all(|&(kind, _)| kind == ERROR));
    sim.pause(1, false);
    sim.pass(Duration::from_secs(1));
    let mut seen: Vec<u8> = told.iter().chain(&kinds(&sim.read(alice))).map(|&(_, n)| n).collect();
    let delivered: Vec<u8> = kinds(&sim.read(bob)).into_iter().map(|(_, n)| n).collect();
    assert!(delivered.is_sorted(), "{delivered:?}");
    seen.extend(delivered);
    seen.sort_unstable();
    assert_eq!(seen, (0..40).collect::<Vec<u8>>(), "each was delivered or answered, once");
}

#[test]
fn a_message_to_a_connection_that_was_replaced_on_the_way_is_answered_and_not_misdelivered() {
    let mut sim = world(2, 64);
    let (alice, old) = (log_in(&mut sim, 0, "alice"), log_in(&mut sim, 1, "bob"));
    sim.pause(1, true);
    sim.write(alice, &offer(1, "bob"));
    sim.settle();
    // While the parcel is on its way, its target goes, and its slot is taken by another.
    sim.pause(1, false);
    sim.hang_up(old);
    sim.pause(0, true);
    let new = sim.connect(1);
    sim.settle();
    sim.pause(0, false);
    sim.settle();
    let (to_old, to_alice) = (kinds(&sim.read(old)), kinds(&sim.read(alice)));
    assert_eq!(kinds(&sim.read(new)), []);
    assert!(to_old == [(OFFER, 1)] || to_alice == [(ERROR, 1)], "{to_old:?} {to_alice:?}");
    assert!(to_old.is_empty() || to_alice.is_empty(), "never both");
}

#[test]
fn a_reader_that_stays_over_its_limit_is_cut_and_its_queue_is_answered() {
    let mut sim = world(1, 64);
    let (alice, bob) = (log_in(&mut sim, 0, "alice"), log_in(&mut sim, 0, "bob"));
    sim.stall(bob, true);
    let mut sent = 0u32;
    let mut told = Vec::new();
    while told.is_empty() {
        sim.write(alice, &offer(sent as u8, "bob"));
        sim.settle();
        sent += 1;
        told = kinds(&sim.read(alice));
    }
    assert!(sent > 100, "its outbox takes 128 KiB first, not {sent} messages");
    assert!(!sim.is_closed(bob));
    sim.pass(Duration::from_secs(6));
    told.extend(kinds(&sim.read(alice)));
    assert_eq!(sim.metrics(0).slow_consumers_cut.get(), 1);
    // Only what is in flight is still open; it is answered when the connection is closed.
    sim.pass(Duration::from_secs(6));
    told.extend(kinds(&sim.read(alice)));
    assert!(sim.is_closed(bob));
    assert_eq!(told.len() as u32, sent, "all were answered, since it read nothing");
}

#[test]
fn a_reader_that_recovers_once_is_still_cut_when_it_stops_again() {
    let mut sim = world(1, 64);
    let (alice, bob) = (log_in(&mut sim, 0, "alice"), log_in(&mut sim, 0, "bob"));
    let fill = |sim: &mut Sim| {
        while kinds(&sim.read(alice)).is_empty() {
            sim.write(alice, &offer(1, "bob"));
            sim.settle();
        }
    };
    sim.stall(bob, true);
    fill(&mut sim);
    sim.pass(Duration::from_secs(4));
    sim.stall(bob, false);
    sim.settle();
    assert!(!sim.read(bob).is_empty());
    sim.stall(bob, true);
    fill(&mut sim);
    // The first time's deadline passes, and the second time's has to be kept.
    sim.pass(Duration::from_secs(4));
    assert_eq!(sim.metrics(0).slow_consumers_cut.get(), 0);
    sim.pass(Duration::from_secs(2));
    assert_eq!(sim.metrics(0).slow_consumers_cut.get(), 1);
}

#[test]
fn silence_is_closed_at_its_time_and_not_before() {
    let mut sim = world(1, 64);
    let silent = sim.connect(0);
    sim.pass(Duration::from_millis(9_900));
    assert!(!sim.is_closed(silent));
    sim.pass(Duration::from_millis(200));
    assert!(sim.is_closed(silent), "it has not said what it is within 10 s");
    assert_eq!(sim.read(silent), b"");

    let alice = log_in(&mut sim, 0, "alice");
    sim.pass(Duration::from_secs(3_599));
    assert!(!sim.is_closed(alice));
    sim.pass(Duration::from_secs(2));
    assert!(sim.is_closed(alice), "plain TCP has the session's timeout alone");
}

#[test]
fn a_session_that_fails_is_told_500_and_the_others_go_on() {
    let mut sim = world(1, 64);
    let (alice, bob) = (log_in(&mut sim, 0, "alice"), log_in(&mut sim, 0, "bob"));
    sim.break_session(bob);
    sim.settle();
    let told = sim.read(bob);
    assert_eq!(kinds(&told), [(ERROR, 0)]);
    assert!(String::from_utf8_lossy(&told).contains("\"error_code\":500"));
    assert!(sim.is_closed(bob));
    sim.write(alice, &offer(1, "bob"));
    sim.settle();
    assert_eq!(kinds(&sim.read(alice)), [(ERROR, 1)], "its id went with it");
    assert_eq!((sim.metrics(0).panics.get(), sim.metrics(0).connections.get()), (1, 1));
}

/// Every uuid of `sent` was delivered to one of the targets or answered to its sender, once.
fn assert_accounted_for(sent: u32, delivered: &[(u8, u8)], answered: &[(u8, u8)]) {
    assert!(delivered.iter().all(|&(kind, _)| kind == OFFER), "{delivered:?}");
    // The nil uuid is the server's own word on its end.
    let answers = answered.iter().filter(|&&answer| answer != (ERROR, 0)).count();
    assert_eq!((delivered.len() + answers) as u32, sent);
}

#[test]
fn a_client_that_half_closes_behind_its_messages_hears_of_each_that_fails() {
    for targets_shard in [0, 1] {
        let mut sim = world(2, 8);
        let (alice, bob) = (log_in(&mut sim, 0, "alice"), log_in(&mut sim, targets_shard, "bob"));
        sim.pause(1, true);
        sim.stall(bob, targets_shard == 0);
        for n in 0..200 {
            sim.write(alice, &offer(1 + n, "bob"));
            sim.write(alice, &offer(1 + n, "nobody"));
        }
        sim.hang_up(alice);
        sim.settle();
        sim.pause(1, false);
        sim.stall(bob, false);
        sim.pass(Duration::from_secs(3));
        assert_accounted_for(400, &kinds(&sim.read(bob)), &kinds(&sim.read(alice)));
        assert!(sim.is_closed(alice), "and then it is closed");
    }
}

#[test]
fn a_client_that_half_closes_before_it_reads_its_answers_gets_them_all() {
    let mut sim = world(1, 64);
    let alice = log_in(&mut sim, 0, "alice");
    sim.stall(alice, true);
    let sent: Vec<u8> = (0..2_000).flat_map(|n| offer(1 + (n % 200) as u8, "nobody")).collect();
    sim.write(alice, &sent);
    sim.hang_up(alice);
    sim.settle();
    let mut answered = Vec::new();
    // It takes what there is, and the rest is worked off behind that.
    for _ in 0..100 {
        sim.stall(alice, false);
        sim.settle();
        answered.extend(kinds(&sim.read(alice)));
    }
    assert_accounted_for(2_000, &[], &answered);
    assert!(sim.is_closed(alice));
}

#[test]
fn a_drain_ends_although_nobody_reads_and_the_inboxes_are_full() {
    let mut sim = world(2, 8);
    let alice = log_in(&mut sim, 1, "alice");
    let readers = ["b1", "b2", "b3"].map(|id| log_in(&mut sim, 0, id));
    for (reader, id) in readers.into_iter().zip(["b1", "b2", "b3"]) {
        sim.stall(reader, true);
        for n in 0..60 {
            sim.write(alice, &offer(1 + n, id));
            sim.settle();
        }
    }
    sim.drain();
    sim.pass(Duration::from_millis(2_100));
    assert!(sim.has_ended(0) && sim.has_ended(1), "2 s are the time for draining");
}

#[test]
fn what_was_accepted_before_a_drain_is_delivered_or_answered_before_the_goodbye() {
    let mut sim = world(2, 8);
    let (alice, bob) = (log_in(&mut sim, 0, "alice"), log_in(&mut sim, 1, "bob"));
    sim.pause(1, true);
    for n in 0..30 {
        sim.write(alice, &offer(1 + n, "bob"));
        sim.settle();
    }
    sim.drain();
    sim.settle();
    sim.pause(1, false);
    sim.pass(Duration::from_secs(3));
    let (to_bob, to_alice) = (sim.read(bob), kinds(&sim.read(alice)));
    let to_bob: Vec<_> = kinds(&to_bob).into_iter().filter(|&kind| kind != (ERROR, 0)).collect();
    let accepted = (to_bob.len() + to_alice.iter().filter(|&&kind| kind != (ERROR, 0)).count()) as u32;
    assert!(to_bob.len() >= 8, "the inbox's worth is delivered");
    // What was never read from the socket was never accepted.
    assert!(accepted >= 8 && to_alice.last() == Some(&(ERROR, 0)), "the goodbye is last: {to_alice:?}");
    let mut seen: Vec<u8> =
        to_bob.iter().chain(&to_alice).filter(|k| **k != (ERROR, 0)).map(|k| k.1).collect();
    seen.sort_unstable();
    assert_eq!(seen, (1..=accepted as u8).collect::<Vec<_>>(), "no gap below the last accepted");
    assert!(sim.has_ended(0) && sim.has_ended(1));
}

#[test]
fn a_thousand_readers_that_are_cut_one_by_the_other_do_not_exhaust_the_stack() {
    const CLIENTS: usize = 1_000;
    let story = || {
        let small = Limits {
            connections_max: 2 * CLIENTS,
            outbox_soft_bytes: 1024,
            outbox_hard_bytes: 2048,
            outbox_reserve_bytes: 0,
            ..limits()
        };
        let mut sim = world_with(1, 64, &small);
        let clients: Vec<_> = (0..CLIENTS).map(|n| log_in(&mut sim, 0, &format!("c{n}"))).collect();
        clients.iter().for_each(|&client| sim.stall(client, true));
        // Each fills the outbox of the one before it; nobody reads its answers.
        for (n, &client) in clients.iter().enumerate().skip(1) {
            for _ in 0..3 {
                sim.write(client, &offer(1, &format!("c{}", n - 1)));
            }
        }
        sim.settle();
        sim.pass(Duration::from_secs(20));
        assert!(sim.metrics(0).slow_consumers_cut.get() > CLIENTS as u64 / 2);
        assert_eq!(sim.metrics(0).panics.get(), 0);
    };
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(story).expect("a thread");
    thread.join().expect("the stack suffices");
}

/// The first byte of the uuid of each message that is published as undelivered.
fn undelivered(sim: &Sim) -> Vec<u8> {
    let first_byte = |event: &crate::observe::Event| {
        let uuid = event.details.iter().find(|(name, _)| *name == "uuid").map(|(_, detail)| detail.clone());
        match uuid {
            Some(crate::observe::Detail::Text(uuid)) => {
                u8::from_str_radix(&uuid[..2], 16).expect("hexadecimal")
            }
            _ => panic!("no uuid in {event:?}"),
        }
    };
    let events = std::iter::from_fn(|| sim.events.take());
    events
        .filter(|event| event.event_type == "signal_undeliverable")
        .map(|event| first_byte(&event))
        .collect()
}

#[test]
fn a_message_that_comes_back_to_a_connection_that_has_just_broken_is_published() {
    let mut sim = world(2, 64);
    let (alice, bob) = (log_in(&mut sim, 0, "alice"), log_in(&mut sim, 1, "bob"));
    sim.stall(bob, true);
    sim.write(alice, &offer(7, "bob"));
    sim.settle();
    // The message is on its way back when its sender's connection breaks.
    sim.pause(0, true);
    sim.wires(bob).break_off(bob);
    sim.settle();
    sim.wires(alice).break_off(alice);
    sim.pause(0, false);
    sim.settle();
    assert!(sim.is_closed(alice) && sim.is_closed(bob));
    assert_eq!(undelivered(&sim), [7]);
}

#[test]
fn what_is_still_on_its_way_when_a_drain_is_over_is_published() {
    let mut sim = world(2, 1);
    let (alice, bob) = (log_in(&mut sim, 0, "alice"), log_in(&mut sim, 1, "bob"));
    sim.stall(bob, true);
    for n in 1..=5 {
        sim.write(alice, &offer(n, "bob"));
        sim.settle();
    }
    sim.drain();
    // Its shard ends when its time is over, and by then that of the sender has ended.
    sim.pass(Duration::from_millis(2_100));
    assert!(sim.has_ended(0) && sim.has_ended(1));
    assert_eq!(kinds(&sim.read(bob)), []);
    let mut published = undelivered(&sim);
    published.sort_unstable();
    assert_eq!(published, [1, 2, 3, 4, 5]);
}

#[test]
fn what_a_connection_has_sent_to_itself_is_published_when_it_is_cut() {
    let mut sim = world(1, 64);
    let alice = log_in(&mut sim, 0, "alice");
    sim.stall(alice, true);
    for n in 0..200 {
        sim.write(alice, &offer(n, "alice"));
        sim.settle();
    }
    sim.pass(Duration::from_secs(12));
    assert!(sim.is_closed(alice));
    let mut published = undelivered(&sim);
    published.sort_unstable();
    assert_eq!(published.len(), published.iter().collect::<std::collections::BTreeSet<_>>().len());
    let accepted = published.len() as u8;
    assert!(accepted > 100, "its outbox takes 128 KiB first, not {accepted} messages");
    assert_eq!(published, (0..accepted).collect::<Vec<_>>(), "no gap below the last that was accepted");
}
