//! The whole way from text and variables to settings.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::auth::Credentials;

/// As the documentation of the binary protocol prints it.
const DOCUMENTED: &str = r#"[server]
host = "127.0.0.1"
port = 8080
max_connections = 1000
heartbeat_interval = 30
tls_enabled = false

[auth]
token_secret = "your-secret-key-change-in-production"
token_expiry = 3600
auth_method = "token"
api_keys = [
    "test_client_1:test_token_1",
    "test_client_2:test_token_2"
]

[logging]
level = "info"
format = "json"
console_output = true

[metrics]
enabled = true
port = 9090
host = "127.0.0.1"
"#;

mod certificates;
mod dialects;
mod overrides;

const NO_VARIABLES: [(&str, &str); 0] = [];

fn loaded(text: &str) -> Settings {
    load("test.toml", text, NO_VARIABLES).unwrap_or_else(|errors| panic!("{errors}"))
}

fn with(text: &str, variables: &[(&str, &str)]) -> Settings {
    load("test.toml", text, variables.iter().copied()).unwrap_or_else(|errors| panic!("{errors}"))
}

fn refused(text: &str) -> String {
    refused_with(text, &[])
}

fn refused_with(text: &str, variables: &[(&str, &str)]) -> String {
    match load("test.toml", text, variables.iter().copied()) {
        Ok(settings) => panic!("this must not load: {settings:?}"),
        Err(errors) => errors.to_string(),
    }
}

/// `main binary 127.0.0.1:8080 …` for each listener.
fn doors(settings: &Settings) -> Vec<String> {
    let show = |listener: &Listener| {
        let serves: Vec<_> = listener.serves.iter().map(|service| service.name()).collect();
        let addresses: Vec<_> = listener.addresses.iter().map(|a| a.socket.to_string()).collect();
        format!("{} {} {}", listener.name, serves.join("+"), addresses.join(" "))
    };
    settings.listeners.iter().map(show).collect()
}

#[test]
fn the_documented_file_loads_as_it_stands() {
    let settings = loaded(DOCUMENTED);
    assert_eq!(DOCUMENTED, include_str!("../../tests/vectors/app-config.toml"));
    assert_eq!(
        doors(&settings),
        ["main binary+rooms+broadcast+calls+devices 127.0.0.1:8080", "metrics metrics 127.0.0.1:9090"]
    );
    assert_eq!(settings.server.max_connections, 1000);
    assert_eq!(settings.server.heartbeat_interval, Some(Duration::from_secs(30)));
    assert_eq!(settings.auth.token_expiry, Duration::from_secs(3600));
    assert!(settings.auth.token_secret.is_some());
    let Credentials::Token(keys) = &settings.auth.credentials else { panic!("tokens") };
    assert_eq!(keys.len(), 2);
    let logging = Logging { level: LogLevel::Info, format: LogFormat::Json, console_output: true };
    assert_eq!(settings.logging, logging);
    assert_eq!(settings.warnings, Vec::<String>::new());
}

#[test]
fn the_built_in_file_is_quiet_and_on_loopback() {
    let settings = loaded(BUILT_IN);
    assert_eq!(
        doors(&settings),
        [
            "main binary+rooms+broadcast+calls+devices 127.0.0.1:8080 [::1]:8080",
            "devices devices 127.0.0.1:8081 [::1]:8081",
            "rooms-api rooms-api 127.0.0.1:8001 [::1]:8001",
            "devices-health devices-health 127.0.0.1:8082 [::1]:8082",
            "calls-health calls-health 127.0.0.1:8090 [::1]:8090",
            "metrics metrics 127.0.0.1:9090 [::1]:9090",
        ]
    );
    assert_eq!(settings.warnings, Vec::<String>::new());
}

#[test]
fn an_empty_file_means_the_documented_defaults() {
    let settings = loaded("");
    assert_eq!(
        doors(&settings),
        ["main binary+rooms+broadcast+calls+devices 127.0.0.1:8080", "metrics metrics 127.0.0.1:9090"]
    );
    assert!(settings.warnings[0].contains("no client can log in"), "{:?}", settings.warnings);
}

