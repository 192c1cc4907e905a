//! CONNECT to close: replies, errors, and what they look like in each form.

use super::*;
use crate::observe::{Counter, Detail};

#[test]
fn a_connect_is_acknowledged_in_its_own_form_and_with_its_uuid() {
    for form in FORMS {
        let mut world = World::new();
        let me = world.open();
        world.say(me, &frame(CONNECT, 9, form.0, connect_payload(form, "agent", "token")));
        let got = world.one(me);
        assert_eq!((got.message_type, got.uuid, got.payload_type), (CONNECT_ACK, uuid(9), form.0));
        let session_id = match form.0 {
            BINARY => {
                assert_eq!(got.payload[..2], [1, 36]);
                String::from_utf8(got.payload[2..].to_vec()).unwrap()
            }
            TEXT => std::str::from_utf8(&got.payload).unwrap().strip_prefix("success:").unwrap().to_owned(),
            _ => {
                let fields = got.fields(form, "ConnectAck");
                assert_eq!(fields.as_object().unwrap().len(), 2);
                assert_eq!(fields["status"], "success");
                fields["session_id"].as_str().unwrap().to_owned()
            }
        };
        let info = world.sessions[me].info().unwrap();
        assert_eq!(session_id, info.session_id.hyphenated().to_string());
        assert_eq!((info.session_id.get_version_num(), info.client_id), (4, "agent"));
        assert_eq!(info.session_id.get_variant(), uuid::Variant::RFC4122);
    }
}

