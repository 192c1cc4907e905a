//! The sections `[server]`, `[logging]`, `[binary]`, `[broadcast]`, `[events]` and `[audit]`: their
//! keys, ranges and defaults.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::duration::Unit;
use super::environment::LOG_LEVEL;
use super::listeners::Door;
use super::problem::Place;
use super::reader::{Reader, Section};
use super::rooms;
use super::{Audit, Binary, Broadcast, Events, LogFormat, LogLevel, Logging, OnDuplicate, Server, Sink};
use crate::base::{Network, Networks, SHARDS_MAX};

/// Header and largest payload of one 0xAA frame: a message limit below it would forbid frames that
/// the protocol allows.
const FRAME_BYTES_MAX: u64 = 21 + 65_535;

/// One frame and its WebSocket header must fit into an empty outbox.
const OUTBOX_HARD_BYTES_MIN: u64 = 131_072;

/// Below the shard's tick a limit means "the next tick".
pub(super) const LIMIT_MIN: Duration = Duration::from_millis(10);
pub(super) const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// Each address that a proxy names is held against all of them.
const PROXIES_MAX: usize = 256;

/// What `[server]` says: limits, and the door that is used where there is no `[[listener]]`.
pub(super) struct ServerSection {
    pub(super) settings: Server,
    pub(super) door: Door,
}

pub(super) fn server(reader: &mut Reader) -> ServerSection {
    let (top_data_dir, top_place) = top_data_dir(reader);
    let mut section = reader.section("server");
    let s = &mut section;

    let door = Door::read(s);
    let proxies = proxies(s);

    let shards = s.size("shards", 0, 0..=SHARDS_MAX as u64);
    let message_rate = s.integer("message_rate", 0, 0..=u64::from(u32::MAX)) as u32;
    let heartbeat = s.duration("heartbeat_interval", Unit::Seconds, 30 * SECOND, Duration::ZERO..=DAY);
    // Read first: what stands in it is by default no larger than the outbox itself.
    let outbox_hard_bytes = s.size("outbox_hard_bytes", 1 << 20, OUTBOX_HARD_BYTES_MIN..=1 << 30);
    let within_outbox = outbox_hard_bytes.min(262_144) as u64;
    let settings = Server {
        shards: (shards > 0).then_some(shards),
        pin_shards: s.flag("pin_shards").unwrap_or(true),
        busy_poll: s.duration("busy_poll_us", Unit::Microseconds, Duration::ZERO, Duration::ZERO..=SECOND),
        data_dir: data_dir(s, top_data_dir, top_place),

        max_connections: s.size("max_connections", 10_000, 1..=10_000_000),
        message_rate: (message_rate > 0).then_some(message_rate),
        max_message_bytes: s.size("max_message_bytes", 1 << 20, FRAME_BYTES_MAX..=1 << 26),
        head_bytes_max: s.size("head_bytes_max", 16_384, 1024..=1 << 20),
        max_connections_per_ip: per_ip(s, "max_connections_per_ip", 0),
        connect_rate_per_ip: per_ip(s, "connect_rate_per_ip", 0),
        failed_logins_per_minute: per_ip(s, "failed_logins_per_minute", 20),
        limit_loopback: s.flag("limit_loopback").unwrap_or(false),
        addresses_max: s.size("addresses_max", 65_536, 1024..=1 << 24),
        proxies,

        heartbeat_interval: (!heartbeat.is_zero()).then_some(heartbeat),
        session_timeout: s.duration("session_timeout", Unit::Seconds, 60 * MINUTE, LIMIT_MIN..=365 * DAY),
        first_message_timeout: s.duration(
            "first_message_seconds",
            Unit::Seconds,
            10 * SECOND,
            LIMIT_MIN..=DAY,
        ),
        head_timeout: s.duration("head_seconds", Unit::Seconds, 10 * SECOND, LIMIT_MIN..=DAY),
        body_timeout: s.duration("body_seconds", Unit::Seconds, 30 * SECOND, SECOND..=DAY),
        close_timeout: s.duration("close_seconds", Unit::Seconds, 5 * SECOND, LIMIT_MIN..=DAY),
        drain_delay: s.duration("drain_delay_seconds", Unit::Seconds, Duration::ZERO, Duration::ZERO..=DAY),
        drain_timeout: s.duration("drain_seconds", Unit::Seconds, 10 * SECOND, Duration::ZERO..=DAY),

        inbox_messages_max: s.size("inbox_messages_max", 8192, 64..=1 << 20),
        overflow_messages_max: s.size("overflow_messages_max", 65_536, 64..=1 << 24),
        inbox_bytes_max: s.size("inbox_bytes_max", 16 << 20, 1 << 20..=1 << 31),
        overflow_bytes_max: s.size("overflow_bytes_max", 32 << 20, 1 << 20..=1 << 31),
        hold: s.duration(
            "hold_milliseconds",
            Unit::Milliseconds,
            Duration::from_millis(200),
            Duration::from_millis(1)..=MINUTE,
        ),
        outbox_soft_bytes: s.size("outbox_soft_bytes", within_outbox, 4096..=1 << 30),
        outbox_hard_bytes,
        outbox_reserve_bytes: s.size("outbox_reserve_bytes", 262_144, 4096..=1 << 30),
        slow_consumer_timeout: s.duration(
            "slow_consumer_seconds",
            Unit::Seconds,
            10 * SECOND,
            LIMIT_MIN..=DAY,
        ),
        tunnel_window_bytes: s.size("tunnel_window_bytes", within_outbox, 16_384..=1 << 26),
        receive_buffers: s.integer("receive_buffers", 256, 16..=32_768) as u16,
        receive_buffer_bytes: s.size("receive_buffer_bytes", 32_768, 2048..=1 << 20),
    };

    if settings.outbox_soft_bytes > settings.outbox_hard_bytes {
        s.problem("outbox_soft_bytes", "`outbox_soft_bytes` must not exceed `outbox_hard_bytes`".to_owned());
    }
    if settings.tunnel_window_bytes > settings.outbox_hard_bytes {
        s.problem(
            "tunnel_window_bytes",
            "`tunnel_window_bytes` must not exceed `outbox_hard_bytes`, which holds them".to_owned(),
        );
    }
    if !settings.receive_buffers.is_power_of_two() {
        s.problem("receive_buffers", "`receive_buffers` must be a power of two, such as 256".to_owned());
    }
    section.finish();
    ServerSection { settings, door }
}

