//! Signals of the process, as notices to the main thread.

use std::io;
use std::sync::mpsc::Sender;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::Notice;

/// Starts a thread that waits for signals as long as the process lives.
pub(super) fn forward(notices: Sender<Notice>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            let notice = if signal == SIGHUP { Notice::Reload } else { Notice::Terminate };
            if notices.send(notice).is_err() {
                break;
            }
        }
    })?;
    Ok(())
}
