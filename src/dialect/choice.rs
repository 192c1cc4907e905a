//! Which dialect a WebSocket speaks, by its first message (contract: one port speaks everything).

use super::{Context, Kind, binary, calls, devices, rooms};
use crate::hub::DialectId;
use crate::wire::json::{self, Scanner};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Binary,
    Rooms,
    Broadcast,
    Calls,
    Devices,
}

/// The dialects of one listener, in the order in which the operator names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Serves(Vec<Dialect>);

/// Below this path the front speaks Socket.IO, over WebSockets too.
pub const SOCKET_IO_PATH: &str = "/socket.io/";

/// A WebSocket's first message.
#[derive(Clone, Copy)]
pub enum First<'a> {
    Binary(&'a [u8]),
    Text(&'a str),
}

impl Dialect {
    /// What this dialect is called in the directory.
    pub const fn id(self) -> DialectId {
        DialectId(self as u8)
    }

    /// Whether its messages come over WebSockets that the shards serve.
    fn is_on_websockets(self) -> bool {
        self != Dialect::Broadcast
    }
}

impl Serves {
    pub fn new(dialects: Vec<Dialect>) -> Serves {
        Serves(dialects)
    }

    pub fn has(&self, dialect: Dialect) -> bool {
        self.0.contains(&dialect)
    }

    pub fn any_websocket(&self) -> bool {
        self.0.iter().any(|dialect| dialect.is_on_websockets())
    }

    /// The dialect of every WebSocket, where there is only one.
    pub fn only_websocket(&self) -> Option<Dialect> {
        let mut on_websockets = self.0.iter().filter(|dialect| dialect.is_on_websockets());
        on_websockets.next().filter(|_| on_websockets.next().is_none()).copied()
    }

    fn first_text(&self) -> Option<Dialect> {
        self.0.iter().copied().find(|d| d.is_on_websockets() && *d != Dialect::Binary)
    }
}

/// The dialect that the first message belongs to, served or not.
pub fn choose(first: First<'_>) -> Option<Dialect> {
    let First::Text(text) = first else { return Some(Dialect::Binary) };
    let signs = signs(text).ok()?;
    if signs.rooms {
        Some(Dialect::Rooms)
    } else if signs.has_type {
        Some(Dialect::Devices)
    } else if signs.joins {
        Some(Dialect::Calls)
    } else {
        None
    }
}

/// Answers a first message that no dialect of the listener takes. The connection stays undecided.
pub fn refuse(first: First<'_>, serves: &Serves, at_ws: bool, ctx: &mut dyn Context) {
    let mut out = Vec::new();
    match (choose(first), first) {
        (_, First::Binary(message)) => {
            binary::write_not_served(message, &mut out);
            ctx.reply(Kind::Binary, &out);
        }
        (Some(Dialect::Rooms), _) => {
            rooms::write_not_served(&mut out);
            ctx.reply(Kind::Text, &out);
        }
        (Some(Dialect::Devices), _) if !(at_ws && serves.has(Dialect::Calls)) => {
            devices::write_not_served(&mut out);
            ctx.reply(Kind::Text, &out);
        }
        (Some(Dialect::Calls), _) => calls::refuse(ctx),
        _ if at_ws && serves.has(Dialect::Calls) => calls::refuse(ctx),
        _ => match serves.first_text() {
            Some(Dialect::Rooms) => {
                rooms::write_bad_json(&mut out);
                ctx.reply(Kind::Text, &out);
            }
            Some(Dialect::Devices) => {
                devices::write_bad_json(&mut out);
                ctx.reply(Kind::Text, &out);
            }
            Some(Dialect::Calls) => calls::refuse(ctx),
            Some(Dialect::Binary | Dialect::Broadcast) | None => {
                binary::write_text_refused(&mut out);
                ctx.reply(Kind::Binary, &out);
            }
        },
    }
}

/// What a first text shows of the dialect that it is in.
#[derive(Default)]
struct Signs {
    /// Names a field, or a type, that `rooms` alone has.
    rooms: bool,
    has_type: bool,
    joins: bool,
}

const ROOMS_FIELDS: [&str; 5] = ["peer_id", "from_peer_id", "room_id", "id_token", "sender"];
const ROOMS_TYPES: [&str; 4] = ["query", "discover_peers", "peer_message", "update_metadata"];

fn signs(text: &str) -> Result<Signs, json::Error> {
    let bytes = text.as_bytes();
    let mut scanner = Scanner::of_str(text)?;
    let mut object = scanner.enter_object()?;
    let mut signs = Signs::default();
    while let Some(key) = scanner.next_key(&mut object)? {
        let value = scanner.value()?;
        let is = |word: &str| json::decode_value(bytes, value.span).is_ok_and(|text| text == word);
        if ROOMS_FIELDS.iter().any(|field| key.is(bytes, field)) {
            signs.rooms = true;
        } else if key.is(bytes, "type") {
            signs.has_type = true;
            signs.rooms |= ROOMS_TYPES.iter().any(|word| is(word));
        } else if key.is(bytes, "kind") {
            signs.joins = is("JOIN");
        }
    }
    scanner.end()?;
    Ok(signs)
}
