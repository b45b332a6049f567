//! Is a repository in restic's format whole? Unlike rustic_core's own check, this goes on after whatever is damaged.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustic_core::repofile::{IndexFile, IndexId, IndexPack};
use rustic_core::{FileType, ReadBackend as _};
use sha2::{Digest as _, Sha256};

use super::Restic;
use super::backend::{Shared, bytes_of};
use super::error::ResticError;
use super::read::{Reader, in_parallel};
use super::seal::Seal;
use crate::format::node::{Node, NodeKind};
use crate::id::{BlobId, to_hex};
use crate::progress::Progress;
use crate::store::{Area, ResticArea, Store};

/// Files that need damaged blobs are named up to this many.
const NAMED_FILES: usize = 20;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckFinding {
    /// The object, tree or file.
    pub object: String,
    /// What is wrong with it.
    pub message: String,
    /// Whether something is lost; else it takes room, no more.
    pub is_damage: bool,
}

/// What a check has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Snapshots that can be read.
    pub snapshots: u64,
    /// Packs that the index names.
    pub packs: u64,
    /// Trees that were looked through.
    pub trees: u64,
    /// Files in them, each counted once a tree.
    pub files: u64,
    /// Bytes of packs that were read and decrypted.
    pub read_bytes: u64,
    /// What is wrong.
    pub findings: Vec<CheckFinding>,
}

impl CheckReport {
    /// Whether anything is lost.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.findings.iter().any(|finding| finding.is_damage)
    }

    fn damage(&mut self, object: impl Into<String>, message: impl Into<String>) {
        self.findings.push(CheckFinding { object: object.into(), message: message.into(), is_damage: true });
    }
}

struct Checker<'a> {
    restic: &'a Restic,
    seal: Seal,
    progress: &'a dyn Progress,
    cancel: &'a AtomicBool,
    report: CheckReport,
    /// Packs as the store lists them, with their sizes in bytes; what the index names is taken out.
    unnamed: HashMap<[u8; 32], u64>,
    /// Blobs that were read and are not what they should be.
    damaged: HashSet<[u8; 32]>,
}

impl Restic {
    /// Looks whether all snapshots are whole: every tree is read, every blob is in the index, every pack is there in
    /// its length. With `read_data`, every pack is read, and every blob in it decrypted and compared with its id.
    ///
    /// # Errors
    /// When the check itself cannot go on: the repository is out of reach, or the user wants it to end.
    pub fn check(
        self,
        read_data: bool,
        progress: &dyn Progress,
        cancel: &AtomicBool,
    ) -> Result<CheckReport, ResticError> {
        let damaged_indexes = self.hide_damaged_indexes()?;
        let seal = super::seal(&self.backend, &self.repository)?;
        let listed = self.backend.store().list(Area::Restic(ResticArea::Data))?;
        let unnamed = listed.into_iter().map(|one| (*one.name.hash(), one.size)).collect();
        let mut report = CheckReport::default();
        for (name, reason) in damaged_indexes {
            report.damage(name, reason);
        }
        let (restic, damaged) = (&self, HashSet::new());
        let mut checker = Checker { restic, seal, progress, cancel, report, unnamed, damaged };
        checker.packs(read_data)?;
        let Checker { report, damaged, .. } = checker;
        let reader = self.into_reader(&|_| ())?;
        let mut walk = Walk { reader: &reader, progress, cancel, report, damaged, seen: HashSet::new(), named: 0 };
        walk.snapshots()?;
        walk.report.findings.sort_by(|a, b| (!a.is_damage, &a.object).cmp(&(!b.is_damage, &b.object)));
        Ok(walk.report)
    }
}

/// What reading one pack has shown.
#[derive(Default)]
struct PackLook {
    problem: Option<String>,
    wrong: Vec<[u8; 32]>,
}

