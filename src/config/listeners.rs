//! The doors: `[[listener]]`, or else the one of `[server]`, and the port of `[metrics]`.

use std::net::SocketAddr;

use toml_edit::TableLike;

use super::bind::{HOSTS, addresses, bind_of, host_addresses};
use super::calls::CallsSection;
use super::certificates::{self, TlsChoice};
use super::environment::Rank;
use super::moves;
use super::nearest::suggestion;
use super::problem::Place;
use super::reader::{NAME_BYTES_MAX, Reader, Section, is_name};
use super::{Listener, Origins, Service};

/// Most listeners of one process, the `[metrics]` port not counted. Each costs a socket on every
/// shard.
const LISTENERS_MAX: usize = 64;

const PORT_MAX: u64 = u16::MAX as u64;

/// The listener that `[server]` stands for.
pub(super) const MAIN: &str = "main";

/// Address and services of `[server]`. Where there is `[[listener]]`, only what variables say of
/// them holds, for the listener called `main`.
pub(super) struct Door {
    pub(super) host: Setting<String>,
    pub(super) port: Setting<u16>,
    pub(super) serves: Setting<Option<Vec<String>>>,
    /// Also for each `[[listener]]` that says nothing of TLS itself.
    pub(super) tls: TlsChoice,
    /// What holds for each listener that says nothing.
    pub(super) proxy_protocol: bool,
}

pub(super) struct Setting<T> {
    pub(super) value: T,
    pub(super) place: Place,
    /// Nothing where the file or a default says it.
    pub(super) rank: Option<Rank>,
}

impl<T> Setting<T> {
    fn new(section: &mut Section, key: &str, value: T) -> Setting<T> {
        Setting { value, place: section.place(key), rank: section.rank(key) }
    }

    /// Who said it, if it was a variable.
    pub(super) fn decision(&self) -> Option<Decision> {
        match (&self.place, self.rank) {
            (Place::Variable(name), Some(rank)) => Some(Decision { rank, name: name.clone() }),
            _ => None,
        }
    }
}

impl Door {
    pub(super) fn read(section: &mut Section) -> Door {
        let host = section.text("host").unwrap_or_else(|| "127.0.0.1".to_owned());
        let port = section.integer("port", 8080, 0..=PORT_MAX) as u16;
        let serves = section.list("serves");
        let proxy_protocol = section.flag("proxy_protocol").unwrap_or(false);
        Door {
            host: Setting::new(section, "host", host),
            port: Setting::new(section, "port", port),
            serves: Setting::new(section, "serves", serves),
            tls: certificates::tls(section),
            proxy_protocol,
        }
    }
}

/// A listener with the services that were asked for, available or not, and where it stands.
pub(super) struct Draft {
    pub(super) listener: Listener,
    pub(super) wanted: Vec<Service>,
    pub(super) place: Place,
    /// What gave it its address in place of the file.
    pub(super) decision: Option<Decision>,
}

/// A flag or a variable that had its way.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Decision {
    pub(super) rank: Rank,
    pub(super) name: String,
}

