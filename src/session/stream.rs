//! 0xAA frames straight on TCP.

use super::host::{Framing, Host};
use super::speaker::{Ending, Speaker};
use super::{Conclusion, Settings, Step, Then};
use crate::dialect::{Context, MessageRef, Undeliverable, binary};
use crate::observe::Event;

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
        let progress = self.dialect.on_stream(&settings.dialects.binary, bytes, &mut speaker);
        self.undecided &= progress.consumed == 0;
        let then = match speaker.ending() {
            Some(_) => Then::Conclude(Conclusion::Hang),
            None => Then::Wait,
        };
        Step { used: progress.consumed, then }
    }

    /// Has the dialect do or say something of its own accord.
    pub fn say(
        &mut self,
        host: &mut dyn Host,
        what: impl FnOnce(&mut binary::Session, &mut dyn Context),
    ) -> Option<Ending> {
        let mut speaker = Speaker::new(host, Framing::Stream);
        what(&mut self.dialect, &mut speaker);
        speaker.ending()
    }

    pub fn undeliverable(
        &self,
        reference: &MessageRef,
        cause: Undeliverable,
        host: &dyn Host,
    ) -> Option<Event> {
        let sender = self.dialect.client_id()?;
        Some(binary::undeliverable_event(sender, None, reference, cause, host.now()))
    }

    /// A stream has no Close frame: the client learns it from an ERROR.
    pub fn shutting_down(&self, host: &mut dyn Host) {
        let error = binary::write_refusal(self.dialect.form(), binary::Refusal::Draining, host.out());
        host.count_error(error);
        host.count_sent(binary::ERROR_MESSAGE_LABEL);
    }
}
