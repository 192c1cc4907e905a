//! The echo service: a body goes back as it comes.
//!
//! What has come by then is read before the answer begins, so that a body that is broken near its
//! start is told in the status.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::routes::refusal;

const METHODS: [Method; 4] = [Method::GET, Method::HEAD, Method::POST, Method::PUT];
const ALLOW: (header::HeaderName, HeaderValue) =
    (header::ALLOW, HeaderValue::from_static("GET,HEAD,OPTIONS,POST,PUT"));
/// Most bytes that are read before the answer begins, one frame more or less.
const BEGINNING_BYTES_MAX: usize = 65_536;

type Next = Option<Result<Frame<Bytes>, axum::Error>>;

/// A body that comes with another method is nothing to send back.
pub(super) fn reads_body(method: &Method) -> bool {
    METHODS.contains(method)
}

pub(super) async fn echo(request: Request) -> Response {
    let (head, body) = request.into_parts();
    if head.method == Method::OPTIONS {
        return (StatusCode::NO_CONTENT, [ALLOW]).into_response();
    }
    if !reads_body(&head.method) {
        let line = "Echo takes GET, HEAD, OPTIONS, POST and PUT.\n";
        return (StatusCode::METHOD_NOT_ALLOWED, [ALLOW], line).into_response();
    }
    let Ok(back) = begin(body).await else {
        return refusal(StatusCode::BAD_REQUEST, "The body is broken.\n");
    };
    let mut headers = HeaderMap::new();
    if let Some(content_type) = head.headers.get(header::CONTENT_TYPE) {
        headers.insert(header::CONTENT_TYPE, content_type.clone());
    }
    (headers, back).into_response()
}

/// The body that goes back: whole, where it has come to its end, else as it comes. Trailers stay.
async fn begin(mut body: Body) -> Result<Body, axum::Error> {
    let mut beginning = BytesMut::new();
    // Asking for the body before answering lets hyper send the 100 that a client may wait for.
    let mut next = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
    loop {
        let Some(frame) = next else { return Ok(Body::from(beginning.freeze())) };
        if let Ok(data) = frame?.into_data() {
            beginning.extend_from_slice(&data);
        }
        let further =
            if beginning.len() < BEGINNING_BYTES_MAX { next_at_hand(&mut body).await } else { None };
        let Some(further) = further else { break };
        next = further;
    }
    Ok(Body::new(Resumed { beginning: Some(beginning.freeze()), rest: body }))
}

/// What comes next in the body, if it is here. hyper hands out one frame a turn, so one that is in
/// its buffer is there a turn later.
async fn next_at_hand(body: &mut Body) -> Option<Next> {
    for _ in 0..2 {
        let polled = poll_fn(|cx| Poll::Ready(Pin::new(&mut *body).poll_frame(cx))).await;
        if let Poll::Ready(next) = polled {
            return Some(next);
        }
        tokio::task::yield_now().await;
    }
    None
}

/// A body of which the beginning has been read.
struct Resumed {
    beginning: Option<Bytes>,
    rest: Body,
}

impl HttpBody for Resumed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Next> {
        match self.beginning.take() {
            Some(beginning) => Poll::Ready(Some(Ok(Frame::data(beginning)))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.beginning.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let begun_bytes = self.beginning.as_ref().map_or(0, |beginning| beginning.len() as u64);
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + begun_bytes);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + begun_bytes);
        }
        hint
    }
}
