//! What was read from a store that is far away, kept on this machine: small objects that are read in every run, and
//! packs of trees. All of it is sealed as it is there, is named by its hash, and may be deleted or damaged at any time:
//! that costs time and changes nothing.
//!
//! Which objects exist is always asked of the store. Of what it lists no more the copy is dropped; packs of trees are
//! dropped when they are too many, those first that were not used for the longest time.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rustix::fs::Timestamps;

use super::{Area, Listed, ObjectName, Store, StoreError, Traffic, Upload};
use crate::format::node::Timestamp;

/// Areas whose objects are small, and read whole.
const KEPT: [Area; 5] = [Area::Config, Area::Index, Area::Snapshots, Area::Facts, Area::Marks];

/// Larger packs are read range by range, in bytes.
const MAX_PACK_LEN: u64 = 16 << 20;

/// Packs of trees that are kept, in bytes.
pub const TREE_BYTES: u64 = 1 << 30;

/// A store with copies on this machine.
pub struct CachedStore {
    inner: Arc<dyn Store>,
    copies: Arc<Copies>,
}

struct Copies {
    folder: PathBuf,
    most_bytes: u64,
    /// Packs that are being fetched: whoever wants one of them waits.
    fetching: Mutex<HashSet<ObjectName>>,
    fetched: Condvar,
    /// Bytes of packs that are kept, once they were counted.
    kept_bytes: Mutex<Option<u64>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_of(name: &ObjectName, bytes: &[u8]) -> bool {
    blake3::hash(bytes).as_bytes() == name.hash()
}

impl CachedStore {
    /// Keeps copies of what is read from `inner` in `folder`, which is made when it is needed, and at most `most_bytes`
    /// of packs. Where nothing can be kept, all is read from `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, folder: PathBuf, most_bytes: u64) -> Self {
        let copies = Copies {
            folder,
            most_bytes,
            fetching: Mutex::default(),
            fetched: Condvar::new(),
            kept_bytes: Mutex::default(),
        };
        Self { inner, copies: Arc::new(copies) }
    }

    /// The pack as a file of this machine, fetched when it is not there yet.
    fn pack(&self, name: &ObjectName, length: u64) -> Result<Option<File>, StoreError> {
        if let Some(file) = self.copies.open(name, length) {
            return Ok(Some(file));
        }
        let mut fetching = lock(&self.copies.fetching);
        while !fetching.insert(*name) {
            fetching = self.copies.fetched.wait(fetching).unwrap_or_else(PoisonError::into_inner);
        }
        drop(fetching);
        let fetched = match self.copies.open(name, length) {
            Some(file) => Ok(Some(file)),
            None => self.inner.get(name).map(|bytes| {
                self.copies.keep(name, &bytes);
                self.copies.open(name, length)
            }),
        };
        lock(&self.copies.fetching).remove(name);
        self.copies.fetched.notify_all();
        fetched
    }
}

impl Copies {
    fn path(&self, name: &ObjectName) -> PathBuf {
        self.folder.join(name.area().folder()).join(name.file_name())
    }

    /// A whole object, when it is here and is what its name says.
    fn read(&self, name: &ObjectName) -> Option<Vec<u8>> {
        let path = self.path(name);
        let bytes = fs::read(&path).ok()?;
        if is_of(name, &bytes) {
            return Some(bytes);
        }
        let _ = fs::remove_file(path);
        None
    }

    fn open(&self, name: &ObjectName, length: u64) -> Option<File> {
        let file = File::open(self.path(name)).ok()?;
        (file.metadata().ok()?.len() == length).then_some(file)
    }

    /// Keeps a copy, whole or not at all. That it cannot be kept is no trouble of whoever wanted to read.
    fn keep(&self, name: &ObjectName, bytes: &[u8]) {
        if !is_of(name, bytes) {
            return;
        }
        let path = self.path(name);
        if path.exists() || self.write(&path, bytes).is_err() {
            return;
        }
        if name.area() == Area::Packs {
            self.make_room(bytes.len() as u64);
        }
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let folder = path.parent().unwrap_or(&self.folder);
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }

    /// Drops the packs that were not used for the longest time, until a tenth is free.
    fn make_room(&self, added: u64) {
        let mut kept = lock(&self.kept_bytes);
        let count = || self.files(Area::Packs).iter().map(|(_, length, _)| length).sum::<u64>();
        let now = kept.map_or_else(count, |kept| kept + added);
        *kept = Some(now);
        if now <= self.most_bytes {
            return;
        }
        let mut packs = self.files(Area::Packs);
        packs.sort_by_key(|(_, _, used)| *used);
        let mut left: u64 = packs.iter().map(|(_, length, _)| length).sum();
        for (path, length, _) in packs {
            if left <= self.most_bytes / 10 * 9 {
                break;
            }
            if fs::remove_file(path).is_ok() {
                left -= length;
            }
        }
        *kept = Some(left);
    }

