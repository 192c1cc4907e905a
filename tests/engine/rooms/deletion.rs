//! `/delete-peer` and `/delete-peers-and-room`: who may, what is answered, what is really gone.

use serde_json::{Value, json};

use super::{alone, meeting};
use crate::harness::*;

const DELETED: &str = "peer deleted successfully";

async fn deletes(identity: &Identity, meeting: &Meeting, path: &str, body: Value) -> String {
    let response = identity.posts(meeting.addr(), path, body).await;
    assert_eq!(response.status, 200, "{}", response.text());
    let answer = json_of(&response);
    assert_eq!(keys_of(&answer), ["status"]);
    answer["status"].as_str().expect("a string").to_owned()
}

#[tokio::test]
async fn deleting_a_room_closes_all_its_sockets_with_1000_and_the_room_is_gone() {
    let meeting = Meeting::start(alone().listener("api", &["rooms-api"])).await;
    let addrs = [meeting.addr(), meeting.server.addr("api")];
    let (identity, other) = meeting.another_room().await;
    let mut bystander = Peer::register(meeting.addr(), other.registration("Worker-3108", &identity)).await;
    for (round, by) in ["peer_id", "room_id"].into_iter().enumerate() {
        let room = meeting.owner.creates_room(meeting.addr()).await;
        let mut peers = Vec::new();
        for id in ["Worker-3108", "Worker-7492", "Client-1489"] {
            peers.push(Peer::register(meeting.addr(), room.registration(id, &meeting.owner)).await);
        }
        let body =
            if by == "peer_id" { json!({"peer_id": "Worker-7492"}) } else { json!({"room_id": room.id}) };
        let response = meeting.owner.posts(addrs[round], "/delete-peers-and-room", body).await;
        assert_eq!(response.status, 200);
        assert_eq!(json_of(&response), json!({"status": DELETED}));
        for peer in &mut peers {
            assert_eq!(peer.closed().await.0, 1000, "{}", peer.id);
        }
        let mut late = Peer::open(meeting.addr()).await;
        late.is_refused(&room.registration("Late", &meeting.owner), "Room not found").await;
        let body = json!({"room_id": room.id});
        assert_eq!(deletes(&meeting.owner, &meeting, "/delete-peers-and-room", body).await, "room not found");
    }
    bystander.is_quiet_and_alive().await;
    assert_eq!(bystander.finds(json!({})).await, [""; 0]);
}

#[tokio::test]
async fn a_room_without_peers_can_be_deleted_by_its_id() {
    let meeting = meeting().await;
    let body = json!({"room_id": meeting.room.id});
    assert_eq!(deletes(&meeting.owner, &meeting, "/delete-peers-and-room", body).await, DELETED);
    let mut late = Peer::open(meeting.addr()).await;
    late.is_refused(&meeting.registration("Late"), "Room not found").await;
}

#[tokio::test]
async fn deleting_a_peer_removes_that_peer_alone() {
    let meeting = meeting().await;
    let mut worker = meeting.peer("Worker").await;
    let mut client = meeting.peer("Client").await;
    for _ in 0..3 {
        let body = json!({"peer_id": "Worker"});
        assert_eq!(deletes(&meeting.owner, &meeting, "/delete-peer", body).await, DELETED);
        assert_eq!(worker.closed().await.0, 1000);
        assert_eq!(client.finds(json!({})).await, [""; 0]);
        client.tells("Worker", "1").await;
        client.error("PEER_NOT_FOUND").await;
        // Its id and its room are free for it to come back.
        worker = meeting.peer("Worker").await;
        talk(&mut client, &mut worker).await;
    }
}

#[tokio::test]
async fn deleting_the_last_peer_keeps_the_room() {
    let meeting = meeting().await;
    let mut worker = meeting.peer("Worker").await;
    let body = json!({"peer_id": "Worker"});
    assert_eq!(deletes(&meeting.owner, &meeting, "/delete-peer", body).await, DELETED);
    assert_eq!(worker.closed().await.0, 1000);
    meeting.peer("Worker").await.is_quiet_and_alive().await;
}

#[tokio::test]
async fn who_is_not_there_is_not_found() {
    let meeting = meeting().await;
    let peer = json!({"peer_id": "Nobody"});
    let room = json!({"room_id": "abc123de"});
    assert_eq!(deletes(&meeting.owner, &meeting, "/delete-peer", peer.clone()).await, "peer not found");
    assert_eq!(deletes(&meeting.owner, &meeting, "/delete-peers-and-room", peer).await, "peer not found");
    assert_eq!(deletes(&meeting.owner, &meeting, "/delete-peers-and-room", room).await, "room not found");
}

#[tokio::test]
async fn a_member_of_the_room_may_delete_in_it() {
    let meeting = meeting().await;
    let member = Identity::sign_in(meeting.addr()).await;
    let mut worker = meeting.peer("Worker").await;
    let mut inside = Peer::register(meeting.addr(), meeting.room.registration("Member", &member)).await;
    let body = json!({"peer_id": "Worker"});
    assert_eq!(deletes(&member, &meeting, "/delete-peer", body).await, DELETED);
    assert_eq!(worker.closed().await.0, 1000);
    inside.is_quiet_and_alive().await;
    let body = json!({"peer_id": "Member"});
    assert_eq!(deletes(&member, &meeting, "/delete-peers-and-room", body).await, DELETED);
    assert_eq!(inside.closed().await.0, 1000);
}

