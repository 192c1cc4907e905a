//! Who is with whom: the directory, the rooms, the seats, each as full as on a busy server.
//!
//!     cargo bench --bench hub

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use sigmux::base::{NodeId, Now, PeerKey, RealmId, Redacted};
use sigmux::hub::rooms::{Metadata, Newcomer, RoomLimits, RoomRecord, Rooms};
use sigmux::hub::{DialectId, Directory, OnDuplicate, SeatAnswer, SeatLimits, SeatTerms, Seats};

criterion_group! {
    name = hub;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(40)
        .nresamples(10_000);
    targets = directory, rooms, seats
}
criterion_main!(hub);

const SEED: u64 = 7;

fn key(slot: usize) -> PeerKey {
    PeerKey { node: NodeId::shard(0), slot: slot as u32, generation: 0 }
}

/// The ids one after the other, so that no lookup finds its entry in the nearest cache.
fn directory(criterion: &mut Criterion) {
    const REALM: RealmId = RealmId(0);
    const DIALECT: DialectId = DialectId(0);
    const CLIENTS: usize = 10_000;
    let ids: Vec<String> = (0..CLIENTS).map(|slot| format!("client-{slot:05}")).collect();
    let directory = Directory::new(SEED);
    let join = |id: &str, slot| directory.join(REALM, id, key(slot), DIALECT, OnDuplicate::Replace);
    for (slot, id) in ids.iter().enumerate() {
        join(id, slot).expect("nobody holds it");
    }
    let mut next = ids.iter().enumerate().cycle();
    let mut next = || next.next().expect("it never ends");

    let mut group = criterion.benchmark_group("directory_of_10000");
    group.bench_function("lookup", |b| {
        b.iter(|| {
            let (slot, id) = next();
            assert!(directory.lookup(REALM, black_box(id)) == Some(key(slot)));
        });
    });
    group.bench_function("lookup_of_nobody", |b| {
        b.iter(|| assert!(directory.lookup(REALM, black_box("nobody")).is_none()));
    });
    // What most senders do: they talk to the same peer again.
    group.bench_function("route_known", |b| {
        let mut route = None;
        b.iter(|| {
            let found = directory.resolve(REALM, black_box("client-00077"), &mut route);
            assert!(found == Some(key(77)));
        });
    });
    group.bench_function("route_to_another", |b| {
        let mut route = None;
        b.iter(|| {
            let (slot, id) = next();
            assert!(directory.resolve(REALM, black_box(id), &mut route) == Some(key(slot)));
        });
    });
    group.bench_function("join_and_leave", |b| {
        b.iter(|| {
            join(black_box("a-newcomer"), CLIENTS).expect("nobody holds it");
            assert!(directory.leave(REALM, "a-newcomer", key(CLIENTS)));
        });
    });
    group.bench_function("take_over", |b| {
        let mut slot = CLIENTS;
        b.iter(|| {
            slot += 1;
            join(black_box("client-00000"), slot).expect("the newer wins").replaced.expect("the former")
        });
    });
    // What it has to stand up to.
    let map: HashMap<&str, PeerKey> = ids.iter().enumerate().map(|(slot, id)| (&**id, key(slot))).collect();
    let map = RwLock::new(map);
    group.bench_function("lookup_in_std_rwlock_hashmap", |b| {
        b.iter(|| {
            let (slot, id) = next();
            assert!(map.read().expect("no panic").get(black_box(&**id)) == Some(&key(slot)));
        });
    });
    group.finish();
}

fn rooms(criterion: &mut Criterion) {
    const ROOMS: usize = 1000;
    const PEERS: usize = 8;
    const NOW_SECONDS: u64 = 1_700_000_000;
    let rooms = Arc::new(Rooms::new(RoomLimits::default(), SEED));
    let newcomer = |slot| Newcomer {
        key: key(slot),
        role: "worker".to_owned(),
        metadata: Metadata::default(),
        connected_at_unix_seconds: NOW_SECONDS,
        subject: None,
    };
    for room in 0..ROOMS {
        let record = RoomRecord {
            room_id: format!("room{room:04}"),
            token: Redacted::new("secret".to_owned()),
            created_by: "somebody".to_owned(),
            expires_at_unix_seconds: NOW_SECONDS + 7200,
        };
        let room_id = record.room_id.clone();
        rooms.reserve(record).unwrap_or_else(|_| panic!("there is room")).open();
        for peer in 0..PEERS {
            let entering = newcomer(room * PEERS + peer);
            rooms.enter(&room_id, &format!("peer-{peer}"), entering, NOW_SECONDS).expect("an open room");
        }
    }

    let mut group = criterion.benchmark_group("rooms_1000_of_8");
    group.bench_function("lookup", |b| {
        b.iter(|| assert!(rooms.lookup(black_box("room0777"), "peer-3") == Some(key(777 * PEERS + 3))));
    });
    group.bench_function("enter_and_leave", |b| {
        b.iter(|| {
            let entering = newcomer(ROOMS * PEERS);
            rooms.enter(black_box("room0777"), "newcomer", entering, NOW_SECONDS).expect("an open room");
            assert!(rooms.leave("room0777", "newcomer", key(ROOMS * PEERS)));
        });
    });
    group.finish();
}

fn seats(criterion: &mut Criterion) {
    const CALLS: usize = 1000;
    const NOW: Now = Now { mono_us: 1_000_000, unix_ms: 1_700_000_000_000 };
    const TERMS: SeatTerms = SeatTerms { seats_max: 2, timeout: Duration::from_secs(30) };
    let seats = Seats::in_memory(SeatLimits::default(), SEED);
    for call in 0..CALLS {
        for (seat, session) in ["alice", "bob"].into_iter().enumerate() {
            let name = format!("call-{call:04}");
            assert_eq!(seats.acquire(&name, session, NOW, TERMS), SeatAnswer::Seated);
            seats.subscribe(&name, session, key(call * 2 + seat)).expect("two are not too many");
        }
    }

    let mut group = criterion.benchmark_group("seats_in_1000_calls");
    group.bench_function("holds", |b| {
        b.iter(|| {
            let held = seats.holds(black_box("call-0777"), "alice", NOW, TERMS);
            assert!(held == SeatAnswer::Seated);
        });
    });
    group.bench_function("renew", |b| {
        b.iter(|| {
            let renewed = seats.acquire(black_box("call-0777"), "alice", NOW, TERMS);
            assert!(renewed == SeatAnswer::Seated);
        });
    });
    group.bench_function("listeners", |b| {
        b.iter(|| {
            let others = seats.listeners(black_box("call-0777"), "alice");
            assert!(others.len() == 1 && others[0].key == key(777 * 2 + 1));
        });
    });
    group.finish();
}
