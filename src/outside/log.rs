//! Events among the log's other lines.

use super::sink::{Sink, Written, details_json, timestamp};
use crate::observe::Event;

const TARGET: &str = "sigmux::event";

/// Events of one batch that are written at level info; a flood of them goes on at level debug.
const INFO_EVENTS_MAX: usize = 10;

/// Writes each event as one line of the log, with target `sigmux::event`.
#[derive(Default)]
pub struct LogSink;

impl Sink for LogSink {
    fn name(&self) -> &'static str {
        "log"
    }

    fn takes_events(&self) -> bool {
        tracing::enabled!(target: TARGET, tracing::Level::INFO)
    }

    fn write<'a>(&'a mut self, events: &'a [Event]) -> Written<'a> {
        for (index, event) in events.iter().enumerate() {
            if index < INFO_EVENTS_MAX {
                tracing::info!(
                    target: TARGET,
                    client_id = event.client_id.as_str(),
                    at = timestamp(event.unix_ms).as_str(),
                    details = details_json(event).as_str(),
                    "{}", event.event_type
                );
            } else {
                tracing::debug!(
                    target: TARGET,
                    client_id = event.client_id.as_str(),
                    at = timestamp(event.unix_ms).as_str(),
                    details = details_json(event).as_str(),
                    "{}", event.event_type
                );
            }
        }
        Box::pin(std::future::ready(Ok(())))
    }
}
