use serde_json::json;

use super::*;
use crate::base::NodeId;
use crate::base::Redacted;

const NOW: u64 = 1_000;

fn rooms() -> Arc<Rooms> {
    Arc::new(Rooms::new(RoomLimits::default(), 7))
}

fn record(room_id: &str, expires_at_unix_seconds: u64) -> RoomRecord {
    RoomRecord {
        room_id: room_id.to_owned(),
        token: Redacted::new("f7g8h9".to_owned()),
        created_by: "creator".to_owned(),
        expires_at_unix_seconds,
    }
}

fn open(rooms: &Arc<Rooms>, room_id: &str) {
    rooms.reserve(record(room_id, NOW + 100)).unwrap().open();
}

fn key(slot: u32) -> PeerKey {
    PeerKey { node: NodeId::shard(0), slot, generation: 0 }
}

fn newcomer(slot: u32) -> Newcomer {
    Newcomer {
        key: key(slot),
        role: "worker".to_owned(),
        metadata: Metadata::default(),
        connected_at_unix_seconds: u64::from(slot),
        subject: None,
    }
}

fn enter(rooms: &Rooms, room_id: &str, peer_id: &str, slot: u32) -> Result<Entered, EnterRefused> {
    rooms.enter(room_id, peer_id, newcomer(slot), NOW)
}

fn discovered(rooms: &Rooms, room_id: &str, asker: &str, filter: &Filter) -> Vec<String> {
    let mut found = Vec::new();
    rooms.discover(room_id, asker, filter, |peer| found.push(peer.peer_id.to_owned()));
    found
}

/// Nothing of any room is left in any table.
fn assert_empty(rooms: &Rooms) {
    assert_eq!(rooms.counts(), RoomCounts::default());
    assert_eq!(rooms.rooms.load(Ordering::Relaxed), 0);
    assert!(rooms.stripes.iter().all(|stripe| stripe.read().rooms.is_empty()));
    assert!(rooms.whereabouts.iter().all(|stripe| stripe.read().is_empty()));
    assert!(rooms.peers_by_role.lock().is_empty());
}

#[test]
fn a_room_is_entered_only_once_it_is_open() {
    let rooms = rooms();
    assert_eq!(enter(&rooms, "r", "a", 1), Err(EnterRefused::RoomNotFound));
    let reservation = rooms.reserve(record("r", NOW + 1)).unwrap();
    assert_eq!(reservation.record(), &record("r", NOW + 1));
    assert_eq!(enter(&rooms, "r", "a", 1), Err(EnterRefused::RoomNotFound));
    assert_eq!(rooms.record("r"), None);
    assert_eq!(rooms.remove_room("r"), None);
    reservation.open();
    assert_eq!(rooms.record("r"), Some(record("r", NOW + 1)));
    assert_eq!(enter(&rooms, "r", "a", 1), Ok(Entered { replaced: None }));
    assert_eq!(rooms.lookup("r", "a"), Some(key(1)));
}

#[test]
fn a_reservation_that_is_given_up_leaves_nothing_behind() {
    let rooms = rooms();
    let reservation = rooms.reserve(record("r", NOW)).unwrap();
    assert_eq!(rooms.reserve(record("r", NOW)).err(), Some(ReserveRefused::RoomIdTaken));
    drop(reservation);
    assert_empty(&rooms);
    open(&rooms, "r");
    assert_eq!(rooms.reserve(record("r", NOW)).err(), Some(ReserveRefused::RoomIdTaken));
}

#[test]
fn rooms_are_bounded_with_those_about_to_be_created() {
    let rooms = rooms();
    rooms.set_limits(RoomLimits { rooms_max: 2, ..RoomLimits::default() });
    open(&rooms, "a");
    let reservation = rooms.reserve(record("b", NOW)).unwrap();
    assert_eq!(rooms.reserve(record("c", NOW)).err(), Some(ReserveRefused::TooManyRooms));
    drop(reservation);
    open(&rooms, "c");
    assert_eq!(rooms.reserve(record("d", NOW)).err(), Some(ReserveRefused::TooManyRooms));
    rooms.remove_room("a").unwrap();
    open(&rooms, "d");
    rooms.take_expired(u64::MAX, 1);
    open(&rooms, "e");
}

