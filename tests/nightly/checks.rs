//! Checks that are stopped in the middle, and who hears of a promise that was not kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use rustix::process::Signal;

use super::several::s3_server::bad_day::{Rule, Trouble};
use super::several::{bytes, files, wait_for};
use super::{Bench, events, told, two};

/// A bucket with ten packs or so, and how many there are.
fn far() -> (Bench, usize) {
    let bench = Bench::of_files(true, 2000);
    bench.configure("[defaults]\nto = [\"far\"]\n");
    bench.expect(0, &["init", "--repo", "far"]);
    for round in 0..5 {
        std::fs::write(bench.path("source/sub/0"), bytes(100 + round, 2000)).unwrap();
        bench.expect(0, &["run"]);
    }
    let packs = objects(&bench, "packs");
    assert!(packs >= 8, "{packs}");
    (bench, packs)
}

fn objects(bench: &Bench, area: &str) -> usize {
    bench.server().keys().iter().filter(|key| key.contains(&format!("{area}/"))).count()
}

/// How many packs were never read, after a check of one more.
fn never_read(bench: &Bench) -> usize {
    let lines = bench.json(0, &["check", "--budget", "1"]);
    let summary = lines.iter().find(|line| line["message_type"] == "summary").unwrap();
    assert_eq!(summary["packs_read"], 1, "{summary}");
    usize::try_from(summary["never_read_packs"].as_u64().unwrap()).unwrap()
}

/// Stops a check of everything that waits for its fourth pack; gives the exit code.
fn stopped(bench: &Bench, signal: Signal) -> Option<i32> {
    let gate = Arc::new(AtomicBool::new(false));
    let held = bench.server().held();
    bench.server().plan([Rule::always("GET packs", Trouble::Gate(Arc::clone(&gate))).after(3)]);
    let mut check = bench.start(&["check", "--budget", "1TiB"]);
    wait_for("the fourth pack", || {
        assert!(check.ended().is_none(), "the check has ended before");
        (bench.server().held() > held).then_some(())
    });
    check.signal(signal);
    std::thread::sleep(Duration::from_millis(50));
    gate.store(true, Ordering::Relaxed);
    let code = check.ends();
    bench.server().refuse_no_more();
    code
}

#[test]
fn a_check_that_is_interrupted_has_noted_what_it_read_and_the_next_goes_on_there() {
    let (bench, packs) = far();
    assert_eq!(stopped(&bench, Signal::INT), Some(130));
    assert_eq!(objects(&bench, "facts"), 1);
    let never = never_read(&bench);
    // Three, those in flight of as many threads as there may be, and the one that was read now.
    assert!(never <= packs - 5 || never <= packs / 2, "{never} of {packs} were never read");
    assert!(never > 0 || packs <= 13, "{never} of {packs}");
}

#[test]
fn a_check_that_is_killed_leaves_what_was_noted_before() {
    let (bench, packs) = far();
    assert_eq!(never_read(&bench), packs - 1);
    assert_eq!(stopped(&bench, Signal::KILL), None);
    assert_eq!(never_read(&bench), packs - 2, "what was read in its last ten minutes is read again, and no more");
    let said = bench.expect(0, &["check", "--read-data"]);
    assert!(said.contains("will be fetched from far"), "{said}");
    let said = bench.expect(0, &["check", "--budget", "1"]);
    assert!(said.contains("will be fetched from far, in 1 pack"), "{said}");
}

#[test]
fn a_promise_that_is_not_kept_is_told_and_that_it_is_kept_again() {
    let bench = two("[schedule]\ncheck = { at = \"0 5 * * 0\", usb = \"whole in 7d\" }\n");
    bench.expect(0, &["run"]);
    // The smallest is the oldest and is read first: at that pace the others would take weeks.
    let mut packs: Vec<_> = files(&bench.path("usb/packs")).into_keys().collect();
    packs.sort_by_key(|name| std::fs::metadata(bench.path("usb/packs").join(name)).unwrap().len());
    for (younger, name) in (0_u64..).zip(packs) {
        let pack = std::fs::File::options().append(true).open(bench.path("usb/packs").join(name)).unwrap();
        pack.set_modified(SystemTime::now() - Duration::from_secs((100 - younger) * 86_400)).unwrap();
    }
    told(&bench);
    bench.expect(8, &["check", "--due", "--budget", "1", "--notify"]);
    let said = told(&bench);
    assert_eq!(events(&said), ["overdue usb"]);
    let entry = &said[0]["entries"][0];
    assert!(entry["text"].as_str().unwrap().contains("the budget leaves"), "{entry}");
    let status = bench.expect(0, &["status"]);
    assert!(!status.contains("NOT WHOLE"), "too late is not damaged: {status}");
    bench.expect(0, &["check", "--due", "--notify"]);
    assert_eq!(events(&told(&bench)), ["recovered usb"]);
    bench.expect(0, &["check", "--due", "--notify"]);
    assert!(told(&bench).is_empty(), "nothing is due");
}
