//! Who finds whom.

use super::*;

fn discover(from: &str, filters: Value) -> String {
    json!({"type": "discover_peers", "from_peer_id": from, "filters": filters}).to_string()
}

impl World {
    fn found(&mut self, asker: usize, filters: Value) -> Vec<String> {
        self.say(asker, &discover("asker", filters));
        let list = self.one(asker);
        assert_eq!((&list["type"], &list["to_peer_id"]), (&json!("peer_list"), &json!("asker")));
        let peers = list["peers"].as_array().expect("a list");
        assert_eq!(list["count"], peers.len());
        peers.iter().map(|peer| peer["peer_id"].as_str().expect("an id").to_owned()).collect()
    }
}

#[test]
fn the_documents_discovery_is_answered_as_the_document_says() {
    let mut world = World::new();
    let metadata = json!({
        "tags": ["gpu", "training", "inference"],
        "properties": {"gpu_memory_mb": 16384, "cuda_version": "11.8", "sleap_version": "1.3.0"}
    });
    world.peer_with("Worker-3108", "worker", metadata.clone());
    world.peer_with(
        "Worker-small",
        "worker",
        json!({"tags": ["gpu"], "properties": {"gpu_memory_mb": 4096}}),
    );
    let me = world.peer_with("Client-1489", "client", metadata.clone());
    let filters = json!({
        "role": "worker",
        "tags": ["gpu", "training"],
        "properties": {"gpu_memory_mb": {"$gte": 8192}, "sleap_version": "1.3.0"}
    });
    world.say(me, &discover("Client-1489", filters));
    let expected = json!({
        "type": "peer_list", "to_peer_id": "Client-1489", "count": 1,
        "peers": [{
            "peer_id": "Worker-3108", "role": "worker", "metadata": metadata, "connected_at": NOW_SECONDS
        }]
    });
    assert_eq!(world.one(me), expected);
}

#[test]
fn operators_tags_and_roles_select() {
    let mut world = World::new();
    let asker = world.peer_with("asker", "client", json!({"tags": ["x", "y"], "properties": {"n": 5}}));
    world.peer_with("five", "worker", json!({"tags": ["x"], "properties": {"n": 5, "s": "b"}}));
    world.peer_with("nine", "worker", json!({"tags": ["y"], "properties": {"n": 9.0, "s": "c"}}));
    world.peer("plain");
    for (filters, found) in [
        (json!({}), vec!["five", "nine", "plain"]),
        (json!({"room_id": "ignored", "anything": [1]}), vec!["five", "nine", "plain"]),
        (json!({"role": null, "tags": null, "properties": null}), vec!["five", "nine", "plain"]),
        (json!({"role": "peer"}), vec!["plain"]),
        (json!({"role": "admin"}), vec![]),
        (json!({"tags": ["y", "z"]}), vec!["nine"]),
        (json!({"tags": ["x", "y"]}), vec!["five", "nine"]),
        (json!({"properties": {"n": 5}}), vec!["five"]),
        (json!({"properties": {"n": {"$eq": 9}}}), vec!["nine"]),
        (json!({"properties": {"n": {"$ne": 9}}}), vec!["five"]),
        (json!({"properties": {"n": {"$gt": 5}}}), vec!["nine"]),
        (json!({"properties": {"n": {"$gte": 5}}}), vec!["five", "nine"]),
        (json!({"properties": {"n": {"$lt": 9}}}), vec!["five"]),
        (json!({"properties": {"n": {"$lte": 9}}}), vec!["five", "nine"]),
        (json!({"properties": {"n": {"$gt": 5, "$lt": 9}}}), vec![]),
        (json!({"properties": {"n": {"$in": [1, 9]}}}), vec!["nine"]),
        (json!({"properties": {"s": {"$in": ["a", "b"]}, "n": 5}}), vec!["five"]),
        (json!({"properties": {"s": {"$gt": "b"}}}), vec!["nine"]),
        (json!({"properties": {"n": {"$gte": "5"}}}), vec![]),
        (json!({"properties": {"missing": {"$ne": 1}}}), vec![]),
        (json!({"properties": {"n": {}}}), vec!["five", "nine"]),
        (json!({"properties": {"n": null}}), vec![]),
    ] {
        assert_eq!(world.found(asker, filters.clone()), found, "{filters}");
    }
}

