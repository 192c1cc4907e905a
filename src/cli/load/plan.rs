//! What the flags come to, checked against each other before anything is opened.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use super::arguments::{Dialect, LoadArguments, Mode, Pairs};
use super::payloads::Sizes;
use super::sealed::Sealing;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    WebSocket,
    Tcp,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub target: Target,
    /// With `wss://` and `tls://`.
    pub sealing: Option<Sealing>,
    pub dialect: Dialect,
    pub mode: Mode,
    pub connections: u32,
    pub outstanding: u64,
    /// Messages a second in open loop; 0 in other modes.
    pub rate: u64,
    pub sizes: Sizes,
    pub pairs: Pairs,
    pub ramp_up: Duration,
    pub warm_up: Duration,
    pub duration: Duration,
    pub core: Option<usize>,
    pub spin: bool,
    pub server_pid: Option<u32>,
    pub quiet: bool,
    pub names: Names,
    pub room: Option<(String, String)>,
    pub id_token: Option<String>,
    pub seed: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub transport: Transport,
    /// Inside TLS.
    pub sealed: bool,
    /// As in the URL, for the Host header.
    pub host: String,
    pub address: SocketAddr,
    /// With its query, from the slash on.
    pub path: String,
}

/// What the participants are called, and how they prove it.
#[derive(Clone, Debug)]
pub struct Names {
    id: String,
    token: Option<String>,
    pub digits: usize,
}

impl Plan {
    /// # Errors
    /// What does not fit together, in words for the one who typed it.
    pub fn new(arguments: &LoadArguments) -> Result<Plan, String> {
        let target = Target::parse(&arguments.url)?;
        if !target.address.ip().is_loopback() && !arguments.allow_remote {
            return Err(format!(
                "{} is not on this machine; --allow-remote puts load on it all the same",
                target.address
            ));
        }
        let sealing = match (target.sealed, &arguments.ca, arguments.insecure) {
            (false, None, false) => None,
            (false, _, _) => return Err("--ca and --insecure belong to wss:// and tls://".to_owned()),
            (true, None, false) => {
                return Err("TLS needs --ca FILE, or --insecure, which believes any server".to_owned());
            }
            (true, ca, _) => Some(Sealing::new(&target.host, ca.as_deref())?),
        };
        if target.transport == Transport::Tcp && arguments.dialect != Dialect::Binary {
            return Err("tcp:// and tls:// carry the dialect `binary` alone".to_owned());
        }
        let rate = match (arguments.mode, arguments.rate) {
            (Mode::Open, Some(rate)) => rate,
            (Mode::Open, None) => return Err("--mode open needs --rate".to_owned()),
            (_, Some(_)) => return Err("--rate belongs to --mode open".to_owned()),
            (_, None) => 0,
        };
        let has_traffic = matches!(arguments.mode, Mode::Closed | Mode::Open);
        if has_traffic && arguments.connections < 2 {
            return Err("messages need at least two connections".to_owned());
        }
        if arguments.pairs != Pairs::Any {
            if target.transport == Transport::Tcp {
                return Err("--pairs reads the shard from a 101, which no TCP has".to_owned());
            }
            if arguments.dialect == Dialect::Calls {
                return Err(
                    "a call has its partners before they connect: --pairs does not go there".to_owned()
                );
            }
        }
        if !arguments.id.contains(NUMBER) {
            return Err(format!("--id needs {NUMBER}: participants must not share a name"));
        }
        if arguments.id.bytes().any(|byte| !(byte.is_ascii_graphic()) || byte == b'"' || byte == b'\\') {
            return Err("--id takes visible ASCII characters without quotes and backslashes".to_owned());
        }
        if arguments.duration.is_zero() {
            return Err("--duration must not be 0".to_owned());
        }
        Ok(Plan {
            target,
            sealing,
            dialect: arguments.dialect,
            mode: arguments.mode,
            // In pairs: a last one without a partner would only be in the way of the figures.
            connections: if has_traffic { arguments.connections & !1 } else { arguments.connections },
            outstanding: u64::from(arguments.outstanding),
            rate,
            sizes: arguments.size,
            pairs: arguments.pairs,
            ramp_up: arguments.ramp_up,
            warm_up: arguments.warm_up,
            duration: arguments.duration,
            core: arguments.core,
            spin: arguments.spin,
            server_pid: arguments.server_pid,
            quiet: arguments.quiet,
            names: Names {
                id: arguments.id.clone(),
                token: arguments.token.clone(),
                digits: arguments.connections.to_string().len(),
            },
            room: arguments.room.clone().zip(arguments.room_token.clone()),
            id_token: arguments.id_token.clone(),
            seed: arguments.seed,
        })
    }

    /// Whether messages are exchanged at all.
    pub fn has_traffic(&self) -> bool {
        matches!(self.mode, Mode::Closed | Mode::Open)
    }
}

/// Stands for the number of a participant.
const NUMBER: &str = "{n}";
const TEST_TOKEN: &str = "test_token_{n}";

