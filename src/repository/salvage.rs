//! Packs without what usually leads to them: a description from a pack's own table, and what still authenticates in one
//! that is damaged.

use super::reader::{TableError, decode_segment, read_table};
use super::{Repository, RepositoryError};
use crate::compress::Decoder;
use crate::crypto::Sealer;
use crate::format::cbor::Reader;
use crate::format::index_file::{IndexedPack, PackName};
use crate::format::pack::{self, PackKind, Segment};
use crate::format::{DecodeError, Header, object};
use crate::id::BlobId;
use crate::store::{ObjectName, StoreError};

/// Fetched of the beginning of a pack, for its header, in bytes.
const HEAD_LEN: u64 = 512;
/// Fetched of the end of a pack, for trailer and table, in bytes; a longer table takes one more request.
const TAIL_LEN: u64 = 64 << 10;

/// What an index object would say of a pack of `size` bytes: read from its header, trailer and table alone, which are
/// authentic. Segments are not fetched, and the name is not compared with the bytes.
///
/// # Errors
/// When one of the three cannot be read or does not fit the pack.
pub fn describe_pack(repository: &Repository, name: &PackName, size: u64) -> Result<IndexedPack, RepositoryError> {
    let object = ObjectName::Pack(*name);
    let shown = object.to_string();
    let malformed = |what| {
        let source = DecodeError { what, at: 0 };
        RepositoryError::Malformed { name: shown.clone(), source }
    };
    if size > u64::from(u32::MAX) || size < (pack::TRAILER_LEN as u64) {
        return Err(malformed("it has a length that no pack has"));
    }
    let store = repository.store();
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    store.get_range(&object, 0, size.min(HEAD_LEN), &mut head)?;
    let header = Header::decode(&head).map_err(|source| RepositoryError::Malformed { name: shown.clone(), source })?;
    PackKind::of(&header).ok_or_else(|| malformed("it is not a pack"))?;
    let sealer = sealer(repository, &header, &shown)?;
    let tail_at = size.saturating_sub(TAIL_LEN);
    store.get_range(&object, tail_at, size - tail_at, &mut tail)?;
    let (offset, length) = table_place(&sealer, &tail, size).map_err(|error| error.of(&shown, size))?;
    if offset < tail_at {
        store.get_range(&object, offset, length, &mut tail)?;
    } else {
        let from = (offset - tail_at) as usize;
        tail = tail.get(from..from + length as usize).unwrap_or_default().to_vec();
    }
    let segments = open_table(&sealer, &mut tail).map_err(|error| error.of(&shown, size))?;
    let stored: u64 = segments.iter().map(|segment| u64::from(segment.stored_len)).sum();
    if stored.saturating_add(header.bytes().len() as u64) > offset {
        return Err(malformed("its segments do not fit it"));
    }
    Ok(IndexedPack { name: *name, size, header, segments })
}

impl TableError {
    fn of(self, name: &str, size: u64) -> RepositoryError {
        match self {
            Self::Sealed(reason) => RepositoryError::Segment { pack: name.to_owned(), offset: size, reason },
            Self::Malformed(source) => RepositoryError::Malformed { name: name.to_owned(), source },
        }
    }
}

fn sealer(repository: &Repository, header: &Header, name: &str) -> Result<Sealer, RepositoryError> {
    object::sealer(repository.keys(), repository.config().repository, header)
        .map_err(|source| RepositoryError::Object { name: name.to_owned(), source })
}

fn table_place(sealer: &Sealer, tail: &[u8], size: u64) -> Result<(u64, u64), TableError> {
    let mut trailer = tail.get(tail.len().saturating_sub(pack::TRAILER_LEN)..).unwrap_or_default().to_vec();
    let trailer = sealer
        .unseal(pack::TRAILER_NUMBER, &mut trailer)
        .map_err(|error| TableError::Sealed(format!("the trailer: {error}")))?;
    pack::decode_trailer(trailer, size).map_err(TableError::Malformed)
}

fn open_table(sealer: &Sealer, sealed: &mut [u8]) -> Result<Vec<Segment>, TableError> {
    let table =
        sealer.unseal(pack::TABLE_NUMBER, sealed).map_err(|error| TableError::Sealed(format!("the table: {error}")))?;
    let mut reader = Reader::new(table);
    let segments = pack::decode_table(&mut reader).and_then(|segments| reader.end().map(|()| segments));
    segments.map_err(TableError::Malformed)
}

/// Hears of a blob: what its pack holds, its id, its bytes.
pub type TakeBlob<'t> = dyn FnMut(PackKind, BlobId, &[u8]) -> Result<(), RepositoryError> + 't;

/// Hands every blob of a damaged pack that is still what its id says to `take`: found by the pack's own table, and by
/// what the index says of it. A blob may come twice.
///
/// # Errors
/// When the pack cannot be fetched for a passing reason, or `take` fails.
pub fn salvage(
    repository: &Repository,
    name: &PackName,
    described: Option<&IndexedPack>,
    decoder: &mut Decoder,
    take: &mut TakeBlob<'_>,
) -> Result<(), RepositoryError> {
    let bytes = match repository.store().get(&ObjectName::Pack(*name)) {
        Err(error) if is_unreadable(&error) => return Ok(()),
        bytes => bytes?,
    };
    let own = Header::decode(&bytes).ok().and_then(|header| {
        let sealer = sealer(repository, &header, "").ok()?;
        let segments = read_table(&sealer, &bytes).ok()?;
        Some((header, segments))
    });
    if let Some((header, segments)) = &own {
        open_segments(repository, &bytes, header, segments, decoder, take)?;
    }
    match described {
        Some(known) if own.as_ref().is_none_or(|own| own.0 != known.header || own.1 != known.segments) => {
            open_segments(repository, &bytes, &known.header, &known.segments, decoder, take)
        }
        _ => Ok(()),
    }
}

/// Whether an object will not be read by asking again: it is gone, or the disk cannot read it.
fn is_unreadable(error: &StoreError) -> bool {
    match error {
        StoreError::Io { source, .. } => source.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()),
        error => error.is_missing(),
    }
}

fn open_segments(
    repository: &Repository,
    bytes: &[u8],
    header: &Header,
    segments: &[Segment],
    decoder: &mut Decoder,
    take: &mut TakeBlob<'_>,
) -> Result<(), RepositoryError> {
    let (Some(kind), Ok(sealer)) = (PackKind::of(header), sealer(repository, header, "")) else { return Ok(()) };
    let identifier = repository.keys().identifier();
    let mut offset = header.bytes().len();
    for segment in segments {
        let end = offset.saturating_add(segment.stored_len as usize);
        let mut stored = bytes.get(offset..end).unwrap_or_default().to_vec();
        offset = end;
        let raw_len = segment.raw_len() as usize;
        let Ok(raw) = decode_segment(&sealer, decoder, segment.number, segment.encoding, raw_len, &mut stored) else {
            continue;
        };
        let mut start = 0;
        for (id, length) in &segment.blobs {
            let blob = raw.get(start..start + *length as usize).unwrap_or_default();
            start += *length as usize;
            let found = match kind {
                PackKind::Data => identifier.data(blob),
                PackKind::Tree => identifier.tree(blob),
            };
            if found == *id {
                take(kind, *id, blob)?;
            }
        }
    }
    Ok(())
}