/// Beyond loopback only the dialect that asks everyone for credentials is open unasked.
#[test]
fn without_listeners_all_dialects_are_served_on_loopback_alone() {
    let first = |text: &str| doors(&loaded(text)).swap_remove(0);
    let five = "main binary+rooms+broadcast+calls+devices";
    assert_eq!(first("[server]\nhost = \"::1\""), format!("{five} [::1]:8080"));
    assert_eq!(first("[server]\nhost = \"localhost\""), format!("{five} 127.0.0.1:8080 [::1]:8080"));
    assert_eq!(first("[server]\nhost = \"0.0.0.0\""), "main binary 0.0.0.0:8080");
    assert_eq!(first("[server]\nhost = \"\""), "main binary 0.0.0.0:8080 [::]:8080");
    let asked = "[server]\nhost = \"\"\nserves = [\"calls\"]";
    assert_eq!(first(asked), "main calls 0.0.0.0:8080 [::]:8080");
}

/// The comments of the shipped file teach the defaults, so they must be true.
#[test]
fn defaults_in_comments_are_the_real_ones() {
    let mut uncommented = 0;
    let lines = BUILT_IN.lines().map(|line| {
        let shown = line.strip_prefix("# ").filter(|rest| !rest.ends_with("# no default"));
        let is_key = |key: &str| !key.is_empty() && key.bytes().all(|c| c.is_ascii_lowercase() || c == b'_');
        match shown {
            Some(rest) if rest.split_once(" = ").is_some_and(|(key, _)| is_key(key)) => {
                uncommented += 1;
                rest
            }
            _ => line,
        }
    });
    let explicit = loaded(&lines.collect::<Vec<_>>().join("\n"));
    assert!(uncommented > 70, "only {uncommented} defaults are shown");
    let silent = loaded(BUILT_IN);
    assert_eq!(explicit.server, silent.server);
    assert_eq!(explicit.binary, silent.binary);
    assert_eq!(format!("{:?}", explicit.rooms), format!("{:?}", silent.rooms));
    assert_eq!(explicit.broadcast, silent.broadcast);
    assert_eq!(explicit.calls, silent.calls);
    assert_eq!(explicit.devices, silent.devices);
    assert_eq!(explicit.events, silent.events);
    assert_eq!(explicit.listeners, silent.listeners);
    assert_eq!(explicit.logging, silent.logging);
    let nothing = loaded("");
    assert_eq!(format!("{:?}", nothing.rooms), format!("{:?}", silent.rooms));
    assert_eq!((&nothing.calls, &nothing.devices), (&silent.calls, &silent.devices));
}

