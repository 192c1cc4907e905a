//! What the black-box tests stand on: the real binary, and clients that share no code with it.
//!
//! Owns the start and stop of a server, a codec of the 0xAA frame written from the document, all
//! payload forms, a client over WebSocket (tokio-tungstenite) and over plain TCP, a raw WebSocket
//! for what no library would send, an HTTP/1.1 client, a client of JSON texts, one of `devices`, one
//! of `rooms` with its HTTP API, one of `calls`, Socket.IO spoken by hand, tokens signed by keys of
//! its own, a server that publishes those keys, certificates, and TLS between any of these clients and
//! a server. Every wait has a deadline. Knows nothing of the
//! crate under test but the path of its binary.

mod bystanders;
mod call;
mod client;
mod device;
mod form;
mod frame;
mod http;
mod key_server;
mod raw;
mod request;
mod room;
mod server;
mod signer;
mod station;
mod text;
mod tls;

pub use bystanders::{Bystanders, across_shards, on_one_shard};
pub use call::{Caller, Seat};
pub use client::{Client, Event, Via};
pub use device::{Device, assert_is_timestamp, ids_of, keys_of};
pub use form::{Form, cbor_of, entries, flat_json, text_of, untagged};
pub use frame::*;
pub use http::{Http, Response};
pub use key_server::KeyServer;
pub use raw::{RawWs, opcode, take_server_frame, ws_frame};
pub use request::{ask, http_request, json_of, post_json};
pub use room::{Identity, Meeting, Peer, Room, talk};
pub use server::{Server, Setup, token_of, tool, tool_under};
pub use signer::{Signer, assert_signed_by, key_set, unix_seconds, unsealed};
pub use station::{Station, Transport};
pub use text::{Said, TextClient};
pub use tls::{Authority, Relay, handshake};

use std::future::Future;
use std::io::Write;
use std::time::Duration;

/// No wait of a test is longer, but for the few that state their own.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// # Panics
/// When `what` has not happened within [`DEADLINE`].
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {DEADLINE:?}"),
    }
}

/// Asks `question` again until it answers, every 10 ms: for what happens in another process and
/// sends no event.
pub async fn until<T>(what: &str, mut question: impl AsyncFnMut() -> Option<T>) -> T {
    within(what, async {
        loop {
            if let Some(answer) = question().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

/// Says that a test could not hold its property here, so that `tests/run` can count it.
pub fn skip(test: &str, why: &str) {
    eprintln!("SKIPPED {test}: {why}");
    if let Some(file) = std::env::var_os("SIGMUX_SKIPPED") {
        let mut file =
            std::fs::OpenOptions::new().create(true).append(true).open(file).expect("the list opens");
        writeln!(file, "{test}: {why}").expect("the list is written");
    }
}
