//! Which path of which listener is answered by what.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::broadcast::Broadcast;
use super::echo::{self, echo};
use super::pages::{self, View};
use super::run::{Apis, Services};
use super::{broadcast, calls_api, devices_api, profile, rooms_api};

/// Answered also while the server drains.
const OPERATORS_PATHS: [&str; 3] = ["/metrics", "/health", "/ready"];

pub(super) fn router(
    services: Services,
    apis: &Apis,
    broadcast: Option<&Broadcast>,
    view: Arc<View>,
) -> Router {
    let mut router = Router::new();
    if services.metrics {
        router = router
            .route("/metrics", get(pages::metrics))
            .route("/health", get(pages::health))
            .route("/ready", get(pages::ready));
    }
    router = if services.echo { router.fallback(echo) } else { router.fallback(not_found) };
    let mut router = router.method_not_allowed_fallback(method_not_allowed).with_state(view);
    let served = |is_served: bool, api: Option<Router>| api.filter(|_| is_served);
    let routers = [
        served(services.rooms, apis.rooms.as_ref().map(rooms_api::router)),
        served(services.calls, apis.calls.clone().map(calls_api::router)),
        served(services.calls_health, apis.calls_health.clone().map(profile::router)),
        served(services.devices_health, apis.devices_health.as_ref().map(devices_api::router)),
        served(services.broadcast, broadcast.map(Broadcast::router)),
    ];
    for api in routers.into_iter().flatten() {
        router = router.merge(api);
    }
    router
}

/// Whether a request has to be answered also while the server drains, since its client could not be
/// told otherwise.
pub(super) fn ends_a_session(services: Services, path: &str, query: Option<&str>) -> bool {
    services.broadcast && broadcast::is_of_session(path, query)
}

/// Whether a request for a WebSocket at this path is for a library of the front.
pub(super) fn upgrades_itself(services: Services, path: &str) -> bool {
    services.broadcast && broadcast::is_path(path)
}

pub(super) fn is_for_operators(services: Services, path: &str) -> bool {
    services.metrics && OPERATORS_PATHS.contains(&path)
        || services.devices_health && path == devices_api::PATH
        || services.calls_health && profile::PATHS.contains(&path)
}

/// Whether the request's body goes to a route that reads it as it comes, and bounds it itself.
pub(super) fn streams_body(services: Services, method: &Method, path: &str) -> bool {
    let by_rooms = services.rooms && rooms_api::reads_body(path);
    let by_calls = services.calls && calls_api::reads_body(path);
    by_rooms
        || by_calls
        || upgrades_itself(services, path)
        || services.echo && echo::reads_body(method) && !is_for_operators(services, path)
}

/// A line of text for a person, as the answer of a request that cannot be served.
pub(super) fn refusal(status: StatusCode, line: &'static str) -> Response {
    (status, line).into_response()
}

async fn not_found(request: Request) -> Response {
    let hint = format!("Nothing is served at {}.\n", printable(request.uri().path()));
    (StatusCode::NOT_FOUND, hint).into_response()
}

async fn method_not_allowed() -> Response {
    refusal(StatusCode::METHOD_NOT_ALLOWED, "This path does not know this method; see the Allow header.\n")
}

/// The path as part of a line of text. A URI holds visible ASCII only, but may be very long.
fn printable(path: &str) -> &str {
    const SHOWN_BYTES_MAX: usize = 128;
    path.get(..SHOWN_BYTES_MAX).unwrap_or(path)
}
