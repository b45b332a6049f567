//! What is kept and forgotten, as its user meets it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::past::{DAY, Past};
use super::{Bench, text};

/// Two repositories with rules of their own, and two profiles.
pub(super) const CONFIG: &str = r#"
[family]
key-file = "HERE/key"
[repository.ssd]
location = "HERE/ssd"
keep = { last = 4 }
[repository.usb]
location = "HERE/usb"
[profile.wiki]
paths = ["HERE/source"]
[profile.wiki.keep]
usb = { daily = 6 }
[profile.mail]
paths = ["HERE/source/sub"]
"#;

impl Bench {
    pub(super) fn configured(config: &str) -> Self {
        let bench = Self::new();
        bench.configure(config);
        bench.with(0, &["init"]);
        bench
    }

    /// Runs with the configuration, in UTC; gives both streams.
    pub(super) fn with(&self, code: i32, arguments: &[&str]) -> (String, String) {
        let output = self.bk(&[&["-c", "bk.toml"], arguments].concat()).env("TZ", "UTC").output().unwrap();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "bk {arguments:?}\n{out}\n{err}");
        (out, err)
    }

    pub(super) fn lines(&self, code: i32, arguments: &[&str]) -> Vec<Value> {
        let (out, _) = self.with(code, &[&["--json"], arguments].concat());
        out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
    }

    pub(super) fn past(&self, repository: &str) -> Past {
        Past::of(&self.path(repository), &self.path("key"))
    }

    /// A profile that was backed up in so many nights and just now.
    fn nights(&self, profile: &str, nights: u64) {
        self.with(0, &["backup", profile]);
        for repository in ["ssd", "usb"].into_iter().filter(|name| self.path(name).exists()) {
            self.past(repository).nightly(nights);
        }
    }

    fn is_whole(&self) {
        self.with(0, &["check", "--read-data"]);
    }

    /// Every object with its name and bytes.
    pub(super) fn files(&self, repository: &str) -> Vec<(PathBuf, Vec<u8>)> {
        fn walk(folder: &Path, found: &mut Vec<(PathBuf, Vec<u8>)>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, found);
                } else {
                    found.push((path.clone(), std::fs::read(&path).unwrap()));
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.path(repository), &mut found);
        found.sort();
        found
    }
}

/// Ids that a report keeps, or does not, in its groups.
fn ids(report: &Value, kept: bool) -> Vec<String> {
    let groups = report["groups"].as_array().unwrap().iter();
    let snapshots = groups.flat_map(|group| group["snapshots"].as_array().unwrap());
    let chosen = snapshots.filter(|snapshot| snapshot["kept"] == kept);
    chosen.map(|snapshot| snapshot["id"].as_str().unwrap().to_owned()).collect()
}

/// Names an object and says what to do next.
pub(super) fn says(err: &str, named: &[&str]) {
    for word in named.iter().chain(&["hint: "]) {
        assert!(err.contains(word), "`{word}` is not in:\n{err}");
    }
}

#[test]
fn a_dry_run_changes_nothing_and_says_what_is_then_done() {
    let bench = Bench::configured(CONFIG);
    bench.nights("wiki", 9);
    let before = [bench.files("ssd"), bench.files("usb")];
    let (text_dry, _) = bench.with(0, &["forget", "--dry-run"]);
    let dry = bench.lines(0, &["forget", "--dry-run"]);
    assert_eq!([bench.files("ssd"), bench.files("usb")], before);
    assert!(text_dry.contains("6 of 10 snapshots would be forgotten, 4 kept"), "{text_dry}");
    let done = bench.lines(0, &["forget"]);
    assert_eq!(dry.len(), 2);
    for (dry, done) in dry.iter().zip(&done) {
        assert_eq!((&dry["dry_run"], &done["dry_run"]), (&true.into(), &false.into()));
        assert_eq!(dry["groups"], done["groups"]);
        let past = bench.past(dry["repository"].as_str().unwrap());
        assert_eq!(past.ids(), ids(dry, true));
        for id in ids(dry, false) {
            let row = text_dry.lines().find(|line| line.contains(&id[..8])).unwrap();
            assert!(row.contains("forget  no rule keeps it"), "{row}");
        }
    }
    let (out, _) = bench.with(0, &["forget"]);
    assert!(out.contains("0 of 4 snapshots forgotten, 4 kept"), "{out}");
    bench.is_whole();
}

