//! `discover_peers`: what is listed, every filter, every operator.

use serde_json::{Value, json};

use super::meeting;
use crate::harness::*;

/// Three workers, a client, and the one who asks.
async fn crowd(meeting: &Meeting) -> (Peer, Vec<Peer>) {
    let mut others = Vec::new();
    for (id, role, metadata) in [
        (
            "big",
            "worker",
            json!({"tags": ["gpu", "training"], "properties": {
                "gpu_memory_mb": 16384, "sleap_version": "1.3.0", "load": 0.5, "name": "b",
                "models": ["base"], "busy": true,
            }}),
        ),
        (
            "small",
            "worker",
            json!({"tags": ["gpu", "inference"], "properties": {
                "gpu_memory_mb": 8192, "sleap_version": "1.2.9", "load": -1, "name": "a",
            }}),
        ),
        ("bare", "worker", json!({})),
        ("client", "client", json!({"tags": ["training"], "properties": {"gpu_memory_mb": "16384"}})),
    ] {
        others.push(meeting.peer_with(id, role, metadata).await);
    }
    (meeting.peer_with("asker", "worker", json!({"tags": ["gpu"]})).await, others)
}

async fn assert_found(asker: &mut Peer, cases: &[(Value, &[&str])]) {
    for (filters, wanted) in cases {
        assert_eq!(asker.finds(filters.clone()).await, *wanted, "{filters}");
    }
}

fn property(name: &str, condition: Value) -> Value {
    json!({"properties": {name: condition}})
}

#[tokio::test]
async fn an_entry_has_id_role_metadata_and_time() {
    let meeting = meeting().await;
    let before = unix_seconds();
    let metadata = json!({"tags": ["gpu"], "properties": {"gpu_memory_mb": 16384}});
    let _worker = meeting.peer_with("Worker-3108", "worker", metadata.clone()).await;
    let mut client = meeting.peer("Client-1489").await;
    let peers = client.discover(json!({"role": "worker"})).await;
    assert_eq!(peers.len(), 1);
    assert_eq!(keys_of(&peers[0]), ["connected_at", "metadata", "peer_id", "role"]);
    assert_eq!(peers[0]["peer_id"], "Worker-3108");
    assert_eq!((&peers[0]["role"], &peers[0]["metadata"]), (&json!("worker"), &metadata));
    let at = peers[0]["connected_at"].as_f64().expect("a number");
    let (from, to) = (before as f64 - 2.0, unix_seconds() as f64 + 2.0);
    assert!((from..=to).contains(&at), "{at} is not between {from} and {to}");
}

#[tokio::test]
async fn the_asker_is_never_listed() {
    let meeting = meeting().await;
    let mut asker = meeting.peer_with("asker", "worker", json!({"tags": ["gpu"]})).await;
    for filters in [json!({}), json!({"role": "worker"}), json!({"tags": ["gpu"]})] {
        assert_eq!(asker.finds(filters).await, [""; 0]);
    }
}

#[tokio::test]
async fn without_filters_everybody_in_the_room_is_listed_and_nobody_else() {
    let meeting = meeting().await;
    let (identity, room) = meeting.another_room().await;
    let _elsewhere = Peer::register(meeting.addr(), room.registration("elsewhere", &identity)).await;
    let (mut asker, _others) = crowd(&meeting).await;
    let all = ["bare", "big", "client", "small"];
    assert_eq!(asker.finds(json!({})).await, all);
    asker.send(&json!({"type": "discover_peers", "from_peer_id": "asker"})).await;
    let list = asker.json().await;
    assert_eq!(keys_of(&list), ["count", "peers", "to_peer_id", "type"]);
    assert_eq!(list["count"], 4);
}

#[tokio::test]
async fn roles_match_whole() {
    let meeting = meeting().await;
    let (mut asker, _others) = crowd(&meeting).await;
    assert_found(
        &mut asker,
        &[
            (json!({"role": "worker"}), &["bare", "big", "small"]),
            (json!({"role": "client"}), &["client"]),
            (json!({"role": "Worker"}), &[]),
            (json!({"role": "work"}), &[]),
            (json!({"role": "peer"}), &[]),
        ],
    )
    .await;
}

#[tokio::test]
async fn tags_match_when_any_of_them_does() {
    let meeting = meeting().await;
    let (mut asker, _others) = crowd(&meeting).await;
    assert_found(
        &mut asker,
        &[
            (json!({"tags": ["gpu"]}), &["big", "small"]),
            (json!({"tags": ["gpu", "training"]}), &["big", "client", "small"]),
            (json!({"tags": ["training", "nothing"]}), &["big", "client"]),
            (json!({"tags": ["nothing"]}), &[]),
            (json!({"tags": ["GPU"]}), &[]),
        ],
    )
    .await;
}