#[tokio::test]
async fn nobody_else_may_delete() {
    let meeting = meeting().await;
    let mut worker = meeting.peer("Worker").await;
    let (stranger, own) = meeting.another_room().await;
    // Being in a room of one's own is no right in another.
    let mut elsewhere = Peer::register(meeting.addr(), own.registration("Elsewhere", &stranger)).await;
    let former = Identity::sign_in(meeting.addr()).await;
    Peer::register(meeting.addr(), meeting.room.registration("Former", &former)).await.leave().await;
    until("it has left", async || worker.finds(json!({})).await.is_empty().then_some(())).await;
    for (path, body) in [
        ("/delete-peer", json!({"peer_id": "Worker"})),
        ("/delete-peers-and-room", json!({"peer_id": "Worker"})),
        ("/delete-peers-and-room", json!({"room_id": meeting.room.id})),
    ] {
        for identity in [&stranger, &former] {
            let response = identity.posts(meeting.addr(), path, body.clone()).await;
            assert_eq!(response.status, 401, "{path} {body}");
            assert!(!json_of(&response)["detail"].is_null(), "{}", response.text());
        }
        for headers in [&[("Authorization", "Bearer nonsense")][..], &[]] {
            let response = post_json(meeting.addr(), path, headers, &body).await;
            assert_eq!(response.status, 401, "{path} {body} {headers:?}");
            assert!(!json_of(&response)["detail"].is_null(), "{}", response.text());
        }
    }
    worker.is_quiet_and_alive().await;
    elsewhere.is_quiet_and_alive().await;
    meeting.peer("Later").await.is_quiet_and_alive().await;
}

/// The same peer id in two rooms: a right in one is none in the other.
#[tokio::test]
async fn of_two_peers_of_one_name_the_one_in_the_own_room_is_deleted() {
    let meeting = meeting().await;
    let (stranger, other) = meeting.another_room().await;
    let mut here = meeting.peer("Worker").await;
    let mut there = Peer::register(meeting.addr(), other.registration("Worker", &stranger)).await;
    let body = json!({"peer_id": "Worker"});
    assert_eq!(deletes(&stranger, &meeting, "/delete-peer", body.clone()).await, DELETED);
    assert_eq!(there.closed().await.0, 1000);
    here.is_quiet_and_alive().await;
    assert_eq!(deletes(&meeting.owner, &meeting, "/delete-peers-and-room", body).await, DELETED);
    assert_eq!(here.closed().await.0, 1000);
    Peer::register(meeting.addr(), other.registration("Worker", &stranger)).await.is_quiet_and_alive().await;
}

/// The document's own example shows no header.
#[tokio::test]
async fn with_open_delete_no_authorization_is_needed() {
    let meeting = Meeting::start(alone().section("[rooms]\nopen_delete = true")).await;
    let mut worker = meeting.peer("Worker").await;
    let mut client = meeting.peer("Client").await;
    for (path, body, wanted) in [
        ("/delete-peer", json!({"peer_id": "Worker"}), DELETED),
        ("/delete-peer", json!({"peer_id": "Worker"}), "peer not found"),
        ("/delete-peers-and-room", json!({"peer_id": "Nobody"}), "peer not found"),
        ("/delete-peers-and-room", json!({"room_id": "abc123de"}), "room not found"),
        ("/delete-peers-and-room", json!({"peer_id": "Client"}), DELETED),
    ] {
        let response = post_json(meeting.addr(), path, &[], &body).await;
        assert_eq!(response.status, 200, "{path} {body}");
        assert_eq!(json_of(&response), json!({"status": wanted}), "{path} {body}");
    }
    assert_eq!(worker.closed().await.0, 1000);
    assert_eq!(client.closed().await.0, 1000);
}

#[tokio::test]
async fn a_body_that_names_nobody_is_a_422_with_detail() {
    let meeting = meeting().await;
    let worker = meeting.peer("Worker").await;
    let bearer = format!("Bearer {}", meeting.owner.id_token);
    let headers = [("Authorization", bearer.as_str())];
    for body in ["{", "", "[]", "5", "\"Worker\""] {
        for path in ["/delete-peer", "/delete-peers-and-room"] {
            let response = ask(meeting.addr(), "POST", path, &headers, Some(body)).await;
            assert!(response.status == 422 || response.status == 400, "{path} {body}: {}", response.status);
            assert!(!json_of(&response)["detail"].is_null(), "{}", response.text());
        }
    }
    // Deployed servers answer these as if the peer were not there.
    for body in [json!({}), json!({"peer_id": ""}), json!({"peer_id": 5}), json!({"peer_id": null})] {
        for path in ["/delete-peer", "/delete-peers-and-room"] {
            let response = meeting.owner.posts(meeting.addr(), path, body.clone()).await;
            let known = match response.status {
                200 => json_of(&response)["status"] == "peer not found",
                status => status == 422 || status == 400,
            };
            assert!(known, "{path} {body}: {} {}", response.status, response.text());
        }
    }
    worker.leave().await;
}

#[tokio::test]
async fn a_deleted_room_stays_gone_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let setup = alone().server("data_dir", format!("'{}'", folder.path().display()));
    let meeting = Meeting::start(setup.clone()).await;
    let kept = meeting.owner.creates_room(meeting.addr()).await;
    let body = json!({"room_id": meeting.room.id});
    assert_eq!(deletes(&meeting.owner, &meeting, "/delete-peers-and-room", body).await, DELETED);
    let (owner, deleted) = (meeting.owner.clone(), meeting.room.clone());
    // Killed, not stopped: the answer came after the record was gone.
    drop(meeting);
    let server = setup.start().await;
    let mut peer = Peer::open(server.main()).await;
    peer.is_refused(&deleted.registration("Peer", &owner), "Room not found").await;
    peer.registers(kept.registration("Peer", &owner)).await;
}
