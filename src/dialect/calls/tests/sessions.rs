use super::*;
use crate::dialect::ERROR_LABELS as ALL_ERRORS;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_join_with_a_seat_is_welcomed_when_events_can_no_longer_be_missed() {
    let mut world = World::seated(&settings());
    assert!(world.listens());
    assert_eq!(world.around.closed, None);
    world.pass(SECOND);
    assert_eq!(world.pings(), 0);
}

#[test]
fn what_is_no_handshake_is_closed_as_bad() {
    for text in [
        "",
        "{",
        "[]",
        r#"{"kind":"JOIN","call":"room","session":5}"#,
        r#"{"kind":"JOIN","call":"room"}"#,
        r#"{"kind":"JOIN","call":"","session":"me"}"#,
        r#"{"kind":"JOIN","call":"room","session":""}"#,
        r#"{"kind":"JOIN","call":"room","session":"me","body":"x"}"#,
        r#"{"kind":"OFFER","call":"room","session":"me","body":"x"}"#,
        r#"{"call":"room","session":"me"}"#,
    ] {
        let mut world = World::new(&settings());
        world.acquire("me");
        world.say(text);
        assert_eq!(world.close_reason(), Some("bad handshake"), "{text}");
        assert_eq!(world.around.events[0].event_type, "client_rejected");
        let errors = &world.around.metrics.errors;
        let counted = (0..ALL_ERRORS.len()).filter(|index| errors[*index].get() == 1);
        assert_eq!(counted.map(|index| ALL_ERRORS[index]).collect::<Vec<_>>(), [("calls", "bad handshake")]);
    }
    let mut world = World::new(&settings());
    let its = world.around.settings.clone();
    world.session.on_binary(&its, &mut world.around);
    assert_eq!(world.close_reason(), Some("bad handshake"));
}

#[test]
fn without_a_handshake_the_socket_is_closed_in_time() {
    let limits = |handshake, join| {
        let mut its = settings();
        (its.ws_handshake_timeout, its.ws_join_timeout) =
            (Duration::from_secs(handshake), Duration::from_secs(join));
        its
    };
    for (its, within) in [(limits(10, 0), 10), (limits(0, 4), 4), (limits(10, 4), 4), (limits(4, 10), 4)] {
        let mut world = World::new(&its);
        world.pass(Duration::from_secs(within) - Duration::from_micros(1));
        assert_eq!(world.around.closed, None);
        world.pass(Duration::from_micros(1));
        assert_eq!(world.close_reason(), Some(HANDSHAKE_TIMEOUT_REASON));
    }
    let mut world = World::new(&limits(0, 0));
    world.pass(Duration::from_secs(100_000));
    assert_eq!(world.around.closed, None);
}

#[test]
fn a_seat_that_was_never_taken_or_has_lapsed_is_a_bad_one() {
    let mut world = World::new(&settings());
    world.say(JOIN);
    assert_eq!(world.close_reason(), Some("bad seat"));
    assert!(!world.is_seated("me"), "a JOIN takes no seat");

    for (waited, reason) in [(30 * SECOND, None), (31 * SECOND, Some("bad seat"))] {
        let its = Settings { ws_handshake_timeout: Duration::ZERO, ..settings() };
        let mut world = World::new(&its);
        world.acquire("me");
        world.pass(waited);
        world.say(JOIN);
        assert_eq!(world.close_reason(), reason);
    }
}

#[test]
fn a_session_may_listen_on_several_sockets_but_not_on_any_number() {
    let its = settings();
    let key = |slot| PeerKey { slot, ..ME };
    for slot in 100..107 {
        its.seats.subscribe("room", "me", key(slot)).unwrap();
    }
    World::seated(&its);
    let mut world = World::new(&its);
    its.seats.unsubscribe("room", ME);
    its.seats.subscribe("room", "me", key(107)).unwrap();
    world.say(JOIN);
    assert_eq!(world.close_reason(), Some("bad seat"));
}

#[test]
fn pings_come_by_the_clock_and_only_pongs_renew_the_seat() {
    let mut world = World::seated(&settings());
    for _ in 0..20 {
        world.pass(5 * SECOND);
        assert_eq!(world.pings(), 1);
        world.pong();
    }
    assert!(world.is_seated("me"));
    // From here on there are messages, but no pongs.
    for _ in 0..6 {
        world.pass(5 * SECOND);
        world.say(JOIN);
    }
    assert!(world.is_seated("me") && world.around.closed.is_none());
    world.pass(SECOND);
    assert!(!world.is_seated("me"));
    assert_eq!(world.close_reason(), Some("seat renewal failure"));
}

#[test]
fn a_join_does_not_renew_the_seat() {
    let mut world = World::new(&settings());
    world.acquire("me");
    world.pass(9 * SECOND);
    world.say(JOIN);
    world.pass(21 * SECOND);
    assert!(world.is_seated("me"));
    world.pass(SECOND);
    assert!(!world.is_seated("me"));
}

#[test]
fn no_pings_are_sent_where_they_are_turned_off() {
    let mut world = World::seated(&Settings { ws_ping_interval: Duration::ZERO, ..settings() });
    world.pass(29 * SECOND);
    world.pong();
    world.pass(29 * SECOND);
    assert_eq!((world.pings(), world.around.closed), (0, None));
}

