//! Stats: what a repository holds, what its snapshots need of it, and how much room deduplication and compression save.
//!
//! Every tree that a snapshot leads to is read once, however many snapshots share it.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicBool;

use super::list::check_interrupted;
use crate::format::content::decode_list;
use crate::format::index_file::PackName;
use crate::format::node::{Content, LinkGroup, Node, NodeKind, Timestamp, XattrValue};
use crate::format::pack::PackKind;
use crate::format::snapshot::{Outcome, Snapshot};
use crate::format::tree::{self, Tree};
use crate::id::BlobId;
use crate::progress::Progress;
use crate::repository::{BlobReader, Index, Repository, RepositoryError, SnapshotInfo};
use crate::store::Area;

/// How many, and how many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    /// How many.
    pub count: u64,
    /// Bytes together.
    pub bytes: u64,
}

impl Amount {
    const fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// What a repository holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RepositoryStats {
    /// Snapshots, and the files in each of them added up.
    pub snapshots: Amount,
    /// Those that are not complete.
    pub incomplete_snapshots: u64,
    /// When the oldest began.
    pub oldest: Option<Timestamp>,
    /// When the newest began.
    pub newest: Option<Timestamp>,
    /// Objects of every kind as the store lists them.
    pub stored: Vec<(Area, Amount)>,
    /// Packs of file contents that the index knows.
    pub data_packs: Amount,
    /// Packs of trees that the index knows.
    pub tree_packs: Amount,
    /// Packs that the store lists and the index does not know: of a run that goes on, or was interrupted.
    pub unindexed_packs: Amount,
    /// Blobs, each counted once, before compression.
    pub blobs: Amount,
    /// Further copies of blobs.
    pub duplicates: Amount,
    /// Blobs that some snapshot needs, before compression.
    pub used: Amount,
    /// Blobs that some snapshot needs and the index does not know, and trees that cannot be read.
    pub missing: u64,
    /// Stored bytes that no snapshot needs, estimated by the share of such blobs in each pack.
    pub unused_bytes: u64,
    /// Packs that no snapshot needs anything of.
    pub unused_packs: Amount,
}

fn ratio(of: u64, to: u64) -> Option<f64> {
    (to > 0).then(|| of as f64 / to as f64)
}

impl RepositoryStats {
    /// Bytes of all objects.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.stored.iter().map(|(_, amount)| amount.bytes).sum()
    }

    /// Bytes before compression for each byte in packs.
    #[must_use]
    pub fn compression_ratio(&self) -> Option<f64> {
        ratio(self.blobs.bytes + self.duplicates.bytes, self.data_packs.bytes + self.tree_packs.bytes)
    }

    /// Bytes that restoring every snapshot would write for each byte before compression that they need.
    #[must_use]
    pub fn deduplication_ratio(&self) -> Option<f64> {
        ratio(self.snapshots.bytes, self.used.bytes)
    }
}

/// What one snapshot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SnapshotStats {
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Links, devices, pipes, sockets.
    pub others: u64,
    /// Bytes that a restore writes: hard links once, holes left out.
    pub restore_bytes: u64,
    /// Sum of the sizes of the files, as `du --apparent-size --count-links` would say.
    pub apparent_bytes: u64,
    /// Blobs that it needs, before compression.
    pub used: Amount,
    /// Blobs that only it needs, before compression: about what forgetting it would free.
    pub exclusive: Amount,
    /// Blobs that the index does not know, and trees that cannot be read.
    pub missing: u64,
}

/// Something whose references are not followed yet.
enum Pending {
    Tree(BlobId),
    List(BlobId, u8, u64),
}

/// Every blob that some snapshots need.
struct Needed<'a> {
    index: &'a Index,
    interrupted: &'a AtomicBool,
    progress: &'a dyn Progress,
    ids: HashSet<BlobId>,
    used: Amount,
    missing: u64,
}

impl<'a> Needed<'a> {
    fn new(index: &'a Index, interrupted: &'a AtomicBool, progress: &'a dyn Progress) -> Self {
        Self { index, interrupted, progress, ids: HashSet::new(), used: Amount::default(), missing: 0 }
    }

