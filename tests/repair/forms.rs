//! Each form on its own.

use std::time::{Duration, Instant};

use bk::format::Kind;
use bk::format::fact::{self, Fact, FactKind};
use bk::format::mark::Mark;
use bk::format::snapshot::Outcome;
use bk::id::{IdPrefix, RunId};
use bk::operation::repair::index::Extent;
use bk::operation::repair::{Loss, RepairError, index, packs, quarantine, snapshots};
use bk::repository::{RepositoryError, Snapshots};
use bk::retention::Pin;
use bk::store::{Area, LocalStore, ObjectName, Store};

use super::support::tree::{change_tree, noise, small_tree};
use super::support::{Bench, MemoryStore};
use super::{
    all_bytes, check_all, contents, map, repair, repair_index, repair_packs, repair_snapshots, restorable, sibling,
    tools,
};
use bk::repository::Repository;

/// Three snapshots of a tree that changes.
struct Three {
    bench: Bench,
    store: MemoryStore,
    repository: Repository,
    committed: Vec<super::support::run::Committed>,
}

fn three() -> Three {
    let bench = Bench::new();
    small_tree(&bench.source);
    let store = MemoryStore::new();
    let repository = bench.create(store.clone()).unwrap();
    let mut committed = vec![bench.commit(&repository)];
    for version in 1..3 {
        change_tree(&bench.source, version);
        committed.push(bench.commit(&repository));
    }
    Three { bench, store, repository, committed }
}

fn flip(store: &MemoryStore, name: &ObjectName, at: usize) {
    store.change(name, |bytes| bytes[at] ^= 1);
}

#[test]
fn nothing_at_all_is_written_into_a_healthy_repository() {
    let Three { bench, store, repository, .. } = three();
    let (_, other) = sibling(&bench, &repository);
    let siblings = [other];
    let before = all_bytes(&store);
    let tools = tools(&bench);
    assert!(index::plan(&repository, Extent::Missing, &tools).unwrap().is_empty());
    assert!(packs::plan(&repository, &[], &siblings, &tools).unwrap().is_empty());
    assert!(snapshots::plan(&repository, &siblings, &tools).unwrap().is_empty());
    repair(&bench, &repository, &siblings).unwrap();
    assert!(all_bytes(&store) == before);
}

#[test]
fn an_index_made_again_from_the_packs_is_the_same_map() {
    let Three { bench, store, repository, committed } = three();
    let before = map(&repository, &bench);
    for name in store.names(Area::Index) {
        store.delete(&name).unwrap();
    }
    assert!(map(&repository, &bench).is_empty());
    let start = Instant::now();
    let stats = repair_index(&bench, &repository, Extent::Missing).unwrap();
    println!("{} packs indexed in {:?}", stats.packs, start.elapsed());
    assert_eq!(map(&repository, &bench), before);
    bench.assert_clean(&repository, "after the index was made again");
    // All of it once more, from what can be read: the old objects are in quarantine, and the map is the same.
    // What a run without a snapshot has written less than two weeks ago is left to it.
    assert!(index::plan(&repository, Extent::Everything, &tools(&bench)).unwrap().is_empty());
    bench.clock.advance(Duration::from_secs(15 * 86_400));
    let objects = store.names(Area::Index);
    let stats = repair_index(&bench, &repository, Extent::Everything).unwrap();
    assert_eq!(stats.taken_out, objects.len() as u64);
    assert!(store.names(Area::Index).iter().all(|name| !objects.contains(name)));
    assert_eq!(map(&repository, &bench), before);
    assert_eq!(quarantine::list(&repository).unwrap().len(), objects.len());
    super::support::check_snapshots(&bench, &repository, &committed.iter().collect::<Vec<_>>(), "rebuilt");
}

#[test]
fn what_the_index_says_of_packs_that_are_gone_stays_when_all_of_it_is_made_again() {
    let Three { bench, store, repository, .. } = three();
    let before = map(&repository, &bench);
    let gone = store.names(Area::Packs)[0];
    store.delete(&gone).unwrap();
    let plan = index::plan(&repository, Extent::Everything, &tools(&bench)).unwrap();
    assert_eq!(plan.gone, 1);
    index::apply(&repository, plan, &tools(&bench)).unwrap();
    assert_eq!(map(&repository, &bench), before);
}

