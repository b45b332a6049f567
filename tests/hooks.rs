//! The hooks are what their manual page says: all built in, described, and sound shell.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot run fails")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use bk::hook::{BUILT_IN, Hook};

const MANUAL: &str = include_str!("../man/bk-hook.7");

fn names() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("hooks");
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != "prelude.sh").collect()
}

#[test]
fn every_hook_is_built_in() {
    let built_in: BTreeSet<String> = BUILT_IN.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(built_in, names());
}

#[test]
fn every_hook_says_with_what_it_was_tried() {
    for name in names() {
        let hook = Hook::find(&name, Path::new("/nonexistent")).unwrap();
        assert!(hook.tried_with().is_some_and(|text| text.len() > 3), "{name}");
    }
}

#[test]
fn every_hook_and_its_settings_are_in_the_manual() {
    for (name, text) in BUILT_IN {
        let heads =
            |line: &str| line.strip_prefix(".SS ").is_some_and(|title| title.split(", ").any(|one| one == *name));
        assert!(MANUAL.lines().any(heads), "{name}");
        for setting in text.split("BK_SET_").skip(1) {
            let end = setting.find(|letter: char| !letter.is_ascii_uppercase() && letter != '_').unwrap();
            let key = setting.get(..end).unwrap().to_lowercase().replace('_', "-");
            let plain = MANUAL.replace("\\-", "-");
            assert!(plain.contains(&key), "{name}: {key}");
        }
    }
}

#[test]
fn every_hook_passes_shellcheck() {
    // Installed by tests/run; where it is not, there is nothing to check with.
    if Command::new("shellcheck").arg("--version").output().is_err() {
        return;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("hooks");
    let output =
        Command::new("shellcheck").args(["-s", "sh", "prelude.sh"]).args(names()).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    // So do the programs that stand in for those of services.
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/service/programs");
    let paths = std::fs::read_dir(programs).unwrap().map(|entry| entry.unwrap().path());
    let output = Command::new("shellcheck").args(paths).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_hook_that_does_not_exist_is_named_with_those_that_do() {
    let error = Hook::find("postgress", Path::new("/etc/bk/hooks")).unwrap_err();
    assert!(error.to_string().contains("postgress"));
    assert!(error.hint().contains("postgres, ") && error.hint().contains("/etc/bk/hooks"), "{}", error.hint());
    for name in ["", "../x", ".", "a/b"] {
        assert!(Hook::find(name, Path::new("/tmp")).is_err(), "{name}");
    }
}
