//! What goes wrong: clients, nodes and stores.

use std::time::Duration;

use super::actor::{Actor, Fate, Speech};
use super::history::{Address, Label, Message, Party, Space};
use super::oracle::Verdict;
use super::plan::ROOMS;
use super::speech::{calls, devices, rooms, stations};
use super::world::{World, copy};
use crate::base::NodeId;
use crate::sim::Dice;
use crate::sim::stores::Health;

impl World {
    pub(super) fn cause_a_fault(&mut self) -> Verdict {
        let weather = self.plan.weather;
        match self.dice.below(17) {
            0..2 if weather.pauses => self.pause_a_node(),
            2..4 if weather.stalls => self.stall_somebody(),
            4 if weather.stalls => self.take_a_little(),
            5..7 if weather.losses => self.lose_somebody(),
            7..9 if weather.takeovers => self.come_back(),
            9..12 if weather.bad_input => self.send_something_bad(),
            12..14 if weather.stores => self.change_stores(),
            14 if weather.losses => self.delete_something(),
            15 => self.jump_the_clock(),
            16 if weather.stores => self.reload(),
            _ => Ok(()),
        }
    }

    fn pause_a_node(&mut self) -> Verdict {
        let node = self.dice.below(self.plan.shards + 1);
        let pauses = !self.paused[node];
        if pauses {
            self.coverage.hit(if node == self.plan.shards { "front pauses" } else { "shard pauses" });
        }
        self.pause(node, pauses);
        Ok(())
    }

    fn stall_somebody(&mut self) -> Verdict {
        if self.dice.percent(25) {
            let Some(index) = self.pick_station() else { return Ok(()) };
            let station = &mut self.stations[index];
            station.is_stalled = !station.is_stalled;
            let (key, is_stalled) = (station.key, station.is_stalled);
            self.front.stall(key, is_stalled);
            self.coverage.hit("station stalls");
            return Ok(());
        }
        let stalled = self.actors.iter().position(|actor| actor.is_stalled && actor.fate == Fate::Open);
        if let Some(index) = stalled.filter(|_| self.dice.percent(50)) {
            self.actors[index].is_stalled = false;
            self.sim.stall(self.actors[index].client, false);
            return Ok(());
        }
        let Some(index) = self.pick_actor(|_| true) else { return Ok(()) };
        self.coverage.hit("client stalls");
        let actor = &mut self.actors[index];
        (actor.is_stalled, actor.was_stalled) = (true, true);
        self.sim.stall(actor.client, true);
        self.tell(|_| format!("{index} stalls"));
        self.uncertain(Party::Actor(index));
        Ok(())
    }

    /// A stalled client takes some bytes of what waits for it.
    fn take_a_little(&mut self) -> Verdict {
        let stalled: Vec<usize> = (0..self.actors.len())
            .filter(|index| self.actors[*index].is_stalled && self.actors[*index].fate == Fate::Open)
            .collect();
        if stalled.is_empty() {
            return Ok(());
        }
        self.coverage.hit("client takes a few bytes");
        let (index, bytes) = (*self.dice.pick(&stalled), self.dice.between(1, 2_000));
        let client = self.actors[index].client;
        self.sim.nodes[client.shard].wires.open_window(client, bytes);
        Ok(())
    }

    fn lose_somebody(&mut self) -> Verdict {
        if self.dice.percent(15) {
            let Some(index) = self.pick_station() else { return Ok(()) };
            self.coverage.hit("station leaves");
            self.leave_station(index);
            return Ok(());
        }
        let Some(index) = self.pick_actor(|_| true) else { return Ok(()) };
        let client = self.actors[index].client;
        let now_us = self.now_us();
        let wires = &mut self.sim.nodes[client.shard].wires;
        match self.dice.below(6) {
            0..2 => {
                self.coverage.hit("client vanishes");
                wires.vanish(client);
            }
            2 => {
                self.coverage.hit("client resets");
                wires.vanish(client);
                wires.break_off(client);
            }
            3 => {
                self.coverage.hit("client sends no pongs");
                self.actors[index].is_mute = true;
                return Ok(());
            }
            _ => {
                self.leave(index);
                return Ok(());
            }
        }
        self.actors[index].fate = Fate::Vanished(now_us);
        self.tell(|_| format!("{index} is gone without a word"));
        self.uncertain(Party::Actor(index));
        Ok(())
    }

