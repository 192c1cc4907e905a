//! The first bytes of a connection, and the head of an HTTP request.

use super::host::{Framing, Host};
use super::settings::{Limits, Listener, allows_origin};
use super::stream::Stream;
use super::tunnel::Tunnel;
use super::websocket::WebSocket;
use super::{Conclusion, Refusal, Settings, Stage, Step, Then};
use crate::dialect::{Dialect, Opening, SOCKET_IO_PATH, binary};
use crate::observe::Event;
use crate::wire::frame::START_BYTE;
use crate::wire::http::{self, HeadLimits, parse_head, write_response};
use crate::wire::websocket::{Request, check, is_upgrade, write_accept};

/// Waits for the end of an HTTP head.
pub(super) struct Head;

/// Tells a stream of frames from HTTP by the first byte.
pub(super) fn sniff(
    bytes: &[u8],
    listener: &Listener,
    refusal: Option<Refusal>,
    host: &mut dyn Host,
) -> Step {
    let Some(&first) = bytes.first() else { return Step::wait(0) };
    let next = match (first, listener.serves.has(Dialect::Binary), refusal) {
        (START_BYTE, true, Some(refusal)) => {
            host.set_framing(Framing::Stream);
            let refusal = match refusal {
                Refusal::Full => binary::Refusal::TooManyConnections,
                Refusal::Draining => binary::Refusal::Draining,
                Refusal::NeedsTls => binary::Refusal::NeedsTls,
            };
            let error = binary::write_refusal(None, refusal, host.out());
            host.count_error(error);
            host.count_sent(binary::ERROR_MESSAGE_LABEL);
            return Step { used: bytes.len(), then: Then::Conclude(Conclusion::Hang) };
        }
        (START_BYTE, true, None) => Stage::Stream(Stream::open(host)),
        (START_BYTE, false, _) => {
            host.set_framing(Framing::Stream);
            binary::write_not_served(bytes, host.out());
            return Step { used: bytes.len(), then: Then::Conclude(Conclusion::Hang) };
        }
        _ => Stage::Head(Head),
    };
    Step { used: 0, then: Then::Become(Box::new(next), None) }
}

impl Head {
    pub fn step(
        &mut self,
        settings: &Settings,
        listener: &Listener,
        bytes: &[u8],
        refusal: Option<Refusal>,
        host: &mut dyn Host,
    ) -> Step {
        let Limits { head_bytes_max, .. } = settings.limits;
        let head = match parse_head(bytes, HeadLimits { head_bytes_max }) {
            Ok(Some(head)) => head,
            Ok(None) => return Step::wait(0),
            Err(error) => {
                error.write(host.out());
                return Step { used: bytes.len(), then: Then::Conclude(Conclusion::Hang) };
            }
        };
        if refusal == Some(Refusal::NeedsTls) {
            write_response(host.out(), 400, "Bad Request", &[], b"this port speaks TLS\n");
            return Step { used: bytes.len(), then: Then::Conclude(Conclusion::Hang) };
        }
        // What operators ask is answered by the front to the last.
        if refusal.is_some() || (host.draining() && !listener.for_operators) {
            let body: &[u8] = match refusal {
                Some(Refusal::Full) => b"the server has as many connections as it may\n",
                _ => b"the server is shutting down\n",
            };
            write_response(host.out(), 503, "Service Unavailable", &[("Retry-After", "1")], body);
            return Step { used: bytes.len(), then: Then::Conclude(Conclusion::Hang) };
        }
        let request = Request::new(head.method, head.minor_version, head.headers());
        let is_for_front = listener.serves.has(Dialect::Broadcast)
            && head.path.starts_with(SOCKET_IO_PATH.trim_end_matches('/'));
        if !listener.serves_websockets() || is_for_front || !is_upgrade(&request) {
            // The front's HTTP library reads the same bytes again, and judges them itself.
            return Step { used: 0, then: Then::Become(Box::new(Stage::Tunnel(Tunnel::open(host))), None) };
        }
        let used = head.consumed;
        if !allows_origin(&listener.allowed_origins, head.header("origin")) {
            publish_rejected("wrong_origin", None, host);
            write_response(host.out(), 403, "Forbidden", &[], b"this Origin is not allowed\n");
            return Step { used, then: Then::Conclude(Conclusion::Hang) };
        }
        let opening = Opening::of_request(head.path, head.query, head.header("authorization"));
        let unix_seconds = host.now().unix_seconds();
        let is_admitted = listener.serves.only_websocket() != Some(Dialect::Devices)
            || settings.dialects.devices.admits(&opening, unix_seconds);
        match check(&request) {
            Ok(_) if !is_admitted => {
                publish_rejected("unauthorized", Some("devices"), host);
                write_response(host.out(), 401, "Unauthorized", &[], b"a valid token is needed\n");
                Step { used, then: Then::Conclude(Conclusion::Hang) }
            }
            Ok(accept) => {
                let shard = host.me().node.index().to_string();
                let mut extra = [("", ""); 2];
                let mut extra_len = 0;
                let exposed = listener.expose_shard.then_some(("X-Sigmux-Shard", shard.as_str()));
                let protocol = request.first_protocol().map(|name| ("Sec-WebSocket-Protocol", name));
                for header in exposed.into_iter().chain(protocol) {
                    extra[extra_len] = header;
                    extra_len += 1;
                }
                write_accept(host.out(), &accept, &extra[..extra_len]);
                let (websocket, ending) = WebSocket::open(settings, listener, opening, host);
                Step { used, then: Then::Become(Box::new(Stage::WebSocket(websocket)), ending) }
            }
            Err(refusal) => {
                refusal.write(host.out());
                Step { used, then: Then::Conclude(Conclusion::Hang) }
            }
        }
    }

    /// Says that the request took too long.
    pub fn timed_out(&self, host: &mut dyn Host) {
        http::write_response(host.out(), 408, "Request Timeout", &[], b"the request took too long\n");
    }
}

/// A WebSocket that is not opened. Mostly nobody knows yet what it would have spoken.
fn publish_rejected(reason: &'static str, dialect: Option<&'static str>, host: &mut dyn Host) {
    let unix_ms = host.now().unix_ms;
    let dialect = dialect.map(|dialect| ("dialect", dialect.into()));
    let details = dialect.into_iter().chain([("reason", reason.into())]).collect();
    host.publish(Event { event_type: "client_rejected", client_id: String::new(), unix_ms, details });
}
