//! Looking into a snapshot: an entry by its path, and everything below it.
//!
//! A snapshot's roots are where they were on the machine; what lies above them (`/mnt` when `/mnt/data/plex` was
//! backed up) is not kept, but can be asked for all the same. Walks keep one cursor a level: a folder of a million
//! entries takes the memory of one piece of it.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::format::DecodeError;
use crate::format::node::{Node, NodeKind};
use crate::format::snapshot::{Root, Snapshot};
use crate::format::tree::{self, Tree};
use crate::id::BlobId;
use crate::repository::{BlobReader, RepositoryError, TreeCursor};

/// Deeper folders are refused. Trees name each other by hash, so they cannot form a circle; this bounds the stack.
pub const MAX_NESTING: usize = 4096;

/// An entry of a snapshot, and where it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// Where it was on the machine.
    pub path: Vec<u8>,
    /// Where a restore puts it, below its destination.
    pub restore_path: Vec<u8>,
    /// The entry.
    pub node: Node,
}

/// What a path stands for in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// An entry.
    Entry(Box<Located>),
    /// No entry, but these roots lie below it.
    Above(Vec<Located>),
    /// Nothing; the nearest folder above it that is an entry, where there is one.
    Missing {
        /// Where that folder was on the machine.
        nearest: Option<Vec<u8>>,
    },
}

/// What a walk does after an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Look into it, when it is a folder.
    Into,
    /// Go on with what comes after it.
    Over,
}

/// `folder` and `name` as one path.
#[must_use]
pub fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = folder.to_vec();
    push_name(&mut path, name);
    path
}

