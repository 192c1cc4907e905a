//! Who wins: flags, variables, `.env`, the file.

use super::*;

fn overrides(flags: &[(&'static str, &str)], variables: &[(&str, &str)], dot_env: Option<&str>) -> Overrides {
    Overrides {
        variables: variables.iter().map(|(name, value)| (name.into(), value.into())).collect(),
        dot_env: dot_env.map(str::to_owned),
        flags: flags.iter().map(|(key, value)| (*key, (*value).to_owned())).collect(),
    }
}

fn overridden(
    text: &str,
    flags: &[(&'static str, &str)],
    variables: &[(&str, &str)],
    dot_env: Option<&str>,
) -> Settings {
    load_with("test.toml", text, &overrides(flags, variables, dot_env))
        .unwrap_or_else(|errors| panic!("{errors}"))
}

fn refusal(flags: &[(&'static str, &str)], variables: &[(&str, &str)], dot_env: Option<&str>) -> String {
    load_with("test.toml", BUILT_IN, &overrides(flags, variables, dot_env))
        .expect_err("this must not load")
        .to_string()
}

/// The addresses of the listener called `name`.
fn at(settings: &Settings, name: &str) -> String {
    let listener = settings.listeners.iter().find(|listener| listener.name == name);
    let listener = listener.unwrap_or_else(|| panic!("no {name} in {:?}", doors(settings)));
    listener.addresses.iter().map(|address| address.socket.to_string()).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_port_of_the_shipped_file_follows_the_documented_variables() {
    let documented = [("SIGNAL_MANAGER_SERVER_HOST", "127.0.0.2"), ("SIGNAL_MANAGER_SERVER_PORT", "9000")];
    let settings = with(BUILT_IN, &documented);
    assert_eq!(at(&settings, "main"), "127.0.0.2:9000");
    assert_eq!(at(&settings, "devices"), "127.0.0.1:8081 [::1]:8081");
    assert_eq!(settings.warnings, Vec::<String>::new());

    let port = with(BUILT_IN, &[("SIGMUX_SERVER_PORT", "0")]);
    assert_eq!(at(&port, "main"), "127.0.0.1:0 [::1]:0");
    assert_eq!(port.listeners[0].bind, "localhost:0");
    assert_eq!(port.listeners[0].serves, Service::DIALECTS);
    let host = with(BUILT_IN, &[("SIGMUX_SERVER_HOST", "::1")]);
    assert_eq!((at(&host, "main").as_str(), host.listeners[0].bind.as_str()), ("[::1]:8080", "[::1]:8080"));
    let serves = with(BUILT_IN, &[("SIGMUX_SERVER_SERVES", "calls,devices")]);
    assert_eq!(doors(&serves)[0], "main calls+devices 127.0.0.1:8080 [::1]:8080");

    let open = with(BUILT_IN, &[("SIGNAL_MANAGER_SERVER_HOST", "0.0.0.0")]);
    assert_eq!(open.warnings.iter().filter(|warning| warning.starts_with("INSECURE: ")).count(), 2);
    assert_eq!(
        refusal(&[], &[("SIGMUX_SERVER_HOST", "example.org")], None),
        "SIGMUX_SERVER_HOST: `host` in [server] must be an IP address, \"localhost\", or nothing for all addresses"
    );
    assert_eq!(
        refusal(&[], &[("SIGMUX_SERVER_PORT", "8081")], None).lines().next(),
        Some("SIGMUX_SERVER_PORT: listeners `main` and `devices` both want 127.0.0.1:8081")
    );
}

#[test]
fn host_and_port_of_the_file_have_no_effect_beside_listeners() {
    let text = "[server]\nport = 1\n[[listener]]\nname = \"main\"\nbind = \":2\"\nserves = [\"calls\"]";
    let settings = loaded(text);
    assert_eq!(at(&settings, "main"), "0.0.0.0:2 [::]:2");
    assert_eq!(settings.warnings, ["`port` in [server] has no effect, since the file has [[listener]]"]);
}

#[test]
fn each_key_of_calls_follows_its_documented_variable() {
    let settings = with(
        BUILT_IN,
        &[
            ("SIGNALS_ADDR", ":9000"),
            ("SIGNALS_HEALTHZ_ADDR", "127.0.0.1:9091"),
            ("SIGNALS_ORIGIN", "https://example.org"),
            ("SIGNALS_REDIS_ADDR", ":6379"),
            ("SIGNALS_SEAT_COUNT", "5"),
            ("SIGNALS_SEAT_TIMEOUT", "1m30s"),
            ("SIGNALS_WS_HANDSHAKE_TIMEOUT", "3s"),
            ("SIGNALS_WS_JOIN_TIMEOUT", "1h"),
            ("SIGNALS_WS_PING_INTERVAL", "500ms"),
            ("SIGNALS_WS_READ_TIMEOUT", "1.5s"),
            ("SIGNALS_PORT", "tcp://10.0.0.1:8080"),
        ],
    );
    let expected = Calls {
        seat_count: 5,
        seat_timeout: Duration::from_secs(90),
        ws_handshake_timeout: Some(Duration::from_secs(3)),
        ws_join_timeout: Some(Duration::from_secs(3600)),
        ws_ping_interval: Duration::from_millis(500),
        ws_read_timeout: Duration::from_millis(1500),
        origin: "https://example.org".to_owned(),
        ..loaded("").calls
    };
    assert_eq!(settings.calls, expected);
    assert_eq!(at(&settings, "main"), "0.0.0.0:9000 [::]:9000");
    assert_eq!(at(&settings, "calls-health"), "127.0.0.1:9091");
    assert!(settings.warnings.iter().any(|warning| warning.contains("Redis for [calls] has no effect")));
    let unknown = with(BUILT_IN, &[("SIGNALS_SEAT_CONT", "5")]);
    assert_eq!(
        unknown.warnings,
        ["SIGNALS_SEAT_CONT: unknown variable, it has no effect, did you mean `SIGNALS_SEAT_COUNT`?"]
    );
}

#[test]
fn a_flag_wins_over_ours_and_ours_over_the_documented_variable_and_that_over_the_file() {
    let flag = ("seat_count", "4");
    let ours = ("SIGMUX_CALLS_SEAT_COUNT", "5");
    let documented = ("SIGNALS_SEAT_COUNT", "6");
    let file = "[calls]\nseat_count = 7";
    let seats = |settings: Settings| settings.calls.seat_count;
    assert_eq!(seats(overridden(file, &[flag], &[ours, documented], None)), 4);
    assert_eq!(seats(overridden(file, &[], &[ours, documented], None)), 5);
    assert_eq!(seats(overridden(file, &[], &[documented], None)), 6);
    assert_eq!(seats(overridden(file, &[], &[], None)), 7);
    assert_eq!(
        refusal(&[("seat_timeout", "soon")], &[], None),
        "--seat-timeout: `seat_timeout` in [calls] must be a number of seconds or a string with a unit such as \"3s\", from 10ms to 1d"
    );
}

#[test]
fn the_same_order_holds_for_addresses() {
    let flag = ("addr", ":1");
    let ours = ("SIGMUX_CALLS_ADDR", ":2");
    let documented = ("SIGNALS_ADDR", ":3");
    let main = |flags: &[(&'static str, &str)], variables: &[(&str, &str)]| {
        let settings = overridden(BUILT_IN, flags, variables, None);
        let told = settings.warnings.iter().filter(|warning| warning.contains("has no effect")).cloned();
        (at(&settings, "main"), told.collect::<Vec<_>>())
    };
    assert_eq!(main(&[flag], &[ours, documented]).0, "0.0.0.0:1 [::]:1");
    assert_eq!(main(&[], &[ours, documented]).0, "0.0.0.0:2 [::]:2");
    assert_eq!(main(&[], &[documented]).0, "0.0.0.0:3 [::]:3");
    assert_eq!(main(&[], &[("SIGNALS_ADDR", "")]).0, "127.0.0.1:8080 [::1]:8080");

    let port = ("SIGMUX_SERVER_PORT", "4");
    let (address, told) = main(&[], &[documented, port]);
    assert_eq!(address, "127.0.0.1:4 [::1]:4");
    assert_eq!(told, ["SIGNALS_ADDR has no effect, since SIGMUX_SERVER_PORT moves listener main"]);
    let (address, told) = main(&[flag], &[port]);
    assert_eq!(address, "0.0.0.0:1 [::]:1");
    assert_eq!(told, ["SIGMUX_SERVER_PORT has no effect, since --addr moves listener main"]);

    assert_eq!(
        refusal(&[("addr", "8080")], &[], None),
        "--addr: the address must be \"host:port\", where host is an IP address, \"localhost\", or nothing for all addresses"
    );
}

#[test]
fn an_address_moves_the_port_for_calls_alone_before_one_that_it_shares() {
    let text = "[[listener]]\nname = \"main\"\nbind = \":1\"\nserves = [\"binary\", \"calls\"]\n\
                [[listener]]\nname = \"own\"\nbind = \":2\"\nserves = [\"calls\"]";
    let settings = overridden(text, &[("addr", ":9")], &[], None);
    assert_eq!(
        (at(&settings, "main"), at(&settings, "own")),
        ("0.0.0.0:1 [::]:1".into(), "0.0.0.0:9 [::]:9".into())
    );
}

#[test]
fn an_address_adds_a_listener_where_none_serves_the_service() {
    let text = "[server]\nhost = \"0.0.0.0\"\nport = 1\n[metrics]\nenabled = false";
    let flags = [("addr", ":2"), ("healthz_addr", "localhost:3")];
    assert_eq!(
        doors(&overridden(text, &flags, &[], None)),
        [
            "main binary 0.0.0.0:1",
            "calls calls 0.0.0.0:2 [::]:2",
            "calls-health calls-health 127.0.0.1:3 [::1]:3",
        ]
    );
}

#[test]
fn devices_follow_their_documented_variables_and_dot_env() {
    let dot_env = "PORT=9000\nJWT_SECRET=0123456789$123456789012345678901\nLOG_LEVEL=Debug\n\
                   MAX_CLIENTS=1000\nHEARTBEAT_INTERVAL=2500\nDATABASE_URL=x\n";
    let settings = overridden(BUILT_IN, &[], &[], Some(dot_env));
    assert_eq!(at(&settings, "devices"), "127.0.0.1:9000 [::1]:9000");
    assert_eq!(at(&settings, "main"), "127.0.0.1:8080 [::1]:8080");
    let devices = &settings.devices;
    let secret = devices.jwt_secret.as_ref().map(|secret| secret.expose().as_str());
    assert_eq!(secret, Some("0123456789$123456789012345678901"));
    assert_eq!(devices.max_clients, Some(1000));
    assert_eq!(devices.heartbeat_interval, Some(Duration::from_millis(2500)));
    assert_eq!(settings.server.heartbeat_interval, Some(Duration::from_secs(30)), "of this dialect alone");
    assert_eq!(settings.logging.level, LogLevel::Debug);
    assert_eq!(settings.warnings, Vec::<String>::new());
}

#[test]
fn the_environment_wins_over_dot_env_and_our_names_over_both() {
    let file = "[devices]\nmax_clients = 4\nheartbeat_interval = 4";
    let dot_env = "MAX_CLIENTS=3\nHEARTBEAT_INTERVAL=3000\nPORT=3";
    let plain = [("MAX_CLIENTS", "2"), ("HEARTBEAT_INTERVAL", "2000"), ("PORT", "2")];
    let ours = [("SIGMUX_DEVICES_MAX_CLIENTS", "1"), ("SIGMUX_DEVICES_HEARTBEAT_INTERVAL", "1")];
    let limits = |settings: &Settings| {
        (settings.devices.max_clients, settings.devices.heartbeat_interval.map(|it| it.as_secs()))
    };
    let text = format!("{file}\n[[listener]]\nname = \"d\"\nbind = \":9\"\nserves = [\"devices\"]");
    let all: Vec<_> = plain.iter().chain(&ours).copied().collect();
    let settings = overridden(&text, &[], &all, Some(dot_env));
    assert_eq!((limits(&settings), at(&settings, "d")), ((Some(1), Some(1)), "0.0.0.0:2 [::]:2".to_owned()));
    assert_eq!(limits(&overridden(&text, &[], &plain, Some(dot_env))), (Some(2), Some(2)));
    let settings = overridden(&text, &[], &[("MAX_CLIENTS", "")], Some(dot_env));
    assert_eq!((limits(&settings), at(&settings, "d")), ((Some(3), Some(3)), "0.0.0.0:3 [::]:3".to_owned()));
    assert_eq!(limits(&overridden(&text, &[], &[], None)), (Some(4), Some(4)));
}

#[test]
fn a_log_level_of_the_file_wins_over_log_level() {
    let level = |text: &str, variables: &[(&str, &str)]| with(text, variables).logging.level;
    assert_eq!(level("", &[("LOG_LEVEL", "trace")]), LogLevel::Trace);
    assert_eq!(level("[logging]\nlevel = \"warn\"", &[("LOG_LEVEL", "trace")]), LogLevel::Warn);
    assert_eq!(
        level("", &[("LOG_LEVEL", "trace"), ("SIGNAL_MANAGER_LOGGING_LEVEL", "error")]),
        LogLevel::Error
    );
    let unknown = with(BUILT_IN, &[("LOG_LEVEL", "silly")]);
    assert_eq!(unknown.logging.level, LogLevel::Info);
    assert_eq!(unknown.warnings, ["LOG_LEVEL has no effect: it is none of error, warn, info, debug, trace"]);
}

#[test]
fn a_port_that_a_platform_sets_breaks_nothing() {
    let told = |text: &str, variables: &[(&str, &str)]| {
        let settings = with(&format!("{text}\n[auth]\napi_keys = [\"a:b\"]"), variables);
        (doors(&settings).swap_remove(0), settings.warnings)
    };
    let (main, warnings) = told("[server]\nhost = \"0.0.0.0\"", &[("PORT", "3000")]);
    assert_eq!(main, "main binary 0.0.0.0:8080");
    assert_eq!(warnings, ["PORT has no effect, since no listener serves `devices` alone"]);

    let there = with(BUILT_IN, &[("PORT", "8080")]);
    assert_eq!(at(&there, "devices"), "127.0.0.1:8081 [::1]:8081");
    assert_eq!(there.warnings, ["PORT has no effect, since listener main serves `devices` there already"]);

    let alone = "[server]\nserves = [\"devices\", \"devices-health\"]";
    assert_eq!(told(alone, &[("PORT", "3000")]).0, "main devices+devices-health 127.0.0.1:3000");
    let (main, warnings) = told(alone, &[("PORT", "3000"), ("SIGMUX_SERVER_PORT", "4000")]);
    assert_eq!(main, "main devices+devices-health 127.0.0.1:4000");
    assert_eq!(warnings, ["PORT has no effect, since SIGMUX_SERVER_PORT moves listener main"]);
    assert!(refusal(&[], &[("PORT", "9090")], None).contains("both want 127.0.0.1:9090"));
    assert_eq!(refusal(&[], &[("PORT", "high")], None), "PORT: it must be a port, a number from 0 to 65535");
}

#[test]
fn names_without_a_prefix_are_for_devices_alone() {
    let text = "[server]\nserves = [\"calls\"]";
    let settings = with(text, &[("MAX_CLIENTS", "many"), ("LOG_LEVEL", "trace"), ("JWT_SECRET", "x")]);
    assert_eq!((settings.devices.max_clients, settings.logging.level), (None, LogLevel::Info));
    assert_eq!(settings.devices.jwt_secret, None);
}

#[test]
fn a_broken_dot_env_is_refused_with_its_line() {
    let broken = refusal(&[], &[], Some("PORT=1\nJWT_SECRET=\"hush\nhush"));
    assert!(broken.starts_with(".env:2: not `NAME=value`") && !broken.contains("hush"), "{broken}");
    assert_eq!(
        refusal(&[], &[], Some("\nMAX_CLIENTS=many")),
        ".env:2: MAX_CLIENTS: `max_clients` in [devices] must be a whole number from 0 to 10000000"
    );
    let settings = overridden(BUILT_IN, &[], &[], Some("SIGMUX_SERVER_PORT=1"));
    assert_eq!(
        settings.warnings,
        [".env:1: SIGMUX_SERVER_PORT has no effect there; set it in the environment"]
    );
}

#[test]
fn dot_env_is_read_where_it_is_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(read_dot_env(folder.path()), Ok(None));
    let path = folder.path().join(".env");
    fs::create_dir(&path).expect("a folder of that name");
    assert_eq!(read_dot_env(folder.path()), Ok(None));
    fs::remove_dir(&path).expect("removed");
    fs::write(&path, "PORT=1").expect("written");
    assert_eq!(read_dot_env(folder.path()), Ok(Some("PORT=1".to_owned())));
    fs::write(&path, [0xFF]).expect("written");
    let errors = read_dot_env(folder.path()).expect_err("not UTF-8");
    assert!(errors.to_string().starts_with(".env: cannot be read: "), "{errors}");
}

#[test]
fn rooms_of_an_api_key_may_stand_in_a_variable() {
    let keys = with("", &[("SIGMUX_ROOMS_API_KEYS", "a:one:r1,r2, b:two ,c:three:r3")]).rooms.api_keys;
    let shown: Vec<_> = keys.iter().map(|key| format!("{} {}", key.name, key.rooms.join("+"))).collect();
    assert_eq!(shown, ["a r1+r2", "b ", "c r3"]);
    let refusal = refused_with("", &[("SIGMUX_ROOMS_API_KEYS", "a:one,hush")]);
    assert!(refusal.contains("entry 2 of `api_keys` in [rooms] has no colon") && !refusal.contains("hush"));
}