/// Keys without a default are shown with an example.
#[test]
fn examples_in_comments_are_known_keys() {
    let mut section = "";
    for line in BUILT_IN.lines() {
        if line.starts_with('[') {
            section = line;
        }
        let Some(example) = line.strip_prefix("# ").filter(|rest| rest.ends_with("# no default")) else {
            continue;
        };
        match load("test.toml", &format!("{section}\n{example}"), NO_VARIABLES) {
            Ok(_) => {}
            // The file of keys is not there, and a certificate does not come alone.
            Err(errors) => {
                let words = errors.to_string();
                assert!(
                    words.contains("cannot be read") || words.contains("needs both"),
                    "{example}: {words}"
                );
            }
        }
    }
    let roles: Vec<_> = BUILT_IN.lines().filter_map(|line| line.strip_prefix("#   ")).collect();
    let from = roles.iter().position(|line| line.starts_with("[devices.roles")).expect("an example");
    assert_eq!(loaded(&roles[from..].join("\n")).devices.roles.len(), 1);
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_one() {
    assert_eq!(
        refused("[server]\nhost = \"127.0.0.1\"\nprot = 1\n"),
        "test.toml:3: unknown key `prot` in [server], did you mean `port`?"
    );
    assert_eq!(
        refused("\n[sever]\nport = 1"),
        "test.toml:2: unknown section `sever`, did you mean `server`?"
    );
    assert_eq!(
        refused("[[listener]]\nname = \"a\"\nbind = \":0\"\nserves = [\"binary\"]\nexpose = true"),
        "test.toml:5: unknown key `expose` in [[listener]] 1, did you mean `expose_shard`?"
    );
    assert!(refused("prot = 1").starts_with("test.toml:1: unknown key `prot`"));
    assert!(refused("server.prot = 1").contains("did you mean `port`?"));
    assert!(refused("[server.port]\nx = 1").contains("`port` in [server] must be a whole number"));
}

#[test]
fn every_problem_is_reported_in_the_order_of_lines() {
    let text = "[auth]\nauth_method = \"magic\"\n[server]\nport = \"x\"\nshards = 65\nshrads = 1\n[binray]\n";
    let refusal = refused_with(text, &[("SIGMUX_SERVER_PROT", "1")]);
    let lines: Vec<_> = refusal.lines().collect();
    assert_eq!(
        lines,
        [
            "test.toml:2: `auth_method` in [auth] must be \"token\" or \"jwt\" or \"mtls\" or \"none\"",
            "test.toml:4: `port` in [server] must be a whole number from 0 to 65535 (found: string)",
            "test.toml:5: `shards` in [server] must be a whole number from 0 to 64",
            "test.toml:6: unknown key `shrads` in [server], did you mean `shards`?",
            "test.toml:7: unknown section `binray`, did you mean `binary`?",
            "SIGMUX_SERVER_PROT: unknown variable, did you mean `SIGMUX_SERVER_PORT`?",
        ]
    );
}

#[test]
fn text_that_is_not_toml_is_refused_with_its_line() {
    assert!(refused("[server]\nport = \n").starts_with("test.toml:2: not TOML: "));
    assert!(refused("[server]\nport = 1\nport = 2\n").starts_with("test.toml:3: not TOML: "));
}

#[test]
fn no_message_repeats_a_secret() {
    for text in [
        "[auth]\ntoken_secret = \"hush\n",
        "[auth]\ntoken_secret = [\"hush\"]",
        "[auth]\ntoken_secret = hush",
        "[auth]\napi_keys = \"one:hush\"",
        "[auth]\napi_keys = [\"hush\"]",
        "[auth]\napi_keys = [\"a:hush\", \"a:hush\"]",
        "[auth]\napi_keys = [\"a:hush\", 5]",
        "[auth]\ntoken_secert = \"hush\"",
        "[auth]\nauth_method = \"hush\"",
    ] {
        assert!(!refused(text).contains("hush"), "{}", refused(text));
    }
    assert!(!refused("[auth]\ntoken_secret = 31337").contains("31337"));
    assert!(!refused_with("", &[("SIGMUX_AUTH_API_KEYS", "a:1,hush")]).contains("hush"));
    let settings = loaded("[auth]\ntoken_secret = \"hush\"\napi_keys = [\"a:hush\"]");
    assert!(!format!("{settings:?}").contains("hush"));
}

#[test]
fn variables_win_over_the_file() {
    let settings = with(
        DOCUMENTED,
        &[
            ("SIGNAL_MANAGER_SERVER_HOST", "0.0.0.0"),
            ("SIGNAL_MANAGER_SERVER_PORT", "9000"),
            ("SIGMUX_SERVER_PORT", "9001"),
            ("SIGNAL_MANAGER_AUTH_TOKEN_SECRET", "your-secret"),
            ("SIGNAL_MANAGER_LOGGING_LEVEL", "DEBUG"),
            ("SIGMUX_AUTH_API_KEYS", "one:first, two:second"),
            ("SIGMUX_SERVER_SERVES", "binary,metrics"),
            ("SIGMUX_METRICS_ENABLED", "false"),
            ("SIGMUX_SERVER_SESSION_TIMEOUT", "2h"),
            ("SIGMUX_BINARY_STAMP_SENDER", "0"),
            ("SIGMUX_CONFIG", "elsewhere.toml"),
            ("HOME", "/root"),
        ],
    );
    assert_eq!(doors(&settings), ["main binary+metrics 0.0.0.0:9001"]);
    let secret = settings.auth.token_secret.as_ref().expect("a secret");
    assert_eq!(secret.expose(), "your-secret");
    assert_eq!(settings.logging.level, LogLevel::Debug);
    assert_eq!(settings.server.session_timeout, Duration::from_secs(7200));
    assert!(!settings.binary.stamp_sender);
    let Credentials::Token(keys) = &settings.auth.credentials else { panic!("tokens") };
    let ids: Vec<_> = keys.iter().map(|key| key.client_id.as_str()).collect();
    assert_eq!(ids, ["one", "two"]);
}

#[test]
fn a_variable_with_a_wrong_value_is_named() {
    assert_eq!(
        refused_with("[server]\nport = 1", &[("SIGMUX_SERVER_PORT", "high")]),
        "SIGMUX_SERVER_PORT: `port` in [server] must be a whole number from 0 to 65535"
    );
    let broken = [(OsString::from("SIGMUX_SERVER_HOST"), OsString::from_vec(vec![0xFF]))];
    let errors = load("test.toml", "", broken).expect_err("not UTF-8");
    assert_eq!(errors.to_string(), "SIGMUX_SERVER_HOST: the value is not UTF-8");
}

#[test]
fn an_unknown_documented_variable_is_a_warning_only() {
    let settings = with(DOCUMENTED, &[("SIGNAL_MANAGER_SERVER_PROT", "1")]);
    assert_eq!(
        settings.warnings,
        [
            "SIGNAL_MANAGER_SERVER_PROT: unknown variable, it has no effect, did you mean `SIGNAL_MANAGER_SERVER_PORT`?"
        ]
    );
}

#[test]
fn listeners_replace_the_door_of_server_and_metrics_keeps_its_own() {
    let text = r#"
[server]
port = 1
[[listener]]
name = "main"
bind = "localhost:0"
serves = ["binary"]
expose_shard = true
allowed_origins = ["https://Example.org"]
[[listener]]
name = "echo"
bind = "[::1]:7000"
serves = ["echo"]
"#;
    let settings = loaded(text);
    assert_eq!(
        doors(&settings),
        ["main binary 127.0.0.1:0 [::1]:0", "echo echo [::1]:7000", "metrics metrics 127.0.0.1:9090"]
    );
    let main = &settings.listeners[0];
    assert!(main.expose_shard);
    assert_eq!(main.origins, Origins::Only(vec!["https://example.org".to_owned()]));
    assert_eq!(settings.listeners[1].origins, Origins::Any);
    let inline = "listener = [{ name = \"x\", bind = \":0\", serves = [\"echo\"] }]\nmetrics.enabled = false";
    assert_eq!(doors(&loaded(inline)), ["x echo 0.0.0.0:0 [::]:0"]);
}

#[test]
fn a_port_in_the_environment_that_has_no_effect_is_told() {
    let text = "[[listener]]\nname = \"a\"\nbind = \":0\"\nserves = [\"binary\"]\n[auth]\nauth_method = \"jwt\"\ntoken_secret = \"0123456789012345678901234567890123\"";
    let settings = with(text, &[("SIGNAL_MANAGER_SERVER_PORT", "9000")]);
    assert_eq!(
        settings.warnings,
        ["SIGNAL_MANAGER_SERVER_PORT has no effect, since no [[listener]] is called `main`"]
    );
}

#[test]
fn a_listener_says_all_that_is_wrong_with_it() {
    let text = r#"[[listener]]
name = "a b"
bind = "example.org:1"
serves = ["binary", "binray", "binary"]
allowed_origins = ["example.org"]
tls_cert_path = "x"
[[listener]]
serves = []
"#;
    assert_eq!(
        refused(text).lines().collect::<Vec<_>>(),
        [
            "test.toml:2: `name` of a listener must be 1 to 64 visible ASCII characters",
            "test.toml:3: `bind` of listener a b must be \"host:port\", where host is an IP address, \"localhost\", or nothing for all addresses",
            "test.toml:4: listener a b serves an unknown service `binray`, did you mean `binary`?",
            "test.toml:4: listener a b serves `binary` twice",
            "test.toml:5: `example.org` in `allowed_origins` is no origin; write \"https://example.org\" or \"*\"",
            "test.toml:6: TLS needs both `tls_cert_path` and `tls_key_path`",
            "test.toml:7: [[listener]] 2 needs `name`",
            "test.toml:7: [[listener]] 2 needs `bind`",
            "test.toml:8: `serves` of [[listener]] 2 is empty",
        ]
    );
    assert!(refused("[listener]\nname = \"x\"").contains("double brackets"));
    assert!(refused("[[server]]\nport = 1").contains("single brackets"));
}

#[test]
fn services_of_later_versions_are_left_out_with_a_warning() {
    let text = r#"
[[listener]]
name = "main"
bind = "localhost:8080"
serves = ["binary", "admin"]
[[listener]]
name = "page"
bind = "localhost:8001"
serves = ["admin"]
[cluster]
backplane = "redis"
[auth]
api_keys = ["a:b"]
"#;
    let settings = with(text, &[("SIGMUX_CLUSTER_NODE_ID", "5")]);
    assert_eq!(doors(&settings), ["main binary 127.0.0.1:8080 [::1]:8080", "metrics metrics 127.0.0.1:9090"]);
    assert_eq!(
        settings.warnings,
        [
            "listener main: `admin` is not available in this version; it is left out",
            "listener page: `admin` is not available in this version; it is left out",
            "listener page: nothing is left to serve; localhost:8001 is not opened",
            "[cluster] is not available in this version; its keys are not looked at",
        ]
    );
    let nothing = "[server]\nserves = [\"admin\"]\n[metrics]\nenabled = false";
    assert_eq!(refused(nothing), "test.toml: nothing would listen");
}

#[test]
fn two_services_that_claim_one_path_are_refused() {
    assert_eq!(
        refused("[server]\nport = 1\nserves = [\"metrics\", \"rooms-api\"]"),
        "test.toml:2: listener main: `metrics` and `rooms-api` both claim /metrics"
    );
    assert!(
        refused("[server]\nserves = [\"binary\", \"echo\"]").contains("`binary` and `echo` both claim /")
    );
}

#[test]
fn two_listeners_cannot_share_an_address_or_a_name() {
    let two = |left: &str, right: &str| {
        format!(
            "[metrics]\nport = 0\n[[listener]]\nname = \"a\"\nserves = [\"binary\"]\nbind = \"{left}\"\n\
             [[listener]]\nname = \"b\"\nserves = [\"echo\"]\nbind = \"{right}\""
        )
    };
    for (left, right, shared) in [
        ("127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:1"),
        ("localhost:1", "[::1]:1", "[::1]:1"),
        (":1", "127.0.0.1:1", "127.0.0.1:1"),
        ("[::1]:1", ":1", "[::]:1"),
    ] {
        let message = format!("test.toml:10: listeners `a` and `b` both want {shared}");
        assert_eq!(refused(&two(left, right)), message, "{left} {right}");
    }
    for (left, right) in [("127.0.0.1:0", "127.0.0.1:0"), ("127.0.0.1:1", "[::1]:1"), ("0.0.0.0:1", "[::]:1")]
    {
        assert_eq!(doors(&loaded(&two(left, right))).len(), 3, "{left} {right}");
    }
    let same_name = two("127.0.0.1:1", "127.0.0.1:2").replace("name = \"b\"", "name = \"a\"");
    assert!(refused(&same_name).contains("two listeners are called `a`"));
    let metrics = "[server]\nport = 9090\n";
    assert!(refused(metrics).contains("listeners `main` and `metrics` both want 127.0.0.1:9090"));
}

#[test]
fn what_this_version_lacks_is_refused_and_not_ignored() {
    let text = refused("[events]\nsinks = [\"redis\"]");
    assert!(text.starts_with("test.toml:2: "), "{text}");
    assert!(text.contains("the sink `redis` is not available in this version"), "{text}");
}

#[test]
fn known_secrets_beyond_loopback_are_told_aloud() {
    let exposed = with(DOCUMENTED, &[("SIGNAL_MANAGER_SERVER_HOST", "0.0.0.0")]);
    assert_eq!(exposed.warnings.len(), 2, "{:?}", exposed.warnings);
    assert!(exposed.warnings.iter().all(|warning| warning.starts_with("INSECURE: ")));
    assert!(exposed.warnings[0].contains("token_secret") && exposed.warnings[1].contains("api_keys"));

    let open = loaded("[server]\nhost = \"::\"\n[auth]\nauth_method = \"none\"");
    assert!(open.warnings[0].contains("every client id is believed"), "{:?}", open.warnings);
    let shut = loaded("[server]\nhost = \"::1\"\n[auth]\nauth_method = \"none\"");
    assert_eq!(shut.warnings, Vec::<String>::new());
}

#[test]
fn jwt_needs_something_to_check_with() {
    assert_eq!(
        refused("[auth]\nauth_method = \"jwt\""),
        "test.toml:2: the method \"jwt\" needs `token_secret` or `jwks_path` in [auth]"
    );
    assert!(refused("[auth]\nauth_method = \"jwt\"\ntoken_secret = \"\"").contains("needs `token_secret`"));
    let short = loaded("[auth]\nauth_method = \"jwt\"\ntoken_secret = \"short\"");
    assert!(short.warnings[0].contains("can be guessed"), "{:?}", short.warnings);
}

#[test]
fn a_key_set_is_read_and_checked_at_once() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    let text = |path: &str| format!("[auth]\nauth_method = \"jwt\"\njwks_path = \"{path}\"");
    let path = file.path().display().to_string();
    assert_eq!(
        refused(&text(&path)),
        format!("test.toml:3: {path} is not a JWKS: a JSON object with an array `keys`")
    );
    file.write_all(include_bytes!("../auth/vectors/jwks.json")).expect("written");
    let settings = loaded(&text(&path));
    let Credentials::Jwt { secret: None, public_keys: Some(keys) } = &settings.auth.credentials else {
        panic!("public keys alone: {:?}", settings.auth.credentials)
    };
    assert_eq!(keys.count(), 3);
    assert!(refused(&text("/nowhere/jwks.json")).contains("/nowhere/jwks.json cannot be read"));
}

