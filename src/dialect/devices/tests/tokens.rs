use jsonwebtoken::{Algorithm, EncodingKey, Header};

use super::*;

const SECRET: &str = "a secret of more than thirty-two bytes";

fn token(claims: &str) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &json(claims), &key).unwrap()
}

fn guarded(change: impl FnOnce(&mut Settings)) -> World {
    World::with(|settings| {
        settings.tokens = Some(Arc::new(DeviceTokens::new(Redacted::new(SECRET.to_owned()))));
        change(settings);
    })
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// The example of the contract: operators may offer, to drones only.
fn with_operators() -> World {
    guarded(|settings| {
        let (may_send, to) = (words(&["offer", "list"]), words(&["drone"]));
        settings.roles = [Role::new("operator".to_owned(), Some(&may_send), Some(to)).unwrap()].into();
    })
}

fn admits(world: &World, token: Option<&str>) -> bool {
    let token = token.map(|token| Redacted::new(token.to_owned()));
    world.settings.identify(&Opening { token, at_ws: false }, world.now.unix_seconds()).is_ok()
}

#[test]
fn a_token_that_does_not_hold_closes_the_connection() {
    for require_token in [false, true] {
        let mut world = guarded(|settings| settings.require_token = require_token);
        for (bad, reason) in [
            ("nonsense".to_owned(), "malformed_token"),
            (token(r#"{"sub":"me","exp":1}"#), "expired"),
            (token(r#"{"sub":"me"}"#) + "x", "malformed_token"),
        ] {
            assert!(!admits(&world, Some(&bad)));
            let me = world.open_with(Some(&bad));
            assert_eq!(world.peers[me].closed, Some((CloseCode::POLICY, "Unauthorized")));
            let event = world.event("reason");
            assert!(event.2 == reason || event.2 == "bad_signature", "{event:?}");
            assert_eq!((event.0, event.1.as_str()), ("client_rejected", ""));
            // Nothing more of it is looked at.
            world.say(me, &register("me"));
            world.end(me, "closed");
            world.nothing(me);
            assert!(world.events.is_empty() && world.owner("me").is_none());
        }
    }
}

#[test]
fn a_missing_token_is_refused_only_where_one_is_required() {
    let mut open = guarded(|_| ());
    assert!(admits(&open, None));
    open.client("anybody");
    let mut closed = guarded(|settings| settings.require_token = true);
    assert!(!admits(&closed, None));
    let me = closed.open();
    assert_eq!(closed.peers[me].closed, Some((CloseCode::POLICY, "Unauthorized")));
    // Without a secret no token can hold, and none is looked at where none is required.
    let mut without = World::new();
    without.client_with(Some("nonsense"), "me");
    without.settings.require_token = true;
    assert!(!admits(&without, Some(&token(r#"{"sub":"me"}"#))));
}

#[test]
fn a_token_registers_its_own_id_only() {
    let mut world = guarded(|settings| settings.require_token = true);
    let other_id = error_with("Not allowed", "The token is for another id");
    for (claims, own) in [
        (r#"{"sub":"drone-1"}"#, &["drone-1"][..]),
        (r#"{"userId":"drone-1"}"#, &["drone-1"]),
        (r#"{"userId":7}"#, &["7"]),
        (r#"{"sub":"account","userId":"drone-1"}"#, &["account", "drone-1"]),
        (r#"{"role":"drone"}"#, &[]),
    ] {
        for id in ["drone-1", "account", "7", "drone"] {
            let me = world.open_with(Some(&token(claims)));
            let answer = world.ask(me, &register(id));
            if own.contains(&id) {
                assert_eq!(json(&answer)["type"], "registered", "{claims} {id}");
            } else {
                assert_eq!(answer, other_id, "{claims} {id}");
                assert_eq!(world.event("reason"), ("client_rejected", id.into(), "wrong_subject".into()));
                assert_eq!(world.owner(id), None);
            }
            world.end(me, "closed");
            world.events.clear();
        }
    }
}

#[test]
fn a_role_may_send_what_it_lists_and_register_and_ping() {
    let mut world = with_operators();
    let drone = world.client_with(Some(&token(r#"{"sub":"d","role":"drone"}"#)), "d");
    let me = world.client_with(Some(&token(r#"{"sub":"o","role":"operator"}"#)), "o");
    assert_eq!(json(&world.ask(me, r#"{"type":"ping"}"#))["type"], "pong");
    assert_eq!(json(&world.ask(me, r#"{"type":"list"}"#))["count"], 1);
    for message_type in ["answer", "ice"] {
        let text = format!(r#"{{"type":"{message_type}","target":"d"}}"#);
        assert_eq!(world.ask(me, &text), error("Not allowed"));
        world.nothing(drone);
    }
    world.say(me, r#"{"type":"offer","target":"d","sdp":"v=0"}"#);
    assert_eq!(json(&world.one(drone))["from"], "o");
    // A role of which nothing is said may do everything.
    for message_type in ["offer", "answer", "ice"] {
        world.say(drone, &format!(r#"{{"type":"{message_type}","target":"o"}}"#));
        assert_eq!(json(&world.one(me))["type"], message_type);
    }
}

#[test]
fn a_role_may_send_to_the_roles_it_lists_only() {
    let mut world = with_operators();
    let operator = token(r#"{"sub":"o","role":"operator"}"#);
    let camera = world.client_with(Some(&token(r#"{"sub":"c","role":"camera"}"#)), "c");
    let nobody = world.client("n");
    world.directory.join(REALM, "agent", key(0), OTHER_DIALECT, OnDuplicate::Replace).unwrap();
    let me = world.client_with(Some(&operator), "o");
    for (target, answer) in [
        ("c", "Not allowed"),
        ("n", "Not allowed"),
        ("o", "Not allowed"),
        ("gone", "Target gone not found or offline"),
        ("agent", "Target agent not found or offline"),
    ] {
        let text = format!(r#"{{"type":"offer","target":"{target}","sdp":"v=0"}}"#);
        assert_eq!(world.ask(me, &text), error(answer));
    }
    world.nothing(camera);
    world.nothing(nobody);
    // The role goes with the connection, not with the id.
    let drone = world.client_with(Some(&token(r#"{"sub":"c","role":"drone"}"#)), "c");
    world.evict(camera);
    world.say(me, r#"{"type":"offer","target":"c","sdp":"v=0"}"#);
    assert_eq!(json(&world.one(drone))["from"], "o");
    world.end(drone, "closed");
    let gone = error("Target c not found or offline");
    assert_eq!(world.ask(me, r#"{"type":"offer","target":"c","sdp":"v=0"}"#), gone);
}
