//! An open directory of the target, and what can be made in it.

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use rustix::fs::{AtFlags, Dir, IFlags, Mode, OFlags};
use rustix::io::Errno;

use super::error::DestinationError;
use super::existing::{Existing, Kind, Overwrite};
use super::metadata::{self, MetadataProblem, Problems, Target};
use super::name::{check_name, shown};
use super::owner::Owners;
use super::place::Place;
use super::resolve::{DIRECTORY, HOLD, Resolve, open_locked};
use super::temporary::{Temporary, is_leftover};
use super::thaw::{freeze, thaw, thawed};
use super::xattr::{Extras, hands_down};
use super::{remove, special, writer};
use crate::format::node::Metadata;

/// What all folders of one destination have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) resolve: Resolve,
    pub(super) owners: Owners,
}

/// A directory of the target, held open: renaming or replacing it cannot redirect what is done through it.
///
/// Clones share one descriptor, which is closed with the last of them. Every method checks the names it is given, none
/// follows links.
#[derive(Debug, Clone)]
pub struct Folder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    fd: OwnedFd,
    place: Arc<Place>,
    shared: Arc<Shared>,
    hands_down: OnceLock<bool>,
}

impl Folder {
    pub(super) fn new(fd: OwnedFd, place: Arc<Place>, shared: Arc<Shared>) -> Self {
        Self(Arc::new(Inner { fd, place, shared, hands_down: OnceLock::new() }))
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }

    pub(super) fn place(&self) -> &Place {
        &self.0.place
    }

    pub(super) fn resolve(&self) -> Resolve {
        self.0.shared.resolve
    }

    pub(super) fn owners(&self) -> &Owners {
        &self.0.shared.owners
    }

    /// What a new entry in here may have inherited.
    pub(super) fn extras(&self) -> Extras {
        match self.0.hands_down.get_or_init(|| hands_down(self.fd())) {
            true => Extras::Removed,
            false => Extras::Absent,
        }
    }

    pub(super) fn check(&self, name: &[u8]) -> Result<(), DestinationError> {
        let refused = |source| DestinationError::Name { folder: self.shown_path(), name: shown(name), source };
        check_name(name).map_err(refused)
    }

    pub(super) fn failed(&self, action: &'static str, name: &[u8], source: Errno) -> DestinationError {
        DestinationError::System { action, path: self.shown_below(name), source }
    }

    pub(super) fn failed_here(&self, action: &'static str, source: Errno) -> DestinationError {
        DestinationError::System { action, path: self.shown_path(), source }
    }

    /// Its path as people read it, control characters escaped. Not for opening anything.
    #[must_use]
    pub fn shown_path(&self) -> String {
        self.place().shown()
    }

    /// The path of its entry `name` as people read it.
    #[must_use]
    pub fn shown_below(&self, name: &[u8]) -> String {
        self.place().shown_below(name)
    }

    /// Looks at `name` itself; `None` when nothing has that name.
    ///
    /// # Errors
    /// [`DestinationError::Name`], [`DestinationError::System`].
    pub fn existing(&self, name: &[u8]) -> Result<Option<Existing>, DestinationError> {
        self.check(name)?;
        Existing::look(self.fd(), name).map_err(|errno| self.failed("looking at", name, errno))
    }

