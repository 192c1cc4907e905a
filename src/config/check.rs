//! What keeps nothing from starting, but should not go unheard.

use std::net::SocketAddr;

use super::{Service, Settings};
use crate::auth::Credentials;
use crate::base::Redacted;

/// The secret that the documentation prints.
const DOCUMENTED_SECRET: &str = "your-secret-key-change-in-production";

/// Those that the documentation of `devices` and that of `binary` print.
const DOCUMENTED_DEVICES_SECRETS: [&str; 2] = ["your-secret-key", DOCUMENTED_SECRET];

/// The client ids and tokens that the documentation prints.
const TEST_CREDENTIALS: [(&str, &str); 2] =
    [("test_client_1", "test_token_1"), ("test_client_2", "test_token_2")];

/// RFC 7518 section 3.2: an HS256 key has at least the size of the hash.
const SECRET_BYTES_MIN: usize = 32;

pub(super) fn warnings(settings: &Settings) -> Vec<String> {
    let mut warnings = Vec::new();
    for (services, dangers) in [
        (&[Service::Binary][..], binary_dangers(settings)),
        (&[Service::Rooms, Service::RoomsApi], rooms_dangers(settings)),
        (&[Service::Devices], devices_dangers(settings)),
    ] {
        if let Some(address) = beyond_loopback(settings, services) {
            for danger in dangers {
                warnings
                    .push(format!("INSECURE: {danger}, and {address} can be reached from other machines"));
            }
        }
    }
    if serves(settings, Service::Binary) {
        warnings.extend(of_credentials(settings));
    }
    warnings.extend(without_certificates(settings));
    let server = &settings.server;
    if server.proxies.has_everybody() {
        let danger =
            "`trusted_proxies` holds every address, so whoever connects may say that he is somebody else";
        warnings.push(format!("INSECURE: {danger}, and no limit of one address holds"));
    }
    if server.heartbeat_interval.is_some_and(|interval| interval >= server.session_timeout) {
        warnings.push(
            "`session_timeout` is not longer than `heartbeat_interval`: quiet clients are cut before they are pinged"
                .to_owned(),
        );
    }
    warnings.extend(of_rooms(settings));
    warnings.extend(of_calls(settings));
    warnings.extend(of_devices(settings));
    warnings
}

fn serves(settings: &Settings, service: Service) -> bool {
    settings.listeners.iter().any(|listener| listener.serves.contains(&service))
}

/// The first address beyond loopback where one of `services` is served.
fn beyond_loopback(settings: &Settings, services: &[Service]) -> Option<SocketAddr> {
    let doors = settings.listeners.iter().filter(|l| services.iter().any(|s| l.serves.contains(s)));
    doors.flat_map(|l| &l.addresses).map(|address| address.socket).find(|socket| !socket.ip().is_loopback())
}

fn binary_dangers(settings: &Settings) -> Vec<&'static str> {
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
        Credentials::Jwt { .. } | Credentials::Certificate => {}
    }
    dangers
}

fn rooms_dangers(settings: &Settings) -> Vec<&'static str> {
    if settings.rooms.open_delete {
        vec!["`open_delete` in [rooms] lets anyone delete rooms and peers"]
    } else {
        Vec::new()
    }
}

fn devices_dangers(settings: &Settings) -> Vec<&'static str> {
    let secret = settings.devices.jwt_secret.as_ref();
    if secret.is_some_and(|secret| DOCUMENTED_DEVICES_SECRETS.contains(&secret.expose().as_str())) {
        vec!["`jwt_secret` in [devices] is the documented one, which everyone knows"]
    } else {
        Vec::new()
    }
}

fn of_credentials(settings: &Settings) -> Option<String> {
    match &settings.auth.credentials {
        Credentials::Token(keys) if keys.is_empty() => {
            Some("no client can log in: `api_keys` in [auth] is empty".to_owned())
        }
        Credentials::Jwt { secret: Some(secret), .. } if is_short(secret) => Some(format!(
            "`token_secret` in [auth] is shorter than {SECRET_BYTES_MIN} bytes and can be guessed"
        )),
        _ => None,
    }
}

/// Listeners where the method "mtls" lets nobody in.
fn without_certificates(settings: &Settings) -> Vec<String> {
    let is_method = matches!(settings.auth.credentials, Credentials::Certificate);
    let doors = settings.listeners.iter().filter(|listener| {
        is_method && listener.serves.contains(&Service::Binary) && !listener.asks_certificate()
    });
    doors
        .map(|listener| {
            let name = &listener.name;
            format!("listener {name}: no client can log in to `binary`: `auth_method` is \"mtls\" and there is no `tls_client_ca_path`")
        })
        .collect()
}

fn is_short(secret: &Redacted<String>) -> bool {
    secret.expose().len() < SECRET_BYTES_MIN
}

fn of_rooms(settings: &Settings) -> Vec<String> {
    let rooms = &settings.rooms;
    let mut warnings = Vec::new();
    if rooms.jwks_url.as_deref().is_some_and(|url| url.starts_with("http://") && !is_local(url)) {
        warnings
            .push("`jwks_url` in [rooms] is not https: whoever sits on the way can put keys in".to_owned());
    }
    let has_keys = rooms.jwks_url.is_some() || rooms.public_keys.is_some();
    let checks = [("jwks_issuer", &rooms.jwks_issuer), ("jwks_audience", &rooms.jwks_audience)];
    for (key, _) in checks.iter().filter(|(_, check)| check.is_some() && !has_keys) {
        warnings.push(format!("`{key}` in [rooms] has no effect without `jwks_url` or `jwks_path`"));
    }
    warnings
}

fn is_local(url: &str) -> bool {
    let host = url.strip_prefix("http://").unwrap_or(url);
    ["localhost", "127.0.0.1", "[::1]"].iter().any(|local| {
        host.strip_prefix(local).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/', '?']))
    })
}

fn of_calls(settings: &Settings) -> Vec<String> {
    let calls = &settings.calls;
    let mut warnings = Vec::new();
    for (key, limit, end) in [
        ("seat_timeout", calls.seat_timeout, "seats lapse before they can be renewed"),
        ("ws_read_timeout", calls.ws_read_timeout, "quiet clients are cut before they are pinged"),
    ] {
        if limit <= calls.ws_ping_interval {
            warnings.push(format!("`{key}` in [calls] is not longer than `ws_ping_interval`: {end}"));
        }
    }
    warnings
}

fn of_devices(settings: &Settings) -> Vec<String> {
    let devices = &settings.devices;
    let mut warnings = Vec::new();
    if devices.jwt_secret.as_ref().is_some_and(is_short) && serves(settings, Service::Devices) {
        warnings.push(format!(
            "`jwt_secret` in [devices] is shorter than {SECRET_BYTES_MIN} bytes and can be guessed"
        ));
    }
    if !devices.roles.is_empty() && devices.jwt_secret.is_none() {
        warnings.push("the roles of [devices] have no effect without `jwt_secret`".to_owned());
    } else if !devices.roles.is_empty() && !devices.require_token {
        warnings.push(
            "the roles of [devices] bind only those who show a token, since `require_token` is false"
                .to_owned(),
        );
    }
    warnings
}
