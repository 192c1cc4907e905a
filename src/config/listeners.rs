//! The doors: `[[listener]]`, or else the one of `[server]`, and the port of `[metrics]`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use toml_edit::TableLike;

use super::nearest::suggestion;
use super::problem::Place;
use super::reader::{Reader, Section};
use super::sections::{NAME_BYTES_MAX, is_name};
use super::{Address, Listener, Origins, Service};

/// Most listeners of one process, the `[metrics]` port not counted. Each costs a socket on every
/// shard.
const LISTENERS_MAX: usize = 64;

const PORT_MAX: u64 = u16::MAX as u64;

/// Address and services of `[server]`, used where there is no `[[listener]]`.
pub(super) struct Door {
    host: String,
    port: u16,
    serves: Option<Vec<String>>,
    host_place: Place,
    port_place: Place,
    serves_place: Place,
}

impl Door {
    pub(super) fn read(section: &mut Section) -> Door {
        Door {
            host: section.text("host").unwrap_or_else(|| "127.0.0.1".to_owned()),
            port: section.integer("port", 8080, 0..=PORT_MAX) as u16,
            serves: section.list("serves"),
            host_place: section.place("host"),
            port_place: section.place("port"),
            serves_place: section.place("serves"),
        }
    }
}

/// A listener with the services that were asked for, available or not, and where it stands.
struct Draft {
    listener: Listener,
    wanted: Vec<Service>,
    place: Place,
}

pub(super) fn listeners(reader: &mut Reader, door: &Door) -> Vec<Listener> {
    let tables = reader.tables("listener");
    let mut drafts = Vec::new();
    if tables.is_empty() {
        drafts.extend(from_door(reader, door));
    } else {
        warn_of_unused_door(reader, door);
    }
    if let Some((_, place)) = tables.get(LISTENERS_MAX) {
        reader.problem(place.clone(), format!("there may be at most {LISTENERS_MAX} listeners"));
    }
    for (index, (table, place)) in tables.into_iter().take(LISTENERS_MAX).enumerate() {
        drafts.extend(from_table(reader, index + 1, table, place));
    }

    for draft in &drafts {
        check_services(reader, draft);
    }
    let any = !drafts.is_empty();
    let mut open = available(reader, drafts);
    open.extend(metrics(reader));
    check_names(reader, &open);
    check_addresses(reader, &open);
    if any && open.is_empty() {
        reader.problem(Place::Whole, "nothing would listen".to_owned());
    }
    open.into_iter().map(|draft| draft.listener).collect()
}

/// `host:port`: an IP address, `localhost` for both loopback addresses, or nothing for all
/// addresses, as in Go.
fn addresses(bind: &str) -> Option<Vec<Address>> {
    let (host, port) = bind.rsplit_once(':')?;
    let is_bare_v6 = host.contains(':') && !host.starts_with('[');
    if is_bare_v6 || port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    host_addresses(host, port.parse().ok()?)
}

fn host_addresses(host: &str, port: u16) -> Option<Vec<Address>> {
    let both = |v4: Ipv4Addr, v6: Ipv6Addr| {
        vec![
            Address { socket: SocketAddr::new(v4.into(), port), optional: false },
            Address { socket: SocketAddr::new(v6.into(), port), optional: true },
        ]
    };
    match host {
        "" => return Some(both(Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED)),
        "localhost" => return Some(both(Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST)),
        _ => {}
    }
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let ip = match bare {
        Some(bare) => IpAddr::V6(bare.parse().ok()?),
        None => host.parse().ok()?,
    };
    Some(vec![Address { socket: SocketAddr::new(ip, port), optional: false }])
}

const HOSTS: &str = "an IP address, \"localhost\", or nothing for all addresses";

fn from_door(reader: &mut Reader, door: &Door) -> Option<Draft> {
    let serves = match &door.serves {
        Some(names) => services(reader, "[server]", names, &door.serves_place),
        None => vec![Service::Binary],
    };
    let Some(addresses) = host_addresses(&door.host, door.port) else {
        reader.problem(door.host_place.clone(), format!("`host` in [server] must be {HOSTS}"));
        return None;
    };
    Some(Draft {
        listener: Listener {
            name: "main".to_owned(),
            bind: bind_of(&door.host, door.port),
            addresses,
            serves: Vec::new(),
            expose_shard: false,
            origins: Origins::Any,
        },
        wanted: serves,
        place: door.port_place.clone(),
    })
}

