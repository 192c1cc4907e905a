//! Counters with one writer each, and the latency histogram.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use hdrhistogram::Histogram;
use parking_lot::Mutex;

/// Most message types, and most error codes, that all dialects together may count.
pub const LABELS_MAX: usize = 96;

/// Most latencies that wait to be handed over: several turns' worth.
const NOTED_MAX: usize = 16_384;

/// Longest latency that is told apart; a longer one counts as this long.
const LATENCY_US_MAX: u64 = 60_000_000;

/// Why a connection to a listener with a certificate came to nothing, or broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFailure {
    /// The peer broke it off.
    Alert,
    /// The client's certificate is missing or not accepted.
    Certificate,
    /// No version, cipher or protocol in common.
    Incompatible,
    /// What came is not what is due.
    Protocol,
    /// What came is no TLS at all.
    Plaintext,
    /// It ended before its handshake did.
    Unfinished,
    Internal,
}

impl TlsFailure {
    pub const ALL: [(TlsFailure, &'static str); 7] = [
        (TlsFailure::Alert, "alert"),
        (TlsFailure::Certificate, "certificate"),
        (TlsFailure::Incompatible, "incompatible"),
        (TlsFailure::Protocol, "protocol"),
        (TlsFailure::Plaintext, "plaintext"),
        (TlsFailure::Unfinished, "unfinished"),
        (TlsFailure::Internal, "internal"),
    ];
}

/// A number that only rises. One thread writes it, so an increment needs no locked instruction.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that rises and falls, with one writer.
#[derive(Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    pub fn add(&self, n: i64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    pub fn set(&self, n: i64) {
        self.0.store(n, Ordering::Relaxed);
    }

    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How often the settings were read again. The main thread alone writes.
#[derive(Default)]
pub struct Reloads {
    pub applied: Counter,
    pub refused: Counter,
    /// When settings were last taken over; the first time at the start.
    pub applied_unix_ms: Gauge,
}

/// What one shard counts. Only its own thread writes.
pub struct ShardMetrics {
    /// By message label.
    pub messages_received: [Counter; LABELS_MAX],
    /// By message label; a relayed message counts when it is put into its target's outbox.
    pub messages_sent: [Counter; LABELS_MAX],
    /// By error label.
    pub errors: [Counter; LABELS_MAX],
    /// Relayed messages of which the kernel has taken the last byte.
    pub delivered: Counter,
    /// Relayed messages that their sender got back after they had been on their way.
    pub bounced: Counter,
    pub connections_accepted: Counter,
    pub connections_refused: Counter,
    /// Of these, for what else came from their address.
    pub connections_crowded: Counter,
    /// Connections of proxies that did not begin as they had to.
    pub proxy_headers_refused: Counter,
    /// Credentials that were not looked at.
    pub logins_throttled: Counter,
    /// Requests that came too fast from their address.
    pub requests_throttled: Counter,
    pub connections: Gauge,
    pub sessions: Gauge,
    pub sessions_ended: Counter,
    pub session_milliseconds: Counter,
    pub bytes_received: Counter,
    pub bytes_sent: Counter,
    pub inbox_depth: Gauge,
    pub overflow_depth: Gauge,
    pub outbox_bytes: Gauge,
    pub outbox_messages: Gauge,
    pub outbox_over_soft: Counter,
    pub slow_consumers_cut: Counter,
    pub held_back: Counter,
    pub panics: Counter,
    /// Handshakes that were completed.
    pub tls_handshakes: Counter,
    /// By [`TlsFailure`].
    pub tls_failures: [Counter; TlsFailure::ALL.len()],
    latency_us: Mutex<Histogram<u64>>,
}

impl Default for ShardMetrics {
    fn default() -> Self {
        ShardMetrics {
            messages_received: std::array::from_fn(|_| Counter::default()),
            messages_sent: std::array::from_fn(|_| Counter::default()),
            errors: std::array::from_fn(|_| Counter::default()),
            delivered: Counter::default(),
            bounced: Counter::default(),
            connections_accepted: Counter::default(),
            connections_refused: Counter::default(),
            connections_crowded: Counter::default(),
            proxy_headers_refused: Counter::default(),
            logins_throttled: Counter::default(),
            requests_throttled: Counter::default(),
            connections: Gauge::default(),
            sessions: Gauge::default(),
            sessions_ended: Counter::default(),
            session_milliseconds: Counter::default(),
            bytes_received: Counter::default(),
            bytes_sent: Counter::default(),
            inbox_depth: Gauge::default(),
            overflow_depth: Gauge::default(),
            outbox_bytes: Gauge::default(),
            outbox_messages: Gauge::default(),
            outbox_over_soft: Counter::default(),
            slow_consumers_cut: Counter::default(),
            held_back: Counter::default(),
            panics: Counter::default(),
            tls_handshakes: Counter::default(),
            tls_failures: std::array::from_fn(|_| Counter::default()),
            latency_us: Mutex::new(new_histogram()),
        }
    }
}

impl ShardMetrics {
    /// Everything recorded so far. Waits for no shard.
    pub fn latency_us(&self) -> Histogram<u64> {
        self.latency_us.lock().clone()
    }
}

/// The shard's own side of the latency histogram: it notes latencies without a lock, and hands them
/// over once a turn.
pub struct LatencyRecorder {
    /// A latency, and how many messages in a row had it: those of one turn that were taken in
    /// another one all have the same.
    noted: Vec<(u64, u64)>,
}

impl Default for LatencyRecorder {
    fn default() -> Self {
        LatencyRecorder { noted: Vec::with_capacity(NOTED_MAX) }
    }
}

impl LatencyRecorder {
    pub fn record_us(&mut self, latency_us: u64, messages: u64) {
        if let Some((last_us, count)) = self.noted.last_mut()
            && *last_us == latency_us
        {
            *count += messages;
        } else if self.noted.len() < NOTED_MAX {
            // Full only while a reader keeps the lock for many turns; then samples are left out.
            self.noted.push((latency_us, messages));
        }
    }

    /// Waits for nobody: a reader that holds the lock just now leaves it to a later turn.
    pub fn hand_over(&mut self, to: &ShardMetrics) {
        if self.noted.is_empty() {
            return;
        }
        if let Some(mut shared) = to.latency_us.try_lock() {
            for (latency_us, count) in self.noted.drain(..) {
                shared.saturating_record_n(latency_us, count);
            }
        }
    }
}

fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_max(LATENCY_US_MAX, 2).expect("1 to the maximum at two digits is a valid range")
}
