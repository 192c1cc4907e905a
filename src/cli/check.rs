//! `sigmux check`: what would listen where, and what each dialect would do.

use std::io::{self, Write};
use std::time::Duration;

use crate::auth::Credentials;
use crate::config::{Calls, Devices, RoomStore, Rooms, Service, Settings};

/// One line for each address, then one for each dialect that is served, then one for each warning.
/// Secrets are counted and not shown.
pub(super) fn report(settings: &Settings, out: &mut impl Write) -> io::Result<()> {
    let mut rows = Vec::new();
    for listener in &settings.listeners {
        let serves: Vec<_> = listener.serves.iter().map(|service| service.name()).collect();
        for address in &listener.addresses {
            let tls = match &listener.tls {
                None => "",
                Some(_) if listener.asks_certificate() => "TLS with client certificates",
                Some(tls) if tls.allow_plaintext => "TLS, and plain text too",
                Some(_) => "TLS",
            };
            let optional = if address.optional { "(where the machine has IPv6)" } else { "" };
            let note = [tls, optional].join(if tls.is_empty() { "" } else { " " });
            rows.push([listener.name.clone(), address.socket.to_string(), serves.join(", "), note]);
        }
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];

    writeln!(out, "{}: ok", settings.origin)?;
    for [name, address, serves, note] in &rows {
        let row = format!("{name:0$}  {address:1$}  {serves:2$}  {note}", widths[0], widths[1], widths[2]);
        writeln!(out, "{}", row.trim_end())?;
    }
    for dialect in Service::DIALECTS {
        if settings.listeners.iter().any(|listener| serves(&listener.serves, dialect)) {
            writeln!(out, "{}: {}", dialect.name(), traits(settings, dialect).join(", "))?;
        }
    }
    for warning in &settings.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    Ok(())
}

/// The HTTP API of `rooms` is that dialect too.
fn serves(served: &[Service], dialect: Service) -> bool {
    served.contains(&dialect) || dialect == Service::Rooms && served.contains(&Service::RoomsApi)
}

fn traits(settings: &Settings, dialect: Service) -> Vec<String> {
    match dialect {
        Service::Binary => vec![
            format!("realm {}", settings.binary.realm),
            match &settings.auth.credentials {
                Credentials::Token(keys) => format!("tokens of {} clients", keys.len()),
                Credentials::Jwt { .. } => "JWT".to_owned(),
                Credentials::Certificate => "client certificates".to_owned(),
                Credentials::None => "every client id is believed".to_owned(),
            },
        ],
        Service::Rooms => of_rooms(&settings.rooms, settings),
        Service::Broadcast => vec![
            format!("realm {}", settings.broadcast.realm),
            format!("at most {} clients", settings.broadcast.clients_max),
        ],
        Service::Calls => of_calls(&settings.calls),
        Service::Devices => of_devices(&settings.devices),
        _ => Vec::new(),
    }
}

fn of_rooms(rooms: &Rooms, settings: &Settings) -> Vec<String> {
    let mut traits = vec![
        match rooms.store {
            RoomStore::Memory => "rooms in memory".to_owned(),
            RoomStore::Embedded => format!("rooms in {}", settings.server.data_dir.display()),
        },
        format!("each for {}", seconds(rooms.ttl)),
        (if rooms.require_id_token { "identity required" } else { "identity not required" }).to_owned(),
    ];
    if let Some(keys) = &rooms.public_keys {
        traits.push(format!("{} keys of `jwks_path`", keys.count()));
    }
    if let Some(url) = &rooms.jwks_url {
        // A query may hold a key.
        traits.push(format!("keys from {}", url.split(['?', '#']).next().unwrap_or_default()));
    }
    if !rooms.api_keys.is_empty() {
        traits.push(format!("{} API keys", rooms.api_keys.len()));
    }
    if rooms.open_delete {
        traits.push("anyone may delete".to_owned());
    }
    traits
}

fn of_calls(calls: &Calls) -> Vec<String> {
    vec![
        format!("{} seats, each kept for {}", calls.seat_count, seconds(calls.seat_timeout)),
        format!("pings every {}", seconds(calls.ws_ping_interval)),
        format!("origin {}", calls.origin),
        "state in memory".to_owned(),
    ]
}

fn of_devices(devices: &Devices) -> Vec<String> {
    let token = match (&devices.jwt_secret, devices.require_token) {
        (Some(_), true) => "JWT required",
        (Some(_), false) => "JWT checked where one is shown",
        (None, _) => "every id is believed",
    };
    let mut traits = vec![format!("realm {}", devices.realm), token.to_owned()];
    if let Some(most) = devices.max_clients {
        traits.push(format!("at most {most} clients"));
    }
    traits.push(match devices.heartbeat_interval {
        Some(interval) => format!("pings after {}", seconds(interval)),
        None => "no pings".to_owned(),
    });
    if !devices.roles.is_empty() {
        let names: Vec<_> = devices.roles.iter().map(|role| role.name.as_str()).collect();
        traits.push(format!("roles {}", names.join(" ")));
    }
    traits
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}
