//! Repairs beside others: at every operation of the one, all of the other is played.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bk::operation::repair::RepairError;
use bk::operation::repair::index::Extent;
use bk::repository::RepositoryError;
use bk::store::{Area, StoreError};

use super::support::run::Committed;
use super::support::tree::noise;
use super::support::{Bench, FaultStore, MemoryStore, check_snapshots};
use super::{repair_index, repair_packs};

fn write(bench: &Bench, round: u64) {
    for file in 0..3 {
        let seed = if file == 0 { 0 } else { 10 * round + file };
        std::fs::write(bench.source.join(format!("{file}")), noise(seed, 5000)).unwrap();
    }
}

/// Some snapshots, of which some are forgotten, so that there is something to prune.
fn repository(bench: &Bench) -> (MemoryStore, Vec<Committed>) {
    let store = MemoryStore::new();
    store.set_time(bk::clock::Clock::wall(&bench.clock));
    let repository = bench.create(store.clone()).unwrap();
    let mut committed = Vec::new();
    for round in 0..4 {
        write(bench, round);
        committed.push(bench.commit(&repository));
    }
    bench.pass(&store, Duration::from_secs(16 * 86_400));
    let forgotten: Vec<_> = committed.drain(..2).map(|one| one.id).collect();
    bench.forget(&repository, &forgotten).unwrap();
    write(bench, 9);
    (store, committed)
}

/// Plays `other` before operation `at` of what is done with the store; whether it came to that.
fn at_operation(
    store: &MemoryStore,
    at: u64,
    other: impl Fn() + Send + 'static,
) -> (FaultStore<MemoryStore>, Arc<AtomicBool>) {
    let faulty = FaultStore::new(store.clone());
    let played = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&played);
    let other = Mutex::new(other);
    faulty.before_each(move |number, _, _, _| {
        if number == at {
            told.store(true, Ordering::Relaxed);
            other.lock().unwrap()();
        }
    });
    (faulty, played)
}

/// What goes on beside a repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beside {
    Backup,
    Prune,
    SecondRepair,
}

fn damage_index(store: &MemoryStore) {
    store.change(&store.names(Area::Index)[0], |bytes| bytes[60] ^= 1);
}

fn end_well(bench: &Bench, store: &MemoryStore, committed: &[&Committed], what: &str) {
    let repository = bench.open(store.clone()).unwrap();
    check_snapshots(bench, &repository, committed, what);
    // A prune that was between two lists may have left the rest to the next one.
    for _ in 0..3 {
        bench.pass(store, Duration::from_secs(2 * 86_400));
        bench.prune(&repository).unwrap_or_else(|error| panic!("{what}: prune: {error}"));
    }
    check_snapshots(bench, &repository, committed, what);
    bench.assert_clean(&repository, what);
}

#[test]
fn whatever_goes_on_beside_a_repair_of_the_index_no_snapshot_is_harmed() {
    for beside in [Beside::Backup, Beside::Prune, Beside::SecondRepair] {
        let mut played = 0;
        for at in 0.. {
            let bench = Arc::new(Bench::new());
            let (store, committed) = repository(&bench);
            if beside == Beside::Prune {
                // Something is marked already, and is due.
                bench.prune(&bench.open(store.clone()).unwrap()).unwrap();
                bench.pass(&store, Duration::from_secs(2 * 86_400));
            }
            damage_index(&store);
            let kept: Arc<Mutex<Option<Committed>>> = Arc::default();
            let other = {
                let (bench, store, kept) = (Arc::clone(&bench), store.clone(), Arc::clone(&kept));
                move || {
                    let repository = bench.open(store.clone()).unwrap();
                    match beside {
                        Beside::Backup => *kept.lock().unwrap() = Some(bench.commit(&repository)),
                        // With a damaged index it refuses, which is right.
                        Beside::Prune => drop(bench.prune(&repository)),
                        Beside::SecondRepair => {
                            repair_index(&bench, &repository, Extent::Everything).unwrap();
                        }
                    }
                }
            };
            let (faulty, came) = at_operation(&store, at, other);
            let extent = if at % 2 == 0 { Extent::Everything } else { Extent::Missing };
            let what = format!("{beside:?} at {at}");
            let repository = bench.open(faulty).unwrap();
            match repair_index(&bench, &repository, extent) {
                Ok(_) => {}
                // What the one has just put, the other made again before it was read back: it is run again.
                Err(RepairError::Repository(RepositoryError::Store(StoreError::Short { .. })))
                    if beside == Beside::SecondRepair =>
                {
                    repair_index(&bench, &bench.open(store.clone()).unwrap(), extent).unwrap();
                }
                Err(error) => panic!("{what}: {error}"),
            }
            if !came.load(Ordering::Relaxed) {
                break;
            }
            played += 1;
            let kept = kept.lock().unwrap();
            let all: Vec<_> = committed.iter().chain(kept.as_ref()).collect();
            end_well(&bench, &store, &all, &what);
        }
        assert!(played > 20, "{beside:?}: {played}");
    }
}

