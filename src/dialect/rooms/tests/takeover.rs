//! One peer id, several connections; and the ends of connections.

use super::*;
use crate::observe::Detail;

const REPLACED: (CloseCode, &str) = (CloseCode::POLICY, "Replaced by a newer connection");
const DELETED: (CloseCode, &str) = (CloseCode::NORMAL, "Peer deleted");

fn offer(from: &str, to: &str) -> String {
    json!({"type": "offer", "sender": from, "target": to, "sdp": "x"}).to_string()
}

impl World {
    /// Registry and directory agree that this connection is the peer, and messages reach it.
    fn is_held_by(&mut self, peer_id: &str, me: usize) {
        assert_eq!(self.owner(peer_id), Some(key(me)));
        assert_eq!(self.settings.rooms.lookup(ROOM, peer_id), Some(key(me)));
        assert_eq!(self.peers[me].closed, None);
        let sender = self.peer("sender of the test");
        self.say(sender, &offer("sender of the test", peer_id));
        assert_eq!(self.texts(me).pop(), Some(offer("sender of the test", peer_id)));
        self.end(sender);
    }
}

#[test]
fn the_newer_connection_wins_and_the_late_end_of_the_older_changes_nothing() {
    let mut world = World::new();
    let old = world.peer("a");
    world.events.clear();
    let new = world.open();
    assert_eq!(world.offer(new, &register("a")), Progress::Done);
    world.texts(new);
    // The older one still speaks, and then hears of it.
    world.say(old, r#"{"type":"ping"}"#);
    assert_eq!(world.peers[old].closed, Some(REPLACED));
    let reasons: Vec<_> = world.events.iter().filter(|e| e.event_type == "client_disconnected").collect();
    assert_eq!(reasons.len(), 1);
    assert!(reasons[0].details.contains(&("reason", Detail::from("replaced"))));
    world.end(old);
    world.is_held_by("a", new);
}

#[test]
fn the_same_id_in_another_room_is_another_peer() {
    let mut world = World::new();
    world.make_room("otherone", "tttttt");
    let here = world.peer("a");
    let there = world.open();
    world.say(there, &register_in("otherone", "tttttt", "a"));
    assert_eq!(world.one(there)["type"], "registered_auth");
    world.is_held_by("a", here);
}

#[test]
fn of_two_registers_at_the_same_time_one_wins_in_registry_and_directory_alike() {
    // The other one enters both between this one's two entries.
    let mut world = World::new();
    let (slow, fast) = (world.open(), world.open());
    world.interlude =
        Some(Box::new(move |world| assert_eq!(world.offer(fast, &register("a")), Progress::Done)));
    world.say(slow, &register("a"));
    assert_eq!(world.peers[slow].closed, Some(REPLACED));
    world.texts(fast);
    world.is_held_by("a", fast);

    // The same, and the loser goes before anybody has heard of anything.
    let mut world = World::new();
    let (slow, fast) = (world.open(), world.open());
    world.interlude =
        Some(Box::new(move |world| assert_eq!(world.offer(fast, &register("a")), Progress::Done)));
    world.offer(slow, &register("a"));
    world.end(slow);
    assert_eq!(world.owner("a"), None, "the loser held it in the directory");
    world.evict_replaced();
    world.texts(fast);
    world.is_held_by("a", fast);
}

#[test]
fn an_eviction_that_comes_after_the_connection_has_become_another_peer_is_void() {
    let mut world = World::new();
    let old = world.peer("a");
    let new = world.open();
    assert_eq!(world.offer(new, &register("a")), Progress::Done);
    assert_eq!(world.offer(old, &register("b")), Progress::Done);
    world.evict_replaced();
    world.texts(old);
    world.texts(new);
    world.is_held_by("a", new);
    world.is_held_by("b", old);
}

#[test]
fn a_deleted_peer_is_closed_with_1000_and_so_is_everybody_of_a_deleted_room() {
    let mut world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    world.events.clear();
    assert_eq!(world.settings.rooms.remove_peer(ROOM, "a"), Some(key(a)));
    world.dismiss(a);
    assert_eq!(world.peers[a].closed, Some(DELETED));
    assert_eq!(world.owner("a"), None);
    assert!(world.event().details.contains(&("reason", Detail::from("deleted"))));

    assert_eq!(world.settings.rooms.remove_room(ROOM), Some(vec![key(b)]));
    // Before it has heard of it.
    world.say(b, r#"{"type":"update_metadata","peer_id":"b","metadata":{"tags":["x"]}}"#);
    assert_eq!(world.code(b), "NOT_IN_ROOM");
    world.say(b, &register("b"));
    assert_eq!(world.refusal(b).1, "Room not found");
    world.dismiss(b);
    assert_eq!(world.peers[b].closed, Some(DELETED));
    let late = world.open();
    world.say(late, &register("late"));
    assert_eq!(world.refusal(late).1, "Room not found");
}

#[test]
fn a_room_deleted_while_a_peer_enters_leaves_no_ghost() {
    let mut world = World::new();
    let a = world.open();
    world.interlude = Some(Box::new(move |world| {
        assert_eq!(world.settings.rooms.remove_room(ROOM), Some(vec![key(a)]));
    }));
    assert_eq!(world.offer(a, &register("a")), Progress::Done);
    assert_eq!(world.owner("a"), Some(key(a)), "until it hears of it");
    world.dismiss(a);
    assert_eq!((world.owner("a"), world.settings.rooms.lookup(ROOM, "a")), (None, None));
    assert_eq!(world.directory.len(), 0);
}

#[test]
fn who_has_registered_again_since_is_not_dismissed() {
    let mut world = World::new();
    let a = world.peer("a");
    world.settings.rooms.remove_peer(ROOM, "a");
    world.say(a, &register("a"));
    world.texts(a);
    world.dismiss(a);
    world.is_held_by("a", a);
}

#[test]
fn an_end_leaves_registry_and_directory_and_is_published_once() {
    let mut world = World::new();
    let a = world.peer("a");
    world.say(a, r#"{"type":"ping"}"#);
    world.texts(a);
    world.events.clear();
    world.pass_us(1_500_000);
    world.end(a);
    world.end(a);
    world.dismiss(a);
    world.call(a, |session, settings, ctx| session.evicted(settings, ctx));
    world.call(a, |session, settings, ctx| session.failed(settings, ctx));
    world.say(a, &register("a"));
    world.nothing(a);
    assert_eq!((world.owner("a"), world.settings.rooms.lookup(ROOM, "a")), (None, None));
    let event = world.event();
    assert_eq!(event.event_type, "client_disconnected");
    let expected = [
        ("dialect", Detail::from("rooms")),
        ("room_id", Detail::from(ROOM)),
        ("reason", Detail::from("connection_closed")),
        ("duration_ms", Detail::from(1500)),
        ("message_count", Detail::from(2)),
    ];
    assert_eq!(event.details, expected);
    assert!(world.events.is_empty());
    // A connection that never was a peer goes without a word.
    let fresh = world.open();
    world.end(fresh);
    assert!(world.events.is_empty());
}

#[test]
fn a_defect_of_ours_is_told_and_closes() {
    let mut world = World::new();
    let a = world.peer("a");
    world.call(a, |session, settings, ctx| session.failed(settings, ctx));
    assert_eq!(world.code(a), "INTERNAL_ERROR");
    assert_eq!(world.peers[a].closed, Some((CloseCode::INTERNAL, "Internal server error")));
    assert_eq!(world.owner("a"), None);
}
