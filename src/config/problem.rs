//! What is wrong, and where.

use std::fmt;

/// Where a problem stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The file as a whole, or something that is missing from it.
    Whole,
    /// A line of the file, counted from 1.
    Line(usize),
    /// An environment variable.
    Variable(String),
}

impl Place {
    /// The line that holds byte `at` of `text`.
    pub(super) fn at(text: &str, at: usize) -> Place {
        let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
        Place::Line(before.iter().filter(|byte| **byte == b'\n').count() + 1)
    }
}

/// One complaint. Never holds the value of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub place: Place,
    pub message: String,
}

/// Everything that is wrong with a configuration, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The file, as messages call it.
    pub origin: String,
    pub problems: Vec<Problem>,
}

impl ConfigErrors {
    pub(super) fn one(origin: &str, place: Place, message: String) -> ConfigErrors {
        ConfigErrors { origin: origin.to_owned(), problems: vec![Problem { place, message }] }
    }
}

/// Names are shown as they were written; a line end in one must not begin a line of its own, nor a
/// control character reach the terminal.
struct OneLine<'a>(&'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { write!(f, "{c}")? }
        }
        Ok(())
    }
}

/// One line for each problem, such as `config/sigmux.toml:12: unknown key …`.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            let message = OneLine(&problem.message);
            match &problem.place {
                Place::Whole => write!(f, "{}: {message}", self.origin)?,
                Place::Line(line) => write!(f, "{}:{line}: {message}", self.origin)?,
                Place::Variable(name) => write!(f, "{}: {message}", OneLine(name))?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
