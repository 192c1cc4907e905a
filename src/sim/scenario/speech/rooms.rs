//! The texts of `rooms`.

use super::{Arrival, Kind, SECRET, body, json, serial_in, word};

/// A token by a key that nobody knows: `{"alg":"RS256","kid":"unknown"}`, and no claims.
const UNKNOWN_TOKEN: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6InVua25vd24ifQ.e30.AAAA";

pub fn room_id(room: usize) -> String {
    format!("room{room:04}")
}

pub fn room_token(room: usize) -> String {
    format!("{SECRET}{room}")
}

pub fn register(room: usize, peer: &str, token: &str, with_unknown_key: bool) -> String {
    let room_id = room_id(room);
    let proof = if with_unknown_key { format!(r#","jwt":"{UNKNOWN_TOKEN}""#) } else { String::new() };
    format!(r#"{{"type":"register","peer_id":"{peer}","room_id":"{room_id}","token":"{token}"{proof}}}"#)
}

/// Types of this dialect, in the order of [`Kind`]; last the one that is none of them.
pub const TYPES: [&str; 4] = ["offer", "answer", "candidate", "peer_message"];

pub fn message(
    kind: Option<Kind>,
    serial: u64,
    from: &str,
    to: &str,
    bytes: usize,
) -> (&'static str, String) {
    let data = body(kind.unwrap_or(Kind::Offer), serial, bytes);
    match kind {
        None => {
            let text = format!(
                r#"{{"type":"peer_message","from_peer_id":"{from}","to_peer_id":"{to}","payload":{{"x":"{data}"}}}}"#
            );
            ("peer_message", text)
        }
        Some(kind) => {
            let word = TYPES[kind as usize];
            (word, format!(r#"{{"type":"{word}","sender":"{from}","target":"{to}","sdp":"{data}"}}"#))
        }
    }
}

/// A question, and the type of its answer.
pub fn question(which: usize, own: &str) -> (&'static str, String) {
    match which % 4 {
        0 => ("pong", r#"{"type":"ping"}"#.to_owned()),
        1 => ("list", format!(r#"{{"type":"discover_peers","from_peer_id":"{own}"}}"#)),
        2 => ("list", r#"{"type":"query"}"#.to_owned()),
        _ => {
            let text = format!(
                r#"{{"type":"update_metadata","peer_id":"{own}","metadata":{{"tags":["t{which}"]}}}}"#
            );
            ("metadata_updated", text)
        }
    }
}

pub const BAD_TEXTS: [&str; 7] = [
    "{",
    "[]",
    r#"{"type":"offer","target":"x"}"#,
    r#"{"type":"nothing","peer_id":"x"}"#,
    r#"{"type":"peer_message","from_peer_id":"somebody-else","to_peer_id":"x","payload":1}"#,
    r#"{"type":"update_metadata","peer_id":"somebody-else","metadata":{}}"#,
    r#"{"type":"discover_peers","from_peer_id":"x","type":"query"}"#,
];

pub fn read(text: &str) -> Result<Arrival, String> {
    let value = json(text)?;
    let ids = |value: &serde_json::Value, name: Option<&str>| {
        let all = value.get("peers").and_then(|peers| peers.as_array()).into_iter().flatten();
        let id = |peer: &serde_json::Value| match name {
            Some(name) => word(peer, name).to_owned(),
            None => peer.as_str().unwrap_or_default().to_owned(),
        };
        Arrival::Listed(all.map(id).collect())
    };
    Ok(match word(&value, "type") {
        "registered_auth" => Arrival::Joined,
        "peer_list" => ids(&value, Some("peer_id")),
        "available_peers" => ids(&value, None),
        "pong" => Arrival::Answered("pong"),
        "metadata_updated" => Arrival::Answered("metadata_updated"),
        "ping" => Arrival::Notice,
        "peer_message" | "offer" | "answer" | "candidate" => {
            let serial = serial_in(text.as_bytes()).ok_or_else(|| format!("no number in {text}"))?;
            let from = [word(&value, "from_peer_id"), word(&value, "sender")];
            let sender = from.into_iter().find(|from| !from.is_empty());
            Arrival::Relayed { serial, sender: sender.map(str::to_owned) }
        }
        "error" if value.get("reason").is_some() => Arrival::JoinRefused,
        "error" => match word(&value, "code") {
            "PEER_NOT_FOUND" | "PEER_NOT_IN_ROOM" | "DELIVERY_FAILED" => {
                let target = word(&value, "message").rsplit_once(": ").map(|(_, target)| target.to_owned());
                Arrival::CameBackText { kind: "", target: target.unwrap_or_default() }
            }
            "INTERNAL_ERROR" => Arrival::Goodbye,
            _ => Arrival::Refused,
        },
        other => return Err(format!("a text of type {other:?}: {text}")),
    })
}
