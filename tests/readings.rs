//! Which packs a check has read is in the repository whatever ends the check, and of no pack that was not read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bk::clock::Clock as _;
use bk::format::node::Timestamp;
use bk::operation::check::{
    Budget, CheckOptions, CheckReport, Noting, Promise, ReadData, Severity, Stretch, Subset, Turn, check_and_note,
};
use bk::progress::Silent;
use bk::repository::{Facts, Repository, RepositoryError};
use bk::store::{Area, ObjectName};
use support::{Bench, Fault, FaultStore, MemoryStore, Op, tree};

/// A day of checks.
const DAY: Duration = Duration::from_secs(86_400);

/// A repository of eight backups, and so of sixteen packs or so.
fn filled() -> (Bench, MemoryStore, Repository) {
    let (bench, store) = (Bench::new(), MemoryStore::new());
    store.set_time(bench.clock.wall());
    let repository = bench.create(store.clone()).unwrap();
    for seed in 0..8 {
        std::fs::write(bench.source.join(format!("file{seed}")), tree::noise(seed, 40_000)).unwrap();
        bench.back_up(&repository).unwrap();
    }
    bench.clock.advance(DAY);
    (bench, store, repository)
}

struct Asked<'a> {
    read: ReadData,
    turn: Turn,
    budget: Option<Budget>,
    stretch: Stretch,
    interrupted: &'a AtomicBool,
}

static GOES_ON: AtomicBool = AtomicBool::new(false);

/// The longest unread first, and noted one by one.
const LONGEST: Asked<'static> = Asked {
    read: ReadData::Nothing,
    turn: Turn::LongestFirst,
    budget: None,
    stretch: Stretch { time: Duration::from_secs(600), bytes: 1 },
    interrupted: &GOES_ON,
};

fn check(bench: &Bench, repository: &Repository, asked: &Asked<'_>) -> Result<CheckReport, RepositoryError> {
    let options = CheckOptions { read: asked.read, threads: 1, shown_paths: 3, interrupted: asked.interrupted };
    let noting = Noting {
        clock: &bench.clock,
        host: "host",
        turn: asked.turn,
        budget: asked.budget,
        stretch: asked.stretch,
        announce: &|_, _| {},
    };
    check_and_note(repository, &options, &noting, &Silent)
}

/// The packs that are noted as read.
fn noted(bench: &Bench, store: &MemoryStore, repository: &Repository) -> BTreeSet<ObjectName> {
    let readings = Facts::load(repository).unwrap().readings(bench.clock.wall());
    let is_read = |name: &ObjectName| matches!(name, ObjectName::Pack(pack) if readings.last_read(&pack.id).is_some());
    store.names(Area::Packs).into_iter().filter(is_read).collect()
}

#[test]
fn a_budget_goes_on_where_the_last_one_stopped_until_everything_is_read() {
    let (bench, store, repository) = filled();
    let (all, bytes) = (store.names(Area::Packs).len() as u64, store.bytes(Area::Packs));
    let budget = Some(Budget::Bytes(bytes / 3));
    let mut read = 0;
    for left in [2, 1, 0] {
        bench.clock.advance(DAY);
        let report = check(&bench, &repository, &Asked { budget, ..LONGEST }).unwrap();
        read += report.counts.read_packs;
        let never = report.standing.unwrap().never_read;
        assert_eq!(noted(&bench, &store, &repository).len() as u64, all - never);
        assert_eq!(never == 0, left == 0, "{never} of {all}");
        // The last one has room left, and begins anew.
        assert!(left == 0 || read == all - never, "nothing is read twice before everything was read once");
    }
    bench.clock.advance(DAY);
    let report = check(&bench, &repository, &Asked { budget: Some(Budget::Bytes(1)), ..LONGEST }).unwrap();
    let oldest = report.standing.unwrap().oldest_reading.unwrap();
    assert!(bench.clock.wall().seconds - oldest.seconds <= 3 * 86_400, "then it begins anew with the oldest");
}

#[test]
fn all_that_is_read_by_request_is_noted_too() {
    let (bench, store, repository) = filled();
    let of_options = |read| Asked { read, turn: Turn::OfOptions, ..LONGEST };
    check(&bench, &repository, &of_options(ReadData::Nothing)).unwrap();
    assert!(noted(&bench, &store, &repository).is_empty());
    let part = ReadData::Subset(Subset::Part { part: 1, of: 2 });
    let report = check(&bench, &repository, &of_options(part)).unwrap();
    assert_eq!(noted(&bench, &store, &repository).len() as u64, report.counts.read_packs);
    check(&bench, &repository, &of_options(ReadData::All)).unwrap();
    assert_eq!(noted(&bench, &store, &repository).len(), store.names(Area::Packs).len());
}