fn push_name(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() && !path.ends_with(b"/") {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

/// The names that a path is made of; empty ones and `.` mean nothing.
pub(super) fn names(path: &[u8]) -> Vec<&[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && name != b".").collect()
}

/// Fails when `flag` is set.
pub(super) fn check_interrupted(flag: &AtomicBool) -> Result<(), RepositoryError> {
    if flag.load(Ordering::Relaxed) { Err(RepositoryError::Interrupted) } else { Ok(()) }
}

/// That a folder is deeper than [`MAX_NESTING`].
pub(super) fn too_deep(tree: &BlobId) -> RepositoryError {
    let source = DecodeError { what: "folders are nested too deeply", at: 0 };
    RepositoryError::Malformed { name: format!("tree {tree}"), source }
}

/// The tree of a folder.
pub(super) const fn tree_of(node: &Node) -> Option<BlobId> {
    match node.kind {
        NodeKind::Directory { tree } => Some(tree),
        _ => None,
    }
}

/// The roots of a snapshot as entries.
#[must_use]
pub fn roots(snapshot: &Snapshot) -> Vec<Located> {
    snapshot.roots.iter().map(root).collect()
}

fn root(root: &Root) -> Located {
    Located { path: root.path.clone(), restore_path: root.restore_name.clone(), node: root.node.clone() }
}

/// The entry of a folder that is called `name`; of a large folder only the piece that can hold it is read.
fn child(reader: &mut BlobReader<'_>, folder: &Node, name: &[u8]) -> Result<Option<Node>, RepositoryError> {
    let Some(mut tree) = tree_of(folder) else { return Ok(None) };
    for _ in 0..=tree::MAX_DEPTH {
        let blob = reader.tree(&tree)?;
        let decoded = tree::decode(&blob)
            .map_err(|source| RepositoryError::Malformed { name: format!("tree {tree}"), source })?;
        match decoded {
            Tree::Leaf(entries) => {
                return Ok(entries.into_iter().map(|(node, _)| node).find(|node| node.name == name));
            }
            Tree::Inner(below) => {
                let after = below.partition_point(|(first, _)| first.as_slice() <= name);
                match after.checked_sub(1).and_then(|at| below.get(at)) {
                    Some((_, piece)) => tree = *piece,
                    None => return Ok(None),
                }
            }
        }
    }
    Err(too_deep(&tree))
}

/// Follows `below` from a root: the entry, or how many of the names led to folders or entries that exist.
fn follow(reader: &mut BlobReader<'_>, start: &Root, below: &[&[u8]]) -> Result<(Located, bool), RepositoryError> {
    let mut at = root(start);
    for name in below {
        match child(reader, &at.node, name)? {
            Some(node) => {
                push_name(&mut at.path, name);
                push_name(&mut at.restore_path, name);
                at.node = node;
            }
            None => return Ok((at, false)),
        }
    }
    Ok((at, true))
}

/// What `path` stands for: where an entry was on the machine, or, without a leading `/`, where a restore puts it.
///
/// Of roots inside each other the innermost that has the entry counts.
///
/// # Errors
/// When a tree cannot be read.
pub fn locate(reader: &mut BlobReader<'_>, snapshot: &Snapshot, path: &[u8]) -> Result<Place, RepositoryError> {
    let wanted = names(path);
    let absolute = path.starts_with(b"/");
    let mut candidates: Vec<(usize, &Root)> = Vec::new();
    let mut above = Vec::new();
    for one in &snapshot.roots {
        let kept_at: &[&[u8]] = if absolute { &[&one.path] } else { &[&one.restore_name, &one.path] };
        for kept_at in kept_at.iter().filter(|kept_at| absolute || !kept_at.starts_with(b"/")) {
            let kept_at = names(kept_at);
            if wanted.starts_with(&kept_at) {
                candidates.push((kept_at.len(), one));
                break;
            } else if kept_at.starts_with(&wanted) {
                above.push(root(one));
                break;
            }
        }
    }
    // Innermost first.
    candidates.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    let mut nearest: Option<Vec<u8>> = None;
    for (length, candidate) in candidates {
        let (at, whole) = follow(reader, candidate, wanted.get(length..).unwrap_or_default())?;
        if whole {
            return Ok(Place::Entry(Box::new(at)));
        }
        if nearest.as_ref().is_none_or(|nearest| nearest.len() < at.path.len()) {
            nearest = Some(at.path);
        }
    }
    Ok(if above.is_empty() { Place::Missing { nearest } } else { Place::Above(above) })
}

/// The entry at `path`, as [`locate`] reads it, or `None` when no entry is there.
///
/// # Errors
/// When a tree cannot be read.
pub fn lookup(
    reader: &mut BlobReader<'_>,
    snapshot: &Snapshot,
    path: &[u8],
) -> Result<Option<Located>, RepositoryError> {
    Ok(match locate(reader, snapshot, path)? {
        Place::Entry(entry) => Some(*entry),
        Place::Above(_) | Place::Missing { .. } => None,
    })
}

/// Tells `visit` of `start` and of everything below it, each folder before what is in it, in the order of names.
///
/// # Errors
/// When a tree cannot be read, what `visit` returns, and [`RepositoryError::Interrupted`] once `interrupted` is set.
pub fn walk<E: From<RepositoryError>>(
    reader: &mut BlobReader<'_>,
    start: Located,
    interrupted: &AtomicBool,
    visit: &mut dyn FnMut(&mut BlobReader<'_>, &Located) -> Result<Step, E>,
) -> Result<(), E> {
    let mut at = start;
    // A cursor for each folder that the walk is in, and how long its two paths are.
    let mut stack: Vec<(TreeCursor, usize, usize)> = Vec::new();
    loop {
        check_interrupted(interrupted)?;
        let step = visit(reader, &at)?;
        if let (Step::Into, Some(tree)) = (step, tree_of(&at.node)) {
            if stack.len() >= MAX_NESTING {
                return Err(too_deep(&tree).into());
            }
            stack.push((TreeCursor::new(tree), at.path.len(), at.restore_path.len()));
        }
        let entry = loop {
            let Some((cursor, path_len, restore_len)) = stack.last_mut() else { return Ok(()) };
            at.path.truncate(*path_len);
            at.restore_path.truncate(*restore_len);
            match cursor.next(reader)? {
                Some(entry) => break entry,
                None => drop(stack.pop()),
            }
        };
        push_name(&mut at.path, &entry.node.name);
        push_name(&mut at.restore_path, &entry.node.name);
        at.node = entry.node;
    }
}

#[cfg(test)]
mod tests {
    use super::super::bench::{Bench, RUNNING, file, folder};
    use super::*;

    fn bench() -> (Bench, Snapshot) {
        let bench = Bench::new();
        let plex = folder("plex", vec![folder("db", vec![file("a", b"1"), file("b", b"22")]), file("log", b"333")]);
        let inner = folder("db", vec![file("c", b"4")]);
        let snapshot = bench.snapshot(vec![("/mnt/data", plex), ("/mnt/data/plex", inner)]).snapshot;
        (bench, snapshot)
    }

    fn walked(bench: &Bench, start: Located, step: impl Fn(&Located) -> Step) -> Vec<String> {
        let mut seen = Vec::new();
        bench
            .read(|reader| {
                walk(reader, start, &RUNNING, &mut |_, at| {
                    seen.push(String::from_utf8(at.path.clone()).unwrap());
                    assert_eq!(at.path.strip_prefix(b"/").unwrap(), at.restore_path);
                    Ok::<_, RepositoryError>(step(at))
                })
            })
            .unwrap();
        seen
    }

    #[test]
    fn a_walk_tells_of_each_folder_before_what_is_in_it() {
        let (bench, snapshot) = bench();
        let start = roots(&snapshot).remove(0);
        let seen = walked(&bench, start.clone(), |_| Step::Into);
        let expected =
            ["/mnt/data/plex", "/mnt/data/plex/db", "/mnt/data/plex/db/a", "/mnt/data/plex/db/b", "/mnt/data/plex/log"];
        assert_eq!(seen, expected);
        let seen = walked(&bench, start, |at| if at.path.ends_with(b"db") { Step::Over } else { Step::Into });
        assert_eq!(seen, ["/mnt/data/plex", "/mnt/data/plex/db", "/mnt/data/plex/log"]);
    }

    #[test]
    fn an_entry_is_found_by_its_path_and_by_its_restore_name() {
        let (bench, snapshot) = bench();
        for path in ["/mnt/data/plex/log", "mnt/data/plex/log", "//mnt/./data/plex//log/", "./mnt/data/plex/log"] {
            let found = bench.read(|reader| lookup(reader, &snapshot, path.as_bytes())).unwrap().unwrap();
            assert_eq!((found.path.as_slice(), found.node.name.as_slice()), (&b"/mnt/data/plex/log"[..], &b"log"[..]));
        }
    }

    #[test]
    fn of_roots_inside_each_other_the_innermost_that_has_the_entry_counts() {
        let (bench, snapshot) = bench();
        let found = |path: &[u8]| bench.read(|reader| lookup(reader, &snapshot, path)).unwrap();
        assert_eq!(found(b"/mnt/data/plex/db/c").unwrap().node.name, b"c");
        assert_eq!(found(b"/mnt/data/plex/db/a").unwrap().node.name, b"a");
    }

    #[test]
    fn a_folder_above_the_roots_stands_for_them_and_a_missing_one_names_the_nearest_there_is() {
        let (bench, snapshot) = bench();
        let place = |path: &[u8]| bench.read(|reader| locate(reader, &snapshot, path)).unwrap();
        for path in [&b"/"[..], b"", b".", b"/mnt", b"mnt/data"] {
            assert!(matches!(place(path), Place::Above(roots) if roots.len() == 2), "{path:?}");
        }
        assert_eq!(place(b"/mnt/data/plex/x/y"), Place::Missing { nearest: Some(b"/mnt/data/plex".to_vec()) });
        assert_eq!(place(b"/mnt/data/plex/log/y"), Place::Missing { nearest: Some(b"/mnt/data/plex/log".to_vec()) });
        assert_eq!(place(b"/srv"), Place::Missing { nearest: None });
    }

    #[test]
    fn entries_of_a_folder_of_many_pieces_are_each_found() {
        let bench = Bench::new();
        let files = (0..3000).map(|number| file(&format!("f{number:05}"), &[])).collect();
        let snapshot = bench.snapshot(vec![("/", folder("many", files))]).snapshot;
        bench.read(|reader| {
            for number in [0, 1, 127, 128, 1024, 2047, 2999] {
                let path = format!("/many/f{number:05}");
                assert!(lookup(reader, &snapshot, path.as_bytes()).unwrap().is_some(), "{path}");
            }
            assert!(lookup(reader, &snapshot, b"/many/a").unwrap().is_none());
            assert!(lookup(reader, &snapshot, b"/many/z").unwrap().is_none());
        });
    }

    #[test]
    fn a_walk_ends_when_the_user_wants_it_to() {
        let (bench, snapshot) = bench();
        let flag = AtomicBool::new(true);
        let walked = bench.read(|reader| {
            walk(reader, roots(&snapshot).remove(0), &flag, &mut |_, _| Ok::<_, RepositoryError>(Step::Into))
        });
        assert!(matches!(walked, Err(RepositoryError::Interrupted)));
    }
}
