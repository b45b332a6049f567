//! Repair never removes what can be restored: whatever is damaged, every file that could be restored before can be
//! afterwards, nothing is left that `check` complains of, and what was taken out can be put back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod beside;
mod faults;
mod forms;
#[path = "../support/mod.rs"]
mod support;
mod torture;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bk::format::index_file::{IndexedPack, PackName};
use bk::id::SnapshotId;
use bk::operation::check::{CheckOptions, CheckReport, ReadData, check};
use bk::operation::copy::{CopyStats, copy};
use bk::operation::repair::index::{Extent, IndexStats};
use bk::operation::repair::packs::PacksStats;
use bk::operation::repair::snapshots::SnapshotsStats;
use bk::operation::repair::{RepairError, Sibling, Tools, index, packs, snapshots};
use bk::progress::Silent;
use bk::repository::{Index, Purpose, Repository, Snapshots};
use bk::store::{Area, ObjectName, Store};
use support::run::{RUNNING, restore_to};
use support::{Bench, MemoryStore};

/// What a repair works with.
fn tools(bench: &Bench) -> Tools<'_> {
    Tools { clock: &bench.clock, progress: &Silent, threads: 1, interrupted: &RUNNING }
}

fn repair_index(bench: &Bench, repository: &Repository, extent: Extent) -> Result<IndexStats, RepairError> {
    let tools = tools(bench);
    index::apply(repository, index::plan(repository, extent, &tools)?, &tools)
}

fn repair_packs(bench: &Bench, repository: &Repository, siblings: &[Sibling]) -> Result<PacksStats, RepairError> {
    let tools = tools(bench);
    let plan = packs::plan(repository, &[], siblings, &tools)?;
    packs::apply(repository, &plan, siblings, &tools)
}

fn repair_snapshots(
    bench: &Bench,
    repository: &Repository,
    siblings: &[Sibling],
) -> Result<SnapshotsStats, RepairError> {
    let tools = tools(bench);
    let plan = snapshots::plan(repository, siblings, &tools)?;
    snapshots::apply(repository, &plan, siblings, &tools)
}

/// What all three have done.
struct Repaired {
    packs: PacksStats,
    snapshots: SnapshotsStats,
}

/// All three, in their order.
fn repair(bench: &Bench, repository: &Repository, siblings: &[Sibling]) -> Result<Repaired, RepairError> {
    repair_index(bench, repository, Extent::Missing)?;
    let packs = repair_packs(bench, repository, siblings)?;
    let snapshots = repair_snapshots(bench, repository, siblings)?;
    Ok(Repaired { packs, snapshots })
}

/// A sibling that has all snapshots.
fn sibling(bench: &Bench, repository: &Repository) -> (MemoryStore, Sibling) {
    let store = MemoryStore::new();
    let other = repository.create_sibling(Arc::new(store.clone()), Default::default()).unwrap();
    let all = Snapshots::load(repository).unwrap().all;
    let cancel = AtomicBool::new(false);
    copy([repository, &other], &all, &bench.clock, &Silent, &cancel, &mut CopyStats::default()).unwrap();
    (store, Sibling::open("sibling".into(), other, &bench.clock).unwrap())
}

fn check_all(repository: &Repository) -> CheckReport {
    let options = CheckOptions { read: ReadData::All, threads: 1, shown_paths: 100, interrupted: &RUNNING };
    check(repository, &options, &Silent).unwrap()
}

/// Every object of a store with its bytes.
fn all_bytes(store: &MemoryStore) -> BTreeMap<ObjectName, Vec<u8>> {
    let areas = Area::ALL.into_iter().chain([Area::Quarantine, Area::Temporary]);
    areas.flat_map(|area| store.names(area)).map(|name| (name, store.get(&name).unwrap())).collect()
}

/// Regular files and links below a folder, each with what is in it.
fn contents(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            let metadata = std::fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(root).unwrap().to_owned();
            if metadata.is_dir() {
                folders.push(path);
            } else if metadata.is_symlink() {
                found.insert(name, std::fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes());
            } else {
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// The files of a snapshot that are restored as they were in the source.
fn restorable(
    bench: &Bench,
    repository: &Repository,
    id: SnapshotId,
    recorded: &BTreeMap<PathBuf, Vec<u8>>,
) -> BTreeSet<PathBuf> {
    let target = tempfile::tempdir_in(bench.folder.path()).unwrap();
    // What cannot be restored is told and left out; the rest counts.
    let _ = restore_to(repository, id, target.path(), &bench.clock);
    let restored = contents(&target.path().join(bench.source.strip_prefix("/").unwrap()));
    recorded.iter().filter(|(path, bytes)| restored.get(*path) == Some(bytes)).map(|(path, _)| path.clone()).collect()
}

/// Every pack as the index describes it.
fn map(repository: &Repository, bench: &Bench) -> BTreeMap<PackName, IndexedPack> {
    let index = Index::load(repository, Purpose::Read, &bench.clock).unwrap();
    let count = index.packs().count() as u32;
    (0..count).map(|number| index.described(number).unwrap()).map(|pack| (pack.name, pack)).collect()
}
