//! The program and a bucket on its bad days: what happens in the middle of a run is said honestly, nothing that was kept
//! is lost, and the next run is complete.
//!
//! `BK_TORTURE=1` kills the program at every request of a run, and not only at some.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

#[path = "support/s3_server.rs"]
mod s3_server;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use s3_server::bad_day::{Rule, Trouble};
use s3_server::{KEY_ID, S3Server, SECRET};
use support::compare_trees;
use support::tree::noise;

/// A folder that was backed up once into a bucket, and has changed since.
struct Day {
    folder: tempfile::TempDir,
    server: S3Server,
    version: std::cell::Cell<u64>,
}

/// Long enough for the troubles that end, short for those that do not.
const PATIENT: &str = "retry-for = \"20s\"\n";
const IMPATIENT: &str = "retry-for = \"1s\"\n";

impl Day {
    fn new(patience: &str) -> Self {
        // In memory where that is possible: every restore is synced.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let day = Self { folder, server: S3Server::start(), version: 0.into() };
        std::fs::create_dir_all(day.path("source/sub")).unwrap();
        for number in 0..20_u64 {
            std::fs::write(day.path(&format!("source/sub/{number}")), noise(number, 30_000)).unwrap();
        }
        std::fs::write(day.path("source/file"), b"content\n".repeat(1000)).unwrap();
        let credentials = format!("AWS_ACCESS_KEY_ID={KEY_ID}\nAWS_SECRET_ACCESS_KEY={SECRET}\n");
        std::fs::write(day.path("credentials"), credentials).unwrap();
        let text = format!(
            "[family]\nkey-file = \"HERE/key\"\n[repository.far]\nlocation = \"s3://backups/host1\"\n\
             endpoint = \"{}\"\ncredentials-file = \"HERE/credentials\"\n{patience}\
             [profile.source]\nroot = \"HERE/source\"\n",
            day.server.endpoint()
        );
        std::fs::write(day.path("bk.toml"), text.replace("HERE", day.folder.path().to_str().unwrap())).unwrap();
        day.expect(0, &["init"]);
        day.expect(0, &["backup", "source"]);
        day.change();
        day.server.take_counts();
        day
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The source as it never was before.
    fn change(&self) {
        let version = self.version.get() + 1;
        self.version.set(version);
        std::fs::write(self.path("source/changed"), noise(1000 + version, 120_000)).unwrap();
        std::fs::write(self.path(&format!("source/sub/new-{version}")), noise(2000 + version, 5000)).unwrap();
    }

    fn bk(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bk"));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.folder.path());
        command.env("BK_CONFIG", self.path("bk.toml")).env("BK_DATA_DIR", self.path("data"));
        command.stdin(Stdio::null()).current_dir(self.folder.path()).args(arguments);
        command
    }

    /// Runs, expects an exit code and no secret; gives what was said.
    fn expect(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.bk(arguments).output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "bk {arguments:?}\n{said}");
        assert!(!said.contains("canary"), "bk {arguments:?} shows a secret\n{said}");
        said
    }

    /// A run that fails and says why in one sentence.
    fn fails(&self, arguments: &[&str], why: &str) {
        let said = self.expect(1, arguments);
        assert!(said.contains(why), "it should say \"{why}\": {said}");
        assert_eq!(said.matches("error: ").count(), 1, "{said}");
        assert!(said.contains("hint: ") && !said.contains("ErrorKind") && !said.contains("Unexpected"), "{said}");
    }

    fn snapshots(&self) -> usize {
        self.expect(0, &["--json", "snapshots"]).matches("\"id\"").count()
    }

    /// Restores a snapshot, which must be the source as it is now.
    fn restores(&self, snapshot: &str) {
        let target = tempfile::tempdir_in(self.folder.path()).unwrap();
        self.expect(0, &["restore", snapshot, "--to", target.path().to_str().unwrap()]);
        let copy = target.path().join("source");
        let inside = copy.join(self.path("source").strip_prefix("/").unwrap());
        let restored = if inside.is_dir() { inside } else { copy };
        let differences = compare_trees(&self.path("source"), &restored);
        assert!(differences.is_empty(), "{snapshot}: {differences:#?}");
    }

    /// The day after: everything is whole, the next backup is complete, and it restores.
    fn ends_well(&self) {
        self.server.refuse_no_more();
        self.expect(0, &["check", "--read-data"]);
        self.expect(0, &["backup", "source"]);
        self.restores("latest");
        self.expect(0, &["check", "--read-data"]);
    }

    /// Remembers what is in the bucket and what this machine knows of it.
    fn keep_aside(&self) {
        copy(&self.server.object(""), &self.path("aside-bucket"));
        copy(&self.path("data"), &self.path("aside-data"));
    }

    /// All as it was then.
    fn go_back(&self) {
        copy(&self.path("aside-bucket"), &self.server.object(""));
        copy(&self.path("aside-data"), &self.path("data"));
    }

    fn packs_put(&self) -> usize {
        self.server.take_counts().get("PUT packs").copied().unwrap_or_default()
    }
}

