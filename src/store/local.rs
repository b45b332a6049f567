//! A repository in a folder, our own because durability is the point: write, fsync, rename without replacing,
//! fsync the folder. A failed fsync means a failed object; it is never tried again on the same file.

mod restic;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, RenameFlags};

use super::{Area, Listed, ObjectName, Store, StoreError, Upload};
use crate::clock::Stamps;
use crate::format::node::Timestamp;
use crate::id::to_hex;

/// Folder of files that are being written.
const TEMPORARY: &str = Area::Temporary.folder();

/// A repository in a folder.
#[derive(Debug, Clone)]
pub struct LocalStore {
    folder: Arc<Folder>,
    min_free_bytes: u64,
    /// Whether there was a configuration in restic's format when it was opened: without one nothing is known.
    holds_restic: bool,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    descriptor: OwnedFd,
    stamps: Option<Stamps>,
}

impl Folder {
    fn error(&self, action: &'static str, name: &str, error: impl Into<io::Error>) -> StoreError {
        StoreError::from_io(action, name, &self.path.display().to_string(), error.into())
    }

    fn open(&self, name: &str) -> Result<File, StoreError> {
        rustix::fs::openat(&self.descriptor, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map(File::from)
            .map_err(|error| self.error("read", name, error))
    }

    fn sync_folder(&self, name: &str) -> Result<(), StoreError> {
        let folder = self.open(name)?;
        match rustix::fs::fsync(&folder) {
            // Some network file systems cannot sync a folder; they have nothing better to offer.
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP) => Ok(()),
            Err(error) => Err(self.error("write", name, error)),
        }
    }

    /// Gives a file its final name, never replacing another.
    fn rename_new(&self, from: &str, to: &str) -> rustix::io::Result<()> {
        use rustix::io::Errno;
        let root = self.descriptor.as_fd();
        match rustix::fs::renameat_with(root, from, root, to, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            result => return result,
        }
        match rustix::fs::linkat(root, from, root, to, AtFlags::empty()) {
            Ok(()) => return rustix::fs::unlinkat(root, from, AtFlags::empty()),
            Err(Errno::PERM | Errno::NOSYS | Errno::OPNOTSUPP | Errno::MLINK) => {}
            Err(error) => return Err(error),
        }
        // Neither exists here (exFAT, some network shares). Names hold the hash of the bytes or a fresh nonce,
        // so a rename in the moment after this look could only replace an object by an equal one.
        match rustix::fs::statat(root, to, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Err(Errno::EXIST),
            Err(Errno::NOENT) => rustix::fs::renameat(root, from, root, to),
            Err(error) => Err(error),
        }
    }

    /// Renames and makes the new name durable, with the pack folder where it is new.
    fn publish(&self, from: &str, name: &ObjectName) -> Result<(), StoreError> {
        let to = name.to_string();
        let folder = to.rsplit_once('/').map_or(".", |(folder, _)| folder);
        let mut result = self.rename_new(from, &to);
        if result == Err(rustix::io::Errno::NOENT) {
            let above = folder.rsplit_once('/').map_or(".", |(above, _)| above);
            match rustix::fs::mkdirat(&self.descriptor, folder, Mode::RWXU) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => self.sync_folder(above)?,
                Err(error) => return Err(self.error("make", folder, error)),
            }
            result = self.rename_new(from, &to);
        }
        result.map_err(|error| self.error("write", &to, error))?;
        self.sync_folder(folder)
    }
}

/// What a folder may hold at a place that is free for a new repository.
enum MayHold {
    Anything,
    EmptyFolders,
    Nothing,
}

/// Whether all that is below `path` may be there.
fn holds_only(path: &Path, rule: impl Fn(&OsStr) -> Option<MayHold>) -> io::Result<bool> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let sound = match rule(&entry.file_name()) {
            None => false,
            Some(MayHold::Anything) => true,
            Some(MayHold::Nothing) => fs::read_dir(entry.path())?.next().is_none(),
            Some(MayHold::EmptyFolders) => {
                for first in fs::read_dir(entry.path())? {
                    if fs::read_dir(first?.path())?.next().is_some() {
                        return Ok(false);
                    }
                }
                true
            }
        };
        if !sound {
            return Ok(false);
        }
    }
    Ok(true)
}

