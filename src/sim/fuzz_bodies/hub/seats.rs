//! Seats of calls, and who listens.

use std::collections::BTreeMap;
use std::time::Duration;

use arbitrary::Arbitrary;

use super::Few;
use crate::base::{Now, PeerKey};
use crate::hub::{SeatAnswer, SeatLimits, SeatTerms, Seats, TooManyListeners};

const TERMS: SeatTerms = SeatTerms { seats_max: 2, timeout: Duration::from_secs(30) };
const LIMITS: SeatLimits =
    SeatLimits { calls_max: 1_000, listeners_per_session_max: 2, listeners_per_call_max: 3 };

#[derive(Arbitrary, Debug)]
pub(super) enum SeatOperation {
    Acquire { call: Few<3>, session: Few<4> },
    Holds { call: Few<3>, session: Few<4> },
    Subscribe { call: Few<3>, session: Few<4>, key: Few<6> },
    Unsubscribe { call: Few<3>, key: Few<6> },
    Listeners { call: Few<3>, but: Few<4> },
}

pub(super) struct Tables {
    seats: Seats,
    /// By call and session: when it was renewed.
    renewed: BTreeMap<(String, String), u64>,
    /// By call, in the order in which they came.
    listeners: BTreeMap<String, Vec<(String, PeerKey)>>,
}

impl Default for Tables {
    fn default() -> Tables {
        Tables { seats: Seats::in_memory(LIMITS, 7), renewed: BTreeMap::new(), listeners: BTreeMap::new() }
    }
}

impl Tables {
    pub(super) fn apply_and_check(&mut self, operation: SeatOperation, now: Now) {
        match operation {
            SeatOperation::Acquire { call, session } => {
                let (call, session) = (call.name("call"), session.name("session"));
                let answer = self.seats.acquire(&call, &session, now, TERMS);
                self.renewed.retain(|_, at| now.mono_us - *at <= TERMS.timeout.as_micros() as u64);
                let taken = self.renewed.keys().filter(|(theirs, _)| *theirs == call).count();
                let is_mine = self.renewed.contains_key(&(call.clone(), session.clone()));
                assert_eq!(answer, answer_of(is_mine || taken < TERMS.seats_max));
                if answer == SeatAnswer::Seated {
                    self.renewed.insert((call, session), now.mono_us);
                }
            }
            SeatOperation::Holds { call, session } => {
                let (call, session) = (call.name("call"), session.name("session"));
                let answer = self.seats.holds(&call, &session, now, TERMS);
                let renewed = self.renewed.get(&(call, session));
                let held = renewed.is_some_and(|at| now.mono_us - at <= TERMS.timeout.as_micros() as u64);
                assert_eq!(answer, answer_of(held));
            }
            SeatOperation::Subscribe { call, session, key } => {
                let (call, session) = (call.name("call"), session.name("session"));
                let subscribed = self.seats.subscribe(&call, &session, key.key());
                let listeners = self.listeners.entry(call).or_default();
                let own = listeners.iter().filter(|(theirs, _)| *theirs == session).count();
                let is_full = own >= LIMITS.listeners_per_session_max
                    || listeners.len() >= LIMITS.listeners_per_call_max;
                assert_eq!(subscribed, if is_full { Err(TooManyListeners) } else { Ok(()) });
                if !is_full {
                    listeners.push((session, key.key()));
                }
            }
            SeatOperation::Unsubscribe { call, key } => {
                let call = call.name("call");
                self.seats.unsubscribe(&call, key.key());
                self.listeners.entry(call).or_default().retain(|(_, theirs)| *theirs != key.key());
            }
            SeatOperation::Listeners { call, but } => {
                let (call, but) = (call.name("call"), but.name("session"));
                let found = self.seats.listeners(&call, &but);
                let all = self.listeners.get(&call).into_iter().flatten();
                let expected = all.filter(|(session, _)| *session != but);
                let found = found.iter().map(|listener| (&*listener.session, listener.key));
                assert!(found.eq(expected.map(|(session, key)| (session.as_str(), *key))));
            }
        }
    }

    pub(super) fn check_all(&self) {
        let listened_to = self.listeners.values().filter(|listeners| !listeners.is_empty()).count();
        assert_eq!(self.seats.calls_listened_to(), listened_to);
    }
}

fn answer_of(seated: bool) -> SeatAnswer {
    if seated { SeatAnswer::Seated } else { SeatAnswer::Refused }
}
