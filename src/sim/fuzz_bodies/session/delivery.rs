//! What a target reads out of a signal, with parsers that are not the engine's.

use minicbor::data::Type;
use minicbor::decode::Decoder;

use super::super::json::Members;
use super::world::{Arrived, Form};

/// What a frame holds at most.
const PAYLOAD_BYTES_MAX: usize = 65_535;

/// Names and values of an object: whose text, or bytes, they are.
type Fields<'a> = Vec<(Option<String>, &'a [u8])>;

/// Only the session that has sent may stand there as the sender, as often as anything says so, and
/// only the one it was sent to gets it, in the form that it speaks.
pub fn check_delivery(arrived: &Arrived, to: Option<&str>, form: Option<Form>, sender: Option<&str>) {
    let sender = sender.expect("somebody who never logged in has sent a signal");
    let payload = &arrived.payload[..];
    if let Some(form) = form {
        assert_eq!(arrived.payload_type, form.payload_type, "a target gets its own payload type");
    }
    let (fields, text_of, tagged) = match arrived.payload_type {
        1 => {
            let (name, rest) = payload[1..].split_at(usize::from(payload[0]));
            assert_eq!(name, sender.as_bytes(), "a forged sender");
            assert_eq!(usize::from(rest[0]) << 8 | usize::from(rest[1]), rest.len() - 2);
            return;
        }
        3 => {
            let text = std::str::from_utf8(payload).expect("text is UTF-8");
            let name = text.split_once(':').map(|(name, _)| name);
            assert_eq!(name, Some(sender), "a forged sender");
            return;
        }
        2 => {
            let (fields, tagged) = untag(json_fields(payload), arrived.message_type, json_fields);
            (fields, json_text as fn(&[u8]) -> Option<String>, tagged)
        }
        5 => {
            let (fields, tagged) = untag(cbor_fields(payload), arrived.message_type, cbor_fields);
            (fields, cbor_text as fn(&[u8]) -> Option<String>, tagged)
        }
        other => panic!("nobody speaks payload type {other}"),
    };
    if let Some(form) = form {
        assert_eq!(tagged, form.tagged, "a target gets its own form");
    }
    let values = |name: &'static str| {
        fields.iter().filter(move |(key, _)| key.as_deref() == Some(name)).map(|(_, value)| text_of(value))
    };
    let targets: Vec<_> = values("target_client_id").collect();
    assert_eq!(targets, [to.map(str::to_owned)], "delivered to another than its target");
    assert_eq!(values("signal_data").count(), 1);
    let claims: Vec<_> = values("sender_client_id").collect();
    assert!(claims.iter().all(|claim| claim.as_deref() == Some(sender)), "a forged sender: {claims:?}");
    if claims.is_empty() {
        // Key, punctuation, and a name of which every byte is escaped.
        let stamp_bytes = 32 + 6 * sender.len();
        assert!(payload.len() + stamp_bytes > PAYLOAD_BYTES_MAX, "a signal that could have been stamped");
    }
}

/// The fields, and whether they lay inside of the message type's tag.
fn untag<'a>(
    fields: Fields<'a>,
    message_type: u8,
    fields_of: fn(&'a [u8]) -> Fields<'a>,
) -> (Fields<'a>, bool) {
    let tag = match message_type {
        0x10 => "SignalOffer",
        0x11 => "SignalAnswer",
        _ => "SignalIceCandidate",
    };
    match fields[..] {
        // Fields without a tag are two at least.
        [(ref key, inside)] => {
            assert_eq!(key.as_deref(), Some(tag));
            (fields_of(inside), true)
        }
        _ => (fields, false),
    }
}

fn json_fields(object: &[u8]) -> Fields<'_> {
    let members: Members<'_> = serde_json::from_slice(object).expect("an object is delivered");
    members.0.iter().map(|(key, value)| (json_text(key.get().as_bytes()), value.get().as_bytes())).collect()
}

fn json_text(value: &[u8]) -> Option<String> {
    serde_json::from_slice(value).ok()
}

fn cbor_fields(map: &[u8]) -> Fields<'_> {
    let mut decoder = Decoder::new(map);
    let mut left = decoder.map().expect("a map is delivered");
    let mut fields = Vec::new();
    let item = |decoder: &mut Decoder<'_>| {
        let start = decoder.position();
        decoder.skip().expect("a whole map is delivered");
        start..decoder.position()
    };
    loop {
        match &mut left {
            Some(0) => break,
            Some(left) => *left -= 1,
            None if decoder.datatype().expect("a break is there") == Type::Break => {
                decoder.set_position(decoder.position() + 1);
                break;
            }
            None => {}
        }
        let (key, value) = (item(&mut decoder), item(&mut decoder));
        fields.push((cbor_text(&map[key]), &map[value]));
    }
    assert_eq!(decoder.position(), map.len(), "nothing lies behind the map");
    fields
}

fn cbor_text(item: &[u8]) -> Option<String> {
    let pieces: Result<Vec<&str>, _> = Decoder::new(item).str_iter().ok()?.collect();
    Some(pieces.expect("text is UTF-8").concat())
}
