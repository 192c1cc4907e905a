//! The engine's parts, put together from checked settings.

use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::clock::Clock;
use super::entropy::KernelEntropy;
use super::listen::{self, Bound};
use super::{Notice, ServeError};
use crate::auth::Authenticator;
use crate::base::{Entropy, NodeId, RealmId, SHARDS_MAX};
use crate::config::{self, Origins, Service, Settings, Sink};
use crate::dialect::binary;
use crate::front::{self, Front, Phase};
use crate::hub::{Directory, OnDuplicate};
use crate::mesh::{self, Mesh};
use crate::observe::{EventQueue, ShardMetrics};
use crate::outside::{self, FileSink, LogSink, Publisher};
use crate::ring::{self, BellTarget, Doorbell, FrontBell, Ring};
use crate::session;
use crate::shard::{self, Bells, Shard, Shared};

/// Descriptors of the process that are not connections: standard streams, rings and their bells,
/// files, and the runtime of the front.
const OTHER_FILES: u64 = 64;
/// Thread stacks of ours are flat; what they need most is a JWT's verification.
const STACK_BYTES: usize = 1 << 20;

/// A running engine.
pub(super) struct Engine {
    pub shared: Arc<Shared>,
    mesh: Arc<Mesh>,
    shards: usize,
    ports: String,
    doorbell: Mutex<Doorbell>,
    bells: Arc<Bells>,
    phase: watch::Sender<Phase>,
}

/// Everything that the shards have in common.
struct Common {
    settings: Arc<session::Settings>,
    limits: shard::Limits,
    ring: ring::Settings,
    busy_poll: Duration,
    shared: Arc<Shared>,
    directory: Arc<Directory>,
    mesh: Arc<Mesh>,
    events: Arc<EventQueue>,
    metrics: Arc<[Arc<ShardMetrics>]>,
    clock: Clock,
    cores: Vec<usize>,
}

impl Engine {
    /// Binds everything, starts the threads, and returns when everything listens.
    pub fn start(settings: &Settings, notices: Sender<Notice>) -> Result<Engine, ServeError> {
        let open_files = ring::raise_open_files();
        let shards = shard_count(&settings.server);
        let mut bound = listen::bind_all(settings, shards)?;
        let sockets: usize = bound.iter().map(|b| b.sockets.len()).sum();
        let connections_max = connections_max(&settings.server, open_files, sockets as u64);
        let common = Common::new(settings, shards, connections_max);

        let front_bell = Arc::new(FrontBell::new().map_err(start_error)?);
        let started: Vec<_> = (0..shards)
            .map(|index| common.start_shard(index, take_sockets(&mut bound, index), notices.clone()))
            .collect::<Result<_, _>>()?;
        let mut targets = Vec::with_capacity(shards);
        for started in &started {
            targets.push(started.ready()?);
        }
        let bells = Arc::new(Bells { shards: targets, front: Arc::clone(&front_bell) });
        let phase = start_front(settings, &common, &bells, notices)?;
        for started in started {
            started.go(&bells);
        }

        let addresses: Vec<(usize, SocketAddr)> = bound.iter().map(|b| (b.listener, b.address)).collect();
        for (listener, address) in &addresses {
            let listener = &settings.listeners[*listener];
            let serves: Vec<_> = listener.serves.iter().map(|service| service.name()).collect();
            tracing::info!(listener = listener.name, %address, serves = serves.join(","), "listening");
        }
        tracing::info!(shards, connections_max, config = settings.origin, "started");
        Ok(Engine {
            shared: common.shared,
            mesh: common.mesh,
            shards,
            ports: listen::ports_line(settings, &addresses),
            doorbell: Mutex::new(Doorbell::new().map_err(start_error)?),
            bells,
            phase,
        })
    }

    pub fn print_ports(&self) -> Result<(), ServeError> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", self.ports).and_then(|()| out.flush()).map_err(ServeError::Print)
    }

    /// Threads that will report their end: the shards and the front.
    pub fn threads(&self) -> usize {
        self.shards + self.fronts()
    }

    pub fn fronts(&self) -> usize {
        1
    }

    /// Has every part finish what it is at.
    pub fn drain(&self) {
        self.shared.draining.store(true, Ordering::SeqCst);
        self.phase.send_replace(Phase::Draining);
        let mut doorbell = self.doorbell.lock().unwrap_or_else(PoisonError::into_inner);
        for target in &self.bells.shards {
            // A bell that is lost costs one tick.
            let _ = doorbell.ring(target);
        }
        debug_assert_eq!(self.mesh.shards(), self.shards);
    }

    /// To be called when the shards have ended.
    pub fn stop_front(&self) {
        self.phase.send_replace(Phase::Stopping);
    }
}

