//! A peer enters a room.

use std::borrow::Cow;

use super::Settings;
use super::codes::MessageType;
use super::message::{Fault, Field, Message, PEER_ID_BYTES_MAX, is_peer_id};
use super::reply::{self, NO_PROOF, Refusal};
use super::session::{Registered, Session, answer};
use crate::auth::{Identities, Identity, IdentityRefused, Proof, RoomsGrant};
use crate::base::{Now, Redacted, planted};
use crate::dialect::{Context, Progress, Speaks};
use crate::hub::rooms::{EnterRefused, Metadata, Newcomer};
use crate::observe::Event;

/// How often a session that waits looks whether keys have come.
const LOOK_US: u64 = 50_000;

const DEFAULT_ROLE: &str = "peer";

/// A register whose token was signed by an unknown key waits until the keys have been fetched.
#[derive(Default)]
pub(super) enum KeyWait {
    #[default]
    No,
    /// For another answer than `generation`, at most until `until_us`.
    Waiting { generation: u64, until_us: u64, look_us: u64 },
    /// The register is to be decided now, whatever has come.
    Over,
}

impl KeyWait {
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self, KeyWait::Waiting { .. })
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self, KeyWait::Over)
    }

    pub(super) fn deadline_us(&self) -> Option<u64> {
        match self {
            KeyWait::Waiting { .. } if planted!(KeysForgotten) => None,
            KeyWait::Waiting { look_us, .. } => Some(*look_us),
            KeyWait::No | KeyWait::Over => None,
        }
    }

    pub(super) fn look(&mut self, identities: &Identities, now: Now) {
        let KeyWait::Waiting { generation, until_us, look_us } = self else { return };
        if identities.remote_generation() != *generation || now.mono_us >= *until_us {
            *self = KeyWait::Over;
        } else {
            *look_us = now.mono_us.saturating_add(LOOK_US).min(*until_us);
        }
    }
}

/// What a peer asks for.
struct Request<'a> {
    peer_id: Cow<'a, str>,
    /// May be missing with an API key that is bound to one room.
    room_id: Option<Cow<'a, str>>,
    token: Option<Redacted<Cow<'a, str>>>,
    proof: Option<Shown<'a>>,
    role: Cow<'a, str>,
    metadata: Metadata,
}

