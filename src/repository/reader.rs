//! From an id to the bytes: index → range of a pack → unseal → decompress → check the id.

use std::sync::Arc;

use super::index::{Index, SegmentPlace};
use super::read_ahead::ReadAhead;
use super::{Repository, RepositoryError};
use crate::compress::{Decoder, Encoding};
use crate::crypto::{PREFIX_LEN, Sealer};
use crate::format::cbor::Reader as CborReader;
use crate::format::index_file::{IndexedPack, PackName};
use crate::format::pack::{self, PackKind};
use crate::format::{DecodeError, Header, object};
use crate::id::BlobId;
use crate::store::ObjectName;

/// Decoded segments kept by one reader, in bytes.
const CACHE_BYTES: usize = 16 << 20;
/// Sealers of packs kept by one reader.
const SEALERS: usize = 64;
/// A reader that misses a pack reads the index again so often; what is damaged would make it do so for ever.
const RELOADS: u32 = 8;

/// A blob inside the segment that holds it; no copy was made.
#[derive(Debug, Clone)]
pub struct Blob {
    segment: Arc<Decoded>,
    start: usize,
    end: usize,
}

/// A decoded segment; a raw one still has the room of its seal in front, so that it was not copied.
#[derive(Debug)]
struct Decoded {
    bytes: Vec<u8>,
    start: usize,
}

impl Blob {
    /// The bytes before and those from `at` on, which is at most the length; no copy is made.
    #[must_use]
    pub fn cut(self, at: usize) -> (Self, Self) {
        let middle = self.start.saturating_add(at).min(self.end);
        (Self { segment: Arc::clone(&self.segment), end: middle, ..self }, Self { start: middle, ..self })
    }
}

impl std::ops::Deref for Blob {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.segment.bytes.get(self.start..self.end).unwrap_or_default()
    }
}

/// The index that a reader was given, or one that was read since.
#[derive(Clone)]
enum Known<'a> {
    Given(&'a Index),
    Fresh(Arc<Index>),
}

impl std::ops::Deref for Known<'_> {
    type Target = Index;
    fn deref(&self) -> &Index {
        match self {
            Self::Given(index) => index,
            Self::Fresh(index) => index,
        }
    }
}

/// Reads blobs; one per thread.
pub struct BlobReader<'a> {
    repository: &'a Repository,
    index: Known<'a>,
    ahead: Option<&'a ReadAhead<'a>>,
    /// How often the index may yet be read again because a pack is gone.
    reloads: u32,
    decoder: Decoder,
    stored: Vec<u8>,
    cached: Vec<(u32, Arc<Decoded>)>,
    cached_bytes: usize,
    sealers: Vec<(u32, Sealer)>,
    /// Memory of segments that fell out of the cache, to be used again.
    spare: Vec<Vec<u8>>,
    fetched_bytes: u64,
}

impl<'a> BlobReader<'a> {
    /// A reader with an empty cache.
    ///
    /// # Errors
    /// [`RepositoryError::Compress`] when there is no memory.
    pub fn new(repository: &'a Repository, index: &'a Index) -> Result<Self, RepositoryError> {
        Ok(Self {
            repository,
            index: Known::Given(index),
            ahead: None,
            reloads: RELOADS,
            decoder: Decoder::new()?,
            stored: Vec::new(),
            cached: Vec::new(),
            cached_bytes: 0,
            sealers: Vec::new(),
            spare: Vec::new(),
            fetched_bytes: 0,
        })
    }

    /// The same reader, which takes what was fetched ahead.
    #[must_use]
    pub const fn with_ahead(mut self, ahead: Option<&'a ReadAhead<'a>>) -> Self {
        self.ahead = ahead;
        self
    }

    /// The same reader, which looks nowhere but in the index it was given.
    #[must_use]
    pub const fn without_reload(mut self) -> Self {
        self.reloads = 0;
        self
    }

