//! What operators ask for: metrics, health, readiness.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::Phase;
use super::run::Sources;
use crate::base::NodeId;
use crate::dialect::{ERROR_LABELS, MESSAGE_LABELS};
use crate::observe::{self, Labels, Snapshot};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the pages show.
pub(super) struct View {
    pub(super) sources: Sources,
    pub(super) phase: tokio::sync::watch::Receiver<Phase>,
}

impl View {
    pub(super) fn draining(&self) -> bool {
        *self.phase.borrow() >= Phase::Draining
    }

    /// Whether nobody new is to be sent here.
    fn leaving(&self) -> bool {
        *self.phase.borrow() >= Phase::Leaving
    }
}

#[derive(Serialize)]
struct Health<'a> {
    status: &'a str,
    version: &'a str,
    uptime_seconds: u64,
    connections: i64,
    sessions: i64,
}

pub(super) async fn metrics(State(view): State<Arc<View>>) -> Response {
    let Sources { clock, mesh, addresses, shards, front, events, reloads } = &view.sources;
    let depths: Vec<usize> = (0..mesh.shards()).map(|shard| mesh.depth(NodeId::shard(shard))).collect();
    let page = observe::render(&Snapshot {
        version: VERSION,
        uptime_us: clock().mono_us,
        labels: Labels { messages: MESSAGE_LABELS, errors: ERROR_LABELS },
        shards,
        front,
        inbox_depths: &depths,
        front_inbox_depth: mesh.depth(NodeId::FRONT),
        addresses: addresses.len(),
        addresses_forgotten: addresses.forgotten(),
        events,
        reloads,
    });
    ([(header::CONTENT_TYPE, Snapshot::CONTENT_TYPE)], page).into_response()
}

/// 200 for as long as this thread answers at all, also while the server drains: a supervisor that
/// asks must not kill it for that.
pub(super) async fn health(State(view): State<Arc<View>>) -> Response {
    let shards = &view.sources.shards;
    let health = Health {
        status: if view.leaving() { "draining" } else { "ok" },
        version: VERSION,
        uptime_seconds: (view.sources.clock)().mono_us / 1_000_000,
        connections: shards.iter().map(|shard| shard.connections.get()).sum(),
        sessions: shards.iter().map(|shard| shard.sessions.get()).sum(),
    };
    let body = serde_json::to_string(&health).expect("a struct of numbers and words is valid JSON");
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

pub(super) async fn ready(State(view): State<Arc<View>>) -> Response {
    if view.leaving() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response()
    } else {
        "ready\n".into_response()
    }
}