#[test]
fn the_data_folder_may_stand_above_the_sections() {
    let at = |settings: Settings| settings.server.data_dir;
    assert_eq!(at(loaded("")), PathBuf::from("sigmux-data"));
    assert_eq!(at(loaded("data_dir = \"top\"")), PathBuf::from("top"));
    assert_eq!(at(loaded("[server]\ndata_dir = \"own\"")), PathBuf::from("own"));
    assert_eq!(at(with("data_dir = \"top\"", &[("SIGMUX_SERVER_DATA_DIR", "var")])), PathBuf::from("var"));
    assert_eq!(at(with("[server]\ndata_dir = \"own\"", &[("SIGMUX_DATA_DIR", "var")])), PathBuf::from("var"));
    assert!(refused("data_dir = \"top\"\n[server]\ndata_dir = \"own\"").contains("given twice"));
    assert!(refused("[server]\ndata_dir = \"\"").contains("must be a path"));
}

#[test]
fn events_go_to_a_file_in_the_data_folder() {
    let settings = loaded("[server]\ndata_dir = \"d\"\n[events]\nsinks = [\"file\", \"log\", \"file\"]");
    let expected = Events {
        sinks: vec![Sink::File, Sink::Log],
        file: PathBuf::from("d/events.jsonl"),
        events_max: 4096,
        webhook_url: None,
        webhook_token: None,
    };
    assert_eq!(settings.events, expected);
    assert_eq!(loaded("[events]\nsinks = []").events.sinks, []);
    assert!(refused("[events]\nsinks = [\"fiel\"]").contains("unknown sink `fiel`, did you mean `file`?"));
}

