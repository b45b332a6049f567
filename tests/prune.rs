//! Forgetting and pruning: nothing that a snapshot needs is lost, and what none needs goes. bk-repository(7), "PRUNING".

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::time::Duration;

use bk::format::Kind;
use bk::format::fact::{self, Fact, FactKind};
use bk::format::index_file::{IndexFile, PackName};
use bk::format::mark::Mark;
use bk::format::node::Timestamp;
use bk::id::{BlobId, IdPrefix, RunId, SnapshotId};
use bk::operation::prune::{self, Others, PruneError, PruneOptions, PruneStats, Waste};
use bk::progress::Silent;
use bk::repository::{Catalog, Index, Purpose, Repository, RepositoryError, Snapshots};
use bk::store::{Area, ObjectName, Store, StoreError};
use support::run::Committed;
use support::tree::{change_tree, noise};
use support::{Bench, Fault, FaultStore, MemoryStore, Op, check_snapshots, small_tree};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A repository with `count` snapshots, an hour apart, of a source that changes between them.
fn snapshots(count: u64) -> (Bench, MemoryStore, Repository, Vec<Committed>) {
    let bench = Bench::new();
    let store = MemoryStore::new();
    store.set_time(bk::clock::Clock::wall(&bench.clock));
    let repository = bench.create(store.clone()).unwrap();
    let mut committed = Vec::new();
    for version in 0..count {
        bench.pass(&store, HOUR);
        match version {
            0 => small_tree(&bench.source),
            version => change_tree(&bench.source, version),
        }
        std::fs::write(bench.source.join("each"), noise(5000 + version, 300_000)).unwrap();
        committed.push(bench.commit(&repository));
    }
    (bench, store, repository, committed)
}

fn packs(store: &MemoryStore) -> BTreeSet<PackName> {
    let names = store.names(Area::Packs).into_iter();
    names.filter_map(|name| if let ObjectName::Pack(pack) = name { Some(pack) } else { None }).collect()
}

fn ids(committed: &[Committed]) -> Vec<SnapshotId> {
    committed.iter().map(|one| one.id).collect()
}

/// What nobody needs, in bytes, according to a plan made now; everything else of it must be empty.
fn waste(bench: &Bench, repository: &Repository) -> u64 {
    let options = PruneOptions { max_unused: Waste::Unlimited, ..bench.prune_options() };
    let plan = prune::plan(repository, &options, &bench.clock, &Silent).unwrap();
    plan.kept_unused_bytes + plan.marked.bytes + plan.young.bytes + plan.unfinished.bytes + plan.waiting.bytes
}

#[test]
fn what_only_forgotten_snapshots_needed_is_marked_and_a_day_later_deleted() {
    let (bench, store, repository, committed) = snapshots(4);
    bench.pass(&store, 2 * DAY);
    let before = store.bytes(Area::Packs);
    bench.forget(&repository, &ids(&committed[..3])).unwrap();
    assert_eq!(store.names(Area::Snapshots).len(), 1);
    let first = bench.prune(&repository).unwrap();
    assert!(first.marked_packs > 0 && first.deleted_packs == 0, "{first:?}");
    let again = bench.prune(&repository).unwrap();
    assert_eq!(again, PruneStats::default(), "nothing is left to be done on the same day");
    bench.pass(&store, DAY - Duration::from_secs(1));
    assert_eq!(bench.prune(&repository).unwrap(), PruneStats::default());
    bench.pass(&store, HOUR);
    let second = bench.prune(&repository).unwrap();
    assert_eq!(second.deleted_packs, first.marked_packs);
    assert!(store.names(Area::Marks).is_empty());
    assert!(store.bytes(Area::Packs) < before - 2 * 300_000, "{} of {before}", store.bytes(Area::Packs));
    assert_eq!(waste(&bench, &repository), 0);
    check_snapshots(&bench, &repository, &[&committed[3]], "after the sweep");
    bench.assert_clean(&repository, "after the sweep");
    let next = bench.commit(&repository);
    check_snapshots(&bench, &repository, &[&committed[3], &next], "after the next run");
}

