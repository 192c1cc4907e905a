//! The command line: what each subcommand prints, and with which exit code it ends.

use std::net::TcpListener;
use std::path::Path;
use std::process::Output;

use tempfile::TempDir;

use crate::harness::*;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

#[tokio::test]
async fn help_names_every_subcommand() {
    for args in [&["--help"][..], &["help"]] {
        let output = tool(Path::new(ROOT), args, &[]).await;
        assert_eq!(output.status.code(), Some(0));
        for name in ["serve", "check", "token"] {
            assert!(stdout(&output).contains(name), "{}", stdout(&output));
        }
    }
}

#[tokio::test]
async fn an_unknown_option_is_bad_usage() {
    for args in [&["serve", "--no-such-option"][..], &["juggle"], &["token"], &["check", "-c"]] {
        let output = tool(Path::new(ROOT), args, &[]).await;
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        assert_eq!(stdout(&output), "", "{args:?}");
    }
}

#[tokio::test]
async fn check_prints_what_would_listen_where() {
    let (directory, file) = config(include_str!("../vectors/app-config.toml"));
    let output = tool(directory.path(), &["check", "-c", &file], &[]).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for wanted in ["127.0.0.1:8080", "binary", "127.0.0.1:9090", "metrics"] {
        assert!(stdout(&output).contains(wanted), "{wanted} is not in\n{}", stdout(&output));
    }
}

#[tokio::test]
async fn check_accepts_the_shipped_config_and_shows_the_documented_ports() {
    let file = format!("{ROOT}/config/sigmux.toml");
    let output = tool(Path::new(ROOT), &["check", "-c", &file], &[]).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for wanted in ["8080", "9090"] {
        assert!(stdout(&output).contains(wanted), "{wanted} is not in\n{}", stdout(&output));
    }
}

#[tokio::test]
async fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
    for (text, key, line, nearest) in [
        ("[server]\nport = 0\n\nhartbeat_interval = 30\n", "hartbeat_interval", "4", "heartbeat_interval"),
        ("[server]\nport = 0\n[auth]\napi_key = []\n", "api_key", "4", "api_keys"),
        ("\n\n[servr]\nport = 0\n", "servr", "3", "server"),
        (
            "[server]\nport = 0\n\n[[listener]]\nname = 'a'\nbind = '127.0.0.1:0'\nservse = ['binary']\n",
            "servse",
            "7",
            "serves",
        ),
    ] {
        let (directory, file) = config(text);
        for command in ["check", "serve"] {
            let output = tool(directory.path(), &[command, "-c", &file], &[]).await;
            assert_eq!(output.status.code(), Some(2), "{command} with {key}: {}", stderr(&output));
            let told = stderr(&output);
            for wanted in [key, line, nearest] {
                assert!(told.contains(wanted), "{command} does not say {wanted}: {told}");
            }
        }
    }
}

#[tokio::test]
async fn a_bad_value_is_bad_config() {
    for text in [
        "[server]\nport = 'eight'\n",
        "[server]\nport = 70000\n",
        "[server]\nheartbeat_interval = 'soon'\n",
        "[server]\nshards = 65\n",
        "[server\n",
        "[auth]\nauth_method = 'guess'\n",
        "[auth]\napi_keys = ['no-colon']\n",
        "[binary]\non_duplicate = 'both'\n",
        "[[listener]]\nname = 'a'\nbind = 'nowhere'\nserves = ['binary']\n",
        "[[listener]]\nname = 'a'\nbind = '127.0.0.1:0'\nserves = ['juggling']\n",
    ] {
        let (directory, file) = config(text);
        let output = tool(directory.path(), &["check", "-c", &file], &[]).await;
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert_ne!(stderr(&output), "", "{text}");
    }
}

#[tokio::test]
async fn a_file_that_is_not_there_is_bad_config() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for command in ["check", "serve"] {
        let output = tool(directory.path(), &[command, "-c", "nowhere.toml"], &[]).await;
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains("nowhere.toml"), "{}", stderr(&output));
    }
}

#[tokio::test]
async fn a_taken_address_is_an_error_that_says_so() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port();
    let (directory, file) =
        config(&format!("[server]\nhost = '127.0.0.1'\nport = {port}\n[metrics]\nport = 0\n"));
    let output = tool(directory.path(), &["serve", "-c", &file], &[]).await;
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let told = stderr(&output);
    assert!(told.to_lowercase().contains("address in use") && told.contains(&port.to_string()), "{told}");
}

/// Two engines would share a port by SO_REUSEPORT, and each would get half of the clients.
#[tokio::test]
async fn the_address_of_another_engine_is_taken() {
    let server = Setup::new().start().await;
    let mut bystanders = Bystanders::login(&server).await;
    let port = server.main().port();
    let (directory, file) =
        config(&format!("[server]\nhost = '127.0.0.1'\nport = {port}\n[metrics]\nport = 0\n"));
    let output = tool(directory.path(), &["serve", "-c", &file], &[]).await;
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).to_lowercase().contains("address in use"), "{}", stderr(&output));
    bystanders.talk().await;
}

#[tokio::test]
async fn the_environment_overrides_the_file() {
    let (directory, file) = config(include_str!("../vectors/app-config.toml"));
    for (name, value, wanted) in [
        ("SIGNAL_MANAGER_SERVER_PORT", "18080", "18080"),
        ("SIGMUX_SERVER_PORT", "18081", "18081"),
        ("SIGNAL_MANAGER_METRICS_PORT", "19090", "19090"),
        ("SIGNAL_MANAGER_SERVER_HOST", "127.0.0.2", "127.0.0.2:8080"),
    ] {
        let output = tool(directory.path(), &["check", "-c", &file], &[(name, value)]).await;
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(stdout(&output).contains(wanted), "{name}={value}: {}", stdout(&output));
    }
    let output = tool(directory.path(), &["check", "-c", &file], &[("SIGMUX_SERVER_PORT", "many")]).await;
    assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
}

#[tokio::test]
async fn documented_secrets_beyond_loopback_are_warned_about() {
    let told = async |host: &str| {
        let text =
            include_str!("../vectors/app-config.toml").replace("host = \"127.0.0.1\"\nport = 8080", host);
        assert!(text.contains(host));
        let env = [("SIGNAL_MANAGER_METRICS_PORT", "0".to_owned())];
        let server = Server::start(&text, &env).await;
        let logs = server.logs();
        logs.lines().filter(|line| line.to_lowercase().contains("warn")).count()
    };
    assert!(told("host = \"0.0.0.0\"\nport = 0").await > 0);
    assert_eq!(told("host = \"127.0.0.1\"\nport = 0").await, 0);
}

#[tokio::test]
async fn json_logs_are_one_object_a_line_and_stdout_has_none_of_them() {
    let mut server = Setup::new().section("[logging]\nlevel = 'debug'\nformat = 'json'").start().await;
    let client = Client::login(server.main(), Via::WebSocket, Form::FlatJson, "alice").await;
    client.leave().await;
    server.sigterm();
    server.exit().await;
    let logs = server.logs();
    assert!(!logs.is_empty());
    for line in logs.lines() {
        let value: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(value.is_object(), "{line}");
    }
    assert_eq!(server.stdout_rest(), "");
}

fn config(text: &str) -> (TempDir, String) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(directory.path().join("sigmux.toml"), text).expect("the configuration is written");
    (directory, "sigmux.toml".into())
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