#[test]
fn a_session_keeps_its_times_and_its_message_count() {
    let mut world = World::new();
    let me = world.client((JSON, false), "agent");
    world.now = Now { mono_us: 9_000_000, unix_ms: world.now.unix_ms + 4000 };
    world.say(me, &frame(HEARTBEAT, 1, JSON, r#"{"timestamp":1}"#));
    world.say(me, &frame(HEARTBEAT, 1, JSON, "broken"));
    let info = world.sessions[me].info().unwrap();
    assert_eq!(info.connected_unix_ms, 1_700_000_000_123);
    assert_eq!(info.last_activity_unix_ms, 1_700_000_004_123);
    assert_eq!(info.message_count, 3);
    world.with_session(me, |session, settings, ctx| session.ended(settings, "connection_closed", ctx));
    assert!(world.sessions[me].info().is_none() && !world.sessions[me].is_live());
}

#[test]
fn wrong_credentials_are_a_401_in_the_form_of_the_connect() {
    for form in FORMS {
        let mut world = World::guarded();
        let me = world.open();
        world.say(me, &frame(CONNECT, 3, form.0, connect_payload(form, "agent", "wrong")));
        let got = world.one(me);
        assert_eq!(got.uuid, uuid(3));
        assert_eq!(got.error(form), (code_in(form, 401), "Invalid token".to_owned()));
        assert!(!world.sessions[me].is_live() && world.directory.is_empty());
        // The connection stays open for another try.
        world.say(me, &frame(CONNECT, 4, form.0, connect_payload(form, "agent", "secret")));
        assert_eq!(world.one(me).message_type, CONNECT_ACK);
    }
}

#[test]
fn the_third_failed_connect_in_a_row_closes_the_connection() {
    let mut world = World::guarded();
    let me = world.open();
    let wrong = frame(CONNECT, 1, JSON, connect_payload((JSON, false), "agent", "wrong"));
    for _ in 0..2 {
        world.say(me, &wrong);
        // Malformed frames, and well-formed ones too early, are no failed CONNECTs.
        world.say(me, &frame(CONNECT, 1, JSON, "{}"));
        world.say(me, &frame(HEARTBEAT, 1, TEXT, ""));
        assert_eq!(world.peers[me].closed, None);
    }
    world.all(me);
    world.say(me, &[wrong.clone(), wrong.clone()].concat());
    assert_eq!(world.one(me).flat_error(), 401);
    assert_eq!(world.peers[me].closed, Some((CloseCode::POLICY, "Too many failed logins")));
    world.say(me, &wrong);
    world.nothing(me);
}

#[test]
fn malformed_is_400_and_well_formed_is_401_before_a_connect() {
    let cases: [(u8, u8, &[u8], u64); 22] = [
        (HEARTBEAT, JSON, br#"{"timestamp":1}"#, 401),
        (HEARTBEAT, JSON, br#"{}"#, 400),
        (HEARTBEAT, JSON, b"", 400),
        (HEARTBEAT, TEXT, b"", 401),
        (HEARTBEAT, BINARY, &[0; 8], 401),
        (HEARTBEAT, BINARY, &[0; 7], 400),
        (HEARTBEAT, BINARY, &[0; 9], 400),
        (DISCONNECT, JSON, b"", 401),
        (DISCONNECT, JSON, b"{}", 401),
        (DISCONNECT, JSON, b"[]", 400),
        (DISCONNECT, CBOR, b"\xa0", 401),
        (DISCONNECT, CBOR, b"\x80", 400),
        (OFFER, JSON, br#"{"target_client_id":"b","signal_data":"x"}"#, 401),
        (OFFER, JSON, br#"{"target_client_id":"b"}"#, 400),
        (OFFER, JSON, br#"{"target_client_id":5,"signal_data":"x"}"#, 400),
        (ANSWER, TEXT, b"b:data", 401),
        (ANSWER, TEXT, b"no colon", 400),
        (ANSWER, TEXT, b"b:\xff", 400),
        (CANDIDATE, BINARY, b"\x01b\x00\x04data", 401),
        (CANDIDATE, BINARY, b"\x01b\x00\x04dat", 400),
        (CANDIDATE, BINARY, b"\x01b\x00\x04data!", 400),
        (CANDIDATE, BINARY, b"\x05b", 400),
    ];
    let mut world = World::new();
    let me = world.open();
    for (number, (message_type, payload_type, payload, code)) in (0..).zip(cases) {
        world.say(me, &frame(message_type, number, payload_type, payload));
        let got = world.one(me);
        let form = (payload_type, false);
        assert_eq!((got.uuid, got.error(form).0), (uuid(number), code_in(form, code)), "{payload:?}");
    }
    assert_eq!(world.peers[me].closed, None);
}

#[test]
fn before_a_connect_errors_have_the_form_of_the_offending_message() {
    let mut world = World::new();
    let me = world.open();
    for (payload_type, payload, form) in [
        (JSON, &br#"{"Connect":{"client_id":5}}"#[..], (JSON, true)),
        (JSON, br#" {"Heartbeat": {}} "#, (JSON, true)),
        (JSON, br#"{"Connect":{"client_id":"a""#, (JSON, false)),
        (JSON, br#"{"Connect":{},"more":1}"#, (JSON, false)),
        (JSON, br#"{"Connected":{}}"#, (JSON, false)),
        (JSON, b"\xff", (JSON, false)),
        (CBOR, &tagged_cbor("Connect", b"\xa0"), (CBOR, true)),
        (CBOR, b"\xa0", (CBOR, false)),
        (CBOR, b"", (CBOR, false)),
        (TEXT, b"no colon", (TEXT, false)),
        (BINARY, b"", (BINARY, false)),
        // Neither protobuf nor an unknown payload type can be answered in kind.
        (0x04, b"x", (JSON, false)),
        (0x00, b"x", (JSON, false)),
        (0x99, b"x", (JSON, false)),
    ] {
        world.say(me, &frame(CONNECT, 77, payload_type, payload));
        let got = world.one(me);
        assert_eq!((got.uuid, got.error(form).0), (uuid(77), code_in(form, 400)), "{payload:?}");
    }
    // No header to read: flat JSON and the nil uuid.
    for garbage in [&b"garbage"[..], b"\xaa", &frame(CONNECT, 5, TEXT, "")[..17], b""] {
        world.say(me, garbage);
        let got = world.one(me);
        assert_eq!((got.uuid, got.flat_error()), (NIL, 400));
    }
    // A header that can be read is answered.
    let cut = frame(CONNECT, 5, TEXT, "agent:token");
    world.say(me, &cut[..cut.len() - 1]);
    let got = world.one(me);
    assert_eq!((got.uuid, got.error((TEXT, false)).0), (uuid(5), 400));
    world.say(me, &cut[..18]);
    let got = world.one(me);
    assert_eq!((got.uuid, got.flat_error()), (uuid(5), 400));
    assert_eq!(world.peers[me].closed, None);
}

#[test]
fn after_a_connect_everything_is_answered_in_its_form() {
    for form in FORMS {
        let mut world = World::new();
        let me = world.client(form, "agent");
        world.say(me, &frame(HEARTBEAT, 1, BINARY, [0; 8]));
        world.say(me, &frame(HEARTBEAT, 2, TEXT, "x"));
        world.say(me, &frame(HEARTBEAT, 3, JSON, r#"{"Heartbeat":{"timestamp":null}}"#));
        world.say(me, &frame(HEARTBEAT, 4, CBOR, cbor_map(&[("timestamp", "now")])));
        for (number, got) in (1..).zip(world.all(me)) {
            assert_eq!((got.message_type, got.uuid), (HEARTBEAT_ACK, uuid(number)));
            let seconds = match form.0 {
                BINARY => u64::from_be_bytes(got.payload.try_into().unwrap()),
                TEXT => std::str::from_utf8(&got.payload).unwrap().parse().unwrap(),
                _ => got.fields(form, "HeartbeatAck")["timestamp"].as_u64().unwrap(),
            };
            assert_eq!(seconds, 1_700_000_000);
        }
        world.say(me, &frame(HEARTBEAT, 5, JSON, "no json"));
        world.say(me, &frame(HEARTBEAT, 6, 0x04, ""));
        world.say(me, b"\x00");
        let errors = world.all(me);
        assert_eq!(errors.len(), 3);
        for (expected, got) in [uuid(5), uuid(6), NIL].into_iter().zip(errors) {
            assert_eq!((got.uuid, got.error(form).0), (expected, code_in(form, 400)));
        }
    }
}

#[test]
fn unknown_types_and_those_of_the_server_are_refused() {
    let mut world = World::new();
    let me = world.open();
    for round in 0..2 {
        for message_type in (0..=255).filter(|t| ![0x01, 0x03, 0x04, 0x10, 0x11, 0x12].contains(t)) {
            world.say(me, &frame(message_type, message_type, JSON, "{}"));
            let got = world.one(me);
            assert_eq!((got.uuid, got.flat_error()), (uuid(message_type), 400), "{message_type:#x}");
        }
        if round == 0 {
            world.say(me, &frame(CONNECT, 0, JSON, connect_payload((JSON, false), "agent", "")));
            assert_eq!(world.one(me).message_type, CONNECT_ACK);
        }
    }
}

#[test]
fn a_second_connect_on_a_live_session_is_a_400() {
    let mut world = World::new();
    let me = world.client((JSON, true), "agent");
    for form in FORMS {
        world.say(me, &frame(CONNECT, 2, form.0, connect_payload(form, "agent", "any")));
        assert_eq!(world.one(me).error((JSON, true)).0, 2);
    }
    assert_eq!(world.sessions[me].client_id(), Some("agent"));
    assert_eq!(world.peers[me].closed, None);
}

#[test]
fn client_ids_have_1_to_255_bytes_and_no_control_characters() {
    let mut world = World::new();
    let longest = "ü".repeat(127) + "x";
    for (client_id, accepted) in [
        ("a", true),
        (longest.as_str(), true),
        ("with space and \"quote\"", true),
        ("", false),
        (&(longest.clone() + "x"), false),
        ("a\nb", false),
        ("a\0", false),
        ("\u{85}", false),
    ] {
        let me = world.open();
        let payload = connect_payload((JSON, false), client_id, "t");
        world.say(me, &frame(CONNECT, 1, JSON, payload));
        let got = world.one(me);
        assert_eq!(got.message_type == CONNECT_ACK, accepted, "{client_id:?}");
        assert!(accepted || got.flat_error() == 400);
    }
}

#[test]
fn a_connect_needs_both_fields_as_strings_and_nothing_twice() {
    let mut world = World::new();
    let me = world.open();
    for payload in [
        "",
        "null",
        "[]",
        "\"client_id\"",
        "{}",
        r#"{"client_id":"a"}"#,
        r#"{"auth_token":"t"}"#,
        r#"{"client_id":1,"auth_token":"t"}"#,
        r#"{"client_id":"a","auth_token":null}"#,
        r#"{"client_id":"a","auth_token":{}}"#,
        r#"{"client_id":"a","client_id":"b","auth_token":"t"}"#,
        r#"{"client_id":"a","client_\u0069d":"b","auth_token":"t"}"#,
        r#"{"client_id":"\ud800","auth_token":"t"}"#,
        r#"{"client_id":"a","auth_token":"t"} x"#,
        r#"{"client_id":"a","auth_token":"t",}"#,
        r#"{"connect":{"client_id":"a","auth_token":"t"}}"#,
        r#"{"Disconnect":{"client_id":"a","auth_token":"t"}}"#,
        r#"[{"client_id":"a","auth_token":"t"}]"#,
    ] {
        world.say(me, &frame(CONNECT, 1, JSON, payload));
        let got = world.one(me);
        let form = (JSON, payload.starts_with(r#"{"Disconnect"#));
        assert_eq!(got.error(form).0, code_in(form, 400), "{payload}");
    }
    for payload in [&b"\x05agent"[..], b"\x05agent\x02t", b"\x05agent\x01tt", b"\x01\xff\x01t", b""] {
        world.say(me, &frame(CONNECT, 1, BINARY, payload));
        assert_eq!(world.one(me).error((BINARY, false)).0, 2);
    }
    // Whitespace, further fields and escapes are no trouble.
    let payload = "\n{ \"x\" : [ { } ] , \"auth_token\" : \"t\" , \"client_\\u0069d\" : \"\\u0061\" }\t";
    world.say(me, &frame(CONNECT, 1, JSON, payload));
    assert_eq!(world.one(me).message_type, CONNECT_ACK);
    assert_eq!(world.sessions[me].client_id(), Some("a"));
}

#[test]
fn the_first_colon_splits_a_text_connect() {
    let keys = vec![ApiKey::parse("agent:se:cr:et").unwrap()];
    let mut world =
        World::with(|settings| settings.auth = Arc::new(Authenticator::new(&Credentials::Token(keys))));
    let me = world.open();
    world.say(me, &frame(CONNECT, 1, TEXT, "agent:se:cr:et"));
    assert_eq!(world.one(me).message_type, CONNECT_ACK);
}

#[test]
fn a_long_token_passes_in_json_and_cbor() {
    let token = "t".repeat(3000);
    let keys = vec![ApiKey::parse(&format!("agent:{token}")).unwrap()];
    let auth = Arc::new(Authenticator::new(&Credentials::Token(keys)));
    for form in [(JSON, false), (JSON, true), (CBOR, false), (CBOR, true)] {
        let mut world = World::with(|settings| settings.auth = auth.clone());
        let me = world.open();
        world.say(me, &frame(CONNECT, 1, form.0, connect_payload(form, "agent", &token)));
        assert_eq!(world.one(me).message_type, CONNECT_ACK);
    }
}

#[test]
fn a_disconnect_closes_with_1000_and_gives_the_id_up() {
    let cases: [(u8, &[u8]); 10] = [
        (JSON, b""),
        (JSON, b"{}"),
        (JSON, br#"{"client_id":"agent","reason":"done"}"#),
        (JSON, br#"{"Disconnect":{"client_id":"agent","reason":"done"}}"#),
        (JSON, br#"{"client_id":null,"reason":null}"#),
        (TEXT, b""),
        (TEXT, b"agent:done\xff"),
        (BINARY, b"\x00\x01"),
        (CBOR, b""),
        (CBOR, b"\xa1\x66reason\x64done"),
    ];
    for (payload_type, payload) in cases {
        let mut world = World::new();
        let me = world.client((JSON, false), "agent");
        // What stands behind it in the same message is not carried out.
        let behind = frame(HEARTBEAT, 1, TEXT, "");
        world.say(me, &[frame(DISCONNECT, 1, payload_type, payload), behind].concat());
        world.nothing(me);
        assert_eq!(world.peers[me].closed, Some((CloseCode::NORMAL, "")), "{payload:?}");
        assert!(world.directory.is_empty() && !world.sessions[me].is_live());
        world.with_session(me, |session, settings, ctx| session.ended(settings, "connection_closed", ctx));
        assert_eq!(world.events.len(), 2, "the end is told once");
    }
}

#[test]
fn a_disconnect_of_someone_else_is_a_400() {
    let mut world = World::new();
    let me = world.client((JSON, false), "agent");
    for payload in [
        r#"{"client_id":"other"}"#,
        r#"{"client_id":""}"#,
        r#"{"client_id":5}"#,
        r#"{"reason":5}"#,
        r#"{"Heartbeat":{}}"#,
        "[]",
    ] {
        world.say(me, &frame(DISCONNECT, 1, JSON, payload));
        assert_eq!(world.one(me).flat_error(), 400, "{payload}");
    }
    assert!(world.sessions[me].is_live());
}

#[test]
fn the_newer_connection_wins_and_the_older_is_told_and_closed() {
    let mut world = World::new();
    let old = world.client((JSON, true), "agent");
    let new = world.client((JSON, false), "agent");
    let got = world.one(old);
    assert_eq!((got.uuid, got.error((JSON, true)).0), (NIL, 6));
    assert_eq!(world.peers[old].closed, Some((CloseCode::POLICY, "Replaced by a newer connection")));
    world.with_session(old, |session, settings, ctx| session.ended(settings, "connection_closed", ctx));
    assert_eq!(world.directory.lookup(RealmId(7), "agent"), Some(key(new)));
    assert!(world.sessions[new].is_live());
    // Nothing of the old connection is carried out any more.
    world.say(old, &frame(HEARTBEAT, 1, TEXT, ""));
    world.nothing(old);
    let ends: Vec<_> = world.events.iter().filter(|e| e.event_type == "client_disconnected").collect();
    assert_eq!(ends.len(), 1);
    assert!(ends[0].details.contains(&("reason", "replaced".into())));
}

#[test]
fn an_id_that_is_kept_or_is_another_dialects_is_a_409() {
    let mut world = World::with(|settings| settings.on_duplicate = OnDuplicate::Reject);
    let old = world.client((JSON, false), "agent");
    world.directory.join(RealmId(7), "drone", key(99), DialectId(5), OnDuplicate::Replace).unwrap();
    let new = world.open();
    for id in ["agent", "drone"] {
        world.say(new, &frame(CONNECT, 1, JSON, connect_payload((JSON, false), id, "t")));
        assert_eq!(world.one(new).error((JSON, false)), (409, "Id is taken".to_owned()));
    }
    assert!(world.sessions[old].is_live() && !world.sessions[new].is_live());
    assert_eq!(world.directory.lookup(RealmId(7), "agent"), Some(key(old)));
    world.say(new, &frame(CONNECT, 1, JSON, connect_payload((JSON, false), "free", "t")));
    assert_eq!(world.one(new).message_type, CONNECT_ACK);
}

#[test]
fn a_batch_is_carried_out_in_order_and_broken_trailing_bytes_are_one_400() {
    let mut world = World::new();
    let me = world.open();
    let batch = [
        frame(CONNECT, 1, JSON, connect_payload((JSON, false), "agent", "t")),
        frame(HEARTBEAT, 2, TEXT, ""),
        frame(HEARTBEAT, 3, JSON, "{}"),
        frame(HEARTBEAT, 4, TEXT, ""),
    ]
    .concat();
    let expected =
        [(CONNECT_ACK, uuid(1)), (HEARTBEAT_ACK, uuid(2)), (ERROR, uuid(3)), (HEARTBEAT_ACK, uuid(4))];
    world.say(me, &batch);
    let seen = |got: Vec<Got>| got.iter().map(|got| (got.message_type, got.uuid)).collect::<Vec<_>>();
    assert_eq!(seen(world.all(me)), expected);
    let cut = frame(HEARTBEAT, 9, TEXT, "cut off");
    for (trailing, uuid_of_error) in [
        (&b"\x00"[..], NIL),
        (b"\xaa", NIL),
        (b"trailing garbage that is longer than a header", NIL),
        (&cut[..cut.len() - 1], uuid(9)),
    ] {
        world.say(me, &[&frame(HEARTBEAT, 2, TEXT, ""), trailing].concat());
        assert_eq!(seen(world.all(me)), [(HEARTBEAT_ACK, uuid(2)), (ERROR, uuid_of_error)]);
    }
    // The next message has its framing again.
    world.say(me, &frame(HEARTBEAT, 2, TEXT, ""));
    assert_eq!(world.one(me).message_type, HEARTBEAT_ACK);
}

#[test]
fn a_connection_that_is_held_back_stops_at_a_frame_and_goes_on_there() {
    let mut world = World::new();
    let me = world.client((JSON, false), "agent");
    let one = frame(HEARTBEAT, 2, TEXT, "");
    let batch = one.repeat(5);
    world.allowance = Some(2);
    assert_eq!(world.offer(me, &batch), 2 * one.len());
    assert_eq!(world.all(me).len(), 2);
    assert_eq!(world.offer(me, &batch[2 * one.len()..]), 2 * one.len());
    assert_eq!(world.all(me).len(), 2);
    assert_eq!(world.offer(me, &batch[4 * one.len()..]), one.len());
    world.all(me);
    let progress = world.stream(me, &batch);
    assert_eq!(progress, StreamProgress { consumed: 2 * one.len(), next: StreamNext::HeldBack });
}

#[test]
fn a_stream_may_be_cut_anywhere() {
    let mut bytes = frame(CONNECT, 1, TEXT, "agent:token");
    for number in 2..6 {
        bytes.extend(frame(HEARTBEAT, number, JSON, r#"{"timestamp":1}"#));
    }
    for piece_bytes in [1, 2, 7, 20, 21, 22, 50, bytes.len()] {
        let mut world = World::new();
        let me = world.open();
        let mut held = Vec::new();
        let mut wanted = 1;
        for piece in bytes.chunks(piece_bytes) {
            held.extend_from_slice(piece);
            let progress = world.stream(me, &held);
            assert!(progress.consumed == 0 || held.len() >= wanted, "no frame before its time");
            held.drain(..progress.consumed);
            let StreamNext::Read { frame_bytes_min } = progress.next else { panic!("{progress:?}") };
            assert!(frame_bytes_min > held.len());
            wanted = frame_bytes_min;
        }
        let uuids: Vec<_> = world.all(me).iter().map(|got| got.uuid).collect();
        assert_eq!(uuids, [1, 2, 3, 4, 5].map(uuid));
    }
}

#[test]
fn a_stream_that_lost_its_framing_gets_a_400_and_is_closed() {
    let mut world = World::new();
    let me = world.open();
    let bytes =
        [frame(CONNECT, 1, JSON, connect_payload((JSON, true), "agent", "t")), b"\xab\xaa".to_vec()].concat();
    let progress = world.stream(me, &bytes);
    assert_eq!(progress, StreamProgress { consumed: bytes.len(), next: StreamNext::Closed });
    let all = world.all(me);
    assert_eq!(all.len(), 2);
    assert_eq!((all[1].uuid, all[1].error((JSON, true)).0), (NIL, 2));
    assert!(world.peers[me].closed.is_some() && world.directory.is_empty());
    assert_eq!(world.stream(me, b"\xaa").next, StreamNext::Closed);
    // Other mistakes do not end a stream.
    let me = world.open();
    let progress = world.stream(me, &frame(0x77, 1, 0x88, "x"));
    assert_eq!(progress.next, StreamNext::Read { frame_bytes_min: frame::HEADER_BYTES });
    assert_eq!(world.one(me).flat_error(), 400);
    assert_eq!(world.peers[me].closed, None);
}

#[test]
fn a_text_message_has_a_code_of_its_own_for_tagged_clients() {
    let mut world = World::new();
    let fresh = world.open();
    world.with_session(fresh, Session::on_text);
    let got = world.one(fresh);
    assert_eq!((got.uuid, got.flat_error()), (NIL, 400));
    for (form, code) in FORMS.into_iter().zip([3, 400, 3, 400, 400, 3]) {
        let me = world.client(form, "agent");
        world.with_session(me, Session::on_text);
        let got = world.one(me);
        assert_eq!((got.uuid, got.error(form).0), (NIL, code));
        assert_eq!(world.peers[me].closed, None);
    }
}

#[test]
fn the_rate_limit_lets_a_second_of_messages_through_and_then_its_rate() {
    let mut world = World::with(|settings| settings.message_rate = 10);
    let me = world.client((JSON, true), "agent");
    let other = world.client((TEXT, false), "other");
    let heartbeat = frame(HEARTBEAT, 1, TEXT, "");
    world.say(me, &heartbeat.repeat(10));
    assert!(world.all(me).iter().all(|got| got.message_type == HEARTBEAT_ACK));
    // Not carried out, and answered with its own uuid.
    world.say(me, &frame(OFFER, 42, TEXT, "other:data"));
    let got = world.one(me);
    assert_eq!((got.uuid, got.error((JSON, true)).0), (uuid(42), 7));
    world.nothing(other);
    world.with_session(me, Session::on_text);
    assert_eq!(world.one(me).error((JSON, true)).0, 7);
    // A tenth of a second later there is room for one.
    world.now.mono_us += 100_000;
    world.say(me, &heartbeat.repeat(2));
    let types: Vec<_> = world.all(me).iter().map(|got| got.message_type).collect();
    assert_eq!(types, [HEARTBEAT_ACK, ERROR]);
    // A long silence saves up no more than a second's worth.
    world.now.mono_us += 100_000_000;
    world.say(me, &heartbeat.repeat(12));
    let errors = world.all(me).iter().filter(|got| got.message_type == ERROR).count();
    assert_eq!(errors, 2);
    // Others have their own.
    world.say(other, &heartbeat);
    assert_eq!(world.one(other).message_type, HEARTBEAT_ACK);
}

#[test]
fn while_draining_a_connect_is_a_503() {
    let mut world = World::new();
    world.draining = true;
    let me = world.open();
    for _ in 0..4 {
        world.say(me, &frame(CONNECT, 1, JSON, connect_payload((JSON, true), "agent", "t")));
        let got = world.one(me);
        assert_eq!(got.error((JSON, true)), (8, "Server is shutting down".to_owned()));
    }
    assert!(world.directory.is_empty() && world.peers[me].closed.is_none());
}

#[test]
fn refusals_are_whole_frames_in_flat_json_or_the_session_s_form() {
    for (refusal, code) in [
        (Refusal::TooManyConnections, 503),
        (Refusal::Draining, 503),
        (Refusal::NeedsTls, 400),
        (Refusal::Internal, 500),
    ] {
        let mut out = Vec::new();
        let label = write_refusal(None, refusal, &mut out);
        assert_eq!(ERROR_LABELS[usize::from(label)].1, code.to_string());
        let frame = frame::complete(&out).unwrap();
        assert_eq!((frame.message_type, frame.uuid, frame.payload_type), (ERROR, &NIL, JSON));
        let value: Value = serde_json::from_slice(frame.payload).unwrap();
        assert_eq!(value["error_code"], code);
    }
    let mut world = World::new();
    let me = world.client((TEXT, false), "agent");
    world.with_session(me, Session::failed);
    assert_eq!(world.one(me).error((TEXT, false)), (500, "Internal server error".to_owned()));
    assert_eq!(world.peers[me].closed, Some((CloseCode::INTERNAL, "Internal server error")));
    assert!(world.directory.is_empty());
}

#[test]
fn events_tell_what_happened_and_no_secret() {
    let mut world = World::guarded();
    let me = world.open();
    world.say(me, &frame(CONNECT, 1, TEXT, "agent:hush-hush"));
    let event = world.event();
    assert_eq!((event.event_type, event.client_id.as_str()), ("client_rejected", "agent"));
    assert_eq!(event.details, [("dialect", "binary".into()), ("reason", "bad_credentials".into())]);
    assert!(!format!("{event:?}").contains("hush"));
    world.say(me, &frame(CONNECT, 1, TEXT, "agent:secret"));
    let event = world.event();
    assert_eq!((event.event_type, event.unix_ms), ("client_connected", 1_700_000_000_123));
    assert!(!format!("{event:?}").contains("secret"));
    world.say(me, &frame(OFFER, 1, TEXT, "nobody:hush-hush"));
    let event = world.event();
    assert_eq!((event.event_type, event.client_id.as_str()), ("signal_undeliverable", "agent"));
    let expected = [
        ("message_type", Detail::from("SIGNAL_OFFER")),
        ("uuid", "01010101-0101-0101-0101-010101010101".into()),
        ("error_code", 404.into()),
        ("target", "nobody".into()),
    ];
    assert_eq!(event.details, expected);
    // What can be no id is not named: it may be SDP that came without its target.
    for target in ["é".repeat(20_000), "v=0\r\no=- 46117 2 IN IP4 192.168.7.7".to_owned()] {
        world.say(me, &frame(OFFER, 1, TEXT, target + ":x"));
        assert_eq!(world.event().details.len(), 3);
    }
    world.now.mono_us += 2_500_000;
    world.with_session(me, |session, settings, ctx| session.ended(settings, "connection_closed", ctx));
    let event = world.event();
    assert_eq!(event.event_type, "client_disconnected");
    let told =
        [("reason", "connection_closed".into()), ("duration_ms", 2500.into()), ("message_count", 4.into())];
    assert!(told.iter().all(|detail| event.details.contains(detail)), "{event:?}");
    assert!(world.events.is_empty());
}

#[test]
fn every_frame_is_counted_by_its_type_and_every_reply_too() {
    let mut world = World::new();
    let me = world.client((JSON, false), "agent");
    world.say(me, &frame(OFFER, 1, TEXT, "agent:to myself"));
    world.say(me, &frame(0x77, 1, JSON, ""));
    world.say(me, b"garbage");
    let count = |counters: &[Counter], name: &str| {
        counters[MESSAGE_LABELS.iter().position(|label| label.1 == name).unwrap()].get()
    };
    let ShardMetrics { messages_received: received, messages_sent: sent, errors, .. } = &world.metrics;
    assert_eq!(count(received, "CONNECT"), 1);
    assert_eq!(count(received, "SIGNAL_OFFER"), 1);
    assert_eq!(count(received, "unknown"), 2);
    assert_eq!(count(sent, "CONNECT_ACK"), 1);
    assert_eq!(count(sent, "SIGNAL_OFFER"), 1);
    assert_eq!(count(sent, "ERROR"), 2);
    assert_eq!((errors[0].get(), ERROR_LABELS[0].1), (2, "400"));
}
