//! Nothing is lost silently: two hundred clients, ids that come and go, readers that pause, and
//! every signal is delivered once or answered with an error.
//!
//! What counts as an account: the target read it, or its sender read an ERROR with its uuid. A
//! sender that has left cannot be told any more; its signals may stay without an account, but may
//! not have two. Order is checked per sender's connection and target's connection.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::*;

const CLIENTS: usize = 200;
/// Every tenth client pauses before it reads.
const SLOW_ONE_IN: usize = 10;
const LIVES: usize = 5;
const BATCHES_PER_LIFE: usize = 12;
const BATCH_FRAMES_MAX: u64 = 8;
const PAUSE: Duration = Duration::from_millis(1500);
const SETTLE: Duration = Duration::from_secs(60);

const SEED: u64 = 0x5167_6d75_7821;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_signal_is_delivered_or_answered_with_an_error() {
    account_for_everything(patient()).await;
}

/// The same with queues between shards so short that they overflow all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_signal_is_accounted_for_although_the_inboxes_overflow() {
    let setup = patient()
        .server("inbox_messages_max", 64)
        .server("overflow_messages_max", 64)
        .server("hold_milliseconds", 20);
    account_for_everything(setup).await;
}

/// A reader that was cut gets the time to read what the kernel has for it.
fn patient() -> Setup {
    Setup::new()
        .open_to_all()
        .alone()
        .server("outbox_soft_bytes", 65_536)
        .server("outbox_hard_bytes", 262_144)
        .server("slow_consumer_seconds", "'1s'")
        .server("close_seconds", "'30s'")
}

