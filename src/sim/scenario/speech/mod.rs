//! What clients say and what they understand, written from the protocols' documents and not with the
//! engine's own codecs.

pub mod binary;
pub mod calls;
pub mod devices;
pub mod rooms;
pub mod stations;

/// What a client makes of one message from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It has the id that it asked for, or listens to its call.
    Joined,
    /// It has not got what it asked for.
    JoinRefused,
    /// A message of another: its serial number, and who it says has sent it.
    Relayed { serial: u64, sender: Option<String> },
    /// An event of a call that carries no number.
    PeerCame,
    /// A message of its own came back, or was refused; by its number.
    CameBack { serial: u64, is_refusal: bool },
    /// The same in a text, which names kind and target.
    CameBackText { kind: &'static str, target: String },
    /// Something that it sent was bad.
    Refused,
    /// The answer to a question, by the answer's type.
    Answered(&'static str),
    /// Ids that it was told of.
    Listed(Vec<String>),
    /// Nothing that has to be counted.
    Notice,
    /// A newer connection has its id.
    Replaced,
    /// The server goes, or gives this connection up.
    Goodbye,
}

/// How a message carries its number, in whatever it is wrapped.
pub fn marker(serial: u64) -> String {
    format!("#{serial}#")
}

/// The number of the message whose bytes these are.
pub fn serial_in(bytes: &[u8]) -> Option<u64> {
    let mut parts = bytes.split(|byte| *byte == b'#').skip(1);
    parts.find_map(|part| std::str::from_utf8(part).ok()?.parse().ok())
}

/// What an offer, answer or candidate says in all dialects of a realm, `bytes` long at least.
pub fn body(kind: Kind, serial: u64, bytes: usize) -> String {
    let marker = marker(serial);
    let padding = "x".repeat(bytes.saturating_sub(marker.len()));
    match kind {
        Kind::Offer | Kind::Answer => format!("v=0 {marker}{padding}"),
        Kind::Candidate => format!("candidate:{marker}{padding}"),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Offer,
    Answer,
    Candidate,
}

pub const KINDS: [Kind; 3] = [Kind::Offer, Kind::Answer, Kind::Candidate];

/// What nobody may ever publish: it begins with the sign that only secrets and bodies have.
pub const SECRET: &str = "#secret";
/// A token that opens nothing.
pub const WRONG_SECRET: &str = "#wrong-secret";

fn json(text: &str) -> Result<serde_json::Value, String> {
    serde_json::from_str(text).map_err(|_| format!("no JSON: {text}"))
}

fn word<'a>(value: &'a serde_json::Value, name: &str) -> &'a str {
    value.get(name).and_then(serde_json::Value::as_str).unwrap_or_default()
}
