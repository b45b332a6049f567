//! Which snapshots of a source are in the target already, under whatever id.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::format::node::Timestamp;
use crate::format::snapshot::{Imported, Snapshot};
use crate::format::tree::encode_node;
use crate::id::{RunId, SnapshotId};
use crate::repository::{Repository, SnapshotInfo, Snapshots};

/// Whether a snapshot of the source is in the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is not.
    Missing,
    /// It is, under this id; whole, or made there and exported to the source.
    Here(SnapshotId),
    /// It is, under this id, but something of it could not be read when it was brought.
    Lossy(SnapshotId),
    /// It was, and was forgotten there.
    Forgotten,
}

/// A snapshot of the source and what it became in the target, whole: what others are compared with.
#[derive(Debug, Clone)]
pub struct Pair {
    /// In the source.
    pub source: SnapshotInfo,
    /// In the target.
    pub target: SnapshotInfo,
}

/// Whence a snapshot of `from` is, as the target notes it.
#[must_use]
pub fn origin(from: &Repository, info: &SnapshotInfo) -> Imported {
    match &info.snapshot.imported {
        Some(imported) if from.is_foreign() => imported.clone(),
        _ => Imported {
            format: "bk".to_owned(),
            repository: from.config().repository.to_string(),
            snapshot: info.id.0,
            tree: content_hash(&info.snapshot),
        },
    }
}

/// What a snapshot holds, in 32 bytes.
fn content_hash(snapshot: &Snapshot) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for root in &snapshot.roots {
        for part in [&root.path, &encode_node(&root.node)] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
    }
    *hasher.finalize().as_bytes()
}

/// The run that a snapshot of this origin names: always the same one, so that it is known again when it was forgotten.
/// No writer has it, so that a prune takes nothing that an import has not finished with.
pub(super) fn run_of(origin: &Imported) -> RunId {
    let mut hasher = blake3::Hasher::new();
    for part in [origin.format.as_bytes(), origin.repository.as_bytes(), &origin.snapshot] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    let hash = hasher.finalize();
    RunId(hash.as_bytes().first_chunk().copied().unwrap_or_default())
}

/// Whether an imported snapshot says that less could be read than the one it was made from.
fn is_lossy(source: &Snapshot, target: &Snapshot) -> bool {
    target.problem_count > source.problem_count
}

/// The imported snapshots of a target by where they are from.
struct Origins<'a> {
    by_snapshot: HashMap<(&'a str, &'a str, [u8; 32]), Vec<&'a SnapshotInfo>>,
    /// One that was tagged anew has another id, but holds and began the same.
    by_tree: BTreeMap<(&'a str, [u8; 32], Timestamp), Vec<&'a SnapshotInfo>>,
}

impl<'a> Origins<'a> {
    fn of(target: &'a Snapshots) -> Self {
        let mut origins = Self { by_snapshot: HashMap::new(), by_tree: BTreeMap::new() };
        for info in &target.all {
            let Some(Imported { format, repository, snapshot, tree }) = &info.snapshot.imported else { continue };
            origins.by_snapshot.entry((format, repository, *snapshot)).or_default().push(info);
            origins.by_tree.entry((repository, *tree, info.snapshot.start)).or_default().push(info);
        }
        origins
    }

    /// What became of a snapshot of the source; a whole one where there are several.
    fn find(&self, source: &Snapshot, origin: &Imported) -> Option<&'a SnapshotInfo> {
        let same = self.by_snapshot.get(&(&*origin.format, &*origin.repository, origin.snapshot));
        let alike = self.by_tree.get(&(&*origin.repository, origin.tree, source.start));
        let all = || same.into_iter().chain(alike).flatten().copied();
        all().find(|info| !is_lossy(source, &info.snapshot)).or_else(|| all().next())
    }
}

/// Looks for every snapshot of `source` in `target`, in the order of `source`; gives also what each that is there whole
/// became.
#[must_use]
pub fn recognise(
    [from, to]: [&Repository; 2],
    source: &Snapshots,
    target: &Snapshots,
) -> (Vec<(SnapshotInfo, Presence)>, Vec<Pair>) {
    let origins = Origins::of(target);
    let forgotten: HashSet<RunId> = target.facts.forgotten_runs().collect();
    let here = to.config().repository.to_string();
    let mut pairs = Vec::new();
    let mut presence = |info: &SnapshotInfo| {
        let origin = origin(from, info);
        if let Some(found) = origins.find(&info.snapshot, &origin) {
            if is_lossy(&info.snapshot, &found.snapshot) {
                return Presence::Lossy(found.id);
            }
            pairs.push(Pair { source: info.clone(), target: found.clone() });
            return Presence::Here(found.id);
        }
        let brought_there = info.snapshot.imported.as_ref().filter(|of| of.format == "bk" && of.repository == here);
        let exported = source.originals.get(&info.id).copied();
        match exported.or_else(|| brought_there.map(|of| SnapshotId(of.snapshot))) {
            Some(own) if target.all.iter().any(|info| info.id == own) => Presence::Here(own),
            Some(own) if target.facts.is_forgotten(&own) => Presence::Forgotten,
            _ if forgotten.contains(&run_of(&origin)) => Presence::Forgotten,
            _ => Presence::Missing,
        }
    };
    let all = source.all.iter().map(|info| (info.clone(), presence(info))).collect();
    (all, pairs)
}

/// What a snapshot is compared with: of those of the same machine that share a path with it, the newest that is not
/// younger, else the oldest.
pub(super) fn base<'p>(pairs: &'p [Pair], snapshot: &Snapshot) -> Option<&'p Pair> {
    let is_alike = |pair: &&Pair| {
        let other = &pair.source.snapshot;
        let shares = |path: &[u8]| other.roots.iter().any(|root| root.path == path);
        other.host == snapshot.host && snapshot.roots.iter().any(|root| shares(&root.path))
    };
    let alike = || pairs.iter().filter(is_alike);
    let start = |pair: &&Pair| pair.source.snapshot.start;
    let before = alike().filter(|pair| start(pair) <= snapshot.start).max_by_key(start);
    before.or_else(|| alike().min_by_key(start))
}
