//! A crowd that is only there costs nobody anything, and telling it that somebody left is paid from
//! a budget of bytes.

mod gathering;
mod line;
pub mod offers;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::*;
use gathering::{Crowd, Heard, id_of};
use offers::{Call, Pair, calm_round, p99};

const DEVICES: usize = 5000;
const STATIONS: usize = 200;
/// So many hear of everything within a fraction of a second.
const DEVICES_FEW: usize = 500;
/// Of this process: the crowd, and whatever the tests beside it have open.
const DESCRIPTORS: u64 = 6000;

/// Enough that both engines have some on each core, and whoever else works there hits both.
const CALLS: usize = 8;
const ROUNDS: usize = 24;
const OFFERS_A_ROUND: usize = 100;
const PAUSE: Duration = Duration::from_millis(50);
/// Below this nobody asks for a ratio: an offer takes a tenth of it, and one turn of another process
/// on the same core all of it. Which of the two engines that hits is chance.
const QUICK: Duration = Duration::from_millis(3);

/// `list_update_bytes_per_second` where nothing is configured.
const BUDGET_BYTES: f64 = 8_388_608.0;
/// In a second may be what was saved up before it.
const SAVED: f64 = 1.05;
const WATCHED: Duration = Duration::from_secs(5);
/// While eight megabytes a second are copied on the same two cores.
const QUICK_MEANWHILE: Duration = Duration::from_millis(25);

#[tokio::test]
async fn idle_devices_and_stations_do_not_slow_the_offer_of_a_call() {
    if !may_open_enough("idle_devices_and_stations_do_not_slow_the_offer_of_a_call") {
        return;
    }
    let server = setup().alone().start().await;
    let calm = Calm::start();
    let crowd = Crowd::of_devices(server.main(), DEVICES).await;
    let crowd = crowd.and_stations(server.main(), STATIONS).await;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for name in 0..CALLS {
        with.push(Call::begin(server.main(), name).await);
        without.push(Call::begin(calm.addr, name).await);
    }

    // Turn by turn, so that whatever else the machine does hits both alike.
    let (mut p99s_with, mut p99s_without) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (mut took_with, mut took_without) = (Vec::new(), Vec::new());
        for offer in 0..OFFERS_A_ROUND {
            took_with.push(with[offer % CALLS].offer().await);
            took_without.push(without[offer % CALLS].offer().await);
        }
        p99s_with.push(p99(&mut took_with));
        p99s_without.push(p99(&mut took_without));
        tokio::time::sleep(PAUSE).await;
    }
    assert_eq!(crowd.present(), DEVICES + STATIONS, "the crowd is still there");
    let (with, without) = (calm_round(&mut p99s_with), calm_round(&mut p99s_without));
    println!("p99 of an offer: {with:?} in the crowd, {without:?} without it");
    assert!(
        with <= QUICK.max(2 * without),
        "p99 of {with:?} in the crowd, {without:?} without it; by round {p99s_with:?} and {p99s_without:?}"
    );
}

#[tokio::test]
async fn one_leave_among_five_thousand_stays_within_the_budget_and_slows_nobody() {
    if !may_open_enough("one_leave_among_five_thousand_stays_within_the_budget_and_slows_nobody") {
        return;
    }
    let server = setup().alone().start().await;
    let crowd = Crowd::of_devices(server.main(), DEVICES).await;
    let (mut call, mut pair) = (Call::begin(server.main(), 0).await, Pair::begin(server.main()).await);

    crowd.listen();
    crowd.leave(DEVICES / 2);
    let begin = Instant::now();
    let (mut in_call, mut in_pair) = (Vec::new(), Vec::new());
    while begin.elapsed() < WATCHED {
        in_call.push(call.offer().await);
        in_pair.push(pair.offer().await);
    }
    let (reads, stall) = crowd.reads();

    let busiest = most_in_a_second(&reads);
    let total: usize = reads.iter().map(|(_, bytes)| bytes).sum();
    println!("{total} bytes in {WATCHED:?}, {busiest} in the busiest second, read {stall:?} late at most");
    // What is read in a second was sent in that second, or as long before it as this process slept.
    let most = BUDGET_BYTES * SAVED * (1.0 + stall.as_secs_f64());
    assert!(busiest as f64 <= most, "{busiest} bytes in one second");
    // The budget is there to be used: at half of it, the last would hear after two minutes.
    let least = BUDGET_BYTES * WATCHED.as_secs_f64() / 2.0;
    assert!(total as f64 >= least, "{total} bytes in {WATCHED:?}");

    assert!(in_call.len() >= 500, "only {} offers in {WATCHED:?}", in_call.len());
    let (in_call, in_pair) = (p99(&mut in_call), p99(&mut in_pair));
    println!("p99 of an offer meanwhile: {in_call:?} in a call, {in_pair:?} between devices");
    assert!(in_call <= QUICK_MEANWHILE && in_pair <= QUICK_MEANWHILE, "{in_call:?}, {in_pair:?}");
}

#[tokio::test]
async fn everybody_who_stays_hears_once_of_one_that_left() {
    let server = setup().start().await;
    let crowd = Crowd::of_devices(server.main(), DEVICES_FEW).await;
    crowd.leave(7);
    let heard = settled(&crowd, &[7]).await;
    assert!(heard.iter().all(|(_, heard)| heard.updates == 1), "{:?}", updates(&heard));
}

