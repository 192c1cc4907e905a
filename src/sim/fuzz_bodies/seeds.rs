//! Everything that has been collected under `fuzz/corpus` holds, without a fuzzer.

use std::fs;
use std::path::{Path, PathBuf};

use super::BODIES;

#[test]
fn every_seed_holds() {
    for (target, body) in BODIES {
        let seeds = files(&corpus().join(target));
        assert!(!seeds.is_empty(), "fuzz/corpus/{target} has no seeds");
        for path in seeds {
            let bytes = fs::read(&path).expect("a readable seed");
            // Shown by the test harness when the body panics.
            println!("{}: {} bytes", path.display(), bytes.len());
            body(&bytes);
        }
    }
}

/// A seed that says nothing about what lies behind its first bytes finds nothing there either.
#[test]
fn every_seed_holds_when_it_is_cut_or_damaged() {
    for (target, body) in BODIES {
        for path in files(&corpus().join(target)) {
            let bytes = fs::read(&path).expect("a readable seed");
            let step = bytes.len() / 48 + 1;
            println!("{}: {} bytes", path.display(), bytes.len());
            for at in (0..bytes.len()).step_by(step) {
                println!("cut at {at}");
                body(&bytes[..at]);
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << (at % 8);
                println!("damaged at {at}");
                body(&damaged);
            }
        }
    }
}

#[test]
fn every_body_has_a_target_and_every_folder_of_seeds_a_body() {
    for (target, _) in BODIES {
        let path = root().join("fuzz/fuzz_targets").join(format!("{target}.rs"));
        let shim = fs::read_to_string(&path).unwrap_or_else(|_| panic!("{} is missing", path.display()));
        assert!(shim.contains(&format!("fuzz_bodies::{target}(")), "{} calls another body", path.display());
        let manifest = fs::read_to_string(root().join("fuzz/Cargo.toml")).expect("fuzz has a manifest");
        assert!(manifest.contains(&format!("name = \"{target}\"")), "{target} is no binary of fuzz");
    }
    for folder in fs::read_dir(corpus()).expect("fuzz/corpus is there") {
        let name = folder.expect("a readable folder").file_name();
        assert!(BODIES.iter().any(|(target, _)| name == *target), "{} has no body", name.display());
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap_or_else(|_| panic!("{} is missing", folder.display()))
        .map(|entry| entry.expect("a readable entry").path())
        .collect();
    files.sort();
    files
}

fn corpus() -> PathBuf {
    root().join("fuzz/corpus")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
