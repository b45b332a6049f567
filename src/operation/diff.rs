//! Diff: what changed from one snapshot to another.
//!
//! Both are walked together, name by name. Folders with the same tree are the same, so only what changed is read.

use std::cmp::Ordering;
use std::sync::atomic::AtomicBool;

use super::list::{Located, MAX_NESTING, Step, check_interrupted, join, too_deep, tree_of, walk};
use crate::format::node::{Metadata, Node, NodeKind};
use crate::id::BlobId;
use crate::repository::{BlobReader, RepositoryError, TreeCursor, TreeEntry};

/// How an entry changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// Only the second snapshot has it.
    Added,
    /// Only the first snapshot has it.
    Removed,
    /// Its content, target or device is another.
    Modified,
    /// Only its owner, mode, times or attributes are others.
    Metadata,
    /// It was one kind of entry and is another.
    Type,
}

impl ChangeKind {
    /// As a letter.
    #[must_use]
    pub const fn sign(self) -> char {
        match self {
            Self::Added => '+',
            Self::Removed => '-',
            Self::Modified => 'M',
            Self::Metadata => 'm',
            Self::Type => 'T',
        }
    }
}

/// One entry that changed.
#[derive(Debug)]
pub struct Change<'a> {
    /// Where it was on the machine.
    pub path: &'a [u8],
    /// How it changed.
    pub kind: ChangeKind,
    /// As it was.
    pub before: Option<&'a Node>,
    /// As it is.
    pub after: Option<&'a Node>,
    /// What of its metadata changed.
    pub metadata: Vec<&'static str>,
}

/// Entries and bytes that one of the snapshots has more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Surplus {
    /// Regular files.
    pub files: u64,
    /// Folders.
    pub directories: u64,
    /// Links, devices, pipes, sockets.
    pub others: u64,
    /// Sum of the sizes of the files.
    pub bytes: u64,
}

impl Surplus {
    const fn add(&mut self, node: &Node) {
        match &node.kind {
            NodeKind::File { size, .. } => {
                self.files += 1;
                self.bytes = self.bytes.saturating_add(*size);
            }
            NodeKind::Directory { .. } => self.directories += 1,
            _ => self.others += 1,
        }
    }
}

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiffStats {
    /// What only the second has.
    pub added: Surplus,
    /// What only the first has.
    pub removed: Surplus,
    /// Entries of other content.
    pub modified: u64,
    /// Sizes that they had.
    pub modified_before_bytes: u64,
    /// Sizes that they have.
    pub modified_after_bytes: u64,
    /// Entries of which only metadata changed.
    pub metadata_changed: u64,
    /// Entries that are of another kind; counted as removed and added too.
    pub type_changed: u64,
}

impl DiffStats {
    /// Whether there is no difference.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    const fn count(&mut self, change: &Change<'_>) {
        if let (ChangeKind::Added | ChangeKind::Type, Some(node)) = (change.kind, change.after) {
            self.added.add(node);
        }
        if let (ChangeKind::Removed | ChangeKind::Type, Some(node)) = (change.kind, change.before) {
            self.removed.add(node);
        }
        match change.kind {
            ChangeKind::Modified => {
                self.modified += 1;
                let sizes = (size_of(change.before), size_of(change.after));
                self.modified_before_bytes = self.modified_before_bytes.saturating_add(sizes.0);
                self.modified_after_bytes = self.modified_after_bytes.saturating_add(sizes.1);
            }
            ChangeKind::Metadata => self.metadata_changed += 1,
            ChangeKind::Type => self.type_changed += 1,
            ChangeKind::Added | ChangeKind::Removed => {}
        }
    }
}

const fn size_of(node: Option<&Node>) -> u64 {
    match node {
        Some(Node { kind: NodeKind::File { size, .. }, .. }) => *size,
        _ => 0,
    }
}

/// What of the metadata differs; change times are never compared.
fn metadata_changes(before: &Metadata, after: &Metadata) -> Vec<&'static str> {
    let fields = [
        ("mode", before.mode != after.mode),
        ("uid", before.uid != after.uid),
        ("gid", before.gid != after.gid),
        ("user", before.user != after.user),
        ("group", before.group != after.group),
        ("mtime", before.mtime != after.mtime),
        ("xattrs", before.xattrs != after.xattrs),
        ("flags", before.flags != after.flags),
    ];
    fields.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

/// How two entries of one path differ, folders apart from what is in them.
fn compare(before: &Node, after: &Node) -> Option<(ChangeKind, Vec<&'static str>)> {
    let metadata = metadata_changes(&before.metadata, &after.metadata);
    let same = match (&before.kind, &after.kind) {
        (NodeKind::Directory { .. }, NodeKind::Directory { .. }) => true,
        (
            NodeKind::File { size, content, holes, .. },
            NodeKind::File { size: new_size, content: new_content, holes: new_holes, .. },
        ) => (size, content, holes) == (new_size, new_content, new_holes),
        (before, after) if std::mem::discriminant(before) != std::mem::discriminant(after) => {
            return Some((ChangeKind::Type, metadata));
        }
        (before, after) => before == after,
    };
    match (same, metadata.is_empty()) {
        (false, _) => Some((ChangeKind::Modified, metadata)),
        (true, false) => Some((ChangeKind::Metadata, metadata)),
        (true, true) => None,
    }
}

