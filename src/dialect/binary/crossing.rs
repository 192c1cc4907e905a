//! Signals that come from, or go to, another dialect of the realm.

use std::borrow::Cow;

use super::codes::MessageType;
use super::convert;
use super::form::Form;
use super::signal::Signal;
use crate::dialect::{Undeliverable, crossing};
use crate::hub::{self, SignalKind};
use crate::wire::frame::{self, HEADER_BYTES};

impl Signal<'_> {
    /// What another dialect is told. `None` where the data is no SDP or candidate.
    pub fn crossing(&self) -> Option<hub::Signal<'_>> {
        let (kind, body) = (kind(self.head.message_type)?, convert::data_text(self)?);
        let body = match kind {
            SignalKind::Offer | SignalKind::Answer => crossing::sdp(body)?,
            SignalKind::Candidate => crossing::candidate(body)?,
        };
        Some(hub::Signal { kind, from: Cow::Borrowed(self.sender), body })
    }
}

/// The frame by which a client called `to` learns of a signal from another dialect.
///
/// # Errors
/// [`Undeliverable::TooLarge`] and [`Undeliverable::Unconvertible`].
pub fn write_crossing(
    signal: &hub::Signal<'_>,
    to: &str,
    form: Form,
    random: u128,
) -> Result<Vec<u8>, Undeliverable> {
    let message_type = match signal.kind {
        SignalKind::Offer => MessageType::SignalOffer,
        SignalKind::Answer => MessageType::SignalAnswer,
        SignalKind::Candidate => MessageType::SignalIceCandidate,
    };
    let payload = convert::said_anew(message_type, form, &signal.from, to, &signal.body)?;
    let uuid = uuid::Builder::from_random_bytes(random.to_be_bytes()).into_uuid();
    let mut out = Vec::with_capacity(HEADER_BYTES + payload.len());
    frame::write_header(
        &mut out,
        message_type as u8,
        uuid.as_bytes(),
        form.payload_type as u8,
        payload.len(),
    )
    .map_err(|_| Undeliverable::TooLarge)?;
    out.extend_from_slice(&payload);
    Ok(out)
}

fn kind(message_type: MessageType) -> Option<SignalKind> {
    match message_type {
        MessageType::SignalOffer => Some(SignalKind::Offer),
        MessageType::SignalAnswer => Some(SignalKind::Answer),
        MessageType::SignalIceCandidate => Some(SignalKind::Candidate),
        _ => None,
    }
}
