//! Who may enter a room: `id_token`, `jwt`, `api_key`, and who may leave out the room's token.

use serde_json::{Value, json};

use super::{alone, meeting};
use crate::harness::*;

const AUTHENTICATION: &str = "Authentication failed";

/// A `register` with this credential in place of `id_token`.
fn with(room: &Room, peer_id: &str, field: &str, credential: &str, token: Option<&str>) -> Value {
    let mut registration =
        json!({"type": "register", "peer_id": peer_id, "room_id": room.id, field: credential});
    if let Some(token) = token {
        registration["token"] = json!(token);
    }
    registration
}

/// A `register` of a stranger who does not know the room's token was not let in.
async fn is_kept_out(peer: &mut Peer, registration: &Value) {
    peer.send(registration).await;
    let refusal = peer.refusal().await;
    let reason = refusal["reason"].as_str().expect("checked");
    let known = ["Missing required fields during registration.", "Invalid token", AUTHENTICATION];
    assert!(known.contains(&reason), "{refusal}");
}

#[tokio::test]
async fn a_token_of_the_own_issuer_may_come_as_jwt() {
    let meeting = meeting().await;
    let guest = Identity::sign_in(meeting.addr()).await;
    let registration =
        with(&meeting.room, "Guest", "jwt", &guest.id_token, Some(meeting.room.token.as_str()));
    let mut guest = Peer::register(meeting.addr(), registration).await;
    let mut owner = meeting.peer("Owner").await;
    talk(&mut guest, &mut owner).await;
}

#[tokio::test]
async fn the_creator_may_leave_out_the_rooms_token() {
    let meeting = meeting().await;
    for field in ["id_token", "jwt"] {
        let registration = with(&meeting.room, field, field, &meeting.owner.id_token, None);
        Peer::register(meeting.addr(), registration).await.is_quiet_and_alive().await;
    }
    // In somebody else's room the creator of this one is a stranger.
    let (_, other) = meeting.another_room().await;
    let mut peer = Peer::open(meeting.addr()).await;
    for field in ["id_token", "jwt"] {
        is_kept_out(&mut peer, &with(&other, "x", field, &meeting.owner.id_token, None)).await;
    }
}

#[tokio::test]
async fn a_stranger_may_not_leave_out_the_rooms_token() {
    let meeting = meeting().await;
    let stranger = Identity::sign_in(meeting.addr()).await;
    let mut peer = Peer::open(meeting.addr()).await;
    for field in ["id_token", "jwt"] {
        is_kept_out(&mut peer, &with(&meeting.room, "x", field, &stranger.id_token, None)).await;
        let registration = with(&meeting.room, "x", field, &stranger.id_token, Some("wrong0"));
        peer.is_refused(&registration, "Invalid token").await;
    }
}

#[tokio::test]
async fn configured_keys_let_in_whoever_they_signed() {
    for signer in [Signer::rs256("configured"), Signer::es256("configured")] {
        let other = Signer::es256("other");
        let setup = alone()
            .file("keys.json", &key_set(&[&other, &signer]))
            .section("[rooms]\njwks_path = 'keys.json'");
        let meeting = Meeting::start(setup).await;
        let room_token = Some(meeting.room.token.as_str());
        let good = signer.token("somebody", json!({"role": "x"}));
        let mut guest =
            Peer::register(meeting.addr(), with(&meeting.room, "Guest", "jwt", &good, room_token)).await;
        let mut owner = meeting.peer("Owner").await;
        talk(&mut guest, &mut owner).await;

        let mut peer = Peer::open(meeting.addr()).await;
        let (signed, _) = good.rsplit_once('.').expect("a signature");
        let past = json!({"sub": "somebody", "exp": unix_seconds() - 3600});
        for (name, bad) in [
            ("expired", signer.sign(&past)),
            ("without an end", signer.sign(&json!({"sub": "somebody"}))),
            ("of a key that nobody configured", Signer::es256("configured").token("somebody", json!({}))),
            ("of a name that nobody configured", Signer::es256("unheard").token("somebody", json!({}))),
            ("without a signature", format!("{signed}.")),
            ("nonsense", "nonsense".into()),
        ] {
            let registration = with(&meeting.room, "x", "jwt", &bad, room_token);
            let code = peer.is_refused(&registration, AUTHENTICATION).await;
            assert!(!code.is_empty(), "{name}");
        }
        peer.is_quiet_and_alive().await;
    }
}

