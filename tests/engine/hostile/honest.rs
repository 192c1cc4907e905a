//! Clients in good order, and how long their messages take while others misbehave.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::crowd::offers::{Call, Pair, calm_round, p99};
use crate::harness::*;

/// Between two messages of one pair.
const PACE: Duration = Duration::from_millis(1);
/// Samples that make one p99.
const ROUND: usize = 100;
/// On a machine of two cores, where the attackers run too, one turn of another process takes that
/// long, whatever the server does.
pub const NOISE: Duration = Duration::from_millis(5);

/// Which part of the server they use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Offers over HTTP, heard on a WebSocket: the front, and a shard.
    Calls,
    /// Offers from one WebSocket to another: the shards alone.
    Devices,
}

/// One pair of each kind, on a thread of their own: what the attackers do to this process's runtime
/// is no fault of the server.
pub struct Honest {
    took: Arc<Mutex<Vec<Vec<Duration>>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

enum Talk {
    Calls(Call),
    Devices(Pair),
}

impl Honest {
    pub async fn begin(addr: SocketAddr, kinds: &'static [Kind]) -> Honest {
        let took = Arc::new(Mutex::new(vec![Vec::new(); kinds.len()]));
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, begun) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn({
            let (took, stop) = (took.clone(), stop.clone());
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime").block_on(async {
                    let mut talks = Vec::new();
                    for kind in kinds {
                        talks.push(match kind {
                            Kind::Calls => Talk::Calls(Call::begin(addr, 0).await),
                            Kind::Devices => Talk::Devices(Pair::begin(addr).await),
                        });
                    }
                    let _ = tell.send(());
                    while !stop.load(Ordering::Relaxed) {
                        for (index, talk) in talks.iter_mut().enumerate() {
                            let one = match talk {
                                Talk::Calls(call) => call.offer().await,
                                Talk::Devices(pair) => pair.offer().await,
                            };
                            took.lock()[index].push(one);
                        }
                        tokio::time::sleep(PACE).await;
                    }
                });
            }
        });
        within("the honest ones talk", begun).await.expect("they have begun");
        Honest { took, stop, thread: Some(thread) }
    }

    /// What a message took since this was asked last: the p99 of a calm round of each kind. An attack
    /// costs what it costs in every round, and other processes on the machine in some.
    pub fn p99s(&self) -> Vec<Duration> {
        let mut took = self.took.lock();
        let p99s = took.iter_mut().map(|took| {
            let mut rounds: Vec<Duration> = std::mem::take(took).chunks_exact_mut(ROUND).map(p99).collect();
            assert!(!rounds.is_empty(), "fewer than {ROUND} messages got through");
            calm_round(&mut rounds)
        });
        p99s.collect()
    }

    /// Once each kind has had so many rounds.
    pub async fn after_rounds(&self, rounds: usize) -> Vec<Duration> {
        self.p99s_or_nothing();
        let enough = || self.took.lock().iter().all(|took| took.len() >= rounds * ROUND);
        until("the honest ones have talked", async || enough().then_some(())).await;
        self.p99s()
    }

    /// What came before does not count.
    pub fn p99s_or_nothing(&self) {
        self.took.lock().iter_mut().for_each(Vec::clear);
    }
}

impl Drop for Honest {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            ended.expect("joined once").expect("every message of the honest ones arrived");
        }
    }
}

/// How long something went on, for the figures of a test.
pub fn a_second(count: usize, since: Instant) -> f64 {
    count as f64 / since.elapsed().as_secs_f64()
}
