//! Walks the source in the order of trees and compares it with the parent: what is unchanged is taken over, what is
//! not goes to the readers.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::{Sender, bounded};
use rustix::fs::FileType;
use rustix::io::Errno;

use super::options::Substitute;
use super::shared::{Batch, Directory, EncodedEntry, FileCount, FileTask, Item, Shared, Slot};
use super::tables::wrong_tables;
use crate::format::node::{Content, LinkGroup, Metadata, Node, NodeKind, Timestamp, Xattr, XattrValue};
use crate::format::tree::encode_node;
use crate::operation::freshness::Freshness;
use crate::operation::promise::Promise;
use crate::repository::{BlobReader, ContentCursor, TreeCursor, TreeEntry};
use crate::source::exclude::{Matcher, Verdict};
use crate::source::folder::{SortedNames, SourceFolder};
use crate::source::metadata::{Stat, stat_at, xattrs_at, xattrs_open};
use crate::source::sqlite;

/// A batch is closed at so many files to read,
const BATCH_FILES: usize = 64;
/// at so many bytes to read,
const BATCH_BYTES: u64 = 1 << 20;
/// or at so many entries.
const BATCH_ENTRIES: usize = 1024;
/// Times younger than this before the read that saw them prove nothing: the clock of a file system is coarse.
const TRUSTED_AFTER_SECONDS: i64 = 2;

/// Name of the file that marks a cache, and how it begins (<https://bford.info/cachedir/>).
const CACHE_TAG: &CStr = c"CACHEDIR.TAG";
const CACHE_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// A directory of the parent, walked beside the source.
struct ParentFolder {
    cursor: TreeCursor,
    ahead: Option<TreeEntry>,
}

struct Frame {
    folder: SourceFolder,
    names: SortedNames,
    at: usize,
    parent: Option<ParentFolder>,
    path_len: usize,
    device: (u32, u32),
    /// Databases among the names whose companions come later.
    databases: HashMap<Vec<u8>, Arc<Promise<bool>>>,
}

struct Scanner<'a> {
    shared: &'a Shared<'a>,
    substitutes: &'a [Substitute],
    reader: BlobReader<'a>,
    items: Sender<Item>,
    tasks: Sender<Batch>,
    slots: Vec<Slot>,
    batch_files: usize,
    batch_bytes: u64,
    path: Vec<u8>,
    root_len: usize,
    root_device: (u32, u32),
    matcher: Matcher,
    filesystems: HashMap<(u32, u32), u64>,
    own: Option<((u32, u32), u64)>,
    /// Folders inside of roots that something else stands for.
    read_elsewhere: Vec<Vec<u8>>,
}

/// The other end is gone: the run is over.
struct Gone;

/// Walks every root and tells the tree builder and the readers.
pub(super) fn scan(shared: &Shared<'_>, substitutes: &[Substitute], items: Sender<Item>, tasks: Sender<Batch>) {
    let reader = match BlobReader::new(shared.repository, shared.index) {
        Ok(reader) => reader,
        Err(error) => return shared.writer.fail(error),
    };
    let location = shared.repository.location();
    let own = SourceFolder::open(Path::new(&location)).and_then(|folder| folder.stat()).ok();
    let mut scanner = Scanner {
        shared,
        substitutes,
        reader,
        items,
        tasks,
        slots: Vec::new(),
        batch_files: 0,
        batch_bytes: 0,
        path: Vec::new(),
        root_len: 0,
        root_device: (0, 0),
        matcher: Matcher::default(),
        filesystems: HashMap::new(),
        own: own.map(|stat| (stat.device, stat.inode)),
        read_elsewhere: Vec::new(),
    };
    let roots = &shared.options.roots;
    // What stands for a folder inside of a root is a root of its own.
    let inside: Vec<_> = substitutes
        .iter()
        .map(|one| &one.stands_for)
        .filter(|folder| roots.iter().any(|root| folder.starts_with(root) && *folder != root))
        .collect();
    scanner.read_elsewhere = inside.iter().map(|folder| folder.as_os_str().as_bytes().to_vec()).collect();
    for root in roots.iter().chain(inside) {
        if scanner.scan_root(root).is_err() {
            return;
        }
    }
    if !shared.should_stop() {
        let _ = scanner.items.send(Item::End);
    }
}