/// Someone who sets the port in the environment wants to see it opened.
fn warn_of_unused_door(reader: &mut Reader, door: &Door) {
    for place in [&door.host_place, &door.port_place, &door.serves_place] {
        if let Place::Variable(name) = place {
            reader.warn(format!("{name} has no effect, since the file has [[listener]]"));
        }
    }
}

fn from_table<'a>(
    reader: &mut Reader<'a>,
    number: usize,
    table: &'a dyn TableLike,
    place: Place,
) -> Option<Draft> {
    let mut section = reader.element(format!("[[listener]] {number}"), table);
    let s = &mut section;
    let name = s.text("name");
    let bind = s.text("bind");
    let serves = s.list("serves");
    let expose_shard = s.flag("expose_shard").unwrap_or(false);
    let origins = s.list("allowed_origins");
    let places = ["name", "bind", "serves", "allowed_origins"].map(|key| s.place(key));
    for key in ["tls_cert_path", "tls_key_path", "tls_client_ca_path"] {
        if s.text(key).is_some() {
            s.problem(key, "TLS is not available in this version".to_owned());
        }
    }
    if s.flag("allow_plaintext").is_some() {
        s.problem("allow_plaintext", "TLS is not available in this version".to_owned());
    }
    section.finish();

    let [name_place, bind_place, serves_place, origins_place] = places;
    for (key, missing) in [("name", name.is_none()), ("bind", bind.is_none()), ("serves", serves.is_none())] {
        // A key of a wrong type has been reported already.
        if missing && !table.contains_key(key) {
            reader.problem(place.clone(), format!("[[listener]] {number} needs `{key}`"));
        }
    }
    let label = name.as_ref().map_or(format!("[[listener]] {number}"), |name| format!("listener {name}"));
    let wanted = serves.map(|names| services(reader, &label, &names, &serves_place));
    let origins = origins.map_or(Origins::Any, |list| allowed(reader, list, &origins_place));
    let (name, bind, wanted) = (name?, bind?, wanted?);
    if !is_name(&name) {
        let message = format!("`name` of a listener must be 1 to {NAME_BYTES_MAX} visible ASCII characters");
        reader.problem(name_place, message);
    }
    let Some(addresses) = addresses(&bind) else {
        let message = format!("`bind` of {label} must be \"host:port\", where host is {HOSTS}");
        reader.problem(bind_place, message);
        return None;
    };
    let listener = Listener { name, bind, addresses, serves: Vec::new(), expose_shard, origins };
    Some(Draft { listener, wanted, place: bind_place })
}

fn metrics(reader: &mut Reader) -> Option<Draft> {
    let mut section = reader.section("metrics");
    let enabled = section.flag("enabled").unwrap_or(true);
    let host = section.text("host").unwrap_or_else(|| "127.0.0.1".to_owned());
    let port = section.integer("port", 9090, 0..=PORT_MAX) as u16;
    let addresses = host_addresses(&host, port);
    if addresses.is_none() {
        section.problem("host", format!("`host` in [metrics] must be {HOSTS}"));
    }
    let place = section.place("port");
    section.finish();
    if !enabled {
        return None;
    }
    let listener = Listener {
        name: "metrics".to_owned(),
        bind: bind_of(&host, port),
        addresses: addresses?,
        serves: vec![Service::Metrics],
        expose_shard: false,
        origins: Origins::Any,
    };
    Some(Draft { listener, wanted: vec![Service::Metrics], place })
}