    /// The number of the file system that it is on, as in [`Existing::identity`].
    ///
    /// # Errors
    /// [`DestinationError::System`].
    pub fn file_system(&self) -> Result<u64, DestinationError> {
        let found = rustix::fs::statx(self.fd(), "", AtFlags::EMPTY_PATH, rustix::fs::StatxFlags::BASIC_STATS)
            .map_err(|errno| self.failed_here("looking at", errno))?;
        Ok(rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor))
    }

    /// Opens the existing directory `name`; one we may pass through but not list will do.
    ///
    /// # Errors
    /// [`DestinationError::NotADirectory`] when a link or file has that name, [`DestinationError::Name`],
    /// [`DestinationError::System`].
    pub fn enter(&self, name: &[u8]) -> Result<Self, DestinationError> {
        self.check(name)?;
        let fd = match self.resolve().open(self.fd(), name, DIRECTORY, Mode::empty()) {
            Err(Errno::ACCESS) => self.resolve().open(self.fd(), name, DIRECTORY | HOLD, Mode::empty()),
            opened => opened,
        };
        self.opened(name, fd)
    }

    /// Opens the directory `name`, making it (0700 until [`Self::finish`]) if there is none.
    ///
    /// Gives what had that name before. A directory is reused, and made changeable unless the policy is
    /// [`Overwrite::Never`]; anything else is removed, or with that policy refused.
    ///
    /// # Errors
    /// [`DestinationError::InTheWay`], [`DestinationError::Name`], [`DestinationError::System`].
    pub fn make(&self, name: &[u8], policy: Overwrite) -> Result<(Self, Option<Existing>), DestinationError> {
        self.check(name)?;
        let make = || rustix::fs::mkdirat(self.fd(), name, Mode::RWXU);
        let existing = match make() {
            Ok(()) => None,
            Err(Errno::EXIST) => self.existing(name)?,
            Err(errno) => return Err(self.failed("creating", name, errno)),
        };
        match &existing {
            Some(found) if found.kind == Kind::Directory => return Ok((self.reuse(name, found, policy)?, existing)),
            Some(_) if policy == Overwrite::Never => {
                return Err(DestinationError::InTheWay { path: self.shown_below(name) });
            }
            Some(_) => {
                self.remove(name)?;
                make().map_err(|errno| self.failed("creating", name, errno))?;
            }
            None => {}
        }
        let opened = self.resolve().open(self.fd(), name, DIRECTORY, Mode::empty());
        Ok((self.opened(name, opened)?, existing))
    }

    /// Opens the directory `name` that was found, and sees to it that entries can be made in it.
    fn reuse(&self, name: &[u8], found: &Existing, policy: Overwrite) -> Result<Self, DestinationError> {
        if policy == Overwrite::Never {
            return self.enter(name);
        }
        let opened = self.opened(name, open_locked(self.resolve(), self.fd(), name))?;
        if found.frozen {
            thaw(opened.fd()).map_err(|errno| self.failed("thawing", name, errno))?;
        }
        if found.mode & 0o700 != 0o700 && !rustix::process::geteuid().is_root() {
            let _ = rustix::fs::fchmod(opened.fd(), Mode::from_raw_mode(found.mode | 0o700)); // or it stays closed to us
        }
        Ok(opened)
    }

    /// Opens the folder at `path` below this one, making what is missing of it (0700). For the directories above a
    /// restored path: those that exist stay as they are. Repeated and outer `/` are ignored, so `/` alone is this folder.
    ///
    /// # Errors
    /// As [`Self::enter`].
    pub fn make_path(&self, path: &[u8]) -> Result<Self, DestinationError> {
        let mut folder = self.clone();
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            folder = match folder.make(name, Overwrite::Never) {
                Err(DestinationError::InTheWay { path }) => return Err(DestinationError::NotADirectory { path }),
                made => made?.0,
            };
        }
        Ok(folder)
    }

    fn opened(&self, name: &[u8], fd: Result<OwnedFd, Errno>) -> Result<Self, DestinationError> {
        match fd {
            Ok(fd) => Ok(Self::new(fd, self.0.place.below(name), Arc::clone(&self.0.shared))),
            Err(Errno::NOTDIR | Errno::LOOP) => Err(DestinationError::NotADirectory { path: self.shown_below(name) }),
            Err(errno) => Err(self.failed("opening", name, errno)),
        }
    }

    /// Begins the file `name` under a temporary name; it appears with [`writer::FileWriter::finish`].
    ///
    /// # Errors
    /// [`DestinationError::Name`], [`DestinationError::System`].
    pub fn create_file(&self, name: &[u8]) -> Result<writer::FileWriter, DestinationError> {
        writer::FileWriter::create(self, name)
    }

    /// Opens the existing regular file `name` to change only some of it, in place.
    ///
    /// `None` when it must be written anew with [`Self::create_file`]: nothing there, not a regular file, further hard
    /// links (which may be outside the target), a program that is running, or not ours to open.
    ///
    /// # Errors
    /// [`DestinationError::Name`], [`DestinationError::System`].
    pub fn open_existing(&self, name: &[u8]) -> Result<Option<writer::FileWriter>, DestinationError> {
        writer::FileWriter::open_existing(self, name)
    }

    /// Opens the regular file `name` for reading, to verify what was restored.
    ///
    /// # Errors
    /// [`DestinationError::NotAFile`] for anything else, links included; [`DestinationError::Name`],
    /// [`DestinationError::System`].
    pub fn open_read(&self, name: &[u8]) -> Result<File, DestinationError> {
        self.check(name)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let not_a_file = || DestinationError::NotAFile { path: self.shown_below(name) };
        let fd = match self.resolve().open(self.fd(), name, flags, Mode::empty()) {
            Err(Errno::LOOP | Errno::NXIO | Errno::NODEV) => return Err(not_a_file()),
            opened => opened.map_err(|errno| self.failed("opening", name, errno))?,
        };
        let found = rustix::fs::fstat(&fd).map_err(|errno| self.failed("looking at", name, errno))?;
        if Kind::of_mode(found.st_mode) == Kind::File { Ok(File::from(fd)) } else { Err(not_a_file()) }
    }

    /// Where the symbolic link `name` points.
    ///
    /// # Errors
    /// [`DestinationError::Name`], [`DestinationError::System`] (`EINVAL` when it is no link).
    pub fn read_link(&self, name: &[u8]) -> Result<Vec<u8>, DestinationError> {
        self.check(name)?;
        rustix::fs::readlinkat(self.fd(), name, Vec::new())
            .map(std::ffi::CString::into_bytes)
            .map_err(|errno| self.failed("reading the link", name, errno))
    }

    /// Gives the inode `from_name` of `from` the further name `name` here. A link is linked itself, not followed.
    ///
    /// # Errors
    /// [`DestinationError::InTheWay`] when a directory has that name, [`DestinationError::Name`],
    /// [`DestinationError::System`].
    pub fn hard_link(&self, from: &Self, from_name: &[u8], name: &[u8]) -> Result<(), DestinationError> {
        self.check(name)?;
        from.check(from_name)?;
        let mut frozen = None;
        let mut link = |to: &[u8]| {
            let link = || rustix::fs::linkat(from.fd(), from_name, self.fd(), to, AtFlags::empty());
            match link() {
                Err(Errno::PERM) if frozen.is_none() => {
                    frozen = from.thaw_entry(from_name);
                    link()
                }
                result => result,
            }
        };
        let placed = match link(name) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => Temporary::claim(self, |temporary| link(temporary.as_bytes()))
                .map_err(|errno| self.failed("linking", name, errno))
                .and_then(|(temporary, ())| temporary.place_link(name)),
            Err(errno) => Err(self.failed("linking", name, errno)),
        };
        if let Some((fd, flags)) = frozen {
            freeze(fd.as_fd(), flags).map_err(|errno| from.failed("setting the flags of", from_name, errno))?;
        }
        placed
    }

    /// Takes immutable and append-only off the file `name` for a moment.
    fn thaw_entry(&self, name: &[u8]) -> Option<(OwnedFd, IFlags)> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = self.resolve().open(self.fd(), name, flags, Mode::empty()).ok()?;
        let frozen = thaw(fd.as_fd()).ok()?;
        Some((fd, frozen))
    }

    /// Makes the symbolic link `name` with its metadata, replacing anything but a directory.
    ///
    /// # Errors
    /// As [`Self::hard_link`]. An impossible `target` (empty, or over 4,095 bytes) is a [`DestinationError::System`].
    pub fn symlink(
        &self,
        name: &[u8],
        target: &[u8],
        metadata: &Metadata,
    ) -> Result<Vec<MetadataProblem>, DestinationError> {
        special::symlink(self, name, target, metadata)
    }

    /// Makes a device, pipe or socket with its metadata, replacing anything but a directory.
    ///
    /// Lack of power to make it is a [`MetadataProblem`] (only root makes devices); what had the name stays then.
    ///
    /// # Errors
    /// As [`Self::hard_link`].
    pub fn special(
        &self,
        name: &[u8],
        what: special::Special,
        metadata: &Metadata,
    ) -> Result<Vec<MetadataProblem>, DestinationError> {
        special::special(self, name, what, metadata)
    }

    /// Applies `metadata` to the existing entry `name` whose content is right already. Attributes it does not know go.
    ///
    /// # Errors
    /// [`DestinationError::HardLinked`] when the inode has further names, which may be outside the target;
    /// [`DestinationError::Name`], [`DestinationError::System`].
    pub fn set_metadata(&self, name: &[u8], metadata: &Metadata) -> Result<Vec<MetadataProblem>, DestinationError> {
        special::set_metadata(self, name, metadata)
    }

    /// Applies `metadata` to this directory, after everything in it is there. Attributes it does not know go.
    #[must_use]
    pub fn finish(&self, metadata: &Metadata) -> Vec<MetadataProblem> {
        let mut problems = Problems::new(self.place(), None);
        metadata::apply(&Target::open(self.fd()), metadata, self.owners(), Extras::Removed, &mut problems);
        metadata::apply_flags(self.fd(), metadata, &mut problems);
        problems.found
    }

    /// Removes `name`: anything but a directory that is not empty, immutable or not. Nothing there is fine.
    ///
    /// # Errors
    /// [`DestinationError::Name`], [`DestinationError::System`].
    pub fn remove(&self, name: &[u8]) -> Result<(), DestinationError> {
        self.check(name)?;
        let unlink = || match rustix::fs::unlinkat(self.fd(), name, AtFlags::empty()) {
            Err(Errno::ISDIR) => rustix::fs::unlinkat(self.fd(), name, AtFlags::REMOVEDIR),
            result => result,
        };
        match thawed(self.resolve(), self.fd(), name, unlink) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.failed("removing", name, errno)),
        }
    }

    /// Removes `name` and everything below it. Links are removed, not followed; other file systems are not entered.
    ///
    /// # Errors
    /// At the first thing that cannot be removed: [`DestinationError::MountPoint`], [`DestinationError::Moved`],
    /// [`DestinationError::Name`], [`DestinationError::System`].
    pub fn remove_all(&self, name: &[u8]) -> Result<(), DestinationError> {
        self.check(name)?;
        remove::remove_all(self, name)
    }

    /// Removes the temporary files that a killed restore left in here; says how many.
    ///
    /// # Errors
    /// [`DestinationError::System`].
    pub fn remove_leftovers(&self) -> Result<u64, DestinationError> {
        let mut removed = 0;
        for name in self.names()? {
            let name = name?;
            if is_leftover(&name) && self.existing(&name)?.is_some_and(|found| found.kind != Kind::Directory) {
                self.remove(&name)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// The names of its entries, without `.` and `..`, in the order of the file system.
    ///
    /// # Errors
    /// [`DestinationError::System`].
    pub fn names(&self) -> Result<Names, DestinationError> {
        let entries = Dir::read_from(self.fd()).map_err(|errno| self.failed_here("reading", errno))?;
        Ok(Names { entries, folder: self.clone() })
    }

    /// Waits until everything on its file system is on disk.
    ///
    /// # Errors
    /// [`DestinationError::System`]: what was restored may be incomplete.
    pub fn sync(&self) -> Result<(), DestinationError> {
        rustix::fs::syncfs(self.fd()).map_err(|errno| self.failed_here("writing to disk", errno))
    }
}

/// The names of a folder's entries; see [`Folder::names`].
#[derive(Debug)]
pub struct Names {
    entries: Dir,
    folder: Folder,
}

impl Iterator for Names {
    type Item = Result<Vec<u8>, DestinationError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.entries.read()? {
                Ok(entry) if is_dots(entry.file_name()) => {}
                Ok(entry) => return Some(Ok(entry.file_name().to_bytes().to_vec())),
                Err(errno) => return Some(Err(self.folder.failed_here("reading", errno))),
            }
        }
    }
}

