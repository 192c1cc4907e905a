//! Tokens, SDP, candidates and payloads never reach a log or a metric, whatever goes wrong.

use crate::harness::*;

/// Words that stand in tokens and payloads only.
const SECRETS: [&str; 6] = [
    "hush-token-good",
    "hush-token-bad",
    "hush-signing-secret",
    "hush-sdp-ice-pwd",
    "hush-candidate",
    "hush-payload",
];

#[tokio::test]
async fn no_secret_and_no_payload_is_in_logs_or_metrics() {
    for format in ["json", "plain"] {
        let mut server = Setup::new()
            .auth(
                "auth_method = 'token'\ntoken_secret = 'hush-signing-secret'\n\
                 api_keys = ['alice:hush-token-good', 'bob:hush-token-good']",
            )
            .section(&format!("[logging]\nlevel = 'trace'\nformat = '{format}'"))
            .start()
            .await;
        for form in Form::ALL {
            exchange(&server, form).await;
        }
        misbehave(&server).await;

        let metrics = Http::open(server.metrics()).await.get("/metrics").await;
        server.sigterm();
        assert_eq!(server.exit().await.code(), Some(0));
        let logs = server.logs();
        assert!(logs.lines().count() > 3, "a log of nothing proves nothing: {logs}");
        for secret in SECRETS {
            assert!(!logs.contains(secret), "{secret} is in the {format} logs");
            assert!(!metrics.text().contains(secret), "{secret} is in the metrics");
            assert!(!server.stdout_rest().contains(secret), "{secret} is on stdout");
        }
    }
}

#[tokio::test]
async fn what_start_and_check_complain_about_never_shows_a_secret() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for text in [
        "[auth]\ntoken_secret = 'hush-signing-secret'\napi_keys = ['alice:hush-token-good']\nnonsense = 1\n",
        "[auth]\ntoken_secret = 'hush-signing-secret'\napi_keys = ['hush-token-good']\n",
        "[auth]\ntoken_secret = ['hush-signing-secret']\n",
        "[auth]\ntoken_secret = 'hush-signing-secret\n",
    ] {
        std::fs::write(directory.path().join("sigmux.toml"), text).expect("the configuration is written");
        for command in ["check", "serve"] {
            let output = tool(directory.path(), &[command, "-c", "sigmux.toml"], &[]).await;
            assert_eq!(output.status.code(), Some(2), "{text}");
            for told in [output.stdout, output.stderr] {
                let told = String::from_utf8_lossy(&told);
                for secret in SECRETS {
                    assert!(!told.contains(secret), "{command} shows {secret}:\n{told}");
                }
            }
        }
    }
}

async fn exchange(server: &Server, form: Form) {
    let mut alice = login(server, form, "alice").await;
    let mut bob = login(server, Form::FlatJson, "bob").await;
    let offer = alice.signal(OFFER, "bob", "v=0\r\na=ice-pwd:hush-sdp-ice-pwd").await;
    bob.delivered(&offer).await;
    let candidate = bob.signal(CANDIDATE, "alice", "candidate:hush-candidate").await;
    alice.delivered(&candidate).await;
    alice.refused(&form.signal(OFFER, "nobody", "hush-payload"), 404).await;
    alice.leave().await;
    bob.leave().await;
}

async fn misbehave(server: &Server) {
    let mut client = Client::open(server.main(), Via::WebSocket).await;
    client.refused(&Form::FlatJson.connect("alice", "hush-token-bad"), 401).await;
    client
        .refused(&flat_json(CONNECT, r#"{"client_id":"alice","auth_token":["hush-token-bad"]}"#), 400)
        .await;

    let mut alice = login(server, Form::FlatJson, "alice").await;
    for payload in ["hush-payload", "{\"hush-payload\":", "[\"hush-payload\"]"] {
        alice.refused(&flat_json(OFFER, payload), 400).await;
    }
    alice.send_bytes(b"hush-payload".to_vec()).await;
    alice.error(400).await;
    alice.send_text("hush-payload").await;
    alice.error(400).await;

    let mut http = Http::open(server.main()).await;
    http.send(b"hush-payload hush-payload\r\n\r\n").await;
    http.until_end().await;
    let mut http = Http::open(server.metrics()).await;
    http.send(b"GET /hush-payload?token=hush-token-good HTTP/1.1\r\nHost: x\r\nAuthorization: hush-token-good\r\n\r\n")
        .await;
    http.response(false).await.expect("an answer");
}

async fn login(server: &Server, form: Form, id: &str) -> Client {
    let mut client = Client::open(server.main(), Via::WebSocket).await;
    (client.form, client.id) = (form, id.into());
    client.send(&form.connect(id, "hush-token-good")).await;
    form.read_ack(&client.frame().await);
    client
}
