//! `devices`: JSON texts of drones, cameras and operators.

use serde_json::json;

use super::super::payloads::{Signal, Slot, Template};
use super::super::plan::Names;
use super::Made;

pub(super) fn register(id: &str) -> Vec<u8> {
    json!({ "type": "register", "id": id }).to_string().into_bytes()
}

/// All of them with a session, as clients have one after the first offer.
pub(super) fn signal(names: &Names, signal: Signal, fill_bytes: usize) -> Made {
    let (message_type, key, end) = match signal {
        Signal::Offer => ("offer", "\"sdp\":\"", "\""),
        Signal::Answer => ("answer", "\"sdp\":\"", "\""),
        Signal::Candidate => {
            ("ice", "\"candidate\":{\"sdpMLineIndex\":0,\"sdpMid\":\"0\",\"candidate\":\"", "\"}")
        }
    };
    let (before, after) = names.id_around();
    Template::default()
        .text("{\"type\":\"")
        .text(message_type)
        .text("\",\"target\":\"")
        .text(before)
        .slot(Slot::TargetNumber, names.digits)
        .text(after)
        .text("\",\"sessionId\":\"load\",")
        .text(key)
        .body(fill_bytes)
        .text(end)
        .text("}")
        .into()
}
