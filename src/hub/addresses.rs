//! What the clients of one address use of the server, and what they have tried lately.
//!
//! ```text
//! 203.0.113.7 ──► connections open: 3, Socket.IO clients: 0
//!                 connects, sign-ins, rooms, seats: a bucket each
//!                 failed logins: 12, forgotten at 51 s
//! ```
//!
//! An address is an IPv4 address, or a /64 of IPv6: that is what one household or one machine is
//! given, and whoever has one has all 2^64 addresses in it.
//!
//! The table is asked when somebody connects, leaves, logs in or opens something, and never for a
//! message. It holds who has a connection, which other limits bound, and beside them at most
//! `addresses_max` others, of which the one that has been gone for longest is forgotten first.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ahash::RandomState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry as Place;
use parking_lot::{Mutex, RwLock};

use crate::base::{Networks, Now, Rate};

/// How long failed logins are remembered.
pub const FAILED_LOGINS_WINDOW: Duration = Duration::from_secs(60);

const STRIPES: usize = 16;

/// Addresses that one call looks at to forget them.
const SWEPT_MAX: usize = 4;

/// A table that has become much too large for what is in it gives memory back; a small one need not.
const CAPACITY_KEPT: usize = 256;

/// Shared by the shards and the front.
pub struct Addresses {
    stripes: Box<[Mutex<Stripe>]>,
    limits: RwLock<AddressLimits>,
    hasher: RandomState,
    forgotten: AtomicU64,
}

#[derive(Clone, Debug, Default)]
pub struct AddressLimits {
    /// Addresses without a connection that are remembered for what they have done.
    pub addresses_max: usize,
    /// Many clients share the address of a proxy: it is under no limit, and what it says of its
    /// clients is believed.
    pub proxies: Networks,
    /// Connections at a time.
    pub connections: Limit,
    /// New connections a second.
    pub connects: Limit,
    /// In each [`FAILED_LOGINS_WINDOW`].
    pub failed_logins: Limit,
    /// Of Socket.IO, at a time.
    pub stations: Limit,
    /// Anonymous sign-ins a second.
    pub sign_ins: Limit,
    /// Rooms created a second.
    pub rooms: Limit,
    /// Seats taken a second.
    pub seats: Limit,
}

/// The default is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// 0: any number.
    pub most: u32,
    /// Whoever connects from the same machine is under no limit: it is its operator, or a proxy that
    /// nobody has been told of.
    pub spares_loopback: bool,
}

/// What an address may do so many times a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    SignIn,
    CreateRoom,
    TakeSeat,
}

/// Why a connection is one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crowded {
    TooMany,
    TooFast,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    V4([u8; 4]),
    /// The first half of the address.
    V6(u64),
}

struct Stripe {
    entries: HashMap<Key, Entry, RandomState>,
    /// Those that had nothing open when they came in here, longest ago first. Each entry stands here
    /// once at most; some have come back meanwhile.
    gone: VecDeque<Key>,
}

#[derive(Default)]
struct Entry {
    connections: u32,
    stations: u32,
    connects: Rate,
    actions: [Rate; 3],
    failed_logins: u32,
    is_in_gone: bool,
    /// When the failed logins are forgotten.
    failures_until_us: u64,
}

impl Addresses {
    /// `seed` is random in production, since an attacker chooses addresses.
    pub fn new(limits: AddressLimits, seed: u64) -> Addresses {
        let hasher = RandomState::with_seeds(seed, !seed, seed.rotate_left(32), 3);
        let stripe = || Stripe { entries: HashMap::with_hasher(hasher.clone()), gone: VecDeque::new() };
        Addresses {
            stripes: (0..STRIPES).map(|_| Mutex::new(stripe())).collect(),
            limits: RwLock::new(limits),
            hasher,
            forgotten: AtomicU64::new(0),
        }
    }

    /// Whoever is over a new limit already stays.
    pub fn set_limits(&self, limits: AddressLimits) {
        *self.limits.write() = limits;
    }

    pub fn is_proxy(&self, ip: IpAddr) -> bool {
        self.limits.read().proxies.contains(ip)
    }

    /// A connection that is admitted counts until [`Addresses::disconnect`].
    pub fn connect(&self, ip: IpAddr, now: Now) -> Result<(), Crowded> {
        let [open, a_second] = self.bounds(ip, |limits| [limits.connections, limits.connects]);
        self.with(ip, now, |entry| {
            if open > 0 && entry.connections >= open {
                return Err(Crowded::TooMany);
            }
            if !entry.connects.admit(a_second, now) {
                return Err(Crowded::TooFast);
            }
            entry.connections += 1;
            Ok(())
        })
    }

