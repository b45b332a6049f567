//! Where a sparse file has data and where it has holes.

use std::fs::File;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::format::node::Hole;

/// More holes than this are not kept; the smallest are stored as zeros, which compress to nothing.
pub const MAX_HOLES: usize = 4096;

/// The holes of a file of `size` bytes, in order, at most [`MAX_HOLES`].
///
/// # Errors
/// What the system says.
pub fn holes(file: &File, size: u64) -> Result<Vec<Hole>, Errno> {
    let mut holes = Vec::new();
    let mut at = 0;
    while at < size {
        let data = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(data) => data.min(size),
            // Nothing but a hole follows.
            Err(Errno::NXIO) => size,
            // No holes on this file system.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        if data > at {
            holes.push(Hole { offset: at, length: data - at });
        }
        if data == size {
            break;
        }
        at = rustix::fs::seek(file, SeekFrom::Hole(data))?.min(size);
        if at <= data {
            // The file shrank under us; the look after reading will tell.
            break;
        }
    }
    if holes.len() > MAX_HOLES {
        let mut lengths: Vec<_> = holes.iter().map(|hole| hole.length).collect();
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        let least = lengths.get(MAX_HOLES).copied().unwrap_or(0);
        holes.retain(|hole| hole.length > least);
    }
    Ok(holes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt as _;

    fn sparse(size: u64, data: &[u64]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(size).unwrap();
        for offset in data {
            file.write_all_at(b"data", *offset).unwrap();
        }
        file
    }

    #[test]
    fn holes_are_found_at_the_start_between_and_at_the_end() {
        let mib = 1 << 20;
        let holes = holes(&sparse(4 * mib, &[mib, 2 * mib]), 4 * mib).unwrap();
        assert_eq!(holes.first().map(|hole| (hole.offset, hole.length)), Some((0, mib)));
        assert_eq!(holes.len(), 3);
        assert_eq!(holes.last().map(|hole| hole.offset + hole.length), Some(4 * mib));
    }

    #[test]
    fn a_file_without_data_is_one_hole_and_one_without_holes_has_none() {
        assert_eq!(holes(&sparse(1 << 30, &[]), 1 << 30), Ok(vec![Hole { offset: 0, length: 1 << 30 }]));
        assert_eq!(holes(&sparse(4, &[0]), 4), Ok(Vec::new()));
    }

    #[test]
    fn of_too_many_holes_the_longest_are_kept() {
        let step = 64 << 10;
        let size = step * 6000;
        let offsets: Vec<_> = (0..6000).filter(|at| at % 50 != 1).map(|at| at * step).collect();
        assert!(holes(&sparse(size, &offsets), size).unwrap().len() <= MAX_HOLES);
    }
}
