//! The front as the server assembles it, and its life on its thread.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::bell::Bell;
use super::broadcast::{self, Broadcast};
use super::calls_api::CallsApi;
use super::devices_api::DevicesHealth;
use super::exchange::Site;
use super::pages::View;
use super::post::Post;
use super::profile::CallsHealth;
use super::pump::{Pump, Residence};
use super::rooms_api::RoomsApi;
use crate::base::{Live, NodeId, Now};
use crate::dialect::devices;
use crate::hub::Addresses;
use crate::mesh::{self, Mesh};
use crate::observe::{EventQueue, Reloads, ShardMetrics};

/// Entries of the runtime's ring. Only files use it, a few operations at a time, and its memory
/// counts against RLIMIT_MEMLOCK.
const RING_ENTRIES: u32 = 64;

/// Reads both clocks.
pub type Clock = Arc<dyn Fn() -> Now + Send + Sync>;

/// Pulls the bell of a shard that sleeps. Called on the front's thread.
pub type Ring = Box<dyn FnMut(NodeId) + Send>;

/// Something that lives on the front's runtime beside it, such as the event publisher. It is called
/// there, since what it makes need not be `Send`; it ends when the receiver resolves, in either way.
pub type Companion = Box<dyn FnOnce(oneshot::Receiver<()>) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// Everything that the front is made of.
pub struct Front {
    pub terms: Arc<Live<Terms>>,
    pub sources: Sources,
    /// Where what the APIs send to peers comes out.
    pub post: Post,
    pub apis: Apis,
    /// Of the Socket.IO service, which is made on the front's thread.
    pub broadcast: Option<broadcast::Parts>,
    /// An eventfd, to which a shard writes when [`Mesh::must_ring`] says so.
    pub bell: OwnedFd,
    pub ring: Ring,
    pub companions: Vec<Companion>,
}

/// What a reload of the configuration may replace. It holds for connections and requests that come
/// later; of the limits only `head_seconds` and `body_seconds` are looked at again, and of the
/// listeners, whose number and order stay, only `allowed_origins` and `expose_shard`.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    pub settings: Settings,
    /// By the index that [`crate::mesh::TunnelStep::Open`] names.
    pub listeners: Vec<Listener>,
    /// Who may speak `devices`, for listeners where that is told before the upgrade.
    pub devices: Option<devices::Settings>,
}

/// Limits, from the configuration, which has checked them.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes on the way in one direction of one tunnel that are not credited yet. Not zero, and the
    /// same for shards and front.
    pub tunnel_window_bytes: u32,
    /// Tunnels at one time; a connection above that gets a 503.
    pub tunnels_max: usize,
    /// Longest from the end of one exchange, or from the tunnel's opening, to the end of the next
    /// request's head.
    pub head_seconds: u64,
    pub head_bytes_max: usize,
    pub headers_max: usize,
    /// Body of a request to a path that has no use for one.
    pub body_bytes_max: u64,
    /// Longest from a request's head to its answer, where it has a body.
    pub body_seconds: u64,
    /// Longest that a tunnel may live without a byte moving in either direction.
    pub stall_seconds: u64,
    /// For messages to the shards' peers.
    pub mesh: mesh::Limits,
    /// Longest that the companions are waited for at the end.
    pub companions_seconds: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            tunnel_window_bytes: 65_536,
            tunnels_max: 10_000,
            head_seconds: 10,
            head_bytes_max: 16_384,
            headers_max: 100,
            body_bytes_max: 65_536,
            body_seconds: 30,
            stall_seconds: 60,
            mesh: mesh::Limits {
                overflow_messages_max: 65_536,
                overflow_bytes_max: 32 << 20,
                hold_us: 200_000,
            },
            companions_seconds: 5,
        }
    }
}

/// What one listener answers to HTTP.
#[derive(Clone, Debug, Default)]
pub struct Listener {
    pub services: Services,
    /// A request for a WebSocket goes back to the shard, whatever its path.
    pub websockets: bool,
    /// Origins whose pages may use the listener; `*`, or an empty list, means all.
    pub allowed_origins: Vec<String>,
    /// `devices` is the only dialect of its WebSockets: a bad token is told before the upgrade.
    pub only_devices: bool,
    /// Adds `X-Sigmux-Shard` to a 101.
    pub expose_shard: bool,
}

