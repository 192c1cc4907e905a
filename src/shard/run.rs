//! The turn loop over the ring.

use std::sync::Arc;
use std::time::Duration;

use super::core::Shard;
use super::wheel::TICK;
use crate::base::{NodeId, Now};
use crate::ring::{BellTarget, Completion, EndCause, Errno, FrontBell, Ring};

/// Completions handled in one turn before anything is sent.
const COMPLETIONS_A_TURN_MAX: usize = 2048;

/// How a shard wakes the other nodes.
pub struct Bells {
    pub shards: Vec<BellTarget>,
    pub front: Arc<FrontBell>,
}

/// Runs a shard until it has been drained.
///
/// # Errors
/// The ring is lost, and with it the shard's connections.
pub fn run(
    shard: &mut Shard,
    ring: &mut Ring,
    bells: &Bells,
    busy_poll: Duration,
    mut clock: impl FnMut() -> Now,
) -> Result<(), Errno> {
    ring.tick_every(TICK);
    loop {
        shard.begin_turn(clock());
        let mut handled = 0;
        let mut ticked = false;
        while handled < COMPLETIONS_A_TURN_MAX
            && let Some(completion) = ring.next_completion()
        {
            handled += 1;
            ticked |= matches!(completion, Completion::Tick);
            handle(completion, shard, ring);
        }
        let more_mail = shard.drain_inbox(ring);
        if !more_mail && shard.wants_drain() {
            shard.begin_drain(ring);
        }
        if ticked {
            shard.tick(ring);
        }
        shard.flush(ring, |ring, node| pull(bells, ring, node));
        if shard.is_drained() {
            shard.end();
            return ring.turn(false);
        }
        if handled == COMPLETIONS_A_TURN_MAX || more_mail {
            ring.turn(false)?;
        } else if shard.has_overflow() {
            // Another node is behind; nothing will tell when it has room again.
            ring.turn(false)?;
            std::thread::yield_now();
        } else {
            sleep(shard, ring, busy_poll, &mut clock)?;
        }
    }
}

fn sleep(
    shard: &Shard,
    ring: &mut Ring,
    busy_poll: Duration,
    clock: &mut impl FnMut() -> Now,
) -> Result<(), Errno> {
    if !busy_poll.is_zero() {
        let until = clock().plus(busy_poll);
        if ring.spin(|| !shard.has_mail() && clock().mono_us < until)? || shard.has_mail() {
            return Ok(());
        }
    }
    let asleep = shard.fall_asleep();
    let result = ring.turn(asleep);
    shard.wake_up();
    result
}

fn handle(completion: Completion, shard: &mut Shard, ring: &mut Ring) {
    match completion {
        Completion::Accepted { listener, socket } => shard.accepted(listener, socket, ring),
        Completion::AcceptEnded { listener, error } => shard.accept_ended(listener, &error),
        Completion::Received { conn, buffer, len } => {
            shard.received(conn, ring.buffer(&buffer, len));
            ring.recycle(buffer);
            shard.after_received(conn, ring);
        }
        Completion::ReceiveEnded { conn, cause } => match cause {
            EndCause::Eof => shard.peer_ended(conn, ring),
            EndCause::NoBuffers | EndCause::Cancelled | EndCause::Once => shard.receive_stopped(conn, ring),
            EndCause::Error(_) => shard.broken(conn, ring),
        },
        Completion::Sent { conn, buffer, result } => shard.sent(conn, buffer, result.ok(), ring),
        Completion::Closed { conn } => shard.closed(conn),
        // The turn itself looks at the clock and into the inbox.
        Completion::Tick | Completion::Bell => {}
    }
}

fn pull(bells: &Bells, ring: &mut Ring, node: NodeId) {
    if node.is_front() {
        bells.front.ring();
    } else if let Some(target) = bells.shards.get(node.index()) {
        ring.ring_bell(target);
    }
}
