//! What happens to clients, for whoever subscribes: never a token, SDP or payload.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_queue::ArrayQueue;

/// One thing that happened to one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `client_connected`, `client_disconnected`, …; the dialect chooses the word.
    pub event_type: &'static str,
    pub client_id: String,
    pub unix_ms: u64,
    /// Further fields, already safe to print.
    pub details: Vec<(&'static str, Detail)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    Text(String),
    Number(u64),
}

impl From<&str> for Detail {
    fn from(text: &str) -> Detail {
        Detail::Text(text.to_owned())
    }
}

impl From<String> for Detail {
    fn from(text: String) -> Detail {
        Detail::Text(text)
    }
}

impl From<u64> for Detail {
    fn from(number: u64) -> Detail {
        Detail::Number(number)
    }
}

/// Events from all shards on their way to the publisher. Bounded, and never waited for: what does
/// not fit is dropped and counted.
pub struct EventQueue {
    queue: ArrayQueue<Event>,
    /// Whether any sink takes what is published now.
    taken: AtomicBool,
    published: AtomicU64,
    dropped: AtomicU64,
    audit: Option<Audit>,
}

/// The trail that is kept of what happens: a queue of its own, so that no flood of other events
/// pushes anything out of it.
struct Audit {
    queue: Arc<EventQueue>,
    /// Whether events of this type belong on it.
    takes: fn(&str) -> bool,
}

impl EventQueue {
    pub fn new(events_max: usize) -> EventQueue {
        EventQueue {
            queue: ArrayQueue::new(events_max.max(1)),
            taken: AtomicBool::new(true),
            published: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            audit: None,
        }
    }

    /// What [`EventQueue::record`] is given goes to `audit`, if `takes` takes events of that type.
    pub fn with_audit(events_max: usize, audit: Arc<EventQueue>, takes: fn(&str) -> bool) -> EventQueue {
        EventQueue { audit: Some(Audit { queue: audit, takes }), ..EventQueue::new(events_max) }
    }

    /// Whether [`EventQueue::record`] does anything with events of this type.
    pub fn audits(&self, event_type: &str) -> bool {
        self.audit.as_ref().is_some_and(|audit| (audit.takes)(event_type))
    }

    /// Puts an event on the audit trail, with the address of who did it where one did.
    pub fn record(&self, mut event: Event, address: Option<SocketAddr>) {
        let Some(audit) = self.audit.as_ref().filter(|audit| (audit.takes)(event.event_type)) else { return };
        if let Some(address) = address {
            // A proxy that names its client names no port.
            let is_known = address.port() != 0;
            let text = if is_known { address.to_string() } else { address.ip().to_string() };
            event.details.push(("address", text.into()));
        }
        audit.queue.publish(event);
    }

    /// For subscribers and for the audit trail.
    pub fn publish_and_record(&self, event: Event, address: Option<SocketAddr>) {
        if self.audits(event.event_type) {
            self.record(event.clone(), address);
        }
        self.publish(event);
    }

    /// Entries that are on the audit trail, or on their way to it, and those that were lost.
    pub fn audited(&self) -> (u64, u64) {
        self.audit.as_ref().map_or((0, 0), |audit| (audit.queue.published(), audit.queue.dropped()))
    }

    /// Whether an event of this type goes anywhere. To be asked where events are frequent: making
    /// one, and freeing it on another thread, costs half a microsecond of a connection's life.
    pub fn wants(&self, event_type: &str) -> bool {
        self.taken.load(Ordering::Relaxed) || self.audits(event_type)
    }

    /// Said by the publisher, whenever it looks at the queue.
    pub fn set_taken(&self, taken: bool) {
        self.taken.store(taken, Ordering::Relaxed);
    }

    /// For subscribers.
    pub fn publish(&self, event: Event) {
        let count = if self.queue.push(event).is_ok() { &self.published } else { &self.dropped };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub fn take(&self) -> Option<Event> {
        self.queue.pop()
    }

    pub fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }

    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// A sink that loses an event that it has taken counts it here.
    pub fn count_dropped(&self, events: u64) {
        self.dropped.fetch_add(events, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(event_type: &'static str) -> Event {
        Event { event_type, client_id: "a".to_owned(), unix_ms: 0, details: Vec::new() }
    }

    #[test]
    fn a_flood_of_other_events_pushes_nothing_off_the_audit_trail() {
        let audit = Arc::new(EventQueue::new(2));
        let events = EventQueue::with_audit(1, audit.clone(), |event_type| event_type != "noise");
        let address = SocketAddr::from(([127, 0, 0, 1], 9));
        for event_type in ["noise", "joined", "noise", "noise", "left", "noise"] {
            events.publish_and_record(event(event_type), Some(address));
        }
        let recorded: Vec<Event> = std::iter::from_fn(|| audit.take()).collect();
        assert_eq!(recorded.iter().map(|event| event.event_type).collect::<Vec<_>>(), ["joined", "left"]);
        assert_eq!(recorded[0].details, [("address", "127.0.0.1:9".into())]);
        assert_eq!((events.dropped(), events.audited()), (5, (2, 0)));
        assert!(events.take().expect("one had room").details.is_empty(), "subscribers get no addresses");
    }

    #[test]
    fn a_full_audit_trail_counts_what_it_loses() {
        let audit = Arc::new(EventQueue::new(2));
        let events = EventQueue::with_audit(9, audit, |_| true);
        (0..5).for_each(|_| events.record(event("joined"), None));
        assert_eq!(events.audited(), (2, 3));
    }
}
