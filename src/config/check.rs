//! What keeps nothing from starting, but should not go unheard.

use super::{Service, Settings};
use crate::auth::Credentials;

/// The secret that the documentation prints.
const DOCUMENTED_SECRET: &str = "your-secret-key-change-in-production";

/// The client ids and tokens that the documentation prints.
const TEST_CREDENTIALS: [(&str, &str); 2] =
    [("test_client_1", "test_token_1"), ("test_client_2", "test_token_2")];

/// RFC 7518 section 3.2: an HS256 key has at least the size of the hash.
const SECRET_BYTES_MIN: usize = 32;

pub(super) fn warnings(settings: &Settings) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(address) = beyond_loopback(settings) {
        for danger in dangers(settings) {
            warnings.push(format!("INSECURE: {danger}, and {address} can be reached from other machines"));
        }
    }
    match &settings.auth.credentials {
        Credentials::Token(keys) if keys.is_empty() => {
            warnings.push("no client can log in: `api_keys` in [auth] is empty".to_owned());
        }
        Credentials::Jwt { secret: Some(secret), .. } if secret.expose().len() < SECRET_BYTES_MIN => {
            warnings.push(format!(
                "`token_secret` in [auth] is shorter than {SECRET_BYTES_MIN} bytes and can be guessed"
            ));
        }
        _ => {}
    }
    let server = &settings.server;
    if server.heartbeat_interval.is_some_and(|interval| interval >= server.session_timeout) {
        warnings.push(
            "`session_timeout` is not longer than `heartbeat_interval`: quiet clients are cut before they are pinged"
                .to_owned(),
        );
    }
    warnings
}

/// The first address beyond loopback where clients log in.
fn beyond_loopback(settings: &Settings) -> Option<std::net::SocketAddr> {
    let doors = settings.listeners.iter().filter(|l| l.serves.contains(&Service::Binary));
    doors.flat_map(|l| &l.addresses).map(|address| address.socket).find(|socket| !socket.ip().is_loopback())
}

fn dangers(settings: &Settings) -> Vec<&'static str> {
    let mut dangers = Vec::new();
    let auth = &settings.auth;
    if auth.token_secret.as_ref().is_some_and(|secret| secret.expose() == DOCUMENTED_SECRET) {
        dangers.push("`token_secret` is the documented one, which everyone knows");
    }
    match &auth.credentials {
        Credentials::Token(keys) => {
            let is_test = |id: &str, token: &str| TEST_CREDENTIALS.contains(&(id, token));
            if keys.iter().any(|key| is_test(&key.client_id, key.token.expose())) {
                dangers.push("`api_keys` holds the documented test credentials, which everyone knows");
            }
        }
        Credentials::None => dangers.push("`auth_method` is \"none\", so every client id is believed"),
        Credentials::Jwt { .. } => {}
    }
    dangers
}
