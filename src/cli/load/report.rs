//! The result: a table for people, one JSON object for programs.

use std::fmt::Write;

use clap::ValueEnum;
use hdrhistogram::Histogram;
use serde::Serialize;

use super::arguments::Mode;
use super::drive::Outcome;
use super::payloads::Sizes;
use super::plan::{Plan, Transport};
use super::process::Memory;
use super::run::Run;

/// A share of its core above which the generator, and not the server, may have set the pace.
const SATURATED_SHARE: f64 = 0.95;
/// The same by how late every hundredth message was sent.
const SATURATED_LATENESS_US: f64 = 1000.0;

/// All figures of a run. Times are in the unit of their name; what was not measured is `null`.
#[derive(Debug, Serialize)]
pub struct Report {
    version: &'static str,
    url_scheme: &'static str,
    address: String,
    dialect: String,
    mode: String,
    pairs: String,
    size: String,
    outstanding: u64,
    rate: u64,
    seed: u64,
    connections: Connections,
    /// Of the measured window.
    seconds: f64,
    /// Messages that arrived in the window; in a storm, logins.
    messages: u64,
    messages_per_second: f64,
    /// From the moment of sending; in open loop, from when it should have been.
    latency_us: Option<Quantiles>,
    /// Open loop: how late this generator sent.
    lateness_us: Option<Quantiles>,
    /// Of the whole run, not of the window alone.
    sent: u64,
    arrived: u64,
    errors: u64,
    lost: u64,
    unsent: u64,
    duplicated: u64,
    out_of_order: u64,
    corrupt: u64,
    other_messages: u64,
    first_error: Option<String>,
    generator: Generator,
    server: Option<Server>,
    /// Every message arrived once, in order and unchanged, and no connection broke.
    clean: bool,
}

#[derive(Debug, Serialize)]
struct Connections {
    wanted: u32,
    ready: usize,
    paired: usize,
    failed: u64,
    broken: u64,
    opening_seconds: f64,
}

#[derive(Debug, Serialize)]
struct Quantiles {
    min: f64,
    mean: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    p99_9: f64,
    max: f64,
}

#[derive(Debug, Serialize)]
struct Generator {
    core: Option<usize>,
    spin: bool,
    /// Share of one core. Spinning takes all of it, so there it is the share that was no waiting.
    cpu_share: f64,
    saturated: bool,
}

#[derive(Debug, Serialize)]
struct Server {
    pid: u32,
    /// Share of one core; above 1 where it uses several.
    cpu_share: Option<f64>,
    /// In a storm, for one login with all that belongs to it.
    cpu_us_per_message: Option<f64>,
    /// In bytes: before any connection, after the rehearsal of an idle run, and at the end of the
    /// window.
    memory_at_start: Option<Memory>,
    memory_before: Option<Memory>,
    memory_loaded: Option<Memory>,
    /// What came since `memory_before`, divided by the connections that are ready.
    resident_bytes_per_connection: Option<f64>,
    proportional_bytes_per_connection: Option<f64>,
    anonymous_bytes_per_connection: Option<f64>,
}

