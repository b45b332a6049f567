//! What the program says, compared with what is expected.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::machine::Said;
use super::model::{Came, Model, REPOSITORIES, Told};
use super::time::{nanos, seconds};

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// The entry of a list that names this.
#[track_caller]
fn named<'a>(list: &'a Value, key: &str, name: &str) -> &'a Value {
    let mut all = list.as_array().unwrap().iter();
    all.find(|one| one[key] == name).unwrap_or_else(|| panic!("no {key} {name} in {list}"))
}

/// The exit code and the report of a night. Gives the ids of the new snapshots by profile.
pub fn report(said: &Said, model: &Model, came: &[(&'static str, Came)]) {
    let report = said.json("run");
    let code = model.code(came);
    assert_eq!((i64::from(said.code), report["code"].as_i64()), (code, Some(code)), "{}", said.all);
    assert_eq!(report["profiles"].as_array().unwrap().len(), came.len());
    for &(profile, came) in came {
        let step = named(&report["profiles"], "profile", profile);
        let waits = REPOSITORIES.iter().any(|(repository, _)| model.place(profile, repository).waits);
        let code = match (came.code(), waits, model.is_away) {
            (4, ..) => 4,
            (_, true, _) => 9,
            (_, _, true) => 7,
            _ => 0,
        };
        assert_eq!(step["code"], code, "{step}");
        assert_eq!(step["slow"], Value::Array(Vec::new()), "{step}");
        assert_eq!(step["message"].is_string(), came == Came::Refused, "{step}");
        for (repository, _) in REPOSITORIES {
            let place = model.place(profile, repository);
            let is_reached = came.has_snapshot() && !(model.is_away && repository == "b2");
            let one = named(&step["repositories"], "repository", repository);
            assert_eq!((one["code"].as_i64(), one["snapshot_id"].is_string()), (Some(place.last), is_reached), "{one}");
            assert_eq!(one["message"].is_string(), place.last != 0, "{one}");
            let forgotten = step["forgotten"].as_array().unwrap().iter().find(|one| one["repository"] == repository);
            let expected = place.forgotten.filter(|_| is_reached).map(|forgotten| forgotten.code);
            assert_eq!(forgotten.and_then(|one| one["code"].as_i64()), expected, "{step}");
        }
    }
    for (repository, _) in REPOSITORIES {
        let mut pruned = report["pruned"].as_array().unwrap().iter();
        let pruned = pruned.find(|one| one["repository"] == repository).and_then(|one| one["code"].as_i64());
        let strange = |((_, of), place): (&(&str, &str), &super::model::Place)| {
            *of == repository && place.snapshots.iter().any(|one| one.strange)
        };
        let waits = model.places.iter().any(strange);
        let expected = (!(model.is_away && repository == "b2")).then_some(if waits { 9 } else { 0 });
        assert_eq!(pruned, expected, "{repository} is pruned: {report}");
    }
}

/// The snapshots that a repository lists are those that it should have. Gives their ids by profile and start.
pub fn snapshots(list: &[Value], model: &Model, repository: &'static str) -> BTreeMap<(&'static str, i64), String> {
    let mut ids = BTreeMap::new();
    let mut found: BTreeMap<&str, Vec<(i64, bool)>> = BTreeMap::new();
    for one in list {
        let (profile, start) = (text(&one["profile"]), nanos(text(&one["time"])));
        found.entry(profile).or_default().push((start, one["outcome"] == "complete"));
        let profile = super::model::PROFILES.into_iter().find(|known| *known == profile).unwrap();
        ids.insert((profile, start), text(&one["id"]).to_owned());
    }
    for profile in super::model::PROFILES {
        let expected: Vec<_> = model.place(profile, repository).snapshots.iter().collect();
        let nights = |all: &[(i64, bool)]| -> Vec<String> {
            let night = |start| expected.iter().find(|one| one.start == start).map_or(0, |one| one.night);
            all.iter()
                .map(|(start, complete)| format!("{}{}", night(*start), if *complete { "" } else { "?" }))
                .collect()
        };
        let found = found.remove(profile).unwrap_or_default();
        let wanted: Vec<_> = expected.iter().map(|one| (one.start, one.complete)).collect();
        if found != wanted {
            let gone: Vec<_> =
                expected.iter().filter(|one| !found.iter().any(|(start, _)| *start == one.start)).collect();
            panic!(
                "{profile} in {repository} should have the nights {:?}\nand has {:?} (0: one that should be gone)\n\
                 lacks {gone:?}",
                nights(&wanted),
                nights(&found)
            );
        }
    }
    ids
}

/// `bk status`, with its exit code.
pub fn status(said: &Said, model: &Model, now: i64, next: i64) {
    let status = said.json("status");
    assert_eq!(said.code, model.status_code(now), "{}", said.all);
    for profile in super::model::PROFILES {
        let of_profile = named(&status["profiles"], "profile", profile);
        assert_eq!(seconds(text(&of_profile["next_run"])), next, "the next run of {profile}");
        assert_eq!(of_profile["max_age_seconds"], 26 * 3600);
        for (repository, _) in REPOSITORIES {
            let one = named(&of_profile["repositories"], "repository", repository);
            let place = model.place(profile, repository);
            let is_asked = !(model.is_away && repository == "b2");
            assert_eq!(text(&one["status"]), model.word(place, repository, now), "{profile} in {repository}: {one}");
            assert_eq!(one["asked"], is_asked);
            let newest = place.newest_complete().unwrap();
            let seen = nanos(text(&one["complete_snapshot"]["time"]));
            match is_asked {
                true => assert_eq!(seen, newest.start, "{profile} in {repository}"),
                // This machine remembers when the run began.
                false => assert!((newest.start - seen).abs() < 5_000_000_000, "{one}"),
            }
            assert_eq!(one["snapshots"].as_u64(), is_asked.then_some(place.snapshots.len() as u64), "{one}");
            assert_eq!(one["last_run"]["code"], place.last, "{one}");
        }
    }
    for (repository, _) in REPOSITORIES {
        let one = named(&status["repositories"], "repository", repository);
        assert_eq!(one["unreachable"].is_string(), model.is_away && repository == "b2", "{one}");
    }
}

/// What somebody was told, notice by notice.
#[track_caller]
pub fn told(notices: &[Value], expected: &[BTreeSet<Told>], what: &str) {
    let entry = |one: &Value| {
        let word = |key: &str| one[key].as_str().unwrap_or("-").to_owned();
        assert!(!text(&one["text"]).is_empty());
        let is_good = ["recovered", "complete", "digest"].contains(&text(&one["event"]));
        assert_eq!(one["hint"].is_string(), !is_good, "what is wrong has a next step: {one}");
        format!("{} {} {}", word("event"), word("profile"), word("repository"))
    };
    let found: Vec<BTreeSet<String>> =
        notices.iter().map(|notice| notice["entries"].as_array().unwrap().iter().map(entry).collect()).collect();
    let wanted = |told: &BTreeSet<Told>| -> BTreeSet<String> {
        let name = |name: &Option<&'static str>| name.unwrap_or("-");
        told.iter()
            .map(|(event, profile, repository)| format!("{event} {} {}", name(profile), name(repository)))
            .collect()
    };
    let wanted: Vec<BTreeSet<String>> = expected.iter().map(wanted).collect();
    assert_eq!(found, wanted, "{what}");
}

/// What a check such as healthchecks.io hears of the same: "of every run", and of what is not well besides.
#[track_caller]
pub fn pinged(found: &[String], is_run: bool, code: i64, expected: &[BTreeSet<Told>], what: &str) {
    let is_bad =
        |told: &BTreeSet<Told>| told.iter().any(|(event, ..)| !["recovered", "complete", "digest"].contains(event));
    let mut wanted: Vec<&str> = Vec::new();
    let mut notices = expected.iter();
    if is_run {
        notices.next();
        wanted.extend(["/start", if code == 0 { "" } else { "/fail" }]);
    }
    wanted.extend(notices.filter(|told| is_bad(told)).map(|_| "/fail"));
    assert_eq!(found, wanted, "{what}");
}