#[test]
fn the_newer_connection_wins_and_the_late_end_of_the_older_removes_nothing() {
    let rooms = rooms();
    open(&rooms, "r");
    enter(&rooms, "r", "a", 1).unwrap();
    assert_eq!(enter(&rooms, "r", "a", 2), Ok(Entered { replaced: Some(key(1)) }));
    assert!(!rooms.leave("r", "a", key(1)));
    assert_eq!(rooms.lookup("r", "a"), Some(key(2)));
    assert!(rooms.leave("r", "a", key(2)));
    assert!(!rooms.leave("r", "a", key(2)));
    assert_eq!(rooms.locate("r", "a"), Whereabouts::Nowhere);
    assert_eq!(rooms.counts().active_connections, 0);
}

#[test]
fn the_same_peer_id_in_two_rooms_is_two_peers() {
    let rooms = rooms();
    open(&rooms, "r");
    open(&rooms, "s");
    enter(&rooms, "r", "a", 1).unwrap();
    assert_eq!(enter(&rooms, "s", "a", 2), Ok(Entered { replaced: None }));
    assert_eq!(rooms.rooms_of("a"), ["r", "s"]);
    assert!(rooms.leave("r", "a", key(1)));
    assert_eq!(rooms.lookup("s", "a"), Some(key(2)));
    assert_eq!(rooms.rooms_of("a"), ["s"]);
}

#[test]
fn entering_again_keeps_the_place_and_takes_the_new_role_and_metadata() {
    let rooms = rooms();
    open(&rooms, "r");
    enter(&rooms, "r", "a", 1).unwrap();
    let again = Newcomer {
        role: "client".to_owned(),
        metadata: Metadata::new(json!({"x": 1})),
        connected_at_unix_seconds: 77,
        ..newcomer(1)
    };
    assert_eq!(rooms.enter("r", "a", again, NOW), Ok(Entered { replaced: None }));
    rooms.discover("r", "", &Filter::default(), |peer| {
        assert_eq!((peer.role, peer.connected_at_unix_seconds), ("client", 1));
        assert_eq!(peer.metadata.value(), &json!({"x": 1}));
    });
    let by_role = BTreeMap::from([("client".to_owned(), 1)]);
    assert_eq!(rooms.counts(), RoomCounts { active_rooms: 1, active_connections: 1, peers_by_role: by_role });
}

#[test]
fn an_expired_room_takes_no_new_peers_and_keeps_those_it_has() {
    let rooms = rooms();
    rooms.reserve(record("r", NOW + 1)).unwrap().open();
    enter(&rooms, "r", "a", 1).unwrap();
    let late = |slot, peer_id| rooms.enter("r", peer_id, newcomer(slot), NOW + 1);
    assert_eq!(late(2, "b"), Err(EnterRefused::RoomExpired), "before it is swept");
    assert_eq!(rooms.take_expired(NOW, 10), [""; 0]);
    assert_eq!(rooms.take_expired(NOW + 1, 10), ["r"]);
    assert_eq!(late(2, "b"), Err(EnterRefused::RoomExpired), "after");
    assert_eq!(late(2, "a"), Err(EnterRefused::RoomExpired), "not in the place of another either");
    assert_eq!(late(1, "a"), Ok(Entered { replaced: None }), "the one who is there is not new");
    assert_eq!(rooms.record("r"), None);
    assert_eq!(rooms.lookup("r", "a"), Some(key(1)));
    assert_eq!((rooms.counts().active_rooms, rooms.counts().active_connections), (0, 1));
    assert!(rooms.leave("r", "a", key(1)));
    assert_eq!(late(1, "a"), Err(EnterRefused::RoomNotFound));
    assert_empty(&rooms);
}

#[test]
fn a_sweep_takes_what_is_due_and_no_more_than_it_is_asked_for() {
    let rooms = rooms();
    for n in 0..50 {
        rooms.reserve(record(&format!("r{n}"), n)).unwrap().open();
    }
    let mut taken = rooms.take_expired(29, 20);
    assert_eq!(taken.len(), 20);
    taken.extend(rooms.take_expired(29, 20));
    assert!(rooms.take_expired(29, 20).is_empty());
    taken.sort_by_key(|room_id| room_id[1..].parse::<u32>().unwrap());
    assert_eq!(taken, (0..30).map(|n| format!("r{n}")).collect::<Vec<_>>());
    assert_eq!(rooms.counts().active_rooms, 20);
}

