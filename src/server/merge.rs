//! Settings that were read again, over those that the engine runs with: what is taken over, and what
//! only a restart can change.
//!
//! Each key stands here once, or this does not compile.

use crate::auth::Credentials;
use crate::config::{
    Auth, Binary, Broadcast, Calls, Devices, Events, Listener, Logging, Rooms, Server, Settings,
};

/// The settings to run with from here on.
pub(super) struct Merged {
    pub settings: Settings,
    /// Names of keys that have another value now.
    pub changed: Vec<&'static str>,
    /// Names of keys of which the new value waits for a restart.
    pub needs_restart: Vec<&'static str>,
}

pub(super) fn merge(running: &Settings, wanted: Settings) -> Merged {
    let mut diff = Diff::default();
    let d = &mut diff;
    let settings = Settings {
        server: server(&running.server, wanted.server, d),
        listeners: listeners(&running.listeners, wanted.listeners, d),
        auth: auth(&running.auth, wanted.auth, d),
        logging: logging(running.logging, wanted.logging, d),
        binary: binary(&running.binary, wanted.binary, d),
        rooms: rooms(&running.rooms, wanted.rooms, d),
        broadcast: broadcast(&running.broadcast, wanted.broadcast, d),
        calls: calls(&running.calls, wanted.calls, d),
        devices: devices(&running.devices, wanted.devices, d),
        events: events(&running.events, wanted.events, d),
        audit: d.keep("audit", &running.audit, wanted.audit),
        origin: wanted.origin,
        warnings: wanted.warnings,
    };
    Merged { settings, changed: diff.changed, needs_restart: diff.needs_restart }
}

#[derive(Default)]
struct Diff {
    changed: Vec<&'static str>,
    needs_restart: Vec<&'static str>,
}

impl Diff {
    /// The new value holds. One that says the same is left as it is, with what hangs on it.
    fn take<T: PartialEq + Clone>(&mut self, name: &'static str, running: &T, wanted: T) -> T {
        if *running == wanted {
            return running.clone();
        }
        self.changed.push(name);
        wanted
    }

    /// The value of the start holds, since something was made after its measure that lasts.
    fn keep<T: PartialEq + Clone>(&mut self, name: &'static str, running: &T, wanted: T) -> T {
        if *running != wanted {
            self.needs_restart.push(name);
        }
        running.clone()
    }
}

