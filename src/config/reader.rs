//! Reads keys from the file and the environment as one.
//!
//! A key is known because somebody asked for it: what is left in a section when all questions have
//! been asked is an unknown key. So there is no second list of names that could fall behind.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml_edit::{Item, Table, TableLike, Value};

use super::duration::{Unit, show};
use super::environment::{Environment, Found, Rank};
use super::nearest::suggestion;
use super::problem::{Place, Problem};
use crate::base::Redacted;

pub(super) const NAME_BYTES_MAX: usize = 64;

/// Names end up in logs and metrics.
pub(super) fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Most elements of one list.
const LIST_MAX: usize = 100_000;

/// The whole configuration, while it is being read.
pub(super) struct Reader<'a> {
    text: &'a str,
    root: &'a Table,
    environment: Environment,
    asked: Vec<&'static str>,
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str, root: &'a Table, environment: Environment) -> Reader<'a> {
        Reader { text, root, environment, asked: Vec::new(), problems: Vec::new(), warnings: Vec::new() }
    }

    pub(super) fn warn(&mut self, message: String) {
        self.warnings.push(message);
    }

    pub(super) fn problem(&mut self, place: Place, message: String) {
        self.problems.push(Problem { place, message });
    }

    /// A table with the keys of one concern. [`Section::finish`] ends it.
    pub(super) fn section(&mut self, name: &'static str) -> Section<'_, 'a> {
        self.asked.push(name);
        let item = self.root.get(name);
        let table = item.and_then(Item::as_table_like);
        if item.is_some() && table.is_none() {
            let place = self.place_in(self.root, name);
            self.problem(place, format!("[{name}] must be a table, with single brackets"));
        }
        Section { label: format!("[{name}]"), variables: Some(name), table, asked: Vec::new(), reader: self }
    }

    /// Keys that stand above all sections.
    pub(super) fn top(&mut self) -> Section<'_, 'a> {
        let table: &'a dyn TableLike = self.root;
        let label = "the top of the file".to_owned();
        Section { label, variables: Some(""), table: Some(table), asked: Vec::new(), reader: self }
    }

    /// The tables of an array such as `[[listener]]`, each with its place.
    pub(super) fn tables(&mut self, name: &'static str) -> Vec<(&'a dyn TableLike, Place)> {
        self.asked.push(name);
        let Some(item) = self.root.get(name) else { return Vec::new() };
        let text = self.text;
        let place = |span: Option<std::ops::Range<usize>>| {
            span.map_or(Place::Whole, |span| Place::at(text, span.start))
        };
        let tables: Option<Vec<(&'a dyn TableLike, Place)>> = match item {
            Item::ArrayOfTables(array) => {
                Some(array.iter().map(|table| (table as &dyn TableLike, place(table.span()))).collect())
            }
            Item::Value(Value::Array(array)) => array
                .iter()
                .map(|value| Some((value.as_inline_table()? as &dyn TableLike, place(value.span()))))
                .collect(),
            _ => None,
        };
        tables.unwrap_or_else(|| {
            let place = self.place_in(self.root, name);
            self.problem(place, format!("[[{name}]] must be an array of tables, with double brackets"));
            Vec::new()
        })
    }

    /// One table of an array. Environment variables have no name for its keys.
    pub(super) fn element(&mut self, label: String, table: &'a dyn TableLike) -> Section<'_, 'a> {
        Section { label, variables: None, table: Some(table), asked: Vec::new(), reader: self }
    }

    /// A documented variable without a prefix, such as `PORT`.
    pub(super) fn plain(&mut self, name: &str) -> Option<(String, Place)> {
        let found = self.environment.plain(name)?;
        let place = Place::Variable(found.name.clone());
        Some((self.utf8(found)?, place))
    }

    /// From here on no such variable has an effect.
    pub(super) fn drop_plain(&mut self) {
        self.environment.drop_plain();
    }

    /// Takes a section whose keys nobody looks at. Whether it is there.
    pub(super) fn pass_over(&mut self, name: &'static str) -> bool {
        self.asked.push(name);
        let in_environment = self.environment.pass_over(name);
        self.root.contains_key(name) || in_environment
    }

    /// All problems in the order of their lines, and all warnings.
    pub(super) fn finish(mut self) -> (Vec<Problem>, Vec<String>) {
        for (name, item) in self.root.iter().filter(|(name, _)| !self.asked.contains(name)) {
            let meant = suggestion(name, self.asked.iter().copied());
            let kind = if item.is_value() { "key" } else { "section" };
            let message = format!("unknown {kind} `{name}`{meant}");
            self.problems.push(Problem { place: self.place_in(self.root, name), message });
        }
        let (problems, warnings) = self.environment.finish();
        self.problems.extend(problems);
        self.warnings.extend(warnings);
        self.problems.sort_by(|left, right| left.place.cmp(&right.place));
        (self.problems, self.warnings)
    }

    fn utf8(&mut self, found: Found) -> Option<String> {
        let text = found.value.into_string().ok();
        if text.is_none() {
            self.problem(Place::Variable(found.name), "the value is not UTF-8".to_owned());
        }
        text
    }

    fn place_in(&self, table: &dyn TableLike, key: &str) -> Place {
        let at = table.get_key_value(key).and_then(|(key, item)| Some(key.span().or(item.span())?.start));
        at.map_or(Place::Whole, |at| Place::at(self.text, at))
    }
}

