//! Several repositories on bad days: one that is slow, dies, is full of other things or was pruned costs the others
//! nothing, and the next run brings it up to date.
//!
//! `BK_TORTURE=1` stops the program or the server at every request of a run, and not only at some.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "support/several.rs"]
mod bench;
#[path = "support/trees.rs"]
mod trees;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bench::s3_server::bad_day::{Rule, Trouble};
use bench::{Bench, bytes, files, wait_for};
use rustix::process::Signal;
use serde_json::Value;

const IMPATIENT: &str = "retry-for = \"1s\"\n";

/// Every how many requests something happens.
fn step() -> usize {
    if std::env::var_os("BK_TORTURE").is_some() { 1 } else { 4 }
}

impl Bench {
    /// The source as it was in no other round.
    fn change(&self, round: u64) {
        std::fs::write(self.path("source/changing"), bytes(1000 + round, 60_000)).unwrap();
    }

    /// From now on all requests wait until it is open.
    fn gate(&self, rule: &'static str, skip: usize) -> Gate {
        let open = Arc::new(AtomicBool::new(false));
        self.server().plan([Rule::always(rule, Trouble::Gate(Arc::clone(&open))).after(skip)]);
        Gate { open }
    }

    /// Backs up into all of them; gives what was said.
    fn backs_up(&self) -> Vec<Value> {
        self.json(0, &["backup", "wiki"])
    }
}

struct Gate {
    open: Arc<AtomicBool>,
}

impl Gate {
    fn open(&self) {
        self.open.store(true, Ordering::Relaxed);
    }
}

/// The packs there were stored three days ago: only what is old enough is marked by a prune.
fn grow_old(folder: &Path) {
    let then = SystemTime::now() - Duration::from_secs(3 * 24 * 3600);
    for file in files(folder).into_keys() {
        std::fs::File::open(folder.join(file)).unwrap().set_modified(then).unwrap();
    }
}

/// Bytes that a run put into a repository.
fn put(said: &[Value], repository: &str) -> u64 {
    let line = said.iter().find(|line| line["repository"] == repository).expect("a line of the repository");
    line["data_added_packed"].as_u64().unwrap()
}

#[test]
fn a_slow_sibling_keeps_neither_the_first_nor_what_stands_still() {
    let bench = Bench::of_files(true, 30_000);
    let hooks = bench.path("hooks");
    std::fs::create_dir(&hooks).unwrap();
    let log = bench.path("log");
    let script = format!("#!/bin/sh\ncase $1 in begin | end) echo $1 >>{} ;; *) exit 75 ;; esac\n", log.display());
    std::fs::write(hooks.join("service"), script).unwrap();
    std::fs::set_permissions(hooks.join("service"), PermissionsExt::from_mode(0o755)).unwrap();
    bench.configure("[profile.wiki.quiesce]\nhow = \"stop\"\nunits = [\"app\"]\n");
    bench.expect(0, &["init"]);
    let gate = bench.gate("", 0);
    let mut running = bench.start(&["backup", "wiki"]);
    let first = running.says("summary");
    assert_eq!((&first["repository"], &first["outcome"]), (&"ssd".into(), &"complete".into()));
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "begin\nend\n", "all goes on before the others are filled");
    wait_for("a request", || (bench.server().held() > 0).then_some(()));
    assert!(running.is_silent() && running.ended().is_none());
    bench.server().refuse_no_more();
    bench.server().plan([Rule::always("", Trouble::Delay(Duration::from_millis(100)))]);
    gate.open();
    for name in ["usb", "far"] {
        let sibling = running.says("sibling");
        assert_eq!((&sibling["repository"], &sibling["outcome"]), (&name.into(), &"complete".into()));
    }
    assert_eq!(running.ends(), Some(0));
    bench.server().refuse_no_more();
    bench.is_whole(&["ssd", "usb", "far"]);
}

#[test]
fn an_interruption_while_the_others_are_filled_leaves_the_first_complete() {
    let bench = Bench::of_files(true, 30_000);
    bench.expect(0, &["init"]);
    let gate = bench.gate("", 0);
    let mut running = bench.start(&["backup", "wiki"]);
    running.says("summary");
    wait_for("a request", || (bench.server().held() > 0).then_some(()));
    running.signal(Signal::INT);
    let asked = Instant::now();
    bench.server().refuse_no_more();
    gate.open();
    assert_eq!(running.ends(), Some(130));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    bench.is_whole(&["ssd"]);
    assert!(bench.ids("far").is_empty());
    bench.backs_up();
    assert_eq!(bench.ids("far"), bench.ids("ssd"));
    bench.is_whole(&["usb", "far"]);
}

