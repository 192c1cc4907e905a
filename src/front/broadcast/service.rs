//! The HTTP of Socket.IO: what goes to the library, and what is done around it.

use std::convert::Infallible;
use std::future::{Ready, poll_fn, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use hyper::body::Body as _;
use hyper::service::Service as _;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use socketioxide::service::SocketIoService;
use socketioxide::socket::Sid;
use socketioxide::{ParserConfig, SocketIo};

use super::clients::Clients;
use super::handlers::{Handler, Opened};
use super::line::{Line, OWN_MESSAGES_MAX};
use super::sessions::Secret;
use super::stream::{Patience, Watched, is_packet};
use crate::base::PeerKey;
use crate::wire::websocket;

/// Where Socket.IO is, with and without the slash that clients add by default.
const PATHS: [&str; 2] = ["/socket.io/", "/socket.io"];

/// Whether a request to this path is one of Socket.IO: its body is to be streamed to the router, and
/// a WebSocket that it asks for is the router's too.
pub fn is_path(path: &str) -> bool {
    PATHS.contains(&path)
}

/// Whether a request goes on with a session, so that it is to be answered also while the server
/// drains: its client has to be told.
pub fn is_of_session(path: &str, query: Option<&str>) -> bool {
    is_path(path) && query.is_some_and(|query| first(query, "sid=").is_some())
}

/// The library, for requests and for WebSockets.
pub(super) type Service = SocketIoService<Nowhere>;

/// A session that has not joined by then is closed. Clients do so as soon as they know it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// From the handshake of an upgrade's WebSocket to its last step.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait for the attachments of a message, and most of them.
const ATTACHMENTS_TIMEOUT: Duration = Duration::from_secs(10);
const ATTACHMENTS_MAX: usize = 64;

/// What the library puts into a session's queue by itself: pings, the packets of an upgrade, refusals
/// of other namespaces.
const LIBRARY_PACKETS_MAX: usize = 64;

/// An opening packet is a short object.
const OPENING_BYTES_MAX: usize = 4096;

const RECORD_SEPARATOR: u8 = 0x1E;

/// Sets the library up for these clients.
pub(super) fn start(clients: &Arc<Clients>) {
    let settings = clients.settings();
    // Our own limits refuse before this one does.
    let packets_max = settings.outbox_messages_max + OWN_MESSAGES_MAX + LIBRARY_PACKETS_MAX;
    let parser = ParserConfig::common()
        .max_incoming_binaries(ATTACHMENTS_MAX)
        .max_incoming_binary_buf_size(settings.payload_bytes_max)
        .packet_completion_timeout(ATTACHMENTS_TIMEOUT);
    let (service, io) = SocketIo::builder()
        .ping_interval(settings.ping_interval)
        .ping_timeout(settings.ping_timeout)
        .upgrade_timeout(UPGRADE_TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT)
        .max_payload(settings.payload_bytes_max as u64)
        .ws_max_message_size(settings.payload_bytes_max)
        .ws_max_frame_size(settings.payload_bytes_max)
        .max_buffer_size(packets_max)
        .with_parser(parser)
        .build_with_inner_svc(Nowhere);
    io.ns("/", Handler(Arc::downgrade(clients)));
    clients.set_service(service);
}

pub(super) fn router(clients: Arc<Clients>) -> Router {
    let mut router = Router::new().route("/", get(index));
    for path in PATHS {
        router = router.route(path, any(socket_io));
    }
    router.with_state(clients)
}

async fn index() -> &'static str {
    "sigmux speaks Socket.IO at /socket.io/\n"
}

async fn socket_io(State(clients): State<Arc<Clients>>, request: Request) -> Response {
    let mut response = match *request.method() {
        Method::OPTIONS => preflight(request.headers()),
        _ => exchange(&clients, request).await,
    };
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    response
}

const ANY: HeaderValue = HeaderValue::from_static("*");

