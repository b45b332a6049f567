//! The file on the machine that a snapshot was made of, while nobody has changed it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{FileType, Mode, OFlags};

use crate::format::node::{Node, NodeKind, Timestamp};
use crate::operation::list::Located;

/// What comparing with it has shown.
#[derive(Debug)]
pub(super) enum Compared {
    /// The same bytes.
    Same,
    /// It is not the file of the snapshot any more, so there is nothing to compare with.
    Changed,
    /// Other bytes.
    Differs {
        /// The first that is another, in bytes from the beginning.
        at: u64,
    },
    /// The machine cannot read its own file.
    Unreadable(io::Error),
}

/// A file that is as it was when the snapshot was made, by size and times. What is written to this is compared with it.
pub(super) struct Original {
    file: File,
    node: Node,
    position: u64,
    differs: Option<u64>,
    error: Option<io::Error>,
    own: Vec<u8>,
}

impl Original {
    /// The file, unless it is gone or was changed.
    pub(super) fn find(located: &Located) -> Option<Self> {
        // Of a database the snapshot has a copy, which need not be the file byte for byte.
        let is_plain = matches!(&located.node.kind, NodeKind::File { rows, .. } if rows.is_empty());
        if !is_plain || !located.path.starts_with(b"/") {
            return None;
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::open(OsStr::from_bytes(&located.path), flags, Mode::empty()).ok()?;
        let original = Self {
            file: file.into(),
            node: located.node.clone(),
            position: 0,
            differs: None,
            error: None,
            own: Vec::new(),
        };
        original.is_unchanged().then_some(original)
    }

    fn is_unchanged(&self) -> bool {
        let Ok(stat) = rustix::fs::fstat(&self.file) else { return false };
        let NodeKind::File { size, .. } = self.node.kind else { return false };
        let time = |seconds: i64, nanos: u64| Timestamp { seconds, nanos: u32::try_from(nanos).unwrap_or(u32::MAX) };
        let metadata = &self.node.metadata;
        FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            && u64::try_from(stat.st_size) == Ok(size)
            && time(stat.st_mtime, stat.st_mtime_nsec) == metadata.mtime
            && time(stat.st_ctime, stat.st_ctime_nsec) == metadata.ctime
    }

    /// What was found, at the end. A file that was changed meanwhile says nothing.
    pub(super) fn finish(self) -> Compared {
        if !self.is_unchanged() {
            return Compared::Changed;
        }
        match (self.error, self.differs) {
            (Some(error), _) => Compared::Unreadable(error),
            (None, Some(at)) => Compared::Differs { at },
            (None, None) => Compared::Same,
        }
    }

    /// Compares with what was restored to `restored`.
    pub(super) fn compare(mut self, restored: &mut File) -> io::Result<Compared> {
        let mut bytes = vec![0; 256 << 10];
        loop {
            match restored.read(&mut bytes)? {
                0 => return Ok(self.finish()),
                length => self.write_all(bytes.get(..length).unwrap_or_default())?,
            }
        }
    }
}

impl Write for Original {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.error.is_none() && self.differs.is_none() {
            self.own.resize(bytes.len(), 0);
            match self.file.read_exact(&mut self.own) {
                Ok(()) => {
                    let at = self.own.iter().zip(bytes).position(|(own, byte)| own != byte);
                    self.differs = at.map(|at| self.position + at as u64);
                }
                Err(error) => self.error = Some(error),
            }
        }
        self.position += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;
    use std::path::Path;

    use super::*;
    use crate::operation::bench::file;

    /// The file as a backup of just now knows it.
    fn located(path: &Path) -> Located {
        let found = std::fs::metadata(path).unwrap();
        let mut node = file("f", &std::fs::read(path).unwrap()).node;
        let time = |seconds, nanos: i64| Timestamp { seconds, nanos: u32::try_from(nanos).unwrap() };
        node.metadata.mtime = time(found.mtime(), found.mtime_nsec());
        node.metadata.ctime = time(found.ctime(), found.ctime_nsec());
        Located { path: path.as_os_str().as_bytes().to_vec(), restore_path: b"f".to_vec(), node }
    }

    fn compared(located: &Located, restored: &[u8]) -> Option<Compared> {
        let mut original = Original::find(located)?;
        restored.chunks(3).for_each(|part| original.write_all(part).unwrap());
        Some(original.finish())
    }

    #[test]
    fn other_bytes_under_the_same_size_and_times_are_found_and_what_was_changed_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, b"content").unwrap();
        let at = located(&path);
        assert!(matches!(compared(&at, b"content"), Some(Compared::Same)));
        assert!(matches!(compared(&at, b"conTent"), Some(Compared::Differs { at: 3 })));
        assert!(matches!(compared(&at, b"contenT"), Some(Compared::Differs { at: 6 })));
        // Changed while it is compared.
        let mut original = Original::find(&at).unwrap();
        original.write_all(b"conTent").unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        assert!(matches!(original.finish(), Compared::Changed));
        assert!(compared(&at, b"other..").is_none(), "its ctime is another");
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(compared(&at, b"content").is_none(), "a link is not followed");
    }
}
