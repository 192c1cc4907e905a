//! What overrides the file: flags, variables `SIGMUX_SECTION_KEY`, and the documented names of the
//! five protocols.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::dotenv;
use super::nearest::suggestion;
use super::problem::{Place, Problem};

const OURS: &str = "SIGMUX_";
const DOCUMENTED: &str = "SIGNAL_MANAGER_";
const OF_CALLS: &str = "SIGNALS_";

/// Read by the command line: the path of the file itself.
const CONFIG_VARIABLE: &str = "SIGMUX_CONFIG";

/// Keys that have a variable in the documentation of `binary`, as `section.key`.
const DOCUMENTED_KEYS: [&str; 17] = [
    "server.host",
    "server.port",
    "server.max_connections",
    "server.heartbeat_interval",
    "server.tls_enabled",
    "server.tls_cert_path",
    "server.tls_key_path",
    "auth.token_secret",
    "auth.token_expiry",
    "auth.auth_method",
    "auth.api_keys",
    "logging.level",
    "logging.format",
    "logging.console_output",
    "metrics.enabled",
    "metrics.host",
    "metrics.port",
];

/// Keys that have a variable in the documentation of `calls`: `SIGNALS_KEY`.
const CALLS_KEYS: [&str; 10] = [
    "calls.addr",
    "calls.healthz_addr",
    "calls.origin",
    "calls.redis_addr",
    "calls.seat_count",
    "calls.seat_timeout",
    "calls.ws_handshake_timeout",
    "calls.ws_join_timeout",
    "calls.ws_ping_interval",
    "calls.ws_read_timeout",
];

/// Keys that have a variable in the documentation of `devices`.
const DEVICES_KEYS: [(&str, &str); 3] = [
    ("devices.jwt_secret", "JWT_SECRET"),
    ("devices.max_clients", "MAX_CLIENTS"),
    ("devices.heartbeat_interval", "HEARTBEAT_INTERVAL"),
];

/// Its port and its log level, which are no keys of `[devices]`.
pub(super) const PORT: &str = "PORT";
pub(super) const LOG_LEVEL: &str = "LOG_LEVEL";

/// What the process was started with, beside the file. All of it wins over the file.
#[derive(Clone, Default)]
pub struct Overrides {
    /// The whole environment; names that are not ours are passed over.
    pub variables: Vec<(OsString, OsString)>,
    /// The text of the file `.env`. Only the documented names of `devices` are taken from it, and
    /// the environment wins over them.
    pub dot_env: Option<String>,
    /// Flags of `sigmux serve`: a key of `[calls]` such as `seat_count`, or `addr` and
    /// `healthz_addr`; and its value as it was written.
    pub flags: Vec<(&'static str, String)>,
}

/// Who said it. A later one wins over an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// A documented name without a prefix, such as `PORT`.
    Plain,
    /// `SIGNAL_MANAGER_*` and `SIGNALS_*`.
    Documented,
    /// `SIGMUX_*`.
    Ours,
    Flag,
}

/// A value that overrides the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// As messages call it: `SIGMUX_SERVER_PORT`, `--addr`, `.env:3: PORT`.
    pub(super) name: String,
    pub(super) value: OsString,
    pub(super) rank: Rank,
}

/// Everything of [`Overrides`] with a name of ours, and which names the configuration knows.
pub(super) struct Environment {
    values: BTreeMap<String, OsString>,
    /// By the plain name.
    plain: BTreeMap<&'static str, Found>,
    /// By the key of `[calls]`.
    flags: BTreeMap<&'static str, String>,
    known: Vec<String>,
    /// What is wrong with `.env`, and what should be known about it.
    dot_env: dotenv::Remarks,
}