    /// Whether the blob was not needed before and is there.
    fn need(&mut self, id: BlobId) -> bool {
        if !self.ids.insert(id) {
            return false;
        }
        match self.index.find(&id).next() {
            Some(entry) => self.used.add(entry.length.into()),
            None => self.missing += 1,
        }
        self.index.knows(&id)
    }

    fn content(&mut self, content: &Content, pending: &mut Vec<Pending>) {
        for part in &content.parts {
            if self.need(part.id) && content.level > 0 {
                pending.push(Pending::List(part.id, content.level, part.length));
            }
        }
    }

    fn tree(&mut self, tree: BlobId, pending: &mut Vec<Pending>) {
        if self.need(tree) {
            pending.push(Pending::Tree(tree));
        }
    }

    fn node(&mut self, node: &Node, pending: &mut Vec<Pending>) {
        match &node.kind {
            NodeKind::File { content, .. } => self.content(content, pending),
            NodeKind::Directory { tree } => self.tree(*tree, pending),
            _ => {}
        }
        for xattr in &node.metadata.xattrs {
            if let XattrValue::Stored(content) = &xattr.value {
                self.content(content, pending);
            }
        }
    }

    fn follow(
        &mut self,
        reader: &mut BlobReader<'_>,
        one: &Pending,
        pending: &mut Vec<Pending>,
    ) -> Result<(), RepositoryError> {
        let (Pending::Tree(id) | Pending::List(id, ..)) = one;
        let blob = reader.tree(id)?;
        let malformed = |source| RepositoryError::Malformed { name: format!("tree {id}"), source };
        match one {
            Pending::List(_, level, length) => {
                self.content(&decode_list(&blob, *level, *length).map_err(malformed)?, pending);
            }
            Pending::Tree(_) => match tree::decode(&blob).map_err(malformed)? {
                Tree::Leaf(entries) => {
                    for (node, _) in &entries {
                        self.node(node, pending);
                    }
                    self.progress.advance(entries.len() as u64, 0);
                }
                Tree::Inner(below) => {
                    for (_, id) in below {
                        self.tree(id, pending);
                    }
                }
            },
        }
        Ok(())
    }

    /// Adds what `snapshot` needs. Trees that are damaged are counted and passed over.
    fn add(&mut self, reader: &mut BlobReader<'_>, snapshot: &Snapshot) -> Result<(), RepositoryError> {
        let mut pending = Vec::new();
        for root in &snapshot.roots {
            self.node(&root.node, &mut pending);
            while let Some(one) = pending.pop() {
                check_interrupted(self.interrupted)?;
                match self.follow(reader, &one, &mut pending) {
                    Err(error) if error.is_damage() => {
                        self.missing += 1;
                        self.progress.warn(&error.to_string());
                    }
                    followed => followed?,
                }
            }
        }
        Ok(())
    }
}

/// A pack, by what is in it.
#[derive(Default)]
struct Share {
    size: u64,
    raw_bytes: u64,
    used_bytes: u64,
}

/// Counts every blob of the index into its pack. Of several copies the first is used.
fn count_blobs(index: &Index, needed: &HashSet<BlobId>, stats: &mut RepositoryStats) -> HashMap<PackName, Share> {
    let mut packs: HashMap<PackName, Share> = HashMap::new();
    for (name, size, kind, _) in index.packs() {
        packs.entry(name).or_default().size = size;
        match kind {
            PackKind::Data => stats.data_packs.add(size),
            PackKind::Tree => stats.tree_packs.add(size),
        }
    }
    let mut several = HashSet::new();
    for (id, _, _) in index.blobs() {
        if index.find(&id).nth(1).is_some() && !several.insert(id) {
            continue;
        }
        for (copy, entry) in index.find(&id).enumerate() {
            let length = u64::from(entry.length);
            let pack = packs.entry(index.pack_name(&entry)).or_default();
            pack.raw_bytes += length;
            if copy == 0 {
                stats.blobs.add(length);
                pack.used_bytes += if needed.contains(&id) { length } else { 0 };
            } else {
                stats.duplicates.add(length);
            }
        }
    }
    packs
}

