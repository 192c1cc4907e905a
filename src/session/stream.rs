//! 0xAA frames straight on TCP.

use super::host::{Framing, Host};
use super::speaker::Speaker;
use super::{Conclusion, Settings, Step, Then};
use crate::dialect::binary;

pub(super) struct Stream {
    dialect: binary::Session,
    /// No whole frame has arrived yet.
    undecided: bool,
}

impl Stream {
    pub fn open(host: &mut dyn Host) -> Stream {
        host.set_framing(Framing::Stream);
        Stream { dialect: binary::Session::new(), undecided: true }
    }

    pub fn is_undecided(&self) -> bool {
        self.undecided
    }

    pub fn step(&mut self, settings: &Settings, bytes: &mut [u8], host: &mut dyn Host) -> Step {
        let mut speaker = Speaker::new(host, Framing::Stream);
        let progress = self.dialect.on_stream(&settings.binary, bytes, &mut speaker);
        self.undecided &= progress.consumed == 0;
        let then = match speaker.ending() {
            Some(_) => Then::Conclude(Conclusion::Hang),
            None => Then::Wait,
        };
        Step { used: progress.consumed, then }
    }

    pub fn dialect(&mut self) -> &mut binary::Session {
        &mut self.dialect
    }

    /// A stream has no Close frame: the client learns it from an ERROR.
    pub fn shutting_down(&self, host: &mut dyn Host) {
        let error = binary::write_refusal(self.dialect.form(), binary::Refusal::Draining, host.out());
        host.count_error(error);
        host.count_sent(binary::ERROR_MESSAGE_LABEL);
    }

    pub fn ended(&mut self, settings: &Settings, cause: &str, host: &mut dyn Host) {
        let mut speaker = Speaker::new(host, Framing::Stream);
        self.dialect.ended(&settings.binary, cause, &mut speaker);
    }
}