/// A proof with the text that it is made from.
enum Shown<'a> {
    IdToken(Cow<'a, str>),
    Jwt(Cow<'a, str>),
    ApiKey(Cow<'a, str>),
}

/// What is answered to a peer that may enter.
struct Admitted<'a> {
    room_id: Cow<'a, str>,
    token: Option<Redacted<Cow<'a, str>>>,
    subject: Option<String>,
}

impl Session {
    pub(super) fn on_register(
        &mut self,
        settings: &Settings,
        message: &Message<'_>,
        ctx: &mut dyn Context,
    ) -> Progress {
        let may_wait = !std::mem::take(&mut self.key_wait).is_over();
        let request = match Request::read(message, settings) {
            Ok(request) => request,
            Err(fault) => return refuse(Refusal::Faulty(fault), message, ctx),
        };
        if ctx.around().draining() {
            return refuse(Refusal::Draining, message, ctx);
        }
        // A guess at a room's token counts as one at an identity.
        if !ctx.around().may_log_in() {
            return refuse(Refusal::TooManyFailedLogins, message, ctx);
        }
        let now = ctx.around().now();
        // Before the verdict, so that no fetch in between is missed.
        let generation = settings.identities.remote_generation();
        let identity = match request.verify(&settings.identities, now) {
            Some(Err(IdentityRefused::UnknownKey)) if may_wait && !settings.key_wait.is_zero() => {
                settings.identities.want_refresh();
                let until_us = now.plus(settings.key_wait);
                let look_us = now.mono_us.saturating_add(LOOK_US).min(until_us);
                self.key_wait = KeyWait::Waiting { generation, until_us, look_us };
                return Progress::Later;
            }
            Some(Ok(identity)) => Some(identity),
            Some(Err(refused)) if settings.require_id_token => {
                if refused.may_be_a_guess() {
                    ctx.around().login_failed();
                }
                return refuse(Refusal::AuthenticationFailed, message, ctx);
            }
            None if settings.require_id_token => return refuse(NO_PROOF, message, ctx),
            Some(Err(_)) | None => None,
        };
        match self.enter(settings, request, identity, ctx) {
            Ok(()) => Progress::Done,
            Err(refusal) => {
                if refusal == Refusal::InvalidToken {
                    ctx.around().login_failed();
                }
                refuse(refusal, message, ctx)
            }
        }
    }

    fn enter(
        &mut self,
        settings: &Settings,
        request: Request<'_>,
        identity: Option<Identity>,
        ctx: &mut dyn Context,
    ) -> Result<(), Refusal> {
        let now = ctx.around().now();
        let Request { peer_id, room_id, token, role, metadata, .. } = request;
        let Admitted { room_id, token, subject } =
            self.admit(settings, &peer_id, room_id, token, identity, now)?;
        let newcomer = Newcomer {
            key: ctx.around().me(),
            role: role.into_owned(),
            metadata,
            connected_at_unix_seconds: now.unix_seconds(),
            subject,
        };
        settings.rooms.enter(&room_id, &peer_id, newcomer, now.unix_seconds()).map_err(refusal_of)?;

        if !self.is_registered_as(&room_id, &peer_id) {
            self.leave_room(settings, "registered_elsewhere", ctx);
            self.registered = Some(Registered::new(&room_id, &peer_id, now));
            self.ping_later(settings, now);
            ctx.around().publish(Event {
                event_type: "client_connected",
                client_id: peer_id.to_string(),
                unix_ms: now.unix_ms,
                details: vec![("dialect", "rooms".into()), ("room_id", (*room_id).into())],
            });
            // Before anybody can find it.
            ctx.around().set_speaks(Speaks::Rooms { reports_all: settings.report_undeliverable });
        }
        self.join_directory(ctx);
        let mut out = Vec::with_capacity(128);
        reply::write_registered(&room_id, token.as_ref().map(|t| &**t.expose()), &peer_id, &mut out);
        answer(ctx, MessageType::RegisteredAuth, &out);
        Ok(())
    }

    /// Whether the room lets this peer in. Who is in it already may say so again until it leaves,
    /// also when the room has expired.
    fn admit<'a>(
        &self,
        settings: &Settings,
        peer_id: &str,
        room_id: Option<Cow<'a, str>>,
        token: Option<Redacted<Cow<'a, str>>>,
        identity: Option<Identity>,
        now: Now,
    ) -> Result<Admitted<'a>, Refusal> {
        let only_room = match identity.as_ref().map(|identity| &identity.rooms) {
            Some(RoomsGrant::Rooms(rooms)) if rooms.len() == 1 => rooms.first().cloned().map(Cow::Owned),
            _ => None,
        };
        let room_id = room_id.or(only_room).ok_or(Refusal::Faulty(Fault::Missing(Field::RoomId)))?;
        let is_again = self.is_registered_as(&room_id, peer_id);
        let Some(record) = settings.rooms.record(&room_id) else {
            // The registry knows whether it is still in.
            let subject = identity.map(|identity| identity.subject);
            let admitted = Admitted { room_id, token, subject };
            return if is_again { Ok(admitted) } else { Err(Refusal::RoomNotFound) };
        };
        let is_creator = identity.as_ref().is_some_and(|identity| identity.subject == record.created_by);
        let is_granted = identity.as_ref().is_some_and(|identity| identity.rooms.covers(&room_id));
        let token = match token {
            Some(token) if record.token_is(token.expose()) || planted!(RoomTokenUnchecked) => Some(token),
            Some(_) => return Err(Refusal::InvalidToken),
            None if is_creator => Some(Redacted::new(Cow::Owned(record.token.expose().clone()))),
            None if is_granted => None,
            None => return Err(Refusal::Faulty(Fault::Missing(Field::Token))),
        };
        if record.is_expired(now.unix_seconds()) && !is_again {
            return Err(Refusal::RoomExpired);
        }
        Ok(Admitted { room_id, token, subject: identity.map(|identity| identity.subject) })
    }

    fn is_registered_as(&self, room_id: &str, peer_id: &str) -> bool {
        self.registered
            .as_ref()
            .is_some_and(|present| *present.room_id == *room_id && *present.peer_id == *peer_id)
    }
}

