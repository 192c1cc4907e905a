//! The section `[rooms]`.

use std::collections::BTreeSet;

use super::credentials::public_keys;
use super::duration::Unit;
use super::problem::Place;
use super::reader::{NAME_BYTES_MAX, Reader, Section, is_name};
use super::sections::{DAY, SECOND, path, per_ip};
use super::{RoomStore, Rooms, RoomsApiKey};
use crate::base::Redacted;

/// Of an issuer, an audience and an address.
const TEXT_BYTES_MAX: usize = 2048;

pub(super) fn rooms(reader: &mut Reader) -> Rooms {
    let mut section = reader.section("rooms");
    let s = &mut section;

    s.choice_of("provider", &[("local", Some(())), ("cognito", None)], ());
    let stores =
        [("memory", Some(RoomStore::Memory)), ("embedded", Some(RoomStore::Embedded)), ("dynamodb", None)];
    let key_set = path(s, "jwks_path");
    let rooms = Rooms {
        store: s.choice_of("store", &stores, RoomStore::Embedded),
        ttl: s.duration("ttl_seconds", Unit::Seconds, 7200 * SECOND, SECOND..=3650 * DAY),
        require_id_token: s.flag("require_id_token").unwrap_or(true),
        open_delete: s.flag("open_delete").unwrap_or(false),
        report_undeliverable: s.flag("report_undeliverable").unwrap_or(false),
        app_ping: s.optional_duration("app_ping_seconds", Unit::Seconds, 30 * SECOND, DAY),
        rooms_max: s.size("rooms_max", 100_000, 1..=10_000_000),
        peers_per_room_max: s.size("peers_per_room_max", 10_000, 1..=1_000_000),
        metadata_bytes_max: s.size("metadata_bytes_max", 16_384, 64..=1 << 20),

        public_keys: key_set.and_then(|path| public_keys(s, &path)),
        jwks_url: address(s, "jwks_url"),
        jwks_issuer: visible(s, "jwks_issuer"),
        jwks_audience: visible(s, "jwks_audience"),
        jwks_refresh: s.duration("jwks_refresh_seconds", Unit::Seconds, 30 * SECOND, SECOND..=DAY),
        api_keys: api_keys(s),

        issuer: visible(s, "issuer").unwrap_or_else(|| "sigmux".to_owned()),
        id_token_lifetime: s.duration("id_token_seconds", Unit::Seconds, 3600 * SECOND, SECOND..=3650 * DAY),
        signins_per_second_max: s.integer("signins_per_second_max", 100, 1..=1_000_000) as u32,
        signin_rate_per_ip: per_ip(s, "signin_rate_per_ip", 10),
        create_rate_per_ip: per_ip(s, "create_rate_per_ip", 10),
    };
    // Records and tokens hold whole seconds.
    for (key, duration) in [("ttl_seconds", rooms.ttl), ("id_token_seconds", rooms.id_token_lifetime)] {
        if duration.subsec_nanos() != 0 {
            s.problem(key, format!("`{key}` in [rooms] must be a number of whole seconds"));
        }
    }
    section.finish();
    rooms
}

/// A string that is not empty and that a header or a claim can hold.
fn visible(section: &mut Section, key: &'static str) -> Option<String> {
    let text = section.text(key)?;
    if !(1..=TEXT_BYTES_MAX).contains(&text.len()) || text.chars().any(char::is_control) {
        let message = format!("`{key}` must be 1 to {TEXT_BYTES_MAX} bytes without control characters");
        section.problem(key, message);
        return None;
    }
    Some(text)
}

pub(super) fn address(section: &mut Section, key: &'static str) -> Option<String> {
    let text = visible(section, key)?;
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let authority = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or("");
    // A password in an address ends up in logs and in other people's logs.
    let is_address = !authority.is_empty()
        && !authority.contains('@')
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
    if !is_address {
        let message = format!("`{key}` must be an address such as \"https://id.example.org/jwks.json\"");
        section.problem(key, message);
        return None;
    }
    Some(text)
}

/// Says which entry is wrong by its number, since its text holds a key.
fn api_keys(section: &mut Section) -> Vec<RoomsApiKey> {
    let mut lines = section.list("api_keys").unwrap_or_default();
    if matches!(section.place("api_keys"), Place::Variable(_)) {
        lines = joined(lines);
    }
    let mut keys: Vec<RoomsApiKey> = Vec::with_capacity(lines.len());
    let mut names = BTreeSet::new();
    let mut secrets = BTreeSet::new();
    for (index, line) in lines.iter().enumerate() {
        let wrong = match parse(line) {
            Ok(key) => {
                if !names.insert(key.name.clone()) {
                    "repeats a name".to_owned()
                } else if !secrets.insert(key.key.expose().clone()) {
                    "repeats the key of another one".to_owned()
                } else {
                    keys.push(key);
                    continue;
                }
            }
            Err(why) => format!("{why}; write \"name:key\" or \"name:key:room1,room2\""),
        };
        section.problem("api_keys", format!("entry {} of `api_keys` in [rooms] {wrong}", index + 1));
    }
    keys
}

/// In a variable, commas part both the entries and the rooms of one. Only an entry has a colon.
fn joined(parts: Vec<String>) -> Vec<String> {
    let mut entries: Vec<String> = Vec::with_capacity(parts.len());
    for part in parts {
        match entries.last_mut() {
            Some(entry) if !part.contains(':') && entry.matches(':').count() >= 2 => {
                entry.push(',');
                entry.push_str(&part);
            }
            _ => entries.push(part),
        }
    }
    entries
}

fn parse(line: &str) -> Result<RoomsApiKey, String> {
    let mut parts = line.split(':');
    let name = parts.next().unwrap_or("").trim();
    let Some(key) = parts.next() else { return Err("has no colon".to_owned()) };
    let rooms = parts.next();
    if parts.next().is_some() {
        return Err("has more than two colons".to_owned());
    }
    if !is_name(name) {
        return Err(format!("has a name that is not 1 to {NAME_BYTES_MAX} visible ASCII characters"));
    }
    if key.is_empty() {
        return Err("has an empty key".to_owned());
    }
    let rooms: Vec<String> =
        rooms.map_or(Vec::new(), |rooms| rooms.split(',').map(|room| room.trim().to_owned()).collect());
    if rooms.iter().any(|room| !is_name(room)) {
        return Err(format!("has a room that is not 1 to {NAME_BYTES_MAX} visible ASCII characters"));
    }
    Ok(RoomsApiKey { name: name.to_owned(), key: Redacted::new(key.to_owned()), rooms })
}