impl LocalStore {
    /// Whether there is a repository at `path`: one that was not finished has no configuration.
    #[must_use]
    pub fn is_finished(path: &Path) -> bool {
        fs::read_dir(path.join(Area::Config.folder())).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// Whether nothing but key slots and temporary files is below `path`, as when making it was interrupted.
    ///
    /// # Errors
    /// When `path` is no folder that can be read.
    pub fn is_unfinished(path: &Path) -> io::Result<bool> {
        holds_only(path, |name| {
            let area = Area::ALL.into_iter().find(|area| name == area.folder());
            match area {
                Some(Area::Keys) => Some(MayHold::Anything),
                None => (name == TEMPORARY).then_some(MayHold::Anything),
                Some(Area::Packs) => Some(MayHold::EmptyFolders),
                Some(_) => Some(MayHold::Nothing),
            }
        })
    }

    /// Makes the folders of a new repository. `path` may exist when it is empty, or holds what an interrupted call
    /// of this left. Nobody else can make one there as long as this store lives.
    ///
    /// # Errors
    /// [`StoreError::NotEmpty`]; others as they come.
    pub fn create(path: &Path) -> Result<Self, StoreError> {
        let packs = (0..=u8::MAX).map(|first| format!("{}/{}", Area::Packs.folder(), to_hex(&[first])));
        let names = Area::ALL.map(|area| area.folder().to_owned());
        let names = names.into_iter().chain([TEMPORARY.to_owned()]).chain(packs);
        Self::make(path, names, Area::Packs.folder(), Self::is_unfinished)
    }

    /// Makes folders, those in `deep` too, where nothing is but what may be there.
    fn make(
        path: &Path,
        names: impl Iterator<Item = String>,
        deep: &str,
        is_free: impl FnOnce(&Path) -> io::Result<bool>,
    ) -> Result<Self, StoreError> {
        let location = path.display().to_string();
        let error = |error| StoreError::from_io("make", &location, &location, error);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(error)?;
        let folder = Self::open_folder(path)?;
        // Somebody else makes one here at this moment. File systems without locks cannot tell.
        let taken = rustix::fs::flock(&folder.descriptor, FlockOperation::NonBlockingLockExclusive)
            == Err(rustix::io::Errno::WOULDBLOCK);
        if taken || !is_free(path).map_err(error)? {
            return Err(StoreError::NotEmpty { location });
        }
        for name in names {
            match rustix::fs::mkdirat(&folder.descriptor, &name, Mode::RWXU) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(folder.error("make", &name, error)),
            }
        }
        folder.sync_folder(deep)?;
        folder.sync_folder(".")?;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            let _ = File::open(parent).and_then(|parent| parent.sync_all());
        }
        Ok(Self::of(folder))
    }

    fn of(folder: Folder) -> Self {
        Self { folder: Arc::new(folder), min_free_bytes: 0, holds_restic: false }
    }

    fn open_folder(path: &Path) -> Result<Folder, StoreError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| {
            let location = path.display().to_string();
            match error {
                rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR => StoreError::NoRepository { location },
                error => StoreError::from_io("open", &location, &location, error.into()),
            }
        })?;
        Ok(Folder { path: path.to_owned(), descriptor, stamps: None })
    }

    /// Opens the folder of a repository.
    ///
    /// # Errors
    /// [`StoreError::NoRepository`] when it does not look like one; others as they come.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let folder = Self::open_folder(path)?;
        for area in [Area::Config, Area::Keys, Area::Packs, Area::Snapshots] {
            match folder.open(area.folder()) {
                Ok(_) => {}
                Err(StoreError::Missing { .. }) => {
                    return Err(StoreError::NoRepository { location: path.display().to_string() });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Self::of(folder))
    }

    /// Refuses to begin large objects while less than this is free.
    #[must_use]
    pub fn with_min_free(mut self, bytes: u64) -> Self {
        self.min_free_bytes = bytes;
        self
    }

    /// Stamps every file with the time of this clock instead of the machine's.
    #[must_use]
    pub fn stamped_by(mut self, stamps: Option<Stamps>) -> Self {
        if let Some(folder) = Arc::get_mut(&mut self.folder) {
            folder.stamps = stamps;
        }
        self
    }

    fn check_free(&self) -> Result<(), StoreError> {
        if self.min_free_bytes == 0 {
            return Ok(());
        }
        let space = rustix::fs::fstatvfs(&self.folder.descriptor).map_err(|e| self.folder.error("look at", ".", e))?;
        let free_bytes = space.f_bavail.saturating_mul(space.f_frsize);
        if free_bytes < self.min_free_bytes {
            let location = self.location();
            return Err(StoreError::MinFree { location, free_bytes, min_free_bytes: self.min_free_bytes });
        }
        Ok(())
    }

    fn list_folder(&self, area: Area, folder: &str, listed: &mut Vec<Listed>) -> Result<(), StoreError> {
        let error = |error| self.folder.error("list", folder, error);
        let directory = rustix::fs::Dir::new(self.folder.open(folder)?).map_err(error)?;
        for entry in directory {
            let entry = entry.map_err(error)?;
            let Some(name) = entry.file_name().to_str().ok().and_then(|name| ObjectName::parse(area, name)) else {
                continue;
            };
            let path = name.to_string();
            let stat = match rustix::fs::statat(&self.folder.descriptor, &path, AtFlags::SYMLINK_NOFOLLOW) {
                Err(rustix::io::Errno::NOENT) => continue,
                stat => stat.map_err(|error| self.folder.error("list", &path, error))?,
            };
            if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
                continue;
            }
            let time = Timestamp { seconds: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 };
            listed.push(Listed { name, size: stat.st_size as u64, time });
        }
        Ok(())
    }
}

