//! CONNECT, HEARTBEAT and DISCONNECT in every payload type and form, over both transports.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::harness::*;

#[tokio::test]
async fn both_documented_clients_log_in_in_every_form_over_both_transports() {
    let server = Setup::new().start().await;
    for via in Via::BOTH {
        for form in Form::ALL {
            for id in ["test_client_1", "test_client_2"] {
                let mut client = Client::open(server.main(), via).await;
                let connect = form.connect(id, &token_of(id));
                client.send(&connect).await;
                let ack = client.frame().await;
                assert_eq!(ack.uuid, connect.uuid, "{form:?} over {via:?}");
                let (status, session) = form.read_ack(&ack);
                if form != Form::Binary {
                    assert_eq!(status, "success", "{form:?} over {via:?}");
                }
                assert_is_uuid_v4(&session);
                (client.form, client.id) = (form, id.into());
                client.leave().await;
            }
        }
    }
}

#[tokio::test]
async fn every_session_has_an_id_of_its_own() {
    let server = Setup::new().start().await;
    let mut sessions = std::collections::HashSet::new();
    for _ in 0..20 {
        let mut client = Client::open(server.main(), Via::WebSocket).await;
        assert!(sessions.insert(client.connect(Form::FlatJson, "alice").await));
        client.leave().await;
    }
}

#[tokio::test]
async fn a_heartbeat_is_answered_with_the_servers_time_in_seconds() {
    let server = Setup::new().start().await;
    for via in Via::BOTH {
        for form in Form::ALL {
            let mut client = Client::login(server.main(), via, form, "alice").await;
            let before = unix_seconds();
            let heartbeat = form.heartbeat(7);
            client.send(&heartbeat).await;
            let ack = client.frame().await;
            assert_eq!(ack.uuid, heartbeat.uuid, "{form:?} over {via:?}");
            let time = form.read_time(&ack);
            assert!((before..=unix_seconds()).contains(&time), "{time} is not now, {form:?} over {via:?}");
            client.leave().await;
        }
    }
}

#[tokio::test]
async fn the_timestamp_of_a_heartbeat_may_be_anything() {
    let server = Setup::new().start().await;
    let mut client = Client::login(server.main(), Via::WebSocket, Form::FlatJson, "alice").await;
    for timestamp in ["0", "-1", "1732105200123", "1.5e3", "null", "\"2024-11-20T10:00:00Z\"", "{\"at\":[1]}"]
    {
        let heartbeat = flat_json(HEARTBEAT, &format!("{{\"timestamp\":{timestamp}}}"));
        client.send(&heartbeat).await;
        let ack = client.frame().await;
        assert_eq!((ack.kind, ack.uuid), (HEARTBEAT_ACK, heartbeat.uuid), "{timestamp}");
    }
}

#[tokio::test]
async fn a_disconnect_ends_the_session_with_1000() {
    let server = Setup::new().start().await;
    let mut witness = Client::login(server.main(), Via::WebSocket, Form::FlatJson, "bob").await;
    for form in Form::ALL {
        let mut client = Client::login(server.main(), Via::WebSocket, form, "alice").await;
        client.send(&form.disconnect("alice", "going home")).await;
        let (code, _) = client.closed().await.expect("a Close with a code");
        assert_eq!(code, 1000, "{form:?}");
        let offer = witness.form.signal(OFFER, "alice", "v=0");
        witness.refused(&offer, 404).await;
    }
}

#[tokio::test]
async fn a_disconnect_ends_a_tcp_connection_plainly() {
    let server = Setup::new().start().await;
    for form in Form::ALL {
        let mut client = Client::login(server.main(), Via::Tcp, form, "alice").await;
        client.send(&form.disconnect("alice", "going home")).await;
        assert_eq!(client.closed().await, None, "{form:?}");
    }
}

#[tokio::test]
async fn both_fields_of_a_disconnect_may_be_missing() {
    let server = Setup::new().start().await;
    for payload in ["{}", "{\"reason\":\"x\"}", "{\"client_id\":\"alice\"}", "{\"Disconnect\":{}}"] {
        let mut client = Client::login(server.main(), Via::WebSocket, Form::FlatJson, "alice").await;
        client.send(&flat_json(DISCONNECT, payload)).await;
        assert_eq!(client.closed().await.expect("a Close").0, 1000, "{payload}");
    }
}

#[tokio::test]
async fn a_second_connect_on_a_live_session_is_a_400_and_changes_nothing() {
    let server = Setup::new().start().await;
    let mut bob = Client::login(server.main(), Via::Tcp, Form::Text, "bob").await;
    for via in Via::BOTH {
        for form in Form::ALL {
            let mut client = Client::login(server.main(), via, form, "alice").await;
            for id in ["alice", "carol"] {
                client.refused(&form.connect(id, &token_of(id)), 400).await;
            }
            let offer = bob.signal(OFFER, "alice", "still there").await;
            assert_eq!(client.delivered(&offer).await.data, "still there");
            client.leave().await;
        }
    }
}

