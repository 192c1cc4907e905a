//! The engine's parts, put together from checked settings.

use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::apis::{self, Surroundings};
use super::audit;
use super::clock::Clock;
use super::dialects::Dialects;
use super::entropy::KernelEntropy;
use super::listen::{self, Bound};
use super::reload::{KeyKeeper, Reloadable, Source};
use super::{Notice, ServeError};
use crate::base::{Entropy, Live, NodeId, SHARDS_MAX};
use crate::config::{self, Origins, Service, Settings, Sink};
use crate::dialect::{Dialect, Serves, broadcast};
use crate::front::{self, CallsApi, Doorkeeper, Front, Phase, Post, RoomsApi};
use crate::hub::{AddressLimits, Addresses, Directory, Limit};
use crate::mesh::{self, Mesh};
use crate::observe::{EventQueue, Reloads, ShardMetrics};
use crate::outside::{self, FileSink, LogSink, Publisher, WebhookSink};
use crate::ring::{self, BellTarget, Doorbell, FrontBell, Ring};
use crate::session;
use crate::shard::{self, Bells, Shard, Shared};

/// Descriptors of the process that are not connections: standard streams, rings and their bells,
/// files, and the runtime of the front.
const OTHER_FILES: u64 = 64;
/// Silence that ends a tunnel. A long poll of Socket.IO is silent between two pings.
const STALL_SECONDS_MIN: u64 = 60;
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
    events: Arc<EventQueue>,
    clock: Clock,
    reloadable: Mutex<Reloadable>,
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
    audit: Arc<EventQueue>,
    metrics: Arc<[Arc<ShardMetrics>]>,
    reloads: Arc<Reloads>,
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
        let connections_room = connections_room(open_files, sockets as u64);
        let connections_max = connections_max(&settings.server, connections_room);
        let (dialects, key_refresh) = Dialects::new(settings)?;
        let (keys, key_fetching) = KeyKeeper::new(key_refresh);
        let common = Common::new(settings, &dialects, shards, connections_max);

        let front_bell = Arc::new(FrontBell::new().map_err(start_error)?);
        let started: Vec<_> = (0..shards)
            .map(|index| common.start_shard(index, take_sockets(&mut bound, index), notices.clone()))
            .collect::<Result<_, _>>()?;
        let mut targets = Vec::with_capacity(shards);
        for started in &started {
            targets.push(started.ready()?);
        }
        let bells = Arc::new(Bells { shards: targets, front: Arc::clone(&front_bell) });
        // Before anybody is let in, so that the trail begins with it.
        audit::record(&common.events, &common.clock, ("server_started", Vec::new()));
        let running = start_front(settings, &dialects, &common, &bells, key_fetching, notices)?;
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
        let reloadable = Reloadable {
            running: settings.clone(),
            dialects,
            connections_room,
            shared: Arc::clone(&common.shared),
            front: running.terms,
            rooms: running.rooms,
            calls: running.calls,
            broadcast: running.broadcast,
            keys,
            reloads: common.reloads,
            clock: common.clock,
        };
        reloadable.note_success();
        Ok(Engine {
            shared: common.shared,
            mesh: common.mesh,
            shards,
            ports: listen::ports_line(settings, &addresses),
            doorbell: Mutex::new(Doorbell::new().map_err(start_error)?),
            bells,
            phase: running.phase,
            events: common.events,
            clock: common.clock,
            reloadable: Mutex::new(reloadable),
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

    /// Has every part go by the settings that `source` gives now, as far as they can change.
    pub fn reload(&self, source: &Source) {
        let reloaded = self.reloadable.lock().unwrap_or_else(PoisonError::into_inner).reload(source);
        self.wake_shards();
        // A log that has become more talkative takes events that it did not; the publisher knows better
        // in a moment.
        self.events.set_taken(true);
        self.record(audit::of_reload(&reloaded));
    }

    /// How long everybody is still served when the server is told to end.
    pub fn drain_delay(&self) -> Duration {
        self.reloadable.lock().unwrap_or_else(PoisonError::into_inner).running.server.drain_delay
    }

    /// Says that nobody new is to be sent here. Otherwise all goes on.
    pub fn leave(&self) {
        self.phase.send_replace(Phase::Leaving);
        self.record(("server_leaving", Vec::new()));
    }

    /// Has every part finish what it is at.
    pub fn drain(&self) {
        self.shared.draining.store(true, Ordering::SeqCst);
        self.phase.send_replace(Phase::Draining);
        self.wake_shards();
        self.record(("server_draining", Vec::new()));
        debug_assert_eq!(self.mesh.shards(), self.shards);
    }

    /// Puts an act of the operator, or of the server itself, on the audit trail.
    pub fn record(&self, act: audit::Act) {
        audit::record(&self.events, &self.clock, act);
    }

    fn wake_shards(&self) {
        let mut doorbell = self.doorbell.lock().unwrap_or_else(PoisonError::into_inner);
        for target in &self.bells.shards {
            // A bell that is lost costs one tick.
            let _ = doorbell.ring(target);
        }
    }

    /// To be called when the shards have ended.
    pub fn stop_front(&self) {
        if *self.phase.borrow() < Phase::Stopping {
            self.record(("server_ended", Vec::new()));
        }
        self.phase.send_replace(Phase::Stopping);
    }
}

impl Common {
    fn new(settings: &Settings, dialects: &Dialects, shards: usize, connections_max: usize) -> Common {
        let server = &settings.server;
        let (events, audit) = audit::queues(settings);
        let addresses = Addresses::new(address_limits(settings), KernelEntropy::new().next_u128() as u64);
        let allowed = ring::allowed_cores();
        let ring = ring::Settings {
            buffers_count: server.receive_buffers,
            buffer_bytes: server.receive_buffer_bytes as u32,
            busy_poll_us: server.busy_poll.as_micros() as u32,
            ..ring::Settings::default()
        };
        Common {
            settings: Arc::new(session_settings(settings, dialects)),
            limits: shard_limits(settings, connections_max),
            ring,
            busy_poll: server.busy_poll,
            shared: Arc::new(Shared::new(dialects.settings.devices.realm).with_addresses(addresses)),
            directory: Arc::new(Directory::new(KernelEntropy::new().next_u128() as u64)),
            mesh: Mesh::bounded(shards, server.inbox_messages_max, server.inbox_bytes_max),
            events,
            audit,
            metrics: (0..shards).map(|_| Arc::new(ShardMetrics::default())).collect(),
            reloads: Arc::default(),
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

/// The front as the main thread reaches it.
struct RunningFront {
    phase: watch::Sender<Phase>,
    terms: Arc<Live<front::Terms>>,
    rooms: Option<RoomsApi>,
    calls: Option<Arc<Live<CallsApi>>>,
    broadcast: Arc<Live<broadcast::Settings>>,
}

fn start_front(
    settings: &Settings,
    dialects: &Dialects,
    common: &Common,
    bells: &Arc<Bells>,
    key_fetching: front::Companion,
    notices: Sender<Notice>,
) -> Result<RunningFront, ServeError> {
    let (phase, watched) = watch::channel(Phase::Serving);
    let clock = common.clock;
    let clock: front::Clock = Arc::new(move || clock.read());
    let mut doorbell = Doorbell::new().map_err(start_error)?;
    let shard_bells = Arc::clone(bells);
    let post = Post::default();
    let front_metrics = Arc::<ShardMetrics>::default();
    let doorkeeper = Doorkeeper {
        addresses: Arc::clone(&common.shared.addresses),
        metrics: Arc::clone(&front_metrics),
        clock: Arc::clone(&clock),
    };
    let surroundings = Surroundings {
        clock: Arc::clone(&clock),
        doorkeeper: &doorkeeper,
        shared: &common.shared,
        metrics: &common.metrics,
        events: &common.events,
        post: &post,
        phase: &watched,
    };
    let apis = apis::apis(settings, dialects, &surroundings)?;
    let publisher = publisher(settings.events.clone(), Arc::clone(&common.events), Arc::clone(&clock));
    let mut companions = vec![publisher, key_fetching];
    if let Some(config) = &settings.audit {
        companions.push(audit::publisher(config, Arc::clone(&common.audit), Arc::clone(&clock)));
    }
    if let Some(rooms) = apis.rooms.clone() {
        companions.push(Box::new(|stop| Box::pin(front::sweep(rooms, stop))));
    }
    let broadcast = Arc::new(Live::new(dialects.settings.broadcast.clone()));
    let running = RunningFront {
        phase,
        terms: Arc::new(Live::new(front_terms(settings, dialects))),
        rooms: apis.rooms.clone(),
        calls: apis.calls.clone(),
        broadcast: Arc::clone(&broadcast),
    };
    let broadcast = broadcast_parts(common, broadcast, doorkeeper, &post, watched.clone());
    let front = Front {
        terms: Arc::clone(&running.terms),
        sources: front::Sources {
            clock: Arc::clone(&clock),
            mesh: Arc::clone(&common.mesh),
            addresses: Arc::clone(&common.shared.addresses),
            shards: Arc::clone(&common.metrics),
            front: front_metrics,
            events: Arc::clone(&common.events),
            reloads: Arc::clone(&common.reloads),
        },
        post,
        apis,
        broadcast: Some(broadcast),
        bell: bells.front.as_fd().try_clone_to_owned().map_err(ServeError::Start)?,
        ring: Box::new(move |node: NodeId| {
            if let Some(target) = shard_bells.shards.get(node.index()) {
                // A bell that is lost costs one tick.
                let _ = doorbell.ring(target);
            }
        }),
        companions,
    };
    spawn("front".to_owned(), "the front", notices, move || {
        front::run(front, watched).map_err(ServeError::FrontLost)
    })?;
    Ok(running)
}

fn broadcast_parts(
    common: &Common,
    settings: Arc<Live<broadcast::Settings>>,
    doorkeeper: Doorkeeper,
    post: &Post,
    phase: watch::Receiver<Phase>,
) -> front::BroadcastParts {
    let (post, events, shared) = (post.clone(), Arc::clone(&common.events), Arc::clone(&common.shared));
    front::BroadcastParts {
        settings,
        directory: Arc::clone(&common.directory),
        send: Arc::new(move |to, delivery| post.deliver(to, delivery)),
        publish: Arc::new(move |event, address| events.publish_and_record(event, address)),
        departed: Arc::new(move |realm| shared.departures.note(realm)),
        metrics: Arc::clone(&doorkeeper.metrics),
        clock: Arc::clone(&doorkeeper.clock),
        doorkeeper,
        random: apis::random(),
        phase,
    }
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
                    Sink::Webhook => match webhook(&settings, &events) {
                        Ok(webhook) => Box::new(webhook),
                        Err(error) => {
                            tracing::error!(%error, "no thread for the webhook: its events go to the log");
                            Box::new(LogSink)
                        }
                    },
                }
            })
            .collect();
        Box::pin(Publisher::new(events, sinks, clock).run(stop))
    })
}

