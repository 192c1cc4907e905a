//! The echo service: a body goes back as it comes, through one frame of memory.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::routes::refusal;

const METHODS: [Method; 4] = [Method::GET, Method::HEAD, Method::POST, Method::PUT];

pub(super) async fn echo(request: Request) -> Response {
    let (head, mut body) = request.into_parts();
    if !METHODS.contains(&head.method) {
        let allow = (header::ALLOW, HeaderValue::from_static("GET,HEAD,POST,PUT"));
        let line = "Echo takes GET, HEAD, POST and PUT.\n";
        return (StatusCode::METHOD_NOT_ALLOWED, [allow], line).into_response();
    }
    // Asking for the body before answering lets hyper send the 100 that a client may wait for.
    let first = match poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        Some(Err(_)) => return refusal(StatusCode::BAD_REQUEST, "The body is broken.\n"),
        first => first.and_then(Result::ok),
    };
    let mut headers = HeaderMap::new();
    if let Some(content_type) = head.headers.get(header::CONTENT_TYPE) {
        headers.insert(header::CONTENT_TYPE, content_type.clone());
    }
    (headers, Body::new(Resumed { first, rest: body })).into_response()
}

/// A body of which the first frame has been read.
struct Resumed {
    first: Option<Frame<Bytes>>,
    rest: Body,
}

impl HttpBody for Resumed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(first))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let first_bytes = self.first.as_ref().and_then(Frame::data_ref).map_or(0, |data| data.len() as u64);
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + first_bytes);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + first_bytes);
        }
        hint
    }
}
