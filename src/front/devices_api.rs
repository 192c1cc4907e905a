//! The health page of `devices`, as its document shows it.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;

use super::Clock;

/// What the page is made from.
#[derive(Clone)]
pub struct DevicesHealth {
    /// Registered clients.
    pub clients: Arc<dyn Fn() -> usize + Send + Sync>,
    /// Resident bytes of the process.
    pub resident_bytes: Arc<dyn Fn() -> u64 + Send + Sync>,
    pub clock: Clock,
    pub draining: Arc<dyn Fn() -> bool + Send + Sync>,
}

pub(super) const PATH: &str = "/health";

/// The document's members; of the memory that which this process has too.
#[derive(Serialize)]
struct Health {
    status: &'static str,
    clients: usize,
    /// Seconds.
    uptime: f64,
    memory: Memory,
}

#[derive(Serialize)]
struct Memory {
    rss: u64,
}

pub(super) fn router(health: &DevicesHealth) -> Router {
    Router::new().route(PATH, get(page)).with_state(health.clone())
}

async fn page(State(health): State<DevicesHealth>) -> Response {
    let page = Health {
        status: if (health.draining)() { "draining" } else { "healthy" },
        clients: (health.clients)(),
        uptime: (health.clock)().mono_us as f64 / 1e6,
        memory: Memory { rss: (health.resident_bytes)() },
    };
    let body = serde_json::to_string(&page).expect("a struct of numbers and words is valid JSON");
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}
