//! Events as JSON arrays that are posted to an address.
//!
//! ```text
//! publisher ─► batches (bounded) ─► thread ─POST─► 2xx: done
//!                                     ▲─ again after a while ─┘ 5xx, 408, 429, nobody there
//! ```
//!
//! A batch may arrive twice, when its answer was lost.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use ureq::Agent;

use super::agent;
use super::sink::{Finished, Lost, Sink, Written, write_json};
use crate::base::Redacted;
use crate::observe::{Event, EventQueue};

/// Batches that wait for the thread; one has at most as many events as the publisher takes at once.
const BATCHES_MAX: usize = 64;

/// Attempts to post one batch, and the waits between them.
const WAITS: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// For one attempt.
const ATTEMPT: Duration = Duration::from_secs(5);

/// Posts batches from a thread of its own, in their order. What cannot be posted after some attempts
/// is lost and counted; while it is being tried, later batches wait, and what finds no place to wait is
/// lost, too.
pub struct WebhookSink {
    /// None once it is finished.
    batches: Option<SyncSender<Batch>>,
    /// Resolves when the thread has ended.
    ended: Option<oneshot::Receiver<()>>,
}

struct Batch {
    json: Vec<u8>,
    events: usize,
}

struct Poster {
    agent: Agent,
    url: String,
    authorization: Option<Redacted<String>>,
    queue: Arc<EventQueue>,
}

/// Why a batch was not taken.
enum Refusal {
    /// The same would be refused again.
    ForGood(u16),
    ForNow(Cause),
}

enum Cause {
    Status(u16),
    Unreachable,
}

impl WebhookSink {
    /// `token` is shown as `Authorization: Bearer`. What is lost behind the sink's back is counted in
    /// `queue`.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(
        url: &str,
        token: Option<&Redacted<String>>,
        queue: Arc<EventQueue>,
    ) -> io::Result<WebhookSink> {
        let https = url.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"));
        // An answer of 3xx is none that takes anything.
        let config = agent::config(https, ATTEMPT).max_redirects(0).http_status_as_error(false).build();
        let poster = Poster {
            agent: config.new_agent(),
            url: url.to_owned(),
            authorization: token.map(|token| Redacted::new(format!("Bearer {}", token.expose()))),
            queue,
        };
        let (batches, waiting) = sync_channel(BATCHES_MAX);
        let (tell_end, ended) = oneshot::channel();
        thread::Builder::new().name("webhook".to_owned()).spawn(move || {
            poster.run(&waiting);
            // Nobody waits when the process ends without ado.
            let _ = tell_end.send(());
        })?;
        Ok(WebhookSink { batches: Some(batches), ended: Some(ended) })
    }

    fn hand_over(&self, events: &[Event]) -> Result<(), Lost> {
        let mut json = Vec::with_capacity(events.len() * 160);
        for (index, event) in events.iter().enumerate() {
            json.push(if index == 0 { b'[' } else { b',' });
            write_json(event, &mut json);
        }
        json.push(b']');
        let batch = Batch { json, events: events.len() };
        let lost = |words: &str| Lost { events: events.len(), cause: io::Error::other(words.to_owned()) };
        match self.batches.as_ref().map(|batches| batches.try_send(batch)) {
            Some(Ok(())) => Ok(()),
            Some(Err(TrySendError::Full(_))) => Err(lost("the webhook takes them too slowly")),
            Some(Err(TrySendError::Disconnected(_))) | None => Err(lost("the webhook's thread has ended")),
        }
    }
}

impl Sink for WebhookSink {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn write<'a>(&'a mut self, events: &'a [Event]) -> Written<'a> {
        Box::pin(std::future::ready(self.hand_over(events)))
    }

    fn finish(&mut self) -> Finished<'_> {
        self.batches = None;
        let ended = self.ended.take();
        Box::pin(async move {
            if let Some(ended) = ended {
                // Either way it has ended.
                let _ = ended.await;
            }
        })
    }
}

impl Poster {
    fn run(&self, waiting: &Receiver<Batch>) {
        let mut told = false;
        for batch in waiting {
            match self.post(&batch) {
                Ok(()) => told = false,
                Err(refusal) => {
                    self.queue.count_dropped(batch.events as u64);
                    // Until one is taken again.
                    if !std::mem::replace(&mut told, true) {
                        tracing::error!(events = batch.events, cause = %refusal, "the webhook takes no events, they are lost");
                    }
                }
            }
        }
    }

    fn post(&self, batch: &Batch) -> Result<(), Refusal> {
        let mut waits = WAITS.iter();
        loop {
            match self.attempt(batch) {
                Err(Refusal::ForNow(cause)) => match waits.next() {
                    Some(wait) => thread::sleep(*wait),
                    None => return Err(Refusal::ForNow(cause)),
                },
                other => return other,
            }
        }
    }

    fn attempt(&self, batch: &Batch) -> Result<(), Refusal> {
        let mut request = self.agent.post(&self.url).header("Content-Type", "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization.expose());
        }
        match request.send(&batch.json[..]).map(|response| response.status().as_u16()) {
            Ok(200..=299) => Ok(()),
            Ok(status @ (408 | 429 | 500..)) => Err(Refusal::ForNow(Cause::Status(status))),
            Ok(status) => Err(Refusal::ForGood(status)),
            Err(_) => Err(Refusal::ForNow(Cause::Unreachable)),
        }
    }
}

/// Holds nothing of what was received, nor of the address.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::ForGood(status) | Refusal::ForNow(Cause::Status(status)) => {
                write!(f, "the answer was {status}")
            }
            Refusal::ForNow(Cause::Unreachable) => f.write_str("the address does not answer"),
        }
    }
}