    pub fn disconnect(&self, ip: IpAddr, now: Now) {
        self.with(ip, now, |entry| entry.connections = entry.connections.saturating_sub(1));
    }

    /// Whether there is room for a client of Socket.IO.
    pub fn may_join_station(&self, ip: IpAddr, now: Now) -> bool {
        let [most] = self.bounds(ip, |limits| [limits.stations]);
        most == 0 || self.with(ip, now, |entry| entry.stations < most)
    }

    /// It counts until [`Addresses::leave_station`].
    pub fn join_station(&self, ip: IpAddr, now: Now) {
        self.with(ip, now, |entry| entry.stations += 1);
    }

    pub fn leave_station(&self, ip: IpAddr, now: Now) {
        self.with(ip, now, |entry| entry.stations = entry.stations.saturating_sub(1));
    }

    /// Counts an action; false when it comes too soon.
    pub fn admit(&self, ip: IpAddr, action: Action, now: Now) -> bool {
        let [a_second] = self.bounds(ip, |limits| match action {
            Action::SignIn => [limits.sign_ins],
            Action::CreateRoom => [limits.rooms],
            Action::TakeSeat => [limits.seats],
        });
        a_second == 0 || self.with(ip, now, |entry| entry.actions[action as usize].admit(a_second, now))
    }

    /// Whether credentials from there are looked at. To be asked before they are: whoever is told which
    /// guess was right needs no further one.
    pub fn may_log_in(&self, ip: IpAddr, now: Now) -> bool {
        let [most] = self.bounds(ip, |limits| [limits.failed_logins]);
        if most == 0 {
            return true;
        }
        let key = Key::of(ip);
        let stripe = self.stripe(&key).lock();
        stripe.entries.get(&key).is_none_or(|entry| entry.failed_logins(now) < most)
    }

    /// Credentials were wrong. True for the one that closes the door until the window is over.
    pub fn login_failed(&self, ip: IpAddr, now: Now) -> bool {
        let [most] = self.bounds(ip, |limits| [limits.failed_logins]);
        if most == 0 {
            return false;
        }
        self.with(ip, now, |entry| {
            if entry.failed_logins(now) == 0 {
                entry.failed_logins = 0;
                entry.failures_until_us = now.plus(FAILED_LOGINS_WINDOW);
            }
            entry.failed_logins += 1;
            entry.failed_logins == most
        })
    }

    /// Addresses in the table.
    pub fn len(&self) -> usize {
        self.stripes.iter().map(|stripe| stripe.lock().entries.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Addresses that were forgotten before their time, because the table was full.
    pub fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Relaxed)
    }

    /// The limits that hold for this address; 0 for those that do not.
    fn bounds<const N: usize>(&self, ip: IpAddr, which: impl Fn(&AddressLimits) -> [Limit; N]) -> [u32; N] {
        let limits = self.limits.read();
        let is_loopback = ip.to_canonical().is_loopback();
        let wanted = which(&limits).map(|limit| match limit.spares_loopback && is_loopback {
            true => 0,
            false => limit.most,
        });
        if wanted.iter().any(|&most| most > 0) && limits.proxies.contains(ip) { [0; N] } else { wanted }
    }

    fn stripe(&self, key: &Key) -> &Mutex<Stripe> {
        &self.stripes[self.hasher.hash_one(key) as usize % STRIPES]
    }

    fn with<T>(&self, ip: IpAddr, now: Now, change: impl FnOnce(&mut Entry) -> T) -> T {
        let key = Key::of(ip);
        let gone_max = self.limits.read().addresses_max / STRIPES;
        let mut stripe = self.stripe(&key).lock();
        stripe.sweep(now);
        let mut place = match stripe.entries.entry(key) {
            Place::Occupied(place) => place,
            Place::Vacant(place) => place.insert_entry(Entry::default()),
        };
        let entry = place.get_mut();
        let result = change(entry);
        if entry.has_something_open() || entry.is_in_gone {
            return result;
        }
        if entry.is_forgettable(now) {
            place.remove();
            return result;
        }
        entry.is_in_gone = true;
        stripe.gone.push_back(key);
        if stripe.gone.len() > gone_max.max(1) {
            let forgotten = stripe.take_longest_gone();
            self.forgotten.fetch_add(u64::from(forgotten), Ordering::Relaxed);
        }
        result
    }
}