#[test]
fn a_plan_is_what_is_done_and_changes_nothing() {
    let (bench, store, repository, committed) = snapshots(3);
    bench.pass(&store, 2 * DAY);
    bench.forget(&repository, &ids(&committed[..2])).unwrap();
    for _ in 0..2 {
        let objects = |store: &MemoryStore| Area::ALL.map(|area| store.names(area));
        let before = objects(&store);
        let options = bench.prune_options();
        let plan = prune::plan(&repository, &options, &bench.clock, &Silent).unwrap();
        assert_eq!(objects(&store), before);
        let (deleted, marked, copied) = (plan.deleted, plan.marked, plan.copied_bytes);
        let requests = plan.requests;
        let counting = FaultStore::new(store.clone());
        let counted = bench.open(counting.clone()).unwrap();
        let start = counting.count() as usize;
        let stats = prune::apply(&counted, plan, &options, &bench.clock, &Silent).unwrap();
        assert_eq!((stats.deleted_packs, stats.deleted_bytes), (deleted.packs, deleted.bytes));
        assert_eq!(stats.marked_packs, marked.packs);
        assert_eq!(stats.copied_bytes > 0, copied > 0);
        let log = counting.log()[start..].to_vec();
        let count = |ops: &[Op]| log.iter().filter(|(op, _)| ops.contains(op)).count() as u64;
        assert_eq!(count(&[Op::Delete]), requests.deletes, "{log:?}");
        assert_eq!(count(&[Op::Put, Op::Finish]), requests.puts, "{log:?}");
        assert!(count(&[Op::Get, Op::GetRange]) <= requests.reads + 1, "{requests:?} {log:?}");
        bench.pass(&store, 2 * DAY);
    }
    check_snapshots(&bench, &repository, &[&committed[2]], "after both");
}

#[test]
fn packs_younger_than_a_day_and_those_of_unfinished_runs_are_left() {
    let (bench, store, repository, committed) = snapshots(2);
    bench.forget(&repository, &ids(&committed[..1])).unwrap();
    let stats = bench.prune(&repository).unwrap();
    assert_eq!(stats, PruneStats::default(), "all packs are young");

    // A run that died after it stored and indexed much.
    bench.pass(&store, 2 * DAY);
    bench.prune(&repository).unwrap();
    let before = packs(&store);
    std::fs::write(bench.source.join("much"), noise(77, 2_000_000)).unwrap();
    // Which packs segments fall into is random, and so is the number of operations: now and then the run gets through.
    let die = || {
        let number = operations_until_snapshot(&bench, &store);
        let dying = store.fork();
        let faulty = FaultStore::with_fault(dying.clone(), number, Fault::Abort);
        bench.back_up(&bench.open(faulty).unwrap()).is_err().then_some(dying)
    };
    let store = (0..20).find_map(|_| die()).expect("a run that dies");
    let repository = bench.open(store.clone()).unwrap();
    let left: BTreeSet<_> = packs(&store).difference(&before).copied().collect();
    assert!(!left.is_empty());
    for days in [1, 5, 7] {
        bench.pass(&store, days * DAY);
        bench.prune(&repository).unwrap();
        assert!(left.is_subset(&packs(&store)), "they can be used by a run that goes on");
    }
    // After two weeks nobody will.
    bench.pass(&store, 2 * DAY);
    bench.prune(&repository).unwrap();
    bench.pass(&store, 2 * DAY);
    bench.prune(&repository).unwrap();
    assert!(left.is_disjoint(&packs(&store)));
    assert_eq!(waste(&bench, &repository), 0);
    check_snapshots(&bench, &repository, &[&committed[1]], "in the end");
}

/// The number of the operation that puts the snapshot of the next run.
fn operations_until_snapshot(bench: &Bench, store: &MemoryStore) -> u64 {
    let counting = FaultStore::new(store.fork());
    let repository = bench.open(counting.clone()).unwrap();
    bench.back_up(&repository).unwrap();
    let at = counting.log().iter().position(|done| *done == (Op::Put, Some(Area::Snapshots))).unwrap();
    at as u64
}

