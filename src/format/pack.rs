//! Packs: many sealed segments in one object. bk-repository(7), "PACK".

use super::DecodeError;
use super::cbor::{Reader, Writer};
use super::header::{Header, Kind};
use crate::compress::Encoding;
use crate::crypto::SEAL_OVERHEAD;
use crate::id::BlobId;

/// Number of the sealed padding.
pub const PADDING_NUMBER: u32 = 0xffff_fffd;
/// Number of the sealed table.
pub const TABLE_NUMBER: u32 = 0xffff_fffe;
/// Number of the sealed trailer.
pub const TRAILER_NUMBER: u32 = 0xffff_ffff;
/// Numbers of segments are below this.
const NUMBER_END: u32 = 0xffff_fff0;
/// The longest segment after decoding, in bytes.
pub const MAX_SEGMENT_LEN: usize = 8 << 20;
/// Length of the trailer's plaintext, in bytes.
const TRAILER_PLAIN_LEN: usize = 32;
/// Length of the sealed trailer, in bytes.
pub const TRAILER_LEN: usize = TRAILER_PLAIN_LEN + SEAL_OVERHEAD;
/// The longest table that is accepted, in bytes.
pub const MAX_TABLE_LEN: usize = 64 << 20;

/// Which blobs a pack holds. The two are never mixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PackKind {
    /// File contents.
    Data,
    /// Trees and content lists.
    Tree,
}

impl PackKind {
    /// The kind of the object.
    #[must_use]
    pub const fn object(self) -> Kind {
        match self {
            Self::Data => Kind::DataPack,
            Self::Tree => Kind::TreePack,
        }
    }

    /// The kind that a header says.
    #[must_use]
    pub const fn of(header: &Header) -> Option<Self> {
        match header.kind {
            Kind::DataPack => Some(Self::Data),
            Kind::TreePack => Some(Self::Tree),
            _ => None,
        }
    }
}

/// One segment as a table lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Authenticated with it; distinct within the pack.
    pub number: u32,
    /// How its bytes are stored.
    pub encoding: Encoding,
    /// Length of the sealed segment, in bytes.
    pub stored_len: u32,
    /// Its blobs in order, with their lengths in bytes.
    pub blobs: Vec<(BlobId, u32)>,
}

impl Segment {
    /// Length after decoding, in bytes.
    #[must_use]
    pub fn raw_len(&self) -> u64 {
        self.blobs.iter().map(|(_, length)| u64::from(*length)).sum()
    }
}

/// Writes a table.
pub fn encode_table(segments: &[Segment], writer: &mut Writer) {
    writer.array(segments.len());
    for segment in segments {
        writer.array(5).uint(segment.number).uint(segment.encoding.number()).uint(segment.stored_len);
        let mut ids = Vec::with_capacity(segment.blobs.len() * 32);
        for (id, _) in &segment.blobs {
            ids.extend_from_slice(&id.0);
        }
        writer.bytes(&ids).array(segment.blobs.len());
        for (_, length) in &segment.blobs {
            writer.uint(*length);
        }
    }
}

/// Reads a table.
///
/// # Errors
/// [`DecodeError`] for anything else, and for segments of impossible lengths or repeated numbers.
pub fn decode_table(reader: &mut Reader<'_>) -> Result<Vec<Segment>, DecodeError> {
    let count = reader.array()?;
    let mut segments = Vec::with_capacity(count.min(4096));
    let mut numbers = std::collections::HashSet::with_capacity(count.min(4096));
    for _ in 0..count {
        reader.tuple::<5>()?;
        let number = reader.small()?;
        let encoding = Encoding::from_number(reader.uint()?).ok_or_else(|| reader.error("the encoding is unknown"))?;
        let stored_len = reader.small::<u32>()?;
        let (ids, rest) = reader.bytes()?.as_chunks::<32>();
        if !rest.is_empty() || reader.array()? != ids.len() || ids.is_empty() {
            return Err(reader.error("a segment has not as many lengths as ids"));
        }
        let mut blobs = Vec::with_capacity(ids.len());
        for id in ids {
            blobs.push((BlobId(*id), reader.small()?));
        }
        let segment = Segment { number, encoding, stored_len, blobs };
        let raw_len = segment.raw_len();
        let encoded_len = u64::from(stored_len).checked_sub(SEAL_OVERHEAD as u64);
        let fits = raw_len <= MAX_SEGMENT_LEN as u64
            && encoded_len.is_some_and(|encoded| encoded <= raw_len)
            && (encoding != Encoding::Raw || encoded_len == Some(raw_len));
        if !fits || number >= NUMBER_END || !numbers.insert(number) {
            return Err(reader.error("a segment has an impossible length or number"));
        }
        segments.push(segment);
    }
    Ok(segments)
}

