//! The whole world, driven by bytes: who comes, signals, stalls, goes and comes back under the same
//! id, and which shard pauses meanwhile.
//!
//! ```text
//!  bytes ─► operations ─► clients of `binary` and `devices` in one realm ─► two shards
//!                                └─► what each has sent, heard and been told: the ledger
//! ```

mod client;

use std::time::Duration;

use self::client::{Client, Heard, Speaks};
use crate::dialect::Dialect;
use crate::sim::{self, Sim, Size};

const SHARDS: usize = 2;
const INBOX_MESSAGES_MAX: usize = 4;

const OPERATIONS_MAX: usize = 256;
const CLIENTS_MAX: usize = 12;
/// Ids that the clients share.
const IDS: usize = 4;

/// Less than after what a silent WebSocket is pinged, so that nobody has to answer.
const TIME_MAX: Duration = Duration::from_secs(15);
/// After this, when nothing goes wrong any more, everything is delivered or told.
const REST: Duration = Duration::from_secs(12);

/// Each operation has two bytes, what and who. Everything is put right at the end.
pub fn world(data: &[u8]) {
    let mut world = World::new();
    for operation in data.as_chunks::<2>().0.iter().take(OPERATIONS_MAX) {
        world.carry_out(*operation);
        world.listen();
    }
    world.put_right();
    world.check_ledger();
}

struct World {
    sim: Sim,
    clients: Vec<Client>,
    sent: Vec<Sent>,
    passed: Duration,
}

/// A signal, by its number.
struct Sent {
    from: usize,
    to: String,
    /// Which client has heard it.
    heard_by: Option<usize>,
}

impl World {
    fn new() -> World {
        let size = Size { shards: SHARDS, inbox_messages_max: INBOX_MESSAGES_MAX, events_max: 256, seed: 1 };
        let settings = sim::serving(vec![Dialect::Binary, Dialect::Devices]);
        let sim = Sim::new(&size, settings, &sim::limits());
        World { sim, clients: Vec::new(), sent: Vec::new(), passed: Duration::ZERO }
    }

    fn carry_out(&mut self, [what, who]: [u8; 2]) {
        let who = usize::from(who);
        let count = self.clients.len();
        match what % 16 {
            0..2 if count < CLIENTS_MAX => self.come(Speaks::Binary, who),
            2..4 if count < CLIENTS_MAX => self.come(Speaks::Devices, who),
            4..9 if count > 0 => self.signal(who % count, who / count % IDS, 1),
            9 if count > 0 => self.signal(who % count, who / count % IDS, 40),
            10 if count > 0 => {
                let client = &mut self.clients[who % count];
                client.is_stalled = !client.is_stalled;
                self.sim.stall(client.connection, client.is_stalled);
            }
            11 if count > 0 => {
                let client = &mut self.clients[who % count];
                client.is_gone = true;
                self.sim.hang_up(client.connection);
            }
            12 => self.sim.pause(who % SHARDS, (who / SHARDS).is_multiple_of(2)),
            13 => self.pass(Duration::from_millis(50 * (1 + who as u64 % 20))),
            _ => self.sim.settle(),
        }
        for shard in 0..SHARDS {
            assert!(self.sim.inbox_depth(shard) <= INBOX_MESSAGES_MAX, "an inbox is over its limit");
        }
    }

    fn come(&mut self, speaks: Speaks, who: usize) {
        let id = format!("{}{}", speaks.prefix(), who % (IDS / 2));
        let connection = self.sim.connect(who / IDS % SHARDS);
        self.sim.write(connection, &speaks.hello(&id));
        self.clients.push(Client::new(connection, speaks, id));
    }

    /// To one of the ids, whether anybody has it or not.
    fn signal(&mut self, from: usize, to: usize, times: usize) {
        let prefixes = [Speaks::Binary.prefix(), Speaks::Devices.prefix()];
        let to = format!("{}{}", prefixes[to / 2], to % 2);
        let client = &self.clients[from];
        if client.is_gone {
            return;
        }
        for _ in 0..times {
            let bytes = client.speaks.offer(self.sent.len(), &to);
            self.sim.write(client.connection, &bytes);
            self.sent.push(Sent { from, to: to.clone(), heard_by: None });
        }
    }

    fn pass(&mut self, time: Duration) {
        if self.passed + time <= TIME_MAX {
            self.passed += time;
            self.sim.pass(time);
        }
    }

    /// Everybody takes what has come, and enters it in the ledger.
    fn listen(&mut self) {
        for index in 0..self.clients.len() {
            let client = &mut self.clients[index];
            let bytes = self.sim.read(client.connection);
            for heard in client.hear(&bytes) {
                match heard {
                    Heard::Signal { number, sender } => {
                        let sent = &mut self.sent[number];
                        assert_eq!(sent.heard_by.replace(index), None, "{number} is delivered twice");
                        assert_eq!(sent.to, self.clients[index].id, "{number} reaches another");
                        assert_eq!(sender, self.clients[sent.from].id, "{number} has a forged sender");
                    }
                    Heard::Error(number) => self.clients[index].errors.push(number),
                    Heard::Welcome => self.clients[index].is_welcome = true,
                }
            }
        }
    }

    fn put_right(&mut self) {
        (0..SHARDS).for_each(|shard| self.sim.pause(shard, false));
        for client in &mut self.clients {
            client.is_stalled = false;
            self.sim.stall(client.connection, false);
        }
        self.sim.settle();
        self.listen();
        self.sim.pass(REST);
        self.listen();
        for shard in 0..SHARDS {
            assert_eq!(self.sim.metrics(shard).panics.get(), 0, "a session panicked");
            assert_eq!(self.sim.inbox_depth(shard), 0, "an inbox is not emptied");
        }
    }

    fn check_ledger(&mut self) {
        for (index, client) in self.clients.iter().enumerate() {
            for from in 0..self.clients.len() {
                let theirs = client.signals.iter().filter(|number| self.sent[**number].from == from);
                assert!(theirs.is_sorted(), "client {index} has heard {from} out of order");
            }
            if client.is_gone || client.is_closed || self.sim.is_closed(client.connection) {
                continue;
            }
            assert!(client.is_welcome, "client {index} is not answered");
            let mine = |(number, sent): (usize, &Sent)| {
                (sent.from == index && sent.heard_by.is_none()).then_some(number)
            };
            let lost: Vec<usize> = self.sent.iter().enumerate().filter_map(mine).collect();
            assert_eq!(client.errors.len(), lost.len(), "client {index} is told of {lost:?}, once each");
            if client.speaks == Speaks::Binary {
                let mut told: Vec<usize> = client.errors.iter().filter_map(|number| *number).collect();
                told.sort_unstable();
                assert_eq!(told, lost);
            }
        }
    }
}