#[test]
fn a_removed_room_is_gone_with_its_peers_and_late_ends_do_no_harm() {
    let rooms = rooms();
    open(&rooms, "r");
    enter(&rooms, "r", "b", 2).unwrap();
    enter(&rooms, "r", "a", 1).unwrap();
    assert_eq!(rooms.remove_room("r"), Some(vec![key(1), key(2)]));
    assert_eq!(rooms.remove_room("r"), None);
    assert_empty(&rooms);
    assert!(!rooms.leave("r", "a", key(1)));
    assert_eq!(enter(&rooms, "r", "a", 1), Err(EnterRefused::RoomNotFound));
    assert!(rooms.take_expired(u64::MAX, 10).is_empty());
    open(&rooms, "r");
    enter(&rooms, "r", "a", 3).unwrap();
    assert!(!rooms.leave("r", "a", key(1)));
    assert_eq!(rooms.lookup("r", "a"), Some(key(3)));
}

#[test]
fn an_expired_room_can_be_removed_with_those_who_are_left() {
    let rooms = rooms();
    rooms.reserve(record("r", NOW + 1)).unwrap().open();
    enter(&rooms, "r", "a", 1).unwrap();
    rooms.take_expired(NOW + 1, 1);
    assert_eq!(rooms.reserve(record("r", NOW + 9)).err(), Some(ReserveRefused::RoomIdTaken));
    assert_eq!(rooms.remove_room("r"), Some(vec![key(1)]));
    assert_empty(&rooms);
}

#[test]
fn a_peer_can_be_removed_alone() {
    let rooms = rooms();
    open(&rooms, "r");
    enter(&rooms, "r", "a", 1).unwrap();
    enter(&rooms, "r", "b", 2).unwrap();
    assert_eq!(rooms.remove_peer("r", "a"), Some(key(1)));
    assert_eq!(rooms.remove_peer("r", "a"), None);
    assert_eq!(rooms.remove_peer("s", "b"), None);
    assert_eq!(discovered(&rooms, "r", "", &Filter::default()), ["b"]);
    assert!(rooms.record("r").is_some());
}

#[test]
fn a_peer_elsewhere_is_told_from_one_that_is_nowhere() {
    let rooms = rooms();
    open(&rooms, "r");
    open(&rooms, "s");
    enter(&rooms, "s", "a", 1).unwrap();
    assert_eq!(rooms.locate("r", "a"), Whereabouts::Elsewhere);
    assert_eq!(rooms.locate("s", "a"), Whereabouts::Here(key(1)));
    assert_eq!(rooms.locate("r", "b"), Whereabouts::Nowhere);
    rooms.remove_room("s");
    assert_eq!(rooms.locate("r", "a"), Whereabouts::Nowhere);
}

#[test]
fn a_full_room_refuses_a_newcomer_and_still_lets_one_take_its_own_place() {
    let rooms = rooms();
    rooms.set_limits(RoomLimits { peers_per_room_max: 2, ..RoomLimits::default() });
    open(&rooms, "r");
    enter(&rooms, "r", "a", 1).unwrap();
    enter(&rooms, "r", "b", 2).unwrap();
    assert_eq!(enter(&rooms, "r", "c", 3), Err(EnterRefused::RoomFull));
    assert_eq!(rooms.locate("r", "c"), Whereabouts::Nowhere);
    assert_eq!(enter(&rooms, "r", "b", 4), Ok(Entered { replaced: Some(key(2)) }));
    rooms.leave("r", "a", key(1));
    assert_eq!(enter(&rooms, "r", "c", 3), Ok(Entered { replaced: None }));
}

#[test]
fn discover_shows_who_matches_without_the_asker_in_the_order_of_ids() {
    let rooms = rooms();
    open(&rooms, "r");
    for (slot, (peer_id, role)) in
        [("c", "worker"), ("a", "worker"), ("b", "client"), ("me", "worker")].into_iter().enumerate()
    {
        let entering = Newcomer { role: role.to_owned(), ..newcomer(slot as u32) };
        rooms.enter("r", peer_id, entering, NOW).unwrap();
    }
    assert_eq!(discovered(&rooms, "r", "me", &Filter::default()), ["a", "b", "c"]);
    let workers = Filter::new(Some("worker".to_owned()), vec![], vec![]).unwrap();
    assert_eq!(discovered(&rooms, "r", "me", &workers), ["a", "c"]);
    assert_eq!(discovered(&rooms, "other", "me", &workers), [""; 0]);
}

