//! One tunnel's HTTP: hyper's connection, and what bounds its time and its bodies.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;

use super::broadcast::Broadcast;
use super::client::{Client, Doorkeeper};
use super::pages::View;
use super::routes::{self, refusal};
use super::run::{Apis, Listener, Phase, Services, Settings, Terms};
use super::tunnel::TunnelStream;
use super::upgrade::{self, Asked, Switch, wires_own};
use crate::base::{Live, PeerKey};
use crate::dialect::TOO_MANY_FAILED_LOGINS;
use crate::observe::Event;
use crate::session::allows_origin;
use crate::wire::http::HeadError;

/// hyper takes no smaller buffer.
const HEAD_BYTES_MIN: usize = 8192;

/// What all exchanges share.
pub(super) struct Site {
    doors: Vec<Door>,
    view: Arc<View>,
    doorkeeper: Doorkeeper,
    terms: Arc<Live<Terms>>,
}

/// Whose request it is.
#[derive(Clone, Copy)]
struct Caller {
    listener: usize,
    peer: PeerKey,
    /// The other end of its connection.
    holder: SocketAddr,
}

/// One listener as its exchanges see it.
struct Door {
    routes: TowerToHyperService<Router>,
    services: Services,
    /// Whether WebSockets are served.
    websockets: bool,
}

impl Site {
    pub(super) fn new(
        terms: Arc<Live<Terms>>,
        apis: &Apis,
        broadcast: Option<&Broadcast>,
        view: Arc<View>,
    ) -> Site {
        let doors = terms.get().listeners.iter().map(|it| Door::new(it, apis, broadcast, &view)).collect();
        let doorkeeper = Doorkeeper {
            addresses: view.sources.addresses.clone(),
            metrics: view.sources.front.clone(),
            clock: view.sources.clock.clone(),
        };
        Site { doors, view, doorkeeper, terms }
    }

    pub(super) fn has_listener(&self, index: u16) -> bool {
        usize::from(index) < self.doors.len()
    }

    /// Carries one connection from its first byte on the tunnel to its last, or back to its shard.
    /// `listener` is one that [`Site::has_listener`] has, `holder` the address of the connection's other end.
    pub(super) async fn serve(self: Rc<Self>, listener: u16, holder: SocketAddr, stream: TunnelStream) {
        let settings = self.terms.get().settings.clone();
        let stall = Duration::from_secs(settings.stall_seconds);
        let tunnel = stream.tunnel();
        let peer = stream.peer();
        let switch = Rc::new(RefCell::new(None));
        // hyper asks for the requests one after another, in their order.
        let numbers = Cell::new(0);
        let service = service_fn(|request: Request<Incoming>| {
            let (site, switch, tunnel) = (self.clone(), switch.clone(), tunnel.clone());
            let number = numbers.replace(numbers.get() + 1);
            let caller = Caller { listener: usize::from(listener), peer, holder };
            async move {
                let response = match tunnel.refusal(number) {
                    Some(error) => refused(error),
                    None => site.respond(caller, &switch, request).await,
                };
                tunnel.answered(number, response.status() == StatusCode::SWITCHING_PROTOCOLS);
                Ok::<_, Infallible>(response)
            }
        });
        let mut connection =
            pin!(http(&settings).serve_connection(TokioIo::new(stream), service).with_upgrades());

        let mut phase = self.view.phase.clone();
        // On a connection that comes while the server drains, each response says `close`.
        let mut may_drain = *phase.borrow_and_update() < Phase::Draining;
        let mut progress = tunnel.progress();
        let done = loop {
            tokio::select! {
                biased;
                () = tunnel.was_reset() => return,
                done = connection.as_mut() => break done,
                Ok(()) = phase.changed(), if may_drain => {
                    may_drain = *phase.borrow_and_update() < Phase::Draining;
                    // hyper would drop a request that it has not read. Its answer will say
                    // `close`, and its head is not waited for for ever.
                    if !may_drain && !tunnel.has_unread() {
                        connection.as_mut().graceful_shutdown();
                    }
                }
                () = tokio::time::sleep(stall) => {
                    let before = std::mem::replace(&mut progress, tunnel.progress());
                    if before == progress {
                        return;
                    }
                }
            }
        };
        match done {
            Ok(()) => {
                let switch = switch.take();
                if let Some(switch) = switch {
                    Switch::carry_out(switch).await;
                }
            }
            // Nothing is under way on such a connection, so it ends in good order.
            Err(error) if error.is_timeout() => tunnel.end_output(),
            // hyper has answered what could be answered; dropping the stream does the rest.
            Err(_) => {}
        }
    }

    async fn respond(
        &self,
        caller: Caller,
        switch: &RefCell<Option<Switch>>,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let mut response = match self.answer(caller, request).await {
            Ok(Answer::Plain(response)) => response,
            Ok(Answer::Switching(response, to)) => {
                switch.replace(Some(to));
                return response;
            }
            Err(mut refusal) => {
                refusal.headers_mut().insert(header::CONNECTION, CLOSE);
                refusal
            }
        };
        if self.view.draining() {
            response.headers_mut().insert(header::CONNECTION, CLOSE);
        }
        response
    }

