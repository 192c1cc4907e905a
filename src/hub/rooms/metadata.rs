//! What a peer says about itself.
//!
//! ```text
//! {"tags": ["gpu", …], "properties": {"gpu_memory_mb": 16384, …}, any other key: anything}
//! ```
//!
//! The shape is a habit of the applications and not a duty: any JSON value is kept as it is.

use std::collections::HashSet;
use std::fmt;
use std::io;

use serde::Serialize;
use serde_json::{Map, Value};

const TAGS: &str = "tags";
const PROPERTIES: &str = "properties";

/// Any JSON value. Serializes as that value; numbers keep their precision up to 64 bits. `Debug`
/// shows its size alone, since applications put anything into it.
#[derive(Clone, PartialEq)]
pub struct Metadata {
    value: Value,
    size_bytes: usize,
}

impl Metadata {
    pub fn new(value: Value) -> Metadata {
        let size_bytes = json_bytes(&value);
        Metadata { value, size_bytes }
    }

    pub fn value(&self) -> &Value {
        &self.value
    }

    /// As compact JSON.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// The strings among the tags.
    pub(super) fn tags(&self) -> impl Iterator<Item = &str> {
        self.value.get(TAGS).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }

    pub(super) fn property(&self, name: &str) -> Option<&Value> {
        self.value.get(PROPERTIES)?.get(name)
    }

    /// What comes of this with `patch` over it: tags united in their order, properties and all
    /// other keys overridden one by one, and kept where the patch does not name them.
    pub(super) fn merged(&self, patch: MetadataPatch) -> Metadata {
        let mut merged = match &self.value {
            Value::Object(present) => present.clone(),
            _ => Map::new(),
        };
        for (name, sent) in patch.0 {
            match (name.as_str(), merged.get_mut(&name), sent) {
                (TAGS, Some(Value::Array(present)), Value::Array(sent)) => unite(present, sent),
                (PROPERTIES, Some(Value::Object(present)), Value::Object(sent)) => present.extend(sent),
                (_, _, sent) => {
                    merged.insert(name, sent);
                }
            }
        }
        Metadata::new(Value::Object(merged))
    }
}

/// The empty object.
impl Default for Metadata {
    fn default() -> Metadata {
        Metadata::new(Value::Object(Map::new()))
    }
}

impl Serialize for Metadata {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metadata").field("size_bytes", &self.size_bytes).finish_non_exhaustive()
    }
}

/// A change to [`Metadata`].
#[derive(Clone, PartialEq)]
pub struct MetadataPatch(Map<String, Value>);

/// Why a JSON value is no change to metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataPatchError {
    NotAnObject,
    TagsAreNoArray,
    PropertiesAreNoObject,
}

impl MetadataPatch {
    /// `null` for the tags or the properties means that they are not sent.
    pub fn new(value: Value) -> Result<MetadataPatch, MetadataPatchError> {
        let Value::Object(mut patch) = value else {
            return Err(MetadataPatchError::NotAnObject);
        };
        match patch.get(TAGS) {
            None | Some(Value::Array(_)) => {}
            Some(Value::Null) => drop(patch.remove(TAGS)),
            Some(_) => return Err(MetadataPatchError::TagsAreNoArray),
        }
        match patch.get(PROPERTIES) {
            None | Some(Value::Object(_)) => {}
            Some(Value::Null) => drop(patch.remove(PROPERTIES)),
            Some(_) => return Err(MetadataPatchError::PropertiesAreNoObject),
        }
        Ok(MetadataPatch(patch))
    }
}

impl fmt::Debug for MetadataPatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetadataPatch").field("keys", &self.0.len()).finish_non_exhaustive()
    }
}

impl fmt::Display for MetadataPatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MetadataPatchError::NotAnObject => "metadata is not an object",
            MetadataPatchError::TagsAreNoArray => "tags are not an array",
            MetadataPatchError::PropertiesAreNoObject => "properties are not an object",
        })
    }
}

impl std::error::Error for MetadataPatchError {}

/// By way of a set, since both lists can be thousands long and the room waits meanwhile.
fn unite(present: &mut Vec<Value>, sent: Vec<Value>) {
    let mut known: HashSet<String> = present.iter().map(Value::to_string).collect();
    present.extend(sent.into_iter().filter(|tag| known.insert(tag.to_string())));
}

fn json_bytes(value: &Value) -> usize {
    struct Counter(usize);
    impl io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    serde_json::to_writer(&mut counter, value).expect("a JSON value is JSON, and a counter takes everything");
    counter.0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(present: Value, patch: Value) -> Value {
        let patch = MetadataPatch::new(patch).expect("a patch");
        Metadata::new(present).merged(patch).value().clone()
    }

    #[test]
    fn tags_are_united_in_their_order() {
        let present = json!({"tags": ["gpu", "training", 1]});
        let patch = json!({"tags": ["new", "gpu", 1, "1", "new"]});
        assert_eq!(merged(present, patch), json!({"tags": ["gpu", "training", 1, "new", "1"]}));
    }

    #[test]
    fn tags_and_properties_that_are_not_sent_are_kept() {
        let present = json!({"tags": ["gpu"], "properties": {"a": 1}, "note": "x"});
        for patch in [json!({}), json!({"tags": null, "properties": null}), json!({"tags": []})] {
            assert_eq!(merged(present.clone(), patch), present);
        }
    }

    #[test]
    fn properties_and_other_keys_are_overridden_one_by_one() {
        let present = json!({"properties": {"status": "available", "memory": {"free": 1}}, "a": 1, "b": 2});
        let patch = json!({"properties": {"status": "busy", "memory": {"used": 2}, "n": null}, "b": [3]});
        let expected = json!({
            "properties": {"status": "busy", "memory": {"used": 2}, "n": null}, "a": 1, "b": [3]
        });
        assert_eq!(merged(present, patch), expected);
    }

    #[test]
    fn what_never_had_the_shape_gives_way_to_a_patch_that_has() {
        for present in [json!(null), json!([1]), json!("x"), json!({"tags": "gpu", "properties": 5})] {
            let patch = json!({"tags": ["a"], "properties": {"b": 1}});
            assert_eq!(merged(present, patch.clone()), patch);
        }
    }

    #[test]
    fn a_patch_of_another_shape_is_refused() {
        for (patch, error) in [
            (json!([]), MetadataPatchError::NotAnObject),
            (json!(null), MetadataPatchError::NotAnObject),
            (json!({"tags": "gpu"}), MetadataPatchError::TagsAreNoArray),
            (json!({"tags": {}}), MetadataPatchError::TagsAreNoArray),
            (json!({"properties": []}), MetadataPatchError::PropertiesAreNoObject),
        ] {
            assert_eq!(MetadataPatch::new(patch).unwrap_err(), error);
        }
    }

    #[test]
    fn the_size_is_that_of_the_json_it_is_sent_as() {
        for value in [json!({}), json!({"tags": ["é\n\"", 18_446_744_073_709_551_615_u64]}), json!(0.1)] {
            let metadata = Metadata::new(value);
            assert_eq!(metadata.size_bytes(), serde_json::to_string(&metadata).unwrap().len());
        }
    }

    #[test]
    fn nothing_of_it_shows_in_debug_output() {
        let value = json!({"hush": "hush"});
        let patch = MetadataPatch::new(value.clone()).unwrap();
        assert!(!format!("{:?} {patch:?}", Metadata::new(value)).contains("hush"));
    }
}
