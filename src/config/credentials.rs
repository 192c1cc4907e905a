//! The section `[auth]`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::duration::Unit;
use super::reader::{Reader, Section};
use super::{Auth, Listener, Service, sections};
use crate::auth::{ApiKey, Credentials, PublicKeys};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Token,
    Jwt,
    Certificate,
    None,
}

pub(super) fn auth(reader: &mut Reader, listeners: &[Listener]) -> Auth {
    let mut section = reader.section("auth");
    let s = &mut section;

    let choices = [
        ("token", Method::Token),
        ("jwt", Method::Jwt),
        ("mtls", Method::Certificate),
        ("none", Method::None),
    ];
    let method = s.choice("auth_method", &choices).unwrap_or(Method::Token);
    let token_secret = s.secret("token_secret");
    let token_expiry = s.duration(
        "token_expiry",
        Unit::Seconds,
        Duration::from_secs(3600),
        Duration::from_secs(1)..=Duration::from_secs(3650 * 86_400),
    );
    let keys = api_keys(s);
    let key_set = sections::path(s, "jwks_path");

    let credentials = match method {
        Method::Token => Credentials::Token(keys),
        Method::None => Credentials::None,
        Method::Certificate => {
            if !listeners.iter().any(|it| it.serves.contains(&Service::Binary) && it.asks_certificate()) {
                let message =
                    "the method \"mtls\" needs a listener that serves `binary` with `tls_client_ca_path`";
                s.problem("auth_method", message.to_owned());
            }
            Credentials::Certificate
        }
        Method::Jwt => {
            if token_secret.is_none() && key_set.is_none() {
                let message = "the method \"jwt\" needs `token_secret` or `jwks_path` in [auth]".to_owned();
                s.problem("auth_method", message);
            }
            let public_keys = key_set.and_then(|path| public_keys(s, &path));
            Credentials::Jwt { secret: token_secret.clone(), public_keys }
        }
    };
    section.finish();
    Auth { credentials, token_secret, token_expiry }
}

/// Says which entry is wrong by its number, since its text holds a token.
fn api_keys(section: &mut Section) -> Vec<ApiKey> {
    let mut keys = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, line) in section.list("api_keys").unwrap_or_default().iter().enumerate() {
        let number = index + 1;
        match ApiKey::parse(line) {
            Ok(key) if seen.insert(key.client_id.clone()) => keys.push(key),
            Ok(_) => section.problem("api_keys", format!("entry {number} of `api_keys` repeats a client id")),
            Err(why) => {
                let message = format!("entry {number} of `api_keys` {why}; write \"client_id:token\"");
                section.problem("api_keys", message);
            }
        }
    }
    keys
}

/// The keys of the file that `jwks_path` names.
pub(super) fn public_keys(section: &mut Section, path: &Path) -> Option<PublicKeys> {
    let read = fs::read_to_string(path)
        .map_err(|error| format!("cannot be read: {error}"))
        .and_then(|text| PublicKeys::from_json(&text).map_err(|error| error.to_string()));
    read.map_err(|why| section.problem("jwks_path", format!("{} {why}", path.display()))).ok()
}
