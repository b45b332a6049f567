//! What lies at a name already, and whether it may be replaced.

use rustix::fs::{AtFlags, FileType, Statx, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use std::os::fd::BorrowedFd;

use crate::format::node::{Node, NodeKind, Timestamp};

/// What an entry on the file system is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
    /// Something this program does not know.
    Unknown,
}

impl Kind {
    pub(super) fn of_mode(mode: u32) -> Self {
        match FileType::from_raw_mode(mode) {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Symlink,
            FileType::CharacterDevice => Self::CharDevice,
            FileType::BlockDevice => Self::BlockDevice,
            FileType::Fifo => Self::Fifo,
            FileType::Socket => Self::Socket,
            FileType::Unknown => Self::Unknown,
        }
    }

    fn of_node(node: &NodeKind) -> Self {
        match node {
            NodeKind::File { .. } => Self::File,
            NodeKind::Directory { .. } => Self::Directory,
            NodeKind::Symlink { .. } => Self::Symlink,
            NodeKind::CharDevice { .. } => Self::CharDevice,
            NodeKind::BlockDevice { .. } => Self::BlockDevice,
            NodeKind::Fifo => Self::Fifo,
            NodeKind::Socket => Self::Socket,
        }
    }
}

/// An entry that is there already, looked at without following it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Existing {
    /// What it is.
    pub kind: Kind,
    /// Length in bytes; of a symbolic link, that of its target.
    pub size_bytes: u64,
    /// Bytes the file system spends on its content.
    pub allocated_bytes: u64,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Last change of content or metadata.
    pub ctime: Timestamp,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// How many names the inode has.
    pub names: u32,
    /// File system and inode number: equal for two names of one inode.
    pub identity: (u64, u64),
    /// Major and minor number, of a device.
    pub device: (u32, u32),
    /// Immutable or append-only, so that it must be thawed before anything about it can change.
    pub frozen: bool,
}

impl Existing {
    /// Looks at `name` in `folder`; `None` when nothing has that name.
    pub(super) fn look(folder: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Self>, Errno> {
        match rustix::fs::statx(folder, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS) {
            Ok(found) => Ok(Some(Self::new(&found))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    fn new(found: &Statx) -> Self {
        let mode = u32::from(found.stx_mode);
        let frozen = StatxAttributes::IMMUTABLE | StatxAttributes::APPEND;
        Self {
            kind: Kind::of_mode(mode),
            size_bytes: found.stx_size,
            allocated_bytes: found.stx_blocks.saturating_mul(512),
            mtime: Timestamp { seconds: found.stx_mtime.tv_sec, nanos: found.stx_mtime.tv_nsec },
            ctime: Timestamp { seconds: found.stx_ctime.tv_sec, nanos: found.stx_ctime.tv_nsec },
            mode: mode & 0o7777,
            uid: found.stx_uid,
            gid: found.stx_gid,
            names: found.stx_nlink,
            identity: (rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor), found.stx_ino),
            device: (found.stx_rdev_major, found.stx_rdev_minor),
            frozen: found.stx_attributes.intersects(frozen),
        }
    }

    /// Whether `node` looks unchanged: same kind and, as far as the kind has them, size, time and device numbers.
    #[must_use]
    pub fn looks_like(&self, node: &Node) -> bool {
        let same_time = self.mtime == node.metadata.mtime;
        self.kind == Kind::of_node(&node.kind)
            && match &node.kind {
                NodeKind::File { size, .. } => self.size_bytes == *size && same_time,
                NodeKind::Symlink { target } => self.size_bytes == target.len() as u64 && same_time,
                NodeKind::CharDevice { major, minor } | NodeKind::BlockDevice { major, minor } => {
                    self.device == (*major, *minor)
                }
                NodeKind::Directory { .. } | NodeKind::Fifo | NodeKind::Socket => true,
            }
    }
}

/// What becomes of an entry that exists already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overwrite {
    /// It is made as the snapshot has it, whatever it is now.
    #[default]
    Always,
    /// So too, unless kind, size and time of last change say it is the same.
    IfChanged,
    /// Only if the snapshot's version was changed later than the existing one.
    IfNewer,
    /// It stays.
    Never,
}

impl Overwrite {
    /// Whether `existing` is to be replaced by `node`.
    #[must_use]
    pub fn replaces(self, existing: &Existing, node: &Node) -> bool {
        match self {
            Self::Always => true,
            Self::IfChanged => !existing.looks_like(node),
            Self::IfNewer => node.metadata.mtime > existing.mtime,
            Self::Never => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::bench::Bench;
    use super::*;
    use crate::format::node::Metadata;

    #[test]
    fn the_policies_differ_where_they_should() {
        let bench = Bench::new();
        std::fs::write(bench.path("f"), b"12345").unwrap();
        let existing = bench.folder().existing(b"f").unwrap().unwrap();
        assert_eq!((existing.kind, existing.size_bytes, existing.names), (Kind::File, 5, 1));
        let kind = |size| NodeKind::File { size, content: Default::default(), holes: vec![], class: 0, rows: vec![] };
        let metadata = Metadata { mtime: existing.mtime, ..Metadata::default() };
        let same = Node { name: b"f".into(), metadata, links: None, kind: kind(5) };
        let mut newer = same.clone();
        newer.metadata.mtime.seconds += 1;
        let mut older = same.clone();
        older.metadata.mtime.seconds -= 1;
        let longer = Node { kind: kind(6), ..same.clone() };
        let answers = |policy: Overwrite| [&same, &newer, &older, &longer].map(|node| policy.replaces(&existing, node));
        assert_eq!(answers(Overwrite::Always), [true; 4]);
        assert_eq!(answers(Overwrite::IfChanged), [false, true, true, true]);
        assert_eq!(answers(Overwrite::IfNewer), [false, true, false, false]);
        assert_eq!(answers(Overwrite::Never), [false; 4]);
        assert_eq!(bench.folder().existing(b"none").unwrap(), None);
    }
}
