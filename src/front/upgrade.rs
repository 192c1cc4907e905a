//! From HTTP back to the shard: the WebSocket handshake on a connection that has spoken HTTP
//! before.

use std::net::IpAddr;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Request, Response, StatusCode, Version, header};
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::client::{Client, Doorkeeper};
use super::routes::refusal;
use super::tunnel::TunnelStream;
use crate::base::Redacted;
use crate::dialect::{Opening, devices};
use crate::hub::FAILED_LOGINS_WINDOW;
use crate::mesh::Upgrade;
use crate::wire::websocket;

const REFUSAL_HEADERS_MAX: usize = 8;

/// Whose WebSocket it is to be.
pub(super) struct Asked<'a> {
    pub(super) client: Client,
    /// The same, where a proxy names another one than the connection's.
    pub(super) other: Option<IpAddr>,
    /// Its shard, for tests that ask for it.
    pub(super) shard: Option<usize>,
    /// Where `devices` is the only dialect: who may speak it is told before the upgrade.
    pub(super) devices: Option<&'a devices::Settings>,
}

/// An accepted handshake, until hyper has sent the 101 and lets go of the stream.
pub(super) struct Switch {
    stream: OnUpgrade,
    upgrade: Upgrade,
}

fn authorization(request: &Request<Incoming>) -> Option<&str> {
    request.headers().get(header::AUTHORIZATION)?.to_str().ok()
}

pub(super) fn asks(request: &Request<Incoming>) -> bool {
    websocket::is_upgrade(&view(request))
}

/// The 101 and what has to be done after it, or the refusal.
pub(super) fn accept(
    mut request: Request<Incoming>,
    asked: &Asked<'_>,
    doorkeeper: &Doorkeeper,
) -> Result<(Response<Body>, Switch), Box<Response<Body>>> {
    let seen = view(&request);
    let accept = websocket::check(&seen)
        .map_err(|refusal| Box::new(wires_own(refusal.status(), |out| refusal.write(out))))?;
    if let Some(devices) = asked.devices {
        let (path, query) = (request.uri().path(), request.uri().query());
        let opening = Opening::of_request(path, query, authorization(&request).map(str::as_bytes));
        if devices.looks_at(&opening) && !doorkeeper.may_log_in(Some(asked.client)) {
            return Err(Box::new(too_many_failed_logins()));
        }
        let unix_seconds = (doorkeeper.clock)().unix_seconds();
        if let Err(unwelcome) = devices.identify(&opening, unix_seconds) {
            if unwelcome.may_be_a_guess() {
                doorkeeper.login_failed(Some(asked.client));
            }
            let line = "A valid token is needed.\n";
            return Err(Box::new(refusal(StatusCode::UNAUTHORIZED, line)));
        }
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    let accept = HeaderValue::from_bytes(accept.as_bytes()).expect("base64 is visible ASCII");
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(protocol) = seen.first_protocol().and_then(|p| HeaderValue::from_str(p).ok()) {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    if let Some(shard) = asked.shard {
        headers.insert(HeaderName::from_static("x-sigmux-shard"), HeaderValue::from(shard));
    }
    let upgrade = Upgrade {
        path: request.uri().path().to_owned(),
        query: request.uri().query().map(str::to_owned),
        authorization: authorization(&request).map(|value| Redacted::new(value.to_owned())),
        client: asked.other,
    };
    Ok((response, Switch { stream: hyper::upgrade::on(&mut request), upgrade }))
}

fn too_many_failed_logins() -> Response<Body> {
    let mut response = refusal(StatusCode::TOO_MANY_REQUESTS, "Too many failed logins.\n");
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(FAILED_LOGINS_WINDOW.as_secs()));
    response
}

impl Switch {
    /// Gives the connection back to its shard. To be called when hyper's connection has resolved;
    /// if that was for another reason, the stream is gone and there is nothing to give.
    pub(super) async fn carry_out(self) {
        let Ok(upgraded) = self.stream.await else { return };
        let parts = upgraded
            .downcast::<TokioIo<TunnelStream>>()
            .expect("this is the only stream that connections are served on");
        parts.io.into_inner().give_back(&parts.read_buf, self.upgrade);
    }
}

fn view(request: &Request<Incoming>) -> websocket::Request<'_> {
    let minor_version = u8::from(request.version() != Version::HTTP_10);
    let headers = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    websocket::Request::new(request.method().as_str(), minor_version, headers)
}

/// The wire's own response, through hyper, which sets the length itself.
pub(super) fn wires_own(status: u16, write: impl FnOnce(&mut Vec<u8>)) -> Response<Body> {
    let mut bytes = Vec::new();
    write(&mut bytes);
    let mut headers = [httparse::EMPTY_HEADER; REFUSAL_HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(head_bytes)) = head.parse(&bytes) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let mut response = Response::new(Body::from(bytes[head_bytes..].to_vec()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    for field in head.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(field.value))
            && name != header::CONTENT_LENGTH
        {
            response.headers_mut().append(name, value);
        }
    }
    response
}
