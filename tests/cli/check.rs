//! Checks that go on where the last one stopped, and those that keep a promise.

use std::time::SystemTime;

use serde_json::Value;

use super::Bench;

/// A repository `ssd` of some backups, each with new bytes.
fn filled(schedule: &str) -> Bench {
    let bench = Bench::new();
    let here = bench.path("").display().to_string();
    let config = format!(
        "[family]\nkey-file = \"{here}key\"\n[repository.ssd]\nlocation = \"{here}data/repository\"\n[repository.usb]\nlocation = \"{here}usb\"\n{schedule}"
    );
    std::fs::write(bench.path("bk.toml"), config).unwrap();
    with(&bench, 0, &["init"]);
    for seed in 0..4_u32 {
        let bytes = |at: u32| (at ^ seed.wrapping_mul(0x9e37_79b9)).wrapping_mul(2_654_435_761).to_le_bytes();
        let noise: Vec<u8> = (0..30_000).flat_map(bytes).collect();
        std::fs::write(bench.path(&format!("source/noise{seed}")), noise).unwrap();
        with(&bench, 0, &["--repo", "ssd", "backup", "./source"]);
    }
    bench
}

/// As [`Bench::expect`], with the configuration; gives all that was printed.
fn with(bench: &Bench, code: i32, arguments: &[&str]) -> String {
    let (out, err) = bench.expect(code, &[&["-c", "bk.toml"], arguments].concat());
    format!("{out}{err}")
}

/// What `check` of a repository with these arguments came to.
fn checked(bench: &Bench, code: i32, repository: &str, arguments: &[&str]) -> Value {
    let said = with(bench, code, &[&["--json", "--repo", repository, "check"], arguments].concat());
    let mut lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let kinds = ["summary", "not_due"];
    lines.find(|line| kinds.iter().any(|kind| line["message_type"] == *kind)).unwrap_or_else(|| panic!("{said}"))
}

fn damage_largest(bench: &Bench) {
    let largest = bench.objects("packs").into_iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&largest, bytes).unwrap();
}

const PROMISE: &str = "[schedule]\ncheck = { at = \"0 5 * * 0\", ssd = \"whole in 7d\" }\n";

#[test]
fn a_budget_goes_on_where_the_last_check_stopped_and_says_what_is_left() {
    let bench = filled("");
    let packs = bench.objects("packs").len() as u64;
    assert!(packs >= 8, "{packs}");
    for left in (0..packs).rev() {
        let summary = checked(&bench, 0, "ssd", &["--budget", "1"]);
        assert_eq!((summary["packs_read"].as_u64(), summary["never_read_packs"].as_u64()), (Some(1), Some(left)));
        assert_eq!(summary["promise_seconds"], Value::Null);
    }
    assert_eq!(bench.objects("facts").len() as u64, packs);
    let said = with(&bench, 0, &["--repo", "ssd", "check", "--budget", "10min"]);
    assert!(said.contains("every byte of ssd was read since ") && said.contains("is whole"), "{said}");
    let said = with(&bench, 0, &["--repo", "ssd", "check"]);
    assert!(!said.contains("every byte"), "a check of the structure says what it did: {said}");
}

#[test]
fn another_machine_goes_on_with_what_the_first_has_left() {
    let bench = filled("");
    let packs = bench.objects("packs").len() as u64;
    checked(&bench, 0, "ssd", &["--budget", "1"]);
    // Its memory of earlier runs is of this machine; the readings are not in it.
    std::fs::remove_file(bench.path("data/state.sqlite")).unwrap();
    assert_eq!(checked(&bench, 0, "ssd", &["--budget", "1"])["never_read_packs"].as_u64(), Some(packs - 2));
}

