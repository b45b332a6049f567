//! Objects that hold one sealed payload: config, index, snapshot, facts, mark. bk-repository(7), "SEALED OBJECT".

use super::header::{Header, Kind};
use crate::compress::{CompressError, Decoder, Encoder, Encoding};
use crate::crypto::{KeyKind, Keys, PREFIX_LEN, RandomError, SEAL_OVERHEAD, SealError, Sealer, random};
use crate::format::DecodeError;
use crate::id::RepositoryId;

const FRAME_LEN: usize = 17;
/// The longest payload, in bytes.
pub const MAX_PAYLOAD_LEN: usize = 256 << 20;

/// Why an object could not be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// Its bytes are not what the format says.
    #[error("it is malformed: {0}")]
    Malformed(#[from] DecodeError),
    /// It was changed, or belongs to another repository or key.
    #[error("{0}")]
    Sealed(#[from] SealError),
    /// It is an object of another kind.
    #[error("it is a {} where a {} is expected", .found.word(), .expected.word())]
    Kind {
        /// What should be there.
        expected: Kind,
        /// What is there.
        found: Kind,
    },
    /// It is sealed under a key epoch that this key does not open.
    #[error("it is sealed under key epoch {0}, which this key does not open")]
    Epoch(u16),
    /// It does not decompress, or could not be compressed.
    #[error("{0}")]
    Compress(#[from] CompressError),
    /// No random bytes.
    #[error("{0}")]
    Random(#[from] RandomError),
    /// More than [`MAX_PAYLOAD_LEN`].
    #[error("it would be larger than {MAX_PAYLOAD_LEN} bytes")]
    TooLarge,
}

/// The Padmé length at or above `length`: at most 12 % more, and only so many bits of the true length show.
///
/// # Source
/// Nikitin and others, "Reducing Metadata Leakage from Encrypted Files and Communication with PURBs", §4.
#[must_use]
pub const fn padme(length: u64) -> u64 {
    if length < 2 {
        return length;
    }
    let exponent = length.ilog2();
    let low_bits = exponent - (exponent.ilog2() + 1);
    let mask = (1 << low_bits) - 1;
    length.saturating_add(mask) & !mask
}

const fn key_kind(kind: Kind) -> KeyKind {
    match kind {
        Kind::Config | Kind::KeySlot => KeyKind::Config,
        Kind::DataPack => KeyKind::Data,
        Kind::TreePack | Kind::Snapshot | Kind::Facts => KeyKind::Meta,
        Kind::Index => KeyKind::Index,
        Kind::Mark => KeyKind::Mark,
    }
}

/// The sealer of the object with this header; packs are scoped to their family, the rest to their repository.
///
/// # Errors
/// [`ObjectError::Epoch`] when `keys` do not reach the header's epoch.
pub fn sealer(keys: &Keys, repository: RepositoryId, header: &Header) -> Result<Sealer, ObjectError> {
    let key = keys.key(key_kind(header.kind), header.epoch).ok_or(ObjectError::Epoch(header.epoch))?;
    let (context, scope) = match header.kind {
        Kind::DataPack | Kind::TreePack => ("bk v1 pack", keys.family().0),
        _ => ("bk v1 object", repository.0),
    };
    Ok(Sealer::new(key.derive(context, &header.salt), header.salt, header.bytes(), &scope))
}

/// Makes the stored form of an object of `kind` that holds `payload`.
///
/// # Errors
/// [`ObjectError::TooLarge`]; the rest only on a broken machine.
pub fn encode(keys: &Keys, repository: RepositoryId, kind: Kind, payload: &[u8]) -> Result<Vec<u8>, ObjectError> {
    if payload.len() > MAX_PAYLOAD_LEN {
        return Err(ObjectError::TooLarge);
    }
    let scope = (kind == Kind::Config).then_some(repository.0);
    let header = Header::new(kind, keys.epoch(), random()?, scope);
    let mut compressed = Vec::new();
    let encoding = Encoder::new()?.encode(payload, 0, &mut compressed)?;
    let stored = match encoding {
        Encoding::Raw => payload,
        Encoding::Zstd => &compressed,
    };
    let plain_len = header.bytes().len() + SEAL_OVERHEAD + FRAME_LEN + stored.len();
    let padding = padme(plain_len as u64) - plain_len as u64;
    let mut buffer = vec![0; PREFIX_LEN];
    buffer.push(encoding.number());
    buffer.extend((payload.len() as u64).to_le_bytes());
    buffer.extend((stored.len() as u64).to_le_bytes());
    buffer.extend_from_slice(stored);
    buffer.resize(buffer.len() + usize::try_from(padding).unwrap_or(0), 0);
    sealer(keys, repository, &header)?.seal(0, &[], false, &mut buffer)?;
    let mut object = header.bytes().to_vec();
    object.append(&mut buffer);
    Ok(object)
}

/// Opens the stored form of an object and gives its payload.
///
/// # Errors
/// [`ObjectError`]; memory is bounded by the lengths in it, which are authentic by then.
pub fn decode(keys: &Keys, repository: RepositoryId, kind: Kind, mut object: Vec<u8>) -> Result<Vec<u8>, ObjectError> {
    let header = Header::decode(&object)?;
    if header.kind != kind {
        return Err(ObjectError::Kind { expected: kind, found: header.kind });
    }
    let sealed = object.get_mut(header.bytes().len()..).unwrap_or_default();
    let plain = sealer(keys, repository, &header)?.unseal(0, sealed)?;
    let error = |what| DecodeError { what, at: 0 };
    let (frame, rest) = plain.split_first_chunk::<FRAME_LEN>().ok_or(error("the frame is cut short"))?;
    let [encoding, lengths @ ..] = *frame;
    let ([raw_len, stored_len], _) = lengths.as_chunks::<8>() else {
        return Err(error("the frame is cut short").into());
    };
    let length = |bytes: &[u8; 8]| usize::try_from(u64::from_le_bytes(*bytes)).unwrap_or(usize::MAX);
    let (raw_len, stored_len) = (length(raw_len), length(stored_len));
    if raw_len > MAX_PAYLOAD_LEN {
        return Err(error("the payload is too large").into());
    }
    let stored = rest.get(..stored_len).ok_or(error("the frame is cut short"))?;
    match Encoding::from_number(encoding.into()) {
        Some(Encoding::Raw) if stored_len == raw_len => Ok(stored.to_vec()),
        Some(Encoding::Zstd) => {
            let mut payload = Vec::new();
            Decoder::new()?.decode(stored, raw_len, &mut payload)?;
            Ok(payload)
        }
        _ => Err(error("the encoding is unknown").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padme_lengths_are_few_and_near() {
        assert_eq!([0, 1, 2, 9, 100, 1000].map(padme), [0, 1, 2, 10, 104, 1024]);
        let sizes: std::collections::HashSet<_> = ((16 << 20)..(32 << 20)).step_by(997).map(padme).collect();
        assert!(sizes.len() <= 33, "{}", sizes.len());
        for length in (1..5_000_000).step_by(13) {
            assert!(padme(length) >= length && padme(length) * 100 <= length * 112, "{length}");
        }
    }

    #[test]
    fn an_object_opens_only_as_its_kind_in_its_repository_with_its_key() {
        let (keys, other_keys) = (Keys::generate().unwrap(), Keys::generate().unwrap());
        let (here, elsewhere) = (RepositoryId([1; 16]), RepositoryId([2; 16]));
        let payload = b"payload ".repeat(100);
        let object = encode(&keys, here, Kind::Snapshot, &payload).unwrap();
        assert_eq!(padme(object.len() as u64), object.len() as u64);
        assert_eq!(decode(&keys, here, Kind::Snapshot, object.clone()).unwrap(), payload);
        assert!(matches!(decode(&keys, here, Kind::Facts, object.clone()), Err(ObjectError::Kind { .. })));
        let forged = |result| matches!(result, Err(ObjectError::Sealed(SealError::Forged)));
        assert!(forged(decode(&keys, elsewhere, Kind::Snapshot, object.clone())));
        assert!(forged(decode(&other_keys, here, Kind::Snapshot, object.clone())));
        let mut as_fact = object;
        as_fact[4] = 7;
        assert!(forged(decode(&keys, here, Kind::Facts, as_fact)));
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_noticed() {
        let keys = Keys::generate().unwrap();
        let object = encode(&keys, RepositoryId([1; 16]), Kind::Mark, b"payload").unwrap();
        for at in 0..object.len() {
            let mut changed = object.clone();
            changed[at] ^= 0x10;
            assert!(decode(&keys, RepositoryId([1; 16]), Kind::Mark, changed).is_err(), "byte {at}");
            assert!(decode(&keys, RepositoryId([1; 16]), Kind::Mark, object[..at].to_vec()).is_err(), "cut {at}");
        }
    }
}
