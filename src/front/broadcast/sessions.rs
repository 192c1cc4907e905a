//! The library's sessions: who may open one, and the secret by which its client comes back to it.
//!
//! The library gives a session and its socket one id, and the socket's is public: the others of its
//! group hear it. So a client that polls gets another one for its session, which nobody else learns,
//! and `?sid=` is looked up here before the library sees it:
//!
//! ```text
//! ?sid=secret ──► secrets ──► sid of the library, line        anything else ──► nobody
//! ```
//!
//! A session that begins with a WebSocket has no secret, because nothing but that stream belongs to
//! it. Knows no socket and no group; all it holds of a session is gone when its [`Line`] is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Weak};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use socketioxide::socket::Sid;

use super::line::Line;
use crate::base::PeerKey;

/// Sessions that may exist for each client that may join: some are about to join, or have left.
const SESSIONS_PER_CLIENT: usize = 2;

/// Of the clients that may join, one in so many may be about to.
const CLIENTS_PER_UNJOINED: usize = 10;

/// But always so many, where there may be so many clients.
const UNJOINED_MIN: usize = 100;

/// Sessions that came over one connection and have not joined. A proxy sends many clients over one,
/// but each of them joins with the next request that it makes.
pub(super) const UNJOINED_PER_CONNECTION_MAX: usize = 32;

/// What the client of a session that polls, and nobody else, knows. Has no `Debug`: it is not to be
/// shown.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Secret(u128);

pub(super) struct Sessions {
    state: Mutex<State>,
    sessions_max: usize,
    unjoined_max: usize,
}

/// No line is dropped under its lock, since lines take it when they go.
#[derive(Default)]
struct State {
    next: u64,
    /// All whose lines exist, oldest first.
    entries: BTreeMap<u64, Entry>,
    /// Those that have not joined and may have to give way.
    unjoined: BTreeSet<u64>,
    /// How many have not joined, by the connection that they came over; none is 0.
    by_opener: HashMap<PeerKey, usize>,
    secrets: HashMap<Secret, u64>,
}

struct Entry {
    line: Weak<Line>,
    opener: Option<PeerKey>,
    has_joined: bool,
    secret: Option<(Secret, Sid)>,
}

impl Sessions {
    pub(super) fn new(clients_max: usize) -> Arc<Sessions> {
        let unjoined_max = (clients_max / CLIENTS_PER_UNJOINED).max(UNJOINED_MIN).min(clients_max);
        let sessions_max = clients_max.saturating_mul(SESSIONS_PER_CLIENT);
        Arc::new(Sessions { state: Mutex::default(), sessions_max, unjoined_max })
    }

    /// A session that a request over this connection opens. None when there is no room for it.
    ///
    /// The library keeps a session that has ended before it has joined until its time to join is
    /// over; it counts for as long.
    pub(super) fn open(self: &Arc<Self>, opener: Option<PeerKey>) -> Option<Arc<Line>> {
        let mut state = self.state.lock();
        let of_opener = opener.and_then(|opener| state.by_opener.get(&opener)).copied().unwrap_or_default();
        if state.entries.len() >= self.sessions_max || of_opener >= UNJOINED_PER_CONNECTION_MAX {
            return None;
        }
        let number = state.next;
        state.next += 1;
        let line = Line::new(number, self.clone());
        let entry = Entry { line: Arc::downgrade(&line), opener, has_joined: false, secret: None };
        state.entries.insert(number, entry);
        state.unjoined.insert(number);
        state.count(opener, true);
        Some(line)
    }

    /// The oldest session that has not joined, which has to end when there are too many such.
    pub(super) fn gives_way(&self) -> Option<Arc<Line>> {
        let mut state = self.state.lock();
        if state.unjoined.len() <= self.unjoined_max {
            return None;
        }
        let number = state.unjoined.pop_first()?;
        state.entries.get(&number)?.line.upgrade()
    }

    /// From now on the session is found by this secret.
    pub(super) fn set_secret(&self, line: &Line, secret: Secret, sid: Sid) {
        let mut state = self.state.lock();
        let Some(entry) = state.entries.get_mut(&line.number()) else { return };
        let former = entry.secret.replace((secret, sid));
        debug_assert!(former.is_none(), "a session is opened once");
        state.secrets.insert(secret, line.number());
    }

    pub(super) fn find(&self, secret: Secret) -> Option<(Sid, Arc<Line>)> {
        let state = self.state.lock();
        let entry = state.entries.get(state.secrets.get(&secret)?)?;
        let (_, sid) = entry.secret?;
        Some((sid, entry.line.upgrade()?))
    }

    /// The library's id of a session that was opened by polling.
    pub(super) fn polling_sid(&self, line: &Line) -> Option<Sid> {
        let state = self.state.lock();
        let (_, sid) = state.entries.get(&line.number())?.secret?;
        Some(sid)
    }

    /// Its socket has joined, or left.
    pub(super) fn set_joined(&self, line: &Line, has_joined: bool) {
        let (mut state, number) = (self.state.lock(), line.number());
        let Some(entry) = state.entries.get_mut(&number) else { return };
        if std::mem::replace(&mut entry.has_joined, has_joined) == has_joined {
            return;
        }
        let opener = entry.opener;
        state.count(opener, !has_joined);
        if has_joined {
            state.unjoined.remove(&number);
        } else {
            state.unjoined.insert(number);
        }
    }