#[tokio::test]
async fn role_tags_and_properties_must_all_match() {
    let meeting = meeting().await;
    let (mut asker, _others) = crowd(&meeting).await;
    assert_found(
        &mut asker,
        &[
            (json!({"role": "worker", "tags": ["training"]}), &["big"]),
            (json!({"role": "client", "tags": ["gpu"]}), &[]),
            (
                json!({"role": "worker", "tags": ["gpu", "training"],
                       "properties": {"gpu_memory_mb": {"$gte": 8192}, "sleap_version": "1.3.0"}}),
                &["big"],
            ),
            (json!({"properties": {"gpu_memory_mb": 8192, "name": "b"}}), &[]),
        ],
    )
    .await;
}

#[tokio::test]
async fn each_operator_compares_numbers() {
    let meeting = meeting().await;
    let (mut asker, _others) = crowd(&meeting).await;
    assert_found(
        &mut asker,
        &[
            (property("gpu_memory_mb", json!({"$gte": 8192})), &["big", "small"]),
            (property("gpu_memory_mb", json!({"$gte": 8193})), &["big"]),
            (property("gpu_memory_mb", json!({"$lte": 16384})), &["big", "small"]),
            (property("gpu_memory_mb", json!({"$lte": 8192})), &["small"]),
            (property("gpu_memory_mb", json!({"$gt": 8192})), &["big"]),
            (property("gpu_memory_mb", json!({"$gt": 16384})), &[]),
            (property("gpu_memory_mb", json!({"$lt": 16384})), &["small"]),
            (property("gpu_memory_mb", json!({"$lt": 8192})), &[]),
            (property("gpu_memory_mb", json!({"$eq": 16384})), &["big"]),
            (property("gpu_memory_mb", json!(16384)), &["big"]),
            // The same number, written in another way.
            (property("gpu_memory_mb", json!(16384.0)), &["big"]),
            (property("gpu_memory_mb", json!({"$in": [1, 8192, 16384]})), &["big", "small"]),
            (property("gpu_memory_mb", json!({"$in": [1, 8192]})), &["small"]),
            (property("gpu_memory_mb", json!({"$in": []})), &[]),
            (property("load", json!({"$gt": -1})), &["big"]),
            (property("load", json!({"$lt": 0})), &["small"]),
            (property("load", json!({"$gte": 0.5, "$lte": 0.5})), &["big"]),
        ],
    )
    .await;
}

#[tokio::test]
async fn not_equal_fails_where_the_property_is_missing() {
    let meeting = meeting().await;
    let (mut asker, _others) = crowd(&meeting).await;
    assert_found(
        &mut asker,
        &[
            (property("load", json!({"$ne": 0.5})), &["small"]),
            (property("sleap_version", json!({"$ne": "1.3.0"})), &["small"]),
            (property("sleap_version", json!({"$ne": "2"})), &["big", "small"]),
        ],
    )
    .await;
}

#[tokio::test]
async fn strings_compare_with_strings() {
    let meeting = meeting().await;
    let (mut asker, _others) = crowd(&meeting).await;
    assert_found(
        &mut asker,
        &[
            (property("sleap_version", json!("1.3.0")), &["big"]),
            (property("sleap_version", json!({"$eq": "1.2.9"})), &["small"]),
            (property("sleap_version", json!({"$gte": "1.3"})), &["big"]),
            (property("sleap_version", json!({"$lt": "1.3"})), &["small"]),
            (property("name", json!({"$gt": "a"})), &["big"]),
            (property("name", json!({"$lte": "a"})), &["small"]),
            (property("name", json!({"$in": ["a", "c"]})), &["small"]),
            // By code point, so that all capitals stand before all small letters.
            (property("name", json!({"$gt": "Z"})), &["big", "small"]),
        ],
    )
    .await;
}

/// In UTF-16, U+1F6F0 would stand before U+FF5E.
#[tokio::test]
async fn strings_compare_by_code_point() {
    let meeting = meeting().await;
    let mut asker = meeting.peer("asker").await;
    let _astral = meeting.peer_with("astral", "worker", json!({"properties": {"name": "\u{1F6F0}"}})).await;
    let _wide = meeting.peer_with("wide", "worker", json!({"properties": {"name": "\u{FF5E}"}})).await;
    assert_found(
        &mut asker,
        &[
            (property("name", json!({"$gt": "\u{FF5E}"})), &["astral"]),
            (property("name", json!({"$lt": "\u{1F6F0}"})), &["wide"]),
            (property("name", json!("\u{1F6F0}")), &["astral"]),
        ],
    )
    .await;
    // The same text with an escape in it.
    asker
        .send_text(
            r#"{"type":"discover_peers","from_peer_id":"asker","filters":{"properties":{"n\u0061me":"\ud83d\udef0"}}}"#,
        )
        .await;
    let list = asker.json().await;
    assert_eq!(list["peers"][0]["peer_id"], "astral", "{list}");
}