pub(super) fn listeners(reader: &mut Reader, door: &Door, calls: &CallsSection) -> Vec<Listener> {
    let tables = reader.tables("listener");
    if let Some((_, place)) = tables.get(LISTENERS_MAX) {
        reader.problem(place.clone(), format!("there may be at most {LISTENERS_MAX} listeners"));
    }
    let mut drafts = Vec::new();
    if tables.is_empty() {
        drafts.extend(from_door(reader, door));
    } else {
        for (index, (table, place)) in tables.into_iter().take(LISTENERS_MAX).enumerate() {
            drafts.extend(from_table(reader, index + 1, table, place, door));
        }
        moves::move_main(reader, &mut drafts, door);
    }
    moves::move_service(reader, &mut drafts, Service::Calls, calls.addr.as_ref(), &door.tls);
    moves::move_service(reader, &mut drafts, Service::CallsHealth, calls.healthz_addr.as_ref(), &door.tls);
    moves::move_devices(reader, &mut drafts);

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

fn from_door(reader: &mut Reader, door: &Door) -> Option<Draft> {
    let Some(addresses) = host_addresses(&door.host.value, door.port.value) else {
        reader.problem(door.host.place.clone(), format!("`host` in [server] must be {HOSTS}"));
        return None;
    };
    // Only `binary` asks everyone for credentials.
    let is_loopback = addresses.iter().all(|address| address.socket.ip().is_loopback());
    let serves = match &door.serves.value {
        Some(names) => services(reader, "[server]", names, &door.serves.place),
        None if is_loopback => Service::DIALECTS.to_vec(),
        None => vec![Service::Binary],
    };
    Some(Draft {
        listener: Listener {
            name: MAIN.to_owned(),
            bind: bind_of(&door.host.value, door.port.value),
            addresses,
            serves: Vec::new(),
            expose_shard: false,
            origins: Origins::Any,
            tls: TlsChoice::Silent.or(&door.tls),
            proxy_protocol: door.proxy_protocol,
        },
        wanted: serves,
        place: door.port.place.clone(),
        decision: door.host.decision().max(door.port.decision()),
    })
}

fn from_table<'a>(
    reader: &mut Reader<'a>,
    number: usize,
    table: &'a dyn TableLike,
    place: Place,
    door: &Door,
) -> Option<Draft> {
    let mut section = reader.element(format!("[[listener]] {number}"), table);
    let s = &mut section;
    let name = s.text("name");
    let bind = s.text("bind");
    let serves = s.list("serves");
    let expose_shard = s.flag("expose_shard").unwrap_or(false);
    let origins = s.list("allowed_origins");
    let proxy_protocol = s.flag("proxy_protocol").unwrap_or(door.proxy_protocol);
    let places = ["name", "bind", "serves", "allowed_origins"].map(|key| s.place(key));
    let tls = certificates::tls(s).or(&door.tls);
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
    let serves = Vec::new();
    let listener = Listener { name, bind, addresses, serves, expose_shard, origins, tls, proxy_protocol };
    Some(Draft { listener, wanted, place: bind_place, decision: None })
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
        tls: None,
        // Scraped from within.
        proxy_protocol: false,
    };
    Some(Draft { listener, wanted: vec![Service::Metrics], place, decision: None })
}

pub(super) fn services(reader: &mut Reader, label: &str, names: &[String], place: &Place) -> Vec<Service> {
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
        if origin != "null" && !is_origin(&origin) {
            let message = format!(
                "`{origin}` in `allowed_origins` is no origin; write \"https://example.org\" or \"*\""
            );
            reader.problem(place.clone(), message);
        }
        origins.push(origin);
    }
    Origins::Only(origins)
}

/// Scheme and authority.
pub(super) fn is_origin(text: &str) -> bool {
    let rest = text.split_once("://").map_or("", |(_, rest)| rest);
    !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#@*,".contains(&byte))
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
            // Whoever moved one of them onto the other is to hear of it.
            let moved = [draft, earlier].into_iter().find(|draft| matches!(draft.place, Place::Variable(_)));
            reader.problem(moved.unwrap_or(draft).place.clone(), message);
        }
    }
}

/// An address that both would take: the same one, or one that the other's "all addresses" covers.
pub(super) fn shared(left: &Listener, right: &Listener) -> Option<SocketAddr> {
    let pairs = left.addresses.iter().flat_map(|l| right.addresses.iter().map(move |r| (l.socket, r.socket)));
    pairs.into_iter().find_map(|(left, right)| {
        let overlaps = left.ip() == right.ip()
            || left.is_ipv4() == right.is_ipv4()
                && (left.ip().is_unspecified() || right.ip().is_unspecified());
        (left.port() != 0 && left.port() == right.port() && overlaps).then_some(right)
    })
}
