//! What is stored, and what must never be lost: looked at after every operation.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};

use bk::format::Kind;
use bk::format::index_file::{IndexFile, PackName};
use bk::id::{BlobId, SnapshotId};
use bk::repository::Repository;
use bk::store::{Area, ObjectName};

use super::gate::Weakness;
use super::support::MemoryStore;

#[derive(Default)]
struct Seen {
    packs: HashSet<PackName>,
    /// What each index object says.
    index: HashMap<ObjectName, Vec<(BlobId, PackName)>>,
    /// Snapshots that were reported as made and that nobody has begun to forget.
    kept: HashMap<SnapshotId, HashSet<BlobId>>,
    loss: Option<String>,
    told: Vec<String>,
}

/// The store that all actors share.
pub struct World {
    pub store: MemoryStore,
    pub weakness: Weakness,
    /// Opened beside the gate, to read what is put.
    plain: Repository,
    seen: Mutex<Seen>,
}

impl World {
    pub fn new(store: MemoryStore, plain: Repository, weakness: Weakness) -> Self {
        Self { store, weakness, plain, seen: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    pub fn tell(&self, what: impl FnOnce() -> String) {
        let mut seen = self.seen();
        if seen.loss.is_none() {
            let what = what();
            seen.told.push(what);
        }
    }

    /// What was lost, and the operations before it.
    pub fn loss(&self) -> Option<(String, Vec<String>)> {
        let seen = self.seen();
        seen.loss.clone().map(|loss| (loss, seen.told.clone()))
    }

    pub fn put(&self, name: &ObjectName) {
        let mut seen = self.seen();
        match name {
            ObjectName::Pack(pack) => drop(seen.packs.insert(*pack)),
            ObjectName::Plain(Area::Index, _) => {
                let payload = self.plain.read_object(Kind::Index, name).unwrap();
                let file = IndexFile::decode(&payload).unwrap();
                let entries = file.packs.iter().flat_map(|pack| {
                    let blobs = pack.segments.iter().flat_map(|segment| &segment.blobs);
                    blobs.map(|(id, _)| (*id, pack.name))
                });
                seen.index.insert(*name, entries.collect());
            }
            _ => {}
        }
    }

    pub fn deleted(&self, name: &ObjectName) {
        let mut seen = self.seen();
        match name {
            ObjectName::Pack(pack) => drop(seen.packs.remove(pack)),
            ObjectName::Plain(Area::Index, _) => drop(seen.index.remove(name)),
            _ => return,
        }
        seen.look(&format!("{name} was deleted"));
    }

    /// A writer reported a snapshot.
    pub fn reported(&self, id: SnapshotId, blobs: HashSet<BlobId>) {
        let mut seen = self.seen();
        seen.kept.insert(id, blobs);
        seen.look(&format!("snapshot {} was reported", id.short()));
    }

    /// Somebody begins to forget a snapshot.
    pub fn forgets(&self, id: SnapshotId) {
        self.seen().kept.remove(&id);
    }

    pub fn kept(&self) -> Vec<SnapshotId> {
        let mut kept: Vec<_> = self.seen().kept.keys().copied().collect();
        kept.sort();
        kept
    }
}

impl Seen {
    /// Every blob of every kept snapshot is in a pack that is there, and an index object that is there says so.
    fn look(&mut self, after: &str) {
        if self.loss.is_some() {
            return;
        }
        let known: HashSet<BlobId> =
            self.index.values().flatten().filter(|(_, pack)| self.packs.contains(pack)).map(|(id, _)| *id).collect();
        for (id, blobs) in &self.kept {
            if let Some(blob) = blobs.iter().find(|blob| !known.contains(*blob)) {
                self.loss = Some(format!("{after}: snapshot {} lost blob {}", id.short(), blob.short()));
            }
        }
    }
}
