//! Floor 1: what operators see.
//!
//! Owns counters, the latency histogram, events and their rendering. A shard writes only its own
//! [`ShardMetrics`]; anyone may read them. Knows no protocol: messages and errors are numbers here,
//! and whoever renders brings their names.

mod event;
mod metrics;
mod prometheus;

pub use event::{Detail, Event, EventQueue};
pub use metrics::{Counter, Gauge, LABELS_MAX, LatencyRecorder, Reloads, ShardMetrics, TlsFailure};
pub use prometheus::{Labels, Snapshot, render};
