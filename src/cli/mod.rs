//! Floor 6: the command line.
//!
//! Owns arguments, exit codes, the log's output, and what is printed for people. The invariant:
//! stdout carries what was asked for and nothing else; logs and complaints go to stderr.
//!
//! Must not know how the engine works: it loads settings and hands them down.

mod check;
mod load;
mod logs;
mod token;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, ConfigErrors, Overrides, Settings};
use crate::server;

/// How a run ended, in the words of the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// 0
    Clean,
    /// 1: something went wrong while it ran.
    Failure,
    /// 2: the command line or the configuration is wrong; nothing was started.
    BadUsage,
}

const AFTER_HELP: &str = "\
Examples:
  sigmux                                   start with config/sigmux.toml, else with built-in settings
  sigmux serve -c app-config.toml          start with a file of your own
  sigmux check -c app-config.toml          say what is wrong with it, and what would listen where
  sigmux token --client-id camera-7        make a JWT for one client
  sigmux load                              measure a server that runs; see sigmux load --help
  sigmux serve --addr :8080 --seat-count 4 open the port that serves `calls` to other machines, with
                                           four seats in each call

Environment:
  SIGMUX_CONFIG                            the file, like -c
  SIGMUX_SECTION_KEY                       any key of the file, for example SIGMUX_SERVER_PORT=9000
                                           or SIGMUX_AUTH_API_KEYS=one:secret,two:secret
  SIGNAL_MANAGER_SECTION_KEY               the documented names, for example
                                           SIGNAL_MANAGER_SERVER_HOST
  SIGNALS_ADDR, SIGNALS_SEAT_COUNT, ...    the documented names of `calls`, one for each of its flags
  PORT, JWT_SECRET, LOG_LEVEL,             the documented names of `devices`; read from the file .env
  MAX_CLIENTS, HEARTBEAT_INTERVAL          of the working directory, too. PORT moves the listener
                                           that serves `devices` alone (8081)
  A flag wins over SIGMUX_*, that over the documented names, those over .env, and all of them over
  the file (only LOG_LEVEL does not). `sigmux check` shows what comes of it.

Exit codes:
  0  clean, after SIGTERM and SIGINT too
  1  failure while running, for example an address that is taken
  2  wrong command line or configuration; nothing was started";

/// One WebRTC signaling engine that speaks five protocols.
///
/// Without a command it serves.
#[derive(Debug, Parser)]
#[command(name = "sigmux", version, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    /// Settings in TOML; without it config/sigmux.toml if it is there, else built-in settings
    #[arg(short, long, global = true, value_name = "FILE", env = "SIGMUX_CONFIG")]
    config: Option<PathBuf>,

    #[command(flatten)]
    serve: ServeArguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the engine (the default); SIGTERM and SIGINT drain it
    Serve(Box<ServeArguments>),
    /// Check the settings and print what would listen where
    Check,
    /// Make a JWT that lets one client in, and print it
    ///
    /// Signed with `token_secret` of [auth], it lives `token_expiry` seconds. The server takes it
    /// where `auth_method` is "jwt".
    Token(TokenArguments),
    /// Put load on a server, check every message, and report latencies and CPU
    ///
    /// Without flags: 64 connections in closed loop on ws://127.0.0.1:8080/ for ten seconds.
    #[command(after_help = load::AFTER_HELP)]
    Load(Box<load::LoadArguments>),
}

#[derive(Args, Debug)]
struct ServeArguments {
    /// Print one JSON line with the real addresses and ports once everything listens
    #[arg(long)]
    print_ports: bool,

    #[command(flatten)]
    calls: CallsArguments,
}

