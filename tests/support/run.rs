//! Backups and restores through the library, as the commands do them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bk::clock::Clock;
use bk::crypto::{KeyFile, Keys};
use bk::destination::{Destination, Overwrite, OwnerPolicy};
use bk::format::key_slot::Credential;
use bk::format::node::{NodeKind, Timestamp};
use bk::format::tree::{self, Tree};
use bk::id::{BlobId, SnapshotId};
use bk::operation::backup::{BackupError, BackupOptions, BackupStats, Origin, SourceRules, backup};
use bk::operation::check::{CheckOptions, ReadData, check};
use bk::operation::forget::forget;
use bk::operation::prune::{self, Others, PruneError, PruneOptions, PruneStats, Waste};
use bk::operation::restore::{Placement, RestoreOptions, RestoreStats, restore, select};
use bk::progress::Silent;
use bk::repository::{
    BlobReader, ContentCursor, Index, Purpose, Repository, RepositoryError, SnapshotInfo, Snapshots, TreeCursor, note,
};
use bk::store::Store;

use super::TestClock;
use super::tree::{compare_trees, copy_tree};

/// A source, a key, a clock, and folders for copies.
pub struct Bench {
    pub folder: tempfile::TempDir,
    pub source: PathBuf,
    pub clock: TestClock,
    key: String,
}

/// What was in the source when a snapshot was reported.
pub struct Committed {
    pub id: SnapshotId,
    pub copy: PathBuf,
}

impl Bench {
    pub fn new() -> Self {
        // In memory where that is possible: thousands of restores are synced.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let source = folder.path().join("source");
        std::fs::create_dir(&source).unwrap();
        let key = KeyFile::generate().unwrap().text().to_string();
        Self { folder, source, clock: TestClock::tomorrow(), key }
    }

    pub fn credential(&self) -> Credential {
        Credential::KeyFile(KeyFile::parse(&self.key).unwrap())
    }

    pub fn create(&self, store: impl Store + 'static) -> Result<Repository, RepositoryError> {
        let note = note("first", Timestamp::default(), "host");
        Repository::create(Arc::new(store), Keys::generate().unwrap(), &self.credential(), &note)
    }

    pub fn open(&self, store: impl Store + 'static) -> Result<Repository, RepositoryError> {
        Repository::open(Arc::new(store), &self.credential())
    }

    pub fn options(&self) -> BackupOptions<'static> {
        BackupOptions {
            origin: Origin { host: "host".into(), user: "user".into(), profile: None },
            roots: vec![self.source.clone()],
            rules: SourceRules::default(),
            tags: Vec::new(),
            description: None,
            definition: String::new(),
            configuration: String::new(),
            scratch: self.folder.path().to_owned(),
            skip_if_unchanged: false,
            dry_run: false,
            ignore_parent: false,
            threads: 1,
            ..BackupOptions::default()
        }
    }

    pub fn back_up(&self, repository: &Repository) -> Result<BackupStats, BackupError> {
        self.back_up_with(repository, &self.options())
    }

    pub fn back_up_with(
        &self,
        repository: &Repository,
        options: &BackupOptions<'_>,
    ) -> Result<BackupStats, BackupError> {
        // No two runs begin at the same time: snapshots are ordered by it.
        self.clock.advance(Duration::from_secs(1));
        backup(repository, options, Vec::new(), &self.clock, &Silent, &AtomicBool::new(false))
    }

    /// Backs up and copies the source beside it, to compare restores with.
    pub fn commit(&self, repository: &Repository) -> Committed {
        let stats = self.back_up(repository).unwrap();
        assert!(stats.problems.is_empty(), "{:?}", stats.problems.first());
        self.keep(stats.snapshot.unwrap().id)
    }

    /// Remembers what the source holds now as what `id` must restore.
    pub fn keep(&self, id: SnapshotId) -> Committed {
        let copy = self.folder.path().join(format!("copy-{id}"));
        copy_tree(&self.source, &copy);
        Committed { id, copy }
    }

    /// Restores a snapshot with nothing but the store and the key, and says what differs from `expected`.
    pub fn differences(&self, repository: &Repository, id: SnapshotId, expected: &Path) -> Vec<String> {
        let target = tempfile::tempdir_in(self.folder.path()).unwrap();
        match restore_to(repository, id, target.path(), &self.clock) {
            Ok(()) => {
                let place = target.path().join(self.source.strip_prefix("/").unwrap());
                compare_trees(expected, &place)
            }
            Err(error) => vec![error],
        }
    }
}

impl Default for Bench {
    fn default() -> Self {
        Self::new()
    }
}