/// A value as it was found.
enum Raw<'a> {
    Item(&'a Item),
    Text(String),
}

/// One section, while its keys are being asked for. A value that is wrong is reported, and its
/// default goes on in its place so that the rest can be checked.
pub(super) struct Section<'r, 'a> {
    label: String,
    /// The middle of its variables' names.
    variables: Option<&'static str>,
    table: Option<&'a dyn TableLike>,
    asked: Vec<&'static str>,
    reader: &'r mut Reader<'a>,
}

impl<'a> Section<'_, 'a> {
    pub(super) fn integer(&mut self, key: &'static str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let found = self.read(key, &expected, &["integer"], |raw| {
            let number = match raw {
                Raw::Item(item) => item.as_integer()?,
                Raw::Text(text) => text.trim().parse().ok()?,
            };
            u64::try_from(number).ok().filter(|number| range.contains(number))
        });
        found.unwrap_or(default)
    }

    /// A count or a size in memory. Every range stays below 2^32.
    pub(super) fn size(&mut self, key: &'static str, default: u64, range: RangeInclusive<u64>) -> usize {
        self.integer(key, default, range) as usize
    }

    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        self.read(key, "true or false", &["boolean"], |raw| match raw {
            Raw::Item(item) => item.as_bool(),
            Raw::Text(text) => match text.trim() {
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => None,
            },
        })
    }

    pub(super) fn duration(
        &mut self,
        key: &'static str,
        unit: Unit,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let (least, most) = (show(*range.start()), show(*range.end()));
        let expected = format!(
            "a number of {} or a string with a unit such as \"3s\", from {least} to {most}",
            unit.name()
        );
        let found = self.read(key, &expected, &["integer", "float", "string"], |raw| {
            let duration = match raw {
                Raw::Item(Item::Value(Value::Integer(number))) => unit.of(*number.value() as f64),
                Raw::Item(Item::Value(Value::Float(number))) => unit.of(*number.value()),
                Raw::Item(item) => unit.parse(item.as_str()?),
                Raw::Text(text) => unit.parse(text),
            };
            duration.filter(|duration| range.contains(duration))
        });
        found.unwrap_or(default)
    }

    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        self.read(key, "a string", &["string"], |raw| match raw {
            Raw::Item(item) => item.as_str().map(str::to_owned),
            Raw::Text(text) => Some(text.clone()),
        })
    }

    /// A name that ends up in logs and metrics.
    pub(super) fn name(&mut self, key: &'static str, default: &str) -> String {
        let name = self.text(key).unwrap_or_else(|| default.to_owned());
        if !is_name(&name) {
            self.problem(key, format!("`{key}` must be 1 to {NAME_BYTES_MAX} visible ASCII characters"));
        }
        name
    }

    /// A duration where zero means that there is none.
    pub(super) fn optional_duration(
        &mut self,
        key: &'static str,
        unit: Unit,
        default: Duration,
        most: Duration,
    ) -> Option<Duration> {
        Some(self.duration(key, unit, default, Duration::ZERO..=most)).filter(|found| !found.is_zero())
    }

    /// One of a few words, of which some are for later versions.
    pub(super) fn choice_of<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&str, Option<T>)],
        default: T,
    ) -> T {
        match self.choice(key, choices) {
            Some(Some(chosen)) => chosen,
            Some(None) => {
                let words = choices.iter().filter(|(_, choice)| choice.is_some());
                let words: Vec<String> = words.map(|(word, _)| format!("\"{word}\"")).collect();
                let message =
                    format!("this `{key}` is not available in this version, only {}", words.join(" and "));
                self.problem(key, message);
                default
            }
            None => default,
        }
    }

    /// A string that no message repeats. An empty one counts as none.
    pub(super) fn secret(&mut self, key: &'static str) -> Option<Redacted<String>> {
        self.text(key).filter(|text| !text.is_empty()).map(Redacted::new)
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let words: Vec<String> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let expected = words.join(" or ");
        self.read(key, &expected, &["string"], |raw| {
            let written = match raw {
                Raw::Item(item) => item.as_str()?,
                Raw::Text(text) => text.trim(),
            };
            choices.iter().find(|(word, _)| word.eq_ignore_ascii_case(written)).map(|(_, choice)| *choice)
        })
    }

    /// An array of strings, or in a variable words between commas.
    pub(super) fn list(&mut self, key: &'static str) -> Option<Vec<String>> {
        let expected = format!("an array of at most {LIST_MAX} strings");
        self.read(key, &expected, &["array"], |raw| {
            let list: Vec<String> = match raw {
                Raw::Item(item) => item
                    .as_array()?
                    .iter()
                    .map(|value| value.as_str().map(str::to_owned))
                    .collect::<Option<_>>()?,
                Raw::Text(text) => text
                    .split(',')
                    .map(str::trim)
                    .filter(|word| !word.is_empty())
                    .map(str::to_owned)
                    .collect(),
            };
            (list.len() <= LIST_MAX).then_some(list)
        })
    }

    /// A string that only a variable or a flag can set: the file has another key for it.
    pub(super) fn override_text(&mut self, key: &'static str) -> Option<(String, Place, Rank)> {
        let found = self.overriding(key)?;
        let (place, rank) = (Place::Variable(found.name.clone()), found.rank);
        let text = self.reader.utf8(found)?;
        (!text.is_empty()).then_some((text, place, rank))
    }

    /// The tables of a table, such as `[devices.roles.operator]`, each with its name and place.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<(&'a str, &'a dyn TableLike, Place)> {
        self.asked.push(key);
        let Some(item) = self.table.and_then(|table| table.get(key)) else { return Vec::new() };
        let Some(outer) = item.as_table_like() else {
            self.problem(key, format!("`{key}` in {} must be a table of tables", self.label));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (name, item) in outer.iter() {
            let place = self.reader.place_in(outer, name);
            match item.as_table_like() {
                Some(table) => tables.push((name, table, place)),
                None => {
                    let message = format!("`{name}` in `{key}` of {} must be a table", self.label);
                    self.reader.problem(place, message);
                }
            }
        }
        tables
    }

    /// Who set `key`, if it was not the file.
    pub(super) fn rank(&mut self, key: &str) -> Option<Rank> {
        self.overriding(key).map(|found| found.rank)
    }

    /// Where `key` was set, for checks that come after the reading.
    pub(super) fn place(&mut self, key: &str) -> Place {
        match (self.overriding(key), self.table) {
            (Some(found), _) => Place::Variable(found.name),
            (None, Some(table)) => self.reader.place_in(table, key),
            (None, None) => Place::Whole,
        }
    }

    pub(super) fn problem(&mut self, key: &str, message: String) {
        let place = self.place(key);
        self.reader.problem(place, message);
    }

    pub(super) fn warn(&mut self, message: String) {
        self.reader.warn(message);
    }

    pub(super) fn report(&mut self, place: Place, message: String) {
        self.reader.problem(place, message);
    }

    /// A table of [`Section::tables`]. Environment variables have no name for its keys.
    pub(super) fn element(&mut self, label: String, table: &'a dyn TableLike) -> Section<'_, 'a> {
        self.reader.element(label, table)
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(self) {
        let Some(table) = self.table else { return };
        for (name, _) in table.iter().filter(|(name, _)| !self.asked.contains(name)) {
            let meant = suggestion(name, self.asked.iter().copied());
            let place = self.reader.place_in(table, name);
            self.reader.problem(place, format!("unknown key `{name}` in {}{meant}", self.label));
        }
    }

    /// Ends [`Reader::top`], where everything else is a section of its own.
    pub(super) fn finish_top(self) {
        self.reader.asked.extend(self.asked);
    }

    /// What is said of a wrong value is its type alone, since anything may be a secret.
    fn read<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        types: &[&str],
        convert: impl FnOnce(&Raw<'a>) -> Option<T>,
    ) -> Option<T> {
        let (raw, place) = self.find(key)?;
        let converted = convert(&raw);
        if converted.is_none() {
            let found = match &raw {
                Raw::Item(item) if !types.contains(&item.type_name()) => {
                    format!(" (found: {})", item.type_name())
                }
                _ => String::new(),
            };
            self.reader.problem(place, format!("`{key}` in {} must be {expected}{found}", self.label));
        }
        converted
    }

    fn find(&mut self, key: &'static str) -> Option<(Raw<'a>, Place)> {
        self.asked.push(key);
        if let Some(found) = self.overriding(key) {
            let place = Place::Variable(found.name.clone());
            return Some((Raw::Text(self.reader.utf8(found)?), place));
        }
        let table = self.table?;
        let item = table.get(key)?;
        Some((Raw::Item(item), self.reader.place_in(table, key)))
    }

    fn overriding(&mut self, key: &str) -> Option<Found> {
        self.variables.and_then(|section| self.reader.environment.find(section, key))
    }
}
