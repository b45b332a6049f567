//! Index objects: the tables of packs, and where the packs are. bk-repository(7), "INDEX".

use super::DecodeError;
use super::cbor::{Fields, Reader};
use super::header::{Header, PLAIN_HEADER_LEN};
use super::node::Timestamp;
use super::pack::{PackKind, Segment, decode_table, encode_table};
use super::tree::{decode_time, encode_time};
use crate::id::{PackId, RunId};

/// The name of a stored pack: what it holds, and which putting of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PackName {
    /// Hash of its bytes.
    pub id: PackId,
    /// Drawn at random each time it is put.
    pub nonce: [u8; 8],
}

impl std::fmt::Display for PackName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.id, crate::id::to_hex(&self.nonce))
    }
}

/// One pack as an index object lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedPack {
    /// Where it is.
    pub name: PackName,
    /// Length of the whole pack, in bytes.
    pub size: u64,
    /// Its header, so that a segment can be opened without fetching it.
    pub header: Header,
    /// Its table.
    pub segments: Vec<Segment>,
}

impl IndexedPack {
    /// What it holds.
    #[must_use]
    pub fn kind(&self) -> PackKind {
        PackKind::of(&self.header).unwrap_or(PackKind::Data)
    }
}

/// An index object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexFile {
    /// The run that wrote the packs.
    pub run: RunId,
    /// When it was written.
    pub time: Timestamp,
    /// The packs.
    pub packs: Vec<IndexedPack>,
}

impl IndexFile {
    /// The payload of the sealed object.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = Fields::new();
        fields.field(1).bytes(&self.run.0);
        encode_time(fields.field(2), self.time);
        let writer = fields.field(3).array(self.packs.len());
        for pack in &self.packs {
            writer.array(5).bytes(&pack.name.id.0).bytes(&pack.name.nonce).uint(pack.size).bytes(pack.header.bytes());
            encode_table(&pack.segments, writer);
        }
        fields.into_bytes()
    }

    /// Reads the payload of the sealed object.
    ///
    /// # Errors
    /// [`DecodeError`] for anything else, and for tables that do not fit their pack.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let (mut run, mut time, mut packs) = (None, None, None);
        reader.map(|key, reader| {
            match key {
                1 => run = Some(RunId(reader.fixed()?)),
                2 => time = Some(decode_time(reader)?),
                3 => packs = Some(decode_packs(reader)?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        reader.end()?;
        match (run, time, packs) {
            (Some(run), Some(time), Some(packs)) => Ok(Self { run, time, packs }),
            _ => Err(reader.error("an index object is not complete")),
        }
    }
}

fn decode_packs(reader: &mut Reader<'_>) -> Result<Vec<IndexedPack>, DecodeError> {
    let count = reader.array()?;
    let mut packs = Vec::with_capacity(count.min(1024));
    for _ in 0..count {
        reader.tuple::<5>()?;
        let name = PackName { id: PackId(reader.fixed()?), nonce: reader.fixed()? };
        let size = reader.uint()?;
        let header_bytes = reader.bytes()?;
        let header = Header::decode(header_bytes)?;
        if PackKind::of(&header).is_none() || header.bytes().len() != header_bytes.len() {
            return Err(reader.error("an indexed pack has the header of something else"));
        }
        let segments = decode_table(reader)?;
        let stored: u64 = segments.iter().map(|segment| u64::from(segment.stored_len)).sum();
        if stored.saturating_add(PLAIN_HEADER_LEN as u64) > size || size > u64::from(u32::MAX) {
            return Err(reader.error("the segments of a pack do not fit its size"));
        }
        packs.push(IndexedPack { name, size, header, segments });
    }
    Ok(packs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::Encoding;
    use crate::format::Kind;
    use crate::id::BlobId;

    fn file(size: u64, kind: Kind) -> IndexFile {
        let segment =
            Segment { number: 0, encoding: Encoding::Raw, stored_len: 132, blobs: vec![(BlobId([1; 32]), 100)] };
        let header = Header::new(kind, 0, [4; 32], None);
        let name = PackName { id: PackId([2; 32]), nonce: [3; 8] };
        let pack = IndexedPack { name, size, header, segments: vec![segment] };
        IndexFile { run: RunId([5; 16]), time: Timestamp::default(), packs: vec![pack] }
    }

    #[test]
    fn an_index_survives() {
        let index = file(1000, Kind::DataPack);
        assert_eq!(IndexFile::decode(&index.encode()), Ok(index));
    }

    #[test]
    fn tables_that_do_not_fit_and_foreign_headers_are_refused() {
        for bad in [file(100, Kind::DataPack), file(1 << 40, Kind::DataPack), file(1000, Kind::Snapshot)] {
            assert!(IndexFile::decode(&bad.encode()).is_err());
        }
    }
}