/// What `repository` holds, and what `snapshots`, which are all of its snapshots, need of it.
///
/// # Errors
/// When the store cannot be listed or read, and [`RepositoryError::Interrupted`] once `interrupted` is set.
pub fn repository(
    repository: &Repository,
    index: &Index,
    snapshots: &[SnapshotInfo],
    interrupted: &AtomicBool,
    progress: &dyn Progress,
) -> Result<RepositoryStats, RepositoryError> {
    let mut stats = RepositoryStats::default();
    let known: HashSet<PackName> = index.packs().map(|(name, ..)| name).collect();
    for area in Area::ALL {
        let mut amount = Amount::default();
        for listed in repository.store().list(area)? {
            amount.add(listed.size);
            if let crate::store::ObjectName::Pack(name) = listed.name
                && !known.contains(&name)
            {
                stats.unindexed_packs.add(listed.size);
            }
        }
        stats.stored.push((area, amount));
    }
    progress.phase("reading trees", None);
    let mut reader = BlobReader::new(repository, index)?;
    let mut needed = Needed::new(index, interrupted, progress);
    for info in snapshots {
        needed.add(&mut reader, &info.snapshot)?;
        stats.snapshots.add(info.snapshot.statistics.total_bytes);
        stats.incomplete_snapshots += u64::from(info.snapshot.outcome == Outcome::Incomplete);
    }
    stats.oldest = snapshots.iter().map(|info| info.snapshot.start).min();
    stats.newest = snapshots.iter().map(|info| info.snapshot.start).max();
    (stats.used, stats.missing) = (needed.used, needed.missing);
    for share in count_blobs(index, &needed.ids, &mut stats).into_values() {
        if share.used_bytes == 0 {
            stats.unused_packs.add(share.size);
            stats.unused_bytes += share.size;
        } else {
            let unused = u128::from(share.size) * u128::from(share.raw_bytes.saturating_sub(share.used_bytes));
            stats.unused_bytes += u64::try_from(unused / u128::from(share.raw_bytes.max(1))).unwrap_or(u64::MAX);
        }
    }
    progress.finish();
    Ok(stats)
}

/// What `snapshot` holds, and what of it no other one of `snapshots` needs.
///
/// # Errors
/// As [`repository`].
pub fn snapshot(
    reader: &mut BlobReader<'_>,
    index: &Index,
    snapshot: &SnapshotInfo,
    snapshots: &[SnapshotInfo],
    interrupted: &AtomicBool,
    progress: &dyn Progress,
) -> Result<SnapshotStats, RepositoryError> {
    progress.phase("reading trees", None);
    let mut stats = SnapshotStats::default();
    let mut inodes: HashSet<LinkGroup> = HashSet::new();
    for root in super::list::roots(&snapshot.snapshot) {
        super::list::walk(reader, root, interrupted, &mut |_, at| {
            progress.advance(1, 0);
            match &at.node.kind {
                NodeKind::File { size, content, .. } => {
                    stats.files += 1;
                    stats.apparent_bytes = stats.apparent_bytes.saturating_add(*size);
                    if at.node.links.is_none_or(|group| inodes.insert(group)) {
                        stats.restore_bytes = stats.restore_bytes.saturating_add(content.length().unwrap_or(0));
                    }
                }
                NodeKind::Directory { .. } => stats.directories += 1,
                _ => stats.others += 1,
            }
            Ok::<_, RepositoryError>(super::list::Step::Into)
        })?;
    }
    let mut alone = Needed::new(index, interrupted, progress);
    alone.add(reader, &snapshot.snapshot)?;
    (stats.used, stats.missing) = (alone.used, alone.missing);
    let mut others = Needed::new(index, interrupted, progress);
    for other in snapshots.iter().filter(|other| other.id != snapshot.id) {
        others.add(reader, &other.snapshot)?;
    }
    // What this one adds to all the others is what only it needs.
    let before = others.used;
    others.add(reader, &snapshot.snapshot)?;
    stats.exclusive =
        Amount { count: others.used.count - before.count, bytes: others.used.bytes.saturating_sub(before.bytes) };
    progress.finish();
    Ok(stats)
}

