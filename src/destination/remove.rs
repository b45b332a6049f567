//! Removing a whole tree by descriptor, however deep, with two of them open.
//!
//! Going down opens a name without following it; going up opens `..` and compares it with the directory we came from,
//! for somebody may have moved the lower one elsewhere meanwhile. So depth costs memory for names, not descriptors.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, StatxFlags};
use rustix::io::Errno;

use super::error::DestinationError;
use super::folder::{Folder, is_dots};
use super::resolve::{DIRECTORY, open_locked, retry};
use super::thaw::{thaw, thawed};

/// A directory on the way down.
struct Level {
    name: Vec<u8>,
    identity: (u64, u64),
    /// Names of directories in it that are still to be removed.
    pending: Vec<Vec<u8>>,
}

struct Removal<'a> {
    folder: &'a Folder,
    mount: u64,
    levels: Vec<Level>,
}

pub(super) fn remove_all(folder: &Folder, name: &[u8]) -> Result<(), DestinationError> {
    match unlink(folder, folder.fd(), name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(errno) => return Err(folder.failed("removing", name, errno)),
    }
    let mount = mount_of(folder.fd()).map_err(|errno| folder.failed_here("looking at", errno))?;
    Removal { folder, mount, levels: Vec::new() }.run(name)
}

/// Removes one entry, immutable or not.
fn unlink(folder: &Folder, parent: BorrowedFd<'_>, name: &[u8], flags: AtFlags) -> Result<(), Errno> {
    thawed(folder.resolve(), parent, name, || rustix::fs::unlinkat(parent, name, flags))
}

impl Removal<'_> {
    fn run(mut self, name: &[u8]) -> Result<(), DestinationError> {
        let mut current = self.descend(self.folder.fd(), name.to_vec())?;
        loop {
            if let Some(child) = self.levels.last_mut().and_then(|level| level.pending.pop()) {
                current = self.descend(current.as_fd(), child)?;
                continue;
            }
            let Some(done) = self.levels.pop() else { return Ok(()) };
            if self.levels.is_empty() {
                return self.remove_empty(self.folder.fd(), &done.name);
            }
            current = self.ascend(current.as_fd(), &done.name)?;
            self.remove_empty(current.as_fd(), &done.name)?;
        }
    }

    /// Opens the directory `name`, removes everything but directories from it and makes it the lowest level.
    fn descend(&mut self, parent: BorrowedFd<'_>, name: Vec<u8>) -> Result<OwnedFd, DestinationError> {
        let fd =
            open_locked(self.folder.resolve(), parent, &name).map_err(|errno| self.failed("opening", &name, errno))?;
        let mount = mount_of(fd.as_fd()).map_err(|errno| self.failed("looking at", &name, errno))?;
        if mount != self.mount {
            return Err(DestinationError::MountPoint { path: self.shown(&name) });
        }
        let found = rustix::fs::fstat(&fd).map_err(|errno| self.failed("looking at", &name, errno))?;
        let _ = thaw(fd.as_fd());
        if found.st_mode & 0o700 != 0o700 {
            let _ = rustix::fs::fchmod(&fd, Mode::RWXU);
        }
        self.levels.push(Level { name, identity: (found.st_dev, found.st_ino), pending: Vec::new() });
        let names = names(fd.as_fd()).map_err(|errno| self.failed_here("reading", errno))?;
        for name in names {
            match unlink(self.folder, fd.as_fd(), &name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR) => {
                    if let Some(level) = self.levels.last_mut() {
                        level.pending.push(name);
                    }
                }
                Err(errno) => return Err(self.failed("removing", &name, errno)),
            }
        }
        Ok(fd)
    }

    /// Opens the directory above, which must still be the one we came from.
    fn ascend(&self, child: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, DestinationError> {
        let flags = DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let parent = retry(|| rustix::fs::openat(child, "..", flags, Mode::empty()))
            .map_err(|errno| self.failed("leaving", name, errno))?;
        let found = rustix::fs::fstat(&parent).map_err(|errno| self.failed("leaving", name, errno))?;
        if self.levels.last().is_some_and(|level| level.identity == (found.st_dev, found.st_ino)) {
            Ok(parent)
        } else {
            Err(DestinationError::Moved { path: self.shown(name) })
        }
    }

    fn remove_empty(&self, parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), DestinationError> {
        match unlink(self.folder, parent, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.failed("removing", name, errno)),
        }
    }

    fn shown(&self, name: &[u8]) -> String {
        let mut path = Vec::new();
        for level in &self.levels {
            path.extend_from_slice(&level.name);
            path.push(b'/');
        }
        path.extend_from_slice(name);
        self.folder.shown_below(&path)
    }

    fn failed(&self, action: &'static str, name: &[u8], source: Errno) -> DestinationError {
        DestinationError::System { action, path: self.shown(name), source }
    }

    fn failed_here(&self, action: &'static str, source: Errno) -> DestinationError {
        self.failed(action, b"", source)
    }
}