fn server(running: &Server, wanted: Server, d: &mut Diff) -> Server {
    let (r, w) = (running, wanted);
    Server {
        shards: d.keep("server.shards", &r.shards, w.shards),
        pin_shards: d.keep("server.pin_shards", &r.pin_shards, w.pin_shards),
        busy_poll: d.keep("server.busy_poll_us", &r.busy_poll, w.busy_poll),
        data_dir: d.keep("server.data_dir", &r.data_dir, w.data_dir),

        max_connections: d.take("server.max_connections", &r.max_connections, w.max_connections),
        message_rate: d.take("server.message_rate", &r.message_rate, w.message_rate),
        max_message_bytes: d.take("server.max_message_bytes", &r.max_message_bytes, w.max_message_bytes),
        head_bytes_max: d.take("server.head_bytes_max", &r.head_bytes_max, w.head_bytes_max),

        // Whoever is over a new limit already stays.
        max_connections_per_ip: d.take(
            "server.max_connections_per_ip",
            &r.max_connections_per_ip,
            w.max_connections_per_ip,
        ),
        connect_rate_per_ip: d.take(
            "server.connect_rate_per_ip",
            &r.connect_rate_per_ip,
            w.connect_rate_per_ip,
        ),
        failed_logins_per_minute: d.take(
            "server.failed_logins_per_minute",
            &r.failed_logins_per_minute,
            w.failed_logins_per_minute,
        ),
        limit_loopback: d.take("server.limit_loopback", &r.limit_loopback, w.limit_loopback),
        addresses_max: d.take("server.addresses_max", &r.addresses_max, w.addresses_max),
        proxies: d.take("server.trusted_proxies", &r.proxies, w.proxies),

        heartbeat_interval: d.take("server.heartbeat_interval", &r.heartbeat_interval, w.heartbeat_interval),
        session_timeout: d.take("server.session_timeout", &r.session_timeout, w.session_timeout),
        first_message_timeout: d.take(
            "server.first_message_seconds",
            &r.first_message_timeout,
            w.first_message_timeout,
        ),
        head_timeout: d.take("server.head_seconds", &r.head_timeout, w.head_timeout),
        body_timeout: d.take("server.body_seconds", &r.body_timeout, w.body_timeout),
        close_timeout: d.take("server.close_seconds", &r.close_timeout, w.close_timeout),
        drain_delay: d.take("server.drain_delay_seconds", &r.drain_delay, w.drain_delay),
        drain_timeout: d.take("server.drain_seconds", &r.drain_timeout, w.drain_timeout),

        // Queues and buffers are there, and what is in them was let in by these measures.
        inbox_messages_max: d.keep("server.inbox_messages_max", &r.inbox_messages_max, w.inbox_messages_max),
        overflow_messages_max: d.keep(
            "server.overflow_messages_max",
            &r.overflow_messages_max,
            w.overflow_messages_max,
        ),
        inbox_bytes_max: d.keep("server.inbox_bytes_max", &r.inbox_bytes_max, w.inbox_bytes_max),
        overflow_bytes_max: d.keep("server.overflow_bytes_max", &r.overflow_bytes_max, w.overflow_bytes_max),
        hold: d.keep("server.hold_milliseconds", &r.hold, w.hold),
        outbox_soft_bytes: d.keep("server.outbox_soft_bytes", &r.outbox_soft_bytes, w.outbox_soft_bytes),
        outbox_hard_bytes: d.keep("server.outbox_hard_bytes", &r.outbox_hard_bytes, w.outbox_hard_bytes),
        outbox_reserve_bytes: d.keep(
            "server.outbox_reserve_bytes",
            &r.outbox_reserve_bytes,
            w.outbox_reserve_bytes,
        ),
        slow_consumer_timeout: d.take(
            "server.slow_consumer_seconds",
            &r.slow_consumer_timeout,
            w.slow_consumer_timeout,
        ),
        tunnel_window_bytes: d.keep(
            "server.tunnel_window_bytes",
            &r.tunnel_window_bytes,
            w.tunnel_window_bytes,
        ),
        receive_buffers: d.keep("server.receive_buffers", &r.receive_buffers, w.receive_buffers),
        receive_buffer_bytes: d.keep(
            "server.receive_buffer_bytes",
            &r.receive_buffer_bytes,
            w.receive_buffer_bytes,
        ),
    }
}

/// Doors stay where they are, and serve what they serve. Of a listener that is called as one of those
/// which run, the rest is taken over.
fn listeners(running: &[Listener], wanted: Vec<Listener>, d: &mut Diff) -> Vec<Listener> {
    let names = |listeners: &[Listener]| listeners.iter().map(|it| it.name.clone()).collect::<Vec<_>>();
    d.keep("listener", &names(running), names(&wanted));
    let merged = running.iter().map(|r| {
        let Some(w) = wanted.iter().find(|w| w.name == r.name) else { return r.clone() };
        let w = w.clone();
        d.keep("listener.bind", &r.addresses, w.addresses);
        Listener {
            name: r.name.clone(),
            bind: r.bind.clone(),
            addresses: r.addresses.clone(),
            serves: d.keep("listener.serves", &r.serves, w.serves),
            expose_shard: d.take("listener.expose_shard", &r.expose_shard, w.expose_shard),
            origins: d.take("listener.allowed_origins", &r.origins, w.origins),
            proxy_protocol: d.take("listener.proxy_protocol", &r.proxy_protocol, w.proxy_protocol),
            // The files are read again: a certificate that was renewed is another one.
            tls: d.take("listener.tls", &r.tls, w.tls),
        }
    });
    merged.collect()
}

