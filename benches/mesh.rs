//! What it costs to hand a parcel to another node: in its inbox, and with its doorbell.
//!
//!     cargo bench --bench mesh
//!
//! `round_trip_awake` and `round_trip_asleep` are there and back, from one pinned thread to another;
//! they need two cores, and the second needs io_uring.

use std::hint::{black_box, spin_loop};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use sigmux::base::{NodeId, PeerKey};
use sigmux::dialect::{Body, Delivery, MessageLabel, MessageRef, Parts, Text, TextDialect};
use sigmux::mesh::{Limits, Mesh, Outlets, Parcel, Posted};
use sigmux::ring::{self, BellTarget, Ring};

criterion_group! {
    name = mesh;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(40)
        .nresamples(10_000);
    targets = same_thread, awake, asleep
}
criterion_main!(mesh);

const HERE: NodeId = NodeId::FRONT;
const INBOX_MESSAGES_MAX: usize = 1024;
const LIMITS: Limits = Limits { overflow_messages_max: 0, overflow_bytes_max: 0, hold_us: 0 };
/// Time does not pass: nothing waits.
const NOW_US: u64 = 0;

fn there() -> NodeId {
    NodeId::shard(0)
}

/// Posted and taken by one thread, so that only the work shows, and no cache line travels.
fn same_thread(criterion: &mut Criterion) {
    const BATCH: usize = 64;
    let mesh = Mesh::new(1, INBOX_MESSAGES_MAX);
    let mut outlets = Outlets::new(mesh.clone(), LIMITS);
    let to = there();
    let mut group = criterion.benchmark_group("inbox");
    group.bench_function("hop", |b| {
        b.iter(|| {
            sent(&mut outlets, to, fence());
            outlets.ring_bells(|_| panic!("nobody sleeps"));
            assert!(is_fence(mesh.take(to)));
        });
    });
    // With the copy that a message needs to leave its receive buffer.
    group.bench_function("hop_of_a_message_of_256_bytes", |b| {
        let text = [b'x'; 256];
        let reference = MessageRef::Text { label: MessageLabel(0), target: Arc::from("bob") };
        b.iter(|| {
            let parts = Parts::One(black_box(&text));
            let (label, dialect) = (MessageLabel(0), TextDialect::Devices);
            let body = Body::Text(Text { dialect, reference: &reference, label, parts });
            let delivery = Box::new(Delivery { from: peer(HERE), body }.to_owned());
            sent(&mut outlets, to, Parcel::Deliver { to: peer(to), delivery, received_us: NOW_US });
            outlets.ring_bells(|_| panic!("nobody sleeps"));
            let Some(Parcel::Deliver { delivery, .. }) = mesh.take(to) else { panic!("it was sent") };
            assert_eq!(delivery.heap_bytes(), text.len());
        });
    });
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("hop_of_64_for_one_bell", |b| {
        b.iter(|| {
            // The flag alone: whose it is does not sleep.
            assert!(mesh.fall_asleep(to));
            (0..BATCH).for_each(|_| sent(&mut outlets, to, fence()));
            let mut bells = 0;
            outlets.ring_bells(|_| bells += 1);
            assert_eq!(bells, 1);
            (0..BATCH).for_each(|_| assert!(is_fence(mesh.take(to))));
        });
    });
    group.finish();
}

/// The other thread looks into its inbox all the time.
fn awake(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("inbox");
    let Some((own, others)) = cores() else { return };
    let mesh = Mesh::new(1, INBOX_MESSAGES_MAX);
    let echo = spawn(others, mesh.clone(), |mesh| {
        let mut outlets = Outlets::new(mesh.clone(), LIMITS);
        loop {
            match mesh.take(there()) {
                Some(parcel @ Parcel::Fence { .. }) => sent(&mut outlets, HERE, parcel),
                Some(_) => return,
                None => spin_loop(),
            }
        }
    });
    let mut outlets = Outlets::new(mesh.clone(), LIMITS);
    let mut trip = || {
        sent(&mut outlets, there(), fence());
        loop {
            match mesh.take(HERE) {
                Some(parcel) => return assert!(is_fence(Some(parcel))),
                None => spin_loop(),
            }
        }
    };
    pinned(own, &mut group, "round_trip_awake", &mut trip);
    sent(&mut outlets, there(), Parcel::Evict { peer: peer(there()) });
    echo.join().expect("the other thread ends");
    group.finish();
}

