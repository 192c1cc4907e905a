//! Seats: who may take part in a call, and who listens to it.
//!
//! A call has a few seats. Whoever holds one has to renew it, or it lapses and somebody else may
//! have it: nobody is thrown out, and nothing has to be given back. [`MemorySeats`] is the table
//! behind [`SeatStore`] when one process serves all calls. Listeners, which are connections of this
//! process, stand beside it in any case.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use ahash::RandomState;
use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};

use crate::base::{Now, PeerKey, planted};

/// Stripes of each table; a power of two.
const STRIPES: usize = 64;

/// A table that is full looks for lapsed calls in all stripes, at most so often.
const FULL_SWEEPS_APART_US: u64 = 1_000_000;

/// How many seats a call has, and for how long one is held without being renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeatTerms {
    pub seats_max: usize,
    pub timeout: Duration,
}

/// What a store says about one session's seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeatAnswer {
    /// The session holds a seat.
    Seated,
    /// It holds none; and there was none to be had, if it asked for one.
    Refused,
    /// The store has begun to find out. The same question is to be asked again, until it has an
    /// answer; giving up instead does no harm.
    Pending,
    /// The store cannot tell, or has no place for one more call. A store ends a question itself that
    /// stays open for too long.
    Failed,
}

/// The seats of all calls. Its methods never block.
///
/// A store that is shared with deployed servers, in Redis, keeps their layout:
///
/// ```text
/// ZSET    lock:<call>      member = session, score = Unix seconds of the last renewal
/// channel channel:<call>   the JSON of each event, its session included
///
/// acquire, as one script:  ZREMRANGEBYSCORE lock:<call> -inf (now - timeout)
///                          ZADD lock:<call> now session, if ZCARD < seats_max or ZSCORE finds it
/// ```
pub trait SeatStore: Send + Sync {
    /// Takes or renews a seat: purges those that have lapsed, then adds the session if there is
    /// room or if it is there already.
    fn acquire(&self, call: &str, session: &str, now: Now, terms: SeatTerms) -> SeatAnswer;

    /// Whether the session holds a seat that has not lapsed. Changes nothing.
    fn holds(&self, call: &str, session: &str, now: Now, terms: SeatTerms) -> SeatAnswer;
}

/// Bounds of what this process keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeatLimits {
    /// Calls with a seat taken, in [`MemorySeats`].
    pub calls_max: usize,
    /// Connections by which one session listens to one call.
    pub listeners_per_session_max: usize,
    pub listeners_per_call_max: usize,
}

impl Default for SeatLimits {
    fn default() -> Self {
        SeatLimits { calls_max: 65_536, listeners_per_session_max: 8, listeners_per_call_max: 256 }
    }
}

/// No further connection may listen to the call, or by this session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyListeners;

/// A connection that gets the events of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub session: Box<str>,
    pub key: PeerKey,
}

type ByCall<T> = HashMap<Box<str>, Vec<T>, RandomState>;

/// The seats of all calls and the connections that listen to them. Shared by all shards and the
/// front. Takes no more memory for a call when nobody is left in it.
pub struct Seats {
    store: Box<dyn SeatStore>,
    listeners: Box<[RwLock<ByCall<Listener>>]>,
    limits: SeatLimits,
    hasher: RandomState,
}

impl Seats {
    /// The seed fixes where calls fall, so that a simulation replays; in production it is random,
    /// since the names of calls come from peers.
    pub fn in_memory(limits: SeatLimits, seed: u64) -> Seats {
        Seats::with_store(Box::new(MemorySeats::new(limits.calls_max, seed)), limits, seed)
    }

    pub fn with_store(store: Box<dyn SeatStore>, limits: SeatLimits, seed: u64) -> Seats {
        let hasher = hasher(seed);
        let stripe = || RwLock::new(HashMap::with_hasher(hasher.clone()));
        Seats { store, listeners: (0..STRIPES).map(|_| stripe()).collect(), limits, hasher }
    }

    /// See [`SeatStore::acquire`].
    pub fn acquire(&self, call: &str, session: &str, now: Now, terms: SeatTerms) -> SeatAnswer {
        self.store.acquire(call, session, now, terms)
    }

    /// See [`SeatStore::holds`].
    pub fn holds(&self, call: &str, session: &str, now: Now, terms: SeatTerms) -> SeatAnswer {
        self.store.holds(call, session, now, terms)
    }

