//! What a peer does with a message: parse it, find out whom it is for, and write what that one gets.
//!
//! `binary` with flat JSON, and `devices`; logins are believed. The same for both Rust peers, and as
//! near to what the Node, Bun and Python peers do as the languages allow.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use ahash::RandomState;
use serde::Deserialize;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::macros::format_description;
use tokio::sync::mpsc::UnboundedSender;

const HEADER_BYTES: usize = 21;
const CONNECT: u8 = 0x01;
const CONNECT_ACK: u8 = 0x02;
const OFFER: u8 = 0x10;
const CANDIDATE: u8 = 0x12;
const JSON: u8 = 0x02;

/// One WebSocket message on its way out.
#[derive(Debug)]
pub enum Outgoing {
    Binary(Vec<u8>),
    Text(String),
    /// The answer to a close, or to a ping, in the words of the library.
    Close(Vec<u8>),
    Pong(Vec<u8>),
}

pub type Outbox = UnboundedSender<Outgoing>;

thread_local! {
    // The runtime has one thread.
    static DIRECTORY: RefCell<HashMap<String, Outbox, RandomState>> = RefCell::default();
    static TIMESTAMP: RefCell<(u128, String)> = RefCell::default();
}

/// One client.
pub struct Client {
    outbox: Outbox,
    id: Option<String>,
}

#[derive(Deserialize)]
struct Connect<'a> {
    #[serde(borrow)]
    client_id: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Signal<'a> {
    #[serde(borrow)]
    target_client_id: Cow<'a, str>,
    sender_client_id: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Text<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    target: Option<Cow<'a, str>>,
    #[serde(borrow)]
    sdp: Option<&'a RawValue>,
    #[serde(borrow)]
    candidate: Option<&'a RawValue>,
    #[serde(rename = "sessionId", borrow)]
    session_id: Option<&'a RawValue>,
}

impl Client {
    pub fn new(outbox: Outbox) -> Client {
        Client { outbox, id: None }
    }

    /// A message of WebSocket's type `binary`. `None`: this client cannot be understood.
    pub fn binary(&mut self, frame: &[u8]) -> Option<()> {
        let [0xAA, kind, ..] = *frame else { return None };
        let length = u16::from_be_bytes(*frame.get(19..)?.first_chunk()?);
        let payload = frame.get(HEADER_BYTES..HEADER_BYTES + usize::from(length))?;
        match kind {
            CONNECT => {
                let Connect { client_id } = serde_json::from_slice(payload).ok()?;
                self.log_in(client_id.into_owned());
                let answer = br#"{"status":"success","session_id":"00000000-0000-4000-8000-000000000000"}"#;
                self.outbox.send(Outgoing::Binary(with_payload(frame, CONNECT_ACK, &[answer]))).ok()
            }
            OFFER..=CANDIDATE => {
                let id = self.id.as_deref()?;
                let signal: Signal<'_> = serde_json::from_slice(payload).ok()?;
                // The generator never claims to be somebody.
                if signal.sender_client_id.is_some() {
                    return None;
                }
                let open = &payload[..payload.iter().rposition(|&byte| byte == b'}')?];
                let id = serde_json::to_string(id).ok()?;
                let stamped =
                    with_payload(frame, kind, &[open, b",\"sender_client_id\":", id.as_bytes(), b"}"]);
                deliver(&signal.target_client_id, Outgoing::Binary(stamped));
                Some(())
            }
            _ => Some(()),
        }
    }

    /// A message of WebSocket's type `text`. `None`: this client cannot be understood.
    pub fn text(&mut self, text: &str) -> Option<()> {
        let said: Text<'_> = serde_json::from_str(text).ok()?;
        if said.kind == "register" {
            let id = said.id?.into_owned();
            let answer = format!(
                r#"{{"type":"registered","id":{},"timestamp":"{}"}}"#,
                serde_json::to_string(&id).ok()?,
                timestamp()
            );
            self.log_in(id);
            return self.outbox.send(Outgoing::Text(answer)).ok();
        }
        let (key, value) = said.sdp.map(|sdp| ("sdp", sdp)).or(said.candidate.map(|it| ("candidate", it)))?;
        let mut out = String::with_capacity(text.len() + 96);
        out.push_str("{\"type\":\"");
        out.push_str(&said.kind);
        out.push_str("\",\"from\":");
        out.push_str(&serde_json::to_string(self.id.as_deref()?).ok()?);
        for (key, value) in [(key, Some(value)), ("sessionId", said.session_id)] {
            if let Some(value) = value {
                out.push_str(",\"");
                out.push_str(key);
                out.push_str("\":");
                out.push_str(value.get());
            }
        }
        out.push_str(",\"timestamp\":\"");
        out.push_str(&timestamp());
        out.push_str("\"}");
        deliver(&said.target?, Outgoing::Text(out));
        Some(())
    }

