//! Connections that speak TLS: what arrives is opened before the session sees it. The way out is
//! [`Port::start_send`](super::port::Port::start_send).

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::core::Shard;
use crate::dialect::Undeliverable;
use crate::observe::TlsFailure;
use crate::ring::ConnId;
use crate::session::{Received, Refusal};

/// Plaintext of one receive that is kept as a buffer for the next one.
const PLAIN_BYTES_KEPT_MAX: usize = 256 * 1024;

impl Shard {
    /// As [`Shard::received`], where the port has TLS.
    pub(super) fn received_sealed(&mut self, conn: ConnId, bytes: &mut [u8]) {
        let mut plain = std::mem::take(&mut self.plain);
        self.open_records(conn, bytes, &mut plain);
        plain.clear();
        if plain.capacity() <= PLAIN_BYTES_KEPT_MAX {
            self.plain = plain;
        }
    }

    fn open_records(&mut self, conn: ConnId, bytes: &mut [u8], plain: &mut Vec<u8>) {
        let ConnId { slot, generation } = conn;
        let world = &mut self.world;
        let Some(port) = world.ports.get(slot, generation) else { return };
        let Some(tls) = &mut port.tls else { return };
        // It stays in its port whatever happens, so that nothing can leave unsealed.
        let Ok(received) = catch_unwind(AssertUnwindSafe(|| tls.receive(bytes, plain))) else {
            tls.give_up();
            world.metrics.panics.add(1);
            tracing::error!(slot, "TLS failed; its connection is closed");
            world.metrics.tls_failures[TlsFailure::Internal as usize].add(1);
            return self.tls_failed(conn, &mut []);
        };
        if !port.is_empty() {
            port.touch(slot, &mut world.touched);
        }
        match received {
            Received::Records { opened, peer_closed } => {
                port.ended |= peer_closed;
                if opened {
                    world.metrics.tls_handshakes.add(1);
                }
                self.call(conn, |session, settings, call| {
                    if plain.is_empty() {
                        session.heard(call.world.now);
                    } else {
                        session.feed(settings, plain, call);
                    }
                    if peer_closed {
                        session.peer_ended(settings, call);
                    }
                });
            }
            Received::Plain => {
                port.tls = None;
                self.call(conn, |session, settings, call| session.feed(settings, bytes, call));
            }
            Received::PlainRefused => {
                port.tls = None;
                world.metrics.tls_failures[TlsFailure::Plaintext as usize].add(1);
                self.call(conn, |session, settings, call| {
                    session.refuse(Refusal::NeedsTls);
                    session.feed(settings, bytes, call);
                });
            }
            Received::Failed(error) => {
                world.metrics.tls_failures[error.failure() as usize].add(1);
                tracing::debug!(slot, %error, "TLS broke off");
                self.tls_failed(conn, plain);
            }
        }
    }

    /// Nothing more can be said on the connection, except for what TLS has as its last word. What
    /// came in good order before counts.
    fn tls_failed(&mut self, conn: ConnId, plain: &mut [u8]) {
        let world = &mut self.world;
        let Some(port) = world.ports.get(conn.slot, conn.generation) else { return };
        let mut lost = Vec::new();
        port.outbox.drop_pending(&mut world.spares, |from, reference| lost.push((from, reference)));
        for (from, reference) in lost {
            world.bounce(from, reference, Undeliverable::NotConnected);
        }
        self.call(conn, |session, settings, call| {
            if !plain.is_empty() {
                session.feed(settings, plain, call);
            }
            session.broken_off(settings, call);
        });
    }
}