    /// Bytes fetched from the store so far.
    #[must_use]
    pub const fn fetched_bytes(&self) -> u64 {
        self.fetched_bytes
    }

    /// The repository it reads from.
    #[must_use]
    pub const fn repository(&self) -> &'a Repository {
        self.repository
    }

    /// Reads a data blob; every place where it is stored is tried.
    ///
    /// # Errors
    /// That of the last place; [`RepositoryError::NotIndexed`] when there is none.
    pub fn data(&mut self, id: &BlobId) -> Result<Blob, RepositoryError> {
        self.read(id, PackKind::Data)
    }

    /// Reads a tree or list blob.
    ///
    /// # Errors
    /// As [`Self::data`].
    pub fn tree(&mut self, id: &BlobId) -> Result<Blob, RepositoryError> {
        self.read(id, PackKind::Tree)
    }

    /// When the pack is gone, the index is read again: a prune may have moved what was in it.
    fn read(&mut self, id: &BlobId, kind: PackKind) -> Result<Blob, RepositoryError> {
        if let Some(foreign) = self.repository.foreign() {
            let bytes = match kind {
                PackKind::Data => foreign.data(id)?,
                PackKind::Tree => foreign.tree(id)?,
            };
            self.fetched_bytes += bytes.len() as u64;
            let end = bytes.len();
            return Ok(Blob { segment: Arc::new(Decoded { bytes, start: 0 }), start: 0, end });
        }
        match self.read_known(id, kind) {
            Err(error) if self.reloads > 0 && error.is_absence() => {
                self.reloads -= 1;
                self.index = Known::Fresh(Arc::new(Index::reload(self.repository)?));
                // Its numbers of packs are those of the other index.
                self.ahead = None;
                self.cached.clear();
                self.cached_bytes = 0;
                self.sealers.clear();
                self.read_known(id, kind).map_err(|_| error)
            }
            read => read,
        }
    }

    fn read_known(&mut self, id: &BlobId, kind: PackKind) -> Result<Blob, RepositoryError> {
        let mut error = RepositoryError::NotIndexed { id: *id };
        let index = self.index.clone();
        for entry in index.find(id) {
            let place = index.place(&entry);
            if index.pack_kind(place.pack) != Some(kind) {
                continue;
            }
            match self.segment(&place) {
                Ok(segment) => {
                    let start = segment.start + entry.offset as usize;
                    let blob = Blob { segment, start, end: start + entry.length as usize };
                    let identifier = self.repository.keys().identifier();
                    let found = match kind {
                        PackKind::Data => identifier.data(&blob),
                        PackKind::Tree => identifier.tree(&blob),
                    };
                    if found == *id {
                        return Ok(blob);
                    }
                    error = self.segment_error(&place, format!("it does not hold blob {id}"));
                }
                Err(other) => error = other,
            }
        }
        Err(error)
    }

    fn segment_error(&self, place: &SegmentPlace, reason: String) -> RepositoryError {
        let pack = self.index.object_name(place.pack).to_string();
        RepositoryError::Segment { pack, offset: place.offset, reason }
    }

    fn segment(&mut self, place: &SegmentPlace) -> Result<Arc<Decoded>, RepositoryError> {
        if let Some(at) = self.cached.iter().position(|(index, _)| *index == place.index) {
            let hit = self.cached.remove(at);
            let segment = Arc::clone(&hit.1);
            self.cached.push(hit);
            return Ok(segment);
        }
        let name = self.index.object_name(place.pack);
        let decoded = match self.fetch_segment(&name, place) {
            // A copy on this machine may be damaged where the store's own is not.
            Err(_) if self.repository.store().drop_copy(&name) => self.fetch_segment(&name, place),
            fetched => fetched,
        };
        let segment = Arc::new(decoded?);
        self.cached_bytes += segment.bytes.len();
        self.cached.push((place.index, Arc::clone(&segment)));
        Ok(segment)
    }

    fn fetch_segment(&mut self, name: &ObjectName, place: &SegmentPlace) -> Result<Decoded, RepositoryError> {
        let store = self.repository.store();
        match self.index.pack_kind(place.pack) {
            Some(PackKind::Tree) => {
                let size = self.index.pack_size(place.pack);
                store.get_range_of_trees(name, size, place.offset, place.stored_len, &mut self.stored)?;
            }
            _ => {
                let is_here = self
                    .ahead
                    .is_some_and(|ahead| ahead.read(place.pack, place.offset, place.stored_len, &mut self.stored));
                if !is_here {
                    store.get_range(name, place.offset, place.stored_len, &mut self.stored)?;
                }
            }
        }
        self.fetched_bytes += place.stored_len;
        let sealer = match self.sealers.iter().position(|(pack, _)| *pack == place.pack) {
            Some(at) => at,
            None => {
                if self.sealers.len() >= SEALERS {
                    self.sealers.remove(0);
                }
                self.sealers.push((place.pack, self.index.sealer(self.repository, place.pack)?));
                self.sealers.len() - 1
            }
        };
        while self.cached_bytes > CACHE_BYTES && !self.cached.is_empty() {
            let (_, old) = self.cached.remove(0);
            self.cached_bytes -= old.bytes.len();
            self.spare.extend(Arc::into_inner(old).map(|old| old.bytes));
            self.spare.truncate(4);
        }
        let (stored, decoder) = (std::mem::take(&mut self.stored), &mut self.decoder);
        let mut spare = self.spare.pop().unwrap_or_default();
        let decoded = decode_in_place(&self.sealers[sealer].1, decoder, place, stored, &mut spare);
        self.stored = spare;
        decoded.map_err(|reason| self.segment_error(place, reason))
    }
}

