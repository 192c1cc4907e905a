//! A tiny HTTP server that publishes a key set, as an identity provider does.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub struct KeyServer {
    addr: SocketAddr,
    set: Arc<Mutex<Option<String>>>,
    asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl KeyServer {
    /// `None`: it takes requests and never answers.
    pub async fn start(set: Option<String>) -> KeyServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let set = Arc::new(Mutex::new(set));
        let asked = Arc::new(AtomicUsize::new(0));
        let (shown, count) = (set.clone(), asked.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, shown.clone(), count.clone()));
            }
        });
        KeyServer { addr, set, asked, task }
    }

    pub fn url(&self) -> String {
        format!("http://{}/.well-known/jwks.json", self.addr)
    }

    /// From now on another set is published.
    pub fn publish(&self, set: String) {
        *self.set.lock().expect("no panic while held") = Some(set);
    }

    /// How often somebody asked.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(mut stream: TcpStream, set: Arc<Mutex<Option<String>>>, asked: Arc<AtomicUsize>) {
    let mut head = Vec::new();
    while !head.windows(4).any(|it| it == b"\r\n\r\n") {
        if let Ok(0) | Err(_) = stream.read_buf(&mut head).await {
            return;
        }
    }
    asked.fetch_add(1, Ordering::SeqCst);
    let set = set.lock().expect("no panic while held").clone();
    let Some(set) = set else {
        // Until the other side gives up.
        while let Ok(1..) = stream.read_buf(&mut head).await {}
        return;
    };
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{set}",
        set.len()
    );
    // Whoever asked may have gone.
    let _ = stream.write_all(answer.as_bytes()).await;
}
