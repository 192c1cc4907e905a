//! How long an offer takes, from its sender's first byte to the other's ears.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::*;

const SDP: &str = include_str!("../../vectors/offer.sdp");

/// Two callers. One publishes over HTTP, the other hears it on its WebSocket.
pub struct Call {
    publisher: Http,
    request: String,
    listener: TextClient,
}

impl Call {
    pub async fn begin(addr: SocketAddr, name: usize) -> Call {
        let mut publisher = Http::open(addr).await;
        let mut seats = Vec::new();
        for _ in 0..2 {
            let response = publisher.get(&format!("/call/crowded-{name}")).await;
            assert_eq!(response.status, 200, "{}", response.text());
            seats.push(serde_json::from_str::<Value>(response.text()).expect("JSON"));
        }
        let mut listener = TextClient::open_at(addr, "/ws").await;
        listener.send(&seats[1]).await;
        assert_eq!(listener.json().await["kind"], "WELCOME");
        let mut offer = seats.swap_remove(0);
        offer["kind"] = json!("OFFER");
        offer["body"] = json!(SDP);
        let body = offer.to_string();
        let request = format!(
            "POST /signal HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Call { publisher, request, listener }
    }

    pub async fn offer(&mut self) -> Duration {
        let begin = Instant::now();
        self.publisher.send(self.request.as_bytes()).await;
        let text = self.listener.text().await;
        let took = begin.elapsed();
        assert!(text.contains("\"OFFER\""), "{text}");
        assert_eq!(self.publisher.response(false).await.expect("an answer").status, 200);
        took
    }
}

/// Two devices.
pub struct Pair {
    operator: Device,
    drone: Device,
}

impl Pair {
    pub async fn begin(addr: SocketAddr) -> Pair {
        Pair {
            operator: Device::register(addr, "operator").await,
            drone: Device::register(addr, "drone").await,
        }
    }

    pub async fn offer(&mut self) -> Duration {
        let offer = json!({"type": "offer", "target": "drone", "sdp": SDP}).to_string();
        let begin = Instant::now();
        self.operator.send_text(&offer).await;
        let text = self.drone.text().await;
        let took = begin.elapsed();
        assert!(text.contains("\"offer\""), "{text}");
        took
    }
}

/// Of 99 in 100 none took longer.
pub fn p99(took: &mut [Duration]) -> Duration {
    took.sort_unstable();
    took[(took.len() * 99).div_ceil(100) - 1]
}

/// What a crowd costs it costs in each round, and other processes on the machine in some: so the
/// best quarter of the rounds tells.
pub fn calm_round(p99s: &mut [Duration]) -> Duration {
    p99s.sort_unstable();
    p99s[p99s.len() / 4]
}
