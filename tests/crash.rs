//! Wherever a run stops, nothing that was committed is lost and the next run succeeds.
//!
//! The first half counts the operations of a run on a store in memory and lets each of them go wrong in every way.
//! The second half kills the real program. `BK_TORTURE=N` does so N times instead of 25.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bk::crypto::KeyFile;
use bk::format::key_slot::Credential;
use bk::format::node::Timestamp;
use bk::format::snapshot::Outcome;
use bk::id::SnapshotId;
use bk::repository::{Repository, RepositoryError, Snapshots, add_slot, note, open_slots, remove_slot, slots};
use bk::store::{Area, LocalStore, Store};
use support::program::{Program, text, wait_at_most};
use support::run::Committed;
use support::tree::{change_tree, compare_trees, copy_tree, noise};
use support::{Bench, Fault, FaultStore, MemoryStore, check_snapshots, small_tree};

/// More operations than any of these runs has: guards against a run that never ends.
const TOO_MANY: u64 = 2000;

/// Lets `version` of the source be, as [`small_tree`] and [`change_tree`] make it.
fn advance_source(bench: &Bench, version: u64) {
    match version {
        1 => small_tree(&bench.source),
        version => change_tree(&bench.source, version - 1),
    }
}

/// Calls `case` with every operation number of each of three runs in turn: with a store as it was before the run, the
/// snapshots that were committed before, and the number, until `case` says that the run ended before that operation.
fn at_every_operation(mut case: impl FnMut(&Bench, &MemoryStore, &[Committed], u64) -> bool) -> u64 {
    let bench = Bench::new();
    let store = MemoryStore::new();
    bench.create(store.clone()).unwrap();
    let mut committed = Vec::new();
    let mut cases = 0;
    for version in 1..=3 {
        advance_source(&bench, version);
        let mut number = 0;
        while case(&bench, &store.fork(), &committed, number) {
            number += 1;
            assert!(number < TOO_MANY);
        }
        cases += number;
        committed.push(bench.commit(&bench.open(store.clone()).unwrap()));
    }
    cases
}

/// A run that `fault` strikes at operation `number`; `false` when it ended before.
fn interrupted_run(bench: &Bench, store: &MemoryStore, before: &[Committed], number: u64, fault: &Fault) -> bool {
    let what = format!("run {}, {fault:?} at operation {number}", before.len() + 1);
    let faulty = FaultStore::with_fault(store.clone(), number, fault.clone());
    let result = bench.open(faulty.clone()).map(|repository| bench.back_up(&repository));
    if !faulty.has_struck() {
        return false;
    }
    let what = format!("{what} {:?}", faulty.log()[number as usize]);
    let mut expected: Vec<_> = before.iter().collect();
    let reported = match result {
        Ok(Ok(stats)) => {
            assert_eq!(stats.outcome, Outcome::Complete, "{what}: {:?}", stats.problems.first());
            Some(stats.snapshot.expect("a snapshot").id)
        }
        _ => None,
    };
    let kept = reported.map(|id| Committed { id, copy: bench.source.clone() });
    expected.extend(&kept);
    let repository = bench.open(store.clone()).unwrap_or_else(|error| panic!("{what}: opening: {error}"));
    check_snapshots(bench, &repository, &expected, &what);

    let next = bench.back_up(&repository).unwrap_or_else(|error| panic!("{what}: the next run: {error}"));
    let next = Committed { id: next.snapshot.unwrap().id, copy: bench.source.clone() };
    check_snapshots(bench, &repository, &[&next], &format!("{what}: after the next run"));
    true
}

#[test]
fn a_run_that_dies_before_any_operation_loses_nothing() {
    let cases =
        at_every_operation(|bench, store, before, number| interrupted_run(bench, store, before, number, &Fault::Abort));
    println!("{cases} cases");
}

#[test]
fn a_run_that_dies_after_any_operation_loses_nothing() {
    let cases = at_every_operation(|bench, store, before, number| {
        interrupted_run(bench, store, before, number, &Fault::AbortAfter)
    });
    println!("{cases} cases");
}

#[test]
fn a_run_in_which_any_operation_fails_loses_nothing() {
    let cases = at_every_operation(|bench, store, before, number| {
        interrupted_run(bench, store, before, number, &Fault::FailBefore(ErrorKind::TimedOut))
    });
    println!("{cases} cases");
}

#[test]
fn a_run_in_which_any_answer_is_lost_loses_nothing() {
    let cases = at_every_operation(|bench, store, before, number| {
        interrupted_run(bench, store, before, number, &Fault::FailAfter(ErrorKind::TimedOut))
    });
    println!("{cases} cases");
}