/// A folder that both have, with different trees.
struct Frame {
    path: Vec<u8>,
    before: (TreeCursor, Option<TreeEntry>),
    after: (TreeCursor, Option<TreeEntry>),
}

impl Frame {
    fn new(path: Vec<u8>, before: BlobId, after: BlobId) -> Self {
        Self { path, before: (TreeCursor::new(before), None), after: (TreeCursor::new(after), None) }
    }

    /// The next name that either has, with the entries called so.
    fn next(&mut self, reader: &mut BlobReader<'_>) -> Result<(Option<Node>, Option<Node>), RepositoryError> {
        for (cursor, ahead) in [&mut self.before, &mut self.after] {
            if ahead.is_none() {
                *ahead = cursor.next(reader)?;
            }
        }
        let order = match (&self.before.1, &self.after.1) {
            (Some(before), Some(after)) => before.node.name.cmp(&after.node.name),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        let before = if order.is_le() { self.before.1.take() } else { None };
        let after = if order.is_ge() { self.after.1.take() } else { None };
        Ok((before.map(|entry| entry.node), after.map(|entry| entry.node)))
    }
}

/// Receives what changed.
type Report<'a, E> = dyn FnMut(&Change<'_>) -> Result<(), E> + 'a;

struct Differ<'a, 'r, E> {
    reader: &'a mut BlobReader<'r>,
    interrupted: &'a AtomicBool,
    report: &'a mut Report<'a, E>,
    stats: DiffStats,
}

impl<E: From<RepositoryError>> Differ<'_, '_, E> {
    /// Everything from `node` on down, which only one of them has; without `node` itself when `Step::Over`.
    fn one_sided(&mut self, path: &[u8], node: &Node, kind: ChangeKind, itself: Step) -> Result<(), E> {
        let start = Located { path: path.to_vec(), restore_path: Vec::new(), node: node.clone() };
        let (report, stats) = (&mut self.report, &mut self.stats);
        let mut skip = itself == Step::Over;
        walk(self.reader, start, self.interrupted, &mut |_, at| {
            if std::mem::take(&mut skip) {
                return Ok(Step::Into);
            }
            let node = Some(&at.node);
            let (before, after) = if kind == ChangeKind::Added { (None, node) } else { (node, None) };
            let change = Change { path: &at.path, kind, before, after, metadata: Vec::new() };
            stats.count(&change);
            report(&change).map(|()| Step::Into)
        })
    }

    /// Two entries of one path; the folder to go into, when they are folders that differ.
    fn pair(&mut self, path: &[u8], before: Option<&Node>, after: Option<&Node>) -> Result<Option<Frame>, E> {
        let (before, after) = match (before, after) {
            (Some(before), Some(after)) => (before, after),
            (Some(before), None) => {
                return self.one_sided(path, before, ChangeKind::Removed, Step::Into).map(|()| None);
            }
            (None, Some(after)) => return self.one_sided(path, after, ChangeKind::Added, Step::Into).map(|()| None),
            (None, None) => return Ok(None),
        };
        if let Some((kind, metadata)) = compare(before, after) {
            let change = Change { path, kind, before: Some(before), after: Some(after), metadata };
            self.stats.count(&change);
            (self.report)(&change)?;
        }
        match (tree_of(before), tree_of(after)) {
            (Some(old), Some(new)) if old != new => Ok(Some(Frame::new(path.to_vec(), old, new))),
            (Some(_), None) => self.one_sided(path, before, ChangeKind::Removed, Step::Over).map(|()| None),
            (None, Some(_)) => self.one_sided(path, after, ChangeKind::Added, Step::Over).map(|()| None),
            _ => Ok(None),
        }
    }

    fn run(&mut self, path: &[u8], before: Option<&Node>, after: Option<&Node>) -> Result<(), E> {
        let mut stack: Vec<Frame> = self.pair(path, before, after)?.into_iter().collect();
        while let Some(frame) = stack.last_mut() {
            check_interrupted(self.interrupted)?;
            let (before, after) = frame.next(self.reader)?;
            let Some(named) = before.as_ref().or(after.as_ref()) else {
                stack.pop();
                continue;
            };
            let path = join(&frame.path, &named.name);
            if let Some(below) = self.pair(&path, before.as_ref(), after.as_ref())? {
                if stack.len() >= MAX_NESTING {
                    return Err(too_deep(&BlobId([0; 32])).into());
                }
                stack.push(below);
            }
        }
        Ok(())
    }
}