impl Stripe {
    /// Forgets those that may be, from the front of the queue.
    fn sweep(&mut self, now: Now) {
        for _ in 0..SWEPT_MAX {
            let Some(first) = self.gone.front().and_then(|key| self.entries.get(key)) else { return };
            if !first.has_something_open() && !first.is_forgettable(now) {
                return;
            }
            self.take_longest_gone();
        }
        if self.entries.len() < self.entries.capacity() / 8 && self.entries.capacity() > CAPACITY_KEPT {
            self.entries.shrink_to(self.entries.len() * 2);
            self.gone.shrink_to(self.gone.len() * 2);
        }
    }

    /// False if it has come back meanwhile: then it stays.
    fn take_longest_gone(&mut self) -> bool {
        let Some(key) = self.gone.pop_front() else { return false };
        match self.entries.get_mut(&key) {
            Some(entry) if entry.has_something_open() => {
                entry.is_in_gone = false;
                false
            }
            _ => self.entries.remove(&key).is_some(),
        }
    }
}

impl Entry {
    fn has_something_open(&self) -> bool {
        self.connections > 0 || self.stations > 0
    }

    fn failed_logins(&self, now: Now) -> u32 {
        if now.mono_us < self.failures_until_us { self.failed_logins } else { 0 }
    }

    /// Nothing that it has done still counts.
    fn is_forgettable(&self, now: Now) -> bool {
        self.failed_logins(now) == 0
            && self.connects.is_idle(now)
            && self.actions.iter().all(|rate| rate.is_idle(now))
    }
}