#[test]
fn a_damaged_index_object_goes_to_quarantine_after_what_it_said_is_indexed_again() {
    let Three { bench, store, repository, .. } = three();
    let before = map(&repository, &bench);
    let name = store.names(Area::Index)[0];
    flip(&store, &name, 60);
    let damaged = store.get(&name).unwrap();
    let stats = repair_index(&bench, &repository, Extent::Missing).unwrap();
    assert_eq!((stats.taken_out, stats.new_objects), (1, 1));
    assert_eq!(map(&repository, &bench), before);
    bench.assert_clean(&repository, "after the index was repaired");
    let held = quarantine::list(&repository).unwrap();
    assert_eq!((held.len(), held[0].original, held[0].size), (1, name, damaged.len() as u64));
    assert!(held[0].reason.as_ref().unwrap().contains("do not match its name"), "{held:?}");
    // Back again, it is as damaged as it was.
    quarantine::put_back(&repository, quarantine::find(&held, &name.to_string()).unwrap()).unwrap();
    assert!(store.get(&name).unwrap() == damaged);
    assert!(quarantine::list(&repository).unwrap().is_empty() && store.names(Area::Quarantine).is_empty());
}

#[test]
fn a_marked_pack_is_indexed_only_when_no_other_holds_what_it_does() {
    let Three { bench, store, repository, .. } = three();
    let packs: Vec<_> = store.names(Area::Packs);
    let ObjectName::Pack(first) = packs[0] else { unreachable!() };
    for name in store.names(Area::Index) {
        store.delete(&name).unwrap();
    }
    let mark = Mark { time: Default::default(), packs: vec![first], run: RunId([7; 16]), snapshots: Vec::new() };
    repository.write_object(Kind::Mark, &mark.encode()).unwrap();
    let plan = index::plan(&repository, Extent::Missing, &tools(&bench)).unwrap();
    assert_eq!((plan.packs.len(), plan.left_marked), (packs.len(), 0));
    // With a copy of it under another name it can go as the prune wants.
    let copy = bk::format::index_file::PackName { nonce: [9; 8], ..first };
    let bytes = store.get(&packs[0]).unwrap();
    store.put_new(&ObjectName::Pack(copy), &bytes).unwrap();
    let plan = index::plan(&repository, Extent::Missing, &tools(&bench)).unwrap();
    assert_eq!((plan.packs.len(), plan.left_marked), (packs.len(), 1));
    assert!(plan.packs.iter().all(|(name, _)| *name != first));
}

#[test]
fn a_damaged_mark_stops_every_form_before_anything_is_changed() {
    let Three { bench, store, repository, .. } = three();
    let mark = Mark { time: Default::default(), packs: Vec::new(), run: RunId([7; 16]), snapshots: Vec::new() };
    let (name, _) = repository.write_object(Kind::Mark, &mark.encode()).unwrap();
    flip(&store, &name, 60);
    let before = all_bytes(&store);
    let refused = [
        repair_index(&bench, &repository, Extent::Everything).map(drop),
        repair_packs(&bench, &repository, &[]).map(drop),
        repair_snapshots(&bench, &repository, &[]).map(drop),
    ];
    for refused in refused {
        let error = refused.unwrap_err();
        assert!(matches!(error, RepairError::DamagedMark { .. }), "{error}");
        assert!(error.hint().contains("three days"));
    }
    assert!(all_bytes(&store) == before);
}

#[test]
fn any_single_pack_that_is_lost_is_stored_anew_by_the_next_backup_of_the_same_source() {
    let Three { bench, store, .. } = three();
    for name in store.names(Area::Packs) {
        for is_gone in [true, false] {
            let store = store.fork();
            let repository = bench.open(store.clone()).unwrap();
            if is_gone {
                store.delete(&name).unwrap();
            } else {
                flip(&store, &name, 100);
            }
            let repaired = repair_packs(&bench, &repository, &[]).unwrap();
            assert_eq!(repaired.taken_out, u64::from(!is_gone));
            let newest = bench.commit(&repository);
            assert!(bench.differences(&repository, newest.id, &newest.copy).is_empty(), "{name}");
            repair_snapshots(&bench, &repository, &[]).unwrap();
            bench.assert_clean(&repository, &format!("{name} was lost: {is_gone}"));
        }
    }
}

