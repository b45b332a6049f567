//! A file being restored: written anew beside its name, or changed in place.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Once;

use rustix::fs::{FallocateFlags, Gid, Mode, OFlags, SeekFrom, Uid};
use rustix::io::Errno;

use super::error::DestinationError;
use super::existing::Kind;
use super::folder::Folder;
use super::metadata::{self, MetadataProblem, Problems, Target};
use super::resolve::retry;
use super::temporary::Temporary;
use super::thaw::thawed;
use super::xattr::Extras;
use crate::format::node::{Hole, Metadata};

/// Bytes looked at in one go when a file system cannot punch holes.
const ZEROING_STEP: u64 = 65536;

/// A regular file that takes bytes at any position, from several threads at once.
///
/// Dropped without [`Self::finish`], a new file leaves nothing behind; one changed in place stays half changed and
/// private to whoever runs the restore, until the restore is run again.
#[derive(Debug)]
pub struct FileWriter {
    file: OwnedFd,
    folder: Folder,
    name: Box<[u8]>,
    way: Way,
}

#[derive(Debug)]
enum Way {
    New(Temporary),
    /// With the length it was found with; `closed` runs before the first change.
    InPlace {
        size_bytes: u64,
        closed: Once,
    },
}

impl FileWriter {
    pub(super) fn create(folder: &Folder, name: &[u8]) -> Result<Self, DestinationError> {
        folder.check(name)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let mode = Mode::RUSR | Mode::WUSR;
        let (temporary, file) =
            Temporary::claim(folder, |name| folder.resolve().open(folder.fd(), name.as_bytes(), flags, mode))
                .map_err(|errno| folder.failed("creating", name, errno))?;
        Ok(Self { file, folder: folder.clone(), name: name.into(), way: Way::New(temporary) })
    }

    pub(super) fn open_existing(folder: &Folder, name: &[u8]) -> Result<Option<Self>, DestinationError> {
        match folder.existing(name)? {
            Some(found) if found.kind == Kind::File && found.names == 1 => {}
            _ => return Ok(None),
        }
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY;
        let open = || folder.resolve().open(folder.fd(), name, flags, Mode::empty());
        let file = match thawed(folder.resolve(), folder.fd(), name, open) {
            Ok(file) => file,
            // Gone, swapped for a link, running, or not ours: written anew, it can still be replaced.
            Err(Errno::NOENT | Errno::LOOP | Errno::TXTBSY | Errno::PERM | Errno::ACCESS | Errno::NXIO) => {
                return Ok(None);
            }
            Err(errno) => return Err(folder.failed("opening", name, errno)),
        };
        let found = rustix::fs::fstat(&file).map_err(|errno| folder.failed("looking at", name, errno))?;
        if Kind::of_mode(found.st_mode) != Kind::File || found.st_nlink != 1 {
            return Ok(None);
        }
        let way = Way::InPlace { size_bytes: u64::try_from(found.st_size).unwrap_or(0), closed: Once::new() };
        Ok(Some(Self { file, folder: folder.clone(), name: name.into(), way }))
    }

    /// How long the file was when it was opened, in bytes: 0 for a new one.
    #[must_use]
    pub const fn found_bytes(&self) -> u64 {
        match self.way {
            Way::New(_) => 0,
            Way::InPlace { size_bytes, .. } => size_bytes,
        }
    }

    fn failed(&self, action: &'static str, errno: Errno) -> DestinationError {
        self.folder.failed(action, &self.name, errno)
    }