#[test]
fn a_run_of_which_any_object_is_cut_short_in_silence_loses_nothing() {
    let cases =
        at_every_operation(|bench, store, before, number| interrupted_run(bench, store, before, number, &Fault::Torn));
    println!("{cases} cases");
}

#[test]
fn a_list_that_lacks_names_or_is_old_never_makes_a_snapshot_that_lacks_blobs() {
    let faults = [Fault::PartialList, Fault::StaleList(1)];
    let cases = at_every_operation(|bench, store, before, number| {
        let mut struck = false;
        for fault in &faults {
            struck = interrupted_run(bench, &store.fork(), before, number, fault);
        }
        struck
    });
    println!("{} cases", cases * 2);
}

#[test]
fn a_bit_that_is_kept_wrong_is_found_or_does_no_harm() {
    let cases = at_every_operation(|bench, store, before, number| {
        let faulty = FaultStore::with_fault(store.clone(), number, Fault::Corrupt);
        let result = bench.open(faulty.clone()).map(|repository| bench.back_up(&repository));
        if !faulty.has_struck() {
            return false;
        }
        let what = format!("run {}, {:?}", before.len() + 1, faulty.log()[number as usize]);
        let repository = bench.open(store.clone()).unwrap();
        for committed in before {
            assert_eq!(bench.differences(&repository, committed.id, &committed.copy), [""; 0], "{what}");
        }
        if let Ok(Ok(stats)) = result {
            never_wrong(bench, &repository, stats.snapshot.unwrap().id, &what);
        }
        let next = bench.back_up(&repository).unwrap_or_else(|error| panic!("{what}: the next run: {error}"));
        never_wrong(bench, &repository, next.snapshot.unwrap().id, &what);
        true
    });
    println!("{cases} cases");
}

/// A restore gives exactly what was there, or says that it cannot.
fn never_wrong(bench: &Bench, repository: &Repository, id: SnapshotId, what: &str) {
    let target = tempfile::tempdir_in(bench.folder.path()).unwrap();
    if support::run::restore_to(repository, id, target.path(), &bench.clock).is_ok() {
        let place = target.path().join(bench.source.strip_prefix("/").unwrap());
        assert_eq!(compare_trees(&bench.source, &place), [""; 0], "{what}");
    }
}

fn every_fault() -> [Fault; 6] {
    let kind = ErrorKind::TimedOut;
    [Fault::Abort, Fault::AbortAfter, Fault::FailBefore(kind), Fault::FailAfter(kind), Fault::Torn, Fault::Corrupt]
}

#[test]
fn a_repository_that_was_not_finished_can_be_made_again_in_the_same_place() {
    let bench = Bench::new();
    small_tree(&bench.source);
    let mut cases = 0;
    for fault in every_fault() {
        for number in 0..TOO_MANY {
            let store = MemoryStore::new();
            let faulty = FaultStore::with_fault(store.clone(), number, fault.clone());
            let created = bench.create(faulty.clone());
            if !faulty.has_struck() {
                break;
            }
            cases += 1;
            let what = format!("{fault:?} at operation {number}");
            let repository = match (created, bench.open(store.clone())) {
                (Ok(_), opened) => opened.unwrap_or_else(|error| panic!("{what}: reported as made, but: {error}")),
                // Only the answer was lost.
                (Err(_), Ok(opened)) => opened,
                (Err(_), Err(_)) => {
                    bench.create(store.clone()).unwrap_or_else(|error| panic!("{what}: the second try: {error}"));
                    bench.open(store.clone()).unwrap_or_else(|error| panic!("{what}: made again, but: {error}"))
                }
            };
            let committed = bench.commit(&repository);
            check_snapshots(&bench, &repository, &[&committed], &what);
        }
    }
    println!("{cases} cases");
}

fn other_credential() -> (Credential, Credential) {
    let key = KeyFile::generate().unwrap();
    let again = KeyFile::parse(&key.text()).unwrap();
    (Credential::KeyFile(key), Credential::KeyFile(again))
}

