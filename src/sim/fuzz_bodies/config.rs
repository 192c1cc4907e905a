//! A configuration that anybody may have written.

use std::collections::BTreeSet;

use crate::config::{Place, load};

/// Variables of one input.
const VARIABLES_MAX: usize = 16;

/// The text of a file; behind a NUL, if there is one, lines of `NAME=value` for the environment.
///
/// What names a file is passed over: loading would read it, and the same bytes have to give the
/// same run everywhere.
pub fn config(data: &[u8]) {
    let Ok(input) = std::str::from_utf8(data) else { return };
    if input.to_ascii_lowercase().contains("jwks") || input.contains("\\u") || input.contains("\\U") {
        return;
    }
    let (text, variables) = input.split_once('\0').unwrap_or((input, ""));
    let variables: Vec<(&str, &str)> =
        variables.lines().filter_map(|line| line.split_once('=')).take(VARIABLES_MAX).collect();
    let loaded = load("a file", text, variables.iter().copied());
    let again = load("a file", text, variables.iter().copied());
    match (loaded, again) {
        (Ok(settings), Ok(again)) => {
            assert!(!settings.listeners.is_empty(), "settings without a door were let through");
            assert_eq!(format!("{settings:?}"), format!("{again:?}"));
        }
        (Err(errors), Err(again)) => {
            assert_eq!(errors, again);
            assert!(!errors.problems.is_empty(), "a refusal says why");
            let lines = 1 + text.bytes().filter(|byte| *byte == b'\n').count();
            let names: BTreeSet<&str> = variables.iter().map(|(name, _)| *name).collect();
            for problem in &errors.problems {
                match &problem.place {
                    Place::Line(line) => assert!((1..=lines).contains(line), "{errors}"),
                    Place::Variable(name) => assert!(names.contains(name.as_str()), "{errors}"),
                    // Something that is missing stands on no line.
                    Place::Whole => {}
                }
                assert!(!problem.message.is_empty());
            }
            check_lines(&errors.to_string(), errors.problems.len());
        }
        _ => panic!("the same text is accepted and refused"),
    }
}

/// One line for each problem.
fn check_lines(shown: &str, problems: usize) {
    assert_eq!(shown.lines().count(), problems, "{shown}");
}