impl<'a> Request<'a> {
    fn read(message: &Message<'a>, settings: &Settings) -> Result<Request<'a>, Fault> {
        let peer_id = message.required(Field::PeerId)?;
        if !is_peer_id(&peer_id) {
            let why = "has to have 1 to 256 bytes and no control characters";
            return Err(Fault::Bad(Field::PeerId, why));
        }
        let proof =
            match (message.given(Field::ApiKey)?, message.given(Field::Jwt)?, message.given(Field::IdToken)?)
            {
                (Some(key), ..) => Some(Shown::ApiKey(key)),
                (None, Some(token), _) => Some(Shown::Jwt(token)),
                (None, None, token) => token.map(Shown::IdToken),
            };
        let room_id = message.given(Field::RoomId)?;
        if room_id.is_none() && !matches!(proof, Some(Shown::ApiKey(_))) {
            return Err(Fault::Missing(Field::RoomId));
        }
        let role = message.given(Field::Role)?.unwrap_or(Cow::Borrowed(DEFAULT_ROLE));
        if role.len() > PEER_ID_BYTES_MAX {
            return Err(Fault::Bad(Field::Role, "is too long"));
        }
        let metadata = match message.raw(Field::Metadata) {
            Some(raw) => Metadata::new(read_metadata(raw, settings)?),
            None => Metadata::default(),
        };
        let token = message.given(Field::Token)?.map(Redacted::new);
        Ok(Request { peer_id, room_id, token, proof, role, metadata })
    }

    fn verify(&self, identities: &Identities, now: Now) -> Option<Result<Identity, IdentityRefused>> {
        let proof = match self.proof.as_ref()? {
            Shown::IdToken(token) => Proof::IdToken(token),
            Shown::Jwt(token) => Proof::Jwt(token),
            Shown::ApiKey(key) => Proof::ApiKey(key),
        };
        Some(identities.verify(proof, now.unix_seconds()))
    }
}

/// Metadata is the one thing that is kept as a tree, so its size is bounded before it becomes one.
pub(super) fn read_metadata(raw: &str, settings: &Settings) -> Result<serde_json::Value, Fault> {
    if raw.len() > settings.metadata_bytes_max {
        return Err(METADATA_TOO_LARGE);
    }
    // What the scan accepts and this does not: half of a surrogate pair, a number beyond a double.
    serde_json::from_str(raw).map_err(|_| Fault::Bad(Field::Metadata, "cannot be kept"))
}

pub(super) const METADATA_TOO_LARGE: Fault = Fault::Bad(Field::Metadata, "is too large");

fn refusal_of(refused: EnterRefused) -> Refusal {
    match refused {
        EnterRefused::RoomNotFound => Refusal::RoomNotFound,
        EnterRefused::RoomExpired => Refusal::RoomExpired,
        EnterRefused::RoomFull => Refusal::RoomFull,
        EnterRefused::MetadataTooLarge => Refusal::Faulty(METADATA_TOO_LARGE),
    }
}

/// The connection stays as it was, and open.
fn refuse(refusal: Refusal, message: &Message<'_>, ctx: &mut dyn Context) -> Progress {
    let shown = if planted!(TokenPublished) { Field::Token } else { Field::PeerId };
    let peer_id = message.optional(shown).ok().flatten().filter(|id| is_peer_id(id));
    let unix_ms = ctx.around().now().unix_ms;
    ctx.around().publish(Event {
        event_type: "client_rejected",
        client_id: peer_id.unwrap_or_default().into_owned(),
        unix_ms,
        details: vec![("dialect", "rooms".into()), ("reason", refusal.word().into())],
    });
    let mut out = Vec::with_capacity(192);
    reply::write_refusal(refusal, &mut out);
    ctx.around().count_error(refusal.code().label());
    answer(ctx, MessageType::Error, &out);
    Progress::Done
}
