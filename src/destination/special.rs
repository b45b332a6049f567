//! Entries without content: symbolic links, devices, pipes, sockets; and metadata of what is there already.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::error::DestinationError;
use super::existing::Kind;
use super::folder::Folder;
use super::metadata::{self, Aspect, MetadataProblem, Problems, Target};
use super::resolve::HOLD;
use super::temporary::Temporary;
use super::thaw::thaw;
use super::xattr::Extras;
use crate::format::node::Metadata;

/// What is made with `mknod`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// A character device.
    CharDevice {
        /// Driver.
        major: u32,
        /// Device of the driver.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Driver.
        major: u32,
        /// Device of the driver.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A Unix socket nobody listens on.
    Socket,
}

pub(super) fn symlink(
    folder: &Folder,
    name: &[u8],
    target: &[u8],
    metadata: &Metadata,
) -> Result<Vec<MetadataProblem>, DestinationError> {
    folder.check(name)?;
    let made = Temporary::claim(folder, |temporary| rustix::fs::symlinkat(target, folder.fd(), temporary));
    let (temporary, ()) = made.map_err(|errno| folder.failed("linking", name, errno))?;
    complete(folder, name, temporary, Kind::Symlink, metadata)
}

pub(super) fn special(
    folder: &Folder,
    name: &[u8],
    what: Special,
    metadata: &Metadata,
) -> Result<Vec<MetadataProblem>, DestinationError> {
    folder.check(name)?;
    let (file_type, kind, (major, minor)) = match what {
        Special::CharDevice { major, minor } => (FileType::CharacterDevice, Kind::CharDevice, (major, minor)),
        Special::BlockDevice { major, minor } => (FileType::BlockDevice, Kind::BlockDevice, (major, minor)),
        Special::Fifo => (FileType::Fifo, Kind::Fifo, (0, 0)),
        Special::Socket => (FileType::Socket, Kind::Socket, (0, 0)),
    };
    let device = rustix::fs::makedev(major, minor);
    let mode = Mode::RUSR | Mode::WUSR;
    let made =
        Temporary::claim(folder, |temporary| rustix::fs::mknodat(folder.fd(), temporary, file_type, mode, device));
    match made {
        Ok((temporary, ())) => complete(folder, name, temporary, kind, metadata),
        // No power, or a file system without such things.
        Err(errno @ (Errno::PERM | Errno::ACCESS | Errno::NOTSUP | Errno::INVAL)) => {
            let mut problems = Problems::new(folder.place(), Some(name));
            problems.note(|| Aspect::Special, Err(errno));
            Ok(problems.found)
        }
        Err(errno) => Err(folder.failed("creating", name, errno)),
    }
}

/// Applies metadata to what was just made, through a descriptor that holds it, and gives it its name.
fn complete(
    folder: &Folder,
    name: &[u8],
    temporary: Temporary,
    kind: Kind,
    metadata: &Metadata,
) -> Result<Vec<MetadataProblem>, DestinationError> {
    let held = folder
        .resolve()
        .open(folder.fd(), temporary.name(), HOLD, Mode::empty())
        .map_err(|errno| folder.failed("opening", name, errno))?;
    let found = rustix::fs::fstat(&held).map_err(|errno| folder.failed("looking at", name, errno))?;
    if Kind::of_mode(found.st_mode) != kind || found.st_nlink != 1 {
        // Somebody put another inode there in between.
        return Err(DestinationError::HardLinked { path: folder.shown_below(name) });
    }
    let extras = if kind == Kind::Symlink { Extras::Absent } else { folder.extras() };
    let mut problems = Problems::new(folder.place(), Some(name));
    let target = Target::held(held.as_fd(), kind == Kind::Symlink);
    metadata::apply(&target, metadata, folder.owners(), extras, &mut problems);
    temporary.place(name)?;
    Ok(problems.found)
}

pub(super) fn set_metadata(
    folder: &Folder,
    name: &[u8],
    metadata: &Metadata,
) -> Result<Vec<MetadataProblem>, DestinationError> {
    folder.check(name)?;
    let failed = |errno| folder.failed("opening", name, errno);
    let held = folder.resolve().open(folder.fd(), name, HOLD, Mode::empty()).map_err(failed)?;
    let found = rustix::fs::fstat(&held).map_err(failed)?;
    let kind = Kind::of_mode(found.st_mode);
    if kind != Kind::Directory && found.st_nlink != 1 {
        return Err(DestinationError::HardLinked { path: folder.shown_below(name) });
    }
    let mut problems = Problems::new(folder.place(), Some(name));
    let open = open_same(folder, name, kind, (found.st_dev, found.st_ino));
    if let Some(open) = &open {
        let _ = thaw(open.as_fd()); // where it fails, so does what follows, and is noted
    }
    let target = Target::held(held.as_fd(), kind == Kind::Symlink);
    metadata::apply(&target, metadata, folder.owners(), Extras::Removed, &mut problems);
    if let Some(open) = &open {
        metadata::apply_flags(open.as_fd(), metadata, &mut problems);
    }
    Ok(problems.found)
}

