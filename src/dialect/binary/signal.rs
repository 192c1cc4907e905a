//! An offer, answer or candidate on its way to one target.
//!
//! Between ends that speak the same payload type the bytes pass as they are, with the sender
//! spliced in; a tag is put on or taken off where only one of them uses tags:
//!
//! ```text
//! {"SignalOffer":                                                          }   tag, where wanted
//!                {"target_client_id":"b","signal_data":"…"                }    object, as received
//!                                                         ,"sender_client_id":"a"     stamp
//!
//! {"sender_client_id":"liar","target_client_id":"b","signal_data":"…"}
//!                     └ own_sender: the stamp stands here instead
//! ```

use super::codes::MessageType;
use super::convert;
use super::fields::{self, SENDER};
use super::form::{Form, PayloadType};
use super::message::CLIENT_ID_BYTES_MAX;
use crate::dialect::{MessageLabel, MessageRef, Undeliverable};
use crate::wire::cbor;
use crate::wire::frame::{self, HEADER_BYTES, PAYLOAD_BYTES_MAX};
use crate::wire::json::{self, Span};

/// Where everything stands in the payload. The spans of objects are empty for binary and text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) uuid: [u8; 16],
    pub(super) message_type: MessageType,
    pub(super) form: Form,
    /// Whether the target is to learn who has sent this.
    pub(super) stamp: bool,
    pub(super) object: Span,
    pub(super) entries: Span,
    pub(super) target: Span,
    pub(super) data: Span,
    /// The value of a `sender_client_id` that the sender wrote itself.
    pub(super) own_sender: Option<Span>,
    /// It wrote more than one.
    pub(super) claims_repeat: bool,
    /// The sender's id is the same bytes in JSON.
    pub(super) plain_sender: bool,
}

/// One signal, borrowed from the sender's receive buffer.
#[derive(Clone, Copy)]
pub struct Signal<'a> {
    pub(super) head: Head,
    pub(super) sender: &'a str,
    pub(super) payload: &'a [u8],
}

/// A [`Signal`] that carries its bytes itself.
pub struct OwnedSignal {
    head: Head,
    sender_bytes: u8,
    /// The sender's id, then the payload.
    bytes: Vec<u8>,
}

/// How a signal will be written for one target, and how long it will be.
pub struct Plan {
    payload_type: PayloadType,
    payload_bytes: usize,
    how: How,
}

enum How {
    /// The payload as it was received.
    AsReceived,
    /// JSON between ends of one form, with a stamp behind its entries that needs no escapes: the
    /// normal case.
    Stamped,
    /// The payload's object, perhaps stamped, and with another tag than it came with.
    Splice { stamped: bool, target: Form },
    /// Said anew, for another payload type or because it lies more than once.
    Converted(Vec<u8>),
}

/// What stands before a sender's id at the end of a JSON object, its opening quote included.
const STAMP: &[u8] = b",\"sender_client_id\":\"";

impl Head {
    pub(super) fn new(uuid: [u8; 16], message_type: MessageType, form: Form, stamp: bool) -> Head {
        let none = Span::default();
        let (object, entries, target, data) = (none, none, none, none);
        let (own_sender, claims_repeat, plain_sender) = (None, false, false);
        Head {
            uuid,
            message_type,
            form,
            stamp,
            object,
            entries,
            target,
            data,
            own_sender,
            claims_repeat,
            plain_sender,
        }
    }
}

impl Plan {
    /// Bytes of the whole frame.
    pub fn len(&self) -> usize {
        HEADER_BYTES + self.payload_bytes
    }

    /// Never: a frame has a header.
    pub fn is_empty(&self) -> bool {
        false
    }
}