#[test]
fn limits_that_contradict_each_other_are_refused() {
    for (text, message) in [
        ("max_message_bytes = 65555", "`max_message_bytes` in [server] must be a whole number from 65556"),
        ("outbox_soft_bytes = 2000000", "must not exceed `outbox_hard_bytes`"),
        ("tunnel_window_bytes = 2000000", "must not exceed `outbox_hard_bytes`"),
        ("receive_buffers = 100", "must be a power of two"),
        ("drain_seconds = -1", "`drain_seconds` in [server] must be a number of seconds"),
        ("hold_milliseconds = \"2h\"", "from 1ms to 1m"),
        ("session_timeout = true", "(found: boolean)"),
    ] {
        let refusal = refused(&format!("[server]\n{text}"));
        assert!(refusal.starts_with("test.toml:2: ") && refusal.contains(message), "{refusal}");
    }
    let settings = loaded("[server]\nhold_milliseconds = \"0.1s\"\nheartbeat_interval = 0\nshards = 2");
    assert_eq!(settings.server.hold, Duration::from_millis(100));
    assert_eq!(settings.server.heartbeat_interval, None);
    assert_eq!(settings.server.shards, Some(2));
    let small = loaded("[server]\noutbox_hard_bytes = 200000").server;
    assert_eq!((small.outbox_soft_bytes, small.tunnel_window_bytes), (200_000, 200_000));
}

