//! Who else is in the room, and what a peer says about itself.

use serde_json::Value;

use super::Settings;
use super::codes::{Code, MessageType};
use super::message::{Fault, Field, Message};
use super::register::{METADATA_TOO_LARGE, read_metadata};
use super::reply;
use super::session::{Session, answer, answer_error};
use crate::dialect::Context;
use crate::hub::rooms::{Comparison, Filter, MetadataPatch, PeerView, UpdateRefused};
use crate::wire::json::write_string;

/// Filters of one message, as they are sent.
const FILTERS_BYTES_MAX: usize = 16_384;

/// A longer list is refused. It is below the default of `outbox_reserve_bytes`, so that a reader
/// whose outbox is full does not lose its connection by asking.
const LIST_BYTES_MAX: usize = 196_608;

impl Session {
    pub(super) fn on_discover(
        &mut self,
        settings: &Settings,
        message: &Message<'_>,
        ctx: &mut dyn Context,
    ) -> Result<(), Fault> {
        message.says_its_sender(&[Field::FromPeerId])?;
        let filter = match message.raw(Field::Filters) {
            Some(raw) => read_filter(raw)?,
            None => Filter::default(),
        };
        let Some(registered) = &self.registered else { return Ok(()) };
        let mut list = List::default();
        settings.rooms.discover(&registered.room_id, &registered.peer_id, &filter, |peer| {
            list.push(|out| write_peer(peer, out));
        });
        let Some((count, peers)) = list.finish() else {
            answer_error(ctx, Code::DeliveryFailed, LIST_TOO_LONG);
            return Ok(());
        };
        let mut out = Vec::with_capacity(peers.len() + 128);
        reply::write_peer_list(&registered.peer_id, count, &peers, &mut out);
        answer(ctx, MessageType::PeerList, &out);
        Ok(())
    }

    /// The discovery of version 1: ids alone.
    pub(super) fn on_query(
        &mut self,
        settings: &Settings,
        message: &Message<'_>,
        ctx: &mut dyn Context,
    ) -> Result<(), Fault> {
        message.claims_no_other()?;
        let Some(registered) = &self.registered else { return Ok(()) };
        let mut list = List::default();
        settings.rooms.discover(&registered.room_id, &registered.peer_id, &Filter::default(), |peer| {
            list.push(|out| write_string(out, peer.peer_id));
        });
        let Some((_, peers)) = list.finish() else {
            answer_error(ctx, Code::DeliveryFailed, LIST_TOO_LONG);
            return Ok(());
        };
        let mut out = Vec::with_capacity(peers.len() + 64);
        reply::write_available_peers(&peers, &mut out);
        answer(ctx, MessageType::AvailablePeers, &out);
        Ok(())
    }

    pub(super) fn on_update_metadata(
        &mut self,
        settings: &Settings,
        message: &Message<'_>,
        ctx: &mut dyn Context,
    ) -> Result<(), Fault> {
        message.claims_no_other()?;
        let Some(registered) = &self.registered else { return Ok(()) };
        if message.required(Field::PeerId)? != *registered.peer_id {
            return Err(Fault::AnotherSender);
        }
        let raw = message.raw(Field::Metadata).ok_or(Fault::Missing(Field::Metadata))?;
        let patch = MetadataPatch::new(read_metadata(raw, settings)?)
            .map_err(|_| Fault::Bad(Field::Metadata, METADATA_SHAPE))?;
        let me = ctx.around().me();
        let updated = settings.rooms.update_metadata(&registered.room_id, &registered.peer_id, me, patch);
        match updated {
            Ok(metadata) => {
                let mut json = Vec::with_capacity(metadata.size_bytes());
                write_value(metadata.value(), &mut json);
                let mut out = Vec::with_capacity(json.len() + 128);
                reply::write_metadata_updated(&registered.peer_id, &json, &mut out);
                answer(ctx, MessageType::MetadataUpdated, &out);
                Ok(())
            }
            Err(UpdateRefused::MetadataTooLarge) => Err(METADATA_TOO_LARGE),
            // It has been replaced or deleted, and its connection is about to hear of it.
            Err(UpdateRefused::NotThere) => {
                answer_error(ctx, Code::NotInRoom, "Peer is not registered in any room");
                Ok(())
            }
        }
    }
}