impl Store for LocalStore {
    fn location(&self) -> String {
        self.folder.path.display().to_string()
    }

    fn get(&self, name: &ObjectName) -> Result<Vec<u8>, StoreError> {
        let path = name.to_string();
        let mut file = self.folder.open(&path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| self.folder.error("read", &path, error))?;
        Ok(bytes)
    }

    fn get_range(&self, name: &ObjectName, offset: u64, length: u64, into: &mut Vec<u8>) -> Result<(), StoreError> {
        let path = name.to_string();
        let mut file = self.folder.open(&path)?;
        read_range(&mut file, offset, length, into).map_err(|error| self.folder.error("read", &path, error))?;
        if into.len() as u64 == length {
            return Ok(());
        }
        let size = offset.saturating_add(into.len() as u64);
        Err(StoreError::Short { name: path, location: self.location(), size, end: offset.saturating_add(length) })
    }

    fn put_new(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        let mut upload = LocalUpload::new(Arc::clone(&self.folder))?;
        upload.write(bytes)?;
        Box::new(upload).finish(name).map(drop)
    }

    fn begin(&self) -> Result<Box<dyn Upload>, StoreError> {
        self.check_free()?;
        Ok(Box::new(LocalUpload::new(Arc::clone(&self.folder))?))
    }

    fn list(&self, area: Area) -> Result<Vec<Listed>, StoreError> {
        let mut listed = Vec::new();
        if let Area::Restic(area) = area {
            return self.list_restic(area);
        }
        if area != Area::Packs {
            match self.list_folder(area, area.folder(), &mut listed) {
                // Made with the first object of their kind.
                Err(StoreError::Missing { .. }) if matches!(area, Area::Facts | Area::Marks | Area::Quarantine) => {}
                result => result?,
            }
            return Ok(listed);
        }
        for first in 0..=u8::MAX {
            match self.list_folder(area, &format!("{}/{}", area.folder(), to_hex(&[first])), &mut listed) {
                Err(StoreError::Missing { .. }) => {}
                result => result?,
            }
        }
        Ok(listed)
    }

    fn stat(&self, name: &ObjectName) -> Result<Option<u64>, StoreError> {
        let path = name.to_string();
        match rustix::fs::statat(&self.folder.descriptor, &path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat.st_size as u64)),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(self.folder.error("look at", &path, error)),
        }
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        let path = name.to_string();
        match rustix::fs::unlinkat(&self.folder.descriptor, &path, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(self.folder.error("delete", &path, error)),
        }
    }

    fn move_new(&self, from: &ObjectName, to: &ObjectName) -> Result<(), StoreError> {
        let path = from.to_string();
        rustix::fs::statat(&self.folder.descriptor, &path, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| self.folder.error("move", &path, error))?;
        self.folder.publish(&path, to)?;
        self.folder.sync_folder(path.rsplit_once('/').map_or(".", |(folder, _)| folder))
    }

    /// An empty file needs no block: this works on a file system without room.
    fn time(&self) -> Result<Timestamp, StoreError> {
        let probe = LocalUpload::new(Arc::clone(&self.folder))?;
        let stat = rustix::fs::fstat(&probe.file).map_err(|error| self.folder.error("look at", &probe.name, error))?;
        Ok(Timestamp { seconds: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 })
    }

    fn clean(&self) -> Result<(), StoreError> {
        let error = |error| self.folder.error("list", TEMPORARY, error);
        let directory = match self.folder.open(TEMPORARY) {
            Err(StoreError::Missing { .. }) => return Ok(()),
            directory => rustix::fs::Dir::new(directory?).map_err(error)?,
        };
        for entry in directory {
            let entry = entry.map_err(error)?;
            let name = format!("{TEMPORARY}/{}", entry.file_name().to_string_lossy());
            // A living writer holds a lock on its file.
            let Ok(file) = self.folder.open(&name) else { continue };
            let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.nlink() == 1);
            if is_file && rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                let _ = rustix::fs::unlinkat(&self.folder.descriptor, &name, AtFlags::empty());
            }
        }
        Ok(())
    }
}