impl Report {
    pub fn new(plan: &Plan, run: &Run<'_>, outcome: &Outcome) -> Report {
        let tally = &run.tally;
        let seconds = tally.window.end.saturating_sub(tally.window.start) as f64 / 1e9;
        let lost = run.lost();
        let unsent = run.unsent();
        let wrong = [
            tally.refused,
            lost,
            unsent,
            tally.duplicated,
            tally.out_of_order,
            tally.corrupt,
            tally.failed,
            tally.broken,
        ];
        let lateness_us = quantiles(&tally.lateness);
        let cpu_share = if plan.spin {
            1.0 - share(outcome.begin.waited, outcome.end.waited, seconds)
        } else {
            share(outcome.begin.own, outcome.end.own, seconds)
        };
        let is_late = lateness_us.as_ref().is_some_and(|late| late.p99 > SATURATED_LATENESS_US);
        let has_arrivals = tally.arrived > 0 || plan.mode == Mode::Idle;
        Report {
            version: env!("CARGO_PKG_VERSION"),
            url_scheme: match (plan.target.transport, plan.target.sealed) {
                (Transport::WebSocket, false) => "ws",
                (Transport::WebSocket, true) => "wss",
                (Transport::Tcp, false) => "tcp",
                (Transport::Tcp, true) => "tls",
            },
            address: plan.target.address.to_string(),
            dialect: word(&plan.dialect),
            mode: word(&plan.mode),
            pairs: word(&plan.pairs),
            size: match plan.sizes {
                Sizes::Fixed(bytes) => bytes.to_string(),
                Sizes::Sdp => "sdp".to_owned(),
                Sizes::Ice => "ice".to_owned(),
                Sizes::Mixed => "mixed".to_owned(),
            },
            outstanding: plan.outstanding,
            rate: plan.rate,
            seed: plan.seed,
            connections: Connections {
                wanted: plan.connections,
                ready: outcome.ready,
                paired: run.active.len(),
                failed: tally.failed,
                broken: tally.broken,
                opening_seconds: outcome.opening_seconds,
            },
            seconds,
            messages: tally.arrived_in_window,
            messages_per_second: ratio(tally.arrived_in_window as f64, seconds).unwrap_or_default(),
            latency_us: quantiles(&tally.latency),
            lateness_us,
            sent: tally.sent,
            arrived: tally.arrived,
            errors: tally.refused,
            lost,
            unsent,
            duplicated: tally.duplicated,
            out_of_order: tally.out_of_order,
            corrupt: tally.corrupt,
            other_messages: tally.others,
            first_error: tally.first_error.clone(),
            generator: Generator {
                core: plan.core,
                spin: plan.spin,
                cpu_share,
                saturated: cpu_share > SATURATED_SHARE || is_late,
            },
            server: plan.server_pid.map(|pid| Server::new(pid, tally.arrived_in_window, seconds, outcome)),
            clean: has_arrivals && wrong.iter().all(|&count| count == 0),
        }
    }

    pub fn is_clean(&self) -> bool {
        self.clean
    }

    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("plain numbers and texts are JSON")
    }

    pub fn table(&self) -> String {
        let mut out = String::new();
        let mut row = |name: &str, value: String| {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{name:<12} {value}");
        };
        let Connections { wanted, ready, paired, failed, broken, opening_seconds } = &self.connections;
        row(
            "load",
            format!(
                "{} over {}://{}, {}, {} bytes, seed {}",
                self.dialect,
                self.url_scheme,
                self.address,
                self.pace(),
                self.size,
                self.seed
            ),
        );
        row(
            "connections",
            format!(
                "{wanted} wanted, {ready} ready, {paired} paired, {failed} failed, {broken} broken, opened in {opening_seconds:.2} s"
            ),
        );
        let unit = if self.mode == "storm" { "logins" } else { "messages" };
        if self.mode != "idle" {
            row(
                unit,
                format!(
                    "{:.0} a second ({} in {:.2} s)",
                    self.messages_per_second, self.messages, self.seconds
                ),
            );
        }
        for (name, quantiles) in [("latency", &self.latency_us), ("lateness", &self.lateness_us)] {
            if let Some(Quantiles { p50, p90, p99, p99_9, max, .. }) = quantiles {
                row(
                    name,
                    format!("p50 {p50:.1}  p90 {p90:.1}  p99 {p99:.1}  p99.9 {p99_9:.1}  max {max:.1} µs"),
                );
            }
        }
        row(
            "checked",
            format!(
                "{} errors, {} lost, {} duplicated, {} out of order, {} corrupt, {} unsent",
                self.errors, self.lost, self.duplicated, self.out_of_order, self.corrupt, self.unsent
            ),
        );
        if let Some(error) = &self.first_error {
            row("first error", error.clone());
        }
        row(
            "generator",
            format!(
                "{:.0} % of a core{}{}",
                self.generator.cpu_share * 100.0,
                if self.generator.spin { ", spinning apart" } else { "" },
                if self.generator.saturated { ": SATURATED, the figures may be its own" } else { "" }
            ),
        );
        if let Some(server) = &self.server {
            server.rows(&self.mode, &mut row);
        }
        out
    }

    fn pace(&self) -> String {
        match self.mode.as_str() {
            "closed" => format!("closed loop with {} outstanding", self.outstanding),
            "open" => format!("open loop at {} a second", self.rate),
            other => other.to_owned(),
        }
    }
}

