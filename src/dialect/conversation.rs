//! What the text dialects have in common: one connection's talk, as its session drives it.

use super::{Context, MessageRef, Undeliverable};
use crate::base::{Now, Redacted};
use crate::observe::Event;

/// What was known of a WebSocket before its first message, for a dialect that asks for it.
#[derive(Debug, Default)]
pub struct Opening {
    /// From `?token=`, else from `Authorization` without its `Bearer `.
    pub token: Option<Redacted<String>>,
    /// The WebSocket was opened at `/ws`.
    pub at_ws: bool,
}

/// The path that `calls` names; deployed clients of `binary` come there too.
const WS_PATH: &str = "/ws";

impl Opening {
    /// From the request that asked for the WebSocket. `query` is what follows the `?`.
    pub fn of_request(path: &str, query: Option<&str>, authorization: Option<&[u8]>) -> Opening {
        let in_query = query
            .and_then(|query| form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "token"));
        let in_header = || {
            let value = std::str::from_utf8(authorization?).ok()?;
            let scheme = value.get(..BEARER.len()).filter(|scheme| scheme.eq_ignore_ascii_case(BEARER));
            Some(value[scheme.map_or(0, str::len)..].trim_ascii().to_owned())
        };
        let token = in_query.map(|(_, token)| token.into_owned()).or_else(in_header);
        let token = token.filter(|token| !token.is_empty()).map(Redacted::new);
        Opening { token, at_ws: path == WS_PATH }
    }
}

const BEARER: &str = "Bearer ";

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    Done,
    /// Nothing has been done about it yet: it is to be brought again when
    /// [`Conversation::is_waiting`] has become false. No further message is brought before.
    Later,
}

/// One connection that speaks a text dialect. All methods do nothing after the talk has ended.
pub trait Conversation {
    type Settings;

    /// The choice has fallen on this dialect. Comes once, before the first message.
    fn open(&mut self, settings: &Self::Settings, opening: &Opening, ctx: &mut dyn Context);

    /// One whole WebSocket text message.
    fn on_text(&mut self, settings: &Self::Settings, text: &str, ctx: &mut dyn Context) -> Progress;

    /// A WebSocket binary message, which no text dialect knows.
    fn on_binary(&mut self, settings: &Self::Settings, ctx: &mut dyn Context);

    fn on_pong(&mut self, _: &Self::Settings, _: &mut dyn Context) {}

    /// Does what is due by now, if anything is.
    fn tick(&mut self, _: &Self::Settings, _: &mut dyn Context) {}

    /// When [`Conversation::tick`] has something to do, on the steady clock.
    fn deadline_us(&self, _: &Self::Settings) -> Option<u64> {
        None
    }

    /// A message that was answered with [`Progress::Later`] cannot be dealt with yet. Only `tick`
    /// ends that.
    fn is_waiting(&self) -> bool {
        false
    }

    /// A newer connection has taken this one's id.
    fn evicted(&mut self, settings: &Self::Settings, ctx: &mut dyn Context);

    /// What this connection belonged to has been removed by somebody who may.
    fn dismissed(&mut self, _: &Self::Settings, _: &mut dyn Context) {}

    /// We broke something while this connection was served: it is told and closed.
    fn failed(&mut self, settings: &Self::Settings, ctx: &mut dyn Context);

    /// The connection is over, for a reason of its own or of the server; `cause` is the word for it
    /// in the event. What was joined is left here, at the latest.
    fn ended(&mut self, settings: &Self::Settings, cause: &str, ctx: &mut dyn Context);

    /// What is published when a message of this connection came back; `None` if it never had an id.
    fn undeliverable(&self, reference: &MessageRef, cause: Undeliverable, now: Now) -> Option<Event>;
}