#[test]
fn a_repair_of_the_index_beside_a_backup_or_a_prune_harms_neither() {
    for is_prune in [false, true] {
        let mut played = 0;
        for at in 0.. {
            let bench = Arc::new(Bench::new());
            let (store, committed) = repository(&bench);
            if is_prune {
                bench.prune(&bench.open(store.clone()).unwrap()).unwrap();
                bench.pass(&store, Duration::from_secs(2 * 86_400));
            }
            let other = {
                let (bench, store) = (Arc::clone(&bench), store.clone());
                move || {
                    repair_index(&bench, &bench.open(store.clone()).unwrap(), Extent::Everything).unwrap();
                }
            };
            let (faulty, came) = at_operation(&store, at, other);
            let what = format!("at {at}, prune {is_prune}");
            let repository = bench.open(faulty).unwrap();
            let mut kept = None;
            if is_prune {
                // It may find that something has moved, and then it deletes nothing.
                let _ = bench.prune(&repository);
            } else {
                kept = Some(bench.commit(&repository));
            }
            if !came.load(Ordering::Relaxed) {
                break;
            }
            played += 1;
            let all: Vec<_> = committed.iter().chain(kept.as_ref()).collect();
            end_well(&bench, &store, &all, &what);
        }
        assert!(played > 15, "{played}");
    }
}

#[test]
fn a_repair_of_packs_beside_a_backup_or_a_prune_harms_neither() {
    for beside in [Beside::Backup, Beside::Prune] {
        let mut played = 0;
        for at in 0.. {
            let bench = Arc::new(Bench::new());
            let (store, committed) = repository(&bench);
            if beside == Beside::Prune {
                bench.prune(&bench.open(store.clone()).unwrap()).unwrap();
                bench.pass(&store, Duration::from_secs(2 * 86_400));
            }
            // The trailer: nothing is lost, and the pack has to go all the same.
            let pack = store.names(Area::Packs)[0];
            store.change(&pack, |bytes| *bytes.last_mut().unwrap() ^= 1);
            let kept: Arc<Mutex<Option<Committed>>> = Arc::default();
            let other = {
                let (bench, store, kept) = (Arc::clone(&bench), store.clone(), Arc::clone(&kept));
                move || {
                    let repository = bench.open(store.clone()).unwrap();
                    match beside {
                        Beside::Backup => *kept.lock().unwrap() = Some(bench.commit(&repository)),
                        _ => drop(bench.prune(&repository).unwrap()),
                    }
                }
            };
            let (faulty, came) = at_operation(&store, at, other);
            let what = format!("{beside:?} at {at}");
            let repository = bench.open(faulty).unwrap();
            match repair_packs(&bench, &repository, &[]) {
                Ok(_) | Err(RepairError::Moved) => {}
                // A prune has taken away what was to be read: it is run again.
                Err(RepairError::Repository(RepositoryError::Store(error))) if error.is_missing() => {}
                Err(error) => panic!("{what}: {error}"),
            }
            repair_packs(&bench, &bench.open(store.clone()).unwrap(), &[]).unwrap();
            if !came.load(Ordering::Relaxed) {
                break;
            }
            played += 1;
            let kept = kept.lock().unwrap();
            let all: Vec<_> = committed.iter().chain(kept.as_ref()).collect();
            end_well(&bench, &store, &all, &what);
        }
        assert!(played > 20, "{beside:?}: {played}");
    }
}
