//! Dump: what a snapshot holds, to a pipe: a file as it was, or anything as a tar stream.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::atomic::AtomicBool;

use super::list::{Located, Step, check_interrupted, walk};
use super::tar::{TarEntry, TarKind, TarWriter};
use crate::format::DecodeError;
use crate::format::node::{Content, Hole, LinkGroup, Metadata, Node, NodeKind, XattrValue};
use crate::progress::Progress;
use crate::repository::{BlobReader, ContentCursor, RepositoryError};

/// Longer values of extended attributes are refused, in bytes; Linux takes 64 KiB.
const MAX_XATTR_LEN: u64 = 16 << 20;

/// Why a dump ended early.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The repository.
    #[error("{0}")]
    Repository(#[from] RepositoryError),
    /// Whoever reads the output.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

/// Names and values.
type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// What a dump wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DumpStats {
    /// Entries.
    pub entries: u64,
    /// Bytes of files, holes included.
    pub bytes: u64,
    /// Sockets, which a tar stream cannot hold.
    pub left_out: u64,
}

fn malformed(what: &'static str) -> DumpError {
    RepositoryError::Malformed { name: "content".into(), source: DecodeError { what, at: 0 } }.into()
}

fn write_zeros(out: &mut dyn Write, mut count: u64, interrupted: &AtomicBool) -> Result<(), DumpError> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    while count > 0 {
        check_interrupted(interrupted)?;
        let some = count.min(ZEROS.len() as u64);
        out.write_all(ZEROS.get(..some as usize).unwrap_or_default())?;
        count -= some;
    }
    Ok(())
}

/// Writes the bytes of `content`, with zeros in the `holes`, `size` bytes in all.
fn write_content(
    reader: &mut BlobReader<'_>,
    content: Content,
    holes: &[Hole],
    size: u64,
    out: &mut dyn Write,
    interrupted: &AtomicBool,
) -> Result<(), DumpError> {
    let mut position = 0_u64;
    let mut holes = holes.iter().peekable();
    let mut cursor = ContentCursor::new(content);
    loop {
        while let Some(hole) = holes.next_if(|hole| hole.offset == position) {
            write_zeros(out, hole.length, interrupted)?;
            position = position.saturating_add(hole.length);
        }
        check_interrupted(interrupted)?;
        let Some(part) = cursor.next(reader)? else { break };
        let blob = reader.data(&part.id)?;
        if blob.len() as u64 != part.length {
            return Err(malformed("a blob of a content has another length than the reference to it"));
        }
        let mut left: &[u8] = &blob;
        while !left.is_empty() {
            let until = holes.peek().map_or(u64::MAX, |hole| hole.offset.saturating_sub(position));
            let (now, later) = left.split_at(left.len().min(usize::try_from(until).unwrap_or(usize::MAX)));
            out.write_all(now)?;
            position = position.saturating_add(now.len() as u64);
            left = later;
            while let Some(hole) = holes.next_if(|hole| hole.offset == position) {
                write_zeros(out, hole.length, interrupted)?;
                position = position.saturating_add(hole.length);
            }
            if now.is_empty() && holes.peek().is_some_and(|hole| hole.offset < position) {
                return Err(malformed("the holes of a file are not in order"));
            }
        }
    }
    if position == size { Ok(()) } else { Err(malformed("content and holes of a file do not make up its size")) }
}

/// Writes a file as it was, holes as zeros. Anything but a regular file is empty.
///
/// # Errors
/// When its content cannot be read or the output cannot be written.
pub fn file(
    reader: &mut BlobReader<'_>,
    node: &Node,
    out: &mut dyn Write,
    interrupted: &AtomicBool,
) -> Result<DumpStats, DumpError> {
    let NodeKind::File { size, content, holes, .. } = &node.kind else { return Ok(DumpStats::default()) };
    write_content(reader, content.clone(), holes, *size, out, interrupted)?;
    out.flush()?;
    Ok(DumpStats { entries: 1, bytes: *size, left_out: 0 })
}

fn xattrs(reader: &mut BlobReader<'_>, metadata: &Metadata, interrupted: &AtomicBool) -> Result<Xattrs, DumpError> {
    let mut all = Vec::new();
    for xattr in &metadata.xattrs {
        let value = match &xattr.value {
            XattrValue::Inline(value) => value.clone(),
            XattrValue::Stored(content) => {
                let size = content.length().filter(|size| *size <= MAX_XATTR_LEN);
                let size = size.ok_or_else(|| malformed("an extended attribute is too long"))?;
                let mut value = Vec::new();
                write_content(reader, content.clone(), &[], size, &mut value, interrupted)?;
                value
            }
        };
        all.push((xattr.name.clone(), value));
    }
    Ok(all)
}

/// A tar stream being written.
struct Archive<'a, W: Write> {
    tar: TarWriter<W>,
    /// First name of each inode that has several.
    links: HashMap<LinkGroup, Vec<u8>>,
    interrupted: &'a AtomicBool,
    progress: &'a dyn Progress,
    stats: DumpStats,
}

