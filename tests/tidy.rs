//! The rules of the house that a machine can check.
//!
//! Read from the sources as text, without their tests: an import is any `crate::floor` outside
//! comments.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Every folder of `src` and its floor. A module imports from lower floors only. `server` stands
/// half a floor above `config`, whose settings it turns into threads.
const FLOORS: &[(&str, u32)] = &[
    ("base", 0),
    ("wire", 10),
    ("hub", 10),
    ("auth", 10),
    ("ring", 10),
    ("observe", 10),
    ("dialect", 20),
    ("mesh", 30),
    ("session", 30),
    ("shard", 40),
    ("front", 40),
    ("outside", 40),
    ("config", 50),
    ("server", 55),
    ("cli", 60),
    ("sim", 60),
];

const LINES_MAX: usize = 700;

/// Each place where the compiler takes our word, by file. One more is a decision, not an accident.
const UNSAFE: &[(&str, usize)] = &[
    ("src/ring/buffers.rs", 5),
    ("src/ring/completion.rs", 1),
    ("src/ring/doorbell.rs", 1),
    ("src/ring/operations.rs", 7),
    ("src/ring/setup.rs", 1),
    ("src/ring/turn.rs", 7),
];
/// Lines above an unsafe place in which its reason may stand.
const REASON_LINES_MAX: usize = 5;

struct Source {
    path: PathBuf,
    floor: String,
    /// Without comments, and without the unit tests at its end.
    code: String,
    text: String,
}

