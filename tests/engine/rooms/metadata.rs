//! `update_metadata`: tags are united, properties overridden one by one.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{alone, meeting};
use crate::harness::*;

fn update(id: &str, metadata: Value) -> Value {
    json!({"type": "update_metadata", "peer_id": id, "metadata": metadata})
}

async fn merged(peer: &mut Peer, metadata: Value) -> Value {
    peer.send(&update(&peer.id, metadata)).await;
    let answer = peer.json().await;
    assert_eq!(keys_of(&answer), ["metadata", "peer_id", "type"], "{answer}");
    assert_eq!((&answer["type"], &answer["peer_id"]), (&json!("metadata_updated"), &json!(peer.id)));
    answer["metadata"].clone()
}

fn tags_of(metadata: &Value) -> BTreeSet<&str> {
    let tags = metadata["tags"].as_array().unwrap_or_else(|| panic!("no tags in {metadata}"));
    let set: BTreeSet<&str> = tags.iter().map(|it| it.as_str().expect("a string")).collect();
    assert_eq!(set.len(), tags.len(), "a tag stands twice in {metadata}");
    set
}

#[tokio::test]
async fn tags_are_united_and_properties_overridden_one_by_one() {
    let meeting = meeting().await;
    let metadata =
        json!({"tags": ["gpu", "training"], "properties": {"memory": 16384, "status": "free", "list": [1]}});
    let mut worker = meeting.peer_with("Worker", "worker", metadata).await;
    let mut client = meeting.peer("Client").await;

    let now = merged(&mut worker, json!({"tags": ["busy", "gpu"], "properties": {"status": "busy"}})).await;
    assert_eq!(tags_of(&now), BTreeSet::from(["gpu", "training", "busy"]));
    assert_eq!(now["properties"], json!({"memory": 16384, "status": "busy", "list": [1]}));

    let now =
        merged(&mut worker, json!({"properties": {"list": {"other": "kind"}, "new": null, "memory": 1.5}}))
            .await;
    assert_eq!(tags_of(&now), BTreeSet::from(["gpu", "training", "busy"]), "tags are kept when not sent");
    assert_eq!(
        now["properties"],
        json!({"memory": 1.5, "status": "busy", "list": {"other": "kind"}, "new": null})
    );

    let now = merged(&mut worker, json!({"tags": ["last"]})).await;
    assert_eq!(tags_of(&now), BTreeSet::from(["gpu", "training", "busy", "last"]));
    assert_eq!(now["properties"]["status"], "busy", "properties are kept when not sent");

    let peers = client.discover(json!({})).await;
    assert_eq!(peers[0]["metadata"], now, "others see what the peer was told");
    client.is_quiet_and_alive().await;
}

#[tokio::test]
async fn an_update_of_nothing_changes_nothing() {
    let meeting = meeting().await;
    let metadata = json!({"tags": ["gpu"], "properties": {"n": 1}});
    let mut worker = meeting.peer_with("Worker", "worker", metadata.clone()).await;
    assert_eq!(merged(&mut worker, json!({})).await, metadata);
    assert_eq!(merged(&mut worker, json!({"tags": [], "properties": {}})).await, metadata);
}

#[tokio::test]
async fn a_peer_without_metadata_can_get_some() {
    let meeting = meeting().await;
    let mut worker = meeting.peer("Worker").await;
    let now = merged(&mut worker, json!({"tags": ["gpu"], "properties": {"status": "free"}})).await;
    assert_eq!(now, json!({"tags": ["gpu"], "properties": {"status": "free"}}));
}

#[tokio::test]
async fn filters_see_an_update_at_once() {
    let meeting = meeting().await;
    let mut worker = meeting.peer_with("Worker", "worker", json!({"properties": {"status": "free"}})).await;
    let mut client = meeting.peer("Client").await;
    for status in ["busy", "free", "busy", "free"] {
        merged(&mut worker, json!({"properties": {"status": status}})).await;
        let found = client.finds(json!({"properties": {"status": "free"}})).await;
        assert_eq!(found.len(), usize::from(status == "free"), "{status}");
    }
}

#[tokio::test]
async fn an_update_without_its_fields_is_an_invalid_message_and_changes_nothing() {
    let meeting = meeting().await;
    let metadata = json!({"tags": ["gpu"], "properties": {"n": 1}});
    let mut worker = meeting.peer_with("Worker", "worker", metadata.clone()).await;
    for message in [
        json!({"type": "update_metadata"}),
        json!({"type": "update_metadata", "peer_id": "Worker"}),
        json!({"type": "update_metadata", "metadata": {"tags": ["x"]}}),
        update("", json!({"tags": ["x"]})),
        update("Worker", json!("text")),
        update("Worker", json!([1])),
        update("Worker", json!(5)),
        update("Worker", Value::Null),
        json!({"type": "update_metadata", "peer_id": 5, "metadata": {"tags": ["x"]}}),
    ] {
        worker.errs(&message.to_string(), "INVALID_MESSAGE").await;
    }
    assert_eq!(merged(&mut worker, json!({})).await, metadata);
}

/// A peer can neither register with nor grow to more than the limit.
#[tokio::test]
async fn metadata_is_bounded() {
    let meeting = Meeting::start(alone().section("[rooms]\nmetadata_bytes_max = 1024")).await;
    let mut peer = Peer::open(meeting.addr()).await;
    let mut registration = meeting.registration("Worker");
    registration["metadata"] = json!({"properties": {"text": "x".repeat(2000)}});
    peer.send(&registration).await;
    peer.any_error().await;
    registration["metadata"] = json!({"properties": {"text": "x".repeat(500)}});
    peer.registers(registration).await;
    let mut refused = 0;
    for number in 0..20 {
        peer.send(&update("Worker", json!({"properties": {format!("p{number}"): "x".repeat(100)}}))).await;
        let answer = peer.json().await;
        if answer["type"] == "error" {
            refused += 1;
        } else {
            assert_eq!(refused, 0, "what is full stays full");
            assert!(answer["metadata"].to_string().len() <= 1024, "{answer}");
        }
    }
    assert!(refused > 0, "2 KiB fitted into 1 KiB");
    peer.is_quiet_and_alive().await;
}
