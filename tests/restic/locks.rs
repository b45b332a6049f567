//! Locks: what restic locks is respected, what bk does there is locked for restic, and nothing is left behind.

use rustix::process::Signal;

use super::place::{Made, Place, words};
use super::running::Running;
use super::trees;

/// A repository with a snapshot, one of bk, and work for a prune.
fn with_work() -> (Place, std::path::PathBuf) {
    let place = Place::new();
    let source = place.bench.folder("source");
    place.bench.file("source/film", trees::noise(1, 3_000_000));
    place.make(Made::V2("auto"), "there", &source);
    place.bench.file("source/film", trees::noise(2, 3_000_000));
    place.back_up(Made::V2("auto"), "there", &source);
    place.restic(&place.name("there"), &["forget", "--keep-last", "1"]);
    place.bench.backs_up(&[&source]);
    (place, source)
}

/// A prune that holds its lock and does not go on.
fn stopped_prune(place: &Place) -> Running {
    let mut prune = Running::start(&mut place.restic_command(&place.name("there"), &["prune"]));
    // It is written under another name first.
    let is_whole = |path: &std::path::PathBuf| path.file_name().is_some_and(|name| name.len() == 64);
    prune.until("its lock", || place.locks("there").iter().any(is_whole));
    prune.signal(Signal::STOP);
    prune
}

/// What a run says that is not let in, soon.
fn refused(place: &Place, arguments: &[&str]) -> (i32, String) {
    let mut command = place.bench.command("timeout");
    command.args(["--signal=KILL", "40"]).arg(trees::program()).args(arguments);
    let said = trees::Said::by(command.env("RESTIC_PASSWORD", super::place::PASSWORD));
    (said.status.code().unwrap_or(-1), words(&said.text()))
}

#[test]
fn a_prune_that_runs_keeps_out_whatever_reads_or_writes_and_is_named() {
    let (place, source) = with_work();
    let prune = stopped_prune(&place);
    let location = place.location("there");
    let before = place.objects("there");
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    for arguments in [
        &["import", &location][..],
        &["export", &location],
        &["--repo", &location, "restore", "latest", "--to", "to"],
        &["--repo", &location, "check"],
    ] {
        let (code, said) = refused(&place, arguments);
        assert_eq!(code, 1, "{arguments:?}: {said}");
        assert!(said.contains(&prune.id().to_string()) && said.contains(hostname.trim()), "{arguments:?}: {said}");
        assert!(said.contains("hint: "), "{arguments:?}: {said}");
    }
    assert_eq!(place.objects("there"), before);
    assert_eq!(place.locks("there").len(), 1, "its lock is still there, and no other");
    prune.signal(Signal::CONT);
    let (code, said) = prune.ends();
    assert_eq!(code, 0, "{said}");
    place.expect(0, &["import", &location]);
    place.expect(0, &["export", &location]);
    place.restic_checks(&place.name("there"));
    place.restic_restores(&place.name("there"), "latest", &source);
}

#[test]
fn while_bk_exports_restic_prunes_nothing_and_may_back_up() {
    let (place, source) = with_work();
    for number in 0..3 {
        place.bench.file(&format!("source/{number}"), trees::noise(10 + number, 20_000_000));
    }
    place.bench.backs_up(&[&source]);
    let repository = &place.name("there");
    let mut export = Running::start(&mut place.bk_command(&["export", &place.location("there")]));
    export.until("its lock", || !place.locks("there").is_empty());
    export.signal(Signal::STOP);
    let prune = trees::Said::by(&mut place.restic_command(repository, &["prune"]));
    assert_ne!(prune.status.code(), Some(0), "{}", prune.text());
    assert!(
        prune.text().contains("already locked") && prune.text().contains(&export.id().to_string()),
        "{}",
        prune.text()
    );
    place.restic(repository, &["backup", "--host", "meanwhile", source.to_str().unwrap()]);
    export.signal(Signal::CONT);
    let (code, said) = export.ends();
    assert_eq!(code, 0, "{said}");
    assert!(place.locks("there").is_empty(), "no lock is left");
    place.restic_checks(repository);
    place.restic(repository, &["prune"]);
    place.restic_restores(repository, "latest", &source);
}