/// What faults are tried on: snapshots forgotten, some packs marked and due, others to be copied out of and marked.
fn due() -> (Bench, MemoryStore, Vec<Committed>) {
    let (bench, store, repository, mut committed) = snapshots(5);
    bench.pass(&store, 2 * DAY);
    bench.forget(&repository, &ids(&committed[..2])).unwrap();
    assert!(bench.prune(&repository).unwrap().marked_packs > 0);
    // What is marked comes back to life: a snapshot that needs it was on its way while the mark was made.
    let marks: Vec<_> = store.names(Area::Marks);
    let hidden = store.fork();
    marks.iter().for_each(|mark| hidden.delete(mark).unwrap());
    change_tree(&bench.source, 1);
    std::fs::write(bench.source.join("each"), noise(5000, 300_000)).unwrap();
    let before: BTreeSet<_> = Area::ALL.iter().flat_map(|area| hidden.names(*area)).collect();
    bench.pass(&hidden, Duration::from_secs(60));
    let late = bench.commit(&bench.open(hidden.clone()).unwrap());
    store.set_time(bk::clock::Clock::wall(&bench.clock));
    for name in Area::ALL.iter().flat_map(|area| hidden.names(*area)).filter(|name| !before.contains(name)) {
        store.put_new(&name, &hidden.get(&name).unwrap()).unwrap();
    }
    bench.forget(&repository, &[committed[2].id]).unwrap();
    bench.pass(&store, 2 * DAY);
    let plan = prune::plan(&repository, &bench.prune_options(), &bench.clock, &Silent).unwrap();
    assert!(plan.deleted.packs > 0 && plan.marked.packs > 0 && plan.repacked.packs > 0, "{:?}", plan.repacked);
    assert!(plan.rescued.packs > 0, "a due mark names what is needed again");
    let mut kept: Vec<_> = committed.drain(3..).collect();
    kept.push(late);
    (bench, store, kept)
}

/// A prune that `fault` strikes at operation `number`, and all that must hold afterwards; `false` when it ended before.
fn pruned_with(bench: &Bench, store: &MemoryStore, kept: &[Committed], number: u64, fault: &Fault) -> bool {
    let store = store.fork();
    let faulty = FaultStore::with_fault(store.clone(), number, fault.clone());
    let result = bench.open(faulty.clone()).map(|repository| bench.prune(&repository));
    if !faulty.has_struck() {
        return false;
    }
    let what =
        format!("{fault:?} at operation {number} {:?}, {:?}", faulty.log()[number as usize], result.map(|r| r.is_ok()));
    let kept: Vec<_> = kept.iter().collect();
    let repository = bench.open(store.clone()).unwrap_or_else(|error| panic!("{what}: opening: {error}"));
    check_snapshots(bench, &repository, &kept, &what);
    if !matches!(fault, Fault::Torn) {
        bench.assert_clean(&repository, &what);
    }
    // The next runs succeed, and in the end nothing is left behind.
    bench.back_up(&repository).unwrap_or_else(|error| panic!("{what}: the next backup: {error}"));
    for _ in 0..3 {
        bench.pass(&store, 15 * DAY);
        bench.prune(&repository).unwrap_or_else(|error| panic!("{what}: the next prune: {error}"));
        bench.pass(&store, HOUR);
        bench.back_up(&repository).unwrap();
    }
    check_snapshots(bench, &repository, &kept, &format!("{what}: in the end"));
    bench.pass(&store, 2 * DAY);
    bench.prune(&repository).unwrap();
    assert!(waste(bench, &repository) == 0, "{what}: {} bytes are left behind", waste(bench, &repository));
    true
}

/// Calls [`pruned_with`] for every operation, or for every `step`th from a varying start on.
fn at_every_operation(fault: &Fault, step: u64) {
    let (bench, store, kept) = due();
    // The bench's clock goes on with every case; all of them begin where the first did.
    let (wall, boot) = (bk::clock::Clock::wall(&bench.clock), bk::clock::Clock::boottime(&bench.clock));
    let mut cases = 0;
    let mut number = 0;
    loop {
        bench.clock.set_wall(wall);
        bench.clock.set_boottime(boot);
        if !pruned_with(&bench, &store, &kept, number, fault) {
            break;
        }
        cases += 1;
        number += step;
        assert!(number < 3000);
    }
    println!("{cases} cases of {fault:?}");
    assert!(cases > 10);
}

/// Every operation by flag; in the everyday run every third, a different third for each fault.
fn step() -> u64 {
    if std::env::var_os("BK_TORTURE").is_some() { 1 } else { 3 }
}

