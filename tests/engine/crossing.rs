//! Across dialects: `binary`, `devices` and `broadcast` in one realm reach each other, and what
//! crosses is translated. Both directions of each pair.

mod binary_broadcast;
mod binary_devices;
mod devices_broadcast;
mod realm;
mod untranslatable;

use serde_json::{Value, json};

use crate::harness::*;

const SDP: &str = "v=0\r\no=- 46117 2 IN IP4 127.0.0.1\r\ns=é \"quoted\" \\ 🛰\r\n";
const LINE: &str = "candidate:842163049 1 udp 1677729535 192.0.2.7 46154 typ srflx";

const EVERY: [&str; 5] = ["binary", "rooms", "broadcast", "calls", "devices"];

/// One port, one realm.
fn joined() -> Setup {
    let realms = [("binary", "field"), ("devices", "field"), ("broadcast", "field")];
    Setup::new().listener("main", &EVERY).realms(&realms)
}

/// A candidate as browsers write it, with more members than anyone must know.
fn candidate() -> Value {
    json!({"candidate": LINE, "sdpMid": "video", "sdpMLineIndex": 1, "usernameFragment": "a/é"})
}

/// What a bare candidate line becomes.
fn from_line() -> Value {
    json!({"candidate": LINE, "sdpMid": "0", "sdpMLineIndex": 0})
}

async fn agent(server: &Server, form: Form) -> Client {
    Client::login(server.main(), Via::WebSocket, form, "alice").await
}

/// The next frame is a signal of this type; gives what it says.
async fn signal_of(client: &mut Client, kind: u8) -> (String, String) {
    let frame = client.frame().await;
    assert_eq!(frame.kind, kind, "{frame:?}");
    let signal = client.form.read_signal(&frame);
    (signal.data, signal.sender.expect("a signal names its sender"))
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

/// The shape of section 7: `session-<ms>-<9 base-36 characters>`.
fn assert_is_made_session(session: &Value) {
    let text = session.as_str().unwrap_or_else(|| panic!("no session: {session}"));
    let parts: Vec<&str> = text.split('-').collect();
    assert_eq!((parts.len(), parts[0]), (3, "session"), "{text}");
    assert!(parts[1].len() == 13 && parts[1].bytes().all(|it| it.is_ascii_digit()), "{text}");
    let is_base_36 = |it: u8| it.is_ascii_digit() || it.is_ascii_lowercase();
    assert!(parts[2].len() == 9 && parts[2].bytes().all(is_base_36), "{text}");
}