#[test]
fn a_check_that_is_stopped_has_noted_what_it_read() {
    let (bench, store, _) = filled();
    let (read, stopped) = (Arc::new(Mutex::new(BTreeSet::new())), Arc::new(AtomicBool::new(false)));
    let watched = FaultStore::new(store.clone());
    let (seen, stop) = (Arc::clone(&read), Arc::clone(&stopped));
    let reads = Arc::new(Mutex::new(0));
    watched.before_each(move |_, op, area, _| {
        if op == Op::Get && area == Some(Area::Packs) {
            let mut reads = reads.lock().unwrap();
            *reads += 1;
            if *reads == 5 {
                stop.store(true, Ordering::Relaxed);
            }
            seen.lock().unwrap().insert(*reads);
        }
    });
    let repository = bench.open(watched).unwrap();
    let once = Stretch::default();
    let asked = Asked { stretch: once, interrupted: &stopped, ..LONGEST };
    assert!(matches!(check(&bench, &repository, &asked), Err(RepositoryError::Interrupted)));
    assert_eq!(noted(&bench, &store, &repository).len(), read.lock().unwrap().len(), "also the one in flight");
    assert_eq!(store.names(Area::Facts).len(), 1);
}

#[test]
fn a_stretch_ends_after_its_time_and_its_bytes() {
    let (bench, store, repository) = filled();
    check(&bench, &repository, &LONGEST).unwrap();
    assert_eq!(store.names(Area::Facts).len(), store.names(Area::Packs).len(), "one for each pack");
    let (bench, store, repository) = filled();
    check(&bench, &repository, &Asked { stretch: Stretch::default(), ..LONGEST }).unwrap();
    assert_eq!(store.names(Area::Facts).len(), 1, "one for all of them");
}

#[test]
fn damaged_packs_are_not_noted() {
    let (bench, store, repository) = filled();
    let damaged = store.names(Area::Packs)[3];
    store.change(&damaged, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    let report = check(&bench, &repository, &LONGEST).unwrap();
    assert!(report.is_damaged());
    let noted = noted(&bench, &store, &repository);
    assert!(!noted.contains(&damaged) && noted.len() + 1 == store.names(Area::Packs).len());
}

#[test]
fn a_store_that_refuses_writes_is_checked_all_the_same_and_that_it_is_not_noted_is_said() {
    let (bench, store, _) = filled();
    let refusing = (0..10_000).fold(FaultStore::new(store.clone()), |store, at| store.and_fault(at, Fault::NoRoom));
    let repository = bench.open(refusing).unwrap();
    let report = check(&bench, &repository, &LONGEST).unwrap();
    assert_eq!(report.counts.read_packs as usize, store.names(Area::Packs).len());
    assert!(report.findings.iter().all(|finding| finding.severity != Severity::Damage));
    let note = report.notes.iter().find(|note| note.contains("cannot be noted")).expect("a note");
    assert!(note.contains("the next check begins anew"), "{note}");
    assert!(store.names(Area::Facts).is_empty());
}

#[test]
fn time_that_is_used_up_ends_a_check_after_the_pack_in_flight() {
    let (bench, store, _) = filled();
    let bench = Arc::new(bench);
    let watched = FaultStore::new(store.clone());
    let ticking = Arc::clone(&bench);
    watched.before_each(move |_, op, area, _| {
        if op == Op::Get && area == Some(Area::Packs) {
            ticking.clock.advance(Duration::from_secs(60));
        }
    });
    let repository = bench.open(watched).unwrap();
    let budget = Some(Budget::Time(Duration::from_secs(150)));
    let report = check(&bench, &repository, &Asked { budget, stretch: Stretch::default(), ..LONGEST }).unwrap();
    assert_eq!((report.counts.read_packs, noted(&bench, &store, &repository).len()), (3, 3));
}

#[test]
fn a_due_check_says_what_its_budget_leaves_and_the_next_one_reads_it() {
    let (bench, store, repository) = filled();
    let at = |days: i64| {
        let now = bench.clock.wall();
        Timestamp { seconds: now.seconds + days * 86_400, ..now }
    };
    let promise =
        || Promise { seconds: 7 * 86_400, next: at(7), interval: 7 * 86_400, last: None, first: Some(at(-30)) };
    bench.clock.advance(DAY * 5);
    let turn = Turn::Due(promise());
    let capped = Asked { turn, budget: Some(Budget::Bytes(1)), ..LONGEST };
    let kept = check(&bench, &repository, &capped).unwrap().standing.unwrap().kept.unwrap();
    assert!(kept.left_bytes > 0 && !kept.is_on_time() && kept.broken.is_some(), "{kept:?}");
    let report = check(&bench, &repository, &Asked { turn, ..LONGEST }).unwrap();
    let kept = report.standing.unwrap().kept.unwrap();
    assert_eq!((kept.left_bytes, kept.is_kept()), (0, true), "{kept:?}");
    assert_eq!(report.counts.read_packs as usize + 1, store.names(Area::Packs).len(), "the first one was read");
}
