//! `list`, and the update that the rest get when somebody goes.

use std::time::{Duration, Instant};

use serde_json::json;

use super::alone;
use crate::harness::*;

/// Updates are at most one a second; the engine's timers may fire this much early.
const APART: Duration = Duration::from_millis(900);

#[tokio::test]
async fn a_list_names_all_registered_but_the_asker() {
    let server = alone().start().await;
    let mut operator = Device::register(server.main(), "operator-3").await;
    operator.send(json!({"type": "list"})).await;
    let alone = operator.json().await;
    assert_eq!(alone, json!({"type": "clients", "clients": [], "count": 0}));

    let _drone = Device::register(server.main(), "drone-1").await;
    let _camera = Device::register(server.main(), "camera-\"2\"-é").await;
    let mut nobody = Device::open(server.main()).await;
    operator.send(json!({"type": "list"})).await;
    let answer = operator.json().await;
    assert_eq!(keys_of(&answer), ["clients", "count", "type"]);
    assert_eq!(ids_of(&answer), ["camera-\"2\"-é", "drone-1"]);
    assert_eq!(nobody.list().await, ["camera-\"2\"-é", "drone-1", "operator-3"]);
}

#[tokio::test]
async fn the_rest_are_told_when_a_registered_client_goes() {
    let server = alone().start().await;
    let mut operator = Device::register(server.main(), "operator").await;
    let mut camera = Device::register(server.main(), "camera").await;
    let drone = Device::register(server.main(), "drone").await;
    drone.leave().await;
    for device in [&mut operator, &mut camera] {
        let update = device.list_update().await;
        assert_eq!(keys_of(&update), ["clients", "count", "timestamp", "type"]);
        assert_eq!(ids_of(&update), ["camera", "operator"]);
        assert_is_timestamp(&update["timestamp"]);
    }
}

/// Without a word: the engine learns of it by the end of the TCP connection.
#[tokio::test]
async fn the_rest_are_told_of_one_that_vanished() {
    let server = alone().start().await;
    let mut operator = Device::register(server.main(), "operator").await;
    drop(Device::register(server.main(), "drone").await);
    assert_eq!(ids_of(&operator.list_update().await), ["operator"]);
}

#[tokio::test]
async fn updates_come_at_most_once_a_second_however_many_go() {
    let server = alone().start().await;
    let mut operator = Device::register(server.main(), "operator").await;
    let mut crowd = Vec::new();
    for index in 0..60 {
        crowd.push(Device::register(server.main(), &format!("drone-{index}")).await);
    }
    let started = Instant::now();
    let (mut told, mut updates) = (None, 0);
    let leaving = async {
        // Spread over more than a second, so that one update at the end would be too few.
        let mut pace = tokio::time::interval(Duration::from_millis(25));
        for device in crowd.drain(..) {
            pace.tick().await;
            device.leave().await;
        }
    };
    let listening = async {
        loop {
            let update = operator.list_update().await;
            let now = Instant::now();
            if let Some(before) = told.replace(now) {
                assert!(now - before >= APART, "two updates within {:?}", now - before);
            }
            updates += 1;
            if ids_of(&update) == ["operator"] {
                break;
            }
        }
    };
    within("all updates", async { tokio::join!(leaving, listening) }).await;
    let seconds = started.elapsed().as_secs();
    assert!((1..=seconds + 2).contains(&updates), "{updates} updates in {seconds} s");
    operator.is_quiet_and_alive().await;
}

/// One that took an id over has not gone.
#[tokio::test]
async fn after_a_takeover_an_update_names_whoever_holds_the_id() {
    let server = alone().start().await;
    let mut operator = Device::register(server.main(), "operator").await;
    let mut older = Device::register(server.main(), "drone").await;
    let _newer = Device::register(server.main(), "drone").await;
    assert_eq!(older.closed().await.0, 1008);
    let camera = Device::register(server.main(), "camera").await;
    camera.leave().await;
    loop {
        let update = operator.list_update().await;
        let ids = ids_of(&update);
        assert!(ids.contains(&"drone".to_owned()), "{update}");
        if ids == ["drone", "operator"] {
            break;
        }
    }
}

#[tokio::test]
async fn updates_are_rarer_where_they_would_cost_too_much() {
    let server = alone().section("[devices]\nlist_update_bytes_per_second = 2048").start().await;
    let mut operator = Device::register(server.main(), "operator").await;
    let mut rest = Vec::new();
    for index in 0..20 {
        let id = format!("{index}-{}", "x".repeat(100));
        rest.push(Device::register(server.main(), &id).await);
    }
    let (first, second) = (rest.pop().expect("one"), rest.pop().expect("another"));
    first.leave().await;
    assert_eq!(operator.list_update().await["count"], 20);
    let started = Instant::now();
    second.leave().await;
    // One update costs each of twenty clients two kilobytes: some twenty seconds' worth.
    let soon = tokio::time::timeout(Duration::from_secs(4), operator.line.next_unbounded()).await;
    assert!(soon.is_err(), "a second update after {:?}: {soon:?}", started.elapsed());
    operator.is_quiet_and_alive().await;
}