#[test]
fn a_check_that_is_due_keeps_its_promise_and_is_not_due_again() {
    let bench = filled(PROMISE);
    let packs = bench.objects("packs").len() as u64;
    let first = checked(&bench, 0, "ssd", &["--due"]);
    assert_eq!((first["packs_read"].as_u64(), first["kept"].as_bool()), (Some(packs), Some(true)), "{first}");
    assert_eq!((first["promise_seconds"].as_i64(), first["left_bytes"].as_u64()), (Some(7 * 86_400), Some(0)));
    assert!(first["oldest_reading"].is_string() && first["unread_since"].is_string(), "{first}");
    let again = checked(&bench, 0, "ssd", &["--due"]);
    assert!(again["message_type"] == "not_due" && again["next"].is_string(), "{again}");
    let said = with(&bench, 0, &["check", "--due"]);
    assert!(said.contains("ssd is not due before ") && said.contains(" 05:00:00"), "{said}");
    assert!(said.contains("by size"), "usb has no promise: its structure is checked, {said}");
    let said = with(&bench, 0, &["check", "--due"]);
    assert!(said.contains("usb is not due before "), "{said}");
    with(&bench, 0, &["--repo", "ssd", "check"]);
    std::fs::write(bench.path("bk.toml"), config_of(&bench).replace("whole in 7d", "whole in 8d")).unwrap();
    let said = with(&bench, 0, &["check", "--due"]);
    assert!(said.contains("promise: 8 days (kept)"), "another promise is due at once: {said}");
}

fn config_of(bench: &Bench) -> String {
    std::fs::read_to_string(bench.path("bk.toml")).unwrap()
}

#[test]
fn the_promise_is_told_with_a_date_and_a_budget_that_is_too_small_is_8() {
    let bench = filled(&PROMISE.replace("7d", "30d"));
    let said = with(&bench, 0, &["--repo", "ssd", "check", "--due"]);
    assert!(said.contains("; promise: 30 days (kept)"), "{said}");
    assert!(said.contains("every byte of ssd was stored or read since "), "{said}");
    // The packs as old as they were when nobody had checked for a year.
    let bench = filled(PROMISE);
    let year_ago = SystemTime::now() - std::time::Duration::from_secs(365 * 86_400);
    for pack in bench.objects("packs") {
        std::fs::File::options().append(true).open(pack).unwrap().set_modified(year_ago).unwrap();
    }
    let said = with(&bench, 8, &["--repo", "ssd", "check", "--due", "--budget", "1"]);
    assert!(said.contains("will be broken on ") && said.contains("the budget leaves "), "{said}");
    assert!(said.contains("next: run `bk check --due` with a larger budget"), "{said}");
    assert!(said.contains(" were never read; all will have been by "), "{said}");
    let summary = checked(&bench, 0, "ssd", &["--due"]);
    assert_eq!((summary["kept"].as_bool(), summary["never_read_packs"].as_u64()), (Some(true), Some(0)), "{summary}");
    assert_eq!(summary["packs_read"].as_u64(), Some(bench.objects("packs").len() as u64 - 1), "not the first again");
}

#[test]
fn damage_that_a_due_check_finds_is_5_and_names_the_files_and_is_due_until_it_is_gone() {
    let bench = filled(PROMISE);
    damage_largest(&bench);
    let said = with(&bench, 5, &["--repo", "ssd", "check", "--due"]);
    assert!(said.contains("noise") && said.contains("bk repair packs") && said.contains("is DAMAGED"), "{said}");
    let again = checked(&bench, 5, "ssd", &["--due"]);
    assert_eq!((again["packs_read"].as_u64(), again["never_read_packs"].as_u64()), (Some(1), Some(0)), "{again}");
}

#[test]
fn what_cannot_be_meant_is_2_and_says_what_can() {
    let bench = filled("");
    let said = with(&bench, 2, &["check", "--due"]);
    assert!(said.contains("nothing says when checks are due") && said.contains("[schedule]"), "{said}");
    for others in [&["--read-data"][..], &["--read-data-subset", "1/7"], &["--no-key"]] {
        for own in [&["--due"][..], &["--budget", "1GiB"]] {
            with(&bench, 2, &[&["check"], own, others].concat());
        }
    }
    let said = with(&bench, 2, &["check", "--budget", "half"]);
    assert!(said.contains("a size such as 20GiB or a time such as 30min"), "{said}");
    let wrong = format!("{}[schedule.check]\nat = \"@weekly\"\nsdd = \"whole in 7d\"\n", config_of(&bench));
    std::fs::write(bench.path("bk.toml"), wrong).unwrap();
    let said = with(&bench, 2, &["check"]);
    assert!(said.contains("bk.toml:9: ") && said.contains("did you mean `ssd`?"), "{said}");
}
