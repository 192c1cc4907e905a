//! Thousands of clients on one thread, which is not the one that measures.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;

use super::line::Line;

/// Connections that are being opened at the same time.
const OPENING_MAX: usize = 100;
/// Of the stations, how many stay with polling.
const POLLING_ONE_IN: usize = 5;
const GATHER: Duration = Duration::from_secs(30);

/// Clients that are there and do nothing. They leave when this is dropped.
pub struct Crowd {
    /// `None` only within `drop`.
    runtime: Option<Runtime>,
    members: Vec<AbortHandle>,
    books: Arc<Mutex<Books>>,
}

/// What has come to the registered devices since [`Crowd::listen`].
#[derive(Default)]
struct Books {
    reads: Vec<(Instant, usize)>,
    /// By member.
    heard: Vec<Heard>,
    /// The longest that a byte may have waited here to be read.
    stall: Duration,
}

#[derive(Clone, Default)]
pub struct Heard {
    pub updates: usize,
    /// The last of them.
    pub update: String,
}

impl Crowd {
    /// Of the devices [`id_of`] 0, 1, …, all registered.
    pub async fn of_devices(addr: SocketAddr, devices: usize) -> Crowd {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let books = Books { heard: vec![Heard::default(); devices], ..Books::default() };
        let mut crowd =
            Crowd { runtime: Some(runtime), members: Vec::new(), books: Arc::new(Mutex::new(books)) };
        let books = crowd.books.clone();
        crowd
            .admit(devices, |index, entered| {
                let books = books.clone();
                async move {
                    let meter = books.clone();
                    let meter = move |bytes| locked(&meter).reads.push((Instant::now(), bytes));
                    let mut line = Line::open(addr, meter).await;
                    line.upgrade("/").await;
                    line.say(&format!(r#"{{"type":"register","id":"{}"}}"#, id_of(index))).await;
                    let answer = line.text().await.expect("an answer");
                    assert!(answer.starts_with(r#"{"type":"registered""#), "{answer}");
                    enter(&entered);
                    while let Some(text) = line.text().await {
                        assert!(text.starts_with(r#"{"type":"client_list_update""#), "{text}");
                        let heard = &mut locked(&books).heard[index];
                        heard.updates += 1;
                        heard.update = text;
                    }
                }
            })
            .await;
        let books = crowd.books.clone();
        crowd.spawn(async move {
            let mut last = Instant::now();
            loop {
                tokio::time::sleep(Duration::from_millis(1)).await;
                let now = Instant::now();
                let mut books = locked(&books);
                books.stall = books.stall.max(now - last);
                last = now;
            }
        });
        crowd
    }

    /// So many clients of Socket.IO join.
    pub async fn and_stations(mut self, addr: SocketAddr, stations: usize) -> Crowd {
        self.admit(stations, |index, entered| async move {
            let line = Line::open(addr, |_| ()).await;
            match index.is_multiple_of(POLLING_ONE_IN) {
                true => poll(line, entered).await,
                false => stay(line, entered).await,
            }
        })
        .await;
        self
    }

    /// Runs `client` for each index, a few at a time until each says that it has entered.
    async fn admit<F>(&mut self, count: usize, client: impl Fn(usize, UnboundedSender<()>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (entered, mut entering) = unbounded_channel();
        let all = async {
            for index in 0..count {
                if index >= OPENING_MAX {
                    entering.recv().await.expect("a sender is here");
                }
                let member = self.spawn(client(index, entered.clone()));
                self.members.push(member);
            }
            for _ in 0..count.min(OPENING_MAX) {
                entering.recv().await.expect("a sender is here");
            }
        };
        tokio::time::timeout(GATHER, all).await.expect("everybody gets in");
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.runtime.as_ref().expect("not dropped").spawn(task).abort_handle()
    }

    /// This device goes without a word.
    pub fn leave(&self, index: usize) {
        self.members[index].abort();
    }

    /// Clients whose connection has not ended.
    pub fn present(&self) -> usize {
        self.members.iter().filter(|member| !member.is_finished()).count()
    }

    /// Forgets what was heard before.
    pub fn listen(&self) {
        let mut books = locked(&self.books);
        let devices = books.heard.len();
        *books = Books { heard: vec![Heard::default(); devices], ..Books::default() };
    }

    pub fn heard(&self) -> Vec<Heard> {
        locked(&self.books).heard.clone()
    }

    /// When bytes were read and how many, in the order of time; and for how long they may have lain
    /// there before.
    pub fn reads(&self) -> (Vec<(Instant, usize)>, Duration) {
        let books = locked(&self.books);
        (books.reads.clone(), books.stall)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A station over WebSocket.
async fn stay(mut line: Line, entered: UnboundedSender<()>) {
    line.upgrade("/socket.io/?EIO=4&transport=websocket").await;
    line.text().await.expect("an open packet");
    line.say("40").await;
    while let Some(packet) = line.text().await {
        match packet.as_str() {
            "2" => line.say("3").await,
            _ if packet.starts_with("40") => enter(&entered),
            _ => {}
        }
    }
}

/// A station of which one request always waits at the engine.
async fn poll(mut line: Line, entered: UnboundedSender<()>) {
    let path = "/socket.io/?EIO=4&transport=polling";
    let open = line.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
    let open: Value = serde_json::from_str(&open[1..]).expect("an open packet");
    let path = format!("{path}&sid={}", open["sid"].as_str().expect("a sid"));
    let get = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let post = |packet: &str| {
        let length = packet.len();
        format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{packet}")
    };
    line.ask(&post("40")).await;
    loop {
        for packet in line.ask(&get).await.split('\x1e') {
            match packet {
                "2" => _ = line.ask(&post("3")).await,
                _ if packet.starts_with("40") => enter(&entered),
                _ => {}
            }
        }
    }
}

/// Whoever waited for it may have given up.
fn enter(entered: &UnboundedSender<()>) {
    let _ = entered.send(());
}

/// Sixteen bytes.
pub fn id_of(index: usize) -> String {
    format!("camera-{index:09}")
}

fn locked(books: &Mutex<Books>) -> MutexGuard<'_, Books> {
    books.lock().expect("no panic while held")
}