#[test]
fn a_prune_that_dies_at_any_operation_loses_nothing_and_the_next_one_goes_on() {
    at_every_operation(&Fault::Abort, 1);
    at_every_operation(&Fault::AbortAfter, step());
}

#[test]
fn a_prune_in_which_any_operation_fails_or_any_answer_is_lost_loses_nothing() {
    at_every_operation(&Fault::FailBefore(ErrorKind::TimedOut), step());
    at_every_operation(&Fault::FailAfter(ErrorKind::TimedOut), step());
}

#[test]
fn a_prune_whose_objects_are_cut_short_in_silence_loses_nothing() {
    at_every_operation(&Fault::Torn, step());
}

#[test]
fn a_prune_on_a_disk_that_becomes_full_at_any_operation_loses_nothing() {
    at_every_operation(&Fault::FailBefore(ErrorKind::StorageFull), step());
}

#[test]
fn lists_that_lack_names_or_are_old_make_a_prune_stop_or_do_no_harm() {
    at_every_operation(&Fault::PartialList, 1);
    at_every_operation(&Fault::StaleList(1), 1);
}

#[test]
fn a_list_of_snapshots_with_a_gap_is_noticed_before_anything_is_deleted() {
    let (bench, store, kept) = due();
    // Every list of snapshots lacks one that the prune before has seen, always.
    let seen = Snapshots::load(&bench.open(store.clone()).unwrap()).unwrap();
    let hidden = seen.all.iter().find(|info| info.id == kept[0].id).unwrap().name;
    let gap = store.fork();
    let object = gap.get(&hidden).unwrap();
    gap.delete(&hidden).unwrap();
    let repository = bench.open(gap.clone()).unwrap();
    let before = packs(&gap);
    let error = bench.prune(&repository).unwrap_err();
    assert!(matches!(error, PruneError::Vanished(_)), "{error}");
    assert!(error.hint().contains("--ignore-damaged"), "{}", error.hint());
    assert_eq!(packs(&gap), before);
    gap.put_new(&hidden, &object).unwrap();
    check_snapshots(&bench, &repository, &kept.iter().collect::<Vec<_>>(), "put back");
    // Given up on purpose.
    gap.delete(&hidden).unwrap();
    let PruneError::Vanished(id) = error else { unreachable!() };
    let options = PruneOptions { ignore_damaged: vec![IdPrefix::new(&id.short()).unwrap()], ..bench.prune_options() };
    bench.prune_with(&repository, &options).unwrap();
}

#[test]
fn what_cannot_be_read_keeps_everything() {
    let (bench, store, kept) = due();
    let seen = Snapshots::load(&bench.open(store.clone()).unwrap()).unwrap();
    let seen = seen.all.iter().find(|info| info.id == kept[0].id).unwrap().name;
    let damage = |area: Area| {
        let store = store.fork();
        let name = if area == Area::Snapshots { seen } else { store.names(area)[0] };
        store.change(&name, |bytes| bytes[80] ^= 1);
        let repository = bench.open(store.clone()).unwrap();
        let before = packs(&store);
        let error = bench.prune(&repository).unwrap_err();
        assert_eq!(packs(&store), before, "{error}");
        (store, repository, name, error)
    };
    let (_, repository, name, error) = damage(Area::Snapshots);
    assert!(matches!(error, PruneError::DamagedSnapshot { .. }), "{error}");
    let hash = name.file_name();
    let options = PruneOptions { ignore_damaged: vec![IdPrefix::new(&hash[..12]).unwrap()], ..bench.prune_options() };
    // Its id is among those that the mark saw; it has to be given up by that name too.
    let error = bench.prune_with(&repository, &options).unwrap_err();
    let PruneError::Vanished(id) = error else { panic!("{error}") };
    let both = vec![IdPrefix::new(&hash[..12]).unwrap(), IdPrefix::new(&id.short()).unwrap()];
    bench.prune_with(&repository, &PruneOptions { ignore_damaged: both, ..bench.prune_options() }).unwrap();
    let (_, _, _, error) = damage(Area::Index);
    assert!(matches!(error, PruneError::DamagedIndex { .. }), "{error}");
    let (_, _, _, error) = damage(Area::Marks);
    assert!(error.to_string().contains("marks/"), "{error}");
    let (_, repository, _, _) = damage(Area::Snapshots);
    drop(repository);
    check_snapshots(&bench, &bench.open(store).unwrap(), &kept.iter().collect::<Vec<_>>(), "untouched");
}

