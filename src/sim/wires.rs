//! In-memory connections of one shard.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use crate::ring::ConnId;
use crate::shard::{Net, Shard};

/// Most bytes that one receive brings, as with the ring's buffers.
const RECEIVE_BYTES_MAX: usize = 32 * 1024;

/// Names a client of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientId {
    pub shard: usize,
    pub(super) index: usize,
}

#[derive(Default)]
pub(super) struct Wires {
    clients: Vec<Client>,
    /// By slot: the connection and its client.
    open: BTreeMap<u32, (ConnId, usize)>,
    /// What the "kernel" has to say, in its order.
    news: VecDeque<News>,
}

#[derive(Default)]
struct Client {
    conn: Option<ConnId>,
    to_server: VecDeque<u8>,
    from_server: Vec<u8>,
    /// A send that the client does not take.
    blocked: Option<Vec<u8>>,
    stalled: bool,
    hung_up: bool,
    end_told: bool,
    receiving: bool,
    /// For one piece.
    once: bool,
    closed: bool,
}

enum News {
    Sent(ConnId, Vec<u8>, Option<usize>),
    Stopped(ConnId),
    Closed(ConnId),
}

impl Wires {
    pub fn connect(&mut self, shard: usize) -> ClientId {
        self.clients.push(Client::default());
        ClientId { shard, index: self.clients.len() - 1 }
    }

    pub fn write(&mut self, client: ClientId, bytes: &[u8]) {
        self.clients[client.index].to_server.extend(bytes);
    }

    pub fn read(&mut self, client: ClientId) -> Vec<u8> {
        std::mem::take(&mut self.clients[client.index].from_server)
    }

    pub fn stall(&mut self, id: ClientId, stalled: bool) {
        let client = &mut self.clients[id.index];
        client.stalled = stalled;
        if !stalled && let (Some(bytes), Some(conn)) = (client.blocked.take(), client.conn) {
            client.from_server.extend_from_slice(&bytes);
            let taken = bytes.len();
            self.news.push_back(News::Sent(conn, bytes, Some(taken)));
        }
    }

    pub fn hang_up(&mut self, client: ClientId) {
        self.clients[client.index].hung_up = true;
    }

    pub fn is_closed(&self, client: ClientId) -> bool {
        self.clients[client.index].closed
    }

    #[cfg(test)]
    pub fn conn(&self, client: ClientId) -> Option<ConnId> {
        self.clients[client.index].conn
    }

    pub fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// Hands everything that has happened to the shard. True if anything has.
    pub fn deliver(&mut self, shard: &mut Shard) -> bool {
        let mut moved = false;
        for _ in 0..self.news.len() {
            let Some(news) = self.news.pop_front() else { break };
            moved = true;
            match news {
                News::Sent(conn, bytes, taken) => shard.sent(conn, bytes, taken, self),
                News::Stopped(conn) => shard.receive_stopped(conn, self),
                News::Closed(conn) => {
                    shard.closed(conn);
                    self.open.remove(&conn.slot);
                }
            }
        }
        for (conn, index) in self.open.values().copied().collect::<Vec<_>>() {
            let client = &mut self.clients[index];
            let some = client.to_server.len().min(RECEIVE_BYTES_MAX);
            if some > 0 && client.receiving {
                let mut bytes: Vec<u8> = client.to_server.drain(..some).collect();
                if std::mem::take(&mut client.once) {
                    client.receiving = false;
                    self.news.push_back(News::Stopped(conn));
                }
                shard.received(conn, &mut bytes);
                shard.after_received(conn, self);
                moved = true;
            } else if some == 0 && client.hung_up && !std::mem::replace(&mut client.end_told, true) {
                // Also where the shard has just stopped reading: the two may cross.
                client.receiving = false;
                shard.peer_ended(conn, self);
                moved = true;
            }
        }
        moved
    }

    fn client(&mut self, conn: ConnId) -> Option<&mut Client> {
        let (known, index) = *self.open.get(&conn.slot)?;
        (known == conn).then(|| &mut self.clients[index])
    }
}

impl Net for Wires {
    type Socket = ClientId;

    fn open(&mut self, socket: ClientId, conn: ConnId) {
        self.clients[socket.index].conn = Some(conn);
        self.open.insert(conn.slot, (conn, socket.index));
    }

    fn receive(&mut self, conn: ConnId) {
        if let Some(client) = self.client(conn) {
            (client.receiving, client.once) = (true, false);
        }
    }

    fn receive_once(&mut self, conn: ConnId) {
        if let Some(client) = self.client(conn) {
            (client.receiving, client.once) = (true, true);
        }
    }

    fn stop_receiving(&mut self, conn: ConnId) {
        if let Some(client) = self.client(conn) {
            client.receiving = false;
            self.news.push_back(News::Stopped(conn));
        }
    }

    fn send(&mut self, conn: ConnId, bytes: Vec<u8>, offset: usize) -> Result<(), Vec<u8>> {
        let Some(client) = self.client(conn).filter(|client| !client.closed) else { return Err(bytes) };
        if client.stalled {
            client.blocked = Some(bytes);
            return Ok(());
        }
        client.from_server.extend_from_slice(&bytes[offset..]);
        let taken = bytes.len() - offset;
        self.news.push_back(News::Sent(conn, bytes, Some(taken)));
        Ok(())
    }

    fn shutdown_write(&mut self, conn: ConnId) {
        // A client that sees the end answers with its own.
        if let Some(client) = self.client(conn) {
            client.hung_up = true;
        }
    }

    fn close(&mut self, conn: ConnId) {
        let Some(client) = self.client(conn).filter(|client| !client.closed) else { return };
        (client.closed, client.receiving) = (true, false);
        if let Some(bytes) = client.blocked.take() {
            self.news.push_back(News::Sent(conn, bytes, None));
        }
        self.news.push_back(News::Closed(conn));
    }

    fn keep_alive(&mut self, _: ConnId, _: Duration) {}

    fn peer_address(&mut self, _: &ClientId) -> Option<SocketAddr> {
        None
    }

    fn accept(&mut self, _: u16) {}

    fn stop_accepting(&mut self, _: u16) {}
}
