//! The event `signal` of `broadcast`.

use super::{Arrival, Kind, body, json, serial_in, word};
use crate::sim::front::Heard;

pub const TYPES: [&str; 3] = ["offer", "answer", "ice-candidate"];

pub fn signal(kind: Kind, serial: u64, to: Option<&str>, bytes: usize, forged: Option<&str>) -> String {
    let (word, data) = (TYPES[kind as usize], body(kind, serial, bytes));
    let to = to.map(|to| format!(r#","to":"{to}""#)).unwrap_or_default();
    let from = forged.map(|from| format!(r#","from":"{from}""#)).unwrap_or_default();
    let data = match kind {
        Kind::Offer | Kind::Answer => format!(r#"{{"type":"{word}","sdp":"{data}"}}"#),
        Kind::Candidate => format!(r#"{{"candidate":"{data}","sdpMid":"0"}}"#),
    };
    format!(r#"{{"type":"{word}"{to}{from},"data":{data}}}"#)
}

pub const BAD_TEXTS: [&str; 3] = ["[]", r#"{"type":"hello"}"#, r#"{"type":"offer","to":"x","to":"y"}"#];

pub fn read(heard: &Heard) -> Result<Arrival, String> {
    Ok(match heard {
        Heard::PeerJoined(_) | Heard::PeerLeft(_) => Arrival::Notice,
        Heard::Signal(text) => {
            let serial = serial_in(text.as_bytes()).ok_or_else(|| format!("no number in {text}"))?;
            Arrival::Relayed { serial, sender: Some(word(&json(text)?, "from").to_owned()) }
        }
        Heard::Error(text) => {
            let value = json(text)?;
            let message = word(&value, "message");
            let target = message
                .strip_prefix("Peer ")
                .or_else(|| message.strip_prefix("Message is too large for peer "));
            match target {
                Some(rest) => {
                    let target = rest.split(' ').next().unwrap_or_default().to_owned();
                    Arrival::CameBackText { kind: "", target }
                }
                None if message == "Server is shutting down" => Arrival::Notice,
                None => Arrival::Refused,
            }
        }
    })
}
