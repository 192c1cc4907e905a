//! The texts of `devices`.

use super::{Arrival, Kind, body, json, serial_in, word};

pub const TYPES: [&str; 3] = ["offer", "answer", "ice"];

pub fn register(id: &str) -> String {
    format!(r#"{{"type":"register","id":"{id}"}}"#)
}

pub fn signal(kind: Kind, serial: u64, to: &str, bytes: usize, forged: Option<&str>) -> String {
    let (word, data) = (TYPES[kind as usize], body(kind, serial, bytes));
    let from = forged.map(|from| format!(r#","from":"{from}""#)).unwrap_or_default();
    let body = match kind {
        Kind::Offer | Kind::Answer => format!(r#""sdp":"{data}""#),
        Kind::Candidate => format!(r#""candidate":{{"candidate":"{data}","sdpMid":"0"}}"#),
    };
    format!(r#"{{"type":"{word}","target":"{to}"{from},{body},"sessionId":"s"}}"#)
}

pub fn question(which: usize) -> (&'static str, String) {
    match which % 2 {
        0 => ("pong", r#"{"type":"ping"}"#.to_owned()),
        _ => ("list", r#"{"type":"list"}"#.to_owned()),
    }
}

pub const BAD_TEXTS: [&str; 5] = [
    "{",
    r#"{"type":"unheard-of"}"#,
    r#"{"type":"offer","sdp":"v=0"}"#,
    r#"{"type":"register","id":"two words"}"#,
    r#"{"type":"ping","type":"ping"}"#,
];

pub fn read(text: &str) -> Result<Arrival, String> {
    let value = json(text)?;
    Ok(match word(&value, "type") {
        "registered" => Arrival::Joined,
        "pong" => Arrival::Answered("pong"),
        "clients" => {
            let all = value.get("clients").and_then(|ids| ids.as_array()).into_iter().flatten();
            Arrival::Listed(all.map(|id| id.as_str().unwrap_or_default().to_owned()).collect())
        }
        "client_list_update" => Arrival::Notice,
        "offer" | "answer" | "ice" => {
            let serial = serial_in(text.as_bytes()).ok_or_else(|| format!("no number in {text}"))?;
            Arrival::Relayed { serial, sender: Some(word(&value, "from").to_owned()) }
        }
        "error" => error(word(&value, "message"), word(&value, "details")),
        other => return Err(format!("a text of type {other:?}: {text}")),
    })
}

fn error(message: &str, details: &str) -> Arrival {
    let mut words = message.split(' ');
    let kind = match words.next() {
        Some("Target") => "offer",
        Some("Caller") => "answer",
        Some("Peer") => "ice",
        _ => "",
    };
    match message {
        _ if !kind.is_empty() => {
            Arrival::CameBackText { kind, target: words.next().unwrap_or_default().to_owned() }
        }
        "Id is taken" | "Too many clients" | "Server shutting down" => Arrival::JoinRefused,
        "Not allowed" if !details.is_empty() => Arrival::JoinRefused,
        "Internal server error" => Arrival::Goodbye,
        _ => Arrival::Refused,
    }
}