pub(super) fn is_dots(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

#[cfg(test)]
mod tests {
    use super::super::bench::{Bench, metadata, unprivileged};
    use super::*;

    #[test]
    fn a_folder_is_private_until_it_is_finished() {
        let bench = Bench::new();
        let (folder, existing) = bench.folder().make(b"d", Overwrite::Always).unwrap();
        assert_eq!(existing, None);
        assert_eq!(bench.folder().existing(b"d").unwrap().unwrap().mode, 0o700);
        assert_eq!(folder.finish(&metadata(0o1777)), []);
        assert_eq!(bench.folder().existing(b"d").unwrap().unwrap().mode, 0o1777);
    }

    #[test]
    fn a_file_in_the_way_of_a_folder_goes_only_if_that_is_allowed() {
        let bench = Bench::new();
        std::fs::write(bench.path("d"), b"x").unwrap();
        let refused = bench.folder().make(b"d", Overwrite::Never).unwrap_err();
        assert!(matches!(refused, DestinationError::InTheWay { .. }));
        let (_, existing) = bench.folder().make(b"d", Overwrite::IfChanged).unwrap();
        assert_eq!(existing.unwrap().kind, Kind::File);
        assert!(bench.path("d").is_dir());
    }

    #[test]
    fn the_folders_above_a_path_are_made_and_existing_ones_stay_as_they_are() {
        let bench = Bench::new();
        std::fs::create_dir(bench.path("var")).unwrap();
        let before = bench.folder().existing(b"var").unwrap().unwrap().mode;
        let folder = bench.folder().make_path(b"/var//lib/plex/").unwrap();
        assert_eq!(folder.shown_path(), bench.path("var/lib/plex").display().to_string());
        assert_eq!(bench.folder().existing(b"var").unwrap().unwrap().mode, before);
        assert_eq!(bench.folder().make_path(b"/").unwrap().shown_path(), bench.path("").display().to_string());
        assert!(matches!(bench.folder().make_path(b"a/../../b"), Err(DestinationError::Name { .. })));
        bench.destination().sync().unwrap();
    }

    #[test]
    fn hard_links_share_an_inode_and_replace_what_was_there() {
        let bench = Bench::new();
        let folder = bench.folder();
        folder.create_file(b"one").unwrap().finish(&metadata(0o600)).unwrap();
        std::fs::write(bench.path("two"), b"other").unwrap();
        for _ in 0..2 {
            folder.hard_link(&folder, b"one", b"two").unwrap();
            let identity = |name: &[u8]| folder.existing(name).unwrap().unwrap().identity;
            assert_eq!(identity(b"one"), identity(b"two"));
            assert_eq!(folder.names().unwrap().count(), 2, "no temporary name stays");
        }
        folder.make(b"d", Overwrite::Always).unwrap();
        assert!(matches!(folder.hard_link(&folder, b"one", b"d"), Err(DestinationError::InTheWay { .. })));
        assert_eq!(folder.names().unwrap().count(), 3);
    }

    #[test]
    fn removing_takes_files_and_empty_folders_only() {
        let bench = Bench::new();
        std::fs::create_dir_all(bench.path("full/empty")).unwrap();
        assert!(bench.folder().remove(b"full").is_err());
        bench.folder().enter(b"full").unwrap().remove(b"empty").unwrap();
        bench.folder().remove(b"full").unwrap();
        bench.folder().remove(b"full").unwrap();
    }

    #[test]
    fn only_regular_files_are_read() {
        let bench = Bench::new();
        let folder = bench.folder();
        std::fs::write(bench.path("f"), b"content").unwrap();
        assert_eq!(std::io::read_to_string(folder.open_read(b"f").unwrap()).unwrap(), "content");
        folder.special(b"pipe", special::Special::Fifo, &metadata(0o600)).unwrap();
        folder.special(b"socket", special::Special::Socket, &metadata(0o600)).unwrap();
        folder.make(b"d", Overwrite::Always).unwrap();
        for name in [&b"pipe"[..], b"socket", b"d"] {
            assert!(matches!(folder.open_read(name), Err(DestinationError::NotAFile { .. })), "{name:?}");
        }
    }

    #[test]
    fn ones_own_closed_folders_are_restored_over_and_passed_through() {
        if !unprivileged("destination::folder::tests::ones_own_closed_folders_are_restored_over_and_passed_through") {
            return;
        }
        let bench = Bench::new();
        let (folder, _) = bench.folder().make(b"d", Overwrite::Always).unwrap();
        assert_eq!(folder.finish(&metadata(0o100)), []);
        bench.folder().enter(b"d").unwrap();
        for _ in 0..2 {
            let (folder, _) = bench.folder().make(b"d", Overwrite::Always).unwrap();
            folder.create_file(b"f").unwrap().finish(&metadata(0o400)).unwrap();
            assert_eq!(folder.finish(&metadata(0o500)), []);
        }
        bench.folder().remove_all(b"d").unwrap();
    }
}
