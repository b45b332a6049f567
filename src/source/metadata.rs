//! What the file system says of an entry, as a node keeps it.

use std::collections::HashMap;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Statx, StatxAttributes, StatxFlags, statx};
use rustix::io::Errno;

use crate::format::node::{FLAG_APPEND, FLAG_IMMUTABLE, FLAG_NODUMP, Metadata, Timestamp, Xattr, XattrValue};

/// One look at an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub file_type: FileType,
    /// Low 12 bits of the mode.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length in bytes.
    pub size: u64,
    /// Space it takes, in units of 512 bytes.
    pub blocks: u64,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Last change of anything.
    pub ctime: Timestamp,
    /// File system, as major and minor number.
    pub device: (u32, u32),
    /// Inode.
    pub inode: u64,
    /// Names of the inode.
    pub links: u32,
    /// Numbers of the device that the entry is.
    pub rdev: (u32, u32),
    /// `FLAG_*` of [`crate::format::node`].
    pub flags: u32,
}

impl Stat {
    /// Whether two looks, before and after reading, saw the same unchanged file.
    #[must_use]
    pub fn same_content(&self, other: &Self) -> bool {
        let key = |stat: &Self| (stat.size, stat.mtime, stat.inode, stat.device);
        // Losing its last name changes the ctime of a file, not what is in it.
        key(self) == key(other) && (self.ctime == other.ctime || self.links == 0)
    }

    /// Whether the file has holes, or may have.
    #[must_use]
    pub const fn may_be_sparse(&self) -> bool {
        self.blocks.saturating_mul(512) < self.size
    }

    fn new(raw: &Statx) -> Self {
        let time =
            |time: rustix::fs::StatxTimestamp| Timestamp { seconds: time.tv_sec, nanos: time.tv_nsec.min(999_999_999) };
        let flags = [
            (StatxAttributes::IMMUTABLE, FLAG_IMMUTABLE),
            (StatxAttributes::APPEND, FLAG_APPEND),
            (StatxAttributes::NODUMP, FLAG_NODUMP),
        ];
        Self {
            file_type: FileType::from_raw_mode(raw.stx_mode.into()),
            mode: u32::from(raw.stx_mode) & 0o7777,
            uid: raw.stx_uid,
            gid: raw.stx_gid,
            size: raw.stx_size,
            blocks: raw.stx_blocks,
            mtime: time(raw.stx_mtime),
            ctime: time(raw.stx_ctime),
            device: (raw.stx_dev_major, raw.stx_dev_minor),
            inode: raw.stx_ino,
            links: raw.stx_nlink,
            rdev: (raw.stx_rdev_major, raw.stx_rdev_minor),
            flags: flags.iter().filter(|(attribute, _)| raw.stx_attributes.contains(*attribute)).map(|(_, f)| f).sum(),
        }
    }
}

/// Looks at `name` in a folder, never through a link.
///
/// # Errors
/// What the system says.
pub fn stat_at(folder: BorrowedFd<'_>, name: &CStr) -> Result<Stat, Errno> {
    let raw = statx(folder, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, StatxFlags::BASIC_STATS)?;
    Ok(Stat::new(&raw))
}

/// Looks at an open file.
///
/// # Errors
/// What the system says.
pub fn stat_open(file: BorrowedFd<'_>) -> Result<Stat, Errno> {
    Ok(Stat::new(&statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?))
}

/// Extended attributes that a file system makes up itself; writing them back would fail or harm.
fn is_kept(name: &[u8]) -> bool {
    !name.starts_with(b"system.nfs4_acl") && !name.starts_with(b"trusted.overlay.") && name != b"system.cifs_acl"
}

fn collect_xattrs(
    list: impl Fn(&mut Vec<u8>) -> Result<usize, Errno>,
    get: impl Fn(&CStr, &mut Vec<u8>) -> Result<usize, Errno>,
) -> Result<Vec<Xattr>, Errno> {
    let mut names = vec![0; 1024];
    let length = match grow(&mut names, &list) {
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        length => length?,
    };
    names.truncate(length);
    let mut xattrs = Vec::new();
    let mut value = Vec::new();
    for name in names.split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        if !is_kept(name.to_bytes()) {
            continue;
        }
        value.resize(4096, 0);
        match grow(&mut value, &|buffer: &mut Vec<u8>| get(name, buffer)) {
            Ok(length) => {
                let value = XattrValue::Inline(value.get(..length).unwrap_or_default().to_vec());
                xattrs.push(Xattr { name: name.to_bytes().to_vec(), value });
            }
            // Taken away between the list and now.
            Err(Errno::NODATA) => {}
            Err(error) => return Err(error),
        }
    }
    xattrs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(xattrs)
}

