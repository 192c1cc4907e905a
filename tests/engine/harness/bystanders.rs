//! Clients in pairs: on shards of one's choice, or as witnesses that others are not disturbed.

use super::client::{Client, Via};
use super::form::Form;
use super::frame::{ANSWER, OFFER};
use super::server::Server;

/// Connections that are opened in search of a shard. The kernel spreads them by a hash of their
/// ports, so missing one of two shards 64 times in a row does not happen.
const ATTEMPTS_MAX: usize = 64;

/// Two clients that talk to each other while somebody else misbehaves.
pub struct Bystanders {
    one: Client,
    other: Client,
}

impl Bystanders {
    /// Over both transports, so that neither is disturbed.
    pub async fn login(server: &Server) -> Bystanders {
        Bystanders {
            one: Client::login(server.main(), Via::WebSocket, Form::FlatJson, "bystander-1").await,
            other: Client::login(server.main(), Via::Tcp, Form::TaggedJson, "bystander-2").await,
        }
    }

    /// A message each way arrives, and nothing else has arrived since the last time.
    pub async fn talk(&mut self) {
        let offer = self.one.signal(OFFER, "bystander-2", "v=0 offer").await;
        assert_eq!(self.other.delivered(&offer).await.data, "v=0 offer");
        let answer = self.other.signal(ANSWER, "bystander-1", "v=0 answer").await;
        assert_eq!(self.one.delivered(&answer).await.data, "v=0 answer");
    }
}

/// Two WebSocket clients that different shards serve.
pub async fn across_shards(server: &Server, one: (Form, &str), other: (Form, &str)) -> (Client, Client) {
    pair(server, one, other, false).await
}

/// Two WebSocket clients that one shard serves.
pub async fn on_one_shard(server: &Server, one: (Form, &str), other: (Form, &str)) -> (Client, Client) {
    pair(server, one, other, true).await
}

async fn pair(server: &Server, one: (Form, &str), other: (Form, &str), same: bool) -> (Client, Client) {
    let first = Client::login(server.main(), Via::WebSocket, one.0, one.1).await;
    assert!(first.shard.is_some(), "expose_shard puts X-Sigmux-Shard into the 101");
    for _ in 0..ATTEMPTS_MAX {
        let mut second = Client::open(server.main(), Via::WebSocket).await;
        if (first.shard == second.shard) == same {
            second.connect(other.0, other.1).await;
            return (first, second);
        }
    }
    panic!("the kernel never chose the shard that was wanted (same: {same})");
}