fn auth(running: &Auth, wanted: Auth, d: &mut Diff) -> Auth {
    let (r, w) = (running, wanted);
    d.take("auth.token_secret", &r.token_secret, w.token_secret.clone());
    match (&r.credentials, &w.credentials) {
        (Credentials::Token(keys), Credentials::Token(wanted)) => {
            d.take("auth.api_keys", &keys, wanted);
        }
        (Credentials::Jwt { public_keys, .. }, Credentials::Jwt { public_keys: wanted, .. }) => {
            d.take("auth.jwks_path", &public_keys, wanted);
        }
        (one, other) if one == other => {}
        _ => d.changed.push("auth.auth_method"),
    }
    Auth {
        credentials: w.credentials,
        token_secret: w.token_secret,
        token_expiry: d.take("auth.token_expiry", &r.token_expiry, w.token_expiry),
    }
}

fn logging(running: Logging, wanted: Logging, d: &mut Diff) -> Logging {
    let (r, w) = (running, wanted);
    Logging {
        level: d.take("logging.level", &r.level, w.level),
        format: d.keep("logging.format", &r.format, w.format),
        console_output: d.keep("logging.console_output", &r.console_output, w.console_output),
    }
}

fn binary(running: &Binary, wanted: Binary, d: &mut Diff) -> Binary {
    let (r, w) = (running, wanted);
    Binary {
        // Whoever is in a realm has to leave the same one.
        realm: d.keep("binary.realm", &r.realm, w.realm),
        stamp_sender: d.take("binary.stamp_sender", &r.stamp_sender, w.stamp_sender),
        on_duplicate: d.take("binary.on_duplicate", &r.on_duplicate, w.on_duplicate),
    }
}

fn rooms(running: &Rooms, wanted: Rooms, d: &mut Diff) -> Rooms {
    let (r, w) = (running, wanted);
    Rooms {
        store: d.keep("rooms.store", &r.store, w.store),
        ttl: d.take("rooms.ttl_seconds", &r.ttl, w.ttl),
        require_id_token: d.take("rooms.require_id_token", &r.require_id_token, w.require_id_token),
        open_delete: d.take("rooms.open_delete", &r.open_delete, w.open_delete),
        report_undeliverable: d.take(
            "rooms.report_undeliverable",
            &r.report_undeliverable,
            w.report_undeliverable,
        ),
        app_ping: d.take("rooms.app_ping_seconds", &r.app_ping, w.app_ping),
        rooms_max: d.take("rooms.rooms_max", &r.rooms_max, w.rooms_max),
        peers_per_room_max: d.take("rooms.peers_per_room_max", &r.peers_per_room_max, w.peers_per_room_max),
        metadata_bytes_max: d.take("rooms.metadata_bytes_max", &r.metadata_bytes_max, w.metadata_bytes_max),
        public_keys: d.take("rooms.jwks_path", &r.public_keys, w.public_keys),
        jwks_url: d.take("rooms.jwks_url", &r.jwks_url, w.jwks_url),
        jwks_issuer: d.take("rooms.jwks_issuer", &r.jwks_issuer, w.jwks_issuer),
        jwks_audience: d.take("rooms.jwks_audience", &r.jwks_audience, w.jwks_audience),
        jwks_refresh: d.take("rooms.jwks_refresh_seconds", &r.jwks_refresh, w.jwks_refresh),
        api_keys: d.take("rooms.api_keys", &r.api_keys, w.api_keys),
        // Its tokens that are about name it.
        issuer: d.keep("rooms.issuer", &r.issuer, w.issuer),
        id_token_lifetime: d.take("rooms.id_token_seconds", &r.id_token_lifetime, w.id_token_lifetime),
        signins_per_second_max: d.take(
            "rooms.signins_per_second_max",
            &r.signins_per_second_max,
            w.signins_per_second_max,
        ),
        signin_rate_per_ip: d.take("rooms.signin_rate_per_ip", &r.signin_rate_per_ip, w.signin_rate_per_ip),
        create_rate_per_ip: d.take("rooms.create_rate_per_ip", &r.create_rate_per_ip, w.create_rate_per_ip),
    }
}

