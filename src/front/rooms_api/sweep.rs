//! Expired rooms leave the registry and the store.

use std::time::Duration;

use tokio::sync::oneshot;

use super::RoomsApi;

/// An expired room takes no peers from its very second on; this is only how long its record stays.
const EVERY: Duration = Duration::from_secs(1);

/// A record stays for so long after its room has expired, so that a peer that comes late hears just
/// that, and not that there never was such a room.
const LINGER_SECONDS: u64 = 5;

/// Rooms that go in one call of the store.
const BATCH_MAX: usize = 1_000;

/// Until `stopped` resolves, in either way. The peers of an expired room stay until they leave.
pub async fn sweep(api: RoomsApi, mut stopped: oneshot::Receiver<()>) {
    let mut leftover = Vec::new();
    loop {
        tokio::select! {
            biased;
            _ = &mut stopped => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        while api.sweep_once(&mut leftover).await {}
    }
}

impl RoomsApi {
    /// Tells whether there may be more to sweep at once. `leftover` is what the store could not
    /// delete; it is tried again with the next batch.
    pub(super) async fn sweep_once(&self, leftover: &mut Vec<String>) -> bool {
        let parts = &self.0.parts;
        let unix_seconds = (parts.clock)().unix_seconds().saturating_sub(LINGER_SECONDS);
        // While the store is away, no more is taken out than it can be told later.
        let room = BATCH_MAX.saturating_sub(leftover.len());
        let expired = parts.rooms.take_expired(unix_seconds, room);
        let is_full = expired.len() == BATCH_MAX;
        leftover.extend(expired);
        // An id may have been given to a new room since.
        leftover.retain(|room_id| parts.rooms.record(room_id).is_none());
        if leftover.is_empty() {
            return false;
        }
        let (store, room_ids) = (parts.store.clone(), std::mem::take(leftover));
        let deleted = self.0.blocking(move || match store.delete(&room_ids) {
            Ok(()) => Vec::new(),
            Err(error) => {
                tracing::warn!(%error, rooms = room_ids.len(), "expired rooms are still in the store");
                room_ids
            }
        });
        *leftover = deleted.await.unwrap_or_default();
        is_full && leftover.is_empty()
    }
}