    /// # Errors
    /// A response after which the connection is closed, since the request's bytes are not read.
    async fn answer(&self, caller: Caller, mut request: Request<Incoming>) -> Result<Answer, Response<Body>> {
        let (door, terms) = (&self.doors[caller.listener], self.terms.get());
        let listener = &terms.listeners[caller.listener];
        let path = request.uri().path();
        let streams_body = routes::streams_body(door.services, request.method(), path);
        let is_for_operators = routes::is_for_operators(door.services, path);
        let goes_on = is_for_operators || routes::ends_a_session(door.services, path, request.uri().query());
        if self.view.draining() && !goes_on {
            return Err(refusal(StatusCode::SERVICE_UNAVAILABLE, "The server is shutting down.\n"));
        }
        let sources = &self.view.sources;
        let client = Client::of(request.headers(), caller.holder, &sources.addresses);
        let origin = request.headers().get(header::ORIGIN).map(HeaderValue::as_bytes);
        if !is_for_operators && !allows_origin(&listener.allowed_origins, origin) {
            let refused = refusal(StatusCode::FORBIDDEN, "Pages of this origin may not use this server.\n");
            self.publish_rejected(refused.status(), client);
            return Err(refused);
        }
        if door.websockets
            && !routes::upgrades_itself(door.services, request.uri().path())
            && upgrade::asks(&request)
        {
            let asked = Asked {
                client,
                // The shard counts another client than the connection's own.
                other: Some(client.ip()).filter(|ip| *ip != caller.holder.ip().to_canonical()),
                shard: listener.expose_shard.then(|| caller.peer.node.index()),
                devices: terms.devices.as_ref().filter(|_| listener.only_devices),
            };
            let (response, switch) =
                upgrade::accept(request, &asked, &self.doorkeeper).map_err(|refused| {
                    self.publish_rejected(refused.status(), client);
                    *refused
                })?;
            return Ok(Answer::Switching(response, switch));
        }
        let expects = request.headers().get(header::EXPECT);
        if expects.is_some_and(|expected| !expected.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
            return Err(refusal(StatusCode::EXPECTATION_FAILED, "100-continue alone may be expected.\n"));
        }
        // By it a service tells the requests of one connection from those of others.
        request.extensions_mut().insert(caller.peer);
        request.extensions_mut().insert(client);
        if request.body().is_end_stream() {
            let Ok(response) = door.routes.call(request).await;
            return Ok(Answer::Plain(response));
        }
        let answered = async {
            if !streams_body {
                discard_body(&mut request, terms.settings.body_bytes_max).await?;
            }
            let Ok(response) = door.routes.call(request).await;
            Ok(Answer::Plain(response))
        };
        // Nothing that has a body takes long once the body is there.
        match tokio::time::timeout(Duration::from_secs(terms.settings.body_seconds), answered).await {
            Ok(answer) => answer,
            Err(_) => Err(refusal(StatusCode::REQUEST_TIMEOUT, "The request's body took too long.\n")),
        }
    }

    /// In the words that a shard has for it.
    fn publish_rejected(&self, status: StatusCode, client: Client) {
        let details = match status {
            StatusCode::UNAUTHORIZED => {
                vec![("dialect", "devices".into()), ("reason", "unauthorized".into())]
            }
            StatusCode::TOO_MANY_REQUESTS => {
                vec![("dialect", "devices".into()), ("reason", TOO_MANY_FAILED_LOGINS.into())]
            }
            StatusCode::FORBIDDEN => vec![("reason", "wrong_origin".into())],
            // No handshake, which says nothing about who it was.
            _ => return,
        };
        let sources = &self.view.sources;
        let unix_ms = (sources.clock)().unix_ms;
        let event = Event { event_type: "client_rejected", client_id: String::new(), unix_ms, details };
        sources.events.publish_and_record(event, Some(client.0));
    }
}

enum Answer {
    Plain(Response<Body>),
    Switching(Response<Body>, Switch),
}

const CLOSE: HeaderValue = HeaderValue::from_static("close");

impl Door {
    fn new(listener: &Listener, apis: &Apis, broadcast: Option<&Broadcast>, view: &Arc<View>) -> Door {
        let Listener { services, websockets, .. } = *listener;
        let routes = TowerToHyperService::new(routes::router(services, apis, broadcast, view.clone()));
        Door { routes, services, websockets }
    }
}

/// `pipeline_flush` stays off: with it hyper does not flush while the client's next bytes are in its
/// buffer, not even before an upgrade, and does not bound what it has not flushed.
fn http(settings: &Settings) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(settings.head_seconds))
        .keep_alive(true)
        .half_close(true)
        .max_headers(settings.headers_max)
        .max_header_size(settings.head_bytes_max)
        .max_buf_size(settings.head_bytes_max.max(HEAD_BYTES_MIN));
    http
}

/// A route that has no use for a body still lets the client finish it, so that the connection
/// can go on. A client that asks first (`Expect: 100-continue`) is not told to send it.
async fn discard_body(request: &mut Request<Incoming>, body_bytes_max: u64) -> Result<(), Response<Body>> {
    let too_large = || refusal(StatusCode::PAYLOAD_TOO_LARGE, "This path takes no body of that size.\n");
    if request.body().size_hint().lower() > body_bytes_max {
        return Err(too_large());
    }
    if request.headers().contains_key(header::EXPECT) {
        return Ok(());
    }
    let mut seen_bytes = 0;
    while let Some(frame) = poll_fn(|cx| Pin::new(request.body_mut()).poll_frame(cx)).await {
        let frame = frame.map_err(|_| refusal(StatusCode::BAD_REQUEST, "The body is broken.\n"))?;
        seen_bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        if seen_bytes > body_bytes_max {
            return Err(too_large());
        }
    }
    Ok(())
}

/// The answer to a head that hyper has not seen.
fn refused(error: HeadError) -> Response<Body> {
    let mut response = wires_own(error.status(), |out| error.write(out));
    response.headers_mut().insert(header::CONNECTION, CLOSE);
    response
}