#[test]
fn a_missing_blob_means_that_nothing_is_deleted() {
    let (bench, store, kept) = due();
    let repository = bench.open(store.clone()).unwrap();
    let marked: BTreeSet<_> = store
        .names(Area::Marks)
        .iter()
        .flat_map(|name| Mark::decode(&repository.read_object(Kind::Mark, name).unwrap()).unwrap().packs)
        .collect();
    let mut refused = 0;
    for pack in packs(&store).difference(&marked) {
        for cut in [false, true] {
            let store = store.fork();
            if cut {
                store.change(&ObjectName::Pack(*pack), |bytes| bytes.truncate(bytes.len() - 1));
            } else {
                store.delete(&ObjectName::Pack(*pack)).unwrap();
            }
            let repository = bench.open(store.clone()).unwrap();
            let before = packs(&store);
            match bench.prune(&repository) {
                Err(PruneError::Missing { .. } | PruneError::Unreadable { .. }) => {
                    assert_eq!(packs(&store), before);
                    refused += 1;
                }
                Err(error) => panic!("{error}"),
                // Nothing in it was needed.
                Ok(_) => check_snapshots(&bench, &repository, &kept.iter().collect::<Vec<_>>(), "without it"),
            }
        }
    }
    assert!(refused > 4, "{refused}");
}

#[test]
fn at_once_means_at_once_and_only_alone() {
    let (bench, store, kept) = due();
    let repository = bench.open(store.clone()).unwrap();
    let options = PruneOptions { others: Others::None, ..bench.prune_options() };
    // Somebody else puts a snapshot meanwhile.
    let fork = store.fork();
    let faulty = FaultStore::new(fork.clone());
    let watched = bench.open(faulty.clone()).unwrap();
    let other = bench.open(fork.clone()).unwrap();
    let plan = prune::plan(&watched, &options, &bench.clock, &Silent).unwrap();
    bench.commit(&other);
    let before = packs(&fork);
    let error = prune::apply(&watched, plan, &options, &bench.clock, &Silent).unwrap_err();
    assert!(matches!(error, PruneError::Unsteady), "{error}");
    assert!(before.is_subset(&packs(&fork)));

    let stats = bench.prune_with(&repository, &options).unwrap();
    assert!(stats.deleted_packs > 0 && stats.marked_packs == 0);
    assert!(store.names(Area::Marks).is_empty());
    assert_eq!(waste(&bench, &repository), 0);
    check_snapshots(&bench, &repository, &kept.iter().collect::<Vec<_>>(), "at once");
    bench.assert_clean(&repository, "at once");
}

/// Fails every put with a full disk; deletes and reads work.
fn full(store: &MemoryStore) -> FaultStore<MemoryStore> {
    let mut faulty = FaultStore::new(store.clone());
    for at in 0..5000 {
        faulty = faulty.and_fault(at, Fault::NoRoom);
    }
    faulty
}

#[test]
fn with_no_byte_free_what_is_due_is_deleted_all_the_same() {
    let (bench, store, kept) = due();
    // The due mark names something that is needed again: without room to copy it, it stays, and its mark too.
    let stats = bench.prune(&bench.open(full(&store)).unwrap()).unwrap();
    assert!(stats.without_room && stats.deleted_packs > 0, "{stats:?}");
    assert_eq!(store.names(Area::Marks).len(), 1);
    let repository = bench.open(store.clone()).unwrap();
    check_snapshots(&bench, &repository, &kept.iter().collect::<Vec<_>>(), "on a full disk");
    // With nothing to delete, a full disk is an error.
    let error = bench.prune(&bench.open(full(&store)).unwrap()).unwrap_err();
    assert!(matches!(error, PruneError::Repository(RepositoryError::Store(StoreError::Full { .. }))), "{error}");
    // A mark of nothing but waste.
    let (bench, store, repository, committed) = snapshots(3);
    bench.pass(&store, 2 * DAY);
    bench.forget(&repository, &ids(&committed[..2])).unwrap();
    let options = PruneOptions { max_unused: Waste::Unlimited, ..bench.prune_options() };
    bench.prune_with(&repository, &options).unwrap();
    bench.pass(&store, 2 * DAY);
    let repository = bench.open(full(&store)).unwrap();
    let stats = bench.prune_with(&repository, &options).unwrap();
    assert!(stats.deleted_packs > 0, "{stats:?}");
    assert!(store.names(Area::Marks).is_empty());
    let repository = bench.open(store.clone()).unwrap();
    check_snapshots(&bench, &repository, &[&committed[2]], "on a full disk");
    bench.assert_clean(&repository, "on a full disk");
    bench.prune_with(&repository, &options).unwrap();
}

