//! Tar streams: POSIX.1-2001 interchange format ("pax"), which GNU tar, bsdtar and Python read alike.
//!
//! Whatever a 512-byte header cannot say goes into a pax record before it: long names, large sizes, nanoseconds,
//! extended attributes. The `tar` crate is not used: it wants the content as one `Read`, prefers GNU's own extensions
//! for long names, and leaves the pax records, which are most of the work, to its caller.

use std::io::{self, Write};

use crate::format::node::{Metadata, Timestamp};

const BLOCK: usize = 512;
const NAME_LEN: usize = 100;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TarKind<'a> {
    /// A regular file; its content follows, then [`TarWriter::pad`].
    File {
        /// Length of the content, in bytes.
        size: u64,
    },
    /// Another name of an entry before it.
    HardLink {
        /// That entry's path.
        target: &'a [u8],
    },
    /// A symbolic link.
    Symlink {
        /// Where it points.
        target: &'a [u8],
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
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// One entry of a tar stream.
#[derive(Debug, Clone, Copy)]
pub struct TarEntry<'a> {
    /// Its path, without a leading `/`.
    pub path: &'a [u8],
    /// What it is.
    pub kind: TarKind<'a>,
    /// Owner, mode, times. Its extended attributes are not looked at.
    pub metadata: &'a Metadata,
    /// Names and values of extended attributes.
    pub xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

/// Writes a tar stream.
pub struct TarWriter<W> {
    out: W,
}

struct Header([u8; BLOCK]);

impl Header {
    const fn new() -> Self {
        Self([0; BLOCK])
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        for (to, from) in self.0.iter_mut().skip(at).zip(bytes) {
            *to = *from;
        }
    }

    /// A number in octal digits and a NUL, or zero and `false` when it needs more than the field has.
    fn number(&mut self, at: usize, width: usize, value: u64) -> bool {
        let digits = width - 1;
        let text = format!("{value:0digits$o}");
        let fits = text.len() <= digits;
        self.put(at, if fits { text.as_bytes() } else { b"0" });
        fits
    }

    /// A text, or its beginning and `false` when it needs more than the field has or is not ASCII.
    fn text(&mut self, at: usize, width: usize, text: &[u8]) -> bool {
        self.put(at, text.get(..width).unwrap_or(text));
        text.len() <= width && text.is_ascii()
    }

    fn finish(mut self) -> [u8; BLOCK] {
        self.put(257, b"ustar\x0000");
        self.put(148, b"        ");
        let sum: u32 = self.0.iter().map(|byte| u32::from(*byte)).sum();
        self.put(148, format!("{sum:06o}\0 ").as_bytes());
        self.0
    }
}

/// Adds `length key=value\n`, whose length counts its own digits.
fn push_record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} ").as_bytes());
    for part in [key, b"=", value, b"\n"] {
        records.extend_from_slice(part);
    }
}

/// Seconds since 1970 in decimal; what is before has a sign before the whole number.
fn decimal(time: Timestamp) -> String {
    let (sign, seconds, nanos) = match (time.seconds, time.nanos) {
        (seconds, 0) if seconds < 0 => ("-", seconds.unsigned_abs(), 0),
        (seconds, nanos) if seconds < 0 => ("-", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanos.min(999_999_999)),
        (seconds, nanos) => ("", seconds.unsigned_abs(), nanos),
    };
    if nanos == 0 { format!("{sign}{seconds}") } else { format!("{sign}{seconds}.{nanos:09}") }
}

/// The keyword of an extended attribute; GNU tar writes `=` and `%` in names so.
fn xattr_keyword(name: &[u8]) -> Vec<u8> {
    let mut keyword = b"SCHILY.xattr.".to_vec();
    for byte in name {
        match byte {
            b'=' => keyword.extend_from_slice(b"%3D"),
            b'%' => keyword.extend_from_slice(b"%25"),
            _ => keyword.push(*byte),
        }
    }
    keyword
}

impl<'a> TarKind<'a> {
    const fn flag(&self) -> u8 {
        match self {
            Self::File { .. } => b'0',
            Self::HardLink { .. } => b'1',
            Self::Symlink { .. } => b'2',
            Self::CharDevice { .. } => b'3',
            Self::BlockDevice { .. } => b'4',
            Self::Directory => b'5',
            Self::Fifo => b'6',
        }
    }

    const fn target(&self) -> &'a [u8] {
        match self {
            Self::HardLink { target } | Self::Symlink { target } => target,
            _ => b"",
        }
    }
}

