//! The HTTP of `calls`: a seat is taken, and signals are published.
//!
//! ```text
//! GET  /call/{call} ─► a seat ─► PEER to the seated ─► 200 JOIN with the session
//! POST /signal      ─► is it seated? ─► the signal to the other seated ones ─► 200
//! ```

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use hyper::body::Body as _;
use svix_ksuid::{KSUID_EPOCH, Ksuid};

use super::client::{Client, Doorkeeper};
use super::run::Clock;
use crate::base::{Live, Now, PeerKey};
use crate::dialect::calls::{self, Event, EventKind, Message};
use crate::dialect::{OwnedDelivery, calls::CALL_BYTES_MAX};
use crate::hub::{Action, SeatAnswer};

/// A store that had no answer yet is asked again after this.
const ASK_AGAIN: Duration = Duration::from_millis(10);

/// What a browser's page may read and send, and for how many seconds it may remember that; the
/// values of deployed servers.
const CORS_HEADERS: HeaderValue = HeaderValue::from_static("Cache-Control, Content-Type, User-Agent");
const CORS_SECONDS: HeaderValue = HeaderValue::from_static("60");

/// What the routes are made of. A reload replaces it as a whole.
#[derive(Clone)]
pub struct CallsApi {
    pub settings: calls::Settings,
    /// The one origin whose pages may use this API.
    pub origin: HeaderValue,
    pub max_body_bytes: usize,
    pub doorkeeper: Doorkeeper,
    pub clock: Clock,
    /// 128 bits from a CSPRNG: a session is the key to its seat.
    pub random: Arc<dyn Fn() -> u128 + Send + Sync>,
    /// Who hears of an event that could not be delivered.
    pub from: PeerKey,
    /// Sends one event to one listener. What becomes of it is counted there.
    pub send: Arc<dyn Fn(PeerKey, OwnedDelivery) + Send + Sync>,
    pub draining: Arc<dyn Fn() -> bool + Send + Sync>,
}

pub(super) fn router(api: Arc<Live<CallsApi>>) -> Router {
    Router::new()
        .route("/call/", any(call))
        .route("/call/{*call}", any(call))
        .route("/signal", any(signal))
        .with_state(api)
}

/// Whether a request to this path has a body that its route reads, and bounds.
pub(super) fn reads_body(path: &str) -> bool {
    path == "/signal"
}

/// A refusal: its status, and a line for a person.
type Refused = (StatusCode, &'static str);

async fn call(State(api): State<Arc<Live<CallsApi>>>, request: Request) -> Response {
    let api = api.get();
    let answer = match *request.method() {
        Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        Method::GET if !api.doorkeeper.admit(Client::of_request(&request), Action::TakeSeat) => {
            let line = "Too many seats are taken from this address.\n";
            (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "1")], line).into_response()
        }
        Method::GET => match api.join(request.uri().path()).await {
            Ok(join) => ([(header::CONTENT_TYPE, "application/json")], join).into_response(),
            Err(refused) => refused.into_response(),
        },
        _ => method_not_allowed("GET, OPTIONS"),
    };
    api.with_cors(answer, "GET, OPTIONS")
}

async fn signal(State(api): State<Arc<Live<CallsApi>>>, request: Request) -> Response {
    let api = api.get();
    let answer = match *request.method() {
        Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        Method::POST => match api.publish_signal(request).await {
            Ok(()) => StatusCode::OK.into_response(),
            Err(refused) => refused.into_response(),
        },
        _ => method_not_allowed("POST, OPTIONS"),
    };
    api.with_cors(answer, "POST, OPTIONS")
}

impl CallsApi {
    /// Takes a seat; answers with the handshake for the WebSocket.
    async fn join(&self, path: &str) -> Result<Vec<u8>, Refused> {
        let call = call_of(path)?;
        self.refuse_while_draining()?;
        let session = session(self.now(), (self.random)());
        match self.asked(|seats, now, terms| seats.acquire(&call, &session, now, terms)).await {
            SeatAnswer::Seated => {}
            SeatAnswer::Refused => return Err((StatusCode::CONFLICT, "No seat is free in this call.\n")),
            SeatAnswer::Pending | SeatAnswer::Failed => return Err(NO_STORE),
        }
        let peer = Event { call: &call, session: "", body: calls::Body::default(), kind: EventKind::Peer };
        self.publish(&peer, &session).await;
        let join = Event { session: &session, kind: EventKind::Join, ..peer };
        let mut out = Vec::new();
        calls::write_event(&join, &mut out);
        Ok(out)
    }

