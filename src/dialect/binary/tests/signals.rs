//! What a target receives, and what a sender hears when it does not.

use super::*;

const SDP: &str = "v=0\r\no=- 46117 2 IN IP4 127.0.0.1\r\ns=-\r\na=group:BUNDLE 0\r\n\"é😀\\";

/// First name and data of a delivered signal, in any form.
fn delivered(got: &Got, form: (u8, bool), tag: &str) -> (Value, String) {
    match form.0 {
        BINARY => {
            let (name, rest) = got.payload[1..].split_at(got.payload[0].into());
            let (length, data) = rest.split_first_chunk::<2>().unwrap();
            assert_eq!(usize::from(u16::from_be_bytes(*length)), data.len());
            (String::from_utf8(name.to_vec()).unwrap().into(), String::from_utf8(data.to_vec()).unwrap())
        }
        TEXT => {
            let (name, data) = std::str::from_utf8(&got.payload).unwrap().split_once(':').unwrap();
            (name.into(), data.to_owned())
        }
        _ => {
            let mut fields = got.fields(form, tag);
            assert_eq!(fields["target_client_id"], "bob");
            (fields["sender_client_id"].take(), fields["signal_data"].as_str().unwrap().to_owned())
        }
    }
}

#[test]
fn every_form_reaches_every_form_with_the_sender_named() {
    for from in FORMS {
        for to in FORMS {
            let mut world = World::new();
            let alice = world.client(from, "alice");
            let bob = world.client(to, "bob");
            for (message_type, tag) in
                [(OFFER, "SignalOffer"), (ANSWER, "SignalAnswer"), (CANDIDATE, "SignalIceCandidate")]
            {
                let payload = signal_payload(from, tag, "bob", SDP);
                world.say(alice, &frame(message_type, 33, from.0, payload));
                world.nothing(alice);
                let got = world.one(bob);
                assert_eq!((got.message_type, got.uuid, got.payload_type), (message_type, uuid(33), to.0));
                assert_eq!(delivered(&got, to, tag), ("alice".into(), SDP.to_owned()), "{from:?} {to:?}");
            }
        }
    }
}

#[test]
fn without_stamps_every_form_reaches_every_form_too() {
    for from in FORMS {
        for to in FORMS {
            let mut world = World::with(|settings| settings.stamp_sender = false);
            let alice = world.client(from, "alice");
            let bob = world.client(to, "bob");
            let payload = signal_payload(from, "SignalOffer", "bob", SDP);
            world.say(alice, &frame(OFFER, 33, from.0, &payload));
            let got = world.one(bob);
            let name = if matches!(to.0, BINARY | TEXT) { "bob".into() } else { Value::Null };
            assert_eq!(delivered(&got, to, "SignalOffer"), (name, SDP.to_owned()), "{from:?} {to:?}");
            if from == to {
                assert_eq!(got.payload, payload);
            }
        }
    }
    // All of it is off: what a sender claims is its own affair then.
    let mut world = World::with(|settings| settings.stamp_sender = false);
    let alice = world.client((JSON, false), "alice");
    let bob = world.client((JSON, false), "bob");
    let payload = r#"{"sender_client_id":"liar","target_client_id":"bob","signal_data":""}"#;
    world.say(alice, &frame(OFFER, 1, JSON, payload));
    assert_eq!(world.one(bob).payload, payload.as_bytes());
}