#[tokio::test]
async fn those_who_leave_within_a_second_are_told_of_in_one_update() {
    let server = setup().start().await;
    let crowd = Crowd::of_devices(server.main(), DEVICES_FEW).await;
    // This one's update is sent at once, and begins the second.
    crowd.leave(0);
    until("the first update", async || (crowd.heard()[1].updates == 1).then_some(())).await;
    for index in 10..20 {
        crowd.leave(index);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let gone: Vec<usize> = std::iter::once(0).chain(10..20).collect();
    let heard = settled(&crowd, &gone).await;
    assert!(heard.iter().all(|(_, heard)| heard.updates == 2), "{:?}", updates(&heard));
}

#[tokio::test]
async fn a_hundred_that_leave_at_once_are_told_of_in_three_updates_at_most() {
    let server = setup().start().await;
    let crowd = Crowd::of_devices(server.main(), DEVICES_FEW).await;
    let gone: Vec<usize> = (200..300).collect();
    for &index in &gone {
        crowd.leave(index);
    }
    let heard = settled(&crowd, &gone).await;
    assert!(heard.iter().all(|(_, heard)| heard.updates <= 3), "{:?}", updates(&heard));
}

/// Where each update gives way to the next before all have heard it, nobody may be passed over each
/// time.
#[tokio::test]
async fn everybody_hears_although_others_leave_all_the_time() {
    // An update to all costs more than a second and a half.
    let setup = setup().section("[devices]\nlist_update_bytes_per_second = 145500");
    let server = setup.start().await;
    let crowd = Crowd::of_devices(server.main(), 108).await;
    let mut pace = tokio::time::interval(Duration::from_secs(1));
    for index in 0..9 {
        pace.tick().await;
        crowd.leave(12 * index);
    }
    let heard: Vec<usize> = crowd.heard().iter().map(|heard| heard.updates).collect();
    println!("updates until the last left: {heard:?}");
    assert!((0..108).all(|index| index % 12 == 0 || heard[index] >= 2), "in eight seconds: {heard:?}");
}

/// Clients are not pinged, and a seat is kept without pongs.
fn setup() -> Setup {
    Setup::new()
        .listener("main", &["devices", "broadcast", "calls"])
        .server("heartbeat_interval", "'10m'")
        .section("[broadcast]\nping_interval = 600000")
        .section("[calls]\nseat_timeout = '10m'\nws_ping_interval = '9m'\nws_read_timeout = '10m'")
        .section("[logging]\nlevel = 'warn'")
}

/// The same engine without a crowd. It needs no room among the servers, since the other one runs
/// alone.
struct Calm {
    child: Child,
    addr: SocketAddr,
    _directory: TempDir,
}

impl Calm {
    fn start() -> Calm {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("sigmux.toml");
        std::fs::write(&file, setup().toml()).expect("the configuration is written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_sigmux"));
        command.current_dir(directory.path()).env_clear().args(["serve", "--print-ports", "-c"]).arg(&file);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the binary starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("the line of --print-ports");
        let ports: Value = serde_json::from_str(&line).expect("JSON");
        let addr = ports["listeners"][0]["bind"].as_str().expect("an address");
        Calm { addr: addr.parse().expect("an address"), child, _directory: directory }
    }
}

impl Drop for Calm {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What each of those who stay has heard, once the last update of each tells that these have gone,
/// and no further one has come for longer than two would be apart.
async fn settled(crowd: &Crowd, gone: &[usize]) -> Vec<(usize, Heard)> {
    let gone_ids: Vec<String> = gone.iter().map(|&index| id_of(index)).collect();
    let stay = || {
        let heard = crowd.heard().into_iter().enumerate();
        heard.filter(|(index, _)| !gone.contains(index)).collect::<Vec<_>>()
    };
    let knows = |(_, heard): &(usize, Heard)| {
        heard.updates > 0 && !gone_ids.iter().any(|id| heard.update.contains(&format!("\"{id}\"")))
    };
    until("everybody hears of it", async || stay().iter().all(knows).then_some(())).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let stay = stay();
    for (index, heard) in &stay {
        let update: Value = serde_json::from_str(&heard.update).expect("JSON");
        let ids = ids_of(&update);
        assert_eq!(ids.len(), stay.len(), "{update}");
        assert!(ids.contains(&id_of(*index)) && !gone_ids.iter().any(|id| ids.contains(id)), "{update}");
    }
    stay
}

fn updates(heard: &[(usize, Heard)]) -> Vec<(usize, usize)> {
    heard.iter().map(|(index, heard)| (*index, heard.updates)).collect()
}

fn most_in_a_second(reads: &[(Instant, usize)]) -> usize {
    let (mut first, mut bytes, mut most) = (0, 0, 0);
    for (at, read) in reads {
        bytes += read;
        while *at - reads[first].0 > Duration::from_secs(1) {
            bytes -= reads[first].1;
            first += 1;
        }
        most = most.max(bytes);
    }
    most
}

/// The engine raises its own limit.
fn may_open_enough(test: &str) -> bool {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let enough = setrlimit(Resource::Nofile, raised).is_ok()
        && limit.maximum.is_none_or(|maximum| maximum >= DESCRIPTORS);
    if !enough {
        skip(test, &format!("a process may open {:?} files only, {DESCRIPTORS} are needed", limit.maximum));
    }
    enough
}