    async fn publish_signal(&self, request: Request) -> Result<(), Refused> {
        if !is_json(request.headers()) {
            return Err((StatusCode::BAD_REQUEST, "Content-Type has to be application/json.\n"));
        }
        let body = self.read_body(request.into_body()).await?;
        let malformed = (StatusCode::BAD_REQUEST, "The body is no JSON object with these fields as text.\n");
        let text = std::str::from_utf8(&body).map_err(|_| malformed)?;
        let message = Message::parse(text).map_err(|_| malformed)?;
        let incomplete = "A signal needs call, session, body, and kind OFFER, ANSWER or CANDIDATE.\n";
        let kind = message.signal().ok_or((StatusCode::BAD_REQUEST, incomplete))?;
        self.refuse_while_draining()?;
        let (call, session) = (&*message.call, &*message.session);
        match self.asked(|seats, now, terms| seats.holds(call, session, now, terms)).await {
            SeatAnswer::Seated => {}
            SeatAnswer::Refused => {
                return Err((StatusCode::CONFLICT, "The session has no seat in this call.\n"));
            }
            SeatAnswer::Pending | SeatAnswer::Failed => return Err(NO_STORE),
        }
        // Whoever knows a session could speak for it, so it is not passed on.
        self.publish(&Event { call, session: "", body: message.body, kind }, session).await;
        Ok(())
    }

    /// Sends an event to all who listen to its call and hold a seat in it, but for one session.
    async fn publish(&self, event: &Event<'_>, but_session: &str) {
        for listener in self.settings.seats.listeners(event.call, but_session) {
            let is_seated =
                self.asked(|seats, now, terms| seats.holds(event.call, &listener.session, now, terms));
            // A seat may have lapsed on a connection that does not know it yet, and have been taken
            // by another: then its former holder hears no more.
            if is_seated.await == SeatAnswer::Seated {
                (self.send)(listener.key, calls::delivery(self.from, event));
            }
        }
    }

    /// The store's answer once it has one.
    async fn asked(
        &self,
        ask: impl Fn(&crate::hub::Seats, Now, crate::hub::SeatTerms) -> SeatAnswer,
    ) -> SeatAnswer {
        loop {
            match ask(&self.settings.seats, self.now(), self.settings.terms()) {
                SeatAnswer::Pending => tokio::time::sleep(ASK_AGAIN).await,
                answer => return answer,
            }
        }
    }

    fn now(&self) -> Now {
        (self.clock)()
    }

    fn refuse_while_draining(&self) -> Result<(), Refused> {
        if (self.draining)() {
            return Err((StatusCode::SERVICE_UNAVAILABLE, "The server is shutting down.\n"));
        }
        Ok(())
    }

    async fn read_body(&self, mut body: Body) -> Result<Vec<u8>, Refused> {
        let too_large = (StatusCode::PAYLOAD_TOO_LARGE, "A signal may not be that large.\n");
        if body.size_hint().lower() > self.max_body_bytes as u64 {
            return Err(too_large);
        }
        let mut whole = Vec::new();
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            let frame = frame.map_err(|_| (StatusCode::BAD_REQUEST, "The body is broken.\n"))?;
            let data = frame.data_ref().map_or(&[][..], |data| data);
            if whole.len() + data.len() > self.max_body_bytes {
                return Err(too_large);
            }
            whole.extend_from_slice(data);
        }
        Ok(whole)
    }

    /// The same for all who ask, so no answer varies with its request's Origin.
    fn with_cors(&self, mut response: Response, methods: &'static str) -> Response {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, self.origin.clone());
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, CORS_HEADERS);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, CORS_HEADERS);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, CORS_SECONDS);
        if response.status() == StatusCode::PAYLOAD_TOO_LARGE {
            // The rest of the body is not read.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

const NO_STORE: Refused = (StatusCode::INTERNAL_SERVER_ERROR, "Seats are not to be had at the moment.\n");

fn method_not_allowed(allowed: &'static str) -> Response {
    let line = "This path does not know this method; see the Allow header.\n";
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, allowed)], line).into_response()
}

