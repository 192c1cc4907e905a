//! The requests of the dialects, as the front is given them.

use std::sync::Arc;

use axum::http::HeaderValue;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::ServeError;
use super::dialects::{Dialects, KEY_WAIT};
use super::entropy::KernelEntropy;
use crate::base::{Entropy, Live};
use crate::config::Settings;
use crate::dialect;
use crate::front::{
    Apis, CallsApi, CallsHealth, Clock, DevicesHealth, Doorkeeper, Phase, Post, RoomsApi, RoomsParts,
    RoomsTerms,
};
use crate::observe::{EventQueue, ShardMetrics};
use crate::shard::Shared;

/// What the requests have in common with the shards.
pub(super) struct Surroundings<'a> {
    pub clock: Clock,
    pub doorkeeper: &'a Doorkeeper,
    pub shared: &'a Arc<Shared>,
    pub metrics: &'a Arc<[Arc<ShardMetrics>]>,
    pub events: &'a Arc<EventQueue>,
    pub post: &'a Post,
    pub phase: &'a watch::Receiver<Phase>,
}

pub(super) fn apis(
    settings: &Settings,
    dialects: &Dialects,
    surroundings: &Surroundings<'_>,
) -> Result<Apis, ServeError> {
    Ok(Apis {
        rooms: dialects.rooms.is_some().then(|| rooms(settings, dialects, surroundings)).flatten(),
        calls: Some(Arc::new(Live::new(calls(settings, &dialects.settings.calls, surroundings)?))),
        calls_health: Some(calls_health(surroundings)),
        devices_health: Some(devices_health(&dialects.settings.devices, surroundings)),
    })
}

fn rooms(settings: &Settings, dialects: &Dialects, surroundings: &Surroundings<'_>) -> Option<RoomsApi> {
    let parts = dialects.rooms.as_ref()?;
    let parts = RoomsParts {
        rooms: Arc::clone(&dialects.settings.rooms.rooms),
        store: Arc::clone(&parts.store),
        issuer: Arc::clone(&parts.issuer),
        key_wait: KEY_WAIT,
        doorkeeper: surroundings.doorkeeper.clone(),
        clock: Arc::clone(&surroundings.clock),
        random: random(),
        post: surroundings.post.clone(),
        shards: Arc::clone(surroundings.metrics),
        events: Arc::clone(surroundings.events),
    };
    Some(RoomsApi::new(parts, rooms_terms(settings, dialects)))
}

pub(super) fn rooms_terms(settings: &Settings, dialects: &Dialects) -> RoomsTerms {
    let config = &settings.rooms;
    RoomsTerms {
        identities: Arc::clone(&dialects.settings.rooms.identities),
        id_token_seconds: config.id_token_lifetime.as_secs(),
        ttl_seconds: config.ttl.as_secs(),
        open_delete: config.open_delete,
        signins_per_second: config.signins_per_second_max,
    }
}

fn calls(
    settings: &Settings,
    dialect: &dialect::calls::Settings,
    surroundings: &Surroundings<'_>,
) -> Result<CallsApi, ServeError> {
    let post = surroundings.post.clone();
    Ok(CallsApi {
        settings: dialect.clone(),
        origin: origin(settings)?,
        max_body_bytes: settings.calls.body_bytes_max,
        doorkeeper: surroundings.doorkeeper.clone(),
        clock: Arc::clone(&surroundings.clock),
        random: random(),
        from: Post::REQUESTS,
        send: Arc::new(move |to, delivery| post.deliver(to, delivery)),
        draining: draining(surroundings),
    })
}

pub(super) fn origin(settings: &Settings) -> Result<HeaderValue, ServeError> {
    HeaderValue::from_str(&settings.calls.origin).map_err(|_| ServeError::Origin)
}

/// Who asks whether to send callers here is told not to, as soon as the server is about to go.
fn calls_health(surroundings: &Surroundings<'_>) -> CallsHealth {
    let leaving = leaving(surroundings);
    CallsHealth { is_healthy: Arc::new(move || !leaving()) }
}

fn devices_health(dialect: &dialect::devices::Settings, surroundings: &Surroundings<'_>) -> DevicesHealth {
    let roster = Arc::clone(&dialect.roster);
    DevicesHealth {
        clients: Arc::new(move || roster.len()),
        resident_bytes: Arc::new(resident_bytes),
        clock: Arc::clone(&surroundings.clock),
        draining: leaving(surroundings),
    }
}

fn leaving(surroundings: &Surroundings<'_>) -> Arc<dyn Fn() -> bool + Send + Sync> {
    let phase = surroundings.phase.clone();
    Arc::new(move || *phase.borrow() >= Phase::Leaving)
}

fn draining(surroundings: &Surroundings<'_>) -> Arc<dyn Fn() -> bool + Send + Sync> {
    let shared = Arc::clone(surroundings.shared);
    Arc::new(move || shared.draining.load(std::sync::atomic::Ordering::Relaxed))
}

/// Numbers from the kernel, for any thread.
pub(super) fn random() -> Arc<dyn Fn() -> u128 + Send + Sync> {
    let entropy = Mutex::new(KernelEntropy::new());
    Arc::new(move || entropy.lock().next_u128())
}

/// As the kernel counts it; 0 where it does not say.
fn resident_bytes() -> u64 {
    let resident_kib = || {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()
    };
    resident_kib().unwrap_or(0) * 1024
}