#[test]
fn each_repository_has_its_rules_a_profile_its_own_in_it_and_options_win() {
    let bench = Bench::configured(CONFIG);
    bench.nights("wiki", 9);
    bench.nights("mail", 9);
    let kept = |arguments: &[&str]| -> Vec<(String, usize)> {
        let reports = bench.lines(0, &[&["forget", "-n"], arguments].concat());
        let groups = reports.iter().flat_map(|report| report["groups"].as_array().unwrap());
        let of_group = |group: &Value| {
            let kept = group["snapshots"].as_array().unwrap().iter().filter(|snapshot| snapshot["kept"] == true);
            (group["keep"].as_str().unwrap().to_owned(), kept.count())
        };
        groups.map(of_group).collect()
    };
    let is = |found: Vec<(String, usize)>, expected: &[(&str, usize)]| {
        let expected: Vec<_> = expected.iter().map(|(keep, count)| ((*keep).to_owned(), *count)).collect();
        assert_eq!(found, expected);
    };
    // mail and wiki in ssd, then in usb, where nothing is said of mail: 30 days.
    is(kept(&[]), &[("last 4", 4), ("last 4", 4), ("within 30d", 10), ("6 daily", 6)]);
    is(kept(&["wiki", "--keep-last", "5"]), &[("last 5", 5), ("last 5", 5)]);
    is(kept(&["wiki", "--keep-within", "47h"]), &[("within 47h", 3), ("within 47h", 3)]);
    // Never fewer than three, and both rules of two count.
    is(kept(&["mail", "--keep-last", "1"]), &[("last 1", 3), ("last 1", 3)]);
    is(kept(&["mail", "--keep-last", "1", "--keep-daily", "all"]), &[("last 1, all daily", 10); 2]);
}

#[test]
fn the_configuration_says_where_each_rule_stands() {
    let bench = Bench::configured(CONFIG);
    let (out, _) = bench.with(0, &["config", "show"]);
    for (rule, number) in [("repository.ssd.keep.last = 4 ", 6), ("profile.wiki.keep.usb.daily = 6 ", 12)] {
        let line = out.lines().find(|line| line.starts_with(rule)).unwrap_or_else(|| panic!("{out}"));
        assert!(line.ends_with(&format!("bk.toml:{number}")), "{line}");
    }
    let default = out.lines().find(|line| line.starts_with("defaults.sqlite")).unwrap();
    assert!(default.ends_with("# default"), "{default}");
}

#[test]
fn a_repository_that_is_away_does_not_keep_the_others_from_it() {
    let bench = Bench::configured(CONFIG);
    bench.nights("wiki", 9);
    std::fs::rename(bench.path("ssd"), bench.path("away")).unwrap();
    let (out, err) = bench.with(10, &["forget"]);
    assert!(out.contains("4 of 10 snapshots forgotten, 6 kept"), "{out}");
    says(&err, &["ssd"]);
    let (out, err) = bench.with(10, &["prune"]);
    assert!(out.contains("kept"), "{out}");
    says(&err, &["ssd"]);
    let reports = bench.lines(10, &["forget"]);
    assert_eq!(reports.last().unwrap()["repository"], "usb", "{reports:?}");
}

#[test]
fn a_snapshot_is_forgotten_by_its_id_unless_it_is_pinned_or_the_last() {
    let bench = Bench::configured(CONFIG);
    bench.nights("wiki", 2);
    let past = bench.past("ssd");
    let all = past.ids();
    let short = |at: usize| &all[at][..8];
    let ssd = |code: i32, arguments: &[&str]| bench.with(code, &[&["-r", "ssd"], arguments].concat());
    ssd(0, &["pin", short(0)]);
    let (_, err) = ssd(2, &["forget", short(0)]);
    says(&err, &["is pinned", &format!("bk pin --remove {}", short(0))]);
    // One that cannot go keeps the others that were named with it.
    ssd(2, &["forget", short(1), short(0)]);
    assert_eq!(past.ids(), all);
    let before = bench.files("ssd");
    let (out, _) = ssd(0, &["forget", "-n", short(1)]);
    assert!(out.contains(&format!("would forget {}", short(1))) && bench.files("ssd") == before, "{out}");
    let (out, _) = ssd(0, &["forget", short(1)]);
    assert!(out.contains(&format!("forgot {}", short(1))), "{out}");
    assert_eq!(past.ids(), [all[0].clone(), all[2].clone()]);
    ssd(0, &["pin", "--remove", short(0)]);
    let (_, err) = ssd(2, &["forget", short(0), short(2)]);
    says(&err, &["the last complete one", "--even-the-last"]);
    ssd(0, &["forget", short(0)]);
    ssd(2, &["forget", short(2)]);
    ssd(0, &["forget", short(2), "--even-the-last"]);
    assert!(past.ids().is_empty());
    let (_, err) = ssd(2, &["forget", short(2)]);
    says(&err, &[short(2), "bk snapshots"]);
}