#[test]
fn adding_a_key_never_takes_the_old_one_away_and_works_at_the_next_try() {
    let bench = Bench::new();
    let base = MemoryStore::new();
    bench.create(base.clone()).unwrap();
    let note = note("second", Timestamp::default(), "host");
    let mut cases = 0;
    for fault in every_fault() {
        for number in 0..TOO_MANY {
            let store = base.fork();
            let keys = open_slots(&store, &bench.credential()).unwrap();
            let (credential, same) = other_credential();
            let faulty = FaultStore::with_fault(store.clone(), number, fault.clone());
            let added = add_slot(&faulty, &keys, &credential, &note);
            if !faulty.has_struck() {
                break;
            }
            cases += 1;
            let what = format!("{fault:?} at operation {number}");
            bench.open(store.clone()).unwrap_or_else(|error| panic!("{what}: the old key: {error}"));
            if added.is_err() {
                add_slot(&store, &keys, &credential, &note)
                    .unwrap_or_else(|error| panic!("{what}: the second try: {error}"));
            }
            Repository::open(Arc::new(store.clone()), &same)
                .unwrap_or_else(|error| panic!("{what}: the new key: {error}"));
            bench.open(store.clone()).unwrap_or_else(|error| panic!("{what}: the old key, then: {error}"));
            let listed = slots(&store, &keys).unwrap_or_else(|error| panic!("{what}: the list of slots: {error}"));
            assert!(listed.sound.len() >= 2, "{what}");
        }
    }
    println!("{cases} cases");
}

#[test]
fn a_failed_removal_of_a_key_leaves_one_that_opens() {
    let bench = Bench::new();
    let base = MemoryStore::new();
    bench.create(base.clone()).unwrap();
    let keys = open_slots(&base, &bench.credential()).unwrap();
    let (credential, _) = other_credential();
    let second = add_slot(&base, &keys, &credential, &note("second", Timestamp::default(), "host")).unwrap();
    for fault in every_fault() {
        for number in 0..TOO_MANY {
            let store = base.fork();
            let faulty = FaultStore::with_fault(store.clone(), number, fault.clone());
            let _ = remove_slot(&faulty, &keys, &second.file_name());
            if !faulty.has_struck() {
                break;
            }
            bench.open(store.clone()).unwrap();
        }
    }
    // The last one stays.
    remove_slot(&base, &keys, &second.file_name()).unwrap();
    let last = base.names(Area::Keys)[0];
    assert!(matches!(remove_slot(&base, &keys, &last.file_name()), Err(RepositoryError::LastSlot { .. })));
}

// The real program.

fn rounds() -> u64 {
    std::env::var("BK_TORTURE").ok().and_then(|count| count.parse().ok()).unwrap_or(25)
}

/// A number below `limit` that is the same in every run of the tests.
fn pick(seed: u64, limit: u64) -> u64 {
    u64::from_le_bytes(noise(seed, 8).try_into().unwrap()) % limit.max(1)
}

/// Files of noise and text, for about 0.3 seconds of work.
fn fill(folder: &Path, seed: u64, files: u64, length: usize) {
    std::fs::create_dir_all(folder).unwrap();
    for number in 0..files {
        std::fs::write(folder.join(format!("{number:04}")), noise(seed + number, length)).unwrap();
    }
}

fn open_local(program: &Program) -> Repository {
    let key = std::fs::read_to_string(program.data.join("key")).unwrap();
    let store = LocalStore::open(&program.repository()).unwrap();
    Repository::open(Arc::new(store), &Credential::KeyFile(KeyFile::parse(&key).unwrap())).unwrap()
}

#[test]
fn the_program_killed_at_any_moment_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::new(&folder.path().join("data"));
    let source = folder.path().join("source");
    small_tree(&source.join("small"));
    fill(&source.join("files"), 1, 40, 300_000);
    let backup = ["backup", source.to_str().unwrap(), "--force"];
    program.succeed(&backup);
    let mut copies: Vec<(String, std::path::PathBuf)> = Vec::new();
    let mut killed = 0;
    for round in 0..rounds() {
        fill(&source.join("files"), 1000 * (round + 1), 40, 300_000);
        std::fs::write(source.join("round"), round.to_string()).unwrap();
        let start = Instant::now();
        // The longest that it may take is learnt from a run on the state before: the kill comes anywhere in that.
        let mut child = program.command(&backup).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(pick(round, 300_000)));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        killed += u64::from(status.signal() == Some(9));
        let what = format!("round {round}, killed after {:?}", start.elapsed());

        // All that was committed restores; every list of the store is sound.
        let repository = open_local(&program);
        let snapshots = Snapshots::load(&repository).unwrap();
        assert!(snapshots.damaged.is_empty(), "{what}: {:?}", snapshots.damaged);
        for (id, copy) in copies.iter().rev().take(2) {
            restore_equal(&program, id, &source, copy, &what);
        }
        let id = program.summary(&backup)["snapshot_id"].as_str().unwrap().to_owned();
        restore_equal(&program, &id, &source, &source, &what);
        let copy = folder.path().join(format!("copy-{round}"));
        copy_tree(&source, &copy);
        copies.push((id, copy));
        let left: Vec<_> = std::fs::read_dir(program.repository().join("tmp")).unwrap().collect();
        assert!(left.is_empty(), "{what}: {left:?} was left");
    }
    let repository = open_local(&program);
    let clock = support::TestClock::tomorrow();
    let index = bk::repository::Index::load(&repository, bk::repository::Purpose::Read, &clock).unwrap();
    let snapshots = Snapshots::load(&repository).unwrap();
    for info in &snapshots.all {
        support::walk(&repository, &index, info).unwrap();
    }
    println!("{} rounds, {killed} killed in the middle, {} snapshots whole", rounds(), snapshots.all.len());
}