#[tokio::test]
async fn values_of_different_kinds_never_match_an_order() {
    let meeting = meeting().await;
    let (mut asker, _others) = crowd(&meeting).await;
    assert_found(
        &mut asker,
        &[
            // "client" has the number as a string.
            (property("gpu_memory_mb", json!("16384")), &["client"]),
            (property("gpu_memory_mb", json!({"$gte": "1"})), &["client"]),
            (property("sleap_version", json!({"$gte": 1})), &[]),
            (property("models", json!({"$gte": 0})), &[]),
            (property("models", json!({"$lte": "z"})), &[]),
            (property("busy", json!({"$gte": 0})), &[]),
            (property("busy", json!({"$gte": false})), &[]),
            (property("gpu_memory_mb", json!({"$gte": null})), &[]),
            (property("gpu_memory_mb", json!({"$lte": true})), &[]),
        ],
    )
    .await;
}

#[tokio::test]
async fn operators_of_one_property_must_all_match() {
    let meeting = meeting().await;
    let (mut asker, _others) = crowd(&meeting).await;
    assert_found(
        &mut asker,
        &[
            (property("gpu_memory_mb", json!({"$gte": 8192, "$lt": 16384})), &["small"]),
            (property("gpu_memory_mb", json!({"$gt": 8192, "$lt": 16384})), &[]),
            (property("gpu_memory_mb", json!({"$gte": 1, "$ne": 8192, "$lte": 99999})), &["big"]),
            (property("gpu_memory_mb", json!({"$in": [8192, 16384], "$ne": 16384})), &["small"]),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_missing_property_fails() {
    let meeting = meeting().await;
    let (mut asker, _others) = crowd(&meeting).await;
    for condition in [
        json!(1),
        json!({"$gte": 0}),
        json!({"$lte": 0}),
        json!({"$gt": 0}),
        json!({"$lt": 0}),
        json!({"$eq": 0}),
        json!({"$ne": 0}),
        json!({"$in": [0]}),
    ] {
        assert_eq!(asker.finds(property("not_there", condition)).await, [""; 0]);
    }
}

/// Deployed clients send `room_id` among the filters.
#[tokio::test]
async fn unknown_filter_keys_are_ignored() {
    let meeting = meeting().await;
    let (mut asker, _others) = crowd(&meeting).await;
    assert_found(
        &mut asker,
        &[
            (json!({"room_id": meeting.room.id, "role": "client"}), &["client"]),
            (json!({"room_id": "another", "anything": {"$foo": 1}, "role": "client"}), &["client"]),
            (json!({"x": null}), &["bare", "big", "client", "small"]),
        ],
    )
    .await;
}

#[tokio::test]
async fn an_unknown_operator_is_an_invalid_message() {
    let meeting = meeting().await;
    let (mut asker, _others) = crowd(&meeting).await;
    for condition in [
        json!({"$regex": ".*"}),
        json!({"$GTE": 1}),
        json!({"$": 1}),
        json!({"$gte": 1, "$like": 2}),
        json!({"$nin": [1]}),
    ] {
        let filters = property("gpu_memory_mb", condition);
        let request = json!({"type": "discover_peers", "from_peer_id": "asker", "filters": filters});
        asker.errs(&request.to_string(), "INVALID_MESSAGE").await;
        // Nobody has such a property: it is wrong all the same.
        let filters = property("not_there", json!({"$regex": 1}));
        let request = json!({"type": "discover_peers", "from_peer_id": "asker", "filters": filters});
        asker.errs(&request.to_string(), "INVALID_MESSAGE").await;
    }
    assert_eq!(asker.finds(json!({"role": "client"})).await, ["client"]);
}

#[tokio::test]
async fn one_can_ask_in_ones_own_name_only() {
    let meeting = meeting().await;
    let mut asker = meeting.peer("asker").await;
    let mut victim = meeting.peer("victim").await;
    for from in ["victim", "nobody", "Asker", ""] {
        let request = json!({"type": "discover_peers", "from_peer_id": from, "filters": {}});
        asker.errs(&request.to_string(), "INVALID_MESSAGE").await;
    }
    victim.is_quiet_and_alive().await;
    assert_eq!(asker.finds(json!({})).await, ["victim"]);
}

/// Peers of both shards are found, wherever the asker is.
#[tokio::test]
async fn a_room_of_many_is_listed_whole() {
    let meeting = meeting().await;
    let mut peers = Vec::new();
    for number in 0..60 {
        let properties = json!({"properties": {"number": number}});
        peers.push(meeting.peer_with(&format!("peer-{number:02}"), "worker", properties).await);
    }
    for asker in [0, 7, 59] {
        let found = peers[asker].finds(json!({})).await;
        assert_eq!(found.len(), 59);
        assert!(!found.contains(&format!("peer-{asker:02}")));
        let found = peers[asker].finds(property("number", json!({"$gte": 20, "$lt": 25}))).await;
        assert_eq!(found, ["peer-20", "peer-21", "peer-22", "peer-23", "peer-24"]);
    }
}
