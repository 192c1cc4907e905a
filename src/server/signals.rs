//! Signals of the process, as notices to the main thread.

use std::io;
use std::sync::mpsc::Sender;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

use super::Notice;

/// Starts a thread that waits for signals as long as the process lives.
pub(super) fn forward(notices: Sender<Notice>) -> io::Result<()> {
    // A file that may not grow (RLIMIT_FSIZE) is a failed write and not the end of the process.
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGXFSZ])?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            let notice = match signal {
                SIGHUP => Notice::Reload,
                // Whose write has failed tells of it.
                SIGXFSZ => continue,
                _ => Notice::Terminate,
            };
            if notices.send(notice).is_err() {
                break;
            }
        }
    })?;
    Ok(())
}
