//! The log: to stderr, for people or for machines.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, registry, reload};

use crate::config::{LogFormat, LogLevel, Logging};

/// Starts the log for the rest of the process. A log that runs already stays. What is returned changes
/// its level later.
pub(super) fn start(logging: &Logging) -> impl Fn(LogLevel) + use<> {
    let (filter, handle) = reload::Layer::new(filter(logging.level));
    if logging.console_output {
        start_with(filter, logging.format);
    }
    // The only failure is that there is no log.
    move |level| drop(handle.reload(self::filter(level)))
}

fn start_with(filter: reload::Layer<Targets, Registry>, format: LogFormat) {
    let plain = || fmt::layer().with_writer(io::stderr).with_ansi(has_colours());
    let layer = match format {
        LogFormat::Plain => plain().boxed(),
        LogFormat::Json => fmt::layer()
            .with_writer(io::stderr)
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed(),
    };
    // The only failure is that a log runs already.
    let _ = registry().with(layer.with_filter(filter)).try_init();
}

/// Libraries speak from `warn` up only: below that some of them log what they carry, and tokens
/// and SDP must not reach the log at any level.
fn filter(level: LogLevel) -> Targets {
    let ours = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    Targets::new().with_default(ours.min(LevelFilter::WARN)).with_target("sigmux", ours)
}

/// See <https://no-color.org>.
fn has_colours() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn libraries_stay_quiet_below_warnings() {
        let debug = filter(LogLevel::Debug);
        assert!(debug.would_enable("sigmux::shard", &Level::DEBUG));
        assert!(!debug.would_enable("sigmux::shard", &Level::TRACE));
        assert!(debug.would_enable("hyper", &Level::WARN));
        assert!(!debug.would_enable("hyper", &Level::INFO));
        assert!(!filter(LogLevel::Error).would_enable("hyper", &Level::WARN));
    }
}