/// The header of an entry and the pax records for what does not fit it.
fn encode(entry: &TarEntry<'_>) -> ([u8; BLOCK], Vec<u8>) {
    let TarEntry { kind, metadata, .. } = entry;
    let mut header = Header::new();
    let mut records = Vec::new();
    let mut path = entry.path.to_vec();
    if *kind == TarKind::Directory && !path.ends_with(b"/") {
        path.push(b'/');
    }
    if !header.text(0, NAME_LEN, &path) {
        push_record(&mut records, b"path", &path);
    }
    if !header.text(157, NAME_LEN, kind.target()) {
        push_record(&mut records, b"linkpath", kind.target());
    }
    header.number(100, 8, metadata.mode.into());
    let size = if let TarKind::File { size } = kind { *size } else { 0 };
    let (uid, gid) = (metadata.uid.into(), metadata.gid.into());
    for (at, width, key, value) in [(108, 8, "uid", uid), (116, 8, "gid", gid), (124, 12, "size", size)] {
        if !header.number(at, width, value) {
            push_record(&mut records, key.as_bytes(), value.to_string().as_bytes());
        }
    }
    let whole = u64::try_from(metadata.mtime.seconds).ok().filter(|_| metadata.mtime.nanos == 0);
    if !header.number(136, 12, whole.unwrap_or_else(|| metadata.mtime.seconds.try_into().unwrap_or(0)))
        || whole.is_none()
    {
        push_record(&mut records, b"mtime", decimal(metadata.mtime).as_bytes());
    }
    header.put(156, &[kind.flag()]);
    for (at, key, name) in [(265, "uname", &metadata.user), (297, "gname", &metadata.group)] {
        let name = name.as_deref().unwrap_or_default().as_bytes();
        // The last byte is a NUL.
        if !header.text(at, 31, name) {
            push_record(&mut records, key.as_bytes(), name);
        }
    }
    if let TarKind::CharDevice { major, minor } | TarKind::BlockDevice { major, minor } = kind {
        for (at, key, value) in [(329, "SCHILY.devmajor", *major), (337, "SCHILY.devminor", *minor)] {
            if !header.number(at, 8, value.into()) {
                push_record(&mut records, key.as_bytes(), value.to_string().as_bytes());
            }
        }
    }
    for (name, value) in entry.xattrs {
        push_record(&mut records, &xattr_keyword(name), value);
    }
    (header.finish(), records)
}

impl<W: Write> TarWriter<W> {
    /// An empty stream.
    pub const fn new(out: W) -> Self {
        Self { out }
    }

    /// Where the content of a file goes.
    pub const fn out(&mut self) -> &mut W {
        &mut self.out
    }

    /// Begins an entry.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begin(&mut self, entry: &TarEntry<'_>) -> io::Result<()> {
        let (header, records) = encode(entry);
        if !records.is_empty() {
            let mut extended = Header::new();
            extended.put(0, b"././@PaxHeader");
            for (at, width, value) in [(100, 8, 0o644), (108, 8, 0), (116, 8, 0), (136, 12, 0)] {
                extended.number(at, width, value);
            }
            extended.number(124, 12, records.len() as u64);
            extended.put(156, b"x");
            self.out.write_all(&extended.finish())?;
            self.out.write_all(&records)?;
            self.pad(records.len() as u64)?;
        }
        self.out.write_all(&header)
    }

    /// Fills the last block of a content of `size` bytes.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn pad(&mut self, size: u64) -> io::Result<()> {
        let rest = (size % BLOCK as u64) as usize;
        if rest == 0 { Ok(()) } else { self.out.write_all([0; BLOCK].get(rest..).unwrap_or_default()) }
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> io::Result<()> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length_at_every_length() {
        for length in 0..1200 {
            let mut records = Vec::new();
            push_record(&mut records, b"path", &vec![b'x'; length]);
            let text = String::from_utf8(records.clone()).unwrap();
            let (count, rest) = text.split_once(' ').unwrap();
            assert_eq!(count.parse(), Ok(records.len()));
            assert_eq!(rest.len(), "path=\n".len() + length);
        }
    }

    #[test]
    fn times_are_decimal_before_1970_too() {
        let text = |seconds, nanos| decimal(Timestamp { seconds, nanos });
        assert_eq!(text(1, 5), "1.000000005");
        assert_eq!(text(0, 0), "0");
        assert_eq!(text(-1, 500_000_000), "-0.500000000");
        assert_eq!(text(-2, 0), "-2");
        assert_eq!(text(-2, 250_000_000), "-1.750000000");
        assert_eq!(text(i64::MIN, 1), "-9223372036854775807.999999999");
    }

    #[test]
    fn what_fits_a_header_needs_no_record() {
        let metadata = Metadata { mode: 0o755, mtime: Timestamp { seconds: 9, nanos: 0 }, ..Metadata::default() };
        let entry = TarEntry { path: b"a", kind: TarKind::Directory, metadata: &metadata, xattrs: &[] };
        assert!(encode(&entry).1.is_empty());
        let large = Metadata { uid: u32::MAX, mtime: Timestamp { seconds: 1 << 33, nanos: 0 }, ..metadata };
        let kind = TarKind::File { size: 8 << 30 };
        let (_, records) = encode(&TarEntry { path: "é".as_bytes(), kind, metadata: &large, xattrs: &[] });
        let expected = "11 path=é\n18 uid=4294967295\n19 size=8589934592\n20 mtime=8589934592\n";
        assert_eq!(String::from_utf8(records).unwrap(), expected);
    }
}
