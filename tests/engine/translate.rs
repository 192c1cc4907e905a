//! What a target receives: its own payload type and form, the payload untouched where both ends
//! agree, and the truth about the sender.

use ciborium::Value as Cbor;
use serde_json::Value;

use crate::harness::*;

const STAMP: &str = "sender_client_id";

/// A sender whose name takes more room than anything it could replace.
const LONG: &str = "a-name-that-is-longer-than-the-others";

/// What is hard to carry from one payload type to another.
const AWKWARD: &str = "v=0\r\na=x:y:z\r\n\"quoted\" \\back\\slash\\u0041 \u{1} \u{7f} é \u{2028} 🦀 {\"sender_client_id\":\"no\"}";

#[tokio::test]
async fn every_form_can_signal_to_every_form() {
    let server = Setup::new().open_to_all().start().await;
    let mut senders = Vec::new();
    let mut targets = Vec::new();
    for (index, form) in Form::ALL.into_iter().enumerate() {
        for via in Via::BOTH {
            senders.push(Client::login(server.main(), via, form, &format!("from-{index}-{via:?}")).await);
            targets.push(Client::login(server.main(), via, form, &format!("to-{index}-{via:?}")).await);
        }
    }
    for sender in &mut senders {
        for target in &mut targets {
            for kind in SIGNALS {
                for data in ["", "plain", AWKWARD] {
                    let sent = sender.signal(kind, &target.id, data).await;
                    let got = target.delivered(&sent).await;
                    let pair = format!("{:?} to {:?}", sender.form, target.form);
                    assert_eq!(got.data, data, "{pair}");
                    assert_eq!(got.sender.as_ref(), Some(&sender.id), "{pair}");
                    if !matches!(target.form, Form::Binary | Form::Text) {
                        assert_eq!(got.target.as_ref(), Some(&target.id), "{pair}");
                    }
                }
            }
        }
    }
    for client in senders.iter_mut().chain(&mut targets) {
        client.is_quiet_and_alive().await;
    }
}

/// Key order, spacing, number formats, escapes and unknown members all survive: the delivered text
/// is the sent text with one member put in.
#[tokio::test]
async fn json_passes_as_it_was_written_but_for_the_senders_name() {
    let server = Setup::new().start().await;
    let objects = [
        r#"{"target_client_id":"bob","signal_data":"v=0"}"#,
        r#"{"signal_data":"v=0","target_client_id":"bob"}"#,
        "\t{ \"signal_data\" :\n \"\\u0041\\/\\ud83e\\udd80\" , \"z\":1.50e+3, \"a\":-0.0,\"target_client_id\":\"bob\" }\r\n",
        r#"{"target_client_id":"\u0062ob","signal_data":{"sdp":"x","sender_client_id":"inner","n":[1,2.0,1E2]}}"#,
        r#"{"x":{"target_client_id":"carol"},"target_client_id":"bob","signal_data":null,"y":"}{\"]["}"#,
        r#"{"signal_data":[],"target_client_id":"bob","sender":"me","sender_client_idx":"also me"}"#,
        r#"{"target_client_id":"bob","signal_data":12345678901234567890123456789.10}"#,
        r#"{"target_client_id":"bob","signal_data":true,"":"","é":"é"}"#,
    ];
    for (from, to) in [
        (Form::FlatJson, Form::FlatJson),
        (Form::TaggedJson, Form::TaggedJson),
        (Form::FlatJson, Form::TaggedJson),
        (Form::TaggedJson, Form::FlatJson),
    ] {
        let mut alice = Client::login(server.main(), Via::WebSocket, from, "alice").await;
        let mut bob = Client::login(server.main(), Via::Tcp, to, "bob").await;
        for kind in SIGNALS {
            for object in objects {
                let sent = match from {
                    Form::TaggedJson => format!("{{\"{}\":{object}}}", tag_of(kind)),
                    _ => object.to_owned(),
                };
                let sent = flat_json(kind, &sent);
                alice.send(&sent).await;
                let got = bob.frame().await;
                assert_eq!((got.kind, got.uuid, got.payload_type), (kind, sent.uuid, 2));
                let got = match to {
                    Form::TaggedJson => untagged(&got),
                    _ => text_of(&got).trim().to_owned(),
                };
                assert_one_member_put_in(object.trim(), &got, "\"sender_client_id\":\"alice\"");
            }
        }
        alice.leave().await;
        bob.leave().await;
    }
}

