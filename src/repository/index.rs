//! Blob → pack, segment, offset, length: all index objects of a repository in one table in memory.
//!
//! An entry takes 44 bytes, its place in the hash table 5 to 10, a segment 20. An id may have several entries; all are kept.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use hashbrown::HashTable;

use super::catalog::Listing;
use super::{Repository, RepositoryError};
use crate::compress::Encoding;
use crate::crypto::Sealer;
use crate::format::index_file::{IndexedPack, PackName};
use crate::format::pack::{PackKind, Segment};
use crate::format::{Header, object};
use crate::id::BlobId;
use crate::store::ObjectName;

/// Where a blob is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    id: BlobId,
    segment: u32,
    /// Offset in the decoded segment, in bytes.
    pub offset: u32,
    /// Length, in bytes.
    pub length: u32,
}

#[derive(Debug, Clone, Copy)]
struct StoredSegment {
    pack: u32,
    number: u32,
    offset: u32,
    stored_len: u32,
    /// Highest bit: compressed. The rest: length after decoding, in bytes.
    raw_len: u32,
}

struct PackRecord {
    name: PackName,
    size: u64,
    header: Header,
    usable: bool,
    relied: AtomicBool,
    first_segment: u32,
    first_entry: u32,
}

/// A segment, ready to be fetched and opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct SegmentPlace {
    pub(super) index: u32,
    pub(super) pack: u32,
    pub(super) number: u32,
    pub(super) offset: u64,
    pub(super) stored_len: u64,
    pub(super) raw_len: usize,
    pub(super) encoding: Encoding,
}

const COMPRESSED: u32 = 1 << 31;
const BLOCK: usize = 4096;

/// Entries in blocks that never move, so that growing copies nothing.
#[derive(Default)]
struct Entries(Vec<Vec<Entry>>);

impl Entries {
    fn push(&mut self, entry: Entry) -> u32 {
        if self.0.last().is_none_or(|block| block.len() == BLOCK) {
            self.0.push(Vec::with_capacity(BLOCK));
        }
        let count = (self.0.len() - 1) * BLOCK;
        let block_len = self.0.last_mut().map_or(0, |block| {
            block.push(entry);
            block.len()
        });
        (count + block_len - 1) as u32
    }

    fn get(&self, at: u32) -> &Entry {
        &self.0[at as usize / BLOCK][at as usize % BLOCK]
    }

    fn len(&self) -> usize {
        self.0.last().map_or(0, |last| (self.0.len() - 1) * BLOCK + last.len())
    }
}

/// Ids are uniform already, being keyed hashes: their first bytes are their hash.
pub(super) fn hash_of(id: &BlobId) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = id.0;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// All that the index objects of a repository say.
#[derive(Default)]
pub struct Index {
    entries: Entries,
    table: HashTable<u32>,
    segments: Vec<StoredSegment>,
    packs: Vec<PackRecord>,
    pub(super) listing: Option<Listing>,
    pub(super) damaged: Vec<(String, String)>,
}

impl Index {
    /// Builds an index from packs alone.
    #[must_use]
    pub fn of_packs(packs: impl IntoIterator<Item = IndexedPack>) -> Self {
        let mut index = Self::default();
        for pack in packs {
            index.add_pack(pack, true);
        }
        index
    }