    pub(super) fn has_joined(&self, line: &Line) -> bool {
        self.state.lock().entries.get(&line.number()).is_some_and(|entry| entry.has_joined)
    }

    /// All that have not joined, or have left.
    pub(super) fn unjoined(&self) -> Vec<Arc<Line>> {
        let state = self.state.lock();
        let unjoined = state.entries.values().filter(|entry| !entry.has_joined);
        unjoined.filter_map(|entry| entry.line.upgrade()).collect()
    }

    /// For a line that goes.
    pub(super) fn forget(&self, number: u64) {
        let mut state = self.state.lock();
        let Some(entry) = state.entries.remove(&number) else { return };
        state.unjoined.remove(&number);
        if !entry.has_joined {
            state.count(entry.opener, false);
        }
        if let Some((secret, _)) = entry.secret {
            state.secrets.remove(&secret);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let state = self.state.lock();
        assert!(state.secrets.len() <= state.entries.len() && state.unjoined.len() <= state.entries.len());
        state.entries.len()
    }
}

impl State {
    fn count(&mut self, opener: Option<PeerKey>, is_more: bool) {
        let Some(opener) = opener else { return };
        let count = self.by_opener.entry(opener).or_default();
        *count = if is_more { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            self.by_opener.remove(&opener);
        }
    }
}

impl Secret {
    pub(super) fn new(random: u128) -> Secret {
        Secret(random)
    }
}

/// As it stands in a query; longer than an id of the library, so that none can be taken for the other.
impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_URL_SAFE_NO_PAD.encode(self.0.to_be_bytes()))
    }
}

impl FromStr for Secret {
    type Err = ();

    fn from_str(text: &str) -> Result<Secret, ()> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| ())?;
        Ok(Secret(u128::from_be_bytes(bytes.try_into().map_err(|_| ())?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::NodeId;

    fn connection(slot: u32) -> Option<PeerKey> {
        Some(PeerKey { node: NodeId::shard(0), slot, generation: 0 })
    }

    fn open(sessions: &Arc<Sessions>, opener: Option<PeerKey>) -> Arc<Line> {
        sessions.open(opener).expect("room")
    }

    #[test]
    fn a_session_is_found_by_its_secret_alone_and_for_as_long_as_it_lives() {
        let sessions = Sessions::new(100);
        let (line, sid) = (open(&sessions, None), Sid::new());
        let secret = Secret::new(u128::MAX - 7);
        sessions.set_secret(&line, secret, sid);
        let (found, its_line) = sessions.find(secret.to_string().parse().expect("it")).expect("it");
        assert!(found == sid && Arc::ptr_eq(&its_line, &line));
        assert!(sessions.find(Secret::new(7)).is_none());
        for other in [sid.as_str(), "", "AAAA", &format!("{secret}A"), &format!("{secret}=="), "é"] {
            assert!(other.parse::<Secret>().is_err(), "{other}");
        }
        drop((line, its_line));
        assert!(sessions.find(secret).is_none());
        assert_eq!(sessions.len(), 0);
    }

    #[test]
    fn a_connection_has_few_unjoined_sessions_and_takes_none_from_another() {
        let sessions = Sessions::new(1000);
        let mut mine: Vec<_> =
            (0..UNJOINED_PER_CONNECTION_MAX).map(|_| open(&sessions, connection(1))).collect();
        assert!(sessions.open(connection(1)).is_none());
        assert!(sessions.open(connection(2)).is_some());
        sessions.set_joined(&mine[0], true);
        mine.push(open(&sessions, connection(1)));
        assert!(sessions.open(connection(1)).is_none(), "one has joined, and one has come");
        sessions.set_joined(&mine[0], false);
        mine.pop();
        assert!(sessions.open(connection(1)).is_none(), "who has left counts again");
        mine.pop();
        assert!(sessions.open(connection(1)).is_some());
        drop(mine);
        assert_eq!(sessions.len(), 0);
        assert!(sessions.state.lock().by_opener.is_empty());
    }

    #[test]
    fn the_oldest_unjoined_session_gives_way_and_a_joined_one_never() {
        let sessions = Sessions::new(1000);
        let lines: Vec<_> = (0..UNJOINED_MIN as u32).map(|slot| open(&sessions, connection(slot))).collect();
        sessions.set_joined(&lines[0], true);
        let _fills = open(&sessions, None);
        assert!(sessions.gives_way().is_none());
        let _next = open(&sessions, None);
        assert!(Arc::ptr_eq(&sessions.gives_way().expect("the oldest"), &lines[1]));
        assert!(sessions.gives_way().is_none(), "one is enough");
        assert!(sessions.has_joined(&lines[0]) && !sessions.has_joined(&lines[1]));
        assert_eq!(sessions.unjoined().len(), UNJOINED_MIN + 1, "the one that gives way is not gone yet");
    }

    #[test]
    fn all_sessions_together_are_bounded() {
        let sessions = Sessions::new(2);
        let mut lines: Vec<_> = (0..4).map(|slot| open(&sessions, connection(slot))).collect();
        assert!(sessions.open(None).is_none());
        lines.pop();
        assert!(sessions.open(None).is_some());
    }
}
