//! What lies in the folders that are put back and is not in the snapshot: files that are newer than it.
//!
//! An old database knows nothing of newer files, so they go when a whole service is put back. What no backup of the
//! profile would hold stays: nobody could bring it back. So does whatever lies on another file system.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{RestoreError, RestoreProblem, Selected};
use crate::destination::{Destination, Folder, Kind};
use crate::format::node::NodeKind;
use crate::id::BlobId;
use crate::operation::list::{MAX_NESTING, join};
use crate::repository::{BlobReader, TreeCursor};
use crate::source::exclude::{Matcher, Rules, Verdict};

/// What SQLite keeps beside a database.
const COMPANIONS: [&[u8]; 3] = [b"-wal", b"-shm", b"-journal"];

/// What is never taken away.
#[derive(Debug, Clone, Default)]
pub struct Spared {
    /// What any of these leaves out of a backup.
    pub rules: Vec<Rules>,
    /// Files longer than this, in bytes.
    pub larger_than: Option<u64>,
    /// What is in folders that say they are caches.
    pub caches: bool,
    /// What is in folders that hold an entry of such a name.
    pub if_present: Vec<String>,
    /// What is on another file system than the folder above it, also where the snapshot has something in it.
    pub one_file_system: bool,
    /// File system and inode number of folders that are not to be looked into: repositories, and where bk keeps its own.
    pub own: Vec<(u64, u64)>,
}

/// Whether it is taken away or only counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Nothing changes.
    Count,
    /// It goes.
    Remove,
}

/// What was found, or taken away.
#[derive(Debug, Default)]
pub struct Surplus {
    /// Everything but folders.
    pub files: u64,
    /// Folders with nothing left in them.
    pub folders: u64,
    /// What could not be looked at or taken away.
    pub problems: Vec<RestoreProblem>,
}

/// What an entry of the snapshot is, as far as it matters here.
enum Known {
    Folder(BlobId),
    /// A database that was copied whole: what lies beside it belongs to another one.
    Database,
    Other,
}

/// Where the walk is.
#[derive(Clone, Copy)]
struct Level {
    /// The file system.
    device: u64,
    depth: usize,
}

struct Walk<'a, 'r> {
    reader: &'a mut BlobReader<'r>,
    spared: &'a Spared,
    act: Act,
    cancel: &'a AtomicBool,
    matchers: Vec<Matcher>,
    /// The root that the walk is in.
    root: &'a [u8],
    /// All roots: one inside another is looked at by itself.
    roots: &'a [Selected],
    found: Surplus,
}

/// Finds what lies in the folders of `selected` and is not in the snapshot, and takes it away when told so.
///
/// # Errors
/// [`RestoreError`] when the snapshot cannot be read, when a folder above a root is a link or a file, and when the user
/// wants it to end. What concerns one entry is in [`Surplus::problems`].
pub fn surplus(
    reader: &mut BlobReader<'_>,
    selected: &[Selected],
    destination: &Destination,
    spared: &Spared,
    act: Act,
    cancel: &AtomicBool,
) -> Result<Surplus, RestoreError> {
    let mut found = Surplus::default();
    for entry in selected {
        let NodeKind::Directory { tree } = entry.node.kind else { continue };
        let place = join(&entry.above, &entry.node.name);
        let Some(folder) = enter(destination, &place)? else { continue };
        let device = folder.file_system()?;
        let matchers = spared.rules.iter().map(|rules| rules.for_root(&entry.original)).collect();
        let root = entry.original.as_slice();
        let mut walk = Walk { reader, spared, act, cancel, matchers, root, roots: selected, found };
        walk.folder(&folder, Some(tree), b"", Level { device, depth: 0 })?;
        found = walk.found;
    }
    Ok(found)
}

/// The folder at `path`; `None` when there is none.
fn enter(destination: &Destination, path: &[u8]) -> Result<Option<Folder>, RestoreError> {
    let mut folder = destination.root();
    for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        if folder.existing(name)?.is_none() {
            return Ok(None);
        }
        folder = folder.enter(name)?;
    }
    Ok(Some(folder))
}