/// The requests of the dialects, each there if a listener serves it.
#[derive(Clone, Default)]
pub struct Apis {
    pub rooms: Option<RoomsApi>,
    pub calls: Option<Arc<Live<CallsApi>>>,
    pub calls_health: Option<CallsHealth>,
    pub devices_health: Option<DevicesHealth>,
}

/// Services of a listener that are requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Services {
    /// `/metrics`, `/health`, `/ready`.
    pub metrics: bool,
    /// The HTTP of `rooms`.
    pub rooms: bool,
    /// `/socket.io/`, and a line of text at `/`.
    pub broadcast: bool,
    /// `/call/…`, `/signal`.
    pub calls: bool,
    /// `/healthz`, `/debug/pprof/profile`.
    pub calls_health: bool,
    /// `/health` of `devices`.
    pub devices_health: bool,
    /// Every path that no other service claims sends a body back as it came.
    pub echo: bool,
}

/// What the pages are made from, and where tunnels come from.
#[derive(Clone)]
pub struct Sources {
    pub clock: Clock,
    pub mesh: Arc<Mesh>,
    /// What the clients of each address may do.
    pub addresses: Arc<Addresses>,
    /// In the order of shards.
    pub shards: Arc<[Arc<ShardMetrics>]>,
    /// What the front itself counts, for the peers that live there.
    pub front: Arc<ShardMetrics>,
    pub events: Arc<EventQueue>,
    pub reloads: Arc<Reloads>,
}

/// Where the process is in its life. It only goes forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    #[default]
    Serving,
    /// Everybody is still served, and `/ready` says 503, so that nobody new is sent here.
    Leaving,
    /// Connections are closed after the exchange that they are in, idle ones at once. New requests
    /// get a 503, apart from the operators' pages; `/ready` says 503.
    Draining,
    /// The drain is over: what is still under way is cut. To be said after the shards have ended, or
    /// their last events find no publisher.
    Stopping,
}

/// Serves until `phase` is [`Phase::Stopping`] or its sender is gone. Blocks its thread.
///
/// # Errors
/// When the runtime's ring cannot be set up or the bell fails. Tunnels that were open are reset.
pub fn run(front: Front, phase: watch::Receiver<Phase>) -> io::Result<()> {
    let runtime = tokio_uring::Runtime::new(tokio_uring::builder().entries(RING_ENTRIES))?;
    runtime.block_on(serve(front, phase))
}

async fn serve(front: Front, phase: watch::Receiver<Phase>) -> io::Result<()> {
    let Front { terms, sources, post, apis, broadcast, bell, ring, companions } = front;
    let companions: Vec<_> = companions
        .into_iter()
        .map(|companion| {
            let (stop, stopped) = oneshot::channel();
            (stop, tokio_uring::spawn(companion(stopped)))
        })
        .collect();

    let (mesh, clock) = (sources.mesh.clone(), sources.clock.clone());
    let (metrics, events) = (sources.front.clone(), sources.events.clone());
    let view = Arc::new(View { sources, phase: phase.clone() });
    let broadcast = broadcast.map(|parts| Arc::new(Broadcast::new(parts)));
    let settings = terms.get().settings.clone();
    let site = Rc::new(Site::new(terms, &apis, broadcast.as_deref(), view));
    let residence = Residence { post, broadcast, metrics, events };
    let served = match Bell::new(bell) {
        Ok(bell) => Pump::new(&settings, site, mesh, clock, bell, ring, residence).run(phase).await,
        Err(error) => Err(error),
    };

    let (stops, tasks): (Vec<_>, Vec<_>) = companions.into_iter().unzip();
    drop(stops);
    let ended = async {
        for task in tasks {
            if task.await.is_err() {
                tracing::error!("a task beside the front panicked");
            }
        }
    };
    if tokio::time::timeout(Duration::from_secs(settings.companions_seconds), ended).await.is_err() {
        tracing::warn!("a task beside the front did not end in time");
    }
    served
}
