//! The header of the PROXY protocol: before TLS, and before the session sees a byte. Until it has come
//! the session waits for its first byte, and for no longer than for that.

use super::core::Shard;
use crate::base::PeerKey;
use crate::ring::ConnId;
use crate::wire::proxy;

/// What has come of a header.
#[derive(Default)]
pub struct Preface {
    received: Vec<u8>,
}

impl Shard {
    /// As [`Shard::received`], up to the end of the header.
    pub(super) fn received_preface(&mut self, conn: ConnId, bytes: &mut [u8]) {
        let ConnId { slot, generation } = conn;
        let world = &mut self.world;
        let Some(port) = world.ports.get(slot, generation) else { return };
        let Some(mut preface) = port.preface.take() else { return };
        // It comes in one piece but for a proxy that means harm.
        let is_first = preface.received.is_empty();
        if !is_first {
            preface.received.extend_from_slice(bytes);
        }
        match proxy::parse(if is_first { bytes } else { &preface.received }) {
            Ok(None) => {
                if is_first {
                    preface.received.extend_from_slice(bytes);
                }
                port.preface = Some(preface);
            }
            Ok(Some(header)) => {
                let key = PeerKey { node: world.node, slot, generation };
                let refusal = header.client.and_then(|client| world.client_is(key, client));
                if let (Some(refusal), Some(session)) = (refusal, self.sessions.get_mut(slot, generation)) {
                    session.refuse(refusal);
                }
                let received = if is_first { bytes } else { &mut preface.received };
                let behind = &mut received[header.bytes..];
                if !behind.is_empty() {
                    self.received_in_order(conn, behind);
                }
            }
            Err(_) => {
                // It has not begun, and there is nobody to tell.
                port.tls = None;
                world.metrics.proxy_headers_refused.add(1);
                self.call(conn, |session, settings, call| session.broken_off(settings, call));
            }
        }
    }
}