impl Server {
    fn new(pid: u32, messages: u64, seconds: f64, outcome: &Outcome) -> Server {
        let cpu = outcome.begin.server.zip(outcome.end.server);
        let cpu_ns = cpu.map(|(begin, end)| end.saturating_sub(begin) as f64);
        let both = outcome.memory_before.zip(outcome.memory_loaded);
        let per_connection = |bytes: fn(&Memory) -> u64| {
            let (before, loaded) = both?;
            ratio(bytes(&loaded) as f64 - bytes(&before) as f64, outcome.ready as f64)
        };
        Server {
            pid,
            cpu_share: cpu_ns.and_then(|ns| ratio(ns / 1e9, seconds)),
            cpu_us_per_message: cpu_ns.and_then(|ns| ratio(ns / 1e3, messages as f64)),
            memory_at_start: outcome.memory_at_start,
            memory_before: outcome.memory_before,
            memory_loaded: outcome.memory_loaded,
            resident_bytes_per_connection: per_connection(|memory| memory.resident),
            proportional_bytes_per_connection: per_connection(|memory| memory.proportional),
            anonymous_bytes_per_connection: per_connection(|memory| memory.anonymous),
        }
    }

    fn rows(&self, mode: &str, row: &mut impl FnMut(&str, String)) {
        let share = number(self.cpu_share.map(|share| share * 100.0), 0);
        row(
            "server CPU",
            match self.cpu_us_per_message {
                Some(us) => {
                    let unit = if mode == "storm" { "login" } else { "message" };
                    format!("{us:.3} µs per {unit}, {share} % of a core")
                }
                None => format!("{share} % of a core"),
            },
        );
        if self.proportional_bytes_per_connection.is_some() {
            row(
                "memory",
                format!(
                    "bytes per connection: {} proportional, {} of it anonymous; {} resident",
                    number(self.proportional_bytes_per_connection, 0),
                    number(self.anonymous_bytes_per_connection, 0),
                    number(self.resident_bytes_per_connection, 0),
                ),
            );
        }
        if let Some(memory) = self.memory_loaded {
            let at_start = self.memory_at_start.map(|memory| memory.proportional as f64 / 1024.0);
            let (all, at_start) = (memory.proportional / 1024, number(at_start, 0));
            row("", format!("{all} KiB proportional in all, {at_start} before any connection"));
        }
    }
}

fn quantiles(histogram: &Histogram<u64>) -> Option<Quantiles> {
    let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
    (!histogram.is_empty()).then(|| Quantiles {
        min: histogram.min() as f64 / 1e3,
        mean: histogram.mean() / 1e3,
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p99_9: at(0.999),
        max: histogram.max() as f64 / 1e3,
    })
}

fn share(begin_ns: u64, end_ns: u64, seconds: f64) -> f64 {
    ratio(end_ns.saturating_sub(begin_ns) as f64 / 1e9, seconds).unwrap_or_default()
}

fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "?".to_owned(), |value| format!("{value:.digits$}"))
}

/// As it is written on the command line.
fn word(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|possible| possible.get_name().to_owned()).unwrap_or_default()
}
