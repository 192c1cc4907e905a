//! The `calls` dialect: seats by HTTP, news by WebSocket, every code and reason of its document and
//! what the contract adds.

mod handshake;
mod health;
mod presence;
mod seats;
mod settings;
mod signal;

use std::time::Duration;

use tokio::time::Instant;

use crate::harness::*;

/// One listener that serves nothing else.
fn alone() -> Setup {
    Setup::new().listener("main", &["calls"])
}

/// Asks for a seat until one is free; gives how long that took.
async fn until_a_seat_is_free(server: &Server, call: &str) -> (Seat, Duration) {
    let started = Instant::now();
    let seat = until("a seat is free", async || match Seat::try_take(server.main(), call).await {
        Ok(seat) => Some(seat),
        Err(status) => {
            assert_eq!(status, 409);
            None
        }
    })
    .await;
    (seat, started.elapsed())
}
