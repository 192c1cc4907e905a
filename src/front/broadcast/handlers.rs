//! What the library calls when a socket joins, speaks and leaves.
//!
//! The library spawns a task for each call of an ordinary handler, and so loses the order of
//! messages; these are called in place.

use std::fmt::Display;
use std::pin::Pin;
use std::sync::{Arc, Weak};

use socketioxide::adapter::LocalAdapter;
use socketioxide::extract::AckSender;
use socketioxide::handler::{ConnectHandler, DisconnectHandler, FromMessageParts, MessageHandler, Value};
use socketioxide::socket::{DisconnectReason, Socket};

use super::clients::Clients;
use super::line::Line;
use crate::front::Client;
use crate::wire::json::{self, Kind, Scanner};

/// Longest name of a group.
const GROUP_BYTES_MAX: usize = 128;

/// Of all events. The library owns the handlers and is owned by the clients, hence `Weak`.
#[derive(Clone)]
pub(super) struct Handler(pub(super) Weak<Clients>);

/// Tells the library that our handlers are not one of its function types.
pub(super) enum InPlace {}

type Admission<'a> = Pin<Box<dyn Future<Output = Result<(), Box<dyn Display + Send>>> + Send + 'a>>;

impl ConnectHandler<LocalAdapter, InPlace> for Handler {
    /// Whether the socket may join; else it gets a `connect_error` with the words.
    fn call_middleware<'a>(&'a self, socket: Arc<Socket>, auth: &'a Option<Value>) -> Admission<'a> {
        let admitted = || {
            let (Some(clients), Some(line)) = (self.0.upgrade(), line(&socket)) else {
                return Err("Server is shutting down");
            };
            let group = group(&socket, auth.as_ref()).map_err(|words| (words, "bad_room"));
            group.and_then(|_| clients.admit(&line, address(&socket))).map_err(|(words, reason)| {
                clients.reject(&socket, reason);
                words
            })
        };
        let admitted = admitted().map_err(|words| Box::new(words) as Box<dyn Display + Send>);
        Box::pin(std::future::ready(admitted))
    }

    fn call(&self, socket: Arc<Socket>, auth: Option<Value>) {
        let (Some(clients), Some(line)) = (self.0.upgrade(), line(&socket)) else { return };
        let joined = match group(&socket, auth.as_ref()) {
            Ok(group) => clients.join(&socket, line.clone(), group, address(&socket)),
            Err(words) => {
                debug_assert!(false, "the socket was admitted: {words}");
                None
            }
        };
        if joined.is_none() {
            clients.end_session(&line);
            return;
        }
        socket.on("signal", self.clone());
        socket.on_fallback(Unknown(self.0.clone()));
        socket.on_disconnect(self.clone());
    }
}

impl MessageHandler<LocalAdapter, InPlace> for Handler {
    fn call(&self, socket: Arc<Socket>, mut value: Value, ack_id: Option<i64>) {
        let Some(clients) = self.0.upgrade() else { return };
        let ack = ack_id.is_some().then(|| {
            let Ok(ack) = AckSender::from_message_parts(&socket, &mut value, &ack_id);
            ack
        });
        clients.on_signal(&socket, value, ack);
    }
}

impl DisconnectHandler<LocalAdapter, InPlace> for Handler {
    fn call_with_defer(&self, socket: Arc<Socket>, reason: DisconnectReason, defer: fn(Arc<Socket>)) {
        if let Some(clients) = self.0.upgrade() {
            clients.leave(socket.id, reason);
        }
        defer(socket);
    }
}

/// Events of other names are counted and otherwise ignored.
struct Unknown(Weak<Clients>);

impl MessageHandler<LocalAdapter, InPlace> for Unknown {
    fn call(&self, _: Arc<Socket>, _: Value, _: Option<i64>) {
        if let Some(clients) = self.0.upgrade() {
            clients.on_unknown_event();
        }
    }
}

/// What an opening request carries for the session that it opens.
#[derive(Clone)]
pub(super) struct Opened(pub(super) Arc<Line>);

fn line(socket: &Socket) -> Option<Arc<Line>> {
    socket.req_parts().extensions.get::<Opened>().map(|opened| opened.0.clone())
}

/// Of the opening request.
fn address(socket: &Socket) -> Option<Client> {
    socket.req_parts().extensions.get().copied()
}

/// The group that a socket asks for: `?room=` of the opening request, else `room` of its auth, else
/// the default one, which has no name.
///
/// # Errors
/// The words for the client.
fn group(socket: &Socket, auth: Option<&Value>) -> Result<Arc<str>, &'static str> {
    let query = socket.req_parts().uri.query().unwrap_or_default();
    let name = match form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "room") {
        Some((_, room)) => room.into_owned(),
        None => auth.and_then(Value::as_str).map_or(Ok(String::new()), |auth| auth_room(auth.as_str()))?,
    };
    if name.len() > GROUP_BYTES_MAX {
        return Err("room is too long");
    }
    Ok(name.into())
}

/// A number is a name too; any other value would silently put its client among strangers.
fn auth_room(auth: &str) -> Result<String, &'static str> {
    let walk = || {
        let mut scanner = Scanner::of_str(auth)?;
        let mut object = scanner.enter_object()?;
        let mut room = None;
        while let Some(key) = scanner.next_key(&mut object)? {
            let value = scanner.value()?;
            if key.is(auth.as_bytes(), "room") {
                room = Some(value);
            }
        }
        Ok::<_, json::Error>(room)
    };
    let bytes = auth.as_bytes();
    match walk().ok().flatten() {
        Some(value) if value.kind == Kind::String => {
            json::decode_value(bytes, value.span).map(Into::into).map_err(|_| BAD_ROOM)
        }
        Some(value) if value.kind == Kind::Number => {
            Ok(String::from_utf8_lossy(value.span.of(bytes)).into_owned())
        }
        Some(value) if value.kind == Kind::Null => Ok(String::new()),
        Some(_) => Err(BAD_ROOM),
        None => Ok(String::new()),
    }
}

const BAD_ROOM: &str = "room has to be a string";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_of_an_auth_is_a_string_or_a_number() {
        assert_eq!(auth_room(r#"{"x":1,"room":"\u0041"}"#), Ok("A".to_owned()));
        assert_eq!(auth_room(r#"{"room":7}"#), Ok("7".to_owned()));
        for none in [r#"{"token":"x"}"#, r#"{"room":null}"#, r#""room""#, "[]", "{"] {
            assert_eq!(auth_room(none), Ok(String::new()), "{none}");
        }
        for bad in [r#"{"room":{}}"#, r#"{"room":true}"#, r#"{"room":"\ud800"}"#] {
            assert_eq!(auth_room(bad), Err(BAD_ROOM), "{bad}");
        }
    }
}