const LIST_TOO_LONG: &str = "The list of peers is too long; a filter makes it shorter";
const METADATA_SHAPE: &str = "has to be an object, its tags an array and its properties an object";
const FILTERS_SHAPE: &str = "has to be an object with role, tags and properties";

/// The inside of a JSON array, up to [`LIST_BYTES_MAX`].
#[derive(Default)]
struct List {
    json: Vec<u8>,
    count: usize,
}

impl List {
    fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.json.len() > LIST_BYTES_MAX {
            return;
        }
        if self.count > 0 {
            self.json.push(b',');
        }
        write(&mut self.json);
        self.count += 1;
    }

    /// `None` where it was too long.
    fn finish(self) -> Option<(usize, Vec<u8>)> {
        (self.json.len() <= LIST_BYTES_MAX).then_some((self.count, self.json))
    }
}

fn write_peer(peer: &PeerView<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"peer_id\":");
    write_string(out, peer.peer_id);
    out.extend_from_slice(b",\"role\":");
    write_string(out, peer.role);
    out.extend_from_slice(b",\"metadata\":");
    write_value(peer.metadata.value(), out);
    out.extend_from_slice(format!(",\"connected_at\":{}}}", peer.connected_at_unix_seconds).as_bytes());
}

fn write_value(value: &Value, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("a JSON value is JSON, and a vector takes everything");
}

/// `{"role": text, "tags": [text, …], "properties": {name: value or operators, …}}`. Other keys
/// are passed over: deployed clients name their room there.
fn read_filter(raw: &str) -> Result<Filter, Fault> {
    let bad = |why| Fault::Bad(Field::Filters, why);
    if raw.len() > FILTERS_BYTES_MAX {
        return Err(bad("is too large"));
    }
    let Ok(Value::Object(mut filters)) = serde_json::from_str(raw) else {
        return Err(bad(FILTERS_SHAPE));
    };
    let role = match filters.remove("role") {
        None | Some(Value::Null) => None,
        Some(Value::String(role)) => Some(role),
        Some(_) => return Err(bad("has a role that is not a string")),
    };
    let tags = match filters.remove("tags") {
        None | Some(Value::Null) => Vec::new(),
        Some(tags) => {
            serde_json::from_value(tags).map_err(|_| bad("has tags that are not an array of strings"))?
        }
    };
    let properties = match filters.remove("properties") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Object(properties)) => properties
            .into_iter()
            .map(|(name, wanted)| Ok((name, read_comparisons(wanted)?)))
            .collect::<Result<_, Fault>>()?,
        Some(_) => return Err(bad("has properties that are not an object")),
    };
    Filter::new(role, tags, properties).map_err(|_| bad("has too many tags and operands"))
}

/// A value stands for its equal; an object holds operators.
fn read_comparisons(wanted: Value) -> Result<Vec<Comparison>, Fault> {
    let Value::Object(operators) = wanted else { return Ok(vec![Comparison::Equal(wanted)]) };
    operators.into_iter().map(|(operator, operand)| read_comparison(&operator, operand)).collect()
}

fn read_comparison(operator: &str, operand: Value) -> Result<Comparison, Fault> {
    let bad = |why| Err(Fault::Bad(Field::Filters, why));
    Ok(match (operator, operand) {
        ("$eq", operand) => Comparison::Equal(operand),
        ("$ne", operand) => Comparison::NotEqual(operand),
        ("$gt", operand) => Comparison::Greater(operand),
        ("$gte", operand) => Comparison::GreaterOrEqual(operand),
        ("$lt", operand) => Comparison::Less(operand),
        ("$lte", operand) => Comparison::LessOrEqual(operand),
        ("$in", Value::Array(operands)) => Comparison::OneOf(operands),
        ("$in", _) => return bad("has an $in that is not an array"),
        _ => return bad("has an unknown operator"),
    })
}
