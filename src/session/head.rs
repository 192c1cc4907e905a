//! The first bytes of a connection, and the head of an HTTP request.

use std::net::SocketAddr;

use super::host::{Framing, Host};
use super::settings::{Limits, Listener, allows_origin};
use super::stream::Stream;
use super::tunnel::Tunnel;
use super::websocket::WebSocket;
use super::{Conclusion, Refusal, Settings, Stage, Step, Then};
use crate::dialect::devices::Unwelcome;
use crate::dialect::{Dialect, Opening, SOCKET_IO_PATH, TOO_MANY_FAILED_LOGINS, binary};
use crate::observe::Event;
use crate::wire::forwarded;
use crate::wire::frame::START_BYTE;
use crate::wire::http::{
    self, HeadError, HeadLimits, HttpDate, cut_body, is_for_head, parse_head, write_response,
};
use crate::wire::websocket::{Request, check, is_upgrade, write_accept};

/// Seconds after which failed logins are forgotten, at the latest.
const LOGIN_RETRY_SECONDS: &str = "60";

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
                Refusal::Crowded => binary::Refusal::TooManyOfAddress,
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
        let end = |used: usize| Step { used, then: Then::Conclude(Conclusion::Hang) };
        let refuse = |error: HeadError, host: &mut dyn Host| {
            answer(bytes, host, |out, headers| error.write_with(out, headers));
            end(bytes.len())
        };
        let head = match parse_head(bytes, HeadLimits { head_bytes_max }) {
            Ok(Some(head)) => head,
            Ok(None) => return Step::wait(0),
            Err(error) => return refuse(error, host),
        };
        if let Some(refusal @ Refusal::NeedsTls) = refusal {
            turn_away(refusal, bytes, host);
            return end(bytes.len());
        }
        if let Err(error) = head.body_length() {
            return refuse(error, host);
        }
        // What operators ask is answered by the front to the last.
        let draining = (host.draining() && !listener.for_operators).then_some(Refusal::Draining);
        if let Some(refusal) = refusal.or(draining) {
            turn_away(refusal, bytes, host);
            return end(bytes.len());
        }
        let request = Request::new(head.method, head.minor_version, head.headers());
        let is_for_front = listener.serves.has(Dialect::Broadcast)
            && head.path.starts_with(SOCKET_IO_PATH.trim_end_matches('/'));
        if !listener.serves_websockets() || is_for_front || !is_upgrade(&request) {
            // The front reads the same bytes again, and those of the requests that follow.
            return Step { used: 0, then: Then::Become(Box::new(Stage::Tunnel(Tunnel::open(host))), None) };
        }
        let used = head.consumed;
        if let Some(refusal) = forwarded(&head, host) {
            turn_away(refusal, bytes, host);
            return end(bytes.len());
        }
        if !allows_origin(&listener.allowed_origins, head.header("origin")) {
            publish_rejected("wrong_origin", None, host);
            let body = b"this Origin is not allowed\n";
            answer(bytes, host, |out, headers| write_response(out, 403, "Forbidden", headers, body));
            return end(used);
        }
        let opening = Opening::of_request(head.path, head.query, head.header("authorization"));
        let checked = check(&request);
        let unwelcome = match listener.serves.only_websocket() {
            Some(Dialect::Devices) if checked.is_ok() => {
                settings.dialects.devices.admit(&opening, host).err()
            }
            _ => None,
        };
        match (checked, unwelcome) {
            (Ok(_), Some(Unwelcome::TooManyFailed)) => {
                publish_rejected(TOO_MANY_FAILED_LOGINS, Some("devices"), host);
                let later = [("Retry-After", LOGIN_RETRY_SECONDS)];
                answer(bytes, host, |out, headers| {
                    let headers = [&later, headers].concat();
                    write_response(out, 429, "Too Many Requests", &headers, b"too many failed logins\n");
                });
                end(used)
            }
            (Ok(_), Some(_)) => {
                publish_rejected("unauthorized", Some("devices"), host);
                let body = b"a valid token is needed\n";
                answer(bytes, host, |out, headers| write_response(out, 401, "Unauthorized", headers, body));
                end(used)
            }
            (Ok(accept), None) => {
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
            (Err(refusal), _) => {
                answer(bytes, host, |out, headers| refusal.write_with(out, headers));
                end(used)
            }
        }
    }

    /// Says that the request took too long.
    pub fn timed_out(&self, host: &mut dyn Host) {
        let body = b"the request took too long\n";
        answer(&[], host, |out, headers| write_response(out, 408, "Request Timeout", headers, body));
    }
}

/// A WebSocket that is not opened. Mostly nobody knows yet what it would have spoken.
fn publish_rejected(reason: &'static str, dialect: Option<&'static str>, host: &mut dyn Host) {
    let unix_ms = host.now().unix_ms;
    let dialect = dialect.map(|dialect| ("dialect", dialect.into()));
    let details = dialect.into_iter().chain([("reason", reason.into())]).collect();
    host.publish(Event { event_type: "client_rejected", client_id: String::new(), unix_ms, details });
}

/// Answers a request on a connection that is not served.
fn turn_away(refusal: Refusal, bytes: &[u8], host: &mut dyn Host) {
    let (status, reason, body): (_, _, &[u8]) = match refusal {
        Refusal::Full => (503, "Service Unavailable", b"the server has as many connections as it may\n"),
        Refusal::Draining => (503, "Service Unavailable", b"the server is shutting down\n"),
        Refusal::NeedsTls => (400, "Bad Request", b"this port speaks TLS\n"),
        Refusal::Crowded => (429, "Too Many Requests", b"too many connections from this address\n"),
    };
    // To come back as before would not help who needs TLS.
    let later = [("Retry-After", "1")];
    let own = if refusal == Refusal::NeedsTls { &[][..] } else { &later };
    answer(bytes, host, |out, headers| {
        write_response(out, status, reason, &[own, headers].concat(), body);
    });
}

/// Finds out whose WebSocket it is that a proxy asks for.
fn forwarded(head: &http::Head<'_>, host: &mut dyn Host) -> Option<Refusal> {
    let lines = head.headers().filter(|(name, _)| name.eq_ignore_ascii_case("x-forwarded-for"));
    let holder = host.client().filter(|holder| host.is_proxy(holder.ip()))?;
    let client = forwarded::client(lines.map(|(_, value)| value), |ip| host.is_proxy(ip))?;
    (client != holder.ip()).then(|| host.client_is(SocketAddr::new(client, 0))).flatten()
}

/// Says no to the request that `bytes` begin with. A refusal has a date (RFC 9110 section 6.6.1), and
/// no body where HEAD asked for none; what goes through the front gets both from its library.
fn answer(bytes: &[u8], host: &mut dyn Host, write: impl FnOnce(&mut Vec<u8>, &[(&str, &str)])) {
    let date = HttpDate(host.now().unix_seconds()).to_string();
    let out = host.out();
    let begin = out.len();
    write(out, &[("Date", &date)]);
    if is_for_head(bytes) {
        cut_body(out, begin);
    }
}