/// The documented flags of `calls`. Their values are checked with the settings, which they become
/// a part of.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Options of `calls`, which win over [calls] in the file")]
struct CallsArguments {
    /// Where the listener that serves `calls` is to be; ":8080" means all addresses
    #[arg(long, value_name = "HOST:PORT")]
    addr: Option<String>,
    /// Where /healthz and /debug/pprof are to be; ":8090" means all addresses
    #[arg(long, value_name = "HOST:PORT")]
    healthz_addr: Option<String>,
    /// The web page that may call the HTTP API, or "*" [default: http://localhost:8080]
    #[arg(long, value_name = "ORIGIN")]
    origin: Option<String>,
    /// Accepted, and of no effect in this version: the state is in memory
    #[arg(long, value_name = "HOST:PORT")]
    redis_addr: Option<String>,
    /// Seats of one call [default: 2]
    #[arg(long, value_name = "COUNT")]
    seat_count: Option<String>,
    /// How long a seat is kept without a renewal, such as "1m30s" [default: 30s]
    #[arg(long, value_name = "DURATION")]
    seat_timeout: Option<String>,
    /// How long a WebSocket may take to send its JOIN; 0 for no limit [default: 10s]
    #[arg(long, value_name = "DURATION")]
    ws_handshake_timeout: Option<String>,
    /// How long a WebSocket may wait for its WELCOME; 0 for no limit [default: 0]
    #[arg(long, value_name = "DURATION")]
    ws_join_timeout: Option<String>,
    /// Between two pings [default: 5s]
    #[arg(long, value_name = "DURATION")]
    ws_ping_interval: Option<String>,
    /// How long a WebSocket may be silent [default: 10s]
    #[arg(long, value_name = "DURATION")]
    ws_read_timeout: Option<String>,
}

impl CallsArguments {
    /// Those that were given, by their keys in `[calls]`.
    fn given(&self) -> Vec<(&'static str, String)> {
        let all = [
            ("addr", &self.addr),
            ("healthz_addr", &self.healthz_addr),
            ("origin", &self.origin),
            ("redis_addr", &self.redis_addr),
            ("seat_count", &self.seat_count),
            ("seat_timeout", &self.seat_timeout),
            ("ws_handshake_timeout", &self.ws_handshake_timeout),
            ("ws_join_timeout", &self.ws_join_timeout),
            ("ws_ping_interval", &self.ws_ping_interval),
            ("ws_read_timeout", &self.ws_read_timeout),
        ];
        all.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))).collect()
    }
}

impl ServeArguments {
    /// The first flag that was given, for the complaint that it is out of place.
    fn first(&self) -> Option<String> {
        if self.print_ports {
            return Some("--print-ports".to_owned());
        }
        let (key, _) = self.calls.given().into_iter().next()?;
        Some(format!("--{}", key.replace('_', "-")))
    }
}

#[derive(Args, Debug)]
struct TokenArguments {
    /// The client that may log in with the token: its `sub`
    #[arg(long, value_name = "ID", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    client_id: String,
}

/// Runs what the command line of this process asks for.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(asked_or_wrong) => {
            // Help and version count as errors here, with exit code 0.
            let code = if asked_or_wrong.use_stderr() { Outcome::BadUsage } else { Outcome::Clean };
            return if asked_or_wrong.print().is_ok() { code.into() } else { Outcome::Failure.into() };
        }
    };
    let (out, err) = (&mut io::stdout(), &mut io::stderr());
    let dot_env = match config::read_dot_env(Path::new("")) {
        Ok(text) => text,
        Err(errors) => return refuse(err, &errors).into(),
    };
    // Not locked: the server prints its ports from wherever it stands.
    run(&arguments, std::env::vars_os(), dot_env, out, err).into()
}