#[test]
fn a_damaged_pack_comes_whole_from_a_sibling() {
    let Three { bench, store, repository, committed } = three();
    let (_, other) = sibling(&bench, &repository);
    let siblings = [other];
    for (number, name) in store.names(Area::Packs).into_iter().enumerate() {
        let store = store.fork();
        let repository = bench.open(store.clone()).unwrap();
        let size = store.stat(&name).unwrap().unwrap() as usize;
        match number % 4 {
            0 => store.delete(&name).unwrap(),
            1 => store.change(&name, |bytes| bytes.truncate(size / 2)),
            2 => store.change(&name, Vec::clear),
            // Nothing of the table can be read, nor of the segments.
            _ => store.change(&name, |bytes| bytes.fill(0)),
        }
        let stats = repair_packs(&bench, &repository, &siblings).unwrap();
        assert_eq!((stats.whole_packs, stats.new_packs, stats.affected.len()), (1, 1, 0), "{name}");
        bench.assert_clean(&repository, "after the pack came from the sibling");
        let ObjectName::Pack(pack) = name else { unreachable!() };
        let ids = store.names(Area::Packs).into_iter().filter(|name| *name.hash() == pack.id.0);
        assert_eq!(ids.count(), 1);
        super::support::check_snapshots(&bench, &repository, &committed.iter().collect::<Vec<_>>(), "from the sibling");
    }
}

#[test]
fn what_is_still_whole_in_a_damaged_pack_is_stored_anew_and_the_rest_is_named() {
    let bench = Bench::new();
    for at in 0..6 {
        std::fs::write(bench.source.join(format!("file-{at}")), noise(at, 700_000)).unwrap();
    }
    let store = MemoryStore::new();
    let repository = bench.create(store.clone()).unwrap();
    let committed = bench.commit(&repository);
    let recorded = contents(&committed.copy);
    let largest = store.names(Area::Packs).into_iter().max_by_key(|name| store.stat(name).unwrap()).unwrap();
    flip(&store, &largest, 100);
    let before = restorable(&bench, &repository, committed.id, &recorded);
    assert!((1..6).contains(&before.len()), "{before:?}");
    let ObjectName::Pack(pack) = largest else { unreachable!() };
    let prefix = IdPrefix::new(&pack.id.short()).unwrap();
    let plan = packs::plan(&repository, &[prefix], &[], &tools(&bench)).unwrap();
    assert_eq!((plan.cases.len(), plan.read_packs, plan.affected.len()), (1, 1, 1));
    assert!(plan.cases[0].salvaged >= before.len() as u64 && plan.cases[0].lost > 0, "{:?}", plan.cases);
    let stats = packs::apply(&repository, &plan, &[], &tools(&bench)).unwrap();
    assert_eq!(stats.affected, plan.affected);
    assert_eq!(stats.affected[0].lost.len(), 6 - before.len());
    assert!(stats.affected[0].lost.iter().all(|lost| lost.loss == Loss::Content));
    assert_eq!(restorable(&bench, &repository, committed.id, &recorded), before);
    // The machine still has all of it; no file has changed since.
    bench.commit(&repository);
    bench.assert_clean(&repository, "after the next backup");
    assert_eq!(restorable(&bench, &repository, committed.id, &recorded).len(), 6);
}

#[test]
fn a_name_that_no_pack_has_is_refused() {
    let Three { bench, repository, .. } = three();
    let prefix = IdPrefix::new("0123456789abcdef").unwrap();
    let refused = packs::plan(&repository, &[prefix], &[], &tools(&bench));
    assert!(matches!(refused, Err(RepairError::NoSuch { .. })));
}

#[test]
fn two_packs_in_each_others_place_lose_nothing() {
    let Three { bench, store, repository, committed } = three();
    let names = store.names(Area::Packs);
    let [one, other] = [store.get(&names[0]).unwrap(), store.get(&names[1]).unwrap()];
    store.change(&names[0], |bytes| bytes.clone_from(&other));
    store.change(&names[1], |bytes| bytes.clone_from(&one));
    let stats = repair_packs(&bench, &repository, &[]).unwrap();
    assert_eq!((stats.taken_out, stats.affected.len()), (2, 0));
    bench.assert_clean(&repository, "after the swap");
    super::support::check_snapshots(&bench, &repository, &committed.iter().collect::<Vec<_>>(), "after the swap");
}

#[test]
fn packs_and_snapshots_are_not_touched_before_the_index_is_right() {
    let Three { bench, store, repository, .. } = three();
    let name = store.names(Area::Index)[0];
    let bytes = store.get(&name).unwrap();
    flip(&store, &name, 60);
    assert!(matches!(repair_packs(&bench, &repository, &[]), Err(RepairError::IndexFirst(_))));
    assert!(matches!(repair_snapshots(&bench, &repository, &[]), Err(RepairError::IndexFirst(_))));
    store.delete(&name).unwrap();
    let before = all_bytes(&store);
    assert!(matches!(repair_packs(&bench, &repository, &[]), Err(RepairError::IndexFirst(_))));
    assert!(matches!(repair_snapshots(&bench, &repository, &[]), Err(RepairError::IndexFirst(_))));
    assert!(all_bytes(&store) == before);
    store.put_new(&name, &bytes).unwrap();
    let (_, other) = sibling(&bench, &repository);
    let pack = store.names(Area::Packs)[0];
    store.delete(&pack).unwrap();
    assert!(matches!(repair_snapshots(&bench, &repository, &[other]), Err(RepairError::PacksFirst { .. })));
}

