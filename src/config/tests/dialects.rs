//! The sections of the four text dialects.

use super::*;

fn problem(text: &str) -> String {
    let refusal = refused(text);
    assert_eq!(refusal.lines().count(), 1, "{refusal}");
    refusal
}

#[test]
fn each_section_is_read_into_its_type() {
    let settings = loaded(
        r#"
[rooms]
provider = "local"
store = "memory"
ttl_seconds = "2h"
require_id_token = false
open_delete = true
report_undeliverable = true
app_ping_seconds = 0
jwks_url = "https://id.example.org/jwks.json"
jwks_issuer = "https://id.example.org"
jwks_audience = "app"
api_keys = ["one:first", "two:second:abcd1234, efgh5678"]
signins_per_second_max = 5
[broadcast]
realm = "field"
ping_interval = 300
ping_timeout = "2s"
payload_bytes_max = 2048
clients_max = 3
[calls]
seat_count = 4
seat_timeout = "1m30s"
ws_handshake_timeout = 0
ws_join_timeout = "500ms"
origin = "*"
max_body_bytes = 512
[devices]
realm = "field"
require_token = true
jwt_secret = "hush hush hush hush hush hush hush"
max_clients = 9
heartbeat_interval = "5s"
list_update_bytes_per_second = 1024
[devices.roles.operator]
may_send = ["offer", "list"]
to = ["drone"]
[devices.roles.drone]
"#,
    );
    let rooms = &settings.rooms;
    assert_eq!((rooms.store, rooms.ttl), (RoomStore::Memory, Duration::from_secs(7200)));
    assert_eq!((rooms.require_id_token, rooms.open_delete, rooms.report_undeliverable), (false, true, true));
    assert_eq!((rooms.app_ping, rooms.signins_per_second_max), (None, 5));
    assert_eq!(rooms.jwks_url.as_deref(), Some("https://id.example.org/jwks.json"));
    assert_eq!(rooms.jwks_issuer.as_deref(), Some("https://id.example.org"));
    assert_eq!(rooms.jwks_audience.as_deref(), Some("app"));
    let key = |name: &str, key: &str, rooms: &[&str]| RoomsApiKey {
        name: name.to_owned(),
        key: crate::base::Redacted::new(key.to_owned()),
        rooms: rooms.iter().map(|room| (*room).to_owned()).collect(),
    };
    assert_eq!(rooms.api_keys, [key("one", "first", &[]), key("two", "second", &["abcd1234", "efgh5678"])]);
    let broadcast = Broadcast {
        realm: "field".to_owned(),
        ping_interval: Duration::from_millis(300),
        ping_timeout: Duration::from_secs(2),
        payload_bytes_max: 2048,
        clients_max: 3,
        clients_max_per_ip: 1000,
    };
    assert_eq!(settings.broadcast, broadcast);
    let calls = Calls {
        seat_count: 4,
        seat_timeout: Duration::from_secs(90),
        ws_handshake_timeout: None,
        ws_join_timeout: Some(Duration::from_millis(500)),
        origin: "*".to_owned(),
        body_bytes_max: 512,
        ..loaded("").calls
    };
    assert_eq!(settings.calls, calls);
    let devices = &settings.devices;
    assert!(devices.require_token && devices.jwt_secret.is_some());
    assert_eq!((devices.realm.as_str(), devices.max_clients), ("field", Some(9)));
    assert_eq!(devices.heartbeat_interval, Some(Duration::from_secs(5)));
    assert_eq!(devices.list_update_bytes_per_second, 1024);
    let role = |name: &str, may_send: Option<Vec<String>>, to: Option<Vec<String>>| Role {
        name: name.to_owned(),
        may_send,
        to,
    };
    let may_send = Some(vec!["offer".to_owned(), "list".to_owned()]);
    assert_eq!(
        devices.roles,
        [role("operator", may_send, Some(vec!["drone".to_owned()])), role("drone", None, None)]
    );
    assert!(!format!("{settings:?}").contains("hush") && !format!("{settings:?}").contains("second\""));
}

