//! The service as its clients see it: Engine.IO by hand, over polling and WebSockets.

mod client;
mod limits;
mod secrets;
mod signals;
mod transports;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::{Broadcast, Parts};
use crate::base::{NodeId, Now, PeerKey, RealmId};
use crate::dialect::OwnedDelivery;
use crate::dialect::broadcast::Settings;
use crate::front::{Doorkeeper, Phase};
use crate::hub::Directory;
use crate::observe::{Detail, Event, ShardMetrics};

const REALM: RealmId = RealmId(3);

struct Server {
    broadcast: Arc<Broadcast>,
    directory: Arc<Directory>,
    metrics: Arc<ShardMetrics>,
    phase: watch::Sender<Phase>,
    sent: Arc<Mutex<Vec<(PeerKey, OwnedDelivery)>>>,
    events: Arc<Mutex<Vec<Event>>>,
    connections: AtomicU32,
}

fn settings() -> Settings {
    Settings {
        realm: REALM,
        ping_interval: Duration::from_secs(25),
        ping_timeout: Duration::from_secs(20),
        payload_bytes_max: 1_000_000,
        clients_max: 100,
        message_rate: 0,
        outbox_bytes_max: 1 << 20,
        outbox_messages_max: 64,
    }
}

impl Server {
    fn new() -> Server {
        Server::with(settings())
    }

    fn with(settings: Settings) -> Server {
        let (directory, metrics) = (Arc::new(Directory::new(7)), Arc::<ShardMetrics>::default());
        let (sent, events) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<Vec<_>>>::default());
        let (phase, phase_seen) = watch::channel(Phase::Serving);
        let start = Instant::now();
        let parts = Parts {
            settings: Arc::new(crate::base::Live::new(settings)),
            directory: directory.clone(),
            send: Arc::new({
                let sent = sent.clone();
                move |to, delivery| sent.lock().push((to, delivery))
            }),
            publish: Arc::new({
                let events = events.clone();
                move |event, _| events.lock().push(event)
            }),
            departed: Arc::new(|_| ()),
            metrics: metrics.clone(),
            doorkeeper: Doorkeeper::of_nobody(Arc::new(Now::default)),
            clock: Arc::new(move || Now { mono_us: start.elapsed().as_micros() as u64, unix_ms: 1 }),
            random: random(),
            phase: phase_seen,
        };
        let broadcast = Arc::new(Broadcast::new(parts));
        Server { broadcast, directory, metrics, phase, sent, events, connections: AtomicU32::new(0) }
    }

    /// A connection that has room for so many bytes each way.
    fn connect(&self, bytes: usize) -> tokio::io::DuplexStream {
        let (client, server) = tokio::io::duplex(bytes);
        let slot = self.connections.fetch_add(1, Ordering::Relaxed);
        let peer = PeerKey { node: NodeId::shard(0), slot, generation: 0 };
        tokio::spawn(serve(server, self.broadcast.router().layer(axum::Extension(peer))));
        client
    }

    /// The details of the events of one type, by client.
    fn events_of(&self, event_type: &str, detail: &str) -> Vec<(String, String)> {
        let events = self.events.lock();
        let of_type = events.iter().filter(|event| event.event_type == event_type);
        let word = |event: &Event| match event.details.iter().find(|(name, _)| *name == detail) {
            Some((_, Detail::Text(text))) => text.clone(),
            Some((_, Detail::Number(number))) => number.to_string(),
            None => String::new(),
        };
        of_type.map(|event| (event.client_id.clone(), word(event))).collect()
    }
}

/// Different each time, which is all that a test needs.
fn random() -> Arc<dyn Fn() -> u128 + std::marker::Send + Sync> {
    let last = Mutex::new(0_u128);
    Arc::new(move || {
        let mut last = last.lock();
        *last = last.wrapping_add(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
        *last
    })
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, router: axum::Router) {
    let service = TowerToHyperService::new(router);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).half_close(true);
    // A client may go whenever it likes.
    let _ = http.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
}

/// Waits for what tasks of this thread bring about; fails after a time that no test needs.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