#[test]
fn strange_backups_pause_a_prune_until_somebody_accepts_them() {
    let (bench, store, repository, committed) = snapshots(2);
    for number in 0..40 {
        std::fs::write(bench.source.join(format!("file-{number}")), noise(number, 30_000)).unwrap();
    }
    bench.pass(&store, HOUR);
    bench.commit(&repository);
    for number in 0..40 {
        std::fs::write(bench.source.join(format!("file-{number}")), noise(1000 + number, 30_000)).unwrap();
    }
    bench.pass(&store, HOUR);
    let stats = bench.back_up(&repository).unwrap();
    assert!(stats.anomalies[0].ends_with("of the files changed since the run before"), "{:?}", stats.anomalies);
    bench.forget(&repository, &ids(&committed)).unwrap();
    bench.pass(&store, 2 * DAY);
    let error = bench.prune(&repository).unwrap_err();
    let id = stats.snapshot.unwrap().id;
    assert!(matches!(&error, PruneError::Paused { snapshot, .. } if *snapshot == id), "{error}");
    assert!(error.hint().contains(&format!("bk accept {}", id.short())), "{}", error.hint());
    let despite = PruneOptions { despite_anomalies: true, ..bench.prune_options() };
    prune::plan(&repository, &despite, &bench.clock, &Silent).unwrap();
    let accepted = Fact {
        kind: FactKind::AnomalyAcknowledged,
        time: Timestamp::default(),
        host: "host".into(),
        snapshot: Some(id),
        pack: None,
        detail: None,
    };
    repository.write_object(Kind::Facts, &fact::encode(&[accepted])).unwrap();
    assert!(bench.prune(&repository).unwrap().marked_packs > 0);
}

/// Every entry of every index object: blob, pack, place in it.
fn entries(repository: &Repository, store: &MemoryStore) -> BTreeMap<(PackName, BlobId, u32), u64> {
    let mut all = BTreeMap::new();
    for name in store.names(Area::Index) {
        let file = IndexFile::decode(&repository.read_object(Kind::Index, &name).unwrap()).unwrap();
        for pack in file.packs {
            let mut offset = 0;
            for (number, segment) in (0..).zip(&pack.segments) {
                for (id, length) in &segment.blobs {
                    all.insert((pack.name, *id, number * 100_000 + offset % 100_000), u64::from(*length));
                    offset += length;
                }
            }
        }
    }
    all
}

#[test]
fn joining_index_objects_keeps_the_union_of_their_entries() {
    let (bench, store, repository, _) = snapshots(6);
    let catalog = Catalog::load(&repository, &Default::default()).unwrap();
    let before = entries(&repository, &store);
    for seed in 0..40_u64 {
        let store = store.fork();
        let repository = bench.open(store.clone()).unwrap();
        let bits = u64::from_le_bytes(noise(seed, 8).try_into().unwrap());
        let objects: Vec<_> = catalog
            .objects
            .iter()
            .enumerate()
            .filter(|(at, _)| bits >> at & 1 == 1)
            .map(|(_, object)| object)
            .collect();
        let packs = packs(&store);
        let without =
            packs.iter().enumerate().filter(|(at, _)| bits >> (20 + at) & 3 == 3).map(|(_, pack)| *pack).collect();
        bk::repository::replace_index(&repository, &catalog.index, &objects, &without, RunId([0; 16]), &bench.clock)
            .unwrap();
        let described: BTreeSet<_> = objects
            .iter()
            .flat_map(|object| &object.packs)
            .map(|pack| catalog.index.described(*pack).unwrap().name)
            .collect();
        let dropped = |pack: &PackName| without.contains(pack) && described.contains(pack);
        let expected: BTreeMap<_, _> =
            before.iter().filter(|((pack, ..), _)| !dropped(pack)).map(|(k, v)| (*k, *v)).collect();
        assert_eq!(entries(&repository, &store), expected, "seed {seed}");
    }
}

