//! How often each fault was caused, and each error path was taken.

use std::collections::BTreeMap;
use std::fmt;

use crate::dialect::ERROR_LABELS;

/// What the workload does to a world.
const FAULTS: &[&str] = &[
    "a connection under an id that is taken",
    "back under the same id",
    "bytes in small pieces",
    "bytes one at a time",
    "client closes its WebSocket",
    "client half-closes",
    "client resets",
    "client says DISCONNECT",
    "client stalls",
    "client takes a few bytes",
    "client vanishes",
    "client sends no pongs",
    "clock jumps",
    "drain",
    "fragments",
    "front pauses",
    "inbox full",
    "keys fail",
    "keys late",
    "messages before the join is answered",
    "peer deleted",
    "peer renamed",
    "reload",
    "room deleted",
    "room expired",
    "room store fails",
    "room store late",
    "seats fail",
    "seats late",
    "shard pauses",
    "sender forged",
    "station leaves",
    "station stalls",
    "bad frame",
    "bad text",
    "bad WebSocket",
    "bad request",
    "framing lost",
    "no first message",
    "signal without a seat",
    "wrong token",
];

/// How the engine meets that, beside the errors of its dialects.
const ANSWERS: &[&str] = &[
    "bad input answered",
    "bounced",
    "closed with 1000 Peer deleted",
    "closed with 1000 backend failure",
    "closed with 1000 bad handshake",
    "closed with 1000 bad seat",
    "closed with 1000 seat renewal failure",
    "closed with 1001 Server shutting down",
    "closed with 1002 frame not masked",
    "closed with 1002 nothing to continue",
    "closed with 1007 invalid UTF-8",
    "closed with 1008 Heartbeat timeout",
    "closed with 1008 Replaced by a newer connection",
    "closed with 1009 message too big",
    "closed with 1013 Too slow",
    "connection refused",
    "event client_rejected",
    "event signal_undeliverable",
    "goodbye",
    "held back",
    "join refused",
    "message came back",
    "message refused",
    "outbox over its soft limit",
    "replaced",
    "request 409",
    "request 500",
    "request 503",
    "slow consumer cut",
];

/// Errors that no simulated client can bring about.
const OUT_OF_REACH: &[(&str, &str)] = &[
    // A defect of the engine's own.
    ("binary", "500"),
    ("rooms", "INTERNAL_ERROR"),
    ("devices", "internal"),
    // Nobody has to prove who it is, and nobody has a role.
    ("rooms", "AUTHENTICATION_FAILED"),
    ("devices", "not_allowed"),
    ("devices", "unauthorized"),
    // Of a listener that serves nothing else.
    ("calls", "handshake read failure"),
];

/// What a fixed set of seeds has to bring about each at least once.
pub fn all() -> Vec<String> {
    // The real front counts those of Socket.IO.
    let errors = ERROR_LABELS.iter().filter(|label| label.0 != "broadcast" && !OUT_OF_REACH.contains(label));
    let errors = errors.map(|label| error_path(*label));
    let named = FAULTS.iter().chain(ANSWERS).map(|name| (*name).to_owned());
    named.chain(errors).collect()
}

/// The name under which an error of a dialect is counted.
pub fn error_path((dialect, error): (&str, &str)) -> String {
    format!("error {dialect} {error}")
}

/// Names and numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    hits: BTreeMap<String, u64>,
}

impl Coverage {
    pub fn hit(&mut self, what: &str) {
        self.add(what, 1);
    }

    pub fn add(&mut self, what: &str, times: u64) {
        match self.hits.get_mut(what) {
            Some(hits) => *hits += times,
            None if times > 0 => drop(self.hits.insert(what.to_owned(), times)),
            None => {}
        }
    }

    pub fn merge(&mut self, other: &Coverage) {
        other.hits.iter().for_each(|(what, times)| self.add(what, *times));
    }

    pub fn times(&self, what: &str) -> u64 {
        self.hits.get(what).copied().unwrap_or(0)
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, times) in &self.hits {
            writeln!(f, "{times:>10}  {what}")?;
        }
        Ok(())
    }
}