/// The library of Socket.IO is set up once.
fn broadcast(running: &Broadcast, wanted: Broadcast, d: &mut Diff) -> Broadcast {
    let (r, w) = (running, wanted);
    Broadcast {
        realm: d.keep("broadcast.realm", &r.realm, w.realm),
        ping_interval: d.keep("broadcast.ping_interval", &r.ping_interval, w.ping_interval),
        ping_timeout: d.keep("broadcast.ping_timeout", &r.ping_timeout, w.ping_timeout),
        payload_bytes_max: d.keep("broadcast.payload_bytes_max", &r.payload_bytes_max, w.payload_bytes_max),
        clients_max: d.keep("broadcast.clients_max", &r.clients_max, w.clients_max),
        // Counted beside the library.
        clients_max_per_ip: d.take(
            "broadcast.clients_max_per_ip",
            &r.clients_max_per_ip,
            w.clients_max_per_ip,
        ),
    }
}

fn calls(running: &Calls, wanted: Calls, d: &mut Diff) -> Calls {
    let (r, w) = (running, wanted);
    Calls {
        seat_count: d.take("calls.seat_count", &r.seat_count, w.seat_count),
        seat_timeout: d.take("calls.seat_timeout", &r.seat_timeout, w.seat_timeout),
        ws_handshake_timeout: d.take(
            "calls.ws_handshake_timeout",
            &r.ws_handshake_timeout,
            w.ws_handshake_timeout,
        ),
        ws_join_timeout: d.take("calls.ws_join_timeout", &r.ws_join_timeout, w.ws_join_timeout),
        ws_ping_interval: d.take("calls.ws_ping_interval", &r.ws_ping_interval, w.ws_ping_interval),
        ws_read_timeout: d.take("calls.ws_read_timeout", &r.ws_read_timeout, w.ws_read_timeout),
        origin: d.take("calls.origin", &r.origin, w.origin),
        body_bytes_max: d.take("calls.max_body_bytes", &r.body_bytes_max, w.body_bytes_max),
        calls_max: d.keep("calls.calls_max", &r.calls_max, w.calls_max),
        seat_rate_per_ip: d.take("calls.seat_rate_per_ip", &r.seat_rate_per_ip, w.seat_rate_per_ip),
    }
}

fn devices(running: &Devices, wanted: Devices, d: &mut Diff) -> Devices {
    let (r, w) = (running, wanted);
    Devices {
        realm: d.keep("devices.realm", &r.realm, w.realm),
        require_token: d.take("devices.require_token", &r.require_token, w.require_token),
        allow_unregistered: d.take("devices.allow_unregistered", &r.allow_unregistered, w.allow_unregistered),
        report_undeliverable: d.take(
            "devices.report_undeliverable",
            &r.report_undeliverable,
            w.report_undeliverable,
        ),
        jwt_secret: d.take("devices.jwt_secret", &r.jwt_secret, w.jwt_secret),
        max_clients: d.take("devices.max_clients", &r.max_clients, w.max_clients),
        heartbeat_interval: d.take("devices.heartbeat_interval", &r.heartbeat_interval, w.heartbeat_interval),
        list_update_bytes_per_second: d.take(
            "devices.list_update_bytes_per_second",
            &r.list_update_bytes_per_second,
            w.list_update_bytes_per_second,
        ),
        roles: d.take("devices.roles", &r.roles, w.roles),
    }
}