#[tokio::test]
async fn a_forged_sender_never_passes_in_json() {
    let server = Setup::new().start().await;
    let objects = [
        r#"{"sender_client_id":"mallory","target_client_id":"bob","signal_data":"x"}"#,
        r#"{"target_client_id":"bob","signal_data":"x","sender_client_id":"mallory"}"#,
        r#"{"target_client_id":"bob","sender_client_\u0069d":"mallory","signal_data":"x"}"#,
        r#"{"target_client_id":"bob","\u0073\u0065nder_client_id":"mallory","signal_data":"x"}"#,
        r#"{"sender_client_id":"m1","target_client_id":"bob","sender_client_id":"m2","signal_data":"x"}"#,
        r#"{"sender_client_id":"m1","target_client_id":"bob","signal_data":"x","sender_client_\u0069d":"m2"}"#,
        r#"{"sender_client_id":"alice","target_client_id":"bob","signal_data":"x","sender_client_id":"mallory"}"#,
        r#"{"sender_client_id":null,"target_client_id":"bob","signal_data":"x"}"#,
        r#"{"sender_client_id":{"a":["}"]},"target_client_id":"bob","signal_data":"x"}"#,
        r#"{"sender_client_id" : 7 , "target_client_id":"bob","signal_data":"x"}"#,
        r#"{"sender_client_id":"","target_client_id":"bob","signal_data":"x"}"#,
    ];
    for (from, to) in all_of(&[Form::FlatJson, Form::TaggedJson], &Form::ALL) {
        let mut alice = Client::login(server.main(), Via::WebSocket, from, "alice").await;
        let mut bob = Client::login(server.main(), Via::WebSocket, to, "bob").await;
        for object in objects {
            let sent = match from {
                Form::TaggedJson => flat_json(OFFER, &format!("{{\"SignalOffer\":{object}}}")),
                _ => flat_json(OFFER, object),
            };
            let Some(got) = delivered_or_refused(&mut alice, &mut bob, &sent).await else {
                let names = entries(object).iter().filter(|(key, _)| key == STAMP).count();
                assert!(names > 1, "only an object with two senders in it may be refused: {object}");
                continue;
            };
            match to {
                Form::FlatJson => assert_only_the_sender_changed(object, text_of(&got)),
                Form::TaggedJson => assert_only_the_sender_changed(object, &untagged(&got)),
                _ => {
                    let signal = to.read_signal(&got);
                    assert_eq!((signal.sender.as_deref(), &*signal.data), (Some("alice"), "x"), "{object}");
                }
            }
        }
        alice.leave().await;
        bob.leave().await;
    }
}