    pub(super) fn leave_station(&mut self, index: usize) {
        let key = self.stations[index].key;
        // What it has heard until now counts.
        self.stations[index].is_open = false;
        self.uncertain(Party::Station(index));
        self.front.leave(key);
    }

    /// Somebody comes, under an id that somebody has had.
    fn come_back(&mut self) -> Verdict {
        let had: Vec<(Speech, String)> = self
            .actors
            .iter()
            .filter(|actor| actor.speech != Speech::Calls)
            .filter_map(|actor| Some((actor.speech, actor.claims.last()?.address.id.clone())))
            .collect();
        if had.is_empty() {
            return Ok(());
        }
        self.coverage.hit("back under the same id");
        let (speech, id) = self.dice.pick(&had).clone();
        self.arrive_as(speech, Some(id));
        Ok(())
    }

    fn send_something_bad(&mut self) -> Verdict {
        match self.dice.below(10) {
            0 => self.make_noise(),
            1 => self.break_websocket(),
            2 => self.bad_request(),
            3 => {
                let Some(index) = self.pick_station().filter(|_| !self.front.paused) else { return Ok(()) };
                let text = *self.dice.pick(&stations::BAD_TEXTS);
                self.front.signal(self.sim.now, self.stations[index].key, text);
                self.coverage.hit("bad text");
                Ok(())
            }
            _ => self.bad_message(),
        }
    }

    /// Something that is answered by an error, and disturbs nothing.
    fn bad_message(&mut self) -> Verdict {
        let is_answered = |actor: &Actor| !matches!(actor.speech, Speech::Calls | Speech::Noise);
        let Some(index) = self.pick_actor(is_answered) else { return Ok(()) };
        let actor = &self.actors[index];
        // A register that is refused looks like any other.
        let is_settled = actor.claims.iter().all(|claim| claim.acked_at.is_some());
        if !is_settled || actor.held().is_none() {
            return Ok(());
        }
        match actor.speech {
            Speech::Binary { on_websocket, form } => {
                let bad = self.dice.below(if on_websocket { 6 } else { 4 });
                self.bad_frame(index, form, bad);
            }
            Speech::Rooms if self.dice.percent(30) => self.forge_in_room(index),
            Speech::Rooms => {
                self.coverage.hit("bad text");
                let text = *self.dice.pick(&rooms::BAD_TEXTS);
                self.actors[index].bad_sent += 1;
                self.write(index, text.as_bytes());
            }
            _ => {
                self.coverage.hit("bad text");
                let text = *self.dice.pick(&devices::BAD_TEXTS);
                self.actors[index].bad_sent += 1;
                self.write(index, text.as_bytes());
            }
        }
        Ok(())
    }

    /// A message to somebody who may be there, in the name of somebody else.
    fn forge_in_room(&mut self, index: usize) {
        self.coverage.hit("sender forged");
        let serial = self.history.next_serial();
        let Some(own) = self.actors[index].held().map(|claim| claim.address.clone()) else { return };
        let to = format!("id{}", self.dice.below(self.plan.ids));
        let (word, text) = rooms::message(None, serial, "somebody-else", &to, 10);
        let label = Label { dialect: "rooms", kind: word, target: to.clone() };
        self.history.record(Message {
            from: Party::Actor(index),
            senders: vec![own.id],
            to: vec![Address { space: own.space, id: to }],
            is_exact: false,
            is_loose: true,
            is_long: false,
            told_as: None,
            copies: vec![(label, None)],
            delivered: Vec::new(),
            told: 0,
            refused: 0,
            published: 0,
        });
        self.actors[index].bad_sent += 1;
        self.write(index, text.as_bytes());
    }

