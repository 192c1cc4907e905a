//! What wakes the pump.

use std::task::{Poll, Waker};

use crate::base::sync::Mutex;

/// As tokio's, for one waiter: a notification that nobody waits for is kept, and no second one
/// beside it.
#[derive(Default)]
pub struct Notify(Mutex<(bool, Option<Waker>)>);

impl Notify {
    pub fn notify_one(&self) {
        let mut state = self.0.lock();
        state.0 = true;
        let waiter = state.1.take();
        drop(state);
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }

    pub async fn notified(&self) {
        std::future::poll_fn(|cx| {
            let mut state = self.0.lock();
            if std::mem::take(&mut state.0) {
                return Poll::Ready(());
            }
            state.1 = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
