//! The shard's side of tunnels, played in memory, with the front on a thread of its own.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::watch;

use crate::base::{Live, NodeId, Now, PeerKey};
use crate::front::{Apis, Companion, Front, Listener, Phase, Post, Services, Settings, Sources, Terms, run};
use crate::hub::{AddressLimits, Addresses};
use crate::mesh::{Limits, Mesh, Outlets, Parcel, Returned, TunnelStep};
use crate::observe::{EventQueue, ShardMetrics};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) const METRICS: u16 = 0;
pub(super) const ECHO: u16 = 1;
pub(super) const PICKY: u16 = 2;

pub(super) struct Shard {
    pub(super) metrics: Arc<ShardMetrics>,
    pub(super) window: usize,
    mesh: Arc<Mesh>,
    outlets: Outlets,
    bell: OwnedFd,
    rung: Receiver<NodeId>,
    phase: watch::Sender<Phase>,
    front: Option<JoinHandle<()>>,
    connections: BTreeMap<u32, Connection>,
}

/// One client, as its shard sees it.
#[derive(Default)]
pub(super) struct Connection {
    unsent: Vec<u8>,
    pub(super) sent_bytes: usize,
    /// Sent to the front and not credited by it, and the most that this has been.
    pub(super) outstanding_bytes: usize,
    pub(super) outstanding_bytes_max: usize,
    /// From the front, all of it.
    pub(super) received: Vec<u8>,
    uncredited_bytes: usize,
    pub(super) uncredited_bytes_max: usize,
    /// The client does not read: nothing is credited.
    pub(super) stopped: bool,
    pub(super) ended: bool,
    pub(super) was_reset: bool,
    pub(super) returned: Option<Box<Returned>>,
    pub(super) unused: Vec<u8>,
}

impl Shard {
    pub(super) fn new() -> Shard {
        Shard::with(Settings::default(), Vec::new())
    }

    pub(super) fn with(settings: Settings, companions: Vec<Companion>) -> Shard {
        let mesh = Mesh::new(1, 64);
        let metrics = Arc::new(ShardMetrics::default());
        let bell = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        let (ring, rung) = channel();
        let (phase, phases) = watch::channel(Phase::Serving);
        let window = settings.tunnel_window_bytes as usize;
        let front = Front {
            terms: Arc::new(Live::new(Terms { settings, listeners: listeners(), devices: None })),
            sources: Sources {
                clock: Arc::new(|| Now { mono_us: 7_000_000, unix_ms: 0 }),
                mesh: mesh.clone(),
                addresses: Arc::new(Addresses::new(AddressLimits::default(), 1)),
                shards: Arc::new([metrics.clone()]),
                front: Arc::default(),
                events: Arc::new(EventQueue::new(8)),
                reloads: Arc::default(),
            },
            post: Post::default(),
            apis: Apis::default(),
            broadcast: None,
            bell: bell.try_clone().unwrap(),
            ring: Box::new(move |node| ring.send(node).unwrap_or_default()),
            companions,
        };
        let front = std::thread::spawn(move || run(front, phases).unwrap());
        let limits = Limits { overflow_messages_max: 0, overflow_bytes_max: 0, hold_us: 0 };
        Shard {
            metrics,
            window,
            outlets: Outlets::new(mesh.clone(), limits),
            mesh,
            bell,
            rung,
            phase,
            front: Some(front),
            connections: BTreeMap::new(),
        }
    }

    pub(super) fn open(&mut self, listener: u16) -> u32 {
        let slot = self.connections.len() as u32;
        self.connections.insert(slot, Connection::default());
        let peer_address = std::net::SocketAddr::from(([127, 0, 0, 1], 9));
        self.post(slot, TunnelStep::Open { listener, peer_address });
        slot
    }

    /// Gives bytes to the client to send. They go when the window lets them.
    pub(super) fn send(&mut self, slot: u32, bytes: impl AsRef<[u8]>) {
        self.connection(slot).unsent.extend_from_slice(bytes.as_ref());
        self.send_unsent();
    }

    pub(super) fn post(&mut self, slot: u32, step: TunnelStep) {
        self.outlets.post(0, NodeId::FRONT, Parcel::Tunnel { peer: peer(slot), step });
        self.push();
    }

    pub(super) fn connection(&mut self, slot: u32) -> &mut Connection {
        self.connections.get_mut(&slot).expect("the test has opened it")
    }

    pub(super) fn enter(&mut self, phase: Phase) {
        self.phase.send(phase).expect("the front lives");
    }