impl Signal<'_> {
    pub fn reference(&self) -> MessageRef {
        MessageRef::Frame { uuid: self.head.uuid, message_type: self.head.message_type as u8 }
    }

    pub fn label(&self) -> MessageLabel {
        self.head.message_type.label()
    }

    /// # Errors
    /// [`Undeliverable::TooLarge`] and [`Undeliverable::Unconvertible`].
    pub fn plan(&self, target: Form) -> Result<Plan, Undeliverable> {
        if target.payload_type == self.head.form.payload_type {
            self.plan_splice(target)
        } else {
            let payload = convert::payload(self, target)?;
            Ok(Plan {
                payload_type: target.payload_type,
                payload_bytes: payload.len(),
                how: How::Converted(payload),
            })
        }
    }

    /// Appends one whole frame, exactly `plan.len()` bytes. The plan has to be this signal's.
    pub fn write(&self, plan: &Plan, out: &mut Vec<u8>) {
        let (head, payload_type) = (&self.head, plan.payload_type as u8);
        out.reserve(plan.len());
        frame::write_header(out, head.message_type as u8, &head.uuid, payload_type, plan.payload_bytes)
            .expect("no plan is made for a payload that does not fit a frame");
        match &plan.how {
            How::AsReceived => out.extend_from_slice(self.payload),
            How::Stamped => {
                let end = self.head.entries.end;
                out.extend_from_slice(self.part(0, end));
                // Never the first member: the target stands before it.
                out.extend_from_slice(STAMP);
                out.extend_from_slice(self.sender.as_bytes());
                out.push(b'"');
                out.extend_from_slice(self.part(end, self.payload.len() as u32));
            }
            How::Converted(payload) => out.extend_from_slice(payload),
            How::Splice { stamped, target } => match target.payload_type {
                PayloadType::Json => self.write_json(*stamped, *target, out),
                PayloadType::Cbor => self.write_cbor(*stamped, *target, out),
                PayloadType::Binary => {
                    out.push(self.sender.len() as u8);
                    self.write_sender_and_rest(out);
                }
                PayloadType::Text => self.write_sender_and_rest(out),
            },
        }
    }

    pub fn to_owned(&self) -> OwnedSignal {
        let mut bytes = Vec::with_capacity(self.sender.len() + self.payload.len());
        bytes.extend_from_slice(self.sender.as_bytes());
        bytes.extend_from_slice(self.payload);
        OwnedSignal { head: self.head, sender_bytes: self.sender.len() as u8, bytes }
    }

    fn plan_splice(&self, target: Form) -> Result<Plan, Undeliverable> {
        let head = &self.head;
        let stamped = self.payload.len() + STAMP.len() + self.sender.len() + 1;
        let is_usual = target == head.form && target.payload_type == PayloadType::Json;
        let is_plain = head.stamp && head.plain_sender && head.own_sender.is_none();
        if is_usual && is_plain && stamped <= PAYLOAD_BYTES_MAX {
            return Ok(Plan { payload_type: target.payload_type, payload_bytes: stamped, how: How::Stamped });
        }
        if self.head.stamp && self.head.claims_repeat {
            return self.plan_overwritten(target);
        }
        let (plain, stamped) = match target.payload_type {
            PayloadType::Json => self.json_bytes(target),
            PayloadType::Cbor => self.cbor_bytes(target),
            PayloadType::Binary => (self.payload.len(), self.bytes_with_sender()),
            PayloadType::Text if self.head.stamp && self.sender.contains(':') => {
                return Err(Undeliverable::Unconvertible);
            }
            PayloadType::Text => (self.payload.len(), self.bytes_with_sender()),
        };
        let plan = |payload_bytes, how| Ok(Plan { payload_type: target.payload_type, payload_bytes, how });
        if self.head.stamp && stamped <= PAYLOAD_BYTES_MAX {
            return plan(stamped, How::Splice { stamped: true, target });
        }
        // Without its stamp a signal may pass where it claims no sender.
        if (self.head.stamp && self.head.own_sender.is_some()) || plain > PAYLOAD_BYTES_MAX {
            return Err(Undeliverable::TooLarge);
        }
        if target == self.head.form {
            plan(plain, How::AsReceived)
        } else {
            plan(plain, How::Splice { stamped: false, target })
        }
    }

    /// Puts the truth in the place of every claim, so that whichever a reader takes is true.
    fn plan_overwritten(&self, target: Form) -> Result<Plan, Undeliverable> {
        let payload_type = target.payload_type;
        let claims = fields::values_named(payload_type, self.head.object.of(self.payload), SENDER)
            .map_err(|_| Undeliverable::Unconvertible)?;
        let mut payload = Vec::with_capacity(self.payload.len());
        self.write_tag(target, &mut payload);
        let passing = self.passing(target);
        let mut from = passing.start;
        for claim in claims {
            let start = self.head.object.start + claim.start;
            payload.extend_from_slice(self.part(from, start));
            match payload_type {
                PayloadType::Cbor => cbor::write_text(&mut payload, self.sender),
                _ => json::write_string(&mut payload, self.sender),
            }
            from = start + claim.len() as u32;
        }
        payload.extend_from_slice(self.part(from, passing.end));
        if payload_type == PayloadType::Json && self.puts_tag_on(target) {
            payload.push(b'}');
        }
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Undeliverable::TooLarge);
        }
        Ok(Plan { payload_type, payload_bytes: payload.len(), how: How::Converted(payload) })
    }

    /// Opens the tag, where the target wants one and the payload has none.
    fn write_tag(&self, target: Form, out: &mut Vec<u8>) {
        if !self.puts_tag_on(target) {
            return;
        }
        let tag = self.head.message_type.tag();
        if target.payload_type == PayloadType::Cbor {
            cbor::write_map_head(out, 1);
            cbor::write_text(out, tag);
        } else {
            out.extend_from_slice(b"{\"");
            out.extend_from_slice(tag.as_bytes());
            out.extend_from_slice(b"\":");
        }
    }

    /// With the sender's name in place of the target's.
    fn bytes_with_sender(&self) -> usize {
        self.payload.len() - self.head.target.len() + self.sender.len()
    }

    /// The name, then everything behind the name that was received.
    fn write_sender_and_rest(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.sender.as_bytes());
        out.extend_from_slice(self.part(self.head.target.end, self.payload.len() as u32));
    }

    /// What is spliced out for the stamp: the sender's own claim, or nothing at the end of the
    /// entries.
    fn gap(&self) -> Span {
        let end = self.head.entries.end;
        self.head.own_sender.unwrap_or(Span { start: end, end })
    }

    /// The part of the payload that passes: all of it, or the object without its tag.
    fn passing(&self, target: Form) -> Span {
        if target.tagged == self.head.form.tagged {
            Span { start: 0, end: self.payload.len() as u32 }
        } else {
            self.head.object
        }
    }

    fn puts_tag_on(&self, target: Form) -> bool {
        target.tagged && !self.head.form.tagged
    }

    fn part(&self, start: u32, end: u32) -> &[u8] {
        Span { start, end }.of(self.payload)
    }

    /// Without and with the stamp.
    fn json_bytes(&self, target: Form) -> (usize, usize) {
        let tag = if self.puts_tag_on(target) { self.head.message_type.tag().len() + 5 } else { 0 };
        let plain = self.passing(target).len() + tag;
        let key = if self.head.own_sender.is_some() { 0 } else { SENDER.len() + 4 };
        (plain, plain - self.gap().len() + key + json::string_bytes(self.sender))
    }

    fn write_json(&self, stamped: bool, target: Form, out: &mut Vec<u8>) {
        let (passing, gap) = (self.passing(target), self.gap());
        self.write_tag(target, out);
        if stamped {
            out.extend_from_slice(self.part(passing.start, gap.start));
            if self.head.own_sender.is_none() {
                out.extend_from_slice(&STAMP[..STAMP.len() - 1]);
            }
            json::write_string(out, self.sender);
            out.extend_from_slice(self.part(gap.end, passing.end));
        } else {
            out.extend_from_slice(passing.of(self.payload));
        }
        if self.puts_tag_on(target) {
            out.push(b'}');
        }
    }

    /// The map's head with one entry more, where it counts its entries and gets one more.
    fn cbor_new_head(&self) -> Option<u64> {
        let entries = cbor::entries(self.head.object.of(self.payload))?;
        self.head.own_sender.is_none().then_some(entries + 1)
    }

    /// Without and with the stamp.
    fn cbor_bytes(&self, target: Form) -> (usize, usize) {
        let tag =
            if self.puts_tag_on(target) { 1 + cbor::text_bytes(self.head.message_type.tag()) } else { 0 };
        let plain = self.passing(target).len() + tag;
        let mut stamped = plain - self.gap().len() + cbor::text_bytes(self.sender);
        if self.head.own_sender.is_none() {
            stamped += cbor::text_bytes(SENDER);
        }
        if let Some(entries) = self.cbor_new_head() {
            let old = self.head.entries.start - self.head.object.start;
            stamped = stamped - old as usize + cbor::map_head_bytes(entries);
        }
        (plain, stamped)
    }

    fn write_cbor(&self, stamped: bool, target: Form, out: &mut Vec<u8>) {
        let (passing, gap) = (self.passing(target), self.gap());
        self.write_tag(target, out);
        if !stamped {
            out.extend_from_slice(passing.of(self.payload));
            return;
        }
        let mut from = passing.start;
        if let Some(entries) = self.cbor_new_head() {
            out.extend_from_slice(self.part(from, self.head.object.start));
            cbor::write_map_head(out, entries);
            from = self.head.entries.start;
        }
        out.extend_from_slice(self.part(from, gap.start));
        if self.head.own_sender.is_none() {
            cbor::write_text(out, SENDER);
        }
        cbor::write_text(out, self.sender);
        out.extend_from_slice(self.part(gap.end, passing.end));
    }
}

impl OwnedSignal {
    pub fn borrow(&self) -> Signal<'_> {
        let (sender, payload) = self.bytes.split_at(usize::from(self.sender_bytes));
        let sender = std::str::from_utf8(sender).expect("was copied from a str");
        Signal { head: self.head, sender, payload }
    }

    pub fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
    }
}

const _: () = assert!(CLIENT_ID_BYTES_MAX <= u8::MAX as usize, "sender_bytes holds any client id");
