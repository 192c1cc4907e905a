//! The front's turn: the inbox to the tunnels, the streams' steps to the shards.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::bell::Bell;
use super::broadcast::Broadcast;
use super::exchange::Site;
use super::outbound::{Outbound, Outgoing};
use super::post::Post;
use super::run::{Clock, Phase, Ring, Settings};
use super::tunnel::{Tunnel, TunnelStream};
use crate::base::{NodeId, PeerKey};
use crate::dialect::{MessageRef, OwnedDelivery, Undeliverable, untold};
use crate::mesh::{Mesh, Outlets, Parcel, Posted, TunnelStep};
use crate::observe::{EventQueue, ShardMetrics};

/// Parcels taken before the exchanges get their turn.
const PARCELS_PER_TURN_MAX: usize = 256;

/// How soon a shard whose inbox was full is tried again.
const RETRY: Duration = Duration::from_millis(2);

/// Tries to hand over the last steps when the front ends; a shard that takes nothing for this long
/// has ended itself.
const LAST_TRIES_MAX: usize = 100;

/// One tunnel more than the front takes.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    Connection: close\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 26\r\n\
    \r\n\
    Too many HTTP connections\n";

pub(super) struct Pump {
    mesh: Arc<Mesh>,
    clock: Clock,
    bell: Bell,
    ring: Ring,
    outlets: Outlets,
    outbound: Arc<Outbound>,
    /// Empty between turns; kept for its memory.
    taken: VecDeque<(PeerKey, Outgoing)>,
    /// Those whose stream is alive. A tunnel leaves when the pump sees its last step.
    tunnels: BTreeMap<PeerKey, Arc<Tunnel>>,
    tunnels_max: usize,
    window_bytes: usize,
    head_bytes_max: usize,
    site: Rc<Site>,
    broadcast: Option<Arc<Broadcast>>,
    metrics: Arc<ShardMetrics>,
    events: Arc<EventQueue>,
    exchanges: JoinSet<()>,
}

/// What the pump serves beside the tunnels.
pub(super) struct Residence {
    pub(super) post: Post,
    pub(super) broadcast: Option<Arc<Broadcast>>,
    pub(super) metrics: Arc<ShardMetrics>,
    pub(super) events: Arc<EventQueue>,
}

impl Pump {
    pub(super) fn new(
        settings: &Settings,
        site: Rc<Site>,
        mesh: Arc<Mesh>,
        clock: Clock,
        bell: Bell,
        ring: Ring,
        residence: Residence,
    ) -> Pump {
        let Residence { post, broadcast, metrics, events } = residence;
        Pump {
            outlets: Outlets::new(mesh.clone(), settings.mesh),
            mesh,
            clock,
            bell,
            ring,
            outbound: post.0,
            taken: VecDeque::new(),
            tunnels: BTreeMap::new(),
            tunnels_max: settings.tunnels_max,
            window_bytes: settings.tunnel_window_bytes as usize,
            head_bytes_max: settings.head_bytes_max,
            site,
            broadcast,
            metrics,
            events,
            exchanges: JoinSet::new(),
        }
    }

    /// Until the phase is [`Phase::Stopping`] or nobody is left to say so. What is under way then
    /// is cut, and its shards are told.
    ///
    /// # Errors
    /// When the bell fails.
    pub(super) async fn run(mut self, mut phase: watch::Receiver<Phase>) -> io::Result<()> {
        let served = self.serve(&mut phase).await;
        self.finish().await;
        served.and(self.bell.silence().await)
    }

    async fn serve(&mut self, phase: &mut watch::Receiver<Phase>) -> io::Result<()> {
        let mut goodbye_said = false;
        loop {
            let now = *phase.borrow_and_update();
            if now == Phase::Stopping {
                break;
            }
            if now == Phase::Draining
                && !std::mem::replace(&mut goodbye_said, true)
                && let Some(broadcast) = &self.broadcast
            {
                broadcast.disconnect_all();
            }
            let taken = self.take_parcels();
            self.post_steps();
            self.reap();
            if taken == PARCELS_PER_TURN_MAX || !self.mesh.fall_asleep(NodeId::FRONT) {
                tokio::task::yield_now().await;
                continue;
            }
            tokio::select! {
                biased;
                changed = phase.changed() => if changed.is_err() { break },
                pulled = self.bell.was_pulled() => pulled?,
                () = self.outbound.filled() => {}
                () = tokio::time::sleep(RETRY), if self.outlets.waiting() > 0 => {}
            }
            self.mesh.wake_up(NodeId::FRONT);
        }
        Ok(())
    }

    async fn finish(&mut self) {
        self.exchanges.shutdown().await;
        for _ in 0..LAST_TRIES_MAX {
            self.post_steps();
            if self.outlets.waiting() == 0 {
                break;
            }
            tokio::time::sleep(RETRY).await;
        }
        let mut left = Vec::new();
        self.outlets.end(NodeId::FRONT, |parcel| left.extend(parcel.lost_message()));
        left.iter().for_each(|(reference, cause)| self.publish_lost(reference, *cause));
    }

    /// Returns how many.
    fn take_parcels(&mut self) -> usize {
        for taken in 0..PARCELS_PER_TURN_MAX {
            match self.mesh.take(NodeId::FRONT) {
                Some(parcel) => self.receive(parcel),
                None => return taken,
            }
        }
        PARCELS_PER_TURN_MAX
    }