/// Opens a file or directory that is held already, for its flags; others are never opened, for that can act on them.
fn open_same(folder: &Folder, name: &[u8], kind: Kind, identity: (u64, u64)) -> Option<OwnedFd> {
    if !matches!(kind, Kind::File | Kind::Directory) {
        return None;
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = folder.resolve().open(folder.fd(), name, flags, Mode::empty()).ok()?;
    let found = rustix::fs::fstat(&fd).ok()?;
    ((found.st_dev, found.st_ino) == identity).then_some(fd)
}

#[cfg(test)]
mod tests {
    use super::super::bench::{Bench, is_root, metadata};
    use super::*;

    #[test]
    fn every_kind_is_made_with_its_metadata_and_replaces_what_was_there() {
        let bench = Bench::new();
        let folder = bench.folder();
        std::os::unix::fs::symlink("/etc/passwd", bench.path("pipe")).unwrap();
        let wanted = metadata(0o640);
        for _ in 0..2 {
            assert_eq!(folder.special(b"pipe", Special::Fifo, &wanted).unwrap(), []);
            assert_eq!(folder.special(b"socket", Special::Socket, &wanted).unwrap(), []);
            assert_eq!(folder.symlink(b"link", b"\xff/../nowhere", &wanted).unwrap(), []);
        }
        for (name, kind) in [(&b"pipe"[..], Kind::Fifo), (b"socket", Kind::Socket), (b"link", Kind::Symlink)] {
            let found = folder.existing(name).unwrap().unwrap();
            assert_eq!((found.kind, found.mtime), (kind, wanted.mtime));
            assert!(kind == Kind::Symlink || found.mode == 0o640);
        }
        assert_eq!(folder.read_link(b"link").unwrap(), b"\xff/../nowhere");
        assert_eq!(folder.names().unwrap().count(), 3);
    }

    #[test]
    fn root_makes_devices_and_owns_links_to_others() {
        if !is_root() {
            return;
        }
        let bench = Bench::new();
        let mut wanted = metadata(0o620);
        (wanted.uid, wanted.gid) = (1234, 5);
        let device = Special::CharDevice { major: 1, minor: 3 };
        assert_eq!(bench.folder().special(b"null", device, &wanted).unwrap(), []);
        let found = bench.folder().existing(b"null").unwrap().unwrap();
        assert_eq!((found.kind, found.device, found.uid, found.mode), (Kind::CharDevice, (1, 3), 1234, 0o620));
        assert_eq!(bench.folder().symlink(b"link", b"/etc/shadow", &wanted).unwrap(), []);
        assert_eq!(bench.folder().existing(b"link").unwrap().unwrap().uid, 1234);
        let attribute = super::super::bench::inline("trusted.note", b"on the link");
        wanted.xattrs = vec![attribute];
        assert_eq!(bench.folder().symlink(b"link", b"/etc/shadow", &wanted).unwrap(), []);
        let mut value = [0; 64];
        let length = rustix::fs::lgetxattr(bench.path("link"), "trusted.note", &mut value[..]).unwrap();
        assert_eq!(&value[..length], b"on the link");
    }

    #[test]
    fn metadata_of_a_link_is_set_on_the_link() {
        let bench = Bench::new();
        std::fs::write(bench.path("f"), b"x").unwrap();
        let before = bench.folder().existing(b"f").unwrap();
        std::os::unix::fs::symlink("f", bench.path("link")).unwrap();
        let wanted = metadata(0o777);
        assert_eq!(bench.folder().set_metadata(b"link", &wanted).unwrap(), []);
        assert_eq!(bench.folder().existing(b"link").unwrap().unwrap().mtime, wanted.mtime);
        assert_eq!(bench.folder().existing(b"f").unwrap(), before);
    }

    #[test]
    fn impossible_link_targets_are_errors() {
        let bench = Bench::new();
        for target in [&b""[..], b"a\0b", &[b'x'; 4096]] {
            assert!(bench.folder().symlink(b"link", target, &metadata(0o777)).is_err());
        }
        assert_eq!(bench.folder().names().unwrap().count(), 0);
    }
}