#[cfg(test)]
mod tests {
    use super::super::bench::{Bench, PIECE, RUNNING, file, folder, sparse};
    use super::*;
    use crate::progress::Silent;

    fn of(bench: &Bench, snapshots: &[SnapshotInfo]) -> RepositoryStats {
        repository(&bench.repository, &bench.index(), snapshots, &RUNNING, &Silent).unwrap()
    }

    fn bytes(seed: u8, pieces: usize) -> Vec<u8> {
        (0..pieces * PIECE).map(|at| seed.wrapping_add((at / PIECE) as u8)).collect()
    }

    #[test]
    fn what_no_snapshot_needs_is_unused() {
        let bench = Bench::new();
        let one = bench.snapshot(vec![("/", folder("d", vec![file("a", &bytes(0, 20))]))]);
        let two = bench.snapshot(vec![("/", folder("d", vec![file("b", &bytes(100, 10))]))]);
        let both = of(&bench, &[one.clone(), two.clone()]);
        assert_eq!((both.unused_bytes, both.missing), (0, 0));
        assert_eq!(both.used, both.blobs);
        assert_eq!(both.data_packs.count, 2);
        let left = of(&bench, std::slice::from_ref(&one));
        assert_eq!(left.unused_packs.count, 2);
        assert_eq!(left.unused_bytes, left.unused_packs.bytes);
        let none = of(&bench, &[]);
        assert_eq!(none.unused_bytes, none.data_packs.bytes + none.tree_packs.bytes);
    }

    #[test]
    fn a_pack_that_is_needed_in_part_is_unused_in_part() {
        let bench = Bench::new();
        let both = folder("d", vec![file("a", &bytes(0, 30)), file("b", &bytes(100, 10))]);
        bench.snapshot(vec![("/", both)]);
        let left = bench.snapshot(vec![("/", folder("d", vec![file("b", &bytes(100, 10))]))]);
        let stats = of(&bench, &[left]);
        let data = stats.data_packs.bytes;
        let tree_of_the_first = stats.unused_packs.bytes;
        assert_eq!(stats.unused_bytes - tree_of_the_first, data * 3 / 4);
    }

    #[test]
    fn stored_bytes_are_those_of_all_objects() {
        let bench = Bench::new();
        let one = bench.snapshot(vec![("/", folder("d", vec![file("a", &bytes(0, 20))]))]);
        let stats = of(&bench, &[one]);
        let packs = stats.stored.iter().find(|(area, _)| *area == Area::Packs).unwrap().1;
        assert_eq!(packs.bytes, stats.data_packs.bytes + stats.tree_packs.bytes);
        assert!(stats.stored_bytes() > packs.bytes);
        assert_eq!(stats.unindexed_packs, Amount::default());
        assert!(stats.compression_ratio().is_some());
    }

    #[test]
    fn of_a_snapshot_hard_links_are_restored_once_and_holes_not_at_all() {
        let bench = Bench::new();
        let shared = file("shared", &bytes(0, 3));
        let first = bench.snapshot(vec![("/", folder("d", vec![shared.clone()]))]);
        let second = bench.snapshot(vec![(
            "/",
            folder(
                "d",
                vec![
                    shared,
                    file("x", &bytes(50, 2)).linked(1),
                    file("y", &bytes(50, 2)).linked(1),
                    sparse("z", &bytes(70, 1), &[(0, 5000)]),
                ],
            ),
        )]);
        let all = [first, second];
        let index = bench.index();
        let of = |at: usize| {
            let mut reader = BlobReader::new(&bench.repository, &index).unwrap();
            snapshot(&mut reader, &index, &all[at], &all, &RUNNING, &Silent).unwrap()
        };
        let stats = of(1);
        assert_eq!((stats.files, stats.directories, stats.restore_bytes, stats.apparent_bytes), (4, 1, 600, 5800));
        // Three pieces and the tree; the rest is shared.
        assert_eq!(stats.exclusive.count, 4);
        assert_eq!(of(0).exclusive.count, 1);
    }
}
