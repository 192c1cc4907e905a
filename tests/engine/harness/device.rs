//! A client of the `devices` dialect, as its document describes it.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::text::{Said, TextClient};

pub struct Device {
    pub id: String,
    pub line: TextClient,
}

impl Device {
    /// A connection that has not registered.
    pub async fn open(addr: SocketAddr) -> Device {
        Device::over(TextClient::open(addr).await)
    }

    pub fn over(line: TextClient) -> Device {
        Device { id: String::new(), line }
    }

    pub async fn register(addr: SocketAddr, id: &str) -> Device {
        let mut device = Device::open(addr).await;
        device.takes(id).await;
        device
    }

    /// Registers under `id` and gives the answer.
    pub async fn takes(&mut self, id: &str) -> Value {
        self.send(json!({"type": "register", "id": id})).await;
        let answer = self.json().await;
        assert_eq!((&answer["type"], &answer["id"]), (&json!("registered"), &json!(id)), "{answer}");
        self.id = id.into();
        answer
    }

    pub async fn send(&mut self, json: Value) {
        self.line.send(&json).await;
    }

    pub async fn send_text(&mut self, text: &str) {
        self.line.send_text(text).await;
    }

    /// The next message, list updates passed over, as it was written.
    pub async fn text(&mut self) -> String {
        loop {
            let text = self.line.text().await;
            let json: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"));
            if json["type"] != "client_list_update" {
                return text;
            }
        }
    }

    pub async fn json(&mut self) -> Value {
        serde_json::from_str(&self.text().await).expect("checked by text()")
    }

    /// The next list update; nothing else may come before.
    pub async fn list_update(&mut self) -> Value {
        let update = self.line.json().await;
        assert_eq!(update["type"], "client_list_update", "{update}");
        update
    }

    /// The next message is an error; gives it.
    pub async fn error(&mut self) -> Value {
        let error = self.json().await;
        assert_eq!(error["type"], "error", "{error}");
        for key in error.as_object().expect("an object").keys() {
            assert!(["type", "message", "details"].contains(&key.as_str()), "{error}");
        }
        assert!(error["message"].is_string(), "{error}");
        error
    }

    /// Sends this text and gets an error with this message; gives the whole error.
    pub async fn refused(&mut self, text: &str, message: &str) -> Value {
        self.send_text(text).await;
        let error = self.error().await;
        assert_eq!(error["message"], message, "to {}", shortened(text));
        error
    }

    /// A ping is answered next: the connection lives, and nothing else has come before.
    pub async fn is_quiet_and_alive(&mut self) {
        self.send(json!({"type": "ping"})).await;
        let pong = self.json().await;
        assert_eq!(pong["type"], "pong", "{pong}");
    }

    /// The ids of a `list`, sorted.
    pub async fn list(&mut self) -> Vec<String> {
        self.send(json!({"type": "list"})).await;
        let answer = self.json().await;
        assert_eq!(answer["type"], "clients", "{answer}");
        ids_of(&answer)
    }

    pub async fn closed(&mut self) -> (u16, String) {
        loop {
            match self.line.next().await {
                Said::Closed(Some(why)) => return why,
                Said::Text(text) if text.contains("\"client_list_update\"") => {}
                other => panic!("{} awaits a Close with its code, got {other:?}", self.id),
            }
        }
    }

    pub async fn leave(self) {
        self.line.close().await;
    }
}

/// The sorted `clients` of a message, which agree with its `count`.
pub fn ids_of(message: &Value) -> Vec<String> {
    let clients = message["clients"].as_array().unwrap_or_else(|| panic!("no clients in {message}"));
    assert_eq!(message["count"], clients.len(), "{message}");
    let mut ids: Vec<String> =
        clients.iter().map(|id| id.as_str().expect("ids are strings").to_owned()).collect();
    ids.sort();
    ids
}

/// `2025-11-27T12:00:00.000Z`
pub fn assert_is_timestamp(value: &Value) {
    let text = value.as_str().unwrap_or_else(|| panic!("no timestamp: {value}"));
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000Z", "{text}");
    assert!(text >= "2025", "{text} is not now");
}

pub fn keys_of(message: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = message.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}
