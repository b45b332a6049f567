//! One run of a profile at a time on a machine, and a lock that ends with its process.

use rustix::process::Signal;

use super::several::wait_for;
use super::{TWO, events, told, two};

/// A command before the backup that waits for a file `go`, once there is a file `slow`.
const SLOW: &str = "[[profile.wiki.before]]\nrun = [\"sh\", \"-c\", \
    \"if [ -e HERE/slow ]; then touch HERE/at; while [ ! -e HERE/go ]; do sleep 0.02; done; fi\"]\n";

fn slow(more: &str) -> super::Bench {
    let bench = two("");
    bench.configure(&format!("{TWO}{SLOW}{more}"));
    std::fs::write(bench.path("slow"), "").unwrap();
    bench
}

#[test]
fn the_second_run_of_a_profile_waits_for_the_first() {
    let bench = slow("");
    let mut first = bench.start(&["backup", "wiki"]);
    wait_for("the first", || bench.path("at").exists().then_some(()));
    let said = bench.expect(1, &["backup", "wiki", "--lock-wait", "0s"]);
    assert!(said.contains("wiki is being worked on by process ") && said.contains("--lock-wait"), "{said}");
    bench.expect(0, &["backup", "shop"]);
    let mut second = bench.start(&["run", "wiki"]);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(second.ended().is_none() && first.ended().is_none());
    std::fs::write(bench.path("go"), "").unwrap();
    assert_eq!((first.ends(), second.ends()), (Some(0), Some(0)));
    assert_eq!(bench.ids("ssd").len(), 3);
}

#[test]
fn a_lock_ends_with_its_process() {
    let bench = slow("");
    let mut first = bench.start(&["backup", "wiki"]);
    wait_for("the first", || bench.path("at").exists().then_some(()));
    first.signal(Signal::KILL);
    first.ends();
    std::fs::write(bench.path("go"), "").unwrap();
    bench.expect(0, &["backup", "wiki", "--lock-wait", "0s"]);
}

#[test]
fn whoever_waits_can_be_stopped() {
    let bench = slow("");
    let mut first = bench.start(&["backup", "wiki"]);
    wait_for("the first", || bench.path("at").exists().then_some(()));
    let mut second = bench.start(&["backup", "wiki"]);
    std::thread::sleep(std::time::Duration::from_millis(300));
    second.signal(Signal::TERM);
    assert_eq!(second.ends(), Some(130));
    std::fs::write(bench.path("go"), "").unwrap();
    assert_eq!(first.ends(), Some(0));
}

#[test]
fn a_run_that_died_is_told_once_by_the_next() {
    let bench = slow(super::TOLD);
    let mut first = bench.start(&["run", "wiki"]);
    wait_for("the first", || bench.path("at").exists().then_some(()));
    // One that lives is not dead.
    bench.expect(0, &["run", "shop"]);
    assert_eq!(events(&told(&bench)), ["complete shop"]);
    first.signal(Signal::KILL);
    first.ends();
    std::fs::write(bench.path("go"), "").unwrap();
    bench.expect(0, &["run", "shop"]);
    let said = told(&bench);
    assert_eq!(events(&said), ["failed -", "complete shop"]);
    assert!(said[0]["body"].as_str().unwrap().contains("did not come to its end"), "{}", said[0]);
    bench.expect(0, &["run", "shop"]);
    assert_eq!(events(&told(&bench)), ["complete shop"]);
}