/// Opens and decodes a sealed segment. What is raw stays where it is, what is compressed goes to `spare`; the buffer
/// that is not needed is in `spare` afterwards.
fn decode_in_place(
    sealer: &Sealer,
    decoder: &mut Decoder,
    place: &SegmentPlace,
    mut stored: Vec<u8>,
    spare: &mut Vec<u8>,
) -> Result<Decoded, String> {
    let encoded = sealer.unseal(place.number, &mut stored).map_err(|error| error.to_string())?;
    match place.encoding {
        Encoding::Raw if encoded.len() == place.raw_len => Ok(Decoded { bytes: stored, start: PREFIX_LEN }),
        Encoding::Raw => Err(format!("it has {} bytes where {} were announced", encoded.len(), place.raw_len)),
        Encoding::Zstd => {
            decoder.decode(encoded, place.raw_len, spare).map_err(|error| error.to_string())?;
            std::mem::swap(&mut stored, spare);
            Ok(Decoded { bytes: stored, start: 0 })
        }
    }
}

/// Opens and decodes a sealed segment that lies alone in `stored`.
pub(super) fn decode_segment(
    sealer: &Sealer,
    decoder: &mut Decoder,
    number: u32,
    encoding: Encoding,
    raw_len: usize,
    stored: &mut [u8],
) -> Result<Vec<u8>, String> {
    let encoded = sealer.unseal(number, stored).map_err(|error| error.to_string())?;
    match encoding {
        Encoding::Raw if encoded.len() == raw_len => Ok(encoded.to_vec()),
        Encoding::Raw => Err(format!("it has {} bytes where {raw_len} were announced", encoded.len())),
        Encoding::Zstd => {
            let mut raw = Vec::new();
            decoder.decode(encoded, raw_len, &mut raw).map_err(|error| error.to_string())?;
            Ok(raw)
        }
    }
}

/// A whole pack, read and opened on its own, without the index.
#[derive(Debug)]
pub struct PackContents {
    /// As an index object would list it.
    pub pack: IndexedPack,
    /// Blobs whose bytes do not have their id.
    pub wrong_blobs: Vec<BlobId>,
    /// What is wrong with segments, each by its offset.
    pub problems: Vec<String>,
}

