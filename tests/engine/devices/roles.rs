//! Roles: what may be sent, and to whom, by the `role` claim of a token.

use jsonwebtoken::Algorithm;
use serde_json::json;

use super::access::{SECRET, now, sign};
use super::alone;
use crate::harness::*;

const ROLES: &str = "[devices]
require_token = true
[devices.roles.operator]
may_send = ['offer', 'list', 'ice']
to = ['drone']
[devices.roles.drone]
may_send = ['answer', 'ice']
to = ['operator']
[devices.roles.camera]
may_send = []
to = []";

async fn enter(server: &Server, id: &str, role: &str) -> Device {
    let claims = json!({"sub": id, "role": role, "exp": now() + 600});
    let path = format!("/?token={}", sign(&claims, SECRET, Algorithm::HS256));
    let mut device = Device::over(TextClient::open_at(server.main(), &path).await);
    device.takes(id).await;
    device
}

#[tokio::test]
async fn a_role_sends_what_it_may_to_whom_it_may() {
    let server = alone().env("JWT_SECRET", SECRET).section(ROLES).start().await;
    let mut operator = enter(&server, "op", "operator").await;
    let mut drone = enter(&server, "dr", "drone").await;

    operator.send(json!({"type": "offer", "target": "dr", "sdp": "v=0"})).await;
    assert_eq!(drone.json().await["from"], "op");
    drone.send(json!({"type": "answer", "target": "op", "sdp": "v=0"})).await;
    assert_eq!(operator.json().await["from"], "dr");
    for (one, other) in [(&mut operator, "dr"), (&mut drone, "op")] {
        one.send(json!({"type": "ice", "target": other, "candidate": {}})).await;
    }
    assert_eq!(operator.json().await["type"], "ice");
    assert_eq!(drone.json().await["type"], "ice");
    assert_eq!(operator.list().await, ["dr"]);
}

#[tokio::test]
async fn a_type_that_a_role_may_not_send_is_not_allowed() {
    let server = alone().env("JWT_SECRET", SECRET).section(ROLES).start().await;
    let mut operator = enter(&server, "op", "operator").await;
    let mut drone = enter(&server, "dr", "drone").await;
    operator.refused(r#"{"type":"answer","target":"dr","sdp":"v=0"}"#, "Not allowed").await;
    drone.refused(r#"{"type":"offer","target":"op","sdp":"v=0"}"#, "Not allowed").await;
    drone.refused(r#"{"type":"list"}"#, "Not allowed").await;
    operator.is_quiet_and_alive().await;
    drone.is_quiet_and_alive().await;
}

#[tokio::test]
async fn a_target_of_another_role_is_not_allowed() {
    let server = alone().env("JWT_SECRET", SECRET).section(ROLES).start().await;
    let mut operator = enter(&server, "op", "operator").await;
    let mut second = enter(&server, "op-2", "operator").await;
    let mut camera = enter(&server, "cam", "camera").await;
    for target in ["op-2", "cam"] {
        let offer = json!({"type": "offer", "target": target, "sdp": "v=0"}).to_string();
        operator.refused(&offer, "Not allowed").await;
        let ice = json!({"type": "ice", "target": target, "candidate": {}}).to_string();
        operator.refused(&ice, "Not allowed").await;
    }
    second.is_quiet_and_alive().await;
    camera.is_quiet_and_alive().await;
}

/// Registering and asking whether the server lives is not sending.
#[tokio::test]
async fn a_role_that_may_send_nothing_can_still_register_and_ping() {
    let server = alone().env("JWT_SECRET", SECRET).section(ROLES).start().await;
    let mut camera = enter(&server, "cam", "camera").await;
    camera.is_quiet_and_alive().await;
    for message in [
        r#"{"type":"offer","target":"cam","sdp":"v=0"}"#,
        r#"{"type":"answer","target":"cam","sdp":"v=0"}"#,
        r#"{"type":"ice","target":"cam","candidate":{}}"#,
        r#"{"type":"list"}"#,
    ] {
        camera.refused(message, "Not allowed").await;
    }
}

#[tokio::test]
async fn a_role_does_not_outlive_its_connection() {
    let server = alone().env("JWT_SECRET", SECRET).section(ROLES).start().await;
    let mut operator = enter(&server, "op", "operator").await;
    let mut drone = enter(&server, "dr", "drone").await;
    operator.send(json!({"type": "offer", "target": "dr", "sdp": "v=0"})).await;
    assert_eq!(drone.json().await["from"], "op");
    drone.leave().await;
    let mut camera = enter(&server, "dr", "camera").await;
    operator.refused(r#"{"type":"offer","target":"dr","sdp":"v=0"}"#, "Not allowed").await;
    camera.is_quiet_and_alive().await;
}
