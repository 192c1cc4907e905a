//! Variables that override the file: `SIGMUX_SECTION_KEY`, and the documented
//! `SIGNAL_MANAGER_SECTION_KEY` for the keys of the documented file.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::nearest::suggestion;
use super::problem::{Place, Problem};

const OURS: &str = "SIGMUX_";
const DOCUMENTED: &str = "SIGNAL_MANAGER_";

/// Read by the command line: the path of the file itself.
const CONFIG_VARIABLE: &str = "SIGMUX_CONFIG";

/// Keys that have a documented variable, as `section.key`.
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

/// The variables with our names, and which of them the configuration knows.
pub(super) struct Environment {
    values: BTreeMap<String, OsString>,
    known: Vec<String>,
}

impl Environment {
    pub(super) fn new<K, V>(variables: impl IntoIterator<Item = (K, V)>) -> Environment
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let values = variables
            .into_iter()
            .filter_map(|(name, value)| Some((name.into().into_string().ok()?, value.into())))
            .filter(|(name, _)| name.starts_with(OURS) || name.starts_with(DOCUMENTED))
            .filter(|(name, value): &(String, OsString)| !is_not_for_us(name, &value.to_string_lossy()))
            .collect();
        Environment { values, known: Vec::new() }
    }

    /// The variable that sets `key`, if any. Ours wins over the documented one. From here on both
    /// names are known ones.
    pub(super) fn find(&mut self, section: &str, key: &str) -> Option<(String, OsString)> {
        let path = if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
        let suffix = path.replace('.', "_").to_ascii_uppercase();
        let mut names = vec![format!("{OURS}{suffix}")];
        if DOCUMENTED_KEYS.contains(&path.as_str()) {
            names.push(format!("{DOCUMENTED}{suffix}"));
        }
        self.known.extend_from_slice(&names);
        names.into_iter().find_map(|name| {
            let value = self.values.get(&name)?.clone();
            Some((name, value))
        })
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

    /// Variables that nobody asked for: ours are problems, the documented ones warnings.
    pub(super) fn unknown(&self) -> (Vec<Problem>, Vec<String>) {
        let mut problems = Vec::new();
        let mut warnings = Vec::new();
        for name in self.values.keys().filter(|name| !self.known.contains(name)) {
            let like = |prefix| self.known.iter().map(String::as_str).filter(move |k| k.starts_with(prefix));
            if name.starts_with(OURS) {
                let message = format!("unknown variable{}", suggestion(name, like(OURS)));
                problems.push(Problem { place: Place::Variable(name.clone()), message });
            } else {
                let meant = suggestion(name, like(DOCUMENTED));
                warnings.push(format!("{name}: unknown variable, it has no effect{meant}"));
            }
        }
        (problems, warnings)
    }
}

/// The command line's own variable, and those that Kubernetes puts into every pod beside a
/// Service called `sigmux`: `SIGMUX_SERVICE_HOST`, `SIGMUX_PORT=tcp://…`,
/// `SIGMUX_PORT_8080_TCP_ADDR`, ….
fn is_not_for_us(name: &str, value: &str) -> bool {
    let numbered = |rest: &str| {
        rest.starts_with(|c: char| c.is_ascii_digit()) && (rest.contains("_TCP") || rest.contains("_UDP"))
    };
    name == CONFIG_VARIABLE
        || name == "SIGMUX_SERVICE_HOST"
        || name.starts_with("SIGMUX_SERVICE_PORT")
        || name == "SIGMUX_PORT" && value.contains("://")
        || name.strip_prefix("SIGMUX_PORT_").is_some_and(numbered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_name_wins_over_the_documented_one() {
        let mut both = Environment::new([
            ("SIGNAL_MANAGER_SERVER_PORT", "1"),
            ("SIGMUX_SERVER_PORT", "2"),
            ("PATH", "x"),
        ]);
        let (name, value) = both.find("server", "port").expect("a variable");
        assert_eq!((name.as_str(), value.to_str()), ("SIGMUX_SERVER_PORT", Some("2")));
        assert_eq!(both.unknown(), (vec![], vec![]));
    }

    #[test]
    fn only_documented_keys_have_a_documented_variable() {
        let mut environment = Environment::new([("SIGNAL_MANAGER_SERVER_SHARDS", "1")]);
        assert_eq!(environment.find("server", "shards"), None);
        assert_eq!(environment.unknown().1.len(), 1);
    }

    #[test]
    fn what_kubernetes_adds_is_no_typing_error() {
        let environment = Environment::new([
            ("SIGMUX_SERVICE_HOST", "10.0.0.1"),
            ("SIGMUX_SERVICE_PORT", "8080"),
            ("SIGMUX_SERVICE_PORT_METRICS", "9090"),
            ("SIGMUX_PORT", "tcp://10.0.0.1:8080"),
            ("SIGMUX_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ]);
        assert_eq!(environment.unknown(), (vec![], vec![]));
    }

    #[test]
    fn a_short_name_for_the_port_is_one() {
        let mut environment = Environment::new([("SIGMUX_PORT", "9000")]);
        environment.find("server", "port");
        let (problems, _) = environment.unknown();
        assert!(problems[0].message.contains("SIGMUX_SERVER_PORT"), "{problems:?}");
    }
}