fn names(folder: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        if !is_dots(entry.file_name()) {
            names.push(entry.file_name().to_bytes().to_vec());
        }
    }
    Ok(names)
}

/// Number of the mount an open directory is on; before Linux 5.8 that of its device, which misses bind mounts.
fn mount_of(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    let found = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    if StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::MNT_ID) {
        return Ok(found.stx_mnt_id);
    }
    Ok(rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor))
}

#[cfg(test)]
mod tests {
    use super::super::bench::{Bench, is_root, unprivileged};
    use super::*;

    #[test]
    fn removing_everything_does_not_follow_links() {
        let (outside, bench) = (Bench::new(), Bench::new());
        std::fs::create_dir(outside.path("kept")).unwrap();
        std::fs::write(outside.path("kept/file"), b"x").unwrap();
        std::fs::create_dir_all(bench.path("d/e/f")).unwrap();
        std::fs::write(bench.path("d/e/f/file"), b"x").unwrap();
        for place in ["d/link", "d/e/link", "top"] {
            std::os::unix::fs::symlink(outside.path("kept"), bench.path(place)).unwrap();
        }
        bench.folder().remove_all(b"d").unwrap();
        bench.folder().remove_all(b"top").unwrap();
        bench.folder().remove_all(b"none").unwrap();
        assert_eq!(bench.folder().names().unwrap().count(), 0);
        assert!(outside.path("kept/file").exists());
    }

    #[test]
    fn a_tree_of_thousands_of_levels_is_made_and_removed() {
        let bench = Bench::new();
        let mut folder = bench.folder();
        for _ in 0..2000 {
            folder = folder.make(b"level", Default::default()).unwrap().0;
        }
        folder.create_file(b"f").unwrap().finish(&super::super::bench::metadata(0o600)).unwrap();
        assert!(folder.shown_path().len() > 4096);
        bench.folder().remove_all(b"level").unwrap();
        assert_eq!(bench.folder().names().unwrap().count(), 0);
    }

    #[test]
    fn folders_closed_to_their_owner_are_removed() {
        if !unprivileged("destination::remove::tests::folders_closed_to_their_owner_are_removed") {
            return;
        }
        use std::os::unix::fs::PermissionsExt;
        let bench = Bench::new();
        std::fs::create_dir_all(bench.path("d/e/f")).unwrap();
        for (place, mode) in [("d/e/f", 0o500), ("d/e", 0o000), ("d", 0o100)] {
            std::fs::set_permissions(bench.path(place), std::fs::Permissions::from_mode(mode)).unwrap();
        }
        bench.folder().remove_all(b"d").unwrap();
        assert!(!bench.path("d").exists());
    }

    #[test]
    fn a_mounted_file_system_is_not_entered() {
        if !is_root() {
            return;
        }
        let bench = Bench::new();
        std::fs::create_dir_all(bench.path("d/mounted")).unwrap();
        std::fs::create_dir(bench.path("data")).unwrap();
        std::fs::write(bench.path("data/file"), b"x").unwrap();
        let run = |program: &str, arguments: &[&str]| {
            std::process::Command::new(program).args(arguments).args([bench.path("d/mounted")]).status()
        };
        let data = bench.path("data");
        if !run("mount", &["--bind", data.to_str().unwrap()]).is_ok_and(|status| status.success()) {
            return; // containers may not mount
        }
        let result = bench.folder().remove_all(b"d");
        run("umount", &[]).unwrap();
        assert!(matches!(result, Err(DestinationError::MountPoint { .. })), "{result:?}");
        assert!(bench.path("data/file").exists());
    }
}
