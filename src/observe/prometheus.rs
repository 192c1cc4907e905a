//! Prometheus text format 0.0.4, from the counters of all shards.
//!
//! ```text
//! # HELP sigmux_sessions Logged-in connections.
//! # TYPE sigmux_sessions gauge
//! sigmux_sessions{shard="0"} 12
//! ```

use std::fmt::{Display, Write};
use std::sync::Arc;

use super::{Counter, EventQueue, Gauge, Reloads, ShardMetrics, TlsFailure};

/// Upper bounds of the latency histogram, in microseconds and as they are printed, in seconds.
const LATENCY_BOUNDS: [(u64, &str); 16] = [
    (50, "0.00005"),
    (100, "0.0001"),
    (250, "0.00025"),
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (2_500_000, "2.5"),
    (10_000_000, "10"),
];

/// What the numbers are called that shards count messages and errors by. The position in a table
/// is the number; what stands behind [`super::LABELS_MAX`] is not printed, since nobody can have
/// counted it.
#[derive(Clone, Copy)]
pub struct Labels<'a> {
    /// Dialect and message type.
    pub messages: &'a [(&'a str, &'a str)],
    /// Dialect and error code.
    pub errors: &'a [(&'a str, &'a str)],
}

/// Everything that one scrape shows. Each counter is read at its own moment: two of them need not
/// agree to the last message.
pub struct Snapshot<'a> {
    pub version: &'a str,
    pub uptime_us: u64,
    pub labels: Labels<'a>,
    /// In the order of shards.
    pub shards: &'a [Arc<ShardMetrics>],
    /// What the front counts for the peers that live there.
    pub front: &'a Arc<ShardMetrics>,
    /// Parcels in each shard's inbox, in the order of shards.
    pub inbox_depths: &'a [usize],
    pub front_inbox_depth: usize,
    /// Addresses of clients that are known.
    pub addresses: usize,
    pub addresses_forgotten: u64,
    pub events: &'a EventQueue,
    pub reloads: &'a Reloads,
}

impl Snapshot<'_> {
    /// The media type of what [`render`] returns.
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";
}

/// The whole page. Every label of the tables is there from the start, with zero, so that a rate
/// over it is right from the first message on.
pub fn render(snapshot: &Snapshot<'_>) -> String {
    let mut page = Page::default();
    process(&mut page, snapshot);
    let nodes: Vec<_> = snapshot.shards.iter().chain([snapshot.front]).cloned().collect();
    messages(&mut page, snapshot, &nodes);
    connections(&mut page, snapshot, &nodes);
    queues(&mut page, snapshot);
    delivery(&mut page, &nodes);
    page.text
}

fn process(page: &mut Page, snapshot: &Snapshot<'_>) {
    page.family("sigmux_build_info", "gauge", "Always 1; the label says which version runs.");
    page.sample("sigmux_build_info", &[("version", &snapshot.version)], 1);
    page.family("sigmux_uptime_seconds", "gauge", "Time since the process started.");
    page.sample("sigmux_uptime_seconds", &[], Seconds { count: snapshot.uptime_us, digits: 6 });
    page.family("sigmux_shards", "gauge", "Shards of this process.");
    page.sample("sigmux_shards", &[], snapshot.shards.len());

    let events = snapshot.events;
    page.family("sigmux_events_published_total", "counter", "Events handed to the event publisher.");
    page.sample("sigmux_events_published_total", &[], events.published());
    page.family("sigmux_events_dropped_total", "counter", "Events that a full queue or a failing sink lost.");
    page.sample("sigmux_events_dropped_total", &[], events.dropped());
    let (recorded, dropped) = events.audited();
    page.family("sigmux_audit_entries_total", "counter", "Entries handed to the audit log.");
    page.sample("sigmux_audit_entries_total", &[], recorded);
    let help = "Entries of the audit log that a full queue or a failing disk lost.";
    page.family("sigmux_audit_dropped_total", "counter", help);
    page.sample("sigmux_audit_dropped_total", &[], dropped);

    let Reloads { applied, refused, applied_unix_ms } = snapshot.reloads;
    let name = "sigmux_config_reloads_total";
    page.family(name, "counter", "Times that SIGHUP had the settings read again.");
    page.sample(name, &[("result", &"applied")], applied.get());
    page.sample(name, &[("result", &"refused")], refused.get());
    let name = "sigmux_config_last_reload_success_timestamp_seconds";
    page.family(name, "gauge", "When settings were last taken over, at the start or by SIGHUP.");
    page.sample(name, &[], Seconds { count: applied_unix_ms.get().max(0) as u64, digits: 3 });
}

