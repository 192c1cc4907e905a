//! What a seed makes of a world: its sizes, its limits, and which faults there are.

use std::time::Duration;

use crate::base::RealmId;
use crate::dialect::Dialect;
use crate::hub::OnDuplicate;
use crate::mesh;
use crate::shard::Limits;
use crate::sim::Dice;

/// Kinds of faults that a seed switches on or off, so that each also meets a world without the
/// others.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub pauses: bool,
    pub stalls: bool,
    pub losses: bool,
    pub takeovers: bool,
    pub bad_input: bool,
    pub stores: bool,
    pub cuts: bool,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub shards: usize,
    pub inbox_messages_max: usize,
    pub limits: Limits,
    pub message_bytes_max: usize,
    pub heartbeat: Duration,
    pub first_message: Duration,
    pub close: Duration,
    pub serves: Vec<Dialect>,
    /// Of `binary`, `devices` and `broadcast`.
    pub realms: [RealmId; 3],
    pub on_duplicate: OnDuplicate,
    pub report_undeliverable: [bool; 2],
    /// Of `binary`, and of `rooms` and `devices`.
    pub message_rate: u32,
    pub text_rate: u32,
    pub max_clients: usize,
    pub seat_count: usize,
    pub seat_timeout: Duration,
    pub ws_ping_interval: Duration,
    pub ws_read_timeout: Duration,
    pub key_wait: Duration,
    pub room_seconds: u64,
    pub peers_per_room_max: usize,
    pub station_messages_max: usize,
    pub steps: usize,
    pub ids: usize,
    pub weather: Weather,
    pub drains: bool,
}

pub const IDS_MAX: usize = 8;
pub const ROOMS: usize = 3;
pub const CALLS: usize = 3;
pub const GROUPS: usize = 2;

impl Plan {
    pub fn roll(dice: &mut Dice) -> Plan {
        let seconds = |dice: &mut Dice, least, most| Duration::from_secs(dice.between(least, most) as u64);
        let outbox_hard_bytes = *dice.pick(&[3_000, 6_000, 12_000, 24_000]);
        let ws_ping_interval = seconds(dice, 1, 3);
        let all = vec![Dialect::Binary, Dialect::Rooms, Dialect::Devices, Dialect::Calls, Dialect::Broadcast];
        let own_realms = [RealmId(0), RealmId(1), RealmId(2)];
        let realms = *dice.pick(&[[RealmId(0); 3], [RealmId(0); 3], own_realms]);
        Plan {
            shards: dice.between(1, 4),
            inbox_messages_max: *dice.pick(&[1, 2, 4, 8, 32, 256]),
            limits: Limits {
                connections_max: *dice.pick(&[6, 30, 60]),
                outbox_soft_bytes: outbox_hard_bytes / 2,
                outbox_hard_bytes,
                outbox_reserve_bytes: 4_000,
                slow_consumer: seconds(dice, 1, 4),
                drain: seconds(dice, 2, 5),
                list_update_bytes_per_second: *dice.pick(&[2_000, 8 << 20]),
                mesh: mesh::Limits {
                    overflow_messages_max: *dice.pick(&[1, 3, 10, 40]),
                    overflow_bytes_max: *dice.pick(&[5_000, 1 << 20]),
                    hold_us: *dice.pick(&[50_000, 200_000]),
                },
            },
            message_bytes_max: *dice.pick(&[8_000, 70_000]),
            heartbeat: seconds(dice, 2, 6),
            first_message: seconds(dice, 2, 6),
            close: seconds(dice, 1, 4),
            serves: all,
            realms,
            on_duplicate: *dice.pick(&[OnDuplicate::Replace, OnDuplicate::Replace, OnDuplicate::Reject]),
            report_undeliverable: [dice.percent(70), dice.percent(50)],
            message_rate: *dice.pick(&[0, 0, 0, 20]),
            text_rate: *dice.pick(&[0, 0, 0, 20]),
            max_clients: *dice.pick(&[0, 0, 3]),
            seat_count: dice.between(2, 3),
            seat_timeout: seconds(dice, 4, 12),
            ws_ping_interval,
            ws_read_timeout: ws_ping_interval * 2 + Duration::from_secs(1),
            key_wait: seconds(dice, 1, 3),
            room_seconds: *dice.pick(&[8, 7_200]),
            peers_per_room_max: *dice.pick(&[3, 10]),
            station_messages_max: *dice.pick(&[3, 20]),
            steps: dice.between(60, 220),
            ids: dice.between(3, IDS_MAX),
            weather: Weather {
                pauses: dice.percent(60),
                stalls: dice.percent(60),
                losses: dice.percent(60),
                takeovers: dice.percent(60),
                bad_input: dice.percent(50),
                stores: dice.percent(50),
                cuts: dice.percent(40),
            },
            drains: dice.percent(15),
        }
    }

    /// After this, when nothing goes wrong any more, whoever is gone has been noticed and whatever
    /// waits has been given up.
    pub fn horizon(&self) -> Duration {
        let waits = [
            self.heartbeat * 3,
            self.heartbeat + KEEP_ALIVE_PROBES,
            self.first_message,
            self.ws_read_timeout,
            self.key_wait,
            self.limits.slow_consumer,
        ];
        waits.into_iter().max().unwrap_or_default() + self.close * 2 + Duration::from_secs(2)
    }
}

/// How long the kernel asks a silent TCP connection before it gives it up.
pub const KEEP_ALIVE_PROBES: Duration = Duration::from_secs(10);
