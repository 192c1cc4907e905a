use super::*;

const BAD: &str = "Invalid message format";

fn nested(levels: usize) -> String {
    "[".repeat(levels) + &"]".repeat(levels)
}

#[test]
fn each_bad_message_has_its_own_answer() {
    let long = "x".repeat(5000);
    let bad_id = error_with("Invalid id", "An id has 1 to 128 visible characters");
    let cases: Vec<(String, String)> = [
        // No JSON, or another JSON than an object.
        ("", error_with(BAD, "Not valid JSON")),
        ("{", error_with(BAD, "Not valid JSON")),
        ("hello", error_with(BAD, "Not valid JSON")),
        (r#"{"type":"ping"} x"#, error_with(BAD, "Not valid JSON")),
        (r#"{"type":"ping",}"#, error_with(BAD, "Not valid JSON")),
        ("{\"type\":\"pi\nng\"}", error_with(BAD, "Not valid JSON")),
        (r#"{"type":"ping","x":"\uD8"}"#, error_with(BAD, "Not valid JSON")),
        ("null", error_with(BAD, "Not a JSON object")),
        ("5", error_with(BAD, "Not a JSON object")),
        (r#"[{"type":"ping"}]"#, error_with(BAD, "Not a JSON object")),
        (&format!(r#"{{"type":"ping","x":{}}}"#, nested(128)), error_with(BAD, "Nested too deeply")),
        (&format!(r#"{{"type":"ping","x":{}}}"#, nested(100_000)), error_with(BAD, "Nested too deeply")),
        // Types that nobody knows, as JavaScript prints them.
        ("{}", error("Unknown message type: undefined")),
        (r#"{"__proto__":{"type":"ping"}}"#, error("Unknown message type: undefined")),
        (r#"{"type":null}"#, error("Unknown message type: null")),
        (r#"{"type":true}"#, error("Unknown message type: true")),
        (r#"{"type":7}"#, error("Unknown message type: 7")),
        (r#"{"type":{"a":1}}"#, error("Unknown message type: [object Object]")),
        (r#"{"type":["ping"]}"#, error(r#"Unknown message type: ["ping"]"#)),
        (r#"{"type":""}"#, error("Unknown message type: ")),
        (r#"{"type":"PING"}"#, error("Unknown message type: PING")),
        (r#"{"type":"ping "}"#, error("Unknown message type: ping ")),
        (r#"{"type":"pong"}"#, error("Unknown message type: pong")),
        (r#"{"type":"a\"b\u0000"}"#, error("Unknown message type: a\"b\u{0}")),
        (r#"{"type":"ping\ud800"}"#, error("Unknown message type: ping\u{fffd}")),
        (r#"{"type":"ping","type":"offers"}"#, error_with("Invalid message format", "A field stands twice")),
        (r#"{"type":"ping","typ\u0065":1}"#, error_with("Invalid message format", "A field stands twice")),
        // Targets.
        (r#"{"type":"offer"}"#, error("No target specified")),
        (r#"{"type":"offer","target":""}"#, error("No target specified")),
        (r#"{"type":"answer","target":null}"#, error("No target specified")),
        (r#"{"type":"ice","target":7}"#, error("No target specified")),
        (r#"{"type":"offer","target":["other"]}"#, error("No target specified")),
        (
            r#"{"type":"offer","target":"other","target":{}}"#,
            error_with("Invalid message format", "A field stands twice"),
        ),
        (r#"{"type":"offer","target":"nobody"}"#, error("Target nobody not found or offline")),
        (r#"{"type":"answer","target":"nobody"}"#, error("Caller nobody not found or offline")),
        (r#"{"type":"offer","target":"__proto__"}"#, error("Target __proto__ not found or offline")),
        (r#"{"type":"offer","target":"other "}"#, error("Target other  not found or offline")),
        (r#"{"type":"offer","target":"other\u0000"}"#, error("Target other\u{0} not found or offline")),
        // Half a pair is nobody's, not even of who is called by its replacement.
        (r#"{"type":"offer","target":"\ud800"}"#, error("Target \u{fffd} not found or offline")),
        (
            r#"{"type":"offer","target":"\udc00\ud800x"}"#,
            error("Target \u{fffd}\u{fffd}x not found or offline"),
        ),
        // Ids.
        (r#"{"type":"register"}"#, bad_id.clone()),
        (r#"{"type":"register","id":""}"#, bad_id.clone()),
        (r#"{"type":"register","id":7}"#, bad_id.clone()),
        (r#"{"type":"register","id":null}"#, bad_id.clone()),
        (r#"{"type":"register","id":{"a":"b"}}"#, bad_id.clone()),
        (r#"{"type":"register","id":" "}"#, bad_id.clone()),
        (r#"{"type":"register","id":"a\nb"}"#, bad_id.clone()),
        (r#"{"type":"register","id":"a\u200bb"}"#, bad_id.clone()),
        (r#"{"type":"register","id":"\ud83d"}"#, bad_id.clone()),
        (
            r#"{"type":"register","id":"x","id":null}"#,
            error_with("Invalid message format", "A field stands twice"),
        ),
        (&format!(r#"{{"type":"register","id":"{}"}}"#, &long[..129]), bad_id),
        // What is long is not sent back whole.
        (&format!(r#"{{"type":"{long}"}}"#), error(&format!("Unknown message type: {}…", &long[..64]))),
        (
            &format!(r#"{{"type":"offer","target":"{long}"}}"#),
            error(&format!("Target {}… not found or offline", &long[..255])),
        ),
    ]
    .map(|(text, answer)| (text.to_owned(), answer))
    .into();
    let mut world = World::new();
    let (me, other, replacement) = (world.client("me"), world.client("other"), world.client("\u{fffd}"));
    for (text, answer) in cases {
        assert_eq!(json(&world.ask(me, &text)), json(&answer), "{text}");
        world.nothing(other);
        world.nothing(replacement);
        assert_eq!(world.owner("me"), Some(me), "{text}");
    }
    assert_eq!(world.peers[me].closed, None);
}

#[test]
fn a_member_is_found_wherever_it_stands_and_however_it_is_written() {
    let mut world = World::new();
    let (me, other) = (world.client("me"), world.client("other"));
    let expected =
        format!(r#"{{"type":"offer","from":"me","sdp":"new","sessionId":"s2","timestamp":"{TIME}"}}"#);
    for text in [
        r#"{"target":"other","sdp":"new","sessionId":"s2","type":"offer","x":1,"x":2}"#,
        r#" { "\u0074ype" : "\u006fffer" , "t\u0061rget" : "o\u0074her" , "sd\u0070" : "new" , "session\u0049d" : "s2" } "#,
        r#"{"x":{"type":"ping","target":"me","sdp":"old"},"type":"offer","y":[{"sessionId":"s"}],"target":"other","sdp":"new","sessionId":"s2"}"#,
        r#"{"__proto__":{"target":"me"},"type":"offer","constructor":null,"target":"other","sdp":"new","sessionId":"s2"}"#,
    ] {
        world.say(me, text);
        assert_eq!(world.one(other), expected, "{text}");
        world.nothing(me);
    }
}

#[test]
fn whatever_is_valid_passes_with_its_own_bytes() {
    let mut world = World::new();
    let (me, other) = (world.client("me"), world.client("other"));
    let huge = format!("\"{}\"", "v=0\\r\\n".repeat(100_000));
    for value in [
        r#""\ud800""#,
        r#""\u0000é\/""#,
        "1e999",
        "-0.0",
        "[ 1 ,2 ]",
        r#"{"a":1,"a":2,"__proto__":null}"#,
        "null",
        "false",
        &nested(127),
        &huge,
    ] {
        world.say(
            me,
            &format!(r#"{{"type":"ice","candidate":{value},"target":"other","sessionId":{value}}}"#),
        );
        let expected = format!(
            r#"{{"type":"ice","from":"me","candidate":{value},"sessionId":{value},"timestamp":"{TIME}"}}"#
        );
        assert!(world.one(other) == expected, "{}", &value[..value.len().min(60)]);
        world.nothing(me);
    }
}

/// A generator of its own, so that a failure replays.
#[test]
fn every_mutated_message_is_answered_or_delivered_once() {
    let seeds = [
        r#"{"type":"register","id":"me"}"#,
        r#"{"type":"offer","target":"other","sdp":"v=0\r\n","sessionId":"s"}"#,
        r#"{"type":"answer","target":"other","sdp":{"sdp":"\ud83d\ude00"}}"#,
        r#"{"type":"list"}"#,
        r#"{"type":"ping","x":[1,{"y":null}]}"#,
    ];
    let spare: Vec<char> = "{}[]\":,\\u0dD8eE-+.nulltrue \u{0}\u{7f}é😀".chars().collect();
    let mut world = World::with(|settings| settings.report_undeliverable = true);
    let (me, other) = (world.client("me"), world.client("other"));
    let mut dice = Dice(7);
    let mut roll = |sides: usize| (dice.next_u128() >> 64) as usize % sides;
    for round in 0..20_000 {
        let mut text: Vec<char> = seeds[round % seeds.len()].chars().collect();
        for _ in 0..=roll(3) {
            let at = roll(text.len());
            match roll(3) {
                0 => text[at] = spare[roll(spare.len())],
                1 => text.insert(at, spare[roll(spare.len())]),
                _ => text.truncate(at.max(1)),
            }
        }
        let text: String = text.into_iter().collect();
        world.say(me, &text);
        let mut got = std::mem::take(&mut world.peers[me].inbox);
        got.append(&mut world.peers[other].inbox);
        assert_eq!(got.len(), 1, "{text}");
        // What passes may hold half a surrogate pair.
        assert!(serde_json::from_str::<serde::de::IgnoredAny>(&got[0]).is_ok(), "{text}");
        assert_eq!(world.peers[me].closed, None, "{text}");
    }
}
