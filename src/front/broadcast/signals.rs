//! What passes between the sockets, and between them and the peers on the shards.

use std::sync::Arc;

use bytes::Bytes;
use socketioxide::extract::AckSender;
use socketioxide::handler::Value;
use socketioxide::socket::{Sid, Socket};
use socketioxide::{SendError, SocketError};

use super::clients::{Client, Clients, notice};
use super::line::Over;
use super::payload::{Payload, first_argument};
use crate::base::{Entropy, NodeId, PeerKey};
use crate::dialect::broadcast::{self, Problem};
use crate::dialect::{
    Body, Delivery, MessageLabel, MessageRef, Parts, Speaks, Text, TextDialect, Undeliverable, binary,
    undeliverable_event,
};

const SIGNAL: &str = "signal";

/// Where a signal goes.
enum Way {
    /// Everything that can be done here has been done; with the first socket that did not get it.
    Here(Option<(Sid, Undeliverable)>),
    /// To a peer on a shard.
    Away(PeerKey, PeerKey),
}

impl Clients {
    /// One `signal` of a socket. Every one is acknowledged where that was asked for, with no value, as
    /// the deployed server does; what was wrong with it is told before.
    pub(super) fn on_signal(&self, socket: &Arc<Socket>, value: Value, ack: Option<AckSender>) {
        let sid = socket.id;
        if let Err(problem) = self.pass(sid, value) {
            self.tell(sid, &problem);
        }
        let Some(ack) = ack else { return };
        let state = self.state.lock();
        let Some(client) = state.of(sid) else { return };
        // A reply that finds no room is its client's own fault, which is cut for it.
        if self.has_room_for_own(client, ACK_BYTES) && ack.send(&[(); 0]).is_err() {
            client.line.withdraw(1);
        }
    }

    pub(super) fn on_unknown_event(&self) {
        self.count_received(broadcast::UNKNOWN);
    }

    pub(super) fn deliver(&self, to: PeerKey, delivery: &Delivery<'_>) -> Result<(), Undeliverable> {
        let state = self.state.lock();
        let client = state.at(to).ok_or(Undeliverable::NotConnected)?;
        let plan = delivery.plan(Speaks::Broadcast, self.now(), &mut NotRandom)?;
        let mut text = Vec::with_capacity(plan.len());
        delivery.write(&plan, &mut text);
        let text = String::from_utf8(text).map_err(|_| Undeliverable::Unconvertible)?;
        let payload = Payload::new(text, Vec::new()).ok_or(Undeliverable::Unconvertible)?;
        self.emit_signal(client, &payload, delivery.label())
    }

    pub(super) fn bounced(&self, to: PeerKey, reference: &MessageRef, cause: Undeliverable) {
        let MessageRef::Text { label, target } = reference else { return };
        let sid = self.state.lock().at(to).map(|client| client.socket.id);
        self.publish_undeliverable(sid, *label, target, cause);
        if let Some(sid) = sid {
            self.tell(sid, &Problem::Undeliverable { target: target.clone(), cause });
        }
    }

    /// Carries a signal to where it goes.
    fn pass(&self, sid: Sid, value: Value) -> Result<(), Problem> {
        let now = self.now();
        let line = {
            let mut state = self.state.lock();
            let Some(client) = state.of_mut(sid) else { return Ok(()) };
            client.messages += 1;
            client.line.clone()
        };
        if !line.is_in_time(self.settings().message_rate, now) {
            self.count_received(broadcast::UNKNOWN);
            return Err(Problem::TooManyMessages);
        }
        let (signal, payload) = self.read(sid, value)?;
        let label = signal.label;
        let way = match &signal.target {
            None => self.to_group(sid, &payload, label),
            Some(target) => self.to_one(sid, target, &payload, label),
        };
        let (target, cause) = match (way, signal.target) {
            (Way::Here(None), _) => return Ok(()),
            (Way::Here(Some((_, cause))), Some(target)) => (target, cause),
            (Way::Here(Some((to, cause))), None) => (to.as_str().into(), cause),
            (Way::Away(me, to), target) => {
                let target = target.unwrap_or_default();
                let reference = MessageRef::Text { label, target };
                let parts = Parts::One(payload.text().as_bytes());
                let text = Text { dialect: TextDialect::Broadcast, reference: &reference, label, parts };
                (self.parts.send)(to, Delivery { from: me, body: Body::Text(text) }.to_owned());
                return Ok(());
            }
        };
        self.publish_undeliverable(Some(sid), label, &target, cause);
        Err(Problem::Undeliverable { target, cause })
    }