async fn account_for_everything(setup: Setup) {
    let server = Arc::new(setup.start().await);
    let books = Arc::new(Mutex::new(Books::default()));
    let mut clients = JoinSet::new();
    for index in 0..CLIENTS {
        let client =
            Lives { index, server: server.clone(), books: books.clone(), random: Random::new(index) };
        clients.spawn(client.live());
    }
    let mut last = Vec::new();
    while let Some(life) = clients.join_next().await {
        last.push(life.expect("a client holds what it asserts"));
    }

    let settled = tokio::time::timeout(SETTLE, async {
        while books.lock().expect("no panic while held").open_accounts() > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    if settled.await.is_err() {
        panic!(
            "not accounted for (seed {SEED:#x}):\n{}",
            books.lock().expect("no panic while held").report()
        );
    }
    for life in last {
        life.leave().await;
    }
    let books = books.lock().expect("no panic while held");
    let totals = books.totals();
    println!("{totals:?}");
    assert!(totals.delivered > 0 && totals.unavailable > 0 && totals.not_found > 0, "too calm: {totals:?}");
}

/// One client id through all its connections.
struct Lives {
    index: usize,
    server: Arc<Server>,
    books: Arc<Mutex<Books>>,
    random: Random,
}

impl Lives {
    fn is_slow(index: usize) -> bool {
        index.is_multiple_of(SLOW_ONE_IN)
    }

    /// Lives all lives but the end of the last one.
    async fn live(mut self) -> Life {
        let mut life = self.begin().await;
        for number in 1.. {
            self.talk(&mut life).await;
            if number == LIVES {
                break;
            }
            match self.random.below(3) {
                // Waits for every account, so that these lives leave nothing open.
                0 => {
                    self.accounted(life.number).await;
                    life.leave().await;
                    life = self.begin().await;
                }
                1 => {
                    life.leave().await;
                    life = self.begin().await;
                }
                // The newer takes the id over while the older is in the middle of things.
                _ => {
                    let newer = self.begin().await;
                    let older = std::mem::replace(&mut life, newer);
                    older.ends().await;
                }
            }
        }
        life
    }

    async fn begin(&mut self) -> Life {
        let form = Form::ALL[self.index % 6];
        let slow = Lives::is_slow(self.index);
        let addr = self.server.main();
        let client = match slow {
            true => Client::open_narrow(addr, Via::WebSocket).await,
            false => Client::open(addr, Via::WebSocket).await,
        };
        let id = name(self.index);
        let (mut sink, stream) = client.into_websocket().split();
        let number = self.books.lock().expect("no panic while held").new_life();
        let connect = form.connect(&id, &token_of(&id)).encode();
        within("CONNECT goes out", sink.send(Message::binary(connect))).await.expect("the socket is open");
        let (is_in, wait) = tokio::sync::oneshot::channel();
        let reader = Reader {
            life: number,
            id: id.clone(),
            form,
            books: self.books.clone(),
            is_in: Some(is_in),
            pause: if slow { PAUSE } else { Duration::ZERO },
            last_numbers: HashMap::new(),
        };
        let reading = tokio::spawn(reader.read(stream));
        within("the login is answered", wait).await.expect("the reader reports the ACK");
        Life { number, id, form, sink, reading, books: self.books.clone() }
    }

    async fn talk(&mut self, life: &mut Life) {
        for _ in 0..BATCHES_PER_LIFE {
            let mut batch = Vec::new();
            for _ in 0..=self.random.below(BATCH_FRAMES_MAX) {
                // Every third signal goes to somebody slow, with more in it.
                let slow = self.random.below(3) == 0;
                let mut target = self.random.below(CLIENTS as u64) as usize;
                if slow {
                    target -= target % SLOW_ONE_IN;
                }
                let filler = "x".repeat(self.random.below(if slow { 6000 } else { 600 }) as usize);
                let mut books = self.books.lock().expect("no panic while held");
                let number = books.next_number(life.number, target);
                let data = format!("{} {number} {filler}", life.number);
                let kind = SIGNALS[self.random.below(3) as usize];
                let frame = life.form.signal(kind, &name(target), &data);
                books.sent(frame.uuid, life.number, target);
                batch.extend(frame.encode());
            }
            let sending = life.sink.send(Message::binary(batch));
            // A sender may be held back, and one that was cut is told so by its reader.
            match tokio::time::timeout(SETTLE, sending).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) => panic!("{} is held back for ever", life.id),
            }
            tokio::task::yield_now().await;
        }
    }

    async fn accounted(&self, life: u64) {
        let all = async {
            while self.books.lock().expect("no panic while held").open_accounts_of(life) > 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        if tokio::time::timeout(SETTLE, all).await.is_err() {
            let report = self.books.lock().expect("no panic while held").report();
            panic!("signals of {} stay open (seed {SEED:#x}):\n{report}", name(self.index));
        }
    }
}

/// One connection of one client id.
struct Life {
    number: u64,
    id: String,
    form: Form,
    sink: SplitSink<WebSocketStream<TcpStream>, Message>,
    reading: JoinHandle<()>,
    books: Arc<Mutex<Books>>,
}

impl Life {
    async fn leave(mut self) {
        self.books.lock().expect("no panic while held").end_of(self.number);
        let leave = self.form.disconnect(&self.id, "done").encode();
        // A client that was cut meanwhile has nothing to leave.
        let _ = within("DISCONNECT goes out", self.sink.send(Message::binary(leave))).await;
        self.ends().await;
    }

    /// Reads on until the engine has closed the connection: whatever the kernel took for it counts.
    async fn ends(self) {
        self.books.lock().expect("no panic while held").end_of(self.number);
        let ended = tokio::time::timeout(SETTLE, self.reading).await;
        ended.expect("the engine ends the connection").expect("the reader holds what it asserts");
    }
}

struct Reader {
    life: u64,
    id: String,
    form: Form,
    books: Arc<Mutex<Books>>,
    is_in: Option<tokio::sync::oneshot::Sender<()>>,
    pause: Duration,
    last_numbers: HashMap<u64, u64>,
}

impl Reader {
    async fn read(mut self, mut stream: SplitStream<WebSocketStream<TcpStream>>) {
        while let Some(Ok(message)) = stream.next().await {
            let Message::Binary(bytes) = message else { continue };
            let (frame, length) = Frame::decode(&bytes).expect("a message holds a whole frame");
            assert_eq!(length, bytes.len(), "exactly one frame per WebSocket message");
            self.take(&frame);
            if let Some(is_in) = self.is_in.take_if(|_| frame.kind == CONNECT_ACK) {
                is_in.send(()).expect("the client waits for it");
                tokio::time::sleep(self.pause).await;
            }
        }
        self.books.lock().expect("no panic while held").end_of(self.life);
    }

    fn take(&mut self, frame: &Frame) {
        let mut books = self.books.lock().expect("no panic while held");
        match frame.kind {
            CONNECT_ACK => {}
            ERROR => {
                let (code, message) = self.form.read_error(frame);
                if code == self.form.code(409) {
                    return;
                }
                let unavailable = code == self.form.code(503);
                assert!(unavailable || code == self.form.code(404), "{code}: {message}");
                books.refused(frame.uuid, self.life, unavailable);
            }
            _ => {
                let signal = self.form.read_signal(frame);
                let mut words = signal.data.split(' ');
                let mut number = || words.next().and_then(|it| it.parse::<u64>().ok()).expect("a number");
                let (from, number) = (number(), number());
                books.delivered(frame.uuid, from, &self.id, signal.sender.as_deref());
                let last = self.last_numbers.insert(from, number);
                assert!(last < Some(number), "{number} after {last:?} from life {from} to {}", self.id);
            }
        }
    }
}

/// Who sent what, and what became of it.
#[derive(Default)]
struct Books {
    lives: u64,
    ended: HashSet<u64>,
    numbers: HashMap<(u64, usize), u64>,
    signals: HashMap<[u8; 16], Entry>,
}

struct Entry {
    life: u64,
    target: usize,
    end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Delivered,
    NotFound,
    Unavailable,
}

#[derive(Debug, Default)]
struct Totals {
    delivered: usize,
    not_found: usize,
    unavailable: usize,
    their_sender_has_left: usize,
}

impl Books {
    fn new_life(&mut self) -> u64 {
        self.lives += 1;
        self.lives
    }

    fn end_of(&mut self, life: u64) {
        self.ended.insert(life);
    }

    fn next_number(&mut self, life: u64, target: usize) -> u64 {
        let number = self.numbers.entry((life, target)).or_default();
        *number += 1;
        *number
    }

    fn sent(&mut self, uuid: [u8; 16], life: u64, target: usize) {
        self.signals.insert(uuid, Entry { life, target, end: None });
    }

    fn delivered(&mut self, uuid: [u8; 16], from: u64, id: &str, sender: Option<&str>) {
        let entry = self.signals.get_mut(&uuid).expect("only what was sent arrives");
        assert_eq!((entry.life, name(entry.target).as_str()), (from, id), "at the right door");
        assert!(sender.is_some_and(|it| it.starts_with('c')), "{sender:?}");
        assert_eq!(entry.end, None, "delivered although it has ended already");
        entry.end = Some(End::Delivered);
    }

    fn refused(&mut self, uuid: [u8; 16], life: u64, unavailable: bool) {
        let entry = self.signals.get_mut(&uuid).expect("only what was sent is refused");
        assert_eq!(entry.life, life, "the sender is told, and nobody else");
        assert_eq!(entry.end, None, "refused although it has ended already");
        entry.end = Some(if unavailable { End::Unavailable } else { End::NotFound });
    }

    fn open_accounts(&self) -> usize {
        self.open().count()
    }

    fn open_accounts_of(&self, life: u64) -> usize {
        self.open().filter(|entry| entry.life == life).count()
    }

    fn open(&self) -> impl Iterator<Item = &Entry> {
        self.signals.values().filter(|entry| entry.end.is_none() && !self.ended.contains(&entry.life))
    }

    fn report(&self) -> String {
        let lines = self.open().map(|entry| {
            let slow = if Lives::is_slow(entry.target) { " (slow)" } else { "" };
            format!("from life {} to {}{slow}\n", entry.life, name(entry.target))
        });
        let lines: Vec<String> = lines.take(30).collect();
        format!(
            "{} signals are open, among them:\n{}{:?}",
            self.open_accounts(),
            lines.concat(),
            self.totals()
        )
    }

    fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for entry in self.signals.values() {
            match entry.end {
                Some(End::Delivered) => totals.delivered += 1,
                Some(End::NotFound) => totals.not_found += 1,
                Some(End::Unavailable) => totals.unavailable += 1,
                None => totals.their_sender_has_left += usize::from(self.ended.contains(&entry.life)),
            }
        }
        totals
    }
}

fn name(index: usize) -> String {
    format!("c{index}")
}

/// xorshift64*: the same numbers in every run.
struct Random(u64);

impl Random {
    fn new(index: usize) -> Random {
        Random(SEED ^ ((index as u64 + 1) << 20))
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % end
    }
}