/// The file is opened anew for each batch, so a log that was rotated needs no reload.
fn events(running: &Events, wanted: Events, d: &mut Diff) -> Events {
    let (r, w) = (running, wanted);
    Events {
        sinks: d.keep("events.sinks", &r.sinks, w.sinks),
        file: d.keep("events.file", &r.file, w.file),
        webhook_url: d.keep("events.webhook_url", &r.webhook_url, w.webhook_url),
        webhook_token: d.keep("events.webhook_token", &r.webhook_token, w.webhook_token),
        events_max: d.keep("events.events_max", &r.events_max, w.events_max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn settings(text: &str) -> Settings {
        let none: [(&str, &str); 0] = [];
        config::load("test", text, none).expect("settings")
    }

    #[test]
    fn nothing_changes_by_reading_the_same_again() {
        let again = || settings(config::BUILT_IN);
        let merged = merge(&again(), again());
        assert!(merged.changed.is_empty() && merged.needs_restart.is_empty(), "{:?}", merged.changed);
    }

    #[test]
    fn what_can_change_is_taken_over_and_the_rest_is_named_and_stays() {
        let door = |rest: &str| format!("[[listener]]\nname = 'a'\nbind = '127.0.0.1:1'\n{rest}");
        let running = settings(&format!(
            "[server]\nshards = 1\nmessage_rate = 5\n{}",
            door("serves = ['binary']\nallowed_origins = ['https://one.example']")
        ));
        let wanted = format!(
            "[server]\nshards = 2\nmessage_rate = 6\noutbox_hard_bytes = 262144\n[auth]\napi_keys = ['a:b']\n{}",
            door("serves = ['devices']\nallowed_origins = ['https://two.example']")
        );
        let Merged { settings: merged, changed, needs_restart } = merge(&running, settings(&wanted));
        assert_eq!(changed, ["server.message_rate", "listener.allowed_origins", "auth.api_keys"]);
        assert_eq!(needs_restart, ["server.shards", "server.outbox_hard_bytes", "listener.serves"]);
        assert_eq!((merged.server.shards, merged.server.message_rate), (Some(1), Some(6)));
        let listener = merged.listeners.iter().find(|it| it.name == "a").expect("it stays");
        assert_eq!(listener.serves, [config::Service::Binary]);
        assert_eq!(listener.origins, config::Origins::Only(vec!["https://two.example".to_owned()]));
    }

    #[test]
    fn limits_of_an_address_and_proxies_change_and_the_bytes_of_queues_stay() {
        let running = settings("");
        let wanted = settings(
            "[server]\nmax_connections_per_ip = 5\nconnect_rate_per_ip = 5\nfailed_logins_per_minute = 5\n\
             limit_loopback = true\naddresses_max = 5000\ntrusted_proxies = ['10.0.0.0/8']\nproxy_protocol = true\n\
             inbox_bytes_max = 8388608\noverflow_bytes_max = 8388608\n\
             [rooms]\nsignin_rate_per_ip = 5\ncreate_rate_per_ip = 5\n\
             [broadcast]\nclients_max_per_ip = 5\n[calls]\nseat_rate_per_ip = 5",
        );
        let Merged { settings: merged, changed, needs_restart } = merge(&running, wanted.clone());
        let expected = [
            "server.max_connections_per_ip",
            "server.connect_rate_per_ip",
            "server.failed_logins_per_minute",
            "server.limit_loopback",
            "server.addresses_max",
            "server.trusted_proxies",
            "listener.proxy_protocol",
            "rooms.signin_rate_per_ip",
            "rooms.create_rate_per_ip",
            "broadcast.clients_max_per_ip",
            "calls.seat_rate_per_ip",
        ];
        assert!(changed.iter().all(|key| expected.contains(key)), "{changed:?}");
        assert!(expected.iter().all(|key| changed.contains(key)), "{changed:?}");
        assert_eq!(needs_restart, ["server.inbox_bytes_max", "server.overflow_bytes_max"]);
        assert_eq!(merged.server.proxies, wanted.server.proxies);
        assert_eq!(merged.server.inbox_bytes_max, running.server.inbox_bytes_max);
    }

    #[test]
    fn a_listener_more_or_less_needs_a_restart_and_the_others_stay_in_their_order() {
        let door = |name: &str| {
            format!("[[listener]]\nname = '{name}'\nbind = '127.0.0.1:0'\nserves = ['binary']\n")
        };
        let running = settings(&(door("a") + &door("b")));
        let merged = merge(&running, settings(&(door("c") + &door("b"))));
        assert_eq!(merged.needs_restart, ["listener"]);
        assert_eq!(merged.settings.listeners, running.listeners);
    }

    #[test]
    fn of_credentials_the_key_is_named_that_has_changed() {
        let jwt = |secret: &str| format!("[auth]\nauth_method = 'jwt'\ntoken_secret = '{secret}'");
        let changed = |from: &str, to: &str| merge(&settings(from), settings(to)).changed;
        assert_eq!(changed(&jwt("one"), &jwt("two")), ["auth.token_secret"]);
        assert_eq!(
            changed(&jwt("one"), "[auth]\nauth_method = 'none'\ntoken_secret = 'one'"),
            ["auth.auth_method"]
        );
        assert_eq!(changed("[auth]\napi_keys = ['a:b']", "[auth]\napi_keys = ['a:c']"), ["auth.api_keys"]);
    }
}
