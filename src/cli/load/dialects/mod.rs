//! What each dialect says: logging in, messages as templates, and answers told apart.
//!
//! Owns the bytes inside a WebSocket message, or a 0xAA frame on TCP. Must not know sockets or time.

mod binary;
mod calls;
mod devices;
mod rooms;

use serde::Deserialize;

use super::arguments::Dialect;
use super::http::Api;
use super::payloads::{Length, Template};
use super::plan::Plan;

pub use binary::disconnect;
pub use calls::Seat;

/// What had to be asked for over HTTP before anybody could connect.
pub enum Access {
    Open,
    Room(rooms::Room),
    Calls(calls::Names),
}

/// What a message says that carries no mark.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// The login has succeeded.
    Welcome,
    /// Something was refused, in the server's words.
    Refused(String),
    /// News that the load does not need.
    Other,
}

impl Access {
    /// # Errors
    /// What the HTTP API answered.
    pub fn obtain(plan: &Plan, api: &mut Api<'_>, random: u32) -> Result<Access, String> {
        match plan.dialect {
            Dialect::Binary | Dialect::Devices => Ok(Access::Open),
            Dialect::Rooms => rooms::Room::obtain(plan, api).map(Access::Room),
            Dialect::Calls => Ok(Access::Calls(calls::Names::new(random))),
        }
    }

    /// Gives back what [`Access::obtain`] made, as far as the API lets it.
    pub fn give_back(&self, api: &mut Api<'_>) {
        if let Access::Room(room) = self {
            room.delete(api);
        }
    }

    /// A seat, where the dialect has seats.
    ///
    /// # Errors
    /// What the HTTP API answered.
    pub fn seat(&self, api: &mut Api<'_>, call: u64) -> Result<Option<Seat>, String> {
        match self {
            Access::Calls(names) => names.seat(api, call).map(Some),
            Access::Open | Access::Room(_) => Ok(None),
        }
    }

    /// The first message of a participant.
    pub fn login(&self, plan: &Plan, peer: usize, seat: Option<&Seat>) -> Vec<u8> {
        match (self, seat) {
            (Access::Room(room), _) => room.register(&plan.names.id(peer)),
            (Access::Calls(_), Some(seat)) => seat.join(),
            _ if plan.dialect == Dialect::Devices => devices::register(&plan.names.id(peer)),
            _ => binary::connect(&plan.names.id(peer), &plan.names.token(peer)),
        }
    }

    /// One template for each variant of the plan's sizes, in their order.
    ///
    /// # Errors
    /// A fixed size that the dialect's own fields do not leave room in.
    pub fn templates(&self, plan: &Plan) -> Result<Vec<Template>, String> {
        let mut templates = Vec::new();
        for (signal, length) in plan.sizes.variants() {
            let make = |fill_bytes: usize| match self {
                Access::Room(_) => rooms::signal(&plan.names, signal, fill_bytes),
                Access::Calls(_) => calls::signal(&plan.target.host, signal, fill_bytes),
                Access::Open if plan.dialect == Dialect::Devices => {
                    devices::signal(&plan.names, signal, fill_bytes)
                }
                Access::Open => binary::signal(&plan.names, signal, fill_bytes),
            };
            // The head of a POST is no part of the message, as little as that of WebSocket.
            let least = make(0).message_bytes();
            let fill_bytes = match length {
                Length::Text(bytes) => bytes.saturating_sub(super::marks::MARK_BYTES),
                Length::Whole(bytes) => bytes.checked_sub(least).ok_or_else(|| {
                    format!("--size must be at least {least} here: a message carries its route and its mark")
                })?,
            };
            templates.push(make(fill_bytes).template);
        }
        Ok(templates)
    }
}

/// A template, and how much of it stands before the message itself.
pub struct Made {
    template: Template,
    head_bytes: usize,
}

impl Made {
    fn message_bytes(&self) -> usize {
        self.template.len() - self.head_bytes
    }
}

impl From<Template> for Made {
    fn from(template: Template) -> Made {
        Made { template, head_bytes: 0 }
    }
}

/// Understands a message without a mark.
pub fn hear(dialect: Dialect, message: &[u8]) -> Heard {
    match dialect {
        Dialect::Binary => binary::hear(message),
        Dialect::Rooms | Dialect::Devices | Dialect::Calls => hear_json(message),
    }
}

#[derive(Deserialize)]
struct Said {
    #[serde(rename = "type")]
    typed: Option<String>,
    kind: Option<String>,
    code: Option<String>,
    message: Option<String>,
    reason: Option<String>,
}

fn hear_json(message: &[u8]) -> Heard {
    let Ok(said) = serde_json::from_slice::<Said>(message) else { return Heard::Other };
    match (said.typed.as_deref(), said.kind.as_deref()) {
        (Some("registered" | "registered_auth"), _) | (_, Some("WELCOME")) => Heard::Welcome,
        (Some("error"), _) => {
            let words: Vec<_> = [said.code, said.message, said.reason].into_iter().flatten().collect();
            Heard::Refused(words.join(": "))
        }
        _ => Heard::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        for text in
            [r#"{"type":"registered","id":"x"}"#, r#"{"type":"registered_auth"}"#, r#"{"kind":"WELCOME"}"#]
        {
            assert_eq!(hear(Dialect::Devices, text.as_bytes()), Heard::Welcome, "{text}");
        }
        let text = r#"{"type":"error","code":"PEER_NOT_FOUND","message":"no"}"#;
        assert_eq!(hear(Dialect::Rooms, text.as_bytes()), Heard::Refused("PEER_NOT_FOUND: no".into()));
        assert_eq!(hear(Dialect::Calls, br#"{"kind":"PEER"}"#), Heard::Other);
        assert_eq!(hear(Dialect::Calls, b"not JSON"), Heard::Other);
    }
}