/// Reads a pack through its own trailer and table, and every segment in it: nothing but the pack is trusted.
///
/// # Errors
/// When not even the table can be read; damage of single segments is in the result.
pub fn read_pack(
    repository: &Repository,
    name: &PackName,
    decoder: &mut Decoder,
) -> Result<PackContents, RepositoryError> {
    let object_name = ObjectName::Pack(*name);
    let shown = object_name.to_string();
    let mut bytes = repository.store().get(&object_name)?;
    let hash_fits = *blake3::hash(&bytes).as_bytes() == name.id.0;
    let malformed = |source: DecodeError| RepositoryError::Malformed { name: shown.clone(), source };
    let header = Header::decode(&bytes).map_err(malformed)?;
    let kind = PackKind::of(&header).ok_or_else(|| malformed(DecodeError { what: "it is not a pack", at: 4 }))?;
    let sealer = object::sealer(repository.keys(), repository.config().repository, &header)
        .map_err(|source| RepositoryError::Object { name: shown.clone(), source })?;
    let size = bytes.len() as u64;
    let segments = read_table(&sealer, &bytes).map_err(|error| match error {
        TableError::Sealed(reason) => RepositoryError::Segment { pack: shown.clone(), offset: size, reason },
        TableError::Malformed(source) => malformed(source),
    })?;
    let mut contents = PackContents {
        pack: IndexedPack { name: *name, size, header, segments },
        wrong_blobs: Vec::new(),
        problems: Vec::new(),
    };
    if !hash_fits {
        contents.problems.push("its bytes do not match its name".into());
    }
    let identifier = repository.keys().identifier();
    let mut offset = contents.pack.header.bytes().len();
    for segment in &contents.pack.segments {
        let end = offset.saturating_add(segment.stored_len as usize);
        let raw_len = segment.raw_len() as usize;
        let stored = bytes.get_mut(offset..end).unwrap_or_default();
        match decode_segment(&sealer, decoder, segment.number, segment.encoding, raw_len, stored) {
            Ok(raw) => {
                let mut start = 0;
                for (id, length) in &segment.blobs {
                    let blob = raw.get(start..start + *length as usize).unwrap_or_default();
                    let found = match kind {
                        PackKind::Data => identifier.data(blob),
                        PackKind::Tree => identifier.tree(blob),
                    };
                    if found != *id {
                        contents.wrong_blobs.push(*id);
                    }
                    start += *length as usize;
                }
            }
            Err(reason) => {
                contents.problems.push(format!("the segment at byte {offset} cannot be used: {reason}"));
                contents.wrong_blobs.extend(segment.blobs.iter().map(|(id, _)| *id));
            }
        }
        offset = end;
    }
    Ok(contents)
}

pub(super) enum TableError {
    Sealed(String),
    Malformed(DecodeError),
}

pub(super) fn read_table(sealer: &Sealer, bytes: &[u8]) -> Result<Vec<pack::Segment>, TableError> {
    let sealed = |what: &str| {
        let what = what.to_owned();
        move |error: crate::crypto::SealError| TableError::Sealed(format!("{what}: {error}"))
    };
    let size = bytes.len();
    let mut trailer = bytes.get(size.saturating_sub(pack::TRAILER_LEN)..).unwrap_or_default().to_vec();
    let trailer = sealer.unseal(pack::TRAILER_NUMBER, &mut trailer).map_err(sealed("the trailer"))?;
    let (offset, length) = pack::decode_trailer(trailer, size as u64).map_err(TableError::Malformed)?;
    let table = bytes.get(offset as usize..(offset + length) as usize).unwrap_or_default();
    let mut table = table.to_vec();
    let table = sealer.unseal(pack::TABLE_NUMBER, &mut table).map_err(sealed("the table"))?;
    let mut reader = CborReader::new(table);
    let segments = pack::decode_table(&mut reader).and_then(|segments| reader.end().map(|()| segments));
    segments.map_err(TableError::Malformed)
}
