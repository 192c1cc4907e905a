//! What operators of `calls` ask for: whether it is healthy, and where its CPU time goes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::body::{Body as HttpBody, Frame};
use pprof::protos::Message as _;
use pprof::{ProfilerGuard, ProfilerGuardBuilder};
use tokio::task::spawn_blocking;
use tokio::time::Interval;

/// Samples a second of CPU time; as no multiple of ten it does not keep step with timers.
const SAMPLES_PER_SECOND: i32 = 99;

const SECONDS_DEFAULT: u64 = 30;
const SECONDS_MAX: u64 = 300;

/// A connection on which nothing moves is cut, also while its profile is being taken. So
/// something moves.
const FILLER_APART: Duration = Duration::from_secs(5);

/// Two bytes of a profile that say nothing: its period is 0. The last value of a field counts, and
/// the true one follows.
const FILLER: &[u8] = &[PERIOD_FIELD << 3, 0];

/// `Profile.period`, an int64.
const PERIOD_FIELD: u8 = 12;

/// What the routes are made of.
#[derive(Clone)]
pub struct CallsHealth {
    pub is_healthy: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// Answered also while the server drains.
pub(super) const PATHS: [&str; 2] = ["/healthz", "/debug/pprof/profile"];

pub(super) fn router(health: CallsHealth) -> Router {
    Router::new().route(PATHS[0], get(healthz)).route(PATHS[1], get(profile)).with_state(health)
}

async fn healthz(State(health): State<CallsHealth>) -> Response {
    if (health.is_healthy)() {
        StatusCode::OK.into_response()
    } else {
        (StatusCode::INTERNAL_SERVER_ERROR, "unhealthy\n").into_response()
    }
}

/// A CPU profile of the process in the format of pprof. The client has it stopped by going.
async fn profile(RawQuery(query): RawQuery) -> Response {
    let Some(seconds) = seconds(query.as_deref().unwrap_or_default()) else {
        return (StatusCode::BAD_REQUEST, "seconds is a number from 1 to 300.\n").into_response();
    };
    // The first start reads the debug information of the program, which takes a while.
    let guard = match spawn_blocking(start).await {
        Ok(Ok(guard)) => guard,
        Ok(Err(pprof::Error::Running)) => {
            return (StatusCode::CONFLICT, "Another profile is being taken.\n").into_response();
        }
        Ok(Err(_)) | Err(_) => {
            let line = "The profile could not be started.\n";
            return (StatusCode::INTERNAL_SERVER_ERROR, line).into_response();
        }
    };
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"profile\""),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    let report = async move {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let report = spawn_blocking(move || encoded(guard)).await;
        report.ok().and_then(Result::ok).ok_or(NoReport)
    };
    let mut filler = tokio::time::interval(FILLER_APART);
    filler.reset();
    (headers, Body::new(Sampling { report: Some(Box::pin(report)), filler })).into_response()
}

/// The report could not be made, so that the body ends before its end.
#[derive(Debug)]
struct NoReport;

impl std::fmt::Display for NoReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the profile could not be encoded")
    }
}

impl std::error::Error for NoReport {}

type Report = Pin<Box<dyn Future<Output = Result<Vec<u8>, NoReport>> + Send>>;

/// A body of fillers, and then the report.
struct Sampling {
    /// None once it has come.
    report: Option<Report>,
    filler: Interval,
}

impl HttpBody for Sampling {
    type Data = Bytes;
    type Error = NoReport;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, NoReport>>> {
        let Some(report) = &mut self.report else { return Poll::Ready(None) };
        if let Poll::Ready(report) = report.as_mut().poll(cx) {
            self.report = None;
            return Poll::Ready(Some(report.map(|report| Frame::data(report.into()))));
        }
        self.filler.poll_tick(cx).map(|_| Some(Ok(Frame::data(Bytes::from_static(FILLER)))))
    }
}

/// `None` where the query asks for what cannot be had.
fn seconds(query: &str) -> Option<u64> {
    let asked = query.split('&').find_map(|pair| pair.strip_prefix("seconds="));
    match asked {
        None | Some("") => Some(SECONDS_DEFAULT),
        Some(asked) => asked.parse().ok().filter(|seconds| (1..=SECONDS_MAX).contains(seconds)),
    }
}

/// Nothing is excluded from the samples: most of the CPU time is spent in system calls. Walking a stack
/// inside a signal handler takes no lock where the C library finds unwind tables without one, as
/// glibc does since 2.35.
fn start() -> pprof::Result<ProfilerGuard<'static>> {
    ProfilerGuardBuilder::default().frequency(SAMPLES_PER_SECOND).build()
}

