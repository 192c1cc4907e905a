//! `rooms`: an identity and a room over HTTP, then JSON texts.

use serde::Deserialize;
use serde_json::json;

use super::super::http::{Answer, Api};
use super::super::payloads::{Signal, Slot, Template};
use super::super::plan::{Names, Plan};
use super::Made;

/// The one room that all participants are in.
pub struct Room {
    room_id: String,
    token: String,
    id_token: String,
    /// It was made for this run.
    is_ours: bool,
}

#[derive(Deserialize)]
struct SignedIn {
    id_token: String,
}

#[derive(Deserialize)]
struct Created {
    room_id: String,
    token: String,
}

impl Room {
    pub(super) fn obtain(plan: &Plan, api: &mut Api<'_>) -> Result<Room, String> {
        let id_token = match &plan.id_token {
            Some(id_token) => id_token.clone(),
            None => {
                let answer = api.request("POST", "/anonymous-signin", None, Some("{}"))?;
                understood::<SignedIn>("/anonymous-signin", &answer)?.id_token
            }
        };
        if let Some((room_id, token)) = plan.room.clone() {
            return Ok(Room { room_id, token, id_token, is_ours: false });
        }
        let answer = api.request("POST", "/create-room", Some(&id_token), Some("{}"))?;
        let Created { room_id, token } = understood("/create-room", &answer)?;
        Ok(Room { room_id, token, id_token, is_ours: true })
    }

    /// A room that stays ends by itself after two hours, so a failure does not matter.
    pub(super) fn delete(&self, api: &mut Api<'_>) {
        if self.is_ours {
            let body = json!({ "room_id": self.room_id }).to_string();
            let _ = api.request("POST", "/delete-peers-and-room", Some(&self.id_token), Some(&body));
        }
    }

    pub(super) fn register(&self, id: &str) -> Vec<u8> {
        let Room { room_id, token, id_token, .. } = self;
        json!({
            "type": "register", "peer_id": id, "room_id": room_id, "token": token, "id_token": id_token,
        })
        .to_string()
        .into_bytes()
    }
}

pub(super) fn signal(names: &Names, signal: Signal, fill_bytes: usize) -> Made {
    let (message_type, key) = match signal {
        Signal::Offer => ("offer", "sdp"),
        Signal::Answer => ("answer", "sdp"),
        Signal::Candidate => ("candidate", "candidate"),
    };
    let (before, after) = names.id_around();
    Template::default()
        .text("{\"type\":\"")
        .text(message_type)
        .text("\",\"sender\":\"")
        .text(before)
        .slot(Slot::SenderNumber, names.digits)
        .text(after)
        .text("\",\"target\":\"")
        .text(before)
        .slot(Slot::TargetNumber, names.digits)
        .text(after)
        .text("\",\"")
        .text(key)
        .text("\":\"")
        .body(fill_bytes)
        .text("\"}")
        .into()
}

fn understood<'a, T: Deserialize<'a>>(path: &str, answer: &'a Answer) -> Result<T, String> {
    if answer.status != 200 {
        return Err(format!("POST {path}: HTTP {}", answer.status));
    }
    serde_json::from_slice(&answer.body).map_err(|_| format!("POST {path}: an answer that is not understood"))
}