/// Where a root is put below a restore's destination: its path without the leading `/`.
fn restore_name(root: &Path) -> Vec<u8> {
    match root.as_os_str().as_bytes() {
        b"/" => b"@root".to_vec(),
        path => path.strip_prefix(b"/").unwrap_or(path).to_vec(),
    }
}

/// Where `root` is read: in the snapshot of the innermost folder that has one.
fn read_in_place_of(substitutes: &[Substitute], root: &Path) -> PathBuf {
    let holds = |one: &&Substitute| root.starts_with(&one.stands_for);
    let found = substitutes.iter().filter(holds).max_by_key(|one| one.stands_for.as_os_str().len());
    match found.map(|one| (one, root.strip_prefix(&one.stands_for))) {
        Some((one, Ok(below))) if below.as_os_str().is_empty() => one.source.clone(),
        Some((one, Ok(below))) => one.source.join(below),
        _ => root.to_owned(),
    }
}

impl Scanner<'_> {
    fn problem(&self, kind: &str, error: impl std::fmt::Display) {
        self.shared.problems.add(kind, &self.path, error.to_string());
    }

    fn send(&self, item: Item) -> Result<(), Gone> {
        if self.shared.should_stop() {
            return Err(Gone);
        }
        self.items.send(item).map_err(|_| Gone)
    }

    fn scan_root(&mut self, root: &Path) -> Result<(), Gone> {
        self.path = root.as_os_str().as_bytes().to_vec();
        self.root_len = self.path.len();
        self.matcher = self.shared.options.rules.exclude.for_root(&self.path);
        let restore_name = restore_name(root);
        let parent = self.shared.parent.and_then(|parent| {
            let same = parent.snapshot.roots.iter().find(|known| known.path == self.path)?;
            Some(same.node.clone())
        });
        let place = read_in_place_of(self.substitutes, root);
        let root = place.as_path();
        // A root that is a link stands for what it points to.
        let metadata = match std::fs::metadata(root) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.problem("missing", "it does not exist");
                return Ok(());
            }
            Err(error) => {
                self.problem("unreadable", error);
                return Ok(());
            }
        };
        if metadata.is_dir() {
            let name = restore_name.rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec();
            return self.scan_root_folder(root, restore_name, name, parent.as_ref());
        }
        let target = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
        let opened = target.parent().zip(target.file_name()).map(|(folder, file)| (SourceFolder::open(folder), file));
        let Some((Ok(folder), file)) = opened else {
            self.problem("unreadable", "its folder cannot be opened");
            return Ok(());
        };
        self.send(Item::Root { path: self.path.clone(), restore_name })?;
        if let Ok(file) = CString::new(file.as_bytes()) {
            self.scan_root_file(&folder, &file)?;
        }
        self.flush()
    }

    fn scan_root_file(&mut self, folder: &SourceFolder, file: &CStr) -> Result<(), Gone> {
        let stat = match stat_at(folder.as_fd(), file) {
            Ok(stat) => stat,
            Err(error) => {
                self.problem("unreadable", error);
                return Ok(());
            }
        };
        if stat.file_type != FileType::RegularFile {
            return self.special(folder, file, &stat, None);
        }
        let links = self.link_group(&stat);
        self.slots.push(Slot::Read(Box::new(FileTask {
            folder: folder.clone(),
            name: file.to_owned(),
            path: self.path.clone(),
            links,
            stat,
            before: None,
            database: None,
            beside: None,
        })));
        self.batch_files += 1;
        Ok(())
    }

    fn scan_root_folder(
        &mut self,
        root: &Path,
        restore_name: Vec<u8>,
        name: Vec<u8>,
        parent: Option<&Node>,
    ) -> Result<(), Gone> {
        let opened = SourceFolder::open(root).and_then(|folder| folder.stat().map(|stat| (folder, stat)));
        let (folder, stat) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.problem("unreadable", error);
                return Ok(());
            }
        };
        self.root_device = stat.device;
        self.send(Item::Root { path: self.path.clone(), restore_name })?;
        if self.path == b"/" {
            self.root_len = 0;
            self.path.clear();
        }
        let mut stack = Vec::new();
        self.enter(&mut stack, folder, name, &stat, parent, false)?;
        self.walk(stack)
    }

    fn walk(&mut self, mut stack: Vec<Frame>) -> Result<(), Gone> {
        while let Some(frame) = stack.last_mut() {
            self.path.truncate(frame.path_len);
            let Some(name) = frame.names.get(frame.at).map(CStr::to_owned) else {
                stack.pop();
                self.flush()?;
                self.send(Item::Leave)?;
                continue;
            };
            frame.at += 1;
            self.path.push(b'/');
            self.path.extend_from_slice(name.as_bytes());
            let stat = match stat_at(frame.folder.as_fd(), &name) {
                Ok(stat) => stat,
                // Deleted since the list was read.
                Err(Errno::NOENT) => continue,
                Err(error) => {
                    self.problem("unreadable", error);
                    continue;
                }
            };
            let is_folder = stat.file_type == FileType::Directory;
            let relative = self.path.get(self.root_len + 1..).unwrap_or_default();
            let verdict = self.matcher.verdict(relative, is_folder);
            if verdict == Verdict::Skip || (is_folder && self.read_elsewhere.contains(&self.path)) {
                continue;
            }
            let before = self.parent_entry(frame, name.as_bytes());
            match stat.file_type {
                FileType::Directory => {
                    let before = before.map(|entry| entry.node);
                    self.folder(&mut stack, &name, &stat, before.as_ref(), verdict == Verdict::Parent)?;
                }
                FileType::RegularFile => self.file(frame, &name, stat, before)?,
                _ => {
                    let folder = frame.folder.clone();
                    self.special(&folder, &name, &stat, before)?;
                }
            }
        }
        Ok(())
    }

    /// The parent's entry of the same name; without one that can be read, files are simply read again.
    fn parent_entry(&mut self, frame: &mut Frame, name: &[u8]) -> Option<TreeEntry> {
        let parent = frame.parent.as_mut()?;
        match parent.cursor.seek(&mut self.reader, &mut parent.ahead, name) {
            Ok(entry) => entry,
            Err(error) => {
                self.shared.progress.warn(&format!("the snapshot before cannot be used for comparing here: {error}"));
                frame.parent = None;
                self.shared.compared.in_part.store(true, Ordering::Relaxed);
                None
            }
        }
    }

    fn folder(
        &mut self,
        stack: &mut Vec<Frame>,
        name: &CStr,
        stat: &Stat,
        before: Option<&Node>,
        only_if_filled: bool,
    ) -> Result<(), Gone> {
        self.flush()?;
        if self.own == Some((stat.device, stat.inode)) {
            self.shared
                .progress
                .warn(&format!("{} is the repository itself and is left out", String::from_utf8_lossy(&self.path)));
            return Ok(());
        }
        let Some(above) = stack.last() else { return Ok(()) };
        match above.folder.enter(name) {
            Ok(folder) => self.enter(stack, folder, name.to_bytes().to_vec(), stat, before, only_if_filled),
            Err(Errno::NOENT) => Ok(()),
            Err(error) => {
                self.problem("unreadable", error);
                let metadata = self.shared.names.metadata(stat, Vec::new());
                self.send(Item::Enter(Box::new(Directory {
                    name: name.to_bytes().to_vec(),
                    metadata,
                    only_if_filled,
                })))?;
                self.send(Item::Leave)
            }
        }
    }

    fn enter(
        &mut self,
        stack: &mut Vec<Frame>,
        folder: SourceFolder,
        name: Vec<u8>,
        stat: &Stat,
        before: Option<&Node>,
        only_if_filled: bool,
    ) -> Result<(), Gone> {
        let other_filesystem = stack.last().is_some_and(|above| above.device != stat.device);
        let left_out = (self.shared.options.rules.one_file_system && stat.device != self.root_device)
            || (other_filesystem && folder.is_made_up_by_the_kernel());
        let mut names = if left_out { SortedNames::default() } else { self.names(&folder) };
        let kept = self.marked_as_left_out(&folder, &names);
        if let Some(kept) = kept {
            names = kept;
        }
        let metadata = self.shared.names.metadata(stat, self.xattrs(xattrs_open(folder.as_fd())));
        let parent = match before.map(|node| &node.kind) {
            Some(NodeKind::Directory { tree }) => Some(ParentFolder { cursor: TreeCursor::new(*tree), ahead: None }),
            _ => None,
        };
        self.shared.progress.advance(1, 0);
        self.send(Item::Enter(Box::new(Directory { name, metadata, only_if_filled })))?;
        stack.push(Frame {
            folder,
            names,
            at: 0,
            parent,
            path_len: self.path.len(),
            device: stat.device,
            databases: HashMap::new(),
        });
        Ok(())
    }

    fn names(&self, folder: &SourceFolder) -> SortedNames {
        folder.names().unwrap_or_else(|error| {
            self.problem("unreadable", error);
            SortedNames::default()
        })
    }

    /// The marker alone, when the folder holds one that says that its contents are not wanted.
    fn marked_as_left_out(&self, folder: &SourceFolder, names: &SortedNames) -> Option<SortedNames> {
        let rules = &self.shared.options.rules;
        let marker = rules.exclude_if_present.iter().find(|marker| names.contains(marker.as_bytes()));
        if let Some(marker) = marker {
            return CString::new(marker.as_bytes()).ok().map(|marker| SortedNames::of_one(&marker));
        }
        if !rules.exclude_caches || !names.contains(CACHE_TAG.to_bytes()) {
            return None;
        }
        let mut start = vec![0; CACHE_SIGNATURE.len()];
        let read = folder.open_file(CACHE_TAG).map(|mut file| std::io::Read::read_exact(&mut file, &mut start));
        (matches!(read, Ok(Ok(()))) && start == CACHE_SIGNATURE).then(|| SortedNames::of_one(CACHE_TAG))
    }

    fn xattrs(&self, read: Result<Vec<Xattr>, Errno>) -> Vec<Xattr> {
        read.unwrap_or_else(|error| {
            self.problem("metadata", format!("its extended attributes cannot be read: {error}"));
            Vec::new()
        })
    }

    /// Names of one inode; a file system is known by its number in the order of first sight, because device numbers
    /// change with every mount and snapshot.
    fn link_group(&mut self, stat: &Stat) -> Option<LinkGroup> {
        if stat.links < 2 {
            return None;
        }
        let next = self.filesystems.len() as u64;
        let filesystem = *self.filesystems.entry(stat.device).or_insert(next);
        Some(LinkGroup { filesystem, inode: stat.inode })
    }

    fn file(&mut self, frame: &mut Frame, name: &CStr, stat: Stat, before: Option<TreeEntry>) -> Result<(), Gone> {
        let rules = &self.shared.options.rules;
        if rules.exclude_larger_than.is_some_and(|most| stat.size > most) {
            return Ok(());
        }
        let links = self.link_group(&stat);
        let (database, beside) = if rules.databases { Self::companions(frame, name.to_bytes()) } else { (None, None) };
        if let Some(entry) = &before
            && self.is_unchanged(&stat, links, entry)
            && !has_pending_log(frame, name.to_bytes())
            && !self.lacks_tables(entry)
        {
            if let (Some(database), NodeKind::File { class, .. }) = (&database, &entry.node.kind) {
                database.give(*class > 16);
            }
            if beside.is_none() {
                self.shared.progress.advance(1, stat.size);
                let encoded = entry.encoded().to_vec();
                let name = name.to_bytes().to_vec();
                let count = FileCount { size: stat.size, freshness: Freshness::Unchanged, read: false };
                return self.ready(EncodedEntry { name, encoded, file: Some(count) });
            }
        }
        self.batch_files += 1;
        self.batch_bytes += stat.size;
        self.slots.push(Slot::Read(Box::new(FileTask {
            folder: frame.folder.clone(),
            name: name.to_owned(),
            path: self.path.clone(),
            stat,
            links,
            before: before.map(|entry| entry.encoded().into()),
            database,
            beside,
        })));
        if self.batch_files >= BATCH_FILES || self.batch_bytes >= BATCH_BYTES { self.flush() } else { Ok(()) }
    }

    /// Promises between a database and the files that SQLite keeps beside it. All names that begin with the
    /// database's follow it at once, so one look at the next name tells whether there can be any.
    #[expect(clippy::type_complexity, reason = "two promises, given and taken")]
    fn companions(frame: &mut Frame, name: &[u8]) -> (Option<Arc<Promise<bool>>>, Option<Arc<Promise<bool>>>) {
        let beside = sqlite::is_sidecar(name).and_then(|database| frame.databases.get(database)).cloned();
        let next = frame.names.get(frame.at).map_or(&b""[..], CStr::to_bytes);
        let has_companion = next.starts_with(name)
            && [&b"-wal"[..], b"-shm", b"-journal"].iter().any(|ending| frame.names.contains(&[name, ending].concat()));
        if !has_companion {
            return (None, beside);
        }
        let promise = Arc::new(Promise::new());
        frame.databases.insert(name.to_vec(), Arc::clone(&promise));
        (Some(promise), beside)
    }

    /// Whether the parent's entry still stands for the file: same length and times, times that can be trusted, the
    /// same names, and every blob of it there.
    fn is_unchanged(&mut self, stat: &Stat, links: Option<LinkGroup>, entry: &TreeEntry) -> bool {
        let Some(parent) = self.shared.parent else { return false };
        let NodeKind::File { size, content, .. } = &entry.node.kind else { return false };
        let Metadata { mtime, ctime, mode, uid, gid, .. } = &entry.node.metadata;
        let latest = stat.mtime.max(stat.ctime);
        let trusted = Timestamp { seconds: latest.seconds.saturating_add(TRUSTED_AFTER_SECONDS), ..latest };
        (*size, *mtime, *ctime) == (stat.size, stat.mtime, stat.ctime)
            && (*mode, *uid, *gid) == (stat.mode, stat.uid, stat.gid)
            && trusted <= parent.snapshot.start
            && links == entry.node.links
            && self.is_stored(&entry.node)
            && (content.level == 0 || self.lists_are_stored(content))
    }

    /// Whether a table that must be there was not counted in the parent; what it lacks, a new look tells.
    fn lacks_tables(&self, entry: &TreeEntry) -> bool {
        let NodeKind::File { rows, .. } = &entry.node.kind else { return false };
        let wanted = self.shared.options.tables_of(&self.path);
        wanted.is_some_and(|wanted| !wrong_tables(wanted, rows, &[]).is_empty())
    }

    fn is_stored(&self, node: &Node) -> bool {
        let NodeKind::File { content, .. } = &node.kind else { return false };
        let stored = |content: &Content| content.parts.iter().all(|part| self.shared.writer.has(&part.id));
        stored(content)
            && node.metadata.xattrs.iter().all(|xattr| match &xattr.value {
                XattrValue::Inline(_) => true,
                XattrValue::Stored(content) => content.level == 0 && stored(content),
            })
    }

    fn lists_are_stored(&mut self, content: &Content) -> bool {
        let mut cursor = ContentCursor::new(content.clone());
        let mut lists = true;
        loop {
            let writer = self.shared.writer;
            match cursor.next_with(&mut self.reader, &mut |list| lists &= writer.has(list)) {
                Ok(Some(part)) if lists && writer.has(&part.id) => {}
                Ok(None) => return lists,
                _ => return false,
            }
        }
    }

    fn special(
        &mut self,
        folder: &SourceFolder,
        name: &CStr,
        stat: &Stat,
        before: Option<TreeEntry>,
    ) -> Result<(), Gone> {
        let kind = match stat.file_type {
            FileType::Symlink => match folder.read_link(name) {
                Ok(target) => NodeKind::Symlink { target: target.into_bytes() },
                Err(Errno::NOENT) => return Ok(()),
                Err(error) => {
                    self.problem("unreadable", error);
                    return Ok(());
                }
            },
            FileType::CharacterDevice => NodeKind::CharDevice { major: stat.rdev.0, minor: stat.rdev.1 },
            FileType::BlockDevice => NodeKind::BlockDevice { major: stat.rdev.0, minor: stat.rdev.1 },
            FileType::Fifo => NodeKind::Fifo,
            FileType::Socket => NodeKind::Socket,
            _ => {
                self.problem("unreadable", "its type is unknown");
                return Ok(());
            }
        };
        drop(before);
        let xattrs = self.xattrs(match xattrs_at(folder.as_fd(), name) {
            // Links and pipes cannot have attributes of users on most file systems.
            Err(Errno::PERM | Errno::NOENT) => Ok(Vec::new()),
            read => read,
        });
        let metadata = self.shared.names.metadata(stat, xattrs);
        let node = Node { name: name.to_bytes().to_vec(), metadata, links: self.link_group(stat), kind };
        self.shared.progress.advance(1, 0);
        self.ready(EncodedEntry { encoded: encode_node(&node), name: node.name, file: None })
    }

    fn ready(&mut self, entry: EncodedEntry) -> Result<(), Gone> {
        self.slots.push(Slot::Ready(entry));
        if self.slots.len() >= BATCH_ENTRIES { self.flush() } else { Ok(()) }
    }

    /// Hands the gathered entries on: to the readers when something in them must be read.
    fn flush(&mut self) -> Result<(), Gone> {
        let slots = std::mem::take(&mut self.slots);
        let files = std::mem::take(&mut self.batch_files);
        self.batch_bytes = 0;
        if slots.is_empty() {
            return Ok(());
        }
        if files == 0 {
            let ready = |slot| match slot {
                Slot::Ready(entry) => Some(entry),
                Slot::Read(_) => None,
            };
            return self.send(Item::Ready(slots.into_iter().filter_map(ready).collect()));
        }
        let (done, result) = bounded(1);
        self.send(Item::Pending(result))?;
        self.tasks.send(Batch { slots, done }).map_err(|_| Gone)
    }
}