fn messages(page: &mut Page, snapshot: &Snapshot<'_>, nodes: &[Arc<ShardMetrics>]) {
    let name = "sigmux_messages_total";
    page.family(name, "counter", "Messages from clients (in) and to clients (out).");
    for (index, (dialect, kind)) in snapshot.labels.messages.iter().enumerate() {
        let received = total(nodes, |shard| shard.messages_received.get(index));
        let sent = total(nodes, |shard| shard.messages_sent.get(index));
        for (direction, count) in [("in", received), ("out", sent)] {
            let labels: [Label<'_>; 3] = [("dialect", dialect), ("type", kind), ("direction", &direction)];
            page.optional(name, &labels, count);
        }
    }
    let name = "sigmux_errors_total";
    page.family(name, "counter", "Errors told to clients.");
    for (index, (dialect, code)) in snapshot.labels.errors.iter().enumerate() {
        let count = total(nodes, |shard| shard.errors.get(index));
        page.optional(name, &[("dialect", dialect), ("code", code)], count);
    }
}

fn connections(page: &mut Page, snapshot: &Snapshot<'_>, nodes: &[Arc<ShardMetrics>]) {
    let shards = snapshot.shards;
    page.per_shard("sigmux_connections", "Open connections.", shards, |shard| &shard.connections);
    page.per_shard("sigmux_sessions", "Logged-in connections.", shards, |shard| &shard.sessions);
    page.family("sigmux_broadcast_clients", "gauge", "Connected Socket.IO clients.");
    page.sample("sigmux_broadcast_clients", &[], snapshot.front.sessions.get());

    let name = "sigmux_session_seconds";
    page.family(name, "summary", "Length of the sessions that have ended.");
    let ended = sum(nodes, |node| &node.sessions_ended);
    let milliseconds = sum(nodes, |node| &node.session_milliseconds);
    page.sample("sigmux_session_seconds_sum", &[], Seconds { count: milliseconds, digits: 3 });
    page.sample("sigmux_session_seconds_count", &[], ended);

    page.summed("sigmux_connections_accepted_total", "Connections accepted.", shards, |shard| {
        &shard.connections_accepted
    });
    page.summed(
        "sigmux_connections_refused_total",
        "Connections turned away because a limit was reached.",
        shards,
        |shard| &shard.connections_refused,
    );
    page.summed(
        "sigmux_connections_crowded_total",
        "Connections turned away because of what else came from their address.",
        shards,
        |shard| &shard.connections_crowded,
    );
    page.summed(
        "sigmux_proxy_headers_refused_total",
        "Connections of trusted proxies without a valid header of the PROXY protocol.",
        shards,
        |shard| &shard.proxy_headers_refused,
    );
    page.summed(
        "sigmux_logins_throttled_total",
        "Logins refused because too many had failed from their address.",
        nodes,
        |node| &node.logins_throttled,
    );
    page.summed(
        "sigmux_requests_throttled_total",
        "Requests refused because they came too fast from their address.",
        nodes,
        |node| &node.requests_throttled,
    );
    page.family("sigmux_addresses", "gauge", "Addresses that have a connection or are remembered.");
    page.sample("sigmux_addresses", &[], snapshot.addresses);
    let name = "sigmux_addresses_forgotten_total";
    page.family(name, "counter", "Addresses forgotten before their time for want of room.");
    page.sample(name, &[], snapshot.addresses_forgotten);
    page.summed("sigmux_received_bytes_total", "Bytes received from clients.", shards, |shard| {
        &shard.bytes_received
    });
    page.summed("sigmux_sent_bytes_total", "Bytes sent to clients.", shards, |shard| &shard.bytes_sent);
    page.summed("sigmux_tls_handshakes_total", "TLS handshakes completed.", shards, |shard| {
        &shard.tls_handshakes
    });
    let name = "sigmux_tls_failures_total";
    page.family(name, "counter", "Connections that should have spoken TLS and did not, or broke off.");
    for (failure, cause) in TlsFailure::ALL {
        let count = sum(shards, |shard| &shard.tls_failures[failure as usize]);
        page.sample(name, &[("cause", &cause)], count);
    }
    page.summed("sigmux_panics_total", "Sessions ended by a fault of the server.", shards, |shard| {
        &shard.panics
    });
}

fn queues(page: &mut Page, snapshot: &Snapshot<'_>) {
    let shards = snapshot.shards;
    page.family("sigmux_inbox_depth", "gauge", "Parcels from other cores that wait for this shard.");
    for (shard, depth) in snapshot.inbox_depths.iter().enumerate() {
        page.sample("sigmux_inbox_depth", &[("shard", &shard)], depth);
    }
    page.family("sigmux_front_inbox_depth", "gauge", "Parcels that wait for the HTTP front.");
    page.sample("sigmux_front_inbox_depth", &[], snapshot.front_inbox_depth);
    page.per_shard(
        "sigmux_overflow_depth",
        "Parcels of this shard that wait for room in another's inbox.",
        shards,
        |shard| &shard.overflow_depth,
    );
    page.per_shard("sigmux_outbox_bytes", "Bytes that wait to be sent to clients.", shards, |shard| {
        &shard.outbox_bytes
    });
    page.per_shard(
        "sigmux_outbox_messages",
        "Relayed messages that wait to be sent to clients.",
        shards,
        |shard| &shard.outbox_messages,
    );
    page.summed(
        "sigmux_outbox_over_soft_total",
        "Times that an outbox rose over its soft limit.",
        shards,
        |shard| &shard.outbox_over_soft,
    );
    page.summed(
        "sigmux_slow_consumers_cut_total",
        "Clients cut because they did not read.",
        shards,
        |shard| &shard.slow_consumers_cut,
    );
    page.summed(
        "sigmux_held_back_total",
        "Times that a connection was not read because a shard was full.",
        shards,
        |shard| &shard.held_back,
    );
}

fn delivery(page: &mut Page, nodes: &[Arc<ShardMetrics>]) {
    page.summed(
        "sigmux_delivered_total",
        "Relayed messages of which the kernel, or the library of Socket.IO, has taken the last byte.",
        nodes,
        |shard| &shard.delivered,
    );
    page.summed(
        "sigmux_bounced_total",
        "Relayed messages that their sender got back after they had been on their way.",
        nodes,
        |shard| &shard.bounced,
    );

    page.family(
        "sigmux_delivery_seconds",
        "histogram",
        "Time from a message's last byte received to its last byte taken by the kernel.",
    );
    let histograms: Vec<_> = nodes.iter().map(|shard| shard.latency_us()).collect();
    for (bound_us, bound) in LATENCY_BOUNDS {
        let count: u64 = histograms.iter().map(|h| h.count_between(0, bound_us)).sum();
        page.sample("sigmux_delivery_seconds_bucket", &[("le", &bound)], count);
    }
    let count: u64 = histograms.iter().map(|h| h.len()).sum();
    // From the same buckets as the counts: the sum may be off by the histogram's precision, one
    // percent, but it never falls from one scrape to the next.
    let sum_us: u64 = histograms
        .iter()
        .flat_map(|h| {
            h.iter_recorded().map(|v| h.median_equivalent(v.value_iterated_to()) * v.count_at_value())
        })
        .sum();
    page.sample("sigmux_delivery_seconds_bucket", &[("le", &"+Inf")], count);
    page.sample("sigmux_delivery_seconds_sum", &[], Seconds { count: sum_us, digits: 6 });
    page.sample("sigmux_delivery_seconds_count", &[], count);
}

fn sum(shards: &[Arc<ShardMetrics>], counter: impl Fn(&ShardMetrics) -> &Counter) -> u64 {
    shards.iter().map(|shard| counter(shard).get()).sum()
}

/// None when no shard has such a counter, which a table longer than the shards' arrays would ask
/// for.
fn total<'a>(
    shards: &'a [Arc<ShardMetrics>],
    counter: impl Fn(&'a ShardMetrics) -> Option<&'a Counter>,
) -> Option<u64> {
    shards.iter().map(|shard| counter(shard).map(Counter::get)).sum()
}

type Label<'a> = (&'a str, &'a dyn Display);

#[derive(Default)]
struct Page {
    text: String,
}

/// A count of 10^-digits seconds, printed in seconds without the detour over a float.
struct Seconds {
    count: u64,
    digits: u32,
}

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.push(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn sample(&mut self, name: &str, labels: &[Label<'_>], value: impl Display) {
        self.text.push_str(name);
        let mut separator = '{';
        for (label, value) in labels {
            self.text.push(separator);
            self.push(format_args!("{label}=\""));
            write_escaped(&mut self.text, &value.to_string());
            self.text.push('"');
            separator = ',';
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        self.push(format_args!(" {value}\n"));
    }

    fn optional(&mut self, name: &str, labels: &[Label<'_>], value: Option<u64>) {
        if let Some(value) = value {
            self.sample(name, labels, value);
        }
    }

    fn summed(
        &mut self,
        name: &str,
        help: &str,
        shards: &[Arc<ShardMetrics>],
        counter: impl Fn(&ShardMetrics) -> &Counter,
    ) {
        self.family(name, "counter", help);
        self.sample(name, &[], sum(shards, counter));
    }

    fn per_shard(
        &mut self,
        name: &str,
        help: &str,
        shards: &[Arc<ShardMetrics>],
        gauge: impl Fn(&ShardMetrics) -> &Gauge,
    ) {
        self.family(name, "gauge", help);
        for (index, shard) in shards.iter().enumerate() {
            self.sample(name, &[("shard", &index)], gauge(shard).get());
        }
    }

    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        self.text.write_fmt(text).expect("a String takes everything");
    }
}

impl Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let unit = 10u64.pow(self.digits);
        write!(f, "{}.{:0width$}", self.count / unit, self.count % unit, width = self.digits as usize)
    }
}

/// The three escapes that a label value knows.
fn write_escaped(out: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::super::{Event, LABELS_MAX, LatencyRecorder};
    use super::*;

    const LABELS: Labels<'_> =
        Labels { messages: &[("binary", "connect"), ("odd\"\\\n", "offer")], errors: &[("binary", "404")] };

    /// A page as the text format defines it: each family once, HELP and TYPE before its samples,
    /// its samples together, no sample twice.
    fn parse(page: &str) -> BTreeMap<String, f64> {
        let mut samples = BTreeMap::new();
        let mut families = BTreeSet::new();
        let (mut family, mut kind, mut helped) = (String::new(), String::new(), String::new());
        assert!(page.ends_with('\n'), "the last line ends like the others");
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a name and a text");
                assert!(!help.is_empty());
                helped = name.to_owned();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, word) = rest.split_once(' ').expect("a name and a type");
                assert_eq!(name, helped, "HELP stands before TYPE");
                assert!(["counter", "gauge", "summary", "histogram"].contains(&word));
                assert!(families.insert(name.to_owned()), "{name} comes twice");
                (family, kind) = (name.to_owned(), word.to_owned());
            } else {
                let (series, value) = line.rsplit_once(' ').expect("a series and a value");
                let name = series.split('{').next().expect("split yields at least one");
                let belongs = match kind.as_str() {
                    "histogram" => ["_bucket", "_sum", "_count"]
                        .map(|s| format!("{family}{s}"))
                        .contains(&name.to_owned()),
                    "summary" => {
                        ["_sum", "_count"].map(|s| format!("{family}{s}")).contains(&name.to_owned())
                    }
                    _ => name == family,
                };
                assert!(belongs, "{name} stands under {family}");
                assert!(name.starts_with("sigmux_"));
                assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
                assert!(kind != "counter" || name.ends_with("_total"));
                check_labels(&series[name.len()..]);
                let value = value.parse::<f64>().expect("a number");
                assert!(samples.insert(series.to_owned(), value).is_none(), "{series} comes twice");
            }
        }
        samples
    }

    fn check_labels(text: &str) {
        if text.is_empty() {
            return;
        }
        let mut rest = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).expect("braces");
        while !rest.is_empty() {
            let (name, value) = rest.split_once("=\"").expect("a label and its value");
            assert!(!name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase()));
            let mut chars = value.char_indices();
            let end = loop {
                match chars.next().expect("a closing quote") {
                    (_, '\\') => {
                        let escaped = chars.next().expect("an escape is two characters").1;
                        assert!(['\\', '"', 'n'].contains(&escaped));
                    }
                    (at, '"') => break at,
                    (_, c) => assert_ne!(c, '\n'),
                }
            };
            rest = &value[end + 1..];
            if let Some(next) = rest.strip_prefix(',') {
                assert!(!next.is_empty());
                rest = next;
            } else {
                assert!(rest.is_empty());
            }
        }
    }

    fn page_of(shards: &[Arc<ShardMetrics>], events: &EventQueue) -> BTreeMap<String, f64> {
        let depths = vec![3; shards.len()];
        parse(&render(&Snapshot {
            version: "1.2.3",
            uptime_us: 12_500_000,
            labels: LABELS,
            shards,
            front: &Arc::default(),
            inbox_depths: &depths,
            front_inbox_depth: 1,
            addresses: 4,
            addresses_forgotten: 2,
            events,
            reloads: &Reloads::default(),
        }))
    }

    #[test]
    fn the_page_is_valid_and_complete_before_anything_has_happened() {
        let shards = [Arc::new(ShardMetrics::default()), Arc::new(ShardMetrics::default())];
        let page = page_of(&shards, &EventQueue::new(1));
        assert_eq!(page["sigmux_messages_total{dialect=\"binary\",type=\"connect\",direction=\"in\"}"], 0.0);
        assert_eq!(
            page["sigmux_messages_total{dialect=\"odd\\\"\\\\\\n\",type=\"offer\",direction=\"out\"}"],
            0.0
        );
        assert_eq!(page["sigmux_errors_total{dialect=\"binary\",code=\"404\"}"], 0.0);
        assert_eq!(page["sigmux_connections{shard=\"1\"}"], 0.0);
        assert_eq!(page["sigmux_inbox_depth{shard=\"0\"}"], 3.0);
        assert_eq!(page["sigmux_build_info{version=\"1.2.3\"}"], 1.0);
        assert_eq!(page["sigmux_uptime_seconds"], 12.5);
        assert_eq!(page["sigmux_delivery_seconds_count"], 0.0);
    }

    #[test]
    fn counters_are_summed_over_shards_and_gauges_are_not() {
        let shards = [Arc::new(ShardMetrics::default()), Arc::new(ShardMetrics::default())];
        for (n, shard) in shards.iter().enumerate() {
            shard.messages_received[0].add(2);
            shard.errors[0].add(5);
            shard.connections.set(n as i64 + 1);
            shard.sessions_ended.add(1);
            shard.session_milliseconds.add(1_250);
        }
        let events = EventQueue::new(1);
        for _ in 0..2 {
            events.publish(Event {
                event_type: "client_connected",
                client_id: "a".into(),
                unix_ms: 0,
                details: vec![],
            });
        }
        let page = page_of(&shards, &events);
        assert_eq!(page["sigmux_messages_total{dialect=\"binary\",type=\"connect\",direction=\"in\"}"], 4.0);
        assert_eq!(page["sigmux_messages_total{dialect=\"binary\",type=\"connect\",direction=\"out\"}"], 0.0);
        assert_eq!(page["sigmux_errors_total{dialect=\"binary\",code=\"404\"}"], 10.0);
        assert_eq!(page["sigmux_connections{shard=\"0\"}"], 1.0);
        assert_eq!(page["sigmux_connections{shard=\"1\"}"], 2.0);
        assert_eq!(page["sigmux_session_seconds_sum"], 2.5);
        assert_eq!(page["sigmux_session_seconds_count"], 2.0);
        assert_eq!(page["sigmux_events_published_total"], 1.0);
        assert_eq!(page["sigmux_events_dropped_total"], 1.0);
    }

    #[test]
    fn the_latency_histogram_is_cumulative_and_ends_in_the_count() {
        let shards = [Arc::new(ShardMetrics::default()), Arc::new(ShardMetrics::default())];
        for (shard, latencies_us) in shards.iter().zip([[20, 90, 300_000], [20, 4_000, 50_000_000]]) {
            let mut recorder = LatencyRecorder::default();
            latencies_us.into_iter().for_each(|us| recorder.record_us(us, 1));
            recorder.hand_over(shard);
        }
        let page = page_of(&shards, &EventQueue::new(1));
        let bucket = |bound: &str| page[&format!("sigmux_delivery_seconds_bucket{{le=\"{bound}\"}}")];
        let counts: Vec<f64> = LATENCY_BOUNDS.iter().map(|(_, bound)| bucket(bound)).collect();
        assert!(counts.is_sorted());
        assert_eq!((bucket("0.00005"), bucket("0.0001"), bucket("0.0025")), (2.0, 3.0, 3.0));
        assert_eq!((bucket("0.005"), bucket("0.25"), bucket("0.5")), (4.0, 4.0, 5.0));
        assert_eq!((bucket("10"), bucket("+Inf")), (5.0, 6.0));
        assert_eq!(page["sigmux_delivery_seconds_count"], 6.0);
        let sum = page["sigmux_delivery_seconds_sum"];
        assert!((50.0..51.0).contains(&sum), "{sum}");
    }

    #[test]
    fn bounds_are_printed_as_they_are_counted() {
        for (bound_us, bound) in LATENCY_BOUNDS {
            assert_eq!((bound.parse::<f64>().unwrap() * 1e6).round() as u64, bound_us);
        }
    }

    #[test]
    fn a_table_longer_than_the_counters_is_cut_and_does_not_panic() {
        let long = vec![("d", "x"); LABELS_MAX];
        let shards = [Arc::new(ShardMetrics::default())];
        let mut longer: Vec<(&str, &str)> = long.clone();
        longer.push(("d", "beyond"));
        let text = render(&Snapshot {
            version: "1",
            uptime_us: 0,
            labels: Labels { messages: &longer, errors: &longer },
            shards: &shards,
            front: &Arc::default(),
            inbox_depths: &[0],
            front_inbox_depth: 0,
            addresses: 0,
            addresses_forgotten: 0,
            events: &EventQueue::new(1),
            reloads: &Reloads::default(),
        });
        assert_eq!(text.matches("dialect=\"d\",type=\"x\"").count(), 2 * LABELS_MAX);
        assert!(!text.contains("beyond"));
    }
}