#[test]
fn each_dialect_has_its_own_realm_unless_told_otherwise() {
    let settings = loaded("");
    let realms = [&settings.binary.realm, &settings.broadcast.realm, &settings.devices.realm];
    assert_eq!(realms, ["binary", "broadcast", "devices"]);
    for section in ["binary", "broadcast", "devices"] {
        let refusal = problem(&format!("[{section}]\nrealm = \"a b\""));
        assert_eq!(refusal, "test.toml:2: `realm` must be 1 to 64 visible ASCII characters");
    }
}

#[test]
fn the_devices_heartbeat_is_that_of_the_server_unless_told_otherwise() {
    let interval = |text: &str| loaded(text).devices.heartbeat_interval;
    assert_eq!(interval(""), Some(Duration::from_secs(30)));
    assert_eq!(interval("[server]\nheartbeat_interval = 7"), Some(Duration::from_secs(7)));
    assert_eq!(interval("[server]\nheartbeat_interval = 0"), None);
    assert_eq!(interval("[devices]\nheartbeat_interval = 0"), None);
    let own = "[server]\nheartbeat_interval = 0\n[devices]\nheartbeat_interval = 3";
    assert_eq!(interval(own), Some(Duration::from_secs(3)));
}

#[test]
fn what_is_for_later_versions_is_named_as_such() {
    for (text, wanted) in [
        (
            "[rooms]\nprovider = \"cognito\"",
            "this `provider` is not available in this version, only \"local\"",
        ),
        (
            "[rooms]\nstore = \"dynamodb\"",
            "this `store` is not available in this version, only \"memory\" and \"embedded\"",
        ),
        ("[calls]\nstate = \"redis\"", "this `state` is not available in this version, only \"memory\""),
        ("[rooms]\nstore = \"disk\"", "must be \"memory\" or \"embedded\" or \"dynamodb\""),
    ] {
        let refusal = problem(text);
        assert!(refusal.starts_with("test.toml:2: ") && refusal.contains(wanted), "{refusal}");
    }
    let told = loaded("[calls]\nredis_addr = \":6379\"").warnings;
    assert!(told.iter().any(|warning| warning.contains("Redis for [calls] has no effect")), "{told:?}");
}

#[test]
fn a_wrong_value_of_a_dialect_is_refused_with_its_line() {
    for (text, wanted) in [
        ("[rooms]\nttl_second = 5", "unknown key `ttl_second` in [rooms], did you mean `ttl_seconds`?"),
        ("[rooms]\nttl_seconds = 0", "from 1s to 3650d"),
        ("[rooms]\nttl_seconds = 1.5", "must be a number of whole seconds"),
        ("[rooms]\njwks_url = \"ftp://x\"", "`jwks_url` must be an address"),
        ("[rooms]\njwks_url = \"https://\"", "`jwks_url` must be an address"),
        ("[rooms]\njwks_url = \"https://user:pass@x/\"", "`jwks_url` must be an address"),
        ("[rooms]\njwks_path = \"/nowhere/keys.json\"", "/nowhere/keys.json cannot be read"),
        ("[rooms]\nissuer = \"\"", "`issuer` must be 1 to 2048 bytes"),
        ("[rooms]\napi_keys = [\"a:hush\", \"hush\"]", "entry 2 of `api_keys` in [rooms] has no colon"),
        ("[rooms]\napi_keys = [\"a:\"]", "entry 1 of `api_keys` in [rooms] has an empty key"),
        ("[rooms]\napi_keys = [\"a b:c\"]", "has a name that is not"),
        ("[rooms]\napi_keys = [\"a:b:\"]", "has a room that is not"),
        ("[rooms]\napi_keys = [\"a:b:c:d\"]", "has more than two colons"),
        ("[rooms]\napi_keys = [\"a:b\", \"a:c\"]", "entry 2 of `api_keys` in [rooms] repeats a name"),
        ("[rooms]\napi_keys = [\"a:b\", \"c:b\"]", "repeats the key of another one"),
        ("[broadcast]\nping_interval = 1", "a number of milliseconds"),
        ("[calls]\nseat_count = 0", "a whole number from 1 to 1000"),
        ("[calls]\nseat_count = 1001", "a whole number from 1 to 1000"),
        ("[calls]\nws_ping_interval = 0", "from 10ms to 1d"),
        ("[calls]\norigin = \"localhost\"", "`origin` in [calls] must be one origin"),
        ("[calls]\norigin = \"http://a,http://b\"", "`origin` in [calls] must be one origin"),
        ("[calls]\naddr = \":8080\"", "unknown key `addr` in [calls]"),
        ("[devices]\nrequire_token = true", "`require_token` needs `jwt_secret`"),
        ("[devices]\nroles = 5", "`roles` in [devices] must be a table of tables"),
        ("[devices.roles]\noperator = 5", "`operator` in `roles` of [devices] must be a table"),
        ("[devices.roles.a]\nmay = []", "unknown key `may` in [devices.roles.a], did you mean `may_send`?"),
        ("[devices.roles.a]\nmay_send = [\"ofer\"]", "unknown type of message `ofer`, did you mean `offer`?"),
        ("[devices.roles.a]\nto = [\"a b\"]", "a role in `to` must be"),
        ("[devices]\nroles.\"a b\" = {}", "the name of a role must be"),
    ] {
        let refusal = problem(text);
        assert!(refusal.starts_with("test.toml:2: ") && refusal.contains(wanted), "{text}: {refusal}");
        assert!(!refusal.contains("hush"), "{refusal}");
    }
}

