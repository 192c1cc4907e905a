//! The eventfd by which shards wake the front.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use tokio::sync::Notify;
use tokio::task::{JoinError, JoinHandle};

/// Listens from a task of its own that is never cancelled: dropping a read of this runtime leaves
/// it armed in the kernel, where it would swallow the next pull.
pub(super) struct Bell {
    heard: Rc<Notify>,
    silenced: Rc<Cell<bool>>,
    listener: JoinHandle<io::Result<()>>,
    /// To end the last read with a pull of our own.
    own: OwnedFd,
}

impl Bell {
    /// To be called on the runtime.
    pub(super) fn new(eventfd: OwnedFd) -> io::Result<Bell> {
        let own = eventfd.try_clone()?;
        let (heard, silenced) = (Rc::new(Notify::new()), Rc::new(Cell::new(false)));
        let listener = tokio_uring::spawn(listen(eventfd, heard.clone(), silenced.clone()));
        Ok(Bell { heard, silenced, listener, own })
    }

    /// Resolves when the bell has been pulled since the last call. May be dropped at any time.
    ///
    /// # Errors
    /// When the eventfd cannot be read. Not to be called again after that.
    pub(super) async fn was_pulled(&mut self) -> io::Result<()> {
        tokio::select! {
            biased;
            () = self.heard.notified() => Ok(()),
            failed = &mut self.listener => flatten(failed),
        }
    }

    /// Ends the listening.
    ///
    /// # Errors
    /// Those of [`Bell::was_pulled`], if nobody has been told.
    pub(super) async fn silence(self) -> io::Result<()> {
        if self.listener.is_finished() {
            return Ok(());
        }
        self.silenced.set(true);
        rustix::io::write(&self.own, &1u64.to_ne_bytes())?;
        flatten(self.listener.await)
    }
}

async fn listen(eventfd: OwnedFd, heard: Rc<Notify>, silenced: Rc<Cell<bool>>) -> io::Result<()> {
    let file = tokio_uring::fs::File::from_std(File::from(eventfd));
    let mut pulls = vec![0; 8];
    while !silenced.get() {
        // An eventfd has no position.
        let (result, buffer) = file.read_at(pulls, 0).await;
        pulls = buffer;
        match result {
            Ok(_) => heard.notify_one(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    file.close().await
}

fn flatten(ended: Result<io::Result<()>, JoinError>) -> io::Result<()> {
    ended.unwrap_or_else(|error| Err(io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    use rustix::event::{EventfdFlags, eventfd};

    use super::*;

    #[test]
    fn every_pull_is_heard_also_after_a_wait_was_given_up_whether_the_eventfd_blocks_or_not() {
        for flags in [EventfdFlags::CLOEXEC, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK] {
            let shard = eventfd(0, flags).unwrap();
            let pull = || rustix::io::write(&shard, &1u64.to_ne_bytes()).unwrap();
            tokio_uring::start(async {
                let mut bell = Bell::new(shard.try_clone().unwrap()).unwrap();
                for _ in 0..3 {
                    {
                        let mut given_up = pin!(bell.was_pulled());
                        let pending =
                            poll_fn(|cx| Poll::Ready(given_up.as_mut().poll(cx).is_pending())).await;
                        assert!(pending, "nobody has pulled");
                    }
                    // Lets the read reach the kernel.
                    tokio::time::sleep(std::time::Duration::ZERO).await;
                    pull();
                    bell.was_pulled().await.unwrap();
                }
                bell.silence().await.unwrap();
            });
        }
    }
}
