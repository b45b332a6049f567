//! What rustic_core reads from and writes to: a store of ours, whose errors are kept as they are.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rustic_core::{BytesList, ErrorKind, FileType, Id, ReadBackend, RusticError, RusticResult, WriteBackend};

use super::error::ResticError;
use crate::id::from_hex;
use crate::store::{Area, ObjectName, ResticArea, Store, StoreError};

/// A store as rustic_core sees it.
pub(super) struct Backend {
    store: Arc<dyn Store>,
    /// Objects that are not shown, as they cannot be used.
    hidden: Mutex<HashSet<ObjectName>>,
    /// The first error of the store: rustic_core gives only words back.
    trouble: Mutex<Option<StoreError>>,
    /// Why no snapshot may be written any more.
    barred: AtomicBool,
    written_bytes: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The 32 bytes of an id.
pub(super) fn bytes_of(id: Id) -> [u8; 32] {
    from_hex(&id.to_hex()).unwrap_or_default()
}

/// The id with these bytes.
pub(super) const fn id_of(bytes: [u8; 32]) -> Id {
    Id::new(bytes)
}

const fn area(kind: FileType) -> ResticArea {
    match kind {
        FileType::Config => ResticArea::Config,
        FileType::Index => ResticArea::Index,
        FileType::Key => ResticArea::Keys,
        FileType::Snapshot => ResticArea::Snapshots,
        FileType::Pack => ResticArea::Data,
    }
}

fn name(kind: FileType, id: &Id) -> ObjectName {
    area(kind).object(bytes_of(*id))
}

impl Backend {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            hidden: Mutex::default(),
            trouble: Mutex::default(),
            barred: AtomicBool::new(false),
            written_bytes: AtomicU64::new(0),
        }
    }

    pub(super) fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Shows nothing of an object from now on.
    pub(super) fn hide(&self, kind: FileType, id: Id) {
        lock(&self.hidden).insert(name(kind, &id));
    }

    /// Shows only this one of all keys.
    pub(super) fn show_only_key(&self, keys: &[Id], shown: Id) {
        let mut hidden = lock(&self.hidden);
        hidden.retain(|object| object.area() != Area::Restic(ResticArea::Keys));
        hidden.extend(keys.iter().filter(|key| **key != shown).map(|key| name(FileType::Key, key)));
    }

    /// Shows all keys again.
    pub(super) fn show_every_key(&self) {
        lock(&self.hidden).retain(|object| object.area() != Area::Restic(ResticArea::Keys));
    }

    /// Lets no snapshot be written any more, or lets it again.
    pub(super) fn bar_snapshots(&self, barred: bool) {
        self.barred.store(barred, Ordering::Relaxed);
    }

    /// Whether no snapshot may be written.
    pub(super) fn bars_snapshots(&self) -> bool {
        self.barred.load(Ordering::Relaxed)
    }

    /// Bytes written since this was opened.
    pub(super) fn written_bytes(&self) -> u64 {
        self.written_bytes.load(Ordering::Relaxed)
    }

    /// What rustic_core failed with: the store's own error where that was the cause.
    pub(super) fn error(&self, action: &'static str, error: &RusticError) -> ResticError {
        match lock(&self.trouble).take() {
            Some(StoreError::Stopped { .. }) => ResticError::Interrupted,
            Some(trouble) => ResticError::Store(trouble),
            None => {
                ResticError::Library { action, location: self.store.location(), reason: super::error::words(error) }
            }
        }
    }

    fn refuse(&self, error: StoreError) -> Box<RusticError> {
        let words = error.to_string();
        lock(&self.trouble).get_or_insert(error);
        RusticError::new(ErrorKind::Backend, words)
    }

    fn write(&self, kind: FileType, id: &Id, content: BytesList) -> Result<(), StoreError> {
        let name = name(kind, id);
        let length = content.size() as u64;
        let mut parts = content.into_vec();
        let bytes = match parts.len() {
            1 => parts.remove(0),
            _ => Bytes::from(parts.concat()),
        };
        match self.store.put_bytes(&name, bytes) {
            // Its name is the hash of its bytes.
            Err(StoreError::Exists { .. }) if kind != FileType::Config => {}
            put => put?,
        }
        // A store may have said so and kept less.
        match self.store.stat(&name)? {
            Some(size) if size == length => {
                self.written_bytes.fetch_add(length, Ordering::Relaxed);
                Ok(())
            }
            size => {
                let _ = self.store.delete(&name);
                let (name, location) = (name.to_string(), self.store.location());
                Err(StoreError::Short { name, location, size: size.unwrap_or(0), end: length })
            }
        }
    }
}

/// What rustic_core is given: it wants to own its backend.
#[derive(Clone)]
pub(super) struct Shared(pub(super) Arc<Backend>);

impl ReadBackend for Shared {
    fn location(&self) -> String {
        self.0.store.location()
    }

    fn list_with_size(&self, kind: FileType) -> RusticResult<Vec<(Id, u32)>> {
        let listed = self.0.store.list(Area::Restic(area(kind))).map_err(|error| self.0.refuse(error))?;
        let hidden = lock(&self.0.hidden);
        // No object of the format is as large as 4 GiB; one that is will be found to differ from its index entry.
        let size = |size: u64| u32::try_from(size).unwrap_or(u32::MAX);
        let shown = listed.into_iter().filter(|one| !hidden.contains(&one.name));
        Ok(shown.map(|one| (id_of(*one.name.hash()), size(one.size))).collect())
    }

    fn read_full(&self, kind: FileType, id: &Id) -> RusticResult<Bytes> {
        let bytes = self.0.store.get(&name(kind, id)).map_err(|error| self.0.refuse(error))?;
        if kind == FileType::Key && !super::key::is_acceptable(&bytes) {
            let words = format!("key {} asks for more memory than any program makes keys with", id.to_hex().as_str());
            return Err(RusticError::new(ErrorKind::Key, words));
        }
        Ok(bytes.into())
    }

    fn read_partial(&self, kind: FileType, id: &Id, _: bool, offset: u32, length: u32) -> RusticResult<Bytes> {
        let mut bytes = Vec::new();
        self.0
            .store
            .get_range(&name(kind, id), offset.into(), length.into(), &mut bytes)
            .map_err(|error| self.0.refuse(error))?;
        Ok(bytes.into())
    }

    fn warmup_path(&self, kind: FileType, id: &Id) -> String {
        name(kind, id).to_string()
    }
}

impl WriteBackend for Shared {
    fn write_bytes(&self, kind: FileType, id: &Id, _: bool, content: BytesList) -> RusticResult<()> {
        if kind == FileType::Snapshot && self.0.bars_snapshots() {
            return Err(RusticError::new(ErrorKind::Backend, "the snapshot is not whole and is not written"));
        }
        self.0.write(kind, id, content).map_err(|error| self.0.refuse(error))
    }

    fn remove(&self, kind: FileType, id: &Id, _: bool) -> RusticResult<()> {
        self.0.store.delete(&name(kind, id)).map_err(|error| self.0.refuse(error))
    }
}