fn bind_of(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

fn services(reader: &mut Reader, label: &str, names: &[String], place: &Place) -> Vec<Service> {
    let mut found = Vec::new();
    if names.is_empty() {
        reader.problem(place.clone(), format!("`serves` of {label} is empty"));
    }
    for name in names {
        match Service::from_name(name) {
            Some(service) if found.contains(&service) => {
                reader.problem(place.clone(), format!("{label} serves `{name}` twice"));
            }
            Some(service) => found.push(service),
            None => {
                let meant = suggestion(name, Service::ALL.map(Service::name));
                reader.problem(place.clone(), format!("{label} serves an unknown service `{name}`{meant}"));
            }
        }
    }
    found
}

/// Origins are compared as browsers send them: scheme, host and port, in lower case.
fn allowed(reader: &mut Reader, list: Vec<String>, place: &Place) -> Origins {
    if list.iter().any(|origin| origin == "*") {
        return Origins::Any;
    }
    let mut origins = Vec::with_capacity(list.len());
    for origin in list {
        let origin = origin.to_ascii_lowercase();
        let rest = origin.split_once("://").map_or("", |(_, rest)| rest);
        let is_origin = origin == "null"
            || !rest.is_empty()
                && rest.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#@*,".contains(&byte));
        if !is_origin {
            let message = format!(
                "`{origin}` in `allowed_origins` is no origin; write \"https://example.org\" or \"*\""
            );
            reader.problem(place.clone(), message);
        }
        origins.push(origin);
    }
    Origins::Only(origins)
}

/// Two services that claim one path cannot share a listener, available or not: the file would
/// stop loading with the version that brings them.
fn check_services(reader: &mut Reader, draft: &Draft) {
    for (index, left) in draft.wanted.iter().enumerate() {
        for right in &draft.wanted[index + 1..] {
            if let Some(path) = left.clash(*right) {
                let name = &draft.listener.name;
                let message = format!("listener {name}: `{left}` and `{right}` both claim {path}");
                reader.problem(draft.place.clone(), message);
            }
        }
    }
}

/// Leaves out what this version does not have.
fn available(reader: &mut Reader, drafts: Vec<Draft>) -> Vec<Draft> {
    let mut open = Vec::new();
    for mut draft in drafts {
        let name = draft.listener.name.clone();
        for service in draft.wanted.iter().filter(|service| !service.is_available()) {
            reader.warn(format!(
                "listener {name}: `{service}` is not available in this version; it is left out"
            ));
        }
        draft.listener.serves =
            draft.wanted.iter().copied().filter(|service| service.is_available()).collect();
        if !draft.listener.serves.is_empty() {
            open.push(draft);
        } else if !draft.wanted.is_empty() {
            let bind = &draft.listener.bind;
            reader.warn(format!("listener {name}: nothing is left to serve; {bind} is not opened"));
        }
    }
    open
}

fn check_names(reader: &mut Reader, open: &[Draft]) {
    for (index, draft) in open.iter().enumerate() {
        let name = &draft.listener.name;
        if open[..index].iter().any(|earlier| earlier.listener.name == *name) {
            let owner = if name == "metrics" { "; one of them is the port of [metrics]" } else { "" };
            reader.problem(draft.place.clone(), format!("two listeners are called `{name}`{owner}"));
        }
    }
}

fn check_addresses(reader: &mut Reader, open: &[Draft]) {
    for (index, draft) in open.iter().enumerate() {
        for earlier in &open[..index] {
            let Some(address) = shared(&earlier.listener, &draft.listener) else { continue };
            let (left, right) = (&earlier.listener.name, &draft.listener.name);
            let message = format!("listeners `{left}` and `{right}` both want {address}");
            reader.problem(draft.place.clone(), message);
        }
    }
}

/// An address that both would take: the same one, or one that the other's "all addresses" covers.
fn shared(left: &Listener, right: &Listener) -> Option<SocketAddr> {
    let pairs = left.addresses.iter().flat_map(|l| right.addresses.iter().map(move |r| (l.socket, r.socket)));
    pairs.into_iter().find_map(|(left, right)| {
        let overlaps = left.ip() == right.ip()
            || left.is_ipv4() == right.is_ipv4()
                && (left.ip().is_unspecified() || right.ip().is_unspecified());
        (left.port() != 0 && left.port() == right.port() && overlaps).then_some(right)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bind: &str) -> Option<String> {
        let show = |address: &Address| {
            format!("{}{}", address.socket, if address.optional { " if possible" } else { "" })
        };
        addresses(bind).map(|found| found.iter().map(show).collect::<Vec<_>>().join(", "))
    }

    #[test]
    fn a_bind_names_its_addresses() {
        for (bind, expected) in [
            ("localhost:8080", "127.0.0.1:8080, [::1]:8080 if possible"),
            (":8080", "0.0.0.0:8080, [::]:8080 if possible"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("[::1]:0", "[::1]:0"),
            ("0.0.0.0:65535", "0.0.0.0:65535"),
        ] {
            assert_eq!(shown(bind).as_deref(), Some(expected), "{bind}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bind in [
            "",
            "8080",
            "localhost",
            "localhost:",
            "localhost:+1",
            "127.0.0.1:65536",
            "::1:8080",
            "[::1]",
            "[1.2.3.4]:1",
            "example.org:80",
        ] {
            assert_eq!(shown(bind), None, "{bind}");
        }
    }

    #[test]
    fn hosts_of_the_documented_file_may_be_bare() {
        assert_eq!(host_addresses("::1", 1), addresses("[::1]:1"));
        assert_eq!(bind_of("::1", 1), "[::1]:1");
        assert_eq!(host_addresses("0.0.0.0", 1), addresses("0.0.0.0:1"));
    }
}