/// Restores all of a snapshot below `target`.
pub fn restore_to(repository: &Repository, id: SnapshotId, target: &Path, clock: &dyn Clock) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let snapshots = Snapshots::load(repository).map_err(|error| text(&error))?;
    let info = snapshots.all.iter().find(|info| info.id == id).ok_or_else(|| format!("snapshot {id} is gone"))?;
    let index = Index::load(repository, Purpose::Read, clock).map_err(|error| text(&error))?;
    let mut reader = BlobReader::new(repository, &index).map_err(|error| text(&error))?;
    let selected = select(&mut reader, &info.snapshot, &[], Placement::Below).map_err(|error| text(&error))?;
    let destination = Destination::open(target, OwnerPolicy::Numeric).map_err(|error| text(&error))?;
    let options = RestoreOptions { overwrite: Overwrite::Always, delete: false, threads: 1 };
    let stats = RestoreStats::default();
    let cancel = AtomicBool::new(false);
    restore(repository, &index, None, &selected, &destination, options, &stats, &Silent, &cancel)
        .map_err(|error| text(&error))?;
    assert!(!cancel.load(Ordering::Relaxed));
    match stats.problems().as_slice() {
        [] => Ok(()),
        problems => Err(format!("{problems:?}")),
    }
}

/// Reads every blob that a snapshot reaches: nothing that was committed may refer to something not stored.
pub fn walk(repository: &Repository, index: &Index, info: &SnapshotInfo) -> Result<HashSet<BlobId>, RepositoryError> {
    let mut reader = BlobReader::new(repository, index)?;
    let mut seen = HashSet::new();
    let mut nodes: Vec<_> = info.snapshot.roots.iter().map(|root| root.node.clone()).collect();
    while let Some(node) = nodes.pop() {
        match node.kind {
            NodeKind::Directory { tree } => {
                let mut cursor = TreeCursor::new(tree);
                while let Some(entry) = cursor.next(&mut reader)? {
                    nodes.push(entry.node);
                }
                walk_tree(&mut reader, tree, &mut seen)?;
            }
            NodeKind::File { content, .. } => {
                let mut lists = Vec::new();
                let mut cursor = ContentCursor::new(content);
                while let Some(part) = cursor.next_with(&mut reader, &mut |list| lists.push(*list))? {
                    reader.data(&part.id)?;
                    seen.insert(part.id);
                }
                seen.extend(lists);
            }
            _ => {}
        }
    }
    Ok(seen)
}

fn walk_tree(reader: &mut BlobReader<'_>, id: BlobId, seen: &mut HashSet<BlobId>) -> Result<(), RepositoryError> {
    let blob = reader.tree(&id)?;
    seen.insert(id);
    if let Ok(Tree::Inner(below)) = tree::decode(&blob) {
        for (_, id) in below {
            walk_tree(reader, id, seen)?;
        }
    }
    Ok(())
}

/// Every snapshot that can be listed can be walked, none is damaged, and each of `committed` restores equal.
pub fn check_snapshots(bench: &Bench, repository: &Repository, committed: &[&Committed], what: &str) {
    let snapshots = Snapshots::load(repository).unwrap_or_else(|error| panic!("{what}: snapshots: {error}"));
    let index = Index::load(repository, Purpose::Read, &bench.clock)
        .unwrap_or_else(|error| panic!("{what}: the index: {error}"));
    for info in &snapshots.all {
        walk(repository, &index, info).unwrap_or_else(|error| panic!("{what}: snapshot {}: {error}", info.id));
    }
    for committed in committed {
        let differences = bench.differences(repository, committed.id, &committed.copy);
        assert!(differences.is_empty(), "{what}: snapshot {}: {differences:#?}", committed.id);
    }
}

impl Bench {
    /// Lets time pass for the machine and for the store.
    pub fn pass(&self, store: &super::MemoryStore, by: Duration) {
        self.clock.advance(by);
        store.set_time(self.clock.wall());
    }

    /// How [`Bench::prune`] prunes: no waste stays.
    pub fn prune_options(&self) -> PruneOptions<'static> {
        PruneOptions {
            max_unused: Waste::Bytes(0),
            max_repack_bytes: None,
            others: Others::MayWork,
            ignore_damaged: Vec::new(),
            despite_anomalies: false,
            threads: 1,
            interrupted: &RUNNING,
        }
    }

    pub fn prune(&self, repository: &Repository) -> Result<PruneStats, PruneError> {
        self.prune_with(repository, &self.prune_options())
    }

    pub fn prune_with(&self, repository: &Repository, options: &PruneOptions<'_>) -> Result<PruneStats, PruneError> {
        let plan = prune::plan(repository, options, &self.clock, &Silent)?;
        prune::apply(repository, plan, options, &self.clock, &Silent)
    }

    pub fn forget(&self, repository: &Repository, ids: &[SnapshotId]) -> Result<(), RepositoryError> {
        let snapshots = Snapshots::load(repository)?;
        let wanted: Vec<_> = snapshots.all.iter().filter(|info| ids.contains(&info.id)).collect();
        forget(repository, &wanted, "host", &self.clock)
    }

    /// Reads everything there is; no finding.
    pub fn assert_clean(&self, repository: &Repository, what: &str) {
        let options = CheckOptions { read: ReadData::All, threads: 1, shown_paths: 3, interrupted: &RUNNING };
        let report = check(repository, &options, &Silent).unwrap_or_else(|error| panic!("{what}: check: {error}"));
        assert!(report.findings.is_empty(), "{what}: {:?}", report.findings);
    }
}

/// Never set.
pub static RUNNING: AtomicBool = AtomicBool::new(false);
