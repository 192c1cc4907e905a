//! Statuses, headers and bodies that the answers have in common.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Seconds for which a browser need not ask again.
const PREFLIGHT_SECONDS: &str = "86400";

/// What a request cannot be served for. Its fields are what the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) detail: &'static str,
    /// When to try again.
    retry_after_seconds: Option<u64>,
}

impl Refused {
    pub(super) const fn new(status: StatusCode, detail: &'static str) -> Refused {
        Refused { status, detail, retry_after_seconds: None }
    }

    /// For who has asked too often.
    pub(super) const fn too_often(detail: &'static str, retry_after_seconds: u64) -> Refused {
        let retry_after_seconds = Some(retry_after_seconds);
        Refused { status: StatusCode::TOO_MANY_REQUESTS, detail, retry_after_seconds }
    }
}

/// What a panic in our own code, or in a store, comes to.
pub(super) const BROKEN: Refused = Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error");

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Detail {
            detail: &'static str,
        }
        let mut response = json(self.status, &Detail { detail: self.detail });
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let body = serde_json::to_string(value).expect("a struct of texts and numbers is valid JSON");
    json_text(status, body)
}

pub(super) fn json_text(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// As [`json`], for what nobody between is to keep.
pub(super) fn secret_json(value: &impl Serialize) -> Response {
    let mut response = json(StatusCode::OK, value);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The answer to a browser that asks before it sends (the CORS protocol of the Fetch standard).
/// `*` would not cover `Authorization` there.
pub(super) fn preflight(allowed: &'static str) -> Response {
    let headers = [
        (header::ALLOW, allowed),
        (header::ACCESS_CONTROL_ALLOW_METHODS, allowed),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type"),
        (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

pub(super) fn method_not_allowed(allowed: &'static str) -> Response {
    let refused = Refused::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    ([(header::ALLOW, allowed)], refused).into_response()
}

/// Tokens travel in headers and bodies and never in cookies, so any page may ask.
pub(super) async fn open_to_all_origins(mut response: Response) -> Response {
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

/// RFC 3339 in UTC, to the second.
pub(super) fn timestamp(unix_seconds: u64) -> String {
    i64::try_from(unix_seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_rfc_3339_in_utc_and_never_a_panic() {
        assert_eq!(timestamp(1_762_165_800), "2025-11-03T10:30:00Z");
        assert_eq!(timestamp(0), "1970-01-01T00:00:00Z");
        assert_eq!(timestamp(u64::MAX), "");
    }
}
