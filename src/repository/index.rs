//! Blob → pack, segment, offset, length: all index objects of a repository in one table in memory.
//!
//! An entry takes 44 bytes, its place in the hash table 5 to 10, a segment 20. An id may have several entries; all are kept.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hashbrown::HashTable;

use super::{Repository, RepositoryError};
use crate::clock::Clock;
use crate::compress::Encoding;
use crate::crypto::Sealer;
use crate::format::index_file::{IndexFile, IndexedPack, PackName};
use crate::format::mark::Mark;
use crate::format::pack::PackKind;
use crate::format::{Header, Kind, object};
use crate::id::BlobId;
use crate::store::{Area, ObjectName};

/// What an index is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Reading: marked packs serve as long as they are there, and no list of packs is made.
    Read,
    /// Writing: packs that are marked, missing or of the wrong size count as absent.
    Write,
}

/// What the store held when a writer began: bk-repository(7), "Start".
#[derive(Debug)]
pub struct Listing {
    /// Boot time before the first list.
    pub started: Duration,
    /// Packs that a prune has marked.
    pub marked: HashSet<PackName>,
}

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
pub struct Index {
    entries: Entries,
    table: HashTable<u32>,
    segments: Vec<StoredSegment>,
    packs: Vec<PackRecord>,
    listing: Option<Listing>,
    damaged: Vec<(String, String)>,
}

impl Index {
    fn empty() -> Self {
        Self {
            entries: Entries::default(),
            table: HashTable::new(),
            segments: Vec::new(),
            packs: Vec::new(),
            listing: None,
            damaged: Vec::new(),
        }
    }

    /// Reads every index object. For a writer, lists the marks, then the packs, then the index, in this order.
    ///
    /// An object that is damaged does not hide the others: what only it knew counts as not stored, so that a writer
    /// stores it again. [`Self::damaged`] names it; a prune must not go on then.
    ///
    /// # Errors
    /// When the store cannot be listed or read.
    pub fn load(repository: &Repository, purpose: Purpose, clock: &dyn Clock) -> Result<Self, RepositoryError> {
        let mut index = Self::empty();
        let started = clock.boottime();
        let mut present = None;
        if purpose == Purpose::Write {
            let marked = read_marks(repository)?;
            present = Some(list_packs(repository)?);
            index.listing = Some(Listing { started, marked });
        }
        let mut seen = HashSet::new();
        for listed in repository.store().list(Area::Index)? {
            let read = repository.read_object(Kind::Index, &listed.name).and_then(|payload| {
                IndexFile::decode(&payload)
                    .map_err(|source| RepositoryError::Malformed { name: listed.name.to_string(), source })
            });
            let file = match read {
                // Compacted since the list was made.
                Err(RepositoryError::Store(error)) if error.is_missing() => continue,
                Err(error) if error.is_damage() => {
                    index.damaged.push((listed.name.to_string(), error.to_string()));
                    continue;
                }
                file => file?,
            };
            for pack in file.packs {
                if seen.insert(pack.name) {
                    let usable = match (&present, &index.listing) {
                        (Some(present), Some(listing)) => {
                            present.get(&pack.name) == Some(&pack.size) && !listing.marked.contains(&pack.name)
                        }
                        _ => true,
                    };
                    index.add_pack(pack, usable);
                }
            }
        }
        Ok(index)
    }

    /// Builds an index from packs alone.
    #[must_use]
    pub fn of_packs(packs: impl IntoIterator<Item = IndexedPack>) -> Self {
        let mut index = Self::empty();
        for pack in packs {
            index.add_pack(pack, true);
        }
        index
    }

    fn add_pack(&mut self, pack: IndexedPack, usable: bool) {
        let pack_number = self.packs.len() as u32;
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
        self.packs.push(PackRecord { name, size, header, usable, relied: AtomicBool::new(false) });
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

    pub(super) fn pack_kind(&self, pack: u32) -> Option<PackKind> {
        PackKind::of(&self.packs[pack as usize].header)
    }

    pub(super) fn sealer(&self, repository: &Repository, pack: u32) -> Result<Sealer, RepositoryError> {
        let header = &self.packs[pack as usize].header;
        object::sealer(repository.keys(), repository.config().repository, header)
            .map_err(|source| RepositoryError::Object { name: self.object_name(pack).to_string(), source })
    }

    /// All blobs of a pack with their segments, for copying it forward.
    pub(super) fn entries_of(&self, name: &PackName) -> Vec<Entry> {
        let Some(pack) = self.packs.iter().position(|pack| pack.name == *name) else { return Vec::new() };
        (0..self.entries.len())
            .map(|at| *self.entries.get(at as u32))
            .filter(|entry| self.segments[entry.segment as usize].pack == pack as u32)
            .collect()
    }
}

impl Entry {
    /// Which blob.
    #[must_use]
    pub const fn id(&self) -> BlobId {
        self.id
    }
}

/// Every pack that a prune has marked.
pub(super) fn read_marks(repository: &Repository) -> Result<HashSet<PackName>, RepositoryError> {
    let marks = repository.read_all(Kind::Mark, Mark::decode)?;
    Ok(marks.into_iter().flat_map(|(_, mark)| mark.packs).collect())
}

/// Every stored pack with its size in bytes.
pub(super) fn list_packs(repository: &Repository) -> Result<HashMap<PackName, u64>, RepositoryError> {
    let listed = repository.store().list(Area::Packs)?;
    Ok(listed
        .into_iter()
        .filter_map(|listed| match listed.name {
            ObjectName::Pack(name) => Some((name, listed.size)),
            _ => None,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::pack::Segment;
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
        let mut index = Index::empty();
        index.add_pack(pack(1, &[7, 8]), false);
        index.add_pack(pack(2, &[9, 7]), true);
        let found: Vec<_> =
            index.find(&BlobId([7; 32])).map(|entry| (index.pack_name(&entry).id.0[0], entry.offset)).collect();
        assert_eq!(found, [(2, 10), (1, 0)]);
    }

    #[test]
    fn blobs_of_unusable_packs_are_known_but_not_relied_on() {
        let mut index = Index::empty();
        index.add_pack(pack(1, &[7]), false);
        assert!(index.knows(&BlobId([7; 32])));
        assert!(!index.rely_on(&BlobId([7; 32])));
        assert!(index.relied_packs().is_empty());
        index.add_pack(pack(2, &[7]), true);
        assert!(index.rely_on(&BlobId([7; 32])));
        assert_eq!(index.relied_packs().len(), 1);
    }

    proptest::proptest! {
        #[test]
        fn the_index_knows_exactly_what_was_added(packs in proptest::collection::vec(proptest::collection::vec(0_u8..64, 1..9), 0..20)) {
            let mut index = Index::empty();
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