#[test]
fn pins_are_listed_end_by_themselves_and_can_be_taken_away() {
    let bench = Bench::configured(&CONFIG.replace("[repository.usb]", "[repository.other]").replace("usb =", "ssd ="));
    bench.nights("wiki", 9);
    let past = bench.past("ssd");
    let (oldest, second) = (past.ids()[0].clone(), past.ids()[1].clone());
    let ssd = |code: i32, arguments: &[&str]| bench.with(code, &[&["-r", "ssd"], arguments].concat());
    let (_, err) = ssd(0, &["pin"]);
    assert!(err.contains("nothing is pinned"), "{err}");
    ssd(0, &["pin", &oldest[..8]]);
    ssd(0, &["pin", "wiki~8", "--until", "90d"]);
    let (out, _) = ssd(0, &["pin"]);
    let rows: Vec<&str> = out.lines().collect();
    assert_eq!(rows.len(), 3, "{out}");
    assert!(rows[1].starts_with(&oldest[..8]) && rows[1].contains("until it is taken away"), "{out}");
    assert!(rows[2].starts_with(&second[..8]) && rows[2].contains(" until 20"), "{out}");
    let listed = &bench.lines(0, &["-r", "ssd", "pin"])[0];
    assert_eq!((&listed[0]["until"], &listed[1]["id"]), (&Value::Null, &second.clone().into()));
    let (out, _) = ssd(0, &["forget", "-n"]);
    for id in [&oldest, &second] {
        let row = out.lines().find(|line| line.contains(&id[..8])).unwrap();
        assert!(row.contains("keep") && row.contains("pinned"), "{out}");
    }
    let (_, err) = ssd(2, &["pin", "wiki", "--until", "2020-01-01"]);
    says(&err, &["2020-01-01", "not in the future"]);
    let (_, err) = ssd(2, &["pin", "wiki", "--until", "someday"]);
    says(&err, &["someday"]);
    let (_, err) = ssd(1, &["pin", "nobody"]);
    says(&err, &["nobody", "wiki"]);
    ssd(0, &["pin", "--remove", &oldest[..8]]);
    ssd(0, &["forget"]);
    assert!(!past.ids().contains(&oldest) && past.ids().contains(&second));
}

#[test]
fn mistakes_are_refused_with_the_next_step_and_nothing_is_forgotten() {
    let bench = Bench::configured(CONFIG);
    bench.nights("wiki", 9);
    let before = [bench.files("ssd"), bench.files("usb")];
    for (arguments, named) in [
        (&["forget", "--keep-tag", "upgrade"][..], &["upgrade", "bk snapshots"][..]),
        (&["forget", "--keep-last", "1", "--keep-tag", "upgrade"], &["upgrade"]),
        (&["forget", "nobody"], &["nobody", "wiki"]),
        (&["forget", "./source"], &["./source", "bk snapshots"]),
        (&["forget", "wiki", "deadbeef"], &["one or the other"]),
        (&["forget", "deadbeef", "--keep-last", "3"], &["by name"]),
        (&["forget", "--keep-daily", "0"], &["daily", "leave it out", "--keep-daily"]),
        (&["forget", "--keep-daily", "7d"], &["7d", "whole number", "--keep-daily"]),
        (&["forget", "--keep-within", "30"], &["write 30d", "--keep-within"]),
        (&["forget", "--keep-within", "6m"], &["write `mo` for months"]),
    ] {
        let (_, err) = bench.with(2, arguments);
        says(&err, named);
    }
    for (arguments, named) in [
        (&["forget", "--simulate", "5"][..], "write 5d"),
        (&["forget", "--simulate", "5d", "--dry-run"], "cannot be used with"),
        (&["prune", "--instant-delete"], "--no-other-writer"),
        (&["prune", "--no-other-writer"], "--instant-delete"),
        (&["prune", "--max-unused", "200%"], "from 0% to 100%"),
        (&["prune", "--ignore-damaged", "x"], "8 digits"),
        (&["pin", "--until", "90d"], "PROFILE|SNAPSHOT"),
    ] {
        let (_, err) = bench.with(2, arguments);
        assert!(err.contains(named), "{arguments:?}: {err}");
    }
    assert_eq!([bench.files("ssd"), bench.files("usb")], before);
}