fn read_range(file: &mut File, offset: u64, length: u64, into: &mut Vec<u8>) -> io::Result<()> {
    into.clear();
    into.reserve(usize::try_from(length).map_err(io::Error::other)?);
    file.seek(SeekFrom::Start(offset))?;
    file.take(length).read_to_end(into).map(drop)
}

struct LocalUpload {
    folder: Arc<Folder>,
    name: String,
    file: File,
    published: bool,
}

impl LocalUpload {
    fn new(folder: Arc<Folder>) -> Result<Self, StoreError> {
        loop {
            let upload = Self::make(Arc::clone(&folder))?;
            // Somebody who cleans may have come between making and locking, and taken it away.
            let stat = rustix::fs::fstat(&upload.file).map_err(|error| folder.error("write", &upload.name, error))?;
            if stat.st_nlink > 0 {
                return Ok(upload);
            }
        }
    }

    fn make(folder: Arc<Folder>) -> Result<Self, StoreError> {
        let random: [u8; 12] =
            crate::crypto::random().map_err(|error| folder.error("write", TEMPORARY, io::Error::other(error)))?;
        let name = format!("{TEMPORARY}/{}", to_hex(&random));
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let open = || rustix::fs::openat(&folder.descriptor, &name, flags, Mode::RUSR | Mode::WUSR);
        let file = match open() {
            Err(rustix::io::Errno::NOENT) => match rustix::fs::mkdirat(&folder.descriptor, TEMPORARY, Mode::RWXU) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => open(),
                Err(error) => return Err(folder.error("make", TEMPORARY, error)),
            },
            file => file,
        };
        let file = File::from(file.map_err(|error| folder.error("write", &name, error))?);
        // Tells a later run that this one is alive; file systems without locks only lose the cleaning.
        // Who cleans holds it for a moment only.
        let _ = rustix::fs::flock(&file, FlockOperation::LockExclusive);
        let upload = Self { folder, name, file, published: false };
        upload.stamp()?;
        Ok(upload)
    }

    /// Gives the file the time of the clock that counts, when that is not the machine's.
    fn stamp(&self) -> Result<(), StoreError> {
        let Some(Stamps(clock)) = &self.folder.stamps else { return Ok(()) };
        let now = clock.wall();
        let time = rustix::fs::Timespec { tv_sec: now.seconds, tv_nsec: now.nanos.into() };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        rustix::fs::futimens(&self.file, &times).map_err(|error| self.folder.error("write", &self.name, error))
    }
}

impl Upload for LocalUpload {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes).map_err(|error| self.folder.error("write", &self.name, error))
    }

    fn read_back(&self, offset: u64, length: u64, into: &mut Vec<u8>) -> Result<(), StoreError> {
        into.clear();
        into.resize(usize::try_from(length).unwrap_or(usize::MAX), 0);
        self.file.read_exact_at(into, offset).map_err(|error| self.folder.error("read", &self.name, error))
    }

    fn finish(mut self: Box<Self>, name: &ObjectName) -> Result<Option<Bytes>, StoreError> {
        self.stamp()?;
        self.file.sync_all().map_err(|error| self.folder.error("write", &name.to_string(), error))?;
        self.folder.publish(&self.name, name)?;
        self.published = true;
        Ok(None)
    }
}

impl Drop for LocalUpload {
    fn drop(&mut self) {
        if !self.published {
            let _ = rustix::fs::unlinkat(&self.folder.descriptor, &self.name, AtFlags::empty());
        }
    }
}
