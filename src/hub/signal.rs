//! A signal in no dialect's words: what passes when sender and target speak different dialects of
//! one realm.

use std::borrow::Cow;

/// What a signal is about; every dialect has these three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalKind {
    Offer,
    Answer,
    Candidate,
}

/// One offer, answer or candidate between two ids of a realm.
#[derive(Clone, PartialEq, Eq)]
pub struct Signal<'a> {
    pub kind: SignalKind,
    /// The sender's id in the realm.
    pub from: Cow<'a, str>,
    /// Of an offer or answer the SDP text; of a candidate the JSON text of the candidate object.
    pub body: Cow<'a, str>,
}
