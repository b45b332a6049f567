//! An entry of a tree: what a snapshot knows of one file, folder, link or device.
//!
//! Types only; their stored form is in [`super::tree`].

use std::sync::Arc;

pub use crate::clock::Timestamp;
use crate::id::BlobId;

/// One extended attribute. POSIX ACLs and file capabilities are such attributes on Linux.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Xattr {
    /// Full name with its class, such as `user.mime_type` or `system.posix_acl_access`.
    pub name: Vec<u8>,
    /// The value as the kernel gave it.
    pub value: XattrValue,
}

/// Where the value of an extended attribute is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum XattrValue {
    /// In the node itself; at most [`super::tree::MAX_INLINE_XATTR_LEN`] bytes.
    Inline(Vec<u8>),
    /// In blobs of its own.
    Stored(Content),
}

/// What is kept of every entry besides its name and content.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    /// Permission bits with setuid, setgid and sticky: the low 12 bits of `st_mode`.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Owner's name on the machine that was backed up, where it had one.
    pub user: Option<Arc<str>>,
    /// Group's name on the machine that was backed up, where it had one.
    pub group: Option<Arc<str>>,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Last change of content or metadata; compared, never restored.
    pub ctime: Timestamp,
    /// Extended attributes, sorted by name.
    pub xattrs: Vec<Xattr>,
    /// Bits of [`FLAG_IMMUTABLE`], [`FLAG_APPEND`], [`FLAG_NODUMP`].
    pub flags: u32,
}

/// The entry cannot be changed (`chattr +i`).
pub const FLAG_IMMUTABLE: u32 = 1;
/// The file can only be appended to (`chattr +a`).
pub const FLAG_APPEND: u32 = 2;
/// The entry is marked as not worth dumping (`chattr +d`).
pub const FLAG_NODUMP: u32 = 4;

/// The names of one inode: equal pairs inside a snapshot are hard links of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkGroup {
    /// Number of the file system, counted within the snapshot in the order of first sight.
    pub filesystem: u64,
    /// Inode number on it.
    pub inode: u64,
}

/// A range of a file that reads as zeros and takes no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    /// First byte of the hole, in bytes from the beginning of the file.
    pub offset: u64,
    /// Length in bytes, never 0.
    pub length: u64,
}

/// Blobs that joined together are a content: one level of references.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Content {
    /// 0: the references are data blobs. n > 0: they are list blobs whose references are of level n − 1.
    pub level: u8,
    /// In order; the lengths are those of the content below each reference, in bytes.
    pub parts: Vec<Part>,
}

/// One reference of a [`Content`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Data blob (level 0) or list blob.
    pub id: BlobId,
    /// Bytes of content below it.
    pub length: u64,
}

impl Content {
    /// Bytes of the whole content, or `None` when the lengths do not add up within 64 bits.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.parts.iter().try_fold(0_u64, |sum, part| sum.checked_add(part.length))
    }
}

/// How many rows a table of a database held when it was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableRows {
    /// Name of the table.
    pub table: String,
    /// Rows in the copy.
    pub rows: u64,
}

/// What an entry is, with what only that kind has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeKind {
    /// A regular file.
    File {
        /// Length in bytes, holes included.
        size: u64,
        /// Everything that is not in a hole, joined together.
        content: Content,
        /// Sorted, not touching each other, inside `size`.
        holes: Vec<Hole>,
        /// Number of the chunk class it was cut by; see [`crate::chunk::Class`].
        class: u8,
        /// Rows of every table when the file was taken as an SQLite database; else empty.
        rows: Vec<TableRows>,
    },
    /// A directory; its entries are in the tree blob named here.
    Directory {
        /// Tree blob.
        tree: BlobId,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points, as written in it.
        target: Vec<u8>,
    },
    /// A character device.
    CharDevice {
        /// Device numbers.
        major: u32,
        /// Device numbers.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Device numbers.
        major: u32,
        /// Device numbers.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A Unix socket; its address only, sockets hold nothing.
    Socket,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name: bytes without `/` and NUL, never empty, `.` or `..`.
    pub name: Vec<u8>,
    /// Owner, mode, times, attributes.
    pub metadata: Metadata,
    /// Set when the inode had more than one name.
    pub links: Option<LinkGroup>,
    /// What it is.
    pub kind: NodeKind,
}