#[test]
fn a_sibling_that_dies_at_any_request_is_behind_and_the_next_run_brings_it_up_to_date() {
    let bench = Bench::of_files(true, 30_000);
    bench.configure(IMPATIENT);
    bench.expect(0, &["init"]);
    bench.backs_up();
    let aside = bench.aside();
    let mut died = 0;
    for number in (0..).step_by(step()) {
        bench.go_back(&aside);
        bench.change(number as u64);
        bench.server().plan([Rule::once("", Trouble::GoAway(Duration::from_secs(600))).after(number)]);
        let output = bench.bk(&["backup", "wiki"]).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        if bench.server().refusals_left() > 0 {
            assert_eq!(output.status.code(), Some(0), "{number}: {said}");
            break;
        }
        died += 1;
        assert_eq!(output.status.code(), Some(7), "{number}: {said}");
        assert!(said.contains("far IS BEHIND") && said.contains("is in usb too"), "{number}: {said}");
        bench.restores("ssd");
        bench.server().come_back();
        if died % 2 == 0 {
            bench.change(number as u64 + 5000);
        }
        bench.backs_up();
        assert_eq!(bench.ids("far"), bench.ids("ssd"), "{number}");
        bench.is_whole(&["ssd", "far"]);
    }
    bench.server().refuse_no_more();
    assert!(died >= 4, "it died {died} times");
}

#[test]
fn a_run_that_is_killed_at_any_request_of_a_sibling_loses_nothing_anywhere() {
    let bench = Bench::of_files(true, 30_000);
    bench.configure(IMPATIENT);
    bench.expect(0, &["init"]);
    bench.backs_up();
    let aside = bench.aside();
    for served in [false, true] {
        let mut killed = 0;
        for number in (0..).step_by(step()) {
            bench.go_back(&aside);
            bench.change(number as u64);
            let held = bench.server().held();
            bench.server().plan([Rule::once("", Trouble::Hold { served }).after(number)]);
            let mut running = bench.start(&["backup", "wiki"]);
            let is_over = wait_for("its end, or the request", || match running.ended() {
                None => (bench.server().held() > held).then_some(false),
                Some(code) => {
                    assert_eq!(code, Some(0), "{number}");
                    Some(true)
                }
            });
            bench.server().refuse_no_more();
            if is_over {
                break;
            }
            // Killed with its end.
            drop(running);
            killed += 1;
            bench.backs_up();
            assert_eq!(bench.ids("far"), bench.ids("ssd"), "{number}");
            assert_eq!(bench.ids("usb"), bench.ids("ssd"), "{number}");
            bench.is_whole(&["ssd", "usb", "far"]);
        }
        assert!(killed >= 4, "killed {killed} times");
    }
}

#[test]
fn what_a_sibling_let_go_of_and_needs_again_comes_out_of_the_old_packs_of_the_first() {
    let bench = Bench::new(false);
    bench.expect(0, &["init"]);
    // One that shares its pack with everything else, and one that has its own.
    std::fs::write(bench.path("source/sub/shares"), bytes(500, 700_000)).unwrap();
    bench.backs_up();
    std::fs::write(bench.path("source/sub/own"), bytes(501, 600_000)).unwrap();
    bench.backs_up();
    for name in ["shares", "own"] {
        std::fs::rename(bench.path("source/sub").join(name), bench.path(name)).unwrap();
    }
    bench.backs_up();
    let all = bench.ids("usb");
    let before = bench.packed("usb");
    bench.expect(0, &["--repo", "usb", "forget", &all[0], &all[1]]);
    bench.expect(0, &["--repo", "usb", "prune", "--instant-delete", "--no-other-writer"]);
    let pruned = bench.packed("usb");
    assert!(pruned + 1_200_000 < before, "{pruned} of {before}");
    bench.is_whole(&["usb"]);
    for name in ["shares", "own"] {
        std::fs::rename(bench.path(name), bench.path("source/sub").join(name)).unwrap();
    }
    let said = bench.backs_up();
    assert!(put(&said, "ssd") < 30_000, "the first has it: {said:?}");
    let added = put(&said, "usb");
    assert!((1_300_000..1_450_000).contains(&added), "{added}");
    assert_eq!(bench.ids("usb").len(), 2);
    bench.is_whole(&["ssd", "usb"]);
}

#[test]
fn what_a_prune_marks_in_a_sibling_during_the_run_is_rescued() {
    let bench = Bench::of_files(true, 30_000);
    bench.expect(0, &["init"]);
    bench.backs_up();
    std::fs::write(bench.path("source/own"), bytes(501, 600_000)).unwrap();
    bench.backs_up();
    std::fs::rename(bench.path("source/own"), bench.path("own")).unwrap();
    bench.backs_up();
    std::fs::rename(bench.path("own"), bench.path("source/own")).unwrap();
    bench.change(0);
    grow_old(&bench.server().object("host1/packs"));
    let gate = bench.gate("PUT packs", 0);
    let mut running = bench.start(&["backup", "wiki"]);
    running.says("summary");
    wait_for("a pack", || (bench.server().held() > 0).then_some(()));
    // The run relies on what is marked now.
    bench.server().refuse_no_more();
    bench.expect(0, &["--repo", "far", "forget", &bench.ids("far")[1]]);
    bench.expect(0, &["--repo", "far", "prune", "--max-unused", "unlimited"]);
    assert!(bench.server().keys().iter().any(|key| key.contains("/marks/")));
    gate.open();
    assert_eq!(running.ends(), Some(0));
    assert_eq!(running.says("sibling")["outcome"], "complete");
    let far = running.says("sibling");
    assert!(far["data_added_packed"].as_u64().unwrap() > 600_000, "{far}");
    bench.expect(0, &["--repo", "far", "prune", "--instant-delete", "--no-other-writer"]);
    assert_eq!(bench.ids("far").last(), bench.ids("ssd").last());
    bench.is_whole(&["ssd", "far"]);
}

