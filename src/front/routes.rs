//! Which path of which listener is answered by what.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::echo::echo;
use super::pages::{self, View};
use super::run::Services;

/// Answered also while the server drains.
const OPERATORS_PATHS: [&str; 3] = ["/metrics", "/health", "/ready"];

pub(super) fn router(services: Services, view: Arc<View>) -> Router {
    let mut router = Router::new();
    if services.metrics {
        router = router
            .route("/metrics", get(pages::metrics))
            .route("/health", get(pages::health))
            .route("/ready", get(pages::ready));
    }
    router = if services.echo { router.fallback(echo) } else { router.fallback(not_found) };
    router.method_not_allowed_fallback(method_not_allowed).with_state(view)
}

pub(super) fn is_for_operators(services: Services, path: &str) -> bool {
    services.metrics && OPERATORS_PATHS.contains(&path)
}

/// Whether the request's body goes to a route that reads it as it comes, whatever its size.
pub(super) fn streams_body(services: Services, path: &str) -> bool {
    services.echo && !is_for_operators(services, path)
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
