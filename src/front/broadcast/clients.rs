//! The sockets: who is there, in which group, and how they come and go.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};
use std::thread::{self, ThreadId};
use std::time::Duration;

use parking_lot::Mutex;
use socketioxide::socket::{DisconnectReason, Sid, Socket};

use super::Parts;
use super::line::{Limits, Line};
use super::payload::Payload;
use super::service::Service;
use super::sessions::Sessions;
use crate::base::{NodeId, Now, PeerKey, Slab};
use crate::dialect::MessageLabel;
use crate::dialect::broadcast::{self, DIALECT, Settings};
use crate::front::{Client as Address, Clock, Phase};
use crate::hub::{OnDuplicate, Route};
use crate::observe::{Detail, Event, ShardMetrics};

/// Clients of one group above which the operator is warned: the documented use has a streaming node
/// and a ground station.
const EXPECTED_CLIENTS: usize = 2;

/// At most one such warning in this time, however often clients come and go.
const WARNING_EVERY: Duration = Duration::from_secs(60);

/// A session whose socket has left is ended this long after it, if it has not joined again.
const LINGER: Duration = Duration::from_secs(10);

/// The same while the server drains: long enough for a client to fetch the packet that tells it.
const LINGER_DRAINING: Duration = Duration::from_secs(1);

pub(super) struct Clients {
    pub(super) parts: Parts,
    pub(super) state: Mutex<State>,
    /// All of the library's, whether a socket has joined in them or not.
    pub(super) sessions: Arc<Sessions>,
    service: OnceLock<Service>,
    /// On which all of this runs.
    thread: OnceLock<ThreadId>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) clients: Slab<Client>,
    pub(super) by_sid: HashMap<Sid, (u32, u32)>,
    /// By group; none is empty.
    groups: HashMap<Arc<str>, BTreeSet<(u32, u32)>>,
    warned_us: Option<u64>,
}

pub(super) struct Client {
    pub(super) socket: Arc<Socket>,
    pub(super) line: Arc<Line>,
    pub(super) group: Arc<str>,
    address: Option<Address>,
    joined: Now,
    pub(super) messages: u64,
    /// The peer of another dialect that was found last.
    pub(super) route: Option<Box<Route>>,
}

impl Clients {
    pub(super) fn new(parts: Parts) -> Clients {
        Clients {
            sessions: Sessions::new(parts.settings.get().clients_max),
            parts,
            state: Mutex::default(),
            service: OnceLock::new(),
            thread: OnceLock::new(),
        }
    }

    pub(super) fn set_service(&self, service: Service) {
        let is_first = self.service.set(service).is_ok();
        debug_assert!(is_first, "the service is started once");
    }

    pub(super) fn service(&self) -> Option<&Service> {
        self.service.get()
    }

    pub(super) fn settings(&self) -> Arc<Settings> {
        self.parts.settings.get()
    }

    pub(super) fn clock(&self) -> Clock {
        Arc::clone(&self.parts.clock)
    }

    pub(super) fn now(&self) -> Now {
        (self.parts.clock)()
    }

    pub(super) fn is_draining(&self) -> bool {
        *self.parts.phase.borrow() >= Phase::Draining
    }

    pub(super) fn len(&self) -> usize {
        self.state.lock().clients.len()
    }

    /// A session has been opened, for which another one may have to go.
    pub(super) fn make_way(&self) {
        if let Some(eldest) = self.sessions.gives_way() {
            self.end_session(&eldest);
        }
    }

    /// Whether a socket may join.
    ///
    /// # Errors
    /// The words for the client, and for the event.
    pub(super) fn admit(
        &self,
        line: &Line,
        address: Option<Address>,
    ) -> Result<(), (&'static str, &'static str)> {
        if self.is_draining() {
            Err(("Server is shutting down", "draining"))
        } else if !line.is_in_time(self.settings().message_rate, self.now()) {
            Err(("Too many attempts", "rate_limited"))
        } else if self.len() >= self.settings().clients_max {
            Err(("Too many clients", "clients_max"))
        } else if !self.parts.doorkeeper.may_join(address) {
            Err(("Too many clients from this address", "clients_max_per_ip"))
        } else {
            Ok(())
        }
    }

    /// The socket may not join.
    pub(super) fn reject(&self, socket: &Socket, reason: &'static str) {
        self.publish("client_rejected", socket, self.now(), vec![("reason", reason.into())]);
    }

