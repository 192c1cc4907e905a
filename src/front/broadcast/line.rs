//! One Engine.IO session as the library does not show it: what waits for its client.
//!
//! The library says when its queue of a session is full, and nothing else: not how many bytes are
//! in it, and not when they leave. So each packet of ours is noted here when the library takes it,
//! and crossed out when its last byte has gone into a WebSocket's stream or a polling response:
//!
//! ```text
//! admit ──► expected: 812, 90, 90 ──► taken(1) ──► expected: 90, 90
//! ```
//!
//! Packets leave in the order in which they came, so that counting them is enough.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use parking_lot::Mutex;

use super::sessions::Sessions;
use crate::base::Now;
use crate::base::Rate;

/// Notices, errors and acknowledgements that may wait on top of the signals.
pub(super) const OWN_MESSAGES_MAX: usize = 64;

/// A client that is still over its limit this long after it was first found there is cut.
const OVER_LIMIT_MAX: Duration = Duration::from_secs(5);

/// What is kept beside a session; it lives as long as the library's own record of it.
pub(super) struct Line {
    state: Mutex<State>,
    /// Its own among all sessions.
    number: u64,
    sessions: Arc<Sessions>,
}

/// Bounds of what waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) bytes_max: usize,
    pub(super) messages_max: usize,
}

/// Why a packet is not to be given to the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// There is no room now.
    Full,
    /// There has been none for too long, or not even for our own words: the client is to be cut.
    Stuck,
}

#[derive(Default)]
struct State {
    /// The bytes of each frame of ours that is on its way, oldest first.
    expected: VecDeque<u32>,
    expected_bytes: usize,
    over_since_us: Option<u64>,
    rate: Rate,
    stream: Stream,
    reader: Option<Waker>,
    writer: Option<Waker>,
    slow: bool,
}

/// How the session's WebSocket is to behave; that of a polling session does not exist yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stream {
    #[default]
    None,
    Open,
    /// Reads end; what is on its way is still sent.
    Ending,
    /// Neither reads nor writes.
    Cut,
}