    /// The copies of an area: path, length in bytes, when it was last used.
    fn files(&self, area: Area) -> Vec<(PathBuf, u64, std::time::SystemTime)> {
        let Ok(entries) = fs::read_dir(self.folder.join(area.folder())) else { return Vec::new() };
        let file = |entry: fs::DirEntry| {
            let metadata = entry.metadata().ok()?;
            Some((entry.path(), metadata.len(), metadata.modified().ok()?))
        };
        entries.filter_map(|entry| file(entry.ok()?)).collect()
    }

    fn drop_copy(&self, name: &ObjectName) -> bool {
        fs::remove_file(self.path(name)).is_ok()
    }

    /// Drops the copies of what is listed no more.
    fn keep_only(&self, area: Area, listed: &[Listed]) {
        let names: HashSet<String> = listed.iter().map(|listed| listed.name.file_name()).collect();
        for (path, ..) in self.files(area) {
            let is_listed = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| names.contains(name));
            // What is being written has a name that is none of an object; it is left alone.
            let is_object = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| !name.starts_with('.'));
            if !is_listed && is_object {
                let _ = fs::remove_file(path);
            }
        }
    }
}

impl Store for CachedStore {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn is_far(&self) -> bool {
        self.inner.is_far()
    }

    fn syncs(&self) -> bool {
        self.inner.syncs()
    }

    fn keeps_deleted(&self, name: &ObjectName) -> Option<bool> {
        self.inner.keeps_deleted(name)
    }

    fn get(&self, name: &ObjectName) -> Result<Vec<u8>, StoreError> {
        if !KEPT.contains(&name.area()) {
            return self.inner.get(name);
        }
        if let Some(bytes) = self.copies.read(name) {
            return Ok(bytes);
        }
        let bytes = self.inner.get(name)?;
        self.copies.keep(name, &bytes);
        Ok(bytes)
    }

    fn get_range(&self, name: &ObjectName, offset: u64, length: u64, into: &mut Vec<u8>) -> Result<(), StoreError> {
        self.inner.get_range(name, offset, length, into)
    }

    fn get_range_of_trees(
        &self,
        name: &ObjectName,
        size: u64,
        offset: u64,
        length: u64,
        into: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        if size <= MAX_PACK_LEN
            && let Some(file) = self.pack(name, size)?
        {
            into.clear();
            into.resize(usize::try_from(length).unwrap_or(usize::MAX), 0);
            if file.read_exact_at(into, offset).is_ok() {
                // Says that it was used; when that cannot be noted it goes earlier.
                let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
                let _ = rustix::fs::futimens(&file, &Timestamps { last_access: now, last_modification: now });
                return Ok(());
            }
        }
        self.inner.get_range(name, offset, length, into)
    }

    fn put_new(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        // No copy: whoever puts something and reads it back wants to know what the store has.
        self.inner.put_new(name, bytes)
    }

    fn put_bytes(&self, name: &ObjectName, bytes: Bytes) -> Result<(), StoreError> {
        self.inner.put_bytes(name, bytes)
    }

    fn begin(&self) -> Result<Box<dyn Upload>, StoreError> {
        self.inner.begin()
    }

    fn list(&self, area: Area) -> Result<Vec<Listed>, StoreError> {
        let listed = self.inner.list(area)?;
        if KEPT.contains(&area) {
            self.copies.keep_only(area, &listed);
        }
        Ok(listed)
    }

    fn stat(&self, name: &ObjectName) -> Result<Option<u64>, StoreError> {
        self.inner.stat(name)
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        self.copies.drop_copy(name);
        self.inner.delete(name)
    }

    fn move_new(&self, from: &ObjectName, to: &ObjectName) -> Result<(), StoreError> {
        // What lies there is meant, not the copy of it.
        self.copies.drop_copy(from);
        self.inner.move_new(from, to)
    }

    fn time(&self) -> Result<Timestamp, StoreError> {
        self.inner.time()
    }

    fn clean(&self) -> Result<(), StoreError> {
        self.inner.clean()
    }

    fn traffic(&self) -> Option<Traffic> {
        self.inner.traffic()
    }

    fn expect_reading(&self, name: &ObjectName, bytes: &[u8]) {
        self.copies.keep(name, bytes);
    }

