//! Feeds every target its corpus and what is one step away from it, and sees that nothing of a target is missing.
#![cfg(test)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use keyrack_fuzz_targets::{ALL, Target};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The names in a folder of `fuzz/`, without their endings.
fn names(folder: &str) -> BTreeSet<String> {
    let files = fs::read_dir(fuzz().join(folder)).unwrap();
    files.map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()).collect()
}

fn seeds(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let files = fs::read_dir(fuzz().join("corpus").join(target)).unwrap();
    let mut seeds: Vec<_> =
        files.map(|file| file.unwrap().path()).map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    seeds.sort();
    seeds
}

/// Bytes that mean something to one parser or another.
const MEANINGFUL: &[u8] = b"\0\n %&*+,-./:;=@A\\_az~\x7f\x80\xff";

fn feed_what_is_one_step_away(target: Target, seed: &[u8]) {
    for at in 0..seed.len() {
        target(&seed[..at]);
        target(&seed[at..]);
        target(&[&seed[..at], &seed[at + 1..]].concat());
        target(&[&seed[..=at], &seed[at..]].concat());
        for byte in MEANINGFUL.iter().chain([&seed[at].wrapping_add(1), &(seed[at] ^ 0x20)]) {
            let mut changed = seed.to_vec();
            changed[at] = *byte;
            target(&changed);
        }
    }
}

#[test]
fn every_promise_holds_for_the_corpora_and_what_is_one_step_away() {
    for (name, target) in ALL {
        let seeds = seeds(name);
        assert!(seeds.len() >= 3, "the corpus of {name} is next to empty");
        for (path, seed) in seeds {
            // So that a failure names the file.
            println!("{}", path.display());
            target(&seed);
            // What libFuzzer found, under names of 40 digits, is much, and steps were taken from it when it was found. And
            // the long seeds are about their length.
            if path.file_name().is_some_and(|name| name.len() != 40) && seed.len() <= 256 {
                feed_what_is_one_step_away(target, &seed);
            }
        }
    }
}

#[test]
fn every_target_has_a_corpus_and_a_front_end_and_the_other_way_round() {
    let targets: BTreeSet<String> = ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(targets.len(), ALL.len());
    assert_eq!(names("corpus"), targets);
    assert_eq!(names("fuzz_targets"), targets);
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    let bins = manifest.split("[[bin]]").skip(1).map(|bin| bin.split('"').nth(1).unwrap().to_owned());
    assert_eq!(bins.collect::<BTreeSet<_>>(), targets);
    for target in targets {
        let front_end = fs::read_to_string(fuzz().join(format!("fuzz_targets/{target}.rs"))).unwrap();
        assert!(front_end.contains(&format!("keyrack_fuzz_targets::{target}(data)")), "{front_end}");
    }
}