#[test]
fn filters_are_optional_and_refused_where_they_mean_nothing() {
    let mut world = World::new();
    let asker = world.peer("asker");
    world.say(asker, r#"{"type":"discover_peers","from_peer_id":"asker","filters":null}"#);
    assert_eq!(world.one(asker)["count"], 0);
    for filters in [
        json!([]),
        json!("worker"),
        json!(5),
        json!({"role": 5}),
        json!({"role": ["worker"]}),
        json!({"tags": "gpu"}),
        json!({"tags": [1]}),
        json!({"tags": {}}),
        json!({"properties": []}),
        json!({"properties": "x"}),
        json!({"properties": {"n": {"$regex": "x"}}}),
        json!({"properties": {"n": {"gte": 5}}}),
        json!({"properties": {"n": {"$gte": 5, "other": 1}}}),
        json!({"properties": {"n": {"$in": 5}}}),
        json!({"tags": vec!["x"; 1000]}),
        json!({"role": "x".repeat(20_000)}),
    ] {
        world.say(asker, &discover("asker", filters.clone()));
        assert_eq!(world.code(asker), "INVALID_MESSAGE", "{filters}");
    }
    world.say(asker, r#"{"type":"discover_peers","from_peer_id":"asker","filters":{"role":"\ud800"}}"#);
    assert_eq!(world.code(asker), "INVALID_MESSAGE");
    world.say(asker, r#"{"type":"discover_peers"}"#);
    assert_eq!(world.code(asker), "INVALID_MESSAGE");
}

#[test]
fn the_query_of_version_1_lists_the_ids_of_the_others() {
    let mut world = World::new();
    world.peer("b\"\u{e9}");
    world.peer("a");
    let me = world.peer("me");
    world.say(me, r#"{"type":"query"}"#);
    assert_eq!(world.one(me), json!({"type": "available_peers", "peers": ["a", "b\"\u{e9}"]}));
    world.say(me, r#"{"type":"query","peer_id":"me","room_id":"abc123de"}"#);
    assert_eq!(world.one(me)["peers"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_list_that_is_too_long_is_an_error_and_not_a_shorter_list() {
    let mut world = World::new();
    let asker = world.peer("asker");
    for n in 0..20 {
        let role = if n == 0 { "one" } else { "many" };
        world.peer_with(&format!("peer-{n}"), role, json!("x".repeat(12_000)));
    }
    world.say(asker, &discover("asker", json!({})));
    assert_eq!(world.code(asker), "DELIVERY_FAILED");
    assert_eq!(world.found(asker, json!({"role": "one"})), ["peer-0"]);
}

#[test]
fn metadata_is_merged_answered_and_found() {
    let mut world = World::new();
    let present = json!({"tags": ["gpu"], "properties": {"status": "available", "n": 1}});
    let me = world.peer_with("w", "worker", present);
    let asker = world.peer("asker");
    let update = |metadata: Value| {
        json!({"type": "update_metadata", "peer_id": "w", "metadata": metadata}).to_string()
    };
    world.say(me, &update(json!({"tags": ["new", "gpu"], "properties": {"status": "busy"}})));
    let merged = json!({"tags": ["gpu", "new"], "properties": {"status": "busy", "n": 1}});
    assert_eq!(world.one(me), json!({"type": "metadata_updated", "peer_id": "w", "metadata": merged}));
    world.say(me, &update(json!({"properties": {"n": 2}})));
    assert_eq!(world.one(me)["metadata"]["tags"], json!(["gpu", "new"]));
    assert_eq!(world.found(asker, json!({"properties": {"status": "busy", "n": 2}})), ["w"]);

    for metadata in [json!([]), json!("x"), json!({"tags": "x"}), json!({"properties": []})] {
        world.say(me, &update(metadata));
        assert_eq!(world.code(me), "INVALID_MESSAGE");
    }
    for text in [
        r#"{"type":"update_metadata","metadata":{}}"#,
        r#"{"type":"update_metadata","peer_id":"w"}"#,
        r#"{"type":"update_metadata","peer_id":"w","metadata":null}"#,
        r#"{"type":"update_metadata","peer_id":"w","metadata":{"x":"\ud800"}}"#,
    ] {
        world.say(me, text);
        assert_eq!(world.code(me), "INVALID_MESSAGE", "{text}");
    }
    world.settings.rooms.set_limits(RoomLimits { metadata_bytes_max: 100, ..RoomLimits::default() });
    world.say(me, &update(json!({"note": "x".repeat(60)})));
    assert_eq!(world.code(me), "INVALID_MESSAGE");
    assert_eq!(world.found(asker, json!({"properties": {"status": "busy", "n": 2}})), ["w"]);
}