impl Common {
    fn new(settings: &Settings, shards: usize, connections_max: usize) -> Common {
        let server = &settings.server;
        let limits = shard::Limits {
            connections_max,
            outbox_soft_bytes: server.outbox_soft_bytes,
            outbox_hard_bytes: server.outbox_hard_bytes,
            outbox_reserve_bytes: server.outbox_reserve_bytes,
            slow_consumer: server.slow_consumer_timeout,
            drain: server.drain_timeout,
            mesh: mesh_limits(server),
        };
        let allowed = ring::allowed_cores();
        let ring = ring::Settings {
            buffers_count: server.receive_buffers,
            buffer_bytes: server.receive_buffer_bytes as u32,
            busy_poll_us: server.busy_poll.as_micros() as u32,
            ..ring::Settings::default()
        };
        Common {
            settings: Arc::new(session_settings(settings)),
            limits,
            ring,
            busy_poll: server.busy_poll,
            shared: Arc::new(Shared::default()),
            directory: Arc::new(Directory::new(KernelEntropy::new().next_u128() as u64)),
            mesh: Mesh::new(shards, server.inbox_messages_max),
            events: Arc::new(EventQueue::new(settings.events.events_max)),
            metrics: (0..shards).map(|_| Arc::new(ShardMetrics::default())).collect(),
            clock: Clock::start(),
            cores: if server.pin_shards && shards <= allowed.len() { allowed } else { Vec::new() },
        }
    }

    fn start_shard(
        &self,
        index: usize,
        sockets: Vec<(u16, OwnedFd)>,
        notices: Sender<Notice>,
    ) -> Result<Started, ServeError> {
        let parts = shard::Parts {
            node: NodeId::shard(index),
            settings: Arc::clone(&self.settings),
            limits: self.limits.clone(),
            shared: Arc::clone(&self.shared),
            directory: Arc::clone(&self.directory),
            mesh: Arc::clone(&self.mesh),
            metrics: Arc::clone(&self.metrics[index]),
            events: Arc::clone(&self.events),
            entropy: Box::new(KernelEntropy::new()),
        };
        let (clock, ring_settings, busy_poll) = (self.clock, self.ring, self.busy_poll);
        let core = self.cores.get(index).copied();
        let (ready, is_ready) = mpsc::channel();
        let (go, may_go) = mpsc::channel::<Arc<Bells>>();
        spawn(format!("shard-{index}"), "a shard", notices, move || {
            if let Some(core) = core
                && let Err(errno) = ring::pin_to_core(core)
            {
                tracing::warn!(core, %errno, "cannot bind a shard to its core");
            }
            let mut ring = match Ring::new(ring_settings) {
                Ok(ring) => ring,
                Err(error) => {
                    let _ = ready.send(Err(ServeError::Ring(error)));
                    return Ok(());
                }
            };
            if ready.send(ring.bell_target().map_err(start_error)).is_err() {
                return Ok(());
            }
            // The start has failed elsewhere when nobody says go.
            let Ok(bells) = may_go.recv() else { return Ok(()) };
            let mut of_listener = Vec::with_capacity(sockets.len());
            for (listener, socket) in sockets {
                ring.add_listener(socket);
                of_listener.push(listener);
            }
            let mut shard = Shard::new(parts, of_listener, clock.read());
            shard::run(&mut shard, &mut ring, &bells, busy_poll, || clock.read())
                .map_err(|errno| ServeError::ShardLost { shard: index, errno })
        })?;
        Ok(Started { is_ready, go })
    }
}

/// A shard's thread, which waits for the others before it accepts anyone.
struct Started {
    is_ready: mpsc::Receiver<Result<BellTarget, ServeError>>,
    go: Sender<Arc<Bells>>,
}

impl Started {
    fn ready(&self) -> Result<BellTarget, ServeError> {
        self.is_ready.recv().unwrap_or(Err(ServeError::Panicked("a shard")))
    }

    fn go(&self, bells: &Arc<Bells>) {
        // A shard that has ended meanwhile has reported why.
        let _ = self.go.send(Arc::clone(bells));
    }
}

fn start_front(
    settings: &Settings,
    common: &Common,
    bells: &Arc<Bells>,
    notices: Sender<Notice>,
) -> Result<watch::Sender<Phase>, ServeError> {
    let (phase, watched) = watch::channel(Phase::Serving);
    let clock = common.clock;
    let clock: front::Clock = Arc::new(move || clock.read());
    let mut doorbell = Doorbell::new().map_err(start_error)?;
    let shard_bells = Arc::clone(bells);
    let front = Front {
        settings: front_settings(&settings.server),
        listeners: settings.listeners.iter().map(front_listener).collect(),
        sources: front::Sources {
            clock: Arc::clone(&clock),
            mesh: Arc::clone(&common.mesh),
            shards: Arc::clone(&common.metrics),
            events: Arc::clone(&common.events),
        },
        bell: bells.front.as_fd().try_clone_to_owned().map_err(ServeError::Start)?,
        ring: Box::new(move |node: NodeId| {
            if let Some(target) = shard_bells.shards.get(node.index()) {
                // A bell that is lost costs one tick.
                let _ = doorbell.ring(target);
            }
        }),
        companions: vec![publisher(settings.events.clone(), Arc::clone(&common.events), clock)],
    };
    spawn("front".to_owned(), "the front", notices, move || {
        front::run(front, watched).map_err(ServeError::FrontLost)
    })?;
    Ok(phase)
}

