//! A caller of `calls`, as its document describes it: a seat by HTTP, news by WebSocket.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::http::Response;
use super::request::{ask, json_of, post_json};
use super::text::{Said, TextClient};
use super::within;

/// A seat in a call.
#[derive(Clone, Debug)]
pub struct Seat {
    pub call: String,
    pub session: String,
}

impl Seat {
    pub async fn take(addr: SocketAddr, call: &str) -> Seat {
        Seat::try_take(addr, call).await.unwrap_or_else(|status| panic!("GET /call/{call}: {status}"))
    }

    /// # Errors
    /// The status that is not 200.
    pub async fn try_take(addr: SocketAddr, call: &str) -> Result<Seat, u16> {
        let response = ask(addr, "GET", &format!("/call/{call}"), &[], None).await;
        if response.status != 200 {
            return Err(response.status);
        }
        let join = json_of(&response);
        let session = join["session"].as_str().expect("a session").to_owned();
        assert_eq!(join, json!({"kind": "JOIN", "call": call, "session": session}));
        Ok(Seat { call: call.into(), session })
    }

    /// The handshake message.
    pub fn join(&self) -> Value {
        json!({"kind": "JOIN", "call": self.call, "session": self.session})
    }

    pub fn event(&self, kind: &str, body: &str) -> Value {
        json!({"kind": kind, "call": self.call, "session": self.session, "body": body})
    }

    pub async fn signal(&self, addr: SocketAddr, kind: &str, body: &str) -> Response {
        post_json(addr, "/signal", &[], &self.event(kind, body)).await
    }

    /// Signals, which must succeed.
    pub async fn signals(&self, addr: SocketAddr, kind: &str, body: &str) {
        let response = self.signal(addr, kind, body).await;
        assert_eq!((response.status, response.text()), (200, ""));
    }

    /// A WebSocket that has been welcomed.
    pub async fn connect(&self, addr: SocketAddr) -> Caller {
        let mut line = TextClient::open_at(addr, "/ws").await;
        line.send(&self.join()).await;
        assert_eq!(line.json().await, json!({"kind": "WELCOME", "call": self.call}));
        Caller::over(line)
    }
}

/// A WebSocket that answers pings all the time, as a browser does, also while nobody reads.
pub struct Caller {
    said: mpsc::UnboundedReceiver<Said>,
    leave: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl Caller {
    pub fn over(mut line: TextClient) -> Caller {
        let (tell, said) = mpsc::unbounded_channel();
        let (leave, mut left) = oneshot::channel();
        let task = tokio::spawn(async move {
            loop {
                let next = tokio::select! {
                    next = line.next_unbounded() => next,
                    _ = &mut left => return,
                };
                let ended = matches!(next, Said::Closed(_));
                if tell.send(next).is_err() || ended {
                    return;
                }
            }
        });
        Caller { said, leave: Some(leave), task }
    }

    pub async fn json(&mut self) -> Value {
        match within("an event", self.said.recv()).await {
            Some(Said::Text(text)) => serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e} in {text}")),
            other => panic!("an event was awaited, got {other:?}"),
        }
    }

    /// The next event is this one and nothing more.
    pub async fn hears(&mut self, call: &str, kind: &str, body: Option<&str>) {
        let mut wanted = json!({"call": call, "kind": kind});
        if let Some(body) = body {
            wanted["body"] = json!(body);
        }
        assert_eq!(self.json().await, wanted);
    }

    /// Code and reason of the Close that comes next.
    pub async fn closed(&mut self) -> (u16, String) {
        match within("a Close", self.said.recv()).await {
            Some(Said::Closed(Some(why))) => why,
            other => panic!("a Close with its code was awaited, got {other:?}"),
        }
    }

    /// Ends the TCP connection without a word.
    pub async fn vanish(mut self) {
        let _ = self.leave.take().map(|leave| leave.send(()));
        within("the socket is closed", &mut self.task).await.expect("the task does not panic");
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.task.abort();
    }
}