fn copy(from: &Path, to: &Path) {
    if to.exists() {
        std::fs::remove_dir_all(to).unwrap();
    }
    if from.exists() {
        assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
    }
}

fn said(output: &Output) -> String {
    let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
    // Lines are filled to the width of a terminal.
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_storm_that_ends_costs_time_and_nothing_else() {
    let day = Day::new(PATIENT);
    let storm = [(500, "InternalError"), (502, ""), (503, "SlowDown"), (503, ""), (504, ""), (429, "TooManyRequests")];
    let places = ["PUT packs", "PUT index", "LIST", "PUT snapshots", "HEAD packs", "GET"];
    let rules =
        storm.iter().zip(places).map(|((status, code), place)| Rule::once(place, Trouble::answer(*status, code)));
    day.server.plan(rules);
    day.expect(0, &["backup", "source"]);
    assert_eq!(day.server.refusals_left(), 0);
    day.restores("latest");
    day.ends_well();
}

#[test]
fn a_storm_that_does_not_end_fails_the_run_and_what_is_stored_is_not_stored_again() {
    let day = Day::new(IMPATIENT);
    day.server.plan([Rule::always("PUT snapshots", Trouble::answer(503, "SlowDown"))]);
    day.fails(&["backup", "source"], "the server is too busy");
    assert!(day.packs_put() > 0);
    day.server.refuse_no_more();
    assert_eq!(day.snapshots(), 1);
    day.server.take_counts();
    day.expect(0, &["backup", "source"]);
    assert_eq!(day.packs_put(), 0, "the packs of the run before serve");
    day.restores("latest");
    for place in ["PUT packs", "LIST", "HEAD packs"] {
        day.change();
        day.server.plan([Rule::always(place, Trouble::answer(500, "InternalError"))]);
        let said = day.expect(1, &["backup", "source"]);
        assert!(said.contains("error: cannot "), "{place}: {said}");
        day.ends_well();
    }
}

#[test]
fn a_server_that_asks_for_a_pause_gets_it() {
    let day = Day::new(PATIENT);
    let pause = |status, code, retry_after| {
        let message = "later";
        Trouble::Answer { status, code, message, retry_after: Some(retry_after) }
    };
    day.server.plan([
        Rule::once("PUT packs", pause(429, "TooManyRequests", 3)),
        Rule::once("PUT snapshots", pause(503, "SlowDown", 2)),
    ]);
    let before = [day.server.times_of("PUT packs").len(), day.server.times_of("PUT snapshots").len()];
    day.expect(0, &["backup", "source"]);
    for (kind, before, seconds) in [("PUT packs", before[0], 3), ("PUT snapshots", before[1], 2)] {
        let times = day.server.times_of(kind);
        let first = times[before];
        let soon = times[before + 1..].iter().map(|time| *time - first).min().unwrap();
        let same_retried = times[before + 1..].iter().any(|time| *time - first >= Duration::from_secs(seconds));
        assert!(same_retried, "{kind}: asked again after {soon:?}");
        // A pack of another kind may go meanwhile; nothing else of the same comes earlier.
        if kind == "PUT snapshots" {
            assert!(soon >= Duration::from_secs(seconds), "{kind}: {soon:?}");
        }
    }
    day.ends_well();
}

#[test]
fn connections_that_break_are_made_again() {
    let day = Day::new(PATIENT);
    let places = ["PUT packs", "PUT index", "PUT snapshots", "LIST", "HEAD", "GET"];
    for trouble in [Trouble::Reset, Trouble::LoseAnswer] {
        for place in places {
            day.server.plan([Rule::once(place, trouble.clone())]);
        }
        day.expect(0, &["backup", "source"]);
        assert_eq!(day.server.refusals_left(), 0, "{trouble:?}");
        assert!(!day.expect(0, &["check"]).contains("warning"));
        day.restores("latest");
        day.change();
    }
    day.ends_well();
    assert_eq!(day.snapshots(), 4, "an answer that is lost makes no second snapshot");
}

#[test]
fn answers_that_are_cut_short_are_asked_for_again_and_never_taken_for_whole() {
    let day = Day::new("retry-for = \"3s\"\n");
    for command in [["backup", "source"].as_slice(), &["check", "--read-data"]] {
        for place in ["LIST", "GET keys", "GET index", "GET snapshots"] {
            day.server.plan([Rule::once(place, Trouble::CutAnswer)]);
        }
        day.expect(0, command);
        assert!(day.server.refusals_left() <= 1, "{command:?}");
        day.server.refuse_no_more();
    }
    day.server.plan([Rule::always("GET index", Trouble::CutAnswer)]);
    day.fails(&["backup", "source"], "the server's answers break off");
    day.server.refuse_no_more();
    day.server.plan([Rule { times: 2, ..Rule::once("GET packs", Trouble::CutAnswer) }]);
    day.restores("latest");
    assert_eq!(day.server.refusals_left(), 0);
    day.ends_well();
}

#[test]
fn an_object_that_is_kept_cut_short_is_noticed_before_a_snapshot_needs_it() {
    for place in ["PUT packs", "PUT index", "PUT snapshots"] {
        let day = Day::new(IMPATIENT);
        day.server.plan([Rule::once(place, Trouble::Truncate)]);
        let output = day.bk(&["backup", "source"]).output().unwrap();
        assert_eq!(day.server.refusals_left(), 0, "{place}");
        let said = said(&output);
        let complete = output.status.success();
        assert!(complete || said.contains("it was cut short"), "{place}: {said}");
        day.server.refuse_no_more();
        assert_eq!(day.snapshots(), 1 + usize::from(complete), "{place}: {said}");
        day.ends_well();
    }
}

#[test]
fn lists_that_lag_behind_lose_nothing() {
    let day = Day::new(IMPATIENT);
    let before = Trouble::StaleList(day.server.keys());
    day.expect(0, &["backup", "source"]);
    lists_lose_nothing(&day, &before);
}

#[test]
fn lists_that_lack_entries_lose_nothing() {
    let day = Day::new(IMPATIENT);
    day.expect(0, &["backup", "source"]);
    lists_lose_nothing(&day, &Trouble::CutList(1));
}

/// A backup and a prune that see such a list, of everything or of one folder.
fn lists_lose_nothing(day: &Day, trouble: &Trouble) {
    for what in ["LIST", "LIST packs", "LIST index", "LIST snapshots"] {
        let rule = Rule::always(what, trouble.clone());
        day.change();
        for command in [["backup", "source"].as_slice(), &["prune"]] {
            day.server.plan([rule.clone()]);
            let output = day.bk(command).output().unwrap();
            day.server.refuse_no_more();
            let (code, said) = (output.status.code(), said(&output));
            // It may fail, and says so, or be complete; what could not be compared with the run before is strange.
            assert!(matches!(code, Some(0 | 1 | 5 | 9)), "{what}: {command:?}: {code:?} {said}");
            if let Some((_, strange)) = said.rsplit_once("`bk accept ") {
                day.expect(0, &["accept", &strange[..8]]);
            }
            day.expect(0, &["check"]);
        }
        day.expect(0, &["backup", "source"]);
        day.restores("latest");
    }
    day.expect(0, &["prune"]);
    day.ends_well();
}

#[test]
fn credentials_that_expire_in_the_middle_are_named() {
    for (skip, place) in [(3, ""), (0, "PUT packs"), (0, "PUT snapshots")] {
        let day = Day::new(PATIENT);
        day.server.plan([Rule::always(place, Trouble::answer(400, "ExpiredToken")).after(skip)]);
        let begin = Instant::now();
        day.fails(&["backup", "source"], "the credentials have expired");
        assert!(begin.elapsed() < Duration::from_secs(5), "asking again does not help");
        day.ends_well();
    }
}

#[test]
fn a_bucket_that_is_full_is_named() {
    let cap = "Cannot upload files, storage cap exceeded";
    let cases = [(403, "AccessDenied", cap), (403, "QuotaExceeded", "x"), (507, "", "Insufficient Storage")];
    let day = Day::new(IMPATIENT);
    for (status, code, message) in cases {
        day.server.plan([Rule::always("PUT", Trouble::Answer { status, code, message, retry_after: None })]);
        day.fails(&["backup", "source"], "no room is left in s3://backups/host1");
        day.server.refuse_no_more();
        // What is there can be read all the while.
        day.expect(0, &["check"]);
    }
    day.ends_well();
}

#[test]
fn a_server_that_is_away_for_a_while_is_waited_for() {
    let day = Day::new("retry-for = \"60s\"\n");
    day.server.plan([Rule::once("PUT packs", Trouble::GoAway(Duration::from_secs(8)))]);
    let begin = Instant::now();
    day.expect(0, &["backup", "source"]);
    assert!(begin.elapsed() >= Duration::from_secs(8));
    day.restores("latest");
    day.ends_well();
}

#[test]
fn a_run_that_is_killed_at_any_request_loses_nothing() {
    let day = Day::new(IMPATIENT);
    day.expect(0, &["backup", "source"]);
    let everything = std::env::var_os("BK_TORTURE").is_some();
    // Each time from the same state, or each run would ask more than the one before.
    day.keep_aside();
    for served in [false, true] {
        let mut killed = 0;
        let numbers = (0..).step_by(if everything { 1 } else { 3 });
        for number in numbers {
            day.go_back();
            day.change();
            if !is_killed(&day, Rule::once("", Trouble::Hold { served }).after(number)) {
                break;
            }
            day.ends_well();
            killed += 1;
        }
        assert!(killed >= if everything { 15 } else { 5 }, "killed {killed} times");
    }
}

/// Backs up, and kills it at the request that is held; whether it came to that.
fn is_killed(day: &Day, held: Rule) -> bool {
    let before = day.server.held();
    day.server.plan([held]);
    let mut command = day.bk(&["backup", "source"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    loop {
        if day.server.held() > before {
            child.kill().unwrap();
            child.wait().unwrap();
            return true;
        }
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "it was not held");
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
