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

struct Client {
    conn: Option<ConnId>,
    to_server: VecDeque<u8>,
    from_server: Vec<u8>,
    /// A send of which the client has not taken what lies behind the offset.
    blocked: Option<(Vec<u8>, usize)>,
    /// Bytes that the client still takes; `usize::MAX` for any number.
    window_bytes: usize,
    /// Most bytes that one receive brings.
    receive_bytes_max: usize,
    hung_up: bool,
    end_told: bool,
    receiving: bool,
    /// For one piece.
    once: bool,
    /// Nobody is there any more, and nothing has told us so.
    vanished: bool,
    /// What the server has asked of the kernel, to find that out.
    keep_alive: Option<Duration>,
    closed: bool,
}

impl Default for Client {
    fn default() -> Client {
        Client {
            conn: None,
            to_server: VecDeque::new(),
            from_server: Vec::new(),
            blocked: None,
            window_bytes: usize::MAX,
            receive_bytes_max: RECEIVE_BYTES_MAX,
            hung_up: false,
            end_told: false,
            receiving: false,
            once: false,
            vanished: false,
            keep_alive: None,
            closed: false,
        }
    }
}

impl Client {
    /// Takes what the window lets through of `bytes[offset..]`.
    fn take(&mut self, bytes: &[u8], offset: usize) -> usize {
        let taken = self.window_bytes.min(bytes.len() - offset);
        self.from_server.extend_from_slice(&bytes[offset..offset + taken]);
        if self.window_bytes != usize::MAX {
            self.window_bytes -= taken;
        }
        taken
    }

    fn has_input(&self) -> bool {
        match self.to_server.is_empty() {
            true => self.hung_up && !self.end_told,
            false => self.receiving,
        }
    }
}

enum News {
    Sent(ConnId, Vec<u8>, Option<usize>),
    Stopped(ConnId),
    Broken(ConnId),
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

    /// The client reads no more, or again as much as there is.
    pub fn stall(&mut self, id: ClientId, stalled: bool) {
        self.clients[id.index].window_bytes = if stalled { 0 } else { usize::MAX };
        self.release(id);
    }

    /// The client takes so many bytes more.
    pub fn open_window(&mut self, id: ClientId, bytes: usize) {
        let client = &mut self.clients[id.index];
        client.window_bytes = client.window_bytes.saturating_add(bytes);
        self.release(id);
    }

    pub fn cut_receives(&mut self, id: ClientId, bytes_max: usize) {
        self.clients[id.index].receive_bytes_max = bytes_max.clamp(1, RECEIVE_BYTES_MAX);
    }

    pub fn hang_up(&mut self, client: ClientId) {
        self.clients[client.index].hung_up = true;
    }

    /// The client is gone without a word: it takes nothing, and answers nothing.
    pub fn vanish(&mut self, id: ClientId) {
        let client = &mut self.clients[id.index];
        (client.vanished, client.window_bytes) = (true, 0);
    }

    /// What the kernel finds out about a client that is gone.
    pub fn break_off(&mut self, id: ClientId) {
        let client = &self.clients[id.index];
        if let Some(conn) = client.conn.filter(|_| !client.closed) {
            self.news.push_back(News::Broken(conn));
        }
    }

    /// How long the kernel would wait before it asks whether the client is still there.
    pub fn keep_alive_of(&self, client: ClientId) -> Option<Duration> {
        self.clients[client.index].keep_alive
    }

    fn release(&mut self, id: ClientId) {
        let client = &mut self.clients[id.index];
        let Some((bytes, offset)) = client.blocked.take() else { return };
        match (client.take(&bytes, offset), client.conn) {
            (1.., None) => {}
            (taken @ 1.., Some(conn)) => self.news.push_back(News::Sent(conn, bytes, Some(taken))),
            (0, _) => client.blocked = Some((bytes, offset)),
        }
    }

    pub fn is_closed(&self, client: ClientId) -> bool {
        self.clients[client.index].closed
    }

    pub fn conn(&self, client: ClientId) -> Option<ConnId> {
        self.clients[client.index].conn
    }

    pub fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// Sent by the clients, and not received yet.
    pub fn unread_bytes(&self) -> usize {
        self.clients.iter().map(|client| client.to_server.len()).sum()
    }

    /// Whether [`Wires::deliver`] would do anything.
    pub fn has_work(&self) -> bool {
        let mut open = self.open.values().map(|(_, index)| &self.clients[*index]);
        !self.news.is_empty() || open.any(Client::has_input)
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
                News::Broken(conn) => shard.broken(conn, self),
                News::Closed(conn) => {
                    shard.closed(conn);
                    self.open.remove(&conn.slot);
                }
            }
        }
        for (conn, index) in self.open.values().copied().collect::<Vec<_>>() {
            let client = &mut self.clients[index];
            let some = client.to_server.len().min(client.receive_bytes_max);
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
        match client.take(&bytes, offset) {
            0 => client.blocked = Some((bytes, offset)),
            taken => self.news.push_back(News::Sent(conn, bytes, Some(taken))),
        }
        Ok(())
    }

    fn shutdown_write(&mut self, conn: ConnId) {
        // A client that sees the end answers with its own.
        if let Some(client) = self.client(conn) {
            client.hung_up |= !client.vanished;
        }
    }

    fn close(&mut self, conn: ConnId) {
        let Some(client) = self.client(conn).filter(|client| !client.closed) else { return };
        (client.closed, client.receiving) = (true, false);
        if let Some((bytes, _)) = client.blocked.take() {
            self.news.push_back(News::Sent(conn, bytes, None));
        }
        self.news.push_back(News::Closed(conn));
    }

    fn keep_alive(&mut self, conn: ConnId, idle: Duration) {
        if let Some(client) = self.client(conn) {
            client.keep_alive = Some(idle);
        }
    }

    fn peer_address(&mut self, _: &ClientId) -> Option<SocketAddr> {
        None
    }

    fn accept(&mut self, _: u16) {}

    fn stop_accepting(&mut self, _: u16) {}
}
