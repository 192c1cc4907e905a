//! After ten thousand rounds of everything that a client must not do, nothing is left of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::bad_input::Fault;
use crate::harness::*;

const ROUNDS_OF_WARM_UP: usize = 100;
const ROUNDS: usize = 10_000;

/// Rounds at the same time, after the first hundred, which go off all at once: so the warm-up has
/// seen the crowd at its largest.
const WORKERS: usize = 60;

/// How long the engine waits for a first message. On two busy cores, a client in good order must
/// not be taken for one that says nothing.
const PATIENCE: &str = "'600ms'";

const BYSTANDERS_TALK_EVERY: usize = 250;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_rounds_of_bad_input_leave_no_descriptor_and_no_memory_behind() {
    let server = Arc::new(
        Fault::setup(PATIENCE).section("[logging]\nlevel = 'warn'").open_to_all().alone().start().await,
    );
    let bystanders = Arc::new(Mutex::new(Bystanders::login(&server).await));
    let mut workers = Vec::new();
    for number in 0..ROUNDS_OF_WARM_UP {
        let pusher =
            Client::login(server.main(), Via::Tcp, Form::FlatJson, &format!("pusher-{number}")).await;
        workers.push(Arc::new(Worker { id: format!("worker-{number}"), pusher: Mutex::new(pusher) }));
    }

    run(&server, &workers, &bystanders, ROUNDS_OF_WARM_UP).await;
    let descriptors = settled_descriptors(&server).await;
    let first_kib = pss_kib(&server);

    run(&server, &workers[..WORKERS], &bystanders, ROUNDS - ROUNDS_OF_WARM_UP).await;
    let mut last = 0;
    until("exactly as many descriptors as after the first hundred rounds", async || {
        last = descriptors_of(&server);
        (last == descriptors).then_some(())
    })
    .await;
    let last_kib = pss_kib(&server);
    println!("descriptors {descriptors}; proportional memory {first_kib} KiB, then {last_kib} KiB");
    let growth = (last_kib as f64 - first_kib as f64) / first_kib as f64;
    // Less than after the warm-up, which is the largest crowd, is no leak.
    assert!(growth <= 0.02, "proportional memory went from {first_kib} KiB to {last_kib} KiB");
    bystanders.lock().await.talk().await;
}

struct Worker {
    id: String,
    pusher: Mutex<Client>,
}

/// Shares `rounds` among the workers, each round being every fault once.
async fn run(
    server: &Arc<Server>,
    workers: &[Arc<Worker>],
    bystanders: &Arc<Mutex<Bystanders>>,
    rounds: usize,
) {
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for worker in workers {
        let (server, worker, bystanders, next) =
            (server.clone(), worker.clone(), bystanders.clone(), next.clone());
        tasks.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= rounds {
                    return;
                }
                round(&server, &worker).await;
                if number.is_multiple_of(BYSTANDERS_TALK_EVERY) {
                    bystanders.lock().await.talk().await;
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("the round holds what it asserts");
    }
}

/// The faults that consist of waiting go on beside the others, each under an id of its own.
async fn round(server: &Server, worker: &Worker) {
    let (slow, quick): (Vec<Fault>, Vec<Fault>) = Fault::ALL.into_iter().partition(|fault| {
        matches!(
            fault,
            Fault::NeverReads
                | Fault::SaysNothing
                | Fault::SaysNothingAfterTheUpgrade
                | Fault::HeadThatNeverEnds
        )
    });
    let sloth = format!("{}-sloth", worker.id);
    let waiting = slow.into_iter().map(|fault| fault.commit(server, &sloth, &worker.pusher));
    let waiting = futures_util::future::join_all(waiting);
    let doing = async {
        for fault in quick {
            fault.commit(server, &worker.id, &worker.pusher).await;
        }
    };
    tokio::join!(waiting, doing);
}

pub fn descriptors_of(server: &Server) -> usize {
    let folder = format!("/proc/{}/fd", server.pid());
    std::fs::read_dir(folder).expect("the process is ours").count()
}

/// The number of open descriptors once it has been the same for a while.
pub async fn settled_descriptors(server: &Server) -> usize {
    let (mut last, mut same) = (0, 0);
    until("the number of descriptors settles", async || {
        let now = descriptors_of(server);
        same = if now == last { same + 1 } else { 0 };
        last = now;
        (same == 50).then_some(now)
    })
    .await
}

pub fn pss_kib(server: &Server) -> u64 {
    let rollup =
        std::fs::read_to_string(format!("/proc/{}/smaps_rollup", server.pid())).expect("the process is ours");
    let line = rollup.lines().find(|line| line.starts_with("Pss:")).expect("a Pss line");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}