#[test]
fn rules_of_the_configuration_that_want_an_unknown_tag_forget_nothing_by_it() {
    let bench = Bench::configured(&CONFIG.replace("{ daily = 6 }", "{ tags = [\"upgrade\"] }"));
    bench.nights("wiki", 9);
    let (_, err) = bench.with(2, &["-r", "usb", "forget"]);
    says(&err, &["upgrade", "nothing was forgotten"]);
    assert_eq!(bench.past("usb").ids().len(), 10);
    // With another rule it is warned of.
    bench.configure(&CONFIG.replace("{ daily = 6 }", "{ daily = 6, tags = [\"upgrade\"] }"));
    let (_, err) = bench.with(0, &["-r", "usb", "forget"]);
    assert!(err.contains("upgrade"), "{err}");
    assert_eq!(bench.past("usb").ids().len(), 6);
}

#[test]
fn other_machines_are_left_alone_unless_they_are_meant() {
    let bench = Bench::configured(CONFIG);
    bench.nights("wiki", 9);
    let past = bench.past("ssd");
    for day in (2..12).rev() {
        past.put(day * DAY, |snapshot| snapshot.host = "attic".to_owned());
    }
    let ssd = |arguments: &[&str]| bench.with(0, &[&["-r", "ssd", "forget"], arguments].concat()).0;
    let (own, attic) = ("wiki on attic", "6 of 10 snapshots");
    let out = ssd(&[]);
    assert!(!out.contains(own) && out.contains(attic), "{out}");
    assert_eq!(past.ids().len(), 14);
    let out = ssd(&["-n", "--all-hosts"]);
    assert_eq!(out.matches(" on ").count(), 2, "{out}");
    let (_, err) = bench.with(2, &["-r", "ssd", "forget", "--host", "cellar"]);
    assert!(err.contains("there is no snapshot that cellar made"), "{err}");
    let (_, err) = bench.with(2, &["-r", "ssd", "forget", "wiki", "--host", "cellar"]);
    says(&err, &["wiki", "cellar"]);
    let out = ssd(&["--host", "attic", "wiki"]);
    assert!(out.contains(own) && out.contains("6 of 10 snapshots forgotten"), "{out}");
    assert_eq!(past.ids().len(), 8);
}

#[test]
fn a_simulation_says_what_the_rules_leave_and_changes_nothing() {
    let bench = Bench::configured(CONFIG);
    bench.nights("wiki", 9);
    let before = bench.files("ssd");
    let rules = ["--keep-daily", "7", "--keep-monthly", "12"];
    let (out, _) = bench.with(0, &[&["-r", "ssd", "forget", "--simulate", "400d"], &rules[..]].concat());
    let left = &bench.lines(0, &[&["-r", "ssd", "forget", "--simulate", "400d"], &rules[..]].concat())[0];
    assert_eq!(bench.files("ssd"), before);
    assert_eq!((&left["message_type"], &left["span"]), (&"simulation".into(), &"400d".into()));
    assert_eq!(left["runs"], 400);
    let snapshots = left["left"].as_array().unwrap();
    // Seven days, and eleven or twelve months before the one that they are in or reach back into.
    assert!((17..=19).contains(&snapshots.len()), "{}", snapshots.len());
    assert!(out.contains(&format!("{} snapshots of 410 left", snapshots.len())), "{out}");
    assert_eq!(out.lines().filter(|line| line.contains("to be made")).count(), snapshots.len(), "{out}");
}

#[test]
fn what_is_overdue_is_8_and_stays_until_it_is_said_otherwise() {
    let limits = "[defaults]\nmax-age = \"30d\"\n[profile.wiki]\nmax-age = \"20h\"\n";
    let bench = Bench::configured(&CONFIG.replace("[profile.wiki]\n", limits));
    bench.with(0, &["backup", "wiki"]);
    let past = bench.past("ssd");
    past.nightly(9);
    past.redate(2 * DAY, |_| {});
    let all = past.ids();
    let (_, err) = bench.with(8, &["-r", "ssd", "forget"]);
    says(&err, &["at most 20h are allowed", "--even-if-overdue"]);
    let report = &bench.lines(8, &["-r", "ssd", "forget", "-n"])[0];
    assert_eq!(report["groups"][0]["held"]["code"], "overdue");
    assert_eq!(past.ids(), all);
    bench.with(0, &["-r", "ssd", "forget", "--even-if-overdue"]);
    assert_eq!(past.ids().len(), 4);
    // A new backup ends it.
    bench.with(0, &["backup", "wiki"]);
    bench.with(0, &["-r", "ssd", "forget"]);
}

/// As many files as shares are measured of, all different.
fn pages(bench: &Bench, seed: u64) {
    for page in 0..30 {
        let mut bytes = vec![0; 3000];
        blake3::Hasher::new().update(&u64::to_le_bytes(seed + page)).finalize_xof().fill(&mut bytes);
        std::fs::write(bench.path(&format!("source/{page}")), bytes).unwrap();
    }
}

