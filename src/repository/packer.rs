//! Packs being written: sealed segments go straight to the store's temporary file.
//!
//! Two data packs are open at once and segments fall into them at random, so that the sizes of packs say little
//! about the lengths of what is in them; at the end what is left is merged.

use std::sync::Arc;

use bytes::Bytes;

use super::{Repository, RepositoryError};
use crate::compress::Encoding;
use crate::crypto::{PREFIX_LEN, SEAL_OVERHEAD, Sealer};
use crate::format::Header;
use crate::format::cbor::Writer as CborWriter;
use crate::format::index_file::{IndexedPack, PackName};
use crate::format::object::{self, padme};
use crate::format::pack::{self, PackKind, Segment};
use crate::id::{BlobId, PackId};
use crate::store::{ObjectName, StoreError, Upload};

/// A data pack is closed at this size, in bytes.
const DATA_PACK_LEN: u64 = 32 << 20;
/// A tree pack is closed at this size, in bytes.
const TREE_PACK_LEN: u64 = 4 << 20;

/// Or when it has so many blobs: its table is built in memory, several times its length.
pub(super) const MAX_BLOBS: usize = 1 << 16;

/// The size at which a pack is closed, in bytes.
#[must_use]
pub const fn target_len(kind: PackKind) -> u64 {
    match kind {
        PackKind::Data => DATA_PACK_LEN,
        PackKind::Tree => TREE_PACK_LEN,
    }
}

/// Blobs joined and encoded, not sealed yet.
pub(super) struct EncodedSegment {
    pub(super) encoding: Encoding,
    pub(super) blobs: Vec<(BlobId, u32)>,
    /// [`PREFIX_LEN`] bytes of room, then the encoded bytes.
    pub(super) buffer: Vec<u8>,
}

/// A pack that takes segments.
pub(super) struct OpenPack {
    kind: PackKind,
    upload: Box<dyn Upload>,
    header: Header,
    sealer: Arc<Sealer>,
    hasher: blake3::Hasher,
    length: u64,
    next_number: u32,
    segments: Vec<Segment>,
    blobs: usize,
}

impl OpenPack {
    /// Begins a pack in the store.
    pub(super) fn begin(repository: &Repository, kind: PackKind) -> Result<Self, RepositoryError> {
        let keys = repository.keys();
        let header = Header::new(kind.object(), keys.epoch(), crate::crypto::random()?, None);
        let sealer = object::sealer(keys, repository.config().repository, &header)
            .map_err(|source| RepositoryError::Object { name: kind.object().word().into(), source })?;
        let mut pack = Self {
            kind,
            upload: repository.store().begin()?,
            sealer: Arc::new(sealer),
            hasher: blake3::Hasher::new(),
            length: 0,
            next_number: 0,
            segments: Vec::new(),
            blobs: 0,
            header,
        };
        let header_bytes = pack.header.bytes().to_vec();
        pack.write(&header_bytes)?;
        Ok(pack)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        self.upload.write(bytes)
    }

    /// Takes a number for the next segment; it may be sealed outside, in any order.
    pub(super) fn reserve(&mut self) -> (u32, Arc<Sealer>) {
        let number = self.next_number;
        self.next_number += 1;
        (number, Arc::clone(&self.sealer))
    }

    /// Adds a segment that was sealed under a reserved number, and gives its buffer back.
    pub(super) fn append(&mut self, number: u32, segment: &mut EncodedSegment) -> Result<Vec<u8>, RepositoryError> {
        let buffer = std::mem::take(&mut segment.buffer);
        self.write(&buffer)?;
        let blobs = std::mem::take(&mut segment.blobs);
        self.blobs += blobs.len();
        self.segments.push(Segment { number, encoding: segment.encoding, stored_len: buffer.len() as u32, blobs });
        Ok(buffer)
    }

    /// Bytes so far.
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    /// Whether it has reached its size.
    pub(super) const fn is_full(&self) -> bool {
        self.length >= target_len(self.kind) || self.blobs >= MAX_BLOBS
    }

    /// How many blobs are in it.
    pub(super) const fn blobs(&self) -> usize {
        self.blobs
    }

    /// Moves every segment into `other`, sealed anew, and drops this pack.
    pub(super) fn merge_into(self, other: &mut Self) -> Result<(), RepositoryError> {
        let mut offset = self.header.bytes().len() as u64;
        for segment in self.segments {
            let mut buffer = Vec::new();
            self.upload.read_back(offset, segment.stored_len.into(), &mut buffer)?;
            offset += u64::from(segment.stored_len);
            self.sealer.unseal(segment.number, &mut buffer)?;
            buffer.truncate(buffer.len() - (SEAL_OVERHEAD - PREFIX_LEN));
            let (number, sealer) = other.reserve();
            let encoded = EncodedSegment { encoding: segment.encoding, blobs: segment.blobs, buffer };
            other.append(number, &mut seal(&sealer, number, encoded)?)?;
        }
        Ok(())
    }

    fn write_sealed(&mut self, number: u32, plain: &[u8]) -> Result<u64, RepositoryError> {
        let mut buffer = Vec::with_capacity(plain.len() + SEAL_OVERHEAD);
        buffer.extend_from_slice(&[0; PREFIX_LEN]);
        buffer.extend_from_slice(plain);
        self.sealer.seal(number, &[], false, &mut buffer)?;
        self.write(&buffer)?;
        Ok(buffer.len() as u64)
    }

    /// Ends the pack: padding, table, trailer, then makes it durable and checks its stored size. Its bytes come along
    /// when the store had them in memory.
    pub(super) fn finish(mut self, repository: &Repository) -> Result<(IndexedPack, Option<Bytes>), RepositoryError> {
        let mut writer = CborWriter::new();
        pack::encode_table(&self.segments, &mut writer);
        let table = writer.into_bytes();
        let fixed_len = SEAL_OVERHEAD + SEAL_OVERHEAD + table.len() + pack::TRAILER_LEN;
        let least_len = self.length + fixed_len as u64;
        let padding = vec![0; (padme(least_len) - least_len) as usize];
        self.write_sealed(pack::PADDING_NUMBER, &padding)?;
        let table_offset = self.length;
        let table_len = self.write_sealed(pack::TABLE_NUMBER, &table)?;
        self.write_sealed(pack::TRAILER_NUMBER, &pack::encode_trailer(table_offset, table_len))?;
        let id = PackId(*self.hasher.finalize().as_bytes());
        let name = PackName { id, nonce: crate::crypto::random()? };
        let object = ObjectName::Pack(name);
        let bytes = self.upload.finish(&object)?;
        repository.check_stored(&object, self.length)?;
        if let (PackKind::Tree, Some(bytes)) = (self.kind, &bytes) {
            repository.store().expect_reading(&object, bytes);
        }
        Ok((IndexedPack { name, size: self.length, header: self.header, segments: self.segments }, bytes))
    }
}

/// Seals an encoded segment in place.
pub(super) fn seal(
    sealer: &Sealer,
    number: u32,
    mut segment: EncodedSegment,
) -> Result<EncodedSegment, RepositoryError> {
    let ids: Vec<_> = segment.blobs.iter().map(|(id, _)| *id).collect();
    sealer.seal(number, &ids, segment.encoding == Encoding::Raw, &mut segment.buffer)?;
    Ok(segment)
}