fn preflight(request: &HeaderMap) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    // A wildcard would leave out `Authorization`.
    let wanted = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned().unwrap_or(ANY);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted);
    let methods = HeaderValue::from_static("GET, POST, OPTIONS");
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    response
}

async fn exchange(clients: &Arc<Clients>, mut request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let asks_for_websocket = first(query, "transport=") == Some("websocket")
        && first(query, "EIO=") == Some("4")
        && websocket::is_upgrade(&view(&request));
    // What the library gets is an id of its own, which none from outside can be.
    let session = match first(query, "sid=") {
        None => None,
        Some(secret) => {
            let secret = secret.parse().ok();
            let Some((sid, line)) = secret.and_then(|secret| clients.sessions.find(secret)) else {
                return unknown_session();
            };
            let Some(uri) = with_sid(request.uri(), sid) else { return unknown_session() };
            *request.uri_mut() = uri;
            Some((sid, line))
        }
    };
    if asks_for_websocket {
        return open_websocket(clients, request, session);
    }
    // The library would take a WebSocket that it does not get, also without an `Upgrade`.
    request.headers_mut().remove(header::SEC_WEBSOCKET_KEY);
    match session {
        None => open_polling(clients, request).await,
        Some((_, line)) if request.method() == Method::GET => poll(clients, &line, request).await,
        Some(_) => clients.ask(request).await,
    }
}

/// The value that the library reads from a query: it takes the first of several, and undoes no
/// escapes.
fn first<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name))
}

/// The same with this value in place of the one that [`first`] finds.
fn with_sid(uri: &Uri, sid: Sid) -> Option<Uri> {
    let mut is_first = true;
    let pairs: Vec<_> = uri.query()?.split('&').collect();
    let pairs = pairs.into_iter().filter_map(|pair| match pair.starts_with("sid=") {
        false => Some(pair.to_owned()),
        true => std::mem::take(&mut is_first).then(|| format!("sid={sid}")),
    });
    let query = pairs.collect::<Vec<_>>().join("&");
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(format!("{}?{query}", uri.path()).parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// Whatever the library makes of it: a session that nobody counts is never opened.
async fn open_polling(clients: &Arc<Clients>, mut request: Request) -> Response {
    let Some(line) = clients.sessions.open(opener(&request)) else { return too_many() };
    request.extensions_mut().insert(Opened(line.clone()));
    let (mut head, body) = clients.ask(request).await.into_parts();
    // Nothing of the library's own making is longer.
    let Ok(body) = axum::body::to_bytes(body, OPENING_BYTES_MAX).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    if head.status != StatusCode::OK {
        return Response::from_parts(head, Body::from(body));
    }
    let Some(sid) = opened_sid(&body) else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let secret = Secret::new((clients.parts.random)());
    let packet = String::from_utf8_lossy(&body).replacen(sid.as_str(), &secret.to_string(), 1);
    clients.sessions.set_secret(&line, secret, sid);
    clients.make_way();
    head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(packet.len()));
    Response::from_parts(head, Body::from(packet))
}

/// The connection of a request that opens a session.
fn opener(request: &Request) -> Option<PeerKey> {
    request.extensions().get().copied()
}

/// The id in an opening packet, `0{"sid":"…",…}`.
fn opened_sid(packet: &[u8]) -> Option<Sid> {
    #[derive(Deserialize)]
    struct Opening<'a> {
        sid: &'a str,
    }
    let opening: Opening<'_> = serde_json::from_slice(packet.strip_prefix(b"0")?).ok()?;
    opening.sid.parse().ok()
}

async fn poll(clients: &Arc<Clients>, line: &Line, request: Request) -> Response {
    let (head, mut body) = clients.ask(request).await.into_parts();
    // A polling body is one piece.
    let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
    let Some(Ok(data)) = frame.map(|frame| frame.map(|frame| frame.into_data().unwrap_or_default())) else {
        return Response::from_parts(head, body);
    };
    if head.status == StatusCode::OK {
        let packets = data.split(|byte| *byte == RECORD_SEPARATOR);
        line.taken(packets.filter(|packet| packet.starts_with(b"b") || is_packet(packet)).count());
    }
    Response::from_parts(head, Body::from(data))
}