#[test]
fn many_small_packs_index_objects_and_facts_are_joined() {
    let bench = Bench::new();
    let store = MemoryStore::new();
    store.set_time(bk::clock::Clock::wall(&bench.clock));
    let repository = bench.create(store.clone()).unwrap();
    let mut last = None;
    for day in 0..40 {
        bench.pass(&store, DAY);
        std::fs::write(bench.source.join(format!("day-{day}")), noise(day, 2000)).unwrap();
        last = Some(bench.commit(&repository));
        let id = last.as_ref().unwrap().id;
        repository
            .write_object(
                Kind::Facts,
                &fact::encode(&[Fact {
                    kind: FactKind::Verified,
                    time: Timestamp::default(),
                    host: "host".into(),
                    snapshot: Some(id),
                    pack: None,
                    detail: None,
                }]),
            )
            .unwrap();
    }
    assert!(packs(&store).len() >= 80);
    bench.pass(&store, 2 * DAY);
    let default = PruneOptions { max_unused: Waste::Share(0.05), ..bench.prune_options() };
    bench.prune_with(&repository, &default).unwrap();
    bench.pass(&store, 2 * DAY);
    bench.prune_with(&repository, &default).unwrap();
    assert!(packs(&store).len() <= 4, "{}", packs(&store).len());
    assert!(store.names(Area::Index).len() <= 3, "{}", store.names(Area::Index).len());
    assert_eq!(store.names(Area::Facts).len(), 1);
    let snapshots = Snapshots::load(&repository).unwrap();
    assert!(snapshots.all.iter().all(|info| snapshots.facts.verified(&info.id).is_some()));
    check_snapshots(&bench, &repository, &[&last.unwrap()], "joined");
    bench.assert_clean(&repository, "joined");
}

#[test]
fn a_reader_whose_packs_are_moved_meanwhile_finds_them_again() {
    let (bench, store, kept) = due();
    let repository = bench.open(store.clone()).unwrap();
    let index = Index::load(&repository, Purpose::Read, &bench.clock).unwrap();
    bench.prune(&repository).unwrap();
    bench.pass(&store, 2 * DAY);
    bench.prune(&repository).unwrap();
    let snapshots = Snapshots::load(&repository).unwrap();
    for committed in &kept {
        let info = snapshots.all.iter().find(|info| info.id == committed.id).unwrap();
        support::walk(&repository, &index, info).unwrap();
    }
}

#[test]
fn no_more_is_copied_and_no_more_waste_is_left_than_was_said() {
    let (bench, store, repository, committed) = snapshots(6);
    bench.pass(&store, 2 * DAY);
    bench.forget(&repository, &ids(&committed[..5])).unwrap();
    let plan = |max_unused, max_repack_bytes| {
        let options = PruneOptions { max_unused, max_repack_bytes, ..bench.prune_options() };
        prune::plan(&repository, &options, &bench.clock, &Silent).unwrap()
    };
    let all = plan(Waste::Bytes(0), None);
    assert!(all.copied_bytes > 1000 && all.kept_unused_bytes == 0);
    let some = plan(Waste::Bytes(0), Some(all.copied_bytes - 1));
    assert!(some.copied_bytes < all.copied_bytes && some.kept_unused_bytes > 0);
    assert_eq!(plan(Waste::Bytes(0), Some(0)).copied_bytes, 0);
    let nothing = plan(Waste::Unlimited, None);
    assert!(nothing.copied_bytes == 0 && nothing.kept_unused_bytes > 0);
    let half = plan(Waste::Bytes(nothing.kept_unused_bytes / 2), None);
    assert!(half.kept_unused_bytes <= nothing.kept_unused_bytes / 2 && half.copied_bytes <= all.copied_bytes);
}
