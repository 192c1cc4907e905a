//! One tunnel's HTTP: hyper's connection, and what bounds its time and its bodies.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, StatusCode, Version, header};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;

use super::broadcast::Broadcast;
use super::pages::View;
use super::routes::{self, refusal};
use super::run::{Apis, Listener, Phase, Services, Settings};
use super::tunnel::TunnelStream;
use super::upgrade::{self, Switch, Terms};
use crate::base::PeerKey;

/// hyper takes no smaller buffer.
const HEAD_BYTES_MIN: usize = 8192;

/// What all exchanges share.
pub(super) struct Site {
    http: http1::Builder,
    doors: Vec<Door>,
    view: Arc<View>,
    body_bytes_max: u64,
    stall: Duration,
    body: Duration,
}

/// One listener as its exchanges see it.
struct Door {
    routes: TowerToHyperService<Router>,
    services: Services,
    /// None where WebSockets are not served.
    websockets: Option<Terms>,
}

impl Site {
    pub(super) fn new(
        settings: &Settings,
        listeners: Vec<Listener>,
        apis: &Apis,
        broadcast: Option<&Broadcast>,
        view: Arc<View>,
    ) -> Site {
        let head_bytes_max = settings.head_bytes_max.max(HEAD_BYTES_MIN);
        let mut http = http1::Builder::new();
        // `pipeline_flush` stays off: with it hyper does not flush while the client's next bytes are
        // in its buffer, not even before an upgrade, and does not bound what it has not flushed.
        http.timer(TokioTimer::new())
            .header_read_timeout(Duration::from_secs(settings.head_seconds))
            .keep_alive(true)
            .half_close(true)
            .max_headers(settings.headers_max)
            .max_header_size(settings.head_bytes_max)
            .max_buf_size(head_bytes_max);
        let doors =
            listeners.into_iter().map(|listener| Door::new(listener, apis, broadcast, &view)).collect();
        let stall = Duration::from_secs(settings.stall_seconds);
        let body = Duration::from_secs(settings.body_seconds);
        Site { http, doors, view, body_bytes_max: settings.body_bytes_max, stall, body }
    }

    pub(super) fn has_listener(&self, index: u16) -> bool {
        usize::from(index) < self.doors.len()
    }

    /// Carries one connection from its first byte on the tunnel to its last, or back to its shard.
    /// `listener` is one that [`Site::has_listener`] has.
    pub(super) async fn serve(self: Rc<Self>, listener: u16, stream: TunnelStream) {
        let tunnel = stream.tunnel();
        let peer = stream.peer();
        let switch = Rc::new(RefCell::new(None));
        let service = service_fn(|request| {
            let (site, switch) = (self.clone(), switch.clone());
            async move {
                let door = &site.doors[usize::from(listener)];
                Ok::<_, Infallible>(site.respond(door, peer, &switch, request).await)
            }
        });
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(stream), service).with_upgrades());

        let mut phase = self.view.phase.clone();
        // On a connection that comes while the server drains, each response says `close`.
        let mut may_drain = *phase.borrow_and_update() == Phase::Serving;
        let mut progress = tunnel.progress();
        let done = loop {
            tokio::select! {
                biased;
                () = tunnel.was_reset() => return,
                done = connection.as_mut() => break done,
                Ok(()) = phase.changed(), if may_drain => {
                    may_drain = false;
                    // hyper would drop a request that it has not begun to read.
                    if !tunnel.has_unread() {
                        connection.as_mut().graceful_shutdown();
                    }
                }
                () = tokio::time::sleep(self.stall) => {
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
        door: &Door,
        peer: PeerKey,
        switch: &RefCell<Option<Switch>>,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let mut response = match self.answer(door, peer, request).await {
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
    async fn answer(
        &self,
        door: &Door,
        peer: PeerKey,
        mut request: Request<Incoming>,
    ) -> Result<Answer, Response<Body>> {
        let path = request.uri().path();
        let streams_body = routes::streams_body(door.services, path);
        let goes_on = routes::is_for_operators(door.services, path)
            || routes::ends_a_session(door.services, path, request.uri().query());
        if self.view.draining() && !goes_on {
            return Err(refusal(StatusCode::SERVICE_UNAVAILABLE, "The server is shutting down.\n"));
        }
        if let Some(terms) = &door.websockets
            && !routes::upgrades_itself(door.services, request.uri().path())
            && upgrade::asks(&request)
        {
            let (response, switch) =
                upgrade::accept(request, peer, terms, (self.view.sources.clock)().unix_seconds())
                    .map_err(|refused| *refused)?;
            return Ok(Answer::Switching(response, switch));
        }
        if !has_one_host(&request) {
            return Err(refusal(StatusCode::BAD_REQUEST, "Exactly one Host header is needed.\n"));
        }
        // By it a service tells the requests of one connection from those of others.
        request.extensions_mut().insert(peer);
        if request.body().is_end_stream() {
            let Ok(response) = door.routes.call(request).await;
            return Ok(Answer::Plain(response));
        }
        let answered = async {
            if !streams_body {
                self.discard_body(&mut request).await?;
            }
            let Ok(response) = door.routes.call(request).await;
            Ok(Answer::Plain(response))
        };
        // Nothing that has a body takes long once the body is there.
        match tokio::time::timeout(self.body, answered).await {
            Ok(answer) => answer,
            Err(_) => Err(refusal(StatusCode::REQUEST_TIMEOUT, "The request's body took too long.\n")),
        }
    }

    /// A route that has no use for a body still lets the client finish it, so that the connection
    /// can go on. A client that asks first (`Expect: 100-continue`) is not told to send it.
    async fn discard_body(&self, request: &mut Request<Incoming>) -> Result<(), Response<Body>> {
        let too_large = || refusal(StatusCode::PAYLOAD_TOO_LARGE, "This path takes no body of that size.\n");
        if request.body().size_hint().lower() > self.body_bytes_max {
            return Err(too_large());
        }
        if request.headers().contains_key(header::EXPECT) {
            return Ok(());
        }
        let mut seen_bytes = 0;
        while let Some(frame) = poll_fn(|cx| Pin::new(request.body_mut()).poll_frame(cx)).await {
            let frame = frame.map_err(|_| refusal(StatusCode::BAD_REQUEST, "The body is broken.\n"))?;
            seen_bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            if seen_bytes > self.body_bytes_max {
                return Err(too_large());
            }
        }
        Ok(())
    }
}

enum Answer {
    Plain(Response<Body>),
    Switching(Response<Body>, Switch),
}

const CLOSE: HeaderValue = HeaderValue::from_static("close");

impl Door {
    fn new(listener: Listener, apis: &Apis, broadcast: Option<&Broadcast>, view: &Arc<View>) -> Door {
        let Listener { services, websockets, only_devices, allowed_origins, expose_shard } = listener;
        let devices = apis.devices.clone().filter(|_| only_devices);
        Door {
            routes: TowerToHyperService::new(routes::router(services, apis, broadcast, view.clone())),
            services,
            websockets: websockets.then_some(Terms { devices, allowed_origins, expose_shard }),
        }
    }
}

/// RFC 9112 section 3.2: a 1.1 request with no Host, or with several, is answered 400.
fn has_one_host(request: &Request<Incoming>) -> bool {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    hosts == 1 || (hosts == 0 && request.version() == Version::HTTP_10)
}
