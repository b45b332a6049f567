//! Writers beside prunes and beside each other: what a snapshot relies on is there when it is put, and stays.
//!
//! The rules are those of bk-repository(7), "WRITING". A prune is played by the test: it puts marks and deletes packs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bk::format::Kind;
use bk::format::fact::{self, Fact, FactKind};
use bk::format::index_file::PackName;
use bk::format::mark::Mark;
use bk::format::node::Timestamp;
use bk::format::pack::PackKind;
use bk::id::{RunId, SnapshotId};
use bk::operation::backup::{BackupError, Found, Stream, WhenBroken, backup};
use bk::progress::Silent;
use bk::repository::{Index, Purpose, Repository, RepositoryError, Snapshots};
use bk::store::{Area, LocalStore, ObjectName, Store};
use support::program::{Program, text};
use support::tree::{change_tree, compare_trees, noise};
use support::{Bench, Fault, FaultStore, MemoryStore, Op, check_snapshots, small_tree};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// A repository with one snapshot of the small tree.
fn one_snapshot() -> (Bench, MemoryStore, Repository, support::run::Committed) {
    let bench = Bench::new();
    small_tree(&bench.source);
    let store = MemoryStore::new();
    let repository = bench.create(store.clone()).unwrap();
    let committed = bench.commit(&repository);
    (bench, store, repository, committed)
}

fn packs(store: &MemoryStore) -> Vec<PackName> {
    let names = store.names(Area::Packs).into_iter();
    names.filter_map(|name| if let ObjectName::Pack(pack) = name { Some(pack) } else { None }).collect()
}

/// Announces the deletion of `packs`, as a prune does.
fn mark(repository: &Repository, packs: &[PackName]) {
    let mark = Mark { time: Timestamp::default(), packs: packs.to_vec(), run: RunId([7; 16]), snapshots: Vec::new() };
    repository.write_object(Kind::Mark, &mark.encode()).unwrap();
}

fn delete(store: &dyn Store, packs: &[PackName]) {
    packs.iter().for_each(|pack| store.delete(&ObjectName::Pack(*pack)).unwrap());
}

/// Packs of one kind.
fn packs_of(repository: &Repository, bench: &Bench, kind: PackKind) -> Vec<PackName> {
    let index = Index::load(repository, Purpose::Read, &bench.clock).unwrap();
    index.packs().filter(|(_, _, of, _)| *of == kind).map(|(name, ..)| name).collect()
}

fn snapshots(repository: &Repository) -> Vec<SnapshotId> {
    Snapshots::load(repository).unwrap().all.iter().map(|info| info.id).collect()
}

#[test]
fn what_is_in_marked_packs_is_stored_anew() {
    let (bench, store, repository, first) = one_snapshot();
    let marked = packs(&store);
    mark(&repository, &marked);
    let second = bench.commit(&repository);
    delete(&store, &marked);
    // The source is as it was, so that the first snapshot has come back to life too.
    check_snapshots(&bench, &repository, &[&first, &second], "after the sweep");
}

#[test]
fn a_mark_at_any_moment_before_the_last_look_at_the_marks_is_honoured() {
    let (bench, base, repository, _) = one_snapshot();
    change_tree(&bench.source, 1);
    let keys = || bench.credential();
    drop(repository);
    let (mut rescued, mut late) = (0, 0);
    for number in 0.. {
        let store = base.fork();
        let pruner = Repository::open(Arc::new(store.clone()), &keys()).unwrap();
        let marked = packs(&store);
        let faulty = FaultStore::new(store.clone());
        let repository = bench.open(faulty.clone()).unwrap();
        let start = faulty.count();
        let announced = marked.clone();
        faulty.before_each(move |at, _, _, _| {
            if at == start + number {
                mark(&pruner, &announced);
            }
        });
        let committed = bench.commit(&repository);
        let log = faulty.log();
        if log.len() as u64 <= start + number {
            break;
        }
        let last_look = log.iter().rposition(|done| *done == (Op::List, Some(Area::Marks))).unwrap() as u64;
        if start + number > last_look {
            // The sweep comes a day later, reads the snapshots again and finds this one.
            late += 1;
            continue;
        }
        rescued += 1;
        delete(&store, &marked);
        let repository = bench.open(store.clone()).unwrap();
        let what = format!("marked before operation {number}, {:?}", log[(start + number) as usize]);
        let index = Index::load(&repository, Purpose::Read, &bench.clock).unwrap();
        let info = Snapshots::load(&repository).unwrap().all.into_iter().find(|info| info.id == committed.id).unwrap();
        support::walk(&repository, &index, &info).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(bench.differences(&repository, committed.id, &committed.copy), [""; 0], "{what}");
        std::fs::remove_dir_all(&committed.copy).unwrap();
    }
    assert!(rescued > 10 && late > 0, "{rescued} {late}");
    println!("marked at {rescued} operations before the last look, {late} after");
}