/// A tag around the object is the sender's to write, and what stands beside the tag too.
#[tokio::test]
async fn a_forged_sender_beside_the_tag_never_reaches_a_flat_target() {
    let server = Setup::new().start().await;
    let mut alice = Client::login(server.main(), Via::WebSocket, Form::TaggedJson, "alice").await;
    let mut bob = Client::login(server.main(), Via::WebSocket, Form::FlatJson, "bob").await;
    let inner = r#"{"target_client_id":"bob","signal_data":"x"}"#;
    for outer in [
        format!(r#"{{"SignalOffer":{inner},"sender_client_id":"mallory"}}"#),
        format!(r#"{{"sender_client_id":"mallory","SignalOffer":{inner}}}"#),
    ] {
        let sent = flat_json(OFFER, &outer);
        if let Some(got) = delivered_or_refused(&mut alice, &mut bob, &sent).await {
            assert_eq!(bob.form.read_signal(&got).sender.as_deref(), Some("alice"), "{outer}");
        }
    }
    bob.is_quiet_and_alive().await;
}

#[tokio::test]
async fn cbor_passes_as_it_was_written_but_for_the_senders_name() {
    let server = Setup::new().start().await;
    let text = |it: &str| Cbor::Text(it.into());
    let values = [
        text("v=0\r\n"),
        Cbor::Map(vec![(text("sender_client_id"), text("inner")), (Cbor::Integer(1.into()), Cbor::Null)]),
        Cbor::Array(vec![Cbor::Float(1.5), Cbor::Bool(true), Cbor::Bytes(vec![0, 255])]),
    ];
    for (from, to) in all_of(&[Form::FlatCbor, Form::TaggedCbor], &[Form::FlatCbor, Form::TaggedCbor]) {
        let mut alice = Client::login(server.main(), Via::WebSocket, from, "alice").await;
        let mut bob = Client::login(server.main(), Via::WebSocket, to, "bob").await;
        for value in &values {
            let sent = vec![
                (text("extra"), Cbor::Integer(7.into())),
                (text("signal_data"), value.clone()),
                (text("target_client_id"), text("bob")),
            ];
            let frame = cbor_signal(from, OFFER, Cbor::Map(sent.clone()));
            alice.send(&frame).await;
            let got = bob.frame().await;
            assert_eq!((got.kind, got.uuid, got.payload_type), (OFFER, frame.uuid, 5));
            let (stamps, rest) = split_stamps(cbor_members(to, &got));
            assert_eq!(stamps, [text("alice")]);
            assert_eq!(rest, sent);
        }
        alice.leave().await;
        bob.leave().await;
    }
}

#[tokio::test]
async fn a_forged_sender_never_passes_in_cbor() {
    let server = Setup::new().start().await;
    let key = |it: &str| [&[0x60 | it.len() as u8][..], it.as_bytes()].concat();
    let long = |it: &str| [&[0x78, it.len() as u8][..], it.as_bytes()].concat();
    let target = [key("target_client_id"), key("bob")].concat();
    let data = [key("signal_data"), key("x")].concat();
    let in_chunks = [&[0x7f][..], &key("sender_"), &key("client_id"), &[0xff]].concat();
    let long_chunk = [&[0x79, 0, 16][..], STAMP.as_bytes()].concat();
    let forged = key("mallory");
    let members = |count: u8, parts: &[&[u8]]| [&[0xa0 | count][..], &parts.concat()].concat();
    let open_map = |parts: &[&[u8]]| [&[0xbf][..], &parts.concat(), &[0xff]].concat();
    let objects: Vec<(&str, Vec<u8>)> = vec![
        ("first", members(3, &[&key(STAMP), &forged, &target, &data])),
        ("last", members(3, &[&target, &data, &key(STAMP), &forged])),
        ("twice", members(4, &[&key(STAMP), &forged, &target, &data, &key(STAMP), &key("m2")])),
        ("key with a long head", members(3, &[&long(STAMP), &forged, &target, &data])),
        ("key with a longer head", members(3, &[&target, &long_chunk, &forged, &data])),
        ("key in chunks", members(3, &[&target, &in_chunks, &forged, &data])),
        ("map without length", open_map(&[&target, &key(STAMP), &forged, &data])),
        ("chunked key in a map without length", open_map(&[&in_chunks, &forged, &target, &data])),
        ("value is a map", members(3, &[&key(STAMP), &members(1, &[&key("a"), &key("b")]), &target, &data])),
        ("map without length and no lie", open_map(&[&target, &data])),
    ];
    for (from, to) in all_of(&[Form::FlatCbor, Form::TaggedCbor], &Form::ALL) {
        let mut alice = Client::login(server.main(), Via::WebSocket, from, "alice").await;
        let mut bob = Client::login(server.main(), Via::WebSocket, to, "bob").await;
        for (name, object) in &objects {
            let payload = match from {
                Form::TaggedCbor => members(1, &[&key("SignalOffer"), object]),
                _ => object.clone(),
            };
            let sent = Frame::new(OFFER, 5, payload);
            let Some(got) = delivered_or_refused(&mut alice, &mut bob, &sent).await else {
                assert_eq!(*name, "twice", "only an object with two senders in it may be refused");
                continue;
            };
            if matches!(to, Form::FlatCbor | Form::TaggedCbor) {
                let (stamps, rest) = split_stamps(cbor_members(to, &got));
                assert!(
                    !stamps.is_empty() && stamps.iter().all(|it| it.as_text() == Some("alice")),
                    "{name}"
                );
                assert_eq!(rest.len(), 2, "{name}");
            } else {
                let signal = to.read_signal(&got);
                assert_eq!((signal.sender.as_deref(), &*signal.data), (Some("alice"), "x"), "{name}");
            }
        }
        alice.leave().await;
        bob.leave().await;
    }
}

/// Some CBOR libraries take a byte string for the name of a field.
#[tokio::test]
async fn a_forged_sender_under_a_byte_string_key_is_refused_or_passes_beside_the_truth() {
    let server = Setup::new().start().await;
    let mut alice = Client::login(server.main(), Via::WebSocket, Form::FlatCbor, "alice").await;
    let mut bob = Client::login(server.main(), Via::WebSocket, Form::FlatCbor, "bob").await;
    let text = |it: &str| Cbor::Text(it.into());
    let sent = cbor_signal(
        Form::FlatCbor,
        OFFER,
        Cbor::Map(vec![
            (text("target_client_id"), text("bob")),
            (text("signal_data"), text("x")),
            (Cbor::Bytes(STAMP.into()), text("mallory")),
        ]),
    );
    if let Some(got) = delivered_or_refused(&mut alice, &mut bob, &sent).await {
        let (stamps, _) = split_stamps(cbor_members(Form::FlatCbor, &got));
        assert_eq!(stamps, [text("alice")]);
    }
}

#[tokio::test]
async fn without_stamps_where_both_ends_agree_every_byte_passes() {
    let server = Setup::new().section("[binary]\nstamp_sender = false").start().await;
    for form in Form::ALL {
        let mut alice = Client::login(server.main(), Via::WebSocket, form, "alice").await;
        let mut bob = Client::login(server.main(), Via::Tcp, form, "bob").await;
        for kind in SIGNALS {
            let sent = alice.signal(kind, "bob", AWKWARD).await;
            assert_eq!(bob.frame().await, sent, "{form:?}");
        }
        alice.leave().await;
        bob.leave().await;
    }
}

#[tokio::test]
async fn without_stamps_every_form_still_reaches_every_form() {
    let server = Setup::new().section("[binary]\nstamp_sender = false").start().await;
    for (from, to) in all_of(&Form::ALL, &Form::ALL) {
        let mut alice = Client::login(server.main(), Via::WebSocket, from, "alice").await;
        let mut bob = Client::login(server.main(), Via::WebSocket, to, "bob").await;
        let sent = alice.signal(ANSWER, "bob", AWKWARD).await;
        let got = bob.delivered(&sent).await;
        assert_eq!(got.data, AWKWARD, "{from:?} to {to:?}");
        assert_ne!(got.sender.as_deref(), Some("alice"), "{from:?} to {to:?}");
        alice.leave().await;
        bob.leave().await;
    }
}

/// 65,535 bytes leave no room for a further member: the frame passes as it is. Text and binary
/// payloads name the sender in place of the target, and a name that finds no room there leaves the
/// choice between that and a refusal.
#[tokio::test]
async fn a_full_payload_passes_unstamped() {
    let server = Setup::new().start().await;
    for form in Form::ALL {
        let mut alice = Client::login(server.main(), Via::WebSocket, form, LONG).await;
        let mut bob = Client::login(server.main(), Via::WebSocket, form, "bob").await;
        let sent = full_signal(form, "bob");
        match delivered_or_refused(&mut alice, &mut bob, &sent).await {
            Some(got) => assert!(got == sent, "{form:?}: {} bytes, or others than sent", got.payload.len()),
            None => assert!(matches!(form, Form::Binary | Form::Text), "{form:?} is refused"),
        }
        let small = alice.signal(OFFER, "bob", "small").await;
        assert_eq!(bob.delivered(&small).await.sender.as_deref(), Some(LONG), "{form:?}");
        alice.leave().await;
        bob.leave().await;
    }
}

/// A full payload with a lie in it has no room for a longer truth; the lie must not pass for that.
#[tokio::test]
async fn a_full_payload_never_carries_a_forged_sender() {
    let server = Setup::new().start().await;
    let mut alice = Client::login(server.main(), Via::WebSocket, Form::FlatJson, LONG).await;
    let mut bob = Client::login(server.main(), Via::WebSocket, Form::FlatJson, "bob").await;
    let head = r#"{"sender_client_id":"m","target_client_id":"bob","signal_data":""#;
    let payload = format!("{head}{}\"}}", "x".repeat(PAYLOAD_BYTES_MAX - head.len() - 2));
    let sent = flat_json(OFFER, &payload);
    assert_eq!(sent.payload.len(), PAYLOAD_BYTES_MAX);
    if let Some(got) = delivered_or_refused(&mut alice, &mut bob, &sent).await {
        for (key, value) in entries(text_of(&got)) {
            assert!(key != STAMP || value == format!("\"{LONG}\""), "{value}");
        }
    }
}

#[tokio::test]
async fn another_value_than_a_string_becomes_its_json_text_where_the_ends_differ() {
    let server = Setup::new().start().await;
    let value = r#"{"sdp":"v=0\r\n","n":[1,2.5,null,true],"é":"\u00e9"}"#;
    let wanted: Value = serde_json::from_str(value).expect("JSON");
    let object = format!(r#"{{"target_client_id":"bob","signal_data":{value}}}"#);
    let in_cbor = |form| {
        let member = |name: &str, value| (Cbor::Text(name.into()), value);
        let value = Cbor::serialized(&wanted).expect("JSON fits in CBOR");
        let target = Cbor::Text("bob".into());
        cbor_signal(
            form,
            OFFER,
            Cbor::Map(vec![member("target_client_id", target), member("signal_data", value)]),
        )
    };
    for (from, to) in all_of(&Form::ALL[2..], &Form::ALL) {
        if from.payload_type() == to.payload_type() {
            continue;
        }
        let mut alice = Client::login(server.main(), Via::WebSocket, from, "alice").await;
        let mut bob = Client::login(server.main(), Via::WebSocket, to, "bob").await;
        let sent = match from {
            Form::FlatJson => flat_json(OFFER, &object),
            Form::TaggedJson => flat_json(OFFER, &format!("{{\"SignalOffer\":{object}}}")),
            _ => in_cbor(from),
        };
        alice.send(&sent).await;
        let got = bob.delivered(&sent).await;
        let value: Value = serde_json::from_str(&got.data).unwrap_or_else(|error| panic!("{error}: {got:?}"));
        assert_eq!(value, wanted, "{from:?} to {to:?}");
        assert_eq!(got.sender.as_deref(), Some("alice"));
        alice.leave().await;
        bob.leave().await;
    }
}

/// Bytes that are no text pass between two binary clients.
#[tokio::test]
async fn binary_data_may_hold_any_bytes() {
    let server = Setup::new().start().await;
    let mut alice = Client::login(server.main(), Via::WebSocket, Form::Binary, "alice").await;
    let mut bob = Client::login(server.main(), Via::Tcp, Form::Binary, "bob").await;
    let data: Vec<u8> = (0..=255).chain([0xAA, 0xff, 0xc3]).collect();
    let length = (data.len() as u16).to_be_bytes();
    let payload = |id: &[u8]| [&[id.len() as u8][..], id, &length, &data].concat();
    let sent = Frame::new(CANDIDATE, 1, payload(b"bob"));
    alice.send(&sent).await;
    assert_eq!(bob.frame().await, Frame { payload: payload(b"alice"), ..sent });
}

#[tokio::test]
async fn a_client_may_signal_to_itself() {
    let server = Setup::new().start().await;
    for form in Form::ALL {
        let mut alice = Client::login(server.main(), Via::WebSocket, form, "alice").await;
        let sent = alice.signal(OFFER, "alice", "echo").await;
        let got = alice.delivered(&sent).await;
        assert_eq!((got.data.as_str(), got.sender.as_deref()), ("echo", Some("alice")), "{form:?}");
        alice.leave().await;
    }
}

/// The frame that `to` receives, or nothing when `from` is told 400. Either may take a way across
/// shards, so whatever comes first decides; the other must then stay quiet.
async fn delivered_or_refused(from: &mut Client, to: &mut Client, sent: &Frame) -> Option<Frame> {
    from.send(sent).await;
    let (told, event) = within("delivered or refused", async {
        tokio::select! {
            event = from.next_unbounded() => (true, event),
            event = to.next_unbounded() => (false, event),
        }
    })
    .await;
    let Event::Frame(frame) = event else { panic!("closed: {event:?}") };
    assert_eq!(frame.uuid, sent.uuid, "{frame:?}");
    if told {
        assert_eq!(from.form.read_error(&frame).0, from.form.code(400));
        to.is_quiet_and_alive().await;
        return None;
    }
    assert_eq!(frame.kind, sent.kind);
    from.is_quiet_and_alive().await;
    Some(frame)
}

fn all_of(from: &[Form], to: &[Form]) -> Vec<(Form, Form)> {
    from.iter().flat_map(|from| to.iter().map(|to| (*from, *to))).collect()
}

/// `got` is `sent` with `member` and one comma put in at one place.
fn assert_one_member_put_in(sent: &str, got: &str, member: &str) {
    let start = sent.bytes().zip(got.bytes()).take_while(|(a, b)| a == b).count();
    let end = sent.bytes().rev().zip(got.bytes().rev()).take_while(|(a, b)| a == b).count();
    assert!(start + end >= sent.len(), "bytes changed beside the new member:\n{sent}\n{got}");
    let (mut with, mut without) = (entries(got), entries(sent));
    let stamps = with.iter().filter(|(key, _)| key == STAMP).count();
    assert_eq!(stamps, 1, "{got}");
    with.retain(|(key, _)| key != STAMP);
    without.retain(|(key, _)| key != STAMP);
    assert_eq!(with, without);
    assert!(got.contains(member), "{got}");
    assert_eq!(got.len(), sent.len() + member.len() + 1, "one member and one comma: {got}");
}

/// Every sender that `got` names is alice, and the other members are as in `sent`, in that order.
fn assert_only_the_sender_changed(sent: &str, got: &str) {
    let (mut before, mut after) = (entries(sent), entries(got));
    let stamps: Vec<_> =
        after.iter().filter(|(key, _)| key == STAMP).map(|(_, value)| value.clone()).collect();
    assert!(!stamps.is_empty() && stamps.iter().all(|it| it == "\"alice\""), "{got}");
    before.retain(|(key, _)| key != STAMP);
    after.retain(|(key, _)| key != STAMP);
    assert_eq!(before, after);
}

fn cbor_signal(form: Form, kind: u8, object: Cbor) -> Frame {
    let value = match form {
        Form::TaggedCbor => Cbor::Map(vec![(Cbor::Text(tag_of(kind).into()), object)]),
        _ => object,
    };
    let mut payload = Vec::new();
    ciborium::into_writer(&value, &mut payload).expect("a vector takes all");
    Frame::new(kind, 5, payload)
}

fn cbor_members(form: Form, frame: &Frame) -> Vec<(Cbor, Cbor)> {
    let value = cbor_of(&frame.payload);
    let Cbor::Map(mut members) = value else { panic!("no map: {value:?}") };
    if form != Form::TaggedCbor {
        return members;
    }
    assert_eq!(members.len(), 1, "one tag and nothing beside it");
    let (tag, inner) = members.remove(0);
    assert_eq!(tag.as_text(), Some(tag_of(frame.kind)));
    let Cbor::Map(members) = inner else { panic!("no map: {inner:?}") };
    members
}

/// What names the sender, and the other members.
fn split_stamps(members: Vec<(Cbor, Cbor)>) -> (Vec<Cbor>, Vec<(Cbor, Cbor)>) {
    let (stamps, rest): (Vec<_>, Vec<_>) =
        members.into_iter().partition(|(key, _)| key.as_text() == Some(STAMP));
    (stamps.into_iter().map(|(_, value)| value).collect(), rest)
}

/// A signal whose payload is exactly as long as a frame can say.
fn full_signal(form: Form, target: &str) -> Frame {
    let empty = form.signal(OFFER, target, "").payload.len();
    let mut length = PAYLOAD_BYTES_MAX - empty;
    let mut frame = form.signal(OFFER, target, &"x".repeat(length));
    // A long CBOR string has a longer head than an empty one.
    while frame.payload.len() > PAYLOAD_BYTES_MAX {
        length -= frame.payload.len() - PAYLOAD_BYTES_MAX;
        frame = form.signal(OFFER, target, &"x".repeat(length));
    }
    assert_eq!(frame.payload.len(), PAYLOAD_BYTES_MAX);
    frame
}
