//! The section `[devices]`, with the variables that its documentation names.

use std::time::Duration;

use super::duration::Unit;
use super::environment::Rank;
use super::nearest::suggestion;
use super::reader::{NAME_BYTES_MAX, Reader, Section, is_name};
use super::sections::DAY;
use super::{Devices, Role};

/// Types of messages that a role can be allowed.
const MESSAGES: [&str; 6] = ["register", "offer", "answer", "ice", "list", "ping"];

/// Each connection looks its role up once.
const ROLES_MAX: usize = 256;

/// `heartbeat` is that of `[server]`.
pub(super) fn devices(reader: &mut Reader, heartbeat: Option<Duration>) -> Devices {
    let mut section = reader.section("devices");
    let s = &mut section;

    // HEARTBEAT_INTERVAL is documented in milliseconds; our own names keep to the unit of [server].
    let unit = match s.rank("heartbeat_interval") {
        Some(Rank::Plain) => Unit::Milliseconds,
        _ => Unit::Seconds,
    };
    let max_clients = s.size("max_clients", 0, 0..=10_000_000);
    let devices = Devices {
        realm: s.name("realm", "devices"),
        require_token: s.flag("require_token").unwrap_or(false),
        allow_unregistered: s.flag("allow_unregistered").unwrap_or(false),
        report_undeliverable: s.flag("report_undeliverable").unwrap_or(false),
        jwt_secret: s.secret("jwt_secret"),
        max_clients: (max_clients > 0).then_some(max_clients),
        heartbeat_interval: s.optional_duration(
            "heartbeat_interval",
            unit,
            heartbeat.unwrap_or_default(),
            DAY,
        ),
        list_update_bytes_per_second: s.integer("list_update_bytes_per_second", 8 << 20, 1024..=1 << 40),
        roles: roles(s),
    };
    if devices.require_token && devices.jwt_secret.is_none() {
        let message = "`require_token` needs `jwt_secret` in [devices], or JWT_SECRET in the environment";
        s.problem("require_token", message.to_owned());
    }
    section.finish();
    devices
}

fn roles(section: &mut Section) -> Vec<Role> {
    let tables = section.tables("roles");
    if tables.len() > ROLES_MAX {
        section.problem("roles", format!("there may be at most {ROLES_MAX} roles"));
    }
    let mut roles = Vec::new();
    for (name, table, place) in tables.into_iter().take(ROLES_MAX) {
        let mut element = section.element(format!("[devices.roles.{name}]"), table);
        let may_send = element.list("may_send");
        let to = element.list("to");
        for word in may_send.iter().flatten().filter(|word| !MESSAGES.contains(&word.as_str())) {
            let meant = suggestion(word, MESSAGES);
            element.problem("may_send", format!("unknown type of message `{word}`{meant}"));
        }
        if to.iter().flatten().any(|role| !is_name(role)) {
            let message = format!("a role in `to` must be 1 to {NAME_BYTES_MAX} visible ASCII characters");
            element.problem("to", message);
        }
        element.finish();
        if !is_name(name) {
            let message =
                format!("the name of a role must be 1 to {NAME_BYTES_MAX} visible ASCII characters");
            section.report(place, message);
        }
        roles.push(Role { name: name.to_owned(), may_send, to });
    }
    roles
}
