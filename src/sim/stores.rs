//! Stores that answer at once, late, or not at all, as the world wants it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::auth::{PublicKeys, RemoteKeys};
use crate::base::Now;
use crate::hub::{MemorySeats, SeatAnswer, SeatStore, SeatTerms};

/// How a store is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    #[default]
    Good,
    /// It answers two questions of three by [`SeatAnswer::Pending`].
    Late,
    Failing,
}

/// What a world knows of its seats' store.
#[derive(Default)]
pub struct SeatsHealth {
    health: Mutex<Health>,
    asked: AtomicU64,
    /// Questions that were answered late, or not at all.
    pub late: AtomicU64,
    pub failed: AtomicU64,
}

impl SeatsHealth {
    pub fn set(&self, health: Health) {
        *self.health.lock() = health;
    }

    pub fn get(&self) -> Health {
        *self.health.lock()
    }

    fn spoilt(&self) -> Option<SeatAnswer> {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        match self.get() {
            Health::Late if !asked.is_multiple_of(3) => {
                self.late.fetch_add(1, Ordering::Relaxed);
                Some(SeatAnswer::Pending)
            }
            Health::Failing => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                Some(SeatAnswer::Failed)
            }
            Health::Good | Health::Late => None,
        }
    }
}

/// Seats in memory behind a store that has its moods.
pub struct FickleSeats {
    inner: MemorySeats,
    health: Arc<SeatsHealth>,
}

impl FickleSeats {
    pub fn new(calls_max: usize, seed: u64, health: Arc<SeatsHealth>) -> FickleSeats {
        FickleSeats { inner: MemorySeats::new(calls_max, seed), health }
    }
}

impl SeatStore for FickleSeats {
    fn acquire(&self, call: &str, session: &str, now: Now, terms: SeatTerms) -> SeatAnswer {
        self.health.spoilt().unwrap_or_else(|| self.inner.acquire(call, session, now, terms))
    }

    fn holds(&self, call: &str, session: &str, now: Now, terms: SeatTerms) -> SeatAnswer {
        self.health.spoilt().unwrap_or_else(|| self.inner.holds(call, session, now, terms))
    }
}

/// A set of keys that is fetched when the world says so.
pub struct KeyServer {
    pub keys: Arc<RemoteKeys>,
    wished: Arc<AtomicBool>,
}

/// The key of RFC 8037, appendix A.2: nobody in a simulation signs by it.
const KEY_SET: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"ed","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

impl KeyServer {
    pub fn new() -> KeyServer {
        let wished = Arc::new(AtomicBool::new(false));
        let wish = Arc::clone(&wished);
        let keys = Arc::new(RemoteKeys::new(Box::new(move || wish.store(true, Ordering::Relaxed))));
        KeyServer { keys, wished }
    }

    /// Whether somebody waits for keys.
    pub fn is_asked(&self) -> bool {
        self.wished.load(Ordering::Relaxed)
    }

    /// Answers whoever waits, by new keys or by the news that there are none.
    pub fn answer(&self, fails: bool) {
        self.wished.store(false, Ordering::Relaxed);
        if fails {
            self.keys.not_replaced();
        } else {
            self.keys.replace(PublicKeys::from_json(KEY_SET).expect("a key set"));
        }
    }
}

impl Default for KeyServer {
    fn default() -> KeyServer {
        KeyServer::new()
    }
}