#[test]
fn a_snapshot_that_lost_something_is_replaced_by_all_that_is_left_of_it_with_its_pin() {
    let Three { bench, store, repository, committed } = three();
    let recorded: Vec<_> = committed.iter().map(|one| contents(&one.copy)).collect();
    let pin = Fact {
        kind: FactKind::Pinned,
        time: Default::default(),
        host: "host".into(),
        snapshot: Some(committed[0].id),
        pack: None,
        detail: None,
    };
    repository.write_object(Kind::Facts, &fact::encode(&[pin])).unwrap();
    // The data of the second backup: the others need some of it, too.
    let before = map(&repository, &bench);
    for lost in before.values() {
        let store = store.fork();
        let repository = bench.open(store.clone()).unwrap();
        store.delete(&ObjectName::Pack(lost.name)).unwrap();
        let could: Vec<_> =
            committed.iter().zip(&recorded).map(|(one, all)| restorable(&bench, &repository, one.id, all)).collect();
        let stats = repair_snapshots(&bench, &repository, &[]).unwrap();
        assert!(!stats.replaced.is_empty());
        bench.assert_clean(&repository, "after snapshots were replaced");
        let after = Snapshots::load(&repository).unwrap();
        for (old, new) in &stats.replaced {
            let at = committed.iter().position(|one| one.id == *old).unwrap();
            let Some(new) = new else {
                assert!(could[at].is_empty());
                continue;
            };
            assert!(restorable(&bench, &repository, *new, &recorded[at]).is_superset(&could[at]));
            let info = after.all.iter().find(|info| info.id == *new).unwrap();
            assert_eq!(info.snapshot.outcome, Outcome::Incomplete);
            assert!(info.snapshot.problems.iter().all(|problem| problem.kind == "lost"));
            assert!(info.snapshot.description.as_ref().unwrap().contains(&old.short()));
            assert_eq!(after.facts.pin(new) == Pin::Forever, *old == committed[0].id);
            assert!(after.facts.is_set_aside(old) && !after.all.iter().any(|info| info.id == *old));
        }
        // Once more there is nothing to do, and a prune is not held up.
        assert!(snapshots::plan(&repository, &[], &tools(&bench)).unwrap().is_empty());
        bench.clock.advance(Duration::from_secs(3 * 86_400));
        bench.prune(&repository).unwrap();
        bench.assert_clean(&repository, "after the prune");
        // Put back, the old one is there again and wants what it wanted.
        let held = quarantine::list(&repository).unwrap();
        held.iter().for_each(|one| quarantine::put_back(&repository, one).unwrap());
        let again = Snapshots::load(&repository).unwrap();
        assert!(stats.replaced.iter().all(|(old, _)| again.all.iter().any(|info| info.id == *old)));
    }
}

#[test]
fn a_prune_that_has_seen_a_snapshot_goes_on_after_it_was_replaced() {
    let Three { bench, store, repository, .. } = three();
    let (first, last) = (store.names(Area::Snapshots)[0], store.names(Area::Packs)[0]);
    let seen = Snapshots::load(&repository).unwrap().all.iter().map(|info| info.id).collect();
    let mark = Mark { time: Default::default(), packs: Vec::new(), run: RunId([7; 16]), snapshots: seen };
    repository.write_object(Kind::Mark, &mark.encode()).unwrap();
    store.delete(&last).unwrap();
    flip(&store, &first, 60);
    repair_snapshots(&bench, &repository, &[]).unwrap();
    bench.clock.advance(Duration::from_secs(4 * 86_400));
    bench.prune(&repository).unwrap();
    bench.assert_clean(&repository, "after the prune");
}

#[test]
fn a_damaged_snapshot_comes_back_from_a_sibling_with_its_id() {
    let Three { bench, store, repository, committed } = three();
    let (_, other) = sibling(&bench, &repository);
    let siblings = [other];
    for name in store.names(Area::Snapshots) {
        flip(&store, &name, 60);
    }
    let stats = repair_snapshots(&bench, &repository, &siblings).unwrap();
    assert_eq!((stats.returned.len(), stats.taken_out), (3, 3));
    bench.assert_clean(&repository, "after they came back");
    super::support::check_snapshots(&bench, &repository, &committed.iter().collect::<Vec<_>>(), "after they came back");
}

