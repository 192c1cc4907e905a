//! Rooms come and go.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::admission::{NO_HEADER, NOT_BELIEVED, TOO_MANY_FAILED};
use super::answer::{BROKEN, Refused, json, secret_json};
use super::{Api, Remote, client_of};
use crate::auth::Identity;
use crate::base::{PeerKey, Redacted};
use crate::dialect::TOO_MANY_FAILED_LOGINS;
use crate::hub::Action;
use crate::hub::rooms::{Reservation, ReserveRefused, RoomRecord, StoreError};
use crate::observe::Event;

const ROOM_ID_CHARACTERS: usize = 8;
const TOKEN_CHARACTERS: usize = 6;
const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// Room ids that are tried. A second one is already a matter of years.
const ATTEMPTS_MAX: usize = 8;

const TOO_MANY_ROOMS: Refused = Refused::new(StatusCode::SERVICE_UNAVAILABLE, "There are too many rooms");
const TOO_OFTEN: Refused = Refused::too_often("Too many rooms are created from this address", 1);
const STORE_FAILED: Refused =
    Refused::new(StatusCode::SERVICE_UNAVAILABLE, "The store of rooms does not answer");
const TOO_LARGE: Refused = Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "The body is too large");
const BAD_BODY: Refused = Refused::new(
    StatusCode::UNPROCESSABLE_ENTITY,
    "The body has to be a JSON object with peer_id or room_id",
);
const NO_PEER_ID: Refused = Refused::new(StatusCode::UNPROCESSABLE_ENTITY, "Missing required field: peer_id");
const AMBIGUOUS: Refused = Refused::new(
    StatusCode::UNPROCESSABLE_ENTITY,
    "Several rooms have a peer of that id; room_id has to name one of them",
);

/// What became of a request to delete, in the protocol's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Deleted,
    PeerNotFound,
    RoomNotFound,
}

/// What a request to delete means.
#[derive(Deserialize)]
struct Target {
    #[serde(default)]
    peer_id: Option<String>,
    #[serde(default)]
    room_id: Option<String>,
}

pub(super) async fn create(State(api): State<Arc<Api>>, from: Remote, headers: HeaderMap) -> Response {
    match api.create_room(&headers, from).await {
        Ok(response) => response,
        Err(refused) => api.refuse("create_room", refused, from),
    }
}

pub(super) async fn delete_room(
    State(api): State<Arc<Api>>,
    from: Remote,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    match api.delete_room(&headers, body, from).await {
        Ok(outcome) => answer(outcome),
        Err(refused) => api.refuse("delete_room", refused, from),
    }
}

pub(super) async fn delete_peer(
    State(api): State<Arc<Api>>,
    from: Remote,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    match api.delete_peer(&headers, body, from).await {
        Ok(outcome) => answer(outcome),
        Err(refused) => api.refuse("delete_peer", refused, from),
    }
}

fn answer(outcome: Outcome) -> Response {
    #[derive(Serialize)]
    struct Status {
        status: &'static str,
    }
    let status = match outcome {
        Outcome::Deleted => "peer deleted successfully",
        Outcome::PeerNotFound => "peer not found",
        Outcome::RoomNotFound => "room not found",
    };
    json(StatusCode::OK, &Status { status })
}