/// Tells `report` of every entry that changed from `before` to `after`, and below; entries are the same when their
/// paths are.
///
/// # Errors
/// When a tree cannot be read, what `report` returns, and [`RepositoryError::Interrupted`] once `interrupted` is set.
pub fn diff<E: From<RepositoryError>>(
    reader: &mut BlobReader<'_>,
    before: &[Located],
    after: &[Located],
    interrupted: &AtomicBool,
    report: &mut dyn FnMut(&Change<'_>) -> Result<(), E>,
) -> Result<DiffStats, E> {
    let mut paths: Vec<&[u8]> = before.iter().chain(after).map(|entry| entry.path.as_slice()).collect();
    paths.sort_unstable();
    paths.dedup();
    let mut differ = Differ { reader, interrupted, report, stats: DiffStats::default() };
    for path in paths {
        let at = |entries: &'_ [Located]| entries.iter().position(|entry| entry.path == path);
        let before = at(before).and_then(|at| before.get(at)).map(|entry| &entry.node);
        let after = at(after).and_then(|at| after.get(at)).map(|entry| &entry.node);
        differ.run(path, before, after)?;
    }
    Ok(differ.stats)
}

#[cfg(test)]
mod tests {
    use super::super::bench::{Bench, RUNNING, Sample, file, folder, symlink};
    use super::super::list::roots;
    use super::*;

    fn changes(bench: &Bench, before: Vec<(&str, Sample)>, after: Vec<(&str, Sample)>) -> (Vec<String>, DiffStats) {
        let (before, after) = (bench.snapshot(before).snapshot, bench.snapshot(after).snapshot);
        let mut seen = Vec::new();
        let stats = bench.read(|reader| {
            diff(reader, &roots(&before), &roots(&after), &RUNNING, &mut |change| {
                let path = String::from_utf8_lossy(change.path);
                seen.push(format!("{} {path} {}", change.kind.sign(), change.metadata.join(",")).trim().to_owned());
                Ok::<_, RepositoryError>(())
            })
        });
        (seen, stats.unwrap())
    }

    #[test]
    fn each_kind_of_change_has_its_sign() {
        let bench = Bench::new();
        let before = folder(
            "d",
            vec![
                file("content", b"1"),
                file("gone", b"22"),
                file("kind", b"333"),
                file("mode", b"4"),
                file("same", b"5"),
                symlink("target", "a"),
            ],
        );
        let after = folder(
            "d",
            vec![
                file("content", b"1234"),
                symlink("kind", "x"),
                file("mode", b"4").with(|node| node.metadata.mode = 0o600),
                file("new", b"666666"),
                file("same", b"5").with(|node| node.metadata.ctime.seconds = 7),
                symlink("target", "b"),
            ],
        );
        let (seen, stats) = changes(&bench, vec![("/", before)], vec![("/", after)]);
        assert_eq!(seen, ["M /d/content", "- /d/gone", "T /d/kind mode", "m /d/mode mode", "+ /d/new", "M /d/target"]);
        assert_eq!(stats.added, Surplus { files: 1, others: 1, bytes: 6, ..Surplus::default() });
        assert_eq!(stats.removed, Surplus { files: 2, bytes: 5, ..Surplus::default() });
        assert_eq!((stats.modified, stats.modified_before_bytes, stats.modified_after_bytes), (2, 1, 4));
        assert_eq!((stats.metadata_changed, stats.type_changed), (1, 1));
    }

    #[test]
    fn a_folder_that_came_or_went_is_told_with_everything_in_it() {
        let bench = Bench::new();
        let full = || folder("x", vec![folder("y", vec![file("z", b"1")])]);
        let (seen, _) = changes(
            &bench,
            vec![("/", folder("d", vec![full(), folder("kind", vec![file("f", b"")])]))],
            vec![("/", folder("d", vec![file("kind", b"")])), ("/srv", full())],
        );
        assert_eq!(
            seen,
            [
                "T /d/kind mode",
                "- /d/kind/f",
                "- /d/x",
                "- /d/x/y",
                "- /d/x/y/z",
                "+ /srv/x",
                "+ /srv/x/y",
                "+ /srv/x/y/z"
            ]
        );
    }

    #[test]
    fn equal_snapshots_have_no_difference_and_nothing_is_read_for_it() {
        let bench = Bench::new();
        let tree = || folder("d", vec![folder("x", vec![file("z", b"1")])]);
        let (before, after) = (bench.snapshot(vec![("/", tree())]), bench.snapshot(vec![("/", tree())]));
        bench.read(|reader| {
            let stats = diff(reader, &roots(&before.snapshot), &roots(&after.snapshot), &RUNNING, &mut |_| {
                Err(RepositoryError::Stopped)
            });
            assert!(stats.unwrap().is_empty());
            assert_eq!(reader.fetched_bytes(), 0);
        });
    }
}