#[test]
fn trusted_proxies_are_addresses_and_the_proxy_protocol_needs_some() {
    let listener =
        |key: &str| format!("[[listener]]\nname = \"a\"\nbind = \":0\"\nserves = [\"binary\"]\n{key}");
    let trusted = "[server]\ntrusted_proxies = [\"10.0.0.0/8\", \"2001:db8::1\"]\n";
    let settings = loaded(&format!("{trusted}proxy_protocol = true\n{}", listener("")));
    let proxies = &settings.server.proxies;
    let is_trusted = |ip: &str| proxies.contains(ip.parse().expect("an address"));
    assert!(is_trusted("10.1.2.3") && is_trusted("2001:db8::1") && !is_trusted("2001:db8::2"));
    let speaks = |settings: Settings| settings.listeners.iter().map(|l| l.proxy_protocol).collect::<Vec<_>>();
    assert_eq!(speaks(settings), [true, false], "the port of [metrics] is for those within");
    assert_eq!(speaks(loaded(&format!("{trusted}proxy_protocol = true"))), [true, false]);
    let own = listener("proxy_protocol = false");
    assert_eq!(speaks(loaded(&format!("{trusted}proxy_protocol = true\n{own}"))), [false, false]);
    let own = listener("proxy_protocol = true");
    assert_eq!(speaks(loaded(&format!("{trusted}{own}"))), [true, false]);

    assert!(
        refused(&own)
            .contains("listener a has `proxy_protocol`, but `trusted_proxies` in [server] names nobody")
    );
    let everybody = loaded("[server]\ntrusted_proxies = [\"::/0\"]").warnings;
    assert!(
        everybody.iter().any(|warning| warning.starts_with("INSECURE: `trusted_proxies`")),
        "{everybody:?}"
    );
    let wrong = refused("[server]\ntrusted_proxies = [\"10.0.0.0/8\", \"10.0.0.0/33\", \"lb.example\"]");
    for entry in ["10.0.0.0/33", "lb.example"] {
        assert!(
            wrong.contains(&format!("test.toml:2: `{entry}` in `trusted_proxies` is no address")),
            "{wrong}"
        );
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let errors =
        load_file(Some(Path::new("/nowhere/sigmux.toml")), &Overrides::default()).expect_err("no file");
    assert!(errors.to_string().starts_with("/nowhere/sigmux.toml: cannot be read: "), "{errors}");
}

#[test]
fn an_audit_log_is_kept_where_a_file_is_named() {
    assert_eq!(loaded("").audit, None);
    assert_eq!(loaded("[audit]\nentries_max = 16").audit, None);
    let audit = loaded("[audit]\nfile = \"a.jsonl\"").audit.expect("a file is named");
    assert_eq!((audit.file, audit.entries_max), ("a.jsonl".into(), 16_384));
    assert!(refused("[audit]\nfile = \"\"").contains("must be a path"));
}

#[test]
fn a_webhook_needs_an_address_and_its_token_shows_nowhere() {
    let complaint = refused("[events]\nsinks = [\"webhook\"]");
    assert!(complaint.contains("needs `webhook_url`"), "{complaint}");
    let events = loaded(
        "[events]\nsinks = [\"log\", \"webhook\"]\nwebhook_url = \"http://127.0.0.1:9/x\"\nwebhook_token = \"hush\"",
    )
    .events;
    assert_eq!(events.sinks, [Sink::Log, Sink::Webhook]);
    assert!(!format!("{events:?}").contains("hush"));
    assert!(refused("[events]\nwebhook_url = \"ftp://x\"").contains("must be an address"));
}