/// Accepts a WebSocket and gives it to the library, watched.
fn open_websocket(
    clients: &Arc<Clients>,
    mut request: Request,
    session: Option<(Sid, Arc<Line>)>,
) -> Response {
    let seen = view(&request);
    let accept = match websocket::check(&seen) {
        Ok(accept) => accept,
        Err(refusal) => {
            let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
            let version = (header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            return (status, [version], "This is no handshake of a WebSocket.\n").into_response();
        }
    };
    let protocol = seen.first_protocol().and_then(|protocol| HeaderValue::from_str(protocol).ok());
    let (sid, line) = match session {
        Some((sid, line)) => (Some(sid), line),
        None => match clients.sessions.open(opener(&request)) {
            Some(line) => (None, line),
            None => return too_many(),
        },
    };
    if !line.open_stream() {
        return refused("{\"code\":\"3\",\"message\":\"Bad request\"}");
    }
    clients.make_way();
    let upgrade = hyper::upgrade::on(&mut request);
    let (mut head, _) = request.into_parts();
    head.extensions.insert(Opened(line.clone()));
    let (weak, settings) = (Arc::downgrade(clients), clients.settings());
    let silence = settings.ping_interval + settings.ping_timeout;
    let patience = Patience { stall: settings.ping_timeout, silence, clock: clients.clock() };
    tokio::spawn(async move {
        let Ok(stream) = upgrade.await else { return };
        let stream = Watched::new(TokioIo::new(stream), line, weak.clone(), sid, patience);
        let clients = weak.upgrade();
        if let Some(service) = clients.as_ref().and_then(|clients| clients.service()) {
            // The query has been read as the library reads it.
            let _ = service.call((stream, Request::from_parts(head, ()))).await;
        }
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    let accept = HeaderValue::from_bytes(accept.as_bytes()).expect("base64 is visible ASCII");
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(protocol) = protocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    response
}

fn view(request: &Request) -> websocket::Request<'_> {
    let minor_version = u8::from(request.version() != Version::HTTP_10);
    let headers = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    websocket::Request::new(request.method().as_str(), minor_version, headers)
}

/// In the library's words.
fn unknown_session() -> Response {
    refused("{\"code\":\"1\",\"message\":\"Session ID unknown\"}")
}

fn refused(json: &'static str) -> Response {
    let content_type = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    (StatusCode::BAD_REQUEST, [content_type], json).into_response()
}

fn too_many() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "Too many Socket.IO sessions\n").into_response()
}

impl Clients {
    /// Ends a session that polls, as its own client would end it. Nothing happens to one that is over
    /// or that has a WebSocket.
    pub(super) fn close_polling(&self, sid: Sid) {
        let Some(service) = self.service().cloned() else { return };
        // A stream may be dropped when the runtime is gone.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            let uri = format!("{}?EIO=4&transport=polling&sid={sid}", PATHS[0]);
            let request = Request::post(uri).body(Body::from(Bytes::from_static(b"1")));
            if let Ok(request) = request {
                let _ = service.call(request).await;
            }
        });
    }

    async fn ask(&self, request: Request) -> Response {
        let Some(service) = self.service() else {
            debug_assert!(false, "the service is started before it is routed to");
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        };
        let Ok(response) = service.call(request).await;
        response.map(Body::new)
    }
}

/// What the library passes on because the path is not its own; no route leads here.
#[derive(Clone)]
pub(super) struct Nowhere;

impl hyper::service::Service<Request> for Nowhere {
    type Response = Response;
    type Error = Infallible;
    type Future = Ready<Result<Response, Infallible>>;

    fn call(&self, _: Request) -> Self::Future {
        ready(Ok(StatusCode::NOT_FOUND.into_response()))
    }
}
