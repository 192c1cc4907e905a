//! Who sends a request.

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, header};

use super::answer::Refused;
use super::{Api, Remote, client_of};
use crate::auth::{Identity, IdentityRefused, Proof};
use crate::hub::FAILED_LOGINS_WINDOW;

/// How often a request that waits looks whether keys have come.
const LOOK: Duration = Duration::from_millis(50);

pub(super) const NO_HEADER: Refused =
    Refused::new(StatusCode::UNPROCESSABLE_ENTITY, "Missing required header: Authorization");

pub(super) const NOT_BELIEVED: Refused = Refused::new(StatusCode::UNAUTHORIZED, "Token verification failed");

pub(super) const TOO_MANY_FAILED: Refused =
    Refused::too_often("Too many failed logins", FAILED_LOGINS_WINDOW.as_secs());

impl Api {
    /// The identity by the `Authorization` header, with or without `Bearer `.
    ///
    /// # Errors
    /// [`NO_HEADER`], [`NOT_BELIEVED`], [`TOO_MANY_FAILED`].
    pub(super) async fn identity(&self, headers: &HeaderMap, from: Remote) -> Result<Identity, Refused> {
        let value = headers.get(header::AUTHORIZATION).ok_or(NO_HEADER)?;
        let token = token(value.to_str().map_err(|_| NOT_BELIEVED)?);
        if token.is_empty() {
            return Err(NOT_BELIEVED);
        }
        let (doorkeeper, client) = (&self.parts.doorkeeper, client_of(from));
        if !doorkeeper.may_log_in(client) {
            return Err(TOO_MANY_FAILED);
        }
        let terms = self.terms.get();
        let identities = &terms.identities;
        let until_us = (self.parts.clock)().plus(self.parts.key_wait);
        let mut asked = None;
        loop {
            // Before the verdict, so that no fetch in between is missed.
            let generation = identities.remote_generation();
            let now = (self.parts.clock)();
            match identities.verify(Proof::IdToken(token), now.unix_seconds()) {
                Ok(identity) => return Ok(identity),
                Err(IdentityRefused::Refused(refused)) => {
                    if refused.may_be_a_guess() {
                        doorkeeper.login_failed(client);
                    }
                    return Err(NOT_BELIEVED);
                }
                // One fetch is worth its while, and no second.
                Err(IdentityRefused::UnknownKey) if asked.is_some_and(|asked| asked != generation) => {
                    return Err(NOT_BELIEVED);
                }
                Err(IdentityRefused::UnknownKey) => {}
            }
            if asked.is_none() {
                asked = Some(generation);
                identities.want_refresh();
            }
            while identities.remote_generation() == generation {
                if (self.parts.clock)().mono_us >= until_us {
                    return Err(NOT_BELIEVED);
                }
                tokio::time::sleep(LOOK).await;
            }
        }
    }
}

fn token(value: &str) -> &str {
    const BEARER: &str = "Bearer ";
    let scheme = value.get(..BEARER.len()).filter(|scheme| scheme.eq_ignore_ascii_case(BEARER));
    value.get(scheme.map_or(0, str::len)..).unwrap_or_default().trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::token;

    #[test]
    fn a_token_stands_with_and_without_its_scheme() {
        for value in ["a.b.c", "Bearer a.b.c", "bearer a.b.c", "BEARER  a.b.c ", " a.b.c"] {
            assert_eq!(token(value), "a.b.c", "{value}");
        }
        assert_eq!((token("Bearer "), token(""), token("Bearer")), ("", "", "Bearer"));
    }
}