impl Api {
    async fn create_room(&self, headers: &HeaderMap, from: Remote) -> Result<Response, Refused> {
        #[derive(Serialize)]
        struct Created<'a> {
            room_id: &'a str,
            token: &'a str,
        }
        let identity = self.identity(headers, from).await?;
        if !self.parts.doorkeeper.admit(client_of(from), Action::CreateRoom) {
            return Err(TOO_OFTEN);
        }
        let now = (self.parts.clock)();
        let reservation = self.reserve(&identity, now.unix_seconds())?;
        let record = reservation.record().clone();
        let store = self.parts.store.clone();
        // The room opens also when the client has gone meanwhile: the store has it by then.
        let put = self.blocking(move || {
            store.put(reservation.record())?;
            reservation.open();
            Ok(())
        });
        stored(put.await)?;
        self.rooms_created.fetch_add(1, Ordering::Relaxed);
        self.publish_act("room_created", identity.subject, &record.room_id, from);
        Ok(secret_json(&Created { room_id: &record.room_id, token: record.token.expose() }))
    }

    fn reserve(&self, identity: &Identity, unix_seconds: u64) -> Result<Reservation, Refused> {
        for _ in 0..ATTEMPTS_MAX {
            let record = RoomRecord {
                room_id: self.random_word(ROOM_ID_CHARACTERS),
                token: Redacted::new(self.random_word(TOKEN_CHARACTERS)),
                created_by: identity.subject.clone(),
                expires_at_unix_seconds: unix_seconds.saturating_add(self.terms.get().ttl_seconds),
            };
            match self.parts.rooms.reserve(record) {
                Ok(reservation) => return Ok(reservation),
                Err(ReserveRefused::RoomIdTaken) => {}
                Err(ReserveRefused::TooManyRooms) => return Err(TOO_MANY_ROOMS),
            }
        }
        Err(TOO_MANY_ROOMS)
    }

    async fn delete_room(
        &self,
        headers: &HeaderMap,
        body: Result<Bytes, BytesRejection>,
        from: Remote,
    ) -> Result<Outcome, Refused> {
        let deleter = self.deleter(headers, from).await?;
        let room_id = match target(body)? {
            Target { room_id: Some(room_id), .. } => room_id,
            Target { peer_id: Some(peer_id), .. } => match self.room_of(&peer_id, deleter.as_ref())? {
                Some(room_id) => room_id,
                None => return Ok(Outcome::PeerNotFound),
            },
            Target { peer_id: None, room_id: None } => return Err(BAD_BODY),
        };
        if !self.may_delete(&room_id, deleter.as_ref()) {
            // Of rooms that are not there, everybody may know that.
            let is_there = self.is_there(&room_id);
            return if is_there { Err(NOT_BELIEVED) } else { Ok(Outcome::RoomNotFound) };
        }
        let (rooms, store, post) =
            (self.parts.rooms.clone(), self.parts.store.clone(), self.parts.post.clone());
        let removed = {
            let room_id = room_id.clone();
            self.blocking(move || {
                store.delete(std::slice::from_ref(&room_id))?;
                let removed = rooms.remove_room(&room_id);
                removed.iter().flatten().for_each(|&peer| post.dismiss(peer));
                Ok(removed)
            })
        };
        if stored(removed.await)?.is_none() {
            return Ok(Outcome::RoomNotFound);
        }
        self.publish_act("room_deleted", subject_of(deleter), &room_id, from);
        Ok(Outcome::Deleted)
    }

    async fn delete_peer(
        &self,
        headers: &HeaderMap,
        body: Result<Bytes, BytesRejection>,
        from: Remote,
    ) -> Result<Outcome, Refused> {
        let deleter = self.deleter(headers, from).await?;
        let Target { peer_id: Some(peer_id), room_id } = target(body)? else { return Err(NO_PEER_ID) };
        let room_id = match room_id {
            Some(room_id) if !self.may_delete(&room_id, deleter.as_ref()) => {
                let is_there = self.is_there(&room_id);
                return if is_there { Err(NOT_BELIEVED) } else { Ok(Outcome::RoomNotFound) };
            }
            Some(room_id) => room_id,
            None => match self.room_of(&peer_id, deleter.as_ref())? {
                Some(room_id) => room_id,
                None => return Ok(Outcome::PeerNotFound),
            },
        };
        let removed: Option<PeerKey> = self.parts.rooms.remove_peer(&room_id, &peer_id);
        let Some(peer) = removed else { return Ok(Outcome::PeerNotFound) };
        self.parts.post.dismiss(peer);
        self.publish_act("peer_deleted", subject_of(deleter), &room_id, from);
        Ok(Outcome::Deleted)
    }

    /// `None` where anybody may delete. Here a missing header is no better than a bad one.
    async fn deleter(&self, headers: &HeaderMap, from: Remote) -> Result<Option<Identity>, Refused> {
        if self.terms.get().open_delete {
            return Ok(None);
        }
        let identity = self.identity(headers, from).await.map(Some);
        identity.map_err(|refused| if refused == NO_HEADER { NOT_BELIEVED } else { refused })
    }

    /// The one room with a peer of that id in which `deleter` may delete; `None` when nobody has
    /// that id.
    fn room_of(&self, peer_id: &str, deleter: Option<&Identity>) -> Result<Option<String>, Refused> {
        let all = self.parts.rooms.rooms_of(peer_id);
        if all.is_empty() {
            return Ok(None);
        }
        let mut own = all.into_iter().filter(|room_id| self.may_delete(room_id, deleter));
        let room_id = own.next().ok_or(NOT_BELIEVED)?;
        if own.next().is_some() { Err(AMBIGUOUS) } else { Ok(Some(room_id)) }
    }

    fn may_delete(&self, room_id: &str, deleter: Option<&Identity>) -> bool {
        deleter.is_none_or(|identity| self.parts.rooms.belongs_to(room_id, &identity.subject))
    }

    fn is_there(&self, room_id: &str) -> bool {
        self.parts.rooms.record(room_id).is_some()
    }

    /// Lower-case letters and digits, each as likely as any other.
    pub(super) fn random_word(&self, characters: usize) -> String {
        // The largest multiple of the alphabet's length in a byte: what is above would favour some.
        const FAIR: u8 = (256 / ALPHABET.len() * ALPHABET.len()) as u8;
        let mut word = String::with_capacity(characters);
        while word.len() < characters {
            let fair = (self.parts.random)().to_be_bytes().into_iter().filter(|&byte| byte < FAIR);
            let letters = fair.map(|byte| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]));
            word.extend(letters.take(characters - word.len()));
        }
        word
    }

    fn publish_act(&self, event_type: &'static str, client_id: String, room_id: &str, from: Remote) {
        let unix_ms = (self.parts.clock)().unix_ms;
        let details = vec![("dialect", "rooms".into()), ("room_id", room_id.into())];
        self.publish(Event { event_type, client_id, unix_ms, details }, from);
    }

    /// Whoever is not believed is told of, as on a WebSocket.
    fn refuse(&self, request: &'static str, refused: Refused, from: Remote) -> Response {
        let reason = match refused {
            TOO_MANY_FAILED => Some(TOO_MANY_FAILED_LOGINS),
            Refused { status: StatusCode::UNAUTHORIZED, .. } => Some("not_believed"),
            _ => None,
        };
        if let Some(reason) = reason {
            let details =
                vec![("dialect", "rooms".into()), ("reason", reason.into()), ("request", request.into())];
            let (event_type, client_id) = ("client_rejected", String::new());
            let unix_ms = (self.parts.clock)().unix_ms;
            self.publish(Event { event_type, client_id, unix_ms, details }, from);
        }
        refused.into_response()
    }
}

fn target(body: Result<Bytes, BytesRejection>) -> Result<Target, Refused> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => TOO_LARGE,
        _ => BAD_BODY,
    })?;
    let target: Target = serde_json::from_slice(&body).map_err(|_| BAD_BODY)?;
    let is_empty = |text: &Option<String>| text.as_ref().is_some_and(String::is_empty);
    if is_empty(&target.peer_id) || is_empty(&target.room_id) { Err(BAD_BODY) } else { Ok(target) }
}

fn subject_of(deleter: Option<Identity>) -> String {
    deleter.map(|identity| identity.subject).unwrap_or_default()
}

/// What came of a call of the store.
fn stored<T>(result: Option<Result<T, StoreError>>) -> Result<T, Refused> {
    match result {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => {
            tracing::error!(%error, "a room could not be stored or deleted");
            Err(STORE_FAILED)
        }
        None => Err(BROKEN),
    }
}