    /// Adds a pack that is not in it yet; gives its number.
    pub(super) fn add_pack(&mut self, pack: IndexedPack, usable: bool) -> u32 {
        let pack_number = self.packs.len() as u32;
        let (first_segment, first_entry) = (self.segments.len() as u32, self.entries.len() as u32);
        let mut offset = pack.header.bytes().len() as u32;
        let blobs = pack.segments.iter().map(|segment| segment.blobs.len()).sum();
        let entries = &self.entries;
        self.table.reserve(blobs, |at| hash_of(&entries.get(*at).id));
        for segment in pack.segments {
            let compressed = if segment.encoding == Encoding::Zstd { COMPRESSED } else { 0 };
            let raw_len = segment.raw_len() as u32 | compressed;
            let segment_number = self.segments.len() as u32;
            self.segments.push(StoredSegment {
                pack: pack_number,
                number: segment.number,
                offset,
                stored_len: segment.stored_len,
                raw_len,
            });
            let mut blob_offset = 0;
            for (id, length) in segment.blobs {
                let at = self.entries.push(Entry { id, segment: segment_number, offset: blob_offset, length });
                let entries = &self.entries;
                self.table.insert_unique(hash_of(&id), at, |at| hash_of(&entries.get(*at).id));
                blob_offset += length;
            }
            offset = offset.saturating_add(segment.stored_len);
        }
        let (name, size, header) = (pack.name, pack.size, pack.header);
        let relied = AtomicBool::new(false);
        self.packs.push(PackRecord { name, size, header, usable, relied, first_segment, first_entry });
        pack_number
    }

    /// Makes a pack one that may be relied on, or not.
    pub(super) fn set_usable(&mut self, pack: u32, usable: bool) {
        self.packs[pack as usize].usable = usable;
    }

    fn pack_of(&self, entry: &Entry) -> &PackRecord {
        &self.packs[self.segments[entry.segment as usize].pack as usize]
    }

