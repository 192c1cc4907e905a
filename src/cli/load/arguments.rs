//! The flags of `sigmux load`, and the help that teaches them.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::payloads::Sizes;

pub const AFTER_HELP: &str = "\
What is measured:
  Connections are paired. Each message goes from one partner over the server to the other; it carries
  its sender, its number and its send time, and every one that arrives is checked.
  closed   each connection keeps --outstanding messages on their way; an arrival lets the next one go.
           Shows the most that the server can do. Latency counts from the moment of sending.
  open     --rate messages a second in all, come what may. Latency counts from the moment at which a
           message should have been sent, so a stall of the server is not hidden; `lateness` says how
           late this generator was itself.
  idle     opens the connections, logs in, and holds them; with --server-pid, memory per connection.
  storm    connect, log in, close, and again, --connections at a time. Latency is that of a login.

Examples (the server first, such as `SIGMUX_AUTH_AUTH_METHOD=none sigmux serve`):
  sigmux load                                        64 connections in closed loop for 10 s
  sigmux load --connections 2                        two, with the documented test credentials
  sigmux load --url tcp://127.0.0.1:8080 --size mixed
                                                     0xAA frames straight on TCP, of real sizes
  sigmux load --mode open --rate 50000 --connections 10000 --ramp-up 5s
  sigmux load --mode idle --connections 10000 --warm-up 1s --server-pid 4711
  sigmux load --mode storm --core 1 --json
  sigmux load --dialect rooms                        signs in and makes a room by itself
  sigmux load --dialect devices --url ws://127.0.0.1:8081/
  sigmux load --dialect calls --url ws://127.0.0.1:8080/ws
  sigmux load --url wss://localhost:8443/ --ca cert.pem

Against a server of another kind: it has to speak one of the four dialects. A text is found by the mark
that the message carries, so a server may add fields and change their order.

Exit codes:
  0  all arrived: nothing lost, refused, duplicated, out of order or corrupt, and no connection broke
  1  something of that happened, or the load could not be made
  2  wrong command line";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Dialect {
    Binary,
    Rooms,
    Devices,
    Calls,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    Closed,
    Open,
    Idle,
    Storm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Pairs {
    /// Whoever connected after whom
    Any,
    /// Both on one shard, by the X-Sigmux-Shard of the 101
    SameShard,
    /// On different shards
    CrossShard,
}

#[derive(Args, Clone, Debug)]
pub struct LoadArguments {
    /// Where the server is; ws:// for WebSocket, tcp:// for 0xAA frames straight on TCP, wss:// and
    /// tls:// for the same inside TLS
    #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:8080/")]
    pub url: String,

    #[arg(long, value_enum, default_value = "binary")]
    pub dialect: Dialect,

    #[arg(long, value_enum, default_value = "closed")]
    pub mode: Mode,

    /// Participants, at most 28000; in a storm, logins at the same time
    #[arg(long, value_name = "COUNT", default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX))]
    pub connections: u32,

    /// Closed loop: messages of one connection that are on their way
    #[arg(long, value_name = "COUNT", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=OUTSTANDING_MAX))]
    pub outstanding: u32,

    /// Open loop: messages a second, all connections together
    #[arg(long, value_name = "PER_SECOND",
          value_parser = clap::value_parser!(u64).range(1..=RATE_MAX))]
    pub rate: Option<u64>,

    /// Bytes of one 0xAA frame or JSON text, or what its SDP is drawn from: "sdp", "ice", "mixed"
    ///
    /// A number counts the whole message as it is sent, header and routing fields included, without
    /// the header of WebSocket. "sdp" draws from sizes of session descriptions, "ice" from those of
    /// candidates, and "mixed" takes one description for every eight candidates.
    #[arg(long, value_name = "SIZE", default_value = "256")]
    pub size: Sizes,

    /// How the partners of a pair lie on the server's shards (the listener needs `expose_shard`)
    #[arg(long, value_enum, default_value = "any")]
    pub pairs: Pairs,

    /// Time over which the connections are opened, such as "5s"; 0: as fast as it goes
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = duration)]
    pub ramp_up: Duration,

    /// Traffic before the measurement begins
    ///
    /// Idle: all connections are opened and closed once, and after this time memory is read for the
    /// first time, so that what a server keeps for good is not counted as the connections' own.
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = duration)]
    pub warm_up: Duration,

    /// How long to measure
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub duration: Duration,

    /// Core that this generator is bound to; give the server another one
    #[arg(long, value_name = "NUMBER")]
    pub core: Option<usize>,

    /// Look for work without sleeping: finer times, for the whole of a core
    #[arg(long)]
    pub spin: bool,

    /// Process of the server, for its CPU per message and its memory per connection
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub server_pid: Option<u32>,

    /// The result as one JSON object
    #[arg(long)]
    pub json: bool,

    /// No line each second
    #[arg(long, short)]
    pub quiet: bool,

    /// Name of a participant; {n} is its number, from 1 on, with leading zeros
    #[arg(long, value_name = "ID", default_value = "test_client_{n}")]
    pub id: String,

    /// Credential of a participant: `binary` auth_token [default: test_token_{n}], `devices` JWT
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<String>,

    /// Rooms: a room that is there already, in place of a new one
    #[arg(long, value_name = "ID", requires = "room_token")]
    pub room: Option<String>,

    /// Rooms: its token
    #[arg(long, value_name = "TOKEN", requires = "room")]
    pub room_token: Option<String>,

    /// Rooms: an identity, in place of an anonymous one
    #[arg(long, value_name = "JWT")]
    pub id_token: Option<String>,

    /// Starts the random numbers: sizes and masking keys
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,

    /// TLS: certificates in PEM that the server's must come from
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub ca: Option<PathBuf>,

    /// TLS: believe any server
    #[arg(long)]
    pub insecure: bool,

    /// Also put load on a server that is not on this machine
    #[arg(long)]
    pub allow_remote: bool,
}

/// One address has 28,232 ports for outgoing connections, by the kernel's default.
pub const CONNECTIONS_MAX: i64 = 28_000;
const OUTSTANDING_MAX: i64 = 4096;
const RATE_MAX: u64 = 10_000_000;
/// An hour: numbers of messages and times stay far below what a mark can hold.
const DURATION_MAX: Duration = Duration::from_secs(3600);

/// A number of seconds, or a number with one of the units that lengths of a load are told in.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit_seconds = match unit {
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" => 60.0,
        _ => return Err("a unit is ms, s or m".to_owned()),
    };
    let seconds = number.parse::<f64>().map_err(|_| "not a number".to_owned())? * unit_seconds;
    match Duration::try_from_secs_f64(seconds) {
        Ok(length) if length <= DURATION_MAX => Ok(length),
        _ => Err("at most an hour".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_have_units_and_an_end() {
        for (text, milliseconds) in
            [("0", 0), ("1.5", 1500), ("250ms", 250), ("2s", 2000), ("60m", 3_600_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "s", "-1", "1h", "61m", "1e9", "1.2.3s", "1s2"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
