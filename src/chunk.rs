//! Where a content is cut, so that equal stretches of it become equal chunks.
//!
//! FastCDC 2020 with a gear table of our own, drawn from the repository's secret: the crate's 64-bit seed only
//! masks a public table and is found again in milliseconds from one known file. The crate's version is pinned,
//! because another cut rule would end deduplication without a word; `tests/format.rs` holds golden cuts.

use fastcdc::v2020::{self, Normalization};

use crate::crypto::Secret;

/// How finely a content is cut. A class is chosen by what the content is, never by how it changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Files in general: 512 KiB, 1 MiB, 4 MiB (least, average, most).
    Coarse,
    /// Dumps and program output: 16 KiB, 64 KiB, 256 KiB.
    Fine,
    /// Databases with pages: pieces of exactly `2^log2` bytes, `9 <= log2 <= 20`.
    Fixed {
        /// Binary logarithm of the length in bytes.
        log2: u8,
    },
}

/// Version of the rule that chooses a class; part of a repository's configuration.
pub const CLASS_RULE: u64 = 1;

/// The longest chunk of any class, in bytes.
pub const MAX_CHUNK_LEN: usize = 4 << 20;

impl Class {
    /// The number that stands for the class in a node.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Coarse => 1,
            Self::Fine => 2,
            Self::Fixed { log2 } => 16 + log2,
        }
    }

    /// The class that a node names; `None` for a number that stands for none.
    #[must_use]
    pub const fn of_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Coarse),
            2 => Some(Self::Fine),
            25..=36 => Some(Self::Fixed { log2: number - 16 }),
            _ => None,
        }
    }

    /// Fixed pieces for a database of `length` bytes with pages of `page_size`:
    /// the page up to 256 MiB, 16 KiB up to 4 GiB, 64 KiB above, and never below the page size.
    #[must_use]
    pub fn for_database(page_size: u32, length: u64) -> Self {
        let wanted = if length <= 256 << 20 {
            page_size
        } else if length <= 4 << 30 {
            page_size.max(16 << 10)
        } else {
            page_size.max(64 << 10)
        };
        Self::Fixed { log2: wanted.clamp(512, 1 << 20).ilog2() as u8 }
    }

    const fn sizes(self) -> (usize, usize, usize) {
        match self {
            Self::Coarse => (512 << 10, 1 << 20, 4 << 20),
            Self::Fine => (16 << 10, 64 << 10, 256 << 10),
            Self::Fixed { log2 } => (1 << log2, 1 << log2, 1 << log2),
        }
    }

    /// The longest chunk of this class, in bytes.
    #[must_use]
    pub const fn max_len(self) -> usize {
        self.sizes().2
    }

    /// The shortest chunk of this class but for the last of a content, in bytes.
    #[must_use]
    pub const fn min_len(self) -> usize {
        self.sizes().0
    }
}

/// Finds boundaries with a secret gear table.
pub struct Chunker {
    gear: Box<[u64; 256]>,
    gear_shifted: Box<[u64; 256]>,
    coarse: (u64, u64),
    fine: (u64, u64),
}

impl Chunker {
    /// Draws the gear table from `key` (`K_chunk` of bk-repository(7)).
    #[must_use]
    pub fn new(key: &Secret) -> Self {
        let mut bytes = [0_u8; 2048];
        blake3::Hasher::new_keyed(key.bytes()).update(b"bk v1 gear").finalize_xof().fill(&mut bytes);
        let mut gear = Box::new([0_u64; 256]);
        for (entry, bytes) in gear.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *entry = u64::from_le_bytes(*bytes);
        }
        let gear_shifted = Box::new(gear.map(|entry| entry << 1));
        let masks = |class: Class| v2020::select_masks(class.sizes().1, Normalization::Level1);
        Self { gear, gear_shifted, coarse: masks(Class::Coarse), fine: masks(Class::Fine) }
    }

    /// Length of the first chunk of `window`, which must hold [`Class::max_len`] bytes or all that is left.
    ///
    /// # Shape
    /// `1..=class.max_len()` for a window that is not empty, 0 for an empty one.
    #[must_use]
    pub fn cut(&self, class: Class, window: &[u8]) -> usize {
        let (min, average, max) = class.sizes();
        let (strict, relaxed) = match class {
            Class::Coarse => self.coarse,
            Class::Fine => self.fine,
            Class::Fixed { .. } => return window.len().min(max),
        };
        let (_, length) = v2020::cut_gear(
            window,
            min,
            average,
            max,
            strict,
            relaxed,
            strict << 1,
            relaxed << 1,
            &self.gear[..],
            &self.gear_shifted[..],
        );
        length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().update(b"noise").finalize_xof().fill(&mut bytes);
        bytes
    }

    fn cuts(class: Class, key: u8, data: &[u8]) -> Vec<usize> {
        let chunker = Chunker::new(&Secret::new([key; 32]));
        let (mut at, mut cuts) = (0, Vec::new());
        while at < data.len() {
            let length = chunker.cut(class, &data[at..data.len().min(at + class.max_len())]);
            assert!(length > 0);
            at += length;
            cuts.push(at);
        }
        cuts
    }

    #[test]
    fn chunks_keep_to_the_lengths_of_their_class() {
        let data = noise(24 << 20);
        for class in [Class::Coarse, Class::Fine, Class::Fixed { log2: 12 }] {
            let cuts = cuts(class, 1, &data);
            let mut start = 0;
            for (number, end) in cuts.iter().enumerate() {
                let length = end - start;
                assert!(length <= class.max_len());
                assert!(length >= class.min_len() || number + 1 == cuts.len());
                start = *end;
            }
        }
    }

    #[test]
    fn every_class_is_known_by_its_number_and_no_other_number_is_one() {
        let fixed = (9..=20).map(|log2| Class::Fixed { log2 });
        let all: Vec<_> = [Class::Coarse, Class::Fine].into_iter().chain(fixed).collect();
        assert!(all.iter().all(|class| Class::of_number(class.number()) == Some(*class)));
        assert_eq!((0..=u8::MAX).filter_map(Class::of_number).collect::<Vec<_>>(), all);
    }

    #[test]
    fn another_key_cuts_elsewhere() {
        let data = noise(8 << 20);
        assert_ne!(cuts(Class::Fine, 1, &data), cuts(Class::Fine, 2, &data));
    }

    #[test]
    fn an_insertion_moves_only_the_cuts_near_it() {
        let data = noise(8 << 20);
        let mut changed = data.clone();
        changed.splice(1000..1000, [7; 33]);
        let before: std::collections::HashSet<_> = cuts(Class::Fine, 1, &data).into_iter().collect();
        let after = cuts(Class::Fine, 1, &changed);
        let kept = after.iter().filter(|cut| before.contains(&(*cut - 33))).count();
        assert!(kept + 8 >= after.len(), "{kept} of {}", after.len());
    }

    #[test]
    fn databases_are_cut_by_pages_that_grow_with_them() {
        assert_eq!(Class::for_database(4096, 1 << 20), Class::Fixed { log2: 12 });
        assert_eq!(Class::for_database(4096, 1 << 30), Class::Fixed { log2: 14 });
        assert_eq!(Class::for_database(4096, 1 << 40), Class::Fixed { log2: 16 });
        assert_eq!(Class::for_database(65536, 1 << 20), Class::Fixed { log2: 16 });
    }
}