fn encoded(guard: ProfilerGuard<'static>) -> pprof::Result<Vec<u8>> {
    let profile = guard.report().build()?.pprof()?;
    drop(guard);
    Ok(profile.encode_to_vec())
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::{AtomicBool, Ordering};

    use axum::extract::Request;
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;
    use pprof::protos::Profile;

    use super::*;

    async fn ask(health: bool, method: &str, path: &str) -> Response {
        let routes = router(CallsHealth { is_healthy: Arc::new(move || health) });
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        TowerToHyperService::new(routes).call(request).await.unwrap()
    }

    async fn body(response: Response) -> Vec<u8> {
        axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()
    }

    #[tokio::test]
    async fn health_is_200_or_500_unhealthy() {
        for method in ["GET", "HEAD"] {
            assert_eq!(ask(true, method, "/healthz").await.status(), 200);
        }
        let response = ask(false, "GET", "/healthz").await;
        assert_eq!(response.status(), 500);
        assert_eq!(body(response).await, b"unhealthy\n");
    }

    #[test]
    fn seconds_are_30_or_as_asked_for_up_to_300() {
        for (query, expected) in [
            ("", Some(30)),
            ("debug=1&seconds=", Some(30)),
            ("seconds=1", Some(1)),
            ("x=y&seconds=300", Some(300)),
            ("seconds=301", None),
            ("seconds=0", None),
            ("seconds=-1", None),
            ("seconds=1.5", None),
            ("seconds=99999999999999999999", None),
        ] {
            assert_eq!(seconds(query), expected, "{query}");
        }
    }

    /// Stays in the symbol table under its name.
    #[inline(never)]
    fn spend_cpu_time(until: &AtomicBool) -> u64 {
        let mut sum = 0_u64;
        while !until.load(Ordering::Relaxed) {
            for n in 0..1000 {
                sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(n));
            }
        }
        sum
    }

    /// One test, since the process has one profiler.
    #[tokio::test]
    async fn a_profile_decodes_and_names_the_function_that_spends_the_time_one_at_a_time() {
        let enough = Arc::new(AtomicBool::new(false));
        let worker = {
            let enough = enough.clone();
            std::thread::spawn(move || spend_cpu_time(&enough))
        };
        let given_up = ask(true, "GET", "/debug/pprof/profile?seconds=300").await;
        assert_eq!(given_up.status(), 200);
        let refused = ask(true, "GET", "/debug/pprof/profile?seconds=1").await;
        assert_eq!(refused.status(), 409);
        assert_eq!(ask(true, "GET", "/debug/pprof/profile?seconds=x").await.status(), 400);
        // Its client goes.
        drop(given_up);

        let response = ask(true, "GET", "/debug/pprof/profile?seconds=1").await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/octet-stream");
        let encoded = body(response).await;
        enough.store(true, Ordering::Relaxed);
        worker.join().unwrap();

        // Fillers may precede it anywhere but in its middle.
        let profile = Profile::decode(&*[FILLER, FILLER, &encoded].concat()).unwrap();
        assert_eq!(profile.period, 1_000_000_000 / i64::from(SAMPLES_PER_SECOND));
        let name = |index: i64| profile.string_table[index as usize].as_str();
        let types: Vec<_> = profile.sample_type.iter().map(|kind| (name(kind.ty), name(kind.unit))).collect();
        assert_eq!(types, [("samples", "count"), ("cpu", "nanoseconds")]);
        let spenders: Vec<u64> = profile
            .function
            .iter()
            .filter(|function| name(function.name).contains("spend_cpu_time"))
            .map(|function| function.id)
            .collect();
        let spends = |id: &u64| {
            let location = profile.location.iter().find(|location| location.id == *id);
            location.is_some_and(|at| at.line.iter().any(|line| spenders.contains(&line.function_id)))
        };
        let spent = profile.sample.iter().filter(|sample| sample.location_id.iter().any(spends));
        let spent: i64 = spent.map(|sample| sample.value[0]).sum();
        assert!(spent > 5, "{spent} samples of {}", profile.sample.len());
    }

    #[tokio::test]
    async fn something_moves_while_a_profile_is_taken() {
        let (finish, finished) = tokio::sync::oneshot::channel();
        let report = Box::pin(async { finished.await.map_err(|_| NoReport) });
        let filler = tokio::time::interval(Duration::from_millis(1));
        let mut sampling = Sampling { report: Some(report), filler };
        let mut frames = Vec::new();
        let mut finish = Some(finish);
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut sampling).poll_frame(cx)).await {
            frames.push(frame.unwrap().into_data().unwrap());
            if frames.len() == 2 {
                finish.take().map(|finish| finish.send(b"report".to_vec()));
            }
        }
        assert_eq!(frames, [FILLER, FILLER, b"report"]);
    }
}