impl Walk<'_, '_> {
    /// True when something stays.
    fn folder(
        &mut self,
        folder: &Folder,
        tree: Option<BlobId>,
        below: &[u8],
        level: Level,
    ) -> Result<bool, RestoreError> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(RestoreError::Interrupted);
        }
        if level.depth > MAX_NESTING {
            return Ok(true);
        }
        let known = tree.map_or_else(|| Ok(HashMap::new()), |tree| self.known(tree))?;
        let mut names = match folder.names().and_then(|names| names.collect::<Result<Vec<_>, _>>()) {
            Ok(names) => names,
            Err(error) => {
                self.problem(folder.shown_path(), &error);
                return Ok(true);
            }
        };
        names.sort_unstable();
        let left_out = |name: &Vec<u8>| {
            self.spared.caches && name == b"CACHEDIR.TAG"
                || self.spared.if_present.iter().any(|marker| marker.as_bytes() == name)
        };
        if names.iter().any(left_out) {
            return Ok(true);
        }
        let mut stays = false;
        for name in &names {
            match self.entry(folder, name, &known, below, level) {
                Ok(kept) => stays |= kept,
                Err(RestoreError::Destination(error)) => {
                    self.problem(folder.shown_below(name), &error);
                    stays = true;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(stays)
    }

    /// True when it stays.
    fn entry(
        &mut self,
        folder: &Folder,
        name: &[u8],
        known: &HashMap<Vec<u8>, Known>,
        below: &[u8],
        level: Level,
    ) -> Result<bool, RestoreError> {
        let Some(found) = folder.existing(name)? else { return Ok(false) };
        let is_folder = found.kind == Kind::Directory;
        let is_mounted = is_folder && found.identity.0 != level.device;
        if self.spared.own.contains(&found.identity) || is_mounted && !self.is_in_snapshot(known.get(name))? {
            return Ok(true);
        }
        let level = Level { device: found.identity.0, depth: level.depth + 1 };
        let path = join(below, name);
        let whole = join(self.root, &path);
        if self.roots.iter().any(|root| root.original == whole) {
            return Ok(true);
        }
        match known.get(name) {
            Some(Known::Folder(tree)) if is_folder => {
                self.folder(&folder.enter(name)?, Some(*tree), &path, level)?;
                return Ok(true);
            }
            Some(_) => return Ok(true),
            None => {}
        }
        let database = COMPANIONS.iter().find_map(|ending| name.strip_suffix(*ending));
        match database.and_then(|database| known.get(database)) {
            // Whatever the patterns say: the log of another database would be played into the one that comes back.
            Some(Known::Database) if !is_folder => return self.remove(folder, name, false),
            _ => {}
        }
        let verdict = self.verdict(&path, is_folder);
        if verdict == Verdict::Skip {
            return Ok(true);
        }
        if is_folder {
            let stays = self.folder(&folder.enter(name)?, None, &path, level)?;
            if stays || verdict == Verdict::Parent {
                return Ok(true);
            }
            return self.remove(folder, name, true);
        }
        let of_spared = database.is_some_and(|database| {
            self.verdict(&join(below, database), false) == Verdict::Skip
                && folder.existing(database).is_ok_and(|found| found.is_some())
        });
        if of_spared || self.spared.larger_than.is_some_and(|most| found.size_bytes > most) {
            return Ok(true);
        }
        self.remove(folder, name, false)
    }

    /// Whether something of what is mounted there is in the snapshot: an empty folder may be all that a backup saw of it.
    fn is_in_snapshot(&mut self, known: Option<&Known>) -> Result<bool, RestoreError> {
        match known {
            Some(Known::Folder(tree)) if !self.spared.one_file_system => {
                Ok(TreeCursor::new(*tree).next(self.reader)?.is_some())
            }
            _ => Ok(false),
        }
    }

    fn remove(&mut self, folder: &Folder, name: &[u8], is_folder: bool) -> Result<bool, RestoreError> {
        if self.act == Act::Remove {
            folder.remove(name)?;
        }
        *(if is_folder { &mut self.found.folders } else { &mut self.found.files }) += 1;
        Ok(false)
    }

    /// The strictest of all rules.
    fn verdict(&self, path: &[u8], is_folder: bool) -> Verdict {
        let mut verdict = Verdict::Keep;
        for matcher in &self.matchers {
            match matcher.verdict(path, is_folder) {
                Verdict::Skip => return Verdict::Skip,
                Verdict::Parent => verdict = Verdict::Parent,
                Verdict::Keep => {}
            }
        }
        verdict
    }

    fn known(&mut self, tree: BlobId) -> Result<HashMap<Vec<u8>, Known>, RestoreError> {
        let (mut known, mut cursor) = (HashMap::new(), TreeCursor::new(tree));
        while let Some(entry) = cursor.next(self.reader)? {
            let what = match &entry.node.kind {
                NodeKind::Directory { tree } => Known::Folder(*tree),
                NodeKind::File { rows, .. } if !rows.is_empty() => Known::Database,
                _ => Known::Other,
            };
            known.insert(entry.node.name, what);
        }
        Ok(known)
    }

    fn problem(&mut self, path: String, error: &dyn std::error::Error) {
        self.found.problems.push(RestoreProblem { path, message: error.to_string(), damage: false });
    }
}