    /// The socket has joined. None when its id belongs to somebody else.
    pub(super) fn join(
        &self,
        socket: &Arc<Socket>,
        line: Arc<Line>,
        group: Arc<str>,
        address: Option<Address>,
    ) -> Option<()> {
        let (now, sid) = (self.now(), socket.id);
        let mut state = self.state.lock();
        let (slot, generation) = state.clients.next_key();
        let key = PeerKey { node: NodeId::FRONT, slot, generation };
        let realm = self.settings().realm;
        self.parts.directory.join(realm, sid.as_str(), key, DIALECT, OnDuplicate::Reject).ok()?;
        self.announce(&state, &group, "peer_joined", sid, broadcast::PEER_JOINED);
        self.sessions.set_joined(&line, true);
        let client = Client {
            socket: socket.clone(),
            line,
            group: group.clone(),
            address,
            joined: now,
            messages: 0,
            route: None,
        };
        state.clients.insert(client);
        state.by_sid.insert(sid, (slot, generation));
        let members = state.groups.entry(group).or_default();
        members.insert((slot, generation));
        let members = members.len();
        let may_warn = state.warned_us.is_none_or(|warned_us| {
            now.mono_us.saturating_sub(warned_us) >= WARNING_EVERY.as_micros() as u64
        });
        if members == EXPECTED_CLIENTS + 1 && may_warn {
            state.warned_us = Some(now.mono_us);
            tracing::warn!("more than {EXPECTED_CLIENTS} broadcast clients share a group");
        }
        drop(state);
        self.parts.doorkeeper.joined(address);
        self.metrics().sessions.add(1);
        self.publish("client_connected", socket, now, Vec::new());
        Some(())
    }

    /// The socket has left, for whatever reason.
    pub(super) fn leave(self: &Arc<Self>, sid: Sid, reason: DisconnectReason) {
        let now = self.now();
        let mut state = self.state.lock();
        let Some((slot, generation)) = state.by_sid.remove(&sid) else { return };
        let Some(client) = state.clients.remove(slot, generation) else { return };
        let key = PeerKey { node: NodeId::FRONT, slot, generation };
        if self.parts.directory.leave(self.settings().realm, sid.as_str(), key) {
            (self.parts.departed)(self.settings().realm);
        }
        if let Some(members) = state.groups.get_mut(&client.group) {
            members.remove(&(slot, generation));
            if members.is_empty() {
                state.groups.remove(&client.group);
            }
        }
        self.announce(&state, &client.group, "peer_left", sid, broadcast::PEER_LEFT);
        drop(state);
        self.sessions.set_joined(&client.line, false);
        self.parts.doorkeeper.left(client.address);

        let milliseconds = now.mono_us.saturating_sub(client.joined.mono_us) / 1000;
        let metrics = self.metrics();
        metrics.sessions.add(-1);
        metrics.sessions_ended.add(1);
        metrics.session_milliseconds.add(milliseconds);
        let reason_word = match reason {
            _ if client.line.was_slow() => "slow_consumer",
            DisconnectReason::ClientNSDisconnect => "disconnect",
            DisconnectReason::ServerNSDisconnect | DisconnectReason::ClosingServer => "shutdown",
            DisconnectReason::HeartbeatTimeout => "heartbeat_timeout",
            DisconnectReason::MultipleHttpPollingError | DisconnectReason::PacketParsingError => {
                "protocol_error"
            }
            DisconnectReason::TransportError => "connection_lost",
            DisconnectReason::TransportClose => "connection_closed",
        };
        let details = vec![
            ("reason", reason_word.into()),
            ("duration_ms", milliseconds.into()),
            ("message_count", client.messages.into()),
        ];
        self.publish("client_disconnected", &client.socket, now, details);
        if matches!(reason, DisconnectReason::ClientNSDisconnect | DisconnectReason::ServerNSDisconnect) {
            self.linger(&client.line);
        }
    }

    pub(super) fn disconnect_all(self: &Arc<Self>) {
        let all: Vec<_> = {
            let state = self.state.lock();
            state.clients.iter().map(|(_, _, c)| (c.socket.clone(), c.line.clone())).collect()
        };
        // Those that are about to join have a moment to be told in words that they may not.
        for line in self.sessions.unjoined() {
            self.linger(&line);
        }
        for (socket, line) in all {
            // It comes back through `leave`, and fails only where the library's queue is full.
            if socket.disconnect().is_err() {
                self.end_session(&line);
            }
        }
    }