#[test]
fn metadata_is_updated_by_its_own_peer_and_within_its_limit() {
    let rooms = rooms();
    rooms.set_limits(RoomLimits { metadata_bytes_max: 60, ..RoomLimits::default() });
    open(&rooms, "r");
    let entering = Newcomer { metadata: Metadata::new(json!({"tags": ["gpu"]})), ..newcomer(1) };
    rooms.enter("r", "a", entering, NOW).unwrap();
    let update = |slot, patch| rooms.update_metadata("r", "a", key(slot), MetadataPatch::new(patch).unwrap());
    let merged = json!({"tags": ["gpu", "x"], "properties": {"status": "busy"}});
    let patch = json!({"tags": ["x"], "properties": {"status": "busy"}});
    assert_eq!(update(1, patch.clone()).unwrap().value(), &merged);
    assert_eq!(update(2, patch), Err(UpdateRefused::NotThere));
    assert_eq!(update(1, json!({"more": "x".repeat(60)})), Err(UpdateRefused::MetadataTooLarge));
    rooms.discover("r", "", &Filter::default(), |peer| assert_eq!(peer.metadata.value(), &merged));
    let large = Newcomer { metadata: Metadata::new(json!("x".repeat(60))), ..newcomer(2) };
    assert_eq!(rooms.enter("r", "b", large, NOW), Err(EnterRefused::MetadataTooLarge));
}

#[test]
fn a_room_belongs_to_its_creator_and_to_the_identities_in_it() {
    let rooms = rooms();
    open(&rooms, "r");
    let entering = Newcomer { subject: Some("alice".to_owned()), ..newcomer(1) };
    rooms.enter("r", "a", entering, NOW).unwrap();
    enter(&rooms, "r", "b", 2).unwrap();
    assert!(rooms.belongs_to("r", "creator") && rooms.belongs_to("r", "alice"));
    assert!(!rooms.belongs_to("r", "") && !rooms.belongs_to("r", "a") && !rooms.belongs_to("s", "creator"));
    rooms.leave("r", "a", key(1));
    assert!(!rooms.belongs_to("r", "alice"));
}

#[test]
fn rare_roles_are_counted_together() {
    let rooms = rooms();
    open(&rooms, "r");
    let roles = (0..ROLES_COUNTED_MAX - 1).flat_map(|n| [format!("role-{n}"), format!("role-{n}")]);
    let rare = (0..3).map(|n| format!("rare-{n}"));
    for (slot, role) in roles.chain(rare).enumerate() {
        let entering = Newcomer { role, ..newcomer(slot as u32) };
        rooms.enter("r", &slot.to_string(), entering, NOW).unwrap();
    }
    let counts = rooms.counts();
    assert_eq!(counts.active_connections, 2 * (ROLES_COUNTED_MAX - 1) + 3);
    assert_eq!(counts.peers_by_role.len(), ROLES_COUNTED_MAX + 1);
    assert_eq!(counts.peers_by_role["role-0"], 2);
    assert_eq!(counts.peers_by_role["rare-0"], 1);
    assert_eq!(counts.peers_by_role["other"], 2);
    rooms.remove_room("r");
    assert_empty(&rooms);
}

/// Peers come and go from several threads while rooms are removed, expire and are opened anew. In
/// the end nobody is in a room that was removed, and no table holds more than it should.
#[test]
fn a_removed_room_never_gets_a_late_peer() {
    let rooms = rooms();
    std::thread::scope(|scope| {
        for thread in 0..3_u32 {
            let rooms = &rooms;
            scope.spawn(move || {
                for n in 0..3_000_u32 {
                    let (room_id, peer_id) = (format!("r{}", n % 3), format!("p{}", (n + thread) % 4));
                    let slot = thread * 10_000 + n;
                    if enter(rooms, &room_id, &peer_id, slot).is_ok() && n % 2 == 0 {
                        rooms.leave(&room_id, &peer_id, key(slot));
                    }
                    rooms.locate(&room_id, &peer_id);
                    rooms.discover(&room_id, &peer_id, &Filter::default(), |_| {});
                }
            });
        }
        let rooms = &rooms;
        scope.spawn(move || {
            for n in 0..3_000_u32 {
                let room_id = format!("r{}", n % 3);
                match n % 4 {
                    0 => drop(rooms.remove_room(&room_id)),
                    1 => drop(rooms.take_expired(u64::MAX, 1)),
                    _ => drop(rooms.reserve(record(&room_id, NOW + 1)).map(Reservation::open)),
                }
            }
        });
    });
    for room_id in ["r0", "r1", "r2"] {
        rooms.remove_room(room_id);
        for peer_id in ["p0", "p1", "p2", "p3"] {
            assert_eq!(rooms.lookup(room_id, peer_id), None);
        }
    }
    assert_empty(&rooms);
}