    fn drop_copy(&self, name: &ObjectName) -> bool {
        self.copies.drop_copy(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::index_file::PackName;
    use crate::id::{ObjectId, PackId};
    use crate::store::LocalStore;

    fn object(area: Area, bytes: &[u8]) -> ObjectName {
        ObjectName::Plain(area, ObjectId(*blake3::hash(bytes).as_bytes()))
    }

    fn pack(bytes: &[u8]) -> ObjectName {
        ObjectName::Pack(PackName { id: PackId(*blake3::hash(bytes).as_bytes()), nonce: [7; 8] })
    }

    struct Bench {
        folder: tempfile::TempDir,
        far: LocalStore,
    }

    impl Bench {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let far = LocalStore::create(&folder.path().join("far")).unwrap();
            Self { folder, far }
        }

        fn cached(&self, most_bytes: u64) -> CachedStore {
            CachedStore::new(Arc::new(self.far.clone()), self.folder.path().join("near"), most_bytes)
        }

        fn near(&self, name: &ObjectName) -> PathBuf {
            self.folder.path().join("near").join(name.area().folder()).join(name.file_name())
        }
    }

    #[test]
    fn what_was_read_once_is_read_here_and_what_was_put_is_read_there_first() {
        let bench = Bench::new();
        let (index, key) = (object(Area::Index, b"index"), object(Area::Keys, b"key"));
        let store = bench.cached(0);
        store.put_new(&index, b"index").unwrap();
        store.put_new(&key, b"key").unwrap();
        assert!(!bench.near(&index).exists());
        assert_eq!(store.get(&index).unwrap(), b"index");
        assert_eq!(store.get(&key).unwrap(), b"key");
        assert!(bench.near(&index).exists() && !bench.near(&key).exists());
        bench.far.delete(&index).unwrap();
        assert_eq!(store.get(&index).unwrap(), b"index");
    }

    #[test]
    fn a_damaged_copy_is_read_anew_and_damage_is_never_kept() {
        let bench = Bench::new();
        let store = bench.cached(1 << 20);
        let (index, trees) = (object(Area::Index, b"index"), pack(b"a pack of trees"));
        store.put_new(&index, b"index").unwrap();
        store.put_new(&trees, b"a pack of trees").unwrap();
        store.get(&index).unwrap();
        fs::write(bench.near(&index), b"indeX").unwrap();
        assert_eq!(store.get(&index).unwrap(), b"index");
        let mut range = Vec::new();
        store.get_range_of_trees(&trees, 15, 2, 4, &mut range).unwrap();
        assert_eq!(range, b"pack");
        // Whoever finds that it is not what it should be has it dropped.
        fs::write(bench.near(&trees), b"a pAck of trees").unwrap();
        assert!(store.drop_copy(&trees) && !store.drop_copy(&trees));
        store.get_range_of_trees(&trees, 15, 2, 4, &mut range).unwrap();
        assert_eq!(range, b"pack");
        let lie = object(Area::Index, b"another");
        bench.far.put_new(&lie, b"damaged").unwrap();
        assert_eq!(store.get(&lie).unwrap(), b"damaged");
        assert!(!bench.near(&lie).exists());
    }

    #[test]
    fn what_is_listed_no_more_is_dropped() {
        let bench = Bench::new();
        let store = bench.cached(0);
        let (old, new) = (object(Area::Snapshots, b"old"), object(Area::Snapshots, b"new"));
        for (name, bytes) in [(&old, b"old"), (&new, b"new")] {
            store.put_new(name, bytes).unwrap();
            store.get(name).unwrap();
        }
        bench.far.delete(&old).unwrap();
        store.list(Area::Snapshots).unwrap();
        assert!(!bench.near(&old).exists() && bench.near(&new).exists());
    }

    #[test]
    fn packs_are_dropped_when_they_are_too_many_the_unused_first() {
        let bench = Bench::new();
        let store = bench.cached(10_000);
        let mut all = Vec::new();
        for number in 0..12_u8 {
            let bytes = vec![number; 1000];
            let name = pack(&bytes);
            bench.far.put_new(&name, &bytes).unwrap();
            let mut range = Vec::new();
            store.get_range_of_trees(&name, 1000, 0, 1, &mut range).unwrap();
            all.push(name);
            // The first one is used again and again.
            store.get_range_of_trees(&all[0], 1000, 0, 1, &mut range).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let kept: Vec<bool> = all.iter().map(|name| bench.near(name).exists()).collect();
        assert!(kept[0] && !kept[1] && kept[11], "{kept:?}");
        assert!(kept.iter().filter(|kept| **kept).count() <= 10, "{kept:?}");
    }
}