fn run(
    arguments: &Arguments,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    dot_env: Option<String>,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Outcome {
    let is_serve = matches!(arguments.command, None | Some(Command::Serve(_)));
    if let (Some(flag), false) = (arguments.serve.first(), is_serve) {
        return complain(err, &format!("{flag} belongs to `sigmux serve`"), Outcome::BadUsage);
    }
    if let Some(Command::Load(own)) = &arguments.command {
        return make_load(own, out, err);
    }
    // What stands behind `serve` is the later one, and wins.
    let mut flags = arguments.serve.calls.given();
    if let Some(Command::Serve(own)) = &arguments.command {
        flags.extend(own.calls.given());
    }
    let overrides = Overrides { variables: variables.into_iter().collect(), dot_env, flags };
    let settings = match config::load_file(arguments.config.as_deref(), &overrides) {
        Ok(settings) => settings,
        Err(errors) => return refuse(err, &errors),
    };
    let serve = |print_ports, err: &mut _| {
        serve(settings.clone(), print_ports, source(arguments.config.clone(), overrides.clone()), err)
    };
    let printed = match &arguments.command {
        None => return serve(arguments.serve.print_ports, err),
        Some(Command::Serve(own)) => return serve(own.print_ports || arguments.serve.print_ports, err),
        // It has no use for settings, and was answered above.
        Some(Command::Load(_)) => Ok(()),
        Some(Command::Check) => check::report(&settings, out),
        Some(Command::Token(own)) => match token::mint(&settings, &own.client_id, err) {
            Ok(token) => writeln!(out, "{token}"),
            Err(why) => return complain(err, &why, Outcome::BadUsage),
        },
    };
    match printed.and_then(|()| out.flush()) {
        Ok(()) => Outcome::Clean,
        Err(error) => complain(err, &format!("cannot write to stdout: {error}"), Outcome::Failure),
    }
}

fn make_load(arguments: &load::LoadArguments, out: &mut impl Write, err: &mut impl Write) -> Outcome {
    match load::run(arguments, out, err) {
        Ok(true) => Outcome::Clean,
        Ok(false) => Outcome::Failure,
        Err(load::Failure::Usage(why)) => complain(err, &why, Outcome::BadUsage),
        Err(load::Failure::Run(why)) => complain(err, &why, Outcome::Failure),
    }
}

/// One line for each problem of the configuration.
fn refuse(err: &mut impl Write, errors: &ConfigErrors) -> Outcome {
    for line in errors.to_string().lines() {
        complain(err, line, Outcome::BadUsage);
    }
    Outcome::BadUsage
}

/// Reads the settings again from where they came: the file, `.env`, and the variables and flags of the
/// start, which nobody can change from outside.
fn source(config: Option<PathBuf>, overrides: Overrides) -> impl Fn() -> Result<Settings, ConfigErrors> {
    move || {
        let dot_env = config::read_dot_env(Path::new(""))?;
        config::load_file(config.as_deref(), &Overrides { dot_env, ..overrides.clone() })
    }
}

fn serve(
    settings: Settings,
    print_ports: bool,
    load: impl Fn() -> Result<Settings, ConfigErrors> + 'static,
    err: &mut impl Write,
) -> Outcome {
    let has_logs = settings.logging.console_output;
    let set_log_level = logs::start(&settings.logging);
    let source = server::Source { load: Box::new(load), set_log_level: Box::new(set_log_level) };
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    match server::serve(settings, print_ports, source) {
        Ok(()) => Outcome::Clean,
        Err(error) if has_logs => {
            tracing::error!("{error}");
            Outcome::Failure
        }
        Err(error) => complain(err, &error.to_string(), Outcome::Failure),
    }
}

/// Nobody is left to tell when stderr is closed, so a failure to write is passed over.
fn complain(err: &mut impl Write, message: &str, outcome: Outcome) -> Outcome {
    let _ = writeln!(err, "sigmux: {message}");
    outcome
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> ExitCode {
        ExitCode::from(match outcome {
            Outcome::Clean => 0,
            Outcome::Failure => 1,
            Outcome::BadUsage => 2,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Outcome, stdout and stderr of one command line with a file that holds `text`.
    fn ran(text: &str, command: &[&str]) -> (Outcome, String, String) {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text.as_bytes()).expect("written");
        let path = file.path().to_str().expect("a plain path");
        let words = ["sigmux", "-c", path].into_iter().chain(command.iter().copied());
        let arguments = Arguments::try_parse_from(words).expect("a command line");
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let outcome = run(&arguments, [], None, &mut out, &mut err);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text").replace(path, "FILE");
        (outcome, text(out), text(err))
    }

    #[test]
    fn serving_is_the_default() {
        for (words, print_ports) in [
            (&["sigmux"][..], false),
            (&["sigmux", "--print-ports"], true),
            (&["sigmux", "-c", "x.toml"], false),
        ] {
            let arguments = Arguments::try_parse_from(words).expect("a command line");
            assert!(arguments.command.is_none());
            assert_eq!(arguments.serve.print_ports, print_ports);
        }
        let words = ["sigmux", "serve", "--print-ports", "-c", "x.toml"];
        let arguments = Arguments::try_parse_from(words).expect("a command line");
        assert!(matches!(arguments.command, Some(Command::Serve(own)) if own.print_ports));
        assert_eq!(arguments.config, Some(PathBuf::from("x.toml")));
    }

    #[test]
    fn a_wrong_command_line_is_an_error() {
        for words in [
            &["sigmux", "sevre"][..],
            &["sigmux", "--prot"],
            &["sigmux", "token"],
            &["sigmux", "token", "--client-id", ""],
            &["sigmux", "check", "--print-ports"],
        ] {
            let error = Arguments::try_parse_from(words).expect_err("wrong");
            assert!(error.use_stderr(), "{words:?}");
        }
        let (outcome, out, err) = ran("", &["--print-ports", "check"]);
        assert_eq!((outcome, out.as_str()), (Outcome::BadUsage, ""));
        assert!(err.contains("--print-ports belongs to `sigmux serve`"), "{err}");
    }

    #[test]
    fn config_errors_are_plain_lines_on_stderr() {
        for command in ["serve", "check"] {
            let (outcome, out, err) = ran("[server]\nprot = 1\nshards = 99\n", &[command]);
            assert_eq!(outcome, Outcome::BadUsage);
            assert_eq!(out, "");
            assert_eq!(
                err,
                "sigmux: FILE:2: unknown key `prot` in [server], did you mean `port`?\n\
                 sigmux: FILE:3: `shards` in [server] must be a whole number from 0 to 64\n"
            );
        }
    }

    #[test]
    fn check_prints_what_would_listen_and_the_warnings() {
        let text = "[server]\nhost = \"localhost\"\nserves = [\"binary\", \"admin\"]";
        let (outcome, out, err) = ran(text, &["check"]);
        assert_eq!((outcome, err.as_str()), (Outcome::Clean, ""));
        assert_eq!(
            out,
            "FILE: ok\n\
             main     127.0.0.1:8080  binary\n\
             main     [::1]:8080      binary   (where the machine has IPv6)\n\
             metrics  127.0.0.1:9090  metrics\n\
             binary: realm binary, tokens of 0 clients\n\
             warning: listener main: `admin` is not available in this version; it is left out\n\
             warning: no client can log in: `api_keys` in [auth] is empty\n"
        );
    }

    #[test]
    fn check_tells_what_each_dialect_does_and_no_secret() {
        let text = r#"
[auth]
api_keys = ["a:hush"]
[rooms]
store = "memory"
jwks_url = "https://id.example.org/keys?hush"
api_keys = ["a:hush"]
open_delete = true
[devices]
jwt_secret = "hush hush hush hush hush hush hush"
max_clients = 5
heartbeat_interval = 0
roles.operator = {}
"#;
        let (outcome, out, _) = ran(text, &["check"]);
        assert_eq!(outcome, Outcome::Clean);
        let told: Vec<_> = out.lines().skip(3).take(5).collect();
        assert_eq!(
            told,
            [
                "binary: realm binary, tokens of 1 clients",
                "rooms: rooms in memory, each for 7200 s, identity required, keys from https://id.example.org/keys, 1 API keys, anyone may delete",
                "broadcast: realm broadcast, at most 10000 clients",
                "calls: 2 seats, each kept for 30 s, pings every 5 s, origin http://localhost:8080, state in memory",
                "devices: realm devices, JWT checked where one is shown, at most 5 clients, no pings, roles operator",
            ]
        );
        assert!(!out.contains("hush"), "{out}");
    }

    #[test]
    fn the_documented_flags_of_calls_belong_to_serve() {
        let flags = [
            ("addr", ":1"),
            ("healthz-addr", ":2"),
            ("origin", "*"),
            ("redis-addr", ":6379"),
            ("seat-count", "3"),
            ("seat-timeout", "1m30s"),
            ("ws-handshake-timeout", "1s"),
            ("ws-join-timeout", "2s"),
            ("ws-ping-interval", "3s"),
            ("ws-read-timeout", "4s"),
        ];
        for serve in [&["sigmux"][..], &["sigmux", "serve"]] {
            let given = flags.map(|(name, value)| format!("--{name}={value}"));
            let words = serve.iter().map(|word| (*word).to_owned()).chain(given);
            let arguments = Arguments::try_parse_from(words).expect("a command line");
            let read = match &arguments.command {
                Some(Command::Serve(own)) => own.calls.given(),
                _ => arguments.serve.calls.given(),
            };
            let expected = flags.map(|(name, value)| (name.replace('-', "_"), value.to_owned()));
            assert_eq!(read.len(), expected.len());
            for ((key, value), (name, wanted)) in read.iter().zip(&expected) {
                assert_eq!((*key, value), (name.as_str(), wanted));
            }
        }
        let (outcome, _, err) = ran("", &["--seat-count", "3", "check"]);
        assert_eq!(outcome, Outcome::BadUsage);
        assert!(err.contains("--seat-count belongs to `sigmux serve`"), "{err}");
        let (outcome, _, err) = ran("", &["--seat-count", "3", "serve", "--seat-count", "none"]);
        assert_eq!(outcome, Outcome::BadUsage);
        assert!(err.contains("--seat-count: `seat_count` in [calls] must be a whole number"), "{err}");
    }

    #[test]
    fn a_minted_token_is_all_that_stdout_carries() {
        let text = "[auth]\nauth_method = \"jwt\"\ntoken_secret = \"0123456789012345678901234567890123\"";
        let (outcome, out, err) = ran(text, &["token", "--client-id", "camera-7"]);
        assert_eq!((outcome, err.as_str()), (Outcome::Clean, ""));
        let token = out.strip_suffix('\n').expect("one line");
        assert_eq!(token.split('.').count(), 3);
        assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)), "{token}");
    }

    #[test]
    fn a_token_needs_a_secret() {
        let (outcome, out, err) = ran("[auth]\nauth_method = \"none\"", &["token", "--client-id", "x"]);
        assert_eq!((outcome, out.as_str()), (Outcome::BadUsage, ""));
        assert!(err.contains("`token_secret` is missing from [auth]"), "{err}");
    }

    #[test]
    fn a_token_that_the_server_would_not_take_comes_with_a_note() {
        let (outcome, out, err) = ran("[auth]\ntoken_secret = \"s\"", &["token", "--client-id", "x"]);
        assert_eq!((outcome, out.lines().count()), (Outcome::Clean, 1));
        assert!(err.contains("`auth_method` is not \"jwt\""), "{err}");
    }

    #[test]
    fn a_closed_stdout_is_a_failure_and_no_panic() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let words = ["sigmux", "-c", concat!(env!("CARGO_MANIFEST_DIR"), "/config/sigmux.toml"), "check"];
        let arguments = Arguments::try_parse_from(words).expect("a command line");
        assert_eq!(run(&arguments, [], None, &mut Closed, &mut Vec::new()), Outcome::Failure);
    }
}
