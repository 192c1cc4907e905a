//! Listeners with a certificate: everything is as without one, inside TLS.

mod bytes;
mod dialects;
mod handshakes;
mod identity;
mod plaintext;

use crate::harness::*;

/// A server with a certificate of `authority`, serving everything at `main`, and `echo`.
fn sealed(authority: &Authority) -> Setup {
    Setup::new()
        .tls(&authority.server())
        .listener("main", &["binary", "rooms", "broadcast", "calls", "devices"])
        .listener("echo", &["echo"])
}

/// The value of this sample, once it is at least `least`.
async fn counted(server: &Server, sample: &str, least: u64) -> u64 {
    until(sample, async || {
        let page = Http::open(server.metrics()).await.get("/metrics").await;
        let value = page.text().lines().find_map(|line| line.strip_prefix(sample));
        let value = value.unwrap_or_else(|| panic!("no {sample}")).trim().parse().expect("a number");
        (value >= least).then_some(value)
    })
    .await
}