    /// Takes turns until the connection is as wanted.
    pub(super) fn until(&mut self, slot: u32, wanted: impl Fn(&Connection) -> bool) -> &mut Connection {
        let own = NodeId::shard(0);
        loop {
            while let Some(parcel) = self.mesh.take(own) {
                self.receive(parcel);
            }
            self.send_unsent();
            if wanted(&self.connections[&slot]) {
                return self.connection(slot);
            }
            if self.outlets.waiting() == 0 && self.mesh.fall_asleep(own) {
                match self.rung.recv_timeout(PATIENCE) {
                    Ok(_) => {}
                    Err(RecvTimeoutError::Timeout) => panic!("nothing comes from the front"),
                    Err(RecvTimeoutError::Disconnected) => panic!("the front has ended"),
                }
                self.mesh.wake_up(own);
            }
        }
    }

    /// Ends the front and sees that it ends well.
    pub(super) fn stop(&mut self) {
        self.enter(Phase::Stopping);
        self.front.take().expect("stopped once").join().expect("the front did not panic");
    }

    fn receive(&mut self, parcel: Parcel) {
        let Parcel::Tunnel { peer, step } = parcel else { panic!("only tunnels here") };
        let window = self.window;
        let connection = self.connection(peer.slot);
        match step {
            TunnelStep::Bytes(bytes) => {
                assert!(connection.returned.is_none() && !connection.ended && !connection.was_reset);
                connection.received.extend_from_slice(&bytes);
                connection.uncredited_bytes += bytes.len();
                let uncredited = connection.uncredited_bytes;
                connection.uncredited_bytes_max = connection.uncredited_bytes_max.max(uncredited);
                assert!(uncredited <= window, "the front overran the window");
                // Late, so that the front meets the end of its window.
                if !connection.stopped && uncredited >= window {
                    self.credit(peer.slot);
                }
            }
            TunnelStep::Credit(bytes) => {
                let outstanding = connection.outstanding_bytes.checked_sub(bytes as usize);
                connection.outstanding_bytes = outstanding.expect("credit only for what was sent");
            }
            TunnelStep::End => {
                assert!(!connection.ended, "End comes once");
                connection.ended = true;
            }
            TunnelStep::Reset => connection.was_reset = true,
            TunnelStep::Return(returned) => {
                assert!(connection.returned.replace(returned).is_none());
            }
            TunnelStep::Unused(bytes) => connection.unused.extend_from_slice(&bytes),
            TunnelStep::Open { .. } => panic!("the front opens no tunnel"),
        }
    }

    pub(super) fn credit(&mut self, slot: u32) {
        let bytes = std::mem::take(&mut self.connection(slot).uncredited_bytes);
        if bytes > 0 {
            self.post(slot, TunnelStep::Credit(bytes as u32));
        }
    }

    fn send_unsent(&mut self) {
        let window = self.window;
        for slot in 0..self.connections.len() as u32 {
            let connection = self.connection(slot);
            let room = window - connection.outstanding_bytes;
            let part = room.min(connection.unsent.len());
            if part == 0 || connection.returned.is_some() {
                continue;
            }
            let bytes = Bytes::from(connection.unsent.drain(..part).collect::<Vec<_>>());
            connection.sent_bytes += part;
            connection.outstanding_bytes += part;
            let outstanding = connection.outstanding_bytes;
            connection.outstanding_bytes_max = connection.outstanding_bytes_max.max(outstanding);
            self.post(slot, TunnelStep::Bytes(bytes));
        }
        self.push();
    }

    fn push(&mut self) {
        self.outlets.flush(0, |_| ());
        let bell = &self.bell;
        self.outlets.ring_bells(|_| {
            rustix::io::write(bell, &1u64.to_ne_bytes()).expect("an eventfd takes a one");
        });
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        if self.front.is_some() && !std::thread::panicking() {
            self.stop();
        }
    }
}

fn listeners() -> Vec<Listener> {
    let metrics = Services { metrics: true, ..Services::default() };
    vec![
        Listener { services: metrics, ..Listener::default() },
        Listener {
            services: Services { echo: true, ..Services::default() },
            websockets: true,
            expose_shard: true,
            ..Listener::default()
        },
        Listener {
            services: metrics,
            websockets: true,
            allowed_origins: vec!["https://good.example".into()],
            ..Listener::default()
        },
    ]
}

fn peer(slot: u32) -> PeerKey {
    PeerKey { node: NodeId::shard(0), slot, generation: 3 }
}
