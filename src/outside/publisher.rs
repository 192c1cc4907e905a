//! Moves events from the shards' queue to every sink, on the front's runtime.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::sink::{Lost, Sink};
use crate::base::Now;
use crate::observe::{Event, EventQueue};

/// How often the queue is looked at. A shard that publishes wakes nobody.
const POLL: Duration = Duration::from_millis(100);

/// Events handed to the sinks at once.
const BATCH_EVENTS_MAX: usize = 256;

/// A sink that keeps failing is written about this often.
const COMPLAINT_US: u64 = 60_000_000;

/// Reads both clocks.
pub type Clock = Arc<dyn Fn() -> Now + Send + Sync>;

/// Owns the sinks. A slow sink delays the others and lets the queue fill up, which costs events and
/// never a shard's time.
pub struct Publisher {
    queue: Arc<EventQueue>,
    outlets: Vec<Outlet>,
    clock: Clock,
    batch: Vec<Event>,
}

struct Outlet {
    sink: Box<dyn Sink>,
    /// Lost since the last complaint.
    lost: u64,
    complained_us: Option<u64>,
}

impl Publisher {
    /// While no sink takes events, those that come are forgotten, so that the queue does not seem to
    /// overflow, and frequent ones are not made ([`EventQueue::wants`]).
    pub fn new(queue: Arc<EventQueue>, sinks: Vec<Box<dyn Sink>>, clock: Clock) -> Publisher {
        let outlets = sinks.into_iter().map(|sink| Outlet { sink, lost: 0, complained_us: None }).collect();
        Publisher { queue, outlets, clock, batch: Vec::new() }
    }

    /// Until `stop` resolves or its sender is gone; then what is left in the queue is published.
    pub async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        loop {
            self.drain().await;
            if tokio::time::timeout(POLL, &mut stop).await.is_ok() {
                break;
            }
        }
        self.drain().await;
        for outlet in &mut self.outlets {
            outlet.sink.finish().await;
        }
    }

    async fn drain(&mut self) {
        self.queue.set_taken(self.outlets.iter().any(|outlet| outlet.sink.takes_events()));
        loop {
            self.batch.clear();
            self.batch.extend(std::iter::from_fn(|| self.queue.take()).take(BATCH_EVENTS_MAX));
            if self.batch.is_empty() {
                return;
            }
            for outlet in &mut self.outlets {
                if let Err(lost) = outlet.sink.write(&self.batch).await {
                    self.queue.count_dropped(lost.events as u64);
                    outlet.complain((self.clock)().mono_us, &lost);
                }
            }
            // A sink need not wait for anything, and the exchanges want their turn.
            tokio::task::yield_now().await;
        }
    }
}

impl Outlet {
    fn complain(&mut self, now_us: u64, lost: &Lost) {
        self.lost += lost.events as u64;
        if self.complained_us.is_some_and(|then| now_us.saturating_sub(then) < COMPLAINT_US) {
            return;
        }
        let events = std::mem::take(&mut self.lost);
        self.complained_us = Some(now_us);
        let (sink, cause) = (self.sink.name(), &lost.cause);
        tracing::error!(sink, events, %cause, "an event sink fails, its events are lost");
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io::ErrorKind;
    use std::rc::Rc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::super::sink::Written;
    use super::super::{FileSink, LogSink};
    use super::*;

    /// Remembers what it is given; loses whole batches while told to.
    #[derive(Default, Clone)]
    struct Memory {
        taken: Rc<RefCell<Vec<String>>>,
        failing: Rc<RefCell<bool>>,
    }

    impl Sink for Memory {
        fn name(&self) -> &'static str {
            "memory"
        }

        fn write<'a>(&'a mut self, events: &'a [Event]) -> Written<'a> {
            let result = if *self.failing.borrow() {
                Err(Lost { events: events.len(), cause: ErrorKind::StorageFull.into() })
            } else {
                self.taken.borrow_mut().extend(events.iter().map(|e| e.client_id.clone()));
                Ok(())
            };
            Box::pin(std::future::ready(result))
        }
    }

    fn event(n: usize) -> Event {
        let client_id = format!("client-{n}");
        Event { event_type: "client_connected", client_id, unix_ms: 0, details: Vec::new() }
    }

    fn still_clock() -> Clock {
        Arc::new(Now::default)
    }

    #[test]
    fn what_is_in_the_queue_at_the_end_is_published_in_order() {
        let queue = Arc::new(EventQueue::new(2 * BATCH_EVENTS_MAX));
        let memory = Memory::default();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let sinks: Vec<Box<dyn Sink>> =
            vec![Box::new(memory.clone()), Box::new(LogSink), Box::new(FileSink::new(path.clone()))];
        let publisher = Publisher::new(queue.clone(), sinks, still_clock());
        let count = BATCH_EVENTS_MAX + 1;
        (0..count).for_each(|n| queue.publish(event(n)));
        tokio_uring::start(async {
            let (stop, stopped) = oneshot::channel();
            drop(stop);
            publisher.run(stopped).await;
        });
        let expected: Vec<_> = (0..count).map(|n| event(n).client_id).collect();
        assert_eq!(*memory.taken.borrow(), expected);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), count);
        assert_eq!(queue.dropped(), 0);
    }

    #[test]
    fn a_failing_sink_counts_its_losses_is_tried_again_and_takes_nothing_from_the_others() {
        let queue = Arc::new(EventQueue::new(8));
        let (failing, healthy) = (Memory::default(), Memory::default());
        *failing.failing.borrow_mut() = true;
        let sinks: Vec<Box<dyn Sink>> = vec![Box::new(failing.clone()), Box::new(healthy.clone())];
        let mut publisher = Publisher::new(queue.clone(), sinks, still_clock());
        tokio_uring::start(async {
            (0..3).for_each(|n| queue.publish(event(n)));
            publisher.drain().await;
            *failing.failing.borrow_mut() = false;
            queue.publish(event(3));
            publisher.drain().await;
        });
        assert_eq!(queue.dropped(), 3);
        assert_eq!(*failing.taken.borrow(), ["client-3"]);
        assert_eq!(healthy.taken.borrow().len(), 4);
    }

    #[test]
    fn a_sink_that_keeps_failing_complains_once_a_minute_and_then_of_all() {
        let now_us = Arc::new(AtomicU64::new(5));
        let read = now_us.clone();
        let clock: Clock = Arc::new(move || Now { mono_us: read.load(Ordering::Relaxed), unix_ms: 0 });
        let queue = Arc::new(EventQueue::new(8));
        let failing = Memory::default();
        *failing.failing.borrow_mut() = true;
        let mut publisher = Publisher::new(queue.clone(), vec![Box::new(failing)], clock);
        // What the next complaint has to speak of, after a loss at each of these times.
        let times = [(5, 0), (6, 1), (COMPLAINT_US + 4, 2), (COMPLAINT_US + 5, 0), (COMPLAINT_US + 6, 1)];
        tokio_uring::start(async {
            for (time_us, silent) in times {
                now_us.store(time_us, Ordering::Relaxed);
                queue.publish(event(0));
                publisher.drain().await;
                assert_eq!(publisher.outlets[0].lost, silent, "at {time_us}");
            }
        });
    }
}