    /// From when this returns on, `key` is among the call's listeners.
    ///
    /// # Errors
    /// [`TooManyListeners`], and nothing has changed.
    pub fn subscribe(&self, call: &str, session: &str, key: PeerKey) -> Result<(), TooManyListeners> {
        let mut calls = self.stripe(call).write();
        let known = calls.get(call).map_or(&[][..], Vec::as_slice);
        let own = known.iter().filter(|listener| *listener.session == *session).count();
        if own >= self.limits.listeners_per_session_max || known.len() >= self.limits.listeners_per_call_max {
            return Err(TooManyListeners);
        }
        calls.entry(call.into()).or_default().push(Listener { session: session.into(), key });
        Ok(())
    }

    /// Does nothing when `key` does not listen.
    pub fn unsubscribe(&self, call: &str, key: PeerKey) {
        let mut calls = self.stripe(call).write();
        if let Some(listeners) = calls.get_mut(call) {
            listeners.retain(|listener| listener.key != key);
            if listeners.is_empty() {
                calls.remove(call);
            }
        }
    }

    /// Who listens to a call, but for the connections of one session; in the order in which they
    /// came. Whether each still holds its seat is another question.
    pub fn listeners(&self, call: &str, but_session: &str) -> Vec<Listener> {
        if planted!(CallUnchecked) {
            let all = self
                .listeners
                .iter()
                .flat_map(|calls| calls.read().values().flatten().cloned().collect::<Vec<_>>());
            return all.filter(|listener| *listener.session != *but_session).collect();
        }
        let calls = self.stripe(call).read();
        let known = calls.get(call).map_or(&[][..], Vec::as_slice);
        known.iter().filter(|listener| *listener.session != *but_session).cloned().collect()
    }

    /// Calls that somebody listens to.
    pub fn calls_listened_to(&self) -> usize {
        self.listeners.iter().map(|stripe| stripe.read().len()).sum()
    }

    fn stripe(&self, call: &str) -> &RwLock<ByCall<Listener>> {
        &self.listeners[stripe_index(&self.hasher, call)]
    }
}

/// Seats that end with the process. Times are those of the steady clock, so that setting the
/// machine's clock neither frees nor holds one.
pub struct MemorySeats {
    stripes: Box<[Mutex<Stripe>]>,
    /// In all stripes together; raised before a call is put in.
    calls: AtomicUsize,
    calls_max: usize,
    swept_us: AtomicU64,
    hasher: RandomState,
}

struct Stripe {
    calls: ByCall<Seat>,
    swept_us: u64,
}

struct Seat {
    session: Box<str>,
    renewed_us: u64,
}

impl MemorySeats {
    /// At `calls_max` calls a new one finds [`SeatAnswer::Failed`].
    pub fn new(calls_max: usize, seed: u64) -> MemorySeats {
        let hasher = hasher(seed);
        let stripe = || Mutex::new(Stripe { calls: HashMap::with_hasher(hasher.clone()), swept_us: 0 });
        MemorySeats {
            stripes: (0..STRIPES).map(|_| stripe()).collect(),
            calls: AtomicUsize::new(0),
            calls_max,
            swept_us: AtomicU64::new(0),
            hasher,
        }
    }

    /// Calls with a seat that is taken, or that has lapsed and has not been noticed yet.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// `None` where there is no place for one more call.
    fn try_acquire(&self, call: &str, session: &str, now: Now, terms: SeatTerms) -> Option<SeatAnswer> {
        let mut stripe = self.stripe(call).lock();
        // Without this, calls that nobody asks for again would stay. Each is looked at once a
        // time-out at most.
        if now.mono_us.saturating_sub(stripe.swept_us) > microseconds(terms.timeout) {
            self.sweep(&mut stripe, now, terms);
        }
        let Some(seats) = stripe.calls.get_mut(call) else {
            if terms.seats_max == 0 {
                return Some(SeatAnswer::Refused);
            }
            self.count_call()?;
            let seat = Seat { session: session.into(), renewed_us: now.mono_us };
            stripe.calls.insert(call.into(), vec![seat]);
            return Some(SeatAnswer::Seated);
        };
        seats.retain(|seat| !seat.has_lapsed(now, terms));
        if let Some(own) = seats.iter_mut().find(|seat| *seat.session == *session) {
            // Another core may have read its clock a little later.
            own.renewed_us = own.renewed_us.max(now.mono_us);
        } else if seats.len() < terms.seats_max || planted!(SeatsUncounted) {
            seats.push(Seat { session: session.into(), renewed_us: now.mono_us });
        } else {
            if seats.is_empty() {
                stripe.calls.remove(call);
                self.calls.fetch_sub(1, Ordering::Relaxed);
            }
            return Some(SeatAnswer::Refused);
        }
        Some(SeatAnswer::Seated)
    }