/// Both sleep in their rings, as shards do, and are woken by their bells.
fn asleep(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("inbox");
    let Some((own, others)) = cores() else { return };
    let mut ring = match Ring::new(ring_settings()) {
        Ok(ring) => ring,
        Err(error) => return eprintln!("inbox/round_trip_asleep is left out: {error}"),
    };
    let bell = ring.bell_target().expect("a second descriptor");
    // Two shards: the front has another bell.
    let (here, there) = (NodeId::shard(1), there());
    let mesh = Mesh::new(2, INBOX_MESSAGES_MAX);
    let (target, targets) = mpsc::channel();
    let echo = spawn(others, mesh.clone(), move |mesh| {
        let mut ring = Ring::new(ring_settings()).expect("the other one was made");
        target.send(ring.bell_target().expect("a second descriptor")).expect("the bench waits for it");
        let mut outlets = Outlets::new(mesh.clone(), LIMITS);
        loop {
            match slept(mesh, there, &mut ring) {
                parcel @ Parcel::Fence { .. } => ring_for(&mut outlets, here, parcel, &mut ring, &bell),
                _ => return,
            }
        }
    });
    let other_bell = targets.recv().expect("the other thread has begun");
    let mut outlets = Outlets::new(mesh.clone(), LIMITS);
    let mut trip = || {
        ring_for(&mut outlets, there, fence(), &mut ring, &other_bell);
        assert!(is_fence(Some(slept(&mesh, here, &mut ring))));
    };
    pinned(own, &mut group, "round_trip_asleep", &mut trip);
    ring_for(&mut outlets, there, Parcel::Evict { peer: peer(there) }, &mut ring, &other_bell);
    ring.turn(false).expect("the ring is whole");
    echo.join().expect("the other thread ends");
    group.finish();
}

/// Sends a parcel; the bell goes out with the ring's next turn.
fn ring_for(outlets: &mut Outlets, to: NodeId, parcel: Parcel, ring: &mut Ring, bell: &BellTarget) {
    sent(outlets, to, parcel);
    outlets.ring_bells(|_| ring.ring_bell(bell));
}

/// The next parcel, as a shard waits for it: it announces its sleep, and looks once more.
fn slept(mesh: &Mesh, own: NodeId, ring: &mut Ring) -> Parcel {
    loop {
        let asleep = mesh.fall_asleep(own);
        ring.turn(asleep).expect("the ring is whole");
        mesh.wake_up(own);
        while ring.next_completion().is_some() {}
        if let Some(parcel) = mesh.take(own) {
            return parcel;
        }
    }
}

fn ring_settings() -> ring::Settings {
    ring::Settings { sq_entries: 64, cq_entries: 128, buffers_count: 1, ..ring::Settings::default() }
}

fn spawn(core: usize, mesh: Arc<Mesh>, run: impl FnOnce(&Arc<Mesh>) + Send + 'static) -> JoinHandle<()> {
    thread::spawn(move || {
        ring::pin_to_core(core).expect("an allowed core");
        run(&mesh);
    })
}

/// Measures on one core, and stays there.
fn pinned(core: usize, group: &mut BenchmarkGroup<'_, WallTime>, name: &str, trip: &mut impl FnMut()) {
    ring::pin_to_core(core).expect("an allowed core");
    group.bench_function(name, |b| b.iter(&mut *trip));
}

/// One for the bench and one for the other thread, of those that there were in the beginning.
fn cores() -> Option<(usize, usize)> {
    static CORES: OnceLock<Vec<usize>> = OnceLock::new();
    let [first, .., last] = CORES.get_or_init(ring::allowed_cores)[..] else {
        eprintln!("inbox: what needs two cores is left out");
        return None;
    };
    Some((first, last))
}

fn sent(outlets: &mut Outlets, to: NodeId, parcel: Parcel) {
    assert!(matches!(outlets.post(NOW_US, to, parcel), Posted::Sent));
}

/// The smallest that there is.
fn fence() -> Parcel {
    Parcel::Fence { peer: peer(HERE) }
}

fn is_fence(parcel: Option<Parcel>) -> bool {
    matches!(parcel, Some(Parcel::Fence { .. }))
}

fn peer(node: NodeId) -> PeerKey {
    PeerKey { node, slot: 0, generation: 0 }
}