fn webhook(settings: &config::Events, events: &Arc<EventQueue>) -> std::io::Result<WebhookSink> {
    let url = settings.webhook_url.as_deref().unwrap_or_default();
    WebhookSink::start(url, settings.webhook_token.as_ref(), Arc::clone(events))
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

fn connections_room(open_files: u64, sockets: u64) -> usize {
    open_files.saturating_sub(OTHER_FILES + sockets).max(1) as usize
}

/// `room` is what the limit on open files leaves.
pub(super) fn connections_max(server: &config::Server, room: usize) -> usize {
    if room < server.max_connections {
        tracing::warn!(
            max_connections = server.max_connections,
            "the limit on open files allows fewer connections: {room}"
        );
    }
    room.min(server.max_connections)
}

pub(super) fn shard_limits(settings: &Settings, connections_max: usize) -> shard::Limits {
    let server = &settings.server;
    shard::Limits {
        connections_max,
        outbox_soft_bytes: server.outbox_soft_bytes,
        outbox_hard_bytes: server.outbox_hard_bytes,
        outbox_reserve_bytes: server.outbox_reserve_bytes,
        slow_consumer: server.slow_consumer_timeout,
        drain: server.drain_timeout,
        list_update_bytes_per_second: settings.devices.list_update_bytes_per_second,
        mesh: mesh_limits(server),
    }
}

fn mesh_limits(server: &config::Server) -> mesh::Limits {
    mesh::Limits {
        overflow_messages_max: server.overflow_messages_max,
        overflow_bytes_max: server.overflow_bytes_max,
        hold_us: server.hold.as_micros() as u64,
    }
}

/// What each address may do.
pub(super) fn address_limits(settings: &Settings) -> AddressLimits {
    let (server, rooms) = (&settings.server, &settings.rooms);
    let strict = |most| Limit { most, spares_loopback: false };
    let limit = |most| Limit { most, spares_loopback: !server.limit_loopback };
    AddressLimits {
        addresses_max: server.addresses_max,
        proxies: server.proxies.clone(),
        connections: strict(server.max_connections_per_ip),
        connects: strict(server.connect_rate_per_ip),
        failed_logins: limit(server.failed_logins_per_minute),
        stations: limit(settings.broadcast.clients_max_per_ip),
        sign_ins: limit(rooms.signin_rate_per_ip),
        rooms: limit(rooms.create_rate_per_ip),
        seats: limit(settings.calls.seat_rate_per_ip),
    }
}

pub(super) fn session_settings(settings: &Settings, dialects: &Dialects) -> session::Settings {
    let server = &settings.server;
    session::Settings {
        listeners: settings.listeners.iter().map(session_listener).collect(),
        dialects: Arc::clone(&dialects.settings),
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
        serves: Serves::new(listener.serves.iter().filter_map(|service| dialect(*service)).collect()),
        echo: listener.serves.contains(&Service::Echo),
        for_operators: listener.serves.iter().all(|service| is_for_operators(*service)),
        expose_shard: listener.expose_shard,
        proxy_protocol: listener.proxy_protocol,
        allowed_origins: origins(&listener.origins),
        tls: listener.tls.as_ref().map(|tls| session::TlsTerms {
            config: Arc::clone(&tls.config),
            allow_plaintext: tls.allow_plaintext,
            asks_certificate: listener.asks_certificate(),
        }),
    }
}

fn front_listener(listener: &config::Listener) -> front::Listener {
    let serves = |service| listener.serves.contains(&service);
    front::Listener {
        services: front::Services {
            metrics: serves(Service::Metrics),
            rooms: serves(Service::Rooms) || serves(Service::RoomsApi),
            broadcast: serves(Service::Broadcast),
            calls: serves(Service::Calls),
            calls_health: serves(Service::CallsHealth),
            devices_health: serves(Service::DevicesHealth),
            echo: serves(Service::Echo),
        },
        websockets: session_listener(listener).serves_websockets(),
        only_devices: session_listener(listener).serves.only_websocket() == Some(Dialect::Devices),
        allowed_origins: origins(&listener.origins),
        expose_shard: listener.expose_shard,
    }
}

fn dialect(service: Service) -> Option<Dialect> {
    match service {
        Service::Binary => Some(Dialect::Binary),
        Service::Rooms => Some(Dialect::Rooms),
        Service::Broadcast => Some(Dialect::Broadcast),
        Service::Calls => Some(Dialect::Calls),
        Service::Devices => Some(Dialect::Devices),
        _ => None,
    }
}

fn is_for_operators(service: Service) -> bool {
    matches!(service, Service::Metrics | Service::DevicesHealth | Service::CallsHealth | Service::Admin)
}

fn origins(origins: &Origins) -> Vec<String> {
    match origins {
        Origins::Any => vec!["*".to_owned()],
        Origins::Only(list) => list.clone(),
    }
}

pub(super) fn front_terms(settings: &Settings, dialects: &Dialects) -> front::Terms {
    front::Terms {
        settings: front_settings(settings),
        listeners: settings.listeners.iter().map(front_listener).collect(),
        devices: Some(dialects.settings.devices.clone()),
    }
}

fn front_settings(settings: &Settings) -> front::Settings {
    let (server, broadcast) = (&settings.server, &settings.broadcast);
    front::Settings {
        tunnel_window_bytes: server.tunnel_window_bytes as u32,
        stall_seconds: STALL_SECONDS_MIN
            .max((broadcast.ping_interval + broadcast.ping_timeout).as_secs() + 1),
        body_seconds: server.body_timeout.as_secs(),
        head_seconds: server.head_timeout.as_secs().max(1),
        head_bytes_max: server.head_bytes_max,
        ..front::Settings::default()
    }
}

fn start_error(errno: ring::Errno) -> ServeError {
    ServeError::Start(errno.into())
}