#[test]
fn a_lapsed_seat_that_others_have_taken_is_not_renewed() {
    let mut world = World::seated(&settings());
    world.set_clock(world.around.now.plus(31 * SECOND));
    assert_eq!([world.acquire("x"), world.acquire("y")], [SeatAnswer::Seated; 2]);
    world.pong();
    assert_eq!(world.close_reason(), Some("seat renewal failure"));
}

#[test]
fn a_lapsed_seat_that_is_still_free_is_taken_again() {
    let mut world = World::seated(&settings());
    world.set_clock(world.around.now.plus(31 * SECOND));
    world.acquire("x");
    world.pong();
    assert!(world.around.closed.is_none() && world.is_seated("me"));
}

#[test]
fn a_seat_that_another_socket_of_the_session_keeps_is_enough() {
    let mut world = World::seated(&settings());
    for _ in 0..20 {
        world.pass(5 * SECOND);
        world.acquire("me");
    }
    assert_eq!(world.around.closed, None);
}

#[test]
fn a_store_that_fails_is_a_backend_failure() {
    let (_, its) = Scripted::new(SeatAnswer::Failed);
    let mut world = World::new(&its);
    world.say(JOIN);
    assert_eq!(world.close_reason(), Some("backend failure"));

    let (store, its) = Scripted::new(SeatAnswer::Seated);
    let mut world = World::seated(&its);
    store.now_says(SeatAnswer::Failed);
    world.pong();
    assert_eq!(world.close_reason(), Some("seat renewal failure"));

    let mut world = World::seated(&settings());
    let its = world.around.settings.clone();
    world.session.failed(&its, &mut world.around);
    assert_eq!(world.close_reason(), Some("backend failure"));
}

#[test]
fn a_store_that_needs_time_is_waited_for_within_the_join_timeout() {
    let (store, mut its) = Scripted::new(SeatAnswer::Pending);
    its.ws_join_timeout = 3 * SECOND;
    let mut world = World::new(&its);
    world.say(JOIN);
    world.pass(2 * SECOND);
    world.say("ignored meanwhile");
    store.now_says(SeatAnswer::Seated);
    world.pass(SECOND);
    assert_eq!(world.heard(), [WELCOME]);

    store.now_says(SeatAnswer::Pending);
    world.pong();
    world.pong();
    world.pass(SECOND);
    assert_eq!(world.around.closed, None);
    store.now_says(SeatAnswer::Refused);
    world.pass(SECOND);
    assert_eq!(world.close_reason(), Some("seat renewal failure"));

    store.now_says(SeatAnswer::Pending);
    let mut world = World::new(&its);
    world.say(JOIN);
    world.pass(3 * SECOND - Duration::from_micros(1));
    assert_eq!(world.around.closed, None);
    world.pass(Duration::from_micros(1));
    assert_eq!(world.close_reason(), Some("backend failure"));
}

#[test]
fn what_a_client_says_after_its_handshake_is_ignored() {
    let mut world = World::seated(&settings());
    for text in [JOIN, "{", r#"{"kind":"OFFER","call":"room","session":"me","body":"x"}"#] {
        world.say(text);
    }
    let its = world.around.settings.clone();
    world.session.on_binary(&its, &mut world.around);
    assert!(world.heard().is_empty() && world.around.closed.is_none());
}

#[test]
fn a_disconnect_stops_the_listening_and_leaves_the_seat() {
    let mut world = World::seated(&settings());
    world.pass(2 * SECOND);
    let its = world.around.settings.clone();
    for _ in 0..2 {
        world.session.ended(&its, "connection_lost", &mut world.around);
    }
    assert!(!world.listens() && !world.around.attends && world.is_seated("me"));
    let types: Vec<_> = world.around.events.iter().map(|event| event.event_type).collect();
    assert_eq!(types, ["client_connected", "client_disconnected"]);
    assert_eq!(world.around.events[0].client_id, world.around.events[1].client_id);
    assert!(world.around.events[1].details.contains(&("reason", "connection_lost".into())));
    assert!(world.around.events[1].details.contains(&("duration_ms", 2000.into())));
}

#[test]
fn events_name_neither_the_call_nor_the_session() {
    let its = settings();
    let mut world = World::new(&its);
    its.seats.acquire("secret-call", "secret-session", world.around.now, its.terms());
    // The world looks for its listener there.
    its.seats.subscribe("room", "x", ME).unwrap();
    world.say(r#"{"kind":"JOIN","call":"secret-call","session":"secret-session"}"#);
    world.pass(31 * SECOND);
    let shown = format!("{:?}", world.around.events);
    assert!(shown.contains("client_disconnected") && !shown.contains("secret"), "{shown}");
}

#[test]
fn nobody_joins_a_server_that_shuts_down() {
    let mut world = World::new(&settings());
    world.acquire("me");
    world.around.draining = true;
    world.say(JOIN);
    assert_eq!(world.around.closed, Some((CloseCode::GOING_AWAY, "Server shutting down")));
    assert!(!world.listens());
}