#[tokio::test]
async fn issuer_and_audience_are_checked_where_they_are_configured() {
    let signer = Signer::es256("k");
    let setup = alone().file("keys.json", &key_set(&[&signer])).section(
        "[rooms]\njwks_path = 'keys.json'\njwks_issuer = 'https://id.example.org'\njwks_audience = 'my-app'",
    );
    let meeting = Meeting::start(setup).await;
    let room_token = Some(meeting.room.token.as_str());
    let mut peer = Peer::open(meeting.addr()).await;
    for claims in [
        json!({}),
        json!({"iss": "https://id.example.org"}),
        json!({"aud": "my-app"}),
        json!({"iss": "https://id.example.org/", "aud": "my-app"}),
        json!({"iss": "https://id.example.org", "aud": "my-other-app"}),
        json!({"iss": "https://id.example.org", "aud": ["my-other-app"]}),
    ] {
        let registration = with(&meeting.room, "x", "jwt", &signer.token("me", claims), room_token);
        peer.is_refused(&registration, AUTHENTICATION).await;
    }
    for aud in [json!("my-app"), json!(["my-other-app", "my-app"])] {
        let token = signer.token("me", json!({"iss": "https://id.example.org", "aud": aud}));
        peer.registers(with(&meeting.room, "x", "jwt", &token, room_token)).await;
    }
}

#[tokio::test]
async fn a_rooms_claim_that_lists_the_room_stands_for_its_token() {
    let signer = Signer::es256("k");
    let setup = alone().file("keys.json", &key_set(&[&signer])).section("[rooms]\njwks_path = 'keys.json'");
    let meeting = Meeting::start(setup).await;
    let (_, other) = meeting.another_room().await;
    let mut peer = Peer::open(meeting.addr()).await;
    for rooms in [
        json!([]),
        json!([other.id]),
        json!([&meeting.room.id[..7]]),
        json!([format!("{}x", meeting.room.id)]),
        json!({"id": meeting.room.id}),
        json!([[meeting.room.id]]),
        json!([5, null]),
        json!("*"),
    ] {
        let token = signer.token("me", json!({"rooms": rooms}));
        is_kept_out(&mut peer, &with(&meeting.room, "x", "jwt", &token, None)).await;
    }
    let token = signer.token("me", json!({"rooms": [other.id, meeting.room.id]}));
    peer.registers(with(&meeting.room, "x", "jwt", &token, None)).await;
    let mut second = Peer::open(meeting.addr()).await;
    second.registers(with(&other, "x", "jwt", &token, None)).await;
    // A claim is no master key: a token that is given must be right.
    let mut third = Peer::open(meeting.addr()).await;
    third.is_refused(&with(&meeting.room, "y", "jwt", &token, Some("wrong0")), "Invalid token").await;
}

#[tokio::test]
async fn a_user_of_configured_keys_may_create_rooms_and_enter_them_without_the_token() {
    let signer = Signer::es256("k");
    let setup = alone().file("keys.json", &key_set(&[&signer])).section("[rooms]\njwks_path = 'keys.json'");
    let server = setup.start().await;
    let creator = signer.token("creator", json!({}));
    let bearer = format!("Bearer {creator}");
    let response = ask(server.main(), "POST", "/create-room", &[("Authorization", &bearer)], Some("")).await;
    assert_eq!(response.status, 200, "{}", response.text());
    let room = Room::of(&json_of(&response));
    // Another token of the same user is as good.
    let again = signer.token("creator", json!({"jti": "another"}));
    let mut peer = Peer::register(server.main(), with(&room, "Creator", "jwt", &again, None)).await;
    peer.is_quiet_and_alive().await;
    let stranger = signer.token("stranger", json!({}));
    is_kept_out(&mut Peer::open(server.main()).await, &with(&room, "x", "jwt", &stranger, None)).await;
}