    fn count_call(&self) -> Option<()> {
        let raise = |calls| (calls < self.calls_max).then_some(calls + 1);
        self.calls.fetch_update(Ordering::Relaxed, Ordering::Relaxed, raise).ok().map(|_| ())
    }

    fn sweep(&self, stripe: &mut Stripe, now: Now, terms: SeatTerms) {
        let before = stripe.calls.len();
        stripe.calls.retain(|_, seats| {
            seats.retain(|seat| !seat.has_lapsed(now, terms));
            !seats.is_empty()
        });
        self.calls.fetch_sub(before - stripe.calls.len(), Ordering::Relaxed);
        stripe.swept_us = now.mono_us;
    }

    /// Looks for lapsed calls everywhere. Does nothing when that has been done just now.
    fn sweep_all(&self, now: Now, terms: SeatTerms) {
        let due = |swept_us: u64| {
            (swept_us == 0 || now.mono_us >= swept_us.saturating_add(FULL_SWEEPS_APART_US))
                .then_some(now.mono_us.max(1))
        };
        if self.swept_us.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due).is_ok() {
            self.stripes.iter().for_each(|stripe| self.sweep(&mut stripe.lock(), now, terms));
        }
    }

    fn stripe(&self, call: &str) -> &Mutex<Stripe> {
        &self.stripes[stripe_index(&self.hasher, call)]
    }
}

impl SeatStore for MemorySeats {
    fn acquire(&self, call: &str, session: &str, now: Now, terms: SeatTerms) -> SeatAnswer {
        self.try_acquire(call, session, now, terms)
            .or_else(|| {
                self.sweep_all(now, terms);
                self.try_acquire(call, session, now, terms)
            })
            .unwrap_or(SeatAnswer::Failed)
    }

    fn holds(&self, call: &str, session: &str, now: Now, terms: SeatTerms) -> SeatAnswer {
        let stripe = self.stripe(call).lock();
        let seats = stripe.calls.get(call).map_or(&[][..], Vec::as_slice);
        let own = seats.iter().find(|seat| *seat.session == *session);
        if planted!(CallUnchecked) || own.is_some_and(|seat| !seat.has_lapsed(now, terms)) {
            SeatAnswer::Seated
        } else {
            SeatAnswer::Refused
        }
    }
}

