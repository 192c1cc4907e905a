//! The section `[calls]`, and the addresses that its documented flags and variables give.

use std::time::Duration;

use super::Calls;
use super::bind::{HOSTS, addresses};
use super::duration::Unit;
use super::listeners::is_origin;
use super::moves::Move;
use super::reader::{Reader, Section};
use super::sections::{DAY, LIMIT_MIN, SECOND, per_ip};

/// What `[calls]` says, and where its ports are to be.
pub(super) struct CallsSection {
    pub(super) settings: Calls,
    /// `--addr`, `SIGMUX_CALLS_ADDR`, `SIGNALS_ADDR`.
    pub(super) addr: Option<Move>,
    /// `--healthz-addr` and its like.
    pub(super) healthz_addr: Option<Move>,
}

pub(super) fn calls(reader: &mut Reader) -> CallsSection {
    let mut section = reader.section("calls");
    let s = &mut section;

    s.choice_of("state", &[("memory", Some(())), ("redis", None)], ());
    // Deployed set-ups always name one.
    if s.text("redis_addr").is_some_and(|address| !address.is_empty()) {
        s.warn(
            "the address of a Redis for [calls] has no effect: the state of this version is in memory"
                .to_owned(),
        );
    }
    let settings = Calls {
        seat_count: s.size("seat_count", 2, 1..=1000),
        seat_timeout: s.duration("seat_timeout", Unit::Seconds, 30 * SECOND, LIMIT_MIN..=DAY),
        ws_handshake_timeout: s.optional_duration("ws_handshake_timeout", Unit::Seconds, 10 * SECOND, DAY),
        ws_join_timeout: s.optional_duration("ws_join_timeout", Unit::Seconds, Duration::ZERO, DAY),
        ws_ping_interval: s.duration("ws_ping_interval", Unit::Seconds, 5 * SECOND, LIMIT_MIN..=DAY),
        ws_read_timeout: s.duration("ws_read_timeout", Unit::Seconds, 10 * SECOND, LIMIT_MIN..=DAY),
        origin: origin(s),
        body_bytes_max: s.size("max_body_bytes", 65_536, 512..=1 << 24),
        calls_max: s.size("calls_max", 100_000, 1..=10_000_000),
        seat_rate_per_ip: per_ip(s, "seat_rate_per_ip", 100),
    };
    let (addr, healthz_addr) = (wish(s, "addr"), wish(s, "healthz_addr"));
    section.finish();
    CallsSection { settings, addr, healthz_addr }
}

/// One value: the header can carry no list.
fn origin(section: &mut Section) -> String {
    let origin = section.text("origin").unwrap_or_else(|| "http://localhost:8080".to_owned());
    if origin != "*" && !is_origin(&origin) {
        let message = "`origin` in [calls] must be one origin such as \"https://example.org\", or \"*\"";
        section.problem("origin", message.to_owned());
    }
    origin
}

fn wish(section: &mut Section, key: &'static str) -> Option<Move> {
    let (bind, place, rank) = section.override_text(key)?;
    match addresses(&bind) {
        Some(addresses) => Some(Move { bind, addresses, place, rank }),
        None => {
            let message = format!("the address must be \"host:port\", where host is {HOSTS}");
            section.problem(key, message);
            None
        }
    }
}