#[test]
fn a_backup_unlike_those_before_it_is_9_until_it_is_accepted() {
    let bench = Bench::configured(CONFIG);
    let ssd = |code: i32, arguments: &[&str]| bench.with(code, &[&["-r", "ssd"], arguments].concat());
    pages(&bench, 100);
    ssd(0, &["backup", "wiki"]);
    let past = bench.past("ssd");
    past.nightly(9);
    past.age(Duration::from_secs(2 * DAY));
    pages(&bench, 200);
    let (out, err) = ssd(9, &["backup", "wiki"]);
    let newest = past.ids().pop().unwrap();
    assert!(out.contains("is complete"), "{out}");
    assert!(err.contains("UNLIKE THOSE BEFORE IT") && err.contains(&format!("bk accept {}", &newest[..8])), "{err}");
    let before = bench.files("ssd");
    let (_, err) = ssd(9, &["forget"]);
    says(&err, &[&newest[..8], "bk accept"]);
    let (out, _) = ssd(9, &["forget", "-n"]);
    assert_eq!(out.matches("keep  for now: no rule keeps it").count(), 7, "{out}");
    let report = &bench.lines(9, &["-r", "ssd", "forget", "--keep-last", "1"])[0];
    assert_eq!((&report["groups"][0]["held"]["code"], ids(report, false).len()), (&"anomaly".into(), 0));
    for arguments in [&["prune"][..], &["prune", "-n"], &["prune", "--instant-delete", "--no-other-writer"]] {
        let (_, err) = ssd(9, arguments);
        says(&err, &["nothing is deleted", &newest[..8], "bk accept"]);
    }
    let (out, _) = ssd(9, &["accept"]);
    assert!(out.contains(&newest[..8]) && out.contains("of the files changed"), "{out}");
    assert_eq!(bench.lines(9, &["-r", "ssd", "accept"])[0][0]["id"], newest.as_str());
    assert_eq!(bench.files("ssd"), before, "looking changed something");
    let (_, err) = ssd(2, &["accept", "wiki~1"]);
    says(&err, &["nothing unusual", "bk accept"]);
    // The next backup is like the one before it, but that is still to be looked at.
    ssd(0, &["backup", "wiki"]);
    ssd(9, &["forget"]);
    ssd(0, &["accept", &newest[..8]]);
    let (_, err) = ssd(0, &["accept"]);
    assert!(err.contains("nothing waits to be accepted"), "{err}");
    ssd(0, &["backup", "wiki"]);
    ssd(0, &["forget", "--prune"]);
    assert_eq!(past.ids().len(), 4);
    bench.is_whole();
}

#[test]
fn what_is_said_of_a_snapshot_is_said_in_every_repository() {
    let bench = Bench::configured(CONFIG);
    pages(&bench, 100);
    bench.with(0, &["backup", "wiki"]);
    pages(&bench, 200);
    bench.with(9, &["backup", "wiki"]);
    let (out, _) = bench.with(9, &["accept"]);
    assert!(out.contains("in ssd:") && out.contains("in usb:"), "{out}");
    let (out, _) = bench.with(0, &["accept", "wiki"]);
    assert!(out.contains("accepted in ssd") && out.contains("accepted in usb"), "{out}");
    bench.with(0, &["accept"]);
    bench.with(0, &["forget"]);
    let (out, _) = bench.with(0, &["pin", "wiki"]);
    assert!(out.contains("is pinned in ssd") && out.contains("is pinned in usb"), "{out}");
    let (out, _) = bench.with(0, &["pin"]);
    assert_eq!(out.lines().count(), 3, "{out}");
    // It is the same in both; what is in one of them only is forgotten there, and a word that fits nothing is refused.
    let ids = bench.past("usb").ids();
    let (out, _) = bench.with(0, &["forget", &ids[0][..8]]);
    assert_eq!(out.matches("forgot").count(), 2, "{out}");
    bench.with(0, &["-r", "usb", "backup", "wiki"]);
    let ids = bench.past("usb").ids();
    let (out, err) = bench.with(0, &["forget", &ids[ids.len() - 1][..8]]);
    assert!(out.contains("forgot") && err.contains("ssd does not have"), "{out}{err}");
    bench.with(0, &["-r", "ssd", "backup", "mail"]);
    let (_, err) = bench.with(0, &["forget", "mail"]);
    assert!(err.contains("usb has no snapshot of mail"), "{err}");
    let (_, err) = bench.with(2, &["forget", "wiki", "nobody"]);
    says(&err, &["nobody"]);
}