#[test]
fn a_pack_that_vanished_is_stored_anew_although_no_file_has_changed() {
    for kind in [PackKind::Data, PackKind::Tree] {
        let (bench, store, repository, first) = one_snapshot();
        let lost = packs_of(&repository, &bench, kind);
        assert!(!lost.is_empty());
        delete(&store, &lost);
        let second = bench.commit(&repository);
        check_snapshots(&bench, &repository, &[&first, &second], &format!("{kind:?}"));
    }
}

#[test]
fn any_single_lost_pack_heals() {
    let (bench, store, repository, _) = one_snapshot();
    for version in 1..=2 {
        change_tree(&bench.source, version);
        bench.commit(&repository);
    }
    let lost = packs(&store);
    assert!(lost.len() >= 6);
    for pack in lost {
        let store = store.fork();
        delete(&store, &[pack]);
        let repository = bench.open(store).unwrap();
        let next = bench.commit(&repository);
        assert_eq!(bench.differences(&repository, next.id, &next.copy), [""; 0], "without {pack}");
        std::fs::remove_dir_all(&next.copy).unwrap();
    }
}

#[test]
fn a_pack_of_another_size_counts_as_absent() {
    for change in [(|bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 1)) as fn(&mut _), |bytes| bytes.push(0)] {
        let (bench, store, repository, first) = one_snapshot();
        let before = packs(&store);
        before.iter().for_each(|pack| store.change(&ObjectName::Pack(*pack), change));
        let second = bench.commit(&repository);
        delete(&store, &before);
        check_snapshots(&bench, &repository, &[&first, &second], "after the damaged packs went");
    }
}

/// How often the marks were listed from operation `start` on.
fn looks(store: &FaultStore<MemoryStore>, start: u64) -> usize {
    store.log()[start as usize..].iter().filter(|done| **done == (Op::List, Some(Area::Marks))).count()
}

/// Advances the clock whenever the marks are listed, but not for the first list of a run; at most `times`.
fn sleep_while_validating(bench: &Arc<Bench>, store: &FaultStore<MemoryStore>, times: usize, by: Duration) {
    let (mut seen, bench) = (0, Arc::clone(bench));
    store.before_each(move |_, op, area, _| {
        if (op, area) == (Op::List, Some(Area::Marks)) {
            seen += 1;
            if (2..2 + times).contains(&seen) {
                bench.clock.advance(by);
            }
        }
    });
}

#[test]
fn a_machine_that_slept_since_its_last_look_looks_again_before_it_commits() {
    let (bench, store, ..) = one_snapshot();
    let bench = Arc::new(bench);
    for (sleep, looked) in [(Duration::ZERO, 2), (9 * MINUTE, 2), (11 * MINUTE, 3)] {
        let store = FaultStore::new(store.fork());
        let repository = bench.open(store.clone()).unwrap();
        let start = store.count();
        sleep_while_validating(&bench, &store, 1, sleep);
        let committed = bench.commit(&repository);
        assert_eq!(looks(&store, start), looked, "{sleep:?}");
        check_snapshots(&bench, &repository, &[&committed], &format!("{sleep:?}"));
    }
}

#[test]
fn a_machine_that_sleeps_again_and_again_puts_no_snapshot() {
    let (bench, store, _, first) = one_snapshot();
    let bench = Arc::new(bench);
    let faulty = FaultStore::new(store.clone());
    let repository = bench.open(faulty.clone()).unwrap();
    sleep_while_validating(&bench, &faulty, 100, 11 * MINUTE);
    let result = bench.back_up(&repository);
    assert!(matches!(result, Err(BackupError::Repository(RepositoryError::TooLate { .. }))), "{result:?}");
    assert_eq!(snapshots(&repository), [first.id]);
}

