//! Who may use rooms: tokens of several issuers, and API keys.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use serde::Deserialize;
use serde_json::Value;

use super::api_keys::Padded;
use super::jwt;
use super::{PublicKeys, Refused};
use crate::base::Redacted;

/// Longest token that is looked at. Identity providers stay below a third of it.
pub const IDENTITY_TOKEN_BYTES_MAX: usize = 16_384;

/// Subjects of API keys begin with it, and no token may name such a subject.
const API_KEY_SUBJECT: &str = "api-key:";

/// What a peer shows, by the field in which it shows it.
#[derive(Clone, Copy)]
pub enum Proof<'a> {
    /// `id_token`, or the `Authorization` of a request, without `Bearer `. A token that calls itself
    /// anything else than an id token (`token_use`) is refused.
    IdToken(&'a str),
    /// `jwt`: any token of an issuer that is trusted.
    Jwt(&'a str),
    /// `api_key`
    ApiKey(&'a str),
}

/// Who somebody has proved to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `sub` of the token, or `api-key:NAME`.
    pub subject: String,
    pub rooms: RoomsGrant,
}

/// Rooms that an identity may enter without their token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RoomsGrant {
    #[default]
    None,
    Rooms(Vec<String>),
}

impl RoomsGrant {
    pub fn covers(&self, room_id: &str) -> bool {
        match self {
            RoomsGrant::None => false,
            RoomsGrant::Rooms(rooms) => rooms.iter().any(|room| room == room_id),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityRefused {
    /// Signed by a key that is not known, and the remote set may have it by now: after
    /// [`Identities::want_refresh`], and once [`Identities::remote_generation`] has changed, one
    /// more attempt is worth its while.
    UnknownKey,
    Refused(Refused),
}

impl IdentityRefused {
    /// A fixed word for counters and events.
    pub fn reason(self) -> &'static str {
        match self {
            IdentityRefused::UnknownKey => Refused::UnknownKey.reason(),
            IdentityRefused::Refused(refused) => refused.reason(),
        }
    }

    /// See [`Refused::may_be_a_guess`].
    pub fn may_be_a_guess(self) -> bool {
        match self {
            IdentityRefused::UnknownKey => false,
            IdentityRefused::Refused(refused) => refused.may_be_a_guess(),
        }
    }
}

/// Keys, and what a token by one of them must say besides.
#[derive(Clone, Debug)]
pub struct TrustedKeys {
    pub keys: PublicKeys,
    /// The only `iss` that is believed; `None`: any.
    pub issuer: Option<String>,
    /// Must be among the token's `aud`; `None`: not looked at.
    pub audience: Option<String>,
}

/// Keys that are fetched, and what a token by one of them must say besides.
#[derive(Clone, Debug)]
pub struct TrustedRemote {
    pub keys: Arc<RemoteKeys>,
    pub issuer: Option<String>,
    pub audience: Option<String>,
}

/// An API key for rooms. Names and keys are unique; the configuration sees to it.
#[derive(Clone, Debug)]
pub struct RoomsApiKey {
    pub name: String,
    pub key: Redacted<String>,
    /// Rooms that it may enter without their token.
    pub rooms: Vec<String>,
}

#[derive(Clone, Debug, Default)]
pub struct IdentitySources {
    /// The embedded issuer's keys and every configured set, in the order in which they are tried.
    pub trusted: Vec<TrustedKeys>,
    pub remote: Option<TrustedRemote>,
    pub api_keys: Vec<RoomsApiKey>,
}

/// Decides who somebody is. Built once for a configuration, then read by every shard and the front.
pub struct Identities {
    trusted: Vec<TrustedKeys>,
    remote: Option<TrustedRemote>,
    api_keys: Vec<BoundKey>,
    width_bytes: usize,
}

struct BoundKey {
    padded: Padded,
    identity: Identity,
}

/// A set of keys that is fetched from elsewhere and replaced while tokens are verified. It outlives
/// a reload of the configuration.
pub struct RemoteKeys {
    /// Without keys until the first fetch.
    keys: RwLock<Option<Arc<PublicKeys>>>,
    generation: AtomicU64,
    wish: Box<dyn Fn() + Send + Sync>,
}

#[derive(Deserialize)]
struct Claims {
    sub: Option<String>,
    iss: Option<String>,
    aud: Option<Audience>,
    token_use: Option<String>,
    // Another issuer may mean anything by it, so another shape is no grant and no error.
    rooms: Option<Value>,
    // RFC 7519 section 2: a NumericDate may have a fraction.
    exp: Option<f64>,
    nbf: Option<f64>,
}

/// RFC 7519 section 4.1.3.
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Identities {
    pub fn new(sources: IdentitySources) -> Identities {
        let width_bytes = sources.api_keys.iter().map(|key| key.key.expose().len()).max().unwrap_or(0);
        let api_keys = sources.api_keys.into_iter().map(|key| BoundKey {
            padded: Padded::new(key.key.expose(), width_bytes),
            identity: Identity {
                subject: format!("{API_KEY_SUBJECT}{}", key.name),
                rooms: if key.rooms.is_empty() { RoomsGrant::None } else { RoomsGrant::Rooms(key.rooms) },
            },
        });
        Identities {
            api_keys: api_keys.collect(),
            trusted: sources.trusted,
            remote: sources.remote,
            width_bytes,
        }
    }

    /// `unix_seconds` is the current time; there is no leeway.
    pub fn verify(&self, proof: Proof<'_>, unix_seconds: u64) -> Result<Identity, IdentityRefused> {
        match proof {
            Proof::IdToken(token) => self.verify_token(token, true, unix_seconds),
            Proof::Jwt(token) => self.verify_token(token, false, unix_seconds),
            Proof::ApiKey(key) => self.verify_api_key(key),
        }
    }

    /// Asks for the remote set anew. Costs nothing when it was asked for already, or when there is
    /// none.
    pub fn want_refresh(&self) {
        if let Some(remote) = &self.remote {
            (remote.keys.wish)();
        }
    }

    /// Changes with every answer to a wish, also when nothing new came of it. To be read before
    /// [`Identities::verify`], so that no answer is missed.
    pub fn remote_generation(&self) -> u64 {
        self.remote.as_ref().map_or(0, |remote| remote.keys.generation())
    }

    fn verify_token(
        &self,
        token: &str,
        as_id_token: bool,
        unix_seconds: u64,
    ) -> Result<Identity, IdentityRefused> {
        if token.len() > IDENTITY_TOKEN_BYTES_MAX {
            return Err(IdentityRefused::Refused(Refused::Malformed));
        }
        let header = jwt::header(token).map_err(IdentityRefused::Refused)?;
        let remote = self.remote.as_ref().map(|remote| (remote, remote.keys.current()));
        let trusted = self.trusted.iter().map(|source| (&source.keys, &source.issuer, &source.audience));
        let fetched = remote
            .iter()
            .filter_map(|(remote, keys)| Some((keys.as_deref()?, &remote.issuer, &remote.audience)));
        // Two issuers may use the same key id. The signature tells whose token it is.
        let mut refused = Refused::UnknownKey;
        for (keys, issuer, audience) in trusted.chain(fetched) {
            let claims = keys
                .find(header.kid.as_deref(), header.alg)
                .and_then(|key| jwt::claims_signed_by::<Claims>(token, key, header.alg));
            match claims {
                Ok(claims) => {
                    return claims
                        .check(issuer.as_deref(), audience.as_deref(), as_id_token, unix_seconds)
                        .map_err(IdentityRefused::Refused);
                }
                Err(Refused::UnknownKey) => {}
                Err(other) => refused = other,
            }
        }
        match refused {
            Refused::UnknownKey if remote.is_some() => Err(IdentityRefused::UnknownKey),
            refused => Err(IdentityRefused::Refused(refused)),
        }
    }

    /// Compares with every key, so that the time says nothing about which of them came close.
    fn verify_api_key(&self, key: &str) -> Result<Identity, IdentityRefused> {
        let presented = Padded::new(key, self.width_bytes);
        let mut found = None;
        for bound in &self.api_keys {
            if bool::from(presented.ct_eq(&bound.padded)) {
                found = Some(&bound.identity);
            }
        }
        found.cloned().ok_or(IdentityRefused::Refused(Refused::BadCredentials))
    }
}

impl RemoteKeys {
    /// `wish` is called by whoever meets an unknown key: from any thread, often, and it must not
    /// block.
    pub fn new(wish: Box<dyn Fn() + Send + Sync>) -> RemoteKeys {
        RemoteKeys { keys: RwLock::new(None), generation: AtomicU64::new(0), wish }
    }

    /// The answer of a fetch.
    pub fn replace(&self, keys: PublicKeys) {
        *self.keys.write() = Some(Arc::new(keys));
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// A wish got no new keys: the fetch failed, or it is too soon for one. The keys stay.
    pub fn not_replaced(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }

    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn current(&self) -> Option<Arc<PublicKeys>> {
        self.keys.read().clone()
    }
}

impl Claims {
    fn check(
        self,
        issuer: Option<&str>,
        audience: Option<&str>,
        as_id_token: bool,
        unix_seconds: u64,
    ) -> Result<Identity, Refused> {
        if issuer.is_some() && self.iss.as_deref() != issuer {
            return Err(Refused::WrongIssuer);
        }
        if audience.is_some_and(|audience| !self.aud.as_ref().is_some_and(|aud| aud.has(audience))) {
            return Err(Refused::WrongAudience);
        }
        // Cognito writes `id` or `access`; other issuers write nothing.
        if as_id_token && self.token_use.is_some_and(|token_use| token_use != "id") {
            return Err(Refused::WrongUse);
        }
        jwt::check_times(self.exp, self.nbf, unix_seconds)?;
        let subject = self.sub.filter(|sub| !sub.is_empty() && !sub.starts_with(API_KEY_SUBJECT));
        Ok(Identity { subject: subject.ok_or(Refused::WrongSubject)?, rooms: grant(self.rooms) })
    }
}

impl Audience {
    fn has(&self, audience: &str) -> bool {
        match self {
            Audience::One(one) => one == audience,
            Audience::Many(many) => many.iter().any(|one| one == audience),
        }
    }
}

fn grant(claim: Option<Value>) -> RoomsGrant {
    let Some(Value::Array(rooms)) = claim else { return RoomsGrant::None };
    let rooms = rooms.into_iter().filter_map(|room| match room {
        Value::String(room) => Some(room),
        _ => None,
    });
    RoomsGrant::Rooms(rooms.collect())
}

impl fmt::Display for IdentityRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for IdentityRefused {}

impl fmt::Debug for Proof<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Proof::IdToken(_) => "IdToken([redacted])",
            Proof::Jwt(_) => "Jwt([redacted])",
            Proof::ApiKey(_) => "ApiKey([redacted])",
        })
    }
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identities")
            .field("trusted", &self.trusted)
            .field("remote", &self.remote)
            .field("api_keys", &self.api_keys.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RemoteKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteKeys").field("keys", &self.current()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