#[test]
fn keys_of_rooms_come_from_a_file() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(include_bytes!("../../auth/vectors/jwks.json")).expect("written");
    let settings = loaded(&format!("[rooms]\njwks_path = \"{}\"", file.path().display()));
    assert_eq!(settings.rooms.public_keys.map(|keys| keys.count()), Some(3));
}

#[test]
fn settings_that_defeat_their_purpose_are_told() {
    let told = |text: &str| loaded(&format!("{text}\n[auth]\napi_keys = [\"a:b\"]")).warnings.join("\n");
    assert_eq!(told(""), "");
    assert!(told("[rooms]\njwks_url = \"http://id.example.org/\"").contains("is not https"));
    assert_eq!(told("[rooms]\njwks_url = \"http://127.0.0.1:8000/keys\""), "");
    assert!(told("[rooms]\njwks_url = \"http://localhost.example.org/\"").contains("is not https"));
    assert!(told("[rooms]\njwks_audience = \"a\"").contains("`jwks_audience` in [rooms] has no effect"));
    assert!(told("[calls]\nseat_timeout = 5").contains("seats lapse before they can be renewed"));
    assert!(told("[calls]\nws_read_timeout = 4").contains("quiet clients are cut"));
    assert!(told("[devices]\njwt_secret = \"short\"").contains("can be guessed"));
    let secret = "jwt_secret = \"0123456789012345678901234567890123\"";
    assert!(told("[devices.roles.a]").contains("have no effect without `jwt_secret`"));
    assert!(told(&format!("[devices]\n{secret}\nroles.a = {{}}")).contains("bind only those who show"));
    assert_eq!(told(&format!("[devices]\n{secret}\nrequire_token = true\nroles.a = {{}}")), "");
}

#[test]
fn dangers_are_told_for_the_dialects_that_can_be_reached() {
    let told = |serves: &str, host: &str, section: &str| {
        let text = format!("[server]\nhost = \"{host}\"\nserves = [\"{serves}\"]\n{section}");
        let warnings = loaded(&text).warnings;
        warnings.into_iter().filter(|warning| warning.starts_with("INSECURE: ")).collect::<Vec<_>>()
    };
    let open = "[rooms]\nopen_delete = true";
    let secret = "[devices]\njwt_secret = \"your-secret-key\"";
    assert_eq!(
        told("rooms", "0.0.0.0", open),
        [
            "INSECURE: `open_delete` in [rooms] lets anyone delete rooms and peers, and 0.0.0.0:8080 can be reached from other machines"
        ]
    );
    assert_eq!(told("rooms-api", "0.0.0.0", open).len(), 1);
    assert_eq!(told("devices", "0.0.0.0", secret).len(), 1);
    assert_eq!(told("devices", "0.0.0.0", "").len(), 0, "a secret is not required");
    assert_eq!(told("calls", "0.0.0.0", &format!("{open}\n{secret}")).len(), 0);
    assert_eq!(told("rooms", "127.0.0.1", open).len(), 0);
    assert_eq!(told("devices", "127.0.0.1", secret).len(), 0);
}
