//! The textfile for node_exporter, compared with what bk-metrics(7) says of it.

use std::collections::BTreeMap;

use super::model::{Model, PROFILES, REPOSITORIES};
use super::time::NANO;

/// Value by name with labels, as in the file.
pub type Numbers = BTreeMap<String, f64>;

pub fn parse(text: &str) -> Numbers {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let number = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    };
    lines.map(number).collect()
}

#[track_caller]
fn is(numbers: &Numbers, name: &str, labels: &str, value: f64) {
    is_about(numbers, name, labels, value, 0.0);
}

#[track_caller]
fn is_about(numbers: &Numbers, name: &str, labels: &str, value: f64, more: f64) {
    let found = numbers.get(&format!("{name}{{{labels}}}")).copied();
    let fits = found.is_some_and(|found| (value..=value + more).contains(&found));
    assert!(fits, "{name}{{{labels}}} is {found:?} and should be {value} (to {})", value + more);
}

/// How each profile stands, whenever the file was written.
pub fn standing(numbers: &Numbers, model: &Model, at: i64) {
    let written = numbers["bk_metrics_timestamp_seconds"];
    assert!((at as f64..at as f64 + 60.0).contains(&written), "{written} is not soon after {at}");
    for ((profile, repository), place) in &model.places {
        let both = format!("profile=\"{profile}\",repository=\"{repository}\"");
        let verdict = place.verdict(at, false);
        for word in ["fine", "behind", "unreachable", "incomplete", "anomaly", "failed", "broken", "never", "overdue"] {
            let value = if word == verdict { 1.0 } else { 0.0 };
            is(numbers, "bk_status", &format!("{both},status=\"{word}\""), value);
        }
        let newest = place.newest_complete().unwrap().start / NANO;
        // Remembered is when the run began, which is a moment before the snapshot.
        is_about(numbers, "bk_complete_snapshot_timestamp_seconds", &both, (newest - 5) as f64, 5.0);
    }
}

/// After a run that began at `at`.
pub fn after_run(numbers: &Numbers, model: &Model, at: i64, next: i64) {
    for profile in PROFILES {
        is(numbers, "bk_next_run_timestamp_seconds", &format!("profile=\"{profile}\""), next as f64);
        is(numbers, "bk_max_age_seconds", &format!("profile=\"{profile}\""), 93_600.0);
        for (repository, _) in REPOSITORIES {
            let place = model.place(profile, repository);
            let both = format!("profile=\"{profile}\",repository=\"{repository}\"");
            let of = |operation: &str| format!("operation=\"{operation}\",{both}");
            is(numbers, "bk_last_exit_code", &of("backup"), place.last as f64);
            is_about(numbers, "bk_last_run_timestamp_seconds", &of("backup"), at as f64, 60.0);
            if let Some(forgotten) = place.forgotten {
                is(numbers, "bk_last_exit_code", &of("forget"), forgotten.code as f64);
                is(numbers, "bk_kept_snapshots", &of("forget"), forgotten.kept as f64);
                is(numbers, "bk_forgotten_snapshots", &of("forget"), forgotten.gone as f64);
            }
        }
    }
}

/// After a check that began at `at`; `whole`: when each repository was last found whole.
pub fn after_check(numbers: &Numbers, at: i64, whole: &BTreeMap<&str, i64>) {
    for (repository, _) in REPOSITORIES {
        let labels = format!("operation=\"check\",profile=\"\",repository=\"{repository}\"");
        let is_whole = whole.get(repository) == Some(&at);
        is(numbers, "bk_last_exit_code", &labels, if is_whole { 0.0 } else { 1.0 });
        is_about(numbers, "bk_last_run_timestamp_seconds", &labels, at as f64, 60.0);
        if let Some(at) = whole.get(repository) {
            is_about(numbers, "bk_last_success_timestamp_seconds", &labels, *at as f64, 60.0);
        }
    }
}
