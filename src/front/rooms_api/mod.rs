//! The HTTP half of the `rooms` protocol: who one is, and which rooms there are.
//!
//! Owns the paths, statuses and bodies of the protocol's requests, and the clearing away of expired
//! rooms. Invariants: a room is told of only after its record is safe, and a room that was told to
//! be deleted has gone from the store before it goes from the registry; what was begun on a store
//! is finished whether its client waits or not. Whoever deletes belongs to the room, unless the
//! operator has opened that to all.
//!
//! Must not know what a store is made of, nor where a peer's connection lives.

mod admission;
mod answer;
mod pages;
mod rooms;
mod sweep;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::Extension;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::map_response;
use axum::routing::{MethodRouter, get, post};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

pub use sweep::sweep;

use super::{Client, Clock, Doorkeeper, Post};
use crate::auth::{Identities, Issuer};
use crate::base::{Live, Rate};
use crate::hub::rooms::{RoomStore, Rooms};
use crate::observe::{Event, EventQueue, ShardMetrics};

/// Body of a request that has one.
const BODY_BYTES_MAX: usize = 65_536;

/// Signatures and calls of the store that are under way at once; what is more waits.
const BLOCKING_MAX: usize = 8;

const DELETE_ROOM: &str = "/delete-peers-and-room";
const DELETE_PEER: &str = "/delete-peer";

/// What the requests are served from.
pub struct Parts {
    pub rooms: Arc<Rooms>,
    pub store: Arc<dyn RoomStore>,
    /// Signs the tokens of anonymous users; among the issuers that `identities` trusts.
    pub issuer: Arc<Issuer>,
    /// Longest that a request waits for keys that are being fetched.
    pub key_wait: Duration,
    pub doorkeeper: Doorkeeper,
    pub clock: Clock,
    /// A CSPRNG.
    pub random: Arc<dyn Fn() -> u128 + Send + Sync>,
    /// To the connections of deleted peers.
    pub post: Post,
    /// For what the metrics page counts.
    pub shards: Arc<[Arc<ShardMetrics>]>,
    pub events: Arc<EventQueue>,
}

/// What a reload may replace.
#[derive(Clone)]
pub struct Terms {
    pub identities: Arc<Identities>,
    pub id_token_seconds: u64,
    /// How long a new room takes peers.
    pub ttl_seconds: u64,
    /// Whether anybody may delete any room.
    pub open_delete: bool,
    /// Anonymous sign-ins a second, a second's worth of them at once; 0 for any number.
    pub signins_per_second: u32,
}

/// The requests of `rooms`, the same for every listener that serves them.
#[derive(Clone)]
pub struct RoomsApi(Arc<Api>);

struct Api {
    parts: Parts,
    terms: Live<Terms>,
    sign_ins: Mutex<Rate>,
    blocking: Arc<Semaphore>,
    rooms_created: AtomicU64,
}

impl RoomsApi {
    pub fn new(parts: Parts, terms: Terms) -> RoomsApi {
        RoomsApi(Arc::new(Api {
            parts,
            terms: Live::new(terms),
            sign_ins: Mutex::default(),
            blocking: Arc::new(Semaphore::new(BLOCKING_MAX)),
            rooms_created: AtomicU64::new(0),
        }))
    }

    /// For the requests that come from now on.
    pub fn set_terms(&self, terms: Terms) {
        self.0.terms.set(terms);
    }
}

/// Where a request comes from; unknown in tests that have no connection.
type Remote = Option<Extension<Client>>;

fn client_of(from: Remote) -> Option<Client> {
    from.map(|Extension(client)| client)
}

impl Api {
    fn publish(&self, event: Event, from: Remote) {
        self.parts.events.publish_and_record(event, client_of(from).map(|client| client.0));
    }

    /// Runs what may block on a thread of its own. It is finished also when nobody waits for it any
    /// more. `None` when it has panicked.
    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let permit = self.blocking.clone().acquire_owned().await.ok()?;
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        task.await.ok()
    }
}

/// Has no answer for other paths, so that it can stand beside other services.
pub(super) fn router(api: &RoomsApi) -> Router {
    let methods = |methods: MethodRouter<Arc<Api>>, allowed: &'static str| {
        methods
            .options(move || async move { answer::preflight(allowed) })
            .fallback(move || async move { answer::method_not_allowed(allowed) })
    };
    let to_post = |method| methods(method, "POST, OPTIONS");
    let to_get = |method| methods(method, "GET, HEAD, OPTIONS");
    Router::new()
        .route("/anonymous-signin", to_post(post(pages::sign_in)))
        .route("/create-room", to_post(post(rooms::create)))
        .route(DELETE_ROOM, to_post(post(rooms::delete_room)))
        .route(DELETE_PEER, to_post(post(rooms::delete_peer)))
        .route("/health", to_get(get(pages::health)))
        .route("/metrics", to_get(get(pages::metrics)))
        .route("/.well-known/jwks.json", to_get(get(pages::jwks)))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(map_response(answer::open_to_all_origins))
        .with_state(api.0.clone())
}

/// Whether a request to this path has a body that is read here, and bounded.
pub(super) fn reads_body(path: &str) -> bool {
    path == DELETE_ROOM || path == DELETE_PEER
}