impl Key {
    fn of(ip: IpAddr) -> Key {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Key::V4(ip.octets()),
            IpAddr::V6(ip) => Key::V6((ip.to_bits() >> 64) as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Network;

    fn at(seconds: u64) -> Now {
        Now { mono_us: 1_000_000_000 + seconds * 1_000_000, unix_ms: 0 }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn limit(most: u32) -> Limit {
        Limit { most, spares_loopback: false }
    }

    fn limited() -> AddressLimits {
        AddressLimits {
            addresses_max: 1600,
            proxies: Network::parse("10.0.0.0/8").into_iter().collect(),
            connections: limit(2),
            connects: Limit::default(),
            failed_logins: Limit { most: 3, spares_loopback: true },
            stations: limit(1),
            sign_ins: limit(2),
            rooms: limit(1),
            seats: Limit::default(),
        }
    }

    fn addresses() -> Addresses {
        Addresses::new(limited(), 7)
    }

    #[test]
    fn each_address_has_so_many_connections_at_a_time_and_a_slash_64_is_one() {
        let addresses = addresses();
        for one in ["203.0.113.7", "2001:db8:0:1::1"] {
            assert_eq!(addresses.connect(ip(one), at(0)), Ok(()));
        }
        for same in ["::ffff:203.0.113.7", "2001:db8:0:1:ffff::9"] {
            assert_eq!(addresses.connect(ip(same), at(0)), Ok(()));
            assert_eq!(addresses.connect(ip(same), at(0)), Err(Crowded::TooMany), "{same}");
        }
        for other in ["203.0.113.8", "2001:db8:0:2::1"] {
            assert_eq!(addresses.connect(ip(other), at(0)), Ok(()), "{other}");
        }
        addresses.disconnect(ip("2001:db8:0:1::7"), at(0));
        assert_eq!(addresses.connect(ip("2001:db8:0:1::8"), at(0)), Ok(()));
    }

    #[test]
    fn a_proxy_is_under_no_limit() {
        let addresses = addresses();
        for _ in 0..10 {
            assert_eq!(addresses.connect(ip("10.1.2.3"), at(0)), Ok(()));
            assert!(!addresses.login_failed(ip("10.1.2.3"), at(0)));
            assert!(addresses.admit(ip("::ffff:10.1.2.3"), Action::CreateRoom, at(0)));
        }
        assert!(addresses.may_log_in(ip("10.1.2.3"), at(0)) && addresses.is_proxy(ip("10.9.9.9")));
        assert!(!addresses.is_proxy(ip("203.0.113.7")));
    }

    #[test]
    fn connects_come_at_a_rate() {
        let addresses = Addresses::new(AddressLimits { connects: limit(5), ..limited() }, 7);
        let one = ip("203.0.113.7");
        let come_and_go = |now| {
            let came = addresses.connect(one, now);
            if came.is_ok() {
                addresses.disconnect(one, now);
            }
            came
        };
        let came = |now| (0..20).filter(|_| come_and_go(now).is_ok()).count();
        assert_eq!((came(at(0)), came(at(0)), came(at(1)), came(at(60))), (5, 0, 5, 5));
        assert_eq!(come_and_go(at(60)), Err(Crowded::TooFast));
        assert_eq!(addresses.len(), 1, "remembered until its second is over");
        assert_eq!(addresses.connect(ip("203.0.113.8"), at(60)), Ok(()));
    }

    #[test]
    fn actions_have_buckets_of_their_own() {
        let addresses = addresses();
        let one = ip("203.0.113.7");
        let admitted = |action, now| (0..10).filter(|_| addresses.admit(one, action, now)).count();
        assert_eq!(admitted(Action::SignIn, at(0)), 2);
        assert_eq!(admitted(Action::CreateRoom, at(0)), 1);
        assert_eq!(admitted(Action::TakeSeat, at(0)), 10, "without a limit");
        assert_eq!(admitted(Action::CreateRoom, at(1)), 1);
    }

    #[test]
    fn failed_logins_close_the_door_until_their_window_is_over() {
        let addresses = addresses();
        let one = ip("203.0.113.7");
        let closed = |now| addresses.login_failed(one, now);
        assert_eq!(
            [closed(at(0)), closed(at(10)), closed(at(20)), closed(at(30))],
            [false, false, true, false]
        );
        assert!(!addresses.may_log_in(one, at(59)) && addresses.may_log_in(one, at(60)));
        assert!(addresses.may_log_in(ip("203.0.113.8"), at(30)));
        assert!(!closed(at(61)) && !closed(at(61)) && closed(at(62)), "a window of its own");
        for _ in 0..10 {
            assert!(
                !addresses.login_failed(ip("127.0.0.1"), at(0)) && !addresses.login_failed(ip("::1"), at(0))
            );
        }
        assert!(addresses.may_log_in(ip("::ffff:127.0.0.1"), at(0)), "loopback is spared");
    }

    #[test]
    fn stations_are_counted_beside_connections() {
        let addresses = addresses();
        let one = ip("203.0.113.7");
        assert!(addresses.may_join_station(one, at(0)));
        addresses.join_station(one, at(0));
        assert!(!addresses.may_join_station(one, at(0)));
        assert!(addresses.may_join_station(ip("203.0.113.8"), at(0)));
        assert_eq!(addresses.connect(one, at(0)), Ok(()));
        addresses.leave_station(one, at(0));
        assert!(addresses.may_join_station(one, at(0)));
        assert_eq!(addresses.len(), 1);
        addresses.disconnect(one, at(0));
        assert_eq!(addresses.len(), 0, "nothing is left of who has done nothing");
    }

    #[test]
    fn the_table_is_bounded_and_who_has_been_gone_for_longest_is_forgotten_first() {
        let addresses = addresses();
        let nth = |n: u32| IpAddr::from(std::net::Ipv4Addr::from(0x0B00_0000 + n));
        assert_eq!(addresses.connect(nth(0), at(0)), Ok(()));
        for n in 0..10_000 {
            addresses.login_failed(nth(n), at(0));
        }
        let len = addresses.len();
        assert!((1400..=1601).contains(&len), "{len}");
        assert_eq!(addresses.forgotten(), 10_000 - len as u64);
        addresses.login_failed(nth(9_999), at(0));
        assert!(addresses.login_failed(nth(9_999), at(0)), "the last ones are known");
        addresses.login_failed(nth(0), at(0));
        assert!(addresses.login_failed(nth(0), at(0)), "and so is who is connected");

        // Time goes by: each call forgets a few, and gives memory back.
        for n in 0..5_000 {
            addresses.disconnect(nth(20_000 + n), at(61));
        }
        assert_eq!(addresses.len(), 1);
        addresses.disconnect(nth(0), at(61));
        assert_eq!(addresses.len(), 0);
        let kept: usize = addresses.stripes.iter().map(|stripe| stripe.lock().entries.capacity()).sum();
        assert!(kept <= STRIPES * CAPACITY_KEPT, "{kept}");
    }

    #[test]
    fn limits_change_while_connections_are_counted() {
        let addresses = Addresses::new(AddressLimits::default(), 7);
        let one = ip("203.0.113.7");
        for _ in 0..5 {
            assert_eq!(addresses.connect(one, at(0)), Ok(()));
        }
        addresses.set_limits(AddressLimits { connections: limit(5), ..limited() });
        assert_eq!(addresses.connect(one, at(0)), Err(Crowded::TooMany));
        addresses.disconnect(one, at(0));
        assert_eq!(addresses.connect(one, at(0)), Ok(()));
    }
}