#[test]
fn a_put_that_took_too_long_is_followed_by_another_look() {
    let (bench, store, ..) = one_snapshot();
    let bench = Arc::new(bench);
    change_tree(&bench.source, 1);
    let old = packs(&store);
    let faulty = FaultStore::new(store.clone());
    let repository = bench.open(faulty.clone()).unwrap();
    let (pruner, asleep) = (bench.open(store.clone()).unwrap(), Arc::clone(&bench));
    let announced = old.clone();
    let mut slept = false;
    // While the snapshot is on its way, the machine sleeps for two days, in which a prune marks and sweeps.
    faulty.before_each(move |_, op, area, store| {
        if (op, area) == (Op::Put, Some(Area::Snapshots)) && !slept {
            slept = true;
            asleep.clock.advance(48 * HOUR);
            mark(&pruner, &announced);
            delete(store, &announced);
        }
    });
    let committed = bench.commit(&repository);
    let repository = bench.open(store).unwrap();
    assert_eq!(bench.differences(&repository, committed.id, &committed.copy), [""; 0]);
}

/// While the first pack of a run is made, half a day passes and the packs from before are deleted; so often.
fn delete_while_running(bench: &Arc<Bench>, store: &FaultStore<MemoryStore>, times: usize) {
    let (bench, mut left, mut armed) = (Arc::clone(bench), times, false);
    store.before_each(move |_, op, area, store| {
        if (op, area) == (Op::List, Some(Area::Index)) {
            armed = true;
        }
        if op == Op::Begin && armed && left > 0 {
            (armed, left) = (false, left - 1);
            bench.clock.advance(13 * HOUR);
            for listed in store.list(Area::Packs).unwrap() {
                store.delete(&listed.name).unwrap();
            }
        }
    });
}

#[test]
fn a_long_run_that_lost_packs_is_made_again() {
    let (bench, store, ..) = one_snapshot();
    let bench = Arc::new(bench);
    change_tree(&bench.source, 1);
    let faulty = FaultStore::new(store.clone());
    let repository = bench.open(faulty.clone()).unwrap();
    delete_while_running(&bench, &faulty, 1);
    let committed = bench.commit(&repository);
    assert_eq!(bench.differences(&repository, committed.id, &committed.copy), [""; 0]);
}

#[test]
fn a_run_that_loses_packs_every_time_puts_no_snapshot() {
    let (bench, store, _, first) = one_snapshot();
    let bench = Arc::new(bench);
    let faulty = FaultStore::new(store.clone());
    let repository = bench.open(faulty.clone()).unwrap();
    let counted = Arc::new(AtomicU64::new(0));
    // Something new each time, so that there is always a pack to be made.
    let (source, times) = (bench.source.clone(), Arc::clone(&counted));
    change_tree(&bench.source, 1);
    let sleeper = Arc::clone(&bench);
    let mut armed = false;
    faulty.before_each(move |_, op, area, store| {
        if (op, area) == (Op::List, Some(Area::Packs)) && !armed {
            armed = true;
            let number = times.fetch_add(1, Ordering::Relaxed);
            std::fs::write(source.join("again"), noise(900 + number, 5000)).unwrap();
        } else if op == Op::Begin && armed {
            armed = false;
            sleeper.clock.advance(13 * HOUR);
            for listed in store.list(Area::Packs).unwrap() {
                store.delete(&listed.name).unwrap();
            }
        }
    });
    let result = bench.back_up(&repository);
    assert!(matches!(result, Err(BackupError::Repository(RepositoryError::Lost { .. }))), "{result:?}");
    assert!(counted.load(Ordering::Relaxed) >= 3, "it was tried {counted:?} times");
    assert_eq!(snapshots(&repository), [first.id]);
}