#[test]
fn where_both_ends_agree_the_bytes_pass_as_they_are() {
    let mut world = World::new();
    let alice = world.client((JSON, false), "al\"ice");
    let bob = world.client((JSON, false), "bob");
    let odd = "\n { \"extra\" : [1.50, {\"z\":1,\"a\":2}] , \"target_client_id\":\"b\\u006fb\",\
               \"signal_data\" : {\"sdp\":\"\\u00e9\\/\"} \t} ";
    world.say(alice, &frame(OFFER, 1, JSON, odd));
    let expected = odd.replace(" \t} ", " \t,\"sender_client_id\":\"al\\\"ice\"} ");
    assert_eq!(String::from_utf8(world.one(bob).payload).unwrap(), expected);

    // With a tag: the same inside it, and tag and spacing stay.
    let carol = world.client((JSON, true), "carol");
    let dave = world.client((JSON, true), "dave");
    world.say(
        carol,
        &frame(OFFER, 1, JSON, r#"{ "SignalOffer" : {"target_client_id":"dave","signal_data":1} }"#),
    );
    let expected =
        r#"{ "SignalOffer" : {"target_client_id":"dave","signal_data":1,"sender_client_id":"carol"} }"#;
    assert_eq!(world.one(dave).payload, expected.as_bytes());
    // A tag is put on, and taken off, around the same bytes.
    world.say(alice, &frame(ANSWER, 1, JSON, r#" {"target_client_id":"dave", "signal_data":1} "#));
    let expected =
        r#"{"SignalAnswer":{"target_client_id":"dave", "signal_data":1,"sender_client_id":"al\"ice"}}"#;
    assert_eq!(world.one(dave).payload, expected.as_bytes());
    world.say(
        carol,
        &frame(
            CANDIDATE,
            1,
            JSON,
            r#"{"SignalIceCandidate": {"target_client_id":"bob", "signal_data":[] } }"#,
        ),
    );
    let expected = r#"{"target_client_id":"bob", "signal_data":[] ,"sender_client_id":"carol"}"#;
    assert_eq!(world.one(bob).payload, expected.as_bytes());
}

#[test]
fn cbor_passes_with_one_entry_more_definite_or_not() {
    let mut world = World::new();
    let alice = world.client((CBOR, false), "alice");
    let bob = world.client((CBOR, false), "bob");
    let dave = world.client((CBOR, true), "dave");
    let entries = |target: &str| {
        let mut encoder = minicbor::Encoder::new(Vec::new());
        encoder.str("target_client_id").unwrap().str(target).unwrap();
        encoder.str("signal_data").unwrap().bytes(&[0, 255]).unwrap();
        encoder.u8(1).unwrap().array(1).unwrap().null().unwrap();
        encoder.into_writer()
    };
    let stamp = cbor_map(&[("sender_client_id", "alice")])[1..].to_vec();
    for (head, tail, new_head) in
        [(&b"\xa3"[..], &b""[..], &b"\xa4"[..]), (b"\xb8\x03", b"", b"\xa4"), (b"\xbf", b"\xff", b"\xbf")]
    {
        let flat = |target| [head, &entries(target), tail].concat();
        let stamped = |target| [new_head, &entries(target), &stamp, tail].concat();
        world.say(alice, &frame(OFFER, 1, CBOR, flat("bob")));
        assert_eq!(world.one(bob).payload, stamped("bob"));
        world.say(alice, &frame(OFFER, 1, CBOR, flat("dave")));
        assert_eq!(world.one(dave).payload, tagged_cbor("SignalOffer", &stamped("dave")));
        world.say(alice, &frame(OFFER, 1, CBOR, tagged_cbor("SignalOffer", &flat("bob"))));
        assert_eq!(world.one(bob).payload, stamped("bob"));
        // A tag in an indefinite map stays as it is.
        let wrap = |object: Vec<u8>| [&b"\xbf\x6bSignalOffer"[..], &object, b"\xff"].concat();
        world.say(alice, &frame(OFFER, 1, CBOR, wrap(flat("dave"))));
        assert_eq!(world.one(dave).payload, wrap(stamped("dave")));
    }
    // The head grows where the count no longer fits it.
    let mut many = vec![0xb7];
    for number in 0..21 {
        many.extend_from_slice(&[number, 0xf6]);
    }
    many.extend_from_slice(&cbor_map(&[("target_client_id", "bob"), ("signal_data", "")])[1..]);
    world.say(alice, &frame(OFFER, 1, CBOR, &many));
    assert_eq!(world.one(bob).payload, [b"\xb8\x18", &many[1..], &stamp].concat());
}

#[test]
fn a_sender_cannot_be_forged_in_json() {
    let mut world = World::new();
    let mallory = world.client((JSON, false), "mallory");
    let bob = world.client((JSON, false), "bob");
    let tagged = world.client((JSON, true), "tagged");
    for claim in [
        r#""sender_client_id":"alice""#,
        r#""sender_client_id" : {"x":["alice"]}"#,
        r#""sender_client_id":null"#,
        r#""sender_client_\u0069d":"alice""#,
        r#""\u0073\u0065nder_client_id":"alice""#,
    ] {
        for target in ["bob", "tagged"] {
            for payload in [
                format!(r#"{{{claim},"target_client_id":"{target}","signal_data":"x"}}"#),
                format!(r#"{{"target_client_id":"{target}",{claim},"signal_data":"x"}}"#),
                format!(r#"{{"SignalOffer":{{"target_client_id":"{target}","signal_data":"x",{claim}}}}}"#),
            ] {
                world.say(mallory, &frame(OFFER, 1, JSON, &payload));
                let (to, form) = if target == "bob" { (bob, (JSON, false)) } else { (tagged, (JSON, true)) };
                let got = world.one(to);
                let text = String::from_utf8(got.payload.clone()).unwrap();
                assert!(!text.contains("alice"), "{text}");
                let fields = got.fields(form, "SignalOffer");
                assert_eq!(fields["sender_client_id"], "mallory", "{text}");
                assert_eq!(fields.as_object().unwrap().len(), 3);
            }
        }
    }
    // Of two claims both are overwritten, however they are spelt and whatever the target's form.
    for key in ["sender_client_id", r"sender_client_\u0069d"] {
        let payload = format!(
            r#"{{"sender_client_id":"a", "target_client_id":"bob","{key}" : "b","signal_data":"x"}}"#
        );
        let passed = payload.replace("\"a\"", "\"mallory\"").replace("\"b\"", "\"mallory\"");
        world.say(mallory, &frame(OFFER, 1, JSON, &payload));
        assert_eq!(String::from_utf8(world.one(bob).payload).unwrap(), passed);
        world.say(mallory, &frame(OFFER, 1, JSON, payload.replace("\"bob\"", "\"tagged\"")));
        let expected = format!("{{\"SignalOffer\":{}}}", passed.replace("\"bob\"", "\"tagged\""));
        assert_eq!(String::from_utf8(world.one(tagged).payload).unwrap(), expected);
    }
    // Other fields stand once, and nothing beside a tag is a claim.
    for payload in [
        r#"{"target_client_id":"bob","signal_data":"x","signal_data":"y"}"#,
        r#"{"target_client_id":"bob","target_client_id":"tagged","signal_data":"x"}"#,
        r#"{"SignalOffer":{"target_client_id":"bob","signal_data":"x"},"sender_client_id":"alice"}"#,
        r#"{"SignalAnswer":{"target_client_id":"bob","signal_data":"x"}}"#,
    ] {
        world.say(mallory, &frame(OFFER, 1, JSON, payload));
        assert_eq!(world.one(mallory).flat_error(), 400, "{payload}");
        world.nothing(bob);
    }
    // A field that is called like a tag, beside others, is just a field.
    let payload = r#"{"SignalOffer":{"sender_client_id":1},"target_client_id":"bob","signal_data":"x"}"#;
    world.say(mallory, &frame(OFFER, 1, JSON, payload));
    let fields = world.one(bob).fields((JSON, false), "");
    assert_eq!(fields["sender_client_id"], "mallory");
    assert_eq!(fields["SignalOffer"]["sender_client_id"], 1);
}

#[test]
fn a_sender_cannot_be_forged_in_cbor() {
    let mut world = World::new();
    let mallory = world.client((CBOR, false), "mallory");
    let bob = world.client((CBOR, false), "bob");
    let routed = &cbor_map(&[("target_client_id", "bob"), ("signal_data", "x")])[1..];
    let plain = &cbor_map(&[("sender_client_id", "alice")])[1..];
    let chunked = b"\x7f\x67sender_\x69client_id\xff\x65alice";
    for claim in [plain, chunked] {
        for payload in [
            [b"\xa3", claim, routed].concat(),
            [b"\xa3", routed, claim].concat(),
            [b"\xbf", claim, routed, b"\xff"].concat(),
            tagged_cbor("SignalOffer", &[b"\xa3", routed, claim].concat()),
        ] {
            world.say(mallory, &frame(OFFER, 1, CBOR, &payload));
            let got = world.one(bob);
            let fields = got.fields((CBOR, false), "");
            assert_eq!(fields["sender_client_id"], "mallory");
            assert_eq!(fields.as_object().unwrap().len(), 3);
            assert!(!got.payload.windows(5).any(|window| window == b"alice"));
        }
    }
    // Of two claims both are overwritten.
    world.say(mallory, &frame(OFFER, 1, CBOR, [b"\xa4", routed, plain, chunked].concat()));
    let got = world.one(bob);
    assert!(!got.payload.windows(5).any(|window| window == b"alice"));
    assert_eq!(got.payload.windows(7).filter(|window| window == b"mallory").count(), 2);
}

#[test]
fn a_forged_sender_is_left_behind_in_conversions() {
    let mut world = World::new();
    let mallory = world.client((JSON, false), "mallory");
    let bob = world.client((CBOR, true), "bob");
    let payload = r#"{"sender_client_id":"alice","extra":5,"target_client_id":"bob","signal_data":"x"}"#;
    world.say(mallory, &frame(OFFER, 1, JSON, payload));
    let expected = [("target_client_id", "bob"), ("signal_data", "x"), ("sender_client_id", "mallory")];
    assert_eq!(world.one(bob).payload, tagged_cbor("SignalOffer", &cbor_map(&expected)));
}

#[test]
fn data_that_is_no_string_is_converted_to_its_json_text() {
    let mut world = World::new();
    let alice = world.client((JSON, false), "alice");
    let clients =
        [(BINARY, false), (TEXT, false), (CBOR, false)].map(|form| (form, world.client(form, "bob")));
    let (form, bob) = clients[2];
    for (data, text) in [
        (r#"{"candidate": "c:1", "sdpMLineIndex":0}"#, r#"{"candidate": "c:1", "sdpMLineIndex":0}"#),
        ("[1, 2.50]", "[1, 2.50]"),
        ("null", "null"),
        ("-1e3", "-1e3"),
        (r#""a\n\u00e9""#, "a\né"),
    ] {
        world.say(
            alice,
            &frame(OFFER, 1, JSON, format!(r#"{{"target_client_id":"bob","signal_data": {data} }}"#)),
        );
        assert_eq!(delivered(&world.one(bob), form, "").1, text);
    }
    // From CBOR it is JSON's text as well, also in JSON: there signal_data stays a string.
    let carol = world.client((JSON, true), "bob");
    let mut encoder = minicbor::Encoder::new(Vec::new());
    encoder.map(2).unwrap().str("target_client_id").unwrap().str("bob").unwrap();
    encoder.str("signal_data").unwrap().map(1).unwrap().str("a").unwrap().array(2).unwrap();
    encoder.i8(-1).unwrap().bool(true).unwrap();
    world.say(alice, &frame(OFFER, 1, CBOR, encoder.into_writer()));
    assert_eq!(delivered(&world.one(carol), (JSON, true), "SignalOffer").1, r#"{"a":[-1,true]}"#);
}

#[test]
fn what_cannot_be_said_in_the_target_s_form_is_a_400() {
    let mut world = World::new();
    let alice = world.client((JSON, false), "ali:ce");
    world.client((JSON, false), "json");
    world.client((TEXT, false), "text");
    world.client((CBOR, false), "cbor");
    let binary = world.client((BINARY, false), "binary");
    let not_utf8 = |target: &str| [with_length_byte(target), b"\x00\x02\xff\xfe".to_vec()].concat();
    let cbor_data = |target: &str, data: &[u8]| {
        let entries = cbor_map(&[("target_client_id", target)]);
        [b"\xa2", &entries[1..], b"\x6bsignal_data", data].concat()
    };
    let refused = [
        (BINARY, not_utf8("json")),
        (BINARY, not_utf8("cbor")),
        (BINARY, not_utf8("text")),
        // The sender's id has a colon, where a colon ends it.
        (JSON, signal_payload((JSON, false), "", "text", "x")),
        (TEXT, b"text:x".to_vec()),
        (JSON, br#"{"target_client_id":"cbor","signal_data":"\ud800"}"#.to_vec()),
        (CBOR, cbor_data("json", b"\xf9\x7e\x00")),
        (CBOR, cbor_data("json", b"\x41\xff")),
        (CBOR, cbor_data("json", b"\xc1\x00")),
        (CBOR, cbor_data("json", b"\xa1\x01\x02")),
    ];
    for (payload_type, payload) in refused {
        world.say(alice, &frame(OFFER, 8, payload_type, &payload));
        let (code, message) = world.one(alice).error((JSON, false));
        assert_eq!((code, message.contains("cannot be expressed")), (400, true), "{payload:?}");
    }
    // Bytes pass where there is room for bytes.
    world.say(alice, &frame(OFFER, 8, BINARY, not_utf8("binary")));
    assert_eq!(world.one(binary).payload, [&b"\x06ali:ce"[..], b"\x00\x02\xff\xfe"].concat());
    world.say(alice, &frame(OFFER, 8, CBOR, cbor_data("binary", b"\x5f\x41\xff\x41\x00\xff")));
    assert_eq!(world.one(binary).payload, b"\x06ali:ce\x00\x02\xff\x00");
    // An escaped lone surrogate passes where nothing has to be decoded.
    let payload = br#"{"target_client_id":"json","signal_data":"\ud800"}"#;
    world.say(alice, &frame(OFFER, 8, JSON, payload));
    world.nothing(alice);
}

#[test]
fn a_stamp_that_does_not_fit_is_left_out_but_no_lie_passes() {
    let stamp = r#","sender_client_id":"alice""#.len();
    for form in [(JSON, false), (JSON, true), (CBOR, false), (CBOR, true)] {
        let overhead = signal_payload(form, "SignalOffer", "bob", &"x".repeat(60_000)).len() - 60_000;
        let payload_of =
            |bytes: usize| signal_payload(form, "SignalOffer", "bob", &"x".repeat(bytes - overhead));
        let mut world = World::new();
        let alice = world.client(form, "alice");
        let bob = world.client(form, "bob");
        let stamp = if form.0 == CBOR { stamp - 4 } else { stamp };
        let fits = payload_of(65_535 - stamp);
        world.say(alice, &frame(OFFER, 1, form.0, &fits));
        let got = world.one(bob);
        assert_eq!(got.payload.len(), 65_535, "{form:?}");
        assert_eq!(got.fields(form, "SignalOffer")["sender_client_id"], "alice");
        for bytes in [65_535 - stamp + 1, 65_535] {
            let payload = payload_of(bytes);
            world.say(alice, &frame(OFFER, 1, form.0, &payload));
            assert_eq!(world.one(bob).payload, payload, "{form:?}");
        }
    }
    let lying = |claim: &str, bytes: usize| {
        let rest = format!(r#"{{"target_client_id":"bob","sender_client_id":"{claim}","signal_data":""}}"#);
        rest.replace("data\":\"", &format!("data\":\"{}", "x".repeat(bytes - rest.len())))
    };
    let mut world = World::new();
    let alice = world.client((JSON, false), "alice");
    let bob = world.client((JSON, false), "bob");
    world.say(alice, &frame(OFFER, 1, JSON, lying("x", 65_535)));
    assert_eq!(world.one(alice).flat_error(), 400);
    world.nothing(bob);
    world.say(alice, &frame(OFFER, 1, JSON, lying("carol", 65_535)));
    assert_eq!(world.one(bob).fields((JSON, false), "")["sender_client_id"], "alice");
    // Text and binary name the sender where the target stood, and pass unstamped too.
    let text = world.client((TEXT, false), "t");
    let full = "t:".to_owned() + &"x".repeat(65_533);
    world.say(alice, &frame(OFFER, 1, TEXT, &full));
    assert_eq!(world.one(text).payload, full.as_bytes());
    world.say(alice, &frame(OFFER, 1, TEXT, "t:".to_owned() + &"x".repeat(65_529)));
    assert_eq!(world.one(text).payload.len(), 65_535);
}

#[test]
fn what_grows_over_a_frame_in_conversion_is_a_400() {
    let mut world = World::new();
    let alice = world.client((JSON, false), "alice");
    let text = world.client((TEXT, false), "text");
    let tagged = world.client((JSON, true), "tagged");
    let json = world.client((JSON, false), "json");
    // Quotes double in JSON.
    world.say(alice, &frame(OFFER, 1, TEXT, "json:".to_owned() + &"\"".repeat(40_000)));
    assert_eq!(world.one(alice).flat_error(), 400);
    // Where only the stamp is too much, it is left out.
    world.say(alice, &frame(OFFER, 1, TEXT, "json:".to_owned() + &"x".repeat(65_480)));
    assert_eq!(world.one(json).fields((JSON, false), "")["sender_client_id"], Value::Null);
    // The same with a tag that is put on; without room for the tag it cannot pass.
    let payload = |target: &str, bytes: usize| {
        let empty = signal_payload((JSON, false), "", target, "");
        signal_payload((JSON, false), "", target, &"x".repeat(bytes - empty.len()))
    };
    world.say(alice, &frame(OFFER, 1, JSON, payload("tagged", 65_535 - 16)));
    let fields = world.one(tagged).fields((JSON, true), "SignalOffer");
    assert_eq!(fields.as_object().unwrap().len(), 2);
    world.say(alice, &frame(OFFER, 1, JSON, payload("tagged", 65_535 - 15)));
    assert_eq!(world.one(alice).flat_error(), 400);
    // And what shrinks passes.
    world.say(alice, &frame(OFFER, 1, JSON, payload("text", 65_535)));
    assert!(world.one(text).payload.len() < 65_535);
}

#[test]
fn an_absent_target_is_a_404_in_the_sender_s_form() {
    for form in FORMS {
        let mut world = World::new();
        let me = world.client(form, "me");
        for target in ["nobody", "", "Me"] {
            let payload = signal_payload(form, "SignalAnswer", target, "data");
            world.say(me, &frame(ANSWER, 44, form.0, payload));
            let got = world.one(me);
            assert_eq!(got.uuid, uuid(44));
            assert_eq!(got.error(form), (code_in(form, 404), "Target client not found".to_owned()));
        }
        let gone = world.client(form, "gone");
        world.with_session(gone, |session, settings, ctx| session.ended(settings, "connection_closed", ctx));
        let payload = signal_payload(form, "SignalAnswer", "gone", "data");
        world.say(me, &frame(ANSWER, 44, form.0, payload));
        assert_eq!(world.one(me).error(form).0, code_in(form, 404));
        // Oneself is a target like any other.
        world.say(me, &frame(ANSWER, 45, form.0, signal_payload(form, "SignalAnswer", "me", "data")));
        assert_eq!(world.one(me).message_type, ANSWER);
        assert_eq!(world.peers[me].closed, None);
    }
}

#[test]
fn every_cause_has_its_code_at_once_and_as_a_bounce() {
    for (cause, number) in [
        (Undeliverable::NotConnected, 404),
        (Undeliverable::Full, 503),
        (Undeliverable::Draining, 503),
        (Undeliverable::TooLarge, 400),
        (Undeliverable::Unconvertible, 400),
    ] {
        for form in FORMS {
            let mut world = World::new();
            let me = world.client(form, "me");
            world.undeliverable = Some(cause);
            world.say(me, &frame(CANDIDATE, 6, TEXT, "x:data"));
            let at_once = world.one(me);
            assert_eq!(at_once.error(form).0, code_in(form, number));
            let mut bounce = Vec::new();
            let reference = crate::dialect::MessageRef::Frame { uuid: uuid(6), message_type: CANDIDATE };
            let speaks = world.peers[me].speaks;
            let told = crate::dialect::bounced(speaks, &reference, cause, world.now, &mut bounce).unwrap();
            assert_eq!(ERROR_LABELS[usize::from(told.error)].1, number.to_string());
            world.peers[me].inbox.push(bounce);
            assert_eq!(world.one(me), at_once);
        }
    }
}

#[test]
fn order_to_one_target_is_the_order_of_sending() {
    let mut world = World::new();
    let alice = world.client((JSON, false), "alice");
    let bob = world.client((TEXT, false), "bob");
    let batch: Vec<u8> = (0..50).flat_map(|n| frame(OFFER, n, TEXT, format!("bob:{n}"))).collect();
    world.say(alice, &batch);
    let order: Vec<_> = world.all(bob).iter().map(|got| got.uuid[0]).collect();
    assert_eq!(order, (0..50).collect::<Vec<_>>());
}

#[test]
fn nothing_secret_shows_in_debug_output() {
    let mut world = World::new();
    let me = world.client((JSON, false), "me");
    assert!(!format!("{:?}", world.sessions[me].info()).contains("any"));
    assert!(!format!("{:?}", world.settings).contains("any"));
}