    fn bad_frame(&mut self, index: usize, form: super::speech::binary::Form, bad: usize) {
        use super::speech::binary::{CONNECT, Class, frame, heartbeat, uuid};
        let name = uuid(Class::Bad, 0);
        self.coverage.hit("bad frame");
        self.actors[index].bad_sent += 1;
        let next_serial = self.history.next_serial();
        let message = match bad {
            0 => frame(0x77, &name, form.payload_type, b""),
            1 => frame(0x10, &name, form.payload_type, b"\0"),
            2 => frame(0x02, &name, form.payload_type, b""),
            3 => frame(CONNECT, &name, 2, br#"{"client_id":"other","auth_token":"t"}"#),
            // Behind a frame that is carried out, one that is cut off, or bytes that are none.
            4 => {
                self.actors[index].ask("heartbeat", next_serial);
                [heartbeat(form, 1), frame(0x04, &name, 3, b"abc")[..22].to_vec()].concat()
            }
            _ => {
                self.actors[index].ask("heartbeat", next_serial);
                [&heartbeat(form, 1)[..], b"none"].concat()
            }
        };
        self.write(index, &message);
    }

    /// What no WebSocket, or no stream of frames, survives.
    fn break_websocket(&mut self) -> Verdict {
        let Some(index) = self.pick_actor(|actor| actor.speech != Speech::Noise) else { return Ok(()) };
        let client = self.actors[index].client;
        if self.actors[index].is_on_websocket() {
            self.coverage.hit("bad WebSocket");
            let mut bad = Vec::new();
            match self.dice.below(4) {
                0 => bad.extend_from_slice(&[0x81, 0x05, b'a', b'b', b'c', b'd', b'e']),
                1 => self.actors[index].control(0x81, b"\xff\xfe", &mut bad),
                2 => self.actors[index].control(0x80, b"no first fragment", &mut bad),
                _ => {
                    let long = vec![b' '; self.plan.message_bytes_max + 1];
                    self.actors[index].control(0x82, &long, &mut bad);
                }
            }
            self.sim.write(client, &bad);
        } else {
            self.coverage.hit("framing lost");
            self.sim.write(client, b"this is no frame");
        }
        self.actors[index].fate = Fate::Leaving(self.now_us());
        self.uncertain(Party::Actor(index));
        Ok(())
    }

    /// Connections that never become anything.
    fn make_noise(&mut self) -> Verdict {
        let shard = self.dice.below(self.plan.shards);
        let index = self.connect(shard, Speech::Noise);
        let client = self.actors[index].client;
        let bytes: &[u8] = match self.dice.below(7) {
            0 => b"",
            1 => b"GET / HTTP/1.1\r\nHost: x\r\n",
            2 => b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n",
            3 => b"\x16\x03\x01\x02\x00\x01\x00",
            4 => b"\xaa\x01",
            5 => b"NONSENSE\r\n\r\n",
            _ => {
                b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                  Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            }
        };
        self.coverage.hit("no first message");
        self.sim.write(client, bytes);
        Ok(())
    }

    fn bad_request(&mut self) -> Verdict {
        if self.dice.percent(50) {
            self.coverage.hit("bad request");
            let body = *self.dice.pick(&calls::BAD_BODIES);
            let refused = self.front.post_signal(0, body);
            debug_assert_eq!(refused, Err(400));
            return Ok(());
        }
        // A handshake that is none ends its connection.
        self.coverage.hit("signal without a seat");
        let shard = self.dice.below(self.plan.shards);
        let index = self.connect(shard, Speech::Calls);
        let (client, upgrade) = (self.actors[index].client, self.actors[index].upgrade());
        self.sim.write(client, upgrade);
        let join = match self.dice.below(4) {
            3 => calls::join("call0", "nobody's"),
            bad => calls::BAD_JOINS[bad].to_owned(),
        };
        self.write(index, join.as_bytes());
        self.actors[index].fate = Fate::Leaving(self.now_us());
        Ok(())
    }

    fn change_stores(&mut self) -> Verdict {
        let health = *self.dice.pick(&[Health::Good, Health::Late, Health::Failing]);
        match self.dice.below(4) {
            0 => {
                self.seats_health.set(health);
                match health {
                    Health::Good => {}
                    Health::Late => self.coverage.hit("seats late"),
                    Health::Failing => self.coverage.hit("seats fail"),
                }
            }
            1 => {
                self.keys_health = health;
                match health {
                    Health::Good => {}
                    Health::Late => self.coverage.hit("keys late"),
                    Health::Failing => self.coverage.hit("keys fail"),
                }
            }
            2 => {
                let room = self.dice.below(ROOMS);
                if let Some(reservation) = self.reserve(room) {
                    self.coverage.hit("room store late");
                    self.reservations.push((room, reservation));
                }
            }
            _ => self.answer_room_store(),
        }
        Ok(())
    }

    /// The store has the record, or cannot take it.
    pub(super) fn answer_room_store(&mut self) {
        if self.reservations.is_empty() {
            return;
        }
        let (_, reservation) = self.reservations.remove(0);
        if self.dice.percent(40) {
            self.coverage.hit("room store fails");
            drop(reservation);
        } else {
            reservation.open();
        }
    }

    fn delete_something(&mut self) -> Verdict {
        if self.front.paused {
            return Ok(());
        }
        let room = self.dice.below(ROOMS);
        let room_id = rooms::room_id(room);
        let removed = match self.dice.below(3) {
            0 => {
                self.coverage.hit("room deleted");
                self.rooms.remove_room(&room_id).unwrap_or_default()
            }
            1 => {
                let expired = self.rooms.take_expired(self.sim.now.unix_seconds(), 10);
                self.coverage.add("room expired", expired.len() as u64);
                return Ok(());
            }
            _ => {
                self.coverage.hit("peer deleted");
                let id = format!("id{}", self.dice.below(self.plan.ids));
                self.rooms.remove_peer(&room_id, &id).into_iter().collect()
            }
        };
        for peer in removed {
            if let Some(index) = (0..self.actors.len()).find(|index| self.key_of(*index) == Some(peer)) {
                self.actors[index].is_hasty = true;
            }
            self.front.dismiss(self.sim.now, peer);
        }
        self.front.ring();
        // Who was in it is about to hear of that.
        self.certain.retain(|address, _| address.space != Space::Room(room));
        Ok(())
    }

    /// The machine's clock is set; the steady one is not.
    fn jump_the_clock(&mut self) -> Verdict {
        self.coverage.hit("clock jumps");
        let by_ms = self.dice.below(20_000) as u64;
        let unix_ms = &mut self.sim.now.unix_ms;
        *unix_ms = if self.dice.percent(50) { *unix_ms + by_ms } else { unix_ms.saturating_sub(by_ms) };
        Ok(())
    }

    /// New settings while everybody is connected: deadlines that come nearer.
    fn reload(&mut self) -> Verdict {
        self.coverage.hit("reload");
        let mut settings = copy(&self.settings);
        let sooner = |dice: &mut Dice, time: Duration| {
            Duration::from_secs(dice.between(1, time.as_secs() as usize) as u64)
        };
        let limits = &mut settings.limits;
        limits.heartbeat_interval = sooner(&mut self.dice, self.plan.heartbeat);
        limits.first_message = sooner(&mut self.dice, self.plan.first_message);
        limits.close = sooner(&mut self.dice, self.plan.close);
        self.sim.reload(settings, self.plan.limits.clone());
        Ok(())
    }

    /// Nothing goes wrong any more.
    pub(super) fn heal(&mut self) {
        for node in 0..=self.plan.shards {
            self.pause(node, false);
        }
        self.seats_health.set(Health::Good);
        self.keys_health = Health::Good;
        while !self.reservations.is_empty() {
            self.answer_room_store();
        }
        for index in 0..self.actors.len() {
            let actor = &mut self.actors[index];
            if actor.is_stalled && !matches!(actor.fate, Fate::Vanished(_)) {
                actor.is_stalled = false;
                self.sim.stall(actor.client, false);
            }
        }
        for station in &mut self.stations {
            station.is_stalled = false;
            self.front.stall(station.key, false);
        }
    }

    /// Some time goes by between two steps.
    pub(super) fn idle(&mut self) -> Verdict {
        let time = match self.dice.below(20) {
            0 => Duration::from_millis(self.dice.between(500, 4_000) as u64),
            1..6 => Duration::from_millis(self.dice.between(20, 300) as u64),
            _ => Duration::from_micros(self.dice.below(5_000) as u64),
        };
        self.pass(time)?;
        let full = |node| self.sim.mesh.depth(node) >= self.plan.inbox_messages_max;
        let is_full = (0..self.plan.shards).any(|shard| full(NodeId::shard(shard)));
        if is_full {
            self.coverage.hit("inbox full");
        }
        Ok(())
    }
}
