//! The binary under test: its configuration, its start, its logs, its end.

use std::fmt::Display;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::http::Http;
use super::{until, within};

/// In the folder of the server.
const CONFIG: &str = "sigmux.toml";

/// The binary that cargo has built, or another one in its place: `tests/sanitize` names one.
fn binary() -> PathBuf {
    std::env::var_os("SIGMUX_TEST_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_sigmux").into(), PathBuf::from)
}

/// Servers that run at the same time: each has a few rings, and an ordinary user may lock memory
/// for about fourteen.
const SERVERS_MAX: u32 = 3;

static ROOM: std::sync::LazyLock<Arc<Semaphore>> =
    std::sync::LazyLock::new(|| Arc::new(Semaphore::new(SERVERS_MAX as usize)));

/// A configuration in the making. Values are TOML text: `.server("heartbeat_interval", "'200ms'")`.
#[derive(Clone)]
pub struct Setup {
    server: Vec<(&'static str, String)>,
    auth: String,
    listeners: Vec<String>,
    sections: Vec<String>,
    env: Vec<(&'static str, String)>,
    files: Vec<(&'static str, String)>,
    args: Vec<String>,
    limits: String,
    alone: bool,
}

impl Setup {
    /// Two shards, one `binary` listener called `main`, metrics on a free port, and a token for
    /// each id that [`token_of`] knows.
    pub fn new() -> Setup {
        let keys: Vec<String> = IDS.iter().map(|id| format!("'{id}:{}'", token_of(id))).collect();
        Setup {
            server: vec![("shards", "2".into())],
            auth: format!("auth_method = 'token'\napi_keys = [{}]", keys.join(", ")),
            listeners: Vec::new(),
            sections: Vec::new(),
            env: Vec::new(),
            files: Vec::new(),
            args: Vec::new(),
            limits: String::new(),
            alone: false,
        }
    }

    pub fn server(mut self, key: &'static str, toml: impl Display) -> Setup {
        self.server.retain(|(name, _)| *name != key);
        self.server.push((key, toml.to_string()));
        self
    }

    pub fn shards(self, shards: usize) -> Setup {
        self.server("shards", shards)
    }

    pub fn auth(mut self, toml: &str) -> Setup {
        self.auth = toml.into();
        self
    }

    /// Any id with any token may log in.
    pub fn open_to_all(self) -> Setup {
        self.auth("auth_method = 'none'")
    }

    pub fn listener(self, name: &str, serves: &[&str]) -> Setup {
        self.listener_with(name, serves, "")
    }

    /// With further keys.
    pub fn listener_with(mut self, name: &str, serves: &[&str], toml: &str) -> Setup {
        self.listeners.push(format!(
            "[[listener]]\nname = '{name}'\nbind = '127.0.0.1:0'\nserves = {serves:?}\nexpose_shard = true\n{toml}\n"
        ));
        self
    }

    pub fn section(mut self, toml: &str) -> Setup {
        self.sections.push(toml.into());
        self
    }

    /// The realm of each dialect that is named.
    pub fn realms(self, realms: &[(&str, &str)]) -> Setup {
        realms
            .iter()
            .fold(self, |setup, (dialect, realm)| setup.section(&format!("[{dialect}]\nrealm = '{realm}'")))
    }

    /// A variable in the environment of the server.
    pub fn env(mut self, name: &'static str, value: impl Display) -> Setup {
        self.env.push((name, value.to_string()));
        self
    }

    /// A file in the folder that the server is started in.
    pub fn file(mut self, name: &'static str, text: &str) -> Setup {
        self.files.push((name, text.into()));
        self
    }

    /// Further arguments of `sigmux serve`.
    pub fn args(mut self, args: &[&str]) -> Setup {
        self.args.extend(args.iter().map(|it| (*it).to_owned()));
        self
    }

    /// Options of the shell's `ulimit` under which the server is started, such as `-n 100`.
    pub fn limits(mut self, options: &str) -> Setup {
        self.limits = options.into();
        self
    }

    /// For a test that would starve the others' clocks: no other server runs beside this one.
    pub fn alone(mut self) -> Setup {
        self.alone = true;
        self
    }

    pub fn toml(&self) -> String {
        let mut text = String::from("[server]\n");
        for (key, value) in &self.server {
            text += &format!("{key} = {value}\n");
        }
        text += &format!("\n[auth]\n{}\n\n[metrics]\nport = 0\n\n", self.auth);
        if self.listeners.is_empty() {
            text += "[[listener]]\nname = 'main'\nbind = '127.0.0.1:0'\nserves = ['binary']\nexpose_shard = true\n";
        }
        for part in self.listeners.iter().chain(&self.sections) {
            text += &format!("{part}\n");
        }
        text
    }

    pub async fn start(&self) -> Server {
        let permits = if self.alone { SERVERS_MAX } else { 1 };
        let Setup { env, files, args, limits, .. } = self;
        Server::from_file(&self.toml(), env, files, args, limits, permits).await
    }
}

/// Ids that the default configuration lets in.
const IDS: &[&str] = &[
    "test_client_1",
    "test_client_2",
    "alice",
    "bob",
    "carol",
    "dave",
    "erin",
    "bystander-1",
    "bystander-2",
    "a-name-that-is-longer-than-the-others",
];

pub fn token_of(id: &str) -> String {
    match id {
        "test_client_1" => "test_token_1".into(),
        "test_client_2" => "test_token_2".into(),
        _ => format!("token-of-{id}"),
    }
}

/// A running engine. Dropping it kills the process.
pub struct Server {
    child: Child,
    listeners: Vec<Listener>,
    stderr: Arc<Mutex<String>>,
    stdout_rest: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
    directory: TempDir,
    _permit: OwnedSemaphorePermit,
}

struct Listener {
    name: String,
    bind: SocketAddr,
    serves: Vec<String>,
}

impl Server {
    /// Starts the binary with `toml` as its configuration file and waits until it listens.
    ///
    /// # Panics
    /// With what it wrote on stderr, when it ends before that.
    pub async fn start(toml: &str, env: &[(&'static str, String)]) -> Server {
        Server::from_file(toml, env, &[], &[], "", 1).await
    }

    async fn from_file(
        toml: &str,
        env: &[(&'static str, String)],
        files: &[(&'static str, String)],
        args: &[String],
        limits: &str,
        permits: u32,
    ) -> Server {
        let permit = ROOM.clone().acquire_many_owned(permits).await.expect("never closed");
        let directory = tempfile::tempdir().expect("a temporary directory");
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).expect("the file is written");
        }
        let file = directory.path().join(CONFIG);
        std::fs::write(&file, toml).expect("the configuration is written");
        let mut command = limited_command(directory.path(), limits);
        command.args(["serve", "--print-ports"]).args(args).arg("-c").arg(&file);
        command.envs(env.iter().map(|(name, value)| (name, value)));
        Server::run(directory, command, permit).await
    }

    /// Starts the binary without naming a file, in the folder `root`: as `cargo run` does.
    pub async fn start_in(root: &Path) -> Server {
        let permit = ROOM.clone().acquire_owned().await.expect("never closed");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut command = clean_command(root);
        command.args(["serve", "--print-ports"]);
        Server::run(directory, command, permit).await
    }

    async fn run(directory: TempDir, mut command: Command, permit: OwnedSemaphorePermit) -> Server {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");

        let stderr = Arc::new(Mutex::new(String::new()));
        let from_stderr = child.stderr.take().expect("piped");
        let mut readers = vec![collect(from_stderr, stderr.clone())];

        let (tell_ports, ports) = oneshot::channel();
        let stdout_rest = Arc::new(Mutex::new(String::new()));
        let rest = stdout_rest.clone();
        let mut from_stdout = BufReader::new(child.stdout.take().expect("piped"));
        readers.push(std::thread::spawn(move || {
            let mut line = String::new();
            // A failed read leaves the line empty, which the waiting side reports.
            let _ = from_stdout.read_line(&mut line);
            let _ = tell_ports.send(line);
            append_all(from_stdout, &rest);
        }));
        let line = within("the line of --print-ports", ports).await.expect("the reader sends a line");
        let listeners = read_ports(&line).unwrap_or_else(|| {
            // The process has ended or is about to be killed with its owner; its words tell why.
            let _ = child.kill();
            let _ = child.wait();
            panic!("no listeners in {line:?}; stderr:\n{}", stderr.lock().expect("no panic while held"));
        });
        Server { child, listeners, stderr, stdout_rest, readers, directory, _permit: permit }
    }

    pub fn addr(&self, name: &str) -> SocketAddr {
        let found = self.listeners.iter().find(|listener| listener.name == name);
        found.unwrap_or_else(|| panic!("no listener {name}")).bind
    }

    /// The first listener that serves `service`.
    pub fn serving(&self, service: &str) -> SocketAddr {
        let found = self.listeners.iter().find(|listener| listener.serves.iter().any(|it| it == service));
        found.unwrap_or_else(|| panic!("nothing serves {service}")).bind
    }

    pub fn addresses_serving(&self, service: &str) -> Vec<SocketAddr> {
        let serves = |listener: &&Listener| listener.serves.iter().any(|it| it == service);
        self.listeners.iter().filter(serves).map(|listener| listener.bind).collect()
    }

    pub fn main(&self) -> SocketAddr {
        self.addr("main")
    }

    pub fn metrics(&self) -> SocketAddr {
        self.serving("metrics")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn logs(&self) -> String {
        self.stderr.lock().expect("no panic while held").clone()
    }

    /// What came on stdout after the line of `--print-ports`.
    pub fn stdout_rest(&self) -> String {
        self.stdout_rest.lock().expect("no panic while held").clone()
    }

    pub fn sigterm(&self) {
        self.signal(Signal::TERM);
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32).expect("a live child has a pid");
        kill_process(pid, signal).expect("the process is there");
    }

    /// The folder that it was started in.
    pub fn folder(&self) -> &Path {
        self.directory.path()
    }

    /// Has it read this in place of its configuration. True: the new settings hold.
    pub async fn reload(&self, setup: &Setup) -> bool {
        let counts = async || {
            let metrics = Http::open(self.metrics()).await.get("/metrics").await;
            ["applied", "refused"].map(|result| {
                let series = format!("sigmux_config_reloads_total{{result=\"{result}\"}} ");
                let line = metrics.text().lines().find_map(|line| line.strip_prefix(&series));
                line.expect("the page has both").parse::<u64>().expect("a number")
            })
        };
        let [applied, refused] = counts().await;
        std::fs::write(self.folder().join(CONFIG), setup.toml()).expect("the configuration is written");
        for (name, text) in &setup.files {
            std::fs::write(self.folder().join(name), text).expect("the file is written");
        }
        self.signal(Signal::HUP);
        until("the configuration is read again", async || {
            let [now_applied, now_refused] = counts().await;
            (now_applied + now_refused > applied + refused).then_some(now_applied > applied)
        })
        .await
    }

    /// A number of the metrics page, by its whole series.
    pub async fn metric(&self, series: &str) -> f64 {
        let metrics = Http::open(self.metrics()).await.get("/metrics").await;
        let line = metrics.text().lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series}")).parse().expect("a number")
    }

    /// Sets a limit of the running process. `None` is what this process has.
    pub fn limit(&self, resource: Resource, limit: Option<u64>) {
        let Rlimit { current, maximum } = getrlimit(resource);
        let pid = Pid::from_raw(self.child.id() as i32);
        prlimit(pid, resource, Rlimit { current: limit.or(current), maximum }).expect("the process is ours");
    }

    /// Waits for the end of the process, and for its last words.
    pub async fn exit(&mut self) -> ExitStatus {
        let child = &mut self.child;
        let status =
            until("the process ends", async || child.try_wait().expect("the child can be waited for")).await;
        for reader in self.readers.drain(..) {
            reader.join().expect("readers do not panic");
        }
        status
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let dying = std::thread::panicking();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if dying {
            let logs = self.logs();
            let tail: Vec<&str> = logs.lines().rev().take(40).collect();
            eprintln!("--- the engine's last words ---");
            for line in tail.iter().rev() {
                eprintln!("{line}");
            }
        }
    }
}

/// Runs the binary to its end: `check`, `token`, a `serve` that must fail.
pub async fn tool(directory: &Path, args: &[&str], env: &[(&str, &str)]) -> Output {
    tool_under("", directory, args, env).await
}

/// The same under options of the shell's `ulimit`.
pub async fn tool_under(limits: &str, directory: &Path, args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = limited_command(directory, limits);
    command.args(args).envs(env.iter().copied()).stdin(Stdio::null());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let mut child = Killed(child);
    let (stdout, stderr) = (Arc::new(Mutex::new(String::new())), Arc::new(Mutex::new(String::new())));
    let readers = [
        collect(child.0.stdout.take().expect("piped"), stdout.clone()),
        collect(child.0.stderr.take().expect("piped"), stderr.clone()),
    ];
    let waited = tokio::time::timeout(super::DEADLINE, async {
        loop {
            if let Some(status) = child.0.try_wait().expect("the child can be waited for") {
                return status;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    let Ok(status) = waited else {
        drop(child);
        panic!("{args:?} did not end; stderr:\n{}", stderr.lock().expect("no panic while held"));
    };
    for reader in readers {
        reader.join().expect("readers do not panic");
    }
    let text = |it: &Arc<Mutex<String>>| it.lock().expect("no panic while held").clone().into_bytes();
    Output { status, stdout: text(&stdout), stderr: text(&stderr) }
}

/// A process that does not outlive its owner.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn limited_command(directory: &Path, limits: &str) -> Command {
    if limits.is_empty() {
        return clean_command(directory);
    }
    let mut command = clean(Command::new("/bin/sh"), directory);
    command.args(["-c", &format!("ulimit {limits} && exec \"$0\" \"$@\"")]).arg(binary());
    command
}

fn clean_command(directory: &Path) -> Command {
    clean(Command::new(binary()), directory)
}

/// With an empty environment, so that nothing of the tester's own leaks in.
fn clean(mut command: Command, directory: &Path) -> Command {
    command.current_dir(directory).env_clear();
    for kept in ["PATH", "RUST_BACKTRACE", "LLVM_PROFILE_FILE"] {
        if let Some(value) = std::env::var_os(kept) {
            command.env(kept, value);
        }
    }
    command.env("HOME", PathBuf::from(directory));
    command
}

fn collect(from: impl Read + Send + 'static, into: Arc<Mutex<String>>) -> JoinHandle<()> {
    std::thread::spawn(move || append_all(from, &into))
}

fn append_all(mut from: impl Read, into: &Mutex<String>) {
    let mut chunk = [0; 8192];
    while let Ok(read @ 1..) = from.read(&mut chunk) {
        into.lock().expect("no panic while held").push_str(&String::from_utf8_lossy(&chunk[..read]));
    }
}

fn read_ports(line: &str) -> Option<Vec<Listener>> {
    let value: Value = serde_json::from_str(line).ok()?;
    let listeners = value.get("listeners")?.as_array()?;
    listeners
        .iter()
        .map(|it| {
            Some(Listener {
                name: it.get("name")?.as_str()?.into(),
                bind: it.get("bind")?.as_str()?.parse().ok()?,
                serves: it
                    .get("serves")?
                    .as_array()?
                    .iter()
                    .map(|service| service.as_str().map(String::from))
                    .collect::<Option<_>>()?,
            })
        })
        .collect()
}
