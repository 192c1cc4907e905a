//! Events among the log's other lines.

use super::sink::{Sink, Written, timestamp};
use crate::observe::Event;

/// Writes each event as one line of the log at level info, with target `sigmux::event`.
#[derive(Default)]
pub struct LogSink;

impl Sink for LogSink {
    fn name(&self) -> &'static str {
        "log"
    }

    fn write<'a>(&'a mut self, events: &'a [Event]) -> Written<'a> {
        for event in events {
            tracing::info!(
                target: "sigmux::event",
                event_type = event.event_type,
                client_id = event.client_id.as_str(),
                timestamp = timestamp(event.unix_ms).as_str(),
                details = ?event.details,
                "event"
            );
        }
        Box::pin(std::future::ready(Ok(())))
    }
}