/// The trailer's plaintext.
#[must_use]
pub fn encode_trailer(table_offset: u64, table_len: u64) -> [u8; TRAILER_PLAIN_LEN] {
    let mut trailer = [0; TRAILER_PLAIN_LEN];
    for (field, value) in trailer.as_chunks_mut::<8>().0.iter_mut().zip([table_offset, table_len]) {
        *field = value.to_le_bytes();
    }
    trailer
}

/// Offset and stored length of the table, in bytes.
///
/// # Errors
/// [`DecodeError`] for anything else, and for a table that is not right before the trailer.
pub fn decode_trailer(trailer: &[u8], pack_len: u64) -> Result<(u64, u64), DecodeError> {
    let error = |what| DecodeError { what, at: 0 };
    let ([offset, length, _, _], []) = trailer.as_chunks::<8>() else {
        return Err(error("the trailer has the wrong length"));
    };
    let (offset, length) = (u64::from_le_bytes(*offset), u64::from_le_bytes(*length));
    let end = offset.checked_add(length).and_then(|end| end.checked_add(TRAILER_LEN as u64));
    if end != Some(pack_len) || length > MAX_TABLE_LEN as u64 {
        return Err(error("the trailer does not fit the pack"));
    }
    Ok((offset, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(number: u32, encoding: Encoding, stored_len: u32, lengths: &[u32]) -> Segment {
        let blobs = lengths.iter().map(|length| (BlobId([*length as u8; 32]), *length)).collect();
        Segment { number, encoding, stored_len, blobs }
    }

    fn round_trip(segments: &[Segment]) -> Result<Vec<Segment>, DecodeError> {
        let mut writer = Writer::new();
        encode_table(segments, &mut writer);
        decode_table(&mut Reader::new(&writer.into_bytes()))
    }

    #[test]
    fn a_table_survives() {
        let table = [segment(7, Encoding::Raw, 32 + 30, &[10, 20]), segment(0, Encoding::Zstd, 40, &[100])];
        assert_eq!(round_trip(&table).as_deref(), Ok(&table[..]));
    }

    #[test]
    fn impossible_segments_are_refused() {
        for bad in [
            segment(0, Encoding::Raw, 32 + 29, &[10, 20]),
            segment(0, Encoding::Raw, 31, &[1]),
            segment(0, Encoding::Zstd, 32 + 31, &[10, 20]),
            segment(0, Encoding::Zstd, 40, &[9 << 20]),
            segment(TABLE_NUMBER, Encoding::Raw, 33, &[1]),
            segment(0, Encoding::Raw, 32, &[]),
        ] {
            assert!(round_trip(std::slice::from_ref(&bad)).is_err(), "{bad:?}");
        }
        let twice = segment(1, Encoding::Raw, 33, &[1]);
        assert!(round_trip(&[twice.clone(), twice]).is_err());
    }

    #[test]
    fn a_trailer_must_fit_its_pack() {
        let trailer = encode_trailer(1000, 200);
        assert_eq!(decode_trailer(&trailer, 1264), Ok((1000, 200)));
        assert!(decode_trailer(&trailer, 1265).is_err());
        assert!(decode_trailer(&encode_trailer(u64::MAX, 200), 136).is_err());
    }
}