    /// The client does not read: its session ends now. Its socket leaves when the library has noticed.
    pub(super) fn cut_line(&self, line: &Line, sid: Option<Sid>) {
        if line.cut() {
            self.metrics().slow_consumers_cut.add(1);
        }
        if let Some(sid) = sid {
            self.close_polling(sid);
        }
    }

    /// Tells everybody in a group, apart from the socket itself, that it has come or gone.
    fn announce(&self, state: &State, group: &str, event: &str, sid: Sid, label: MessageLabel) {
        let payload = notice(broadcast::peer_notice(sid.as_str()));
        for client in state.members(group) {
            self.emit_own(client, event, &payload, label);
        }
    }

    pub(super) fn emit_own(&self, client: &Client, event: &str, payload: &Payload, label: MessageLabel) {
        if !self.has_room_for_own(client, payload.text().len() + event.len()) {
            return;
        }
        match client.socket.emit(event, payload) {
            Ok(()) => self.count_sent(label),
            Err(_) => client.line.withdraw(1),
        }
    }

    /// Makes room for a message of the server's own. Who has none left even for those is cut.
    pub(super) fn has_room_for_own(&self, client: &Client, bytes: usize) -> bool {
        let admitted = client.line.admit_own(bytes, self.limits());
        if admitted.is_err() {
            self.cut_line(&client.line, Some(client.socket.id));
        }
        admitted.is_ok()
    }

    /// Ends a session in good order unless it joins, or joins again.
    fn linger(self: &Arc<Self>, line: &Arc<Line>) {
        let (clients, line) = (Arc::downgrade(self), Arc::downgrade(line));
        let linger = if self.is_draining() { LINGER_DRAINING } else { LINGER };
        tokio::spawn(async move {
            tokio::time::sleep(linger).await;
            let (Some(clients), Some(line)) = (clients.upgrade(), line.upgrade()) else { return };
            if !clients.sessions.has_joined(&line) {
                clients.end_session(&line);
            }
        });
    }

    pub(super) fn end_session(&self, line: &Line) {
        line.end();
        if let Some(sid) = self.sessions.polling_sid(line) {
            self.close_polling(sid);
        }
    }

    pub(super) fn limits(&self) -> Limits {
        let Settings { outbox_bytes_max, outbox_messages_max, .. } = *self.settings();
        Limits { bytes_max: outbox_bytes_max, messages_max: outbox_messages_max }
    }

    pub(super) fn metrics(&self) -> &ShardMetrics {
        let here = thread::current().id();
        debug_assert_eq!(*self.thread.get_or_init(|| here), here, "the metrics have one writer");
        &self.parts.metrics
    }

    pub(super) fn count_received(&self, label: MessageLabel) {
        self.metrics().messages_received[usize::from(label.0)].add(1);
    }

    pub(super) fn count_sent(&self, label: MessageLabel) {
        self.metrics().messages_sent[usize::from(label.0)].add(1);
    }

    fn publish(
        &self,
        event_type: &'static str,
        socket: &Socket,
        now: Now,
        details: Vec<(&'static str, Detail)>,
    ) {
        let mut all = vec![("dialect", "broadcast".into())];
        all.extend(details);
        let client_id = socket.id.as_str().to_owned();
        let event = Event { event_type, client_id, unix_ms: now.unix_ms, details: all };
        // Of the request that has opened the session.
        let from = socket.req_parts().extensions.get().map(|&Address(address)| address);
        (self.parts.publish)(event, from);
    }
}

pub(super) fn notice(text: String) -> Payload {
    Payload::new(text, Vec::new()).expect("the dialect writes JSON")
}

impl State {
    pub(super) fn of(&self, sid: Sid) -> Option<&Client> {
        let (slot, generation) = *self.by_sid.get(&sid)?;
        self.clients.get(slot, generation)
    }

    pub(super) fn of_mut(&mut self, sid: Sid) -> Option<&mut Client> {
        let (slot, generation) = *self.by_sid.get(&sid)?;
        self.clients.get_mut(slot, generation)
    }

    pub(super) fn at(&self, key: PeerKey) -> Option<&Client> {
        self.clients.get(key.slot, key.generation).filter(|_| key.node.is_front())
    }

    pub(super) fn members(&self, group: &str) -> impl Iterator<Item = &Client> {
        let members = self.groups.get(group);
        members.into_iter().flatten().filter_map(|(slot, generation)| self.clients.get(*slot, *generation))
    }
}