impl Environment {
    pub(super) fn new(overrides: &Overrides) -> Environment {
        let mut values = BTreeMap::new();
        let mut plain = BTreeMap::new();
        let plain_names = || DEVICES_KEYS.map(|(_, name)| name).into_iter().chain([PORT, LOG_LEVEL]);
        let (of_file, dot_env) = match &overrides.dot_env {
            Some(text) => dotenv::parse(text, plain_names(), [OURS, DOCUMENTED, OF_CALLS]),
            None => Default::default(),
        };
        // An empty one counts as none: that is how many tools pass on what was not set.
        for (name, entry) in of_file.into_iter().filter(|(_, entry)| !entry.value.is_empty()) {
            let shown = format!("{}:{}: {name}", dotenv::NAME, entry.line);
            plain.insert(name, Found { name: shown, value: entry.value.into(), rank: Rank::Plain });
        }
        for (name, value) in &overrides.variables {
            let Some(name) = name.to_str() else { continue };
            if let Some(own) = plain_names().find(|own| *own == name) {
                if !value.is_empty() {
                    let found = Found { name: own.to_owned(), value: value.clone(), rank: Rank::Plain };
                    plain.insert(own, found);
                }
            } else if [OURS, DOCUMENTED, OF_CALLS].iter().any(|prefix| name.starts_with(prefix))
                && !is_not_for_us(name, &value.to_string_lossy())
            {
                values.insert(name.to_owned(), value.clone());
            }
        }
        let flags = overrides.flags.iter().cloned().collect();
        Environment { values, plain, flags, known: Vec::new(), dot_env }
    }

    /// What overrides `key`, if anything does. From here on its variables are known ones.
    pub(super) fn find(&mut self, section: &str, key: &str) -> Option<Found> {
        let path = if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
        let suffix = path.replace('.', "_").to_ascii_uppercase();
        let mut names = vec![(format!("{OURS}{suffix}"), Rank::Ours)];
        if DOCUMENTED_KEYS.contains(&path.as_str()) {
            names.push((format!("{DOCUMENTED}{suffix}"), Rank::Documented));
        }
        if CALLS_KEYS.contains(&path.as_str()) {
            names.push((format!("{OF_CALLS}{}", key.to_ascii_uppercase()), Rank::Documented));
        }
        self.known.extend(names.iter().map(|(name, _)| name.clone()));
        if let Some(value) = self.flags.get(key).filter(|_| section == "calls") {
            let name = format!("--{}", key.replace('_', "-"));
            return Some(Found { name, value: value.into(), rank: Rank::Flag });
        }
        let prefixed = names.into_iter().find_map(|(name, rank)| {
            let value = self.values.get(&name)?.clone();
            Some(Found { name, value, rank })
        });
        prefixed.or_else(|| {
            let (_, name) = DEVICES_KEYS.iter().find(|(of, _)| *of == path)?;
            self.plain(name)
        })
    }

    /// A documented name without a prefix, from the environment or from `.env`.
    pub(super) fn plain(&self, name: &str) -> Option<Found> {
        self.plain.get(name).cloned()
    }

    /// Forgets the names without a prefix: they may be meant for another program.
    pub(super) fn drop_plain(&mut self) {
        self.plain.clear();
    }

    /// Takes all variables of a section that this version does not look at.
    pub(super) fn pass_over(&mut self, section: &str) -> bool {
        let prefix = format!("{OURS}{}_", section.to_ascii_uppercase());
        let found: Vec<String> =
            self.values.keys().filter(|name| name.starts_with(&prefix)).cloned().collect();
        let any = !found.is_empty();
        self.known.extend(found);
        any
    }

    /// Variables that nobody asked for: ours are problems, the documented ones warnings. And what
    /// is to be said of `.env`.
    pub(super) fn finish(self) -> (Vec<Problem>, Vec<String>) {
        let dotenv::Remarks { mut problems, mut warnings } = self.dot_env;
        for name in self.values.keys().filter(|name| !self.known.contains(name)) {
            let like = |prefix| self.known.iter().map(String::as_str).filter(move |k| k.starts_with(prefix));
            if name.starts_with(OURS) {
                let message = format!("unknown variable{}", suggestion(name, like(OURS)));
                problems.push(Problem { place: Place::Variable(name.clone()), message });
            } else {
                let prefix = if name.starts_with(OF_CALLS) { OF_CALLS } else { DOCUMENTED };
                let meant = suggestion(name, like(prefix));
                warnings.push(format!("{name}: unknown variable, it has no effect{meant}"));
            }
        }
        (problems, warnings)
    }
}

