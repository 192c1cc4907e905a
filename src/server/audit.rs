//! The audit trail: a queue of its own, a file of its own, and what the server itself puts there.

use std::sync::Arc;

use super::clock::Clock;
use super::reload::Reloaded;
use crate::config::{self, Settings};
use crate::front;
use crate::observe::{Detail, Event, EventQueue};
use crate::outside::{self, FileSink, Publisher};

/// Type and details of one entry.
pub(super) type Act = (&'static str, Vec<(&'static str, Detail)>);

/// Says what happened to a message, and not who came, went or decided something.
const NOT_AUDITED: &str = "signal_undeliverable";

/// The events' queue and the audit trail's, which stays empty where there is no audit log.
pub(super) fn queues(settings: &Settings) -> (Arc<EventQueue>, Arc<EventQueue>) {
    let events_max = settings.events.events_max;
    let Some(audit) = &settings.audit else {
        return (Arc::new(EventQueue::new(events_max)), Arc::new(EventQueue::new(0)));
    };
    let trail = Arc::new(EventQueue::new(audit.entries_max));
    let takes = |event_type: &str| event_type != NOT_AUDITED;
    (Arc::new(EventQueue::with_audit(events_max, Arc::clone(&trail), takes)), trail)
}

/// Puts an act of the operator, or of the server itself, on the trail.
pub(super) fn record(events: &EventQueue, clock: &Clock, (event_type, details): Act) {
    let unix_ms = clock.read().unix_ms;
    events.record(Event { event_type, client_id: String::new(), unix_ms, details }, None);
}

/// Writes the trail, on the front's runtime. It opens the file anew for each batch, so one that was
/// moved away is followed by a fresh one.
pub(super) fn publisher(
    config: &config::Audit,
    trail: Arc<EventQueue>,
    clock: outside::Clock,
) -> front::Companion {
    let file = config.file.clone();
    Box::new(move |stop| {
        Box::pin(Publisher::new(trail, vec![Box::new(FileSink::audit(file))], clock).run(stop))
    })
}

/// Names keys and never their values.
pub(super) fn of_reload(reloaded: &Reloaded) -> Act {
    match reloaded {
        Reloaded::Applied { changed, needs_restart } => (
            "config_reloaded",
            vec![("changed", changed.join(", ").into()), ("needs_restart", needs_restart.join(", ").into())],
        ),
        Reloaded::Refused(why) => ("config_refused", vec![("reason", why.as_str().into())]),
    }
}
