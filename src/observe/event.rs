//! What happens to clients, for whoever subscribes: never a token, SDP or payload.

use std::sync::atomic::{AtomicU64, Ordering};

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
    published: AtomicU64,
    dropped: AtomicU64,
}

impl EventQueue {
    pub fn new(events_max: usize) -> EventQueue {
        EventQueue {
            queue: ArrayQueue::new(events_max.max(1)),
            published: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

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