#[test]
fn damaged_facts_are_taken_out_and_damaged_keys_are_left_to_people() {
    let Three { bench, store, repository, committed } = three();
    let fact = |kind| Fact {
        kind,
        time: Default::default(),
        host: "host".into(),
        snapshot: Some(committed[0].id),
        pack: None,
        detail: None,
    };
    let (name, _) = repository.write_object(Kind::Facts, &fact::encode(&[fact(FactKind::Pinned)])).unwrap();
    flip(&store, &name, 60);
    let (slot, config) = (store.names(Area::Keys)[0], store.names(Area::Config)[0]);
    flip(&store, &slot, 60);
    flip(&store, &config, 60);
    let plan = snapshots::plan(&repository, &[], &tools(&bench)).unwrap();
    assert_eq!((plan.facts.len(), plan.for_you.len()), (1, 2));
    assert!(plan.for_you.iter().any(|one| one.damaged.name == slot.to_string() && one.hint.contains("bk key add")));
    assert!(plan.for_you.iter().any(|one| one.damaged.name == config.to_string() && one.hint.contains("put it back")));
    let stats = snapshots::apply(&repository, &plan, &[], &tools(&bench)).unwrap();
    assert_eq!(stats.taken_out, 1);
    assert_eq!(store.names(Area::Keys), [slot]);
    assert!(!store.names(Area::Facts).contains(&name));
}

#[test]
fn an_object_of_another_repository_is_taken_out_of_every_area() {
    let Three { bench, store, repository, .. } = three();
    let stranger = three();
    for area in [Area::Packs, Area::Index, Area::Snapshots] {
        let name = stranger.store.names(area)[0];
        store.put_new(&name, &stranger.store.get(&name).unwrap()).unwrap();
    }
    repair(&bench, &repository, &[]).unwrap();
    bench.assert_clean(&repository, "after the strangers were taken out");
    assert_eq!(quarantine::list(&repository).unwrap().len(), 3);
}

#[test]
fn quarantine_in_a_folder_is_a_rename_that_readers_do_not_see_and_is_deleted_only_when_it_is_old() {
    let bench = Bench::new();
    small_tree(&bench.source);
    let path = bench.folder.path().join("repository");
    let repository = bench.create(LocalStore::create(&path).unwrap()).unwrap();
    let committed = bench.commit(&repository);
    assert!(!path.join("quarantine").exists());
    let store = LocalStore::open(&path).unwrap();
    let name = store.list(Area::Index).unwrap()[0].name;
    let file = path.join(name.to_string());
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[60] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    repair_index(&bench, &repository, Extent::Missing).unwrap();
    let held = quarantine::list(&repository).unwrap();
    let there = path.join(ObjectName::Quarantined(held[0].name).to_string());
    assert!(!file.exists() && std::fs::read(&there).unwrap() == bytes);
    let note = std::fs::read_to_string(there.with_extension("note"))
        .unwrap_or_else(|_| std::fs::read_to_string(format!("{}.note", there.display())).unwrap());
    assert!(note.contains(&name.to_string()) && note.contains("reason: "), "{note}");
    bench.assert_clean(&repository, "with something in quarantine");
    assert!(bench.differences(&repository, committed.id, &committed.copy).is_empty());
    assert_eq!(check_all(&repository).notes, Vec::<String>::new());
    let error = quarantine::find(&held, "0123456789").unwrap_err();
    assert!(matches!(error, RepairError::NoSuch { .. }), "{error}");
    assert_eq!(quarantine::find(&held, &quarantine::short(&held[0])).unwrap(), &held[0]);
    quarantine::remove(&repository, &held, &tools(&bench)).unwrap();
    assert_eq!(std::fs::read_dir(path.join("quarantine")).unwrap().count(), 0);
}

#[test]
fn a_repair_that_is_interrupted_ends_and_has_changed_nothing_that_is_needed() {
    let Three { bench, store, repository, .. } = three();
    flip(&store, &store.names(Area::Packs)[0], 100);
    let before = all_bytes(&store);
    let interrupted = std::sync::atomic::AtomicBool::new(true);
    let tools = bk::operation::repair::Tools { interrupted: &interrupted, ..tools(&bench) };
    let stopped = packs::plan(&repository, &[], &[], &tools).map(drop);
    assert!(matches!(stopped, Err(RepairError::Repository(RepositoryError::Interrupted))));
    assert!(all_bytes(&store) == before);
}