fn restore_equal(program: &Program, id: &str, source: &Path, expected: &Path, what: &str) {
    let target = tempfile::tempdir().unwrap();
    program.succeed(&["restore", id, "--to", target.path().to_str().unwrap()]);
    let name = source.strip_prefix("/").unwrap();
    let below = std::fs::read_dir(target.path()).unwrap().next().unwrap().unwrap().path();
    let differences = compare_trees(expected, &below.join(name));
    assert!(differences.is_empty(), "{what}: snapshot {id}: {differences:#?}");
}

#[test]
fn a_repository_killed_while_it_is_made_does_not_stand_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    small_tree(&source);
    for round in 0..rounds() {
        let program = Program::new(&folder.path().join(format!("data-{round}")));
        let backup = ["backup", source.to_str().unwrap()];
        let mut child = program.command(&backup).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(pick(round, 30_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        let id = program.summary(&backup)["snapshot_id"].as_str().unwrap().to_owned();
        restore_equal(&program, &id, &source, &source, &format!("round {round}"));
    }
}

/// A pack holds 32 MiB; an index object is put after 16 of them. Two are open, two are on their way to the disk.
const PACK: u64 = 32 << 20;

#[test]
fn an_interrupted_run_ends_soon_and_the_next_one_uses_what_it_stored() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::new(&folder.path().join("data"));
    let source = folder.path().join("source");
    fill(&source, 1, 24, 10 << 20);
    let total = 24 * (10 << 20);
    let backup = ["backup", source.to_str().unwrap()];
    let mut child = program.command(&backup).spawn().unwrap();
    // When some packs are stored.
    let packs = program.repository().join("packs");
    let stored = || -> u64 {
        let folders = std::fs::read_dir(&packs).into_iter().flatten().flatten();
        let files = folders.flat_map(|folder| std::fs::read_dir(folder.path()).into_iter().flatten().flatten());
        files.map(|file| file.metadata().map_or(0, |metadata| metadata.len())).sum()
    };
    let start = Instant::now();
    while stored() < 2 * PACK && start.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(2));
    }
    let process = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
    let asked = Instant::now();
    let status = wait_at_most(&mut child, Duration::from_secs(10)).expect("it ends");
    let took = asked.elapsed();
    let output = child.wait_with_output().unwrap();
    assert_eq!(status.code(), Some(130), "{}", text(&output));
    assert!(took < Duration::from_secs(3), "it took {took:?} to end");
    let before = stored();
    assert!(before >= 2 * PACK && before < total, "{before} bytes were stored when it was stopped");
    assert!(Snapshots::load(&open_local(&program)).unwrap().all.is_empty());

    let summary = program.summary(&backup);
    let added = summary["data_added_packed"].as_u64().unwrap();
    let twice = (before + added).saturating_sub(total);
    assert!(twice < PACK, "{twice} bytes were stored twice");
    let id = summary["snapshot_id"].as_str().unwrap();
    restore_equal(&program, id, &source, &source, "after the interruption");
    println!("ended after {took:?}; {before} bytes stored before, {added} after, {twice} twice");
}

#[test]
fn a_fault_store_without_faults_is_the_store_below() {
    let bench = Bench::new();
    small_tree(&bench.source);
    let store = MemoryStore::new();
    bench.create(store.clone()).unwrap();
    let counting = FaultStore::new(store.clone());
    let repository = bench.open(counting.clone()).unwrap();
    let committed = bench.commit(&repository);
    check_snapshots(&bench, &repository, &[&committed], "without faults");
    assert!(counting.count() > 20 && !counting.has_struck());
    assert_eq!(store.list(Area::Snapshots).unwrap().len(), 1);
}
