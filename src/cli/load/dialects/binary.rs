//! `binary`: 0xAA frames with flat JSON payloads.

use serde::{Deserialize, Serialize};

use super::super::payloads::{Signal, Slot, Template};
use super::super::plan::Names;
use super::{Heard, Made};
use crate::wire::frame::{self, HEADER_BYTES, START_BYTE, write_frame};

const CONNECT: u8 = 0x01;
const CONNECT_ACK: u8 = 0x02;
const DISCONNECT: u8 = 0x03;
const OFFER: u8 = 0x10;
const ANSWER: u8 = 0x11;
const CANDIDATE: u8 = 0x12;
const ERROR: u8 = 0xFF;
/// Payload type of JSON.
const JSON: u8 = 2;

#[derive(Serialize)]
struct Connect<'a> {
    client_id: &'a str,
    auth_token: &'a str,
}

pub(super) fn connect(id: &str, token: &str) -> Vec<u8> {
    let payload = serde_json::to_vec(&Connect { client_id: id, auth_token: token });
    json_frame(CONNECT, &payload.expect("two strings are JSON"))
}

/// Ends a session on plain TCP; on a WebSocket, closing does.
pub fn disconnect() -> Vec<u8> {
    json_frame(DISCONNECT, b"{}")
}

pub(super) fn signal(names: &Names, signal: Signal, fill_bytes: usize) -> Made {
    let message_type = match signal {
        Signal::Offer => OFFER,
        Signal::Answer => ANSWER,
        Signal::Candidate => CANDIDATE,
    };
    let (before, after) = names.id_around();
    let payload = Template::default()
        .text("{\"target_client_id\":\"")
        .text(before)
        .slot(Slot::TargetNumber, names.digits)
        .text(after)
        .text("\",\"signal_data\":\"")
        .body(fill_bytes)
        .text("\"}");
    // Sizes end at 65,000, and what stands around the text is short.
    let length = payload.len() as u16;
    Template::default()
        .bytes(&[START_BYTE, message_type])
        .slot(Slot::Uuid, 16)
        .bytes(&[JSON])
        .bytes(&length.to_be_bytes())
        .then(&payload)
        .into()
}

pub(super) fn hear(message: &[u8]) -> Heard {
    let Ok(frame) = frame::complete(message) else { return Heard::Other };
    match frame.message_type {
        CONNECT_ACK => Heard::Welcome,
        ERROR => Heard::Refused(words(frame.payload)),
        _ => Heard::Other,
    }
}

#[derive(Deserialize)]
struct Error {
    error_code: u16,
    error_message: String,
}

fn words(payload: &[u8]) -> String {
    match serde_json::from_slice::<Error>(payload) {
        Ok(error) => format!("ERROR {} {}", error.error_code, error.error_message),
        Err(_) => "ERROR".to_owned(),
    }
}

fn json_frame(message_type: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER_BYTES + payload.len());
    let uuid = [0, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, message_type];
    write_frame(&mut frame, message_type, &uuid, JSON, |out| out.extend_from_slice(payload))
        .expect("ids and tokens come from a command line, which is shorter than a frame");
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connect_is_a_frame_and_its_answers_are_understood() {
        let bytes = connect("a", "b");
        let frame = frame::complete(&bytes).unwrap_or_else(|_| panic!("a frame"));
        assert_eq!(frame.payload, br#"{"client_id":"a","auth_token":"b"}"#);
        assert_eq!(hear(&json_frame(CONNECT_ACK, b"{}")), Heard::Welcome);
        let error = br#"{"error_code":401,"error_message":"no"}"#;
        assert_eq!(hear(&json_frame(ERROR, error)), Heard::Refused("ERROR 401 no".into()));
        assert_eq!(hear(b"nonsense"), Heard::Other);
    }
}
