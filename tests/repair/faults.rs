//! A repair that is stopped at any operation of the store, or of which an answer is lost, loses nothing, and the next one
//! ends well.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use bk::id::SnapshotId;
use bk::repository::{Repository, Snapshots};
use bk::store::{Area, ObjectName, Store};

use super::support::tree::noise;
use super::support::{Bench, Fault, FaultStore, MemoryStore};
use super::{check_all, contents, repair, restorable};

type Recorded = BTreeMap<SnapshotId, BTreeMap<PathBuf, Vec<u8>>>;

/// Two snapshots, a damaged index object, a pack that lost some of its blobs, a damaged snapshot.
fn damaged(bench: &Bench, store: &MemoryStore) -> Recorded {
    let repository = bench.create(store.clone()).unwrap();
    let mut recorded = Recorded::new();
    for round in 0..3 {
        for file in 0..3 {
            let length = if file == 0 { 600_000 } else { 700_000 * usize::from(round == 0) + 1000 };
            std::fs::write(bench.source.join(format!("{file}")), noise(10 * round + file, length)).unwrap();
        }
        std::fs::create_dir_all(bench.source.join("below")).unwrap();
        std::fs::write(bench.source.join("below/same"), "the same every time").unwrap();
        let committed = bench.commit(&repository);
        recorded.insert(committed.id, contents(&committed.copy));
    }
    let largest = store.names(Area::Packs).into_iter().max_by_key(|name| store.stat(name).unwrap()).unwrap();
    store.change(&largest, |bytes| bytes[100] ^= 1);
    store.change(&store.names(Area::Index)[0], |bytes| bytes[60] ^= 1);
    let newest = Snapshots::load(&repository).unwrap().all.pop().unwrap();
    store.change(&newest.name, |bytes| bytes[60] ^= 1);
    recorded
}

/// Every recorded file, by the start of its snapshot, whatever stands for that now.
fn all_restorable(bench: &Bench, repository: &Repository, recorded: &Recorded) -> BTreeMap<i64, usize> {
    let mut best = BTreeMap::new();
    for info in Snapshots::load(repository).unwrap().all {
        for all in recorded.values() {
            let found = restorable(bench, repository, info.id, all).len();
            let most = best.entry(info.snapshot.start.seconds).or_insert(0);
            *most = found.max(*most);
        }
    }
    best
}

fn open(bench: &Bench, store: impl Store + 'static) -> Repository {
    bench.open(store).unwrap()
}

#[test]
fn stopped_anywhere_nothing_is_lost_and_the_next_repair_ends_well() {
    let bench = Bench::new();
    let store = MemoryStore::new();
    let recorded = damaged(&bench, &store);
    let counting = FaultStore::new(store.fork());
    let repository = open(&bench, counting.clone());
    let opened = counting.count();
    repair(&bench, &repository, &[]).unwrap();
    let count = counting.count();
    let best = all_restorable(&bench, &repository, &recorded);
    println!("{count} operations, {best:?}");
    // Before the repair the index does not know everything; after it, at least as much must be there.
    let before = all_restorable(&bench, &open(&bench, store.clone()), &recorded);
    let everything = std::env::var_os("BK_TORTURE").is_some();
    let step = if everything { 1 } else { 7 };
    for (number, fault) in [
        Fault::Abort,
        Fault::AbortAfter,
        Fault::FailAfter(io::ErrorKind::TimedOut),
        Fault::NoRoom,
        Fault::Torn,
        Fault::Corrupt,
    ]
    .into_iter()
    .enumerate()
    {
        for at in (opened + (number as u64 % step)..count).step_by(step as usize) {
            let what = format!("{fault:?} at {at}");
            let inner = store.fork();
            let faulty = FaultStore::with_fault(inner.clone(), at, fault.clone());
            let stopped = repair(&bench, &open(&bench, faulty), &[]);
            let repository = open(&bench, inner.clone());
            if stopped.is_err() {
                let now = all_restorable(&bench, &repository, &recorded);
                for (start, most) in &before {
                    assert!(now.get(start) >= Some(most), "{what}: {now:?} of {before:?}");
                }
            }
            repair(&bench, &repository, &[]).unwrap_or_else(|error| panic!("{what}: again: {error}"));
            let report = check_all(&repository);
            assert!(report.findings.is_empty(), "{what}: {:?}", report.findings);
            assert_eq!(all_restorable(&bench, &repository, &recorded), best, "{what}");
            assert!(inner.names(Area::Quarantine).iter().all(|name| matches!(name, ObjectName::Quarantined(_))));
        }
    }
}
