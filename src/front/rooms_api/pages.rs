//! Signing in, and what anybody may know.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::answer::{BROKEN, Refused, json, json_text, secret_json, timestamp};
use super::{Api, Remote, client_of};
use crate::dialect::MESSAGE_LABELS;
use crate::hub::Action;
use crate::observe::Event;

/// Of the protocol, as its document names it.
const API_VERSION: &str = "2.0.0";

/// What one peer sends to another.
const RELAYED: [&str; 4] = ["peer_message", "offer", "answer", "candidate"];

const TOO_MANY_SIGN_INS: Refused = Refused::too_often("Too many sign-ins", 1);

#[derive(Serialize)]
struct SignedIn {
    id_token: String,
    username: String,
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    timestamp: String,
    version: &'static str,
}

#[derive(Serialize)]
struct Metrics {
    timestamp: String,
    active_rooms: usize,
    active_connections: usize,
    peers_by_role: BTreeMap<String, usize>,
    total_connections: u64,
    total_messages: u64,
    rooms_created: u64,
}

pub(super) async fn sign_in(State(api): State<Arc<Api>>, from: Remote) -> Response {
    let now = (api.parts.clock)();
    let terms = api.terms.get();
    // Who comes too often takes nothing from what is for all.
    if !api.parts.doorkeeper.admit(client_of(from), Action::SignIn)
        || !api.sign_ins.lock().admit(terms.signins_per_second, now)
    {
        return TOO_MANY_SIGN_INS.into_response();
    }
    let random = (api.parts.random)().to_be_bytes();
    let username = uuid::Builder::from_random_bytes(random).into_uuid().hyphenated().to_string();
    let (issuer, lifetime_seconds) = (api.parts.issuer.clone(), terms.id_token_seconds);
    let signed = api.blocking({
        let username = username.clone();
        move || issuer.mint_id_token(&username, now.unix_seconds(), lifetime_seconds)
    });
    let Some(id_token) = signed.await else { return BROKEN.into_response() };
    let event = Event {
        event_type: "anonymous_sign_in",
        client_id: username.clone(),
        unix_ms: now.unix_ms,
        details: vec![("dialect", "rooms".into())],
    };
    api.publish(event, from);
    secret_json(&SignedIn { id_token, username })
}

pub(super) async fn health(State(api): State<Arc<Api>>) -> Response {
    let timestamp = timestamp((api.parts.clock)().unix_seconds());
    json(StatusCode::OK, &Health { status: "healthy", timestamp, version: API_VERSION })
}

pub(super) async fn metrics(State(api): State<Arc<Api>>) -> Response {
    let counts = api.parts.rooms.counts();
    let metrics = Metrics {
        timestamp: timestamp((api.parts.clock)().unix_seconds()),
        active_rooms: counts.active_rooms,
        active_connections: counts.active_connections,
        peers_by_role: counts.peers_by_role,
        total_connections: api.messages_sent(&["registered_auth"]),
        total_messages: api.messages_sent(&RELAYED),
        rooms_created: api.rooms_created.load(Ordering::Relaxed),
    };
    json(StatusCode::OK, &metrics)
}

pub(super) async fn jwks(State(api): State<Arc<Api>>) -> Response {
    json_text(StatusCode::OK, api.parts.issuer.jwks_json().to_owned())
}

impl Api {
    /// Messages of these types that the shards have sent since the start.
    fn messages_sent(&self, message_types: &[&str]) -> u64 {
        let counts = |&(dialect, name): &(&str, &str)| dialect == "rooms" && message_types.contains(&name);
        let labels = MESSAGE_LABELS.iter().enumerate().filter(|(_, label)| counts(label));
        labels
            .map(|(at, _)| self.parts.shards.iter().map(|shard| shard.messages_sent[at].get()).sum::<u64>())
            .sum()
    }
}