impl Names {
    /// The number of a participant as it stands in its name.
    pub fn number(&self, peer: usize) -> String {
        format!("{:0width$}", peer + 1, width = self.digits)
    }

    pub fn id(&self, peer: usize) -> String {
        self.id.replace(NUMBER, &self.number(peer))
    }

    /// What stands before the number, and behind it. A further number is of no use.
    pub fn id_around(&self) -> (&str, &str) {
        self.id.split_once(NUMBER).unwrap_or((&self.id, ""))
    }

    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    pub fn token(&self, peer: usize) -> String {
        self.token.as_deref().unwrap_or(TEST_TOKEN).replace(NUMBER, &self.number(peer))
    }
}

impl Target {
    fn parse(url: &str) -> Result<Target, String> {
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| format!("{url}: begins with ws://, wss://, tcp:// or tls://"))?;
        let (transport, sealed) = match scheme {
            "ws" => (Transport::WebSocket, false),
            "wss" => (Transport::WebSocket, true),
            "tcp" => (Transport::Tcp, false),
            "tls" => (Transport::Tcp, true),
            _ => return Err(format!("{scheme}:// is not known; use ws://, wss://, tcp:// or tls://")),
        };
        let (host, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, "/"),
        };
        if path.bytes().any(|byte| !byte.is_ascii_graphic()) {
            return Err(format!("{url}: a path has visible ASCII characters only"));
        }
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let with_port = match (has_port, transport) {
            (true, _) => host.to_owned(),
            (false, Transport::WebSocket) if sealed => format!("{host}:443"),
            (false, Transport::WebSocket) => format!("{host}:80"),
            (false, Transport::Tcp) => return Err(format!("{url}: {scheme}:// needs a port")),
        };
        let address = with_port
            .to_socket_addrs()
            .ok()
            .and_then(|mut all| all.next())
            .ok_or_else(|| format!("{host}: no such host"))?;
        Ok(Target { transport, sealed, host: host.to_owned(), address, path: path.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        load: LoadArguments,
    }

    fn plan(words: &str) -> Result<Plan, String> {
        let line = Line::try_parse_from(std::iter::once("load").chain(words.split_whitespace()));
        Plan::new(&line.map_err(|error| error.to_string())?.load)
    }

    #[test]
    fn the_default_is_a_closed_loop_on_the_documented_port() {
        let plan = plan("").expect("a plan");
        assert_eq!(plan.target.address, "127.0.0.1:8080".parse().expect("an address"));
        assert_eq!((plan.mode, plan.connections, plan.outstanding), (Mode::Closed, 64, 1));
        assert_eq!(plan.names.id(0), "test_client_01");
        assert_eq!(plan.names.token(63), "test_token_64");
    }

    #[test]
    fn two_connections_have_the_documented_test_credentials() {
        let plan = plan("--connections 2").expect("a plan");
        assert_eq!((plan.names.id(1), plan.names.token(1)), ("test_client_2".into(), "test_token_2".into()));
    }

    #[test]
    fn another_machine_is_left_alone_unless_it_is_meant() {
        let refused = plan("--url ws://192.0.2.1:80/").expect_err("refused");
        assert!(refused.contains("--allow-remote"), "{refused}");
        assert!(plan("--url ws://192.0.2.1:80/ --allow-remote").is_ok());
        assert!(plan("--url ws://[::1]:8080/x?y").is_ok_and(|plan| plan.target.path == "/x?y"));
    }

    #[test]
    fn tls_is_spoken_where_the_url_says_so() {
        let plan = plan("--url wss://localhost/ --insecure").expect("a plan");
        assert_eq!((plan.target.transport, plan.target.address.port()), (Transport::WebSocket, 443));
        assert!(plan.sealing.is_some());
        let plan = self::plan("--url tls://[::1]:8443 --insecure").expect("a plan");
        assert_eq!((plan.target.transport, plan.target.sealed), (Transport::Tcp, true));
        assert_eq!(plan.sealing.expect("TLS").name.to_str(), "::1");
        assert!(self::plan("").expect("a plan").sealing.is_none());
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        for words in [
            "--mode open",
            "--rate 5",
            "--connections 1",
            "--connections 0",
            "--connections 30000",
            "--outstanding 0",
            "--url wss://localhost:1/",
            "--url tls://localhost --insecure",
            "--url wss://localhost:1/ --ca /nowhere/ca.pem",
            "--url ws://localhost:1/ --insecure",
            "--url https://localhost:1/ --insecure",
            "--url tcp://localhost",
            "--url http://localhost",
            "--url localhost",
            "--url tcp://127.0.0.1:1 --dialect rooms",
            "--url tcp://127.0.0.1:1 --pairs cross-shard",
            "--dialect calls --pairs same-shard",
            "--id fixed",
            "--id a\"{n}",
            "--duration 0",
            "--size huge",
            "--room abc",
        ] {
            assert!(plan(words).is_err(), "{words}");
        }
    }
}