#[test]
fn imports_go_down_only() {
    let floors: BTreeMap<_, _> = FLOORS.iter().copied().collect();
    let mut wrong = Vec::new();
    for source in sources() {
        let own = floors[source.floor.as_str()];
        for (other, level) in &floors {
            let imports = source.code.contains(&format!("crate::{other}::"))
                || source.code.contains(&format!("crate::{other};"))
                || source.code.contains(&format!("crate::{other} "));
            assert!(!source.code.contains("use crate::{"), "{}: one import a line", source.path.display());
            if imports && *other != source.floor && *level >= own {
                wrong.push(format!("{} imports {other}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_folder_stands_in_the_floor_table_and_says_what_it_owns() {
    for entry in fs::read_dir(root().join("src")).expect("src is there") {
        let path = entry.expect("a readable folder").path();
        if !path.is_dir() {
            continue;
        }
        let name = path.file_name().expect("has a name").to_string_lossy().into_owned();
        assert!(FLOORS.iter().any(|(floor, _)| *floor == name), "src/{name} has no floor");
        let module = fs::read_to_string(path.join("mod.rs")).expect("every floor has a mod.rs");
        assert!(
            module.starts_with("//! Floor") || module.starts_with("//! "),
            "src/{name}/mod.rs has no doc"
        );
    }
}

#[test]
fn unsafe_code_lives_in_ring_alone() {
    refuse("unsafe", &["ring"], &["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"]);
}

#[test]
fn every_unsafe_place_is_counted_and_gives_its_reason() {
    let mut found = BTreeMap::new();
    for source in sources() {
        let path = source.path.strip_prefix(root()).expect("below the root").display().to_string();
        let lines: Vec<&str> = source.text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if !["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"]
                .iter()
                .any(|word| code.contains(word))
            {
                continue;
            }
            *found.entry(path.clone()).or_insert(0) += 1;
            let above = &lines[at.saturating_sub(REASON_LINES_MAX)..at];
            let has_reason =
                above.iter().any(|line| line.contains("// SAFETY: ") || line.contains("/// # Safety"));
            assert!(has_reason, "{path}:{}: no reason why it is safe", at + 1);
        }
    }
    let expected = UNSAFE.iter().map(|(path, places)| (path.to_string(), *places)).collect();
    assert_eq!(found, expected, "the supply of unsafe code has changed");
}

#[test]
fn clocks_randomness_and_environment_stay_in_the_shell() {
    let words =
        ["Instant::now", "SystemTime::now", "getrandom", "thread_rng", "env::var", "now_utc", "now_v7"];
    refuse("a clock, randomness or the environment", &["config", "server", "cli"], &words);
}

#[test]
fn tokio_stays_in_front_outside_and_server() {
    refuse("tokio", &["front", "outside", "server"], &["tokio::", "tokio_uring::"]);
}

#[test]
fn files_are_split_before_they_are_too_long_to_read() {
    let long: Vec<_> = sources()
        .into_iter()
        .map(|source| (source.text.lines().count(), source.path))
        .filter(|(lines, _)| *lines > LINES_MAX)
        .collect();
    assert!(long.is_empty(), "over {LINES_MAX} lines: {long:#?}");
}

#[test]
fn nothing_is_left_to_be_done() {
    let left = ["TODO", "FIXME", "XXX", "todo!(", "unimplemented!("];
    refuse("a left-over", &[], &left);
}

#[test]
fn the_readme_names_every_floor() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md is there");
    for (floor, _) in FLOORS {
        assert!(readme.contains(&format!("`{floor}`")), "README.md does not name `{floor}`");
    }
}

/// A row of a protocol table is worth what its tests are worth. They stand in the last cell, tests of
/// clients in other languages by the path of their file.
#[test]
fn every_test_that_the_readme_names_exists() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md is there");
    let tables = readme.split("## Protocol tables").nth(1).and_then(|rest| rest.split("\n## ").next());
    let mut code = String::new();
    for folder in ["src", "tests"] {
        every_source(&root().join(folder), &mut code);
    }
    let mut named = 0;
    for row in tables.expect("there are protocol tables").lines().filter(|line| is_row(line)) {
        let last_cell = row.trim_end().trim_end_matches('|').rsplit('|').next().unwrap_or_default();
        // What is between backticks.
        let mut tests = last_cell.split('`').skip(1).step_by(2).peekable();
        assert!(tests.peek().is_some(), "README.md names no test in the row {row}");
        for test in tests {
            named += 1;
            let is_there = match test.starts_with("tests/") {
                true => root().join(test).is_file(),
                false => code.contains(&format!("fn {test}(")),
            };
            assert!(is_there, "README.md names {test}, which is not there");
        }
    }
    assert!(named > 300, "only {named} tests are named");
}

/// Of a table, and neither its head nor the line below that.
fn is_row(line: &str) -> bool {
    line.starts_with('|') && !line.starts_with("|---") && !line.ends_with("| test |")
}

fn every_source(folder: &Path, code: &mut String) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            every_source(&path, code);
        } else if path.extension().is_some_and(|e| e == "rs") {
            code.push_str(&fs::read_to_string(&path).expect("a readable source"));
        }
    }
}

fn refuse(what: &str, allowed: &[&str], words: &[&str]) {
    let mut wrong = Vec::new();
    for source in sources() {
        if allowed.contains(&source.floor.as_str()) {
            continue;
        }
        wrong.extend(
            words
                .iter()
                .filter(|word| source.code.contains(**word))
                .map(|word| format!("{}: {word}", source.path.display())),
        );
    }
    assert!(wrong.is_empty(), "{what}: {wrong:#?}");
}

fn sources() -> Vec<Source> {
    let src = root().join("src");
    let mut found = Vec::new();
    for (floor, _) in FLOORS {
        collect(&src.join(floor), floor, &mut found);
    }
    assert!(found.len() > FLOORS.len(), "the sources are not where this test looks");
    found
}

fn collect(folder: &Path, floor: &str, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        let is_test = path.file_stem().is_some_and(|stem| stem == "tests");
        if path.is_dir() && !is_test {
            collect(&path, floor, found);
        } else if path.extension().is_some_and(|e| e == "rs") && !is_test {
            let text = fs::read_to_string(&path).expect("a readable source");
            found.push(Source { path, floor: floor.to_owned(), code: code_of(&text), text });
        }
    }
}

fn code_of(text: &str) -> String {
    let before_tests = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    before_tests
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| line.split(" // ").next().unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n")
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