/// Calls `fill` with a larger buffer until it fits; the kernel's limit is 64 KiB.
fn grow(buffer: &mut Vec<u8>, fill: &impl Fn(&mut Vec<u8>) -> Result<usize, Errno>) -> Result<usize, Errno> {
    match fill(buffer) {
        Err(Errno::RANGE) => {
            buffer.resize(64 << 10, 0);
            fill(buffer)
        }
        result => result,
    }
}

/// Extended attributes of an open file or folder, sorted by name.
///
/// # Errors
/// What the system says; a file system without them has none.
pub fn xattrs_open(file: BorrowedFd<'_>) -> Result<Vec<Xattr>, Errno> {
    collect_xattrs(
        |names| rustix::fs::flistxattr(file, &mut names[..]),
        |name, value| rustix::fs::fgetxattr(file, name, &mut value[..]),
    )
}

/// Extended attributes of `name` in a folder, which may be a link or anything else that must not be opened.
///
/// # Errors
/// What the system says.
pub fn xattrs_at(folder: BorrowedFd<'_>, name: &CStr) -> Result<Vec<Xattr>, Errno> {
    let mut path = format!("/proc/self/fd/{}/", folder.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    collect_xattrs(
        |names| rustix::fs::llistxattr(path.as_slice(), &mut names[..]),
        |name, value| rustix::fs::lgetxattr(path.as_slice(), name, &mut value[..]),
    )
}

/// Names of owners and groups as this machine knows them, each looked up once.
#[derive(Debug, Default)]
pub struct Names {
    users: HashMap<u32, Arc<str>>,
    groups: HashMap<u32, Arc<str>>,
}

impl Names {
    /// Reads `/etc/passwd` and `/etc/group`. Names from elsewhere (LDAP) are not known; ids are always kept.
    #[must_use]
    pub fn of_this_machine() -> Self {
        let read = |path| parse_names(&std::fs::read(path).unwrap_or_default());
        Self { users: read("/etc/passwd"), groups: read("/etc/group") }
    }

    /// Name of an owner.
    #[must_use]
    pub fn user(&self, uid: u32) -> Option<Arc<str>> {
        self.users.get(&uid).cloned()
    }

    /// Name of a group.
    #[must_use]
    pub fn group(&self, gid: u32) -> Option<Arc<str>> {
        self.groups.get(&gid).cloned()
    }

    /// A node's metadata from a look and the extended attributes.
    #[must_use]
    pub fn metadata(&self, stat: &Stat, xattrs: Vec<Xattr>) -> Metadata {
        Metadata {
            mode: stat.mode,
            uid: stat.uid,
            gid: stat.gid,
            user: self.user(stat.uid),
            group: self.group(stat.gid),
            mtime: stat.mtime,
            ctime: stat.ctime,
            xattrs,
            flags: stat.flags,
        }
    }
}

fn parse_names(file: &[u8]) -> HashMap<u32, Arc<str>> {
    let mut names = HashMap::new();
    for line in String::from_utf8_lossy(file).lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(_), Some(Ok(id))) = (fields.next(), fields.next(), fields.next().map(str::parse)) {
            names.entry(id).or_insert_with(|| Arc::from(name));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_of_an_id_counts() {
        let names =
            parse_names(b"root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\nbad line\nme:x:1000:1000::/:/\n");
        assert_eq!(&*names[&0], "root");
        assert_eq!(&*names[&1000], "me");
    }

    #[test]
    fn links_are_looked_at_themselves() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/nowhere", folder.path().join("link")).unwrap();
        let descriptor = std::fs::File::open(folder.path()).unwrap();
        assert_eq!(stat_at(descriptor.as_fd(), c"link").unwrap().file_type, FileType::Symlink);
        assert_eq!(xattrs_at(descriptor.as_fd(), c"link"), Ok(Vec::new()));
    }
}
