//! Who gets into a room, and in which words the others are refused.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::auth::PublicKeys;
use crate::observe::Detail;

const MISSING: &str = "Missing required fields during registration.";

fn refused(code: &str, reason: &str) -> (String, String) {
    (code.to_owned(), reason.to_owned())
}

#[test]
fn the_documents_register_is_answered_as_the_document_says() {
    let mut world = World::new();
    let me = world.open();
    let metadata = json!({"tags": ["gpu"], "properties": {"gpu_memory_mb": 16384}});
    world.say(me, &with(&register("Worker-3108"), json!({"role": "worker", "metadata": metadata})));
    let expected = json!({
        "type": "registered_auth", "room_id": ROOM, "token": TOKEN, "peer_id": "Worker-3108"
    });
    assert_eq!(world.one(me), expected);
    assert_eq!(world.owner("Worker-3108"), Some(key(me)));
    assert_eq!(world.settings.rooms.lookup(ROOM, "Worker-3108"), Some(key(me)));
    let event = world.event();
    assert_eq!((event.event_type, event.client_id.as_str()), ("client_connected", "Worker-3108"));
    assert!(world.events.is_empty());
}

#[test]
fn a_missing_or_malformed_field_is_refused_and_the_socket_stays_open() {
    let mut world = World::new();
    let me = world.open();
    let long = "x".repeat(257);
    for change in [
        json!({"peer_id": null}),
        json!({"room_id": null}),
        json!({"token": null}),
        json!({"id_token": null}),
        json!({"peer_id": ""}),
        json!({"room_id": ""}),
        json!({"token": ""}),
        json!({"id_token": ""}),
        json!({"peer_id": 7}),
        json!({"room_id": ["abc123de"]}),
        json!({"token": {}}),
        json!({"id_token": false}),
        json!({"peer_id": "a\nb"}),
        json!({"peer_id": "a\u{0}b"}),
        json!({"peer_id": long}),
        json!({"role": 5}),
        json!({"role": long}),
    ] {
        world.say(me, &with(&register("a"), change.clone()));
        assert_eq!(world.refusal(me), refused("INVALID_MESSAGE", MISSING), "{change}");
    }
    for text in [
        register("a").replace("\"peer_id\":\"a\"", r#""peer_id":"\ud800""#),
        register("a").replace(&format!("\"{ROOM}\""), "null"),
        with(&register("a"), json!({"metadata": 1})).replace("\"metadata\":1", r#""metadata":"\udc00""#),
        with(&register("a"), json!({"metadata": 1})).replace("\"metadata\":1", "\"metadata\":1e999"),
    ] {
        world.say(me, &text);
        assert_eq!(world.refusal(me), refused("INVALID_MESSAGE", MISSING), "{text}");
    }
    world.say(me, &register("a"));
    assert_eq!(world.one(me)["type"], "registered_auth");
}

#[test]
fn each_refusal_has_its_reason_its_code_and_an_event_without_secrets() {
    let mut world = World::new();
    let me = world.open();
    let stranger = STRANGER.mint_id_token("user", NOW_SECONDS, 3600);
    let outdated = ISSUER.mint_id_token("user", NOW_SECONDS - 7200, 3600);
    for (change, code, reason, word) in [
        (json!({"room_id": "zzzzzzzz"}), "ROOM_NOT_FOUND", "Room not found", "room_not_found"),
        (json!({"token": "f7g8h0"}), "INVALID_TOKEN", "Invalid token", "invalid_token"),
        (json!({"token": "f7g8h"}), "INVALID_TOKEN", "Invalid token", "invalid_token"),
        (json!({"id_token": "x"}), "AUTHENTICATION_FAILED", "Authentication failed", "authentication_failed"),
        (
            json!({"id_token": stranger}),
            "AUTHENTICATION_FAILED",
            "Authentication failed",
            "authentication_failed",
        ),
        (
            json!({"id_token": outdated}),
            "AUTHENTICATION_FAILED",
            "Authentication failed",
            "authentication_failed",
        ),
        (json!({"peer_id": null}), "INVALID_MESSAGE", MISSING, "malformed"),
    ] {
        let text = with(&register("a"), change);
        world.say(me, &text);
        assert_eq!(world.refusal(me), refused(code, reason));
        let event = world.event();
        assert_eq!(event.event_type, "client_rejected");
        assert_eq!(event.details[1], ("reason", Detail::from(word)));
        let shown = format!("{event:?}");
        assert!(!shown.contains(TOKEN) && !shown.contains("eyJ") && !shown.contains("f7g8"), "{shown}");
    }
    assert_eq!(world.peers[me].closed, None);
    assert_eq!(world.owner("a"), None);
}

#[test]
fn an_expired_room_takes_no_new_peers_and_keeps_those_it_has() {
    let mut world = World::new();
    let old = world.peer("old");
    let other = world.peer("other");
    world.pass_us(7_200_000_000);
    let text = with(&register("new"), json!({"id_token": ISSUER.mint_id_token("n", NOW_SECONDS + 7200, 60)}));
    let late = world.open();
    world.say(late, &text);
    assert_eq!(world.refusal(late), refused("ROOM_EXPIRED", "Room expired"));

    let again = with(&text, json!({"peer_id": "old"}));
    for is_swept in [false, true] {
        if is_swept {
            world.settings.rooms.take_expired(NOW_SECONDS + 7200, 10);
        }
        world.say(old, &again);
        assert_eq!(world.one(old)["type"], "registered_auth");
        let offer = json!({"type": "offer", "sender": "old", "target": "other", "sdp": "x"}).to_string();
        world.say(old, &offer);
        assert_eq!(world.text(other), offer);
    }
    world.say(late, &text);
    assert_eq!(world.refusal(late), refused("ROOM_NOT_FOUND", "Room not found"));
}

#[test]
fn without_the_rooms_token_enters_its_creator_and_whoever_is_granted_it() {
    let mut world = World::new();
    world.make_room("otherone", "tttttt");
    let no_token = json!({"token": null, "id_token": id_token("creator")});
    let me = world.open();
    world.say(me, &with(&register("a"), no_token));
    assert_eq!(world.one(me)["token"], TOKEN);

    let me = world.open();
    let by_key = json!({"token": null, "id_token": null, "api_key": "bound-key"});
    world.say(me, &with(&register("b"), by_key.clone()));
    let answer = world.one(me);
    assert_eq!((&answer["type"], &answer["token"]), (&json!("registered_auth"), &Value::Null));

    // A key that is bound to one room says which.
    let me = world.open();
    world.say(me, &with(&with(&register("c"), by_key.clone()), json!({"room_id": null})));
    assert_eq!(world.one(me)["room_id"], ROOM);

    let me = world.open();
    world.say(me, &with(&with(&register("d"), by_key), json!({"room_id": "otherone"})));
    assert_eq!(world.refusal(me), refused("INVALID_MESSAGE", MISSING));
    world.say(me, &with(&register("d"), json!({"token": null, "id_token": null, "api_key": "free-key"})));
    assert_eq!(world.refusal(me), refused("INVALID_MESSAGE", MISSING));
    world.say(me, &with(&register("d"), json!({"id_token": null, "api_key": "free-key"})));
    assert_eq!(world.one(me)["type"], "registered_auth");
    // A wrong token is no better for being the creator's.
    world.say(me, &with(&register("e"), json!({"token": "x", "id_token": id_token("creator")})));
    assert_eq!(world.refusal(me), refused("INVALID_TOKEN", "Invalid token"));
}

#[test]
fn a_jwt_stands_in_place_of_an_id_token() {
    let mut world = World::new();
    let me = world.open();
    world.say(me, &with(&register("a"), json!({"id_token": null, "jwt": id_token("u")})));
    assert_eq!(world.one(me)["type"], "registered_auth");
    world.say(me, &with(&register("a"), json!({"jwt": "nonsense"})));
    assert_eq!(world.refusal(me).1, "Authentication failed");
    world.say(me, &with(&register("a"), json!({"id_token": null, "api_key": "wrong"})));
    assert_eq!(world.refusal(me).1, "Authentication failed");
}

#[test]
fn where_no_identity_is_required_the_rooms_token_is_enough_and_still_needed() {
    let mut world = World::with(|settings| settings.require_id_token = false);
    for proof in [json!({"id_token": null}), json!({"id_token": "cognito_token"})] {
        let me = world.open();
        world.say(me, &with(&register("a"), proof.clone()));
        assert_eq!(world.one(me)["type"], "registered_auth");
        world.say(me, &with(&with(&register("a"), proof), json!({"token": null})));
        assert_eq!(world.refusal(me), refused("INVALID_MESSAGE", MISSING));
    }
}

#[test]
fn registering_again_is_idempotent_and_brings_role_and_metadata_up_to_date() {
    let mut world = World::new();
    let me = world.peer("a");
    let asker = world.peer("asker");
    world.events.clear();
    world.say(me, &with(&register("a"), json!({"role": "worker", "metadata": {"tags": ["x"]}})));
    assert_eq!(world.one(me)["type"], "registered_auth");
    assert!(world.events.is_empty(), "it is the same peer");
    world.say(asker, r#"{"type":"discover_peers","from_peer_id":"asker"}"#);
    let list = world.one(asker);
    assert_eq!((&list["count"], &list["peers"][0]["role"]), (&json!(1), &json!("worker")));
    assert_eq!(list["peers"][0]["metadata"], json!({"tags": ["x"]}));
    assert_eq!(world.peers[me].closed, None);
}

#[test]
fn registering_as_another_gives_up_the_first_peer_once_the_second_is_in() {
    let mut world = World::new();
    world.make_room("otherone", "tttttt");
    let me = world.peer("a");
    world.say(me, &register_in("otherone", "wrong!", "b"));
    assert_eq!(world.refusal(me).1, "Invalid token");
    assert_eq!(world.owner("a"), Some(key(me)));

    world.events.clear();
    world.say(me, &register_in("otherone", "tttttt", "b"));
    assert_eq!(world.one(me)["peer_id"], "b");
    assert_eq!((world.owner("a"), world.settings.rooms.lookup(ROOM, "a")), (None, None));
    assert_eq!(world.settings.rooms.lookup("otherone", "b"), Some(key(me)));
    assert!(world.peers[me].attends, "it takes messages under its new id");
    let types: Vec<_> = world.events.iter().map(|event| event.event_type).collect();
    assert_eq!(types, ["client_disconnected", "client_connected"]);
    world.say(me, r#"{"type":"query","sender":"a"}"#);
    assert_eq!(world.code(me), "INVALID_MESSAGE");
}

#[test]
fn a_full_room_and_a_draining_server_say_so() {
    let mut world = World::new();
    world.settings.rooms.set_limits(RoomLimits { peers_per_room_max: 1, ..RoomLimits::default() });
    world.peer("a");
    let me = world.open();
    world.say(me, &register("b"));
    assert_eq!(world.refusal(me), refused("UNAVAILABLE", "Room is full"));
    world.draining = true;
    world.say(me, &register("b"));
    assert_eq!(world.refusal(me), refused("UNAVAILABLE", "Server is shutting down"));
}

#[test]
fn metadata_may_be_any_json_up_to_its_limit() {
    let mut world = World::with(|settings| settings.metadata_bytes_max = 64);
    let me = world.open();
    for metadata in [json!([]), json!("x"), json!({"deep": [[[[]]]]}), json!(1.5), json!({})] {
        world.say(me, &with(&register("a"), json!({"metadata": metadata})));
        assert_eq!(world.one(me)["type"], "registered_auth");
    }
    world.say(me, &with(&register("a"), json!({"metadata": "x".repeat(63)})));
    assert_eq!(world.refusal(me), refused("INVALID_MESSAGE", MISSING));
    world.settings.rooms.set_limits(RoomLimits { metadata_bytes_max: 10, ..RoomLimits::default() });
    world.say(me, &with(&register("a"), json!({"metadata": "x".repeat(20)})));
    assert_eq!(world.refusal(me), refused("INVALID_MESSAGE", MISSING));
}

#[test]
fn a_token_of_an_unknown_key_waits_for_the_keys_and_is_decided_when_they_have_come() {
    let wishes = Arc::new(AtomicU64::new(0));
    let remote = Arc::new(RemoteKeys::new(Box::new({
        let wishes = wishes.clone();
        move || {
            wishes.fetch_add(1, Ordering::Relaxed);
        }
    })));
    let sources = IdentitySources {
        trusted: trusted(),
        remote: Some(TrustedRemote { keys: remote.clone(), issuer: None, audience: None }),
        api_keys: vec![],
    };
    let identities = Arc::new(Identities::new(sources));
    let mut world = World::with(|settings| settings.identities = identities);
    let text = with(&register("a"), json!({"id_token": STRANGER.mint_id_token("user", NOW_SECONDS, 3600)}));
    let keys = |issuer: &Issuer| PublicKeys::from_json(issuer.jwks_json()).expect("a key set");

    // They come.
    let me = world.open();
    assert_eq!(world.offer(me, &text), Progress::Later);
    assert!(world.sessions[me].is_waiting());
    assert_eq!(wishes.load(Ordering::Relaxed), 1);
    let look_us = world.sessions[me].deadline_us(&world.settings).expect("it looks");
    assert_eq!(look_us, world.now.mono_us + 50_000);
    world.pass_us(50_000);
    world.tick(me);
    assert!(world.sessions[me].is_waiting(), "nothing has come");
    remote.replace(keys(&STRANGER));
    world.pass_us(50_000);
    world.tick(me);
    assert!(!world.sessions[me].is_waiting());
    world.say(me, &text);
    assert_eq!(world.one(me)["type"], "registered_auth");
    let received = crate::dialect::MESSAGE_LABELS.iter().position(|&label| label == ("rooms", "register"));
    assert_eq!(world.metrics.messages_received[received.expect("a label")].get(), 1, "counted once");

    // They come and hold nothing new; or they do not come at all.
    remote.replace(keys(&ISSUER));
    for answers in [true, false] {
        let me = world.open();
        assert_eq!(world.offer(me, &text), Progress::Later);
        if answers {
            remote.not_replaced();
        } else {
            world.pass_us(4_999_999);
            world.tick(me);
            assert!(world.sessions[me].is_waiting());
            world.pass_us(1);
        }
        world.tick(me);
        assert!(!world.sessions[me].is_waiting());
        world.say(me, &text);
        assert_eq!(world.refusal(me), refused("AUTHENTICATION_FAILED", "Authentication failed"));
        // The next register may wait anew.
        assert_eq!(world.offer(me, &text), Progress::Later);
    }
}