    fn read(&self, sid: Sid, value: Value) -> Result<(broadcast::Signal, Payload), Problem> {
        let read = || {
            let Value::Str(packet, attachments) = value else { return Err(Problem::InvalidFormat) };
            let argument = first_argument(packet.as_str()).ok_or(Problem::InvalidFormat)?;
            let mut signal = broadcast::read(argument, sid.as_str())?;
            let attachments: Vec<Bytes> = attachments.map(Vec::from).unwrap_or_default();
            let text = std::mem::take(&mut signal.text);
            let payload = Payload::new(text, attachments).ok_or(Problem::InvalidFormat)?;
            Ok((signal, payload))
        };
        let read = read();
        self.count_received(read.as_ref().map_or(broadcast::UNKNOWN, |(signal, _)| signal.label));
        read
    }

    fn to_group(&self, sid: Sid, payload: &Payload, label: MessageLabel) -> Way {
        let state = self.state.lock();
        let Some(sender) = state.of(sid) else { return Way::Here(None) };
        let mut failed = None;
        for client in state.members(&sender.group).filter(|client| client.socket.id != sid) {
            let Err(cause) = self.emit_signal(client, payload, label) else { continue };
            match failed {
                None => failed = Some((client.socket.id, cause)),
                // The sender is told of one, the subscribers of all.
                Some(_) => self.publish_undeliverable(Some(sid), label, client.socket.id.as_str(), cause),
            }
        }
        Way::Here(failed)
    }

    fn to_one(&self, sid: Sid, target: &str, payload: &Payload, label: MessageLabel) -> Way {
        let mut state = self.state.lock();
        let failed = |cause| Way::Here(Some((sid, cause)));
        let Some(&(slot, generation)) = state.by_sid.get(&sid) else { return Way::Here(None) };
        let known = target.parse().ok().and_then(|target: Sid| state.of(target));
        if let Some(client) = known {
            // A group's sockets are nobody's business outside of it.
            return match state.of(sid).is_some_and(|sender| sender.group == client.group) {
                false => failed(Undeliverable::NotConnected),
                true => Way::Here(self.emit_signal(client, payload, label).err().map(|cause| (sid, cause))),
            };
        }
        let Some(sender) = state.clients.get_mut(slot, generation) else { return Way::Here(None) };
        match self.parts.directory.resolve(self.settings().realm, target, &mut sender.route) {
            None => failed(Undeliverable::NotConnected),
            Some(key) if key.node.is_front() => failed(Undeliverable::NotConnected),
            // No other dialect has a place for bytes.
            Some(_) if payload.has_attachments() => failed(Undeliverable::Unconvertible),
            Some(_) if self.is_draining() => failed(Undeliverable::Draining),
            Some(key) => Way::Away(PeerKey { node: NodeId::FRONT, slot, generation }, key),
        }
    }

    fn emit_signal(
        &self,
        client: &Client,
        payload: &Payload,
        label: MessageLabel,
    ) -> Result<(), Undeliverable> {
        let frames = payload.frames(SIGNAL);
        match client.line.admit_signal(frames.clone(), self.limits(), self.now()) {
            Ok(()) => {}
            Err(over) => {
                if over == Over::Stuck {
                    self.cut_line(&client.line, Some(client.socket.id));
                }
                return Err(Undeliverable::Full);
            }
        }
        match client.socket.emit(SIGNAL, payload) {
            Ok(()) => {
                self.count_sent(label);
                self.metrics().delivered.add(1);
                Ok(())
            }
            Err(error) => {
                client.line.withdraw(frames.count());
                Err(match error {
                    SendError::Socket(SocketError::InternalChannelFull) => Undeliverable::Full,
                    SendError::Socket(SocketError::Closed) => Undeliverable::NotConnected,
                    SendError::Serialize(_) => Undeliverable::Unconvertible,
                })
            }
        }
    }

    /// Tells a socket what was wrong with a message of its own.
    fn tell(&self, sid: Sid, problem: &Problem) {
        self.metrics().errors[usize::from(problem.error())].add(1);
        let state = self.state.lock();
        if let Some(client) = state.of(sid) {
            self.emit_own(client, "error", &notice(problem.text()), broadcast::ERROR);
        }
    }

    fn publish_undeliverable(
        &self,
        sender: Option<Sid>,
        label: MessageLabel,
        target: &str,
        cause: Undeliverable,
    ) {
        let sender = sender.as_ref().map_or("", Sid::as_str);
        // What can be nobody's id may be anything.
        let target = if binary::is_client_id(target) { target } else { "" };
        (self.parts.publish)(undeliverable_event(sender, label, target, cause, self.now()), None);
    }
}

/// An acknowledgement without a value, `43123[]`, as far as it counts.
const ACK_BYTES: usize = 16;

/// Nothing that this dialect says is random.
struct NotRandom;

impl Entropy for NotRandom {
    fn next_u128(&mut self) -> u128 {
        0
    }
}
