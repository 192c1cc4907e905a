//! The `devices` dialect: JSON between drones, cameras and operators.
//!
//! Owns every word of the protocol, one connection's talk, who is registered in which role, and what
//! a token allows its bearer.
//!
//! Invariants: `from` is the id that the sending connection has registered, never what it says of
//! itself. `sdp`, `candidate` and `sessionId` pass with their own bytes. Every message of a client is
//! answered, delivered, or (a candidate, unless the operator asks for reports) counted and published.
//!
//! Must not know sockets, cores, or where a target lives.

mod crossing;
mod message;
mod reply;
mod roles;
mod roster;
mod session;
mod signal;
#[cfg(test)]
mod tests;
mod timestamp;

use std::sync::Arc;
use std::time::Duration;

pub use crossing::{crossing, write_crossing};
pub use message::is_id;
pub use reply::{write_bad_json, write_bounce, write_list_update, write_not_served};
pub use roles::{Role, UnknownMessageType};
pub use roster::Roster;
pub use session::Session;

use crate::auth::{DeviceClaims, DeviceTokens, Refused};
use crate::base::RealmId;
use crate::dialect::{
    Dialect, Heartbeat, MessageLabel, Opening, Surroundings, TOO_MANY_FAILED_LOGINS, labels,
};
use crate::hub::DialectId;

/// What this dialect is called in the directory.
pub const DIALECT: DialectId = Dialect::Devices.id();

/// Message types by their label: what clients send, what they get, last the unknown ones.
pub const MESSAGE_LABELS: &[(&str, &str)] = &[
    ("devices", "register"),
    ("devices", "offer"),
    ("devices", "answer"),
    ("devices", "ice"),
    ("devices", "list"),
    ("devices", "ping"),
    ("devices", "registered"),
    ("devices", "pong"),
    ("devices", "clients"),
    ("devices", "client_list_update"),
    ("devices", "error"),
    ("devices", "unknown"),
];

/// Errors by their label, in the order of [`reply::Code`].
pub const ERROR_LABELS: &[(&str, &str)] = &[
    ("devices", "invalid_message"),
    ("devices", "unknown_type"),
    ("devices", "no_target"),
    ("devices", "not_found"),
    ("devices", "cannot_take_more"),
    ("devices", "not_registered"),
    ("devices", "invalid_id"),
    ("devices", "id_taken"),
    ("devices", "not_allowed"),
    ("devices", "too_many_messages"),
    ("devices", "too_many_clients"),
    ("devices", "shutting_down"),
    ("devices", "unauthorized"),
    ("devices", "internal"),
];

/// How what [`write_list_update`] has made is counted.
pub const LIST_UPDATE_LABEL: MessageLabel = MessageLabel(labels::DEVICES_MESSAGES + 9);

/// Why a connection may not speak this dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwelcome {
    NoToken,
    BadToken(Refused),
    /// Its token was not looked at.
    TooManyFailed,
}

impl Unwelcome {
    /// A fixed word for events.
    pub fn reason(self) -> &'static str {
        match self {
            Unwelcome::NoToken => "no_token",
            Unwelcome::BadToken(refused) => refused.reason(),
            Unwelcome::TooManyFailed => TOO_MANY_FAILED_LOGINS,
        }
    }

    /// Whether this counts towards [`Unwelcome::TooManyFailed`].
    pub fn may_be_a_guess(self) -> bool {
        matches!(self, Unwelcome::BadToken(refused) if refused.may_be_a_guess())
    }
}

/// What the operator decides.
#[derive(Clone, Debug)]
pub struct Settings {
    pub realm: RealmId,
    /// Nobody comes in without a token that holds. Needs `tokens`.
    pub require_token: bool,
    /// Offers, answers and candidates pass from who has not registered, with `from: null`.
    pub allow_unregistered: bool,
    /// Clients hear also of candidates that could not be delivered.
    pub report_undeliverable: bool,
    /// Without it a token is not looked at.
    pub tokens: Option<Arc<DeviceTokens>>,
    /// What a token's role allows. A role that is not listed, or none, may do everything.
    pub roles: Arc<[Role]>,
    /// Registered ids; 0 for any number.
    pub max_clients: usize,
    /// Messages a second that one connection may send, a second's worth of them at once; 0 for any
    /// number.
    pub message_rate: u32,
    /// Zero: the server's own.
    pub heartbeat_interval: Duration,
    /// Who is registered. Stays the same when the rest is reloaded.
    pub roster: Arc<Roster>,
}

impl Settings {
    /// Everything as it is when the operator says nothing.
    pub fn new(realm: RealmId) -> Settings {
        Settings {
            realm,
            require_token: false,
            allow_unregistered: false,
            report_undeliverable: false,
            tokens: None,
            roles: Arc::default(),
            max_clients: 0,
            message_rate: 0,
            heartbeat_interval: Duration::ZERO,
            roster: Arc::default(),
        }
    }

    /// Whether a connection may speak this dialect, as far as its credentials go: what the token says
    /// of its bearer, and `None` for who comes without one and may. Failed attempts are counted.
    pub fn admit(
        &self,
        opening: &Opening,
        around: &mut dyn Surroundings,
    ) -> Result<Option<DeviceClaims>, Unwelcome> {
        if self.looks_at(opening) && !around.may_log_in() {
            return Err(Unwelcome::TooManyFailed);
        }
        let admitted = self.identify(opening, around.now().unix_seconds());
        if admitted.as_ref().is_err_and(|unwelcome| unwelcome.may_be_a_guess()) {
            around.login_failed();
        }
        admitted
    }

    /// Whether there are credentials to be checked.
    pub fn looks_at(&self, opening: &Opening) -> bool {
        self.tokens.is_some() && opening.token.is_some()
    }

    /// What [`Settings::admit`] says of the credentials alone.
    pub fn identify(&self, opening: &Opening, unix_seconds: u64) -> Result<Option<DeviceClaims>, Unwelcome> {
        match (&self.tokens, &opening.token) {
            (Some(tokens), Some(token)) => {
                tokens.verify(token.expose(), unix_seconds).map(Some).map_err(Unwelcome::BadToken)
            }
            _ if self.require_token => Err(Unwelcome::NoToken),
            _ => Ok(None),
        }
    }

    /// This dialect's own heartbeat, where the operator has set one.
    pub fn heartbeat(&self) -> Heartbeat {
        let interval_us = u64::try_from(self.heartbeat_interval.as_micros()).unwrap_or(u64::MAX);
        Heartbeat { interval_us, ..Heartbeat::COMMON }
    }

    fn role(&self, bearer: Option<&DeviceClaims>) -> Option<&Role> {
        let name = bearer?.role.as_deref()?;
        self.roles.iter().find(|role| role.name == name)
    }
}