    /// Every place of a blob, usable ones first.
    pub fn find(&self, id: &BlobId) -> impl Iterator<Item = Entry> + '_ {
        let wanted = *id;
        let all = move || {
            self.table
                .iter_hash(hash_of(&wanted))
                .map(|at| *self.entries.get(*at))
                .filter(move |entry| entry.id == wanted)
        };
        all().filter(|entry| self.pack_of(entry).usable).chain(all().filter(|entry| !self.pack_of(entry).usable))
    }

    /// Whether the index knows the blob at all.
    #[must_use]
    pub fn knows(&self, id: &BlobId) -> bool {
        self.table.find(hash_of(id), |at| self.entries.get(*at).id == *id).is_some()
    }

    /// Whether a writer may rely on the blob, and notes that it does.
    #[must_use]
    pub fn rely_on(&self, id: &BlobId) -> bool {
        let usable = |at: &u32| {
            let entry = self.entries.get(*at);
            entry.id == *id && self.pack_of(entry).usable
        };
        let found = self.table.find(hash_of(id), usable);
        if let Some(at) = found {
            let pack = self.pack_of(self.entries.get(*at));
            if !pack.relied.load(Ordering::Relaxed) {
                pack.relied.store(true, Ordering::Relaxed);
            }
        }
        found.is_some()
    }

    /// The packs that [`Self::rely_on`] was answered from.
    #[must_use]
    pub fn relied_packs(&self) -> Vec<(PackName, u64)> {
        let relied = self.packs.iter().filter(|pack| pack.relied.load(Ordering::Relaxed));
        relied.map(|pack| (pack.name, pack.size)).collect()
    }

    /// Every pack with its size in bytes, what it holds, and whether a writer may rely on it.
    pub fn packs(&self) -> impl Iterator<Item = (PackName, u64, PackKind, bool)> + '_ {
        self.packs
            .iter()
            .map(|pack| (pack.name, pack.size, PackKind::of(&pack.header).unwrap_or(PackKind::Data), pack.usable))
    }

    /// Every entry: id, what the pack holds, and the blob's length in bytes.
    pub fn blobs(&self) -> impl Iterator<Item = (BlobId, PackKind, u32)> + '_ {
        (0..self.entries.len()).map(|at| {
            let entry = self.entries.get(at as u32);
            (entry.id, PackKind::of(&self.pack_of(entry).header).unwrap_or(PackKind::Data), entry.length)
        })
    }

    /// The pack of an entry.
    #[must_use]
    pub fn pack_name(&self, entry: &Entry) -> PackName {
        self.pack_of(entry).name
    }

    /// What the pack of an entry holds.
    #[must_use]
    pub fn kind(&self, entry: &Entry) -> Option<PackKind> {
        PackKind::of(&self.pack_of(entry).header)
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Index objects that cannot be used, with the reason.
    #[must_use]
    pub fn damaged(&self) -> &[(String, String)] {
        &self.damaged
    }

    /// What a writer's listing saw.
    #[must_use]
    pub const fn listing(&self) -> Option<&Listing> {
        self.listing.as_ref()
    }

    pub(super) fn place(&self, entry: &Entry) -> SegmentPlace {
        let segment = &self.segments[entry.segment as usize];
        SegmentPlace {
            index: entry.segment,
            pack: segment.pack,
            number: segment.number,
            offset: segment.offset.into(),
            stored_len: segment.stored_len.into(),
            raw_len: (segment.raw_len & !COMPRESSED) as usize,
            encoding: if segment.raw_len & COMPRESSED == 0 { Encoding::Raw } else { Encoding::Zstd },
        }
    }

    pub(super) fn object_name(&self, pack: u32) -> ObjectName {
        ObjectName::Pack(self.packs[pack as usize].name)
    }

    pub(super) fn pack_size(&self, pack: u32) -> u64 {
        self.packs[pack as usize].size
    }

    pub(super) fn pack_kind(&self, pack: u32) -> Option<PackKind> {
        PackKind::of(&self.packs[pack as usize].header)
    }

    pub(super) fn sealer(&self, repository: &Repository, pack: u32) -> Result<Sealer, RepositoryError> {
        let header = &self.packs[pack as usize].header;
        object::sealer(repository.keys(), repository.config().repository, header)
            .map_err(|source| RepositoryError::Object { name: self.object_name(pack).to_string(), source })
    }

    /// All blobs of a pack, in the order in which they are stored.
    pub(super) fn entries_of(&self, name: &PackName) -> Vec<Entry> {
        let pack = self.packs.iter().position(|pack| pack.name == *name);
        pack.map_or_else(Vec::new, |pack| self.numbers_of(pack as u32).map(|at| self.entry(at)).collect())
    }

    /// The numbers of the entries of a pack, in the order in which its blobs are stored.
    #[must_use]
    pub fn numbers_of(&self, pack: u32) -> Range<u32> {
        let from = self.packs.get(pack as usize).map_or(0, |pack| pack.first_entry);
        let to = self.packs.get(pack as usize + 1).map_or(self.entries.len() as u32, |next| next.first_entry);
        from..to
    }

    /// The entry of a number below [`Self::len`].
    #[must_use]
    pub fn entry(&self, number: u32) -> Entry {
        *self.entries.get(number)
    }

    /// The numbers of all entries of a blob, in an order that stays the same.
    pub fn numbers(&self, id: &BlobId) -> impl Iterator<Item = u32> + '_ {
        let wanted = *id;
        self.table.iter_hash(hash_of(&wanted)).copied().filter(move |at| self.entries.get(*at).id == wanted)
    }

    /// The number of the pack that holds the blob of an entry.
    #[must_use]
    pub fn pack_number(&self, entry: &Entry) -> u32 {
        self.segments[entry.segment as usize].pack
    }

    /// A pack as its index object described it.
    #[must_use]
    pub fn described(&self, number: u32) -> Option<IndexedPack> {
        let pack = self.packs.get(number as usize)?;
        let next = self.packs.get(number as usize + 1).map_or(self.segments.len(), |next| next.first_segment as usize);
        let mut entries = self.numbers_of(number).map(|at| self.entry(at)).peekable();
        let segments = (pack.first_segment as usize..next).map(|at| {
            let StoredSegment { number, stored_len, raw_len, .. } = self.segments[at];
            let encoding = if raw_len & COMPRESSED == 0 { Encoding::Raw } else { Encoding::Zstd };
            let mut blobs = Vec::new();
            while let Some(entry) = entries.next_if(|entry| entry.segment as usize == at) {
                blobs.push((entry.id, entry.length));
            }
            Segment { number, encoding, stored_len, blobs }
        });
        let segments = segments.collect();
        Some(IndexedPack { name: pack.name, size: pack.size, header: pack.header.clone(), segments })
    }
}