#[tokio::test]
async fn any_message_before_connect_is_a_401_in_the_form_it_came_in() {
    let server = Setup::new().start().await;
    for via in Via::BOTH {
        for form in Form::ALL {
            let mut client = Client::open(server.main(), via).await;
            client.form = form;
            client.refused(&form.heartbeat(1), 401).await;
            client.refused(&form.signal(OFFER, "bob", "v=0"), 401).await;
            client.refused(&form.disconnect("alice", "never came"), 401).await;
            client.connect(form, "alice").await;
            client.leave().await;
        }
    }
}

#[tokio::test]
async fn a_bad_credential_is_a_401_and_a_good_one_may_follow() {
    let server = Setup::new().start().await;
    for via in Via::BOTH {
        for form in Form::ALL {
            let mut client = Client::open(server.main(), via).await;
            client.form = form;
            client.refused(&form.connect("alice", "wrong"), 401).await;
            client.refused(&form.connect("nobody", "token-of-alice"), 401).await;
            client.connect(form, "alice").await;
            client.leave().await;
        }
    }
}

#[tokio::test]
async fn a_token_counts_only_whole_and_only_for_its_own_id() {
    let server = Setup::new().start().await;
    for (id, token) in [
        ("alice", "token-of-bob"),
        ("alice", "token-of-alic"),
        ("alice", "token-of-alicee"),
        ("alice", "Token-of-alice"),
        ("alice", ""),
        ("", "token-of-alice"),
        ("Alice", "token-of-alice"),
    ] {
        let mut client = Client::open(server.main(), Via::WebSocket).await;
        client.send(&Form::FlatJson.connect(id, token)).await;
        let error = client.frame().await;
        let (code, _) = Form::FlatJson.read_error(&error);
        // An empty field may as well count as malformed.
        assert!(code == 401 || code == 400 && (id.is_empty() || token.is_empty()), "{id}:{token} got {code}");
    }
}

#[tokio::test]
async fn three_failed_connects_in_a_row_end_the_connection() {
    let server = Setup::new().start().await;
    for via in Via::BOTH {
        for form in Form::ALL {
            let mut client = Client::open(server.main(), via).await;
            client.form = form;
            for _ in 0..3 {
                client.refused(&form.connect("alice", "wrong"), 401).await;
            }
            client.closed().await;
        }
    }
}

#[tokio::test]
async fn a_connection_is_answered_in_the_form_of_its_connect_whatever_it_sends_later() {
    let server = Setup::new().start().await;
    for form in Form::ALL {
        let mut client = Client::login(server.main(), Via::WebSocket, form, "alice").await;
        for other in Form::ALL {
            let heartbeat = other.heartbeat(1);
            client.send(&heartbeat).await;
            let ack = client.frame().await;
            assert_eq!(ack.uuid, heartbeat.uuid);
            form.read_time(&ack);
            client.refused(&other.signal(OFFER, "nobody", "v=0"), 404).await;
        }
    }
}

#[tokio::test]
async fn a_binary_connect_carries_tokens_up_to_255_bytes() {
    let token = "t".repeat(255);
    let setup = Setup::new().auth(&format!("auth_method = 'token'\napi_keys = ['long:{token}']"));
    let server = setup.start().await;
    let mut client = Client::open(server.main(), Via::WebSocket).await;
    client.send(&Form::Binary.connect("long", &token)).await;
    Form::Binary.read_ack(&client.frame().await);
}

#[tokio::test]
async fn a_text_connect_is_split_at_its_first_colon_only() {
    let setup = Setup::new().auth("auth_method = 'token'\napi_keys = ['colon:a:b:c']");
    let server = setup.start().await;
    let mut client = Client::open(server.main(), Via::WebSocket).await;
    client.send(&Form::Text.connect("colon", "a:b:c")).await;
    Form::Text.read_ack(&client.frame().await);
}

#[tokio::test]
async fn members_that_nobody_knows_are_ignored_in_a_connect() {
    let server = Setup::new().start().await;
    let mut client = Client::open(server.main(), Via::WebSocket).await;
    let payload =
        r#" { "version" : [1, {"a": null}], "auth_token" : "token-of-\u0061lice", "client_id" : "alice" } "#;
    client.send(&flat_json(CONNECT, payload)).await;
    Form::FlatJson.read_ack(&client.frame().await);
}

#[tokio::test]
async fn with_auth_method_none_any_token_will_do() {
    let server = Setup::new().open_to_all().start().await;
    let mut client = Client::login(server.main(), Via::WebSocket, Form::FlatJson, "whoever").await;
    client.is_quiet_and_alive().await;
}

#[tokio::test]
async fn deployed_clients_may_use_any_path() {
    let server = Setup::new().start().await;
    for path in ["/", "/ws", "/some/where?x=1"] {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\nupgrade: WebSocket\r\nconnection: keep-alive, Upgrade\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let mut http = Http::open(server.main()).await;
        http.send(request.as_bytes()).await;
        assert_eq!(http.response(false).await.expect("an answer").status, 101, "{path}");
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

fn assert_is_uuid_v4(text: &str) {
    let uuid = uuid::Uuid::try_parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(uuid.get_version_num(), 4, "{text}");
    assert_eq!(uuid.hyphenated().to_string(), text, "in the usual form");
}
