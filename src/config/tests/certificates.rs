//! `tls_*`: what a listener speaks, and what is wrong with the files.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tempfile::TempDir;

use super::*;

/// A folder with `cert.pem` and `key.pem`.
struct Files(TempDir);

impl Files {
    fn new() -> Files {
        Files::until(2100)
    }

    fn until(year: i32) -> Files {
        let files = Files(tempfile::tempdir().expect("a folder"));
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        files.write("cert.pem", &pem("CERTIFICATE", certificate.der()));
        files.write("key.pem", &pem("PRIVATE KEY", &key.serialize_der()));
        fs::set_permissions(files.0.path().join("key.pem"), Permissions::from_mode(0o600)).expect("a mode");
        files
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).expect("written");
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// Both keys of a table.
    fn keys(&self) -> String {
        let (cert, key) = (self.path("cert.pem"), self.path("key.pem"));
        format!("tls_cert_path = '{cert}'\ntls_key_path = '{key}'\n")
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

const AUTH: &str = "[auth]\napi_keys = ['a:b']\n";

fn speaks(settings: &Settings) -> Vec<(&str, bool)> {
    settings.listeners.iter().map(|listener| (listener.name.as_str(), listener.tls.is_some())).collect()
}

#[test]
fn a_certificate_in_server_is_that_of_every_listener_without_its_own() {
    let files = Files::new();
    let server = format!("[server]\n{}", files.keys());
    let alone = loaded(&format!("{server}{AUTH}"));
    assert_eq!(speaks(&alone), [("main", true), ("metrics", false)]);
    assert_eq!(alone.warnings, Vec::<String>::new());

    let tables = "[[listener]]\nname = 'a'\nbind = ':1'\nserves = ['binary']\n\
        [[listener]]\nname = 'b'\nbind = ':2'\nserves = ['binary']\ntls_enabled = false\n";
    let settings = loaded(&format!("{server}{AUTH}{tables}"));
    assert_eq!(speaks(&settings), [("a", true), ("b", false), ("metrics", false)]);

    let own = Files::new();
    let settings = loaded(
        &format!("{AUTH}{tables}allow_plaintext = true\n").replace("tls_enabled = false\n", &own.keys()),
    );
    assert_eq!(speaks(&settings), [("a", false), ("b", true), ("metrics", false)]);
    let tls = settings.listeners[1].tls.as_ref().expect("TLS");
    assert!(tls.allow_plaintext && tls.client_ca_path.is_none());
    assert!(!format!("{settings:?}").contains("PrivateKey"));
}

#[test]
fn tls_enabled_decides_where_it_is_given() {
    let files = Files::new();
    let off = loaded(&format!("[server]\ntls_enabled = false\n{}{AUTH}", files.keys()));
    assert_eq!(speaks(&off), [("main", false), ("metrics", false)]);
    let on = loaded(&format!("[server]\ntls_enabled = true\n{}{AUTH}", files.keys()));
    assert_eq!(speaks(&on), [("main", true), ("metrics", false)]);
    assert_eq!(
        refused("[server]\ntls_enabled = true"),
        "test.toml:2: TLS needs both `tls_cert_path` and `tls_key_path`"
    );
    assert!(refused("[server]\ntls_key_path = 'x'").starts_with("test.toml:2: TLS needs both"));
    let variables = [
        ("SIGNAL_MANAGER_SERVER_TLS_ENABLED", "true"),
        ("SIGNAL_MANAGER_SERVER_TLS_CERT_PATH", &files.path("cert.pem")),
        ("SIGNAL_MANAGER_SERVER_TLS_KEY_PATH", &files.path("key.pem")),
    ];
    assert_eq!(speaks(&with(AUTH, &variables)), [("main", true), ("metrics", false)]);
}

#[test]
fn plain_text_never_stands_beside_client_certificates() {
    let files = Files::new();
    let ca = files.path("cert.pem");
    let both = format!("[server]\n{}tls_client_ca_path = '{ca}'\nallow_plaintext = true\n", files.keys());
    assert!(refused(&both).starts_with("test.toml:5: `allow_plaintext` would let in"), "{}", refused(&both));
    assert_eq!(
        refused("[server]\nallow_plaintext = true"),
        "test.toml:2: `allow_plaintext` has no meaning without `tls_cert_path`"
    );
    let asks = loaded(&format!("[server]\n{}tls_client_ca_path = '{ca}'\n{AUTH}", files.keys()));
    assert!(asks.listeners[0].asks_certificate());
}

#[test]
fn what_is_wrong_with_the_files_is_told_with_their_line() {
    let files = Files::new();
    files.write("empty.pem", "nothing here\n");
    files.write("cut.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    files.write("noise.pem", &pem("CERTIFICATE", b"no certificate"));
    files.write("locked.pem", &pem("ENCRYPTED PRIVATE KEY", b"sealed"));
    files.write("wrong-key.pem", &pem("PRIVATE KEY", b"no key"));
    let other = Files::new();
    let expired = Files::until(2020);
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| files.path(name));
    for (cert_path, key_path, line, message) in [
        ("/nowhere/c.pem", &*key, 2, "/nowhere/c.pem cannot be read"),
        (&*cert, "/nowhere/k.pem", 3, "/nowhere/k.pem cannot be read"),
        ("/dev/zero", &*key, 2, "/dev/zero is no file of at most 1 MiB"),
        (&*files.path("empty.pem"), &*key, 2, "empty.pem holds no certificate in PEM"),
        (&*files.path("cut.pem"), &*key, 2, "cut.pem is no PEM file: a section does not end"),
        (&*files.path("noise.pem"), &*key, 2, "noise.pem holds no X.509 certificate"),
        (&*key, &*key, 2, "key.pem holds no certificate in PEM"),
        (&*cert, &*cert, 3, "cert.pem holds no private key in PEM"),
        (&*cert, &*files.path("locked.pem"), 3, "locked.pem is encrypted"),
        (&*cert, &*files.path("wrong-key.pem"), 3, "wrong-key.pem cannot be used"),
        (&*cert, &*other.path("key.pem"), 3, "key.pem is not the key of the certificate in"),
        (&*expired.path("cert.pem"), &*expired.path("key.pem"), 2, "expired"),
        ("", &*key, 2, "`tls_cert_path` must be a path"),
    ] {
        let refusal =
            refused(&format!("[server]\ntls_cert_path = '{cert_path}'\ntls_key_path = '{key_path}'"));
        let first = refusal.lines().next().unwrap_or_default();
        assert!(first.starts_with(&format!("test.toml:{line}: ")) && first.contains(message), "{refusal}");
    }
    let ca = files.path("empty.pem");
    let refusal = refused(&format!("[server]\n{}tls_client_ca_path = '{ca}'", files.keys()));
    assert!(refusal.starts_with("test.toml:4: ") && refusal.contains("holds no certificate"), "{refusal}");
}

#[test]
fn a_key_that_everyone_can_read_is_told_and_so_is_a_certificate_that_ends_soon() {
    let files = Files::new();
    fs::set_permissions(files.0.path().join("key.pem"), Permissions::from_mode(0o644)).expect("a mode");
    let settings = loaded(&format!("[server]\n{}{AUTH}", files.keys()));
    let [warning] = settings.warnings.as_slice() else { panic!("{:?}", settings.warnings) };
    assert!(warning.starts_with("INSECURE: ") && warning.contains("mode 0644"), "{warning}");

    let soon = Files(tempfile::tempdir().expect("a folder"));
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    params.not_after = time::OffsetDateTime::from_unix_timestamp(
        (std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs()
            + 3 * 86_400
            + 60) as i64,
    )
    .expect("a time");
    let key = KeyPair::generate().expect("a key");
    soon.write("cert.pem", &pem("CERTIFICATE", params.self_signed(&key).expect("a certificate").der()));
    soon.write("key.pem", &pem("PRIVATE KEY", &key.serialize_der()));
    fs::set_permissions(soon.0.path().join("key.pem"), Permissions::from_mode(0o400)).expect("a mode");
    let settings = loaded(&format!("[server]\n{}{AUTH}", soon.keys()));
    assert!(settings.warnings[0].contains("expires in 3 days"), "{:?}", settings.warnings);
}

#[test]
fn the_method_mtls_needs_a_listener_that_asks_for_certificates() {
    let files = Files::new();
    let method = "[auth]\nauth_method = 'mtls'\n";
    assert_eq!(
        refused(method),
        "test.toml:2: the method \"mtls\" needs a listener that serves `binary` with `tls_client_ca_path`"
    );
    let ca = files.path("cert.pem");
    let server = format!("[server]\n{}tls_client_ca_path = '{ca}'\n", files.keys());
    let settings = loaded(&format!("{server}{method}"));
    assert!(matches!(settings.auth.credentials, Credentials::Certificate));
    assert_eq!(settings.warnings, Vec::<String>::new());
    let tables = "[[listener]]\nname = 'a'\nbind = ':1'\nserves = ['binary']\n\
        [[listener]]\nname = 'b'\nbind = ':2'\nserves = ['binary']\ntls_enabled = false\n";
    let settings = loaded(&format!("{server}{method}{tables}"));
    assert!(settings.warnings[0].starts_with("listener b: no client can log in"), "{:?}", settings.warnings);
}

#[test]
fn the_same_files_make_equal_listeners_and_a_new_certificate_does_not() {
    let files = Files::new();
    let text = format!("[server]\n{}{AUTH}", files.keys());
    let (one, same) = (loaded(&text), loaded(&text));
    assert_eq!(one.listeners, same.listeners);
    let renewed = Files::new();
    for name in ["cert.pem", "key.pem"] {
        fs::copy(renewed.path(name), files.path(name)).expect("copied");
    }
    assert_ne!(one.listeners, loaded(&text).listeners);
}