#[test]
fn a_signal_leaves_no_lock() {
    let (place, source) = with_work();
    for number in 0..3 {
        place.bench.file(&format!("source/{number}"), trees::noise(10 + number, 20_000_000));
    }
    place.bench.backs_up(&[&source]);
    place.back_up(Made::V2("off"), "there", &source);
    let location = place.location("there");
    for signal in [Signal::INT, Signal::TERM] {
        for verb in ["export", "import"] {
            let mut running = Running::start(&mut place.bk_command(&[verb, &location]));
            running.until("its lock", || !place.locks("there").is_empty());
            running.signal(signal);
            let (code, said) = running.ends();
            assert!(code == 130 || code == 143, "{verb} by {signal:?}: {code}: {said}");
            assert!(place.locks("there").is_empty(), "{verb} by {signal:?} leaves a lock");
        }
    }
    place.restic_checks(&place.name("there"));
}

#[test]
fn the_lock_of_a_process_that_is_no_more_keeps_nobody_out() {
    let (place, source) = with_work();
    let prune = stopped_prune(&place);
    drop(prune);
    assert_eq!(place.locks("there").len(), 1, "it was killed and left its lock");
    let location = place.location("there");
    place.expect(0, &["--repo", &location, "snapshots"]);
    place.expect(0, &["import", &location]);
    place.expect(0, &["export", &location]);
    place.restic(&place.name("there"), &["unlock"]);
    place.restic_checks(&place.name("there"));
    place.restic_restores(&place.name("there"), "latest", &source);
}

#[test]
fn two_exports_and_a_backup_of_restic_at_once_leave_a_whole_repository() {
    let place = Place::new();
    let sources = [place.bench.folder("source/one"), place.bench.folder("source/two")];
    for (number, source) in sources.iter().enumerate() {
        // Half of it is in both.
        for file in 0..4 {
            let seed = if file < 2 { file } else { file + 10 * number as u64 };
            std::fs::write(source.join(file.to_string()), trees::noise(seed, 5_000_000)).unwrap();
        }
    }
    place.make_empty(Made::V2("auto"), "out");
    let repository = &place.name("out");
    let location = place.location("out");
    let data = ["data-one", "data-two"].map(|name| place.name(name));
    let bk = |number: usize, arguments: &[&str]| {
        let mut command = place.bk_command(arguments);
        command.env("BK_DATA_DIR", &data[number]);
        command
    };
    for (number, source) in sources.iter().enumerate() {
        trees::Said::by(&mut bk(number, &["backup", source.to_str().unwrap()])).exits(0);
    }
    for _ in 0..2 {
        let mut all: Vec<Running> =
            (0..2).map(|number| Running::start(&mut bk(number, &["export", &location]))).collect();
        let backup =
            ["backup", "--force", "--host", "restic", place.path("source").to_str().unwrap()].map(str::to_owned);
        let words: Vec<&str> = backup.iter().map(String::as_str).collect();
        all.push(Running::start(&mut place.restic_command(repository, &words)));
        for running in all {
            let (code, said) = running.ends();
            assert_eq!(code, 0, "{said}");
        }
        for (number, source) in sources.iter().enumerate() {
            std::fs::write(source.join("more"), trees::noise(50 + number as u64, 100_000)).unwrap();
            trees::Said::by(&mut bk(number, &["backup", source.to_str().unwrap()])).exits(0);
        }
    }
    assert!(place.locks("out").is_empty());
    place.restic_checks(repository);
    for listed in place.restic_snapshots(repository).iter().rev().take(1) {
        let to = place.path("to");
        place.restic(repository, &["restore", listed["id"].as_str().unwrap(), "--target", to.to_str().unwrap()]);
    }
    assert_eq!(place.restic_snapshots(repository).len(), 6);
}