    /// Before the first change of an existing file: what comes into it is for nobody else until it is finished.
    fn close_to_others(&self) {
        let Way::InPlace { closed, .. } = &self.way else { return };
        closed.call_once(|| {
            let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
            let _ = rustix::fs::fchown(&self.file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            let _ = rustix::fs::fchmod(&self.file, Mode::RUSR | Mode::WUSR);
        });
    }

    /// Makes the file `size_bytes` long; what is added reads as zeros and takes no room. Call it first.
    ///
    /// # Errors
    /// [`DestinationError::System`].
    pub fn set_len(&self, size_bytes: u64) -> Result<(), DestinationError> {
        if self.found_bytes() == size_bytes {
            return Ok(());
        }
        self.close_to_others();
        retry(|| rustix::fs::ftruncate(&self.file, size_bytes)).map_err(|errno| self.failed("resizing", errno))
    }

    /// Writes `bytes` at `offset`. Nothing is written for holes: leave them out, and see [`Self::punch`].
    ///
    /// # Errors
    /// [`DestinationError::System`].
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DestinationError> {
        self.close_to_others();
        let (mut offset, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let written = match retry(|| rustix::io::pwrite(&self.file, rest, offset)) {
                Ok(0) => Err(Errno::IO),
                written => written,
            };
            let written = written.map_err(|errno| self.failed("writing", errno))?;
            rest = rest.get(written..).unwrap_or_default();
            offset = offset.saturating_add(written as u64);
        }
        Ok(())
    }

    /// Fills as much of `bytes` as the file has at `offset`; says how much that is.
    ///
    /// # Errors
    /// [`DestinationError::System`].
    pub fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<usize, DestinationError> {
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let at = offset.saturating_add(filled as u64);
            match retry(|| rustix::io::pread(&self.file, &mut *rest, at)) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(errno) => return Err(self.failed("reading", errno)),
            }
        }
        Ok(filled)
    }

    /// Makes `hole` a hole again. A new file has nothing there; an existing one loses what it had.
    ///
    /// # Errors
    /// [`DestinationError::System`].
    pub fn punch(&self, hole: Hole) -> Result<(), DestinationError> {
        let end = hole.offset.saturating_add(hole.length).min(self.found_bytes());
        let Some(length) = end.checked_sub(hole.offset).filter(|length| *length > 0) else { return Ok(()) };
        if !self.has_data(hole.offset, end) {
            return Ok(());
        }
        self.close_to_others();
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match retry(|| rustix::fs::fallocate(&self.file, flags, hole.offset, length)) {
            Ok(()) => Ok(()),
            Err(Errno::NOTSUP | Errno::NOSYS) => self.zero(hole.offset, end),
            Err(errno) => Err(self.failed("punching a hole into", errno)),
        }
    }

    /// Whether anything but a hole lies between the two positions, as far as the file system tells.
    fn has_data(&self, from: u64, to: u64) -> bool {
        match rustix::fs::seek(&self.file, SeekFrom::Data(from)) {
            Ok(data) => data < to,
            Err(Errno::NXIO) => false,
            Err(_) => true,
        }
    }

    /// Writes zeros where there is something else, for file systems without holes.
    fn zero(&self, from: u64, to: u64) -> Result<(), DestinationError> {
        let mut buffer = vec![0; ZEROING_STEP as usize];
        let mut at = from;
        while at < to {
            let length = (to - at).min(ZEROING_STEP);
            let part = buffer.get_mut(..length as usize).unwrap_or_default();
            if self.read_at(at, part)? == 0 {
                break;
            }
            if part.iter().any(|byte| *byte != 0) {
                part.fill(0);
                self.write_at(at, part)?;
            }
            at += length;
        }
        Ok(())
    }

    /// Gives the file its owner, permissions, attributes and times, then its name, then its flags.
    ///
    /// Until then a previous file of that name is there, complete; afterwards this one is. What could not be set comes
    /// back as problems. Values of attributes that lie in blobs must have been put into `metadata`.
    ///
    /// # Errors
    /// [`DestinationError::InTheWay`] when a directory has the name, [`DestinationError::System`].
    pub fn finish(self, metadata: &Metadata) -> Result<Vec<MetadataProblem>, DestinationError> {
        let Self { file, folder, name, way } = self;
        let mut problems = Problems::new(folder.place(), Some(&name));
        let extras = match way {
            Way::New(_) => folder.extras(),
            Way::InPlace { .. } => Extras::Removed,
        };
        metadata::apply(&Target::open(file.as_fd()), metadata, folder.owners(), extras, &mut problems);
        let existed = match way {
            Way::New(temporary) => temporary.place(&name).map(|()| false)?,
            Way::InPlace { .. } => true,
        };
        if existed || metadata.flags != 0 {
            metadata::apply_flags(file.as_fd(), metadata, &mut problems);
        }
        Ok(problems.found)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::super::bench::{Bench, is_root, metadata};
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_old_content_is_there_until_the_new_one_is_complete() {
        let bench = Bench::new();
        std::fs::write(bench.path("f"), b"old").unwrap();
        let writer = bench.folder().create_file(b"f").unwrap();
        writer.write_at(0, b"new content").unwrap();
        assert_eq!(std::fs::read(bench.path("f")).unwrap(), b"old");
        assert_eq!(writer.finish(&metadata(0o640)).unwrap(), []);
        assert_eq!(std::fs::read(bench.path("f")).unwrap(), b"new content");
        assert_eq!(bench.folder().names().unwrap().count(), 1);
    }

    #[test]
    fn a_dropped_writer_leaves_nothing() {
        let bench = Bench::new();
        std::fs::write(bench.path("f"), b"old").unwrap();
        let writer = bench.folder().create_file(b"f").unwrap();
        writer.write_at(0, b"new").unwrap();
        assert_eq!(bench.folder().names().unwrap().count(), 2);
        drop(writer);
        assert_eq!(bench.folder().names().unwrap().count(), 1);
        assert_eq!(std::fs::read(bench.path("f")).unwrap(), b"old");
    }

    #[test]
    fn the_leftover_of_a_killed_restore_is_removed() {
        let bench = Bench::new();
        std::fs::write(bench.path(".bk-restore-notes"), b"mine").unwrap();
        std::mem::forget(bench.folder().create_file(b"f").unwrap());
        assert_eq!(bench.folder().remove_leftovers().unwrap(), 1);
        let names: Vec<_> = bench.folder().names().unwrap().map(Result::unwrap).collect();
        assert_eq!(names, [b".bk-restore-notes"]);
    }

    #[test]
    fn several_threads_write_one_file() {
        let bench = Bench::new();
        let writer = bench.folder().create_file(b"f").unwrap();
        writer.set_len(8000).unwrap();
        std::thread::scope(|scope| {
            for part in 0..8_u8 {
                let writer = &writer;
                scope.spawn(move || writer.write_at(u64::from(part) * 1000, &[part; 1000]).unwrap());
            }
        });
        writer.finish(&metadata(0o600)).unwrap();
        let expected: Vec<u8> = (0..8_u8).flat_map(|part| [part; 1000]).collect();
        assert_eq!(std::fs::read(bench.path("f")).unwrap(), expected);
    }

    #[test]
    fn a_sparse_file_stays_sparse() {
        let bench = Bench::new();
        let writer = bench.folder().create_file(b"f").unwrap();
        writer.set_len(1 << 40).unwrap();
        writer.write_at(1 << 30, &[7; 4096]).unwrap();
        writer.punch(Hole { offset: 0, length: 1 << 30 }).unwrap();
        writer.finish(&metadata(0o600)).unwrap();
        let found = std::fs::metadata(bench.path("f")).unwrap();
        assert_eq!(found.len(), 1 << 40);
        assert!(found.blocks() * 512 <= 64 << 10, "{} blocks", found.blocks());
    }

    #[test]
    fn in_place_only_what_changed_is_written_and_holes_come_back() {
        let bench = Bench::new();
        std::fs::write(bench.path("f"), vec![1; 4 * MIB as usize]).unwrap();
        let inode = std::fs::metadata(bench.path("f")).unwrap().ino();
        let writer = bench.folder().open_existing(b"f").unwrap().unwrap();
        assert_eq!(writer.found_bytes(), 4 * MIB);
        let mut old = vec![0; MIB as usize];
        assert_eq!(writer.read_at(MIB, &mut old).unwrap(), MIB as usize);
        assert_eq!(writer.read_at(4 * MIB - 1, &mut old).unwrap(), 1);
        writer.set_len(3 * MIB).unwrap();
        writer.write_at(0, &[2; 10]).unwrap();
        writer.punch(Hole { offset: MIB, length: u64::MAX }).unwrap();
        writer.finish(&metadata(0o640)).unwrap();
        let found = std::fs::metadata(bench.path("f")).unwrap();
        assert_eq!((found.ino(), found.len(), found.mode() & 0o7777), (inode, 3 * MIB, 0o640));
        assert!(found.blocks() * 512 < MIB + (64 << 10));
        let content = std::fs::read(bench.path("f")).unwrap();
        assert!(content[..10] == [2; 10] && content[10..MIB as usize].iter().all(|byte| *byte == 1));
        assert!(content[MIB as usize..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn without_holes_zeros_are_written() {
        let bench = Bench::new();
        std::fs::write(bench.path("f"), vec![1; 200_000]).unwrap();
        let writer = bench.folder().open_existing(b"f").unwrap().unwrap();
        writer.zero(10, 199_990).unwrap();
        writer.finish(&metadata(0o600)).unwrap();
        let content = std::fs::read(bench.path("f")).unwrap();
        assert!(content[10..199_990].iter().all(|byte| *byte == 0));
        assert_eq!((&content[..10], &content[199_990..]), (&[1; 10][..], &[1; 10][..]));
    }

    #[test]
    fn a_file_changed_in_place_is_closed_to_others_from_the_first_change() {
        if !is_root() {
            return;
        }
        let bench = Bench::new();
        std::fs::write(bench.path("f"), b"public").unwrap();
        std::os::unix::fs::chown(bench.path("f"), Some(1234), Some(1234)).unwrap();
        let writer = bench.folder().open_existing(b"f").unwrap().unwrap();
        let look = || std::fs::metadata(bench.path("f")).unwrap();
        assert_eq!((look().uid(), look().mode() & 0o777), (1234, 0o644));
        writer.write_at(0, b"secret").unwrap();
        assert_eq!((look().uid(), look().mode() & 0o777), (0, 0o600));
    }

    #[test]
    fn impossible_sizes_are_errors() {
        let bench = Bench::new();
        let writer = bench.folder().create_file(b"f").unwrap();
        assert!(writer.set_len(1 << 63).is_err());
        assert!(writer.set_len(u64::MAX).is_err());
        assert!(writer.write_at(u64::MAX, b"x").is_err());
        assert!(writer.write_at(u64::MAX - 1, b"xyz").is_err());
        writer.punch(Hole { offset: u64::MAX, length: u64::MAX }).unwrap();
    }

    #[test]
    fn links_folders_running_programs_and_shared_inodes_are_not_changed_in_place() {
        let bench = Bench::new();
        let folder = bench.folder();
        std::fs::write(bench.path("f"), b"x").unwrap();
        std::fs::hard_link(bench.path("f"), bench.path("g")).unwrap();
        std::os::unix::fs::symlink("f", bench.path("link")).unwrap();
        std::fs::create_dir(bench.path("d")).unwrap();
        for name in [&b"f"[..], b"link", b"d", b"none"] {
            assert!(folder.open_existing(name).unwrap().is_none(), "{name:?}");
        }
        std::fs::copy("/bin/sleep", bench.path("sleep")).unwrap();
        let mut child = std::process::Command::new(bench.path("sleep")).arg("60").spawn().unwrap();
        assert!(folder.open_existing(b"sleep").unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_folder_in_the_way_is_an_error_and_nothing_is_left() {
        let bench = Bench::new();
        std::fs::create_dir(bench.path("f")).unwrap();
        let error = bench.folder().create_file(b"f").unwrap().finish(&metadata(0o600)).unwrap_err();
        assert!(matches!(error, DestinationError::InTheWay { .. }), "{error}");
        assert_eq!(bench.folder().names().unwrap().count(), 1);
    }
}
