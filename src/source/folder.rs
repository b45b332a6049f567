//! Folders of the source: opened by descriptor, listed in the order of trees.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::metadata::{Stat, stat_open};

/// An open folder. Everything below it is reached through its descriptor, so paths may be of any length and
/// a folder that is moved or replaced meanwhile cannot lead elsewhere.
#[derive(Debug, Clone)]
pub struct SourceFolder(Arc<OwnedFd>);

/// The names in a folder, sorted as bytes; all in one piece of memory, for folders of a million entries.
#[derive(Debug, Default)]
pub struct SortedNames {
    bytes: Vec<u8>,
    starts: Vec<u32>,
}

impl SortedNames {
    /// One name.
    #[must_use]
    pub fn of_one(name: &CStr) -> Self {
        Self { bytes: name.to_bytes_with_nul().to_vec(), starts: vec![0] }
    }

    /// How many.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The name at `at`.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<&CStr> {
        let start = *self.starts.get(at)? as usize;
        CStr::from_bytes_until_nul(self.bytes.get(start..)?).ok()
    }

    /// Whether `name` is among them.
    #[must_use]
    pub fn contains(&self, name: &[u8]) -> bool {
        self.starts.binary_search_by(|start| name_at(&self.bytes, *start).cmp(name)).is_ok()
    }

    fn push(&mut self, name: &CStr) -> Result<(), Errno> {
        self.starts.push(u32::try_from(self.bytes.len()).map_err(|_| Errno::OVERFLOW)?);
        self.bytes.extend_from_slice(name.to_bytes_with_nul());
        Ok(())
    }
}

fn name_at(bytes: &[u8], start: u32) -> &[u8] {
    bytes.get(start as usize..).and_then(|rest| CStr::from_bytes_until_nul(rest).ok()).map_or(b"", CStr::to_bytes)
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl SourceFolder {
    /// Opens a folder by path; links on the way and at its end are followed.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path) -> Result<Self, Errno> {
        Ok(Self(Arc::new(rustix::fs::open(path, FOLDER, Mode::empty())?)))
    }

    /// Opens a folder in this one; a link is refused.
    ///
    /// # Errors
    /// What the system says.
    pub fn enter(&self, name: &CStr) -> Result<Self, Errno> {
        let flags = FOLDER | OFlags::NOFOLLOW;
        Ok(Self(Arc::new(rustix::fs::openat(&self.0, name, flags, Mode::empty())?)))
    }

    /// Opens a regular file for reading, without touching its access time where that is allowed. A link is refused,
    /// and nothing that is not a regular file is waited for.
    ///
    /// # Errors
    /// What the system says.
    pub fn open_file(&self, name: &CStr) -> Result<File, Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let quiet = rustix::fs::openat(&self.0, name, flags | OFlags::NOATIME, Mode::empty());
        match quiet {
            // Only the owner may leave the access time alone.
            Err(Errno::PERM) => rustix::fs::openat(&self.0, name, flags, Mode::empty()),
            opened => opened,
        }
        .map(File::from)
    }

    /// Target of a link in this folder.
    ///
    /// # Errors
    /// What the system says.
    pub fn read_link(&self, name: &CStr) -> Result<CString, Errno> {
        rustix::fs::readlinkat(&self.0, name, Vec::new())
    }

    /// All names in this folder but `.` and `..`, sorted.
    ///
    /// # Errors
    /// What the system says; never a part of the list.
    pub fn names(&self) -> Result<SortedNames, Errno> {
        let mut names = SortedNames::default();
        // A descriptor of its own: reading moves the position.
        let own = rustix::fs::openat(&self.0, c".", FOLDER, Mode::empty())?;
        let mut buffer = Vec::with_capacity(64 << 10);
        let mut entries = rustix::fs::RawDir::new(own, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_name())?;
            }
        }
        let SortedNames { bytes, starts } = &mut names;
        starts.sort_unstable_by(|a, b| name_at(bytes, *a).cmp(name_at(bytes, *b)));
        starts.dedup_by(|a, b| name_at(bytes, *a) == name_at(bytes, *b));
        Ok(names)
    }

    /// A look at the folder itself.
    ///
    /// # Errors
    /// What the system says.
    pub fn stat(&self) -> Result<Stat, Errno> {
        stat_open(self.0.as_fd())
    }

    /// Whether this is on a file system that the kernel makes up (`/proc`, `/sys` …): there are no files in it.
    #[must_use]
    pub fn is_made_up_by_the_kernel(&self) -> bool {
        // linux/magic.h
        const PROC: u64 = 0x9fa0;
        const SYSFS: u64 = 0x6265_6572;
        const DEVPTS: u64 = 0x1cd1;
        const CGROUP: u64 = 0x0027_e0eb;
        const CGROUP2: u64 = 0x6367_7270;
        const DEBUGFS: u64 = 0x6462_6720;
        const TRACEFS: u64 = 0x7472_6163;
        const SECURITYFS: u64 = 0x7363_6673;
        const PSTORE: u64 = 0x6165_676c;
        const BPF: u64 = 0xcafe_4a11;
        const CONFIGFS: u64 = 0x6265_6570;
        const BINFMT: u64 = 0x4249_4e4d;
        const MQUEUE: u64 = 0x1980_0202;
        const EFIVARFS: u64 = 0xde5e_81e4;
        const MADE_UP: [u64; 14] = [
            PROC, SYSFS, DEVPTS, CGROUP, CGROUP2, DEBUGFS, TRACEFS, SECURITYFS, PSTORE, BPF, CONFIGFS, BINFMT, MQUEUE,
            EFIVARFS,
        ];
        rustix::fs::fstatfs(&self.0).is_ok_and(|info| MADE_UP.contains(&(info.f_type as u64)))
    }
}

impl AsFd for SourceFolder {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_sorted_as_bytes_whatever_they_are() {
        use std::os::unix::ffi::OsStrExt as _;
        let folder = tempfile::tempdir().unwrap();
        let wanted: [&[u8]; 6] = [b"\n", b"-x", b"A", b"a", b"a.b", b"\xff"];
        for name in wanted.iter().rev() {
            std::fs::write(folder.path().join(std::ffi::OsStr::from_bytes(name)), "").unwrap();
        }
        let names = SourceFolder::open(folder.path()).unwrap().names().unwrap();
        let got: Vec<_> = (0..names.len()).map(|at| names.get(at).unwrap().to_bytes()).collect();
        assert_eq!(got, wanted);
        assert!(names.contains(b"a.b") && !names.contains(b"b"));
    }

    #[test]
    fn a_pipe_does_not_block_and_a_link_is_refused() {
        let path = tempfile::tempdir().unwrap();
        let folder = SourceFolder::open(path.path()).unwrap();
        rustix::fs::mkfifoat(&folder, c"pipe", Mode::RUSR).unwrap();
        std::os::unix::fs::symlink("pipe", path.path().join("link")).unwrap();
        assert!(folder.open_file(c"pipe").is_ok());
        assert_eq!(folder.open_file(c"link").unwrap_err(), Errno::LOOP);
    }

    #[test]
    fn proc_has_no_files() {
        assert!(SourceFolder::open(Path::new("/proc")).unwrap().is_made_up_by_the_kernel());
        assert!(!SourceFolder::open(Path::new("/")).unwrap().is_made_up_by_the_kernel());
    }
}