/// The event publisher, as it lives on the front's runtime.
fn publisher(settings: config::Events, events: Arc<EventQueue>, clock: outside::Clock) -> front::Companion {
    Box::new(move |stop| {
        let sinks = settings
            .sinks
            .iter()
            .map(|sink| -> Box<dyn outside::Sink> {
                match sink {
                    Sink::Log => Box::new(LogSink),
                    Sink::File => Box::new(FileSink::new(settings.file.clone())),
                }
            })
            .collect();
        Box::pin(Publisher::new(events, sinks, clock).run(stop))
    })
}

fn spawn(
    name: String,
    what: &'static str,
    notices: Sender<Notice>,
    body: impl FnOnce() -> Result<(), ServeError> + Send + 'static,
) -> Result<(), ServeError> {
    let thread = std::thread::Builder::new().name(name).stack_size(STACK_BYTES);
    let guarded = move || {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        // The main thread listens as long as the engine runs.
        let _ = notices.send(Notice::Ended(result.unwrap_or(Err(ServeError::Panicked(what)))));
    };
    thread.spawn(guarded).map_err(ServeError::Start)?;
    Ok(())
}

/// The sockets of one shard, with the listener that each belongs to.
fn take_sockets(bound: &mut [Bound], shard: usize) -> Vec<(u16, OwnedFd)> {
    debug_assert!(bound.iter().all(|b| !b.sockets.is_empty()), "shard {shard} has a socket of each");
    bound.iter_mut().filter_map(|b| Some((b.listener as u16, b.sockets.pop()?))).collect()
}

fn shard_count(server: &config::Server) -> usize {
    server.shards.unwrap_or_else(|| ring::allowed_cores().len()).clamp(1, SHARDS_MAX)
}

fn connections_max(server: &config::Server, open_files: u64, sockets: u64) -> usize {
    let room = open_files.saturating_sub(OTHER_FILES + sockets).max(1) as usize;
    if room < server.max_connections {
        tracing::warn!(
            max_connections = server.max_connections,
            open_files,
            "the limit on open files allows fewer connections: {room}"
        );
    }
    room.min(server.max_connections)
}

fn mesh_limits(server: &config::Server) -> mesh::Limits {
    mesh::Limits {
        overflow_messages_max: server.overflow_messages_max,
        hold_us: server.hold.as_micros() as u64,
    }
}

fn session_settings(settings: &Settings) -> session::Settings {
    let server = &settings.server;
    session::Settings {
        listeners: settings.listeners.iter().map(session_listener).collect(),
        binary: binary::Settings {
            realm: RealmId(0),
            stamp_sender: settings.binary.stamp_sender,
            on_duplicate: match settings.binary.on_duplicate {
                config::OnDuplicate::Replace => OnDuplicate::Replace,
                config::OnDuplicate::Reject => OnDuplicate::Reject,
            },
            auth: Arc::new(Authenticator::new(&settings.auth.credentials)),
            message_rate: server.message_rate.unwrap_or(0),
        },
        limits: session::Limits {
            first_message: server.first_message_timeout,
            head: server.head_timeout,
            head_bytes_max: server.head_bytes_max,
            message_bytes_max: server.max_message_bytes,
            heartbeat_interval: server.heartbeat_interval.unwrap_or(Duration::ZERO),
            session_timeout: server.session_timeout,
            close: server.close_timeout,
            tunnel_window_bytes: server.tunnel_window_bytes,
        },
    }
}

fn session_listener(listener: &config::Listener) -> session::Listener {
    session::Listener {
        name: listener.name.clone(),
        binary: listener.serves.contains(&Service::Binary),
        echo: listener.serves.contains(&Service::Echo),
        expose_shard: listener.expose_shard,
        allowed_origins: origins(&listener.origins),
    }
}

fn front_listener(listener: &config::Listener) -> front::Listener {
    let serves = |service| listener.serves.contains(&service);
    front::Listener {
        services: front::Services { metrics: serves(Service::Metrics), echo: serves(Service::Echo) },
        websockets: serves(Service::Binary) || serves(Service::Echo),
        allowed_origins: origins(&listener.origins),
        expose_shard: listener.expose_shard,
    }
}

fn origins(origins: &Origins) -> Vec<String> {
    match origins {
        Origins::Any => vec!["*".to_owned()],
        Origins::Only(list) => list.clone(),
    }
}

fn front_settings(server: &config::Server) -> front::Settings {
    front::Settings {
        tunnel_window_bytes: server.tunnel_window_bytes as u32,
        head_seconds: server.head_timeout.as_secs().max(1),
        head_bytes_max: server.head_bytes_max,
        ..front::Settings::default()
    }
}

fn start_error(errno: ring::Errno) -> ServeError {
    ServeError::Start(errno.into())
}