impl Checker<'_> {
    fn packs(&mut self, read_data: bool) -> Result<(), ResticError> {
        let name = if read_data { "reading packs" } else { "comparing packs with the index" };
        let bytes = self.unnamed.values().sum();
        self.progress.phase(name, read_data.then_some(bytes));
        let listed = Shared(std::sync::Arc::clone(&self.restic.backend)).list(FileType::Index);
        for id in listed.map_err(self.restic.failed("list the index of"))? {
            let file: IndexFile = match self.restic.repository.get_file(&IndexId::from(id)) {
                Ok(file) => file,
                Err(error) => match self.restic.backend.error("read an index of", &error) {
                    // Replaced by others since the list was made.
                    ResticError::Store(error) if error.is_missing() => continue,
                    error => return Err(error),
                },
            };
            self.packs_of(file.packs, read_data)?;
            for pack in file.packs_to_delete {
                self.unnamed.remove(&bytes_of(*pack.id));
            }
        }
        let (count, bytes) = (self.unnamed.len(), self.unnamed.values().sum::<u64>());
        if count > 0 {
            let message = format!(
                "{count} packs ({bytes} bytes) are in no index: a stopped backup left them, and a prune takes them away"
            );
            self.report.findings.push(CheckFinding { object: "data".into(), message, is_damage: false });
        }
        Ok(())
    }

    fn packs_of(&mut self, packs: Vec<IndexPack>, read_data: bool) -> Result<(), ResticError> {
        let mut present = Vec::new();
        for pack in packs {
            let id = bytes_of(*pack.id);
            let name = ResticArea::Data.object(id).to_string();
            let blobs = pack.blobs.len();
            match self.unnamed.remove(&id) {
                Some(size) if size == u64::from(pack.pack_size()) => present.push(pack),
                Some(size) => {
                    let expected = pack.pack_size();
                    self.report.damage(name, format!("it has {size} bytes, and {expected} are expected"));
                    present.push(pack);
                }
                None if self.seen(&id)? => {}
                None => {
                    self.damaged.extend(pack.blobs.iter().map(|blob| bytes_of(*blob.id)));
                    self.report.damage(name, format!("it is missing, with {blobs} blobs"));
                }
            }
            self.report.packs += 1;
        }
        if !read_data {
            return Ok(());
        }
        let (store, seal) = (self.restic.backend.store(), &self.seal);
        let (progress, cancel, read) = (self.progress, self.cancel, AtomicU64::new(0));
        let looks = in_parallel(&present, |pack| {
            if cancel.load(Ordering::Relaxed) {
                return Err(ResticError::Interrupted);
            }
            let look = look_into(store, seal, pack, &read)?;
            progress.advance(1, pack.pack_size().into());
            Ok(look)
        })?;
        self.report.read_bytes += read.into_inner();
        for (pack, look) in present.iter().zip(looks) {
            if let Some(problem) = look.problem {
                self.report.damage(ResticArea::Data.object(bytes_of(*pack.id)).to_string(), problem);
            }
            self.damaged.extend(look.wrong);
        }
        Ok(())
    }

    /// Whether the pack is there although it was not in the list, or was taken out of it: two index objects may name it.
    fn seen(&self, id: &[u8; 32]) -> Result<bool, ResticError> {
        Ok(self.restic.backend.store().stat(&ResticArea::Data.object(*id))?.is_some())
    }
}