    fn log_in(&mut self, id: String) {
        DIRECTORY.with_borrow_mut(|directory| directory.insert(id.clone(), self.outbox.clone()));
        self.id = Some(id);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(id) = &self.id {
            DIRECTORY.with_borrow_mut(|directory| {
                if directory.get(id).is_some_and(|outbox| outbox.same_channel(&self.outbox)) {
                    directory.remove(id);
                }
            });
        }
    }
}

fn deliver(target: &str, message: Outgoing) {
    DIRECTORY.with_borrow(|directory| {
        if let Some(outbox) = directory.get(target) {
            // It has just left.
            let _ = outbox.send(message);
        }
    });
}

/// The frame again, of this kind and around another payload.
fn with_payload(frame: &[u8], kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(HEADER_BYTES + length);
    out.extend_from_slice(&frame[..HEADER_BYTES]);
    (out[1], out[18]) = (kind, JSON);
    out[19..].copy_from_slice(&(length as u16).to_be_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

/// RFC 3339 with milliseconds; written once a millisecond.
fn timestamp() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    TIMESTAMP.with_borrow_mut(|(at, text)| {
        if *at != now {
            let format =
                format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
            let time = OffsetDateTime::from_unix_timestamp_nanos(now as i128 * 1_000_000);
            (*at, *text) = (now, time.ok().and_then(|time| time.format(&format).ok()).unwrap_or_default());
        }
        text.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    fn client() -> (Client, UnboundedReceiver<Outgoing>) {
        let (outbox, inbox) = unbounded_channel();
        (Client::new(outbox), inbox)
    }

    fn frame(kind: u8, payload: &str) -> Vec<u8> {
        let mut header = [7; HEADER_BYTES];
        header[0] = 0xAA;
        with_payload(&header, kind, &[payload.as_bytes()])
    }

    #[test]
    fn a_signal_of_binary_names_its_sender() {
        let ((mut one, _kept), (mut two, mut inbox)) = (client(), client());
        one.binary(&frame(CONNECT, r#"{"client_id":"one","auth_token":"t"}"#)).expect("a login");
        two.binary(&frame(CONNECT, r#"{"client_id":"two","auth_token":"t"}"#)).expect("a login");
        let Ok(Outgoing::Binary(answer)) = inbox.try_recv() else { panic!("an answer") };
        assert_eq!(answer[1], CONNECT_ACK);
        one.binary(&frame(OFFER, r#"{"target_client_id":"two","signal_data":"v=0"}"#)).expect("a signal");
        let Ok(Outgoing::Binary(signal)) = inbox.try_recv() else { panic!("a signal") };
        let expected = r#"{"target_client_id":"two","signal_data":"v=0","sender_client_id":"one"}"#;
        assert_eq!(signal, frame(OFFER, expected));
    }

    #[test]
    fn an_offer_of_devices_says_from_whom_and_when() {
        let ((mut one, _kept), (mut two, mut inbox)) = (client(), client());
        one.text(r#"{"type":"register","id":"one"}"#).expect("a login");
        two.text(r#"{"type":"register","id":"two"}"#).expect("a login");
        assert!(matches!(inbox.try_recv(), Ok(Outgoing::Text(_))));
        one.text(r#"{"type":"offer","target":"two","sessionId":"s","sdp":"v=0\r\n"}"#).expect("an offer");
        let Ok(Outgoing::Text(text)) = inbox.try_recv() else { panic!("an offer") };
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((&value["type"], &value["from"]), (&"offer".into(), &"one".into()));
        assert_eq!((&value["sdp"], &value["sessionId"]), (&"v=0\r\n".into(), &"s".into()));
        assert!(value["timestamp"].as_str().is_some_and(|text| text.len() == 24 && text.ends_with('Z')));
    }

    #[test]
    fn who_has_left_is_not_found() {
        let ((mut one, _kept), (two, mut inbox)) = (client(), client());
        one.text(r#"{"type":"register","id":"one"}"#).expect("a login");
        drop(two);
        one.text(r#"{"type":"offer","target":"two","sdp":""}"#).expect("an offer");
        assert!(inbox.try_recv().is_err());
    }
}