    fn receive(&mut self, parcel: Parcel) {
        match parcel {
            Parcel::Tunnel { peer, step } => self.step(peer, step),
            Parcel::Deliver { to, delivery, .. } => {
                let delivery = delivery.borrow();
                let result = match &self.broadcast {
                    Some(broadcast) => broadcast.deliver(to, &delivery),
                    None => Err(Undeliverable::NotConnected),
                };
                if let Err(cause) = result {
                    let (to, reference) = (delivery.from, delivery.reference());
                    self.post(to.node, Parcel::Bounce { to, reference, cause });
                }
            }
            Parcel::Fence { peer } => self.post(peer.node, Parcel::FenceBack { peer }),
            Parcel::Bounce { to, reference, cause } => self.bounced(to, &reference, cause),
            // A peer of the front has an id that is made for it and that nobody else can take, and
            // belongs to nothing that could be removed.
            Parcel::Evict { .. }
            | Parcel::Dismiss { .. }
            | Parcel::Announce { .. }
            | Parcel::FenceBack { .. } => {}
        }
    }

    fn step(&mut self, peer: PeerKey, step: TunnelStep) {
        if let TunnelStep::Open { listener, peer_address } = step {
            return self.open(peer, listener, peer_address);
        }
        let tunnel = self.tunnels.get(&peer);
        match (step, tunnel) {
            (TunnelStep::Bytes(bytes), tunnel) => {
                let unused = match tunnel {
                    Some(tunnel) => tunnel.receive(bytes),
                    None => Err(bytes),
                };
                // Whether the tunnel was given back or has ended, its shard can tell.
                if let Err(bytes) = unused {
                    self.outbound.push(peer, Outgoing::Step(TunnelStep::Unused(bytes)));
                }
            }
            (TunnelStep::Credit(bytes), Some(tunnel)) => tunnel.credit(bytes),
            (TunnelStep::End, Some(tunnel)) => tunnel.end_input(),
            (TunnelStep::Reset, Some(tunnel)) => tunnel.reset(),
            (TunnelStep::Return(_) | TunnelStep::Unused(_), _) => {
                debug_assert!(false, "steps that go from the front to a shard");
            }
            // About a tunnel that has ended here.
            (_, None) | (TunnelStep::Open { .. }, _) => {}
        }
    }

    fn open(&mut self, peer: PeerKey, listener: u16, holder: SocketAddr) {
        let send = |step| self.outbound.push(peer, Outgoing::Step(step));
        if !self.site.has_listener(listener) || self.tunnels.contains_key(&peer) {
            debug_assert!(false, "a shard opens a connection's tunnel once, and knows the listeners");
            return send(TunnelStep::Reset);
        }
        if self.tunnels.len() >= self.tunnels_max {
            send(TunnelStep::Bytes(Bytes::from_static(TOO_MANY)));
            return send(TunnelStep::End);
        }
        let outbound = self.outbound.clone();
        let stream = TunnelStream::new(peer, self.window_bytes, self.head_bytes_max, outbound);
        self.tunnels.insert(peer, stream.tunnel());
        self.exchanges.spawn_local(self.site.clone().serve(listener, holder, stream));
    }

    fn post_steps(&mut self) {
        let mut taken = std::mem::take(&mut self.taken);
        self.outbound.take_all(&mut taken);
        for (peer, outgoing) in taken.drain(..) {
            match outgoing {
                Outgoing::Gone => {
                    self.tunnels.remove(&peer);
                }
                Outgoing::Deliver(delivery) => self.deliver(peer, delivery),
                Outgoing::Dismiss => self.post(peer.node, Parcel::Dismiss { peer }),
                Outgoing::Step(step) => {
                    if matches!(step, TunnelStep::Reset | TunnelStep::Return(_)) {
                        self.tunnels.remove(&peer);
                    }
                    self.post(peer.node, Parcel::Tunnel { peer, step });
                }
            }
        }
        self.taken = taken;
        let mut expired = Vec::new();
        self.outlets.flush((self.clock)().mono_us, |parcel| expired.push(parcel));
        for parcel in expired {
            match parcel {
                Parcel::Deliver { delivery, .. } => {
                    let delivery = delivery.borrow();
                    self.bounced(delivery.from, &delivery.reference(), Undeliverable::Full);
                }
                Parcel::Bounce { reference, cause, .. } => self.publish_lost(&reference, cause),
                _ => {}
            }
        }
        self.outlets.ring_bells(&mut self.ring);
    }

    fn deliver(&mut self, to: PeerKey, delivery: Box<OwnedDelivery>) {
        let (from, reference) = {
            let delivery = delivery.borrow();
            (delivery.from, delivery.reference())
        };
        let now_us = (self.clock)().mono_us;
        let parcel = Parcel::Deliver { to, delivery, received_us: now_us };
        if let Posted::Refused = self.outlets.post(now_us, to.node, parcel) {
            self.bounced(from, &reference, Undeliverable::Full);
        }
    }

    /// A message that was sent from here came back.
    fn bounced(&self, to: PeerKey, reference: &MessageRef, cause: Undeliverable) {
        self.metrics.bounced.add(1);
        match &self.broadcast {
            Some(broadcast) if to != Post::REQUESTS => broadcast.bounced(to, reference, cause),
            _ => self.publish_lost(reference, cause),
        }
    }

    /// Nobody can be told.
    fn publish_lost(&self, reference: &MessageRef, cause: Undeliverable) {
        self.events.publish(untold(reference, cause, (self.clock)()));
    }

    fn post(&mut self, to: NodeId, parcel: Parcel) {
        // What waits is handed over by a later flush, and nothing of this can be refused.
        let _ = self.outlets.post((self.clock)().mono_us, to, parcel);
    }

    fn reap(&mut self) {
        while let Some(ended) = self.exchanges.try_join_next() {
            if let Err(error) = ended
                && error.is_panic()
            {
                tracing::error!("an HTTP exchange panicked; its connection was closed");
            }
        }
    }
}
