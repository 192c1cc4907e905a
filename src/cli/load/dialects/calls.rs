//! `calls`: a seat over HTTP, a WebSocket that listens, and one POST for each message.

use serde::Deserialize;
use serde_json::json;

use super::super::http::Api;
use super::super::payloads::{Signal, Slot, Template};
use super::Made;

/// A KSUID.
const SESSION_BYTES: usize = 27;
/// `load-`, eight digits of the run, a dash, ten of the call.
const CALL_BYTES: usize = 24;

/// Calls of this run. A seat outlives its connection, so the next run needs other calls.
pub struct Names {
    run: u32,
}

/// A place in a call.
pub struct Seat {
    pub call: String,
    pub session: String,
}

#[derive(Deserialize)]
struct Join {
    session: String,
}

impl Names {
    pub(super) fn new(run: u32) -> Names {
        Names { run }
    }

    pub(super) fn seat(&self, api: &mut Api<'_>, call: u64) -> Result<Seat, String> {
        let call = format!("load-{:08x}-{call:010}", self.run);
        let answer = api.request("GET", &format!("/call/{call}"), None, None)?;
        if answer.status != 200 {
            return Err(format!("GET /call/: HTTP {}", answer.status));
        }
        match serde_json::from_slice::<Join>(&answer.body) {
            Ok(Join { session }) if session.len() == SESSION_BYTES && session.is_ascii() => {
                Ok(Seat { call, session })
            }
            _ => Err("GET /call/: an answer that is not understood".to_owned()),
        }
    }
}

impl Seat {
    pub(super) fn join(&self) -> Vec<u8> {
        let Seat { call, session } = self;
        json!({ "kind": "JOIN", "call": call, "session": session }).to_string().into_bytes()
    }
}

pub(super) fn signal(host: &str, signal: Signal, fill_bytes: usize) -> Made {
    let kind = match signal {
        Signal::Offer => "OFFER",
        Signal::Answer => "ANSWER",
        Signal::Candidate => "CANDIDATE",
    };
    let body = Template::default()
        .text("{\"call\":\"")
        .slot(Slot::Call, CALL_BYTES)
        .text("\",\"session\":\"")
        .slot(Slot::Session, SESSION_BYTES)
        .text("\",\"body\":\"")
        .body(fill_bytes)
        .text("\",\"kind\":\"")
        .text(kind)
        .text("\"}");
    let head = format!(
        "POST /signal HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    Made { template: Template::default().text(&head).then(&body), head_bytes: head.len() }
}