#[test]
fn a_stream_that_lost_packs_makes_no_snapshot() {
    let (bench, store, _, first) = one_snapshot();
    let bench = Arc::new(bench);
    let faulty = FaultStore::new(store.clone());
    let repository = bench.open(faulty.clone()).unwrap();
    delete_while_running(&bench, &faulty, 1);
    // It relies on a blob of the first run, and adds one.
    let bytes = [std::fs::read(bench.source.join("noise.bin")).unwrap(), noise(77, 2_000_000)].concat();
    let stream = Stream {
        name: "dump.sql".into(),
        bytes: Box::new(std::io::Cursor::new(bytes)),
        when_broken: WhenBroken::Fail,
        found: Found::default(),
        min_bytes: None,
    };
    let cancel = AtomicBool::new(false);
    let options = bench.options();
    let result = backup(&repository, &options, vec![stream], &bench.clock, &Silent, &cancel);
    assert!(matches!(result, Err(BackupError::Repository(RepositoryError::Lost { .. }))), "{result:?}");
    assert_eq!(snapshots(&repository), [first.id]);
}

#[test]
fn a_young_listing_serves_without_another_list_of_packs() {
    let (bench, store, ..) = one_snapshot();
    let store = FaultStore::new(store);
    let repository = bench.open(store.clone()).unwrap();
    bench.commit(&repository);
    let lists = store.log().iter().filter(|done| **done == (Op::List, Some(Area::Packs))).count();
    assert_eq!(lists, 1);
}

#[test]
fn a_forgotten_snapshot_is_not_listed_and_is_no_parent() {
    let (bench, _, repository, first) = one_snapshot();
    change_tree(&bench.source, 1);
    let second = bench.commit(&repository);
    let fact = |kind, snapshot| Fact {
        kind,
        time: Timestamp::default(),
        host: "host".into(),
        snapshot: Some(snapshot),
        pack: None,
        detail: None,
    };
    let facts = [fact(FactKind::Pinned, first.id), fact(FactKind::Forgotten, second.id)];
    repository.write_object(Kind::Facts, &fact::encode(&facts)).unwrap();
    assert_eq!(snapshots(&repository), [first.id]);
    let third = bench.back_up(&repository).unwrap();
    assert_eq!(third.parent, Some(first.id));
    assert_eq!(snapshots(&repository), [first.id, third.snapshot.unwrap().id]);
}

#[test]
fn a_damaged_object_of_facts_hides_no_snapshot() {
    let (bench, store, repository, first) = one_snapshot();
    let (name, _) = repository.write_object(Kind::Facts, &fact::encode(&[])).unwrap();
    store.change(&name, |bytes| bytes[60] ^= 1);
    let loaded = Snapshots::load(&repository).unwrap();
    assert_eq!(loaded.all.iter().map(|info| info.id).collect::<Vec<_>>(), [first.id]);
    assert_eq!(loaded.damaged.len(), 1, "it is named");
    let second = bench.commit(&repository);
    check_snapshots(&bench, &repository, &[&first, &second], "beside damaged facts");
}

#[test]
fn a_damaged_index_object_stops_neither_restores_of_the_rest_nor_the_next_run() {
    let (bench, store, repository, first) = one_snapshot();
    change_tree(&bench.source, 1);
    let second = bench.commit(&repository);
    let names: Vec<_> = store.names(Area::Index);
    assert_eq!(names.len(), 2);
    for name in names {
        let store = store.fork();
        store.change(&name, |bytes| bytes[60] ^= 1);
        let repository = bench.open(store).unwrap();
        let third = bench.commit(&repository);
        assert_eq!(bench.differences(&repository, third.id, &third.copy), [""; 0], "without {name}");
        assert_eq!(bench.differences(&repository, second.id, &second.copy), [""; 0], "without {name}");
        std::fs::remove_dir_all(&third.copy).unwrap();
    }
    check_snapshots(&bench, &repository, &[&first, &second], "undamaged");
}

/// Two sources that have half of their contents in common.
fn alike(bench: &Bench, number: u64) -> std::path::PathBuf {
    let source = bench.folder.path().join(format!("side-{number}"));
    small_tree(&source);
    for at in 0..20 {
        let seed = if at % 2 == 0 { at } else { 1000 * (number + 1) + at };
        std::fs::write(source.join(format!("file-{at}")), noise(seed, 100_000)).unwrap();
    }
    source
}