impl<W: Write> Archive<'_, W> {
    fn add(&mut self, reader: &mut BlobReader<'_>, at: &Located) -> Result<(), DumpError> {
        let (path, node) = (at.restore_path.as_slice(), &at.node);
        let first = node.links.and_then(|group| self.links.get(&group).cloned());
        let kind = match (&first, &node.kind) {
            (_, NodeKind::Directory { .. }) => TarKind::Directory,
            (_, NodeKind::Socket) => {
                self.stats.left_out += 1;
                self.progress
                    .warn(&format!("{} is a socket and is left out", String::from_utf8_lossy(path).escape_debug()));
                return Ok(());
            }
            (Some(target), _) => TarKind::HardLink { target },
            (None, NodeKind::File { size, .. }) => TarKind::File { size: *size },
            (None, NodeKind::Symlink { target }) => TarKind::Symlink { target },
            (None, NodeKind::CharDevice { major, minor }) => TarKind::CharDevice { major: *major, minor: *minor },
            (None, NodeKind::BlockDevice { major, minor }) => TarKind::BlockDevice { major: *major, minor: *minor },
            (None, NodeKind::Fifo) => TarKind::Fifo,
        };
        let xattrs = xattrs(reader, &node.metadata, self.interrupted)?;
        self.progress.current(&at.path);
        self.tar.begin(&TarEntry { path, kind, metadata: &node.metadata, xattrs: &xattrs })?;
        if let (TarKind::File { size }, NodeKind::File { content, holes, .. }) = (kind, &node.kind) {
            write_content(reader, content.clone(), holes, size, self.tar.out(), self.interrupted)?;
            self.tar.pad(size)?;
            self.stats.bytes = self.stats.bytes.saturating_add(size);
            self.progress.advance(0, size);
        }
        self.stats.entries += 1;
        self.progress.advance(1, 0);
        if let Some(group) = node.links.filter(|_| first.is_none()) {
            self.links.insert(group, path.to_vec());
        }
        Ok(())
    }
}