impl Seat {
    fn has_lapsed(&self, now: Now, terms: SeatTerms) -> bool {
        !planted!(SeatNotPurged) && now.mono_us.saturating_sub(self.renewed_us) > microseconds(terms.timeout)
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn hasher(seed: u64) -> RandomState {
    RandomState::with_seeds(seed, !seed, seed.rotate_left(32), 2)
}

/// The table inside a stripe uses the low and the top bits of the hash; these are from the middle.
fn stripe_index(hasher: &RandomState, call: &str) -> usize {
    (hasher.hash_one(call) >> 24) as usize & (STRIPES - 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::base::NodeId;

    const TERMS: SeatTerms = SeatTerms { seats_max: 2, timeout: Duration::from_secs(30) };

    fn at(seconds: u64) -> Now {
        Now { mono_us: seconds * 1_000_000, unix_ms: 0 }
    }

    fn key(slot: u32) -> PeerKey {
        PeerKey { node: NodeId::shard(0), slot, generation: 0 }
    }

    #[test]
    fn a_seat_is_held_until_its_time_out_after_the_last_renewal() {
        let seats = MemorySeats::new(10, 1);
        for session in ["a", "b"] {
            assert_eq!(seats.acquire("x", session, at(0), TERMS), SeatAnswer::Seated);
        }
        assert_eq!(seats.acquire("x", "c", at(20), TERMS), SeatAnswer::Refused);
        assert_eq!(seats.acquire("x", "a", at(20), TERMS), SeatAnswer::Seated);
        assert_eq!(seats.acquire("x", "c", at(30), TERMS), SeatAnswer::Refused);
        assert_eq!(seats.acquire("x", "c", at(31), TERMS), SeatAnswer::Seated);
        assert_eq!(seats.acquire("x", "b", at(31), TERMS), SeatAnswer::Refused);
        assert_eq!(seats.holds("x", "a", at(50), TERMS), SeatAnswer::Seated);
        assert_eq!(seats.holds("x", "a", at(51), TERMS), SeatAnswer::Refused);
        assert_eq!(seats.holds("y", "a", at(31), TERMS), SeatAnswer::Refused);
    }

    /// The seats as one would write them down by the contract, call by call.
    #[derive(Default)]
    struct Model(BTreeMap<String, BTreeMap<String, u64>>);

    impl Model {
        fn acquire(&mut self, call: &str, session: &str, second: u64) -> SeatAnswer {
            let seats = self.0.entry(call.to_owned()).or_default();
            seats.retain(|_, renewed| *renewed + 30 >= second);
            if seats.len() < 2 || seats.contains_key(session) {
                seats.insert(session.to_owned(), second);
                SeatAnswer::Seated
            } else {
                SeatAnswer::Refused
            }
        }

        fn holds(&self, call: &str, session: &str, second: u64) -> SeatAnswer {
            let renewed = self.0.get(call).and_then(|seats| seats.get(session));
            if renewed.is_some_and(|renewed| renewed + 30 >= second) {
                SeatAnswer::Seated
            } else {
                SeatAnswer::Refused
            }
        }
    }

    #[test]
    fn the_table_agrees_with_a_plain_model_whoever_comes_when() {
        let (seats, mut model) = (MemorySeats::new(1000, 5), Model::default());
        let (mut random, mut second) = (0x2545_f491_4f6c_dd1d_u64, 0);
        let mut seen = [0; 2];
        for _ in 0..20_000 {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            second += random >> 40 & 3;
            let (call, session) = (format!("call{}", random >> 60), format!("session{}", random >> 50 & 7));
            let expected = model.acquire(&call, &session, second);
            assert_eq!(seats.acquire(&call, &session, at(second), TERMS), expected);
            seen[usize::from(expected == SeatAnswer::Seated)] += 1;
            let other = format!("session{}", random >> 44 & 7);
            assert_eq!(seats.holds(&call, &other, at(second), TERMS), model.holds(&call, &other, second));
        }
        assert!(seen.iter().all(|count| *count > 1000), "{seen:?}");
    }

    #[test]
    fn calls_that_have_lapsed_vanish_and_make_room_for_others() {
        let seats = MemorySeats::new(100, 1);
        for call in 0..100 {
            assert_eq!(seats.acquire(&call.to_string(), "a", at(10), TERMS), SeatAnswer::Seated);
        }
        assert_eq!(seats.acquire("new", "a", at(10), TERMS), SeatAnswer::Failed);
        assert_eq!(seats.acquire("7", "b", at(30), TERMS), SeatAnswer::Seated);
        assert_eq!(seats.acquire("new", "a", at(40), TERMS), SeatAnswer::Failed);
        assert_eq!(seats.acquire("new", "a", at(41), TERMS), SeatAnswer::Seated);
        assert_eq!(seats.calls(), 2);
        assert_eq!(seats.holds("7", "b", at(41), TERMS), SeatAnswer::Seated);
    }

    #[test]
    fn a_call_without_seats_takes_no_memory() {
        let seats = MemorySeats::new(100, 1);
        let closed = SeatTerms { seats_max: 0, ..TERMS };
        assert_eq!(seats.acquire("x", "a", at(1), closed), SeatAnswer::Refused);
        assert_eq!(seats.acquire("x", "a", at(1), TERMS), SeatAnswer::Seated);
        assert_eq!(seats.acquire("x", "b", at(32), closed), SeatAnswer::Refused);
        assert_eq!(seats.calls(), 0);
    }

    #[test]
    fn listeners_are_found_by_call_without_those_of_one_session_and_are_bounded() {
        let limits =
            SeatLimits { listeners_per_session_max: 2, listeners_per_call_max: 3, ..Default::default() };
        let seats = Seats::in_memory(limits, 1);
        let keys = |call: &str, but: &str| -> Vec<u32> {
            seats.listeners(call, but).iter().map(|listener| listener.key.slot).collect()
        };
        seats.subscribe("x", "a", key(1)).unwrap();
        seats.subscribe("x", "b", key(2)).unwrap();
        seats.subscribe("x", "a", key(3)).unwrap();
        seats.subscribe("y", "a", key(4)).unwrap();
        assert_eq!((keys("x", "a"), keys("x", "b"), keys("x", "")), (vec![2], vec![1, 3], vec![1, 2, 3]));
        assert_eq!(seats.subscribe("x", "c", key(5)), Err(TooManyListeners));
        seats.unsubscribe("x", key(2));
        assert_eq!(seats.subscribe("x", "a", key(5)), Err(TooManyListeners));
        seats.subscribe("x", "c", key(5)).unwrap();
        for slot in [1, 3, 4, 5] {
            seats.unsubscribe("x", key(slot));
        }
        assert_eq!((keys("x", ""), keys("y", "")), (vec![], vec![4]));
        assert_eq!(seats.calls_listened_to(), 1);
    }
}
