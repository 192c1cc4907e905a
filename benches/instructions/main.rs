//! Counts instructions, which do not wobble: one more or less shows.
//!
//!     benches/instructions/run            # installs valgrind where it is missing
//!     cargo bench --bench instructions
//!     cargo bench --bench instructions -- decode
//!
//! Each path runs under cachegrind twice, `FEW` times and `MANY` times, in a process of its own. The
//! difference, divided, is what one more time costs in steady state: starting, warming up and
//! allocating the first buffers fall out of it. The table of the last run is kept, and what has changed
//! since is shown. valgrind has AVX2 and no AVX-512, so paths that look for AVX2 at run time take it.

#[path = "../subjects/engine.rs"]
mod engine;
#[path = "../subjects/messages.rs"]
mod messages;
mod paths;
#[path = "../subjects/peers.rs"]
mod peers;
#[path = "../subjects/relays.rs"]
mod relays;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use paths::PATHS;

const FEW: u64 = 200;
const MANY: u64 = 1200;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [mode, name, times] = &arguments[..]
        && mode == COUNTED
    {
        return run(name, times.parse().expect("a number of times"));
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-')).map_or("", |filter| filter);
    let chosen: Vec<_> = PATHS.iter().filter(|(name, _)| name.contains(filter)).collect();
    // As criterion has it: without --bench, or with --test, everything is run once and not measured.
    let has = |flag| arguments.iter().any(|argument| argument == flag);
    if has("--list") {
        chosen.iter().for_each(|(name, _)| println!("instructions/{name}: benchmark"));
        return ExitCode::SUCCESS;
    }
    if has("--test") || !has("--bench") {
        for (name, path) in chosen {
            path(2);
            println!("Testing instructions/{name}\nSuccess");
        }
        return ExitCode::SUCCESS;
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("instructions are not counted: valgrind is missing; benches/instructions/run installs it");
        return ExitCode::SUCCESS;
    }
    let kept = kept_path();
    let before = read_table(&kept);
    let mut now = before.clone();
    println!("\n{:<44} {:>12} {:>9}", "instructions for one", "count", "change");
    for (name, _) in chosen {
        let count = (count(name, MANY) - count(name, FEW)) as f64 / (MANY - FEW) as f64;
        println!("{name:<44} {count:>12.1} {:>9}", change(before.get(*name), count));
        now.insert((*name).to_owned(), count);
    }
    write_table(&kept, &now);
    ExitCode::SUCCESS
}

/// First argument of a process that is counted.
const COUNTED: &str = "--counted";

fn run(name: &str, times: u64) -> ExitCode {
    let (_, path) = PATHS.iter().find(|(known, _)| *known == name).expect("a path of the table");
    path(times);
    ExitCode::SUCCESS
}

/// All instructions of a process in which the path runs so many times.
fn count(name: &str, times: u64) -> u64 {
    let report = env::temp_dir().join(format!("sigmux-instructions-{}", std::process::id()));
    let output = Command::new("valgrind")
        .args(["--tool=cachegrind", "--cache-sim=no", "--branch-sim=no"])
        .arg(format!("--cachegrind-out-file={}", report.display()))
        .arg(env::current_exe().expect("this program is a file"))
        .args([COUNTED, name, &times.to_string()])
        // Otherwise long copies are one instruction that counts once for each byte.
        .env("GLIBC_TUNABLES", "glibc.cpu.x86_rep_movsb_threshold=1073741824")
        .output()
        .expect("valgrind runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} failed under valgrind:\n{said}");
    let text = fs::read_to_string(&report).expect("valgrind has written its report");
    fs::remove_file(&report).expect("the report is ours");
    let total = text.lines().find_map(|line| line.strip_prefix("summary: "));
    total.and_then(|total| total.trim().parse().ok()).expect("a report ends with its sum")
}

fn change(before: Option<&f64>, now: f64) -> String {
    match before {
        None => "new".to_owned(),
        Some(before) if (now - before).abs() < 0.05 => "=".to_owned(),
        Some(before) => format!("{:+.1} %", (now / before - 1.0) * 100.0),
    }
}

/// Beside criterion's own records.
fn kept_path() -> PathBuf {
    let program = env::current_exe().expect("this program is a file");
    // target/release/deps/instructions-…
    program.ancestors().nth(3).expect("cargo's folders").join("instructions.tsv")
}

fn read_table(path: &Path) -> BTreeMap<String, f64> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let row = |line: &str| {
        let (name, count) = line.split_once('\t')?;
        Some((name.to_owned(), count.parse().ok()?))
    };
    text.lines().filter_map(row).collect()
}

fn write_table(path: &Path, table: &BTreeMap<String, f64>) {
    let text: String = table.iter().map(|(name, count)| format!("{name}\t{count}\n")).collect();
    fs::write(path, text).expect("cargo's folder can be written");
}