/// The command line's own variable, and those that Kubernetes puts into every pod beside a
/// Service called `sigmux` or `signals`: `SIGMUX_SERVICE_HOST`, `SIGMUX_PORT=tcp://…`,
/// `SIGMUX_PORT_8080_TCP_ADDR`, ….
fn is_not_for_us(name: &str, value: &str) -> bool {
    let numbered = |rest: &str| {
        rest.starts_with(|c: char| c.is_ascii_digit()) && (rest.contains("_TCP") || rest.contains("_UDP"))
    };
    let rest = name.strip_prefix(OURS).or_else(|| name.strip_prefix(OF_CALLS));
    name == CONFIG_VARIABLE
        || rest.is_some_and(|rest| {
            rest == "SERVICE_HOST"
                || rest.starts_with("SERVICE_PORT")
                || rest == "PORT" && value.contains("://")
                || rest.strip_prefix("PORT_").is_some_and(numbered)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        Environment::new(&Overrides { variables, ..Overrides::default() })
    }

    #[test]
    fn our_name_wins_over_the_documented_one() {
        let mut both =
            environment(&[("SIGNAL_MANAGER_SERVER_PORT", "1"), ("SIGMUX_SERVER_PORT", "2"), ("PATH", "x")]);
        let found = both.find("server", "port").expect("a variable");
        assert_eq!((found.name.as_str(), found.value.to_str()), ("SIGMUX_SERVER_PORT", Some("2")));
        assert_eq!(both.finish(), (vec![], vec![]));
    }

    #[test]
    fn only_documented_keys_have_a_documented_variable() {
        let mut environment = environment(&[("SIGNAL_MANAGER_SERVER_SHARDS", "1"), ("SIGNALS_REALM", "x")]);
        assert_eq!(environment.find("server", "shards"), None);
        assert_eq!(environment.find("calls", "realm"), None);
        assert_eq!(environment.finish().1.len(), 2);
    }

    #[test]
    fn what_kubernetes_adds_is_no_typing_error() {
        let environment = environment(&[
            ("SIGMUX_SERVICE_HOST", "10.0.0.1"),
            ("SIGMUX_SERVICE_PORT", "8080"),
            ("SIGMUX_SERVICE_PORT_METRICS", "9090"),
            ("SIGMUX_PORT", "tcp://10.0.0.1:8080"),
            ("SIGMUX_PORT_8080_TCP_ADDR", "10.0.0.1"),
            ("SIGNALS_SERVICE_HOST", "10.0.0.1"),
            ("SIGNALS_PORT", "tcp://10.0.0.1:8080"),
        ]);
        assert_eq!(environment.finish(), (vec![], vec![]));
    }

    #[test]
    fn a_short_name_for_the_port_is_one() {
        let mut environment = environment(&[("SIGMUX_PORT", "9000")]);
        environment.find("server", "port");
        let (problems, _) = environment.finish();
        assert!(problems[0].message.contains("SIGMUX_SERVER_PORT"), "{problems:?}");
    }

    #[test]
    fn a_flag_wins_over_each_variable_and_stands_for_its_own_section_only() {
        let mut environment = Environment::new(&Overrides {
            variables: vec![
                ("SIGNALS_ORIGIN".into(), "a".into()),
                ("SIGMUX_CALLS_ORIGIN".into(), "b".into()),
            ],
            flags: vec![("origin", "c".to_owned())],
            dot_env: None,
        });
        let found = environment.find("calls", "origin").expect("a flag");
        assert_eq!((found.name.as_str(), found.value.to_str()), ("--origin", Some("c")));
        assert_eq!(environment.find("rooms", "origin"), None);
    }

    #[test]
    fn an_empty_variable_without_a_prefix_counts_as_none() {
        let overrides = Overrides {
            variables: vec![("PORT".into(), "".into())],
            dot_env: Some("PORT=1\nLOG_LEVEL=\n".to_owned()),
            flags: Vec::new(),
        };
        let environment = Environment::new(&overrides);
        assert_eq!(environment.plain(PORT).expect("of the file").name, ".env:1: PORT");
        assert_eq!(environment.plain(LOG_LEVEL), None);
    }
}
