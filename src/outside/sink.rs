//! Where events go, and how one event is written as JSON.

use std::io;
use std::pin::Pin;

use serde::ser::{SerializeMap, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Iso8601;
use time::format_description::well_known::iso8601::{Config, EncodedConfig, TimePrecision};

use crate::observe::{Detail, Event};

/// RFC 3339 with milliseconds, always three digits of them.
const TIMESTAMP: EncodedConfig = Config::DEFAULT
    .set_time_precision(TimePrecision::Second { decimal_digits: std::num::NonZeroU8::new(3) })
    .encode();

/// What came of a batch.
pub type Written<'a> = Pin<Box<dyn Future<Output = Result<(), Lost>> + 'a>>;

pub type Finished<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// A batch that the sink could not write to its end.
#[derive(Debug)]
pub struct Lost {
    /// Events of the batch that are nowhere now.
    pub events: usize,
    pub cause: io::Error,
}

/// One place that takes events. It is given each batch once; what it loses is counted, and the next
/// batch is its next chance.
pub trait Sink {
    /// As the configuration names it.
    fn name(&self) -> &'static str;

    /// False while all that it is given is for nothing.
    fn takes_events(&self) -> bool {
        true
    }

    fn write<'a>(&'a mut self, events: &'a [Event]) -> Written<'a>;

    /// No further batch will come: resolves when what was taken is where it belongs, or is lost.
    fn finish(&mut self) -> Finished<'_> {
        Box::pin(std::future::ready(()))
    }
}

/// Appends `{"event_type":…,"client_id":…,"timestamp":…,…}`.
pub(super) fn write_json(event: &Event, out: &mut Vec<u8>) {
    let mut serializer = serde_json::Serializer::new(out);
    let written = (|| {
        let mut map = serializer.serialize_map(Some(3 + event.details.len()))?;
        map.serialize_entry("event_type", event.event_type)?;
        map.serialize_entry("client_id", &event.client_id)?;
        map.serialize_entry("timestamp", &timestamp(event.unix_ms))?;
        serialize_details(event, &mut map)?;
        map.end()
    })();
    written.expect("strings under strings are valid JSON, and a Vec takes everything");
}

/// `{"name":value,…}`, for a log line that takes one field.
pub(super) fn details_json(event: &Event) -> String {
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::new(&mut out);
    let written = (|| {
        let mut map = serializer.serialize_map(Some(event.details.len()))?;
        serialize_details(event, &mut map)?;
        map.end()
    })();
    written.expect("strings and numbers under strings are valid JSON, and a Vec takes everything");
    String::from_utf8(out).expect("JSON is UTF-8")
}

fn serialize_details<M: SerializeMap>(event: &Event, map: &mut M) -> Result<(), M::Error> {
    for (name, value) in &event.details {
        match value {
            Detail::Text(text) => map.serialize_entry(name, text)?,
            Detail::Number(number) => map.serialize_entry(name, number)?,
        }
    }
    Ok(())
}

/// As RFC 3339. A time beyond the year 9999 is shown as the epoch.
pub(super) fn timestamp(unix_ms: u64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
        .format(&Iso8601::<TIMESTAMP>)
        .expect("a date in UTC of a four-digit year has every part that the format asks for")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_of_json_whatever_its_client_is_called() {
        let event = Event {
            event_type: "client_connected",
            client_id: "a\"\n\u{7f}é".into(),
            unix_ms: 1_700_000_000_007,
            details: vec![("reason", "x\ny".into())],
        };
        let mut out = Vec::new();
        write_json(&event, &mut out);
        assert!(!out.contains(&b'\n'));
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["event_type"], "client_connected");
        assert_eq!(value["client_id"], "a\"\n\u{7f}é");
        assert_eq!(value["timestamp"], "2023-11-14T22:13:20.007Z");
        assert_eq!(value["reason"], "x\ny");
        assert_eq!(value.as_object().unwrap().len(), 4);
    }

    #[test]
    fn timestamps_always_have_three_digits_of_milliseconds() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(timestamp(951_782_400_120), "2000-02-29T00:00:00.120Z");
        assert_eq!(timestamp(253_402_300_799_999), "9999-12-31T23:59:59.999Z");
        assert_eq!(timestamp(u64::MAX), "1970-01-01T00:00:00.000Z");
    }
}
