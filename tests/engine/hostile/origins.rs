//! `allowed_origins`: pages from elsewhere use nothing of a listener.

use crate::harness::*;

const GOOD: &str = "https://app.example";
const EVIL: &str = "https://evil.example";

/// Every way in, as a page would take it: a request, and the status of one that is let through.
fn ways() -> Vec<(&'static str, &'static str, bool, u16)> {
    vec![
        ("GET", "/", true, 101),
        ("GET", "/ws", true, 101),
        ("GET", "/socket.io/?EIO=4&transport=websocket", true, 101),
        ("GET", "/socket.io/?EIO=4&transport=polling", false, 200),
        ("OPTIONS", "/socket.io/?EIO=4&transport=polling", false, 204),
        ("GET", "/call/", false, 200),
        ("OPTIONS", "/call/demo", false, 204),
        ("POST", "/signal", false, 400),
        ("POST", "/anonymous-signin", false, 200),
        ("POST", "/create-room", false, 422),
        ("OPTIONS", "/create-room", false, 204),
    ]
}

async fn status(server: &Server, way: (&str, &str, bool, u16), origin: Option<&str>, warm: bool) -> u16 {
    let (method, path, is_upgrade, _) = way;
    // A call has two seats.
    let path = &match (method, path) {
        ("GET", "/call/") => format!("{path}{:032x}", u128::from_be_bytes(fresh_uuid())),
        _ => path.to_owned(),
    };
    let mut http = Http::open(server.main()).await;
    if warm {
        assert_eq!(http.get("/health").await.status, 200);
    }
    let mut headers = Vec::new();
    headers.extend(origin.map(|origin| ("Origin", origin)));
    if is_upgrade {
        headers.extend([
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Version", "13"),
        ]);
        headers.push(("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="));
    }
    http.send(&http_request(method, path, &headers, (method == "POST").then_some("{}"))).await;
    http.response(false).await.expect("an answer").status
}

#[tokio::test]
async fn a_page_from_elsewhere_is_a_403_on_every_way_in_and_others_are_not() {
    let serves = ["binary", "rooms", "broadcast", "calls", "devices"];
    let server = Setup::new()
        .listener_with("main", &serves, &format!("allowed_origins = ['{GOOD}']"))
        .section("[rooms]\nstore = 'memory'")
        .start()
        .await;
    for way in ways() {
        // As the first request of a connection, which a shard reads, and behind another, which the
        // front reads.
        for warm in [false, true] {
            for origin in [EVIL, "null", "https://app.example.evil.example", "http://app.example"] {
                assert_eq!(status(&server, way, Some(origin), warm).await, 403, "{way:?} {origin} {warm}");
            }
            for origin in [Some(GOOD), Some("HTTPS://APP.EXAMPLE"), None] {
                assert_eq!(status(&server, way, origin, warm).await, way.3, "{way:?} {origin:?} {warm}");
            }
        }
    }
}

#[tokio::test]
async fn without_a_list_any_page_may_use_what_is_served() {
    let server = Setup::new()
        .listener("main", &["binary", "rooms", "broadcast", "calls", "devices"])
        .section("[rooms]\nstore = 'memory'")
        .start()
        .await;
    for way in ways() {
        assert_eq!(status(&server, way, Some(EVIL), false).await, way.3, "{way:?}");
    }
}