/// Reads a pack: its name is the hash of its bytes, and the id of each blob that of what is sealed there.
fn look_into(store: &dyn Store, seal: &Seal, pack: &IndexPack, read: &AtomicU64) -> Result<PackLook, ResticError> {
    let bytes = match store.get(&ResticArea::Data.object(bytes_of(*pack.id))) {
        // Pruned since it was listed; whoever needs it will be told by the walk.
        Err(error) if error.is_missing() => return Ok(PackLook::default()),
        bytes => bytes?,
    };
    read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    let is_whole = <[u8; 32]>::from(Sha256::digest(&bytes)) == bytes_of(*pack.id);
    let is_right = |blob: &&rustic_core::repofile::IndexBlob| {
        let start = blob.location.offset as usize;
        let sealed = bytes.get(start..start.saturating_add(blob.location.length as usize));
        let length = blob.location.data_length() as usize;
        let plain = sealed.and_then(|sealed| seal.open_blob(sealed, blob.location.uncompressed_length.map(|_| length)));
        plain.is_some_and(|plain| <[u8; 32]>::from(Sha256::digest(&plain)) == bytes_of(*blob.id))
    };
    let wrong: Vec<_> = pack.blobs.iter().filter(|blob| !is_right(blob)).map(|blob| bytes_of(*blob.id)).collect();
    let problem = match (is_whole, wrong.len()) {
        (true, 0) => None,
        (false, 0) => Some("its bytes do not have the hash of its name; every blob in it is right".to_owned()),
        (_, count) => Some(format!("{count} of its {} blobs cannot be used", pack.blobs.len())),
    };
    Ok(PackLook { problem, wrong })
}

struct Walk<'a> {
    reader: &'a Reader,
    progress: &'a dyn Progress,
    cancel: &'a AtomicBool,
    report: CheckReport,
    damaged: HashSet<[u8; 32]>,
    seen: HashSet<BlobId>,
    named: usize,
}

impl Walk<'_> {
    fn snapshots(&mut self) -> Result<(), ResticError> {
        let (files, damaged) = self.reader.files()?;
        for (name, reason) in damaged {
            self.report.damage(name, reason);
        }
        self.progress.phase("walking through snapshots", None);
        for (id, file) in files {
            self.report.snapshots += 1;
            let mut short = to_hex(&id);
            short.truncate(crate::id::SHORT_DIGITS);
            self.trees(&format!("snapshot {short}"), BlobId(bytes_of(*file.tree)))?;
        }
        if self.named > NAMED_FILES {
            let message = format!("{} more files need blobs that cannot be used", self.named - NAMED_FILES);
            self.report.damage("files", message);
        }
        Ok(())
    }

    /// Everything below a tree that no snapshot before had.
    fn trees(&mut self, snapshot: &str, root: BlobId) -> Result<(), ResticError> {
        let mut stack = vec![(String::new(), root)];
        while let Some((path, tree)) = stack.pop() {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(ResticError::Interrupted);
            }
            if !self.seen.insert(tree) {
                continue;
            }
            let entries = match self.reader.entries(&tree) {
                Ok(entries) => entries,
                Err(error) if error.is_damage() => {
                    let folder = if path.is_empty() { "/" } else { &path };
                    self.report.damage(format!("{snapshot}: {folder}"), error.to_string());
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            self.report.trees += 1;
            for node in entries {
                let below = format!("{path}/{}", String::from_utf8_lossy(&node.name).escape_debug());
                match &node.kind {
                    NodeKind::Directory { tree } => stack.push((below, *tree)),
                    NodeKind::File { .. } => self.file(snapshot, &below, &node),
                    _ => {}
                }
            }
            self.progress.advance(1, 0);
        }
        Ok(())
    }

    fn file(&mut self, snapshot: &str, path: &str, node: &Node) {
        self.report.files += 1;
        let NodeKind::File { content, .. } = &node.kind else { return };
        let wrong = content.parts.iter().find_map(|part| {
            let is_known = self.reader.length(&super::backend::id_of(part.id.0).into()).is_some();
            match (is_known, self.damaged.contains(&part.id.0)) {
                (false, _) => Some(format!("blob {} is not in the index", part.id)),
                (true, true) => Some(format!("blob {} cannot be used", part.id)),
                (true, false) => None,
            }
        });
        let Some(wrong) = wrong else { return };
        self.named += 1;
        if self.named <= NAMED_FILES {
            self.report.damage(format!("{snapshot}: {path}"), wrong);
        }
    }
}
