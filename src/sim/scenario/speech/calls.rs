//! The texts of `calls`: on its WebSocket, and in the bodies of its requests.

use super::{Arrival, Kind, body, json, serial_in, word};

pub const TYPES: [&str; 3] = ["OFFER", "ANSWER", "CANDIDATE"];

pub fn join(call: &str, session: &str) -> String {
    format!(r#"{{"call":"{call}","session":"{session}","kind":"JOIN"}}"#)
}

pub fn signal(kind: Kind, serial: u64, call: &str, session: &str, bytes: usize) -> String {
    let (word, data) = (TYPES[kind as usize], body(kind, serial, bytes));
    format!(r#"{{"call":"{call}","session":"{session}","body":"{data}","kind":"{word}"}}"#)
}

pub const BAD_BODIES: [&str; 4] = [
    "{",
    r#"{"call":"c","session":"s","kind":"OFFER"}"#,
    r#"{"call":"c","session":"s","body":"b","kind":"WELCOME"}"#,
    r#"{"call":"c","call":"c","session":"s","body":"b","kind":"OFFER"}"#,
];

pub const BAD_JOINS: [&str; 3] =
    ["{", r#"{"call":"c","kind":"JOIN"}"#, r#"{"call":"c","session":"s","body":"b","kind":"JOIN"}"#];

/// What comes, and for which call.
pub fn read(text: &str) -> Result<(Arrival, String), String> {
    let value = json(text)?;
    let arrival = match word(&value, "kind") {
        "WELCOME" => Arrival::Joined,
        "PEER" => Arrival::PeerCame,
        "OFFER" | "ANSWER" | "CANDIDATE" => {
            if value.get("session").is_some() {
                return Err(format!("a session is passed on: {text}"));
            }
            let body = word(&value, "body").as_bytes();
            let serial = serial_in(body).ok_or_else(|| format!("no number in {text}"))?;
            Arrival::Relayed { serial, sender: None }
        }
        other => return Err(format!("a text of kind {other:?}: {text}")),
    };
    Ok((arrival, word(&value, "call").to_owned()))
}