/// The call that a path names: one segment behind `/call/`. As in the deployed servers the path is
/// decoded first, so that an escaped slash makes two segments of one.
fn call_of(path: &str) -> Result<String, Refused> {
    let not_found = (StatusCode::NOT_FOUND, "A call is named by one segment: /call/{call}.\n");
    let escaped = path.strip_prefix("/call/").ok_or(not_found)?;
    let bad_escape = (StatusCode::BAD_REQUEST, "The path is not percent-encoded UTF-8.\n");
    let call = percent_decoded(escaped).ok_or(bad_escape)?;
    if call.is_empty() || call.contains('/') {
        return Err(not_found);
    }
    if call.len() > CALL_BYTES_MAX {
        return Err((StatusCode::BAD_REQUEST, "The name of the call is too long.\n"));
    }
    Ok(call)
}

fn percent_decoded(escaped: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(escaped.len());
    let mut rest = escaped.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let (high, low) = (digit()?, digit()?);
            decoded.push((high << 4 | low) as u8);
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok()
}

/// A KSUID: 27 base-62 characters that sort by time.
fn session(now: Now, random: u128) -> String {
    let seconds = now.unix_seconds().saturating_sub(KSUID_EPOCH as u64);
    let timestamp = u32::try_from(seconds).unwrap_or(u32::MAX);
    Ksuid::new_raw(timestamp, Some(&random.to_be_bytes())).to_string()
}