#[test]
fn a_sibling_may_be_pruned_all_the_while() {
    let bench = Bench::of_files(false, 30_000);
    bench.expect(0, &["init"]);
    for round in 0..5 {
        bench.change(round);
        bench.backs_up();
    }
    grow_old(&bench.path("usb/packs"));
    let mut pruned = 0;
    let prune = || {
        bench.expect(0, &["--repo", "usb", "forget", "--keep-last", "1"]);
        bench.expect(0, &["--repo", "usb", "prune", "--max-unused", "0%"]);
        pruned += 1;
    };
    trees::meanwhile(prune, || {
        for round in 0..12 {
            // Also what was forgotten comes again.
            bench.change(round % 6);
            bench.backs_up();
        }
    });
    assert!(pruned >= 3, "pruned {pruned} times");
    assert!(!files(&bench.path("usb/marks")).is_empty());
    bench.expect(0, &["--repo", "usb", "prune", "--instant-delete", "--no-other-writer"]);
    assert_eq!(bench.ids("ssd").len(), 17);
    bench.is_whole(&["ssd", "usb"]);
}

#[test]
fn siblings_that_hold_the_same_in_other_packs_get_nothing_twice() {
    let bench = Bench::new(false);
    bench.expect(0, &["init"]);
    for repository in ["ssd", "usb"] {
        bench.expect(0, &["--repo", repository, "backup", "wiki"]);
    }
    let before = [bench.packed("ssd"), bench.packed("usb")];
    let said = bench.backs_up();
    assert!(put(&said, "ssd") < 30_000 && put(&said, "usb") < 30_000, "{said:?}");
    for number in 0..3 {
        std::fs::write(bench.path(&format!("source/new{number}")), bytes(100 + number, 500_000)).unwrap();
        let said = bench.backs_up();
        for name in ["ssd", "usb"] {
            assert!((500_000..560_000).contains(&put(&said, name)), "{name}: {said:?}");
        }
    }
    for (name, before) in ["ssd", "usb"].into_iter().zip(before) {
        let grew = bench.packed(name) - before;
        assert!(grew < 1_700_000, "{name} grew by {grew}");
    }
    bench.is_whole(&["ssd", "usb"]);
}

#[test]
fn two_siblings_cost_little_memory() {
    let bench = trees::Bench::new();
    for number in 0..6 {
        bench.file(&format!("source/{number}"), trees::noise(number, 50 << 20));
    }
    let peak = |repositories: &[&str]| {
        let mut text = format!("[profile.wiki]\nroot = \"{}\"\n", bench.path("source").display());
        text += &format!("[family]\nkey-file = \"{}\"\n", bench.path("key").display());
        for name in repositories {
            text += &format!("[repository.{name}]\nlocation = \"{}\"\n", bench.path(name).display());
        }
        bench.file("bk.toml", text);
        bench.run(["init"]).exits(0);
        let (said, measured) = bench.measured(["backup", "wiki"]);
        said.exits(0);
        eprintln!("{} repositories: {measured}", repositories.len());
        measured.peak_bytes
    };
    let alone = peak(&["alone"]);
    let three = peak(&["ssd", "usb", "third"]);
    assert!(alone < 300 << 20 && three < 300 << 20, "{alone} and {three} bytes");
}

#[test]
fn a_copy_that_was_interrupted_goes_on_where_it_was() {
    let bench = Bench::of_files(true, 1000);
    bench.expect(0, &["init"]);
    for number in 0..12 {
        std::fs::write(bench.path(&format!("source/file{number}")), bytes(300 + number, 100_000)).unwrap();
        bench.expect(0, &["--repo", "ssd", "backup", "wiki"]);
    }
    let newest = bench.ids("ssd").pop().unwrap();
    let gate = bench.gate("PUT packs", 5);
    let copy = ["copy", &newest[..12], "--from", "ssd", "--to", "far"];
    let mut running = bench.start(&copy);
    wait_for("a pack", || (bench.server().held() > 0).then_some(()));
    running.signal(Signal::INT);
    bench.server().refuse_no_more();
    gate.open();
    assert_eq!(running.ends(), Some(130));
    assert!(bench.ids("far").is_empty());
    let said = bench.json(0, &copy);
    let copied = said.iter().find(|line| line["message_type"] == "copied").unwrap();
    let added = copied["data_added_packed"].as_u64().unwrap();
    assert!((300_000..800_000).contains(&added), "5 of 12 packs were there: {copied}");
    assert_eq!(bench.ids("far"), [newest]);
    bench.is_whole(&["far"]);
}