/// Writes entries, and everything below them, as one tar stream; each is called by its restore path.
///
/// Entries of one inode are hard links. Sockets are left out, with a warning: tar has none.
///
/// # Errors
/// When something cannot be read or the output cannot be written; the stream has no end then.
pub fn archive(
    reader: &mut BlobReader<'_>,
    entries: Vec<Located>,
    out: impl Write,
    interrupted: &AtomicBool,
    progress: &dyn Progress,
) -> Result<DumpStats, DumpError> {
    let stats = DumpStats::default();
    let mut archive = Archive { tar: TarWriter::new(out), links: HashMap::new(), interrupted, progress, stats };
    for start in entries {
        walk(reader, start, interrupted, &mut |reader, at| archive.add(reader, at).map(|()| Step::Into))?;
    }
    archive.tar.finish()?;
    Ok(archive.stats)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use super::super::bench::{Bench, PIECE, RUNNING, Sample, file, folder, other, sparse, symlink};
    use super::super::list::roots;
    use super::*;
    use crate::format::node::{Timestamp, Xattr};
    use crate::progress::Silent;

    fn dumped(sample: Sample) -> Vec<u8> {
        let bench = Bench::new();
        let root = roots(&bench.snapshot(vec![("/", sample)]).snapshot).remove(0);
        let mut out = Vec::new();
        bench.read(|reader| super::file(reader, &root.node, &mut out, &RUNNING)).unwrap();
        out
    }

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at * 7 % 251) as u8 + 1).collect()
    }

    #[test]
    fn a_file_comes_back_as_it_was() {
        for length in [0, 1, PIECE, PIECE + 1, 3 * PIECE, 1100 * PIECE + 17] {
            assert_eq!(dumped(file("f", &pattern(length))), pattern(length), "{length} bytes");
        }
    }

    #[test]
    fn holes_are_zeros_wherever_they_are() {
        let data = pattern(250);
        for holes in [
            vec![(0, 10)],
            vec![(250, 10)],
            vec![(100, 1), (102, 70_000)],
            vec![(0, 5), (7, 3), (90, 300), (500, 1), (555, 9)],
            vec![(50, 1), (52, 1), (54, 1), (100, 100), (201, 100_000)],
        ] {
            let mut expected = data.clone();
            for (offset, length) in &holes {
                let at = *offset as usize;
                expected.splice(at..at, vec![0; *length as usize]);
            }
            let holes: Vec<_> = holes.iter().map(|(offset, length)| (*offset as u64, *length as u64)).collect();
            assert_eq!(dumped(sparse("f", &data, &holes)), expected, "{holes:?}");
        }
        assert_eq!(dumped(sparse("f", &[], &[(0, 200_000)])), vec![0; 200_000]);
    }

    /// What the tar stream of `sample` gives when GNU tar extracts it.
    fn extracted(bench: &Bench, sample: Sample) -> (PathBuf, DumpStats) {
        let snapshot = bench.snapshot(vec![("/srv", sample)]).snapshot;
        let archive_path = bench.path().join("dump.tar");
        let out = std::fs::File::create(&archive_path).unwrap();
        let mut roots = roots(&snapshot);
        roots[0].restore_path = roots[0].node.name.clone();
        let stats = bench.read(|reader| archive(reader, roots, out, &RUNNING, &Silent)).unwrap();
        let to = bench.path().join("out");
        std::fs::create_dir(&to).unwrap();
        let mut tar = Command::new("tar");
        tar.args([
            "--extract",
            "--warning=no-timestamp",
            "--preserve-permissions",
            "--numeric-owner",
            "--xattrs",
            "--file",
        ])
        .arg(&archive_path);
        let output = tar.arg("--directory").arg(&to).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        (to, stats)
    }

    fn mtime(path: &Path) -> (i64, i64) {
        let metadata = path.symlink_metadata().unwrap();
        (metadata.mtime(), metadata.mtime_nsec())
    }

    #[test]
    fn gnu_tar_extracts_what_was_stored() {
        let bench = Bench::new();
        let long = "n".repeat(200);
        let deep = folder(&long, vec![folder(&long, vec![file("é\n", b"deep"), symlink("l", &long)])]);
        let sample = folder(
            "top",
            vec![
                file("plain", &pattern(1000)).with(|node| node.metadata.mode = 0o4751),
                sparse("sparse", &pattern(600), &[(3, 100_000)]),
                file("old", b"").with(|node| node.metadata.mtime = Timestamp { seconds: -2, nanos: 250_000_000 }),
                file("linked-a", b"same").linked(7),
                file("linked-b", b"same").linked(7),
                symlink("absolute", "/etc/passwd"),
                other("pipe", NodeKind::Fifo),
                other("socket", NodeKind::Socket),
                deep,
            ],
        )
        .with(|node| node.metadata.mode = 0o1750);
        let (out, stats) = extracted(&bench, sample);
        let top = out.join("top");
        let read = |name: &str| std::fs::read(top.join(name)).unwrap();
        assert_eq!(read("plain"), pattern(1000));
        assert_eq!(read("sparse").len(), 100_600);
        assert_eq!(&read("sparse")[100_003..], &pattern(600)[3..]);
        assert_eq!(std::fs::metadata(&top).unwrap().permissions().mode() & 0o7777, 0o1750);
        assert_eq!(std::fs::metadata(top.join("plain")).unwrap().permissions().mode() & 0o7777, 0o4751);
        assert_eq!(mtime(&top.join("plain")), (1_700_000_000, 123_456_789));
        assert_eq!(mtime(&top), (1_700_000_000, 123_456_789));
        assert_eq!(mtime(&top.join("old")), (-2, 250_000_000));
        let inode = |name: &str| std::fs::metadata(top.join(name)).unwrap().ino();
        assert_eq!((inode("linked-a"), read("linked-b")), (inode("linked-b"), b"same".to_vec()));
        assert_eq!(std::fs::read_link(top.join("absolute")).unwrap(), Path::new("/etc/passwd"));
        assert!(std::fs::metadata(top.join("pipe")).unwrap().file_type().is_fifo());
        assert!(!top.join("socket").exists());
        let below = top.join(&long).join(&long);
        assert_eq!(std::fs::read(below.join("é\n")).unwrap(), b"deep");
        assert_eq!(std::fs::read_link(below.join("l")).unwrap(), Path::new(&long));
        assert_eq!(stats, DumpStats { entries: 12, bytes: 101_608, left_out: 1 });
    }

    #[test]
    fn names_that_are_no_text_and_extended_attributes_go_through_tar() {
        let bench = Bench::new();
        let xattr = |name: &str, value: &[u8]| Xattr {
            name: name.as_bytes().to_vec(),
            value: XattrValue::Inline(value.to_vec()),
        };
        let sample = folder(
            "top",
            vec![
                file("x", b"1")
                    .with(|node| node.metadata.xattrs = vec![xattr("user.a", b"\x00\n\xff"), xattr("user.b", b"")]),
                file("y", b"2").with(|node| node.name = b"\xff\xfe".to_vec()),
            ],
        );
        let (out, _) = extracted(&bench, sample);
        let name = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff\xfe");
        assert_eq!(std::fs::read(out.join("top").join(name)).unwrap(), b"2");
        let mut value = [0; 64];
        match rustix::fs::lgetxattr(out.join("top/x"), "user.a", &mut value) {
            Ok(length) => assert_eq!(&value[..length], b"\x00\n\xff"),
            // Not every file system that tests run on has them.
            Err(error) => assert_eq!(error, rustix::io::Errno::OPNOTSUPP),
        }
    }
}
