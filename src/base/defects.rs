//! Defects that tests plant, one at a time, to show that the simulation finds them.
//!
//! Beside the code of the unit tests there is nothing of this: `planted!` is `false`, and the list of
//! defects does not exist.

#[cfg(test)]
use std::cell::Cell;

/// Whether a defect has been planted, where that can be.
#[cfg(test)]
macro_rules! planted {
    ($defect:ident) => {
        $crate::base::is_planted($crate::base::Defect::$defect)
    };
}

#[cfg(not(test))]
macro_rules! planted {
    ($defect:ident) => {
        false
    };
}

pub(crate) use planted;

/// Lists defects by the promise that they break.
#[cfg(test)]
macro_rules! defects {
    ($($promise:ident: $($defect:ident),+;)+) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Defect {
            $($($defect,)+)+
        }

        pub const DEFECTS: &[(&str, &[Defect])] =
            &[$((stringify!($promise), &[$(Defect::$defect),+])),+];
    };
}

#[cfg(test)]
defects! {
    Order: OverflowOvertaken, OverflowReversed;
    NoSilentLoss: BounceDropped, ExpiredDropped, CutQueueDropped, ReturnUnpublished, LastWordsDropped;
    AtMostOnce: FullAfterQueued, ReceiptCountedTwice, BatchSentAgain;
    Bounds: OverflowUnbounded, OutboxUnbounded, SlowReaderKept, SeatsUncounted;
    NoGhosts: SuccessorEvicted, LeaveUnchecked, IdKept, SeatNotPurged, RoomPeerKept;
    NoCrossTalk: GenerationUnchecked, RoomUnchecked, CallUnchecked, RealmUnchecked;
    NoImpersonation: SenderKept, FromUnchecked, IdTakenOver, CredentialsUnchecked, RoomTokenUnchecked;
    BadInput: BadFrameUnanswered, BadTextUnanswered;
    Privacy: TokenPublished, SessionPublished;
    Liveness: BellUnrung, HeldForEver, KeysForgotten;
}

#[cfg(test)]
thread_local! {
    // Tests run side by side, and a simulated world on one thread.
    static PLANTED: Cell<Option<Defect>> = const { Cell::new(None) };
}

#[cfg(test)]
pub fn is_planted(defect: Defect) -> bool {
    PLANTED.get() == Some(defect)
}

/// Runs with this defect, on this thread.
#[cfg(test)]
pub fn with_planted<T>(defect: Defect, run: impl FnOnce() -> T) -> T {
    PLANTED.set(Some(defect));
    let result = run();
    PLANTED.set(None);
    result
}
