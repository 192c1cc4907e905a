//! The file `.env`, from which the documented variables of `devices` are read.
//!
//! Its text arrives as a value and the environment of the process is not touched.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, Read};

use super::problem::{Place, Problem};

/// In the working directory.
pub(super) const NAME: &str = ".env";

/// What a name is set to, and the line where that begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) value: String,
    pub(super) line: usize,
}

/// What is to be said of the file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Remarks {
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
}

/// The entries of `wanted`; of one that stands there twice the last, as Node's reader has it. Names
/// with one of `prefixes` are told to have no effect, all others belong to other programs.
pub(super) fn parse(
    text: &str,
    wanted: impl Iterator<Item = &'static str> + Clone,
    prefixes: [&str; 3],
) -> (BTreeMap<&'static str, Entry>, Remarks) {
    let text = text.trim_start_matches('\u{feff}');
    let lines: Vec<&str> = text.lines().collect();
    let taken = Cell::new(0);
    let source = with_plain_dollars(text);
    let source = LineByLine { rest: source.as_bytes(), taken: &taken };
    let mut entries = BTreeMap::new();
    let mut remarks = Remarks::default();
    let mut parser = dotenvy::from_read_iter(source);
    loop {
        let before = taken.get();
        let next = parser.next();
        let passed = lines.get(before..taken.get().min(lines.len())).unwrap_or_default();
        let blank = passed.iter().take_while(|line| is_blank(line)).count();
        let line = before + blank + 1;
        let place = |name: &str| Place::Variable(format!("{NAME}:{line}{name}"));
        match next {
            None => break,
            // Not the parser's own text of the error: it quotes the line, which may hold a secret.
            Some(Err(_)) => {
                let message =
                    "not `NAME=value`; a value with blanks or signs needs quotes, and quotes an end";
                remarks.problems.push(Problem { place: place(""), message: message.to_owned() });
                break;
            }
            Some(Ok((name, value))) => {
                if let Some(own) = wanted.clone().find(|own| *own == name) {
                    entries.insert(own, Entry { value, line });
                } else if prefixes.iter().any(|prefix| name.starts_with(prefix)) {
                    remarks.warnings.push(format!(
                        "{NAME}:{line}: {name} has no effect there; set it in the environment"
                    ));
                }
            }
        }
    }
    (entries, remarks)
}

fn is_blank(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

/// A `$` stands for itself, as it does for Node's reader: ours would put a variable of the process in
/// its place, and change a secret in silence.
fn with_plain_dollars(text: &str) -> String {
    let mut plain = String::with_capacity(text.len() + 1);
    let (mut in_single, mut in_double, mut in_comment, mut escaped) = (false, false, false, false);
    let mut before = '\n';
    for c in text.chars() {
        let was_escaped = std::mem::take(&mut escaped);
        match c {
            '\n' => in_comment = false,
            _ if in_comment || was_escaped => {}
            '\'' if !in_double => in_single = !in_single,
            _ if in_single => {}
            '"' => in_double = !in_double,
            '\\' => escaped = true,
            '$' => plain.push('\\'),
            '#' if !in_double && before.is_whitespace() => in_comment = true,
            _ => {}
        }
        plain.push(c);
        before = c;
    }
    // Without it the parser takes blanks at the very end for the beginning of more.
    plain.push('\n');
    plain
}

/// Gives one line for each reading, so that what has been taken tells how far the parser is.
struct LineByLine<'a> {
    rest: &'a [u8],
    taken: &'a Cell<usize>,
}

impl Read for LineByLine<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let line = self.rest.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
        let (now, later) = self.rest.split_at(line.len().min(buffer.len()));
        buffer[..now.len()].copy_from_slice(now);
        self.rest = later;
        self.taken.set(self.taken.get() + usize::from(now.ends_with(b"\n")));
        Ok(now.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: [&str; 2] = ["PORT", "JWT_SECRET"];
    const PREFIXES: [&str; 3] = ["SIGMUX_", "SIGNALS_", "SIGNAL_MANAGER_"];

    fn read(text: &str) -> (Vec<(&'static str, String, usize)>, Vec<String>) {
        let (entries, remarks) = parse(text, WANTED.into_iter(), PREFIXES);
        let problems = remarks.problems.into_iter().map(|problem| match problem.place {
            Place::Variable(name) => format!("{name}: {}", problem.message),
            other => panic!("{other:?}"),
        });
        let said = problems.chain(remarks.warnings).collect();
        (entries.into_iter().map(|(name, entry)| (name, entry.value, entry.line)).collect(), said)
    }

    #[test]
    fn entries_know_their_line() {
        let text =
            "\u{feff}# of a drone\n\nOTHER=x\nexport PORT = 8081 # why\r\n  # more\nJWT_SECRET='a$b #c'";
        let entries = vec![("JWT_SECRET", "a$b #c".to_owned(), 6), ("PORT", "8081".to_owned(), 4)];
        assert_eq!(read(text), (entries, vec![]));
        assert_eq!(read("PORT=1 "), (vec![("PORT", "1".to_owned(), 1)], vec![]));
        assert_eq!(read("PORT=1\nPORT=2\n").0, [("PORT", "2".to_owned(), 2)]);
        assert_eq!(read(""), (vec![], vec![]));
        let long = format!("OTHER={}\nPORT=1", "x".repeat(20_000));
        assert_eq!(read(&long).0, [("PORT", "1".to_owned(), 2)]);
    }

    #[test]
    fn a_broken_line_is_named_and_not_quoted() {
        for (text, line) in [
            ("PORT=1\nhush\n", 2),
            ("\n# a comment\nA=\"hush\nhush\n", 3),
            ("A=1\n\nB=hush hush", 3),
            ("=hush", 1),
            ("A='two\nlines'\nB=\"hush\n\n", 3),
        ] {
            let (_, said) = read(text);
            assert_eq!(said.len(), 1, "{text}");
            assert!(said[0].starts_with(&format!(".env:{line}: ")) && !said[0].contains("hush"), "{said:?}");
        }
    }

    #[test]
    fn a_dollar_stands_for_itself() {
        for (written, value) in [
            ("a$b", "a$b"),
            ("\"a$b\"", "a$b"),
            ("'a$b'", "a$b"),
            ("${HOME}$HOME", "${HOME}$HOME"),
            ("'a'$b", "a$b"),
            ("a\\$b", "a$b"),
            ("a\\\\$b", "a\\$b"),
            ("\"a'$b'\" # it's $c", "a'$b'"),
        ] {
            let text = format!("# it's $x\nOTHER=\"x$y\"\nJWT_SECRET={written}\n");
            assert_eq!(read(&text), (vec![("JWT_SECRET", value.to_owned(), 3)], vec![]), "{written}");
        }
    }

    #[test]
    fn variables_of_the_whole_engine_are_told_to_have_no_effect_here() {
        let (_, said) = read("\nSIGMUX_SERVER_PORT=1");
        assert_eq!(said, [".env:2: SIGMUX_SERVER_PORT has no effect there; set it in the environment"]);
    }
}