/// As in deployed servers the type has to be named: it is what makes a browser ask before it lets
/// a foreign page send.
fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let only = types.next().filter(|_| types.next().is_none());
    let media_type = only.and_then(|value| value.to_str().ok()?.split(';').next());
    media_type.is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use hyper::body::{Frame, SizeHint};
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;
    use parking_lot::Mutex;

    use super::*;
    use crate::base::NodeId;
    use crate::dialect::Speaks;
    use crate::hub::{SeatLimits, SeatStore, SeatTerms, Seats};

    /// What was sent, and to whom.
    type Sent = Arc<Mutex<Vec<(u32, String)>>>;

    struct Site {
        routes: TowerToHyperService<Router>,
        seats: Arc<Seats>,
        sent: Sent,
        clock: Arc<Mutex<Now>>,
        draining: Arc<Mutex<bool>>,
    }

    const START: Now = Now { mono_us: 5_000_000, unix_ms: 1_700_000_000_000 };
    const FROM: PeerKey = PeerKey { node: NodeId::FRONT, slot: 9, generation: 9 };

    fn listener(slot: u32) -> PeerKey {
        PeerKey { node: NodeId::shard(0), slot, generation: 0 }
    }

    impl Site {
        fn new() -> Site {
            Site::with(Seats::in_memory(SeatLimits::default(), 1))
        }

        fn with(seats: Seats) -> Site {
            let (seats, sent) = (Arc::new(seats), Sent::default());
            let (clock, draining) = (Arc::new(Mutex::new(START)), Arc::new(Mutex::new(false)));
            let random = Mutex::new(0);
            let api = CallsApi {
                settings: calls::Settings {
                    seats: seats.clone(),
                    seat_count: 2,
                    seat_timeout: Duration::from_secs(30),
                    ws_handshake_timeout: Duration::ZERO,
                    ws_join_timeout: Duration::ZERO,
                    ws_ping_interval: Duration::ZERO,
                    ws_read_timeout: Duration::ZERO,
                },
                origin: HeaderValue::from_static("http://localhost:8080"),
                max_body_bytes: 200,
                doorkeeper: Doorkeeper::of_nobody(Arc::new(|| START)),
                clock: {
                    let clock = clock.clone();
                    Arc::new(move || *clock.lock())
                },
                random: Arc::new(move || {
                    let mut random = random.lock();
                    *random += 1;
                    *random
                }),
                from: FROM,
                send: {
                    let sent = sent.clone();
                    Arc::new(move |to, owned| {
                        let delivery = owned.borrow();
                        assert_eq!(delivery.from, FROM);
                        let mut text = Vec::new();
                        let plan =
                            delivery.plan(Speaks::Calls, START, &mut NoEntropy).expect("it is of calls");
                        delivery.write(&plan, &mut text);
                        sent.lock().push((to.slot, String::from_utf8(text).expect("a text")));
                    })
                },
                draining: {
                    let draining = draining.clone();
                    Arc::new(move || *draining.lock())
                },
            };
            let routes = TowerToHyperService::new(router(Arc::new(Live::new(api))));
            Site { routes, seats, sent, clock, draining }
        }

        async fn ask(
            &self,
            method: &str,
            path: &str,
            body: impl Into<Body>,
        ) -> (StatusCode, HeaderMap, String) {
            let request = Request::builder().method(method).uri(path);
            self.send(request.header("Content-Type", "application/json").body(body.into()).unwrap()).await
        }

        async fn send(&self, request: Request) -> (StatusCode, HeaderMap, String) {
            let (head, body) = self.routes.call(request).await.unwrap().into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            (head.status, head.headers, String::from_utf8(body.to_vec()).unwrap())
        }

        /// Takes a seat in `room`; returns its session.
        async fn join(&self) -> String {
            let (status, headers, body) = self.ask("GET", "/call/room", Body::empty()).await;
            assert_eq!(status, StatusCode::OK);
            assert_eq!(headers["content-type"], "application/json");
            let session = body.strip_prefix(r#"{"call":"room","session":""#).expect("a JOIN");
            session.strip_suffix(r#"","kind":"JOIN"}"#).expect("a JOIN").to_owned()
        }

        async fn signal(&self, session: &str, kind: &str) -> StatusCode {
            let text =
                format!(r#"{{"session":"{session}","call":"room","kind":"{kind}","body":"v=\u0030"}}"#);
            self.ask("POST", "/signal", text).await.0
        }

        fn sent(&self) -> Vec<(u32, String)> {
            std::mem::take(&mut self.sent.lock())
        }

        fn pass(&self, seconds: u64) {
            let mut now = self.clock.lock();
            now.mono_us += seconds * 1_000_000;
            now.unix_ms += seconds * 1000;
        }
    }

    struct NoEntropy;

    impl crate::base::Entropy for NoEntropy {
        fn next_u128(&mut self) -> u128 {
            unreachable!("an event passes as it is")
        }
    }

    #[tokio::test]
    async fn a_join_takes_a_seat_and_tells_the_seated_until_the_call_is_full() {
        let site = Site::new();
        let first = site.join().await;
        assert_eq!(site.sent(), []);
        site.seats.subscribe("room", &first, listener(1)).unwrap();
        site.pass(1);
        let second = site.join().await;
        assert_eq!(site.sent(), [(1, r#"{"call":"room","kind":"PEER"}"#.to_owned())]);
        for session in [&first, &second] {
            assert_eq!(session.len(), 27);
            assert!(session.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{session}");
        }
        assert!(first < second, "{first} {second}");
        assert_eq!(site.ask("GET", "/call/room", Body::empty()).await.0, StatusCode::CONFLICT);
        assert_eq!(site.sent(), []);
        assert_eq!(site.ask("GET", "/call/other", Body::empty()).await.0, StatusCode::OK);
        site.pass(30);
        site.join().await;
    }

    #[tokio::test]
    async fn a_call_is_one_decoded_segment() {
        let site = Site::new();
        for (path, status, call) in [
            ("/call/a%20b%C3%A9+c?x=/y", 200, "a bé+c"),
            ("/call/%22", 200, "\\\""),
            ("/call/", 404, ""),
            ("/call//", 404, ""),
            ("/call/a/b", 404, ""),
            ("/call/a/", 404, ""),
            ("/call/a%2Fb", 404, ""),
            ("/call", 404, ""),
            ("/call/%", 400, ""),
            ("/call/%2", 400, ""),
            ("/call/%+1", 400, ""),
            ("/call/%zz", 400, ""),
            ("/call/%ff", 400, ""),
        ] {
            let (got, _, body) = site.ask("GET", path, Body::empty()).await;
            assert_eq!(got.as_u16(), status, "{path}");
            assert!(body.starts_with(&format!("{{\"call\":\"{call}\"")) || status != 200, "{body}");
        }
        let longest = format!("/call/{}", "x".repeat(CALL_BYTES_MAX));
        assert_eq!(site.ask("GET", &longest, Body::empty()).await.0, StatusCode::OK);
        assert_eq!(site.ask("GET", &(longest + "x"), Body::empty()).await.0, StatusCode::BAD_REQUEST);
    }

    #[tokio::test]
    async fn every_answer_has_the_cors_headers_and_options_needs_no_seat() {
        let site = Site::new();
        for (method, path, status, methods) in [
            ("OPTIONS", "/call/room", 204, "GET, OPTIONS"),
            ("OPTIONS", "/signal", 204, "POST, OPTIONS"),
            ("GET", "/call/room", 200, "GET, OPTIONS"),
            ("GET", "/call/", 404, "GET, OPTIONS"),
            ("HEAD", "/call/room", 405, "GET, OPTIONS"),
            ("POST", "/call/room", 405, "GET, OPTIONS"),
            ("DELETE", "/call/room", 405, "GET, OPTIONS"),
            ("GET", "/signal", 405, "POST, OPTIONS"),
            ("PUT", "/signal", 405, "POST, OPTIONS"),
            ("POST", "/signal", 400, "POST, OPTIONS"),
        ] {
            let (got, headers, body) = site.ask(method, path, Body::empty()).await;
            assert_eq!(got.as_u16(), status, "{method} {path}");
            assert_eq!(headers["access-control-allow-origin"], "http://localhost:8080");
            assert_eq!(headers["access-control-allow-methods"], methods);
            assert_eq!(headers["access-control-allow-headers"], "Cache-Control, Content-Type, User-Agent");
            assert_eq!(headers.get("allow").is_some(), status == 405);
            assert_eq!(body.is_empty(), status == 204 || method == "HEAD", "{method} {path}: {body}");
        }
        assert_eq!(site.seats.holds("room", "", *site.clock.lock(), TERMS), SeatAnswer::Refused);
        site.join().await;
    }

    const TERMS: SeatTerms = SeatTerms { seats_max: 2, timeout: Duration::from_secs(30) };

    #[tokio::test]
    async fn a_signal_reaches_the_other_seated_ones_without_its_session() {
        let site = Site::new();
        let (me, peer) = (site.join().await, site.join().await);
        for (slot, session) in [(1, &me), (2, &peer), (3, &me), (4, &peer)] {
            site.seats.subscribe("room", session, listener(slot)).unwrap();
        }
        for kind in ["OFFER", "ANSWER", "CANDIDATE"] {
            assert_eq!(site.signal(&me, kind).await, StatusCode::OK);
            let text = format!(r#"{{"call":"room","body":"v=\u0030","kind":"{kind}"}}"#);
            assert_eq!(site.sent(), [(2, text.clone()), (4, text)]);
        }
        let text = format!(r#"{{"session":"{me}","call":"room","kind":"OFFER","body":"v=0"}}"#);
        assert_eq!(site.ask("POST", "/signal", text).await.2, "", "no body");
    }

    #[tokio::test]
    async fn without_a_seat_nothing_is_sent_and_nothing_is_heard() {
        let site = Site::new();
        let (me, peer) = (site.join().await, site.join().await);
        assert_eq!(site.signal("stranger", "OFFER").await, StatusCode::CONFLICT);
        for (slot, session) in [(1, &me), (2, &peer)] {
            site.seats.subscribe("room", session, listener(slot)).unwrap();
        }
        site.pass(20);
        site.seats.acquire("room", &me, *site.clock.lock(), TERMS);
        site.pass(11);
        assert_eq!(site.signal(&peer, "OFFER").await, StatusCode::CONFLICT);
        assert_eq!(site.signal(&me, "OFFER").await, StatusCode::OK);
        assert_eq!(site.sent(), [], "the seat of the other one has lapsed");
    }

    #[tokio::test]
    async fn what_is_no_signal_is_refused() {
        let site = Site::new();
        let me = site.join().await;
        let whole = format!(r#"{{"call":"room","session":"{me}","kind":"OFFER","body":"v=0"}}"#);
        let mut bodies: Vec<_> = ["", "null", "[]", "{", "v=0"].map(String::from).into();
        for kind in ["JOIN", "WELCOME", "PEER", "offer", ""] {
            bodies.push(whole.replace("OFFER", kind));
        }
        for field in ["room", &me, "v=0"] {
            bodies.push(whole.replace(field, ""));
        }
        bodies.push(whole.replace("\"v=0\"", "{}"));
        for body in bodies {
            assert_eq!(site.ask("POST", "/signal", body.clone()).await.0, StatusCode::BAD_REQUEST, "{body}");
        }
        let latin = [whole.as_bytes(), b"\xe9"].concat();
        assert_eq!(site.ask("POST", "/signal", latin).await.0, StatusCode::BAD_REQUEST);

        for (types, status) in [
            (&["application/json; charset=utf-8"][..], 200),
            (&["Application/JSON;charset=UTF-8"], 200),
            (&["text/plain"], 400),
            (&["application/jsonp"], 400),
            (&["application/json", "application/json"], 400),
            (&[], 400),
        ] {
            let mut request = Request::builder().method("POST").uri("/signal");
            for media_type in types {
                request = request.header("Content-Type", *media_type);
            }
            let (got, ..) = site.send(request.body(whole.clone().into()).unwrap()).await;
            assert_eq!(got.as_u16(), status, "{types:?}");
        }
    }

    /// A body that comes in pieces and does not say how long it is.
    struct Pieces(Vec<&'static [u8]>);

    impl hyper::body::Body for Pieces {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<Frame<Bytes>, std::convert::Infallible>>> {
            let piece = self.0.pop();
            std::task::Poll::Ready(piece.map(|piece| Ok(Frame::data(Bytes::from_static(piece)))))
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::new()
        }
    }

    #[tokio::test]
    async fn a_body_may_come_in_pieces_but_not_grow_too_large() {
        let site = Site::new();
        site.seats.acquire("room", "me", START, TERMS);
        let pieces =
            || vec![&b"\"body\":\"v=0\"}"[..], b"\"kind\":\"OFFER\",", br#"{"call":"room","session":"me","#];
        assert_eq!(site.ask("POST", "/signal", Body::new(Pieces(pieces()))).await.0, StatusCode::OK);
        let mut long = vec![&[b' '; 200][..]];
        long.extend(pieces());
        for body in [Body::new(Pieces(long)), Body::from(vec![b' '; 201])] {
            let (status, headers, _) = site.ask("POST", "/signal", body).await;
            assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
            assert_eq!(headers["connection"], "close");
        }
        assert_eq!(site.ask("POST", "/signal", vec![b' '; 200]).await.0, StatusCode::BAD_REQUEST);
    }

    /// Has its answer only when it is asked for the second time.
    struct Slow(Mutex<bool>, SeatAnswer);

    impl SeatStore for Slow {
        fn acquire(&self, call: &str, session: &str, now: Now, terms: SeatTerms) -> SeatAnswer {
            self.holds(call, session, now, terms)
        }

        fn holds(&self, _: &str, _: &str, _: Now, _: SeatTerms) -> SeatAnswer {
            let mut asked = self.0.lock();
            *asked = !*asked;
            if *asked { SeatAnswer::Pending } else { self.1 }
        }
    }

    #[tokio::test]
    async fn a_store_that_needs_time_is_waited_for_and_one_that_fails_is_an_error_of_ours() {
        for (answer, status) in
            [(SeatAnswer::Seated, 200), (SeatAnswer::Refused, 409), (SeatAnswer::Failed, 500)]
        {
            let store = Box::new(Slow(Mutex::new(false), answer));
            let site = Site::with(Seats::with_store(store, SeatLimits::default(), 1));
            assert_eq!(site.ask("GET", "/call/room", Body::empty()).await.0.as_u16(), status);
            assert_eq!(site.signal("me", "OFFER").await.as_u16(), status);
        }
    }

    #[tokio::test]
    async fn a_server_that_shuts_down_gives_no_seats() {
        let site = Site::new();
        let me = site.join().await;
        *site.draining.lock() = true;
        assert_eq!(site.ask("GET", "/call/room", Body::empty()).await.0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(site.signal(&me, "OFFER").await, StatusCode::SERVICE_UNAVAILABLE);
    }
}