impl Entry {
    /// Which blob.
    #[must_use]
    pub const fn id(&self) -> BlobId {
        self.id
    }

    /// In which segment of all of the index.
    #[must_use]
    pub const fn segment(&self) -> u32 {
        self.segment
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::format::Kind;
    use crate::id::PackId;

    fn pack(number: u8, ids: &[u8]) -> IndexedPack {
        let blobs = ids.iter().map(|id| (BlobId([*id; 32]), 10)).collect();
        let segment = Segment { number: 0, encoding: Encoding::Raw, stored_len: ids.len() as u32 * 10 + 32, blobs };
        let name = PackName { id: PackId([number; 32]), nonce: [0; 8] };
        let header = Header::new(Kind::DataPack, 0, [0; 32], None);
        IndexedPack { name, size: 1000, header, segments: vec![segment] }
    }

    #[test]
    fn a_blob_in_several_packs_is_found_in_each_and_usable_ones_come_first() {
        let mut index = Index::default();
        index.add_pack(pack(1, &[7, 8]), false);
        index.add_pack(pack(2, &[9, 7]), true);
        let found: Vec<_> =
            index.find(&BlobId([7; 32])).map(|entry| (index.pack_name(&entry).id.0[0], entry.offset)).collect();
        assert_eq!(found, [(2, 10), (1, 0)]);
    }

    #[test]
    fn blobs_of_unusable_packs_are_known_but_not_relied_on() {
        let mut index = Index::default();
        index.add_pack(pack(1, &[7]), false);
        assert!(index.knows(&BlobId([7; 32])));
        assert!(!index.rely_on(&BlobId([7; 32])));
        assert!(index.relied_packs().is_empty());
        index.add_pack(pack(2, &[7]), true);
        assert!(index.rely_on(&BlobId([7; 32])));
        assert_eq!(index.relied_packs().len(), 1);
    }

    #[test]
    fn packs_are_described_as_they_were_added() {
        let mut index = Index::default();
        let mut many = pack(3, &[4, 5, 6]);
        let segment = |number, ids: &[u8]| Segment {
            number,
            encoding: Encoding::Zstd,
            stored_len: 40,
            blobs: ids.iter().map(|id| (BlobId([*id; 32]), 7)).collect(),
        };
        many.segments.extend([segment(2, &[9]), segment(1, &[4, 4])]);
        let all = [pack(1, &[7, 8]), many, pack(2, &[9])];
        for (at, pack) in all.iter().enumerate() {
            assert_eq!(index.add_pack(pack.clone(), true), at as u32);
        }
        for (at, pack) in all.into_iter().enumerate() {
            assert_eq!(index.described(at as u32), Some(pack));
        }
        assert_eq!(index.numbers_of(1), 2..8);
        assert_eq!(index.numbers(&BlobId([4; 32])).count(), 3);
        assert_eq!(index.described(3), None);
    }

    proptest::proptest! {
        #[test]
        fn the_index_knows_exactly_what_was_added(packs in proptest::collection::vec(proptest::collection::vec(0_u8..64, 1..9), 0..20)) {
            let mut index = Index::default();
            let mut model: HashMap<u8, usize> = HashMap::new();
            for (number, ids) in packs.iter().enumerate() {
                index.add_pack(pack(number as u8, ids), true);
                ids.iter().for_each(|id| *model.entry(*id).or_default() += 1);
            }
            for id in 0..64 {
                proptest::prop_assert_eq!(index.find(&BlobId([id; 32])).count(), model.get(&id).copied().unwrap_or(0));
            }
        }
    }
}