#[test]
fn two_runs_at_once_in_one_program_both_commit() {
    for round in 0..4 {
        let bench = Bench::new();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("repository");
        let local = round % 2 == 0;
        let store: Arc<dyn Store> =
            if local { Arc::new(LocalStore::create(&path).unwrap()) } else { Arc::new(MemoryStore::new()) };
        let keys = bk::crypto::Keys::generate().unwrap();
        let note = bk::repository::note("first", Timestamp::default(), "host");
        let repository = Repository::create(store, keys, &bench.credential(), &note).unwrap();
        let sources = [alike(&bench, 0), alike(&bench, 1)];
        let made = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for source in &sources {
                let (bench, repository, made) = (&bench, &repository, &made);
                scope.spawn(move || {
                    let options = bk::operation::backup::BackupOptions {
                        roots: vec![source.clone()],
                        threads: 2,
                        ..bench.options()
                    };
                    let stats = bench.back_up_with(repository, &options).unwrap();
                    made.lock().unwrap().push((source.clone(), stats.snapshot.unwrap().id));
                });
            }
        });
        for (source, id) in made.into_inner().unwrap() {
            let target = tempfile::tempdir_in(bench.folder.path()).unwrap();
            support::run::restore_to(&repository, id, target.path(), &bench.clock).unwrap();
            assert_eq!(compare_trees(&source, &target.path().join(source.strip_prefix("/").unwrap())), [""; 0]);
        }
        let distinct: HashSet<_> = snapshots(&repository).into_iter().collect();
        assert_eq!(distinct.len(), 2);
    }
}

#[test]
fn two_processes_at_once_both_commit() {
    let bench = Bench::new();
    let program = Program::new(&bench.folder.path().join("data"));
    small_tree(&bench.source);
    program.succeed(&["backup", bench.source.to_str().unwrap()]);
    let sources = [alike(&bench, 0), alike(&bench, 1)];
    for round in 0..6_u64 {
        for (number, source) in sources.iter().enumerate() {
            std::fs::write(source.join("round"), noise(50_000 * round + number as u64, 400_000)).unwrap();
            std::fs::write(source.join("both"), noise(70_000 + round, 400_000)).unwrap();
        }
        let start = |source: &std::path::PathBuf| {
            program.command(&["backup", source.to_str().unwrap(), "--json"]).spawn().unwrap()
        };
        let running: Vec<_> = sources.iter().map(start).collect();
        for (child, source) in running.into_iter().zip(&sources) {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "round {round}: {}", text(&output));
            let printed = String::from_utf8_lossy(&output.stdout).into_owned();
            let summary: serde_json::Value = serde_json::from_str(printed.lines().last().unwrap()).unwrap();
            let target = tempfile::tempdir_in(bench.folder.path()).unwrap();
            program.succeed(&[
                "restore",
                summary["snapshot_id"].as_str().unwrap(),
                "--to",
                target.path().to_str().unwrap(),
            ]);
            let below = std::fs::read_dir(target.path()).unwrap().next().unwrap().unwrap().path();
            assert_eq!(compare_trees(source, &below.join(source.strip_prefix("/").unwrap())), [""; 0], "{round}");
        }
    }
}

#[test]
fn a_snapshot_whose_answer_was_lost_counts_for_nobody_also_when_it_arrives_later() {
    let (bench, store, _, first) = one_snapshot();
    change_tree(&bench.source, 1);
    let faulty = FaultStore::new(store.fork());
    bench.back_up(&bench.open(faulty.clone()).unwrap()).unwrap();
    let put = faulty.log().iter().position(|done| *done == (Op::Put, Some(Area::Snapshots))).unwrap() as u64;
    let fault = Fault::FailAfter(std::io::ErrorKind::TimedOut);
    let faulty = FaultStore::with_fault(store.clone(), put, fault);
    let result = bench.back_up(&bench.open(faulty.clone()).unwrap());
    assert!(result.is_err() && faulty.has_struck(), "{result:?}");
    // The object is there: the run said that it failed, and it did.
    assert_eq!(store.list(Area::Snapshots).unwrap().len(), 2);
    let repository = bench.open(store.clone()).unwrap();
    assert_eq!(snapshots(&repository), [first.id]);
    // What is left of it is taken away by a prune, and the next run is like any other.
    let next = bench.commit(&repository);
    bench.pass(&store, Duration::from_secs(2 * 86_400));
    bench.prune(&repository).unwrap();
    assert_eq!(store.list(Area::Snapshots).unwrap().len(), 2);
    check_snapshots(&bench, &repository, &[&first, &next], "afterwards");
}