pub(super) fn logging(reader: &mut Reader) -> Logging {
    let mut section = reader.section("logging");
    let level = section.choice("level", &LEVELS);
    let format = section.choice(
        "format",
        &[
            ("json", LogFormat::Json),
            ("plain", LogFormat::Plain),
            ("text", LogFormat::Plain),
            ("pretty", LogFormat::Plain),
        ],
    );
    let console_output = section.flag("console_output").unwrap_or(true);
    section.finish();
    Logging {
        level: level.or_else(|| plain_level(reader)).unwrap_or(LogLevel::Info),
        format: format.unwrap_or(LogFormat::Plain),
        console_output,
    }
}

const LEVELS: [(&str, LogLevel); 5] = [
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

/// `LOG_LEVEL`, which other programs read as well: its words may not be ours.
fn plain_level(reader: &mut Reader) -> Option<LogLevel> {
    let (text, place) = reader.plain(LOG_LEVEL)?;
    let level = LEVELS.iter().find(|(word, _)| word.eq_ignore_ascii_case(text.trim()));
    if let (None, Place::Variable(name)) = (level, place) {
        let words = LEVELS.map(|(word, _)| word).join(", ");
        reader.warn(format!("{name} has no effect: it is none of {words}"));
    }
    level.map(|(_, level)| *level)
}

pub(super) fn binary(reader: &mut Reader) -> Binary {
    let mut section = reader.section("binary");
    let realm = section.name("realm", "binary");
    let stamp_sender = section.flag("stamp_sender").unwrap_or(true);
    let choices = [("replace", OnDuplicate::Replace), ("reject", OnDuplicate::Reject)];
    let on_duplicate = section.choice("on_duplicate", &choices).unwrap_or(OnDuplicate::Replace);
    section.finish();
    Binary { realm, stamp_sender, on_duplicate }
}

pub(super) fn broadcast(reader: &mut Reader) -> Broadcast {
    let mut section = reader.section("broadcast");
    let s = &mut section;
    let mut milliseconds = |key, default| {
        let default = Duration::from_millis(default);
        s.duration(key, Unit::Milliseconds, default, Duration::from_millis(100)..=DAY)
    };
    let ping_interval = milliseconds("ping_interval", 25_000);
    let ping_timeout = milliseconds("ping_timeout", 20_000);
    let broadcast = Broadcast {
        realm: s.name("realm", "broadcast"),
        ping_interval,
        ping_timeout,
        payload_bytes_max: s.size("payload_bytes_max", 1_000_000, 1024..=1 << 26),
        clients_max: s.size("clients_max", 10_000, 1..=10_000_000),
        clients_max_per_ip: per_ip(s, "clients_max_per_ip", 1000),
    };
    section.finish();
    broadcast
}

pub(super) fn events(reader: &mut Reader, data_dir: &Path) -> Events {
    const LATER_SINKS: [&str; 2] = ["redis", "pubsub"];
    let mut section = reader.section("events");
    let names = section.list("sinks").unwrap_or_else(|| vec!["log".to_owned()]);
    let mut sinks = Vec::new();
    for name in &names {
        let sink = match name.as_str() {
            "log" => Sink::Log,
            "file" => Sink::File,
            "webhook" => Sink::Webhook,
            later if LATER_SINKS.contains(&later) => {
                section.problem("sinks", format!("the sink `{later}` is not available in this version"));
                continue;
            }
            unknown => {
                let meant = super::nearest::suggestion(unknown, ["log", "file", "webhook"]);
                section.problem("sinks", format!("unknown sink `{unknown}`{meant}"));
                continue;
            }
        };
        if !sinks.contains(&sink) {
            sinks.push(sink);
        }
    }
    let file = path(&mut section, "file").unwrap_or_else(|| data_dir.join("events.jsonl"));
    let events_max = section.size("events_max", 4096, 16..=1 << 20);
    let webhook_url = rooms::address(&mut section, "webhook_url");
    let webhook_token = section.secret("webhook_token");
    if sinks.contains(&Sink::Webhook) && webhook_url.is_none() {
        section.problem("sinks", "the sink \"webhook\" needs `webhook_url` in [events]".to_owned());
    }
    section.finish();
    Events { sinks, file, webhook_url, webhook_token, events_max }
}

pub(super) fn audit(reader: &mut Reader) -> Option<Audit> {
    let mut section = reader.section("audit");
    let file = path(&mut section, "file");
    let entries_max = section.size("entries_max", 16_384, 16..=1 << 20);
    section.finish();
    Some(Audit { file: file?, entries_max })
}

/// A path that is not empty.
pub(super) fn path(section: &mut Section, key: &'static str) -> Option<PathBuf> {
    let text = section.text(key)?;
    if text.is_empty() {
        section.problem(key, format!("`{key}` must be a path, it is empty"));
        return None;
    }
    Some(PathBuf::from(text))
}

/// `data_dir` may stand above all sections too, where a reader of the documentation may put it.
fn top_data_dir(reader: &mut Reader) -> (Option<PathBuf>, Place) {
    let mut top = reader.top();
    let found = path(&mut top, "data_dir");
    let place = top.place("data_dir");
    top.finish_top();
    (found, place)
}

fn data_dir(section: &mut Section, top: Option<PathBuf>, top_place: Place) -> PathBuf {
    let own = path(section, "data_dir");
    let own_place = section.place("data_dir");
    match (own, top) {
        (Some(_), Some(top)) if is_variable(&top_place) && !is_variable(&own_place) => top,
        (Some(own), Some(_)) => {
            if !is_variable(&own_place) {
                section.problem("data_dir", "`data_dir` is given twice, above the sections too".to_owned());
            }
            own
        }
        (own, top) => own.or(top).unwrap_or_else(|| PathBuf::from("sigmux-data")),
    }
}

fn is_variable(place: &Place) -> bool {
    matches!(place, Place::Variable(_))
}

/// A limit for each address; 0 for none.
pub(super) fn per_ip(section: &mut Section, key: &'static str, default: u64) -> u32 {
    section.integer(key, default, 0..=u64::from(u32::MAX)) as u32
}

fn proxies(section: &mut Section) -> Networks {
    let list = section.list("trusted_proxies").unwrap_or_default();
    if list.len() > PROXIES_MAX {
        section
            .problem("trusted_proxies", format!("`trusted_proxies` may have at most {PROXIES_MAX} entries"));
    }
    let mut networks = Vec::with_capacity(list.len());
    for text in &list {
        match Network::parse(text) {
            Some(network) => networks.push(network),
            None => {
                let message = format!(
                    "`{text}` in `trusted_proxies` is no address; write \"10.0.0.0/8\" or \"192.0.2.1\""
                );
                section.problem("trusted_proxies", message);
            }
        }
    }
    networks.into_iter().collect()
}