/// Whether the database `name` has a write-ahead log or journal with something in it: then its own times say nothing.
fn has_pending_log(frame: &Frame, name: &[u8]) -> bool {
    if !frame.databases.contains_key(name) {
        return false;
    }
    [&b"-wal"[..], b"-journal"].iter().any(|ending| {
        let companion = [name, ending].concat();
        frame.names.contains(&companion)
            && CString::new(companion)
                .ok()
                .and_then(|companion| stat_at(frame.folder.as_fd(), &companion).ok())
                .is_some_and(|stat| stat.size > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_read_in_the_snapshot_of_the_innermost_folder_that_has_one() {
        let one = |source: &str, stands_for: &str| Substitute { source: source.into(), stands_for: stands_for.into() };
        let substitutes = [one("/snap/a", "/srv"), one("/snap/b", "/srv/app")];
        let cases =
            [("/srv", "/snap/a"), ("/srv/x", "/snap/a/x"), ("/srv/app/y", "/snap/b/y"), ("/srvx", "/srvx"), ("/", "/")];
        for (root, place) in cases {
            assert_eq!(read_in_place_of(&substitutes, Path::new(root)), Path::new(place), "{root}");
        }
    }

    #[test]
    fn a_root_is_restored_under_its_full_path() {
        assert_eq!(restore_name(Path::new("/mnt/data/plex")), b"mnt/data/plex");
        assert_eq!(restore_name(Path::new("/")), b"@root");
    }
}