impl Line {
    /// Of a session that is known there by this number, until the line is dropped.
    pub(super) fn new(number: u64, sessions: Arc<Sessions>) -> Arc<Line> {
        Arc::new(Line { state: Mutex::default(), number, sessions })
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Counts one message, or one attempt to join, of the client; false when it comes too soon.
    pub(super) fn is_in_time(&self, per_second: u32, now: Now) -> bool {
        self.state.lock().rate.admit(per_second, now)
    }

    /// Makes room for a signal in so many frames.
    pub(super) fn admit_signal(
        &self,
        frames: impl Iterator<Item = usize> + Clone,
        limits: Limits,
        now: Now,
    ) -> Result<(), Over> {
        let mut state = self.state.lock();
        let bytes: usize = frames.clone().sum();
        let has_room = state.expected.is_empty()
            || (state.expected_bytes + bytes <= limits.bytes_max
                && state.expected.len() < limits.messages_max);
        if has_room {
            state.over_since_us = None;
            state.expect(frames);
            return Ok(());
        }
        let since_us = *state.over_since_us.get_or_insert(now.mono_us);
        let is_stuck = now.mono_us.saturating_sub(since_us) >= OVER_LIMIT_MAX.as_micros() as u64;
        Err(if is_stuck { Over::Stuck } else { Over::Full })
    }

    /// Makes room for a small message of the server's own.
    pub(super) fn admit_own(&self, bytes: usize, limits: Limits) -> Result<(), Over> {
        let mut state = self.state.lock();
        if state.expected.len() >= limits.messages_max + OWN_MESSAGES_MAX {
            return Err(Over::Stuck);
        }
        state.expect(std::iter::once(bytes));
        Ok(())
    }

    /// The library has not taken what was admitted last.
    pub(super) fn withdraw(&self, frames: usize) {
        let mut state = self.state.lock();
        for _ in 0..frames {
            if let Some(bytes) = state.expected.pop_back() {
                state.expected_bytes -= bytes as usize;
            }
        }
    }

    /// So many frames have left the library.
    pub(super) fn taken(&self, frames: usize) {
        let mut state = self.state.lock();
        for _ in 0..frames {
            if let Some(bytes) = state.expected.pop_front() {
                state.expected_bytes -= bytes as usize;
            }
        }
    }

    /// False when the session has a WebSocket already.
    pub(super) fn open_stream(&self) -> bool {
        let mut state = self.state.lock();
        let is_first = state.stream == Stream::None;
        if is_first {
            state.stream = Stream::Open;
        }
        is_first
    }

    /// The stream's state; unless it is the last one, the waker is called when that changes.
    pub(super) fn stream(&self, direction: Direction, waker: &Waker) -> Stream {
        let mut state = self.state.lock();
        let slot = match direction {
            Direction::Read => &mut state.reader,
            Direction::Write => &mut state.writer,
        };
        match slot {
            Some(known) => known.clone_from(waker),
            None => *slot = Some(waker.clone()),
        }
        state.stream
    }

    /// Ends the WebSocket, if there is one, after what is on its way.
    pub(super) fn end(&self) {
        self.change(Stream::Ending);
    }

    /// Ends the WebSocket, if there is one, at once, since its client does not read. True the first
    /// time.
    pub(super) fn cut(&self) -> bool {
        self.change(Stream::Cut);
        !std::mem::replace(&mut self.state.lock().slow, true)
    }

    /// Whether it was [`Line::cut`].
    pub(super) fn was_slow(&self) -> bool {
        self.state.lock().slow
    }

    fn change(&self, to: Stream) {
        let mut state = self.state.lock();
        if state.stream == Stream::None || state.stream == Stream::Cut {
            return;
        }
        state.stream = to;
        let wakers = [state.reader.take(), state.writer.take()];
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

/// Of a stream, as its session sees it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Direction {
    Read,
    Write,
}

impl State {
    fn expect(&mut self, frames: impl Iterator<Item = usize>) {
        for bytes in frames {
            self.expected.push_back(bytes as u32);
            self.expected_bytes += bytes;
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.sessions.forget(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { bytes_max: 100, messages_max: 3 };

    fn at(seconds: u64) -> Now {
        Now { mono_us: seconds * 1_000_000, unix_ms: 0 }
    }

    fn line() -> Arc<Line> {
        Sessions::new(1).open(None).expect("room")
    }

    fn admit(line: &Line, bytes: usize, now: Now) -> Result<(), Over> {
        line.admit_signal([bytes].into_iter(), LIMITS, now)
    }

    #[test]
    fn a_signal_is_refused_over_the_bytes_or_the_messages_and_taken_again_when_frames_have_left() {
        let line = line();
        assert_eq!(admit(&line, 90, at(0)), Ok(()));
        assert_eq!(admit(&line, 11, at(0)), Err(Over::Full));
        assert_eq!(admit(&line, 1, at(0)), Ok(()));
        assert_eq!(admit(&line, 1, at(0)), Ok(()));
        assert_eq!(admit(&line, 1, at(0)), Err(Over::Full));
        line.taken(1);
        assert_eq!(admit(&line, 97, at(0)), Ok(()));
        line.withdraw(1);
        assert_eq!(admit(&line, 98, at(0)), Ok(()));
    }

    #[test]
    fn a_signal_over_the_limit_is_taken_where_nothing_waits() {
        let line = line();
        assert_eq!(admit(&line, 1000, at(0)), Ok(()));
        assert_eq!(admit(&line, 1, at(0)), Err(Over::Full));
        line.taken(1);
        assert_eq!(admit(&line, 1, at(0)), Ok(()));
    }

    #[test]
    fn who_stays_over_the_limit_is_stuck_and_who_comes_back_is_not() {
        let line = line();
        assert_eq!(admit(&line, 100, at(0)), Ok(()));
        assert_eq!(admit(&line, 1, at(10)), Err(Over::Full));
        assert_eq!(admit(&line, 1, at(14)), Err(Over::Full));
        assert_eq!(admit(&line, 1, at(15)), Err(Over::Stuck));
        line.taken(1);
        assert_eq!(admit(&line, 100, at(16)), Ok(()));
        assert_eq!(admit(&line, 1, at(17)), Err(Over::Full));
    }

    #[test]
    fn the_servers_own_words_have_room_of_their_own_and_then_none() {
        let line = line();
        assert_eq!(admit(&line, 100, at(0)), Ok(()));
        let own = (0..1000).take_while(|_| line.admit_own(1, LIMITS).is_ok()).count();
        assert_eq!(own, LIMITS.messages_max + OWN_MESSAGES_MAX - 1);
        assert_eq!(line.admit_own(1, LIMITS), Err(Over::Stuck));
    }

    #[test]
    fn a_session_has_one_websocket_and_a_cut_one_stays_cut() {
        let line = line();
        line.end();
        assert!(line.open_stream(), "what did not exist could not end");
        assert!(!line.open_stream());
        assert!(line.cut() && !line.cut());
        line.end();
        assert_eq!(line.stream(Direction::Read, Waker::noop()), Stream::Cut);
    }
}