#[tokio::test]
async fn api_keys_of_the_list_are_accepted_with_the_rooms_token() {
    let meeting = Meeting::start(alone().section("[rooms]\napi_keys = ['lab:the-key-of-the-lab']")).await;
    let room_token = Some(meeting.room.token.as_str());
    let mut peer = Peer::open(meeting.addr()).await;
    for wrong in
        ["the-key-of-the-la", "the-key-of-the-lab ", "lab", "lab:the-key-of-the-lab", "THE-KEY-OF-THE-LAB"]
    {
        let registration = with(&meeting.room, "x", "api_key", wrong, room_token);
        peer.is_refused(&registration, AUTHENTICATION).await;
    }
    is_kept_out(&mut peer, &with(&meeting.room, "x", "api_key", "the-key-of-the-lab", None)).await;
    let registration = with(&meeting.room, "x", "api_key", "the-key-of-the-lab", Some("wrong0"));
    peer.is_refused(&registration, "Invalid token").await;
    peer.registers(with(&meeting.room, "Worker", "api_key", "the-key-of-the-lab", room_token)).await;
    let mut owner = meeting.peer("Owner").await;
    talk(&mut peer, &mut owner).await;
}

#[tokio::test]
async fn without_a_list_no_api_key_is_good() {
    let meeting = meeting().await;
    let mut peer = Peer::open(meeting.addr()).await;
    for key in ["x", "api_key", "null"] {
        let registration = with(&meeting.room, "x", "api_key", key, Some(meeting.room.token.as_str()));
        peer.is_refused(&registration, AUTHENTICATION).await;
    }
}

/// The room has to be there before a key can be bound to it, hence the second start.
#[tokio::test]
async fn an_api_key_that_is_bound_to_a_room_stands_for_its_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let setup = alone().server("data_dir", format!("'{}'", folder.path().display()));
    let meeting = Meeting::start(setup.clone()).await;
    let (owner, bound) = (meeting.owner.clone(), meeting.room.clone());
    let (_, other) = meeting.another_room().await;
    drop(meeting);
    let section = format!("[rooms]\napi_keys = ['free:key-one', 'bound:key-two:{},elsewhere']", bound.id);
    let server = setup.section(&section).start().await;
    let mut peer = Peer::open(server.main()).await;
    is_kept_out(&mut peer, &with(&bound, "x", "api_key", "key-one", None)).await;
    is_kept_out(&mut peer, &with(&other, "x", "api_key", "key-two", None)).await;
    peer.registers(with(&bound, "Worker", "api_key", "key-two", None)).await;
    let mut owner = Peer::register(server.main(), bound.registration("Owner", &owner)).await;
    talk(&mut peer, &mut owner).await;
}

#[tokio::test]
async fn without_require_id_token_the_rooms_token_is_enough() {
    let meeting = Meeting::start(alone().section("[rooms]\nrequire_id_token = false")).await;
    let bare = |token: Option<&str>| {
        let mut registration =
            json!({"type": "register", "peer_id": "v1-worker", "room_id": meeting.room.id});
        if let Some(token) = token {
            registration["token"] = json!(token);
        }
        registration
    };
    let mut peer = Peer::open(meeting.addr()).await;
    is_kept_out(&mut peer, &bare(None)).await;
    is_kept_out(&mut peer, &bare(Some(""))).await;
    peer.is_refused(&bare(Some("wrong0")), "Invalid token").await;
    // A token that nobody signed gives no right that its owner would have.
    let (_, claims) = unsealed(&meeting.owner.id_token);
    let forged = Signer::rs256("made-up").sign(&claims);
    is_kept_out(&mut peer, &with(&meeting.room, "x", "id_token", &forged, None)).await;
    peer.registers(bare(Some(&meeting.room.token))).await;
    let mut owner = meeting.peer("Owner").await;
    talk(&mut peer, &mut owner).await;
}

#[tokio::test]
async fn with_require_id_token_a_bare_register_is_refused() {
    let meeting = meeting().await;
    let registration = json!({
        "type": "register", "peer_id": "x", "room_id": meeting.room.id, "token": meeting.room.token,
    });
    let mut peer = Peer::open(meeting.addr()).await;
    peer.is_refused(&registration, "Missing required fields during registration.").await;
}
